/**
 * crypto/door.h - THE DOOR: from an opaque frame to a decoded, authenticated message.
 *
 * The only caller of decoders outside tests. Whatever passes is canonical, within bounds, of our
 * cluster and epoch, from whom it says, with every digest recomputed and every signature in it
 * verified: the core may trust structure and authorship, never intentions.
 *
 * Order of the checks: cheap before dear, and `wants` before any signature (PROTOCOL 16).
 * A door belongs to one thread; several doors may share one cluster.
 */
#ifndef PBFT_CRYPTO_DOOR_H
#define PBFT_CRYPTO_DOOR_H

#include "crypto/cluster.h"
#include "crypto/signer.h"
#include "pbft/frame.h"
#include "pbft/wire.h"

enum pbft_peer_kind { PBFT_PEER_REPLICA = 1, PBFT_PEER_CLIENT = 2 };

/* Who stands at the other end of a channel, as its handshake proved. */
struct pbft_peer {
    enum pbft_peer_kind kind;
    uint32_t index;      /* replica id, or index of the client's key in genesis */
    uint64_t connection; /* differs for each connection of a process's life; for replicas too */
};

/* Asked after peeking and before verifying; false drops the frame as PBFT_DROP_UNWANTED. A BATCH,
 * in which no digest stands, is asked about twice: with a zero digest (is any awaited?), and once
 * its contents are hashed with theirs. */
typedef bool (*pbft_wants_fn)(const void *context, const struct pbft_peer *from,
                              const struct pbft_claim *claim);

struct pbft_door; /* opaque: arena, cache of verified signatures, counters */

struct pbft_door_config {
    const struct pbft_cluster *cluster; /* outlives the door */
    const struct pbft_signer *signer;
    pbft_wants_fn wants; /* may be NULL: everything is wanted */
    const void *wants_context;
    uint32_t
        cache_entries; /* verified (signer, bytes, signature) remembered; bounded, PROTOCOL 17 */
};

struct pbft_door_stats {
    uint64_t verified;   /* signatures verified */
    uint64_t cache_hits; /* signatures found verified before */
    uint64_t passed;
    uint64_t dropped[PBFT_VERDICT_COUNT];
};

struct pbft_door *pbft_door_new(const struct pbft_door_config *config); /* NULL: out of memory */
void pbft_door_free(struct pbft_door *door);

/**
 * Open one frame that came over the channel of `from`.
 *
 * Which types a replica may send: all but client-bound ones and QUERY/ADMIN/RESULT_FETCH; REQUEST
 * when forwarded. A client: REQUEST (its own key only), QUERY, RESULT_FETCH, ADMIN. Votes,
 * CHECKPOINT, VIEW-CHANGE, NEW-VIEW may be relayed by any replica: what counts is the signature.
 * STATUS, FETCH come from the channel's peer itself.
 *
 * msg  filled on PBFT_OK; points into `frame` and into the door's arena until the next call
 */
enum pbft_verdict pbft_door_open(struct pbft_door *door, const struct pbft_peer *from,
                                 struct pbft_span frame, struct pbft_msg *msg);

/* Open a proposal that we stored ourselves (digest known, signatures already verified once):
 * decodes it, verifies nothing. `requests` are the digests of its `count` requests, as they were
 * when it was opened first, and out->digest stays unset; NULL: all digests are recomputed. */
enum pbft_verdict pbft_door_reopen_proposal(struct pbft_door *door, struct pbft_span bytes,
                                            const struct pbft_digest *requests, uint32_t count,
                                            struct pbft_proposal *out);

/* What a client opens: REPLY, QUERY_REPLY, BUSY, ADMIN_REPLY. Result digests are recomputed when
 * the body is there. */
enum pbft_verdict pbft_door_open_client(struct pbft_door *door, const struct pbft_peer *from,
                                        struct pbft_span frame, struct pbft_msg *msg);

/* Verify one signature over (type, body) by replica `signer`, through the cache. For evidence. */
bool pbft_door_verify(struct pbft_door *door, uint8_t type, pbft_id signer, struct pbft_span body,
                      const uint8_t *signature);

const struct pbft_door_stats *pbft_door_stats(const struct pbft_door *door);

/* Sign a frame in place: computes PROTOCOL 1's bytes over its body and writes the signature where
 * pbft_wire_signature_offset() says. The frame is of a signed type and well-formed. */
void pbft_frame_sign(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                     const struct pbft_secret_key *key, uint8_t *frame, size_t size);

#endif
