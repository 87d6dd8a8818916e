/* The world: virtual time, links, jobs, life and death of replicas. */
#include "tests/sim/fixture_internal.h"

#include "service/kv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES    (UINT64_C(2) << 20)
#define OUTBOX_BYTES (UINT64_C(64) << 20)
#define POOL_BYTES   (UINT64_C(1) << 30)
#define WALL_BASE_NS UINT64_C(1700000000000000000)

void *sim_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes == 0 ? 1 : bytes);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

void *sim_grow(void *array, size_t *capacity, size_t count, size_t item)
{
    if (count < *capacity) return array;
    size_t larger = *capacity == 0 ? 32 : *capacity * 2;
    void *memory = realloc(array, larger * item);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    /* cppcheck-suppress nullPointerArithmeticRedundantCheck ; pbft_panic() does not return */
    memset((uint8_t *)memory + *capacity * item, 0, (larger - *capacity) * item);
    *capacity = larger;
    return memory;
}

/* ---- chance ---- */

/* splitmix64 */
static uint64_t next_random(struct sim *sim)
{
    uint64_t z = (sim->random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t below)
{
    return below == 0 ? 0 : next_random(sim) % below;
}

static uint64_t between(struct sim *sim, uint64_t least, uint64_t most)
{
    return most <= least ? least : least + sim_random(sim, most - least + 1);
}

static bool happens(struct sim *sim, uint32_t ppm)
{
    return ppm > 0 && sim_random(sim, 1000000) < ppm;
}

/* ---- the queue of events ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void sim_push(struct sim *sim, const struct event *event)
{
    sim->heap = sim_grow(sim->heap, &sim->heap_capacity, sim->heap_count, sizeof *sim->heap);
    size_t i = sim->heap_count++;
    struct event e = *event;
    e.order = ++sim->order;
    while (i > 0 && before(&e, &sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = e;
}

static struct event pop(struct sim *sim)
{
    struct event top = sim->heap[0];
    struct event last = sim->heap[--sim->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_count) break;
        if (child + 1 < sim->heap_count && before(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!before(&sim->heap[child], &last)) break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    if (sim->heap_count > 0) sim->heap[i] = last;
    return top;
}

/* ---- telling ---- */

void sim_observe(struct sim *sim, sim_observer *observer, void *context)
{
    sim->observer = observer;
    sim->observer_context = context;
}

void sim_tell(struct sim *sim, const struct sim_seen *seen)
{
    if (sim->observer == NULL) return;
    struct sim_seen told = *seen;
    told.at_ns = sim->now_ns;
    sim->observer(sim->observer_context, &told);
}

void sim_tell_fault(struct sim *sim, const char *format, ...)
{
    if (sim->observer == NULL) return;
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct sim_seen seen = {.kind = SIM_SEEN_FAULT, .text = text};
    sim_tell(sim, &seen);
}

/* ---- failing ---- */

void sim_fail(struct sim *sim, const char *format, ...)
{
    if (sim->failed) return;
    sim->failed = true;
    char text[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(sim->failure, sizeof sim->failure, "seed %llu, n %u, at %.6f s: %s",
             (unsigned long long)sim->o.seed, sim->n, (double)sim->now_ns / 1e9, text);
    struct sim_seen seen = {.kind = SIM_SEEN_FAILURE, .text = sim->failure};
    sim_tell(sim, &seen);
}

bool sim_ok(const struct sim *sim)
{
    return !sim->failed;
}

const char *sim_failure(const struct sim *sim)
{
    return sim->failure;
}

/* ---- links ---- */

/* FNV-1a */
static void mix(struct sim *sim, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sim->trace_hash ^= bytes[i];
        sim->trace_hash *= UINT64_C(0x100000001B3);
    }
}

static void trace(struct sim *sim, const struct event *e)
{
    uint8_t head[20];
    pbft_put_u64(head, sim->now_ns);
    pbft_put_u32(head + 8, (uint32_t)e->kind);
    pbft_put_u32(head + 12, e->from);
    pbft_put_u32(head + 16, e->to);
    mix(sim, head, sizeof head);
    if (e->frame != NULL) mix(sim, e->frame->bytes, e->frame->size);
    if (sim->trace == NULL || e->frame == NULL) return;
    struct pbft_claim c;
    if (pbft_wire_peek(pbft_frame_span(e->frame), &c) != PBFT_OK) return;
    fprintf(sim->trace, "%12.6f ms %s%u -> %s%u %-12s v=%llu n=%llu d=%02x%02x size=%u\n",
            (double)sim->now_ns / 1e6, e->from_client ? "c" : "r", e->from,
            e->kind == EVENT_TO_CLIENT ? "c" : "r", e->to, pbft_type_text(c.type),
            (unsigned long long)c.view, (unsigned long long)c.seq, c.digest.bytes[0],
            c.digest.bytes[1], e->frame->size);
}

static bool blocked(const struct sim *sim, const struct sim_packet *p)
{
    if (!p->from_client && sim->nodes[p->from].isolated) return true;
    if (!p->to_client && sim->nodes[p->to].isolated) return true;
    return !p->from_client && !p->to_client && pbft_signers_has(sim->blocked[p->from], p->to);
}

static void carry_once(struct sim *sim, const struct sim_packet *p)
{
    uint64_t at = sim->now_ns + between(sim, sim->o.delay_min_ns, sim->o.delay_max_ns);
    uint32_t ends = sim->n + sim->o.clients;
    size_t link = (size_t)(p->from + (p->from_client ? sim->n : 0)) * ends + p->to +
                  (p->to_client ? sim->n : 0);
    if (sim->o.fifo && at <= sim->last_arrival[link]) at = sim->last_arrival[link] + 1;
    if (at < sim->last_arrival[link])
        sim->overtaken++;
    else
        sim->last_arrival[link] = at;
    struct event e = {.at_ns = at,
                      .kind = p->to_client ? EVENT_TO_CLIENT : EVENT_TO_NODE,
                      .from_client = p->from_client,
                      .from = p->from,
                      .to = p->to,
                      .incarnation = p->to_client ? sim->nodes[p->from].incarnation
                                                  : sim->nodes[p->to].incarnation,
                      .sent_ns = sim->now_ns,
                      .frame = pbft_frame_retain(p->frame)};
    sim_push(sim, &e);
}

static void tell_packet(struct sim *sim, enum sim_seen_kind kind, const struct sim_packet *p,
                        uint64_t sent_ns, enum pbft_verdict verdict)
{
    if (sim->observer == NULL) return;
    struct sim_seen seen = {.kind = kind,
                            .sent_ns = sent_ns,
                            .from_client = p->from_client,
                            .to_client = p->to_client,
                            .from = p->from,
                            .to = p->to,
                            .byzantine = !p->from_client && !sim_is_correct(sim, p->from),
                            .claim = p->claim,
                            .size = p->frame->size,
                            .verdict = verdict};
    sim_tell(sim, &seen);
}

static void carry(struct sim *sim, bool from_client, uint32_t from, bool to_client, uint32_t to,
                  struct pbft_frame *frame)
{
    struct sim_packet p = {
        .from_client = from_client, .to_client = to_client, .from = from, .to = to, .frame = frame};
    if (pbft_wire_peek(pbft_frame_span(frame), &p.claim) != PBFT_OK)
        memset(&p.claim, 0, sizeof p.claim);
    p.type = frame->size > 0 ? frame->bytes[0] : 0;
    sim->sent[p.type & 63u]++;
    bool filtered = sim->filter != NULL && !sim->filter(sim, &p, sim->filter_context);
    bool cut = !filtered && blocked(sim, &p);
    bool lost = !filtered && !cut && happens(sim, sim->o.loss_ppm);
    sim->cut += cut;
    sim->lost += lost;
    if (filtered || cut || lost) {
        tell_packet(sim, SIM_SEEN_LOST, &p, sim->now_ns, PBFT_OK);
        return;
    }
    carry_once(sim, &p);
    if (!happens(sim, sim->o.duplicate_ppm)) return;
    sim->doubled++;
    carry_once(sim, &p);
}

void sim_client_send(struct sim *sim, uint32_t client, pbft_id to, struct pbft_frame *frame)
{
    carry(sim, true, client, false, to, frame);
}

/* ---- nodes ---- */

bool sim_is_correct(const struct sim *sim, pbft_id id)
{
    return !pbft_signers_has(sim->o.byzantine, id);
}

struct pbft_time sim_time_of(const struct sim *sim, pbft_id id)
{
    uint64_t wall = sim->wall_base_ns + sim->now_ns;
    return (struct pbft_time){sim->now_ns,
                              (uint64_t)((int64_t)wall + sim->nodes[id].clock_offset_ns)};
}

static void hook_effects(void *context, struct pbft_node *node, struct pbft_effects *effects)
{
    struct node *n = context;
    if (n->dying) return;
    if (n->user != NULL && n->user->effects != NULL)
        n->user->effects(n->user->context, node, effects);
    if (sim_is_correct(n->sim, n->id)) check_effects(n->sim, n, effects);
}

static bool hook_outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                          struct pbft_frame *frame)
{
    struct node *n = context;
    if (n->dying) return false;
    if (sim_is_correct(n->sim, n->id)) check_outbound(n->sim, n, frame);
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

static void log_line(struct sim *sim, pbft_id id, const struct pbft_output *out)
{
    if (sim->observer != NULL) {
        char text[512];
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

static void schedule_tick(struct sim *sim, struct node *n)
{
    if (n->node == NULL) return;
    uint64_t due = pbft_node_deadline(n->node);
    if (due == NEVER) return;
    if (due <= sim->now_ns) due = sim->now_ns + 1000;
    if (due >= n->tick_at) return;
    n->tick_at = due;
    struct event e = {.at_ns = due, .kind = EVENT_TICK, .to = n->id, .incarnation = n->incarnation};
    sim_push(sim, &e);
}

static void start_job(struct sim *sim, struct node *n, struct pbft_job *job)
{
    n->jobs_out++;
    struct event e = {.at_ns = sim->now_ns + between(sim, sim->o.job_min_ns, sim->o.job_max_ns),
                      .kind = EVENT_JOB,
                      .to = n->id,
                      .incarnation = n->incarnation,
                      .job = job};
    sim_push(sim, &e);
}

void sim_drain(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    struct pbft_output out;
    while (pbft_node_next(n->node, &out)) {
        switch (out.kind) {
        case PBFT_OUTPUT_SEND:
            if (!n->dying)
                carry(sim, false, id, out.to.kind == PBFT_PEER_CLIENT, out.to.index, out.frame);
            pbft_frame_release(out.frame);
            break;
        case PBFT_OUTPUT_JOB:
            if (n->dying) {
                pbft_job_run(out.job);
                pbft_node_job_done(n->node, sim_time_of(sim, id), out.job);
            } else {
                start_job(sim, n, out.job);
            }
            break;
        case PBFT_OUTPUT_LOG: log_line(sim, id, &out); break;
        }
    }
    if (n->dying) return;
    if (sim_is_correct(sim, id)) check_node(sim, n);
    schedule_tick(sim, n);
}

static void log_reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context, (void)status, (void)durable; /* the node looks at the log's stats */
}

static struct pbft_peer replica_peer(const struct sim *sim, pbft_id id)
{
    return (struct pbft_peer){PBFT_PEER_REPLICA, id, sim->nodes[id].incarnation};
}

static struct pbft_peer client_peer(uint32_t client)
{
    return (struct pbft_peer){PBFT_PEER_CLIENT, client, (uint64_t)client + 1};
}

static void start_node(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    n->incarnation++;
    n->tick_at = NEVER;
    n->dying = false;
    enum pbft_status status = pbft_log_memory_create(&n->log, LOG_BYTES, log_reported, NULL);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    n->hooks = (struct pbft_node_hooks){n, hook_effects, hook_outbound, hook_inbound};
    struct pbft_node_config config = {.cluster = &sim->cluster,
                                      .id = id,
                                      .keypair = &n->keypair,
                                      .signer = sim->o.signer,
                                      .service = sim->o.service,
                                      .pool = pbft_pool_frames(sim->pool),
                                      .log = n->log,
                                      .mute = n->mute,
                                      .body_max_bytes = sim->o.body_max_bytes,
                                      .outbox_max_bytes = OUTBOX_BYTES,
                                      .hooks = &n->hooks};
    n->node = pbft_node_new(&config);
    PBFT_ASSERT(n->node != NULL);
    check_restart(n);
}

static void connect_node(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    for (pbft_id other = 0; other < sim->n; other++) {
        if (other == id || sim->nodes[other].node == NULL) continue;
        struct pbft_peer peer = replica_peer(sim, other);
        pbft_node_peer_up(n->node, sim_time_of(sim, id), &peer);
    }
    for (uint32_t client = 0; client < sim->o.clients; client++) {
        struct pbft_peer peer = client_peer(client);
        pbft_node_peer_up(n->node, sim_time_of(sim, id), &peer);
    }
    sim_drain(sim, id);
}

static void stop_node(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    if (n->node == NULL) return;
    n->dying = true;
    for (size_t i = 0; i < sim->heap_count; i++) {
        struct event *e = &sim->heap[i];
        if (e->kind != EVENT_JOB || e->to != id || e->incarnation != n->incarnation) continue;
        if (e->job == NULL) continue;
        pbft_job_run(e->job);
        pbft_node_job_done(n->node, sim_time_of(sim, id), e->job);
        e->job = NULL;
    }
    sim_drain(sim, id);
    pbft_node_free(n->node);
    n->node = NULL;
    pbft_log_close(n->log);
    n->log = NULL;
    n->tick_at = NEVER;
}

/* ---- events ---- */

static void tell_delivery(struct sim *sim, const struct event *e, bool lost,
                          enum pbft_verdict verdict)
{
    if (sim->observer == NULL) return;
    struct sim_packet p = {.from_client = e->from_client,
                           .to_client = e->kind == EVENT_TO_CLIENT,
                           .from = e->from,
                           .to = e->to,
                           .frame = e->frame};
    if (pbft_wire_peek(pbft_frame_span(e->frame), &p.claim) != PBFT_OK)
        memset(&p.claim, 0, sizeof p.claim);
    tell_packet(sim, lost ? SIM_SEEN_LOST : SIM_SEEN_DELIVERED, &p, e->sent_ns, verdict);
}

static void run_to_node(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) {
        tell_delivery(sim, e, true, PBFT_OK);
        return;
    }
    if (sim_is_correct(sim, e->to)) recheck_received(sim->recheck, pbft_frame_span(e->frame));
    struct pbft_peer from = e->from_client ? client_peer(e->from) : replica_peer(sim, e->from);
    n->verdict = pbft_node_frame(n->node, sim_time_of(sim, e->to), &from, e->frame);
    tell_delivery(sim, e, false, n->verdict);
    if (sim->trace != NULL && n->verdict != PBFT_OK)
        fprintf(sim->trace, "%28s r%u drops it: %s\n", "", n->id, pbft_verdict_text(n->verdict));
    sim_drain(sim, e->to);
}

static void run_job(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (e->job == NULL) return; /* the node ended meanwhile */
    pbft_job_run(e->job);
    pbft_node_job_done(n->node, sim_time_of(sim, e->to), e->job);
    sim_drain(sim, e->to);
}

static void run_tick(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (n->node == NULL || n->incarnation != e->incarnation) return;
    if (n->tick_at != e->at_ns) return; /* superseded by an earlier one */
    n->tick_at = NEVER;
    if (pbft_node_deadline(n->node) <= sim->now_ns) {
        pbft_node_tick(n->node, sim_time_of(sim, e->to));
        sim_drain(sim, e->to);
    } else {
        schedule_tick(sim, n);
    }
}

bool sim_step(struct sim *sim)
{
    if (sim->failed || sim->heap_count == 0) return false;
    struct event e = pop(sim);
    PBFT_ASSERT(e.at_ns >= sim->now_ns);
    sim->now_ns = e.at_ns;
    trace(sim, &e);
    sim->delivered += e.kind == EVENT_TO_NODE || e.kind == EVENT_TO_CLIENT;
    switch (e.kind) {
    case EVENT_TO_NODE: run_to_node(sim, &e); break;
    case EVENT_TO_CLIENT:
        tell_delivery(sim, &e, false, PBFT_OK);
        client_frame(sim, e.to, e.from, e.frame);
        break;
    case EVENT_JOB: run_job(sim, &e); break;
    case EVENT_TICK: run_tick(sim, &e); break;
    case EVENT_CLIENT_TICK:
        if (sim->clients[e.to].tick_at == e.at_ns) client_tick(sim, e.to);
        break;
    }
    pbft_frame_release(e.frame);
    return !sim->failed;
}

bool sim_run_for(struct sim *sim, uint64_t ns)
{
    uint64_t end = sim->now_ns + ns;
    while (sim->heap_count > 0 && sim->heap[0].at_ns <= end)
        if (!sim_step(sim)) return false;
    sim->now_ns = end;
    return !sim->failed;
}

bool sim_run_until(struct sim *sim, sim_predicate *predicate, void *context, uint64_t max_ns)
{
    uint64_t end = sim->now_ns + max_ns;
    while (!predicate(sim, context)) {
        if (sim->failed) return false;
        if (sim->heap_count == 0 || sim->heap[0].at_ns > end) {
            snprintf(sim->failure, sizeof sim->failure,
                     "seed %llu, n %u, at %.6f s: not reached in time (%zu operations waiting)",
                     (unsigned long long)sim->o.seed, sim->n, (double)sim->now_ns / 1e9,
                     sim->ops_waiting);
            return false;
        }
        sim_step(sim);
    }
    return !sim->failed;
}

/* ---- making one ---- */

struct sim_options sim_defaults(uint32_t n, uint32_t clients, uint64_t seed)
{
    struct sim_options o = {.params = pbft_params_default(n),
                            .clients = clients,
                            .seed = seed,
                            .signer = &pbft_signer_fast,
                            .service = &pbft_kv_service,
                            .delay_min_ns = 50000,
                            .delay_max_ns = 2 * SIM_MS,
                            .job_min_ns = 20000,
                            .job_max_ns = 3 * SIM_MS,
                            .clock_offset_max_ns = 100 * SIM_MS,
                            .client_window = 4};
    o.params.checkpoint_interval = 8;
    o.params.window = 32;
    o.params.pipeline_depth = 4;
    o.params.batch_max_requests = 16;
    o.params.session_window = 16;
    o.params.client_quota = 32;
    o.params.batch_max_bytes = 256u << 10;
    o.params.value_max_bytes = 64u << 10;
    o.params.reply_max_bytes = 128u << 10;
    return o;
}

static void make_keys(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n + sim->o.clients; i++) {
        uint8_t seed[32] = {0};
        pbft_put_u64(seed, sim->o.seed);
        pbft_put_u32(seed + 8, i);
        struct pbft_keypair *keypair =
            i < sim->n ? &sim->nodes[i].keypair : &sim->clients[i - sim->n].keypair;
        pbft_keypair_from_seed(keypair, seed);
        if (i < sim->n)
            sim->cluster.replicas[i] = keypair->public;
        else
            sim->cluster.clients[i - sim->n] = keypair->public;
    }
}

