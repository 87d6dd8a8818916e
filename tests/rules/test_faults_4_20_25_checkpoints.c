/* FAULTS 4.19-4.21, 4.24, 4.25: what a checkpoint covers, who may move h, and what happens to those
 * who are behind it. */
#include "tests/rules/harness.h"
#include "tests/unit/apply_fixture.h"
#include "tests/unit/store_pages.h"

/* Install `from`'s state, certified by its root, into `to`; every page of it first comes with each
 * single byte of it changed. Returns the number of changed pages that were offered. */
static unsigned transfer(struct pbft_tree *from, struct pbft_tree *to, bool flip)
{
    struct pbft_digest root = tree_root(from), before = tree_root(to), wanted[8];
    struct pbft_install *in;
    struct pbft_install_limits limits = {1u << 20, 1u << 26};
    cr_assert_eq(pbft_install_begin(&in, to, &root, &limits), PBFT_STATUS_OK);
    static uint8_t page[PBFT_PAGE_BYTES_MAX];
    unsigned changed = 0;
    while (!pbft_install_done(in)) {
        size_t count = pbft_install_wanted(in, wanted, 8);
        for (size_t i = 0; i < count; i++) {
            size_t size;
            cr_assert_eq(pbft_tree_page(from, &wanted[i], page, sizeof page, &size),
                         PBFT_STATUS_OK);
            for (size_t at = 0; flip && at < size; at++, changed++) {
                page[at] ^= 0x41;
                REQUIRE(at, pbft_install_page(in, &wanted[i], (struct pbft_span){page, size}) !=
                                PBFT_OK);
                page[at] ^= 0x41;
            }
            if (i + 1 < count) { /* a genuine page under another's name */
                REQUIRE(i, pbft_install_page(in, &wanted[i + 1], (struct pbft_span){page, size}) !=
                               PBFT_OK);
            }
            REQUIRE(i,
                    pbft_install_page(in, &wanted[i], (struct pbft_span){page, size}) == PBFT_OK);
        }
        struct pbft_digest now = tree_root(to);
        REQUIRE(0, digest_same(&now, &before)); /* no partial install is visible (FAULTS 3.23) */
    }
    struct pbft_install_progress progress;
    pbft_install_progress(in, &progress);
    cr_assert(!progress.failed);
    cr_assert_eq(pbft_install_finish(in), PBFT_STATUS_OK);
    struct pbft_digest after = tree_root(to);
    cr_assert(digest_same(&after, &root));
    return changed;
}

/* FAULTS 4.19: reply records lie under the root, so they come with the state: an old request that
 * is sent again after a transfer is answered with its record and executes nothing. */
Test(faults_4, r19_records_travel_with_the_state)
{
    struct pbft_params params = fixture_params();
    struct fixture a, b;
    fixture_open(&a, &params, &probe_service);
    fixture_open(&b, &params, &probe_service);
    struct pbft_digest first_root = fixture_root(&a), root;
    fixture_one(&a, fixture_count(0, 1, 1));
    root = fixture_root(&a);
    cr_assert(!pbft_digest_equal(&root, &first_root));
    struct pbft_reply first[7];
    for (uint64_t t = 2; t <= 6; t++)
        first[t] = fixture_one(&a, fixture_count(0, 1, t));

    struct pbft_snapshot *hashed = pbft_apply_snapshot(a.apply);
    pbft_snapshot_root(hashed, &root);
    transfer(pbft_apply_tree(a.apply), pbft_apply_tree(b.apply), false);
    pbft_snapshot_release(hashed);
    pbft_seq seq;
    uint64_t effective_ns, next_due_ns;
    cr_assert_eq(pbft_apply_reload(b.apply, &seq, &effective_ns, &next_due_ns), PBFT_STATUS_OK);
    cr_assert_eq(seq, 6u);

    struct fixture *both[] = {&a, &b};
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_reply again = fixture_one(both[i], fixture_count(0, 1, 5));
        cr_assert_eq(again.outcome, PBFT_OUTCOME_EXECUTED);
        cr_assert_eq(fixture_number(&again), 1u, "it ran twice");
        cr_assert(pbft_digest_equal(&again.result, &first[5].result), "identical replies");
        cr_assert_eq(fixture_outcome(both[i], fixture_other(0, 1, 5)), PBFT_OUTCOME_CONFLICT);
        cr_assert_eq(fixture_outcome(both[i], fixture_count(0, 1, 2)), PBFT_OUTCOME_STALE);
        cr_assert_eq(fixture_outcome(both[i], fixture_count(0, 1, 7)), PBFT_OUTCOME_EXECUTED);
    }
    struct pbft_digest at_a = fixture_root(&a), at_b = fixture_root(&b);
    cr_assert(pbft_digest_equal(&at_a, &at_b));
    fixture_close(&a);
    fixture_close(&b);
}

