/**
 * pbft/core.h - the replica as a pure state machine: one event in, a list of effects out.
 *
 * No I/O, clock, randomness, threads or allocation after init (frames come from the pool that it
 * was given). Equal (core, event) give equal (core, effects) on every platform. PROTOCOL.md is the
 * specification; handlers cite its rules.
 *
 * Durability: PERSIST carries an lsn, SEND and EXECUTE name the lsn they rely on, and the node
 * holds a SEND (and the REPLYs of an EXECUTE) back until that lsn is durable (PROTOCOL 27). The
 * core itself never waits.
 */
#ifndef PBFT_CORE_H
#define PBFT_CORE_H

#include "pbft/frame.h"
#include "pbft/types.h"
#include "pbft/wire.h"

struct pbft_core; /* opaque; lives in the caller's memory */

/* Pure functions, handed in so that the simulator can swap them. */
struct pbft_core_functions {
    void *context;
    /* Digests as in crypto/hash.h. */
    void (*digest_proposal)(void *context, struct pbft_digest *out, uint64_t time_ns,
                            uint32_t count, struct pbft_span leaves);
    void (*digest_null)(struct pbft_digest *out);
    void (*digest_view_change)(struct pbft_digest *out, struct pbft_span body);
    void (*digest_new_view)(struct pbft_digest *out, struct pbft_span body);
    /* Write the signature into a well-formed frame of a signed type. */
    void (*sign_frame)(void *context, uint8_t *frame, size_t size);
    /* Sign a rebuilt body of `type` (the O entries of a NEW-VIEW). */
    void (*sign_body)(void *context, uint8_t type, struct pbft_span body, uint8_t *signature);
};

struct pbft_core_config {
    struct pbft_params params;
    pbft_epoch epoch;
    pbft_id id;
    uint32_t client_count;
    /* Where this history begins: 0, or a checkpoint, of the epoch before or that the cluster was
     * restored from. Then a core knows no state until PBFT_EVENT_RESTORED: without that it fetches
     * one. */
    pbft_seq genesis_seq;
    struct pbft_digest genesis_root;
    struct pbft_core_functions functions;
    struct pbft_frame_pool *pool;
    /* What the proposals that are kept may take, so that `pool` has room left for everything else
     * (FAULTS 3.18): a primary uses a third of it between checkpoints, then goes on to the next one
     * with empty proposals; backups keep two thirds, as much again for one that they execute next,
     * and what laggards may ask for takes another third. 0: no bound. */
    uint64_t body_max_bytes;
    bool mute; /* PROTOCOL 29: never votes, sends no VIEW-CHANGE; follows, transfers and serves */
};

/* Bytes of memory that pbft_core_init() needs, aligned to 64; 0 for bad parameters. */
size_t pbft_core_size(const struct pbft_core_config *config);
struct pbft_core *pbft_core_init(void *memory, const struct pbft_core_config *config);

/* ---- a restart ---- */

/* What FAULTS 4.4 demands on disk before what relies on it is sent. */
enum pbft_record_kind {
    PBFT_RECORD_PROPOSAL = 1,    /* frames: PRE-PREPARE (with proposal), own PREPARE (backups) */
    PBFT_RECORD_PREPARED = 2,    /* frames: P entry as a one-entry VIEW-CHANGE body, own COMMIT */
    PBFT_RECORD_VIEW_CHANGE = 3, /* frame: own VIEW-CHANGE */
    PBFT_RECORD_NEW_VIEW = 4,    /* frame: the NEW-VIEW installed (own or received) */
    PBFT_RECORD_CHECKPOINT = 5,  /* frame: own CHECKPOINT */
    PBFT_RECORD_STABLE = 6,      /* frame: CERTIFICATE of a stable checkpoint */
    PBFT_RECORD_COMMITTED =
        7, /* frame: CERTIFICATE of q COMMITs (PROTOCOL 15, synced; else unsynced) */
};

/* What a PERSIST effect wrote, read back. */
struct pbft_record {
    enum pbft_record_kind kind;
    const struct pbft_msg *msgs[2]; /* of the frames, as pbft_wire_decode() leaves them; or NULL */
    struct pbft_frame *frames[2];   /* the core retains what it keeps */
};

/**
 * Tell a core that is fresh from init, and not mute, what it wrote before: each record, in the
 * order of the log, carry-overs included (PROTOCOL 26). Then PBFT_EVENT_RESTORED, then anything
 * else.
 *
 * Returns PBFT_OK, also for what is over; else why these can not be the records of this replica in
 *         this order: it does not know its promises and has to be mute (PROTOCOL 29).
 */
enum pbft_verdict pbft_core_restore(struct pbft_core *c, const struct pbft_record *record);

/* Release every frame that the core holds. The memory is the caller's. */
void pbft_core_release(struct pbft_core *c);

/* ---- events ---- */

