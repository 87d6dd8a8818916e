/* Which places a run reached, and what its network did: seen from outside, by an observer and a
 * filter that let everything pass. */
#include "tests/sim/world_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <stdlib.h>
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

static void reach(struct world *w, enum sim_reach what)
{
    w->result->reached[what]++;
}

/* ---- what correct replicas do ---- */

static uint64_t extra_replies(struct sim *sim)
{
    uint64_t extra = 0;
    for (pbft_id id = 0; id < sim->n; id++) {
        struct pbft_node_info info = sim_info(sim, id);
        if (info.replies_sent > info.requests_executed)
            extra += info.replies_sent - info.requests_executed;
    }
    return extra;
}

static void on_view(struct world *w, const struct sim_seen *seen)
{
    struct watched *r = &w->watched[seen->from];
    if (seen->active) {
        reach(w, SIM_REACH_NEW_VIEW);
        r->view = seen->claim.view;
        if (!w->changed_view) w->extra_replies = extra_replies(w->sim);
        w->changed_view = true;
        return;
    }
    reach(w, SIM_REACH_VIEW_CHANGE);
    r->left = true;
    r->left_ns = seen->at_ns;
    for (pbft_id id = 0; id < w->sim->n; id++)
        if (w->watched[id].transferring) {
            reach(w, SIM_REACH_VIEW_CHANGE_IN_TRANSFER);
            break;
        }
    struct pbft_core_info info = sim_info(w->sim, seen->from).core;
    if (info.view_timeout_ns > w->plan.o.params.view_timeout_ns) reach(w, SIM_REACH_BACK_OFF);
}

static void on_delivered(struct world *w, const struct sim_seen *seen)
{
    if (seen->to_client || seen->from_client) return;
    struct watched *r = &w->watched[seen->to];
    bool ok = seen->verdict == PBFT_OK;
    if (r->left && r->left_ns == seen->at_ns && seen->claim.type == PBFT_VIEW_CHANGE)
        reach(w, SIM_REACH_JOIN);
    r->left = false;
    if (seen->verdict == PBFT_DROP_TIME) reach(w, SIM_REACH_CLOCK_HELD);
    if (ok && seen->claim.type == PBFT_CERTIFICATE) reach(w, SIM_REACH_CERTIFICATE);
    bool vote = seen->claim.type == PBFT_PREPARE || seen->claim.type == PBFT_COMMIT;
    if (ok && vote && seen->claim.view > r->view) reach(w, SIM_REACH_FUTURE_VOTE);
}

/* Proposals up to h+L: the primary must wait for the next checkpoint. */
static void on_executed(struct world *w, pbft_id id)
{
    struct pbft_core_info info = sim_info(w->sim, id).core;
    if (info.proposed >= info.stable + w->plan.o.params.window) reach(w, SIM_REACH_WINDOW_FULL);
}

static void observe(void *context, const struct sim_seen *seen)
{
    struct world *w = context;
    switch (seen->kind) {
    case SIM_SEEN_VIEW: on_view(w, seen); break;
    case SIM_SEEN_DELIVERED: on_delivered(w, seen); break;
    case SIM_SEEN_EXECUTED:
        w->watched[seen->from].transferring = false;
        on_executed(w, seen->from);
        if (pbft_digest_equal(&seen->claim.digest, &w->null_digest))
            reach(w, SIM_REACH_NULL_EXECUTED);
        break;
    case SIM_SEEN_STABLE: reach(w, SIM_REACH_STABLE); break;
    case SIM_SEEN_TRANSFER:
        reach(w,
              w->watched[seen->from].transferring ? SIM_REACH_TRANSFER_MOVED : SIM_REACH_TRANSFER);
        w->watched[seen->from].transferring = true;
        break;
    case SIM_SEEN_EVIDENCE: reach(w, SIM_REACH_EVIDENCE); break;
    case SIM_SEEN_LOST:
    case SIM_SEEN_LOG:
    case SIM_SEEN_FAULT:
    case SIM_SEEN_LIE:
    case SIM_SEEN_SUBMITTED:
    case SIM_SEEN_ANSWERED:
    case SIM_SEEN_FAILURE: break;
    }
    if (w->options->observer != NULL) w->options->observer(w->options->observer_context, seen);
}

/* ---- what goes over the wire ---- */

static void on_fetch(struct world *w, const struct sim_packet *p, const struct pbft_fetch *fetch)
{
    struct watched *r = &w->watched[p->from];
    if (fetch->kind == PBFT_FETCH_BATCH) reach(w, SIM_REACH_BODY_FETCH);
    if (fetch->kind == PBFT_FETCH_HEADER) reach(w, SIM_REACH_HEADER_FETCH);
    if (r->fetching && pbft_digest_equal(&r->fetch, &fetch->digest) && r->fetched_from != p->to)
        reach(w, SIM_REACH_FETCH_ROTATION);
    r->fetching = true;
    r->fetch = fetch->digest;
    r->fetched_from = p->to;
}

static void on_new_view(struct world *w, const struct pbft_new_view *nv)
{
    if (nv->count > 0) reach(w, SIM_REACH_O_NOT_EMPTY);
    for (uint32_t i = 0; i < nv->count; i++)
        if (memcmp(nv->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, w->null_digest.bytes,
                   PBFT_DIGEST_BYTES) == 0)
            reach(w, SIM_REACH_O_NULL);
}

