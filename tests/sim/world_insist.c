/* A fault that was drawn and has not acted when phase 1 ends is played again until it does: a run
 * without it would count for something that it did not show. */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#define ROUNDS 4u

static uint64_t missing(const struct world *w)
{
    uint64_t faults = 0;
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        if (world_configured(&w->plan, (enum sim_fault)i) && world_acts(w, (enum sim_fault)i) == 0)
            faults |= UINT64_C(1) << i;
    return faults;
}

/* What begins with this action; none: SIM_FAULT_COUNT. */
static enum sim_fault begun_by(const struct action *a)
{
    switch ((int)a->kind) {
    case ACTION_PARTITION: return SIM_FAULT_PARTITION;
    case ACTION_ONE_WAY: return SIM_FAULT_ONE_WAY;
    case ACTION_ISOLATE: return SIM_FAULT_ISOLATION;
    case ACTION_SLOW_LINKS: return a->number != 0 ? SIM_FAULT_SLOW_LINK : SIM_FAULT_COUNT;
    case ACTION_SLOW_DISK: return a->number != 0 ? SIM_FAULT_SLOW_DISK : SIM_FAULT_COUNT;
    case ACTION_CLOCK: return SIM_FAULT_CLOCK_JUMP;
    case ACTION_BREAK_DISK: return SIM_FAULT_BROKEN_DISK;
    case ACTION_TWINS: return SIM_FAULT_TWIN;
    case ACTION_WITHHOLD: return a->number != 0 ? SIM_FAULT_WITHHELD : SIM_FAULT_COUNT;
    default: return SIM_FAULT_COUNT;
    }
}

static void begin(struct world *w, enum sim_fault fault)
{
    for (size_t i = 0; i < w->plan.action_count && sim_ok(w->sim); i++)
        if (begun_by(&w->plan.actions[i]) == fault) world_act(w, &w->plan.actions[i]);
}

static void end(struct world *w, enum sim_fault fault)
{
    pbft_signers all = pbft_everyone(w->sim->n);
    world_return_all(w);
    world_join_all(w);
    world_withhold(w, WITHHOLD_NOTHING, 0);
    if (fault == SIM_FAULT_SLOW_LINK) sim_slow_links(w->sim, all, all, 0);
    for (pbft_id id = 0; id < w->sim->n && fault == SIM_FAULT_SLOW_DISK; id++)
        sim_slow_disk(w->sim, id, 0);
}

static void insist_on(struct world *w, enum sim_fault fault)
{
    const struct pbft_params *p = &w->plan.o.params;
    begin(w, fault);
    if (world_needs_turn(fault)) {
        world_force_turns(w);
    } else {
        world_load_all(w, p->checkpoint_interval); /* some have to do with a checkpoint */
        world_wait_for(w, fault, 8 * p->view_timeout_ns);
    }
    if (sim_ok(w->sim)) end(w, fault);
}

void world_insist(struct world *w)
{
    uint64_t absent = missing(w);
    if (absent == 0 || w->plan.conspiracy || !sim_ok(w->sim)) return;
    end(w, SIM_FAULT_COUNT);
    for (unsigned round = 0; round < ROUNDS && absent != 0 && sim_ok(w->sim); round++) {
        for (unsigned i = 0; i < SIM_FAULT_COUNT && sim_ok(w->sim); i++)
            if ((absent >> i & 1u) != 0) insist_on(w, (enum sim_fault)i);
        absent = missing(w);
    }
}
