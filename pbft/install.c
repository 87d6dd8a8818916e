/* Entering a view: building, checking and installing a NEW-VIEW (OSDI'99 §4.4; PROTOCOL 19;
 * FAULTS 4.7-4.13). */
#include "pbft/core_internal.h"

#include <string.h>

static bool missed_elsewhere(const struct pbft_core *c, const struct pending_new_view *nv,
                             pbft_id sender)
{
    for (pbft_id id = 0; id < c->n; id++) {
        const struct pending_new_view *other = &c->new_views[id];
        if (other != nv && other->frame != NULL && pbft_signers_has(other->missing, sender) &&
            pbft_digest_equal(&other->vc_digests[sender], &nv->vc_digests[sender]))
            return true;
    }
    return false;
}

/* The VIEW-CHANGEs that the installed NEW-VIEW names stay until the next one, so that a laggard can
 * fetch them. They are kept in the pending slot of the view's primary. */
static void forget_new_view(struct pbft_core *c, struct pending_new_view *nv)
{
    if (nv->frame == NULL) return;
    for (pbft_signers rest = nv->missing; rest != 0; rest &= rest - 1) {
        /* A liar may name what an honest NEW-VIEW waits for, and then think better of it. */
        if (missed_elsewhere(c, nv, (pbft_id)__builtin_ctzll(rest))) continue;
        struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH_STOP);
        e->fetch.what.kind = PBFT_FETCH_VIEW_CHANGE;
        e->fetch.what.digest = nv->vc_digests[__builtin_ctzll(rest)];
    }
    for (pbft_id id = 0; id < c->n; id++)
        view_change_release(&nv->vcs[id]);
    pbft_frame_release(nv->frame);
    nv->frame = NULL;
    nv->missing = 0;
}

/* ---- installing ---- */

static void install(struct pbft_core *c, struct pending_new_view *nv)
{
    c->view = c->voted_view = nv->view;
    c->active = true;
    c->view_fruitful = false;
    c->view_timer_ns = NEVER;
    c->timed_seq = 0;
    c->padding = false;
    c->views_installed++;
    pbft_frame_retain(nv->frame);
    pbft_frame_release(c->new_view);
    c->new_view = nv->frame;
    c->new_view_digest = nv->digest;
    pbft_lsn lsn = persist(c, PBFT_RECORD_NEW_VIEW, true, nv->frame, NULL);
    if (is_primary(c)) send_frame(c, everyone_else(c), lsn, nv->frame);
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_VIEW);
    e->view.view = c->view;
    e->view.active = true;
    for (pbft_id id = 0; id < c->n; id++)
        if (&c->new_views[id] != nv && c->new_views[id].view <= c->view)
            forget_new_view(c, &c->new_views[id]);

    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].seq != 0) slot_forget_view(c, &c->slots[i]);
    c->proposed = c->heard = c->h;
    pbft_pending_rewind(&c->pending);
    const uint8_t *entry = nv->entries;
    for (uint32_t i = 0; i < nv->count; i++, entry += PBFT_NEW_VIEW_ENTRY_BYTES) {
        pbft_seq seq = nv->min_s + 1 + i;
        if (!in_window(c, seq)) continue; /* at or below our own h: certified already */
        struct pbft_digest digest;
        memcpy(digest.bytes, entry, PBFT_DIGEST_BYTES);
        accept_header(c, slot_at(c, seq), &digest, entry + PBFT_DIGEST_BYTES, NULL,
                      (struct pbft_span){NULL, 0});
    }
    c->next_seq = (c->proposed > c->committed ? c->proposed : c->committed) + 1;
    bodies_sweep(c);
    request_timer_update(c, true);
    forward_waiting(c);
    future_replay(c);
    propose_ready(c);
}

/* O and min-s from the named VIEW-CHANGEs, into the core's scratch. */
static struct pbft_new_view_selection
select_entries(struct pbft_core *c, const struct view_change *vcs, pbft_signers signers)
{
    uint32_t count = 0;
    for (pbft_signers rest = signers; rest != 0; rest &= rest - 1) {
        const struct view_change *v = &vcs[__builtin_ctzll(rest)];
        c->scratch_vcs[count++] = (struct pbft_view_change_summary){v->stable, v->stable_root,
                                                                    v->prepared_count, v->prepared};
    }
    struct pbft_new_view_selection selection = {.digests = c->scratch_digests};
    pbft_new_view_select(c->scratch_vcs, count, c->p.window, &c->null_digest, &selection);
    return selection;
}

