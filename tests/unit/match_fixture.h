/**
 * tests/unit/match_fixture.h - a client core, the frames it sent and the answers that it gave, for
 * the tests of client/match: replicas are what the test says in their name.
 */
#ifndef TESTS_UNIT_MATCH_FIXTURE_H
#define TESTS_UNIT_MATCH_FIXTURE_H

#include "client/match.h"
#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "replica/pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MS       UINT64_C(1000000)
#define SESSION  UINT64_C(77)
#define SENT_MAX 4096

struct sent {
    pbft_signers to;
    struct pbft_frame *frame;
    uint8_t type;
};

struct world {
    struct pbft_cluster cluster;
    struct pbft_cluster next; /* epoch */
    struct pbft_keypair key;
    struct pbft_pool *pool;
    void *memory;
    struct pbft_match *m;
    uint64_t now;
    struct sent sent[SENT_MAX]; /* of the last call */
    size_t sent_count;
    struct pbft_match_completion done[64]; /* not yet looked at */
    size_t done_count;
    uint64_t next_token;
};

static inline struct world *world_new(uint32_t n, uint32_t window, uint32_t session_window)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    struct world *w = calloc(1, sizeof *w);
    cr_assert_not_null(w);
    w->cluster.params = pbft_params_default(n);
    w->cluster.params.session_window = session_window;
    memset(w->cluster.id.bytes, 9, sizeof w->cluster.id.bytes);
    uint8_t seed[32] = {1, 2, 3};
    pbft_keypair_from_seed(&w->key, seed);
    w->pool = pbft_pool_new(64u << 20);
    w->now = 1000 * MS;
    struct pbft_match_config config = {
        .cluster = &w->cluster,
        .signer = &pbft_signer_ed25519,
        .keypair = &w->key,
        .session = SESSION,
        .window = window,
        .retry_ns = 400 * MS,
        .pool = pbft_pool_frames(w->pool),
    };
    w->memory = malloc(pbft_match_size(&config));
    w->m = pbft_match_init(w->memory, &config);
    return w;
}

static inline void forget_sent(struct world *w)
{
    for (size_t i = 0; i < w->sent_count; i++)
        pbft_frame_release(w->sent[i].frame);
    w->sent_count = 0;
}

static inline void take(struct world *w, const struct pbft_match_out *out)
{
    forget_sent(w);
    for (size_t i = 0; i < out->send_count; i++) {
        struct pbft_claim claim;
        cr_assert_eq(pbft_wire_peek(pbft_frame_span(out->sends[i].frame), &claim), PBFT_OK);
        cr_assert_lt(w->sent_count, (size_t)SENT_MAX);
        w->sent[w->sent_count++] = (struct sent){out->sends[i].to, out->sends[i].frame, claim.type};
    }
    for (size_t i = 0; i < out->completion_count; i++) {
        cr_assert_lt(w->done_count, (size_t)64);
        w->done[w->done_count++] = out->completions[i];
    }
}

static inline void forget_done(struct world *w)
{
    for (size_t i = 0; i < w->done_count; i++)
        pbft_frame_release(w->done[i].frame);
    w->done_count = 0;
}

static inline void world_free(struct world *w)
{
    forget_sent(w);
    forget_done(w);
    pbft_match_release(w->m);
    pbft_pool_free(w->pool); /* asserts that no frame is left */
    free(w->memory);
    free(w);
}

static inline size_t one_item(uint8_t *out, const char *text)
{
    size_t size = strlen(text);
    pbft_put_u32(out, (uint32_t)size);
    memcpy(out + 4, text, size);
    return size + 4;
}

static inline enum pbft_verdict submit(struct world *w, uint64_t timeout_ns)
{
    uint8_t ops[64];
    size_t size = one_item(ops, "op");
    struct pbft_match_out out;
    enum pbft_verdict verdict =
        pbft_match_submit(w->m, w->now, timeout_ns == 0 ? 0 : w->now + timeout_ns, w->next_token++,
                          (struct pbft_span){ops, size}, 1, &out);
    take(w, &out);
    return verdict;
}

static inline enum pbft_verdict read_op(struct world *w, bool ordered)
{
    uint8_t ops[64];
    size_t size = one_item(ops, "get");
    struct pbft_match_out out;
    enum pbft_verdict verdict = pbft_match_read(w->m, w->now, 0, w->next_token++,
                                                (struct pbft_span){ops, size}, 1, ordered, &out);
    take(w, &out);
    return verdict;
}

