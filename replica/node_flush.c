/* Checkpoints on disk (PROTOCOL 25, 26). A flush and a protocol checkpoint are separate decisions:
 * one is due when the log has grown, and lets it be cut. Between two of them a restart executes
 * again what the log has committed. */
#include "replica/node_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- which checkpoint ---- */

void node_flush_certified(struct pbft_node *node, struct pbft_frame *certificate)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(pbft_frame_span(certificate), &claim) != PBFT_OK) return;
    struct certified *c = &node->certified[node->certified_next];
    node->certified_next = (node->certified_next + 1) % CERTIFIED_KEPT;
    pbft_frame_release(c->certificate);
    *c = (struct certified){claim.seq, claim.digest, claim.signers, pbft_frame_retain(certificate)};
}

static const struct certified *certified_at(const struct pbft_node *node, pbft_seq seq)
{
    for (unsigned i = 0; i < CERTIFIED_KEPT; i++)
        if (node->certified[i].seq == seq && node->certified[i].certificate != NULL)
            return &node->certified[i];
    return NULL;
}

/* Genesis needs no certificate: the cluster's id is one, or the epoch's proof. Who fetched it has
 * to flush it. */
static bool is_genesis(const struct pbft_node *node, const struct kept_snapshot *kept)
{
    return node->cluster->genesis_seq > 0 && kept->seq == node->cluster->genesis_seq &&
           pbft_digest_equal(&kept->root, &node->cluster->genesis_root);
}

/* The newest state that is certified, ours, and hashed. */
static const struct kept_snapshot *candidate(const struct pbft_node *node)
{
    for (size_t i = node->snapshot_count; i-- > 0;) {
        const struct kept_snapshot *kept = &node->snapshots[i];
        if (!kept->hashed || kept->seq > node->stable_seq) continue;
        if (is_genesis(node, kept)) return kept;
        const struct certified *c = certified_at(node, kept->seq);
        struct pbft_digest root;
        node_signed_root(node, kept->seq, &kept->root, &root);
        if (c != NULL && pbft_digest_equal(&c->root, &root)) return kept;
    }
    return NULL;
}

const struct certified *node_certified_state(const struct pbft_node *node)
{
    const struct kept_snapshot *kept = candidate(node);
    if (kept == NULL || is_genesis(node, kept) || node_is_last(node, kept->seq)) return NULL;
    return certified_at(node, kept->seq);
}

/* Between the checkpoint on disk and the next one lies something that no log holds: a state that
 * came by a transfer. */
bool node_flush_holds(const struct pbft_node *node, pbft_seq seq)
{
    return node->config.pages != NULL && node->unlogged > node->flushed && seq > node->unlogged;
}

void node_flush_installed(struct pbft_node *node, pbft_seq seq)
{
    node->unlogged = seq;
}

/* ---- the job ---- */

/* Also where the epoch ends, whatever the log holds (PROTOCOL 29). Others may have certified that
 * state before we know that it is the last one: its number is compared each time, not once. Else:
 * who fetches an earlier state then, or executes slowly, keeps it unflushed and the epoch for ever.
 */
static bool flush_due(const struct pbft_node *node)
{
    return node->flush_wanted || node_is_last(node, node->stable_seq);
}

static struct pbft_job *flush_job(struct pbft_node *node, const struct kept_snapshot *kept)
{
    const struct pbft_frame *certificate =
        is_genesis(node, kept) ? NULL : certified_at(node, kept->seq)->certificate;
    struct pbft_job *job = node_alloc(sizeof *job);
    job->kind = PBFT_JOB_FLUSH;
    job->pages = node->config.pages;
    job->snapshot = pbft_snapshot_retain(kept->snapshot);
    job->seq = kept->seq;
    job->checkpoint = node_alloc(sizeof *job->checkpoint);
    job->checkpoint->seq = kept->seq;
    job->checkpoint->root = kept->root;
    if (certificate == NULL) return job;
    PBFT_ASSERT(certificate->size <= PBFT_PAGES_CERTIFICATE_MAX);
    job->checkpoint->certificate_size = certificate->size;
    memcpy(job->checkpoint->certificate, certificate->bytes, certificate->size);
    return job;
}

struct pbft_job *node_flush_job(struct pbft_node *node)
{
    if (node->config.pages == NULL || node->storage_failed || node->flush_again_ns > node->now_ns)
        return NULL;
    bool due = flush_due(node), reproduce = node->unlogged > node->flushed;
    if (!due && !reproduce) return NULL;
    const struct kept_snapshot *kept = candidate(node);
    if (kept == NULL || kept->seq <= node->flushed) return NULL;
    bool newest = kept->seq == node->stable_seq;
    if (!(due && newest) && !(reproduce && kept->seq >= node->unlogged)) return NULL;
    node->flush_again_ns = 0;
    if (newest) {
        node->flush_wanted = false;
        node_log_begin_cut(node, kept->seq);
    }
    return flush_job(node, kept);
}

void node_flush_run(struct pbft_job *job)
{
    job->status = pbft_pages_flush(job->pages, job->snapshot, job->checkpoint);
}

/* What had to wait until a restart could reproduce it. */
static void release_checkpoints(struct pbft_node *node)
{
    for (size_t i = 0; i < node->snapshot_count;) {
        struct kept_snapshot *kept = &node->snapshots[i];
        if (!kept->held || node_flush_holds(node, kept->seq)) {
            i++;
            continue;
        }
        kept->held = false;
        struct pbft_digest root;
        node_signed_root(node, kept->seq, &kept->root, &root);
        node_checkpoint_ready(node, kept->seq, &root);
        i = 0; /* a step may have let go of some */
    }
}

void node_flush_done(struct pbft_node *node, struct pbft_job *job)
{
    if (job->status == PBFT_STATUS_OK) {
        node->flushed = job->seq;
        node->flush_after = node->state_bytes / 2; /* what is written stays in proportion */
        node_disk_full(node, &node->pages_full, false);
        node_log_line(node, "flushed", "seq=%llu", (unsigned long long)job->seq);
        node_log_finish_cut(node);
        release_checkpoints(node);
    } else if (job->status == PBFT_STATUS_FULL || job->status == PBFT_STATUS_MEMORY ||
               job->status == PBFT_STATUS_REFUSED) { /* cancelled: the end is near */
        node->flush_wanted = true;
        node->flush_again_ns = node->now_ns + DISK_RETRY_NS;
        if (job->status == PBFT_STATUS_FULL) node_disk_full(node, &node->pages_full, true);
    } else {
        node_storage_failed(node, "flush", job->status);
    }
}

uint64_t node_flush_deadline(const struct pbft_node *node)
{
    return node->flush_again_ns > node->now_ns ? node->flush_again_ns : NEVER;
}

void node_flush_free(struct pbft_node *node)
{
    for (unsigned i = 0; i < CERTIFIED_KEPT; i++)
        pbft_frame_release(node->certified[i].certificate);
}
