#include "bench/chain/scenario.h"

#include "bench/chain/client.h"

#include <stdlib.h>
#include <string.h>

#define NODES      8u
#define ALL        0xffu
#define MINORITY   0x07u /* nodes 0 to 2 */
#define SPACING_MS 10000u
#define DELAY_MS   200.0

static struct chain_sim_config equal_nodes(uint64_t seed, double delay_ms)
{
    struct chain_sim_config c = {.seed = seed, .nodes = NODES, .delay_ms = delay_ms};
    for (uint32_t i = 0; i < NODES; i++)
        c.power[i] = 1.0 / NODES;
    c.params = chain_params_default();
    c.params.spacing_ms = SPACING_MS;
    /* One target all the time: the power is constant, and what is measured are races. */
    c.params.retarget_blocks = 1024;
    c.params.start_bits = c.params.limit_bits;
    c.params.future_ms = 600000;
    return c;
}

/* A block on its way, or a fork of equal work, is no disagreement that lasts. */
static bool agree_within(struct chain_sim *s, uint32_t group, unsigned spacings)
{
    double end = chain_sim_now_ms(s) + (double)spacings * SPACING_MS;
    while (!chain_sim_agree(s, group) && chain_sim_now_ms(s) < end)
        (void)chain_sim_step(s);
    return chain_sim_agree(s, group);
}

/* ---- partition ---- */

struct watched {
    struct chain_sim *sim;
    struct chain_partition_result *out;
    bool healed;
    uint64_t tip; /* of node 0 when it healed */
};

static void partition_disconnected(void *context, uint32_t node, const struct chain_block *block)
{
    struct watched *w = context;
    if (!w->healed || node != 0) return;
    uint64_t confirmations = w->tip - block->height + 1;
    w->out->depth++;
    w->out->reversed += block->op_count;
    if (confirmations >= CHAIN_SAFE) w->out->reversed_safe += block->op_count;
}

/* Whoever asks at node 0 sees these in a block. */
static void count_minority(struct chain_sim *s, uint64_t fork, struct chain_partition_result *out)
{
    const struct chain_block *tip = chain_sim_node(s, 0)->tree.tip;
    for (const struct chain_block *b = tip; b->height > fork; b = b->parent) {
        out->minority_blocks++;
        out->minority_confirmed += b->op_count;
        if (tip->height - b->height + 1 >= CHAIN_SAFE) out->minority_safe += b->op_count;
    }
}

/* Of the pairs, those of which the minority's block was abandoned and the other version stands. */
static uint64_t count_spent(struct chain_sim *s, const struct chain_operation *minority,
                            const bool *was_in, uint32_t count)
{
    uint64_t spent = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct pbft_digest *now =
            chain_state_executed(&chain_sim_node(s, 0)->tree.state, &minority[i].slot, NULL);
        spent += was_in[i] && now != NULL && !pbft_digest_equal(now, &minority[i].id);
    }
    return spent;
}

#define PAIRS_MAX 128u

bool chain_scenario_partition(uint64_t seed, struct chain_partition_result *out)
{
    static struct chain_operation pairs[PAIRS_MAX]; /* of the minority */
    static bool was_in[PAIRS_MAX];
    uint8_t frame[CHAIN_REQUEST_BYTES];
    uint32_t pair_count = 0;
    memset(out, 0, sizeof *out);
    struct watched w = {.out = out};
    struct chain_sim_config config = equal_nodes(seed, DELAY_MS);
    config.context = &w;
    config.disconnected = partition_disconnected;
    struct chain_sim *s = w.sim = chain_sim_new(&config);
    if (s == NULL) return false;
    const struct pbft_digest *chain = &chain_sim_node(s, 0)->tree.id;
    struct chain_client clients[2] = {chain_client_seeded(seed), chain_client_seeded(seed + 1)};
    out->spacing_ms = SPACING_MS;
    out->cut_ms = 40.0 * SPACING_MS;
    chain_sim_run(s, 10.0 * SPACING_MS);
    uint64_t fork = chain_sim_node(s, 0)->tree.tip->height;
    chain_sim_cut(s, MINORITY);
    double end = chain_sim_now_ms(s) + out->cut_ms;
    for (uint32_t i = 0; chain_sim_now_ms(s) < end; i++) {
        uint32_t nodes[2] = {i % 3, 3 + i % 5};
        for (unsigned side = 0; side < 2; side++) {
            size_t size = chain_client_next(&clients[side], chain, frame);
            (void)chain_sim_submit(s, nodes[side], (struct pbft_span){frame, size});
            if (side == 1 || i % 5 != 0 || pair_count == PAIRS_MAX) continue;
            bool read = chain_operation_read((struct pbft_span){frame, size}, &pairs[pair_count++]);
            PBFT_ASSERT(read == CHAIN_OK);
            size = chain_client_again(&clients[side], chain, frame);
            (void)chain_sim_submit(s, nodes[1], (struct pbft_span){frame, size});
        }
        chain_sim_run(s, chain_sim_now_ms(s) + SPACING_MS / 2.0);
    }
    count_minority(s, fork, out);
    out->majority_blocks = chain_sim_node(s, 3)->tree.tip->height - fork;
    for (uint32_t i = 0; i < pair_count; i++)
        was_in[i] = chain_tree_confirmations(&chain_sim_node(s, 0)->tree, &pairs[i]) > 0;
    w.tip = chain_sim_node(s, 0)->tree.tip->height;
    w.healed = true;
    double healed = chain_sim_now_ms(s);
    chain_sim_cut(s, 0);
    out->agreed = agree_within(s, ALL, 100);
    out->agreed_ms = chain_sim_now_ms(s) - healed;
    w.healed = false;
    chain_sim_run(s, chain_sim_now_ms(s) + 10.0 * SPACING_MS);
    out->spent_twice = count_spent(s, pairs, was_in, pair_count);
    chain_sim_free(s);
    return true;
}

