/**
 * store/diff.h - what differs between two states: two snapshots walked side by side, subtrees with
 * equal hashes passed by (FAULTS 4.24).
 *
 * Work is done in slices, so that whoever has no thread to spare can go on with other things. What
 * is listed is bounded, what is counted is not.
 *
 * WHAT IS PROVED. `ours` is the state after sequence number `seq`, `theirs` the one after `seq` or
 * a later one. A leaf's change mark is no less than that of the last change to any key of its range
 * (store/tree.h). So a key of `theirs` under a mark of at most `seq` is as it was at `seq`, and
 * differs from `ours` there; under a higher one it is only counted, as `undecided`. And whichever
 * of the two leaves changed later, both values of a key that differs were already what they are
 * after that operation: the states differed there. The least of these marks over all keys that
 * differ, `differs_at`, is an upper bound of the first sequence number at which they did. That
 * presumes that the marks themselves are what executions left, and proves nothing where a page of
 * ours is damaged.
 */
#ifndef PBFT_STORE_DIFF_H
#define PBFT_STORE_DIFF_H

#include "store/tree.h"

#define PBFT_DIFF_KEYS  16u /* listed */
#define PBFT_DIFF_PAGES 8u

struct pbft_diff; /* opaque */

/* One side's entry. */
struct pbft_diff_side {
    bool present;
    uint64_t mark; /* of the leaf that holds it, or would */
    uint32_t size;
    struct pbft_digest digest; /* of the value: pbft_hash("pbft-value") */
};

struct pbft_diff_key {
    uint8_t key[PBFT_TREE_KEY_MAX];
    size_t key_size;
    struct pbft_diff_side ours, theirs;
    /* Both present and equally long: */
    bool comparable;
    uint32_t first_byte; /* the first that differs */
    uint64_t bits;       /* how many differ */
};

/* A leaf of ours, or of theirs, or both in the same place; which is absent has no digest. */
struct pbft_diff_page {
    bool in_ours, in_theirs;
    struct pbft_digest ours, theirs;
    uint8_t first[PBFT_TREE_KEY_MAX], last[PBFT_TREE_KEY_MAX];
    size_t first_size, last_size;
};

struct pbft_diff_result {
    /* Not in the other state, at the same place: leaves and inner pages. */
    uint64_t pages_ours, pages_theirs;
    uint64_t damaged; /* of ours: their bytes are those of no page, and what they held is unknown */
    uint64_t changed, only_ours, only_theirs; /* keys that differ */
    uint64_t undecided;                       /* keys that `theirs` may have changed since */
    uint64_t differs_at;                      /* UINT64_MAX: no key differs */
    size_t key_count, page_count;
    struct pbft_diff_key keys[PBFT_DIFF_KEYS];    /* the first that differ, ascending */
    struct pbft_diff_page pages[PBFT_DIFF_PAGES]; /* the first leaves that differ, ascending */
};

/* Retains both snapshots, of the same tree or not. NULL: out of memory. */
struct pbft_diff *pbft_diff_new(struct pbft_snapshot *ours, struct pbft_snapshot *theirs,
                                uint64_t seq) PBFT_MUST_USE;
/* Go on, for about `steps` pages and entries. True once all is done. Any thread, one at a time. */
bool pbft_diff_step(struct pbft_diff *diff, size_t steps);
/* What was found so far; lives as long as `diff`. */
const struct pbft_diff_result *pbft_diff_result(const struct pbft_diff *diff);
void pbft_diff_free(struct pbft_diff *diff); /* NULL is allowed */

#endif
