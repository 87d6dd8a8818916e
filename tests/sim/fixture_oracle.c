/* The oracle: one more execution of the agreed order, which every answer and every root is compared
 * with. */
#include "tests/sim/fixture_internal.h"

#include "service/kv.h"
#include "service/txn.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

bool oracle_start(struct sim *sim)
{
    struct pbft_apply_config apply = {&sim->cluster, sim->o.service, pbft_pool_frames(sim->pool)};
    sim->oracle = pbft_apply_new(&apply);
    if (sim->oracle == NULL) return false;
    struct pbft_snapshot *genesis = pbft_apply_snapshot(sim->oracle);
    pbft_snapshot_root(genesis, &sim->cluster.genesis_root);
    pbft_snapshot_release(genesis);
    return true;
}

static void key_free(struct key_history *k)
{
    free(k->versions);
    free(k->entry);
}

void oracle_free(struct sim *sim)
{
    struct map *maps[] = {&sim->requests, &sim->results, &sim->results_any, &sim->replies,
                          &sim->roots};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++)
        map_free(maps[i]);
    for (size_t i = 0; i < sim->key_count; i++)
        key_free(&sim->keys[i]);
    free(sim->keys);
    free(sim->executed);
    pbft_apply_free(sim->oracle);
}

static struct pbft_door *reply_door(struct sim *sim)
{
    return sim->epochs[sim->oracle_epoch].reply_door;
}

void check_request(struct sim *sim, const struct pbft_request *request)
{
    bool fresh;
    map_put(&sim->requests, &request->digest, &fresh);
}

/* What was answered to this operation of this client, whichever request number carried it. */
static void any_key(struct pbft_digest *key, uint32_t client, struct pbft_span op, uint8_t outcome,
                    const struct pbft_digest *result)
{
    uint8_t head[5];
    pbft_put_u32(head, client);
    head[4] = outcome;
    struct pbft_span parts[3] = {{head, sizeof head}, {result->bytes, sizeof result->bytes}, op};
    pbft_hash(key, "sim-any", parts, 3);
}

/* FAULTS 3.15: one execution for each (client, session, t), and equal replies for ever. */
static void note_result(struct sim *sim, const struct pbft_request *request,
                        struct pbft_applied *applied)
{
    PBFT_ASSERT(applied->reply != NULL);
    struct pbft_peer self = {PBFT_PEER_REPLICA, 0, 1};
    struct pbft_msg msg;
    enum pbft_verdict verdict =
        pbft_door_open_client(reply_door(sim), &self, pbft_frame_span(applied->reply), &msg);
    PBFT_ASSERT(verdict == PBFT_OK);
    struct pbft_digest key;
    any_key(&key, applied->client_index, request->ops, msg.reply.outcome, &msg.reply.result);
    bool fresh;
    map_put(&sim->results_any, &key, &fresh);
    if (msg.reply.outcome != PBFT_OUTCOME_EXECUTED && msg.reply.outcome != PBFT_OUTCOME_INVALID)
        return;
    key_numbers(&key, applied->client_index, applied->session, applied->t, 0);
    struct map_entry *entry = map_put(&sim->results, &key, &fresh);
    if (!fresh && !pbft_digest_equal(&entry->value, &msg.reply.result))
        sim_fail(sim, "FAULTS 3.15: client %u session %llu t %llu has two results",
                 applied->client_index, (unsigned long long)applied->session,
                 (unsigned long long)applied->t);
    if (fresh) entry->number = msg.reply.seq;
    entry->value = msg.reply.result;
}

/* Has the entry of the key changed in the tree? Few do in a batch, and to read one through the
 * service takes two hashes. */
static bool entry_changed(struct sim *sim, struct key_history *k)
{
    uint8_t bytes[2 + sizeof k->key] = {PBFT_TXN_KEYSPACE, 'k'}; /* service/kv.c */
    size_t size = strlen(k->key);
    memcpy(bytes + 2, k->key, size);
    struct pbft_span entry = {NULL, 0};
    bool there = pbft_tree_get(pbft_apply_tree(sim->oracle), (struct pbft_span){bytes, 2 + size},
                               &entry, NULL);
    if (!there && k->entry == NULL) return false;
    if (there && k->entry != NULL && k->entry_size == entry.size &&
        memcmp(k->entry, entry.data, entry.size) == 0)
        return false;
    free(k->entry);
    k->entry = NULL;
    k->entry_size = entry.size;
    if (!there) return true;
    k->entry = sim_alloc(entry.size);
    memcpy(k->entry, entry.data, entry.size);
    return true;
}

