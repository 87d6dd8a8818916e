/**
 * tests/sim/samples.h - a small fixed cluster (n = 4, fixed keys) and well-formed, correctly signed
 * frames of every type: what golden vectors pin and what door tests break.
 */
#ifndef PBFT_TESTS_SAMPLES_H
#define PBFT_TESTS_SAMPLES_H

#include "crypto/cluster.h"
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "crypto/signer.h"
#include "pbft/wire.h"

#define SAMPLE_REPLICAS 4u
#define SAMPLE_QUORUM   3u
#define SAMPLE_CLIENTS  2u
#define SAMPLE_TIME_NS  UINT64_C(1700000000123456789)

struct samples {
    struct pbft_cluster cluster;
    struct pbft_keypair replicas[SAMPLE_REPLICAS];
    struct pbft_keypair clients[SAMPLE_CLIENTS];
    struct pbft_keypair stranger; /* in nobody's list */
    struct pbft_public_key client_keys[SAMPLE_CLIENTS];
    const struct pbft_signer *signer;
    size_t used;
    uint8_t memory[1u << 20]; /* frames and arrays; reset with samples_reset() */
};

/* malloc'ed; the process ends when genesis is refused. */
struct samples *samples_new(const struct pbft_signer *signer);
void samples_free(struct samples *s);
void samples_reset(struct samples *s); /* invalidates every frame made so far */

/* Memory of the samples, aligned to 16. */
void *samples_alloc(struct samples *s, size_t size);
/* Encode, and sign with `key` unless it is NULL. */
struct pbft_span samples_encode(struct samples *s, const struct pbft_msg *msg,
                                const struct pbft_keypair *key);
/* Sign again after a change. */
void samples_resign(struct samples *s, struct pbft_span frame, const struct pbft_keypair *key);

/* Frames. `count` ops or requests; contents follow from the numbers. */
struct pbft_span samples_request(struct samples *s, const struct pbft_keypair *client,
                                 uint64_t session, uint64_t t, uint32_t count);
/* A proposal of `count` requests, with `requests`, `bytes` and `digest` filled. */
struct pbft_proposal samples_proposal(struct samples *s, uint64_t time_ns, uint32_t count);
struct pbft_span samples_pre_prepare(struct samples *s, pbft_view view, pbft_seq seq,
                                     const struct pbft_proposal *proposal);
struct pbft_span samples_vote(struct samples *s, uint8_t type, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest, pbft_id sender);
struct pbft_span samples_checkpoint(struct samples *s, pbft_seq seq, const struct pbft_digest *root,
                                    pbft_id sender);

/* Sets of signatures by `signers` over rebuilt bodies. */
struct pbft_signatures samples_votes(struct samples *s, uint8_t type, pbft_view view, pbft_seq seq,
                                     const struct pbft_digest *digest, pbft_signers signers);
struct pbft_signatures samples_checkpoints(struct samples *s, pbft_seq seq,
                                           const struct pbft_digest *root, pbft_signers signers);
struct pbft_prepared samples_prepared(struct samples *s, pbft_view view, pbft_seq seq,
                                      const struct pbft_digest *digest);

/* Messages whose fields a test may change before it encodes them. */
struct pbft_msg samples_view_change(struct samples *s, pbft_view view, pbft_id sender,
                                    pbft_seq stable, uint32_t prepared);
struct pbft_msg samples_new_view(struct samples *s, pbft_view view, pbft_seq min_s, uint32_t count);
struct pbft_msg samples_certificate(struct samples *s, uint8_t kind, pbft_seq seq);
struct pbft_msg samples_reply(struct samples *s, bool body);

/* One valid frame of any type. */
struct pbft_span samples_frame(struct samples *s, uint8_t type);

#endif
