/* PROTOCOL 25, 26 and 30 where checkpoints meet the disk: what is flushed before what is cut or
 * said, and what a restart makes of it. Around one node (tests/rules/lone.h), K = 4. */
#include "tests/rules/lone.h"

#include <string.h>

static void commit_up_to(struct lone *l, pbft_seq seq)
{
    static const char *const ops[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    for (pbft_seq next = lone_info(l).applied + 1; next <= seq; next++)
        cr_assert_eq(lone_commit(l, next, next, ops[next - 1]), PBFT_OK);
}

static struct pbft_log_stats log_of(const struct lone *l)
{
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    return stats;
}

/* What client 0's fast read shows. */
static void cr_value(struct lone *l, const char *value)
{
    lone_client_up(l, 0, 10);
    lone_forget(l);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u, "it can answer");
    for (size_t i = 0; i < l->out_count; i++) {
        if (l->out[i].frame->bytes[0] != PBFT_QUERY_REPLY) continue;
        const struct pbft_query_reply *r = &net_decode(l->t, l->out[i].frame)->query_reply;
        cr_assert_eq(r->body.size, strlen(value));
        cr_assert_eq(memcmp(r->body.data, value, r->body.size), 0);
    }
}

/* ---- PROTOCOL 25, 26: before a cut ---- */

/* The log is cut at flushed checkpoints only: until then a restart needs it. */
Test(protocol, r25_the_log_is_cut_at_flushed_checkpoints_only)
{
    struct lone *l = lone_new_on_disk();
    l->no_flush = true;
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_not_null(l->flush);
    commit_up_to(l, 8);
    lone_certify(l, 8);
    cr_assert_eq(log_of(l).first, 1u, "not before it is flushed");
    cr_assert_eq(lone_info(l).flushed, 0u);
    lone_finish_flush(l);
    cr_assert_eq(lone_info(l).flushed, 4u);
    cr_assert_gt(log_of(l).first, 1u, "and then it is");
    lone_free(l);
}

/* FAULTS 2.42: no room for a checkpoint is no loss of one. */
Test(protocol, r25_a_full_disk_keeps_the_old_checkpoint_and_the_log)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    pbft_lsn first = log_of(l).first;
    pbft_pages_disk_fill(l->disk, true);
    commit_up_to(l, 8);
    lone_certify(l, 8);
    cr_assert(lone_info(l).disk_full);
    cr_assert_not(lone_info(l).storage_failed);
    cr_assert_eq(lone_info(l).flushed, 4u);
    cr_assert_eq(log_of(l).first, first);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_value(l, "h");
    pbft_pages_disk_fill(l->disk, false);
    commit_up_to(l, 12);
    lone_certify(l, 12);
    lone_pass(l, 1500);
    cr_assert_eq(lone_info(l).flushed, 12u);
    cr_assert_not(lone_info(l).disk_full);
    cr_assert_gt(log_of(l).first, first);
    lone_free(l);
}

Test(protocol, r25_a_flush_without_room_is_tried_again)
{
    struct lone *l = lone_new_on_disk();
    pbft_pages_disk_fill(l->disk, true);
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 0u);
    pbft_pages_disk_fill(l->disk, false);
    lone_pass(l, 1500);
    cr_assert_eq(lone_info(l).flushed, 4u);
    cr_assert_not(lone_info(l).disk_full);
    lone_free(l);
}

/* FAULTS 2.41: a disk that fails is not asked again. */
Test(protocol, r25_a_failed_flush_stops_the_replica)
{
    struct lone *l = lone_new_on_disk();
    pbft_pages_disk_crash_after(l->disk, 0);
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert(lone_info(l).storage_failed);
    lone_free(l);
}

/* ---- PROTOCOL 25: before a CHECKPOINT ---- */

/* A state that came by a transfer is in no log: until it is flushed, no restart could reproduce
 * what follows it, and the others must not count on it. */
Test(protocol, r25_after_a_transfer_no_checkpoint_before_a_flush)
{
    struct lone *ahead = lone_new_on_disk(), *l = lone_new_on_disk();
    commit_up_to(ahead, 8);
    struct pbft_digest root;
    cr_assert(lone_own_root(ahead, 8, &root));
    l->no_flush = true;
    for (pbft_id id = 0; id < 4; id++) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, id, 1};
        if (id != 1) pbft_node_peer_up(l->node, l->time, &peer);
    }
    lone_certify_root(l, 8, &root);
    lone_pass(l, 3000);
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).applied, 8u, "transferred");
    cr_assert_not_null(l->flush, "and to be flushed");
    lone_forget(l);
    commit_up_to(l, 12);
    struct pbft_digest next;
    cr_assert_not(lone_own_root(l, 12, &next), "not before");
    lone_finish_flush(l);
    cr_assert_eq(lone_info(l).flushed, 8u);
    cr_assert(lone_own_root(l, 12, &next), "and now");
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_value(l, "l");
    lone_free(l);
    lone_free(ahead);
}

/* ---- a restart ---- */

/* Flushed at 4, stable at 8, executed up to 10. */
static struct lone *between_flushes(void)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    l->flush_bytes = 1u << 30;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).applied, 4u);
    commit_up_to(l, 8);
    lone_certify(l, 8);
    commit_up_to(l, 10);
    cr_assert_eq(lone_info(l).flushed, 4u);
    return l;
}

