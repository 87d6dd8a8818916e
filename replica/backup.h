/**
 * replica/backup.h - a certified checkpoint as one file: its certificate of q CHECKPOINTs and its
 * pages. Anyone with the cluster's genesis file can verify it, and needs nobody for that.
 *
 * File, little-endian, canonical (one byte string for a checkpoint and a certificate of it):
 *
 *     magic "PBFTSNAP", u32 version 2 (1, of before there were epochs, had no proofs)
 *     cluster id[32], u32 epoch, u64 sequence number, root[32]
 *     u32 size of the certificate, a CERTIFICATE frame
 *     u32 count of epoch proofs: as many as the epoch's number; the proofs (crypto/epoch.h)
 *     u64 count of pages, then each as (u32 size, canonical bytes): the root first, each page
 *     followed by all below it, child 0 first
 *     pbft_hash("pbft-snapshot", all of that)[32]
 *
 * Pages are believed because they have the hash that their parent names, up to the certified root;
 * the closing hash only tells an accident from a forgery, and covers what nobody signed.
 */
#ifndef PBFT_REPLICA_BACKUP_H
#define PBFT_REPLICA_BACKUP_H

#include "crypto/epoch.h"
#include "crypto/signer.h"
#include "store/pages.h"

#include <stdio.h>

#define PBFT_BACKUP_HEAD_BYTES 92u /* up to the certificate */

struct pbft_backup {
    struct pbft_digest cluster_id;
    pbft_epoch epoch;
    struct pbft_pages_checkpoint checkpoint; /* seq, root, certificate */
    uint64_t pages, page_bytes;
    /* How the cluster came from genesis to that epoch. Written: borrowed. Read: the caller's,
     * pbft_backup_free(). NULL in the first epoch. */
    uint8_t *proofs;
    size_t proofs_size;
    struct pbft_public_key replicas[PBFT_REPLICAS_MAX]; /* read: in that epoch */
};
void pbft_backup_free(struct pbft_backup *backup); /* what was read */

/**
 * Whether a frame is the certificate of a checkpoint, by q replicas of this cluster: the checks of
 * crypto/door.h. On true *seq and *root say of which.
 */
bool pbft_backup_certified(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                           struct pbft_span frame, pbft_seq *seq, struct pbft_digest *root);

/* Told after each page. */
typedef void (*pbft_backup_progress)(void *context, uint64_t pages, uint64_t of);

/**
 * Write a file from its beginning to its end; it is not flushed. `backup` is complete but for
 * `pages` and `page_bytes`, which are set; the snapshot has its root.
 *
 * progress  may be NULL
 * Returns   PBFT_STATUS_ARGUMENT: the snapshot has another root; PBFT_STATUS_MEMORY,
 *           PBFT_STATUS_IO (errno says why)
 */
enum pbft_status pbft_backup_write(FILE *file, struct pbft_backup *backup,
                                   struct pbft_snapshot *snapshot, pbft_backup_progress progress,
                                   void *context) PBFT_MUST_USE;

/**
 * Read a file from anywhere, and believe nothing of it: memory grows only with pages that the
 * certificate leads to.
 *
 * cluster   genesis: the replicas that it leads to must have signed it
 * snapshot  takes the state, which the caller releases; may be NULL
 * error     one sentence without its full stop, 256 bytes
 * Returns   PBFT_STATUS_OK: certified, every page there and none too many;
 *           PBFT_STATUS_CORRUPT: refused; PBFT_STATUS_IO, PBFT_STATUS_MEMORY
 */
enum pbft_status pbft_backup_read(FILE *file, const struct pbft_cluster *cluster,
                                  const struct pbft_signer *signer, struct pbft_backup *backup,
                                  struct pbft_snapshot **snapshot, pbft_backup_progress progress,
                                  void *context, char error[256]) PBFT_MUST_USE;

#endif
