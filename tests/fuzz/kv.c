/*
 * tests/fuzz/kv.c - operations of the coordination service with hostile bytes, on a real tree
 * (tests/fuzz/kv_codec.c has what only decodes them, and their results).
 *
 * Two trees execute the same operations; one of them is hashed, snapshotted and rolled back at the
 * input's whim and executes what it undid again: the roots agree at the end. An operation that is
 * refused, compares unequal or only reads leaves the root alone.
 *
 * Input: operations: u8 how, u8 size, bytes.
 */
#include "service/kv_codec.h"
#include "service/txn.h"
#include "tests/fuzz/fuzz.h"

#define OPS_MAX      48u
#define RESULT_BYTES 512u

static struct pbft_params params;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    params = pbft_params_default(4);
    params.key_max_bytes = 8;
    params.value_max_bytes = 64;
    return 0;
}

struct side {
    struct pbft_tree *tree;
    struct pbft_txn txn;
};

static struct side side_new(void)
{
    static const struct pbft_tree_config config = {128, 128};
    struct side side;
    REQUIRE(pbft_tree_create(&side.tree, &config) == PBFT_STATUS_OK);
    REQUIRE(pbft_txn_init(&side.txn, side.tree, &params));
    return side;
}

static void side_free(struct side *side)
{
    pbft_txn_release(&side->txn);
    pbft_tree_destroy(side->tree);
}

static struct pbft_digest root_of(struct pbft_tree *tree)
{
    struct pbft_digest root;
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    REQUIRE(snapshot != NULL);
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    return root;
}

/* ---- execution ---- */

static size_t execute(struct side *side, uint64_t seq, struct pbft_span op, uint8_t *result,
                      size_t capacity, bool *overflow)
{
    static const struct pbft_public_key client = {{1}};
    struct pbft_call call = {.client = &client, .session = 1, .t = seq, .seq = seq, .time_ns = seq};
    struct pbft_result r = {.bytes = result, .capacity = capacity};
    side->txn.mark = seq;
    pbft_kv_service.execute(NULL, &side->txn, &call, op, &r);
    REQUIRE(r.size <= r.capacity);
    *overflow = r.overflow;
    return r.size;
}

static bool changes(const struct pbft_kv_result *r)
{
    return r->status == PBFT_KV_OK &&
           (r->op == PBFT_KV_PUT || r->op == PBFT_KV_DELETE || r->op == PBFT_KV_CAS);
}

/* The fast path says what the ordered one does, but for the change mark. */
static void check_query(struct side *side, struct pbft_span op, struct pbft_span ordered,
                        size_t capacity, bool overflow)
{
    uint8_t bytes[RESULT_BYTES];
    uint64_t mark = 0;
    struct pbft_view_txn view = {side->tree, &params};
    struct pbft_result r = {.bytes = bytes, .capacity = capacity};
    pbft_kv_service.query(NULL, &view, op, &r, &mark);
    if (op.size == 0 || (op.data[0] != PBFT_KV_GET && op.data[0] != PBFT_KV_RANGE)) return;
    REQUIRE(r.overflow == overflow && mark <= side->txn.mark);
    REQUIRE(overflow || fuzz_same((struct pbft_span){bytes, r.size}, ordered));
}

static void operation(struct side *a, struct side *b, struct fuzz *f, uint64_t seq)
{
    uint8_t how = fuzz_u8(f);
    struct pbft_span input = fuzz_bytes(f, fuzz_u8(f));
    uint8_t *bytes = fuzz_copy(input);
    struct pbft_span op = {bytes, input.size};
    uint8_t first[RESULT_BYTES], second[RESULT_BYTES];
    struct pbft_kv_result r = {0};
    struct pbft_kv_request q;
    bool decodes = pbft_kv_decode_op(op, &params, &q);

    size_t capacity = how & 1u ? RESULT_BYTES : (how >> 4) * 8u;
    bool watched = (how & 2u) != 0, overflow, again;
    struct pbft_digest before = {{0}}, after;
    if (watched) before = root_of(a->tree);
    if (how & 4u) { /* undone, and done again */
        struct pbft_snapshot *snapshot = pbft_tree_snapshot(a->tree);
        REQUIRE(snapshot != NULL);
        (void)execute(a, seq, op, first, capacity, &overflow);
        if (how & 8u) (void)pbft_snapshot_hash(snapshot, 3);
        pbft_tree_rollback(a->tree, snapshot);
        pbft_snapshot_release(snapshot);
        if (watched) {
            after = root_of(a->tree);
            REQUIRE(pbft_digest_equal(&before, &after));
        }
    }
    size_t size = execute(a, seq, op, first, capacity, &overflow);
    struct pbft_span result = {first, size};
    REQUIRE(execute(b, seq, op, second, capacity, &again) == size && overflow == again);
    REQUIRE(overflow || fuzz_same(result, (struct pbft_span){second, size}));
    if (!overflow) {
        REQUIRE(pbft_kv_decode_result(result, &r));
        REQUIRE((r.status == PBFT_KV_BAD_REQUEST) == !decodes);
    }
    if (watched && (overflow || !changes(&r))) {
        after = root_of(a->tree);
        REQUIRE(r.op == PBFT_KV_DELETE || pbft_digest_equal(&before, &after));
        REQUIRE(!overflow || pbft_digest_equal(&before, &after));
    }
    check_query(b, op, result, capacity, overflow);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct side a = side_new(), b = side_new();
    for (uint64_t seq = 1; seq <= OPS_MAX && f.left > 0; seq++)
        operation(&a, &b, &f, seq);
    struct pbft_digest one = root_of(a.tree), two = root_of(b.tree);
    REQUIRE(pbft_digest_equal(&one, &two));
    side_free(&a);
    side_free(&b);
    return 0;
}
