/**
 * tests/sim/world.h - a whole run out of one seed: which cluster, which load, which faults, two
 * phases, and the verdict (DESIGN 7, FAULTS 2 and 3).
 *
 * The seed draws everything: n, window and pipeline, the workload, link delays, loss, duplication,
 * reordering, bit flips, partitions (also one-way), clock skew and jumps, crashes and restarts,
 * slow and torn disks, hostile clients, and up to f Byzantine replicas. It also draws which sorts
 * of fault stay away ("swarm"), because faults that always come together hide what each would
 * show.
 *
 * Phase 1, safety: faults, load, every invariant of FAULTS 3 after every step. Phase 2, liveness:
 * the network heals, nobody crashes any more, the Byzantine go on, and whoever is dead, mute or
 * without a disk stays so; every operation must be answered, the states of all others converge,
 * also of those that came back with their log, and no view with a primary among them is left,
 * within a bound that is computed from the time-outs (FAULTS 3.21). Then the clients' history goes
 * through the linearizability checker (tests/sim/linear.h).
 */
#ifndef PBFT_TESTS_SIM_WORLD_H
#define PBFT_TESTS_SIM_WORLD_H

#include "tests/sim/observe.h"

#include <stddef.h>

/* Sorts of fault. X(NAME, "text") */
#define SIM_FAULTS(X)                                                                              \
    X(LOSS, "loss")                                                                                \
    X(DUPLICATE, "duplication")                                                                    \
    X(REORDER, "reordering")                                                                       \
    X(BIT_FLIP, "bit flips")                                                                       \
    X(SLOW_LINK, "slow links")                                                                     \
    X(PARTITION, "partition")                                                                      \
    X(ISOLATION, "isolated replica")                                                               \
    X(ONE_WAY, "one-way partition")                                                                \
    X(WITHHELD, "votes lost by their kind")                                                        \
    X(CLOCK_SKEW, "clock skew")                                                                    \
    X(CLOCK_JUMP, "clock jump")                                                                    \
    X(CRASH, "crash")                                                                              \
    X(RESTART, "restart")                                                                          \
    X(SLOW_DISK, "slow disk")                                                                      \
    X(BROKEN_DISK, "broken disk")                                                                  \
    X(SILENT, "silent replica")                                                                    \
    X(EQUIVOCATE, "equivocating replica")                                                          \
    X(LIE_REPLY, "replies that lie")                                                               \
    X(WRONG_DIGEST, "wrong digests")                                                               \
    X(BAD_SIGNATURE, "bad signatures")                                                             \
    X(CENSOR, "censorship")                                                                        \
    X(DELAY, "delaying replica")                                                                   \
    X(REPLAY, "replays")                                                                           \
    X(FORGE_NEW_VIEW, "forged NEW-VIEWs")                                                          \
    X(WRONG_CHECKPOINT, "wrong checkpoints")                                                       \
    X(MUTATOR, "mutating replica")                                                                 \
    X(FLIP_STATE, "a bit of the state flipped")                                                    \
    X(TWIN, "twin")                                                                                \
    X(CLIENT_FORGED, "clients' wrong signatures")                                                  \
    X(CLIENT_CONFLICT, "clients' conflicting requests")                                            \
    X(CLIENT_HUGE_T, "clients' huge request numbers")                                              \
    X(CLIENT_FLOOD, "clients' floods")

