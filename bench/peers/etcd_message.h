/**
 * bench/peers/etcd_message.h - the four messages of etcd's API v3 that a load needs, as gRPC
 * frames: a byte that says whether it is compressed, the length in four bytes (big-endian), and a
 * protobuf message (etcd 3.4, etcdserver/etcdserverpb/rpc.proto and mvcc/mvccpb/kv.proto). No I/O.
 */
#ifndef PBFT_BENCH_PEERS_ETCD_MESSAGE_H
#define PBFT_BENCH_PEERS_ETCD_MESSAGE_H

#include "pbft/types.h"

#define ETCD_FRAME_HEAD  5u
#define ETCD_FRAME_SLACK 32u /* of a request's frame, beyond its key and value */

/* Encode a frame with a PutRequest, or with a RangeRequest (linearizable) for one key. `capacity`
 * of `out` in bytes; returns the frame's size, 0 if it does not fit. */
size_t etcd_put_encode(uint8_t *out, size_t capacity, struct pbft_span key, struct pbft_span value);
size_t etcd_range_encode(uint8_t *out, size_t capacity, struct pbft_span key);

/* Whether the frame is whole, not compressed, and holds a PutResponse with a header that names a
 * revision. */
bool etcd_put_decode(struct pbft_span frame);

/* The same for a RangeResponse with `key`, or with nothing (`value->data` NULL). A value lies in
 * the frame; an empty one has `value->data` not NULL. */
bool etcd_range_decode(struct pbft_span frame, struct pbft_span key, struct pbft_span *value);

#endif
