/* The codec, rule by rule: canonical form, bounds, signed bodies, text. */
#include "tests/unit/wire_random.h"

static const uint64_t seed = UINT64_C(0x7072747262667470);

/* ---- one rule each ---- */

/* A frame of `type` whose bytes a test may change. */
static struct pbft_span sample(struct bench *b, const struct pbft_msg *m, uint8_t **bytes_out)
{
    struct pbft_span frame = encode(&b->gen, m);
    *bytes_out = room(&b->gen, frame.size + 16);
    memset(*bytes_out, 0, frame.size + 16);
    memcpy(*bytes_out, frame.data, frame.size);
    return (struct pbft_span){*bytes_out, frame.size};
}

#define expect(b, frame, verdict)                                                                  \
    cr_assert_eq(decode_checked(b, (frame).data, (frame).size), verdict)

Test(wire, header_is_checked)
{
    struct bench *b = bench_new(seed + 5);
    struct pbft_msg m = random_message(&b->gen, PBFT_COMMIT);
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    struct pbft_claim claim;
    expect(b, frame, PBFT_OK);
    for (unsigned type = 0; type < 256; type++) {
        p[0] = (uint8_t)type;
        bool known = false;
        for (size_t i = 0; i < TYPES; i++)
            known = known || types[i] == type;
        cr_assert_eq(decode_checked(b, p, frame.size) == PBFT_DROP_TYPE, !known, "type %u", type);
        cr_assert_eq(pbft_wire_peek(frame, &claim) == PBFT_DROP_TYPE, !known, "type %u", type);
        cr_assert_eq(pbft_type_text((uint8_t)type)[0] == '?', !known);
    }
    p[0] = PBFT_COMMIT;
    p[1] = PBFT_WIRE_VERSION + 1;
    expect(b, frame, PBFT_DROP_VERSION);
    cr_assert_eq(pbft_wire_peek(frame, &claim), PBFT_DROP_VERSION);
    p[1] = PBFT_WIRE_VERSION;
    p[3] = 1;
    expect(b, frame, PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_wire_peek(frame, &claim), PBFT_DROP_MALFORMED);
    p[3] = 0;
    pbft_put_u32(p + 56, PBFT_REPLICAS_MAX); /* "names no sender" cannot be claimed */
    cr_assert_eq(pbft_wire_peek(frame, &claim), PBFT_DROP_SENDER);
    frame.size = 7;
    expect(b, frame, PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_wire_peek(frame, &claim), PBFT_DROP_MALFORMED);
    frame = (struct pbft_span){NULL, 0};
    expect(b, frame, PBFT_DROP_MALFORMED);
    bench_free(b);
}

Test(wire, frames_beyond_the_cap_are_refused_unread)
{
    struct bench *b = bench_new(seed + 6);
    uint8_t byte = PBFT_PAGE;
    struct pbft_span huge = {&byte, (size_t)PBFT_FRAME_MAX_BYTES + 1};
    struct pbft_msg m;
    struct pbft_claim claim;
    cr_assert_eq(pbft_wire_decode(huge, &b->p, &b->arena, &m), PBFT_DROP_SIZE);
    cr_assert_eq(pbft_wire_peek(huge, &claim), PBFT_DROP_SIZE);
    bench_free(b);
}

Test(wire, requests_are_bounded)
{
    struct bench *b = bench_new(seed + 7);
    struct pbft_msg m = {.type = PBFT_REQUEST, .request = random_request(&b->gen)};
    m.request.op_count = 4;
    m.request.ops = random_items(&b->gen, 4);
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    pbft_put_u32(p + 56, 3); /* fewer than there are, more, none, beyond the bound */
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u32(p + 56, 0);
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u32(p + 56, 5);
    expect(b, frame, PBFT_DROP_SIZE);
    pbft_put_u32(p + 56, UINT32_MAX);
    expect(b, frame, PBFT_DROP_SIZE);
    pbft_put_u32(p + 56, 4);
    pbft_put_u64(p + 48, 0); /* t counts from 1 */
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 48, 1);
    pbft_put_u32(p + 60, UINT32_MAX); /* an operation longer than the frame */
    expect(b, frame, PBFT_DROP_MALFORMED);

    /* The largest request is one that a proposal of its own can hold. */
    uint8_t *op = bytes(&b->gen, 4096);
    m.request.op_count = 1;
    for (uint32_t around = 15; around <= 16; around++) {
        uint32_t size = b->p.batch_max_bytes - around - 128;
        pbft_put_u32(op, size);
        m.request.ops = (struct pbft_span){op, 4 + (size_t)size};
        frame = encode(&b->gen, &m);
        cr_assert_eq(frame.size, b->p.batch_max_bytes - around);
        expect(b, frame, around == 16 ? PBFT_OK : PBFT_DROP_SIZE);
    }
    bench_free(b);
}

