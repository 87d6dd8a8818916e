/* A restart with its promises kept (PROTOCOL 25-28; FAULTS 4.4, 4.5): the core as its log says that
 * it was, record by record. Nothing is sent or signed here; what was said is there to be said
 * again, byte for byte. */
#include "pbft/core_internal.h"

#include <string.h>

/* A record above the window: a promise that could not be kept in mind. Below, it is over. */
static bool beyond(const struct pbft_core *c, pbft_seq seq)
{
    return seq > c->h && seq - c->h > c->p.window;
}

static bool in_this_view(const struct pbft_core *c, pbft_view view)
{
    return c->active && view == c->view;
}

static void keep_frame(struct pbft_frame **place, struct pbft_frame *frame)
{
    pbft_frame_retain(frame);
    pbft_frame_release(*place);
    *place = frame;
}

static void restore_body(struct slot *s, const struct pbft_digest *digest,
                         const struct pbft_msg *msg, struct pbft_frame *frame)
{
    struct pbft_span proposal = {NULL, 0};
    if (msg->type == PBFT_PRE_PREPARE) proposal = msg->pre_prepare.proposal.bytes;
    if (msg->type == PBFT_BATCH) proposal = msg->batch.bytes;
    if (msg->type == PBFT_CERTIFICATE && msg->certificate.has_proposal)
        proposal = msg->certificate.proposal.bytes;
    if (proposal.data != NULL) slot_put_body(s, digest, frame, proposal);
}

static void heard_of(struct pbft_core *c, pbft_seq seq)
{
    if (seq > c->proposed) c->proposed = seq;
    if (seq > c->heard) c->heard = seq;
}

/* What is said of one number in one view is said once. */
static bool same_header(struct slot *s, pbft_view view, const struct pbft_digest *digest)
{
    return s->header.valid && s->header.view == view &&
           pbft_digest_equal(&s->header.digest, digest);
}

/* ---- what was proposed and prepared ---- */

static enum pbft_verdict restore_header(struct pbft_core *c, struct slot *s,
                                        const struct pbft_pre_prepare *m, struct pbft_frame *frame)
{
    if (s->header.valid && !same_header(s, m->view, &m->digest)) return PBFT_DROP_CONFLICT;
    s->header.valid = true;
    s->header.view = m->view;
    s->header.digest = m->digest;
    memcpy(s->header.signature.bytes, m->signature, PBFT_SIGNATURE_BYTES);
    keep_frame(&s->pre_prepare, frame);
    heard_of(c, m->seq);
    return PBFT_OK;
}

static enum pbft_verdict restore_prepare(struct pbft_core *c, struct slot *s,
                                         const struct pbft_vote *m, struct pbft_frame *frame)
{
    if (m->sender != c->id) return PBFT_DROP_SENDER;
    if (!same_header(s, m->view, &m->digest)) return PBFT_DROP_CONFLICT;
    if (pbft_signers_has(s->prepares.have, c->id))
        return PBFT_OK; /* carried over, and here twice */
    pbft_votes_add(&s->prepares, c->id, &m->digest, m->signature);
    keep_frame(&s->own_prepare, frame);
    return PBFT_OK;
}

/* The frame that held the proposal, and a backup's own PREPARE; or one of them (core.h). */
static enum pbft_verdict restore_proposal(struct pbft_core *c, const struct pbft_record *r)
{
    const struct pbft_msg *first = r->msgs[0];
    const struct pbft_msg *own = r->msgs[1] != NULL ? r->msgs[1] : first;
    struct pbft_frame *own_frame = r->msgs[1] != NULL ? r->frames[1] : r->frames[0];
    bool voted = own->type == PBFT_PREPARE, proposed = first->type == PBFT_PRE_PREPARE;
    if (!voted && !proposed) return PBFT_DROP_TYPE;
    pbft_view view = voted ? own->vote.view : first->pre_prepare.view;
    pbft_seq seq = voted ? own->vote.seq : first->pre_prepare.seq;
    struct pbft_digest digest = voted ? own->vote.digest : first->pre_prepare.digest;
    if (beyond(c, seq)) return PBFT_DROP_WINDOW;
    if (!in_slots(c, seq)) return PBFT_OK;
    struct slot *s = slot_at(c, seq);
    enum pbft_verdict verdict = PBFT_OK;
    if (seq <= c->h) { /* over: the body may serve others */
    } else if (in_this_view(c, view)) {
        if (proposed && first->pre_prepare.view == view)
            verdict = restore_header(c, s, &first->pre_prepare, r->frames[0]);
        if (verdict == PBFT_OK && voted) verdict = restore_prepare(c, s, &own->vote, own_frame);
    } else if (view > c->view) {
        return PBFT_DROP_VIEW; /* nobody votes in a view before it is installed */
    }
    restore_body(s, &digest, first, r->frames[0]);
    return verdict;
}

