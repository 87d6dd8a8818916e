/* The vote log in memory: a ring of records. Durable is what a completed commit covered. */
#include "store/log.h"

#include <stdlib.h>
#include <string.h>

#define RING_FIRST 256u

struct record {
    pbft_lsn lsn;
    uint32_t kind;
    uint32_t size;
    uint8_t payload[];
};

struct memory_log {
    struct pbft_log base;
    pbft_log_durable_fn *report;
    void *context;
    struct record **ring; /* capacity is a power of two */
    size_t capacity;
    size_t first; /* position of the oldest */
    size_t count;
    uint64_t bytes;
    uint64_t bytes_max;
    pbft_lsn last;
    pbft_lsn durable;
    pbft_lsn target; /* of the commit under way; 0: none */
    pbft_lsn asked;  /* the newest lsn that a sync covers */
    uint64_t commits;
    bool forgets; /* payloads count, and are not kept */
    bool polling;
    bool broken; /* the next commit fails */
    bool dead;
};

static struct memory_log *from_base(struct pbft_log *log)
{
    return (struct memory_log *)log;
}

static struct record *record_at(const struct memory_log *log, size_t index)
{
    return log->ring[(log->first + index) & (log->capacity - 1)];
}

static uint64_t record_bytes(const struct record *record)
{
    return sizeof *record + sizeof(struct record *) + record->size;
}

