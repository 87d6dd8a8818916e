/**
 * replica/apply_internal.h - shared by apply.c (execution), apply_session.c (the session table in
 * the state tree) and apply_reply.c (frames).
 *
 * The state tree, by first byte; numbers inside keys are big-endian, so that they sort:
 *
 *     0x10 service's keys (service/txn.h)
 *     0x20 client u32                                   u64 highest session ever opened,
 *                                                       u32 sessions open
 *     0x30 client u32, session u64                      u64 max_t, u64 last active (agreed time)
 *     0x30 client u32, session u64, slot u32            record: see struct apply_record
 *     0x30 client u32, session u64, slot u32, part u8   more of a large record's body
 *     0x40 last active u64, client u32, session u64     (empty): sessions by age
 *     0x50                                              u64 seq, u64 effective time,
 *                                                       u32 sessions open
 *     0x60                                              the newest replacement of a key: u32 epoch
 *                                                       that it begins, u32 replica, key 32, u64
 * last sequence number of the epoch before
 *
 * A client's keys (0x20) hardly ever change; they stand between the service's pages and those that
 * every batch changes.
 */
#ifndef PBFT_REPLICA_APPLY_INTERNAL_H
#define PBFT_REPLICA_APPLY_INTERNAL_H

#include "pbft/quorum.h"
#include "pbft/session.h"
#include "replica/apply.h"
#include "service/txn.h"

/* A record's first part: t, seq, body size u32, outcome u8, request digest; then body. A later part
 * is body only. */
#define APPLY_RECORD_BYTES 53u
#define APPLY_PART_BYTES   1048576u /* body bytes in a part; a value of the tree holds one */
#define APPLY_ITEM_BYTES   4u       /* a result's length */
#define APPLY_MARK_BYTES   8u       /* a fast read's change mark */

/* Entries deleted for retired sessions in one batch are bounded: once so many are gone, the next
 * session waits for the next batch (its due time has passed, so one follows at once, PROTOCOL 12).
 */
#define APPLY_RETIRE_ENTRIES_MAX 4096u

struct apply_session {
    uint32_t client;
    uint64_t number;
    uint64_t max_t;
    uint64_t last_active; /* at most idle/16 behind the last execution, so that the index by age
                           * changes rarely */
    bool open;
};

struct apply_client {
    uint64_t highest;
    uint32_t open;
};

/* The answer to one request; body borrowed from the tree or from apply->scratch. */
struct apply_answer {
    uint8_t outcome;
    pbft_seq seq;
    struct pbft_digest request;
    struct pbft_span body;
};

struct pbft_apply {
    const struct pbft_cluster *cluster;
    const struct pbft_service *service;
    struct pbft_frame_pool *pool;
    bool brief; /* digests only, where another replica than `id` is designated */
    pbft_id id;
    struct pbft_tree *tree;
    struct pbft_txn txn;
    struct pbft_applied *applied; /* batch_max_requests */
    uint8_t *scratch; /* APPLY_RECORD_BYTES, then reply_max_bytes of body, and the marks of reads */
    /* What key 0x50 says. */
    pbft_seq seq;
    uint64_t effective_ns;
    uint32_t sessions;
    pbft_seq last; /* of this epoch, 0x60; 0: not known to end */
};

static inline const struct pbft_params *apply_params(const struct pbft_apply *a)
{
    return &a->cluster->params;
}
/* Is it we who give this result as a whole? (PROTOCOL 34) */
static inline bool apply_whole(const struct pbft_apply *a, uint32_t client_index, uint64_t t)
{
    const struct pbft_public_key *key = &a->cluster->clients[client_index];
    return !a->brief || pbft_designated(a->cluster->params.n, key, t) == a->id;
}
static inline uint8_t *apply_body(struct pbft_apply *a)
{
    return a->scratch + APPLY_RECORD_BYTES;
}

/* What an operation may write with `left` bytes of body and `later` operations behind it: all but
 * their shares, and never less than an equal part. */
static inline size_t apply_capacity(size_t left, uint32_t later)
{
    const size_t share = 64; /* of the reply, for each, if it can be had */
    if (left < APPLY_ITEM_BYTES) return 0;
    size_t reserve = (size_t)later * (APPLY_ITEM_BYTES + share);
    size_t most = left > reserve ? left - reserve : 0;
    size_t even = left / ((size_t)later + 1);
    size_t size = most > even ? most : even;
    return size > APPLY_ITEM_BYTES ? size - APPLY_ITEM_BYTES : 0;
}
/* An operation that comes PBFT_TREE_AHEAD after the present one; and none. */
static inline void apply_prefetch(struct pbft_apply *a, struct pbft_span op)
{
    struct pbft_view_txn view = {a->tree, apply_params(a)};
    a->service->prefetch(a->service->context, &view, op);
}
static inline void apply_prefetch_none(struct pbft_apply *a)
{
    pbft_tree_prefetch(a->tree, (struct pbft_span){NULL, 0});
}

/* apply_meta: key 0x50. */
void pbft_apply_meta_store(struct pbft_apply *a);
bool pbft_apply_meta_load(struct pbft_apply *a); /* false: no such record */

/* apply_session.c. Writes carry a->seq as their change mark. */
struct apply_session pbft_apply_session_find(const struct pbft_apply *a, uint32_t client,
                                             uint64_t number);
struct apply_client pbft_apply_client_find(const struct pbft_apply *a, uint32_t client);
/* Open it; the caller has judged number and limits (PROTOCOL 6, 8). */
void pbft_apply_session_open(struct pbft_apply *a, struct apply_session *s);
/* Move the window to hold t, drop the records that leave it, note the time. */
void pbft_apply_session_advance(struct pbft_apply *a, struct apply_session *s, uint64_t t);
/* The record of t. False if t has not executed. The body is borrowed from the tree, or stands in
 * apply_body() if it had parts. */
bool pbft_apply_record_find(struct pbft_apply *a, const struct apply_session *s, uint64_t t,
                            struct apply_answer *out);
/* Write the record of t into its slot; the body stands in apply_body(). */
void pbft_apply_record_store(struct pbft_apply *a, const struct apply_session *s, uint64_t t,
                             const struct apply_answer *answer);
/* Retire the oldest sessions that have been idle long enough at a->effective_ns. */
void pbft_apply_retire(struct pbft_apply *a);
/* When the oldest session may be retired; 0 = never. */
uint64_t pbft_apply_next_due(const struct pbft_apply *a);

/* apply_epoch.c. An operation of the engine (crypto/replace.h). */
void pbft_apply_replace(struct pbft_apply *a, const struct pbft_call *call, struct pbft_span op,
                        struct pbft_result *result);

/* apply_reply.c. NULL: the pool is out of budget. */
struct pbft_frame *pbft_apply_reply(struct pbft_apply *a, uint64_t session, uint64_t t,
                                    const struct apply_answer *answer, bool whole);

#endif
