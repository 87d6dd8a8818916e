/* Reading the vote log on disk: what is there, whether a replica may vote on it (PROTOCOL 29), and
 * making an ordinary crash's remains fit for new commits. */
#include "store/log_file_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (256u << 10)
#define ZEROS_BYTES  4096u

/* ---- a cursor ---- */

/* Bytes of the file, which hold until the next call; offset + size lies within the segment. */
static enum pbft_status view(struct cursor *c, uint64_t offset, size_t size, const uint8_t **out)
{
    if (offset < c->window_at || offset - c->window_at > c->window.size ||
        size > c->window.size - (offset - c->window_at)) {
        uint64_t rest = c->segment->size - offset;
        size_t wanted = size < WINDOW_BYTES ? WINDOW_BYTES : size;
        if (wanted > rest) wanted = (size_t)rest;
        c->window.size = 0;
        if (!log_buffer_reserve(&c->window, wanted)) return PBFT_STATUS_MEMORY;
        enum pbft_status status =
            c->file->disk->ops->read(c->file, offset, c->window.bytes, wanted);
        if (status != PBFT_STATUS_OK) return status;
        c->window_at = offset;
        c->window.size = wanted;
    }
    *out = c->window.bytes + (offset - c->window_at);
    return PBFT_STATUS_OK;
}

enum pbft_status log_cursor_begin(struct cursor *c, struct pbft_disk *disk,
                                  const struct segment *segment)
{
    *c = (struct cursor){.segment = segment,
                         .at = LOG_DATA,
                         .last = segment->first - 1,
                         .commit = segment->first_commit};
    char name[LOG_NAME_BYTES];
    uint64_t size = 0;
    log_segment_name(name, segment->number);
    enum pbft_status status = disk->ops->open(disk, name, false, &c->file, &size);
    if (status != PBFT_STATUS_OK) return status;
    return size == segment->size ? PBFT_STATUS_OK : PBFT_STATUS_IO; /* checked before */
}

void log_cursor_end(struct cursor *c)
{
    if (c->file != NULL) c->file->disk->ops->close(c->file);
    c->file = NULL;
    log_buffer_free(&c->window);
}

/* The valid record at an offset, or NULL. Commits and lsns that cannot come any more are not
 * summed. */
static enum pbft_status record_at(struct cursor *c, uint64_t at, const uint8_t **record)
{
    *record = NULL;
    uint64_t size = c->segment->size;
    if (at > size || size - at < LOG_RECORD_HEAD) return PBFT_STATUS_OK;
    const uint8_t *bytes;
    enum pbft_status status = view(c, at, LOG_RECORD_HEAD, &bytes);
    if (status != PBFT_STATUS_OK) return status;
    struct record_head head = log_record_head_get(bytes);
    if (head.commit < c->commit || head.commit - c->commit > size || head.lsn < c->last ||
        head.lsn - c->last > size || log_record_bytes(head.length) > size - at)
        return PBFT_STATUS_OK;
    status = view(c, at, (size_t)log_record_bytes(head.length), &bytes);
    if (status == PBFT_STATUS_OK && log_record_valid(bytes, c->segment)) *record = bytes;
    return status;
}

/* One of our own. Returns whether it belongs here. */
static bool step_own(struct cursor *c, const struct record_head *head)
{
    if (head->lsn != c->last || head->length != 0) return false;
    if (!c->open && head->kind == LOG_KIND_BEGIN) {
        c->open = true;
        c->start = c->at;
        c->at += LOG_RECORD_HEAD;
    } else if (!c->open && head->kind == LOG_KIND_NEXT) {
        c->closed = true;
        c->start = c->at;
        c->at += LOG_RECORD_HEAD;
    } else if (c->open && head->kind == LOG_KIND_END) {
        c->open = false;
        c->previous = c->start;
        c->at = log_round_up(c->at + LOG_RECORD_HEAD, LOG_SECTOR);
        c->commit++;
    } else {
        return false;
    }
    return true;
}

