/* FAULTS 4.6-4.10: what a VIEW-CHANGE proves, and what a NEW-VIEW makes of it. */
#include "pbft/certificate.h"
#include "pbft/new_view.h"
#include "tests/rules/harness.h"

#define ALL (NET_BIT(0) | NET_BIT(1) | NET_BIT(2) | NET_BIT(3))

static const struct pbft_prepared *entry_of(const struct pbft_msg *m, pbft_seq seq)
{
    for (uint32_t i = 0; i < m->view_change.prepared_count; i++)
        if (m->view_change.prepared[i].seq == seq) return &m->view_change.prepared[i];
    return NULL;
}

/* FAULTS 4.6: prepared in v0; the NEW-VIEW of v1 reaches nobody; v2 must still choose it. */
Test(faults_4, r06_prepared_survives_a_view_that_nobody_saw)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT, .in_view = true});
    net_rule(
        t, (struct net_rule){.fate = NET_DROP, .type = PBFT_NEW_VIEW, .in_view = true, .view = 1});
    net_put(t, 1);
    net_run(t, 100);
    struct pbft_digest in_v0, later;
    cr_assert_eq(net_phase(t, 2, 1, &in_v0), PBFT_PHASE_PREPARED);
    cr_assert(net_run_executed(t, 0, 1, 20000));
    cr_assert_eq(net_phase(t, 2, 1, &later), PBFT_PHASE_COMMITTED);
    cr_assert(net_info(t, 2).view >= 2, "view %lu", (unsigned long)net_info(t, 2).view);
    cr_assert(pbft_digest_equal(&in_v0, &later), "another proposal than the one prepared");
    net_free(t);
}

/* The same where v1 was installed, but prepared nothing anew (raijin#8 wiped the older one). */
Test(faults_4, r06_prepared_survives_a_view_that_did_not_prepare_it)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT, .in_view = true});
    net_rule(t,
             (struct net_rule){.fate = NET_DROP, .type = PBFT_PREPARE, .in_view = true, .view = 1});
    net_put(t, 1);
    net_run(t, 100);
    struct pbft_digest in_v0, later;
    cr_assert_eq(net_phase(t, 2, 1, &in_v0), PBFT_PHASE_PREPARED);
    cr_assert(net_run_view(t, 0, 1, 3000));
    cr_assert(net_run_executed(t, 0, 1, 20000));
    cr_assert_eq(net_phase(t, 2, 1, &later), PBFT_PHASE_COMMITTED);
    cr_assert(net_info(t, 2).view >= 2);
    cr_assert(pbft_digest_equal(&in_v0, &later));
    net_free(t);
}

/* And the highest view wins: A prepared in v0, B in v1 at the same n. */
Test(faults_4, r06_highest_view_replaces_the_lower_one)
{
    struct net *t = net_solo(4, 2);
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 1, "B");
    net_deliver(t, 0, 2, net_pre_prepare(t, 0, 1, &a));
    net_deliver(t, 1, 2, net_vote(t, PBFT_PREPARE, 1, 0, 1, &a.digest));
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PREPARED);
    /* View 1 begins without A, which nobody else prepared. */
    struct pbft_frame *vcs[3];
    pbft_id ids[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = ids[i]});
        net_deliver(t, ids[i], 2, pbft_frame_retain(vcs[i]));
    }
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    cr_assert_eq(nv.count, 0u);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    const struct pbft_msg *m = net_decode(t, t->nodes[2].last_sent[PBFT_VIEW_CHANGE]);
    cr_assert(entry_of(m, 1) != NULL && entry_of(m, 1)->view == 0);
    cr_assert_eq(net_deliver(t, 1, 2, net_pre_prepare(t, 1, 1, &b)), PBFT_OK);
    net_deliver(t, 3, 2, net_vote(t, PBFT_PREPARE, 3, 1, 1, &b.digest));
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PREPARED);
    net_deliver(t, 0, 2, net_view_change(t, &(struct net_vc){.view = 2, .sender = 0}));
    net_deliver(t, 3, 2, net_view_change(t, &(struct net_vc){.view = 2, .sender = 3}));
    m = net_decode(t, t->nodes[2].last_sent[PBFT_VIEW_CHANGE]);
    cr_assert_eq(m->view_change.view, 2u);
    cr_assert_eq(m->view_change.prepared_count, 1u, "one entry for each n");
    cr_assert_eq(entry_of(m, 1)->view, 1u);
    cr_assert(pbft_digest_equal(&entry_of(m, 1)->digest, &b.digest));
    net_free(t);
}

