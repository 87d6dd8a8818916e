#include "bench/chain/operation.h"

#include "bench/chain/hash.h"
#include "crypto/hash.h"
#include "pbft/wire.h"

#include <string.h>

/* PBFT's defaults, with less of what one REQUEST may hold. */
static struct pbft_params bounds(void)
{
    struct pbft_params p = pbft_params_default(PBFT_REPLICAS_MIN);
    p.bundle_max_ops = CHAIN_BUNDLE_MAX;
    return p;
}

enum chain_verdict chain_operation_read(struct pbft_span frame, struct chain_operation *out)
{
    struct pbft_params p = bounds();
    struct pbft_arena arena = {NULL, 0, 0}; /* a REQUEST needs none */
    struct pbft_msg msg;
    if (frame.size > CHAIN_REQUEST_BYTES || frame.size < PBFT_WIRE_HEADER_BYTES ||
        frame.data[0] != PBFT_REQUEST || pbft_wire_decode(frame, &p, &arena, &msg) != PBFT_OK ||
        msg.epoch != 0 || !pbft_public_key_valid(&msg.request.client))
        return CHAIN_DROP_OPERATION;
    uint8_t slot[PBFT_PUBLIC_KEY_BYTES + 16];
    memcpy(slot, msg.request.client.bytes, PBFT_PUBLIC_KEY_BYTES);
    pbft_put_u64(slot + PBFT_PUBLIC_KEY_BYTES, msg.request.session);
    pbft_put_u64(slot + PBFT_PUBLIC_KEY_BYTES + 8, msg.request.t);
    chain_sha256d(&out->slot, slot, sizeof slot);
    chain_sha256d(&out->id, frame.data, frame.size);
    out->frame = frame;
    out->op_count = msg.request.op_count;
    out->ops = msg.request.ops;
    return CHAIN_OK;
}

static struct pbft_span message(struct pbft_span frame, const struct pbft_digest *chain,
                                uint8_t bytes[PBFT_SIGNED_MAX_BYTES])
{
    struct pbft_digest digest;
    pbft_digest_request(&digest, pbft_wire_signed_body(frame));
    struct pbft_span body = {digest.bytes, sizeof digest.bytes};
    return (struct pbft_span){bytes, pbft_wire_signed_bytes(PBFT_REQUEST, chain, 0, body, bytes)};
}

bool chain_operation_signed(struct pbft_span frame, const struct pbft_digest *chain)
{
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    struct pbft_public_key client;
    /* The body of a REQUEST opens with the key. */
    memcpy(client.bytes, pbft_wire_signed_body(frame).data, sizeof client.bytes);
    return pbft_verify(&client, message(frame, chain, bytes),
                       frame.data + pbft_wire_signature_offset(frame));
}

enum chain_verdict chain_operation_open(struct pbft_span frame, const struct pbft_digest *chain,
                                        struct chain_operation *out)
{
    enum chain_verdict verdict = chain_operation_read(frame, out);
    if (verdict == CHAIN_OK && !chain_operation_signed(frame, chain))
        verdict = CHAIN_DROP_SIGNATURE;
    return verdict;
}

size_t chain_operation_make(const struct pbft_keypair *client, const struct pbft_digest *chain,
                            uint64_t session, uint64_t t, const struct pbft_span *ops,
                            uint32_t count, uint8_t *out, size_t capacity)
{
    static uint8_t items[CHAIN_REQUEST_BYTES];
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].size > sizeof items - used || sizeof items - used - ops[i].size < 4) return 0;
        pbft_put_u32(items + used, (uint32_t)ops[i].size);
        memcpy(items + used + 4, ops[i].data, ops[i].size);
        used += 4 + ops[i].size;
    }
    struct pbft_msg msg = {.type = PBFT_REQUEST};
    msg.request.client = client->public;
    msg.request.session = session;
    msg.request.t = t;
    msg.request.op_count = count;
    msg.request.ops = (struct pbft_span){items, used};
    size_t size = pbft_wire_encode(&msg, out, capacity);
    struct chain_operation check;
    struct pbft_span frame = {out, size};
    if (size == 0 || chain_operation_read(frame, &check) != CHAIN_OK) return 0;
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    pbft_sign(&client->secret, message(frame, chain, bytes),
              out + pbft_wire_signature_offset(frame));
    return size;
}
