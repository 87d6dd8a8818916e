/**
 * client/pbft.h - the client library: operations on a cluster that may lie to you.
 *
 * A client holds one connection to each replica and one session or several (PROTOCOL 6) that share
 * it. An answer is given when q replicas agree on it, so that f of them may be crashed, slow or
 * lying. Everything runs on one thread of the library's own; any number of threads may call.
 *
 *     char error[256];
 *     struct pbft_client *client;
 *     if (pbft_client_open(&client, "cluster-dir", NULL, error) != PBFT_STATUS_OK) ...
 *     struct pbft_answer answer;
 *     if (pbft_client_call(client, op, 0, &answer) == PBFT_STATUS_OK)
 *         use(answer.bytes, answer.size);
 *     pbft_answer_free(&answer);
 *     pbft_client_close(client);
 *
 * Exactly once: an operation that is answered was executed once. One that timed out was executed
 * once or not at all, perhaps later.
 *
 * When a replica's key is replaced, a client follows by itself and callers notice a pause. What it
 * was told is on the disk for the next one, which does not believe replaced keys again.
 */
#ifndef PBFT_CLIENT_PBFT_H
#define PBFT_CLIENT_PBFT_H

#include "crypto/cluster.h"
#include "pbft/types.h"
#include "pbft/wire.h"

struct pbft_client; /* opaque */

/* A zero stands for the default in brackets. */
struct pbft_client_options {
    uint32_t window;     /* outstanding requests, and reads, of each session; at most
                          * session_window / 2 [16]. 4096 more wait for a place. */
    uint32_t sessions;   /* over the same connections; at most 256, and sessions_per_client / 2, or
                          * 1 [1] */
    uint64_t timeout_ns; /* of an operation [client.conf: timeout] */
    const char *epochs;  /* file in which the proofs of later epochs are kept, so that the next
                          * handle begins where this one ends (crypto/epoch_file.h); "": nowhere
                          * [client.epochs beside client.conf] */
};

#define PBFT_CLIENT_EPOCHS "client.epochs"

/* How an operation ended. */
struct pbft_answer {
    /* OK: executed, and q replicas agree on `bytes`. TIMEOUT. REFUSED: q agree that it was not
     * executed, and `outcome` says why. CLOSED. A question to one replica: OK, TIMEOUT, or REFUSED
     * with one sentence in `bytes`. */
    enum pbft_status status;
    uint8_t outcome; /* enum pbft_outcome, where status is OK or REFUSED */
    uint64_t mark;   /* fast reads: change mark, the highest of a bundle's (PROTOCOL 32) */
    bool fallback;   /* reads that had to be ordered */
    uint8_t *bytes;  /* a bundle: all its results, for pbft_answer_next(); else the one result */
    size_t size;
};
/* After a waiting call, whatever its status. Not in callbacks. */
void pbft_answer_free(struct pbft_answer *answer);
/* The next result of a bundle; false at the end. *cursor starts at 0. */
bool pbft_answer_next(const struct pbft_answer *answer, size_t *cursor, struct pbft_span *result);

/**
 * Read the configuration, start the thread, begin to connect. Does not wait for a connection.
 *
 * path     a client.conf, its folder, or the folder that `pbftctl init` made
 * options  may be NULL; copied
 * error    takes one sentence when the status is not OK, or, with OK, when the file of epochs is
 *          there and can not be used: what this handle is told will replace it; else empty
 * Returns  PBFT_STATUS_NOT_FOUND, PERMISSION, CORRUPT, CONFIG, IO (files and what is in them),
 *          REFUSED (genesis does not list the key), CRYPTO, NETWORK, MEMORY, ARGUMENT (options)
 */
PBFT_MUST_USE enum pbft_status pbft_client_open(struct pbft_client **out, const char *path,
                                                const struct pbft_client_options *options,
                                                char error[256]);
/* Ends everything; what is outstanding is answered with PBFT_STATUS_CLOSED before it returns. Not
 * from a callback. No other call may be running. NULL is allowed. */
void pbft_client_close(struct pbft_client *client);

/* ---- waiting. Not from a callback. Each returns answer->status, or why it could not be submitted
 * (see below), with an answer of that status. timeout_ns 0: the client's. ---- */

/* Execute one operation, exactly once. */
PBFT_MUST_USE enum pbft_status pbft_client_call(struct pbft_client *client, struct pbft_span op,
                                                uint64_t timeout_ns, struct pbft_answer *answer);
/* Execute several in order, exactly once, with one signature; not atomically. */
PBFT_MUST_USE enum pbft_status pbft_client_call_bundle(struct pbft_client *client,
                                                       const struct pbft_span *ops, uint32_t count,
                                                       uint64_t timeout_ns,
                                                       struct pbft_answer *answer);
/* A linearizable read that is ordered only if it must be (PROTOCOL 32). */
PBFT_MUST_USE enum pbft_status pbft_client_read(struct pbft_client *client, struct pbft_span op,
                                                uint64_t timeout_ns, struct pbft_answer *answer);
/* Several reads, all out of one state: at one moment they had these results together. Where one of
 * them is being changed, or their results have no room, all are ordered. REFUSED
 * (PBFT_OUTCOME_INVALID) if they have none in reply_max_bytes then, either. */
