/* PROTOCOL 25 - 29: a replica that comes back with its vote log votes on and keeps what it
 * promised. Its state is gone, and is fetched. Every statement of all its lives is compared
 * (FAULTS 3.5). */
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ENOUGH (30 * SIM_SECOND)
#ifdef __SANITIZE_ADDRESS__
#define STEP 5u /* each run takes ten times as long */
#else
#define STEP 1u
#endif

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

/* ---- everybody at once ---- */

static void all_back(struct sim *sim, pbft_signers who, uint64_t apart_ns)
{
    for (pbft_id id = 0; id < 64; id++) {
        if (!pbft_signers_has(who, id)) continue;
        must(sim, sim_run_for(sim, apart_ns));
        sim_restart(sim, id);
    }
}

static bool somebody_answered(struct sim *sim, void *context)
{
    return sim_answers(sim) >= *(const uint64_t *)context;
}

/* Power is lost everywhere right after one more answer: whatever was answered was, and is there
 * (FAULTS 2.24). The checkers compare every later answer and every state with what was executed. */
Test(restarts, everybody_after_an_answer)
{
    for (uint64_t answers = 1; answers <= 40; answers += STEP) {
        struct sim_options o = sim_defaults(4, 3, 100 + answers);
        o.flush_bytes = answers % 3 == 0 ? 1u << 20 : 1;
        struct sim *sim = sim_new(&o);
        load(sim, 20);
        must(sim, sim_run_until(sim, somebody_answered, &answers, ENOUGH));
        pbft_signers dark = sim_blackout(sim);
        cr_assert_eq(pbft_signers_count(dark), 4u);
        all_back(sim, dark, answers % 5 * 20 * SIM_MS);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        sim_free(sim);
    }
}

static bool is_dead(struct sim *sim, void *context)
{
    return !sim_alive(sim, *(const pbft_id *)context);
}

/* The run that is repeated: small segments, and checkpoints as often as may be, so that the log is
 * cut and grows all the time. */
static struct sim *recorded(pbft_id id, uint64_t *ops)
{
    struct sim_options o = sim_defaults(4, 3, 77 + id);
    o.flush_bytes = 1;
    struct sim *sim = sim_new(&o);
    *ops = sim_disk_ops(sim, id);
    load(sim, 40);
    return sim;
}

/* One run, recorded by what replica `id` does to its disk: each write, sync, new name and name that
 * goes. Then again, and power is lost at each of these, of that replica or of all. */
static void at_each_operation(pbft_id id, bool everybody)
{
    uint64_t first, last;
    struct sim *sim = recorded(id, &first);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    last = sim_disk_ops(sim, id);
    uint64_t commits = sim_disk_commits(sim, id);
    sim_free(sim);
    for (uint64_t op = first + 1; op <= last; op += STEP) {
        sim = recorded(id, &first);
        sim_cut_power_at(sim, id, op);
        must(sim, sim_run_until(sim, is_dead, &id, ENOUGH));
        pbft_signers dark = pbft_signers_of(id);
        if (everybody) dark |= sim_blackout(sim);
        all_back(sim, dark, everybody ? 5 * SIM_MS : 30 * SIM_MS);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        sim_free(sim);
    }
    cr_log_info("replica %u: %llu operations, %llu commits", (unsigned)id,
                (unsigned long long)(last - first), (unsigned long long)commits);
    cr_assert_gt(commits, 50u);
    cr_assert_gt(last - first, 3 * commits);
}

Test(restarts, of_the_primary_at_each_operation_of_its_disk)
{
    at_each_operation(0, false);
}

Test(restarts, of_a_backup_at_each_operation_of_its_disk)
{
    at_each_operation(2, false);
}

Test(restarts, of_everybody_at_each_operation_of_a_disk)
{
    at_each_operation(1, true);
}
