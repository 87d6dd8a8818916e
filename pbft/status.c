/* STATUS: what each replica has, and the retransmission that it drives, so that any lost message is
 * repaired without a view change, and a hidden proposal reaches everybody (FAULTS 4.22, PROTOCOL
 * 33). */
#include "pbft/core_internal.h"

#include <string.h>

/* Bounds of one answer to one STATUS. */
#define RESEND_MAX_FRAMES     64u
#define PUSH_MAX_CERTIFICATES 32u
#define PUSH_MAX_BYTES        1048576u
/* ... and of the answers to one peer; twice as often as an honest one asks. */
#define ANSWERS_PER_TIMEOUT 20u

static void set_bit(uint8_t *bits, uint32_t i)
{
    bits[i / 8] = (uint8_t)(bits[i / 8] | (1u << (i % 8)));
}

static bool has_bit(struct pbft_span bits, uint32_t i)
{
    return ((unsigned)bits.data[i / 8] >> (i % 8) & 1u) != 0;
}

/* ---- ours ---- */

static uint32_t fill_bitmaps(struct pbft_core *c, uint8_t *have, uint8_t *prepared,
                             uint8_t *committed)
{
    uint32_t count = 0;
    /* A laggard's slots can reach further than a bitmap may: what comes first is what it needs. */
    for (uint32_t i = 0; i < c->p.window; i++) {
        const struct slot *s = slot_find(c, c->committed + 1 + i);
        if (s == NULL) continue;
        count = i + 1;
        bool complete = s->header.valid && slot_has_body(c, s, &s->header.digest);
        if (complete || s->decided.valid) set_bit(have, i);
        if (s->prepared_now || s->decided.valid) set_bit(prepared, i);
        if (s->decided.valid) set_bit(committed, i);
    }
    return count;
}

void send_status(struct pbft_core *c, pbft_signers to)
{
    uint32_t stride = (c->slot_count + 7u) / 8u;
    uint8_t *have = c->scratch_bitmaps, *prepared = have + stride, *committed = prepared + stride;
    memset(have, 0, 3u * (size_t)stride);
    struct pbft_msg m = {.type = PBFT_STATUS_MSG};
    struct pbft_status_msg *s = &m.status;
    s->view = c->view;
    s->stable = c->h;
    s->executed = c->committed;
    s->counter = ++c->status_counter;
    s->flags =
        (uint8_t)((c->active ? 0u : PBFT_STATUS_VIEW_CHANGING) | (c->mute ? PBFT_STATUS_MUTE : 0u));
    for (pbft_id id = 0; id < c->n; id++)
        if (c->vcs[id].frame != NULL && c->vcs[id].view == c->view)
            s->view_changes |= pbft_signers_of(id);
    if (!pbft_core_oldest_request(c, &s->waits_client, &s->waits_session, &s->waits_t))
        s->waits_client = PBFT_STATUS_NONE;
    s->count = (uint16_t)fill_bitmaps(c, have, prepared, committed);
    size_t bytes = (s->count + 7u) / 8u;
    s->have_proposal = (struct pbft_span){have, bytes};
    s->prepared = (struct pbft_span){prepared, bytes};
    s->committed = (struct pbft_span){committed, bytes};
    struct pbft_frame *frame = make_frame(c, &m, false);
    send_frame(c, to, 0, frame);
    pbft_frame_release(frame);
}

/* ---- theirs ---- */

/* What is sent again may hold our signature and may not have been sent at all yet: it waits for
 * everything that is logged so far (FAULTS 4.4). */
static void resend(struct pbft_core *c, pbft_id to, struct pbft_frame *frame)
{
    if (frame == NULL) return;
    send_frame(c, pbft_signers_of(to), c->synced_lsn, frame); /* FAULTS 4.4, for copies too */
    c->retransmissions++;
}

/* A frame that was made for this; NULL: the pool is out of budget. */
static void resend_made(struct pbft_core *c, pbft_id to, struct pbft_frame *frame)
{
    resend(c, to, frame);
    pbft_frame_release(frame);
}

