#include "bench/chain/hash.h"

#include "pbft/wire.h"

#include <sodium.h>
#include <string.h>

#define LEAF  0u
#define INNER 1u
#define ROOT  2u

void chain_sha256d(struct pbft_digest *out, const uint8_t *bytes, size_t size)
{
    uint8_t inner[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(inner, bytes, size);
    crypto_hash_sha256(out->bytes, inner, sizeof inner);
}

void chain_merkle_leaf(struct pbft_digest *out, struct pbft_span leaf)
{
    static const uint8_t tag = LEAF;
    crypto_hash_sha256_state state;
    uint8_t inner[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, &tag, 1);
    crypto_hash_sha256_update(&state, leaf.data, leaf.size);
    crypto_hash_sha256_final(&state, inner);
    crypto_hash_sha256(out->bytes, inner, sizeof inner);
}

static void join(struct pbft_digest *out, const struct pbft_digest *left,
                 const struct pbft_digest *right)
{
    uint8_t bytes[1 + 2 * PBFT_DIGEST_BYTES] = {INNER};
    memcpy(bytes + 1, left->bytes, PBFT_DIGEST_BYTES);
    memcpy(bytes + 1 + PBFT_DIGEST_BYTES, right->bytes, PBFT_DIGEST_BYTES);
    chain_sha256d(out, bytes, sizeof bytes);
}

static void seal(struct pbft_digest *out, uint32_t count, const struct pbft_digest *top)
{
    uint8_t bytes[1 + 4 + PBFT_DIGEST_BYTES] = {ROOT};
    pbft_put_u32(bytes + 1, count);
    memcpy(bytes + 5, top->bytes, PBFT_DIGEST_BYTES);
    chain_sha256d(out, bytes, sizeof bytes);
}

/* From one level to the next; returns how many it has. */
static uint32_t rise(struct pbft_digest *level, uint32_t count)
{
    for (uint32_t i = 0; i + 1 < count; i += 2)
        join(&level[i / 2], &level[i], &level[i + 1]);
    if (count % 2 == 1) level[count / 2] = level[count - 1];
    return count / 2 + count % 2;
}

void chain_merkle_root(struct pbft_digest *out, struct pbft_digest *leaves, uint32_t count)
{
    static const struct pbft_digest none;
    PBFT_ASSERT(count <= 1u << CHAIN_PROOF_MAX);
    for (uint32_t left = count; left > 1;)
        left = rise(leaves, left);
    seal(out, count, count == 0 ? &none : &leaves[0]);
}

void chain_merkle_prove(struct chain_proof *out, struct pbft_digest *leaves, uint32_t count,
                        uint32_t index)
{
    PBFT_ASSERT(index < count && count <= 1u << CHAIN_PROOF_MAX);
    memset(out, 0, sizeof *out);
    out->index = index;
    out->count = count;
    for (uint32_t left = count; left > 1; index /= 2) {
        uint32_t sibling = index ^ 1u;
        if (sibling < left) out->sibling[out->depth++] = leaves[sibling];
        left = rise(leaves, left);
    }
}

bool chain_merkle_verify(const struct chain_proof *proof, struct pbft_span leaf,
                         const struct pbft_digest *root)
{
    struct pbft_digest node, sealed;
    if (proof->index >= proof->count || proof->count > 1u << CHAIN_PROOF_MAX ||
        proof->depth > CHAIN_PROOF_MAX)
        return false;
    chain_merkle_leaf(&node, leaf);
    uint32_t used = 0, index = proof->index;
    for (uint32_t left = proof->count; left > 1; left = left / 2 + left % 2, index /= 2) {
        if ((index ^ 1u) >= left) continue; /* an odd node rises as it is */
        if (used >= proof->depth) return false;
        const struct pbft_digest *sibling = &proof->sibling[used++];
        if (index % 2 == 0)
            join(&node, &node, sibling);
        else
            join(&node, sibling, &node);
    }
    seal(&sealed, proof->count, &node);
    return used == proof->depth && pbft_digest_equal(&sealed, root);
}
