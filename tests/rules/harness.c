/* The cluster of cores: its events, its network, and what a node does for its core. */
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

#define START_NS     (1000 * MS)
#define WALL_BASE_NS UINT64_C(1700000000000000000)
#define CACHE        1024u
#define TICKS_MAX    2000u /* at one instant: more is a loop */
#define DONE_CAP     64u

enum event_kind {
    DELIVER,
    FROM_CLIENT,
    DURABLE,
    JOB,
    READY,
    TRANSFERRED,
    ASK,
};

struct net_event {
    uint64_t time_ns, order;
    enum event_kind kind;
    pbft_id node, from;
    struct pbft_frame *frame;
    uint64_t number; /* lsn, seq, or index of a fetch */
    uint64_t incarnation;
    struct pbft_digest digest;
};

struct net_job {
    bool checkpoint;
    pbft_seq seq;
    pbft_lsn needs_lsn;
    struct pbft_frame *frame;
    struct pbft_span proposal;
};

struct net_waiting {
    pbft_lsn needs_lsn;
    pbft_signers to;          /* a SEND */
    struct pbft_frame *frame; /* NULL: a reply */
    struct net_reply reply;
};

/* Make room for one more item. */
#define GROW(array, count, capacity)                                                               \
    do {                                                                                           \
        if ((count) == (capacity)) {                                                               \
            (capacity) = (capacity) == 0 ? 16 : 2 * (capacity);                                    \
            (array) = realloc((array), (capacity) * sizeof *(array));                              \
            cr_assert_not_null(array);                                                             \
        }                                                                                          \
    } while (0)

/* ---- frames ---- */

static struct pbft_frame *pool_alloc(struct pbft_frame_pool *pool, uint32_t capacity)
{
    struct net *t = (struct net *)((char *)pool - offsetof(struct net, frames));
    if (t->frames.refuse) return NULL;
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    cr_assert_not_null(frame);
    frame->pool = pool;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    t->frames.live++;
    return frame;
}

static void pool_free(struct pbft_frame_pool *pool, struct pbft_frame *frame)
{
    struct net *t = (struct net *)((char *)pool - offsetof(struct net, frames));
    t->frames.live--;
    free(frame);
}

/* ---- events: a heap by (time, order) ---- */

