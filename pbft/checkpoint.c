/* Checkpoints, watermarks, garbage collection, and how a laggard notices that it is one
 * (OSDI'99 §4.3, PROTOCOL 24, FAULTS 4.20, 4.24, 4.25). */
#include "pbft/core_internal.h"

#include <string.h>

/* A laggard first waits for pushed certificates (PROTOCOL 33); then it fetches the state. */
#define LAG_STATUS_INTERVALS 4u
/* Peers serve two snapshots: a target further behind than that is abandoned (FAULTS 2.22). */
#define TRANSFER_KEPT_CHECKPOINTS 2u
/* ... and so is an older one that takes long: who restarted may serve the newest alone. Pages that
 * are here stay here. */
#define TRANSFER_TIMEOUTS 2u

struct checkpoint *checkpoint_find(const struct pbft_core *c, pbft_seq seq)
{
    struct checkpoint *cp = &c->checkpoints[seq / c->p.checkpoint_interval % c->checkpoint_count];
    return cp->seq == seq && seq != 0 ? cp : NULL;
}

struct checkpoint *checkpoint_at(struct pbft_core *c, pbft_seq seq)
{
    PBFT_ASSERT(in_window(c, seq) && seq % c->p.checkpoint_interval == 0);
    struct checkpoint *cp = &c->checkpoints[seq / c->p.checkpoint_interval % c->checkpoint_count];
    if (cp->seq != seq) {
        cp->seq = seq;
        cp->own_known = false;
        pbft_votes_clear(&cp->votes);
    }
    return cp;
}

/* Roots of the state that is given up say nothing any more. */
static void forget_own_roots(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->checkpoint_count; i++)
        c->checkpoints[i].own_known = false;
}

static struct pbft_effect *start_transfer(struct pbft_core *c)
{
    forget_own_roots(c);
    c->transfer_seq = c->h;
    c->transfer_ns = c->now_ns;
    c->lag_since_ns = NEVER;
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_TRANSFER);
    e->transfer.seq = c->h;
    e->transfer.root = c->stable_root;
    e->transfer.hint = c->stable_signers & everyone_else(c);
    e->transfer.diverged = 0;
    return e;
}

static struct certified_root *certified_place(struct pbft_core *c, pbft_seq seq)
{
    return &c->certified[seq / c->p.checkpoint_interval % CERTIFIED_ROOTS];
}

void certified_note(struct pbft_core *c)
{
    *certified_place(c, c->h) = (struct certified_root){c->h, c->stable_root};
}

bool check_divergence(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *own)
{
    const struct certified_root *certified = certified_place(c, seq);
    if (c->transfer_seq != 0 || certified->seq != seq || seq == 0) return true;
    if (pbft_digest_equal(own, &certified->root)) {
        if (seq > c->agreed) c->agreed = seq;
        return true;
    }
    struct pbft_digest ours = *own; /* what it points to is forgotten */
    struct pbft_effect *e = start_transfer(c);
    e->transfer.diverged = seq;
    e->transfer.own = ours;
    e->transfer.certified = certified->root;
    e->transfer.agreed = c->agreed;
    return false;
}

/* Who signed another root than the q that certify h is lying or broken (PROTOCOL 36). */
static void accuse_dissenters(struct pbft_core *c, const struct checkpoint *cp)
{
    for (pbft_signers rest = cp->votes.have & everyone_else(c); rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        if (pbft_digest_equal(&cp->votes.by[id].digest, &c->stable_root)) continue;
        struct pbft_frame *vote =
            vote_frame(c, PBFT_CHECKPOINT, 0, cp->seq, id, &cp->votes.by[id].digest,
                       cp->votes.by[id].signature.bytes);
        evidence_frames(c, PBFT_CHECKPOINT, id, PBFT_EVIDENCE_CHECKPOINT, vote,
                        c->stable_certificate);
        pbft_frame_release(vote);
    }
}

