/* The invariants of FAULTS 3 over what replicas that are not Byzantine decide. */
#include "tests/sim/fixture_internal.h"

#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

void check_start(struct sim *sim)
{
    sim->arena.size = pbft_wire_arena_bytes(&sim->o.params);
    sim->arena.base = sim_alloc(sim->arena.size);
    for (pbft_id id = 0; id < sim->n; id++) {
        sim->nodes[id].promises = sim_alloc(sim->o.params.window * sizeof(struct promise));
        sim->nodes[id].given = sim_alloc(sim->o.params.window * sizeof(struct promise));
    }
}

void check_free(struct sim *sim)
{
    for (pbft_id id = 0; id < sim->n; id++) {
        struct node *node = &sim->nodes[id];
        struct map *maps[] = {&node->synced, &node->said, &node->fetching, &node->answered,
                              &node->asked};
        for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++)
            map_free(maps[i]);
        free(node->promises);
        free(node->given);
        pbft_frame_release(node->last_sent);
    }
    struct map *maps[] = {&sim->prepared, &sim->committed, &sim->decided, &sim->checkpoints,
                          &sim->shown};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++)
        map_free(maps[i]);
    free(sim->arena.base);
}

void check_restart(struct node *node)
{
    if (node->place >= node->sim->n) return; /* a twin's second instance: nobody checks it */
    node->view = 0;
    check_stay_begins(node, 0);
    node->stable = node->executing = 0;
    pbft_frame_release(node->last_sent);
    node->last_sent = NULL;
    node->fetches_open = 0;
    node->timeout_ns = node->sim->o.params.view_timeout_ns;
    node->eased_at = node->left_at = 0;
    node->left = 0;
    node->transferring = node->storage_failed = node->window_full = node->restoring = false;
    node->retransmissions = 0;
    map_free(&node->synced);
    map_free(&node->fetching);
    map_free(&node->answered);
    /* What it said in an earlier life still binds its key (FAULTS 3.5): node->said stays. */
    size_t bytes = node->sim->o.params.window * sizeof(struct promise);
    if (node->forgetful)
        memset(node->promises, 0, bytes);
    else
        memcpy(node->promises, node->given, bytes);
    for (uint32_t i = 0; i < node->sim->o.params.window; i++)
        node->promises[i].least = true;
}

/* What it said under its old key, or in an epoch that is over, binds nobody. */
void check_epoch_begun(struct node *node)
{
    if (node->place >= node->sim->n) return;
    map_free(&node->said);
    node->asked_view = 0;
    memset(node->given, 0, node->sim->o.params.window * sizeof(struct promise));
}

/* What its log leads to was executed before, and is not seen: the next one follows it. */
void check_restoring(struct node *node)
{
    node->restoring = true;
    node->executing = NEVER;
}

void check_restored(struct node *node)
{
    struct pbft_node_info info;
    pbft_node_info(node->node, &info);
    node->stable = info.core.stable;
    node->view = info.core.view;
    check_stay_begins(node, info.core.view);
    if (node->executing == NEVER) node->executing = info.applied;
    node->restoring = false;
    if (node->place < node->sim->n && !node->mute && !info.core.mute && !node->forgetful &&
        node->view < node->asked_view)
        sim_fail(node->sim, "FAULTS 3.9: replica %u comes back in view %llu after %llu", node->id,
                 (unsigned long long)node->view, (unsigned long long)node->asked_view);
}

/* ---- effects ---- */

static void on_execute(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    pbft_seq seq = e->execute.seq;
    if (node->executing == NEVER) node->executing = sim_info(sim, node->id).applied;
    if (seq != node->executing + 1)
        sim_fail(sim, "FAULTS 3.3: replica %u executes %llu after %llu", node->id,
                 (unsigned long long)seq, (unsigned long long)node->executing);
    node->executing = seq;
    node->executions++;
    if (seq == sim->executed_count + 1) oracle_execute(sim, e);
    if (sim->failed) return;
    struct pbft_digest agreed;
    if (!sim_executed(sim, seq, &agreed))
        sim_fail(sim, "FAULTS 3.3: replica %u executes %llu, which nobody has reached", node->id,
                 (unsigned long long)seq);
    else if (!pbft_digest_equal(&agreed, &e->execute.digest))
        sim_fail(sim, "FAULTS 3.1: replica %u executes another proposal at %llu", node->id,
                 (unsigned long long)seq);
}

static void on_stable(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    if (e->stable.seq <= node->stable)
        sim_fail(sim, "FAULTS 3.11: replica %u: stable %llu after %llu", node->id,
                 (unsigned long long)e->stable.seq, (unsigned long long)node->stable);
    node->numbers += e->stable.seq - node->stable;
    node->stable = e->stable.seq;
    node->checkpoints++;
    struct pbft_digest key;
    key_with_digest(&key, e->stable.seq, 0, 0, &e->stable.root);
    const struct map_entry *signed_by = map_find(&sim->checkpoints, &key);
    unsigned honest = signed_by == NULL ? 0 : pbft_signers_count(signed_by->number);
    unsigned liars = pbft_signers_count(sim->o.byzantine);
    if (honest + liars < pbft_quorum(sim->n))
        sim_fail(sim, "FAULTS 3.11: replica %u: checkpoint %llu stable with %u signers", node->id,
                 (unsigned long long)e->stable.seq, honest + liars);
}