/* Bits flip on the way out of a Byzantine replica: between correct ones the channel drops such
 * frames, which is a loss. */
static bool flip(struct world *w, const struct sim_packet *p)
{
    if (p->to_client || w->plan.flip_per_mille == 0 || w->busy ||
        !pbft_signers_has(w->plan.o.byzantine, p->from) ||
        sim_random(w->sim, 1000) >= w->plan.flip_per_mille || !sim_alive(w->sim, p->to))
        return false;
    struct pbft_frame *bad = pbft_frame_new(sim_pool(w->sim), p->frame->size);
    PBFT_ASSERT(bad != NULL);
    memcpy(bad->bytes, p->frame->bytes, p->frame->size);
    bad->size = p->frame->size;
    bad->bytes[sim_random(w->sim, bad->size)] ^= (uint8_t)(1u << sim_random(w->sim, 8));
    w->busy = true;
    sim_inject(w->sim, p->from, p->to, bad);
    w->busy = false;
    w->result->faults[SIM_FAULT_BIT_FLIP]++;
    return true;
}

static bool look(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct world *w = context;
    if (p->from_client) return true;
    bool correct = sim_is_correct(sim, p->from);
    if (correct && (p->type == PBFT_FETCH || p->type == PBFT_NEW_VIEW)) {
        struct pbft_msg msg;
        w->arena.used = 0;
        if (pbft_wire_decode(pbft_frame_span(p->frame), &w->plan.o.params, &w->arena, &msg) ==
            PBFT_OK) {
            if (msg.type == PBFT_FETCH) on_fetch(w, p, &msg.fetch);
            if (msg.type == PBFT_NEW_VIEW) on_new_view(w, &msg.new_view);
        }
    }
    return !flip(w, p);
}

void world_watch(struct world *w)
{
    pbft_digest_null(&w->null_digest);
    w->arena.size = pbft_wire_arena_bytes(&w->plan.o.params);
    w->arena.base = sim_alloc(w->arena.size);
    sim_observe(w->sim, observe, w);
    sim_set_filter(w->sim, look, w);
}

/* ---- at the end ---- */

static void count_clients(struct world *w)
{
    for (uint32_t client = 0; client < w->plan.honest; client++) {
        const struct pbft_match_stats *s = sim_client_stats(w->sim, client);
        w->result->reached[SIM_REACH_CLIENT_RETRY] += s->retransmissions;
    }
    for (size_t i = 0; i < sim_op_count(w->sim); i++) {
        const struct sim_op *op = sim_op(w->sim, i);
        if (op->state != SIM_OP_ANSWERED) continue;
        w->result->executed++;
        if (op->kind != SIM_GET && op->kind != SIM_RANGE) continue;
        reach(w, op->fallback ? SIM_REACH_FALLBACK_READ : SIM_REACH_FAST_READ);
    }
}

void world_collect(struct world *w)
{
    struct sim_world_result *r = w->result;
    struct sim *sim = w->sim;
    count_clients(w);
    for (pbft_id id = 0; id < sim->n; id++) {
        struct pbft_node_info info = sim_info(sim, id);
        r->reached[SIM_REACH_RETRANSMISSION] += info.core.retransmissions;
        r->reached[SIM_REACH_BUSY] += info.busy_sent;
        if (info.core.mute) reach(w, SIM_REACH_MUTE);
        if (info.storage_failed) reach(w, SIM_REACH_STOPPED);
    }
    uint64_t extra = extra_replies(sim);
    r->reached[SIM_REACH_CACHED_REPLY] += extra;
    if (w->changed_view && extra > w->extra_replies)
        r->reached[SIM_REACH_CACHED_REPLY_LATER_VIEW] += extra - w->extra_replies;
    r->faults[SIM_FAULT_LOSS] += sim->lost;
    r->faults[SIM_FAULT_DUPLICATE] += sim->doubled;
    r->faults[SIM_FAULT_REORDER] += sim->overtaken;
    uint64_t configured = r->configured;
    if ((configured >> SIM_FAULT_CLOCK_SKEW & 1u) != 0) r->faults[SIM_FAULT_CLOCK_SKEW]++;
    if ((configured >> SIM_FAULT_SLOW_DISK & 1u) != 0) r->faults[SIM_FAULT_SLOW_DISK]++;
    static const enum sim_fault clients[] = {SIM_FAULT_CLIENT_FORGED, SIM_FAULT_CLIENT_CONFLICT,
                                             SIM_FAULT_CLIENT_HUGE_T, SIM_FAULT_CLIENT_FLOOD};
    for (unsigned i = 0; i < 4; i++)
        r->faults[clients[i]] += sim_hostile_acts(sim, (enum sim_hostile)(1u << i));
    for (pbft_id id = 0; id < sim->n; id++)
        if (w->faults[id] != NULL)
            r->faults[w->plan.strategy[id]] += pbft_faults_acts(w->faults[id]);
    if (w->mutator != NULL) r->faults[SIM_FAULT_MUTATOR] += mutator_acts(w->mutator);
    r->trace_hash = sim_trace_hash(sim);
    r->virtual_ns = sim_now(sim);
    r->delivered = sim->delivered;
    r->view_changes = r->reached[SIM_REACH_VIEW_CHANGE];
    free(w->arena.base);
}
