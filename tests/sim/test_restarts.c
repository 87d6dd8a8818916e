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

struct boundary {
    pbft_id id;
    uint64_t syncs;
};

static bool synced(struct sim *sim, void *context)
{
    const struct boundary *b = context;
    return sim_disk_syncs(sim, b->id) >= b->syncs;
}

/* One run, recorded by how often replica `id` has synced; then again, and power is lost right after
 * each of these, of that replica or of all. */
static void at_each_sync(pbft_id id, bool everybody)
{
    struct sim_options o = sim_defaults(4, 3, 77);
    o.flush_bytes = 1;
    uint64_t syncs = 1;
    for (uint64_t at = 0; at < syncs; at += STEP) {
        struct sim *sim = sim_new(&o);
        struct boundary b = {id, at};
        load(sim, 30);
        if (at > 0) must(sim, sim_run_until(sim, synced, &b, ENOUGH));
        if (at > 0 && everybody) {
            all_back(sim, sim_blackout(sim), 5 * SIM_MS);
        } else if (at > 0) {
            (void)sim_kill_harming(sim, id, (enum sim_harm)(at % 3));
            must(sim, sim_run_for(sim, 30 * SIM_MS));
            sim_restart(sim, id);
        }
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        if (at == 0) syncs = sim_disk_syncs(sim, id);
        sim_free(sim);
    }
    cr_log_info("replica %u: %llu syncs", (unsigned)id, (unsigned long long)syncs);
    cr_assert_gt(syncs, 50u);
}

Test(restarts, of_the_primary_at_each_sync)
{
    at_each_sync(0, false);
}

Test(restarts, of_a_backup_at_each_sync)
{
    at_each_sync(2, false);
}

Test(restarts, of_everybody_at_each_sync)
{
    at_each_sync(1, true);
}
