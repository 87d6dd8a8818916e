/**
 * tests/sim/fixture_internal.h - the fixture's state, shared by fixture*.c.
 */
#ifndef PBFT_TESTS_SIM_FIXTURE_INTERNAL_H
#define PBFT_TESTS_SIM_FIXTURE_INTERNAL_H

#include "replica/apply.h"
#include "replica/pool.h"
#include "tests/sim/fixture.h"
#include "replica/faults/faults.h"
#include "store/log_file.h"
#include "tests/sim/recheck.h"
#include "tests/sim/vdisk.h"
#include "tests/sim/world.h"

#include <stdio.h>

#define NEVER UINT64_MAX

enum event_kind {
    EVENT_TO_NODE,
    EVENT_TO_CLIENT,
    EVENT_JOB,
    EVENT_TICK,
    EVENT_CLIENT_TICK,
    EVENT_EPOCH,       /* a node ends, and begins the next epoch */
    EVENT_TOLD,        /* a node hears that its epoch is over */
    EVENT_TOLD_CLIENT, /* a client does */
};

struct event {
    uint64_t at_ns, order;
    enum event_kind kind;
    bool from_client, flipped;
    uint32_t from, to;    /* `to`: place of a node (a twin has its own), or client */
    uint64_t incarnation; /* of the node concerned */
    uint64_t sent_ns;     /* of a frame */
    struct pbft_frame *frame;
    struct pbft_job *job;
};

/* A map from digests to digests and a number; open addressing, grows. */
struct map_entry {
    bool used;
    struct pbft_digest key, value;
    uint64_t number;
};
struct map {
    struct map_entry *entries;
    size_t capacity, count;
};
struct map_entry *map_find(const struct map *map, const struct pbft_digest *key);
/* The entry, made if it is new (then *fresh is true and value, number are zero). */
struct map_entry *map_put(struct map *map, const struct pbft_digest *key, bool *fresh);
void map_free(struct map *map);

/* A COMMIT that a replica was bound to, for its later VIEW-CHANGEs (FAULTS 3.14). */
struct promise {
    pbft_seq seq; /* 0: none */
    pbft_view view;
    struct pbft_digest digest;
    bool least; /* of an earlier life, in which a later view may have been logged and not sent */
};

/* A configuration, and who judges by it. */
struct epoch {
    const struct pbft_cluster *cluster;
    struct pbft_cluster owned;    /* all but the first */
    struct pbft_door *door;       /* requests and proposals */
    struct pbft_door *reply_door; /* the oracle's own replies, while a proposal is open */
    struct recheck *recheck;      /* FAULTS 3.7, 3.10 */
};
#define EPOCHS_MAX  8u
#define WRONG_ROOTS 8u /* checkpoints that may wait for a certificate */

