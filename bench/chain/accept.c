/* bench/chain/accept.c - a block by itself, its operations, and blocks that wait for a parent. */
#include "bench/chain/hash.h"
#include "bench/chain/tree_internal.h"

#include <stdlib.h>
#include <string.h>

struct chain_orphan {
    struct chain_orphan *next; /* the newest first */
    struct pbft_digest hash, parent;
    size_t size;
    uint8_t *bytes;
};

enum chain_verdict chain_block_check_alone(const struct chain_params *p, struct pbft_span bytes,
                                           struct chain_header *h, struct pbft_digest *hash)
{
    struct chain_reader r;
    struct chain_u256 target, limit;
    if (bytes.size > p->block_max_bytes) return CHAIN_DROP_SIZE;
    if (!chain_block_read(bytes, h, &r)) return CHAIN_DROP_MALFORMED;
    if (h->version != CHAIN_VERSION) return CHAIN_DROP_VERSION;
    /* An easier target than any chain of these parameters has would make orphans free. */
    if (!chain_target(h->bits, &target) || !chain_target(p->limit_bits, &limit) ||
        chain_u256_compare(&target, &limit) > 0)
        return CHAIN_DROP_BITS;
    chain_header_hash(hash, h);
    return chain_header_works(hash, h->bits) ? CHAIN_OK : CHAIN_DROP_WORK;
}

static int by_slot(const void *a, const void *b)
{
    return pbft_digest_compare(a, b);
}

/* No slot twice in one block. */
static enum chain_verdict check_slots(const struct chain_block *b)
{
    if (b->op_count < 2) return CHAIN_OK;
    struct pbft_digest *slots = calloc(b->op_count, sizeof *slots);
    if (slots == NULL) return CHAIN_DROP_FULL;
    for (uint32_t i = 0; i < b->op_count; i++)
        slots[i] = b->ops[i].slot;
    qsort(slots, b->op_count, sizeof *slots, by_slot);
    bool twice = false;
    for (uint32_t i = 1; i < b->op_count; i++)
        twice = twice || pbft_digest_equal(&slots[i - 1], &slots[i]);
    free(slots);
    return twice ? CHAIN_DROP_REPLAY : CHAIN_OK;
}

static enum chain_verdict check_merkle(const struct chain_block *b)
{
    struct pbft_digest root;
    struct pbft_digest *leaves = calloc(b->op_count == 0 ? 1 : b->op_count, sizeof *leaves);
    if (leaves == NULL) return CHAIN_DROP_FULL;
    for (uint32_t i = 0; i < b->op_count; i++)
        chain_merkle_leaf(&leaves[i], b->ops[i].frame);
    chain_merkle_root(&root, leaves, b->op_count);
    free(leaves);
    return pbft_digest_equal(&root, &b->header.merkle) ? CHAIN_OK : CHAIN_DROP_MERKLE;
}

static enum chain_verdict check_signatures(struct chain_tree *t, const struct chain_block *b)
{
    for (uint32_t i = 0; i < b->op_count; i++) {
        if (t->watch.verified != NULL && t->watch.verified(t->watch.context, &b->ops[i])) continue;
        t->stats.signatures++;
        if (!chain_operation_signed(b->ops[i].frame, &t->id)) return CHAIN_DROP_SIGNATURE;
    }
    return CHAIN_OK;
}

enum chain_verdict chain_block_fill(struct chain_tree *t, struct chain_block *b,
                                    struct pbft_span bytes)
{
    struct chain_header h;
    struct chain_reader r;
    b->size = bytes.size;
    b->bytes = malloc(bytes.size);
    if (b->bytes == NULL) return CHAIN_DROP_FULL;
    memcpy(b->bytes, bytes.data, bytes.size);
    if (!chain_block_read((struct pbft_span){b->bytes, b->size}, &h, &r))
        return CHAIN_DROP_MALFORMED;
    b->ops = calloc(r.count == 0 ? 1 : r.count, sizeof *b->ops);
    if (b->ops == NULL) return CHAIN_DROP_FULL;
    struct pbft_span frame;
    uint32_t count = r.count;
    while (b->op_count < count && chain_reader_next(&r, &frame)) {
        enum chain_verdict verdict = chain_operation_read(frame, &b->ops[b->op_count]);
        if (verdict != CHAIN_OK) return verdict;
        b->op_count++;
    }
    if (r.bad || b->op_count != count) return CHAIN_DROP_MALFORMED;
    enum chain_verdict verdict = check_merkle(b);
    if (verdict == CHAIN_OK) verdict = check_slots(b);
    return verdict == CHAIN_OK ? check_signatures(t, b) : verdict;
}

/* ---- orphans ---- */

/* The list's last, or the one at `at`, is taken out; its bytes are the caller's. */
static uint8_t *take(struct chain_tree *t, struct chain_orphan **at, struct pbft_span *bytes)
{
    struct chain_orphan *o = *at;
    uint8_t *memory = o->bytes;
    *at = o->next;
    *bytes = (struct pbft_span){memory, o->size};
    t->orphan_count--;
    t->orphan_bytes -= o->size;
    free(o);
    return memory;
}

static void drop_oldest(struct chain_tree *t)
{
    struct chain_orphan **at = &t->orphans;
    struct pbft_span bytes;
    while ((*at)->next != NULL)
        at = &(*at)->next;
    free(take(t, at, &bytes));
}

enum chain_verdict chain_orphan_keep(struct chain_tree *t, const struct pbft_digest *hash,
                                     const struct pbft_digest *parent, struct pbft_span bytes)
{
    for (const struct chain_orphan *o = t->orphans; o != NULL; o = o->next)
        if (pbft_digest_equal(&o->hash, hash)) return CHAIN_DROP_DUPLICATE;
    struct chain_orphan *o = malloc(sizeof *o);
    uint8_t *copy = malloc(bytes.size);
    if (o == NULL || copy == NULL) {
        free(o);
        free(copy);
        return CHAIN_DROP_FULL;
    }
    memcpy(copy, bytes.data, bytes.size);
    *o = (struct chain_orphan){t->orphans, *hash, *parent, bytes.size, copy};
    t->orphans = o;
    t->orphan_count++;
    t->orphan_bytes += bytes.size;
    while (t->orphans != NULL &&
           (t->orphan_count > t->limits.orphans || t->orphan_bytes > t->limits.orphan_bytes))
        drop_oldest(t);
    return CHAIN_DROP_ORPHAN;
}

uint8_t *chain_orphan_ready(struct chain_tree *t, struct pbft_span *bytes)
{
    for (struct chain_orphan **at = &t->orphans; *at != NULL; at = &(*at)->next)
        if (chain_table_find(&t->blocks, &(*at)->parent) != NULL) return take(t, at, bytes);
    return NULL;
}

void chain_orphans_free(struct chain_tree *t)
{
    struct pbft_span bytes;
    while (t->orphans != NULL)
        free(take(t, &t->orphans, &bytes));
}
