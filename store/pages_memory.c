/*
 * Pages in memory, on a disk that outlives whoever has it open.
 *
 * A table of the pages, sorted by hash. A write transaction works on a copy of the table, which
 * shares the pages; a commit puts it in the place of the old one.
 */
#include "store/pages.h"

#include <stdlib.h>
#include <string.h>

struct blob {
    uint32_t refs; /* tables of one disk */
    uint32_t size;
    uint8_t data[];
};

struct entry {
    struct pbft_digest digest;
    struct blob *blob;
};

struct table {
    struct pbft_pages_meta meta;
    struct entry *entries;
    size_t count, capacity;
    uint64_t bytes;
    bool grown; /* a page was added in this transaction */
};

struct pbft_pages_disk {
    struct table *table;
    uint64_t commits;
    uint64_t crash_after;
    bool full;
    bool crashed;
    bool opened;
};

struct memory_pages {
    struct pbft_pages base;
    struct pbft_pages_disk *disk;
    struct table *aside; /* NULL: none */
    struct table *work;  /* NULL: no write transaction */
    bool reading;
};

static struct memory_pages *from_base(struct pbft_pages *pages)
{
    return (struct memory_pages *)pages;
}

/* ---- tables ---- */

static uint64_t entry_cost(size_t size)
{
    return sizeof(struct entry) + sizeof(struct blob) + size;
}

static void blob_unref(struct blob *blob)
{
    if (--blob->refs == 0) free(blob);
}

static void table_free(struct table *table)
{
    if (table == NULL) return;
    for (size_t i = 0; i < table->count; i++)
        blob_unref(table->entries[i].blob);
    free(table->entries);
    free(table);
}

static struct table *table_copy(const struct table *from)
{
    struct table *table = malloc(sizeof *table);
    if (table == NULL) return NULL;
    *table = *from;
    table->grown = false;
    table->capacity = from->count + 64;
    table->entries = malloc(table->capacity * sizeof *table->entries);
    if (table->entries == NULL) {
        free(table);
        return NULL;
    }
    for (size_t i = 0; i < table->count; i++) {
        table->entries[i] = from->entries[i];
        table->entries[i].blob->refs++;
    }
    return table;
}

/* First entry that is not less. */
static size_t table_find(const struct table *table, const struct pbft_digest *digest, bool *found)
{
    size_t low = 0, high = table->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = pbft_digest_compare(&table->entries[middle].digest, digest);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct blob *blob_new(struct pbft_span page)
{
    struct blob *blob = malloc(sizeof *blob + page.size);
    if (blob == NULL) return NULL;
    blob->refs = 1;
    blob->size = (uint32_t)page.size;
    if (page.size > 0) memcpy(blob->data, page.data, page.size);
    return blob;
}

static enum pbft_status table_insert(struct table *table, size_t index,
                                     const struct pbft_digest *digest, struct pbft_span page)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity * 2 + 64;
        struct entry *entries = realloc(table->entries, capacity * sizeof *entries);
        if (entries == NULL) return PBFT_STATUS_MEMORY;
        table->entries = entries;
        table->capacity = capacity;
    }
    struct blob *blob = blob_new(page);
    if (blob == NULL) return PBFT_STATUS_MEMORY;
    struct entry *at = &table->entries[index];
    memmove(at + 1, at, (table->count - index) * sizeof *at);
    *at = (struct entry){*digest, blob};
    table->count++;
    table->bytes += entry_cost(page.size);
    table->grown = true;
    return PBFT_STATUS_OK;
}

/* ---- transactions ---- */

/* The table that is read: what the transaction has changed, what is aside, or what is there. */
static const struct table *current(const struct memory_pages *memory)
{
    if (memory->work != NULL) return memory->work;
    return memory->aside != NULL ? memory->aside : memory->disk->table;
}

static enum pbft_status memory_begin(struct pbft_pages *pages, bool write)
{
    struct memory_pages *memory = from_base(pages);
    PBFT_ASSERT(memory->work == NULL);
    PBFT_ASSERT(!memory->reading);
    if (memory->disk->crashed) return PBFT_STATUS_IO;
    if (write) {
        memory->work = table_copy(current(memory));
        if (memory->work == NULL) return PBFT_STATUS_MEMORY;
    } else {
        memory->reading = true;
    }
    return PBFT_STATUS_OK;
}