/* A batch of `count` requests, none bigger than it must be. */
static struct pbft_span batch_of(struct bench *b, uint32_t count, uint8_t **p)
{
    struct pbft_msg m = {.type = PBFT_BATCH};
    m.batch.request_count = count;
    m.batch.requests = (struct pbft_request *)(void *)room(&b->gen, 8 * sizeof *m.batch.requests);
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_msg r = {.type = PBFT_REQUEST, .request = random_request(&b->gen)};
        m.batch.requests[i].frame = encode(&b->gen, &r);
    }
    return sample(b, &m, p);
}

Test(wire, proposals_are_bounded_before_anything_is_reserved)
{
    struct bench *b = bench_new(seed + 8);
    uint8_t *p;
    struct pbft_span frame = batch_of(b, 4, &p);
    expect(b, frame, PBFT_OK);
    frame = batch_of(b, 5, &p);
    expect(b, frame, PBFT_DROP_SIZE);
    frame = batch_of(b, 0, &p); /* an empty timed batch, PROTOCOL 12 */
    expect(b, frame, PBFT_OK);
    pbft_put_u32(p + 16, 4); /* promised, not there */
    b->arena.used = 0;
    struct pbft_msg m;
    cr_assert_eq(pbft_wire_decode(frame, &b->p, &b->arena, &m), PBFT_DROP_MALFORMED);
    cr_assert_eq(b->arena.used, 0);

    frame = batch_of(b, 2, &p);
    struct pbft_arena small = {.base = b->arena.base, .size = sizeof(struct pbft_request)};
    cr_assert_eq(pbft_wire_decode(frame, &b->p, &small, &m), PBFT_DROP_SIZE);

    b->p.batch_max_bytes = (uint32_t)(frame.size - PBFT_WIRE_HEADER_BYTES);
    expect(b, frame, PBFT_OK);
    b->p.batch_max_bytes--;
    expect(b, frame, PBFT_DROP_SIZE);
    bench_free(b);
}

Test(wire, nested_requests_are_whole_request_frames)
{
    struct bench *b = bench_new(seed + 9);
    uint8_t *p;
    struct pbft_span frame = batch_of(b, 1, &p);
    uint8_t *nested = p + 8 + 12 + 4;
    expect(b, frame, PBFT_OK);
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, PBFT_COMMIT}, {0, 200}, {1, 9}, {2, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t was = nested[wrong[i].at];
        nested[wrong[i].at] = wrong[i].value;
        expect(b, frame, PBFT_DROP_MALFORMED);
        nested[wrong[i].at] = was;
    }
    pbft_put_u32(nested - 4, pbft_get_u32(nested - 4) - 1);
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u32(nested - 4, UINT32_MAX);
    expect(b, frame, PBFT_DROP_MALFORMED);
    bench_free(b);
}

Test(wire, bitmaps_name_replicas_only_and_signatures_match_them)
{
    struct bench *b = bench_new(seed + 10);
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    m.certificate.kind = PBFT_CERT_CHECKPOINT;
    m.certificate.signatures = (struct pbft_signatures){0x1f, bytes(&b->gen, 320)};
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    pbft_put_u64(p + 57, 0x9e); /* five bits, one of them replica 7 of 7 */
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 57, UINT64_C(0x800000000000000f));
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 57, 0x3f); /* six bits, five signatures */
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 57, 0x0f); /* four bits, five signatures */
    expect(b, frame, PBFT_DROP_MALFORMED);
    bench_free(b);
}