/* PROTOCOL 29: what we signed before we fell silent may not have left us yet. Others repeat it if
 * it has; from us it would be one more vote. */
static bool silenced(const struct pbft_core *c, pbft_signers signers)
{
    return c->mute && pbft_signers_has(signers, c->id);
}

/* Our checkpoint votes and the certificate that it lacks (FAULTS 4.24). */
static void resend_checkpoints(struct pbft_core *c, pbft_id to, const struct pbft_status_msg *m)
{
    if (m->stable < c->h && !silenced(c, c->stable_signers)) resend(c, to, c->stable_certificate);
    for (uint32_t i = 0; i < c->checkpoint_count && !c->mute; i++) {
        const struct checkpoint *cp = &c->checkpoints[i];
        if (cp->seq <= c->h || cp->seq <= m->stable || !pbft_signers_has(cp->votes.have, c->id))
            continue;
        resend_made(c, to,
                    vote_frame(c, PBFT_CHECKPOINT, 0, cp->seq, c->id, &cp->votes.by[c->id].digest,
                               cp->votes.by[c->id].signature.bytes));
    }
}

/* It is in an older view, or waits for a NEW-VIEW that we have. Large messages: not at every
 * STATUS. */
static void resend_view(struct pbft_core *c, pbft_id to, const struct pbft_status_msg *m)
{
    bool changing = (m->flags & PBFT_STATUS_VIEW_CHANGING) != 0;
    bool behind = m->view < c->view || (m->view == c->view && changing);
    struct peer *peer = &c->peers[to];
    if (!behind ||
        (peer->view_resent_ns != 0 && c->now_ns - peer->view_resent_ns < c->p.view_timeout_ns / 4))
        return;
    struct pbft_frame *frame = c->new_view;
    if (silenced(c, pbft_signers_of(c->active ? pbft_primary(c->n, c->view) : c->id))) return;
    if (!c->active) {
        bool has_ours = m->view == c->view && pbft_signers_has(m->view_changes, c->id);
        bool ours = c->vcs[c->id].frame != NULL && c->vcs[c->id].view == c->view;
        frame = ours && !has_ours ? c->vcs[c->id].frame : NULL;
    }
    if (frame == NULL) return;
    peer->view_resent_ns = c->now_ns;
    resend(c, to, frame);
}

static void resend_votes(struct pbft_core *c, pbft_id to, const struct pbft_status_msg *m)
{
    if (c->mute) return;
    uint64_t before = c->retransmissions;
    uint32_t slots = m->count < c->p.window ? m->count + in_flight_max(c) : m->count;
    for (uint32_t i = 0; i < slots && c->retransmissions - before < RESEND_MAX_FRAMES; i++) {
        const struct slot *s = slot_find(c, m->executed + 1 + i);
        if (s == NULL || !s->header.valid) continue;
        bool known = i < m->count;
        if (is_primary(c) && !(known && has_bit(m->have_proposal, i)))
            resend(c, to, s->pre_prepare);
        if (!(known && has_bit(m->prepared, i))) resend(c, to, s->own_prepare);
        if (!(known && has_bit(m->committed, i))) resend(c, to, s->own_commit);
    }
}

/* One pusher at a time for each laggard, every other replica in turn: bodies with commit
 * certificates (PROTOCOL 33). */
static bool pushes_now(const struct pbft_core *c, pbft_id to, uint64_t counter)
{
    pbft_id turn = (pbft_id)(counter % (c->n - 1u)); /* the laggard itself has no turn */
    return (turn < to ? turn : turn + 1) == c->id;
}

/* Stuck; or it moves but is so far behind that it would soon have to fetch the state. Else: who
 * lives on pushed certificates alone gets some at every second STATUS at best, falls behind h under
 * load and goes from one state transfer to the next. */
static bool lags(const struct pbft_core *c, const struct pbft_status_msg *m, bool stuck)
{
    if (m->executed >= c->committed) return false;
    return stuck || c->committed - m->executed > c->p.checkpoint_interval;
}

