/* What the seed draws: the cluster, its load, and which faults stay away ("swarm"). */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *d, uint64_t below)
{
    uint64_t z = (d->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return below == 0 ? 0 : z % below;
}

static uint64_t roll_from(struct dice *d, uint64_t least, uint64_t most)
{
    return least + roll(d, most - least + 1);
}

static bool percent(struct dice *d, uint32_t chance)
{
    return roll(d, 100) < chance;
}

static void configure(struct world_plan *plan, enum sim_fault fault)
{
    plan->configured |= UINT64_C(1) << fault;
}

bool world_configured(const struct world_plan *plan, enum sim_fault fault)
{
    return (plan->configured >> fault & 1u) != 0;
}

bool world_needs_turn(enum sim_fault strategy)
{
    return strategy == SIM_FAULT_EQUIVOCATE || strategy == SIM_FAULT_FORGE_NEW_VIEW;
}

static void act(struct world_plan *plan, uint64_t at_ns, enum action_kind kind, uint32_t who,
                uint64_t number, pbft_signers group)
{
    PBFT_ASSERT(plan->action_count < WORLD_ACTIONS_MAX);
    plan->actions[plan->action_count++] = (struct action){at_ns, kind, who, number, group};
}

/* ---- the cluster ---- */

static uint32_t draw_n(struct dice *d)
{
    static const uint32_t sizes[] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 10};
    return sizes[roll(d, sizeof sizes / sizeof sizes[0])];
}

static void draw_cluster(struct world_plan *plan, struct dice *d,
                         const struct sim_world_options *options)
{
    static const uint32_t intervals[] = {4, 8, 8, 16}, batches[] = {1, 4, 16};
    static const uint64_t timeouts_ms[] = {250, 500, 500, 800};
    uint32_t drawn = draw_n(d);
    bool real = (roll(d, 100) == 0 || options->real_signatures) && !options->fast_signatures;
    if (real && drawn > 5) drawn = 4; /* dear enough */
    uint32_t n = options->n == 0 ? drawn : options->n;
    plan->honest = 1 + (uint32_t)roll(d, 4);
    plan->hostile = percent(d, 35) ? 1 + (uint32_t)roll(d, 2) : 0;
    if (options->traitors > 0 && plan->honest < 2) plan->honest = 2;
    plan->o = sim_defaults(n, plan->honest + plan->hostile, options->seed);
    struct pbft_params *p = &plan->o.params;
    p->checkpoint_interval = intervals[roll(d, 4)];
    p->window = p->checkpoint_interval * (uint32_t)roll_from(d, 2, 4);
    p->pipeline_depth = 1 + (uint32_t)roll(d, 6);
    p->batch_max_requests = batches[roll(d, 3)];
    p->client_quota = percent(d, 30) ? 8 : 32;
    p->batch_max_bytes = 16u << 10;
    p->value_max_bytes = 4u << 10;
    p->reply_max_bytes = 8u << 10;
    p->view_timeout_ns = timeouts_ms[roll(d, 4)] * SIM_MS;
    p->view_timeout_max_ns = 4 * p->view_timeout_ns;
    while (pbft_params_check(p) != NULL) { /* PROTOCOL 20 */
        if (p->window > 2 * p->checkpoint_interval)
            p->window -= p->checkpoint_interval;
        else
            p->view_timeout_ns += 100 * SIM_MS;
        p->view_timeout_max_ns = 4 * p->view_timeout_ns;
    }
    plan->o.client_window = 1 + (uint32_t)roll(d, 4);
    plan->o.body_max_bytes = percent(d, 50) ? 256u << 10 : 0;
    plan->o.delay_max_ns = roll_from(d, SIM_MS / 2, 5 * SIM_MS);
    plan->o.job_max_ns = roll_from(d, SIM_MS / 10, 3 * SIM_MS);
    plan->o.clock_offset_max_ns = 0;
    plan->o.fifo = true;
    plan->mix = percent(d, 80) ? SIM_SWARM : SIM_MIX;
    plan->operations = n < 7 ? roll_from(d, 60, 100) : roll_from(d, 52, 66);
    plan->o.signer = real ? &world_signer_once : &pbft_signer_fast;
}

/* ---- who lies, who dies: together at most f ---- */

