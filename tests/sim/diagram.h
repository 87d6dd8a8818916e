/**
 * tests/sim/diagram.h - a message-sequence diagram of a simulated world, as SVG: a lane for each
 * replica, time downward by order rather than by scale, view changes as bands, lies in red.
 */
#ifndef PBFT_TESTS_SIM_DIAGRAM_H
#define PBFT_TESTS_SIM_DIAGRAM_H

#include "tests/sim/observe.h"

#include <stddef.h>
#include <stdio.h>

struct sim_diagram; /* remembers what is told */

struct sim_diagram_window {
    bool given; /* else: around the failure, or the first view change, or the first 60 messages */
    uint64_t from_ns, to_ns;
};

struct sim_diagram *sim_diagram_new(void); /* NULL: out of memory */
void sim_diagram_free(struct sim_diagram *diagram);
sim_observer sim_diagram_observe; /* context: struct sim_diagram; beyond 4 million events it stops
                                     listening */
/**
 * Draw. STATUS messages and log lines are left out, and all after 1,500 messages.
 *
 * n      replicas, a lane each
 * title  above the lanes; any text
 * Returns false when nothing is in the window, or when memory or the file fails.
 */
bool sim_diagram_write(const struct sim_diagram *diagram, uint32_t n, const char *title,
                       const struct sim_diagram_window *window, FILE *file);

#endif