static bool before(const struct net_event *a, const struct net_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

static void post(struct net *t, struct net_event event, uint64_t delay_ns)
{
    event.time_ns = t->now_ns + delay_ns;
    event.order = t->order++;
    GROW(t->events, t->event_count, t->event_capacity);
    size_t i = t->event_count++;
    while (i > 0 && before(&event, &t->events[(i - 1) / 2])) {
        t->events[i] = t->events[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    t->events[i] = event;
}

static struct net_event pop(struct net *t)
{
    struct net_event top = t->events[0], last = t->events[--t->event_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->event_count) break;
        if (child + 1 < t->event_count && before(&t->events[child + 1], &t->events[child])) child++;
        if (!before(&t->events[child], &last)) break;
        t->events[i] = t->events[child];
        i = child;
    }
    t->events[i] = last;
    return top;
}

/* ---- the network ---- */

static struct net_packet packet_of(pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    struct pbft_claim claim;
    enum pbft_verdict verdict = pbft_wire_peek(pbft_frame_span(frame), &claim);
    cr_assert_eq(verdict, PBFT_OK, "a frame of type %u that nobody can read", frame->bytes[0]);
    return (struct net_packet){claim.type, from, to, claim.view, claim.seq, claim.sender, frame};
}

static bool rule_matches(const struct net_rule *r, const struct net_packet *p)
{
    return r->used && (r->times == 0 || r->hits < r->times) &&
           (r->type == 0 || r->type == p->type) &&
           (r->from == 0 || pbft_signers_has(r->from, p->from)) &&
           (r->to == 0 || pbft_signers_has(r->to, p->to)) &&
           (r->seq_low == 0 || p->seq >= r->seq_low) &&
           (r->seq_high == 0 || p->seq <= r->seq_high) && (!r->in_view || r->view == p->view);
}

static enum net_fate fate_of(struct net *t, const struct net_packet *p)
{
    for (unsigned i = 0; i < NET_RULES; i++) {
        if (!rule_matches(&t->rules[i], p)) continue;
        t->rules[i].hits++;
        return t->rules[i].fate;
    }
    return t->filter != NULL ? t->filter(t, p) : NET_PASS;
}

static uint64_t random_extra(struct net *t)
{
    if (t->shuffle == 0) return 0;
    t->shuffle ^= t->shuffle << 13;
    t->shuffle ^= t->shuffle >> 7;
    t->shuffle ^= t->shuffle << 17;
    return t->shuffle % (8 * MS);
}

static void on_the_way(struct net *t, const struct net_packet *p, uint64_t delay_ns)
{
    struct net_event event = {.kind = DELIVER, .node = p->to, .from = p->from};
    event.frame = pbft_frame_retain(p->frame);
    post(t, event, delay_ns);
}

static void transmit(struct net *t, pbft_id from, pbft_signers to, struct pbft_frame *frame)
{
    for (pbft_id id = 0; id < t->n; id++) {
        if (!pbft_signers_has(to, id) || id == from) continue;
        struct net_packet p = packet_of(from, id, frame);
        uint64_t delay = t->latency_ns + random_extra(t);
        switch (fate_of(t, &p)) {
        case NET_PASS: on_the_way(t, &p, delay); break;
        case NET_DROP: break;
        case NET_TWICE:
            on_the_way(t, &p, delay);
            on_the_way(t, &p, delay + random_extra(t));
            break;
        case NET_LATE: on_the_way(t, &p, delay + NET_LATE_NS); break;
        case NET_HOLD:
            GROW(t->held, t->held_count, t->held_capacity);
            pbft_frame_retain(frame);
            t->held[t->held_count++] = p;
            break;
        }
    }
}

void net_release_held(struct net *t)
{
    size_t count = t->held_count;
    t->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        on_the_way(t, &t->held[i], t->latency_ns);
        pbft_frame_release(t->held[i].frame);
    }
}

void net_send(struct net *t, pbft_id from, pbft_signers to, struct pbft_frame *frame)
{
    transmit(t, from, to == 0 ? pbft_everyone(t->n) : to, frame);
    pbft_frame_release(frame);
}

struct net_rule *net_rule(struct net *t, struct net_rule rule)
{
    for (unsigned i = 0; i < NET_RULES; i++) {
        if (t->rules[i].used) continue;
        t->rules[i] = rule;
        t->rules[i].used = true;
        t->rules[i].hits = 0;
        return &t->rules[i];
    }
    cr_assert_fail("too many rules");
    return NULL;
}

void net_rules_clear(struct net *t)
{
    memset(t->rules, 0, sizeof t->rules);
}

void net_cut(struct net *t, pbft_signers a, pbft_signers b)
{
    net_rule(t, (struct net_rule){.fate = NET_DROP, .from = a, .to = b});
    net_rule(t, (struct net_rule){.fate = NET_DROP, .from = b, .to = a});
}

/* ---- always checked: what a correct replica says (FAULTS 3.5, 3.6) ---- */

static bool own_statement(const struct net_node *node, const struct pbft_frame *frame,
                          struct net_said *said)
{
    struct pbft_claim claim;
    cr_assert_eq(pbft_wire_peek(pbft_frame_span(frame), &claim), PBFT_OK);
    pbft_id signer;
    switch (claim.type) {
    case PBFT_PRE_PREPARE:
    case PBFT_NEW_VIEW: signer = pbft_primary(node->net->n, claim.view); break;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE: signer = claim.sender; break;
    default: return false;
    }
    if (signer != node->id) return false;
    *said = (struct net_said){claim.type, claim.view, claim.seq, claim.digest};
    if (claim.type == PBFT_VIEW_CHANGE || claim.type == PBFT_NEW_VIEW)
        pbft_digest_new_view(&said->digest, pbft_frame_span(frame));
    return true;
}

static void check_said(struct net_node *node, const struct net_said *said)
{
    bool vote = said->type == PBFT_PRE_PREPARE || said->type == PBFT_PREPARE ||
                said->type == PBFT_COMMIT || said->type == PBFT_NEW_VIEW;
    cr_assert(!vote || said->view >= node->left_view,
              "FAULTS 3.5: replica %u speaks in view %lu after it left for %lu", node->id,
              (unsigned long)said->view, (unsigned long)node->left_view);
    if (said->type == PBFT_VIEW_CHANGE && said->view > node->left_view)
        node->left_view = said->view;
    for (size_t i = 0; i < node->said_count; i++) {
        const struct net_said *s = &node->said[i];
        if (s->type != said->type || s->view != said->view || s->seq != said->seq) continue;
        cr_assert(pbft_digest_equal(&s->digest, &said->digest),
                  "FAULTS 3.5: replica %u equivocates: type %u view %lu seq %lu", node->id,
                  said->type, (unsigned long)said->view, (unsigned long)said->seq);
        return;
    }
    GROW(node->said, node->said_count, node->said_capacity);
    node->said[node->said_count++] = *said;
}

static bool same_bytes(const struct pbft_frame *a, const struct pbft_frame *b)
{
    return a != NULL && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static void check_durable(const struct net_node *node, const struct pbft_frame *frame)
{
    for (size_t i = 0; i < node->record_count; i++) {
        const struct net_record *r = &node->records[i];
        if (r->sync && r->lsn <= node->durable &&
            (same_bytes(r->frames[0], frame) || same_bytes(r->frames[1], frame)))
            return;
    }
    cr_assert_fail("FAULTS 3.6: replica %u sends a %s that is not on its disk", node->id,
                   pbft_type_text(frame->bytes[0]));
}

/* ---- what waits for the disk ---- */

static void go(struct net_node *node, struct net_waiting *w)
{
    struct net *t = node->net;
    if (w->frame == NULL) {
        GROW(t->replies, t->reply_count, t->reply_capacity);
        t->replies[t->reply_count++] = w->reply;
        return;
    }
    struct net_said said;
    if (own_statement(node, w->frame, &said)) check_durable(node, w->frame);
    transmit(t, node->id, w->to, w->frame);
    pbft_frame_release(w->frame);
}

static void wait_for(struct net_node *node, struct net_waiting w)
{
    if (w.needs_lsn <= node->durable) {
        go(node, &w);
        return;
    }
    GROW(node->waiting, node->waiting_count, node->waiting_capacity);
    node->waiting[node->waiting_count++] = w;
}

static void became_durable(struct net_node *node, pbft_lsn lsn)
{
    if (lsn > node->durable) node->durable = lsn;
    size_t kept = 0;
    for (size_t i = 0; i < node->waiting_count; i++) {
        if (node->waiting[i].needs_lsn <= node->durable)
            go(node, &node->waiting[i]);
        else
            node->waiting[kept++] = node->waiting[i];
    }
    node->waiting_count = kept;
}

/* ---- effects ---- */

static void do_persist(struct net_node *node, const struct pbft_effect *e)
{
    cr_assert_eq(e->persist.lsn, node->written + 1, "lsns go up by one");
    node->written = e->persist.lsn;
    GROW(node->records, node->record_count, node->record_capacity);
    node->records[node->record_count++] =
        (struct net_record){e->persist.lsn,
                            e->persist.record,
                            e->persist.sync,
                            {e->persist.frames[0], e->persist.frames[1]}};
    /* What is not synced becomes durable with the next that is. */
    if (e->persist.sync && !node->disk_stuck)
        post(node->net,
             (struct net_event){.kind = DURABLE, .node = node->id, .number = e->persist.lsn},
             node->net->disk_ns);
}

static void do_send(struct net_node *node, const struct pbft_effect *e)
{
    struct pbft_frame *frame = e->send.frame;
    uint8_t type = frame->bytes[0];
    cr_assert(e->send.to != 0 && !pbft_signers_has(e->send.to, node->id));
    cr_assert(e->send.needs_lsn <= node->written);
    struct net_said said;
    if (own_statement(node, frame, &said)) check_said(node, &said);
    node->sent[type]++;
    pbft_frame_release(node->last_sent[type]);
    node->last_sent[type] = pbft_frame_retain(frame);
    wait_for(node, (struct net_waiting){e->send.needs_lsn, e->send.to, frame, {0}});
}

static void schedule_job(struct net_node *node)
{
    if (node->job_scheduled || node->job_count == 0 || node->exec_stuck) return;
    node->job_scheduled = true;
    post(node->net,
         (struct net_event){.kind = JOB, .node = node->id, .incarnation = node->incarnation},
         node->net->exec_ns);
}

static void add_job(struct net_node *node, struct net_job job)
{
    GROW(node->jobs, node->job_count, node->job_capacity);
    node->jobs[node->job_count++] = job;
    schedule_job(node);
}

static void do_execute(struct net_node *node, const struct pbft_effect *e)
{
    struct net *t = node->net;
    pbft_seq seq = e->execute.seq;
    cr_assert_lt(seq, NET_SEQ_MAX);
    cr_assert_eq(seq, node->last_execute + 1, "FAULTS 3.3: replica %u executes %lu after %lu",
                 node->id, (unsigned long)seq, (unsigned long)node->last_execute);
    if (t->agreed_known[seq])
        cr_assert(pbft_digest_equal(&t->agreed[seq], &e->execute.digest),
                  "FAULTS 3.1: replica %u executes another proposal at %lu", node->id,
                  (unsigned long)seq);
    cr_assert_eq(e->execute.frame == NULL, pbft_digest_equal(&e->execute.digest, &t->null_digest));
    t->agreed[seq] = node->executed_digest[seq] = e->execute.digest;
    t->agreed_known[seq] = true;
    node->last_execute = seq;
    node->executes[seq]++;
    add_job(node, (struct net_job){.seq = seq,
                                   .needs_lsn = e->execute.needs_lsn,
                                   .frame = e->execute.frame,
                                   .proposal = e->execute.proposal});
}

static void do_fetch(struct net_node *node, const struct pbft_effect *e)
{
    node->fetch_effects[e->fetch.what.kind]++;
    for (unsigned i = 0; i < NET_FETCHES; i++) {
        struct net_fetch *f = &node->fetches[i];
        if (f->used) continue;
        *f = (struct net_fetch){e->fetch.what, e->fetch.hint, 0, true};
        post(node->net, (struct net_event){.kind = ASK, .node = node->id, .number = i}, 0);
        return;
    }
    cr_assert_fail("replica %u fetches too many things", node->id);
}

static void do_fetch_stop(struct net_node *node, const struct pbft_fetch *what)
{
    for (unsigned i = 0; i < NET_FETCHES; i++) {
        struct net_fetch *f = &node->fetches[i];
        if (f->used && f->what.kind == what->kind && f->what.view == what->view &&
            f->what.seq == what->seq && pbft_digest_equal(&f->what.digest, &what->digest)) {
            f->used = false;
            return;
        }
    }
    cr_assert_fail("replica %u stops a fetch (kind %u) that it did not begin", node->id,
                   what->kind);
}

static void drop_jobs(struct net_node *node)
{
    for (size_t i = 0; i < node->job_count; i++)
        pbft_frame_release(node->jobs[i].frame);
    node->job_count = 0;
    node->job_scheduled = false;
    node->incarnation++;
}

static void do_transfer(struct net_node *node, const struct pbft_effect *e)
{
    node->transfers++;
    if (e->transfer.diverged != 0) {
        node->divergences++;
        node->diverged.seq = e->transfer.diverged;
        node->diverged.agreed = e->transfer.agreed;
        node->diverged.own = e->transfer.own;
        node->diverged.certified = e->transfer.certified;
    }
    drop_jobs(node);
    node->transfer_seq = e->transfer.seq;
    node->transfer_root = e->transfer.root;
    node->transfer_hint = e->transfer.hint;
    post(node->net,
         (struct net_event){.kind = TRANSFERRED,
                            .node = node->id,
                            .incarnation = node->incarnation},
         node->net->transfer_ns);
}

static void do_evidence(struct net_node *node, const struct pbft_effect *e)
{
    cr_assert_lt(node->evidence_count, 16u);
    const struct net_node *culprit = &node->net->nodes[e->evidence.culprit];
    cr_assert(culprit->puppet || culprit->diverge_at != 0,
              "FAULTS 3.20: replica %u accuses %u, which is correct", node->id,
              e->evidence.culprit);
    node->evidence[node->evidence_count++] =
        (struct net_evidence){e->evidence.kind,
                              e->evidence.culprit,
                              {e->evidence.frames[0], e->evidence.frames[1]}};
}

void net_carry_out(struct net_node *node)
{
    struct net *t = node->net;
    const struct pbft_effect *last = NULL; /* VIEW */
    for (size_t i = 0; i < t->effects.count; i++) {
        const struct pbft_effect *e = &t->effects.items[i];
        switch (e->kind) {
        case PBFT_EFFECT_PERSIST: do_persist(node, e); break;
        case PBFT_EFFECT_SEND: do_send(node, e); break;
        case PBFT_EFFECT_EXECUTE: do_execute(node, e); break;
        case PBFT_EFFECT_TAKE_CHECKPOINT:
            cr_assert_eq(e->take_checkpoint.seq, node->last_execute);
            add_job(node, (struct net_job){.checkpoint = true, .seq = e->take_checkpoint.seq});
            break;
        case PBFT_EFFECT_STABLE:
            cr_assert_gt(e->stable.seq, node->last_stable, "FAULTS 3.11: h goes up");
            node->last_stable = e->stable.seq;
            node->stables++;
            for (unsigned k = 0; k < NET_SNAPSHOTS; k++)
                if (node->snapshots[k].seq == e->stable.seq) node->flushed = node->snapshots[k];
            break;
        case PBFT_EFFECT_FETCH: do_fetch(node, e); break;
        case PBFT_EFFECT_FETCH_STOP: do_fetch_stop(node, &e->fetch.what); break;
        case PBFT_EFFECT_TRANSFER: do_transfer(node, e); break;
        case PBFT_EFFECT_EVIDENCE: do_evidence(node, e); break;
        case PBFT_EFFECT_VIEW:
            cr_assert_geq(e->view.view, node->last_view, "FAULTS 3.9: the view goes up");
            node->last_view = e->view.view;
            last = e;
            break;
        case PBFT_EFFECT_MUTED: node->muted++; break;
        }
    }
    if (last != NULL) {
        struct pbft_core_info info = net_info(t, node->id);
        cr_assert(info.view == last->view.view && info.view_active == last->view.active,
                  "the last VIEW effect says what is so");
    }
    t->effects.count = 0;
    uint64_t due = pbft_core_deadline(node->core);
    node->deadline_ns = due < t->now_ns ? t->now_ns : due;
}

void net_step_core(struct net_node *node, struct pbft_event *event, enum pbft_verdict *verdict)
{
    struct net *t = node->net;
    event->now_ns = t->now_ns;
    event->wall_ns = net_wall(t, node->id);
    enum pbft_verdict said = pbft_step(node->core, event, &t->effects);
    if (verdict != NULL) *verdict = said;
    net_carry_out(node);
}

/* ---- execution, checkpoints, transfer ---- */

/* Peers may ask for it, and the next restart. */
static uint32_t retain(struct net_node *node)
{
    uint32_t i = node->snapshot_next++ % NET_SNAPSHOTS;
    node->snapshots[i] = node->state;
    node->snapshot_roots[i] = net_root(node->net, &node->state);
    return i;
}

static void snapshot(struct net_node *node)
{
    struct net *t = node->net;
    uint32_t i = retain(node);
    post(t,
         (struct net_event){.kind = READY,
                            .node = node->id,
                            .number = node->state.seq,
                            .digest = node->snapshot_roots[i],
                            .incarnation = node->incarnation},
         t->hash_ns + node->hash_extra_ns);
}

static void run_job(struct net_node *node)
{
    struct net *t = node->net;
    struct net_job job = node->jobs[0];
    memmove(node->jobs, node->jobs + 1, --node->job_count * sizeof job);
    node->job_scheduled = false;
    if (job.checkpoint) {
        snapshot(node);
        schedule_job(node);
        return;
    }
    cr_assert_eq(job.seq, node->state.seq + 1);
    struct pbft_done_request done[DONE_CAP];
    uint32_t count = 0;
    uint32_t before_count = node->state.done_count;
    net_execute(node, job.proposal, job.frame == NULL, done, &count, DONE_CAP);
    pbft_frame_release(job.frame);
    for (uint32_t i = before_count; i < node->state.done_count; i++) {
        const struct net_done *d = &node->state.done[i];
        wait_for(node, (struct net_waiting){.needs_lsn = job.needs_lsn,
                                            .reply = {node->id, d->client, d->session, d->t,
                                                      d->request}});
    }
    struct pbft_event event = {.kind = PBFT_EVENT_EXECUTED};
    event.executed.seq = job.seq;
    event.executed.effective_ns = node->state.effective_ns;
    event.executed.next_due_ns = node->state.effective_ns < t->due_ns ? t->due_ns : 0;
    event.executed.last = node->divergences == 0 ? node->wrong_last : 0;
    event.executed.done = done;
    event.executed.done_count = count;
    schedule_job(node);
    net_step_core(node, &event, NULL);
}

/* From anybody named by the certificate who still has that state. */
static void try_transfer(struct net_node *node)
{
    struct net *t = node->net;
    for (pbft_id id = 0; id < t->n; id++) {
        struct net_node *from = &t->nodes[id];
        if (id == node->id || from->puppet || from->down) continue;
        for (uint32_t i = 0; i < NET_SNAPSHOTS; i++) {
            if (from->snapshots[i].seq != node->transfer_seq ||
                !pbft_digest_equal(&from->snapshot_roots[i], &node->transfer_root))
                continue;
            node->state = from->snapshots[i];
            node->last_execute = node->transfer_seq;
            node->flushed = node->state;
            retain(node);
            struct pbft_event event = {.kind = PBFT_EVENT_STATE_READY};
            event.state_ready.seq = node->transfer_seq;
            event.state_ready.root = node->transfer_root;
            event.state_ready.effective_ns = node->state.effective_ns;
            net_step_core(node, &event, NULL);
            return;
        }
    }
    post(t,
         (struct net_event){.kind = TRANSFERRED,
                            .node = node->id,
                            .incarnation = node->incarnation},
         t->fetch_ns);
}

/* Whom to ask: first those of the hint, then all, round and round. */
static void ask(struct net_node *node, struct net_fetch *f, uint64_t index)
{
    struct net *t = node->net;
    pbft_signers others = pbft_everyone(t->n) & ~NET_BIT(node->id);
    pbft_signers first = f->hint & others;
    unsigned hinted = pbft_signers_count(first);
    pbft_signers from = f->asked < hinted ? first : others;
    unsigned skip = f->asked < hinted ? f->asked : (f->asked - hinted) % pbft_signers_count(others);
    f->asked++;
    pbft_id to = 0;
    for (pbft_id id = 0; id < t->n; id++) {
        if (!pbft_signers_has(from, id)) continue;
        to = id;
        if (skip-- == 0) break;
    }
    struct pbft_msg m = {.type = PBFT_FETCH};
    m.fetch = f->what;
    bool refuse = t->frames.refuse; /* a node's own messages are outside the test's budget */
    t->frames.refuse = false;
    net_send(t, node->id, NET_BIT(to), net_frame_new(t, &m));
    t->frames.refuse = refuse;
    post(t, (struct net_event){.kind = ASK, .node = node->id, .number = index}, t->fetch_ns);
}

/* ---- arrivals ---- */

static bool wants(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim)
{
    const struct net_node *node = context;
    if (node->net->no_wants || from->kind == PBFT_PEER_CLIENT) return true;
    return pbft_core_wants(node->core, from->index, claim);
}

static void give_request(struct net_node *node, const struct pbft_msg *m, struct pbft_frame *frame,
                         const struct pbft_peer *from, enum pbft_verdict *verdict)
{
    for (uint32_t i = 0; i < node->state.done_count; i++) {
        const struct net_done *d = &node->state.done[i];
        if (d->client == m->request.client_index && d->session == m->request.session &&
            d->t == m->request.t)
            return; /* admission: executed already, the record answers */
    }
    struct pbft_event event = {.kind = PBFT_EVENT_REQUEST};
    event.request.client_index = m->request.client_index;
    event.request.session = m->request.session;
    event.request.t = m->request.t;
    event.request.digest = m->request.digest;
    event.request.frame = frame;
    event.request.from_client = from->kind == PBFT_PEER_CLIENT;
    event.request.from = from->index;
    net_step_core(node, &event, verdict);
}

static enum pbft_verdict arrive(struct net_node *node, const struct pbft_peer *peer,
                                struct pbft_frame *frame)
{
    struct net *t = node->net;
    struct pbft_msg m;
    enum pbft_verdict verdict = pbft_door_open(node->door, peer, pbft_frame_span(frame), &m);
    if (verdict != PBFT_OK) return verdict;
    node->received[m.type]++;
    if (m.type == PBFT_REQUEST) {
        give_request(node, &m, frame, peer, &verdict);
    } else if (m.type == PBFT_FETCH) {
        struct pbft_frame *answer = pbft_core_serve(node->core, &m.fetch);
        if (answer != NULL) net_send(t, node->id, NET_BIT(peer->index), answer);
    } else {
        struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE};
        event.message.msg = &m;
        event.message.frame = frame;
        event.message.from = peer->index;
        net_step_core(node, &event, &verdict);
    }
    return verdict;
}

enum pbft_verdict net_deliver(struct net *t, pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    struct net_node *node = &t->nodes[to];
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    enum pbft_verdict verdict = PBFT_OK;
    if (node->puppet)
        node->received[frame->bytes[0]]++;
    else if (!node->down)
        verdict = arrive(node, &peer, frame);
    node->verdicts[verdict]++;
    pbft_frame_release(frame);
    return verdict;
}

void net_submit(struct net *t, uint32_t client, uint64_t session, uint64_t number, const char *op,
                pbft_signers to)
{
    struct pbft_frame *frame = net_request(t, client, session, number, op);
    for (pbft_id id = 0; id < t->n; id++) {
        if (to != 0 && !pbft_signers_has(to, id)) continue;
        pbft_frame_retain(frame);
        post(t, (struct net_event){.kind = FROM_CLIENT, .node = id, .from = client, .frame = frame},
             t->latency_ns);
    }
    pbft_frame_release(frame);
}

void net_put(struct net *t, uint64_t number)
{
    net_submit(t, 0, 1, number, "put", 0);
}

void net_disk(struct net *t, pbft_id id, bool stuck)
{
    struct net_node *node = &t->nodes[id];
    node->disk_stuck = stuck;
    if (!stuck) became_durable(node, node->written);
}

void net_peer_up(struct net *t, pbft_id at, pbft_id peer)
{
    struct pbft_event event = {.kind = PBFT_EVENT_PEER_UP};
    event.peer_up.id = peer;
    net_step_core(&t->nodes[at], &event, NULL);
}

/* ---- the loop ---- */

static void handle(struct net *t, const struct net_event *e)
{
    struct net_node *node = &t->nodes[e->node];
    bool alive = !node->puppet && !node->down;
    switch (e->kind) {
    case DELIVER:
        t->delivered++;
        net_deliver(t, e->from, e->node, e->frame);
        break;
    case FROM_CLIENT:
        if (alive) {
            struct pbft_peer peer = {PBFT_PEER_CLIENT, e->from, 1};
            arrive(node, &peer, e->frame);
        }
        pbft_frame_release(e->frame);
        break;
    case DURABLE:
        if (alive && !node->disk_stuck) became_durable(node, e->number);
        break;
    case JOB:
        if (alive && e->incarnation == node->incarnation) {
            node->job_scheduled = false;
            if (!node->exec_stuck && node->job_count > 0) run_job(node);
        }
        break;
    case READY:
        if (alive && e->incarnation == node->incarnation) {
            struct pbft_event event = {.kind = PBFT_EVENT_CHECKPOINT_READY};
            event.checkpoint_ready.seq = e->number;
            event.checkpoint_ready.root = e->digest;
            net_step_core(node, &event, NULL);
        }
        break;
    case TRANSFERRED:
        if (alive && e->incarnation == node->incarnation) try_transfer(node);
        break;
    case ASK:
        if (alive && node->fetches[e->number].used) ask(node, &node->fetches[e->number], e->number);
        break;
    }
}

static struct net_node *next_tick(struct net *t)
{
    struct net_node *next = NULL;
    for (pbft_id id = 0; id < t->n; id++) {
        struct net_node *node = &t->nodes[id];
        if (node->puppet || node->down) continue;
        if (next == NULL || node->deadline_ns < next->deadline_ns) next = node;
    }
    return next;
}

/* One event or tick, if it is due by `until`; then false. */
static bool advance(struct net *t, uint64_t until)
{
    struct net_node *tick = next_tick(t);
    uint64_t event_ns = t->event_count > 0 ? t->events[0].time_ns : UINT64_MAX;
    uint64_t tick_ns = tick != NULL ? tick->deadline_ns : UINT64_MAX;
    uint64_t next = event_ns <= tick_ns ? event_ns : tick_ns;
    if (next > until) {
        t->now_ns = until;
        return false;
    }
    if (next > t->now_ns) {
        for (pbft_id id = 0; id < t->n; id++)
            t->nodes[id].ticks_now = 0;
        t->now_ns = next;
    }
    if (event_ns <= tick_ns) {
        struct net_event event = pop(t);
        handle(t, &event);
        return true;
    }
    cr_assert_lt(tick->ticks_now++, TICKS_MAX, "replica %u ticks for ever", tick->id);
    struct pbft_event event = {.kind = PBFT_EVENT_TICK};
    net_step_core(tick, &event, NULL);
    return true;
}

void net_run(struct net *t, uint64_t ms)
{
    uint64_t until = t->now_ns + ms * MS;
    while (advance(t, until))
        ;
}

static bool all_executed(const struct net *t, pbft_signers who, uint64_t seq)
{
    for (pbft_id id = 0; id < t->n; id++)
        if (pbft_signers_has(who, id) && net_info(t, id).executed < seq) return false;
    return true;
}

static bool all_in_view(const struct net *t, pbft_signers who, uint64_t view)
{
    for (pbft_id id = 0; id < t->n; id++) {
        if (!pbft_signers_has(who, id)) continue;
        struct pbft_core_info info = net_info(t, id);
        if (info.view != view || !info.view_active) return false;
    }
    return true;
}

static bool all_stable(const struct net *t, pbft_signers who, uint64_t seq)
{
    for (pbft_id id = 0; id < t->n; id++)
        if (pbft_signers_has(who, id) && net_info(t, id).stable < seq) return false;
    return true;
}

static bool run_until(struct net *t, bool (*done)(const struct net *, pbft_signers, uint64_t),
                      pbft_signers who, uint64_t number, uint64_t ms)
{
    uint64_t until = t->now_ns + ms * MS;
    if (who == 0) who = net_running(t);
    do {
        if (done(t, who, number)) return true;
    } while (advance(t, until));
    return done(t, who, number);
}

bool net_run_executed(struct net *t, pbft_signers who, pbft_seq seq, uint64_t ms)
{
    return run_until(t, all_executed, who, seq, ms);
}

bool net_run_view(struct net *t, pbft_signers who, pbft_view view, uint64_t ms)
{
    return run_until(t, all_in_view, who, view, ms);
}

bool net_run_stable(struct net *t, pbft_signers who, pbft_seq seq, uint64_t ms)
{
    return run_until(t, all_stable, who, seq, ms);
}

/* ---- life ---- */

struct pbft_params net_params(uint32_t n)
{
    struct pbft_params p = pbft_params_default(n);
    p.checkpoint_interval = 4;
    p.window = 8;
    p.pipeline_depth = 8;
    p.batch_max_requests = 1;
    p.key_max_bytes = 64;
    p.value_max_bytes = 1024;
    p.batch_max_bytes = NET_BATCH_MAX;
    p.client_quota = 64;
    p.view_timeout_ns = 500 * MS;
    p.view_timeout_max_ns = 8000 * MS;
    cr_assert_null(pbft_params_check(&p), "%s", pbft_params_check(&p));
    return p;
}

static void make_cluster(struct net *t)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    struct pbft_cluster *c = &t->cluster;
    strcpy(c->service, "rules");
    c->params = t->params;
    for (uint32_t i = 0; i < t->n + NET_CLIENTS; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1), 'r'};
        bool replica = i < t->n;
        struct pbft_keypair *keys = replica ? &t->keys[i] : &t->client_keys[i - t->n];
        pbft_keypair_from_seed(keys, seed);
        if (replica)
            c->replicas[i] = keys->public;
        else
            t->client_public[i - t->n] = keys->public;
    }
    c->clients = t->client_public;
    c->client_count = NET_CLIENTS;
    struct net_state *genesis = calloc(1, sizeof *genesis);
    cr_assert_not_null(genesis);
    net_state_genesis(genesis);
    c->genesis_root = net_root(t, genesis);
    free(genesis);
    char error[256];
    cr_assert_eq(pbft_cluster_seal(c, error), PBFT_STATUS_OK, "%s", error);
    pbft_digest_null(&t->null_digest);
}

