/* PROTOCOL 36-38: who is accused, of what, and who never. */
#include "replica/evidence.h"
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

/* What the item says when anybody checks it; lets go of the frames. */
static enum pbft_verdict judge(struct net *t, enum pbft_evidence_kind kind, pbft_id culprit,
                               struct pbft_frame *a, struct pbft_frame *b)
{
    uint8_t *file = NULL;
    size_t size = 0;
    struct pbft_evidence e;
    cr_assert_eq(pbft_evidence_encode(&t->cluster, kind, culprit, pbft_frame_span(a),
                                      pbft_frame_span(b), &file, &size),
                 PBFT_STATUS_OK);
    enum pbft_verdict verdict = pbft_evidence_verify(&t->cluster, &pbft_signer_fast,
                                                     (struct pbft_span){file, size}, &e, NULL);
    if (verdict == PBFT_OK) cr_assert_eq(e.culprit, culprit);
    free(file);
    pbft_frame_release(a);
    pbft_frame_release(b);
    return verdict;
}

static struct pbft_frame *view_change(struct net *t, pbft_id sender, pbft_view view, uint8_t byte)
{
    struct net_vc vc = {.view = view, .sender = sender};
    if (byte != 0) {
        vc.entry_count = 1;
        vc.entries[0] = (struct net_entry){.seq = 1, .digest = {{byte}}, .signers = 0x0c};
    }
    return net_view_change(t, &vc);
}

static struct pbft_frame *new_view(struct net *t, pbft_signers named)
{
    struct pbft_frame *vcs[3];
    unsigned count = 0;
    for (pbft_id id = 0; id < 4; id++)
        if (pbft_signers_has(named, id)) vcs[count++] = view_change(t, id, 1, 0);
    struct net_nv nv = net_new_view(t, 1, vcs, count);
    for (unsigned i = 0; i < count; i++)
        pbft_frame_release(vcs[i]);
    return net_new_view_frame(t, &nv);
}

/* PROTOCOL 36: the accusable pairs. */
Test(protocol, r36_contradictions_of_one_signer_are_proofs)
{
    struct net *t = net_new(4);
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    struct pbft_digest x = {{1}}, y = {{2}};
    enum pbft_evidence_kind conflict = PBFT_EVIDENCE_CONFLICT;
    cr_assert_eq(judge(t, conflict, 0, net_pre_prepare(t, 0, 1, &a), net_pre_prepare(t, 0, 1, &b)),
                 PBFT_OK);
    cr_assert_eq(judge(t, conflict, 0, net_header(t, 0, 1, &x), net_pre_prepare(t, 0, 1, &b)),
                 PBFT_OK, "a header is the PRE-PREPARE without its body");
    for (uint8_t type = PBFT_PREPARE; type <= PBFT_COMMIT; type++)
        cr_assert_eq(judge(t, conflict, 2, net_vote(t, type, 2, 3, 4, &x),
                           net_vote(t, type, 2, 3, 4, &y)),
                     PBFT_OK);
    cr_assert_eq(judge(t, conflict, 2, net_checkpoint(t, 2, 4, &x), net_checkpoint(t, 2, 4, &y)),
                 PBFT_OK);
    cr_assert_eq(judge(t, conflict, 2, view_change(t, 2, 1, 0), view_change(t, 2, 1, 7)), PBFT_OK);
    cr_assert_eq(judge(t, conflict, 1, new_view(t, 0x07), new_view(t, 0x0d)), PBFT_OK);
    cr_assert_eq(judge(t, PBFT_EVIDENCE_CHECKPOINT, 2, net_checkpoint(t, 2, 4, &x),
                       net_checkpoint_certificate(t, 4, &y, 0x0b)),
                 PBFT_OK, "a CHECKPOINT against a q-certificate counts too");
    net_free(t);
}