Test(wire, certificates_have_one_form)
{
    struct bench *b = bench_new(seed + 11);
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    m.certificate.kind = PBFT_CERT_CHECKPOINT;
    m.certificate.view = 1;
    cr_assert_eq(pbft_wire_size(&m), 0, "a checkpoint has no view");
    m.certificate.view = 0;
    m.certificate.has_proposal = true;
    cr_assert_eq(pbft_wire_size(&m), 0, "nor a proposal");
    m.certificate.has_proposal = false;
    m.certificate.kind = 3;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m.certificate.kind = PBFT_CERT_COMMIT;
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    p[frame.size - 1] = 2; /* has_proposal is 0 or 1 */
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[frame.size - 1] = 1; /* promised, not there */
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[frame.size - 1] = 0;
    p[8] = PBFT_CERT_CHECKPOINT;
    expect(b, frame, PBFT_OK);
    p[9] = 1;
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[9] = 0;
    p[8] = 0;
    expect(b, frame, PBFT_DROP_MALFORMED);
    bench_free(b);
}

Test(wire, view_change_entries_ascend_and_are_bounded)
{
    struct bench *b = bench_new(seed + 12);
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE, .view_change = random_view_change(&b->gen)};
    struct pbft_prepared entries[17];
    for (uint32_t i = 0; i < 17; i++)
        entries[i] = (struct pbft_prepared){.seq = i + 1};
    m.view_change.prepared = entries;
    m.view_change.prepared_count = 16;
    struct pbft_span frame = encode(&b->gen, &m);
    expect(b, frame, PBFT_OK);
    m.view_change.prepared_count = 17;
    frame = encode(&b->gen, &m);
    expect(b, frame, PBFT_DROP_SIZE);

    m.view_change.prepared_count = 2;
    uint8_t *p;
    frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    uint8_t *second = p + frame.size - 64 - 120;
    pbft_put_u64(second, 1);
    expect(b, frame, PBFT_DROP_MALFORMED); /* the same n twice */
    pbft_put_u64(second, 0);
    expect(b, frame, PBFT_DROP_MALFORMED); /* descending */
    bench_free(b);
}

Test(wire, new_view_entries_are_bounded)
{
    struct bench *b = bench_new(seed + 13);
    struct pbft_msg m = {.type = PBFT_NEW_VIEW, .new_view = random_new_view(&b->gen)};
    m.new_view.entries = bytes(&b->gen, 17 * (size_t)PBFT_NEW_VIEW_ENTRY_BYTES);
    m.new_view.count = 16;
    struct pbft_span frame = encode(&b->gen, &m);
    expect(b, frame, PBFT_OK);
    m.new_view.count = 17;
    frame = encode(&b->gen, &m);
    expect(b, frame, PBFT_DROP_SIZE);
    bench_free(b);
}

Test(wire, status_bitmaps_are_minimal)
{
    struct bench *b = bench_new(seed + 14);
    static const uint8_t bits[3] = {0xff, 0x01, 0};
    struct pbft_msg m = {.type = PBFT_STATUS_MSG};
    m.status.count = 9;
    m.status.have_proposal = m.status.prepared = m.status.committed = (struct pbft_span){bits, 2};
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    p[frame.size - 1] = 3; /* a surplus bit */
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[frame.size - 1] = 1;
    p[40] = PBFT_STATUS_FLAGS + 1;
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[40] = 0;
    pbft_put_u64(p + 41, UINT64_C(1) << 7); /* a replica that does not exist */
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 41, 0);
    pbft_put_u16(p + 69, 17); /* beyond the window */
    expect(b, frame, PBFT_DROP_SIZE);
    pbft_put_u16(p + 69, 9);
    expect(b, frame, PBFT_OK);
    pbft_put_u32(p + 49, PBFT_STATUS_NONE); /* watches nothing, but its number is 1 */
    pbft_put_u64(p + 61, 1);
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 61, 0);
    pbft_put_u64(p + 53, 1);
    expect(b, frame, PBFT_DROP_MALFORMED);
    pbft_put_u64(p + 53, 0);
    expect(b, frame, PBFT_OK);
    m.status.prepared.size = 1;
    cr_assert_eq(pbft_wire_size(&m), 0, "a bitmap of another size is not encoded");
    bench_free(b);
}

