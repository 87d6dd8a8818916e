/* PROTOCOL 11-16, 24, 33: proposals and time, votes and certificates, checkpoints, laggards. */
#include "tests/rules/harness.h"

#include <string.h>

static uint32_t proposals_of(struct net *t, pbft_id id)
{
    return (uint32_t)t->nodes[id].sent[PBFT_PRE_PREPARE];
}

/* Everything that replica 1 of a solo net needs to commit `batch` at seq in view 0. */
static void decide(struct net *t, pbft_id at, pbft_seq seq, const struct net_batch *batch)
{
    net_deliver(t, 0, at, net_commit_certificate(t, 0, seq, batch, 0x0d));
    net_run(t, 5);
}

/* Replica `at` has sent its VIEW-CHANGE for view 1: nobody proposed what a client asked for. */
static void make_it_leave(struct net *t, pbft_id at)
{
    net_submit(t, 3, 1, 1, "unheard", NET_BIT(at));
    net_run(t, 600);
    cr_assert_eq(net_info(t, at).view, 1u);
    cr_assert_not(net_info(t, at).view_active);
}

/* ---- PROTOCOL 11: time ---- */

/* A proposal outside the skew is held, in both directions, until clocks or others allow it. */
Test(protocol, r11_a_time_outside_the_skew_is_held_not_dropped)
{
    for (unsigned past = 0; past < 2; past++) {
        struct net *t = net_solo(4, 1);
        uint64_t wall = net_wall(t, 1), skew = t->params.clock_skew_ns;
        uint64_t limit = past ? wall - skew : wall + skew;
        struct net_batch good = net_batch_at(t, limit, 0, 1, 1, "a");
        struct net_batch bad = net_batch_at(t, past ? limit - 1 : limit + 1, 0, 1, 2, "b");
        cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &good)), PBFT_OK);
        cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 2, &bad)), PBFT_DROP_TIME);
        cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 1u);
        cr_assert_eq(net_phase(t, 1, 2, NULL), PBFT_PHASE_NONE);
        /* One backup and the primary are f+1: a correct clock is among them. */
        cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 2, &bad.digest)),
                     PBFT_OK);
        cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 2u);
        cr_assert_eq(net_phase(t, 1, 2, NULL), PBFT_PHASE_PREPARED);
        net_free(t);
    }
}

Test(protocol, r11_a_held_proposal_is_rechecked_as_the_clock_moves)
{
    struct net *t = net_solo(4, 1);
    uint64_t ahead = net_wall(t, 1) + t->params.clock_skew_ns + 100 * MS;
    struct net_batch b = net_batch_at(t, ahead, 0, 1, 1, "a");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b)), PBFT_DROP_TIME);
    cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 0u);
    net_run(t, 1000);
    cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 1u);
    net_free(t);
}

/* f+1 distinct replicas: with f = 2 one backup is not enough, and its repetition does not help. */
Test(protocol, r11_endorsements_are_f_plus_1_distinct_replicas)
{
    struct net *t = net_solo(7, 1);
    t->no_wants = true;
    struct net_batch b = net_batch_at(t, 5, 0, 1, 1, "from 1970");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b)), PBFT_DROP_TIME);
    net_deliver(t, 0, 1, net_vote(t, PBFT_PREPARE, 0, 0, 1, &b.digest));
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest));
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest));
    struct net_batch other = net_batch_at(t, 6, 0, 1, 1, "from 1970");
    net_deliver(t, 3, 1, net_vote(t, PBFT_PREPARE, 3, 0, 1, &other.digest));
    cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 0u);
    net_deliver(t, 4, 1, net_vote(t, PBFT_PREPARE, 4, 0, 1, &b.digest));
    cr_assert_eq(t->nodes[1].sent[PBFT_PREPARE], 1u);
    net_free(t);
}

