/*
 * pbft/wire.c - one schema for each message (docs/wire.md), and the entry points that run it.
 *
 * Bounds come from the parameters and are checked before anything is reserved or walked. Roles,
 * quorums and windows are not judged here: pbft/certificate and the core do that.
 */
#include "pbft/wire_io.h"

#include <string.h>

#define PROPOSAL_HEAD_BYTES   12u  /* time u64, count u32 */
#define REQUEST_LEAST_BYTES   128u /* frame with one empty operation */
#define PREPARED_LEAST_BYTES  120u /* seq, view, digest, signature, empty bitmap */
#define ADMIN_ARGUMENT_MAX    256u
#define REQUEST_IN_PROPOSAL   (4u + REQUEST_LEAST_BYTES)
#define PROPOSAL_AROUND_BYTES (PROPOSAL_HEAD_BYTES + 4u) /* around its only request */

/* ---- pieces ---- */

static void digest(struct pbft_io *io, const char *name, struct pbft_digest *d)
{
    pbft_io_array(io, name, d->bytes, PBFT_DIGEST_BYTES);
}

static void signature(struct pbft_io *io, const uint8_t **s)
{
    pbft_io_pointer(io, s, PBFT_SIGNATURE_BYTES);
}

/* Exactly as many signatures as bits: nobody can sign twice (FAULTS 2.9). */
static void signatures(struct pbft_io *io, const char *name, struct pbft_signatures *s)
{
    pbft_io_signers(io, name, &s->signers);
    pbft_io_pointer(io, &s->bytes, (size_t)pbft_signers_count(s->signers) * PBFT_SIGNATURE_BYTES);
}

static void header(struct pbft_io *io, struct pbft_msg *m)
{
    uint8_t version = PBFT_WIRE_VERSION;
    uint16_t flags = 0;
    pbft_io_u8(io, NULL, &m->type);
    pbft_io_require(io, pbft_type_text(m->type)[0] != '?', PBFT_DROP_TYPE);
    pbft_io_u8(io, NULL, &version);
    pbft_io_require(io, version == PBFT_WIRE_VERSION, PBFT_DROP_VERSION);
    pbft_io_u16(io, NULL, &flags);
    pbft_io_require(io, flags == 0, PBFT_DROP_MALFORMED);
    pbft_io_text(io, pbft_type_text(m->type));
    pbft_io_u32(io, "epoch", &m->epoch);
}

bool pbft_wire_next_item(struct pbft_span items, size_t *cursor, struct pbft_span *item)
{
    if (*cursor > items.size || items.size - *cursor < 4) return false;
    uint32_t size = pbft_get_u32(items.data + *cursor);
    if (size > items.size - *cursor - 4) return false;
    *item = (struct pbft_span){items.data + *cursor + 4, size};
    *cursor += 4 + (size_t)size;
    return true;
}

bool pbft_wire_items_valid(struct pbft_span items, uint32_t count)
{
    size_t cursor = 0;
    struct pbft_span item;
    while (count > 0 && pbft_wire_next_item(items, &cursor, &item))
        count--;
    return count == 0 && cursor == items.size;
}

struct pbft_span pbft_wire_query_results(struct pbft_span body)
{
    if (body.size == 0) return (struct pbft_span){NULL, 0};
    size_t head = 4u + (size_t)8u * pbft_get_u32(body.data);
    return (struct pbft_span){body.data + head, body.size - head};
}

/* ---- statements: what is signed of a vote, also rebuilt from certificates (PROTOCOL 17) ---- */

static void pre_prepare_statement(struct pbft_io *io, struct pbft_pre_prepare *m)
{
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "seq", &m->seq);
    digest(io, "digest", &m->digest);
}

static void vote_statement(struct pbft_io *io, struct pbft_vote *m)
{
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "seq", &m->seq);
    digest(io, "digest", &m->digest);
    pbft_io_u32(io, "sender", &m->sender);
}

