/* What replicas promise and may hold (fixture_bounds.c): each check rings, and not too early. */
#include "tests/sim/test_alarms.h"

#include <criterion/criterion.h>

/* ---- FAULTS 3.14 ---- */

static struct pbft_frame *view_change(struct sim *sim, pbft_view prepared_in)
{
    uint8_t signatures[4 * PBFT_SIGNATURE_BYTES] = {0};
    struct pbft_prepared entry = {.seq = 1, .view = prepared_in, .digest = some};
    entry.pre_prepare_signature = signatures;
    entry.prepares.signers = prepared_in == 0 ? 6 : 5;
    entry.prepares.bytes = signatures;
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change.view = 3;
    msg.view_change.sender = 1;
    msg.view_change.stable_root = sim_cluster(sim)->genesis_root;
    msg.view_change.prepared = &entry;
    msg.view_change.prepared_count = prepared_in == UINT64_MAX ? 0 : 1;
    return sim_message(sim, 1, &msg);
}

static struct sim *promised(struct sim *sim, pbft_view view)
{
    persists(sim, 1, PBFT_RECORD_PREPARED, sim_vote(sim, PBFT_PREPARE, 1, view, 1, &some),
             sim_vote(sim, PBFT_COMMIT, 1, view, 1, &some));
    return sim;
}

static void leaves_with_nothing(struct sim *sim)
{
    persists(sim, 1, PBFT_RECORD_VIEW_CHANGE, view_change(sim, UINT64_MAX), NULL);
}

/* Its certificate is for the eyes of this check only. */
static void leaves(struct sim *sim, pbft_view prepared_in)
{
    struct pbft_frame *frame = view_change(sim, prepared_in);
    check_view_change(sim, &sim->nodes[1], pbft_frame_span(frame));
    pbft_frame_release(frame);
}

Test(checks, a_view_change_that_forgets)
{
    struct sim *sim = promised(sound(0), 0);
    leaves_with_nothing(sim);
    rings(sim, "forgets in view 3 that 1 was prepared");
}
Test(checks, a_view_change_with_an_older_view)
{
    struct sim *sim = promised(sound(0), 1);
    leaves(sim, 0);
    rings(sim, "n 1 was prepared in view 1, it says 0");
}
Test(checks, a_view_change_that_remembers_passes)
{
    struct sim *sim = promised(promised(sound(0), 1), 0);
    leaves(sim, 1);
    is_silent(sim);
}
Test(checks, a_view_change_from_another_checkpoint)
{
    struct sim *sim = sound(0);
    sim->nodes[1].stable = 8;
    leaves_with_nothing(sim);
    rings(sim, "VIEW-CHANGE from 0, but h is 8");
}
Test(checks, a_view_change_whose_certificates_are_wrong)
{
    struct sim *sim = sound(0);
    persists(sim, 1, PBFT_RECORD_VIEW_CHANGE, view_change(sim, 0), NULL);
    rings(sim, "FAULTS 3.7: replica 1 relies on a VIEW-CHANGE");
}
Test(checks, a_view_change_that_does_not_decode)
{
    struct sim *sim = sound(0);
    check_view_change(sim, &sim->nodes[1], (struct pbft_span){some.bytes, sizeof some.bytes});
    rings(sim, "does not decode");
}
Test(checks, prepared_without_a_commit)
{
    struct sim *sim = sound(0);
    persists(sim, 1, PBFT_RECORD_PREPARED, sim_vote(sim, PBFT_PREPARE, 1, 0, 1, &some),
             sim_vote(sim, PBFT_PREPARE, 1, 0, 1, &some));
    rings(sim, "without its COMMIT");
}

/* ---- FAULTS 3.18, 3.24 ---- */

