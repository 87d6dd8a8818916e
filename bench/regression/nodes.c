#include "bench/regression/nodes.h"

#include "bench/regression/regression.h"
#include "client/match.h"
#include "replica/config.h"
#include "replica/node.h"
#include "replica/pool.h"
#include "service/kv.h"
#include "store/log_file.h"
#include "tests/sim/vdisk.h"

#include <stdlib.h>
#include <string.h>

#define N            4u
#define CLIENTS_MAX  16u
#define BUNDLE_MAX   64u
#define EVENTS       4096u /* under way at most; a power of two */
#define LINK_NS      UINT64_C(100000)
#define JOB_NS       UINT64_C(50000)
#define WALL_BASE_NS UINT64_C(1700000000000000000)
#define NEVER        UINT64_MAX
#define POOL_BYTES   (UINT64_C(256) << 20)

enum event_kind { TO_NODE, TO_CLIENT, JOB };

struct event {
    uint64_t at_ns;
    enum event_kind kind;
    bool from_client;
    uint32_t from, to;
    struct pbft_frame *frame;
    struct pbft_job *job;
};

/* Events of one duration end in the order in which they began. */
struct queue {
    struct event events[EVENTS];
    size_t first, count;
};

struct replica {
    struct vdisk *disk;
    struct pbft_log *log;
    struct pbft_node *node;
};

struct client {
    struct pbft_match *match;
    struct pbft_door *door;
    uint32_t left; /* requests or reads to begin */
    bool reads;
};

struct nodes {
    struct nodes_options o;
    struct pbft_cluster cluster;
    struct pbft_keypair keys[N + CLIENTS_MAX];
    struct pbft_pool *pool;
    struct replica replicas[N];
    struct client clients[CLIENTS_MAX];
    struct queue links, jobs;
    uint64_t now_ns, random;
    uint64_t tick_ns; /* nobody has a time-out before it */
    uint32_t waiting; /* clients with something outstanding */
};

static struct pbft_time time_of(const struct nodes *s)
{
    return (struct pbft_time){s->now_ns, WALL_BASE_NS + s->now_ns};
}

static void push(struct queue *queue, const struct event *event)
{
    must(queue->count < EVENTS, "more frames are under way than there is room for");
    queue->events[(queue->first + queue->count++) % EVENTS] = *event;
}

static void expect_tick(struct nodes *s, uint64_t at_ns)
{
    if (at_ns < s->tick_ns) s->tick_ns = at_ns;
}

/* ---- replicas ---- */

static void drain(struct nodes *s, pbft_id id)
{
    struct pbft_output out;
    while (pbft_node_next(s->replicas[id].node, &out)) {
        struct event e = {.from = id, .to = id, .frame = out.frame, .job = out.job};
        switch (out.kind) {
        case PBFT_OUTPUT_SEND:
            e.kind = out.to.kind == PBFT_PEER_CLIENT ? TO_CLIENT : TO_NODE;
            e.to = out.to.index;
            e.at_ns = s->now_ns + LINK_NS;
            push(&s->links, &e);
            break;
        case PBFT_OUTPUT_JOB:
            e.kind = JOB;
            e.at_ns = s->now_ns + JOB_NS;
            push(&s->jobs, &e);
            break;
        case PBFT_OUTPUT_LOG:
        case PBFT_OUTPUT_EPOCH: pbft_frame_release(out.frame); break;
        }
    }
    expect_tick(s, pbft_node_deadline(s->replicas[id].node));
}

/* ---- clients ---- */

static void carry_out(struct nodes *s, uint32_t client, const struct pbft_match_out *out)
{
    for (size_t i = 0; i < out->send_count; i++) {
        const struct pbft_match_send *send = &out->sends[i];
        for (pbft_id id = 0; id < N; id++) {
            if (!pbft_signers_has(send->to, id)) continue;
            struct event e = {.at_ns = s->now_ns + LINK_NS,
                              .kind = TO_NODE,
                              .from_client = true,
                              .from = client,
                              .to = id,
                              .frame = pbft_frame_retain(send->frame)};
            push(&s->links, &e);
        }
        pbft_frame_release(send->frame);
    }
    for (size_t i = 0; i < out->completion_count; i++) {
        const struct pbft_match_completion *done = &out->completions[i];
        must(done->result == PBFT_MATCH_ANSWER && done->outcome == PBFT_OUTCOME_EXECUTED,
             "an operation was not executed");
        pbft_frame_release(done->frame);
        s->waiting--;
    }
    expect_tick(s, pbft_match_deadline(s->clients[client].match));
}