enum pbft_status log_cursor_next(struct cursor *c, const uint8_t **record, bool *more)
{
    *record = NULL;
    *more = false;
    if (c->closed) return PBFT_STATUS_OK;
    const uint8_t *bytes;
    enum pbft_status status = record_at(c, c->at, &bytes);
    if (status != PBFT_STATUS_OK || bytes == NULL) return status;
    struct record_head head = log_record_head_get(bytes);
    if (head.commit != c->commit) return PBFT_STATUS_OK;
    if (head.kind >= LOG_KINDS) {
        *more = step_own(c, &head);
        return PBFT_STATUS_OK;
    }
    if (!c->open || head.lsn != c->last + 1) return PBFT_STATUS_OK;
    c->at += log_record_bytes(head.length);
    c->last = head.lsn;
    *record = bytes;
    *more = true;
    return PBFT_STATUS_OK;
}

/* Somebody waits for the end: a log is as long as a disk is slow. */
static enum pbft_status cancelled(const struct writer *w)
{
    const _Atomic bool *cancel = w->config.cancel;
    return cancel != NULL && atomic_load(cancel) ? PBFT_STATUS_REFUSED : PBFT_STATUS_OK;
}

static enum pbft_status walk(struct cursor *c, const struct writer *w)
{
    const uint8_t *record;
    bool more = true;
    enum pbft_status status = PBFT_STATUS_OK;
    while (status == PBFT_STATUS_OK && more) {
        status = cancelled(w);
        if (status == PBFT_STATUS_OK) status = log_cursor_next(c, &record, &more);
    }
    return status;
}

/* Is it a BEGIN with nothing behind it? */
static bool begun_only(const struct cursor *c)
{
    return c->open && c->at == c->start + LOG_RECORD_HEAD;
}

/* Most of a segment was never written, and commits count from 1: where there are zeros for a while,
 * moves on to the first head that ends behind them. */
static enum pbft_status skip_zeros(struct cursor *c, uint64_t *at)
{
    const uint8_t *bytes;
    while (c->segment->size - *at >= ZEROS_BYTES) {
        enum pbft_status status = view(c, *at, ZEROS_BYTES, &bytes);
        if (status != PBFT_STATUS_OK) return status;
        if (bytes[0] != 0 || memcmp(bytes, bytes + 1, ZEROS_BYTES - 1) != 0) break;
        *at += ZEROS_BYTES - LOG_RECORD_HEAD + 8;
    }
    return PBFT_STATUS_OK;
}

/* The highest commit of which there is a valid record anywhere behind the cursor; 0: none. */
static enum pbft_status hunt(struct cursor *c, const struct writer *w, uint64_t *commit)
{
    *commit = 0;
    for (uint64_t at = c->at; at < c->segment->size; at += 8) {
        const uint8_t *record;
        enum pbft_status status = cancelled(w);
        if (status == PBFT_STATUS_OK) status = skip_zeros(c, &at);
        if (status == PBFT_STATUS_OK) status = record_at(c, at, &record);
        if (status != PBFT_STATUS_OK) return status;
        if (record == NULL) continue;
        uint64_t found = log_record_head_get(record).commit;
        if (found > *commit) *commit = found;
    }
    return PBFT_STATUS_OK;
}

/* ---- what is there ---- */

struct listing {
    uint64_t numbers[PBFT_LOG_SEGMENTS_MAX];
    size_t count;
    bool more; /* than can be */
};

