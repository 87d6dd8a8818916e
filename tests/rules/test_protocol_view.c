/* PROTOCOL 18-23: VIEW-CHANGE, NEW-VIEW, their bounds, the timers, admission, the back-off. */
#include "pbft/certificate.h"
#include "pbft/new_view.h"
#include "pbft/pending.h"
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

static struct pbft_digest digest_of(uint8_t byte)
{
    struct pbft_digest d;
    memset(&d, byte, sizeof d);
    return d;
}

/* A certificate that q-1 backups of `view` (never its primary; n = 4) prepared. */
static struct net_entry entry(pbft_seq seq, pbft_view view, uint8_t byte)
{
    pbft_id primary = (pbft_id)(view % 4);
    pbft_signers backups = 0x0f & ~NET_BIT(primary);
    return (struct net_entry){.seq = seq,
                              .view = view,
                              .digest = digest_of(byte),
                              .signers = backups & (backups - 1)};
}

static struct pbft_frame *keep(struct pbft_frame *frame)
{
    return pbft_frame_retain(frame);
}

static enum pbft_verdict give_vc(struct net *t, pbft_id at, const struct net_vc *vc)
{
    return net_deliver(t, vc->sender, at, net_view_change(t, vc));
}

/* The replica of a solo net times out: a client asked and nobody proposed. */
static void time_out(struct net *t, pbft_id at)
{
    net_submit(t, 3, 1, 1, "unheard", NET_BIT(at));
    net_run(t, 510);
    cr_assert_eq(net_info(t, at).view, 1u);
}

/* ---- PROTOCOL 18 ---- */

/* P entries lie in (h_i, h_i+L] of that VIEW-CHANGE's proved h_i; one per n; of a lower view. */
Test(protocol, r18_p_entries_lie_in_the_senders_own_proved_window)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest root = digest_of(4);
    struct net_vc base = {.view = 3, .sender = 2, .stable = 4, .root = root, .proof = 0x0d};
    static const struct {
        pbft_seq seqs[2];
        uint32_t count;
        pbft_view view;
        enum pbft_verdict verdict;
    } cases[] = {
        {{4, 0}, 1, 0, PBFT_DROP_WINDOW},  {{3, 0}, 1, 0, PBFT_DROP_WINDOW},
        {{13, 0}, 1, 0, PBFT_DROP_WINDOW}, {{5, 13}, 2, 0, PBFT_DROP_WINDOW},
        {{5, 0}, 1, 3, PBFT_DROP_VIEW},    {{5, 0}, 1, 4, PBFT_DROP_VIEW},
        {{5, 12}, 2, 2, PBFT_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net_vc vc = base;
        vc.entry_count = cases[i].count;
        for (uint32_t k = 0; k < vc.entry_count; k++)
            vc.entries[k] = entry(cases[i].seqs[k], cases[i].view, 1);
        enum pbft_verdict verdict = give_vc(t, 1, &vc);
        cr_assert_eq(verdict, cases[i].verdict, "case %zu: %s", i, pbft_verdict_text(verdict));
    }
    /* h_i is what q CHECKPOINTs prove: fewer, none or forged ones prove nothing. */
    base.sender = 3;
    base.proof = 0x05;
    cr_assert_eq(give_vc(t, 1, &base), PBFT_DROP_CERTIFICATE);
    base.proof = 0;
    cr_assert_eq(give_vc(t, 1, &base), PBFT_DROP_CERTIFICATE);
    base.proof = 0x0d;
    base.forged_proof = true;
    cr_assert_eq(give_vc(t, 1, &base), PBFT_DROP_SIGNATURE);

    /* No two entries for one n, and one order of them. The encoder writes no such bytes. */
    struct pbft_prepared two[2] = {{.seq = 2, .prepares = {0x0c, NULL}},
                                   {.seq = 2, .prepares = {0x0c, NULL}}};
    struct pbft_view_change m = {.view = 1,
                                 .sender = 2,
                                 .stable_root = t->cluster.genesis_root,
                                 .prepared_count = 2,
                                 .prepared = two};
    const struct pbft_digest *genesis = &t->cluster.genesis_root;
    cr_assert_eq(pbft_view_change_check(&t->params, 0, genesis, &m), PBFT_DROP_WINDOW);
    two[1].seq = 1;
    cr_assert_eq(pbft_view_change_check(&t->params, 0, genesis, &m), PBFT_DROP_WINDOW);
    two[1].seq = 3;
    cr_assert_eq(pbft_view_change_check(&t->params, 0, genesis, &m), PBFT_OK);
    net_free(t);
}

