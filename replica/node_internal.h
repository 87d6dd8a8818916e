/**
 * replica/node_internal.h - the node's state and the functions that its files share. Nobody outside
 * replica/node*.c includes it, but for its unit test and replica/faults/damage.c.
 *
 * One thread owns the node. What a running job may touch is reached through struct pbft_job alone:
 * the apply side (state tree, its door, an installation) belongs to the APPLY job while one is out,
 * a snapshot is shared, and the log is never touched off the owner's thread.
 */
#ifndef PBFT_REPLICA_NODE_INTERNAL_H
#define PBFT_REPLICA_NODE_INTERNAL_H

#include "pbft/pending.h"
#include "replica/apply.h"
#include "replica/node.h"

#define NEVER UINT64_MAX

#define FETCH_RETRY_NS        UINT64_C(100000000) /* ask the next peer after this long */
#define PAGE_RETRY_NS         UINT64_C(100000000) /* doubles when pages come later than that */
#define PAGE_RETRY_MAX_NS     UINT64_C(1600000000)
#define TRANSFER_RETRY_NS     UINT64_C(1000000000) /* pause after one that failed */
#define PAGES_OWED_MAX        (2u * PAGES_PER_PEER)
#define PAGES_PER_PEER        32u        /* asked of one peer and not answered */
#define PAGES_OUTSTANDING     128u       /* of all peers together */
#define INSTALLS_KEPT         2u         /* of targets that moved on */
#define PEER_STRIKES_MAX      5u         /* silent or lying so often: asked last, for one page */
#define PAGE_BUCKET_BYTES     (2 << 20)  /* what a peer may be served in a burst */
#define PAGE_BYTES_PER_SECOND (16 << 20) /* and from then on; agreement must not starve */
#define CONNECTIONS_MAX       64u        /* of one client key */
#define ROUTES_MAX            64u /* sessions of one client key whose connection is remembered */
#define EXECUTES_PER_JOB      64u
#define TASKS_PER_JOB         1024u
#define ROOTS_KEPT            8u
#define OPENED_LEAST          8u /* proposals whose requests' digests are at hand */
#define RECHECKS_PER_TIMEOUT  4u
#define QUERY_HOLD_TIMEOUTS   2u  /* a held read is dropped after so many base time-outs */
#define CARRY_BYTES_DIVISOR   32u /* cut the log once it is filled to this part of its cap */
#define CERTIFIED_KEPT        4u  /* checkpoints that may still be flushed */
#define DISK_RETRY_NS         UINT64_C(1000000000) /* it had no room */
#define UNSYNCED_MAX          (UINT64_C(64) << 20) /* of records, while there is none */

void *node_grow(void *array, size_t *capacity, size_t count, size_t item); /* room for one more */
void *node_alloc(size_t bytes);  /* zeroed; ends the process when there is no memory */
void *node_buffer(size_t bytes); /* the same, not zeroed */

/* ---- tasks: what APPLY jobs do, in order ---- */

enum task_kind {
    TASK_EXECUTE,
    TASK_LOOKUP,
    TASK_RECHECK, /* of an admitted request: can it execute at all? */
    TASK_QUERY,
    TASK_RESULT,
    TASK_SNAPSHOT,
    TASK_INSTALL_BEGIN,
    TASK_INSTALL_PAGE,
    TASK_INSTALL_STEP,
};