static inline void tick(struct world *w)
{
    struct pbft_match_out out;
    pbft_match_tick(w->m, w->now, &out);
    take(w, &out);
}

/* The digest of the request that the last call sent. */
static inline struct pbft_digest sent_digest(const struct world *w)
{
    struct pbft_digest digest = {{0}};
    for (size_t i = 0; i < w->sent_count; i++) {
        if (w->sent[i].type != PBFT_REQUEST) continue;
        pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(w->sent[i].frame)));
        return digest;
    }
    cr_assert_fail("no request was sent");
    return digest;
}

struct answer {
    uint64_t t;
    struct pbft_digest request;
    const char *text; /* the only result */
    bool whole;
    uint8_t outcome;
    pbft_seq seq;
    pbft_view view;
};

static inline enum pbft_verdict deliver(struct world *w, pbft_id from, struct pbft_msg *msg,
                                        struct pbft_span body, bool whole)
{
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), (uint32_t)body.size + 1);
    cr_assert_not_null(frame);
    if (body.size > 0) memcpy(frame->bytes, body.data, body.size);
    frame->size = (uint32_t)body.size;
    struct pbft_span held = {whole ? frame->bytes : NULL, whole ? body.size : 0};
    if (msg->type == PBFT_REPLY) msg->reply.body = held;
    if (msg->type == PBFT_QUERY_REPLY) msg->query_reply.body = held;
    struct pbft_match_out out;
    enum pbft_verdict verdict = pbft_match_message(w->m, w->now, from, msg, frame, &out);
    take(w, &out);
    pbft_frame_release(frame);
    return verdict;
}

static inline enum pbft_verdict reply(struct world *w, pbft_id from, const struct answer *a)
{
    uint8_t body[64];
    pbft_put_u32(body, 1);
    struct pbft_span span = {body, 4 + one_item(body + 4, a->text)};
    struct pbft_msg msg = {.type = PBFT_REPLY};
    msg.reply = (struct pbft_reply){.view = a->view,
                                    .seq = a->seq,
                                    .session = SESSION,
                                    .t = a->t,
                                    .request = a->request,
                                    .outcome = a->outcome,
                                    .flags = a->whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_result(&msg.reply.result, a->outcome, span);
    return deliver(w, from, &msg, span, a->whole);
}

/* The body of a QUERY-REPLY to one read, 16 bytes and the text. */
static inline struct pbft_span query_body(uint8_t *out, const char *text, uint64_t mark)
{
    pbft_put_u32(out, 1);
    pbft_put_u64(out + 4, mark);
    return (struct pbft_span){out, 12 + one_item(out + 12, text)};
}

static inline enum pbft_verdict query_reply(struct world *w, pbft_id from, uint64_t id,
                                            const char *text, uint64_t mark, pbft_seq executed,
                                            bool whole)
{
    uint8_t *body = calloc(1, 16 + strlen(text));
    struct pbft_span span = query_body(body, text, mark);
    struct pbft_msg msg = {.type = PBFT_QUERY_REPLY};
    msg.query_reply = (struct pbft_query_reply){.id = id,
                                                .mark = mark,
                                                .executed = executed,
                                                .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_query(&msg.query_reply.result, 0, mark, span);
    enum pbft_verdict verdict = deliver(w, from, &msg, span, whole);
    free(body);
    return verdict;
}

static inline uint64_t sent_query(const struct world *w)
{
    for (size_t i = 0; i < w->sent_count; i++)
        if (w->sent[i].type == PBFT_QUERY)
            return pbft_get_u64(w->sent[i].frame->bytes + PBFT_WIRE_HEADER_BYTES);
    cr_assert_fail("no query was sent");
    return 0;
}

static inline uint64_t sent_floor(const struct world *w)
{
    cr_assert_eq(w->sent[0].type, PBFT_QUERY);
    return pbft_get_u64(w->sent[0].frame->bytes + PBFT_WIRE_HEADER_BYTES + 8);
}

/* The only result of the only completion. */
static inline void expect_answer(struct world *w, const char *text)
{
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_ANSWER);
    size_t cursor = 0;
    struct pbft_span item = {NULL, 0};
    cr_assert(pbft_wire_next_item(w->done[0].body, &cursor, &item));
    cr_assert_eq(item.size, strlen(text));
    cr_assert_eq(memcmp(item.data, text, item.size), 0);
    forget_done(w);
}

#endif
