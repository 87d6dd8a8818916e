/* The world of twins: instances, the router between them, rounds. */
#include "tests/sim/twins_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "replica/apply.h"
#include "service/kv.h"
#include "tests/sim/fixture.h" /* pbft_signer_fast */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MS              UINT64_C(1000000)
#define VIEW_TIMEOUT_NS (500 * MS)
#define TIMEOUT_MAX_NS  (1000 * MS)
#define STATUS_NS       (60 * MS) /* a little more than a STATUS interval: view time-out / 10 */
#define WALL_BASE_NS    UINT64_C(1700000000000000000)
#define SECOND_WALL_NS  (3 * MS) /* how far the clocks of second instances are ahead */
#define LOG_BYTES       (UINT64_C(4) << 20)
#define POOL_BYTES      (UINT64_C(64) << 20)
#define OUTBOX_BYTES    (UINT64_C(8) << 20)
#define CLIENT          TWINS_INSTANCES_MAX /* `from` of client 0 */
#define DELIVERIES_MAX  100000u /* of one settling: the most that was seen is below 2,000 */
#define EARLY_END_OF    4u      /* with a seed: one round in so many ends before it settles */
#define SKIP_TIMEOUT_OF 3u

void twins_fail_at(struct twins *w, const char *alarm, const char *format, ...)
{
    if (w->failed || !alarm_rings(alarm)) return;
    w->failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(w->failure, sizeof w->failure, format, arguments);
    va_end(arguments);
    if (w->trace != NULL) fprintf(w->trace, "VIOLATION: %s\n", w->failure);
}

uint64_t twins_random(uint64_t *state, uint64_t below)
{
    uint64_t x = (*state += UINT64_C(0x9E3779B97F4A7C15));
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return below == 0 ? 0 : x % below;
}

uint64_t twins_bytes_hash(struct pbft_span bytes)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325) ^ bytes.size;
    size_t at = 0;
    for (; bytes.size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes.data + at, 8);
        h = (h ^ word) * UINT64_C(0x9FB21C651E98DF25);
        h ^= h >> 29;
    }
    for (; at < bytes.size; at++)
        h = (h ^ bytes.data[at]) * UINT64_C(0x100000001B3);
    return h ^ (h >> 32);
}

static void mix(struct twins *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * UINT64_C(0x9FB21C651E98DF25);
    w->hash ^= w->hash >> 31;
}

/* ---- the router ---- */

