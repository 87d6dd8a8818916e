/* The core's memory, its dispatch and its clock. What a message means is in the other files. */
#include "pbft/core_internal.h"

#include <string.h>

/* STATUS goes out ten times in a base time-out while anything is unsettled, so that a lost message
 * is repaired long before it could cost a view (FAULTS 4.22), and rarely when idle. */
#define STATUS_PER_TIMEOUT 10u
#define STATUS_IDLE_FACTOR 10u
/* Time-outs more than its own that a request is given where others are ahead. */
#define EXCUSES 2u

/* ---- layout ---- */

struct carve {
    uint8_t *base; /* NULL: only measure */
    size_t used;
};

static void *take(struct carve *at, size_t count, size_t size)
{
    at->used = (at->used + 15u) & ~(size_t)15u;
    void *here = at->base == NULL ? NULL : at->base + at->used;
    at->used += count * size;
    return here;
}

static void carve_votes(struct carve *at, struct pbft_votes *v, uint32_t n)
{
    struct pbft_vote_entry *by = take(at, n, sizeof *by);
    if (v != NULL) v->by = by;
}

static void carve_slots(struct carve *at, struct pbft_core *c)
{
    c->slots = take(at, c->slot_count, sizeof *c->slots);
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = at->base == NULL ? NULL : &c->slots[i];
        carve_votes(at, s == NULL ? NULL : &s->prepares, c->n);
        carve_votes(at, s == NULL ? NULL : &s->commits, c->n);
        uint8_t *prepares = take(at, c->q - 1, PBFT_SIGNATURE_BYTES);
        uint8_t *commits = take(at, c->q, PBFT_SIGNATURE_BYTES);
        if (s == NULL) continue;
        s->prepared.signatures = prepares;
        s->decided.signatures = commits;
    }
    c->checkpoints = take(at, c->checkpoint_count, sizeof *c->checkpoints);
    for (uint32_t i = 0; i < c->checkpoint_count; i++)
        carve_votes(at, at->base == NULL ? NULL : &c->checkpoints[i].votes, c->n);
}

static struct view_change *carve_view_changes(struct carve *at, struct pbft_core *c)
{
    struct view_change *vcs = take(at, c->n, sizeof *vcs);
    for (uint32_t i = 0; i < c->n; i++) {
        struct pbft_prepared_summary *prepared = take(at, c->p.window, sizeof *prepared);
        if (at->base != NULL) vcs[i].prepared = prepared;
    }
    return vcs;
}

static void carve_senders(struct carve *at, struct pbft_core *c)
{
    c->vcs = carve_view_changes(at, c);
    c->new_views = take(at, c->n, sizeof *c->new_views);
    c->future = take(at, c->n, sizeof *c->future);
    c->peers = take(at, c->n, sizeof *c->peers);
    for (uint32_t i = 0; i < c->n; i++) {
        struct view_change *vcs = carve_view_changes(at, c);
        struct pbft_digest *digests = take(at, c->n, sizeof *digests);
        struct future_vote *votes = take(at, 2u * (size_t)c->p.window, sizeof *votes);
        struct future_proposal *proposals = take(at, c->p.pipeline_depth, sizeof *proposals);
        if (at->base == NULL) continue;
        c->new_views[i].vcs = vcs;
        c->new_views[i].vc_digests = digests;
        c->future[i].votes = votes;
        c->future[i].proposals = proposals;
    }
}

