/**
 * pbft/core_internal.h - the core's state and the functions that its files share. Nobody outside
 * pbft/ includes it.
 */
#ifndef PBFT_CORE_INTERNAL_H
#define PBFT_CORE_INTERNAL_H

#include "pbft/core.h"
#include "pbft/new_view.h"
#include "pbft/pending.h"
#include "pbft/quorum.h"
#include "pbft/votes.h"

#define NEVER UINT64_MAX

#define FORWARDS_PER_STEP 64u /* effects are bounded; the rest is due at once */

/* What a frame adds to the proposal in it, and what a proposal may take without being counted: a
 * window of such is small change. */
#define BODY_FRAME_BYTES 4096u

/* A proposal's bytes inside a frame that we hold. */
struct body {
    bool used;
    struct pbft_digest digest;
    struct pbft_frame *frame;
    struct pbft_span proposal;
};
#define SLOT_BODIES 3u /* accepted, prepared and decided digests may all differ */

/* A PRE-PREPARE's statement; `frame` is the whole message when it came as one. */
struct header {
    bool valid;
    pbft_view view;
    struct pbft_digest digest;
    struct pbft_signature signature;
};

/* q-1 PREPAREs and the PRE-PREPARE of the highest view that prepared here: the P entry. */
struct prepared {
    bool valid;
    pbft_view view;
    struct pbft_digest digest;
    struct pbft_signature pre_prepare;
    pbft_signers signers;
    uint8_t *signatures; /* (q-1) * 64 */
};

/* q COMMITs. */
struct decided {
    bool valid;
    pbft_view view;
    struct pbft_digest digest;
    pbft_signers signers;
    uint8_t *signatures; /* q * 64 */
    pbft_lsn lsn;        /* what REPLYs rely on */
};

/* A PRE-PREPARE that fails the clock test (PROTOCOL 11): held and rechecked. */
struct held {
    struct pbft_frame *frame; /* NULL: none */
    struct pbft_digest digest;
    struct pbft_signature signature;
    uint64_t time_ns;
    struct pbft_span proposal;
};

/* Everything about one sequence number. The current view's votes live beside what survives views.
 */
struct slot {
    pbft_seq seq; /* 0: free */

    struct header header;           /* of the current view */
    struct pbft_frame *pre_prepare; /* the frame it came in, for retransmission; may be NULL */
    struct held held;
    struct pbft_votes prepares;
    struct pbft_votes commits;
    bool prepared_now;              /* in the current view */
    struct pbft_frame *own_prepare; /* NULL: not sent in the current view */
    struct pbft_frame *own_commit;
    pbft_lsn own_commit_lsn;
    bool header_asked; /* PROTOCOL 37, once for a view */
    bool header_fetching;

    struct prepared prepared; /* highest view, FAULTS 4.6 */
    struct decided decided;
    struct body bodies[SLOT_BODIES];
    bool fetching;
    struct pbft_digest fetch_digest;
};

/* Checkpoint votes for one multiple of K. */
struct checkpoint {
    pbft_seq seq; /* 0: free */
    struct pbft_votes votes;
    bool own_known; /* our root, whether sent (votes) or not (mute) */
    struct pbft_digest own_root;
};

/* What was certified last: a root of ours that is known late is compared all the same. */
struct certified_root {
    pbft_seq seq; /* 0: none */
    struct pbft_digest root;
};
#define CERTIFIED_ROOTS 16u /* who hashes slowly is some behind */

/* A verified VIEW-CHANGE, reduced to what counts; the frame is kept to serve and resend. */
struct view_change {
    struct pbft_frame *frame; /* NULL: none */
    pbft_view view;
    struct pbft_digest digest;
    pbft_seq stable;
    struct pbft_digest stable_root;
    uint32_t prepared_count;
    struct pbft_prepared_summary *prepared; /* window of them */
};

/* A NEW-VIEW whose VIEW-CHANGEs are not all here yet; one for each sender. */
struct pending_new_view {
    struct pbft_frame *frame; /* NULL: none */
    pbft_view view;
    struct pbft_digest digest;
    pbft_signers signers;
    pbft_signers missing;
    struct pbft_digest *vc_digests; /* by replica id */
    struct view_change *vcs;        /* by replica id; copies of our own */
    pbft_seq min_s;
    uint32_t count;
    const uint8_t *entries; /* inside frame */
};

/* Votes for the view that comes next, kept until it is installed (PROTOCOL 16). */
struct future_vote {
    uint8_t type; /* PREPARE, COMMIT */
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
    struct pbft_signature signature;
};
struct future_proposal {
    struct pbft_frame *frame;
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
    struct pbft_signature signature;
    uint64_t time_ns;
    struct pbft_span proposal;
};
struct future {
    struct future_vote *votes; /* future_votes of them */
    uint32_t vote_count;
    struct future_proposal *proposals; /* pipeline_depth of them */
    uint32_t proposal_count;
};

