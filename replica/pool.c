/* Frames from malloc, counted. The budget is charged before memory is asked for, so that threads
 * that race for the last bytes cannot overdraw it together. */
#include "replica/pool.h"

#include <stdlib.h>
#include <string.h>

struct pbft_pool {
    struct pbft_frame_pool base; /* first: frames lead back to it */
    uint64_t budget;
    atomic_uint_fast64_t bytes;
    atomic_uint_fast64_t peak;
    atomic_uint_fast64_t frames;
    atomic_uint_fast64_t refused;
};

static uint64_t cost(uint32_t capacity)
{
    return sizeof(struct pbft_frame) + (uint64_t)capacity;
}

static bool charge(struct pbft_pool *pool, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&pool->bytes, bytes, memory_order_relaxed);
    if (before > pool->budget || bytes > pool->budget - before) {
        atomic_fetch_sub_explicit(&pool->bytes, bytes, memory_order_relaxed);
        return false;
    }
    uint64_t now = before + bytes;
    uint_fast64_t peak = atomic_load_explicit(&pool->peak, memory_order_relaxed);
    while (peak < now && !atomic_compare_exchange_weak(&pool->peak, &peak, now))
        continue;
    return true;
}

static struct pbft_frame *pool_alloc(struct pbft_frame_pool *base, uint32_t capacity)
{
    struct pbft_pool *pool = (struct pbft_pool *)base;
    struct pbft_frame *frame = NULL;
    if (charge(pool, cost(capacity))) {
        frame = malloc(sizeof *frame + capacity);
        if (frame == NULL)
            atomic_fetch_sub_explicit(&pool->bytes, cost(capacity), memory_order_relaxed);
    }
    if (frame == NULL) {
        atomic_fetch_add_explicit(&pool->refused, 1, memory_order_relaxed);
        return NULL;
    }
    atomic_fetch_add_explicit(&pool->frames, 1, memory_order_relaxed);
    frame->pool = base;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    return frame;
}

static void pool_release(struct pbft_frame_pool *base, struct pbft_frame *frame)
{
    struct pbft_pool *pool = (struct pbft_pool *)base;
    uint64_t bytes = cost(frame->capacity);
    free(frame);
    atomic_fetch_sub_explicit(&pool->bytes, bytes, memory_order_relaxed);
    uint64_t before = atomic_fetch_sub_explicit(&pool->frames, 1, memory_order_relaxed);
    PBFT_ASSERT(before > 0);
}

struct pbft_pool *pbft_pool_new(uint64_t budget_bytes)
{
    struct pbft_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    pool->base.alloc = pool_alloc;
    pool->base.free = pool_release;
    pool->budget = budget_bytes;
    return pool;
}

void pbft_pool_free(struct pbft_pool *pool)
{
    if (pool == NULL) return;
    PBFT_ASSERT(atomic_load(&pool->frames) == 0);
    PBFT_ASSERT(atomic_load(&pool->bytes) == 0);
    free(pool);
}

struct pbft_frame_pool *pbft_pool_frames(struct pbft_pool *pool)
{
    return &pool->base;
}

void pbft_pool_stats(const struct pbft_pool *pool, struct pbft_pool_stats *out)
{
    out->live_frames = atomic_load_explicit(&pool->frames, memory_order_relaxed);
    out->live_bytes = atomic_load_explicit(&pool->bytes, memory_order_relaxed);
    out->peak_bytes = atomic_load_explicit(&pool->peak, memory_order_relaxed);
    out->refused = atomic_load_explicit(&pool->refused, memory_order_relaxed);
}

struct pbft_frame *pbft_frame_copy(struct pbft_frame_pool *pool, struct pbft_span bytes)
{
    if (bytes.size > UINT32_MAX) return NULL;
    struct pbft_frame *frame = pbft_frame_new(pool, (uint32_t)bytes.size);
    if (frame == NULL) return NULL;
    if (bytes.size > 0) memcpy(frame->bytes, bytes.data, bytes.size);
    frame->size = (uint32_t)bytes.size;
    return frame;
}