static bool see_name(void *context, const char *name)
{
    struct listing *listing = context;
    uint64_t number = log_segment_number(name);
    if (number == 0) return true;
    listing->more = listing->count == PBFT_LOG_SEGMENTS_MAX;
    if (!listing->more) listing->numbers[listing->count++] = number;
    return !listing->more;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static enum pbft_status found(struct scan *scan, enum pbft_log_found what, const char *text,
                              uint64_t number)
{
    scan->report->found = what;
    (void)snprintf(scan->report->text, sizeof scan->report->text, text, (unsigned long long)number);
    return PBFT_STATUS_OK;
}

/* Numbers begin with 1, and no log lives so long that they come near their end, and to 0 again. */
static bool counts(uint64_t number)
{
    return number > 0 && number <= INT64_MAX;
}

static enum pbft_status load_header(struct writer *w, uint64_t number, struct segment *segment,
                                    enum pbft_log_found *what, pbft_lsn mark[2])
{
    struct pbft_disk *disk = w->config.disk;
    struct pbft_disk_file *file;
    char name[LOG_NAME_BYTES];
    uint8_t head[LOG_DATA];
    uint64_t size;
    log_segment_name(name, number);
    enum pbft_status status = disk->ops->open(disk, name, false, &file, &size);
    if (status != PBFT_STATUS_OK) return status;
    *segment = (struct segment){.number = number};
    *what = PBFT_LOG_DAMAGED;
    mark[0] = mark[1] = 0;
    if (size >= LOG_DATA) {
        status = disk->ops->read(file, 0, head, sizeof head);
        if (status == PBFT_STATUS_OK) *what = log_header_decode(head, &w->config.owner, segment);
    }
    disk->ops->close(file);
    if (status != PBFT_STATUS_OK || *what != PBFT_LOG_INTACT) return status;
    bool its_own = segment->number == number;
    if (!its_own) *segment = (struct segment){.number = number}; /* another's has nothing to say */
    if (!its_own || segment->size != size || size % LOG_BLOCK != 0 || !counts(segment->first) ||
        !counts(segment->first_commit))
        *what = PBFT_LOG_DAMAGED;
    else
        (void)log_mark_decode(head + LOG_MARK, segment, &mark[0], &mark[1]);
    return status;
}

/* All headers; afterwards the writer's segments are those from the last cut on. */
static enum pbft_status load_segments(struct scan *scan, struct writer *w, bool *go_on)
{
    const struct listing *listing = scan->listing;
    enum pbft_log_found bad = PBFT_LOG_INTACT;
    uint64_t bad_number = 0;
    w->count = 0;
    for (size_t i = 0; i < listing->count; i++) {
        struct segment segment;
        enum pbft_log_found what;
        pbft_lsn mark[2];
        enum pbft_status status = cancelled(w);
        if (status == PBFT_STATUS_OK)
            status = load_header(w, listing->numbers[i], &segment, &what, mark);
        if (status != PBFT_STATUS_OK) return status;
        if (mark[0] != 0) { /* nothing before it counts, in whatever state it is */
            w->count = 0;
            scan->base = i;
            scan->cut_first = mark[0];
            scan->cut_last = mark[1];
            bad = PBFT_LOG_INTACT;
        }
        if (what != PBFT_LOG_INTACT && bad == PBFT_LOG_INTACT) {
            bad = what;
            bad_number = listing->numbers[i];
        }
        w->segments[w->count++] = segment;
    }
    *go_on = bad == PBFT_LOG_INTACT;
    scan->report->segments = w->count;
    if (bad == PBFT_LOG_FOREIGN)
        return found(scan, bad, "segment %llu is of another cluster, replica or key", bad_number);
    if (bad == PBFT_LOG_FUTURE)
        return found(scan, bad, "segment %llu is of a later format version", bad_number);
    if (bad == PBFT_LOG_DAMAGED)
        return found(scan, bad, "segment %llu has a damaged header or a wrong size", bad_number);
    return PBFT_STATUS_OK;
}

/* Between two segments: the older one's last step, and what the newer one's header says. */
static bool joined(const struct cursor *older, const struct segment *next)
{
    return (older->closed || !older->open || begun_only(older)) &&
           next->number == older->segment->number + 1 && next->first == older->last + 1 &&
           next->first_commit == older->commit;
}

/* Where new commits begin once it is repaired, or the next segment's NEXT goes. */
static uint64_t repaired_end(const struct cursor *c, bool torn)
{
    uint64_t marks = c->open ? 1 : 2;
    if (torn) return log_round_up(c->at + marks * LOG_RECORD_HEAD, LOG_SECTOR);
    return c->open || c->closed ? c->start : c->at;
}

/* The writer leaves a sector for NEXT. Checksums are no secret, and what others made may leave
 * none: repair and commits must not write behind the end of the file. */
static bool has_room(const struct segment *segment, uint64_t end)
{
    return end <= segment->size && segment->size - end >= LOG_SECTOR;
}

static enum pbft_status judge_tail(struct scan *scan, const struct writer *w, bool next_missing)
{
    struct cursor *c = &scan->tail;
    uint64_t number = c->segment->number, commit;
    enum pbft_status status = hunt(c, w, &commit);
    if (status != PBFT_STATUS_OK) return status;
    if (commit > c->commit)
        return found(scan, PBFT_LOG_DAMAGED,
                     "segment %llu has a bad record before others that were synced later", number);
    if (c->closed) return found(scan, PBFT_LOG_DAMAGED, "segment %llu is missing", number + 1);
    scan->stale = commit != 0;
    bool used = scan->stale || c->open || c->previous != 0;
    if (next_missing && used)
        return found(scan, PBFT_LOG_DAMAGED, "segment %llu has a damaged end", number - 1);
    if (c->last < scan->cut_last || scan->cut_last < scan->cut_first ||
        scan->report->first < w->segments[0].first)
        return found(scan, PBFT_LOG_DAMAGED,
                     "the records that segment %llu carries over are not all there",
                     w->segments[0].number);
    bool torn = scan->stale || (c->open && !begun_only(c));
    if (!has_room(c->segment, repaired_end(c, torn)))
        return found(scan, PBFT_LOG_DAMAGED, "segment %llu is fuller than it is ever written",
                     number);
    if (torn)
        return found(scan, PBFT_LOG_TORN,
                     "segment %llu ends in a commit that was under way at a crash", number);
    if (c->last == 0) return found(scan, PBFT_LOG_FRESH, "segment %llu was never used", number);
    return found(scan, PBFT_LOG_INTACT, "all records are there, up to segment %llu", number);
}

static enum pbft_status walk_segments(struct scan *scan, struct writer *w)
{
    bool next_missing = false; /* the NEXT of the last segment but one */
    for (size_t i = 0; i < w->count; i++) {
        log_cursor_end(&scan->tail);
        enum pbft_status status = log_cursor_begin(&scan->tail, w->config.disk, &w->segments[i]);
        if (status == PBFT_STATUS_OK) status = walk(&scan->tail, w);
        if (status != PBFT_STATUS_OK) return status;
        if (i + 1 == w->count) break;
        const struct cursor *c = &scan->tail;
        next_missing = !c->closed;
        if (!joined(c, &w->segments[i + 1]) || (next_missing && i + 2 != w->count))
            return found(scan, PBFT_LOG_DAMAGED,
                         "segment %llu has a bad record, or the one after it is missing",
                         w->segments[i].number);
        scan->next_at = repaired_end(c, false);
        if (!has_room(c->segment, scan->next_at))
            return found(scan, PBFT_LOG_DAMAGED, "segment %llu is fuller than it is ever written",
                         w->segments[i].number);
    }
    return judge_tail(scan, w, next_missing);
}

enum pbft_status log_scan_run(struct scan *scan, struct writer *w)
{
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL) return PBFT_STATUS_MEMORY;
    scan->listing = listing;
    struct pbft_disk *disk = w->config.disk;
    enum pbft_status status = disk->ops->list(disk, see_name, listing);
    if (status != PBFT_STATUS_OK) return status;
    qsort(listing->numbers, listing->count, sizeof listing->numbers[0], compare_numbers);
    if (listing->count == 0)
        return found(scan, PBFT_LOG_MISSING, "there is no vote log: %llu segments", 0);
    if (listing->more)
        return found(scan, PBFT_LOG_DAMAGED, "there are more than %llu segments",
                     PBFT_LOG_SEGMENTS_MAX);
    bool go_on = false;
    status = load_segments(scan, w, &go_on);
    if (status != PBFT_STATUS_OK || !go_on) return status;
    if (scan->cut_first == 0 && w->segments[0].number != 1)
        return found(scan, PBFT_LOG_DAMAGED, "segment %llu is missing", w->segments[0].number - 1);
    scan->report->found = PBFT_LOG_INTACT;
    scan->report->first = scan->cut_first != 0 ? scan->cut_first : w->segments[0].first;
    status = walk_segments(scan, w);
    scan->report->last = scan->tail.last;
    return status;
}