static const enum sim_fault strategies[] = {SIM_FAULT_SILENT,         SIM_FAULT_EQUIVOCATE,
                                            SIM_FAULT_LIE_REPLY,      SIM_FAULT_WRONG_DIGEST,
                                            SIM_FAULT_BAD_SIGNATURE,  SIM_FAULT_CENSOR,
                                            SIM_FAULT_DELAY,          SIM_FAULT_REPLAY,
                                            SIM_FAULT_FORGE_NEW_VIEW, SIM_FAULT_WRONG_CHECKPOINT};

/* Whoever is silent has nothing more to say, and who signs nothing well no lie that anybody takes:
 * it does not become primary, and of what it sends a frame can be spoilt once only. */
static bool excludes(enum sim_fault a, enum sim_fault b)
{
    return a == SIM_FAULT_SILENT || (a == SIM_FAULT_BAD_SIGNATURE &&
                                     (world_needs_turn(b) || b == SIM_FAULT_WRONG_CHECKPOINT ||
                                      b == SIM_FAULT_WRONG_DIGEST));
}

static void draw_strategy(struct world_plan *plan, struct dice *d, pbft_id id)
{
    struct liar_plan *l = &plan->liars[id];
    enum sim_fault kind = strategies[roll(d, sizeof strategies / sizeof strategies[0])];
    for (unsigned i = 0; i < l->count; i++)
        if (l->kind[i] == kind || excludes(l->kind[i], kind) || excludes(kind, l->kind[i])) return;
    /* What a delay holds back is not for the others to spoil: it comes last. */
    unsigned at = l->count++;
    l->kind[at] = kind;
    l->argument[at] = kind == SIM_FAULT_DELAY    ? roll_from(d, 1, percent(d, 20) ? 300 : 60)
                      : kind == SIM_FAULT_CENSOR ? roll(d, plan->honest)
                                                 : 0;
    if (at == 1 && l->kind[0] == SIM_FAULT_DELAY) {
        struct liar_plan old = *l;
        l->kind[0] = old.kind[1], l->argument[0] = old.argument[1];
        l->kind[1] = old.kind[0], l->argument[1] = old.argument[0];
    }
    configure(plan, kind);
}

static void draw_liar(struct world_plan *plan, struct dice *d, pbft_id id)
{
    plan->o.byzantine |= pbft_signers_of(id);
    uint64_t dice = roll(d, 100);
    if (dice < 30) {
        plan->mutators |= pbft_signers_of(id);
        plan->mutator_level = (uint32_t)roll_from(d, 20, 400);
        configure(plan, SIM_FAULT_MUTATOR);
    } else if (dice < 45) {
        plan->o.twins |= pbft_signers_of(id);
        configure(plan, SIM_FAULT_TWIN);
    } else {
        draw_strategy(plan, d, id);
        if (percent(d, 40)) draw_strategy(plan, d, id);
    }
}

static void draw_death(struct world_plan *plan, struct dice *d, pbft_id id)
{
    plan->crashing |= pbft_signers_of(id);
    uint64_t at = 5 * SIM_MS + roll(d, plan->end_ns / 2);
    if (percent(d, 25)) {
        configure(plan, SIM_FAULT_BROKEN_DISK);
        act(plan, at, ACTION_BREAK_DISK, id, 0, 0);
        return;
    }
    configure(plan, SIM_FAULT_CRASH);
    act(plan, at, ACTION_CRASH, id, 0, 0);
    if (percent(d, 30)) return;
    configure(plan, SIM_FAULT_RESTART);
    bool with_log = percent(d, 60);
    at += 20 * SIM_MS + roll(d, plan->end_ns / 2);
    act(plan, at, ACTION_RESTART, id, with_log, 0);
    for (unsigned again = with_log ? (unsigned)roll(d, 3) : 0; again > 0; again--) {
        act(plan, at += 1 + roll(d, 60 * SIM_MS), ACTION_CRASH, id, 0, 0);
        act(plan, at += 1 + roll(d, 200 * SIM_MS), ACTION_RESTART, id, 1, 0);
    }
}

static pbft_id draw_culprit(struct world_plan *plan, struct dice *d)
{
    uint32_t n = plan->o.params.n;
    pbft_id id = percent(d, 50) ? (pbft_id)roll(d, 3) : (pbft_id)roll(d, n); /* soon primaries */
    while (pbft_signers_has(plan->o.byzantine | plan->crashing, id))
        id = (id + 1) % n;
    return id;
}

