/**
 * replica/node.h - one replica without threads, sockets or clocks: bytes, completions and time in;
 * frames to send, jobs and deadlines out. pbftd puts the world around it, the simulator and the
 * tests' fixture a virtual one (DESIGN 2, 7).
 *
 * Inside: the door, the core, the outbox (SENDs and REPLYs wait for their lsn), admission, apply
 * (in jobs), fetch with rotation, state transfer, evidence.
 */
#ifndef PBFT_REPLICA_NODE_H
#define PBFT_REPLICA_NODE_H

#include "crypto/cluster.h"
#include "crypto/door.h"
#include "crypto/signer.h"
#include "pbft/core.h"
#include "pbft/frame.h"
#include "replica/divergence.h"
#include "service/service.h"
#include "store/log.h"
#include "store/pages.h"

struct pbft_node; /* opaque */

/* Byzantine strategies (replica/faults) and tests sit here; NULL in pbftd. */
struct pbft_node_hooks {
    void *context;
    /* Called after each core step, before its effects are carried out; may change, drop or add. */
    void (*effects)(void *context, struct pbft_node *node, struct pbft_effects *effects);
    /* Called for each frame about to leave. Returns true: send it as it is. False: the hook has
     * taken care (it may call pbft_node_emit() any number of times, at once or later). */
    bool (*outbound)(void *context, struct pbft_node *node, const struct pbft_peer *to,
                     struct pbft_frame *frame);
    /* Called for each frame that arrives, before anything looks at it. False: it never arrived. */
    bool (*inbound)(void *context, struct pbft_node *node, const struct pbft_peer *from,
                    struct pbft_frame *frame);
};

struct pbft_node_config {
    const struct pbft_cluster *cluster;
    pbft_id id;
    const struct pbft_keypair *keypair;
    const struct pbft_signer *signer;
    const struct pbft_service *service;
    struct pbft_frame_pool *pool;
    struct pbft_log *log;     /* vote log; the node appends, SYNC jobs make durable */
    struct pbft_pages *pages; /* checkpoints on disk; NULL: a restart finds no state */
    /* Of a cluster that was restored: where its genesis is read, once, if not in `pages`. */
    struct pbft_pages *genesis;
    struct pbft_apply *state; /* of the epoch before, from pbft_node_take_state(): the node's now,
                               * even if pbft_node_new() fails; NULL: none in memory */
    pbft_seq state_flushed;   /* the newest checkpoint of it in `pages` */
    uint64_t flush_bytes;     /* flush a checkpoint once the log has grown by so much */
    /* Pages fetched from all peers together, more where that does not lead to the
     * state; 64 KiB .. 1 TiB; 0: no bound. */
    uint64_t transfer_bytes_per_second;
    bool mute;                  /* PROTOCOL 29 */
    const _Atomic bool *cancel; /* set by any thread: pbft_node_load() ends soon; NULL: never */
    uint64_t body_max_bytes;    /* proposals that the core keeps (pbft/core.h); 0: no bound */
    uint64_t outbox_max_bytes;  /* frames that wait for an lsn or for a connection's queue */
    const struct pbft_node_hooks *hooks; /* may be NULL */
    /* Where what a divergence left behind is kept; `write` NULL: nowhere but in the log. */
    struct pbft_divergence_sink divergences;
};

struct pbft_node *pbft_node_new(const struct pbft_node_config *config); /* NULL: out of memory */
void pbft_node_free(struct pbft_node *node);                            /* no job may be running */

/* ---- in ---- (now_ns monotonic, wall_ns wall clock; both on every call that moves the state) */

struct pbft_time {
    uint64_t now_ns;
    uint64_t wall_ns;
};

/**
 * Once, before anything else, if the log is not empty, or the cluster or the epoch begins with a
 * state: go on as the replica that wrote the log, with that state or a later one. Its votes are
 * sent again as they were, fast reads wait until it has executed what it may have answered about.
 *
 * Returns PBFT_STATUS_OK; PBFT_STATUS_MEMORY; PBFT_STATUS_REFUSED: it was cancelled; or
 *         PBFT_STATUS_CORRUPT: these are not the records of this replica. Then free the node: a
 *         mute one may take its place (PROTOCOL 29).
 */
enum pbft_status pbft_node_restore(struct pbft_node *node, struct pbft_time time) PBFT_MUST_USE;
/* The same in two halves. Loading takes as long as the state is large, and time-outs count from the
 * end of it: `time` is of the moment when pbft_node_resume() is called. */
enum pbft_status pbft_node_load(struct pbft_node *node) PBFT_MUST_USE;
void pbft_node_resume(struct pbft_node *node, struct pbft_time time);
void pbft_node_peer_up(struct pbft_node *node, struct pbft_time time, const struct pbft_peer *peer);
void pbft_node_peer_down(struct pbft_node *node, struct pbft_time time,
                         const struct pbft_peer *peer);
/* One frame from a proven peer; borrowed, retained by the node if it keeps it. The verdict is
 * already counted; the caller may close connections that earn too many bad ones. */
enum pbft_verdict pbft_node_frame(struct pbft_node *node, struct pbft_time time,
                                  const struct pbft_peer *from, struct pbft_frame *frame);
void pbft_node_tick(struct pbft_node *node, struct pbft_time time);
uint64_t pbft_node_deadline(const struct pbft_node *node); /* on now_ns; UINT64_MAX = none */

