/* What the seed draws: the cluster, its load, and which faults stay away ("swarm"). */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#include <stdio.h>
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

static bool percent(struct dice *d, uint32_t chance)
{
    return roll(d, 100) < chance;
}

static void configure(struct world_plan *plan, enum sim_fault fault)
{
    plan->configured |= UINT64_C(1) << fault;
}

static bool configured(const struct world_plan *plan, enum sim_fault fault)
{
    return (plan->configured >> fault & 1u) != 0;
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
    static const uint32_t sizes[] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 10};
    return sizes[roll(d, sizeof sizes / sizeof sizes[0])];
}

static void draw_cluster(struct world_plan *plan, struct dice *d,
                         const struct sim_world_options *options)
{
    static const uint32_t intervals[] = {4, 8, 8, 16}, batches[] = {1, 4, 16};
    uint32_t drawn = draw_n(d), n = options->n == 0 ? drawn : options->n;
    plan->honest = 2 + (uint32_t)roll(d, 3);
    plan->hostile = percent(d, 35) ? 1 : 0;
    plan->o = sim_defaults(n, plan->honest + plan->hostile, options->seed);
    struct pbft_params *p = &plan->o.params;
    p->checkpoint_interval = intervals[roll(d, 4)];
    p->window = p->checkpoint_interval * (2 + (uint32_t)roll(d, 3));
    p->pipeline_depth = 1 + (uint32_t)roll(d, 6);
    p->batch_max_requests = batches[roll(d, 3)];
    plan->o.client_window = 1 + (uint32_t)roll(d, 4);
    plan->o.delay_max_ns = SIM_MS / 2 + roll(d, 5 * SIM_MS);
    plan->o.job_max_ns = SIM_MS / 10 + roll(d, 3 * SIM_MS);
    plan->o.clock_offset_max_ns = 0;
    plan->o.fifo = true;
    plan->mix = percent(d, 80) ? SIM_SWARM : SIM_MIX;
    bool real = roll(d, 100) == 0 || options->real_signatures;
    plan->o.signer = real && !options->fast_signatures ? &pbft_signer_ed25519 : &pbft_signer_fast;
}

/* ---- faults of the world ---- */

static void draw_network(struct world_plan *plan, struct dice *d)
{
    if (percent(d, 40)) {
        configure(plan, SIM_FAULT_LOSS);
        plan->o.loss_ppm = 5000 + (uint32_t)roll(d, 40000);
    }
    if (percent(d, 35)) {
        configure(plan, SIM_FAULT_DUPLICATE);
        plan->o.duplicate_ppm = 5000 + (uint32_t)roll(d, 100000);
    }
    if (percent(d, 50)) {
        configure(plan, SIM_FAULT_REORDER);
        plan->o.fifo = false;
    }
    if (percent(d, 30)) {
        configure(plan, SIM_FAULT_CLOCK_SKEW);
        plan->o.clock_offset_max_ns = 50 * SIM_MS + roll(d, 900 * SIM_MS);
    }
    if (percent(d, 20)) {
        configure(plan, SIM_FAULT_SLOW_DISK);
        plan->o.job_max_ns = 10 * SIM_MS + roll(d, 30 * SIM_MS);
    }
}

static pbft_signers draw_group(struct dice *d, uint32_t n)
{
    pbft_signers group = 0;
    while (group == 0 || group == pbft_everyone(n))
        group = roll(d, UINT64_C(1) << n);
    return group;
}

