/* tests/unit/chain_fixture.h - keys, operations and blocks of a chain whose work is trivially
 * little (regtest's limit), for the tests of bench/chain. */
#ifndef PBFT_TESTS_UNIT_CHAIN_FIXTURE_H
#define PBFT_TESTS_UNIT_CHAIN_FIXTURE_H

#include "bench/chain/hash.h"
#include "bench/chain/node.h"
#include "pbft/wire.h"
#include "service/kv.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define EASY_BITS 0x207fffffu
#define NOW_MS    UINT64_C(1800000000000)

struct bytes {
    uint8_t at[4096];
    size_t size;
};

static inline struct pbft_span span_of(const struct bytes *b)
{
    return (struct pbft_span){b->at, b->size};
}

static inline struct pbft_span text(const char *s)
{
    return (struct pbft_span){(const uint8_t *)s, strlen(s)};
}

static inline struct chain_params easy_params(void)
{
    struct chain_params p = chain_params_default();
    p.genesis_ms = NOW_MS - 1000000;
    p.spacing_ms = 1000;
    p.retarget_blocks = 1024;
    p.start_bits = p.limit_bits = EASY_BITS;
    p.block_max_bytes = 4096;
    return p;
}

static inline struct pbft_keypair client_key(uint8_t number)
{
    uint8_t seed[32] = {number, 77};
    struct pbft_keypair k;
    pbft_keypair_from_seed(&k, seed);
    return k;
}

/* put KEY VALUE as request `t` of client `number`. */
static inline struct bytes put(const struct pbft_digest *chain, uint8_t number, uint64_t t,
                               const char *key, const char *value)
{
    struct bytes frame = {.size = 0};
    uint8_t op[512];
    size_t size = pbft_kv_encode_put(op, sizeof op, text(key), text(value));
    struct pbft_keypair k = client_key(number);
    struct pbft_span ops = {op, size};
    frame.size = chain_operation_make(&k, chain, 1, t, &ops, 1, frame.at, sizeof frame.at);
    cr_assert_gt(frame.size, 0);
    return frame;
}

/* A block on `parent`; the time: `after_ms` behind its parent's. */
static inline struct bytes block_on(const struct pbft_digest *parent, uint64_t time_ms,
                                    uint32_t bits, uint64_t miner, const struct bytes *ops,
                                    uint32_t count)
{
    struct bytes out = {.size = 0};
    struct pbft_span frames[16];
    struct chain_header h = {.version = CHAIN_VERSION,
                             .bits = bits,
                             .parent = *parent,
                             .time_ms = time_ms,
                             .miner = miner};
    for (uint32_t i = 0; i < count; i++)
        frames[i] = span_of(&ops[i]);
    out.size = chain_block_bytes(frames, count);
    cr_assert_leq(out.size, sizeof out.at);
    cr_assert(chain_block_encode(&h, frames, count, out.at));
    cr_assert(chain_grind(&h, 1u << 24));
    chain_header_encode(&h, out.at);
    return out;
}

static inline struct pbft_digest hash_of(const struct bytes *block)
{
    struct pbft_digest hash;
    chain_sha256d(&hash, block->at, CHAIN_HEADER_BYTES);
    return hash;
}

/* After a change of the header: work anew, so that only the change is wrong. */
static inline void rework(struct bytes *block)
{
    struct chain_header h;
    chain_header_decode(&h, block->at);
    cr_assert(chain_grind(&h, 1u << 24));
    chain_header_encode(&h, block->at);
}

static inline bool has(const struct chain_tree *t, const char *key, const char *value)
{
    struct pbft_span found;
    if (!chain_state_get(&t->state, text(key), &found)) return value == NULL;
    return value != NULL && found.size == strlen(value) &&
           memcmp(found.data, value, found.size) == 0;
}

#endif
