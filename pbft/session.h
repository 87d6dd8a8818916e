/**
 * pbft/session.h - pure window arithmetic of sessions (PROTOCOL 7). The records live in the state
 * tree; replica/apply owns them.
 */
#ifndef PBFT_SESSION_H
#define PBFT_SESSION_H

#include "pbft/types.h"

enum pbft_session_place {
    PBFT_SESSION_STALE,  /* t <= max_t - W (or t = 0) */
    PBFT_SESSION_WINDOW, /* in (max_t - W, max_t]: look for its record */
    PBFT_SESSION_AHEAD,  /* above max_t: executes and moves the window */
};

/* Highest t that is STALE: max_t - W, or 0. */
uint64_t pbft_session_low(uint64_t max_t, uint32_t window);
/* Overflow-safe for every t up to 2^64-1 (FAULTS 2.32). */
enum pbft_session_place pbft_session_place(uint64_t max_t, uint32_t window, uint64_t t);

#endif
