/* Who does what to the cluster: liars with their strategies, the schedule of the world's faults,
 * and whether each of them had the chance to act. */
#include "tests/sim/world_internal.h"

#include "pbft/quorum.h"

#include <stdio.h>
#include <string.h>

#define OFTEN 40u /* what should happen so often by chance and never does, does not work */

/* ---- liars ---- */

static const char *strategy_spec(enum sim_fault fault, uint64_t argument, char text[32])
{
    switch ((int)fault) {
    case SIM_FAULT_SILENT: return "silent";
    case SIM_FAULT_EQUIVOCATE: return "equivocate";
    case SIM_FAULT_LIE_REPLY: return "lie-reply";
    case SIM_FAULT_WRONG_DIGEST: return "wrong-digest";
    case SIM_FAULT_BAD_SIGNATURE: return "bad-signature";
    case SIM_FAULT_CENSOR: snprintf(text, 32, "censor=%u", (unsigned)argument); return text;
    case SIM_FAULT_DELAY: snprintf(text, 32, "delay=%u", (unsigned)argument); return text;
    case SIM_FAULT_REPLAY: return "replay";
    case SIM_FAULT_FORGE_NEW_VIEW: return "forge-new-view";
    case SIM_FAULT_WRONG_CHECKPOINT: return "wrong-checkpoint";
    case SIM_FAULT_FLIP_STATE: snprintf(text, 32, "flip-state=%u", (unsigned)argument); return text;
    default: pbft_panic(__FILE__, __LINE__, "no strategy");
    }
}

/* Would this strategy do something about this frame? What it does not do then, it should have. */
static bool concerns(enum sim_fault fault, pbft_id id, uint32_t n, const struct pbft_peer *to,
                     const struct pbft_frame *frame)
{
    bool replica = to->kind == PBFT_PEER_REPLICA;
    uint8_t type = frame->bytes[0];
    switch ((int)fault) {
    case SIM_FAULT_SILENT: return true;
    case SIM_FAULT_EQUIVOCATE: return type == PBFT_PRE_PREPARE && to->index % 2 == 1;
    case SIM_FAULT_LIE_REPLY: return type == PBFT_REPLY || type == PBFT_QUERY_REPLY;
    case SIM_FAULT_WRONG_DIGEST:
    case SIM_FAULT_BAD_SIGNATURE: return type == PBFT_PREPARE || type == PBFT_COMMIT;
    case SIM_FAULT_WRONG_CHECKPOINT: return type == PBFT_CHECKPOINT;
    case SIM_FAULT_FORGE_NEW_VIEW:
        return type == PBFT_NEW_VIEW && pbft_primary(n, pbft_get_u64(frame->bytes + 8)) == id;
    case SIM_FAULT_DELAY: return replica;
    default: return false;
    }
}

static bool liar_outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                          struct pbft_frame *frame)
{
    struct liar *l = context;
    for (unsigned i = 0; i < l->count; i++) {
        enum sim_fault kind = l->world->plan.liars[l->id].kind[i];
        if (concerns(kind, l->id, l->world->plan.o.params.n, to, frame)) l->chances[i]++;
        if (!l->each[i].outbound(l->each[i].context, node, to, frame)) return false;
    }
    return true;
}

/* Not while its state is replaced, or a job has it; but not for ever. */
static bool may_flip(struct world *w, pbft_id id, uint64_t seq)
{
    struct pbft_node_info info = sim_info(w->sim, id);
    return info.applied >= seq + 20u && !info.core.transferring;
}

static bool liar_inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                         struct pbft_frame *frame)
{
    struct liar *l = context;
    for (unsigned i = 0; i < l->count; i++) {
        const struct liar_plan *plan = &l->world->plan.liars[l->id];
        if (plan->kind[i] == SIM_FAULT_CENSOR && from->kind == PBFT_PEER_CLIENT &&
            from->index == plan->argument[i])
            l->chances[i]++;
        if (plan->kind[i] == SIM_FAULT_REPLAY) l->chances[i]++;
        if (plan->kind[i] == SIM_FAULT_FLIP_STATE && may_flip(l->world, l->id, plan->argument[i]))
            l->chances[i]++;
        if (!l->each[i].inbound(l->each[i].context, node, from, frame)) return false;
    }
    return true;
}

static void liar_tick(void *context, struct pbft_node *node, uint64_t now_ns)
{
    struct liar *l = context;
    for (unsigned i = 0; i < l->count; i++)
        pbft_faults_tick(l->faults[i], node, now_ns);
}

static uint64_t liar_deadline(const void *context)
{
    const struct liar *l = context;
    uint64_t due = NEVER;
    for (unsigned i = 0; i < l->count; i++)
        if (pbft_faults_deadline(l->faults[i]) < due) due = pbft_faults_deadline(l->faults[i]);
    return due;
}