/* No monotony check: whatever is not above the last effective time is accepted. */
Test(protocol, r11_times_up_to_the_effective_one_are_accepted)
{
    struct net *t = net_solo(4, 1);
    uint64_t wall = net_wall(t, 1);
    struct net_batch first = net_batch_at(t, wall, 0, 1, 1, "a");
    decide(t, 1, 1, &first);
    cr_assert_eq(net_info(t, 1).executed, 1u);
    net_run(t, 3 * t->params.clock_skew_ns / MS);
    struct net_batch at = net_batch_at(t, wall, 0, 1, 2, "b");
    struct net_batch below = net_batch_at(t, 77, 0, 1, 3, "c");
    struct net_batch above = net_batch_at(t, wall + 1, 0, 1, 4, "d");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 2, &at)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 3, &below)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 4, &above)), PBFT_DROP_TIME);
    net_free(t);
}

/* The primary proposes max(its wall clock, last effective). */
Test(protocol, r11_the_primary_never_proposes_below_the_effective_time)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    uint64_t effective = t->nodes[0].state.effective_ns;
    t->nodes[0].wall_skew_ns = -(int64_t)(60000 * MS); /* its clock jumps back a minute */
    net_put(t, 2);
    cr_assert(net_run_executed(t, 0, 2, 300), "its own clock would have been refused");
    const struct pbft_msg *m = net_decode(t, t->nodes[0].last_sent[PBFT_PRE_PREPARE]);
    cr_assert_eq(m->pre_prepare.proposal.time_ns, effective);
    cr_assert_eq(net_info(t, 1).view, 0u);
    net_free(t);
}

/* Re-proposals in a NEW-VIEW skip the test (FAULTS 4.26). */
Test(protocol, r11_a_new_view_re_proposes_whatever_the_time)
{
    struct net *t = net_solo(4, 2);
    struct net_batch old = net_batch_at(t, 1234, 0, 1, 1, "decided long ago");
    struct pbft_frame *vcs[3];
    for (unsigned i = 0; i < 3; i++) {
        struct net_vc vc = {.view = 1, .sender = i < 2 ? i : 3};
        if (i == 0) {
            vc.entry_count = 1;
            vc.entries[0] = (struct net_entry){.seq = 1, .digest = old.digest, .signers = 0x0a};
        }
        vcs[i] = net_view_change(t, &vc);
        pbft_frame_retain(vcs[i]);
        cr_assert_eq(net_deliver(t, vc.sender, 2, vcs[i]), PBFT_OK);
    }
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    cr_assert_eq(t->nodes[2].sent[PBFT_PREPARE], 0u, "no PREPARE without the body");
    cr_assert_eq(net_deliver(t, 1, 2, net_batch_frame(t, &old)), PBFT_OK);
    cr_assert_eq(t->nodes[2].sent[PBFT_PREPARE], 1u);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* ---- PROTOCOL 12 ---- */

/* A due timed effect makes the primary propose an empty batch. Else: an idle cluster never expires
 * a lock. */
Test(protocol, r12_an_idle_cluster_executes_what_falls_due)
{
    struct net *t = net_new(4);
    t->due_ns = net_wall(t, 0) + 300 * MS;
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 100));
    net_run(t, 100);
    cr_assert_eq(net_info(t, 0).executed, 1u, "not before it is due");
    cr_assert(net_run_executed(t, 0, 2, 1000), "nobody proposed a timed batch");
    const struct pbft_msg *m = net_decode(t, t->nodes[0].last_sent[PBFT_PRE_PREPARE]);
    cr_assert_eq(m->pre_prepare.proposal.request_count, 0u);
    cr_assert_geq(t->nodes[1].state.effective_ns, t->due_ns);
    net_run(t, 2000);
    cr_assert_eq(net_info(t, 0).executed, 2u, "one is enough");
    cr_assert_eq(net_info(t, 3).view, 0u);
    net_free(t);
}

