/**
 * tests/sim/world_internal.h - a run that is under way, shared by world*.c.
 */
#ifndef PBFT_TESTS_SIM_WORLD_INTERNAL_H
#define PBFT_TESTS_SIM_WORLD_INTERNAL_H

#include "replica/faults/faults.h"
#include "tests/sim/fixture_internal.h"
#include "tests/sim/mutator.h"
#include "tests/sim/world.h"

#define WORLD_ACTIONS_MAX 64u

enum action_kind {
    ACTION_LOAD, /* `number` operations for client `who` */
    ACTION_PARTITION,
    ACTION_ONE_WAY,
    ACTION_REJOIN, /* ends either */
    ACTION_CLOCK,
    ACTION_CRASH,
    ACTION_RESTART,
    ACTION_BREAK_DISK,
    ACTION_SLOW_LINKS,
    ACTION_USUAL_LINKS,
    ACTION_ISOLATE,
    ACTION_RETURN,
};

struct action {
    uint64_t at_ns;
    enum action_kind kind;
    uint32_t who;
    uint64_t number;
    pbft_signers group;
};

/* What the seed draws before anything runs. */
struct world_plan {
    struct sim_options o;
    uint64_t configured; /* enum sim_fault */
    uint32_t honest, hostile;
    unsigned hostile_kinds;
    enum sim_mix mix;
    pbft_signers crashing; /* count against f, like o.byzantine */
    pbft_signers mutators;
    enum sim_fault strategy[PBFT_REPLICAS_MAX]; /* of Byzantine replicas that are no mutators */
    uint32_t mutator_level;
    uint32_t flip_per_mille; /* of a Byzantine replica's frames */
    uint64_t slow_delay_ns;
    struct action actions[WORLD_ACTIONS_MAX];
    size_t action_count;
    uint64_t end_ns; /* of phase 1 */
};

/* What a correct replica was last seen doing. */
struct watched {
    pbft_view view;
    bool transferring;
    bool left; /* a VIEW-CHANGE was sent in this very step */
    uint64_t left_ns;
    struct pbft_digest fetch;
    pbft_id fetched_from;
    bool fetching;
};

struct world {
    const struct sim_world_options *options;
    struct sim_world_result *result;
    struct world_plan plan;
    struct sim *sim;
    struct pbft_faults *faults[PBFT_REPLICAS_MAX];
    struct pbft_node_hooks hooks[PBFT_REPLICAS_MAX];
    struct mutator *mutator;
    struct watched watched[PBFT_REPLICAS_MAX];
    uint64_t extra_replies; /* beyond executed requests, before the first view change */
    bool changed_view;
    struct pbft_digest null_digest;
    struct pbft_arena arena;
    size_t next_action;
    bool busy; /* inside the filter */
};

/* world_draw.c */
void world_draw(struct world_plan *plan, const struct sim_world_options *options);
/* world_reach.c */
void world_watch(struct world *w); /* observer and filter; before anything runs */
void world_collect(struct world *w);

#endif
