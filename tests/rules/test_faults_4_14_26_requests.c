/* FAULTS 4.14, 4.15, 4.22, 4.23, 4.26: bodies, request timers, lost and early messages, hidden
 * proposals, re-proposals. */
#include "tests/rules/harness.h"

#include <string.h>

#define ALL (NET_BIT(0) | NET_BIT(1) | NET_BIT(2) | NET_BIT(3))

/* Replica 3 enters view 1, whose O names A at 1 and B at 2, without having seen either. */
static struct net *two_bodies_missing(struct net_batch *a, struct net_batch *b, uint64_t age_ns)
{
    struct net *t = net_solo(4, 3);
    *a = net_batch_at(t, net_wall(t, 3) - age_ns, 0, 1, 1, "A");
    *b = net_batch_at(t, net_wall(t, 3) - age_ns, 0, 1, 2, "B");
    struct pbft_frame *vcs[3];
    for (pbft_id id = 0; id < 3; id++) {
        struct net_vc vc = {.view = 1, .sender = id, .entry_count = 2};
        pbft_signers backups = NET_BIT(1) | NET_BIT(2);
        vc.entries[0] = (struct net_entry){1, 0, a->digest, backups, false, false};
        vc.entries[1] = (struct net_entry){2, 0, b->digest, backups, false, false};
        vcs[id] = net_view_change(t, &vc);
        net_deliver(t, id, 3, pbft_frame_retain(vcs[id]));
    }
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    for (pbft_id id = 0; id < 3; id++)
        pbft_frame_release(vcs[id]);
    cr_assert_eq(net_deliver(t, 1, 3, net_new_view_frame(t, &nv)), PBFT_OK);
    return t;
}

static void votes(struct net *t, pbft_seq seq, const struct pbft_digest *digest)
{
    net_deliver(t, 0, 3, net_vote(t, PBFT_PREPARE, 0, 1, seq, digest));
    net_deliver(t, 2, 3, net_vote(t, PBFT_PREPARE, 2, 1, seq, digest));
    net_deliver(t, 0, 3, net_vote(t, PBFT_COMMIT, 0, 1, seq, digest));
    net_deliver(t, 1, 3, net_vote(t, PBFT_COMMIT, 1, 1, seq, digest));
    net_deliver(t, 2, 3, net_vote(t, PBFT_COMMIT, 2, 1, seq, digest));
}

/* FAULTS 4.14: without the body no PREPARE (FAULTS 2.6); everybody is asked in turn; what a liar
 * sends ends nothing; the other seq goes on. */
Test(faults_4, r14_body_is_fetched_and_checked)
{
    struct net_batch a, b;
    struct net *t = two_bodies_missing(&a, &b, 0);
    t->no_wants = true;
    struct net_batch wrong = net_batch(t, 1, 1, 1, "wrong");
    cr_assert_eq(t->nodes[3].fetch_effects[PBFT_FETCH_BATCH], 2u);
    cr_assert_eq(t->nodes[3].sent[PBFT_PREPARE], 0u, "a digest without its body is not prepared");
    net_run(t, 100); /* 0, 1 and 2 are silent */
    for (pbft_id id = 0; id < 3; id++)
        cr_assert(t->nodes[id].received[PBFT_FETCH] >= 2, "replica %u was never asked", id);
    cr_assert_eq(net_deliver(t, 0, 3, net_batch_frame(t, &wrong)), PBFT_DROP_UNWANTED);
    votes(t, 1, &a.digest);
    votes(t, 2, &b.digest);
    cr_assert_eq(t->nodes[3].sent[PBFT_PREPARE] + t->nodes[3].sent[PBFT_COMMIT], 0u);

    uint64_t asked = t->nodes[1].received[PBFT_FETCH];
    cr_assert_eq(net_deliver(t, 2, 3, net_batch_frame(t, &b)), PBFT_OK);
    cr_assert_eq(t->nodes[3].sent[PBFT_PREPARE], 1u, "only seq 1 is held up");
    cr_assert_eq(net_phase(t, 3, 2, NULL), PBFT_PHASE_COMMITTED);
    cr_assert_eq(t->nodes[3].executes[2], 0u);
    net_run(t, 100);
    cr_assert(t->nodes[1].received[PBFT_FETCH] > asked, "still asking for A");
    cr_assert_eq(net_deliver(t, 0, 3, net_batch_frame(t, &a)), PBFT_OK);
    cr_assert_eq(t->nodes[3].executes[1], 1u);
    cr_assert_eq(t->nodes[3].executes[2], 1u);
    net_run(t, 10);
    asked = t->nodes[0].received[PBFT_FETCH] + t->nodes[1].received[PBFT_FETCH];
    net_run(t, 200);
    cr_assert_eq(t->nodes[0].received[PBFT_FETCH] + t->nodes[1].received[PBFT_FETCH], asked);
    net_free(t);
}