static void boot(struct net_node *node)
{
    struct net *t = node->net;
    struct pbft_core_config config = {.params = t->params,
                                      .id = node->id,
                                      .client_count = NET_CLIENTS,
                                      .genesis_root = t->cluster.genesis_root,
                                      .pool = &t->frames.pool,
                                      .body_max_bytes = t->body_max_bytes,
                                      .mute = node->mute};
    net_core_functions(node, &config.functions);
    size_t size = pbft_core_size(&config);
    cr_assert_gt(size, 0u);
    node->memory = malloc(size);
    cr_assert_not_null(node->memory);
    memset(node->memory, 0xA5, size); /* init must not rely on zeros */
    node->core = pbft_core_init(node->memory, &config);
    struct pbft_door_config door = {.cluster = &t->cluster,
                                    .signer = &pbft_signer_fast,
                                    .wants = wants,
                                    .wants_context = node,
                                    .cache_entries = CACHE};
    node->door = pbft_door_new(&door);
    cr_assert_not_null(node->door);
    net_state_genesis(&node->state);
    memset(node->snapshots, 0, NET_SNAPSHOTS * sizeof *node->snapshots);
    node->deadline_ns = t->now_ns;
    node->last_execute = node->last_stable = 0;
    node->last_view = node->left_view = 0;
}