/* Two halves of the correct replicas, each of which believes that it is the cluster with the
 * conspirators: agreement must break, and be seen to (FAULTS 3.1). */
static void draw_conspiracy(struct world_plan *plan, uint32_t traitors)
{
    uint32_t n = plan->o.params.n;
    plan->conspiracy = plan->o.agreement_only = true;
    plan->o.twins = plan->o.byzantine = pbft_everyone(traitors < n ? traitors : n - 1);
    pbft_signers group = 0;
    uint32_t rest = n - pbft_signers_count(plan->o.twins);
    for (pbft_id id = n - rest; id < n - rest / 2; id++)
        group |= pbft_signers_of(id);
    configure(plan, SIM_FAULT_TWIN);
    configure(plan, SIM_FAULT_PARTITION);
    act(plan, 0, ACTION_TWINS, 0, UINT64_C(0xAAAAAAAAAAAAAAAA), group);
    act(plan, 0, ACTION_PARTITION, 0, 0, group);
}

static void draw_culprits(struct world_plan *plan, struct dice *d)
{
    uint32_t f = pbft_quorum_faults(plan->o.params.n);
    for (uint32_t i = 0; i < f; i++) {
        if (percent(d, 15)) continue;
        pbft_id id = draw_culprit(plan, d);
        if (percent(d, 65))
            draw_liar(plan, d, id);
        else
            draw_death(plan, d, id);
    }
}

/* Dice of their own: a replica that means well, and whose memory is bad. It counts against f. */
static void draw_flip(struct world_plan *plan, uint64_t seed)
{
    struct dice d = {seed * UINT64_C(0xA24BAED4963EE407) + 13};
    uint32_t culprits = pbft_signers_count(plan->o.byzantine | plan->crashing);
    if (culprits >= pbft_quorum_faults(plan->o.params.n) || !percent(&d, 40)) return;
    pbft_id id = draw_culprit(plan, &d);
    plan->o.byzantine |= pbft_signers_of(id);
    plan->liars[id].count = 1;
    plan->liars[id].kind[0] = SIM_FAULT_FLIP_STATE;
    plan->liars[id].argument[0] = roll_from(&d, 4, 40);
    configure(plan, SIM_FAULT_FLIP_STATE);
}

/* ---- faults of the world ---- */

static void draw_network(struct world_plan *plan, struct dice *d)
{
    if (percent(d, 40)) {
        configure(plan, SIM_FAULT_LOSS);
        plan->o.loss_ppm = (uint32_t)roll_from(d, 5000, 50000);
    }
    if (percent(d, 35)) {
        configure(plan, SIM_FAULT_DUPLICATE);
        plan->o.duplicate_ppm = (uint32_t)roll_from(d, 5000, 100000);
    }
    if (percent(d, 50)) {
        configure(plan, SIM_FAULT_REORDER);
        plan->o.fifo = false;
    }
    if (percent(d, 25)) {
        configure(plan, SIM_FAULT_BIT_FLIP);
        plan->flip_ppm = (uint32_t)roll_from(d, 3000, 40000);
    }
    if (percent(d, 30)) {
        configure(plan, SIM_FAULT_CLOCK_SKEW);
        plan->o.clock_offset_max_ns = roll_from(d, 50, 950) * SIM_MS;
    }
}

/* Some on either side; on each at least one that neither lies nor dies. */
static pbft_signers draw_group(const struct world_plan *plan, struct dice *d)
{
    pbft_signers all = pbft_everyone(plan->o.params.n);
    pbft_signers good = all & ~plan->o.byzantine & ~plan->crashing, group;
    do
        group = roll(d, all + 1);
    while ((group & good) == 0 || (~group & good) == 0);
    return group;
}

static pbft_id draw_good(const struct world_plan *plan, struct dice *d)
{
    pbft_id id = (pbft_id)roll(d, plan->o.params.n);
    while (pbft_signers_has(plan->o.byzantine | plan->crashing, id))
        id = (id + 1) % plan->o.params.n;
    return id;
}

/* Jumps of any size for one clock, small ones for the others: where most clocks differ by more than
 * the skew, nobody's proposals are taken (PROTOCOL 11). */