static void push_certificates(struct pbft_core *c, pbft_id to, const struct pbft_status_msg *m)
{
    if (!pushes_now(c, to, m->counter)) return;
    size_t bytes = 0;
    uint32_t pushed = 0;
    for (pbft_seq seq = m->executed + 1;
         seq <= c->committed && pushed < PUSH_MAX_CERTIFICATES && bytes < PUSH_MAX_BYTES; seq++) {
        const struct slot *s = slot_find(c, seq);
        if (s == NULL || !s->decided.valid) return; /* too old: it will fetch the state */
        if (silenced(c, s->decided.signers)) return;
        struct pbft_frame *frame =
            certificate_frame(c, PBFT_CERT_COMMIT, s->decided.view, seq, &s->decided.digest,
                              s->decided.signers, s->decided.signatures,
                              slot_body(s, &s->decided.digest));
        if (frame == NULL) return;
        bytes += frame->size;
        pushed++;
        resend_made(c, to, frame);
    }
}

/* Twice as often as an honest one asks. */
static bool too_soon(const struct pbft_core *c, uint64_t last_ns)
{
    return last_ns != 0 && c->now_ns - last_ns < c->p.view_timeout_ns / ANSWERS_PER_TIMEOUT;
}

/* The primary goes round its clients, a backup's timer watches what is oldest there: a backlog that
 * takes longer than a time-out would change views without a fault. What a replica waits for comes
 * next, not more often than honest ones ask (PROTOCOL 21, 22). */
static void hurry(struct pbft_core *c, pbft_id from, const struct pbft_status_msg *m)
{
    struct peer *peer = &c->peers[from];
    if (!c->active || !is_primary(c) || m->view != c->view) return;
    if (too_soon(c, peer->hurried_ns)) return;
    peer->hurried_ns = c->now_ns;
    pbft_pending_hurry(&c->pending, from, m->waits_client, m->waits_session, m->waits_t);
}

/* Our own timer watches, too. Only once somebody has left, who may be a liar: till then it does not
 * count, and each wish makes others wait. */
void hurry_own(struct pbft_core *c)
{
    uint32_t client;
    uint64_t session, t;
    if (is_primary(c) && pbft_core_oldest_request(c, &client, &session, &t))
        pbft_pending_hurry(&c->pending, c->id, client, session, t);
}

enum pbft_verdict on_status(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_status_msg *m = &event->message.msg->status;
    pbft_id from = event->message.from;
    struct peer *peer = &c->peers[from];
    if (from == c->id) return PBFT_DROP_SENDER;
    if (m->counter <= peer->counter) return PBFT_DROP_DUPLICATE;
    /* Whoever moves is not stuck: only what a second STATUS still lacks is sent again. */
    bool known = peer->counter != 0;
    bool stuck = known && m->executed == peer->executed && m->view == peer->view;
    bool stuck_stable = known && m->stable == peer->stable;
    peer->counter = m->counter;
    peer->heard = true;
    peer->heard_ns = c->now_ns;
    peer->view = m->view;
    peer->executed = m->executed;
    peer->stable = m->stable;
    hurry(c, from, m);

    /* A flood of STATUS is not answered by a flood (FAULTS 3.24). */
    if (too_soon(c, peer->answered_ns)) return PBFT_OK;
    uint64_t before = c->retransmissions;
    if (stuck_stable) resend_checkpoints(c, from, m);
    resend_view(c, from, m);
    bool same_view = m->view == c->view && c->active && (m->flags & PBFT_STATUS_VIEW_CHANGING) == 0;
    if (stuck && same_view && m->executed < UINT64_MAX - c->slot_count) resend_votes(c, from, m);
    if (lags(c, m, stuck)) push_certificates(c, from, m);
    if (c->retransmissions != before) peer->answered_ns = c->now_ns;
    return PBFT_OK;
}

