/**
 * bench/chain/operation.h - an operation of the chain: a REQUEST as PBFT's clients sign it
 * (pbft/wire.h), over the chain's id where theirs is over the cluster's.
 *
 * A chain knows no list of clients: any valid key may sign. What makes an operation happen once is
 * its slot, the triple of key, session and request number: of all requests signed for one slot, a
 * branch of the chain holds at most one. A client that signs two spends twice.
 */
#ifndef PBFT_BENCH_CHAIN_OPERATION_H
#define PBFT_BENCH_CHAIN_OPERATION_H

#include "bench/chain/block.h"
#include "crypto/keys.h"

#define CHAIN_BUNDLE_MAX    256u /* puts of one REQUEST */
#define CHAIN_REQUEST_BYTES 65536u

struct chain_operation {
    struct pbft_span frame; /* borrowed */
    struct pbft_digest id;  /* SHA-256d of the frame */
    struct pbft_digest slot;
    uint32_t op_count;
    struct pbft_span ops; /* op_count * (u32 size, bytes); points into the frame */
};

/* Structure, bounds and key, not the signature: CHAIN_OK or CHAIN_DROP_OPERATION. */
enum chain_verdict chain_operation_read(struct pbft_span frame, struct chain_operation *out);
/* The same and the signature over `chain`: also CHAIN_DROP_SIGNATURE. */
enum chain_verdict chain_operation_open(struct pbft_span frame, const struct pbft_digest *chain,
                                        struct chain_operation *out);
/* Of a frame that chain_operation_read() accepted. */
bool chain_operation_signed(struct pbft_span frame, const struct pbft_digest *chain);

/**
 * Sign a REQUEST of `count` encoded service operations (service/kv.h).
 *
 * t        request number, from 1
 * Returns  its size, 0 if it is longer than `capacity` or a bound
 */
size_t chain_operation_make(const struct pbft_keypair *client, const struct pbft_digest *chain,
                            uint64_t session, uint64_t t, const struct pbft_span *ops,
                            uint32_t count, uint8_t *out, size_t capacity);

#endif
