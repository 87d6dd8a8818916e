/* PROTOCOL 29: a replica's key is replaced by an ordered operation, and the next epoch begins at a
 * checkpoint, whoever sleeps, dies or lies meanwhile. Every statement, state and answer is compared
 * as ever; that there is one configuration for each epoch, in fixture_epoch.c. */
#include "tests/sim/fixture.h"

#include "crypto/replace.h"
#include "pbft/quorum.h"

#include <criterion/criterion.h>

#define ENOUGH (60 * SIM_SECOND)

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok, "%s", sim_failure(sim));
}

static void load(struct sim *sim, uint64_t operations)
{
    for (uint32_t client = 1; client < 3; client++) /* the first one replaces keys */
        sim_load(sim, client, operations, SIM_MIX);
}

struct goal {
    pbft_epoch epoch;
    pbft_signers who;
};

static bool begun(struct sim *sim, void *context)
{
    const struct goal *g = context;
    for (pbft_id id = 0; id < sim_cluster(sim)->params.n; id++)
        if (pbft_signers_has(g->who, id) && (!sim_alive(sim, id) || sim_epoch(sim, id) < g->epoch))
            return false;
    return true;
}

static void until_epoch(struct sim *sim, pbft_epoch epoch, pbft_signers who)
{
    struct goal goal = {epoch, who};
    must(sim, sim_run_until(sim, begun, &goal, ENOUGH));
}

static void settle(struct sim *sim)
{
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
}

static uint8_t status_of(struct sim *sim, size_t number)
{
    cr_assert_eq(sim_op(sim, number)->outcome, PBFT_OUTCOME_EXECUTED);
    return sim_op(sim, number)->first;
}

/* As the administrator does it: again, when the epoch was another one than he knew. */
static void replace(struct sim *sim, pbft_id id)
{
    size_t number;
    do {
        number = sim_replace(sim, 0, id);
        must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    } while (status_of(sim, number) == PBFT_REPLACE_EPOCH);
    cr_assert_eq(status_of(sim, number), PBFT_REPLACE_OK);
}

static struct sim *make(uint64_t seed)
{
    struct sim_options o = sim_defaults(4, 3, seed);
    return sim_new(&o);
}

/* ---- what it is for ---- */

/* A replica loses its disk and comes back mute; its key is replaced; then the cluster survives the
 * loss of any other. */
Test(epochs, a_wiped_replica_returns_and_counts)
{
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct sim *sim = make(seed);
        pbft_id wiped = (pbft_id)(seed % 4), lost = (pbft_id)((seed + 1 + seed / 4 % 3) % 4);
        load(sim, 10);
        must(sim, sim_run_for(sim, (5 + seed * 11 % 50) * SIM_MS));
        sim_kill_harming(sim, wiped, SIM_HARM_WIPED);
        must(sim, sim_run_for(sim, seed % 3 * 300 * SIM_MS));
        sim_restart_mute(sim, wiped);
        load(sim, 10);
        size_t number = sim_replace(sim, 0, wiped);
        until_epoch(sim, 1, pbft_everyone(4));
        settle(sim);
        cr_expect_eq(status_of(sim, number), PBFT_REPLACE_OK);
        cr_expect(!sim_info(sim, wiped).core.mute);
        sim_kill(sim, lost);
        load(sim, 10);
        settle(sim);
        sim_free(sim);
    }
}

/* Planned rotation of everybody's key, one after the other, under load. */
Test(epochs, every_key_is_rotated)
{
    struct sim *sim = make(7);
    for (pbft_id id = 0; id < 4; id++) {
        load(sim, 12);
        must(sim, sim_run_for(sim, 20 * SIM_MS));
        replace(sim, id);
        until_epoch(sim, id + 1, pbft_everyone(4));
        settle(sim);
    }
    cr_expect_eq(sim_reached_so_far(sim, SIM_REACH_KEY_REPLACED), 4);
    sim_kill(sim, 2);
    load(sim, 10);
    settle(sim);
    sim_free(sim);
}

/* ---- who misses it ---- */

/* Cut off, or dead, before the operation is ordered, and back when the others are one or two epochs
 * further. It has to be told, and to fetch the state. */
static void straggle(uint64_t seed, bool dead, pbft_epoch epochs)
{
    struct sim *sim = make(seed);
    pbft_id straggler = (pbft_id)(seed % 4), replaced = (pbft_id)((seed + 1) % 4);
    pbft_signers others = pbft_everyone(4) & ~pbft_signers_of(straggler);
    load(sim, 8);
    must(sim, sim_run_for(sim, 30 * SIM_MS));
    if (dead)
        sim_kill(sim, straggler);
    else
        sim_isolate(sim, straggler, true);
    for (pbft_epoch epoch = 1; epoch <= epochs; epoch++) {
        replace(sim, replaced);
        until_epoch(sim, epoch, others);
    }
    load(sim, 8);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    if (dead)
        sim_restart(sim, straggler);
    else
        sim_isolate(sim, straggler, false);
    load(sim, 8);
    until_epoch(sim, epochs, pbft_everyone(4));
    settle(sim);
    sim_kill(sim, replaced);
    load(sim, 8);
    settle(sim);
    sim_free(sim);
}

