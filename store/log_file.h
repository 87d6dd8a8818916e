/**
 * store/log_file.h - the vote log on a disk: preallocated, checksummed segments (NOTES 0.6).
 *
 * Files `log-%016x`, numbered from 1 without gaps, each written in full before it gets its name:
 *
 *   0      header, 512 bytes: whose log, which segment, a random salt, and a hash of all that
 *   512    cut mark, 512 bytes: zeros, or which carry-over stands in for all earlier segments
 *   1024   commits. Each starts at a multiple of 512, so that no later write touches a sector that
 *          was synced, and is: BEGIN, records, END. The last commit of a full segment is followed
 *          by NEXT, which is synced before the next segment takes its first commit.
 *
 * A file is a multiple of 4096 bytes long, and a commit leaves 512 of them for NEXT; what has less
 * was made by somebody else, and is damaged. BEGIN, END and NEXT have no payload.
 *
 * A record is sum u64, length u32, kind u32, lsn u64, commit u64, payload, zeros up to a multiple
 * of 8; little-endian; the sum is SipHash-2-4 of all the rest, keyed with the segment's salt: what
 * a recycled or foreign segment left, and what a client wrote into a value, is never a valid
 * record.
 *
 * Commits are numbered, and a number is used again only until its sync has succeeded. So a valid
 * record of commit c + 1 proves that commit c was synced; the BEGIN of c + 1 is written, without a
 * sync of its own, as soon as it was. That is how an ordinary crash, which leaves any part of one
 * unsynced commit, differs from damage.
 */
#ifndef PBFT_STORE_LOG_FILE_H
#define PBFT_STORE_LOG_FILE_H

#include "store/disk.h"
#include "store/log.h"
#include "store/superblock.h"

#define PBFT_LOG_SEGMENT_MIN  (8u << 10)
#define PBFT_LOG_SEGMENT_MAX  (1u << 30)
#define PBFT_LOG_SEGMENTS_MIN 8u /* bytes_max / segment_bytes, at least */
#define PBFT_LOG_SEGMENTS_MAX 1024u

struct pbft_log_file_config {
    struct pbft_disk *disk; /* outlives the log; nobody else uses it meanwhile */
    struct pbft_superblock_owner owner;
    /**
     * true: mode "sync". false: mode "async", in which a commit is written and never synced:
     * "durable" then means that it survives the end of the process, not of the machine. A replica
     * that starts again in this mode is mute (PROTOCOL 29).
     */
    bool sync;
    uint64_t segment_bytes; /* a multiple of 4096; a record that is larger gets its own */
    uint64_t bytes_max;     /* cap on all files together, 8 .. 1024 segments; for a record
                               of m bytes at least 2 m + 5 segments */
    uint8_t entropy[32];    /* random, fresh for each create and open: salts come from it */
    /* Set by any thread: check, read and open end soon with PBFT_STATUS_REFUSED, and nothing has
     * changed. NULL: never. */
    const _Atomic bool *cancel;
    pbft_log_durable_fn *durable; /* called from poll; not needed by create and check */
    void *context;
};

enum pbft_log_found {
    PBFT_LOG_MISSING, /* no log: wiped, or never created */
    PBFT_LOG_FRESH,   /* created and never used */
    PBFT_LOG_INTACT,
    PBFT_LOG_TORN,    /* ends within a commit that was never completed: an ordinary crash */
    PBFT_LOG_DAMAGED, /* what was synced is not there, or not as it was */
    PBFT_LOG_FOREIGN, /* of another cluster, replica or key */
    PBFT_LOG_FUTURE,  /* of a later format version */
};

struct pbft_log_file_report {
    enum pbft_log_found found;
    pbft_lsn first, last; /* of the records held; first > last: none */
    uint64_t segments;
    char text[200]; /* one sentence for people */
};

/* Whether a replica may vote on what was found: anything else is amnesia (PROTOCOL 29). */
bool pbft_log_found_usable(enum pbft_log_found found);

/* Whether the log gives a file this name: a segment's, or that of one that waits for its number. */
bool pbft_log_file_named(const char *name);

/**
 * Create an empty log, durably: where a superblock is created, and never else (PROTOCOL 29).
 * Returns PBFT_STATUS_EXISTS if there is any segment, PBFT_STATUS_ARGUMENT, or the disk's statuses.
 */
enum pbft_status pbft_log_file_create(const struct pbft_log_file_config *config) PBFT_MUST_USE;

/* Read everything and say what was found; changes nothing. Returns PBFT_STATUS_OK whatever that is;
 * else PBFT_STATUS_ARGUMENT, PBFT_STATUS_MEMORY, or why the disk could not be read. */
enum pbft_status pbft_log_file_check(const struct pbft_log_file_config *config,
                                     struct pbft_log_file_report *report) PBFT_MUST_USE;

/**
 * The same, and all records that can be told from damage, in the order of their lsns; behind a bad
 * one those of the next segment follow, so that lsns may be missing. Changes nothing. A log that is
 * missing, foreign or of the future has none. `durable` of a record means nothing here; visit may
 * stop.
 */
enum pbft_status pbft_log_file_read(const struct pbft_log_file_config *config,
                                    struct pbft_log_file_report *report, pbft_log_visit_fn *visit,
                                    void *context) PBFT_MUST_USE;

/**
 * Check, and open what a replica may vote on. All records that are then held are durable: the last
 * commit is written and synced again, for an earlier process may have died over its sync, and an
 * incomplete one is closed, so that what else is left of it never comes back. An interrupted cut is
 * completed. The caller holds the directory's lock (store/superblock.h).
 *
 * Lsns are consecutive: the first record ever has 1, each other one that of the record before plus
 * 1, else append() returns PBFT_STATUS_ARGUMENT, as it does for kinds from 0xffffff00 on. After a
 * restart the records held may begin a little before the carry-over of the last cut.
 * iterate() reads from the disk, with memory for one record, and not while pbft_log_commit() runs;
 * false is also returned if reading fails.
 *
 * Returns PBFT_STATUS_NOT_FOUND  no log: it is never created here
 *         PBFT_STATUS_CORRUPT    not usable: the report says why
 *         PBFT_STATUS_ARGUMENT, PBFT_STATUS_MEMORY, the disk's statuses
 */
enum pbft_status pbft_log_file_open(struct pbft_log **out,
                                    const struct pbft_log_file_config *config,
                                    struct pbft_log_file_report *report) PBFT_MUST_USE;

#endif
