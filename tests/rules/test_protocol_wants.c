/* PROTOCOL 16: which frames can still matter, type by type. What is wanted without need costs a
 * verification each time that anybody repeats it; what is refused by mistake is never seen. */
#include "tests/rules/harness.h"

#include <string.h>

/* Replica 1 of `t`, asked by the channel of another. */
static bool wants(struct net *t, uint8_t type, pbft_view view, pbft_seq seq, pbft_id sender,
                  const struct pbft_digest *digest)
{
    struct pbft_claim claim = {type, t->cluster.epoch, view, seq, sender, {{0}}, 0};
    if (digest != NULL) claim.digest = *digest;
    return pbft_core_wants(t->nodes[1].core, sender == 2 ? 3 : 2, &claim);
}

/* `last` requests are executed by all, the checkpoints up to there are stable. */
static struct net *executed(pbft_seq last)
{
    struct net *t = net_new(4);
    for (uint64_t number = 1; number <= last; number++) {
        net_put(t, number);
        cr_assert(net_run_executed(t, 0, number, 1000));
    }
    net_run(t, 100);
    return t;
}

static struct pbft_digest other_than(struct pbft_digest digest)
{
    digest.bytes[0] ^= 1;
    return digest;
}

/* A backup: one proposal of each number, and one that proves the primary a liar, once. */
Test(protocol, r16_a_second_proposal_is_wanted_as_evidence_once)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    struct net_batch c = net_batch(t, 0, 1, 1, "c");
    pbft_id nobody = PBFT_REPLICAS_MAX;
    cr_assert(wants(t, PBFT_PRE_PREPARE, 0, 1, nobody, &a.digest));
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a)), PBFT_OK);
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 0, 1, nobody, &a.digest));
    cr_assert(wants(t, PBFT_PRE_PREPARE, 0, 1, nobody, &b.digest));
    cr_assert_neq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b)), PBFT_OK);
    cr_assert(net_accused(t, 1, 0));
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 0, 1, nobody, &c.digest), "it is known for a liar");
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 0, 0, nobody, &c.digest));
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 0, t->params.window + 1, nobody, &c.digest));
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 2, 1, nobody, &c.digest), "two views ahead");
    net_free(t);
}

/* The primary: what it has proposed it needs from nobody. What it does not know of its own is the
 * sign of amnesia (PROTOCOL 29). */
Test(protocol, r16_an_own_proposal_is_wanted_if_it_is_unknown)
{
    struct net *t = net_new(4);
    net_crash(t, 0);
    net_put(t, 1);
    cr_assert(net_run_view(t, 0, 1, 5000));
    cr_assert(net_run_executed(t, 0, 1, 5000));
    struct pbft_digest proposed;
    pbft_seq seq = net_info(t, 1).executed;
    cr_assert_geq(net_phase(t, 1, seq, &proposed), PBFT_PHASE_PRE_PREPARED);
    struct pbft_digest unknown = other_than(proposed);
    cr_assert_not(wants(t, PBFT_PRE_PREPARE, 1, seq, PBFT_REPLICAS_MAX, &proposed));
    cr_assert(wants(t, PBFT_PRE_PREPARE, 1, seq, PBFT_REPLICAS_MAX, &unknown));
    cr_assert(wants(t, PBFT_PRE_PREPARE, 5, seq, PBFT_REPLICAS_MAX, &unknown), "of a later view");
    cr_assert_not(wants(t, PBFT_HEADER, 1, seq, PBFT_REPLICAS_MAX, &proposed));
    cr_assert(wants(t, PBFT_HEADER, 1, seq, PBFT_REPLICAS_MAX, &unknown));
    cr_assert(wants(t, PBFT_HEADER, 5, seq, PBFT_REPLICAS_MAX, &unknown));
    net_free(t);
}

/* Somebody else's header: only one that was asked for. */
Test(protocol, r16_a_header_of_another_is_wanted_if_it_was_asked_for)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest digest = {{1}};
    cr_assert_not(wants(t, PBFT_HEADER, 0, 1, PBFT_REPLICAS_MAX, &digest));
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a)), PBFT_OK);
    cr_assert_not(wants(t, PBFT_HEADER, 0, 1, PBFT_REPLICAS_MAX, &b.digest));
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest)), PBFT_OK);
    cr_assert(wants(t, PBFT_HEADER, 0, 1, PBFT_REPLICAS_MAX, &b.digest),
              "a PREPARE of what it was not shown");
    net_free(t);
}

