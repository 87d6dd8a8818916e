/**
 * replica/strikes.h - which connections earned too many bad verdicts lately.
 *
 * Only verdicts that no correct replica or client causes count. A fixed number of connections is
 * watched; the one that was quiet for longest gives way.
 */
#ifndef PBFT_REPLICA_STRIKES_H
#define PBFT_REPLICA_STRIKES_H

#include "pbft/types.h"

#define PBFT_STRIKES_MAX       64u                   /* this many ... */
#define PBFT_STRIKES_WINDOW_NS UINT64_C(10000000000) /* ... within this time: out */
#define PBFT_STRIKES_WATCHED   256u

/* Zeroed before first use. */
struct pbft_strikes {
    struct {
        uint64_t connection; /* 0: free */
        uint64_t since_ns, last_ns;
        uint32_t count;
    } watched[PBFT_STRIKES_WATCHED];
};

bool pbft_strikes_counts(enum pbft_verdict verdict);
/* One bad verdict. True when it was one too many: close the connection (it is forgotten). */
bool pbft_strikes_add(struct pbft_strikes *strikes, uint64_t connection, uint64_t now_ns);

#endif