static void restore_entry(struct slot *s, const struct pbft_prepared *entry)
{
    if (s->prepared.valid && s->prepared.view >= entry->view) return;
    s->prepared.valid = true;
    s->prepared.view = entry->view;
    s->prepared.digest = entry->digest;
    memcpy(s->prepared.pre_prepare.bytes, entry->pre_prepare_signature, PBFT_SIGNATURE_BYTES);
    s->prepared.signers = entry->prepares.signers;
    memcpy(s->prepared.signatures, entry->prepares.bytes,
           (size_t)pbft_signers_count(entry->prepares.signers) * PBFT_SIGNATURE_BYTES);
}

/* A prepared certificate as the only P entry of a VIEW-CHANGE, and our COMMIT. */
static enum pbft_verdict restore_prepared(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_VIEW_CHANGE || r->msgs[1] == NULL ||
        r->msgs[1]->type != PBFT_COMMIT || r->msgs[0]->view_change.prepared_count != 1)
        return PBFT_DROP_TYPE;
    const struct pbft_prepared *entry = &r->msgs[0]->view_change.prepared[0];
    const struct pbft_vote *commit = &r->msgs[1]->vote;
    if (commit->sender != c->id) return PBFT_DROP_SENDER;
    if (pbft_signers_count(entry->prepares.signers) != c->q - 1) return PBFT_DROP_CERTIFICATE;
    if (beyond(c, entry->seq)) return PBFT_DROP_WINDOW;
    if (entry->seq <= c->h || !in_slots(c, entry->seq)) return PBFT_OK;
    struct slot *s = slot_at(c, entry->seq);
    restore_entry(s, entry);
    if (commit->view > c->view) return PBFT_DROP_VIEW;
    if (!in_this_view(c, commit->view)) return PBFT_OK;
    if (!same_header(s, commit->view, &commit->digest)) return PBFT_DROP_CONFLICT;
    s->prepared_now = true;
    if (pbft_signers_has(s->commits.have, c->id)) return PBFT_OK;
    pbft_votes_add(&s->commits, c->id, &commit->digest, commit->signature);
    keep_frame(&s->own_commit, r->frames[1]);
    return PBFT_OK;
}

static enum pbft_verdict restore_committed(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_CERTIFICATE) return PBFT_DROP_TYPE;
    const struct pbft_certificate *m = &r->msgs[0]->certificate;
    if (m->kind != PBFT_CERT_COMMIT || pbft_signers_count(m->signatures.signers) != c->q)
        return PBFT_DROP_CERTIFICATE;
    if (beyond(c, m->seq) || !in_slots(c, m->seq)) return PBFT_OK; /* no promise of ours */
    struct slot *s = slot_at(c, m->seq);
    s->decided.valid = true;
    s->decided.view = m->view;
    s->decided.digest = m->digest;
    s->decided.signers = m->signatures.signers;
    memcpy(s->decided.signatures, m->signatures.bytes, (size_t)c->q * PBFT_SIGNATURE_BYTES);
    s->decided.lsn = 0; /* it is durable */
    restore_body(s, &m->digest, r->msgs[0], r->frames[0]);
    return PBFT_OK;
}

/* ---- checkpoints ---- */