/* FAULTS 4.7: P entries are certificates; a claim without one is worth nothing (FAULTS 2.17). */
Test(faults_4, r07_forged_certificates_are_refused)
{
    struct net *t = net_solo(4, 0);
    struct net_batch a = net_batch(t, 0, 1, 1, "A");
    struct net_vc vc = {.view = 100, .sender = 1, .entry_count = 1};
    vc.entries[0] = (struct net_entry){.seq = 1,
                                       .view = 99,
                                       .digest = a.digest,
                                       .signers = NET_BIT(0) | NET_BIT(1)};
    struct net_entry *e = &vc.entries[0];
    cr_assert_eq(pbft_primary(4, 99), 3u);

    e->forged_prepare = true;
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_SIGNATURE);
    e->forged_prepare = false;
    e->forged_pre_prepare = true;
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_SIGNATURE);
    e->forged_pre_prepare = false;
    e->signers = NET_BIT(1);
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    e->signers = 0; /* a bare claim */
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    e->signers = NET_BIT(1) | NET_BIT(3); /* 3 is the primary of 99 */
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_ROLE);
    e->signers = NET_BIT(0) | NET_BIT(1);
    e->view = 100; /* not below the view that is asked for */
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_DROP_VIEW);
    e->view = 99;
    cr_assert_eq(net_deliver(t, 1, 0, net_view_change(t, &vc)), PBFT_OK, "the genuine one");
    net_free(t);
}

/* One liar's VIEW-CHANGE is discarded; that of others still makes the view (concord#50). */
Test(faults_4, r07_only_the_bad_view_change_is_dropped)
{
    struct net *t = net_new(4);
    net_puppet(t, 3);
    net_crash(t, 0);
    struct net_batch b = net_batch(t, 0, 1, 9, "forged");
    struct net_vc vc = {.view = 1, .sender = 3, .entry_count = 1};
    vc.entries[0] = (struct net_entry){.seq = 1,
                                       .digest = b.digest,
                                       .signers = NET_BIT(1) | NET_BIT(2),
                                       .forged_prepare = true};
    net_put(t, 1);
    net_send(t, 3, ALL, net_view_change(t, &vc));
    net_run(t, 700);
    cr_assert_eq(t->nodes[1].verdicts[PBFT_DROP_SIGNATURE], 1u);
    vc.entry_count = 0;
    net_send(t, 3, ALL, net_view_change(t, &vc));
    cr_assert(net_run_view(t, NET_BIT(1) | NET_BIT(2), 1, 1000));
    net_free(t);
}

/* One valid certificate suffices and the highest view wins. */
Test(faults_4, r07_highest_view_wins)
{
    struct net *t = net_solo(4, 0); /* the primary of view 4 */
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 1, "B");
    struct net_vc one = {.view = 4, .sender = 1, .entry_count = 1};
    one.entries[0] = (struct net_entry){1, 0, a.digest, NET_BIT(1) | NET_BIT(2), false, false};
    struct net_vc two = {.view = 4, .sender = 2, .entry_count = 1};
    two.entries[0] = (struct net_entry){1, 3, b.digest, NET_BIT(1) | NET_BIT(2), false, false};
    for (unsigned swap = 0; swap < 2; swap++) {
        if (swap == 1) {
            net_free(t);
            t = net_solo(4, 0);
            struct net_entry kept = one.entries[0];
            one.entries[0] = two.entries[0];
            two.entries[0] = kept;
        }
        net_deliver(t, 1, 0, net_view_change(t, &one));
        net_deliver(t, 2, 0, net_view_change(t, &two));
        net_run(t, 5);
        cr_assert(net_info(t, 0).view_active && net_info(t, 0).view == 4);
        const struct pbft_new_view *nv =
            &net_decode(t, t->nodes[0].last_sent[PBFT_NEW_VIEW])->new_view;
        cr_assert_eq(nv->count, 1u);
        cr_assert_arr_eq(nv->entries, b.digest.bytes, PBFT_DIGEST_BYTES);
    }
    net_free(t);
}

