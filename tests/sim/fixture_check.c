/* The invariants of FAULTS 3, over replicas that are not Byzantine, and the oracle: one more
 * execution of the agreed order that every answer and every root is compared with. */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "service/kv.h"

#include <stdlib.h>
#include <string.h>

/* ---- maps ---- */

static size_t slot_of(const struct map *map, const struct pbft_digest *key)
{
    uint64_t x = pbft_get_u64(key->bytes) ^ (pbft_get_u64(key->bytes + 8) * 31u) ^
                 (pbft_get_u64(key->bytes + 16) * 131u) ^ (pbft_get_u64(key->bytes + 24) * 1031u);
    x ^= x >> 31;
    x *= UINT64_C(0x9E3779B97F4A7C15);
    size_t at = (size_t)(x >> 20) & (map->capacity - 1);
    while (map->entries[at].used && !pbft_digest_equal(&map->entries[at].key, key))
        at = (at + 1) & (map->capacity - 1);
    return at;
}

struct map_entry *map_find(const struct map *map, const struct pbft_digest *key)
{
    if (map->count == 0) return NULL;
    size_t at = slot_of(map, key);
    return map->entries[at].used ? &map->entries[at] : NULL;
}

static void map_reserve(struct map *map)
{
    if (2 * (map->count + 1) < map->capacity) return;
    struct map larger = {.capacity = map->capacity == 0 ? 64 : map->capacity * 2,
                         .count = map->count};
    larger.entries = sim_alloc(larger.capacity * sizeof *larger.entries);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].used)
            larger.entries[slot_of(&larger, &map->entries[i].key)] = map->entries[i];
    free(map->entries);
    *map = larger;
}

struct map_entry *map_put(struct map *map, const struct pbft_digest *key, bool *fresh)
{
    map_reserve(map);
    struct map_entry *entry = &map->entries[slot_of(map, key)];
    *fresh = !entry->used;
    if (entry->used) return entry;
    entry->used = true;
    entry->key = *key;
    map->count++;
    return entry;
}

void map_free(struct map *map)
{
    free(map->entries);
    memset(map, 0, sizeof *map);
}

static void key_numbers(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    pbft_put_u64(key->bytes, a);
    pbft_put_u64(key->bytes + 8, b);
    pbft_put_u64(key->bytes + 16, c);
    pbft_put_u64(key->bytes + 24, d);
}

static void key_with_digest(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c,
                            const struct pbft_digest *digest)
{
    uint8_t numbers[24];
    pbft_put_u64(numbers, a);
    pbft_put_u64(numbers + 8, b);
    pbft_put_u64(numbers + 16, c);
    struct pbft_span parts[2] = {{numbers, sizeof numbers}, {digest->bytes, sizeof digest->bytes}};
    pbft_hash(key, "sim", parts, 2);
}

/* ---- life ---- */

bool check_start(struct sim *sim)
{
    struct pbft_apply_config apply = {&sim->cluster, sim->o.service, pbft_pool_frames(sim->pool)};
    sim->oracle = pbft_apply_new(&apply);
    struct pbft_door_config door = {.cluster = &sim->cluster,
                                    .signer = sim->o.signer,
                                    .cache_entries = 16};
    sim->oracle_door = pbft_door_new(&door);
    sim->reply_door = pbft_door_new(&door);
    if (sim->oracle == NULL || sim->oracle_door == NULL || sim->reply_door == NULL) return false;
    struct pbft_snapshot *genesis = pbft_apply_snapshot(sim->oracle);
    pbft_snapshot_root(genesis, &sim->cluster.genesis_root);
    pbft_snapshot_release(genesis);
    return true;
}

void check_restart(struct node *node)
{
    node->view = 0;
    node->stable = node->executing = 0;
    node->log_seen = 0;
    node->log_records_seen = 0;
    map_free(&node->synced);
    /* What it said in an earlier life still binds its key: node->said stays (FAULTS 3.5). */
}

