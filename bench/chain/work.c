#include "bench/chain/work.h"

#include "pbft/wire.h"

#include <string.h>

#define LIMBS 8u

struct chain_u256 chain_u256_of(uint64_t value)
{
    return (struct chain_u256){{(uint32_t)value, (uint32_t)(value >> 32)}};
}

int chain_u256_compare(const struct chain_u256 *a, const struct chain_u256 *b)
{
    for (unsigned i = LIMBS; i-- > 0;)
        if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

struct chain_u256 chain_u256_add(const struct chain_u256 *a, const struct chain_u256 *b)
{
    struct chain_u256 sum;
    uint64_t carry = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (uint64_t)a->limb[i] + b->limb[i];
        sum.limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return sum;
}

static struct chain_u256 subtract(const struct chain_u256 *a, const struct chain_u256 *b)
{
    struct chain_u256 rest;
    uint64_t borrow = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        uint64_t value = (uint64_t)a->limb[i] - b->limb[i] - borrow;
        rest.limb[i] = (uint32_t)value;
        borrow = (value >> 32) & 1u;
    }
    return rest;
}

bool chain_u256_scale(const struct chain_u256 *a, uint32_t m, uint32_t d, struct chain_u256 *out)
{
    PBFT_ASSERT(d > 0);
    uint32_t wide[LIMBS + 1];
    uint64_t carry = 0, rest = 0;
    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (uint64_t)a->limb[i] * m;
        wide[i] = (uint32_t)carry;
        carry >>= 32;
    }
    wide[LIMBS] = (uint32_t)carry;
    for (unsigned i = LIMBS + 1; i-- > 0;) {
        rest = (rest << 32) | wide[i];
        wide[i] = (uint32_t)(rest / d);
        rest %= d;
    }
    memcpy(out->limb, wide, sizeof out->limb);
    return wide[LIMBS] == 0;
}

double chain_u256_double(const struct chain_u256 *a)
{
    double value = 0;
    for (unsigned i = LIMBS; i-- > 0;)
        value = value * 4294967296.0 + a->limb[i];
    return value;
}

struct chain_u256 chain_u256_of_hash(const struct pbft_digest *hash)
{
    struct chain_u256 value;
    for (unsigned i = 0; i < LIMBS; i++)
        value.limb[i] = pbft_get_u32(hash->bytes + (size_t)4 * i);
    return value;
}

static unsigned byte_at(const struct chain_u256 *a, unsigned index)
{
    return (a->limb[index / 4] >> (8 * (index % 4))) & 0xffu;
}

uint32_t chain_compact(const struct chain_u256 *target)
{
    unsigned size = 32;
    while (size > 1 && byte_at(target, size - 1) == 0)
        size--;
    /* The top bit of the mantissa is Bitcoin's sign: such a number takes one byte more. */
    if (byte_at(target, size - 1) >= 0x80u) size++;
    uint32_t mantissa = 0;
    for (unsigned i = 0; i < 3; i++) {
        mantissa <<= 8;
        if (size >= i + 1 && size - i - 1 < 32) mantissa |= byte_at(target, size - i - 1);
    }
    return (uint32_t)size << 24 | mantissa;
}

bool chain_target(uint32_t bits, struct chain_u256 *target)
{
    uint32_t size = bits >> 24, mantissa = bits & 0x7fffffu;
    if ((bits & 0x800000u) != 0 || mantissa == 0 || size == 0 || size > 33) return false;
    memset(target, 0, sizeof *target);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t byte = (mantissa >> (8 * (2 - i))) & 0xffu;
        if (byte == 0) continue;
        if (size < i + 1 || size - i - 1 >= 32) return false;
        unsigned at = size - i - 1;
        target->limb[at / 4] |= byte << (8 * (at % 4));
    }
    return chain_compact(target) == bits;
}

struct chain_u256 chain_work_of(const struct chain_u256 *target)
{
    /* 2^256 / (t+1) = (2^256 - 1 - t) / (t+1) + 1, which fits into 256 bits. */
    struct chain_u256 one = chain_u256_of(1), divisor = chain_u256_add(target, &one);
    struct chain_u256 rest = {{0}}, quotient = {{0}};
    if (chain_u256_compare(&divisor, &rest) == 0) return one;
    for (unsigned bit = 256; bit-- > 0;) {
        /* rest < divisor <= 2^256 - 1, but its double may be longer: what is shifted out counts. */
        uint32_t out = rest.limb[LIMBS - 1] >> 31;
        rest = chain_u256_add(&rest, &rest);
        rest.limb[0] |= (~target->limb[bit / 32] >> (bit % 32)) & 1u;
        if (out == 0 && chain_u256_compare(&rest, &divisor) < 0) continue;
        rest = subtract(&rest, &divisor);
        quotient.limb[bit / 32] |= UINT32_C(1) << (bit % 32);
    }
    return chain_u256_add(&quotient, &one);
}

uint32_t chain_retarget(uint32_t bits, uint32_t limit_bits, int64_t actual_ms, uint32_t expected_ms)
{
    struct chain_u256 target, limit, next;
    bool valid = chain_target(bits, &target) && chain_target(limit_bits, &limit);
    PBFT_ASSERT(valid);
    PBFT_ASSERT(expected_ms > 0 && expected_ms <= 1u << 30);
    int64_t least = expected_ms / CHAIN_RETARGET_FACTOR;
    int64_t most = (int64_t)expected_ms * CHAIN_RETARGET_FACTOR;
    if (least == 0) least = 1;
    if (actual_ms < least) actual_ms = least;
    /* 2^32 exactly where expected_ms is 2^30. */
    if (most > UINT32_MAX) most = UINT32_MAX;
    if (actual_ms > most) actual_ms = most;
    if (!chain_u256_scale(&target, (uint32_t)actual_ms, expected_ms, &next) ||
        chain_u256_compare(&next, &limit) > 0)
        return limit_bits;
    struct chain_u256 zero = {{0}};
    if (chain_u256_compare(&next, &zero) == 0) next = chain_u256_of(1);
    return chain_compact(&next);
}
