/* The rows of FAULTS 2: what they share, and their list. */
#include "tests/sim/scenario.h"

#include "service/kv.h"

#include <stdio.h>
#include <string.h>

#define KEPT_MAX (sizeof((struct stage *)0)->kept / sizeof(struct pbft_frame *))

/* X(NUMBER, "title"). What is not here, or not whole, and why:
 *
 *  36  slow-loris, descriptors: sockets, time-outs of connections and rlimits are the runtime's and
 *      the operating system's; there is none of them under the node. Live tests.
 *  40  power loss of all replicas at once: drawn worlds.
 *  42  no room for pages or snapshots: the state is in memory. The log's disk is played.
 *  44  a cloned disk that two machines use at once is a twin
 *      (pbft-twins, and drawn worlds).
 *  46  two versions that understand each other: there is one so far, and another is refused. */
#define ROWS(X)                                                                                    \
    X(1, "the primary equivocates")                                                                \
    X(2, "a sequence number skipped, or beyond the window")                                        \
    X(3, "the primary dies")                                                                       \
    X(4, "the primary censors one client")                                                         \
    X(5, "the primary is slow, just under the time-out")                                           \
    X(6, "a digest without its body, and a liar asked first")                                      \
    X(7, "replayed, doubled and forged requests in a batch")                                       \
    X(8, "the primary also sends PREPARE")                                                         \
    X(9, "every message twice")                                                                    \
    X(10, "votes for a wrong digest")                                                              \
    X(11, "a vote replaced by a conflicting one")                                                  \
    X(12, "a spoilt duplicate poisons the certificate")                                            \
    X(13, "a PREPARE replayed as a COMMIT, and in another view")                                   \
    X(14, "an old quorum of VIEW-CHANGEs replayed")                                                \
    X(15, "a VIEW-CHANGE for a huge view")                                                         \
    X(16, "fields outside the hash")                                                               \
    X(17, "a VIEW-CHANGE with a bad prepared certificate")                                         \
    X(18, "a forged NEW-VIEW")                                                                     \
    X(19, "f replicas spam VIEW-CHANGE")                                                           \
    X(20, "a forged checkpoint")                                                                   \
    X(21, "poisoned pages")                                                                        \
    X(22, "a false high target, and a stalling source")                                            \
    X(23, "a page under another's hash")                                                           \
    X(24, "a certificate that mixes votes")                                                        \
    X(25, "wrong replies and fake view hints")                                                     \
    X(26, "the leader hides proposals from one correct replica")                                   \
    X(27, "a silent replica")                                                                      \
    X(28, "a flood for future views and sequence numbers")                                         \
    X(29, "truncated frames and huge lengths")                                                     \
    X(30, "odd Ed25519 signatures")                                                                \
    X(31, "a client signs two requests of one number")                                             \
    X(32, "a client uses request number 2^64-1")                                                   \
    X(33, "a client floods with bad signatures and retries")                                       \
    X(34, "partitions: majority, minority, one-way")                                               \
    X(35, "loss, duplication, reordering, bit flips")                                              \
    X(37, "clocks that are wrong and jump")                                                        \
    X(38, "a replica is killed and comes back")                                                    \
    X(39, "a replica is killed in its checkpoint")                                                 \
    X(40, "the power fails before a sync")                                                         \
    X(41, "a sync fails")                                                                          \
    X(42, "the disk is full")                                                                      \
    X(43, "a disk torn, rotten or written in the wrong place")                                     \
    X(44, "a wiped, older or foreign disk under an old key")                                       \
    X(45, "slow disks")                                                                            \
    X(46, "another format version")                                                                \
    X(47, "a view change during a state transfer")

const struct stage_row *stage_row_of(const struct sim_scenario *scenario)
{
    const char *name = scenario->name;
    const struct stage_row *files[] = {stage_rows_primary, stage_rows_votes, stage_rows_state,
                                       stage_rows_clients, stage_rows_network};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (const struct stage_row *row = files[i]; row->name != NULL; row++)
            if (strcmp(row->name, name) == 0) return row;
    pbft_panic(__FILE__, __LINE__, name);
}

