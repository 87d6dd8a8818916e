/* Evidence: two signed statements of one replica that contradict each other (PROTOCOL 36-38), and
 * what we do when the replica that forgot is ourselves (PROTOCOL 29). */
#include "pbft/core_internal.h"

#include <string.h>

bool evidence_wanted(const struct pbft_core *c, uint8_t type, pbft_id culprit)
{
    PBFT_ASSERT(type <= PBFT_NEW_VIEW && culprit < c->n);
    return culprit != c->id && !pbft_signers_has(c->evidence_given[type], culprit);
}

void evidence_frames(struct pbft_core *c, uint8_t type, pbft_id culprit,
                     enum pbft_evidence_kind kind, struct pbft_frame *first,
                     struct pbft_frame *second)
{
    if (!evidence_wanted(c, type, culprit) || first == NULL || second == NULL) return;
    c->evidence_given[type] |= pbft_signers_of(culprit);
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_EVIDENCE);
    e->evidence.kind = kind;
    e->evidence.culprit = culprit;
    e->evidence.frames[0] = pbft_frame_retain(first);
    e->evidence.frames[1] = pbft_frame_retain(second);
}

void evidence_votes(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                    pbft_id culprit, const struct pbft_vote_entry *first,
                    const struct pbft_digest *digest, const uint8_t *signature)
{
    if (!evidence_wanted(c, type, culprit)) return;
    struct pbft_frame *a =
        vote_frame(c, type, view, seq, culprit, &first->digest, first->signature.bytes);
    struct pbft_frame *b = vote_frame(c, type, view, seq, culprit, digest, signature);
    evidence_frames(c, type, culprit, PBFT_EVIDENCE_CONFLICT, a, b);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

void evidence_headers(struct pbft_core *c, pbft_view view, pbft_seq seq,
                      const struct pbft_digest *first, const uint8_t *first_signature,
                      const struct pbft_digest *second, const uint8_t *second_signature)
{
    pbft_id culprit = pbft_primary(c->n, view);
    if (!evidence_wanted(c, PBFT_PRE_PREPARE, culprit)) return;
    struct pbft_frame *a = header_frame(c, view, seq, first, first_signature);
    struct pbft_frame *b = header_frame(c, view, seq, second, second_signature);
    evidence_frames(c, PBFT_PRE_PREPARE, culprit, PBFT_EVIDENCE_CONFLICT, a, b);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

/* ---- frames rebuilt from what we keep of them ---- */

struct pbft_frame *vote_frame(struct pbft_core *c, uint8_t type, pbft_view view, pbft_seq seq,
                              pbft_id sender, const struct pbft_digest *digest,
                              const uint8_t *signature)
{
    struct pbft_msg m = {.type = type};
    if (type == PBFT_CHECKPOINT) {
        m.checkpoint.seq = seq;
        m.checkpoint.root = *digest;
        m.checkpoint.sender = sender;
        m.checkpoint.signature = signature;
    } else {
        m.vote.view = view;
        m.vote.seq = seq;
        m.vote.digest = *digest;
        m.vote.sender = sender;
        m.vote.signature = signature;
    }
    return make_frame(c, &m, false);
}

struct pbft_frame *header_frame(struct pbft_core *c, pbft_view view, pbft_seq seq,
                                const struct pbft_digest *digest, const uint8_t *signature)
{
    struct pbft_msg m = {.type = PBFT_HEADER};
    m.pre_prepare.view = view;
    m.pre_prepare.seq = seq;
    m.pre_prepare.digest = *digest;
    m.pre_prepare.signature = signature;
    return make_frame(c, &m, false);
}

struct pbft_frame *certificate_frame(struct pbft_core *c, uint8_t kind, pbft_view view,
                                     pbft_seq seq, const struct pbft_digest *digest,
                                     pbft_signers signers, const uint8_t *signatures,
                                     const struct body *body)
{
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    m.certificate.kind = kind;
    m.certificate.view = view;
    m.certificate.seq = seq;
    m.certificate.digest = *digest;
    m.certificate.signatures.signers = signers;
    m.certificate.signatures.bytes = signatures;
    if (body != NULL) {
        m.certificate.has_proposal = true;
        m.certificate.proposal.bytes = body->proposal;
        m.certificate.proposal.digest = body->digest;
    }
    return make_frame(c, &m, false);
}

/* ---- ourselves ---- */

static bool own_vote_known(const struct pbft_core *c, const struct pbft_votes *votes,
                           const struct pbft_digest *digest)
{
    return pbft_votes_check(votes, c->id, digest) == PBFT_VOTE_DUPLICATE;
}

/* Is this signed message of ours something that we remember? What lies behind h, behind the end of
 * the epoch or in an older view is forgotten on purpose and proves nothing. */
static bool own_known(const struct pbft_core *c, const struct pbft_msg *m, pbft_seq *seq)
{
    *seq = 0;
    if (m->type == PBFT_CHECKPOINT) {
        *seq = m->checkpoint.seq;
        return m->checkpoint.seq <= c->own_checkpoint || m->checkpoint.seq <= c->h;
    }
    if (m->type == PBFT_VIEW_CHANGE) return m->view_change.view <= c->view;
    if (m->type == PBFT_NEW_VIEW)
        return m->new_view.view < c->view || (m->new_view.view == c->view && c->active);
    bool header = m->type == PBFT_PRE_PREPARE || m->type == PBFT_HEADER;
    pbft_view view = header ? m->pre_prepare.view : m->vote.view;
    *seq = header ? m->pre_prepare.seq : m->vote.seq;
    if (view != c->view) return view < c->view;
    if (*seq <= c->h) return true;
    if (!c->active) return false; /* we have not voted in a view before it is installed */
    if (beyond_last(c, *seq)) return true;
    const struct slot *s = slot_find(c, *seq);
    if (s == NULL) return false;
    if (header)
        return s->header.valid && pbft_digest_equal(&s->header.digest, &m->pre_prepare.digest);
    const struct pbft_votes *votes = m->type == PBFT_PREPARE ? &s->prepares : &s->commits;
    return own_vote_known(c, votes, &m->vote.digest);
}

enum pbft_verdict own_message(struct pbft_core *c, const struct pbft_msg *m)
{
    pbft_seq seq;
    if (c->mute || own_known(c, m, &seq)) return PBFT_DROP_DUPLICATE;
    c->mute = true;
    c->request_timer_ns = NEVER;
    c->view_timer_ns = NEVER;
    effect_add(c, PBFT_EFFECT_MUTED)->muted.seq = seq;
    return PBFT_DROP_MUTE;
}