static void checkpoint_statement(struct pbft_io *io, struct pbft_checkpoint *m)
{
    pbft_io_u64(io, "seq", &m->seq);
    digest(io, "root", &m->root);
    pbft_io_u32(io, "sender", &m->sender);
}

/* ---- requests and proposals ---- */

static void request(struct pbft_io *io, struct pbft_request *m)
{
    size_t start = io->at;
    pbft_io_array(io, "client", m->client.bytes, PBFT_PUBLIC_KEY_BYTES);
    pbft_io_u64(io, "session", &m->session);
    pbft_io_u64(io, "t", &m->t);
    pbft_io_require(io, m->t > 0, PBFT_DROP_MALFORMED);
    pbft_io_u32(io, "op_count", &m->op_count);
    pbft_io_require(io, m->op_count > 0, PBFT_DROP_MALFORMED);
    if (io->mode == PBFT_IO_READ) {
        pbft_io_require(io, m->op_count <= io->params->bundle_max_ops, PBFT_DROP_SIZE);
        /* A request that no proposal can hold would wait for ever. */
        pbft_io_require(io, io->end <= io->params->batch_max_bytes - PROPOSAL_AROUND_BYTES,
                        PBFT_DROP_SIZE);
    }
    pbft_io_tail(io, "ops", &m->ops, PBFT_SIGNATURE_BYTES);
    if (pbft_io_ok(io) && io->mode != PBFT_IO_PRINT)
        pbft_io_require(io, pbft_wire_items_valid(m->ops, m->op_count), PBFT_DROP_MALFORMED);
    pbft_io_mark(io, start, &m->body);
    signature(io, &m->signature);
}

/* READ: one request of a proposal is a whole REQUEST frame, header included. */
static void nested_request(struct pbft_io *io, struct pbft_request *r)
{
    pbft_io_bytes(io, NULL, &r->frame, r->frame.size);
    if (!pbft_io_ok(io)) return;
    struct pbft_io inner = {.mode = PBFT_IO_READ,
                            .in = r->frame.data,
                            .end = r->frame.size,
                            .params = io->params,
                            .arena = io->arena};
    struct pbft_msg head = {.type = 0};
    header(&inner, &head);
    pbft_io_require(&inner, head.type == PBFT_REQUEST, PBFT_DROP_MALFORMED);
    request(&inner, r);
    pbft_io_require(&inner, inner.at == inner.end, PBFT_DROP_MALFORMED);
    /* The frame around it is of our version and type: what is wrong inside is its own fault. */
    bool size = inner.bad == PBFT_DROP_SIZE;
    pbft_io_require(io, pbft_io_ok(&inner), size ? PBFT_DROP_SIZE : PBFT_DROP_MALFORMED);
}

static void proposal_request(struct pbft_io *io, struct pbft_request *r)
{
    if (io->mode == PBFT_IO_PRINT) {
        pbft_io_text(io, " [");
        request(io, r);
        pbft_io_text(io, " ]");
        return;
    }
    uint32_t size = (uint32_t)r->frame.size;
    pbft_io_u32(io, NULL, &size);
    if (io->mode == PBFT_IO_READ) {
        memset(r, 0, sizeof *r);
        r->frame.size = size;
        nested_request(io, r);
    } else {
        pbft_io_bytes(io, NULL, &r->frame, size);
    }
}

/* Always the tail of its frame. Written from `bytes` where they are known, else request by request.
 */