/* In a cluster: the backup that the primary gave no proposal to fetches it from another. */
Test(faults_4, r14_any_peer_serves)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_PRE_PREPARE, .to = NET_BIT(3)});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_BATCH, .from = NET_BIT(0)});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE});
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    cr_assert(t->nodes[3].received[PBFT_BATCH] > 0);
    cr_assert_eq(net_info(t, 3).view, 0u);
    net_free(t);
}

/* FAULTS 4.15: one client, one t, two operations: A to the primary, B to the backups. */
Test(faults_4, r15_conflicting_requests_cost_no_view)
{
    struct net *t = net_new(4);
    net_submit(t, 0, 1, 1, "A", NET_BIT(0));
    net_submit(t, 0, 1, 1, "B", ALL & ~NET_BIT(0));
    cr_assert(net_run_executed(t, 0, 1, 400));
    net_run(t, 3000);
    for (pbft_id id = 0; id < 4; id++) {
        cr_assert_eq(net_info(t, id).view, 0u, "a client's conflict cost a view");
        cr_assert_eq(net_info(t, id).view_changes, 0u);
        cr_assert_eq(net_info(t, id).pending, 0u);
        cr_assert_eq(t->nodes[id].state.executed, 1u);
    }
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* The timer starts with a valid pending request and stops when it executes: none, no view change;
 * one that the primary never proposes, a view change after T. */
Test(faults_4, r15_timer_runs_while_something_is_pending)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    net_run(t, 20000);
    cr_assert_eq(net_info(t, 1).view, 0u, "an idle cluster keeps its view");
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_PRE_PREPARE, .in_view = true});
    net_put(t, 2);
    net_run(t, 480);
    cr_assert_eq(net_info(t, 1).view, 0u);
    cr_assert(net_run_view(t, 0, 1, 100));
    cr_assert(net_run_executed(t, 0, 2, 100));
    net_free(t);
}

/* A client that reaches one backup only: it forwards, and if its copy is lost, again. */
Test(faults_4, r15_backups_forward_to_the_primary)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        struct net *t = net_new(4);
        if (lost > 0)
            net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_REQUEST, .times = lost});
        net_submit(t, 0, 1, 1, "put", NET_BIT(2));
        cr_assert(net_run_executed(t, 0, 1, 450));
        net_run(t, 1000);
        cr_assert_eq(net_info(t, 2).view, 0u);
        cr_assert_eq(net_info(t, 2).view_changes, 0u);
        net_free(t);
    }
}

/* Others' progress never resets the timer of a client whom the primary censors (FAULTS 2.4). */
static enum net_fate censor(struct net *t, const struct net_packet *p)
{
    if (p->type != PBFT_REQUEST || p->to != 0) return NET_PASS;
    return memcmp(p->frame->bytes + PBFT_WIRE_HEADER_BYTES, t->client_public[1].bytes,
                  PBFT_PUBLIC_KEY_BYTES) == 0
               ? NET_DROP
               : NET_PASS;
}

Test(faults_4, r15_censored_client_is_not_forgotten)
{
    struct net *t = net_new(4);
    t->filter = censor;
    net_submit(t, 1, 1, 1, "censored", ALL & ~NET_BIT(0));
    for (unsigned i = 1; i <= 12; i++) {
        net_put(t, i);
        net_run(t, 50);
    }
    cr_assert_eq(net_info(t, 1).view, 1u,
                 "12 executions of another client kept the liar in office");
    cr_assert(net_run_executed(t, 0, 13, 500));
    cr_assert(net_replied(t, 1, 1, 1) != 0);
    net_free(t);
}

