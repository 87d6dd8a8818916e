/* PROTOCOL 7, 22, 31-34 at the client: which replies make an answer, and what is asked again. */
#include "client/match.h"
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

#define SESSION UINT64_C(1700)
#define RETRY   (400 * MS)

struct client {
    struct net *t;
    struct pbft_match *m;
    void *memory;
    struct pbft_door *door;
    uint64_t now;
    struct pbft_match_send sends[64];
    size_t send_count; /* of the last call */
    bool answered, timed_out;
    struct pbft_match_completion last;
    char body[128]; /* of the last answer */
    size_t body_size;
};

static struct client *client_with(const struct pbft_params *params, uint32_t window)
{
    struct client *c = calloc(1, sizeof *c);
    cr_assert_not_null(c);
    c->t = net_new_with(params);
    struct pbft_match_config config = {.cluster = &c->t->cluster,
                                       .signer = &pbft_signer_fast,
                                       .keypair = &c->t->client_keys[0],
                                       .session = SESSION,
                                       .window = window,
                                       .retry_ns = RETRY,
                                       .pool = &c->t->frames.pool};
    c->memory = malloc(pbft_match_size(&config));
    cr_assert_not_null(c->memory);
    c->m = pbft_match_init(c->memory, &config);
    struct pbft_door_config door = {.cluster = &c->t->cluster, .signer = &pbft_signer_fast};
    c->door = pbft_door_new(&door);
    c->now = 1000 * MS;
    return c;
}

static struct client *client_new(uint32_t n, uint32_t window)
{
    struct pbft_params params = net_params(n);
    return client_with(&params, window);
}

static void drop_sends(struct client *c)
{
    for (size_t i = 0; i < c->send_count; i++)
        pbft_frame_release(c->sends[i].frame);
    c->send_count = 0;
}

static void client_free(struct client *c)
{
    drop_sends(c);
    pbft_match_release(c->m);
    pbft_door_free(c->door);
    free(c->memory);
    net_free(c->t);
    free(c);
}

static void take(struct client *c, const struct pbft_match_out *out)
{
    drop_sends(c);
    c->answered = c->timed_out = false;
    for (size_t i = 0; i < out->send_count; i++) {
        cr_assert_lt(c->send_count, 64u);
        c->sends[c->send_count++] = out->sends[i];
    }
    for (size_t i = 0; i < out->completion_count; i++) {
        c->last = out->completions[i];
        c->answered |= c->last.result == PBFT_MATCH_ANSWER;
        c->timed_out |= c->last.result == PBFT_MATCH_TIMEOUT;
        c->body_size = c->last.body.size;
        cr_assert_lt(c->body_size, sizeof c->body);
        if (c->body_size > 0) memcpy(c->body, c->last.body.data, c->body_size);
        pbft_frame_release(c->last.frame);
    }
}

/* To whom the last call sent frames of this type. */
static pbft_signers told(const struct client *c, uint8_t type)
{
    pbft_signers to = 0;
    for (size_t i = 0; i < c->send_count; i++)
        if (c->sends[i].frame->bytes[0] == type) to |= c->sends[i].to;
    return to;
}

static enum pbft_verdict submit(struct client *c, struct pbft_digest *request)
{
    static const uint8_t ops[] = {2, 0, 0, 0, 'o', 'p'};
    struct pbft_match_out out;
    enum pbft_verdict verdict =
        pbft_match_submit(c->m, c->now, 0, 7, (struct pbft_span){ops, sizeof ops}, 1, &out);
    take(c, &out);
    if (verdict == PBFT_OK && request != NULL)
        pbft_digest_request(request, pbft_wire_signed_body(pbft_frame_span(c->sends[0].frame)));
    return verdict;
}

static void submit_large(struct client *c, uint32_t size)
{
    static uint8_t ops[4u << 20];
    cr_assert_leq(size + 4, sizeof ops);
    pbft_put_u32(ops, size);
    struct pbft_match_out out;
    cr_assert_eq(pbft_match_submit(c->m, c->now, 0, 7, (struct pbft_span){ops, size + 4}, 1, &out),
                 PBFT_OK);
    take(c, &out);
}

