/**
 * crypto/hash.h - BLAKE2b-256 with domains. The only hash of the project.
 */
#ifndef PBFT_CRYPTO_HASH_H
#define PBFT_CRYPTO_HASH_H

#include "pbft/types.h"

#define PBFT_HASH_DOMAIN_MAX 16u

/**
 * out = BLAKE2b-256(domain padded with zeros to 16 bytes, part 0, part 1, ...).
 * Parts are concatenated: a caller that needs their borders hashes lengths too.
 *
 * domain  ASCII, 1 .. 16 bytes, one for each use ("request", "proposal", "leaf", ...)
 */
void pbft_hash(struct pbft_digest *out, const char *domain, const struct pbft_span *parts,
               size_t count);

/* The same in pieces, for what is not in memory at once. Not to be copied: where the state lies in
 * it depends on its address. */
struct pbft_hasher {
    uint8_t state[384 + 64]; /* libsodium's, at a multiple of 64 */
};
void pbft_hasher_begin(struct pbft_hasher *hasher, const char *domain);
void pbft_hasher_add(struct pbft_hasher *hasher, struct pbft_span part);
void pbft_hasher_end(struct pbft_hasher *hasher, struct pbft_digest *out);

/* The digests of the protocol, all in one place (PROTOCOL 3). */
void pbft_digest_request(struct pbft_digest *out, struct pbft_span body);
/* From each request's (digest, signature): H("batch", count, pairs), then H("proposal", time, it).
 * `leaves` is count times (digest 32, signature 64). */
void pbft_digest_proposal(struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves);
void pbft_digest_null(struct pbft_digest *out); /* the null request's, FAULTS 4.12 */
void pbft_digest_view_change(struct pbft_digest *out, struct pbft_span body);
void pbft_digest_new_view(struct pbft_digest *out, struct pbft_span body);
void pbft_digest_result(struct pbft_digest *out, uint8_t outcome, struct pbft_span body);
void pbft_digest_query(struct pbft_digest *out, uint8_t outcome, uint64_t mark,
                       struct pbft_span body);

#endif
