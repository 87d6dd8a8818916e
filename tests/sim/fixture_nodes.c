/* Replicas: what goes into them and comes out, their disks and clocks. */
#include "tests/sim/fixture_internal.h"

#include <stdlib.h>
#include <string.h>

#define FLUSH_JOBS 20u /* a flush takes up to as long as so many other jobs */

bool sim_is_correct(const struct sim *sim, pbft_id id)
{
    return !pbft_signers_has(sim->o.byzantine, id);
}

struct pbft_time sim_time_of(const struct sim *sim, uint32_t place)
{
    uint64_t wall = sim->wall_base_ns + sim->now_ns;
    return (struct pbft_time){sim->now_ns,
                              (uint64_t)((int64_t)wall + sim->nodes[place].clock_offset_ns)};
}

struct node *node_twin(struct sim *sim, pbft_id id)
{
    return pbft_signers_has(sim->o.twins, id) ? &sim->nodes[sim->n + id] : NULL;
}

/* ---- hooks ---- */

static void hook_effects(void *context, struct pbft_node *node, struct pbft_effects *effects)
{
    struct node *n = context;
    bool correct = sim_is_correct(n->sim, n->id);
    if (n->dying && correct) check_dying(n->sim, n, effects);
    if (n->dying) return;
    if (n->user != NULL && n->user->effects != NULL)
        n->user->effects(n->user->context, node, effects);
    if (correct) check_effects(n->sim, n, effects);
    damage_effects(n->sim, n, effects);
}

static bool hook_outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                          struct pbft_frame *frame)
{
    struct node *n = context;
    if (n->dying) return false;
    if (sim_is_correct(n->sim, n->id))
        check_outbound(n->sim, n, to, frame);
    else
        n->wished[frame->bytes[0] & 63u]++;
    damage_outbound(n->sim, n, frame);
    if (n->user != NULL && n->user->outbound != NULL)
        return n->user->outbound(n->user->context, node, to, frame);
    return true;
}

static bool hook_inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                         struct pbft_frame *frame)
{
    struct node *n = context;
    if (n->dying || n->user == NULL || n->user->inbound == NULL) return true;
    return n->user->inbound(n->user->context, node, from, frame);
}

struct pbft_node_hooks node_hooks(struct node *n)
{
    return (struct pbft_node_hooks){n, hook_effects, hook_outbound, hook_inbound};
}

void sim_set_hooks(struct sim *sim, pbft_id id, const struct pbft_node_hooks *hooks)
{
    PBFT_ASSERT(pbft_signers_has(sim->o.byzantine, id));
    sim->nodes[id].user = hooks;
    struct node *twin = node_twin(sim, id);
    if (twin != NULL) twin->user = hooks;
}

void sim_set_late(struct sim *sim, pbft_id id, const struct sim_late *late)
{
    PBFT_ASSERT(pbft_signers_has(sim->o.byzantine, id));
    sim->nodes[id].late = *late;
}

/* ---- what comes out ---- */

/* A proposal is judged, or made, by a clock that is wrong. */
static void count_clock(struct sim *sim, const struct node *n, const struct pbft_frame *frame)
{
    if (frame->bytes[0] != PBFT_PRE_PREPARE) return;
    sim->acted[SIM_FAULT_CLOCK_SKEW] += n->clock_skewed;
    sim->acted[SIM_FAULT_CLOCK_JUMP] += n->clock_jumped;
}

static void log_line(struct sim *sim, pbft_id id, const struct pbft_output *out)
{
    if (strcmp(out->event, "divergence_repaired") == 0) sim->nodes[id].repaired++;
    if (sim->observer != NULL) {
        char text[1024];
        snprintf(text, sizeof text, "%s %s", out->event, out->text);
        struct sim_seen seen = {.kind = SIM_SEEN_LOG, .from = id, .text = text};
        sim_tell(sim, &seen);
    }
    struct pbft_digest key = {{0}};
    size_t size = strlen(out->event);
    memcpy(key.bytes, out->event, size < sizeof key.bytes ? size : sizeof key.bytes);
    bool fresh;
    map_put(&sim->log_lines, &key, &fresh)->number++;
    if (sim->trace != NULL)
        fprintf(sim->trace, "%12.6f ms r%u: %s %s\n", (double)sim->now_ns / 1e6, id, out->event,
                out->text);
}

static uint64_t late_deadline(const struct node *n)
{
    return n->late.context == NULL ? NEVER : n->late.deadline(n->late.context);
}

static void schedule_tick(struct sim *sim, struct node *n)
{
    if (n->node == NULL) return;
    uint64_t due = pbft_node_deadline(n->node), late = late_deadline(n);
    if (late < due) due = late;
    if (due == NEVER) return;
    if (due <= sim->now_ns) due = sim->now_ns + 1000;
    if (due >= n->tick_at) return;
    n->tick_at = due;
    struct event e = {.at_ns = due,
                      .kind = EVENT_TICK,
                      .to = n->place,
                      .incarnation = n->incarnation};
    sim_push(sim, &e);
}

