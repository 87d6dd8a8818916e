/* Leaving a view (OSDI'99 §4.4; PROTOCOL 18, 23; FAULTS 4.6, 4.16-4.18). */
#include "pbft/core_internal.h"

#include <string.h>

void view_change_release(struct view_change *v)
{
    pbft_frame_release(v->frame);
    v->frame = NULL;
}

void view_change_copy(struct view_change *to, const struct view_change *from)
{
    struct pbft_prepared_summary *prepared = to->prepared;
    pbft_frame_retain(from->frame);
    pbft_frame_release(to->frame);
    *to = *from;
    to->prepared = prepared;
    memcpy(to->prepared, from->prepared, from->prepared_count * sizeof *prepared);
}

/* Reduce a verified VIEW-CHANGE to what counts; borrows the core's scratch and the frame. */
static struct view_change summarise(struct pbft_core *c, const struct pbft_view_change *m,
                                    struct pbft_frame *frame)
{
    PBFT_ASSERT(m->prepared_count <= c->p.window);
    struct view_change v = {.frame = frame,
                            .view = m->view,
                            .digest = m->digest,
                            .stable = m->stable,
                            .stable_root = m->stable_root,
                            .prepared_count = m->prepared_count,
                            .prepared = c->scratch_summaries};
    for (uint32_t i = 0; i < m->prepared_count; i++) {
        v.prepared[i].seq = m->prepared[i].seq;
        v.prepared[i].view = m->prepared[i].view;
        v.prepared[i].digest = m->prepared[i].digest;
    }
    return v;
}

void view_change_restore(struct pbft_core *c, const struct pbft_view_change *m,
                         struct pbft_frame *frame)
{
    struct view_change own = summarise(c, m, frame);
    c->config.functions.digest_view_change(&own.digest,
                                           pbft_wire_signed_body(pbft_frame_span(frame)));
    view_change_copy(&c->vcs[c->id], &own);
}

/* f+1 distinct replicas above our view: join the smallest of theirs (FAULTS 4.17). Fewer may all be
 * liars, and move nothing (FAULTS 2.15, 2.19). */
void join_others(struct pbft_core *c)
{
    for (uint32_t round = 0; round < c->n; round++) {
        pbft_signers above = 0;
        pbft_view smallest = UINT64_MAX;
        for (pbft_id id = 0; id < c->n; id++) {
            if (id == c->id || c->vcs[id].frame == NULL || c->vcs[id].view <= c->view) continue;
            above |= pbft_signers_of(id);
            if (c->vcs[id].view < smallest) smallest = c->vcs[id].view;
        }
        if (pbft_signers_count(above) < pbft_quorum_weak(c->n)) return;
        pbft_view before = c->view;
        start_view_change(c, smallest);
        if (c->view == before) return; /* mute, or no budget for the message */
    }
}

/* The timer for the NEW-VIEW starts when q replicas want the view (FAULTS 4.16), or a later one:
 * one that went on alone, its VIEW-CHANGE for this view lost, must not leave the others waiting for
 * ever. */
static void check_view_quorum(struct pbft_core *c)
{
    if (c->active) return;
    pbft_signers wanting = 0;
    for (pbft_id id = 0; id < c->n; id++)
        if (c->vcs[id].frame != NULL && c->vcs[id].view >= c->view) wanting |= pbft_signers_of(id);
    if (pbft_signers_count(wanting) < c->q) return;
    if (c->view_timer_ns == NEVER) c->view_timer_ns = c->now_ns + view_timeout(c);
    try_new_view(c);
}

/* What prepared here above h, in its highest view (FAULTS 4.6, 3.14). */
static uint32_t collect_prepared(struct pbft_core *c)
{
    uint32_t count = 0;
    for (pbft_seq seq = c->h + 1; seq <= window_end(c); seq++) {
        const struct slot *s = slot_find(c, seq);
        if (s == NULL || !s->prepared.valid) continue;
        struct pbft_prepared *e = &c->scratch_prepared[count++];
        e->seq = seq;
        e->view = s->prepared.view;
        e->digest = s->prepared.digest;
        e->pre_prepare_signature = s->prepared.pre_prepare.bytes;
        e->prepares.signers = s->prepared.signers;
        e->prepares.bytes = s->prepared.signatures;
    }
    return count;
}

