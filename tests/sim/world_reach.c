/* The figures of a run. */
#include "tests/sim/world_internal.h"

#include <string.h>

const char *sim_fault_text(enum sim_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_FAULTS(X)
#undef X
    };
    return texts[fault];
}

const char *sim_reach_text(enum sim_reach reach)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_REACHES(X)
#undef X
    };
    return texts[reach];
}

static void collect_clients(struct world *w)
{
    uint64_t *reached = w->result->reached;
    for (uint32_t client = 0; client < w->plan.honest; client++)
        reached[SIM_REACH_CLIENT_RETRY] += sim_client_stats(w->sim, client)->retransmissions;
    for (size_t i = 0; i < sim_op_count(w->sim); i++) {
        const struct sim_op *op = sim_op(w->sim, i);
        if (op->state != SIM_OP_ANSWERED) continue;
        w->result->executed++;
        if (op->kind != SIM_GET && op->kind != SIM_RANGE && op->kind != SIM_READS) continue;
        reached[op->fallback ? SIM_REACH_FALLBACK_READ : SIM_REACH_FAST_READ]++;
    }
}

static uint64_t hostile_acts(const struct world *w, enum sim_fault fault)
{
    static const enum sim_fault clients[] = {SIM_FAULT_CLIENT_FORGED, SIM_FAULT_CLIENT_CONFLICT,
                                             SIM_FAULT_CLIENT_HUGE_T, SIM_FAULT_CLIENT_FLOOD};
    for (unsigned i = 0; i < 4; i++)
        if (clients[i] == fault) return sim_hostile_acts(w->sim, (enum sim_hostile)(1u << i));
    return 0;
}

uint64_t world_acts(const struct world *w, enum sim_fault fault)
{
    uint64_t acts = sim_acted(w->sim, fault) + hostile_acts(w, fault);
    /* Links that keep no order, or clocks and disks as they come, are no faults if nobody asked. */
    if (fault == SIM_FAULT_REORDER && !world_configured(&w->plan, fault)) return 0;
    if (fault == SIM_FAULT_ISOLATION) acts -= w->forced;
    for (pbft_id id = 0; id < w->plan.o.params.n; id++)
        for (unsigned i = 0; i < w->liars[id].count; i++)
            if (w->plan.liars[id].kind[i] == fault)
                acts += pbft_faults_acts(w->liars[id].faults[i]);
    if (fault == SIM_FAULT_MUTATOR && w->mutator != NULL) acts += mutator_acts(w->mutator);
    return acts;
}

void world_collect(struct world *w)
{
    struct sim_world_result *r = w->result;
    for (unsigned i = 0; i < SIM_REACH_COUNT; i++)
        r->reached[i] = sim_reached_so_far(w->sim, (enum sim_reach)i);
    collect_clients(w);
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        r->faults[i] = world_acts(w, (enum sim_fault)i);
    r->trace_hash = sim_trace_hash(w->sim);
    r->virtual_ns = sim_now(w->sim);
    r->delivered = sim_delivered(w->sim);
    r->view_changes = r->reached[SIM_REACH_VIEW_CHANGE];
}
