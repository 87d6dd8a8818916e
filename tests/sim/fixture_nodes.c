/* Replicas: what goes into them and comes out, their life and death, their disks and clocks. */
#include "tests/sim/fixture_internal.h"

#include <stdlib.h>
#include <string.h>

#define OUTBOX_BYTES (UINT64_C(64) << 20)
#define FLUSH_JOBS   20u /* a flush takes up to as long as so many other jobs */

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
    if (n->dying) return;
    if (n->user != NULL && n->user->effects != NULL)
        n->user->effects(n->user->context, node, effects);
    if (sim_is_correct(n->sim, n->id)) check_effects(n->sim, n, effects);
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

static void drain(struct sim *sim, struct node *n)
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

/* Before each call into a node: its strategy learns the time. */
static void wake(struct sim *sim, struct node *n)
{
    if (n->late.context != NULL) n->late.tick(n->late.context, n->node, sim->now_ns);
}

/* ---- what goes in ---- */

static struct pbft_peer replica_peer(const struct sim *sim, pbft_id id)
{
    return (struct pbft_peer){PBFT_PEER_REPLICA, id, sim->nodes[id].incarnation};
}

static struct pbft_peer client_peer(uint32_t client)
{
    return (struct pbft_peer){PBFT_PEER_CLIENT, client, (uint64_t)client + 1};
}

/* A bit of it flipped on its way out of a Byzantine replica. Whoever takes it must be right: a
 * signature that had been spoilt may have been repaired. */
static void check_flipped(struct sim *sim, const struct node *n, const struct event *e)
{
    char why[RECHECK_WHY_BYTES];
    if (!e->flipped || n->verdict != PBFT_OK || !sim_is_correct(sim, n->id)) return;
    if (pbft_wire_signed_body(pbft_frame_span(e->frame)).data == NULL) return;
    if (!recheck_frame(sim->epochs[n->epoch].cluster, sim->o.signer, pbft_frame_span(e->frame),
                       why))
        sim_fail(sim, "FAULTS 2.35: replica %u takes a %s in which a bit flipped: %s", n->id,
                 pbft_type_text(e->frame->bytes[0]), why);
}

static void seen_by_correct(struct sim *sim, struct node *n, const struct event *e)
{
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
    struct pbft_peer from = e->from_client ? client_peer(e->from) : replica_peer(sim, e->from);
    wake(sim, n);
    if (e->frame->size > 0) count_clock(sim, n, e->frame);
    pbft_view view = n->view;
    const struct event *outer = sim->stepping;
    sim->stepping = e;
    n->verdict = pbft_node_frame(n->node, sim_time_of(sim, e->to), &from, e->frame);
    sim->stepping = outer;
    check_flipped(sim, n, e);
    if (correct) {
        struct pbft_claim claim;
        if (pbft_wire_peek(pbft_frame_span(e->frame), &claim) == PBFT_OK)
            reach_delivery(sim, n, e, &claim, view);
    }
    sim_tell_delivery(sim, e, false, n->verdict);
    if (sim->trace != NULL && n->verdict != PBFT_OK)
        fprintf(sim->trace, "%28s r%u drops it: %s\n", "", n->id, pbft_verdict_text(n->verdict));
    drain(sim, n);
}

static uint64_t kill_node(struct sim *sim, pbft_id id, enum sim_harm harm);

void node_job(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (e->job == NULL) return; /* the node ended meanwhile */
    n->jobs_out--;
    wake(sim, n);
    pbft_job_run(e->job);
    bool dark = disk_is_dark(n);
    if (dark) n->dying = n->powerless = true;
    pbft_node_job_done(n->node, sim_time_of(sim, e->to), e->job);
    drain(sim, n);
    if (dark) (void)kill_node(sim, n->id, SIM_HARM_OUTAGE);
}

void node_tick(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) return;
    if (n->tick_at != e->at_ns) return; /* superseded by an earlier one */
    n->tick_at = NEVER;
    bool late = late_deadline(n) <= sim->now_ns;
    if (late) wake(sim, n);
    if (pbft_node_deadline(n->node) <= sim->now_ns) {
        pbft_node_tick(n->node, sim_time_of(sim, e->to));
        drain(sim, n);
    } else if (late) {
        drain(sim, n);
    } else {
        schedule_tick(sim, n);
    }
}