/* PROTOCOL 36: everything that differs in epoch, view, n, type or signer is no contradiction. */
Test(protocol, r36_what_may_differ_is_no_proof)
{
    struct net *t = net_new(4);
    struct pbft_digest x = {{1}}, y = {{2}};
    enum pbft_evidence_kind conflict = PBFT_EVIDENCE_CONFLICT;
    cr_assert_neq(judge(t, conflict, 2, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_PREPARE, 2, 4, 4, &y)),
                  PBFT_OK, "another view: it may vote otherwise");
    cr_assert_neq(judge(t, conflict, 2, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_PREPARE, 2, 3, 5, &y)),
                  PBFT_OK, "another n");
    cr_assert_neq(judge(t, conflict, 2, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_COMMIT, 2, 3, 4, &y)),
                  PBFT_OK, "another type");
    cr_assert_neq(judge(t, conflict, 2, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_PREPARE, 3, 3, 4, &y)),
                  PBFT_OK, "another signer");
    cr_assert_neq(judge(t, conflict, 3, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_PREPARE, 2, 3, 4, &y)),
                  PBFT_OK, "the name of another");
    cr_assert_neq(judge(t, conflict, 2, net_vote(t, PBFT_PREPARE, 2, 3, 4, &x),
                        net_vote(t, PBFT_PREPARE, 2, 3, 4, &x)),
                  PBFT_OK, "the same twice");
    cr_assert_neq(judge(t, conflict, 2, view_change(t, 2, 1, 0), view_change(t, 2, 2, 7)), PBFT_OK);
    cr_assert_neq(judge(t, conflict, 2, net_checkpoint(t, 2, 4, &x), net_checkpoint(t, 2, 8, &y)),
                  PBFT_OK);
    cr_assert_neq(judge(t, PBFT_EVIDENCE_CHECKPOINT, 2, net_checkpoint(t, 2, 4, &x),
                        net_checkpoint_certificate(t, 8, &y, 0x0b)),
                  PBFT_OK);
    cr_assert_neq(judge(t, PBFT_EVIDENCE_CHECKPOINT, 2, net_checkpoint(t, 2, 4, &x),
                        net_checkpoint_certificate(t, 4, &y, 0x03)),
                  PBFT_OK, "two are no quorum");
    cr_assert_neq(judge(t, PBFT_EVIDENCE_CHECKPOINT, 2, net_checkpoint(t, 2, 4, &x),
                        net_checkpoint_certificate(t, 4, &x, 0x0b)),
                  PBFT_OK, "it agrees with the quorum");
    /* Clients are counted, never accused. */
    cr_assert_neq(judge(t, conflict, 0, net_request(t, 0, 1, 1, "a"), net_request(t, 0, 1, 1, "b")),
                  PBFT_OK);
    net_free(t);
}

/* PROTOCOL 36, 38: a forged half proves nothing. */
Test(protocol, r36_signatures_are_verified_by_whoever_is_shown_the_item)
{
    struct net *t = net_new(4);
    struct pbft_digest x = {{1}}, y = {{2}};
    for (unsigned half = 0; half < 2; half++) {
        struct pbft_frame *a = net_vote(t, PBFT_COMMIT, 2, 3, 4, &x);
        struct pbft_frame *b = net_vote(t, PBFT_COMMIT, 2, 3, 4, &y);
        net_spoil(half == 0 ? a : b);
        cr_assert_eq(judge(t, PBFT_EVIDENCE_CONFLICT, 2, a, b), PBFT_DROP_SIGNATURE);
    }
    net_free(t);
}

static uint32_t items(const struct net *t, pbft_id by)
{
    return t->nodes[by].evidence_count;
}

/* PROTOCOL 36: the core emits each kind; one item for each (signer, type). */
Test(protocol, r36_one_item_for_each_signer_and_type)
{
    struct net *t = net_solo(4, 1);
    t->no_wants = true;
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    struct pbft_digest x = {{1}}, y = {{2}};
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a));
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &b)), PBFT_DROP_CONFLICT);
    cr_assert_eq(items(t, 1), 1u);
    for (uint8_t type = PBFT_PREPARE; type <= PBFT_COMMIT; type++) {
        for (pbft_seq seq = 2; seq <= 4; seq++) {
            net_deliver(t, 2, 1, net_vote(t, type, 2, 0, seq, &x));
            cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, type, 2, 0, seq, &y)),
                         PBFT_DROP_CONFLICT);
        }
        cr_assert_eq(items(t, 1), type == PBFT_PREPARE ? 2u : 3u, "one, whatever the n");
    }
    net_deliver(t, 2, 1, net_checkpoint(t, 2, 4, &x));
    net_deliver(t, 2, 1, net_checkpoint(t, 2, 4, &y));
    cr_assert_eq(items(t, 1), 4u);
    net_deliver(t, 3, 1, view_change(t, 3, 1, 0));
    net_deliver(t, 3, 1, view_change(t, 3, 1, 7));
    cr_assert_eq(items(t, 1), 5u);
    net_deliver(t, 3, 1, net_vote(t, PBFT_PREPARE, 3, 0, 2, &x));
    net_deliver(t, 3, 1, net_vote(t, PBFT_PREPARE, 3, 0, 2, &y));
    cr_assert_eq(items(t, 1), 6u, "another signer");
    for (uint32_t i = 0; i < items(t, 1); i++) {
        const struct net_evidence *e = &t->nodes[1].evidence[i];
        cr_assert_eq(judge(t, e->kind, e->culprit, pbft_frame_retain(e->frames[0]),
                           pbft_frame_retain(e->frames[1])),
                     PBFT_OK, "item %u", i);
    }
    cr_assert_eq(net_info(t, 1).accused, 0x0du);
    net_free(t);
}