Test(wire, fetch_has_zero_where_unused)
{
    struct bench *b = bench_new(seed + 15);
    static const struct {
        uint8_t kind;
        bool digest, view, seq;
    } used[] = {{PBFT_FETCH_BATCH, true, false, true},
                {PBFT_FETCH_PAGE, true, false, false},
                {PBFT_FETCH_VIEW_CHANGE, true, false, false},
                {PBFT_FETCH_HEADER, false, true, true},
                {PBFT_FETCH_COMMIT, false, false, true},
                {PBFT_FETCH_CHECKPOINT, false, false, true}};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
        struct pbft_msg m = {.type = PBFT_FETCH};
        m.fetch.kind = used[i].kind;
        uint8_t *p;
        struct pbft_span frame = sample(b, &m, &p);
        expect(b, frame, PBFT_OK);
        p[9] = 1;
        expect(b, frame, used[i].digest ? PBFT_OK : PBFT_DROP_MALFORMED);
        p[9] = 0;
        p[41] = 1;
        expect(b, frame, used[i].view ? PBFT_OK : PBFT_DROP_MALFORMED);
        p[41] = 0;
        p[49] = 1;
        expect(b, frame, used[i].seq ? PBFT_OK : PBFT_DROP_MALFORMED);
        p[8] = 7;
        expect(b, frame, PBFT_DROP_MALFORMED);
        p[8] = 0;
        expect(b, frame, PBFT_DROP_MALFORMED);
    }
    bench_free(b);
}

Test(wire, replies_hold_results_or_nothing)
{
    struct bench *b = bench_new(seed + 16);
    static uint8_t body[] = {1, 0, 0, 0, 1, 0, 0, 0, 'x', 0};
    struct pbft_msg m = {.type = PBFT_REPLY};
    struct pbft_reply *r = &m.reply;
    cr_assert(pbft_wire_size(&m) > 0, "digest only");
    r->flags = PBFT_REPLY_HAS_BODY;
    cr_assert_eq(pbft_wire_size(&m), 0, "executed, with an empty body");
    r->outcome = PBFT_OUTCOME_STALE;
    cr_assert(pbft_wire_size(&m) > 0, "nothing was executed");
    r->outcome = PBFT_OUTCOME_EXECUTED;
    r->body = (struct pbft_span){body, 9};
    uint8_t *p;
    struct pbft_span frame = sample(b, &m, &p);
    expect(b, frame, PBFT_OK);
    r->body.size = 10;
    cr_assert_eq(pbft_wire_size(&m), 0, "a byte beyond the results");
    r->body.size = 8;
    cr_assert_eq(pbft_wire_size(&m), 0, "a result cut short");
    p[73] = 0; /* a body without its flag */
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[73] = 2;
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[73] = 3; /* its flag, and one that nobody knows */
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[73] = 1;
    p[72] = PBFT_OUTCOME_COUNT;
    expect(b, frame, PBFT_DROP_MALFORMED);
    p[72] = 0;
    pbft_put_u32(p + 106, 5);
    expect(b, frame, PBFT_DROP_SIZE);

    static const uint8_t results[] = {1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 'o', 'k'};
    struct pbft_msg q = {.type = PBFT_QUERY_REPLY};
    q.query_reply.body = (struct pbft_span){results, sizeof results};
    cr_assert_eq(pbft_wire_size(&q), 0, "a body without its flag");
    q.query_reply.flags = PBFT_REPLY_HAS_BODY;
    cr_assert(pbft_wire_size(&q) > 0);
    for (size_t size = 0; size < sizeof results; size++) {
        q.query_reply.body.size = size;
        cr_assert_eq(pbft_wire_size(&q), 0, "%zu bytes of %zu", size, sizeof results);
    }
    q.query_reply.outcome = PBFT_OUTCOME_INVALID;
    q.query_reply.body.size = 0;
    cr_assert(pbft_wire_size(&q) > 0, "nothing was executed");
    q.query_reply.outcome = PBFT_OUTCOME_STALE;
    cr_assert_eq(pbft_wire_size(&q), 0, "reads are executed or invalid");
    bench_free(b);
}

