/* Whole runs that end wrong (world.c): what happens in their second half, when no fault is left
 * that would explain it. */
#include "tests/sim/fixture_clients.h"
#include "tests/sim/test_alarms.h"
#include "tests/sim/world_internal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Of four replicas, none of which lies or stays away: only the meddler is to blame. */
static uint64_t honest_seed(void)
{
    struct world_plan plan;
    struct sim_world_options options = {.n = 4};
    do {
        options.seed++;
        world_draw(&plan, &options);
    } while (plan.o.byzantine != 0 || plan.crashing != 0);
    return options.seed;
}

static struct sim_world_result fails(sim_meddler *meddler, const char *words)
{
    static struct sim_world_result r;
    struct sim_world_options options = {.n = 4, .seed = honest_seed()};
    sim_world_run(&options, &r);
    cr_assert(r.ok, "%s", r.failure);
    options.meddler = meddler;
    sim_world_run(&options, &r);
    cr_expect(!r.ok, "%s: nothing rang", words);
    cr_expect_not_null(strstr(r.failure, words), "%s: %s", words, r.failure);
    return r;
}

/* ---- FAULTS 3.21, 4.24 ---- */

static void isolate_one(void *context, struct sim *sim, enum sim_act act)
{
    (void)context;
    if (act == SIM_ACT_HEALED) sim_isolate(sim, 3, true);
}
Test(alarms_world, one_stays_behind)
{
    struct sim_world_result r = fails(isolate_one, "0 operations wait, states differ");
    double bound;
    const char *after = strstr(r.failure, "FAULTS 3.21: after healing: after ");
    cr_assert_not_null(after, "%s", r.failure);
    cr_assert_eq(sscanf(after, "FAULTS 3.21: after healing: after %lf s", &bound), 1);
    struct world_plan plan;
    world_draw(&plan, &(struct sim_world_options){.n = 4, .seed = honest_seed()});
    cr_expect_lt(bound, 30e-9 * (double)plan.o.params.view_timeout_max_ns + 10.0);
}

static void lose_everything(void *context, struct sim *sim, enum sim_act act)
{
    (void)context;
    if (act == SIM_ACT_SETTLED) sim_set_loss(sim, 1000000, 0);
}
Test(alarms_world, operations_are_not_answered)
{
    struct sim_world_result r = fails(lose_everything, "FAULTS 3.21: at the end: after ");
    cr_expect_null(strstr(r.failure, " 0 operations wait"), "%s", r.failure);
}

/* Nobody hears what primaries before this view propose. */
static bool not_before(struct sim *sim, const struct sim_packet *p, void *context)
{
    const pbft_view *view = context;
    (void)sim;
    return p->type != PBFT_PRE_PREPARE || p->claim.view >= *view;
}
static void depose(void *context, struct sim *sim, enum sim_act act)
{
    static pbft_view view;
    (void)context;
    if (act != SIM_ACT_SETTLED) return;
    for (pbft_id id = 0; id < sim->n; id++)
        if (sim_info(sim, id).core.view + 4 > view) view = sim_info(sim, id).core.view + 4;
    sim_set_filter(sim, not_before, &view);
}
Test(alarms_world, views_go_on_changing)
{
    fails(depose, "FAULTS 3.21: views go on changing");
}

static void be_wrong(void *context, struct sim *sim, enum sim_act act)
{
    (void)context;
    if (act != SIM_ACT_SETTLED) return;
    sim->nodes[2].noticed = sim->nodes[2].repaired + 1; /* and it does not go for the right one */
}
Test(alarms_world, a_state_that_is_not_repaired)
{
    fails(be_wrong, "FAULTS 4.24: replica 2 is not repaired");
}

/* ---- FAULTS 3.16, 3.24: the verdict ---- */

static void lie_at_the_end(void *context, struct sim *sim, enum sim_act act)
{
    static const struct sim_part part = {.kind = SIM_GET, .key = "k"};
    static struct lie l = {.find = "right", .put = "wrong"};
    (void)context;
    if (act != SIM_ACT_OVER) return;
    sim_put(sim, 0, "k", "right");
    cr_assert(sim_run_until(sim, sim_ops_done, NULL, SIM_SECOND), "%s", sim_failure(sim));
    lie_to_clients(sim, &l);
    sim_reads(sim, 0, &part, 1); /* of which only the history knows */
    cr_assert(sim_run_until(sim, sim_ops_done, NULL, SIM_SECOND), "%s", sim_failure(sim));
}
Test(alarms_world, a_client_was_lied_to)
{
    fails(lie_at_the_end, "FAULTS 3.16: not linearizable");
}

static void think_less(void *context, struct sim *sim, enum sim_act act)
{
    (void)context;
    if (act == SIM_ACT_OVER) history_of(sim)->budget = 1;
}
Test(alarms_world, a_history_that_is_too_hard)
{
    fails(think_less, "gave up");
}

static void say_much(void *context, struct sim *sim, enum sim_act act)
{
    (void)context;
    if (act == SIM_ACT_OVER) sim->nodes[1].sent *= 100;
}
Test(alarms_world, a_replica_that_says_too_much)
{
    fails(say_much, "FAULTS 3.24: replica 1 sent");
}
