/* client/client_loop.c - the library's one thread: connections, the session, clocks, callbacks. */
#include "client/client_internal.h"

#include "crypto/keys.h"
#include "pbft/quorum.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS_MAX       64u
#define ATTEMPTS_MAX     8u                 /* sessions that one operation is tried under */
#define WAITING_TICK_NS  UINT64_C(20000000) /* precision of a waiting one's deadline */
#define GENERATION_SHIFT 40u                /* of query ids: the bits below count reads */

uint64_t client_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void job_push(struct job_list *list, struct job *job)
{
    job->next = NULL;
    if (list->tail != NULL)
        list->tail->next = job;
    else
        list->head = job;
    list->tail = job;
    list->count++;
}

static void job_push_front(struct job_list *list, struct job *job)
{
    job->next = list->head;
    list->head = job;
    if (list->tail == NULL) list->tail = job;
    list->count++;
}

static struct job *job_pop(struct job_list *list)
{
    struct job *job = list->head;
    if (job == NULL) return NULL;
    list->head = job->next;
    if (list->head == NULL) list->tail = NULL;
    list->count--;
    job->next = NULL;
    return job;
}

/* Tell the caller, forget the job. */
static void finish(struct pbft_client *c, struct job *job, const struct pbft_answer *answer)
{
    (void)pthread_mutex_lock(&c->lock);
    if (job->kind == JOB_ADMIN)
        c->admin_queued--;
    else if (job->kind == JOB_CALL || job->kind == JOB_READ)
        c->queued--;
    (void)pthread_mutex_unlock(&c->lock);
    job->done(job->context, answer);
    free(job);
}

static void finish_status(struct pbft_client *c, struct job *job, enum pbft_status status)
{
    struct pbft_answer answer = {.status = status};
    finish(c, job, &answer);
}

static void finish_all(struct pbft_client *c, struct job_list *list, enum pbft_status status)
{
    struct job_list all = *list;
    *list = (struct job_list){NULL, NULL, 0};
    for (struct job *job = job_pop(&all); job != NULL; job = job_pop(&all))
        finish_status(c, job, status);
}

/* Those whose time is over. Returns the next deadline of the others. */
static uint64_t drop_late(struct pbft_client *c, struct job_list *list, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    struct job_list all = *list;
    *list = (struct job_list){NULL, NULL, 0};
    for (struct job *job = job_pop(&all); job != NULL; job = job_pop(&all)) {
        if (job->deadline_ns <= now) {
            finish_status(c, job, PBFT_STATUS_TIMEOUT);
            continue;
        }
        if (job->deadline_ns < next) next = job->deadline_ns;
        job_push(list, job);
    }
    return next;
}

/* ---- the session ---- */

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

static void stats_add(struct pbft_client_stats *to, const struct pbft_match *m)
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

bool client_new_session(struct pbft_client *c)
{
    if (c->m != NULL) {
        stats_add(&c->stats, c->m);
        c->stats.renewed_sessions++;
        pbft_match_release(c->m);
    }
    c->session = session_number();
    c->query_base = c->next_generation++ << GENERATION_SHIFT;
    struct pbft_match_config config = {
        .cluster = &c->config.cluster,
        .signer = &pbft_signer_ed25519,
        .keypair = &c->keypair,
        .client_index = c->client_index,
        .session = c->session,
        .query_base = c->query_base,
        .window = c->options.window,
        .pool = pbft_pool_frames(c->pool),
    };
    if (c->memory == NULL) c->memory = malloc(pbft_match_size(&config));
    if (c->memory == NULL) return false;
    c->m = pbft_match_init(c->memory, &config);
    for (pbft_id i = 0; i < c->config.cluster.params.n; i++)
        if (c->connections[i] == 0) pbft_match_disconnected(c->m, i);
    c->expired = false;
    c->used_ns = client_now();
    return true;
}

/* Certainly not executed, because its session is not there (PROTOCOL 6, 7) - unless it was, and the
 * session was retired since, which takes session_idle of agreed time. */
static bool may_retry(const struct pbft_client *c, const struct job *job, uint8_t outcome,
                      uint64_t now)
{
    bool nowhere = outcome == PBFT_OUTCOME_EXPIRED || outcome == PBFT_OUTCOME_CONFLICT;
    return nowhere && job->attempts < ATTEMPTS_MAX && now < job->deadline_ns &&
           now - job->submitted_ns < c->config.cluster.params.session_idle_ns / 2;
}