static const struct pbft_span one_op = {(const uint8_t *)"\1\0\0\0k", 5};

static uint64_t read_fast(struct client *c)
{
    struct pbft_match_out out;
    cr_assert_eq(pbft_match_read(c->m, c->now, 0, 8, one_op, 1, false, &out), PBFT_OK);
    take(c, &out);
    for (size_t i = 0; i < c->send_count; i++)
        if (c->sends[i].frame->bytes[0] == PBFT_QUERY)
            return net_decode(c->t, c->sends[i].frame)->query.id;
    cr_assert_fail("no QUERY");
    return 0;
}

static void hand_over(struct client *c, pbft_id from, struct pbft_msg *m)
{
    struct pbft_frame *frame = net_frame_new(c->t, m);
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg msg;
    struct pbft_match_out out;
    cr_assert_eq(pbft_door_open_client(c->door, &peer, pbft_frame_span(frame), &msg), PBFT_OK);
    pbft_match_message(c->m, c->now, from, &msg, frame, &out);
    take(c, &out);
    pbft_frame_release(frame);
}

static struct pbft_span text_items(const char *text, uint8_t *bytes)
{
    size_t size = strlen(text);
    pbft_put_u32(bytes, 1);
    pbft_put_u32(bytes + 4, (uint32_t)size);
    memcpy(bytes + 8, text, size);
    return (struct pbft_span){bytes, 8 + size};
}

/* A REPLY with this text as the only result; `whole` with its body. */
static void reply_in_view(struct client *c, pbft_id from, uint64_t t,
                          const struct pbft_digest *request, const char *text, bool whole,
                          pbft_view view, pbft_seq seq)
{
    uint8_t bytes[128];
    struct pbft_msg m = {.type = PBFT_REPLY};
    m.reply.view = view;
    m.reply.seq = seq;
    m.reply.session = SESSION;
    m.reply.t = t;
    m.reply.request = *request;
    m.reply.outcome = PBFT_OUTCOME_EXECUTED;
    struct pbft_span body = text_items(text, bytes);
    pbft_digest_result(&m.reply.result, m.reply.outcome, body);
    if (whole) {
        m.reply.flags = PBFT_REPLY_HAS_BODY;
        m.reply.body = body;
    }
    hand_over(c, from, &m);
}

static void reply(struct client *c, pbft_id from, uint64_t t, const struct pbft_digest *request,
                  const char *text, bool whole)
{
    reply_in_view(c, from, t, request, text, whole, 0, 1);
}

/* The body of a QUERY-REPLY with this text as the only result. */
static struct pbft_span text_results(const char *text, uint64_t mark, uint8_t *bytes)
{
    uint8_t items[128];
    struct pbft_span one = text_items(text, items);
    pbft_put_u32(bytes, 1);
    pbft_put_u64(bytes + 4, mark);
    memcpy(bytes + 12, one.data + 4, one.size - 4);
    return (struct pbft_span){bytes, 8 + one.size};
}

static void query_reply(struct client *c, pbft_id from, uint64_t id, const char *text,
                        uint64_t mark, pbft_seq executed, bool whole)
{
    struct pbft_msg m = {.type = PBFT_QUERY_REPLY};
    m.query_reply.id = id;
    m.query_reply.mark = mark;
    m.query_reply.executed = executed;
    uint8_t bytes[128];
    struct pbft_span body = text_results(text, mark, bytes);
    pbft_digest_query(&m.query_reply.result, m.query_reply.outcome, mark, body);
    if (whole) {
        m.query_reply.flags = PBFT_REPLY_HAS_BODY;
        m.query_reply.body = body;
    }
    hand_over(c, from, &m);
}

static void tick(struct client *c, uint64_t ms)
{
    struct pbft_match_out out;
    c->now += ms * MS;
    pbft_match_tick(c->m, c->now, &out);
    take(c, &out);
}

