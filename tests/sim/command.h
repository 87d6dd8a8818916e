/**
 * tests/sim/command.h - the command line of pbft-sim.
 */
#ifndef PBFT_TESTS_SIM_COMMAND_H
#define PBFT_TESTS_SIM_COMMAND_H

#include "tests/sim/campaign.h"
#include "tests/sim/diagram.h"

struct sim_command {
    bool help, version, list; /* print that and end */
    bool many;                /* --seeds: a campaign */
    uint64_t seed, seeds;
    uint32_t nodes, traitors;            /* 0: drawn */
    bool real, fast;                     /* --signatures */
    const struct sim_scenario *scenario; /* NULL: drawn worlds */
    const struct sim_scenario *rows[2];  /* of a pair; NULL: drawn, if it is one */
    struct sim_scenario pair;            /* what `scenario` points to then */
    unsigned jobs;                       /* 0: as many as there are cores */
    uint64_t failures_max;
    const char *state, *json, *trace, *svg;
    bool explain, quiet, twice;
    struct sim_diagram_window window;
};

extern const char sim_command_help[];

/* False: a usage error, one sentence in `error`. Strings are borrowed from argv. */
bool sim_command_parse(int argc, char **argv, struct sim_command *command, char error[256]);
/* The command that does this again, without --seed: "PROGRAM --nodes 4". Always terminated. */
void sim_command_again(const struct sim_command *command, const char *program, char *text,
                       size_t size);

#endif
