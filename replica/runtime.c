/* The core thread: the net's events into the node, the node's outputs into the world. */
#include "replica/runtime_internal.h"

#include "pbft/quorum.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OUTBOX_DIVISOR 4u /* of the frame pool's budget */
#define BODY_EIGHTHS   3u /* the same. A third of that is the primary's: 64 batches of 512 KiB */
#define DRAIN_EVERY_NS                                                                             \
    MILLISECOND_NS /* a long batch of events must not hold back what it caused                     \
                    */
#define CLIENT_FRAME_SLACK 65536u

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t runtime_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

struct pbft_time runtime_time(void)
{
    return (struct pbft_time){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_REALTIME)};
}

enum pbft_log_level pbft_runtime_log_level(enum pbft_config_level level)
{
    switch (level) {
    case PBFT_CONFIG_LEVEL_ERROR: return PBFT_LOG_ERROR;
    case PBFT_CONFIG_LEVEL_WARN: return PBFT_LOG_WARN;
    case PBFT_CONFIG_LEVEL_INFO: return PBFT_LOG_INFO;
    case PBFT_CONFIG_LEVEL_DEBUG: return PBFT_LOG_DEBUG;
    }
    return PBFT_LOG_INFO;
}

/* ---- out ---- */

static enum pbft_log_level level_of(const char *event)
{
    static const struct {
        const char *event;
        enum pbft_log_level level;
    } levels[] = {
        {"stable", PBFT_LOG_DEBUG},
        {"view_change", PBFT_LOG_WARN},
        {"evidence", PBFT_LOG_WARN},
        {"muted", PBFT_LOG_ERROR},
        {"storage_failed", PBFT_LOG_ERROR},
        {"snapshot_failed", PBFT_LOG_WARN},
        {"log_refused", PBFT_LOG_ERROR},
        {"state_refused", PBFT_LOG_WARN},
        {"disk_full", PBFT_LOG_ERROR},
        {"disk_room", PBFT_LOG_WARN},
        {"flushed", PBFT_LOG_DEBUG},
        {"divergence", PBFT_LOG_ERROR},
        {"divergence_repaired", PBFT_LOG_WARN},
        {"divergence_left", PBFT_LOG_WARN},
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(levels[i].event, event) == 0) return levels[i].level;
    return PBFT_LOG_INFO;
}

/* Shown a vote of ours that the log does not hold: what else was lost, nobody knows, and the next
 * start must not vote before somebody shows it again (PROTOCOL 29). So it is tried until it is on
 * the disk: a full one may have room again (FAULTS 2.42). */
static void remember_amnesia(struct pbft_runtime *r)
{
    if (!r->amnesia || runtime_now() < r->amnesia_ns) return;
    bool first = r->amnesia_ns == 0;
    enum pbft_status status = pbft_superblock_mark_amnesia(r->config.superblock);
    r->amnesia = status != PBFT_STATUS_OK;
    r->amnesia_ns = runtime_now() + AMNESIA_RETRY_NS;
    if (r->amnesia && first)
        pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "superblock",
                          "why=\"%s\" hint=\"it is mute, but its next start would not know: "
                          "let it run until `superblock_written`\"",
                          pbft_status_text(status));
    if (!r->amnesia && !first)
        pbft_logger_write(r->config.logger, PBFT_LOG_WARN, "superblock_written",
                          "hint=\"every later start is mute, too\"");
}

void runtime_drain(struct pbft_runtime *r)
{
    struct pbft_output out;
    while (pbft_node_next(r->node, &out)) {
        switch (out.kind) {
        case PBFT_OUTPUT_SEND:
            (void)pbft_net_send(r->net, &out.to, out.frame); /* a refusal is counted there */
            pbft_frame_release(out.frame);
            break;
        case PBFT_OUTPUT_JOB: jobs_dispatch(r, &out); break;
        case PBFT_OUTPUT_LOG:
            pbft_logger_write(r->config.logger, level_of(out.event), out.event, "%s", out.text);
            if (strcmp(out.event, "muted") == 0) r->amnesia = !r->data.mute;
            break;
        case PBFT_OUTPUT_EPOCH: r->proof = out.frame; break;
        }
    }
    remember_amnesia(r);
}