enum pbft_event_kind {
    PBFT_EVENT_MESSAGE,          /* passed the door */
    PBFT_EVENT_REQUEST,          /* passed admission (session window and quota, PROTOCOL 22) */
    PBFT_EVENT_REQUEST_OVER,     /* a pending request can never execute any more (PROTOCOL 21) */
    PBFT_EVENT_EXECUTED,         /* apply executed the batch of an EXECUTE effect */
    PBFT_EVENT_CHECKPOINT_READY, /* a snapshot of TAKE_CHECKPOINT is hashed */
    PBFT_EVENT_STATE_READY,      /* the state of a TRANSFER effect is installed */
    PBFT_EVENT_PEER_UP,          /* a replica's channel was (re)established */
    PBFT_EVENT_RESTORED,         /* the log was read (pbft_core_restore()), a state is loaded */
    PBFT_EVENT_TICK,             /* pbft_core_deadline() has passed */
};

/* A request that reached its end at execution. */
struct pbft_done_request {
    uint32_t client_index;
    uint64_t session;
    uint64_t t;
    uint64_t low; /* every t <= low of the session is STALE now */
};

struct pbft_event {
    enum pbft_event_kind kind;
    uint64_t now_ns;  /* monotonic, never decreases */
    uint64_t wall_ns; /* wall clock; may jump (FAULTS 2.37) */
    union {
        struct {
            const struct pbft_msg *msg; /* lives for the call */
            struct pbft_frame *frame;   /* the bytes that `msg` points into; the core retains it if
                                         * it keeps it */
            pbft_id from;               /* the channel's peer, not the signer */
        } message;
        struct {
            uint32_t client_index;
            uint64_t session;
            uint64_t t;
            struct pbft_digest digest;
            struct pbft_frame *frame; /* the REQUEST frame */
            bool from_client;         /* false: forwarded by a replica */
            pbft_id from;             /* ... by this one; it has room of its own (PROTOCOL 22) */
        } request;
        struct {
            struct pbft_done_request done;
        } request_over;
        struct {
            pbft_seq seq;
            uint64_t effective_ns;
            uint64_t next_due_ns; /* 0 = none */
            pbft_seq last;        /* of this epoch, a checkpoint; 0: not known to end */
            const struct pbft_done_request *done;
            uint32_t done_count;
        } executed;
        struct {
            pbft_seq seq;
            struct pbft_digest root;
        } checkpoint_ready;
        struct {
            pbft_seq seq;
            struct pbft_digest root; /* equals the one asked for */
            uint64_t effective_ns;
            uint64_t next_due_ns;
            pbft_seq last;
        } state_ready;
        struct {
            pbft_id id;
        } peer_up;
        struct { /* the state after `seq`, a checkpoint; 0: genesis */
            pbft_seq seq;
            struct pbft_digest root;
            uint64_t effective_ns;
            uint64_t next_due_ns;
            pbft_seq last;
            pbft_seq agreed; /* the last checkpoint before at which it was the certified one */
        } restored;
    };
};

/* ---- effects ---- */

enum pbft_effect_kind {
    PBFT_EFFECT_PERSIST,
    PBFT_EFFECT_SEND,
    PBFT_EFFECT_EXECUTE,
    PBFT_EFFECT_TAKE_CHECKPOINT,
    PBFT_EFFECT_STABLE,
    PBFT_EFFECT_FETCH,
    PBFT_EFFECT_FETCH_STOP,
    PBFT_EFFECT_TRANSFER,
    PBFT_EFFECT_EVIDENCE,
    PBFT_EFFECT_VIEW,
    PBFT_EFFECT_MUTED,
};

enum pbft_evidence_kind { PBFT_EVIDENCE_CONFLICT = 1, PBFT_EVIDENCE_CHECKPOINT = 2 };