static void proposal(struct pbft_io *io, struct pbft_proposal *m)
{
    bool writing = io->mode == PBFT_IO_WRITE || io->mode == PBFT_IO_SIZE;
    if (writing && m->bytes.data != NULL) {
        pbft_io_bytes(io, NULL, &m->bytes, m->bytes.size);
        return;
    }
    size_t start = io->at;
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, pbft_io_left(io) <= io->params->batch_max_bytes, PBFT_DROP_SIZE);
    pbft_io_u64(io, "time_ns", &m->time_ns);
    pbft_io_u32(io, "requests", &m->request_count);
    if (io->mode == PBFT_IO_READ) {
        pbft_io_require(io, m->request_count <= io->params->batch_max_requests, PBFT_DROP_SIZE);
        m->requests =
            pbft_io_reserve(io, m->request_count, sizeof *m->requests, REQUEST_IN_PROPOSAL);
    }
    if (m->requests == NULL) {
        /* Bad, or a struct without its requests, of which only the head can be printed. */
        pbft_io_require(io, m->request_count == 0 || !writing, PBFT_DROP_MALFORMED);
        return;
    }
    for (uint32_t i = 0; i < m->request_count && pbft_io_ok(io); i++)
        proposal_request(io, &m->requests[i]);
    pbft_io_mark(io, start, &m->bytes);
}

/* ---- normal case ---- */

static void pre_prepare(struct pbft_io *io, struct pbft_pre_prepare *m, bool whole)
{
    pre_prepare_statement(io, m);
    signature(io, &m->signature);
    if (whole) proposal(io, &m->proposal);
}

static void vote(struct pbft_io *io, struct pbft_vote *m)
{
    vote_statement(io, m);
    signature(io, &m->signature);
}

static void checkpoint(struct pbft_io *io, struct pbft_checkpoint *m)
{
    checkpoint_statement(io, m);
    signature(io, &m->signature);
}

static void certificate(struct pbft_io *io, struct pbft_certificate *m)
{
    pbft_io_u8(io, "kind", &m->kind);
    pbft_io_require(io, m->kind == PBFT_CERT_COMMIT || m->kind == PBFT_CERT_CHECKPOINT,
                    PBFT_DROP_MALFORMED);
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "seq", &m->seq);
    digest(io, "digest", &m->digest);
    signatures(io, "signers", &m->signatures);
    pbft_io_bool(io, "has_proposal", &m->has_proposal);
    if (m->kind == PBFT_CERT_CHECKPOINT)
        pbft_io_require(io, m->view == 0 && !m->has_proposal, PBFT_DROP_MALFORMED);
    if (m->has_proposal) proposal(io, &m->proposal);
}

/* ---- view change ---- */

static void prepared(struct pbft_io *io, struct pbft_prepared *m)
{
    pbft_io_text(io, " [");
    pbft_io_u64(io, "seq", &m->seq);
    pbft_io_u64(io, "view", &m->view);
    digest(io, "digest", &m->digest);
    signature(io, &m->pre_prepare_signature);
    signatures(io, "prepares", &m->prepares);
    pbft_io_text(io, " ]");
}

static void view_change(struct pbft_io *io, struct pbft_view_change *m)
{
    size_t start = io->at;
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u32(io, "sender", &m->sender);
    pbft_io_u64(io, "stable", &m->stable);
    digest(io, "root", &m->stable_root);
    signatures(io, "proof", &m->stable_proof);
    pbft_io_u32(io, "prepared", &m->prepared_count);
    if (io->mode == PBFT_IO_READ) {
        pbft_io_require(io, m->prepared_count <= io->params->window, PBFT_DROP_SIZE);
        m->prepared =
            pbft_io_reserve(io, m->prepared_count, sizeof *m->prepared, PREPARED_LEAST_BYTES);
    }
    for (uint32_t i = 0; i < m->prepared_count && pbft_io_ok(io); i++) {
        if (io->mode == PBFT_IO_READ) memset(&m->prepared[i], 0, sizeof m->prepared[i]);
        prepared(io, &m->prepared[i]);
        /* One entry for each n, in order: a set has one encoding. */
        pbft_io_require(io, i == 0 || m->prepared[i - 1].seq < m->prepared[i].seq,
                        PBFT_DROP_MALFORMED);
    }
    pbft_io_mark(io, start, &m->body);
    signature(io, &m->signature);
}

