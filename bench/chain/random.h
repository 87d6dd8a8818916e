/**
 * bench/chain/random.h - xoshiro256**, seeded by splitmix64 (Blackman and Vigna): equal seeds give
 * equal simulations. Not for secrets.
 */
#ifndef PBFT_BENCH_CHAIN_RANDOM_H
#define PBFT_BENCH_CHAIN_RANDOM_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

struct chain_random {
    uint64_t s[4];
};

static inline struct chain_random chain_random_seed(uint64_t seed)
{
    struct chain_random r;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9E3779B97F4A7C15));
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        r.s[i] = z ^ (z >> 31);
    }
    return r;
}

static inline uint64_t chain_random_rotate(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

static inline uint64_t chain_random_next(struct chain_random *r)
{
    uint64_t *s = r->s, result = chain_random_rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = chain_random_rotate(s[3], 45);
    return result;
}

/* [0, 1) */
static inline double chain_random_unit(struct chain_random *r)
{
    return (double)(chain_random_next(r) >> 11) * 0x1p-53;
}

static inline bool chain_random_chance(struct chain_random *r, double probability)
{
    return chain_random_unit(r) < probability;
}

static inline double chain_random_exponential(struct chain_random *r, double mean)
{
    return -mean * log(1.0 - chain_random_unit(r));
}

#endif
