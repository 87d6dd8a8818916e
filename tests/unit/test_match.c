/* client/match: which replies make an answer, what is sent when, and that f liars never get a wrong
 * answer through (FAULTS 2.25, 2.26, 4.23; PROTOCOL 7, 22, 31-34). */
#include "client/match.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "replica/pool.h"

#include <criterion/criterion.h>
#include <stdio.h>
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

static struct world *world_new(uint32_t n, uint32_t window, uint32_t session_window)
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

static void forget_sent(struct world *w)
{
    for (size_t i = 0; i < w->sent_count; i++)
        pbft_frame_release(w->sent[i].frame);
    w->sent_count = 0;
}

static void take(struct world *w, const struct pbft_match_out *out)
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

static void forget_done(struct world *w)
{
    for (size_t i = 0; i < w->done_count; i++)
        pbft_frame_release(w->done[i].frame);
    w->done_count = 0;
}

static void world_free(struct world *w)
{
    forget_sent(w);
    forget_done(w);
    pbft_match_release(w->m);
    pbft_pool_free(w->pool); /* asserts that no frame is left */
    free(w->memory);
    free(w);
}

static size_t one_item(uint8_t *out, const char *text)
{
    size_t size = strlen(text);
    pbft_put_u32(out, (uint32_t)size);
    memcpy(out + 4, text, size);
    return size + 4;
}

static enum pbft_verdict submit(struct world *w, uint64_t timeout_ns)
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

static enum pbft_verdict read_op(struct world *w, bool ordered)
{
    struct pbft_match_out out;
    enum pbft_verdict verdict =
        pbft_match_read(w->m, w->now, 0, w->next_token++,
                        (struct pbft_span){(const uint8_t *)"get", 3}, ordered, &out);
    take(w, &out);
    return verdict;
}

static void tick(struct world *w)
{
    struct pbft_match_out out;
    pbft_match_tick(w->m, w->now, &out);
    take(w, &out);
}

/* The digest of the request that the last call sent. */
static struct pbft_digest sent_digest(const struct world *w)
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

static enum pbft_verdict deliver(struct world *w, pbft_id from, struct pbft_msg *msg,
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

static enum pbft_verdict reply(struct world *w, pbft_id from, const struct answer *a)
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

static enum pbft_verdict query_reply(struct world *w, pbft_id from, uint64_t id, const char *text,
                                     uint64_t mark, pbft_seq executed, bool whole)
{
    struct pbft_span span = {(const uint8_t *)text, strlen(text)};
    struct pbft_msg msg = {.type = PBFT_QUERY_REPLY};
    msg.query_reply = (struct pbft_query_reply){.id = id,
                                                .mark = mark,
                                                .executed = executed,
                                                .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_query(&msg.query_reply.result, 0, mark, span);
    return deliver(w, from, &msg, span, whole);
}

static uint64_t sent_query(const struct world *w)
{
    for (size_t i = 0; i < w->sent_count; i++)
        if (w->sent[i].type == PBFT_QUERY)
            return pbft_get_u64(w->sent[i].frame->bytes + PBFT_WIRE_HEADER_BYTES);
    cr_assert_fail("no query was sent");
    return 0;
}

static uint64_t sent_floor(const struct world *w)
{
    cr_assert_eq(w->sent[0].type, PBFT_QUERY);
    return pbft_get_u64(w->sent[0].frame->bytes + PBFT_WIRE_HEADER_BYTES + 8);
}

/* The only result of the only completion. */
static void expect_answer(struct world *w, const char *text)
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

static void expect_read(struct world *w, const char *text)
{
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_ANSWER);
    cr_assert_eq(w->done[0].body.size, strlen(text));
    cr_assert_eq(memcmp(w->done[0].body.data, text, strlen(text)), 0);
    forget_done(w);
}

Test(match, first_request_goes_to_all_then_to_the_primary)
{
    struct world *w = world_new(4, 4, 16);
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(0));
    struct pbft_match_out out;
    pbft_match_disconnected(w->m, 2);
    pbft_match_connected(w->m, w->now, 2, &out); /* sees what is under way */
    take(w, &out);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[1].to, pbft_signers_of(2));
    pbft_match_disconnected(w->m, 0); /* nobody waits for a primary that is gone */
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    world_free(w);
}

Test(match, what_a_dead_primary_had_goes_to_the_others_at_once)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    submit(w, 0); /* seen by the primary alone */
    pbft_match_disconnected(w->m, 3);
    cr_assert_gt(pbft_match_deadline(w->m), w->now);
    pbft_match_disconnected(w->m, 0);
    cr_assert_leq(pbft_match_deadline(w->m), w->now);
    tick(w);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[0].to & w->sent[1].to, pbft_everyone(4));
    cr_assert_gt(pbft_match_deadline(w->m), w->now, "once");
    world_free(w);
}

