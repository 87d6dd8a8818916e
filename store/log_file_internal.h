/* What the parts of the vote log on disk share: bytes (log_format.c), reading (log_scan.c), the
 * half that blocks (log_write.c), the half that does not (log_file.c). */
#ifndef PBFT_STORE_LOG_FILE_INTERNAL_H
#define PBFT_STORE_LOG_FILE_INTERNAL_H

#include "store/log_file.h"

#include <stdatomic.h>

#define LOG_SECTOR      512u
#define LOG_MARK        512u  /* offset of the cut mark */
#define LOG_DATA        1024u /* offset of the first commit */
#define LOG_BLOCK       4096u /* every segment's size is a multiple of it */
#define LOG_RECORD_HEAD 32u
#define LOG_SALT_BYTES  16u
#define LOG_NAME_BYTES  24u
#define LOG_KINDS       0xffffff00u /* from here on our own */
#define LOG_KIND_BEGIN  0xffffff01u
#define LOG_KIND_END    0xffffff02u
#define LOG_KIND_NEXT   0xffffff03u
#define LOG_SPARE       "log-spare" /* a segment that a cut freed */
#define LOG_NEW         "log-new"   /* one that has no name yet */

struct segment {
    uint64_t number;
    uint64_t size;         /* bytes of the file */
    pbft_lsn first;        /* of its first record */
    uint64_t first_commit; /* number of its first commit */
    uint8_t salt[LOG_SALT_BYTES];
};

struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
};

/* A record as it lies on disk, or in a queue: there the commit field is 1 if a segment is to begin
 * with it, else 0, and the sum is not there yet. */
struct record_head {
    uint64_t sum;
    uint32_t length, kind;
    pbft_lsn lsn;
    uint64_t commit;
};

/* ---- log_format.c ---- */

bool log_buffer_reserve(struct buffer *buffer, size_t more);
void log_buffer_free(struct buffer *buffer);

static inline uint64_t log_round_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static inline uint64_t log_record_bytes(uint32_t length)
{
    return LOG_RECORD_HEAD + log_round_up(length, 8);
}

void log_segment_name(char out[LOG_NAME_BYTES], uint64_t number);
/* The number in a segment's name; 0: not a segment's name. */
uint64_t log_segment_number(const char *name);

void log_header_encode(uint8_t out[LOG_SECTOR], const struct pbft_superblock_owner *owner,
                       const struct segment *segment);
/* PBFT_LOG_INTACT, PBFT_LOG_DAMAGED, PBFT_LOG_FOREIGN or PBFT_LOG_FUTURE. */
enum pbft_log_found log_header_decode(const uint8_t data[LOG_SECTOR],
                                      const struct pbft_superblock_owner *owner,
                                      struct segment *segment);

void log_mark_encode(uint8_t out[LOG_SECTOR], const struct segment *segment, pbft_lsn first,
                     pbft_lsn last);
bool log_mark_decode(const uint8_t data[LOG_SECTOR], const struct segment *segment, pbft_lsn *first,
                     pbft_lsn *last);

void log_record_head_put(uint8_t *out, const struct record_head *head);
struct record_head log_record_head_get(const uint8_t *record);
/* Commit number and sum into a record that is complete otherwise. */
void log_record_seal(uint8_t *record, const struct segment *segment, uint64_t commit);
/* `record` is as long as its head says. */
bool log_record_valid(const uint8_t *record, const struct segment *segment);
/* One of our own, without payload, behind the others; false: no memory. */
bool log_record_mark(struct buffer *out, const struct segment *segment, uint32_t kind, pbft_lsn lsn,
                     uint64_t commit);

/* ---- the half that blocks: log_write.c ---- */

struct writer {
    struct pbft_log_file_config config;
    struct segment segments[PBFT_LOG_SEGMENTS_MAX]; /* oldest first; the last one is active */
    size_t count;
    struct pbft_disk_file *file; /* the active one's */
    uint64_t end;                /* where the next commit begins: a multiple of LOG_SECTOR */
    uint64_t commit;             /* its number */
    pbft_lsn last;               /* newest record of a completed commit */
    bool spare;                  /* there is a LOG_SPARE */