static void draw_jump(struct world_plan *plan, struct dice *d, uint64_t at)
{
    pbft_id wild = (pbft_id)roll(d, plan->o.params.n);
    for (unsigned i = 0; i < 3; i++) {
        bool far = i == 0;
        int64_t most = (int64_t)(far ? 20 * SIM_SECOND : SIM_SECOND);
        int64_t offset = (int64_t)roll(d, (uint64_t)most + 1) - most / 2;
        pbft_id who = far ? wild : draw_good(plan, d);
        act(plan, at + i * SIM_MS, ACTION_CLOCK, who, (uint64_t)offset, 0);
    }
}

enum window {
    WINDOW_PARTITION,
    WINDOW_ONE_WAY,
    WINDOW_ISOLATE,
    WINDOW_LINKS,
    WINDOW_DISK,
    WINDOW_JUMP,
    WINDOW_QUIET,
    WINDOW_COUNT
};

static void draw_window(struct world_plan *plan, struct dice *d, enum window window, uint64_t at,
                        uint64_t end)
{
    uint32_t who = draw_good(plan, d);
    pbft_signers group = draw_group(plan, d);
    switch (window) {
    case WINDOW_PARTITION:
        configure(plan, SIM_FAULT_PARTITION);
        act(plan, at, ACTION_PARTITION, 0, 0, group);
        act(plan, end, ACTION_REJOIN, 0, 0, 0);
        break;
    case WINDOW_ONE_WAY:
        configure(plan, SIM_FAULT_ONE_WAY);
        act(plan, at, ACTION_ONE_WAY, 0, 0, group);
        act(plan, end, ACTION_REJOIN, 1, 0, 0);
        break;
    case WINDOW_ISOLATE: /* far enough behind for a state transfer, or a view change, or both */
        configure(plan, SIM_FAULT_ISOLATION);
        act(plan, at, ACTION_ISOLATE, who, 0, 0);
        act(plan, end + roll(d, 300 * SIM_MS), ACTION_RETURN, who, 0, 0);
        break;
    case WINDOW_LINKS:
        configure(plan, SIM_FAULT_SLOW_LINK);
        act(plan, at, ACTION_SLOW_LINKS, 0, roll_from(d, 5, 120) * SIM_MS, group);
        act(plan, end, ACTION_SLOW_LINKS, 0, 0, group);
        break;
    case WINDOW_DISK:
        configure(plan, SIM_FAULT_SLOW_DISK);
        act(plan, at, ACTION_SLOW_DISK, 0, roll_from(d, 5, 120) * SIM_MS, group);
        act(plan, end, ACTION_SLOW_DISK, 0, 0, group);
        break;
    case WINDOW_JUMP:
        configure(plan, SIM_FAULT_CLOCK_JUMP);
        draw_jump(plan, d, at);
        break;
    case WINDOW_QUIET:
    case WINDOW_COUNT: break;
    }
}

/* Windows of time, one after the other or overlapping, with a share of the load at the beginning of
 * each, so that it meets what happens there. */
static void draw_schedule(struct world_plan *plan, struct dice *d)
{
    static const uint32_t chances[WINDOW_COUNT] = {30, 25, 30, 25, 20, 25, 100};
    uint64_t at = 2 * SIM_MS, uncut = 0, starts[WINDOW_COUNT];
    unsigned count = 0, first = (unsigned)roll(d, WINDOW_COUNT);
    for (unsigned i = 0; i < WINDOW_COUNT; i++) {
        unsigned window = (first + i) % WINDOW_COUNT;
        if (!percent(d, chances[window])) continue;
        uint64_t length = roll_from(d, 20, 160) * SIM_MS;
        if (percent(d, 20)) length = roll_from(d, 400, 1500) * SIM_MS;
        bool cuts = window == WINDOW_PARTITION || window == WINDOW_ONE_WAY;
        if (cuts && at < uncut) at = uncut; /* one would hide the other */
        if (cuts) uncut = at + length + SIM_MS;
        draw_window(plan, d, (enum window)window, at, at + length);
        starts[count++] = at;
        at += percent(d, 60) ? length + 5 * SIM_MS : length / 2;
    }
    if (at > plan->end_ns) plan->end_ns = at;
    uint64_t each = plan->operations / ((uint64_t)plan->honest * count) + 1;
    for (unsigned i = 0; i < count; i++)
        for (uint32_t client = 0; client < plan->honest; client++)
            act(plan, starts[i] + roll(d, 3 * SIM_MS), ACTION_LOAD, client, each, 0);
    /* Order of evaluation is a compiler's choice: one roll a statement. */
    for (unsigned i = 0; plan->o.twins != 0 && i < 4; i++) {
        uint64_t when = i == 0 ? 0 : roll(d, plan->end_ns), clients = roll(d, 64);
        pbft_signers group = draw_group(plan, d);
        act(plan, when, ACTION_TWINS, 0, clients, group);
    }
}

