/**
 * tests/sim/fixture.h - a cluster under virtual time: the real replica/node (door, core, outbox,
 * apply, transfer), the real client core, and a world of one seed around them (DESIGN 7).
 *
 * Single-threaded. Everything that may vary (link delays, loss, duplication, when jobs complete,
 * clock offsets, workload) is drawn from the seed, so equal options give equal trace hashes.
 *
 * After every step the invariants of FAULTS 3 are checked over the replicas that are not Byzantine.
 * A violation stops the run: sim_ok() turns false and sim_failure() names the invariant, the seed
 * and the virtual time.
 *
 * A test in a few lines:
 *
 *     struct sim_options o = sim_defaults(4, 1, seed);
 *     struct sim *sim = sim_new(&o);
 *     sim_load(sim, 0, 200, SIM_MIX);                     closed loop of 200 operations
 *     cr_assert(sim_run_until(sim, sim_loads_done, NULL, SIM_SECOND * 20), "%s", sim_failure(sim));
 *     sim_free(sim);                                      also finds leaked frames
 *
 * A rule test holds messages back or speaks for a Byzantine replica:
 *
 *     o.byzantine = pbft_signers_of(0);                   its invariants are not checked
 *     sim_set_filter(sim, drop_commits, &state);          false drops a packet
 *     sim_inject(sim, 0, 2, sim_vote(sim, PBFT_PREPARE, 0, view, seq, &digest));
 */
#ifndef PBFT_TESTS_SIM_FIXTURE_H
#define PBFT_TESTS_SIM_FIXTURE_H

#include "client/match.h"
#include "replica/node.h"
#include "tests/sim/alarm.h"
#include "tests/sim/observe.h"
#include "tests/sim/world.h"

struct sim; /* opaque */

#define SIM_MS     UINT64_C(1000000)
#define SIM_SECOND UINT64_C(1000000000)

/* ---- making one ---- */

struct sim_options {
    struct pbft_params params; /* n is in there; sim_defaults() gives small windows */
    uint32_t clients;          /* client keys, each with one client core */
    uint64_t seed;
    const struct pbft_signer *signer;    /* pbft_signer_fast unless changed */
    const struct pbft_service *service;  /* pbft_kv_service unless changed */
    uint64_t delay_min_ns, delay_max_ns; /* of a link, drawn for each packet */
    uint64_t job_min_ns, job_max_ns;     /* how long APPLY, HASH and SYNC jobs take */
    uint32_t loss_ppm, duplicate_ppm;    /* of packets between replicas and to clients */
    uint64_t clock_offset_max_ns;        /* wall clocks differ by up to this */
    bool fifo;                           /* links keep order */
    pbft_signers byzantine;              /* hooks may misbehave; invariants skip these */
    pbft_signers twins;                  /* of those: two instances under one key */
    uint32_t client_window;              /* outstanding per client core */
    uint64_t client_retry_ns;            /* 0: the client core's default */
    uint64_t pool_bytes;                 /* frames of everybody together; 0: 1 GiB */
    uint64_t body_max_bytes;             /* of each replica's core; 0: no bound */
    uint64_t log_bytes_max;              /* cap of each vote log, at most 8 MiB; 0: 2 MiB */
    uint64_t flush_bytes;                /* of log between checkpoints on disk; 0: none there */
    uint64_t transfer_bytes_per_second;  /* of each laggard; 0: no bound */
    bool expect_no_view_change;          /* FAULTS 3.22: a VIEW effect is a failure */
    bool agreement_only;                 /* of COMMITs nothing is asked: the alarm of FAULTS 3.1 may
                                            ring before those that are earlier (3.2, 3.8) */
};

/* n replicas, `clients` clients: K = 8, L = 32, delays 50 us .. 2 ms, jobs 20 us .. 3 ms, no loss.
 */
struct sim_options sim_defaults(uint32_t n, uint32_t clients, uint64_t seed);
/* Options are copied. Replicas and clients are connected from the start. */
struct sim *sim_new(const struct sim_options *options);
/* Ends the process with a panic if a frame leaked. */
void sim_free(struct sim *sim);

/* Before running: what a Byzantine replica does (replica/faults, or a test's own functions). The
 * hooks outlive the sim; `id` must be among options.byzantine. */
void sim_set_hooks(struct sim *sim, pbft_id id, const struct pbft_node_hooks *hooks);

/* A strategy that acts later (replica/faults): told the time before each call into its node, and
 * whenever `deadline` says. */