static enum pbft_verdict restore_checkpoint(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_CHECKPOINT) return PBFT_DROP_TYPE;
    const struct pbft_checkpoint *m = &r->msgs[0]->checkpoint;
    if (m->sender != c->id) return PBFT_DROP_SENDER;
    if (m->seq == 0 || m->seq % c->p.checkpoint_interval != 0) return PBFT_DROP_MALFORMED;
    if (m->seq > c->own_checkpoint) c->own_checkpoint = m->seq;
    if (!in_window(c, m->seq)) return PBFT_OK; /* own_checkpoint is the promise */
    /* What we signed, not the root of the state that is being loaded: own_known stays false. */
    struct checkpoint *cp = checkpoint_at(c, m->seq);
    if (!pbft_signers_has(cp->votes.have, c->id))
        pbft_votes_add(&cp->votes, c->id, &m->root, m->signature);
    return PBFT_OK;
}

static void move_low_mark(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *root,
                          const struct pbft_signatures *proof)
{
    c->h = seq;
    c->stable_root = *root;
    c->stable_signers = proof->signers;
    memcpy(c->stable_signatures, proof->bytes, (size_t)c->q * PBFT_SIGNATURE_BYTES);
    pbft_frame_release(c->stable_certificate);
    c->stable_certificate = certificate_frame(c, PBFT_CERT_CHECKPOINT, 0, seq, root, proof->signers,
                                              c->stable_signatures, NULL);
    collect_garbage(c);
}

/* A log that was not cut before a crash begins below the h of the checkpoint on disk. */
static void restore_low_mark(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *root,
                             const struct pbft_signatures *proof)
{
    if (seq > c->h) move_low_mark(c, seq, root, proof);
    bodies_archive(c, c->h); /* else a log may hold more than there is memory */
}

static enum pbft_verdict restore_stable(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_CERTIFICATE) return PBFT_DROP_TYPE;
    const struct pbft_certificate *m = &r->msgs[0]->certificate;
    if (m->kind != PBFT_CERT_CHECKPOINT || pbft_signers_count(m->signatures.signers) != c->q)
        return PBFT_DROP_CERTIFICATE;
    restore_low_mark(c, m->seq, &m->digest, &m->signatures);
    return PBFT_OK;
}

/* ---- views ---- */

/* A carry-over holds the newest VIEW-CHANGE before the newest NEW-VIEW, whichever came first
 * (PROTOCOL 26): what is not above our view is over. */
static enum pbft_verdict restore_view_change(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_VIEW_CHANGE) return PBFT_DROP_TYPE;
    const struct pbft_view_change *m = &r->msgs[0]->view_change;
    if (m->sender != c->id) return PBFT_DROP_SENDER;
    if (m->view <= c->view) return PBFT_OK;
    if (m->prepared_count > c->p.window) return PBFT_DROP_SIZE;
    if (m->stable > c->h && pbft_signers_count(m->stable_proof.signers) != c->q)
        return PBFT_DROP_CERTIFICATE;
    if (m->stable > c->h) restore_low_mark(c, m->stable, &m->stable_root, &m->stable_proof);
    for (uint32_t i = 0; i < m->prepared_count; i++)
        if (in_window(c, m->prepared[i].seq))
            restore_entry(slot_at(c, m->prepared[i].seq), &m->prepared[i]);
    view_change_restore(c, m, r->frames[0]);
    c->view = m->view;
    c->active = false;
    return PBFT_OK;
}