static void memory_abort(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    table_free(memory->work);
    memory->work = NULL;
    memory->reading = false;
}

/* Whether the disk is still there for one more commit. */
static bool disk_commits(struct pbft_pages_disk *disk)
{
    if (disk->crashed || disk->crash_after == 0) {
        disk->crashed = true;
        return false;
    }
    if (disk->crash_after != UINT64_MAX) disk->crash_after--;
    disk->commits++;
    return true;
}

static enum pbft_status memory_commit(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    struct pbft_pages_disk *disk = memory->disk;
    PBFT_ASSERT(memory->work != NULL);
    enum pbft_status status = PBFT_STATUS_OK;
    if (disk->full && memory->work->grown)
        status = PBFT_STATUS_FULL;
    else if (!disk_commits(disk))
        status = PBFT_STATUS_IO;
    if (status == PBFT_STATUS_OK) {
        struct table **place = memory->aside != NULL ? &memory->aside : &disk->table;
        struct table *old = *place;
        *place = memory->work;
        memory->work = old;
    }
    memory_abort(pages);
    return status;
}

static enum pbft_status memory_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                                   struct pbft_span *page)
{
    const struct table *table = current(from_base(pages));
    bool found;
    size_t index = table_find(table, digest, &found);
    if (!found) return PBFT_STATUS_NOT_FOUND;
    const struct blob *blob = table->entries[index].blob;
    *page = (struct pbft_span){blob->data, blob->size};
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_put(struct pbft_pages *pages, const struct pbft_digest *digest,
                                   struct pbft_span page)
{
    struct table *table = from_base(pages)->work;
    PBFT_ASSERT(table != NULL);
    bool found;
    size_t index = table_find(table, digest, &found);
    if (!found) return table_insert(table, index, digest, page);
    struct blob *blob = blob_new(page);
    if (blob == NULL) return PBFT_STATUS_MEMORY;
    struct entry *entry = &table->entries[index];
    table->bytes += entry_cost(page.size) - entry_cost(entry->blob->size);
    blob_unref(entry->blob);
    entry->blob = blob;
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_remove(struct pbft_pages *pages, const struct pbft_digest *digest)
{
    struct table *table = from_base(pages)->work;
    PBFT_ASSERT(table != NULL);
    bool found;
    size_t index = table_find(table, digest, &found);
    if (!found) return PBFT_STATUS_NOT_FOUND;
    struct entry *at = &table->entries[index];
    table->bytes -= entry_cost(at->blob->size);
    blob_unref(at->blob);
    table->count--;
    memmove(at, at + 1, (table->count - index) * sizeof *at);
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_next(struct pbft_pages *pages, const struct pbft_digest *after,
                                    struct pbft_digest *out)
{
    const struct table *table = current(from_base(pages));
    bool found = false;
    size_t index = after == NULL ? 0 : table_find(table, after, &found);
    if (found) index++;
    if (index >= table->count) return PBFT_STATUS_NOT_FOUND;
    *out = table->entries[index].digest;
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_get_meta(struct pbft_pages *pages, struct pbft_pages_meta *out)
{
    *out = current(from_base(pages))->meta;
    return PBFT_STATUS_OK;
}

static enum pbft_status memory_put_meta(struct pbft_pages *pages,
                                        const struct pbft_pages_meta *meta)
{
    struct table *table = from_base(pages)->work;
    PBFT_ASSERT(table != NULL);
    table->meta = *meta;
    return PBFT_STATUS_OK;
}

static void memory_abandon(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    table_free(memory->aside);
    memory->aside = NULL;
}

static enum pbft_status memory_aside(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    if (memory->disk->crashed) return PBFT_STATUS_IO;
    memory_abandon(pages);
    memory->aside = calloc(1, sizeof *memory->aside);
    return memory->aside != NULL ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
}

static enum pbft_status memory_adopt(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    PBFT_ASSERT(memory->aside != NULL && memory->work == NULL);
    enum pbft_status status = PBFT_STATUS_IO;
    if (disk_commits(memory->disk)) {
        struct table *old = memory->disk->table;
        memory->disk->table = memory->aside;
        memory->aside = old;
        status = PBFT_STATUS_OK;
    }
    memory_abandon(pages);
    return status;
}

static void memory_space(struct pbft_pages *pages, struct pbft_pages_space *out)
{
    const struct table *table = from_base(pages)->disk->table;
    *out = (struct pbft_pages_space){.pages = table->count,
                                     .bytes = table->bytes,
                                     .used = table->bytes};
}

static uint64_t memory_cost(const struct pbft_pages *pages, size_t size, bool anew)
{
    (void)anew;
    (void)pages;
    return entry_cost(size);
}

static enum pbft_status memory_relax(struct pbft_pages *pages)
{
    return from_base(pages)->disk->crashed ? PBFT_STATUS_IO : PBFT_STATUS_OK;
}

static void memory_close(struct pbft_pages *pages)
{
    struct memory_pages *memory = from_base(pages);
    memory_abort(pages);
    memory_abandon(pages);
    memory->disk->opened = false;
    free(memory);
}

static enum pbft_status memory_reserve(struct pbft_pages *pages, uint64_t bytes)
{
    (void)pages, (void)bytes; /* its commits say it */
    return PBFT_STATUS_OK;
}

static const struct pbft_pages_ops memory_ops = {
    .name = "memory",
    .begin = memory_begin,
    .reserve = memory_reserve,
    .commit = memory_commit,
    .abort = memory_abort,
    .get = memory_get,
    .put = memory_put,
    .remove = memory_remove,
    .next = memory_next,
    .get_meta = memory_get_meta,
    .put_meta = memory_put_meta,
    .aside = memory_aside,
    .adopt = memory_adopt,
    .abandon = memory_abandon,
    .space = memory_space,
    .relax = memory_relax,
    .cost = memory_cost,
    .close = memory_close,
};

enum pbft_status pbft_pages_memory_open(struct pbft_pages **out, struct pbft_pages_disk *disk)
{
    PBFT_ASSERT(!disk->opened);
    struct memory_pages *memory = calloc(1, sizeof *memory);
    if (memory == NULL) return PBFT_STATUS_MEMORY;
    pbft_pages_init(&memory->base, &memory_ops);
    if (disk->crashed) disk->crash_after = UINT64_MAX;
    disk->crashed = false;
    disk->opened = true;
    memory->disk = disk;
    atomic_store(&memory->base.pages, disk->table->count);
    atomic_store(&memory->base.bytes, disk->table->bytes);
    *out = &memory->base;
    return PBFT_STATUS_OK;
}

/* ---- the disk ---- */

struct pbft_pages_disk *pbft_pages_disk_new(void)
{
    struct pbft_pages_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) return NULL;
    disk->table = calloc(1, sizeof *disk->table);
    disk->crash_after = UINT64_MAX;
    if (disk->table != NULL) return disk;
    free(disk);
    return NULL;
}

struct pbft_pages_disk *pbft_pages_disk_copy(const struct pbft_pages_disk *disk)
{
    struct pbft_pages_disk *copy = pbft_pages_disk_new();
    if (copy == NULL) return NULL;
    copy->table->meta = disk->table->meta;
    for (size_t i = 0; i < disk->table->count; i++) {
        const struct entry *entry = &disk->table->entries[i];
        struct pbft_span page = {entry->blob->data, entry->blob->size};
        if (table_insert(copy->table, i, &entry->digest, page) != PBFT_STATUS_OK) {
            pbft_pages_disk_free(copy);
            return NULL;
        }
    }
    return copy;
}

void pbft_pages_disk_free(struct pbft_pages_disk *disk)
{
    if (disk == NULL) return;
    PBFT_ASSERT(!disk->opened);
    table_free(disk->table);
    free(disk);
}

void pbft_pages_disk_crash_after(struct pbft_pages_disk *disk, uint64_t transactions)
{
    disk->crash_after = transactions;
}

void pbft_pages_disk_fill(struct pbft_pages_disk *disk, bool full)
{
    disk->full = full;
}

bool pbft_pages_disk_rot(struct pbft_pages_disk *disk, uint64_t nth)
{
    if (disk->table->count == 0) return false;
    struct blob *blob = disk->table->entries[nth % disk->table->count].blob;
    if (blob->size == 0) return false;
    blob->data[nth % blob->size] ^= (uint8_t)(1u << (nth % 8));
    return true;
}

uint64_t pbft_pages_disk_commits(const struct pbft_pages_disk *disk)
{
    return disk->commits;
}

uint64_t pbft_pages_disk_pages(const struct pbft_pages_disk *disk)
{
    return disk->table->count;
}
