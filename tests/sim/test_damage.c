/* FAULTS 2.20, 4.24: a bit of a replica's state flips. On each of 4 replicas, with and without a
 * disk, under many seeds: it is noticed at the next certified checkpoint and repaired, and the
 * report names the key, the bit and whose is whose (tests/sim/fixture_damage.c judges). */
#include "replica/faults/faults.h"
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ENOUGH (SIM_SECOND * 60)
#define SEEDS  12u

struct damage {
    struct sim *sim;
    struct pbft_faults *faults;
    struct pbft_node_hooks hooks;
    pbft_id id;
};

static void start(struct damage *t, pbft_id id, uint64_t seed, bool disk)
{
    struct sim_options o = sim_defaults(4, 2, seed);
    o.byzantine = pbft_signers_of(id);
    o.flush_bytes = disk ? 8u << 10 : 0;
    t->sim = sim_new(&o);
    t->id = id;
    struct pbft_faults_config config = {.cluster = sim_cluster(t->sim),
                                        .id = id,
                                        .keypair = sim_replica_key(t->sim, id),
                                        .signer = o.signer,
                                        .pool = sim_pool(t->sim)};
    char error[256] = "", spec[32];
    (void)snprintf(spec, sizeof spec, "flip-state=%u", 4u + (unsigned)(seed % 20));
    t->faults = pbft_faults_new(spec, &config, error);
    cr_assert_not_null(t->faults, "%s", error);
    t->hooks = pbft_faults_hooks(t->faults);
    sim_set_hooks(t->sim, id, &t->hooks);
    sim_damaged(t->sim, id, t->faults);
}

static void end(struct damage *t)
{
    sim_free(t->sim);
    pbft_faults_free(t->faults);
}

static bool repaired(struct sim *sim, void *context)
{
    pbft_id id = *(const pbft_id *)context;
    return sim_repaired(sim, id) > 0 && sim_check_repaired(sim, id);
}

static bool caught_up(struct sim *sim, void *context)
{
    pbft_id id = *(const pbft_id *)context;
    return sim_info(sim, id).core.executed == sim_executed_last(sim);
}

/* False: an operation wrote what had changed before the next checkpoint, and nothing was wrong. */
static bool run(pbft_id id, uint64_t seed, bool disk)
{
    struct damage t;
    start(&t, id, seed, disk);
    sim_load(t.sim, 0, 60, SIM_MIX);
    sim_load(t.sim, 1, 60, SIM_MIX);
    cr_assert(sim_run_until(t.sim, sim_loads_done, NULL, ENOUGH), "seed %llu: %s",
              (unsigned long long)seed, sim_failure(t.sim));
    cr_assert_eq(pbft_faults_acts(t.faults), 1u, "seed %llu", (unsigned long long)seed);
    for (unsigned more = 0; more < 4 && sim_noticed(t.sim, id) == 0; more++) {
        sim_load(t.sim, 0, 10, SIM_MIX);
        cr_assert(sim_run_until(t.sim, sim_loads_done, NULL, ENOUGH), "seed %llu: %s",
                  (unsigned long long)seed, sim_failure(t.sim));
    }
    if (sim_noticed(t.sim, id) == 0) {
        end(&t);
        return false;
    }
    cr_assert(sim_run_until(t.sim, repaired, &t.id, ENOUGH), "seed %llu, replica %u: %s",
              (unsigned long long)seed, id, sim_failure(t.sim));
    cr_assert_eq(sim_noticed(t.sim, id), 1u);
    cr_assert_eq(sim_info(t.sim, id).divergences, 1u);
    sim_load(t.sim, 0, 40, SIM_MIX);
    cr_assert(sim_run_until(t.sim, sim_loads_done, NULL, ENOUGH), "seed %llu: %s",
              (unsigned long long)seed, sim_failure(t.sim));
    cr_assert(sim_run_until(t.sim, caught_up, &t.id, ENOUGH), "seed %llu, replica %u: %s",
              (unsigned long long)seed, id, sim_failure(t.sim));
    cr_assert_eq(sim_noticed(t.sim, id), 1u, "it stays repaired");
    end(&t);
    return true;
}

static void run_all(bool disk)
{
    uint64_t noticed = 0, seeds = sim_seeds(SEEDS);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        noticed += run((pbft_id)(seed / (disk ? 4 : 1) % 4), seed, disk);
    cr_expect_gt(4 * noticed, 3 * seeds, "noticed in %llu of %llu", (unsigned long long)noticed,
                 (unsigned long long)seeds);
}

Test(sim_damage, is_noticed_and_repaired)
{
    run_all(false);
}

Test(sim_damage, is_noticed_and_repaired_with_disks)
{
    run_all(true);
}
