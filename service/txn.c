/* Transactions and views: the state tree behind a key prefix and the cluster's bounds. */
#include "service/txn.h"

#include <stdlib.h>
#include <string.h>

/* Keyspace byte, the longest key, and one byte more for a bound that lies behind it. */
#define KEY_BYTES (1u + 1024u + PBFT_TXN_KEY_SLACK + 1u)
_Static_assert(KEY_BYTES <= PBFT_TREE_KEY_MAX, "a service's key fits into the tree");

static size_t key_max(const struct pbft_params *p)
{
    return (size_t)p->key_max_bytes + PBFT_TXN_KEY_SLACK;
}

/* Copying also makes spans that were read from the tree good arguments of a change. */
static struct pbft_span key_make(uint8_t out[KEY_BYTES], struct pbft_span key)
{
    out[0] = PBFT_TXN_KEYSPACE;
    if (key.size > 0) memcpy(out + 1, key.data, key.size);
    return (struct pbft_span){out, key.size + 1};
}

/* A bound of a scan may be longer than any key. Cut off, with a zero behind it, it parts the keys
 * that can exist at the same place. */
static struct pbft_span bound_make(const struct pbft_params *p, uint8_t out[KEY_BYTES],
                                   struct pbft_span bound)
{
    if (bound.size <= key_max(p)) return key_make(out, bound);
    struct pbft_span made = key_make(out, (struct pbft_span){bound.data, key_max(p)});
    out[made.size] = 0;
    return (struct pbft_span){out, made.size + 1};
}

bool pbft_txn_init(struct pbft_txn *txn, struct pbft_tree *tree, const struct pbft_params *params)
{
    PBFT_ASSERT(params->key_max_bytes <= 1024 && params->value_max_bytes <= 1048576);
    uint8_t *value = malloc((size_t)params->value_max_bytes + PBFT_TXN_VALUE_SLACK);
    if (value == NULL) return false;
    *txn = (struct pbft_txn){.tree = tree, .params = params, .value = value};
    return true;
}

void pbft_txn_release(struct pbft_txn *txn)
{
    free(txn->value);
    txn->value = NULL;
}

const struct pbft_params *pbft_txn_params(const struct pbft_txn *txn)
{
    return txn->params;
}

const struct pbft_params *pbft_view_params(const struct pbft_view_txn *view)
{
    return view->params;
}

static bool tree_get(const struct pbft_tree *tree, const struct pbft_params *p,
                     struct pbft_span key, struct pbft_span *value, uint64_t *mark)
{
    uint8_t bytes[KEY_BYTES];
    struct pbft_span none;
    if (key.size > key_max(p)) return false; /* no such key in any state */
    return pbft_tree_get(tree, key_make(bytes, key), value != NULL ? value : &none, mark);
}

bool pbft_txn_get(struct pbft_txn *txn, struct pbft_span key, struct pbft_span *value)
{
    return tree_get(txn->tree, txn->params, key, value, NULL);
}

bool pbft_txn_put2(struct pbft_txn *txn, struct pbft_span key, struct pbft_span head,
                   struct pbft_span tail)
{
    PBFT_ASSERT(txn->scanning == 0);
    size_t value_max = (size_t)txn->params->value_max_bytes + PBFT_TXN_VALUE_SLACK;
    if (key.size > key_max(txn->params)) return false;
    if (head.size > value_max || tail.size > value_max - head.size) return false;

    uint8_t bytes[KEY_BYTES];
    if (head.size > 0) memcpy(txn->value, head.data, head.size);
    if (tail.size > 0) memcpy(txn->value + head.size, tail.data, tail.size);
    struct pbft_span value = {txn->value, head.size + tail.size};
    enum pbft_status status = pbft_tree_put(txn->tree, key_make(bytes, key), value, txn->mark);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    return true;
}

bool pbft_txn_put(struct pbft_txn *txn, struct pbft_span key, struct pbft_span value)
{
    return pbft_txn_put2(txn, key, value, (struct pbft_span){NULL, 0});
}

bool pbft_txn_delete(struct pbft_txn *txn, struct pbft_span key)
{
    PBFT_ASSERT(txn->scanning == 0);
    uint8_t bytes[KEY_BYTES];
    if (key.size > key_max(txn->params)) return false;
    return pbft_tree_delete(txn->tree, key_make(bytes, key), txn->mark);
}

struct scan {
    pbft_txn_scan_fn each;
    void *context;
};

static bool scan_each(void *context, struct pbft_span key, struct pbft_span value)
{
    const struct scan *s = context;
    return s->each(s->context, (struct pbft_span){key.data + 1, key.size - 1}, value);
}

static void tree_scan(const struct pbft_tree *tree, const struct pbft_params *p,
                      struct pbft_span from, struct pbft_span to, struct scan scan, uint64_t *mark)
{
    static const uint8_t end[1] = {PBFT_TXN_KEYSPACE + 1};
    uint8_t from_bytes[KEY_BYTES];
    uint8_t to_bytes[KEY_BYTES];
    struct pbft_span upper = {end, sizeof end};
    if (to.size > 0) upper = bound_make(p, to_bytes, to);
    pbft_tree_scan(tree, bound_make(p, from_bytes, from), upper, scan_each, &scan, mark);
}

void pbft_txn_scan(struct pbft_txn *txn, struct pbft_span from, struct pbft_span to,
                   pbft_txn_scan_fn each, void *context)
{
    txn->scanning++;
    tree_scan(txn->tree, txn->params, from, to, (struct scan){each, context}, NULL);
    txn->scanning--;
}

bool pbft_view_get(struct pbft_view_txn *view, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark)
{
    uint64_t read = 0;
    bool found = tree_get(view->tree, view->params, key, value, &read);
    if (read > *mark) *mark = read;
    return found;
}

void pbft_view_prefetch(struct pbft_view_txn *view, struct pbft_span key)
{
    uint8_t bytes[KEY_BYTES];
    struct pbft_span none = {NULL, 0};
    pbft_tree_prefetch(view->tree, key.size <= key_max(view->params) ? key_make(bytes, key) : none);
}

void pbft_view_scan(struct pbft_view_txn *view, struct pbft_span from, struct pbft_span to,
                    pbft_txn_scan_fn each, void *context, uint64_t *mark)
{
    uint64_t read = 0;
    tree_scan(view->tree, view->params, from, to, (struct scan){each, context}, &read);
    if (read > *mark) *mark = read;
}