static void push(struct twins *w, uint8_t from, uint8_t to, struct pbft_frame *frame, bool first)
{
    if (w->queue_count == w->queue_capacity) {
        size_t capacity = w->queue_capacity == 0 ? 1024 : w->queue_capacity * 2;
        struct packet *larger = malloc(capacity * sizeof *larger);
        if (larger == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
        for (size_t i = 0; i < w->queue_count; i++)
            larger[i] = w->queue[(w->queue_first + i) & (w->queue_capacity - 1)];
        free(w->queue);
        w->queue = larger;
        w->queue_capacity = capacity;
        w->queue_first = 0;
    }
    if (first) w->queue_first = (w->queue_first - 1) & (w->queue_capacity - 1);
    size_t at = w->queue_first;
    if (!first) at = (at + w->queue_count) & (w->queue_capacity - 1);
    w->queue_count++;
    w->queue[at] = (struct packet){pbft_frame_retain(frame), from, to};
}

static struct packet pop(struct twins *w)
{
    struct packet *first = &w->queue[w->queue_first];
    if (w->o.seed != 0 && w->queue_count > 1) { /* any of the oldest few */
        uint64_t few = w->queue_count < 24 ? w->queue_count : 24;
        size_t at = (w->queue_first + twins_random(&w->random, few)) & (w->queue_capacity - 1);
        struct packet chosen = w->queue[at];
        w->queue[at] = *first;
        *first = chosen;
    }
    struct packet packet = *first;
    w->queue_first = (w->queue_first + 1) & (w->queue_capacity - 1);
    w->queue_count--;
    return packet;
}

static char name_of(const struct twins *w, uint8_t instance)
{
    const struct instance *i = &w->instances[instance];
    return (char)(i->second ? 'a' + (int)i->id : '0' + (int)i->id);
}

static void trace_frame(struct twins *w, const char *what, uint8_t from, uint8_t to,
                        const struct pbft_frame *frame)
{
    if (w->trace == NULL) return;
    struct pbft_claim c;
    if (pbft_wire_peek(pbft_frame_span(frame), &c) != PBFT_OK) return;
    char sender[16];
    if (from >= CLIENT)
        snprintf(sender, sizeof sender, "client%u", (unsigned)(from - CLIENT));
    else
        snprintf(sender, sizeof sender, "%c", name_of(w, from));
    fprintf(w->trace, "%7llu ms  %-7s -> %c  %-12s v %llu n %llu digest %02x%02x%02x%02x  %s\n",
            (unsigned long long)(w->now_ns / MS), sender, name_of(w, to), pbft_type_text(c.type),
            (unsigned long long)c.view, (unsigned long long)c.seq, c.digest.bytes[0],
            c.digest.bytes[1], c.digest.bytes[2], c.digest.bytes[3], what);
}

/* Some correct replicas hear second instances before all others, the rest hear the first ones
 * before: where both are in one group, they have it divided. */
static bool front_runs(const struct twins *w, const struct instance *from, pbft_id to)
{
    return from->second && w->o.seed == 0 && (to + w->rounds) % 2 == 0;
}

/* To all instances of replica `id` that are in the sender's group. */
static void route(struct twins *w, const struct instance *from, pbft_id id,
                  struct pbft_frame *frame)
{
    for (uint32_t k = 0; k < w->count; k++) {
        if (w->instances[k].id != id) continue;
        bool lost =
            w->group[k] != w->group[from->number] ||
            (w->o.loss_ppm > 0 && !w->healing && twins_random(&w->random, 1000000) < w->o.loss_ppm);
        if (lost)
            w->counts.lost++;
        else
            push(w, (uint8_t)from->number, (uint8_t)k, frame, front_runs(w, from, id));
    }
}

static struct pbft_time time_of(const struct instance *i)
{
    uint64_t ahead = i->second ? SECOND_WALL_NS : 0;
    return (struct pbft_time){i->world->now_ns, WALL_BASE_NS + i->world->now_ns + ahead};
}

static void drain(struct instance *i)
{
    struct twins *w = i->world;
    struct pbft_output out;
    while (pbft_node_next(i->node, &out)) {
        switch (out.kind) {
        case PBFT_OUTPUT_SEND:
            if (out.to.kind == PBFT_PEER_REPLICA) {
                if (i->correct) twins_check_sent(i, out.frame);
                route(w, i, out.to.index, out.frame);
            }
            pbft_frame_release(out.frame);
            break;
        case PBFT_OUTPUT_JOB:
            pbft_job_run(out.job);
            pbft_node_job_done(i->node, time_of(i), out.job);
            break;
        case PBFT_OUTPUT_EPOCH: pbft_frame_release(out.frame); break; /* nobody replaces a key */
        case PBFT_OUTPUT_LOG:
            if (w->trace != NULL)
                fprintf(w->trace, "%7llu ms  %c %s %s\n", (unsigned long long)(w->now_ns / MS),
                        name_of(w, (uint8_t)i->number), out.event, out.text);
            break;
        }
    }
    if (i->correct) twins_check_state(i);
}

/* PROTOCOL 29: see twins.h. */
static bool shielded(const struct twins *w, const struct instance *to,
                     const struct pbft_frame *frame)
{
    struct pbft_claim claim;
    pbft_id signer;
    return !to->correct && sim_statement(w->o.n, pbft_frame_span(frame), &claim, &signer) &&
           signer == to->id;
}

static void deliver(struct twins *w, const struct packet *p)
{
    struct instance *to = &w->instances[p->to];
    if (p->from < CLIENT && shielded(w, to, p->frame)) {
        w->counts.shielded++;
        return;
    }
    struct pbft_peer from = {PBFT_PEER_CLIENT, p->from - CLIENT, 1};
    if (p->from < CLIENT) from = (struct pbft_peer){PBFT_PEER_REPLICA, w->instances[p->from].id, 1};
    if (to->correct && p->from < CLIENT && !w->instances[p->from].correct)
        twins_check_shown(w, p->frame);
    w->counts.delivered++;
    mix(w, twins_bytes_hash(pbft_frame_span(p->frame)) + ((uint64_t)p->from << 8 | p->to));
    enum pbft_verdict verdict = pbft_node_frame(to->node, time_of(to), &from, p->frame);
    mix(w, verdict);
    trace_frame(w, pbft_verdict_text(verdict), p->from, p->to, p->frame);
    /* FAULTS 3.21 asks nothing for a request that was refused. */
    if (p->from >= CLIENT && to->correct && verdict != PBFT_OK && verdict != PBFT_DROP_DUPLICATE)
        twins_fail(w, "replica %u refuses a client's request: %s", to->id,
                   pbft_verdict_text(verdict));
    drain(to);
}

static void settle(struct twins *w, uint64_t most)
{
    for (uint64_t i = 0; w->queue_count > 0 && !w->failed; i++) {
        if (i == most) break;
        if (i == DELIVERIES_MAX)
            twins_fail(w, "FAULTS 3.24: traffic does not end after %u deliveries", DELIVERIES_MAX);
        struct packet p = pop(w);
        deliver(w, &p);
        pbft_frame_release(p.frame);
    }
}

static void drop_queue(struct twins *w)
{
    while (w->queue_count > 0) {
        struct packet p = pop(w);
        pbft_frame_release(p.frame);
        w->counts.lost++;
    }
}

static void pass(struct twins *w, uint64_t ns)
{
    w->now_ns += ns;
    uint32_t first = w->o.seed == 0 ? 0 : (uint32_t)twins_random(&w->random, w->count);
    for (uint32_t k = 0; k < w->count && !w->failed; k++) {
        struct instance *i = &w->instances[(first + k) % w->count];
        if (pbft_node_deadline(i->node) > w->now_ns) continue;
        pbft_node_tick(i->node, time_of(i));
        drain(i);
    }
    settle(w, UINT64_MAX);
}

/* ---- rounds ---- */

static void inject(struct twins *w)
{
    uint32_t first = w->request_count;
    PBFT_ASSERT(first + CLIENTS <= REQUESTS_MAX);
    w->request_count += CLIENTS;
    for (uint32_t k = 0; k < w->count; k++) {
        const struct instance *i = &w->instances[k];
        bool turned = i->second || (i->correct && (i->id + w->rounds) % 2 == 1);
        for (uint32_t c = 0; c < CLIENTS; c++) {
            uint32_t client = turned ? CLIENTS - 1 - c : c;
            push(w, (uint8_t)(CLIENT + client), (uint8_t)k, w->requests[first + client], false);
        }
    }
}

bool twins_round(struct twins *w, const uint8_t *group)
{
    memcpy(w->group, group, sizeof w->group);
    mix(w, w->rounds);
    bool seeded = w->o.seed != 0 && !w->healing;
    bool timeout = !seeded || twins_random(&w->random, SKIP_TIMEOUT_OF) != 0;
    uint64_t most = UINT64_MAX;
    if (seeded && twins_random(&w->random, EARLY_END_OF) == 0)
        most = UINT64_C(2) * w->count + twins_random(&w->random, 120);
    if (w->rounds < TWINS_ROUNDS_MAX && !w->healing) inject(w);
    w->rounds++;
    settle(w, most);
    if (most != UINT64_MAX) {
        /* The requests are not lost: clients would send them again. */
        for (size_t k = w->queue_count; k > 0 && !w->failed; k--) {
            struct packet p = pop(w);
            if (p.from >= CLIENT)
                deliver(w, &p);
            else
                w->counts.lost++;
            pbft_frame_release(p.frame);
        }
        drop_queue(w);
        return !w->failed;
    }
    pass(w, STATUS_NS);
    pass(w, STATUS_NS);
    if (timeout) pass(w, TIMEOUT_MAX_NS);
    pass(w, STATUS_NS);
    pass(w, STATUS_NS);
    return !w->failed;
}

bool twins_heal(struct twins *w)
{
    if (w->failed) return false;
    w->executed_in_rounds = w->executed_count;
    uint8_t one[TWINS_INSTANCES_MAX] = {0};
    inject(w);
    w->healing = true;
    memcpy(w->group, one, sizeof w->group);
    settle(w, UINT64_MAX);
    while (!w->failed && !twins_check_done(w)) {
        if (w->counts.heal_rounds == TWINS_HEAL_ROUNDS(w->o.n)) {
            w->counts.not_healed = 1;
            twins_fail(w, "FAULTS 3.21: not all is executed after %u rounds without faults",
                       TWINS_HEAL_ROUNDS(w->o.n));
            break;
        }
        w->counts.heal_rounds++;
        pass(w, STATUS_NS);
        if (w->failed || twins_check_done(w)) break;
        pass(w, STATUS_NS);
        if (w->failed || twins_check_done(w)) break;
        pass(w, TIMEOUT_MAX_NS);
    }
    return !w->failed;
}

/* ---- making one ---- */

uint32_t twins_instances(const struct twins_options *options)
{
    return options->n + pbft_signers_count(options->twins);
}

static void make_cluster(struct twins *w)
{
    struct pbft_cluster *c = &w->cluster;
    snprintf(c->service, sizeof c->service, "%s", pbft_kv_service.name);
    c->params = pbft_params_default(w->o.n);
    c->params.checkpoint_interval = 4;
    c->params.window = 8;
    c->params.pipeline_depth = 2;
    c->params.batch_max_requests = 16;
    c->params.bundle_max_ops = 4;
    c->params.batch_max_bytes = 32u << 10;
    c->params.value_max_bytes = 1u << 10;
    c->params.key_max_bytes = 64;
    c->params.reply_max_bytes = 4u << 10;
    c->params.session_window = 32;
    c->params.client_quota = 64;
    c->params.sessions_per_client = 4;
    c->params.sessions_total = 16;
    c->params.view_timeout_ns = VIEW_TIMEOUT_NS;
    c->params.view_timeout_max_ns = TIMEOUT_MAX_NS;
    c->client_count = CLIENTS;
    c->clients = w->client_keys;
    for (uint32_t i = 0; i < w->o.n + CLIENTS; i++) {
        uint8_t seed[32] = {'t', 'w', 'i', 'n', 's', (uint8_t)i, (uint8_t)w->o.n};
        pbft_keypair_from_seed(&w->keys[i], seed);
        if (i < w->o.n)
            c->replicas[i] = w->keys[i].public;
        else
            w->client_keys[i - w->o.n] = w->keys[i].public;
    }
    char error[256] = "";
    enum pbft_status status = pbft_cluster_seal(c, error);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "twins: %s\n", error);
        pbft_panic(__FILE__, __LINE__, "cluster parameters");
    }
    struct pbft_apply_config config = {c, &pbft_kv_service, pbft_pool_frames(w->pool)};
    struct pbft_apply *apply = pbft_apply_new(&config);
    PBFT_ASSERT(apply != NULL);
    struct pbft_snapshot *genesis = pbft_apply_snapshot(apply);
    pbft_snapshot_root(genesis, &c->genesis_root);
    pbft_snapshot_release(genesis);
    pbft_apply_free(apply);
}

