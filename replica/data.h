/**
 * replica/data.h - a replica's data directory: superblock, vote log and checkpoints, and whether
 * whoever finds them so may vote (PROTOCOL 29).
 *
 *     superblock    whose this is, and how often it was started (store/superblock.h)
 *     lock          held by the process that uses it
 *     log-*         the vote log (store/log_file.h); `init` makes the first segment
 *     divergence-*.json  what was wrong with a state that was replaced (replica/divergence.h),
 *                   whatever the epoch, beside DIR/epochs
 *     pages.mdb     the last flushed checkpoint (store/pages.h); pages.mdb.damaged: one that could
 *                   not be read, and is fetched from the others; a start that finds it readable
 *                   before that takes it back
 *
 * One for each epoch: replica/epochs.h says where.
 */
#ifndef PBFT_REPLICA_DATA_H
#define PBFT_REPLICA_DATA_H

#include "replica/config.h"
#include "store/log.h"
#include "store/pages.h"

struct pbft_data_config {
    const char *dir;
    struct pbft_superblock_owner owner;
    enum pbft_durability durability;
    struct pbft_superblock *superblock; /* open */
    uint64_t frames_max_bytes;          /* the frame pool's; the log's cap follows from it */
    pbft_seq genesis_seq;               /* of the epoch: a checkpoint that no log precedes */
    bool restored;                      /* ... that the cluster was restored with, and lies here */
    const _Atomic bool *cancel;         /* set by any thread: opening ends soon; NULL: never */
};

struct pbft_data {
    struct pbft_disk *disk;
    struct pbft_log *log;     /* in memory for a mute replica: what is on the disk stays as it is */
    struct pbft_pages *pages; /* NULL unless durability is sync and the replica not mute */
    struct pbft_pages *genesis; /* the state of a restored cluster, to be read from here where
                                 * `pages` is NULL; NULL: there is none, or the replica is mute */
    bool mute;
    bool resumed;    /* the log holds records: pbft_node_restore() comes next */
    char why[400];   /* it is mute, and what to do; a sentence or two */
    char aside[200]; /* what was wrong with the pages, which were set aside; "": nothing was */
    bool taken_back; /* what an earlier start set aside can be read again: these are the pages */
};

/**
 * Make an empty vote log and then the superblock in DIR, which exists.
 * Returns PBFT_STATUS_EXISTS if there is any of it, PBFT_STATUS_FULL, _PERMISSION, _IO ...
 */
enum pbft_status pbft_data_create(const char *dir,
                                  const struct pbft_superblock_owner *owner) PBFT_MUST_USE;

/**
 * The same for a replica of a cluster that was restored: with the state that it begins with.
 * snapshot  its root is genesis_root
 * error     one sentence, PBFT_PAGES_ERROR_BYTES
 */
enum pbft_status pbft_data_create_with(const char *dir, const struct pbft_superblock_owner *owner,
                                       const struct pbft_cluster *cluster,
                                       struct pbft_snapshot *snapshot, char *error) PBFT_MUST_USE;

/* Whether that state is what DIR holds, by what it says; its pages are hashed when they are loaded.
 * why: one sentence without its full stop, 256 bytes. */
enum pbft_status pbft_data_check_genesis(const char *dir, const struct pbft_superblock_owner *owner,
                                         const struct pbft_cluster *cluster,
                                         char why[256]) PBFT_MUST_USE;

/**
 * Open what a start with this durability uses. Damage is no failure: the replica is mute.
 * error   one sentence, 256 bytes
 * Returns PBFT_STATUS_OK, or why not even a mute replica can start (memory, permissions);
 *         PBFT_STATUS_REFUSED: it was cancelled, also a load of the pages that were opened.
 */
enum pbft_status pbft_data_open(struct pbft_data *out, const struct pbft_data_config *config,
                                char error[256]) PBFT_MUST_USE;

/* The records turned out not to be those of this replica: mute from now on, with a log in memory.
 * The node that had the log is gone. */
enum pbft_status pbft_data_refuse(struct pbft_data *data,
                                  const struct pbft_data_config *config) PBFT_MUST_USE;

void pbft_data_close(struct pbft_data *data);

#endif
