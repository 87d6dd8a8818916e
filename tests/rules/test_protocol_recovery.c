/* PROTOCOL 25, 26, 29 and FAULTS 2.42, 2.43 after the worst moments: what a log and a disk may look
 * like when a replica starts again. Each of these was found by a review. Around one node
 * (tests/rules/lone.h), K = 4, L = 8. */
#include "tests/rules/lone.h"

#include <string.h>

/* The ordinary way, in view 0. */
static void order(struct lone *l, pbft_seq seq)
{
    struct net_batch b = net_batch(l->t, 0, 1, seq, "op");
    cr_assert_eq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, seq, &b)), PBFT_OK);
    for (pbft_id id = 2; id < 4; id++)
        (void)lone_from_replica(l, id, net_vote(l->t, PBFT_PREPARE, id, 0, seq, &b.digest));
    for (pbft_id id = 2; id < 4; id++)
        (void)lone_from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, seq, &b.digest));
    cr_assert_eq(lone_info(l).applied, seq);
}

static void meet_everybody(struct lone *l)
{
    for (pbft_id id = 0; id < 4; id++) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, id, 1};
        if (id != 1) pbft_node_peer_up(l->node, l->time, &peer);
    }
    lone_drain(l);
}

/* Replica 1 becomes the primary of view 1, and fetches what it has to propose again. */
static struct net_batch become_primary(struct lone *l)
{
    struct net_batch b = net_batch(l->t, 0, 1, 1, "first");
    for (pbft_id id = 2; id < 4; id++) {
        struct net_vc vc = {.view = 1, .sender = id, .entry_count = 1};
        vc.entries[0] =
            (struct net_entry){.seq = 1, .view = 0, .digest = b.digest, .signers = 0x0c};
        cr_assert_eq(lone_from_replica(l, id, net_view_change(l->t, &vc)), PBFT_OK);
    }
    cr_assert(lone_info(l).core.view_active);
    cr_assert_eq(lone_from_replica(l, 2, net_batch_frame(l->t, &b)), PBFT_OK);
    for (pbft_id id = 2; id < 4; id++)
        (void)lone_from_replica(l, id, net_vote(l->t, PBFT_PREPARE, id, 1, 1, &b.digest));
    for (pbft_id id = 2; id < 4; id++)
        (void)lone_from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 1, 1, &b.digest));
    cr_assert_eq(lone_info(l).applied, 1u);
    return b;
}

static struct lone *without_flushes(void)
{
    struct lone *l = lone_new_on_disk();
    l->flush_bytes = 1u << 30;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    return l;
}

/* ---- the log ---- */

/* A crash between a carry-over and its cut leaves records twice; then as often as it starts while
 * the flush finds no room. None of it is damage, and none of it is dropped. */
Test(protocol, r26_restarts_before_a_cut_lose_nothing)
{
    for (pbft_seq top = 7; top <= 11; top++) {
        struct lone *l = lone_new_on_disk();
        pbft_pages_disk_fill(l->disk, true);
        for (pbft_seq seq = 1; seq <= top; seq++) {
            order(l, seq);
            if (seq == 4) lone_certify(l, 4);
        }
        for (unsigned i = 1; i <= 8; i++) {
            if (i == 7) {
                pbft_pages_disk_fill(l->disk, false);
                lone_pass(l, 2500);
                cr_assert_eq(lone_info(l).flushed, 4u);
            }
            cr_assert_eq(lone_restart(l), PBFT_STATUS_OK, "top %llu, restart %u",
                         (unsigned long long)top, i);
        }
        cr_assert_eq(lone_info(l).applied, top);
        lone_free(l);
    }
}

/* Without memory for its certificate a checkpoint becomes stable and is in no log. What is promised
 * above the window that the log knows of would be damage to the next start. */
