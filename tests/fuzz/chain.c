/*
 * tests/fuzz/chain.c - what peers send to a node of the proof-of-work chain (bench/chain/node.h):
 * messages as they are, blocks whose work and root have been made to fit, and blocks of an
 * authentic operation that was changed. Bounds hold, and what is accepted is canonical and signed.
 */
#include "bench/chain/hash.h"
#include "bench/chain/node.h"
#include "crypto/keys.h"
#include "pbft/wire.h"
#include "service/kv.h"
#include "tests/fuzz/fuzz.h"

#define NOW_MS     UINT64_C(1800000000000)
#define EASY       0x207fffffu
#define POOL_BYTES 8192u
#define FRAMES     64u

static struct chain_params params;
static uint8_t request[1024]; /* signed for this chain */
static size_t request_size;
static size_t sent;

static void count_sent(void *context, uint32_t peer, struct pbft_span bytes)
{
    (void)context;
    (void)peer;
    sent += bytes.size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    params = chain_params_default();
    params.start_bits = params.limit_bits = EASY;
    params.block_max_bytes = 4096;
    params.retarget_blocks = 4;
    struct chain_header genesis;
    struct pbft_digest id;
    chain_genesis(&params, &genesis, &id);
    struct pbft_keypair client;
    pbft_keypair_from_seed(&client, (const uint8_t[32]){1});
    uint8_t op[64];
    struct pbft_span key = {(const uint8_t *)"key", 3}, value = {(const uint8_t *)"value", 5};
    struct pbft_span span = {op, pbft_kv_encode_put(op, sizeof op, key, value)};
    request_size = chain_operation_make(&client, &id, 1, 1, &span, 1, request, sizeof request);
    REQUIRE(request_size > 0);
    return 0;
}

/* As if its sender had done the work: parent, target, time, root and nonce fit. */
static void give_block(struct chain_node *n, const struct pbft_span *frames, uint32_t count,
                       uint64_t miner)
{
    size_t size = chain_block_bytes(frames, count);
    uint8_t *message = malloc(1 + size);
    REQUIRE(message != NULL);
    struct chain_header h = {.version = CHAIN_VERSION,
                             .bits = chain_tree_bits(&n->tree, n->tree.tip),
                             .parent = n->tree.tip->link.key,
                             .time_ms = n->tree.tip->header.time_ms + params.spacing_ms,
                             .miner = miner};
    message[0] = CHAIN_BLOCK;
    REQUIRE(chain_block_encode(&h, frames, count, message + 1));
    REQUIRE(chain_grind(&h, 1u << 20));
    chain_header_encode(&h, message + 1);
    (void)chain_node_receive(n, 1, (struct pbft_span){message, 1 + size}, NOW_MS);
    free(message);
}

static void check(const struct chain_node *n)
{
    REQUIRE(n->pool.bytes <= POOL_BYTES);
    REQUIRE(n->tree.orphan_count <= n->tree.limits.orphans);
    REQUIRE(n->tree.orphan_bytes <= n->tree.limits.orphan_bytes);
    REQUIRE(n->tree.side_blocks <= n->tree.limits.side_blocks + 1u);
    for (const struct chain_block *b = n->tree.tip; b->parent != NULL; b = b->parent) {
        struct pbft_span frames[FRAMES];
        struct chain_header h = b->header;
        uint8_t again[4096];
        REQUIRE(b->op_count <= FRAMES && b->size <= sizeof again);
        for (uint32_t i = 0; i < b->op_count; i++) {
            frames[i] = b->ops[i].frame;
            REQUIRE(chain_operation_signed(frames[i], &n->tree.id));
        }
        REQUIRE(chain_header_works(&b->link.key, h.bits));
        REQUIRE(chain_block_encode(&h, frames, b->op_count, again));
        REQUIRE(memcmp(again, b->bytes, b->size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chain_node node;
    struct chain_node_config config = {.params = params,
                                       .pool_bytes = POOL_BYTES,
                                       .limits = {.side_blocks = 8},
                                       .send = count_sent};
    struct fuzz f = {data, size};
    REQUIRE(chain_node_init(&node, &config));
    chain_node_up(&node, 1);
    node.peers[1].greeted = true;
    sent = 0;
    while (f.left > 0) {
        uint8_t mode = fuzz_u8(&f) % 3;
        struct pbft_span bytes = fuzz_bytes(&f, fuzz_number(&f, 2) % 2048);
        uint8_t *copy = fuzz_copy(bytes), changed[sizeof request];
        struct pbft_span frames[2] = {{copy, bytes.size}, {changed, request_size}};
        memcpy(changed, request, request_size);
        for (size_t i = 0; mode == 2 && i + 1 < bytes.size; i += 2)
            changed[bytes.data[i] % request_size] ^= bytes.data[i + 1];
        if (mode == 0)
            (void)chain_node_receive(&node, 1, frames[0], NOW_MS);
        else
            give_block(&node, &frames[mode - 1], 1, fuzz_u8(&f));
        free(copy);
    }
    check(&node);
    chain_node_free(&node);
    return 0;
}