/* Of the signatures of a certificate, in the order of their signers, that of one. */
static const uint8_t *signature_of(pbft_signers signers, const uint8_t *signatures, pbft_id id)
{
    return signatures +
           (size_t)pbft_signers_count(signers & (pbft_signers_of(id) - 1)) * PBFT_SIGNATURE_BYTES;
}

/* The newest statement of a kind: of the latest view, and there of the highest number. */
struct newest {
    pbft_view view;
    pbft_seq seq;
    const struct pbft_digest *digest; /* NULL: none */
    const uint8_t *signature;
};
enum { NEWEST_HEADER, NEWEST_PREPARE, NEWEST_COMMIT, NEWEST_CHECKPOINT, NEWEST_KINDS };

static void compare(struct newest *n, pbft_view view, pbft_seq seq,
                    const struct pbft_digest *digest, const uint8_t *signature)
{
    if (n->digest != NULL && (view < n->view || (view == n->view && seq < n->seq))) return;
    *n = (struct newest){view, seq, digest, signature};
}

/* What we hold of its on one number. Once we have restarted, too, what others voted is all in
 * certificates. */
static void compare_slot(const struct pbft_core *c, const struct slot *s, pbft_id id,
                         struct newest of[NEWEST_KINDS])
{
    const struct pbft_votes *votes[] = {&s->prepares, &s->commits};
    for (unsigned k = 0; k < 2; k++)
        if (pbft_signers_has(votes[k]->have, id))
            compare(&of[NEWEST_PREPARE + k], c->voted_view, s->seq, &votes[k]->by[id].digest,
                    votes[k]->by[id].signature.bytes);
    const struct decided *d = &s->decided;
    if (d->valid && pbft_signers_has(d->signers, id))
        compare(&of[NEWEST_COMMIT], d->view, s->seq, &d->digest,
                signature_of(d->signers, d->signatures, id));
    const struct prepared *p = &s->prepared;
    if (p->valid && pbft_signers_has(p->signers, id))
        compare(&of[NEWEST_PREPARE], p->view, s->seq, &p->digest,
                signature_of(p->signers, p->signatures, id));
    if (p->valid && pbft_primary(c->n, p->view) == id)
        compare(&of[NEWEST_HEADER], p->view, s->seq, &p->digest, p->pre_prepare.bytes);
    const struct header *h = &s->header;
    if (h->valid && pbft_primary(c->n, h->view) == id)
        compare(&of[NEWEST_HEADER], h->view, s->seq, &h->digest, h->signature.bytes);
}

static void compare_checkpoints(const struct pbft_core *c, pbft_id id, struct newest *of)
{
    if (pbft_signers_has(c->stable_signers, id))
        compare(of, 0, c->h, &c->stable_root,
                signature_of(c->stable_signers, c->stable_signatures, id));
    for (uint32_t i = 0; i < c->checkpoint_count; i++) {
        const struct checkpoint *cp = &c->checkpoints[i];
        if (cp->seq > c->h && pbft_signers_has(cp->votes.have, id))
            compare(of, 0, cp->seq, &cp->votes.by[id].digest, cp->votes.by[id].signature.bytes);
    }
}

/* PROTOCOL 29: tell a returning replica the newest that we hold with its signature, of each kind:
 * a tail that its log has lost may end with any. */
static void report_newest(struct pbft_core *c, pbft_id to)
{
    static const uint8_t types[NEWEST_KINDS] = {PBFT_HEADER, PBFT_PREPARE, PBFT_COMMIT,
                                                PBFT_CHECKPOINT};
    struct newest of[NEWEST_KINDS] = {0};
    for (pbft_seq seq = c->h + 1; seq <= window_end(c); seq++) {
        const struct slot *s = slot_find(c, seq);
        if (s != NULL) compare_slot(c, s, to, of);
    }
    compare_checkpoints(c, to, &of[NEWEST_CHECKPOINT]);
    resend(c, to, c->vcs[to].frame);
    for (unsigned kind = 0; kind < NEWEST_KINDS; kind++) {
        const struct newest *n = &of[kind];
        if (n->digest == NULL) continue;
        resend_made(c, to,
                    kind == NEWEST_HEADER
                        ? header_frame(c, n->view, n->seq, n->digest, n->signature)
                        : vote_frame(c, types[kind], n->view, n->seq, to, n->digest, n->signature));
    }
}

