/**
 * replica/evidence.h - proof that a replica lied, as bytes that anybody with the cluster's public
 * configuration can check offline (PROTOCOL 36).
 *
 * File, little-endian, canonical (one byte string for an item):
 *
 *     "PBFTEVID" | version u8 (1) | kind u8 | u16 0 | culprit u32 | epoch u32 | cluster id 32
 *     | length u32, frame | length u32, frame | the proofs of all epochs up to that one
 *
 * The frames are signed wire messages. A PRE-PREPARE stands as its HEADER, without the proposal.
 * Two frames of a conflict stand in ascending byte order. For kind CHECKPOINT the first is the
 * culprit's CHECKPOINT and the second the CERTIFICATE of q others over another root. With the
 * proofs (crypto/epoch.h; none in the first epoch) genesis is enough to know whose keys these are.
 */
#ifndef PBFT_REPLICA_EVIDENCE_H
#define PBFT_REPLICA_EVIDENCE_H

#include "crypto/epoch.h"
#include "crypto/signer.h"
#include "pbft/core.h"

#define PBFT_EVIDENCE_TEXT_BYTES 256u
/* Two VIEW-CHANGEs are the largest pair. */
#define PBFT_EVIDENCE_MAX_BYTES (64u + 2u * (4u + PBFT_FRAME_MAX_BYTES) + (1u << 20))

/* What a verified item says. */
struct pbft_evidence {
    enum pbft_evidence_kind kind;
    pbft_id culprit;
    pbft_epoch epoch;
    uint8_t type;   /* of what was signed twice: PBFT_PRE_PREPARE, PBFT_PREPARE ... */
    pbft_view view; /* 0 for CHECKPOINTs */
    pbft_seq seq;   /* 0 for VIEW-CHANGE and NEW-VIEW */
};

/**
 * Bytes of an item, malloc'ed into *out; the caller frees. The frames are whole wire messages as
 * the core's EVIDENCE effect carries them; a PRE-PREPARE is reduced to its HEADER. Nothing is
 * verified here.
 * Returns PBFT_STATUS_ARGUMENT for frames that are no wire message, PBFT_STATUS_MEMORY.
 */
PBFT_MUST_USE enum pbft_status pbft_evidence_encode(const struct pbft_cluster *cluster,
                                                    enum pbft_evidence_kind kind, pbft_id culprit,
                                                    struct pbft_span first, struct pbft_span second,
                                                    uint8_t **out, size_t *size);

/**
 * Check an item from anywhere: canonical, of this cluster, an accusable pair, every signature
 * valid.
 *
 * cluster  genesis, or the configuration of the item's epoch, whose history is then the item's
 * out   filled on PBFT_OK; may be NULL
 * text  one line for people: what was proved, or why not; may be NULL
 * Returns PBFT_OK, PBFT_DROP_MALFORMED, _SIZE, _VERSION, _EPOCH, _SENDER (another culprit),
 *         _SIGNATURE, _CERTIFICATE, _TYPE (not accusable), _DUPLICATE (the two agree), _BUSY (no
 *         memory).
 */
enum pbft_verdict pbft_evidence_verify(const struct pbft_cluster *cluster,
                                       const struct pbft_signer *signer, struct pbft_span file,
                                       struct pbft_evidence *out,
                                       char text[PBFT_EVIDENCE_TEXT_BYTES]);

/**
 * The same by somebody who has followed the cluster's epochs. Genesis alone believes any history
 * that q of its keys have signed; who has some of these keys, replaced since, and perhaps because
 * they had leaked, can sign another one, and have anybody accused in it. So an item's history has
 * to be the one that is known, as far as that goes; from there on the item's own proofs count.
 *
 * known    of an epoch that followed `genesis`; genesis itself, or NULL: nothing more is known
 * Returns  also PBFT_DROP_EPOCH: of another history
 */
enum pbft_verdict pbft_evidence_verify_known(const struct pbft_cluster *genesis,
                                             const struct pbft_cluster *known,
                                             const struct pbft_signer *signer,
                                             struct pbft_span file, struct pbft_evidence *out,
                                             char text[PBFT_EVIDENCE_TEXT_BYTES]);

#endif
