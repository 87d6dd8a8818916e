/* The normal case as a backup sees it (OSDI'99 §4.2, PROTOCOL 10-15). */
#include "pbft/core_internal.h"

enum pbft_verdict on_request(struct pbft_core *c, const struct pbft_event *event)
{
    if (c->mute) return PBFT_DROP_MUTE;
    struct pbft_frame *frame = event->request.frame;
    if ((size_t)frame->size + 16u > c->p.batch_max_bytes) return PBFT_DROP_SIZE;
    bool from_client = event->request.from_client;
    enum pbft_verdict verdict =
        pbft_pending_add(&c->pending, from_client ? PBFT_PENDING_DIRECT : event->request.from,
                         event->request.client_index, event->request.session, event->request.t,
                         &event->request.digest, frame);
    if (verdict == PBFT_DROP_DUPLICATE && from_client)
        forward_again(c, pbft_pending_find(&c->pending, frame, event->request.session,
                                           event->request.t));
    if (verdict != PBFT_OK) return verdict;
    request_timer_update(c, false); /* later arrivals never reset it (PROTOCOL 21) */
    forward_waiting(c);
    propose_ready(c);
    return PBFT_OK;
}

/* Its session is gone: no primary will propose it, and none is to blame. */
enum pbft_verdict on_request_over(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_done_request *d = &event->request_over.done;
    bool oldest = pbft_pending_done(&c->pending, d->client_index, d->session, d->t, d->low);
    request_timer_update(c, oldest);
    forward_waiting(c);
    return PBFT_OK;
}

enum pbft_verdict on_executed(struct pbft_core *c, const struct pbft_event *event)
{
    if (c->transfer_seq != 0) return PBFT_DROP_STATE; /* the state is being replaced */
    PBFT_ASSERT(event->executed.seq == c->executed + 1 && event->executed.seq <= c->committed);
    c->executed = event->executed.seq;
    c->effective_ns = event->executed.effective_ns;
    c->next_due_ns = event->executed.next_due_ns;
    epoch_ends(c, event->executed.last);
    c->view_fruitful = true;
    if (c->timed_seq != 0 && c->executed >= c->timed_seq) c->timed_seq = 0;
    bool oldest = false;
    for (uint32_t i = 0; i < event->executed.done_count; i++) {
        const struct pbft_done_request *d = &event->executed.done[i];
        oldest |= pbft_pending_done(&c->pending, d->client_index, d->session, d->t, d->low);
    }
    request_timer_update(c, oldest);
    forward_waiting(c); /* what ended made room for the next */
    propose_ready(c);
    return PBFT_OK;
}

/* ---- PRE-PREPARE ---- */

/* PROTOCOL 11. Endorsements include the primary's PRE-PREPARE. */
static bool time_acceptable(const struct pbft_core *c, const struct slot *s, uint64_t time_ns,
                            const struct pbft_digest *digest)
{
    uint64_t apart = time_ns > c->wall_ns ? time_ns - c->wall_ns : c->wall_ns - time_ns;
    if (apart <= c->p.clock_skew_ns || time_ns <= c->effective_ns) return true;
    pbft_signers endorsing =
        pbft_votes_for(&s->prepares, digest) | pbft_signers_of(pbft_primary(c->n, c->view));
    return pbft_signers_count(endorsing) >= pbft_quorum_weak(c->n);
}

void send_prepare(struct pbft_core *c, struct slot *s)
{
    if (!c->active || c->mute || is_primary(c) || s->own_prepare != NULL || !s->header.valid)
        return;
    if (!slot_has_body(c, s, &s->header.digest)) return; /* FAULTS 2.6 */
    if (pbft_signers_has(s->prepares.have, c->id) || !stable_logged(c)) return;
    if (!may_vote(c, s->seq)) return; /* on_tick() comes back */
    struct pbft_msg m = {.type = PBFT_PREPARE};
    m.vote.view = s->header.view;
    m.vote.seq = s->seq;
    m.vote.digest = s->header.digest;
    m.vote.sender = c->id;
    struct pbft_frame *prepare = make_frame(c, &m, true);
    if (prepare == NULL) return; /* no budget: on_tick() comes back */
    const struct body *body = slot_body(s, &s->header.digest);
    struct pbft_frame *proposal = s->pre_prepare != NULL ? s->pre_prepare
                                  : body != NULL         ? body->frame
                                                         : NULL;
    pbft_lsn lsn = proposal != NULL ? persist(c, PBFT_RECORD_PROPOSAL, true, proposal, prepare)
                                    : persist(c, PBFT_RECORD_PROPOSAL, true, prepare, NULL);
    s->own_prepare = prepare;
    send_frame(c, everyone_else(c), lsn, prepare);
    pbft_votes_add(&s->prepares, c->id, &s->header.digest,
                   prepare->bytes + prepare->size - PBFT_SIGNATURE_BYTES);
}