static void new_view_entries(struct pbft_io *io, const struct pbft_new_view *m)
{
    struct pbft_digest d;
    for (uint32_t i = 0; m->entries != NULL && i < m->count; i++) {
        memcpy(d.bytes, m->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, sizeof d.bytes);
        digest(io, "digest", &d);
    }
}

static void new_view(struct pbft_io *io, struct pbft_new_view *m)
{
    size_t start = io->at;
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u32(io, "sender", &m->sender);
    pbft_io_signers(io, "view_changes", &m->signers);
    pbft_io_pointer(io, &m->vc_digests, (size_t)pbft_signers_count(m->signers) * PBFT_DIGEST_BYTES);
    pbft_io_u64(io, "min_s", &m->min_s);
    pbft_io_u32(io, "count", &m->count);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, m->count <= io->params->window, PBFT_DROP_SIZE);
    pbft_io_pointer(io, &m->entries, (size_t)m->count * PBFT_NEW_VIEW_ENTRY_BYTES);
    if (io->mode == PBFT_IO_PRINT) new_view_entries(io, m);
    pbft_io_mark(io, start, &m->body);
    signature(io, &m->signature);
}

/* ---- between replicas, not signed ---- */

static void bitmap(struct pbft_io *io, const char *name, struct pbft_span *bits, uint16_t count)
{
    size_t size = ((size_t)count + 7) / 8;
    pbft_io_bytes(io, name, bits, size);
    if (!pbft_io_ok(io) || io->mode == PBFT_IO_PRINT || count % 8 == 0) return;
    pbft_io_require(io, bits->data[size - 1] >> (count % 8) == 0, PBFT_DROP_MALFORMED);
}

static void status(struct pbft_io *io, struct pbft_status_msg *m)
{
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "stable", &m->stable);
    pbft_io_u64(io, "executed", &m->executed);
    pbft_io_u64(io, "counter", &m->counter);
    pbft_io_u8(io, "flags", &m->flags);
    pbft_io_require(io, (m->flags & ~PBFT_STATUS_FLAGS) == 0, PBFT_DROP_MALFORMED);
    pbft_io_signers(io, "view_changes", &m->view_changes);
    pbft_io_u32(io, "waits_client", &m->waits_client);
    pbft_io_u64(io, "waits_session", &m->waits_session);
    pbft_io_u64(io, "waits_t", &m->waits_t);
    bool none = m->waits_client == PBFT_STATUS_NONE;
    pbft_io_require(io, !none || (m->waits_session == 0 && m->waits_t == 0), PBFT_DROP_MALFORMED);
    pbft_io_u16(io, "count", &m->count);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, m->count <= io->params->window, PBFT_DROP_SIZE);
    bitmap(io, "have_proposal", &m->have_proposal, m->count);
    bitmap(io, "prepared", &m->prepared, m->count);
    bitmap(io, "committed", &m->committed, m->count);
}

/* Which fields a kind uses; the others are zero. */
static bool fetch_canonical(const struct pbft_fetch *m)
{
    bool no_digest = pbft_digest_is_zero(&m->digest);
    switch (m->kind) {
    case PBFT_FETCH_BATCH: return m->view == 0;
    case PBFT_FETCH_PAGE:
    case PBFT_FETCH_VIEW_CHANGE: return m->view == 0 && m->seq == 0;
    case PBFT_FETCH_HEADER: return no_digest;
    case PBFT_FETCH_COMMIT:
    case PBFT_FETCH_CHECKPOINT: return no_digest && m->view == 0;
    default: return false;
    }
}

static void fetch(struct pbft_io *io, struct pbft_fetch *m)
{
    pbft_io_u8(io, "kind", &m->kind);
    digest(io, "digest", &m->digest);
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "seq", &m->seq);
    pbft_io_require(io, fetch_canonical(m), PBFT_DROP_MALFORMED);
}

