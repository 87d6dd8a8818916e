/**
 * replica/epochs.h - which epoch a data directory is in (PROTOCOL 29).
 *
 *     DIR/epochs     the proofs of all epochs since genesis (crypto/epoch_file.h). Without it: the
 *                    first epoch
 *     DIR/epoch-N/   superblock, lock, vote log and checkpoint of epoch N (replica/data.h); those
 *                    of the first epoch lie in DIR itself
 *
 * An epoch begins when DIR/epochs names it, and what it needs is on the disk by then; what is left
 * of the one before goes afterwards. A crash at any time leaves either the old one or the new one.
 */
#ifndef PBFT_REPLICA_EPOCHS_H
#define PBFT_REPLICA_EPOCHS_H

#include "crypto/epoch.h"
#include "replica/config.h"

/* Where the files of this epoch lie. `out` takes PBFT_CONFIG_PATH_MAX + 32 bytes. */
void pbft_epochs_path(const char *dir, pbft_epoch epoch, char *out);

/**
 * Follow the proofs in DIR/epochs, if there are any: `cluster` is genesis' and becomes that of the
 * present epoch (pbft_epoch_free()).
 *
 * error    one sentence
 * Returns  PBFT_STATUS_OK; PBFT_STATUS_CORRUPT: damaged, of a later version, or of another cluster;
 *          PBFT_STATUS_MEMORY, _PERMISSION, _IO
 */
enum pbft_status pbft_epochs_load(const char *dir, struct pbft_cluster *cluster,
                                  char error[256]) PBFT_MUST_USE;

struct pbft_epochs_begin {
    const char *dir;                 /* made if it is not there */
    const struct pbft_cluster *next; /* of the epoch that begins */
    pbft_id id;
    bool keep_pages; /* the key is the same: the checkpoint of the epoch before is used on */
    bool forgets;    /* ... and the key has lost its memory: it stays mute */
};

/**
 * Begin it, durably: a fresh vote log and superblock, then DIR/epochs. The data directory is in use
 * by nobody else, or was never used.
 *
 * What an attempt that was cut short has left is made anew. What a replica was started on is not:
 * if DIR/epochs was lost since, it stays as it is, and is mute.
 *
 * out      the new epoch's superblock, open and locked; NULL is allowed
 * Returns  PBFT_STATUS_OK; PBFT_STATUS_EXISTS: it, or a later one, has begun here already, and
 *          nothing is changed; PBFT_STATUS_REFUSED: DIR holds data of another replica or
 *          cluster, or is in use; _CORRUPT: the superblock that lies there is damaged; _FULL,
 *          _PERMISSION, _IO, _MEMORY; the old epoch goes on then
 */
enum pbft_status pbft_epochs_begin(const struct pbft_epochs_begin *begin,
                                   struct pbft_superblock **out, char error[256]) PBFT_MUST_USE;

/* Whether a process runs on it, in whatever epoch: no proof is read. The caller does not. */
bool pbft_epochs_in_use(const char *dir);

/* Remove what other epochs left behind. What cannot be removed stays, and does no harm. */
void pbft_epochs_tidy(const char *dir, pbft_epoch present);

#endif