struct net *net_new_bounded(const struct pbft_params *params, uint64_t body_max_bytes)
{
    struct net *t = calloc(1, sizeof *t);
    cr_assert_not_null(t);
    t->params = *params;
    t->body_max_bytes = body_max_bytes;
    t->n = params->n;
    t->frames.pool.alloc = pool_alloc;
    t->frames.pool.free = pool_free;
    t->now_ns = START_NS;
    t->latency_ns = 1 * MS;
    t->disk_ns = MS / 5;
    t->exec_ns = MS / 10;
    t->hash_ns = MS / 2;
    t->transfer_ns = 5 * MS;
    t->fetch_ns = 20 * MS;
    make_cluster(t);
    t->effects.capacity = pbft_core_effects_capacity(params);
    t->effects.items = calloc(t->effects.capacity, sizeof *t->effects.items);
    cr_assert_not_null(t->effects.items);
    for (pbft_id id = 0; id < t->n; id++) {
        struct net_node *node = &t->nodes[id];
        node->id = id;
        node->net = t;
        node->snapshots = calloc(NET_SNAPSHOTS, sizeof *node->snapshots);
        cr_assert_not_null(node->snapshots);
        boot(node);
    }
    return t;
}

struct net *net_new_with(const struct pbft_params *params)
{
    return net_new_bounded(params, 0);
}

