/**
 * store/log.h - the vote log: what a replica must not forget (FAULTS 4.4, PROTOCOL 25 - 27).
 *
 * Records are opaque bytes with a kind and a log sequence number that the caller chooses, strictly
 * increasing. append() and sync() never wait. A commit makes durable all that was appended before
 * it began, and is reported later, from pbft_log_poll(): one commit at a time, so all that queues
 * up meanwhile shares the next one (group commit).
 *
 * One thread owns a log. What blocks is in pbft_log_commit() alone, which another thread may run.
 * Implementations are tables of functions: pbft_log_memory_create() is here, the one on disk is
 * store/log_file.h.
 */
#ifndef PBFT_STORE_LOG_H
#define PBFT_STORE_LOG_H

#include "pbft/types.h"

#define PBFT_LOG_RECORD_MAX (64u << 20) /* bytes of one record */

struct pbft_log;

struct pbft_log_record {
    pbft_lsn lsn;
    uint32_t kind;
    bool durable;
    struct pbft_span payload; /* borrowed: see who hands it out */
};

struct pbft_log_stats {
    pbft_lsn first;          /* oldest record held, 0: none */
    pbft_lsn last;           /* newest lsn ever appended, 0: none */
    pbft_lsn durable;        /* all up to this one are durable */
    uint64_t records;        /* held */
    uint64_t bytes;          /* held, with what a record costs beside its payload */
    uint64_t bytes_max;      /* cap */
    uint64_t commits;        /* completed */
    bool committing;         /* a commit is under way */
    enum pbft_status result; /* of the last one that was reported */
};

/**
 * A commit has ended. status PBFT_STATUS_OK: all records up to `durable` are. PBFT_STATUS_FULL: the
 * disk has no room (FAULTS 2.42); nothing more is durable, nothing is lost, and the next sync tries
 * the same records again, after what was cut meanwhile has made room. Anything else: the log is
 * dead, no commit is ever tried again (FAULTS 2.41) and the replica must stop.
 */
typedef void pbft_log_durable_fn(void *context, enum pbft_status status, pbft_lsn durable);

/* Return false to stop. The record lives for the call, which must not change the log. */
typedef bool pbft_log_visit_fn(void *context, const struct pbft_log_record *record);

/* What an implementation provides; the wrappers below say what each must do. */
struct pbft_log_ops {
    const char *name; /* the durability mode: "memory", "async", "sync" */
    enum pbft_status (*append)(struct pbft_log *log, uint32_t kind, pbft_lsn lsn,
                               const struct pbft_span *parts, size_t count);
    enum pbft_status (*sync)(struct pbft_log *log);
    void (*commit)(struct pbft_log *log); /* NULL: nothing to do */
    bool (*poll)(struct pbft_log *log);
    bool (*iterate)(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context);
    enum pbft_status (*cut)(struct pbft_log *log, pbft_lsn first, pbft_lsn last);
    void (*roll)(struct pbft_log *log); /* NULL: nothing to do */
    void (*stats)(const struct pbft_log *log, struct pbft_log_stats *out);
    void (*close)(struct pbft_log *log);
};

/* First member of every implementation. */
struct pbft_log {
    const struct pbft_log_ops *ops;
};

/**
 * Append a record: the concatenation of the parts, copied. Never waits, is not durable yet.
 *
 * Returns PBFT_STATUS_ARGUMENT  lsn not greater than that of the last record, or a record too long
 *         PBFT_STATUS_FULL      beyond the cap: cut first; nothing was appended
 *         PBFT_STATUS_MEMORY    nothing was appended
 *         PBFT_STATUS_IO        the log is dead
 */
enum pbft_status pbft_log_append(struct pbft_log *log, uint32_t kind, pbft_lsn lsn,
                                 const struct pbft_span *parts, size_t count) PBFT_MUST_USE;

/**
 * Have all that was appended so far made durable. Begins a commit, or, if one is under way, asks
 * for another one after it. Never waits and never reports from within the call. With nothing new to
 * make durable it does nothing.
 * Returns PBFT_STATUS_IO if the log is dead.
 */
enum pbft_status pbft_log_sync(struct pbft_log *log) PBFT_MUST_USE;

/**
 * The half of a commit that blocks: write and sync what pbft_log_sync() sealed. To be called once
 * for each commit that is under way (stats.committing), on any thread; meanwhile the owner may
 * append, sync, poll, cut and take stats, not iterate nor close. With no commit under way it does
 * nothing.
 */
void pbft_log_commit(struct pbft_log *log);

/**
 * Report a commit that has ended, if there is one, to the function that the log was created with,
 * and begin the next one if it was asked for. The function may append and sync, not poll.
 * Returns whether a commit was reported.
 */
bool pbft_log_poll(struct pbft_log *log);

/* Visit the records held, durable or not, in the order of their lsns. False: visit stopped. */
bool pbft_log_iterate(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context);

/**
 * Forget everything before the carry-over, the records first .. last, which say what is still
 * needed of the past (PROTOCOL 26): they stay, with all that follows.
 *
 * Returns PBFT_STATUS_REFUSED, with nothing forgotten, unless the carry-over is durable; and
 *         PBFT_STATUS_ARGUMENT if the log holds no record first or no record last, or first > last.
 */
enum pbft_status pbft_log_cut(struct pbft_log *log, pbft_lsn first, pbft_lsn last) PBFT_MUST_USE;

/**
 * The next record begins a new segment: to be called before the first record of a carry-over, so
 * that a cut can do away with every older segment (PROTOCOL 26).
 */
void pbft_log_roll(struct pbft_log *log);

void pbft_log_stats(const struct pbft_log *log, struct pbft_log_stats *out);

/* Whether pbft_log_commit() waits for a disk, and wants a thread of its own. */
bool pbft_log_blocks(const struct pbft_log *log);

/* Durability mode, static. */
const char *pbft_log_name(const struct pbft_log *log);

/* Free the log. What was not durable is lost, an unreported commit is never reported.
 * NULL is allowed. */
void pbft_log_close(struct pbft_log *log);

/* ---- in memory ----------------------------------------------------------------------------- */

/**
 * A log in memory. A commit that sync began ends with the next poll: the driver decides when, so a
 * simulation can delay and batch it as it likes.
 *
 * bytes_max  cap on what the records take
 * durable    called from poll; not NULL
 * Returns PBFT_STATUS_ARGUMENT, PBFT_STATUS_MEMORY.
 */
enum pbft_status pbft_log_memory_create(struct pbft_log **out, uint64_t bytes_max,
                                        pbft_log_durable_fn *durable, void *context) PBFT_MUST_USE;

/* For a process whose log nobody reads back, since it ends with the process: from now on records
 * count as they did, but are not kept, and the log cannot be iterated. It is empty. */
void pbft_log_memory_forget(struct pbft_log *log);

/* Power loss, for simulations: records that are not durable are gone, a commit under way too. Lsns
 * of lost records may be used again. */
void pbft_log_memory_crash(struct pbft_log *log);

/* The commit under way, or the next, fails as a broken disk's would, for tests of FAULTS 2.41. */
void pbft_log_memory_break(struct pbft_log *log);

#endif
