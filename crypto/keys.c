/* crypto/keys.c - keys, hex, and the one sign and the one verify. */
#include "crypto/keys.h"

#include "crypto/hash.h"
#include "crypto/verify.h"

#include <sodium.h>
#include <string.h>

_Static_assert(PBFT_PUBLIC_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519 public key");
_Static_assert(PBFT_SIGNATURE_BYTES == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(sizeof(struct pbft_secret_key) == crypto_sign_SECRETKEYBYTES, "Ed25519 secret key");

enum pbft_status pbft_keypair_generate(struct pbft_keypair *out)
{
    if (crypto_sign_keypair(out->public.bytes, out->secret.bytes) != 0) return PBFT_STATUS_CRYPTO;
    return PBFT_STATUS_OK;
}

void pbft_keypair_from_seed(struct pbft_keypair *out, const uint8_t seed[32])
{
    int failed = crypto_sign_seed_keypair(out->public.bytes, out->secret.bytes, seed);
    PBFT_ASSERT(failed == 0);
}

void pbft_keypair_wipe(struct pbft_keypair *keypair)
{
    sodium_memzero(keypair, sizeof(*keypair));
}

bool pbft_public_key_valid(const struct pbft_public_key *key)
{
    /* Canonical, on the curve, not of small order, and in the group of prime order: with such keys
     * every correct library gives the same verdict on a canonical signature (FAULTS 2.30). */
    return crypto_core_ed25519_is_valid_point(key->bytes) == 1;
}

void pbft_public_key_fingerprint(const struct pbft_public_key *key, char out[17])
{
    struct pbft_digest digest;
    struct pbft_span part = {key->bytes, PBFT_PUBLIC_KEY_BYTES};
    pbft_hash(&digest, "fingerprint", &part, 1);
    pbft_hex_encode(digest.bytes, 8, out);
}

bool pbft_public_key_equal(const struct pbft_public_key *a, const struct pbft_public_key *b)
{
    return memcmp(a->bytes, b->bytes, PBFT_PUBLIC_KEY_BYTES) == 0;
}

void pbft_hex_encode(const uint8_t *bytes, size_t size, char *text)
{
    /* sodium's is constant-time, which secret keys need. */
    (void)sodium_bin2hex(text, size * 2 + 1, bytes, size);
}

bool pbft_hex_decode(const char *text, uint8_t *bytes, size_t size)
{
    /* Lower case only: one text for one value. */
    size_t length = strlen(text);
    if (length != size * 2) return false;
    for (size_t i = 0; i < length; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        bool letter = text[i] >= 'a' && text[i] <= 'f';
        if (!digit && !letter) return false;
    }
    size_t written = 0;
    const char *end = NULL;
    if (sodium_hex2bin(bytes, size, text, length, NULL, &written, &end) != 0) return false;
    return written == size && end == text + length;
}

void pbft_sign(const struct pbft_secret_key *key, struct pbft_span message,
               uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    int failed = crypto_sign_detached(signature, NULL, message.data, message.size, key->bytes);
    PBFT_ASSERT(failed == 0);
}

bool pbft_verify(const struct pbft_public_key *key, struct pbft_span message,
                 const uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    /* The first can be trusted with a yes, the second with both (FAULTS 2.30). */
    if (verify_quickly(key, message, signature)) return true;
    if (crypto_sign_verify_detached(signature, message.data, message.size, key->bytes) != 0)
        return false;
    verify_accepted(key);
    return true;
}