static void note_versions(struct sim *sim, pbft_seq seq)
{
    for (size_t i = 0; i < sim->key_count; i++) {
        struct key_history *k = &sim->keys[i];
        if (!entry_changed(sim, k)) continue;
        uint8_t op[4 + 64];
        struct pbft_span key = {(const uint8_t *)k->key, strlen(k->key)};
        struct pbft_query query = {.want_body = 1, .op_count = 1, .ops = {op, 4}};
        size_t op_size = pbft_kv_encode_get(op + 4, sizeof op - 4, key);
        pbft_put_u32(op, (uint32_t)op_size);
        query.ops.size += op_size;
        struct pbft_frame *frame = pbft_apply_query(sim->oracle, &query);
        PBFT_ASSERT(frame != NULL);
        struct pbft_msg msg;
        struct pbft_span bytes = {NULL, 0};
        struct pbft_kv_result result = {0};
        size_t cursor = 0;
        /* No door: it would hash each value of each batch, only to compare it with itself. */
        enum pbft_verdict verdict =
            pbft_wire_decode(pbft_frame_span(frame), &sim->o.params, &sim->arena, &msg);
        PBFT_ASSERT(
            verdict == PBFT_OK &&
            pbft_wire_next_item(pbft_wire_query_results(msg.query_reply.body), &cursor, &bytes) &&
            pbft_kv_decode_result(bytes, &result));
        struct version v = {.seq = seq, .executed_ns = sim->now_ns};
        v.present = result.status == PBFT_KV_OK;
        size_t size =
            result.value.size < sizeof v.value - 1 ? result.value.size : sizeof v.value - 1;
        if (v.present && size > 0) memcpy(v.value, result.value.data, size);
        pbft_frame_release(frame);
        const struct version *last = &k->versions[k->count - 1];
        if (last->present == v.present && strcmp(last->value, v.value) == 0) continue;
        k->versions = sim_grow(k->versions, &k->capacity, k->count, sizeof *k->versions);
        k->versions[k->count++] = v;
    }
}

struct key_history *check_key(struct sim *sim, const char *key)
{
    for (size_t i = 0; i < sim->key_count; i++)
        if (strcmp(sim->keys[i].key, key) == 0) return &sim->keys[i];
    sim->keys = sim_grow(sim->keys, &sim->key_capacity, sim->key_count, sizeof *sim->keys);
    struct key_history *k = &sim->keys[sim->key_count++];
    *k = (struct key_history){0};
    snprintf(k->key, sizeof k->key, "%s", key);
    k->versions = sim_grow(k->versions, &k->capacity, 0, sizeof *k->versions);
    k->versions[k->count++] = (struct version){0}; /* absent at genesis: watched before its use */
    return k;
}

/* What CHECKPOINTs have to say: the root, and at the end of an epoch what follows. */
static void oracle_root(struct sim *sim, pbft_seq seq)
{
    if (seq % sim->o.params.checkpoint_interval != 0) return;
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(sim->oracle);
    struct pbft_digest key, root;
    struct pbft_epoch_change change;
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    if (pbft_apply_change(sim->oracle, &change) && change.seq == seq) {
        change.root = root;
        pbft_epoch_digest(&change, &root);
    }
    key_numbers(&key, seq, 0, 0, 0);
    bool fresh;
    map_put(&sim->roots, &key, &fresh)->value = root;
}

void oracle_execute(struct sim *sim, const struct pbft_effect *e)
{
    if (sim->oracle_epoch + 1 < sim->epoch_count &&
        e->execute.seq > sim->epochs[sim->oracle_epoch + 1].cluster->genesis_seq)
        pbft_apply_cluster(sim->oracle, sim->epochs[++sim->oracle_epoch].cluster);
    struct pbft_proposal proposal = {0};
    bool null = e->execute.frame == NULL;
    struct pbft_digest digest;
    pbft_digest_null(&digest);
    if (!null) {
        enum pbft_verdict verdict =
            pbft_door_reopen_proposal(sim->epochs[sim->oracle_epoch].door, e->execute.proposal,
                                      NULL, 0, &proposal);
        if (verdict != PBFT_OK) {
            sim_fail(sim, "FAULTS 3.4: proposal of seq %llu does not open: %s",
                     (unsigned long long)e->execute.seq, pbft_verdict_text(verdict));
            return;
        }
        digest = proposal.digest;
    }
    if (!pbft_digest_equal(&digest, &e->execute.digest))
        sim_fail(sim, "FAULTS 3.4: seq %llu is executed with a body of another digest",
                 (unsigned long long)e->execute.seq);
    for (uint32_t i = 0; !null && i < proposal.request_count; i++)
        if (map_find(&sim->requests, &proposal.requests[i].digest) == NULL)
            sim_fail(sim, "FAULTS 3.4: seq %llu holds a request that no client signed",
                     (unsigned long long)e->execute.seq);
    if (sim->failed) return;
    struct pbft_apply_done done;
    pbft_apply_execute(sim->oracle, e->execute.seq, null ? NULL : &proposal, &done);
    for (uint32_t i = 0; !null && i < done.applied_count; i++) {
        note_result(sim, &proposal.requests[i], &done.applied[i]);
        pbft_frame_release(done.applied[i].reply);
    }
    sim->executed = sim_grow(sim->executed, &sim->executed_capacity, sim->executed_count,
                             sizeof *sim->executed);
    sim->executed[sim->executed_count++] = (struct executed){e->execute.digest, sim->now_ns};
    if (!null && proposal.request_count > 0) note_versions(sim, e->execute.seq);
    oracle_root(sim, e->execute.seq);
}