static void on_completion(struct pbft_client *c, const struct pbft_match_completion *done,
                          uint64_t now)
{
    struct job *job = (struct job *)(uintptr_t)done->token;
    if (done->result == PBFT_MATCH_TIMEOUT) {
        finish_status(c, job, PBFT_STATUS_TIMEOUT);
        return;
    }
    if (done->outcome == PBFT_OUTCOME_EXPIRED || done->outcome == PBFT_OUTCOME_CONFLICT)
        c->expired = true;
    if (may_retry(c, job, done->outcome, now)) {
        job_push_front(&c->waiting, job);
        return;
    }
    bool executed = done->outcome == PBFT_OUTCOME_EXECUTED;
    size_t offset = done->frame == NULL || done->body.data == NULL
                        ? 0
                        : (size_t)(done->body.data - done->frame->bytes);
    struct pbft_answer answer = {
        .status = executed ? PBFT_STATUS_OK : PBFT_STATUS_REFUSED,
        .outcome = done->outcome,
        .fallback = done->fallback,
        .mark = done->mark,
        .bytes = done->body.size == 0 ? NULL : done->frame->bytes + offset,
        .size = done->body.size,
    };
    finish(c, job, &answer);
}

static void carry_out(struct pbft_client *c, const struct pbft_match_out *out)
{
    for (size_t i = 0; i < out->send_count; i++) {
        (void)pbft_net_broadcast(c->net, out->sends[i].to, out->sends[i].frame);
        pbft_frame_release(out->sends[i].frame);
    }
    uint64_t now = out->completion_count > 0 ? client_now() : 0;
    for (size_t i = 0; i < out->completion_count; i++) {
        on_completion(c, &out->completions[i], now);
        pbft_frame_release(out->completions[i].frame);
    }
}

static enum pbft_verdict start(struct pbft_client *c, struct job *job, uint64_t now)
{
    struct pbft_match_out out;
    struct pbft_span bytes = {job->bytes, job->size};
    uint64_t token = (uint64_t)(uintptr_t)job;
    enum pbft_verdict verdict =
        job->kind == JOB_CALL
            ? pbft_match_submit(c->m, now, job->deadline_ns, token, bytes, job->op_count, &out)
            : pbft_match_read(c->m, now, job->deadline_ns, token, bytes, false, &out);
    if (verdict != PBFT_OK) return verdict;
    job->attempts++;
    c->used_ns = now;
    carry_out(c, &out);
    return PBFT_OK;
}

/* As many waiting operations as the window takes, in order. */
static void feed(struct pbft_client *c, uint64_t now)
{
    if (c->waiting.count == 0) return;
    /* One that may be retired soon is not worth a first attempt. */
    bool idle = now - c->used_ns > c->config.cluster.params.session_idle_ns / 4;
    bool free = pbft_match_outstanding(c->m) == 0;
    if (c->expired && !free) return;
    if ((c->expired || idle) && free) (void)client_new_session(c);
    while (c->waiting.head != NULL) {
        struct job *job = c->waiting.head;
        enum pbft_status status = PBFT_STATUS_TIMEOUT;
        if (job->deadline_ns > now) {
            enum pbft_verdict verdict = start(c, job, now);
            if (verdict == PBFT_DROP_BUSY) return;
            status = verdict == PBFT_OK ? PBFT_STATUS_OK : PBFT_STATUS_ARGUMENT;
        }
        (void)job_pop(&c->waiting);
        if (status != PBFT_STATUS_OK) finish_status(c, job, status);
    }
}

/* ---- questions to one replica ---- */

static void admin_send(struct pbft_client *c, const struct job *job)
{
    if (c->connections[job->replica] == 0) return; /* sent when it connects */
    struct pbft_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = PBFT_ADMIN;
    msg.epoch = c->config.cluster.epoch;
    msg.admin = (struct pbft_admin){job->id, job->admin_kind, {job->bytes, job->size}};
    size_t size = pbft_wire_size(&msg);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(c->pool), (uint32_t)size);
    if (frame == NULL) return;
    frame->size = (uint32_t)pbft_wire_encode(&msg, frame->bytes, frame->capacity);
    (void)pbft_net_broadcast(c->net, pbft_signers_of(job->replica), frame);
    pbft_frame_release(frame);
}

