/**
 * tests/sim/fixture_internal.h - the fixture's state, shared by fixture*.c.
 */
#ifndef PBFT_TESTS_SIM_FIXTURE_INTERNAL_H
#define PBFT_TESTS_SIM_FIXTURE_INTERNAL_H

#include "replica/apply.h"
#include "replica/pool.h"
#include "tests/sim/fixture.h"
#include "tests/sim/recheck.h"

#include <stdio.h>

#define NEVER UINT64_MAX

enum event_kind { EVENT_TO_NODE, EVENT_TO_CLIENT, EVENT_JOB, EVENT_TICK, EVENT_CLIENT_TICK };

struct event {
    uint64_t at_ns, order;
    enum event_kind kind;
    bool from_client;
    uint32_t from, to;    /* `to`: node, or client */
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

struct node {
    struct pbft_node *node; /* NULL: killed */
    struct pbft_log *log;
    struct pbft_keypair keypair;
    struct pbft_node_hooks hooks; /* ours; calls `user` */
    const struct pbft_node_hooks *user;
    struct sim *sim;
    pbft_id id;
    uint64_t incarnation; /* also the number of its connections */
    bool mute, isolated, dying;
    int64_t clock_offset_ns;
    uint64_t tick_at;
    uint64_t jobs_out;
    enum pbft_verdict verdict;
    /* checkers */
    pbft_view view;
    pbft_seq stable, executing; /* highest STABLE; last EXECUTE effect */
    pbft_lsn log_seen;          /* durable records up to here are in `synced` */
    uint64_t log_records_seen;
    struct map synced; /* statements in the synced log, FAULTS 3.6 */
    struct map said;   /* statements sent, by (type, view, seq): one digest each, FAULTS 3.5 */
};

struct load {
    uint64_t left;
    enum sim_mix mix;
    uint64_t number;
};

struct client {
    struct pbft_match *match;
    struct pbft_door *door;
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
    pbft_signers *blocked;  /* by sender: to whom */
    uint64_t *last_arrival; /* fifo: by link */
    sim_filter *filter;
    void *filter_context;
    uint64_t sent[64];
    uint64_t lost, cut, doubled, overtaken, delivered; /* packets, by what befell them */
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
    struct pbft_door *oracle_door; /* requests and proposals */
    struct pbft_door *reply_door;  /* the oracle's own replies, while a proposal is open */
    struct executed *executed;     /* [seq - 1] */
    size_t executed_count, executed_capacity;
    struct map requests;    /* digests of requests that clients signed, FAULTS 3.4 */
    struct map results;     /* (client, session, t) -> outcome and result */
    struct map results_any; /* every (client, op bytes, outcome, result) that was executed */
    struct map roots;       /* seq -> root, the oracle's, FAULTS 3.12 */
    struct map prepared;    /* (view, seq) -> digest of COMMITs, FAULTS 3.8 */
    struct map committed;   /* (seq, view, digest) -> signers, FAULTS 3.2 */
    struct map decided;     /* seq -> digest that q committed; number = view */
    struct map checkpoints; /* (seq, root) -> signers among correct, FAULTS 3.11 */
    struct key_history *keys;
    size_t key_count, key_capacity;

    struct recheck *recheck; /* FAULTS 3.7, 3.10 */

    struct history *history; /* of honest clients; fixture_clients.h */
    struct hostile *hostile; /* hostile clients */
};

/* fixture.c */
void *sim_alloc(size_t bytes);
void *sim_grow(void *array, size_t *capacity, size_t count, size_t item);
void sim_push(struct sim *sim, const struct event *event);
void sim_drain(struct sim *sim, pbft_id id);
bool sim_is_correct(const struct sim *sim, pbft_id id); /* not Byzantine (mute ones included) */
/* Send a frame from a client; borrowed. */
void sim_client_send(struct sim *sim, uint32_t client, pbft_id to, struct pbft_frame *frame);
struct pbft_time sim_time_of(const struct sim *sim, pbft_id id);
/* To the observer, if there is one; at_ns is filled in. */
void sim_tell(struct sim *sim, const struct sim_seen *seen);
__attribute__((format(printf, 2, 3))) void sim_tell_fault(struct sim *sim, const char *format, ...);

/* fixture_client.c */
void client_start(struct sim *sim, uint32_t client);
void client_frame(struct sim *sim, uint32_t client, pbft_id from, struct pbft_frame *frame);
void client_tick(struct sim *sim, uint32_t client);
void client_connected(struct sim *sim, uint32_t client, pbft_id replica);
void client_disconnected(struct sim *sim, uint32_t client, pbft_id replica);
void client_free(struct sim *sim, uint32_t client);

/* fixture_check.c */
bool check_start(struct sim *sim);
void check_effects(struct sim *sim, struct node *node, const struct pbft_effects *effects);
void check_outbound(struct sim *sim, struct node *node, struct pbft_frame *frame);
void check_node(struct sim *sim, struct node *node); /* after each call into it */
void check_request(struct sim *sim, const struct pbft_request *request); /* a client signed it */
void check_ordered(struct sim *sim, struct op *op, uint8_t outcome,
                   const struct pbft_digest *result);
void check_fast(struct sim *sim, struct op *op);
void check_restart(struct node *node);
void check_free(struct sim *sim);
struct key_history *check_key(struct sim *sim, const char *key); /* watched from now on */

#endif