bool sim_executed(const struct sim *sim, pbft_seq seq, struct pbft_digest *digest)
{
    if (seq == 0 || seq > sim->executed_count) return false;
    if (digest != NULL) *digest = sim->executed[seq - 1].digest;
    return true;
}

pbft_seq sim_executed_last(const struct sim *sim)
{
    return sim->executed_count;
}

/* ---- answers ---- */

/* Would execution refuse this request now? EXPIRED and STALE are said without ordering too, out of
 * what a replica has executed, and once true they stay so (PROTOCOL 6, 7). */
static bool refused_for_good(struct sim *sim, const struct op *op, uint8_t outcome)
{
    if (outcome != PBFT_OUTCOME_EXPIRED && outcome != PBFT_OUTCOME_STALE) return false;
    struct pbft_digest any = {{0}}; /* neither depends on what was asked */
    struct pbft_applied applied;
    if (pbft_apply_lookup(sim->oracle, op->op.client, sim->clients[op->op.client].session, op->op.t,
                          &any, &applied) != PBFT_LOOKUP_REPLY)
        return false;
    struct pbft_peer self = {PBFT_PEER_REPLICA, 0, 1};
    struct pbft_msg msg;
    PBFT_ASSERT(applied.reply != NULL);
    enum pbft_verdict verdict =
        pbft_door_open_client(reply_door(sim), &self, pbft_frame_span(applied.reply), &msg);
    bool same = verdict == PBFT_OK && msg.reply.outcome == outcome;
    pbft_frame_release(applied.reply);
    return same;
}

static void reply_key(const struct sim *sim, struct pbft_digest *key, uint32_t client, uint64_t t,
                      uint8_t outcome, const struct pbft_digest *result)
{
    key_with_digest(key, (uint64_t)client << 8 | outcome, sim->clients[client].session, t, result);
}

void note_reply(struct sim *sim, uint32_t client, pbft_id from, const struct pbft_reply *reply)
{
    struct pbft_digest key;
    bool fresh;
    if (reply->session != sim->clients[client].session) return;
    reply_key(sim, &key, client, reply->t, reply->outcome, &reply->result);
    map_put(&sim->replies, &key, &fresh)->number |= pbft_signers_of(from);
}

/* PROTOCOL 31: whoever repeats itself is still one. */
static void check_quorum(struct sim *sim, const struct op *op, uint8_t outcome,
                         const struct pbft_digest *result)
{
    struct pbft_digest key;
    if (op->op.t == 0) return;
    reply_key(sim, &key, op->op.client, op->op.t, outcome, result);
    const struct map_entry *told_by = map_find(&sim->replies, &key);
    unsigned count = told_by == NULL ? 0 : pbft_signers_count(told_by->number);
    if (count < pbft_quorum(sim->n))
        sim_fail(sim, "PROTOCOL 31: client %u accepted what %u replicas gave it for t %llu",
                 op->op.client, count, (unsigned long long)op->op.t);
}

/* FAULTS 3.17: the oracle gave that result to this operation of this client. */
void check_ordered(struct sim *sim, struct op *op, uint8_t outcome,
                   const struct pbft_digest *result)
{
    check_quorum(sim, op, outcome, result);
    struct pbft_digest key;
    struct pbft_span ops = {op->bytes, op->size};
    any_key(&key, op->op.client, ops, outcome, result);
    if (refused_for_good(sim, op, outcome)) return;
    if (map_find(&sim->results_any, &key) == NULL) {
        sim_fail(sim,
                 "FAULTS 3.17: client %u accepted a result that the oracle never gave (t %llu)",
                 op->op.client, (unsigned long long)op->op.t);
        return;
    }
    if (op->op.t == 0) return;
    key_numbers(&key, op->op.client, sim->clients[op->op.client].session, op->op.t, 0);
    const struct map_entry *entry = map_find(&sim->results, &key);
    if (entry == NULL) return;
    if (!pbft_digest_equal(&entry->value, result))
        sim_fail(sim, "FAULTS 3.17: client %u accepted another result for t %llu", op->op.client,
                 (unsigned long long)op->op.t);
    if (entry->number > sim->answered_floor) sim->answered_floor = entry->number;
}

/* FAULTS 3.16: some version of the key was the current one while the read was under way, not
 * older than anything that was answered before it began. */
void check_fast(struct sim *sim, struct op *op)
{
    const struct key_history *k = check_key(sim, op->op.key);
    bool present = op->op.kv_status == PBFT_KV_OK;
    for (size_t i = 0; i < k->count; i++) {
        const struct version *v = &k->versions[i];
        if (v->present != present || (present && strcmp(v->value, op->op.value) != 0)) continue;
        bool current_late_enough = i + 1 == k->count || k->versions[i + 1].seq > op->floor;
        if (!current_late_enough) continue;
        if (v->seq > sim->answered_floor) sim->answered_floor = v->seq;
        return;
    }
    sim_fail(sim, "FAULTS 3.16: client %u read %s = \"%s\" (%s), which it was not at %llu or later",
             op->op.client, op->op.key, op->op.value, present ? "found" : "absent",
             (unsigned long long)op->floor);
}
