/* FAULTS 4.1-4.5: quorums, prepared, committed, what is on disk first, amnesia. */
#include "tests/rules/harness.h"

/* FAULTS 4.1: q = ceil((n+f+1)/2); 2f+1 is unsafe where n > 3f+1 (celo#253). */
Test(faults_4, r01_two_quorums_share_a_correct_replica)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        uint32_t f = pbft_quorum_faults(n), q = pbft_quorum(n);
        cr_assert(3 * f + 1 <= n && 3 * (f + 1) + 1 > n, "f of %u", n);
        cr_assert(2 * q >= n + f + 1, "two quorums of %u may share liars only", n);
        cr_assert(q + f <= n, "no quorum of %u without the liars", n);
        cr_assert(2 * (q - 1) < n + f + 1, "q of %u is larger than it must be", n);
        cr_assert_eq(pbft_quorum_weak(n), f + 1);
    }
    cr_assert_eq(pbft_quorum(5), 4u);
    cr_assert_eq(pbft_quorum(6), 4u);
}

/* n = 6, f = 1: the primary shows A to {1,2} and B to {3,4,5} and votes in both halves. */
Test(faults_4, r01_disjoint_groups_do_not_both_commit)
{
    struct net *t = net_new(6);
    net_puppet(t, 0);
    net_cut(t, NET_BIT(1) | NET_BIT(2), NET_BIT(3) | NET_BIT(4) | NET_BIT(5));
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 1, "B");
    pbft_signers left = NET_BIT(1) | NET_BIT(2), right = NET_BIT(3) | NET_BIT(4) | NET_BIT(5);
    net_send(t, 0, left, net_pre_prepare(t, 0, 1, &a));
    net_send(t, 0, right, net_pre_prepare(t, 0, 1, &b));
    net_send(t, 0, left, net_vote(t, PBFT_COMMIT, 0, 0, 1, &a.digest));
    net_send(t, 0, right, net_vote(t, PBFT_COMMIT, 0, 0, 1, &b.digest));
    net_run(t, 300);
    cr_assert_eq(t->nodes[1].executes[1] + t->nodes[2].executes[1], 0u, "three of six committed");
    for (pbft_id id = 3; id < 6; id++)
        cr_assert_eq(t->nodes[id].executes[1], 1u, "four of six, the liar included, are q");
    net_free(t);
}

/* FAULTS 4.2: the primary's PREPARE and a backup's second one do not count. */
Test(faults_4, r02_prepared_needs_distinct_backups)
{
    struct net *t = net_solo(4, 1);
    t->no_wants = true; /* the core itself must refuse */
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 1, "B");
    cr_assert_eq(net_deliver(t, 0, 1, net_vote(t, PBFT_PREPARE, 0, 0, 1, &a.digest)),
                 PBFT_DROP_ROLE);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a)), PBFT_OK);
    cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 1u);
    cr_assert_eq(net_deliver(t, 0, 1, net_vote(t, PBFT_PREPARE, 0, 0, 1, &a.digest)),
                 PBFT_DROP_ROLE);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 1, 0, 1, &a.digest)),
                 PBFT_DROP_DUPLICATE, "its own vote, sent back");
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest)), PBFT_OK);
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_PRE_PREPARED, "another digest");
    cr_assert_eq(net_deliver(t, 3, 1, net_vote(t, PBFT_PREPARE, 3, 0, 1, &a.digest)), PBFT_OK);
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_PREPARED);
    net_free(t);
}

/* The same as the primary sees it: one backup twice is one backup. */
Test(faults_4, r02_prepared_at_the_primary)
{
    struct net *t = net_solo(4, 0);
    t->no_wants = true;
    net_put(t, 1);
    net_run(t, 5);
    struct pbft_digest d;
    cr_assert_eq(net_phase(t, 0, 1, &d), PBFT_PHASE_PRE_PREPARED);
    cr_assert_eq(net_deliver(t, 1, 0, net_vote(t, PBFT_PREPARE, 1, 0, 1, &d)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 1, 0, net_vote(t, PBFT_PREPARE, 1, 0, 1, &d)), PBFT_DROP_DUPLICATE);
    cr_assert_eq(net_phase(t, 0, 1, NULL), PBFT_PHASE_PRE_PREPARED);
    cr_assert_eq(t->nodes[0].sent[PBFT_COMMIT], 0u);
    cr_assert_eq(net_deliver(t, 2, 0, net_vote(t, PBFT_PREPARE, 2, 0, 1, &d)), PBFT_OK);
    cr_assert_eq(net_phase(t, 0, 1, NULL), PBFT_PHASE_PREPARED);
    net_free(t);
}