static void make_cluster(struct sim *sim)
{
    struct pbft_cluster *c = &sim->cluster;
    snprintf(c->service, sizeof c->service, "%s", sim->o.service->name);
    c->params = sim->o.params;
    c->client_count = sim->o.clients;
    c->clients = sim_alloc(sim->o.clients * sizeof *c->clients);
    pbft_put_u64(c->nonce, sim->o.seed);
    make_keys(sim);
    char error[256] = "";
    enum pbft_status status = pbft_cluster_seal(c, error);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "fixture: %s\n", error);
        pbft_panic(__FILE__, __LINE__, "cluster parameters");
    }
}

struct sim *sim_new(const struct sim_options *options)
{
    enum pbft_status status = pbft_crypto_init();
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    struct sim *sim = sim_alloc(sizeof *sim);
    sim->o = *options;
    sim->n = options->params.n;
    sim->random = options->seed * UINT64_C(0xD1342543DE82EF95) + 1;
    sim->wall_base_ns = WALL_BASE_NS;
    sim->trace_hash = UINT64_C(0xCBF29CE484222325);
    sim->pool = pbft_pool_new(options->pool_bytes == 0 ? POOL_BYTES : options->pool_bytes);
    sim->nodes = sim_alloc(sim->n * sizeof *sim->nodes);
    sim->clients = sim_alloc(options->clients * sizeof *sim->clients);
    sim->blocked = sim_alloc(sim->n * sizeof *sim->blocked);
    uint32_t ends = sim->n + options->clients;
    sim->last_arrival = sim_alloc((size_t)ends * ends * sizeof *sim->last_arrival);
    make_cluster(sim);
    sim->recheck = recheck_new(&sim->cluster, sim->o.signer);
    PBFT_ASSERT(check_start(sim));
    for (pbft_id id = 0; id < sim->n; id++) {
        struct node *n = &sim->nodes[id];
        n->sim = sim;
        n->id = id;
        n->clock_offset_ns = (int64_t)sim_random(sim, 2 * options->clock_offset_max_ns + 1) -
                             (int64_t)options->clock_offset_max_ns;
        start_node(sim, id);
    }
    for (uint32_t client = 0; client < options->clients; client++)
        client_start(sim, client);
    for (pbft_id id = 0; id < sim->n; id++)
        connect_node(sim, id);
    return sim;
}

