/* client/match.c - requests: what is sent when, and which replies make an answer (PROTOCOL 31, 34).
 *
 * A request holds the place t mod ring until it is answered, and ring <= W: so t is sent only after
 * every reply <= t - W was accepted (PROTOCOL 7). */
#include "client/match_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <string.h>

#define BACKOFF_MAX      8u       /* times retry_ns */
#define INTRODUCE_BYTES  65536u   /* a request up to this size introduces its session itself */
#define LARGE_BYTES      1048576u /* for each of them, retry_ns more */
#define REQUEST_IN_BATCH 16u      /* what a proposal puts around its only request */

_Static_assert(_Alignof(struct match_exchange) <= _Alignof(max_align_t), "caller's memory");

/* ---- memory ---- */

static uint32_t ring_of(const struct pbft_match_config *c)
{
    uint32_t w = c->cluster->params.session_window;
    return 2 * c->window <= w ? 2 * c->window : w;
}

static size_t round_up(size_t size)
{
    return (size + 15u) & ~(size_t)15u;
}

static size_t exchanges_of(const struct pbft_match_config *c)
{
    return (size_t)ring_of(c) + c->window;
}

/* Per call: each exchange may be sent in two versions, and a fallback starts a request. */
static size_t sends_of(const struct pbft_match_config *c)
{
    return 2 * exchanges_of(c) + c->window + 4;
}

size_t pbft_match_size(const struct pbft_match_config *config)
{
    size_t exchanges = exchanges_of(config);
    return round_up(sizeof(struct pbft_match)) +
           round_up(exchanges * sizeof(struct match_exchange)) +
           round_up(exchanges * config->cluster->params.n * sizeof(struct match_vote)) +
           round_up(sends_of(config) * sizeof(struct pbft_match_send)) +
           round_up((exchanges + 1) * sizeof(struct pbft_match_completion));
}

struct pbft_match *pbft_match_init(void *memory, const struct pbft_match_config *config)
{
    const struct pbft_params *p = &config->cluster->params;
    PBFT_ASSERT(config->window >= 1 && config->window <= p->session_window);
    size_t exchanges = exchanges_of(config);
    uint8_t *at = memory;
    memset(memory, 0, pbft_match_size(config));
    struct pbft_match *m = (struct pbft_match *)(void *)at;
    at += round_up(sizeof *m);
    m->requests = (struct match_exchange *)(void *)at;
    at += round_up(exchanges * sizeof(struct match_exchange));
    struct match_vote *votes = (struct match_vote *)(void *)at;
    at += round_up(exchanges * p->n * sizeof(struct match_vote));
    m->sends = (struct pbft_match_send *)(void *)at;
    at += round_up(sends_of(config) * sizeof(struct pbft_match_send));
    m->completions = (struct pbft_match_completion *)(void *)at;

    m->config = *config;
    if (m->config.retry_ns == 0) m->config.retry_ns = p->view_timeout_ns;
    m->n = p->n;
    m->q = pbft_quorum(p->n);
    m->weak = pbft_quorum_weak(p->n);
    m->ring = ring_of(config);
    m->queries = m->requests + m->ring;
    m->next_t = config->first_t == 0 ? 1 : config->first_t;
    m->send_max = sends_of(config);
    m->completion_max = exchanges + 1;
    m->connected = pbft_everyone(m->n);
    for (size_t i = 0; i < exchanges; i++)
        m->requests[i].votes = votes + i * p->n;
    return m;
}

static void votes_clear(struct pbft_match *m, struct match_exchange *e)
{
    for (pbft_id i = 0; i < m->n; i++)
        pbft_frame_release(e->votes[i].frame);
    memset(e->votes, 0, m->n * sizeof *e->votes);
}

void match_exchange_clear(struct pbft_match *m, struct match_exchange *e)
{
    struct match_vote *votes = e->votes;
    votes_clear(m, e);
    pbft_frame_release(e->frame);
    pbft_frame_release(e->brief_frame);
    memset(e, 0, sizeof *e);
    e->votes = votes;
}