/* What we know of a peer from its STATUS. */
struct peer {
    uint64_t counter; /* of its last STATUS */
    pbft_view view;
    pbft_seq stable;
    pbft_seq executed;
    uint64_t answered_ns;     /* when a STATUS of its was last answered */
    uint64_t hurried_ns;      /* when we last heeded what it waits for */
    bool heard;               /* a STATUS of its has come since we started */
    uint64_t heard_ns;        /* when its last STATUS came */
    uint64_t view_resent_ns;  /* when we last resent VIEW-CHANGE or NEW-VIEW to it */
    pbft_seq high_checkpoint; /* its highest CHECKPOINT above h+L (PROTOCOL 24) */
    struct pbft_digest high_root;
    struct pbft_signature high_signature;
};

struct pbft_core {
    struct pbft_core_config config;
    struct pbft_params p;
    pbft_id id;
    uint32_t n, f, q;
    bool mute;
    struct pbft_digest null_digest;
    uint64_t now_ns, wall_ns;
    struct pbft_effects *out; /* during a step */
    pbft_lsn lsn;
    pbft_lsn synced_lsn; /* of the last record that is synced: all that we ever signed is there */

    pbft_view view;
    bool active;          /* false: VIEW-CHANGE for `view` sent (or followed), NEW-VIEW awaited */
    pbft_view voted_view; /* installed last: what the votes in the slots are of */
    bool view_fruitful;   /* something executed in this view */
    uint32_t backoff;     /* doublings of the time-out */
    uint64_t
        view_timer_ns; /* NEW-VIEW deadline; NEVER until q VIEW-CHANGEs are here (FAULTS 4.16) */
    bool view_timer_extended;
    struct pbft_frame *new_view; /* that installed `view`; NULL in view 0 */
    struct pbft_digest new_view_digest;
    struct view_change *vcs;            /* by sender: its highest */
    struct pending_new_view *new_views; /* by sender */
    struct future *future;              /* by sender */

    pbft_seq last; /* of this epoch: nothing above it is proposed or voted for; 0: none known */
    /* What we have signed or seen certified before this start, or before our state went back. While
     * it is behind that, lost by our disk or given up, we may have forgotten where the epoch ends
     * (may_vote()). */
    pbft_seq relearn;
    pbft_seq h;
    struct pbft_digest stable_root;
    pbft_signers stable_signers;
    uint8_t *stable_signatures;            /* q * 64 */
    struct pbft_frame *stable_certificate; /* NULL at genesis */
    uint64_t body_max_bytes;               /* 0: no bound; else room for three batches at least */
    uint64_t body_bytes;                   /* of proposals kept above h: at most so many */
    uint32_t slot_count;                   /* window + archive */
    uint32_t archive;                      /* slots kept at and below h, for laggards */
    struct slot *slots;
    uint32_t checkpoint_count;
    struct checkpoint *checkpoints;
    pbft_seq own_checkpoint; /* highest signed */
    pbft_seq agreed;         /* highest with a root of ours that is the certified one */
    struct certified_root certified[CERTIFIED_ROOTS]; /* by checkpoint, modulo their number */

    pbft_seq next_seq;  /* primary: the next to propose */
    pbft_seq proposed;  /* highest header accepted in this view */
    pbft_seq heard;     /* highest seq that anybody voted on in this view */
    pbft_seq committed; /* last EXECUTE handed out */
    pbft_seq executed;  /* last EXECUTED */
    uint64_t effective_ns;
    uint64_t next_due_ns;
    pbft_seq timed_seq; /* a timed batch is in flight at this seq (0: none) */

    pbft_seq transfer_seq; /* 0: none */
    uint64_t transfer_ns;  /* since when */
    uint64_t
        lag_since_ns; /* since when h is above `committed` without progress; NEVER: it is not */
    pbft_seq lag_committed;

    struct pbft_pending pending;
    uint32_t forwards_left;    /* in this step */
    int64_t forward_bytes;     /* until the next STATUS; the last one may go below 0 */
    bool padding;              /* primary: the last proposal was empty */
    uint64_t request_timer_ns; /* NEVER: not running */
    uint32_t excuses; /* time-outs that the oldest request's primary was given beyond its own */

    struct peer *peers;
    uint64_t status_counter;
    uint64_t status_last_ns;
    uint32_t
        oldest_seen; /* oldest pending request at the last STATUS: forwarded when still there */

    /* Evidence given, by type (PROTOCOL 36: one item for each (signer, type)). */
    pbft_signers evidence_given[PBFT_NEW_VIEW + 1];