PBFT_MUST_USE enum pbft_status pbft_client_read_bundle(struct pbft_client *client,
                                                       const struct pbft_span *ops, uint32_t count,
                                                       uint64_t timeout_ns,
                                                       struct pbft_answer *answer);
/* Ask one replica about itself: nobody vouches for the answer but that replica. */
PBFT_MUST_USE enum pbft_status pbft_client_admin(struct pbft_client *client, pbft_id replica,
                                                 enum pbft_admin_kind kind,
                                                 struct pbft_span argument, uint64_t timeout_ns,
                                                 struct pbft_answer *answer);

/* ---- not waiting ---- */

/* Called once for each submission, on the library's thread, with an answer that lives until it
 * returns: be quick, do not block, do not call what waits. Submitting from here is fine. */
typedef void (*pbft_client_done)(void *context, const struct pbft_answer *answer);

/**
 * Submit a bundle of operations, as pbft_client_call_bundle().
 *
 * ops      copied; count 1 .. bundle_max_ops
 * Returns  PBFT_STATUS_OK: `done` will be called. Otherwise it will not: ARGUMENT (a count or size
 *          beyond its bound), FULL (too many wait already), MEMORY, CLOSED.
 */
PBFT_MUST_USE enum pbft_status pbft_client_submit(struct pbft_client *client,
                                                  const struct pbft_span *ops, uint32_t count,
                                                  uint64_t timeout_ns, pbft_client_done done,
                                                  void *context);
PBFT_MUST_USE enum pbft_status pbft_client_submit_read(struct pbft_client *client,
                                                       struct pbft_span op, uint64_t timeout_ns,
                                                       pbft_client_done done, void *context);
/* As pbft_client_read_bundle(). */
PBFT_MUST_USE enum pbft_status pbft_client_submit_reads(struct pbft_client *client,
                                                        const struct pbft_span *ops, uint32_t count,
                                                        uint64_t timeout_ns, pbft_client_done done,
                                                        void *context);
/* The same in one session (0 .. options.sessions - 1) instead of the one with the least to do: for
 * callers that count what is outstanding for each themselves. */
#define PBFT_CLIENT_ANY UINT32_MAX
PBFT_MUST_USE enum pbft_status pbft_client_submit_in(struct pbft_client *client, uint32_t session,
                                                     const struct pbft_span *ops, uint32_t count,
                                                     uint64_t timeout_ns, pbft_client_done done,
                                                     void *context);
PBFT_MUST_USE enum pbft_status pbft_client_submit_read_in(struct pbft_client *client,
                                                          uint32_t session, struct pbft_span op,
                                                          uint64_t timeout_ns,
                                                          pbft_client_done done, void *context);
PBFT_MUST_USE enum pbft_status pbft_client_submit_reads_in(struct pbft_client *client,
                                                           uint32_t session,
                                                           const struct pbft_span *ops,
                                                           uint32_t count, uint64_t timeout_ns,
                                                           pbft_client_done done, void *context);
PBFT_MUST_USE enum pbft_status pbft_client_submit_admin(struct pbft_client *client, pbft_id replica,
                                                        enum pbft_admin_kind kind,
                                                        struct pbft_span argument,
                                                        uint64_t timeout_ns, pbft_client_done done,
                                                        void *context);

/* ---- looking ---- */

struct pbft_client_stats {
    uint64_t answered, timeouts, retransmissions, fallbacks, busy;
    /* Replies that differ from what q agreed on, or whose body is not that of their own digest. */
    uint64_t wrong_replies[PBFT_REPLICAS_MAX];
    uint32_t connected;      /* replicas, now */
    pbft_id primary;         /* as f+1 replicas say */
    uint64_t dropped_frames; /* no message that a replica may send us, or not for our session */
    uint64_t renewed_sessions;
    pbft_signers connected_to;
};
/* A snapshot. Any thread, callbacks too. */
void pbft_client_stats(struct pbft_client *client, struct pbft_client_stats *out);
/* Wait until a quorum of replicas is connected: OK, TIMEOUT, CLOSED or MEMORY. */
PBFT_MUST_USE enum pbft_status pbft_client_wait(struct pbft_client *client, uint64_t timeout_ns);
/* Whether a replica and we refused each other in a handshake (another cluster, a key that is not in
 * genesis ...) rather than missed each other; `text` says how it went last with that replica. */
bool pbft_client_refused(struct pbft_client *client, pbft_id *replica, char text[96]);
/* As the configuration file has it: parameters, clients and id are for ever, epoch and replicas'
 * keys may have changed since (below). Immutable; lives as long as the client. */
const struct pbft_cluster *pbft_client_cluster(const struct pbft_client *client);
/* Which epoch the client is in. It follows as soon as a replica proves the next one (PROTOCOL 29);
 * what is outstanding goes with it. cluster.conf is left as it is; the proofs are kept
 * (options.epochs). Any thread, callbacks too. */
uint32_t pbft_client_epoch(const struct pbft_client *client);
/* The configuration of that epoch, with the proofs that led to it: a copy (pbft_epoch_free()), but
 * the lists of clients in it live as long as the client. MEMORY. Any thread, callbacks too. */
PBFT_MUST_USE enum pbft_status pbft_client_configuration(struct pbft_client *client,
                                                         struct pbft_cluster *out);

#endif
