#include "tests/rules/lone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void echo(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                 struct pbft_span op, struct pbft_result *result)
{
    (void)context;
    (void)call;
    pbft_txn_put(txn, (struct pbft_span){(const uint8_t *)"key", 3}, op);
    pbft_result_write(result, op.data, op.size);
}

static void look(void *context, struct pbft_view_txn *view, struct pbft_span op,
                 struct pbft_result *result, uint64_t *mark)
{
    (void)context;
    struct pbft_span value;
    if (op.size == 1 && op.data[0] == '-') return; /* reads nothing */
    if (pbft_view_get(view, (struct pbft_span){(const uint8_t *)"key", 3}, &value, mark))
        pbft_result_write(result, value.data, value.size);
}

static const struct pbft_service echo_service = {.name = "rules", .execute = echo, .query = look};

/* The log belongs to the node, which polls it; what became durable it reads from the statistics. */
static void durable(void *context, enum pbft_status status, pbft_lsn lsn)
{
    (void)context;
    (void)status;
    (void)lsn;
}

static enum pbft_status keep_report(void *context, pbft_seq seq, const char *json, size_t size)
{
    struct lone *l = context;
    if (l->report_status != PBFT_STATUS_OK) return l->report_status;
    free(l->report);
    l->report = calloc(1, size + 1);
    cr_assert_not_null(l->report);
    memcpy(l->report, json, size);
    l->report_seq = seq;
    return PBFT_STATUS_OK;
}

static void lone_start_with(struct lone *l, bool mute, const struct pbft_cluster *cluster,
                            struct pbft_apply *state)
{
    if (l->disk != NULL) cr_assert_eq(pbft_pages_memory_open(&l->pages, l->disk), PBFT_STATUS_OK);
    if (l->disk != NULL) pbft_pages_cancel_by(l->pages, &l->cancel);
    struct pbft_node_config config = {.cluster = cluster,
                                      .state = state,
                                      .id = 1,
                                      .keypair = &l->t->keys[1],
                                      .signer = &pbft_signer_fast,
                                      .service = l->service,
                                      .pool = &l->t->frames.pool,
                                      .log = l->log,
                                      .pages = l->pages,
                                      .flush_bytes = l->flush_bytes,
                                      .body_max_bytes = l->body_max_bytes,
                                      .mute = mute,
                                      .cancel = &l->cancel,
                                      .outbox_max_bytes = 16u << 20,
                                      .divergences = {l, keep_report}};
    l->node = pbft_node_new(&config);
    cr_assert_not_null(l->node);
    l->time = (struct pbft_time){l->t->now_ns, net_wall(l->t, 1)};
}

static void lone_start(struct lone *l, bool mute)
{
    lone_start_with(l, mute, &l->t->cluster, NULL);
}

static struct lone *make(bool mute, bool on_disk)
{
    struct lone *l = calloc(1, sizeof *l);
    cr_assert_not_null(l);
    struct pbft_params params = net_params(4);
    params.client_quota = 16; /* the bytes of one client are bounded, too: twice a batch */
    l->t = net_new_with(&params);
    cr_assert_eq(pbft_log_memory_create(&l->log, 64u << 20, durable, l), PBFT_STATUS_OK);
    l->service = &echo_service;
    if (on_disk) l->disk = pbft_pages_disk_new();
    lone_start(l, mute);
    return l;
}

struct lone *lone_new(bool mute)
{
    return make(mute, false);
}

struct lone *lone_new_on_disk(void)
{
    return make(false, true);
}

