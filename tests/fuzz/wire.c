/*
 * tests/fuzz/wire.c - one decoder of pbft/wire for each name that this binary is called by:
 * `wire-prepare`, `wire-view-change` ... The input is a frame; its type byte is overwritten, so
 * that every execution is one of that decoder.
 *
 * What is accepted has one encoding (the very same bytes), is what pbft_wire_peek() claimed, is
 * signed where pbft_wire_signature_offset() says, and can be printed into any buffer.
 */
#include "pbft/wire.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>

static uint8_t type;
static struct pbft_params narrow, wide;
static struct pbft_arena arena;
static uint8_t *out;
#define OUT_BYTES 65536u

static bool named(const char *name, const char *text)
{
    for (; *name != '\0' && *text != '\0'; name++, text++)
        if (tolower((unsigned char)*name) != tolower((unsigned char)*text)) return false;
    return *name == *text;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    const char *name = strrchr((*argv)[0], '/');
    name = name == NULL ? (*argv)[0] : name + 1;
    for (unsigned t = 0; t < 256; t++)
        if (strncmp(name, "wire-", 5) == 0 && named(name + 5, pbft_type_text((uint8_t)t)))
            type = (uint8_t)t;
    if (type == 0) {
        (void)fprintf(stderr, "%s: call it wire-TYPE, for a type of docs/wire.md\n", name);
        exit(2);
    }
    narrow = pbft_params_default(4);
    narrow.window = 16;
    narrow.batch_max_requests = 4;
    narrow.bundle_max_ops = 4;
    narrow.batch_max_bytes = 1024;
    wide = pbft_params_default(64);
    size_t bytes = pbft_wire_arena_bytes(&wide);
    if (bytes < pbft_wire_arena_bytes(&narrow)) bytes = pbft_wire_arena_bytes(&narrow);
    arena = (struct pbft_arena){.base = malloc(bytes), .size = bytes};
    out = malloc(OUT_BYTES);
    REQUIRE(arena.base != NULL && out != NULL);
    return 0;
}

/* Must give exactly `bytes`, and nothing where one byte is missing. */
static void encodes_to(const struct pbft_msg *msg, struct pbft_span bytes)
{
    REQUIRE(bytes.size <= OUT_BYTES);
    REQUIRE(pbft_wire_size(msg) == bytes.size);
    REQUIRE(pbft_wire_encode(msg, out, bytes.size) == bytes.size);
    REQUIRE(memcmp(out, bytes.data, bytes.size) == 0);
    REQUIRE(pbft_wire_encode(msg, out, bytes.size - 1) == 0);
}

static struct pbft_proposal *proposal_of(struct pbft_msg *msg)
{
    if (msg->type == PBFT_PRE_PREPARE) return &msg->pre_prepare.proposal;
    if (msg->type == PBFT_BATCH) return &msg->batch;
    return msg->type == PBFT_CERTIFICATE && msg->certificate.has_proposal
               ? &msg->certificate.proposal
               : NULL;
}

/* Also request by request, not only from the bytes that it came with. */
static void check_proposal(struct pbft_msg *msg, struct pbft_span frame)
{
    struct pbft_proposal *p = proposal_of(msg);
    if (p == NULL) return;
    for (uint32_t i = 0; i < p->request_count; i++) {
        struct pbft_msg request = {.type = PBFT_REQUEST};
        request.request = p->requests[i];
        request.frame = request.request.frame;
        request.epoch = pbft_get_u32(request.frame.data + 4);
        encodes_to(&request, request.frame);
    }
    struct pbft_span bytes = p->bytes;
    p->bytes = (struct pbft_span){NULL, 0};
    if (p->request_count > 0) encodes_to(msg, frame);
    p->bytes = bytes;

    /* Stored alone it is read the same way. */
    struct pbft_arena own = {.base = arena.base + arena.used, .size = arena.size - arena.used};
    struct pbft_proposal again;
    enum pbft_verdict verdict =
        pbft_wire_decode_proposal(bytes, frame.data[4] & 1 ? &wide : &narrow, &own, &again);
    REQUIRE(verdict == PBFT_OK || verdict == PBFT_DROP_SIZE); /* the arena has one in it already */
    REQUIRE(verdict != PBFT_OK || (again.time_ns == p->time_ns && fuzz_same(again.bytes, bytes)));
}

