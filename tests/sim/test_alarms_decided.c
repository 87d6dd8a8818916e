/* What a replica decides and must not (fixture_check.c), and what the oracle is given to execute
 * (fixture_oracle.c). */
#include "tests/sim/test_alarms.h"

#include "service/kv.h"

#include <criterion/criterion.h>

#define K 8u /* of sim_defaults() */

static void executes(struct sim *sim, pbft_id id, pbft_seq seq, struct pbft_frame *frame,
                     struct pbft_span proposal, const struct pbft_digest *digest)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_EXECUTE};
    e.execute.seq = seq;
    e.execute.digest = *digest;
    e.execute.frame = frame;
    e.execute.proposal = proposal;
    decides(sim, id, &e);
}

static void executes_nothing(struct sim *sim, pbft_id id, pbft_seq seq)
{
    executes(sim, id, seq, NULL, (struct pbft_span){NULL, 0}, &some);
}

static void becomes_stable(struct sim *sim, pbft_id id, pbft_seq seq)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_STABLE};
    e.stable.seq = seq;
    e.stable.root = some;
    decides(sim, id, &e);
}

/* ---- FAULTS 3.1, 3.3, 3.4 ---- */

Test(alarms, a_number_is_left_out)
{
    struct sim *sim = sound(20);
    sim->nodes[1].executing = 0;
    executes_nothing(sim, 1, 2);
    rings(sim, "FAULTS 3.3: replica 1 executes 2 after 0");
}
Test(alarms, a_number_that_nobody_has_reached)
{
    struct sim *sim = sound(20);
    sim->nodes[1].executing = sim_executed_last(sim) + 4;
    executes_nothing(sim, 1, sim_executed_last(sim) + 5);
    rings(sim, "which nobody has reached");
}
Test(alarms, another_proposal)
{
    struct sim *sim = sound(20);
    sim->nodes[1].executing = 0;
    executes_nothing(sim, 1, 1);
    rings(sim, "FAULTS 3.1: replica 1");
}

/* Replica 1 is the first to get there. */
static pbft_seq ahead(struct sim *sim)
{
    sim->nodes[1].executing = sim_executed_last(sim);
    return sim_executed_last(sim) + 1;
}
Test(alarms, a_proposal_that_does_not_open)
{
    struct sim *sim = sound(20);
    struct pbft_frame *vote = sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &some);
    executes(sim, 1, ahead(sim), vote, pbft_frame_span(vote), &some);
    pbft_frame_release(vote);
    rings(sim, "does not open");
}
Test(alarms, a_body_of_another_digest)
{
    struct sim *sim = sound(20);
    executes_nothing(sim, 1, ahead(sim));
    rings(sim, "with a body of another digest");
}
Test(alarms, a_request_that_no_client_signed)
{
    struct sim *sim = sound(20);
    static const uint8_t op[1] = {7};
    struct pbft_frame *request = sim_request(sim, 0, 0, 1000, (struct pbft_span){op, 1});
    map_free(&sim->requests); /* so it was somebody else */
    pbft_seq seq = ahead(sim);
    struct pbft_digest digest;
    struct pbft_frame *frame =
        sim_pre_prepare(sim, 0, 0, seq, sim_wall_ns(sim), &request, 1, &digest);
    struct pbft_msg msg;
    sim->arena.used = 0;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(frame), &sim->o.params, &sim->arena, &msg),
                 PBFT_OK);
    executes(sim, 1, seq, frame, msg.pre_prepare.proposal.bytes, &digest);
    pbft_frame_release(frame);
    pbft_frame_release(request);
    rings(sim, "holds a request that no client signed");
}

/* ---- FAULTS 3.7, 3.10, 3.20 ---- */

Test(alarms, a_checkpoint_whose_certificate_is_wrong)
{
    struct sim *sim = sound(60);
    persists(sim, 1, PBFT_RECORD_STABLE, spoilt(sim, certificate_of(sim, 1)), NULL);
    rings(sim, "FAULTS 3.7: replica 1 relies on a CERTIFICATE");
}

