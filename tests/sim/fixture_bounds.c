/* Promises that a VIEW-CHANGE must keep (FAULTS 3.14), how time-outs grow (PROTOCOL 23), what a
 * replica may hold (3.18), and how much it may say (3.24). */
#include "tests/sim/fixture_internal.h"

#include "pbft/pending.h"
#include "pbft/quorum.h"

#include <string.h>

/* ---- FAULTS 3.22: nobody leaves a view before its time ---- */

void check_stay_begins(struct node *node, pbft_view view)
{
    memset(&node->stay, 0, sizeof node->stay);
    node->stay.view = view;
    node->stay.at_ns = sim_now(node->sim);
}

void check_wish_heard(struct node *node, struct pbft_span frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK || claim.type != PBFT_VIEW_CHANGE) return;
    if (claim.sender < PBFT_REPLICAS_MAX && claim.view > node->stay.heard[claim.sender])
        node->stay.heard[claim.sender] = claim.view;
}

/* f+1 others want a later view, or a whole time-out is over: of what was pending when the view
 * began or came since, or of the NEW-VIEW. */
void check_view_effect(struct sim *sim, struct node *node, pbft_view view, bool active)
{
    uint32_t others = 0;
    for (pbft_id id = 0; id < sim->n; id++)
        others += id != node->id && node->stay.heard[id] > node->stay.view;
    uint64_t stayed = sim_now(sim) - node->stay.at_ns;
    if (!active && others < pbft_quorum_weak(sim->n) && stayed < sim->o.params.view_timeout_ns)
        sim_fail(sim, "FAULTS 3.22: replica %u leaves for view %llu after %.1f ms in %llu",
                 node->id, (unsigned long long)view, (double)stayed / 1e6,
                 (unsigned long long)node->stay.view);
    node->stay.view = view;
    node->stay.at_ns = sim_now(sim);
}

/* ---- FAULTS 3.14 ---- */

void keep_promise(const struct sim *sim, struct promise *promises, const struct pbft_claim *commit)
{
    struct promise *p = &promises[commit->seq % sim->o.params.window];
    if (p->seq > commit->seq || (p->seq == commit->seq && p->view > commit->view)) return;
    *p = (struct promise){commit->seq, commit->view, commit->digest, false};
}

void check_promise(struct sim *sim, struct node *node, struct pbft_span commit)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(commit, &claim) != PBFT_OK || claim.type != PBFT_COMMIT) {
        sim_fail(sim, "replica %u logs that it prepared, without its COMMIT", node->id);
        return;
    }
    keep_promise(sim, node->promises, &claim);
}

static const struct pbft_prepared *entry_of(const struct pbft_view_change *vc, pbft_seq seq)
{
    for (uint32_t i = 0; i < vc->prepared_count; i++)
        if (vc->prepared[i].seq == seq) return &vc->prepared[i];
    return NULL;
}

/* Certificates of one number, of two views, in VIEW-CHANGEs for one view (FAULTS 4.7). */
static void look_for_another(struct sim *sim, const struct pbft_view_change *vc)
{
    for (uint32_t i = 0; i < vc->prepared_count; i++) {
        struct pbft_digest key;
        key_numbers(&key, PBFT_VIEW_CHANGE, vc->view, vc->prepared[i].seq, 0);
        bool fresh;
        struct map_entry *entry = map_put(&sim->shown, &key, &fresh);
        if (fresh)
            entry->value = vc->prepared[i].digest;
        else if (!pbft_digest_equal(&entry->value, &vc->prepared[i].digest))
            reach(sim, SIM_REACH_CERTIFICATES_DIFFER);
    }
}