/* Votes that were above the window may be inside it now. */
static void adopt_high_checkpoints(struct pbft_core *c)
{
    for (pbft_id id = 0; id < c->n; id++) {
        struct peer *peer = &c->peers[id];
        if (peer->high_checkpoint == 0) continue;
        if (in_window(c, peer->high_checkpoint)) {
            struct checkpoint *cp = checkpoint_at(c, peer->high_checkpoint);
            if (!pbft_signers_has(cp->votes.have, id))
                pbft_votes_add(&cp->votes, id, &peer->high_root, peer->high_signature.bytes);
        }
        if (peer->high_checkpoint <= c->h + c->p.window) peer->high_checkpoint = 0;
    }
}

void collect_garbage(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].seq != 0 && !in_slots(c, c->slots[i].seq)) slot_reset(c, &c->slots[i]);
    for (uint32_t i = 0; i < c->checkpoint_count; i++)
        if (!in_window(c, c->checkpoints[i].seq)) c->checkpoints[i].seq = 0;
}

void epoch_ends(struct pbft_core *c, pbft_seq last)
{
    if (last < c->h || last <= c->last) return;
    /* Far enough behind the operation that nothing above it is decided: whoever knows a stable
     * checkpoint that lets it into the window is one of q, of which f+1 correct ones have executed
     * the operation and refuse it. */
    PBFT_ASSERT(last % c->p.checkpoint_interval == 0);
    c->last = last;
    if (c->next_seq > last + 1) c->next_seq = last + 1;
    collect_garbage(c);
}

bool stable_logged(struct pbft_core *c)
{
    if (c->h == c->config.genesis_seq || c->stable_certificate != NULL) return true;
    c->stable_certificate = certificate_frame(c, PBFT_CERT_CHECKPOINT, 0, c->h, &c->stable_root,
                                              c->stable_signers, c->stable_signatures, NULL);
    if (c->stable_certificate == NULL) return false;
    persist(c, PBFT_RECORD_STABLE, false, c->stable_certificate, NULL);
    return true;
}

void make_stable(struct pbft_core *c, pbft_seq seq, const struct pbft_digest *root,
                 pbft_signers signers, const uint8_t *signatures)
{
    PBFT_ASSERT(seq > c->h && pbft_signers_count(signers) == c->q);
    c->h = seq;
    c->stable_root = *root;
    c->stable_signers = signers;
    memmove(c->stable_signatures, signatures, (size_t)c->q * PBFT_SIGNATURE_BYTES);
    pbft_frame_release(c->stable_certificate);
    c->stable_certificate = NULL;
    certified_note(c);
    (void)stable_logged(c);
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_STABLE);
    e->stable.seq = seq;
    e->stable.root = c->stable_root;

    if (c->next_seq <= c->h) c->next_seq = c->h + 1;
    if (c->backoff > 0) c->backoff--; /* PROTOCOL 23: eased by checkpoints, not by one execution */
    struct checkpoint *cp = checkpoint_find(c, seq);
    if (cp != NULL) {
        if (c->stable_certificate != NULL) accuse_dissenters(c, cp);
        if (cp->own_known) (void)check_divergence(c, seq, &cp->own_root);
    }
    collect_garbage(c);
    bodies_archive(c, c->h < c->committed ? c->h : c->committed);
    adopt_high_checkpoints(c);
    lag_check(c);
}

static bool stable_if_quorum(struct pbft_core *c, struct checkpoint *cp,
                             const struct pbft_digest *root)
{
    pbft_signers matching = pbft_votes_for(&cp->votes, root);
    if (c->mute) matching &= everyone_else(c); /* our vote counts for nothing (PROTOCOL 29) */
    if (pbft_signers_count(matching) < c->q) return false;
    struct pbft_digest certified = *root;
    pbft_signers signers = pbft_votes_collect(&cp->votes, matching, c->q, c->stable_signatures);
    make_stable(c, cp->seq, &certified, signers, c->stable_signatures);
    return true;
}

/* Far ahead of us: keep each sender's highest only (PROTOCOL 24), and follow when q agree. */
static enum pbft_verdict on_high_checkpoint(struct pbft_core *c, const struct pbft_checkpoint *m)
{
    struct peer *peer = &c->peers[m->sender];
    if (m->seq < peer->high_checkpoint) return PBFT_DROP_WINDOW;
    if (m->seq == peer->high_checkpoint) return PBFT_DROP_DUPLICATE;
    peer->high_checkpoint = m->seq;
    peer->high_root = m->root;
    memcpy(peer->high_signature.bytes, m->signature, PBFT_SIGNATURE_BYTES);

