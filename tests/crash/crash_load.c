/* Clients with a memory. What they do shows by itself if it was lost or done twice: a key that has
 * one writer counts its changes (its version), a key written once has version 1, and a shared
 * counter moves by compare-and-swap. An operation that timed out was done once or not at all. */
#include "service/kv.h"
#include "tests/crash/crash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS   UINT64_C(30000000000)
#define BUCKET       50u /* keys written once that one prefix finds */
#define VALUE_MAX    (512u << 10)
#define READ_TRIES   5u
#define LARGE_ONE_IN 8u

enum fate { NOT_SENT, ACKNOWLEDGED, UNKNOWN };

struct worker {
    struct crash_load *load;
    struct pbft_client *client;
    pthread_t thread;
    unsigned number;
    uint64_t random;
    uint8_t *op, *value;
    /* own key */
    uint64_t version, own_unknown; /* last seen; operations that may still count */
    uint64_t own_size, own_number; /* of the last acknowledged value */
    /* keys written once */
    uint8_t *once; /* enum fate */
    uint32_t once_count, once_capacity;
    /* the counter */
    uint64_t counter_known, counter_done, counter_unknown;
    bool counter_exists;
    uint64_t acknowledged, unknown, longest_ms, bytes;
};

struct crash_load {
    struct worker workers[CRASH_CLIENTS];
    uint32_t large_bytes;
    atomic_bool stop;
    _Atomic uint64_t acknowledged;
};

static struct pbft_span text(const char *s)
{
    return (struct pbft_span){(const uint8_t *)s, strlen(s)};
}

/* "client:number:" and filling that depends on both. */
static struct pbft_span make_value(struct worker *w, uint64_t number, uint64_t size)
{
    int head = snprintf((char *)w->value, 64, "%u:%llu:", w->number, (unsigned long long)number);
    uint64_t state = number * CRASH_CLIENTS + w->number;
    size_t at = (size_t)head;
    for (; at < size; at++)
        w->value[at] =
            (uint8_t)(state = state * 6364136223846793005u + 1442695040888963407u, state >> 56);
    return (struct pbft_span){w->value, at};
}

/* One ordered operation. `result` points into `answer`. */
static enum fate call(struct worker *w, size_t size, struct pbft_answer *answer,
                      struct pbft_kv_result *result)
{
    uint64_t begun = crash_now_ms();
    enum pbft_status status =
        pbft_client_call(w->client, (struct pbft_span){w->op, size}, TIMEOUT_NS, answer);
    uint64_t took = crash_now_ms() - begun;
    if (took > w->longest_ms) w->longest_ms = took;
    if (status == PBFT_STATUS_OK) {
        w->acknowledged++;
        w->bytes += size;
        atomic_fetch_add(&w->load->acknowledged, 1);
        if (pbft_kv_decode_result((struct pbft_span){answer->bytes, answer->size}, result))
            return ACKNOWLEDGED;
        crash_found("client %u: an answer that is none", w->number);
        return NOT_SENT;
    }
    if (status == PBFT_STATUS_TIMEOUT) {
        w->unknown++;
        return UNKNOWN;
    }
    /* q replicas agree that it was not executed: its session was idle for too long. */
    if (status == PBFT_STATUS_REFUSED && answer->outcome == PBFT_OUTCOME_EXPIRED) return NOT_SENT;
    crash_found("client %u: %s, outcome %u", w->number, pbft_status_text(status),
                (unsigned)answer->outcome);
    return NOT_SENT;
}