    struct buffer sealed;         /* what the commit under way is to make durable */
    size_t done;                  /* bytes of it that are */
    pbft_lsn target;              /* its newest record */
    pbft_lsn cut_first, cut_last; /* carry-over of a cut to be carried out; 0: none */
    struct buffer run;            /* on its way to the disk */
};

/* The sealed records written and synced, after the cut. PBFT_STATUS_FULL: may be tried again. */
enum pbft_status log_writer_commit(struct writer *w);
/* Name the segment that follows the last one, durably, and make it the active one. */
enum pbft_status log_writer_add_segment(struct writer *w, uint64_t record);
enum pbft_status log_writer_cut(struct writer *w);
/* The first segment's cut mark once more, synced, before what it replaces goes. */
enum pbft_status log_writer_repeat_mark(struct writer *w, pbft_lsn first, pbft_lsn last);
enum pbft_status log_writer_sync(const struct writer *w, struct pbft_disk_file *file);
void log_writer_free(struct writer *w);

/* ---- reading: log_scan.c ---- */

/* Walks the records of a segment in order. */
struct cursor {
    const struct segment *segment;
    struct pbft_disk_file *file;
    uint64_t at;          /* offset of the next record */
    pbft_lsn last;        /* newest record so far */
    uint64_t commit;      /* number of the commit that is open, or comes next */
    uint64_t start;       /* where it begins */
    uint64_t previous;    /* where the last complete one begins; 0: none in this segment */
    bool open;            /* within a commit */
    bool closed;          /* by a NEXT */
    struct buffer window; /* bytes of the file from window_at on */
    uint64_t window_at;
};

/* Open the segment's file and stand before its first record. log_cursor_end() in every case. */
enum pbft_status log_cursor_begin(struct cursor *c, struct pbft_disk *disk,
                                  const struct segment *segment);
/* The next step; *record is NULL for one of our own. *more false: no valid record follows. */
enum pbft_status log_cursor_next(struct cursor *c, const uint8_t **record, bool *more);
void log_cursor_end(struct cursor *c);

struct listing;

struct scan {
    struct pbft_log_file_report *report;
    pbft_lsn cut_first, cut_last; /* of the cut mark in the first segment; 0: none */
    struct listing *listing;      /* numbers of all segments, sorted */
    size_t base;                  /* those before this one were cut away */
    uint64_t next_at;             /* where the NEXT of the last segment but one belongs */
    struct cursor tail;           /* where the last segment's valid records end */
    bool stale; /* behind that there is something of the commit that was under way */
};

/* Fills the writer's segments, and the report. The tail's file stays open. log_scan_end() always.
 */
enum pbft_status log_scan_run(struct scan *scan, struct writer *w);
void log_scan_end(struct scan *scan);
/* Makes what was found fit for new commits. */
enum pbft_status log_scan_repair(struct scan *scan, struct writer *w);

/* ---- the half that never blocks: log_file.c ---- */

enum commit_state { COMMIT_NONE, COMMIT_SEALED, COMMIT_ENDED };

/* What the owner knows of a segment while the writer is at work. */
struct shadow {
    pbft_lsn first;
    uint64_t size;
};

struct file_log {
    struct pbft_log base;
    struct buffer queue;
    pbft_lsn first, last, durable, asked;
    pbft_lsn cut_first, cut_last; /* for the next commit */
    struct shadow shadows[PBFT_LOG_SEGMENTS_MAX];
    size_t shadow_count;
    uint64_t active_used; /* bytes of the last of them */
    uint64_t commits;
    uint64_t pending; /* sealed bytes that are not durable yet */
    pbft_log_durable_fn *report;
    void *context;
    bool roll;   /* the next record begins a segment */
    bool rolled; /* a queued one does */
    bool dead, polling;
    _Atomic int state;         /* enum commit_state: hands the writer over and back */
    enum pbft_status result;   /* of the commit that ended */
    enum pbft_status reported; /* of the last one that the owner heard of */
    struct writer writer;      /* the owner's only while state is not COMMIT_SEALED */
};

#endif
