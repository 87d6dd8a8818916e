/**
 * crypto/files.h - what keys, proofs, the store and epochs ask of a real file system alike. Where
 * something fails, errno is what the system said.
 */
#ifndef PBFT_CRYPTO_FILES_H
#define PBFT_CRYPTO_FILES_H

#include "pbft/types.h"

#include <errno.h>

/**
 * What an errno means: PBFT_STATUS_NOT_FOUND, PBFT_STATUS_EXISTS, PBFT_STATUS_PERMISSION (also a
 * symbolic link where O_NOFOLLOW forbids one), PBFT_STATUS_FULL (no room, over quota),
 * PBFT_STATUS_MEMORY, PBFT_STATUS_ARGUMENT (a name that is too long), else PBFT_STATUS_IO; never
 * PBFT_STATUS_OK, as whoever analyzes its callers has to see.
 */
PBFT_MUST_USE static inline enum pbft_status pbft_file_status(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return PBFT_STATUS_NOT_FOUND;
    case EEXIST: return PBFT_STATUS_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: return PBFT_STATUS_PERMISSION;
    case ENOSPC:
    case EDQUOT: return PBFT_STATUS_FULL;
    case ENOMEM: return PBFT_STATUS_MEMORY;
    case ENAMETOOLONG: return PBFT_STATUS_ARGUMENT;
    default: return PBFT_STATUS_IO;
    }
}

/* All of it, from where the file stands on; nothing is synced. */
enum pbft_status pbft_file_write(int fd, const void *bytes, size_t size) PBFT_MUST_USE;

/* What has been created, renamed and removed in the folder lasts (FAULTS 2.40). */
enum pbft_status pbft_folder_sync(const char *folder) PBFT_MUST_USE;

/* The same for the folder that `path` lies in, which need not exist itself. */
enum pbft_status pbft_folder_sync_of(const char *path) PBFT_MUST_USE;

#endif
