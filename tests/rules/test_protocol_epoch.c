/* PROTOCOL 29: the end of an epoch, around one node (tests/rules/lone.h). K = 4, L = 8. */
#include "tests/rules/lone.h"

#include "crypto/epoch.h"
#include "crypto/replace.h"

#include <string.h>

#define REPLACED 3u

static struct pbft_keypair new_key(void)
{
    struct pbft_keypair keypair;
    const uint8_t seed[32] = {0x29};
    pbft_keypair_from_seed(&keypair, seed);
    return keypair;
}

/* q others have committed, at seq, that replica 3 gets a new key. */
static void replace_at(struct lone *l, pbft_seq seq)
{
    uint8_t op[PBFT_REPLACE_OP_BYTES];
    struct pbft_keypair keypair = new_key();
    pbft_replace_encode(&l->t->cluster, REPLACED, &keypair, op);
    cr_assert_eq(lone_commit_of(l, seq, seq, (struct pbft_span){op, sizeof op}), PBFT_OK);
}

static void commit_up_to(struct lone *l, pbft_seq seq)
{
    for (pbft_seq next = lone_info(l).applied + 1; next <= seq; next++)
        cr_assert_eq(lone_commit(l, next, next, "x"), PBFT_OK);
}

/* Up to the last number, with all checkpoints before it stable. */
static void run_to_the_end(struct lone *l)
{
    replace_at(l, 1);
    commit_up_to(l, 4);
    lone_certify(l, 4);
    commit_up_to(l, 8);
    lone_certify(l, 8);
    commit_up_to(l, 12);
}

static struct pbft_epoch_change change_of(struct lone *l, const struct pbft_digest *root)
{
    (void)l;
    return (struct pbft_epoch_change){
        .epoch = 1, .seq = 12, .root = *root, .replica = REPLACED, .key = new_key().public};
}

/* ---- which number is the last ---- */

/* The first checkpoint a whole window behind the operation: so that nothing above it is decided by
 * those who do not know of it yet. */
Test(protocol, r29_an_epoch_ends_a_window_behind_its_last_operation)
{
    static const struct {
        pbft_seq at, last;
    } cases[] = {{1, 12}, {3, 12}, {4, 12}, {5, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lone *l = lone_new_on_disk();
        commit_up_to(l, cases[i].at - 1);
        cr_assert_eq(lone_info(l).core.last, 0u);
        replace_at(l, cases[i].at);
        cr_assert_eq(lone_info(l).core.last, cases[i].last);
        lone_free(l);
    }
}

Test(protocol, r29_nothing_is_accepted_above_the_last_number)
{
    struct lone *l = lone_new_on_disk();
    run_to_the_end(l);
    struct net_batch b = net_batch(l->t, 0, 1, 13, "too late");
    lone_forget(l);
    cr_assert_neq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 13, &b)), PBFT_OK);
    cr_assert_neq(lone_from_replica(l, 2, net_commit_certificate(l->t, 0, 13, &b, 0x0d)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_PREPARE), 0u);
    cr_assert_eq(lone_info(l).applied, 12u);
    lone_free(l);
}

/* A primary may know the end and propose above it to one that does not, which lets go of that
 * later. Else: the vote is unknown when a liar shows it again, and the replica mute for good. */
Test(protocol, r29_its_vote_above_the_last_number_silences_nobody)
{
    struct lone *ahead = lone_new_on_disk(), *l = lone_new_on_disk();
    struct pbft_digest root;
    replace_at(ahead, 1);
    commit_up_to(ahead, 4);
    lone_certify(ahead, 4);
    commit_up_to(ahead, 8);
    cr_assert(lone_own_root(ahead, 8, &root));
    lone_certify(ahead, 8);
    lone_links_up(l, 0x0d);
    lone_certify_root(l, 8, &root);
    struct net_batch b = net_batch(l->t, 0, 1, 13, "too late");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 13, &b));
    cr_assert_gt(lone_sent(l, PBFT_PREPARE), 0u, "it has not voted");
    for (unsigned i = 0; i < 30 && !lone_info(l).core.transferring; i++)
        lone_pass(l, 100);
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).core.last, 12u);
    lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 1, 0, 13, &b.digest));
    cr_expect_eq(l->muted_lines, 0u);
    cr_expect_not(lone_info(l).core.mute);
    lone_free(ahead);
    lone_free(l);
}

/* ---- what is signed there ---- */