Test(match, answers_at_q_and_not_before)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true, .seq = 5};
    cr_assert_eq(reply(w, 0, &a), PBFT_OK);
    for (int i = 0; i < 5; i++)
        reply(w, 0, &a); /* one replica is one vote (FAULTS 2.9) */
    a.whole = false;
    reply(w, 1, &a);
    cr_assert_eq(w->done_count, 0u);
    reply(w, 2, &a);
    expect_answer(w, "yes");
    cr_assert_eq(pbft_match_stats(w->m)->answered, 1u);
    cr_assert_eq(pbft_match_outstanding(w->m), 0u);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "answered once");
    world_free(w);
}

Test(match, liars_up_to_f_plus_one_do_not_make_an_answer)
{
    for (uint32_t n = 4; n <= 10; n++) {
        struct world *w = world_new(n, 4, 16);
        submit(w, 0);
        struct answer lie = {
            .t = 1, .request = sent_digest(w), .text = "lie", .whole = true, .seq = 5};
        struct answer truth = lie;
        truth.text = "truth";
        uint32_t f = pbft_quorum_faults(n);
        for (pbft_id i = 0; i <= f; i++)
            reply(w, i, &lie);
        cr_assert_eq(w->done_count, 0u, "n = %u", n);
        reply(w, 0, &truth); /* a liar may think better of it */
        for (pbft_id i = f + 1; i < n; i++)
            reply(w, i, &truth);
        if (n - f >= pbft_quorum(n)) expect_answer(w, "truth");
        for (pbft_id i = 1; i <= f; i++)
            cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[i], 1u);
        cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[0], 0u);
        world_free(w);
    }
}

Test(match, a_late_lie_is_counted_once)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    expect_answer(w, "yes");
    a.text = "no";
    reply(w, 3, &a);
    reply(w, 3, &a);
    cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[3], 1u);
    a.text = "yes";
    a.request.bytes[0] ^= 1;
    reply(w, 2, &a); /* speaks of another request */
    cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[2], 1u);
    world_free(w);
}

Test(match, replies_to_another_request_or_session_do_not_match)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    struct answer other = a;
    other.request.bytes[31] ^= 1;
    for (pbft_id i = 0; i < 4; i++)
        reply(w, i, &other);
    cr_assert_eq(w->done_count, 0u);
    other = a;
    other.t = 2;
    for (pbft_id i = 0; i < 4; i++)
        cr_assert_eq(reply(w, i, &other), PBFT_DROP_UNWANTED);
    other.t = UINT64_MAX;
    cr_assert_eq(reply(w, 0, &other), PBFT_DROP_UNWANTED);
    struct pbft_msg foreign = {.type = PBFT_REPLY};
    foreign.reply.session = SESSION + 1;
    foreign.reply.t = 1;
    cr_assert_eq(deliver(w, 0, &foreign, (struct pbft_span){NULL, 0}, false), PBFT_DROP_STATE);
    struct pbft_msg type = {.type = PBFT_ADMIN_REPLY};
    cr_assert_eq(deliver(w, 0, &type, (struct pbft_span){NULL, 0}, false), PBFT_DROP_TYPE);
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, equal_digests_of_different_outcomes_do_not_match)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "x", .whole = true};
    reply(w, 0, &a);
    reply(w, 1, &a);
    a.outcome = PBFT_OUTCOME_STALE;
    reply(w, 2, &a);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u);
    reply(w, 1, &a);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].outcome, PBFT_OUTCOME_STALE);
    cr_assert_not(pbft_match_opened(w->m));
    world_free(w);
}

Test(match, asks_those_who_agreed_for_the_body_in_turn)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    pbft_id designated = pbft_designated(4, &w->key.public, 1);
    pbft_id liar = (designated + 1) % 4;
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    struct answer lie = a;
    lie.text = "no";
    lie.whole = true;
    reply(w, liar, &lie);
    reply(w, (designated + 2) % 4, &a);
    reply(w, (designated + 3) % 4, &a);
    cr_assert_eq(w->sent_count, 0u);
    reply(w, designated, &a); /* withholds the body */
    pbft_signers asked = 0;
    cr_assert_eq(w->sent_count, 1u, "the designated one has spoken: no waiting");
    cr_assert_eq(w->sent[0].type, PBFT_RESULT_FETCH);
    asked |= w->sent[0].to;
    for (int i = 0; i < 8; i++) {
        w->now = pbft_match_deadline(w->m);
        tick(w);
        for (size_t k = 0; k < w->sent_count; k++) {
            cr_assert_eq(w->sent[k].type, PBFT_RESULT_FETCH);
            asked |= w->sent[k].to;
        }
    }
    cr_assert_eq(asked, pbft_everyone(4) & ~pbft_signers_of(liar));
    a.whole = true;
    reply(w, (designated + 3) % 4, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, waits_a_little_for_the_designated_replica)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    pbft_id designated = pbft_designated(4, &w->key.public, 1);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (designated + i) % 4, &a);
    cr_assert_eq(w->sent_count, 0u);
    cr_assert_eq(w->done_count, 0u);
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 50 * MS);
    a.whole = true;
    reply(w, designated, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, the_primary_moves_at_f_plus_one_hints)
{
    struct world *w = world_new(7, 8, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .view = 1u << 30};
    reply(w, 6, &a);
    reply(w, 5, &a);
    reply(w, 5, &a);
    cr_assert_eq(pbft_match_primary(w->m), 0u);
    a.view = 3;
    reply(w, 1, &a); /* three are at 3 or above */
    cr_assert_eq(pbft_match_primary(w->m), 3u);
    a.view = 1;
    reply(w, 2, &a);
    cr_assert_eq(pbft_match_primary(w->m), 3u);
    world_free(w);
}

