/* Every strategy of replica/faults on every one of 4 replicas, under virtual time and many seeds:
 * the invariants of FAULTS 3 hold over the others after every step, all operations are answered,
 * the liar really lied, and its victims converge although it goes on. */
#include "replica/faults/faults.h"
#include "tests/sim/fixture.h"

#include "pbft/quorum.h"

#include <criterion/criterion.h>
#include <string.h>

#define ENOUGH (SIM_SECOND * 60)
#define SEEDS  6u

/* All but the liar have executed the same, and it may say what it likes. */
static bool others_agree(struct sim *sim, void *context)
{
    (void)context;
    return sim_converged(sim, NULL);
}

static uint64_t run(const char *spec, pbft_id liar, uint64_t seed, bool force_view_change)
{
    struct sim_options o = sim_defaults(4, 2, seed);
    o.byzantine = pbft_signers_of(liar);
    struct sim *sim = sim_new(&o);
    struct pbft_faults_config config = {.cluster = sim_cluster(sim),
                                        .id = liar,
                                        .keypair = sim_replica_key(sim, liar),
                                        .signer = o.signer,
                                        .pool = sim_pool(sim)};
    char error[256] = "";
    struct pbft_faults *faults = pbft_faults_new(spec, &config, error);
    cr_assert_not_null(faults, "%s", error);
    struct pbft_node_hooks hooks = pbft_faults_hooks(faults);
    sim_set_hooks(sim, liar, &hooks);

    sim_load(sim, 0, 40, SIM_MIX);
    sim_load(sim, 1, 40, SIM_MIX);
    if (force_view_change) {
        /* One primary after the other falls silent under load, until it is the liar's turn. */
        for (pbft_id view = 0; view < (liar == 0 ? 4u : liar); view++) {
            cr_assert(sim_run_until(sim, sim_loads_done, NULL, ENOUGH), "%s on %u: %s", spec, liar,
                      sim_failure(sim));
            sim_isolate(sim, view % 4, true);
            sim_load(sim, 0, 20, SIM_MIX);
            sim_load(sim, 1, 20, SIM_MIX);
            cr_assert(sim_run_for(sim, SIM_MS * 2500), "%s", sim_failure(sim));
            sim_heal(sim);
        }
    }
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, ENOUGH), "%s on %u: %s", spec, liar,
              sim_failure(sim));
    cr_assert(sim_run_until(sim, others_agree, NULL, ENOUGH), "%s on %u: %s", spec, liar,
              sim_failure(sim));
    for (size_t i = 0; i < sim_op_count(sim); i++)
        cr_assert_eq(sim_op(sim, i)->state, SIM_OP_ANSWERED);
    uint64_t acts = pbft_faults_acts(faults);
    pbft_faults_free(faults); /* it may hold frames of the pool */
    sim_free(sim);
    return acts;
}

static void everywhere(const char *spec, bool force_view_change)
{
    for (pbft_id liar = 0; liar < 4; liar++) {
        uint64_t acts = 0;
        for (uint64_t seed = 1; seed <= sim_seeds(SEEDS); seed++)
            acts += run(spec, liar, seed, force_view_change);
        cr_expect_gt(acts, 0, "%s on %u never had the chance", spec, liar);
    }
}

Test(faults, silent)
{
    everywhere("silent", false);
}
Test(faults, silent_as_the_next_primary)
{
    everywhere("silent", true);
}
Test(faults, equivocate)
{
    for (uint64_t seed = 1; seed <= sim_seeds(SEEDS); seed++)
        cr_expect_gt(run("equivocate", 0, seed, false), 0);
}
Test(faults, equivocate_as_the_next_primary)
{
    everywhere("equivocate", true);
}
Test(faults, lie_reply)
{
    everywhere("lie-reply", false);
}
Test(faults, wrong_digest)
{
    everywhere("wrong-digest", true);
}
Test(faults, bad_signature)
{
    everywhere("bad-signature", true);
}
Test(faults, censor)
{
    everywhere("censor=1", true);
}
Test(faults, replay)
{
    everywhere("replay", true);
}
Test(faults, forge_new_view)
{
    everywhere("forge-new-view", true);
}
Test(faults, wrong_checkpoint)
{
    everywhere("wrong-checkpoint", false);
}
