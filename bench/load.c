#include "bench/load_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_NS     30000000000u
#define CONNECT_NS  10000000000u
#define SAY_STEP_NS 1000000000u
#define LOOK_NS     10000000u /* how often the time is looked at */
#define SEND_NS     1000000u  /* the same with a rate, at most */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the loop ---- */

void load_slot_ended(struct slot *s)
{
    struct load *load = s->client->load;
    if (atomic_fetch_sub(&load->outstanding, 1) != 1) return;
    pthread_mutex_lock(&load->lock);
    pthread_cond_signal(&load->idle);
    pthread_mutex_unlock(&load->lock);
}

static void slot_send(struct slot *s);
static void slot_park_or_send(struct slot *s);

static void slot_done(void *context, const struct pbft_answer *answer)
{
    struct slot *s = context;
    struct load *load = s->client->load;
    if (load->acknowledged != NULL && !s->read) load_verify_wrote(s, answer->status);
    if (answer->status != PBFT_STATUS_OK) {
        atomic_fetch_add(&load->errors, 1);
    } else {
        if (s->read) load_judge_reads(s, answer);
        if (s->counted && atomic_load(&load->phase) == COUNTED) {
            atomic_fetch_add(&load->ops, s->count);
            histogram_record(&s->client->latency, now_ns() - s->begun_ns, s->count);
        }
    }
    slot_park_or_send(s);
}

/* ---- the rate ---- */

/* Its turn has come: it takes it, under the lock. In an open loop what it sends has been waiting
 * since then. */
static void slot_take_turn(struct slot *s)
{
    uint64_t due_ns = pace_take(&s->client->load->pace);
    s->begun_ns = s->client->load->options->open ? due_ns : 0;
}

/* Without a rate, or when it has come to wait for us: at once. */
static void slot_park_or_send(struct slot *s)
{
    struct load *load = s->client->load;
    s->begun_ns = 0;
    if (load->options->rate == 0) {
        slot_send(s);
        return;
    }
    pthread_mutex_lock(&load->lock);
    bool due = pace_due(&load->pace, now_ns()) > 0;
    bool now = due || atomic_load(&load->phase) == DRAIN;
    if (due) slot_take_turn(s);
    if (!now) {
        s->next = NULL;
        if (load->parked == NULL)
            load->parked = s;
        else
            load->parked_last->next = s;
        load->parked_last = s;
    }
    pthread_mutex_unlock(&load->lock);
    if (now) slot_send(s);
}

/* Those whose turn has come, or all. What nobody was free to send is forgotten after a while,
 * except in an open loop, whose latencies are those of users who do not wait for each other. */
static void release(struct load *load, bool all)
{
    const struct load_options *o = load->options;
    pthread_mutex_lock(&load->lock);
    while (load->parked != NULL && (all || pace_due(&load->pace, now_ns()) > 0)) {
        struct slot *s = load->parked;
        load->parked = s->next;
        if (!all) slot_take_turn(s);
        pthread_mutex_unlock(&load->lock);
        slot_send(s);
        pthread_mutex_lock(&load->lock);
    }
    if (!o->open) pace_forget(&load->pace, now_ns(), o->rate / 10 / o->bundle + 1);
    pthread_mutex_unlock(&load->lock);
}

static void slot_send(struct slot *s)
{
    struct client *c = s->client;
    int phase = atomic_load(&c->load->phase);
    if (phase == DRAIN) {
        load_slot_ended(s);
        return;
    }
    load_next(s);
    s->counted = phase == COUNTED;
    if (s->begun_ns == 0) s->begun_ns = now_ns();
    uint64_t timeout = c->load->options->timeout_ns;
    enum pbft_status status = s->read ? pbft_client_submit_reads_in(c->handle, c->session, s->ops,
                                                                    s->count, timeout, slot_done, s)
                                      : pbft_client_submit_in(c->handle, c->session, s->ops,
                                                              s->count, timeout, slot_done, s);
    if (status == PBFT_STATUS_OK) return;
    atomic_fetch_add(&c->load->errors, 1); /* a slot that cannot submit is lost: say so, loudly */
    load_slot_ended(s);
}