void check_view_change(struct sim *sim, struct node *node, struct pbft_span frame)
{
    struct pbft_msg msg;
    sim->arena.used = 0;
    if (pbft_wire_decode(frame, &sim->o.params, &sim->arena, &msg) != PBFT_OK) {
        sim_fail(sim, "replica %u makes a VIEW-CHANGE that does not decode", node->id);
        return;
    }
    const struct pbft_view_change *vc = &msg.view_change;
    if (vc->stable != node->stable)
        sim_fail(sim, "FAULTS 3.14: replica %u: VIEW-CHANGE from %llu, but h is %llu", node->id,
                 (unsigned long long)vc->stable, (unsigned long long)node->stable);
    look_for_another(sim, vc);
    for (uint32_t i = 0; i < sim->o.params.window; i++) {
        const struct promise *p = &node->promises[i];
        if (p->seq <= vc->stable) continue;
        const struct pbft_prepared *entry = entry_of(vc, p->seq);
        if (entry == NULL)
            sim_fail(sim, "FAULTS 3.14: replica %u forgets in view %llu that %llu was prepared",
                     node->id, (unsigned long long)vc->view, (unsigned long long)p->seq);
        else if (p->least && entry->view > p->view)
            continue;
        else if (entry->view != p->view || !pbft_digest_equal(&entry->digest, &p->digest))
            sim_fail(sim, "FAULTS 3.14: replica %u: n %llu was prepared in view %llu, it says %llu",
                     node->id, (unsigned long long)p->seq, (unsigned long long)p->view,
                     (unsigned long long)entry->view);
    }
}

/* ---- FAULTS 3.18 ---- */

#define FETCHES_OTHER 8u                  /* certificates and checkpoints, one after the other */
#define JOBS_MAX      4u                  /* APPLY, HASH, SYNC, FLUSH: one of each */
#define NODE_SLACK    (UINT64_C(1) << 20) /* pages under way, live records, strategies' hoards */

static uint64_t slots(const struct sim *sim)
{
    return sim->o.params.window + UINT64_C(2) * sim->o.params.checkpoint_interval;
}

/* What a replica fetches: a body and a header for each number, the VIEW-CHANGEs of one NEW-VIEW for
 * each sender. */
void check_fetch(struct sim *sim, struct node *node, const struct pbft_fetch *what, bool begins)
{
    struct pbft_digest key;
    key_with_digest(&key, what->kind, what->view, what->seq, &what->digest);
    bool fresh;
    struct map_entry *entry = map_put(&node->fetching, &key, &fresh);
    if (begins && entry->number == 0) node->fetches_open++;
    if (!begins && entry->number != 0) node->fetches_open--;
    entry->number = begins;
    uint64_t most = 2 * slots(sim) + (uint64_t)sim->n * sim->n + FETCHES_OTHER;
    if (node->fetches_open > most)
        sim_fail(sim, "FAULTS 3.18: replica %u fetches %llu things at once", node->id,
                 (unsigned long long)node->fetches_open);
}

/* Frames of one replica: proposals, votes, VIEW-CHANGEs (of all, and of all named by all), requests
 * and questions of clients. */
static uint64_t frames_max(const struct sim *sim)
{
    const struct pbft_params *p = &sim->o.params;
    uint64_t batch = (uint64_t)p->batch_max_bytes + 4096u;
    uint64_t bodies =
        sim->o.body_max_bytes == 0 ? slots(sim) * batch : 2 * sim->o.body_max_bytes + 4 * batch;
    uint64_t entry = 64u + (uint64_t)pbft_quorum(sim->n) * PBFT_SIGNATURE_BYTES;
    uint64_t view_change = 1024u + (p->window + 1u) * entry;
    uint64_t request = 1024u + (uint64_t)p->key_max_bytes + p->value_max_bytes;
    uint64_t held = (uint64_t)sim->o.clients * p->client_quota * 2u * request;
    uint64_t room = 2u * batch * sim->o.clients; /* bytes that a client may hold (PROTOCOL 22) */
    bodies += (uint64_t)sim->o.clients * (sim->n - 1) * pbft_pending_room_bytes(p); /* forwarded */
    return bodies + slots(sim) * 2048u + (uint64_t)sim->n * (sim->n + 2u) * view_change +
           (held < room ? held : room) + NODE_SLACK;
}

