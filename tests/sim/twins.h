/**
 * tests/sim/twins.h - a Byzantine replica made of two honest ones: two instances of the real
 * replica/node under one key, and a router that decides who sees which (Bano et al., "Twins: BFT
 * systems made robust", 2020).
 *
 * A *scenario* is a list of rounds. Each round partitions the instances into groups; what is sent
 * in a round reaches the sender's group only, the rest is lost. A round is, exactly:
 *
 *     1. two fresh requests, of two clients, reach every instance; second instances, and every
 *        other correct replica, get them in the other order, and second instances have another wall
 *        clock, so that twins which are primary propose different things at one (view, seq);
 *     2. whatever can be delivered is, until nothing is under way, in order of sending, but what a
 *        second instance sends to every other replica overtakes all, so that twins in one group
 *        have it divided; jobs (execution, hashing, log) complete at once;
 *     3. twice: time passes by STATUS_NS, all ticks that are due happen, 2. again: whoever was
 *        shown that a peer lacks something has sent it again within this group;
 *     4. time passes beyond the longest view time-out, ticks, 2.: who could not execute its oldest
 *        request leaves the view, and a view that a quorum of the group wants is installed;
 *     5. 3. again.
 *
 * After the last round everything heals: one group with both twins still in it, two more requests,
 * and then rounds of 3. to 5. until every correct replica has executed every request of the
 * scenario, nothing is pending and all have executed equally far, within TWINS_HEAL_ROUNDS(n); else
 * the scenario has failed (FAULTS 3.21).
 *
 * After every step these are checked over the correct replicas: one digest for each n (FAULTS 3.1),
 * what q committed is never contradicted (3.2), no gap (3.3), only clients' requests (3.4), nobody
 * contradicts itself (3.5), one prepared digest for each (view, n) (3.8), views only grow (3.9),
 * stable means q equal checkpoints (3.11), equal roots at equal n (3.12), no vote outside the
 * window (3.13), no evidence against a correct one (3.20), traffic ends (3.24).
 *
 * One thing is kept from the twins: what their own key signed and the other instance said. A real
 * replica that is shown a vote of its own that it does not know falls silent (PROTOCOL 29), and a
 * silent traitor is a weak one.
 *
 * Instances 0 .. n-1 are the replicas; n .. are the second instances of the twins, in order of
 * their ids. In text a second instance is the letter at its id: replica 0 is `0` and `a`.
 */
#ifndef PBFT_TESTS_SIM_TWINS_H
#define PBFT_TESTS_SIM_TWINS_H

#include "pbft/types.h"

#include <stdio.h>

#define TWINS_REPLICAS_MAX  10u
#define TWINS_INSTANCES_MAX 16u
#define TWINS_ROUNDS_MAX    16u
#define TWINS_LINE_BYTES    512u
/* What healing may take, in rounds of one whole time-out at its cap: one for a view change that
 * cannot end, one for each faulty primary, one for each correct replica that is alone ahead. */
#define TWINS_HEAL_ROUNDS(n) ((n) + 1u)

struct twins_options {
    uint32_t n;         /* 4 .. TWINS_REPLICAS_MAX */
    pbft_signers twins; /* replicas that run twice */
    uint64_t seed; /* 0: messages arrive in order of sending. Else the seed draws the order, what is
                      lost, when rounds end early and whether their time-out passes */
    uint32_t loss_ppm; /* inside groups, until healing; only with a seed */
};

struct twins_scenario {
    struct twins_options o;
    unsigned rounds;
    uint8_t group[TWINS_ROUNDS_MAX][TWINS_INSTANCES_MAX]; /* of each instance */
};

