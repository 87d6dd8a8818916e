/**
 * tests/unit/wire_random.h - random well-formed messages of every type, and a decoder that checks
 * canonical form as it goes. Everything is static inline: the unit tests are one binary.
 */
#ifndef PBFT_TESTS_WIRE_RANDOM_H
#define PBFT_TESTS_WIRE_RANDOM_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pbft/quorum.h"
#include "pbft/wire.h"

static const uint8_t types[] = {PBFT_REQUEST,     PBFT_PRE_PREPARE, PBFT_PREPARE,
                                PBFT_COMMIT,      PBFT_CHECKPOINT,  PBFT_VIEW_CHANGE,
                                PBFT_NEW_VIEW,    PBFT_STATUS_MSG,  PBFT_FETCH,
                                PBFT_BATCH,       PBFT_PAGE,        PBFT_CERTIFICATE,
                                PBFT_HEADER,      PBFT_REPLY,       PBFT_QUERY,
                                PBFT_QUERY_REPLY, PBFT_BUSY,        PBFT_RESULT_FETCH,
                                PBFT_ADMIN,       PBFT_ADMIN_REPLY};
#define TYPES (sizeof types / sizeof types[0])

/* Small bounds, so that random messages reach them. */
static inline struct pbft_params bounds(void)
{
    struct pbft_params p = pbft_params_default(7);
    p.window = 16;
    p.checkpoint_interval = 8;
    p.batch_max_bytes = 4096;
    p.batch_max_requests = 4;
    p.bundle_max_ops = 4;
    return p;
}

/* ---- random messages ---- */

struct gen {
    uint64_t state;
    size_t used;
    uint8_t pool[1u << 16];
};

static inline uint64_t next(struct gen *g)
{
    uint64_t z = (g->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t below(struct gen *g, uint32_t bound)
{
    return (uint32_t)(next(g) % bound);
}

static inline uint8_t *room(struct gen *g, size_t size)
{
    size_t rounded = (size + 15u) & ~(size_t)15u;
    cr_assert(rounded <= sizeof g->pool - g->used);
    uint8_t *p = g->pool + g->used;
    g->used += rounded;
    return p;
}

static inline uint8_t *bytes(struct gen *g, size_t size)
{
    uint8_t *p = room(g, size);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)next(g);
    return p;
}

static inline struct pbft_digest random_digest(struct gen *g)
{
    struct pbft_digest d;
    memcpy(d.bytes, bytes(g, sizeof d.bytes), sizeof d.bytes);
    return d;
}

static inline struct pbft_signatures random_signatures(struct gen *g)
{
    pbft_signers set = next(g) & pbft_everyone(7);
    return (struct pbft_signatures){set, bytes(g, pbft_signers_count(set) * 64u)};
}

static inline struct pbft_span random_items(struct gen *g, uint32_t count)
{
    uint8_t *start = room(g, (size_t)count * 28u);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = below(g, 25);
        pbft_put_u32(start + size, length);
        for (uint32_t j = 0; j < length; j++)
            start[size + 4 + j] = (uint8_t)next(g);
        size += 4 + (size_t)length;
    }
    return (struct pbft_span){start, size};
}

static inline struct pbft_span encode(struct gen *g, const struct pbft_msg *m)
{
    size_t size = pbft_wire_size(m);
    cr_assert(size >= PBFT_WIRE_HEADER_BYTES, "type %u", m->type);
    uint8_t *out = room(g, size);
    cr_assert_eq(pbft_wire_encode(m, out, size), size);
    return (struct pbft_span){out, size};
}

static inline struct pbft_request random_request(struct gen *g)
{
    struct pbft_request r = {.session = next(g), .t = 1 + below(g, 1000)};
    memcpy(r.client.bytes, bytes(g, 32), 32);
    r.op_count = 1 + below(g, 4);
    r.ops = random_items(g, r.op_count);
    r.signature = bytes(g, 64);
    return r;
}

static inline struct pbft_proposal random_proposal(struct gen *g, pbft_epoch epoch)
{
    struct pbft_proposal p = {.time_ns = next(g), .request_count = below(g, 5)};
    p.requests = (struct pbft_request *)(void *)room(g, 5 * sizeof *p.requests);
    memset(p.requests, 0, 5 * sizeof *p.requests);
    for (uint32_t i = 0; i < p.request_count; i++) {
        struct pbft_msg m = {.type = PBFT_REQUEST, .epoch = epoch, .request = random_request(g)};
        p.requests[i].frame = encode(g, &m);
    }
    return p;
}

static inline struct pbft_view_change random_view_change(struct gen *g)
{
    struct pbft_view_change vc = {.view = next(g),
                                  .sender = below(g, 7),
                                  .stable = next(g),
                                  .stable_root = random_digest(g),
                                  .stable_proof = random_signatures(g),
                                  .prepared_count = below(g, 5)};
    vc.prepared = (struct pbft_prepared *)(void *)room(g, 5 * sizeof *vc.prepared);
    pbft_seq seq = below(g, 100);
    for (uint32_t i = 0; i < vc.prepared_count; i++) {
        seq += 1 + below(g, 3);
        vc.prepared[i] = (struct pbft_prepared){seq, next(g), random_digest(g), bytes(g, 64),
                                                random_signatures(g)};
    }
    vc.signature = bytes(g, 64);
    return vc;
}