void pbft_match_release(struct pbft_match *m)
{
    for (uint32_t i = 0; i < m->ring; i++)
        match_exchange_clear(m, &m->requests[i]);
    for (uint32_t i = 0; i < m->config.window; i++)
        match_exchange_clear(m, &m->queries[i]);
}

/* ---- outputs ---- */

static void begin(struct pbft_match *m)
{
    m->send_count = 0;
    m->completion_count = 0;
}

static void end(struct pbft_match *m, struct pbft_match_out *out)
{
    *out = (struct pbft_match_out){m->sends, m->send_count, m->completions, m->completion_count};
}

void match_send(struct pbft_match *m, pbft_signers to, struct pbft_frame *frame)
{
    if (to == 0 || frame == NULL) return;
    PBFT_ASSERT(m->send_count < m->send_max);
    m->sends[m->send_count++] = (struct pbft_match_send){to, pbft_frame_retain(frame)};
}

struct pbft_match_completion *match_complete(struct pbft_match *m, struct match_exchange *e,
                                             enum pbft_match_result result)
{
    PBFT_ASSERT(m->completion_count < m->completion_max);
    struct pbft_match_completion *c = &m->completions[m->completion_count++];
    memset(c, 0, sizeof *c);
    c->token = e->token;
    c->result = result;
    c->fallback = e->fallback || e->state == EXCHANGE_FALLBACK;
    if (result == PBFT_MATCH_TIMEOUT)
        m->stats.timeouts++;
    else
        m->stats.answered++;
    return c;
}

struct pbft_frame *match_encode(struct pbft_match *m, const struct pbft_msg *msg)
{
    size_t size = pbft_wire_size(msg);
    if (size == 0 || size > PBFT_FRAME_MAX_BYTES) return NULL;
    struct pbft_frame *frame = pbft_frame_new(m->config.pool, (uint32_t)size);
    if (frame == NULL) return NULL;
    size_t written = pbft_wire_encode(msg, frame->bytes, frame->capacity);
    PBFT_ASSERT(written == size);
    frame->size = (uint32_t)size;
    return frame;
}

/* ---- votes ---- */

static bool same_statement(const struct match_vote *a, const struct match_vote *b)
{
    return !a->alien && !b->alien && a->outcome == b->outcome && a->mark == b->mark &&
           pbft_digest_equal(&a->result, &b->result);
}

pbft_signers match_same(const struct pbft_match *m, const struct match_exchange *e,
                        const struct match_vote *vote)
{
    pbft_signers same = 0;
    for (pbft_id i = 0; i < m->n; i++)
        if (e->votes[i].given && same_statement(&e->votes[i], vote)) same |= pbft_signers_of(i);
    return same;
}

static struct match_vote agreed_vote(const struct match_exchange *e)
{
    return (struct match_vote){.given = true,
                               .outcome = e->outcome,
                               .result = e->result,
                               .mark = e->mark};
}

pbft_signers match_agreeing(const struct pbft_match *m, const struct match_exchange *e)
{
    struct match_vote agreed = agreed_vote(e);
    return match_same(m, e, &agreed);
}

const struct match_vote *match_body(const struct pbft_match *m, const struct match_exchange *e)
{
    struct match_vote agreed = agreed_vote(e);
    for (pbft_id i = 0; i < m->n; i++)
        if (e->votes[i].frame != NULL && same_statement(&e->votes[i], &agreed)) return &e->votes[i];
    return NULL;
}

