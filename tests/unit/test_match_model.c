/* client/match: f liars never get a wrong answer through, against a model (FAULTS 2.25, PROTOCOL
 * 31). */
#include "tests/unit/match_fixture.h"

#include <stdio.h>

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
    struct flight flight = {.from = id, .body_size = 12 + 4 + 16, .whole = whole};
    pbft_put_u32(flight.body, 1);
    pbft_put_u64(flight.body + 4, version);
    pbft_put_u32(flight.body + 12, 16);
    value_bytes(flight.body + 16, version);
    flight.msg.type = PBFT_QUERY_REPLY;
    flight.msg.query_reply = (struct pbft_query_reply){.id = pbft_get_u64(at),
                                                       .mark = version,
                                                       .executed = executed,
                                                       .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_query(&flight.msg.query_reply.result, 0, version,
                      (struct pbft_span){flight.body, flight.body_size});
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
        struct pbft_span value;
        size_t cursor = 0;
        cr_assert(pbft_wire_next_item(c->body, &cursor, &value));
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
        size_t size = one_item(ops, "get");
        verdict = pbft_match_read(w->m, w->now, deadline, token, (struct pbft_span){ops, size}, 1,
                                  chance(x, 10), &out);
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
