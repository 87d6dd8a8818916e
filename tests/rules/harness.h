/**
 * tests/rules/harness.h - a handful of real cores under virtual time, for the rule tests.
 *
 * Below replica/node on purpose: every effect of pbft/core.h is carried out by a few lines here,
 * and every message can be crafted, dropped, held, doubled or delayed. Frames are opened by the
 * real door; signatures are the fast keyed ones of tests/sim.
 *
 * What a node is to its core: PERSIST becomes durable `disk_ns` later, and SENDs wait for their
 * lsn; EXECUTE feeds a toy state (a hash chain with exactly-once records) and answers EXECUTED; a
 * checkpoint's root is that chain's; TRANSFER copies the toy state of a replica that has the
 * certified root; FETCH rotates between peers until FETCH_STOP.
 *
 * Always checked, whatever a test is about (FAULTS section 3): agreement, no gap, no
 * self-equivocation, no vote of a view that was left, durable before sent, h and view monotone, and
 * no frame leaked. A replica that a test plays itself is a *puppet*: its core does not run.
 */
#ifndef PBFT_TESTS_RULES_HARNESS_H
#define PBFT_TESTS_RULES_HARNESS_H

#include "crypto/door.h"
#include "crypto/hash.h"
#include "pbft/core.h"
#include "pbft/quorum.h"

#include <criterion/criterion.h>

#define MS            UINT64_C(1000000)
#define NET_CLIENTS   4u
#define NET_SEQ_MAX   512u /* no test goes further */
#define NET_SNAPSHOTS 4u
#define NET_DONE_MAX  512u
#define NET_RULES     16u
#define NET_FETCHES   64u
#define NET_TYPES     64u
#define NET_ENTRIES   32u
#define NET_BATCH_MAX 4096u
#define NET_EVERYBODY 0u /* as `from` or `to` of a rule */
#define NET_BIT(i)    pbft_signers_of(i)

/* ---- what the network does to a message ---- */

enum net_fate {
    NET_PASS,
    NET_DROP,
    NET_HOLD,  /* until net_release_held() */
    NET_TWICE, /* delivered and delivered again */
    NET_LATE,  /* NET_LATE_NS later than others */
};
#define NET_LATE_NS (20 * MS)

struct net_packet {
    uint8_t type;
    pbft_id from, to;
    pbft_view view;
    pbft_seq seq;
    pbft_id sender; /* PBFT_REPLICAS_MAX where the type names none */
    struct pbft_frame *frame;
};

/* A zero field means "any". The first rule that matches decides. */
struct net_rule {
    enum net_fate fate;
    uint8_t type;
    pbft_signers from, to;
    pbft_seq seq_low, seq_high;
    bool in_view; /* only messages of `view` */
    pbft_view view;
    uint32_t times; /* how often; 0: always */
    uint32_t hits;  /* how often it did */
    bool used;
};

/* ---- a node ---- */

struct net_done { /* an exactly-once record of the toy state */
    uint32_t client;
    uint64_t session, t;
    struct pbft_digest request;
};

struct net_state {
    pbft_seq seq;
    struct pbft_digest chain;
    uint64_t effective_ns;
    uint32_t executed; /* requests, not counting duplicates */
    uint32_t done_count;
    struct net_done done[NET_DONE_MAX];
};

struct net_record { /* what PERSIST wrote */
    pbft_lsn lsn;
    enum pbft_record_kind kind;
    bool sync;
    struct pbft_frame *frames[2];
};

struct net_said { /* own signed statements: one for each (type, view, seq) */
    uint8_t type;
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
};

struct net_fetch {
    struct pbft_fetch what;
    pbft_signers hint;
    uint32_t asked;
    bool used;
};

struct net_evidence {
    enum pbft_evidence_kind kind;
    pbft_id culprit;
    struct pbft_frame *frames[2];
};

struct net_job;     /* EXECUTE or TAKE_CHECKPOINT, in order */
struct net_waiting; /* a SEND or REPLY that waits for its lsn */

