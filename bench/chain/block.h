/**
 * bench/chain/block.h - the parameters of a chain, block headers, blocks, and the verdicts on what
 * others send.
 *
 * Everything is little-endian, fixed width and canonical: one byte string for a block, trailing
 * bytes are refused.
 *
 *     header   u32 version, u32 bits, 32 parent, 32 Merkle root, u64 time (ms since 1970),
 *              u64 miner, u64 nonce                                                 96 bytes
 *     block    header, u32 count, count * (u32 size, REQUEST frame)
 *
 * The hash of a block is SHA-256d of its header. `miner` stands in for a coinbase: whoever finds a
 * block says who he is, nobody proves it, and revenue is counted by it.
 */
#ifndef PBFT_BENCH_CHAIN_BLOCK_H
#define PBFT_BENCH_CHAIN_BLOCK_H

#include "bench/chain/work.h"

#define CHAIN_VERSION         1u
#define CHAIN_HEADER_BYTES    96u
#define CHAIN_BLOCK_MIN_BYTES (CHAIN_HEADER_BYTES + 4u)
#define CHAIN_BLOCK_MAX_BYTES 1048576u /* of any chain */
#define CHAIN_PARAMS_BYTES    40u

#define CHAIN_VERDICTS(X)                                                                          \
    X(CHAIN_OK, "ok")                                                                              \
    X(CHAIN_DROP_MALFORMED, "malformed") /* not the canonical encoding of anything */              \
    X(CHAIN_DROP_SIZE, "size")           /* beyond a bound */                                      \
    X(CHAIN_DROP_VERSION, "version")                                                               \
    X(CHAIN_DROP_CHAIN, "chain")         /* of another chain */                                    \
    X(CHAIN_DROP_WORK, "work")           /* the hash exceeds the target */                         \
    X(CHAIN_DROP_BITS, "bits")           /* not the target that retargeting demands */             \
    X(CHAIN_DROP_TIME, "time")           /* not after median-time-past, or too far ahead */        \
    X(CHAIN_DROP_MERKLE, "merkle")       /* the operations are not those of the root */            \
    X(CHAIN_DROP_OPERATION, "operation") /* not a canonical REQUEST, or an unusable key */         \
    X(CHAIN_DROP_SIGNATURE, "signature") /* of an operation */                                     \
    X(CHAIN_DROP_REPLAY, "replay")       /* a request number executed or pending already */        \
    X(CHAIN_DROP_PARENT, "parent")       /* on top of an invalid block */                          \
    X(CHAIN_DROP_ORPHAN, "orphan")       /* parent unknown; kept for a while */                    \
    X(CHAIN_DROP_DUPLICATE, "duplicate") /* held already */                                        \
    X(CHAIN_DROP_DEEP, "deep")           /* forks off further back than is followed */             \
    X(CHAIN_DROP_FULL, "full")           /* no room */                                             \
    X(CHAIN_DROP_QUOTA, "quota")         /* more than a peer may ask or send */

enum chain_verdict {
#define X(name, text) name,
    CHAIN_VERDICTS(X)
#undef X
        CHAIN_VERDICT_COUNT
};
/* Static text; "?" out of range. */
const char *chain_verdict_text(enum chain_verdict verdict);

/* What all nodes of a chain must agree on; its hash is in the genesis block. */
struct chain_params {
    uint64_t genesis_ms;      /* time of the genesis block */
    uint64_t name;            /* tells chains of equal parameters apart */
    uint32_t spacing_ms;      /* aim: a block in so much time; 1 .. 600000 */
    uint32_t retarget_blocks; /* a new target at each height that is a multiple; 4 .. 1024 */
    uint32_t start_bits;      /* target of the first period */
    uint32_t limit_bits;      /* no target is easier */
    uint32_t block_max_bytes; /* CHAIN_BLOCK_MIN_BYTES .. CHAIN_BLOCK_MAX_BYTES */
    uint32_t future_ms;       /* how far a block's time may be ahead of one's own clock */
};

/* A block every 5 s, retargeted every 32, 64 KiB; regtest's limit. */
struct chain_params chain_params_default(void);
/* NULL if within bounds, else one sentence (static). */
const char *chain_params_check(const struct chain_params *p);
void chain_params_encode(const struct chain_params *p, uint8_t out[CHAIN_PARAMS_BYTES]);
void chain_params_decode(struct chain_params *p, const uint8_t bytes[CHAIN_PARAMS_BYTES]);

struct chain_header {
    uint32_t version;
    uint32_t bits;
    struct pbft_digest parent;
    struct pbft_digest merkle;
    uint64_t time_ms;
    uint64_t miner;
    uint64_t nonce;
};

void chain_header_encode(const struct chain_header *h, uint8_t out[CHAIN_HEADER_BYTES]);
void chain_header_decode(struct chain_header *h, const uint8_t bytes[CHAIN_HEADER_BYTES]);
void chain_header_hash(struct pbft_digest *out, const struct chain_header *h);
/* Whether the hash is at most the target that `bits` stand for; false where they stand for none. */
bool chain_header_works(const struct pbft_digest *hash, uint32_t bits);

/* Try nonces from h->nonce on, at most `tries`; true with the nonce set when one works. Sets
 * h->nonce to the next untried one otherwise. */
bool chain_grind(struct chain_header *h, uint64_t tries);

/* The header of the block at height 0; its hash is the chain's id. It has no operations, and its
 * nonce is 0: it is agreed on, not found. */
void chain_genesis(const struct chain_params *p, struct chain_header *out, struct pbft_digest *id);

/* Size of a block of these operations' frames. */
size_t chain_block_bytes(const struct pbft_span *frames, uint32_t count);
/* Encode header and frames; the header's Merkle root is set first. `out` has that size. Returns
 * false when out of memory. */
bool chain_block_encode(struct chain_header *h, const struct pbft_span *frames, uint32_t count,
                        uint8_t *out);

/* Reads the frames of a block one by one; the sizes are checked before they are believed. */
struct chain_reader {
    const uint8_t *at;
    size_t left;
    uint32_t count; /* as the block says; at most left / 4 */
    bool bad;       /* sticky */
};
/* False: too short, or a count that cannot be true. */
bool chain_block_read(struct pbft_span block, struct chain_header *h, struct chain_reader *r);
/* False at the end, and when bad. After the last frame, trailing bytes make it bad. */
bool chain_reader_next(struct chain_reader *r, struct pbft_span *frame);

#endif