void match_vote_set(struct pbft_match *m, struct match_exchange *e, pbft_id from,
                    const struct match_vote *vote, struct pbft_frame *frame)
{
    struct match_vote *own = &e->votes[from];
    bool changes = !own->given || !same_statement(own, vote);
    bool needed = frame != NULL && !vote->alien && (changes || own->frame == NULL);
    for (pbft_id i = 0; needed && i < m->n; i++)
        if (e->votes[i].frame != NULL && same_statement(&e->votes[i], vote)) needed = false;
    if (!changes && !needed) return;
    pbft_frame_release(own->frame);
    *own = *vote;
    own->given = true;
    own->frame = needed ? pbft_frame_retain(frame) : NULL;
    if (!needed) own->body = (struct pbft_span){NULL, 0};
}

/* The k-th highest of the numbers, k from 1; 0 if there are fewer. */
static uint64_t kth_highest(const uint64_t *numbers, uint32_t count, uint32_t k)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at_least = 0;
        for (uint32_t j = 0; j < count; j++)
            if (numbers[j] >= numbers[i]) at_least++;
        if (at_least >= k && numbers[i] > best) best = numbers[i];
    }
    return best;
}

void match_raise_floor(struct pbft_match *m, const struct match_exchange *e)
{
    uint64_t seqs[PBFT_REPLICAS_MAX];
    uint32_t count = 0;
    pbft_signers agreeing = match_agreeing(m, e);
    for (pbft_id i = 0; i < m->n; i++)
        if (pbft_signers_has(agreeing, i)) seqs[count++] = e->votes[i].seq;
    uint64_t vouched = kth_highest(seqs, count, m->weak);
    if (vouched > m->floor) m->floor = vouched;
}

void match_set_agreed(struct pbft_match *m, struct match_exchange *e, const struct match_vote *vote,
                      uint64_t now_ns)
{
    e->agreed = true;
    e->outcome = vote->outcome;
    e->result = vote->result;
    e->mark = vote->mark;
    match_body_agreed(m, e, now_ns);
}

/* ---- requests ---- */

static void count_wrong(struct pbft_match *m, struct match_exchange *e, pbft_id from,
                        const struct match_vote *vote)
{
    struct match_vote agreed = agreed_vote(e);
    if (same_statement(vote, &agreed) || pbft_signers_has(e->counted, from)) return;
    /* A request refused by LIMIT leaves no record: another attempt may end otherwise. */
    if (vote->outcome == PBFT_OUTCOME_LIMIT || e->outcome == PBFT_OUTCOME_LIMIT) return;
    e->counted |= pbft_signers_of(from);
    m->stats.wrong_replies[from]++;
}

static void send_result_fetch(struct pbft_match *m, const struct match_exchange *e, pbft_signers to)
{
    struct pbft_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = PBFT_RESULT_FETCH;
    msg.epoch = m->config.cluster->epoch;
    msg.result_fetch = (struct pbft_result_fetch){m->config.session, e->number};
    struct pbft_frame *frame = match_encode(m, &msg);
    match_send(m, to, frame);
    pbft_frame_release(frame);
}

static pbft_signers audience(const struct pbft_match *m, uint32_t size)
{
    pbft_id primary = pbft_primary(m->n, m->view);
    pbft_signers everyone = pbft_everyone(m->n);
    if (!pbft_signers_has(m->connected, primary)) return everyone;
    /* Who has not heard of this session would answer all connections of our key (PROTOCOL 4). */
    if (size > INTRODUCE_BYTES) return pbft_signers_of(primary); /* see introduce() */
    return pbft_signers_of(primary) | (everyone & ~m->introduced);
}

/* What is large does not go to others for the sake of an introduction: a question about it does,
 * once it is executed. Before that they would answer that they know no such session. */
static void introduce(struct pbft_match *m, const struct match_exchange *e)
{
    pbft_signers to = pbft_everyone(m->n) & ~m->introduced & m->connected;
    if (e->frame->size <= INTRODUCE_BYTES || to == 0) return;
    m->introduced |= to;
    send_result_fetch(m, e, to);
}

/* Until a request goes to all replicas. A large one costs n times as much there, and when many do
 * that at once their answers take longer still: it waits in proportion. Not before the first
 * answer, which tells who is primary. */
