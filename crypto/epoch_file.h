/**
 * crypto/epoch_file.h - what led from genesis to the present epoch, as a file (PROTOCOL 29).
 *
 * Little-endian: magic "PBFTEPOC", u32 version 1, u32 how many, the proofs of all epochs since
 * genesis (crypto/epoch.h), and pbft_hash("pbft-epochs", all of that), which tells damage early.
 * Every proof is verified at each start all the same, as one that comes from a stranger: the file
 * has no word for its cluster, and an epoch takes half a millisecond at n = 4 and six at n = 64,
 * for what an administrator does now and then. Whoever may write into the folder can thus take the
 * file away, or bring an older one, and, without q keys of an epoch, no more.
 */
#ifndef PBFT_CRYPTO_EPOCH_FILE_H
#define PBFT_CRYPTO_EPOCH_FILE_H

#include "crypto/epoch.h"

/**
 * Follow the proofs of a file.
 *
 * cluster  genesis'; becomes that of the file's last epoch (pbft_epoch_free()), or stays as it is
 * Returns  PBFT_STATUS_OK; NOT_FOUND; CORRUPT: not such a file, damaged, of a later version, or of
 *          another cluster; PERMISSION, IO, MEMORY
 */
PBFT_MUST_USE enum pbft_status pbft_epoch_file_load(const char *path, struct pbft_cluster *cluster);

/**
 * Which epoch it leads to, if it does: nothing is verified but that it is whole.
 *
 * cluster  of epoch 1 or later: a file with another history than this one is CORRUPT, too; NULL:
 *          any will do
 * Returns  the statuses of pbft_epoch_file_load()
 */
PBFT_MUST_USE enum pbft_status
pbft_epoch_file_look(const char *path, const struct pbft_cluster *cluster, pbft_epoch *epoch);

/**
 * Write it, in place of what is there, atomically and durably; mode 0600. PATH.tmp is used.
 *
 * cluster  of epoch 1 or later
 * Returns  PBFT_STATUS_OK; EXISTS: another process is writing it; PERMISSION, FULL, IO, MEMORY,
 *          NOT_FOUND (the folder)
 */
PBFT_MUST_USE enum pbft_status pbft_epoch_file_save(const char *path,
                                                    const struct pbft_cluster *cluster);

#endif
