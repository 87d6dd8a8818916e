/**
 * crypto/verified.h - internal to crypto/: a bounded memory of signatures that verified
 * (PROTOCOL 17). The votes inside certificates mostly came alone before; each is verified once.
 *
 * An entry is the full BLAKE2b-256 of (key, signed bytes, signature): a false hit would be a
 * collision, so no secret is needed, and equal runs have equal hits. Four-way set-associative;
 * within a set the entry unused for longest goes. Failures are not remembered: they would let a
 * liar push out what is useful.
 */
#ifndef PBFT_CRYPTO_VERIFIED_H
#define PBFT_CRYPTO_VERIFIED_H

#include "pbft/types.h"

struct pbft_verified; /* opaque; fixed size */

/* Room for `entries`, rounded up to a power of two (at least 4); 0: remembers nothing. NULL: out of
 * memory. */
struct pbft_verified *pbft_verified_new(uint32_t entries);
void pbft_verified_free(struct pbft_verified *v);

/* What a signature is remembered under. */
void pbft_verified_key(struct pbft_digest *out, const struct pbft_public_key *key,
                       struct pbft_span message, const uint8_t *signature);
bool pbft_verified_has(struct pbft_verified *v, const struct pbft_digest *entry);
void pbft_verified_add(struct pbft_verified *v, const struct pbft_digest *entry);

#endif
