/* replica/evidence: only accusable pairs pass, and no bit of an item can be changed (PROTOCOL 36).
 */
#include "replica/evidence.h"

#include "pbft/quorum.h"
#include "replica/pool.h"
#include "tests/sim/fixture.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct pbft_digest digest_of(uint8_t fill)
{
    struct pbft_digest d;
    memset(d.bytes, fill, sizeof d.bytes);
    return d;
}

static struct sim *cluster_of_four(const struct pbft_signer *signer)
{
    struct sim_options o = sim_defaults(4, 1, 5);
    o.signer = signer;
    return sim_new(&o);
}

struct item {
    uint8_t *bytes;
    size_t size;
};

/* Takes the frames' references. */
static struct item encode(struct sim *sim, enum pbft_evidence_kind kind, pbft_id culprit,
                          struct pbft_frame *a, struct pbft_frame *b)
{
    struct item item;
    enum pbft_status status =
        pbft_evidence_encode(sim_cluster(sim), kind, culprit, pbft_frame_span(a),
                             pbft_frame_span(b), &item.bytes, &item.size);
    cr_assert_eq(status, PBFT_STATUS_OK);
    pbft_frame_release(a);
    pbft_frame_release(b);
    return item;
}

static enum pbft_verdict verify(struct sim *sim, const struct pbft_signer *signer, struct item item,
                                struct pbft_evidence *out)
{
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    enum pbft_verdict verdict =
        pbft_evidence_verify(sim_cluster(sim), signer, (struct pbft_span){item.bytes, item.size},
                             out, text);
    cr_assert_gt(strlen(text), 0u);
    return verdict;
}

static void no_bit_can_change(struct sim *sim, const struct pbft_signer *signer, struct item item)
{
    for (size_t bit = 0; bit < item.size * 8; bit++) {
        item.bytes[bit / 8] = (uint8_t)(item.bytes[bit / 8] ^ (1u << (bit % 8)));
        cr_assert_neq(verify(sim, signer, item, NULL), PBFT_OK, "bit %zu", bit);
        item.bytes[bit / 8] = (uint8_t)(item.bytes[bit / 8] ^ (1u << (bit % 8)));
    }
    for (size_t size = 0; size < item.size; size++) {
        struct item shorter = {item.bytes, size};
        cr_assert_neq(verify(sim, signer, shorter, NULL), PBFT_OK);
    }
    struct item longer = {malloc(item.size + 1), item.size + 1};
    memcpy(longer.bytes, item.bytes, item.size);
    longer.bytes[item.size] = 0;
    cr_assert_neq(verify(sim, signer, longer, NULL), PBFT_OK);
    free(longer.bytes);
    cr_assert_eq(verify(sim, signer, item, NULL), PBFT_OK);
}

static struct item two_votes(struct sim *sim, uint8_t type, pbft_id as, pbft_seq second_seq,
                             uint8_t second_digest)
{
    struct pbft_digest a = digest_of(1), b = digest_of(second_digest);
    return encode(sim, PBFT_EVIDENCE_CONFLICT, as, sim_vote(sim, type, as, 3, 9, &a),
                  sim_vote(sim, type, as, 3, second_seq, &b));
}

Test(evidence, two_prepares)
{
    struct sim *sim = cluster_of_four(&pbft_signer_ed25519);
    struct item item = two_votes(sim, PBFT_PREPARE, 2, 9, 2);
    struct pbft_evidence e;
    cr_assert_eq(verify(sim, &pbft_signer_ed25519, item, &e), PBFT_OK);
    cr_assert_eq(e.culprit, 2u);
    cr_assert_eq(e.type, PBFT_PREPARE);
    cr_assert_eq(e.view, 3u);
    cr_assert_eq(e.seq, 9u);
    no_bit_can_change(sim, &pbft_signer_ed25519, item);
    free(item.bytes);
    sim_free(sim);
}