static enum pbft_verdict restore_new_view(struct pbft_core *c, const struct pbft_record *r)
{
    if (r->msgs[0]->type != PBFT_NEW_VIEW) return PBFT_DROP_TYPE;
    const struct pbft_new_view *m = &r->msgs[0]->new_view;
    if (m->view < c->view || (m->view == c->view && c->active)) return PBFT_OK;
    if (m->count > c->p.window || m->min_s > UINT64_MAX - c->p.window) return PBFT_DROP_SIZE;
    c->view = c->voted_view = m->view;
    c->active = true;
    keep_frame(&c->new_view, r->frames[0]);
    c->config.functions.digest_new_view(&c->new_view_digest,
                                        pbft_wire_signed_body(pbft_frame_span(r->frames[0])));
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].seq != 0) slot_forget_view(c, &c->slots[i]);
    c->proposed = c->heard = c->h;
    const uint8_t *entry = m->entries;
    for (uint32_t i = 0; i < m->count; i++, entry += PBFT_NEW_VIEW_ENTRY_BYTES) {
        pbft_seq seq = m->min_s + 1 + i;
        if (!in_window(c, seq)) continue;
        struct slot *s = slot_at(c, seq);
        s->header.valid = true;
        s->header.view = m->view;
        memcpy(s->header.digest.bytes, entry, PBFT_DIGEST_BYTES);
        memcpy(s->header.signature.bytes, entry + PBFT_DIGEST_BYTES, PBFT_SIGNATURE_BYTES);
        heard_of(c, seq);
    }
    return PBFT_OK;
}

/* ---- */

enum pbft_verdict pbft_core_restore(struct pbft_core *c, const struct pbft_record *r)
{
    PBFT_ASSERT(!c->mute && c->out == NULL && c->now_ns == 0);
    if (r->msgs[0] == NULL) return PBFT_DROP_MALFORMED;
    switch (r->kind) {
    case PBFT_RECORD_PROPOSAL: return restore_proposal(c, r);
    case PBFT_RECORD_PREPARED: return restore_prepared(c, r);
    case PBFT_RECORD_VIEW_CHANGE: return restore_view_change(c, r);
    case PBFT_RECORD_NEW_VIEW: return restore_new_view(c, r);
    case PBFT_RECORD_CHECKPOINT: return restore_checkpoint(c, r);
    case PBFT_RECORD_STABLE: return restore_stable(c, r);
    case PBFT_RECORD_COMMITTED: return restore_committed(c, r);
    }
    return PBFT_DROP_TYPE;
}

/* A cut carries over no body at or below h, and a decision that came late may stand behind it:
 * whoever asked for that certificate would get one without its proposal. */
static void forget_bodiless(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = &c->slots[i];
        if (s->seq == 0 || !s->decided.valid || slot_has_body(c, s, &s->decided.digest)) continue;
        s->decided.valid = false;
    }
}

/* The state that the node has loaded belongs to it; now it goes on. */
enum pbft_verdict on_restored(struct pbft_core *c, const struct pbft_event *event)
{
    c->committed = c->executed = event->restored.seq;
    c->effective_ns = event->restored.effective_ns;
    c->next_due_ns = event->restored.next_due_ns;
    certified_note(c);
    if (event->restored.agreed > c->agreed) c->agreed = event->restored.agreed;
    if (event->restored.seq <= c->h && event->restored.seq > 0)
        (void)check_divergence(c, event->restored.seq, &event->restored.root);
    epoch_ends(c, event->restored.last);
    c->relearn = c->own_checkpoint > c->h ? c->own_checkpoint : c->h;
    if (c->relearn == c->config.genesis_seq) c->relearn = 0; /* nobody has signed it */
    c->body_bytes = UINT64_MAX;                              /* counted anew before it matters */
    forget_bodiless(c);
    c->next_seq = (c->proposed > c->committed ? c->proposed : c->committed) + 1;
    if (c->next_seq <= c->h) c->next_seq = c->h + 1;
    for (pbft_seq seq = c->h + 1; c->active && seq <= window_end(c); seq++) {
        struct slot *s = slot_find(c, seq);
        if (s == NULL) continue;
        if (s->header.valid) slot_want_body(c, s, &s->header.digest, everyone_else(c));
        slot_advance(c, s);
    }
    execute_ready(c);
    /* Nobody may have signed it yet, and without that h stays where it is. */
    if (event->restored.seq % c->p.checkpoint_interval == 0 && in_window(c, event->restored.seq)) {
        struct checkpoint *cp = checkpoint_at(c, event->restored.seq);
        cp->own_known = true;
        cp->own_root = event->restored.root;
    }
    lag_check(c); /* signs it, or fetches a newer one */
    request_timer_update(c, true);
    propose_ready(c);
    return PBFT_OK;
}