/* What a frame of this contents must claim to be. */
static struct pbft_claim claim_of(const struct pbft_msg *m)
{
    struct pbft_claim c = {.type = m->type, .epoch = m->epoch, .sender = PBFT_REPLICAS_MAX};
    switch ((enum pbft_type)m->type) {
    case PBFT_PRE_PREPARE:
    case PBFT_HEADER:
        c.view = m->pre_prepare.view;
        c.seq = m->pre_prepare.seq;
        c.digest = m->pre_prepare.digest;
        break;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        c.view = m->vote.view;
        c.seq = m->vote.seq;
        c.digest = m->vote.digest;
        c.sender = m->vote.sender;
        break;
    case PBFT_CHECKPOINT:
        c.seq = m->checkpoint.seq;
        c.digest = m->checkpoint.root;
        c.sender = m->checkpoint.sender;
        break;
    case PBFT_VIEW_CHANGE:
        c.view = m->view_change.view;
        c.sender = m->view_change.sender;
        break;
    case PBFT_NEW_VIEW:
        c.view = m->new_view.view;
        c.sender = m->new_view.sender;
        break;
    case PBFT_STATUS_MSG: c.view = m->status.view; break;
    case PBFT_FETCH:
        c.view = m->fetch.view;
        c.seq = m->fetch.seq;
        c.digest = m->fetch.digest;
        break;
    case PBFT_CERTIFICATE:
        c.view = m->certificate.view;
        c.seq = m->certificate.seq;
        c.digest = m->certificate.digest;
        break;
    case PBFT_REQUEST:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return c;
}

/* Peeking may let through what decoding refuses, never the other way round; but for a sender that
 * no cluster has, which decoding leaves to the door. */
static void check_claim(enum pbft_verdict decoded, const struct pbft_msg *msg,
                        struct pbft_span frame)
{
    struct pbft_claim claim;
    enum pbft_verdict peeked = pbft_wire_peek(frame, &claim);
    if (decoded != PBFT_OK) return;
    struct pbft_claim is = claim_of(msg);
    bool nobody = is.sender > PBFT_REPLICAS_MAX ||
                  (is.sender == PBFT_REPLICAS_MAX && peeked == PBFT_DROP_SENDER);
    REQUIRE(peeked == (nobody ? PBFT_DROP_SENDER : PBFT_OK));
    if (peeked != PBFT_OK) return;
    REQUIRE(claim.type == is.type && claim.epoch == is.epoch && claim.view == is.view);
    REQUIRE(claim.seq == is.seq && claim.sender == is.sender);
    REQUIRE(pbft_digest_equal(&claim.digest, &is.digest));
}

/* Where the schema found signature and signed body; NULL for what has none. */
static const uint8_t *signature_of(const struct pbft_msg *m, struct pbft_span *body)
{
    *body = (struct pbft_span){NULL, 0};
    switch ((enum pbft_type)m->type) {
    case PBFT_REQUEST: *body = m->request.body; return m->request.signature;
    case PBFT_PRE_PREPARE:
    case PBFT_HEADER: return m->pre_prepare.signature;
    case PBFT_PREPARE:
    case PBFT_COMMIT: return m->vote.signature;
    case PBFT_CHECKPOINT: return m->checkpoint.signature;
    case PBFT_VIEW_CHANGE: *body = m->view_change.body; return m->view_change.signature;
    case PBFT_NEW_VIEW: *body = m->new_view.body; return m->new_view.signature;
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
    return NULL;
}

static void check_signed(const struct pbft_msg *msg, struct pbft_span frame)
{
    struct pbft_span body;
    const uint8_t *signature = signature_of(msg, &body);
    size_t offset = pbft_wire_signature_offset(frame);
    struct pbft_span covered = pbft_wire_signed_body(frame);
    REQUIRE((signature == NULL) == (offset == 0) && (signature == NULL) == (covered.size == 0));
    if (signature == NULL) return;
    REQUIRE(signature == frame.data + offset && offset + PBFT_SIGNATURE_BYTES <= frame.size);
    REQUIRE(body.data == NULL || (body.data == covered.data && body.size == covered.size));
}

static void check_print(const struct pbft_msg *msg, size_t capacity)
{
    char *text = malloc(capacity);
    REQUIRE(text != NULL);
    REQUIRE(pbft_wire_print(msg, text, capacity) == text);
    size_t size = strnlen(text, capacity);
    REQUIRE(size < capacity);
    for (size_t i = 0; i < size; i++)
        REQUIRE(text[i] >= ' ' && text[i] <= '~');
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct pbft_span frame = {data, size};
    uint8_t *bytes = fuzz_copy(frame);
    bytes[0] = type;
    frame.data = bytes;

    const struct pbft_params *params = size > 4 && (bytes[4] & 1) ? &wide : &narrow;
    struct pbft_msg msg;
    arena.used = 0;
    enum pbft_verdict verdict = pbft_wire_decode(frame, params, &arena, &msg);
    check_claim(verdict, &msg, frame);
    (void)pbft_wire_signed_body(frame);
    if (verdict == PBFT_OK) {
        REQUIRE(msg.type == type && fuzz_same(msg.frame, frame));
        encodes_to(&msg, frame);
        check_proposal(&msg, frame);
        check_signed(&msg, frame);
        check_print(&msg, 1 + bytes[size - 1]);
        check_print(&msg, 2048);
    }
    free(bytes);
    return 0;
}