/* ---- PROTOCOL 7 ---- */

/* A client sends t only after it has accepted every reply <= t - W. */
Test(protocol, r7_a_client_stays_within_its_window)
{
    struct client *c = client_new(4, 4);
    uint32_t w = c->t->params.session_window;
    struct pbft_digest first, d;
    cr_assert_eq(submit(c, &first), PBFT_OK);
    uint64_t sent = 1;
    for (uint64_t t = 2; t <= 3u * w; t++) { /* the first is never answered */
        if (submit(c, &d) != PBFT_OK) break;
        sent = t;
        for (pbft_id id = 0; id < 3; id++)
            reply(c, id, t, &d, "r", true);
        cr_assert(c->answered);
    }
    cr_assert_leq(sent, 1u + w - 1u, "t = %lu although 1 is open and W = %u", sent, w);
    for (pbft_id id = 0; id < 3; id++)
        reply(c, id, 1, &first, "r", true);
    cr_assert_eq(submit(c, &d), PBFT_OK);
    client_free(c);
}

/* ---- PROTOCOL 22 ---- */

/* A liar cannot censor with BUSY: f+1 are heeded, fewer change nothing. */
Test(protocol, r22_busy_is_heeded_from_f_plus_1_only)
{
    for (unsigned liars = 1; liars <= 2; liars++) {
        struct client *c = client_new(4, 4);
        struct pbft_digest d;
        submit(c, &d);
        tick(c, 300);
        for (unsigned again = 0; again < 3; again++)
            for (pbft_id id = 0; id < liars; id++) {
                struct pbft_msg m = {.type = PBFT_BUSY};
                m.busy = (struct pbft_busy){SESSION, 1};
                hand_over(c, id, &m);
            }
        tick(c, 110);
        cr_assert_eq(told(c, PBFT_REQUEST), liars == 1 ? 0x0fu : 0u, "%u said BUSY", liars);
        client_free(c);
    }
}

/* ---- PROTOCOL 31 ---- */

/* Writes and ordered reads are accepted at q replies that are equal. */
Test(protocol, r31_an_answer_needs_q_equal_replies)
{
    struct client *c = client_new(7, 4); /* f = 2, q = 5 */
    struct pbft_digest d;
    submit(c, &d);
    reply(c, 0, 1, &d, "right", true);
    reply(c, 0, 1, &d, "right", true);
    reply(c, 1, 1, &d, "right", true);
    reply(c, 2, 1, &d, "right", true);
    reply(c, 3, 1, &d, "wrong", true);
    reply(c, 4, 1, &d, "wrong", true);
    cr_assert_not(c->answered);
    reply(c, 5, 1, &d, "right", true);
    cr_assert_not(c->answered, "f+1 are enough for hints only, and four are not five");
    reply(c, 0, 1, &d, "right", true);
    cr_assert_not(c->answered, "the same replica again");
    reply(c, 6, 1, &d, "right", true);
    cr_assert(c->answered);
    cr_assert_eq(c->body_size, 4u + 5u);
    cr_assert_eq(memcmp(c->body + 4, "right", 5), 0);
    cr_assert_eq(pbft_match_stats(c->m)->wrong_replies[3], 1u);
    cr_assert_eq(pbft_match_stats(c->m)->wrong_replies[0], 0u);
    client_free(c);

    struct pbft_match_out out;
    c = client_new(4, 4);
    cr_assert_eq(pbft_match_read(c->m, c->now, 0, 8, one_op, 1, true, &out), PBFT_OK);
    take(c, &out);
    pbft_digest_request(&d, pbft_wire_signed_body(pbft_frame_span(c->sends[0].frame)));
    reply(c, 0, 1, &d, "value", true);
    reply(c, 1, 1, &d, "value", true);
    cr_assert_not(c->answered, "f+1 of an ordered read");
    reply(c, 2, 1, &d, "value", true);
    cr_assert(c->answered);
    client_free(c);
}