static void begin(struct nodes *s, uint32_t client)
{
    struct client *c = &s->clients[client];
    struct pbft_match_out out = {0};
    enum pbft_verdict verdict;
    uint8_t bytes[BUNDLE_MAX * (4 + OP_BYTES)];
    c->left--;
    s->waiting++;
    if (c->reads)
        verdict = pbft_match_read(c->match, s->now_ns, 0, 0,
                                  gets_of(s->o.bundle, s->o.keys, &s->random, bytes), s->o.bundle,
                                  false, &out);
    else
        verdict = pbft_match_submit(c->match, s->now_ns, 0, 0,
                                    puts_of(s->o.bundle, s->o.keys, &s->random, bytes), s->o.bundle,
                                    &out);
    must(verdict == PBFT_OK, "a client core takes no operation");
    carry_out(s, client, &out);
}

static void answered(struct nodes *s, uint32_t client, const struct pbft_match_out *out)
{
    bool done = out->completion_count > 0;
    carry_out(s, client, out);
    if (done && s->clients[client].left > 0) begin(s, client);
}

/* ---- running ---- */

static void deliver(struct nodes *s, const struct event *e)
{
    struct pbft_peer from = {e->from_client ? PBFT_PEER_CLIENT : PBFT_PEER_REPLICA, e->from,
                             e->from + 1u};
    if (e->kind == JOB) {
        pbft_job_run(e->job);
        pbft_node_job_done(s->replicas[e->to].node, time_of(s), e->job);
        drain(s, e->to);
    } else if (e->kind == TO_NODE) {
        (void)pbft_node_frame(s->replicas[e->to].node, time_of(s), &from, e->frame);
        drain(s, e->to);
    } else {
        struct client *c = &s->clients[e->to];
        struct pbft_match_out out = {0};
        struct pbft_msg msg;
        must(pbft_door_open_client(c->door, &from, pbft_frame_span(e->frame), &msg) == PBFT_OK,
             "a client refuses a replica's frame");
        (void)pbft_match_message(c->match, s->now_ns, e->from, &msg, e->frame, &out);
        answered(s, e->to, &out);
    }
    pbft_frame_release(e->frame);
}

static uint64_t due(const struct queue *queue)
{
    return queue->count == 0 ? NEVER : queue->events[queue->first].at_ns;
}

static void tick_replica(struct nodes *s, pbft_id id, uint64_t until_ns)
{
    uint64_t at_ns = pbft_node_deadline(s->replicas[id].node);
    if (at_ns > until_ns) {
        expect_tick(s, at_ns);
        return;
    }
    if (at_ns > s->now_ns) s->now_ns = at_ns;
    pbft_node_tick(s->replicas[id].node, time_of(s));
    drain(s, id);
}

static void tick_client(struct nodes *s, uint32_t client, uint64_t until_ns)
{
    uint64_t at_ns = pbft_match_deadline(s->clients[client].match);
    if (at_ns > until_ns) {
        expect_tick(s, at_ns);
        return;
    }
    struct pbft_match_out out = {0};
    pbft_match_tick(s->clients[client].match, s->now_ns, &out);
    answered(s, client, &out);
}

static void tick_until(struct nodes *s, uint64_t until_ns)
{
    if (s->tick_ns > until_ns) return;
    s->tick_ns = NEVER;
    for (pbft_id id = 0; id < N; id++)
        tick_replica(s, id, until_ns);
    for (uint32_t client = 0; client < s->o.clients; client++)
        tick_client(s, client, until_ns);
}

static void step(struct nodes *s)
{
    uint64_t links = due(&s->links), jobs = due(&s->jobs);
    struct queue *queue = jobs <= links ? &s->jobs : &s->links;
    must(queue->count > 0, "the cluster stands still");
    tick_until(s, due(queue));
    struct event e = queue->events[queue->first];
    queue->first = (queue->first + 1) % EVENTS;
    queue->count--;
    s->now_ns = e.at_ns;
    deliver(s, &e);
}

static void load(struct nodes *s, uint32_t count, bool reads)
{
    for (uint32_t client = 0; client < s->o.clients; client++) {
        s->clients[client].left = count;
        s->clients[client].reads = reads;
        begin(s, client);
    }
    while (s->waiting > 0)
        step(s);
}

void nodes_put(struct nodes *s, uint32_t requests)
{
    load(s, requests, false);
}

void nodes_read(struct nodes *s, uint32_t reads)
{
    load(s, reads, true);
}

static struct pbft_node_info info(const struct nodes *s)
{
    struct pbft_node_info i;
    pbft_node_info(s->replicas[0].node, &i);
    return i;
}

uint64_t nodes_batches(const struct nodes *s)
{
    return info(s).batches_executed;
}