static size_t carve_all(struct carve *at, const struct pbft_core_config *config,
                        struct pbft_core *measure)
{
    struct pbft_core *c = take(at, 1, sizeof *c);
    if (at->base == NULL) c = measure;
    memset(c, 0, sizeof *c);
    c->config = *config;
    c->p = config->params;
    c->id = config->id;
    c->n = c->p.n;
    c->f = pbft_quorum_faults(c->n);
    c->q = pbft_quorum(c->n);
    uint64_t least = 3u * ((uint64_t)c->p.batch_max_bytes + BODY_FRAME_BYTES);
    c->body_max_bytes = config->body_max_bytes;
    if (c->body_max_bytes != 0 && c->body_max_bytes < least) c->body_max_bytes = least;
    c->archive = 2u * c->p.checkpoint_interval;
    c->slot_count = c->p.window + c->archive;
    c->checkpoint_count = c->p.window / c->p.checkpoint_interval + 1u;
    carve_slots(at, c);
    carve_senders(at, c);
    uint32_t capacity = pbft_pending_capacity(&c->p, config->client_count);
    uint32_t clients = config->client_count == 0 ? 1 : config->client_count;
    c->pending.requests = take(at, capacity, sizeof *c->pending.requests);
    c->pending.buckets = take(at, pbft_pending_buckets(capacity), sizeof *c->pending.buckets);
    c->pending.clients = take(at, clients, sizeof *c->pending.clients);
    c->pending.rooms = take(at, (size_t)clients * c->n, sizeof *c->pending.rooms);
    c->stable_signatures = take(at, c->q, PBFT_SIGNATURE_BYTES);
    c->scratch_prepared = take(at, c->p.window, sizeof *c->scratch_prepared);
    c->scratch_summaries = take(at, c->p.window, sizeof *c->scratch_summaries);
    c->scratch_digests = take(at, c->p.window, sizeof *c->scratch_digests);
    c->scratch_leaves = take(at, c->p.batch_max_requests, PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES);
    c->scratch_taken = take(at, c->p.batch_max_requests, sizeof *c->scratch_taken);
    c->scratch_vcs = take(at, c->n, sizeof *c->scratch_vcs);
    c->scratch_entries = take(at, c->p.window, PBFT_NEW_VIEW_ENTRY_BYTES);
    c->scratch_bitmaps = take(at, 3u, (c->slot_count + 7u) / 8u);
    return at->used;
}

size_t pbft_core_size(const struct pbft_core_config *config)
{
    if (pbft_params_check(&config->params) != NULL) return 0;
    struct pbft_core measure;
    struct carve at = {NULL, 0};
    return carve_all(&at, config, &measure);
}

struct pbft_core *pbft_core_init(void *memory, const struct pbft_core_config *config)
{
    PBFT_ASSERT(pbft_params_check(&config->params) == NULL);
    PBFT_ASSERT(config->id < config->params.n);
    PBFT_ASSERT(((uintptr_t)memory & 15u) == 0);
    memset(memory, 0, pbft_core_size(config));
    struct carve at = {memory, 0};
    carve_all(&at, config, NULL);
    struct pbft_core *c = memory;
    c->mute = config->mute;
    c->active = true;
    c->h = c->proposed = c->heard = c->own_checkpoint = config->genesis_seq;
    c->agreed = config->genesis_seq;
    c->next_seq = c->h + 1;
    c->stable_root = config->genesis_root;
    c->oldest_seen = PBFT_PENDING_NONE;
    forward_refill(c);
    c->view_timer_ns = c->request_timer_ns = c->lag_since_ns = NEVER;
    config->functions.digest_null(&c->null_digest);
    pbft_pending_init(&c->pending, &c->p, config->client_count, c->pending.requests,
                      c->pending.buckets, c->pending.clients, c->pending.rooms);
    return c;
}

void pbft_core_release(struct pbft_core *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++)
        slot_reset(c, &c->slots[i]);
    for (uint32_t i = 0; i < c->n; i++) {
        view_change_release(&c->vcs[i]);
        for (uint32_t k = 0; k < c->n; k++)
            view_change_release(&c->new_views[i].vcs[k]);
        pbft_frame_release(c->new_views[i].frame);
        c->new_views[i].frame = NULL;
    }
    future_release(c);
    pbft_pending_release(&c->pending);
    pbft_frame_release(c->new_view);
    pbft_frame_release(c->stable_certificate);
    c->new_view = c->stable_certificate = NULL;
}

/* ---- effects ---- */

size_t pbft_core_effects_capacity(const struct pbft_params *p)
{
    /* The busiest step installs a view over a full window: for each slot a PERSIST and a SEND of
     * a PREPARE and of a COMMIT, a FETCH and its end, an EXECUTE and a checkpoint. */
    return 16u * ((size_t)p->window + 2u * (size_t)p->checkpoint_interval) +
           8u * (size_t)p->n * p->n + 64u + FORWARDS_PER_STEP;
}

