/*
 * tests/sim/signer_fast.c - signatures for simulation: SipHash keyed with the public key.
 *
 * No security at all: whoever knows the public key can sign. It stands in for Ed25519 where the
 * adversary is a program of ours that does not forge: a hundred times faster, deterministic, and a
 * changed bit of message, key or signature is still refused.
 */
#include "crypto/signer.h"

#include <sodium.h>
#include <string.h>

static void compute(const uint8_t public_key[PBFT_PUBLIC_KEY_BYTES], struct pbft_span message,
                    uint8_t *signature)
{
    _Static_assert(PBFT_SIGNATURE_BYTES == 4 * crypto_shorthash_siphashx24_BYTES, "four halves");
    uint8_t tag[crypto_shorthash_siphashx24_BYTES];
    (void)crypto_shorthash_siphashx24(tag, message.data, message.size, public_key);
    for (size_t i = 0; i < PBFT_SIGNATURE_BYTES; i += sizeof tag)
        memcpy(signature + i, tag, sizeof tag);
}

static void fast_sign(const struct pbft_secret_key *key, struct pbft_span message,
                      uint8_t *signature)
{
    compute(key->bytes + 32, message, signature); /* seed, then public key */
}

static bool fast_verify(const struct pbft_public_key *key, struct pbft_span message,
                        const uint8_t *signature)
{
    uint8_t expected[PBFT_SIGNATURE_BYTES];
    compute(key->bytes, message, expected);
    return memcmp(expected, signature, sizeof expected) == 0;
}

const struct pbft_signer pbft_signer_fast = {.sign = fast_sign, .verify = fast_verify};