static struct pbft_frame *new_view(struct sim *sim)
{
    uint8_t digests[3 * PBFT_DIGEST_BYTES] = {0};
    struct pbft_msg msg = {.type = PBFT_NEW_VIEW};
    msg.new_view.view = 1;
    msg.new_view.sender = 1;
    msg.new_view.signers = 7;
    msg.new_view.vc_digests = digests;
    return sim_message(sim, 1, &msg);
}
Test(alarms, a_new_view_that_nobody_asked_for)
{
    struct sim *sim = sound(0);
    persists(sim, 1, PBFT_RECORD_NEW_VIEW, new_view(sim), NULL);
    rings(sim, "FAULTS 3.10: replica 1 installs a view without");
}
Test(alarms, a_new_view_that_its_primary_did_not_sign)
{
    struct sim *sim = sound(0);
    persists(sim, 1, PBFT_RECORD_NEW_VIEW, spoilt(sim, new_view(sim)), NULL);
    rings(sim, "FAULTS 3.10: replica 1 relies on a NEW-VIEW");
}

static void accuses(struct sim *sim, pbft_id culprit, bool contradiction)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_EVIDENCE};
    struct pbft_digest other = some;
    other.bytes[0] ^= contradiction;
    e.evidence.culprit = culprit;
    e.evidence.frames[0] = sim_vote(sim, PBFT_PREPARE, culprit, 0, 1, &some);
    e.evidence.frames[1] = sim_vote(sim, PBFT_PREPARE, culprit, 0, 1, &other);
    decides(sim, 1, &e);
    pbft_frame_release(e.evidence.frames[0]);
    pbft_frame_release(e.evidence.frames[1]);
}
Test(alarms, a_correct_replica_is_accused)
{
    struct sim *sim = sound(0);
    accuses(sim, 2, true);
    rings(sim, "FAULTS 3.20");
}
static struct sim *with_a_liar(void)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    o.byzantine = pbft_signers_of(2);
    return sound_with(&o, 0);
}
Test(alarms, evidence_that_proves_nothing)
{
    struct sim *sim = with_a_liar();
    accuses(sim, 2, false);
    rings(sim, "FAULTS 3.7: evidence of replica 1");
}
Test(alarms, evidence_against_a_liar_is_silent)
{
    struct sim *sim = with_a_liar();
    accuses(sim, 2, true);
    is_silent(sim);
}

/* ---- FAULTS 3.9, 3.11, 3.13, 3.22, 3.23 ---- */

Test(alarms, a_view_that_was_left)
{
    struct sim *sim = sound(20);
    sim->nodes[1].view = 7;
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "FAULTS 3.9");
}
static void leaves_for(struct sim *sim, pbft_id id, pbft_view view)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_VIEW};
    e.view.view = view;
    decides(sim, id, &e);
}
Test(alarms, a_view_that_is_left_before_its_time)
{
    struct sim *sim = sound(0);
    leaves_for(sim, 1, 1);
    rings(sim, "FAULTS 3.22: replica 1 leaves for view 1 after");
}
Test(alarms, a_view_that_others_leave_may_be_left_before_its_time)
{
    struct sim *sim = sound(0);
    sim->nodes[1].stay.heard[2] = sim->nodes[1].stay.heard[3] = 1;
    leaves_for(sim, 1, 1);
    cr_expect(sim_ok(sim), "f+1 have asked for it: %s", sim_failure(sim));
    sim_free(sim);
}
Test(alarms, a_view_that_was_left_in_another_life)
{
    struct sim *sim = sound(20);
    sim->nodes[1].asked_view = 7;
    sim_kill(sim, 1);
    sim_restart(sim, 1);
    rings(sim, "FAULTS 3.9: replica 1 comes back in view 0 after 7");
}
Test(alarms, a_checkpoint_that_was_stable_before)
{
    struct sim *sim = sound(60);
    becomes_stable(sim, 1, sim->nodes[1].stable);
    rings(sim, "FAULTS 3.11: replica 1: stable");
}
Test(alarms, a_checkpoint_that_nobody_signed)
{
    struct sim *sim = sound(60);
    becomes_stable(sim, 1, sim->nodes[1].stable + K);
    rings(sim, "stable with 0 signers");
}
Test(alarms, a_low_mark_that_no_checkpoint_moved)
{
    struct sim *sim = sound(60);
    sim->nodes[1].stable -= K;
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "STABLE said");
}
Test(alarms, a_vote_above_the_window)
{
    struct sim *sim = sound(0);
    persists(sim, 1, PBFT_RECORD_PROPOSAL, sim_vote(sim, PBFT_PREPARE, 1, 0, 33, &some), NULL);
    rings(sim, "FAULTS 3.13: replica 1 accepts");
}
Test(alarms, a_vote_below_the_window)
{
    struct sim *sim = sound(0);
    sim->nodes[1].stable = 64;
    persists(sim, 1, PBFT_RECORD_PROPOSAL, sim_vote(sim, PBFT_PREPARE, 1, 0, 40, &some), NULL);
    rings(sim, "FAULTS 3.13: replica 1 accepts");
}
Test(alarms, a_proposal_above_the_window)
{
    struct sim *sim = sound(20);
    struct pbft_core_info info = sim_info(sim, 1).core;
    cr_assert_gt(info.proposed, info.stable + 1);
    sim->o.params.window = 1; /* so the core takes more than was agreed */
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, " accepted 12 above");
}
Test(alarms, a_view_that_changes_without_need)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    o.expect_no_view_change = true;
    struct sim *sim = sound_with(&o, 20);
    sim_isolate(sim, 0, true); /* now there is need, and nobody has told the oracle */
    sim_load(sim, 0, 5, SIM_WRITES);
    (void)sim_run_for(sim, 10 * SIM_SECOND);
    rings(sim, "FAULTS 3.22");
}

