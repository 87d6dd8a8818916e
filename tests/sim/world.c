/* One seed from beginning to end: build what was drawn, phase 1 with faults, heal, phase 2, judge.
 */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_OPERATIONS 3u /* of each client, once all is settled */

/* ---- running ---- */

static void step_until(struct world *w, uint64_t end_ns)
{
    while (sim_ok(w->sim) && w->sim->heap_count > 0 && w->sim->heap[0].at_ns <= end_ns) {
        sim_step(w->sim);
        world_tell_lies(w);
    }
    if (sim_ok(w->sim) && end_ns > sim_now(w->sim))
        (void)sim_run_for(w->sim, end_ns - sim_now(w->sim));
}

static void run_for(struct world *w, uint64_t ns)
{
    step_until(w, sim_now(w->sim) + ns);
}

void world_load_all(struct world *w, uint64_t each)
{
    for (uint32_t client = 0; client < w->plan.honest && sim_ok(w->sim); client++)
        sim_load(w->sim, client, each, w->plan.mix);
}

/* Highest of a correct replica. */
static pbft_view highest_view(struct world *w, bool active)
{
    pbft_view view = 0;
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (!pbft_signers_has(sim_correct(w->sim), id)) continue;
        struct pbft_core_info info = sim_info(w->sim, id).core;
        if ((info.view_active || !active) && info.view > view) view = info.view;
    }
    return view;
}

pbft_view world_view(struct world *w)
{
    return highest_view(w, false);
}

/* ---- phase 1 ---- */

static bool waits_for_turn(const struct world *w)
{
    for (pbft_id id = 0; id < w->sim->n; id++)
        for (unsigned i = 0; i < w->liars[id].count; i++)
            if (world_needs_turn(w->plan.liars[id].kind[i]) &&
                pbft_faults_acts(w->liars[id].faults[i]) == 0)
                return true;
    return false;
}

void world_force_turns(struct world *w)
{
    uint64_t timeout = w->plan.o.params.view_timeout_ns;
    uint64_t isolations = sim_acted(w->sim, SIM_FAULT_ISOLATION);
    for (unsigned turn = 0; turn < w->sim->n && sim_ok(w->sim) && waits_for_turn(w); turn++) {
        pbft_id primary = (pbft_id)(highest_view(w, true) % w->sim->n);
        sim_isolate(w->sim, primary, true);
        world_load_all(w, 2);
        run_for(w, 2 * timeout + timeout / 2);
        sim_isolate(w->sim, primary, false);
        run_for(w, timeout / 4);
    }
    w->forced += sim_acted(w->sim, SIM_FAULT_ISOLATION) - isolations;
}

/* What ends with this action; none: SIM_FAULT_COUNT. */
static enum sim_fault ended_by(const struct action *a)
{
    switch ((int)a->kind) {
    case ACTION_REJOIN: return a->who == 0 ? SIM_FAULT_PARTITION : SIM_FAULT_ONE_WAY;
    case ACTION_RETURN: return SIM_FAULT_ISOLATION;
    case ACTION_WITHHOLD: return a->number == 0 ? SIM_FAULT_WITHHELD : SIM_FAULT_COUNT;
    case ACTION_SLOW_LINKS: return a->number == 0 ? SIM_FAULT_SLOW_LINK : SIM_FAULT_COUNT;
    case ACTION_SLOW_DISK: return a->number == 0 ? SIM_FAULT_SLOW_DISK : SIM_FAULT_COUNT;
    default: return SIM_FAULT_COUNT;
    }
}

void world_wait_for(struct world *w, enum sim_fault fault, uint64_t ns)
{
    uint64_t end = sim_now(w->sim) + ns;
    while (sim_ok(w->sim) && world_acts(w, fault) == 0 && sim_now(w->sim) < end)
        run_for(w, 5 * SIM_MS);
}

void world_return_all(struct world *w)
{
    for (pbft_id id = 0; id < w->sim->n; id++)
        if (w->sim->nodes[id].isolated) sim_isolate(w->sim, id, false);
}

/* A window does not close before its fault has acted: if a moment more is not enough, other faults
 * that keep everybody silent have to go. */