struct task {
    enum task_kind kind;
    struct task *next;
    uint64_t generation;      /* of the state; an older one's outcome is dropped (TRANSFER) */
    struct pbft_frame *frame; /* what came in; released with the task */
    struct pbft_peer peer;
    /* LOOKUP, RESULT */
    uint32_t client_index;
    uint64_t session, t;
    uint64_t arrived_ns; /* LOOKUP */
    struct pbft_digest
        digest; /* LOOKUP: request; INSTALL_BEGIN: root; INSTALL_PAGE: out, its hash */
    enum pbft_lookup lookup;
    uint64_t low;             /* out, RECHECK: pbft_done_request.low */
    struct pbft_frame *reply; /* out: LOOKUP, RESULT, QUERY */
    struct pbft_query query;
    /* EXECUTE, SNAPSHOT, INSTALL_STEP */
    pbft_seq seq;
    pbft_lsn needs_lsn;
    struct pbft_span proposal;    /* inside frame; {NULL, 0}: the null request */
    struct pbft_digest *requests; /* digest_count, malloc'ed; NULL: to be computed */
    uint32_t digest_count;
    uint64_t effective_ns, next_due_ns;
    pbft_seq last;                /* of the epoch */
    struct pbft_applied *applied; /* out; malloc'ed */
    uint32_t applied_count, op_count;
    bool rehashed;                  /* out: its requests' digests had to be computed */
    struct pbft_snapshot *snapshot; /* out */
    /* INSTALL_* */
    struct pbft_span page;
    enum pbft_verdict verdict;
    size_t want;                /* how many digests are asked for */
    uint32_t series;            /* INSTALL_BEGIN: pbft_install_join() */
    struct pbft_digest *wanted; /* out; malloc'ed */
    size_t wanted_count;
    struct pbft_install_progress progress;
    enum pbft_status status;
    bool installed;
};

struct task_list {
    struct task *head, *tail;
    size_t count;
};
struct task *task_new(enum task_kind kind);
void task_push(struct task_list *list, struct task *task);
struct task *task_pop(struct task_list *list);
void task_free(struct task *task);
void task_list_free(struct task_list *list);

/* Everything that an APPLY job owns while it is out. */
struct apply_side {
    struct pbft_apply *apply;
    struct pbft_door *door; /* reopens proposals */
    struct pbft_install *install;
    /* Given up for a newer target; what is complete there is reused. The one with the most pages
     * comes first, the latest last. */
    struct pbft_install *before[INSTALLS_KEPT];
    size_t before_count;
    uint64_t bytes; /* of the state, after the last job */
};
void apply_side_run(struct apply_side *side, struct task *task);
void apply_side_forget(struct apply_side *side); /* installations, under way and given up */

struct pbft_job {
    enum pbft_job_kind kind;
    struct apply_side *side; /* APPLY */
    struct task_list tasks;
    struct pbft_snapshot *snapshot; /* HASH, FLUSH */
    struct pbft_digest root;
    pbft_seq seq;
    uint64_t generation;
    struct pbft_log *log;     /* SYNC: pbft_log_commit() alone may be called */
    struct pbft_pages *pages; /* FLUSH */
    struct pbft_pages_checkpoint *checkpoint;
    struct comparison *comparison; /* HASH: a slice of it; FLUSH: its report. NULL: neither */
    enum pbft_status status;       /* out */
};

/* ---- parts ---- */

/* A frame that waits until what it relies on is durable (PROTOCOL 27). */
struct waiting {
    pbft_signers to; /* 0: to `client` */
    struct pbft_peer client;
    pbft_lsn needs_lsn;
    struct pbft_frame *frame;
};

struct output {
    enum pbft_output_kind kind;
    struct pbft_peer to;
    struct pbft_frame *frame;
    struct pbft_job *job;
    const char *event;
    char *text; /* malloc'ed; LOG only */
};

/* Which of the core's lsns a position in the log makes durable. */
struct lsn_pair {
    pbft_lsn core, log;
};

/* A record above h: what a cut of the log has to carry over (PROTOCOL 26). */
struct live_record {
    enum pbft_record_kind kind;
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest; /* that a PROPOSAL or a PREPARED names */
    struct pbft_frame *frames[2];
};

struct kept_snapshot {
    pbft_seq seq;
    struct pbft_snapshot *snapshot;
    struct pbft_digest root;
    bool hashed;
    bool held; /* its CHECKPOINT waits for a flush */
};

/* A stable checkpoint. */
struct certified {
    pbft_seq seq;
    struct pbft_digest root;
    pbft_signers signers;
    struct pbft_frame *certificate;
};

struct opened { /* a proposal */
    struct pbft_digest proposal;
    uint32_t count;
    struct pbft_digest *requests; /* count; NULL: no such proposal */
};

struct batch_times { /* when each of its stages began; 0: not seen */
    pbft_seq seq;
    uint64_t begun_ns[PBFT_STAGES];
};

