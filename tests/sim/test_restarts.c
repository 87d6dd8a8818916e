/* PROTOCOL 25 - 29: a replica that comes back with its vote log votes on and keeps what it
 * promised. Its state is gone, and is fetched. Every statement of all its lives is compared
 * (FAULTS 3.5). */
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ENOUGH (30 * SIM_SECOND)

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok, "%s", sim_failure(sim));
}

static void load(struct sim *sim, uint64_t operations)
{
    for (uint32_t client = 0; client < 3; client++)
        sim_load(sim, client, operations, SIM_MIX);
}

/* One after the other dies and comes back, with load all the time; then one stays dead, so that the
 * others are all needed. */
static void round_trip(uint64_t seed, enum sim_harm harm)
{
    struct sim_options o = sim_defaults(4, 3, seed);
    struct sim *sim = sim_new(&o);
    for (uint64_t round = 0; round < 8; round++) {
        pbft_id victim = (pbft_id)((seed + round) % 4);
        load(sim, 8);
        must(sim, sim_run_for(sim, (1 + (seed * 7 + round * 13) % 40) * SIM_MS));
        (void)sim_kill_harming(sim, victim, harm);
        load(sim, 4);
        must(sim, sim_run_for(sim, (seed + round) % 3 * 400 * SIM_MS));
        sim_restart(sim, victim);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    }
    sim_kill(sim, (pbft_id)((seed + 9) % 4));
    load(sim, 8);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    sim_free(sim);
}

Test(restarts, with_whatever_was_synced)
{
    for (uint64_t seed = 1; seed <= 30; seed++)
        round_trip(seed, (enum sim_harm)(seed % 3));
}
