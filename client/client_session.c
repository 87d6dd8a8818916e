/* client/client_session.c - the sessions of a handle: which one takes a job, opening them in order,
 * replacing those that are gone. */
#include "client/client_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define ATTEMPTS_MAX     8u  /* sessions that one operation is tried under */
#define GENERATION_SHIFT 40u /* of query ids: the bits below count reads */

/* Greater than any before in this process, and than those of earlier ones while clocks are right.
 * Another process under this key may be ahead: then ours EXPIRES and we take a new one. */
static uint64_t session_number(void)
{
    static _Atomic uint64_t last;
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t now = (uint64_t)wall.tv_sec * UINT64_C(1000000000) + (uint64_t)wall.tv_nsec;
    uint64_t before = atomic_load(&last);
    uint64_t next;
    do {
        next = now > before ? now : before + 1;
    } while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

void client_stats_add(struct pbft_client_stats *to, const struct pbft_match *m)
{
    const struct pbft_match_stats *s = pbft_match_stats(m);
    to->answered += s->answered;
    to->timeouts += s->timeouts;
    to->retransmissions += s->retransmissions;
    to->fallbacks += s->fallbacks;
    to->busy += s->busy;
    for (pbft_id i = 0; i < PBFT_REPLICAS_MAX; i++)
        to->wrong_replies[i] += s->wrong_replies[i];
}

bool client_new_session(struct pbft_client *c, struct client_session *s)
{
    if (s->m != NULL) {
        client_stats_add(&c->stats, s->m);
        if (s->expired || pbft_match_opened(s->m)) c->stats.renewed_sessions++;
        pbft_match_release(s->m);
    }
    s->number = session_number();
    s->query_base = c->next_generation++ << GENERATION_SHIFT;
    struct pbft_match_config config = {
        .cluster = c->cluster,
        .signer = &pbft_signer_ed25519,
        .keypair = &c->keypair,
        .client_index = c->client_index,
        .session = s->number,
        .query_base = s->query_base,
        .window = c->options.window,
        .pool = pbft_pool_frames(c->pool),
    };
    if (s->memory == NULL) s->memory = malloc(pbft_match_size(&config));
    if (s->memory == NULL) return false;
    s->m = pbft_match_init(s->memory, &config);
    for (pbft_id i = 0; i < c->config.cluster.params.n; i++)
        if (c->connections[i] == 0) pbft_match_disconnected(s->m, i);
    s->expired = false;
    s->due_ns = 0;
    s->used_ns = client_now();
    return true;
}

void client_session_free(struct client_session *s)
{
    if (s->m != NULL) pbft_match_release(s->m);
    free(s->memory);
}

struct client_session *client_least_busy(const struct pbft_client *c)
{
    struct client_session *best = &c->sessions[0];
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        struct client_session *s = &c->sessions[i];
        uint32_t busy = pbft_match_outstanding(s->m) + s->waiting.count;
        if (busy >= least) continue;
        least = busy;
        best = s;
    }
    return best;
}

/* Other processes under our key, and sessions before these, are not ours to answer for. */
struct client_session *client_session_of(const struct pbft_client *c, const struct pbft_msg *msg)
{
    bool query = msg->type == PBFT_QUERY_REPLY;
    uint64_t number = msg->type == PBFT_REPLY ? msg->reply.session : msg->busy.session;
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        struct client_session *s = &c->sessions[i];
        if (query ? msg->query_reply.id >> GENERATION_SHIFT == s->query_base >> GENERATION_SHIFT
                  : number == s->number)
            return s;
    }
    return NULL;
}

/* ---- jobs ---- */

/* Certainly not executed, because its session is not there (PROTOCOL 6, 7) - unless it was, and the
 * session was retired since, which takes session_idle of agreed time. */
static bool may_retry(const struct pbft_client *c, const struct job *job, uint8_t outcome,
                      uint64_t now)
{
    bool nowhere = outcome == PBFT_OUTCOME_EXPIRED || outcome == PBFT_OUTCOME_CONFLICT;
    return nowhere && job->attempts < ATTEMPTS_MAX && now < job->deadline_ns &&
           now - job->submitted_ns < c->config.cluster.params.session_idle_ns / 2;
}

static void on_completion(struct pbft_client *c, struct client_session *s,
                          const struct pbft_match_completion *done, uint64_t now)
{
    struct job *job = (struct job *)(uintptr_t)done->token;
    if (done->result == PBFT_MATCH_TIMEOUT) {
        client_finish_status(c, job, PBFT_STATUS_TIMEOUT);
        return;
    }
    if (done->outcome == PBFT_OUTCOME_EXPIRED || done->outcome == PBFT_OUTCOME_CONFLICT)
        s->expired = true;
    if (may_retry(c, job, done->outcome, now)) {
        job_push_front(&s->waiting, job);
        return;
    }
    bool executed = done->outcome == PBFT_OUTCOME_EXECUTED;
    struct pbft_span results = done->body;
    size_t cursor = 0;
    if (job->single && !pbft_wire_next_item(done->body, &cursor, &results))
        results = (struct pbft_span){NULL, 0};
    size_t offset = done->frame == NULL || results.data == NULL
                        ? 0
                        : (size_t)(results.data - done->frame->bytes);
    struct pbft_answer answer = {
        .status = executed ? PBFT_STATUS_OK : PBFT_STATUS_REFUSED,
        .outcome = done->outcome,
        .fallback = done->fallback,
        .mark = done->mark,
        .bytes = results.size == 0 ? NULL : done->frame->bytes + offset,
        .size = results.size,
    };
    client_finish(c, job, &answer);
}

