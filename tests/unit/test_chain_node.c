/* Gossip, the pool, and hostile peers (bench/chain/node.h). */
#include "tests/unit/chain_fixture.h"

#define NODES 3u
#define QUEUE 4096u

/* Every node is every other's peer by its number; messages wait in one queue until delivered. */
struct letter {
    uint32_t from, to;
    uint8_t *bytes;
    size_t size;
};
static struct chain_node nodes[NODES];
static uint32_t numbers[NODES];
static struct letter queue[QUEUE];
static size_t head, tail;
static bool cut[NODES][NODES];
static uint64_t now;

static void post(void *context, uint32_t peer, struct pbft_span bytes)
{
    uint32_t from = *(uint32_t *)context;
    if (cut[from][peer]) return;
    cr_assert_lt(tail, QUEUE);
    struct letter *l = &queue[tail++];
    *l = (struct letter){from, peer, malloc(bytes.size), bytes.size};
    memcpy(l->bytes, bytes.data, bytes.size);
}

static void deliver(void)
{
    for (; head < tail; head++) {
        struct letter *l = &queue[head];
        now++;
        if (!cut[l->from][l->to])
            (void)chain_node_receive(&nodes[l->to], l->from, (struct pbft_span){l->bytes, l->size},
                                     now);
        free(l->bytes);
    }
    head = tail = 0;
}

static void link_up(uint32_t a, uint32_t b)
{
    cut[a][b] = cut[b][a] = false;
    chain_node_up(&nodes[a], b);
    chain_node_up(&nodes[b], a);
}

static void link_down(uint32_t a, uint32_t b)
{
    cut[a][b] = cut[b][a] = true;
    chain_node_down(&nodes[a], b);
    chain_node_down(&nodes[b], a);
}

static void open_nodes(void)
{
    now = NOW_MS;
    for (uint32_t i = 0; i < NODES; i++) {
        numbers[i] = i;
        struct chain_node_config config = {.params = easy_params(),
                                           .miner = i + 1,
                                           .seed = i,
                                           .pool_bytes = 8192,
                                           .context = &numbers[i],
                                           .send = post};
        cr_assert(chain_node_init(&nodes[i], &config));
    }
    for (uint32_t i = 0; i < NODES; i++)
        for (uint32_t j = 0; j < i; j++)
            link_up(i, j);
    deliver();
}

static void close_nodes(void)
{
    for (; head < tail; head++)
        free(queue[head].bytes);
    for (uint32_t i = 0; i < NODES; i++)
        chain_node_free(&nodes[i]);
}

TestSuite(chain_node, .init = open_nodes, .fini = close_nodes);

static void mine(uint32_t i)
{
    struct chain_template t;
    now += 1000;
    cr_assert(chain_node_template(&nodes[i], now, &t));
    cr_assert(chain_grind(&t.header, 1u << 24));
    cr_assert_eq(chain_node_mined(&nodes[i], &t, now), CHAIN_OK);
    chain_template_free(&t);
}

static bool same_tips(void)
{
    for (uint32_t i = 1; i < NODES; i++)
        if (!pbft_digest_equal(&nodes[i].tree.tip->link.key, &nodes[0].tree.tip->link.key))
            return false;
    return true;
}

Test(chain_node, operations_and_blocks_reach_everybody)
{
    struct bytes op = put(&nodes[0].tree.id, 1, 1, "x", "1");
    cr_assert_eq(chain_node_submit(&nodes[0], span_of(&op)), CHAIN_OK);
    cr_expect_eq(chain_node_submit(&nodes[0], span_of(&op)), CHAIN_DROP_DUPLICATE);
    deliver();
    cr_expect_eq(nodes[2].stats.operations, 1);
    mine(2);
    deliver();
    cr_expect(same_tips());
    for (uint32_t i = 0; i < NODES; i++) {
        cr_expect(has(&nodes[i].tree, "x", "1"));
        cr_expect_null(nodes[i].pool.first);
    }
    cr_expect_eq(nodes[1].tree.stats.signatures, 0, "what the pool verified is not verified again");
    struct bytes other = put(&nodes[0].tree.id, 1, 1, "x", "2");
    cr_expect_eq(chain_node_submit(&nodes[0], span_of(&other)), CHAIN_DROP_REPLAY);
}

Test(chain_node, a_partition_heals_and_operations_come_back)
{
    mine(0);
    deliver();
    link_down(2, 0);
    link_down(2, 1);
    struct bytes lost = put(&nodes[0].tree.id, 1, 1, "x", "minority"),
                 kept = put(&nodes[0].tree.id, 2, 1, "y", "majority"),
                 spend = put(&nodes[0].tree.id, 3, 1, "z", "minority"),
                 again = put(&nodes[0].tree.id, 3, 1, "z", "majority");
    cr_assert_eq(chain_node_submit(&nodes[2], span_of(&lost)), CHAIN_OK);
    cr_assert_eq(chain_node_submit(&nodes[2], span_of(&spend)), CHAIN_OK);
    cr_assert_eq(chain_node_submit(&nodes[0], span_of(&kept)), CHAIN_OK);
    cr_assert_eq(chain_node_submit(&nodes[1], span_of(&again)), CHAIN_OK);
    for (unsigned i = 0; i < 100; i++) {
        mine(i % 2);
        deliver();
    }
    mine(2);
    mine(2);
    cr_expect(has(&nodes[2].tree, "x", "minority") && has(&nodes[2].tree, "z", "minority"));
    link_up(2, 0);
    link_up(2, 1);
    deliver();
    cr_expect(same_tips());
    cr_expect_eq(nodes[2].tree.stats.reorganised_deepest, 2);
    cr_expect(has(&nodes[2].tree, "x", NULL) && has(&nodes[2].tree, "y", "majority"));
    cr_expect(has(&nodes[2].tree, "z", "majority"), "the other one of the two that he signed");
    cr_expect_eq(nodes[2].stats.returned, 2);
    mine(2);
    deliver();
    cr_expect(same_tips() && has(&nodes[0].tree, "x", "minority"), "x got into another block");
    cr_expect(has(&nodes[0].tree, "z", "majority"));
    cr_expect_null(nodes[2].pool.first);
}

