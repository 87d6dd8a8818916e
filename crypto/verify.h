/**
 * crypto/verify.h - internal to crypto/: the quick way to a signature that is right.
 *
 * Keys are few and each signs again and again, so tables of multiples of a key pay: a quarter of
 * the doublings, and a third of the time. It only ever says yes; whatever it does not accept
 * libsodium judges, whose verdict stands (pbft_verify(), docs/adr/0002).
 */
#ifndef PBFT_CRYPTO_VERIFY_H
#define PBFT_CRYPTO_VERIFY_H

#include "pbft/types.h"

/* Once, first. It compares itself with libsodium: if it differs, or the compiler has no 128-bit
 * integers, verify_quickly() says no to everything. */
void verify_init(void);
void verify_disable(void);
bool verify_enabled(void);
/* True: libsodium would accept it. False: it may all the same. Any thread; keeps up to
 * VERIFY_TABLES keys' tables for each, 1 MiB, until the thread ends. */
bool verify_quickly(const struct pbft_public_key *key, struct pbft_span message,
                    const uint8_t signature[PBFT_SIGNATURE_BYTES]);

#define VERIFY_SETS   128u /* of VERIFY_WAYS, by the key's bytes */
#define VERIFY_WAYS   4u
#define VERIFY_TABLES ((size_t)VERIFY_SETS * VERIFY_WAYS)

#endif