static void on_admin_reply(struct pbft_client *c, pbft_id from,
                           const struct pbft_admin_reply *reply, struct pbft_frame *frame)
{
    struct job_list all = c->admins;
    struct job *found = NULL;
    c->admins = (struct job_list){NULL, NULL, 0};
    for (struct job *job = job_pop(&all); job != NULL; job = job_pop(&all)) {
        if (found == NULL && job->id == reply->id && job->replica == from)
            found = job;
        else
            job_push(&c->admins, job);
    }
    if (found == NULL) return;
    struct pbft_answer answer = {.status = reply->ok != 0 ? PBFT_STATUS_OK : PBFT_STATUS_REFUSED,
                                 .size = reply->body.size};
    if (reply->body.size > 0)
        answer.bytes = frame->bytes + (size_t)(reply->body.data - frame->bytes);
    finish(c, found, &answer);
}

/* ---- what happens ---- */

static uint32_t connected_count(const struct pbft_client *c)
{
    uint32_t count = 0;
    for (pbft_id i = 0; i < c->config.cluster.params.n; i++)
        if (c->connections[i] != 0) count++;
    return count;
}

static void release_waiters(struct pbft_client *c)
{
    if (connected_count(c) >= pbft_quorum(c->config.cluster.params.n))
        finish_all(c, &c->waiters, PBFT_STATUS_OK);
}

static void on_up(struct pbft_client *c, const struct pbft_peer *peer)
{
    struct pbft_match_out out;
    c->connections[peer->index] = peer->connection;
    pbft_match_connected(c->m, client_now(), peer->index, &out);
    carry_out(c, &out);
    for (struct job *job = c->admins.head; job != NULL; job = job->next)
        if (job->replica == peer->index) admin_send(c, job);
    release_waiters(c);
}

static void on_down(struct pbft_client *c, const struct pbft_peer *peer)
{
    if (c->connections[peer->index] != peer->connection) return; /* an older one's end */
    c->connections[peer->index] = 0;
    pbft_match_disconnected(c->m, peer->index);
}

/* Other processes under our key, and sessions before this one, are not ours to answer for. */
static bool for_us(const struct pbft_client *c, const struct pbft_msg *msg)
{
    if (msg->type == PBFT_REPLY) return msg->reply.session == c->session;
    if (msg->type == PBFT_BUSY) return msg->busy.session == c->session;
    return msg->query_reply.id >> GENERATION_SHIFT == c->query_base >> GENERATION_SHIFT;
}

static void on_frame(struct pbft_client *c, const struct pbft_peer *from, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    enum pbft_verdict verdict = pbft_door_open_client(c->door, from, pbft_frame_span(frame), &msg);
    if (verdict == PBFT_DROP_DIGEST) c->stats.wrong_replies[from->index]++;
    if (verdict == PBFT_OK && msg.type == PBFT_ADMIN_REPLY) {
        on_admin_reply(c, from->index, &msg.admin_reply, frame);
        return;
    }
    if (verdict != PBFT_OK || !for_us(c, &msg)) {
        c->stats.dropped_frames++;
        return;
    }
    struct pbft_match_out out;
    (void)pbft_match_message(c->m, client_now(), from->index, &msg, frame, &out);
    carry_out(c, &out);
}

static void on_event(struct pbft_client *c, const struct pbft_net_event *event)
{
    /* We dial replicas only, and listen to nobody. */
    PBFT_ASSERT(event->peer.kind == PBFT_PEER_REPLICA);
    PBFT_ASSERT(event->peer.index < c->config.cluster.params.n);
    switch (event->kind) {
    case PBFT_NET_UP: on_up(c, &event->peer); break;
    case PBFT_NET_DOWN: on_down(c, &event->peer); break;
    case PBFT_NET_FRAME:
        on_frame(c, &event->peer, event->frame);
        pbft_frame_release(event->frame);
        break;
    }
}

static void on_stats(struct pbft_client *c, struct job *job)
{
    struct pbft_client_stats snapshot;
    client_snapshot(c, &snapshot);
    struct pbft_answer answer = {.bytes = (uint8_t *)&snapshot, .size = sizeof snapshot};
    finish(c, job, &answer);
}

