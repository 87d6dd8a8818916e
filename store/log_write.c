/* The half of the vote log on disk that blocks: cuts, commits, new segments. Order is everything
 * here: nothing is reported, removed or built upon before what it needs is synced. */
#include "store/log_file_internal.h"

#include "crypto/hash.h"
#include "pbft/wire.h"

#include <string.h>

#define RUN_BYTES (1u << 20) /* one write */

static struct segment *active_of(struct writer *w)
{
    return &w->segments[w->count - 1];
}

static const struct pbft_disk_ops *ops_of(const struct writer *w)
{
    return w->config.disk->ops;
}

enum pbft_status log_writer_sync(const struct writer *w, struct pbft_disk_file *file)
{
    return w->config.sync ? ops_of(w)->sync(file) : PBFT_STATUS_OK;
}

void log_writer_free(struct writer *w)
{
    if (w->file != NULL) ops_of(w)->close(w->file);
    w->file = NULL;
    log_buffer_free(&w->sealed);
    log_buffer_free(&w->run);
}

/* ---- commits ---- */

/* How many of the sealed bytes go into the active segment as one commit. */
static size_t batch_size(const struct writer *w)
{
    uint64_t room = w->segments[w->count - 1].size - w->end;
    uint64_t used = 2 * (uint64_t)LOG_RECORD_HEAD; /* BEGIN and END */
    size_t at = w->done;
    while (at < w->sealed.size) {
        struct record_head head = log_record_head_get(w->sealed.bytes + at);
        uint64_t bytes = log_record_bytes(head.length);
        bool first = at == w->done && w->end == LOG_DATA;
        if (head.commit != 0 && !first) break;
        /* A sector stays for NEXT. */
        if (log_round_up(used + bytes, LOG_SECTOR) + LOG_SECTOR > room) break;
        used += bytes;
        at += (size_t)bytes;
    }
    return at - w->done;
}

static enum pbft_status run_flush(struct writer *w, uint64_t *at)
{
    enum pbft_status status = ops_of(w)->write(w->file, *at, w->run.bytes, w->run.size);
    *at += w->run.size;
    w->run.size = 0;
    return status;
}

static enum pbft_status run_end(struct writer *w, uint64_t *at, pbft_lsn last)
{
    if (!log_record_mark(&w->run, active_of(w), LOG_KIND_END, last, w->commit) ||
        !log_buffer_reserve(&w->run, LOG_SECTOR))
        return PBFT_STATUS_MEMORY;
    size_t padding = (size_t)(log_round_up(*at + w->run.size, LOG_SECTOR) - (*at + w->run.size));
    memset(w->run.bytes + w->run.size, 0, padding);
    w->run.size += padding;
    return run_flush(w, at);
}

/* The proof that the commit before was synced; with nothing behind it, it means nothing else. */
static enum pbft_status write_begin(struct writer *w)
{
    w->run.size = 0;
    if (!log_record_mark(&w->run, active_of(w), LOG_KIND_BEGIN, w->last, w->commit))
        return PBFT_STATUS_MEMORY;
    uint64_t at = w->end;
    enum pbft_status status = run_flush(w, &at);
    return status == PBFT_STATUS_FULL ? PBFT_STATUS_OK : status; /* the commit before is done */
}

/* One commit, of the next `size` sealed bytes. A failed one is tried again under its number. */
static enum pbft_status write_commit(struct writer *w, size_t size)
{
    uint64_t at = w->end;
    pbft_lsn last = w->last;
    w->run.size = 0;
    if (!log_record_mark(&w->run, active_of(w), LOG_KIND_BEGIN, last, w->commit))
        return PBFT_STATUS_MEMORY;
    enum pbft_status status = PBFT_STATUS_OK;
    for (size_t from = w->done, end = w->done + size; from < end;) {
        const uint8_t *record = w->sealed.bytes + from;
        struct record_head head = log_record_head_get(record);
        size_t bytes = (size_t)log_record_bytes(head.length);
        if (w->run.size >= RUN_BYTES) status = run_flush(w, &at);
        if (status != PBFT_STATUS_OK) return status;
        if (!log_buffer_reserve(&w->run, bytes)) return PBFT_STATUS_MEMORY;
        memcpy(w->run.bytes + w->run.size, record, bytes);
        log_record_seal(w->run.bytes + w->run.size, active_of(w), w->commit);
        w->run.size += bytes;
        last = head.lsn;
        from += bytes;
    }
    status = run_end(w, &at, last);
    if (status == PBFT_STATUS_OK) status = log_writer_sync(w, w->file);
    if (status != PBFT_STATUS_OK) return status;
    w->end = at;
    w->commit++;
    w->last = last;
    w->done += size;
    return write_begin(w);
}