/* PROTOCOL 36: two NEW-VIEWs for one view, before and after it is installed. */
Test(protocol, r36_two_new_views_for_one_view)
{
    for (unsigned installed = 0; installed < 2; installed++) {
        struct net *t = net_solo(4, 2);
        t->no_wants = true;
        if (installed)
            for (pbft_id id = 0; id < 4; id++)
                if (id != 2) net_deliver(t, id, 2, view_change(t, id, 1, 0));
        net_deliver(t, 1, 2, new_view(t, 0x0b));
        cr_assert_eq(net_info(t, 2).view_active && net_info(t, 2).view == 1, installed == 1);
        cr_assert_eq(net_deliver(t, 1, 2, new_view(t, 0x0d)), PBFT_DROP_CONFLICT);
        cr_assert(net_accused(t, 2, 1));
        net_free(t);
    }
}

/* PROTOCOL 36: a CHECKPOINT that came before the certificate, and one that comes after it. */
Test(protocol, r36_a_checkpoint_against_the_certified_root)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest x = {{1}}, y = {{2}};
    net_deliver(t, 2, 1, net_checkpoint(t, 2, 4, &x));
    cr_assert_eq(net_deliver(t, 0, 1, net_checkpoint_certificate(t, 4, &y, 0x0b)), PBFT_OK);
    cr_assert(net_accused(t, 1, 2));
    cr_assert_eq(t->nodes[1].evidence[0].kind, PBFT_EVIDENCE_CHECKPOINT);
    cr_assert_eq(net_deliver(t, 3, 1, net_checkpoint(t, 3, 4, &x)), PBFT_DROP_CONFLICT);
    cr_assert(net_accused(t, 1, 3));
    net_free(t);
}

/* PROTOCOL 37: a PREPARE for another digest makes a backup fetch that sender's PRE-PREPARE header;
 * the primary's two headers are the proof. In both orders of arrival. */
Test(protocol, r37_a_strange_prepare_leads_to_the_primarys_other_header)
{
    for (unsigned late = 0; late < 2; late++) {
        struct net *t = net_solo(4, 1);
        struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
        if (!late) net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a));
        net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 1, &b.digest));
        if (late) net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a));
        cr_assert_eq(t->nodes[1].fetch_effects[PBFT_FETCH_HEADER], 1u,
                     "the PREPARE came %s the PRE-PREPARE", late ? "before" : "after");
        net_run(t, 5);
        cr_assert_eq(t->nodes[2].received[PBFT_FETCH], 1u, "it asks who prepared that");
        cr_assert_eq(t->nodes[3].received[PBFT_FETCH], 0u);
        cr_assert_eq(items(t, 1), 0u, "a PREPARE alone proves nothing against the primary");
        cr_assert_eq(net_deliver(t, 2, 1, net_header(t, 0, 1, &b.digest)), PBFT_OK);
        cr_assert_eq(items(t, 1), 1u);
        cr_assert_eq(t->nodes[1].evidence[0].culprit, 0u);
        net_deliver(t, 3, 1, net_vote(t, PBFT_PREPARE, 3, 0, 1, &b.digest));
        cr_assert_eq(t->nodes[1].fetch_effects[PBFT_FETCH_HEADER], 1u, "once is enough");
        net_free(t);
    }
}

/* PROTOCOL 37 in a cluster: the primary shows A to two and B to one. */
Test(protocol, r37_an_equivocating_primary_is_caught)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    net_send(t, 0, NET_BIT(1) | NET_BIT(2), net_pre_prepare(t, 0, 1, &a));
    net_send(t, 0, NET_BIT(3), net_pre_prepare(t, 0, 1, &b));
    net_run(t, 200);
    for (pbft_id id = 1; id < 4; id++)
        cr_assert(net_accused(t, id, 0), "replica %u has no proof", id);
    net_free(t);
}

