/* store/pages_verify.h - whether an LMDB file can be read, and is built as LMDB built it. */
#ifndef PBFT_STORE_PAGES_VERIFY_H
#define PBFT_STORE_PAGES_VERIFY_H

#include "pbft/types.h"

struct pbft_pages_verify_config {
    int fd; /* of the file; free pages alone may lie behind its end */
    uint32_t page_bytes;
    uint64_t txn; /* the newest transaction, its meta page is the one that counts */
    size_t count_key_bytes;
    const _Atomic bool *cancel; /* set by any thread: it ends soon; NULL: never */
};

/**
 * Look through the structure of an LMDB 0.9 file with one database: every page that the newest
 * transaction uses or calls free is within the file and has one place, every node is within its
 * page. LMDB follows what it finds: rot there would end the process, or have live pages
 * overwritten. Contents are not looked at.
 *
 * counted  how many records have keys of count_key_bytes
 * Returns  PBFT_STATUS_CORRUPT, PBFT_STATUS_MEMORY, PBFT_STATUS_IO; PBFT_STATUS_REFUSED: cancelled
 */
enum pbft_status pbft_pages_verify(const struct pbft_pages_verify_config *config,
                                   uint64_t *counted) PBFT_MUST_USE;

/**
 * Whether the two first pages are such as LMDB can begin with: it divides by what it finds there.
 * fd of a file of any length; nothing else of it is read.
 * Returns  PBFT_STATUS_CORRUPT, PBFT_STATUS_IO
 */
enum pbft_status pbft_pages_verify_head(int fd) PBFT_MUST_USE;

/**
 * Read every byte of a file once, by read(): where it is mapped, one that the disk does not give
 * ends the process. A hole has none, and may be as long as the disk is not: copies are made with
 * them.
 *
 * cancel   set by any thread: it ends soon; NULL: never
 * Returns  0, or errno: EIO is the disk's word; EINVAL: no plain file; ECANCELED
 */
int pbft_pages_read_through(const char *path, const _Atomic bool *cancel) PBFT_MUST_USE;

#endif
