/* tests/fuzz/core/world.c - what a node does for its core, and what may never happen (FAULTS 3). */
#include "tests/fuzz/core/world.h"

#include "pbft/pending.h"

struct world w;

/* ---- frames ---- */

struct pbft_frame *frame_alloc(struct pbft_frame_pool *pool, uint32_t capacity)
{
    if (w.refuse) return NULL;
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    REQUIRE(frame != NULL);
    frame->pool = pool;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    w.live++;
    return frame;
}

void frame_free(struct pbft_frame_pool *pool, struct pbft_frame *frame)
{
    (void)pool;
    w.live--;
    free(frame);
}

struct pbft_frame *frame_of(const struct pbft_msg *msg)
{
    bool refuse = w.refuse;
    w.refuse = false; /* the budget is the core's */
    size_t size = pbft_wire_size(msg);
    REQUIRE(size > 0);
    struct pbft_frame *frame = pbft_frame_new(&w.pool, (uint32_t)size);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    REQUIRE(frame->size == size);
    w.refuse = refuse;
    return frame;
}

struct pbft_frame *remember(struct pbft_frame *frame)
{
    size_t at = w.heard_count++ % (sizeof w.heard / sizeof w.heard[0]);
    pbft_frame_release(w.heard[at]);
    w.heard[at] = pbft_frame_retain(frame);
    return frame;
}

/* ---- who said what ---- */

static struct statement *said_slot(uint8_t type, pbft_id id, pbft_view view, pbft_seq seq)
{
    uint64_t h = (seq * 31 + view) * 31 + type * 7u + id;
    h ^= h >> 17;
    for (size_t i = (size_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 52);; i = (i + 1) % SAID_SLOTS) {
        struct statement *s = &w.said[i];
        if (s->type == 0 || (s->type == type && s->id == id && s->view == view && s->seq == seq))
            return s;
    }
}

static void say(uint8_t type, pbft_id id, pbft_view view, pbft_seq seq,
                const struct pbft_digest *digest)
{
    struct statement *s = said_slot(type, id, view, seq);
    if (s->type != 0) {
        REQUIRE(pbft_digest_equal(&s->digest, digest)); /* FAULTS 3.5: no equivocation */
        return;
    }
    REQUIRE(w.said_count < SAID_SLOTS / 2);
    w.said_used[w.said_count++] = (uint16_t)(s - w.said);
    *s = (struct statement){type, id, view, seq, *digest};
}

static bool may_sign(uint8_t type, pbft_id id, pbft_view view, pbft_seq seq,
                     const struct pbft_digest *digest)
{
    if (pbft_signers_has(w.traitors, id)) return true;
    const struct statement *s = said_slot(type, id, view, seq);
    return s->type != 0 && pbft_digest_equal(&s->digest, digest);
}

static void sign_with(pbft_id id, uint8_t type, struct pbft_span body, uint8_t *signature)
{
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &w.cluster.id, 0, body, bytes);
    pbft_signer_fast.sign(&w.keys[id].secret, (struct pbft_span){bytes, size}, signature);
}

/* What the adversary can make of it: a signature that it may make or has seen, or a wrong one. */
void sign_statement(uint8_t type, pbft_id id, pbft_view view, pbft_seq seq,
                    const struct pbft_digest *digest, uint8_t *signature)
{
    memset(signature, 0x77, PBFT_SIGNATURE_BYTES);
    if (!may_sign(type, id, view, seq, digest)) return;
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = type == PBFT_PRE_PREPARE  ? pbft_wire_pre_prepare_body(view, seq, digest, body)
                  : type == PBFT_CHECKPOINT ? pbft_wire_checkpoint_body(seq, digest, id, body)
                                            : pbft_wire_vote_body(view, seq, digest, id, body);
    sign_with(id, type, (struct pbft_span){body, size}, signature);
}

