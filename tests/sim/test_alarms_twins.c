/* The oracle of the twins' worlds (twins_check.c, twins.c): each of its alarms rings, too. */
#include "tests/sim/twins_internal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define K 4u /* checkpoint interval of these worlds */

static const struct pbft_digest some = {{1, 2, 3}}, other = {{3, 2, 1}};
static const uint8_t together[TWINS_INSTANCES_MAX];

/* Four replicas, 3 of them twice; some rounds without a partition. */
static struct twins *sound(unsigned rounds)
{
    struct twins_options o = {.n = 4, .twins = pbft_signers_of(3)};
    struct twins *w = twins_new(&o);
    for (unsigned i = 0; i < rounds; i++)
        cr_assert(twins_round(w, together), "%s", twins_failure(w));
    return w;
}

static void rings(struct twins *w, const char *words)
{
    cr_expect_not_null(strstr(twins_failure(w), words), "%s: %s", words, twins_failure(w));
    twins_free(w);
}

static void decides(struct twins *w, const struct pbft_effect *effect)
{
    struct instance *i = &w->instances[1];
    struct pbft_effect e = *effect;
    struct pbft_effects effects = {&e, 1, 1};
    i->hooks.effects(i->hooks.context, i->node, &effects);
}

static struct pbft_frame *message(struct twins *w, pbft_id as, struct pbft_msg *msg)
{
    msg->epoch = w->cluster.epoch;
    size_t size = pbft_wire_size(msg);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), (uint32_t)size);
    cr_assert_not_null(frame);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    pbft_frame_sign(&w->cluster, &pbft_signer_fast, &w->keys[as].secret, frame->bytes, frame->size);
    return frame;
}

static struct pbft_frame *vote(struct twins *w, uint8_t type, pbft_id as, pbft_view view,
                               pbft_seq seq, const struct pbft_digest *digest)
{
    struct pbft_msg msg = {.type = type};
    msg.vote.view = view;
    msg.vote.seq = seq;
    msg.vote.digest = *digest;
    msg.vote.sender = as;
    return message(w, as, &msg);
}

static void says(struct twins *w, struct pbft_frame *frame, pbft_id id)
{
    twins_check_sent(&w->instances[id], frame);
    pbft_frame_release(frame);
}

static void commits(struct twins *w, pbft_id id, pbft_view view, const struct pbft_digest *digest)
{
    says(w, vote(w, PBFT_COMMIT, id, view, w->executed_count + 2, digest), id);
}

static void persists(struct twins *w, enum pbft_record_kind record, struct pbft_frame *a,
                     struct pbft_frame *b)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_PERSIST};
    e.persist.record = record;
    e.persist.frames[0] = a;
    e.persist.frames[1] = b;
    decides(w, &e);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

/* ---- what is said ---- */

Test(alarms_twins, another_digest_than_q_committed)
{
    struct twins *w = sound(1);
    struct pbft_frame *of_twin = vote(w, PBFT_COMMIT, 3, 0, w->executed_count + 2, &some);
    commits(w, 1, 0, &some);
    commits(w, 2, 0, &some);
    twins_check_shown(w, of_twin);
    pbft_frame_release(of_twin);
    commits(w, 0, 1, &other);
    rings(w, "FAULTS 3.2");
}
Test(alarms_twins, a_replica_says_two_things)
{
    struct twins *w = sound(1);
    commits(w, 1, 0, &some);
    commits(w, 1, 0, &other);
    rings(w, "FAULTS 3.5");
}
Test(alarms_twins, a_vote_above_the_window)
{
    struct twins *w = sound(0);
    says(w, vote(w, PBFT_PREPARE, 1, 0, 2 * K + 1, &some), 1);
    rings(w, "FAULTS 3.13: replica 1 votes");
}

/* ---- what is decided ---- */

Test(alarms_twins, two_digests_prepared_in_one_view)
{
    struct twins *w = sound(1);
    for (unsigned i = 0; i < 2; i++)
        persists(w, PBFT_RECORD_PREPARED, vote(w, PBFT_PREPARE, 1, 0, 5, &some),
                 vote(w, PBFT_COMMIT, 1, 0, 5, i == 0 ? &some : &other));
    rings(w, "FAULTS 3.8");
}
Test(alarms_twins, another_root)
{
    struct twins *w = sound(1);
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_msg msg = {.type = PBFT_CHECKPOINT};
        msg.checkpoint.seq = 8 * K;
        msg.checkpoint.root = i == 0 ? some : other;
        msg.checkpoint.sender = 1;
        persists(w, PBFT_RECORD_CHECKPOINT, message(w, 1, &msg), NULL);
    }
    rings(w, "FAULTS 3.12");
}