/* Prepare seq 1 (digest of `b`) at replica `at` in the view that it is in. */
static void prepare(struct net *t, pbft_id at, pbft_view view, const struct net_batch *b)
{
    pbft_id primary = pbft_primary(t->n, view);
    net_deliver(t, primary, at, net_pre_prepare(t, view, 1, b));
    for (pbft_id id = 0; id < t->n; id++)
        if (id != at && id != primary)
            net_deliver(t, id, at, net_vote(t, PBFT_PREPARE, id, view, 1, &b->digest));
    cr_assert_eq(net_phase(t, at, 1, NULL), PBFT_PHASE_PREPARED);
}

static const struct pbft_view_change *own_view_change(struct net *t, pbft_id id)
{
    cr_assert_not_null(t->nodes[id].last_sent[PBFT_VIEW_CHANGE]);
    return &net_decode(t, t->nodes[id].last_sent[PBFT_VIEW_CHANGE])->view_change;
}

/* Let replica `at` enter `view` on VIEW-CHANGEs that know of `entries`. */
static void enter_view(struct net *t, pbft_id at, pbft_view view, const struct net_entry *entries,
                       uint32_t count)
{
    struct pbft_frame *vcs[3];
    unsigned at_vc = 0;
    for (pbft_id id = 0; id < t->n && at_vc < 3; id++) {
        if (id == at) continue;
        struct net_vc vc = {.view = view, .sender = id, .entry_count = count};
        for (uint32_t i = 0; i < count; i++)
            vc.entries[i] = entries[i];
        vcs[at_vc] = keep(net_view_change(t, &vc));
        net_deliver(t, id, at, vcs[at_vc++]);
    }
    struct net_nv nv = net_new_view(t, view, vcs, 3);
    cr_assert_eq(net_deliver(t, nv.sender, at, net_new_view_frame(t, &nv)), PBFT_OK);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    cr_assert(net_info(t, at).view_active);
    cr_assert_eq(net_info(t, at).view, view);
}

/* One entry per n, the highest view in which it prepared here; not lost by a view that did not
 * prepare it again. */
Test(protocol, r18_p_holds_the_highest_view_that_prepared)
{
    struct net *t = net_solo(4, 3);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    prepare(t, 3, 0, &b);
    struct net_entry known = {.seq = 1, .digest = b.digest, .signers = 0x0c};
    enter_view(t, 3, 1, &known, 1); /* re-proposed, not prepared again */
    net_run(t, 5);
    for (pbft_id id = 0; id < 2; id++)
        give_vc(t, 3,
                &(struct net_vc){.view = 2, .sender = id, .entry_count = 1, .entries = {known}});
    const struct pbft_view_change *m = own_view_change(t, 3);
    cr_assert_eq(m->view, 2u);
    cr_assert_eq(m->prepared_count, 1u, "what prepared in view 0 is lost");
    cr_assert_eq(m->prepared[0].view, 0u);
    cr_assert(pbft_digest_equal(&m->prepared[0].digest, &b.digest));

    enter_view(t, 3, 2, &known, 1);
    for (pbft_id id = 0; id < 2; id++)
        net_deliver(t, id, 3, net_vote(t, PBFT_PREPARE, id, 2, 1, &b.digest));
    give_vc(t, 3, &(struct net_vc){.view = 4, .sender = 0});
    give_vc(t, 3, &(struct net_vc){.view = 4, .sender = 1});
    m = own_view_change(t, 3);
    cr_assert_eq(m->view, 4u);
    cr_assert_eq(m->prepared_count, 1u);
    cr_assert_eq(m->prepared[0].view, 2u, "the highest");
    net_free(t);
}

/* Frozen when first sent: whatever is learned later, the same bytes go out again. */
Test(protocol, r18_a_view_change_is_frozen_when_first_sent)
{
    struct net *t = net_solo(4, 2);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    prepare(t, 2, 0, &b);
    time_out(t, 2);
    struct pbft_frame *first = keep(t->nodes[2].last_sent[PBFT_VIEW_CHANGE]);
    struct pbft_digest root = digest_of(4), id;
    pbft_digest_view_change(&id, pbft_wire_signed_body(pbft_frame_span(first)));
    /* h moves, the slot is gone; the certificates stay pinned. */
    cr_assert_eq(net_deliver(t, 0, 2, net_checkpoint_certificate(t, 4, &root, 0x0b)), PBFT_OK);
    cr_assert_eq(net_info(t, 2).stable, 4u);
    uint64_t before = t->nodes[2].sent[PBFT_VIEW_CHANGE];
    for (uint64_t counter = 1; counter <= 4; counter++) {
        net_send(t, 3, NET_BIT(2), net_status(t, 0, 0, 0, counter, 0));
        net_run(t, 200);
    }
    cr_assert_gt(t->nodes[2].sent[PBFT_VIEW_CHANGE], before, "not repeated");
    const struct pbft_frame *again = t->nodes[2].last_sent[PBFT_VIEW_CHANGE];
    cr_assert_eq(again->size, first->size);
    cr_assert_eq(memcmp(again->bytes, first->bytes, first->size), 0);
    struct pbft_fetch what = {.kind = PBFT_FETCH_VIEW_CHANGE, .digest = id};
    struct pbft_frame *served = pbft_core_serve(t->nodes[2].core, &what);
    cr_assert_not_null(served);
    cr_assert_eq(memcmp(served->bytes, first->bytes, first->size), 0);
    pbft_frame_release(served);
    pbft_frame_release(first);
    net_free(t);
}