/* All VIEW-CHANGEs are here: recompute O and install, or refuse (FAULTS 2.18, 4.11). */
static enum pbft_verdict finish(struct pbft_core *c, struct pending_new_view *nv)
{
    PBFT_ASSERT(nv->frame != NULL && nv->missing == 0);
    bool valid = true;
    for (pbft_signers rest = nv->signers; rest != 0; rest &= rest - 1)
        if (nv->vcs[__builtin_ctzll(rest)].view != nv->view) valid = false;
    if (valid) {
        struct pbft_new_view_selection o = select_entries(c, nv->vcs, nv->signers);
        valid = o.min_s == nv->min_s && o.count == nv->count;
        for (uint32_t i = 0; valid && i < o.count; i++)
            valid = memcmp(o.digests[i].bytes, nv->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES,
                           PBFT_DIGEST_BYTES) == 0;
    }
    if (!valid) {
        forget_new_view(c, nv);
        return PBFT_DROP_NEW_VIEW;
    }
    install(c, nv);
    return PBFT_OK;
}

/* ---- from others ---- */

static void want_view_changes(struct pbft_core *c, struct pending_new_view *nv)
{
    for (pbft_signers rest = nv->missing; rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH);
        e->fetch.what.kind = PBFT_FETCH_VIEW_CHANGE;
        e->fetch.what.digest = nv->vc_digests[id];
        e->fetch.hint = nv->signers & everyone_else(c);
    }
    /* The NEW-VIEW is there; give the VIEW-CHANGEs a moment, once (PROTOCOL 20). */
    if (!c->active && nv->view == c->view && !c->view_timer_extended && c->view_timer_ns != NEVER) {
        c->view_timer_extended = true;
        c->view_timer_ns = c->now_ns + view_timeout(c);
    }
}

enum pbft_verdict on_new_view(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_new_view *m = &event->message.msg->new_view;
    PBFT_ASSERT(m->sender == pbft_primary(c->n, m->view)); /* pbft_new_view_check() at the door */
    if (m->sender == c->id) return own_message(c, event->message.msg);
    if (m->view == c->view && c->active && c->new_view != NULL) {
        if (pbft_digest_equal(&m->digest, &c->new_view_digest)) return PBFT_DROP_DUPLICATE;
        evidence_frames(c, PBFT_NEW_VIEW, m->sender, PBFT_EVIDENCE_CONFLICT, c->new_view,
                        event->message.frame);
        return PBFT_DROP_CONFLICT;
    }
    if (m->view < c->view || (m->view == c->view && c->active)) return PBFT_DROP_VIEW;
    struct pending_new_view *nv = &c->new_views[m->sender];
    if (nv->frame != NULL && nv->view == m->view) {
        if (pbft_digest_equal(&nv->digest, &m->digest)) return PBFT_DROP_DUPLICATE;
        evidence_frames(c, PBFT_NEW_VIEW, m->sender, PBFT_EVIDENCE_CONFLICT, nv->frame,
                        event->message.frame);
        return PBFT_DROP_CONFLICT;
    }

    forget_new_view(c, nv);
    nv->frame = pbft_frame_retain(event->message.frame);
    nv->view = m->view;
    nv->digest = m->digest;
    nv->signers = m->signers;
    nv->min_s = m->min_s;
    nv->count = m->count;
    nv->entries = m->entries;
    const uint8_t *digest = m->vc_digests;
    for (pbft_signers rest = m->signers; rest != 0; rest &= rest - 1, digest += PBFT_DIGEST_BYTES) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        memcpy(nv->vc_digests[id].bytes, digest, PBFT_DIGEST_BYTES);
        const struct view_change *held = &c->vcs[id];
        if (held->frame != NULL && pbft_digest_equal(&held->digest, &nv->vc_digests[id]))
            view_change_copy(&nv->vcs[id], held);
        else
            nv->missing |= pbft_signers_of(id);
    }
    if (nv->missing == 0) return finish(c, nv);
    want_view_changes(c, nv);
    return PBFT_OK;
}