struct net *net_new(uint32_t n)
{
    struct pbft_params params = net_params(n);
    return net_new_with(&params);
}

static void shut(struct net_node *node)
{
    if (node->core != NULL) pbft_core_release(node->core);
    pbft_door_free(node->door);
    free(node->memory);
    node->core = NULL;
    node->door = NULL;
    node->memory = NULL;
    drop_jobs(node);
    for (size_t i = 0; i < node->record_count; i++) {
        pbft_frame_release(node->records[i].frames[0]);
        pbft_frame_release(node->records[i].frames[1]);
    }
    for (size_t i = 0; i < node->waiting_count; i++)
        pbft_frame_release(node->waiting[i].frame);
    node->record_count = node->waiting_count = 0;
    memset(node->fetches, 0, sizeof node->fetches);
    node->written = node->durable = 0;
    node->said_count = 0;
}

void net_puppet(struct net *t, pbft_id id)
{
    cr_assert_eq(t->nodes[id].written, 0u, "too late to become a puppet");
    t->nodes[id].puppet = true;
}

struct net *net_solo(uint32_t n, pbft_id id)
{
    struct net *t = net_new(n);
    for (pbft_id other = 0; other < n; other++)
        if (other != id) net_puppet(t, other);
    return t;
}

void net_crash(struct net *t, pbft_id id)
{
    shut(&t->nodes[id]);
    t->nodes[id].down = true;
}