Test(protocol, r26_no_promise_before_the_log_knows_h)
{
    struct lone *l = lone_new_on_disk();
    for (pbft_seq seq = 1; seq <= 4; seq++)
        order(l, seq);
    struct pbft_digest root;
    cr_assert(lone_own_root(l, 4, &root));
    (void)lone_from_replica(l, 0, net_checkpoint(l->t, 0, 4, &root));
    struct pbft_frame *last = net_checkpoint(l->t, 2, 4, &root);
    l->t->frames.refuse = true;
    (void)lone_from_replica(l, 2, last);
    l->t->frames.refuse = false;
    cr_assert_eq(lone_info(l).core.stable, 4u);
    cr_assert_eq(lone_info(l).flushed, 0u, "nobody could prove it");
    for (pbft_seq seq = 5; seq <= 12; seq++)
        order(l, seq);
    cr_assert_eq(lone_info(l).flushed, 4u, "its certificate came later");
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).core.stable, 4u);
    cr_assert_eq(lone_info(l).applied, 12u);
    lone_free(l);
}

/* A new primary sends no PREPARE: what it fetched for its NEW-VIEW stands beside the decision. */
Test(protocol, r25_what_a_new_primary_fetched_is_in_its_log)
{
    struct lone *l = without_flushes();
    (void)become_primary(l);
    for (pbft_seq seq = 2; seq <= 4; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "more"), PBFT_OK);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 0u);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).applied, 4u, "it has signed CHECKPOINT(4)");
    lone_free(l);
}

Test(protocol, r25_a_new_primary_restarts_and_goes_on)
{
    struct lone *l = without_flushes();
    (void)become_primary(l);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    meet_everybody(l);
    cr_assert_eq(lone_info(l).applied, 1u);
    lone_free(l);
}

/* A laggard logs what is ahead before what is behind. */
Test(protocol, r25_decisions_out_of_order_are_replayed)
{
    struct lone *ahead = lone_new_on_disk(), *l = without_flushes();
    for (pbft_seq seq = 1; seq <= 8; seq++)
        cr_assert_eq(lone_commit(ahead, seq, seq, "v"), PBFT_OK);
    struct pbft_digest root;
    cr_assert(lone_own_root(ahead, 8, &root));
    lone_certify_root(l, 8, &root);
    for (pbft_seq i = 0; i < 16; i++) {
        pbft_seq seq = i < 8 ? i + 9 : i - 7;
        struct net_batch b = net_batch(l->t, 0, 1, seq, "v");
        struct pbft_frame *certificate = net_commit_certificate(l->t, 0, seq, &b, 0x0d);
        cr_assert_eq(lone_from_replica(l, 2, certificate), PBFT_OK);
    }
    cr_assert_eq(lone_info(l).applied, 16u);
    lone_certify(l, 16);
    cr_assert_eq(lone_info(l).flushed, 0u);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).applied, 16u, "it has signed CHECKPOINT(16)");
    lone_free(l);
    lone_free(ahead);
}

/* Told to stop while it loads: at the pages, and at the log. It has found nothing wrong, and the
 * next start has all of it. */
Test(protocol, r25_a_start_that_is_cancelled_has_lost_nothing)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct lone *l = flushed == 0 ? without_flushes() : lone_new_on_disk();
        for (pbft_seq seq = 1; seq <= 6; seq++)
            order(l, seq);
        lone_certify(l, 4);
        cr_assert_eq(lone_info(l).flushed, flushed == 0 ? 0u : 4u);
        l->cancel = true;
        for (unsigned i = 0; i < 2; i++)
            cr_assert_eq(lone_restart(l), PBFT_STATUS_REFUSED);
        cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
        l->cancel = false;
        cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
        cr_assert_eq(lone_info(l).applied, 6u);
        cr_assert_eq(lone_info(l).core.stable, 4u);
        lone_free(l);
    }
}

/* Large proposals, and a stable checkpoint after each four. */
static void fill(struct lone *l, pbft_seq last)
{
    static uint8_t op[3500];
    l->body_max_bytes = 1; /* three of the largest batches */
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    for (pbft_seq seq = 1; seq <= last; seq++) {
        memset(op, (int)seq, sizeof op);
        cr_assert_eq(lone_commit_of(l, seq, seq, (struct pbft_span){op, sizeof op}), PBFT_OK);
        if (seq % 4 == 0) lone_certify(l, seq);
        lone_forget(l);
    }
}

/* What is kept for laggards is bounded in bytes (FAULTS 3.18). Else: a log that a primary has
 * filled with large proposals is more than the memory of the next start, of every replica. */
