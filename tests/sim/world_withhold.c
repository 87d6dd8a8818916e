/* A network that loses votes by their kind. In view v a number prepares at a few replicas only; the
 * others, who hear nothing of these, prepare it otherwise in v+1; then all meet and leave that
 * view, too. So VIEW-CHANGEs for v+2 hold two certificates of a number, and the higher view counts
 * (FAULTS 4.7, PROTOCOL 19): chance alone loses just these messages in no seed of thousands. */
#include "tests/sim/world_internal.h"

static bool among(pbft_signers few, const struct sim_packet *p)
{
    return pbft_signers_has(few, p->from) || pbft_signers_has(few, p->to);
}

static bool is_lost(const struct world *w, const struct sim_packet *p)
{
    pbft_signers few = w->withheld_from;
    bool old = p->claim.view <= w->withheld_view;
    /* A checkpoint that becomes stable would take the certificates away. */
    if (p->type == PBFT_CHECKPOINT) return true;
    switch (w->withholding) {
    case WITHHOLD_PREPARES:
        return p->type == PBFT_COMMIT || (p->type == PBFT_PREPARE && !pbft_signers_has(few, p->to));
    case WITHHOLD_ALL: /* votes of v are sent again, and would prepare it everywhere */
        return among(few, p) || (old && (p->type == PBFT_PREPARE || p->type == PBFT_COMMIT));
    case WITHHOLD_COMMITS: return p->type == PBFT_COMMIT;
    case WITHHOLD_NOTHING: break;
    }
    return false;
}

static bool withhold(struct sim *sim, const struct sim_packet *p, void *context)
{
    const struct world *w = context;
    if (p->from_client || p->to_client || !is_lost(w, p)) return true;
    sim->acted[SIM_FAULT_WITHHELD]++;
    return false;
}

void world_withhold(struct world *w, enum withholding what, pbft_signers few)
{
    static const char *const texts[] = {"no votes are lost any more", "only some see PREPAREs",
                                        "nobody hears of them", "COMMITs are lost"};
    if ((w->options->forbid >> SIM_FAULT_WITHHELD & 1u) != 0) return;
    if (what == WITHHOLD_NOTHING && w->withholding == WITHHOLD_NOTHING) return;
    w->withholding = what;
    w->withheld_from = few;
    if (what == WITHHOLD_PREPARES) w->withheld_view = world_view(w);
    sim_tell_fault(w->sim, "%s: %llx", texts[what], (unsigned long long)few);
    if (what == WITHHOLD_NOTHING)
        sim_set_filter(w->sim, NULL, NULL);
    else
        sim_set_filter(w->sim, withhold, w);
}