/* FAULTS 4.8 as a pure function: holes at the first, a middle and the last n. */
Test(faults_4, r08_min_s_max_s_and_holes)
{
    struct pbft_digest null = {{0}}, a = {{1}}, b = {{2}}, root_4 = {{4}}, root_8 = {{8}};
    struct pbft_prepared_summary p1[] = {{7, 2, a}, {9, 0, a}}, p2[] = {{9, 1, b}, {11, 0, a}};
    struct pbft_view_change_summary vcs[] = {{4, root_4, 2, p1},
                                             {8, root_8, 2, p2},
                                             {0, {{0}}, 0, NULL}};
    struct pbft_digest out[8];
    struct pbft_new_view_selection s = {.digests = out};
    pbft_new_view_select(vcs, 3, 8, &null, &s);
    cr_assert_eq(s.min_s, 8u);
    cr_assert(pbft_digest_equal(&s.root, &root_8));
    cr_assert_eq(s.count, 3u, "max-s is inclusive");
    cr_assert(pbft_digest_equal(&out[0], &b), "9: the higher view");
    cr_assert(pbft_digest_equal(&out[1], &null), "10: a hole");
    cr_assert(pbft_digest_equal(&out[2], &a), "11: the last");
    /* A hole right above min-s. */
    struct pbft_view_change_summary low[] = {{4, root_4, 2, p1}, {0, {{0}}, 0, NULL}};
    pbft_new_view_select(low, 2, 8, &null, &s);
    cr_assert(s.min_s == 4 && s.count == 5);
    cr_assert(pbft_digest_equal(&out[0], &null) && pbft_digest_equal(&out[1], &null));
    cr_assert(pbft_digest_equal(&out[2], &a) && pbft_digest_equal(&out[4], &a));
    /* Nothing prepared, or nothing above min-s: nothing to propose again. */
    struct pbft_view_change_summary none[] = {{8, root_8, 0, NULL}, {0, {{0}}, 0, NULL}};
    pbft_new_view_select(none, 2, 8, &null, &s);
    cr_assert(s.min_s == 8 && s.count == 0);
    struct pbft_prepared_summary p3[] = {{3, 0, a}};
    struct pbft_view_change_summary under[] = {{8, root_8, 0, NULL}, {0, {{0}}, 1, p3}};
    pbft_new_view_select(under, 2, 8, &null, &s);
    cr_assert(s.min_s == 8 && s.count == 0);
}

/* min-s is what q CHECKPOINTs prove; a claim with fewer, or a forged one, is refused. */
Test(faults_4, r08_low_mark_needs_a_proof)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest root = {{7}};
    struct net_vc vc = {.view = 1, .sender = 2, .stable = 8, .root = root};
    vc.proof = NET_BIT(0) | NET_BIT(2);
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    vc.proof = NET_BIT(0) | NET_BIT(2) | NET_BIT(3);
    vc.forged_proof = true;
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_SIGNATURE);
    vc.forged_proof = false;
    vc.stable = 7; /* no checkpoint is taken there */
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    cr_assert_eq(net_info(t, 1).stable, 0u);
    vc.stable = 8;
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_OK);
    cr_assert_eq(net_info(t, 1).stable, 8u, "its proof counts for us too");
    net_free(t);
}

