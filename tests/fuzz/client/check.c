/* tests/fuzz/client/check.c - the oracle: what replicas said is counted here once more, and
 * compared with what the client makes of it. */
#include "tests/fuzz/client/world.h"

/* A request, or CALLS_MAX and more: a body that everything is there for was just shown. */
static uint64_t due_t;
static uint64_t busy_t; /* that the message was about */

static bool same(const struct said *a, const struct said *b)
{
    return a->given && b->given && a->outcome == b->outcome && a->mark == b->mark &&
           pbft_digest_equal(&a->result, &b->result);
}

static void count(struct tally *tally, pbft_id from, const struct said *said)
{
    if (tally->decided) {
        if (same(said, &tally->answer)) tally->agreed |= pbft_signers_of(from);
        return;
    }
    tally->newest[from] = *said;
    pbft_signers agreed = 0;
    for (pbft_id i = 0; i < w.n; i++)
        if (same(&tally->newest[i], said)) agreed |= pbft_signers_of(i);
    if (pbft_signers_count(agreed) < w.q) return;
    tally->decided = true;
    tally->answer = *said;
    tally->agreed = agreed;
}

static bool executed(uint8_t outcome)
{
    return outcome == PBFT_OUTCOME_EXECUTED || outcome == PBFT_OUTCOME_INVALID;
}

static void note_reply(pbft_id from, const struct pbft_reply *r)
{
    if (r->session != SESSION) return;
    if (r->view > w.hints[from]) w.hints[from] = r->view;
    if (r->t == 0 || r->t > w.newest_t) return;
    struct request *request = &w.requests[r->t];
    struct said said = {.given = pbft_digest_equal(&r->request, &request->digest),
                        .outcome = r->outcome,
                        .result = r->result};
    const struct said *before = &request->tally.newest[from];
    if (said.outcome == PBFT_OUTCOME_LIMIT && before->given && executed(before->outcome)) return;
    count(&request->tally, from, &said);
    bool bodiless = !executed(said.outcome);
    bool whole = bodiless || (r->flags & PBFT_REPLY_HAS_BODY) != 0;
    if (whole && request->tally.decided && same(&said, &request->tally.answer)) due_t = r->t;
}

static uint32_t token_of(uint64_t id)
{
    uint32_t token = 0;
    while (token < w.call_count && !(w.queries[token].sent && w.queries[token].id == id))
        token++;
    return token < w.call_count ? token : CALLS_MAX;
}

void note(pbft_id from, const struct pbft_msg *msg)
{
    due_t = busy_t = 0;
    if (msg->type == PBFT_REPLY) note_reply(from, &msg->reply);
    const struct pbft_busy *busy = &msg->busy;
    if (msg->type == PBFT_BUSY && busy->session == SESSION && busy->t <= w.newest_t) {
        busy_t = busy->t;
        w.requests[busy_t].busy |= pbft_signers_of(from);
    }
    if (msg->type != PBFT_QUERY_REPLY) return;
    const struct pbft_query_reply *r = &msg->query_reply;
    uint32_t token = token_of(r->id);
    struct said said = {true, r->outcome, r->mark, r->result};
    if (token < CALLS_MAX) count(&w.queries[token].tally, from, &said);
}

/* ---- what the client sends ---- */

static void check_request(const struct pbft_request *r, struct pbft_span frame, uint32_t token)
{
    REQUIRE(r->session == SESSION && r->t >= 1 && r->t < T_MAX && r->t <= w.newest_t + 1);
    struct request *request = &w.requests[r->t];
    if (r->t <= w.newest_t) { /* one t, one request: FAULTS 2.24 is for hostile clients */
        REQUIRE(fuzz_same(frame, (struct pbft_span){request->frame, request->size}));
        return;
    }
    for (uint64_t t = 1; t + SESSION_WINDOW <= r->t; t++) /* PROTOCOL 7 */
        REQUIRE(w.requests[t].tally.decided);
    REQUIRE(frame.size <= sizeof request->frame);
    memcpy(request->frame, frame.data, frame.size);
    request->size = frame.size;
    pbft_digest_request(&request->digest, pbft_wire_signed_body(frame));
    w.newest_t = r->t;
    for (uint32_t i = 0; i < w.call_count; i++) {
        struct call *call = &w.calls[i];
        bool its = fuzz_same(r->ops, (struct pbft_span){call->ops, call->size});
        if (i == token) {
            REQUIRE(its && r->op_count == call->count && (!call->read || call->ordered));
            call->t = r->t;
            return;
        }
        request->fallback = token == CALLS_MAX;
        if (request->fallback && its && call->read && !call->ordered && !call->done) return;
    }
    FINDING("a request that nobody asked for");
}