/* ---- life and death ---- */

static void open_pages(struct node *n)
{
    if (n->sim->o.flush_bytes == 0 || n->mute) return;
    if (n->pages_disk == NULL) n->pages_disk = pbft_pages_disk_new();
    enum pbft_status status = n->pages_disk == NULL
                                  ? PBFT_STATUS_MEMORY
                                  : pbft_pages_memory_open(&n->pages, n->pages_disk);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    pbft_pages_disk_crash_after(n->pages_disk, UINT64_MAX);
}

/* A flush that is under way ends at any of its transactions. */
static void cut_power(struct sim *sim, struct node *n)
{
    if (n->pages == NULL) return;
    pbft_pages_disk_crash_after(n->pages_disk, sim_random(sim, 3));
}

static void start_node(struct sim *sim, struct node *n, struct pbft_log *log,
                       struct pbft_apply *state, pbft_seq flushed)
{
    n->incarnation++;
    n->tick_at = NEVER;
    n->dying = n->powerless = false;
    n->jobs_out = 0;
    n->log = log;
    n->hooks = (struct pbft_node_hooks){n, hook_effects, hook_outbound, hook_inbound};
    open_pages(n);
    struct pbft_node_config config = {.cluster = sim->epochs[n->epoch].cluster,
                                      .id = n->id,
                                      .keypair = &sim->nodes[n->id].keypair,
                                      .signer = sim->o.signer,
                                      .service = sim->o.service,
                                      .pool = pbft_pool_frames(sim->pool),
                                      .log = n->log,
                                      .pages = n->pages,
                                      .state = state,
                                      .state_flushed = flushed,
                                      .flush_bytes = sim->o.flush_bytes,
                                      .mute = n->mute,
                                      .body_max_bytes = sim->o.body_max_bytes,
                                      .outbox_max_bytes = OUTBOX_BYTES,
                                      .hooks = &n->hooks,
                                      .divergences = {n, damage_report}};
    n->node = pbft_node_new(&config);
    PBFT_ASSERT(n->node != NULL);
}

static void connect_node(struct sim *sim, struct node *n)
{
    for (pbft_id other = 0; other < sim->n; other++) {
        if (other == n->id || sim->nodes[other].node == NULL) continue;
        struct pbft_peer peer = replica_peer(sim, other);
        pbft_node_peer_up(n->node, sim_time_of(sim, n->place), &peer);
    }
    for (uint32_t client = 0; client < sim->o.clients; client++) {
        struct pbft_peer peer = client_peer(client);
        pbft_node_peer_up(n->node, sim_time_of(sim, n->place), &peer);
    }
    drain(sim, n);
}

static void close_node(struct node *n)
{
    pbft_frame_release(n->proof);
    n->proof = NULL;
    pbft_node_free(n->node);
    n->node = NULL;
    pbft_log_close(n->log);
    n->log = NULL;
    pbft_pages_close(n->pages);
    n->pages = NULL;
    n->tick_at = NEVER;
}

/* What is out comes home. */
static void finish_jobs(struct sim *sim, struct node *n)
{
    for (size_t i = 0; i < sim->heap_count; i++) {
        struct event *e = &sim->heap[i];
        if (e->kind != EVENT_JOB || e->to != n->place || e->incarnation != n->incarnation) continue;
        if (e->job == NULL) continue;
        pbft_job_run(e->job);
        pbft_node_job_done(n->node, sim_time_of(sim, n->place), e->job);
        e->job = NULL;
    }
    drain(sim, n);
}

static void stop_node(struct sim *sim, struct node *n)
{
    if (n->node == NULL) return;
    n->dying = true;
    cut_power(sim, n);
    finish_jobs(sim, n);
    close_node(n);
}