void check_free(struct sim *sim)
{
    for (pbft_id id = 0; id < sim->n; id++) {
        map_free(&sim->nodes[id].synced);
        map_free(&sim->nodes[id].said);
    }
    struct map *maps[] = {&sim->requests, &sim->results,   &sim->results_any, &sim->roots,
                          &sim->prepared, &sim->committed, &sim->decided,     &sim->checkpoints};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++)
        map_free(maps[i]);
    for (size_t i = 0; i < sim->key_count; i++)
        free(sim->keys[i].versions);
    free(sim->keys);
    free(sim->executed);
    pbft_door_free(sim->oracle_door);
    pbft_door_free(sim->reply_door);
    pbft_apply_free(sim->oracle);
}

/* ---- the oracle ---- */

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
        pbft_door_open_client(sim->reply_door, &self, pbft_frame_span(applied->reply), &msg);
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

static void note_versions(struct sim *sim, pbft_seq seq)
{
    for (size_t i = 0; i < sim->key_count; i++) {
        struct key_history *k = &sim->keys[i];
        uint8_t op[64];
        struct pbft_span key = {(const uint8_t *)k->key, strlen(k->key)};
        struct pbft_query query = {.want_body = 1, .op = {op, 0}};
        query.op.size = pbft_kv_encode_get(op, sizeof op, key);
        struct pbft_frame *frame = pbft_apply_query(sim->oracle, &query);
        PBFT_ASSERT(frame != NULL);
        struct pbft_peer self = {PBFT_PEER_REPLICA, 0, 1};
        struct pbft_msg msg;
        struct pbft_kv_result result = {0};
        enum pbft_verdict verdict =
            pbft_door_open_client(sim->reply_door, &self, pbft_frame_span(frame), &msg);
        PBFT_ASSERT(verdict == PBFT_OK && pbft_kv_decode_result(msg.query_reply.body, &result));
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

static void oracle_root(struct sim *sim, pbft_seq seq)
{
    if (seq % sim->o.params.checkpoint_interval != 0) return;
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(sim->oracle);
    struct pbft_digest key, root;
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    key_numbers(&key, seq, 0, 0, 0);
    bool fresh;
    map_put(&sim->roots, &key, &fresh)->value = root;
}

static void oracle_execute(struct sim *sim, const struct pbft_effect *e)
{
    struct pbft_proposal proposal = {0};
    bool null = e->execute.frame == NULL;
    struct pbft_digest digest;
    pbft_digest_null(&digest);
    if (!null) {
        enum pbft_verdict verdict =
            pbft_door_reopen_proposal(sim->oracle_door, e->execute.proposal, &proposal);
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
    note_versions(sim, e->execute.seq);
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

/* ---- effects ---- */

static void on_execute(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    pbft_seq seq = e->execute.seq;
    if (seq != node->executing + 1)
        sim_fail(sim, "FAULTS 3.3: replica %u executes %llu after %llu", node->id,
                 (unsigned long long)seq, (unsigned long long)node->executing);
    node->executing = seq;
    if (seq == sim->executed_count + 1) oracle_execute(sim, e);
    if (sim->failed) return;
    struct pbft_digest agreed;
    if (!sim_executed(sim, seq, &agreed))
        sim_fail(sim, "FAULTS 3.3: replica %u executes %llu, which nobody has reached", node->id,
                 (unsigned long long)seq);
    else if (!pbft_digest_equal(&agreed, &e->execute.digest))
        sim_fail(sim, "FAULTS 3.1: replica %u executes another proposal at %llu", node->id,
                 (unsigned long long)seq);
}

static void on_stable(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    if (e->stable.seq <= node->stable)
        sim_fail(sim, "FAULTS 3.11: replica %u: stable %llu after %llu", node->id,
                 (unsigned long long)e->stable.seq, (unsigned long long)node->stable);
    node->stable = e->stable.seq;
    struct pbft_digest key;
    key_with_digest(&key, e->stable.seq, 0, 0, &e->stable.root);
    const struct map_entry *signed_by = map_find(&sim->checkpoints, &key);
    unsigned honest = signed_by == NULL ? 0 : pbft_signers_count(signed_by->number);
    unsigned liars = pbft_signers_count(sim->o.byzantine);
    if (honest + liars < pbft_quorum(sim->n))
        sim_fail(sim, "FAULTS 3.11: replica %u: checkpoint %llu stable with %u signers", node->id,
                 (unsigned long long)e->stable.seq, honest + liars);
}

/* A signature counts from when it is made: our own vote is part of the quorum before it leaves. */
static void on_persist(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    struct pbft_claim claim;
    if (e->persist.record != PBFT_RECORD_CHECKPOINT ||
        pbft_wire_peek(pbft_frame_span(e->persist.frames[0]), &claim) != PBFT_OK)
        return;
    struct pbft_digest key;
    key_with_digest(&key, claim.seq, 0, 0, &claim.digest);
    bool fresh;
    map_put(&sim->checkpoints, &key, &fresh)->number |= pbft_signers_of(node->id);
}

/* The state is replaced: execution goes on behind the certified checkpoint. */
static void on_transfer(struct node *node, const struct pbft_effect *e)
{
    node->executing = e->transfer.seq;
}

/* Whoever is shown the two frames must find them as we did (PROTOCOL 36). */
static void check_evidence(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    char why[RECHECK_WHY_BYTES];
    if (!recheck_evidence(&sim->cluster, sim->o.signer, e->evidence.culprit,
                          pbft_frame_span(e->evidence.frames[0]),
                          pbft_frame_span(e->evidence.frames[1]), why))
        sim_fail(sim, "FAULTS 3.7: evidence of replica %u: %s", node->id, why);
}

static void tell_effect(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    if (sim->observer == NULL) return;
    struct sim_seen seen = {.from = node->id};
    switch (e->kind) {
    case PBFT_EFFECT_EXECUTE:
        seen.kind = SIM_SEEN_EXECUTED;
        seen.claim.seq = e->execute.seq;
        seen.claim.view = e->execute.view;
        seen.claim.digest = e->execute.digest;
        break;
    case PBFT_EFFECT_STABLE:
        seen.kind = SIM_SEEN_STABLE;
        seen.claim.seq = e->stable.seq;
        break;
    case PBFT_EFFECT_TRANSFER:
        seen.kind = SIM_SEEN_TRANSFER;
        seen.claim.seq = e->transfer.seq;
        break;
    case PBFT_EFFECT_EVIDENCE:
        seen.kind = SIM_SEEN_EVIDENCE;
        seen.to = e->evidence.culprit;
        break;
    case PBFT_EFFECT_VIEW:
        seen.kind = SIM_SEEN_VIEW;
        seen.claim.view = e->view.view;
        seen.active = e->view.active;
        break;
    case PBFT_EFFECT_MUTED:
    case PBFT_EFFECT_PERSIST:
    case PBFT_EFFECT_SEND:
    case PBFT_EFFECT_TAKE_CHECKPOINT:
    case PBFT_EFFECT_FETCH:
    case PBFT_EFFECT_FETCH_STOP: return;
    }
    sim_tell(sim, &seen);
}

void check_effects(struct sim *sim, struct node *node, const struct pbft_effects *effects)
{
    for (size_t i = 0; i < effects->count && !sim->failed; i++) {
        const struct pbft_effect *e = &effects->items[i];
        tell_effect(sim, node, e);
        switch (e->kind) {
        case PBFT_EFFECT_EXECUTE: on_execute(sim, node, e); break;
        case PBFT_EFFECT_STABLE: on_stable(sim, node, e); break;
        case PBFT_EFFECT_TRANSFER: on_transfer(node, e); break;
        case PBFT_EFFECT_EVIDENCE:
            if (sim_is_correct(sim, e->evidence.culprit))
                sim_fail(sim, "FAULTS 3.20: replica %u accuses correct replica %u", node->id,
                         e->evidence.culprit);
            check_evidence(sim, node, e);
            break;
        case PBFT_EFFECT_VIEW:
            if (sim->o.expect_no_view_change)
                sim_fail(sim, "FAULTS 3.22: replica %u leaves for view %llu without need", node->id,
                         (unsigned long long)e->view.view);
            break;
        case PBFT_EFFECT_MUTED:
            if (!node->mute)
                sim_fail(sim, "PROTOCOL 29: replica %u thinks that it lost its memory", node->id);
            break;
        case PBFT_EFFECT_PERSIST: on_persist(sim, node, e); break;
        case PBFT_EFFECT_SEND:
        case PBFT_EFFECT_TAKE_CHECKPOINT:
        case PBFT_EFFECT_FETCH:
        case PBFT_EFFECT_FETCH_STOP: break;
        }
    }
}

/* ---- what is sent ---- */

/* A statement that its signer is bound by: false for frames that state nothing of `id`'s own. */
static bool own_statement(const struct sim *sim, pbft_id id, struct pbft_span frame,
                          struct pbft_claim *claim)
{
    if (pbft_wire_peek(frame, claim) != PBFT_OK) return false;
    switch ((enum pbft_type)claim->type) {
    case PBFT_PRE_PREPARE:
    case PBFT_HEADER: /* the same signature */
        claim->type = PBFT_PRE_PREPARE;
        return pbft_primary(sim->n, claim->view) == id;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE: return claim->sender == id;
    case PBFT_NEW_VIEW: return pbft_primary(sim->n, claim->view) == id;
    case PBFT_REQUEST:
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return false;
}

/* What may not differ between two frames of equal (type, view, seq). */
static void content_of(const struct pbft_claim *claim, struct pbft_span frame,
                       struct pbft_digest *out)
{
    if (claim->type == PBFT_VIEW_CHANGE || claim->type == PBFT_NEW_VIEW)
        pbft_hash(out, "sim-frame", &frame, 1);
    else
        *out = claim->digest;
}

static void statement_key(const struct pbft_claim *claim, const struct pbft_digest *content,
                          struct pbft_digest *key)
{
    key_with_digest(key, claim->type, claim->view, claim->seq, content);
}

/* Walk a record's payload: frames behind their lengths. */
static void note_record(struct sim *sim, struct node *node, struct pbft_span payload)
{
    size_t at = 0;
    struct pbft_span frame;
    while (pbft_wire_next_item(payload, &at, &frame)) {
        struct pbft_claim claim;
        if (!own_statement(sim, node->id, frame, &claim)) continue;
        struct pbft_digest content, key;
        content_of(&claim, frame, &content);
        statement_key(&claim, &content, &key);
        bool fresh;
        map_put(&node->synced, &key, &fresh);
    }
    if (at != payload.size) sim_fail(sim, "a log record of replica %u does not parse", node->id);
}

static bool visit_record(void *context, const struct pbft_log_record *record)
{
    struct node *node = context;
    if (!record->durable) return false;
    if (record->lsn > node->log_seen) {
        note_record(node->sim, node, record->payload);
        node->log_seen = record->lsn;
    }
    return true;
}

/* FAULTS 3.6: read from the synced log itself, not from what the node believes. */
static void check_synced(struct sim *sim, struct node *node, const struct pbft_claim *claim,
                         const struct pbft_digest *content)
{
    struct pbft_digest key;
    statement_key(claim, content, &key);
    if (map_find(&node->synced, &key) != NULL) return;
    pbft_log_iterate(node->log, visit_record, node);
    if (map_find(&node->synced, &key) != NULL) return;
    if (claim->type == PBFT_PRE_PREPARE) { /* an O entry: its NEW-VIEW is what was synced */
        struct pbft_digest said_key;
        key_numbers(&said_key, PBFT_NEW_VIEW, claim->view, 0, 0);
        if (map_find(&node->said, &said_key) != NULL) return;
    }
    sim_fail(sim, "FAULTS 3.6: replica %u sends %s v %llu n %llu that its log does not hold",
             node->id, pbft_type_text(claim->type), (unsigned long long)claim->view,
             (unsigned long long)claim->seq);
}

/* FAULTS 3.5, across all incarnations. */
static void check_said(struct sim *sim, struct node *node, const struct pbft_claim *claim,
                       const struct pbft_digest *content)
{
    struct pbft_digest key;
    key_numbers(&key, claim->type, claim->view, claim->seq, 0);
    bool fresh;
    struct map_entry *entry = map_put(&node->said, &key, &fresh);
    if (fresh)
        entry->value = *content;
    else if (!pbft_digest_equal(&entry->value, content))
        sim_fail(sim, "FAULTS 3.5: replica %u says two things in %s v %llu n %llu", node->id,
                 pbft_type_text(claim->type), (unsigned long long)claim->view,
                 (unsigned long long)claim->seq);
}

static void check_commit(struct sim *sim, const struct node *node, const struct pbft_claim *claim)
{
    struct pbft_digest key;
    bool fresh;
    key_numbers(&key, claim->view, claim->seq, 0, 0);
    struct map_entry *entry = map_put(&sim->prepared, &key, &fresh);
    if (!fresh && !pbft_digest_equal(&entry->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.8: two digests prepared at v %llu n %llu",
                 (unsigned long long)claim->view, (unsigned long long)claim->seq);
    entry->value = claim->digest;

    key_numbers(&key, claim->seq, 0, 0, 0);
    const struct map_entry *decided = map_find(&sim->decided, &key);
    if (decided != NULL && claim->view >= decided->number &&
        !pbft_digest_equal(&decided->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.2: n %llu was decided in view %llu, another digest in view %llu",
                 (unsigned long long)claim->seq, (unsigned long long)decided->number,
                 (unsigned long long)claim->view);
    struct pbft_digest votes_key;
    key_with_digest(&votes_key, claim->seq, claim->view, 0, &claim->digest);
    struct map_entry *votes = map_put(&sim->committed, &votes_key, &fresh);
    votes->number |= pbft_signers_of(node->id);
    if (pbft_signers_count(votes->number) < pbft_quorum(sim->n)) return;
    struct map_entry *now = map_put(&sim->decided, &key, &fresh);
    if (!fresh && now->number <= claim->view) return;
    now->value = claim->digest;
    now->number = claim->view;
}

static void check_own_checkpoint(struct sim *sim, const struct node *node,
                                 const struct pbft_claim *claim)
{
    struct pbft_digest key;
    key_numbers(&key, claim->seq, 0, 0, 0);
    const struct map_entry *root = map_find(&sim->roots, &key);
    if (root == NULL || !pbft_digest_equal(&root->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.12: replica %u signs another root at %llu", node->id,
                 (unsigned long long)claim->seq);
}

void check_outbound(struct sim *sim, struct node *node, struct pbft_frame *frame)
{
    struct pbft_claim claim;
    char why[RECHECK_WHY_BYTES];
    if (sim->failed) return;
    if (!recheck_sent(sim->recheck, pbft_frame_span(frame), why))
        sim_fail(sim, "FAULTS 3.7: replica %u sends %s: %s", node->id,
                 pbft_type_text(frame->bytes[0]), why);
    if (!own_statement(sim, node->id, pbft_frame_span(frame), &claim)) return;
    if (node->mute)
        sim_fail(sim, "PROTOCOL 29: mute replica %u sends %s", node->id,
                 pbft_type_text(claim.type));
    struct pbft_digest content;
    content_of(&claim, pbft_frame_span(frame), &content);
    check_synced(sim, node, &claim, &content);
    check_said(sim, node, &claim, &content);
    pbft_seq highest = node->stable + sim->o.params.window;
    if ((claim.type == PBFT_PREPARE || claim.type == PBFT_COMMIT) && claim.seq > highest)
        sim_fail(sim, "FAULTS 3.13: replica %u votes for %llu above %llu", node->id,
                 (unsigned long long)claim.seq, (unsigned long long)highest);
    if (claim.type == PBFT_COMMIT) check_commit(sim, node, &claim);
    if (claim.type == PBFT_CHECKPOINT) check_own_checkpoint(sim, node, &claim);
}

/* ---- state ---- */

void check_node(struct sim *sim, struct node *node)
{
    struct pbft_core_info info;
    pbft_core_info(pbft_node_core(node->node), &info);
    if (info.view < node->view)
        sim_fail(sim, "FAULTS 3.9: replica %u: view %llu after %llu", node->id,
                 (unsigned long long)info.view, (unsigned long long)node->view);
    node->view = info.view;
    if (info.stable != node->stable)
        sim_fail(sim, "FAULTS 3.11: replica %u: h is %llu, STABLE said %llu", node->id,
                 (unsigned long long)info.stable, (unsigned long long)node->stable);
    pbft_seq highest = info.stable + sim->o.params.window;
    if (info.proposed > highest)
        sim_fail(sim, "FAULTS 3.13: replica %u accepted %llu above %llu", node->id,
                 (unsigned long long)info.proposed, (unsigned long long)highest);
}

/* ---- answers ---- */

/* FAULTS 3.17: the oracle gave that result to this operation of this client. */
void check_ordered(struct sim *sim, struct op *op, uint8_t outcome,
                   const struct pbft_digest *result)
{
    struct pbft_digest key;
    struct pbft_span ops = {op->bytes, op->size};
    any_key(&key, op->op.client, ops, outcome, result);
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