static void give_time(struct world *w, const struct action *a)
{
    enum sim_fault fault = ended_by(a);
    uint64_t timeout = w->plan.o.params.view_timeout_ns;
    if (fault == SIM_FAULT_COUNT || !world_configured(&w->plan, fault)) return;
    world_wait_for(w, fault, 2 * timeout);
    if (!sim_ok(w->sim) || world_acts(w, fault) > 0) return;
    world_return_all(w);
    if (fault == SIM_FAULT_SLOW_DISK || fault == SIM_FAULT_SLOW_LINK) {
        if (w->cut != SIM_FAULT_COUNT)
            world_wait_for(w, w->cut, 2 * timeout); /* it ends here, too */
        world_join_all(w);
    }
    /* Twice: who comes back may fetch what the others do meanwhile, and write nothing. */
    for (unsigned i = 0; i < 2 && sim_ok(w->sim) && world_acts(w, fault) == 0; i++) {
        world_load_all(w, 1);
        world_wait_for(w, fault, 8 * timeout);
    }
}

static void safety_phase(struct world *w)
{
    const struct world_plan *plan = &w->plan;
    for (uint32_t client = plan->honest; client < w->sim->o.clients; client++)
        sim_hostile(w->sim, client, plan->hostile_kinds, plan->hostile_every_ns);
    for (size_t i = 0; i < plan->action_count && sim_ok(w->sim); i++) {
        step_until(w, plan->actions[i].at_ns);
        give_time(w, &plan->actions[i]);
        if (sim_ok(w->sim)) world_act(w, &plan->actions[i]);
    }
    step_until(w, plan->end_ns);
    world_force_turns(w);
    world_insist(w);
}

/* ---- phase 2 ---- */

static uint64_t operations_left(const struct world *w)
{
    uint64_t left = w->sim->ops_waiting;
    for (uint32_t client = 0; client < w->plan.honest; client++)
        left += w->sim->clients[client].load.left;
    return left;
}

/* FAULTS 3.21: an operation waits for its own time-out at most, and for its client's second
 * question where the q-th answer is a liar's or that of a laggard at its own pace, which is the
 * third time-out after it was submitted; every liar may be primary once more before the back-off
 * has grown to what the network needs, and each such view costs a time-out for the request and one
 * for the NEW-VIEW, both at their cap; a client asks again after 8 time-outs at the latest; a state
 * transfer that failed begins again after a second. */
static uint64_t settling_bound(const struct world *w)
{
    const struct pbft_params *p = &w->plan.o.params;
    uint64_t views = 2u * pbft_quorum_faults(p->n) + 4u;
    uint64_t waits = w->plan.o.byzantine != 0 ? 3u : 1u;
    return views * 2u * p->view_timeout_max_ns + 16u * p->view_timeout_ns + 4u * SIM_SECOND +
           operations_left(w) * waits * p->view_timeout_ns;
}

/* Who must be as far as the others at the end: all that are correct now. Not who is dead, lost its
 * memory (PROTOCOL 29) or its disk: these are among the f. Who crashed and came back with its log
 * counts like any other. */
static pbft_signers counting(struct world *w)
{
    pbft_signers all = sim_correct(w->sim);
    for (pbft_id id = 0; id < w->sim->n; id++)
        if (pbft_signers_has(all, id) && sim_info(w->sim, id).storage_failed)
            all &= ~pbft_signers_of(id);
    return all;
}

/* Views may differ: a replica that timed out alone stays where it is and may keep a hostile
 * client's request (PROTOCOL 23). The states may not: equal numbers have equal roots. */
static bool converged(struct world *w)
{
    struct pbft_core_info first = {0};
    pbft_signers all = counting(w);
    bool have = false;
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (!pbft_signers_has(all, id)) continue;
        struct pbft_core_info info = sim_info(w->sim, id).core;
        if (info.transferring || (info.view_active && info.pending > 0)) return false;
        if (have && (info.executed != first.executed || info.stable != first.stable ||
                     !pbft_digest_equal(&info.stable_root, &first.stable_root)))
            return false;
        first = info;
        have = true;
    }
    return have;
}

static void settle(struct world *w, const char *what)
{
    uint64_t bound = settling_bound(w), end = sim_now(w->sim) + bound;
    bool answered = false;
    while (sim_ok(w->sim)) {
        if (!answered && sim_loads_done(w->sim, NULL)) {
            answered = true; /* floods that go on leave no moment at which all have equal states */
            for (uint32_t client = w->plan.honest; client < w->sim->o.clients; client++)
                sim_hostile(w->sim, client, 0, 0);
        }
        if (answered && sim_loads_done(w->sim, NULL) && converged(w)) return;
        if (w->sim->heap_count == 0 || sim_now(w->sim) > end) {
            sim_fail(w->sim, "FAULTS 3.21: %s: after %.1f s %llu operations wait, %s", what,
                     (double)bound / 1e9, (unsigned long long)operations_left(w),
                     converged(w) ? "states are equal" : "states differ");
            return;
        }
        sim_step(w->sim);
        world_tell_lies(w);
    }
}