void nodes_start(struct sim *sim)
{
    sim->outbox_max = OUTBOX_BYTES;
    for (uint32_t place = 0; place < 2 * sim->n; place++) {
        struct node *n = &sim->nodes[place];
        n->sim = sim;
        n->place = place;
        n->id = place < sim->n ? place : place - sim->n;
        if (place >= sim->n && node_twin(sim, n->id) == NULL) continue;
        n->clock_offset_ns = (int64_t)sim_random(sim, 2 * sim->o.clock_offset_max_ns + 1) -
                             (int64_t)sim->o.clock_offset_max_ns;
        n->clock_skewed = n->clock_offset_ns != 0;
        n->luck = sim->o.seed * UINT64_C(0x8EBC6AF09C88C6E3) + place;
        check_restart(n);
        start_node(sim, n, disk_open(n), NULL, 0);
    }
}

void nodes_connect(struct sim *sim)
{
    for (uint32_t place = 0; place < 2 * sim->n; place++)
        if (sim->nodes[place].node != NULL) connect_node(sim, &sim->nodes[place]);
}

void nodes_free(struct sim *sim)
{
    for (uint32_t place = 0; place < 2 * sim->n; place++) {
        stop_node(sim, &sim->nodes[place]);
        disk_drop(&sim->nodes[place]);
        pbft_pages_disk_free(sim->nodes[place].pages_disk);
    }
}

/* Everybody else, twins included. */
static void tell_others(struct sim *sim, pbft_id id, bool up)
{
    for (uint32_t place = 0; place < 2 * sim->n; place++) {
        struct node *other = &sim->nodes[place];
        if (other->id == id || other->node == NULL) continue;
        struct pbft_peer peer = replica_peer(sim, id);
        if (up)
            pbft_node_peer_up(other->node, sim_time_of(sim, place), &peer);
        else
            pbft_node_peer_down(other->node, sim_time_of(sim, place), &peer);
        drain(sim, other);
    }
}

static uint64_t kill_node(struct sim *sim, pbft_id id, enum sim_harm harm)
{
    struct node *n = &sim->nodes[id];
    sim_tell_fault(sim, "replica %u is killed", id);
    sim->acted[SIM_FAULT_CRASH]++;
    uint64_t lost = 0;
    if (n->node != NULL) lost = disk_crash(sim, n, harm);
    n->powerless = true;
    stop_node(sim, n);
    tell_others(sim, id, false);
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_disconnected(sim, client, id);
    return lost;
}

void sim_kill(struct sim *sim, pbft_id id)
{
    (void)kill_node(sim, id, SIM_HARM_CRASH);
}

uint64_t sim_kill_harming(struct sim *sim, pbft_id id, enum sim_harm harm)
{
    static const char *const texts[] = {"torn or not",
                                        "without what was not synced",
                                        "torn",
                                        "after an outage",
                                        "rotten",
                                        "with a write in the wrong place",
                                        "wiped",
                                        "rolled back",
                                        "as another replica's"};
    struct node *n = &sim->nodes[id];
    PBFT_ASSERT(n->node != NULL && sim_is_correct(sim, id) && !n->mute);
    uint64_t lost = kill_node(sim, id, harm);
    sim_tell_fault(sim, "the disk of replica %u comes back %s", id, texts[harm]);
    return harm <= SIM_HARM_OUTAGE ? lost : disk_harm(sim, n, harm);
}

static void meet_others(struct sim *sim, struct node *n)
{
    connect_node(sim, n);
    tell_others(sim, n->id, true);
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_connected(sim, client, n->id);
}

static void restore_node(struct sim *sim, struct node *n)
{
    bool checked = n->place < sim->n;
    if (checked) check_restoring(n);
    if (pbft_node_restore(n->node, sim_time_of(sim, n->place)) != PBFT_STATUS_OK)
        sim_fail(sim, "PROTOCOL 25: replica %u refuses the log that it wrote", n->id);
    else if (checked)
        check_restored(n);
}

