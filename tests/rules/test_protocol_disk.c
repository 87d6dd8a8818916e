/* PROTOCOL 25, 26 and 30 where checkpoints meet the disk: what is flushed before what is cut or
 * said, and what a restart makes of it. Around one node (tests/rules/lone.h), K = 4. */
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "replica/faults/faults.h"
#include "tests/rules/lone.h"

#include <jansson.h>
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
        struct pbft_span shown = lone_result(r);
        cr_assert_eq(shown.size, strlen(value));
        cr_assert_eq(memcmp(shown.data, value, shown.size), 0);
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

static bool copy_record(void *context, const struct pbft_log_record *record)
{
    struct pbft_log *to = context;
    struct pbft_log_stats stats;
    pbft_log_stats(to, &stats);
    return record->kind == PBFT_RECORD_STABLE ||
           pbft_log_append(to, record->kind, stats.last + 1, &record->payload, 1) == PBFT_STATUS_OK;
}

/* A checkpoint is flushed, and what the log says of it is lost with the power; later the checkpoint
 * is lost, too (FAULTS 2.40): what is voted for above it has to be read without it. */
Test(protocol, r25_the_log_alone_leads_to_every_vote)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    lone_stop(l);
    struct pbft_log *whole = l->log;
    l->log = NULL;
    lone_new_log(l, 64u << 20);
    cr_assert(pbft_log_iterate(whole, copy_record, l->log));
    pbft_log_close(whole);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).core.stable, 4u);
    pbft_seq last = 4 + l->t->params.window;
    commit_up_to(l, last - 1);
    struct net_batch batch = net_batch(l->t, 0, 1, last, "last");
    lone_links_up(l, NET_BIT(0) | NET_BIT(2) | NET_BIT(3));
    cr_assert_eq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, last, &batch)), PBFT_OK);
    cr_assert_gt(lone_sent(l, PBFT_PREPARE), 0u);
    lone_stop(l);
    pbft_pages_disk_free(l->disk);
    l->disk = pbft_pages_disk_new();
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(lone_info(l).core.stable, 4u);
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

/* ---- a state of our own that is not the certified one (FAULTS 4.24) ---- */

static json_t *report_of(const struct lone *l)
{
    json_t *report = json_loads(l->report == NULL ? "" : l->report, 0, NULL);
    cr_assert_not_null(report, "%s", l->report == NULL ? "there is none" : l->report);
    return report;
}

static json_int_t number_of(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    cr_assert(json_is_integer(value), "%s", name);
    return json_integer_value(value);
}

/* The service's "key", behind the engine's prefix. */
static const json_t *entry_of(json_t *report, const char *key)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(report, "keys"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "key")), key) == 0) return entry;
    }
    return NULL;
}
#define KEY "106b6579"

static void connect_all(struct lone *l)
{
    for (pbft_id id = 0; id < 4; id++) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, id, 1};
        if (id != 1) pbft_node_peer_up(l->node, l->time, &peer);
    }
    lone_drain(l);
}

static void answers_nothing(struct lone *l)
{
    lone_client_up(l, 0, 10);
    lone_forget(l);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_DROP_BUSY);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 0u, "out of a state that is known to be wrong");
}

/* The log's own result counts for nothing against what q replicas have signed: it is noticed,
 * nothing is executed on it, and what was wrong is told. */