/* A verified VIEW-CHANGE arrived: NEW-VIEWs that name it may be complete now. */
void offer_view_change(struct pbft_core *c, pbft_id sender, const struct view_change *vc)
{
    for (pbft_id id = 0; id < c->n; id++) {
        struct pending_new_view *nv = &c->new_views[id];
        if (nv->frame == NULL || !pbft_signers_has(nv->missing, sender) ||
            !pbft_digest_equal(&nv->vc_digests[sender], &vc->digest))
            continue;
        view_change_copy(&nv->vcs[sender], vc);
        nv->missing &= ~pbft_signers_of(sender);
        struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH_STOP);
        e->fetch.what.kind = PBFT_FETCH_VIEW_CHANGE;
        e->fetch.what.digest = vc->digest;
        bool ahead = nv->view > c->view || (nv->view == c->view && !c->active);
        if (nv->missing == 0 && ahead) finish(c, nv);
    }
}

/* ---- our own ---- */

/* Which q VIEW-CHANGEs for our view to build on: our own and the lowest ids. */
static pbft_signers choose_view_changes(const struct pbft_core *c)
{
    pbft_signers chosen = pbft_signers_of(c->id);
    for (pbft_id id = 0; id < c->n && pbft_signers_count(chosen) < c->q; id++)
        if (c->vcs[id].frame != NULL && c->vcs[id].view == c->view) chosen |= pbft_signers_of(id);
    return chosen;
}

void try_new_view(struct pbft_core *c)
{
    if (c->active || c->mute || !is_primary(c)) return;
    if (c->vcs[c->id].frame == NULL || c->vcs[c->id].view != c->view) return;
    pbft_signers signers = choose_view_changes(c);
    if (pbft_signers_count(signers) < c->q) return;

    struct pbft_new_view_selection o = select_entries(c, c->vcs, signers);
    PBFT_ASSERT(o.min_s <= c->h); /* on_view_change() adopted every proof */
    for (uint32_t i = 0; i < o.count; i++) {
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size = pbft_wire_pre_prepare_body(c->view, o.min_s + 1 + i, &o.digests[i], body);
        uint8_t *entry = c->scratch_entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        memcpy(entry, o.digests[i].bytes, PBFT_DIGEST_BYTES);
        c->config.functions.sign_body(c->config.functions.context, PBFT_PRE_PREPARE,
                                      (struct pbft_span){body, size}, entry + PBFT_DIGEST_BYTES);
    }
    uint8_t digests[PBFT_REPLICAS_MAX * PBFT_DIGEST_BYTES];
    uint8_t *at = digests;
    for (pbft_signers rest = signers; rest != 0; rest &= rest - 1, at += PBFT_DIGEST_BYTES)
        memcpy(at, c->vcs[__builtin_ctzll(rest)].digest.bytes, PBFT_DIGEST_BYTES);
    struct pbft_msg m = {.type = PBFT_NEW_VIEW};
    m.new_view.view = c->view;
    m.new_view.sender = c->id;
    m.new_view.signers = signers;
    m.new_view.vc_digests = digests;
    m.new_view.min_s = o.min_s;
    m.new_view.count = o.count;
    m.new_view.entries = c->scratch_entries;
    struct pbft_frame *frame = make_frame(c, &m, true);
    if (frame == NULL) return; /* on_tick() comes back */

    struct pending_new_view *nv = &c->new_views[c->id];
    forget_new_view(c, nv);
    struct pbft_span body = pbft_wire_signed_body(pbft_frame_span(frame));
    nv->frame = frame;
    nv->view = c->view;
    c->config.functions.digest_new_view(&nv->digest, body);
    nv->signers = signers;
    nv->min_s = o.min_s;
    nv->count = o.count;
    /* The entries end the signed body. */
    nv->entries = body.data + body.size - (size_t)o.count * PBFT_NEW_VIEW_ENTRY_BYTES;
    for (pbft_signers rest = signers; rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        nv->vc_digests[id] = c->vcs[id].digest;
        view_change_copy(&nv->vcs[id], &c->vcs[id]);
    }
    install(c, nv);
}
