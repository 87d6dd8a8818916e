/* The end of an epoch (PROTOCOL 29, crypto/epoch.h). What q replicas sign at its last sequence
 * number is the state and who follows whom; with that, and with the state on disk wherever it was
 * promised, this node's work is done and the next one's begins. */
#include "replica/node_internal.h"
#include "replica/pool.h"

#include <string.h>

void node_epoch_look(struct pbft_node *node)
{
    if (node->change.epoch != 0 || !pbft_apply_change(node->side.apply, &node->change)) return;
    node_log_line(node, "epoch_ends", "epoch=%u last=%llu replaced=%u",
                  (unsigned)node->cluster->epoch, (unsigned long long)node->change.seq,
                  (unsigned)node->change.replica);
}

void node_signed_root(const struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root,
                      struct pbft_digest *out)
{
    *out = *root;
    if (node->change.epoch == 0 || seq != node->change.seq) return;
    struct pbft_epoch_change change = node->change;
    change.root = *root;
    pbft_epoch_digest(&change, out);
}

bool node_is_last(const struct pbft_node *node, pbft_seq seq)
{
    return node->change.epoch != 0 && seq == node->change.seq;
}

/* Our state at the last number, if it is what q replicas have signed. */
static const struct kept_snapshot *final_state(const struct pbft_node *node)
{
    if (!node_is_last(node, node->stable_seq)) return NULL;
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    for (size_t i = 0; i < node->snapshot_count; i++) {
        const struct kept_snapshot *kept = &node->snapshots[i];
        struct pbft_digest digest;
        if (kept->seq != node->stable_seq || !kept->hashed) continue;
        node_signed_root(node, kept->seq, &kept->root, &digest);
        return pbft_digest_equal(&digest, &info.stable_root) ? kept : NULL;
    }
    return NULL;
}

/* Which proof may be handed out, if any. What a restart would need of the old epoch goes with its
 * log: a state that we have signed has to be on disk by itself first, for others may count on us to
 * have it. Who never signed it, or has to fetch it, owes nothing. Who fell silent with its own vote
 * in the certificate has to be told the proof by others. */
static size_t proof_due(const struct pbft_node *node, uint8_t *out)
{
    const struct kept_snapshot *kept = final_state(node);
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    if (kept != NULL) {
        if (node->config.pages != NULL && node->flushed < kept->seq) return 0;
        struct pbft_epoch_change change = node->change;
        struct pbft_signatures certificate;
        change.root = kept->root;
        pbft_core_stable_proof(node->core, &certificate);
        if (!node_silenced(node, certificate.signers))
            return pbft_epoch_proof(&change, &certificate, out);
    } else if (info.own_checkpoint >= node->told_seq && !info.transferring) {
        return 0;
    }
    if (node->told == NULL) return 0;
    struct pbft_span told = pbft_frame_span(node->told);
    memcpy(out, told.data, told.size);
    return told.size;
}

void node_epoch_check(struct pbft_node *node)
{
    if (node->epoch_over || (node->told == NULL && !node_is_last(node, node->stable_seq))) return;
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    size_t size = proof_due(node, proof);
    if (size == 0) return;
    struct pbft_frame *frame = pbft_frame_copy(node->config.pool, (struct pbft_span){proof, size});
    if (frame == NULL) return; /* the next step comes back */
    node->epoch_over = true;
    node_divergence_left(node);
    node_output_epoch(node, frame);
}

/* ---- told by others ---- */

/* The CHECKPOINTs of a proof are a certificate like any other. */
static void tell_core(struct pbft_node *node, const struct pbft_epoch_change *change,
                      struct pbft_span proof)
{
    struct pbft_msg msg = {.type = PBFT_CERTIFICATE};
    msg.certificate.kind = PBFT_CERT_CHECKPOINT;
    msg.certificate.seq = change->seq;
    pbft_epoch_digest(change, &msg.certificate.digest);
    pbft_epoch_signatures(proof, &msg.certificate.signatures);
    struct pbft_frame *frame = node_encode(node, &msg);
    if (frame == NULL) return; /* whoever told us does so again */
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE};
    event.message.msg = &msg;
    event.message.frame = frame;
    event.message.from = node->id == 0 ? 1 : 0; /* nobody is to blame for it */
    node_step(node, &event);
    pbft_frame_release(frame);
}

void pbft_node_told(struct pbft_node *node, struct pbft_time time, struct pbft_span proof)
{
    node_set_time(node, time);
    if (node->epoch_over || node->told != NULL || node->storage_failed) return;
    struct pbft_epoch_change change;
    if (pbft_epoch_check(node->cluster, node->config.signer, proof, &change) != PBFT_OK) return;
    node->told = pbft_frame_copy(node->config.pool, proof);
    if (node->told == NULL) return;
    node->told_seq = change.seq;
    tell_core(node, &change, proof);
    node_settle(node);
}

struct pbft_apply *pbft_node_take_state(struct pbft_node *node)
{
    PBFT_ASSERT(pbft_node_jobs_running(node) == 0);
    apply_side_forget(&node->side);
    struct pbft_apply *apply = node->side.apply;
    node->side.apply = NULL;
    return apply;
}

void node_epoch_free(struct pbft_node *node)
{
    pbft_frame_release(node->told);
}