/* ---- a liar ---- */

#define LIAR     7u
#define HONEST   0x7fu
#define LIE_OPS  200u
#define LIE_TIME (200.0 * SPACING_MS)

bool chain_scenario_liar(uint64_t seed, struct chain_liar_result *out)
{
    uint8_t frame[CHAIN_REQUEST_BYTES];
    memset(out, 0, sizeof *out);
    struct chain_sim_config config = equal_nodes(seed, DELAY_MS);
    struct chain_sim *s = chain_sim_new(&config);
    struct chain_operation *sent = calloc(LIE_OPS, sizeof *sent);
    if (s == NULL || sent == NULL) {
        chain_sim_free(s);
        free(sent);
        return false;
    }
    const struct chain_tree *tree = &chain_sim_node(s, 0)->tree;
    struct chain_client client = chain_client_seeded(seed);
    chain_sim_liar(s, LIAR);
    for (; out->submitted < LIE_OPS; out->submitted++) {
        size_t size = chain_client_next(&client, &tree->id, frame);
        struct pbft_span span = {frame, size};
        enum chain_verdict read = chain_operation_read(span, &sent[out->submitted]);
        PBFT_ASSERT(read == CHAIN_OK);
        /* Every eighth asks the liar alone, who sends it to nobody: it is in his blocks, if at all.
         */
        (void)chain_sim_submit(s, (uint32_t)out->submitted % NODES, span);
        chain_sim_run(s, chain_sim_now_ms(s) + LIE_TIME / LIE_OPS);
    }
    out->agreed = agree_within(s, HONEST, 20);
    out->blocks = tree->tip->height;
    out->blocks_expected = LIE_TIME / SPACING_MS * (NODES - 1) / NODES;
    out->banned_by = chain_sim_banned_by(s, LIAR);
    uint64_t executed = 0;
    for (const struct chain_block *b = tree->tip; b != NULL; b = b->parent)
        executed += b->op_count;
    for (uint64_t i = 0; i < out->submitted; i++)
        out->confirmed += chain_tree_confirmations(tree, &sent[i]) > 0;
    out->false_values = executed - out->confirmed;
    for (uint32_t i = 0; i < LIAR; i++)
        for (unsigned v = 0; v < CHAIN_VERDICT_COUNT; v++)
            out->dropped[v] += chain_sim_node(s, i)->stats.dropped[v];
    chain_sim_free(s);
    free(sent);
    return true;
}

/* ---- forks of honest nodes ---- */

bool chain_scenario_forks(uint64_t seed, double delay_ms, uint64_t blocks,
                          struct chain_forks_result *out)
{
    memset(out, 0, sizeof *out);
    struct chain_sim_config config = equal_nodes(seed, delay_ms);
    struct chain_sim *s = chain_sim_new(&config);
    if (s == NULL) return false;
    while (chain_sim_node(s, 0)->tree.tip->height < blocks)
        (void)chain_sim_step(s);
    out->spacing_ms = SPACING_MS;
    out->delay_ms = delay_ms;
    out->blocks = blocks;
    for (uint32_t i = 0; i < NODES; i++) {
        const struct chain_node *n = chain_sim_node(s, i);
        out->found += n->stats.mined;
        out->reorganisations += n->tree.stats.reorganisations;
        if (n->tree.stats.reorganised_deepest > out->deepest)
            out->deepest = n->tree.stats.reorganised_deepest;
    }
    chain_sim_free(s);
    return true;
}
