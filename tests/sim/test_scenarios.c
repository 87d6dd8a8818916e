/* Every row of FAULTS 2 as a scenario, under several seeds. */
#include "tests/sim/world.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define SEEDS 4u

/* In four parts, so that they run side by side. */
static void part(size_t which)
{
    for (size_t i = 0; sim_scenarios[i].name != NULL; i++) {
        if (i % 4 != which) continue;
        for (uint64_t seed = 1; seed <= sim_seeds(SEEDS); seed++) {
            struct sim_world_options options = {.seed = seed};
            struct sim_world_result result;
            sim_scenarios[i].run(&options, &result);
            cr_expect(result.ok, "%s (%s): %s", sim_scenarios[i].name, sim_scenarios[i].title,
                      result.failure);
            cr_expect_gt(result.injected, 0, "%s", sim_scenarios[i].name);
        }
    }
}

Test(scenarios, rows_1)
{
    part(0);
}
Test(scenarios, rows_2)
{
    part(1);
}
Test(scenarios, rows_3)
{
    part(2);
}
Test(scenarios, rows_4)
{
    part(3);
}

/* Two that the seed draws, in one cluster. */
static void pairs(uint64_t from)
{
    for (uint64_t seed = from; seed < from + sim_seeds(20); seed++) {
        struct sim_world_options options = {.seed = seed};
        struct sim_world_result result;
        sim_pair_run(&options, &result);
        cr_expect(result.ok, "%s", result.failure);
        cr_expect(result.pair > 0 && result.injected > 1, "seed %llu", (unsigned long long)seed);
    }
}
Test(scenarios, pairs_1)
{
    pairs(1000);
}
Test(scenarios, pairs_2)
{
    pairs(2000);
}

Test(scenarios, pairs_that_cannot_be_are_refused)
{
    static const char *const wrong[][2] = {{"2.3", "2.3"},  {"2.2", "2.3"},   {"2.27", "2.29"},
                                           {"2.9", "2.35"}, {"2.14", "2.21"}, {"2.12", "2.30"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct sim_scenario *a = sim_scenario_find(wrong[i][0]);
        const struct sim_scenario *b = sim_scenario_find(wrong[i][1]);
        cr_expect_not_null(sim_pair_refused(a, b, 0), "%s and %s", a->name, b->name);
        cr_expect_not_null(sim_pair_refused(b, a, 0), "%s and %s", b->name, a->name);
    }
    const struct sim_scenario *dies = sim_scenario_find("2.3"), *huge = sim_scenario_find("2.15");
    cr_expect_null(sim_pair_refused(dies, huge, 0));
    cr_expect_null(sim_pair_refused(dies, huge, 7));
    cr_expect_not_null(sim_pair_refused(dies, huge, 4), "f = 1, and two replicas at fault");
}

Test(scenarios, are_found_by_name)
{
    cr_assert_not_null(sim_scenario_find("2.17"));
    cr_expect_str_eq(sim_scenario_find("2.17")->name, "2.17");
    cr_expect_null(sim_scenario_find("2.36"));
    cr_expect_null(sim_scenario_find(""));
}

Test(scenarios, equal_seeds_have_equal_traces)
{
    struct sim_world_options options = {.seed = 7};
    struct sim_world_result first, second;
    sim_scenario_find("2.14")->run(&options, &first);
    sim_scenario_find("2.14")->run(&options, &second);
    cr_expect_eq(first.trace_hash, second.trace_hash);
    options.seed = 8;
    sim_scenario_find("2.14")->run(&options, &second);
    cr_expect_neq(first.trace_hash, second.trace_hash);
}