static void greet(struct net *t, pbft_id id)
{
    for (pbft_id peer = 0; peer < t->n; peer++) {
        if (peer == id || t->nodes[peer].puppet || t->nodes[peer].down) continue;
        net_peer_up(t, peer, id);
        net_peer_up(t, id, peer);
    }
}

void net_restart(struct net *t, pbft_id id, bool mute)
{
    struct net_node *node = &t->nodes[id];
    cr_assert(node->down);
    node->down = false;
    node->mute = mute;
    boot(node);
    greet(t, id);
}

/* Whatever of it was sent is durable; of the rest nobody has heard. */
static void remember_said(struct net_node *node)
{
    node->said_count = 0;
    node->left_view = 0;
    for (size_t i = 0; i < node->record_count; i++) {
        for (unsigned k = 0; k < 2; k++) {
            struct net_said said;
            if (node->records[i].frames[k] == NULL) continue;
            if (!own_statement(node, node->records[i].frames[k], &said)) continue;
            if (said.type == PBFT_VIEW_CHANGE && node->records[i].kind != PBFT_RECORD_VIEW_CHANGE)
                continue; /* a P entry in its clothes */
            if (said.type == PBFT_VIEW_CHANGE && said.view > node->left_view)
                node->left_view = said.view;
            GROW(node->said, node->said_count, node->said_capacity);
            node->said[node->said_count++] = said;
        }
    }
}

