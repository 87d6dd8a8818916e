/**
 * client/ctl/proofs.h - evidence that replicas hold, fetched from all of them, verified here, and
 * merged: nothing is believed because a replica says so.
 */
#ifndef PBFT_CLIENT_CTL_PROOFS_H
#define PBFT_CLIENT_CTL_PROOFS_H

#include "client/ctl/ctl.h"
#include "replica/config.h"
#include "replica/evidence.h"

/* One verified item. */
struct ctl_proof {
    struct pbft_evidence what;
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    uint8_t *file;
    size_t size;
    pbft_signers held_by;
    uint32_t items[PBFT_REPLICAS_MAX]; /* its number at each replica of held_by */
};

/* Distinct items, by culprit, type, view, sequence number and bytes: a position is a number that
 * lasts as long as nothing new is found. */
struct ctl_proofs {
    struct ctl_proof *items;
    size_t count;
    pbft_signers answered;  /* replicas that told what they hold */
    pbft_signers offenders; /* ... that offered an item that proves nothing */
    pbft_signers missing;   /* ... that did not hand over all of it in time */
};

/* cluster.conf of --cluster DIR (a cluster's folder or a client's), with the genesis root that
 * evidence about early view changes needs. CTL_OK, or the exit code after saying why. */
int ctl_cluster_load(const struct ctl_options *options, struct pbft_cluster_config *out);

/* What the client of --cluster DIR has followed since genesis, by the file of epochs beside its
 * client.conf: pbft_epoch_free(). Genesis itself if there is no file, and, with a sentence to
 * standard error, if it is of no use. */
void ctl_known_epochs(const struct ctl_options *options, const struct pbft_cluster *genesis,
                      struct pbft_cluster *out);

/* Ask every replica; what they show is judged by genesis and by what the client has followed by
 * then. False: out of memory. */
bool ctl_proofs_collect(struct ctl_proofs *out, struct pbft_client *client,
                        const struct pbft_cluster *cluster, uint64_t timeout_ns);
void ctl_proofs_free(struct ctl_proofs *proofs);
pbft_signers ctl_proofs_culprits(const struct ctl_proofs *proofs);

#endif