struct pbft_effect *effect_add(struct pbft_core *c, enum pbft_effect_kind kind)
{
    PBFT_ASSERT(c->out->count < c->out->capacity);
    struct pbft_effect *e = &c->out->items[c->out->count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    return e;
}

void send_frame(struct pbft_core *c, pbft_signers to, pbft_lsn needs_lsn, struct pbft_frame *frame)
{
    to &= everyone_else(c);
    if (to == 0 || frame == NULL) return;
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_SEND);
    e->send.to = to;
    e->send.needs_lsn = needs_lsn;
    e->send.frame = pbft_frame_retain(frame);
}

pbft_lsn persist(struct pbft_core *c, enum pbft_record_kind record, bool sync, struct pbft_frame *a,
                 struct pbft_frame *b)
{
    struct pbft_effect *e = effect_add(c, PBFT_EFFECT_PERSIST);
    e->persist.lsn = ++c->lsn;
    if (sync) c->synced_lsn = c->lsn;
    e->persist.record = record;
    e->persist.sync = sync;
    e->persist.frames[0] = pbft_frame_retain(a);
    e->persist.frames[1] = pbft_frame_retain(b);
    return c->lsn;
}

struct pbft_frame *make_frame(struct pbft_core *c, struct pbft_msg *msg, bool sign)
{
    msg->epoch = c->config.epoch;
    size_t size = pbft_wire_size(msg);
    PBFT_ASSERT(size > 0 && size <= PBFT_FRAME_MAX_BYTES);
    struct pbft_frame *frame = pbft_frame_new(c->config.pool, (uint32_t)size);
    if (frame == NULL) return NULL;
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    PBFT_ASSERT(frame->size == size);
    if (sign)
        c->config.functions.sign_frame(c->config.functions.context, frame->bytes, frame->size);
    return frame;
}

/* ---- small questions ---- */

pbft_signers everyone_else(const struct pbft_core *c)
{
    return pbft_everyone(c->n) & ~pbft_signers_of(c->id);
}

bool is_primary(const struct pbft_core *c)
{
    return pbft_primary(c->n, c->view) == c->id;
}

/* PROTOCOL 23: doubles for each fruitless view, up to a cap. */
uint64_t view_timeout(const struct pbft_core *c)
{
    uint64_t timeout = c->p.view_timeout_ns;
    for (uint32_t i = 0; i < c->backoff && timeout < c->p.view_timeout_max_ns; i++)
        timeout *= 2;
    return timeout < c->p.view_timeout_max_ns ? timeout : c->p.view_timeout_max_ns;
}

static bool unsettled(const struct pbft_core *c)
{
    return !c->active || c->pending.count > 0 || c->proposed > c->executed ||
           c->heard > c->committed || c->h > c->committed || c->transfer_seq != 0 || timed_due(c) ||
           c->executed >= c->h + c->p.checkpoint_interval;
}

uint64_t status_interval(const struct pbft_core *c)
{
    uint64_t interval = c->p.view_timeout_ns / STATUS_PER_TIMEOUT;
    return unsettled(c) ? interval : interval * STATUS_IDLE_FACTOR;
}

/* ---- time ---- */

uint64_t pbft_core_deadline(const struct pbft_core *c)
{
    uint64_t due = c->status_last_ns + status_interval(c);
    if (c->view_timer_ns < due) due = c->view_timer_ns;
    if (c->request_timer_ns < due) due = c->request_timer_ns;
    if (forward_unfinished(c)) due = c->now_ns;
    if (c->next_due_ns > c->wall_ns && c->next_due_ns - c->wall_ns < due - c->now_ns &&
        due > c->now_ns)
        due = c->now_ns + (c->next_due_ns - c->wall_ns);
    return due;
}

static bool somebody_left(const struct pbft_core *c)
{
    for (pbft_id id = 0; id < c->n; id++)
        if (c->vcs[id].frame != NULL && c->vcs[id].view > c->view) return true;
    return false;
}

/* A correct replica of this view, at least, has executed more than we can: whatever we wait for may
 * be done there, and we would leave a view in which the others stay (a restart under load: links
 * come back one by one). Those that are not behind do not wait longer, so f+1 of us leave in spite
 * of liars that claim to be ahead; and we wait EXCUSES time-outs longer, no more (PROTOCOL 21). */
static bool outrun(const struct pbft_core *c, uint64_t since_ns)
{
    uint32_t ahead = 0;
    for (pbft_id id = 0; id < c->n; id++) {
        const struct peer *peer = &c->peers[id];
        ahead += peer->counter != 0 && peer->heard_ns >= since_ns && peer->view == c->view &&
                 peer->executed > c->committed;
    }
    return ahead > c->f;
}