/* ---- PROTOCOL 19 ---- */

/* O = min-s, max-s inclusive, holes null, the highest view for each n: a pure function. */
Test(protocol, r19_selection_takes_highest_checkpoint_and_highest_view)
{
    struct pbft_digest null = digest_of(0xFF), out[16];
    struct pbft_prepared_summary a[] = {{5, 0, digest_of(1)}, {8, 2, digest_of(2)}};
    struct pbft_prepared_summary b[] = {{5, 3, digest_of(3)}, {7, 0, digest_of(4)}};
    struct pbft_prepared_summary c[] = {{3, 9, digest_of(5)}, {8, 1, digest_of(6)}};
    struct pbft_view_change_summary vcs[] = {{4, digest_of(40), 2, a},
                                             {4, digest_of(40), 2, b},
                                             {0, digest_of(41), 2, c}};
    for (unsigned turn = 0; turn < 3; turn++) { /* whoever is named first */
        struct pbft_new_view_selection s = {.digests = out};
        pbft_new_view_select(vcs, 3, 8, &null, &s);
        cr_assert_eq(s.min_s, 4u);
        cr_assert(pbft_digest_equal(&s.root, &vcs[0].stable_root) || turn > 0);
        cr_assert_eq(s.count, 4u, "up to 8, inclusive; 3 is below min-s");
        cr_assert(pbft_digest_equal(&out[0], &b[0].digest), "view 3 wins at 5");
        cr_assert(pbft_digest_equal(&out[1], &null), "6 is a hole");
        cr_assert(pbft_digest_equal(&out[2], &b[1].digest));
        cr_assert(pbft_digest_equal(&out[3], &a[1].digest), "view 2 wins at 8");
        struct pbft_view_change_summary swap = vcs[0];
        vcs[0] = vcs[1];
        vcs[1] = vcs[2];
        vcs[2] = swap;
    }
}

struct bent {
    struct net *t;
    struct pbft_frame *vcs[4];
    struct net_nv nv;
};

/* Four VIEW-CHANGEs for view 1; the NEW-VIEW names those of 0, 1 and 3. Replica 2 has them all;
 * that of 2 (its own) and what only it knows does not count. */
static struct bent bent_new(void)
{
    struct bent x = {.t = net_solo(4, 2)};
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        struct net_vc vc = {.view = 1, .sender = senders[i]};
        if (i == 0) {
            vc.entry_count = 2;
            vc.entries[0] = entry(1, 0, 1);
            vc.entries[1] = entry(3, 0, 3);
        }
        x.vcs[i] = net_view_change(x.t, &vc);
        net_deliver(x.t, senders[i], 2, keep(x.vcs[i]));
    }
    x.nv = net_new_view(x.t, 1, x.vcs, 3);
    cr_assert_eq(x.nv.count, 3u);
    return x;
}

static void bent_free(struct bent *x)
{
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(x->vcs[i]);
    net_free(x->t);
}

/* O is recomputed from the named VIEW-CHANGEs; every difference in (v, n, d) refuses it. */
Test(protocol, r19_o_is_recomputed_and_compared)
{
    for (unsigned bend = 0; bend <= 8; bend++) {
        struct bent x = bent_new();
        enum pbft_verdict expected = PBFT_DROP_NEW_VIEW;
        switch (bend) {
        case 0: expected = PBFT_OK; break;
        case 1: x.nv.digests[0] = x.t->null_digest; break;
        case 2: x.nv.digests[1] = digest_of(9); break; /* the hole is filled */
        case 3: x.nv.count = 2; break;
        case 4: x.nv.digests[x.nv.count++] = digest_of(9); break;
        case 5: x.nv.min_s = 4; break;
        case 6: /* the individual signatures of O's PRE-PREPAREs */
            x.nv.entry_signer = 3;
            expected = PBFT_DROP_SIGNATURE;
            break;
        case 7:
            x.nv.signer = 3;
            expected = PBFT_DROP_SIGNATURE;
            break;
        default: /* two VIEW-CHANGEs are no quorum */
            x.nv.signers = 0x03;
            expected = PBFT_DROP_CERTIFICATE;
            break;
        }
        enum pbft_verdict verdict = net_deliver(x.t, 1, 2, net_new_view_frame(x.t, &x.nv));
        cr_assert_eq(verdict, expected, "bend %u: %s", bend, pbft_verdict_text(verdict));
        cr_assert_eq(net_info(x.t, 2).view_active && net_info(x.t, 2).view == 1, bend == 0);
        bent_free(&x);
    }
}