/* Backups run the ordinary timer for it. */
Test(protocol, r12_a_primary_that_forgets_the_time_is_replaced)
{
    struct pbft_params p = net_params(4);
    p.clock_skew_ns = 100 * MS;
    struct net *t = net_new_with(&p);
    t->due_ns = net_wall(t, 0) + 300 * MS;
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 100));
    net_crash(t, 0);
    cr_assert(net_run_executed(t, 0, 2, 3000), "the lock would be held for ever");
    cr_assert_geq(net_info(t, 1).view, 1u);
    net_free(t);
}

/* ---- PROTOCOL 13 ---- */

/* Fewer than pipeline_depth in flight, n+1 <= h+L, and no artificial delay. */
Test(protocol, r13_proposals_are_bounded_by_pipeline_and_window)
{
    struct pbft_params p = net_params(4);
    p.pipeline_depth = 3;
    struct net *t = net_new_with(&p);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT});
    for (unsigned i = 1; i <= 6; i++)
        net_put(t, i);
    net_run(t, 2);
    cr_assert_eq(proposals_of(t, 0), 3u, "at once, and no more than the pipeline takes");
    net_run(t, 100);
    cr_assert_eq(proposals_of(t, 0), 3u);
    net_free(t);

    t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT});
    for (unsigned i = 1; i <= 12; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 8, 300));
    net_run(t, 100);
    cr_assert_eq(net_info(t, 0).proposed, 8u, "h = 0, L = 8");
    net_rules_clear(t);
    cr_assert(net_run_executed(t, 0, 12, 1000));
    cr_assert_eq(net_info(t, 0).view, 0u);
    net_free(t);
}

/* Natural batching: what waits while the pipeline is full goes together. */
Test(protocol, r13_what_waits_is_batched)
{
    struct pbft_params p = net_params(4);
    p.pipeline_depth = 1;
    p.batch_max_requests = 64;
    struct net *t = net_new_with(&p);
    for (unsigned i = 1; i <= 9; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 2, 300));
    net_run(t, 50);
    cr_assert_eq(net_info(t, 0).executed, 2u, "one alone at once, the other eight together");
    cr_assert_eq(t->nodes[0].state.executed, 9u);
    net_free(t);
}

/* Round-robin between clients: a busy one does not starve another. */
Test(protocol, r13_clients_take_turns)
{
    struct pbft_params p = net_params(4);
    p.pipeline_depth = 1;
    struct net *t = net_new_with(&p);
    for (unsigned i = 1; i <= 12; i++)
        net_submit(t, 0, 1, i, "greedy", 0);
    net_submit(t, 1, 1, 1, "modest", 0);
    net_submit(t, 2, 1, 1, "modest", 0);
    cr_assert(net_run_executed(t, 0, 14, 1000));
    for (uint32_t i = 0; i < t->nodes[1].state.done_count; i++)
        if (t->nodes[1].state.done[i].client != 0) cr_assert_lt(i, 5u, "in place %u of 14", i);
    net_free(t);
}

/* ---- PROTOCOL 14 ---- */

/* Prepared = body + PRE-PREPARE + q-1 PREPAREs of distinct backups, same (v, n, d). */
Test(protocol, r14_prepared_needs_all_of_its_parts)
{
    struct net *t = net_solo(7, 1); /* q = 5: four backups */
    t->no_wants = true;
    struct net_batch b = net_batch(t, 0, 1, 1, "b"), other = net_batch(t, 0, 1, 1, "other");
    for (pbft_id id = 2; id <= 4; id++)
        net_deliver(t, id, 1, net_vote(t, PBFT_PREPARE, id, 0, 1, &b.digest));
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_NONE, "no PRE-PREPARE");
    net_deliver(t, 0, 1, net_vote(t, PBFT_PREPARE, 0, 0, 1, &b.digest));
    net_deliver(t, 5, 1, net_vote(t, PBFT_PREPARE, 5, 0, 1, &other.digest));
    net_deliver(t, 6, 1, net_vote(t, PBFT_PREPARE, 6, 0, 2, &b.digest));
    t->nodes[1].sent[PBFT_COMMIT] = 0;
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b)), PBFT_OK);
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_PREPARED, "2, 3, 4 and its own");
    cr_assert_eq(t->nodes[1].sent[PBFT_COMMIT], 1u);
    net_free(t);

    t = net_solo(7, 1);
    t->no_wants = true;
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b));
    net_deliver(t, 0, 1, net_vote(t, PBFT_PREPARE, 0, 0, 1, &b.digest));
    for (unsigned again = 0; again < 3; again++)
        for (pbft_id id = 2; id <= 3; id++)
            net_deliver(t, id, 1, net_vote(t, PBFT_PREPARE, id, 0, 1, &b.digest));
    net_deliver(t, 4, 1, net_vote(t, PBFT_PREPARE, 4, 0, 1, &other.digest));
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_PRE_PREPARED);
    cr_assert_eq(t->nodes[1].sent[PBFT_COMMIT], 0u);
    net_free(t);
}