static void draw_schedule(struct world_plan *plan, struct dice *d)
{
    uint32_t n = plan->o.params.n;
    plan->end_ns = 400 * SIM_MS + roll(d, 800 * SIM_MS);
    uint64_t half = plan->end_ns / 2;
    if (percent(d, 30)) {
        configure(plan, SIM_FAULT_PARTITION);
        uint64_t at = 20 * SIM_MS + roll(d, half / 2);
        act(plan, at, ACTION_PARTITION, 0, 0, draw_group(d, n));
        act(plan, at + 50 * SIM_MS + roll(d, half), ACTION_REJOIN, 0, 0, 0);
    }
    if (percent(d, 25)) {
        configure(plan, SIM_FAULT_ONE_WAY);
        uint64_t at = 20 * SIM_MS + half / 2 + roll(d, half / 2);
        act(plan, at, ACTION_ONE_WAY, 0, 0, draw_group(d, n));
        act(plan, at + 50 * SIM_MS + roll(d, half), ACTION_REJOIN, 0, 0, 0);
    }
    if (percent(d, 25)) {
        configure(plan, SIM_FAULT_CLOCK_JUMP);
        for (unsigned i = 0; i < 3; i++) { /* one draw after the other: arguments have no order */
            uint64_t at = roll(d, plan->end_ns);
            uint32_t who = (uint32_t)roll(d, n);
            act(plan, at, ACTION_CLOCK, who, roll(d, 20 * SIM_SECOND), 0);
        }
    }
    if (percent(d, 25)) {
        configure(plan, SIM_FAULT_SLOW_LINK);
        uint64_t at = 20 * SIM_MS + roll(d, half);
        plan->slow_delay_ns = 20 * SIM_MS + roll(d, 80 * SIM_MS);
        act(plan, at, ACTION_SLOW_LINKS, 0, 0, 0);
        act(plan, at + 100 * SIM_MS + roll(d, half), ACTION_USUAL_LINKS, 0, 0, 0);
    }
    if (percent(d, 25)) { /* far enough behind for a state transfer, or a view change, or both */
        uint32_t who = (uint32_t)roll(d, n);
        uint64_t at = 20 * SIM_MS + roll(d, half);
        configure(plan, SIM_FAULT_PARTITION);
        act(plan, at, ACTION_ISOLATE, who, 0, 0);
        act(plan, at + 200 * SIM_MS + roll(d, half), ACTION_RETURN, who, 0, 0);
    }
}

/* ---- who lies, who dies: together at most f ---- */

static void draw_liar(struct world_plan *plan, struct dice *d, pbft_id id)
{
    static const enum sim_fault strategies[] = {
        SIM_FAULT_SILENT,          SIM_FAULT_EQUIVOCATE, SIM_FAULT_LIE_REPLY,
        SIM_FAULT_WRONG_DIGEST,    SIM_FAULT_CENSOR,     SIM_FAULT_DELAY,
        SIM_FAULT_BAD_SIGNATURE,   SIM_FAULT_REPLAY,     SIM_FAULT_FORGE_NEW_VIEW,
        SIM_FAULT_WRONG_CHECKPOINT};
    plan->o.byzantine |= pbft_signers_of(id);
    if (percent(d, 45)) {
        plan->mutators |= pbft_signers_of(id);
        plan->mutator_level = 20 + (uint32_t)roll(d, 400);
        configure(plan, SIM_FAULT_MUTATOR);
        return;
    }
    plan->strategy[id] = strategies[roll(d, sizeof strategies / sizeof strategies[0])];
    configure(plan, plan->strategy[id]);
    if (plan->strategy[id] != SIM_FAULT_SILENT && percent(d, 30)) {
        configure(plan, SIM_FAULT_BIT_FLIP);
        plan->flip_per_mille = 20 + (uint32_t)roll(d, 200);
    }
}

static void draw_death(struct world_plan *plan, struct dice *d, pbft_id id)
{
    plan->crashing |= pbft_signers_of(id);
    uint64_t at = 10 * SIM_MS + roll(d, plan->end_ns / 2);
    if (percent(d, 20)) {
        configure(plan, SIM_FAULT_BROKEN_DISK);
        act(plan, at, ACTION_BREAK_DISK, id, 0, 0);
        return;
    }
    configure(plan, SIM_FAULT_CRASH);
    act(plan, at, ACTION_CRASH, id, 0, 0);
    if (percent(d, 50)) return;
    configure(plan, SIM_FAULT_RESTART);
    act(plan, at + 20 * SIM_MS + roll(d, plan->end_ns / 2), ACTION_RESTART, id, 0, 0);
}

