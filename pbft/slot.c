/* One sequence number: from PRE-PREPARE to EXECUTE (OSDI'99 §4.2). */
#include "pbft/core_internal.h"

#include <string.h>

/* ---- where slots live: a ring over (h-archive, h+L] ---- */

bool beyond_last(const struct pbft_core *c, pbft_seq seq)
{
    return c->last != 0 && seq > c->last;
}

pbft_seq window_end(const struct pbft_core *c)
{
    pbft_seq end = c->h + c->p.window;
    return beyond_last(c, end) ? c->last : end;
}

bool in_window(const struct pbft_core *c, pbft_seq seq)
{
    return seq > c->h && seq <= window_end(c);
}

/* An operation that ends the epoch does so a window behind itself: up to executed + L none that we
 * do not know of matters. Beyond, one of the q whose CHECKPOINT let the number into the window has
 * to know it (epoch_ends()), also after its disk has lost the state. */
bool may_vote(const struct pbft_core *c, pbft_seq seq)
{
    return c->executed >= c->relearn || seq <= c->executed + c->p.window;
}

bool in_slots(const struct pbft_core *c, pbft_seq seq)
{
    pbft_seq low =
        c->h - c->config.genesis_seq > c->archive ? c->h - c->archive : c->config.genesis_seq;
    return seq > low && (seq <= c->h || in_window(c, seq));
}

struct slot *slot_find(const struct pbft_core *c, pbft_seq seq)
{
    if (seq == 0 || !in_slots(c, seq)) return NULL;
    struct slot *s = &c->slots[seq % c->slot_count];
    return s->seq == seq ? s : NULL;
}

struct slot *slot_at(struct pbft_core *c, pbft_seq seq)
{
    PBFT_ASSERT(in_slots(c, seq));
    struct slot *s = &c->slots[seq % c->slot_count];
    if (s->seq != seq) {
        slot_reset(c, s);
        s->seq = seq;
    }
    return s;
}

static void drop_frame(struct pbft_frame **frame)
{
    pbft_frame_release(*frame);
    *frame = NULL;
}

void slot_forget_view(struct pbft_core *c, struct slot *s)
{
    s->header.valid = false;
    drop_frame(&s->pre_prepare);
    drop_frame(&s->held.frame);
    drop_frame(&s->own_prepare);
    drop_frame(&s->own_commit);
    pbft_votes_clear(&s->prepares);
    pbft_votes_clear(&s->commits);
    s->prepared_now = false;
    s->header_asked = false;
    slot_stop_header_fetch(c, s);
    slot_stop_fetch(c, s);
}

void slot_reset(struct pbft_core *c, struct slot *s)
{
    if (s->seq == 0) return;
    slot_forget_view(c, s);
    for (uint32_t i = 0; i < SLOT_BODIES; i++) {
        if (s->bodies[i].used) drop_frame(&s->bodies[i].frame);
        s->bodies[i].used = false;
    }
    s->prepared.valid = false;
    s->decided.valid = false;
    s->own_commit_lsn = 0;
    s->seq = 0;
}

/* ---- bodies ---- */

const struct body *slot_body(const struct slot *s, const struct pbft_digest *digest)
{
    for (uint32_t i = 0; i < SLOT_BODIES; i++)
        if (s->bodies[i].used && pbft_digest_equal(&s->bodies[i].digest, digest))
            return &s->bodies[i];
    return NULL;
}

bool slot_has_body(const struct pbft_core *c, const struct slot *s,
                   const struct pbft_digest *digest)
{
    return pbft_digest_equal(digest, &c->null_digest) || slot_body(s, digest) != NULL;
}

static bool body_needed(const struct slot *s, const struct body *b)
{
    return (s->header.valid && pbft_digest_equal(&s->header.digest, &b->digest)) ||
           (s->prepared.valid && pbft_digest_equal(&s->prepared.digest, &b->digest)) ||
           (s->decided.valid && pbft_digest_equal(&s->decided.digest, &b->digest));
}

void slot_put_body(struct slot *s, const struct pbft_digest *digest, struct pbft_frame *frame,
                   struct pbft_span proposal)
{
    if (slot_body(s, digest) != NULL) return;
    struct body *place = NULL;
    for (uint32_t i = 0; i < SLOT_BODIES && place == NULL; i++)
        if (!s->bodies[i].used || !body_needed(s, &s->bodies[i])) place = &s->bodies[i];
    /* At most three digests are needed at a time; the caller has made `digest` one of them or
     * brings one that may be dropped again. */
    if (place == NULL) return;
    if (place->used) drop_frame(&place->frame);
    place->used = true;
    place->digest = *digest;
    place->frame = pbft_frame_retain(frame);
    place->proposal = proposal;
}

/* ---- how much bodies may take (FAULTS 3.18) ---- */

static uint64_t slot_bytes(const struct slot *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < SLOT_BODIES; i++)
        if (s->bodies[i].used) bytes += s->bodies[i].frame->size;
    return bytes;
}

