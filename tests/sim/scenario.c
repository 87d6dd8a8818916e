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

static const struct stage_row *row_of(const char *name)
{
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
        stage_run(row_of("2." #number), options, result);                                          \
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
    sim_set_hooks(s->sim, s->row->liar, &s->hooks);
}

/* The last act: no faults of the network any more, the liars go on. */
static void finish(struct stage *s)
{
    sim_heal(s->sim);
    stage_load(s, 5);
    stage_wait(s);
    if (sim_ok(s->sim) && !sim_run_until(s->sim, sim_converged, NULL, STAGE_ENOUGH) &&
        sim_ok(s->sim))
        sim_fail(s->sim, "the correct replicas do not converge");
    if (sim_ok(s->sim)) (void)sim_check_history(s->sim);
    if (s->faults != NULL) s->injected += pbft_faults_acts(s->faults);
    stage_must(s, s->injected > 0, "its fault never happened");
}

void stage_run(const struct stage_row *row, const struct sim_world_options *options,
               struct sim_world_result *result)
{
    struct stage s = {.row = row, .n = options->n == 0 ? 4 : options->n};
    struct sim_options o = sim_defaults(s.n, STAGE_LOADS + 1, options->seed);
    o.byzantine = row->byzantine;
    o.expect_no_view_change = row->no_view_change;
    if (row->options != NULL) row->options(&o);
    s.signer = o.signer;
    s.sim = sim_new(&o);
    if (options->observer != NULL) sim_observe(s.sim, options->observer, options->observer_context);
    play_strategy(&s);
    stage_load(&s, STAGE_OPS);
    if (row->play != NULL) row->play(&s);
    stage_wait(&s);
    finish(&s);

    memset(result, 0, sizeof *result);
    result->ok = sim_ok(s.sim);
    if (!result->ok) snprintf(result->failure, sizeof result->failure, "%s", sim_failure(s.sim));
    result->trace_hash = sim_trace_hash(s.sim);
    result->n = s.n;
    result->real_signatures = o.signer == &pbft_signer_ed25519;
    result->virtual_ns = sim_now(s.sim);
    for (unsigned type = 0; type < 64; type++)
        result->delivered += sim_sent(s.sim, (uint8_t)type);
    result->executed = sim_op_count(s.sim);
    result->view_changes = sim_view_changes(s.sim);
    result->injected = s.injected;
    for (size_t i = 0; i < KEPT_MAX; i++)
        pbft_frame_release(s.kept[i]);
    if (s.faults != NULL) pbft_faults_free(s.faults);
    sim_free(s.sim);
}