static void draw_hostile(struct world_plan *plan, struct dice *d)
{
    static const enum sim_fault faults[] = {SIM_FAULT_CLIENT_FORGED, SIM_FAULT_CLIENT_CONFLICT,
                                            SIM_FAULT_CLIENT_HUGE_T, SIM_FAULT_CLIENT_FLOOD};
    if (plan->hostile == 0) return;
    plan->hostile_kinds = 1 + (unsigned)roll(d, 15);
    plan->hostile_every_ns = roll_from(d, 20, 80) * SIM_MS;
    for (unsigned i = 0; i < 4; i++)
        if ((plan->hostile_kinds >> i & 1u) != 0) configure(plan, faults[i]);
}

/* Dice of their own, so that a seed's other draws stay what they were. */
static void draw_disks(struct world_plan *plan, uint64_t seed)
{
    static const uint64_t flush_bytes[] = {1, 24u << 10, 24u << 10, 96u << 10, 0};
    struct dice d = {seed * UINT64_C(0x9FB21C651E98DF25) + 31};
    plan->o.flush_bytes = flush_bytes[roll(&d, 5)];
    for (size_t i = 0; i < plan->action_count; i++) /* FAULTS 2.44: half of a disk */
        if (plan->actions[i].kind == ACTION_RESTART && plan->actions[i].number == 1 &&
            percent(&d, 20))
            plan->actions[i].number = 2;
    /* Without a checkpoint on disk, and with a log that was cut, nobody would have the state. */
    if (plan->o.flush_bytes == 0 || plan->conspiracy || !percent(&d, 15)) return;
    configure(plan, SIM_FAULT_CRASH);
    configure(plan, SIM_FAULT_RESTART);
    uint64_t at = 5 * SIM_MS + roll(&d, plan->end_ns);
    act(plan, at, ACTION_BLACKOUT, 0, 0, 0);
    for (pbft_id id = 0; id < plan->o.params.n; id++) {
        uint64_t dark = roll_from(&d, 1, 300) * SIM_MS;
        act(plan, at + dark, ACTION_POWER, id, 0, 0);
    }
    if (at + 300 * SIM_MS > plan->end_ns) plan->end_ns = at + 300 * SIM_MS;
}

/* Dice of their own, too. Keys of replicas that lost their memory, or of any that does not lie. */
static void draw_replacements(struct world_plan *plan, uint64_t seed)
{
    struct dice d = {seed * UINT64_C(0xC2B2AE3D27D4EB4F) + 5};
    if (plan->conspiracy || !percent(&d, 20)) return;
    uint64_t count = roll_from(&d, 1, 3);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = roll(&d, plan->end_ns);
        pbft_signers from = plan->crashing & ~plan->o.byzantine;
        if (from == 0 || percent(&d, 40)) from = pbft_everyone(plan->o.params.n);
        from &= ~plan->o.byzantine;
        pbft_id id = (pbft_id)roll(&d, plan->o.params.n);
        while (!pbft_signers_has(from, id))
            id = (id + 1) % plan->o.params.n;
        act(plan, at, ACTION_REPLACE, id, 0, 0);
    }
}

/* And for a laggard's pace, with which some states take seconds. The slowest is the least that
 * node.conf allows: at less, a laggard may still fetch its first state when the world ends. */
static void draw_pace(struct world_plan *plan, uint64_t seed)
{
    static const uint64_t bytes_per_second[] = {0, 0, 131072, 65536};
    struct dice d = {seed * UINT64_C(0x8CB92BA72F3D8DD7) + 3};
    plan->o.transfer_bytes_per_second = bytes_per_second[roll(&d, 4)];
}

