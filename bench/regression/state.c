/* Rows of the state: the service's operations, the tree below them, and what a checkpoint hashes
 * when some keys have changed. */
#include "bench/regression/regression.h"

#include "service/kv.h"
#include "service/txn.h"

#define KEYS    100000u
#define OPS     20000u
#define CHANGED 1000u

struct world {
    struct pbft_tree *tree;
    struct pbft_params params;
    struct pbft_txn txn;
    struct pbft_public_key client;
    uint64_t random;
    pbft_seq seq;
};

static void execute(struct world *w, struct pbft_span op)
{
    uint8_t bytes[512];
    struct pbft_result result = {.bytes = bytes, .capacity = sizeof bytes};
    struct pbft_call call = {.client = &w->client, .session = 1, .t = w->seq, .seq = w->seq};
    pbft_kv_service.execute(pbft_kv_service.context, &w->txn, &call, op, &result);
    struct pbft_kv_result kv;
    must(!result.overflow && pbft_kv_decode_result((struct pbft_span){bytes, result.size}, &kv) &&
             kv.status == PBFT_KV_OK,
         "the service did not do an operation");
}

static void kv(struct world *w)
{
    uint8_t op[OP_BYTES];
    for (uint64_t key = 0; key < KEYS; key++)
        execute(w, put_of(key, key, op));
    count_begin();
    for (unsigned i = 0; i < OPS; i++) {
        w->txn.mark = ++w->seq;
        execute(w, put_of(next_random(&w->random) % KEYS, i, op));
    }
    count_end("kv-put", OPS);
    count_begin();
    for (unsigned i = 0; i < OPS; i++)
        execute(w, get_of(next_random(&w->random) % KEYS, op));
    count_end("kv-get", OPS);
}

static void hash(struct world *w)
{
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(w->tree);
    must(snapshot != NULL, "out of memory");
    (void)pbft_snapshot_hash(snapshot, SIZE_MAX);
    pbft_snapshot_release(snapshot);
}

/* As a replica does it: keys of all the state change, then its root is wanted. */
static void checkpoint(struct world *w)
{
    uint8_t op[OP_BYTES];
    hash(w);
    w->txn.mark = ++w->seq;
    for (unsigned i = 0; i < CHANGED; i++)
        execute(w, put_of(next_random(&w->random) % KEYS, i, op));
    count_begin();
    hash(w);
    count_end("checkpoint", CHANGED);
}

/* Another tree: what the service adds to a key and a value is not in it. */
static void tree(struct world *w)
{
    struct pbft_tree *t = NULL;
    uint8_t key[KEY_BYTES], value[VALUE_BYTES] = {0};
    must(pbft_tree_create(&t, NULL) == PBFT_STATUS_OK, "out of memory");
    for (uint64_t number = 0; number < KEYS; number++)
        must(pbft_tree_put(t, key_of(number, key), (struct pbft_span){value, sizeof value}, 1) ==
                 PBFT_STATUS_OK,
             "a put into the tree failed");
    count_begin();
    for (unsigned i = 0; i < OPS; i++) {
        value[0] = (uint8_t)i;
        must(pbft_tree_put(t, key_of(next_random(&w->random) % KEYS, key),
                           (struct pbft_span){value, sizeof value}, 2) == PBFT_STATUS_OK,
             "a put into the tree failed");
    }
    count_end("tree-put", OPS);
    count_begin();
    for (unsigned i = 0; i < OPS; i++)
        must(pbft_tree_get(t, key_of(next_random(&w->random) % KEYS, key), NULL, NULL),
             "a key is not in the tree");
    count_end("tree-get", OPS);
    pbft_tree_destroy(t);
}

void rows_state(void)
{
    struct world w = {.params = pbft_params_default(4), .random = 1, .seq = 1};
    must(pbft_tree_create(&w.tree, NULL) == PBFT_STATUS_OK &&
             pbft_txn_init(&w.txn, w.tree, &w.params),
         "out of memory");
    w.txn.mark = w.seq;
    kv(&w);
    checkpoint(&w);
    pbft_txn_release(&w.txn);
    pbft_tree_destroy(w.tree);
    tree(&w);
}