struct sim_late {
    void *context; /* NULL: there is none */
    void (*tick)(void *context, struct pbft_node *node, uint64_t now_ns);
    uint64_t (*deadline)(const void *context); /* UINT64_MAX: never */
};
void sim_set_late(struct sim *sim, pbft_id id, const struct sim_late *late);

/* What this Byzantine replica does is flip-state (replica/faults) and nothing else: it means well,
 * and has to notice and to be repaired. Checked from now on (FAULTS 4.24). */
struct pbft_faults;
void sim_damaged(struct sim *sim, pbft_id id, const struct pbft_faults *faults);
uint64_t sim_noticed(const struct sim *sim, pbft_id id);  /* divergences */
uint64_t sim_repaired(const struct sim *sim, pbft_id id); /* of these */
/* It noticed nothing, or goes on with the certified state and has told of it. */
bool sim_check_repaired(struct sim *sim, pbft_id id);

/* ---- running ---- */

uint64_t sim_now(const struct sim *sim);
/* One event; false when there is none left or an invariant is broken. */
bool sim_step(struct sim *sim);
/* Both: false when an invariant broke (or, for _until, when max_ns passed first: sim_failure()
 * says so, sim_ok() stays true). */
bool sim_run_for(struct sim *sim, uint64_t ns);
typedef bool sim_predicate(struct sim *sim, void *context);
bool sim_run_until(struct sim *sim, sim_predicate *predicate, void *context, uint64_t max_ns);
bool sim_ok(const struct sim *sim);
const char *sim_failure(const struct sim *sim);
/* sim_fail(sim, format, ...): report a failure of one's own; the first one stays. */
#define sim_fail(sim, ...)                                                                         \
    do {                                                                                           \
        ALARM(alarm_here, __VA_ARGS__);                                                            \
        sim_fail_at(sim, alarm_here, __VA_ARGS__);                                                 \
    } while (0)
__attribute__((format(printf, 3, 4))) void sim_fail_at(struct sim *sim, const char *alarm,
                                                       const char *format, ...);
/* Equal runs have equal hashes (FAULTS 3.19). */
uint64_t sim_trace_hash(const struct sim *sim);
/* A line per delivery to this file (a FILE *), for people; NULL: none. */
void sim_trace_to(struct sim *sim, void *file);
uint64_t sim_random(struct sim *sim, uint64_t below); /* from the seed */

uint64_t sim_answers(const struct sim *sim); /* operations that were answered */

/* Ready-made predicates. */
sim_predicate sim_loads_done; /* every sim_load() is answered */
sim_predicate sim_ops_done;   /* every operation submitted is answered */
sim_predicate sim_converged;  /* correct live replicas, isolated ones aside: equal executed and
                                 stable, nothing pending */
struct sim_at_least {
    pbft_signers who; /* all of these ... */
    pbft_seq stable, executed;
    pbft_view view; /* ... have reached all of these, views active */
};
sim_predicate sim_reached; /* context: struct sim_at_least */

/* ---- faults of the world ---- */

void sim_kill(struct sim *sim, pbft_id id);         /* gone, its memory with it */
void sim_restart_mute(struct sim *sim, pbft_id id); /* PROTOCOL 29: memory mode, second start */
/* With the vote log that its disk holds, and the last checkpoint there: it votes on. */
void sim_restart(struct sim *sim, pbft_id id);
/* As a process does: what the store makes of its log decides. True: it votes on. */
bool sim_restart_as_found(struct sim *sim, pbft_id id);
/* Before that: the checkpoint on its disk is gone. What is missing it fetches. */
void sim_wipe_pages(struct sim *sim, pbft_id id);
/* All at once that are correct and vote lose their power; whom it was is returned. */
pbft_signers sim_blackout(struct sim *sim);
/* What is on a replica's disk when it starts again. */
enum sim_harm {
    SIM_HARM_CRASH,       /* what was synced; of the rest some, torn or not, or (the process alone
                             was killed) all of it, still not synced: sim_kill() */
    SIM_HARM_POWER,       /* what was synced and not a byte more */
    SIM_HARM_TORN,        /* what was synced, and a part of the rest: the last record is cut */
    SIM_HARM_OUTAGE,      /* what was synced; of the rest some, torn or not: sim_blackout() */
    SIM_HARM_ROT,         /* a bit of a record has flipped, with good records after it */
    SIM_HARM_MISDIRECTED, /* a record was written over an older one */
    SIM_HARM_WIPED,
    SIM_HARM_ROLLED_BACK, /* what it was at sim_snapshot_disk() */
    SIM_HARM_FOREIGN,     /* another replica's */
};
/* Kill it and do this to its disk. Returns how many records were lost, or 1 if there are wrong
 * ones; 0: there was nothing to harm. Whether the store notices is checked. */
