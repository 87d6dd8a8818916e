/* One seed from beginning to end: build what was drawn, phase 1 with faults, heal, phase 2, judge.
 */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Phase 2 may take so many view-change time-outs at their cap: each of f liars may be primary in
 * turn, more than once while back-off grows to what the network needs (FAULTS 3.21). */
#define HEAL_TIMEOUTS 120u
#define HOSTILE_EVERY (25 * SIM_MS)

/* ---- liars ---- */

static const char *strategy_text(enum sim_fault fault)
{
    switch ((int)fault) {
    case SIM_FAULT_SILENT: return "silent";
    case SIM_FAULT_EQUIVOCATE: return "equivocate";
    case SIM_FAULT_LIE_REPLY: return "lie-reply";
    case SIM_FAULT_WRONG_DIGEST: return "wrong-digest";
    case SIM_FAULT_BAD_SIGNATURE: return "bad-signature";
    case SIM_FAULT_CENSOR: return "censor=1";
    case SIM_FAULT_DELAY: return "delay=30";
    case SIM_FAULT_REPLAY: return "replay";
    case SIM_FAULT_FORGE_NEW_VIEW: return "forge-new-view";
    default: return "wrong-checkpoint";
    }
}

static void make_liars(struct world *w)
{
    struct world_plan *plan = &w->plan;
    if (plan->mutators != 0) {
        w->mutator = mutator_new(w->sim, plan->mutators);
        mutator_level(w->mutator, plan->mutator_level);
    }
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (!pbft_signers_has(plan->o.byzantine & ~plan->mutators, id)) continue;
        struct pbft_faults_config config = {.cluster = sim_cluster(w->sim),
                                            .id = id,
                                            .keypair = sim_replica_key(w->sim, id),
                                            .signer = plan->o.signer,
                                            .pool = sim_pool(w->sim)};
        char error[256] = "";
        w->faults[id] = pbft_faults_new(strategy_text(plan->strategy[id]), &config, error);
        if (w->faults[id] == NULL) pbft_panic(__FILE__, __LINE__, error);
        w->hooks[id] = pbft_faults_hooks(w->faults[id]);
        sim_set_hooks(w->sim, id, &w->hooks[id]);
    }
}

/* Strategies that act later want time. */
static void tick_liars(struct world *w)
{
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (w->faults[id] == NULL || !sim_alive(w->sim, id)) continue;
        if (pbft_faults_deadline(w->faults[id]) > sim_now(w->sim)) continue;
        pbft_faults_tick(w->faults[id], sim_node(w->sim, id), sim_now(w->sim));
        sim_drain(w->sim, id);
    }
}

/* ---- the schedule ---- */

static void partition(struct world *w, pbft_signers group, bool both)
{
    pbft_signers rest = pbft_everyone(w->sim->n) & ~group;
    sim_block(w->sim, group, rest, true);
    if (both) sim_block(w->sim, rest, group, true);
}

static void carry_out(struct world *w, const struct action *a)
{
    struct sim *sim = w->sim;
    uint64_t *faults = w->result->faults;
    pbft_signers all = pbft_everyone(sim->n);
    switch (a->kind) {
    case ACTION_LOAD: sim_load(sim, a->who, a->number, w->plan.mix); break;
    case ACTION_PARTITION:
        partition(w, a->group, true);
        faults[SIM_FAULT_PARTITION]++;
        break;
    case ACTION_ONE_WAY:
        partition(w, a->group, false);
        faults[SIM_FAULT_ONE_WAY]++;
        break;
    case ACTION_REJOIN: sim_block(sim, all, all, false); break;
    case ACTION_CLOCK:
        sim_set_clock_offset(sim, a->who, (int64_t)a->number - (int64_t)(10 * SIM_SECOND));
        faults[SIM_FAULT_CLOCK_JUMP]++;
        break;
    case ACTION_CRASH:
        if (sim_alive(sim, a->who)) sim_kill(sim, a->who);
        faults[SIM_FAULT_CRASH]++;
        break;
    case ACTION_RESTART:
        if (!sim_alive(sim, a->who)) sim_restart_mute(sim, a->who);
        faults[SIM_FAULT_RESTART]++;
        break;
    case ACTION_BREAK_DISK:
        if (sim_alive(sim, a->who)) sim_break_log(sim, a->who);
        faults[SIM_FAULT_BROKEN_DISK]++;
        break;
    case ACTION_SLOW_LINKS:
        sim->o.delay_max_ns = w->plan.slow_delay_ns;
        faults[SIM_FAULT_SLOW_LINK]++;
        break;
    case ACTION_USUAL_LINKS: sim->o.delay_max_ns = w->plan.o.delay_max_ns; break;
    case ACTION_ISOLATE:
        sim_isolate(sim, a->who, true);
        faults[SIM_FAULT_PARTITION]++;
        break;
    case ACTION_RETURN: sim_isolate(sim, a->who, false); break;
    }
}

static void step_until(struct world *w, uint64_t end_ns)
{
    while (sim_ok(w->sim) && w->sim->heap_count > 0 && w->sim->heap[0].at_ns <= end_ns) {
        sim_step(w->sim);
        tick_liars(w);
    }
    if (sim_ok(w->sim)) (void)sim_run_for(w->sim, end_ns - sim_now(w->sim));
}

static void safety_phase(struct world *w)
{
    const struct world_plan *plan = &w->plan;
    for (size_t i = 0; i < plan->action_count && sim_ok(w->sim); i++) {
        if (plan->actions[i].at_ns > sim_now(w->sim)) step_until(w, plan->actions[i].at_ns);
        if (sim_ok(w->sim)) carry_out(w, &plan->actions[i]);
    }
    if (sim_now(w->sim) < plan->end_ns) step_until(w, plan->end_ns);
}