static void put_own(struct worker *w)
{
    char key[32];
    (void)snprintf(key, sizeof key, "own/%u", w->number);
    bool large = crash_random(&w->random, LARGE_ONE_IN) == 0;
    uint64_t number = w->acknowledged + w->unknown;
    uint64_t size = large ? crash_random(&w->random, w->load->large_bytes) : 40;
    struct pbft_span value = make_value(w, number, size);
    size_t op = pbft_kv_encode_put(w->op, VALUE_MAX + 4096, text(key), value);
    struct pbft_answer answer;
    struct pbft_kv_result result;
    enum fate fate = call(w, op, &answer, &result);
    if (fate == UNKNOWN) w->own_unknown++;
    if (fate == ACKNOWLEDGED) {
        uint64_t version = result.meta.version;
        if (result.status != PBFT_KV_OK)
            crash_found("client %u: a put was answered with %u", w->number, result.status);
        else if (version <= w->version)
            crash_found("client %u: LOST: version %llu after %llu was acknowledged", w->number,
                        (unsigned long long)version, (unsigned long long)w->version);
        else if (version - w->version - 1 > w->own_unknown)
            crash_found("client %u: DOUBLED: version %llu after %llu, and %llu are unknown",
                        w->number, (unsigned long long)version, (unsigned long long)w->version,
                        (unsigned long long)w->own_unknown);
        else
            w->own_unknown -= version - w->version - 1;
        w->version = version;
        w->own_number = number;
        w->own_size = value.size;
    }
    pbft_answer_free(&answer);
}

static void once_key(const struct worker *w, uint32_t i, char key[48])
{
    (void)snprintf(key, 48, "once/%u/%u/%u", w->number, i / BUCKET, i % BUCKET);
}

static void put_once(struct worker *w)
{
    if (w->once_count == w->once_capacity) {
        w->once_capacity = w->once_capacity * 2 + 1024;
        w->once = realloc(w->once, w->once_capacity);
        if (w->once == NULL) abort();
    }
    char key[48];
    uint32_t i = w->once_count++;
    once_key(w, i, key);
    size_t op =
        pbft_kv_encode_put(w->op, VALUE_MAX + 4096, text(key), make_value(w, i, 20 + i % 60));
    struct pbft_answer answer;
    struct pbft_kv_result result;
    w->once[i] = (uint8_t)call(w, op, &answer, &result);
    if (w->once[i] == ACKNOWLEDGED && (result.status != PBFT_KV_OK || result.meta.version != 1))
        crash_found("client %u: %s: status %u, version %llu: DOUBLED?", w->number, key,
                    result.status, (unsigned long long)result.meta.version);
    pbft_answer_free(&answer);
}

static void count_up(struct worker *w)
{
    char old[32], new[32];
    (void)snprintf(old, sizeof old, "%llu", (unsigned long long)w->counter_known);
    (void)snprintf(new, sizeof new, "%llu", (unsigned long long)w->counter_known + 1);
    size_t op =
        pbft_kv_encode_cas(w->op, VALUE_MAX, text("counter"), w->counter_exists,
                           w->counter_exists ? text(old) : (struct pbft_span){NULL, 0}, text(new));
    struct pbft_answer answer;
    struct pbft_kv_result result;
    enum fate fate = call(w, op, &answer, &result);
    if (fate == UNKNOWN) w->counter_unknown++;
    if (fate == ACKNOWLEDGED && result.status == PBFT_KV_OK) {
        w->counter_done++;
        w->counter_known++;
        w->counter_exists = true;
    } else if (fate == ACKNOWLEDGED && result.status == PBFT_KV_COMPARE_FAILED) {
        char found[32] = "";
        memcpy(found, result.value.data, result.value.size < 31 ? result.value.size : 31);
        uint64_t value = strtoull(found, NULL, 10);
        if (value < w->counter_known)
            crash_found("client %u: LOST: the counter is at %llu after %llu", w->number,
                        (unsigned long long)value, (unsigned long long)w->counter_known);
        w->counter_known = value;
        w->counter_exists = true;
    } else if (fate == ACKNOWLEDGED) {
        crash_found("client %u: a compare-and-swap was answered with %u", w->number, result.status);
    }
    pbft_answer_free(&answer);
}