/* And for votes that are lost by their kind, behind all else: each step has to have its time. */
static void draw_withheld(struct world_plan *plan, uint64_t seed)
{
    struct dice d = {seed * UINT64_C(0xE7037ED1A0B428DB) + 17};
    if (plan->conspiracy || !percent(&d, 12)) return;
    configure(plan, SIM_FAULT_WITHHELD);
    pbft_signers few = 0;
    for (uint64_t i = 1 + roll(&d, pbft_quorum_faults(plan->o.params.n)); i > 0; i--) {
        pbft_id id = draw_good(plan, &d);
        few |= pbft_signers_of(id);
    }
    uint64_t timeout = plan->o.params.view_timeout_ns, at = plan->end_ns + 5 * SIM_MS;
    uint64_t lengths[] = {roll_from(&d, 40, 90) * SIM_MS, 0, 0};
    /* Backups hear of a request when its client asks again. */
    lengths[1] = 2 * timeout + roll(&d, timeout) + 60 * SIM_MS;
    lengths[2] = 2 * timeout + roll(&d, 2 * timeout) + 60 * SIM_MS;
    for (unsigned step = 0; step < 3; step++) {
        act(plan, at, ACTION_WITHHOLD, 0, (uint64_t)WITHHOLD_PREPARES + step, few);
        for (uint32_t client = 0; client < plan->honest; client++)
            act(plan, at + SIM_MS, ACTION_LOAD, client, 1, 0);
        at += lengths[step];
    }
    act(plan, at, ACTION_WITHHOLD, 0, WITHHOLD_NOTHING, 0);
    plan->end_ns = at + 50 * SIM_MS;
}

static void sort_actions(struct world_plan *plan)
{
    for (size_t i = 1; i < plan->action_count; i++)
        for (size_t k = i; k > 0 && plan->actions[k].at_ns < plan->actions[k - 1].at_ns; k--) {
            struct action a = plan->actions[k];
            plan->actions[k] = plan->actions[k - 1];
            plan->actions[k - 1] = a;
        }
}

void world_draw(struct world_plan *plan, const struct sim_world_options *options)
{
    struct dice d = {options->seed * UINT64_C(0xD1342543DE82EF95) + 77};
    memset(plan, 0, sizeof *plan);
    draw_cluster(plan, &d, options);
    plan->end_ns = roll_from(&d, 300, 900) * SIM_MS;
    if (options->traitors > pbft_quorum_faults(plan->o.params.n)) {
        draw_conspiracy(plan, options->traitors);
        for (uint32_t client = 0; client < plan->honest; client++)
            act(plan, SIM_MS, ACTION_LOAD, client, 20, 0);
    } else {
        draw_culprits(plan, &d);
        draw_flip(plan, options->seed);
        draw_network(plan, &d);
        draw_hostile(plan, &d);
        draw_schedule(plan, &d);
    }
    draw_disks(plan, options->seed);
    draw_replacements(plan, options->seed);
    draw_pace(plan, options->seed);
    draw_withheld(plan, options->seed);
    sort_actions(plan);
}

void sim_world_describe(const struct sim_world_options *options, char *text, size_t size)
{
    struct world_plan *plan = sim_alloc(sizeof *plan);
    world_draw(plan, options);
    const struct pbft_params *p = &plan->o.params;
    int used = snprintf(text, size,
                        "n=%u f=%u clients=%u+%u ops=%llu K=%u L=%u pipeline=%u batch=%u "
                        "timeout=%llums liars=%llx mutators=%llx twins=%llx crashes=%llx %s:",
                        p->n, pbft_quorum_faults(p->n), plan->honest, plan->hostile,
                        (unsigned long long)plan->operations, p->checkpoint_interval, p->window,
                        p->pipeline_depth, p->batch_max_requests,
                        (unsigned long long)(p->view_timeout_ns / SIM_MS),
                        (unsigned long long)plan->o.byzantine, (unsigned long long)plan->mutators,
                        (unsigned long long)plan->o.twins, (unsigned long long)plan->crashing,
                        plan->o.signer == &world_signer_once ? "ed25519" : "fast");
    for (unsigned i = 0; i < SIM_FAULT_COUNT && used > 0 && (size_t)used < size; i++)
        if (world_configured(plan, (enum sim_fault)i))
            used += snprintf(text + used, size - (size_t)used, " %s,",
                             sim_fault_text((enum sim_fault)i));
    free(plan);
}
