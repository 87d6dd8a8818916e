/* PROTOCOL 16: can this frame still matter? Asked before any signature is verified: it sheds floods
 * and saves about a third of all vote verifications. Only verified votes count as held, so nobody
 * can keep an honest vote out by claiming to be its sender. */
#include "pbft/core_internal.h"

static bool wants_vote(const struct pbft_core *c, const struct pbft_claim *m)
{
    if (m->sender >= c->n) return false;
    if (m->view != c->view || !c->active) {
        /* A vote of our own from a view that we do not know is the sign of amnesia. */
        if (m->sender == c->id) return m->view >= c->view;
        return future_view(c, m->view) && future_room(c, m->sender, m->view, m->seq, m->type);
    }
    if (!in_window(c, m->seq))
        return m->sender == c->id && m->seq > c->h && !beyond_last(c, m->seq);
    const struct slot *s = slot_find(c, m->seq);
    if (s == NULL) return true;
    const struct pbft_votes *votes = m->type == PBFT_PREPARE ? &s->prepares : &s->commits;
    if (pbft_signers_has(votes->have, m->sender)) /* a different digest is evidence */
        return !pbft_digest_equal(&votes->by[m->sender].digest, &m->digest) &&
               (m->sender == c->id || evidence_wanted(c, m->type, m->sender));
    if (m->sender == c->id) return true;
    if (s->decided.valid && pbft_digest_equal(&s->decided.digest, &m->digest) &&
        (m->type == PBFT_COMMIT || s->prepared_now))
        return false;
    if (m->type == PBFT_PREPARE && s->prepared_now)
        return !pbft_digest_equal(&s->header.digest, &m->digest);
    return true;
}

static bool wants_pre_prepare(const struct pbft_core *c, const struct pbft_claim *m)
{
    pbft_id primary = pbft_primary(c->n, m->view);
    if (primary == c->id && (m->view > c->view || (m->view == c->view && !c->active))) return true;
    if (m->view != c->view || !c->active)
        return future_view(c, m->view) && future_room(c, primary, m->view, m->seq, m->type);
    if (!in_window(c, m->seq)) return false;
    const struct slot *s = slot_find(c, m->seq);
    if (s == NULL || !s->header.valid) return true;
    if (pbft_digest_equal(&s->header.digest, &m->digest)) return !slot_has_body(c, s, &m->digest);
    return primary == c->id || evidence_wanted(c, PBFT_PRE_PREPARE, primary);
}

static bool wants_checkpoint(const struct pbft_core *c, const struct pbft_claim *m)
{
    if (m->sender >= c->n) return false;
    if (m->seq < c->h || beyond_last(c, m->seq)) return false;
    if (m->seq == c->h)
        return c->h != c->config.genesis_seq && !pbft_digest_equal(&m->digest, &c->stable_root) &&
               evidence_wanted(c, PBFT_CHECKPOINT, m->sender);
    if (!in_window(c, m->seq)) return m->seq > c->peers[m->sender].high_checkpoint;
    const struct checkpoint *cp = checkpoint_find(c, m->seq);
    if (cp == NULL || !pbft_signers_has(cp->votes.have, m->sender)) return true;
    return !pbft_digest_equal(&cp->votes.by[m->sender].digest, &m->digest) &&
           evidence_wanted(c, PBFT_CHECKPOINT, m->sender);
}

static bool wants_view_change(const struct pbft_core *c, const struct pbft_claim *m)
{
    if (m->sender >= c->n) return false;
    for (pbft_id id = 0; id < c->n; id++) /* a NEW-VIEW waits for it? */
        if (c->new_views[id].frame != NULL && c->new_views[id].view == m->view &&
            pbft_signers_has(c->new_views[id].missing, m->sender))
            return true;
    if (m->sender == c->id) return m->view > c->view;
    if (m->view < c->view || (m->view == c->view && c->active)) return false;
    const struct view_change *held = &c->vcs[m->sender];
    return held->frame == NULL || m->view > held->view ||
           (m->view == held->view && evidence_wanted(c, PBFT_VIEW_CHANGE, m->sender));
}

static bool wants_new_view(const struct pbft_core *c, const struct pbft_claim *m)
{
    if (m->view < c->view) return false;
    if (m->view == c->view && c->active) return false;
    return true; /* one of our own that we do not know is the sign of amnesia */
}

static bool wants_header(const struct pbft_core *c, const struct pbft_claim *m)
{
    const struct slot *s = slot_find(c, m->seq);
    if (pbft_primary(c->n, m->view) != c->id) return s != NULL && s->header_fetching;
    if (m->view != c->view || !c->active) return m->view >= c->view; /* as votes of our own */
    return m->seq > c->h && !beyond_last(c, m->seq) &&
           (s == NULL || !s->header.valid || !pbft_digest_equal(&s->header.digest, &m->digest));
}

static bool wants_batch(const struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].seq != 0 && c->slots[i].fetching) return true;
    return false;
}

bool pbft_core_wants(const struct pbft_core *c, pbft_id from, const struct pbft_claim *claim)
{
    if (from >= c->n || claim->epoch != c->config.epoch) return false;
    switch ((enum pbft_type)claim->type) {
    case PBFT_PREPARE:
    case PBFT_COMMIT: return wants_vote(c, claim);
    case PBFT_PRE_PREPARE: return wants_pre_prepare(c, claim);
    case PBFT_CHECKPOINT: return wants_checkpoint(c, claim);
    case PBFT_VIEW_CHANGE: return wants_view_change(c, claim);
    case PBFT_NEW_VIEW: return wants_new_view(c, claim);
    case PBFT_CERTIFICATE: {
        pbft_seq low = c->committed < c->h ? c->committed : c->h;
        if (claim->seq <= low) return false;
        const struct slot *s = slot_find(c, claim->seq);
        bool commit_known = claim->seq <= c->committed || (s != NULL && s->decided.valid);
        /* A checkpoint certificate above h always matters; which kind it is shows only inside. */
        return !commit_known || (claim->seq > c->h && claim->seq % c->p.checkpoint_interval == 0);
    }
    case PBFT_BATCH: return wants_batch(c);
    case PBFT_HEADER: return wants_header(c, claim);
    case PBFT_REQUEST:
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_PAGE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break; /* the node judges these */
    }
    return true;
}