/* Index of the first record with an lsn that is not less. */
static size_t record_find(const struct memory_log *log, pbft_lsn lsn)
{
    size_t low = 0, high = log->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (record_at(log, middle)->lsn < lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool record_exists(const struct memory_log *log, pbft_lsn lsn)
{
    size_t index = record_find(log, lsn);
    return index < log->count && record_at(log, index)->lsn == lsn;
}

static bool ring_reserve(struct memory_log *log)
{
    if (log->count < log->capacity) return true;
    size_t capacity = log->capacity == 0 ? RING_FIRST : log->capacity * 2;
    struct record **ring = calloc(capacity, sizeof(struct record *));
    if (ring == NULL) return false;
    for (size_t i = 0; i < log->count; i++)
        ring[i] = record_at(log, i);
    free(log->ring);
    log->ring = ring;
    log->capacity = capacity;
    log->first = 0;
    return true;
}

static enum pbft_status memory_append(struct pbft_log *base, uint32_t kind, pbft_lsn lsn,
                                      const struct pbft_span *parts, size_t count)
{
    struct memory_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    if (lsn <= log->last) return PBFT_STATUS_ARGUMENT;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    uint64_t cost = sizeof(struct record) + sizeof(struct record *) + size;
    if (cost > log->bytes_max - log->bytes) return PBFT_STATUS_FULL;
    if (!ring_reserve(log)) return PBFT_STATUS_MEMORY;
    struct record *record = malloc(sizeof *record + (log->forgets ? 0 : size));
    if (record == NULL) return PBFT_STATUS_MEMORY;

    record->lsn = lsn;
    record->kind = kind;
    record->size = (uint32_t)size;
    size_t at = 0;
    for (size_t i = 0; i < count && !log->forgets; i++) {
        if (parts[i].size == 0) continue;
        memcpy(record->payload + at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    log->ring[(log->first + log->count) & (log->capacity - 1)] = record;
    log->count++;
    log->bytes += cost;
    log->last = lsn;
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_sync(struct pbft_log *base)
{
    struct memory_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    log->asked = log->last;
    if (log->target == 0 && log->asked > log->durable) log->target = log->asked;
    return PBFT_STATUS_OK;
}

static bool memory_poll(struct pbft_log *base)
{
    struct memory_log *log = from_base(base);
    PBFT_ASSERT(!log->polling);
    if (log->target == 0 || log->dead) return false;
    enum pbft_status status = PBFT_STATUS_OK;
    if (log->broken) {
        log->dead = true;
        log->target = 0;
        status = PBFT_STATUS_IO;
    } else {
        log->durable = log->target;
        log->commits++;
        log->target = log->asked > log->durable ? log->asked : 0;
    }
    log->polling = true;
    log->report(log->context, status, log->durable);
    log->polling = false;
    return true;
}

static bool memory_iterate(const struct pbft_log *base, pbft_log_visit_fn *visit, void *context)
{
    const struct memory_log *log = (const struct memory_log *)base;
    PBFT_ASSERT(!log->forgets || log->count == 0);
    for (size_t i = 0; i < log->count; i++) {
        const struct record *record = record_at(log, i);
        struct pbft_log_record view = {.lsn = record->lsn,
                                       .kind = record->kind,
                                       .durable = record->lsn <= log->durable,
                                       .payload = {record->payload, record->size}};
        if (!visit(context, &view)) return false;
    }
    return true;
}

static enum pbft_status memory_cut(struct pbft_log *base, pbft_lsn first, pbft_lsn last)
{
    struct memory_log *log = from_base(base);
    if (log->dead) return PBFT_STATUS_IO;
    if (!record_exists(log, first) || !record_exists(log, last)) return PBFT_STATUS_ARGUMENT;
    if (last > log->durable) return PBFT_STATUS_REFUSED;
    while (record_at(log, 0)->lsn < first) {
        struct record *record = record_at(log, 0);
        log->bytes -= record_bytes(record);
        log->first = (log->first + 1) & (log->capacity - 1);
        log->count--;
        free(record);
    }
    return PBFT_STATUS_OK;
}

static void memory_stats(const struct pbft_log *base, struct pbft_log_stats *out)
{
    const struct memory_log *log = (const struct memory_log *)base;
    *out = (struct pbft_log_stats){
        .first = log->count == 0 ? 0 : record_at(log, 0)->lsn,
        .last = log->last,
        .durable = log->durable,
        .records = log->count,
        .bytes = log->bytes,
        .bytes_max = log->bytes_max,
        .commits = log->commits,
        .committing = log->target != 0,
        .result = log->dead ? PBFT_STATUS_IO : PBFT_STATUS_OK,
    };
}

static void memory_close(struct pbft_log *base)
{
    struct memory_log *log = from_base(base);
    for (size_t i = 0; i < log->count; i++)
        free(record_at(log, i));
    free(log->ring);
    free(log);
}

static const struct pbft_log_ops memory_ops = {
    .name = "memory",
    .append = memory_append,
    .sync = memory_sync,
    .poll = memory_poll,
    .iterate = memory_iterate,
    .cut = memory_cut,
    .stats = memory_stats,
    .close = memory_close,
};

enum pbft_status pbft_log_memory_create(struct pbft_log **out, uint64_t bytes_max,
                                        pbft_log_durable_fn *durable, void *context)
{
    if (durable == NULL) return PBFT_STATUS_ARGUMENT;
    struct memory_log *log = calloc(1, sizeof *log);
    if (log == NULL) return PBFT_STATUS_MEMORY;
    log->base.ops = &memory_ops;
    log->report = durable;
    log->context = context;
    log->bytes_max = bytes_max;
    *out = &log->base;
    return PBFT_STATUS_OK;
}

void pbft_log_memory_forget(struct pbft_log *base)
{
    PBFT_ASSERT(base->ops == &memory_ops);
    PBFT_ASSERT(from_base(base)->count == 0);
    from_base(base)->forgets = true;
}

void pbft_log_memory_crash(struct pbft_log *base)
{
    PBFT_ASSERT(base->ops == &memory_ops);
    struct memory_log *log = from_base(base);
    while (log->count > 0 && record_at(log, log->count - 1)->lsn > log->durable) {
        struct record *record = record_at(log, log->count - 1);
        log->bytes -= record_bytes(record);
        log->count--;
        free(record);
    }
    log->last = log->durable;
    log->asked = log->durable;
    log->target = 0;
}

void pbft_log_memory_break(struct pbft_log *base)
{
    PBFT_ASSERT(base->ops == &memory_ops);
    from_base(base)->broken = true;
}
