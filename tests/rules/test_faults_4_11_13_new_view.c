/* FAULTS 4.11-4.13: when a NEW-VIEW is accepted, null requests, and what is never done twice. */
#include "tests/rules/harness.h"

#define ALL (NET_BIT(0) | NET_BIT(1) | NET_BIT(2) | NET_BIT(3))

/* Replica 2 with the VIEW-CHANGEs of 0, 1 and 3 for view 1: A prepared at 2, nothing at 1. */
struct stage {
    struct net *t;
    struct pbft_frame *vcs[4]; /* the fourth: replica 3 for view 2 */
    struct net_batch a;
    struct net_nv nv; /* the right one */
};

static struct stage stage(void)
{
    struct stage s = {.t = net_solo(4, 2)};
    s.a = net_batch(s.t, 0, 1, 1, "A");
    pbft_id ids[] = {0, 1, 3, 3};
    for (unsigned i = 0; i < 4; i++) {
        struct net_vc vc = {.view = i == 3 ? 2 : 1, .sender = ids[i]};
        if (i == 0) {
            vc.entry_count = 1;
            vc.entries[0] =
                (struct net_entry){2, 0, s.a.digest, NET_BIT(1) | NET_BIT(3), false, false};
        }
        s.vcs[i] = net_view_change(s.t, &vc);
        if (i < 3) cr_assert_eq(net_deliver(s.t, ids[i], 2, pbft_frame_retain(s.vcs[i])), PBFT_OK);
    }
    s.nv = net_new_view(s.t, 1, s.vcs, 3);
    cr_assert_eq(s.nv.count, 2u);
    return s;
}

static void leave(struct stage *s)
{
    for (unsigned i = 0; i < 4; i++)
        pbft_frame_release(s->vcs[i]);
    net_free(s->t);
}

static enum pbft_verdict offer(struct stage *s, const struct net_nv *nv)
{
    enum pbft_verdict verdict = net_deliver(s->t, 1, 2, net_new_view_frame(s->t, nv));
    struct pbft_core_info info = net_info(s->t, 2);
    cr_assert((info.view == 1 && info.view_active) == (verdict == PBFT_OK));
    return verdict;
}

/* FAULTS 4.11: each field bent in turn is refused; the right one is accepted afterwards. */
Test(faults_4, r11_every_field_is_checked)
{
    struct stage s = stage();
    struct net_nv nv = s.nv;
    nv.signer = 3;
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_SIGNATURE);
    nv.sender = 3; /* says so, but is not primary(1) */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_ROLE);
    nv = s.nv;
    nv.signers &= ~NET_BIT(3); /* q-1 */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_CERTIFICATE);
    nv = s.nv;
    nv.signers |= NET_BIT(2); /* q+1: exactly q are named */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_CERTIFICATE);
    nv = s.nv;
    nv.entry_signer = 3;
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_SIGNATURE);

    nv = s.nv;
    nv.digests[1].bytes[5] ^= 1; /* another proposal at 2 */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_NEW_VIEW);
    nv = s.nv;
    nv.digests[0] = s.a.digest; /* something where nothing was prepared */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_NEW_VIEW);
    nv = s.nv;
    nv.count = 1; /* A left out */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_NEW_VIEW);
    nv = s.nv;
    nv.digests[nv.count++] = s.t->null_digest; /* one too many */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_NEW_VIEW);
    nv = s.nv;
    nv.min_s = 4; /* a low mark that nobody proved */
    cr_assert_eq(offer(&s, &nv), PBFT_DROP_NEW_VIEW);
    cr_assert_eq(s.t->nodes[2].sent[PBFT_PREPARE], 0u);

    cr_assert_eq(offer(&s, &s.nv), PBFT_OK);
    cr_assert_neq(net_deliver(s.t, 1, 2, net_new_view_frame(s.t, &s.nv)), PBFT_OK, "twice");
    leave(&s);
}

/* All q VIEW-CHANGEs are for exactly that view (bft-smart#121, fabric v0.6). */
Test(faults_4, r11_view_changes_of_another_view)
{
    struct stage s = stage();
    net_deliver(s.t, 3, 2, pbft_frame_retain(s.vcs[3])); /* 3 moved on to view 2 */
    struct pbft_frame *mixed[] = {s.vcs[0], s.vcs[1], s.vcs[3]};
    struct net_nv nv = net_new_view(s.t, 1, mixed, 3);
    cr_assert_eq(net_deliver(s.t, 1, 2, net_new_view_frame(s.t, &nv)), PBFT_DROP_NEW_VIEW);
    cr_assert(!net_info(s.t, 2).view_active);
    leave(&s);
}

/* A replica in a lower view jumps, with VIEW-CHANGEs that it fetches by digest; a NEW-VIEW that
 * anybody forwards is as good as the primary's own. */