enum pbft_status log_writer_commit(struct writer *w)
{
    /* First: it makes room. */
    enum pbft_status status = w->cut_first == 0 ? PBFT_STATUS_OK : log_writer_cut(w);
    while (status == PBFT_STATUS_OK && w->done < w->sealed.size) {
        size_t size = batch_size(w);
        if (size > 0)
            status = write_commit(w, size);
        else
            status = log_writer_add_segment(
                w, log_record_bytes(log_record_head_get(w->sealed.bytes + w->done).length));
    }
    return status;
}

/* ---- segments ---- */

static void salt_make(const struct writer *w, struct segment *segment)
{
    uint8_t number[8];
    pbft_put_u64(number, segment->number);
    struct pbft_span parts[2] = {{w->config.entropy, sizeof w->config.entropy},
                                 {number, sizeof number}};
    struct pbft_digest digest;
    pbft_hash(&digest, "pbft-log-salt", parts, 2);
    memcpy(segment->salt, digest.bytes, LOG_SALT_BYTES);
}

static enum pbft_status blank_file(struct writer *w, const struct segment *segment, bool recycled,
                                   struct pbft_disk_file **file)
{
    struct pbft_disk *disk = w->config.disk;
    uint64_t size;
    if (recycled) return disk->ops->open(disk, LOG_SPARE, true, file, &size);
    enum pbft_status status = disk->ops->unlink(disk, LOG_NEW);
    if (status != PBFT_STATUS_OK && status != PBFT_STATUS_NOT_FOUND) return status;
    return disk->ops->create(disk, LOG_NEW, segment->size, file);
}

/* Complete and synced before it has its name: a segment with a bad header is always damage. */
static enum pbft_status segment_create(struct writer *w, const struct segment *segment,
                                       struct pbft_disk_file **file)
{
    struct pbft_disk *disk = w->config.disk;
    bool recycled = w->spare && segment->size == w->config.segment_bytes;
    enum pbft_status status = blank_file(w, segment, recycled, file);
    if (status != PBFT_STATUS_OK) return status;
    uint8_t head[LOG_DATA] = {0}; /* no cut mark */
    char name[LOG_NAME_BYTES];
    log_header_encode(head, &w->config.owner, segment);
    log_segment_name(name, segment->number);
    status = disk->ops->write(*file, 0, head, sizeof head);
    if (status == PBFT_STATUS_OK) status = disk->ops->sync(*file);
    if (status == PBFT_STATUS_OK)
        status = disk->ops->rename(disk, recycled ? LOG_SPARE : LOG_NEW, name);
    if (status == PBFT_STATUS_OK) {
        if (recycled) w->spare = false;
        status = disk->ops->sync_folder(disk);
    }
    if (status == PBFT_STATUS_OK) return status;
    disk->ops->close(*file);
    *file = NULL;
    return status;
}

static enum pbft_status write_next(struct writer *w)
{
    w->run.size = 0;
    if (!log_record_mark(&w->run, active_of(w), LOG_KIND_NEXT, w->last, w->commit))
        return PBFT_STATUS_MEMORY;
    uint64_t at = w->end;
    enum pbft_status status = run_flush(w, &at);
    return status == PBFT_STATUS_OK ? log_writer_sync(w, w->file) : status;
}

