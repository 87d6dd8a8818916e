/* The node's life and its doors: bytes, completions and time in; the core's effects carried out. */
#include "replica/node_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

void *node_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

void *node_buffer(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

void *node_grow(void *array, size_t *capacity, size_t count, size_t item)
{
    if (count < *capacity) return array;
    size_t larger = *capacity == 0 ? 16 : *capacity * 2;
    PBFT_ASSERT(larger <= SIZE_MAX / item);
    void *memory = realloc(array, larger * item);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    *capacity = larger;
    return memory;
}

/* ---- what the core is given ---- */

static void sign_frame(void *context, uint8_t *frame, size_t size)
{
    const struct pbft_node *node = context;
    pbft_frame_sign(node->cluster, node->config.signer, &node->config.keypair->secret, frame, size);
}

static void sign_body(void *context, uint8_t type, struct pbft_span body, uint8_t *signature)
{
    const struct pbft_node *node = context;
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    PBFT_ASSERT(!pbft_wire_signs_digest(type) && body.size <= PBFT_BODY_MAX_BYTES);
    size_t size =
        pbft_wire_signed_bytes(type, &node->cluster->id, node->cluster->epoch, body, bytes);
    node->config.signer->sign(&node->config.keypair->secret, (struct pbft_span){bytes, size},
                              signature);
}

static bool wants(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim)
{
    const struct pbft_node *node = context;
    if (from->kind != PBFT_PEER_REPLICA) return true;
    return pbft_core_wants(node->core, from->index, claim);
}

/* ---- life ---- */

static bool make_core(struct pbft_node *node)
{
    struct pbft_core_config config = {
        .params = *node->p,
        .epoch = node->cluster->epoch,
        .id = node->id,
        .client_count = node->cluster->client_count,
        .genesis_seq = node->cluster->genesis_seq,
        .genesis_root = node->cluster->genesis_root,
        .functions = {node, node_digest_proposal, pbft_digest_null, pbft_digest_view_change,
                      pbft_digest_new_view, sign_frame, sign_body},
        .pool = node->config.pool,
        .body_max_bytes = node->config.body_max_bytes,
        .mute = node->config.mute,
    };
    size_t size = pbft_core_size(&config);
    PBFT_ASSERT(size > 0); /* pbft_cluster_seal() checked the parameters */
    node->core_memory = aligned_alloc(64, (size + 63) & ~(size_t)63);
    if (node->core_memory == NULL) return false;
    node->core = pbft_core_init(node->core_memory, &config);
    node->effects.capacity = pbft_core_effects_capacity(node->p);
    node->effects.items = calloc(node->effects.capacity, sizeof *node->effects.items);
    return node->effects.items != NULL;
}

static bool make_doors(struct pbft_node *node)
{
    struct pbft_door_config config = {
        .cluster = node->cluster,
        .signer = node->config.signer,
        .wants = wants,
        .wants_context = node,
        .cache_entries = 4u * node->p->window * node->n,
    };
    node->door = pbft_door_new(&config);
    config.wants = NULL;
    config.cache_entries = 1;
    node->side.door = pbft_door_new(&config);
    return node->door != NULL && node->side.door != NULL;
}

static bool make_parts(struct pbft_node *node)
{
    struct pbft_apply_config apply = {node->cluster, node->config.service, node->config.pool};
    if (node->side.apply == NULL)
        node->side.apply = pbft_apply_new(&apply);
    else
        pbft_apply_cluster(node->side.apply, node->cluster);
    if (node->side.apply != NULL) pbft_apply_brief(node->side.apply, node->id);
    uint32_t clients = node->cluster->client_count;
    node->clients = calloc(clients == 0 ? 1 : clients, sizeof(struct client *));
    node->peers = calloc(node->n, sizeof *node->peers);
    node->done = calloc(node->p->batch_max_requests, sizeof *node->done);
    return node->side.apply != NULL && node->clients != NULL && node->peers != NULL &&
           node->done != NULL && node_opened_init(node) && node_stages_init(node);
}

struct pbft_node *pbft_node_new(const struct pbft_node_config *config)
{
    struct pbft_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        pbft_apply_free(config->state);
        return NULL;
    }
    PBFT_ASSERT(config->id < config->cluster->params.n);
    node->config = *config;
    node->cluster = config->cluster;
    node->p = &config->cluster->params;
    node->id = config->id;
    node->n = node->p->n;
    node->mute = config->mute;
    node->side.apply = config->state;
    struct pbft_log_stats log;
    pbft_log_stats(config->log, &log);
    node->log_last = log.last;
    node->log_durable = log.durable;
    node->read_floor = node->cluster->genesis_seq; /* a restored cluster has no state before it */
    if (!make_core(node) || !make_doors(node) || !make_parts(node)) {
        pbft_node_free(node);
        return NULL;
    }
    node->state_bytes = pbft_apply_bytes(node->side.apply);
    return node;
}