/* A signature counts from when it is made: our own vote is part of the quorum before it leaves. */
static void on_checkpoint_made(struct sim *sim, const struct node *node, struct pbft_span frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return;
    struct pbft_digest key;
    key_with_digest(&key, claim.seq, 0, 0, &claim.digest);
    bool fresh;
    map_put(&sim->checkpoints, &key, &fresh)->number |= pbft_signers_of(node->id);
}

/* FAULTS 3.13. A header that was accepted in time may be voted for while the checkpoint that covers
 * it becomes stable, as long as its slot is kept for laggards. */
static void check_accepted(struct sim *sim, const struct node *node, struct pbft_span frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return;
    if (node->restoring) return; /* h is not known here */
    pbft_seq kept = 2u * (pbft_seq)sim->o.params.checkpoint_interval;
    if (claim.seq + kept <= node->stable || claim.seq > node->stable + sim->o.params.window)
        sim_fail(sim, "FAULTS 3.13: replica %u accepts %s for %llu, while h is %llu", node->id,
                 pbft_type_text(claim.type), (unsigned long long)claim.seq,
                 (unsigned long long)node->stable);
}

/* FAULTS 3.7, 3.10: certificates that it relies on, before anybody is shown them. */
static void check_relied_on(struct sim *sim, const struct node *node, struct pbft_span frame)
{
    char why[RECHECK_WHY_BYTES];
    struct recheck *recheck = sim->epochs[node->epoch].recheck;
    uint64_t partly = recheck_stats(recheck)->new_views_partly;
    if (!recheck_sent(recheck, frame, why))
        sim_fail(sim, "FAULTS %s: replica %u relies on a %s: %s",
                 frame.data[0] == PBFT_NEW_VIEW ? "3.10" : "3.7", node->id,
                 pbft_type_text(frame.data[0]), why);
    if (recheck_stats(recheck)->new_views_partly != partly)
        sim_fail(sim, "FAULTS 3.10: replica %u installs a view without all its VIEW-CHANGEs",
                 node->id);
}

static void on_persist(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    struct pbft_span frame = pbft_frame_span(e->persist.frames[0]), second = {NULL, 0};
    if (e->persist.frames[1] != NULL) second = pbft_frame_span(e->persist.frames[1]);
    switch (e->persist.record) {
    case PBFT_RECORD_PROPOSAL: /* a backup's first frame may be the BATCH that it fetched */
        check_accepted(sim, node, second.data != NULL ? second : frame);
        break;
    case PBFT_RECORD_PREPARED:
        check_accepted(sim, node, second);
        check_promise(sim, node, second);
        break;
    case PBFT_RECORD_VIEW_CHANGE:
        check_relied_on(sim, node, frame);
        check_view_change(sim, node, frame);
        break;
    case PBFT_RECORD_NEW_VIEW: check_relied_on(sim, node, frame); break;
    case PBFT_RECORD_CHECKPOINT: on_checkpoint_made(sim, node, frame); break;
    case PBFT_RECORD_STABLE: check_relied_on(sim, node, frame); break;
    case PBFT_RECORD_COMMITTED: break; /* unsynced and without proposal: as it is sent */
    }
}

/* The state is replaced: execution goes on behind the certified checkpoint. FAULTS 3.23: with the
 * root that everybody had there. */
static void on_transfer(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    struct pbft_digest key;
    key_numbers(&key, e->transfer.seq, 0, 0, 0);
    const struct map_entry *root = map_find(&sim->roots, &key);
    const struct pbft_cluster *cluster = sim->epochs[node->epoch].cluster;
    if (e->transfer.diverged != 0)
        sim_fail(sim, "FAULTS 4.24: replica %u says that its state at %llu is wrong, and it is not",
                 node->id, (unsigned long long)e->transfer.diverged);
    bool begins = e->transfer.seq == cluster->genesis_seq &&
                  pbft_digest_equal(&e->transfer.root, &cluster->genesis_root);
    if (!begins && (root == NULL || !pbft_digest_equal(&root->value, &e->transfer.root)))
        sim_fail(sim, "FAULTS 3.23: replica %u goes to fetch a state of %llu that never was",
                 node->id, (unsigned long long)e->transfer.seq);
    node->executing = e->transfer.seq;
}

/* Whoever is shown the two frames must find them as we did (PROTOCOL 36). */
static void check_evidence(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    char why[RECHECK_WHY_BYTES];
    if (!recheck_evidence(sim->epochs[node->epoch].cluster, sim->o.signer, e->evidence.culprit,
                          pbft_frame_span(e->evidence.frames[0]),
                          pbft_frame_span(e->evidence.frames[1]), why))
        sim_fail(sim, "FAULTS 3.7: evidence of replica %u: %s", node->id, why);
}

