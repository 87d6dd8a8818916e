/* What a replica says and must not (fixture_sent.c). */
#include "tests/sim/test_alarms.h"

#include <criterion/criterion.h>

static const struct pbft_digest other = {{3, 2, 1}};

/* A number that nobody has voted for. */
static pbft_seq next(const struct sim *sim)
{
    return sim_executed_last(sim) + 2;
}

static void commits(struct sim *sim, pbft_id id, pbft_view view, const struct pbft_digest *digest)
{
    says_synced(sim, id, sim_vote(sim, PBFT_COMMIT, id, view, next(sim), digest));
}

/* ---- agreement: FAULTS 3.2, 3.5, 3.8, 3.12, 3.13 ---- */

Test(alarms, another_digest_than_q_committed)
{
    struct sim *sim = sound(20);
    for (pbft_id id = 1; id < 4; id++)
        commits(sim, id, 0, &some);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    commits(sim, 0, 1, &other);
    rings(sim, "FAULTS 3.2");
}
Test(alarms, another_digest_than_fewer_committed_is_silent)
{
    struct sim *sim = sound(20);
    for (pbft_id id = 1; id < 3; id++)
        commits(sim, id, 0, &some);
    commits(sim, 0, 1, &other);
    is_silent(sim);
}
/* A liar's COMMIT completes a certificate as any other's does. */
Test(alarms, another_digest_than_q_committed_one_of_them_a_liar)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    o.byzantine = pbft_signers_of(2);
    struct sim *sim = sound_with(&o, 20);
    commits(sim, 1, 0, &some);
    commits(sim, 3, 0, &some);
    struct pbft_frame *vote = sim_vote(sim, PBFT_COMMIT, 2, 0, next(sim), &some);
    cr_assert_eq(sim_inject(sim, 2, 1, vote), PBFT_OK);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    commits(sim, 0, 1, &other);
    rings(sim, "FAULTS 3.2");
}
Test(alarms, a_replica_says_two_things)
{
    struct sim *sim = sound(20);
    for (unsigned i = 0; i < 2; i++)
        says_synced(sim, 1, sim_vote(sim, PBFT_PREPARE, 1, 0, next(sim), i == 0 ? &some : &other));
    rings(sim, "FAULTS 3.5");
}
/* Also in another life: `asked_view` stays. */
Test(alarms, a_vote_in_a_view_that_was_left)
{
    struct sim *sim = sound(20);
    sim->nodes[1].asked_view = 1;
    says_synced(sim, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, next(sim), &some));
    rings(sim, "FAULTS 3.5: replica 1 says COMMIT v 0");
}
Test(alarms, two_digests_prepared_in_one_view)
{
    struct sim *sim = sound(20);
    commits(sim, 1, 0, &some);
    commits(sim, 2, 0, &other);
    rings(sim, "FAULTS 3.8");
}
Test(alarms, another_root)
{
    struct sim *sim = sound(60);
    pbft_seq seq = sim_info(sim, 1).core.own_checkpoint + sim->o.params.checkpoint_interval;
    says_synced(sim, 1, sim_checkpoint(sim, 1, seq, &some));
    rings(sim, "FAULTS 3.12");
}
Test(alarms, a_vote_that_is_said_above_the_window)
{
    struct sim *sim = sound(0);
    says_synced(sim, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, 33, &some));
    rings(sim, "FAULTS 3.13: replica 1 votes");
}

/* ---- what is behind it: FAULTS 3.6, 3.7, 3.15, 2.41 ---- */

Test(alarms, a_vote_that_is_not_synced)
{
    struct sim *sim = sound(20);
    says(sim, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, next(sim), &some));
    rings(sim, "FAULTS 3.6: replica 1 sends");
}
Test(alarms, a_log_record_that_does_not_parse)
{
    struct sim *sim = sound(20);
    static const uint8_t half[] = {9, 0, 0, 0, 1};
    note_synced(&sim->nodes[1], (struct pbft_span){half, sizeof half});
    rings(sim, "a log record of replica 1");
}
Test(alarms, a_vote_that_is_not_signed)
{
    struct sim *sim = sound(20);
    says(sim, 1, spoilt(sim, sim_vote(sim, PBFT_COMMIT, 1, 0, next(sim), &some)));
    rings(sim, "FAULTS 3.7: replica 1 sends");
}
Test(alarms, another_reply_than_the_oracles)
{
    struct sim *sim = sound(20);
    struct pbft_msg msg = {.type = PBFT_REPLY};
    msg.reply.session = sim_client_session(sim, 0);
    msg.reply.t = 1;
    msg.reply.seq = 1;
    msg.reply.request = some;
    msg.reply.result = some;
    answers(sim, 1, sim_message(sim, 1, &msg));
    rings(sim, "FAULTS 3.15");
}
Test(alarms, a_reply_that_does_not_decode)
{
    struct sim *sim = sound(20);
    struct pbft_msg msg = {.type = PBFT_REPLY};
    struct pbft_frame *frame = sim_message(sim, 1, &msg);
    frame->size -= 4;
    answers(sim, 1, frame);
    rings(sim, "sends a REPLY that does not decode");
}
Test(alarms, a_vote_after_the_disk_failed)
{
    struct sim *sim = sound(20);
    sim->nodes[1].storage_failed = true;
    commits(sim, 1, 0, &some); /* as if it were there: only the disk is dead */
    rings(sim, "FAULTS 2.41");
}

/* ---- who must be silent: PROTOCOL 29 ---- */

static struct sim *mute(uint64_t operations)
{
    struct sim *sim = sound(operations);
    sim_kill(sim, 1);
    sim_restart_mute(sim, 1);
    return sim;
}
Test(alarms, a_vote_of_a_mute_replica)
{
    struct sim *sim = mute(20);
    says(sim, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, next(sim), &some));
    rings(sim, "PROTOCOL 29: mute replica 1 sends COMMIT");
}
Test(alarms, a_certificate_with_its_own_vote_from_a_mute_replica)
{
    struct sim *sim = sound(20);
    struct pbft_frame *frame = certificate_of(sim, 0);
    struct pbft_claim claim;
    cr_assert_eq(pbft_wire_peek(pbft_frame_span(frame), &claim), PBFT_OK);
    pbft_id id = pbft_signers_has(claim.signers, 1) ? 1 : 2;
    says(sim, id, pbft_frame_retain(frame));
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    sim_kill(sim, id);
    sim_restart_mute(sim, id);
    says(sim, id, frame);
    rings(sim, "sends a certificate with its own vote");
}
