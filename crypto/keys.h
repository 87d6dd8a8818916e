/**
 * crypto/keys.h - Ed25519 keys, key files, signatures, and the self-test that compares libraries.
 *
 * Verdicts on odd signatures differ between library builds (FAULTS 2.30), and a mixed cluster could
 * lose safety over it. So there is one verify wrapper, public keys are validated when they are
 * loaded, and a start-up self-test yields a verdict vector that the handshake compares.
 */
#ifndef PBFT_CRYPTO_KEYS_H
#define PBFT_CRYPTO_KEYS_H

#include "pbft/types.h"

struct pbft_secret_key {
    uint8_t bytes[64]; /* libsodium's form: seed, public key */
};

struct pbft_keypair {
    struct pbft_public_key public;
    struct pbft_secret_key secret;
};

/* Initialise libsodium and run the self-test. Call once, first. PBFT_STATUS_CRYPTO if it fails. */
PBFT_MUST_USE enum pbft_status pbft_crypto_init(void);
/* Verdict vector of the odd-signature vectors: bit i is "vector i accepted". Exchanged in the
 * handshake (PROTOCOL 5). */
uint64_t pbft_crypto_verdicts(void);

/* How pbft_verify() comes to a yes: "tables" of the key's multiples, or "libsodium" where these did
 * not agree with it at the start. */
const char *pbft_crypto_verifier(void);

PBFT_MUST_USE enum pbft_status pbft_keypair_generate(struct pbft_keypair *out);
/* Deterministic, for tests and the simulator. */
void pbft_keypair_from_seed(struct pbft_keypair *out, const uint8_t seed[32]);
void pbft_keypair_wipe(struct pbft_keypair *keypair);

/* Canonical, on the curve, not of small order. */
bool pbft_public_key_valid(const struct pbft_public_key *key);
/* First 8 bytes of H("fingerprint", key) in hex, for people. out takes 17 bytes. */
void pbft_public_key_fingerprint(const struct pbft_public_key *key, char out[17]);
bool pbft_public_key_equal(const struct pbft_public_key *a, const struct pbft_public_key *b);

/* Hex, lower case. `text` takes 65 bytes. Parsing accepts exactly 64 hex digits. */
void pbft_hex_encode(const uint8_t *bytes, size_t size, char *text);
bool pbft_hex_decode(const char *text, uint8_t *bytes, size_t size);

/**
 * Key files: text, mode 0600, owner us. Loading refuses other modes (PBFT_STATUS_PERMISSION) and
 * damaged contents (PBFT_STATUS_CORRUPT); saving never overwrites (PBFT_STATUS_EXISTS), and syncs
 * file and directory. `error` takes one sentence (<= 256 bytes) when the status is not OK.
 */
PBFT_MUST_USE enum pbft_status pbft_keypair_save(const struct pbft_keypair *keypair,
                                                 const char *path, char error[256]);
/* The file at `from` takes the place of the one at `path`, in the same directory, durably: a name
 * that came back after a power failure would look like a key that nobody has used yet. */
PBFT_MUST_USE enum pbft_status pbft_keypair_adopt(const char *from, const char *path,
                                                  char error[256]);
PBFT_MUST_USE enum pbft_status pbft_keypair_load(struct pbft_keypair *out, const char *path,
                                                 char error[256]);

/* The one sign and the one verify. `message` is PROTOCOL 1's signed bytes. */
void pbft_sign(const struct pbft_secret_key *key, struct pbft_span message,
               uint8_t signature[PBFT_SIGNATURE_BYTES]);
bool pbft_verify(const struct pbft_public_key *key, struct pbft_span message,
                 const uint8_t signature[PBFT_SIGNATURE_BYTES]);

#endif
