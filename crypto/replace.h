/**
 * crypto/replace.h - the operation that replaces a replica's key (PROTOCOL 29). It is the engine's,
 * not the service's: whatever service a cluster runs, an operation that begins with the magic is
 * never handed to it. Only the administrator (client 0) may order it.
 *
 *     REPLACE  magic 16, epoch u32 (the present one), replica u32, new key 32, signature 64
 *
 * The signature is by the new key, over magic, cluster id, epoch, replica and key: nobody can name
 * a key that he does not have.
 *
 * Result: u8 enum pbft_replace_status, u32 epoch that will begin, u64 the last sequence number of
 * the present one; both 0 unless the status is OK or UNDERWAY.
 */
#ifndef PBFT_CRYPTO_REPLACE_H
#define PBFT_CRYPTO_REPLACE_H

#include "crypto/cluster.h"
#include "crypto/keys.h"

#define PBFT_REPLACE_MAGIC_BYTES 16u
#define PBFT_REPLACE_OP_BYTES                                                                      \
    (PBFT_REPLACE_MAGIC_BYTES + 4u + 4u + PBFT_PUBLIC_KEY_BYTES + PBFT_SIGNATURE_BYTES)
#define PBFT_REPLACE_RESULT_BYTES 13u

enum pbft_replace_status {
    PBFT_REPLACE_OK = 0,
    PBFT_REPLACE_FORBIDDEN = 1, /* the client is not the administrator */
    PBFT_REPLACE_BAD = 2,       /* no such replica, a key that is not valid or known already, or one
                                 * that did not sign */
    PBFT_REPLACE_EPOCH = 3,     /* meant for another epoch */
    PBFT_REPLACE_UNDERWAY = 4,  /* this epoch ends already, for a replacement that came before */
    PBFT_REPLACE_STATUS_COUNT
};
/* A sentence for people; static. */
const char *pbft_replace_text(uint8_t status);

struct pbft_replace {
    pbft_epoch epoch;
    pbft_id replica;
    struct pbft_public_key key;
};

void pbft_replace_encode(const struct pbft_cluster *cluster, pbft_id replica,
                         const struct pbft_keypair *keypair, uint8_t out[PBFT_REPLACE_OP_BYTES]);
/* Whether the operation is the engine's, be it a good one or not. */
bool pbft_replace_is(struct pbft_span op);
/* False: not one that the owner of its key has made for this cluster. */
bool pbft_replace_decode(const struct pbft_cluster *cluster, struct pbft_span op,
                         struct pbft_replace *out);

#endif