void sign_set(uint8_t type, pbft_view view, pbft_seq seq, const struct pbft_digest *digest,
              pbft_signers signers, uint8_t *out)
{
    for (pbft_id id = 0; id < N; id++) {
        if (!pbft_signers_has(signers, id)) continue;
        sign_statement(type, id, view, seq, digest, out);
        out += PBFT_SIGNATURE_BYTES;
    }
}

/* ---- the cores' functions ---- */

void core_digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves)
{
    (void)context;
    pbft_digest_proposal(out, time_ns, count, leaves);
}

void core_sign_frame(void *context, uint8_t *frame, size_t size)
{
    const struct node *node = context;
    pbft_frame_sign(&w.cluster, &pbft_signer_fast, &w.keys[node->id].secret, frame, size);
}

void core_sign_body(void *context, uint8_t type, struct pbft_span body, uint8_t *signature)
{
    sign_with(((const struct node *)context)->id, type, body, signature);
}

bool wants(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim)
{
    return w.no_wants || pbft_core_wants(((const struct node *)context)->core, from->index, claim);
}

/* ---- effects ---- */

bool decode(const struct pbft_frame *frame, struct pbft_msg *msg)
{
    _Alignas(16) static uint8_t memory[8192];
    struct pbft_arena arena = {memory, sizeof memory, 0};
    return pbft_wire_decode(pbft_frame_span(frame), &w.config.params, &arena, msg) == PBFT_OK;
}

static void note_digest(const struct pbft_digest *digest)
{
    for (size_t i = 0; i < DIGESTS; i++)
        if (pbft_digest_equal(&w.digests[i], digest)) return;
    w.digests[w.digest_count++ % DIGESTS] = *digest;
}

void note_view_change(pbft_id sender, struct pbft_frame *frame)
{
    size_t at = w.vc_count[sender]++ % 4;
    pbft_frame_release(w.vcs[sender][at]);
    w.vcs[sender][at] = pbft_frame_retain(frame);
}