struct net_node {
    pbft_id id;
    struct net *net;
    bool puppet; /* the test speaks for it; what it receives is counted and dropped */
    bool down;
    bool disk_stuck; /* nothing becomes durable */
    bool exec_stuck; /* nothing executes */
    bool mute;
    int64_t wall_skew_ns;
    uint64_t hash_extra_ns; /* its checkpoints take so much longer */
    pbft_seq diverge_at;    /* its toy state goes wrong at this seq (0: never) */
    pbft_seq wrong_last;    /* ... and says that the epoch ends here (0: it does not) */

    void *memory;
    struct pbft_core *core;
    struct pbft_door *door;
    uint64_t deadline_ns;
    uint32_t ticks_now;

    pbft_lsn written, durable;
    struct net_record *records;
    size_t record_count, record_capacity;
    struct net_waiting *waiting;
    size_t waiting_count, waiting_capacity;

    struct net_state state;
    struct net_state *snapshots; /* NET_SNAPSHOTS of them */
    struct net_state flushed;    /* what a restart finds: the last certified one that it had */
    struct pbft_digest snapshot_roots[NET_SNAPSHOTS];
    uint32_t snapshot_next;
    struct net_job *jobs;
    size_t job_count, job_capacity;
    bool job_scheduled;
    uint64_t incarnation; /* of the state: completions of an earlier one are dropped */
    pbft_seq transfer_seq;
    struct pbft_digest transfer_root;
    pbft_signers transfer_hint;
    struct net_fetch fetches[NET_FETCHES];

    /* Counters. */
    uint64_t sent[NET_TYPES];     /* SEND effects by type of message */
    uint64_t received[NET_TYPES]; /* that the door let through (puppets: all) */
    uint64_t verdicts[PBFT_VERDICT_COUNT];
    uint64_t fetch_effects[8]; /* by enum pbft_fetch_kind */
    uint32_t transfers, muted, stables;
    uint32_t divergences; /* of the transfers */
    struct {
        pbft_seq seq, agreed;
        struct pbft_digest own, certified;
    } diverged;                     /* the last one */
    uint32_t executes[NET_SEQ_MAX]; /* EXECUTE effects by seq */
    struct pbft_digest executed_digest[NET_SEQ_MAX];
    pbft_seq last_execute;
    pbft_seq last_stable;
    pbft_view last_view, left_view; /* highest VIEW effect; highest VIEW-CHANGE sent */
    struct net_evidence evidence[16];
    uint32_t evidence_count;
    struct net_said *said;
    size_t said_count, said_capacity;
    struct pbft_frame *last_sent[NET_TYPES]; /* newest frame of each type */
};

struct net_reply {
    pbft_id node;
    uint32_t client;
    uint64_t session, t;
    struct pbft_digest request;
};

struct net_event;

struct net {
    struct pbft_params params;
    uint32_t n;
    struct pbft_cluster cluster;
    struct pbft_keypair keys[PBFT_REPLICAS_MAX];
    struct pbft_keypair client_keys[NET_CLIENTS];
    struct pbft_public_key client_public[NET_CLIENTS];
    struct pbft_digest null_digest;
    struct {
        struct pbft_frame_pool pool;
        int64_t live;
        bool refuse; /* the budget is used up */
    } frames;
    struct net_node nodes[PBFT_REPLICAS_MAX];

    uint64_t now_ns;
    uint64_t latency_ns, disk_ns, exec_ns, hash_ns, transfer_ns, fetch_ns;
    uint64_t shuffle;        /* not 0: a seed; each delivery takes a random extra time */
    uint64_t due_ns;         /* agreed time of the toy state's one timed effect; 0: none */
    bool no_wants;           /* the door asks nobody (PROTOCOL 16 switched off) */
    uint64_t body_max_bytes; /* of the cores; 0: no bound */

    struct net_rule rules[NET_RULES];
    enum net_fate (*filter)(struct net *t, const struct net_packet *p); /* after the rules */
    void *filter_context;
    struct net_packet *held;
    size_t held_count, held_capacity;

    struct net_event *events; /* binary heap */
    size_t event_count, event_capacity;
    uint64_t order;
    struct pbft_effects effects;

    struct pbft_digest agreed[NET_SEQ_MAX]; /* what the first correct replica executed */
    bool agreed_known[NET_SEQ_MAX];
    struct net_reply *replies;
    size_t reply_count, reply_capacity;
    uint64_t delivered; /* packets */
};

