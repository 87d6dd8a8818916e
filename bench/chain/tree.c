#include "bench/chain/tree.h"

#include "bench/chain/tree_internal.h"

#include <stdlib.h>
#include <string.h>

static void block_free(struct chain_block *b)
{
    if (b == NULL) return;
    chain_undo_free(&b->undo);
    free(b->ops);
    free(b->bytes);
    free(b);
}

static void set_limits(struct chain_limits *l)
{
    if (l->side_blocks == 0) l->side_blocks = 1024;
    if (l->side_bytes == 0) l->side_bytes = UINT64_C(64) << 20;
    if (l->orphans == 0) l->orphans = 64;
    if (l->orphan_bytes == 0) l->orphan_bytes = UINT64_C(4) << 20;
    if (l->fork_depth == 0) l->fork_depth = 4096;
    if (l->blocks == 0) l->blocks = 1000000;
}

bool chain_tree_init(struct chain_tree *t, const struct chain_params *params,
                     const struct chain_limits *limits, const struct chain_watch *watch,
                     uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->params = *params;
    if (limits != NULL) t->limits = *limits;
    if (watch != NULL) t->watch = *watch;
    set_limits(&t->limits);
    struct chain_block *genesis = calloc(1, sizeof *genesis);
    bool memory =
        chain_table_init(&t->blocks, seed ^ 2u) && chain_state_init(&t->state, seed) && genesis;
    if (!memory) {
        free(genesis);
        chain_tree_free(t);
        return false;
    }
    chain_genesis(params, &genesis->header, &t->id);
    genesis->link.key = t->id;
    genesis->best = true;
    chain_table_add(&t->blocks, &genesis->link);
    t->genesis = t->tip = genesis;
    return true;
}

void chain_tree_free(struct chain_tree *t)
{
    struct chain_walk walk = {0, NULL};
    for (struct chain_link *link; (link = chain_table_walk(&t->blocks, &walk)) != NULL;)
        block_free((struct chain_block *)link);
    chain_table_free(&t->blocks);
    chain_state_free(&t->state);
    chain_orphans_free(t);
}

const struct chain_block *chain_tree_find(const struct chain_tree *t,
                                          const struct pbft_digest *hash)
{
    return (const struct chain_block *)chain_table_find(&t->blocks, hash);
}

const struct chain_block *chain_tree_at(const struct chain_tree *t, uint64_t height)
{
    const struct chain_block *b = t->tip;
    if (height > b->height) return NULL;
    while (b->height > height)
        b = b->parent;
    return b;
}

uint32_t chain_tree_bits(const struct chain_tree *t, const struct chain_block *parent)
{
    uint64_t height = parent->height + 1, period = t->params.retarget_blocks;
    if (height % period != 0) return parent->header.bits;
    /* From the last block of the period before to the last of this one. Bitcoin begins with the
     * first of this one, and that gap lets a majority turn time back a little each period ("time
     * warp"). The first period has nothing before it but genesis, whose time nobody mined at: it
     * is measured from its first block. */
    const struct chain_block *first = parent;
    while (first->height + period > parent->height && first->height > 1)
        first = first->parent;
    uint32_t intervals = (uint32_t)(parent->height - first->height);
    int64_t actual = (int64_t)parent->header.time_ms - (int64_t)first->header.time_ms;
    return chain_retarget(parent->header.bits, t->params.limit_bits, actual,
                          intervals * t->params.spacing_ms);
}

uint64_t chain_tree_median_time(const struct chain_block *parent)
{
    uint64_t times[CHAIN_MEDIAN_BLOCKS] = {0};
    size_t count = 0;
    for (; parent != NULL && count < CHAIN_MEDIAN_BLOCKS; parent = parent->parent) {
        size_t at = count++;
        for (; at > 0 && times[at - 1] > parent->header.time_ms; at--)
            times[at] = times[at - 1];
        times[at] = parent->header.time_ms;
    }
    return times[count / 2];
}

