/* Window arithmetic of sessions (PROTOCOL 7). Only differences of ordered numbers are formed, so no
 * t that a client picks can overflow (FAULTS 2.32). */
#include "pbft/session.h"

uint64_t pbft_session_low(uint64_t max_t, uint32_t window)
{
    return max_t > window ? max_t - window : 0;
}

enum pbft_session_place pbft_session_place(uint64_t max_t, uint32_t window, uint64_t t)
{
    if (t > max_t) return PBFT_SESSION_AHEAD; /* before the low mark: a window of 0 has no slots */
    if (t <= pbft_session_low(max_t, window)) return PBFT_SESSION_STALE;
    return PBFT_SESSION_WINDOW;
}
