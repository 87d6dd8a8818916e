/* The vote log on disk, the half that never blocks: queues, bounds, hand-over, reports. */
#include "store/log_file_internal.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_KEEP (4u << 20) /* a larger one is given back once its commit is done */

static struct file_log *from_base(struct pbft_log *log)
{
    return (struct file_log *)log;
}

static enum commit_state state_of(const struct file_log *log)
{
    return (enum commit_state)atomic_load_explicit(&log->state, memory_order_acquire);
}

static void state_set(struct file_log *log, enum commit_state state)
{
    atomic_store_explicit(&log->state, (int)state, memory_order_release);
}

/* ---- what is held ---- */

static void shadows_refresh(struct file_log *log)
{
    const struct writer *w = &log->writer;
    log->shadow_count = 0;
    for (size_t i = 0; i < w->count; i++)
        log->shadows[log->shadow_count++] =
            (struct shadow){w->segments[i].first, w->segments[i].size};
    log->active_used = w->end;
    log->pending = w->sealed.size - w->done;
}

/* Segments wholly before the carry-over go with the next commit, before it writes anything. */
static void shadows_cut(struct file_log *log, pbft_lsn first)
{
    size_t gone = 0;
    while (gone + 1 < log->shadow_count && log->shadows[gone + 1].first <= first)
        gone++;
    memmove(log->shadows, log->shadows + gone, (log->shadow_count - gone) * sizeof *log->shadows);
    log->shadow_count -= gone;
}

static uint64_t segments_bytes(const struct file_log *log)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->shadow_count; i++)
        bytes += log->shadows[i].size;
    return bytes;
}

/* Whether a record of so many bytes still finds room behind what is queued, at worst: records that
 * do not fit into the rest of a segment leave that empty. The writer has the last word. */
static bool has_room(const struct file_log *log, uint64_t bytes)
{
    const struct pbft_log_file_config *config = &log->writer.config;
    uint64_t active = log->shadows[log->shadow_count - 1].size;
    uint64_t queued = log->pending + log->queue.size + bytes;
    uint64_t total = segments_bytes(log) + config->segment_bytes; /* the spare one's */
    if (log->rolled || queued + 8 * (uint64_t)LOG_SECTOR > active - log->active_used)
        total += 2 * queued + 2 * config->segment_bytes;
    return total <= config->bytes_max;
}

/* ---- appending ---- */

static enum pbft_status file_append(struct pbft_log *base, uint32_t kind, pbft_lsn lsn,
                                    const struct pbft_span *parts, size_t count)
{
    struct file_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    if (lsn != log->last + 1 || kind >= LOG_KINDS) return PBFT_STATUS_ARGUMENT;
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += parts[i].size;
    size_t bytes = (size_t)log_record_bytes((uint32_t)length);
    if (!has_room(log, bytes)) return PBFT_STATUS_FULL;
    if (!log_buffer_reserve(&log->queue, bytes)) return PBFT_STATUS_MEMORY;

    uint8_t *record = log->queue.bytes + log->queue.size, *at = record + LOG_RECORD_HEAD;
    log_record_head_put(record, &(struct record_head){.length = (uint32_t)length,
                                                      .kind = kind,
                                                      .lsn = lsn,
                                                      .commit = log->roll ? 1 : 0});
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size == 0) continue;
        memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    memset(at, 0, (size_t)(record + bytes - at));
    log->queue.size += bytes;
    log->last = lsn;
    if (log->roll) log->rolled = true;
    log->roll = false;
    return PBFT_STATUS_OK;
}

static void file_roll(struct pbft_log *base)
{
    from_base(base)->roll = true;
}

/* ---- commits ---- */