/* ---- in ---- */

static void log_connection(struct pbft_runtime *r, const struct pbft_net_event *e)
{
    bool up = e->kind == PBFT_NET_UP;
    if (e->peer.kind == PBFT_PEER_CLIENT)
        pbft_logger_write(r->config.logger, PBFT_LOG_DEBUG, up ? "client_up" : "client_down",
                          "client=%u connection=%" PRIu64 "%s%s%s", (unsigned)e->peer.index,
                          e->peer.connection, up ? "" : " reason=\"", up ? "" : e->reason,
                          up ? "" : "\"");
    else
        pbft_logger_write(r->config.logger, PBFT_LOG_INFO, up ? "peer_up" : "peer_down",
                          "peer=%u connection=%" PRIu64 "%s%s%s", (unsigned)e->peer.index,
                          e->peer.connection, up ? "" : " reason=\"", up ? "" : e->reason,
                          up ? "" : "\"");
}

static void charge(struct pbft_runtime *r, const struct pbft_peer *from, enum pbft_verdict verdict)
{
    if (!pbft_strikes_counts(verdict) ||
        !pbft_strikes_add(&r->strikes, from->connection, runtime_now()))
        return;
    if (!pbft_net_disconnect(r->net, from->connection, "too many bad messages")) return;
    r->misbehaviour_closed++;
    pbft_logger_write(r->config.logger, PBFT_LOG_WARN, "misbehaviour",
                      "%s=%u connection=%" PRIu64 " verdict=%s",
                      from->kind == PBFT_PEER_CLIENT ? "client" : "peer", (unsigned)from->index,
                      from->connection, pbft_verdict_text(verdict));
}

static void handle(struct pbft_runtime *r, struct pbft_net_event *e)
{
    switch (e->kind) {
    case PBFT_NET_UP:
        log_connection(r, e);
        pbft_node_peer_up(r->node, runtime_time(), &e->peer);
        break;
    case PBFT_NET_DOWN:
        log_connection(r, e);
        pbft_node_peer_down(r->node, runtime_time(), &e->peer);
        break;
    case PBFT_NET_FRAME: {
        r->frames++;
        enum pbft_verdict verdict = pbft_node_frame(r->node, runtime_time(), &e->peer, e->frame);
        pbft_frame_release(e->frame);
        if (verdict != PBFT_OK) charge(r, &e->peer, verdict);
        break;
    }
    case PBFT_NET_EPOCH:
        pbft_node_told(r->node, runtime_time(), pbft_frame_span(e->frame));
        pbft_frame_release(e->frame);
        break;
    }
}

/* Clients first: the proposal that a vote makes possible takes along every request that is here
 * (PROTOCOL 13). A connection is of one kind, so its events stay in order. */
static void handle_events(struct pbft_runtime *r, size_t count)
{
    static const enum pbft_peer_kind kinds[] = {PBFT_PEER_CLIENT, PBFT_PEER_REPLICA};
    uint64_t drained_ns = runtime_now();
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < count; i++) {
            struct pbft_net_event *e = &r->events[i];
            bool told = e->kind == PBFT_NET_EPOCH; /* of nobody in particular */
            if (told ? turn > 0 : e->peer.kind != kinds[turn]) continue;
            handle(r, e);
            if (runtime_now() - drained_ns < DRAIN_EVERY_NS) continue;
            runtime_drain(r);
            pbft_net_flush(r->net);
            drained_ns = runtime_now();
        }
    }
    if (count > 0) r->dirty = true;
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t time_to_wait(const struct pbft_runtime *r)
{
    if (r->jobs.waiting.count > 0) return 0;
    uint64_t due = pbft_node_deadline(r->node), now = runtime_now();
    const struct pbft_replica_extension *x = r->config.extension;
    if (x != NULL && x->deadline != NULL) due = earlier(due, x->deadline(x->context));
    if (r->dirty) due = earlier(due, r->published.at_ns + PUBLISH_NS);
    if (due == UINT64_MAX) return UINT64_MAX;
    return due > now ? due - now : 0;
}