void sim_free(struct sim *sim)
{
    for (pbft_id id = 0; id < sim->n; id++)
        stop_node(sim, id);
    for (size_t i = 0; i < sim->heap_count; i++)
        pbft_frame_release(sim->heap[i].frame);
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_free(sim, client);
    check_free(sim);
    recheck_free(sim->recheck);
    for (size_t i = 0; i < sim->op_count; i++)
        free(sim->ops[i].bytes);
    map_free(&sim->log_lines);
    pbft_cluster_unseal(&sim->cluster);
    pbft_pool_free(sim->pool); /* asserts that nothing leaked */
    free(sim->cluster.clients);
    free(sim->ops);
    free(sim->heap);
    free(sim->blocked);
    free(sim->last_arrival);
    free(sim->nodes);
    free(sim->clients);
    free(sim);
}

void sim_set_hooks(struct sim *sim, pbft_id id, const struct pbft_node_hooks *hooks)
{
    PBFT_ASSERT(pbft_signers_has(sim->o.byzantine, id));
    sim->nodes[id].user = hooks;
}

/* ---- faults of the world ---- */

void sim_kill(struct sim *sim, pbft_id id)
{
    sim_tell_fault(sim, "replica %u is killed", id);
    stop_node(sim, id);
    for (pbft_id other = 0; other < sim->n; other++) {
        if (sim->nodes[other].node == NULL) continue;
        struct pbft_peer peer = replica_peer(sim, id);
        pbft_node_peer_down(sim->nodes[other].node, sim_time_of(sim, other), &peer);
        sim_drain(sim, other);
    }
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_disconnected(sim, client, id);
}