Test(protocol, r26_what_a_start_keeps_for_laggards_is_bounded)
{
    struct lone *l = without_flushes();
    fill(l, 14);
    int64_t before = l->t->frames.live;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    lone_forget(l);
    cr_assert_eq(lone_info(l).applied, 14u);
    cr_expect_leq(l->t->frames.live, before, "%ld frames, %ld before", (long)l->t->frames.live,
                  (long)before);
    lone_free(l);
}

/* Also what is below the checkpoint on disk: after a crash before the cut that follows a flush. */
Test(protocol, r26_what_a_start_keeps_is_bounded_before_a_cut)
{
    struct lone *l = without_flushes(), *flushed = lone_new_on_disk();
    fill(l, 10);
    fill(flushed, 10);
    cr_assert_eq(lone_info(flushed).flushed, 8u);
    int64_t before = l->t->frames.live;
    lone_stop(flushed);
    lone_stop(l);
    struct pbft_pages_disk *disk = l->disk;
    l->disk = flushed->disk;
    flushed->disk = disk;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    lone_forget(l);
    cr_assert_eq(lone_info(l).flushed, 8u);
    cr_assert_eq(lone_info(l).applied, 10u);
    cr_expect_leq(l->t->frames.live, before, "%ld frames, %ld before", (long)l->t->frames.live,
                  (long)before);
    lone_free(flushed);
    lone_free(l);
}

/* ---- view after view, and no checkpoint ---- */

/* The others, with `entries` as what they prepared, bring it into a view that it does not lead. */
static void enter_view(struct lone *l, pbft_view view, const struct net_entry *entry)
{
    struct pbft_frame *vcs[3];
    uint32_t count = 0;
    for (pbft_id id = 0; id < 4; id++) {
        if (id == 1) continue;
        struct net_vc vc = {.view = view, .sender = id, .entry_count = entry != NULL};
        if (entry != NULL) vc.entries[0] = *entry;
        vcs[count] = net_view_change(l->t, &vc);
        (void)lone_from_replica(l, id, pbft_frame_retain(vcs[count++]));
    }
    struct net_nv nv = net_new_view(l->t, view, vcs, 3);
    cr_assert_eq(lone_from_replica(l, nv.sender, net_new_view_frame(l->t, &nv)), PBFT_OK);
    cr_assert(lone_info(l).core.view_active, "view %llu", (unsigned long long)view);
    for (uint32_t i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
}

/* The next view that replica 1 does not lead. */
static pbft_view view_after(pbft_view view)
{
    return pbft_primary(4, view + 1) == 1 ? view + 2 : view + 1;
}

static void votes(struct lone *l, uint8_t type, pbft_view view, const struct net_batch *b)
{
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1 && (type == PBFT_COMMIT || id != pbft_primary(4, view)))
            (void)lone_from_replica(l, id, net_vote(l->t, type, id, view, 1, &b->digest));
    lone_forget(l);
}

static struct net_batch large_batch(struct lone *l, uint64_t t)
{
    static char op[3001];
    memset(op, 'x', 3000);
    return net_batch(l->t, 0, 1, t, op);
}

/* A large proposal prepares in view 0: what the others then know of it. */
static struct net_entry prepare_large(struct lone *l, struct net_batch *b)
{
    *b = large_batch(l, 1);
    cr_assert_eq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, b)), PBFT_OK);
    votes(l, PBFT_PREPARE, 0, b);
    return (struct net_entry){.seq = 1, .view = 0, .digest = b->digest, .signers = 0x0c};
}

static void expect_body(struct lone *l, pbft_view view, const struct net_batch *b)
{
    votes(l, PBFT_PREPARE, view, b);
    votes(l, PBFT_COMMIT, view, b);
    cr_assert_eq(lone_info(l).applied, 1u, "its bytes are there");
}

static bool count_large(void *context, const struct pbft_log_record *record)
{
    *(unsigned *)context += record->payload.size > 3000;
    return true;
}

static unsigned logged_bodies(struct lone *l)
{
    unsigned large = 0;
    cr_assert(pbft_log_iterate(l->log, count_large, &large));
    return large;
}

static struct lone *with_small_log(void)
{
    struct lone *l = lone_new_on_disk();
    lone_stop(l);
    lone_new_log(l, 96u << 10);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    return l;
}

static bool was_cut(const struct lone *l)
{
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    return stats.first > 1;
}