/* Exactly the named ones: what a further VIEW-CHANGE says does not enter. */
Test(protocol, r19_only_the_named_view_changes_count)
{
    struct net *t = net_solo(4, 2);
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    prepare(t, 2, 0, &b); /* replica 2 knows of seq 1 */
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++) {
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = senders[i]});
        net_deliver(t, senders[i], 2, keep(vcs[i]));
    }
    cr_assert_eq(net_info(t, 2).view, 1u, "f+1 asked: it joined");
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(nv.count, 0u);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK,
                 "prepared by one alone is not committed by anybody");
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* Each O entry is a PRE-PREPARE in its own right: later P certificates are formed with it. */
Test(protocol, r19_o_entries_serve_in_later_certificates)
{
    struct net *t = net_new(4);
    struct net_rule *hold = net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT});
    net_put(t, 1);
    net_run(t, 20);
    cr_assert_gt(hold->hits, 0u);
    net_crash(t, 0);
    cr_assert(net_run_view(t, 0, 1, 3000));
    net_run(t, 20); /* prepared again, in view 1, from the NEW-VIEW's entry */
    cr_assert_eq(net_phase(t, 2, 1, NULL), PBFT_PHASE_PREPARED);
    net_cut(t, NET_BIT(1), NET_BIT(2) | NET_BIT(3));
    net_run(t, 3000);
    const struct pbft_view_change *m = own_view_change(t, 2);
    cr_assert_geq(m->view, 2u);
    cr_assert_eq(m->prepared_count, 1u);
    cr_assert_eq(m->prepared[0].view, 1u);
    cr_assert_gt(t->nodes[3].received[PBFT_VIEW_CHANGE], 0u, "the door refused it");
    net_free(t);
}

/* VIEW-CHANGEs that a NEW-VIEW names and that are missing here are fetched by digest. */
Test(protocol, r19_missing_view_changes_are_fetched_by_digest)
{
    struct net *t = net_solo(4, 2);
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++)
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = senders[i]});
    net_deliver(t, 0, 2, keep(vcs[0]));
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK);
    cr_assert_eq(t->nodes[2].fetch_effects[PBFT_FETCH_VIEW_CHANGE], 2u);
    cr_assert_eq(net_info(t, 2).view, 0u);
    /* Another VIEW-CHANGE of the same sender is not the one that was named. */
    struct net_vc rival = {.view = 1, .sender = 1, .entry_count = 1};
    rival.entries[0] = entry(1, 0, 1);
    give_vc(t, 2, &rival);
    cr_assert(!net_info(t, 2).view_active || net_info(t, 2).view == 0);
    net_deliver(t, 3, 2, vcs[1]); /* relayed by anybody */
    net_deliver(t, 3, 2, vcs[2]);
    cr_assert_eq(net_info(t, 2).view, 1u);
    cr_assert(net_info(t, 2).view_active);
    pbft_frame_release(vcs[0]);
    net_free(t);
}

/* ---- PROTOCOL 20 ---- */

/* A configuration whose worst NEW-VIEW takes longer than half the base time-out, or whose
 * VIEW-CHANGE exceeds a frame, is refused at start. */
Test(protocol, r20_configurations_that_cannot_change_views_are_refused)
{
    struct pbft_params p = pbft_params_default(16);
    cr_assert_null(pbft_params_check(&p), "%s", pbft_params_check(&p));
    p.checkpoint_interval = 128;
    p.window = 256; /* 30,976 signatures: 1.5 s */
    p.view_timeout_ns = 500 * MS;
    cr_assert_not_null(pbft_params_check(&p));
    p.view_timeout_ns = 2000 * MS;
    cr_assert_not_null(pbft_params_check(&p), "half of it must do");
    p.view_timeout_ns = 3200 * MS;
    cr_assert_null(pbft_params_check(&p), "%s", pbft_params_check(&p));

    p = pbft_params_default(64);
    cr_assert_null(pbft_params_check(&p), "%s", pbft_params_check(&p));
    p.checkpoint_interval = 2048;
    p.window = 4096; /* 43 signatures an entry: 11 MB */
    p.view_timeout_ns = p.view_timeout_max_ns = UINT64_C(1800000) * MS;
    const char *why = pbft_params_check(&p);
    cr_assert_not_null(why);
    cr_assert_not_null(strstr(why, "VIEW-CHANGE"), "%s", why);
    struct pbft_core_config config = {.params = p};
    cr_assert_eq(pbft_core_size(&config), 0u, "the core takes no such parameters");
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        p = pbft_params_default(n);
        cr_assert_null(pbft_params_check(&p), "n = %u: %s", n, pbft_params_check(&p));
    }
}