struct pbft_effect {
    enum pbft_effect_kind kind;
    union {
        struct {
            pbft_lsn lsn;
            enum pbft_record_kind record;
            bool sync;
            struct pbft_frame
                *frames[2]; /* [1] may be NULL; one reference each, the node releases */
        } persist;
        struct {
            pbft_signers to; /* never ourselves */
            pbft_lsn needs_lsn;
            struct pbft_frame *frame; /* one reference, the node releases */
        } send;
        struct { /* in order of seq, without gaps */
            pbft_seq seq;
            pbft_view view;
            struct pbft_digest digest;
            pbft_lsn needs_lsn; /* what its REPLYs rely on */
            struct pbft_frame
                *frame; /* holds the proposal; NULL: the null request. One reference */
            struct pbft_span proposal; /* inside `frame` */
        } execute;
        struct { /* snapshot the state exactly after `seq`, hash it, answer CHECKPOINT_READY */
            pbft_seq seq;
        } take_checkpoint;
        struct { /* certified by q; older snapshots may go */
            pbft_seq seq;
            struct pbft_digest root;
        } stable;
        struct { /* keep asking, rotating between peers, until FETCH_STOP */
            struct pbft_fetch what;
            pbft_signers hint; /* who probably has it; asked first */
        } fetch;               /* also FETCH_STOP: equal kind, digest, view and seq */
        struct { /* install the state with this certified root; replaces any earlier target. The
                  * node drops executions that are under way and answers STATE_READY */
            pbft_seq seq;
            struct pbft_digest root;
            pbft_signers hint; /* whose CHECKPOINTs certify it */
            /* Why: at this checkpoint, `seq` or one before it, our own root was not the certified
             * one (FAULTS 4.24). Both as CHECKPOINTs have them. 0: we are behind, no more. */
            pbft_seq diverged;
            struct pbft_digest own, certified;
            pbft_seq agreed; /* the last checkpoint at which our own root was the certified one */
        } transfer;
        struct { /* PROTOCOL 36: two frames by `culprit` that contradict each other */
            enum pbft_evidence_kind kind;
            pbft_id culprit;
            struct pbft_frame *frames[2]; /* one reference each. For EVIDENCE_CHECKPOINT the second
                                           * is the CERTIFICATE */
        } evidence;
        struct { /* information for logs and metrics */
            pbft_view view;
            bool active; /* false: VIEW-CHANGE sent, waiting for NEW-VIEW */
        } view;
        struct { /* PROTOCOL 29: shown a vote of our own that we do not know */
            pbft_seq seq;
        } muted;
    };
};

/* Caller-supplied list. `capacity` >= pbft_core_effects_capacity(). */
struct pbft_effects {
    struct pbft_effect *items;
    size_t count;
    size_t capacity;
};
size_t pbft_core_effects_capacity(const struct pbft_params *p);

/**
 * Advance one replica by one event.
 *
 * core     from pbft_core_init(); on a drop only its clock and its evidence have moved
 * event    borrowed for the call; event->now_ns never decreases
 * effects  overwritten; carry out in order
 * Returns  PBFT_OK, or why the message was dropped. Contents never abort.
 * Source   OSDI'99 §4.2 normal case, §4.3 checkpoints, §4.4 view change
 */
enum pbft_verdict pbft_step(struct pbft_core *c, const struct pbft_event *event,
                            struct pbft_effects *effects);

/* When the next TICK is due, on the clock of now_ns; UINT64_MAX = never. */
uint64_t pbft_core_deadline(const struct pbft_core *c);

/* ---- what others may look at ---- */

struct pbft_core_info {
    pbft_view view;
    bool view_active;
    bool mute;
    bool transferring;
    pbft_id primary;
    pbft_seq stable; /* h */
    struct pbft_digest stable_root;
    pbft_seq executed;        /* last EXECUTED (or STATE_READY) */
    pbft_seq committed;       /* last EXECUTE handed out */
    pbft_seq last;            /* of this epoch; 0: not known to end */
    pbft_seq own_checkpoint;  /* highest that we have signed */
    pbft_seq proposed;        /* highest seq with an accepted PRE-PREPARE */
    uint32_t pending;         /* requests waiting for execution */
    uint64_t view_timeout_ns; /* current, with back-off */
    uint64_t view_changes;    /* VIEW-CHANGEs sent since start */
    uint64_t new_views;       /* views installed since start */
    pbft_signers heard;       /* whose STATUS has come since start */
    pbft_seq others_executed; /* what f+1 of these have executed at least, as they say: so has a
                               * correct one. 0: not known */
    pbft_signers accused;     /* evidence was emitted */
    uint64_t retransmissions; /* messages resent because of a STATUS */
};
void pbft_core_info(const struct pbft_core *c, struct pbft_core_info *out);

/* The CHECKPOINTs that certify h; none at genesis. Lives until the next step. */
void pbft_core_stable_proof(const struct pbft_core *c, struct pbft_signatures *out);

/**
 * PROTOCOL 16: can a frame that claims this still matter? Asked before any signature is verified.
 * A "no" may drop only what STATUS retransmits or what proves nothing new.
 */
bool pbft_core_wants(const struct pbft_core *c, pbft_id from, const struct pbft_claim *claim);

/* The request that the timer watches; false when none is pending. */
bool pbft_core_oldest_request(const struct pbft_core *c, uint32_t *client_index, uint64_t *session,
                              uint64_t *t);

/* Frames for FETCH requests of peers: what the core holds, retained for the caller; NULL if it does
 * not. (Pages are the node's to serve.) */
struct pbft_frame *pbft_core_serve(struct pbft_core *c, const struct pbft_fetch *what);

/* Walk the state for checkers (tests, simulator): the digest accepted, prepared or committed at
 * (seq) in the current view; false when there is none. */
enum pbft_phase {
    PBFT_PHASE_NONE,
    PBFT_PHASE_PRE_PREPARED,
    PBFT_PHASE_PREPARED,
    PBFT_PHASE_COMMITTED
};
enum pbft_phase pbft_core_phase(const struct pbft_core *c, pbft_seq seq, pbft_view *view,
                                struct pbft_digest *digest);

#endif
