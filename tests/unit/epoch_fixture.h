/**
 * tests/unit/epoch_fixture.h - a cluster and the epochs that follow it, with real signatures
 * (PROTOCOL 29). Epoch e replaces the key of replica e - 1, at the e-th checkpoint.
 *
 * No test framework in here, as in net_fixture.h: what must hold is asserted.
 */
#ifndef TESTS_UNIT_EPOCH_FIXTURE_H
#define TESTS_UNIT_EPOCH_FIXTURE_H

#include "crypto/epoch.h"
#include "pbft/quorum.h"
#include "pbft/wire.h"

#include <stdlib.h>
#include <string.h>

#define CHAIN_EPOCHS  4u
#define CHAIN_CLIENTS 2u

struct epoch_chain {
    struct pbft_cluster at[CHAIN_EPOCHS];
    struct pbft_keypair keys[CHAIN_EPOCHS][PBFT_REPLICAS_MAX];
    struct pbft_keypair clients[CHAIN_CLIENTS];
    struct pbft_public_key client_keys[CHAIN_CLIENTS];
    struct pbft_keypair stranger;
};

/* A CHECKPOINT's signature over what ends the epoch of `from`. */
static inline void chain_sign(const struct pbft_cluster *from,
                              const struct pbft_epoch_change *change, pbft_id signer,
                              const struct pbft_keypair *key, uint8_t *signature)
{
    struct pbft_digest digest;
    uint8_t body[PBFT_BODY_MAX_BYTES], bytes[PBFT_SIGNED_MAX_BYTES];
    pbft_epoch_digest(change, &digest);
    size_t size = pbft_wire_checkpoint_body(change->seq, &digest, signer, body);
    size = pbft_wire_signed_bytes(PBFT_CHECKPOINT, &from->id, from->epoch,
                                  (struct pbft_span){body, size}, bytes);
    pbft_sign(&key->secret, (struct pbft_span){bytes, size}, signature);
}

/* By `signers`, be they a quorum or not. Returns its length; the proof takes PBFT_EPOCH_PROOF_MAX.
 */
static inline size_t chain_proof(const struct pbft_cluster *from, const struct pbft_keypair *keys,
                                 const struct pbft_epoch_change *change, pbft_signers signers,
                                 uint8_t *proof)
{
    uint8_t signatures[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES];
    uint8_t *at = signatures;
    for (pbft_id i = 0; i < from->params.n; i++) {
        if (!pbft_signers_has(signers, i)) continue;
        chain_sign(from, change, i, &keys[i], at);
        at += PBFT_SIGNATURE_BYTES;
    }
    struct pbft_signatures certificate = {signers, signatures};
    return pbft_epoch_proof(change, &certificate, proof);
}

static inline struct pbft_epoch_change chain_change(const struct pbft_cluster *from,
                                                    pbft_id replica, const struct pbft_keypair *key)
{
    struct pbft_epoch_change change = {.epoch = from->epoch + 1,
                                       .seq = from->genesis_seq + from->params.checkpoint_interval,
                                       .replica = replica,
                                       .key = key->public};
    memset(change.root.bytes, (int)change.epoch, sizeof change.root.bytes);
    return change;
}

static inline void chain_step(struct epoch_chain *c, pbft_epoch e)
{
    const struct pbft_cluster *from = &c->at[e - 1];
    uint8_t seed[32] = {91, (uint8_t)e};
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    pbft_id replica = (e - 1) % from->params.n;
    memcpy(c->keys[e], c->keys[e - 1], sizeof c->keys[e]);
    pbft_keypair_from_seed(&c->keys[e][replica], seed);
    struct pbft_epoch_change change = chain_change(from, replica, &c->keys[e][replica]);
    /* The last q of them: who is replaced need not agree. */
    pbft_signers signers = pbft_everyone(from->params.n) &
                           ~pbft_everyone(from->params.n - pbft_quorum(from->params.n));
    size_t size = chain_proof(from, c->keys[e - 1], &change, signers, proof);
    enum pbft_verdict verdict =
        pbft_epoch_next(from, &pbft_signer_ed25519, (struct pbft_span){proof, size}, &c->at[e]);
    PBFT_ASSERT(verdict == PBFT_OK);
}

static inline struct epoch_chain *chain_new(uint32_t n, uint8_t nonce)
{
    char error[256];
    uint8_t seed[32] = {90};
    struct epoch_chain *c = calloc(1, sizeof *c);
    enum pbft_status status = pbft_crypto_init();
    PBFT_ASSERT(c != NULL && status == PBFT_STATUS_OK);
    struct pbft_cluster *first = &c->at[0];
    memcpy(first->service, "epochs", 7);
    first->params = pbft_params_default(n);
    first->nonce[0] = nonce;
    for (pbft_id i = 0; i < n; i++) {
        seed[1] = (uint8_t)i;
        pbft_keypair_from_seed(&c->keys[0][i], seed);
        first->replicas[i] = c->keys[0][i].public;
    }
    for (uint32_t i = 0; i < CHAIN_CLIENTS; i++) {
        seed[1] = (uint8_t)(100 + i);
        pbft_keypair_from_seed(&c->clients[i], seed);
        c->client_keys[i] = c->clients[i].public;
    }
    seed[1] = 200;
    pbft_keypair_from_seed(&c->stranger, seed);
    first->clients = c->client_keys;
    first->client_count = CHAIN_CLIENTS;
    status = pbft_cluster_seal(first, error);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    for (pbft_epoch e = 1; e < CHAIN_EPOCHS; e++)
        chain_step(c, e);
    return c;
}

static inline void chain_free(struct epoch_chain *c)
{
    for (pbft_epoch e = 1; e < CHAIN_EPOCHS; e++)
        pbft_epoch_free(&c->at[e]);
    pbft_cluster_unseal(&c->at[0]);
    free(c);
}

#endif