/* ---- between replica and client ---- */

/* Results as items; only an outcome without results may have an empty body. */
static void reply_body(struct pbft_io *io, const struct pbft_reply *m)
{
    if (!pbft_io_ok(io) || io->mode == PBFT_IO_PRINT) return;
    if (m->body.size == 0) {
        bool may = (m->flags & PBFT_REPLY_HAS_BODY) == 0 || m->outcome != PBFT_OUTCOME_EXECUTED;
        pbft_io_require(io, may, PBFT_DROP_MALFORMED);
        return;
    }
    bool whole = (m->flags & PBFT_REPLY_HAS_BODY) != 0 && m->body.size >= 4;
    pbft_io_require(io, whole, PBFT_DROP_MALFORMED);
    if (!whole) return;
    uint32_t count = pbft_get_u32(m->body.data);
    struct pbft_span items = {m->body.data + 4, m->body.size - 4};
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, count <= io->params->bundle_max_ops, PBFT_DROP_SIZE);
    pbft_io_require(io, pbft_wire_items_valid(items, count), PBFT_DROP_MALFORMED);
}

static void reply(struct pbft_io *io, struct pbft_reply *m)
{
    pbft_io_u64(io, "view", &m->view);
    pbft_io_u64(io, "seq", &m->seq);
    pbft_io_u64(io, "session", &m->session);
    pbft_io_u64(io, "t", &m->t);
    digest(io, "request", &m->request);
    pbft_io_u8(io, "outcome", &m->outcome);
    pbft_io_require(io, m->outcome < PBFT_OUTCOME_COUNT, PBFT_DROP_MALFORMED);
    pbft_io_u8(io, "flags", &m->flags);
    pbft_io_require(io, (m->flags & ~PBFT_REPLY_FLAGS) == 0, PBFT_DROP_MALFORMED);
    digest(io, "result", &m->result);
    pbft_io_tail(io, "body", &m->body, 0);
    reply_body(io, m);
}

static void query(struct pbft_io *io, struct pbft_query *m)
{
    pbft_io_u64(io, "id", &m->id);
    pbft_io_u64(io, "floor", &m->floor);
    pbft_io_u8(io, "want_body", &m->want_body);
    pbft_io_require(io, m->want_body <= 1, PBFT_DROP_MALFORMED);
    pbft_io_u32(io, "op_count", &m->op_count);
    pbft_io_require(io, m->op_count > 0, PBFT_DROP_MALFORMED);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, m->op_count <= io->params->bundle_max_ops, PBFT_DROP_SIZE);
    pbft_io_tail(io, "ops", &m->ops, 0);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, m->ops.size <= io->params->batch_max_bytes, PBFT_DROP_SIZE);
    if (pbft_io_ok(io) && io->mode != PBFT_IO_PRINT)
        pbft_io_require(io, pbft_wire_items_valid(m->ops, m->op_count), PBFT_DROP_MALFORMED);
}

static void query_reply_body(struct pbft_io *io, const struct pbft_query_reply *m)
{
    if (!pbft_io_ok(io) || io->mode == PBFT_IO_PRINT) return;
    bool flag = (m->flags & PBFT_REPLY_HAS_BODY) != 0;
    if (m->body.size == 0) {
        bool may = !flag || m->outcome != PBFT_OUTCOME_EXECUTED;
        pbft_io_require(io, may, PBFT_DROP_MALFORMED);
        return;
    }
    bool whole = flag && m->body.size >= 4;
    pbft_io_require(io, whole, PBFT_DROP_MALFORMED);
    if (!whole) return;
    uint32_t count = pbft_get_u32(m->body.data);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, count <= io->params->bundle_max_ops, PBFT_DROP_SIZE);
    bool marks = count <= (m->body.size - 4) / 8;
    pbft_io_require(io, marks, PBFT_DROP_MALFORMED);
    if (marks)
        pbft_io_require(io, pbft_wire_items_valid(pbft_wire_query_results(m->body), count),
                        PBFT_DROP_MALFORMED);
}