uint64_t chain_tree_confirmations(const struct chain_tree *t, const struct chain_operation *op)
{
    uint64_t height;
    const struct pbft_digest *id = chain_state_executed(&t->state, &op->slot, &height);
    return id != NULL && pbft_digest_equal(id, &op->id) ? t->tip->height - height + 1 : 0;
}

/* ---- eviction ---- */

static void detach(struct chain_tree *t, struct chain_block *b)
{
    struct chain_block **at = &b->parent->first_child;
    while (*at != b)
        at = &(*at)->next_sibling;
    *at = b->next_sibling;
    chain_table_remove(&t->blocks, &b->link);
    t->side_blocks--;
    t->side_bytes -= b->size;
    block_free(b);
}

/* The tip beside the best chain with the least work, other than `keep`. */
static struct chain_block *weakest(const struct chain_tree *t, const struct chain_block *keep)
{
    struct chain_walk walk = {0, NULL};
    struct chain_block *least = NULL;
    for (struct chain_link *link; (link = chain_table_walk(&t->blocks, &walk)) != NULL;) {
        struct chain_block *b = (struct chain_block *)link;
        if (b->best || b->first_child != NULL || b == keep) continue;
        int order = least == NULL ? -1 : chain_u256_compare(&b->work, &least->work);
        if (order < 0 || (order == 0 && b->arrival > least->arrival)) least = b;
    }
    return least;
}

static void evict(struct chain_tree *t, const struct chain_block *keep)
{
    while (t->side_blocks > t->limits.side_blocks || t->side_bytes > t->limits.side_bytes) {
        struct chain_block *least = weakest(t, keep);
        if (least == NULL) return;
        detach(t, least);
        t->stats.evicted++;
    }
}

/* ---- the best chain ---- */

static enum chain_verdict connect(struct chain_tree *t, struct chain_block *b)
{
    enum chain_verdict verdict =
        chain_state_apply(&t->state, b->ops, b->op_count, b->height, &b->undo);
    if (verdict != CHAIN_OK) return verdict;
    b->best = true;
    t->side_blocks--;
    t->side_bytes -= b->size;
    t->tip = b;
    if (t->watch.connected != NULL) t->watch.connected(t->watch.context, b);
    return CHAIN_OK;
}

static void disconnect(struct chain_tree *t)
{
    struct chain_block *b = t->tip;
    chain_state_undo(&t->state, b->ops, b->op_count, &b->undo);
    b->best = false;
    t->side_blocks++;
    t->side_bytes += b->size;
    t->tip = b->parent;
    if (t->watch.disconnected != NULL) t->watch.disconnected(t->watch.context, b);
}

static struct chain_block *child_towards(struct chain_block *from, struct chain_block *descendant)
{
    while (descendant->parent != from)
        descendant = descendant->parent;
    return descendant;
}

static void mark_invalid(struct chain_block *root)
{
    /* Preorder without a stack: a branch may be thousands of blocks long. */
    for (struct chain_block *b = root;;) {
        b->invalid = true;
        if (b->first_child != NULL) {
            b = b->first_child;
            continue;
        }
        while (b != root && b->next_sibling == NULL)
            b = b->parent;
        if (b == root) return;
        b = b->next_sibling;
    }
}

/* Up to `target`, from an ancestor of it; on a failure the tip is where it got to. */
static enum chain_verdict walk_up(struct chain_tree *t, struct chain_block *target)
{
    while (t->tip != target) {
        struct chain_block *next = child_towards(t->tip, target);
        enum chain_verdict verdict = connect(t, next);
        if (verdict == CHAIN_OK) continue;
        if (verdict == CHAIN_DROP_REPLAY) mark_invalid(next);
        return verdict;
    }
    return CHAIN_OK;
}

