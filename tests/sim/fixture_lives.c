/* The life and death of replicas: crashes, restarts, what their disks bring back, new epochs. */
#include "tests/sim/fixture_internal.h"

#define OUTBOX_BYTES (UINT64_C(64) << 20)

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
    n->hooks = node_hooks(n);
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
                                      .transfer_bytes_per_second = sim->o.transfer_bytes_per_second,
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
        struct pbft_peer peer = node_peer_replica(sim, other);
        pbft_node_peer_up(n->node, sim_time_of(sim, n->place), &peer);
    }
    for (uint32_t client = 0; client < sim->o.clients; client++) {
        struct pbft_peer peer = node_peer_client(client);
        pbft_node_peer_up(n->node, sim_time_of(sim, n->place), &peer);
    }
    node_drain(sim, n);
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
    node_drain(sim, n);
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
        struct pbft_peer peer = node_peer_replica(sim, id);
        if (up)
            pbft_node_peer_up(other->node, sim_time_of(sim, place), &peer);
        else
            pbft_node_peer_down(other->node, sim_time_of(sim, place), &peer);
        node_drain(sim, other);
    }
}

uint64_t node_kill(struct sim *sim, pbft_id id, enum sim_harm harm)
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
    (void)node_kill(sim, id, SIM_HARM_CRASH);
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
    uint64_t lost = node_kill(sim, id, harm);
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

bool sim_restart_as_found(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    if (n->disk == NULL || !disk_usable(n)) {
        sim_restart_mute(sim, id);
        return false;
    }
    sim_restart(sim, id);
    return true;
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
    check_epoch_begun(n);
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
    node_wake(sim, n);
    pbft_node_told(n->node, sim_time_of(sim, n->place),
                   pbft_epoch_history(sim->epochs[sim->epoch_count - 1].cluster, n->epoch + 1));
    node_drain(sim, n);
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
        (void)node_kill(sim, id, SIM_HARM_OUTAGE);
    }
    reach(sim, SIM_REACH_BLACKOUT);
    return dark;
}