/* Requests 2k and 2k+1 are round k's, of clients 0 and 1: puts on one key, so that order matters.
 */
static void make_requests(struct twins *w)
{
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        uint8_t ops[128];
        char value[16];
        int length = snprintf(value, sizeof value, "r%u", i);
        struct pbft_span key = {(const uint8_t *)"k", 1};
        struct pbft_span text = {(const uint8_t *)value, (size_t)length};
        size_t size = pbft_kv_encode_put(ops + 4, sizeof ops - 4, key, text);
        PBFT_ASSERT(size > 0 && size <= sizeof ops - 4);
        pbft_put_u32(ops, (uint32_t)size);
        const struct pbft_keypair *signer = &w->keys[w->o.n + i % CLIENTS];
        struct pbft_msg msg = {.type = PBFT_REQUEST, .epoch = w->cluster.epoch};
        msg.request.client = signer->public;
        msg.request.session = 1 + i % CLIENTS;
        msg.request.t = 1 + i / CLIENTS;
        msg.request.op_count = 1;
        msg.request.ops = (struct pbft_span){ops, 4 + size};
        size_t bytes = pbft_wire_size(&msg);
        struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), (uint32_t)bytes);
        PBFT_ASSERT(bytes > 0 && frame != NULL);
        frame->size = (uint32_t)pbft_wire_encode(&msg, frame->bytes, bytes);
        pbft_frame_sign(&w->cluster, &pbft_signer_fast, &signer->secret, frame->bytes, frame->size);
        w->requests[i] = frame;
    }
}