/* FAULTS 4.22: any single loss, of each class on each link, is repaired without a view change. */
Test(faults_4, r22_single_losses_cost_no_view)
{
    static const uint8_t types[] = {PBFT_REQUEST,    PBFT_PRE_PREPARE, PBFT_PREPARE,    PBFT_COMMIT,
                                    PBFT_CHECKPOINT, PBFT_STATUS_MSG,  PBFT_CERTIFICATE};
    for (unsigned k = 0; k < 7; k++) {
        for (pbft_id victim = 0; victim < 4; victim++) {
            struct net *t = net_new(4);
            /* Lost for everybody, or on all of the victim's links: the harsher, the better. */
            for (unsigned i = 0; i < 8; i++)
                net_rule(t, (struct net_rule){.fate = NET_DROP,
                                              .type = types[k],
                                              .from = i < 4 ? NET_BIT(i) : NET_BIT(victim),
                                              .to = i < 4 ? NET_BIT(victim) : NET_BIT(i - 4),
                                              .times = 1});
            net_submit(t, 0, 1, 1, "put", types[k] == PBFT_REQUEST ? NET_BIT(victim) : 0);
            cr_assert(net_run_executed(t, 0, 1, 450), "%s of %u", pbft_type_text(types[k]), victim);
            for (unsigned i = 2; i <= 9; i++)
                net_put(t, i);
            cr_assert(net_run_executed(t, 0, 9, 2000), "%s of %u", pbft_type_text(types[k]),
                      victim);
            cr_assert(net_run_stable(t, 0, 8, 3000), "%s of %u", pbft_type_text(types[k]), victim);
            for (pbft_id id = 0; id < 4; id++)
                cr_assert_eq(net_info(t, id).view_changes, 0u, "%s of %u", pbft_type_text(types[k]),
                             victim);
            net_free(t);
        }
    }
}

/* The same with one replica silent, so that every remaining vote is needed. */
Test(faults_4, r22_single_losses_with_a_silent_replica)
{
    static const uint8_t types[] = {PBFT_PRE_PREPARE, PBFT_PREPARE, PBFT_COMMIT, PBFT_CHECKPOINT};
    for (unsigned k = 0; k < 4; k++) {
        struct net *t = net_new(4);
        net_crash(t, 3);
        for (pbft_id from = 0; from < 3; from++)
            for (pbft_id to = 0; to < 3; to++)
                if (from != to)
                    net_rule(t, (struct net_rule){.fate = NET_DROP,
                                                  .type = types[k],
                                                  .from = NET_BIT(from),
                                                  .to = NET_BIT(to),
                                                  .times = 1});
        for (unsigned i = 1; i <= 9; i++)
            net_put(t, i);
        cr_assert(net_run_executed(t, 0, 9, 450), "%s", pbft_type_text(types[k]));
        cr_assert(net_run_stable(t, 0, 8, 2000), "%s", pbft_type_text(types[k]));
        for (pbft_id id = 0; id < 3; id++)
            cr_assert_eq(net_info(t, id).view_changes, 0u);
        net_free(t);
    }
}

/* Votes of the next view: the signature first, a bound for each sender, the next view only. */
Test(faults_4, r22_flood_of_the_future)
{
    struct net *t = net_solo(4, 2);
    struct net_batch b = net_batch(t, 0, 1, 1, "B");
    cr_assert_eq(net_deliver(t, 3, 2, net_spoil(net_vote(t, PBFT_PREPARE, 0, 1, 1, &b.digest))),
                 PBFT_DROP_SIGNATURE);
    cr_assert_neq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 2, 1, &b.digest)), PBFT_OK,
                  "two views ahead");
    int64_t frames = 0;
    unsigned kept = 0;
    for (uint8_t i = 0; i < 40; i++) { /* one n, again and again: it has room for two of them */
        struct pbft_digest d = {{i}};
        kept += net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, 1, &d)) == PBFT_OK;
        kept += net_deliver(t, 3, 2, net_vote(t, PBFT_COMMIT, 3, 1, 1, &d)) == PBFT_OK;
    }
    cr_assert_eq(kept, 2u);
    for (unsigned round = 0; round < 40; round++) {
        for (pbft_seq seq = 1; seq <= 12; seq++) {
            struct pbft_digest d = {{(uint8_t)round, (uint8_t)seq}};
            kept += net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, seq, &d)) == PBFT_OK;
            kept += net_deliver(t, 3, 2, net_vote(t, PBFT_COMMIT, 3, 1, seq, &d)) == PBFT_OK;
            struct net_batch junk = net_batch(t, 1, 1, round + 1, "junk");
            net_deliver(t, 1, 2, net_pre_prepare(t, 1, seq, &junk));
        }
        if (round == 0) frames = t->frames.live;
    }
    cr_assert_eq(kept, 16u, "one PREPARE and one COMMIT for each n of the window");
    cr_assert(t->frames.live <= frames, "memory grows with the flood");
    /* Nobody else's room is touched. */
    cr_assert_eq(net_deliver(t, 0, 2, net_vote(t, PBFT_PREPARE, 0, 1, 1, &b.digest)), PBFT_OK);
    net_free(t);
}