struct node {
    struct pbft_node *node;             /* NULL: killed */
    struct pbft_log *log;               /* fixture_disk.c, over the store's own */
    struct vdisk *disk;                 /* under its log; NULL: it never voted in this epoch */
    struct vdisk *snapshot;             /* of that, to roll back to */
    pbft_lsn durable;                   /* what its log reported in its last life */
    uint64_t luck;                      /* what crashes leave follows from it */
    bool powerless;                     /* dying, by a crash */
    struct pbft_pages_disk *pages_disk; /* its other disk */
    struct pbft_pages *pages;           /* NULL: closed, or never used */
    struct pbft_keypair keypair;
    pbft_epoch epoch;             /* on its disk */
    struct pbft_frame *proof;     /* it is over */
    bool told;                    /* ... and somebody is about to say so */
    struct pbft_node_hooks hooks; /* ours; calls `user` */
    const struct pbft_node_hooks *user;
    struct sim_late late; /* a strategy that acts later */
    struct sim *sim;
    pbft_id id;
    uint32_t place;       /* in sim->nodes: id, or n + id for a twin */
    uint64_t incarnation; /* also the number of its connections */
    bool mute, isolated, dying;
    bool forgetful; /* its log is an older one, which it cannot see (FAULTS 2.44) */
    int64_t clock_offset_ns;
    uint64_t tick_at;
    uint64_t jobs_out;
    uint64_t disk_extra_ns; /* slow disk */
    enum pbft_verdict verdict;
    /* checkers */
    pbft_view view;
    pbft_seq stable, executing;   /* highest STABLE; last EXECUTE effect */
    struct pbft_frame *last_sent; /* checked already: a broadcast is one frame */
    struct map synced;            /* statements in the synced log, FAULTS 3.6 */
    struct map said;      /* statements sent, by (type, view, seq): one digest each, FAULTS 3.5 */
    pbft_view asked_view; /* highest VIEW-CHANGE sent, FAULTS 3.5, 3.9 */
    struct {              /* FAULTS 3.22 */
        pbft_view view;   /* of its last change of views, */
        uint64_t at_ns;   /* and when that was */
        pbft_view heard[PBFT_REPLICAS_MAX]; /* highest VIEW-CHANGE of each */
    } stay;
    struct promise *promises; /* window of them, by seq */
    struct promise *given;    /* those whose COMMIT was sent, which bind all lives, FAULTS 3.14 */
    uint64_t fetches_open;    /* FETCH without FETCH_STOP */
    struct map fetching;
    uint64_t sent, executions, numbers, view_steps, checkpoints; /* FAULTS 3.24 */
    /* reach */
    struct map answered, asked;
    uint64_t timeout_ns, retransmissions;
    pbft_seq eased_at, left_at; /* PROTOCOL 23: h at the last look, executed at the last leaving */
    uint64_t left;              /* views, at the last look */
    uint64_t heard;             /* questions of clients and FETCHes, FAULTS 3.24 */
    bool transferring, storage_failed, window_full;
    bool restoring; /* its log is read */
    bool clock_skewed, clock_jumped;
    /* FAULTS 4.24; NULL: its state is left alone */
    const struct pbft_faults *damaged;
    bool replacing; /* its state */
    /* Its CHECKPOINTs: with a wrong root, and not noticed (by number, 0: none); the last; the last
     * before it was noticed. */
    pbft_seq wrong_roots[WRONG_ROOTS], signed_last, signed_wrong;
    uint64_t noticed, repaired;
    uint64_t
        noticed_before; /* in earlier epochs; a bit flips once, so in this one it is noticed once */
    uint64_t wished[64]; /* Byzantine: frames that its node wanted to send, by type */
};

struct load {
    uint64_t left;
    enum sim_mix mix;
    uint64_t number;
};

struct client {
    struct pbft_match *match;
    struct pbft_door *door;
    pbft_epoch epoch;
    bool told;
    struct pbft_keypair keypair;
    uint64_t session;
    uint64_t tick_at;
    uint32_t outstanding;
    struct load load;
    bool loading, load_full;
};

/* An operation and what is needed to judge its answer. */
struct op {
    struct sim_op op;
    pbft_seq floor; /* highest seq that any answer given before the call implies */
    uint8_t *bytes; /* its operation, as submitted */
    size_t size;
};

/* A key's value from `seq` on, for fast reads (FAULTS 3.16 with a known order of writes). */
struct version {
    pbft_seq seq;
    uint64_t executed_ns;
    bool present;
    char value[64];
};
struct key_history {
    char key[32];
    struct version *versions;
    size_t count, capacity;
    uint8_t *entry; /* of the newest, as it is in the oracle's tree; NULL: absent */
    size_t entry_size;
};

/* One executed proposal. */
struct executed {
    struct pbft_digest digest;
    uint64_t at_ns;
};