pbft_seq nodes_stable(const struct nodes *s)
{
    return info(s).core.stable;
}

/* ---- making ---- */

/* The node looks at the log's stats. */
static void reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context;
    (void)durable;
    must(status == PBFT_STATUS_OK, "a commit of the vote log fails");
}

static void replica_make(struct nodes *s, pbft_id id)
{
    struct replica *r = &s->replicas[id];
    r->disk = vdisk_new();
    must(r->disk != NULL, "out of memory");
    struct pbft_log_file_config log = {.disk = &r->disk->base,
                                       .sync = true,
                                       .segment_bytes = 1u << 20,
                                       .bytes_max = 64u << 20,
                                       .durable = reported};
    pbft_config_owner(&s->cluster, id, &log.owner);
    struct pbft_log_file_report report;
    must(pbft_log_file_create(&log) == PBFT_STATUS_OK &&
             pbft_log_file_open(&r->log, &log, &report) == PBFT_STATUS_OK,
         "the vote log can not be made");
    struct pbft_node_config node = {.cluster = &s->cluster,
                                    .id = id,
                                    .keypair = &s->keys[id],
                                    .signer = s->o.signer,
                                    .service = &pbft_kv_service,
                                    .pool = pbft_pool_frames(s->pool),
                                    .log = r->log,
                                    .body_max_bytes = POOL_BYTES / 4,
                                    .outbox_max_bytes = POOL_BYTES / 4};
    r->node = pbft_node_new(&node);
    must(r->node != NULL, "out of memory");
}

static void client_make(struct nodes *s, uint32_t client)
{
    struct client *c = &s->clients[client];
    struct pbft_door_config door = {.cluster = &s->cluster,
                                    .signer = s->o.signer,
                                    .cache_entries = 1};
    c->door = pbft_door_new(&door);
    struct pbft_match_config match = {.cluster = &s->cluster,
                                      .signer = s->o.signer,
                                      .keypair = &s->keys[N + client],
                                      .client_index = client,
                                      .session = 1,
                                      .window = 1,
                                      .pool = pbft_pool_frames(s->pool)};
    void *memory = malloc(pbft_match_size(&match));
    must(c->door != NULL && memory != NULL, "out of memory");
    c->match = pbft_match_init(memory, &match);
}

static void connect_all(struct nodes *s)
{
    for (pbft_id id = 0; id < N; id++) {
        for (uint32_t other = 0; other < N + s->o.clients; other++) {
            bool replica = other < N;
            uint32_t index = replica ? other : other - N;
            struct pbft_peer peer = {replica ? PBFT_PEER_REPLICA : PBFT_PEER_CLIENT, index,
                                     index + 1u};
            if (replica && other == id) continue;
            pbft_node_peer_up(s->replicas[id].node, time_of(s), &peer);
        }
        drain(s, id);
    }
}

struct nodes *nodes_new(const struct nodes_options *options)
{
    must(options->clients <= CLIENTS_MAX && options->bundle <= BUNDLE_MAX,
         "a row has more clients or larger bundles than there is room for");
    struct nodes *s = calloc(1, sizeof *s);
    must(s != NULL, "out of memory");
    s->o = *options;
    s->random = 1;
    s->pool = pbft_pool_new(POOL_BYTES);
    must(s->pool != NULL, "out of memory");
    cluster_make(&s->cluster, N, options->clients, s->keys);
    for (pbft_id id = 0; id < N; id++)
        replica_make(s, id);
    for (uint32_t client = 0; client < options->clients; client++)
        client_make(s, client);
    connect_all(s);
    return s;
}

void nodes_free(struct nodes *s)
{
    for (; s->jobs.count > 0; s->jobs.count--, s->jobs.first = (s->jobs.first + 1) % EVENTS) {
        const struct event *e = &s->jobs.events[s->jobs.first];
        pbft_job_run(e->job);
        pbft_node_job_done(s->replicas[e->to].node, time_of(s), e->job);
        drain(s, e->to);
    }
    for (; s->links.count > 0; s->links.count--, s->links.first = (s->links.first + 1) % EVENTS)
        pbft_frame_release(s->links.events[s->links.first].frame);
    for (pbft_id id = 0; id < N; id++) {
        pbft_node_free(s->replicas[id].node);
        pbft_log_close(s->replicas[id].log);
        pbft_disk_free(&s->replicas[id].disk->base);
    }
    for (uint32_t client = 0; client < s->o.clients; client++) {
        pbft_match_release(s->clients[client].match);
        free(s->clients[client].match);
        pbft_door_free(s->clients[client].door);
    }
    cluster_free(&s->cluster);
    pbft_pool_free(s->pool);
    free(s);
}
