/* FAULTS 2.25, 2.26, 2.31 to 2.33: lies to clients, and clients that lie. */
#include "tests/sim/scenario.h"

static void hostile(struct stage *s, unsigned kinds)
{
    sim_hostile(s->sim, STAGE_HAND, kinds, 2 * SIM_MS);
    stage_load(s, 40);
    stage_wait(s);
    sim_hostile(s->sim, STAGE_HAND, 0, 0);
    for (unsigned kind = 1; kind <= SIM_HOSTILE_FLOOD; kind <<= 1)
        s->injected += sim_hostile_acts(s->sim, (enum sim_hostile)kind);
}

static void conflicts(struct stage *s)
{
    hostile(s, SIM_HOSTILE_CONFLICT);
}
static void huge_numbers(struct stage *s)
{
    hostile(s, SIM_HOSTILE_HUGE_T);
}
static void floods(struct stage *s)
{
    hostile(s, SIM_HOSTILE_FORGED | SIM_HOSTILE_FLOOD);
}

/* 2.26: replica 3 hears nothing of the primary, and clients hear nothing of it either. */
static bool hide(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (p->from_client || p->from != 0 || (!p->to_client && p->to != 3)) return true;
    s->injected++;
    return false;
}

static void hidden(struct stage *s)
{
    stage_filter(s, hide);
    stage_load(s, 60);
    stage_wait(s);
}

const struct stage_row stage_rows_clients[] = {
    {.name = "2.25", .byzantine = 2, .strategy = "lie-reply", .liar = 1, .no_view_change = true},
    {.name = "2.26", .byzantine = 1, .play = hidden},
    {.name = "2.31", .play = conflicts, .no_view_change = true},
    {.name = "2.32", .play = huge_numbers, .no_view_change = true},
    {.name = "2.33", .play = floods, .no_view_change = true},
    {0},
};