Test(match, busy_counts_from_f_plus_one)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    uint64_t first = pbft_match_deadline(w->m);
    w->now += 300 * MS;
    struct pbft_msg busy = {.type = PBFT_BUSY};
    busy.busy = (struct pbft_busy){SESSION, 1};
    for (int i = 0; i < 5; i++)
        deliver(w, 3, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_deadline(w->m), first);
    deliver(w, 1, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_gt(pbft_match_deadline(w->m), first);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 1u);
    world_free(w);
}

Test(match, retransmits_to_all_with_back_off)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    uint64_t last = w->now;
    uint64_t expected[] = {400, 800, 1600, 3200, 3200, 3200};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        w->now = pbft_match_deadline(w->m) - 1;
        tick(w);
        cr_assert_eq(w->sent_count, 0u);
        w->now++;
        cr_assert_eq(w->now - last, expected[i] * MS, "%zu", i);
        last = w->now;
        tick(w);
        cr_assert_eq(w->sent_count, 1u);
        cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    }
    cr_assert_eq(pbft_match_stats(w->m)->retransmissions, 6u);
    world_free(w);
}

Test(match, a_timed_out_request_keeps_its_place_until_answered)
{
    struct world *w = world_new(4, 1, 2); /* two places */
    submit(w, 100 * MS);
    struct answer first = {.t = 1, .request = sent_digest(w), .text = "1", .whole = true};
    cr_assert_eq(submit(w, 0), PBFT_DROP_BUSY);
    w->now += 100 * MS;
    tick(w);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_TIMEOUT);
    forget_done(w);
    cr_assert_eq(submit(w, 0), PBFT_OK);
    struct answer second = {.t = 2, .request = sent_digest(w), .text = "2", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &second);
    expect_answer(w, "2");
    cr_assert_eq(submit(w, 0), PBFT_DROP_BUSY, "3 <= 1 + W is not answered (PROTOCOL 7)");
    w->now += 1000 * MS;
    tick(w);
    cr_assert_eq(w->sent_count, 1u, "still retransmitted");
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &first);
    cr_assert_eq(w->done_count, 0u, "the caller heard of it already");
    cr_assert_eq(submit(w, 0), PBFT_OK);
    world_free(w);
}

Test(match, t_is_sent_only_after_every_reply_up_to_t_minus_w)
{
    struct world *w = world_new(4, 4, 8); /* W = 8 */
    submit(w, 0);
    uint64_t sent = 1;
    for (int i = 0; i < 30; i++) {
        if (submit(w, 0) != PBFT_OK) break;
        sent++;
        struct answer a = {.t = sent, .request = sent_digest(w), .text = "x", .whole = true};
        for (pbft_id k = 0; k < 3; k++)
            reply(w, k, &a);
        expect_answer(w, "x");
    }
    cr_assert_eq(sent, 8u, "t = 9 needs the reply to t = 1");
    world_free(w);
}

Test(match, bounds_of_a_request)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_match_out out;
    uint8_t ops[16];
    size_t size = one_item(ops, "op");
    struct pbft_span span = {ops, size};
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 0, &out), PBFT_DROP_SIZE);
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 2, &out), PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 4097, &out), PBFT_DROP_SIZE);
    size_t huge = w->cluster.params.batch_max_bytes;
    uint8_t *bytes = calloc(1, huge);
    /* The longest request that every replica accepts, and one byte more. */
    size_t most = huge - (8 + 32 + 8 + 8 + 4 + 64 + 16);
    pbft_put_u32(bytes, (uint32_t)(most - 4));
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, (struct pbft_span){bytes, most}, 1, &out),
                 PBFT_OK);
    take(w, &out);
    struct pbft_arena arena = {malloc(pbft_wire_arena_bytes(&w->cluster.params)),
                               pbft_wire_arena_bytes(&w->cluster.params), 0};
    struct pbft_msg msg;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(w->sent[0].frame), &w->cluster.params, &arena,
                                  &msg),
                 PBFT_OK);
    pbft_put_u32(bytes, (uint32_t)(most - 3));
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, (struct pbft_span){bytes, most + 1}, 1,
                                   &out),
                 PBFT_DROP_SIZE);
    free(arena.base);
    free(bytes);
    world_free(w);
}

