/**
 * bench/chain/file.h - the best chain as a file, and whether such a file is what it claims to be.
 *
 *     8 "PBFTCHN1", 40 parameters (block.h), u64 count, count * (u32 size, block), from height 1 on
 */
#ifndef PBFT_BENCH_CHAIN_FILE_H
#define PBFT_BENCH_CHAIN_FILE_H

#include "bench/chain/tree.h"

/* Replaces `path`, durably. `error` takes one sentence. */
PBFT_MUST_USE enum pbft_status chain_file_write(const char *path, const struct chain_tree *tree,
                                                char error[256]);

struct chain_file_report {
    struct chain_params params;
    uint64_t blocks, operations; /* up to the first that is wrong */
    double work;                 /* hashes */
    struct pbft_digest tip;
};

/**
 * Check everything: form, parameters, links, work, targets, times, Merkle roots, signatures, and
 * that no request number is executed twice.
 *
 * now_ms   blocks may not be further ahead of it than the parameters allow
 * error    one sentence that names the first thing that is wrong
 * Returns  PBFT_STATUS_OK; REFUSED: well-formed, but it breaks a rule; CORRUPT: not a chain file,
 * or damaged; NOT_FOUND, PERMISSION, IO, MEMORY
 */
PBFT_MUST_USE enum pbft_status chain_file_verify(const char *path, uint64_t now_ms,
                                                 struct chain_file_report *out, char error[256]);

#endif
