/**
 * bench/chain/hash.h - SHA-256d and the Merkle tree over a block's operations.
 *
 * Bitcoin pairs an odd node with itself, so that a block whose last operations stand there twice
 * has the same root (CVE-2012-2459). Here the tree is RFC 6962's in all but the hash: leaves and
 * inner nodes are hashed with different first bytes, an odd node rises as it is, and the root binds
 * the number of leaves. Different lists have different roots, and no leaf passes for an inner node.
 */
#ifndef PBFT_BENCH_CHAIN_HASH_H
#define PBFT_BENCH_CHAIN_HASH_H

#include "pbft/types.h"

#define CHAIN_PROOF_MAX 20u /* depth: 2^20 operations */

/* SHA-256 of the SHA-256. */
void chain_sha256d(struct pbft_digest *out, const uint8_t *bytes, size_t size);

/* The hash of one leaf. */
void chain_merkle_leaf(struct pbft_digest *out, struct pbft_span leaf);

/* leaves  count hashes of chain_merkle_leaf(); overwritten. count may be 0 .. 2^20. */
void chain_merkle_root(struct pbft_digest *out, struct pbft_digest *leaves, uint32_t count);

/* Proof that an operation is the index-th of count below a root. */
struct chain_proof {
    uint32_t index, count;
    uint32_t depth; /* siblings in use, from the leaf up */
    struct pbft_digest sibling[CHAIN_PROOF_MAX];
};

/* leaves as above, overwritten; index < count <= 2^20. */
void chain_merkle_prove(struct chain_proof *out, struct pbft_digest *leaves, uint32_t count,
                        uint32_t index);
/* Whether `leaf` stands where the proof says. The proof may come from anybody. */
bool chain_merkle_verify(const struct chain_proof *proof, struct pbft_span leaf,
                         const struct pbft_digest *root);

#endif
