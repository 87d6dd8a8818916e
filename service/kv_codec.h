/**
 * service/kv_codec.h - operations of the coordination service as bytes, for the service itself.
 * Clients use the encoders in service/kv.h.
 *
 *     PUT     u8 1, key, value               key, value, prefix, expected: u32 size, bytes
 *     GET     u8 2, key
 *     DELETE  u8 3, key
 *     RANGE   u8 4, prefix, u32 limit        (0 = as many as fit)
 *     CAS     u8 5, key, u8 expect_present, expected (empty if absent is expected), value
 *
 * Results: u8 status, u8 op, then
 *
 *     PUT, CAS            OK              u64 revision, meta
 *     CAS                 COMPARE_FAILED  u64 revision, meta, u32 size, value found
 *     DELETE              OK, NOT_FOUND   u64 revision
 *     GET                 OK              meta, u32 size, value
 *     GET                 NOT_FOUND       nothing
 *     RANGE               OK              u32 count, u8 more, count * (u32 size, key, u32 size,
 *                                         value, meta), keys strictly ascending
 *     any (0 if unknown)  BAD_REQUEST     nothing
 *
 * meta is u64 create revision, u64 mod revision, u64 version; all zero with an empty value where
 * CAS found no key.
 */
#ifndef PBFT_SERVICE_KV_CODEC_H
#define PBFT_SERVICE_KV_CODEC_H

#include "service/kv.h"

#define PBFT_KV_META_BYTES 24u

struct pbft_kv_request {
    uint8_t op; /* enum pbft_kv_op; echoed in the result even when the rest is bad, 0 if unknown */
    struct pbft_span key; /* RANGE: the prefix */
    struct pbft_span value;
    struct pbft_span expected; /* CAS */
    bool expect_present;       /* CAS */
    uint32_t limit;            /* RANGE */
};

/* False if the bytes are not canonical or beyond a bound of `p` (PROTOCOL 9). Spans point into
 * `bytes`. */
bool pbft_kv_decode_op(struct pbft_span bytes, const struct pbft_params *p,
                       struct pbft_kv_request *out);

void pbft_kv_put_meta(uint8_t out[PBFT_KV_META_BYTES], const struct pbft_kv_meta *meta);
struct pbft_kv_meta pbft_kv_get_meta(const uint8_t bytes[PBFT_KV_META_BYTES]);

#endif