void lone_drain(struct lone *l)
{
    struct pbft_output o;
    while (pbft_node_next(l->node, &o)) {
        if (o.kind == PBFT_OUTPUT_SEND) {
            cr_assert_lt(l->out_count, LONE_OUT_MAX);
            l->out[l->out_count].to = o.to;
            l->out[l->out_count++].frame = o.frame;
        } else if (o.kind == PBFT_OUTPUT_LOG) {
            l->muted_lines += strcmp(o.event, "muted") == 0 &&
                              strstr(o.text, "`pbftctl replica replace ") != NULL;
            if (strcmp(o.event, "state_refused") == 0)
                (void)snprintf(l->last_refusal, sizeof l->last_refusal, "%.159s", o.text);
            if (strcmp(o.event, "divergence") == 0) {
                l->divergences++;
                memcpy(l->divergence, o.text, sizeof l->divergence);
            }
            if (strcmp(o.event, "divergence_repaired") == 0) {
                l->repairs++;
                memcpy(l->repaired, o.text, sizeof l->repaired);
            }
        } else if (o.kind == PBFT_OUTPUT_EPOCH) {
            cr_assert_null(l->proof, "once");
            l->proof = o.frame;
        } else if (o.job_kind == PBFT_JOB_SYNC && l->no_sync) {
            l->sync = o.job;
        } else if (o.job_kind == PBFT_JOB_FLUSH && l->no_flush) {
            l->flush = o.job;
        } else if (o.job_kind == PBFT_JOB_HASH && l->no_hash) {
            l->hash = o.job;
        } else if (o.job_kind == PBFT_JOB_APPLY && l->no_apply) {
            l->apply = o.job;
        } else {
            pbft_job_run(o.job);
            pbft_node_job_done(l->node, l->time, o.job);
            if (l->after_job != NULL) l->after_job(l);
        }
    }
}

static void finish(struct lone *l, struct pbft_job **place)
{
    struct pbft_job *job = *place;
    *place = NULL;
    pbft_job_run(job);
    pbft_node_job_done(l->node, l->time, job);
    lone_drain(l);
}

void lone_finish_sync(struct lone *l)
{
    cr_assert_not_null(l->sync, "nobody wanted a commit");
    finish(l, &l->sync);
}

void lone_finish_flush(struct lone *l)
{
    cr_assert_not_null(l->flush, "nobody wanted a flush");
    finish(l, &l->flush);
}

void lone_finish_hash(struct lone *l)
{
    cr_assert_not_null(l->hash, "nobody wanted a root");
    finish(l, &l->hash);
}

void lone_finish_apply(struct lone *l)
{
    cr_assert_not_null(l->apply, "nobody wanted anything executed");
    finish(l, &l->apply);
}

void lone_forget(struct lone *l)
{
    for (size_t i = 0; i < l->out_count; i++)
        pbft_frame_release(l->out[i].frame);
    l->out_count = 0;
}

/* Its process: jobs that are out run to their end, what they lead to is not seen. */
void lone_stop(struct lone *l)
{
    if (l->node == NULL) return;
    bool no_sync = l->no_sync, no_flush = l->no_flush, no_hash = l->no_hash;
    bool no_apply = l->no_apply;
    l->no_sync = l->no_flush = l->no_hash = l->no_apply = false;
    if (l->sync != NULL) finish(l, &l->sync);
    if (l->flush != NULL) finish(l, &l->flush);
    if (l->hash != NULL) finish(l, &l->hash);
    if (l->apply != NULL) finish(l, &l->apply);
    lone_drain(l);
    lone_forget(l);
    pbft_frame_release(l->proof);
    l->proof = NULL;
    pbft_node_free(l->node);
    pbft_pages_close(l->pages);
    l->node = NULL;
    l->pages = NULL;
    l->no_sync = no_sync;
    l->no_flush = no_flush;
    l->no_hash = no_hash;
    l->no_apply = no_apply;
}

void lone_free(struct lone *l)
{
    lone_stop(l);
    pbft_log_close(l->log);
    pbft_pages_disk_free(l->disk);
    net_free(l->t);
    free(l->report);
    free(l);
}

static enum pbft_verdict lone_hear(struct lone *l, struct pbft_peer peer, struct pbft_frame *frame)
{
    enum pbft_verdict verdict = pbft_node_frame(l->node, l->time, &peer, frame);
    pbft_frame_release(frame);
    lone_drain(l);
    return verdict;
}

