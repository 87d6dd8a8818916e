/* A registered client that floods costs a correct primary no view, and others no service (FAULTS
 * 2.33, 3.22; PROTOCOL 21, 22). */
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>

#define SECONDS  20u
#define PER_TURN 5u

static void flood(uint32_t n, uint64_t seed, unsigned kinds)
{
    struct sim_options o = sim_defaults(n, 3, seed);
    o.expect_no_view_change = true;
    struct sim *sim = sim_new(&o);
    sim_hostile(sim, 2, kinds, 2 * SIM_MS);
    uint64_t asked = 0;
    for (unsigned turn = 0; turn < 10 * SECONDS; turn++, asked += 2 * PER_TURN) {
        sim_load(sim, 0, PER_TURN, SIM_MIX);
        sim_load(sim, 1, PER_TURN, SIM_MIX);
        cr_assert(sim_run_for(sim, 100 * SIM_MS), "%s", sim_failure(sim));
    }
    cr_assert_gt(sim_hostile_acts(sim, kinds), 1000u);
    sim_hostile(sim, 2, 0, 0);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, 10 * SIM_SECOND), "%s", sim_failure(sim));
    cr_assert_eq(sim_op_count(sim), asked);
    cr_assert(sim_check_history(sim), "%s", sim_failure(sim));
    sim_free(sim);
}

Test(flood, of_one_client_costs_no_view)
{
    for (uint64_t seed = 1; seed <= sim_seeds(3); seed++)
        flood(4, seed, SIM_HOSTILE_FLOOD);
}

Test(flood, with_conflicts_and_edges_costs_no_view)
{
    flood(4, 4, SIM_HOSTILE_FLOOD | SIM_HOSTILE_CONFLICT | SIM_HOSTILE_HUGE_T);
}

Test(flood, costs_seven_replicas_no_view)
{
    flood(7, 5, SIM_HOSTILE_FLOOD);
}