struct sim {
    struct sim_options o;
    uint32_t n;
    struct pbft_cluster cluster;
    struct pbft_pool *pool;
    struct node *nodes;
    struct client *clients;
    uint64_t random;
    uint64_t now_ns, wall_base_ns, order;
    struct event *heap;
    size_t heap_count, heap_capacity;
    pbft_signers *blocked; /* by sender: to whom */
    uint64_t *slow_ns;     /* by sender and receiver */
    uint64_t flying_bytes; /* frames in the queue */
    uint32_t flip_ppm;
    pbft_signers twin_sees;       /* replicas that meet the second instance of each twin */
    uint64_t twin_clients;        /* clients that do */
    uint32_t sending;             /* place of the node whose packet is carried */
    const struct event *stepping; /* the delivery under way */
    uint64_t forbidden;           /* faults that do nothing, for tests of those who notice */
    uint64_t acted[SIM_FAULT_COUNT];
    uint64_t odds_ppm[SIM_FAULT_COUNT]; /* of chance: how often it should have acted, times 10^6 */
    uint64_t reached[SIM_REACH_COUNT];
    uint64_t delivered;
    uint64_t outbox_max;
    uint64_t log_commits;    /* of all correct replicas */
    struct pbft_arena arena; /* of checkers that decode */
    uint64_t *last_arrival;  /* fifo: by link */
    sim_filter *filter;
    void *filter_context;
    uint64_t sent[64];
    uint64_t trace_hash;
    FILE *trace;
    sim_observer *observer;
    void *observer_context;
    bool failed;
    char failure[512];
    struct map log_lines;

    struct op *ops;
    size_t op_count, op_capacity, ops_waiting;
    pbft_seq answered_floor;

    /* the oracle */
    struct pbft_apply *oracle;
    struct epoch epochs[EPOCHS_MAX];
    uint32_t epoch_count;
    pbft_epoch oracle_epoch;
    struct executed *executed; /* [seq - 1] */
    size_t executed_count, executed_capacity;
    struct map requests;    /* digests of requests that clients signed, FAULTS 3.4 */
    struct map results;     /* (client, session, t) -> outcome and result */
    struct map replies;     /* (client, session, t, outcome, result) -> who told the client so */
    struct map results_any; /* every (client, op bytes, outcome, result) that was executed */
    struct map roots;       /* seq -> root, the oracle's, FAULTS 3.12 */
    struct map prepared;    /* (view, seq) -> digest of COMMITs, FAULTS 3.8 */
    struct map committed;   /* (seq, view, digest) -> signers, FAULTS 3.2 */
    struct map shown;       /* entries of VIEW-CHANGEs, FAULTS 4.7 */
    struct map decided;     /* seq -> digest that q committed; number = view */
    struct map checkpoints; /* (seq, root) -> signers among correct, FAULTS 3.11 */
    struct key_history *keys;
    size_t key_count, key_capacity;

    struct history *history; /* of honest clients; fixture_clients.h */
    struct hostile *hostile; /* hostile clients */
};

/* fixture.c */
void *sim_alloc(size_t bytes);
void *sim_grow(void *array, size_t *capacity, size_t count, size_t item);
uint64_t sim_between(struct sim *sim, uint64_t least, uint64_t most);
bool sim_happens(struct sim *sim, uint32_t ppm);
void sim_push(struct sim *sim, const struct event *event);
/* To the observer, if there is one; at_ns is filled in. */
void sim_tell(struct sim *sim, const struct sim_seen *seen);
__attribute__((format(printf, 2, 3))) void sim_tell_fault(struct sim *sim, const char *format, ...);

/* fixture_links.c */
/* Send a frame from a client; borrowed. */
void sim_client_send(struct sim *sim, uint32_t client, pbft_id to, struct pbft_frame *frame);
/* From the node at `place`. */
void sim_node_send(struct sim *sim, uint32_t place, bool to_client, uint32_t to,
                   struct pbft_frame *frame);
void sim_tell_delivery(struct sim *sim, const struct event *e, bool lost,
                       enum pbft_verdict verdict);
void sim_trace(struct sim *sim, const struct event *e); /* into the hash, and to the file */

