/* Every check of the fixture rings when what it looks for is there: forged calls, one at a time,
 * upon a cluster that is sound. (FAULTS 3.7 and 3.10 in detail: test_recheck.c; 3.16:
 * test_linear.c.) */
#include "tests/sim/fixture_internal.h"

#include "pbft/quorum.h"

#include <criterion/criterion.h>
#include <string.h>

static struct sim *sound(uint64_t operations)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    struct sim *sim = sim_new(&o);
    sim_load(sim, 0, operations, SIM_MIX);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, 20 * SIM_SECOND), "%s", sim_failure(sim));
    cr_assert(sim_check_bandwidth(sim), "%s", sim_failure(sim));
    return sim;
}

static void rings(struct sim *sim, const char *rule)
{
    cr_expect(!sim_ok(sim), "%s: nothing rang", rule);
    cr_expect_not_null(strstr(sim_failure(sim), rule), "%s: %s", rule, sim_failure(sim));
    sim_free(sim);
}

static void persist(struct sim *sim, enum pbft_record_kind record, struct pbft_frame *a,
                    struct pbft_frame *b)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_PERSIST};
    e.persist.record = record;
    e.persist.frames[0] = a;
    e.persist.frames[1] = b;
    struct pbft_effects effects = {&e, 1, 1};
    check_effects(sim, &sim->nodes[1], &effects);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

static const struct pbft_digest some = {{1, 2, 3}};

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
    struct pbft_frame *commit = sim_vote(sim, PBFT_COMMIT, 1, view, 1, &some);
    check_promise(sim, &sim->nodes[1], pbft_frame_span(commit));
    pbft_frame_release(commit);
    return sim;
}

static void leaves(struct sim *sim, pbft_view prepared_in)
{
    struct pbft_frame *frame = view_change(sim, prepared_in);
    check_view_change(sim, &sim->nodes[1], pbft_frame_span(frame));
    pbft_frame_release(frame);
}

Test(checks, a_view_change_that_forgets)
{
    struct sim *sim = promised(sound(0), 0);
    leaves(sim, UINT64_MAX);
    rings(sim, "FAULTS 3.14");
}
Test(checks, a_view_change_with_an_older_view)
{
    struct sim *sim = promised(sound(0), 1);
    leaves(sim, 0);
    rings(sim, "FAULTS 3.14");
}
Test(checks, a_view_change_that_remembers_passes)
{
    struct sim *sim = promised(promised(sound(0), 1), 0);
    leaves(sim, 1);
    cr_expect(sim_ok(sim), "%s", sim_failure(sim));
    sim_free(sim);
}
Test(checks, a_view_change_from_another_checkpoint)
{
    struct sim *sim = sound(0);
    sim->nodes[1].stable = 8;
    leaves(sim, UINT64_MAX);
    rings(sim, "FAULTS 3.14");
}

/* ---- FAULTS 3.18, 3.24 ---- */

Test(checks, too_many_fetches)
{
    struct sim *sim = sound(0);
    struct pbft_fetch what = {.kind = PBFT_FETCH_BATCH};
    for (what.seq = 1; what.seq <= 128 && sim_ok(sim); what.seq++)
        check_fetch(sim, &sim->nodes[1], &what, true);
    cr_expect_gt(what.seq, 96);
    rings(sim, "FAULTS 3.18");
}
Test(checks, fetches_that_end_are_no_burden)
{
    struct sim *sim = sound(0);
    struct pbft_fetch what = {.kind = PBFT_FETCH_BATCH};
    for (what.seq = 1; what.seq <= 1000; what.seq++) {
        check_fetch(sim, &sim->nodes[1], &what, true);
        check_fetch(sim, &sim->nodes[1], &what, false);
    }
    cr_expect(sim_ok(sim), "%s", sim_failure(sim));
    sim_free(sim);
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
    rings(sim, "FAULTS 3.18");
}
Test(checks, too_much_in_the_outbox)
{
    struct sim *sim = sound(0);
    sim->outbox_max = 10;
    sim_put(sim, 0, "k", "v");
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "FAULTS 3.18");
}
Test(checks, too_many_jobs)
{
    struct sim *sim = sound(0);
    sim->nodes[1].jobs_out = 5;
    limits_of(sim, 1);
    rings(sim, "FAULTS 3.18");
}
Test(checks, too_many_messages)
{
    struct sim *sim = sound(40);
    sim->nodes[2].sent *= 10;
    cr_expect(!sim_check_bandwidth(sim));
    rings(sim, "FAULTS 3.24");
}

/* ---- FAULTS 3.10, 3.13, 3.23 ---- */