static void start_job(struct sim *sim, struct node *n, enum pbft_job_kind kind,
                      struct pbft_job *job)
{
    n->jobs_out++;
    struct event e = {.at_ns = sim->now_ns + sim_between(sim, sim->o.job_min_ns, sim->o.job_max_ns),
                      .kind = EVENT_JOB,
                      .to = n->place,
                      .incarnation = n->incarnation,
                      .job = job};
    if (kind == PBFT_JOB_FLUSH) e.at_ns += sim_between(sim, 0, FLUSH_JOBS * sim->o.job_max_ns);
    if ((kind == PBFT_JOB_SYNC || kind == PBFT_JOB_FLUSH) && n->disk_extra_ns > 0) {
        sim->acted[SIM_FAULT_SLOW_DISK]++;
        e.at_ns += n->disk_extra_ns;
    }
    sim_push(sim, &e);
}

/* Its successor starts a little later. */
static void epoch_over(struct sim *sim, struct node *n, struct pbft_frame *proof)
{
    if (n->dying || n->proof != NULL) {
        pbft_frame_release(proof);
        return;
    }
    n->proof = proof;
    struct event e = {.at_ns =
                          sim->now_ns + sim_between(sim, sim->o.job_min_ns, 4 * sim->o.job_max_ns),
                      .kind = EVENT_EPOCH,
                      .to = n->place,
                      .incarnation = n->incarnation};
    sim_push(sim, &e);
}

void node_drain(struct sim *sim, struct node *n)
{
    struct pbft_output out;
    while (pbft_node_next(n->node, &out)) {
        switch (out.kind) {
        case PBFT_OUTPUT_SEND:
            if (!n->dying) count_clock(sim, n, out.frame);
            if (!n->dying)
                sim_node_send(sim, n->place, out.to.kind == PBFT_PEER_CLIENT, out.to.index,
                              out.frame);
            pbft_frame_release(out.frame);
            break;
        case PBFT_OUTPUT_JOB:
            if (n->dying) {
                pbft_job_run(out.job);
                pbft_node_job_done(n->node, sim_time_of(sim, n->place), out.job);
            } else {
                start_job(sim, n, out.job_kind, out.job);
            }
            break;
        case PBFT_OUTPUT_LOG:
            if (!n->powerless) log_line(sim, n->id, &out);
            break;
        case PBFT_OUTPUT_EPOCH: epoch_over(sim, n, out.frame); break;
        }
    }
    if (n->dying) return;
    if (sim_is_correct(sim, n->id)) check_node(sim, n);
    damage_check(sim, n);
    schedule_tick(sim, n);
}

/* A strategy learns the time. */
void node_wake(struct sim *sim, struct node *n)
{
    if (n->late.context != NULL) n->late.tick(n->late.context, n->node, sim->now_ns);
}

/* ---- what goes in ---- */

struct pbft_peer node_peer_replica(const struct sim *sim, pbft_id id)
{
    return (struct pbft_peer){PBFT_PEER_REPLICA, id, sim->nodes[id].incarnation};
}

struct pbft_peer node_peer_client(uint32_t client)
{
    return (struct pbft_peer){PBFT_PEER_CLIENT, client, (uint64_t)client + 1};
}

/* A bit of it flipped on its way out of a Byzantine replica. Whoever takes it must be right: a
 * signature that had been spoilt may have been repaired. */
static void check_flipped(struct sim *sim, const struct node *n, const struct event *e)
{
    char why[RECHECK_WHY_BYTES];
    if (!e->flipped || pbft_wire_signed_body(pbft_frame_span(e->frame)).data == NULL) return;
    if (!recheck_frame(sim->epochs[n->epoch].cluster, sim->o.signer, pbft_frame_span(e->frame),
                       why))
        sim_fail(sim, "FAULTS 2.35: replica %u takes a %s in which a bit flipped: %s", n->id,
                 pbft_type_text(e->frame->bytes[0]), why);
}

/* FAULTS 3.7, 4.11: what views and checkpoints are built on, whoever says it. */
static void check_built_on(struct sim *sim, const struct node *n, const struct pbft_frame *frame)
{
    char why[RECHECK_WHY_BYTES];
    uint8_t type = frame->bytes[0];
    if (type != PBFT_VIEW_CHANGE && type != PBFT_NEW_VIEW && type != PBFT_CERTIFICATE) return;
    if (!recheck_frame(sim->epochs[n->epoch].cluster, sim->o.signer, pbft_frame_span(frame), why))
        sim_fail(sim, "FAULTS 3.7: replica %u takes a %s: %s", n->id, pbft_type_text(type), why);
}

/* FAULTS 3.13, at the low end; `stable` was h before. */
static void check_above(struct sim *sim, const struct node *n, const struct pbft_frame *frame,
                        pbft_seq stable)
{
    struct pbft_claim claim;
    if (frame->bytes[0] != PBFT_PRE_PREPARE ||
        pbft_wire_peek(pbft_frame_span(frame), &claim) != PBFT_OK || claim.seq > stable)
        return;
    sim_fail(sim, "FAULTS 3.13: replica %u takes a proposal for %llu, while h is %llu", n->id,
             (unsigned long long)claim.seq, (unsigned long long)stable);
}

