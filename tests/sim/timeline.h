/**
 * tests/sim/timeline.h - what happened in a simulated world, as lines for people; and the last of
 * them before an invariant broke.
 */
#ifndef PBFT_TESTS_SIM_TIMELINE_H
#define PBFT_TESTS_SIM_TIMELINE_H

#include "tests/sim/observe.h"

#include <stddef.h>
#include <stdio.h>

#define SIM_LINE_BYTES 192u
#define SIM_LINES_KEPT 30u

/* "r3" or "c0" of either end; static storage of the caller. */
void sim_end_name(char name[16], bool client, uint32_t index);

/**
 * One event as one line with a newline, in aligned columns: virtual ms, who and whom, what, view,
 * sequence number, digest, verdict. A '!' in front marks what a Byzantine replica or a hostile
 * client sent, "LIE" what it did on purpose. Always terminated.
 */
void sim_timeline_line(const struct sim_seen *seen, char line[SIM_LINE_BYTES]);
void sim_timeline_head(FILE *file);
sim_observer sim_timeline_observe; /* context: the FILE; a line an event */

/* The last lines, and what broke. All zero is a new one. */
struct sim_explain {
    char lines[SIM_LINES_KEPT][SIM_LINE_BYTES];
    uint64_t seen; /* events so far */
    bool broken;
};
sim_observer sim_explain_observe; /* context: struct sim_explain */
/* The invariant that a failure's sentence cites ("FAULTS 3.5: ..."), by its number and name; NULL
 * if it cites none. Static. */
const char *sim_explain_invariant(const char *failure);
void sim_explain_write(const struct sim_explain *explain, const char *failure, FILE *file);

#endif