Test(faults_4, r11_lower_view_jumps)
{
    struct net *t = net_new(4);
    net_crash(t, 0);
    struct net_rule none = {.fate = NET_DROP, .type = PBFT_VIEW_CHANGE, .to = NET_BIT(3)};
    net_rule(t, none);
    none.type = PBFT_NEW_VIEW;
    none.from = NET_BIT(1);
    net_rule(t, none);
    /* 3 has nothing to wait for and leaves no view of its own accord. */
    net_submit(t, 0, 1, 1, "put", NET_BIT(1) | NET_BIT(2));
    net_run(t, 550);
    cr_assert(!net_info(t, 1).view_active && net_info(t, 3).view == 0);
    /* The third VIEW-CHANGE, shown to 1 and 2 only. */
    struct pbft_frame *third = net_view_change(t, &(struct net_vc){.view = 1, .sender = 0});
    net_deliver(t, 0, 1, pbft_frame_retain(third));
    net_deliver(t, 0, 2, third);
    cr_assert(net_run_view(t, NET_BIT(1) | NET_BIT(2), 1, 100));
    net_rules_clear(t);
    net_rule(t, none);
    cr_assert(net_run_view(t, NET_BIT(3), 1, 2000), "nobody forwarded the NEW-VIEW");
    cr_assert_eq(t->nodes[3].fetch_effects[PBFT_FETCH_VIEW_CHANGE], 3u);
    cr_assert(net_run_executed(t, 0, 1, 1000));
    net_free(t);
}

/* FAULTS 4.12: a null fills the hole at a checkpoint boundary, executes as nothing, and the
 * checkpoint becomes stable. A missing proposal is not a null. */
Test(faults_4, r12_null_at_a_checkpoint_boundary)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP,
                                  .type = PBFT_PRE_PREPARE,
                                  .in_view = true,
                                  .seq_low = 4,
                                  .seq_high = 4});
    for (unsigned i = 1; i <= 6; i++)
        net_put(t, i);
    net_run(t, 100);
    cr_assert_eq(net_info(t, 1).executed, 3u);
    cr_assert_eq(net_phase(t, 1, 6, NULL), PBFT_PHASE_COMMITTED, "above the gap");
    cr_assert_eq(t->nodes[1].executes[5], 0u, "never over a gap (FAULTS 2.2)");
    /* The request of 4 is proposed again above 6. */
    cr_assert(net_run_executed(t, 0, 7, 3000));
    cr_assert_eq(net_info(t, 1).view, 1u);
    cr_assert(pbft_digest_equal(&t->agreed[4], &t->null_digest));
    cr_assert(!pbft_digest_equal(&t->agreed[7], &t->null_digest));
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(t->nodes[id].state.executed, 6u, "six requests, each once");
    cr_assert(net_run_stable(t, 0, 4, 500), "the null advances the checkpoint");
    cr_assert(net_roots_equal(t, 0));
    cr_assert_eq(t->nodes[1].fetch_effects[PBFT_FETCH_BATCH], 0u, "a null has no body to fetch");
    net_free(t);
}

/* Ten view changes over three executed proposals: phases run again, executions do not. */
static enum net_fate no_proposals(struct net *t, const struct net_packet *p)
{
    (void)t;
    return p->type == PBFT_PRE_PREPARE && p->view < 10 ? NET_DROP : NET_PASS;
}

Test(faults_4, r13_never_executed_twice)
{
    struct net *t = net_new(4);
    for (unsigned i = 1; i <= 3; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 3, 300));
    t->filter = no_proposals;
    net_put(t, 4);
    cr_assert(net_run_view(t, 0, 10, 120000));
    net_run(t, 300);
    for (pbft_id id = 0; id < 4; id++) {
        for (pbft_seq seq = 1; seq <= 3; seq++)
            cr_assert_eq(t->nodes[id].executes[seq], 1u, "replica %u, %lu", id, (unsigned long)seq);
        cr_assert_eq(t->nodes[id].state.executed, 4u);
    }
    unsigned voted = 0; /* in view 10, for what had executed in view 0 */
    for (size_t i = 0; i < t->nodes[1].said_count; i++)
        if (t->nodes[1].said[i].type == PBFT_COMMIT && t->nodes[1].said[i].view == 10 &&
            t->nodes[1].said[i].seq <= 3)
            voted++;
    cr_assert_eq(voted, 3u, "O entries at or below what executed run their phases again");
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* Why they must: a replica that had not executed them has nobody else to commit with. */
Test(faults_4, r13_laggard_needs_the_phases)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE});
    net_rule(t, (struct net_rule){
                    .fate = NET_DROP, .type = PBFT_COMMIT, .to = NET_BIT(3), .in_view = true});
    for (unsigned i = 1; i <= 3; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, NET_BIT(1) | NET_BIT(2), 3, 300));
    net_crash(t, 0);
    net_put(t, 4);
    cr_assert(net_run_executed(t, 0, 4, 3000));
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}