Test(protocol, r29_the_last_checkpoint_names_what_follows)
{
    struct lone *l = lone_new_on_disk();
    run_to_the_end(l);
    struct pbft_digest named, root;
    cr_assert(lone_own_root(l, 12, &named));
    lone_certify(l, 12);
    cr_assert_not_null(l->proof);
    struct pbft_cluster next;
    cr_assert_eq(pbft_epoch_next(&l->t->cluster, &pbft_signer_fast, pbft_frame_span(l->proof),
                                 &next),
                 PBFT_OK);
    root = next.genesis_root;
    struct pbft_epoch_change change = change_of(l, &root);
    struct pbft_digest expected;
    pbft_epoch_digest(&change, &expected);
    cr_assert(pbft_digest_equal(&named, &expected));
    cr_assert(pbft_public_key_equal(&next.replicas[REPLACED], &change.key));
    pbft_epoch_free(&next);
    lone_free(l);
}

/* ---- when it is over ---- */

/* The old log goes: what it alone leads to must be on the disk. */
Test(protocol, r29_an_epoch_is_over_when_its_state_is_on_the_disk)
{
    struct lone *l = lone_new_on_disk();
    l->no_flush = true;
    run_to_the_end(l);
    lone_certify(l, 12);
    lone_pass(l, 2000);
    cr_assert_null(l->proof, "a restart would find neither state nor log");
    while (l->proof == NULL && l->flush != NULL)
        lone_finish_flush(l);
    cr_assert_not_null(l->proof);
    cr_assert_eq(lone_info(l).flushed, 12u);
    lone_free(l);
}

/* A laggard: q others have certified the last state before it knows that it is the last one. They
 * are in the next epoch by then, and tell it so. It learns of the operation ... */
static void learn_late(struct lone *l, struct lone *ahead)
{
    struct pbft_digest last;
    cr_assert(lone_own_root(ahead, 12, &last));
    lone_certify_root(l, 12, &last);
    cr_assert_eq(lone_info(l).core.last, 0u);
    lone_certify(ahead, 12);
    cr_assert_not_null(ahead->proof);
}

static void expect_followed(struct lone *l, const struct lone *ahead)
{
    cr_assert_eq(lone_info(l).applied, 12u);
    cr_assert_eq(lone_info(l).core.last, 12u);
    pbft_node_told(l->node, l->time, pbft_frame_span(ahead->proof));
    lone_drain(l);
    lone_pass(l, 2000);
    cr_assert_not_null(l->proof, "it stays behind for ever");
    cr_assert_eq(lone_info(l).flushed, 12u);
}

/* Its log is far from full: no flush is due but that of the epoch's end. */
static struct lone *rarely_flushing(void)
{
    struct lone *l = lone_new_on_disk();
    l->flush_bytes = 1u << 30;
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    lone_links_up(l, 0x0d);
    return l;
}

/* ... from a state that it was fetching when the last one became stable (seed 62442), */
Test(protocol, r29_who_fetches_the_state_before_the_last_one_flushes_that_and_follows)
{
    struct lone *l = rarely_flushing(), *ahead = lone_new_on_disk();
    struct pbft_digest root;
    run_to_the_end(ahead);
    cr_assert(lone_own_root(ahead, 8, &root));
    lone_certify_root(l, 8, &root);
    for (unsigned i = 0; i < 30 && !lone_info(l).core.transferring; i++)
        lone_pass(l, 100);
    learn_late(l, ahead);
    lone_serve_pages(l, ahead);
    cr_assert_eq(lone_info(l).applied, 8u);
    cr_assert_eq(lone_info(l).flushed, 8u);
    commit_up_to(l, 12);
    expect_followed(l, ahead);
    lone_free(ahead);
    lone_free(l);
}

/* ... or by executing it, slowly. */
Test(protocol, r29_who_executes_slowly_flushes_the_last_state_and_follows)
{
    struct lone *l = rarely_flushing(), *ahead = lone_new_on_disk();
    run_to_the_end(ahead);
    l->no_apply = true;
    replace_at(l, 1);
    for (pbft_seq seq = 2; seq <= 8; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "x"), PBFT_OK);
    learn_late(l, ahead);
    for (pbft_seq seq = 9; seq <= 12; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "x"), PBFT_OK);
    l->no_apply = false;
    lone_finish_apply(l);
    expect_followed(l, ahead);
    lone_free(ahead);
    lone_free(l);
}

struct proof {
    uint8_t bytes[PBFT_EPOCH_PROOF_MAX];
    size_t size;
};

/* That another one, with the same history, has. */
static struct proof proof_of_another(void)
{
    struct proof proof;
    struct lone *other = lone_new_on_disk();
    run_to_the_end(other);
    lone_certify(other, 12);
    cr_assert_not_null(other->proof);
    proof.size = other->proof->size;
    memcpy(proof.bytes, other->proof->bytes, proof.size);
    lone_free(other);
    return proof;
}

