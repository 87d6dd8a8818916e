#include "bench/chain/miner.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define CHUNK 2048u /* hashes between looks at what is new: a few milliseconds */

struct chain_miner {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct chain_header header;
    uint64_t generation; /* of header */
    uint64_t hashes, limit;
    bool active, found, stop;
    void (*wake)(void *);
    void *context;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* So that at most `limit` hashes a second are spent since `begun`. */
static void brake(uint64_t begun, uint64_t done, uint64_t limit)
{
    uint64_t due = begun + done * 1000000000u / limit, now = now_ns();
    if (due <= now) return;
    struct timespec t = {(time_t)((due - now) / 1000000000u), (long)((due - now) % 1000000000u)};
    (void)nanosleep(&t, NULL);
}

/* One chunk without the lock. */
static void grind_some(struct chain_miner *m, uint64_t *begun, uint64_t *done)
{
    struct chain_header h = m->header;
    uint64_t generation = m->generation, limit = m->limit, before = h.nonce;
    (void)pthread_mutex_unlock(&m->lock);
    uint64_t chunk = limit != 0 && limit / 20 + 1 < CHUNK ? limit / 20 + 1 : CHUNK;
    bool found = chain_grind(&h, chunk);
    *done += h.nonce - before + found;
    if (limit != 0) brake(*begun, *done, limit);
    /* Debts of time that the machine did not give are not paid back. */
    if (limit != 0 && now_ns() > *begun + 1000000000u) {
        *begun = now_ns();
        *done = 0;
    }
    (void)pthread_mutex_lock(&m->lock);
    m->hashes += h.nonce - before + found;
    if (generation != m->generation) return;
    m->header = h;
    m->found = found;
    m->active = !found;
}

static void *run(void *argument)
{
    struct chain_miner *m = argument;
    uint64_t begun = now_ns(), done = 0;
    (void)pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        if (!m->active) {
            (void)pthread_cond_wait(&m->changed, &m->lock);
            begun = now_ns();
            done = 0;
            continue;
        }
        grind_some(m, &begun, &done);
        if (!m->found) continue;
        (void)pthread_mutex_unlock(&m->lock);
        m->wake(m->context);
        (void)pthread_mutex_lock(&m->lock);
    }
    (void)pthread_mutex_unlock(&m->lock);
    return NULL;
}

struct chain_miner *chain_miner_start(uint64_t hashes_per_s, void (*wake)(void *context),
                                      void *context)
{
    struct chain_miner *m = calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    m->limit = hashes_per_s;
    m->wake = wake;
    m->context = context;
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_cond_init(&m->changed, NULL);
    if (pthread_create(&m->thread, NULL, run, m) == 0) return m;
    (void)pthread_mutex_destroy(&m->lock);
    (void)pthread_cond_destroy(&m->changed);
    free(m);
    return NULL;
}

void chain_miner_stop(struct chain_miner *m)
{
    if (m == NULL) return;
    (void)pthread_mutex_lock(&m->lock);
    m->stop = true;
    (void)pthread_cond_signal(&m->changed);
    (void)pthread_mutex_unlock(&m->lock);
    (void)pthread_join(m->thread, NULL);
    (void)pthread_mutex_destroy(&m->lock);
    (void)pthread_cond_destroy(&m->changed);
    free(m);
}

void chain_miner_work(struct chain_miner *m, const struct chain_header *header)
{
    (void)pthread_mutex_lock(&m->lock);
    m->header = *header;
    m->generation++;
    m->active = true;
    m->found = false;
    (void)pthread_cond_signal(&m->changed);
    (void)pthread_mutex_unlock(&m->lock);
}

bool chain_miner_found(struct chain_miner *m, struct chain_header *out)
{
    (void)pthread_mutex_lock(&m->lock);
    bool found = m->found;
    m->found = false;
    *out = m->header;
    (void)pthread_mutex_unlock(&m->lock);
    return found;
}

uint64_t chain_miner_hashes(struct chain_miner *m)
{
    (void)pthread_mutex_lock(&m->lock);
    uint64_t hashes = m->hashes;
    (void)pthread_mutex_unlock(&m->lock);
    return hashes;
}