static void tick(struct pbft_runtime *r)
{
    const struct pbft_replica_extension *x = r->config.extension;
    struct pbft_time time = runtime_time();
    if (pbft_node_deadline(r->node) <= time.now_ns) {
        pbft_node_tick(r->node, time);
        r->dirty = true;
    }
    if (x != NULL && x->tick != NULL) x->tick(x->context, r->node, time.now_ns);
}

static void reload(struct pbft_runtime *r)
{
    struct pbft_replica_config fresh;
    char error[256];
    if (!pbft_logger_reopen(r->config.logger))
        pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "log_reopen_failed", "%s", "");
    if (pbft_replica_config_load(&fresh, r->config.config_path, error) != PBFT_STATUS_OK) {
        pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "reload_failed", "why=\"%s\"", error);
        return;
    }
    enum pbft_log_level level = pbft_runtime_log_level(fresh.log_level);
    pbft_logger_level(r->config.logger, level);
    pbft_logger_write(r->config.logger, PBFT_LOG_INFO, "reloaded", "log_level=%s",
                      pbft_log_level_text(level));
}

static bool storage_failed(const struct pbft_runtime *r)
{
    struct pbft_node_info info;
    pbft_node_info(r->node, &info);
    return info.storage_failed;
}

static void publish_if_due(struct pbft_runtime *r)
{
    uint64_t now = runtime_now();
    if (!r->dirty || now - r->published.at_ns < PUBLISH_NS) return;
    publish(r, now);
    r->failed = r->failed || storage_failed(r);
}

static void serve(struct pbft_runtime *r)
{
    runtime_drain(r); /* what a restart began */
    while (!signals_stop(r) && !r->failed && r->proof == NULL) {
        size_t count = pbft_net_poll(r->net, time_to_wait(r), r->events, EVENTS_PER_POLL);
        r->wakeups++;
        handle_events(r, count);
        (void)jobs_collect(r);
        tick(r);
        runtime_drain(r);
        if (r->jobs.waiting.count > 0) {
            pbft_net_flush(r->net); /* what others wait for leaves before a job holds us up */
            (void)jobs_run_inline(r);
        }
        publish_if_due(r);
        if (signals_take_reload(r)) reload(r);
    }
}

/* ---- the end ---- */

static void poll_and_discard(struct pbft_runtime *r, uint64_t wait_ns)
{
    size_t count = pbft_net_poll(r->net, wait_ns, r->events, EVENTS_PER_POLL);
    for (size_t i = 0; i < count; i++)
        pbft_frame_release(r->events[i].frame); /* NULL where there is none */
}

/* Nothing is taken in any more. Jobs that are out come home, and what was said leaves. The signal
 * thread bounds the time. */
static void drain_and_stop(struct pbft_runtime *r)
{
    r->stopping = true;
    publish(r, runtime_now());
    if (r->data.pages != NULL) pbft_pages_cancel(r->data.pages);
    while (pbft_node_jobs_running(r->node) > 0) {
        poll_and_discard(r, r->jobs.waiting.count > 0 ? 0 : 10 * MILLISECOND_NS);
        (void)jobs_collect(r);
        runtime_drain(r);
        (void)jobs_run_inline(r);
    }
    uint64_t began = runtime_now();
    struct pbft_net_stats stats;
    do {
        poll_and_discard(r, MILLISECOND_NS);
        pbft_net_stats(r->net, &stats);
    } while (stats.out_bytes > 0 && runtime_now() - began < FLUSH_LIMIT_NS);
}

static bool fail(struct pbft_runtime *r, const char *what, const char *why)
{
    pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "start_failed", "what=%s why=\"%s\"", what,
                      why);
    return false;
}