void sim_restart_mute(struct sim *sim, pbft_id id)
{
    PBFT_ASSERT(sim->nodes[id].node == NULL);
    sim_tell_fault(sim, "replica %u comes back, mute", id);
    sim->nodes[id].mute = true;
    start_node(sim, id);
    connect_node(sim, id);
    for (pbft_id other = 0; other < sim->n; other++) {
        if (other == id || sim->nodes[other].node == NULL) continue;
        struct pbft_peer peer = replica_peer(sim, id);
        pbft_node_peer_up(sim->nodes[other].node, sim_time_of(sim, other), &peer);
        sim_drain(sim, other);
    }
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_connected(sim, client, id);
}

void sim_block(struct sim *sim, pbft_signers from, pbft_signers to, bool on)
{
    sim_tell_fault(sim, "links %llx -> %llx are %s", (unsigned long long)from,
                   (unsigned long long)to, on ? "cut" : "back");
    for (pbft_id id = 0; id < sim->n; id++) {
        if (!pbft_signers_has(from, id)) continue;
        if (on)
            sim->blocked[id] |= to;
        else
            sim->blocked[id] &= ~to;
    }
}

void sim_isolate(struct sim *sim, pbft_id id, bool on)
{
    sim_tell_fault(sim, "replica %u is %s", id, on ? "cut off" : "connected again");
    sim->nodes[id].isolated = on;
}

