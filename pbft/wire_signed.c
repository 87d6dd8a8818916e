/*
 * pbft/wire_signed.c - what can be said about a frame without decoding it: what it claims to be,
 * which of its bytes are signed and where the signature stands (PROTOCOL 1, 16).
 */
#include "pbft/wire.h"

#include <string.h>

enum signature_place { UNSIGNED, AT_END, AFTER_BODY };

/* Offsets from the start of the frame; 0 where the type lacks the field. tests/unit/test_wire.c
 * compares them with what the schemas decode. */
struct layout {
    uint8_t least_bytes; /* of a frame: no shorter one decodes */
    uint8_t view, seq, digest, sender, signers;
    uint8_t body_bytes; /* AFTER_BODY: what stands before the signature */
    enum signature_place signature;
};

#define VOTE_LAYOUT                                                                                \
    {                                                                                              \
        .least_bytes = 124, .view = 8, .seq = 16, .digest = 24, .sender = 56, .signature = AT_END  \
    }

static const struct layout layouts[] = {
    [PBFT_REQUEST] = {.least_bytes = 128, .signature = AT_END},
    [PBFT_PRE_PREPARE] = {.least_bytes = 132,
                          .view = 8,
                          .seq = 16,
                          .digest = 24,
                          .body_bytes = 48,
                          .signature = AFTER_BODY},
    [PBFT_PREPARE] = VOTE_LAYOUT,
    [PBFT_COMMIT] = VOTE_LAYOUT,
    [PBFT_CHECKPOINT] =
        {.least_bytes = 116, .seq = 8, .digest = 16, .sender = 48, .signature = AT_END},
    [PBFT_VIEW_CHANGE] = {.least_bytes = 136, .view = 8, .sender = 16, .signature = AT_END},
    [PBFT_NEW_VIEW] = {.least_bytes = 104, .view = 8, .sender = 16, .signature = AT_END},
    [PBFT_STATUS_MSG] = {.least_bytes = 71, .view = 8},
    [PBFT_FETCH] = {.least_bytes = 57, .digest = 9, .view = 41, .seq = 49},
    [PBFT_BATCH] = {.least_bytes = 20},
    [PBFT_PAGE] = {.least_bytes = 8},
    [PBFT_CERTIFICATE] = {.least_bytes = 66, .view = 9, .seq = 17, .digest = 25, .signers = 57},
    [PBFT_HEADER] = {.least_bytes = 120,
                     .view = 8,
                     .seq = 16,
                     .digest = 24,
                     .body_bytes = 48,
                     .signature = AFTER_BODY},
    [PBFT_REPLY] = {.least_bytes = 106},
    [PBFT_QUERY] = {.least_bytes = 33},
    [PBFT_QUERY_REPLY] = {.least_bytes = 66},
    [PBFT_BUSY] = {.least_bytes = 24},
    [PBFT_RESULT_FETCH] = {.least_bytes = 24},
    [PBFT_ADMIN] = {.least_bytes = 17},
    [PBFT_ADMIN_REPLY] = {.least_bytes = 17},
};

/* NULL for a number that no message has. */
static const struct layout *layout_of(uint8_t type)
{
    bool known = type < sizeof layouts / sizeof layouts[0] && layouts[type].least_bytes > 0;
    return known ? &layouts[type] : NULL;
}

enum pbft_verdict pbft_wire_peek(struct pbft_span frame, struct pbft_claim *claim)
{
    memset(claim, 0, sizeof *claim);
    claim->sender = PBFT_REPLICAS_MAX;
    if (frame.size > PBFT_FRAME_MAX_BYTES) return PBFT_DROP_SIZE;
    if (frame.size < PBFT_WIRE_HEADER_BYTES) return PBFT_DROP_MALFORMED;
    const uint8_t *p = frame.data;
    const struct layout *l = layout_of(p[0]);
    if (l == NULL) return PBFT_DROP_TYPE;
    if (p[1] != PBFT_WIRE_VERSION) return PBFT_DROP_VERSION;
    if (pbft_get_u16(p + 2) != 0 || frame.size < l->least_bytes) return PBFT_DROP_MALFORMED;
    claim->type = p[0];
    claim->epoch = pbft_get_u32(p + 4);
    if (l->view != 0) claim->view = pbft_get_u64(p + l->view);
    if (l->seq != 0) claim->seq = pbft_get_u64(p + l->seq);
    if (l->digest != 0) memcpy(claim->digest.bytes, p + l->digest, PBFT_DIGEST_BYTES);
    if (l->signers != 0) claim->signers = pbft_get_u64(p + l->signers);
    if (l->sender == 0) return PBFT_OK;
    pbft_id sender = pbft_get_u32(p + l->sender);
    /* PBFT_REPLICAS_MAX means "names none" and must not be claimed. */
    if (sender >= PBFT_REPLICAS_MAX) return PBFT_DROP_SENDER;
    claim->sender = sender;
    return PBFT_OK;
}

size_t pbft_wire_signature_offset(struct pbft_span frame)
{
    const struct layout *l = frame.size >= PBFT_WIRE_HEADER_BYTES ? layout_of(frame.data[0]) : NULL;
    if (l == NULL || frame.size < l->least_bytes || l->signature == UNSIGNED) return 0;
    return l->signature == AT_END ? frame.size - PBFT_SIGNATURE_BYTES
                                  : PBFT_WIRE_HEADER_BYTES + (size_t)l->body_bytes;
}

struct pbft_span pbft_wire_signed_body(struct pbft_span frame)
{
    size_t end = pbft_wire_signature_offset(frame);
    if (end == 0) return (struct pbft_span){NULL, 0};
    return (struct pbft_span){frame.data + PBFT_WIRE_HEADER_BYTES, end - PBFT_WIRE_HEADER_BYTES};
}

bool pbft_wire_signs_digest(uint8_t type)
{
    return type == PBFT_REQUEST || type == PBFT_VIEW_CHANGE || type == PBFT_NEW_VIEW;
}

void pbft_wire_tag(uint8_t type, uint8_t out[PBFT_TAG_BYTES])
{
    static const uint8_t name[PBFT_TAG_BYTES] = "pbft-signed";
    memcpy(out, name, PBFT_TAG_BYTES);
    /* A HEADER is the PRE-PREPARE without its proposal: one statement, one signature. */
    out[PBFT_TAG_BYTES - 2] = type == PBFT_HEADER ? PBFT_PRE_PREPARE : type;
    out[PBFT_TAG_BYTES - 1] = PBFT_WIRE_VERSION;
}

size_t pbft_wire_signed_bytes(uint8_t type, const struct pbft_digest *cluster, pbft_epoch epoch,
                              struct pbft_span body, uint8_t out[PBFT_SIGNED_MAX_BYTES])
{
    PBFT_ASSERT(body.size > 0 && body.size <= PBFT_BODY_MAX_BYTES);
    uint8_t *at = out;
    pbft_wire_tag(type, at);
    at += PBFT_TAG_BYTES;
    memcpy(at, cluster->bytes, PBFT_DIGEST_BYTES);
    at += PBFT_DIGEST_BYTES;
    pbft_put_u32(at, epoch);
    at += 4;
    memcpy(at, body.data, body.size);
    return PBFT_TAG_BYTES + PBFT_DIGEST_BYTES + 4u + body.size;
}
