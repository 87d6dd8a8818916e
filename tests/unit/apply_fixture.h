/**
 * tests/unit/apply_fixture.h - for the tests of replica/apply: a cluster's parameters, a counting
 * frame pool, a service that tells how often an operation ran, requests built field by field.
 * Signatures play no part: apply gets what the door has opened.
 */
#ifndef PBFT_TESTS_APPLY_FIXTURE_H
#define PBFT_TESTS_APPLY_FIXTURE_H

#include "crypto/hash.h"
#include "replica/apply.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_CLIENTS 4u
#define FIXTURE_SECOND  1000000000u

static inline uint64_t fixture_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- a pool that counts, and that can be told to refuse ------------------------------------ */

struct fixture_pool {
    struct pbft_frame_pool base; /* first */
    unsigned live;
    bool refuse;
};

static inline struct pbft_frame *fixture_alloc(struct pbft_frame_pool *base, uint32_t capacity)
{
    struct fixture_pool *pool = (struct fixture_pool *)(void *)base;
    if (pool->refuse) return NULL;
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    cr_assert_not_null(frame);
    frame->pool = base;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    pool->live++;
    return frame;
}

static inline void fixture_free(struct pbft_frame_pool *base, struct pbft_frame *frame)
{
    ((struct fixture_pool *)(void *)base)->live--;
    free(frame);
}

/* ---- the probe service --------------------------------------------------------------------
 *
 * Every operation counts its runs under (client, session, t, index) and then answers by its first
 * byte: 'n' the count so far as u64, '0' nothing, 'b' and u32: so many bytes, 't' agreed time u64.
 * Query 'n' + key: the count; 'b' as above; 's': number of keys. */

static inline void probe_fill(struct pbft_result *r, uint32_t size)
{
    for (uint32_t i = 0; i < size && !r->overflow; i++)
        pbft_result_u8(r, (uint8_t)(i * 7 + i / 251));
}

static inline void probe_execute(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                                 struct pbft_span op, struct pbft_result *result)
{
    (void)context;
    uint8_t key[24], bytes[8];
    pbft_put_u32(key, call->client_index);
    pbft_put_u64(key + 4, call->session);
    pbft_put_u64(key + 12, call->t);
    pbft_put_u32(key + 20, call->op_index);
    struct pbft_span value;
    uint64_t runs = 1;
    if (pbft_txn_get(txn, (struct pbft_span){key, sizeof key}, &value))
        runs += pbft_get_u64(value.data);
    pbft_put_u64(bytes, runs);
    pbft_txn_put(txn, (struct pbft_span){key, sizeof key}, (struct pbft_span){bytes, sizeof bytes});
    if (op.size == 0) return;
    if (op.data[0] == 'n') pbft_result_u64(result, runs);
    if (op.data[0] == 't') pbft_result_u64(result, call->time_ns);
    if (op.data[0] == 'b' && op.size == 5) probe_fill(result, pbft_get_u32(op.data + 1));
}

static inline bool probe_count(void *context, struct pbft_span key, struct pbft_span value)
{
    (void)key;
    (void)value;
    (*(uint64_t *)context)++;
    return true;
}

static inline void probe_query(void *context, struct pbft_view_txn *view, struct pbft_span op,
                               struct pbft_result *result, uint64_t *mark)
{
    (void)context;
    struct pbft_span none = {NULL, 0}, value;
    uint64_t n = 0;
    if (op.size > 0 && op.data[0] == 'b' && op.size == 5) {
        probe_fill(result, pbft_get_u32(op.data + 1));
        return;
    }
    if (op.size > 0 && op.data[0] == 's')
        pbft_view_scan(view, none, none, probe_count, &n, mark);
    else if (op.size > 0 &&
             pbft_view_get(view, (struct pbft_span){op.data + 1, op.size - 1}, &value, mark))
        n = pbft_get_u64(value.data);
    pbft_result_u64(result, n);
}

static inline void probe_genesis(void *context, struct pbft_txn *txn)
{
    (void)context;
    pbft_txn_put(txn, (struct pbft_span){(const uint8_t *)"born", 4},
                 (struct pbft_span){(const uint8_t *)"with this", 9});
}

static const struct pbft_service probe_service = {
    .name = "probe",
    .genesis = probe_genesis,
    .execute = probe_execute,
    .query = probe_query,
};

/* ---- the world ---------------------------------------------------------------------------- */

struct fixture {
    struct pbft_cluster cluster;
    struct pbft_public_key keys[FIXTURE_CLIENTS];
    struct fixture_pool pool;
    struct pbft_apply *apply;
    struct pbft_apply_done done;
    uint64_t now_ns; /* agreed time of the next batch */
    uint8_t *arena;  /* for decoding replies */
    size_t arena_size;
};

static inline struct pbft_params fixture_params(void)
{
    return (struct pbft_params){
        .n = 4,
        .window = 64,
        .checkpoint_interval = 32,
        .pipeline_depth = 8,
        .batch_max_bytes = 1u << 20,
        .batch_max_requests = 64,
        .bundle_max_ops = 16,
        .key_max_bytes = 64,
        .value_max_bytes = 1024,
        .reply_max_bytes = 2048,
        .session_window = 4,
        .sessions_per_client = 3,
        .sessions_total = 7,
        .client_quota = 16,
        .session_idle_ns = 16u * (uint64_t)FIXTURE_SECOND,
        .clock_skew_ns = FIXTURE_SECOND,
        .view_timeout_ns = FIXTURE_SECOND,
        .view_timeout_max_ns = FIXTURE_SECOND,
    };
}

/* When a session active at `ns` may be retired under fixture_params(). */
#define FIXTURE_IDLE_NS (17u * (uint64_t)FIXTURE_SECOND)

