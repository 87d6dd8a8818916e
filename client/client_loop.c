/* client/client_loop.c - the library's one thread: connections, clocks, callbacks. */
#include "client/client_internal.h"

#include "crypto/keys.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS_MAX      64u
#define WAITING_TICK_NS UINT64_C(20000000) /* precision of a waiting one's deadline */

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

void job_push_front(struct job_list *list, struct job *job)
{
    job->next = list->head;
    list->head = job;
    if (list->tail == NULL) list->tail = job;
    list->count++;
}

struct job *job_pop(struct job_list *list)
{
    struct job *job = list->head;
    if (job == NULL) return NULL;
    list->head = job->next;
    if (list->head == NULL) list->tail = NULL;
    list->count--;
    job->next = NULL;
    return job;
}

void client_finish(struct pbft_client *c, struct job *job, const struct pbft_answer *answer)
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

void client_finish_status(struct pbft_client *c, struct job *job, enum pbft_status status)
{
    struct pbft_answer answer = {.status = status};
    client_finish(c, job, &answer);
}

static void finish_all(struct pbft_client *c, struct job_list *list, enum pbft_status status)
{
    struct job_list all = *list;
    *list = (struct job_list){NULL, NULL, 0};
    for (struct job *job = job_pop(&all); job != NULL; job = job_pop(&all))
        client_finish_status(c, job, status);
}

/* Those whose time is over. Returns the next deadline of the others. */
static uint64_t drop_late(struct pbft_client *c, struct job_list *list, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    struct job_list all = *list;
    *list = (struct job_list){NULL, NULL, 0};
    for (struct job *job = job_pop(&all); job != NULL; job = job_pop(&all)) {
        if (job->deadline_ns <= now) {
            client_finish_status(c, job, PBFT_STATUS_TIMEOUT);
            continue;
        }
        if (job->deadline_ns < next) next = job->deadline_ns;
        job_push(list, job);
    }
    return next;
}

/* ---- questions to one replica ---- */

static void admin_send(struct pbft_client *c, const struct job *job)
{
    if (c->connections[job->replica] == 0) return; /* sent when it connects */
    struct pbft_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = PBFT_ADMIN;
    msg.epoch = c->cluster->epoch;
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
    client_finish(c, found, &answer);
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
    if (connected_count(c) < pbft_quorum(c->config.cluster.params.n)) return;
    client_keep(c);
    finish_all(c, &c->waiters, PBFT_STATUS_OK);
}

static void on_up(struct pbft_client *c, const struct pbft_peer *peer)
{
    c->connections[peer->index] = peer->connection;
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        struct pbft_match_out out;
        pbft_match_connected(c->sessions[i].m, client_now(), peer->index, &out);
        client_carry_out(c, &c->sessions[i], &out);
    }
    for (struct job *job = c->admins.head; job != NULL; job = job->next)
        if (job->replica == peer->index) admin_send(c, job);
    release_waiters(c);
}

static void on_down(struct pbft_client *c, const struct pbft_peer *peer)
{
    if (c->connections[peer->index] != peer->connection) return; /* an older one's end */
    c->connections[peer->index] = 0;
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        pbft_match_disconnected(c->sessions[i].m, peer->index);
        c->sessions[i].due_ns = 0;
    }
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
    struct client_session *s = verdict == PBFT_OK ? client_session_of(c, &msg) : NULL;
    if (s == NULL) {
        c->stats.dropped_frames++;
        return;
    }
    struct pbft_match_out out;
    (void)pbft_match_message(s->m, client_now(), from->index, &msg, frame, &out);
    client_carry_out(c, s, &out);
}

static void on_event(struct pbft_client *c, const struct pbft_net_event *event)
{
    /* We dial replicas only, and listen to nobody. */
    PBFT_ASSERT(event->kind == PBFT_NET_EPOCH || event->peer.kind == PBFT_PEER_REPLICA);
    PBFT_ASSERT(event->peer.index < c->config.cluster.params.n);
    switch (event->kind) {
    case PBFT_NET_UP: on_up(c, &event->peer); break;
    case PBFT_NET_DOWN: on_down(c, &event->peer); break;
    case PBFT_NET_FRAME:
        on_frame(c, &event->peer, event->frame);
        pbft_frame_release(event->frame);
        break;
    case PBFT_NET_EPOCH: break; /* on_events() */
    }
}

/* A change of epoch ends the net that all of these are of: it comes last. */
static void on_events(struct pbft_client *c, const struct pbft_net_event *events, size_t count)
{
    struct pbft_frame *proof = NULL;
    for (size_t i = 0; i < count; i++) {
        on_event(c, &events[i]);
        if (events[i].kind != PBFT_NET_EPOCH) continue;
        pbft_frame_release(proof);
        proof = events[i].frame;
    }
    if (proof == NULL) return;
    client_follow(c, pbft_frame_span(proof));
    pbft_frame_release(proof);
}

static void on_stats(struct pbft_client *c, struct job *job)
{
    struct pbft_client_stats snapshot;
    client_snapshot(c, &snapshot);
    struct pbft_answer answer = {.bytes = (uint8_t *)&snapshot, .size = sizeof snapshot};
    client_finish(c, job, &answer);
}

static void on_job(struct pbft_client *c, struct job *job)
{
    switch (job->kind) {
    case JOB_CALL:
    case JOB_READ: {
        bool any = job->session == PBFT_CLIENT_ANY;
        job_push(any ? &client_least_busy(c)->waiting : &c->sessions[job->session].waiting, job);
        break;
    }
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
    for (uint32_t i = 0; i < c->options.sessions; i++)
        client_stats_add(out, c->sessions[i].m);
    out->connected_to = 0;
    for (pbft_id i = 0; i < c->config.cluster.params.n; i++)
        if (c->connections[i] != 0) out->connected_to |= pbft_signers_of(i);
    out->connected = connected_count(c);
    out->primary = pbft_match_primary(c->sessions[0].m);
}

/* ---- the loop ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* All clocks; returns when to look again. */
static uint64_t tick(struct pbft_client *c)
{
    uint64_t now = client_now();
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < c->options.sessions; i++)
        client_tick_session(c, &c->sessions[i], now);
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        struct client_session *s = &c->sessions[i];
        next = earlier(next, client_session_due(s));
        if (s->waiting.count == 0) continue;
        (void)drop_late(c, &s->waiting, now);
        next = earlier(next, now + WAITING_TICK_NS);
    }
    next = earlier(next, drop_late(c, &c->admins, now));
    return earlier(next, drop_late(c, &c->waiters, now));
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
    struct job_list jobs;
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        struct client_session *s = &c->sessions[i];
        struct pbft_match_out out;
        pbft_match_tick(s->m, UINT64_MAX - 1, &out);
        for (size_t k = 0; k < out.send_count; k++)
            pbft_frame_release(out.sends[k].frame);
        for (size_t k = 0; k < out.completion_count; k++)
            client_finish_status(c, (struct job *)(uintptr_t)out.completions[k].token,
                                 PBFT_STATUS_CLOSED);
        finish_all(c, &s->waiting, PBFT_STATUS_CLOSED);
    }
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
        on_events(c, events, count);
    }
    finish_all(c, &jobs, PBFT_STATUS_CLOSED);
    shut_down(c);
    client_keep(c);
    return NULL;
}