/* Seal what is queued, or what an earlier commit found no room for, and hand the writer over. */
static void commit_begin(struct file_log *log)
{
    struct writer *w = &log->writer;
    if (log->asked <= log->durable || state_of(log) != COMMIT_NONE) return;
    if (w->done == w->sealed.size) {
        struct buffer empty = w->sealed;
        w->sealed = log->queue;
        w->done = 0;
        w->target = log->last;
        log->queue = empty;
        log->queue.size = 0;
        log->pending = w->sealed.size;
    }
    if (log->cut_first != 0) {
        w->cut_first = log->cut_first;
        w->cut_last = log->cut_last;
        log->cut_first = log->cut_last = 0;
    }
    state_set(log, COMMIT_SEALED);
}

static enum pbft_status file_sync(struct pbft_log *base)
{
    struct file_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    log->asked = log->last;
    commit_begin(log);
    return PBFT_STATUS_OK;
}

static void file_commit(struct pbft_log *base)
{
    struct file_log *log = from_base(base);
    if (state_of(log) != COMMIT_SEALED) return;
    log->result = log_writer_commit(&log->writer);
    state_set(log, COMMIT_ENDED);
}

static void buffer_trim(struct buffer *buffer)
{
    if (buffer->capacity > BUFFER_KEEP) log_buffer_free(buffer);
}

static bool file_poll(struct pbft_log *base)
{
    struct file_log *log = from_base(base);
    PBFT_ASSERT(!log->polling);
    if (log->dead || state_of(log) != COMMIT_ENDED) return false;
    struct writer *w = &log->writer;
    enum pbft_status status = log->result;
    if (status == PBFT_STATUS_OK) {
        log->durable = w->target;
        log->commits++;
        w->sealed.size = w->done = 0;
        buffer_trim(&w->sealed);
        buffer_trim(&w->run);
        log->rolled = log->rolled && log->queue.size > 0;
    } else if (status != PBFT_STATUS_FULL) {
        log->dead = true; /* never tried again, FAULTS 2.41 */
    }
    state_set(log, COMMIT_NONE);
    shadows_refresh(log);
    if (log->cut_first != 0) shadows_cut(log, log->cut_first);
    if (status == PBFT_STATUS_OK) commit_begin(log);
    log->reported = status;
    log->polling = true;
    log->report(log->context, status, log->durable);
    log->polling = false;
    return true;
}

/* ---- the rest ---- */

static enum pbft_status file_cut(struct pbft_log *base, pbft_lsn first, pbft_lsn last)
{
    struct file_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    if (first < log->first || last > log->last) return PBFT_STATUS_ARGUMENT;
    if (last > log->durable) return PBFT_STATUS_REFUSED; /* PROTOCOL 26 */
    log->first = first;
    log->cut_first = first;
    log->cut_last = last;
    shadows_cut(log, first);
    return PBFT_STATUS_OK;
}

static void file_stats(const struct pbft_log *base, struct pbft_log_stats *out)
{
    const struct file_log *log = (const struct file_log *)base;
    uint64_t unused = log->shadows[log->shadow_count - 1].size - log->active_used;
    bool empty = log->first > log->last;
    *out = (struct pbft_log_stats){
        .first = empty ? 0 : log->first,
        .last = log->last,
        .durable = log->durable,
        .records = empty ? 0 : log->last - log->first + 1,
        .bytes = segments_bytes(log) - unused + log->pending + log->queue.size,
        .bytes_max = log->writer.config.bytes_max,
        .commits = log->commits,
        .committing = !log->dead && state_of(log) != COMMIT_NONE,
        .result = log->reported,
    };
}

struct visitor {
    const struct file_log *log;
    pbft_log_visit_fn *visit;
    void *context;
    pbft_lsn last; /* shown or passed over */
};

static bool show(struct visitor *v, const uint8_t *bytes)
{
    struct record_head head = log_record_head_get(bytes);
    if (head.lsn <= v->last) return true;
    v->last = head.lsn;
    struct pbft_log_record record = {.lsn = head.lsn,
                                     .kind = head.kind,
                                     .durable = head.lsn <= v->log->durable,
                                     .payload = {bytes + LOG_RECORD_HEAD, head.length}};
    return v->visit(v->context, &record);
}

