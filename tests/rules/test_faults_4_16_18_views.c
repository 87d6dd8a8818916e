/* FAULTS 4.16-4.18: how long a view is waited for, whom to follow, and what ends with a view. */
#include "tests/rules/harness.h"

#define ALL (NET_BIT(0) | NET_BIT(1) | NET_BIT(2) | NET_BIT(3))

static void view_change(struct net *t, pbft_id sender, pbft_id to, pbft_view view)
{
    net_deliver(t, sender, to,
                net_view_change(t, &(struct net_vc){.view = view, .sender = sender}));
}

/* FAULTS 4.16: alone in asking for a view, nobody's timer runs and no further view is asked for. */
Test(faults_4, r16_timer_waits_for_a_quorum)
{
    struct net *t = net_solo(4, 2);
    net_put(t, 1);
    net_run(t, 600);
    cr_assert(net_info(t, 2).view == 1 && !net_info(t, 2).view_active);
    net_run(t, 60000);
    cr_assert_eq(net_info(t, 2).view, 1u, "q VIEW-CHANGEs never came");
    cr_assert_eq(net_info(t, 2).view_changes, 1u);
    view_change(t, 0, 2, 1);
    net_run(t, 10000);
    cr_assert_eq(net_info(t, 2).view, 1u, "q-1");
    view_change(t, 3, 2, 1);
    net_run(t, 990);
    cr_assert_eq(net_info(t, 2).view, 1u);
    net_run(t, 20);
    cr_assert_eq(net_info(t, 2).view, 2u, "q asked, no NEW-VIEW came");
    net_free(t);
}

/* It doubles for each fruitless view, up to the cap. */
Test(faults_4, r16_doubles_up_to_the_cap)
{
    struct net *t = net_solo(4, 2);
    net_put(t, 1);
    static const uint64_t expected_ms[] = {1000, 2000, 4000, 8000, 8000, 8000};
    net_run(t, 510);
    for (pbft_view view = 1, i = 0; i < 6; view++, i++) {
        cr_assert_eq(net_info(t, 2).view, view);
        if (view % 4 == 2) { /* its own view: it would make a NEW-VIEW of them */
            view_change(t, 0, 2, view + 1);
            view_change(t, 3, 2, view + 1);
            view++;
        }
        view_change(t, 0, 2, view);
        view_change(t, 3, 2, view);
        cr_assert_eq(net_info(t, 2).view, view);
        uint64_t timeout = net_info(t, 2).view_timeout_ns / MS;
        uint64_t least = expected_ms[view - 1 < 6 ? view - 1 : 5];
        cr_assert_eq(timeout, least, "view %lu: %lu ms", (unsigned long)view,
                     (unsigned long)timeout);
        net_run(t, timeout - 10);
        cr_assert_eq(net_info(t, 2).view, view, "too early");
        net_run(t, 20);
        cr_assert_eq(net_info(t, 2).view, view + 1, "too late");
    }
    net_free(t);
}

/* ... and eases with stable checkpoints, not with one execution (PROTOCOL 23). */
Test(faults_4, r16_eases_with_checkpoints)
{
    struct net *t = net_new(4);
    net_rule(
        t, (struct net_rule){.fate = NET_DROP, .type = PBFT_NEW_VIEW, .in_view = true, .view = 1});
    net_crash(t, 0);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 10000));
    cr_assert_eq(net_info(t, 2).view, 2u);
    cr_assert_eq(net_info(t, 2).view_timeout_ns, 2000 * MS, "one execution changes nothing");
    for (unsigned i = 2; i <= 4; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 4, 1000));
    cr_assert_eq(net_info(t, 2).view_timeout_ns, 1000 * MS, "halved");
    for (unsigned i = 5; i <= 12; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 12, 1000));
    cr_assert_eq(net_info(t, 2).view_timeout_ns, 500 * MS);
    net_free(t);
}

/* The first copies of VIEW-CHANGE and NEW-VIEW are lost on every link: one view is consumed. */
Test(faults_4, r16_lost_view_messages_are_sent_again)
{
    static const uint8_t types[] = {PBFT_VIEW_CHANGE, PBFT_NEW_VIEW};
    for (unsigned k = 0; k < 2; k++) {
        struct net *t = net_new(4);
        net_crash(t, 0);
        struct net_rule *lost[9];
        unsigned links = 0;
        for (pbft_id from = 1; from < 4; from++)
            for (pbft_id to = 1; to < 4; to++)
                if (from != to)
                    lost[links++] = net_rule(t, (struct net_rule){.fate = NET_DROP,
                                                                  .type = types[k],
                                                                  .from = NET_BIT(from),
                                                                  .to = NET_BIT(to),
                                                                  .times = 1});
        net_put(t, 1);
        cr_assert(net_run_executed(t, 0, 1, 3000), "%s", pbft_type_text(types[k]));
        unsigned dropped = 0;
        for (unsigned i = 0; i < links; i++)
            dropped += lost[i]->hits;
        cr_assert_eq(dropped, types[k] == PBFT_VIEW_CHANGE ? 6u : 2u);
        for (pbft_id id = 1; id < 4; id++) {
            cr_assert_eq(net_info(t, id).view, 1u);
            cr_assert(net_info(t, id).view_changes <= 1);
        }
        net_free(t);
    }
}

