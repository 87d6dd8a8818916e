/**
 * tests/sim/scenario.h - what the rows of FAULTS 2 share: a cluster with a load on it, one row's
 * play, and the end that every row must come to (all answered, the correct converged, history
 * linearizable). Rows are played by tests/sim/scenario_*.c and listed in tests/sim/scenario.c.
 */
#ifndef PBFT_TESTS_SIM_SCENARIO_H
#define PBFT_TESTS_SIM_SCENARIO_H

#include "replica/faults/faults.h"
#include "tests/sim/fixture.h"
#include "tests/sim/world.h"

#define STAGE_LOADS  2u /* clients 0 and 1 have a load; client 2 is played by hand */
#define STAGE_HAND   2u
#define STAGE_OPS    40u
#define STAGE_ENOUGH (SIM_SECOND * 120)

struct stage;

/* One row. Liars and what is drawn before the cluster exists; then the play. */
struct stage_row {
    const char *name; /* "2.17" */
    pbft_signers byzantine;
    const char *strategy;                   /* of replica/faults, or NULL */
    pbft_id liar;                           /* who plays `strategy` */
    void (*options)(struct sim_options *o); /* NULL: sim_defaults() */
    void (*play)(struct stage *s);          /* NULL: the load alone */
    bool no_view_change;                    /* FAULTS 3.22 must hold */
};

struct stage {
    const struct stage_row *row;
    struct sim *sim;
    const struct pbft_signer *signer;
    uint32_t n;
    struct stage *first, *next; /* of the rows that are played in one cluster */
    sim_filter *filter;         /* NULL: none */
    bool busy;                  /* inside a filter that injects */
    uint64_t injected;          /* how often the row's fault was */
    uint64_t hand_t;            /* last request number used by hand */
    struct pbft_faults *faults;
    struct pbft_node_hooks hooks, all; /* the second: of every row whose liar this is */
    struct pbft_frame *kept[64];       /* frames that a play remembers; released at the end */
    size_t kept_count;
    uint64_t number; /* for plays that count */
};

const struct stage_row *stage_row_of(const struct sim_scenario *scenario);
/* Play a row from beginning to end; or, behind it in the same cluster, another (NULL: none). */
void stage_run(const struct stage_row *row, const struct stage_row *second,
               const struct sim_world_options *options, struct sim_world_result *result);

/* For plays. All but the first do nothing once an invariant is broken. */
void stage_load(struct stage *s, uint64_t operations); /* on each loaded client, without waiting */
void stage_wait(struct stage *s);                      /* until all of it is answered */
void stage_run_for(struct stage *s, uint64_t ms);
void stage_must(struct stage *s, bool condition, const char *what);
/* Isolate one primary after the other, under load, until `view` is reached. */
void stage_change_views(struct stage *s, pbft_view view);
/* This row's filter, called with the stage; NULL: none any more. */
void stage_filter(struct stage *s, sim_filter *filter);
pbft_id stage_victim(struct stage *s);                      /* any that is correct */
pbft_view stage_view(struct stage *s);                      /* highest of a correct replica */
void stage_keep(struct stage *s, struct pbft_frame *frame); /* retained; forgets beyond 64 */

/* Frames. Each returns one reference. */
struct pbft_frame *stage_request(struct stage *s, uint64_t t); /* of the hand's client */
struct pbft_frame *stage_copy(struct stage *s, struct pbft_span frame);
/* Signed again by `as`, where the type is signed. */
void stage_sign(struct stage *s, pbft_id as, struct pbft_frame *frame);
/* Hand a frame over and count it; consumes it. The fault must not be taken for good: a verdict of
 * PBFT_OK is a failure unless `may_pass`. */
void stage_inject(struct stage *s, pbft_id from, pbft_id to, struct pbft_frame *frame,
                  bool may_pass);

/* The rows, by file. */
extern const struct stage_row stage_rows_primary[], stage_rows_votes[], stage_rows_state[],
    stage_rows_clients[], stage_rows_network[];

#endif