Test(wire, small_enumerations_are_closed)
{
    static uint8_t text[300];
    struct pbft_msg m = {.type = PBFT_QUERY};
    m.query.op_count = 1;
    m.query.ops = (struct pbft_span){text, 4}; /* of one empty operation */
    cr_assert(pbft_wire_size(&m) > 0);
    m.query.want_body = 2;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m.query.want_body = 1;
    m.query.op_count = 0;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m.query.ops.size = 0;
    cr_assert_eq(pbft_wire_size(&m), 0, "a question about nothing");
    m.query.op_count = 2;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m = (struct pbft_msg){.type = PBFT_ADMIN};
    cr_assert_eq(pbft_wire_size(&m), 0);
    m.admin.kind = PBFT_ADMIN_PAGES + 1;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m.admin.kind = PBFT_ADMIN_STATUS;
    m.admin.argument = (struct pbft_span){text, 256};
    cr_assert(pbft_wire_size(&m) > 0);
    m.admin.argument.size = 257;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m = (struct pbft_msg){.type = PBFT_ADMIN_REPLY};
    m.admin_reply.ok = 2;
    cr_assert_eq(pbft_wire_size(&m), 0);
    m = (struct pbft_msg){.type = 77};
    cr_assert_eq(pbft_wire_size(&m), 0);
}

Test(wire, encoding_respects_the_capacity)
{
    struct bench *b = bench_new(seed + 17);
    for (size_t i = 0; i < TYPES; i++) {
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, types[i]);
        size_t size = pbft_wire_size(&m);
        for (size_t capacity = 0; capacity < size; capacity++) {
            uint8_t *out = malloc(capacity > 0 ? capacity : 1);
            cr_assert_eq(pbft_wire_encode(&m, out, capacity), 0);
            free(out);
        }
    }
    bench_free(b);
}

Test(wire, proposals_decode_alone)
{
    struct bench *b = bench_new(seed + 18);
    uint8_t *p;
    struct pbft_span frame = batch_of(b, 3, &p);
    struct pbft_span stored = {frame.data + 8, frame.size - 8};
    struct pbft_proposal out;
    cr_assert_eq(pbft_wire_decode_proposal(stored, &b->p, &b->arena, &out), PBFT_OK);
    cr_assert_eq(out.request_count, 3);
    cr_assert_eq(out.bytes.data, stored.data);
    cr_assert_eq(out.bytes.size, stored.size);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(out.requests[i].body.data, out.requests[i].frame.data + 8);
        cr_assert_eq(out.requests[i].signature + 64,
                     out.requests[i].frame.data + out.requests[i].frame.size);
    }
    stored.size--;
    b->arena.used = 0;
    cr_assert_eq(pbft_wire_decode_proposal(stored, &b->p, &b->arena, &out), PBFT_DROP_MALFORMED);
    bench_free(b);
}

/* ---- what is signed ---- */

Test(wire, rebuilt_bodies_are_the_signed_spans)
{
    struct bench *b = bench_new(seed + 19);
    static const uint8_t votes[] = {PBFT_PRE_PREPARE, PBFT_HEADER, PBFT_PREPARE, PBFT_COMMIT,
                                    PBFT_CHECKPOINT};
    for (size_t i = 0; i < sizeof votes; i++) {
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, votes[i]);
        struct pbft_span frame = encode(&b->gen, &m);
        struct pbft_span body = pbft_wire_signed_body(frame);
        uint8_t out[PBFT_BODY_MAX_BYTES];
        const uint8_t *signature = NULL;
        size_t size;
        if (votes[i] == PBFT_CHECKPOINT) {
            size = pbft_wire_checkpoint_body(m.checkpoint.seq, &m.checkpoint.root,
                                             m.checkpoint.sender, out);
            signature = m.checkpoint.signature;
        } else if (votes[i] == PBFT_PREPARE || votes[i] == PBFT_COMMIT) {
            size = pbft_wire_vote_body(m.vote.view, m.vote.seq, &m.vote.digest, m.vote.sender, out);
            signature = m.vote.signature;
        } else {
            size = pbft_wire_pre_prepare_body(m.pre_prepare.view, m.pre_prepare.seq,
                                              &m.pre_prepare.digest, out);
            signature = m.pre_prepare.signature;
        }
        cr_assert_eq(body.size, size);
        cr_assert_eq(memcmp(body.data, out, size), 0);
        size_t at = pbft_wire_signature_offset(frame);
        cr_assert_eq(memcmp(frame.data + at, signature, 64), 0);
    }
    bench_free(b);
}