/* Matching is on (session, t, request digest, result digest); view and seq are hints. */
Test(protocol, r31_view_and_seq_are_not_matched_the_request_is)
{
    struct client *c = client_new(4, 4);
    struct pbft_digest d, other = {{1}};
    submit(c, &d);
    reply_in_view(c, 0, 1, &d, "r", true, 0, 5);
    reply_in_view(c, 1, 1, &d, "r", true, 3, 6);
    reply_in_view(c, 2, 1, &other, "r", true, 3, 6); /* the same result of another request */
    cr_assert_not(c->answered);
    reply_in_view(c, 3, 2, &d, "r", true, 9, 7); /* of another t */
    cr_assert_not(c->answered);
    reply_in_view(c, 3, 1, &d, "r", true, 9, 7);
    cr_assert(c->answered);
    client_free(c);
}

/* ---- PROTOCOL 32 ---- */

/* Fast reads need q replies that agree on the result and on its change mark. Else: u, v, u is read
 * with one put(u). */
Test(protocol, r32_fast_reads_match_on_result_and_mark)
{
    struct client *c = client_new(4, 4);
    uint64_t id = read_fast(c);
    cr_assert_eq(told(c, PBFT_QUERY), 0x0fu);
    query_reply(c, 0, id, "u", 1, 9, true);
    query_reply(c, 1, id, "u", 1, 9, true);
    query_reply(c, 2, id, "u", 3, 9, true); /* the same value of a later put */
    cr_assert_not(c->answered);
    query_reply(c, 3, id, "u", 1, 9, true);
    cr_assert(c->answered);
    cr_assert_eq(c->last.mark, 1u);
    cr_assert_not(c->last.fallback);

    id = read_fast(c); /* a liar's digest says one mark and its field another */
    query_reply(c, 0, id, "u", 1, 9, true);
    query_reply(c, 1, id, "u", 1, 9, true);
    struct pbft_msg lie = {.type = PBFT_QUERY_REPLY};
    lie.query_reply.id = id;
    lie.query_reply.mark = 99;
    uint8_t bytes[128];
    pbft_digest_query(&lie.query_reply.result, 0, 1, text_results("u", 1, bytes));
    hand_over(c, 2, &lie);
    cr_assert_not(c->answered, "with mark %lu", c->last.mark);
    query_reply(c, 3, id, "u", 1, 9, true);
    cr_assert(c->answered);
    cr_assert_eq(c->last.mark, 1u);

    /* Of several reads every mark counts: those of keys and of pages are different numbers, and the
     * highest may hide that another value is u again after u, v. */
    id = read_fast(c);
    for (pbft_id i = 0; i < 4; i++) {
        struct pbft_msg two = {.type = PBFT_QUERY_REPLY};
        uint8_t body[] = {2, 0, 0, 0, i == 2 ? 3 : 1,
                          0, 0, 0, 0, 0,
                          0, 0, 9, 0, 0,
                          0, 0, 0, 0, 0,
                          1, 0, 0, 0, 'u',
                          1, 0, 0, 0, 'w'};
        two.query_reply.id = id;
        two.query_reply.mark = 9;
        two.query_reply.flags = PBFT_REPLY_HAS_BODY;
        two.query_reply.body = (struct pbft_span){body, sizeof body};
        pbft_digest_query(&two.query_reply.result, 0, 9, two.query_reply.body);
        hand_over(c, i, &two);
        cr_assert_eq(c->answered, i == 3);
    }

    id = read_fast(c); /* never on how far the replicas are */
    query_reply(c, 0, id, "u", 1, 9, true);
    query_reply(c, 1, id, "u", 1, 700, true);
    query_reply(c, 2, id, "u", 1, 8000, true);
    cr_assert(c->answered);
    client_free(c);
}