uint64_t sim_kill_harming(struct sim *sim, pbft_id id, enum sim_harm harm);
void sim_snapshot_disk(struct sim *sim, pbft_id id);
uint64_t sim_disk_unsynced(const struct sim *sim, pbft_id id); /* records */
uint64_t sim_disk_commits(const struct sim *sim, pbft_id id);  /* of its log, in this life */
/* Operations that changed something on its disk, since it was made. */
uint64_t sim_disk_ops(const struct sim *sim, pbft_id id);
/* It is killed by SIM_HARM_OUTAGE in the middle of a commit: this operation is the last one. */
void sim_cut_power_at(struct sim *sim, pbft_id id, uint64_t op);
/* Its disk takes so many bytes of new files more; then it is full (FAULTS 2.42). UINT64_MAX: there
 * is room again. */
void sim_fill_disk(struct sim *sim, pbft_id id, uint64_t room);
/* Packets from any of `from` to any of `to` are lost while on. One-way; call twice for both. */
void sim_block(struct sim *sim, pbft_signers from, pbft_signers to, bool on);
/* The replica hears and says nothing (clients included) while on. */
void sim_isolate(struct sim *sim, pbft_id id, bool on);
void sim_heal(struct sim *sim); /* no blocks, no isolation, no loss, no duplication, no filter */
void sim_set_loss(struct sim *sim, uint32_t loss_ppm, uint32_t duplicate_ppm);
void sim_set_clock_offset(struct sim *sim, pbft_id id, int64_t offset_ns);
/* The log's next commit fails (FAULTS 2.41). */
void sim_break_log(struct sim *sim, pbft_id id);
/* A bit flips in so many packets. Channels are authenticated, so that such a packet never arrives;
 * but for some of a Byzantine replica's, which flips them itself: those the door must drop. */
void sim_set_flips(struct sim *sim, uint32_t flip_ppm);
void sim_set_fifo(struct sim *sim, bool fifo); /* links keep order, or not */
/* Packets from any of `from` to any of `to` take so much longer; 0: no longer. */
void sim_slow_links(struct sim *sim, pbft_signers from, pbft_signers to, uint64_t extra_ns);
/* Syncs of this replica's log take so much longer; 0: no longer. */
void sim_slow_disk(struct sim *sim, pbft_id id, uint64_t extra_ns);
/* These replicas and clients (bit i: client i) meet the second instance of each twin, the others
 * the first; at the beginning nobody does. */
void sim_twins_meet(struct sim *sim, pbft_signers replicas, uint64_t clients);

/* How often a fault of the world, or a place, was seen so far (tests/sim/world.h); those of
 * Byzantine strategies are counted by their owners. */
uint64_t sim_acted(const struct sim *sim, enum sim_fault fault);
uint64_t sim_reached_so_far(const struct sim *sim, enum sim_reach reach);
/* How often chance should have made it act, on average. */
uint64_t sim_expected(const struct sim *sim, enum sim_fault fault);
/* Frames that the node of a Byzantine replica wanted to send, before its hooks; by type. */
uint64_t sim_wished(const struct sim *sim, pbft_id id, uint8_t type);
uint64_t sim_delivered(const struct sim *sim); /* packets that reached somebody */

struct sim_packet {
    bool from_client, to_client;
    uint32_t from, to;       /* replica id or client index */
    uint8_t type;            /* enum pbft_type */
    struct pbft_claim claim; /* as pbft_wire_peek() says */
    struct pbft_frame *frame;
};
/* Asked for each packet when it is sent; false drops it. It may inject others and may retain the
 * frame to deliver it later. NULL: none. */
typedef bool sim_filter(struct sim *sim, const struct sim_packet *packet, void *context);
void sim_set_filter(struct sim *sim, sim_filter *filter, void *context);

/* Told about everything from now on (tests/sim/observe.h); NULL: nobody. */
void sim_observe(struct sim *sim, sim_observer *observer, void *context);

/* ---- looking ---- */

