/* Messages of the view that comes next: authenticated, bounded by sender, replayed when it is
 * installed (PROTOCOL 16, FAULTS 2.28, 4.22). What does not fit, STATUS brings again. */
#include "pbft/core_internal.h"

#include <string.h>

bool future_view(const struct pbft_core *c, pbft_view view)
{
    return (view == c->view && !c->active) || (c->view < UINT64_MAX && view == c->view + 1);
}

bool future_room(const struct pbft_core *c, pbft_id sender, pbft_view view, pbft_seq seq,
                 uint8_t type)
{
    if (!in_window(c, seq)) return false;
    const struct future *f = &c->future[sender];
    if (type == PBFT_PRE_PREPARE) return f->proposal_count < c->p.pipeline_depth;
    if (f->vote_count >= 2u * c->p.window) return false;
    for (uint32_t i = 0; i < f->vote_count; i++)
        if (f->votes[i].type == type && f->votes[i].view == view && f->votes[i].seq == seq)
            return false;
    return true;
}

enum pbft_verdict future_vote(struct pbft_core *c, const struct pbft_msg *m)
{
    const struct pbft_vote *v = &m->vote;
    if (!in_window(c, v->seq)) return PBFT_DROP_WINDOW;
    if (!future_room(c, v->sender, v->view, v->seq, m->type)) return PBFT_DROP_QUOTA;
    struct future *f = &c->future[v->sender];
    struct future_vote *kept = &f->votes[f->vote_count++];
    kept->type = m->type;
    kept->view = v->view;
    kept->seq = v->seq;
    kept->digest = v->digest;
    memcpy(kept->signature.bytes, v->signature, PBFT_SIGNATURE_BYTES);
    return PBFT_OK;
}

enum pbft_verdict future_proposal(struct pbft_core *c, const struct pbft_msg *m,
                                  struct pbft_frame *frame)
{
    const struct pbft_pre_prepare *v = &m->pre_prepare;
    pbft_id sender = pbft_primary(c->n, v->view);
    if (!in_window(c, v->seq)) return PBFT_DROP_WINDOW;
    if (!future_room(c, sender, v->view, v->seq, PBFT_PRE_PREPARE)) return PBFT_DROP_QUOTA;
    struct future *f = &c->future[sender];
    uint64_t bytes = frame->size;
    for (uint32_t i = 0; i < f->proposal_count; i++) {
        if (f->proposals[i].view == v->view && f->proposals[i].seq == v->seq &&
            pbft_digest_equal(&f->proposals[i].digest, &v->digest))
            return PBFT_DROP_DUPLICATE;
        bytes += f->proposals[i].frame->size;
    }
    if (c->body_max_bytes != 0 && bytes > c->body_max_bytes / 3) return PBFT_DROP_QUOTA;
    struct future_proposal *kept = &f->proposals[f->proposal_count++];
    kept->frame = pbft_frame_retain(frame);
    kept->view = v->view;
    kept->seq = v->seq;
    kept->digest = v->digest;
    memcpy(kept->signature.bytes, v->signature, PBFT_SIGNATURE_BYTES);
    kept->time_ns = v->proposal.time_ns;
    kept->proposal = v->proposal.bytes;
    return PBFT_OK;
}

static void replay_proposals(struct pbft_core *c, struct future *f)
{
    uint32_t count = f->proposal_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct future_proposal p = f->proposals[i];
        if (p.view > c->view && future_view(c, p.view)) {
            f->proposals[kept++] = p;
            continue;
        }
        if (p.view == c->view && in_window(c, p.seq))
            try_pre_prepare(c, slot_at(c, p.seq), p.view, &p.digest, p.signature.bytes, p.time_ns,
                            p.frame, p.proposal);
        pbft_frame_release(p.frame);
    }
    f->proposal_count = kept;
}

static void replay_votes(struct pbft_core *c, struct future *f, pbft_id sender)
{
    uint32_t count = f->vote_count, kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct future_vote v = f->votes[i];
        if (v.view > c->view && future_view(c, v.view)) {
            f->votes[kept++] = v;
            continue;
        }
        if (v.view == c->view)
            accept_vote(c, v.type, v.view, v.seq, &v.digest, sender, v.signature.bytes);
    }
    f->vote_count = kept;
}

void future_replay(struct pbft_core *c)
{
    PBFT_ASSERT(c->active);
    for (pbft_id id = 0; id < c->n; id++)
        replay_proposals(c, &c->future[id]);
    for (pbft_id id = 0; id < c->n; id++)
        replay_votes(c, &c->future[id], id);
}

void future_release(struct pbft_core *c)
{
    for (pbft_id id = 0; id < c->n; id++) {
        for (uint32_t i = 0; i < c->future[id].proposal_count; i++)
            pbft_frame_release(c->future[id].proposals[i].frame);
        c->future[id].proposal_count = c->future[id].vote_count = 0;
    }
}
