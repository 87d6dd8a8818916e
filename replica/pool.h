/**
 * replica/pool.h - the frame pool of a process: memory from malloc under one budget of bytes.
 *
 * Any thread may allocate and release. A frame's cost is its capacity and header; a pool at its
 * budget answers NULL, which every caller treats as "not now" (pbft/frame.h).
 */
#ifndef PBFT_REPLICA_POOL_H
#define PBFT_REPLICA_POOL_H

#include "pbft/frame.h"

struct pbft_pool; /* opaque */

/* budget_bytes bounds all live frames together. NULL: out of memory. */
struct pbft_pool *pbft_pool_new(uint64_t budget_bytes);
/* Every frame must have been released: a live one is our leak, and an assertion. */
void pbft_pool_free(struct pbft_pool *pool);
/* What the core, the door's users and the transports are given; lives as long as the pool. */
struct pbft_frame_pool *pbft_pool_frames(struct pbft_pool *pool);

struct pbft_pool_stats {
    uint64_t live_frames;
    uint64_t live_bytes;
    uint64_t peak_bytes;
    uint64_t refused; /* allocations beyond the budget, or that malloc refused */
};
void pbft_pool_stats(const struct pbft_pool *pool, struct pbft_pool_stats *out);

/* A frame with a copy of `bytes`; NULL when the budget is used up. */
struct pbft_frame *pbft_frame_copy(struct pbft_frame_pool *pool, struct pbft_span bytes);

#endif
