#include "bench/load.h"

#include "service/kv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define KEY_BYTES   16u
#define OP_SLACK    32u /* op code and lengths of an encoded operation */
#define WAIT_NS     30000000000u
#define CONNECT_NS  10000000000u
#define SAY_STEP_NS 1000000000u

enum phase { WARMUP, COUNTED, DRAIN };

struct load {
    const struct load_options *options;
    atomic_int phase;
    atomic_uint_fast64_t ops, errors, wrong;
    atomic_uint outstanding;
    atomic_uint_fast64_t turn; /* of the next key, if they are taken in turn */
    pthread_mutex_t lock;      /* guards `idle` and what follows */
    pthread_cond_t idle;
    uint64_t noted_ns, noted_ops;      /* of the timeline */
    struct slot *parked, *parked_last; /* with a rate: those whose turn has not come */
    uint64_t due;                      /* operations whose turn came and that found none parked */
};

struct client;

/* One outstanding request, again and again. */
struct slot {
    struct client *client;
    struct slot *next; /* parked */
    uint64_t sent_ns;
    uint32_t count; /* operations */
    bool read;
    bool counted;
    struct pbft_span *ops;
    uint32_t *keys; /* of reads */
    uint8_t *bytes; /* encoded operations */
};

/* One session: a closed loop of its own, over the connections of a handle. */
struct client {
    struct load *load;
    struct pbft_client *handle; /* shared */
    uint32_t session;           /* of the handle */
    uint64_t random;
    uint32_t number;
    uint64_t writes;
    struct slot *slots;
    uint32_t slot_count;
    struct histogram latency; /* touched by the handle's thread only */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(struct client *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

/* ---- operations: a value names its key, so that a read can be judged ---- */

static size_t key_text(uint32_t key, char out[KEY_BYTES + 1])
{
    return (size_t)snprintf(out, KEY_BYTES + 1, "key-%010u", key);
}

static size_t value_text(struct client *c, uint32_t key, uint8_t *out)
{
    uint32_t size = c->load->options->value_bytes;
    char head[64];
    int used = snprintf(head, sizeof head, "%010u:%u:%llu;", key, c->number,
                        (unsigned long long)c->writes++);
    for (uint32_t i = 0; i < size; i++)
        out[i] = i < (uint32_t)used ? (uint8_t)head[i] : (uint8_t)('a' + (i + key) % 26);
    return size;
}

static uint32_t draw_key(struct client *c)
{
    const struct load_options *o = c->load->options;
    uint64_t at = o->sequential ? atomic_fetch_add(&c->load->turn, 1) : next_random(c);
    return o->first + (uint32_t)(at % o->keys);
}

static void make_write(struct slot *s)
{
    struct client *c = s->client;
    const struct load_options *o = c->load->options;
    size_t stride = KEY_BYTES + o->value_bytes + OP_SLACK;
    uint8_t *value = s->bytes + stride * o->bundle; /* scratch behind the operations */
    s->read = false;
    s->count = o->bundle;
    for (uint32_t i = 0; i < o->bundle; i++) {
        char key[KEY_BYTES + 1];
        uint32_t number = draw_key(c);
        size_t key_size = key_text(number, key);
        size_t value_size = value_text(c, number, value);
        uint8_t *op = s->bytes + stride * i;
        size_t size =
            pbft_kv_encode_put(op, stride, (struct pbft_span){(const uint8_t *)key, key_size},
                               (struct pbft_span){value, value_size});
        PBFT_ASSERT(size > 0);
        s->ops[i] = (struct pbft_span){op, size};
    }
}

static void make_read(struct slot *s)
{
    struct client *c = s->client;
    size_t stride = KEY_BYTES + OP_SLACK;
    s->read = true;
    s->count = c->load->options->bundle;
    for (uint32_t i = 0; i < s->count; i++) {
        char key[KEY_BYTES + 1];
        uint8_t *op = s->bytes + stride * i;
        s->keys[i] = draw_key(c);
        size_t key_size = key_text(s->keys[i], key);
        size_t size =
            pbft_kv_encode_get(op, stride, (struct pbft_span){(const uint8_t *)key, key_size});
        PBFT_ASSERT(size > 0);
        s->ops[i] = (struct pbft_span){op, size};
    }
}

static bool draw_read(struct client *c)
{
    uint32_t reads = c->load->options->reads;
    return reads > 0 && next_random(c) % 100u < reads;
}

/* ---- the loop ---- */

static void slot_ended(struct slot *s)
{
    struct load *load = s->client->load;
    if (atomic_fetch_sub(&load->outstanding, 1) != 1) return;
    pthread_mutex_lock(&load->lock);
    pthread_cond_signal(&load->idle);
    pthread_mutex_unlock(&load->lock);
}

static bool read_right(struct pbft_span bytes, uint32_t key)
{
    struct pbft_kv_result result;
    if (!pbft_kv_decode_result(bytes, &result) || result.op != PBFT_KV_GET) return false;
    if (result.status != PBFT_KV_OK) return result.status == PBFT_KV_NOT_FOUND;
    char head[11];
    for (size_t i = 10; i > 0; i--, key /= 10)
        head[i - 1] = (char)('0' + key % 10);
    head[10] = ':';
    size_t judged = result.value.size < sizeof head ? result.value.size : sizeof head;
    return judged == 0 || memcmp(result.value.data, head, judged) == 0;
}

static void judge_reads(const struct slot *s, const struct pbft_answer *answer)
{
    size_t cursor = 0;
    uint32_t right = 0;
    struct pbft_span result;
    while (right < s->count && pbft_answer_next(answer, &cursor, &result) &&
           read_right(result, s->keys[right]))
        right++;
    if (right < s->count) atomic_fetch_add(&s->client->load->wrong, 1);
}

static void slot_send(struct slot *s);
static void slot_park_or_send(struct slot *s);

static void slot_done(void *context, const struct pbft_answer *answer)
{
    struct slot *s = context;
    struct load *load = s->client->load;
    if (answer->status != PBFT_STATUS_OK) {
        atomic_fetch_add(&load->errors, 1);
    } else {
        if (s->read) judge_reads(s, answer);
        if (s->counted && atomic_load(&load->phase) == COUNTED) {
            atomic_fetch_add(&load->ops, s->count);
            histogram_record(&s->client->latency, now_ns() - s->sent_ns, s->count);
        }
    }
    slot_park_or_send(s);
}

/* ---- the rate ---- */

/* Without a rate, or when it has come to wait for us: at once. */
static void slot_park_or_send(struct slot *s)
{
    struct load *load = s->client->load;
    if (load->options->rate == 0) {
        slot_send(s);
        return;
    }
    pthread_mutex_lock(&load->lock);
    bool now = load->due >= load->options->bundle || atomic_load(&load->phase) == DRAIN;
    if (now && load->due >= load->options->bundle) load->due -= load->options->bundle;
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

/* Of operations whose turn has come; what nobody was free to send is forgotten after a while, so
 * that a stall is not followed by a storm. */
static void release(struct load *load, uint64_t count, bool all)
{
    uint64_t bundle = load->options->bundle, most = load->options->rate / 10 + bundle;
    pthread_mutex_lock(&load->lock);
    load->due += count;
    while (load->parked != NULL && (all || load->due >= bundle)) {
        struct slot *s = load->parked;
        load->parked = s->next;
        load->due -= load->due < bundle ? load->due : bundle;
        pthread_mutex_unlock(&load->lock);
        slot_send(s);
        pthread_mutex_lock(&load->lock);
    }
    if (load->due > most) load->due = most;
    pthread_mutex_unlock(&load->lock);
}

static void slot_send(struct slot *s)
{
    struct client *c = s->client;
    int phase = atomic_load(&c->load->phase);
    if (phase == DRAIN) {
        slot_ended(s);
        return;
    }
    if (draw_read(c))
        make_read(s);
    else
        make_write(s);
    s->counted = phase == COUNTED;
    s->sent_ns = now_ns();
    uint64_t timeout = c->load->options->timeout_ns;
    enum pbft_status status = s->read ? pbft_client_submit_reads_in(c->handle, c->session, s->ops,
                                                                    s->count, timeout, slot_done, s)
                                      : pbft_client_submit_in(c->handle, c->session, s->ops,
                                                              s->count, timeout, slot_done, s);
    if (status == PBFT_STATUS_OK) return;
    atomic_fetch_add(&c->load->errors, 1); /* a slot that cannot submit is lost: say so, loudly */
    slot_ended(s);
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
    make_write(&c->slots[0]);
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
    if (o->timeline == NULL || now < load->noted_ns) return;
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

static void sleep_until(struct load *load, uint64_t until, bool progress, const char *what)
{
    uint64_t begun = now_ns(), said = begun, ops = atomic_load(&load->ops);
    uint64_t released = 0;
    uint64_t limit = load->options->ops;
    while (now_ns() < until && (limit == 0 || atomic_load(&load->ops) < limit)) {
        struct timespec t = {0, load->options->rate == 0 ? 10000000 : 1000000};
        nanosleep(&t, NULL);
        uint64_t now = now_ns();
        uint64_t turns = (now - begun) * load->options->rate / 1000000000u;
        if (turns > released) release(load, turns - released, false);
        released = turns;
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
    release(load, 0, true);
    result->seconds = (double)(now_ns() - begun) / 1e9;
    result->client_cpu_s = own_cpu_s() - cpu;
    stop(context);
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
    snprintf(error, 256, "out of memory");
    bool memory = clients != NULL && handles != NULL;
    enum pbft_status status = memory ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
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
    result->ops = atomic_load(&load.ops);
    result->errors = atomic_load(&load.errors);
    result->wrong = atomic_load(&load.wrong);
    pthread_mutex_destroy(&load.lock);
    pthread_cond_destroy(&load.idle);
    return status;
}
