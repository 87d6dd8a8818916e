/* The primary's side: what to propose and when; and the timer that watches it (PROTOCOL 11-13, 21).
 */
#include "pbft/core_internal.h"

#include <string.h>

#define LEAF_BYTES             (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)
#define PROPOSAL_HEAD_BYTES    12u /* time u64, count u32 */
#define PRE_PREPARE_HEAD_BYTES (PBFT_WIRE_HEADER_BYTES + 48u + PBFT_SIGNATURE_BYTES)
/* Of batch_max_bytes, from one STATUS to the next. */
#define FORWARD_SHARES    4u
#define FORWARD_BYTES_MIN 65536
#define PADDING_DEPTH     16u /* empty proposals in flight */

/* A timed effect has fallen due (PROTOCOL 12). */
bool timed_due(const struct pbft_core *c)
{
    return c->next_due_ns != 0 && c->wall_ns >= c->next_due_ns;
}

/* Others wait for the primary's clock before they blame it. */
static bool timed_overdue(const struct pbft_core *c)
{
    return c->next_due_ns != 0 && c->wall_ns >= c->next_due_ns &&
           c->wall_ns - c->next_due_ns >= c->p.clock_skew_ns;
}

void request_timer_update(struct pbft_core *c, bool restart)
{
    bool wanted = c->active && !c->mute && (c->pending.count > 0 || timed_overdue(c));
    if (!wanted)
        c->request_timer_ns = NEVER;
    else if (restart || c->request_timer_ns == NEVER)
        c->request_timer_ns = c->now_ns + view_timeout(c);
    if (restart) c->excuses = 0;
}

/* ---- what the primary has to be told (PROTOCOL 22) ---- */

static bool forwards(const struct pbft_core *c)
{
    return c->active && !c->mute && !is_primary(c);
}

/* Bytes, too: a backlog of large requests would keep the primary reading, and votes waiting behind
 * them. It is a quarter of a batch, and the rest of a request that began in it. */
void forward_refill(struct pbft_core *c)
{
    int64_t share = c->p.batch_max_bytes / FORWARD_SHARES;
    if (share < FORWARD_BYTES_MIN) share = FORWARD_BYTES_MIN;
    c->forward_bytes = c->forward_bytes < 0 ? c->forward_bytes + share : share;
}

static bool may_forward(const struct pbft_core *c)
{
    return forwards(c) && c->forward_bytes > 0;
}

static void forward(struct pbft_core *c, uint32_t i)
{
    struct pbft_pending_request *r = &c->pending.requests[i];
    r->forwarded_ns = c->now_ns;
    c->forward_bytes -= r->frame->size;
    send_frame(c, pbft_signers_of(pbft_primary(c->n, c->view)), 0, r->frame);
}

void forward_waiting(struct pbft_core *c)
{
    for (; may_forward(c) && c->forwards_left > 0; c->forwards_left--) {
        uint32_t i = pbft_pending_forward(&c->pending);
        if (i == PBFT_PENDING_NONE) return;
        forward(c, i);
    }
}

bool forward_unfinished(const struct pbft_core *c)
{
    return may_forward(c) && c->pending.queue_head != PBFT_PENDING_NONE;
}

void forward_again(struct pbft_core *c, uint32_t i)
{
    const struct pbft_pending_request *r = &c->pending.requests[i];
    if (may_forward(c) && r->forwarded && c->now_ns - r->forwarded_ns >= status_interval(c))
        forward(c, i);
}

void forward_oldest(struct pbft_core *c)
{
    if (may_forward(c)) forward(c, c->pending.oldest);
}

/* Take requests for one batch; returns how many, and the proposal's size. */
static uint32_t gather(struct pbft_core *c, size_t room, size_t *proposal_bytes)
{
    uint32_t count = 0;
    size_t bytes = PROPOSAL_HEAD_BYTES;
    while (count < c->p.batch_max_requests && bytes + 4 < room) {
        uint32_t i = pbft_pending_take(&c->pending, room - bytes - 4);
        if (i == PBFT_PENDING_NONE) break;
        c->scratch_taken[count++] = i;
        bytes += 4 + (size_t)c->pending.requests[i].frame->size;
    }
    *proposal_bytes = bytes;
    return count;
}