static inline struct pbft_new_view random_new_view(struct gen *g)
{
    struct pbft_new_view nv = {.view = next(g),
                               .sender = below(g, 7),
                               .signers = next(g) & pbft_everyone(7),
                               .min_s = next(g),
                               .count = below(g, 4),
                               .signature = bytes(g, 64)};
    nv.vc_digests = bytes(g, pbft_signers_count(nv.signers) * 32u);
    nv.entries = bytes(g, nv.count * (size_t)PBFT_NEW_VIEW_ENTRY_BYTES);
    return nv;
}

static inline struct pbft_span random_bits(struct gen *g, uint16_t count)
{
    size_t size = ((size_t)count + 7) / 8;
    uint8_t *bits = bytes(g, size + 1);
    if (count % 8 != 0) bits[size - 1] &= (uint8_t)((1u << (count % 8)) - 1);
    return (struct pbft_span){bits, size};
}

static inline struct pbft_status_msg random_status(struct gen *g)
{
    struct pbft_status_msg s = {.view = next(g),
                                .stable = next(g),
                                .executed = next(g),
                                .counter = next(g),
                                .flags = (uint8_t)below(g, 4),
                                .view_changes = next(g) & pbft_everyone(7),
                                .waits_client =
                                    next(g) % 4 == 0 ? PBFT_STATUS_NONE : (uint32_t)next(g),
                                .count = (uint16_t)below(g, 17)};
    if (s.waits_client != PBFT_STATUS_NONE) s.waits_session = next(g), s.waits_t = next(g);
    s.have_proposal = random_bits(g, s.count);
    s.prepared = random_bits(g, s.count);
    s.committed = random_bits(g, s.count);
    return s;
}

static inline struct pbft_fetch random_fetch(struct gen *g)
{
    struct pbft_fetch f = {.kind = (uint8_t)(1 + below(g, 6))};
    if (f.kind <= PBFT_FETCH_VIEW_CHANGE) f.digest = random_digest(g);
    if (f.kind == PBFT_FETCH_HEADER) f.view = next(g);
    if (f.kind == PBFT_FETCH_BATCH || f.kind >= PBFT_FETCH_HEADER) f.seq = next(g);
    return f;
}

static inline struct pbft_certificate random_certificate(struct gen *g, pbft_epoch epoch)
{
    struct pbft_certificate c = {.kind = (uint8_t)(1 + below(g, 2)),
                                 .seq = next(g),
                                 .digest = random_digest(g),
                                 .signatures = random_signatures(g)};
    if (c.kind == PBFT_CERT_CHECKPOINT) return c;
    c.view = next(g);
    c.has_proposal = below(g, 3) > 0;
    if (c.has_proposal) c.proposal = random_proposal(g, epoch);
    return c;
}

static inline struct pbft_reply random_reply(struct gen *g)
{
    struct pbft_reply r = {.view = next(g),
                           .seq = next(g),
                           .session = next(g),
                           .t = next(g),
                           .request = random_digest(g),
                           .outcome = (uint8_t)below(g, PBFT_OUTCOME_COUNT),
                           .flags = (uint8_t)below(g, 2),
                           .result = random_digest(g)};
    if (r.flags == 0) return r;
    uint32_t count = below(g, 5);
    uint8_t *body = room(g, 4 + 5 * 28);
    struct pbft_span items = random_items(g, count);
    pbft_put_u32(body, count);
    memcpy(body + 4, items.data, items.size);
    r.body = (struct pbft_span){body, 4 + items.size};
    return r;
}

static inline struct pbft_span random_span(struct gen *g, uint32_t most)
{
    size_t size = below(g, most + 1);
    return (struct pbft_span){bytes(g, size + 1), size};
}

static inline struct pbft_query random_query(struct gen *g)
{
    struct pbft_query q = {
        next(g), next(g), (uint8_t)below(g, 2), 1 + (uint32_t)below(g, 4), {NULL, 0}};
    q.ops = random_items(g, q.op_count);
    return q;
}

static inline struct pbft_span random_results(struct gen *g)
{
    uint32_t count = (uint32_t)below(g, 5);
    struct pbft_span items = random_items(g, count);
    size_t head = 4 + 8 * (size_t)count;
    uint8_t *body = room(g, head + items.size);
    pbft_put_u32(body, count);
    for (uint32_t i = 0; i < count; i++)
        pbft_put_u64(body + 4 + 8 * (size_t)i, next(g));
    if (items.size > 0) memcpy(body + head, items.data, items.size);
    return (struct pbft_span){body, head + items.size};
}

