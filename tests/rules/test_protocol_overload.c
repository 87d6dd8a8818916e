/* PROTOCOL 13, 21, 22: more work than fits into a time-out is nobody's fault and changes no view.
 */
#include "pbft/pending.h"
#include "pbft/wire.h"
#include "tests/rules/harness.h"

#include <string.h>

#define WAITS_OFFSET (PBFT_WIRE_HEADER_BYTES + 41u) /* of a STATUS (docs/wire.md) */

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
    const uint8_t *request = frame->bytes + PBFT_WIRE_HEADER_BYTES + 48 + PBFT_SIGNATURE_BYTES + 16;
    return pbft_get_u64(request + PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES + 8);
}

/* What the primary of a solo net proposed last is committed; it goes on to the next. */
static void commit(struct net *t)
{
    static struct net_batch b;
    const struct pbft_frame *frame = t->nodes[0].last_sent[PBFT_PRE_PREPARE];
    size_t head = PBFT_WIRE_HEADER_BYTES + 48 + PBFT_SIGNATURE_BYTES;
    pbft_seq seq = net_info(t, 0).committed + 1;
    b.size = frame->size - head;
    memcpy(b.bytes, frame->bytes + head, b.size);
    memcpy(b.digest.bytes, frame->bytes + PBFT_WIRE_HEADER_BYTES + 16, PBFT_DIGEST_BYTES);
    net_deliver(t, 1, 0, net_commit_certificate(t, 0, seq, &b, 0x0e));
    net_run(t, 2);
}

static struct net *primary_with(unsigned requests)
{
    struct pbft_params params = net_params(4);
    params.pipeline_depth = 1;
    params.window = 32;
    struct net *t = net_new_with(&params);
    for (pbft_id id = 1; id < 4; id++)
        net_puppet(t, id);
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
    static const uint64_t order[] = {12, 2, 17, 3, 4};
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
    cr_assert_eq(proposed(t), 5u, "every second one is a client's turn");
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