void pbft_node_free(struct pbft_node *node)
{
    if (node == NULL) return;
    PBFT_ASSERT(!node->apply_running && !node->hash_running && !node->sync_running &&
                !node->flush_running);
    node_outbox_free(node);
    node_log_free(node);
    node_flush_free(node);
    node_admission_free(node);
    node_transfer_free(node);
    node_apply_free(node);
    node_opened_free(node);
    node_divergence_free(node);
    node_evidence_free(node);
    node_epoch_free(node);
    if (node->core != NULL) pbft_core_release(node->core);
    free(node->core_memory);
    free(node->effects.items);
    pbft_door_free(node->door);
    free(node->fetches);
    free(node->page_scratch);
    free(node->peers);
    free(node->done);
    free(node->batch_times);
    free(node);
}

bool node_is_mute(const struct pbft_node *node)
{
    return node->mute;
}

bool node_silenced(const struct pbft_node *node, pbft_signers signers)
{
    return node->mute && pbft_signers_has(signers, node->id);
}

struct pbft_core *pbft_node_core(struct pbft_node *node)
{
    return node->core;
}

const struct pbft_cluster *pbft_node_cluster(const struct pbft_node *node)
{
    return node->cluster;
}

/* ---- effects ---- */

static void log_view(struct pbft_node *node, const struct pbft_effect *e)
{
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    node_log_line(node, e->view.active ? "new_view" : "view_change",
                  "view=%llu primary=%u executed=%llu timeout_ms=%llu",
                  (unsigned long long)e->view.view, (unsigned)pbft_primary(node->n, e->view.view),
                  (unsigned long long)info.executed,
                  (unsigned long long)(info.view_timeout_ns / 1000000u));
}

static void carry_out(struct pbft_node *node, struct pbft_effect *e)
{
    switch (e->kind) {
    case PBFT_EFFECT_PERSIST:
        node_persist(node, e);
        pbft_frame_release(e->persist.frames[0]);
        pbft_frame_release(e->persist.frames[1]);
        break;
    case PBFT_EFFECT_SEND:
        node_send(node, e->send.to, e->send.needs_lsn, e->send.frame);
        pbft_frame_release(e->send.frame);
        break;
    case PBFT_EFFECT_EXECUTE: node_execute(node, e); break;
    case PBFT_EFFECT_TAKE_CHECKPOINT: node_take_checkpoint(node, e->take_checkpoint.seq); break;
    case PBFT_EFFECT_STABLE:
        node_stable(node, e->stable.seq);
        node_log_stable(node, e->stable.seq);
        node_log_line(node, "stable", "seq=%llu", (unsigned long long)e->stable.seq);
        break;
    case PBFT_EFFECT_FETCH: node_fetch(node, &e->fetch.what, e->fetch.hint); break;
    case PBFT_EFFECT_FETCH_STOP: node_fetch_stop(node, &e->fetch.what); break;
    case PBFT_EFFECT_TRANSFER:
        if (e->transfer.diverged != 0) node_diverged(node, e);
        node_transfer_begin(node, e->transfer.seq, &e->transfer.root, e->transfer.hint);
        break;
    case PBFT_EFFECT_EVIDENCE:
        node_evidence(node, e);
        pbft_frame_release(e->evidence.frames[0]);
        pbft_frame_release(e->evidence.frames[1]);
        break;
    case PBFT_EFFECT_VIEW: log_view(node, e); break;
    case PBFT_EFFECT_MUTED:
        node->mute = true; /* PROTOCOL 29 */
        node_outbox_clear(node);
        node_evidence_silence(node);
        node_log_line(
            node, "muted",
            "seq=%llu hint=\"it does not vote until `pbftctl replica replace %u` gives it "
            "a new key\"",
            (unsigned long long)e->muted.seq, (unsigned)node->config.id);
        break;
    }
}