/* Of the low mark: only a liar's. Below it: nobody's, whatever else they never said. */
Test(protocol, r16_checkpoints_up_to_the_low_mark_have_had_their_time)
{
    struct pbft_digest digest = {{7}};
    struct net *t = executed(0);
    cr_assert_not(wants(t, PBFT_CHECKPOINT, 0, 0, 2, &digest), "nobody signs the genesis");
    net_free(t);

    t = net_new(4);
    pbft_seq k = t->params.checkpoint_interval;
    net_crash(t, 3); /* it never says anything */
    for (uint64_t number = 1; number <= 2 * k; number++) {
        net_put(t, number);
        cr_assert(net_run_executed(t, 0, number, 1000));
    }
    cr_assert(net_run_stable(t, NET_BIT(1), 2 * k, 1000));
    struct pbft_digest agreed = net_info(t, 1).stable_root;
    struct pbft_digest lie = other_than(agreed);
    cr_assert_not(wants(t, PBFT_CHECKPOINT, 0, k, 3, &lie), "below the low mark");
    cr_assert_not(wants(t, PBFT_CHECKPOINT, 0, 2 * k, 3, &agreed));
    cr_assert(wants(t, PBFT_CHECKPOINT, 0, 2 * k, 3, &lie));
    cr_assert_not(wants(t, PBFT_CHECKPOINT, 0, 2 * k, 1, &lie), "nobody is accused by itself");
    cr_assert(wants(t, PBFT_CHECKPOINT, 0, 3 * k, 3, &lie));
    cr_assert_eq(net_deliver(t, 3, 1, net_checkpoint(t, 3, 3 * k, &lie)), PBFT_OK);
    cr_assert_not(wants(t, PBFT_CHECKPOINT, 0, 3 * k, 3, &lie), "it is held");
    cr_assert(wants(t, PBFT_CHECKPOINT, 0, 3 * k, 3, &agreed));
    net_free(t);
}

static enum pbft_verdict give_view_change(struct net *t, pbft_view view, pbft_id sender,
                                          const struct net_entry *entry)
{
    struct net_vc vc = {.view = view, .sender = sender, .entry_count = entry != NULL};
    if (entry != NULL) vc.entries[0] = *entry;
    return net_deliver(t, sender, 1, net_view_change(t, &vc));
}

/* A sender's newest, and a second one of that view as evidence. */
Test(protocol, r16_a_view_change_is_wanted_if_it_is_newer)
{
    struct net *t = net_solo(4, 1);
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 0, 0, 2, NULL), "the view that it is in");
    cr_assert(wants(t, PBFT_VIEW_CHANGE, 1, 0, 2, NULL));
    cr_assert_eq(give_view_change(t, 3, 2, NULL), PBFT_OK);
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 2, 0, 2, NULL));
    cr_assert(wants(t, PBFT_VIEW_CHANGE, 3, 0, 2, NULL));
    cr_assert(wants(t, PBFT_VIEW_CHANGE, 4, 0, 2, NULL));
    cr_assert(wants(t, PBFT_VIEW_CHANGE, 1, 0, 1, NULL), "one of its own that it does not know");
    struct net_entry entry = {1, 0, {{1}}, NET_BIT(0) | NET_BIT(2) | NET_BIT(3), false, false};
    entry.signers = NET_BIT(2) | NET_BIT(3);
    cr_assert_neq(give_view_change(t, 3, 2, &entry), PBFT_OK);
    cr_assert(net_accused(t, 1, 2));
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 3, 0, 2, NULL), "it is known for a liar");
    net_free(t);
}