/* ---- out ---- */

enum pbft_job_kind {
    PBFT_JOB_APPLY, /* execute batches, answer queries, take snapshots, install pages; one at a time
                     */
    PBFT_JOB_HASH,  /* hash a snapshot, or compare two, in slices; at most one at a time, may run
                     * beside APPLY */
    PBFT_JOB_SYNC,  /* group commit of the log; one at a time */
    PBFT_JOB_FLUSH, /* a checkpoint, or a report, to the disk; one at a time, beside all the others
                     */
};
struct pbft_job; /* opaque */

enum pbft_output_kind {
    PBFT_OUTPUT_SEND,  /* give `frame` to the transport for `to`; release it afterwards */
    PBFT_OUTPUT_JOB,   /* run pbft_job_run() on any thread, then hand it to pbft_node_job_done() */
    PBFT_OUTPUT_LOG,   /* a line for the operator */
    PBFT_OUTPUT_EPOCH, /* the epoch is over, once: `frame` holds the proof that leads to the next
                        * one (crypto/epoch.h). What the node has on disk allows to begin it. The
                        * owner ends the node, in its own time, and makes one for that epoch */
};

struct pbft_output {
    enum pbft_output_kind kind;
    struct pbft_peer to; /* replicas: connection 0 = the current one */
    struct pbft_frame *frame;
    struct pbft_job *job;
    enum pbft_job_kind job_kind;
    const char *event; /* stable name: "view_change", "stable", "evidence", "transfer_begin" ... */
    char text[800];    /* key=value pairs */
};

/* The next thing to carry out; false when there is none. Drain after each call above. */
bool pbft_node_next(struct pbft_node *node, struct pbft_output *out);
/* Any thread; touches only what the job owns. */
void pbft_job_run(struct pbft_job *job);
void pbft_node_job_done(struct pbft_node *node, struct pbft_time time, struct pbft_job *job);
/* Somebody says that this epoch is over: `proof` is from anywhere (crypto/epoch.h). When a good one
 * has been taken in, PBFT_OUTPUT_EPOCH follows, at once or as soon as what this replica has signed
 * is on its disk. */
void pbft_node_told(struct pbft_node *node, struct pbft_time time, struct pbft_span proof);
/* The state, for a node of the next epoch; no job may be out. The node can only be freed then. */
struct pbft_apply *pbft_node_take_state(struct pbft_node *node);
/* Jobs that are out. */
unsigned pbft_node_jobs_running(const struct pbft_node *node);

/* For hooks: queue a frame as if the node had sent it, without calling the hook again. Retains. */
void pbft_node_emit(struct pbft_node *node, const struct pbft_peer *to, struct pbft_frame *frame);

/* ---- looking ---- */

/* What a request goes through at one replica, one after the other. */
enum pbft_stage {
    PBFT_STAGE_WAIT,    /* from its arrival until a proposal that holds it is accepted, or made */
    PBFT_STAGE_PREPARE, /* until that is prepared */
    PBFT_STAGE_COMMIT,  /* until it is committed and its turn */
    PBFT_STAGE_EXECUTE, /* until its result is there */
    PBFT_STAGES,
};

struct pbft_node_info {
    struct pbft_core_info core;
    pbft_seq applied; /* last executed by apply */
    struct pbft_digest stable_root;
    uint64_t requests_executed, batches_executed, ops_executed;
    uint64_t batches_rehashed; /* whose requests had to be hashed anew for their execution */
    /* Of those that came here before they were executed: how many, and their time in each stage. */
    uint64_t requests_timed, stage_ns[PBFT_STAGES];
    uint64_t queries_answered, queries_held;
    uint64_t replies_sent, busy_sent;
    uint64_t outbox_bytes, outbox_dropped;
    bool storage_failed;  /* the log died: nothing is sent any more, the process should end
                             (FAULTS 2.41) */
    bool disk_full;       /* goes on by itself when there is room (FAULTS 2.42) */
    pbft_seq flushed;     /* newest checkpoint on disk */
    uint64_t divergences; /* own root at a certified checkpoint was not the certified one */
    pbft_seq diverged; /* the checkpoint where it was seen; 0: the state is none such, or has been
                        * replaced */
    uint64_t evidence_count;
    pbft_signers evidence_against; /* verified, PROTOCOL 38 */
    /* While transferring; the entries of the target are 0 until its root is here. */
    uint64_t transfer_pages_have, transfer_pages_known;
    uint64_t transfer_entries_have, transfer_entries;
    uint64_t transfers;                          /* begun, those towards a moved target too */
    uint64_t pages_fetched, pages_fetched_bytes; /* that were wanted, of all transfers */
    uint64_t pages_served, pages_served_bytes;   /* to others */
    uint64_t state_bytes;
    struct pbft_door_stats door;
};
void pbft_node_info(const struct pbft_node *node, struct pbft_node_info *out);
/* The JSON object of one entry of `replicas` in DESIGN 6 (+ n, f, cluster_id, pending ...). Returns
 * its length; truncated like snprintf. */
size_t pbft_node_status_json(const struct pbft_node *node, char *out, size_t capacity);
struct pbft_core *pbft_node_core(struct pbft_node *node); /* for checkers and hooks */
const struct pbft_cluster *pbft_node_cluster(const struct pbft_node *node);

#endif