void sim_restart_mute(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    PBFT_ASSERT(n->node == NULL);
    sim_tell_fault(sim, "replica %u comes back, mute", id);
    sim->acted[SIM_FAULT_RESTART]++;
    reach(sim, SIM_REACH_MUTE);
    n->mute = true;
    check_restart(n);
    start_node(sim, n, disk_open(n), NULL, 0);
    if (n->epoch > 0) restore_node(sim, n); /* it begins behind genesis */
    meet_others(sim, n);
}

void sim_restart(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    PBFT_ASSERT(n->node == NULL && !n->mute);
    sim_tell_fault(sim, "replica %u comes back with its log", id);
    sim->acted[SIM_FAULT_RESTART]++;
    reach(sim, SIM_REACH_RESUMED);
    check_restart(n);
    start_node(sim, n, disk_reopen(n), NULL, 0);
    restore_node(sim, n);
    if (sim->failed) return;
    struct pbft_node_info info = sim_info(sim, id);
    if (info.flushed > 0) reach(sim, SIM_REACH_LOADED);
    if (info.applied > info.flushed) reach(sim, SIM_REACH_REPLAYED);
    meet_others(sim, n);
}

/* ---- the next epoch ---- */

/* Its old disk goes with its old key. */
static void take_new_key(struct sim *sim, struct node *n)
{
    sim_tell_fault(sim, "replica %u has a new key", n->id);
    reach(sim, SIM_REACH_KEY_REPLACED);
    epoch_keypair(sim, n->id, n->epoch, &n->keypair);
    n->mute = false;
    pbft_pages_disk_free(n->pages_disk);
    n->pages_disk = NULL;
}

/* The log of the old epoch is of no use any more; nor is what it said there. */
static void begin_epoch(struct sim *sim, struct node *n, const struct pbft_cluster *next,
                        struct pbft_apply *state, pbft_seq flushed)
{
    n->epoch = next->epoch;
    disk_drop(n);
    map_free(&n->said);
    if (!pbft_public_key_equal(&next->replicas[n->id], &n->keypair.public)) {
        take_new_key(sim, n);
        flushed = 0;
    }
    if (n->place < sim->n) check_restart(n);
    damage_epoch(n);
    start_node(sim, n, disk_open(n), state, flushed);
    restore_node(sim, n);
    if (!sim->failed) meet_others(sim, n);
}

void node_epoch(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) return;
    const struct pbft_cluster *next = epoch_after(sim, n->epoch, pbft_frame_span(n->proof));
    if (next == NULL) return;
    struct pbft_node_info info;
    n->dying = true;
    finish_jobs(sim, n);
    pbft_node_info(n->node, &info);
    struct pbft_apply *state = pbft_node_take_state(n->node);
    close_node(n);
    if (n->place < sim->n) tell_others(sim, n->id, false);
    for (uint32_t client = 0; n->place < sim->n && client < sim->o.clients; client++)
        client_disconnected(sim, client, n->id);
    begin_epoch(sim, n, next, state, info.flushed);
}

void node_told(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    n->told = false;
    if (n->node == NULL || n->incarnation != e->incarnation || n->epoch + 1 >= sim->epoch_count)
        return;
    wake(sim, n);
    pbft_node_told(n->node, sim_time_of(sim, n->place),
                   pbft_epoch_history(sim->epochs[sim->epoch_count - 1].cluster, n->epoch + 1));
    drain(sim, n);
}

void sim_wipe_pages(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    PBFT_ASSERT(n->node == NULL);
    sim_tell_fault(sim, "the checkpoint on the disk of replica %u is gone", id);
    pbft_pages_disk_free(n->pages_disk);
    n->pages_disk = NULL;
}

pbft_signers sim_blackout(struct sim *sim)
{
    pbft_signers dark = 0;
    for (pbft_id id = 0; id < sim->n; id++) {
        const struct node *n = &sim->nodes[id];
        if (n->node == NULL || n->mute || !sim_is_correct(sim, id) ||
            sim_info(sim, id).storage_failed || sim_info(sim, id).core.mute)
            continue;
        dark |= pbft_signers_of(id);
        (void)kill_node(sim, id, SIM_HARM_OUTAGE);
    }
    reach(sim, SIM_REACH_BLACKOUT);
    return dark;
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