/* FAULTS 3.5: it says one thing, in its own name, and nothing of a view that it left. */
static void note_sent(struct node *node, struct pbft_frame *frame)
{
    struct pbft_msg m;
    REQUIRE(decode(frame, &m));
    bool current = true;
    switch ((enum pbft_type)m.type) {
    case PBFT_PRE_PREPARE:
        note_digest(&m.pre_prepare.digest);
        if (pbft_primary(N, m.pre_prepare.view) != node->id) break;
        current = m.pre_prepare.view >= node->left_view;
        say(PBFT_PRE_PREPARE, node->id, m.pre_prepare.view, m.pre_prepare.seq,
            &m.pre_prepare.digest);
        break;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        if (m.vote.sender != node->id) break; /* PROTOCOL 29: shown to its author */
        current = m.vote.view >= node->left_view;
        say(m.type, node->id, m.vote.view, m.vote.seq, &m.vote.digest);
        break;
    case PBFT_CHECKPOINT:
        if (m.checkpoint.sender == node->id)
            say(PBFT_CHECKPOINT, node->id, 0, m.checkpoint.seq, &m.checkpoint.root);
        break;
    case PBFT_VIEW_CHANGE: {
        if (m.view_change.sender != node->id) break;
        struct pbft_digest digest;
        pbft_digest_view_change(&digest, m.view_change.body);
        say(PBFT_VIEW_CHANGE, node->id, m.view_change.view, 0, &digest);
        if (m.view_change.view > node->left_view) node->left_view = m.view_change.view;
        note_view_change(node->id, frame);
        break;
    }
    case PBFT_NEW_VIEW: {
        if (m.new_view.sender != node->id) break;
        struct pbft_digest digest;
        pbft_digest_new_view(&digest, m.new_view.body);
        say(PBFT_NEW_VIEW, node->id, m.new_view.view, 0, &digest);
        for (uint32_t i = 0; i < m.new_view.count; i++) {
            memcpy(digest.bytes, m.new_view.entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, 32);
            say(PBFT_PRE_PREPARE, node->id, m.new_view.view, m.new_view.min_s + 1 + i, &digest);
        }
        break;
    }
    case PBFT_REQUEST:
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_HEADER:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    REQUIRE(current);
}

static void enqueue(pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    if (!w.nodes[to].real || from == to) return;
    if (w.queue_count == sizeof w.queue / sizeof w.queue[0]) return; /* lost, as on any network */
    w.queue[w.queue_count++] = (struct parcel){pbft_frame_retain(frame), from, to};
}

/* What it logs and what it sends holds before a verifier that shares no code with it: every
 * certificate of enough, distinct, true signatures (FAULTS 3.7). */
static void recheck(const char *what, bool ok, const char *why)
{
    if (ok) return;
    (void)fprintf(stderr, "recheck: %s: %s\n", what, why);
    FINDING("a core says what nobody should believe");
}

/* The VIEW-CHANGE of a sender with this digest, as far as it is remembered here. */
static struct pbft_frame *view_change_with(pbft_id sender, const uint8_t *digest)
{
    for (size_t i = 0; i < 4; i++) {
        struct pbft_frame *frame = w.vcs[sender][i];
        if (frame == NULL) continue;
        struct pbft_digest is;
        pbft_digest_view_change(&is, pbft_wire_signed_body(pbft_frame_span(frame)));
        if (memcmp(is.bytes, digest, sizeof is.bytes) == 0) return frame;
    }
    return NULL;
}

/* A view that is installed: O follows from the VIEW-CHANGEs that are named (FAULTS 3.10). */
static void check_installed(const struct pbft_frame *frame)
{
    struct pbft_msg m;
    struct pbft_span named[N];
    char why[RECHECK_WHY_BYTES];
    uint32_t count = 0;
    REQUIRE(decode(frame, &m));
    for (pbft_id id = 0; id < N; id++) {
        if (!pbft_signers_has(m.new_view.signers, id)) continue;
        struct pbft_frame *vc =
            view_change_with(id, m.new_view.vc_digests + (size_t)count * PBFT_DIGEST_BYTES);
        if (vc == NULL) return; /* forgotten here */
        named[count++] = pbft_frame_span(vc);
    }
    recheck("installed",
            recheck_new_view(&w.cluster, &pbft_signer_fast, pbft_frame_span(frame), named, count,
                             why),
            why);
}

static void do_persist(struct node *node, const struct pbft_effect *e)
{
    char why[RECHECK_WHY_BYTES];
    REQUIRE(e->persist.lsn == ++node->written && e->persist.frames[0] != NULL);
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_frame *frame = e->persist.frames[i];
        if (frame == NULL) continue;
        if (e->persist.record == PBFT_RECORD_NEW_VIEW) check_installed(frame);
        recheck("logged",
                recheck_record(&w.cluster, &pbft_signer_fast, (uint32_t)e->persist.record,
                               pbft_frame_span(frame), why),
                why);
        pbft_frame_release(frame);
    }
}

static void do_send(struct node *node, const struct pbft_effect *e)
{
    REQUIRE(e->send.to != 0 && !pbft_signers_has(e->send.to, node->id));
    REQUIRE((e->send.to & ~pbft_everyone(N)) == 0 && e->send.needs_lsn <= node->written);
    char why[RECHECK_WHY_BYTES];
    struct pbft_span frame = pbft_frame_span(e->send.frame);
    if (!left_to_the_core(&w.config.params, frame)) /* it may be one of the addressee's own */
        recheck("sent", recheck_frame(&w.cluster, &pbft_signer_fast, frame, why), why);
    note_sent(node, remember(e->send.frame));
    for (pbft_id id = 0; id < N; id++)
        if (pbft_signers_has(e->send.to, id)) enqueue(node->id, id, e->send.frame);
    pbft_frame_release(e->send.frame);
}

static struct job *add_job(struct node *node)
{
    REQUIRE(node->job_count < sizeof node->jobs / sizeof node->jobs[0]);
    struct job *job = &node->jobs[node->job_count++];
    memset(job, 0, sizeof *job);
    return job;
}

