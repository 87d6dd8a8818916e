/* Why a replica does not serve, the gravest reason first. */
#include "replica/ready.h"

#include "pbft/quorum.h"

#include <inttypes.h>
#include <stdio.h>

/* What it knows of itself. */
static const char *own_trouble(const struct pbft_ready_question *q, char mute[PBFT_UNREADY_BYTES])
{
    const struct pbft_node_info *info = q->node;
    if (q->stopping) return "stopping";
    if (info->storage_failed) return "the vote log has failed";
    if (info->core.mute) {
        (void)snprintf(mute, PBFT_UNREADY_BYTES,
                       "mute: it does not vote; `pbftctl replica replace %u` gives it a new key, "
                       "unless its log names another way",
                       (unsigned)q->id);
        return mute;
    }
    if (info->disk_full) return "the disk is full";
    if (info->diverged != 0)
        return "diverged: own state was not the certified one, which is being fetched";
    if (info->core.transferring) return "state transfer under way";
    if (!info->core.view_active) return "view change under way";
    return "";
}

void pbft_unready(const struct pbft_ready_question *q, char out[PBFT_UNREADY_BYTES])
{
    const struct pbft_core_info *core = &q->node->core;
    unsigned n = q->params->n, quorum = pbft_quorum(q->params->n), here = q->replicas_up + 1;
    unsigned heard = pbft_signers_count(core->heard);
    char mute[PBFT_UNREADY_BYTES];
    (void)snprintf(out, PBFT_UNREADY_BYTES, "%s", own_trouble(q, mute));
    if (out[0] != '\0') return;
    pbft_seq newest = core->stable > core->others_executed ? core->stable : core->others_executed;
    if (here < quorum)
        (void)snprintf(out, PBFT_UNREADY_BYTES, "%u of %u replicas connected, %u needed", here, n,
                       quorum);
    else if (heard + 1 < quorum)
        (void)snprintf(out, PBFT_UNREADY_BYTES,
                       "%u of %u other replicas have said what they have, %u needed", heard, n - 1,
                       quorum - 1);
    else if (newest > core->executed && newest - core->executed > q->params->checkpoint_interval)
        (void)snprintf(out, PBFT_UNREADY_BYTES, "behind: executed %" PRIu64 ", the others %" PRIu64,
                       core->executed, newest);
}
