/**
 * crypto/verify.h - internal to crypto/: the quick way to a signature that is right.
 *
 * Keys are few and each signs again and again, so tables of multiples of a key pay: an eighth
 * of the doublings, and two fifths of the time. It only ever says yes; whatever it does not accept
 * libsodium judges, whose verdict stands (pbft_verify(), docs/adr/0002): a signature that is wrong,
 * by a key with tables, costs both.
 */
#ifndef PBFT_CRYPTO_VERIFY_H
#define PBFT_CRYPTO_VERIFY_H

#include "pbft/types.h"

/* Once, first. It compares itself with libsodium: if it differs, or the compiler has no 128-bit
 * integers, verify_quickly() says no to everything. */
void verify_init(void);
void verify_disable(void);
bool verify_enabled(void);
/* True: libsodium would accept it. False: it may all the same. Any thread. */
bool verify_quickly(const struct pbft_public_key *key, struct pbft_span message,
                    const uint8_t signature[PBFT_SIGNATURE_BYTES]);
/* libsodium has accepted a signature of this key, which verify_quickly() did not. The
 * VERIFY_EARNED-th time its tables are made, in a full set the VERIFY_EARNED_FULL-th, if no
 * VERIFY_WAYS others of its set came for the first time between: so that nobody has them made by
 * signatures that are wrong, or with keys that come once. Each thread keeps those of up to
 * VERIFY_TABLES keys, 2 MiB, until it ends. */
void verify_accepted(const struct pbft_public_key *key);
/* Its tables are made at once, if it is a key at all: for the self-test, and for tests. Once
 * verify_init() has begun. False: out of memory, or never any. */
bool verify_learn(const struct pbft_public_key *key);

#define VERIFY_SETS   64u /* of VERIFY_WAYS, by the key's bytes */
#define VERIFY_WAYS   8u
#define VERIFY_TABLES ((size_t)VERIFY_SETS * VERIFY_WAYS)

#define VERIFY_EARNED      2u
#define VERIFY_EARNED_FULL 8u

#endif