/* Deduplication happens at execution, never before: two copies in the log run once. */
Test(faults_4, r19_dedup_at_execution)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    pbft_signers backups = NET_BIT(1) | NET_BIT(2) | NET_BIT(3);
    struct net_batch b = net_batch(t, 0, 1, 1, "once"), c = net_batch(t, 0, 1, 2, "next");
    for (pbft_seq seq = 1; seq <= 3; seq++) {
        const struct net_batch *batch = seq < 3 ? &b : &c;
        net_send(t, 0, backups, net_pre_prepare(t, 0, seq, batch));
        net_send(t, 0, backups, net_vote(t, PBFT_COMMIT, 0, 0, seq, &batch->digest));
    }
    cr_assert(net_run_executed(t, backups, 3, 300),
              "a duplicate in a batch is no reason to refuse");
    for (pbft_id id = 1; id < 4; id++) {
        cr_assert_eq(t->nodes[id].state.executed, 2u);
        cr_assert_eq(net_info(t, id).pending, 0u);
    }
    net_free(t);
}

/* FAULTS 4.20: one root over everything that is installed; any byte changed is refused. */
Test(faults_4, r20_every_byte_is_under_the_root)
{
    struct pbft_tree_config config = {256, 256};
    struct pbft_tree *from = tree_new(&config), *to = tree_new(&config);
    uint8_t key[8] = "key", value[40];
    for (uint32_t i = 0; i < 120; i++) {
        pbft_put_u32(key + 4, i * 2654435761u);
        memset(value, (int)i, sizeof value);
        tree_put(from, (struct pbft_span){key, sizeof key},
                 (struct pbft_span){value, i % sizeof value}, i + 1);
        if (i % 7 == 0) /* shares next to nothing with the other */
            tree_put(to, (struct pbft_span){key, sizeof key}, (struct pbft_span){value, 3}, i + 1);
    }
    cr_assert(transfer(from, to, true) > 5000);
    cr_assert_eq(pbft_tree_count(to), pbft_tree_count(from));
    pbft_tree_destroy(from);
    pbft_tree_destroy(to);
}

/* The target is q-signed. What f+1, or q-1, or q about two roots say, moves nobody. */
Test(faults_4, r20_transfer_only_to_a_certified_root)
{
    struct net *t = net_solo(7, 0); /* f = 2, q = 5 */
    struct pbft_digest root = {{1}}, other = {{2}};
    for (pbft_id id = 1; id < 5; id++)
        net_deliver(t, id, 0, net_checkpoint(t, id, 400, &root));
    net_deliver(t, 5, 0, net_checkpoint(t, 5, 400, &other));
    net_run(t, 1000);
    cr_assert_eq(t->nodes[0].transfers, 0u);
    cr_assert_eq(net_info(t, 0).stable, 0u);
    net_deliver(t, 6, 0, net_checkpoint(t, 6, 400, &root));
    cr_assert_eq(t->nodes[0].transfers, 1u);
    cr_assert_eq(t->nodes[0].transfer_seq, 400u);
    cr_assert(pbft_digest_equal(&t->nodes[0].transfer_root, &root));
    cr_assert_eq(net_info(t, 0).stable, 400u);
    cr_assert(net_info(t, 0).transferring);
    net_free(t);
}