void net_power_loss(struct net *t, pbft_id id)
{
    struct net_node *node = &t->nodes[id];
    struct net_record *records = node->records;
    size_t count = node->record_count, capacity = node->record_capacity, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (records[i].lsn <= node->durable) {
            records[kept] = records[i];
            records[kept++].lsn = 0; /* this life's begin at 1 */
            continue;
        }
        pbft_frame_release(records[i].frames[0]);
        pbft_frame_release(records[i].frames[1]);
    }
    node->records = NULL;
    node->record_count = node->record_capacity = 0;
    net_crash(t, id);
    node->records = records;
    node->record_count = kept;
    node->record_capacity = capacity;
}

static void restore(struct net_node *node)
{
    static _Alignas(16) uint8_t memory[2][65536];
    for (size_t i = 0; i < node->record_count; i++) {
        struct pbft_msg msgs[2];
        struct pbft_record r = {.kind = node->records[i].kind};
        for (unsigned k = 0; k < 2; k++) {
            struct pbft_frame *frame = node->records[i].frames[k];
            if (frame == NULL) continue;
            struct pbft_arena arena = {memory[k], sizeof memory[k], 0};
            enum pbft_verdict verdict =
                pbft_wire_decode(pbft_frame_span(frame), &node->net->params, &arena, &msgs[k]);
            cr_assert_eq(verdict, PBFT_OK, "%s", pbft_verdict_text(verdict));
            r.msgs[k] = &msgs[k];
            r.frames[k] = frame;
        }
        enum pbft_verdict verdict = pbft_core_restore(node->core, &r);
        cr_assert_eq(verdict, PBFT_OK, "replica %u, record %zu of kind %u: %s", (unsigned)node->id,
                     i, (unsigned)r.kind, pbft_verdict_text(verdict));
    }
}