void client_carry_out(struct pbft_client *c, struct client_session *s,
                      const struct pbft_match_out *out)
{
    s->due_ns = 0;
    for (size_t i = 0; i < out->send_count; i++) {
        (void)pbft_net_broadcast(c->net, out->sends[i].to, out->sends[i].frame);
        pbft_frame_release(out->sends[i].frame);
    }
    uint64_t now = out->completion_count > 0 ? client_now() : 0;
    for (size_t i = 0; i < out->completion_count; i++) {
        on_completion(c, s, &out->completions[i], now);
        pbft_frame_release(out->completions[i].frame);
    }
}

static enum pbft_verdict start(struct pbft_client *c, struct client_session *s, struct job *job,
                               uint64_t now)
{
    struct pbft_match_out out;
    struct pbft_span bytes = {job->bytes, job->size};
    uint64_t token = (uint64_t)(uintptr_t)job;
    enum pbft_verdict verdict =
        job->kind == JOB_CALL
            ? pbft_match_submit(s->m, now, job->deadline_ns, token, bytes, job->op_count, &out)
            : pbft_match_read(s->m, now, job->deadline_ns, token, bytes, job->op_count, false,
                              &out);
    if (verdict != PBFT_OK) return verdict;
    job->attempts++;
    s->used_ns = now;
    if (job->kind == JOB_CALL && s->number > c->newest) c->newest = s->number;
    client_carry_out(c, s, &out);
    return PBFT_OK;
}

static bool opening(const struct client_session *s)
{
    return !pbft_match_opened(s->m) && pbft_match_requests(s->m) > 0;
}

/* Sessions of one key open in ascending order (PROTOCOL 6): one after the other, and one that was
 * overtaken before its first request takes a new number. False: not its turn yet. Reads need no
 * session; one that falls back may find its own overtaken, and is sent again (may_retry). */
static bool may_start(struct pbft_client *c, struct client_session *s, const struct job *job)
{
    if (job->kind == JOB_READ || pbft_match_opened(s->m) || opening(s)) return true;
    for (uint32_t i = 0; i < c->options.sessions; i++)
        if (opening(&c->sessions[i])) return false;
    if (s->number >= c->newest) return true;
    if (pbft_match_outstanding(s->m) == 0) return client_new_session(c, s);
    s->expired = true; /* reads are outstanding: as soon as they are over */
    return false;
}

/* As many waiting operations as the window takes, in order. */
static void feed(struct pbft_client *c, struct client_session *s, uint64_t now)
{
    if (s->waiting.count == 0) return;
    /* One that may be retired soon is not worth a first attempt. Not much earlier: what it leaves
     * behind counts against sessions_per_client until it is retired. Where that is 1, the next one
     * would be refused: then it is kept until it is gone. */
    const struct pbft_params *p = &c->config.cluster.params;
    bool idle = p->sessions_per_client > 1 && now - s->used_ns > p->session_idle_ns / 4 * 3;
    bool free = pbft_match_outstanding(s->m) == 0;
    if (s->expired && !free) return;
    if ((s->expired || idle) && free) (void)client_new_session(c, s);
    while (s->waiting.head != NULL) {
        struct job *job = s->waiting.head;
        if (!may_start(c, s, job)) return;
        enum pbft_status status = PBFT_STATUS_TIMEOUT;
        if (job->deadline_ns > now) {
            enum pbft_verdict verdict = start(c, s, job, now);
            if (verdict == PBFT_DROP_BUSY) return;
            status = verdict == PBFT_OK ? PBFT_STATUS_OK : PBFT_STATUS_ARGUMENT;
        }
        (void)job_pop(&s->waiting);
        if (status != PBFT_STATUS_OK) client_finish_status(c, job, status);
    }
}

void client_tick_session(struct pbft_client *c, struct client_session *s, uint64_t now)
{
    if (client_session_due(s) <= now) {
        struct pbft_match_out out;
        pbft_match_tick(s->m, now, &out);
        client_carry_out(c, s, &out);
    }
    feed(c, s, now);
}

uint64_t client_session_due(struct client_session *s)
{
    if (s->due_ns == 0) s->due_ns = pbft_match_deadline(s->m);
    return s->due_ns;
}
