/**
 * service/kv.h - the built-in coordination service: keys with etcd-style revisions.
 *
 * One store revision counts changes. Each key keeps the revision that created it, the one that
 * last modified it, and its version (changes since it was created).
 *
 * Operations and results are canonical little-endian bytes; the encoders are here so that clients
 * share them. A result starts with a status byte (enum pbft_kv_status).
 */
#ifndef PBFT_SERVICE_KV_H
#define PBFT_SERVICE_KV_H

#include "service/service.h"

extern const struct pbft_service pbft_kv_service; /* name "kv" */

enum pbft_kv_op {
    PBFT_KV_PUT = 1,    /* key, value */
    PBFT_KV_GET = 2,    /* key */
    PBFT_KV_DELETE = 3, /* key */
    PBFT_KV_RANGE = 4,  /* prefix, limit u32 (0 = as many as fit) */
    PBFT_KV_CAS = 5,    /* key, expect_present u8, expected value, new value */
};

enum pbft_kv_status {
    PBFT_KV_OK = 0,
    PBFT_KV_NOT_FOUND = 1,
    PBFT_KV_COMPARE_FAILED = 2,
    PBFT_KV_BAD_REQUEST = 3, /* not an operation of ours, or beyond a bound */
};

struct pbft_kv_meta {
    uint64_t create_revision;
    uint64_t mod_revision;
    uint64_t version;
};

struct pbft_kv_entry {
    struct pbft_span key;
    struct pbft_span value;
    struct pbft_kv_meta meta;
};

/* Keys have 1 .. key_max_bytes bytes, values 0 .. value_max_bytes; anything else is a BAD_REQUEST.
 * A RANGE stops before its results outgrow what the reply can hold, and then says more = 1; one
 * whose first entry alone is too large has count 0 and more = 1. */

/* A decoded result; spans point into the result's bytes. */
struct pbft_kv_result {
    uint8_t status; /* enum pbft_kv_status */
    uint8_t op;     /* echoed, enum pbft_kv_op */
    uint64_t
        revision; /* PUT/DELETE/CAS: store revision after it. GET/RANGE ordered or fast: 0, so that
                   * equal contents of different states match only through marks (PROTOCOL 32) */
    struct pbft_kv_meta
        meta; /* of the key: PUT, GET, CAS (on COMPARE_FAILED: of the key found, or zero) */
    struct pbft_span value;   /* GET: the value; CAS COMPARE_FAILED: the value found */
    uint32_t count;           /* RANGE: entries in this result */
    uint8_t more;             /* RANGE: 1 if there are more keys */
    struct pbft_span entries; /* RANGE: walk with pbft_kv_next_entry() */
};

/* Encoders return the size in bytes, 0 if `capacity` does not suffice. */
size_t pbft_kv_encode_put(uint8_t *out, size_t capacity, struct pbft_span key,
                          struct pbft_span value);
size_t pbft_kv_encode_get(uint8_t *out, size_t capacity, struct pbft_span key);
size_t pbft_kv_encode_delete(uint8_t *out, size_t capacity, struct pbft_span key);
size_t pbft_kv_encode_range(uint8_t *out, size_t capacity, struct pbft_span prefix, uint32_t limit);
size_t pbft_kv_encode_cas(uint8_t *out, size_t capacity, struct pbft_span key, bool expect_present,
                          struct pbft_span expected, struct pbft_span value);
/* False if the bytes are not a canonical result (a lying replica's, say). */
bool pbft_kv_decode_result(struct pbft_span bytes, struct pbft_kv_result *out);
bool pbft_kv_next_entry(struct pbft_span entries, size_t *cursor, struct pbft_kv_entry *out);

#endif
