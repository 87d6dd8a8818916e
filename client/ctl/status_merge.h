/**
 * client/ctl/status_merge.h - many replicas' answers about themselves into one status (DESIGN 6).
 * Pure: no I/O. Answers are hostile; nothing of them is shown before it was checked.
 */
#ifndef PBFT_CLIENT_CTL_STATUS_MERGE_H
#define PBFT_CLIENT_CTL_STATUS_MERGE_H

#include "crypto/cluster.h"

#include <jansson.h>

struct ctl_status_summary {
    uint32_t reachable;
    uint32_t active;  /* reachable, in `view` of `epoch`, taking part in it: it may and can vote */
    pbft_epoch epoch; /* in which most replicas are active; the latest of equals */
    pbft_view view;
    bool healthy; /* a quorum is active in one view */
};

/* The answer of replica `id` if it makes sense, else NULL; the caller decrefs. */
json_t *ctl_status_parse(const struct pbft_cluster *cluster, pbft_id id, struct pbft_span answer);

/**
 * Whom the replicas accuse. objects[id] is NULL for a replica that does not answer; those that do
 * have answered under one configuration.
 *
 * doubtful  takes those whom at most f accuse, or more when fewer than q answer at all: perhaps
 *           liars only, so their proof must be seen. f+1 keys of an epoch that is over may be in
 *           wrong hands, which a client that has not heard of the next one believes; f+1 of q that
 *           are let in may not (PROTOCOL 29)
 * Returns   those whom f+1 accuse: a correct one among them holds verified evidence (PROTOCOL 38)
 */
pbft_signers ctl_status_accused(uint32_t n, json_t *const objects[], pbft_signers *doubtful);

/* The object that `status --json` prints; the caller decrefs. NULL: out of memory. */
json_t *ctl_status_merge(const struct pbft_cluster *cluster, json_t *const objects[],
                         pbft_signers accused, struct ctl_status_summary *summary);

#define CTL_STATUS_NOTES_BYTES 512u

/* What is wrong with one of the `replicas`, and what to do, a line for people; "ok". */
void ctl_status_notes(const json_t *entry, char out[CTL_STATUS_NOTES_BYTES]);

#define CTL_STATUS_BAR_BYTES 128u

/* How far the replica's state transfer is, a line for people, out of one of the `replicas`. False:
 * there is none, or what it says of it makes no sense. */
bool ctl_status_bar(const json_t *entry, char out[CTL_STATUS_BAR_BYTES]);

#endif
