/*
 * tests/sim/signer_once.c - Ed25519 that verifies each signature once for the whole process.
 *
 * Verification is a pure function, and in a simulation one process is every replica and the oracle
 * too: each signature would be verified by all of them. The answer is the same, so equal seeds
 * have equal traces whatever is remembered.
 */
#include "pbft/wire.h"
#include "tests/sim/world_internal.h"

#include <sodium.h>
#include <string.h>

#define REMEMBERED 4096u /* a power of two; some 450 KiB */

/* Nothing shared with crypto/verified.c: the oracle, which checks that one, comes here as well. */
struct known {
    uint8_t tag[crypto_shorthash_siphashx24_BYTES]; /* of the message */
    uint8_t key[PBFT_PUBLIC_KEY_BYTES];
    uint8_t signature[PBFT_SIGNATURE_BYTES];
};

static bool verify_once(const struct pbft_public_key *key, struct pbft_span message,
                        const uint8_t *signature)
{
    static struct known remembered[REMEMBERED];
    struct known asked;
    (void)crypto_shorthash_siphashx24(asked.tag, message.data, message.size, key->bytes);
    memcpy(asked.key, key->bytes, sizeof asked.key);
    memcpy(asked.signature, signature, sizeof asked.signature);
    struct known *at = &remembered[pbft_get_u32(asked.tag) % REMEMBERED];
    if (memcmp(at, &asked, sizeof asked) == 0) return true;
    if (!pbft_signer_ed25519.verify(key, message, signature)) return false;
    *at = asked;
    return true;
}

const struct pbft_signer world_signer_once = {.sign = pbft_sign, .verify = verify_once};