/* The new primary's own computation against the harness's, over shuffled proofs. */
Test(faults_4, r08_new_view_of_a_real_primary)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "A"), b = net_batch(t, 0, 1, 2, "B");
    struct pbft_digest root = {{7}};
    pbft_signers backups = NET_BIT(1) | NET_BIT(2);
    struct net_vc high = {.view = 1, .sender = 2, .stable = 4, .root = root, .entry_count = 2};
    high.proof = NET_BIT(0) | NET_BIT(2) | NET_BIT(3);
    high.entries[0] = (struct net_entry){6, 0, a.digest, backups, false, false};
    high.entries[1] = (struct net_entry){9, 0, b.digest, backups, false, false};
    struct net_vc low = {.view = 1, .sender = 3, .entry_count = 1};
    low.entries[0] = (struct net_entry){2, 0, b.digest, backups, false, false};
    struct pbft_frame *vcs[3];
    vcs[0] = net_view_change(t, &high);
    vcs[1] = net_view_change(t, &low);
    net_deliver(t, 2, 1, pbft_frame_retain(vcs[0]));
    net_deliver(t, 3, 1, pbft_frame_retain(vcs[1])); /* the primary joins: q are here */
    net_run(t, 5);
    cr_assert_not_null(t->nodes[1].last_sent[PBFT_NEW_VIEW]);
    vcs[2] = pbft_frame_retain(t->nodes[1].last_sent[PBFT_VIEW_CHANGE]);
    struct net_nv expected = net_new_view(t, 1, vcs, 3);
    struct pbft_frame *frame = net_new_view_frame(t, &expected);
    struct pbft_frame *real = t->nodes[1].last_sent[PBFT_NEW_VIEW];
    cr_assert_eq(expected.count, 5u);
    cr_assert(frame->size == real->size);
    cr_assert_arr_eq(frame->bytes, real->bytes, real->size);
    pbft_frame_release(frame);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* FAULTS 4.9: with proofs no two low marks need to match: {8}, {4}, {0} in every order. */
Test(faults_4, r09_low_marks_need_not_match)
{
    struct pbft_digest root_4 = {{4}}, root_8 = {{8}};
    pbft_signers proof = NET_BIT(0) | NET_BIT(2) | NET_BIT(3);
    struct net_vc eight = {.view = 1, .sender = 2, .stable = 8, .root = root_8, .proof = proof};
    struct net_vc four = {.view = 1, .sender = 3, .stable = 4, .root = root_4, .proof = proof};
    struct net_vc zero = {.view = 1, .sender = 0};
    const struct net_vc *orders[][3] = {{&eight, &four, &zero}, {&eight, &zero, &four},
                                        {&four, &eight, &zero}, {&four, &zero, &eight},
                                        {&zero, &four, &eight}, {&zero, &eight, &four}};
    for (unsigned k = 0; k < 6; k++) {
        struct net *t = net_solo(4, 1);
        for (unsigned i = 0; i < 3; i++)
            net_deliver(t, orders[k][i]->sender, 1, net_view_change(t, orders[k][i]));
        cr_assert(net_info(t, 1).view == 1 && net_info(t, 1).view_active, "order %u", k);
        net_free(t);
    }
}

/* The same in a cluster: replica 3 never saw a CHECKPOINT, then the primary dies. */
Test(faults_4, r09_view_change_with_unequal_low_marks)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT, .to = NET_BIT(3)});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE, .to = NET_BIT(3)});
    for (unsigned i = 1; i <= 6; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 6, 300));
    net_run(t, 20);
    cr_assert(net_info(t, 1).stable == 4 && net_info(t, 3).stable == 0);
    net_crash(t, 0);
    net_put(t, 7);
    cr_assert(net_run_executed(t, 0, 7, 3000));
    cr_assert_eq(net_info(t, 1).view, 1u);
    cr_assert_eq(net_info(t, 3).view, 1u);
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* FAULTS 4.10: only seq 0 with the genesis root may go without a proof. */
Test(faults_4, r10_view_change_at_boot)
{
    struct net *t = net_new(4);
    net_crash(t, 0);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 3000));
    cr_assert_eq(net_info(t, 1).view, 1u);
    net_free(t);
}

Test(faults_4, r10_empty_proof_only_at_genesis)
{
    struct net *t = net_solo(4, 1);
    struct net_vc vc = {.view = 1, .sender = 2, .stable = 4, .root = {{4}}};
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    vc.stable = 0; /* genesis, but another root */
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    vc.root = (struct pbft_digest){{0}};
    vc.proof = NET_BIT(0) | NET_BIT(2) | NET_BIT(3); /* genesis has one form only */
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_DROP_CERTIFICATE);
    vc.proof = 0;
    cr_assert_eq(net_deliver(t, 2, 1, net_view_change(t, &vc)), PBFT_OK);
    net_free(t);
}