/* Whoever is told to stop meanwhile has voted for nothing yet, and this was no start. */
static bool load_failed(struct pbft_runtime *r, enum pbft_status status, const char *what,
                        const char *why)
{
    if (status != PBFT_STATUS_REFUSED || !signals_stop(r)) return fail(r, what, why);
    r->cancelled = true;
    pbft_logger_write(r->config.logger, PBFT_LOG_INFO, "stopping", "while=\"its state is loaded\"");
    return false;
}

/* On the thread that writes checkpoints. */
static enum pbft_status save_divergence(void *context, pbft_seq seq, const char *json, size_t size)
{
    struct pbft_runtime *r = context;
    return pbft_divergence_save(r->reports, seq, json, size);
}

static bool open_reports(struct pbft_runtime *r)
{
    if (r->config.replica->durability == PBFT_DURABILITY_MEMORY) return true;
    enum pbft_status status = pbft_disk_posix_open(&r->reports, r->config.replica->data);
    return status == PBFT_STATUS_OK || fail(r, "data", pbft_status_text(status));
}

static bool new_node(struct pbft_runtime *r)
{
    const struct pbft_runtime_config *c = &r->config;
    struct pbft_node_config config = {
        .cluster = r->cluster,
        .id = r->id,
        .keypair = c->keypair,
        .signer = &pbft_signer_ed25519,
        .service = c->service,
        .pool = pbft_pool_frames(c->pool),
        .log = r->data.log,
        .pages = r->data.pages,
        .genesis = r->data.genesis,
        .state = c->epoch->state,
        .state_flushed = c->epoch->flushed,
        .flush_bytes = c->replica->flush_bytes,
        .transfer_bytes_per_second = c->replica->transfer_bytes_per_second,
        .mute = r->data.mute, /* PROTOCOL 29 */
        .cancel = &r->signals.cancel,
        .body_max_bytes = c->replica->frames_max_bytes / 8 * BODY_EIGHTHS,
        .outbox_max_bytes = c->replica->frames_max_bytes / OUTBOX_DIVISOR,
        .hooks = c->hooks,
        .divergences = {r, r->reports == NULL ? NULL : save_divergence},
    };
    r->node = pbft_node_new(&config);
    c->epoch->state = NULL; /* the node's, or gone */
    if (r->node == NULL) return fail(r, "node", "out of memory");
    return true;
}

/* The log's lines of a node that is given up. */
static void drain_lines(struct pbft_runtime *r)
{
    struct pbft_output out;
    while (pbft_node_next(r->node, &out)) {
        if (out.kind == PBFT_OUTPUT_LOG)
            pbft_logger_write(r->config.logger, level_of(out.event), out.event, "%s", out.text);
        if (out.kind == PBFT_OUTPUT_SEND) pbft_frame_release(out.frame);
    }
}

/* At the first start of a restored cluster nobody else may have the state either. Later the others
 * have it, or a newer one. */
static bool begins_with_genesis(struct pbft_runtime *r)
{
    struct pbft_node_info info;
    pbft_node_info(r->node, &info);
    if (info.applied == r->cluster->genesis_seq || r->starts > 1) return true;
    char why[160];
    (void)snprintf(why, sizeof why,
                   "the state that the cluster was restored with is damaged: when the other "
                   "replicas run, `pbftctl replica replace %u` brings it in",
                   (unsigned)r->id);
    drain_lines(r);
    r->exit_code = PBFT_EXIT_DATA;
    return fail(r, "genesis", why);
}