void check_limits(struct sim *sim, struct node *node, const struct pbft_node_info *info)
{
    uint64_t pending = pbft_pending_capacity(&sim->o.params, sim->o.clients);
    if (info->core.pending > pending)
        sim_fail(sim, "FAULTS 3.18: replica %u holds %u requests", node->id, info->core.pending);
    if (node->jobs_out > JOBS_MAX)
        sim_fail(sim, "FAULTS 3.18: replica %u has %llu jobs out", node->id,
                 (unsigned long long)node->jobs_out);
    struct pbft_pool_stats pool;
    pbft_pool_stats(sim->pool, &pool);
    uint64_t resting = pool.live_bytes - sim->flying_bytes;
    if (pool.live_bytes > sim->flying_bytes && resting > UINT64_C(2) * sim->n * frames_max(sim))
        sim_fail(sim, "FAULTS 3.18: %llu bytes of frames are held after a step of replica %u",
                 (unsigned long long)resting, node->id);
    if (info->outbox_bytes > sim->outbox_max)
        sim_fail(sim, "FAULTS 3.18: %llu bytes wait in the outbox of replica %u",
                 (unsigned long long)info->outbox_bytes, node->id);
    if (info->storage_failed && !node->storage_failed) {
        reach(sim, SIM_REACH_STOPPED);
        sim->acted[SIM_FAULT_BROKEN_DISK]++;
    }
    node->storage_failed = info->storage_failed;
}

/* ---- PROTOCOL 23 ---- */

void check_back_off(struct sim *sim, struct node *node, const struct pbft_core_info *info)
{
    const struct pbft_params *p = &sim->o.params;
    uint64_t before = node->timeout_ns, now = info->view_timeout_ns;
    bool eased = info->stable > node->eased_at, left = info->view_changes > node->left;
    uint64_t doubled = 2 * before < p->view_timeout_max_ns ? 2 * before : p->view_timeout_max_ns;
    uint64_t checkpoints = (info->stable - node->eased_at) / p->checkpoint_interval;
    const char *wrong = NULL;
    if (now < p->view_timeout_ns || now > p->view_timeout_max_ns)
        wrong = "is out of its bounds";
    else if (now < before && !eased)
        wrong = "was eased without a stable checkpoint";
    else if (now < before >> (checkpoints < 32 ? checkpoints : 32))
        wrong = "was eased by more than half";
    else if (eased && !left && before > p->view_timeout_ns && now >= before)
        wrong = "was not eased by a stable checkpoint";
    else if (now > doubled || (now > before && !left))
        wrong = "grew too much";
    else if (left && !eased && info->executed == node->left_at && now != doubled)
        wrong = "did not double with a fruitless view";
    if (wrong != NULL)
        sim_fail(sim, "PROTOCOL 23: the time-out of replica %u, %llu ms after %llu ms, %s",
                 node->id, (unsigned long long)(now / SIM_MS),
                 (unsigned long long)(before / SIM_MS), wrong);
    node->eased_at = info->stable;
    if (left) node->left_at = info->executed;
    node->left = info->view_changes;
}

/* ---- FAULTS 3.24 ---- */

/* What a replica may say: three messages to each other one for a number, be it executed or passed
 * by while the replica fetched a state and voted on, a window's worth at each change of view,
 * STATUS with what it brings back, an answer to whatever it is asked. Doubled, for what is lost and
 * said again. */
static uint64_t messages_max(const struct sim *sim, const struct node *node)
{
    const struct pbft_params *p = &sim->o.params;
    uint64_t others = sim->n - 1;
    uint64_t turns = 1 + sim->now_ns / (p->view_timeout_ns / 8);
    uint64_t numbers = node->executions > node->numbers ? node->executions : node->numbers;
    uint64_t agreed = 3 * others * (numbers + p->window) + 2 * others * node->checkpoints;
    uint64_t views = (p->window + 8u) * others * node->view_steps;
    return 2 * (agreed + views + node->heard) + turns * others * 8;
}

bool sim_check_bandwidth(struct sim *sim)
{
    for (pbft_id id = 0; id < sim->n; id++) {
        const struct node *node = &sim->nodes[id];
        if (!sim_is_correct(sim, id)) continue;
        uint64_t most = messages_max(sim, node);
        if (node->sent > most)
            sim_fail(sim, "FAULTS 3.24: replica %u sent %llu messages where %llu are enough", id,
                     (unsigned long long)node->sent, (unsigned long long)most);
    }
    return !sim->failed;
}
