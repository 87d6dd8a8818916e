/**
 * service/service.h - how a service is written: one function that executes an operation in order,
 * and one that answers a read. The engine gives durability, snapshots, state transfer, rollback
 * and exactly-once; the author writes only what his operation does.
 *
 * Rules for `execute`: the result and every change of state follow from (state, call, op) alone. No
 * clock (call->time_ns is the agreed one), no randomness, no iteration over pointers, no state
 * outside the transaction. Operations are hostile input: answer bad ones with a result. One that
 * begins with the engine's own 16 bytes (crypto/replace.h) never comes here.
 */
#ifndef PBFT_SERVICE_H
#define PBFT_SERVICE_H

#include "pbft/types.h"

/* What is known about an operation besides its bytes. Lives for the call. */
struct pbft_call {
    const struct pbft_public_key *client;
    uint32_t client_index; /* in genesis; 0 is the admin */
    uint64_t session;
    uint64_t t;        /* request number */
    uint32_t op_index; /* position in the bundle */
    pbft_seq seq;      /* the batch's sequence number */
    uint64_t time_ns;  /* agreed effective time, PROTOCOL 11; never decreases */
};

/* Read-write access to the service's part of the state; borrowed for the call. Keys and values are
 * within the cluster's key_max_bytes and value_max_bytes (+ PBFT_TXN_KEY_SLACK and
 * PBFT_TXN_VALUE_SLACK for a service's own keyspaces and header): a put beyond them returns false
 * and changes nothing. Spans read from a transaction or a view die with the next put or delete, or
 * with the call; as arguments of that put or delete they are fine. */
#define PBFT_TXN_KEY_SLACK   16u
#define PBFT_TXN_VALUE_SLACK 64u
struct pbft_txn;
/* The cluster's parameters; a service judges its clients' bounds by them (PROTOCOL 9). */
const struct pbft_params *pbft_txn_params(const struct pbft_txn *txn);
bool pbft_txn_get(struct pbft_txn *txn, struct pbft_span key, struct pbft_span *value);
bool pbft_txn_put(struct pbft_txn *txn, struct pbft_span key, struct pbft_span value);
/* The same with the value in two parts: a service's header, then its client's bytes. */
bool pbft_txn_put2(struct pbft_txn *txn, struct pbft_span key, struct pbft_span head,
                   struct pbft_span tail);
bool pbft_txn_delete(struct pbft_txn *txn, struct pbft_span key); /* false: was not there */
/* Calls `each` for keys in [from, to) in order until it returns false; `to` empty: no upper end.
 * The state must not be changed from inside. */
typedef bool (*pbft_txn_scan_fn)(void *context, struct pbft_span key, struct pbft_span value);
void pbft_txn_scan(struct pbft_txn *txn, struct pbft_span from, struct pbft_span to,
                   pbft_txn_scan_fn each, void *context);

/* Read-only access for queries. Each read also raises *mark to the change mark of what was read
 * (PROTOCOL 32): the highest sequence number that changed the pages touched. A service that knows a
 * tighter mark (a key's modification revision) may set its own instead. */
struct pbft_view_txn;
const struct pbft_params *pbft_view_params(const struct pbft_view_txn *view);
bool pbft_view_get(struct pbft_view_txn *view, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark);
void pbft_view_scan(struct pbft_view_txn *view, struct pbft_span from, struct pbft_span to,
                    pbft_txn_scan_fn each, void *context, uint64_t *mark);
/* For a service's `prefetch` only. */
void pbft_view_prefetch(struct pbft_view_txn *view, struct pbft_span key);

/* Where a result is written. Beyond `capacity` (this operation's share of the cluster's
 * reply_max_bytes) writes fail: the writer turns `overflow` on, the engine drops this result, gives
 * the request the outcome INVALID with the results before this one, and executes no further
 * operation of it. What this operation changed stays changed, so write the result first, or ask
 * pbft_result_reserve() before the first change. */
struct pbft_result {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    bool overflow;
};
/* Whether `size` more bytes fit; turns `overflow` on if not. */
bool pbft_result_reserve(struct pbft_result *r, size_t size);
void pbft_result_write(struct pbft_result *r, const void *bytes, size_t size);
void pbft_result_u8(struct pbft_result *r, uint8_t v);
void pbft_result_u32(struct pbft_result *r, uint32_t v);
void pbft_result_u64(struct pbft_result *r, uint64_t v);

struct pbft_service {
    const char *name; /* <= 31 characters; part of the cluster id */
    void *context;    /* handed to each function; constant, never state */
    /* The state before the first proposal. May be NULL: empty. */
    void (*genesis)(void *context, struct pbft_txn *txn);
    /* One operation. Must write a result (an empty one is allowed). */
    void (*execute)(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                    struct pbft_span op, struct pbft_result *result);
    /* Which key an operation will look up first: pbft_view_prefetch() it, or nothing. Called some
     * operations ahead, only to have the key's entry in the caches by then; the state that it sees
     * is none in particular. May be NULL. */
    void (*prefetch)(void *context, struct pbft_view_txn *view, struct pbft_span op);
    /* One read of a bundle. `mark` starts at 0. May be NULL: no fast reads. */
    void (*query)(void *context, struct pbft_view_txn *view, struct pbft_span op,
                  struct pbft_result *result, uint64_t *mark);
};

#endif