Test(wire, signed_types_and_only_they_have_a_signature)
{
    struct bench *b = bench_new(seed + 20);
    for (size_t i = 0; i < TYPES; i++) {
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, types[i]);
        struct pbft_span frame = encode(&b->gen, &m);
        uint8_t type = types[i];
        bool is_signed = type <= PBFT_NEW_VIEW || type == PBFT_HEADER;
        struct pbft_span body = pbft_wire_signed_body(frame);
        cr_assert_eq(body.data != NULL, is_signed, "%s", pbft_type_text(type));
        cr_assert_eq(pbft_wire_signature_offset(frame) != 0, is_signed);
        bool hashed = type == PBFT_REQUEST || type == PBFT_VIEW_CHANGE || type == PBFT_NEW_VIEW;
        cr_assert_eq(pbft_wire_signs_digest(type), hashed);
        struct pbft_msg out;
        b->arena.used = 0;
        cr_assert_eq(pbft_wire_decode(frame, &b->p, &b->arena, &out), PBFT_OK);
        struct pbft_span decoded = {NULL, 0};
        if (type == PBFT_REQUEST) decoded = out.request.body;
        if (type == PBFT_VIEW_CHANGE) decoded = out.view_change.body;
        if (type == PBFT_NEW_VIEW) decoded = out.new_view.body;
        if (!hashed) continue;
        cr_assert_eq(decoded.data, body.data);
        cr_assert_eq(decoded.size, body.size);
    }
    bench_free(b);
}

/* PROTOCOL 1, FAULTS 2.13: type, version, cluster and epoch are in what is signed. */
Test(wire, signed_bytes_are_separated)
{
    static const uint8_t kinds[] = {PBFT_REQUEST,    PBFT_PRE_PREPARE, PBFT_PREPARE, PBFT_COMMIT,
                                    PBFT_CHECKPOINT, PBFT_VIEW_CHANGE, PBFT_NEW_VIEW};
    struct pbft_digest cluster = {{1}};
    struct pbft_digest other = {{2}};
    uint8_t body[32] = {9};
    struct pbft_span span = {body, sizeof body};
    uint8_t a[PBFT_SIGNED_MAX_BYTES];
    uint8_t c[PBFT_SIGNED_MAX_BYTES];
    for (size_t i = 0; i < sizeof kinds; i++) {
        size_t size = pbft_wire_signed_bytes(kinds[i], &cluster, 5, span, a);
        cr_assert_eq(size, 16 + 32 + 4 + 32);
        cr_assert_eq(memcmp(a, "pbft-signed\0\0\0", 14), 0);
        cr_assert_eq(a[14], kinds[i]);
        cr_assert_eq(a[15], PBFT_WIRE_VERSION);
        cr_assert_eq(memcmp(a + 16, cluster.bytes, 32), 0);
        cr_assert_eq(pbft_get_u32(a + 48), 5);
        cr_assert_eq(memcmp(a + 52, body, sizeof body), 0);
        for (size_t j = 0; j < sizeof kinds; j++) {
            (void)pbft_wire_signed_bytes(kinds[j], &cluster, 5, span, c);
            cr_assert_eq(memcmp(a, c, size) == 0, i == j);
        }
        (void)pbft_wire_signed_bytes(kinds[i], &cluster, 6, span, c);
        cr_assert_neq(memcmp(a, c, size), 0);
        (void)pbft_wire_signed_bytes(kinds[i], &other, 5, span, c);
        cr_assert_neq(memcmp(a, c, size), 0);
    }
    (void)pbft_wire_signed_bytes(PBFT_PRE_PREPARE, &cluster, 5, span, a);
    (void)pbft_wire_signed_bytes(PBFT_HEADER, &cluster, 5, span, c);
    cr_assert_eq(memcmp(a, c, 84), 0, "a HEADER is the same statement");
}

/* ---- items, text, integers ---- */

