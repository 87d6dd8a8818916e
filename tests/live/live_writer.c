/* Writers that remember what was acknowledged, and read it back in the end. */
#include "client/pbft.h"
#include "service/kv.h"
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 4u
#define KEYS_MAX    20000u
#define TIMEOUT_NS  60000000000u
#define OP_MAX      128u
#define READS       32u /* outstanding */
#define READ_ROUNDS 3u

struct worker {
    struct live_writer *writer;
    pthread_t thread;
    unsigned number;
    struct pbft_client *client;
    unsigned written; /* keys tried */
    bool acknowledged[KEYS_MAX];
    bool unread[KEYS_MAX]; /* acknowledged, and not read back yet */
    sem_t reads;
    atomic_uint lost, wrong;
    double longest_ms;
};

struct live_writer {
    atomic_bool stop;
    atomic_uint failed, done; /* done: acknowledged */
    unsigned count;
    struct worker workers[THREADS_MAX];
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct pbft_span text(const char *s)
{
    return (struct pbft_span){(const uint8_t *)s, strlen(s)};
}

static void name(const struct worker *w, unsigned i, char key[32], char value[32])
{
    snprintf(key, 32, "writer-%u-%u", w->number, i);
    snprintf(value, 32, "value-%u-%u", i, w->number);
}

static void *run(void *context)
{
    struct worker *w = context;
    while (!atomic_load(&w->writer->stop) && w->written < KEYS_MAX) {
        char key[32], value[32];
        uint8_t op[OP_MAX];
        unsigned i = w->written++;
        name(w, i, key, value);
        size_t size = pbft_kv_encode_put(op, sizeof op, text(key), text(value));
        struct pbft_answer answer;
        double begun = now_ms();
        enum pbft_status status =
            pbft_client_call(w->client, (struct pbft_span){op, size}, TIMEOUT_NS, &answer);
        double took = now_ms() - begun;
        if (took > w->longest_ms) w->longest_ms = took;
        w->acknowledged[i] = status == PBFT_STATUS_OK;
        if (status == PBFT_STATUS_OK) atomic_fetch_add(&w->writer->done, 1);
        if (status != PBFT_STATUS_OK) {
            atomic_fetch_add(&w->writer->failed, 1);
            fprintf(stderr, "writer %u: put %u: %s\n", w->number, i, pbft_status_text(status));
        }
        pbft_answer_free(&answer);
    }
    return NULL;
}

struct live_writer *live_writer_start(const struct live *l, unsigned threads)
{
    struct live_writer *writer = calloc(1, sizeof *writer);
    cr_assert_not_null(writer);
    writer->count = threads;
    for (unsigned i = 0; i < threads; i++) {
        struct worker *w = &writer->workers[i];
        char error[256];
        w->writer = writer;
        w->number = i;
        /* All with the admin's key: sessions keep them apart. */
        enum pbft_status status = pbft_client_open(&w->client, l->dir, NULL, error);
        cr_assert_eq(status, PBFT_STATUS_OK, "%s", error);
    }
    for (unsigned i = 0; i < threads; i++)
        cr_assert_eq(pthread_create(&writer->workers[i].thread, NULL, run, &writer->workers[i]), 0);
    return writer;
}

struct reading {
    struct worker *worker;
    unsigned i;
    bool ordered; /* a list of one result */
};

enum reading_result { READ_AGAIN, READ_LOST, READ_WRONG, READ_RIGHT };

static enum reading_result judge(const struct reading *r, const struct pbft_answer *answer)
{
    char key[32], value[32];
    struct pbft_kv_result result;
    struct pbft_span bytes = {answer->bytes, answer->size};
    size_t cursor = 0;
    name(r->worker, r->i, key, value);
    if (answer->status == PBFT_STATUS_TIMEOUT) return READ_AGAIN; /* says nothing of the write */
    if (answer->status != PBFT_STATUS_OK ||
        (r->ordered && !pbft_answer_next(answer, &cursor, &bytes)) ||
        !pbft_kv_decode_result(bytes, &result) || result.status != PBFT_KV_OK)
        return READ_LOST;
    bool right = result.meta.version == 1 && result.value.size == strlen(value) &&
                 memcmp(result.value.data, value, result.value.size) == 0;
    return right ? READ_RIGHT : READ_WRONG;
}

static void was_read(void *context, const struct pbft_answer *answer)
{
    struct reading *r = context;
    struct worker *w = r->worker;
    enum reading_result result = judge(r, answer);
    w->unread[r->i] = result == READ_AGAIN;
    if (result == READ_LOST) atomic_fetch_add(&w->lost, 1);
    if (result == READ_WRONG) atomic_fetch_add(&w->wrong, 1);
    free(r);
    (void)sem_post(&w->reads);
}

static void wait_for_a_read(struct worker *w)
{
    while (sem_wait(&w->reads) != 0) {
    }
}

static void read_back(struct worker *w, unsigned i, bool ordered)
{
    char key[32], value[32];
    uint8_t op[OP_MAX];
    name(w, i, key, value);
    struct pbft_span span = {op, pbft_kv_encode_get(op, sizeof op, text(key))};
    struct reading *r = malloc(sizeof *r);
    cr_assert_not_null(r);
    *r = (struct reading){w, i, ordered};
    wait_for_a_read(w);
    enum pbft_status status =
        ordered ? pbft_client_submit(w->client, &span, 1, TIMEOUT_NS, was_read, r)
                : pbft_client_submit_read(w->client, span, TIMEOUT_NS, was_read, r);
    cr_assert_eq(status, PBFT_STATUS_OK, "%s", pbft_status_text(status));
}

static void read_all_back(struct worker *w)
{
    for (unsigned i = 0; i < w->written; i++)
        if (w->unread[i]) read_back(w, i, i % 8 == 0);
    for (unsigned i = 0; i < READS; i++)
        wait_for_a_read(w);
    for (unsigned i = 0; i < READS; i++)
        (void)sem_post(&w->reads);
}

unsigned live_writer_failed(const struct live_writer *w)
{
    return atomic_load(&w->failed);
}

void live_writer_until(const struct live_writer *writer, unsigned least)
{
    for (unsigned i = 0; i < 900 && atomic_load(&writer->done) < least; i++)
        live_sleep_ms(100);
}

unsigned live_writer_finish(struct live_writer *writer, unsigned *lost, double *longest_ms,
                            unsigned *wrong)
{
    unsigned acknowledged = 0;
    *lost = *wrong = 0;
    *longest_ms = 0;
    atomic_store(&writer->stop, true);
    for (unsigned k = 0; k < writer->count; k++) {
        struct worker *w = &writer->workers[k];
        pthread_join(w->thread, NULL);
        if (w->longest_ms > *longest_ms) *longest_ms = w->longest_ms;
        cr_assert_eq(sem_init(&w->reads, 0, READS), 0);
        for (unsigned i = 0; i < w->written; i++) {
            w->unread[i] = w->acknowledged[i];
            acknowledged += w->acknowledged[i];
        }
        for (unsigned round = 0; round < READ_ROUNDS; round++)
            read_all_back(w);
        for (unsigned i = 0; i < w->written; i++)
            *lost += w->unread[i];
        pbft_client_close(w->client);
        (void)sem_destroy(&w->reads);
        *lost += atomic_load(&w->lost);
        *wrong += atomic_load(&w->wrong);
    }
    free(writer);
    return acknowledged;
}
