/**
 * bench/chain/miner.h - one thread that looks for nonces, as fast as it can or as it may.
 */
#ifndef PBFT_BENCH_CHAIN_MINER_H
#define PBFT_BENCH_CHAIN_MINER_H

#include "bench/chain/block.h"

struct chain_miner; /* opaque */

/**
 * hashes_per_s  0: no limit
 * wake          called from the miner's thread when a nonce was found
 * NULL: no memory, or no thread.
 */
struct chain_miner *chain_miner_start(uint64_t hashes_per_s, void (*wake)(void *context),
                                      void *context);
void chain_miner_stop(struct chain_miner *m);
/* From now on this header; what was worked on before is given up. */
void chain_miner_work(struct chain_miner *m, const struct chain_header *header);
/* A nonce for the latest header was found: it is handed out once, and the miner rests. */
bool chain_miner_found(struct chain_miner *m, struct chain_header *out);
uint64_t chain_miner_hashes(struct chain_miner *m); /* so far */

#endif