static inline void fixture_open(struct fixture *f, const struct pbft_params *params,
                                const struct pbft_service *service)
{
    memset(f, 0, sizeof *f);
    f->pool.base = (struct pbft_frame_pool){fixture_alloc, fixture_free};
    f->cluster.params = *params;
    f->cluster.clients = f->keys;
    f->cluster.client_count = FIXTURE_CLIENTS;
    for (unsigned i = 0; i < FIXTURE_CLIENTS; i++)
        memset(&f->keys[i], (int)i + 1, sizeof f->keys[i]);
    f->apply = pbft_apply_new(&(struct pbft_apply_config){.cluster = &f->cluster,
                                                          .service = service,
                                                          .pool = &f->pool.base});
    cr_assert_not_null(f->apply);
    f->now_ns = 1000u * (uint64_t)FIXTURE_SECOND;
    f->arena_size = pbft_wire_arena_bytes(params);
    f->arena = aligned_alloc(64, (f->arena_size + 63) / 64 * 64);
    cr_assert_not_null(f->arena);
}

static inline void fixture_drop_replies(struct fixture *f)
{
    for (uint32_t i = 0; i < f->done.applied_count; i++)
        pbft_frame_release(f->done.applied[i].reply);
    f->done.applied_count = 0;
}

static inline void fixture_close(struct fixture *f)
{
    fixture_drop_replies(f);
    cr_assert_eq(f->pool.live, 0, "frames leak");
    pbft_apply_free(f->apply);
    free(f->arena);
}

/* `ops` is a list of operations, each a string; numbers of 'b' are put behind it by the caller. */
static inline struct pbft_request fixture_request(uint32_t client, uint64_t session, uint64_t t,
                                                  struct pbft_span items, uint32_t count)
{
    struct pbft_request r;
    memset(&r, 0, sizeof r);
    r.client_index = client;
    r.session = session;
    r.t = t;
    r.op_count = count;
    r.ops = items;
    uint8_t head[20];
    pbft_put_u32(head, client);
    pbft_put_u64(head + 4, session);
    pbft_put_u64(head + 12, t);
    struct pbft_span parts[] = {{head, sizeof head}, items};
    pbft_hash(&r.digest, "request", parts, 2);
    return r;
}

/* One operation 'n'. */
static inline struct pbft_request fixture_count(uint32_t client, uint64_t session, uint64_t t)
{
    static const uint8_t items[] = {1, 0, 0, 0, 'n'};
    return fixture_request(client, session, t, (struct pbft_span){items, sizeof items}, 1);
}

/* The same place, another content. */
static inline struct pbft_request fixture_other(uint32_t client, uint64_t session, uint64_t t)
{
    static const uint8_t items[] = {1, 0, 0, 0, '0'};
    return fixture_request(client, session, t, (struct pbft_span){items, sizeof items}, 1);
}

/* Appends operation 'b' with its size; `items` has room for it. */
static inline size_t fixture_blob(uint8_t *items, uint32_t size)
{
    pbft_put_u32(items, 5);
    items[4] = 'b';
    pbft_put_u32(items + 5, size);
    return 9;
}

static inline void fixture_execute(struct fixture *f, struct pbft_request *requests, uint32_t count)
{
    fixture_drop_replies(f);
    struct pbft_proposal proposal = {.time_ns = f->now_ns,
                                     .request_count = count,
                                     .requests = requests};
    pbft_apply_execute(f->apply, pbft_apply_seq(f->apply) + 1, &proposal, &f->done);
    cr_assert_eq(f->done.applied_count, count);
    cr_assert_eq(f->done.seq, pbft_apply_seq(f->apply));
}

/* Opens a reply and checks what every reply has. */
static inline struct pbft_reply fixture_reply(struct fixture *f, const struct pbft_applied *applied)
{
    struct pbft_msg msg;
    struct pbft_digest result;
    cr_assert_not_null(applied->reply);
    struct pbft_arena arena = {f->arena, f->arena_size, 0};
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(applied->reply), &f->cluster.params, &arena,
                                  &msg),
                 PBFT_OK);
    cr_assert_eq(msg.type, PBFT_REPLY);
    cr_assert_eq(msg.reply.session, applied->session);
    cr_assert_eq(msg.reply.t, applied->t);
    cr_assert(pbft_digest_equal(&msg.reply.request, &applied->request));
    cr_assert_eq(msg.reply.flags, PBFT_REPLY_HAS_BODY);
    pbft_digest_result(&result, msg.reply.outcome, msg.reply.body);
    cr_assert(pbft_digest_equal(&result, &msg.reply.result));
    cr_assert_geq(msg.reply.body.size, 4);
    return msg.reply;
}

/* A batch of one; its outcome. */
static inline struct pbft_reply fixture_one(struct fixture *f, struct pbft_request request)
{
    fixture_execute(f, &request, 1);
    return fixture_reply(f, &f->done.applied[0]);
}

static inline uint8_t fixture_outcome(struct fixture *f, struct pbft_request request)
{
    return fixture_one(f, request).outcome;
}

/* The only result of a bundle of one, as a number. */
static inline uint64_t fixture_number(const struct pbft_reply *reply)
{
    cr_assert_eq(reply->body.size, 16);
    cr_assert_eq(pbft_get_u32(reply->body.data), 1);
    cr_assert_eq(pbft_get_u32(reply->body.data + 4), 8);
    return pbft_get_u64(reply->body.data + 8);
}

static inline struct pbft_digest fixture_root(struct fixture *f)
{
    struct pbft_digest root;
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(f->apply);
    cr_assert_not_null(snapshot);
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    return root;
}

static inline uint64_t fixture_entries(struct fixture *f)
{
    return pbft_tree_count(pbft_apply_tree(f->apply));
}

#endif