/* FAULTS 4.21: f+1 lying checkpoints, in the window, above it, or as a certificate. */
Test(faults_4, r21_weak_quorums_make_nothing_stable)
{
    struct net *t = net_solo(7, 0);
    struct pbft_digest lie = {{1}};
    pbft_signers weak = NET_BIT(1) | NET_BIT(2) | NET_BIT(3), almost = weak | NET_BIT(4);
    for (pbft_id id = 1; id < 5; id++)
        net_deliver(t, id, 0, net_checkpoint(t, id, 4, &lie));
    cr_assert_eq(net_info(t, 0).stable, 0u);
    cr_assert_eq(net_deliver(t, 1, 0, net_checkpoint_certificate(t, 4, &lie, weak)),
                 PBFT_DROP_CERTIFICATE);
    cr_assert_eq(net_deliver(t, 1, 0, net_checkpoint_certificate(t, 4, &lie, almost)),
                 PBFT_DROP_CERTIFICATE);
    struct net_batch b = net_batch(t, 0, 1, 1, "lie");
    cr_assert_eq(net_deliver(t, 1, 0, net_commit_certificate(t, 0, 1, &b, weak)),
                 PBFT_DROP_CERTIFICATE);
    cr_assert_eq(net_deliver(t, 1, 0, net_commit_certificate(t, 0, 1, &b, almost)),
                 PBFT_DROP_CERTIFICATE);
    for (pbft_id id = 1; id < 5; id++)
        net_deliver(t, id, 0, net_vote(t, PBFT_COMMIT, id, 0, 1, &b.digest));
    cr_assert_eq(t->nodes[0].executes[1], 0u);
    cr_assert_eq(t->nodes[0].stables + t->nodes[0].transfers, 0u);
    net_deliver(t, 5, 0, net_checkpoint(t, 5, 4, &lie));
    cr_assert_eq(net_info(t, 0).stable, 4u, "q do");
    net_free(t);
}

/* FAULTS 4.24: collected is what lies at or below h only, not what lies below our own checkpoint.
 */
Test(faults_4, r24_garbage_is_below_the_stable_checkpoint)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT});
    for (unsigned i = 1; i <= 6; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 6, 300));
    net_run(t, 10);
    cr_assert_eq(t->nodes[2].sent[PBFT_CHECKPOINT], 1u);
    net_crash(t, 0);
    net_put(t, 7);
    cr_assert(net_run_view(t, 0, 1, 2000));
    const struct pbft_view_change *vc =
        &net_decode(t, t->nodes[2].last_sent[PBFT_VIEW_CHANGE])->view_change;
    cr_assert(vc->stable == 0 && vc->prepared_count == 6);
    for (uint32_t i = 0; i < 6; i++)
        cr_assert_eq(vc->prepared[i].seq, i + 1);
    net_free(t);
}

/* A replica whose own root is not the certified one stops, fetches the state, and goes on; it never
 * signs a second CHECKPOINT for that n (the harness would see it). */