/* ---- clients ---- */

static void client_free(struct client *c)
{
    for (uint32_t i = 0; c->slots != NULL && i < c->slot_count; i++) {
        free(c->slots[i].ops);
        free(c->slots[i].keys);
        free(c->slots[i].bytes);
    }
    free(c->slots);
}

/* DIR/client is for handle 0, DIR/client-J for the others; with fewer keys than handles, they
 * share. */
static void client_path(const char *dir, uint32_t number, char *out, size_t capacity)
{
    struct stat info;
    uint32_t keys = 1;
    do {
        snprintf(out, capacity, "%s/client-%u", dir, keys);
    } while (stat(out, &info) == 0 && ++keys < number + 1u);
    uint32_t key = number % keys;
    if (key == 0)
        snprintf(out, capacity, "%s/client", dir);
    else
        snprintf(out, capacity, "%s/client-%u", dir, key);
}

static uint32_t slots_of(const struct load_options *o)
{
    return o->inflight < o->bundle ? 1 : o->inflight / o->bundle;
}

static enum pbft_status handle_open(const struct load_options *o, uint32_t number,
                                    struct pbft_client **handle, char error[256])
{
    char path[512];
    client_path(o->cluster, number, path, sizeof path);
    struct pbft_client_options options = {.window = slots_of(o),
                                          .sessions = (o->clients + o->conns - 1) / o->conns,
                                          .timeout_ns = o->timeout_ns};
    return pbft_client_open(handle, path, &options, error);
}

static enum pbft_status client_make(struct client *c, struct load *load, uint32_t number,
                                    struct pbft_client *handle)
{
    const struct load_options *o = load->options;
    c->load = load;
    c->number = number;
    c->random = 0x9E3779B97F4A7C15u * (number + 1u);
    c->slot_count = slots_of(o);
    c->handle = handle;
    c->session = number / o->conns;
    c->slots = calloc(c->slot_count, sizeof *c->slots);
    if (c->slots == NULL) return PBFT_STATUS_MEMORY;
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = &c->slots[i];
        s->client = c;
        s->number = number * c->slot_count + i;
        s->ops = calloc(o->bundle, sizeof *s->ops);
        s->keys = calloc(o->bundle, sizeof *s->keys);
        s->bytes = malloc((KEY_BYTES + o->value_bytes + OP_SLACK) * (size_t)(o->bundle + 1u));
        if (s->ops == NULL || s->keys == NULL || s->bytes == NULL) return PBFT_STATUS_MEMORY;
    }
    return PBFT_STATUS_OK;
}

/* The first operation of a session, waited for. */
struct first {
    struct load *load;
    bool done, put;
    enum pbft_status status;
};

static void first_done(void *context, const struct pbft_answer *answer)
{
    struct first *f = context;
    struct pbft_kv_result result;
    struct pbft_span item;
    size_t cursor = 0;
    pthread_mutex_lock(&f->load->lock);
    f->status = answer->status;
    f->put = answer->status == PBFT_STATUS_OK && pbft_answer_next(answer, &cursor, &item) &&
             pbft_kv_decode_result(item, &result) && result.op == PBFT_KV_PUT &&
             result.status == PBFT_KV_OK;
    f->done = true;
    pthread_cond_signal(&f->load->idle);
    pthread_mutex_unlock(&f->load->lock);
}

static void first_put(struct client *c, struct first *f)
{
    load_write(&c->slots[0]);
    *f = (struct first){.load = c->load};
    f->status =
        pbft_client_submit_in(c->handle, c->session, c->slots[0].ops, 1, WAIT_NS, first_done, f);
    if (f->status != PBFT_STATUS_OK) return;
    pthread_mutex_lock(&c->load->lock);
    while (!f->done)
        pthread_cond_wait(&c->load->idle, &c->load->lock);
    pthread_mutex_unlock(&c->load->lock);
}

/* One after the other, so that sessions of a shared key open in order (PROTOCOL 6). Its result is
 * looked at: what is measured later must not be a service that refuses. */