static void query_reply(struct pbft_io *io, struct pbft_query_reply *m)
{
    pbft_io_u64(io, "id", &m->id);
    pbft_io_u8(io, "outcome", &m->outcome);
    pbft_io_require(io, m->outcome == PBFT_OUTCOME_EXECUTED || m->outcome == PBFT_OUTCOME_INVALID,
                    PBFT_DROP_MALFORMED);
    pbft_io_u8(io, "flags", &m->flags);
    pbft_io_require(io, (m->flags & ~PBFT_REPLY_FLAGS) == 0, PBFT_DROP_MALFORMED);
    pbft_io_u64(io, "mark", &m->mark);
    pbft_io_u64(io, "executed", &m->executed);
    digest(io, "result", &m->result);
    pbft_io_tail(io, "body", &m->body, 0);
    query_reply_body(io, m);
}

static void admin(struct pbft_io *io, struct pbft_admin *m)
{
    pbft_io_u64(io, "id", &m->id);
    pbft_io_u8(io, "kind", &m->kind);
    pbft_io_require(io, m->kind >= PBFT_ADMIN_STATUS && m->kind <= PBFT_ADMIN_PAGES,
                    PBFT_DROP_MALFORMED);
    pbft_io_tail(io, "argument", &m->argument, 0);
    pbft_io_require(io, m->argument.size <= ADMIN_ARGUMENT_MAX, PBFT_DROP_SIZE);
}

static void admin_reply(struct pbft_io *io, struct pbft_admin_reply *m)
{
    pbft_io_u64(io, "id", &m->id);
    pbft_io_u8(io, "ok", &m->ok);
    pbft_io_require(io, m->ok <= 1, PBFT_DROP_MALFORMED);
    pbft_io_tail(io, "body", &m->body, 0);
}

void pbft_wire_message(struct pbft_io *io, struct pbft_msg *m)
{
    header(io, m);
    if (!pbft_io_ok(io)) return;
    switch ((enum pbft_type)m->type) {
    case PBFT_REQUEST: request(io, &m->request); break;
    case PBFT_PRE_PREPARE: pre_prepare(io, &m->pre_prepare, true); break;
    case PBFT_PREPARE:
    case PBFT_COMMIT: vote(io, &m->vote); break;
    case PBFT_CHECKPOINT: checkpoint(io, &m->checkpoint); break;
    case PBFT_VIEW_CHANGE: view_change(io, &m->view_change); break;
    case PBFT_NEW_VIEW: new_view(io, &m->new_view); break;
    case PBFT_STATUS_MSG: status(io, &m->status); break;
    case PBFT_FETCH: fetch(io, &m->fetch); break;
    case PBFT_BATCH: proposal(io, &m->batch); break;
    case PBFT_PAGE: pbft_io_tail(io, "bytes", &m->page, 0); break;
    case PBFT_CERTIFICATE: certificate(io, &m->certificate); break;
    case PBFT_HEADER: pre_prepare(io, &m->pre_prepare, false); break;
    case PBFT_REPLY: reply(io, &m->reply); break;
    case PBFT_QUERY: query(io, &m->query); break;
    case PBFT_QUERY_REPLY: query_reply(io, &m->query_reply); break;
    case PBFT_BUSY:
        pbft_io_u64(io, "session", &m->busy.session);
        pbft_io_u64(io, "t", &m->busy.t);
        break;
    case PBFT_RESULT_FETCH:
        pbft_io_u64(io, "session", &m->result_fetch.session);
        pbft_io_u64(io, "t", &m->result_fetch.t);
        break;
    case PBFT_ADMIN: admin(io, &m->admin); break;
    case PBFT_ADMIN_REPLY: admin_reply(io, &m->admin_reply); break;
    }
}