enum pbft_verdict node_step(struct pbft_node *node, struct pbft_event *event)
{
    PBFT_ASSERT(!node->stepping);
    event->now_ns = node->now_ns;
    event->wall_ns = node->wall_ns;
    node->stepping = true;
    enum pbft_verdict verdict = pbft_step(node->core, event, &node->effects);
    const struct pbft_node_hooks *hooks = node->config.hooks;
    if (hooks != NULL && hooks->effects != NULL)
        hooks->effects(hooks->context, node, &node->effects);
    for (size_t i = 0; i < node->effects.count; i++)
        carry_out(node, &node->effects.items[i]);
    node->effects.count = 0;
    node->stepping = false;
    return verdict;
}

/* ---- in ---- */

void node_set_time(struct pbft_node *node, struct pbft_time time)
{
    if (time.now_ns > node->now_ns) node->now_ns = time.now_ns;
    node->wall_ns = time.wall_ns;
}

void node_settle(struct pbft_node *node)
{
    if (!node->apply_running) {
        struct pbft_job *job = node_apply_job(node);
        if (job != NULL) {
            node->apply_running = true;
            node_output_job(node, job);
        }
    }
    if (!node->hash_running) {
        struct pbft_job *job = node_hash_job(node);
        if (job != NULL) {
            node->hash_running = true;
            node_output_job(node, job);
        }
    }
    if (!node->sync_running) {
        struct pbft_job *job = node_sync_job(node);
        if (job != NULL) {
            node->sync_running = true;
            node_output_job(node, job);
        }
    }
    if (!node->flush_running) {
        struct pbft_job *job = node_report_job(node);
        if (job == NULL) job = node_flush_job(node);
        if (job != NULL) {
            node->flush_running = true;
            node_output_job(node, job);
        }
    }
    node_epoch_check(node);
}

void pbft_node_peer_up(struct pbft_node *node, struct pbft_time time, const struct pbft_peer *peer)
{
    node_set_time(node, time);
    if (peer->kind == PBFT_PEER_CLIENT) {
        node_client_up(node, peer);
        return;
    }
    PBFT_ASSERT(peer->index < node->n && peer->index != node->id);
    struct peer_state *state = &node->peers[peer->index];
    state->up = true; /* the newest connection counts, PROTOCOL 4 */
    state->connection = peer->connection;
    struct pbft_event event = {.kind = PBFT_EVENT_PEER_UP, .peer_up = {peer->index}};
    node_step(node, &event);
    node_settle(node);
}

void pbft_node_peer_down(struct pbft_node *node, struct pbft_time time,
                         const struct pbft_peer *peer)
{
    node_set_time(node, time);
    if (peer->kind == PBFT_PEER_CLIENT) {
        node_client_down(node, peer);
        return;
    }
    PBFT_ASSERT(peer->index < node->n && peer->index != node->id);
    struct peer_state *state = &node->peers[peer->index];
    if (!state->up || state->connection != peer->connection) return;
    state->up = false;
    node_transfer_peer_down(node, peer->index);
    node_settle(node);
}

static enum pbft_verdict to_core(struct pbft_node *node, const struct pbft_peer *from,
                                 const struct pbft_msg *msg, struct pbft_frame *frame)
{
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE};
    event.message.msg = msg;
    event.message.frame = frame;
    event.message.from = from->index;
    return node_step(node, &event);
}

static enum pbft_verdict dispatch(struct pbft_node *node, const struct pbft_peer *from,
                                  const struct pbft_msg *msg, struct pbft_frame *frame)
{
    switch ((enum pbft_type)msg->type) {
    case PBFT_REQUEST: return node_on_request(node, from, &msg->request, frame);
    case PBFT_QUERY: return node_on_query(node, from, &msg->query, frame);
    case PBFT_RESULT_FETCH: return node_on_result_fetch(node, from, &msg->result_fetch);
    case PBFT_ADMIN: return node_on_admin(node, from, &msg->admin);
    case PBFT_FETCH: return node_on_fetch(node, from, &msg->fetch);
    case PBFT_PAGE: return node_on_page(node, from, msg->page, frame);
    case PBFT_PRE_PREPARE:
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE:
    case PBFT_NEW_VIEW:
    case PBFT_STATUS_MSG:
    case PBFT_BATCH:
    case PBFT_CERTIFICATE:
    case PBFT_HEADER: return to_core(node, from, msg, frame);
    case PBFT_REPLY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_ADMIN_REPLY: break; /* client-bound: the door lets none of them in */
    }
    return PBFT_DROP_TYPE;
}