static void wait_again(struct pbft_core *c)
{
    c->request_timer_ns = c->now_ns + view_timeout(c);
}

static void on_request_timer(struct pbft_core *c)
{
    uint64_t since_ns = c->request_timer_ns - view_timeout(c);
    c->request_timer_ns = NEVER;
    /* PROTOCOL 21: the whole window is ordered and waits for a checkpoint, or the epoch for its
     * successor: no primary's fault. */
    if (c->committed + 1 > window_end(c)) {
        wait_again(c);
        return;
    }
    /* q replicas are ahead of us, so we can not tell what the primary does; if it does nothing, f+1
     * others will leave and we join them (FAULTS 3.22, 4.17). */
    if (c->committed < c->h || c->transfer_seq != 0) {
        wait_again(c);
        return;
    }
    /* A primary that left by itself would only end its own view, in which the others go on waiting,
     * under load when nobody blames it. Where somebody does, they may lack just its voice. */
    if (is_primary(c) && !somebody_left(c)) {
        wait_again(c);
        return;
    }
    if (c->excuses < EXCUSES && outrun(c, since_ns)) {
        c->excuses++;
        wait_again(c);
        return;
    }
    start_view_change(c, c->view + 1);
}

static enum pbft_verdict on_tick(struct pbft_core *c)
{
    /* Anything that a pool without budget held up is tried again here. */
    for (pbft_seq seq = c->h + 1; seq <= window_end(c); seq++) {
        struct slot *s = slot_find(c, seq);
        if (s == NULL) continue;
        if (s->held.frame != NULL) recheck_held(c, s);
        if (!s->decided.valid || seq > c->committed) slot_advance(c, s);
    }
    request_timer_update(c, false);
    if (c->request_timer_ns <= c->now_ns) on_request_timer(c);
    if (!c->active && c->view_timer_ns <= c->now_ns) {
        c->view_timer_ns = NEVER;
        start_view_change(c, c->view + 1);
    }
    if (!c->active) try_new_view(c);
    join_others(c);
    lag_check(c);
    forward_waiting(c);
    propose_ready(c);
    if (c->now_ns - c->status_last_ns >= status_interval(c)) {
        forward_refill(c);
        /* What was there at the last STATUS and still is may not have reached the primary. */
        if (c->pending.oldest != PBFT_PENDING_NONE && c->oldest_seen == c->pending.oldest)
            forward_oldest(c);
        c->oldest_seen = c->pending.oldest;
        send_status(c, everyone_else(c));
        if (somebody_left(c)) hurry_own(c);
        c->status_last_ns = c->now_ns;
        forward_waiting(c);
    }
    return PBFT_OK;
}

/* ---- dispatch ---- */

static enum pbft_verdict on_message(struct pbft_core *c, const struct pbft_event *event)
{
    const struct pbft_msg *m = event->message.msg;
    if (event->message.from >= c->n) return PBFT_DROP_SENDER;
    switch ((enum pbft_type)m->type) {
    case PBFT_PRE_PREPARE: return on_pre_prepare(c, event);
    case PBFT_PREPARE:
    case PBFT_COMMIT: return on_vote(c, event);
    case PBFT_CHECKPOINT: return on_checkpoint(c, event);
    case PBFT_VIEW_CHANGE: return on_view_change(c, event);
    case PBFT_NEW_VIEW: return on_new_view(c, event);
    case PBFT_STATUS_MSG: return on_status(c, event);
    case PBFT_BATCH: return on_batch(c, event);
    case PBFT_HEADER: return on_header(c, event);
    case PBFT_CERTIFICATE:
        return m->certificate.kind == PBFT_CERT_COMMIT ? on_commit_certificate(c, event)
                                                       : on_checkpoint_certificate(c, event);
    case PBFT_REQUEST:
    case PBFT_FETCH:
    case PBFT_PAGE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break; /* the node's or the client's, never the core's */
    }
    return PBFT_DROP_TYPE;
}