void start_view_change(struct pbft_core *c, pbft_view view)
{
    if (c->mute || view <= c->view) return;
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE};
    m.view_change.view = view;
    m.view_change.sender = c->id;
    m.view_change.stable = c->h;
    m.view_change.stable_root = c->stable_root;
    m.view_change.stable_proof.signers = c->stable_signers;
    m.view_change.stable_proof.bytes = c->stable_signatures;
    m.view_change.prepared_count = collect_prepared(c);
    m.view_change.prepared = c->scratch_prepared;
    struct pbft_frame *frame = make_frame(c, &m, true);
    if (frame == NULL) { /* no budget now: try again shortly */
        uint64_t again = c->now_ns + status_interval(c);
        if (c->active)
            c->request_timer_ns = again;
        else
            c->view_timer_ns = again;
        return;
    }
    /* Doublings above the cap are not counted: they would have to be taken back one by one. */
    if (!c->view_fruitful && view_timeout(c) < c->p.view_timeout_max_ns) c->backoff++;
    c->view = view;
    c->active = false;
    c->view_fruitful = false;
    c->view_timer_extended = false;
    c->view_timer_ns = c->request_timer_ns = NEVER;
    c->timed_seq = 0;
    c->view_changes_sent++;

    c->config.functions.digest_view_change(&m.view_change.digest,
                                           pbft_wire_signed_body(pbft_frame_span(frame)));
    struct view_change own = summarise(c, &m.view_change, frame);
    view_change_copy(&c->vcs[c->id], &own); /* frozen from here on (PROTOCOL 18) */
    pbft_lsn lsn = persist(c, PBFT_RECORD_VIEW_CHANGE, true, frame, NULL);
    send_frame(c, everyone_else(c), lsn, frame);
    pbft_frame_release(frame);
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_VIEW);
    e->view.view = view;
    e->view.active = false;
    check_view_quorum(c);
}

enum pbft_verdict on_view_change(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_view_change *m = &event->message.msg->view_change;
    PBFT_ASSERT(m->sender < c->n);
    if (m->sender == c->id) {
        enum pbft_verdict verdict = own_message(c, event->message.msg);
        /* Lost with our log, it may still be one of the q that a NEW-VIEW names (PROTOCOL 29). */
        struct view_change lost = summarise(c, m, event->message.frame);
        if (c->mute) offer_view_change(c, m->sender, &lost);
        return verdict;
    }
    struct view_change *held = &c->vcs[m->sender];
    if (held->frame != NULL && held->view == m->view) {
        if (pbft_digest_equal(&held->digest, &m->digest)) {
            offer_view_change(c, m->sender, held);
            return PBFT_DROP_DUPLICATE;
        }
        evidence_frames(c, PBFT_VIEW_CHANGE, m->sender, PBFT_EVIDENCE_CONFLICT, held->frame,
                        event->message.frame);
    }
    /* Its proof stands by itself, whatever becomes of the rest. */
    if (m->stable > c->h)
        make_stable(c, m->stable, &m->stable_root, m->stable_proof.signers, m->stable_proof.bytes);
    struct view_change fresh = summarise(c, m, event->message.frame);
    offer_view_change(c, m->sender, &fresh);
    if (held->frame != NULL && held->view == m->view) return PBFT_DROP_CONFLICT;
    if (m->view < c->view || (m->view == c->view && c->active)) return PBFT_DROP_VIEW;
    if (held->frame != NULL && m->view < held->view) return PBFT_DROP_VIEW;

    fresh = summarise(c, m, event->message.frame); /* offering may have used the scratch */
    view_change_copy(held, &fresh);
    join_others(c);
    check_view_quorum(c);
    return PBFT_OK;
}