/* What arrives is added where it is accepted; only when that seems too much it is counted anew. */
static bool bytes_within(struct pbft_core *c, uint64_t size, uint64_t limit)
{
    if (size <= limit && c->body_bytes <= limit - size) return true;
    c->body_bytes = 0;
    for (uint32_t i = 0; i < c->slot_count; i++)
        if (c->slots[i].seq > c->h) c->body_bytes += slot_bytes(&c->slots[i]);
    return size <= limit && c->body_bytes <= limit - size;
}

bool body_fits(struct pbft_core *c, pbft_seq seq, size_t size)
{
    if (c->body_max_bytes == 0 || size <= BODY_FRAME_BYTES) return true;
    /* The one that is executed next may free others. */
    uint64_t limit =
        seq == c->committed + 1 ? c->body_max_bytes : c->body_max_bytes - c->body_max_bytes / 3;
    return bytes_within(c, size, limit);
}

size_t body_room(struct pbft_core *c)
{
    uint64_t share = c->body_max_bytes / 3;
    if (share == 0 || bytes_within(c, c->p.batch_max_bytes, share)) return c->p.batch_max_bytes;
    return c->body_bytes < share ? (size_t)(share - c->body_bytes) : 0;
}

void bodies_sweep(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = &c->slots[i];
        for (uint32_t k = 0; s->seq != 0 && k < SLOT_BODIES; k++) {
            if (!s->bodies[k].used || body_needed(s, &s->bodies[k])) continue;
            s->bodies[k].used = false;
            drop_frame(&s->bodies[k].frame);
        }
    }
}

/* Newest first; whoever needs an older one is below our h and can fetch the state. */
void bodies_archive(struct pbft_core *c, pbft_seq seq)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; c->body_max_bytes != 0 && i < c->archive && seq > 0; i++, seq--) {
        struct slot *s = slot_find(c, seq);
        if (s == NULL) continue;
        bytes += slot_bytes(s);
        if (bytes > c->body_max_bytes / 3) slot_reset(c, s);
    }
}

void slot_want_body(struct pbft_core *c, struct slot *s, const struct pbft_digest *digest,
                    pbft_signers hint)
{
    if (slot_has_body(c, s, digest)) return;
    if (s->fetching && pbft_digest_equal(&s->fetch_digest, digest)) return;
    slot_stop_fetch(c, s);
    s->fetching = true;
    s->fetch_digest = *digest;
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH);
    e->fetch.what.kind = PBFT_FETCH_BATCH;
    e->fetch.what.digest = *digest;
    e->fetch.what.seq = s->seq;
    e->fetch.hint = hint & everyone_else(c);
}

void slot_stop_fetch(struct pbft_core *c, struct slot *s)
{
    if (!s->fetching) return;
    s->fetching = false;
    if (c->out == NULL) return; /* being released outside a step */
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH_STOP);
    e->fetch.what.kind = PBFT_FETCH_BATCH;
    e->fetch.what.digest = s->fetch_digest;
    e->fetch.what.seq = s->seq;
}

void slot_stop_header_fetch(struct pbft_core *c, struct slot *s)
{
    if (!s->header_fetching) return;
    s->header_fetching = false;
    if (c->out == NULL) return;
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_FETCH_STOP);
    e->fetch.what.kind = PBFT_FETCH_HEADER;
    e->fetch.what.view = s->header.view; /* `c->view` may be the next one already */
    e->fetch.what.seq = s->seq;
}

/* ---- phases ---- */

/* Prepared: proposal + PRE-PREPARE + q-1 PREPAREs of distinct backups (PROTOCOL 14, FAULTS 4.2). */
static void advance_prepared(struct pbft_core *c, struct slot *s)
{
    if (s->prepared_now || !s->header.valid || !slot_has_body(c, s, &s->header.digest)) return;
    pbft_signers backups = pbft_votes_for(&s->prepares, &s->header.digest) &
                           ~pbft_signers_of(pbft_primary(c->n, s->header.view));
    if (pbft_signers_count(backups) < c->q - 1) return;
    s->prepared_now = true;
    s->prepared.valid = true;
    s->prepared.view = s->header.view;
    s->prepared.digest = s->header.digest;
    s->prepared.pre_prepare = s->header.signature;
    s->prepared.signers =
        pbft_votes_collect(&s->prepares, backups, c->q - 1, s->prepared.signatures);
}

/* The prepared certificate as bytes for the log: a VIEW-CHANGE that holds just this P entry. */
static struct pbft_frame *prepared_record(struct pbft_core *c, const struct slot *s)
{
    struct pbft_prepared entry = {.seq = s->seq,
                                  .view = s->prepared.view,
                                  .digest = s->prepared.digest,
                                  .pre_prepare_signature = s->prepared.pre_prepare.bytes,
                                  .prepares = {s->prepared.signers, s->prepared.signatures}};
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE};
    m.view_change.view = s->prepared.view;
    m.view_change.sender = c->id;
    m.view_change.prepared_count = 1;
    m.view_change.prepared = &entry;
    return make_frame(c, &m, false);
}

