/**
 * bench/chain/client.h - a client of the chain: its key, and the puts that it signs, of the same
 * size as pbft-bench's (keys "key-0000000000", values of so many bytes).
 */
#ifndef PBFT_BENCH_CHAIN_CLIENT_H
#define PBFT_BENCH_CHAIN_CLIENT_H

#include "bench/chain/operation.h"
#include "bench/chain/random.h"

struct chain_client {
    struct pbft_keypair key;
    struct chain_random random;
    uint64_t t;           /* of the latest request */
    uint32_t keys;        /* drawn from */
    uint32_t bundle;      /* puts of one REQUEST, 1 .. CHAIN_BUNDLE_MAX */
    uint32_t value_bytes; /* 1 .. 4096 */
};

struct chain_client chain_client_seeded(uint64_t seed);
/* The next request. `out` takes CHAIN_REQUEST_BYTES; 0: it would be longer than that. */
size_t chain_client_next(struct chain_client *c, const struct pbft_digest *chain, uint8_t *out);
/* Another one for the request number of the latest: what a client signs who spends twice. */
size_t chain_client_again(struct chain_client *c, const struct pbft_digest *chain, uint8_t *out);

#endif