/* The body is one of the parts: a digest that a NEW-VIEW brought without it does not prepare. */
Test(protocol, r14_no_commit_to_what_nobody_has_shown)
{
    struct net *t = net_solo(4, 2);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        struct net_vc vc = {.view = 1, .sender = senders[i], .entry_count = 1};
        vc.entries[0] = (struct net_entry){.seq = 1, .digest = b.digest, .signers = 0x0a};
        vcs[i] = net_view_change(t, &vc);
        net_deliver(t, senders[i], 2, pbft_frame_retain(vcs[i]));
    }
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    net_deliver(t, 0, 2, net_vote(t, PBFT_PREPARE, 0, 1, 1, &b.digest));
    net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, 1, &b.digest));
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PRE_PREPARED, "q-1 backups, and no body");
    cr_assert_eq(t->nodes[2].sent[PBFT_COMMIT], 0u);
    cr_assert_eq(net_deliver(t, 3, 2, net_batch_frame(t, &b)), PBFT_OK);
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PREPARED);
    cr_assert_eq(t->nodes[2].sent[PBFT_COMMIT], 1u);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* Committed-local = prepared + q COMMITs of one digest, own included. */
Test(protocol, r14_committed_needs_q_commits_of_one_digest)
{
    struct net *t = net_solo(7, 1);
    struct net_batch b = net_batch(t, 0, 1, 1, "b"), other = net_batch(t, 0, 1, 1, "other");
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b));
    for (pbft_id id = 2; id <= 4; id++)
        net_deliver(t, id, 1, net_vote(t, PBFT_PREPARE, id, 0, 1, &b.digest));
    cr_assert_eq(t->nodes[1].sent[PBFT_COMMIT], 1u);
    for (pbft_id id = 2; id <= 4; id++)
        net_deliver(t, id, 1, net_vote(t, PBFT_COMMIT, id, 0, 1, &b.digest));
    net_deliver(t, 5, 1, net_vote(t, PBFT_COMMIT, 5, 0, 1, &other.digest));
    cr_assert_eq(t->nodes[1].executes[1], 0u, "four of five, its own among them");
    net_deliver(t, 6, 1, net_vote(t, PBFT_COMMIT, 6, 0, 1, &b.digest));
    cr_assert_eq(t->nodes[1].executes[1], 1u);
    net_free(t);
}

/* ---- PROTOCOL 15 ---- */

/* A complete commit certificate is accepted in any view and executed in order. */
Test(protocol, r15_certificate_in_any_view)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 2, "b");
    struct net_batch c = net_batch(t, 0, 1, 3, "c");
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 9, 2, &b, 0x0d)), PBFT_OK);
    cr_assert_eq(t->nodes[1].last_execute, 0u, "never over a gap");
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 5, 1, &a, 0x0d)), PBFT_OK);
    cr_assert_eq(t->nodes[1].last_execute, 2u);
    cr_assert_eq(net_info(t, 1).view, 0u, "a certificate moves no view");
    make_it_leave(t, 1); /* and during a view change, from the view that was left */
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 0, 3, &c, 0x0d)), PBFT_OK);
    cr_assert_eq(t->nodes[1].last_execute, 3u);
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 0, 4, NULL, 0x0d)), PBFT_OK);
    cr_assert_eq(t->nodes[1].last_execute, 4u, "the null request, too");
    net_free(t);
}