Test(faults_4, r24_diverged_replica_repairs_itself)
{
    for (unsigned late = 0; late < 2; late++) { /* its root comes before or after the quorum's */
        struct net *t = net_new(4);
        t->nodes[2].diverge_at = 2;
        if (late) t->nodes[2].hash_extra_ns = 30 * MS;
        for (unsigned i = 1; i <= 7; i++)
            net_put(t, i);
        cr_assert(net_run_executed(t, 0, 7, 2000));
        cr_assert(net_run_stable(t, 0, 4, 2000));
        net_run(t, 100);
        cr_assert_eq(t->nodes[2].transfers, 1u);
        cr_assert_eq(t->nodes[2].divergences, 1u, "and it knows why");
        cr_assert(t->nodes[2].diverged.seq == 4 && t->nodes[2].diverged.agreed == 0);
        cr_assert(pbft_digest_equal(&t->nodes[2].diverged.certified, &t->nodes[2].transfer_root));
        cr_assert(!pbft_digest_equal(&t->nodes[2].diverged.own, &t->nodes[2].diverged.certified));
        cr_assert(net_roots_equal(t, 0), "one replica stayed wrong (bft-smart#73)");
        for (unsigned i = 8; i <= 12; i++)
            net_put(t, i);
        cr_assert(net_run_stable(t, 0, 12, 2000));
        cr_assert(net_roots_equal(t, 0));
        cr_assert(late || net_accused(t, 0, 2) || net_accused(t, 1, 2) || net_accused(t, 3, 2));
        net_free(t);
    }
}

/* So slow a hasher that h is a checkpoint further on when it knows its root: it compares all the
 * same. Else: who is always late stays wrong for ever. */
Test(faults_4, r24_a_root_that_comes_too_late_is_compared_too)
{
    struct net *t = net_new(4);
    t->nodes[2].diverge_at = 2;
    t->nodes[2].hash_extra_ns = 300 * MS;
    for (unsigned i = 1; i <= 9; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 8, 2000));
    cr_assert_eq(net_info(t, 2).stable, 8u);
    net_run(t, 800);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    cr_assert_eq(t->nodes[2].diverged.seq, 4u);
    cr_assert_eq(t->nodes[2].transfer_seq, 8u, "what is fetched is the newest");
    cr_assert(net_run_executed(t, 0, 9, 2000));
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* Who is behind, and whose roots agree, is no divergence; the last checkpoint that agreed is told.
 */
Test(faults_4, r24_a_divergence_says_where_the_states_were_equal)
{
    struct net *t = net_new(4);
    t->nodes[2].diverge_at = 10;
    for (unsigned i = 1; i <= 14; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 12, 2000));
    net_run(t, 100);
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(t->nodes[id].divergences, id == 2 ? 1u : 0u);
    cr_assert_eq(t->nodes[2].diverged.seq, 12u);
    cr_assert_eq(t->nodes[2].diverged.agreed, 8u);
    for (unsigned i = 15; i <= 18; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 16, 2000));
    cr_assert_eq(t->nodes[2].divergences, 1u, "it is repaired");
    net_free(t);
}

/* What it was about to execute on the wrong state it does not. */
Test(faults_4, r24_a_diverged_replica_executes_nothing)
{
    struct net *t = net_new(4);
    t->nodes[2].diverge_at = 2;
    t->transfer_ns = 400 * MS;
    for (unsigned i = 1; i <= 4; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 4, 2000));
    net_run(t, 20);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    for (unsigned i = 5; i <= 7; i++)
        net_put(t, i);
    net_run(t, 100);
    cr_assert_eq(net_info(t, 0).executed, 7u);
    cr_assert(net_info(t, 2).transferring);
    cr_assert_eq(t->nodes[2].executes[5], 0u, "on a state that it knows to be wrong");
    cr_assert(net_run_executed(t, 0, 7, 2000));
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* What the wrong state said of the epoch is forgotten with it. Else: its end never comes, and the
 * replica that was repaired takes part in nothing behind it. */
