/**
 * replica/check_data.h - what `pbftd --check-data DIR` finds in a replica's data directory: the
 * superblock, every page of the checkpoint with its certificate, every record of the vote log with
 * each signature in it (PROTOCOL 25-30; FAULTS 2.38-2.47).
 *
 * It reads only: no lock, no start counted, nothing completed, repaired or created. What it reads
 * is hostile: damage ends in a sentence, never in a crash.
 */
#ifndef PBFT_REPLICA_CHECK_DATA_H
#define PBFT_REPLICA_CHECK_DATA_H

#include "crypto/cluster.h"
#include "pbft/frame.h"
#include "service/service.h"

#include <stdio.h>

struct pbft_check_config {
    const char *dir;                    /* the data directory: DIR of replica/data.h */
    const struct pbft_cluster *cluster; /* with its genesis root */
    pbft_id id;                         /* whose data these should be */
    const struct pbft_service *service; /* the cluster's */
    struct pbft_frame_pool *pool; /* for the state and the log's frames, one after the other */
    FILE *out;                    /* takes the report: one finding or figure a line */
};

/**
 * Check, and write the report. A torn tail of the log, pages that wait to be swept and a flush that
 * a crash cut short are ordinary.
 *
 * sentence  the result for people
 * Returns   PBFT_EXIT_CLEAN; PBFT_EXIT_DATA: damaged or foreign; PBFT_EXIT_FAILURE: a replica holds
 *           the data, or something could not be read
 */
int pbft_check_data(const struct pbft_check_config *config, char sentence[320]);

#endif
