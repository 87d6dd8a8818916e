/* Evidence files: encode what the core found, and check one without trusting whoever shows it. */
#include "replica/evidence.h"

#include "crypto/door.h"
#include "pbft/quorum.h"
#include "pbft/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC        "PBFTEVID"
#define MAGIC_BYTES  8u
#define FILE_VERSION 1u
#define HEAD_BYTES   (MAGIC_BYTES + 4u + 4u + 4u + PBFT_DIGEST_BYTES)

/* ---- encoding ---- */

/* A PRE-PREPARE as its HEADER; anything else as it is. `scratch` takes a HEADER. */
static bool reduce(struct pbft_span frame, uint8_t *scratch, size_t capacity, struct pbft_span *out)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return false;
    *out = frame;
    if (claim.type != PBFT_PRE_PREPARE) return true;
    size_t at = pbft_wire_signature_offset(frame);
    if (at == 0 || at > frame.size || frame.size - at < PBFT_SIGNATURE_BYTES) return false;
    struct pbft_msg header = {.type = PBFT_HEADER, .epoch = claim.epoch};
    header.pre_prepare.view = claim.view;
    header.pre_prepare.seq = claim.seq;
    header.pre_prepare.digest = claim.digest;
    header.pre_prepare.signature = frame.data + at;
    size_t size = pbft_wire_encode(&header, scratch, capacity);
    *out = (struct pbft_span){scratch, size};
    return size != 0;
}

static int span_compare(struct pbft_span a, struct pbft_span b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) return order;
    return (a.size > b.size) - (a.size < b.size);
}

static uint8_t *put_frame(uint8_t *at, struct pbft_span frame)
{
    pbft_put_u32(at, (uint32_t)frame.size);
    memcpy(at + 4, frame.data, frame.size);
    return at + 4 + frame.size;
}

enum pbft_status pbft_evidence_encode(const struct pbft_cluster *cluster,
                                      enum pbft_evidence_kind kind, pbft_id culprit,
                                      struct pbft_span first, struct pbft_span second,
                                      uint8_t **out, size_t *size)
{
    uint8_t headers[2][256];
    struct pbft_span frames[2];
    if (!reduce(first, headers[0], sizeof headers[0], &frames[0]) ||
        !reduce(second, headers[1], sizeof headers[1], &frames[1]))
        return PBFT_STATUS_ARGUMENT;
    if (frames[0].size > PBFT_FRAME_MAX_BYTES || frames[1].size > PBFT_FRAME_MAX_BYTES)
        return PBFT_STATUS_ARGUMENT;
    if (kind == PBFT_EVIDENCE_CONFLICT && span_compare(frames[0], frames[1]) > 0) {
        struct pbft_span swap = frames[0];
        frames[0] = frames[1];
        frames[1] = swap;
    }
    size_t proofs = cluster->epoch * pbft_epoch_proof_size(cluster);
    size_t bytes = HEAD_BYTES + 4 + frames[0].size + 4 + frames[1].size + proofs;
    uint8_t *file = malloc(bytes);
    if (file == NULL) return PBFT_STATUS_MEMORY;
    memcpy(file, MAGIC, MAGIC_BYTES);
    file[8] = FILE_VERSION;
    file[9] = (uint8_t)kind;
    pbft_put_u16(file + 10, 0);
    pbft_put_u32(file + 12, culprit);
    pbft_put_u32(file + 16, cluster->epoch);
    memcpy(file + 20, cluster->id.bytes, PBFT_DIGEST_BYTES);
    uint8_t *end = put_frame(put_frame(file + HEAD_BYTES, frames[0]), frames[1]);
    if (proofs > 0) memcpy(end, cluster->history, proofs);
    *out = file;
    *size = bytes;
    return PBFT_STATUS_OK;
}

/* ---- checking ---- */

static enum pbft_verdict take_frame(struct pbft_span file, size_t *at, struct pbft_span *frame)
{
    if (!pbft_wire_next_item(file, at, frame)) return PBFT_DROP_MALFORMED;
    return frame->size <= PBFT_FRAME_MAX_BYTES ? PBFT_OK : PBFT_DROP_SIZE;
}