/* A proposal's bytes are logged and carried over once, however many views choose it again; restarts
 * and cuts between them included. Else: after some failovers the log of one window was more than
 * the memory of the next start, of every replica. */
Test(protocol, r26_a_proposal_is_logged_once_in_many_views)
{
    struct lone *l = with_small_log();
    struct net_batch b;
    struct net_entry chosen = prepare_large(l, &b);
    pbft_view view = 0;
    for (unsigned i = 0; i < 60 || !was_cut(l); i++) {
        view = view_after(view);
        lone_forget(l);
        enter_view(l, view, &chosen);
        cr_assert_eq(lone_sent(l, PBFT_PREPARE), 3u, "to everybody");
        if (i % 3 != 0) votes(l, PBFT_PREPARE, view, &b);
        if (i % 7 == 0) cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        cr_assert_eq(logged_bodies(l), 1u, "view %llu", (unsigned long long)view);
        cr_assert_lt(i, 1000u, "it is cut some time");
    }
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).core.view, view);
    expect_body(l, view, &b);
    lone_free(l);
}

/* Of what no view can choose any more nothing is carried over; what prepared once is, even when
 * another proposal was accepted after it. */
Test(protocol, r26_what_prepared_is_kept_and_the_rest_is_dropped)
{
    struct lone *l = with_small_log();
    struct net_batch prepared;
    struct net_entry entry = prepare_large(l, &prepared);
    pbft_view view = 0;
    for (uint64_t t = 2; t < 60; t++) {
        view = view_after(view);
        enter_view(l, view, NULL); /* the others have not prepared it */
        struct net_batch b = large_batch(l, t);
        cr_assert_eq(lone_from_replica(l, pbft_primary(4, view),
                                       net_pre_prepare(l->t, view, 1, &b)),
                     PBFT_OK);
        lone_forget(l);
        cr_assert_not(lone_info(l).storage_failed);
        if (t % 7 == 0) cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    }
    cr_assert(was_cut(l));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    view = view_after(view);
    enter_view(l, view, &entry);
    expect_body(l, view, &prepared);
    lone_free(l);
}

/* ---- the disk ---- */

/* FAULTS 2.43: a page that rotted is fetched, and then written again. Else: every start to come
 * fetches it. */
Test(protocol, r30_a_rotten_page_is_mended)
{
    struct lone *ahead = lone_new_on_disk();
    for (uint64_t which = 0; which < 3; which++) {
        struct lone *l = lone_new_on_disk();
        for (pbft_seq seq = 1; seq <= 8; seq++) {
            if (which == 0) cr_assert_eq(lone_commit(ahead, seq, seq, "v"), PBFT_OK);
            cr_assert_eq(lone_commit(l, seq, seq, "v"), PBFT_OK);
        }
        lone_certify(l, 8);
        cr_assert_eq(lone_info(l).flushed, 8u);
        cr_assert(pbft_pages_disk_rot(l->disk, which));
        cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        cr_assert_str_not_empty(l->last_refusal);
        meet_everybody(l);
        lone_pass(l, 3000);
        lone_serve_pages(l, ahead);
        lone_pass(l, 3000);
        cr_assert_eq(lone_info(l).flushed, 8u);
        cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
        cr_assert_eq(lone_info(l).applied, 8u);
        lone_free(l);
    }
    lone_free(ahead);
}

static uint64_t log_bytes(const struct lone *l)
{
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    return stats.bytes;
}

enum { FULL_BYTES = 256 << 10, STUCK_BYTES = FULL_BYTES / 4 * 3 };
static char large_op[3001];

static struct lone *with_a_log_to_fill(void)
{
    struct lone *l = lone_new_on_disk();
    lone_stop(l);
    lone_new_log(l, FULL_BYTES);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    memset(large_op, 'x', sizeof large_op - 1);
    return l;
}

/* FAULTS 2.42: while checkpoints find no room the log fills up; it waits with room for a
 * carry-over, and goes on when there is some. */