/* Deliver the messages of `order`'s digits; returns after how many of them it executed. */
static unsigned executes_after(unsigned count, const unsigned *order)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "A");
    unsigned after = 0;
    for (unsigned i = 0; i < count; i++) {
        switch (order[i]) {
        case 0: net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a)); break;
        case 1: net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &a.digest)); break;
        case 2: net_deliver(t, 0, 1, net_vote(t, PBFT_COMMIT, 0, 0, 1, &a.digest)); break;
        case 3: net_deliver(t, 2, 1, net_vote(t, PBFT_COMMIT, 2, 0, 1, &a.digest)); break;
        default: net_deliver(t, 3, 1, net_vote(t, PBFT_COMMIT, 3, 0, 1, &a.digest)); break;
        }
        if (t->nodes[1].executes[1] > 0 && after == 0) after = i + 1;
    }
    cr_assert_leq(t->nodes[1].executes[1], 1u);
    if (after > 0) { /* its own COMMIT is among what it relies on, or q others' */
        net_run(t, 10);
        cr_assert_eq(net_replied(t, 0, 1, 1), NET_BIT(1));
    }
    net_free(t);
    return after;
}

static void permute(unsigned count, unsigned *order, unsigned at, unsigned *tried)
{
    if (at == count) {
        unsigned after = executes_after(count, order);
        if (count == 4)
            cr_assert_eq(after, 4u, "order %u%u%u%u executed after %u", order[0], order[1],
                         order[2], order[3], after);
        else
            cr_assert(after > 0, "order %u%u%u%u%u never executed", order[0], order[1], order[2],
                      order[3], order[4]);
        ++*tried;
        return;
    }
    for (unsigned i = at; i < count; i++) {
        unsigned swap = order[at];
        order[at] = order[i];
        order[i] = swap;
        permute(count, order, at + 1, tried);
        swap = order[at];
        order[at] = order[i];
        order[i] = swap;
    }
}

/* FAULTS 4.3: committed-local = prepared + q COMMITs, own included, whatever came first. */
Test(faults_4, r03_commit_in_every_order)
{
    unsigned order[] = {0, 1, 2, 3, 4}, tried = 0;
    permute(4, order, 0, &tried); /* each of the four is needed */
    cr_assert_eq(tried, 24u);
    permute(5, order, 0, &tried); /* with a COMMIT to spare */
    cr_assert_eq(tried, 144u);
}

/* FAULTS 4.4: nothing signed leaves before it is on disk, retransmissions included. The harness
 * compares every signed frame that leaves with the synced records. */
Test(faults_4, r04_disk_before_network)
{
    struct net *t = net_new(4);
    net_disk(t, 2, true);
    for (unsigned i = 1; i <= 3; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, NET_BIT(0) | NET_BIT(1) | NET_BIT(3), 3, 300));
    net_run(t, 1500); /* STATUS asks again and again meanwhile */
    struct pbft_core_info info = net_info(t, 2);
    cr_assert_eq(info.view, 0);
    cr_assert(info.committed >= 3, "the core does not wait for its disk (FAULTS 2.45)");
    cr_assert(t->nodes[2].sent[PBFT_PREPARE] > 0 && t->nodes[2].waiting_count > 0);
    for (size_t i = 0; i < t->nodes[0].said_count; i++)
        cr_assert(t->nodes[0].said[i].type != PBFT_VIEW_CHANGE);
    cr_assert(!pbft_signers_has(net_replied(t, 0, 1, 1), 2), "a reply relies on its own COMMIT");
    net_disk(t, 2, false);
    net_run(t, 50);
    cr_assert(pbft_signers_has(net_replied(t, 0, 1, 3), 2));
    net_free(t);
}

/* A disk that stands still everywhere: no PRE-PREPARE, no vote, no CHECKPOINT, no VIEW-CHANGE and
 * no NEW-VIEW reaches anybody. */
Test(faults_4, r04_every_class_waits)
{
    static const uint8_t types[] = {PBFT_PRE_PREPARE, PBFT_PREPARE,     PBFT_COMMIT,
                                    PBFT_CHECKPOINT,  PBFT_VIEW_CHANGE, PBFT_NEW_VIEW};
    for (unsigned k = 0; k < 6; k++) {
        struct net *t = net_new(4);
        if (types[k] == PBFT_VIEW_CHANGE || types[k] == PBFT_NEW_VIEW) net_crash(t, 0);
        struct net_rule *rule = net_rule(t, (struct net_rule){.fate = NET_HOLD, .type = types[k]});
        for (unsigned i = 1; i <= 4; i++)
            net_put(t, i);
        /* Until somebody wants to send one. The rule keeps the class from the others. */
        for (unsigned ms = 0; ms < 2000 && rule->hits == 0; ms++)
            net_run(t, 1);
        cr_assert(rule->hits > 0, "no %s", pbft_type_text(types[k]));
        net_free(t);

        t = net_new(4);
        if (types[k] == PBFT_VIEW_CHANGE || types[k] == PBFT_NEW_VIEW) net_crash(t, 0);
        for (pbft_id id = 0; id < 4; id++)
            if (!t->nodes[id].down) net_disk(t, id, true);
        for (unsigned i = 1; i <= 4; i++)
            net_put(t, i);
        net_run(t, 3000);
        for (pbft_id id = 0; id < 4; id++)
            cr_assert_eq(t->nodes[id].received[types[k]], 0u, "%s", pbft_type_text(types[k]));
        net_free(t);
    }
}