struct known_root {
    pbft_seq seq;
    struct pbft_digest root;
};

struct route {
    uint64_t session, connection;
};

/* A request that the core holds, until it is executed. */
struct admitted {
    uint64_t session, t;
    uint64_t arrived_ns;
    struct pbft_digest digest;
    uint32_t bytes;
    uint32_t by; /* whose room it takes: a replica's, or PBFT_PENDING_DIRECT */
};

/* What one replica forwarded of one client's requests. */
struct forwarder {
    uint32_t lookups; /* queued */
    uint32_t admitted;
    uint64_t bytes; /* of both */
};

struct client {
    uint64_t *connections; /* oldest first */
    size_t connection_count, connection_capacity;
    struct route *routes; /* ROUTES_MAX, on first use; least recently set is replaced */
    size_t route_count, route_next;
    struct admitted *admitted;
    size_t admitted_count, admitted_capacity;
    /* What the client sent itself; `query_bytes` are those of the look-ups, too. */
    uint64_t admitted_bytes;
    uint32_t lookups; /* queued */
    uint32_t queries; /* held or queued */
    uint64_t query_bytes;
    struct forwarder *forwarders; /* n, on first use */
};

struct held_query {
    struct task *task;
    uint64_t expires_ns;
};

struct fetch_item {
    struct pbft_fetch what;
    pbft_signers hint, tried;
    pbft_id asked;
    uint64_t due_ns;
};

struct bucket { /* of bytes that may be served, or asked for; the last answer may overdraw it */
    int64_t bytes;
    uint64_t filled_ns;
};

struct node_pace { /* of pages that are asked for */
    uint64_t rate; /* bytes a second; 0: no bound */
    struct bucket budget;
    uint64_t hastened_ns;   /* the rate doubled */
    uint64_t least, before; /* entries missing at the end of a target; NEVER: there was none */
    uint64_t since_ns, since_pages, since_bytes; /* when `before` was taken */
};

struct page_ask {
    struct pbft_digest digest;
    pbft_id peer;
    uint64_t due_ns;
};

struct transfer {
    bool active;
    pbft_seq seq;
    struct pbft_digest root;
    pbft_signers hint;
    uint64_t retry_ns;
    uint64_t longer_ns; /* when late pages may double it again */
    bool step_wanted;   /* something changed: look for more pages to ask for */
    bool step_queued;
    struct page_ask asks[PAGES_OUTSTANDING];
    size_t ask_count;
    struct pbft_digest *wanted; /* handed out by the installation, not asked for yet */
    size_t wanted_count, wanted_capacity;
    uint64_t again_ns; /* it failed: from the start at this time; 0: it did not */
    uint64_t have, known, entries_have, entries;
    struct node_pace pace;
    uint32_t series;                        /* of installations that belong together */
    pbft_seq installed;                     /* by the last transfer that came to its end; 0: none */
    uint64_t begun, fetched, fetched_bytes; /* of all transfers */
};

struct peer_state {
    bool up;
    uint64_t connection;
    unsigned strikes;      /* pages it owed or spoiled since the last good one */
    unsigned asks;         /* pages outstanding */
    unsigned pages_owed;   /* asked for and not come, be it that others were asked since */
    unsigned pages_queued; /* its PAGEs in the APPLY queue */
    struct bucket served;
};

/* Our own state at a checkpoint, which was not the certified one, and that one beside it. */
struct comparison {
    struct pbft_divergence what;
    struct pbft_snapshot *ours;
    struct pbft_diff *diff; /* NULL: the certified state is not here yet */
    bool compared;
    char *report; /* JSON, malloc'ed; NULL: the comparison is not done, or nobody wants it */
    size_t report_size;
    bool out; /* in a job */
    struct pbft_divergence_sink sink;
};

struct divergence {
    uint64_t count;
    pbft_seq seq;                  /* the state is a wrong one, seen there; 0: it is not */
    pbft_seq agreed;               /* the last checkpoint before where it was not */
    struct comparison *comparison; /* at most one, which ends before the next begins; NULL: none */
};

