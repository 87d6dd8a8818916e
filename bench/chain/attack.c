/* bench/chain/attack.c - double spends over simulated nodes: one attacker, one victim. */
#include "bench/chain/client.h"
#include "bench/chain/scenario.h"

#include <string.h>

#define VICTIM     0u
#define ATTACKER   1u
#define SPACING_MS 10000u
#define SETTLE_MS  1000.0 /* many times the delay: what was published has arrived */

struct attack {
    struct chain_sim *sim;
    struct chain_operation paid; /* what the victim waits for; its spans are gone */
};

static const struct chain_tree *tree_of(const struct attack *a, uint32_t node)
{
    return &chain_sim_node(a->sim, node)->tree;
}

static void submit(struct chain_sim *s, uint32_t node, struct pbft_span frame)
{
    enum chain_verdict verdict = chain_sim_submit(s, node, frame);
    PBFT_ASSERT(verdict == CHAIN_OK);
}

/* Both are cut off from each other from the start; the payment is with the victim's miners, the
 * other version of it with the attacker, who has one block already: he begins when he is lucky. */
static bool begin(struct attack *a, uint64_t seed, double q)
{
    uint8_t frame[CHAIN_REQUEST_BYTES];
    struct chain_sim_config config = {.seed = seed, .nodes = 2, .power = {0, q}, .delay_ms = 1};
    config.params = chain_params_default();
    config.params.spacing_ms = SPACING_MS;
    config.params.retarget_blocks = 1024; /* difficulty is no part of the race */
    config.params.start_bits = config.params.limit_bits;
    config.params.future_ms = 600000;
    struct chain_sim *s = a->sim = chain_sim_new(&config);
    if (s == NULL) return false;
    chain_sim_cut(s, 1u << ATTACKER);
    struct chain_client client = chain_client_seeded(seed);
    struct pbft_span span = {frame, chain_client_next(&client, &tree_of(a, VICTIM)->id, frame)};
    enum chain_verdict read = chain_operation_read(span, &a->paid);
    PBFT_ASSERT(read == CHAIN_OK);
    submit(s, VICTIM, span);
    span.size = chain_client_again(&client, &tree_of(a, VICTIM)->id, frame);
    submit(s, ATTACKER, span);
    while (tree_of(a, ATTACKER)->tip->height == 0)
        (void)chain_sim_step(s);
    chain_sim_power(s, VICTIM, 1 - q);
    return true;
}

/* Blocks that the attacker needs to be as long; negative: he is ahead. */
static int64_t behind(const struct attack *a)
{
    return (int64_t)tree_of(a, VICTIM)->tip->height - (int64_t)tree_of(a, ATTACKER)->tip->height;
}

/* He shows what he has. Whether the victim's operation is gone, and the other one stands. */
static bool publish(struct attack *a)
{
    chain_sim_power(a->sim, VICTIM, 0);
    chain_sim_power(a->sim, ATTACKER, 0);
    chain_sim_cut(a->sim, 0);
    chain_sim_run(a->sim, chain_sim_now_ms(a->sim) + SETTLE_MS);
    const struct pbft_digest *now =
        chain_state_executed(&tree_of(a, VICTIM)->state, &a->paid.slot, NULL);
    return now != NULL && !pbft_digest_equal(now, &a->paid.id);
}

bool chain_scenario_double_spend(uint64_t seed, double q, uint32_t k, uint32_t trials,
                                 uint32_t lost, struct chain_measured *out)
{
    struct chain_random seeds = chain_random_seed(seed);
    uint64_t hits = 0;
    for (uint32_t i = 0; i < trials; i++) {
        struct attack a;
        if (!begin(&a, chain_random_next(&seeds), q)) return false;
        while (chain_tree_confirmations(tree_of(&a, VICTIM), &a.paid) < k)
            (void)chain_sim_step(a.sim);
        while (behind(&a) >= 0 && behind(&a) < (int64_t)lost)
            (void)chain_sim_step(a.sim);
        hits += publish(&a);
        chain_sim_free(a.sim);
    }
    *out = chain_measured_of(hits, trials);
    return true;
}

bool chain_scenario_majority(uint64_t seed, double share, struct chain_majority_result *out)
{
    struct attack a;
    memset(out, 0, sizeof *out);
    out->share = share;
    out->spacing_ms = SPACING_MS;
    if (!begin(&a, seed, share)) return false;
    while (chain_tree_confirmations(tree_of(&a, VICTIM), &a.paid) < CHAIN_SAFE || behind(&a) >= 0)
        (void)chain_sim_step(a.sim);
    out->confirmations = chain_tree_confirmations(tree_of(&a, VICTIM), &a.paid);
    out->attack_ms = chain_sim_now_ms(a.sim);
    out->reversed = publish(&a);
    out->depth = tree_of(&a, VICTIM)->stats.reorganised_deepest;
    chain_sim_free(a.sim);
    return true;
}