enum pbft_verdict lone_from_replica(struct lone *l, pbft_id id, struct pbft_frame *frame)
{
    return lone_hear(l, (struct pbft_peer){PBFT_PEER_REPLICA, id, 1}, frame);
}

enum pbft_verdict lone_from_client(struct lone *l, uint32_t client, uint64_t connection,
                                   struct pbft_frame *frame)
{
    return lone_hear(l, (struct pbft_peer){PBFT_PEER_CLIENT, client, connection}, frame);
}

void lone_client_up(struct lone *l, uint32_t client, uint64_t connection)
{
    struct pbft_peer peer = {PBFT_PEER_CLIENT, client, connection};
    pbft_node_peer_up(l->node, l->time, &peer);
    lone_drain(l);
}

void lone_links_up(struct lone *l, pbft_signers others)
{
    for (pbft_id id = 0; id < l->t->n; id++) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, id, 100 + id};
        if (pbft_signers_has(others, id)) pbft_node_peer_up(l->node, l->time, &peer);
    }
    lone_drain(l);
}

void lone_pass(struct lone *l, uint64_t ms)
{
    uint64_t until = l->time.now_ns + ms * MS;
    while (pbft_node_deadline(l->node) <= until) {
        uint64_t due = pbft_node_deadline(l->node);
        if (due <= l->time.now_ns) due = l->time.now_ns + MS;
        if (due > until) break;
        l->time.wall_ns += due - l->time.now_ns;
        l->time.now_ns = due;
        pbft_node_tick(l->node, l->time);
        lone_drain(l);
    }
    l->time.wall_ns += until - l->time.now_ns;
    l->time.now_ns = until;
}

unsigned lone_sent(const struct lone *l, uint8_t type)
{
    unsigned count = 0;
    for (size_t i = 0; i < l->out_count; i++)
        count += l->out[i].frame->bytes[0] == type;
    return count;
}

struct pbft_frame *lone_query_of(struct lone *l, uint64_t id, uint64_t floor, const char *op)
{
    uint8_t item[512];
    size_t size = strlen(op);
    PBFT_ASSERT(size <= sizeof item - 4);
    pbft_put_u32(item, (uint32_t)size);
    memcpy(item + 4, op, size);
    struct pbft_msg m = {.type = PBFT_QUERY};
    m.query = (struct pbft_query){id, floor, 1, 1, {item, 4 + size}};
    return net_frame_new(l->t, &m);
}

struct pbft_span lone_result(const struct pbft_query_reply *reply)
{
    size_t cursor = 0;
    struct pbft_span result = {NULL, 0};
    (void)pbft_wire_next_item(pbft_wire_query_results(reply->body), &cursor, &result);
    return result;
}

struct pbft_frame *lone_query(struct lone *l, uint64_t id, uint64_t floor)
{
    return lone_query_of(l, id, floor, "?");
}

/* q others committed `op` of client 0 at seq. */
enum pbft_verdict lone_commit(struct lone *l, pbft_seq seq, uint64_t t, const char *op)
{
    struct net_batch b = net_batch(l->t, 0, 1, t, op);
    return lone_from_replica(l, 2, net_commit_certificate(l->t, 0, seq, &b, 0x0d));
}

enum pbft_verdict lone_commit_of(struct lone *l, pbft_seq seq, uint64_t t, struct pbft_span op)
{
    struct pbft_frame *request = net_request_of(l->t, 0, 1, t, op);
    struct net_batch b = net_batch_of(l->t, request);
    pbft_frame_release(request);
    return lone_from_replica(l, 2, net_commit_certificate(l->t, 0, seq, &b, 0x0d));
}

enum pbft_verdict lone_commit_null(struct lone *l, pbft_seq seq)
{
    return lone_from_replica(l, 2, net_commit_certificate(l->t, 0, seq, NULL, 0x0d));
}

static enum pbft_status restart(struct lone *l, uint64_t ms)
{
    lone_stop(l);
    l->last_refusal[0] = '\0';
    lone_start(l, false);
    enum pbft_status status = pbft_node_load(l->node);
    l->time.now_ns += ms * MS;
    l->time.wall_ns += ms * MS;
    if (status == PBFT_STATUS_OK) pbft_node_resume(l->node, l->time);
    return status;
}