/* ---- life ---- */

/* K = 4, L = 8, pipeline 8, one request a batch, time-out 500 ms; 1 ms latency. */
struct pbft_params net_params(uint32_t n);
struct net *net_new(uint32_t n);
struct net *net_new_with(const struct pbft_params *params);
/* Cores that keep at most so much of proposals (core.h). */
struct net *net_new_bounded(const struct pbft_params *params, uint64_t body_max_bytes);
/* Ends the test's cluster and asserts that no frame leaked. */
void net_free(struct net *t);
void net_puppet(struct net *t, pbft_id id);   /* before anything has run */
struct net *net_solo(uint32_t n, pbft_id id); /* only `id` runs, all others are puppets */
void net_crash(struct net *t, pbft_id id);
/* With an empty state and no memory of its votes: mute (PROTOCOL 29) unless `lie`. */
void net_restart(struct net *t, pbft_id id, bool mute);
/* What was durable stays; then it comes back with that log, and with the last certified state that
 * it had, or none. */
void net_power_loss(struct net *t, pbft_id id);
void net_power_on(struct net *t, pbft_id id, bool with_state);

/* ---- time ---- */

void net_run(struct net *t, uint64_t ms);
/* Until all of `who` (0: every replica that runs) executed `seq`; false after `ms`. */
bool net_run_executed(struct net *t, pbft_signers who, pbft_seq seq, uint64_t ms);
/* Until all of `who` have `view` installed. */
bool net_run_view(struct net *t, pbft_signers who, pbft_view view, uint64_t ms);
bool net_run_stable(struct net *t, pbft_signers who, pbft_seq seq, uint64_t ms);
uint64_t net_wall(const struct net *t, pbft_id id);
pbft_signers net_running(const struct net *t); /* neither puppets nor down */

/* ---- the network ---- */

struct net_rule *net_rule(struct net *t, struct net_rule rule); /* valid until net_rules_clear() */
void net_rules_clear(struct net *t);
/* Cut every message, both ways, between the two groups. */
void net_cut(struct net *t, pbft_signers a, pbft_signers b);
void net_release_held(struct net *t);

/* ---- injection. Frames: one reference, consumed. ---- */

/* Through the network, as if `from` had sent it. */
void net_send(struct net *t, pbft_id from, pbft_signers to, struct pbft_frame *frame);
/* Now, past network and rules; returns the door's or the core's verdict. */
enum pbft_verdict net_deliver(struct net *t, pbft_id from, pbft_id to, struct pbft_frame *frame);
void net_peer_up(struct net *t, pbft_id at, pbft_id peer);
/* A client's signed request to `to` (0: all), with one latency. */
void net_submit(struct net *t, uint32_t client, uint64_t session, uint64_t number, const char *op,
                pbft_signers to);
void net_put(struct net *t, uint64_t number); /* client 0, session 1, to all */
/* A disk that takes writes and finishes none, until it is let go on. */
void net_disk(struct net *t, pbft_id id, bool stuck);

/* ---- crafting. Everything is signed by whom it names; one reference for the caller. ---- */

struct net_batch {
    uint64_t time_ns;
    size_t size;
    uint8_t bytes[NET_BATCH_MAX];
    struct pbft_digest digest;
};

struct pbft_frame *net_request_of(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                                  struct pbft_span op);
struct pbft_frame *net_request(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                               const char *op);
/* One request; agreed time = wall clock now (net_batch_at: as given). */
struct net_batch net_batch(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                           const char *op);
struct net_batch net_batch_at(struct net *t, uint64_t time_ns, uint32_t client, uint64_t session,
                              uint64_t number, const char *op);
struct net_batch net_batch_of(struct net *t, const struct pbft_frame *request);
struct net_batch net_batch_empty(struct net *t, uint64_t time_ns); /* a timed batch */

struct pbft_frame *net_pre_prepare(struct net *t, pbft_view view, pbft_seq seq,
                                   const struct net_batch *batch);
struct pbft_frame *net_header(struct net *t, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest);
struct pbft_frame *net_vote(struct net *t, uint8_t type, pbft_id sender, pbft_view view,
                            pbft_seq seq, const struct pbft_digest *digest);