struct pbft_node *sim_node(struct sim *sim, pbft_id id); /* NULL while killed */
struct pbft_node_info sim_info(struct sim *sim, pbft_id id);
bool sim_alive(const struct sim *sim, pbft_id id);
pbft_signers sim_correct(const struct sim *sim); /* alive, not Byzantine, not mute */
const struct pbft_cluster *sim_cluster(const struct sim *sim);
const struct pbft_signer *sim_signer(const struct sim *sim);
struct pbft_frame_pool *sim_pool(struct sim *sim);
/* How many packets of this type were sent so far (before loss). */
uint64_t sim_sent(const struct sim *sim, uint8_t type);
uint64_t
sim_view_changes(struct sim *sim); /* VIEW-CHANGEs started, all correct replicas together */
/* What the oracle executed at seq; false if it has not got there. */
bool sim_executed(const struct sim *sim, pbft_seq seq, struct pbft_digest *digest);
pbft_seq sim_executed_last(const struct sim *sim);
uint64_t sim_log_lines(const struct sim *sim,
                       const char *event);                 /* LOG outputs so far, all nodes */
uint64_t sim_log_bytes(const struct sim *sim, pbft_id id); /* held by its vote log */
/* Verdict of the last frame that this replica was given. */
enum pbft_verdict sim_last_verdict(const struct sim *sim, pbft_id id);
const struct pbft_match_stats *sim_client_stats(const struct sim *sim, uint32_t client);

/* ---- clients ---- */

enum sim_op_kind {
    SIM_PUT,
    SIM_GET,
    SIM_GET_ORDERED,
    SIM_DELETE,
    SIM_CAS,
    SIM_RAW,
    SIM_RANGE, /* a fast read; `key` is the prefix */
    SIM_RANGE_ORDERED,
    SIM_BUNDLE, /* several operations of one request: see sim_result() */
    SIM_READS,  /* several fast reads out of one state, likewise */
};
const char *sim_op_text(enum sim_op_kind kind);
enum sim_op_state { SIM_OP_WAITING, SIM_OP_ANSWERED, SIM_OP_TIMEOUT };

struct sim_op {
    enum sim_op_kind kind;
    enum sim_op_state state;
    uint32_t client;
    uint64_t t; /* request number; 0: a fast read that never became one */
    uint64_t call_ns, return_ns;
    uint8_t outcome;   /* enum pbft_outcome */
    bool fallback;     /* a read that was ordered after all */
    uint8_t kv_status; /* enum pbft_kv_status, when outcome is EXECUTED and the service is kv */
    uint8_t first;     /* RAW: first byte of its result */
    char key[32];
    char value[64];  /* PUT: written; GET: found, "" if none; CAS: new */
    char expect[64]; /* CAS */
    uint32_t limit;  /* RANGE: 0 = as many as fit */
    uint32_t parts;  /* operations: more than 1 in bundles only */
};

/* Submit one operation; returns its number for sim_op(). A full window is a failure of the test. */
size_t sim_put(struct sim *sim, uint32_t client, const char *key, const char *value);
size_t sim_get(struct sim *sim, uint32_t client, const char *key, bool ordered);
size_t sim_delete(struct sim *sim, uint32_t client, const char *key);
/* expect NULL: the key must be absent. */
size_t sim_cas(struct sim *sim, uint32_t client, const char *key, const char *expect,
               const char *value);
size_t sim_range(struct sim *sim, uint32_t client, const char *prefix, uint32_t limit,
                 bool ordered);
/* One operation of a bundle: PUT, GET_ORDERED, DELETE, CAS (expect NULL: absent), RANGE_ORDERED. */
struct sim_part {
    enum sim_op_kind kind;
    const char *key, *value, *expect;
    uint32_t limit;
};
size_t sim_bundle(struct sim *sim, uint32_t client, const struct sim_part *parts, uint32_t count);
/* The same as fast reads: GET and RANGE only. */
size_t sim_reads(struct sim *sim, uint32_t client, const struct sim_part *parts, uint32_t count);
/* Operations of this client from now on are given up after so long (SIM_OP_TIMEOUT); 0: never. */
void sim_set_patience(struct sim *sim, uint32_t client, uint64_t ns);
/* What the service answered to operation `index` of an operation that was executed; empty: it was
 * not, or it is raw. Until the next submission. */
struct pbft_span sim_result(const struct sim *sim, size_t number, uint32_t index);
/* The administrator (client 0; others are refused) replaces the key of a replica that is not
 * Byzantine, by an operation. When the epoch has ended the replica goes on with its new key, also
 * one that was mute. SIZE_MAX: the client's window is full. */