static enum pbft_verdict split(const struct pbft_cluster *cluster, struct pbft_span file,
                               struct pbft_evidence *e, struct pbft_span frames[2],
                               struct pbft_span *proofs)
{
    if (file.size < HEAD_BYTES || memcmp(file.data, MAGIC, MAGIC_BYTES) != 0)
        return PBFT_DROP_MALFORMED;
    if (file.data[8] != FILE_VERSION) return PBFT_DROP_VERSION;
    if (pbft_get_u16(file.data + 10) != 0) return PBFT_DROP_MALFORMED;
    e->kind = (enum pbft_evidence_kind)file.data[9];
    e->culprit = pbft_get_u32(file.data + 12);
    e->epoch = pbft_get_u32(file.data + 16);
    if (e->kind != PBFT_EVIDENCE_CONFLICT && e->kind != PBFT_EVIDENCE_CHECKPOINT)
        return PBFT_DROP_TYPE;
    if (e->culprit >= cluster->params.n) return PBFT_DROP_SENDER;
    if (memcmp(file.data + 20, cluster->id.bytes, PBFT_DIGEST_BYTES) != 0) return PBFT_DROP_EPOCH;
    size_t at = HEAD_BYTES;
    enum pbft_verdict verdict = take_frame(file, &at, &frames[0]);
    if (verdict == PBFT_OK) verdict = take_frame(file, &at, &frames[1]);
    if (verdict != PBFT_OK) return verdict;
    *proofs = (struct pbft_span){file.data + at, file.size - at};
    size_t each = pbft_epoch_proof_size(cluster);
    return proofs->size % each == 0 && proofs->size / each == e->epoch ? PBFT_OK
                                                                       : PBFT_DROP_MALFORMED;
}

/* The configuration of that epoch; its history is the caller's. */
static enum pbft_verdict follow(const struct pbft_cluster *cluster,
                                const struct pbft_signer *signer, struct pbft_span proofs,
                                pbft_epoch epoch, struct pbft_cluster *out)
{
    if (cluster->epoch == epoch && epoch > 0 &&
        memcmp(cluster->history, proofs.data, proofs.size) != 0)
        return PBFT_DROP_EPOCH;
    if (cluster->epoch != epoch && cluster->epoch != 0) return PBFT_DROP_EPOCH;
    if (!pbft_epoch_copy(cluster, out)) return PBFT_DROP_BUSY;
    size_t each = pbft_epoch_proof_size(cluster);
    enum pbft_verdict verdict = PBFT_OK;
    for (pbft_epoch at = out->epoch; verdict == PBFT_OK && at < epoch; at++) {
        struct pbft_cluster next;
        struct pbft_span proof = {proofs.data + (size_t)at * each, each};
        verdict = pbft_epoch_next(out, signer, proof, &next);
        if (verdict != PBFT_OK) break;
        pbft_epoch_free(out);
        *out = next;
    }
    if (verdict != PBFT_OK) pbft_epoch_free(out);
    return verdict;
}

/* What one signed frame states, apart from what the door guarantees. */
struct statement {
    uint8_t type;
    pbft_id signer;
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest; /* of what may not differ */
};