static void liar_start(struct world *w, pbft_id id)
{
    struct liar *l = &w->liars[id];
    const struct liar_plan *plan = &w->plan.liars[id];
    *l = (struct liar){.world = w, .id = id, .count = plan->count};
    struct pbft_faults_config config = {.cluster = sim_cluster(w->sim),
                                        .id = id,
                                        .keypair = sim_replica_key(w->sim, id),
                                        .signer = w->plan.o.signer,
                                        .pool = sim_pool(w->sim)};
    for (unsigned i = 0; i < l->count; i++) {
        char error[256] = "", text[32];
        l->faults[i] =
            pbft_faults_new(strategy_spec(plan->kind[i], plan->argument[i], text), &config, error);
        if (l->faults[i] == NULL) pbft_panic(__FILE__, __LINE__, error);
        l->each[i] = pbft_faults_hooks(l->faults[i]);
        if (plan->kind[i] == SIM_FAULT_FLIP_STATE) sim_damaged(w->sim, id, l->faults[i]);
    }
    l->hooks = (struct pbft_node_hooks){l, NULL, liar_outbound, liar_inbound};
    sim_set_hooks(w->sim, id, &l->hooks);
    struct sim_late late = {l, liar_tick, liar_deadline};
    sim_set_late(w->sim, id, &late);
}

void world_liars_start(struct world *w)
{
    for (pbft_id id = 0; id < w->plan.o.params.n; id++)
        if (w->plan.liars[id].count > 0) liar_start(w, id);
    if (w->plan.mutators == 0) return;
    w->mutator = mutator_new(w->sim, w->plan.mutators);
    bool off = (w->options->forbid >> SIM_FAULT_MUTATOR & 1u) != 0;
    mutator_level(w->mutator, off ? 0 : w->plan.mutator_level);
}

void world_liars_free(struct world *w)
{
    for (pbft_id id = 0; id < w->plan.o.params.n; id++)
        for (unsigned i = 0; i < w->liars[id].count; i++)
            pbft_faults_free(w->liars[id].faults[i]);
    if (w->mutator != NULL) mutator_free(w->mutator);
}

static void tell_lie(struct world *w, pbft_id id, const char *text)
{
    struct sim_seen seen = {.kind = SIM_SEEN_LIE, .from = id, .byzantine = true, .text = text};
    sim_tell(w->sim, &seen);
}

void world_tell_lies(struct world *w)
{
    if (w->options->observer == NULL) return;
    for (pbft_id id = 0; id < w->plan.o.params.n; id++) {
        struct liar *l = &w->liars[id];
        uint64_t acts = 0;
        for (unsigned i = 0; i < l->count; i++)
            acts += pbft_faults_acts(l->faults[i]);
        if (acts > l->told) tell_lie(w, id, sim_fault_text(w->plan.liars[id].kind[0]));
        l->told = acts;
    }
    if (w->mutator == NULL || mutator_acts(w->mutator) == w->mutator_told) return;
    w->mutator_told = mutator_acts(w->mutator);
    tell_lie(w, (pbft_id)__builtin_ctzll(w->plan.mutators), sim_fault_text(SIM_FAULT_MUTATOR));
}

/* ---- the schedule ---- */

static void cut(struct world *w, pbft_signers group, bool both)
{
    pbft_signers rest = pbft_everyone(w->sim->n) & ~group;
    if (w->plan.conspiracy) rest &= ~w->plan.o.twins; /* they speak with either side */
    sim_block(w->sim, group, rest, true);
    if (both) sim_block(w->sim, rest, group, true);
    w->cut = both ? SIM_FAULT_PARTITION : SIM_FAULT_ONE_WAY;
}

void world_join_all(struct world *w)
{
    pbft_signers all = pbft_everyone(w->sim->n);
    sim_block(w->sim, all, all, false);
    w->cut = SIM_FAULT_COUNT;
}

void world_act(struct world *w, const struct action *a)
{
    struct sim *sim = w->sim;
    pbft_signers all = pbft_everyone(sim->n);
    switch (a->kind) {
    case ACTION_LOAD: sim_load(sim, a->who, a->number, w->plan.mix); break;
    case ACTION_PARTITION: cut(w, a->group, true); break;
    case ACTION_ONE_WAY: cut(w, a->group, false); break;
    case ACTION_REJOIN: world_join_all(w); break;
    case ACTION_ISOLATE: sim_isolate(sim, a->who, true); break;
    case ACTION_RETURN: sim_isolate(sim, a->who, false); break;
    case ACTION_CLOCK: sim_set_clock_offset(sim, a->who, (int64_t)a->number); break;
    case ACTION_CRASH:
        if ((w->options->forbid >> SIM_FAULT_CRASH & 1u) == 0) sim_kill(sim, a->who);
        break;
    case ACTION_RESTART:
        if (sim_alive(sim, a->who)) break;
        if (a->number == 2) sim_wipe_pages(sim, a->who);
        if (a->number != 0)
            sim_restart(sim, a->who);
        else
            sim_restart_mute(sim, a->who);
        break;
    case ACTION_BLACKOUT:
        if ((w->options->forbid >> SIM_FAULT_CRASH & 1u) == 0) w->dark = sim_blackout(sim);
        break;
    case ACTION_POWER:
        if (pbft_signers_has(w->dark, a->who) && !sim_alive(sim, a->who)) sim_restart(sim, a->who);
        break;
    case ACTION_REPLACE: (void)sim_replace(sim, 0, a->who); break;
    case ACTION_BREAK_DISK:
        if (sim_alive(sim, a->who)) sim_break_log(sim, a->who);
        break;
    case ACTION_SLOW_LINKS: sim_slow_links(sim, a->group, all, a->number); break;
    case ACTION_SLOW_DISK:
        for (pbft_id id = 0; id < sim->n; id++) {
            if (!pbft_signers_has(a->group, id)) continue;
            if (a->number == 0 && sim_info(sim, id).core.transferring)
                w->fetching |= pbft_signers_of(id);
            sim_slow_disk(sim, id, a->number);
        }
        break;
    case ACTION_WITHHOLD: world_withhold(w, (enum withholding)a->number, a->group); break;
    case ACTION_TWINS: sim_twins_meet(sim, a->group, a->number); break;
    }
}