Test(protocol, r25_a_restart_executes_the_log_behind_the_checkpoint_on_disk)
{
    struct lone *l = between_flushes();
    struct pbft_node_info before = lone_info(l);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    struct pbft_node_info after = lone_info(l);
    cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
    cr_assert_eq(after.applied, 10u);
    cr_assert_eq(after.flushed, 4u);
    cr_assert_eq(after.core.stable, 8u);
    cr_assert(pbft_digest_equal(&after.stable_root, &before.stable_root));
    cr_assert_not(after.core.transferring);
    cr_value(l, "j");
    commit_up_to(l, 12);
    struct pbft_digest root;
    cr_assert(lone_own_root(l, 12, &root));
    lone_free(l);
}

/* PROTOCOL 21: what is overdue in the state that it loads it holds against nobody before a time-out
 * has passed since, however long loading took. */
Test(protocol, r21_loading_is_no_patience_with_the_primary)
{
    struct lone *l = between_flushes();
    /* An hour: by then all sessions are idle. */
    cr_assert_eq(lone_restart_slowly(l, 3600000), PBFT_STATUS_OK);
    pbft_node_tick(l->node, l->time);
    lone_drain(l);
    lone_pass(l, 400);
    cr_assert_eq(lone_info(l).core.view_changes, 0u);
    lone_pass(l, 2000);
    cr_assert_gt(lone_info(l).core.view_changes, 0u, "nothing was overdue");
    lone_free(l);
}

static void other(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                  struct pbft_span op, struct pbft_result *result)
{
    (void)context;
    (void)call;
    pbft_txn_put(txn, (struct pbft_span){(const uint8_t *)"key", 3},
                 (struct pbft_span){(const uint8_t *)"other", 5});
    pbft_result_write(result, op.data, op.size);
}

/* The log's own result counts for nothing against what q replicas have signed. */
Test(protocol, r25_a_replay_that_is_not_what_was_certified_is_refused)
{
    struct lone *l = between_flushes();
    struct pbft_service service = *l->service;
    service.execute = other;
    l->service = &service;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_not_null(strstr(l->last_refusal, "certified"), "%s", l->last_refusal);
    cr_assert_eq(lone_info(l).applied, 0u);
    cr_assert_eq(lone_info(l).flushed, 0u);
    cr_assert_eq(lone_info(l).core.stable, 8u, "the promises stay");
    lone_pass(l, 3000);
    cr_assert(lone_info(l).core.transferring);
    lone_free(l);
}

/* FAULTS 2.43: a rotten page is fetched from the others; votes do not depend on it. */
Test(protocol, r30_a_rotten_checkpoint_is_refused)
{
    struct lone *l = between_flushes();
    cr_assert(pbft_pages_disk_rot(l->disk, 0));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_str_not_empty(l->last_refusal);
    cr_assert_eq(lone_info(l).applied, 0u);
    cr_assert_eq(lone_info(l).core.stable, 8u);
    cr_assert_not(lone_info(l).core.mute);
    lone_pass(l, 3000);
    cr_assert(lone_info(l).core.transferring);
    lone_free(l);
}

static void spoil_certificate(struct lone *l)
{
    struct pbft_pages *pages;
    struct pbft_pages_meta meta;
    cr_assert_eq(pbft_pages_memory_open(&pages, l->disk), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->begin(pages, true), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->get_meta(pages, &meta), PBFT_STATUS_OK);
    meta.checkpoint.certificate[meta.checkpoint.certificate_size - 60] ^= 1; /* of a signature */
    cr_assert_eq(pages->ops->put_meta(pages, &meta), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->commit(pages), PBFT_STATUS_OK);
    pbft_pages_close(pages);
}

/* A state that only the disk vouches for is none. */
Test(protocol, r25_a_checkpoint_on_disk_without_a_certificate_is_refused)
{
    struct lone *l = between_flushes();
    lone_stop(l);
    spoil_certificate(l);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_not_null(strstr(l->last_refusal, "certificate"), "%s", l->last_refusal);
    cr_assert_eq(lone_info(l).applied, 0u);
    lone_free(l);
}

/* A checkpoint may be on disk before the log's word of it is: its certificate says what h is. */
Test(protocol, r25_the_checkpoint_on_disk_may_be_ahead_of_the_log)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    l->no_sync = true;
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    cr_assert_not_null(l->sync);
    pbft_log_memory_crash(l->log); /* in the middle of it */
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
    cr_assert_eq(lone_info(l).core.stable, 4u);
    cr_assert_eq(lone_info(l).applied, 4u);
    cr_value(l, "d");
    lone_free(l);
}

/* A state that q replicas have not signed is not kept as one that they have. */
Test(protocol, r25_what_was_not_certified_is_not_flushed)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    struct pbft_digest others = {{7}};
    lone_certify_root(l, 4, &others);
    lone_pass(l, 100);
    cr_assert_eq(lone_info(l).flushed, 0u);
    cr_assert_eq(log_of(l).first, 1u);
    lone_free(l);
}