static void draw_traitors(struct world_plan *plan, struct dice *d, uint32_t on_purpose)
{
    uint32_t n = plan->o.params.n, f = pbft_quorum_faults(n);
    uint32_t wanted = on_purpose > 0 ? on_purpose : f;
    for (uint32_t i = 0; i < wanted && i < n; i++) {
        pbft_id id = (pbft_id)roll(d, n);
        if (percent(d, 40)) id = 0; /* the first primary has the most to lie about */
        while (pbft_signers_has(plan->o.byzantine | plan->crashing, id))
            id = (id + 1) % n;
        if (on_purpose > 0 || percent(d, 60))
            draw_liar(plan, d, id);
        else if (percent(d, 70))
            draw_death(plan, d, id);
    }
}

/* Strategies that need their turn as a primary, and faults that need somebody to play them. */
static void give_chances(struct world_plan *plan, struct dice *d)
{
    uint32_t n = plan->o.params.n;
    for (pbft_id id = 0; id < n; id++) {
        bool primary = plan->strategy[id] == SIM_FAULT_FORGE_NEW_VIEW ||
                       plan->strategy[id] == SIM_FAULT_EQUIVOCATE ||
                       plan->strategy[id] == SIM_FAULT_CENSOR;
        bool needs = pbft_signers_has(plan->o.byzantine, id) && primary &&
                     !pbft_signers_has(plan->mutators, id);
        if (!needs || (id == 0 && plan->strategy[id] != SIM_FAULT_FORGE_NEW_VIEW)) continue;
        uint64_t at = plan->end_ns;
        for (pbft_id view = 0; view < (id == 0 ? n : id); view++) {
            if (plan->action_count + 8 > WORLD_ACTIONS_MAX) break;
            act(plan, at, ACTION_ISOLATE, view % n, 0, 0);
            act(plan, at + 1300 * SIM_MS, ACTION_RETURN, view % n, 0, 0);
            at += 1500 * SIM_MS;
        }
        plan->end_ns = at;
    }
    if (plan->hostile > 0) {
        static const enum sim_fault faults[] = {SIM_FAULT_CLIENT_FORGED, SIM_FAULT_CLIENT_CONFLICT,
                                                SIM_FAULT_CLIENT_HUGE_T, SIM_FAULT_CLIENT_FLOOD};
        while (plan->hostile_kinds == 0)
            plan->hostile_kinds = (unsigned)roll(d, 16);
        for (unsigned i = 0; i < 4; i++)
            if ((plan->hostile_kinds >> i & 1u) != 0) configure(plan, faults[i]);
    }
}

static void draw_load(struct world_plan *plan, struct dice *d)
{
    uint64_t total = 48 + roll(d, 40), parts = 4;
    for (uint32_t client = 0; client < plan->honest; client++)
        for (uint64_t part = 0; part < parts; part++)
            act(plan, part * plan->end_ns / parts + roll(d, 5 * SIM_MS), ACTION_LOAD, client,
                total / plan->honest / parts + 1, 0);
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
    draw_network(plan, &d);
    draw_schedule(plan, &d);
    draw_traitors(plan, &d, options->traitors);
    give_chances(plan, &d);
    draw_load(plan, &d);
    sort_actions(plan);
}

void sim_world_describe(const struct sim_world_options *options, char *text, size_t size)
{
    static struct world_plan plan;
    world_draw(&plan, options);
    const struct pbft_params *p = &plan.o.params;
    int used = snprintf(text, size,
                        "n=%u clients=%u+%u K=%u L=%u pipeline=%u batch=%u liars=%llx "
                        "crashes=%llx %s:",
                        p->n, plan.honest, plan.hostile, p->checkpoint_interval, p->window,
                        p->pipeline_depth, p->batch_max_requests,
                        (unsigned long long)plan.o.byzantine, (unsigned long long)plan.crashing,
                        plan.o.signer == &pbft_signer_ed25519 ? "ed25519" : "fast");
    for (unsigned i = 0; i < SIM_FAULT_COUNT && used > 0 && (size_t)used < size; i++)
        if (configured(&plan, (enum sim_fault)i))
            used += snprintf(text + used, size - (size_t)used, " %s,",
                             sim_fault_text((enum sim_fault)i));
}
