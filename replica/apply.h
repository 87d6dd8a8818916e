/**
 * replica/apply.h - execution: sessions, exactly-once, the service, checkpoints, queries.
 *
 * Owns the state tree. Everything that a later reply can depend on is in the tree under its root:
 * service keys, sessions and reply records, effective time, sequence number (PROTOCOL 7, 8, 24).
 *
 * Thread-free: one caller at a time (an APPLY job of replica/node). Snapshots that it hands out may
 * be hashed, read and released on another thread meanwhile (store/tree.h).
 */
#ifndef PBFT_REPLICA_APPLY_H
#define PBFT_REPLICA_APPLY_H

#include "crypto/epoch.h"
#include "pbft/frame.h"
#include "pbft/wire.h"
#include "service/service.h"
#include "store/tree.h"

struct pbft_apply; /* opaque */

struct pbft_apply_config {
    const struct pbft_cluster
        *cluster; /* id need not be computed yet: genesis_root may be asked first */
    const struct pbft_service *service;
    struct pbft_frame_pool *pool; /* for reply frames */
};

/* The genesis state. NULL: out of memory. */
struct pbft_apply *pbft_apply_new(const struct pbft_apply_config *config);
void pbft_apply_free(struct pbft_apply *apply);
/* From now on a REPLY carries its body only where `id` is designated for it, else the digest alone
 * (PROTOCOL 34). What pbft_apply_result() gives is whole all the same. */
void pbft_apply_brief(struct pbft_apply *apply, pbft_id id);

/* What became of one request of a batch, or of a look-up. */
struct pbft_applied {
    uint32_t client_index;
    uint64_t session;
    uint64_t t;
    uint64_t low; /* every t <= low of this session is STALE or executed-and-forgotten now */
    struct pbft_digest request;
    struct pbft_frame *reply; /* REPLY frame, view 0 (patched by the sender); owned by the receiver;
                               * NULL when the pool was out of budget (the client asks again) */
};

struct pbft_apply_done {
    pbft_seq seq;
    uint64_t effective_ns;
    uint64_t
        next_due_ns; /* agreed time at which a timed effect falls due; 0 = none (PROTOCOL 12) */
    pbft_seq last;   /* of this epoch; 0: not known to end */
    struct pbft_applied *applied; /* one for each request of the batch, in order; valid until the
                                   * next call */
    uint32_t applied_count;
};

/**
 * Execute the proposal of `seq`, which is one more than the last. `proposal` NULL: the null
 * request, which changes the sequence number only. Requests were verified by the door; sessions,
 * bounds and rights are judged here, with deterministic results (PROTOCOL 6-10).
 */
void pbft_apply_execute(struct pbft_apply *apply, pbft_seq seq,
                        const struct pbft_proposal *proposal, struct pbft_apply_done *done);

enum pbft_lookup {
    PBFT_LOOKUP_NEW,   /* may execute: hand it to the core */
    PBFT_LOOKUP_REPLY, /* answered: executed, STALE, EXPIRED or CONFLICT; out->reply is set */
};
/* What execution would say to this request now, without executing it (admission, PROTOCOL 22). */
enum pbft_lookup pbft_apply_lookup(struct pbft_apply *apply, uint32_t client_index,
                                   uint64_t session, uint64_t t, const struct pbft_digest *request,
                                   struct pbft_applied *out);

/* The REPLY frame with body that (session, t) of this client was answered with (PROTOCOL 34); owned
 * by the caller. NULL when it has not executed, its record is gone, or the pool is out of budget.
 */
struct pbft_frame *pbft_apply_result(struct pbft_apply *apply, uint32_t client_index,
                                     uint64_t session, uint64_t t);

/* Answer a read from the current state: a QUERY_REPLY frame with body (id as given), owned by the
 * caller; NULL when the pool is out of budget. */
struct pbft_frame *pbft_apply_query(struct pbft_apply *apply, const struct pbft_query *query);

pbft_seq pbft_apply_seq(const struct pbft_apply *apply);
uint64_t pbft_apply_effective_ns(const struct pbft_apply *apply);
/* What ends this epoch, at change.seq; its root is left zero. False: nothing that has executed. */
bool pbft_apply_change(const struct pbft_apply *apply, struct pbft_epoch_change *out);
/* Of this epoch, as far as it has executed; 0: not known to end. */
pbft_seq pbft_apply_last(const struct pbft_apply *apply);
/* The state goes on in the next epoch. */
void pbft_apply_cluster(struct pbft_apply *apply, const struct pbft_cluster *cluster);

/* O(1): the committed state exactly after the last executed seq. Caller releases. Its root comes
 * from pbft_snapshot_root(), on any thread. */
struct pbft_snapshot *pbft_apply_snapshot(struct pbft_apply *apply);
/* The tree, for state transfer (store/tree.h's install functions); between executions only. */
struct pbft_tree *pbft_apply_tree(struct pbft_apply *apply);
/* After an install or a rollback: reads seq, effective time and due time back from the tree.
 * PBFT_STATUS_CORRUPT if the state has no such record (it was under a certified root: our bug or a
 * broken cluster). */
PBFT_MUST_USE enum pbft_status pbft_apply_reload(struct pbft_apply *apply, pbft_seq *seq,
                                                 uint64_t *effective_ns, uint64_t *next_due_ns);
uint64_t pbft_apply_bytes(const struct pbft_apply *apply); /* memory held by the state */

#endif
