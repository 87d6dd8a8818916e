#include "bench/chain/pool.h"

#include <stdlib.h>
#include <string.h>

#define COST 256u /* of an entry beside its frame */

struct chain_pooled {
    struct chain_link link; /* slot */
    struct chain_pooled *before, *after;
    struct chain_operation op;
    uint8_t frame[];
};

bool chain_pool_init(struct chain_pool *p, uint64_t bytes_max, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    p->bytes_max = bytes_max;
    return chain_table_init(&p->slots, seed);
}

void chain_pool_free(struct chain_pool *p)
{
    for (struct chain_pooled *e = p->first, *after; e != NULL; e = after) {
        after = e->after;
        free(e);
    }
    chain_table_free(&p->slots);
    memset(p, 0, sizeof *p);
}

const struct chain_operation *chain_pool_find(const struct chain_pool *p,
                                              const struct pbft_digest *slot)
{
    const struct chain_pooled *e = (const struct chain_pooled *)chain_table_find(&p->slots, slot);
    return e == NULL ? NULL : &e->op;
}

bool chain_pool_add(struct chain_pool *p, const struct chain_operation *op, bool front)
{
    if (p->bytes + op->frame.size + COST > p->bytes_max) return false;
    struct chain_pooled *e = malloc(sizeof *e + op->frame.size);
    if (e == NULL) return false;
    memcpy(e->frame, op->frame.data, op->frame.size);
    e->op = *op;
    e->op.frame.data = e->frame;
    e->op.ops.data = e->frame + (op->ops.data - op->frame.data);
    e->link.key = op->slot;
    chain_table_add(&p->slots, &e->link);
    e->before = front ? NULL : p->last;
    e->after = front ? p->first : NULL;
    *(e->before == NULL ? &p->first : &e->before->after) = e;
    *(e->after == NULL ? &p->last : &e->after->before) = e;
    p->bytes += op->frame.size + COST;
    return true;
}

void chain_pool_remove(struct chain_pool *p, const struct pbft_digest *slot)
{
    struct chain_pooled *e = (struct chain_pooled *)chain_table_find(&p->slots, slot);
    if (e == NULL) return;
    chain_table_remove(&p->slots, &e->link);
    *(e->before == NULL ? &p->first : &e->before->after) = e->after;
    *(e->after == NULL ? &p->last : &e->after->before) = e->before;
    p->bytes -= e->op.frame.size + COST;
    free(e);
}

uint32_t chain_pool_pick(const struct chain_pool *p, size_t block_bytes, struct pbft_span *frames,
                         uint32_t max)
{
    uint32_t count = 0;
    size_t used = CHAIN_BLOCK_MIN_BYTES;
    for (const struct chain_pooled *e = p->first; e != NULL && count < max; e = e->after) {
        if (e->op.frame.size + 4 > block_bytes - used) break;
        used += e->op.frame.size + 4;
        frames[count++] = e->op.frame;
    }
    return count;
}