    pbft_signers matching = 0;
    for (pbft_id id = 0; id < c->n; id++)
        if (c->peers[id].high_checkpoint == m->seq &&
            pbft_digest_equal(&c->peers[id].high_root, &m->root))
            matching |= pbft_signers_of(id);
    if (pbft_signers_count(matching) < c->q) return PBFT_OK;
    pbft_signers signers = 0;
    uint8_t *out = c->stable_signatures;
    for (pbft_signers rest = matching; pbft_signers_count(signers) < c->q; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        signers |= pbft_signers_of(id);
        memcpy(out, c->peers[id].high_signature.bytes, PBFT_SIGNATURE_BYTES);
        out += PBFT_SIGNATURE_BYTES;
    }
    struct pbft_digest root = m->root;
    make_stable(c, m->seq, &root, signers, c->stable_signatures);
    return PBFT_OK;
}

enum pbft_verdict on_checkpoint(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_checkpoint *m = &event->message.msg->checkpoint;
    PBFT_ASSERT(m->sender < c->n);
    if (m->sender == c->id) return own_message(c, event->message.msg);
    if (m->seq <= c->config.genesis_seq || m->seq % c->p.checkpoint_interval != 0)
        return PBFT_DROP_MALFORMED; /* genesis has no CHECKPOINTs */
    if (m->seq <= c->h) {
        if (m->seq < c->h || m->seq == c->config.genesis_seq ||
            pbft_digest_equal(&m->root, &c->stable_root))
            return PBFT_DROP_DUPLICATE;
        evidence_frames(c, PBFT_CHECKPOINT, m->sender, PBFT_EVIDENCE_CHECKPOINT,
                        event->message.frame, c->stable_certificate);
        return PBFT_DROP_CONFLICT;
    }
    if (beyond_last(c, m->seq)) return PBFT_DROP_WINDOW;
    if (!in_window(c, m->seq)) return on_high_checkpoint(c, m);

    struct checkpoint *cp = checkpoint_at(c, m->seq);
    switch (pbft_votes_check(&cp->votes, m->sender, &m->root)) {
    case PBFT_VOTE_NEW: break;
    case PBFT_VOTE_DUPLICATE: return PBFT_DROP_DUPLICATE;
    case PBFT_VOTE_CONFLICT:
        evidence_votes(c, PBFT_CHECKPOINT, 0, m->seq, m->sender, &cp->votes.by[m->sender], &m->root,
                       m->signature);
        return PBFT_DROP_CONFLICT;
    }
    pbft_votes_add(&cp->votes, m->sender, &m->root, m->signature);
    if (stable_if_quorum(c, cp, &m->root)) propose_ready(c);
    return PBFT_OK;
}

enum pbft_verdict on_checkpoint_certificate(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_certificate *m = &event->message.msg->certificate;
    if (m->seq == 0 || m->seq % c->p.checkpoint_interval != 0) return PBFT_DROP_CERTIFICATE;
    if (m->seq <= c->h) return PBFT_DROP_DUPLICATE;
    if (beyond_last(c, m->seq)) return PBFT_DROP_WINDOW;
    make_stable(c, m->seq, &m->digest, m->signatures.signers, m->signatures.bytes);
    propose_ready(c);
    return PBFT_OK;
}