static bool show_segment(struct visitor *v, const struct segment *segment)
{
    struct cursor c;
    enum pbft_status status = log_cursor_begin(&c, v->log->writer.config.disk, segment);
    bool more = true, go_on = true;
    while (status == PBFT_STATUS_OK && more && go_on && c.last < v->log->writer.last) {
        const uint8_t *record;
        status = log_cursor_next(&c, &record, &more);
        if (status == PBFT_STATUS_OK && record != NULL) go_on = show(v, record);
    }
    log_cursor_end(&c);
    return go_on && status == PBFT_STATUS_OK;
}

static bool show_buffer(struct visitor *v, const struct buffer *buffer)
{
    for (size_t at = 0; at < buffer->size;) {
        const uint8_t *record = buffer->bytes + at;
        if (!show(v, record)) return false;
        at += (size_t)log_record_bytes(log_record_head_get(record).length);
    }
    return true;
}

static bool file_iterate(const struct pbft_log *base, pbft_log_visit_fn *visit, void *context)
{
    const struct file_log *log = (const struct file_log *)base;
    struct visitor v = {log, visit, context, log->first - 1};
    for (size_t i = 0; i < log->writer.count; i++)
        if (!show_segment(&v, &log->writer.segments[i])) return false;
    if (v.last < log->writer.last && log->first <= log->writer.last) return false; /* unreadable */
    return show_buffer(&v, &log->writer.sealed) && show_buffer(&v, &log->queue);
}

static void file_close(struct pbft_log *base)
{
    struct file_log *log = from_base(base);
    log_writer_free(&log->writer);
    log_buffer_free(&log->queue);
    free(log);
}

#define FILE_LOG_OPS(mode)                                                                         \
    {                                                                                              \
        .name = (mode), .append = file_append, .sync = file_sync, .commit = file_commit,           \
        .poll = file_poll, .iterate = file_iterate, .cut = file_cut, .roll = file_roll,            \
        .stats = file_stats, .close = file_close,                                                  \
    }

static const struct pbft_log_ops sync_ops = FILE_LOG_OPS("sync");
static const struct pbft_log_ops async_ops = FILE_LOG_OPS("async");

/* ---- creating, opening ---- */

bool pbft_log_found_usable(enum pbft_log_found found)
{
    return found == PBFT_LOG_FRESH || found == PBFT_LOG_INTACT || found == PBFT_LOG_TORN;
}

static bool config_valid(const struct pbft_log_file_config *config)
{
    uint64_t segment = config->segment_bytes;
    return segment >= PBFT_LOG_SEGMENT_MIN && segment <= PBFT_LOG_SEGMENT_MAX &&
           segment % 4096 == 0 && config->bytes_max / segment >= PBFT_LOG_SEGMENTS_MIN &&
           config->bytes_max / segment <= PBFT_LOG_SEGMENTS_MAX;
}

static enum pbft_status log_new(struct file_log **out, const struct pbft_log_file_config *config)
{
    if (!config_valid(config)) return PBFT_STATUS_ARGUMENT;
    struct file_log *log = calloc(1, sizeof *log);
    if (log == NULL) return PBFT_STATUS_MEMORY;
    log->base.ops = config->sync ? &sync_ops : &async_ops;
    log->report = config->durable;
    log->context = config->context;
    log->writer.config = *config;
    log->writer.commit = 1;
    atomic_init(&log->state, (int)COMMIT_NONE);
    *out = log;
    return PBFT_STATUS_OK;
}

static bool see_segment(void *context, const char *name)
{
    bool *any = context;
    *any = log_segment_number(name) != 0;
    return !*any;
}