Test(match, fast_read_needs_q_on_result_and_mark)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[0].to | w->sent[1].to, pbft_everyone(4));
    cr_assert_eq(pbft_signers_count(w->sent[0].to), 1u, "one sends the body");
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 7, 900, false);
    struct pbft_msg forged = {.type = PBFT_QUERY_REPLY}; /* the digest of mark 7 under mark 8 */
    forged.query_reply = (struct pbft_query_reply){.id = id, .mark = 8, .executed = 11};
    pbft_digest_query(&forged.query_reply.result, 0, 7,
                      (struct pbft_span){(const uint8_t *)"u", 1});
    deliver(w, 3, &forged, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 2, id, "u", 7, 11, false);
    cr_assert_eq(w->done[0].mark, 7u);
    cr_assert_not(w->done[0].fallback);
    expect_read(w, "u");
    cr_assert_eq(pbft_match_floor(w->m), 11u, "two vouch for 11, one liar alone for 900");
    read_op(w, false);
    cr_assert_eq(sent_floor(w), 11u);
    world_free(w);
}

Test(match, equal_values_with_different_marks_fall_back)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0); /* so that the fallback is sent to the primary alone */
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 9, 12, true);
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 0u);
    query_reply(w, 2, id, "v", 8, 12, true);
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 1u);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    struct answer a = {.t = 2, .request = sent_digest(w), .text = "v", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert(w->done[0].fallback);
    expect_read(w, "v");
    for (pbft_id i = 0; i < 4; i++)
        cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[i], 0u, "lagging is no lie");
    world_free(w);
}

Test(match, silent_fast_read_is_ordered_after_its_patience)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 7, 10, true);
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 100 * MS);
    w->now += 100 * MS;
    tick(w);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    cr_assert_eq(query_reply(w, 2, id, "u", 7, 10, true), PBFT_DROP_UNWANTED);
    cr_assert_eq(w->done_count, 0u);
    world_free(w);
}

Test(match, fast_read_without_a_body_asks_those_who_agreed)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    for (pbft_id i = 0; i < 3; i++)
        query_reply(w, i, id, "u", 7, 10, false);
    if (w->sent_count == 0) { /* the designated one is the missing one: wait for it a little */
        w->now = pbft_match_deadline(w->m);
        tick(w);
    }
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_QUERY);
    cr_assert_eq(w->sent[0].to & pbft_signers_of(3), 0u);
    /* A liar cannot slip another body in. */
    cr_assert_eq(query_reply(w, 3, id, "w", 7, 10, true), PBFT_DROP_UNWANTED);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 1, id, "u", 7, 10, true);
    expect_read(w, "u");
    world_free(w);
}

Test(match, ordered_read_skips_the_fast_path)
{
    struct world *w = world_new(4, 1, 2);
    cr_assert_eq(read_op(w, true), PBFT_OK);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "v", .whole = true, .seq = 4};
    cr_assert_eq(read_op(w, true), PBFT_DROP_BUSY);
    cr_assert_eq(read_op(w, false), PBFT_OK, "fast reads have a window of their own");
    cr_assert_eq(read_op(w, false), PBFT_DROP_BUSY);
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert_not(w->done[0].fallback);
    expect_read(w, "v");
    cr_assert(pbft_match_opened(w->m));
    world_free(w);
}

/* ---- f liars against a model ---------------------------------------------------------------- */

/* A register under a replicated log. Honest replicas execute the log in order, each at its own
 * pace; the value is version mod 3, so that it comes back (PROTOCOL 32). */
#define LOG_MAX 4096

struct entry {
    uint64_t t;
    struct pbft_digest digest;
    bool write;
    uint64_t version; /* of the register after it */
};

struct flight {
    pbft_id from;
    struct pbft_msg msg;
    uint8_t body[32];
    size_t body_size;
    bool whole;
};

struct model {
    struct world *w;
    uint64_t rng;
    uint32_t n, f;
    struct entry log[LOG_MAX];
    size_t log_count;
    size_t executed[PBFT_REPLICAS_MAX]; /* entries */
    struct flight flights[4096];
    size_t flight_count;
    uint64_t completed;     /* highest version of a write that was acknowledged */
    uint64_t read_from[64]; /* by token mod 64: what was completed when the read began */
    bool is_read[64];
    uint64_t answered, timeouts;
};