struct pbft_frame *net_checkpoint(struct net *t, pbft_id sender, pbft_seq seq,
                                  const struct pbft_digest *root);
struct pbft_frame *net_batch_frame(struct net *t, const struct net_batch *batch);
struct pbft_frame *net_commit_certificate(struct net *t, pbft_view view, pbft_seq seq,
                                          const struct net_batch *batch, /* NULL: null request */
                                          pbft_signers signers);
struct pbft_frame *net_checkpoint_certificate(struct net *t, pbft_seq seq,
                                              const struct pbft_digest *root, pbft_signers signers);
struct pbft_frame *net_status(struct net *t, pbft_view view, pbft_seq stable, pbft_seq executed,
                              uint64_t counter, uint8_t flags);
/* Break the message's own signature. */
struct pbft_frame *net_spoil(struct pbft_frame *frame);

/* A P entry: the certificate that `signers` (backups) prepared `digest`. */
struct net_entry {
    pbft_seq seq;
    pbft_view view;
    struct pbft_digest digest;
    pbft_signers signers;
    bool forged_prepare;     /* one PREPARE's signature is wrong */
    bool forged_pre_prepare; /* the PRE-PREPARE's is */
};
struct net_vc {
    pbft_view view;
    pbft_id sender;
    pbft_seq stable;
    struct pbft_digest root; /* zero at seq 0: the genesis root */
    pbft_signers proof;      /* who signed CHECKPOINT(stable, root) */
    bool forged_proof;
    uint32_t entry_count;
    struct net_entry entries[NET_ENTRIES];
};
struct pbft_frame *net_view_change(struct net *t, const struct net_vc *vc);

/* A NEW-VIEW before it is signed, so that tests can bend each field. */
struct net_nv {
    pbft_view view;
    pbft_id sender, signer; /* who is named; whose key signs */
    pbft_signers signers;
    struct pbft_digest vc_digests[PBFT_REPLICAS_MAX]; /* ascending id */
    pbft_seq min_s;
    uint32_t count;
    struct pbft_digest digests[NET_ENTRIES];
    pbft_id entry_signer; /* whose key signs the O entries */
};
/* The right one for these VIEW-CHANGEs, computed here independently of pbft/new_view.c. */
struct net_nv net_new_view(struct net *t, pbft_view view, struct pbft_frame *const *vcs,
                           uint32_t count);
struct pbft_frame *net_new_view_frame(struct net *t, const struct net_nv *nv);

/* ---- looking ---- */

struct pbft_core_info net_info(const struct net *t, pbft_id id);
enum pbft_phase net_phase(const struct net *t, pbft_id id, pbft_seq seq,
                          struct pbft_digest *digest);
pbft_signers net_replied(const struct net *t, uint32_t client, uint64_t session, uint64_t number);
struct pbft_digest net_root(const struct net *t, const struct net_state *state);
bool net_roots_equal(const struct net *t, pbft_signers who);
uint32_t net_records(const struct net *t, pbft_id id, enum pbft_record_kind kind);
uint64_t net_sent(const struct net *t, uint8_t type); /* by all, SEND effects */
/* Decode without verifying; valid until the next call of this function. */
const struct pbft_msg *net_decode(struct net *t, const struct pbft_frame *frame);
bool net_accused(const struct net *t, pbft_id by, pbft_id culprit);
/* Everything that a person looks for when a test fails, on stderr. */
void net_dump(const struct net *t);

/* ---- inside the harness ---- */

struct pbft_frame *net_frame_new(struct net *t, const struct pbft_msg *msg);
void net_sign(struct net *t, struct pbft_frame *frame, const struct pbft_secret_key *key);
void net_core_functions(struct net_node *node, struct pbft_core_functions *out);
void net_step_core(struct net_node *node, struct pbft_event *event, enum pbft_verdict *verdict);
void net_carry_out(struct net_node *node);
void net_state_genesis(struct net_state *state);
void net_execute(struct net_node *node, struct pbft_span proposal, bool null,
                 struct pbft_done_request *done, uint32_t *done_count, uint32_t capacity);

#endif