/* For n in (last executed, h+L] only. */
Test(protocol, r15_certificate_within_the_window_only)
{
    struct net *t = net_solo(4, 1);
    t->no_wants = true;
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 0, 8, &b, 0x0d)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 0, 9, &b, 0x0d)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 0, 1, &b, 0x0d)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 2, 1, net_commit_certificate(t, 3, 1, &b, 0x0e)),
                 PBFT_DROP_DUPLICATE);
    net_free(t);
}

static const struct net_record *committed_record(const struct net_node *node, unsigned number)
{
    for (size_t i = 0; i < node->record_count; i++)
        if (node->records[i].kind == PBFT_RECORD_COMMITTED && number-- == 0)
            return &node->records[i];
    cr_assert_fail("no COMMITTED record");
    return NULL;
}

/* Whoever executes without a COMMIT of its own logs the certificate, synced, before it replies. */
Test(protocol, r15_a_certificate_is_on_disk_before_the_reply)
{
    struct net *t = net_solo(4, 1);
    net_disk(t, 1, true);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    decide(t, 1, 1, &b);
    cr_assert_eq(net_info(t, 1).executed, 1u);
    const struct net_record *r = committed_record(&t->nodes[1], 0);
    cr_assert(r->sync);
    cr_assert(net_decode(t, r->frames[0])->certificate.has_proposal, "a log must replay it");
    cr_assert_eq(net_replied(t, 0, 1, 1), 0u);
    net_disk(t, 1, false);
    net_run(t, 5);
    cr_assert_eq(net_replied(t, 0, 1, 1), NET_BIT(1));
    net_free(t);

    /* With its own COMMIT on disk the certificate need not be synced (PROTOCOL 25). */
    t = net_new(4);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    cr_assert_not(committed_record(&t->nodes[2], 0)->sync);
    net_free(t);
}

/* q COMMITs that came one by one are a certificate too: the primary showed this replica nothing. */
Test(protocol, r15_q_commits_of_others_are_a_certificate)
{
    struct net *t = net_solo(4, 1);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    static const pbft_id others[] = {0, 2, 3};
    for (unsigned i = 0; i < 3; i++)
        net_deliver(t, others[i], 1, net_vote(t, PBFT_COMMIT, others[i], 0, 1, &b.digest));
    cr_assert_eq(t->nodes[1].fetch_effects[PBFT_FETCH_BATCH], 1u);
    cr_assert_eq(net_deliver(t, 2, 1, net_batch_frame(t, &b)), PBFT_OK);
    cr_assert_eq(t->nodes[1].last_execute, 1u);
    cr_assert(committed_record(&t->nodes[1], 0)->sync);
    cr_assert_eq(t->nodes[1].sent[PBFT_COMMIT], 0u, "it never prepared");
    net_free(t);
}