/* What each class relies on is in its record: body, prepared certificate, P and C. */
Test(faults_4, r04_records_hold_what_was_relied_on)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    bool proposal = false, prepared = false;
    for (size_t i = 0; i < t->nodes[1].record_count; i++) {
        const struct net_record *r = &t->nodes[1].records[i];
        if (r->kind == PBFT_RECORD_PROPOSAL) {
            const struct pbft_msg *m = net_decode(t, r->frames[0]);
            cr_assert(r->sync && m->type == PBFT_PRE_PREPARE);
            cr_assert_eq(m->pre_prepare.proposal.request_count, 1u);
            cr_assert_eq(net_decode(t, r->frames[1])->type, PBFT_PREPARE);
            proposal = true;
        } else if (r->kind == PBFT_RECORD_PREPARED) {
            const struct pbft_msg *m = net_decode(t, r->frames[0]);
            cr_assert(r->sync && m->type == PBFT_VIEW_CHANGE);
            cr_assert_eq(m->view_change.prepared_count, 1u);
            const struct pbft_prepared *p = &m->view_change.prepared[0];
            cr_assert(p->seq == 1 && pbft_signers_count(p->prepares.signers) == 2);
            cr_assert(pbft_digest_equal(&p->digest, &t->agreed[1]));
            cr_assert_eq(net_decode(t, r->frames[1])->type, PBFT_COMMIT);
            prepared = true;
        }
    }
    cr_assert(proposal && prepared);
    net_free(t);
}

/* FAULTS 4.5: commit A with replica 1, wipe replica 1, and let a lying primary offer B to 1 and 3,
 * where 1 would decide. */
static void amnesia(bool mute)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 1, "B");
    pbft_signers first = NET_BIT(1) | NET_BIT(2);
    net_cut(t, first, NET_BIT(3));
    net_send(t, 0, first, net_pre_prepare(t, 0, 1, &a));
    net_send(t, 0, NET_BIT(2), net_vote(t, PBFT_COMMIT, 0, 0, 1, &a.digest));
    cr_assert(net_run_executed(t, NET_BIT(2), 1, 100));
    net_crash(t, 1);
    net_rules_clear(t);
    if (mute) net_cut(t, NET_BIT(2), NET_BIT(1) | NET_BIT(3));
    net_restart(t, 1, mute);
    net_run(t, 10); /* what peers report of it (PROTOCOL 29) */
    if (!mute) net_cut(t, NET_BIT(2), NET_BIT(1) | NET_BIT(3));
    pbft_signers second = NET_BIT(1) | NET_BIT(3);
    net_send(t, 0, second, net_pre_prepare(t, 0, 1, &b));
    net_send(t, 0, second, net_vote(t, PBFT_COMMIT, 0, 0, 1, &b.digest));
    net_run(t, 400);
    cr_assert(net_info(t, 1).mute);
    cr_assert_eq(t->nodes[3].executes[1], 0u, "B beside A");
    net_put(t, 5);
    net_run(t, 1000); /* timers fire */
    cr_assert_eq(t->nodes[1].said_count, 0u, "a replica without its log has spoken");
    net_free(t);
}

Test(faults_4, r05_amnesia_never_votes_again)
{
    amnesia(true);
}

/* A disk that was rolled back cannot be seen from inside: a peer shows its own vote to it. */
Test(faults_4, r05_shown_its_own_vote)
{
    amnesia(false);
}

/* A mute replica still follows and executes. */
Test(faults_4, r05_mute_replica_follows)
{
    struct net *t = net_new(4);
    for (unsigned i = 1; i <= 6; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 4, 500));
    net_crash(t, 3);
    net_restart(t, 3, true);
    cr_assert(net_run_executed(t, NET_BIT(3), 6, 3000));
    cr_assert(net_roots_equal(t, 0));
    cr_assert_eq(t->nodes[3].said_count, 0u);
    net_free(t);
}

/* And it enters the view whose NEW-VIEW names the VIEW-CHANGE that it lost with its log. */
Test(faults_4, r05_mute_replica_enters_a_view_that_it_asked_for)
{
    struct net *t = net_new(4);
    net_crash(t, 0);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 2000));
    const struct pbft_new_view *nv = &net_decode(t, t->nodes[1].last_sent[PBFT_NEW_VIEW])->new_view;
    cr_assert(pbft_signers_has(nv->signers, 3));
    net_crash(t, 3);
    net_restart(t, 3, true);
    cr_assert(net_run_view(t, NET_BIT(3), 1, 3000));
    cr_assert(net_run_executed(t, NET_BIT(3), 1, 3000));
    net_free(t);
}
