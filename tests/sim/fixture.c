/* The world: virtual time, chance, the queue of events; making a cluster and running it. */
#include "tests/sim/fixture_internal.h"

#include "service/kv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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

uint64_t sim_between(struct sim *sim, uint64_t least, uint64_t most)
{
    return most <= least ? least : least + sim_random(sim, most - least + 1);
}

bool sim_happens(struct sim *sim, uint32_t ppm)
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
    if (e.frame != NULL) sim->flying_bytes += e.frame->capacity;
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

void sim_fail_at(struct sim *sim, const char *alarm, const char *format, ...)
{
    if (sim->failed || !alarm_rings(alarm)) return;
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

/* ---- events ---- */

bool sim_step(struct sim *sim)
{
    if (sim->failed || sim->heap_count == 0) return false;
    struct event e = pop(sim);
    PBFT_ASSERT(e.at_ns >= sim->now_ns);
    sim->now_ns = e.at_ns;
    if (e.frame != NULL) sim->flying_bytes -= e.frame->capacity;
    sim_trace(sim, &e);
    switch (e.kind) {
    case EVENT_TO_NODE: node_frame(sim, &e); break;
    case EVENT_TO_CLIENT:
        sim_tell_delivery(sim, &e, false, PBFT_OK);
        client_frame(sim, e.to, e.from, e.frame);
        break;
    case EVENT_JOB: node_job(sim, &e); break;
    case EVENT_TICK: node_tick(sim, &e); break;
    case EVENT_EPOCH: node_epoch(sim, &e); break;
    case EVENT_TOLD: node_told(sim, &e); break;
    case EVENT_TOLD_CLIENT: client_told(sim, e.to); break;
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
                            .flush_bytes = 24u << 10,
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
    sim->nodes = sim_alloc((size_t)2 * sim->n * sizeof *sim->nodes);
    sim->clients = sim_alloc(options->clients * sizeof *sim->clients);
    sim->blocked = sim_alloc(sim->n * sizeof *sim->blocked);
    sim->slow_ns = sim_alloc((size_t)sim->n * sim->n * sizeof *sim->slow_ns);
    uint32_t ends = sim->n + options->clients;
    sim->last_arrival = sim_alloc((size_t)ends * ends * sizeof *sim->last_arrival);
    make_cluster(sim);
    bool started = oracle_start(sim) && epochs_start(sim);
    PBFT_ASSERT(started);
    check_start(sim);
    nodes_start(sim);
    for (uint32_t client = 0; client < options->clients; client++)
        client_start(sim, client);
    nodes_connect(sim);
    return sim;
}

void sim_free(struct sim *sim)
{
    nodes_free(sim);
    for (size_t i = 0; i < sim->heap_count; i++)
        pbft_frame_release(sim->heap[i].frame);
    for (uint32_t client = 0; client < sim->o.clients; client++)
        client_free(sim, client);
    check_free(sim);
    oracle_free(sim);
    epochs_free(sim);
    for (size_t i = 0; i < sim->op_count; i++)
        free(sim->ops[i].bytes);
    map_free(&sim->log_lines);
    pbft_cluster_unseal(&sim->cluster);
    pbft_pool_free(sim->pool); /* asserts that nothing leaked */
    free(sim->cluster.clients);
    free(sim->ops);
    free(sim->heap);
    free(sim->blocked);
    free(sim->slow_ns);
    free(sim->last_arrival);
    free(sim->nodes);
    free(sim->clients);
    free(sim);
}

uint64_t sim_answers(const struct sim *sim)
{
    return sim->op_count - sim->ops_waiting;
}
