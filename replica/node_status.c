/* What may be looked at from outside: numbers for metrics, JSON for `status` (DESIGN 6). */
#include "replica/node_internal.h"

#include "pbft/quorum.h"
#include "replica/text.h"

#include <stdio.h>
#include <string.h>

void pbft_node_info(const struct pbft_node *node, struct pbft_node_info *out)
{
    memset(out, 0, sizeof *out);
    pbft_core_info(node->core, &out->core);
    out->core.mute = out->core.mute || node->mute;
    out->applied = node->applied;
    out->stable_root = out->core.stable_root;
    out->requests_executed = node->requests_executed;
    out->batches_rehashed = node->batches_rehashed;
    out->requests_timed = node->requests_timed;
    memcpy(out->stage_ns, node->stage_ns, sizeof out->stage_ns);
    out->batches_executed = node->batches_executed;
    out->ops_executed = node->ops_executed;
    out->queries_answered = node->queries_answered;
    out->queries_held = node->queries_held;
    out->replies_sent = node->replies_sent;
    out->busy_sent = node->busy_sent;
    out->outbox_bytes = node->outbox_bytes;
    out->outbox_dropped = node->outbox_dropped;
    out->divergences = node->divergence.count;
    out->diverged = node->divergence.seq;
    out->evidence_count = node->evidence_count;
    out->evidence_against = node->evidence_against;
    out->storage_failed = node->storage_failed;
    out->disk_full = node->log_full || node->pages_full;
    out->flushed = node->flushed;
    out->transfers = node->transfer.begun;
    out->pages_fetched = node->transfer.fetched;
    out->pages_fetched_bytes = node->transfer.fetched_bytes;
    out->pages_served = node->pages_served;
    out->pages_served_bytes = node->pages_served_bytes;
    if (node->transfer.active) {
        out->transfer_pages_have = node->transfer.have;
        out->transfer_pages_known = node->transfer.known;
        out->transfer_entries_have = node->transfer.entries_have;
        out->transfer_entries = node->transfer.entries;
    }
    out->state_bytes = node->state_bytes;
    out->door = *pbft_door_stats(node->door);
    for (unsigned i = 0; i < PBFT_VERDICT_COUNT; i++)
        out->door.dropped[i] += node->dropped[i];
}

static void put_digest(struct pbft_text *t, const struct pbft_digest *digest)
{
    char hex[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(digest->bytes, PBFT_DIGEST_BYTES, hex);
    pbft_text_put(t, "\"%s\"", hex);
}

/* Roots of the last own checkpoints, so that equal sequence numbers can be compared. */
static void put_roots(struct pbft_text *t, const struct pbft_node *node)
{
    pbft_text_put(t, ",\"roots\":{");
    const char *comma = "";
    for (size_t i = 0; i < ROOTS_KEPT; i++) {
        const struct known_root *r = &node->roots[(node->root_next + i) % ROOTS_KEPT];
        if (r->seq == 0) continue;
        pbft_text_put(t, "%s\"%llu\":", comma, (unsigned long long)r->seq);
        put_digest(t, &r->root);
        comma = ",";
    }
    pbft_text_put(t, "}");
}

size_t pbft_node_status_json(const struct pbft_node *node, char *out, size_t capacity)
{
    struct pbft_text t = {out, capacity, 0};
    struct pbft_node_info info;
    pbft_node_info(node, &info);
    pbft_text_put(&t, "{\"cluster_id\":");
    put_digest(&t, &node->cluster->id);
    pbft_text_put(&t,
                  ",\"epoch\":%u,\"n\":%u,\"f\":%u,\"id\":%u,\"reachable\":true,\"role\":\"%s\"",
                  (unsigned)node->cluster->epoch, (unsigned)node->n,
                  (unsigned)pbft_quorum_faults(node->n), (unsigned)node->id,
                  info.core.primary == node->id ? "primary" : "backup");
    pbft_text_put(
        &t, ",\"view\":%llu,\"view_active\":%s,\"last_executed\":%llu,\"stable\":%llu,\"root\":",
        (unsigned long long)info.core.view, info.core.view_active ? "true" : "false",
        (unsigned long long)info.core.executed, (unsigned long long)info.core.stable);
    put_digest(&t, &info.core.stable_root);
    put_roots(&t, node);
    pbft_text_put(&t, ",\"evidence_against\":");
    pbft_text_put_ids(&t, node->evidence_against);
    pbft_text_put(&t, ",\"mute\":%s,\"transferring\":%s,\"pending\":%u,\"view_changes\":%llu",
                  info.core.mute ? "true" : "false", info.core.transferring ? "true" : "false",
                  (unsigned)info.core.pending, (unsigned long long)info.core.view_changes);
    pbft_text_put(&t, ",\"divergences\":%llu,\"repairing\":%s",
                  (unsigned long long)info.divergences, info.diverged != 0 ? "true" : "false");
    pbft_text_put(&t, ",\"durability\":\"%s\",\"disk_full\":%s,\"votes_wait\":%s",
                  pbft_log_name(node->config.log), info.disk_full ? "true" : "false",
                  node->log_full ? "true" : "false");
    if (node->transfer.active) {
        const struct transfer *x = &node->transfer;
        pbft_text_put(&t, ",\"transfer\":{\"seq\":%llu,\"pages_have\":%llu,\"pages_known\":%llu",
                      (unsigned long long)x->seq, (unsigned long long)x->have,
                      (unsigned long long)x->known);
        pbft_text_put(&t, ",\"entries_have\":%llu,\"entries\":%llu",
                      (unsigned long long)x->entries_have, (unsigned long long)x->entries);
        pbft_text_put(&t, ",\"why\":\"%s\"}", node_is_diverged(node) ? "divergence" : "behind");
    }
    pbft_text_put(&t, "}");
    return t.size;
}
