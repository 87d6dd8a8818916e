/**
 * crypto/epoch.h - one configuration follows another: a replica's key is replaced (PROTOCOL 29).
 *
 * An epoch ends with a checkpoint, its last sequence number, and the next one begins with the state
 * that is certified there. What q replicas of the old epoch sign at that number is no plain root
 * but pbft_epoch_digest(): the root and what changes. The q CHECKPOINTs over it are the proof that
 * anybody who knows the old configuration needs to follow, and the only one: no key of the new
 * epoch vouches for it. A cluster carries the proofs of all epochs since genesis, so that it can
 * tell them to whoever is behind.
 *
 * Proof, little-endian: change (PBFT_EPOCH_CHANGE_BYTES), signers u64, then one signature for each
 * set bit in ascending order; exactly q.
 */
#ifndef PBFT_CRYPTO_EPOCH_H
#define PBFT_CRYPTO_EPOCH_H

#include "crypto/cluster.h"
#include "crypto/signer.h"
#include "pbft/wire.h"

struct pbft_epoch_change {
    pbft_epoch epoch;           /* the one that begins; 0: there is no change */
    pbft_seq seq;               /* the last of the one before, a checkpoint */
    struct pbft_digest root;    /* of the state there */
    pbft_id replica;            /* whose key is replaced */
    struct pbft_public_key key; /* by this one */
};
#define PBFT_EPOCH_CHANGE_BYTES (4u + 8u + PBFT_DIGEST_BYTES + 4u + PBFT_PUBLIC_KEY_BYTES)
/* Of the longest proof: all replicas but f of them, at PBFT_REPLICAS_MAX. */
#define PBFT_EPOCH_PROOF_MAX                                                                       \
    (PBFT_EPOCH_CHANGE_BYTES + 8u +                                                                \
     (2u * (PBFT_REPLICAS_MAX - 1u) / 3u + 2u) * PBFT_SIGNATURE_BYTES)

/* What stands in place of the root in the CHECKPOINTs of an epoch's last sequence number:
 * H("epoch", change). */
void pbft_epoch_digest(const struct pbft_epoch_change *change, struct pbft_digest *out);

/* Whether `change` may follow upon this configuration: epoch + 1, a replica of it, a key that is
 * valid and that nobody in it has. Its seq and root are not judged. */
bool pbft_epoch_change_valid(const struct pbft_cluster *from,
                             const struct pbft_epoch_change *change);

/**
 * Write the proof.
 *
 * certificate  q CHECKPOINTs over pbft_epoch_digest(change)
 * out          takes PBFT_EPOCH_PROOF_MAX bytes
 * Returns its length.
 */
size_t pbft_epoch_proof(const struct pbft_epoch_change *change,
                        const struct pbft_signatures *certificate, uint8_t *out);

/* The signatures of a proof that has been checked; borrowed from it. */
void pbft_epoch_signatures(struct pbft_span proof, struct pbft_signatures *out);

/* Whether `proof` leads on from this configuration, and to what; the verdicts of
 * pbft_epoch_next(). */
enum pbft_verdict pbft_epoch_check(const struct pbft_cluster *from,
                                   const struct pbft_signer *signer, struct pbft_span proof,
                                   struct pbft_epoch_change *change);

/**
 * The configuration that `proof` leads to, if it does so from `from`.
 *
 * out      clients, client_order: shared with `from`; history: its own, pbft_epoch_free()
 * Returns  PBFT_OK; PBFT_DROP_MALFORMED, _EPOCH (not the next one), _CERTIFICATE (structure, or a
 *          change that may not follow), _SIGNATURE; _BUSY: no memory
 */
enum pbft_verdict pbft_epoch_next(const struct pbft_cluster *from, const struct pbft_signer *signer,
                                  struct pbft_span proof, struct pbft_cluster *out);
void pbft_epoch_free(struct pbft_cluster *cluster);
/* The same configuration with a history of its own. False: no memory. */
bool pbft_epoch_copy(const struct pbft_cluster *from, struct pbft_cluster *out);

/* Of every proof in this cluster: q is part of genesis. */
size_t pbft_epoch_proof_size(const struct pbft_cluster *cluster);
/* The proof that led to `epoch`, 1 .. cluster->epoch; lives as long as the cluster. */
struct pbft_span pbft_epoch_history(const struct pbft_cluster *cluster, pbft_epoch epoch);

#endif