void sim_heal(struct sim *sim)
{
    sim_tell_fault(sim, "the network heals");
    for (pbft_id id = 0; id < sim->n; id++) {
        sim->blocked[id] = 0;
        sim->nodes[id].isolated = false;
    }
    sim_set_loss(sim, 0, 0);
    sim_set_filter(sim, NULL, NULL);
}

void sim_set_loss(struct sim *sim, uint32_t loss_ppm, uint32_t duplicate_ppm)
{
    sim->o.loss_ppm = loss_ppm;
    sim->o.duplicate_ppm = duplicate_ppm;
}

void sim_set_clock_offset(struct sim *sim, pbft_id id, int64_t offset_ns)
{
    sim_tell_fault(sim, "the clock of replica %u is %+.3f s off", id, (double)offset_ns / 1e9);
    sim->nodes[id].clock_offset_ns = offset_ns;
}

void sim_break_log(struct sim *sim, pbft_id id)
{
    sim_tell_fault(sim, "the disk of replica %u breaks", id);
    pbft_log_memory_break(sim->nodes[id].log);
}

void sim_set_filter(struct sim *sim, sim_filter *filter, void *context)
{
    sim->filter = filter;
    sim->filter_context = context;
}

/* ---- handing frames over by hand ---- */

enum pbft_verdict sim_inject(struct sim *sim, pbft_id from, pbft_id to, struct pbft_frame *frame)
{
    struct event e = {.kind = EVENT_TO_NODE, .from = from, .to = to, .frame = frame};
    e.incarnation = sim->nodes[to].incarnation;
    trace(sim, &e);
    run_to_node(sim, &e);
    pbft_frame_release(frame);
    return sim->nodes[to].verdict;
}

enum pbft_verdict sim_inject_client(struct sim *sim, uint32_t client, pbft_id to,
                                    struct pbft_frame *frame)
{
    struct event e = {
        .kind = EVENT_TO_NODE, .from_client = true, .from = client, .to = to, .frame = frame};
    e.incarnation = sim->nodes[to].incarnation;
    trace(sim, &e);
    run_to_node(sim, &e);
    pbft_frame_release(frame);
    return sim->nodes[to].verdict;
}