Test(faults_4, r24_a_wrong_end_of_the_epoch_is_forgotten)
{
    struct net *t = net_new(4);
    t->nodes[2].diverge_at = 2;
    t->nodes[2].wrong_last = 12;
    for (unsigned i = 1; i <= 10; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 8, 2000));
    net_run(t, 100);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    for (unsigned i = 11; i <= 20; i++)
        net_put(t, i);
    cr_assert(net_run_stable(t, 0, 20, 2000));
    cr_assert(net_run_executed(t, 2, 20, 2000), "%llu",
              (unsigned long long)net_info(t, 2).executed);
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* Replica 2 has signed two wrong CHECKPOINTs, 4 and 8; what certifies 4 is held before it. */
static struct net *net_with_two_wrong_roots(void)
{
    struct net *t = net_new(4);
    t->nodes[2].diverge_at = 2;
    net_rule(t, (struct net_rule){
                    .fate = NET_HOLD, .type = PBFT_CHECKPOINT, .to = NET_BIT(2), .seq_high = 4});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CHECKPOINT, .to = NET_BIT(2)});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE, .to = NET_BIT(2)});
    for (unsigned i = 1; i <= 8; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 8, 1000));
    net_run(t, 10);
    cr_assert_eq(t->nodes[2].sent[PBFT_CHECKPOINT], 2u);
    return t;
}

/* It has signed a wrong CHECKPOINT(8) when the certificate of 4 sends it back; having executed 5-8
 * again it knows a better root for 8, and must keep it to itself (PROTOCOL 24). */
Test(faults_4, r24_no_second_checkpoint_after_the_repair)
{
    struct net *t = net_with_two_wrong_roots();
    net_release_held(t);
    net_run(t, 40);
    cr_assert_eq(net_info(t, 2).stable, 4u);
    cr_assert_eq(t->nodes[2].transfers, 1u);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    cr_assert_eq(net_info(t, 2).executed, 8u);
    cr_assert(net_roots_equal(t, 0));
    net_run(t, 300); /* STATUS repeats what was signed, and nothing else */
    net_rules_clear(t);
    cr_assert(net_run_stable(t, 0, 8, 2000));
    net_free(t);
}

/* ... and nobody holds the wrong root against the state that has replaced it: 8 is certified before
 * the repaired one is hashed there. */
Test(faults_4, r24_roots_of_the_replaced_state_are_forgotten)
{
    struct net *t = net_with_two_wrong_roots();
    t->nodes[2].hash_extra_ns = 2000 * MS;
    net_release_held(t);
    net_run(t, 40);
    cr_assert_eq(net_info(t, 2).stable, 4u);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    cr_assert_eq(net_info(t, 2).executed, 8u);
    net_rules_clear(t);
    cr_assert(net_run_stable(t, 0, 8, 1000));
    net_run(t, 3000);
    cr_assert_eq(t->nodes[2].divergences, 1u);
    cr_assert_eq(t->nodes[2].transfers, 1u);
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* Three checkpoints behind, and nobody sends anything new: a laggard is told h and catches up. */
Test(faults_4, r24_laggard_gets_the_stable_certificate)
{
    struct net *t = net_new(4);
    net_cut(t, NET_BIT(3), NET_BIT(0) | NET_BIT(1) | NET_BIT(2));
    pbft_signers others = NET_BIT(0) | NET_BIT(1) | NET_BIT(2);
    for (unsigned i = 1; i <= 14; i++)
        net_submit(t, 0, 1, i, "put", others);
    cr_assert(net_run_stable(t, others, 12, 3000));
    cr_assert(net_run_executed(t, others, 14, 1000));
    net_run(t, 1000);
    cr_assert_eq(net_info(t, 3).executed, 0u);
    net_rules_clear(t);
    cr_assert(net_run_executed(t, NET_BIT(3), 14, 4000));
    cr_assert_eq(net_info(t, 3).stable, 12u);
    cr_assert(t->nodes[3].transfers >= 1);
    cr_assert(net_roots_equal(t, 0));
    cr_assert_eq(net_info(t, 0).view, 0u);
    net_free(t);
}

/* Behind h, but within what peers still have: pushed certificates suffice. Its STATUS, which spans
 * more than a window then, must be readable. */
Test(faults_4, r24_laggard_within_the_archive)
{
    struct net *t = net_new(4);
    static const uint8_t types[] = {PBFT_PRE_PREPARE, PBFT_PREPARE, PBFT_COMMIT};
    for (unsigned i = 0; i < 3; i++)
        net_rule(t, (struct net_rule){.fate = NET_DROP,
                                      .type = types[i],
                                      .to = NET_BIT(3),
                                      .seq_low = 1,
                                      .seq_high = 4});
    for (unsigned i = 1; i <= 11; i++)
        net_put(t, i);
    cr_assert(net_run_executed(t, 0, 11, 1000));
    for (pbft_id id = 0; id < 3; id++)
        cr_assert_eq(t->nodes[id].verdicts[PBFT_DROP_SIZE], 0u, "a STATUS that nobody can read");
    cr_assert_eq(t->nodes[3].transfers, 0u);
    cr_assert(net_roots_equal(t, 0));
    net_free(t);
}

/* FAULTS 4.25: h+L is in, h+L+1 is out until h moves, and is asked for then. */
Test(faults_4, r25_watermarks)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest root = {{1}};
    struct net_batch b = net_batch(t, 0, 1, 1, "b");
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 9, &b)), PBFT_DROP_UNWANTED);
    t->no_wants = true;
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 9, &b)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 9, &b.digest)),
                 PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 0, &b)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, UINT64_MAX, &b)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 8, &b)), PBFT_OK);
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) net_deliver(t, id, 1, net_checkpoint(t, id, 4, &root));
    cr_assert_eq(net_info(t, 1).stable, 4u);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 4, &b)), PBFT_DROP_WINDOW);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 9, &b)), PBFT_OK);
    cr_assert_eq(net_deliver(t, 0, 1, net_pre_prepare(t, 0, 13, &b)), PBFT_DROP_WINDOW);
    net_free(t);
}