static void check_query(const struct pbft_query *q, uint32_t token)
{
    uint32_t known = token_of(q->id);
    if (known == CALLS_MAX) {
        REQUIRE(token < CALLS_MAX && q->floor == w.floor);
        w.queries[token] = (struct query){.sent = true, .id = q->id, .floor = q->floor};
        known = token;
    }
    const struct call *call = &w.calls[known];
    REQUIRE(call->read && !call->ordered && !call->done && w.queries[known].floor == q->floor);
    REQUIRE(q->op_count == call->count);
    REQUIRE(fuzz_same(q->ops, (struct pbft_span){call->ops, call->size}));
}

/* While healing correct replicas do at once what they are asked for. */
static void obey(pbft_signers to, const struct pbft_msg *msg)
{
    for (pbft_id id = 0; w.healing && id < w.n; id++) {
        struct pbft_msg answer;
        if (!pbft_signers_has(to, id) || !correct(id)) continue;
        if (msg->type == PBFT_QUERY && w.at[id] >= msg->query.floor) {
            true_query_reply(token_of(msg->query.id), w.at[id], msg->query.want_body != 0, &answer);
            enqueue(id, frame_of(&answer));
        } else if (msg->type == PBFT_RESULT_FETCH &&
                   true_reply(msg->result_fetch.t, w.at[id], true, &answer)) {
            enqueue(id, frame_of(&answer));
        }
    }
}

static void check_send(const struct pbft_match_send *send, uint32_t token)
{
    REQUIRE(send->to != 0 && (send->to & ~pbft_everyone(w.n)) == 0);
    struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 1};
    struct pbft_span frame = pbft_frame_span(send->frame);
    struct pbft_msg msg;
    REQUIRE(pbft_door_open(w.door, &client, frame, &msg) == PBFT_OK);
    if (msg.type == PBFT_REQUEST) {
        check_request(&msg.request, frame, token);
    } else if (msg.type == PBFT_QUERY) {
        check_query(&msg.query, token);
    } else {
        const struct pbft_result_fetch *r = &msg.result_fetch;
        REQUIRE(msg.type == PBFT_RESULT_FETCH && pbft_signers_count(send->to) == 1);
        REQUIRE(r->session == SESSION && r->t >= 1 && r->t <= w.newest_t);
        /* PROTOCOL 34: of one who has said what was agreed on. */
        REQUIRE(w.requests[r->t].tally.decided);
        REQUIRE((send->to & ~w.requests[r->t].tally.agreed) == 0);
    }
    obey(send->to, &msg);
}

/* ---- what the client answers ---- */

/* PROTOCOL 31: q said so, and with at most f liars it is what was executed. 0 if it is not, else
 * its place in the log (1 where lies are not bounded). */
static pbft_seq truth_of(uint64_t t, const struct pbft_match_completion *c)
{
    const struct tally *tally = &w.requests[t].tally;
    if (!tally->decided || tally->answer.outcome != c->outcome) return 0;
    if (!w.bounded) return 1;
    for (pbft_seq seq = 1; seq <= w.executed; seq++) {
        const struct execution *e = &w.log[seq];
        if (e->t != t || e->outcome != c->outcome) continue;
        struct pbft_span items = {e->body + 4, e->size < 4 ? 0 : e->size - 4};
        return fuzz_same(items, c->body) ? seq : 0;
    }
    return 0;
}

/* PROTOCOL 32: q agree on results and marks, the highest mark is that of the values, all of one
 * state, and none is older than what was answered before the read began. */
static void check_fast(uint32_t token, const struct pbft_match_completion *c)
{
    const struct tally *tally = &w.queries[token].tally;
    REQUIRE(tally->decided && tally->answer.outcome == c->outcome);
    REQUIRE(tally->answer.mark == c->mark);
    if (c->outcome == PBFT_OUTCOME_EXECUTED) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, 0, 1};
        struct pbft_msg msg;
        REQUIRE(c->frame != NULL &&
                pbft_door_open_client(w.door, &peer, pbft_frame_span(c->frame), &msg) == PBFT_OK);
        REQUIRE(pbft_digest_equal(&msg.query_reply.result, &tally->answer.result));
        REQUIRE(fuzz_same(pbft_wire_query_results(msg.query_reply.body), c->body));
    }
    if (!w.bounded) return;
    REQUIRE(c->outcome == PBFT_OUTCOME_EXECUTED && c->mark <= w.executed);
    REQUIRE(mark_of_call(&w.calls[token], c->mark) == c->mark);
    struct pbft_msg truth;
    true_query_reply(token, c->mark, true, &truth);
    REQUIRE(fuzz_same(pbft_wire_query_results(truth.query_reply.body), c->body));
    REQUIRE(mark_of_call(&w.calls[token], w.calls[token].low) <= c->mark);
    if (c->mark > w.answered) w.answered = c->mark;
}