struct evidence_item {
    pbft_id culprit;
    uint8_t type;
    enum pbft_evidence_kind kind;
    bool ours; /* our own CHECKPOINT is part of it */
    uint8_t *file;
    size_t size;
};

struct pbft_node {
    struct pbft_node_config config;
    const struct pbft_cluster *cluster;
    const struct pbft_params *p;
    pbft_id id;
    uint32_t n;
    uint64_t now_ns, wall_ns;
    bool mute;
    bool storage_failed; /* FAULTS 2.41: nothing is sent any more */
    bool log_full;       /* FAULTS 2.42: nothing new is said until there is room */
    bool pages_full;     /* and the log grows until there is */

    struct pbft_door *door;
    void *core_memory;
    struct pbft_core *core;
    struct pbft_effects effects;
    bool stepping;
    uint64_t dropped[PBFT_VERDICT_COUNT]; /* by node and core; the door counts its own */
    pbft_view logged_view;

    /* node_outbox.c */
    struct output *outputs; /* ring */
    size_t output_first, output_count, output_capacity;
    struct waiting *waiting;
    size_t waiting_count, waiting_capacity;
    uint64_t outbox_bytes, outbox_dropped;

    /* node_log.c */
    pbft_lsn log_last, log_durable; /* positions in the log */
    uint64_t restored_records;      /* of the log, at the start */
    bool stable_unlogged;           /* the log does not know the checkpoint that was loaded */
    pbft_seq read_floor; /* after a restart: no fast read before this is executed (PROTOCOL 28) */
    pbft_lsn core_last, core_durable;
    struct lsn_pair *pairs; /* not durable yet, ascending */
    size_t pair_count, pair_capacity;
    bool sync_wanted, sync_running;
    struct live_record *live;
    size_t live_count, live_capacity;
    struct live_record last_view_change, last_new_view, last_stable;
    pbft_lsn carry_first, carry_last; /* 0: no cut is under way */
    pbft_seq carry_seq;               /* to be flushed first */
    uint64_t cut_bytes;               /* held after the last one */
    uint64_t sync_again_ns;           /* after a commit that found no room */
    uint64_t unsynced;                /* bytes appended since the last commit */

    /* node_flush.c */
    pbft_seq flushed;  /* newest checkpoint on disk */
    pbft_seq unlogged; /* up to here the log alone does not lead (PROTOCOL 25) */
    bool flush_wanted, flush_running;
    uint64_t flush_after; /* beside config.flush_bytes: half of what the state takes */
    uint64_t flush_again_ns;
    struct certified certified[CERTIFIED_KEPT];
    unsigned certified_next;

    /* node_apply.c */
    struct apply_side side;
    struct task_list tasks;
    bool apply_running, hash_running;
    bool resuming;                 /* the core is being told what was loaded */
    const struct pbft_job *hashed; /* whose root is being told to the core */
    uint64_t generation;
    pbft_seq applied;
    pbft_lsn applied_lsn;            /* what answers about the applied state rely on */
    struct kept_snapshot *snapshots; /* ascending */
    size_t snapshot_count, snapshot_capacity;
    pbft_seq stable_seq;
    struct opened *opened; /* opened_capacity */
    size_t opened_capacity, opened_next;
    struct known_root roots[ROOTS_KEPT];
    size_t root_next;
    struct pbft_done_request *done; /* batch_max_requests */
    uint64_t requests_executed, batches_executed, ops_executed;
    uint64_t batches_rehashed;
    uint64_t state_bytes; /* after the last APPLY job */

    /* node_stages.c */
    struct batch_times *batch_times; /* window, by number */
    uint64_t requests_timed, stage_ns[PBFT_STAGES];

    /* node_admission.c */
    struct client **clients; /* by index; NULL until first heard of */
    struct held_query *held;
    size_t held_count, held_capacity;
    uint64_t queries_answered, queries_held, replies_sent, busy_sent;
    uint64_t pages_served, pages_served_bytes; /* node_fetch.c */
    uint64_t recheck_ns; /* when the oldest pending request is looked at next */
    uint32_t recheck_client;
    uint64_t recheck_session, recheck_t; /* the oldest when it was looked at last */
    size_t rechecks;                     /* queued */