Test(protocol, r25_a_replay_that_is_not_what_was_certified_is_replaced)
{
    struct lone *l = between_flushes(), *ahead = lone_new_on_disk();
    const struct pbft_service *right = l->service;
    struct pbft_service service = *right;
    service.execute = other;
    l->service = &service;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_eq(l->divergences, 1u);
    cr_assert_not_null(strstr(l->divergence, "after_restart=true"), "%s", l->divergence);
    cr_assert_not_null(strstr(l->divergence, "seq=8 "), "%s", l->divergence);
    cr_assert_not_null(strstr(l->divergence, "agreed=4 "), "that of the disk: %s", l->divergence);
    struct pbft_node_info info = lone_info(l);
    cr_assert_eq(info.divergences, 1u);
    cr_assert_eq(info.diverged, 8u);
    cr_assert_eq(info.applied, 8u, "9 and 10 are committed, and wait");
    cr_assert_eq(info.core.stable, 8u, "the promises stay");
    cr_assert(info.core.transferring);
    answers_nothing(l);

    commit_up_to(ahead, 8);
    service.execute = right->execute;
    connect_all(l);
    lone_pass(l, 1000);
    lone_serve_pages(l, ahead);
    info = lone_info(l);
    cr_assert_eq(info.applied, 10u, "and goes on");
    cr_assert_eq(info.diverged, 0u);
    cr_assert_eq(info.divergences, 1u);
    cr_assert_not(info.core.transferring);
    cr_assert_eq(l->repairs, 1u);
    cr_value(l, "j");
    cr_assert_eq(l->report_seq, 8u);
    json_t *report = report_of(l);
    cr_assert(json_is_true(json_object_get(report, "after_restart")));
    const json_t *key = entry_of(report, KEY);
    cr_assert_not_null(key, "%s", l->report);
    cr_assert_eq(number_of(json_object_get(key, "ours"), "bytes"), 5, "\"other\"");
    cr_assert_eq(number_of(json_object_get(key, "certified"), "bytes"), 1);
    json_decref(report);
    lone_free(l);
    lone_free(ahead);
}

/* A bit of its memory flips: noticed at the next certified checkpoint, whichever root comes first,
 * and the report names what has changed. */
Test(protocol, r24_a_flipped_bit_is_found_and_named)
{
    for (unsigned full = 0; full < 2; full++) {
        struct lone *l = lone_new_on_disk(), *ahead = lone_new_on_disk();
        struct lone *both[] = {l, ahead};
        struct pbft_digest root;
        for (unsigned i = 0; i < 2; i++) {
            commit_up_to(both[i], 4);
            lone_certify(both[i], 4);
        }
        struct pbft_damage damage;
        cr_assert(pbft_damage_state(l->node, 3, &damage));
        for (unsigned i = 0; i < 2; i++) /* the null request: nothing touches the key */
            for (pbft_seq seq = 5; seq <= 8; seq++)
                cr_assert_eq(lone_commit_null(both[i], seq), PBFT_OK);
        cr_assert(lone_own_root(ahead, 8, &root));
        l->report_status = full ? PBFT_STATUS_FULL : PBFT_STATUS_OK;
        connect_all(l);
        cr_assert_eq(lone_info(l).divergences, 0u, "until it is certified");
        lone_certify_root(l, 8, &root);
        cr_assert_eq(l->divergences, 1u);
        cr_assert_not_null(strstr(l->divergence, "after_restart=false"), "%s", l->divergence);
        cr_assert_not_null(strstr(l->divergence, "agreed=4 "), "%s", l->divergence);
        answers_nothing(l);
        lone_pass(l, 1000);
        lone_serve_pages(l, ahead);
        cr_assert_eq(lone_info(l).diverged, 0u);
        cr_assert_eq(l->repairs, 1u);
        cr_assert_not_null(strstr(l->repaired, " bits=1 "), "%s", l->repaired);
        cr_assert_not_null(strstr(l->repaired, full ? "not written" : "divergence-8.json"), "%s",
                           l->repaired);
        cr_assert_eq(l->report == NULL, full);
        cr_value(l, "d");
        static char status[16384];
        cr_assert_lt(pbft_node_status_json(l->node, status, sizeof status), sizeof status);
        json_t *parsed = json_loads(status, JSON_REJECT_DUPLICATES, NULL);
        cr_assert_not_null(parsed, "one root for a number: %s", status);
        cr_assert_eq(number_of(parsed, "divergences"), 1);
        cr_assert(json_is_false(json_object_get(parsed, "repairing")));
        json_decref(parsed);
        if (!full) {
            json_t *report = report_of(l);
            json_t *entries = json_object_get(report, "entries");
            cr_assert_eq(number_of(report, "agreed"), 4);
            cr_assert_eq(number_of(entries, "changed"), 1);
            const json_t *key = entry_of(report, KEY);
            cr_assert_not_null(key, "%s", l->report);
            cr_assert_eq(number_of((json_t *)(uintptr_t)key, "bits"), 1);
            cr_assert_eq(number_of((json_t *)(uintptr_t)key, "first_byte"), damage.byte);
            /* One leaf holds all of so small a state, and each number changes it. */
            json_t *differs = json_object_get(report, "differs");
            cr_assert_eq(number_of(differs, "after"), 4);
            cr_assert_eq(number_of(differs, "at_most"), 8);
            struct pbft_digest right;
            struct pbft_span value = {(const uint8_t *)"d", 1};
            char hex[2 * PBFT_DIGEST_BYTES + 1];
            pbft_hash(&right, "pbft-value", &value, 1);
            pbft_hex_encode(right.bytes, sizeof right.bytes, hex);
            cr_assert_str_eq(json_string_value(
                                 json_object_get(json_object_get(key, "certified"), "digest")),
                             hex, "whose is whose");
            json_decref(report);
        }
        lone_free(l);
        lone_free(ahead);
    }
}