void world_heal(struct world *w)
{
    struct sim *sim = w->sim;
    sim_heal(sim);
    for (pbft_id id = 0; id < sim->n; id++) {
        sim->nodes[id].disk_extra_ns = 0;
        sim->nodes[id].clock_offset_ns = 0;
        /* A process whose disk has failed ends (FAULTS 2.41). */
        if (sim_alive(sim, id) && sim_info(sim, id).storage_failed) sim_kill(sim, id);
    }
}

/* ---- chances ---- */

static uint64_t strategy_chances(const struct world *w, enum sim_fault fault)
{
    uint64_t chances = 0;
    for (pbft_id id = 0; id < w->plan.o.params.n; id++)
        for (unsigned i = 0; i < w->liars[id].count; i++)
            if (w->plan.liars[id].kind[i] == fault) chances += w->liars[id].chances[i];
    return chances;
}

static uint64_t mutator_chances(const struct world *w)
{
    uint64_t wished = 0;
    for (pbft_id id = 0; id < w->plan.o.params.n; id++)
        for (unsigned type = 0; type < 64 && pbft_signers_has(w->plan.mutators, id); type++)
            wished += sim_wished(w->sim, id, (uint8_t)type);
    return wished * w->plan.mutator_level / 1000u;
}

bool world_had_chance(const struct world *w, enum sim_fault fault)
{
    switch (fault) {
    case SIM_FAULT_LOSS:
    case SIM_FAULT_DUPLICATE:
    case SIM_FAULT_TWIN: /* the second instance may have been cut off, and had little to say */
    case SIM_FAULT_BIT_FLIP: return sim_expected(w->sim, fault) >= OFTEN;
    case SIM_FAULT_REORDER: return sim_delivered(w->sim) >= 1000u;
    case SIM_FAULT_SILENT:
    case SIM_FAULT_EQUIVOCATE:
    case SIM_FAULT_LIE_REPLY:
    case SIM_FAULT_WRONG_DIGEST:
    case SIM_FAULT_BAD_SIGNATURE:
    case SIM_FAULT_CENSOR:
    case SIM_FAULT_DELAY:
    case SIM_FAULT_FORGE_NEW_VIEW:
    case SIM_FAULT_WRONG_CHECKPOINT: return strategy_chances(w, fault) > 0;
    case SIM_FAULT_FLIP_STATE:
    case SIM_FAULT_REPLAY: return strategy_chances(w, fault) >= OFTEN;
    case SIM_FAULT_MUTATOR: return mutator_chances(w) >= OFTEN;
    case SIM_FAULT_CLIENT_FORGED:
    case SIM_FAULT_CLIENT_CONFLICT:
    case SIM_FAULT_CLIENT_HUGE_T:
    case SIM_FAULT_CLIENT_FLOOD: /* one kind of at most four at each act */
        return sim_hostile_acts(w->sim, (enum sim_hostile)15) >= UINT64_C(4) * OFTEN;
    case SIM_FAULT_SLOW_LINK:
    case SIM_FAULT_PARTITION:
    case SIM_FAULT_ISOLATION:
    case SIM_FAULT_WITHHELD:
    case SIM_FAULT_ONE_WAY: return w->dark == 0; /* it may have been in the dark */
    case SIM_FAULT_SLOW_DISK: return w->dark == 0 && w->fetching == 0;
    case SIM_FAULT_CLOCK_JUMP: /* or see no proposal of a twin's second instance */
        return w->dark == 0 && w->plan.o.twins == 0;
    case SIM_FAULT_BROKEN_DISK: /* or its log may have gone with its epoch */
        return w->dark == 0 && sim_reached_so_far(w->sim, SIM_REACH_EPOCH) == 0;
    case SIM_FAULT_CLOCK_SKEW:
    case SIM_FAULT_CRASH:
    case SIM_FAULT_RESTART: return true;
    case SIM_FAULT_COUNT: break;
    }
    return false;
}
