/* The parts of the target tests/fuzz/log.c: the lives that logs have (life.c), and what is done to
 * their files (change.c). */
#ifndef PBFT_TESTS_FUZZ_LOG_H
#define PBFT_TESTS_FUZZ_LOG_H

#include "store/log_file_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/vdisk.h"

#define SEGMENT 8192u
#define LSNS    512u

struct life {
    struct vdisk *disk;
    struct pbft_log *log;
    uint8_t generation;
    uint8_t sizes[LSNS], generations[LSNS];
    pbft_lsn appended, durable, must_from;
    enum pbft_status status;
};

/* What was given out: one digest for all, so that two readings can be compared. */
struct seen {
    const struct life *life; /* NULL: nobody knows what should be there */
    pbft_lsn first, last;
    uint64_t count, sum;
    bool gaps;
};

/* ---- life.c ---- */

/* Once for the process: watches how much memory is asked for. */
void life_watch_memory(void);
struct pbft_log_file_config life_config(struct life *l);
enum pbft_status life_open(struct life *l);
/* Steps out of the input, on a log that is open. */
void life_run(struct life *l, struct fuzz *f);
/* What can be read without opening it, and whether it says so. `known`: all of it must have been
 * appended. */
struct seen read_all(struct life *l, bool known, struct pbft_log_file_report *found);
struct seen held(struct life *l, bool known);
/* What was opened holds what had been read, can be written to, and is the same when it is opened
 * again. */
void life_goes_on(struct life *l, bool known, const struct seen *before);

/* ---- change.c ---- */

/* In place of what has the name, synced. */
void put_file(struct life *l, const char *name, const uint8_t *bytes, size_t size);
/* Within one sector, or a whole file. */
void change(struct life *l, struct fuzz *f);
/* A field, records, a cut mark or a length, with checksums that hold; or a mere change. */
void tamper(struct life *l, struct fuzz *f);

#endif