enum pbft_verdict pbft_step(struct pbft_core *c, const struct pbft_event *event,
                            struct pbft_effects *effects)
{
    PBFT_ASSERT(event->now_ns >= c->now_ns);
    PBFT_ASSERT(effects->capacity >= pbft_core_effects_capacity(&c->p));
    effects->count = 0;
    c->out = effects;
    c->forwards_left = FORWARDS_PER_STEP;
    c->now_ns = event->now_ns;
    c->wall_ns = event->wall_ns;
    enum pbft_verdict verdict = PBFT_DROP_TYPE;
    switch (event->kind) {
    case PBFT_EVENT_MESSAGE: verdict = on_message(c, event); break;
    case PBFT_EVENT_REQUEST: verdict = on_request(c, event); break;
    case PBFT_EVENT_REQUEST_OVER: verdict = on_request_over(c, event); break;
    case PBFT_EVENT_EXECUTED: verdict = on_executed(c, event); break;
    case PBFT_EVENT_CHECKPOINT_READY: verdict = on_checkpoint_ready(c, event); break;
    case PBFT_EVENT_STATE_READY: verdict = on_state_ready(c, event); break;
    case PBFT_EVENT_PEER_UP: verdict = on_peer_up(c, event); break;
    case PBFT_EVENT_RESTORED: verdict = on_restored(c, event); break;
    case PBFT_EVENT_TICK: verdict = on_tick(c); break;
    }
    c->out = NULL;
    return verdict;
}

/* f of them may say anything: what f+1 have reached, one correct replica has. */
static pbft_seq others_executed(const struct pbft_core *c, pbft_signers heard)
{
    pbft_seq best = 0;
    for (pbft_signers rest = heard; rest != 0; rest &= rest - 1) {
        pbft_seq seq = c->peers[__builtin_ctzll(rest)].executed;
        if (seq <= best) continue;
        uint32_t reached = 0;
        for (pbft_signers all = heard; all != 0; all &= all - 1)
            reached += c->peers[__builtin_ctzll(all)].executed >= seq;
        if (reached > c->f) best = seq;
    }
    return best;
}

void pbft_core_info(const struct pbft_core *c, struct pbft_core_info *out)
{
    memset(out, 0, sizeof *out);
    out->view = c->view;
    out->view_active = c->active;
    out->mute = c->mute;
    out->transferring = c->transfer_seq != 0;
    out->primary = pbft_primary(c->n, c->view);
    out->stable = c->h;
    out->stable_root = c->stable_root;
    out->executed = c->executed;
    out->committed = c->committed;
    out->last = c->last;
    out->own_checkpoint = c->own_checkpoint;
    out->proposed = c->proposed;
    out->pending = c->pending.count;
    out->view_timeout_ns = view_timeout(c);
    out->view_changes = c->view_changes_sent;
    out->new_views = c->views_installed;
    for (pbft_id id = 0; id < c->n; id++)
        if (c->peers[id].heard) out->heard |= pbft_signers_of(id);
    out->others_executed = others_executed(c, out->heard);
    for (unsigned type = 0; type <= PBFT_NEW_VIEW; type++)
        out->accused |= c->evidence_given[type];
    out->retransmissions = c->retransmissions;
}

void pbft_core_stable_proof(const struct pbft_core *c, struct pbft_signatures *out)
{
    *out = (struct pbft_signatures){c->stable_signers, c->stable_signatures};
}

bool pbft_core_oldest_request(const struct pbft_core *c, uint32_t *client_index, uint64_t *session,
                              uint64_t *t)
{
    if (c->pending.oldest == PBFT_PENDING_NONE) return false;
    const struct pbft_pending_request *r = &c->pending.requests[c->pending.oldest];
    *client_index = r->client;
    *session = r->session;
    *t = r->t;
    return true;
}

enum pbft_phase pbft_core_phase(const struct pbft_core *c, pbft_seq seq, pbft_view *view,
                                struct pbft_digest *digest)
{
    const struct slot *s = slot_find(c, seq);
    if (s == NULL) return PBFT_PHASE_NONE;
    if (s->decided.valid) {
        *view = s->decided.view;
        *digest = s->decided.digest;
        return PBFT_PHASE_COMMITTED;
    }
    if (!s->header.valid) return PBFT_PHASE_NONE;
    *view = s->header.view;
    *digest = s->header.digest;
    return s->prepared_now ? PBFT_PHASE_PREPARED : PBFT_PHASE_PRE_PREPARED;
}