static enum chain_verdict reorganise(struct chain_tree *t, struct chain_block *target)
{
    struct chain_block *old = t->tip, *fork = target;
    uint64_t undone = 0;
    while (!fork->best)
        fork = fork->parent;
    while (t->tip != fork) {
        undone += t->tip->op_count;
        disconnect(t);
    }
    enum chain_verdict verdict = walk_up(t, target);
    if (verdict != CHAIN_OK) {
        while (t->tip != fork)
            disconnect(t);
        /* What was applied before applies again; only memory can be missing, and then the chain is
         * shorter until the next block comes. */
        (void)walk_up(t, old);
        return verdict;
    }
    if (old == fork) return CHAIN_OK;
    t->stats.reorganisations++;
    t->stats.operations_undone += undone;
    if (old->height - fork->height > t->stats.reorganised_deepest)
        t->stats.reorganised_deepest = old->height - fork->height;
    return CHAIN_OK;
}

/* ---- taking a block ---- */

/* Against its parent. */
static enum chain_verdict check_context(const struct chain_tree *t,
                                        const struct chain_block *parent,
                                        const struct chain_header *h, uint64_t now_ms)
{
    if (parent->invalid) return CHAIN_DROP_PARENT;
    if (h->bits != chain_tree_bits(t, parent)) return CHAIN_DROP_BITS;
    if (h->time_ms <= chain_tree_median_time(parent)) return CHAIN_DROP_TIME;
    if (h->time_ms > now_ms + t->params.future_ms) return CHAIN_DROP_TIME;
    const struct chain_block *fork = parent;
    while (!fork->best)
        fork = fork->parent;
    if (t->tip->height - fork->height > t->limits.fork_depth) return CHAIN_DROP_DEEP;
    return t->blocks.count >= t->limits.blocks ? CHAIN_DROP_FULL : CHAIN_OK;
}

static void attach(struct chain_tree *t, struct chain_block *parent, struct chain_block *b)
{
    struct chain_u256 target, work;
    bool valid = chain_target(b->header.bits, &target);
    PBFT_ASSERT(valid);
    work = chain_work_of(&target);
    b->work = chain_u256_add(&parent->work, &work);
    b->height = parent->height + 1;
    b->parent = parent;
    b->next_sibling = parent->first_child;
    parent->first_child = b;
    b->arrival = ++t->arrivals;
    chain_table_add(&t->blocks, &b->link);
    t->side_blocks++;
    t->side_bytes += b->size;
}

static enum chain_verdict judge(struct chain_tree *t, struct pbft_span bytes, uint64_t now_ms)
{
    struct chain_header h;
    struct pbft_digest hash;
    enum chain_verdict verdict = chain_block_check_alone(&t->params, bytes, &h, &hash);
    if (verdict != CHAIN_OK) return verdict;
    if (chain_table_find(&t->blocks, &hash) != NULL) return CHAIN_DROP_DUPLICATE;
    struct chain_block *parent = (struct chain_block *)chain_table_find(&t->blocks, &h.parent);
    if (parent == NULL) return chain_orphan_keep(t, &hash, &h.parent, bytes);
    verdict = check_context(t, parent, &h, now_ms);
    if (verdict != CHAIN_OK) return verdict;
    struct chain_block *b = calloc(1, sizeof *b);
    if (b == NULL) return CHAIN_DROP_FULL;
    b->link.key = hash;
    b->header = h;
    verdict = chain_block_fill(t, b, bytes);
    if (verdict != CHAIN_OK) {
        block_free(b);
        return verdict;
    }
    attach(t, parent, b);
    if (chain_u256_compare(&b->work, &t->tip->work) > 0) verdict = reorganise(t, b);
    /* A block that failed is kept, marked: its children need no second look. */
    evict(t, b);
    return verdict;
}

enum chain_verdict chain_tree_add(struct chain_tree *t, struct pbft_span bytes, uint64_t now_ms)
{
    enum chain_verdict verdict = judge(t, bytes, now_ms);
    if (verdict == CHAIN_OK)
        t->stats.accepted++;
    else
        t->stats.dropped[verdict]++;
    for (uint8_t *waiting; verdict == CHAIN_OK && (waiting = chain_orphan_ready(t, &bytes)) != NULL;
         free(waiting)) {
        enum chain_verdict later = judge(t, bytes, now_ms);
        if (later == CHAIN_OK)
            t->stats.accepted++;
        else
            t->stats.dropped[later]++;
    }
    return verdict;
}