/* A NEW-VIEW that is being verified suspends the timer, once. */
Test(protocol, r20_a_new_view_in_hand_suspends_the_timer_once)
{
    struct net *t = net_solo(4, 2);
    struct pbft_frame *vcs[4];
    static const pbft_id senders[] = {0, 1, 3};
    for (unsigned i = 0; i < 3; i++)
        vcs[i] = net_view_change(t, &(struct net_vc){.view = 1, .sender = senders[i]});
    net_deliver(t, 0, 2, keep(vcs[0]));
    net_deliver(t, 1, 2, keep(vcs[1])); /* f+1: it joins; with its own that makes q */
    uint64_t started = t->now_ns, timeout = net_info(t, 2).view_timeout_ns;
    cr_assert_eq(net_info(t, 2).view, 1u);
    net_run(t, timeout / MS - 100);
    struct net_nv nv = net_new_view(t, 1, vcs, 3);
    cr_assert_eq(net_deliver(t, 1, 2, net_new_view_frame(t, &nv)), PBFT_OK); /* 3's is missing */
    net_run(t, 200);
    cr_assert_eq(net_info(t, 2).view, 1u, "left although the NEW-VIEW was there");
    net_run(t, timeout / MS);
    cr_assert_eq(net_info(t, 2).view, 2u, "and no longer than that: %lu ms",
                 (t->now_ns - started) / MS);
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    net_free(t);
}

/* ---- PROTOCOL 21 ---- */

/* Execute `b` at seq in a solo replica, by certificate. */
static void decide(struct net *t, pbft_id at, pbft_seq seq, const struct net_batch *b)
{
    cr_assert_eq(net_deliver(t, 0, at, net_commit_certificate(t, 0, seq, b, 0x0d)), PBFT_OK);
    net_run(t, 2);
}

/* Milliseconds until replica `at` of a solo net leaves its view; 0: it did not in `most`. */
static uint64_t leaves_after(struct net *t, pbft_id at, uint64_t since_ns, uint64_t most)
{
    pbft_view view = net_info(t, at).view;
    while (t->now_ns - since_ns < most * MS) {
        net_run(t, 5);
        if (net_info(t, at).view > view) return (t->now_ns - since_ns) / MS;
    }
    return 0;
}

/* Timers are keyed (session, t). Else: a primary that orders t = 5 and censors t = 4 is never
 * replaced. */
Test(protocol, r21_a_primary_that_censors_one_number_is_replaced)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    net_submit(t, 0, 1, 1, "censored", 0x0e);
    for (pbft_seq seq = 1; seq <= 8; seq++) {
        struct net_batch b = net_batch(t, 0, 1, seq + 1, "ordered");
        net_submit(t, 0, 1, seq + 1, "ordered", 0x0e);
        net_send(t, 0, 0, net_pre_prepare(t, 0, seq, &b));
        net_run(t, 100);
    }
    cr_assert(net_run_executed(t, 0, 8, 500));
    cr_assert(net_run_view(t, 0, 1, 1000), "others' progress reset the timer");
    net_run(t, 500);
    cr_assert_eq(pbft_signers_count(net_replied(t, 0, 1, 1)), 3u);
    net_free(t);
}

/* The running timer is the oldest request's: later arrivals and their execution never reset it. */
Test(protocol, r21_later_requests_do_not_reset_the_timer)
{
    struct net *t = net_solo(4, 1);
    uint64_t start = t->now_ns;
    net_submit(t, 0, 1, 1, "old", NET_BIT(1));
    net_run(t, 300);
    net_submit(t, 0, 1, 2, "new", NET_BIT(1));
    net_submit(t, 1, 1, 1, "another client's", NET_BIT(1));
    net_run(t, 100);
    struct net_batch b = net_batch(t, 0, 1, 2, "new");
    decide(t, 1, 1, &b);
    uint64_t after = leaves_after(t, 1, start, 1500);
    cr_assert(after >= 500 && after <= 520, "after %lu ms", after);
    net_free(t);
}

/* It restarts for the next when the oldest executes, and stops when nothing is left. */
Test(protocol, r21_the_timer_restarts_when_the_oldest_executes)
{
    struct net *t = net_solo(4, 1);
    net_submit(t, 0, 1, 1, "old", NET_BIT(1));
    net_run(t, 300);
    net_submit(t, 0, 1, 2, "new", NET_BIT(1));
    net_run(t, 100);
    struct net_batch b = net_batch(t, 0, 1, 1, "old");
    uint64_t start = t->now_ns;
    decide(t, 1, 1, &b);
    uint64_t after = leaves_after(t, 1, start, 1500);
    cr_assert(after >= 500 && after <= 520, "after %lu ms", after);
    net_free(t);

    t = net_solo(4, 1);
    net_submit(t, 0, 1, 1, "only", NET_BIT(1));
    net_run(t, 300);
    b = net_batch(t, 0, 1, 1, "only");
    decide(t, 1, 1, &b);
    cr_assert_eq(leaves_after(t, 1, t->now_ns, 3000), 0u);
    net_free(t);
}