static void tell(struct lone *l, const struct proof *proof)
{
    pbft_node_told(l->node, l->time, (struct pbft_span){proof->bytes, proof->size});
    lone_drain(l);
}

/* It has signed the state, and others may count on it: told or not, it flushes it first. */
Test(protocol, r29_who_is_told_keeps_what_it_has_signed)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    l->no_flush = true;
    run_to_the_end(l);
    struct pbft_digest root;
    cr_assert(lone_own_root(l, 12, &root));
    tell(l, &proof);
    cr_assert_null(l->proof);
    while (l->proof == NULL && l->flush != NULL)
        lone_finish_flush(l);
    cr_assert_not_null(l->proof);
    cr_assert_eq(lone_info(l).flushed, 12u);
    lone_free(l);
}

/* ... also when it has to execute it again first. */
Test(protocol, r29_who_is_told_after_a_restart_keeps_what_it_has_signed)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    run_to_the_end(l);
    struct pbft_digest root;
    cr_assert(lone_own_root(l, 12, &root));
    l->no_flush = true;
    cr_assert_eq(lone_restart_told(l, (struct pbft_span){proof.bytes, proof.size}), PBFT_STATUS_OK);
    cr_assert_null(l->proof);
    while (l->proof == NULL && l->flush != NULL)
        lone_finish_flush(l);
    cr_assert_not_null(l->proof);
    cr_assert_eq(lone_info(l).flushed, 12u);
    lone_free(l);
}

/* Who never signed it owes nobody anything. */
Test(protocol, r29_who_is_behind_follows_at_once)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 2);
    tell(l, &proof);
    cr_assert_not_null(l->proof);
    lone_free(l);
}

/* ---- who has fallen silent ---- */

static void fall_silent(struct lone *l)
{
    struct pbft_frame *vc = net_view_change(l->t, &(struct net_vc){.view = 1, .sender = 1});
    cr_assert_eq(lone_from_replica(l, 2, vc), PBFT_DROP_MUTE);
}

static pbft_signers proof_signers(const struct lone *l)
{
    struct pbft_signatures signatures;
    cr_assert_not_null(l->proof);
    pbft_epoch_signatures(pbft_frame_span(l->proof), &signatures);
    return signatures.signers;
}

/* Its own CHECKPOINT may not have left it: q others make the proof. */
Test(protocol, r29_who_fell_silent_is_not_in_its_proof)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new_on_disk();
        struct pbft_digest root;
        run_to_the_end(l);
        cr_assert(lone_own_root(l, 12, &root));
        if (silent) fall_silent(l);
        lone_from_replica(l, 0, net_checkpoint(l->t, 0, 12, &root));
        lone_from_replica(l, 2, net_checkpoint(l->t, 2, 12, &root));
        cr_assert_eq(l->proof == NULL, silent);
        lone_from_replica(l, 3, net_checkpoint(l->t, 3, 12, &root));
        cr_assert_eq(proof_signers(l), silent ? 0x0du : 0x07u);
        lone_free(l);
    }
}

/* It was among the q when it fell silent: only what others show it can end its epoch. */
Test(protocol, r29_who_fell_silent_follows_when_it_is_told)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    l->no_flush = true;
    run_to_the_end(l);
    lone_certify(l, 12);
    fall_silent(l);
    while (l->flush != NULL)
        lone_finish_flush(l);
    lone_pass(l, 2000);
    cr_assert_eq(lone_info(l).flushed, 12u);
    cr_assert_null(l->proof, "it holds its own signature");
    tell(l, &proof);
    cr_assert_eq(proof_signers(l), 0x07u, "theirs, whoever is in it");
    lone_free(l);
}

/* ... also if it had signed the last state, and is told before that is stable. */
Test(protocol, r29_who_fell_silent_follows_though_it_has_signed)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    run_to_the_end(l);
    fall_silent(l);
    tell(l, &proof);
    lone_pass(l, 2000);
    cr_assert_not_null(l->proof, "it never moves on");
    lone_free(l);
}

/* Proofs come from strangers. */
Test(protocol, r29_a_proof_that_is_none_is_nothing)
{
    struct proof proof = proof_of_another();
    struct lone *l = lone_new_on_disk();
    for (size_t i = 0; i < proof.size; i += 7) {
        proof.bytes[i] ^= 1;
        tell(l, &proof);
        cr_assert_null(l->proof, "byte %zu", i);
        proof.bytes[i] ^= 1;
    }
    lone_free(l);
}

/* ---- around the end ---- */