/* fixture_nodes.c: what goes into a node and comes out */
bool sim_is_correct(const struct sim *sim, pbft_id id); /* not Byzantine (mute ones included) */
struct pbft_time sim_time_of(const struct sim *sim, uint32_t place);
struct pbft_peer node_peer_replica(const struct sim *sim, pbft_id id);
struct pbft_peer node_peer_client(uint32_t client);
struct pbft_node_hooks node_hooks(struct node *n);
void node_wake(struct sim *sim, struct node *n);  /* before each call into it */
void node_drain(struct sim *sim, struct node *n); /* after each call into it */
void node_frame(struct sim *sim, const struct event *e);
void node_job(struct sim *sim, const struct event *e);
void node_tick(struct sim *sim, const struct event *e);
/* The place of a twin's second instance; NULL if it has none. */
struct node *node_twin(struct sim *sim, pbft_id id);

/* fixture_lives.c: the processes of a replica, one after the other */
void nodes_start(struct sim *sim);
void nodes_connect(struct sim *sim);
void nodes_free(struct sim *sim);
/* As disk_crash() returns. */
uint64_t node_kill(struct sim *sim, pbft_id id, enum sim_harm harm);
void node_epoch(struct sim *sim, const struct event *e); /* it begins the next one */
void node_told(struct sim *sim, const struct event *e);

/* fixture_epoch.c: one configuration follows another */
bool epochs_start(struct sim *sim);
void epochs_free(struct sim *sim);
struct epoch *epoch_of(struct sim *sim, pbft_epoch epoch);
/* Of a frame, as it says itself; the first for a number that there is not. */
struct epoch *epoch_of_frame(struct sim *sim, const struct pbft_frame *frame);
/* The configuration that this proof leads to from `from`; all correct replicas have the same. NULL:
 * it is none, and the run has failed. */
const struct pbft_cluster *epoch_after(struct sim *sim, pbft_epoch from, struct pbft_span proof);
/* A frame is about to be delivered between two ends: whoever is behind will be told. */
void epochs_meet(struct sim *sim, const struct event *e);
/* That a replica is given for the epoch which replaces its key. */
void epoch_keypair(const struct sim *sim, pbft_id id, pbft_epoch epoch, struct pbft_keypair *out);
void client_told(struct sim *sim, uint32_t client);

/* fixture_disk.c: the store's log on a disk that loses what was not synced */
struct pbft_log *disk_open(struct node *node); /* an empty one; in memory for a mute replica */
/* What an earlier life left. Not to go on with it is a failure. */
struct pbft_log *disk_reopen(struct node *node);
void disk_drop(struct node *node); /* the disk goes; its log is closed */
void disk_break(struct pbft_log *log);
/* Its power has failed, and it does not know yet. */
bool disk_is_dark(const struct node *node);
/* Hand what was synced since the last call to note_synced(). */
void disk_show_synced(struct pbft_log *log);
/* The replica dies now: all that it ever sent must be readable in what is left, whatever became of
 * the tail (FAULTS 3.6). That is what its next life finds. Returns how many records were lost. */
uint64_t disk_crash(struct sim *sim, struct node *node, enum sim_harm harm);
struct pbft_log_file_config disk_config(const struct node *node, struct vdisk *disk);
/* May whoever finds this log vote on (PROTOCOL 29)? */
bool disk_usable(const struct node *node);

/* fixture_harm.c: while it is dead. False: there was nothing to harm. */
bool disk_harm(struct sim *sim, struct node *node, enum sim_harm harm);

/* fixture_found.c: the run fails unless a replica that started on this disk would find a usable
 * log, with records up to `durable` and all that it ever sent. Returns the last lsn there. */
pbft_lsn found_check(struct sim *sim, const struct node *node, struct vdisk *disk,
                     pbft_lsn durable);

/* fixture_client.c */
void client_start(struct sim *sim, uint32_t client);
void client_frame(struct sim *sim, uint32_t client, pbft_id from, struct pbft_frame *frame);
void client_tick(struct sim *sim, uint32_t client);
void client_connected(struct sim *sim, uint32_t client, pbft_id replica);
/* Its replicas have a new configuration. */
void client_epoch(struct sim *sim, uint32_t client, const struct pbft_cluster *cluster);
void client_disconnected(struct sim *sim, uint32_t client, pbft_id replica);
void client_free(struct sim *sim, uint32_t client);