enum pbft_status pbft_log_file_create(const struct pbft_log_file_config *config)
{
    bool any = false;
    enum pbft_status status = config->disk->ops->list(config->disk, see_segment, &any);
    if (status != PBFT_STATUS_OK) return status;
    if (any) return PBFT_STATUS_EXISTS;
    struct file_log *log;
    status = log_new(&log, config);
    if (status != PBFT_STATUS_OK) return status;
    status = log_writer_add_segment(&log->writer, 0);
    file_close(&log->base);
    return status;
}

static bool readable(enum pbft_log_found found)
{
    return pbft_log_found_usable(found) || found == PBFT_LOG_DAMAGED;
}

/* What is valid from the beginning of each segment on. One with a bad header has nothing. */
static enum pbft_status show_sound(struct file_log *log, const struct pbft_log_file_report *report,
                                   pbft_log_visit_fn *visit, void *context)
{
    const struct writer *w = &log->writer;
    struct visitor v = {log, visit, context, report->first > 0 ? report->first - 1 : 0};
    bool go_on = true;
    for (size_t i = 0; i < w->count && go_on; i++) {
        if (w->segments[i].first == 0) continue;
        struct cursor c;
        enum pbft_status status = log_cursor_begin(&c, w->config.disk, &w->segments[i]);
        bool more = status == PBFT_STATUS_OK;
        if (status == PBFT_STATUS_IO) status = PBFT_STATUS_OK; /* of a wrong size: it was said */
        while (status == PBFT_STATUS_OK && more && go_on) {
            const uint8_t *record;
            status = log_cursor_next(&c, &record, &more);
            if (status == PBFT_STATUS_OK && record != NULL) go_on = show(&v, record);
        }
        log_cursor_end(&c);
        if (status != PBFT_STATUS_OK) return status;
    }
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_log_file_read(const struct pbft_log_file_config *config,
                                    struct pbft_log_file_report *report, pbft_log_visit_fn *visit,
                                    void *context)
{
    struct file_log *log;
    enum pbft_status status = log_new(&log, config);
    if (status != PBFT_STATUS_OK) return status;
    *report = (struct pbft_log_file_report){0};
    struct scan scan = {.report = report};
    status = log_scan_run(&scan, &log->writer);
    log_scan_end(&scan);
    if (status == PBFT_STATUS_OK && visit != NULL && readable(report->found))
        status = show_sound(log, report, visit, context);
    file_close(&log->base);
    return status;
}

enum pbft_status pbft_log_file_check(const struct pbft_log_file_config *config,
                                     struct pbft_log_file_report *report)
{
    return pbft_log_file_read(config, report, NULL, NULL);
}

static enum pbft_status open_found(struct file_log *log, struct scan *scan)
{
    enum pbft_status status = log_scan_run(scan, &log->writer);
    if (status != PBFT_STATUS_OK) return status;
    if (scan->report->found == PBFT_LOG_MISSING) return PBFT_STATUS_NOT_FOUND;
    if (!pbft_log_found_usable(scan->report->found)) return PBFT_STATUS_CORRUPT;
    status = log_scan_repair(scan, &log->writer);
    log->first = scan->report->first;
    log->last = log->durable = log->asked = log->writer.last;
    return status;
}

enum pbft_status pbft_log_file_open(struct pbft_log **out,
                                    const struct pbft_log_file_config *config,
                                    struct pbft_log_file_report *report)
{
    if (config->durable == NULL) return PBFT_STATUS_ARGUMENT;
    struct file_log *log;
    enum pbft_status status = log_new(&log, config);
    if (status != PBFT_STATUS_OK) return status;
    *report = (struct pbft_log_file_report){0};
    struct scan scan = {.report = report};
    status = open_found(log, &scan);
    log_scan_end(&scan);
    if (status != PBFT_STATUS_OK) {
        file_close(&log->base);
        return status;
    }
    shadows_refresh(log);
    *out = &log->base;
    return PBFT_STATUS_OK;
}