static void do_execute(struct node *node, const struct pbft_effect *e)
{
    pbft_seq seq = e->execute.seq;
    REQUIRE(seq == node->last_execute + 1); /* FAULTS 3.3 */
    REQUIRE(e->execute.needs_lsn <= node->written);
    bool null = pbft_digest_equal(&e->execute.digest, &w.null_digest);
    REQUIRE((e->execute.frame == NULL) == null);
    if (w.trio) {
        REQUIRE(seq < ORDERED_MAX);
        if (w.ordered_known[seq]) /* FAULTS 3.1 */
            REQUIRE(pbft_digest_equal(&w.ordered[seq], &e->execute.digest));
        w.ordered[seq] = e->execute.digest;
        w.ordered_known[seq] = true;
    }
    node->last_execute = seq;
    *add_job(node) =
        (struct job){seq, e->execute.frame, e->execute.proposal, e->execute.digest, false};
}

static bool fetch_equal(const struct pbft_fetch *a, const struct pbft_fetch *b)
{
    return a->kind == b->kind && a->view == b->view && a->seq == b->seq &&
           pbft_digest_equal(&a->digest, &b->digest);
}

static void do_fetch(struct node *node, const struct pbft_effect *e, bool stop)
{
    for (size_t i = 0; i < 64; i++) {
        if (stop ? !node->fetching[i] || !fetch_equal(&node->fetches[i], &e->fetch.what)
                 : node->fetching[i])
            continue;
        node->fetches[i] = e->fetch.what;
        node->fetching[i] = !stop;
        return;
    }
    FINDING("too many fetches, or one stopped that never began");
}

void drop_jobs(struct node *node)
{
    for (size_t i = 0; i < node->job_count; i++)
        pbft_frame_release(node->jobs[i].frame);
    node->job_count = node->ready_count = 0;
}

static void do_evidence(const struct pbft_effect *e)
{
    REQUIRE(pbft_signers_has(w.traitors, e->evidence.culprit)); /* FAULTS 3.20 */
    char why[RECHECK_WHY_BYTES];
    struct pbft_span first = pbft_frame_span(e->evidence.frames[0]);
    struct pbft_span second = pbft_frame_span(e->evidence.frames[1]);
    if (!left_to_the_core(&w.config.params, first) &&
        !recheck_evidence(&w.cluster, &pbft_signer_fast, e->evidence.culprit, first, second, why)) {
        (void)fprintf(stderr, "recheck: %s\n", why);
        FINDING("evidence that proves nothing");
    }
    pbft_frame_release(e->evidence.frames[0]);
    pbft_frame_release(e->evidence.frames[1]);
}

static void check_root(const struct state *s)
{
    if (!w.trio) return;
    REQUIRE(s->seq < ORDERED_MAX);
    if (w.roots_known[s->seq]) REQUIRE(pbft_digest_equal(&w.roots[s->seq], &s->root));
}

static void carry_out(struct node *node)
{
    REQUIRE(w.effects.count <= w.effects.capacity);
    for (size_t i = 0; i < w.effects.count; i++) {
        const struct pbft_effect *e = &w.effects.items[i];
        switch (e->kind) {
        case PBFT_EFFECT_PERSIST: do_persist(node, e); break;
        case PBFT_EFFECT_SEND: do_send(node, e); break;
        case PBFT_EFFECT_EXECUTE: do_execute(node, e); break;
        case PBFT_EFFECT_TAKE_CHECKPOINT:
            REQUIRE(e->take_checkpoint.seq == node->last_execute);
            *add_job(node) = (struct job){.seq = e->take_checkpoint.seq, .checkpoint = true};
            break;
        case PBFT_EFFECT_STABLE:
            REQUIRE(e->stable.seq > node->info.stable); /* FAULTS 3.11; info is the last step's */
            check_root(&(struct state){e->stable.seq, e->stable.root});
            break;
        case PBFT_EFFECT_FETCH: do_fetch(node, e, false); break;
        case PBFT_EFFECT_FETCH_STOP: do_fetch(node, e, true); break;
        case PBFT_EFFECT_TRANSFER:
            drop_jobs(node);
            node->target = (struct state){e->transfer.seq, e->transfer.root};
            check_root(&node->target);
            break;
        case PBFT_EFFECT_EVIDENCE: do_evidence(e); break;
        case PBFT_EFFECT_VIEW: REQUIRE(e->view.view >= node->info.view); break; /* FAULTS 3.9 */
        case PBFT_EFFECT_MUTED: FINDING("muted by its own votes"); break;
        }
    }
    w.effects.count = 0;
}