static void log_reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context, (void)status, (void)durable; /* the node looks at the log's stats */
}

static void on_effects(void *context, struct pbft_node *node, struct pbft_effects *effects)
{
    (void)node;
    struct instance *i = context;
    if (i->correct) twins_check_effects(i, effects);
}

static void start(struct twins *w, uint32_t number, pbft_id id)
{
    struct instance *i = &w->instances[number];
    i->world = w;
    i->number = number;
    i->id = id;
    i->second = number >= w->o.n;
    i->correct = !pbft_signers_has(w->o.twins, id);
    i->hooks = (struct pbft_node_hooks){.context = i, .effects = on_effects};
    enum pbft_status status = pbft_log_memory_create(&i->log, LOG_BYTES, log_reported, NULL);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    struct pbft_node_config config = {.cluster = &w->cluster,
                                      .id = id,
                                      .keypair = &w->keys[id],
                                      .signer = &pbft_signer_fast,
                                      .service = &pbft_kv_service,
                                      .pool = pbft_pool_frames(w->pool),
                                      .log = i->log,
                                      .outbox_max_bytes = OUTBOX_BYTES,
                                      .hooks = &i->hooks};
    i->node = pbft_node_new(&config);
    PBFT_ASSERT(i->node != NULL);
}

static void connect(struct instance *i)
{
    for (pbft_id id = 0; id < i->world->o.n; id++) {
        struct pbft_peer peer = {PBFT_PEER_REPLICA, id, 1};
        if (id != i->id) pbft_node_peer_up(i->node, time_of(i), &peer);
    }
    for (uint32_t client = 0; client < CLIENTS; client++) {
        struct pbft_peer peer = {PBFT_PEER_CLIENT, client, 1};
        pbft_node_peer_up(i->node, time_of(i), &peer);
    }
    drain(i);
}