#define X(number, title)                                                                           \
    static void run_##number(const struct sim_world_options *options,                              \
                             struct sim_world_result *result)                                      \
    {                                                                                              \
        stage_run(stage_row_of(sim_scenario_find("2." #number)), NULL, options, result);           \
    }
ROWS(X)
#undef X

const struct sim_scenario sim_scenarios[] = {
#define X(number, title) {"2." #number, title, run_##number},
    ROWS(X)
#undef X
        {NULL, NULL, NULL}};

const struct sim_scenario *sim_scenario_find(const char *name)
{
    for (const struct sim_scenario *s = sim_scenarios; s->name != NULL; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}

/* ---- for plays ---- */

void stage_load(struct stage *s, uint64_t operations)
{
    for (uint32_t client = 0; client < STAGE_LOADS && sim_ok(s->sim); client++)
        sim_load(s->sim, client, operations, SIM_MIX);
}

void stage_wait(struct stage *s)
{
    if (!sim_ok(s->sim)) return;
    if (!sim_run_until(s->sim, sim_loads_done, NULL, STAGE_ENOUGH) && sim_ok(s->sim))
        sim_fail(s->sim, "operations are not answered in time");
}

void stage_run_for(struct stage *s, uint64_t ms)
{
    if (sim_ok(s->sim)) (void)sim_run_for(s->sim, ms * SIM_MS);
}

void stage_must(struct stage *s, bool condition, const char *what)
{
    if (!condition) sim_fail(s->sim, "scenario %s: %s", s->row->name, what);
}

/* No row injects what another's filter has called forth: the frame that it came for is under way.
 */
static bool filter_all(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *first = context;
    bool busy = false, pass = true;
    for (const struct stage *s = first; s != NULL; s = s->next)
        busy = busy || s->busy;
    for (struct stage *s = first; s != NULL && pass; s = s->next) {
        if (s->filter == NULL) continue;
        bool was = s->busy;
        s->busy = busy;
        pass = s->filter(sim, p, s);
        s->busy = was;
    }
    return pass;
}

void stage_filter(struct stage *s, sim_filter *filter)
{
    s->filter = filter;
    sim_set_filter(s->sim, filter_all, s->first);
}

pbft_id stage_victim(struct stage *s)
{
    pbft_id id = (pbft_id)sim_random(s->sim, s->n);
    while (!pbft_signers_has(sim_correct(s->sim), id))
        id = (id + 1) % s->n;
    return id;
}

pbft_view stage_view(struct stage *s)
{
    pbft_view view = 0;
    for (pbft_id id = 0; id < s->n; id++) {
        if (!pbft_signers_has(sim_correct(s->sim), id)) continue;
        struct pbft_core_info info = sim_info(s->sim, id).core;
        if (info.view_active && info.view > view) view = info.view;
    }
    return view;
}

void stage_change_views(struct stage *s, pbft_view view)
{
    PBFT_ASSERT(s->n > 0);
    for (unsigned turn = 0; turn < 3 * s->n && sim_ok(s->sim) && stage_view(s) < view; turn++) {
        pbft_id primary = (pbft_id)(stage_view(s) % s->n);
        sim_isolate(s->sim, primary, true);
        stage_load(s, 10);
        stage_run_for(s, 2500);
        sim_isolate(s->sim, primary, false);
        stage_run_for(s, 300);
    }
    stage_must(s, stage_view(s) >= view, "the view did not change");
}

void stage_keep(struct stage *s, struct pbft_frame *frame)
{
    struct pbft_frame **place = &s->kept[s->kept_count++ % KEPT_MAX];
    pbft_frame_release(*place);
    *place = pbft_frame_retain(frame);
}

struct pbft_frame *stage_request(struct stage *s, uint64_t t)
{
    uint8_t op[64];
    struct pbft_span key = {(const uint8_t *)"hand", 4}, value = {(const uint8_t *)"v", 1};
    struct pbft_span put = {op, pbft_kv_encode_put(op, sizeof op, key, value)};
    return sim_request(s->sim, STAGE_HAND, sim_client_session(s->sim, STAGE_HAND) + 1, t, put);
}

struct pbft_frame *stage_copy(struct stage *s, struct pbft_span frame)
{
    struct pbft_frame *copy = pbft_frame_new(sim_pool(s->sim), (uint32_t)frame.size + 64);
    PBFT_ASSERT(copy != NULL);
    memcpy(copy->bytes, frame.data, frame.size);
    copy->size = (uint32_t)frame.size;
    return copy;
}

void stage_sign(struct stage *s, pbft_id as, struct pbft_frame *frame)
{
    if (pbft_wire_signed_body(pbft_frame_span(frame)).data == NULL) return;
    pbft_frame_sign(sim_cluster(s->sim), s->signer, &sim_replica_key(s->sim, as)->secret,
                    frame->bytes, frame->size);
}

void stage_inject(struct stage *s, pbft_id from, pbft_id to, struct pbft_frame *frame,
                  bool may_pass)
{
    if (!sim_ok(s->sim) || !sim_alive(s->sim, to)) {
        pbft_frame_release(frame);
        return;
    }
    uint8_t type = frame->bytes[0];
    enum pbft_verdict verdict = sim_inject(s->sim, from, to, frame);
    s->injected++;
    if (verdict == PBFT_OK && !may_pass)
        sim_fail(s->sim, "scenario %s: replica %u accepts a %s that it must refuse", s->row->name,
                 to, pbft_type_text(type));
}

/* ---- a row from beginning to end ---- */

static bool all_outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                         struct pbft_frame *frame)
{
    const struct stage *of = context;
    for (struct stage *s = of->first; s != NULL; s = s->next)
        if (s->faults != NULL && s->row->liar == of->row->liar &&
            !s->hooks.outbound(s->hooks.context, node, to, frame))
            return false;
    return true;
}

static bool all_inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                        struct pbft_frame *frame)
{
    const struct stage *of = context;
    for (struct stage *s = of->first; s != NULL; s = s->next)
        if (s->faults != NULL && s->row->liar == of->row->liar &&
            !s->hooks.inbound(s->hooks.context, node, from, frame))
            return false;
    return true;
}

static void play_strategy(struct stage *s)
{
    if (s->row->strategy == NULL) return;
    struct pbft_faults_config config = {.cluster = sim_cluster(s->sim),
                                        .id = s->row->liar,
                                        .keypair = sim_replica_key(s->sim, s->row->liar),
                                        .signer = s->signer,
                                        .pool = sim_pool(s->sim)};
    char error[256] = "";
    s->faults = pbft_faults_new(s->row->strategy, &config, error);
    if (s->faults == NULL) pbft_panic(__FILE__, __LINE__, error);
    s->hooks = pbft_faults_hooks(s->faults);
    s->all = (struct pbft_node_hooks){s, NULL, all_outbound, all_inbound};
    sim_set_hooks(s->sim, s->row->liar, &s->all);
}

/* The last act: no faults of the network any more, the liars go on. */
static void finish(struct stage *first)
{
    struct sim *sim = first->sim;
    sim_heal(sim);
    stage_load(first, 5);
    stage_wait(first);
    if (sim_ok(sim) && !sim_run_until(sim, sim_converged, NULL, STAGE_ENOUGH) && sim_ok(sim))
        sim_fail(sim, "the correct replicas do not converge");
    if (sim_ok(sim)) (void)sim_check_history(sim);
    for (struct stage *s = first; s != NULL; s = s->next) {
        if (s->faults != NULL) s->injected += pbft_faults_acts(s->faults);
        stage_must(s, s->injected > 0, "its fault never happened");
    }
}

static void begin(struct stage *first, const struct sim_world_options *options)
{
    struct sim_options o = sim_defaults(first->n, STAGE_LOADS + 1, options->seed);
    o.expect_no_view_change = true;
    for (struct stage *s = first; s != NULL; s = s->next) {
        o.byzantine |= s->row->byzantine;
        o.expect_no_view_change = o.expect_no_view_change && s->row->no_view_change;
        if (s->row->options != NULL) s->row->options(&o);
    }
    struct sim *sim = sim_new(&o);
    if (options->observer != NULL) sim_observe(sim, options->observer, options->observer_context);
    for (struct stage *s = first; s != NULL; s = s->next) {
        s->signer = o.signer;
        s->sim = sim;
        play_strategy(s);
    }
}

static void end(struct stage *first)
{
    struct sim *sim = first->sim;
    for (struct stage *s = first; s != NULL; s = s->next) {
        for (size_t i = 0; i < KEPT_MAX; i++)
            pbft_frame_release(s->kept[i]);
        if (s->faults != NULL) pbft_faults_free(s->faults);
    }
    sim_free(sim);
}

/* A culprit that has left the view alone says nothing that it could lie with: all leave it. */
static void gather(struct stage *s)
{
    bool alone = false;
    for (pbft_id id = 0; id < s->n && sim_ok(s->sim); id++) {
        if (!pbft_signers_has(s->row->byzantine, id) || !sim_alive(s->sim, id)) continue;
        struct pbft_core_info info = sim_info(s->sim, id).core;
        alone = alone || !info.view_active || info.view != stage_view(s);
    }
    if (alone) stage_change_views(s, stage_view(s) + 1);
}

void stage_run(const struct stage_row *row, const struct stage_row *second,
               const struct sim_world_options *options, struct sim_world_result *result)
{
    uint32_t n = options->n == 0 ? 4 : options->n;
    struct stage stages[2] = {{.row = row, .n = n}, {.row = second, .n = n}};
    stages[0].first = stages[1].first = &stages[0];
    stages[0].next = second == NULL ? NULL : &stages[1];
    begin(stages, options);
    struct sim *sim = stages[0].sim;
    for (struct stage *s = stages; s != NULL; s = s->next) {
        if (s != stages) gather(s);
        stage_load(s, STAGE_OPS);
        if (s->row->play != NULL && sim_ok(sim)) s->row->play(s);
        stage_wait(s);
    }
    finish(stages);

    memset(result, 0, sizeof *result);
    result->ok = sim_ok(sim);
    if (!result->ok) snprintf(result->failure, sizeof result->failure, "%s", sim_failure(sim));
    result->trace_hash = sim_trace_hash(sim);
    result->n = n;
    result->real_signatures = stages[0].signer == &pbft_signer_ed25519;
    result->virtual_ns = sim_now(sim);
    for (unsigned type = 0; type < 64; type++)
        result->delivered += sim_sent(sim, (uint8_t)type);
    result->executed = sim_op_count(sim);
    result->view_changes = sim_view_changes(sim);
    result->injected = stages[0].injected + stages[1].injected;
    end(stages);
}
