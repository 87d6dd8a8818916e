/* PROTOCOL 13, 21, 22: more work than fits into a time-out is nobody's fault and changes no view.
 */
#include "pbft/pending.h"
#include "pbft/wire.h"
#include "tests/rules/harness.h"

#include <string.h>

/* Of a STATUS and of a PRE-PREPARE (docs/wire.md). */
#define WAITS_OFFSET    (PBFT_WIRE_HEADER_BYTES + 41u)
#define PROPOSAL_OFFSET (PBFT_WIRE_HEADER_BYTES + 48u + PBFT_SIGNATURE_BYTES)

/* `from` tells the primary of a solo net what its timer watches. */
static void wait_for(struct net *t, pbft_id from, uint64_t counter, uint32_t client,
                     uint64_t number)
{
    struct pbft_frame *frame = net_status(t, 0, 0, net_info(t, 0).committed, counter, 0);
    pbft_put_u32(frame->bytes + WAITS_OFFSET, client);
    pbft_put_u64(frame->bytes + WAITS_OFFSET + 4, 1);
    pbft_put_u64(frame->bytes + WAITS_OFFSET + 12, number);
    cr_assert_eq(net_deliver(t, from, 0, frame), PBFT_OK);
}

/* The number of the request in the primary's newest proposal. */
static uint64_t proposed(struct net *t)
{
    struct pbft_frame *frame = t->nodes[0].last_sent[PBFT_PRE_PREPARE];
    const uint8_t *request = frame->bytes + PROPOSAL_OFFSET + 16;
    return pbft_get_u64(request + PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES + 8);
}

/* What the primary of a solo net proposed last is committed; it goes on to the next. */
static void commit(struct net *t)
{
    static struct net_batch b;
    const struct pbft_frame *frame = t->nodes[0].last_sent[PBFT_PRE_PREPARE];
    pbft_seq seq = net_info(t, 0).committed + 1;
    b.size = frame->size - PROPOSAL_OFFSET;
    memcpy(b.bytes, frame->bytes + PROPOSAL_OFFSET, b.size);
    memcpy(b.digest.bytes, frame->bytes + PBFT_WIRE_HEADER_BYTES + 16, PBFT_DIGEST_BYTES);
    net_deliver(t, 1, 0, net_commit_certificate(t, 0, seq, &b, 0x0e));
    net_run(t, 2);
}

static struct net *lone_primary(void)
{
    struct pbft_params params = net_params(4);
    params.pipeline_depth = 1;
    params.window = 32;
    struct net *t = net_new_with(&params);
    for (pbft_id id = 1; id < 4; id++)
        net_puppet(t, id);
    return t;
}

static struct net *primary_with(unsigned requests)
{
    struct net *t = lone_primary();
    for (unsigned i = 1; i <= requests; i++)
        net_submit(t, 0, 1, i, "in line", NET_BIT(0));
    net_run(t, 2);
    cr_assert_eq(proposed(t), 1u);
    return t;
}

/* What backups' timers watch comes before the rest, each backup's in turn, and clients' turns go on
 * between. */
Test(protocol, r21_what_a_backup_waits_for_is_proposed_next)
{
    struct net *t = primary_with(20);
    wait_for(t, 3, 1, 0, 17);
    wait_for(t, 1, 1, 0, 12);
    static const uint64_t order[] = {12, 17, 2, 3};
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++) {
        commit(t);
        cr_assert_eq(proposed(t), order[i], "%u: %lu", i, proposed(t));
    }
    /* It was 3's turn last: none of the three has to wait for the same two again and again. */
    net_run(t, 100);
    for (pbft_id id = 1; id < 4; id++)
        wait_for(t, id, 2, 0, 20 - id);
    commit(t);
    cr_assert_eq(proposed(t), 19u);
    net_run(t, 100);
    wait_for(t, 1, 3, 0, 15);
    commit(t);
    cr_assert_eq(proposed(t), 18u, "2's turn: 1 had its own");
    net_free(t);
}