/* FAULTS 4.17: f+1 replicas above my view: the smallest of theirs. */
Test(faults_4, r17_join_the_smallest)
{
    struct net *t = net_solo(4, 0);
    view_change(t, 1, 0, 9);
    cr_assert_eq(net_info(t, 0).view, 0u, "f may all be liars");
    view_change(t, 2, 0, 5);
    cr_assert_eq(net_info(t, 0).view, 5u);
    cr_assert(!net_info(t, 0).view_active);
    view_change(t, 3, 0, 7); /* now 7 and 9 are above */
    cr_assert_eq(net_info(t, 0).view, 7u);
    net_free(t);
}

/* f liars, however high and however often, move nobody (FAULTS 2.15, 2.19). */
Test(faults_4, r17_liars_move_nobody)
{
    struct net *t = net_new(7);
    net_puppet(t, 5);
    net_puppet(t, 6);
    static const pbft_view views[] = {1, 2, 3, 77, (pbft_view)1 << 63, UINT64_MAX};
    for (unsigned i = 0; i < 6; i++) {
        for (pbft_id liar = 5; liar < 7; liar++)
            net_send(t, liar, 0,
                     net_view_change(t, &(struct net_vc){.view = views[i], .sender = liar}));
        net_put(t, i + 1);
        net_run(t, 100);
    }
    cr_assert(net_run_executed(t, 0, 6, 1000));
    net_run(t, 5000);
    for (pbft_id id = 0; id < 5; id++) {
        cr_assert_eq(net_info(t, id).view, 0u);
        cr_assert_eq(net_info(t, id).view_changes, 0u);
    }
    net_free(t);
}

/* Only each sender's highest counts; one sender twice is one sender. */
Test(faults_4, r17_keep_each_senders_highest)
{
    struct net *t = net_solo(4, 0);
    view_change(t, 1, 0, 5);
    view_change(t, 1, 0, 9);
    view_change(t, 1, 0, 6);
    cr_assert_eq(net_info(t, 0).view, 0u);
    view_change(t, 2, 0, 7);
    cr_assert_eq(net_info(t, 0).view, 7u, "the smallest of {9, 7}");
    net_free(t);
}

/* Replica 2, which prepared A at 1 in view 0 and has one COMMIT beside its own, leaves for view 1.
 */
static struct net *left_view_0(struct net_batch *a)
{
    struct net *t = net_solo(4, 2);
    t->no_wants = true;
    *a = net_batch(t, 0, 1, 1, "A");
    net_deliver(t, 0, 2, net_pre_prepare(t, 0, 1, a));
    net_deliver(t, 1, 2, net_vote(t, PBFT_PREPARE, 1, 0, 1, &a->digest));
    net_deliver(t, 0, 2, net_vote(t, PBFT_COMMIT, 0, 0, 1, &a->digest));
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PREPARED);
    view_change(t, 0, 2, 1);
    view_change(t, 3, 2, 1);
    cr_assert(net_info(t, 2).view == 1 && !net_info(t, 2).view_active);
    return t;
}

/* FAULTS 4.18: after a VIEW-CHANGE nothing of the old view is counted or answered. */
Test(faults_4, r18_old_view_is_over)
{
    struct net_batch a;
    struct net *t = left_view_0(&a);
    struct net_batch b = net_batch(t, 0, 1, 2, "B");
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_COMMIT, 3, 0, 1, &a.digest)),
                 PBFT_DROP_VIEW);
    cr_assert_eq(net_deliver(t, 1, 2, net_vote(t, PBFT_COMMIT, 1, 0, 1, &a.digest)),
                 PBFT_DROP_VIEW);
    cr_assert_eq(t->nodes[2].executes[1], 0u, "late COMMITs were counted");
    cr_assert_eq(net_deliver(t, 0, 2, net_pre_prepare(t, 0, 2, &b)), PBFT_DROP_VIEW);
    net_run(t, 300);
    cr_assert_eq(t->nodes[2].sent[PBFT_PREPARE], 1u);
    cr_assert_eq(t->nodes[2].sent[PBFT_COMMIT], 1u);
    net_free(t);
}

/* But a complete commit certificate of any view still executes (PROTOCOL 15). */
Test(faults_4, r18_certified_commit_still_executes)
{
    struct net_batch a;
    struct net *t = left_view_0(&a);
    pbft_signers signers = NET_BIT(0) | NET_BIT(1) | NET_BIT(3);
    cr_assert_eq(net_deliver(t, 1, 2, net_commit_certificate(t, 0, 1, &a, signers)), PBFT_OK);
    cr_assert_eq(t->nodes[2].executes[1], 1u);
    net_run(t, 10);
    cr_assert_eq(net_info(t, 2).executed, 1u);
    cr_assert(!net_info(t, 2).view_active, "and the view change goes on");
    cr_assert_eq(net_replied(t, 0, 1, 1), NET_BIT(2));
    net_free(t);
}