static enum pbft_verdict statement_of(const struct pbft_cluster *cluster, const struct pbft_msg *m,
                                      struct statement *s)
{
    memset(s, 0, sizeof *s);
    s->type = m->type;
    switch ((enum pbft_type)m->type) {
    case PBFT_HEADER:
        s->type = PBFT_PRE_PREPARE;
        s->signer = pbft_primary(cluster->params.n, m->pre_prepare.view);
        s->view = m->pre_prepare.view;
        s->seq = m->pre_prepare.seq;
        s->digest = m->pre_prepare.digest;
        return PBFT_OK;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        s->signer = m->vote.sender;
        s->view = m->vote.view;
        s->seq = m->vote.seq;
        s->digest = m->vote.digest;
        return PBFT_OK;
    case PBFT_CHECKPOINT:
        s->signer = m->checkpoint.sender;
        s->seq = m->checkpoint.seq;
        s->digest = m->checkpoint.root;
        return PBFT_OK;
    case PBFT_VIEW_CHANGE:
        s->signer = m->view_change.sender;
        s->view = m->view_change.view;
        s->digest = m->view_change.digest;
        return PBFT_OK;
    case PBFT_NEW_VIEW:
        s->signer = m->new_view.sender;
        s->view = m->new_view.view;
        s->digest = m->new_view.digest;
        return PBFT_OK;
    case PBFT_REQUEST:
    case PBFT_PRE_PREPARE: /* stands as HEADER: one byte string for an item */
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return PBFT_DROP_TYPE;
}

/* A CERTIFICATE's statement: a root at seq, by q replicas. */
static enum pbft_verdict certified(const struct pbft_msg *m, struct statement *s)
{
    memset(s, 0, sizeof *s);
    if (m->type != PBFT_CERTIFICATE || m->certificate.kind != PBFT_CERT_CHECKPOINT)
        return PBFT_DROP_TYPE;
    s->type = PBFT_CHECKPOINT;
    s->seq = m->certificate.seq;
    s->digest = m->certificate.digest;
    return PBFT_OK;
}

/* The door checks structure, authorship and every signature; it is opened twice because a message
 * lives until the next one. */
static enum pbft_verdict open_both(const struct pbft_cluster *cluster, struct pbft_door *door,
                                   const struct pbft_evidence *e, const struct pbft_span frames[2],
                                   struct statement s[2])
{
    struct pbft_peer from = {.kind = PBFT_PEER_REPLICA, .index = e->culprit, .connection = 1};
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_msg msg;
        enum pbft_verdict verdict = pbft_door_open(door, &from, frames[i], &msg);
        if (verdict != PBFT_OK) return verdict;
        if (e->kind == PBFT_EVIDENCE_CHECKPOINT && i == 1)
            verdict = certified(&msg, &s[i]);
        else
            verdict = statement_of(cluster, &msg, &s[i]);
        if (verdict != PBFT_OK) return verdict;
    }
    return PBFT_OK;
}

static enum pbft_verdict accusable(const struct pbft_evidence *e, const struct pbft_span frames[2],
                                   const struct statement s[2])
{
    if (s[0].type != s[1].type || s[0].view != s[1].view || s[0].seq != s[1].seq)
        return PBFT_DROP_TYPE;
    if (pbft_digest_equal(&s[0].digest, &s[1].digest)) return PBFT_DROP_DUPLICATE;
    if (s[0].signer != e->culprit) return PBFT_DROP_SENDER;
    if (e->kind == PBFT_EVIDENCE_CHECKPOINT)
        return s[0].type == PBFT_CHECKPOINT ? PBFT_OK : PBFT_DROP_TYPE;
    if (s[1].signer != e->culprit) return PBFT_DROP_SENDER;
    return span_compare(frames[0], frames[1]) < 0 ? PBFT_OK : PBFT_DROP_MALFORMED;
}

static void describe(const struct pbft_evidence *e, const struct statement s[2], char *text)
{
    char a[2 * 8 + 1], b[2 * 8 + 1];
    pbft_hex_encode(s[0].digest.bytes, 8, a);
    pbft_hex_encode(s[1].digest.bytes, 8, b);
    if (e->kind == PBFT_EVIDENCE_CHECKPOINT)
        snprintf(text, PBFT_EVIDENCE_TEXT_BYTES,
                 "replica %u signed CHECKPOINT seq %llu with root %s..., a quorum certified %s...",
                 (unsigned)e->culprit, (unsigned long long)s[0].seq, a, b);
    else
        snprintf(text, PBFT_EVIDENCE_TEXT_BYTES,
                 "replica %u signed two %s for view %llu seq %llu: %s... and %s...",
                 (unsigned)e->culprit, pbft_type_text(s[0].type), (unsigned long long)s[0].view,
                 (unsigned long long)s[0].seq, a, b);
}