size_t sim_replace(struct sim *sim, uint32_t client, pbft_id id);
pbft_epoch sim_epoch(const struct sim *sim, pbft_id id); /* that this replica is in */
/* A bundle of one operation in the service's own bytes. */
size_t sim_submit(struct sim *sim, uint32_t client, struct pbft_span op);
const struct sim_op *sim_op(const struct sim *sim, size_t number); /* until the next submission */
size_t sim_op_count(const struct sim *sim);

/* Puts only; puts, gets of both kinds, cas, deletes; all of that with ranges, bundles and values
 * that repeat on purpose (PROTOCOL 32). */
enum sim_mix { SIM_WRITES, SIM_MIX, SIM_SWARM };
/* A closed loop: `count` operations by this client, as many at once as its window takes. */
void sim_load(struct sim *sim, uint32_t client, uint64_t count, enum sim_mix mix);

/* ---- hostile clients (FAULTS 2.31 to 2.33), and the history of the honest ones ---- */

enum sim_hostile {
    SIM_HOSTILE_FORGED = 1u,   /* requests with a wrong signature, or another client's name */
    SIM_HOSTILE_CONFLICT = 2u, /* one request number, other operations to each replica */
    SIM_HOSTILE_HUGE_T = 4u,   /* request number 2^64 - 1, and around the window's edges */
    SIM_HOSTILE_FLOOD = 8u,    /* far more than the quota: new sessions, replays, fast reads */
};
/* From now on this client, which has no load, does such things about every `every_ns`, to all
 * replicas or to some; 0 stops it. */
void sim_hostile(struct sim *sim, uint32_t client, unsigned kinds, uint64_t every_ns);
uint64_t sim_hostile_acts(const struct sim *sim, enum sim_hostile kind);
/* The history of all operations so far, those of kind SIM_RAW aside, goes through linear_check();
 * not linearizable, or not decided within a generous budget, is a failure of the sim. */
bool sim_check_history(struct sim *sim);
/* FAULTS 3.24, at the end of a run: correct replicas sent no more messages than what happened and
 * the time that passed account for, generously; else a failure of the sim. */
bool sim_check_bandwidth(struct sim *sim);

/* ---- speaking for others (Byzantine replicas, hostile clients) ---- */

/* Frames with one reference, signed by `as` where the type is. Each returned frame is handed on to
 * sim_inject() or released. */
struct pbft_frame *sim_vote(struct sim *sim, uint8_t type, pbft_id as, pbft_view view, pbft_seq seq,
                            const struct pbft_digest *digest);
struct pbft_frame *sim_checkpoint(struct sim *sim, pbft_id as, pbft_seq seq,
                                  const struct pbft_digest *root);
/* A proposal of these REQUEST frames (at most 16) by primary(view), signed by `as`. *digest takes
 * the proposal digest; may be NULL. */
struct pbft_frame *sim_pre_prepare(struct sim *sim, pbft_id as, pbft_view view, pbft_seq seq,
                                   uint64_t time_ns, struct pbft_frame *const *requests,
                                   uint32_t count, struct pbft_digest *digest);
/* A client's REQUEST with one operation, signed with its key. Known to the checkers as the client's
 * own. session 0: the session of the client core. */
struct pbft_frame *sim_request(struct sim *sim, uint32_t client, uint64_t session, uint64_t t,
                               struct pbft_span op);
/* Any message: encoded, epoch filled in, signed by replica `as` if the type is signed. */
struct pbft_frame *sim_message(struct sim *sim, pbft_id as, struct pbft_msg *msg);
/* Sign a rebuilt body (signatures inside certificates) as replica `as`. */
void sim_sign_body(struct sim *sim, pbft_id as, uint8_t type, struct pbft_span body,
                   uint8_t signature[PBFT_SIGNATURE_BYTES]);
const struct pbft_keypair *sim_replica_key(const struct sim *sim, pbft_id id);
const struct pbft_keypair *sim_client_key(const struct sim *sim, uint32_t client);
uint64_t sim_client_session(const struct sim *sim, uint32_t client);
uint64_t sim_wall_ns(const struct sim *sim); /* true time, without any node's offset */

/* Hand a frame to replica `to` now, as if it came over the channel of replica `from` (or of a
 * client). Takes the reference; returns the node's verdict. */
enum pbft_verdict sim_inject(struct sim *sim, pbft_id from, pbft_id to, struct pbft_frame *frame);
enum pbft_verdict sim_inject_client(struct sim *sim, uint32_t client, pbft_id to,
                                    struct pbft_frame *frame);

#endif
