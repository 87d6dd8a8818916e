/* crypto/edwards25519.c - see the header; formulas: dbl-2008-hwcd, add-2008-hwcd-3 and its mixed
 * form. */
#ifdef __SIZEOF_INT128__ /* else verify.c has no use for it */
#include "crypto/edwards25519.h"

#define PIECE_BITS     32u
#define DIGITS         (PIECE_BITS + 1) /* a digit may carry beyond the last bit */
#define MULTIPLES_MOST (ED_PIECES * ED_BASE_MULTIPLES)

static struct ed_multiple base[ED_PIECES][ED_BASE_MULTIPLES];

/* ---- sums ---- */

/* The result as two fractions, x = e/g and y = h/f: loose. */
struct completed {
    struct fe e, f, g, h;
};

/* Without t, which a doubling does not need. */
static inline void finish(struct ed_point *out, const struct completed *c)
{
    out->x = fe_mul(c->e, c->f);
    out->y = fe_mul(c->g, c->h);
    out->z = fe_mul(c->f, c->g);
}

static inline void finish_with_t(struct ed_point *out, const struct completed *c)
{
    finish(out, c);
    out->t = fe_mul(c->e, c->h);
}

static inline struct completed twice(const struct ed_point *p)
{
    struct fe xx = fe_square(p->x), yy = fe_square(p->y), zz = fe_square(p->z);
    struct completed c;
    c.h = fe_add(yy, xx);
    c.g = fe_sub(yy, xx);
    c.e = fe_sub(fe_square(fe_add(p->x, p->y)), c.h);
    c.f = fe_add(fe_add(zz, zz), fe_sub(xx, yy)); /* below 2^52.1 + 2^53.4 */
    return c;
}

static inline struct completed plus(const struct ed_point *p, struct fe sum, struct fe difference,
                                    struct fe product, struct fe z2)
{
    struct fe a = fe_mul(fe_sub(p->y, p->x), difference);
    struct fe b = fe_mul(fe_add(p->y, p->x), sum);
    struct fe c = fe_mul(p->t, product);
    return (struct completed){.e = fe_sub(b, a),
                              .f = fe_sub(z2, c),
                              .g = fe_add(z2, c),
                              .h = fe_add(b, a)};
}

static inline struct completed plus_multiple(const struct ed_point *p, const struct ed_multiple *q)
{
    return plus(p, q->sum, q->difference, q->product, fe_add(p->z, p->z));
}

static inline struct completed minus_multiple(const struct ed_point *p, const struct ed_multiple *q)
{
    struct completed c = plus(p, q->difference, q->sum, q->product, fe_add(p->z, p->z));
    struct fe f = c.f; /* the product's sign */
    c.f = c.g;
    c.g = f;
    return c;
}

static struct ed_point add(const struct ed_point *p, const struct ed_point *q)
{
    struct fe zz = fe_mul(p->z, q->z);
    struct completed c =
        plus(p, fe_add(q->y, q->x), fe_sub(q->y, q->x), fe_mul(q->t, fe_2d), fe_add(zz, zz));
    struct ed_point out;
    finish_with_t(&out, &c);
    return out;
}

static struct ed_point doubled(struct ed_point p, unsigned times)
{
    while (times-- > 0) {
        struct completed c = twice(&p);
        finish_with_t(&p, &c);
    }
    return p;
}

/* ---- encodings ---- */

bool ed_decode(struct ed_point *out, const uint8_t bytes[32])
{
    uint8_t canonical[32];
    struct fe y = fe_from_bytes(bytes);
    fe_to_bytes(canonical, y);
    canonical[31] |= bytes[31] & 0x80;
    if (memcmp(canonical, bytes, sizeof canonical) != 0) return false;

    /* x^2 = u/v: a root of it, if there is one, is u v^3 (u v^7)^((p-5)/8), perhaps times that of
     * -1 (RFC 8032 5.1.3). */
    struct fe yy = fe_square(y);
    struct fe u = fe_sub(yy, fe_one);
    struct fe v = fe_add(fe_mul(yy, fe_d), fe_one);
    struct fe v3 = fe_mul(fe_square(v), v);
    struct fe v7 = fe_mul(fe_square(v3), v);
    struct fe x = fe_mul(fe_mul(u, v3), fe_pow_p58(fe_mul(u, v7)));
    struct fe square = fe_mul(v, fe_square(x));
    u = fe_mul(u, fe_one); /* tight again */
    if (!fe_is_zero(fe_sub(square, u))) {
        if (!fe_is_zero(fe_add(square, u))) return false;
        x = fe_mul(x, fe_sqrt_m1);
    }
    bool odd = (bytes[31] & 0x80) != 0;
    if (fe_is_zero(x) && odd) return false; /* minus zero */
    if (fe_is_odd(x) != odd) x = fe_mul(fe_sub(fe_zero, x), fe_one);
    *out = (struct ed_point){x, y, fe_one, fe_mul(x, y)};
    return true;
}

void ed_encode(uint8_t bytes[32], const struct ed_point *p)
{
    struct fe inverse = fe_invert(p->z);
    fe_to_bytes(bytes, fe_mul(p->y, inverse));
    if (fe_is_odd(fe_mul(p->x, inverse))) bytes[31] |= 0x80;
}