/* Retransmission is rate-limited: nothing is sent again to a replica that moves (FAULTS 3.24). */
Test(faults_4, r22_no_retransmission_without_need)
{
    struct net *t = net_new(4);
    for (unsigned i = 1; i <= 40; i++) {
        net_put(t, i);
        net_run(t, 25);
    }
    cr_assert(net_run_executed(t, 0, 40, 500));
    net_run(t, 5000);
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(net_info(t, id).retransmissions, 0u);
    cr_assert_eq(net_sent(t, PBFT_PRE_PREPARE), 40u);
    cr_assert_eq(net_sent(t, PBFT_PREPARE), 120u);
    cr_assert_eq(net_sent(t, PBFT_COMMIT), 160u);
    cr_assert_eq(net_sent(t, PBFT_CHECKPOINT), 40u);
    net_free(t);
}

/* FAULTS 4.23: the primary hides its proposals and its COMMITs from 3 and answers no client. */
Test(faults_4, r23_hidden_proposals_reach_everybody)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    pbft_signers shown = NET_BIT(1) | NET_BIT(2);
    for (unsigned i = 1; i <= 3; i++) {
        net_put(t, i);
        net_run(t, 5);
        struct net_batch b = net_batch(t, 0, 1, i, "put");
        net_send(t, 0, shown, net_pre_prepare(t, 0, i, &b));
        net_send(t, 0, shown, net_vote(t, PBFT_COMMIT, 0, 0, i, &b.digest));
        cr_assert(net_run_executed(t, NET_BIT(3), i, 450), "the q-th reply never comes");
        net_run(t, 5);
        cr_assert_eq(net_replied(t, 0, 1, i), NET_BIT(1) | NET_BIT(2) | NET_BIT(3));
    }
    for (pbft_id id = 1; id < 4; id++)
        cr_assert_eq(net_info(t, id).view, 0u);
    cr_assert(t->nodes[3].received[PBFT_CERTIFICATE] > 0);
    net_free(t);
}

/* FAULTS 4.26: prepared, then everything stands still for an hour of wall clock (skew: 2 s); the
 * view change must still commit it. */
static void pause_then_view_change(bool body_missing)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT, .in_view = true});
    if (body_missing)
        net_rule(t, (struct net_rule){.fate = NET_DROP,
                                      .type = PBFT_PRE_PREPARE,
                                      .to = NET_BIT(3),
                                      .in_view = true});
    net_put(t, 1);
    net_run(t, 50);
    struct pbft_digest prepared, executed;
    cr_assert_eq(net_phase(t, 1, 1, &prepared), PBFT_PHASE_PREPARED);
    for (pbft_id id = 0; id < 4; id++)
        t->nodes[id].wall_skew_ns = INT64_C(3600) * 1000 * (int64_t)MS;
    net_crash(t, 0); /* now every vote is needed */
    cr_assert(net_run_executed(t, 0, 1, 3000));
    cr_assert_eq(net_phase(t, 1, 1, &executed), PBFT_PHASE_COMMITTED);
    cr_assert(pbft_digest_equal(&prepared, &executed));
    cr_assert_eq(net_info(t, 1).view, 1u);
    net_free(t);
}

Test(faults_4, r26_reproposals_skip_the_clock_test)
{
    pause_then_view_change(false);
}

Test(faults_4, r26_reproposals_whose_body_is_fetched)
{
    pause_then_view_change(true);
}

/* A re-proposal of an hour ago whose body comes by itself, or in a PRE-PREPARE sent again: nobody
 * else's endorsement is needed (PROTOCOL 11). */
Test(faults_4, r26_fetched_bodies_skip_the_clock_test)
{
    struct net_batch a, b;
    struct net *t = two_bodies_missing(&a, &b, UINT64_C(3600) * 1000 * MS);
    cr_assert_eq(net_deliver(t, 0, 3, net_batch_frame(t, &a)), PBFT_OK);
    cr_assert_eq(t->nodes[3].sent[PBFT_PREPARE], 1u);
    cr_assert_eq(net_deliver(t, 1, 3, net_pre_prepare(t, 1, 2, &b)), PBFT_OK);
    cr_assert_eq(t->nodes[3].sent[PBFT_PREPARE], 2u);
    struct net_batch fresh = net_batch_at(t, a.time_ns, 0, 1, 3, "new");
    cr_assert_eq(net_deliver(t, 1, 3, net_pre_prepare(t, 1, 3, &fresh)), PBFT_DROP_TIME,
                 "but a new proposal of that age is held");
    net_free(t);
}