/* ---- phase 2 ---- */

/* Those that count: alive, correct, with a disk and a memory. A replica that timed out alone stays
 * where it is and may keep a hostile client's request (PROTOCOL 23). */
static bool settled(struct world *w)
{
    if (!sim_loads_done(w->sim, NULL)) return false;
    struct pbft_core_info first = {0};
    bool have = false;
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (!pbft_signers_has(sim_correct(w->sim), id)) continue;
        struct pbft_node_info info = sim_info(w->sim, id);
        if (info.storage_failed) continue;
        if (info.core.transferring || (info.core.view_active && info.core.pending > 0))
            return false;
        if (have && info.core.executed != first.executed) return false;
        first = info.core;
        have = true;
    }
    return have;
}

static void heal(struct world *w)
{
    struct sim *sim = w->sim;
    for (pbft_id id = 0; id < sim->n; id++) {
        sim->blocked[id] = 0;
        if (sim->nodes[id].isolated) sim_isolate(sim, id, false);
        sim_set_clock_offset(sim, id, 0);
    }
    sim_set_loss(sim, 0, 0);
    sim->o.delay_max_ns = w->plan.o.delay_max_ns;
    for (uint32_t client = w->plan.honest; client < sim->o.clients; client++)
        sim_hostile(sim, client, 0, 0);
    sim_tell_fault(sim, "phase 2: the network heals");
}

static void liveness_phase(struct world *w)
{
    heal(w);
    const struct pbft_params *p = &w->plan.o.params;
    for (uint32_t client = 0; client < w->plan.honest && sim_ok(w->sim); client++)
        sim_load(w->sim, client, 3, w->plan.mix);
    uint64_t end = sim_now(w->sim) + HEAL_TIMEOUTS * p->view_timeout_ns;
    while (sim_ok(w->sim) && !settled(w)) {
        if (w->sim->heap_count == 0 || sim_now(w->sim) > end) {
            sim_fail(w->sim,
                     "FAULTS 3.21: not settled %u time-outs after healing (%zu operations "
                     "wait)",
                     HEAL_TIMEOUTS, w->sim->ops_waiting);
            return;
        }
        sim_step(w->sim);
        tick_liars(w);
    }
}

/* ---- the verdict ---- */

/* Who was never asked cannot have lied: a strategy or a disk that died with its replica, a liar
 * whose turn as a primary never came. */
static bool had_chance(const struct world *w, enum sim_fault fault)
{
    uint64_t hostile = 0; /* their kinds are drawn anew for each act */
    for (unsigned i = SIM_FAULT_CLIENT_FORGED; i <= SIM_FAULT_CLIENT_FLOOD; i++)
        hostile += w->result->faults[i];
    switch ((int)fault) {
    case SIM_FAULT_LOSS:
    case SIM_FAULT_DUPLICATE:
    case SIM_FAULT_REORDER:
    case SIM_FAULT_BIT_FLIP: return w->result->delivered > 3000;
    case SIM_FAULT_WRONG_CHECKPOINT: return w->result->reached[SIM_REACH_STABLE] > 60;
    case SIM_FAULT_CLIENT_FORGED:
    case SIM_FAULT_CLIENT_CONFLICT:
    case SIM_FAULT_CLIENT_HUGE_T:
    case SIM_FAULT_CLIENT_FLOOD: return hostile > 50;
    case SIM_FAULT_CENSOR:
    case SIM_FAULT_EQUIVOCATE:
    case SIM_FAULT_FORGE_NEW_VIEW: return false; /* a campaign looks at their sum */
    default: return true;
    }
}

static void judge(struct world *w)
{
    struct sim_world_result *r = w->result;
    if (sim_ok(w->sim)) (void)sim_check_history(w->sim);
    world_collect(w);
    for (unsigned i = 0; i < SIM_FAULT_COUNT && sim_ok(w->sim); i++) {
        bool wanted = (r->configured >> i & 1u) != 0;
        if (wanted && r->faults[i] == 0 && had_chance(w, (enum sim_fault)i))
            sim_fail(w->sim, "configured and never happened: %s",
                     sim_fault_text((enum sim_fault)i));
    }
    r->ok = sim_ok(w->sim);
    if (!r->ok) snprintf(r->failure, sizeof r->failure, "%s", sim_failure(w->sim));
}

void sim_world_run(const struct sim_world_options *options, struct sim_world_result *result)
{
    struct world *w = sim_alloc(sizeof *w);
    memset(result, 0, sizeof *result);
    w->options = options;
    w->result = result;
    world_draw(&w->plan, options);
    result->configured = w->plan.configured;
    result->n = w->plan.o.params.n;
    result->real_signatures = w->plan.o.signer == &pbft_signer_ed25519;
    w->sim = sim_new(&w->plan.o);
    world_watch(w);
    make_liars(w);
    for (uint32_t client = w->plan.honest; client < w->sim->o.clients; client++)
        sim_hostile(w->sim, client, w->plan.hostile_kinds, HOSTILE_EVERY);
    safety_phase(w);
    if (sim_ok(w->sim)) liveness_phase(w);
    judge(w);
    for (pbft_id id = 0; id < w->sim->n; id++)
        if (w->faults[id] != NULL) pbft_faults_free(w->faults[id]);
    if (w->mutator != NULL) mutator_free(w->mutator);
    sim_free(w->sim);
    free(w);
}