static void write_proposal(struct pbft_core *c, uint64_t time_ns, uint32_t count, uint8_t *out,
                           struct pbft_digest *digest)
{
    pbft_put_u64(out, time_ns);
    pbft_put_u32(out + 8, count);
    uint8_t *at = out + PROPOSAL_HEAD_BYTES;
    uint8_t *leaf = c->scratch_leaves;
    for (uint32_t i = 0; i < count; i++) {
        const struct pbft_pending_request *r = &c->pending.requests[c->scratch_taken[i]];
        uint32_t size = r->frame->size;
        pbft_put_u32(at, size);
        memcpy(at + 4, r->frame->bytes, size);
        memcpy(leaf, r->digest.bytes, PBFT_DIGEST_BYTES);
        memcpy(leaf + PBFT_DIGEST_BYTES, r->frame->bytes + size - PBFT_SIGNATURE_BYTES,
               PBFT_SIGNATURE_BYTES);
        at += 4 + (size_t)size;
        leaf += LEAF_BYTES;
    }
    const struct pbft_core_functions *f = &c->config.functions;
    f->digest_proposal(f->context, digest, time_ns, count,
                       (struct pbft_span){c->scratch_leaves, (size_t)count * LEAF_BYTES});
}

/* The memory for proposals is used up: empty ones lead to the next checkpoint, which frees it. */
static bool must_pad(const struct pbft_core *c, size_t room)
{
    return c->pending.waiting > 0 && room < c->p.batch_max_bytes &&
           (c->next_seq - 1) % c->p.checkpoint_interval != 0;
}

static bool propose_one(struct pbft_core *c)
{
    if (!may_vote(c, c->next_seq)) return false;
    size_t bytes;
    size_t room = body_room(c);
    bool deep = c->next_seq > c->committed + c->p.pipeline_depth; /* empty ones only */
    uint32_t count = gather(c, deep ? 0 : room, &bytes);
    if (count == 0 && !timed_due(c) && !must_pad(c, room)) return false;
    c->padding = count == 0;
    struct pbft_frame *frame =
        pbft_frame_new(c->config.pool, (uint32_t)(PRE_PREPARE_HEAD_BYTES + bytes));
    if (frame == NULL) {
        for (uint32_t i = 0; i < count; i++)
            pbft_pending_put_back(&c->pending, c->scratch_taken[i]);
        return false;
    }
    frame->size = (uint32_t)(PRE_PREPARE_HEAD_BYTES + bytes);
    uint64_t time_ns = c->wall_ns > c->effective_ns ? c->wall_ns : c->effective_ns;
    struct pbft_digest digest;
    uint8_t *proposal = frame->bytes + PRE_PREPARE_HEAD_BYTES;
    write_proposal(c, time_ns, count, proposal, &digest);

    pbft_seq seq = c->next_seq++;
    uint8_t *at = frame->bytes;
    memset(at, 0, PRE_PREPARE_HEAD_BYTES);
    at[0] = PBFT_PRE_PREPARE;
    at[1] = PBFT_WIRE_VERSION;
    pbft_put_u32(at + 4, c->config.epoch);
    pbft_wire_pre_prepare_body(c->view, seq, &digest, at + PBFT_WIRE_HEADER_BYTES);
    c->config.functions.sign_frame(c->config.functions.context, frame->bytes, frame->size);
    if (count == 0 && timed_due(c)) c->timed_seq = seq;

    pbft_lsn lsn = persist(c, PBFT_RECORD_PROPOSAL, true, frame, NULL);
    send_frame(c, everyone_else(c), lsn, frame);
    accept_header(c, slot_at(c, seq), &digest,
                  frame->bytes + PRE_PREPARE_HEAD_BYTES - PBFT_SIGNATURE_BYTES, frame,
                  (struct pbft_span){proposal, bytes});
    pbft_frame_release(frame);
    return true;
}

/* Natural batching (PROTOCOL 13): no delay, at most pipeline_depth in flight. While the memory for
 * proposals is used up requests wait for the checkpoint, and the way there is not walked step by
 * step. */
static bool pipeline_open(struct pbft_core *c)
{
    if (c->next_seq > window_end(c) || !stable_logged(c)) return false;
    return c->next_seq <= c->committed + c->p.pipeline_depth ||
           (c->padding && c->next_seq <= c->committed + PADDING_DEPTH && must_pad(c, body_room(c)));
}

uint32_t in_flight_max(const struct pbft_core *c)
{
    return c->p.pipeline_depth > PADDING_DEPTH ? c->p.pipeline_depth : PADDING_DEPTH;
}

void propose_ready(struct pbft_core *c)
{
    if (!c->active || c->mute || !is_primary(c)) return;
    while ((c->pending.waiting > 0 || (timed_due(c) && c->timed_seq == 0)) && pipeline_open(c))
        if (!propose_one(c)) break;
}