void net_power_on(struct net *t, pbft_id id, bool with_state)
{
    struct net_node *node = &t->nodes[id];
    cr_assert(node->down);
    struct net_state state;
    net_state_genesis(&state);
    if (!with_state) node->flushed = state;
    if (node->flushed.seq > 0) state = node->flushed;
    node->down = node->mute = false;
    boot(node);
    node->state = state;
    node->last_execute = state.seq;
    if (state.seq > 0) retain(node);
    remember_said(node);
    restore(node);
    node->last_stable = net_info(t, id).stable;
    struct pbft_event event = {.kind = PBFT_EVENT_RESTORED};
    event.restored.seq = state.seq;
    event.restored.root = net_root(t, &state);
    event.restored.effective_ns = state.effective_ns;
    net_step_core(node, &event, NULL);
    greet(t, id);
}

void net_free(struct net *t)
{
    for (pbft_id id = 0; id < t->n; id++) {
        struct net_node *node = &t->nodes[id];
        shut(node);
        for (uint32_t i = 0; i < node->evidence_count; i++) {
            pbft_frame_release(node->evidence[i].frames[0]);
            pbft_frame_release(node->evidence[i].frames[1]);
        }
        for (unsigned i = 0; i < NET_TYPES; i++)
            pbft_frame_release(node->last_sent[i]);
        free(node->records);
        free(node->waiting);
        free(node->jobs);
        free(node->snapshots);
        free(node->said);
    }
    for (size_t i = 0; i < t->event_count; i++)
        pbft_frame_release(t->events[i].frame);
    for (size_t i = 0; i < t->held_count; i++)
        pbft_frame_release(t->held[i].frame);
    free(t->events);
    free(t->held);
    free(t->replies);
    free(t->effects.items);
    pbft_cluster_unseal(&t->cluster);
    cr_assert_eq(t->frames.live, 0, "%ld frames leaked", (long)t->frames.live);
    free(t);
}
