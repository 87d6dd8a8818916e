/* crypto/epoch and crypto/replace: who may follow whom, and by whose word (PROTOCOL 29). */
#include "crypto/replace.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>

#define CHANGE  PBFT_EPOCH_CHANGE_BYTES
#define SIGNERS PBFT_EPOCH_CHANGE_BYTES        /* offset of the bitmap */
#define FIRST   (PBFT_EPOCH_CHANGE_BYTES + 8u) /* offset of the first signature */

TestSuite(epoch, .timeout = 60);

struct proof {
    uint8_t bytes[PBFT_EPOCH_PROOF_MAX + 64];
    size_t size;
};

static struct pbft_span span_of(const struct proof *p)
{
    return (struct pbft_span){p->bytes, p->size};
}

static enum pbft_verdict judge(const struct pbft_cluster *from, const struct proof *p)
{
    struct pbft_epoch_change change;
    struct pbft_cluster next;
    enum pbft_verdict verdict = pbft_epoch_check(from, &pbft_signer_ed25519, span_of(p), &change);
    enum pbft_verdict again = pbft_epoch_next(from, &pbft_signer_ed25519, span_of(p), &next);
    cr_assert_eq(verdict, again);
    if (again == PBFT_OK) pbft_epoch_free(&next);
    return verdict;
}

/* From epoch 0, signed by `signers`. */
static struct proof proof_by(const struct epoch_chain *c, const struct pbft_epoch_change *change,
                             pbft_signers signers)
{
    struct proof p;
    p.size = chain_proof(&c->at[0], c->keys[0], change, signers, p.bytes);
    return p;
}

static struct pbft_epoch_change good_change(const struct epoch_chain *c)
{
    return chain_change(&c->at[0], 0, &c->stranger);
}

Test(epoch, a_proof_leads_to_what_it_says)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct pbft_cluster next;
    struct pbft_epoch_change change = good_change(c), got;
    struct proof p = proof_by(c, &change, 0xb);
    cr_assert_eq(p.size, FIRST + 3 * PBFT_SIGNATURE_BYTES);
    cr_assert_eq(pbft_epoch_check(&c->at[0], &pbft_signer_ed25519, span_of(&p), &got), PBFT_OK);
    cr_assert_eq(got.epoch, 1u);
    cr_assert_eq(got.seq, change.seq);
    cr_assert_eq(got.replica, 0u);
    cr_assert(pbft_digest_equal(&got.root, &change.root));
    cr_assert(pbft_public_key_equal(&got.key, &c->stranger.public));
    struct pbft_signatures signatures;
    pbft_epoch_signatures(span_of(&p), &signatures);
    cr_assert_eq(signatures.signers, 0xbu);
    cr_assert_eq(signatures.bytes, p.bytes + FIRST);

    cr_assert_eq(pbft_epoch_next(&c->at[0], &pbft_signer_ed25519, span_of(&p), &next), PBFT_OK);
    cr_assert_eq(next.epoch, 1u);
    cr_assert_eq(next.genesis_seq, change.seq);
    cr_assert(pbft_digest_equal(&next.genesis_root, &change.root));
    cr_assert(pbft_digest_equal(&next.id, &c->at[0].id), "the cluster stays itself");
    cr_assert(pbft_public_key_equal(&next.replicas[0], &c->stranger.public));
    for (pbft_id i = 1; i < 4; i++)
        cr_assert(pbft_public_key_equal(&next.replicas[i], &c->at[0].replicas[i]));
    struct pbft_span told = pbft_epoch_history(&next, 1);
    cr_assert_eq(told.size, p.size);
    cr_assert_eq(memcmp(told.data, p.bytes, p.size), 0);
    cr_assert_eq(judge(&next, &p), PBFT_DROP_EPOCH, "not twice");
    pbft_epoch_free(&next);
    cr_assert_null(next.history);
    chain_free(c);
}

Test(epoch, every_flipped_bit_is_refused)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct pbft_epoch_change change = good_change(c);
    struct proof p = proof_by(c, &change, 0xe);
    for (size_t bit = 0; bit < p.size * 8; bit++) {
        p.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(judge(&c->at[0], &p), PBFT_OK, "bit %zu", bit);
        p.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(judge(&c->at[0], &p), PBFT_OK);
    for (size_t size = 0; size < sizeof p.bytes; size++) {
        struct proof cut = p;
        cut.size = size;
        if (size != p.size) cr_assert_eq(judge(&c->at[0], &cut), PBFT_DROP_MALFORMED, "%zu", size);
    }
    chain_free(c);
}