static uint64_t next_random(struct model *x)
{
    x->rng ^= x->rng << 13;
    x->rng ^= x->rng >> 7;
    x->rng ^= x->rng << 17;
    return x->rng;
}

static bool chance(struct model *x, unsigned percent)
{
    return next_random(x) % 100 < percent;
}

static bool honest(const struct model *x, pbft_id id)
{
    return id >= x->f; /* the first primary is a liar */
}

static uint64_t version_of(const struct model *x, size_t entries)
{
    return entries == 0 ? 0 : x->log[entries - 1].version;
}

static void value_bytes(uint8_t *out, uint64_t version)
{
    pbft_put_u64(out, version % 3);
    pbft_put_u64(out + 8, version);
}

static void fly(struct model *x, const struct flight *flight)
{
    if (x->flight_count == 4096 || chance(x, 4)) return; /* lost */
    x->flights[x->flight_count++] = *flight;
}

/* What a reply of `from` to an entry looks like, with any version and request digest. */
static struct flight reply_flight(struct model *x, pbft_id from, const struct entry *e,
                                  uint64_t version, size_t seq, bool whole)
{
    struct flight flight = {.from = from, .body_size = 4 + 4 + 16, .whole = whole};
    pbft_put_u32(flight.body, 1);
    pbft_put_u32(flight.body + 4, 16);
    value_bytes(flight.body + 8, version);
    flight.msg.type = PBFT_REPLY;
    flight.msg.reply = (struct pbft_reply){.view = honest(x, from) ? x->f : next_random(x),
                                           .seq = seq,
                                           .session = SESSION,
                                           .t = e->t,
                                           .request = e->digest,
                                           .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_result(&flight.msg.reply.result, 0,
                       (struct pbft_span){flight.body, flight.body_size});
    return flight;
}

static void honest_reply(struct model *x, pbft_id id, size_t at, bool whole)
{
    struct flight flight = reply_flight(x, id, &x->log[at], x->log[at].version, at + 1, whole);
    fly(x, &flight);
}

/* Liars agree on what to say, so that their lies match each other. */
static void lie(struct model *x, const struct entry *e)
{
    for (pbft_id id = 0; id < x->f; id++) {
        struct entry shown = *e;
        struct flight flight = reply_flight(x, id, &shown, e->version + 1 + e->t % 2,
                                            (size_t)next_random(x), chance(x, 70));
        switch (next_random(x) % 5) {
        case 0: flight.msg.reply.outcome = PBFT_OUTCOME_STALE; break;
        case 1: flight.msg.reply.request.bytes[3] ^= 1; break;
        case 2: /* the right digest, and no body */
            flight = reply_flight(x, id, &shown, e->version, 1, false);
            break;
        case 3:
            flight.msg.type = PBFT_BUSY;
            flight.msg.busy = (struct pbft_busy){SESSION, e->t};
            break;
        default: break;
        }
        fly(x, &flight);
    }
}

static size_t log_find(struct model *x, uint64_t t, const struct pbft_digest *digest, bool write)
{
    for (size_t i = 0; i < x->log_count; i++)
        if (x->log[i].t == t) return i;
    cr_assert_lt(x->log_count, (size_t)LOG_MAX);
    uint64_t version = version_of(x, x->log_count) + (write ? 1 : 0);
    x->log[x->log_count] = (struct entry){t, *digest, write, version};
    return x->log_count++;
}

static void on_query(struct model *x, pbft_id id, const struct pbft_frame *frame)
{
    const uint8_t *at = frame->bytes + PBFT_WIRE_HEADER_BYTES;
    uint64_t floor = pbft_get_u64(at + 8);
    bool whole = at[16] == 1;
    uint64_t version = version_of(x, x->executed[id]);
    uint64_t executed = x->executed[id];
    if (honest(x, id) && executed < floor) return; /* held, here for ever */
    if (!honest(x, id)) {
        version = next_random(x) % (version_of(x, x->log_count) + 2);
        executed = next_random(x);
        whole = whole && chance(x, 50);
    }
    struct flight flight = {.from = id, .body_size = 16, .whole = whole};
    value_bytes(flight.body, version);
    flight.msg.type = PBFT_QUERY_REPLY;
    flight.msg.query_reply = (struct pbft_query_reply){.id = pbft_get_u64(at),
                                                       .mark = version,
                                                       .executed = executed,
                                                       .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_query(&flight.msg.query_reply.result, 0, version,
                      (struct pbft_span){flight.body, 16});
    fly(x, &flight);
}

static void on_request(struct model *x, pbft_id id, const struct pbft_frame *frame)
{
    const uint8_t *at = frame->bytes + PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES;
    uint64_t t = pbft_get_u64(at + 8);
    bool write = memcmp(at + 24, "set", 3) == 0;
    struct pbft_digest digest;
    pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    if (!honest(x, id)) { /* a liar also answers what nobody ordered */
        struct entry e = {t, digest, write, version_of(x, x->log_count)};
        lie(x, &e);
        return;
    }
    size_t i = log_find(x, t, &digest, write);
    if (x->executed[id] > i)
        honest_reply(x, id, i, pbft_designated(x->n, &x->w->key.public, t) == id);
}

static void on_fetch(struct model *x, pbft_id id, const struct pbft_frame *frame)
{
    uint64_t t = pbft_get_u64(frame->bytes + PBFT_WIRE_HEADER_BYTES + 8);
    for (size_t i = 0; i < x->log_count; i++) {
        if (x->log[i].t != t || x->executed[id] <= i) continue;
        if (honest(x, id))
            honest_reply(x, id, i, true);
        else
            lie(x, &x->log[i]);
    }
}

static void carry(struct model *x)
{
    struct world *w = x->w;
    for (size_t i = 0; i < w->sent_count; i++) {
        for (pbft_id id = 0; id < x->n; id++) {
            if (!pbft_signers_has(w->sent[i].to, id) || chance(x, 4)) continue;
            if (w->sent[i].type == PBFT_QUERY) on_query(x, id, w->sent[i].frame);
            if (w->sent[i].type == PBFT_REQUEST) on_request(x, id, w->sent[i].frame);
            if (w->sent[i].type == PBFT_RESULT_FETCH) on_fetch(x, id, w->sent[i].frame);
        }
    }
    forget_sent(w);
}

/* Every answer is what the log says, and no read goes back behind a completed write. */
static void check_done(struct model *x, uint64_t seed)
{
    struct world *w = x->w;
    for (size_t i = 0; i < w->done_count; i++) {
        struct pbft_match_completion *c = &w->done[i];
        if (c->result == PBFT_MATCH_TIMEOUT) {
            x->timeouts++;
            continue;
        }
        x->answered++;
        cr_assert_eq(c->outcome, 0, "seed %llu", (unsigned long long)seed);
        struct pbft_span value = c->body;
        size_t cursor = 0;
        if (!x->is_read[c->token % 64]) cr_assert(pbft_wire_next_item(c->body, &cursor, &value));
        cr_assert_eq(value.size, 16u);
        uint64_t version = pbft_get_u64(value.data + 8);
        cr_assert_eq(pbft_get_u64(value.data), version % 3);
        cr_assert_leq(version, version_of(x, x->log_count), "seed %llu: a version nobody wrote",
                      (unsigned long long)seed);
        cr_assert_geq(version, x->read_from[c->token % 64], "seed %llu: stale",
                      (unsigned long long)seed);
        if (version > x->completed) x->completed = version;
    }
    forget_done(w);
}

static void start_something(struct model *x)
{
    struct world *w = x->w;
    struct pbft_match_out out;
    uint64_t token = w->next_token++;
    bool write = chance(x, 50);
    uint64_t deadline = chance(x, 10) ? w->now + 200 * MS : 0;
    x->is_read[token % 64] = !write;
    uint64_t before = x->read_from[token % 64];
    x->read_from[token % 64] = x->completed;
    uint8_t ops[16];
    enum pbft_verdict verdict;
    if (write) {
        size_t size = one_item(ops, "set");
        verdict = pbft_match_submit(w->m, w->now, deadline, token, (struct pbft_span){ops, size}, 1,
                                    &out);
    } else {
        verdict =
            pbft_match_read(w->m, w->now, deadline, token,
                            (struct pbft_span){(const uint8_t *)"get", 3}, chance(x, 10), &out);
    }
    if (verdict != PBFT_OK) {
        cr_assert_eq(verdict, PBFT_DROP_BUSY);
        x->read_from[token % 64] = before;
        w->next_token--;
        return;
    }
    take(w, &out);
    carry(x);
}

static void model_step(struct model *x, bool start)
{
    struct world *w = x->w;
    uint64_t what = next_random(x) % 100;
    if (what < 20 && start) {
        start_something(x);
    } else if (what < 55) {
        pbft_id id = (pbft_id)(next_random(x) % x->n);
        if (x->executed[id] < x->log_count) {
            size_t at = x->executed[id]++;
            if (honest(x, id))
                honest_reply(x, id, at, pbft_designated(x->n, &w->key.public, x->log[at].t) == id);
            else
                lie(x, &x->log[at]);
        }
    } else if (what < 97 && x->flight_count > 0) {
        size_t i = next_random(x) % x->flight_count;
        struct flight flight = x->flights[i];
        x->flights[i] = x->flights[--x->flight_count];
        deliver(w, flight.from, &flight.msg, (struct pbft_span){flight.body, flight.body_size},
                flight.whole);
        carry(x);
        if (chance(x, 3)) fly(x, &flight); /* again, later */
    } else {
        w->now += (1 + next_random(x) % 40) * MS;
        if (chance(x, 2)) {
            struct pbft_match_out out;
            pbft_id id = (pbft_id)(next_random(x) % x->n);
            pbft_match_disconnected(w->m, id);
            pbft_match_connected(w->m, w->now, id, &out);
            take(w, &out);
            carry(x);
        }
        if (pbft_match_deadline(w->m) <= w->now) {
            tick(w);
            carry(x);
        }
    }
}

static void run_model(uint32_t n, uint64_t seed)
{
    struct model *x = calloc(1, sizeof *x);
    x->w = world_new(n, 4, 8);
    x->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    x->n = n;
    x->f = pbft_quorum_faults(n);
    for (int i = 0; i < 12000; i++) {
        model_step(x, true);
        check_done(x, seed);
    }
    /* Nothing new: what is outstanding is answered, the liars notwithstanding. */
    for (int i = 0; i < 60000 && pbft_match_outstanding(x->w->m) > 0; i++) {
        model_step(x, false);
        check_done(x, seed);
    }
    cr_assert_eq(pbft_match_outstanding(x->w->m), 0u, "seed %llu: %u are left",
                 (unsigned long long)seed, pbft_match_outstanding(x->w->m));
    cr_assert_gt(x->answered, 100u, "seed %llu: %llu answers", (unsigned long long)seed,
                 (unsigned long long)x->answered);
    const struct pbft_match_stats *stats = pbft_match_stats(x->w->m);
    for (pbft_id id = x->f; id < n; id++)
        cr_assert_eq(stats->wrong_replies[id], 0u, "seed %llu: honest replica %u",
                     (unsigned long long)seed, id);
    cr_assert_gt(stats->wrong_replies[0], 0u);
    cr_assert_eq(pbft_match_primary(x->w->m), x->f % n, "hints of liars alone move nothing");
    world_free(x->w);
    free(x);
}

Test(match, f_liars_never_get_a_wrong_answer_through)
{
    static const uint32_t sizes[] = {4, 5, 6, 7, 10};
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_model(sizes[seed % 5], seed);
}

/* ---- another epoch (PROTOCOL 29) ---- */

static void next_epoch(struct world *w)
{
    forget_sent(w);
    w->next = w->cluster;
    w->next.epoch = w->cluster.epoch + 1;
    pbft_match_epoch(w->m, &w->next);
}

static void connected(struct world *w, pbft_id id)
{
    struct pbft_match_out out;
    pbft_match_connected(w->m, w->now, id, &out);
    take(w, &out);
}

static uint32_t epoch_of(const struct pbft_frame *frame)
{
    return pbft_get_u32(frame->bytes + 4);
}

/* Signed for that epoch, and for no other. */
static bool signed_for(const struct world *w, const struct pbft_frame *frame, uint32_t epoch)
{
    struct pbft_digest digest;
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    size_t size =
        pbft_wire_signed_bytes(PBFT_REQUEST, &w->cluster.id, epoch,
                               (struct pbft_span){digest.bytes, sizeof digest.bytes}, bytes);
    return pbft_verify(&w->key.public, (struct pbft_span){bytes, size},
                       frame->bytes + frame->size - PBFT_SIGNATURE_BYTES);
}

static void expect_signed(const struct world *w, const struct pbft_frame *frame, uint32_t epoch)
{
    cr_assert_eq(epoch_of(frame), epoch);
    for (uint32_t e = 0; e < 3; e++)
        cr_assert_eq(signed_for(w, frame, e), e == epoch, "%u", e);
}

Test(match, what_waits_is_signed_again_in_a_new_epoch)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_digest digests[3];
    for (unsigned i = 0; i < 3; i++) {
        submit(w, i == 2 ? 100 * MS : 0);
        digests[i] = sent_digest(w);
        expect_signed(w, w->sent[0].frame, 0);
    }
    struct answer a = {.t = 1, .request = digests[0], .text = "yes", .whole = true};
    for (pbft_id from = 1; from < 4; from++)
        reply(w, from, &a);
    expect_answer(w, "yes");
    forget_done(w);
    w->now += 200 * MS; /* the third one is late, and keeps its place */
    tick(w);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_TIMEOUT);

    struct pbft_frame *before = pbft_frame_retain(w->sent_count > 0 ? w->sent[0].frame : NULL);
    next_epoch(w);
    if (before != NULL) cr_assert_eq(epoch_of(before), 0u, "a frame on its way is not touched");
    pbft_frame_release(before);
    connected(w, 2);
    cr_assert_eq(w->sent_count, 2u);
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_digest digest;
        cr_assert_eq(w->sent[i].to, pbft_signers_of(2));
        expect_signed(w, w->sent[i].frame, 1);
        pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(w->sent[i].frame)));
        cr_assert(pbft_digest_equal(&digest, &digests[i + 1]), "the same request");
    }
    submit(w, 0);
    expect_signed(w, w->sent[0].frame, 1);
    w->now += 5000 * MS;
    tick(w); /* retransmissions */
    cr_assert_eq(w->sent_count, 3u);
    for (unsigned i = 0; i < 3; i++)
        expect_signed(w, w->sent[i].frame, 1);
    world_free(w);
}