Test(evidence, order_of_the_frames_does_not_matter)
{
    struct sim *sim = cluster_of_four(&pbft_signer_fast);
    struct pbft_digest a = digest_of(1), b = digest_of(2);
    struct item x = encode(sim, PBFT_EVIDENCE_CONFLICT, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &a),
                           sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &b));
    struct item y = encode(sim, PBFT_EVIDENCE_CONFLICT, 1, sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &b),
                           sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &a));
    cr_assert_eq(x.size, y.size);
    cr_assert_arr_eq(x.bytes, y.bytes, x.size);
    no_bit_can_change(sim, &pbft_signer_fast, x);
    free(x.bytes);
    free(y.bytes);
    sim_free(sim);
}

Test(evidence, two_proposals_are_kept_as_headers)
{
    struct sim *sim = cluster_of_four(&pbft_signer_fast);
    struct pbft_span op = {(const uint8_t *)"x", 1};
    struct pbft_frame *request = sim_request(sim, 0, 0, 1, op);
    struct item item = encode(sim, PBFT_EVIDENCE_CONFLICT, 1,
                              sim_pre_prepare(sim, 1, 1, 4, 1000, &request, 1, NULL),
                              sim_pre_prepare(sim, 1, 1, 4, 2000, &request, 1, NULL));
    struct pbft_evidence e;
    cr_assert_eq(verify(sim, &pbft_signer_fast, item, &e), PBFT_OK);
    cr_assert_eq(e.type, PBFT_PRE_PREPARE);
    cr_assert_eq(e.culprit, 1u);
    cr_assert_lt(item.size, 400u);
    no_bit_can_change(sim, &pbft_signer_fast, item);
    free(item.bytes);
    pbft_frame_release(request);
    sim_free(sim);
}

Test(evidence, what_is_not_accusable_is_refused)
{
    struct sim *sim = cluster_of_four(&pbft_signer_fast);
    struct pbft_digest a = digest_of(1), b = digest_of(2);
    struct item items[] = {
        two_votes(sim, PBFT_PREPARE, 2, 9, 1),  /* the same statement */
        two_votes(sim, PBFT_PREPARE, 2, 10, 2), /* of another sequence number */
        encode(sim, PBFT_EVIDENCE_CONFLICT, 2, sim_vote(sim, PBFT_PREPARE, 2, 0, 1, &a),
               sim_vote(sim, PBFT_PREPARE, 3, 0, 1, &b)), /* of two replicas */
        encode(sim, PBFT_EVIDENCE_CONFLICT, 3, sim_vote(sim, PBFT_PREPARE, 2, 0, 1, &a),
               sim_vote(sim, PBFT_PREPARE, 2, 0, 1, &b)), /* of another one than named */
        encode(sim, PBFT_EVIDENCE_CONFLICT, 2, sim_vote(sim, PBFT_PREPARE, 2, 0, 1, &a),
               sim_vote(sim, PBFT_COMMIT, 2, 0, 1, &b)), /* of two types */
        encode(sim, PBFT_EVIDENCE_CONFLICT, 2, sim_vote(sim, PBFT_PREPARE, 2, 0, 1, &a),
               sim_vote(sim, PBFT_PREPARE, 2, 4, 1, &b)), /* of two views */
    };
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        cr_assert_neq(verify(sim, &pbft_signer_fast, items[i], NULL), PBFT_OK, "item %zu", i);
        free(items[i].bytes);
    }
    sim_free(sim);
}

