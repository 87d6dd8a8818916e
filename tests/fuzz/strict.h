/* tests/fuzz/strict.h - frames that are authentic and canonical, so that the door lets them
 * through, but that no correct replica sends: the core drops them, and tests/sim/recheck.h refuses
 * them. */
#ifndef PBFT_TESTS_FUZZ_STRICT_H
#define PBFT_TESTS_FUZZ_STRICT_H

#include "pbft/quorum.h"
#include "pbft/wire.h"

/* `frame` was accepted by the door. */
static inline bool left_to_the_core(const struct pbft_params *p, struct pbft_span frame)
{
    struct pbft_claim c;
    if (pbft_wire_peek(frame, &c) != PBFT_OK) return false;
    if (c.type == PBFT_CHECKPOINT) return c.seq == 0 || c.seq % p->checkpoint_interval != 0;
    if (c.type == PBFT_PREPARE && c.sender == pbft_primary(p->n, c.view)) return true;
    bool statement = c.type == PBFT_PRE_PREPARE || c.type == PBFT_HEADER ||
                     c.type == PBFT_PREPARE || c.type == PBFT_COMMIT;
    return statement && c.seq == 0;
}

#endif
