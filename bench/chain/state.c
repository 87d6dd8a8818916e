#include "bench/chain/state.h"

#include "bench/chain/hash.h"
#include "pbft/wire.h"
#include "service/kv_codec.h"

#include <stdlib.h>
#include <string.h>

struct value {
    struct chain_link link;
    uint32_t key_size, size;
    uint8_t bytes[]; /* key, value */
};

struct executed {
    struct chain_link link; /* slot */
    struct pbft_digest id;
    uint64_t height;
};

/* One of `was` and `is` may be NULL: created, deleted. */
struct chain_change {
    struct chain_change *before;
    struct value *was; /* owned by the change */
    struct value *is;  /* owned by the state */
};

bool chain_state_init(struct chain_state *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    return chain_table_init(&s->values, seed) && chain_table_init(&s->executed, seed ^ 1u);
}

static void table_clear(struct chain_table *t)
{
    struct chain_walk walk = {0, NULL};
    for (struct chain_link *link; (link = chain_table_walk(t, &walk)) != NULL;)
        free(link);
    chain_table_free(t);
}

void chain_state_free(struct chain_state *s)
{
    table_clear(&s->values);
    table_clear(&s->executed);
}

static struct value *value_new(const struct pbft_digest *hash, struct pbft_span key,
                               struct pbft_span bytes)
{
    struct value *v = malloc(sizeof *v + key.size + bytes.size);
    if (v == NULL) return NULL;
    v->link.key = *hash;
    v->key_size = (uint32_t)key.size;
    v->size = (uint32_t)bytes.size;
    memcpy(v->bytes, key.data, key.size);
    if (bytes.size > 0) memcpy(v->bytes + key.size, bytes.data, bytes.size);
    return v;
}

/* One operation of a REQUEST. False: out of memory, nothing has changed. */
static bool execute(struct chain_state *s, struct pbft_span bytes, struct chain_undo *undo)
{
    struct pbft_params p = pbft_params_default(PBFT_REPLICAS_MIN);
    struct pbft_kv_request op;
    if (!pbft_kv_decode_op(bytes, &p, &op)) return true;
    if (op.op != PBFT_KV_PUT && op.op != PBFT_KV_DELETE) return true;
    struct pbft_digest hash;
    chain_sha256d(&hash, op.key.data, op.key.size);
    struct chain_link *was = chain_table_find(&s->values, &hash);
    if (was == NULL && op.op == PBFT_KV_DELETE) return true;
    struct chain_change *change = malloc(sizeof *change);
    struct value *is = op.op == PBFT_KV_PUT ? value_new(&hash, op.key, op.value) : NULL;
    if (change == NULL || (is == NULL && op.op == PBFT_KV_PUT)) {
        free(change);
        free(is);
        return false;
    }
    if (was != NULL) chain_table_remove(&s->values, was);
    if (is != NULL) chain_table_add(&s->values, &is->link);
    *change = (struct chain_change){undo->last, (struct value *)was, is};
    undo->last = change;
    return true;
}

static enum chain_verdict run(struct chain_state *s, const struct chain_operation *op,
                              uint64_t height, struct chain_undo *undo)
{
    if (chain_table_find(&s->executed, &op->slot) != NULL) return CHAIN_DROP_REPLAY;
    struct executed *e = malloc(sizeof *e);
    if (e == NULL) return CHAIN_DROP_FULL;
    e->link.key = op->slot;
    e->id = op->id;
    e->height = height;
    chain_table_add(&s->executed, &e->link);
    size_t cursor = 0;
    struct pbft_span item;
    while (pbft_wire_next_item(op->ops, &cursor, &item))
        if (!execute(s, item, undo)) return CHAIN_DROP_FULL;
    return CHAIN_OK;
}

/* Each slot that this block took; a replayed one belongs to another block and stays. */
static void forget(struct chain_state *s, const struct chain_operation *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct chain_link *link = chain_table_find(&s->executed, &ops[i].slot);
        if (link == NULL) continue;
        chain_table_remove(&s->executed, link);
        free(link);
    }
}

enum chain_verdict chain_state_apply(struct chain_state *s, const struct chain_operation *ops,
                                     uint32_t count, uint64_t height, struct chain_undo *undo)
{
    PBFT_ASSERT(undo->last == NULL);
    for (uint32_t i = 0; i < count; i++) {
        enum chain_verdict verdict = run(s, &ops[i], height, undo);
        if (verdict == CHAIN_OK) continue;
        chain_state_undo(s, ops, verdict == CHAIN_DROP_REPLAY ? i : i + 1, undo);
        return verdict;
    }
    return CHAIN_OK;
}

void chain_state_undo(struct chain_state *s, const struct chain_operation *ops, uint32_t count,
                      struct chain_undo *undo)
{
    while (undo->last != NULL) {
        struct chain_change *change = undo->last;
        undo->last = change->before;
        if (change->is != NULL) chain_table_remove(&s->values, &change->is->link);
        free(change->is);
        if (change->was != NULL) chain_table_add(&s->values, &change->was->link);
        free(change);
    }
    forget(s, ops, count);
}

void chain_undo_free(struct chain_undo *undo)
{
    while (undo->last != NULL) {
        struct chain_change *change = undo->last;
        undo->last = change->before;
        free(change->was);
        free(change);
    }
}

bool chain_state_get(const struct chain_state *s, struct pbft_span key, struct pbft_span *value)
{
    struct pbft_digest hash;
    chain_sha256d(&hash, key.data, key.size);
    const struct value *v = (const struct value *)chain_table_find(&s->values, &hash);
    if (v == NULL) return false;
    *value = (struct pbft_span){v->bytes + v->key_size, v->size};
    return true;
}

const struct pbft_digest *chain_state_executed(const struct chain_state *s,
                                               const struct pbft_digest *slot, uint64_t *height)
{
    const struct executed *e = (const struct executed *)chain_table_find(&s->executed, slot);
    if (e == NULL) return NULL;
    if (height != NULL) *height = e->height;
    return &e->id;
}

void chain_state_digest(const struct chain_state *s, struct pbft_digest *out)
{
    struct chain_walk walk = {0, NULL};
    memset(out, 0, sizeof *out);
    for (struct chain_link *link; (link = chain_table_walk(&s->values, &walk)) != NULL;) {
        const struct value *v = (const struct value *)link;
        struct pbft_digest parts[2], both;
        parts[0] = link->key;
        chain_sha256d(&parts[1], v->bytes + v->key_size, v->size);
        chain_sha256d(&both, parts[0].bytes, sizeof parts);
        for (size_t i = 0; i < sizeof out->bytes; i++)
            out->bytes[i] ^= both.bytes[i];
    }
}