/* ---- invariants ---- */

static void check_phases(struct node *node, const struct pbft_core_info *now)
{
    bool same_view = now->view == node->info.view && now->view_active && node->info.view_active;
    for (unsigned i = 0; i < WINDOW; i++) {
        pbft_seq seq = node->phase_low + 1 + i;
        if (seq <= now->stable) continue;
        pbft_view view = 0;
        struct pbft_digest digest;
        enum pbft_phase phase = pbft_core_phase(node->core, seq, &view, &digest), was;
        was = node->phases[i].phase;
        bool decided = was == PBFT_PHASE_COMMITTED;
        if (!decided && !same_view) continue;
        REQUIRE(phase >= was);
        if (decided || (was != PBFT_PHASE_NONE && phase != PBFT_PHASE_COMMITTED))
            REQUIRE(pbft_digest_equal(&digest, &node->phases[i].digest));
    }
    node->phase_low = now->stable;
    for (unsigned i = 0; i < WINDOW; i++)
        node->phases[i].phase = pbft_core_phase(node->core, node->phase_low + 1 + i,
                                                &node->phases[i].view, &node->phases[i].digest);
}

static void check_node(struct node *node)
{
    struct pbft_core_info now;
    pbft_core_info(node->core, &now);
    REQUIRE(now.executed <= now.committed || now.transferring);
    REQUIRE(now.committed <= now.stable + WINDOW && now.proposed <= now.stable + WINDOW);
    REQUIRE(now.view >= node->info.view && now.stable >= node->info.stable);
    REQUIRE(now.stable % INTERVAL == 0 && now.primary == pbft_primary(N, now.view));
    REQUIRE(now.pending <= pbft_pending_capacity(&w.config.params, CLIENTS) && !now.mute);
    REQUIRE((now.accused & ~w.traitors) == 0);
    check_phases(node, &now);
    node->info = now;
}

enum pbft_verdict step(struct node *node, struct pbft_event *event)
{
    event->now_ns = w.now_ns;
    event->wall_ns = WALL_BASE_NS + w.now_ns + w.wall_skew_ns;
    w.steps++;
    enum pbft_verdict verdict = pbft_step(node->core, event, &w.effects);
    carry_out(node);
    check_node(node);
    return verdict;
}

/* ---- arrivals and completions ---- */

void give_request(struct node *node, const struct pbft_request *r, struct pbft_frame *frame,
                  const struct pbft_peer *from)
{
    struct pbft_event event = {.kind = PBFT_EVENT_REQUEST};
    event.request.client_index = r->client_index;
    event.request.session = r->session;
    event.request.t = r->t;
    event.request.digest = r->digest;
    event.request.frame = frame;
    event.request.from_client = from->kind == PBFT_PEER_CLIENT;
    event.request.from = from->index; /* as the node does: each forwarder has its room */
    (void)step(node, &event);
}

