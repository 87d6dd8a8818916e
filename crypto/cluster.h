/**
 * crypto/cluster.h - who is who: parameters, ordered replica keys, client keys, cluster id.
 *
 * Immutable after pbft_cluster_seal(); shared by all threads. Addresses are not here: they are
 * outside the cluster id (PROTOCOL 2).
 */
#ifndef PBFT_CRYPTO_CLUSTER_H
#define PBFT_CRYPTO_CLUSTER_H

#include "pbft/types.h"

#define PBFT_SERVICE_NAME_MAX 31u

struct pbft_cluster {
    char service[PBFT_SERVICE_NAME_MAX + 1];
    struct pbft_params params;
    pbft_epoch epoch;
    struct pbft_public_key replicas[PBFT_REPLICAS_MAX]; /* params.n of them */
    struct pbft_public_key *clients;                    /* client_count, in genesis order; owned by
                                                         * whoever filled the structure */
    uint32_t client_count;
    uint8_t nonce[32];
    /* The state before the first proposal of this epoch, and its number, a multiple of the
     * interval. In the first epoch 0: it follows from service and parameters, and the root is not
     * hashed into the id; else the cluster was restored from the checkpoint of that number, and
     * both are. Later epochs begin with the last checkpoint of the one before. */
    pbft_seq genesis_seq;
    struct pbft_digest genesis_root;
    uint8_t *history; /* the proofs that led here (crypto/epoch.h); NULL in the first epoch */
    /* Filled by pbft_cluster_seal(): */
    struct pbft_digest id;
    uint32_t *client_order; /* indices sorted by key, for look-up; malloc'ed */
};

/**
 * Check everything (parameters, valid and distinct keys) and compute the id.
 * PBFT_STATUS_CONFIG with one sentence in `error`, PBFT_STATUS_MEMORY, or OK.
 */
PBFT_MUST_USE enum pbft_status pbft_cluster_seal(struct pbft_cluster *c, char error[256]);
void pbft_cluster_unseal(struct pbft_cluster *c); /* frees client_order only */
/* Index of a client's or replica's key; false when genesis does not list it. */
bool pbft_cluster_client(const struct pbft_cluster *c, const struct pbft_public_key *key,
                         uint32_t *index);
bool pbft_cluster_replica(const struct pbft_cluster *c, const struct pbft_public_key *key,
                          pbft_id *id);

#endif