Test(evidence, checkpoint_against_a_certificate)
{
    struct sim *sim = cluster_of_four(&pbft_signer_fast);
    struct pbft_digest right = digest_of(7), wrong = digest_of(8);
    uint8_t signatures[3 * PBFT_SIGNATURE_BYTES];
    for (pbft_id id = 0; id < 3; id++) {
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size = pbft_wire_checkpoint_body(8, &right, id, body);
        sim_sign_body(sim, id, PBFT_CHECKPOINT, (struct pbft_span){body, size},
                      signatures + id * PBFT_SIGNATURE_BYTES);
    }
    struct pbft_msg certificate = {.type = PBFT_CERTIFICATE};
    certificate.certificate.kind = PBFT_CERT_CHECKPOINT;
    certificate.certificate.seq = 8;
    certificate.certificate.digest = right;
    certificate.certificate.signatures.signers = 7;
    certificate.certificate.signatures.bytes = signatures;
    struct item lie = encode(sim, PBFT_EVIDENCE_CHECKPOINT, 3, sim_checkpoint(sim, 3, 8, &wrong),
                             sim_message(sim, 3, &certificate));
    struct pbft_evidence e;
    cr_assert_eq(verify(sim, &pbft_signer_fast, lie, &e), PBFT_OK);
    cr_assert_eq(e.culprit, 3u);
    cr_assert_eq(e.type, PBFT_CHECKPOINT);
    no_bit_can_change(sim, &pbft_signer_fast, lie);
    struct item truth = encode(sim, PBFT_EVIDENCE_CHECKPOINT, 3, sim_checkpoint(sim, 3, 8, &right),
                               sim_message(sim, 3, &certificate));
    cr_assert_neq(verify(sim, &pbft_signer_fast, truth, NULL), PBFT_OK);
    free(lie.bytes);
    free(truth.bytes);
    sim_free(sim);
}

Test(evidence, garbage_is_no_message)
{
    struct sim *sim = cluster_of_four(&pbft_signer_fast);
    uint8_t *file = NULL;
    size_t size = 0;
    struct pbft_span garbage = {(const uint8_t *)"\xFF\xFF", 2};
    cr_assert_eq(pbft_evidence_encode(sim_cluster(sim), PBFT_EVIDENCE_CONFLICT, 0, garbage, garbage,
                                      &file, &size),
                 PBFT_STATUS_ARGUMENT);
    sim_free(sim);
}

/* ---- epochs (PROTOCOL 29): whose keys these were ---- */

/* Two PREPAREs of `as` in the epoch of `at`, by this key. */
static struct item two_prepares_in(const struct pbft_cluster *at, pbft_id as,
                                   const struct pbft_keypair *key)
{
    uint8_t frames[2][512];
    struct pbft_span spans[2];
    for (uint8_t i = 0; i < 2; i++) {
        struct pbft_msg m = {.type = PBFT_PREPARE, .epoch = at->epoch};
        m.vote.view = 3;
        m.vote.seq = at->genesis_seq + 1;
        m.vote.digest = digest_of(i);
        m.vote.sender = as;
        size_t size = pbft_wire_encode(&m, frames[i], sizeof frames[i]);
        pbft_frame_sign(at, &pbft_signer_ed25519, &key->secret, frames[i], size);
        spans[i] = (struct pbft_span){frames[i], size};
    }
    struct item item;
    cr_assert_eq(pbft_evidence_encode(at, PBFT_EVIDENCE_CONFLICT, as, spans[0], spans[1],
                                      &item.bytes, &item.size),
                 PBFT_STATUS_OK);
    return item;
}

static enum pbft_verdict judged(const struct epoch_chain *c, const struct pbft_cluster *known,
                                struct item item, char text[PBFT_EVIDENCE_TEXT_BYTES])
{
    struct pbft_evidence e = {.epoch = 77};
    enum pbft_verdict verdict =
        pbft_evidence_verify_known(&c->at[0], known, &pbft_signer_ed25519,
                                   (struct pbft_span){item.bytes, item.size}, &e, text);
    cr_expect_eq(verdict == PBFT_OK, e.epoch != 77);
    return verdict;
}

/* A key that was replaced is judged in the epoch that was its own, whatever is known since; a later
 * epoch than is known, by the item's own proofs. */
