/* Races and their formulas, and scenarios over simulated nodes (bench/chain/race.h, scenario.h). */
#include "bench/chain/client.h"
#include "bench/chain/scenario.h"
#include "tests/unit/chain_fixture.h"

#include <math.h>

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance;
}

Test(chain_race, nakamotos_table)
{
    /* Bitcoin's paper, section 11: "Running some results". */
    static const struct {
        double q;
        uint32_t k;
        double p;
    } table[] = {{0.1, 0, 1.0},        {0.1, 1, 0.2045873}, {0.1, 5, 0.0009137},
                 {0.1, 10, 0.0000012}, {0.3, 5, 0.1773523}, {0.3, 10, 0.0416605},
                 {0.3, 50, 0.0000006}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect(near(chain_race_nakamoto(table[i].q, table[i].k), table[i].p, 6e-8), "q %g k %u",
                  table[i].q, table[i].k);
    cr_expect_eq(chain_race_nakamoto(0.5, 100), 1);
}

Test(chain_race, rosenfelds_table)
{
    /* His table 1: q = 10 %, 20 % and 30 %. */
    cr_expect(near(chain_race_rosenfeld(0.1, 1), 0.2, 1e-9));
    cr_expect(near(chain_race_rosenfeld(0.1, 2), 0.056, 1e-9));
    cr_expect(near(chain_race_rosenfeld(0.1, 6), 0.00059, 1e-5));
    cr_expect(near(chain_race_rosenfeld(0.2, 3), 0.11584, 1e-5));
    cr_expect(near(chain_race_rosenfeld(0.3, 6), 0.15645, 1e-5));
    cr_expect_eq(chain_race_rosenfeld(0.6, 6), 1);
}

Test(chain_race, monte_carlo_meets_the_exact_formula)
{
    struct chain_random r = chain_random_seed(7);
    static const double shares[] = {0.1, 0.3, 0.45};
    for (size_t i = 0; i < 3; i++) {
        for (uint32_t k = 1; k <= 6; k += 5) {
            struct chain_measured m = chain_race_measure(&r, shares[i], k, 20000);
            double exact = chain_race_rosenfeld(shares[i], k);
            double sigma = sqrt(exact * (1 - exact) / 20000);
            cr_expect(near(m.value, exact, 4.5 * sigma), "q %g k %u: %g, not %g", shares[i], k,
                      m.value, exact);
            cr_expect(m.low <= m.value && m.value <= m.high);
        }
    }
}

Test(chain_race, selfish_mining_meets_its_formula)
{
    struct chain_random r = chain_random_seed(8);
    cr_expect(near(chain_selfish_formula(1.0 / 3, 0), 1.0 / 3, 1e-12), "the threshold at gamma 0");
    cr_expect(near(chain_selfish_formula(0.25, 0.5), 0.25, 1e-12), "and at gamma 1/2");
    for (int i = 1; i <= 4; i++) {
        for (int j = 0; j <= 2; j++) {
            double alpha = 0.1 * i, gamma = 0.5 * j;
            struct chain_measured m = chain_selfish_measure(&r, alpha, gamma, 1000000);
            cr_expect(near(m.value, chain_selfish_formula(alpha, gamma), 0.005),
                      "alpha %g gamma %g: %g", alpha, gamma, m.value);
        }
    }
}

Test(chain_sim, equal_seeds_are_equal_runs)
{
    struct chain_forks_result a, b, c;
    cr_assert(chain_scenario_forks(3, 3000, 100, &a));
    cr_assert(chain_scenario_forks(3, 3000, 100, &b));
    cr_assert(chain_scenario_forks(4, 3000, 100, &c));
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    cr_expect_neq(memcmp(&a, &c, sizeof a), 0);
}

Test(chain_sim, delays_make_forks)
{
    struct chain_forks_result slow, fast;
    cr_assert(chain_scenario_forks(5, 3000, 300, &slow));
    cr_assert(chain_scenario_forks(5, 1, 300, &fast));
    cr_expect_gt(slow.found, slow.blocks + 20);
    cr_expect_gt(slow.reorganisations, 10);
    cr_expect_lt(fast.found, fast.blocks + 5);
}

Test(chain_sim, difficulty_follows_the_power)
{
    struct chain_sim_config c = {.seed = 6, .nodes = 1, .power = {8}, .delay_ms = 1};
    c.params = easy_params();
    c.params.spacing_ms = 10000;
    c.params.retarget_blocks = 32;
    c.params.future_ms = 600000;
    struct chain_sim *s = chain_sim_new(&c);
    cr_assert_not_null(s);
    const struct chain_tree *t = &chain_sim_node(s, 0)->tree;
    while (t->tip->height < 32)
        (void)chain_sim_step(s);
    cr_expect_lt(chain_sim_now_ms(s), 16 * 10000.0, "eight times the power is too fast at first");
    while (t->tip->height < 256)
        (void)chain_sim_step(s);
    double begun = chain_sim_now_ms(s);
    while (t->tip->height < 768)
        (void)chain_sim_step(s);
    double spacing = (chain_sim_now_ms(s) - begun) / 512;
    cr_expect(near(spacing, 10000, 1500), "then a block every %.0f ms", spacing);
    chain_sim_free(s);
}

Test(chain_sim, a_partition_reverses_what_was_confirmed)
{
    struct chain_partition_result r;
    cr_assert(chain_scenario_partition(1, &r));
    cr_expect(r.agreed);
    cr_expect_gt(r.majority_blocks, r.minority_blocks);
    cr_expect_eq(r.depth, r.minority_blocks, "all that the minority found is abandoned");
    cr_expect_eq(r.reversed, r.minority_confirmed);
    cr_expect_eq(r.reversed_safe, r.minority_safe);
    cr_expect_gt(r.minority_safe, 0, "six confirmations did not help");
    cr_expect_gt(r.spent_twice, 0);
    cr_expect_lt(r.agreed_ms, 5 * r.spacing_ms);
}

Test(chain_sim, a_liar_is_banned_and_nothing_false_executed)
{
    struct chain_liar_result r;
    cr_assert(chain_scenario_liar(2, &r));
    cr_expect(r.agreed);
    cr_expect_eq(r.false_values, 0);
    cr_expect_eq(r.banned_by, 7);
    uint64_t dropped = 0;
    for (unsigned v = 1; v < CHAIN_VERDICT_COUNT; v++)
        dropped += v == CHAIN_DROP_DUPLICATE ? 0 : r.dropped[v];
    cr_expect_geq(dropped, 7 * CHAIN_STRIKES_MAX);
    /* One in eight asked the liar alone. What was asked for last may not be in a block yet. */
    cr_expect_geq(r.confirmed, r.submitted * 3 / 4);
    cr_expect_lt(r.confirmed, r.submitted);
    cr_expect_gt((double)r.blocks, r.blocks_expected * 0.7);
}

Test(chain_sim, a_majority_rewrites_the_past)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct chain_majority_result r;
        cr_assert(chain_scenario_majority(seed, 0.55, &r));
        cr_expect(r.reversed);
        cr_expect_geq(r.confirmations, CHAIN_SAFE);
        cr_expect_eq(r.depth, r.confirmations);
    }
}

Test(chain_sim, double_spends_over_nodes_meet_the_formula)
{
    struct chain_measured m;
    double exact = chain_race_rosenfeld(0.3, 2);
    cr_assert(chain_scenario_double_spend(9, 0.3, 2, 400, 30, &m));
    cr_expect(near(m.value, exact, 4.5 * sqrt(exact * (1 - exact) / 400)), "%g, not %g", m.value,
              exact);
}