static void *work(void *context)
{
    struct worker *w = context;
    while (!atomic_load(&w->load->stop) && crash_findings() < 20) {
        uint64_t draw = crash_random(&w->random, 100);
        if (draw < 55)
            put_own(w);
        else if (draw < 80)
            put_once(w);
        else
            count_up(w);
        crash_sleep_ms(crash_random(&w->random, 5));
    }
    return NULL;
}

struct crash_load *crash_load_start(const struct crash_cluster *c, uint64_t seed,
                                    uint32_t large_bytes)
{
    struct crash_load *load = calloc(1, sizeof *load);
    if (load == NULL) abort();
    load->large_bytes = large_bytes;
    for (unsigned i = 0; i < CRASH_CLIENTS; i++) {
        struct worker *w = &load->workers[i];
        char path[CRASH_PATH], error[256];
        (void)snprintf(path, sizeof path, i == 0 ? "%s/client" : "%s/client-%u", c->folder, i);
        w->load = load;
        w->number = i;
        w->random = seed * 1000003u + i + 1;
        w->op = malloc(VALUE_MAX + 4096);
        w->value = malloc(VALUE_MAX + 4096);
        if (w->op == NULL || w->value == NULL) abort();
        if (pbft_client_open(&w->client, path, NULL, error) != PBFT_STATUS_OK) {
            crash_found("%s", error);
            crash_load_free(load);
            return NULL;
        }
    }
    for (unsigned i = 0; i < CRASH_CLIENTS; i++)
        if (pthread_create(&load->workers[i].thread, NULL, work, &load->workers[i]) != 0) abort();
    return load;
}

uint64_t crash_load_acknowledged(const struct crash_load *load)
{
    return atomic_load(&load->acknowledged);
}

void crash_load_stop(struct crash_load *load)
{
    atomic_store(&load->stop, true);
    for (unsigned i = 0; i < CRASH_CLIENTS; i++)
        (void)pthread_join(load->workers[i].thread, NULL);
}

/* ---- reading back ---- */

static bool read_back(struct worker *w, size_t op, struct pbft_answer *answer,
                      struct pbft_kv_result *result)
{
    for (unsigned tries = 0; tries < READ_TRIES; tries++) {
        if (pbft_client_call(w->client, (struct pbft_span){w->op, op}, TIMEOUT_NS, answer) ==
                PBFT_STATUS_OK &&
            pbft_kv_decode_result((struct pbft_span){answer->bytes, answer->size}, result))
            return true;
        pbft_answer_free(answer);
    }
    crash_found("client %u: the healed cluster does not answer", w->number);
    return false;
}