static struct pbft_effect transfer(struct sim *sim, const struct pbft_digest *root)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_TRANSFER};
    e.transfer.seq = sim->o.params.checkpoint_interval;
    e.transfer.root = *root;
    return e;
}
Test(alarms, a_transfer_to_a_state_that_never_was)
{
    struct sim *sim = sound(60);
    struct pbft_effect e = transfer(sim, &some);
    decides(sim, 1, &e);
    rings(sim, "FAULTS 3.23");
}
Test(alarms, a_right_state_that_is_given_up)
{
    struct sim *sim = sound(60);
    struct pbft_digest key;
    key_numbers(&key, K, 0, 0, 0);
    struct pbft_effect e = transfer(sim, &map_find(&sim->roots, &key)->value);
    e.transfer.diverged = K;
    decides(sim, 1, &e);
    rings(sim, "FAULTS 4.24: replica 1 says that its state");
}
Test(alarms, a_memory_that_was_not_lost)
{
    struct sim *sim = sound(20);
    struct pbft_effect e = {.kind = PBFT_EFFECT_MUTED};
    decides(sim, 1, &e);
    rings(sim, "PROTOCOL 29: replica 1 thinks");
}

/* ---- what it takes: FAULTS 2.35, 3.7, 3.13; and 3.15 ---- */

Test(alarms, a_request_with_two_results)
{
    struct sim *sim = sound(20);
    struct pbft_digest key;
    bool fresh;
    key_numbers(&key, 0, sim_client_session(sim, 0), 1000, 0);
    map_put(&sim->results, &key, &fresh)->value = some;
    uint8_t op[64];
    struct pbft_span text = {(const uint8_t *)"k", 1};
    size_t size = pbft_kv_encode_put(op, sizeof op, text, text);
    struct pbft_frame *request = sim_request(sim, 0, 0, 1000, (struct pbft_span){op, size});
    (void)sim_inject_client(sim, 0, 0, request);
    (void)sim_run_for(sim, SIM_SECOND);
    rings(sim, "t 1000 has two results");
}
Test(alarms, a_bit_flipped_and_nobody_noticed)
{
    struct sim *sim = sound(20);
    struct event e = {.kind = EVENT_TO_NODE,
                      .from = 2,
                      .to = 1,
                      .flipped = true,
                      .incarnation = sim->nodes[1].incarnation};
    e.frame = sim_vote(sim, PBFT_PREPARE, 2, 0, sim_executed_last(sim) + 2, &some);
    sim->o.signer = &pbft_signer_ed25519; /* by which the signature is none */
    node_frame(sim, &e);
    pbft_frame_release(e.frame);
    rings(sim, "FAULTS 2.35");
}
Test(alarms, a_view_change_that_its_sender_did_not_sign)
{
    struct sim *sim = sound(0);
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change.view = 1;
    msg.view_change.sender = 2;
    msg.view_change.stable_root = sim_cluster(sim)->genesis_root;
    struct pbft_frame *frame = sim_message(sim, 2, &msg);
    sim->o.signer = &pbft_signer_ed25519; /* by which the signature is none */
    (void)sim_inject(sim, 2, 1, frame);
    rings(sim, "FAULTS 3.7: replica 1 takes a VIEW-CHANGE");
}
Test(alarms, a_proposal_below_the_window)
{
    struct sim *sim = sound(20);
    pbft_seq seq = sim_executed_last(sim) + 1;
    sim->nodes[1].stable = seq; /* so the core takes what is over */
    (void)sim_inject(sim, 0, 1, sim_pre_prepare(sim, 0, 0, seq, sim_wall_ns(sim), NULL, 0, NULL));
    rings(sim, "FAULTS 3.13: replica 1 takes a proposal");
}