static inline void random_client_message(struct gen *g, struct pbft_msg *m)
{
    if (m->type == PBFT_REPLY) m->reply = random_reply(g);
    if (m->type == PBFT_QUERY) m->query = random_query(g);
    if (m->type == PBFT_QUERY_REPLY) {
        m->query_reply = (struct pbft_query_reply){.id = next(g),
                                                   .mark = next(g),
                                                   .executed = next(g),
                                                   .result = random_digest(g)};
        m->query_reply.outcome = below(g, 2) ? PBFT_OUTCOME_EXECUTED : PBFT_OUTCOME_INVALID;
        m->query_reply.flags = (uint8_t)below(g, 2);
        if (m->query_reply.flags != 0) m->query_reply.body = random_results(g);
    }
    if (m->type == PBFT_BUSY) m->busy = (struct pbft_busy){next(g), next(g)};
    if (m->type == PBFT_RESULT_FETCH)
        m->result_fetch = (struct pbft_result_fetch){next(g), next(g)};
    if (m->type == PBFT_ADMIN)
        m->admin = (struct pbft_admin){next(g), (uint8_t)(1 + below(g, 3)), random_span(g, 40)};
    if (m->type == PBFT_ADMIN_REPLY)
        m->admin_reply =
            (struct pbft_admin_reply){next(g), (uint8_t)below(g, 2), random_span(g, 40)};
}

static inline struct pbft_msg random_message(struct gen *g, uint8_t type)
{
    struct pbft_msg m = {.type = type, .epoch = (pbft_epoch)next(g)};
    if (type >= PBFT_REPLY) random_client_message(g, &m);
    if (type == PBFT_REQUEST) m.request = random_request(g);
    if (type == PBFT_PRE_PREPARE || type == PBFT_HEADER) {
        m.pre_prepare = (struct pbft_pre_prepare){.view = next(g),
                                                  .seq = next(g),
                                                  .digest = random_digest(g),
                                                  .signature = bytes(g, 64)};
        if (type == PBFT_PRE_PREPARE) m.pre_prepare.proposal = random_proposal(g, m.epoch);
    }
    if (type == PBFT_PREPARE || type == PBFT_COMMIT)
        m.vote = (struct pbft_vote){next(g), next(g), random_digest(g), below(g, 7), bytes(g, 64)};
    if (type == PBFT_CHECKPOINT)
        m.checkpoint =
            (struct pbft_checkpoint){next(g), random_digest(g), below(g, 7), bytes(g, 64)};
    if (type == PBFT_VIEW_CHANGE) m.view_change = random_view_change(g);
    if (type == PBFT_NEW_VIEW) m.new_view = random_new_view(g);
    if (type == PBFT_STATUS_MSG) m.status = random_status(g);
    if (type == PBFT_FETCH) m.fetch = random_fetch(g);
    if (type == PBFT_BATCH) m.batch = random_proposal(g, m.epoch);
    if (type == PBFT_PAGE) m.page = random_span(g, 60);
    if (type == PBFT_CERTIFICATE) m.certificate = random_certificate(g, m.epoch);
    return m;
}

/* ---- decoding ---- */

struct bench {
    struct pbft_params p;
    struct pbft_arena arena;
    struct gen gen;
};

static inline struct bench *bench_new(uint64_t seed)
{
    struct bench *b = calloc(1, sizeof *b);
    cr_assert_not_null(b);
    b->p = bounds();
    b->arena.size = pbft_wire_arena_bytes(&b->p);
    b->arena.base = malloc(b->arena.size);
    b->gen.state = seed;
    return b;
}

static inline void bench_free(struct bench *b)
{
    free(b->arena.base);
    free(b);
}

/* From memory of exactly this size, so that a sanitizer sees any read beyond. Returns the verdict;
 * what decodes must encode to the same bytes, and peeking must have agreed. */
static inline enum pbft_verdict decode_checked(struct bench *b, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (size > 0) memcpy(copy, data, size);
    struct pbft_span frame = {copy, size};
    struct pbft_msg m;
    struct pbft_claim claim;
    b->arena.used = 0;
    enum pbft_verdict peeked = pbft_wire_peek(frame, &claim);
    enum pbft_verdict verdict = pbft_wire_decode(frame, &b->p, &b->arena, &m);
    cr_assert(b->arena.used <= b->arena.size);
    if (verdict == PBFT_OK) {
        uint8_t *again = malloc(size + 1);
        cr_assert_eq(pbft_wire_size(&m), size, "type %u", m.type);
        cr_assert_eq(pbft_wire_encode(&m, again, size), size, "type %u", m.type);
        cr_assert_eq(memcmp(again, copy, size), 0, "type %u is not canonical", m.type);
        free(again);
        /* Only a sender beyond any cluster is refused by peeking alone. */
        cr_assert(peeked == PBFT_OK || peeked == PBFT_DROP_SENDER, "type %u", m.type);
    }
    free(copy);
    return verdict;
}

#endif
