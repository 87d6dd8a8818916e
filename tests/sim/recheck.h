/**
 * tests/sim/recheck.h - certificates and other signed frames, verified once more (FAULTS 3.7).
 *
 * Written from docs/wire.md and PROTOCOL alone. It shares no code with the engine's decoders,
 * certificate checks, hashing or door: of theirs it uses only the numbers of types and records, the
 * cluster's keys and parameters, and the signer's verify function. A mistake would have to be made
 * twice.
 */
#ifndef PBFT_TESTS_SIM_RECHECK_H
#define PBFT_TESTS_SIM_RECHECK_H

#include "crypto/cluster.h"
#include "crypto/signer.h"

#define RECHECK_WHY_BYTES 128u

/**
 * A frame that a correct replica sends: header, layout, digests, distinct signers, quorum, one
 * statement, every signature under the right tag, cluster and epoch. Of PAGEs, STATUS and the like,
 * which prove nothing, only the header.
 *
 * why  takes one sentence when it is not as it must be
 */
bool recheck_frame(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                   struct pbft_span frame, char why[RECHECK_WHY_BYTES]);

/* A frame of a log record of this kind (enum pbft_record_kind). Two stand in the log only: the P
 * entry of PREPARED as an unsigned VIEW-CHANGE, and COMMITTED without the proposal. */
bool recheck_record(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                    uint32_t kind, struct pbft_span frame, char why[RECHECK_WHY_BYTES]);

/* A NEW-VIEW and the VIEW-CHANGEs that it names, in the order of its bitmap: everything of
 * recheck_frame(), the digests, and O computed anew (FAULTS 3.10, 4.11; PROTOCOL 19). */
bool recheck_new_view(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                      struct pbft_span new_view, const struct pbft_span *view_changes,
                      uint32_t count, char why[RECHECK_WHY_BYTES]);

/* A pair of frames that accuses `culprit` (PROTOCOL 36). */
bool recheck_evidence(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                      pbft_id culprit, struct pbft_span first, struct pbft_span second,
                      char why[RECHECK_WHY_BYTES]);

/* ---- for a whole run: each frame once ---- */

struct recheck; /* remembers what it has seen, and VIEW-CHANGEs for the NEW-VIEWs that name them */

struct recheck_stats {
    uint64_t frames;           /* rechecked */
    uint64_t repeated;         /* seen before, byte for byte */
    uint64_t new_views;        /* with O computed anew */
    uint64_t new_views_partly; /* a VIEW-CHANGE that it names was never shown here */
};

/* Both are borrowed and outlive it. Never NULL. */
struct recheck *recheck_new(const struct pbft_cluster *cluster, const struct pbft_signer *signer);
void recheck_free(struct recheck *r); /* NULL is allowed */
/* A frame that a correct replica sends. */
bool recheck_sent(struct recheck *r, struct pbft_span frame, char why[RECHECK_WHY_BYTES]);
/* A frame that one has received, from whomever: a valid VIEW-CHANGE is remembered. */
void recheck_received(struct recheck *r, struct pbft_span frame);
const struct recheck_stats *recheck_stats(const struct recheck *r);

#endif