void arrive(pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    struct node *node = &w.nodes[to];
    if (w.steps > STEPS_MAX || !node->real || from == to) return;
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg m;
    if (pbft_door_open(node->door, &peer, pbft_frame_span(frame), &m) != PBFT_OK) return;
    if (m.type == PBFT_REQUEST) {
        give_request(node, &m.request, frame, &peer);
    } else if (m.type == PBFT_FETCH) {
        struct pbft_frame *answer = pbft_core_serve(node->core, &m.fetch);
        if (answer == NULL) return;
        enqueue(to, from, remember(answer));
        pbft_frame_release(answer);
    } else {
        struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE};
        event.message.msg = &m;
        event.message.frame = frame;
        event.message.from = from;
        (void)step(node, &event);
    }
}

/* From the adversary: consumed, and kept for replays. */
void craft(pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    arrive(from, to, remember(frame));
    pbft_frame_release(frame);
}

struct parcel queue_take(size_t at)
{
    struct parcel p = w.queue[at];
    memmove(&w.queue[at], &w.queue[at + 1], (--w.queue_count - at) * sizeof p);
    return p;
}

void deliver(size_t at, unsigned times)
{
    struct parcel p = queue_take(at);
    while (times-- > 0)
        arrive(p.from, p.to, p.frame);
    pbft_frame_release(p.frame);
}

void run_job(struct node *node)
{
    if (node->job_count == 0) return;
    struct job job = node->jobs[0];
    memmove(&node->jobs[0], &node->jobs[1], --node->job_count * sizeof job);
    if (job.checkpoint) {
        if (node->ready_count < 8) node->ready[node->ready_count++] = node->state;
        return;
    }
    struct pbft_span parts[] = {{node->state.root.bytes, 32}, {job.digest.bytes, 32}};
    REQUIRE(job.seq == node->state.seq + 1);
    pbft_hash(&node->state.root, "fuzz-state", parts, 2);
    node->state.seq = job.seq;
    if (w.trio && job.seq < ORDERED_MAX) {
        check_root(&node->state);
        w.roots[job.seq] = node->state.root;
        w.roots_known[job.seq] = true;
    }
    struct pbft_done_request done[8];
    struct pbft_event event = {.kind = PBFT_EVENT_EXECUTED};
    event.executed.done = done;
    _Alignas(16) uint8_t memory[4096];
    struct pbft_arena arena = {memory, sizeof memory, 0};
    struct pbft_proposal p = {.request_count = 0};
    if (job.frame != NULL)
        REQUIRE(pbft_wire_decode_proposal(job.proposal, &w.config.params, &arena, &p) == PBFT_OK);
    for (uint32_t i = 0; i < p.request_count; i++) {
        const struct pbft_request *r = &p.requests[i];
        done[i] = (struct pbft_done_request){.session = r->session, .t = r->t};
        REQUIRE(pbft_cluster_client(&w.cluster, &r->client, &done[i].client_index));
    }
    if (p.time_ns > node->effective_ns) node->effective_ns = p.time_ns;
    event.executed.done_count = p.request_count;
    event.executed.seq = job.seq;
    event.executed.effective_ns = node->effective_ns;
    pbft_frame_release(job.frame);
    (void)step(node, &event);
}

void checkpoint_ready(struct node *node)
{
    if (node->ready_count == 0) return;
    struct state s = node->ready[0];
    memmove(&node->ready[0], &node->ready[1], --node->ready_count * sizeof s);
    struct pbft_event event = {.kind = PBFT_EVENT_CHECKPOINT_READY};
    event.checkpoint_ready.seq = s.seq;
    event.checkpoint_ready.root = s.root;
    (void)step(node, &event);
}

void state_ready(struct node *node)
{
    if (node->target.seq == 0) return;
    node->state = node->target;
    node->last_execute = node->state.seq;
    node->target.seq = 0;
    struct pbft_event event = {.kind = PBFT_EVENT_STATE_READY};
    event.state_ready.seq = node->state.seq;
    event.state_ready.root = node->state.root;
    event.state_ready.effective_ns = node->effective_ns;
    (void)step(node, &event);
}

void tick(struct node *node)
{
    struct pbft_event event = {.kind = PBFT_EVENT_TICK};
    (void)step(node, &event);
}
