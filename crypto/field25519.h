/**
 * crypto/field25519.h - internal to crypto/: integers modulo p = 2^255 - 19, for verification only.
 *
 * Not in constant time anywhere: nothing secret may come in here (docs/adr/0002).
 *
 * Five limbs of 51 bits. Two bounds are kept, and every function says which it takes and gives:
 *   tight  each limb below 2^51 + 2^14: what products give
 *   loose  each limb below 2^54: what products take
 * A sum of two tight ones is loose, and so is a tight or doubled one minus a tight or doubled one.
 * In a product of loose ones a column is at most 5 * 19 * 2^108 < 2^115.
 */
#ifndef PBFT_CRYPTO_FIELD25519_H
#define PBFT_CRYPTO_FIELD25519_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct fe {
    uint64_t limb[5];
};

__extension__ typedef unsigned __int128 fe_wide;

#define FE_LIMB_MASK ((UINT64_C(1) << 51) - 1)

static const struct fe fe_zero = {{0, 0, 0, 0, 0}};
static const struct fe fe_one = {{1, 0, 0, 0, 0}};
/* The curve's -121665/121666, twice it, and the square root of -1. */
static const struct fe fe_d = {{UINT64_C(929955233495203), UINT64_C(466365720129213),
                                UINT64_C(1662059464998953), UINT64_C(2033849074728123),
                                UINT64_C(1442794654840575)}};
static const struct fe fe_2d = {{UINT64_C(1859910466990425), UINT64_C(932731440258426),
                                 UINT64_C(1072319116312658), UINT64_C(1815898335770999),
                                 UINT64_C(633789495995903)}};
static const struct fe fe_sqrt_m1 = {{UINT64_C(1718705420411056), UINT64_C(234908883556509),
                                      UINT64_C(2233514472574048), UINT64_C(2117202627021982),
                                      UINT64_C(765476049583133)}};

/* Tight and tight, loose. */
static inline struct fe fe_add(struct fe a, struct fe b)
{
    const uint64_t *x = a.limb, *y = b.limb;
    return (struct fe){{x[0] + y[0], x[1] + y[1], x[2] + y[2], x[3] + y[3], x[4] + y[4]}};
}

/* a below 2^53, b at most 2^53 - 76: loose. 4p is added, so that no limb is negative. */
static inline struct fe fe_sub(struct fe a, struct fe b)
{
    const uint64_t *x = a.limb, *y = b.limb, low = (UINT64_C(1) << 53) - 76,
                   high = (UINT64_C(1) << 53) - 4;
    return (struct fe){{x[0] + low - y[0], x[1] + high - y[1], x[2] + high - y[2],
                        x[3] + high - y[3], x[4] + high - y[4]}};
}

/* Columns below 2^115, of which the last one is below 2^111 (no factor of 19): tight. */
static inline struct fe fe_carry_wide(fe_wide c0, fe_wide c1, fe_wide c2, fe_wide c3, fe_wide c4)
{
    struct fe out;
    c1 += (uint64_t)(c0 >> 51);
    c2 += (uint64_t)(c1 >> 51);
    c3 += (uint64_t)(c2 >> 51);
    c4 += (uint64_t)(c3 >> 51);
    out.limb[0] = (uint64_t)c0 & FE_LIMB_MASK;
    out.limb[1] = (uint64_t)c1 & FE_LIMB_MASK;
    out.limb[2] = (uint64_t)c2 & FE_LIMB_MASK;
    out.limb[3] = (uint64_t)c3 & FE_LIMB_MASK;
    out.limb[4] = (uint64_t)c4 & FE_LIMB_MASK;
    out.limb[0] += 19 * (uint64_t)(c4 >> 51); /* below 2^51 + 19 * 2^59.4, which is below 2^64 */
    out.limb[1] += out.limb[0] >> 51;
    out.limb[0] &= FE_LIMB_MASK;
    return out;
}

/* Loose and loose, tight. */
static inline struct fe fe_mul(struct fe a, struct fe b)
{
    const uint64_t *x = a.limb, *y = b.limb;
    uint64_t y1 = 19 * y[1], y2 = 19 * y[2], y3 = 19 * y[3], y4 = 19 * y[4];
    fe_wide c0 = (fe_wide)x[0] * y[0] + (fe_wide)x[1] * y4 + (fe_wide)x[2] * y3 +
                 (fe_wide)x[3] * y2 + (fe_wide)x[4] * y1;
    fe_wide c1 = (fe_wide)x[0] * y[1] + (fe_wide)x[1] * y[0] + (fe_wide)x[2] * y4 +
                 (fe_wide)x[3] * y3 + (fe_wide)x[4] * y2;
    fe_wide c2 = (fe_wide)x[0] * y[2] + (fe_wide)x[1] * y[1] + (fe_wide)x[2] * y[0] +
                 (fe_wide)x[3] * y4 + (fe_wide)x[4] * y3;
    fe_wide c3 = (fe_wide)x[0] * y[3] + (fe_wide)x[1] * y[2] + (fe_wide)x[2] * y[1] +
                 (fe_wide)x[3] * y[0] + (fe_wide)x[4] * y4;
    fe_wide c4 = (fe_wide)x[0] * y[4] + (fe_wide)x[1] * y[3] + (fe_wide)x[2] * y[2] +
                 (fe_wide)x[3] * y[1] + (fe_wide)x[4] * y[0];
    return fe_carry_wide(c0, c1, c2, c3, c4);
}