static enum pbft_status client_begin(struct client *c, char error[256])
{
    const struct pbft_cluster *cluster = pbft_client_cluster(c->handle);
    if (strcmp(cluster->service, pbft_kv_service.name) != 0) {
        snprintf(error, 256, "the cluster runs the service '%s', and this load is for '%s'",
                 cluster->service, pbft_kv_service.name);
        return PBFT_STATUS_CONFIG;
    }
    const char *down = "no quorum of replicas answers: is the cluster up?";
    enum pbft_status status = pbft_client_wait(c->handle, CONNECT_NS);
    if (status != PBFT_STATUS_OK) {
        pbft_id replica;
        char text[96];
        if (!pbft_client_refused(c->handle, &replica, text)) {
            snprintf(error, 256, "%s", down);
            return status;
        }
        snprintf(error, 256, "replica %u and this client refuse each other: %s", (unsigned)replica,
                 text);
        return PBFT_STATUS_PERMISSION;
    }
    struct first first;
    first_put(c, &first);
    status = first.status;
    if (first.put) return PBFT_STATUS_OK;
    if (status == PBFT_STATUS_TIMEOUT)
        snprintf(error, 256, "%s", down);
    else if (status == PBFT_STATUS_OK)
        snprintf(error, 256,
                 "the service refused the first put: is --value-bytes %u beyond "
                 "value_max_bytes?",
                 c->load->options->value_bytes);
    else
        snprintf(error, 256, "client %u: the first operation failed: %s", c->number,
                 pbft_status_text(status));
    return status == PBFT_STATUS_OK ? PBFT_STATUS_REFUSED : status;
}

/* ---- a run ---- */

static double own_cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* A line for each interval that has passed: the wall clock's milliseconds, operations since. */
static void timeline_note(struct load *load, uint64_t now)
{
    const struct load_options *o = load->options;
    bool counted = atomic_load(&load->phase) == COUNTED;
    if (o->timeline == NULL || !counted || now < load->noted_ns) return;
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t ops = atomic_load(&load->ops);
    fprintf(o->timeline, "%llu %llu\n",
            (unsigned long long)wall.tv_sec * 1000u + (unsigned long long)wall.tv_nsec / 1000000u,
            (unsigned long long)(ops - load->noted_ops));
    fflush(o->timeline); /* it is read while it grows */
    load->noted_ns += o->interval_ms * 1000000u;
    if (load->noted_ns < now) load->noted_ns = now + o->interval_ms * 1000000u;
    load->noted_ops = ops;
}

/* Of an open loop whose turns are rare: no latency is added that is the generator's own. */
static long until_next_turn(struct load *load)
{
    pthread_mutex_lock(&load->lock);
    uint64_t next = pace_time(&load->pace, load->pace.taken), now = now_ns();
    pthread_mutex_unlock(&load->lock);
    return next <= now || next - now > SEND_NS ? (long)SEND_NS : (long)(next - now);
}

static void sleep_until(struct load *load, uint64_t until, bool progress, const char *what)
{
    uint64_t begun = now_ns(), said = begun, ops = atomic_load(&load->ops);
    uint64_t limit = load->options->ops;
    while (now_ns() < until && (limit == 0 || atomic_load(&load->ops) < limit)) {
        struct timespec t = {0, load->options->rate == 0 ? (long)LOOK_NS : until_next_turn(load)};
        nanosleep(&t, NULL);
        uint64_t now = now_ns();
        if (load->options->rate != 0) release(load, false);
        timeline_note(load, now);
        if (!progress || now - said < SAY_STEP_NS) continue;
        uint64_t seen = atomic_load(&load->ops);
        fprintf(stderr, "\r%s %3.0f s  %9.0f operations/s  %llu errors ", what,
                (double)(now - begun) / 1e9, (double)(seen - ops) / ((double)(now - said) / 1e9),
                (unsigned long long)atomic_load(&load->errors));
        said = now;
        ops = seen;
    }
    if (progress) fprintf(stderr, "\r%70s\r", "");
}

static void wait_idle(struct load *load)
{
    pthread_mutex_lock(&load->lock);
    while (atomic_load(&load->outstanding) > 0)
        pthread_cond_wait(&load->idle, &load->lock);
    pthread_mutex_unlock(&load->lock);
}

