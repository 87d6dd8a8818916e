/**
 * client/match.h - the pure client core: which replies make an answer (PROTOCOL 31-34).
 *
 * No I/O, clock or allocation after init: frames that the door opened, ticks and submissions in;
 * sends and completions out. The library (client/client.c), the simulator and tests run the same
 * code.
 */
#ifndef PBFT_CLIENT_MATCH_H
#define PBFT_CLIENT_MATCH_H

#include "crypto/cluster.h"
#include "crypto/door.h"
#include "pbft/frame.h"
#include "pbft/wire.h"

struct pbft_match; /* opaque */

struct pbft_match_config {
    const struct pbft_cluster *cluster;
    const struct pbft_signer *signer;
    const struct pbft_keypair *keypair;
    uint32_t client_index;
    uint64_t session;    /* PROTOCOL 6: greater than any before under this key */
    uint64_t first_t;    /* first request number, for a session that goes on; 0 = 1 */
    uint64_t query_base; /* ids of fast reads count from here: they carry no session number */
    uint32_t window;     /* outstanding requests and queries, each; 1 .. session_window / 2 */
    uint64_t retry_ns;   /* first retransmission, to all replicas; after the first answer once more
                            for each MiB of the request; doubles to 8x; 0 = view_timeout */
    struct pbft_frame_pool *pool;
};

size_t pbft_match_size(const struct pbft_match_config *config);
struct pbft_match *pbft_match_init(void *memory, const struct pbft_match_config *config);
void pbft_match_release(struct pbft_match *m); /* drops the frames that it holds */

/* Outputs of one call, valid until the next one. */
struct pbft_match_send {
    pbft_signers to;
    struct pbft_frame *frame; /* retained for the receiver: release after sending */
};
enum pbft_match_result {
    PBFT_MATCH_ANSWER,  /* q replicas agree: outcome and body are right (f faults assumed) */
    PBFT_MATCH_TIMEOUT, /* the deadline passed; a write may or may not happen later */
};
struct pbft_match_completion {
    uint64_t token;
    enum pbft_match_result result;
    uint8_t outcome;          /* enum pbft_outcome */
    bool fallback;            /* a read that had to be ordered */
    uint64_t mark;            /* fast reads: the highest change mark */
    struct pbft_frame *frame; /* holds `body`; retained for the receiver */
    /* Results as items (pbft_wire_next_item). Their number is what q replicas say it is. */
    struct pbft_span body;
};
struct pbft_match_out {
    const struct pbft_match_send *sends;
    size_t send_count;
    const struct pbft_match_completion *completions;
    size_t completion_count;
};

/* A read that falls back is an ordered request in the same window. A request that timed out keeps
 * its place, and is retransmitted, until it is answered (PROTOCOL 7), so that a window full of them
 * is BUSY. */

/* Submit a bundle (`ops`: op_count items as in pbft_request.ops). PBFT_DROP_BUSY when the window is
 * full, PBFT_DROP_SIZE beyond a bound, PBFT_OK. deadline_ns is absolute, on the clock of now_ns;
 * 0 = none. Reads try the fast path first unless `ordered`: all of them out of one state, and if
 * one has changed between replicas all are ordered. */
enum pbft_verdict pbft_match_submit(struct pbft_match *m, uint64_t now_ns, uint64_t deadline_ns,
                                    uint64_t token, struct pbft_span ops, uint32_t op_count,
                                    struct pbft_match_out *out);
enum pbft_verdict pbft_match_read(struct pbft_match *m, uint64_t now_ns, uint64_t deadline_ns,
                                  uint64_t token, struct pbft_span ops, uint32_t op_count,
                                  bool ordered, struct pbft_match_out *out);
/* A message of a replica, opened by pbft_door_open_client(). */
enum pbft_verdict pbft_match_message(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                     const struct pbft_msg *msg, struct pbft_frame *frame,
                                     struct pbft_match_out *out);
void pbft_match_connected(struct pbft_match *m, uint64_t now_ns, pbft_id replica,
                          struct pbft_match_out *out); /* resends what that replica should see */
/* Its connection ended: nothing waits for it (a primary that is down is not the only one asked).
 * Replicas count as connected until then; who knows better says so once after init. */
void pbft_match_disconnected(struct pbft_match *m, pbft_id replica);
/* The configuration has changed (crypto/epoch.h); `cluster` outlives the client core. What waits is
 * signed again, and answers of the old one count no more. Replicas are connected to anew:
 * pbft_match_connected() sends it. */
void pbft_match_epoch(struct pbft_match *m, const struct pbft_cluster *cluster);
void pbft_match_tick(struct pbft_match *m, uint64_t now_ns, struct pbft_match_out *out);
uint64_t pbft_match_deadline(const struct pbft_match *m); /* next tick; UINT64_MAX = none */

struct pbft_match_stats {
    uint64_t answered, timeouts, retransmissions, fallbacks;
    uint64_t wrong_replies[PBFT_REPLICAS_MAX]; /* differed from what q agreed on, by replica */
    uint64_t busy;
};
const struct pbft_match_stats *pbft_match_stats(const struct pbft_match *m);
pbft_id pbft_match_primary(const struct pbft_match *m);      /* current guess; f+1 hints move it */
uint32_t pbft_match_outstanding(const struct pbft_match *m); /* timed-out requests included */
uint32_t pbft_match_requests(const struct pbft_match *m);    /* the same without fast reads */
uint64_t pbft_match_next_t(const struct pbft_match *m);      /* of the next request */
pbft_seq pbft_match_floor(const struct pbft_match *m);       /* what the next fast read demands */
bool pbft_match_opened(const struct pbft_match *m);          /* a request was EXECUTED or INVALID */

#endif