/* After sending a VIEW-CHANGE: votes of the old view are refused, the rest is accepted. */
Test(protocol, r15_what_a_view_change_still_accepts)
{
    struct net *t = net_solo(4, 2);
    t->no_wants = true;
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    struct pbft_digest root = {{9}};
    net_deliver(t, 0, 2, net_pre_prepare(t, 0, 1, &b));
    make_it_leave(t, 2);
    uint64_t commits = t->nodes[2].sent[PBFT_COMMIT];
    cr_assert_eq(net_deliver(t, 1, 2, net_vote(t, PBFT_PREPARE, 1, 0, 1, &b.digest)),
                 PBFT_DROP_VIEW);
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 0, 1, &b.digest)),
                 PBFT_DROP_VIEW);
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_COMMIT, 3, 0, 1, &b.digest)),
                 PBFT_DROP_VIEW);
    cr_assert_eq(t->nodes[2].sent[PBFT_COMMIT], commits, "no vote of a view that was left");

    cr_assert_eq(net_deliver(t, 3, 2, net_checkpoint(t, 3, 4, &root)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 3, 2, net_status(t, 0, 0, 0, 1, 0)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 3, 2, net_commit_certificate(t, 0, 1, &b, 0x0b)), PBFT_OK);
    net_run(t, 5);
    cr_assert_eq(net_info(t, 2).executed, 1u);
    uint32_t pending = net_info(t, 2).pending;
    net_submit(t, 2, 1, 1, "a request", NET_BIT(2));
    net_run(t, 5);
    cr_assert_eq(net_info(t, 2).pending, pending + 1);
    struct pbft_fetch what = {.kind = PBFT_FETCH_BATCH, .digest = b.digest};
    struct pbft_frame *served = pbft_core_serve(t->nodes[2].core, &what);
    cr_assert_not_null(served);
    pbft_frame_release(served);

    /* A NEW-VIEW with its VIEW-CHANGEs, in any order. */
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++)
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = senders[i]});
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(net_deliver(t, senders[i], 2, vcs[i]), i < 2 ? PBFT_OK : PBFT_DROP_VIEW);
    cr_assert(net_info(t, 2).view_active);
    net_free(t);
}

/* ---- PROTOCOL 16 ---- */

static uint64_t verified(const struct net *t, pbft_id id)
{
    return pbft_door_stats(t->nodes[id].door)->verified;
}

/* Asked before a signature is verified. Only verified votes count as held. */
Test(protocol, r16_wants_comes_before_the_signature)
{
    struct net *t = net_solo(4, 1);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b));
    uint64_t before = verified(t, 1);
    /* In the name of 2, by 3: costs one verification and keeps nothing of 2's out. */
    struct pbft_frame *forged = net_spoil(net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest));
    cr_assert_eq(net_deliver(t, 3, 1, forged), PBFT_DROP_SIGNATURE);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest)), PBFT_OK);
    cr_assert_eq(verified(t, 1), before + 2);
    /* Held, or of no use any more: no verification at all. */
    for (unsigned i = 0; i < 50; i++) {
        forged = net_spoil(net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest));
        cr_assert_eq(net_deliver(t, 3, 1, forged), PBFT_DROP_UNWANTED);
        struct pbft_digest root = {{1}};
        forged = net_spoil(net_vote(t, PBFT_COMMIT, 2, 7, 1, &root));
        cr_assert_eq(net_deliver(t, 3, 1, forged), PBFT_DROP_UNWANTED, "view 7");
        forged = net_spoil(net_vote(t, PBFT_COMMIT, 2, 0, 9, &root));
        cr_assert_eq(net_deliver(t, 3, 1, forged), PBFT_DROP_UNWANTED, "beyond h+L");
        cr_assert_eq(net_deliver(t, 3, 1, net_batch_frame(t, &b)), PBFT_DROP_UNWANTED,
                     "nobody asked for it");
    }
    cr_assert_eq(verified(t, 1), before + 2, "a flood was verified");
    net_free(t);
}

/* A digest that differs from the held one is wanted once, even after the quorum (evidence). */
Test(protocol, r16_a_different_digest_is_wanted_once_even_after_the_quorum)
{
    struct net *t = net_solo(4, 1);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    struct pbft_digest other = {{1}}, third = {{2}};
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b));
    for (pbft_id id = 2; id <= 3; id++) {
        net_deliver(t, id, 1, net_vote(t, PBFT_PREPARE, id, 0, 1, &b.digest));
        net_deliver(t, id, 1, net_vote(t, PBFT_COMMIT, id, 0, 1, &b.digest));
    }
    cr_assert_eq(net_phase(t, 1, 1, NULL), PBFT_PHASE_COMMITTED);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest)),
                 PBFT_DROP_UNWANTED);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &other)),
                 PBFT_DROP_CONFLICT);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &third)),
                 PBFT_DROP_UNWANTED);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_COMMIT, 2, 0, 1, &other)),
                 PBFT_DROP_CONFLICT);
    cr_assert_eq(net_deliver(t, 0, 1, net_header(t, 0, 1, &other)), PBFT_DROP_UNWANTED,
                 "a HEADER comes when it is fetched");
    struct net_batch rival = net_batch(t, 0, 1, 1, "rival");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &rival)), PBFT_DROP_CONFLICT);
    net_free(t);
}