enum pbft_verdict on_peer_up(struct pbft_core *c, const struct pbft_event *event)
{
    pbft_id id = event->peer_up.id;
    if (id >= c->n || id == c->id) return PBFT_DROP_SENDER;
    c->peers[id].counter = 0; /* its counter starts again with its process */
    c->peers[id].view_resent_ns = 0;
    send_status(c, pbft_signers_of(id));
    report_newest(c, id);
    return PBFT_OK;
}

/* ---- FETCH ---- */

static struct pbft_frame *serve_batch(struct pbft_core *c, const struct pbft_fetch *what)
{
    const struct body *body = NULL;
    const struct slot *hinted = slot_find(c, what->seq);
    if (hinted != NULL) body = slot_body(hinted, &what->digest);
    for (uint32_t i = 0; i < c->slot_count && body == NULL; i++)
        if (c->slots[i].seq != 0) body = slot_body(&c->slots[i], &what->digest);
    if (body == NULL) return NULL;
    struct pbft_frame *frame =
        pbft_frame_new(c->config.pool, (uint32_t)(PBFT_WIRE_HEADER_BYTES + body->proposal.size));
    if (frame == NULL) return NULL;
    memset(frame->bytes, 0, PBFT_WIRE_HEADER_BYTES);
    frame->bytes[0] = PBFT_BATCH;
    frame->bytes[1] = PBFT_WIRE_VERSION;
    pbft_put_u32(frame->bytes + 4, c->config.epoch);
    memcpy(frame->bytes + PBFT_WIRE_HEADER_BYTES, body->proposal.data, body->proposal.size);
    frame->size = (uint32_t)(PBFT_WIRE_HEADER_BYTES + body->proposal.size);
    return frame;
}

static struct pbft_frame *serve_view_change(struct pbft_core *c, const struct pbft_digest *digest)
{
    for (pbft_id id = 0; id < c->n; id++) {
        if (silenced(c, pbft_signers_of(id))) continue;
        if (c->vcs[id].frame != NULL && pbft_digest_equal(&c->vcs[id].digest, digest))
            return pbft_frame_retain(c->vcs[id].frame);
        for (pbft_id k = 0; k < c->n; k++) {
            const struct view_change *v = &c->new_views[id].vcs[k];
            if (v->frame != NULL && pbft_digest_equal(&v->digest, digest))
                return pbft_frame_retain(v->frame);
        }
    }
    return NULL;
}

struct pbft_frame *pbft_core_serve(struct pbft_core *c, const struct pbft_fetch *what)
{
    const struct slot *s = slot_find(c, what->seq);
    switch ((enum pbft_fetch_kind)what->kind) {
    case PBFT_FETCH_BATCH: return serve_batch(c, what);
    case PBFT_FETCH_VIEW_CHANGE: return serve_view_change(c, &what->digest);
    case PBFT_FETCH_HEADER:
        if (s == NULL || !s->header.valid || s->header.view != what->view ||
            silenced(c, pbft_signers_of(pbft_primary(c->n, what->view))))
            return NULL;
        return header_frame(c, what->view, s->seq, &s->header.digest, s->header.signature.bytes);
    case PBFT_FETCH_COMMIT:
        if (s == NULL || !s->decided.valid || silenced(c, s->decided.signers)) return NULL;
        return certificate_frame(c, PBFT_CERT_COMMIT, s->decided.view, s->seq, &s->decided.digest,
                                 s->decided.signers, s->decided.signatures,
                                 slot_body(s, &s->decided.digest));
    case PBFT_FETCH_CHECKPOINT:
        if (c->h < what->seq || silenced(c, c->stable_signers)) return NULL;
        return pbft_frame_retain(c->stable_certificate);
    case PBFT_FETCH_PAGE: break; /* the node's */
    }
    return NULL;
}