    /* node_fetch.c */
    struct fetch_item *fetches;
    size_t fetch_count, fetch_capacity;
    pbft_id rotation;
    uint8_t *page_scratch; /* PBFT_PAGE_BYTES_MAX, on first use */
    struct peer_state *peers;

    /* node_backup.c */
    struct bucket backup;

    /* node_transfer.c */
    struct transfer transfer;

    /* node_divergence.c */
    struct divergence divergence;

    /* node_epoch.c */
    struct pbft_epoch_change change; /* that ends this epoch; epoch 0: none is known of */
    bool epoch_over;                 /* the owner has been told */
    struct pbft_frame *told;         /* a proof of it, from others; NULL: none */
    pbft_seq told_seq;

    /* node_evidence.c */
    struct evidence_item *evidence;
    size_t evidence_count, evidence_capacity;
    pbft_signers evidence_against;
};

/* node.c */
enum pbft_verdict node_step(struct pbft_node *node, struct pbft_event *event);
void node_set_time(struct pbft_node *node, struct pbft_time time);
void node_settle(struct pbft_node *node); /* start the jobs that can start */
bool node_is_mute(const struct pbft_node *node);
/* We fell silent, and this certificate repeats what we signed before: that may not have left us,
 * and would be one more vote. Others have it if it did (PROTOCOL 29). */
bool node_silenced(const struct pbft_node *node, pbft_signers signers);

/* node_outbox.c */
void node_send(struct pbft_node *node, pbft_signers to, pbft_lsn needs_lsn,
               struct pbft_frame *frame); /* retains */
void node_send_client(struct pbft_node *node, uint32_t client, uint64_t connection,
                      pbft_lsn needs_lsn, struct pbft_frame *frame); /* retains */
void node_outbox_release(struct pbft_node *node);                    /* core_durable has moved */
void node_outbox_clear(struct pbft_node *node);
void node_output_job(struct pbft_node *node, struct pbft_job *job);
void node_output_epoch(struct pbft_node *node, struct pbft_frame *proof); /* takes the reference */
__attribute__((format(printf, 3, 4))) void node_log_line(struct pbft_node *node, const char *event,
                                                         const char *format, ...);
struct pbft_frame *node_encode(struct pbft_node *node, struct pbft_msg *msg);
void node_outbox_free(struct pbft_node *node);

/* node_log.c */
void node_storage_failed(struct pbft_node *node, const char *what, enum pbft_status status);
void node_disk_full(struct pbft_node *node, bool *which, bool full);
/* Carry over what is above `seq`, the stable checkpoint; what came before goes once that is durable
 * and the checkpoint, or a newer one, flushed. */
void node_log_begin_cut(struct pbft_node *node, pbft_seq seq);
void node_log_finish_cut(struct pbft_node *node);
/* Nothing that has to be remembered may happen before the disk has room, or the log was cut. */
bool node_log_stuck(const struct pbft_node *node);
uint64_t node_log_deadline(const struct pbft_node *node);
void node_persist(struct pbft_node *node, const struct pbft_effect *effect);
void node_log_stable(struct pbft_node *node, pbft_seq seq);
void node_log_restored(struct pbft_node *node, enum pbft_record_kind kind,
                       struct pbft_frame *const frames[2]);
void node_log_resuming(struct pbft_node *node); /* before anything is said again */
void node_log_resumed(struct pbft_node *node);  /* it was full when the process before ended */
struct pbft_job *node_sync_job(struct pbft_node *node); /* NULL: nothing to do */
void node_sync_done(struct pbft_node *node);
void node_log_free(struct pbft_node *node);

/* node_flush.c */
void node_flush_certified(struct pbft_node *node, struct pbft_frame *certificate); /* retains */
void node_flush_installed(struct pbft_node *node, pbft_seq seq);   /* by a transfer */
bool node_flush_holds(const struct pbft_node *node, pbft_seq seq); /* its CHECKPOINT must wait */
/* The certificate of the newest state that is certified, ours, and hashed. NULL: none is. */
const struct certified *node_certified_state(const struct pbft_node *node);
struct pbft_job *node_flush_job(struct pbft_node *node);
void node_flush_run(struct pbft_job *job); /* any thread */
void node_flush_done(struct pbft_node *node, struct pbft_job *job);
uint64_t node_flush_deadline(const struct pbft_node *node);
void node_flush_free(struct pbft_node *node);

