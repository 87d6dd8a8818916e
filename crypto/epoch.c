/* crypto/epoch.c - epochs follow one another by proofs. */
#include "crypto/epoch.h"

#include "crypto/hash.h"
#include "crypto/keys.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

#define DOMAIN_EPOCH "epoch"

enum proof_layout {
    PROOF_EPOCH = 0,
    PROOF_SEQ = 4,
    PROOF_ROOT = 12,
    PROOF_REPLICA = 44,
    PROOF_KEY = 48,
    PROOF_SIGNERS = 80,
    PROOF_SIGNATURES = 88,
};
_Static_assert(PROOF_SIGNERS == PBFT_EPOCH_CHANGE_BYTES, "the change comes first");

static void change_encode(const struct pbft_epoch_change *change, uint8_t *out)
{
    pbft_put_u32(out + PROOF_EPOCH, change->epoch);
    pbft_put_u64(out + PROOF_SEQ, change->seq);
    memcpy(out + PROOF_ROOT, change->root.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(out + PROOF_REPLICA, change->replica);
    memcpy(out + PROOF_KEY, change->key.bytes, PBFT_PUBLIC_KEY_BYTES);
}

static void change_decode(const uint8_t *in, struct pbft_epoch_change *change)
{
    change->epoch = pbft_get_u32(in + PROOF_EPOCH);
    change->seq = pbft_get_u64(in + PROOF_SEQ);
    memcpy(change->root.bytes, in + PROOF_ROOT, PBFT_DIGEST_BYTES);
    change->replica = pbft_get_u32(in + PROOF_REPLICA);
    memcpy(change->key.bytes, in + PROOF_KEY, PBFT_PUBLIC_KEY_BYTES);
}

void pbft_epoch_digest(const struct pbft_epoch_change *change, struct pbft_digest *out)
{
    uint8_t bytes[PBFT_EPOCH_CHANGE_BYTES];
    change_encode(change, bytes);
    pbft_hash(out, DOMAIN_EPOCH, &(struct pbft_span){bytes, sizeof bytes}, 1);
}

bool pbft_epoch_change_valid(const struct pbft_cluster *from,
                             const struct pbft_epoch_change *change)
{
    pbft_id replica;
    uint32_t client;
    return from->epoch != UINT32_MAX && change->epoch == from->epoch + 1 &&
           change->replica < from->params.n && pbft_public_key_valid(&change->key) &&
           !pbft_cluster_replica(from, &change->key, &replica) &&
           !pbft_cluster_client(from, &change->key, &client);
}

size_t pbft_epoch_proof(const struct pbft_epoch_change *change,
                        const struct pbft_signatures *certificate, uint8_t *out)
{
    size_t size = (size_t)pbft_signers_count(certificate->signers) * PBFT_SIGNATURE_BYTES;
    PBFT_ASSERT(PROOF_SIGNATURES + size <= PBFT_EPOCH_PROOF_MAX);
    change_encode(change, out);
    pbft_put_u64(out + PROOF_SIGNERS, certificate->signers);
    memcpy(out + PROOF_SIGNATURES, certificate->bytes, size);
    return PROOF_SIGNATURES + size;
}

/* ---- following ---- */

static bool signed_by_all(const struct pbft_cluster *from, const struct pbft_signer *signer,
                          pbft_seq seq, const struct pbft_digest *digest, pbft_signers signers,
                          const uint8_t *signature)
{
    for (pbft_signers rest = signers; rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        uint8_t body[PBFT_BODY_MAX_BYTES], bytes[PBFT_SIGNED_MAX_BYTES];
        size_t size = pbft_wire_checkpoint_body(seq, digest, id, body);
        size = pbft_wire_signed_bytes(PBFT_CHECKPOINT, &from->id, from->epoch,
                                      (struct pbft_span){body, size}, bytes);
        if (!signer->verify(&from->replicas[id], (struct pbft_span){bytes, size}, signature))
            return false;
        signature += PBFT_SIGNATURE_BYTES;
    }
    return true;
}

void pbft_epoch_signatures(struct pbft_span proof, struct pbft_signatures *out)
{
    out->signers = pbft_get_u64(proof.data + PROOF_SIGNERS);
    out->bytes = proof.data + PROOF_SIGNATURES;
}

enum pbft_verdict pbft_epoch_check(const struct pbft_cluster *from,
                                   const struct pbft_signer *signer, struct pbft_span proof,
                                   struct pbft_epoch_change *change)
{
    const struct pbft_params *p = &from->params;
    if (proof.size != pbft_epoch_proof_size(from)) return PBFT_DROP_MALFORMED;
    change_decode(proof.data, change);
    pbft_signers signers = pbft_get_u64(proof.data + PROOF_SIGNERS);
    if (change->epoch == 0 || change->epoch - 1 != from->epoch) return PBFT_DROP_EPOCH;
    if (!pbft_epoch_change_valid(from, change) || change->seq <= from->genesis_seq ||
        change->seq % p->checkpoint_interval != 0 || change->seq > UINT64_MAX - p->window ||
        (signers & ~pbft_everyone(p->n)) != 0 || pbft_signers_count(signers) != pbft_quorum(p->n))
        return PBFT_DROP_CERTIFICATE;
    struct pbft_digest digest;
    pbft_epoch_digest(change, &digest);
    return signed_by_all(from, signer, change->seq, &digest, signers, proof.data + PROOF_SIGNATURES)
               ? PBFT_OK
               : PBFT_DROP_SIGNATURE;
}

enum pbft_verdict pbft_epoch_next(const struct pbft_cluster *from, const struct pbft_signer *signer,
                                  struct pbft_span proof, struct pbft_cluster *out)
{
    struct pbft_epoch_change change;
    enum pbft_verdict verdict = pbft_epoch_check(from, signer, proof, &change);
    if (verdict != PBFT_OK) return verdict;
    /* All proofs of a cluster have one length: q is part of genesis. */
    size_t before = (size_t)from->epoch * proof.size;
    uint8_t *history = malloc(before + proof.size);
    if (history == NULL) return PBFT_DROP_BUSY;
    if (before > 0) memcpy(history, from->history, before);
    memcpy(history + before, proof.data, proof.size);
    *out = *from;
    out->epoch = change.epoch;
    out->genesis_seq = change.seq;
    out->genesis_root = change.root;
    out->replicas[change.replica] = change.key;
    out->history = history;
    return PBFT_OK;
}

void pbft_epoch_free(struct pbft_cluster *cluster)
{
    free(cluster->history);
    cluster->history = NULL;
}

bool pbft_epoch_copy(const struct pbft_cluster *from, struct pbft_cluster *out)
{
    *out = *from;
    out->history = NULL;
    if (from->epoch == 0) return true;
    size_t size = from->epoch * pbft_epoch_proof_size(from);
    out->history = malloc(size);
    if (out->history != NULL) memcpy(out->history, from->history, size);
    return out->history != NULL;
}

size_t pbft_epoch_proof_size(const struct pbft_cluster *cluster)
{
    return PROOF_SIGNATURES + (size_t)pbft_quorum(cluster->params.n) * PBFT_SIGNATURE_BYTES;
}

struct pbft_span pbft_epoch_history(const struct pbft_cluster *cluster, pbft_epoch epoch)
{
    PBFT_ASSERT(epoch >= 1 && epoch <= cluster->epoch);
    size_t size = pbft_epoch_proof_size(cluster);
    return (struct pbft_span){cluster->history + (size_t)(epoch - 1) * size, size};
}