static bool open_node(struct pbft_runtime *r)
{
    const struct pbft_runtime_config *c = &r->config;
    struct pbft_data_config config = {
        .dir = c->dir,
        .owner = c->owner,
        .genesis_seq = r->cluster->genesis_seq,
        .restored = r->cluster->epoch == 0 && r->cluster->genesis_seq > 0,
        .durability = c->replica->durability,
        .superblock = c->superblock,
        .frames_max_bytes = c->replica->frames_max_bytes,
        .cancel = &r->signals.cancel,
    };
    char error[256];
    enum pbft_status status = pbft_data_open(&r->data, &config, error);
    if (r->data.taken_back)
        pbft_logger_write(c->logger, PBFT_LOG_WARN, "pages_back",
                          "why=\"pages.mdb.damaged can be read again, and nothing was fetched in "
                          "its place\"");
    if (r->data.aside[0] != '\0')
        pbft_logger_write(
            c->logger, PBFT_LOG_WARN, "pages_aside",
            "why=\"%s\" hint=\"it is %s/pages.mdb.damaged now; the state is fetched from "
            "the others; it may be removed when this replica is ready\"",
            r->data.aside, c->dir);
    if (status != PBFT_STATUS_OK) return load_failed(r, status, "data", error);
    if (!open_reports(r) || !new_node(r)) return false;
    bool first = r->cluster->epoch == 0;
    bool genesis = first && !r->data.resumed && !r->data.mute && r->cluster->genesis_seq > 0;
    if (first && !r->data.resumed && !genesis) return true;
    status = pbft_node_load(r->node);
    if (status == PBFT_STATUS_OK && genesis && !begins_with_genesis(r)) return false;
    if (status == PBFT_STATUS_OK) {
        pbft_node_resume(r->node, runtime_time());
        return true;
    }
    drain_lines(r);
    if (status != PBFT_STATUS_CORRUPT)
        return load_failed(r, status, "log", pbft_status_text(status));
    pbft_node_free(r->node);
    r->node = NULL;
    status = pbft_data_refuse(&r->data, &config);
    if (status != PBFT_STATUS_OK) return fail(r, "log", pbft_status_text(status));
    if (!new_node(r)) return false;
    if (r->cluster->epoch == 0) return true;
    status = pbft_node_restore(r->node, runtime_time());
    return status == PBFT_STATUS_OK || load_failed(r, status, "state", pbft_status_text(status));
}

static bool open_net(struct pbft_runtime *r)
{
    const struct pbft_replica_config *c = r->config.replica;
    const char *addresses[PBFT_REPLICAS_MAX] = {NULL};
    for (pbft_id i = 0; i < r->cluster->params.n; i++)
        addresses[i] = r->config.cluster->addresses[i].peer;
    struct pbft_net_config config = {
        .cluster = r->cluster,
        .self = r->config.keypair,
        .pool = pbft_pool_frames(r->config.pool),
        .client_pool = pbft_pool_frames(r->config.client_pool),
        .listen_peers = c->listen_peers,
        .listen_clients = c->listen_clients,
        .addresses = addresses,
        /* A REQUEST beyond a batch could never be proposed. */
        .limits.client_frame_max_bytes = r->cluster->params.batch_max_bytes + CLIENT_FRAME_SLACK,
    };
    char error[256];
    if (pbft_net_open(&r->net, &config, error) == PBFT_STATUS_OK) return true;
    r->net = NULL;
    return fail(r, "net", error);
}

/* Last: what failed until now has sent no vote, and must not make the next start mute. */
static bool mark_start(struct pbft_runtime *r)
{
    bool forgets = !r->data.mute && r->config.replica->durability != PBFT_DURABILITY_SYNC;
    enum pbft_status status = pbft_superblock_mark_start(r->config.superblock, forgets);
    bool counts = forgets || r->starts == 1;
    if (status == PBFT_STATUS_FULL && !counts) /* a start more or less says nothing here */
        pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "disk_full", "for=superblock");
    else if (status != PBFT_STATUS_OK)
        return fail(r, "superblock", pbft_status_text(status));
    if (r->data.mute)
        pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "mute", "starts=%" PRIu64 " why=\"%s\"",
                          r->starts, r->data.why);
    return true;
}

static bool open_all(struct pbft_runtime *r)
{
    const struct pbft_replica_config *c = r->config.replica;
    /* First: a large state takes long to load. */
    if (!signals_open(r)) return fail(r, "signals", "no thread");
    if (!open_node(r) || !open_net(r)) return false;
    signals_wake_net(r, r->net);
    if (!jobs_open(r, c->threads)) return fail(r, "jobs", "no thread");
    publish(r, runtime_now());
    if (c->admin_listen[0] != '\0' && !http_open(r)) return false;
    return mark_start(r);
}