    struct pbft_prepared *scratch_prepared;          /* window */
    struct pbft_prepared_summary *scratch_summaries; /* window */
    struct pbft_digest *scratch_digests;             /* window */
    uint8_t *scratch_leaves;                         /* batch_max_requests * 96 */
    uint32_t *scratch_taken;                         /* batch_max_requests */
    struct pbft_view_change_summary *scratch_vcs;    /* n */
    uint8_t *scratch_entries;                        /* window * PBFT_NEW_VIEW_ENTRY_BYTES */
    uint8_t *scratch_bitmaps;                        /* 3 * (slot_count+7)/8 */

    uint64_t view_changes_sent, views_installed, retransmissions;
};

/* core.c */
struct pbft_effect *effect_add(struct pbft_core *c, enum pbft_effect_kind kind);
void send_frame(struct pbft_core *c, pbft_signers to, pbft_lsn needs_lsn, struct pbft_frame *frame);
pbft_lsn persist(struct pbft_core *c, enum pbft_record_kind record, bool sync, struct pbft_frame *a,
                 struct pbft_frame *b);
/* Encode into a new frame, signed if the type is; NULL when the pool is out of budget. */
struct pbft_frame *make_frame(struct pbft_core *c, struct pbft_msg *msg, bool sign);
pbft_signers everyone_else(const struct pbft_core *c);
bool is_primary(const struct pbft_core *c);
uint64_t view_timeout(const struct pbft_core *c);
uint64_t status_interval(const struct pbft_core *c);

/* slot.c */
pbft_seq window_end(const struct pbft_core *c);                  /* h+L, or the epoch's last */
bool in_window(const struct pbft_core *c, pbft_seq seq);         /* (h, window_end] */
bool beyond_last(const struct pbft_core *c, pbft_seq seq);       /* of the epoch, once known */
bool in_slots(const struct pbft_core *c, pbft_seq seq);          /* (h-archive, window_end] */
bool may_vote(const struct pbft_core *c, pbft_seq seq);          /* it is in the epoch */
struct slot *slot_find(const struct pbft_core *c, pbft_seq seq); /* NULL: nothing is held */
struct slot *slot_at(struct pbft_core *c, pbft_seq seq);         /* in_slots() holds; made if new */
void slot_reset(struct pbft_core *c, struct slot *s);
void slot_forget_view(struct pbft_core *c, struct slot *s); /* drop what belongs to the old view */
const struct body *slot_body(const struct slot *s, const struct pbft_digest *digest);
bool slot_has_body(const struct pbft_core *c, const struct slot *s,
                   const struct pbft_digest *digest);
void slot_put_body(struct slot *s, const struct pbft_digest *digest, struct pbft_frame *frame,
                   struct pbft_span proposal);
/* Room for a proposal of `size` bytes at `seq`, above h and not yet accepted (FAULTS 3.18). */
bool body_fits(struct pbft_core *c, pbft_seq seq, size_t size);
/* What a primary may put into its next proposal. */
size_t body_room(struct pbft_core *c);
void bodies_sweep(struct pbft_core *c); /* a view began: free what no view's choice needs */
/* h moved: bound what is kept for laggards, which is what is not above `seq`. */
void bodies_archive(struct pbft_core *c, pbft_seq seq);
void slot_want_body(struct pbft_core *c, struct slot *s, const struct pbft_digest *digest,
                    pbft_signers hint);
void slot_stop_fetch(struct pbft_core *c, struct slot *s);
void slot_stop_header_fetch(struct pbft_core *c, struct slot *s);
/* Move a slot as far as its votes allow, whatever order they came in (FAULTS 4.3). */
void slot_advance(struct pbft_core *c, struct slot *s);
void decide_certified(struct pbft_core *c, struct slot *s, const struct pbft_certificate *m);
void execute_ready(struct pbft_core *c);