/* It stops, too, when t becomes STALE. */
Test(protocol, r21_a_stale_request_stops_its_timer)
{
    struct net *t = net_solo(4, 1);
    net_submit(t, 0, 1, 1, "left behind", NET_BIT(1));
    net_run(t, 300);
    struct pbft_done_request done = {.client_index = 0, .session = 1, .t = 900, .low = 644};
    struct net_batch b = net_batch(t, 0, 1, 900, "far ahead");
    t->nodes[1].exec_stuck = true; /* the executed event is this test's */
    cr_assert_eq(net_deliver(t, 0, 1, net_commit_certificate(t, 0, 1, &b, 0x0d)), PBFT_OK);
    struct pbft_event event = {.kind = PBFT_EVENT_EXECUTED};
    event.executed.seq = 1;
    event.executed.effective_ns = b.time_ns;
    event.executed.done = &done;
    event.executed.done_count = 1;
    net_step_core(&t->nodes[1], &event, NULL);
    cr_assert_eq(net_info(t, 1).pending, 0u);
    cr_assert_eq(leaves_after(t, 1, t->now_ns, 3000), 0u);
    net_free(t);
}

/* It pauses while the next n > h+L: that is nobody's fault. */
Test(protocol, r21_the_timer_pauses_while_the_window_is_full)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE});
    for (unsigned i = 1; i <= 10; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 8, 500));
    net_run(t, 4000);
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(net_info(t, id).view, 0u, "a needless view change");
    net_rules_clear(t);
    cr_assert(net_run_executed(t, 0, 10, 1000));
    cr_assert_eq(net_info(t, 1).view, 0u);
    net_free(t);
}

/* ---- PROTOCOL 22 ---- */

/* Every replica keeps the registered quota for each client: nobody fills another's room. */
Test(protocol, r22_a_clients_quota_is_its_own)
{
    struct net *t = net_solo(4, 1);
    uint32_t quota = t->params.client_quota;
    cr_assert_eq(pbft_pending_quota(&t->params, NET_CLIENTS), quota);
    for (unsigned i = 1; i <= 2 * quota; i++)
        net_submit(t, 0, 1, i, "greedy", NET_BIT(1));
    net_run(t, 5);
    cr_assert_eq(net_info(t, 1).pending, quota);
    for (uint32_t client = 1; client < NET_CLIENTS; client++)
        for (unsigned i = 1; i <= quota; i++)
            net_submit(t, client, 1, i, "modest", NET_BIT(1));
    net_run(t, 5);
    cr_assert_eq(net_info(t, 1).pending, NET_CLIENTS * quota);
    net_free(t);
}

/* Each replica that forwards has room of its own: neither its client nor another takes it. */
Test(protocol, r22_each_forwarder_has_room_of_its_own)
{
    struct net *t = net_solo(4, 0);
    uint32_t quota = t->params.client_quota, room = pbft_pending_room(&t->params, NET_CLIENTS);
    cr_assert_gt(room, 1u);
    cr_assert_leq(3 * room, quota);
    t->nodes[0].exec_stuck = true;
    for (unsigned i = 1; i <= 2 * quota; i++)
        net_submit(t, 0, 1, i, "greedy", NET_BIT(0));
    net_run(t, 5);
    cr_assert_eq(net_info(t, 0).pending, quota);
    for (pbft_id id = 1; id < 4; id++) {
        for (unsigned i = 1; i <= room; i++)
            cr_assert_eq(net_deliver(t, id, 0, net_request(t, 0, 10 + id, i, "shown to it")),
                         PBFT_OK, "forwarded by %u", id);
        cr_assert_eq(net_deliver(t, id, 0, net_request(t, 0, 10 + id, room + 1, "one more")),
                     PBFT_DROP_QUOTA);
    }
    cr_assert_eq(net_deliver(t, 2, 0, net_request(t, 0, 1, 1, "greedy")), PBFT_DROP_DUPLICATE);
    cr_assert_eq(net_deliver(t, 2, 0, net_request(t, 1, 1, 1, "another client's")), PBFT_OK);
    net_free(t);
}