/* The highest revision seen is the floor of the next read; one liar cannot raise it. */
Test(protocol, r32_the_floor_is_what_was_seen)
{
    struct client *c = client_new(4, 4);
    struct pbft_digest d;
    submit(c, &d);
    reply_in_view(c, 0, 1, &d, "r", true, 0, 41);
    reply_in_view(c, 1, 1, &d, "r", true, 0, 41);
    reply_in_view(c, 2, 1, &d, "r", true, 0, UINT64_MAX - 1);
    cr_assert(c->answered);
    read_fast(c);
    cr_assert_eq(net_decode(c->t, c->sends[0].frame)->query.floor, 41u);
    client_free(c);
}

/* Fallback: an ordered read, when q cannot come together, or not in time. */
Test(protocol, r32_a_read_that_does_not_match_is_ordered)
{
    struct client *c = client_new(4, 4);
    uint64_t id = read_fast(c);
    query_reply(c, 0, id, "u", 1, 9, true);
    query_reply(c, 1, id, "v", 2, 9, true);
    query_reply(c, 2, id, "w", 3, 9, true);
    cr_assert_neq(told(c, PBFT_REQUEST), 0u, "no three of four can agree any more");
    struct pbft_digest d;
    pbft_digest_request(&d, pbft_wire_signed_body(pbft_frame_span(c->sends[0].frame)));
    for (pbft_id from = 0; from < 3; from++)
        reply(c, from, 1, &d, "v", true);
    cr_assert(c->answered && c->last.fallback);
    cr_assert_eq(c->body_size, 5u);
    cr_assert_eq(c->body[4], 'v');

    id = read_fast(c);
    query_reply(c, 0, id, "u", 1, 9, true);
    query_reply(c, 1, id, "u", 1, 9, true);
    tick(c, RETRY / MS);
    cr_assert_neq(told(c, PBFT_REQUEST), 0u, "two said something, the others nothing");
    client_free(c);
}

/* ---- PROTOCOL 33, 34 ---- */

/* The full result comes from replica (H(client) + t) mod n. */
Test(protocol, r34_one_replica_is_designated_and_the_office_rotates)
{
    struct client *c = client_new(4, 4);
    const struct pbft_public_key *key = &c->t->client_keys[0].public;
    for (uint64_t t = 1; t < 12; t++)
        cr_assert_eq(pbft_designated(4, key, t + 1), (pbft_designated(4, key, t) + 1) % 4);
    uint32_t at_zero[4] = {0};
    for (unsigned i = 0; i < NET_CLIENTS; i++)
        at_zero[pbft_designated(4, &c->t->client_keys[i].public, 1)]++;
    cr_assert_lt(at_zero[0], NET_CLIENTS, "all clients ask the same one");
    client_free(c);
}

/* After q digests without a body the client asks a replica whose digest matched, rotating. */
Test(protocol, r34_a_missing_body_is_fetched_from_those_who_matched)
{
    struct client *c = client_new(4, 4);
    struct pbft_digest d;
    submit(c, &d);
    pbft_id designated = pbft_designated(4, &c->t->client_keys[0].public, 1);
    pbft_id liar = (designated + 1) % 4;
    reply(c, liar, 1, &d, "lie", false);
    for (unsigned i = 0; i < 4; i++)
        if (i != liar) reply(c, (pbft_id)i, 1, &d, "truth", false);
    cr_assert_not(c->answered, "a digest is no answer");
    pbft_signers asked = told(c, PBFT_RESULT_FETCH);
    pbft_signers all = asked;
    for (unsigned i = 0; i < 20; i++) {
        tick(c, 60);
        all |= told(c, PBFT_RESULT_FETCH);
        cr_assert_leq(pbft_signers_count(told(c, PBFT_RESULT_FETCH)), 1u, "one at a time");
    }
    cr_assert_eq(all & NET_BIT(liar), 0u, "asked one whose digest was another");
    cr_assert_eq(pbft_signers_count(all), 3u, "always the same one: it may be silent");
    reply(c, (designated + 2) % 4, 1, &d, "truth", true);
    cr_assert(c->answered);
    cr_assert_eq(memcmp(c->body + 4, "truth", 5), 0);
    client_free(c);
}

