/**
 * crypto/edwards25519.h - internal to crypto/: points of the curve of Ed25519, for verification
 * only.
 *
 * -x^2 + y^2 = 1 + d x^2 y^2 modulo 2^255 - 19, in the extended coordinates of Hisil, Wong, Carter
 * and Dawson (2008), whose addition is complete on this curve: no exceptions, whatever the points.
 *
 * Not in constant time: nothing secret may come in here. Every coordinate is tight (field25519.h).
 */
#ifndef PBFT_CRYPTO_EDWARDS25519_H
#define PBFT_CRYPTO_EDWARDS25519_H

#include "crypto/field25519.h"

struct ed_point { /* (x/z, y/z), and t = xy/z */
    struct fe x, y, z, t;
};

struct ed_multiple {           /* an affine point as additions want it */
    struct fe sum, difference; /* y + x, y - x */
    struct fe product;         /* 2dxy */
};

/* A scalar is cut into so many pieces of 32 bits, and there is a table for each: 32 doublings do
 * then for all. */
#define ED_PIECES 8u
/* Digits of a piece are odd and below 2^(width-1). One more for the key is no faster, for its
 * tables are twice as large and compete for the processor's cache with those of other keys. */
#define ED_KEY_WIDTH      4u
#define ED_BASE_WIDTH     7u
#define ED_KEY_MULTIPLES  (1u << (ED_KEY_WIDTH - 2))
#define ED_BASE_MULTIPLES (1u << (ED_BASE_WIDTH - 2))

struct ed_key_tables { /* [i][k]: (2k + 1) 2^(32 i) times the point */
    struct ed_multiple at[ED_PIECES][ED_KEY_MULTIPLES];
};

/* The base point's tables. Once, before anything else here. */
void ed_init(void);

/* The point of 32 bytes. False: they are no canonical encoding of one. */
bool ed_decode(struct ed_point *out, const uint8_t bytes[32]);
void ed_encode(uint8_t bytes[32], const struct ed_point *p);
struct ed_point ed_negative(const struct ed_point *p);
bool ed_small_order(const struct ed_point *p); /* 8p is the neutral element */

void ed_key_tables(struct ed_key_tables *out, const struct ed_point *p);
/* s times the base point plus h times the point of `key`. s and h: 32 bytes, little-endian. */
struct ed_point ed_double_multiply(const uint8_t s[32], const struct ed_key_tables *key,
                                   const uint8_t h[32]);

#endif