/* Proposals beyond the window wait for the checkpoint; none is lost and no view is spent. */
Test(faults_4, r25_proposals_wait_for_the_checkpoint)
{
    struct net *t = net_new(4);
    net_rule(t, (struct net_rule){.fate = NET_HOLD, .type = PBFT_CHECKPOINT});
    for (unsigned i = 1; i <= 30; i++)
        net_put(t, i);
    net_run(t, 3000); /* six time-outs */
    for (pbft_id id = 0; id < 4; id++) {
        cr_assert_eq(net_info(t, id).executed, 8u, "h + L");
        cr_assert_eq(net_info(t, id).view_changes, 0u, "no primary's fault (PROTOCOL 21)");
    }
    net_rules_clear(t);
    net_release_held(t);
    cr_assert(net_run_executed(t, 0, 30, 2000));
    for (pbft_id id = 0; id < 4; id++)
        cr_assert_eq(net_info(t, id).view_changes, 0u);
    net_free(t);
}

/* A backup whose h lags refuses what its peers propose, and gets it again once it is stable. */
Test(faults_4, r25_refused_beyond_the_window_comes_again)
{
    struct net *t = net_new(4);
    net_crash(t, 2); /* replica 3's votes are needed */
    net_rule(t, (struct net_rule){.fate = NET_HOLD, .type = PBFT_CHECKPOINT, .to = NET_BIT(3)});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_CERTIFICATE, .to = NET_BIT(3)});
    for (unsigned i = 1; i <= 12; i++)
        net_put(t, i);
    net_run(t, 200);
    cr_assert_eq(net_info(t, 3).executed, 8u);
    cr_assert_eq(net_info(t, 0).stable, 8u);
    cr_assert(t->nodes[3].verdicts[PBFT_DROP_UNWANTED] > 0, "9 came before the checkpoint");
    net_rules_clear(t);
    net_release_held(t);
    cr_assert(net_run_executed(t, 0, 12, 400));
    cr_assert_eq(net_info(t, 3).view_changes, 0u);
    net_free(t);
}
