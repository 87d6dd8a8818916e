/* Looking at a cluster from outside. */
#include "tests/sim/fixture_internal.h"

#include <string.h>

uint64_t sim_now(const struct sim *sim)
{
    return sim->now_ns;
}

uint64_t sim_wall_ns(const struct sim *sim)
{
    return sim->wall_base_ns + sim->now_ns;
}

uint64_t sim_trace_hash(const struct sim *sim)
{
    return sim->trace_hash;
}

void sim_trace_to(struct sim *sim, void *file)
{
    sim->trace = file;
}

struct pbft_node *sim_node(struct sim *sim, pbft_id id)
{
    return sim->nodes[id].node;
}

struct pbft_node_info sim_info(struct sim *sim, pbft_id id)
{
    struct pbft_node_info info = {0};
    if (sim->nodes[id].node != NULL) pbft_node_info(sim->nodes[id].node, &info);
    return info;
}

bool sim_alive(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].node != NULL;
}

pbft_signers sim_correct(const struct sim *sim)
{
    pbft_signers all = 0;
    for (pbft_id id = 0; id < sim->n; id++)
        if (sim_alive(sim, id) && sim_is_correct(sim, id) && !sim->nodes[id].mute)
            all |= pbft_signers_of(id);
    return all;
}

const struct pbft_cluster *sim_cluster(const struct sim *sim)
{
    return &sim->cluster;
}

const struct pbft_signer *sim_signer(const struct sim *sim)
{
    return sim->o.signer;
}

uint64_t sim_acted(const struct sim *sim, enum sim_fault fault)
{
    return sim->acted[fault];
}

uint64_t sim_expected(const struct sim *sim, enum sim_fault fault)
{
    return sim->odds_ppm[fault] / 1000000u;
}

uint64_t sim_reached_so_far(const struct sim *sim, enum sim_reach reached)
{
    return sim->reached[reached];
}

uint64_t sim_wished(const struct sim *sim, pbft_id id, uint8_t type)
{
    uint64_t wished = sim->nodes[id].wished[type & 63u];
    if (pbft_signers_has(sim->o.twins, id)) wished += sim->nodes[sim->n + id].wished[type & 63u];
    return wished;
}

uint64_t sim_delivered(const struct sim *sim)
{
    return sim->delivered;
}

struct pbft_frame_pool *sim_pool(struct sim *sim)
{
    return pbft_pool_frames(sim->pool);
}

uint64_t sim_sent(const struct sim *sim, uint8_t type)
{
    return sim->sent[type & 63u];
}

uint64_t sim_view_changes(struct sim *sim)
{
    uint64_t total = 0;
    for (pbft_id id = 0; id < sim->n; id++)
        if (pbft_signers_has(sim_correct(sim), id)) total += sim_info(sim, id).core.view_changes;
    return total;
}

uint64_t sim_log_lines(const struct sim *sim, const char *event)
{
    struct pbft_digest key = {{0}};
    size_t size = strlen(event);
    memcpy(key.bytes, event, size < sizeof key.bytes ? size : sizeof key.bytes);
    const struct map_entry *entry = map_find(&sim->log_lines, &key);
    return entry == NULL ? 0 : entry->number;
}

uint64_t sim_log_bytes(const struct sim *sim, pbft_id id)
{
    struct pbft_log_stats stats = {0};
    if (sim->nodes[id].log != NULL) pbft_log_stats(sim->nodes[id].log, &stats);
    return stats.bytes;
}

enum pbft_verdict sim_last_verdict(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].verdict;
}

/* Views may differ: a replica that timed out alone stays where it is, follows pushed certificates,
 * and may keep a hostile client's request (PROTOCOL 23). */
bool sim_converged(struct sim *sim, void *context)
{
    (void)context;
    struct pbft_core_info first = {0};
    bool have = false;
    for (pbft_id id = 0; id < sim->n; id++) {
        if (!pbft_signers_has(sim_correct(sim), id) || sim->nodes[id].isolated) continue;
        struct pbft_core_info info = sim_info(sim, id).core;
        if (info.transferring || (info.view_active && info.pending > 0)) return false;
        if (have && (info.executed != first.executed || info.stable != first.stable)) return false;
        first = info;
        have = true;
    }
    return have;
}

bool sim_reached(struct sim *sim, void *context)
{
    const struct sim_at_least *goal = context;
    for (pbft_id id = 0; id < sim->n; id++) {
        if (!pbft_signers_has(goal->who, id)) continue;
        if (!sim_alive(sim, id)) return false;
        struct pbft_core_info info = sim_info(sim, id).core;
        if (info.stable < goal->stable || info.executed < goal->executed ||
            info.view < goal->view || !info.view_active)
            return false;
    }
    return true;
}