/* node_epoch.c */
void node_epoch_look(struct pbft_node *node); /* what executed, or a new state, may end the epoch */
/* What stands in a CHECKPOINT for the state with this root: the root, or at the epoch's last number
 * also what follows (crypto/epoch.h). */
void node_signed_root(const struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root,
                      struct pbft_digest *out);
bool node_is_last(const struct pbft_node *node, pbft_seq seq); /* of its epoch */
void node_epoch_check(struct pbft_node *node);                 /* may the next epoch begin? */
void node_epoch_free(struct pbft_node *node);

/* node_restore.c */
bool node_cancelled(const struct pbft_node *node); /* loading is to end */

/* node_replay.c */
/* Execute again what the log has committed, from `applied` up to seq. False: it does not lead
 * there, and `applied` says how far it did. */
bool node_replay(struct pbft_node *node, pbft_seq seq);

/* node_opened.c */
/* The requests' digests of what the door let in, or we propose, are kept for its execution. */
bool node_opened_init(struct pbft_node *node); /* false: out of memory */
void node_opened(struct pbft_node *node, const struct pbft_msg *msg);
void node_digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves); /* pbft_core_functions */
/* The caller's to free; NULL: not at hand. */
struct pbft_digest *node_opened_take(struct pbft_node *node, const struct pbft_digest *proposal,
                                     uint32_t *count);
void node_opened_free(struct pbft_node *node);

/* node_stages.c */
bool node_stages_init(struct pbft_node *node); /* false: out of memory */
void node_stage_begins(struct pbft_node *node, pbft_seq seq, enum pbft_stage stage);
/* A request of this number, which came at `arrived_ns` (0: not known), is executed. */
void node_stages_over(struct pbft_node *node, pbft_seq seq, uint64_t arrived_ns);

/* node_apply.c */
void node_checkpoint_ready(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root);
void node_execute(struct pbft_node *node, const struct pbft_effect *effect);
void node_take_checkpoint(struct pbft_node *node, pbft_seq seq);
void node_stable(struct pbft_node *node, pbft_seq seq);
struct task *node_queue(struct pbft_node *node, enum task_kind kind);
struct pbft_job *node_apply_job(struct pbft_node *node);
struct pbft_job *node_hash_job(struct pbft_node *node);
void node_apply_done(struct pbft_node *node, struct pbft_job *job);
void node_hash_done(struct pbft_node *node, struct pbft_job *job);
void node_keep_snapshot(struct pbft_node *node, pbft_seq seq, struct pbft_snapshot *snapshot);
/* The same with a root that is known. */
void node_keep_hashed(struct pbft_node *node, pbft_seq seq, struct pbft_snapshot *snapshot,
                      const struct pbft_digest *root);
void node_root_known(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root);
void node_drop_executions(struct pbft_node *node);
void node_apply_free(struct pbft_node *node);

/* node_admission.c */
struct client *node_client(struct pbft_node *node, uint32_t index);
void node_client_up(struct pbft_node *node, const struct pbft_peer *peer);
void node_client_down(struct pbft_node *node, const struct pbft_peer *peer);
enum pbft_verdict node_on_request(struct pbft_node *node, const struct pbft_peer *from,
                                  const struct pbft_request *request, struct pbft_frame *frame);
enum pbft_verdict node_on_query(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_query *query, struct pbft_frame *frame);
enum pbft_verdict node_on_result_fetch(struct pbft_node *node, const struct pbft_peer *from,
                                       const struct pbft_result_fetch *fetch);
void node_reply(struct pbft_node *node, uint32_t client_index, uint64_t session,
                struct pbft_frame *reply, pbft_lsn needs_lsn); /* takes the reference */