static void on_job(struct pbft_client *c, struct job *job)
{
    switch (job->kind) {
    case JOB_CALL:
    case JOB_READ: job_push(&c->waiting, job); break;
    case JOB_ADMIN:
        job->id = c->next_admin++;
        job_push(&c->admins, job);
        admin_send(c, job);
        break;
    case JOB_STATS: on_stats(c, job); break;
    case JOB_WAIT:
        job_push(&c->waiters, job);
        release_waiters(c);
        break;
    }
}

void client_snapshot(const struct pbft_client *c, struct pbft_client_stats *out)
{
    *out = c->stats;
    stats_add(out, c->m);
    out->connected_to = 0;
    for (pbft_id i = 0; i < c->config.cluster.params.n; i++)
        if (c->connections[i] != 0) out->connected_to |= pbft_signers_of(i);
    out->connected = connected_count(c);
    out->primary = pbft_match_primary(c->m);
}

/* ---- the loop ---- */

/* All clocks; returns when to look again. */
static uint64_t tick(struct pbft_client *c)
{
    uint64_t now = client_now();
    if (pbft_match_deadline(c->m) <= now) {
        struct pbft_match_out out;
        pbft_match_tick(c->m, now, &out);
        carry_out(c, &out);
    }
    feed(c, now);
    uint64_t next = pbft_match_deadline(c->m);
    uint64_t admins = drop_late(c, &c->admins, now);
    uint64_t waiters = drop_late(c, &c->waiters, now);
    if (admins < next) next = admins;
    if (waiters < next) next = waiters;
    if (c->waiting.count > 0) {
        (void)drop_late(c, &c->waiting, now);
        if (now + WAITING_TICK_NS < next) next = now + WAITING_TICK_NS;
    }
    return next;
}

/* False: closing. */
static bool take_submitted(struct pbft_client *c, struct job_list *jobs)
{
    (void)pthread_mutex_lock(&c->lock);
    c->sleeping = false;
    *jobs = c->submitted;
    c->submitted = (struct job_list){NULL, NULL, 0};
    bool closing = c->closing;
    (void)pthread_mutex_unlock(&c->lock);
    return !closing;
}

/* False if something was submitted since: then poll must not wait. */
static bool go_to_sleep(struct pbft_client *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->sleeping = c->submitted.count == 0 && !c->closing;
    bool sleeping = c->sleeping;
    (void)pthread_mutex_unlock(&c->lock);
    return sleeping;
}

/* What is inside the match comes out when every deadline is over. */
static void shut_down(struct pbft_client *c)
{
    struct pbft_match_out out;
    struct job_list jobs;
    pbft_match_tick(c->m, UINT64_MAX - 1, &out);
    for (size_t i = 0; i < out.send_count; i++)
        pbft_frame_release(out.sends[i].frame);
    for (size_t i = 0; i < out.completion_count; i++)
        finish_status(c, (struct job *)(uintptr_t)out.completions[i].token, PBFT_STATUS_CLOSED);
    finish_all(c, &c->waiting, PBFT_STATUS_CLOSED);
    finish_all(c, &c->admins, PBFT_STATUS_CLOSED);
    finish_all(c, &c->waiters, PBFT_STATUS_CLOSED);
    (void)take_submitted(c, &jobs); /* nothing is taken on any more, so this is the last of it */
    finish_all(c, &jobs, PBFT_STATUS_CLOSED);
}

void *client_run(void *client)
{
    struct pbft_client *c = client;
    struct pbft_net_event events[EVENTS_MAX];
    struct job_list jobs;
    while (take_submitted(c, &jobs)) {
        for (struct job *job = job_pop(&jobs); job != NULL; job = job_pop(&jobs))
            on_job(c, job);
        uint64_t next = tick(c);
        uint64_t wait = 0;
        if (go_to_sleep(c)) {
            uint64_t now = client_now();
            wait = next > now ? next - now : 0;
            if (next == UINT64_MAX) wait = UINT64_MAX;
        }
        size_t count = pbft_net_poll(c->net, wait, events, EVENTS_MAX);
        for (size_t i = 0; i < count; i++)
            on_event(c, &events[i]);
    }
    finish_all(c, &jobs, PBFT_STATUS_CLOSED);
    shut_down(c);
    return NULL;
}