/* What a NEW-VIEW waits for, though another of the same sender is held; of its view only. */
Test(protocol, r16_the_view_changes_that_a_new_view_names_are_wanted)
{
    struct net *t = net_solo(4, 1);
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 2, 3};
    for (unsigned i = 0; i < 3; i++)
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 2, .sender = senders[i]});
    struct net_entry entry = {1, 0, {{1}}, NET_BIT(2) | NET_BIT(3), false, false};
    cr_assert_eq(give_view_change(t, 2, 3, &entry), PBFT_OK);
    cr_assert_eq(give_view_change(t, 2, 3, NULL), PBFT_DROP_CONFLICT);
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 2, 0, 3, NULL), "it is known for a liar");
    struct net_nv nv = net_new_view(t, 2, vcs, 3);
    cr_assert_eq(net_deliver(t, 2, 1, net_new_view_frame(t, &nv)), PBFT_OK);
    cr_assert(wants(t, PBFT_VIEW_CHANGE, 2, 0, 3, NULL), "the NEW-VIEW names another of its");
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 0, 0, 3, NULL));
    cr_assert_not(wants(t, PBFT_VIEW_CHANGE, 1, 0, 3, NULL), "older than what is held of it");
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* A certificate of what is committed already, unless it makes a checkpoint stable. */
Test(protocol, r16_certificates_of_what_is_known_are_not_wanted)
{
    struct net *t = net_new(4);
    pbft_seq k = t->params.checkpoint_interval;
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT});
    for (uint64_t number = 1; number <= k + 1; number++) {
        net_put(t, number);
        cr_assert(net_run_executed(t, NET_BIT(1), number, 1000));
    }
    cr_assert_eq(net_info(t, 1).stable, 0u);
    for (pbft_seq seq = 0; seq <= k + 1; seq++)
        cr_assert_eq(wants(t, PBFT_CERTIFICATE, 0, seq, PBFT_REPLICAS_MAX, NULL), seq == k, "%u",
                     (unsigned)seq);
    cr_assert(wants(t, PBFT_CERTIFICATE, 0, k + 2, PBFT_REPLICAS_MAX, NULL));
    net_free(t);

    t = net_solo(4, 1);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    cr_assert_eq(net_deliver(t, 0, 1, net_commit_certificate(t, 0, 2, &b, 0x0d)), PBFT_OK);
    cr_assert_eq(net_info(t, 1).committed, 0u, "1 is missing");
    cr_assert_not(wants(t, PBFT_CERTIFICATE, 0, 2, PBFT_REPLICAS_MAX, NULL));
    cr_assert(wants(t, PBFT_CERTIFICATE, 0, 1, PBFT_REPLICAS_MAX, NULL));
    net_free(t);
}

/* What comes before the NEW-VIEW of its view is kept, and counts when that is installed: be the old
 * view still the present one, or left already. */
static void votes_before_their_view(bool left)
{
    struct net *t = net_solo(4, 2);
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = senders[i]});
        if (left) cr_assert_eq(net_deliver(t, senders[i], 2, pbft_frame_retain(vcs[i])), PBFT_OK);
    }
    cr_assert_eq(net_info(t, 2).view, left ? 1u : 0u);
    struct net_batch a = net_batch(t, 0, 1, 1, "a");
    cr_assert_eq(net_deliver(t, 1, 2, net_pre_prepare(t, 1, 1, &a)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 1, 2, net_pre_prepare(t, 1, 1, &a)), PBFT_DROP_DUPLICATE);
    cr_assert_eq(net_deliver(t, 0, 2, net_vote(t, PBFT_PREPARE, 0, 1, 1, &a.digest)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, 1, &a.digest)), PBFT_OK);
    struct pbft_digest digest;
    cr_assert_eq(net_phase(t, 2, 1, &digest), PBFT_PHASE_NONE);
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    for (unsigned i = 0; i < 3; i++) {
        if (!left) (void)net_deliver(t, senders[i], 2, pbft_frame_retain(vcs[i]));
        pbft_frame_release(vcs[i]);
    }
    cr_assert(net_info(t, 2).view == 1 && net_info(t, 2).view_active);
    cr_assert_eq(net_phase(t, 2, 1, &digest), PBFT_PHASE_PREPARED);
    net_free(t);
}

Test(protocol, r16_votes_that_come_before_their_view_count_in_it)
{
    votes_before_their_view(false);
    votes_before_their_view(true);
}

/* A third of the room for proposals is for those of a view that has not begun. */
Test(protocol, r16_proposals_of_the_next_view_have_bounded_room)
{
    static char op[1500];
    memset(op, 'x', sizeof op - 1);
    struct pbft_params params = net_params(4);
    struct net *t =
        net_new_bounded(&params, 1); /* the least: three times a batch, and 4 KiB each */
    for (pbft_id id = 0; id < 4; id++)
        if (id != 2) net_puppet(t, id);
    uint64_t bytes = 0;
    bool refused = false;
    for (pbft_seq seq = 1; seq <= params.window && !refused; seq++) {
        struct net_batch batch = net_batch(t, 0, 1, seq, op);
        struct pbft_frame *frame = net_pre_prepare(t, 1, seq, &batch);
        bytes += frame->size;
        refused = bytes > NET_BATCH_MAX + 4096;
        cr_assert_eq(net_deliver(t, 1, 2, frame), refused ? PBFT_DROP_QUOTA : PBFT_OK, "%u",
                     (unsigned)seq);
    }
    cr_assert(refused);
    net_free(t);
}
