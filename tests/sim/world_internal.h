/**
 * tests/sim/world_internal.h - a run that is under way, shared by world*.c.
 */
#ifndef PBFT_TESTS_SIM_WORLD_INTERNAL_H
#define PBFT_TESTS_SIM_WORLD_INTERNAL_H

#include "replica/faults/faults.h"
#include "tests/sim/fixture_internal.h"
#include "tests/sim/mutator.h"
#include "tests/sim/world.h"

#define WORLD_ACTIONS_MAX    128u
#define WORLD_STRATEGIES_MAX 2u /* of one liar */

enum action_kind {
    ACTION_LOAD, /* `number` operations for client `who` */
    ACTION_PARTITION,
    ACTION_ONE_WAY,
    ACTION_REJOIN, /* ends either; `who`: 1 the latter */
    ACTION_ISOLATE,
    ACTION_RETURN,
    ACTION_CLOCK, /* `number` is the offset, two's complement */
    ACTION_CRASH,
    ACTION_RESTART, /* `number`: 0 mute; 1 with its log; 2 with its log, its checkpoint gone */
    ACTION_BLACKOUT,
    ACTION_POWER,   /* for `who`, if the blackout took it */
    ACTION_REPLACE, /* the key of `who` */
    ACTION_BREAK_DISK,
    ACTION_SLOW_LINKS, /* from `group` to all, by `number`; 0: as usual */
    ACTION_SLOW_DISK,  /* of `group`, by `number`; 0: as usual */
    ACTION_TWINS,      /* `group` and clients `number` meet the second instances */
    ACTION_WITHHOLD,   /* `number`: enum withholding; `group`: the few */
};

enum withholding {
    WITHHOLD_NOTHING,
    WITHHOLD_PREPARES, /* from all but a few, and COMMITs from everybody */
    WITHHOLD_ALL,      /* these few neither hear nor are heard */
    WITHHOLD_COMMITS,
};

struct action {
    uint64_t at_ns;
    enum action_kind kind;
    uint32_t who;
    uint64_t number;
    pbft_signers group;
};

extern const struct pbft_signer world_signer_once; /* Ed25519: signer_once.c */

/* A Byzantine replica that is no mutator and no twin: one or two strategies of replica/faults. */
struct liar_plan {
    unsigned count;
    enum sim_fault kind[WORLD_STRATEGIES_MAX];
    uint64_t argument[WORLD_STRATEGIES_MAX];
};

/* What the seed draws before anything runs. */
struct world_plan {
    struct sim_options o;
    uint64_t configured; /* enum sim_fault */
    uint32_t honest, hostile;
    unsigned hostile_kinds;
    uint64_t hostile_every_ns;
    enum sim_mix mix;
    uint64_t operations;   /* of all honest clients in phase 1 */
    pbft_signers crashing; /* count against f, like o.byzantine */
    pbft_signers mutators;
    struct liar_plan liars[PBFT_REPLICAS_MAX];
    uint32_t mutator_level;
    uint32_t flip_ppm;
    bool conspiracy; /* more than f twins on purpose */
    struct action actions[WORLD_ACTIONS_MAX];
    size_t action_count;
    uint64_t end_ns; /* of phase 1, views that are forced aside */
};

struct world;

/* A liar's strategies, chained: the first that takes a frame has it. */
struct liar {
    struct world *world;
    pbft_id id;
    unsigned count;
    struct pbft_faults *faults[WORLD_STRATEGIES_MAX];
    struct pbft_node_hooks each[WORLD_STRATEGIES_MAX], hooks;
    uint64_t chances[WORLD_STRATEGIES_MAX]; /* frames that each should have done something about */
    uint64_t told;                          /* acts that the observer was told of */
};

struct world {
    const struct sim_world_options *options;
    struct sim_world_result *result;
    struct world_plan plan;
    struct sim *sim;
    struct liar liars[PBFT_REPLICAS_MAX];
    struct mutator *mutator;
    uint64_t mutator_told;
    pbft_signers dark;     /* whom the blackout took */
    pbft_signers fetching; /* who fetched a state, and wrote nothing, when its slow disk was over */
    uint64_t forced;    /* packets lost to isolations of world_force_turns(), which nobody drew */
    enum sim_fault cut; /* which partition there is; none: SIM_FAULT_COUNT */
    enum withholding withholding;
    pbft_signers withheld_from;
    pbft_view withheld_view;
};

/* world_draw.c */
void world_draw(struct world_plan *plan, const struct sim_world_options *options);
bool world_configured(const struct world_plan *plan, enum sim_fault fault);
bool world_needs_turn(enum sim_fault strategy); /* lies as a primary only */

/* world_faults.c */
void world_liars_start(struct world *w);
void world_liars_free(struct world *w);
void world_tell_lies(struct world *w); /* to the observer, after each step */
void world_act(struct world *w, const struct action *action);
void world_join_all(struct world *w); /* ends a partition */
void world_heal(struct world *w);
/* Could this fault have acted? For those that never did. */
bool world_had_chance(const struct world *w, enum sim_fault fault);

/* world.c */
void world_load_all(struct world *w, uint64_t each);
pbft_view world_view(struct world *w); /* highest of a correct replica */
void world_wait_for(struct world *w, enum sim_fault fault, uint64_t ns); /* until it has acted */
void world_return_all(struct world *w);                                  /* who is isolated */
/* Who lies as a primary only must have its turn: the primaries before it fall silent under load. */
void world_force_turns(struct world *w);

/* world_withhold.c */
void world_withhold(struct world *w, enum withholding what, pbft_signers few);

/* world_insist.c */
void world_insist(struct world *w);

/* world_reach.c */
uint64_t world_acts(const struct world *w, enum sim_fault fault); /* how often it acted so far */
void world_collect(struct world *w);

#endif