enum sim_fault {
#define X(name, text) SIM_FAULT_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};
const char *sim_fault_text(enum sim_fault fault);

/* Places that a campaign must reach. X(NAME, "text") */
#define SIM_REACHES(X)                                                                             \
    X(VIEW_CHANGE, "view changes")                                                                 \
    X(NEW_VIEW, "views installed")                                                                 \
    X(JOIN, "joined by f+1 VIEW-CHANGEs")                                                          \
    X(O_NOT_EMPTY, "NEW-VIEWs with entries")                                                       \
    X(O_NULL, "null requests filled in")                                                           \
    X(CERTIFICATES_DIFFER, "numbers prepared otherwise in two views")                              \
    X(NULL_EXECUTED, "null requests executed")                                                     \
    X(BACK_OFF, "time-outs doubled")                                                               \
    X(STABLE, "stable checkpoints")                                                                \
    X(TRANSFER, "state transfers")                                                                 \
    X(TRANSFER_MOVED, "transfers to a newer target")                                               \
    X(VIEW_CHANGE_IN_TRANSFER, "view changes during a state transfer")                             \
    X(BODY_FETCH, "bodies fetched")                                                                \
    X(HEADER_FETCH, "headers fetched")                                                             \
    X(FETCH_ROTATION, "fetches that went on to another peer")                                      \
    X(CERTIFICATE, "decided by a certificate")                                                     \
    X(CACHED_REPLY, "cached replies")                                                              \
    X(CACHED_REPLY_LATER_VIEW, "cached replies after a view change")                               \
    X(FAST_READ, "fast reads")                                                                     \
    X(FALLBACK_READ, "reads that had to be ordered")                                               \
    X(CLIENT_RETRY, "clients' retransmissions")                                                    \
    X(BUSY, "BUSY")                                                                                \
    X(EXPIRED, "expired sessions")                                                                 \
    X(EVIDENCE, "evidence")                                                                        \
    X(RETRANSMISSION, "retransmissions after STATUS")                                              \
    X(WINDOW_FULL, "windows that were full")                                                       \
    X(CLOCK_HELD, "proposals held by the clock test")                                              \
    X(FUTURE_VOTE, "votes kept for the next view")                                                 \
    X(RESUMED, "replicas back with their log")                                                     \
    X(LOADED, "checkpoints loaded from disk")                                                      \
    X(REPLAYED, "logs executed again")                                                             \
    X(BLACKOUT, "power losses of everybody")                                                       \
    X(EPOCH, "epochs begun")                                                                       \
    X(EPOCH_TOLD, "told that an epoch is over")                                                    \
    X(KEY_REPLACED, "keys replaced")                                                               \
    X(MUTE, "mute replicas")                                                                       \
    X(DIVERGENCE, "divergences noticed")                                                           \
    X(DAMAGE_NAMED, "damage named in a report")                                                    \
    X(STOPPED, "replicas stopped by their disk")

enum sim_reach {
#define X(name, text) SIM_REACH_##name,
    SIM_REACHES(X)
#undef X
        SIM_REACH_COUNT
};
const char *sim_reach_text(enum sim_reach reach);

struct sim_scenario;
struct sim;

/* What a test may add to a run, in its second half: the faults are over and the network has healed;
 * all is answered for the first time, and from here on views are to stay; all is over but the
 * verdict. */
enum sim_act { SIM_ACT_HEALED, SIM_ACT_SETTLED, SIM_ACT_OVER };
typedef void sim_meddler(void *context, struct sim *sim, enum sim_act act);

struct sim_world_options {
    uint64_t seed;
    uint32_t n;           /* 0: drawn */
    bool real_signatures; /* Ed25519; else keyed hashes, drawn true for 1 seed in 100 */
    bool fast_signatures; /* never Ed25519, whatever the seed draws */
    uint32_t traitors;    /* more than f twins that conspire (the alarm of FAULTS 3.1 must
                             ring); up to f: as drawn */
    uint64_t forbid;      /* for tests: bit i: sim_fault i is drawn but never acts out */
    bool strand;          /* for tests: whoever came back with its log is cut off once all is
                             healed, for ever */
    const struct sim_scenario *rows[2]; /* of sim_pair_run(); NULL: drawn */
    sim_observer *observer;             /* NULL: nobody looks */
    void *observer_context;
    sim_meddler *meddler; /* for tests; NULL: nobody */
    void *meddler_context;
};

struct sim_world_result {
    bool ok;
    char failure[512]; /* one sentence: the invariant, seed, n and virtual time */
    uint64_t trace_hash;
    uint32_t n;
    bool real_signatures;
    uint64_t virtual_ns;
    uint64_t delivered; /* messages */
    uint64_t executed;  /* operations that clients got an answer to */
    uint64_t view_changes;
    uint64_t configured;               /* bit i: enum sim_fault i was drawn for this run */
    uint64_t waived;                   /* ... and never acted, having had no chance to */
    uint64_t faults[SIM_FAULT_COUNT];  /* how often each acted */
    uint64_t reached[SIM_REACH_COUNT]; /* how often each place was reached */
    uint64_t injected; /* scenarios: how often the row's fault was; 0 is a failure */
    uint64_t pair;     /* which two rows, plus 1; 0: none */
    uint64_t skipped;  /* pairs that were drawn before it and cannot go together */
};

/**
 * Run one seed from beginning to end. Equal options give equal results, trace_hash included,
 * whatever the observer, the compiler and the machine. A configured fault that has not acted when
 * phase 1 ends is played again; if it had the chance and never did, that is a failure like any
 * other, and if it had none, it is in `waived`: campaigns bear few of these. Frees all that it
 * took.
 */
void sim_world_run(const struct sim_world_options *options, struct sim_world_result *result);

/* A drawn world as one line, for people ("n=7 f=2 clients=3 K=8 L=32 loss=2.1% twin=3 ..."). Up to
 * `size` bytes, always terminated. */
void sim_world_describe(const struct sim_world_options *options, char *text, size_t size);

/**
 * How many seeds a test takes: PBFT_SIM_SEEDS, if that is set (a campaign); with PBFT_SIM_BRIEF
 * (sanitizers), a quarter of the usual, rounded up; else the usual.
 */
uint64_t sim_seeds(uint64_t usual);

/* ---- named scenarios: the rows of FAULTS 2 (tests/sim/scenario*.c) ---- */

struct sim_scenario {
    const char *name;  /* "2.17" */
    const char *title; /* "VIEW-CHANGE with a bad P certificate" */
    /* One run of the row under this seed; result->injected says how often its fault was. */
    void (*run)(const struct sim_world_options *options, struct sim_world_result *result);
};
/* Ends with a NULL name; ordered by row. */
extern const struct sim_scenario sim_scenarios[];
const struct sim_scenario *sim_scenario_find(const char *name); /* NULL: none of that name */

#define SIM_ROWS_MAX ((size_t)48)
/* Two rows in one cluster, as options->rows says or, NULL, drawn until two fit. Deterministic. */
void sim_pair_run(const struct sim_world_options *options, struct sim_world_result *result);
/* Why these cannot go together in a cluster of n (0: as large as they need), for people; NULL: they
 * can. */
const char *sim_pair_refused(const struct sim_scenario *a, const struct sim_scenario *b,
                             uint32_t n);

#endif
