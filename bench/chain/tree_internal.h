/**
 * bench/chain/tree_internal.h - what tree.c and accept.c share.
 */
#ifndef PBFT_BENCH_CHAIN_TREE_INTERNAL_H
#define PBFT_BENCH_CHAIN_TREE_INTERNAL_H

#include "bench/chain/tree.h"

/* What a block shows without its parent: sizes, version, work (cheap before dear). */
enum chain_verdict chain_block_check_alone(const struct chain_params *p, struct pbft_span bytes,
                                           struct chain_header *h, struct pbft_digest *hash);

/* Copy the bytes into `b`, whose header is set, read its operations, and check Merkle root, slots
 * and signatures. What was allocated is `b`'s, also on a failure. */
enum chain_verdict chain_block_fill(struct chain_tree *t, struct chain_block *b,
                                    struct pbft_span bytes);

/* CHAIN_DROP_ORPHAN, or _DUPLICATE; the oldest give way. */
enum chain_verdict chain_orphan_keep(struct chain_tree *t, const struct pbft_digest *hash,
                                     const struct pbft_digest *parent, struct pbft_span bytes);
/* One whose parent is held now: its memory, to be freed, with *bytes in it; NULL: none. */
uint8_t *chain_orphan_ready(struct chain_tree *t, struct pbft_span *bytes);
void chain_orphans_free(struct chain_tree *t);

#endif