Test(epoch, exactly_q_of_the_old_replicas)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct pbft_epoch_change change = good_change(c);
    for (pbft_signers signers = 0; signers < 16; signers++) {
        struct proof p = proof_by(c, &change, signers);
        bool quorum = pbft_signers_count(signers) == 3;
        cr_assert_eq(judge(&c->at[0], &p) == PBFT_OK, quorum, "%llx", (unsigned long long)signers);
        /* The length of a quorum is no quorum. */
        p.size = FIRST + 3 * PBFT_SIGNATURE_BYTES;
        if (!quorum) cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_CERTIFICATE);
    }
    struct proof good = proof_by(c, &change, 0x7);

    struct proof p = good;
    pbft_put_u64(p.bytes + SIGNERS, 0x13); /* replica 4 of 0 .. 3 */
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_CERTIFICATE);
    pbft_put_u64(p.bytes + SIGNERS, UINT64_C(1) << 63 | 3);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_CERTIFICATE);
    pbft_put_u64(p.bytes + SIGNERS, 0xb); /* somebody else's */
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);

    p = good; /* 0 and 1 change places */
    memcpy(p.bytes + FIRST, good.bytes + FIRST + 64, 64);
    memcpy(p.bytes + FIRST + 64, good.bytes + FIRST, 64);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    p = good; /* one of them, three times */
    memcpy(p.bytes + FIRST + 64, good.bytes + FIRST, 64);
    memcpy(p.bytes + FIRST + 128, good.bytes + FIRST, 64);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    p = good; /* the last one is no signature at all */
    memset(p.bytes + FIRST + 128, 0, 64);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    p = good; /* signed by the new key instead */
    chain_sign(&c->at[0], &change, 0, &c->stranger, p.bytes + FIRST);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    chain_free(c);
}

/* Signed by a whole quorum, and yet not what may follow. */
Test(epoch, what_may_not_follow)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct epoch_chain *other = chain_new(4, 2);
    struct pbft_epoch_change good = good_change(c), change = good;
    uint32_t interval = c->at[0].params.checkpoint_interval;
    struct proof p;
#define EXPECT(verdict)                                                                            \
    do {                                                                                           \
        p = proof_by(c, &change, 0x7);                                                             \
        cr_assert_eq(judge(&c->at[0], &p), verdict);                                               \
        change = good;                                                                             \
    } while (0)
    EXPECT(PBFT_OK);
    change.epoch = 0;
    EXPECT(PBFT_DROP_EPOCH);
    change.epoch = 2;
    EXPECT(PBFT_DROP_EPOCH);
    change.epoch = UINT32_MAX;
    EXPECT(PBFT_DROP_EPOCH);
    change.seq = 0;
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.seq = interval + 1;
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.seq = UINT64_MAX / interval * interval;
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.seq = UINT64_C(7) * interval;
    EXPECT(PBFT_OK);
    change.replica = 4;
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.replica = UINT32_MAX;
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.key = c->at[0].replicas[0]; /* its own once more */
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.key = c->at[0].replicas[2];
    EXPECT(PBFT_DROP_CERTIFICATE);
    change.key = c->client_keys[1];
    EXPECT(PBFT_DROP_CERTIFICATE);
    memset(change.key.bytes, 0, sizeof change.key.bytes);
    EXPECT(PBFT_DROP_CERTIFICATE);
    memset(change.key.bytes, 0xff, sizeof change.key.bytes);
    EXPECT(PBFT_DROP_CERTIFICATE);
#undef EXPECT
    /* The number that an epoch begins with does not end it. */
    change = chain_change(&c->at[1], 3, &c->stranger);
    change.seq = c->at[1].genesis_seq;
    p.size = chain_proof(&c->at[1], c->keys[1], &change, 0x7, p.bytes);
    cr_assert_eq(judge(&c->at[1], &p), PBFT_DROP_CERTIFICATE);
    change.seq = 0;
    p.size = chain_proof(&c->at[1], c->keys[1], &change, 0x7, p.bytes);
    cr_assert_eq(judge(&c->at[1], &p), PBFT_DROP_CERTIFICATE);
    /* Signed for another cluster with the same keys, or as another epoch's CHECKPOINT. */
    cr_assert(pbft_public_key_equal(&c->at[0].replicas[1], &other->at[0].replicas[1]));
    p.size = chain_proof(&other->at[0], c->keys[0], &good, 0x7, p.bytes);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    p.size = chain_proof(&c->at[1], c->keys[0], &good, 0x7, p.bytes);
    cr_assert_eq(judge(&c->at[0], &p), PBFT_DROP_SIGNATURE);
    /* There is nothing after the last epoch. */
    struct pbft_cluster last = c->at[0];
    last.epoch = UINT32_MAX;
    change = good;
    change.epoch = 0;
    p.size = chain_proof(&last, c->keys[0], &change, 0x7, p.bytes);
    cr_assert_neq(judge(&last, &p), PBFT_OK);
    chain_free(other);
    chain_free(c);
}

Test(epoch, the_digest_binds_every_field)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct pbft_epoch_change good = good_change(c), change = good;
    struct pbft_digest first, digest;
    pbft_epoch_digest(&good, &first);
    for (unsigned field = 0; field < 5; field++) {
        change = good;
        if (field == 0) change.epoch++;
        if (field == 1) change.seq++;
        if (field == 2) change.root.bytes[31] ^= 1;
        if (field == 3) change.replica++;
        if (field == 4) change.key.bytes[31] ^= 1;
        pbft_epoch_digest(&change, &digest);
        cr_assert_not(pbft_digest_equal(&first, &digest), "field %u", field);
    }
    chain_free(c);
}