static enum chain_verdict from_peer(uint8_t type, const void *bytes, size_t size)
{
    uint8_t message[8192] = {type};
    if (size > 0) memcpy(message + 1, bytes, size);
    return chain_node_receive(&nodes[0], 1, (struct pbft_span){message, size + 1}, now);
}

Test(chain_node, strangers_are_greeted_first_and_liars_banned)
{
    struct bytes op = put(&nodes[0].tree.id, 1, 1, "x", "1");
    chain_node_down(&nodes[0], 1);
    chain_node_up(&nodes[0], 1);
    cr_expect_eq(from_peer(CHAIN_OPERATION, op.at, op.size), CHAIN_DROP_CHAIN);
    uint8_t hello[76] = {1};
    cr_expect_eq(from_peer(CHAIN_HELLO, hello, sizeof hello), CHAIN_DROP_CHAIN);
    cr_expect_eq(from_peer(CHAIN_HELLO, hello, 75), CHAIN_DROP_MALFORMED);
    memcpy(hello + 4, nodes[0].tree.id.bytes, 32);
    memcpy(hello + 44, nodes[0].tree.id.bytes, 32);
    cr_expect_eq(from_peer(CHAIN_HELLO, hello, sizeof hello), CHAIN_OK);
    uint32_t strikes = nodes[0].peers[1].strikes;
    op.at[op.size - 1] ^= 1;
    cr_expect_eq(from_peer(CHAIN_OPERATION, op.at, op.size), CHAIN_DROP_SIGNATURE);
    cr_expect_eq(nodes[0].peers[1].strikes, strikes + 1);
    for (unsigned i = 0; i < CHAIN_STRIKES_MAX && !chain_node_banned(&nodes[0], 1); i++)
        cr_expect_eq(from_peer(99, NULL, 0), CHAIN_DROP_MALFORMED);
    cr_expect(chain_node_banned(&nodes[0], 1));
    cr_expect_not(chain_node_banned(&nodes[0], 2));
    cr_expect_null(nodes[0].pool.first);
}

Test(chain_node, what_a_peer_may_ask_is_bounded)
{
    for (unsigned i = 0; i < 10; i++)
        mine(0);
    deliver();
    uint8_t get[33] = {1};
    memcpy(get + 1, nodes[0].tree.id.bytes, 32);
    now += 5000;
    for (unsigned i = 0; i < CHAIN_GETS_A_SECOND; i++) {
        cr_expect_eq(from_peer(CHAIN_GET, get, sizeof get), CHAIN_OK);
        cr_expect_eq(tail - head, 11, "ten blocks and a HELLO");
        while (tail > head)
            free(queue[--tail].bytes);
    }
    cr_expect_eq(from_peer(CHAIN_GET, get, sizeof get), CHAIN_DROP_QUOTA);
    cr_expect_eq(tail, head);
    now += 1000;
    cr_expect_eq(from_peer(CHAIN_GET, get, sizeof get), CHAIN_OK);
    get[0] = 2;
    cr_expect_eq(from_peer(CHAIN_GET, get, sizeof get), CHAIN_DROP_MALFORMED);
    get[0] = 0;
    cr_expect_eq(from_peer(CHAIN_GET, get, 1), CHAIN_DROP_MALFORMED);
}

Test(chain_node, the_pool_is_bounded)
{
    enum chain_verdict verdict = CHAIN_OK;
    uint64_t t = 0;
    while (verdict == CHAIN_OK && t < 1000) {
        struct bytes op = put(&nodes[0].tree.id, 1, ++t, "x", "1");
        verdict = chain_node_submit(&nodes[0], span_of(&op));
    }
    cr_expect_eq(verdict, CHAIN_DROP_FULL);
    cr_expect_leq(nodes[0].pool.bytes, 8192);
    cr_expect_gt(t, 5);
    deliver();
    while (nodes[0].pool.first != NULL && t < 1100) {
        mine(0);
        t++;
    }
    cr_expect_eq(nodes[0].pool.bytes, 0);
}

Test(chain_node, a_verified_slot_verifies_nothing_else)
{
    /* The pool has one version of a request, verified; a block brings another one, forged. */
    struct bytes op = put(&nodes[0].tree.id, 1, 1, "x", "1");
    struct bytes forged = put(&nodes[0].tree.id, 1, 1, "x", "2");
    cr_assert_eq(chain_node_submit(&nodes[0], span_of(&op)), CHAIN_OK);
    forged.at[forged.size - 1] ^= 1;
    struct bytes block = block_on(&nodes[0].tree.id, now, EASY_BITS, 9, &forged, 1);
    cr_expect_eq(from_peer(CHAIN_BLOCK, block.at, block.size), CHAIN_DROP_SIGNATURE);
    cr_expect(has(&nodes[0].tree, "x", NULL));
}
