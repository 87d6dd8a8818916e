/* client/match_read.c - fast reads (PROTOCOL 32): q replicas agree on the result and on its change
 * mark, or the read is ordered like a write. */
#include "client/match_internal.h"

#include "pbft/quorum.h"

#include <string.h>

#define PATIENCE_DIVISOR 4u /* a fast read that has no answer after retry_ns / 4 is ordered */

#define QUERY_HEAD_BYTES (PBFT_WIRE_HEADER_BYTES + 8u + 8u + 1u) /* then op_count u32, ops */

static struct pbft_frame *query_frame(struct pbft_match *m, uint64_t id, bool want_body,
                                      struct pbft_span ops, uint32_t op_count)
{
    struct pbft_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = PBFT_QUERY;
    msg.epoch = m->config.cluster->epoch;
    msg.query = (struct pbft_query){id, m->floor, want_body ? 1 : 0, op_count, ops};
    return match_encode(m, &msg);
}

static void query_free(struct pbft_match *m, struct match_exchange *e)
{
    match_exchange_clear(m, e);
    m->queries_live--;
}

/* The same operations as an ordered request, if there is a place for it now. */
static void try_order(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    struct match_exchange *request;
    size_t head = QUERY_HEAD_BYTES + 4u;
    struct pbft_span ops = {e->frame->bytes + head, e->frame->size - head};
    uint32_t count = pbft_get_u32(e->frame->bytes + QUERY_HEAD_BYTES);
    e->retry_at_ns = now_ns + match_patience_max(m); /* if nothing else happens before */
    if (!match_request_start(m, now_ns, ops, count, &request)) return;
    request->fallback = true;
    request->token = e->token;
    request->deadline_ns = e->deadline_ns;
    query_free(m, e);
}

static void fall_back(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    m->stats.fallbacks++;
    e->state = EXCHANGE_FALLBACK;
    try_order(m, e, now_ns);
}

void match_queries_pump(struct pbft_match *m, uint64_t now_ns)
{
    for (uint32_t i = 0; m->queries_live > 0 && i < m->config.window; i++)
        if (m->queries[i].state == EXCHANGE_FALLBACK) try_order(m, &m->queries[i], now_ns);
}

enum pbft_verdict pbft_match_read(struct pbft_match *m, uint64_t now_ns, uint64_t deadline_ns,
                                  uint64_t token, struct pbft_span ops, uint32_t op_count,
                                  bool ordered, struct pbft_match_out *out)
{
    /* Reads must also fit as a request, for they may have to be one. */
    if (ordered) return pbft_match_submit(m, now_ns, deadline_ns, token, ops, op_count, out);
    m->send_count = 0;
    m->completion_count = 0;
    *out = (struct pbft_match_out){m->sends, 0, m->completions, 0};
    enum pbft_verdict verdict = match_bundle_check(m, ops, op_count);
    if (verdict != PBFT_OK) return verdict;
    uint32_t i = 0;
    while (i < m->config.window && m->queries[i].state != EXCHANGE_FREE)
        i++;
    if (i == m->config.window) return PBFT_DROP_BUSY;
    struct match_exchange *e = &m->queries[i];
    uint64_t id = m->config.query_base + m->next_query++ * m->config.window + i;
    e->frame = query_frame(m, id, true, ops, op_count);
    e->brief_frame = query_frame(m, id, false, ops, op_count);
    if (e->frame == NULL || e->brief_frame == NULL) {
        match_exchange_clear(m, e);
        return PBFT_DROP_BUSY;
    }
    e->state = EXCHANGE_ACTIVE;
    e->number = id;
    e->token = token;
    e->deadline_ns = deadline_ns != 0 ? deadline_ns : UINT64_MAX;
    e->retry_at_ns = now_ns + m->config.retry_ns / PATIENCE_DIVISOR;
    m->queries_live++;
    uint64_t turn = (id - m->config.query_base) / m->config.window;
    match_body_wanted(e, match_body_sources(m, (pbft_id)(turn % m->n)), now_ns);
    match_send(m, e->sources, e->frame);
    match_send(m, pbft_everyone(m->n) & ~e->sources, e->brief_frame);
    *out = (struct pbft_match_out){m->sends, m->send_count, m->completions, 0};
    return PBFT_OK;
}

/* Different results of one state are a lie. Different marks are not: replicas are at different
 * points. The highest mark of several does not name a state. */
static void count_wrong(struct pbft_match *m, const struct match_exchange *e)
{
    if (pbft_get_u32(e->frame->bytes + QUERY_HEAD_BYTES) != 1) return;
    for (pbft_id i = 0; i < m->n; i++) {
        const struct match_vote *v = &e->votes[i];
        if (!v->given || v->mark != e->mark || v->outcome != e->outcome) continue;
        if (!pbft_digest_equal(&v->result, &e->result)) m->stats.wrong_replies[i]++;
    }
}

static void query_finish(struct pbft_match *m, struct match_exchange *e,
                         const struct match_vote *answer)
{
    count_wrong(m, e);
    match_raise_floor(m, e);
    struct pbft_match_completion *c = match_complete(m, e, PBFT_MATCH_ANSWER);
    c->outcome = e->outcome;
    c->mark = e->mark;
    c->frame = pbft_frame_retain(answer->frame);
    c->body = pbft_wire_query_results(answer->body);
    match_body_accepted(m, answer->body.size);
    query_free(m, e);
}