static void send_commit(struct pbft_core *c, struct slot *s)
{
    if (!s->prepared_now || s->own_commit != NULL || c->mute || !c->active) return;
    if (!stable_logged(c)) return;
    struct pbft_msg m = {.type = PBFT_COMMIT};
    m.vote.view = s->header.view;
    m.vote.seq = s->seq;
    m.vote.digest = s->header.digest;
    m.vote.sender = c->id;
    struct pbft_frame *commit = make_frame(c, &m, true);
    struct pbft_frame *record = prepared_record(c, s);
    if (commit == NULL || record == NULL) { /* no budget: on_tick() comes back */
        pbft_frame_release(commit);
        pbft_frame_release(record);
        return;
    }
    s->own_commit = commit;
    s->own_commit_lsn = persist(c, PBFT_RECORD_PREPARED, true, record, commit);
    pbft_frame_release(record);
    send_frame(c, everyone_else(c), s->own_commit_lsn, commit);
    pbft_votes_add(&s->commits, c->id, &s->header.digest,
                   commit->bytes + commit->size - PBFT_SIGNATURE_BYTES);
}

/* Log what was decided; synced only when no COMMIT of our own stands for it (PROTOCOL 15, 25). */
static void decide(struct pbft_core *c, struct slot *s, const struct pbft_digest *digest)
{
    bool own = s->own_commit != NULL && pbft_digest_equal(&s->header.digest, digest);
    /* A primary that took it over from a NEW-VIEW has logged no proposal for it. */
    bool logged = own && (s->own_prepare != NULL || s->pre_prepare != NULL);
    struct pbft_frame *record =
        certificate_frame(c, PBFT_CERT_COMMIT, s->decided.view, s->seq, digest, s->decided.signers,
                          s->decided.signatures, logged ? NULL : slot_body(s, digest));
    if (record == NULL) return;
    pbft_lsn lsn = persist(c, PBFT_RECORD_COMMITTED, !own, record, NULL);
    pbft_frame_release(record);
    s->decided.lsn = own ? s->own_commit_lsn : lsn;
    s->decided.digest = *digest;
    s->decided.valid = true;
    slot_stop_fetch(c, s);
    execute_ready(c);
}

/* Committed-local (PROTOCOL 14). q COMMITs that are complete without our own are a commit
 * certificate by themselves (PROTOCOL 15): a replica whom the primary passed over, or told
 * something else, needs no view change to follow. */
static void advance_committed(struct pbft_core *c, struct slot *s)
{
    if (s->decided.valid) return;
    if (pbft_signers_count(s->commits.have) < c->q) return;
    for (pbft_signers rest = s->commits.have; rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        const struct pbft_digest *digest = &s->commits.by[id].digest;
        pbft_signers matching = pbft_votes_for(&s->commits, digest);
        if (pbft_signers_count(matching) < c->q) continue;
        if (!slot_has_body(c, s, digest)) {
            slot_want_body(c, s, digest, matching);
            return;
        }
        s->decided.view = c->view;
        s->decided.signers = pbft_votes_collect(&s->commits, matching, c->q, s->decided.signatures);
        struct pbft_digest decided = *digest;
        decide(c, s, &decided);
        return;
    }
}

void decide_certified(struct pbft_core *c, struct slot *s, const struct pbft_certificate *m)
{
    s->decided.view = m->view;
    s->decided.signers = m->signatures.signers;
    memcpy(s->decided.signatures, m->signatures.bytes, (size_t)c->q * PBFT_SIGNATURE_BYTES);
    decide(c, s, &m->digest);
}

void slot_advance(struct pbft_core *c, struct slot *s)
{
    if (!c->active) return; /* FAULTS 4.18: nothing of the old view is counted */
    if (s->header.valid && s->own_prepare == NULL) send_prepare(c, s);
    if (may_vote(c, s->seq)) advance_prepared(c, s); /* no COMMIT without a PREPARE */
    send_commit(c, s);
    advance_committed(c, s);
}

/* ---- execution in order, without gaps (FAULTS 2.2, 3.3) ---- */

void execute_ready(struct pbft_core *c)
{
    while (c->transfer_seq == 0) {
        struct slot *s = slot_find(c, c->committed + 1);
        if (s == NULL || !s->decided.valid) break;
        const struct body *body = slot_body(s, &s->decided.digest);
        if (body == NULL && !pbft_digest_equal(&s->decided.digest, &c->null_digest)) break;
        c->committed++;
        struct pbft_effect *e = effect_add(c, PBFT_EFFECT_EXECUTE);
        e->execute.seq = c->committed;
        e->execute.view = s->decided.view;
        e->execute.digest = s->decided.digest;
        e->execute.needs_lsn = s->decided.lsn;
        if (body != NULL) {
            e->execute.frame = pbft_frame_retain(body->frame);
            e->execute.proposal = body->proposal;
        }
        if (c->committed % c->p.checkpoint_interval == 0)
            effect_add(c, PBFT_EFFECT_TAKE_CHECKPOINT)->take_checkpoint.seq = c->committed;
    }
}