/* q - 1 of one epoch and one of the next are no quorum of either. */
Test(match, votes_of_two_epochs_do_not_add_up)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    reply(w, 0, &a);
    reply(w, 1, &a);
    next_epoch(w);
    reply(w, 2, &a);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "two and two");
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "repetition");
    reply(w, 0, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, votes_of_reads_do_not_add_up_either)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "v", 5, 9, true);
    query_reply(w, 1, id, "v", 5, 9, false);
    next_epoch(w);
    connected(w, 0);
    cr_assert_eq(w->sent_count, 1u, "asked again");
    cr_assert_eq(epoch_of(w->sent[0].frame), 1u);
    cr_assert_eq(sent_query(w), id);
    query_reply(w, 2, id, "v", 5, 9, false);
    query_reply(w, 3, id, "v", 5, 9, false);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 0, id, "v", 5, 9, true);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_ANSWER);
    world_free(w);
}

/* BUSY of f of one epoch and one of the next is no f + 1. */
Test(match, busy_of_two_epochs_does_not_add_up)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct pbft_msg busy = {.type = PBFT_BUSY};
    busy.busy = (struct pbft_busy){SESSION, 1};
    deliver(w, 1, &busy, (struct pbft_span){NULL, 0}, false);
    next_epoch(w);
    deliver(w, 2, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 0u);
    deliver(w, 3, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 1u);
    world_free(w);
}