static void fetches(struct sim *sim, pbft_seq seq, bool begins)
{
    struct pbft_effect e = {.kind = begins ? PBFT_EFFECT_FETCH : PBFT_EFFECT_FETCH_STOP};
    e.fetch.what = (struct pbft_fetch){.kind = PBFT_FETCH_BATCH, .seq = seq};
    decides(sim, 1, &e);
}
Test(checks, too_many_fetches)
{
    struct sim *sim = sound(0);
    pbft_seq seq = 1;
    for (; seq <= 128 && sim_ok(sim); seq++)
        fetches(sim, seq, true);
    cr_expect_gt(seq, 96);
    rings(sim, "things at once");
}
Test(checks, fetches_that_end_are_no_burden)
{
    struct sim *sim = sound(0);
    for (pbft_seq seq = 1; seq <= 1000; seq++) {
        fetches(sim, seq, true);
        fetches(sim, seq, false);
    }
    is_silent(sim);
}
static void limits_of(struct sim *sim, pbft_id id)
{
    struct pbft_node_info info = sim_info(sim, id);
    check_limits(sim, &sim->nodes[id], &info);
}
Test(checks, too_many_frames)
{
    enum { FRAMES = 64 };
    struct sim *sim = sound(0);
    struct pbft_frame *frames[FRAMES];
    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = pbft_frame_new(sim_pool(sim), 8u << 20);
    limits_of(sim, 1);
    for (unsigned i = 0; i < FRAMES; i++)
        pbft_frame_release(frames[i]);
    rings(sim, "bytes of frames are held");
}
Test(checks, too_much_in_the_outbox)
{
    struct sim *sim = sound(0);
    sim->outbox_max = 10;
    sim_put(sim, 0, "k", "v");
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "bytes wait in the outbox");
}
Test(checks, too_many_requests)
{
    struct sim *sim = sound(0);
    struct pbft_node_info info = sim_info(sim, 1);
    info.core.pending = UINT32_MAX;
    check_limits(sim, &sim->nodes[1], &info);
    rings(sim, "holds 4294967295 requests");
}
Test(checks, too_many_jobs)
{
    struct sim *sim = sound(0);
    sim->nodes[1].jobs_out = 5;
    limits_of(sim, 1);
    rings(sim, "has 5 jobs out");
}
Test(checks, too_many_messages)
{
    struct sim *sim = sound(40);
    sim->nodes[2].sent *= 10;
    cr_expect(!sim_check_bandwidth(sim));
    rings(sim, "FAULTS 3.24");
}

/* ---- PROTOCOL 23 ---- */

#define K 8u /* of sim_defaults() */

static void waits(struct sim *sim, uint64_t times, uint64_t over, uint64_t leaves, pbft_seq stable)
{
    struct node *node = &sim->nodes[1];
    struct pbft_core_info info = sim_info(sim, 1).core;
    info.view_timeout_ns = times * sim->o.params.view_timeout_ns / over;
    info.view_changes = node->left + leaves;
    info.stable = node->eased_at + stable;
    info.executed = node->left_at;
    check_back_off(sim, node, &info);
    node->timeout_ns = info.view_timeout_ns;
}

Test(checks, time_outs_that_double_and_ease)
{
    struct sim *sim = sound(5);
    waits(sim, 2, 1, 1, 0);
    waits(sim, 4, 1, 1, 0);
    waits(sim, 4, 1, 0, 0);
    waits(sim, 2, 1, 0, K);
    waits(sim, 1, 1, 0, K);
    waits(sim, 1, 1, 0, K);
    is_silent(sim);
}

Test(checks, time_outs_that_do_not)
{
    /* times, over, views left, sequence numbers that h moved by; after a first doubling */
    static const uint64_t wrong[][4] = {
        {1, 2, 0, 0}, {100, 1, 1, 0}, {1, 1, 0, 0}, {2, 1, 0, K},
        {4, 1, 0, 0}, {8, 1, 1, 0},   {2, 1, 1, 0}, {1, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct sim *sim = sound(1);
        waits(sim, 2, 1, 1, 0);
        cr_expect(sim_ok(sim), "%s", sim_failure(sim));
        waits(sim, wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3]);
        rings(sim, "PROTOCOL 23");
    }
}

Test(checks, time_outs_are_looked_at_in_every_run)
{
    struct sim *sim = sound(1);
    sim->nodes[1].timeout_ns *= 4; /* so what it has now is a quarter of what it had */
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "PROTOCOL 23");
}