/* Who begins with genesis arrives, proof by proof, where the others are. */
Test(epoch, a_history_can_be_walked)
{
    struct epoch_chain *c = chain_new(7, 1);
    const struct pbft_cluster *last = &c->at[CHAIN_EPOCHS - 1];
    struct pbft_cluster at = c->at[0];
    for (pbft_epoch e = 1; e < CHAIN_EPOCHS; e++) {
        struct pbft_cluster next;
        struct pbft_span proof = pbft_epoch_history(last, e);
        struct proof kept = {.size = proof.size};
        memcpy(kept.bytes, proof.data, proof.size);
        for (pbft_epoch wrong = 0; wrong < CHAIN_EPOCHS; wrong++)
            cr_assert_eq(judge(&c->at[wrong], &kept) == PBFT_OK, wrong + 1 == e);
        cr_assert_eq(pbft_epoch_next(&at, &pbft_signer_ed25519, proof, &next), PBFT_OK);
        pbft_epoch_free(&at);
        at = next;
        cr_assert_eq(at.epoch, e);
        cr_assert_eq(at.genesis_seq, c->at[e].genesis_seq);
        for (pbft_epoch before = 1; before <= e; before++) {
            struct pbft_span ours = pbft_epoch_history(&at, before);
            cr_assert_eq(memcmp(ours.data, pbft_epoch_history(last, before).data, ours.size), 0);
        }
    }
    cr_assert_eq(memcmp(at.replicas, last->replicas, sizeof at.replicas), 0);
    pbft_epoch_free(&at);
    chain_free(c);
}

Test(epoch, the_largest_cluster)
{
    struct epoch_chain *c = chain_new(PBFT_REPLICAS_MAX, 1);
    struct pbft_span proof = pbft_epoch_history(&c->at[3], 3);
    struct proof p = {.size = proof.size};
    cr_assert_leq(proof.size, PBFT_EPOCH_PROOF_MAX);
    memcpy(p.bytes, proof.data, proof.size);
    cr_assert_eq(judge(&c->at[2], &p), PBFT_OK);
    p.bytes[p.size - 40] ^= 4; /* the last of 43 */
    cr_assert_eq(judge(&c->at[2], &p), PBFT_DROP_SIGNATURE);
    chain_free(c);
}

/* ---- the operation ---- */

TestSuite(replace, .timeout = 60);

Test(replace, only_who_has_the_key_can_name_it)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct epoch_chain *other = chain_new(4, 2);
    uint8_t op[PBFT_REPLACE_OP_BYTES + 1] = {0};
    struct pbft_span span = {op, PBFT_REPLACE_OP_BYTES};
    struct pbft_replace got;
    pbft_replace_encode(&c->at[2], 3, &c->stranger, op);
    cr_assert(pbft_replace_is(span));
    cr_assert(pbft_replace_decode(&c->at[2], span, &got));
    cr_assert_eq(got.epoch, 2u);
    cr_assert_eq(got.replica, 3u);
    cr_assert(pbft_public_key_equal(&got.key, &c->stranger.public));
    /* It says for which epoch it is; whether that is the present one is the caller's to judge. */
    cr_assert(pbft_replace_decode(&c->at[0], span, &got));
    cr_assert_eq(got.epoch, 2u);
    cr_assert_not(pbft_replace_decode(&other->at[2], span, &got), "another cluster's");

    for (size_t bit = 0; bit < (size_t)PBFT_REPLACE_OP_BYTES * 8; bit++) {
        op[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_not(pbft_replace_decode(&c->at[2], span, &got), "bit %zu", bit);
        cr_assert_eq(pbft_replace_is(span), bit / 8 >= PBFT_REPLACE_MAGIC_BYTES);
        op[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* Another's key under one's own signature. */
    memcpy(op + 24, c->keys[0][1].public.bytes, PBFT_PUBLIC_KEY_BYTES);
    cr_assert_not(pbft_replace_decode(&c->at[2], span, &got));
    pbft_replace_encode(&c->at[2], 3, &c->stranger, op);
    for (size_t size = 0; size <= sizeof op; size++) {
        span.size = size;
        cr_assert_eq(pbft_replace_is(span), size >= PBFT_REPLACE_MAGIC_BYTES);
        cr_assert_eq(pbft_replace_decode(&c->at[2], span, &got), size == PBFT_REPLACE_OP_BYTES);
    }
    chain_free(other);
    chain_free(c);
}

Test(replace, every_answer_has_a_sentence)
{
    for (unsigned i = 0; i < PBFT_REPLACE_STATUS_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(pbft_replace_text((uint8_t)i), pbft_replace_text((uint8_t)j));
    cr_assert_str_eq(pbft_replace_text(PBFT_REPLACE_STATUS_COUNT), pbft_replace_text(255));
}