/* What q said is the answer; only its body is fetched, by questions of the new epoch. */
Test(match, what_was_agreed_on_survives_the_epoch)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    for (pbft_id from = 0; from < 3; from++)
        reply(w, from, &a);
    cr_assert_eq(w->done_count, 0u, "no body yet");
    next_epoch(w);
    connected(w, 1);
    for (size_t i = 0; i < w->sent_count; i++)
        cr_assert_neq(w->sent[i].type, PBFT_REQUEST, "it is executed");
    w->now += 1000 * MS;
    tick(w);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_RESULT_FETCH);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(1), "the one that agreed and is there");
    cr_assert_eq(epoch_of(w->sent[0].frame), 1u);
    struct answer lie = a;
    lie.text = "no";
    lie.whole = true;
    reply(w, 3, &lie);
    cr_assert_eq(w->done_count, 0u);
    a.whole = true;
    reply(w, 1, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, the_next_epoch_begins_with_the_first_primary_and_no_connection)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .view = 2};
    for (pbft_id from = 0; from < 3; from++)
        reply(w, from, &a);
    cr_assert_eq(pbft_match_primary(w->m), 2u);
    next_epoch(w);
    cr_assert_eq(pbft_match_primary(w->m), 0u);
    submit(w, 0);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4), "nobody is known to be there");
    world_free(w);
}

/* Without memory nothing is lost: the old frames stay until a tick finds some. */
Test(match, no_memory_for_new_signatures_is_tried_again)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_frame *held[64];
    size_t count = 0;
    submit(w, 0);
    submit(w, 0);
    read_op(w, false);
    forget_sent(w);
    for (uint32_t size = 32u << 20; size > 0; size /= 2) { /* all of the pool */
        while (count < 64) {
            struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), size);
            if (frame == NULL) break;
            held[count++] = frame;
        }
    }
    cr_assert_lt(count, (size_t)64);
    next_epoch(w);
    connected(w, 1);
    cr_assert_eq(w->sent_count, 3u);
    cr_assert_eq(epoch_of(w->sent[0].frame), 0u, "there is none other yet");
    tick(w);
    for (size_t i = 0; i < count; i++)
        pbft_frame_release(held[i]);
    tick(w);
    connected(w, 2);
    cr_assert_eq(w->sent_count, 3u);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(epoch_of(w->sent[i].frame), 1u);
    expect_signed(w, w->sent[0].frame, 1);
    expect_signed(w, w->sent[1].frame, 1);
    cr_assert_eq(w->sent[2].type, PBFT_QUERY);
    world_free(w);
}