/* A body that does not hash to the agreed digest is none. */
Test(protocol, r34_a_wrong_body_is_refused_at_the_door)
{
    struct client *c = client_new(4, 4);
    struct pbft_digest d;
    submit(c, &d);
    uint8_t bytes[64];
    struct pbft_msg m = {.type = PBFT_REPLY}, opened;
    m.reply.session = SESSION;
    m.reply.t = 1;
    m.reply.request = d;
    m.reply.flags = PBFT_REPLY_HAS_BODY;
    pbft_digest_result(&m.reply.result, 0, text_items("truth", bytes));
    m.reply.body = text_items("a lie", bytes);
    struct pbft_frame *frame = net_frame_new(c->t, &m);
    struct pbft_peer peer = {PBFT_PEER_REPLICA, 0, 1};
    cr_assert_eq(pbft_door_open_client(c->door, &peer, pbft_frame_span(frame), &opened),
                 PBFT_DROP_DIGEST);
    pbft_frame_release(frame);
    client_free(c);
}

/* ---- PROTOCOL 22 ---- */

static struct client *client_of_large_batches(void)
{
    struct pbft_params params = net_params(4);
    params.batch_max_bytes = 4u << 20;
    struct client *c = client_with(&params, 4);
    for (unsigned i = 0; i < 4; i++) {
        struct pbft_match_out out;
        pbft_match_connected(c->m, c->now, (pbft_id)i, &out);
        take(c, &out);
    }
    return c;
}

/* What is large goes to the primary alone, even of a session that others have not heard of, and to
 * everybody only after a time in proportion. Else many that send much at once make each other's
 * answers late, and then send all of it three times more. */
Test(protocol, r22_large_requests_are_patient)
{
    struct client *c = client_of_large_batches();
    submit_large(c, 100000);
    cr_assert_eq(told(c, PBFT_REQUEST), NET_BIT(0));
    struct pbft_digest d;
    pbft_digest_request(&d, pbft_wire_signed_body(pbft_frame_span(c->sends[0].frame)));
    for (unsigned i = 0; i < 3; i++)
        reply(c, (pbft_id)i, 1, &d, "done", true);
    cr_assert(c->answered);
    cr_assert_eq(told(c, PBFT_RESULT_FETCH), 0x0eu, "the others learn whose session this is");
    client_free(c);

    c = client_of_large_batches();
    cr_assert_eq(submit(c, &d), PBFT_OK);
    cr_assert_eq(told(c, PBFT_REQUEST), pbft_everyone(4), "a small one introduces the session");
    submit_large(c, 3500000);
    cr_assert_eq(told(c, PBFT_REQUEST), NET_BIT(0));
    tick(c, RETRY / MS);
    cr_assert_eq(told(c, PBFT_REQUEST), pbft_everyone(4));
    cr_assert_eq(c->send_count, 2u, "nobody has said yet who is primary");
    for (unsigned i = 0; i < 3; i++)
        reply(c, (pbft_id)i, 1, &d, "done", true);
    cr_assert(c->answered);
    tick(c, 100 * RETRY / MS); /* out of their way */

    submit_large(c, 100000);
    tick(c, RETRY / MS);
    cr_assert_eq(c->send_count, 1u, "less than 1 MiB waits like any other");
    client_free(c);

    c = client_of_large_batches();
    cr_assert_eq(submit(c, &d), PBFT_OK);
    for (unsigned i = 0; i < 3; i++)
        reply(c, (pbft_id)i, 1, &d, "done", true);
    cr_assert(c->answered);
    submit_large(c, 3500000);
    static const unsigned waits[] = {4, 8, 8}; /* time-outs */
    for (unsigned i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        tick(c, waits[i] * (RETRY / MS) - 1);
        cr_assert_eq(told(c, PBFT_REQUEST), 0u, "%u: too early", i);
        tick(c, 1);
        cr_assert_eq(told(c, PBFT_REQUEST), pbft_everyone(4), "%u", i);
    }
    client_free(c);
}
