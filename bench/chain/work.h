/**
 * bench/chain/work.h - 256-bit numbers, targets, work, and the retargeting rule.
 *
 * A block's hash, read as a little-endian number, must not exceed its target. Targets travel as
 * Bitcoin's compact form: an exponent in the top byte, 23 bits of mantissa; here only its one
 * canonical form is accepted. Work is what a target makes probable: 2^256 / (target + 1) hashes.
 */
#ifndef PBFT_BENCH_CHAIN_WORK_H
#define PBFT_BENCH_CHAIN_WORK_H

#include "pbft/types.h"

struct chain_u256 {
    uint32_t limb[8]; /* the least significant first */
};

struct chain_u256 chain_u256_of(uint64_t value);
int chain_u256_compare(const struct chain_u256 *a, const struct chain_u256 *b);
/* Modulo 2^256. */
struct chain_u256 chain_u256_add(const struct chain_u256 *a, const struct chain_u256 *b);
/* a * m / d, in between without a bound; false where the quotient has more than 256 bits. d > 0. */
bool chain_u256_scale(const struct chain_u256 *a, uint32_t m, uint32_t d, struct chain_u256 *out);
/* For rates and reports: nearest double. */
double chain_u256_double(const struct chain_u256 *a);

/* A hash as a number. */
struct chain_u256 chain_u256_of_hash(const struct pbft_digest *hash);

/* False for zero, negative, oversized and non-canonical compact forms. */
bool chain_target(uint32_t bits, struct chain_u256 *target);
/* The greatest canonical compact form that does not exceed `target`, which is not 0. */
uint32_t chain_compact(const struct chain_u256 *target);
/* 2^256 / (target + 1), at least 1. */
struct chain_u256 chain_work_of(const struct chain_u256 *target);

/**
 * The target after a period: the old one times (what the period took / what it should have taken),
 * the quotient held within 1/4 .. 4, the result never easier than `limit_bits`.
 *
 * bits, limit_bits  valid compact forms
 * actual_ms         may be negative: timestamps are the miners' word (median-time-past only)
 * expected_ms       1 .. 2^30
 */
uint32_t chain_retarget(uint32_t bits, uint32_t limit_bits, int64_t actual_ms,
                        uint32_t expected_ms);
#define CHAIN_RETARGET_FACTOR 4u

#endif