/* normal.c */
enum pbft_verdict on_request(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_request_over(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_executed(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_pre_prepare(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_vote(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_batch(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_header(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_commit_certificate(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict accept_vote(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest, pbft_id sender,
                              const uint8_t *signature);
void accept_header(struct pbft_core *c, struct slot *s, const struct pbft_digest *digest,
                   const uint8_t *signature, struct pbft_frame *frame, struct pbft_span proposal);
void send_prepare(struct pbft_core *c, struct slot *s);
void recheck_held(struct pbft_core *c, struct slot *s);
enum pbft_verdict try_pre_prepare(struct pbft_core *c, struct slot *s, pbft_view view,
                                  const struct pbft_digest *digest, const uint8_t *signature,
                                  uint64_t time_ns, struct pbft_frame *frame,
                                  struct pbft_span proposal);

/* propose.c */
void propose_ready(struct pbft_core *c);
uint32_t in_flight_max(const struct pbft_core *c); /* proposals, of which some must be empty */
bool timed_due(const struct pbft_core *c);
void request_timer_update(struct pbft_core *c, bool restart);
/* To the primary: whatever the windows have room for, FORWARDS_PER_STEP in a step. */
void forward_waiting(struct pbft_core *c);
bool forward_unfinished(const struct pbft_core *c);  /* there is more: the next step is due */
void forward_again(struct pbft_core *c, uint32_t i); /* its client repeats it */
void forward_refill(struct pbft_core *c);
void forward_oldest(struct pbft_core *c); /* it may not have got there */

/* checkpoint.c */
enum pbft_verdict on_checkpoint(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_checkpoint_certificate(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_checkpoint_ready(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_state_ready(struct pbft_core *c, const struct pbft_event *event);
void make_stable(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *root,
                 pbft_signers signers, const uint8_t *signatures);
/* Whether the log says what h is: without memory for the certificate it may not yet. Until then
 * nothing is promised, for a promise above the window that a restart knows of would be damage. */
bool stable_logged(struct pbft_core *c);
void lag_check(struct pbft_core *c);
/* Our own state at `seq`, which is certified, has this root. False: it is not the certified one,
 * and a transfer begins. */
bool check_divergence(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *own);
void certified_note(struct pbft_core *c); /* h has moved */
struct checkpoint *checkpoint_find(const struct pbft_core *c, pbft_seq seq);
struct checkpoint *checkpoint_at(struct pbft_core *c,
                                 pbft_seq seq); /* in the window; made if new */
void collect_garbage(struct pbft_core *c);      /* h has moved, or the window ends earlier */
/* The state says with which sequence number this epoch ends. */
void epoch_ends(struct pbft_core *c, pbft_seq last);

/* view_change.c */
enum pbft_verdict on_view_change(struct pbft_core *c, const struct pbft_event *event);
void start_view_change(struct pbft_core *c, pbft_view view);
void join_others(struct pbft_core *c); /* again, if there was no memory for it */
void view_change_release(struct view_change *v);
/* Our own, read back from the log. */
void view_change_restore(struct pbft_core *c, const struct pbft_view_change *m,
                         struct pbft_frame *frame);

/* restore.c */
enum pbft_verdict on_restored(struct pbft_core *c, const struct pbft_event *event);

/* install.c */
enum pbft_verdict on_new_view(struct pbft_core *c, const struct pbft_event *event);
void try_new_view(struct pbft_core *c);
void offer_view_change(struct pbft_core *c, pbft_id sender, const struct view_change *vc);
void view_change_copy(struct view_change *to, const struct view_change *from);

/* future.c */
enum pbft_verdict future_vote(struct pbft_core *c, const struct pbft_msg *m);
enum pbft_verdict future_proposal(struct pbft_core *c, const struct pbft_msg *m,
                                  struct pbft_frame *frame);
bool future_view(const struct pbft_core *c, pbft_view view); /* may be kept for later */
bool future_room(const struct pbft_core *c, pbft_id sender, pbft_view view, pbft_seq seq,
                 uint8_t type);
void future_replay(struct pbft_core *c); /* after `view` was installed */
void future_release(struct pbft_core *c);

/* status.c */
enum pbft_verdict on_status(struct pbft_core *c, const struct pbft_event *event);
enum pbft_verdict on_peer_up(struct pbft_core *c, const struct pbft_event *event);
void send_status(struct pbft_core *c, pbft_signers to);
void hurry_own(struct pbft_core *c);

/* evidence.c */
bool evidence_wanted(const struct pbft_core *c, uint8_t type, pbft_id culprit);
void evidence_votes(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                    pbft_id culprit, const struct pbft_vote_entry *first,
                    const struct pbft_digest *digest, const uint8_t *signature);
void evidence_headers(struct pbft_core *c, pbft_view view, pbft_seq seq,
                      const struct pbft_digest *first, const uint8_t *first_signature,
                      const struct pbft_digest *second, const uint8_t *second_signature);
void evidence_frames(struct pbft_core *c, uint8_t type, pbft_id culprit,
                     enum pbft_evidence_kind kind, struct pbft_frame *first,
                     struct pbft_frame *second);
/* A signed message of our own that somebody shows us; mute if we do not know it (PROTOCOL 29). */
enum pbft_verdict own_message(struct pbft_core *c, const struct pbft_msg *m);
struct pbft_frame *vote_frame(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                              pbft_id sender, const struct pbft_digest *digest,
                              const uint8_t *signature);
struct pbft_frame *header_frame(struct pbft_core *c, pbft_view view, pbft_seq seq,
                                const struct pbft_digest *digest, const uint8_t *signature);
struct pbft_frame *certificate_frame(struct pbft_core *c, uint8_t kind, pbft_view view,
                                     pbft_seq seq, const struct pbft_digest *digest,
                                     pbft_signers signers, const uint8_t *signatures,
                                     const struct body *body);

#endif