/* The word of a liar: what is not here, is proposed already or is nobody's costs nothing, and one
 * that asks all the time gets no more than its share. */
Test(protocol, r22_a_backup_can_not_order_the_queue)
{
    struct net *t = primary_with(30);
    wait_for(t, 1, 1, 0, 1);    /* in flight */
    wait_for(t, 2, 1, 0, 1000); /* unknown */
    wait_for(t, 3, 1, 77, 5);   /* no such client */
    commit(t);
    cr_assert_eq(proposed(t), 2u);
    net_run(t, 100);
    unsigned hurried = 0;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t wanted = 30 - i;
        wait_for(t, 2, 2 + i, 0, wanted);
        commit(t);
        hurried += proposed(t) == wanted;
    }
    cr_assert_eq(hurried, 1u, "in 16 ms of a time-out of 500");
    net_free(t);
}

/* The primary has a client's requests in one order and the backups in another, and all together
 * take three time-outs. */
Test(protocol, r21_a_backlog_longer_than_a_time_out_changes_no_view)
{
    struct pbft_params params = net_params(4);
    params.pipeline_depth = 1;
    struct net *t = net_new_with(&params);
    t->latency_ns = 15 * MS;
    enum { COUNT = 40 };
    for (unsigned i = 1; i <= COUNT; i++) {
        net_submit(t, 0, 1, i, "work", NET_BIT(0));
        net_submit(t, 0, 1, COUNT + 1 - i, "work", 0x0e);
    }
    cr_assert(net_run_executed(t, 0, COUNT, 4000));
    cr_assert_gt(t->now_ns, 1500 * MS, "that was no backlog");
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(net_info(t, id).view_changes, 0u, "replica %u left", (unsigned)id);
    net_free(t);
}

/* Milliseconds until backup 1 of a solo net, which a client has asked for something, leaves view 0,
 * while those in `ahead` tell every 100 ms that they have executed more than it: since a view of
 * theirs, and in all for `told` ms. */
static uint64_t leaves_though(pbft_signers ahead, pbft_view view, uint64_t told)
{
    struct net *t = net_solo(4, 1);
    uint64_t begun = t->now_ns;
    net_submit(t, 0, 1, 1, "done elsewhere", NET_BIT(1));
    for (uint64_t i = 1; t->now_ns - begun < 10000 * MS; i++) {
        for (pbft_id id = 0; id < 4 && t->now_ns - begun < told * MS; id++)
            if (pbft_signers_has(ahead, id))
                (void)net_deliver(t, id, 1, net_status(t, view, 0, i, i, 0));
        net_run(t, 100);
        if (net_info(t, 1).view > 0) break;
    }
    uint64_t after = (t->now_ns - begun) / MS;
    net_free(t);
    return after;
}

/* f+1 others of this view are ahead: what is waited for may be done there, as after a restart under
 * load. That is worth two time-outs more, and no lie is. */
Test(protocol, r21_a_replica_that_is_outrun_waits_longer)
{
    uint64_t after = leaves_though(0, 0, 0);
    cr_assert(after >= 500 && after <= 600, "alone after %lu ms", after);
    after = leaves_though(NET_BIT(3), 0, 10000);
    cr_assert(after >= 500 && after <= 600, "one may lie: after %lu ms", after);
    after = leaves_though(NET_BIT(2) | NET_BIT(3), 1, 10000);
    cr_assert(after >= 500 && after <= 600, "in another view: after %lu ms", after);
    after = leaves_though(NET_BIT(2) | NET_BIT(3), 0, 300);
    cr_assert(after >= 1000 && after <= 1100, "no longer told: after %lu ms", after);
    after = leaves_though(NET_BIT(2) | NET_BIT(3), 0, 10000);
    cr_assert(after >= 1500 && after <= 1600, "no more than that: after %lu ms", after);
}