enum pbft_status lone_restart_slowly(struct lone *l, uint64_t ms)
{
    enum pbft_status status = restart(l, ms);
    lone_drain(l);
    return status;
}

enum pbft_status lone_restart_told(struct lone *l, struct pbft_span proof)
{
    enum pbft_status status = restart(l, 0);
    if (status == PBFT_STATUS_OK) pbft_node_told(l->node, l->time, proof);
    lone_drain(l);
    return status;
}

enum pbft_status lone_restart(struct lone *l)
{
    return lone_restart_slowly(l, 0);
}

void lone_begin_empty(struct lone *l, const struct pbft_cluster *next)
{
    struct pbft_apply *state = pbft_node_take_state(l->node);
    lone_stop(l);
    pbft_log_close(l->log);
    pbft_pages_disk_free(l->disk);
    cr_assert_eq(pbft_log_memory_create(&l->log, 64u << 20, durable, l), PBFT_STATUS_OK);
    l->disk = pbft_pages_disk_new();
    lone_start_with(l, false, next, state);
    cr_assert_eq(pbft_node_load(l->node), PBFT_STATUS_OK);
    pbft_node_resume(l->node, l->time);
    lone_drain(l);
}

struct pbft_node_info lone_info(const struct lone *l)
{
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    return info;
}

/* ---- checkpoints ---- */

bool lone_own_root(const struct lone *l, pbft_seq seq, struct pbft_digest *root)
{
    for (size_t i = 0; i < l->out_count; i++) {
        if (l->out[i].frame->bytes[0] != PBFT_CHECKPOINT) continue;
        const struct pbft_checkpoint *m = &net_decode(l->t, l->out[i].frame)->checkpoint;
        if (m->seq != seq) continue;
        *root = m->root;
        return true;
    }
    return false;
}

void lone_certify_root(struct lone *l, pbft_seq seq, const struct pbft_digest *root)
{
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) (void)lone_from_replica(l, id, net_checkpoint(l->t, id, seq, root));
    cr_assert_eq(lone_info(l).core.stable, seq);
}

void lone_certify(struct lone *l, pbft_seq seq)
{
    struct pbft_digest root;
    cr_assert(lone_own_root(l, seq, &root), "no CHECKPOINT %llu", (unsigned long long)seq);
    lone_certify_root(l, seq, &root);
}

void lone_serve_pages(struct lone *l, struct lone *server)
{
    for (unsigned round = 0; round < 100; round++) {
        size_t count = l->out_count;
        bool asked = false;
        for (size_t i = 0; i < count; i++) {
            struct pbft_frame *frame = l->out[i].frame;
            if (frame->bytes[0] != PBFT_FETCH) continue;
            if (net_decode(l->t, frame)->fetch.kind != PBFT_FETCH_PAGE) continue;
            asked = true;
            lone_forget(server);
            (void)lone_from_replica(server, 0, pbft_frame_retain(frame));
            pbft_id asked_of = l->out[i].to.index;
            for (size_t k = 0; k < server->out_count; k++)
                if (server->out[k].frame->bytes[0] == PBFT_PAGE)
                    (void)lone_from_replica(l, asked_of, pbft_frame_retain(server->out[k].frame));
        }
        for (size_t i = 0; i < count; i++)
            pbft_frame_release(l->out[i].frame);
        memmove(l->out, l->out + count, (l->out_count - count) * sizeof l->out[0]);
        l->out_count -= count;
        if (!asked && !lone_info(l).core.transferring) return;
        if (!asked) lone_pass(l, 200);
    }
}

void lone_new_log(struct lone *l, uint64_t bytes_max)
{
    cr_assert(l->node == NULL, "its process has ended");
    if (l->log != NULL) pbft_log_close(l->log);
    cr_assert_eq(pbft_log_memory_create(&l->log, bytes_max, durable, l), PBFT_STATUS_OK);
}