Test(checks, a_vote_above_the_window)
{
    struct sim *sim = sound(0);
    persist(sim, PBFT_RECORD_PROPOSAL, sim_vote(sim, PBFT_PREPARE, 1, 0, 33, &some), NULL);
    rings(sim, "FAULTS 3.13");
}
Test(checks, a_vote_below_the_window)
{
    struct sim *sim = sound(0);
    sim->nodes[1].stable = 64;
    persist(sim, PBFT_RECORD_PROPOSAL, sim_vote(sim, PBFT_PREPARE, 1, 0, 40, &some), NULL);
    rings(sim, "FAULTS 3.13");
}
Test(checks, a_new_view_that_nobody_asked_for)
{
    struct sim *sim = sound(0);
    uint8_t digests[3 * PBFT_DIGEST_BYTES] = {0};
    struct pbft_msg msg = {.type = PBFT_NEW_VIEW};
    msg.new_view.view = 1;
    msg.new_view.sender = 1;
    msg.new_view.signers = 7;
    msg.new_view.vc_digests = digests;
    persist(sim, PBFT_RECORD_NEW_VIEW, sim_message(sim, 1, &msg), NULL);
    rings(sim, "FAULTS 3.10");
}
Test(checks, a_transfer_to_a_state_that_never_was)
{
    struct sim *sim = sound(60);
    struct pbft_effect e = {.kind = PBFT_EFFECT_TRANSFER};
    e.transfer.seq = sim->o.params.checkpoint_interval;
    e.transfer.root = some;
    struct pbft_effects effects = {&e, 1, 1};
    check_effects(sim, &sim->nodes[1], &effects);
    rings(sim, "FAULTS 3.23");
}

/* ---- FAULTS 3.6 across a crash, 3.15, 2.41 ---- */

Test(checks, a_crash_after_a_load_loses_nothing)
{
    for (pbft_id id = 0; id < 4; id++) {
        struct sim *sim = sound(100);
        sim_load(sim, 0, 20, SIM_WRITES);
        (void)sim_run_for(sim, 10 * SIM_MS);
        sim_kill(sim, id);
        cr_expect(sim_ok(sim), "%s", sim_failure(sim));
        sim_free(sim);
    }
}
Test(checks, something_said_that_the_disk_does_not_hold)
{
    struct sim *sim = sound(20);
    struct pbft_digest key;
    bool fresh;
    key_numbers(&key, PBFT_COMMIT, 7, 1000, 0);
    map_put(&sim->nodes[2].said, &key, &fresh)->value = some;
    sim_kill(sim, 2);
    rings(sim, "FAULTS 3.6");
}
Test(checks, another_reply_than_the_oracles)
{
    struct sim *sim = sound(20);
    struct pbft_msg msg = {.type = PBFT_REPLY};
    msg.reply.session = sim_client_session(sim, 0);
    msg.reply.t = 1;
    msg.reply.seq = 1;
    msg.reply.request = some;
    msg.reply.result = some;
    struct pbft_frame *frame = sim_message(sim, 1, &msg);
    struct pbft_peer to = {PBFT_PEER_CLIENT, 0, 1};
    check_outbound(sim, &sim->nodes[1], &to, frame);
    pbft_frame_release(frame);
    rings(sim, "FAULTS 3.15");
}
Test(checks, a_vote_after_the_disk_failed)
{
    struct sim *sim = sound(20);
    struct pbft_frame *frame = NULL;
    sim->nodes[1].storage_failed = true;
    struct pbft_peer to = {PBFT_PEER_REPLICA, 0, 1};
    frame = sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &some);
    sim->nodes[1].mute = false;
    struct pbft_claim claim;
    struct pbft_digest content, key;
    bool fresh;
    cr_assert(own_statement(sim, 1, pbft_frame_span(frame), &claim));
    statement_content(&claim, pbft_frame_span(frame), &content);
    statement_key(&claim, &content, &key);
    map_put(&sim->nodes[1].synced, &key, &fresh); /* as if it were there: only the disk is dead */
    key_numbers(&key, PBFT_COMMIT, 0, 1, 0);
    map_put(&sim->nodes[1].said, &key, &fresh)->value = content;
    check_outbound(sim, &sim->nodes[1], &to, frame);
    pbft_frame_release(frame);
    rings(sim, "FAULTS 2.41");
}
Test(checks, a_certificate_with_its_own_vote_from_a_mute_replica)
{
    struct sim *sim = sound(20);
    struct pbft_fetch what = {.kind = PBFT_FETCH_CHECKPOINT, .seq = 8};
    struct pbft_frame *frame = pbft_core_serve(pbft_node_core(sim->nodes[0].node), &what);
    struct pbft_claim claim;
    cr_assert_not_null(frame);
    cr_assert_eq(pbft_wire_peek(pbft_frame_span(frame), &claim), PBFT_OK);
    pbft_id id = pbft_signers_has(claim.signers, 1) ? 1 : 2;
    struct pbft_peer to = {PBFT_PEER_REPLICA, 0, 1};
    check_outbound(sim, &sim->nodes[id], &to, frame);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    sim_kill(sim, id);
    sim_restart_mute(sim, id);
    check_outbound(sim, &sim->nodes[id], &to, frame);
    pbft_frame_release(frame);
    rings(sim, "PROTOCOL 29");
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
    cr_expect(sim_ok(sim), "%s", sim_failure(sim));
    sim_free(sim);
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
