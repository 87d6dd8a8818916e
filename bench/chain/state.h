/**
 * bench/chain/state.h - the key-value state at the tip of the best chain, and how to take a block's
 * operations back.
 *
 * Puts and deletes change it; any other operation of a REQUEST stands in its block without effect,
 * as what PBFT's service answers with BAD_REQUEST does. Exactly once: a slot (operation.h) that was
 * executed is executed no more, until the block that did it is undone.
 */
#ifndef PBFT_BENCH_CHAIN_STATE_H
#define PBFT_BENCH_CHAIN_STATE_H

#include "bench/chain/operation.h"
#include "bench/chain/table.h"

struct chain_change; /* what a put or delete replaced */

/* Of one block, in order of execution. */
struct chain_undo {
    struct chain_change *last;
};

struct chain_state {
    struct chain_table values;   /* by hash of the key */
    struct chain_table executed; /* by slot */
};

bool chain_state_init(struct chain_state *s, uint64_t seed); /* false: out of memory */
void chain_state_free(struct chain_state *s);

/**
 * Execute a block's operations, all or none.
 *
 * Returns CHAIN_OK; CHAIN_DROP_REPLAY (a slot was executed before) or CHAIN_DROP_FULL (out of
 * memory), and the state is as it was.
 */
enum chain_verdict chain_state_apply(struct chain_state *s, const struct chain_operation *ops,
                                     uint32_t count, uint64_t height, struct chain_undo *undo);
/* Undo the block that was applied last; `undo` is empty then. */
void chain_state_undo(struct chain_state *s, const struct chain_operation *ops, uint32_t count,
                      struct chain_undo *undo);
/* Give up what is only good for undoing. */
void chain_undo_free(struct chain_undo *undo);

/* Lives until the state changes. False: there is no such key. */
bool chain_state_get(const struct chain_state *s, struct pbft_span key, struct pbft_span *value);
/* The operation that took a slot, and in which block; NULL: none did. */
const struct pbft_digest *chain_state_executed(const struct chain_state *s,
                                               const struct pbft_digest *slot, uint64_t *height);
/* Equal for equal contents, whatever the order they came in. */
void chain_state_digest(const struct chain_state *s, struct pbft_digest *out);

#endif