/* ---- entry points ---- */

size_t pbft_wire_arena_bytes(const struct pbft_params *p)
{
    /* A message holds one of the two, and each reservation is rounded up to 16. */
    size_t requests = (size_t)p->batch_max_requests * sizeof(struct pbft_request);
    size_t entries = (size_t)p->window * sizeof(struct pbft_prepared);
    return (requests > entries ? requests : entries) + 16u;
}

enum pbft_verdict pbft_wire_decode(struct pbft_span frame, const struct pbft_params *p,
                                   struct pbft_arena *arena, struct pbft_msg *msg)
{
    memset(msg, 0, sizeof *msg);
    if (frame.size > PBFT_FRAME_MAX_BYTES) return PBFT_DROP_SIZE;
    struct pbft_io io = {
        .mode = PBFT_IO_READ, .in = frame.data, .end = frame.size, .params = p, .arena = arena};
    pbft_wire_message(&io, msg);
    pbft_io_require(&io, io.at == io.end, PBFT_DROP_MALFORMED);
    msg->frame = frame;
    if (msg->type == PBFT_REQUEST) msg->request.frame = frame;
    return io.bad;
}

enum pbft_verdict pbft_wire_decode_proposal(struct pbft_span bytes, const struct pbft_params *p,
                                            struct pbft_arena *arena, struct pbft_proposal *out)
{
    memset(out, 0, sizeof *out);
    struct pbft_io io = {
        .mode = PBFT_IO_READ, .in = bytes.data, .end = bytes.size, .params = p, .arena = arena};
    proposal(&io, out);
    pbft_io_require(&io, io.at == io.end, PBFT_DROP_MALFORMED);
    return io.bad;
}

size_t pbft_wire_encode(const struct pbft_msg *msg, uint8_t *out, size_t capacity)
{
    struct pbft_msg copy = *msg; /* the schema takes what it may also fill */
    struct pbft_io io = {.mode = PBFT_IO_WRITE, .out = out, .end = capacity};
    pbft_wire_message(&io, &copy);
    return pbft_io_ok(&io) ? io.at : 0;
}

size_t pbft_wire_size(const struct pbft_msg *msg)
{
    struct pbft_msg copy = *msg;
    struct pbft_io io = {.mode = PBFT_IO_SIZE};
    pbft_wire_message(&io, &copy);
    return pbft_io_ok(&io) ? io.at : 0;
}

static struct pbft_io body_writer(uint8_t *out)
{
    return (struct pbft_io){.mode = PBFT_IO_WRITE, .out = out, .end = PBFT_BODY_MAX_BYTES};
}

size_t pbft_wire_pre_prepare_body(pbft_view view, pbft_seq seq, const struct pbft_digest *d,
                                  uint8_t *out)
{
    struct pbft_io io = body_writer(out);
    struct pbft_pre_prepare m = {.view = view, .seq = seq, .digest = *d};
    pre_prepare_statement(&io, &m);
    PBFT_ASSERT(pbft_io_ok(&io));
    return io.at;
}

size_t pbft_wire_vote_body(pbft_view view, pbft_seq seq, const struct pbft_digest *d,
                           pbft_id sender, uint8_t *out)
{
    struct pbft_io io = body_writer(out);
    struct pbft_vote m = {.view = view, .seq = seq, .digest = *d, .sender = sender};
    vote_statement(&io, &m);
    PBFT_ASSERT(pbft_io_ok(&io));
    return io.at;
}

size_t pbft_wire_checkpoint_body(pbft_seq seq, const struct pbft_digest *root, pbft_id sender,
                                 uint8_t *out)
{
    struct pbft_io io = body_writer(out);
    struct pbft_checkpoint m = {.seq = seq, .root = *root, .sender = sender};
    checkpoint_statement(&io, &m);
    PBFT_ASSERT(pbft_io_ok(&io));
    return io.at;
}