Test(wire, items_are_walked_within_bounds)
{
    static const uint8_t items[] = {2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 1, 0, 0, 0, 'c'};
    struct pbft_span span = {items, sizeof items};
    size_t cursor = 0;
    struct pbft_span item;
    cr_assert(pbft_wire_next_item(span, &cursor, &item));
    cr_assert(item.size == 2 && item.data == items + 4);
    cr_assert(pbft_wire_next_item(span, &cursor, &item));
    cr_assert_eq(item.size, 0);
    cr_assert(pbft_wire_next_item(span, &cursor, &item));
    cr_assert(item.size == 1 && item.data[0] == 'c');
    cr_assert_not(pbft_wire_next_item(span, &cursor, &item));
    cr_assert_eq(cursor, sizeof items);
    cursor = SIZE_MAX;
    cr_assert_not(pbft_wire_next_item(span, &cursor, &item));

    cr_assert(pbft_wire_items_valid(span, 3));
    cr_assert_not(pbft_wire_items_valid(span, 2));
    cr_assert_not(pbft_wire_items_valid(span, 4));
    for (size_t size = 0; size < sizeof items; size++)
        cr_assert_not(pbft_wire_items_valid((struct pbft_span){items, size}, 3));
    cr_assert(pbft_wire_items_valid((struct pbft_span){NULL, 0}, 0));
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0};
    cr_assert_not(pbft_wire_items_valid((struct pbft_span){huge, sizeof huge}, 1));
}

Test(wire, prints_one_line)
{
    char out[512];
    struct pbft_msg m = {.type = PBFT_PREPARE, .epoch = 1};
    m.vote = (struct pbft_vote){.view = 3, .seq = UINT64_MAX, .sender = 2};
    memset(m.vote.digest.bytes, 0xab, 32);
    cr_assert_str_eq(pbft_wire_print(&m, out, sizeof out),
                     "PREPARE epoch=1 view=3 seq=18446744073709551615 digest=abababababababab "
                     "sender=2");
    m = (struct pbft_msg){.type = PBFT_CERTIFICATE};
    m.certificate.kind = PBFT_CERT_CHECKPOINT;
    m.certificate.seq = 8;
    m.certificate.signatures.signers = 0x0d;
    cr_assert_str_eq(pbft_wire_print(&m, out, sizeof out),
                     "CERTIFICATE epoch=0 kind=2 view=0 seq=8 digest=0000000000000000 "
                     "signers={0,2,3} has_proposal=0");
    m = (struct pbft_msg){.type = 99};
    cr_assert_str_eq(pbft_wire_print(&m, out, sizeof out), "?");
    cr_assert_str_eq(pbft_wire_print(&m, out, 0), "");
}

Test(wire, printing_cuts_off_at_the_capacity)
{
    struct bench *b = bench_new(seed + 21);
    for (size_t i = 0; i < TYPES; i++) {
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, types[i]);
        struct pbft_span frame = encode(&b->gen, &m);
        struct pbft_msg decoded;
        b->arena.used = 0;
        cr_assert_eq(pbft_wire_decode(frame, &b->p, &b->arena, &decoded), PBFT_OK);
        char whole[8192];
        (void)pbft_wire_print(&decoded, whole, sizeof whole);
        size_t length = strlen(whole);
        cr_assert(strncmp(whole, pbft_type_text(types[i]), strlen(pbft_type_text(types[i]))) == 0);
        cr_assert(length < sizeof whole - 1 && strchr(whole, '\n') == NULL);
        for (size_t capacity = 1; capacity <= length; capacity += 7) {
            char *out = malloc(capacity);
            cr_assert_eq(strlen(pbft_wire_print(&decoded, out, capacity)), capacity - 1);
            cr_assert_eq(strncmp(out, whole, capacity - 1), 0);
            free(out);
        }
    }
    bench_free(b);
}

Test(wire, integers_are_little_endian)
{
    uint8_t p[9] = {0};
    pbft_put_u16(p + 1, 0x0102);
    cr_assert(p[1] == 2 && p[2] == 1);
    cr_assert_eq(pbft_get_u16(p + 1), 0x0102);
    pbft_put_u32(p + 1, 0xf1020304u);
    cr_assert(p[1] == 4 && p[4] == 0xf1);
    cr_assert_eq(pbft_get_u32(p + 1), 0xf1020304u);
    pbft_put_u64(p + 1, UINT64_C(0xf102030405060708));
    cr_assert(p[1] == 8 && p[8] == 0xf1);
    cr_assert_eq(pbft_get_u64(p + 1), UINT64_C(0xf102030405060708));
}