static void check_ordered(const struct call *call, const struct pbft_match_completion *c)
{
    for (uint64_t t = call->t == 0 ? 1 : call->t; t <= w.newest_t; t++) {
        struct request *request = &w.requests[t];
        if (call->t != 0 && t != call->t) break;
        if (request->claimed || (call->t == 0) != request->fallback) continue;
        struct pbft_msg msg;
        struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 1};
        struct pbft_span frame = {request->frame, request->size};
        REQUIRE(pbft_door_open(w.door, &client, frame, &msg) == PBFT_OK);
        if (!fuzz_same(msg.request.ops, (struct pbft_span){call->ops, call->size})) continue;
        pbft_seq seq = truth_of(t, c);
        if (seq == 0) continue;
        request->claimed = true;
        if (w.bounded && c->outcome == PBFT_OUTCOME_EXECUTED && seq > w.answered) w.answered = seq;
        return;
    }
    FINDING("an answer that no quorum gave, or that is not the truth");
}

static void check_completion(const struct pbft_match_completion *c)
{
    REQUIRE(c->token < w.call_count);
    struct call *call = &w.calls[c->token];
    REQUIRE(!call->done); /* once */
    call->done = true;
    REQUIRE(!c->fallback || (call->read && !call->ordered));
    if (c->result == PBFT_MATCH_TIMEOUT) {
        REQUIRE(call->deadline_ns != 0 && call->deadline_ns <= w.now_ns && c->frame == NULL);
        w.timeouts++;
        return;
    }
    REQUIRE(c->outcome < PBFT_OUTCOME_COUNT);
    if (c->body.size > 0) {
        REQUIRE(c->frame != NULL && c->body.data >= c->frame->bytes);
        REQUIRE(c->body.data + c->body.size <= c->frame->bytes + c->frame->size);
    }
    w.answers++;
    if (call->read && !call->ordered && !c->fallback)
        check_fast((uint32_t)c->token, c);
    else
        check_ordered(call, c);
}

/* ---- what may never be otherwise ---- */

static void check_primary(void)
{
    pbft_view best = 0; /* the highest that f+1 have reached */
    for (pbft_id i = 0; i < w.n; i++) {
        uint32_t reached = 0;
        for (pbft_id k = 0; k < w.n; k++)
            reached += w.hints[k] >= w.hints[i];
        if (reached >= w.f + 1 && w.hints[i] > best) best = w.hints[i];
    }
    REQUIRE(pbft_match_primary(w.m) == best % w.n);
}

/* PROTOCOL 22: heeded from f+1 only. */
static void check_busy(uint64_t heeded)
{
    if (heeded == w.heeded) return;
    REQUIRE(busy_t != 0 && heeded == w.heeded + 1);
    REQUIRE(pbft_signers_count(w.requests[busy_t].busy) >= w.f + 1);
    w.requests[busy_t].busy = 0;
    w.heeded = heeded;
}

static void check_client(void)
{
    const struct pbft_match_stats *stats = pbft_match_stats(w.m);
    check_busy(stats->busy);
    REQUIRE(stats->answered == w.answers && stats->timeouts == w.timeouts);
    REQUIRE(pbft_match_next_t(w.m) == w.newest_t + 1);
    REQUIRE(pbft_match_requests(w.m) <= w.ring);
    REQUIRE(pbft_match_outstanding(w.m) <= w.ring + w.window);
    /* Frames: the request and a body of each; two questions and a body of each. */
    int64_t each = w.n;
    int64_t most = w.ring * (1 + each) + w.window * (2 + each);
    REQUIRE(w.live - (int64_t)w.queue_count - 16 - 2 <= most);
    REQUIRE(pbft_match_floor(w.m) >= w.floor);
    w.floor = pbft_match_floor(w.m);
    pbft_seq furthest = 0;
    for (pbft_id i = 0; w.bounded && i < w.n; i++) {
        if (!correct(i)) continue;
        if (w.at[i] > furthest) furthest = w.at[i];
        REQUIRE(stats->wrong_replies[i] == 0);
    }
    if (w.bounded) REQUIRE(w.floor <= furthest);
    check_primary();
}

void take(const struct pbft_match_out *out, uint32_t token)
{
    for (size_t i = 0; i < out->completion_count; i++) {
        check_completion(&out->completions[i]);
        pbft_frame_release(out->completions[i].frame);
    }
    for (size_t i = 0; i < out->send_count; i++) {
        check_send(&out->sends[i], token);
        pbft_frame_release(out->sends[i].frame);
    }
    for (uint32_t i = 0; due_t != 0 && i < w.call_count; i++)
        if (w.calls[i].t == due_t) REQUIRE(w.calls[i].done); /* nothing was missing any more */
    due_t = 0;
    check_client();
    busy_t = 0;
}