Test(epochs, stragglers_are_told)
{
    for (uint64_t seed = 1; seed <= 16; seed++)
        straggle(seed, seed % 2 == 0, 1 + seed / 2 % 2);
}

/* The state that an epoch began with has no certificate but the epoch's proof: whoever fetches it
 * has to flush it all the same, or its CHECKPOINTs wait for ever (PROTOCOL 25). */
Test(epochs, a_state_that_was_fetched_at_the_beginning_is_flushed)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct sim *sim = make(seed);
        pbft_id straggler = (pbft_id)(seed % 4), lost = (pbft_id)((seed + 1) % 4);
        load(sim, 8);
        must(sim, sim_run_for(sim, 30 * SIM_MS));
        sim_isolate(sim, straggler, true);
        replace(sim, lost);
        until_epoch(sim, 1, pbft_everyone(4) & ~pbft_signers_of(straggler));
        settle(sim);
        sim_isolate(sim, straggler, false);
        until_epoch(sim, 1, pbft_everyone(4));
        settle(sim);
        sim_kill(sim, lost); /* each of the others is needed for a checkpoint */
        load(sim, 60);
        settle(sim);
        sim_free(sim);
    }
}

/* One after the other sleeps just while the epoch ends. */
Test(epochs, some_sleep_while_it_ends)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sim *sim = make(seed);
        pbft_id sleeper = (pbft_id)(seed % 4);
        load(sim, 10);
        sim_replace(sim, 0, (pbft_id)(seed / 4 % 4));
        must(sim, sim_run_for(sim, (seed * 17 % 300) * SIM_MS));
        sim_isolate(sim, sleeper, true);
        must(sim, sim_run_for(sim, (100 + seed % 5 * 400) * SIM_MS));
        sim_isolate(sim, sleeper, false);
        load(sim, 10);
        until_epoch(sim, 1, pbft_everyone(4));
        settle(sim);
        sim_free(sim);
    }
}

/* ---- crashes ---- */

/* A replica, or everybody, dies at some time around the change, and comes back with its disk. */
static void crash_around(uint64_t seed, bool everybody)
{
    struct sim *sim = make(seed);
    pbft_id victim = (pbft_id)(seed % 4);
    load(sim, 10);
    sim_replace(sim, 0, (pbft_id)(seed / 4 % 4));
    must(sim, sim_run_for(sim, (seed * 13 % 400) * SIM_MS));
    pbft_signers dark = pbft_signers_of(victim);
    if (everybody)
        dark = sim_blackout(sim);
    else
        sim_kill(sim, victim);
    must(sim, sim_run_for(sim, seed % 4 * 100 * SIM_MS));
    for (pbft_id id = 0; id < 4; id++)
        if (pbft_signers_has(dark, id)) sim_restart(sim, id);
    load(sim, 10);
    /* What was under way when everybody died may not have been ordered: it is by its client. */
    until_epoch(sim, 1, pbft_everyone(4));
    settle(sim);
    sim_kill(sim, (pbft_id)((seed + 2) % 4));
    load(sim, 5);
    settle(sim);
    sim_free(sim);
}

Test(epochs, crashes_around_the_change)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        crash_around(seed, seed % 3 == 0);
}

/* ---- no primary ends it alone ---- */

static bool no_empty_proposals(struct sim *sim, const struct sim_packet *packet, void *context)
{
    (void)sim;
    const pbft_id *silent = context;
    /* 132 bytes before the proposal's time and count: nothing but an empty one is as short */
    return packet->from_client || packet->from != *silent || packet->type != PBFT_PRE_PREPARE ||
           packet->frame->size > 132;
}

/* Nothing is asked for any more, and the primary proposes no empty batches: the others leave it. */
Test(epochs, a_primary_that_stops_is_left)
{
    struct sim *sim = make(3);
    pbft_id primary = 0;
    sim_set_filter(sim, no_empty_proposals, &primary);
    sim_replace(sim, 0, 2);
    until_epoch(sim, 1, pbft_everyone(4));
    settle(sim);
    cr_expect_gt(sim_reached_so_far(sim, SIM_REACH_VIEW_CHANGE), 0);
    sim_free(sim);
}

/* ---- who may ---- */

Test(epochs, only_the_administrator_and_only_one_at_a_time)
{
    struct sim *sim = make(5);
    size_t stranger = sim_replace(sim, 1, 2);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    cr_expect_eq(status_of(sim, stranger), PBFT_REPLACE_FORBIDDEN);
    size_t first = sim_replace(sim, 0, 2);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    cr_expect_eq(status_of(sim, first), PBFT_REPLACE_OK);
    if (sim_epoch(sim, 0) == 0 && sim_epoch(sim, 1) == 0) {
        size_t second = sim_replace(sim, 0, 3);
        must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
        uint8_t status = status_of(sim, second);
        cr_expect(status == PBFT_REPLACE_UNDERWAY || status == PBFT_REPLACE_EPOCH);
    }
    until_epoch(sim, 1, pbft_everyone(4));
    cr_expect_eq(sim_reached_so_far(sim, SIM_REACH_KEY_REPLACED), 1);
    sim_free(sim);
}
