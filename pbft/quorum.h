/**
 * pbft/quorum.h - the only place where quorum sizes are written (FAULTS 4.1).
 *
 * Any n >= 4, not only 3f+1: with q = 2f+1 two quorums of n = 6 can be disjoint.
 */
#ifndef PBFT_QUORUM_H
#define PBFT_QUORUM_H

#include "pbft/types.h"

uint32_t pbft_quorum_faults(uint32_t n);          /* f = floor((n-1)/3) */
uint32_t pbft_quorum(uint32_t n);                 /* q = ceil((n+f+1)/2) */
uint32_t pbft_quorum_weak(uint32_t n);            /* f+1: at least one correct */
pbft_id pbft_primary(uint32_t n, pbft_view view); /* view mod n */
pbft_signers pbft_everyone(uint32_t n);           /* bits 0 .. n-1 */
/* Who sends the full result of request t, the others its digest: (H(client) + t) mod n, where the
 * first four bytes of the key are hash enough (PROTOCOL 34). */
pbft_id pbft_designated(uint32_t n, const struct pbft_public_key *client, uint64_t t);

#endif
