/**
 * pbft/frame.h - reference-counted byte buffers that messages live in from socket to release.
 *
 * A frame holds one whole wire message (pbft/wire.h). It is written once, by whoever allocated it,
 * and is immutable from the moment a second holder exists. Counts are atomic: frames pass between
 * threads, contents never change under a reader.
 *
 * The pool belongs to the node (or to a test) and has a fixed budget in bytes; the core never
 * allocates memory of its own, it asks the pool it was given. A pool out of budget returns NULL,
 * which every caller treats as "not now".
 */
#ifndef PBFT_FRAME_H
#define PBFT_FRAME_H

#include "pbft/types.h"
#include <stdatomic.h>

struct pbft_frame {
    struct pbft_frame_pool *pool;
    atomic_uint refs;
    uint32_t size;     /* bytes in use */
    uint32_t capacity; /* bytes that `bytes` can hold */
    uint8_t bytes[];
};

/* The two functions that stand between this header and an allocator. Both may be called from any
 * thread. */
struct pbft_frame_pool {
    struct pbft_frame *(*alloc)(struct pbft_frame_pool *pool, uint32_t capacity);
    void (*free)(struct pbft_frame_pool *pool, struct pbft_frame *frame);
};

/* A new frame with one reference, size 0; NULL when the pool's budget is used up. */
static inline struct pbft_frame *pbft_frame_new(struct pbft_frame_pool *pool, uint32_t capacity)
{
    return pool->alloc(pool, capacity);
}

/* One more holder. Returns `frame`, which may be NULL. */
static inline struct pbft_frame *pbft_frame_retain(struct pbft_frame *frame)
{
    if (frame != NULL) atomic_fetch_add_explicit(&frame->refs, 1, memory_order_relaxed);
    return frame;
}

/* One holder fewer; the last one frees. NULL is allowed. */
static inline void pbft_frame_release(struct pbft_frame *frame)
{
    if (frame == NULL) return;
    if (atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel) == 1)
        frame->pool->free(frame->pool, frame);
}

static inline struct pbft_span pbft_frame_span(const struct pbft_frame *frame)
{
    return (struct pbft_span){frame->bytes, frame->size};
}

#endif