static uint64_t patience(const struct pbft_match *m, uint32_t size)
{
    uint64_t times = m->opened ? 1u + size / LARGE_BYTES : 1u;
    return (times < BACKOFF_MAX ? times : BACKOFF_MAX) * m->config.retry_ns;
}

/* The next place, if it is free. The request is encoded, signed, stored and sent. */
bool match_request_start(struct pbft_match *m, uint64_t now_ns, struct pbft_span ops,
                         uint32_t op_count, struct match_exchange **out)
{
    struct match_exchange *e = &m->requests[m->next_t % m->ring];
    if (e->state == EXCHANGE_ACTIVE || e->state == EXCHANGE_ABANDONED) return false;
    struct pbft_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = PBFT_REQUEST;
    msg.epoch = m->config.cluster->epoch;
    msg.request.client = m->config.keypair->public;
    msg.request.session = m->config.session;
    msg.request.t = m->next_t;
    msg.request.op_count = op_count;
    msg.request.ops = ops;
    struct pbft_frame *frame = match_encode(m, &msg);
    if (frame == NULL) return false;
    pbft_frame_sign(m->config.cluster, m->config.signer, &m->config.keypair->secret, frame->bytes,
                    frame->size);
    match_exchange_clear(m, e);
    e->state = EXCHANGE_ACTIVE;
    e->number = m->next_t++;
    e->frame = frame;
    pbft_id designated = pbft_designated(m->n, &m->config.keypair->public, e->number);
    match_body_wanted(e, pbft_signers_of(designated), now_ns);
    e->interval_ns = patience(m, frame->size);
    e->retry_at_ns = now_ns + e->interval_ns;
    e->deadline_ns = UINT64_MAX;
    pbft_digest_request(&e->digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    m->live++;
    m->held++;
    pbft_signers to = audience(m, frame->size);
    m->introduced |= to & m->connected;
    match_send(m, to, frame);
    *out = e;
    return true;
}

enum pbft_verdict match_bundle_check(const struct pbft_match *m, struct pbft_span ops,
                                     uint32_t op_count)
{
    const struct pbft_params *p = &m->config.cluster->params;
    size_t around = PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES + 8u + 8u + 4u +
                    PBFT_SIGNATURE_BYTES + REQUEST_IN_BATCH;
    if (op_count == 0 || op_count > p->bundle_max_ops || ops.size > p->batch_max_bytes ||
        ops.size + around > p->batch_max_bytes)
        return PBFT_DROP_SIZE;
    return pbft_wire_items_valid(ops, op_count) ? PBFT_OK : PBFT_DROP_MALFORMED;
}

enum pbft_verdict pbft_match_submit(struct pbft_match *m, uint64_t now_ns, uint64_t deadline_ns,
                                    uint64_t token, struct pbft_span ops, uint32_t op_count,
                                    struct pbft_match_out *out)
{
    begin(m);
    end(m, out);
    enum pbft_verdict verdict = match_bundle_check(m, ops, op_count);
    if (verdict != PBFT_OK) return verdict;
    struct match_exchange *e;
    if (m->live >= m->config.window || !match_request_start(m, now_ns, ops, op_count, &e))
        return PBFT_DROP_BUSY;
    e->token = token;
    if (deadline_ns != 0) e->deadline_ns = deadline_ns;
    end(m, out);
    return PBFT_OK;
}

/* Both are outcomes of executing: they have a result, and leave a record. */
static bool executed(uint8_t outcome)
{
    return outcome == PBFT_OUTCOME_EXECUTED || outcome == PBFT_OUTCOME_INVALID;
}

/* Record what was agreed on, hand out the answer, keep what late replies are compared with. */
static void request_finish(struct pbft_match *m, struct match_exchange *e,
                           const struct match_vote *answer)
{
    for (pbft_id i = 0; i < m->n; i++)
        if (e->votes[i].given) count_wrong(m, e, i, &e->votes[i]);
    match_raise_floor(m, e);
    if (executed(e->outcome)) m->opened = true;
    if (m->opened) introduce(m, e);
    if (answer != NULL) match_body_accepted(m, answer->body.size);
    if (e->state == EXCHANGE_ACTIVE) {
        struct pbft_match_completion *c = match_complete(m, e, PBFT_MATCH_ANSWER);
        c->outcome = e->outcome;
        if (answer != NULL) {
            c->frame = pbft_frame_retain(answer->frame);
            if (answer->body.size >= 4)
                c->body = (struct pbft_span){answer->body.data + 4, answer->body.size - 4};
        }
        m->live--;
    }
    m->held--;
    e->state = EXCHANGE_DONE;
    votes_clear(m, e);
    pbft_frame_release(e->frame);
    e->frame = NULL;
}

static void request_fetch(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    if (match_body_ask(m, e, now_ns)) send_result_fetch(m, e, pbft_signers_of(e->fetch_from));
}

/* q agree: finished if the body is there, or if there is none to wait for. */
static void request_advance(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    const struct match_vote *answer = match_body(m, e);
    if (answer != NULL) {
        request_finish(m, e, answer);
        return;
    }
    if (!executed(e->outcome)) {
        request_finish(m, e, NULL);
        return;
    }
    if (match_body_due(m, e, now_ns)) request_fetch(m, e, now_ns);
}

/* The primary's view is moved by f+1 replicas, never by one (FAULTS 2.25). */
static void view_hint(struct pbft_match *m, pbft_id from, pbft_view view)
{
    if (view <= m->views[from]) return;
    m->views[from] = view;
    pbft_view vouched = kth_highest(m->views, m->n, m->weak);
    if (vouched > m->view) m->view = vouched;
}

static struct match_exchange *request_of(struct pbft_match *m, uint64_t session, uint64_t t)
{
    if (session != m->config.session) return NULL;
    struct match_exchange *e = &m->requests[t % m->ring];
    return e->state != EXCHANGE_FREE && e->number == t ? e : NULL;
}

static enum pbft_verdict on_reply(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                  const struct pbft_reply *r, struct pbft_frame *frame)
{
    if (r->session != m->config.session) return PBFT_DROP_STATE;
    view_hint(m, from, r->view);
    struct match_exchange *e = request_of(m, r->session, r->t);
    if (e == NULL) return PBFT_DROP_UNWANTED;
    /* A refusal by LIMIT leaves no record and an execution may follow it, but never the other way
     * round: this one is late. Else: nobody stands by what was agreed on, and its body never comes.
     */
    const struct match_vote *said = &e->votes[from];
    if (r->outcome == PBFT_OUTCOME_LIMIT && said->given && !said->alien && executed(said->outcome))
        return PBFT_DROP_DUPLICATE;
    bool whole = (r->flags & PBFT_REPLY_HAS_BODY) != 0;
    match_body_heard(m, e, from, whole, now_ns);
    struct match_vote vote = {.given = true,
                              .alien = !pbft_digest_equal(&r->request, &e->digest),
                              .outcome = r->outcome,
                              .result = r->result,
                              .seq = r->seq,
                              .body = r->body};
    if (e->state == EXCHANGE_DONE) {
        count_wrong(m, e, from, &vote);
        return PBFT_DROP_DUPLICATE;
    }
    match_vote_set(m, e, from, &vote, whole ? frame : NULL);
    if (!e->agreed) {
        if (pbft_signers_count(match_same(m, e, &vote)) < m->q) return PBFT_OK;
        match_set_agreed(m, e, &vote, now_ns);
    }
    request_advance(m, e, now_ns);
    return PBFT_OK;
}

/* Heeded from f+1 replicas only (PROTOCOL 22): the next attempt waits its whole interval anew. */
static enum pbft_verdict on_busy(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                 const struct pbft_busy *busy)
{
    struct match_exchange *e = request_of(m, busy->session, busy->t);
    if (e == NULL || e->state == EXCHANGE_DONE || e->agreed) return PBFT_DROP_UNWANTED;
    e->busy |= pbft_signers_of(from);
    if (pbft_signers_count(e->busy) < m->weak) return PBFT_OK;
    e->busy = 0;
    e->retry_at_ns = now_ns + e->interval_ns;
    m->stats.busy++;
    return PBFT_OK;
}

/* ---- clock and connections ---- */

static void request_tick(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    if (e->state != EXCHANGE_ACTIVE && e->state != EXCHANGE_ABANDONED) return;
    if (e->state == EXCHANGE_ACTIVE && e->deadline_ns <= now_ns) {
        (void)match_complete(m, e, PBFT_MATCH_TIMEOUT);
        e->state = EXCHANGE_ABANDONED;
        m->live--;
    }
    if (e->agreed) {
        if (e->fetch_at_ns <= now_ns) request_fetch(m, e, now_ns);
        return;
    }
    if (e->retry_at_ns > now_ns) return;
    e->busy = 0;
    e->interval_ns *= 2;
    if (e->interval_ns > BACKOFF_MAX * m->config.retry_ns)
        e->interval_ns = BACKOFF_MAX * m->config.retry_ns;
    e->retry_at_ns = now_ns + e->interval_ns;
    m->stats.retransmissions++;
    m->introduced |= m->connected;
    match_send(m, pbft_everyone(m->n), e->frame);
}

static uint64_t request_deadline(const struct match_exchange *e)
{
    if (e->state != EXCHANGE_ACTIVE && e->state != EXCHANGE_ABANDONED) return UINT64_MAX;
    uint64_t next = e->agreed ? e->fetch_at_ns : e->retry_at_ns;
    return e->state == EXCHANGE_ACTIVE && e->deadline_ns < next ? e->deadline_ns : next;
}

bool match_renew(struct pbft_match *m, struct pbft_frame **frame)
{
    const struct pbft_cluster *cluster = m->config.cluster;
    struct pbft_frame *old = *frame;
    if (old == NULL || pbft_get_u32(old->bytes + 4) == cluster->epoch) return true;
    struct pbft_frame *fresh = pbft_frame_new(m->config.pool, old->size);
    if (fresh == NULL) return false;
    memcpy(fresh->bytes, old->bytes, old->size); /* others may be sending the old one */
    fresh->size = old->size;
    pbft_put_u32(fresh->bytes + 4, cluster->epoch);
    if (fresh->bytes[0] == PBFT_REQUEST)
        pbft_frame_sign(cluster, m->config.signer, &m->config.keypair->secret, fresh->bytes,
                        fresh->size);
    pbft_frame_release(old);
    *frame = fresh;
    return true;
}

static void renew_all(struct pbft_match *m)
{
    bool all = match_queries_renew(m);
    for (uint32_t i = 0; m->held > 0 && i < m->ring; i++) {
        struct match_exchange *e = &m->requests[i];
        if (e->state != EXCHANGE_ACTIVE && e->state != EXCHANGE_ABANDONED) continue;
        all = match_renew(m, &e->frame) && all;
    }
    m->stale = !all;
}

/* Half a quorum of one configuration and half of the next are none. */
static void forget_votes(struct pbft_match *m, struct match_exchange *e)
{
    votes_clear(m, e);
    e->busy = e->counted = 0;
    e->awaited = e->sources;
}

void pbft_match_epoch(struct pbft_match *m, const struct pbft_cluster *cluster)
{
    PBFT_ASSERT(cluster->params.n == m->n);
    m->config.cluster = cluster;
    m->connected = m->introduced = 0;
    memset(m->views, 0, sizeof m->views);
    m->view = 0;
    for (uint32_t i = 0; i < m->ring; i++)
        if (!m->requests[i].agreed) forget_votes(m, &m->requests[i]);
    for (uint32_t i = 0; i < m->config.window; i++)
        if (!m->queries[i].agreed) forget_votes(m, &m->queries[i]);
    renew_all(m);
}

void pbft_match_tick(struct pbft_match *m, uint64_t now_ns, struct pbft_match_out *out)
{
    begin(m);
    if (m->stale) renew_all(m);
    for (uint32_t i = 0; m->held > 0 && i < m->ring; i++)
        request_tick(m, &m->requests[i], now_ns);
    match_queries_tick(m, now_ns);
    match_queries_pump(m, now_ns);
    end(m, out);
}

uint64_t pbft_match_deadline(const struct pbft_match *m)
{
    uint64_t next = match_queries_deadline(m);
    for (uint32_t i = 0; m->held > 0 && i < m->ring; i++) {
        uint64_t own = request_deadline(&m->requests[i]);
        if (own < next) next = own;
    }
    return next;
}

void pbft_match_connected(struct pbft_match *m, uint64_t now_ns, pbft_id replica,
                          struct pbft_match_out *out)
{
    PBFT_ASSERT(replica < m->n);
    begin(m);
    m->connected |= pbft_signers_of(replica);
    m->introduced &= ~pbft_signers_of(replica);
    for (uint32_t i = 0; m->held > 0 && i < m->ring; i++) {
        struct match_exchange *e = &m->requests[i];
        if ((e->state != EXCHANGE_ACTIVE && e->state != EXCHANGE_ABANDONED) || e->agreed) continue;
        match_send(m, pbft_signers_of(replica), e->frame);
        m->introduced |= pbft_signers_of(replica);
    }
    match_queries_connected(m, replica);
    match_queries_pump(m, now_ns);
    end(m, out);
}

void pbft_match_disconnected(struct pbft_match *m, pbft_id replica)
{
    PBFT_ASSERT(replica < m->n);
    m->connected &= ~pbft_signers_of(replica);
    m->introduced &= ~pbft_signers_of(replica);
    if (replica != pbft_primary(m->n, m->view)) return;
    /* What only the primary has heard of dies with it: tell the others at the next tick, so that
     * their timers start now and not after ours. */
    for (uint32_t i = 0; m->held > 0 && i < m->ring; i++)
        m->requests[i].retry_at_ns = 0;
}

enum pbft_verdict pbft_match_message(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                     const struct pbft_msg *msg, struct pbft_frame *frame,
                                     struct pbft_match_out *out)
{
    PBFT_ASSERT(from < m->n); /* the door knows whose channel it was */
    begin(m);
    enum pbft_verdict verdict = PBFT_DROP_TYPE;
    if (msg->type == PBFT_REPLY)
        verdict = on_reply(m, now_ns, from, &msg->reply, frame);
    else if (msg->type == PBFT_QUERY_REPLY)
        verdict = match_on_query_reply(m, now_ns, from, &msg->query_reply, frame);
    else if (msg->type == PBFT_BUSY)
        verdict = on_busy(m, now_ns, from, &msg->busy);
    match_queries_pump(m, now_ns);
    end(m, out);
    return verdict;
}

/* ---- looking ---- */

const struct pbft_match_stats *pbft_match_stats(const struct pbft_match *m)
{
    return &m->stats;
}

pbft_id pbft_match_primary(const struct pbft_match *m)
{
    return pbft_primary(m->n, m->view);
}

uint32_t pbft_match_outstanding(const struct pbft_match *m)
{
    return m->held + m->queries_live;
}

uint32_t pbft_match_requests(const struct pbft_match *m)
{
    return m->held;
}

uint64_t pbft_match_next_t(const struct pbft_match *m)
{
    return m->next_t;
}

pbft_seq pbft_match_floor(const struct pbft_match *m)
{
    return m->floor;
}

bool pbft_match_opened(const struct pbft_match *m)
{
    return m->opened;
}