/* Sign our root of `cp`, once (PROTOCOL 24). */
static void send_own_checkpoint(struct pbft_core *c, struct checkpoint *cp)
{
    if (c->mute || cp->seq <= c->own_checkpoint || pbft_signers_has(cp->votes.have, c->id)) return;
    struct pbft_msg m = {.type = PBFT_CHECKPOINT};
    m.checkpoint.seq = cp->seq;
    m.checkpoint.root = cp->own_root;
    m.checkpoint.sender = c->id;
    struct pbft_frame *frame = make_frame(c, &m, true);
    if (frame == NULL) return; /* lag_check() comes back */
    c->own_checkpoint = cp->seq;
    pbft_lsn lsn = persist(c, PBFT_RECORD_CHECKPOINT, true, frame, NULL);
    send_frame(c, everyone_else(c), lsn, frame);
    pbft_votes_add(&cp->votes, c->id, &cp->own_root,
                   frame->bytes + frame->size - PBFT_SIGNATURE_BYTES);
    pbft_frame_release(frame);
    struct pbft_digest root = cp->own_root;
    stable_if_quorum(c, cp, &root);
}

enum pbft_verdict on_checkpoint_ready(struct pbft_core *c, const struct pbft_event *event)
{
    pbft_seq seq = event->checkpoint_ready.seq;
    if (c->transfer_seq != 0) return PBFT_DROP_STATE;
    if (seq <= c->h) { /* the others were faster */
        (void)check_divergence(c, seq, &event->checkpoint_ready.root);
        return seq == c->h || c->transfer_seq != 0 ? PBFT_OK : PBFT_DROP_STATE;
    }
    if (!in_window(c, seq)) return PBFT_DROP_STATE;
    struct checkpoint *cp = checkpoint_at(c, seq);
    cp->own_known = true;
    cp->own_root = event->checkpoint_ready.root;
    send_own_checkpoint(c, cp);
    propose_ready(c);
    return PBFT_OK;
}

/* Behind the stable checkpoint: wait a little for pushed certificates, then transfer. */
void lag_check(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->checkpoint_count; i++)
        if (c->checkpoints[i].seq > c->h && c->checkpoints[i].own_known)
            send_own_checkpoint(c, &c->checkpoints[i]);
    if (c->transfer_seq != 0) {
        pbft_seq kept = (TRANSFER_KEPT_CHECKPOINTS - 1u) * (pbft_seq)c->p.checkpoint_interval;
        bool slow = c->now_ns - c->transfer_ns >= TRANSFER_TIMEOUTS * c->p.view_timeout_ns;
        if (c->h > c->transfer_seq + kept || (slow && c->h > c->transfer_seq))
            (void)start_transfer(c);
        return;
    }
    if (c->committed >= c->h) {
        c->lag_since_ns = NEVER;
        return;
    }
    bool reachable = in_slots(c, c->committed + 1);
    if (c->lag_since_ns == NEVER || c->lag_committed != c->committed) {
        c->lag_since_ns = c->now_ns;
        c->lag_committed = c->committed;
        if (reachable) return;
    }
    uint64_t patience = LAG_STATUS_INTERVALS * status_interval(c);
    if (!reachable || c->now_ns - c->lag_since_ns >= patience) (void)start_transfer(c);
}

enum pbft_verdict on_state_ready(struct pbft_core *c, const struct pbft_event *event)
{
    if (c->transfer_seq == 0 || event->state_ready.seq != c->transfer_seq) return PBFT_DROP_STATE;
    c->transfer_seq = 0;
    c->committed = c->executed = c->agreed = event->state_ready.seq;
    c->effective_ns = event->state_ready.effective_ns;
    c->next_due_ns = event->state_ready.next_due_ns;
    /* What a state that was given up said of the epoch's end is over. What we have signed for above
     * this one has to be executed again before it lets us vote further on (may_vote()). */
    c->last = 0;
    epoch_ends(c, event->state_ready.last);
    if (c->own_checkpoint > c->executed && c->own_checkpoint > c->relearn)
        c->relearn = c->own_checkpoint;
    if (c->timed_seq <= c->executed) c->timed_seq = 0;
    /* Which of the waiting requests the transferred batches held, nobody told us: their clients,
     * who ask all replicas by now, will (PROTOCOL 21). */
    uint32_t count = c->config.client_count;
    pbft_pending_release(&c->pending);
    pbft_pending_init(&c->pending, &c->p, count, c->pending.requests, c->pending.buckets,
                      c->pending.clients, c->pending.rooms);
    request_timer_update(c, true);
    lag_check(c);
    execute_ready(c);
    propose_ready(c);
    return PBFT_OK;
}