/* The next view's votes are kept within each sender's own bound, and replayed. */
Test(protocol, r16_the_next_view_within_the_senders_bound)
{
    struct net *t = net_solo(4, 2);
    struct pbft_digest d = {{1}};
    unsigned kept = 0;
    for (pbft_seq seq = 1; seq <= 8; seq++)
        for (uint8_t type = PBFT_PREPARE; type <= PBFT_COMMIT; type++)
            kept += net_deliver(t, 3, 2, net_vote(t, type, 3, 1, seq, &d)) == PBFT_OK;
    cr_assert_eq(kept, 2u * t->params.window);
    d.bytes[0]++;
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, 1, &d)), PBFT_DROP_UNWANTED);
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 2, 1, &d)), PBFT_DROP_UNWANTED,
                 "two views ahead");
    cr_assert_eq(net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 0, 1, 1, &d)), PBFT_OK,
                 "another sender has its own room");
    net_free(t);
}

/* Nobody can keep an honest frame out by sending a false one first, for any vote type. */
Test(protocol, r16_quotas_are_never_keyed_by_a_claimed_sender)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest d = {{1}}, root = {{3}};
    for (unsigned i = 0; i < 100; i++) {
        net_deliver(t, 3, 1, net_spoil(net_vote(t, PBFT_PREPARE, 2, 1, 1, &d)));
        net_deliver(t, 3, 1, net_spoil(net_vote(t, PBFT_COMMIT, 2, 0, 1, &d)));
        net_deliver(t, 3, 1, net_spoil(net_checkpoint(t, 2, 4, &root)));
        struct net_vc vc = {.view = 1, .sender = 2};
        net_deliver(t, 3, 1, net_spoil(net_view_change(t, &vc)));
    }
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_COMMIT, 2, 0, 1, &d)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 2, 1, net_checkpoint(t, 2, 4, &root)), PBFT_OK);
    struct net_vc vc = {.view = 1, .sender = 2};
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_OK);
    net_free(t);
}

/* ---- PROTOCOL 24 ---- */

/* CHECKPOINT(K) is the committed state exactly after K, though later batches execute meanwhile. */
Test(protocol, r24_a_checkpoint_is_the_state_exactly_after_k)
{
    struct net *t = net_new(4);
    t->hash_ns = 20 * MS; /* execution goes on while the snapshot is hashed */
    for (unsigned i = 1; i <= 8; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 8, 1000));
    for (pbft_id id = 0; id < 4; id++)
        for (size_t i = 0; i < t->nodes[id].said_count; i++) {
            const struct net_said *s = &t->nodes[id].said[i];
            if (s->type != PBFT_CHECKPOINT) continue;
            cr_assert_eq(s->seq % 4, 0u);
            bool right = false;
            for (unsigned k = 0; k < NET_SNAPSHOTS; k++)
                right |= t->nodes[id].snapshots[k].seq == s->seq &&
                         pbft_digest_equal(&t->nodes[id].snapshot_roots[k], &s->digest);
            cr_assert(right, "CHECKPOINT %lu of another state", s->seq);
        }
    net_free(t);
}

/* Nobody signs two CHECKPOINTs for one n. */
Test(protocol, r24_one_checkpoint_for_one_n)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT});
    for (unsigned i = 1; i <= 4; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 4, 300));
    net_run(t, 20);
    cr_assert_eq(t->nodes[1].sent[PBFT_CHECKPOINT], 1u);
    struct pbft_event event = {.kind = PBFT_EVENT_CHECKPOINT_READY};
    event.checkpoint_ready.seq = 4;
    event.checkpoint_ready.root = (struct pbft_digest){{0xEE}};
    net_step_core(&t->nodes[1], &event, NULL);
    net_run(t, 500); /* resent by STATUS: the first one, byte for byte; the harness compares */
    cr_assert_gt(t->nodes[1].sent[PBFT_CHECKPOINT], 1u);
    cr_assert_eq(net_records(t, 1, PBFT_RECORD_CHECKPOINT), 1u);
    net_free(t);
}