/* fixture_oracle.c */
bool oracle_start(struct sim *sim);
void oracle_free(struct sim *sim);
void oracle_execute(struct sim *sim, const struct pbft_effect *e);
void check_request(struct sim *sim, const struct pbft_request *request); /* a client signed it */
void check_ordered(struct sim *sim, struct op *op, uint8_t outcome,
                   const struct pbft_digest *result);
/* A client hears this REPLY. */
void note_reply(struct sim *sim, uint32_t client, pbft_id from, const struct pbft_reply *reply);
void check_fast(struct sim *sim, struct op *op);
struct key_history *check_key(struct sim *sim, const char *key); /* watched from now on */

/* fixture_map.c */
void key_numbers(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
void key_with_digest(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c,
                     const struct pbft_digest *digest);

/* fixture_check.c: what a replica decides */
void check_start(struct sim *sim);
void check_free(struct sim *sim);
void check_restart(struct node *node);
void check_restoring(struct node *node); /* its log is read next */
void check_restored(struct node *node);  /* it was: h and the view begin there */
void check_epoch_begun(struct node *node);
void check_effects(struct sim *sim, struct node *node, const struct pbft_effects *effects);
void check_dying(struct sim *sim, const struct node *node, const struct pbft_effects *effects);
void check_node(struct sim *sim, struct node *node); /* after each call into it */

/* fixture_sent.c: what it says */
/* A statement that its signer is bound by: false for frames that state nothing of `id`'s own. */
bool own_statement(const struct sim *sim, pbft_id id, struct pbft_span frame,
                   struct pbft_claim *claim);
/* What may not differ between two frames of equal (type, view, seq). */
void statement_content(const struct pbft_claim *claim, struct pbft_span frame,
                       struct pbft_digest *out);
void statement_key(const struct pbft_claim *claim, const struct pbft_digest *content,
                   struct pbft_digest *key);
void note_synced(struct node *node, struct pbft_span payload);
void check_commit_taken(struct sim *sim, struct pbft_span frame); /* by a correct replica */
void check_outbound(struct sim *sim, struct node *node, const struct pbft_peer *to,
                    struct pbft_frame *frame);

/* fixture_damage.c: a state that changes underneath */
void damage_effects(struct sim *sim, struct node *node, const struct pbft_effects *effects);
void damage_outbound(struct sim *sim, struct node *node, const struct pbft_frame *frame);
void damage_check(struct sim *sim, struct node *node);
void damage_epoch(struct node *node);
enum pbft_status damage_report(void *context, pbft_seq seq, const char *json, size_t size);

/* fixture_bounds.c: promises kept, and limits */
void check_stay_begins(struct node *node, pbft_view view);
void check_wish_heard(struct node *node, struct pbft_span frame); /* before the core sees it */
void check_view_effect(struct sim *sim, struct node *node, pbft_view view, bool active);
void check_promise(struct sim *sim, struct node *node, struct pbft_span commit);
void keep_promise(const struct sim *sim, struct promise *promises, const struct pbft_claim *commit);
void check_view_change(struct sim *sim, struct node *node, struct pbft_span frame);
void check_fetch(struct sim *sim, struct node *node, const struct pbft_fetch *what, bool begins);
void check_back_off(struct sim *sim, struct node *node, const struct pbft_core_info *info);
void check_limits(struct sim *sim, struct node *node, const struct pbft_node_info *info);
/* Places that a campaign must reach; counting only. */
void reach(struct sim *sim, enum sim_reach place);
void reach_effect(struct sim *sim, struct node *node, const struct pbft_effect *e);
void reach_outbound(struct sim *sim, struct node *node, const struct pbft_peer *to,
                    struct pbft_frame *frame);
void reach_info(struct sim *sim, struct node *node, const struct pbft_core_info *info);
void reach_delivery(struct sim *sim, struct node *node, const struct event *e,
                    const struct pbft_claim *claim, pbft_view view);

#endif
