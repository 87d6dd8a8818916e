/* The space that the pages of one tree share, and the index of hashed pages by hash. */
#include "store/page.h"

#include <stdlib.h>

#define BUCKETS_FIRST 1024u

static void lock(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_lock(mutex);
    PBFT_ASSERT(error == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_unlock(mutex);
    PBFT_ASSERT(error == 0);
}

struct pbft_space *pbft_space_create(const struct pbft_tree_config *config)
{
    struct pbft_space *space = calloc(1, sizeof *space);
    if (space == NULL) return NULL;
    space->config = *config;
    atomic_init(&space->refs, 1);
    atomic_init(&space->bytes, 0);
    space->bucket_count = BUCKETS_FIRST;
    space->buckets = calloc(space->bucket_count, sizeof(struct pbft_page *));
    if (space->buckets == NULL) goto no_buckets;
    if (pthread_mutex_init(&space->hash_lock, NULL) != 0) goto no_hash_lock;
    if (pthread_mutex_init(&space->index_lock, NULL) != 0) goto no_index_lock;
    return space;

no_index_lock:
    pthread_mutex_destroy(&space->hash_lock);
no_hash_lock:
    free(space->buckets);
no_buckets:
    free(space);
    return NULL;
}

struct pbft_space *pbft_space_retain(struct pbft_space *space)
{
    atomic_fetch_add_explicit(&space->refs, 1, memory_order_relaxed);
    return space;
}

void pbft_space_release(struct pbft_space *space)
{
    if (atomic_fetch_sub_explicit(&space->refs, 1, memory_order_acq_rel) != 1) return;
    PBFT_ASSERT(space->index_count == 0);
    PBFT_ASSERT(atomic_load(&space->bytes) == 0);
    pthread_mutex_destroy(&space->hash_lock);
    pthread_mutex_destroy(&space->index_lock);
    free(space->buckets);
    free(space);
}

static size_t bucket_of(const struct pbft_space *space, const struct pbft_digest *digest)
{
    return (size_t)load64(digest->bytes) & (space->bucket_count - 1);
}

static void bucket_insert(struct pbft_space *space, struct pbft_page *page)
{
    struct pbft_page **bucket = &space->buckets[bucket_of(space, &page->hash)];
    page->prev = NULL;
    page->next = *bucket;
    if (page->next != NULL) page->next->prev = page;
    *bucket = page;
}

static void bucket_remove(struct pbft_space *space, struct pbft_page *page)
{
    if (page->prev != NULL)
        page->prev->next = page->next;
    else
        space->buckets[bucket_of(space, &page->hash)] = page->next;
    if (page->next != NULL) page->next->prev = page->prev;
    page->next = page->prev = NULL;
    space->index_count--;
}

/* Without memory the chains get longer, nothing else. */
static void buckets_grow(struct pbft_space *space)
{
    size_t old_count = space->bucket_count;
    struct pbft_page **old = space->buckets;
    struct pbft_page **buckets = calloc(old_count * 2, sizeof(struct pbft_page *));
    if (buckets == NULL) return;
    space->buckets = buckets;
    space->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        for (struct pbft_page *page = old[i], *next; page != NULL; page = next) {
            next = page->next;
            bucket_insert(space, page);
        }
    }
    free(old);
}

void pbft_space_index(struct pbft_space *space, struct pbft_page *page)
{
    lock(&space->index_lock);
    if (space->index_count >= space->bucket_count) buckets_grow(space);
    bucket_insert(space, page);
    space->index_count++;
    /* Inside: whoever finds it in the index sees that it is there, and adds it no second time. */
    atomic_store_explicit(&page->hashed, true, memory_order_release);
    unlock(&space->index_lock);
}

void pbft_space_unindex(struct pbft_space *space, struct pbft_page *page)
{
    lock(&space->index_lock);
    bucket_remove(space, page);
    unlock(&space->index_lock);
}

bool pbft_space_claim(struct pbft_space *space, struct pbft_page *page)
{
    lock(&space->index_lock);
    bool alone = atomic_load_explicit(&page->refs, memory_order_acquire) == 1;
    if (alone) {
        bucket_remove(space, page);
        page->proved = 0; /* it will be changed */
        atomic_store_explicit(&page->hashed, false, memory_order_relaxed);
    }
    unlock(&space->index_lock);
    return alone;
}

/* A page whose last reference is being dropped stays in its bucket until the dropping thread gets
 * the lock; its count is 0 by then and must not be raised again. */
static bool ref_unless_zero(struct pbft_page *page)
{
    uint32_t refs = atomic_load_explicit(&page->refs, memory_order_relaxed);
    while (refs != 0) {
        if (atomic_compare_exchange_weak_explicit(&page->refs, &refs, refs + 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    }
    return false;
}

struct pbft_page *pbft_space_find(struct pbft_space *space, const struct pbft_digest *digest)
{
    lock(&space->index_lock);
    struct pbft_page *page = space->buckets[bucket_of(space, digest)];
    /* Several pages can have one hash (PROTOCOL 30: an identical page may have been recreated). */
    while (page != NULL) {
        if (memcmp(page->hash.bytes, digest->bytes, PBFT_DIGEST_BYTES) == 0 &&
            ref_unless_zero(page))
            break;
        page = page->next;
    }
    unlock(&space->index_lock);
    return page;
}

/* ---- hashing ---- */

/* Children first. Returns whether the page is hashed; *budget counts down. */
static bool hash_page(struct pbft_space *space, struct pbft_page *page, size_t *budget)
{
    if (atomic_load_explicit(&page->hashed, memory_order_acquire)) return true;
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++)
        if (!hash_page(space, page->children[i].page, budget)) return false;
    if (*budget == 0) return false;
    --*budget;
    if (!pbft_page_rehash(page, &page->hash))
        pbft_panic(__FILE__, __LINE__, "out of memory for the state tree");
    pbft_space_index(space, page);
    return true;
}

bool pbft_snapshot_hash(struct pbft_snapshot *snapshot, size_t max_pages)
{
    struct pbft_space *space = snapshot->space;
    if (atomic_load_explicit(&snapshot->root->hashed, memory_order_acquire)) return true;
    lock(&space->hash_lock);
    bool done = hash_page(space, snapshot->root, &max_pages);
    unlock(&space->hash_lock);
    return done;
}

void pbft_snapshot_root(struct pbft_snapshot *snapshot, struct pbft_digest *root)
{
    bool done = pbft_snapshot_hash(snapshot, SIZE_MAX);
    PBFT_ASSERT(done);
    *root = snapshot->root->hash;
}

/* ---- serving ---- */

static enum pbft_status space_page(struct pbft_space *space, const struct pbft_digest *digest,
                                   uint8_t *out, size_t capacity, size_t *size)
{
    struct pbft_page *page = pbft_space_find(space, digest);
    if (page == NULL) return PBFT_STATUS_NOT_FOUND;
    enum pbft_status status = PBFT_STATUS_FULL;
    *size = page_size(page);
    if (*size <= capacity) {
        pbft_page_encode(page, out);
        status = PBFT_STATUS_OK;
    }
    pbft_page_unref(space, page);
    return status;
}

enum pbft_status pbft_tree_page(const struct pbft_tree *tree, const struct pbft_digest *digest,
                                uint8_t *out, size_t capacity, size_t *size)
{
    return space_page(tree->space, digest, out, capacity, size);
}

enum pbft_status pbft_snapshot_page(const struct pbft_snapshot *snapshot,
                                    const struct pbft_digest *digest, uint8_t *out, size_t capacity,
                                    size_t *size)
{
    return space_page(snapshot->space, digest, out, capacity, size);
}