static void executes(struct twins *w, pbft_seq seq, struct pbft_frame *frame, struct pbft_span body)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_EXECUTE};
    e.execute.seq = seq;
    e.execute.digest = some;
    e.execute.frame = frame;
    e.execute.proposal = body;
    decides(w, &e);
}
static void executes_nothing(struct twins *w, pbft_seq seq)
{
    executes(w, seq, NULL, (struct pbft_span){NULL, 0});
}
Test(alarms_twins, a_number_is_left_out)
{
    struct twins *w = sound(2);
    w->instances[1].executing = 0;
    executes_nothing(w, 2);
    rings(w, "FAULTS 3.3: replica 1 executes 2 after 0");
}
Test(alarms_twins, a_number_that_nobody_has_reached)
{
    struct twins *w = sound(2);
    w->instances[1].executing = w->executed_count + 4;
    executes_nothing(w, w->executed_count + 5);
    rings(w, "which nobody has reached");
}
Test(alarms_twins, another_proposal)
{
    struct twins *w = sound(2);
    cr_assert_gt(w->executed_count, 0);
    w->instances[1].executing = 0;
    executes_nothing(w, 1);
    rings(w, "FAULTS 3.1: replica 1");
}

/* Replica 1 is the first to execute a proposal of one request, of `size` bytes. */
static void executes_request(struct twins *w, const uint8_t *request, uint32_t size, uint32_t count)
{
    uint8_t body[1024] = {0};
    struct pbft_frame *frame = vote(w, PBFT_COMMIT, 1, 0, 1, &some);
    cr_assert_leq(size, sizeof body - 16);
    pbft_put_u32(body + 8, count);
    pbft_put_u32(body + 12, size);
    memcpy(body + 16, request, size);
    w->instances[1].executing = w->executed_count;
    executes(w, w->executed_count + 1, frame, (struct pbft_span){body, 16 + size});
    pbft_frame_release(frame);
}
Test(alarms_twins, a_request_that_no_client_signed)
{
    struct twins *w = sound(1);
    executes_request(w, some.bytes, sizeof some.bytes, 1);
    rings(w, "holds a request that no client signed");
}
Test(alarms_twins, a_proposal_that_does_not_parse)
{
    struct twins *w = sound(1);
    executes_request(w, w->requests[0]->bytes, w->requests[0]->size, 2);
    rings(w, "does not parse");
}

static void becomes_stable(struct twins *w, pbft_seq seq)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_STABLE};
    e.stable.seq = seq;
    e.stable.root = some;
    decides(w, &e);
}
Test(alarms_twins, a_checkpoint_that_was_stable_before)
{
    struct twins *w = sound(6);
    cr_assert_gt(w->instances[1].stable, 0);
    becomes_stable(w, w->instances[1].stable);
    rings(w, "FAULTS 3.11: replica 1: stable");
}
Test(alarms_twins, a_checkpoint_that_nobody_signed)
{
    struct twins *w = sound(6);
    becomes_stable(w, w->instances[1].stable + K);
    rings(w, "stable, but 0 correct ones signed");
}
Test(alarms_twins, a_correct_replica_is_accused)
{
    struct twins *w = sound(0);
    struct pbft_effect e = {.kind = PBFT_EFFECT_EVIDENCE};
    e.evidence.culprit = 2;
    decides(w, &e);
    rings(w, "FAULTS 3.20");
}
Test(alarms_twins, a_memory_that_was_not_lost)
{
    struct twins *w = sound(0);
    struct pbft_effect e = {.kind = PBFT_EFFECT_MUTED};
    decides(w, &e);
    rings(w, "PROTOCOL 29");
}

/* ---- state ---- */

Test(alarms_twins, a_view_that_was_left)
{
    struct twins *w = sound(1);
    w->instances[1].view = 7;
    cr_expect(!twins_round(w, together));
    rings(w, "FAULTS 3.9");
}
Test(alarms_twins, a_low_mark_that_no_checkpoint_moved)
{
    struct twins *w = sound(6);
    w->instances[1].stable -= K;
    cr_expect(!twins_round(w, together));
    rings(w, "STABLE said");
}
Test(alarms_twins, a_proposal_above_the_window)
{
    struct twins *w = sound(1);
    w->cluster.params.window = 0; /* so its core takes more than was agreed */
    twins_check_state(&w->instances[1]);
    rings(w, "FAULTS 3.13: replica 1 accepted");
}

/* ---- the world ---- */

Test(alarms_twins, traffic_without_an_end)
{
    struct twins *w = sound(1);
    enum { MANY = 1 << 17 };
    struct pbft_frame *frame = vote(w, PBFT_COMMIT, 2, 0, w->executed_count + 4, &some);
    free(w->queue);
    w->queue = calloc(MANY, sizeof *w->queue);
    cr_assert_not_null(w->queue);
    w->queue_capacity = w->queue_count = MANY;
    w->queue_first = 0;
    for (size_t i = 0; i < MANY; i++)
        w->queue[i] = (struct packet){pbft_frame_retain(frame), 2, 1};
    pbft_frame_release(frame);
    cr_expect(!twins_round(w, together));
    rings(w, "FAULTS 3.24");
}
Test(alarms_twins, a_request_that_is_refused)
{
    struct twins *w = sound(1);
    w->requests[2]->bytes[w->requests[2]->size - 1] ^= 1;
    cr_expect(!twins_round(w, together));
    rings(w, "refuses a client's request");
}
Test(alarms_twins, a_world_that_does_not_heal)
{
    struct twins *w = sound(1);
    w->requests_executed &= ~UINT64_C(1); /* what was asked for and never comes */
    cr_expect(!twins_heal(w));
    rings(w, "FAULTS 3.21");
}