enum pbft_status log_writer_add_segment(struct writer *w, uint64_t record)
{
    uint64_t size =
        LOG_DATA + log_round_up(2 * (uint64_t)LOG_RECORD_HEAD + record, LOG_SECTOR) + LOG_SECTOR;
    size = log_round_up(size, LOG_BLOCK);
    if (size < w->config.segment_bytes) size = w->config.segment_bytes;
    uint64_t total = size + w->config.segment_bytes; /* the spare one's room */
    for (size_t i = 0; i < w->count; i++)
        total += w->segments[i].size;
    if (total > w->config.bytes_max || w->count == PBFT_LOG_SEGMENTS_MAX) return PBFT_STATUS_FULL;

    struct segment next = {.number = w->count == 0 ? 1 : active_of(w)->number + 1,
                           .size = size,
                           .first = w->last + 1,
                           .first_commit = w->commit};
    salt_make(w, &next);
    struct pbft_disk_file *file = NULL;
    enum pbft_status status = segment_create(w, &next, &file);
    if (status == PBFT_STATUS_OK && w->count > 0) status = write_next(w);
    if (status != PBFT_STATUS_OK) {
        if (file != NULL) ops_of(w)->close(file);
        return status;
    }
    if (w->file != NULL) ops_of(w)->close(w->file);
    w->file = file;
    w->segments[w->count++] = next;
    w->end = LOG_DATA;
    return PBFT_STATUS_OK;
}

/* ---- cuts ---- */

/* Synced before anything goes: from now on the carry-over stands in for all earlier segments. */
static enum pbft_status write_mark(struct writer *w, const struct segment *segment, pbft_lsn first,
                                   pbft_lsn last)
{
    struct pbft_disk *disk = w->config.disk;
    struct pbft_disk_file *file = w->file;
    if (file == NULL || segment != active_of(w)) {
        char name[LOG_NAME_BYTES];
        uint64_t size;
        log_segment_name(name, segment->number);
        enum pbft_status status = disk->ops->open(disk, name, true, &file, &size);
        if (status != PBFT_STATUS_OK) return status;
    }
    uint8_t mark[LOG_SECTOR];
    log_mark_encode(mark, segment, first, last);
    enum pbft_status status = disk->ops->write(file, LOG_MARK, mark, sizeof mark);
    if (status == PBFT_STATUS_OK) status = disk->ops->sync(file);
    if (file != w->file) disk->ops->close(file);
    return status;
}

enum pbft_status log_writer_repeat_mark(struct writer *w, pbft_lsn first, pbft_lsn last)
{
    return write_mark(w, &w->segments[0], first, last);
}

/* In any order: with the mark in place, nobody looks at them again. */
static enum pbft_status segment_remove(struct writer *w, const struct segment *segment)
{
    struct pbft_disk *disk = w->config.disk;
    char name[LOG_NAME_BYTES];
    log_segment_name(name, segment->number);
    if (w->spare || segment->size != w->config.segment_bytes) {
        enum pbft_status status = disk->ops->unlink(disk, name);
        return status == PBFT_STATUS_NOT_FOUND ? PBFT_STATUS_OK : status; /* by an earlier try */
    }
    enum pbft_status status = disk->ops->rename(disk, name, LOG_SPARE);
    if (status == PBFT_STATUS_OK) w->spare = true;
    return status;
}

enum pbft_status log_writer_cut(struct writer *w)
{
    size_t keep = w->count - 1;
    while (keep > 0 && w->segments[keep].first > w->cut_first)
        keep--;
    enum pbft_status status = PBFT_STATUS_OK;
    if (keep > 0) status = write_mark(w, &w->segments[keep], w->cut_first, w->cut_last);
    for (size_t i = 0; i < keep && status == PBFT_STATUS_OK; i++)
        status = segment_remove(w, &w->segments[i]);
    if (keep > 0 && status == PBFT_STATUS_OK) status = ops_of(w)->sync_folder(w->config.disk);
    if (status != PBFT_STATUS_OK) return status;
    memmove(w->segments, w->segments + keep, (w->count - keep) * sizeof *w->segments);
    w->count -= keep;
    w->cut_first = w->cut_last = 0;
    return status;
}