static void check_taken(struct sim *sim, const struct node *n, const struct event *e,
                        pbft_seq stable)
{
    if (n->verdict != PBFT_OK || !sim_is_correct(sim, n->id)) return;
    check_flipped(sim, n, e);
    check_built_on(sim, n, e->frame);
    if (!sim->o.agreement_only) check_commit_taken(sim, pbft_frame_span(e->frame));
    check_above(sim, n, e->frame, stable);
}

static void seen_by_correct(struct sim *sim, struct node *n, const struct event *e)
{
    check_wish_heard(n, pbft_frame_span(e->frame));
    recheck_received(sim->epochs[n->epoch].recheck, pbft_frame_span(e->frame));
    if (e->from_client || e->frame->bytes[0] == PBFT_FETCH || e->frame->bytes[0] == PBFT_REQUEST)
        n->heard++;
}

void node_frame(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) {
        sim_tell_delivery(sim, e, true, PBFT_OK);
        return;
    }
    epochs_meet(sim, e);
    bool correct = sim_is_correct(sim, n->id);
    if (correct) seen_by_correct(sim, n, e);
    struct pbft_peer from =
        e->from_client ? node_peer_client(e->from) : node_peer_replica(sim, e->from);
    node_wake(sim, n);
    if (e->frame->size > 0) count_clock(sim, n, e->frame);
    pbft_view view = n->view;
    pbft_seq stable = n->stable;
    const struct event *outer = sim->stepping;
    sim->stepping = e;
    n->verdict = pbft_node_frame(n->node, sim_time_of(sim, e->to), &from, e->frame);
    sim->stepping = outer;
    check_taken(sim, n, e, stable);
    if (correct) {
        struct pbft_claim claim;
        if (pbft_wire_peek(pbft_frame_span(e->frame), &claim) == PBFT_OK)
            reach_delivery(sim, n, e, &claim, view);
    }
    sim_tell_delivery(sim, e, false, n->verdict);
    if (sim->trace != NULL && n->verdict != PBFT_OK)
        fprintf(sim->trace, "%28s r%u drops it: %s\n", "", n->id, pbft_verdict_text(n->verdict));
    node_drain(sim, n);
}

void node_job(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (e->job == NULL) return; /* the node ended meanwhile */
    n->jobs_out--;
    node_wake(sim, n);
    pbft_job_run(e->job);
    bool dark = disk_is_dark(n);
    if (dark) n->dying = n->powerless = true;
    pbft_node_job_done(n->node, sim_time_of(sim, e->to), e->job);
    node_drain(sim, n);
    if (dark) (void)node_kill(sim, n->id, SIM_HARM_OUTAGE);
}

void node_tick(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) return;
    if (n->tick_at != e->at_ns) return; /* superseded by an earlier one */
    n->tick_at = NEVER;
    bool late = late_deadline(n) <= sim->now_ns;
    if (late) node_wake(sim, n);
    if (pbft_node_deadline(n->node) <= sim->now_ns) {
        pbft_node_tick(n->node, sim_time_of(sim, e->to));
        node_drain(sim, n);
    } else if (late) {
        node_drain(sim, n);
    } else {
        schedule_tick(sim, n);
    }
}

/* ---- clocks and disks ---- */

void sim_set_clock_offset(struct sim *sim, pbft_id id, int64_t offset_ns)
{
    sim_tell_fault(sim, "the clock of replica %u is %+.3f s off", id, (double)offset_ns / 1e9);
    for (uint32_t place = id; place < 2 * sim->n; place += sim->n) { /* a twin is one machine */
        sim->nodes[place].clock_jumped = true;
        sim->nodes[place].clock_offset_ns = offset_ns;
    }
}

void sim_break_log(struct sim *sim, pbft_id id)
{
    sim_tell_fault(sim, "the disk of replica %u breaks", id);
    disk_break(sim->nodes[id].log);
}

void sim_slow_disk(struct sim *sim, pbft_id id, uint64_t extra_ns)
{
    sim_tell_fault(sim, "the disk of replica %u takes %llu ms longer", id,
                   (unsigned long long)(extra_ns / SIM_MS));
    sim->nodes[id].disk_extra_ns = extra_ns;
}

/* ---- handing frames over by hand ---- */

static enum pbft_verdict hand_over(struct sim *sim, struct event *e)
{
    e->kind = EVENT_TO_NODE;
    e->incarnation = sim->nodes[e->to].incarnation;
    sim_trace(sim, e);
    node_frame(sim, e);
    pbft_frame_release(e->frame);
    return sim->nodes[e->to].verdict;
}

enum pbft_verdict sim_inject(struct sim *sim, pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    struct event e = {.from = from, .to = to, .frame = frame};
    return hand_over(sim, &e);
}

enum pbft_verdict sim_inject_client(struct sim *sim, uint32_t client, pbft_id to,
                                    struct pbft_frame *frame)
{
    struct event e = {.from_client = true, .from = client, .to = to, .frame = frame};
    return hand_over(sim, &e);
}