static void run_phases(struct load *load, struct client *clients, bool progress,
                       void (*start)(void *), void (*stop)(void *), void *context,
                       struct load_result *result)
{
    const struct load_options *o = load->options;
    for (uint32_t i = 0; i < o->clients; i++)
        atomic_fetch_add(&load->outstanding, clients[i].slot_count);
    load->pace = (struct pace){.begun_ns = now_ns(), .rate = o->rate, .bundle = o->bundle};
    for (uint32_t i = 0; i < o->clients; i++)
        for (uint32_t k = 0; k < clients[i].slot_count; k++)
            slot_park_or_send(&clients[i].slots[k]);
    sleep_until(load, now_ns() + o->warmup * 1000000000u, progress, "warm-up");
    start(context);
    double cpu = own_cpu_s();
    uint64_t begun = now_ns();
    load->noted_ns = begun + o->interval_ms * 1000000u;
    atomic_store(&load->phase, COUNTED);
    sleep_until(load, o->seconds == 0 ? UINT64_MAX : begun + o->seconds * 1000000000u, progress,
                "measured");
    atomic_store(&load->phase, DRAIN);
    uint64_t ended = now_ns();
    pthread_mutex_lock(&load->lock);
    if (o->rate != 0) result->overdue = pace_due(&load->pace, ended) * o->bundle;
    pthread_mutex_unlock(&load->lock);
    release(load, true);
    result->seconds = (double)(ended - begun) / 1e9;
    result->client_cpu_s = own_cpu_s() - cpu;
    stop(context);
    wait_idle(load);
    if (!o->verify) return;
    load_verify_run(load, clients);
    wait_idle(load);
}

enum pbft_status load_run(const struct load_options *options, bool progress, void (*start)(void *),
                          void (*stop)(void *), void *context, struct load_result *result,
                          char error[256])
{
    struct load load = {.options = options};
    pthread_mutex_init(&load.lock, NULL);
    pthread_cond_init(&load.idle, NULL);
    memset(result, 0, sizeof *result);
    struct client *clients = calloc(options->clients, sizeof *clients);
    struct pbft_client **handles = calloc(options->conns, sizeof(struct pbft_client *));
    load.slots = options->clients * slots_of(options);
    snprintf(error, 256, "out of memory");
    bool memory = clients != NULL && handles != NULL;
    enum pbft_status status = memory ? load_verify_begin(&load) : PBFT_STATUS_MEMORY;
    uint32_t opened = 0, made = 0;
    for (; status == PBFT_STATUS_OK && opened < options->conns; opened++)
        status = handle_open(options, opened, &handles[opened], error);
    for (; status == PBFT_STATUS_OK && made < options->clients; made++) {
        status = client_make(&clients[made], &load, made, handles[made % options->conns]);
        if (status == PBFT_STATUS_OK) status = client_begin(&clients[made], error);
    }
    if (status == PBFT_STATUS_OK)
        run_phases(&load, clients, progress, start, stop, context, result);
    for (uint32_t i = 0; i < opened; i++) {
        struct pbft_client_stats stats = {0};
        if (handles[i] != NULL) pbft_client_stats(handles[i], &stats);
        for (unsigned id = 0; id < PBFT_REPLICAS_MAX; id++)
            result->wrong_replies += stats.wrong_replies[id];
        result->fallbacks += stats.fallbacks;
        result->retransmissions += stats.retransmissions;
        pbft_client_close(handles[i]);
    }
    for (uint32_t i = 0; i < made; i++) {
        client_free(&clients[i]);
        histogram_merge(&result->latency, &clients[i].latency);
    }
    free(handles);
    free(clients);
    free(load.acknowledged);
    result->ops = atomic_load(&load.ops);
    result->errors = atomic_load(&load.errors);
    result->wrong = atomic_load(&load.wrong);
    result->verified = atomic_load(&load.verified);
    result->lost = atomic_load(&load.lost);
    pthread_mutex_destroy(&load.lock);
    pthread_cond_destroy(&load.idle);
    return status;
}
