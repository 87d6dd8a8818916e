/**
 * bench/chain/tree.h - every block that a node holds, the best chain among them, and its state.
 *
 * The best chain is the one with the most work, not with the most blocks; of equals the first seen.
 * A block is checked in two steps, as in Bitcoin: by itself and against its parents when it comes
 * (work, target, time, Merkle root, signatures), and against the state of its branch only when that
 * branch becomes the best (has a slot been executed before?). A branch that fails the second step
 * is marked, and the best chain stays what it was.
 *
 * Nothing here does I/O or asks a clock. Contents never abort. Memory is bounded by the limits: a
 * side branch costs its sender work, but at the easiest target little, so that what is beside the
 * best chain is evicted when there is too much of it, the tip with the least work first.
 */
#ifndef PBFT_BENCH_CHAIN_TREE_H
#define PBFT_BENCH_CHAIN_TREE_H

#include "bench/chain/state.h"

#define CHAIN_MEDIAN_BLOCKS 11u /* median-time-past, BIP 113 */

struct chain_block {
    struct chain_link link; /* by hash */
    struct chain_header header;
    struct chain_block *parent; /* NULL: genesis */
    struct chain_block *first_child, *next_sibling;
    uint64_t height;
    struct chain_u256 work; /* of the chain up to it */
    uint8_t *bytes;         /* owned; NULL: genesis */
    size_t size;
    struct chain_operation *ops; /* owned; frames point into `bytes` */
    uint32_t op_count;
    struct chain_undo undo; /* on the best chain */
    uint64_t arrival;       /* order of arrival */
    bool best;              /* on the best chain */
    bool invalid;           /* this or an ancestor failed against its state */
};

/* A zero stands for the default in brackets. */
struct chain_limits {
    uint32_t side_blocks;  /* held beside the best chain [1024] */
    uint64_t side_bytes;   /* [64 MiB] */
    uint32_t orphans;      /* blocks without a parent [64] */
    uint64_t orphan_bytes; /* [4 MiB] */
    uint64_t fork_depth;   /* a branch may fork off so many blocks below the tip [4096] */
    uint64_t blocks;       /* in all; then every further one is refused [1000000] */
};

/* Told in order while the best chain changes; neither may call the tree. */
struct chain_watch {
    void *context;
    void (*connected)(void *context, const struct chain_block *block);
    void (*disconnected)(void *context, const struct chain_block *block);
    /* Whether an operation's signature has been verified; NULL: never. */
    bool (*verified)(void *context, const struct chain_operation *op);
};

struct chain_tree_stats {
    uint64_t accepted;
    uint64_t dropped[CHAIN_VERDICT_COUNT];
    uint64_t reorganisations;
    uint64_t reorganised_deepest; /* blocks of the old branch */
    uint64_t operations_undone;
    uint64_t evicted;
    uint64_t signatures; /* verified */
};

struct chain_orphan;

struct chain_tree {
    struct chain_params params;
    struct chain_limits limits;
    struct chain_watch watch;
    struct pbft_digest id; /* of the chain: hash of genesis */
    struct chain_table blocks;
    struct chain_block *genesis, *tip;
    struct chain_state state; /* at the tip */
    struct chain_orphan *orphans;
    uint32_t orphan_count;
    uint64_t orphan_bytes;
    uint64_t side_blocks, side_bytes;
    uint64_t arrivals;
    struct chain_tree_stats stats;
};

/**
 * params  within bounds (chain_params_check)
 * limits  NULL: defaults
 * seed    secret of the hash tables
 * False: out of memory.
 */
bool chain_tree_init(struct chain_tree *t, const struct chain_params *params,
                     const struct chain_limits *limits, const struct chain_watch *watch,
                     uint64_t seed);
void chain_tree_free(struct chain_tree *t);

/**
 * Take a block from anybody. Orphans that waited for it follow.
 *
 * bytes   copied
 * now_ms  one's own clock, ms since 1970
 * Returns CHAIN_OK; it is held, on the best chain or beside it. CHAIN_DROP_ORPHAN: kept for when
 *         its parent comes. Else why it was dropped.
 */
enum chain_verdict chain_tree_add(struct chain_tree *t, struct pbft_span bytes, uint64_t now_ms);

const struct chain_block *chain_tree_find(const struct chain_tree *t,
                                          const struct pbft_digest *hash);
/* Of the best chain; NULL: beyond its tip. */
const struct chain_block *chain_tree_at(const struct chain_tree *t, uint64_t height);
/* Compact target that a child of `parent` must have. */
uint32_t chain_tree_bits(const struct chain_tree *t, const struct chain_block *parent);
/* A child's time must be later: the median of the last 11 blocks. */
uint64_t chain_tree_median_time(const struct chain_block *parent);
/* Blocks on the best chain from that on which has it up to the tip; 0: it is not in the best chain.
 */
uint64_t chain_tree_confirmations(const struct chain_tree *t, const struct chain_operation *op);

#endif