/* PROTOCOL 37: whoever is asked answers with the header that it holds, in that view only. */
Test(protocol, r37_headers_are_served)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "a");
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a));
    struct pbft_fetch what = {.kind = PBFT_FETCH_HEADER, .view = 0, .seq = 1};
    struct pbft_frame *header = pbft_core_serve(t->nodes[1].core, &what);
    cr_assert_not_null(header);
    struct pbft_frame *expected = net_header(t, 0, 1, &a.digest);
    cr_assert_eq(header->size, expected->size);
    cr_assert_eq(memcmp(header->bytes, expected->bytes, header->size), 0);
    pbft_frame_release(header);
    pbft_frame_release(expected);
    what.view = 1;
    cr_assert_null(pbft_core_serve(t->nodes[1].core, &what));
    net_free(t);
}

/* PROTOCOL 38: a correct replica is never accused. The harness fails a test in which one is; this
 * is a hard day for it: loss, reordering, duplicates, a crash, a mute return, view changes. */
Test(protocol, r38_a_correct_replica_is_never_accused)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct net *t = net_new(4);
        t->shuffle = seed;
        net_rule(t, (struct net_rule){.fate = NET_TWICE, .type = PBFT_PREPARE});
        net_rule(t, (struct net_rule){.fate = NET_DROP,
                                      .type = PBFT_COMMIT,
                                      .from = NET_BIT(seed % 4),
                                      .times = 6});
        net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_PRE_PREPARE, .times = 5});
        for (unsigned i = 1; i <= 6; i++)
            net_put(t, i);
        net_run(t, 800);
        net_crash(t, (pbft_id)(seed % 4));
        for (unsigned i = 7; i <= 12; i++)
            net_put(t, i);
        net_run(t, 1500);
        net_restart(t, (pbft_id)(seed % 4), true);
        for (unsigned i = 13; i <= 16; i++)
            net_put(t, i);
        net_run(t, 3000);
        for (pbft_id id = 0; id < 4; id++) {
            cr_assert_eq(net_info(t, id).accused, 0u, "seed %lu", seed);
            cr_assert_eq(t->nodes[id].evidence_count, 0u);
        }
        net_free(t);
    }
}

/* PROTOCOL 38: in another view a correct replica may say something else about the same n; whoever
 * is slow hears both. */
Test(protocol, r38_another_view_is_another_statement)
{
    struct net *t = net_solo(4, 3);
    t->no_wants = true;
    struct pbft_digest x = {{1}}, y = {{2}};
    for (uint8_t type = PBFT_PREPARE; type <= PBFT_COMMIT; type++) {
        cr_assert_eq(net_deliver(t, 2, 3, net_vote(t, type, 2, 0, 1, &x)), PBFT_OK);
        cr_assert_eq(net_deliver(t, 2, 3, net_vote(t, type, 2, 1, 1, &y)), PBFT_OK);
    }
    struct pbft_frame *vcs[3];
    for (pbft_id id = 0; id < 3; id++) {
        vcs[id] = view_change(t, id, 1, 0);
        net_deliver(t, id, 3, pbft_frame_retain(vcs[id]));
    }
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 3, net_new_view_frame(t, &nv)), PBFT_OK);
    cr_assert_eq(net_info(t, 3).view, 1u);
    for (uint8_t type = PBFT_PREPARE; type <= PBFT_COMMIT; type++)
        cr_assert_eq(net_deliver(t, 2, 3, net_vote(t, type, 2, 1, 1, &y)), PBFT_DROP_DUPLICATE,
                     "what was kept is replayed");
    cr_assert_eq(items(t, 3), 0u);
    for (pbft_id id = 0; id < 3; id++)
        pbft_frame_release(vcs[id]);
    net_free(t);
}

/* PROTOCOL 38, 29: nobody accuses itself; shown a vote of its own that it does not know, a replica
 * is mute. */
Test(protocol, r38_a_replica_does_not_accuse_itself)
{
    struct net *t = net_solo(4, 1);
    t->no_wants = true;
    struct net_batch a = net_batch(t, 0, 1, 1, "a");
    struct pbft_digest other = {{5}};
    net_deliver(t, 0, 1, net_pre_prepare(t, 0, 1, &a));
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 1, 0, 1, &a.digest)),
                 PBFT_DROP_DUPLICATE);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 1, 0, 1, &other)), PBFT_DROP_MUTE);
    cr_assert_eq(t->nodes[1].evidence_count, 0u);
    cr_assert_eq(t->nodes[1].muted, 1u);
    net_free(t);
}