/* Above h+L only each sender's highest is kept; q of them for one n move the window. */
Test(protocol, r24_above_the_window_only_the_highest_of_each_sender)
{
    struct net *t = net_solo(4, 1);
    t->no_wants = true;
    struct pbft_digest root = {{7}};
    int64_t live = t->frames.live;
    for (pbft_seq seq = 12; seq <= 4000; seq += 4)
        cr_assert_eq(net_deliver(t, 2, 1, net_checkpoint(t, 2, seq, &root)), PBFT_OK);
    cr_assert_eq(t->frames.live, live, "a flood is held");
    cr_assert_eq(net_deliver(t, 2, 1, net_checkpoint(t, 2, 16, &root)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 0, 1, net_checkpoint(t, 0, 16, &root)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 3, 1, net_checkpoint(t, 3, 16, &root)), PBFT_OK);
    cr_assert_eq(net_info(t, 1).stable, 0u, "2 has said 4000 since: two are no quorum");
    cr_assert_eq(net_deliver(t, 0, 1, net_checkpoint(t, 0, 4000, &root)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 3, 1, net_checkpoint(t, 3, 4000, &root)), PBFT_OK);
    cr_assert_eq(net_info(t, 1).stable, 4000u);
    net_free(t);
}

/* ---- PROTOCOL 33 ---- */

/* A primary hides a proposal from one correct backup and is silent to the client: the q-th reply
 * comes all the same, because those who executed push. */
Test(protocol, r33_a_hidden_proposal_is_pushed)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    struct net_batch b = net_batch(t, 0, 1, 1, "hidden");
    net_cut(t, NET_BIT(0), NET_BIT(3));
    net_send(t, 0, NET_BIT(1) | NET_BIT(2), net_pre_prepare(t, 0, 1, &b));
    net_send(t, 0, NET_BIT(1) | NET_BIT(2), net_vote(t, PBFT_COMMIT, 0, 0, 1, &b.digest));
    cr_assert(net_run_executed(t, NET_BIT(1) | NET_BIT(2), 1, 100));
    cr_assert_eq(net_info(t, 3).executed, 0u);
    cr_assert(net_run_executed(t, NET_BIT(3), 1, 2000), "the client would wait for ever");
    net_run(t, 10);
    cr_assert_eq(net_replied(t, 0, 1, 1), NET_BIT(1) | NET_BIT(2) | NET_BIT(3));
    cr_assert_eq(net_info(t, 3).view, 0u);
    net_free(t);
}

/* One pusher at a time, in turn, and only when asked by STATUS. */
Test(protocol, r33_one_rotating_pusher_answers_a_status)
{
    struct net *t = net_new(4);
    net_puppet(t, 3);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 300));
    pbft_signers pushed = 0;
    for (uint64_t counter = 1; counter <= 9; counter++) {
        uint64_t before[3], total = 0;
        for (pbft_id id = 0; id < 3; id++)
            before[id] = t->nodes[id].sent[PBFT_CERTIFICATE];
        net_send(t, 3, 0, net_status(t, 0, 0, 0, counter, 0));
        net_run(t, 50); /* as far apart as an honest one sends them: floods are not answered */
        for (pbft_id id = 0; id < 3; id++) {
            uint64_t more = t->nodes[id].sent[PBFT_CERTIFICATE] - before[id];
            total += more;
            if (more > 0) pushed |= NET_BIT(id);
        }
        cr_assert_leq(total, 1u, "%lu certificates for one STATUS", total);
    }
    cr_assert_eq(pushed, NET_BIT(0) | NET_BIT(1) | NET_BIT(2));
    net_free(t);
}