static bool same(struct pbft_span a, struct pbft_span b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static void check_own(struct worker *w)
{
    char key[32];
    struct pbft_answer answer;
    struct pbft_kv_result result;
    (void)snprintf(key, sizeof key, "own/%u", w->number);
    if (w->version == 0 ||
        !read_back(w, pbft_kv_encode_get(w->op, VALUE_MAX, text(key)), &answer, &result))
        return;
    uint64_t version = result.meta.version;
    if (result.status != PBFT_KV_OK || version < w->version)
        crash_found("client %u: LOST: %s has version %llu, %llu was acknowledged", w->number, key,
                    (unsigned long long)version, (unsigned long long)w->version);
    else if (version - w->version > w->own_unknown)
        crash_found("client %u: DOUBLED: %s has version %llu, %llu was acknowledged, %llu unknown",
                    w->number, key, (unsigned long long)version, (unsigned long long)w->version,
                    (unsigned long long)w->own_unknown);
    else if (version == w->version &&
             !same(result.value, make_value(w, w->own_number, w->own_size)))
        crash_found("client %u: %s has another value than was acknowledged", w->number, key);
    pbft_answer_free(&answer);
}

/* One bucket: each entry is one of ours with its value, written once; none is missing. */
static void check_bucket(struct worker *w, uint32_t bucket)
{
    char prefix[48], key[48];
    struct pbft_answer answer;
    struct pbft_kv_result result;
    bool there[BUCKET] = {false};
    (void)snprintf(prefix, sizeof prefix, "once/%u/%u/", w->number, bucket);
    if (!read_back(w, pbft_kv_encode_range(w->op, VALUE_MAX, text(prefix), 0), &answer, &result))
        return;
    struct pbft_kv_entry entry;
    size_t cursor = 0;
    while (pbft_kv_next_entry(result.entries, &cursor, &entry)) {
        char number[16] = "";
        size_t head = strlen(prefix), rest = entry.key.size - head;
        memcpy(number, entry.key.data + head, rest < 15 ? rest : 15);
        uint32_t k = (uint32_t)strtoul(number, NULL, 10), i = bucket * BUCKET + k;
        once_key(w, i, key);
        if (k >= BUCKET || i >= w->once_count || !same(entry.key, text(key))) {
            crash_found("client %u: a key under %s that nobody wrote", w->number, prefix);
            continue;
        }
        there[k] = true;
        if (entry.meta.version != 1)
            crash_found("DOUBLED: %s has version %llu", key,
                        (unsigned long long)entry.meta.version);
        if (!same(entry.value, make_value(w, i, 20 + i % 60)))
            crash_found("%s has another value", key);
    }
    for (uint32_t k = 0; k < BUCKET && bucket * BUCKET + k < w->once_count; k++)
        if (w->once[bucket * BUCKET + k] == ACKNOWLEDGED && !there[k])
            crash_found("LOST: once/%u/%u/%u", w->number, bucket, k);
    pbft_answer_free(&answer);
}

static void check_counter(struct crash_load *load)
{
    uint64_t done = 0, unknown = 0;
    for (unsigned i = 0; i < CRASH_CLIENTS; i++) {
        done += load->workers[i].counter_done;
        unknown += load->workers[i].counter_unknown;
    }
    struct worker *w = &load->workers[0];
    struct pbft_answer answer;
    struct pbft_kv_result result;
    if (!read_back(w, pbft_kv_encode_get(w->op, VALUE_MAX, text("counter")), &answer, &result))
        return;
    char found[32] = "";
    if (result.status == PBFT_KV_OK)
        memcpy(found, result.value.data, result.value.size < 31 ? result.value.size : 31);
    uint64_t value = strtoull(found, NULL, 10);
    if (value < done || value > done + unknown)
        crash_found("the counter is at %llu after %llu acknowledged steps and %llu unknown: %s",
                    (unsigned long long)value, (unsigned long long)done,
                    (unsigned long long)unknown, value < done ? "LOST" : "DOUBLED");
    pbft_answer_free(&answer);
}

void crash_load_totals(const struct crash_load *load, struct crash_load_stats *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < CRASH_CLIENTS; i++) {
        const struct worker *w = &load->workers[i];
        out->acknowledged += w->acknowledged;
        out->unknown += w->unknown;
        out->bytes += w->bytes;
        if (w->longest_ms > out->longest_ms) out->longest_ms = w->longest_ms;
    }
}

void crash_load_check(struct crash_load *load)
{
    for (unsigned i = 0; i < CRASH_CLIENTS; i++) {
        struct worker *w = &load->workers[i];
        check_own(w);
        for (uint32_t b = 0; b * BUCKET < w->once_count && crash_findings() < 20; b++)
            check_bucket(w, b);
    }
    check_counter(load);
}

struct pbft_client *crash_load_client(struct crash_load *load)
{
    return load->workers[0].client;
}

void crash_load_free(struct crash_load *load)
{
    for (unsigned i = 0; i < CRASH_CLIENTS; i++) {
        pbft_client_close(load->workers[i].client);
        free(load->workers[i].op);
        free(load->workers[i].value);
        free(load->workers[i].once);
    }
    free(load);
}