/* A backup keeps within that room, oldest first, and goes on whenever one of them ends. */
Test(protocol, r22_a_backup_forwards_within_a_window_that_slides)
{
    struct pbft_params params = net_params(4);
    params.batch_max_bytes = 1u << 18; /* the window has bytes, too */
    struct net *t = net_new_with(&params);
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) net_puppet(t, id);
    uint32_t window = pbft_pending_window(&t->params, NET_CLIENTS);
    cr_assert_eq(2 * window, pbft_pending_room(&t->params, NET_CLIENTS));
    for (unsigned i = 1; i <= 3 * window; i++)
        net_submit(t, 0, 1, i, "greedy", NET_BIT(1));
    net_run(t, 5);
    cr_assert_eq(t->nodes[1].sent[PBFT_REQUEST], window);
    net_submit(t, 1, 1, 1, "another client's", NET_BIT(1));
    net_run(t, 5);
    cr_assert_eq(t->nodes[1].sent[PBFT_REQUEST], window + 1);
    uint64_t most = 0;
    for (unsigned i = 1; i <= 6; i++) { /* the newest frame is the last that was forwarded */
        struct net_batch b = net_batch(t, 0, 1, i, "greedy");
        decide(t, 1, i, &b);
        const struct pbft_msg *m = net_decode(t, t->nodes[1].last_sent[PBFT_REQUEST]);
        if (m->request.t > most) most = m->request.t;
    }
    cr_assert_eq(most, window + 6);
    net_free(t);
}

/* A new primary is told everything anew, be it more than one step may send. */
Test(protocol, r22_a_new_primary_is_told_what_the_old_one_was)
{
    struct pbft_params params = net_params(4);
    params.client_quota = 512;
    params.batch_max_bytes = 1u << 18; /* the window has bytes, too */
    struct net *t = net_new_with(&params);
    net_crash(t, 0);
    const unsigned each = 80;
    cr_assert_leq(each, pbft_pending_window(&params, NET_CLIENTS));
    for (uint32_t client = 0; client < 2; client++)
        for (unsigned i = 1; i <= each; i++)
            net_submit(t, client, 1, i, "shown to one backup", NET_BIT(2));
    net_submit(t, 2, 1, 1, "shown to another", NET_BIT(3)); /* f+1 have to leave */
    net_run(t, 100);
    while (net_info(t, 2).view == 0 || !net_info(t, 2).view_active) {
        cr_assert_lt(t->now_ns, 5000 * MS);
        net_run(t, 1);
    }
    cr_assert_eq(net_info(t, 2).primary, 1u);
    net_run(t, 1);
    cr_assert_geq(t->nodes[2].sent[PBFT_REQUEST], 2 * 2 * each, "%lu",
                  t->nodes[2].sent[PBFT_REQUEST]);
    cr_assert(net_run_executed(t, 0, 2 * each, 5000));
    cr_assert_eq(net_info(t, 2).view, 1u);
    net_free(t);
}

/* A client's retransmission to a backup is forwarded again, but no faster than STATUS repeats. */
Test(protocol, r22_what_a_client_repeats_is_forwarded_again)
{
    struct net *t = net_solo(4, 1);
    net_submit(t, 0, 1, 1, "first", NET_BIT(1));
    net_submit(t, 0, 1, 2, "second", NET_BIT(1));
    for (unsigned i = 0; i < 20; i++)
        net_submit(t, 0, 1, 2, "second", NET_BIT(1));
    net_run(t, 5);
    cr_assert_eq(t->nodes[1].sent[PBFT_REQUEST], 2u);
    net_run(t, 200);
    uint64_t before = t->nodes[1].sent[PBFT_REQUEST];
    cr_assert(before > 2u && before <= 6u, "STATUS repeats the oldest: %lu", before);
    net_submit(t, 0, 1, 2, "second", NET_BIT(1));
    net_run(t, 2);
    cr_assert_eq(t->nodes[1].sent[PBFT_REQUEST], before + 1);
    net_free(t);
}

/* A client that keeps its quota at a correct primary full, and shows other requests to backups
 * alone, moves nobody (FAULTS 3.22). */
Test(protocol, r22_a_client_that_floods_the_primary_costs_no_view)
{
    struct net *t = net_new(4);
    t->exec_ns = 3 * MS;
    unsigned number = 0;
    for (unsigned ms = 0; ms < 1200; ms++) {
        unsigned most = ms == 0 ? 2 * t->params.client_quota : 4;
        for (unsigned i = 0; i < most; i++)
            net_submit(t, 0, 1, ++number, "greedy", NET_BIT(0));
        if (ms >= 5 && ms % 10 == 5)
            for (pbft_id id = 1; id < 4; id++)
                net_submit(t, 0, 10 + id, ms, "shown to one backup", NET_BIT(id));
        net_run(t, 1);
    }
    for (pbft_id id = 0; id < 4; id++) {
        cr_assert_eq(net_info(t, id).view, 0u, "a needless view change");
        cr_assert_eq(net_info(t, id).view_changes, 0u);
    }
    net_free(t);
}