static void ask_for_body(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    if (match_body_ask(m, e, now_ns)) match_send(m, pbft_signers_of(e->fetch_from), e->frame);
}

/* Whether q may still come together around any statement. */
static bool hopeless(const struct pbft_match *m, const struct match_exchange *e)
{
    uint32_t given = 0;
    uint32_t best = 0;
    for (pbft_id i = 0; i < m->n; i++) {
        if (!e->votes[i].given) continue;
        given++;
        uint32_t same = pbft_signers_count(match_same(m, e, &e->votes[i]));
        if (same > best) best = same;
    }
    return best + (m->n - given) < m->q;
}

static void query_advance(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    const struct match_vote *answer = match_body(m, e);
    if (answer != NULL) {
        query_finish(m, e, answer);
        return;
    }
    if (match_body_due(m, e, now_ns)) ask_for_body(m, e, now_ns);
}

enum pbft_verdict match_on_query_reply(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                       const struct pbft_query_reply *r, struct pbft_frame *frame)
{
    struct match_exchange *e = &m->queries[(r->id - m->config.query_base) % m->config.window];
    if (e->state != EXCHANGE_ACTIVE || e->number != r->id) return PBFT_DROP_UNWANTED;
    bool whole = (r->flags & PBFT_REPLY_HAS_BODY) != 0;
    match_body_heard(m, e, from, whole, now_ns);
    struct match_vote vote = {.given = true,
                              .outcome = r->outcome,
                              .result = r->result,
                              .mark = r->mark,
                              .seq = r->executed,
                              .body = r->body};
    if (e->agreed) {
        /* Who agreed may have moved on; only the body that was agreed on matters now. */
        struct match_vote agreed = {.given = true,
                                    .outcome = e->outcome,
                                    .result = e->result,
                                    .mark = e->mark};
        bool body = whole && vote.outcome == agreed.outcome && vote.mark == agreed.mark &&
                    pbft_digest_equal(&vote.result, &agreed.result);
        if (!body) {
            query_advance(m, e, now_ns); /* it may have been waited for */
            return PBFT_DROP_UNWANTED;
        }
    }
    match_vote_set(m, e, from, &vote, whole ? frame : NULL);
    if (!e->agreed) {
        if (pbft_signers_count(match_same(m, e, &vote)) < m->q) {
            if (hopeless(m, e)) fall_back(m, e, now_ns);
            return PBFT_OK;
        }
        /* A refusal names no state (whether results have room depends on it): q of them may have
         * come out of different ones. */
        if (vote.outcome != PBFT_OUTCOME_EXECUTED) {
            fall_back(m, e, now_ns);
            return PBFT_OK;
        }
        match_set_agreed(m, e, &vote, now_ns);
    }
    query_advance(m, e, now_ns);
    return PBFT_OK;
}

static void query_tick(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    if (e->state == EXCHANGE_FREE) return;
    if (e->deadline_ns <= now_ns) {
        (void)match_complete(m, e, PBFT_MATCH_TIMEOUT);
        query_free(m, e);
        return;
    }
    if (e->state == EXCHANGE_FALLBACK) return; /* the pump's */
    if (e->retry_at_ns <= now_ns) {
        fall_back(m, e, now_ns);
        return;
    }
    if (e->agreed && e->fetch_at_ns <= now_ns) ask_for_body(m, e, now_ns);
}

void match_queries_tick(struct pbft_match *m, uint64_t now_ns)
{
    for (uint32_t i = 0; m->queries_live > 0 && i < m->config.window; i++)
        query_tick(m, &m->queries[i], now_ns);
}

uint64_t match_queries_deadline(const struct pbft_match *m)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; m->queries_live > 0 && i < m->config.window; i++) {
        const struct match_exchange *e = &m->queries[i];
        if (e->state == EXCHANGE_FREE) continue;
        if (e->deadline_ns < next) next = e->deadline_ns;
        if (e->retry_at_ns < next) next = e->retry_at_ns;
        if (e->state == EXCHANGE_ACTIVE && e->agreed && e->fetch_at_ns < next)
            next = e->fetch_at_ns;
    }
    return next;
}

bool match_queries_renew(struct pbft_match *m)
{
    bool all = true;
    for (uint32_t i = 0; m->queries_live > 0 && i < m->config.window; i++) {
        struct match_exchange *e = &m->queries[i];
        if (e->state != EXCHANGE_ACTIVE) continue;
        all = match_renew(m, &e->frame) && match_renew(m, &e->brief_frame) && all;
    }
    return all;
}

void match_queries_connected(struct pbft_match *m, pbft_id replica)
{
    for (uint32_t i = 0; m->queries_live > 0 && i < m->config.window; i++) {
        struct match_exchange *e = &m->queries[i];
        if (e->state != EXCHANGE_ACTIVE || e->agreed || e->votes[replica].given) continue;
        bool whole = pbft_signers_has(e->sources, replica);
        match_send(m, pbft_signers_of(replica), whole ? e->frame : e->brief_frame);
    }
}