struct twins *twins_new(const struct twins_options *options)
{
    PBFT_ASSERT(options->n >= PBFT_REPLICAS_MIN && options->n <= TWINS_REPLICAS_MAX &&
                twins_instances(options) <= TWINS_INSTANCES_MAX);
    enum pbft_status status = pbft_crypto_init();
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    struct twins *w = calloc(1, sizeof *w);
    PBFT_ASSERT(w != NULL);
    w->o = *options;
    w->random = options->seed;
    w->now_ns = 1000 * MS;
    w->pool = pbft_pool_new(POOL_BYTES);
    PBFT_ASSERT(w->pool != NULL && twins_check_new(w));
    make_cluster(w);
    make_requests(w);
    for (pbft_id id = 0; id < w->o.n; id++)
        start(w, w->count++, id);
    for (pbft_id id = 0; id < w->o.n; id++)
        if (pbft_signers_has(w->o.twins, id)) start(w, w->count++, id);
    for (uint32_t k = 0; k < w->count; k++)
        connect(&w->instances[k]);
    settle(w, UINT64_MAX);
    return w;
}

void twins_free(struct twins *w)
{
    drop_queue(w);
    for (uint32_t k = 0; k < w->count; k++) {
        drain(&w->instances[k]);
        pbft_node_free(w->instances[k].node);
        pbft_log_close(w->instances[k].log);
    }
    drop_queue(w);
    for (uint32_t i = 0; i < REQUESTS_MAX; i++)
        pbft_frame_release(w->requests[i]);
    twins_check_free(w);
    pbft_cluster_unseal(&w->cluster);
    pbft_pool_free(w->pool); /* asserts that nothing leaked */
    free(w->queue);
    free(w);
}

void twins_trace(struct twins *w, FILE *file)
{
    w->trace = file;
}

const char *twins_failure(const struct twins *w)
{
    return w->failure;
}

uint64_t twins_hash(const struct twins *w)
{
    return w->hash;
}

void twins_counts(const struct twins *w, struct twins_counts *out)
{
    *out = w->counts;
    out->scenarios = 1;
    out->violations = w->failed;
    out->commits = w->executed_count;
    out->idle = w->executed_in_rounds == 0;
    out->equivocal = out->equivocations > 0;
    out->hash = w->hash;
    for (uint32_t k = 0; k < w->count; k++) {
        if (!w->instances[k].correct) continue;
        struct pbft_node_info info;
        pbft_node_info(w->instances[k].node, &info);
        out->evidence += info.evidence_count;
        out->view_changes += info.core.view_changes;
        out->new_views += info.core.new_views;
        if (info.core.view > out->highest.view) out->highest.view = info.core.view;
    }
    out->highest.heal_rounds = out->heal_rounds;
    out->highest.delivered = out->delivered;
    out->highest.seq = out->commits;
}

bool twins_run(const struct twins_scenario *scenario, FILE *trace, struct twins_counts *counts,
               char failure[TWINS_LINE_BYTES])
{
    struct twins *w = twins_new(&scenario->o);
    twins_trace(w, trace);
    bool ok = true;
    for (unsigned round = 0; ok && round < scenario->rounds; round++) {
        if (trace != NULL) fprintf(trace, "---- round %u\n", round + 1);
        ok = twins_round(w, scenario->group[round]);
    }
    if (ok && trace != NULL) fprintf(trace, "---- healed\n");
    ok = ok && twins_heal(w);
    if (counts != NULL) twins_counts(w, counts);
    if (failure != NULL) snprintf(failure, TWINS_LINE_BYTES, "%s", w->failure);
    twins_free(w);
    return ok;
}
