/**
 * store/superblock.h - DIR/superblock: whose data directory this is, and how often a replica has
 * started on it (PROTOCOL 29).
 *
 * `pbftctl init`, a restore and the beginning of an epoch create it, a start of `pbftd` never does:
 * that is how a first boot and a wiped disk differ.
 * Every start is marked before anything is sent. What votes without keeping them on disk, as memory
 * and async durability do, makes every later start amnesia, and the replica mute. All writes go to
 * a temporary file first, and file and directory are synced.
 *
 * File, 128 bytes, little-endian: magic "PBFTSUPR", u32 version 2, u32 replica, u64 starts,
 * cluster id[32], fingerprint of the public key[32], u64 starts that forget,
 * pbft_hash("pbft-superblock", all of that)[32]. Magic, version and a hash at the end are there in
 * every version to come.
 */
#ifndef PBFT_STORE_SUPERBLOCK_H
#define PBFT_STORE_SUPERBLOCK_H

#include "pbft/types.h"

struct pbft_superblock;

/* Who a data directory belongs to. */
struct pbft_superblock_owner {
    struct pbft_digest cluster_id;
    pbft_id replica;
    struct pbft_digest key_fingerprint; /* of the replica's public key, as the caller defines it */
};

/**
 * Create DIR/superblock with no starts. DIR exists. An existing one is never overwritten.
 *
 * Returns PBFT_STATUS_EXISTS, PBFT_STATUS_NOT_FOUND (no such directory), PBFT_STATUS_PERMISSION,
 *         PBFT_STATUS_ARGUMENT (path too long), PBFT_STATUS_IO.
 */
enum pbft_status pbft_superblock_create(const char *dir,
                                        const struct pbft_superblock_owner *owner) PBFT_MUST_USE;

/**
 * Open DIR/superblock, check it, and lock the directory (DIR/lock) against another process: two
 * replicas with one key would equivocate. The lock is held until close, or the process ends.
 *
 * starts  how many starts were marked before this one; may be NULL
 * Returns PBFT_STATUS_NOT_FOUND  no superblock: never initialised, or wiped
 *         PBFT_STATUS_CORRUPT    damaged, of an older version, or of another cluster, replica or
 *                                key
 *         PBFT_STATUS_LATER      of a format version that came after ours
 *         PBFT_STATUS_REFUSED    in use by another process
 *         PBFT_STATUS_PERMISSION, PBFT_STATUS_ARGUMENT, PBFT_STATUS_MEMORY, PBFT_STATUS_IO
 */
enum pbft_status pbft_superblock_open(struct pbft_superblock **out, const char *dir,
                                      const struct pbft_superblock_owner *owner,
                                      uint64_t *starts) PBFT_MUST_USE;

/**
 * Count this start, durably. Once for each open. On any failure the replica must not send.
 *
 * forgets  it will vote, and its votes do not survive the process, or the machine
 * Returns PBFT_STATUS_REFUSED if it was marked already, PBFT_STATUS_FULL, PBFT_STATUS_PERMISSION,
 *         PBFT_STATUS_IO.
 */
enum pbft_status pbft_superblock_mark_start(struct pbft_superblock *superblock,
                                            bool forgets) PBFT_MUST_USE;

/* This start, marked as one that remembers or not marked for want of room, has turned out to be
 * amnesia (PROTOCOL 29): durably one that forgets. PBFT_STATUS_PERMISSION, _FULL, _IO: it is not,
 * and this is to be tried again. */
enum pbft_status pbft_superblock_mark_amnesia(struct pbft_superblock *superblock) PBFT_MUST_USE;

/* Starts marked so far, this one included once it is marked. */
uint64_t pbft_superblock_starts(const struct pbft_superblock *superblock);
/* Those among them that forget: more than 0 is amnesia (PROTOCOL 29). */
uint64_t pbft_superblock_forgot(const struct pbft_superblock *superblock);

/* ---- for a check: nothing is created, locked or changed ---- */

struct pbft_superblock_info {
    uint32_t version; /* of the file; what follows is filled if this is version 2 */
    struct pbft_superblock_owner owner;
    uint64_t starts, forgot;
};

/**
 * Read DIR/superblock, whoever it belongs to.
 * Returns PBFT_STATUS_CORRUPT: damaged, or of an older version (info->version, 0: damaged);
 *         PBFT_STATUS_LATER: of a later one; PBFT_STATUS_NOT_FOUND, PBFT_STATUS_PERMISSION,
 *         PBFT_STATUS_IO
 */
enum pbft_status pbft_superblock_look(const char *dir,
                                      struct pbft_superblock_info *info) PBFT_MUST_USE;

/* Whether another process has DIR open at this moment. No lock is taken. Statuses as above. */
enum pbft_status pbft_superblock_in_use(const char *dir, bool *in_use) PBFT_MUST_USE;

/* Unlock and free. NULL is allowed. */
void pbft_superblock_close(struct pbft_superblock *superblock);

#endif