/* Loose, tight. */
static inline struct fe fe_square(struct fe a)
{
    const uint64_t *x = a.limb;
    uint64_t d0 = 2 * x[0], d1 = 2 * x[1], d2 = 2 * x[2];
    uint64_t x3 = 19 * x[3], x4 = 19 * x[4];
    fe_wide c0 = (fe_wide)x[0] * x[0] + (fe_wide)d1 * x4 + (fe_wide)d2 * x3;
    fe_wide c1 = (fe_wide)d0 * x[1] + (fe_wide)d2 * x4 + (fe_wide)x[3] * x3;
    fe_wide c2 = (fe_wide)d0 * x[2] + (fe_wide)x[1] * x[1] + (fe_wide)(2 * x[3]) * x4;
    fe_wide c3 = (fe_wide)d0 * x[3] + (fe_wide)d1 * x[2] + (fe_wide)x[4] * x4;
    fe_wide c4 = (fe_wide)d0 * x[4] + (fe_wide)d1 * x[3] + (fe_wide)x[2] * x[2];
    return fe_carry_wide(c0, c1, c2, c3, c4);
}

/* a^(2^times), times >= 1. */
static inline struct fe fe_squares(struct fe a, unsigned times)
{
    while (times-- > 0)
        a = fe_square(a);
    return a;
}

/* a^(2^250 - 1) and, in *a11, a^11: what both exponents below begin with. */
static inline struct fe fe_pow_2_250_1(struct fe a, struct fe *a11)
{
    struct fe a2 = fe_square(a);
    struct fe a9 = fe_mul(a, fe_squares(a2, 2));
    *a11 = fe_mul(a2, a9);
    struct fe e5 = fe_mul(a9, fe_square(*a11)); /* 2^5 - 1 */
    struct fe e10 = fe_mul(fe_squares(e5, 5), e5);
    struct fe e20 = fe_mul(fe_squares(e10, 10), e10);
    struct fe e40 = fe_mul(fe_squares(e20, 20), e20);
    struct fe e50 = fe_mul(fe_squares(e40, 10), e10);
    struct fe e100 = fe_mul(fe_squares(e50, 50), e50);
    struct fe e200 = fe_mul(fe_squares(e100, 100), e100);
    return fe_mul(fe_squares(e200, 50), e50);
}

/* 1/a, of zero zero: a^(p-2), p - 2 = 2^255 - 21. */
static inline struct fe fe_invert(struct fe a)
{
    struct fe a11;
    struct fe e250 = fe_pow_2_250_1(a, &a11);
    return fe_mul(fe_squares(e250, 5), a11);
}

/* a^((p-5)/8), (p-5)/8 = 2^252 - 3. */
static inline struct fe fe_pow_p58(struct fe a)
{
    struct fe a11;
    struct fe e250 = fe_pow_2_250_1(a, &a11);
    return fe_mul(fe_squares(e250, 2), a);
}

/* 32 bytes, little-endian, the top bit ignored: tight, and below 2^255 (so perhaps not below p). */
static inline struct fe fe_from_bytes(const uint8_t bytes[32])
{
    uint64_t word[4] = {0, 0, 0, 0};
    for (int i = 0; i < 32; i++)
        word[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
    return (struct fe){{word[0] & FE_LIMB_MASK, (word[0] >> 51 | word[1] << 13) & FE_LIMB_MASK,
                        (word[1] >> 38 | word[2] << 26) & FE_LIMB_MASK,
                        (word[2] >> 25 | word[3] << 39) & FE_LIMB_MASK,
                        word[3] >> 12 & FE_LIMB_MASK}};
}

/* Loose, to the one encoding below p. */
static inline void fe_to_bytes(uint8_t bytes[32], struct fe a)
{
    uint64_t *x = a.limb;
    /* Twice: the first leaves a value below 2^255 + 19 * 8, the second below 2^255. */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            x[i + 1] += x[i] >> 51;
            x[i] &= FE_LIMB_MASK;
        }
        x[0] += 19 * (x[4] >> 51);
        x[4] &= FE_LIMB_MASK;
    }
    /* q: is it p or more? Then 19 more overflow 2^255. */
    uint64_t q = (x[0] + 19) >> 51;
    for (int i = 1; i < 5; i++)
        q = (x[i] + q) >> 51;
    x[0] += 19 * q;
    for (int i = 0; i < 4; i++) {
        x[i + 1] += x[i] >> 51;
        x[i] &= FE_LIMB_MASK;
    }
    x[4] &= FE_LIMB_MASK;
    uint64_t word[4] = {x[0] | x[1] << 51, x[1] >> 13 | x[2] << 38, x[2] >> 26 | x[3] << 25,
                        x[3] >> 39 | x[4] << 12};
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(word[i / 8] >> (8 * (i % 8)));
}

static inline bool fe_is_zero(struct fe a) /* loose */
{
    static const uint8_t zero[32];
    uint8_t bytes[32];
    fe_to_bytes(bytes, a);
    return memcmp(bytes, zero, sizeof zero) == 0;
}

static inline bool
fe_is_odd(struct fe a) /* loose: the lowest bit of its encoding, a point's sign */
{
    uint8_t bytes[32];
    fe_to_bytes(bytes, a);
    return (bytes[0] & 1u) != 0;
}

#endif
