/* Plain program for ThreadSanitizer: one thread looks ahead, reads, writes and takes snapshots, one
 * hashes them, one serves pages by hash, those of the head included, and checks what it gets. */
#include "store/tree.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 300u

static struct pbft_tree *tree;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct pbft_snapshot *waiting; /* one at a time */
static struct pbft_digest roots[ROUNDS];
static size_t root_count;
static atomic_bool over;
static _Atomic uint64_t served;

static void require(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void *hashing(void *context)
{
    (void)context;
    for (size_t i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        while (waiting == NULL)
            pthread_cond_wait(&changed, &lock);
        struct pbft_snapshot *snapshot = waiting;
        waiting = NULL;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        struct pbft_digest root;
        pbft_snapshot_root(snapshot, &root);
        pbft_snapshot_release(snapshot);
        pthread_mutex_lock(&lock);
        roots[root_count++] = root;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* Down a random path from a recent root, as a peer would ask. */
static void serve_path(struct pbft_digest digest, unsigned *seed, uint8_t *page, size_t room)
{
    for (;;) {
        size_t size;
        struct pbft_digest actual;
        if (pbft_tree_page(tree, &digest, page, room, &size) != PBFT_STATUS_OK) return;
        require(pbft_page_digest((struct pbft_span){page, size}, &actual), "no page");
        require(memcmp(&actual, &digest, sizeof digest) == 0, "a page with another hash");
        atomic_fetch_add(&served, 1);
        if (page[0] == 1) return;
        uint32_t count = (uint32_t)page[8] | (uint32_t)page[9] << 8;
        *seed = *seed * 1103515245u + 12345u;
        memcpy(digest.bytes, page + 28 + (size_t)((*seed >> 8) % count) * 56 + 20,
               PBFT_DIGEST_BYTES);
    }
}

static void *serving(void *context)
{
    (void)context;
    static uint8_t page[65536];
    unsigned seed = 7;
    while (!atomic_load(&over)) {
        struct pbft_digest digest = {{0}};
        pthread_mutex_lock(&lock);
        bool any = root_count > 0;
        if (any) digest = roots[root_count - 1];
        pthread_mutex_unlock(&lock);
        if (any) serve_path(digest, &seed, page, sizeof page);
    }
    return NULL;
}

/* As a rule the writer is far ahead of what is asked for; on a busy machine always. */
static void let_it_serve(size_t rounds)
{
    pthread_mutex_lock(&lock);
    while (root_count < rounds)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    uint64_t before = atomic_load(&served);
    while (atomic_load(&served) == before)
        (void)sched_yield();
}

int main(void)
{
    struct pbft_tree_config config = {512, 512};
    require(pbft_tree_create(&tree, &config) == PBFT_STATUS_OK, "create");
    pthread_t hasher, server;
    require(pthread_create(&hasher, NULL, hashing, NULL) == 0, "thread");
    require(pthread_create(&server, NULL, serving, NULL) == 0, "thread");
    uint64_t x = 88172645463325252u, mark = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            uint8_t key[2] = {(uint8_t)(x >> 20), (uint8_t)((x >> 30) % 8)};
            uint8_t value[64];
            memset(value, (int)(x >> 40) & 0xff, sizeof value);
            struct pbft_span k = {key, 2}, v = {value, (size_t)(x >> 50) % sizeof value};
            mark++;
            pbft_tree_prefetch(tree, k);
            (void)pbft_tree_get(tree, k, NULL, NULL);
            if ((x >> 33) % 4 == 0)
                pbft_tree_delete(tree, k, mark);
            else
                require(pbft_tree_put(tree, k, v, mark) == PBFT_STATUS_OK, "put");
        }
        struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
        require(snapshot != NULL, "snapshot");
        pthread_mutex_lock(&lock);
        while (waiting != NULL)
            pthread_cond_wait(&changed, &lock);
        waiting = snapshot;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (round % 30 == 29) let_it_serve(round + 1);
    }
    pthread_join(hasher, NULL);
    atomic_store(&over, true);
    pthread_join(server, NULL);
    pbft_tree_destroy(tree);
    printf("served %llu pages\n", (unsigned long long)atomic_load(&served));
    return 0;
}