/* Returns when it came, on now_ns; 0: it did not. */
uint64_t node_forget_request(struct pbft_node *node, const struct pbft_done_request *done);
void node_lookup_done(struct pbft_node *node, struct task *task);
void node_recheck_tick(struct pbft_node *node);
void node_recheck_done(struct pbft_node *node, struct task *task);
void node_query_done(struct pbft_node *node, struct task *task);
void node_result_done(struct pbft_node *node, struct task *task);
void node_recheck_admitted(struct pbft_node *node); /* the state was replaced */
void node_release_held(struct pbft_node *node);     /* `applied` or time has moved */
void node_admission_free(struct pbft_node *node);

/* node_fetch.c */
/* Which other replicas there is a link to. */
pbft_signers node_links(const struct pbft_node *node);
void node_fetch(struct pbft_node *node, const struct pbft_fetch *what, pbft_signers hint);
void node_fetch_stop(struct pbft_node *node, const struct pbft_fetch *what);
void node_fetch_tick(struct pbft_node *node);
uint64_t node_fetch_deadline(const struct pbft_node *node);
enum pbft_verdict node_on_fetch(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_fetch *fetch);
void node_send_fetch(struct pbft_node *node, pbft_id to, const struct pbft_fetch *what);

void node_bucket_refill(const struct pbft_node *node, struct bucket *bucket, int64_t most,
                        int64_t per_second);
/* When it will hold so much, or is to be filled on the way there; NEVER: it does. */
uint64_t node_bucket_due(const struct bucket *bucket, int64_t level, int64_t per_second);
/* A page of a kept snapshot, until the next call. */
enum pbft_status node_page(struct pbft_node *node, const struct pbft_digest *digest,
                           struct pbft_span *page);

/* node_backup.c: the administrator's questions for a backup. */
enum pbft_verdict node_on_backup(struct pbft_node *node, const struct pbft_peer *from,
                                 const struct pbft_admin *admin);

/* node_transfer.c */
void node_transfer_begin(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root,
                         pbft_signers hint);
enum pbft_verdict node_on_page(struct pbft_node *node, const struct pbft_peer *from,
                               struct pbft_span page, struct pbft_frame *frame);
void node_page_done(struct pbft_node *node, struct task *task);
void node_install_step_done(struct pbft_node *node, struct task *task);
void node_transfer_tick(struct pbft_node *node);
void node_transfer_queue_step(struct pbft_node *node);
void node_transfer_peer_down(struct pbft_node *node, pbft_id id);
uint64_t node_transfer_deadline(const struct pbft_node *node);
void node_transfer_free(struct pbft_node *node);

/* node_divergence.c */
/* Before the transfer begins: what is known of the state that it replaces is kept. */
void node_diverged(struct pbft_node *node, const struct pbft_effect *effect);
/* The certified state is here; `snapshot` is NULL if there was no memory for one. */
void node_divergence_installed(struct pbft_node *node, pbft_seq seq,
                               struct pbft_snapshot *snapshot);
void node_divergence_left(struct pbft_node *node); /* the epoch ends first */
/* Nothing is answered out of a state that is known to be wrong. */
bool node_is_diverged(const struct pbft_node *node);
struct pbft_job *node_compare_job(struct pbft_node *node);
void node_compare_run(struct pbft_job *job);
void node_compare_done(struct pbft_node *node, struct pbft_job *job);
struct pbft_job *node_report_job(struct pbft_node *node);
void node_report_run(struct pbft_job *job);
void node_report_done(struct pbft_node *node, struct pbft_job *job);
void node_divergence_free(struct pbft_node *node);

/* node_evidence.c */
void node_evidence(struct pbft_node *node, const struct pbft_effect *effect);
void node_evidence_silence(struct pbft_node *node); /* node_silenced() from now on */
void node_answer_admin(struct pbft_node *node, const struct pbft_peer *to, uint64_t id, bool ok,
                       pbft_lsn needs_lsn, struct pbft_span body);
void node_answer_text(struct pbft_node *node, const struct pbft_peer *to, uint64_t id, bool ok,
                      const char *text);
enum pbft_verdict node_on_admin(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_admin *admin);
void node_evidence_free(struct pbft_node *node);

#endif