/* A bit flips after 4; both execute nothing up to `last`, and no root of ours is known after 4. */
static void diverge_unseen(struct lone *l, struct lone *ahead, pbft_seq last)
{
    struct lone *both[] = {l, ahead};
    for (unsigned i = 0; i < 2; i++) {
        commit_up_to(both[i], 4);
        lone_certify(both[i], 4);
    }
    struct pbft_damage damage;
    cr_assert(pbft_damage_state(l->node, 3, &damage));
    l->no_hash = true;
    for (unsigned i = 0; i < 2; i++)
        for (pbft_seq seq = 5; seq <= last; seq++)
            cr_assert_eq(lone_commit_null(both[i], seq), PBFT_OK);
    connect_all(l);
}

static void hash_all(struct lone *l)
{
    l->no_hash = false;
    if (l->hash != NULL) lone_finish_hash(l);
}

/* A root of the state that is given up is known when the repair is done. It says nothing of the new
 * one, and is not signed. */
Test(protocol, r24_a_root_of_the_state_that_was_replaced_is_not_signed)
{
    struct lone *l = lone_new(false), *ahead = lone_new(false);
    struct pbft_digest root, right, own;
    diverge_unseen(l, ahead, 12);
    cr_assert(lone_own_root(ahead, 8, &root) && lone_own_root(ahead, 12, &right));
    lone_certify_root(l, 8, &root);
    lone_finish_hash(l); /* of 8; that of 12 is wanted next, as long as anybody wants it */
    cr_assert_eq(l->divergences, 1u);
    lone_pass(l, 100);
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).diverged, 0u);
    cr_assert_eq(lone_info(l).applied, 12u, "executed again");
    hash_all(l);
    cr_assert_eq(l->divergences, 1u);
    cr_assert(lone_own_root(l, 12, &own));
    cr_assert(pbft_digest_equal(&own, &right));
    lone_free(l);
    lone_free(ahead);
}

/* Nor is it held against the new state. */
Test(protocol, r24_a_root_of_the_state_that_was_replaced_is_not_compared)
{
    struct lone *l = lone_new(false), *ahead = lone_new(false);
    struct pbft_digest root[3];
    diverge_unseen(l, ahead, 12);
    lone_certify(ahead, 8);
    for (pbft_seq seq = 13; seq <= 16; seq++)
        cr_assert_eq(lone_commit_null(ahead, seq), PBFT_OK);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(lone_own_root(ahead, 8 + 4 * i, &root[i]));
    lone_certify_root(l, 8, &root[0]);
    lone_finish_hash(l);
    cr_assert_eq(l->divergences, 1u);
    lone_certify_root(l, 12, &root[1]);
    lone_certify_root(l, 16, &root[2]);
    lone_pass(l, 3000); /* it takes long, and the newer checkpoint is fetched */
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).diverged, 0u);
    cr_assert_eq(lone_info(l).applied, 16u);
    hash_all(l);
    cr_assert_eq(l->divergences, 1u, "%s", l->divergence);
    cr_assert_not(lone_info(l).core.transferring);
    cr_value(l, "d");
    lone_free(l);
    lone_free(ahead);
}