/* PROTOCOL 37: `senders` prepared another digest than the primary showed us. */
static void ask_header(struct pbft_core *c, struct slot *s, pbft_signers senders)
{
    if (s->header_asked || !evidence_wanted(c, PBFT_PRE_PREPARE, pbft_primary(c->n, c->view)))
        return;
    s->header_asked = s->header_fetching = true;
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH);
    e->fetch.what.kind = PBFT_FETCH_HEADER;
    e->fetch.what.view = c->view;
    e->fetch.what.seq = s->seq;
    e->fetch.hint = senders;
}

void accept_header(struct pbft_core *c, struct slot *s, const struct pbft_digest *digest,
                   const uint8_t *signature, struct pbft_frame *frame, struct pbft_span proposal)
{
    PBFT_ASSERT(!s->header.valid);
    s->header.valid = true;
    s->header.view = c->view;
    s->header.digest = *digest;
    for (unsigned i = 0; i < PBFT_SIGNATURE_BYTES; i++)
        s->header.signature.bytes[i] = signature[i];
    if (s->seq > c->proposed) c->proposed = s->seq;
    if (frame != NULL) {
        slot_put_body(s, digest, frame, proposal);
        c->body_bytes += frame->size;
        s->pre_prepare = pbft_frame_retain(frame);
        pbft_pending_mark(&c->pending, proposal);
    } else {
        const struct body *body = slot_body(s, digest);
        if (body != NULL)
            pbft_pending_mark(&c->pending, body->proposal);
        else
            slot_want_body(c, s, digest, pbft_everyone(c->n));
    }
    /* Its PREPARE may have come before the PRE-PREPARE did. */
    pbft_signers strangers = s->prepares.have & ~pbft_votes_for(&s->prepares, digest);
    if (strangers != 0) ask_header(c, s, strangers);
    slot_advance(c, s);
}

/* The proposal of a header that a NEW-VIEW brought without it. */
static enum pbft_verdict complete_header(struct pbft_core *c, struct slot *s,
                                         const struct pbft_digest *digest, struct pbft_frame *frame,
                                         struct pbft_span proposal)
{
    if (slot_has_body(c, s, digest)) return PBFT_DROP_DUPLICATE;
    slot_put_body(s, digest, frame, proposal);
    c->body_bytes += frame->size;
    slot_stop_fetch(c, s);
    pbft_pending_mark(&c->pending, proposal);
    slot_advance(c, s);
    return PBFT_OK;
}

enum pbft_verdict try_pre_prepare(struct pbft_core *c, struct slot *s, pbft_view view,
                                  const struct pbft_digest *digest, const uint8_t *signature,
                                  uint64_t time_ns, struct pbft_frame *frame,
                                  struct pbft_span proposal)
{
    PBFT_ASSERT(view == c->view && c->active);
    if (s->header.valid) {
        if (pbft_digest_equal(&s->header.digest, digest))
            return complete_header(c, s, digest, frame, proposal);
        evidence_headers(c, view, s->seq, &s->header.digest, s->header.signature.bytes, digest,
                         signature);
        return PBFT_DROP_CONFLICT; /* FAULTS 2.1: the first one stays */
    }
    if (!body_fits(c, s->seq, frame->size)) return PBFT_DROP_QUOTA; /* STATUS brings it again */
    if (!time_acceptable(c, s, time_ns, digest)) {
        /* No honest primary is further ahead of us for long; others hold no memory of ours. */
        if (s->seq > c->committed + in_flight_max(c)) return PBFT_DROP_TIME;
        if (s->held.frame != NULL) {
            if (pbft_digest_equal(&s->held.digest, digest)) return PBFT_DROP_DUPLICATE;
            evidence_headers(c, view, s->seq, &s->held.digest, s->held.signature.bytes, digest,
                             signature);
            return PBFT_DROP_CONFLICT;
        }
        s->held.frame = pbft_frame_retain(frame);
        s->held.digest = *digest;
        for (unsigned i = 0; i < PBFT_SIGNATURE_BYTES; i++)
            s->held.signature.bytes[i] = signature[i];
        s->held.time_ns = time_ns;
        s->held.proposal = proposal;
        return PBFT_DROP_TIME;
    }
    if (s->held.frame != NULL && !pbft_digest_equal(&s->held.digest, digest))
        evidence_headers(c, view, s->seq, &s->held.digest, s->held.signature.bytes, digest,
                         signature);
    pbft_frame_release(s->held.frame);
    s->held.frame = NULL;
    accept_header(c, s, digest, signature, frame, proposal);
    return PBFT_OK;
}

/* A held PRE-PREPARE may pass now: clocks moved, or others endorsed it. */
void recheck_held(struct pbft_core *c, struct slot *s)
{
    if (s->held.frame == NULL || !c->active || s->header.valid) return;
    if (!time_acceptable(c, s, s->held.time_ns, &s->held.digest)) return;
    struct held held = s->held;
    s->held.frame = NULL;
    accept_header(c, s, &held.digest, held.signature.bytes, held.frame, held.proposal);
    pbft_frame_release(held.frame);
}