/* A primary that gets nothing ordered leaves that to those who watch it: alone it would only end
 * its own view, in which the others still wait. One that somebody has left may be the voice that
 * these lack. */
Test(protocol, r21_a_primary_does_not_time_itself_out)
{
    struct net *t = net_solo(4, 0);
    net_submit(t, 0, 1, 1, "unheard", NET_BIT(0));
    net_run(t, 5000);
    cr_assert_eq(t->nodes[0].sent[PBFT_VIEW_CHANGE], 0u);
    cr_assert(net_info(t, 0).view_active);
    struct net_vc vc = {.view = 1, .sender = 3};
    cr_assert_eq(net_deliver(t, 3, 0, net_view_change(t, &vc)), PBFT_OK);
    cr_assert_eq(net_info(t, 0).view, 0u, "one is not enough to be joined at once");
    net_run(t, 510);
    cr_assert_eq(net_info(t, 0).view, 1u);
    net_free(t);
    t = net_solo(4, 1); /* the same as a backup */
    net_submit(t, 0, 1, 1, "unheard", NET_BIT(1));
    net_run(t, 5000);
    cr_assert_gt(t->nodes[1].sent[PBFT_VIEW_CHANGE], 0u);
    net_free(t);
}

/* What a backup forwards is bounded in bytes, too, else its votes wait behind them and the primary
 * does nothing but read. All of it gets there in the end, and the oldest first. */
Test(protocol, r22_forwarding_is_bounded_in_bytes)
{
    static char op[30001];
    memset(op, 'x', sizeof op - 1);
    struct pbft_params params = net_params(4);
    params.batch_max_bytes = 1u << 18; /* 64 KiB from one STATUS to the next */
    params.value_max_bytes = sizeof op;
    params.view_timeout_ns = params.view_timeout_max_ns = 60000 * MS;
    struct net *t = net_new_with(&params);
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) net_puppet(t, id);
    enum { COUNT = 16 };
    for (unsigned i = 0; i < COUNT; i++)
        net_submit(t, i % NET_CLIENTS, 1, 1 + i / NET_CLIENTS, op, NET_BIT(1));
    net_run(t, 10);
    cr_assert_eq(t->nodes[1].sent[PBFT_REQUEST], 3u, "64 KiB and the rest of a request: %lu",
                 t->nodes[1].sent[PBFT_REQUEST]);
    const uint64_t status_ms = 60000 / 8;
    net_run(t, 2 * status_ms);
    uint64_t sent = t->nodes[1].sent[PBFT_REQUEST];
    uint64_t told = t->nodes[1].sent[PBFT_STATUS_MSG];
    cr_assert(told >= 2 && told <= 3, "%lu", told);
    uint64_t most = (1 + told) * 65536 / (sizeof op - 1) + 1;
    cr_assert(sent > 5 && sent <= most, "%lu of at most %lu", sent, most);
    net_free(t);
}

/* ---- on the way to a checkpoint (PROTOCOL 13, FAULTS 3.18) ---- */

static const char *large_op(void)
{
    static char op[1851];
    memset(op, 'x', sizeof op - 1);
    return op;
}

/* Two proposals have used up the memory; a third large request waits for the next checkpoint. */
static struct net *memory_used_up(uint32_t interval)
{
    struct pbft_params params = net_params(4);
    params.pipeline_depth = 1;
    params.batch_max_bytes = 2048;
    params.value_max_bytes = 256;
    params.checkpoint_interval = interval;
    params.window = 2 * interval;
    struct net *t = net_new_bounded(&params, 1);
    for (unsigned i = 1; i <= 2; i++) {
        net_submit(t, 0, 1, i, large_op(), 0);
        cr_assert(net_run_executed(t, 0, i, 1000));
    }
    return t;
}