void log_scan_end(struct scan *scan)
{
    log_cursor_end(&scan->tail);
    free(scan->listing);
    scan->listing = NULL;
}

/* ---- repair ---- */

/* What an earlier life removed, or meant to. */
static enum pbft_status remove_leftovers(const struct scan *scan, struct writer *w)
{
    struct pbft_disk *disk = w->config.disk;
    char name[LOG_NAME_BYTES];
    for (size_t i = 0; i < scan->base; i++) {
        log_segment_name(name, scan->listing->numbers[i]);
        enum pbft_status status = disk->ops->unlink(disk, name);
        if (status != PBFT_STATUS_OK) return status;
    }
    static const char *const unnamed[] = {LOG_SPARE, LOG_NEW};
    for (size_t i = 0; i < 2; i++) {
        enum pbft_status status = disk->ops->unlink(disk, unnamed[i]);
        if (status != PBFT_STATUS_OK && status != PBFT_STATUS_NOT_FOUND) return status;
    }
    return disk->ops->sync_folder(disk);
}

/* Bytes that an earlier process wrote and may have failed to sync: after that the page cache says
 * nothing about the disk, so they are written again. */
static enum pbft_status write_again(struct writer *w, struct pbft_disk_file *file, uint64_t from,
                                    uint64_t to)
{
    enum pbft_status status = PBFT_STATUS_OK;
    w->run.size = 0;
    if (!log_buffer_reserve(&w->run, WINDOW_BYTES)) return PBFT_STATUS_MEMORY;
    while (from < to && status == PBFT_STATUS_OK) {
        size_t size = to - from < WINDOW_BYTES ? (size_t)(to - from) : WINDOW_BYTES;
        status = file->disk->ops->read(file, from, w->run.bytes, size);
        if (status == PBFT_STATUS_OK)
            status = file->disk->ops->write(file, from, w->run.bytes, size);
        from += size;
    }
    return status;
}