static void tell_effect(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    if (sim->observer == NULL) return;
    struct sim_seen seen = {.from = node->id};
    switch (e->kind) {
    case PBFT_EFFECT_EXECUTE:
        seen.kind = SIM_SEEN_EXECUTED;
        seen.claim.seq = e->execute.seq;
        seen.claim.view = e->execute.view;
        seen.claim.digest = e->execute.digest;
        break;
    case PBFT_EFFECT_STABLE:
        seen.kind = SIM_SEEN_STABLE;
        seen.claim.seq = e->stable.seq;
        break;
    case PBFT_EFFECT_TRANSFER:
        seen.kind = SIM_SEEN_TRANSFER;
        seen.claim.seq = e->transfer.seq;
        break;
    case PBFT_EFFECT_EVIDENCE:
        seen.kind = SIM_SEEN_EVIDENCE;
        seen.to = e->evidence.culprit;
        break;
    case PBFT_EFFECT_VIEW:
        seen.kind = SIM_SEEN_VIEW;
        seen.claim.view = e->view.view;
        seen.active = e->view.active;
        break;
    case PBFT_EFFECT_MUTED:
    case PBFT_EFFECT_PERSIST:
    case PBFT_EFFECT_SEND:
    case PBFT_EFFECT_TAKE_CHECKPOINT:
    case PBFT_EFFECT_FETCH:
    case PBFT_EFFECT_FETCH_STOP: return;
    }
    sim_tell(sim, &seen);
}

void check_effects(struct sim *sim, struct node *node, const struct pbft_effects *effects)
{
    for (size_t i = 0; i < effects->count && !sim->failed; i++) {
        const struct pbft_effect *e = &effects->items[i];
        tell_effect(sim, node, e);
        reach_effect(sim, node, e);
        switch (e->kind) {
        case PBFT_EFFECT_EXECUTE: on_execute(sim, node, e); break;
        case PBFT_EFFECT_STABLE: on_stable(sim, node, e); break;
        case PBFT_EFFECT_TRANSFER: on_transfer(sim, node, e); break;
        case PBFT_EFFECT_EVIDENCE:
            if (sim_is_correct(sim, e->evidence.culprit))
                sim_fail(sim, "FAULTS 3.20: replica %u accuses correct replica %u", node->id,
                         e->evidence.culprit);
            check_evidence(sim, node, e);
            break;
        case PBFT_EFFECT_VIEW:
            node->view_steps++;
            check_view_effect(sim, node, e->view.view, e->view.active);
            if (sim->o.expect_no_view_change)
                sim_fail(sim, "FAULTS 3.22: replica %u leaves for view %llu without need", node->id,
                         (unsigned long long)e->view.view);
            break;
        case PBFT_EFFECT_MUTED:
            if (!node->mute && !node->forgetful)
                sim_fail(sim, "PROTOCOL 29: replica %u thinks that it lost its memory", node->id);
            node->mute = true;
            break;
        case PBFT_EFFECT_PERSIST: on_persist(sim, node, e); break;
        case PBFT_EFFECT_FETCH: check_fetch(sim, node, &e->fetch.what, true); break;
        case PBFT_EFFECT_FETCH_STOP: check_fetch(sim, node, &e->fetch.what, false); break;
        case PBFT_EFFECT_SEND:
        case PBFT_EFFECT_TAKE_CHECKPOINT: break;
        }
    }
}

/* Of one that ends: nobody hears of what it decides any more. But a flush that is under way may end
 * before the log is synced, with our own vote in its certificate. */
void check_dying(struct sim *sim, const struct node *node, const struct pbft_effects *effects)
{
    for (size_t i = 0; i < effects->count; i++) {
        const struct pbft_effect *e = &effects->items[i];
        if (e->kind == PBFT_EFFECT_PERSIST && e->persist.record == PBFT_RECORD_CHECKPOINT)
            on_checkpoint_made(sim, node, pbft_frame_span(e->persist.frames[0]));
    }
}

/* ---- state ---- */

void check_node(struct sim *sim, struct node *node)
{
    struct pbft_node_info info;
    pbft_node_info(node->node, &info);
    const struct pbft_core_info *core = &info.core;
    if (core->view < node->view)
        sim_fail(sim, "FAULTS 3.9: replica %u: view %llu after %llu", node->id,
                 (unsigned long long)core->view, (unsigned long long)node->view);
    node->view = core->view;
    if (core->stable != node->stable)
        sim_fail(sim, "FAULTS 3.11: replica %u: h is %llu, STABLE said %llu", node->id,
                 (unsigned long long)core->stable, (unsigned long long)node->stable);
    pbft_seq highest = core->stable + sim->o.params.window;
    if (core->proposed > highest)
        sim_fail(sim, "FAULTS 3.13: replica %u accepted %llu above %llu", node->id,
                 (unsigned long long)core->proposed, (unsigned long long)highest);
    check_back_off(sim, node, core);
    reach_info(sim, node, core);
    check_limits(sim, node, &info);
}