/* Of one world so far, or summed over many (`highest` aside). */
struct twins_counts {
    uint64_t scenarios;
    uint64_t violations;    /* scenarios that broke an invariant, did not heal in time or crashed */
    uint64_t not_healed;    /* of these: healing took too long */
    uint64_t crashed;       /* of these: an assertion or a signal */
    uint64_t idle;          /* scenarios in which nothing was executed before healing */
    uint64_t equivocal;     /* scenarios in which a correct replica was shown an equivocation */
    uint64_t equivocations; /* (type, view, n) for which correct replicas, all together, were shown
                               two digests by one key */
    uint64_t proposals;     /* of these: PRE-PREPAREs */
    uint64_t evidence;      /* items, all correct replicas */
    uint64_t view_changes;  /* VIEW-CHANGEs sent by correct replicas */
    uint64_t new_views;     /* views installed by correct replicas */
    uint64_t commits;       /* sequence numbers executed */
    uint64_t nulls;         /* of these: null requests */
    uint64_t checkpoints;   /* made stable, by correct replicas */
    uint64_t transfers;     /* state transfers begun by correct replicas */
    uint64_t delivered, lost; /* messages */
    uint64_t shielded;        /* messages kept from twins, see above */
    uint64_t heal_rounds;
    struct {
        uint64_t heal_rounds, view, delivered, seq;
    } highest;
    uint64_t hash; /* sum over the scenarios of their hashes: whatever the order, equal runs have
                      equal sums */
};
void twins_counts_add(struct twins_counts *sum, const struct twins_counts *more);

/* ---- one world ---- */

struct twins; /* opaque */

struct twins *twins_new(const struct twins_options *options);
void twins_free(struct twins *world); /* ends the process with a panic if a frame leaked */
uint32_t twins_instances(const struct twins_options *options);
/* A line for each delivery, execution, view; NULL: none. */
void twins_trace(struct twins *world, FILE *file);
/* One round: group[i] is the group of instance i. False when an invariant is broken. */
bool twins_round(struct twins *world, const uint8_t *group);
/* The end: heal and demand liveness. False as above. */
bool twins_heal(struct twins *world);
const char *twins_failure(const struct twins *world); /* "" */
uint64_t twins_hash(const struct twins *world);
void twins_counts(const struct twins *world, struct twins_counts *out); /* of a whole scenario */

/* New, all rounds, heal, free. `failure` takes what twins_failure() says; both may be NULL. */
bool twins_run(const struct twins_scenario *scenario, FILE *trace, struct twins_counts *counts,
               char failure[TWINS_LINE_BYTES]);

/* ---- scenarios as text: N:TWINS:SEED:LOSS:GROUP-GROUP/GROUP-GROUP/... ---- */

/* E.g. "4:0:0:0:012-3a/0-123a": two rounds. Returns `line`. */
char *twins_line(const struct twins_scenario *scenario, char line[TWINS_LINE_BYTES]);
bool twins_parse(const char *line, struct twins_scenario *out);
/* A scenario drawn from a seed; n 0: n = 4, or 7 with two twins, is drawn too. */
void twins_draw(uint64_t seed, uint32_t n, struct twins_scenario *out);
/* All partitions of `instances` into at most `groups_max` groups, in a fixed order: writes up to
 * `capacity` of them; returns how many there are. */
size_t twins_partitions(uint32_t instances, uint32_t groups_max,
                        uint8_t (*out)[TWINS_INSTANCES_MAX], size_t capacity);

/* ---- many scenarios ---- */

struct twins_campaign {
    struct twins_options o;
    uint32_t groups_max;   /* exhaustive: at most so many groups */
    unsigned rounds;       /* exhaustive: all sequences of so many partitions, 1 .. */
    uint64_t random;       /* not 0: that many drawn scenarios instead, of seeds o.seed, +1, ... */
    uint32_t random_n;     /* as for twins_draw() */
    unsigned jobs;         /* processes */
    bool progress;         /* on stderr */
    uint64_t failures_max; /* stop after so many; 0: never */
};

#define TWINS_FAILURES_KEPT 8u
struct twins_failed {
    char line[TWINS_LINE_BYTES]; /* for pbft-twins --scenario */
    char text[TWINS_LINE_BYTES];
};
struct twins_report {
    struct twins_counts sum;
    uint64_t planned;
    double seconds;
    unsigned failed_count;
    struct twins_failed failed[TWINS_FAILURES_KEPT];
};

/**
 * Run a campaign in processes of their own. Exhaustive ones walk the tree of prefixes and fork at
 * each node, so that what scenarios share is executed once; a violation in a prefix counts for all
 * scenarios that begin with it, and these are not run any further.
 *
 * Returns true when all scenarios ran and held. False with `report` filled; or with report->planned
 * 0 when no process or memory was to be had.
 */
bool twins_campaign(const struct twins_campaign *campaign, struct twins_report *report);

#endif