/* The number of the incomplete commit is used up: what else is left of it is void from now on. */
static enum pbft_status close_commit(struct scan *scan, struct writer *w)
{
    struct cursor *c = &scan->tail;
    const struct segment *segment = c->segment;
    uint64_t at = c->at;
    if (c->open) {
        enum pbft_status status = write_again(w, w->file, c->start, at);
        if (status != PBFT_STATUS_OK) return status;
    }
    w->run.size = 0;
    if (!c->open && !log_record_mark(&w->run, segment, LOG_KIND_BEGIN, c->last, c->commit))
        return PBFT_STATUS_MEMORY;
    if (!log_record_mark(&w->run, segment, LOG_KIND_END, c->last, c->commit))
        return PBFT_STATUS_MEMORY;
    enum pbft_status status = w->file->disk->ops->write(w->file, at, w->run.bytes, w->run.size);
    w->end = log_round_up(at + w->run.size, LOG_SECTOR);
    w->commit = c->commit + 1;
    return status;
}

static enum pbft_status repeat_next(const struct scan *scan, struct writer *w)
{
    struct pbft_disk *disk = w->config.disk;
    const struct segment *segment = &w->segments[w->count - 2];
    struct pbft_disk_file *file;
    char name[LOG_NAME_BYTES];
    uint64_t size;
    log_segment_name(name, segment->number);
    enum pbft_status status = disk->ops->open(disk, name, true, &file, &size);
    if (status != PBFT_STATUS_OK) return status;
    w->run.size = 0;
    status = PBFT_STATUS_MEMORY;
    if (log_record_mark(&w->run, segment, LOG_KIND_NEXT, scan->tail.last, scan->tail.commit))
        status = disk->ops->write(file, scan->next_at, w->run.bytes, w->run.size);
    if (status == PBFT_STATUS_OK) status = disk->ops->sync(file);
    disk->ops->close(file);
    return status;
}

static enum pbft_status repair_tail(struct scan *scan, struct writer *w)
{
    struct cursor *c = &scan->tail;
    enum pbft_status status = PBFT_STATUS_OK;
    w->commit = c->commit;
    w->last = c->last;
    w->end = c->at;
    if (scan->stale || (c->open && !begun_only(c)))
        status = close_commit(scan, w);
    else if (c->open)
        w->end = c->start; /* its BEGIN proves that the commit before is on the disk */
    else if (c->previous != 0)
        status = write_again(w, w->file, c->previous, c->at);
    else if (w->count > 1)
        status = repeat_next(scan, w);
    return status == PBFT_STATUS_OK ? w->file->disk->ops->sync(w->file) : status;
}

enum pbft_status log_scan_repair(struct scan *scan, struct writer *w)
{
    struct pbft_disk *disk = w->config.disk;
    enum pbft_status status = PBFT_STATUS_OK;
    if (scan->cut_first != 0) status = log_writer_repeat_mark(w, scan->cut_first, scan->cut_last);
    if (status == PBFT_STATUS_OK) status = remove_leftovers(scan, w);
    char name[LOG_NAME_BYTES];
    uint64_t size;
    log_segment_name(name, scan->tail.segment->number);
    if (status == PBFT_STATUS_OK) status = disk->ops->open(disk, name, true, &w->file, &size);
    return status == PBFT_STATUS_OK ? repair_tail(scan, w) : status;
}