/* BUSY is local: it never stops a backup's timer. */
Test(protocol, r22_a_refusal_never_stops_the_timer)
{
    struct net *t = net_solo(4, 1);
    uint64_t start = t->now_ns;
    for (unsigned i = 1; i <= t->params.client_quota + 10; i++)
        net_submit(t, 0, 1, i, "greedy", NET_BIT(1));
    net_run(t, 250);
    for (unsigned i = 1; i <= 20; i++)
        net_submit(t, 0, 1, 1000 + i, "refused", NET_BIT(1));
    uint64_t after = leaves_after(t, 1, start, 1500);
    cr_assert(after >= 500 && after <= 520, "after %lu ms", after);
    net_free(t);
}

/* ---- PROTOCOL 23 ---- */

/* The back-off doubles per fruitless view, is capped, and is halved per stable checkpoint. */
Test(protocol, r23_back_off_doubles_and_is_eased_by_checkpoints)
{
    struct net *t = net_solo(4, 1);
    cr_assert_eq(pbft_params_default(4).view_timeout_ns, 500 * MS, "the base, in tests too");
    cr_assert_eq(net_info(t, 1).view_timeout_ns, 500 * MS);
    time_out(t, 1);
    uint64_t expected = 1000 * MS;
    for (pbft_view view = 1; view <= 7; view++) {
        cr_assert_eq(net_info(t, 1).view, view);
        cr_assert_eq(net_info(t, 1).view_timeout_ns, expected, "view %lu", view);
        give_vc(t, 1, &(struct net_vc){.view = view, .sender = 2});
        give_vc(t, 1, &(struct net_vc){.view = view, .sender = 3});
        if (pbft_primary(4, view) == 1) break; /* view 5: it would install its own */
        uint64_t after = leaves_after(t, 1, t->now_ns, 2 * expected / MS);
        cr_assert(after >= expected / MS && after <= expected / MS + 10, "%lu ms", after);
        if (expected < 8000 * MS) expected *= 2;
    }
    net_free(t);
}

Test(protocol, r23_back_off_is_capped_and_one_execution_does_not_reset_it)
{
    struct net *t = net_solo(4, 3);
    time_out(t, 3);
    /* f+1 go up and up: it joins, and each view is fruitless. */
    for (pbft_view view = 2; view <= 12; view++) {
        give_vc(t, 3, &(struct net_vc){.view = view, .sender = 0});
        give_vc(t, 3, &(struct net_vc){.view = view, .sender = 1});
    }
    cr_assert_eq(net_info(t, 3).view, 12u);
    cr_assert_eq(net_info(t, 3).view_timeout_ns, 8000 * MS, "view_timeout_max");
    struct net_batch b[12];
    struct pbft_digest root = digest_of(1);
    for (pbft_seq seq = 1; seq <= 3; seq++) {
        b[seq] = net_batch(t, 0, 1, seq, "x");
        cr_assert_eq(net_deliver(t, 0, 3, net_commit_certificate(t, 0, seq, &b[seq], 0x07)),
                     PBFT_OK);
        net_run(t, 2);
    }
    cr_assert_eq(net_info(t, 3).executed, 3u);
    cr_assert_eq(net_info(t, 3).view_timeout_ns, 8000 * MS, "executions do not ease it");
    /* However long it was stuck, the first checkpoint eases it. */
    uint64_t last = 8000 * MS;
    for (pbft_seq seq = 4; seq <= 24; seq += 4) {
        net_deliver(t, 0, 3, net_checkpoint_certificate(t, seq, &root, 0x07));
        uint64_t now = net_info(t, 3).view_timeout_ns;
        cr_assert_eq(now, last > 500 * MS ? last / 2 : last, "from %lu to %lu ms", last / MS,
                     now / MS);
        last = now;
    }
    cr_assert_eq(last, 500 * MS);
    net_free(t);
}

/* Who timed out alone stays in v+1 but goes on executing pushed certificates. */
Test(protocol, r23_a_lone_leaver_follows_by_certificates)
{
    struct net *t = net_new(4);
    net_submit(t, 3, 1, 1, "only replica 3 hears of it", NET_BIT(3));
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_REQUEST, .from = NET_BIT(3)});
    net_run(t, 700);
    cr_assert_eq(net_info(t, 3).view, 1u);
    for (unsigned i = 1; i <= 10; i++)
        net_submit(t, 0, 1, i, "put", 0x07);
    cr_assert(net_run_executed(t, 0x0f, 10, 5000), "replica 3 is at %lu", net_info(t, 3).executed);
    cr_assert_eq(net_info(t, 3).view, 1u);
    for (pbft_id id = 0; id < 3; id++)
        cr_assert_eq(net_info(t, id).view, 0u, "one alone moved the others");
    net_free(t);
}