/* FAULTS 4.24: who was wrong is repaired. Others may be asked for pages while they are served. */
static void wait_for_repairs(struct world *w)
{
    uint64_t end = sim_now(w->sim) + settling_bound(w);
    for (pbft_id id = 0; id < w->sim->n; id++) {
        while (sim_ok(w->sim) && w->sim->heap_count > 0 && sim_now(w->sim) <= end &&
               !sim_check_repaired(w->sim, id)) {
            sim_step(w->sim);
            world_tell_lies(w);
        }
        if (sim_ok(w->sim) && !sim_check_repaired(w->sim, id))
            sim_fail(w->sim, "FAULTS 4.24: replica %u is not repaired", id);
    }
}

static void meddle(struct world *w, enum sim_act act)
{
    if (w->options->meddler != NULL && sim_ok(w->sim))
        w->options->meddler(w->options->meddler_context, w->sim, act);
}

/* In it somebody still waits for the NEW-VIEW: its time-out may be near, and the VIEW-CHANGEs that
 * were named may be lost to all but a liar. */
static bool awaited(struct world *w, pbft_view view)
{
    pbft_signers all = counting(w);
    for (pbft_id id = 0; id < w->sim->n; id++) {
        if (!pbft_signers_has(all, id)) continue;
        struct pbft_core_info info = sim_info(w->sim, id).core;
        if (info.view == view && !info.view_active) return true;
    }
    return false;
}

/* The view that is not left any more: the first from the highest on, be that one where somebody
 * waits alone and liars may call the others to, whose primary counts. */
static pbft_view last_view(struct world *w)
{
    pbft_signers all = counting(w);
    pbft_view view = highest_view(w, false);
    if (awaited(w, view)) view++;
    while (all != 0 && !pbft_signers_has(all, (pbft_id)(view % w->sim->n)))
        view++;
    return view;
}

static void strand(struct world *w)
{
    for (pbft_id id = 0; id < w->sim->n && w->options->strand; id++)
        if (pbft_signers_has(counting(w) & w->plan.crashing, id)) sim_isolate(w->sim, id, true);
}

static void liveness_phase(struct world *w)
{
    world_heal(w);
    strand(w);
    meddle(w, SIM_ACT_HEALED);
    world_load_all(w, LAST_OPERATIONS);
    settle(w, "after healing");
    pbft_view last = last_view(w);
    meddle(w, SIM_ACT_SETTLED);
    world_load_all(w, LAST_OPERATIONS);
    settle(w, "at the end");
    wait_for_repairs(w);
    /* Whoever still waits for something times out by then. */
    if (sim_ok(w->sim)) run_for(w, w->plan.o.params.view_timeout_max_ns);
    if (sim_ok(w->sim) && highest_view(w, false) > last)
        sim_fail(w->sim, "FAULTS 3.21: views go on changing, to %llu where %llu was to stay",
                 (unsigned long long)highest_view(w, false), (unsigned long long)last);
}

/* ---- the verdict ---- */

static void judge(struct world *w)
{
    struct sim_world_result *r = w->result;
    meddle(w, SIM_ACT_OVER);
    if (sim_ok(w->sim)) (void)sim_check_history(w->sim);
    if (sim_ok(w->sim)) (void)sim_check_bandwidth(w->sim);
    world_collect(w);
    for (unsigned i = 0; i < SIM_FAULT_COUNT && sim_ok(w->sim); i++) {
        if (!world_configured(&w->plan, (enum sim_fault)i) || r->faults[i] > 0) continue;
        r->waived |= UINT64_C(1) << i;
        if (world_had_chance(w, (enum sim_fault)i))
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
    w->cut = SIM_FAULT_COUNT;
    world_draw(&w->plan, options);
    result->configured = w->plan.configured;
    result->n = w->plan.o.params.n;
    result->real_signatures = w->plan.o.signer == &world_signer_once;
    w->sim = sim_new(&w->plan.o);
    sim_observe(w->sim, options->observer, options->observer_context);
    w->sim->forbidden = options->forbid;
    sim_set_flips(w->sim, w->plan.flip_ppm);
    world_liars_start(w);
    safety_phase(w);
    if (sim_ok(w->sim)) liveness_phase(w);
    judge(w);
    world_liars_free(w);
    sim_free(w->sim);
    free(w);
}

uint64_t sim_seeds(uint64_t usual)
{
    const char *campaign = getenv("PBFT_SIM_SEEDS");
    uint64_t count = campaign == NULL ? 0 : strtoull(campaign, NULL, 10);
    if (count != 0) return count;
    return getenv("PBFT_SIM_BRIEF") != NULL ? (usual + 3) / 4 : usual;
}
