/* What becomes of a disk and must not (fixture_disk.c, fixture_found.c, fixture_harm.c), what a
 * replica makes of it (fixture_lives.c), and the configurations that follow (fixture_epoch.c). */
#include "tests/sim/test_alarms.h"

#include "crypto/epoch.h"

#include <criterion/criterion.h>
#include <string.h>

#define ENOUGH (60 * SIM_SECOND)

/* ---- a crash ---- */

Test(alarms, a_crash_after_a_load_is_silent)
{
    for (pbft_id id = 0; id < 4; id++) {
        struct sim *sim = sound(100);
        sim_load(sim, 0, 20, SIM_WRITES);
        (void)sim_run_for(sim, 10 * SIM_MS);
        sim_kill(sim, id);
        is_silent(sim);
    }
}
/* A vote that replica 2 never made. */
static struct sim *said_and_lost(void)
{
    struct sim *sim = sound(20);
    struct pbft_digest key;
    bool fresh;
    key_numbers(&key, PBFT_COMMIT, 7, 1000, 0);
    map_put(&sim->nodes[2].said, &key, &fresh)->value = some;
    return sim;
}
Test(alarms, something_said_that_the_disk_does_not_hold)
{
    struct sim *sim = said_and_lost();
    sim_kill(sim, 2);
    rings(sim, "which its disk does not hold");
}
Test(alarms, something_said_that_a_loss_of_power_would_take)
{
    struct sim *sim = said_and_lost();
    sim_load(sim, 0, 400, SIM_WRITES); /* so that disks are looked at now and then */
    (void)sim_run_until(sim, sim_loads_done, NULL, ENOUGH);
    rings(sim, "which its disk does not hold");
}
Test(alarms, a_crash_that_damages)
{
    struct sim *sim = sound(20);
    const struct node *n = &sim->nodes[1];
    cr_assert_neq(sim_kill_harming(sim, 1, SIM_HARM_ROT), 0);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    (void)found_check(sim, n, n->disk, n->durable); /* as if that were a crash's work */
    rings(sim, "takes what a crash left for damage");
}
Test(alarms, a_durable_record_that_is_gone)
{
    struct sim *sim = sound(20);
    struct node *n = &sim->nodes[1];
    struct pbft_log_stats stats;
    sim_snapshot_disk(sim, 1);
    sim_load(sim, 0, 20, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, ENOUGH), "%s", sim_failure(sim));
    pbft_log_stats(n->log, &stats);
    (void)found_check(sim, n, n->snapshot, stats.durable);
    rings(sim, "FAULTS 2.40");
}
Test(alarms, a_harm_that_is_not_noticed)
{
    struct sim *sim = sound(20);
    (void)sim_kill_harming(sim, 2, SIM_HARM_WIPED);
    (void)sim_kill_harming(sim, 1, SIM_HARM_FOREIGN); /* whose? 2 has none, so it is only gone */
    rings(sim, "would go on after its disk was harmed");
}

/* ---- the next life ---- */

Test(alarms, a_log_that_is_cut_too_early)
{
    struct sim *sim = sound(20);
    struct pbft_log *log = sim->nodes[1].log;
    struct pbft_log_stats stats;
    pbft_log_stats(log, &stats);
    struct pbft_frame *vote = sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &some);
    struct pbft_span part = pbft_frame_span(vote);
    cr_assert_eq(pbft_log_append(log, PBFT_RECORD_PREPARED, stats.last + 1, &part, 1),
                 PBFT_STATUS_OK);
    cr_expect_neq(pbft_log_cut(log, stats.first, stats.last + 1), PBFT_STATUS_OK);
    pbft_frame_release(vote);
    rings(sim, "PROTOCOL 26");
}
Test(alarms, a_log_that_is_shorter_than_it_was)
{
    struct sim *sim = sound(20);
    sim_kill(sim, 1);
    sim->nodes[1].durable += 1000;
    sim_restart(sim, 1);
    rings(sim, "does not go on with its log");
}
/* One of the reads of a start is answered from elsewhere. */
static struct sim *misread(unsigned read)
{
    struct sim *sim = sound(60);
    sim_kill(sim, 1);
    struct vdisk *disk = sim->nodes[1].disk;
    disk->misread_at = disk->reads + read;
    disk->misdirect_by = VDISK_SECTOR;
    sim_restart(sim, 1);
    return sim;
}
Test(alarms, a_log_that_cannot_be_read)
{
    unsigned read = 1; /* the first ones open it */
    struct sim *sim = misread(read);
    while (!sim_ok(sim) && strstr(sim_failure(sim), "cannot read its log") == NULL) {
        sim_free(sim);
        sim = misread(++read);
    }
    rings(sim, "PROTOCOL 25: replica 1 cannot read its log");
}
Test(alarms, a_log_that_is_refused)
{
    struct sim *sim = sound(20);
    struct pbft_log *log = sim->nodes[1].log;
    struct pbft_log_stats stats;
    pbft_log_stats(log, &stats);
    struct pbft_frame *vote = sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &some);
    uint8_t size[4];
    pbft_put_u32(size, vote->size);
    struct pbft_span parts[] = {{size, sizeof size}, pbft_frame_span(vote)};
    cr_assert_eq(pbft_log_append(log, PBFT_RECORD_STABLE, stats.last + 1, parts, 2),
                 PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    pbft_log_commit(log);
    (void)pbft_log_poll(log);
    pbft_frame_release(vote);
    (void)sim_kill_harming(sim, 1, SIM_HARM_POWER);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    sim_restart(sim, 1);
    rings(sim, "refuses the log that it wrote");
}

/* ---- the next epoch (PROTOCOL 29) ---- */

static bool begun(struct sim *sim, void *context)
{
    (void)context;
    return sim_epoch(sim, 1) > 0;
}

static struct sim *in_the_next_epoch(void)
{
    struct sim *sim = sound(20);
    (void)sim_replace(sim, 0, 2);
    cr_assert(sim_run_until(sim, sim_ops_done, NULL, ENOUGH), "%s", sim_failure(sim));
    cr_assert(sim_run_until(sim, begun, NULL, ENOUGH), "%s", sim_failure(sim));
    return sim;
}

Test(alarms, a_proof_that_is_none)
{
    struct sim *sim = sound(0);
    cr_expect_null(epoch_after(sim, 0, (struct pbft_span){some.bytes, sizeof some.bytes}));
    rings(sim, "a proof of epoch 1 is none");
}
Test(alarms, two_configurations_of_one_epoch)
{
    struct sim *sim = in_the_next_epoch();
    struct pbft_span proof = pbft_epoch_history(sim->epochs[1].cluster, 1);
    sim->epochs[1].owned.genesis_seq++; /* that of somebody who went another way */
    (void)epoch_after(sim, 0, proof);
    rings(sim, "two configurations of epoch 1");
}
Test(alarms, an_epoch_that_begins_too_late)
{
    struct sim *sim = in_the_next_epoch(), *young = sound(0);
    (void)epoch_after(young, 0, pbft_epoch_history(sim->epochs[1].cluster, 1));
    sim_free(sim);
    rings(young, "begins behind what was executed");
}