Test(evidence, each_key_in_its_own_epoch)
{
    struct epoch_chain *c = chain_new(4, 7);
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    for (pbft_epoch e = 0; e < CHAIN_EPOCHS; e++) {
        struct item item = two_prepares_in(&c->at[e], 0, &c->keys[e][0]);
        for (pbft_epoch known = 0; known < CHAIN_EPOCHS; known++)
            cr_expect_eq(judged(c, &c->at[known], item, text), PBFT_OK, "epoch %u, known %u: %s",
                         (unsigned)e, (unsigned)known, text);
        cr_expect_eq(judged(c, NULL, item, text), PBFT_OK, "%s", text);
        free(item.bytes);
        /* Replica 0 had another key before epoch 1, and has had none of that since. */
        item = two_prepares_in(&c->at[e], 0, &c->keys[e == 0 ? 1 : 0][0]);
        cr_expect_eq(judged(c, &c->at[CHAIN_EPOCHS - 1], item, text), PBFT_DROP_SIGNATURE);
        free(item.bytes);
    }
    chain_free(c);
}

/* The keys of genesis, all of which have leaked by now, sign an epoch that never was, and a replica
 * is accused in it. Who knows genesis alone cannot tell; whoever has followed can. */
Test(evidence, a_history_that_never_was_accuses_nobody)
{
    struct epoch_chain *c = chain_new(4, 7);
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    struct pbft_epoch_change change = chain_change(&c->at[0], 3, &c->stranger);
    size_t size = chain_proof(&c->at[0], c->keys[0], &change, 0x7, proof);
    struct pbft_cluster forked;
    cr_assert_eq(pbft_epoch_next(&c->at[0], &pbft_signer_ed25519, (struct pbft_span){proof, size},
                                 &forked),
                 PBFT_OK);
    struct item item = two_prepares_in(&forked, 3, &c->stranger);
    cr_expect_eq(judged(c, NULL, item, text), PBFT_OK, "%s", text);
    cr_expect_eq(judged(c, &c->at[0], item, text), PBFT_OK, "%s", text);
    for (pbft_epoch known = 1; known < CHAIN_EPOCHS; known++) {
        cr_expect_eq(judged(c, &c->at[known], item, text), PBFT_DROP_EPOCH);
        cr_expect_str_eq(text, "no proof: its epochs are not those that are known of this cluster");
    }
    free(item.bytes);
    pbft_epoch_free(&forked);
    chain_free(c);
}

/* Who signed a proof may differ from replica to replica; the change may not. */
Test(evidence, another_quorum_proves_the_same_epoch)
{
    struct epoch_chain *c = chain_new(4, 7);
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    struct pbft_epoch_change change = chain_change(&c->at[0], 0, &c->keys[1][0]);
    size_t size = chain_proof(&c->at[0], c->keys[0], &change, 0x7, proof);
    struct pbft_cluster same;
    cr_assert_eq(pbft_epoch_next(&c->at[0], &pbft_signer_ed25519, (struct pbft_span){proof, size},
                                 &same),
                 PBFT_OK);
    cr_assert_arr_neq(same.history, c->at[1].history, size);
    struct item item = two_prepares_in(&same, 2, &c->keys[1][2]);
    cr_expect_eq(judged(c, &c->at[CHAIN_EPOCHS - 1], item, text), PBFT_OK, "%s", text);
    free(item.bytes);
    pbft_epoch_free(&same);
    chain_free(c);
}

Test(evidence, an_epoch_that_is_not_known_and_not_proved)
{
    struct epoch_chain *c = chain_new(4, 7);
    struct epoch_chain *other = chain_new(4, 8);
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    struct item item = two_prepares_in(&c->at[2], 2, &c->keys[2][2]);
    item.bytes[item.size - 1] ^= 1; /* a signature under epoch 2 */
    cr_expect_eq(judged(c, &c->at[1], item, text), PBFT_DROP_SIGNATURE);
    cr_expect_str_eq(text,
                     "no proof: its epoch is not known, and its own proofs do not lead there");
    free(item.bytes);
    item = two_prepares_in(&other->at[1], 2, &other->keys[1][2]);
    cr_expect_eq(judged(c, &c->at[1], item, text), PBFT_DROP_EPOCH);
    cr_expect_str_eq(text, "no proof: it is of another cluster");
    free(item.bytes);
    chain_free(other);
    chain_free(c);
}