/* What a restart began, and nobody will carry out. */
static void finish_jobs(struct pbft_runtime *r)
{
    if (r->data.pages != NULL) pbft_pages_cancel(r->data.pages);
    struct pbft_output out;
    while (pbft_node_next(r->node, &out)) {
        if (out.kind == PBFT_OUTPUT_SEND) pbft_frame_release(out.frame);
        if (out.kind != PBFT_OUTPUT_JOB) continue;
        pbft_job_run(out.job);
        pbft_node_job_done(r->node, runtime_time(), out.job);
    }
}

/* No job is out: the state may go on without its node. */
static void hand_over(struct pbft_runtime *r)
{
    struct pbft_runtime_epoch *e = r->config.epoch;
    struct pbft_span proof = pbft_frame_span(r->proof);
    struct pbft_node_info info;
    pbft_node_info(r->node, &info);
    e->over = true;
    e->mute = info.core.mute;
    e->flushed = info.flushed;
    e->proof_size = proof.size;
    memcpy(e->proof, proof.data, proof.size);
    e->state = pbft_node_take_state(r->node);
}

static void close_all(struct pbft_runtime *r, bool opened)
{
    if (!opened && r->node != NULL) finish_jobs(r);
    if (opened && r->proof != NULL && !r->failed) hand_over(r);
    pbft_frame_release(r->proof);
    pbft_http_close(r->http);
    jobs_close(r);
    signals_wake_net(r, NULL);
    if (r->net != NULL) pbft_net_close(r->net);
    pbft_node_free(r->node);
    pbft_data_close(&r->data);
    pbft_disk_free(r->reports);
    signals_close(r);
    /* Told to stop while it ended: the others tell the next start of the epoch again. */
    if (r->signals.stop) r->config.epoch->over = false;
    pthread_mutex_destroy(&r->published.mutex);
}

int pbft_runtime_run(const struct pbft_runtime_config *config)
{
    struct pbft_runtime *r = calloc(1, sizeof *r);
    if (r == NULL) return PBFT_EXIT_FAILURE;
    r->config = *config;
    r->cluster = &config->cluster->cluster;
    r->id = config->replica->id;
    r->started_ns = runtime_now();
    r->starts = pbft_superblock_starts(config->superblock) + 1;
    pthread_mutex_init(&r->published.mutex, NULL);
    pthread_mutex_init(&r->jobs.mutex, NULL);
    bool opened = open_all(r);
    if (opened) {
        pbft_logger_write(config->logger, PBFT_LOG_INFO, "started",
                          "version=%s epoch=%u n=%u f=%u peers=%u clients=%u admin=%u threads=%u "
                          "verify=%s starts=%" PRIu64,
                          PBFT_VERSION, (unsigned)r->cluster->epoch, (unsigned)r->cluster->params.n,
                          (unsigned)pbft_quorum_faults(r->cluster->params.n),
                          (unsigned)pbft_net_peer_port(r->net),
                          (unsigned)pbft_net_client_port(r->net),
                          r->http == NULL ? 0u : (unsigned)pbft_http_port(r->http),
                          r->jobs.worker_count + 1, pbft_crypto_verifier(), r->starts);
        serve(r);
        pbft_logger_write(config->logger, PBFT_LOG_INFO,
                          r->proof == NULL ? "stopping" : "epoch_over", "executed=%" PRIu64,
                          (uint64_t)r->published.metrics.node.core.executed);
        drain_and_stop(r);
    }
    bool clean = (opened && !r->failed) || r->cancelled;
    close_all(r, opened);
    int exit_code = r->exit_code;
    free(r);
    pbft_logger_write(config->logger, PBFT_LOG_INFO, "stopped", "clean=%s",
                      clean ? "true" : "false");
    return clean ? PBFT_EXIT_CLEAN : exit_code != 0 ? exit_code : PBFT_EXIT_FAILURE;
}