enum pbft_verdict on_pre_prepare(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_pre_prepare *m = &event->message.msg->pre_prepare;
    if (pbft_primary(c->n, m->view) == c->id) return own_message(c, event->message.msg);
    if (m->view != c->view || !c->active) {
        if (!future_view(c, m->view)) return PBFT_DROP_VIEW;
        return future_proposal(c, event->message.msg, event->message.frame);
    }
    if (!in_window(c, m->seq)) return PBFT_DROP_WINDOW; /* FAULTS 2.2; STATUS brings it again */
    return try_pre_prepare(c, slot_at(c, m->seq), m->view, &m->digest, m->signature,
                           m->proposal.time_ns, event->message.frame, m->proposal.bytes);
}

/* ---- PREPARE, COMMIT ---- */

enum pbft_verdict accept_vote(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest, pbft_id sender,
                              const uint8_t *signature)
{
    PBFT_ASSERT(view == c->view && c->active);
    if (!in_window(c, seq)) return PBFT_DROP_WINDOW;
    if (type == PBFT_PREPARE && sender == pbft_primary(c->n, view))
        return PBFT_DROP_ROLE; /* FAULTS 2.8 */
    struct slot *s = slot_at(c, seq);
    struct pbft_votes *votes = type == PBFT_PREPARE ? &s->prepares : &s->commits;
    switch (pbft_votes_check(votes, sender, digest)) {
    case PBFT_VOTE_NEW: break;
    case PBFT_VOTE_DUPLICATE: return PBFT_DROP_DUPLICATE; /* FAULTS 2.9 */
    case PBFT_VOTE_CONFLICT:
        evidence_votes(c, type, view, seq, sender, &votes->by[sender], digest, signature);
        return PBFT_DROP_CONFLICT; /* FAULTS 2.11 */
    }
    pbft_votes_add(votes, sender, digest, signature);
    if (seq > c->heard) c->heard = seq;
    if (type == PBFT_PREPARE) {
        if (s->header.valid && !pbft_digest_equal(&s->header.digest, digest))
            ask_header(c, s, pbft_signers_of(sender));
        recheck_held(c, s);
    }
    slot_advance(c, s);
    propose_ready(c);
    return PBFT_OK;
}

enum pbft_verdict on_vote(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_msg *msg = event->message.msg;
    const struct pbft_vote *m = &msg->vote;
    PBFT_ASSERT(m->sender < c->n); /* the door authenticated a real replica */
    if (m->sender == c->id) return own_message(c, msg);
    if (m->view != c->view || !c->active) {
        if (!future_view(c, m->view)) return PBFT_DROP_VIEW;
        return future_vote(c, msg);
    }
    return accept_vote(c, msg->type, m->view, m->seq, &m->digest, m->sender, m->signature);
}

/* ---- what was fetched or pushed ---- */

enum pbft_verdict on_batch(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_proposal *m = &event->message.msg->batch;
    bool wanted = false;
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = &c->slots[i];
        if (s->seq == 0 || !s->fetching || !pbft_digest_equal(&s->fetch_digest, &m->digest))
            continue;
        wanted = true;
        slot_stop_fetch(c, s);
        slot_put_body(s, &m->digest, event->message.frame, m->bytes);
        c->body_bytes += event->message.frame->size;
        if (s->header.valid && pbft_digest_equal(&s->header.digest, &m->digest))
            pbft_pending_mark(&c->pending, m->bytes);
        slot_advance(c, s);
    }
    if (!wanted) return PBFT_DROP_UNWANTED;
    propose_ready(c);
    return PBFT_OK;
}

enum pbft_verdict on_header(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_pre_prepare *m = &event->message.msg->pre_prepare;
    if (pbft_primary(c->n, m->view) == c->id) return own_message(c, event->message.msg);
    struct slot *s = slot_find(c, m->seq);
    if (s == NULL || !s->header_fetching || !s->header.valid || s->header.view != m->view)
        return PBFT_DROP_UNWANTED;
    slot_stop_header_fetch(c, s);
    if (pbft_digest_equal(&s->header.digest, &m->digest)) return PBFT_DROP_DUPLICATE;
    evidence_headers(c, m->view, m->seq, &s->header.digest, s->header.signature.bytes, &m->digest,
                     m->signature);
    return PBFT_OK;
}

/* PROTOCOL 15: accepted in any view, also while a view change is under way. */
enum pbft_verdict on_commit_certificate(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_certificate *m = &event->message.msg->certificate;
    if (m->seq <= c->committed) return PBFT_DROP_DUPLICATE;
    if (!in_slots(c, m->seq)) return PBFT_DROP_WINDOW;
    struct slot *s = slot_at(c, m->seq);
    if (s->decided.valid) return PBFT_DROP_DUPLICATE;
    if (!m->has_proposal && !slot_has_body(c, s, &m->digest)) return PBFT_DROP_CERTIFICATE;

    if (m->has_proposal) slot_put_body(s, &m->digest, event->message.frame, m->proposal.bytes);
    if (m->has_proposal) c->body_bytes += event->message.frame->size;
    decide_certified(c, s, m);
    propose_ready(c);
    return PBFT_OK;
}
