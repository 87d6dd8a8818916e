#include "bench/peers/drive.h"

#include "bench/peers/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS UINT64_C(100000000) /* how often idle connections are looked after */
#define EVENTS  64

/* CHECK reads back what was written; ENDED: answers are of no interest any more. */
enum phase { WARMUP, COUNTED, DRAIN, CHECK, ENDED };

struct drive;

/* One operation outstanding, again and again. */
struct slot {
    struct drive *drive;
    struct line *line;
    uint64_t sent_ns, floor;
    uint32_t key;
    bool read, counted;
    char text[KEY_BYTES + 1];
    uint8_t *value;
};

/* A connection, and what epoll knows of it. */
struct line {
    struct peer_conn *conn;
    struct peer_wait wait; /* fd -1: nothing yet */
    bool touched;          /* flush() is due */
};

struct drive {
    const struct drive_options *options;
    struct drive_result *result;
    enum phase phase;
    struct keys keys;
    struct line *lines;
    struct slot *slots;
    uint8_t *values;
    uint32_t opened, outstanding;
    uint64_t random, begun, turn, answered_ns;
    uint32_t *sample; /* keys to read back */
    uint32_t check_at;
    int epoll;
    bool broken;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double own_cpu_s(void)
{
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static uint64_t next_random(struct drive *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

/* ---- operations ---- */

/* Of all writes, each with the same chance: keys to read back. */
static void sample(struct drive *d, uint32_t key)
{
    uint64_t at = d->keys.writes - 1;
    if (at >= d->options->check) at = next_random(d) % d->keys.writes;
    if (at < d->options->check) d->sample[at] = key;
}

/* What the slot does next; false: nothing, for now. */
static bool slot_draw(struct slot *s)
{
    struct drive *d = s->drive;
    const struct drive_options *o = d->options;
    switch (d->phase) {
    case WARMUP:
    case COUNTED:
        if (o->seconds == 0 && d->begun == o->ops) return false;
        s->key = (uint32_t)((o->sequential ? d->turn++ : next_random(d)) % o->keys);
        s->read = o->reads > 0 && next_random(d) % 100 < o->reads;
        return true;
    case CHECK:
        if (d->check_at == o->check || d->check_at == d->keys.writes) return false;
        s->key = d->sample[d->check_at++];
        s->read = true;
        return true;
    case DRAIN:
    case ENDED: break;
    }
    return false;
}

static void slot_send(struct slot *s)
{
    struct drive *d = s->drive;
    const struct peer *peer = d->options->peer;
    if (d->broken || !slot_draw(s)) return;
    key_text(s->key, s->text);
    struct pbft_span key = {(const uint8_t *)s->text, KEY_BYTES};
    struct pbft_span value = {s->value, d->options->value_bytes};
    if (s->read) {
        s->floor = keys_floor(&d->keys, s->key);
    } else {
        keys_write(&d->keys, s->key, s->value);
        sample(d, s->key);
    }
    s->counted = d->phase == COUNTED;
    s->line->touched = true;
    d->begun++;
    d->outstanding++;
    s->sent_ns = now_ns();
    bool queued =
        s->read ? peer->get(s->line->conn, key, s) : peer->put(s->line->conn, key, value, s);
    if (!queued) d->broken = true;
}

static void slot_done(void *slot, enum peer_outcome outcome, struct pbft_span value)
{
    struct slot *s = slot;
    struct drive *d = s->drive;
    if (d->phase == ENDED) return;
    uint64_t now = now_ns();
    d->outstanding--;
    d->answered_ns = now;
    if (outcome == PEER_FAILED) {
        d->result->errors++;
    } else if (s->read) {
        const uint8_t *bytes = outcome == PEER_MISSING ? NULL : value.data;
        if (d->phase == CHECK) d->result->checked++;
        if (outcome == PEER_MISSING) d->result->missing++;
        if (!keys_judge(&d->keys, s->key, s->floor, bytes, value.size)) d->result->wrong++;
    } else {
        keys_acknowledge(&d->keys, s->key);
    }
    if (outcome != PEER_FAILED && s->counted && d->phase == COUNTED) {
        d->result->ops++;
        histogram_record(&d->result->latency, now - s->sent_ns, 1);
    }
    slot_send(s);
}

/* ---- connections ---- */

static bool line_wait(struct drive *d, struct line *line, const struct peer_wait *wait)
{
    if (wait->fd == line->wait.fd && wait->write == line->wait.write) return true;
    struct epoll_event event = {.events = wait->write ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = line};
    bool known = wait->fd == line->wait.fd;
    if (epoll_ctl(d->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, wait->fd, &event) != 0)
        return false;
    line->wait = *wait;
    return true;
}

static bool lines_flush(struct drive *d, bool all)
{
    for (uint32_t i = 0; i < d->opened; i++) {
        struct line *line = &d->lines[i];
        struct peer_wait wait;
        if (!line->touched && !all) continue;
        line->touched = false;
        if (!d->options->peer->flush(line->conn, &wait) || !line_wait(d, line, &wait)) return false;
    }
    return true;
}

/* Handles what comes until `until`, or one batch of it. */
static bool turn(struct drive *d, uint64_t until, uint64_t *ticked)
{
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), next = *ticked + TICK_NS;
    bool tick = now >= next;
    if (tick) *ticked = now;
    if (!lines_flush(d, tick) || d->broken) return false;
    if (until < next) next = until;
    int wait_ms = next <= now ? 0 : (int)((next - now + 999999u) / 1000000u);
    int count = epoll_wait(d->epoll, events, EVENTS, wait_ms);
    if (count < 0) return errno == EINTR;
    for (int i = 0; i < count; i++) {
        struct line *line = events[i].data.ptr;
        uint32_t bits = events[i].events;
        line->touched = true;
        if (!d->options->peer->ready(line->conn, (bits & ~(uint32_t)EPOLLOUT) != 0,
                                     (bits & EPOLLOUT) != 0))
            return false;
    }
    return true;
}

/* Until `until`, or until nothing is outstanding any more. False: a connection has failed, or
 * nothing is answered. */
static bool turns(struct drive *d, uint64_t until, char error[256])
{
    uint64_t ticked = now_ns();
    d->answered_ns = ticked;
    while (d->outstanding > 0 && now_ns() < until) {
        if (!turn(d, until, &ticked)) {
            const char *why = "";
            for (uint32_t i = 0; i < d->opened && why[0] == '\0'; i++)
                why = d->options->peer->error(d->lines[i].conn);
            (void)snprintf(error, 256, "%.200s", why[0] == '\0' ? "epoll failed" : why);
            return false;
        }
        if (now_ns() - d->answered_ns < d->options->timeout_ns) continue;
        (void)snprintf(error, 256, "%s: no answer for %u s, and %u operations are outstanding",
                       d->options->peer->name, (unsigned)(d->options->timeout_ns / 1000000000u),
                       (unsigned)d->outstanding);
        return false;
    }
    return true;
}

/* ---- a run ---- */

static void slots_send(struct drive *d)
{
    for (uint32_t i = 0; i < d->options->outstanding; i++)
        slot_send(&d->slots[i]);
}

static bool phases(struct drive *d, void (*start)(void *), void (*stop)(void *), void *context,
                   char error[256])
{
    const struct drive_options *o = d->options;
    struct drive_result *r = d->result;
    d->phase = o->seconds == 0 ? COUNTED : WARMUP;
    if (d->phase == WARMUP) slots_send(d);
    if (d->phase == WARMUP && !turns(d, now_ns() + o->warmup * 1000000000u, error)) return false;

    d->phase = COUNTED;
    start(context);
    double cpu = own_cpu_s();
    uint64_t begun = now_ns();
    if (o->seconds == 0) slots_send(d);
    if (!turns(d, o->seconds == 0 ? UINT64_MAX : begun + o->seconds * 1000000000u, error))
        return false;
    r->seconds = (double)(now_ns() - begun) / 1e9;
    r->client_cpu_s = own_cpu_s() - cpu;
    stop(context);

    d->phase = DRAIN;
    if (!turns(d, UINT64_MAX, error)) return false;
    d->phase = CHECK;
    slots_send(d);
    return turns(d, UINT64_MAX, error);
}

static bool drive_open(struct drive *d, char error[256])
{
    const struct drive_options *o = d->options;
    uint32_t run = (uint32_t)getpid() ^ (uint32_t)time(NULL) << 12;
    (void)snprintf(error, 256, "out of memory");
    d->random = UINT64_C(0x9E3779B97F4A7C15) * (run | 1u);
    d->lines = calloc(o->conns, sizeof *d->lines);
    d->slots = calloc(o->outstanding, sizeof *d->slots);
    d->values = calloc(o->outstanding, o->value_bytes);
    d->sample = calloc(o->check + 1u, sizeof *d->sample);
    if (!keys_init(&d->keys, o->keys, o->value_bytes, run) || d->lines == NULL ||
        d->slots == NULL || d->values == NULL || d->sample == NULL)
        return false;
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll < 0) {
        (void)snprintf(error, 256, "epoll: %s", strerror(errno));
        return false;
    }
    struct peer_options peer = {.slots = (o->outstanding + o->conns - 1) / o->conns,
                                .wait_replicas = o->wait_replicas,
                                .create = o->sequential,
                                .timeout_ns = o->timeout_ns,
                                .done = slot_done};
    for (; d->opened < o->conns; d->opened++) {
        struct line *line = &d->lines[d->opened];
        line->wait.fd = -1;
        line->conn = o->peer->open(&peer, o->endpoints[d->opened % o->endpoint_count], error);
        if (line->conn == NULL) return false;
    }
    for (uint32_t i = 0; i < o->outstanding; i++)
        d->slots[i] = (struct slot){.drive = d,
                                    .line = &d->lines[i % o->conns],
                                    .value = d->values + (size_t)i * o->value_bytes};
    return true;
}

static void drive_close(struct drive *d)
{
    d->phase = ENDED;
    for (uint32_t i = 0; i < d->opened; i++)
        d->options->peer->close(d->lines[i].conn);
    if (d->epoll >= 0) (void)close(d->epoll);
    keys_free(&d->keys);
    free(d->lines);
    free(d->slots);
    free(d->values);
    free(d->sample);
}

bool drive_run(const struct drive_options *options, void (*start)(void *), void (*stop)(void *),
               void *context, struct drive_result *result, char error[256])
{
    struct drive drive = {.options = options, .result = result, .epoll = -1};
    memset(result, 0, sizeof *result);
    bool ok = drive_open(&drive, error) && phases(&drive, start, stop, context, error);
    drive_close(&drive);
    return ok;
}