struct ed_point ed_negative(const struct ed_point *p)
{
    return (struct ed_point){fe_mul(fe_sub(fe_zero, p->x), fe_one), p->y, p->z,
                             fe_mul(fe_sub(fe_zero, p->t), fe_one)};
}

bool ed_small_order(const struct ed_point *p)
{
    /* Of eight times a point x is zero for the neutral element alone: the other point with x = 0
     * has order two, and what 8 times it were has order 16, which no point has. */
    struct ed_point eight = doubled(*p, 3);
    return fe_is_zero(eight.x);
}

/* ---- tables ---- */

/* points[i] to out[i], made affine by one inversion for all (Montgomery). None has z = 0: there is
 * no such point. */
static void make_affine(struct ed_multiple *out, const struct ed_point *points, unsigned count)
{
    struct fe before[MULTIPLES_MOST]; /* product of the z of all before */
    struct fe product = fe_one;
    for (unsigned i = 0; i < count; i++) {
        before[i] = product;
        product = fe_mul(product, points[i].z);
    }
    struct fe inverse = fe_invert(product);
    for (unsigned i = count; i-- > 0;) {
        struct fe z = fe_mul(inverse, before[i]);
        inverse = fe_mul(inverse, points[i].z);
        struct fe x = fe_mul(points[i].x, z), y = fe_mul(points[i].y, z);
        out[i].sum = fe_mul(fe_add(y, x), fe_one);
        out[i].difference = fe_mul(fe_sub(y, x), fe_one);
        out[i].product = fe_mul(fe_mul(x, y), fe_2d);
    }
}

static void multiples(struct ed_multiple *out, const struct ed_point *p, unsigned each)
{
    struct ed_point all[MULTIPLES_MOST];
    struct ed_point shifted = *p;
    for (unsigned piece = 0; piece < ED_PIECES; piece++) {
        struct ed_point *at = all + (size_t)piece * each;
        struct ed_point two = doubled(shifted, 1);
        at[0] = shifted;
        for (unsigned k = 1; k < each; k++)
            at[k] = add(&at[k - 1], &two);
        if (piece + 1 < ED_PIECES) shifted = doubled(shifted, PIECE_BITS);
    }
    make_affine(out, all, ED_PIECES * each);
}

void ed_key_tables(struct ed_key_tables *out, const struct ed_point *p)
{
    multiples(&out->at[0][0], p, ED_KEY_MULTIPLES);
}

void ed_init(void)
{
    /* y = 4/5, x even. */
    static const uint8_t encoded[32] = {0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                        0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                        0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                        0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};
    struct ed_point p;
    if (ed_decode(&p, encoded)) multiples(&base[0][0], &p, ED_BASE_MULTIPLES);
}

/* ---- s B + h A ---- */

/* All digits of all pieces of two scalars. Row 2i is the base's piece i, row 2i + 1 the key's. */
struct digits {
    int8_t at[2 * ED_PIECES][DIGITS];
    uint16_t rows[DIGITS]; /* which of them are not zero */
};

/* The piece as digits that are odd or zero, each followed by width - 1 zeros at least. */
static void recode(struct digits *d, unsigned row, uint32_t piece, unsigned width)
{
    uint64_t rest = piece; /* a negative digit carries beyond its 32 bits */
    for (unsigned position = 0; rest != 0; position++, rest >>= 1) {
        unsigned zeros = (unsigned)__builtin_ctzll(rest);
        position += zeros;
        rest >>= zeros;
        unsigned low = (unsigned)rest & ((1u << width) - 1);
        bool negative = low > 1u << (width - 1);
        d->at[row][position] = (int8_t)((int)low - (negative ? 1 << width : 0));
        d->rows[position] |= (uint16_t)(1u << row);
        rest -= low;
        if (negative) rest += 1u << width;
    }
}

static uint32_t piece_of(const uint8_t scalar[32], unsigned i)
{
    const uint8_t *at = scalar + (size_t)4 * i;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static struct completed add_digit(const struct ed_point *p, const struct ed_multiple *table,
                                  int digit)
{
    return digit > 0 ? plus_multiple(p, &table[digit / 2]) : minus_multiple(p, &table[-digit / 2]);
}

struct ed_point ed_double_multiply(const uint8_t s[32], const struct ed_key_tables *key,
                                   const uint8_t h[32])
{
    struct digits d;
    memset(&d, 0, sizeof d);
    for (unsigned i = 0; i < ED_PIECES; i++) {
        recode(&d, 2 * i, piece_of(s, i), ED_BASE_WIDTH);
        recode(&d, 2 * i + 1, piece_of(h, i), ED_KEY_WIDTH);
    }
    struct ed_point p = {fe_zero, fe_one, fe_one, fe_zero};
    unsigned position = DIGITS;
    while (position > 0 && d.rows[position - 1] == 0)
        position--;
    while (position-- > 0) {
        struct completed c = twice(&p);
        for (unsigned rows = d.rows[position]; rows != 0; rows &= rows - 1) {
            unsigned row = (unsigned)__builtin_ctz(rows);
            finish_with_t(&p, &c);
            c = add_digit(&p, row % 2 == 0 ? base[row / 2] : key->at[row / 2], d.at[row][position]);
        }
        finish(&p, &c);
    }
    return p;
}

#else
typedef int edwards25519_is_not_built; /* a translation unit must hold something */
#endif