/* One that is noticed while the report of the one before is written does not stop that. */
Test(protocol, r24_a_comparison_is_ended_before_the_next_begins)
{
    struct lone *l = lone_new(false), *ahead = lone_new(false);
    struct pbft_digest root;
    diverge_unseen(l, ahead, 8);
    lone_certify(ahead, 8);
    l->no_flush = true;
    hash_all(l);
    cr_assert(lone_own_root(ahead, 8, &root));
    lone_certify_root(l, 8, &root);
    lone_pass(l, 100);
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).diverged, 0u);
    cr_assert_not_null(l->flush, "the report");
    struct pbft_damage damage;
    cr_assert(pbft_damage_state(l->node, 3, &damage));
    for (pbft_seq seq = 9; seq <= 12; seq++) {
        cr_assert_eq(lone_commit_null(l, seq), PBFT_OK);
        cr_assert_eq(lone_commit_null(ahead, seq), PBFT_OK);
    }
    cr_assert(lone_own_root(ahead, 12, &root));
    lone_certify_root(l, 12, &root);
    cr_assert_eq(l->divergences, 2u);
    cr_assert_eq(l->repairs, 0u);
    lone_finish_flush(l);
    cr_assert_eq(l->repairs, 1u);
    cr_assert_eq(l->report_seq, 8u);
    cr_assert_not_null(strstr(l->repaired, "divergence-8.json"), "%s", l->repaired);
    lone_pass(l, 100);
    lone_serve_pages(l, ahead);
    cr_assert_eq(l->repairs, 2u, "of each");
    cr_assert_not_null(strstr(l->repaired, "seq=12 "), "%s", l->repaired);
    cr_assert_eq(lone_info(l).diverged, 0u);
    cr_value(l, "d");
    lone_free(l);
    lone_free(ahead);
}

/* As soon as it is repaired, and before it has executed again what it had executed. */
static void ask_in_between(struct lone *l)
{
    struct pbft_node_info info = lone_info(l);
    if (info.divergences == 0 || info.diverged != 0 || info.applied >= 12) return;
    l->after_job = NULL;
    struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 10};
    struct pbft_frame *query = lone_query(l, 1, 0);
    cr_assert_eq(pbft_node_frame(l->node, l->time, &client, query), PBFT_OK);
    pbft_frame_release(query);
    cr_assert_eq(lone_info(l).queries_held, 1u, "at %llu", (unsigned long long)info.applied);
}

/* PROTOCOL 28: a write that others count it for does not disappear from its reads, for the state
 * goes back. */
Test(protocol, r28_no_read_of_a_repaired_state_before_what_was_executed_is_again)
{
    struct lone *l = lone_new(false), *ahead = lone_new(false);
    struct pbft_digest root;
    diverge_unseen(l, ahead, 12);
    hash_all(l);
    lone_client_up(l, 0, 10);
    cr_assert(lone_own_root(ahead, 8, &root));
    lone_certify_root(l, 8, &root);
    cr_assert_eq(l->divergences, 1u);
    lone_pass(l, 100);
    l->after_job = ask_in_between;
    lone_serve_pages(l, ahead);
    cr_assert_null(l->after_job, "it was asked");
    cr_assert_eq(lone_info(l).applied, 12u);
    cr_assert_eq(lone_info(l).queries_answered, 1u);
    lone_free(l);
    lone_free(ahead);
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