Test(protocol, r26_a_log_that_fills_up_waits)
{
    struct lone *l = with_a_log_to_fill();
    pbft_pages_disk_fill(l->disk, true);
    pbft_seq seq = 0;
    while (seq < 1000 && lone_commit(l, seq + 1, seq + 1, large_op) == PBFT_OK) {
        seq++;
        struct pbft_digest root;
        for (pbft_id id = 0; id < 4 && lone_own_root(l, seq, &root); id++)
            if (id != 1) (void)lone_from_replica(l, id, net_checkpoint(l->t, id, seq, &root));
        lone_forget(l);
    }
    cr_assert_lt(seq, 1000u);
    cr_assert(lone_info(l).disk_full);
    for (unsigned i = 0; i < 3; i++) {
        lone_pass(l, 3000);
        cr_assert_not(lone_info(l).storage_failed);
        cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        cr_assert_geq(lone_info(l).applied, lone_info(l).core.stable,
                      "its log leads no longer to a state that it has signed, perhaps as the last");
    }
    cr_assert_eq(lone_commit(l, seq + 1, seq + 1, large_op), PBFT_DROP_BUSY);
    pbft_pages_disk_fill(l->disk, false);
    lone_pass(l, 3000);
    cr_assert_not(lone_info(l).disk_full);
    enum pbft_verdict verdict = lone_commit(l, seq + 1, seq + 1, large_op);
    cr_assert_eq(verdict, PBFT_OK, "%s, seq %llu stable %llu", pbft_verdict_text(verdict),
                 (unsigned long long)seq + 1, (unsigned long long)lone_info(l).core.stable);
    cr_assert_not(lone_info(l).storage_failed);
    lone_free(l);
}

/* Commits and certifies; the last number. */
static pbft_seq fill_log(struct lone *l, pbft_seq seq, uint64_t bytes)
{
    struct pbft_digest root;
    while (log_bytes(l) < bytes) {
        seq++;
        cr_assert_eq(lone_commit(l, seq, seq, large_op), PBFT_OK);
        if (lone_own_root(l, seq, &root)) lone_certify_root(l, seq, &root);
        lone_forget(l);
    }
    cr_assert(lone_info(l).disk_full);
    return seq;
}

static void expect_room(struct lone *l, pbft_seq seq)
{
    pbft_pages_disk_fill(l->disk, false);
    for (unsigned i = 0; i < 18; i++) {
        lone_forget(l);
        lone_pass(l, 500);
    }
    cr_assert_not(lone_info(l).storage_failed);
    cr_assert_neq(lone_commit(l, seq, seq, large_op), PBFT_DROP_BUSY,
                  "its log has %llu bytes for ever", (unsigned long long)log_bytes(l));
}

/* ... also for who is behind the others by then: it has no checkpoint of theirs to flush, and as
 * long as it takes nothing in, it gets none. Else: it waits for ever. */
Test(protocol, r26_a_log_that_fills_up_behind_the_others_is_cut)
{
    struct lone *l = with_a_log_to_fill();
    pbft_pages_disk_fill(l->disk, true);
    pbft_seq seq = fill_log(l, 0, STUCK_BYTES - 12000), stable = lone_info(l).core.stable;
    struct pbft_digest root = {{7}};
    lone_certify_root(l, stable + 8, &root);
    cr_assert_eq(lone_info(l).core.stable, stable + 8);
    cr_assert_lt(lone_info(l).core.committed, stable + 8);
    /* The next one does not come: what follows it is logged, and not executed. */
    for (pbft_seq next = seq + 2; next <= stable + 16 && log_bytes(l) < STUCK_BYTES; next++)
        (void)lone_commit(l, next, next, large_op);
    expect_room(l, seq + 1);
    lone_free(l);
}

/* ... and for who finds at its start that its state is lost. */
Test(protocol, r26_a_full_log_over_a_lost_state_is_cut)
{
    struct lone *l = with_a_log_to_fill();
    for (pbft_seq seq = 1; seq <= 4; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "v"), PBFT_OK);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    pbft_pages_disk_fill(l->disk, true);
    pbft_seq last = fill_log(l, 4, STUCK_BYTES - 12000);
    enum pbft_verdict verdict = PBFT_OK;
    for (; verdict == PBFT_OK; last += verdict == PBFT_OK)
        verdict = lone_commit(l, last + 1, last + 1, large_op);
    cr_assert_eq(verdict, PBFT_DROP_BUSY);
    cr_assert(pbft_pages_disk_rot(l->disk, 0));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_str_not_empty(l->last_refusal);
    expect_room(l, last + 1);
    lone_free(l);
}