/* Changes are compared; who signed them may differ. */
static bool same_history(const struct pbft_cluster *known, struct pbft_span proofs,
                         pbft_epoch epoch)
{
    size_t each = pbft_epoch_proof_size(known);
    for (pbft_epoch at = 1; at <= known->epoch && at <= epoch; at++)
        if (memcmp(pbft_epoch_history(known, at).data, proofs.data + (size_t)(at - 1) * each,
                   PBFT_EPOCH_CHANGE_BYTES) != 0)
            return false;
    return true;
}

/* Both signatures, by the keys of that epoch. */
static enum pbft_verdict judge(const struct pbft_cluster *at, const struct pbft_signer *signer,
                               const struct pbft_evidence *e, const struct pbft_span frames[2],
                               struct statement s[2])
{
    struct pbft_door_config config = {.cluster = at, .signer = signer, .cache_entries = 64};
    struct pbft_door *door = pbft_door_new(&config);
    enum pbft_verdict verdict = door == NULL ? PBFT_DROP_BUSY : open_both(at, door, e, frames, s);
    pbft_door_free(door);
    return verdict == PBFT_OK ? accusable(e, frames, s) : verdict;
}

/* known: NULL: of no use. *why: more than the verdict says. */
static enum pbft_verdict verify(const struct pbft_cluster *cluster,
                                const struct pbft_cluster *known, const struct pbft_signer *signer,
                                struct pbft_span file, struct pbft_evidence *e,
                                struct statement s[2], const char **why)
{
    struct pbft_span frames[2], proofs;
    struct pbft_cluster at = {.history = NULL};
    enum pbft_verdict verdict = split(cluster, file, e, frames, &proofs);
    if (verdict == PBFT_DROP_EPOCH) *why = "it is of another cluster";
    if (verdict != PBFT_OK) return verdict;
    if (known != NULL && !same_history(known, proofs, e->epoch)) {
        *why = "its epochs are not those that are known of this cluster";
        return PBFT_DROP_EPOCH;
    }
    verdict = follow(cluster, signer, proofs, e->epoch, &at);
    if (verdict != PBFT_OK && verdict != PBFT_DROP_BUSY)
        *why = "its epoch is not known, and its own proofs do not lead there";
    if (verdict != PBFT_OK) return verdict;
    verdict = judge(&at, signer, e, frames, s);
    pbft_epoch_free(&at);
    return verdict;
}

static enum pbft_verdict report(enum pbft_verdict verdict, const char *why,
                                const struct pbft_evidence *e, const struct statement s[2],
                                char *text)
{
    if (text == NULL) return verdict;
    if (verdict == PBFT_OK)
        describe(e, s, text);
    else
        snprintf(text, PBFT_EVIDENCE_TEXT_BYTES, "no proof: %s",
                 why != NULL ? why : pbft_verdict_text(verdict));
    return verdict;
}

enum pbft_verdict pbft_evidence_verify_known(const struct pbft_cluster *genesis,
                                             const struct pbft_cluster *known,
                                             const struct pbft_signer *signer,
                                             struct pbft_span file, struct pbft_evidence *out,
                                             char text[PBFT_EVIDENCE_TEXT_BYTES])
{
    struct pbft_evidence e = {0};
    struct statement s[2];
    const char *why = NULL;
    enum pbft_verdict verdict = verify(genesis, known, signer, file, &e, s, &why);
    if (verdict == PBFT_OK) {
        e.type = s[0].type;
        e.view = s[0].view;
        e.seq = s[0].seq;
        if (out != NULL) *out = e;
    }
    return report(verdict, why, &e, s, text);
}

enum pbft_verdict pbft_evidence_verify(const struct pbft_cluster *cluster,
                                       const struct pbft_signer *signer, struct pbft_span file,
                                       struct pbft_evidence *out,
                                       char text[PBFT_EVIDENCE_TEXT_BYTES])
{
    return pbft_evidence_verify_known(cluster, NULL, signer, file, out, text);
}
