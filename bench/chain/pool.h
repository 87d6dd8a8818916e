/**
 * bench/chain/pool.h - operations that wait for a block: verified, at most one for each slot, first
 * come first served. There are no fees, so that a full pool refuses whoever comes next.
 */
#ifndef PBFT_BENCH_CHAIN_POOL_H
#define PBFT_BENCH_CHAIN_POOL_H

#include "bench/chain/operation.h"
#include "bench/chain/table.h"

struct chain_pooled;

struct chain_pool {
    struct chain_table slots;
    struct chain_pooled *first, *last; /* in order of arrival */
    uint64_t bytes, bytes_max;
};

/* bytes_max: of frames. False: out of memory. */
bool chain_pool_init(struct chain_pool *p, uint64_t bytes_max, uint64_t seed);
void chain_pool_free(struct chain_pool *p);

/* The operation of a slot; NULL: none waits. */
const struct chain_operation *chain_pool_find(const struct chain_pool *p,
                                              const struct pbft_digest *slot);
/* Its signature is verified and its slot is free; the frame is copied. False: no room. `front`: it
 * was in a block before, and comes first. */
bool chain_pool_add(struct chain_pool *p, const struct chain_operation *op, bool front);
/* Whatever waits for that slot. */
void chain_pool_remove(struct chain_pool *p, const struct pbft_digest *slot);

/* Frames in order, as many as a block of `block_bytes` has room for, at most `max`; they live until
 * the pool changes. */
uint32_t chain_pool_pick(const struct chain_pool *p, size_t block_bytes, struct pbft_span *frames,
                         uint32_t max);

#endif