/* Empty proposals that nobody heard come again as fast as others do. */
Test(protocol, r13_lost_padding_costs_no_view)
{
    struct net *t = memory_used_up(16);
    net_crash(t, 3);
    net_cut(t, NET_BIT(0), 0x6);
    net_submit(t, 1, 1, 1, large_op(), 0);
    net_run(t, 30);
    uint64_t deep = net_info(t, 0).proposed - net_info(t, 0).committed;
    cr_assert(deep > 8 && deep <= 16, "%lu in flight", deep);
    net_rules_clear(t);
    cr_assert(net_run_executed(t, 0x7, 17, 2000));
    cr_assert_eq(net_info(t, 1).view_changes, 0u);
    net_free(t);
}

static unsigned full_and_deep; /* proposals that are not empty, behind others in flight */

static enum net_fate watch_depth(struct net *t, const struct net_packet *p)
{
    size_t empty = PROPOSAL_OFFSET + 12;
    if (p->type == PBFT_PRE_PREPARE && p->from == 0 && p->frame->size > empty &&
        p->seq > net_info(t, 0).committed + 1)
        full_and_deep++;
    return NET_PASS;
}

/* What is not empty keeps to the depth, while others are and before. */
Test(protocol, r13_only_empty_proposals_exceed_the_depth)
{
    for (unsigned padding = 0; padding < 2; padding++) {
        struct net *t = memory_used_up(32);
        full_and_deep = 0;
        t->filter = watch_depth;
        if (padding) net_submit(t, 1, 1, 1, large_op(), NET_BIT(0));
        for (unsigned i = 1; i <= 20; i++) {
            net_submit(t, 2, 1, i, "small", NET_BIT(0));
            net_run(t, 1);
        }
        cr_assert(net_run_executed(t, 0, padding ? 33 : 12, 2000));
        cr_assert_eq(full_and_deep, 0u, "%u, padding %u", full_and_deep, padding);
        net_free(t);
    }
}

/* ---- who leaves ---- */

/* f+1 have left when there is no memory for a VIEW-CHANGE: it is sent as soon as there is, with
 * nothing pending, too. */
Test(protocol, r23_joining_is_tried_again)
{
    for (pbft_id id = 0; id < 4; id += 3) { /* the primary, a backup */
        struct net *t = net_solo(4, id);
        net_run(t, 3);
        t->frames.refuse = true;
        for (pbft_id other = 1; other < 3; other++) {
            struct net_vc vc = {.view = 1, .sender = other};
            t->frames.refuse = false;
            struct pbft_frame *frame = net_view_change(t, &vc);
            t->frames.refuse = true;
            cr_assert_eq(net_deliver(t, other, id, frame), PBFT_OK);
        }
        cr_assert_eq(net_info(t, id).view, 0u);
        t->frames.refuse = false;
        net_run(t, 700);
        cr_assert_eq(net_info(t, id).view, 1u, "replica %u: %lu", (unsigned)id,
                     net_info(t, id).view);
        net_free(t);
    }
}

/* A liar's VIEW-CHANGE makes the primary's own timer count: what that watches is urgent as well. */
Test(protocol, r22_a_primary_that_somebody_left_hurries_itself)
{
    for (unsigned left = 0; left < 2; left++) {
        struct net *t = lone_primary();
        for (uint32_t client = 0; client < NET_CLIENTS; client++)
            for (unsigned i = 1; i <= 4; i++)
                net_submit(t, client, 1, i, "busy", NET_BIT(0));
        net_run(t, 2);
        struct net_vc vc = {.view = 7, .sender = 3};
        if (left) cr_assert_eq(net_deliver(t, 3, 0, net_view_change(t, &vc)), PBFT_OK);
        commit(t);
        commit(t); /* client 0's second: its third is the oldest now, three turns away */
        net_run(t, 70);
        commit(t);
        cr_assert_eq(proposed(t), left ? 3u : 1u, "%u: %lu", left, proposed(t));
        net_free(t);
    }
}