/* FAULTS 2.43. That nothing above the last number is decided hangs on those who have signed what is
 * a window below it: a rotten page makes none of them forget that the epoch ends. */
Test(protocol, r29_who_has_lost_the_state_votes_for_nothing_that_may_be_too_late)
{
    struct lone *l = lone_new_on_disk();
    replace_at(l, 1);
    commit_up_to(l, 4);
    lone_certify(l, 4);
    commit_up_to(l, 8);
    lone_certify(l, 8);
    cr_assert_eq(lone_info(l).core.last, 12u);
    lone_stop(l);
    for (uint64_t i = 0; i < pbft_pages_disk_pages(l->disk); i++)
        cr_assert(pbft_pages_disk_rot(l->disk, i));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_str_not_empty(l->last_refusal);
    cr_assert_eq(lone_info(l).core.stable, 8u);
    cr_assert_eq(lone_info(l).core.last, 0u, "it does not know any more");
    for (pbft_seq seq = 9; seq <= 13; seq++) {
        struct net_batch b = net_batch(l->t, 0, 1, seq, "x");
        lone_forget(l);
        (void)lone_from_replica(l, 0, net_pre_prepare(l->t, 0, seq, &b));
        lone_pass(l, 300);
        cr_assert_eq(lone_sent(l, PBFT_PREPARE), 0u, "%llu", (unsigned long long)seq);
    }
    lone_free(l);
}

/* Its own key is replaced while it runs: the state comes with it, the pages on the disk do not. Its
 * CHECKPOINTs promise that a restart could reproduce them (PROTOCOL 25). */
Test(protocol, r29_what_a_new_key_begins_with_is_flushed)
{
    struct lone *l = lone_new_on_disk();
    run_to_the_end(l);
    lone_certify(l, 12);
    cr_assert_not_null(l->proof);
    struct pbft_cluster next;
    cr_assert_eq(pbft_epoch_next(&l->t->cluster, &pbft_signer_fast, pbft_frame_span(l->proof),
                                 &next),
                 PBFT_OK);
    lone_begin_empty(l, &next);
    cr_assert_eq(lone_info(l).applied, 12u);
    cr_assert_eq(lone_info(l).flushed, 12u);
    lone_free(l);
    pbft_epoch_free(&next);
}

/* A cluster that is restored from a backup begins in its own first epoch: what another cluster's
 * administrator ordered ends none of its epochs, nor stands in the way of what its own orders. */
Test(protocol, r29_a_replacement_of_another_history_is_void)
{
    static const pbft_seq genesis[] = {4, 12}; /* it was under way; it had happened */
    for (size_t i = 0; i < sizeof genesis / sizeof genesis[0]; i++) {
        struct lone *l = lone_new_on_disk();
        replace_at(l, 1);
        struct pbft_cluster restored = l->t->cluster;
        for (pbft_seq at = 4; at <= genesis[i]; at += 4) {
            commit_up_to(l, at);
            if (at == 12) break;
            cr_assert(lone_own_root(l, at, &restored.genesis_root));
            lone_certify(l, at);
        }
        if (genesis[i] == 12) {
            lone_certify(l, 12);
            struct pbft_epoch_change change;
            cr_assert_eq(pbft_epoch_check(&l->t->cluster, &pbft_signer_fast,
                                          pbft_frame_span(l->proof), &change),
                         PBFT_OK);
            restored.genesis_root = change.root;
        }
        restored.genesis_seq = genesis[i];
        lone_begin_empty(l, &restored);
        cr_assert_eq(lone_info(l).applied, genesis[i]);
        cr_assert_eq(lone_info(l).core.last, 0u, "genesis %u", (unsigned)genesis[i]);
        lone_free(l);
    }
}

/* Its disk holds a checkpoint of the epoch before, and that epoch's signatures are none here. */
Test(protocol, r29_an_older_state_is_not_refused_but_fetched_anew)
{
    struct lone *l = lone_new_on_disk();
    commit_up_to(l, 4);
    lone_certify(l, 4);
    cr_assert_eq(lone_info(l).flushed, 4u);
    lone_stop(l);
    lone_new_log(l, 64u << 20);
    l->t->cluster.epoch = 1;
    l->t->cluster.genesis_seq = 8;
    memset(l->t->cluster.genesis_root.bytes, 7, PBFT_DIGEST_BYTES);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_assert_str_empty(l->last_refusal, "%s", l->last_refusal);
    cr_assert_eq(lone_info(l).applied, 0u);
    cr_assert_eq(lone_info(l).core.stable, 8u);
    lone_pass(l, 3000);
    cr_assert(lone_info(l).core.transferring);
    lone_free(l);
}
