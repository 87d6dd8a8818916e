/**
 * pbft/votes.h - a set of votes on one statement's key (view, seq), at most one for each replica.
 *
 * The first verified vote of a sender stays (FAULTS 2.11); a second one for another digest is a
 * conflict, never a replacement.
 */
#ifndef PBFT_VOTES_H
#define PBFT_VOTES_H

#include "pbft/types.h"

struct pbft_vote_entry {
    struct pbft_digest digest;
    struct pbft_signature signature;
};

struct pbft_votes {
    pbft_signers have;
    struct pbft_vote_entry *by; /* one for each replica, caller's memory */
};

enum pbft_vote_check { PBFT_VOTE_NEW, PBFT_VOTE_DUPLICATE, PBFT_VOTE_CONFLICT };

enum pbft_vote_check pbft_votes_check(const struct pbft_votes *v, pbft_id sender,
                                      const struct pbft_digest *digest);
/* After a check that said NEW. */
void pbft_votes_add(struct pbft_votes *v, pbft_id sender, const struct pbft_digest *digest,
                    const uint8_t *signature);
/* Who voted for `digest`. */
pbft_signers pbft_votes_for(const struct pbft_votes *v, const struct pbft_digest *digest);
void pbft_votes_clear(struct pbft_votes *v);
/* Copy the signatures of the `count` lowest ids of `from` to `out` (64 bytes each, ascending);
 * returns whose they are. `from` has at least `count` bits, all voted. */
pbft_signers pbft_votes_collect(const struct pbft_votes *v, pbft_signers from, uint32_t count,
                                uint8_t *out);

#endif