enum pbft_verdict pbft_node_frame(struct pbft_node *node, struct pbft_time time,
                                  const struct pbft_peer *from, struct pbft_frame *frame)
{
    node_set_time(node, time);
    if (node->storage_failed) return PBFT_DROP_MUTE;
    if (node_log_stuck(node)) {
        node->dropped[PBFT_DROP_BUSY]++;
        return PBFT_DROP_BUSY;
    }
    const struct pbft_node_hooks *hooks = node->config.hooks;
    if (hooks != NULL && hooks->inbound != NULL &&
        !hooks->inbound(hooks->context, node, from, frame))
        return PBFT_DROP_UNWANTED;
    struct pbft_msg msg;
    enum pbft_verdict verdict = pbft_door_open(node->door, from, pbft_frame_span(frame), &msg);
    if (verdict != PBFT_OK) return verdict; /* the door has counted it */
    node_opened(node, &msg);
    verdict = dispatch(node, from, &msg, frame);
    if (verdict != PBFT_OK) node->dropped[verdict]++;
    node_settle(node);
    return verdict;
}

void pbft_node_tick(struct pbft_node *node, struct pbft_time time)
{
    node_set_time(node, time);
    if (node->storage_failed) return;
    if (pbft_core_deadline(node->core) <= node->now_ns && !node_log_stuck(node)) {
        struct pbft_event event = {.kind = PBFT_EVENT_TICK};
        node_step(node, &event);
    }
    node_fetch_tick(node);
    node_transfer_tick(node);
    node_release_held(node);
    node_recheck_tick(node);
    node_settle(node);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t pbft_node_deadline(const struct pbft_node *node)
{
    if (node->storage_failed) return NEVER;
    uint64_t due = pbft_core_deadline(node->core);
    if (node_log_stuck(node) && due < node->now_ns + DISK_RETRY_NS)
        due = node->now_ns + DISK_RETRY_NS;
    due = earlier(due, node_fetch_deadline(node));
    due = earlier(due, node_transfer_deadline(node));
    due = earlier(due, node_log_deadline(node));
    due = earlier(due, node_flush_deadline(node));
    for (size_t i = 0; i < node->held_count; i++)
        due = earlier(due, node->held[i].expires_ns);
    return due;
}

/* ---- jobs ---- */

void pbft_job_run(struct pbft_job *job)
{
    switch (job->kind) {
    case PBFT_JOB_APPLY:
        for (struct task *task = job->tasks.head; task != NULL; task = task->next)
            apply_side_run(job->side, task);
        job->side->bytes = pbft_apply_bytes(job->side->apply);
        break;
    case PBFT_JOB_HASH:
        if (job->comparison != NULL)
            node_compare_run(job);
        else
            pbft_snapshot_root(job->snapshot, &job->root);
        break;
    case PBFT_JOB_SYNC:
        pbft_log_commit(job->log); /* begun when the job was made, reported when it is done */
        break;
    case PBFT_JOB_FLUSH:
        if (job->comparison != NULL)
            node_report_run(job);
        else
            node_flush_run(job);
        break;
    }
}

void pbft_node_job_done(struct pbft_node *node, struct pbft_time time, struct pbft_job *job)
{
    node_set_time(node, time);
    switch (job->kind) {
    case PBFT_JOB_APPLY:
        PBFT_ASSERT(node->apply_running);
        node->apply_running = false;
        node_apply_done(node, job);
        break;
    case PBFT_JOB_HASH:
        PBFT_ASSERT(node->hash_running);
        node->hash_running = false;
        if (job->comparison != NULL)
            node_compare_done(node, job);
        else
            node_hash_done(node, job);
        break;
    case PBFT_JOB_SYNC:
        PBFT_ASSERT(node->sync_running);
        node->sync_running = false;
        node_sync_done(node);
        break;
    case PBFT_JOB_FLUSH:
        PBFT_ASSERT(node->flush_running);
        node->flush_running = false;
        if (job->comparison != NULL)
            node_report_done(node, job);
        else
            node_flush_done(node, job);
        free(job->checkpoint);
        break;
    }
    pbft_snapshot_release(job->snapshot);
    free(job);
    node_settle(node);
}

unsigned pbft_node_jobs_running(const struct pbft_node *node)
{
    return (unsigned)node->apply_running + (unsigned)node->hash_running +
           (unsigned)node->sync_running + (unsigned)node->flush_running;
}
