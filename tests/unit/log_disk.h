/* A disk in memory for tests of the store: the table of store/disk.h with what power loss, a dying
 * process and worn hardware do (FAULTS 2.38 to 2.44). Synced bytes stay; of the others each sector
 * of 512 bytes is kept, lost or garbled, and each unsynced change of the folder kept or lost. */
#ifndef PBFT_TESTS_LOG_DISK_H
#define PBFT_TESTS_LOG_DISK_H

#include "store/disk.h"
#include "tests/unit/store_pages.h"

#define SIM_SECTOR 512u
#define SIM_FILES  96u /* inodes ever made, and names */
#define SIM_MOVES  512u

enum sim_crash {
    SIM_KILLED, /* the process only: everything stays, and is still not synced */
    SIM_LOSE,   /* nothing that was not synced is left */
    SIM_KEEP,   /* everything is */
    SIM_TEAR,   /* each sector old or new, each change of the folder kept or lost */
    SIM_GARBLE, /* a sector may hold neither */
    SIM_CRASHES
};

struct sim_bytes {
    uint8_t *data;
    size_t size;
};

struct sim_inode {
    struct sim_bytes now, safe;
    uint8_t *dirty; /* one for each sector: a sync takes it along */
};

struct sim_name {
    char name[24];
    int inode; /* -1: not there */
};

struct sim_folder {
    struct sim_name names[SIM_FILES];
    size_t count;
};

struct sim_move { /* a change of the folder: `gone` disappears, `name` means inode */
    char gone[24], name[24];
    int inode;
};

struct sim_disk {
    struct pbft_disk base;
    struct sim_inode inodes[SIM_FILES];
    size_t inode_count;
    struct sim_folder now, safe;
    struct sim_move moves[SIM_MOVES];
    size_t move_count;
    unsigned ops, syncs;
    unsigned stop_at;      /* op after which there is no more power; 0: never */
    unsigned fail_sync_at; /* this sync fails; 0: none */
    unsigned misdirect_at; /* the write that is this op lands misdirect_by bytes further on */
    uint64_t misdirect_by;
    uint64_t room; /* bytes of all named files; 0: any */
    bool full;     /* no write succeeds, and half of each is done */
    bool stopped;
};

struct sim_file {
    struct pbft_disk_file base;
    int inode;
};

static inline struct sim_disk *sim_of(struct pbft_disk *disk)
{
    return (struct sim_disk *)disk;
}

static inline void *sim_copy(const void *data, size_t size)
{
    void *copy = malloc(size + 1);
    if (copy == NULL) abort();
    if (size > 0) memcpy(copy, data, size);
    return copy;
}

static inline int sim_find(const struct sim_folder *folder, const char *name)
{
    for (size_t i = 0; i < folder->count; i++)
        if (strcmp(folder->names[i].name, name) == 0) return folder->names[i].inode;
    return -1;
}

/* Names are short. */
static inline void sim_name_copy(char out[24], const char *name)
{
    size_t size = strlen(name) + 1;
    if (size > 24) abort();
    memmove(out, name, size);
}

static inline void sim_set(struct sim_folder *folder, const char *name, int inode)
{
    size_t i = 0;
    while (i < folder->count && strcmp(folder->names[i].name, name) != 0)
        i++;
    if (i == folder->count) {
        if (inode < 0) return;
        if (folder->count == SIM_FILES) abort();
        folder->count++;
        sim_name_copy(folder->names[i].name, name);
    }
    folder->names[i].inode = inode;
    if (inode < 0) folder->names[i] = folder->names[--folder->count];
}

static inline void sim_apply(struct sim_folder *folder, const struct sim_move *move)
{
    if (move->gone[0] != '\0') sim_set(folder, move->gone, -1);
    if (move->name[0] != '\0') sim_set(folder, move->name, move->inode);
}

static inline void sim_move(struct sim_disk *d, const char *gone, const char *name, int inode)
{
    if (d->move_count == SIM_MOVES) abort();
    struct sim_move *move = &d->moves[d->move_count++];
    sim_name_copy(move->gone, gone);
    sim_name_copy(move->name, name);
    move->inode = inode;
    sim_apply(&d->now, move);
}

/* Counts an operation that changes something. False: it is the last one, or there is no power. */
static inline bool sim_power(struct sim_disk *d)
{
    if (d->stopped) return false;
    d->stopped = ++d->ops == d->stop_at;
    return !d->stopped;
}

static inline enum pbft_status sim_list(struct pbft_disk *disk, pbft_disk_name_fn *visit,
                                        void *context)
{
    struct sim_disk *d = sim_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    for (size_t i = 0; i < d->now.count; i++)
        if (!visit(context, d->now.names[i].name)) break;
    return PBFT_STATUS_OK;
}

static inline enum pbft_status sim_handle(struct sim_disk *d, int inode,
                                          struct pbft_disk_file **out)
{
    struct sim_file *file = sim_copy("", 0);
    file = realloc(file, sizeof *file);
    if (file == NULL) abort();
    file->base.disk = &d->base;
    file->inode = inode;
    *out = &file->base;
    return PBFT_STATUS_OK;
}

static inline enum pbft_status sim_create(struct pbft_disk *disk, const char *name, uint64_t size,
                                          struct pbft_disk_file **out)
{
    struct sim_disk *d = sim_of(disk);
    if (sim_find(&d->now, name) >= 0) return PBFT_STATUS_EXISTS;
    uint64_t used = 0;
    for (size_t i = 0; i < d->now.count; i++)
        used += d->inodes[d->now.names[i].inode].now.size;
    if (d->stopped) return PBFT_STATUS_IO;
    if (d->room != 0 && used + size > d->room) return PBFT_STATUS_FULL;
    if (d->inode_count == SIM_FILES) abort();
    int inode = (int)d->inode_count++;
    d->inodes[inode].now = (struct sim_bytes){calloc(1, size + 1), size};
    d->inodes[inode].safe = (struct sim_bytes){calloc(1, 1), 0};
    d->inodes[inode].dirty = sim_copy("", 0);
    d->inodes[inode].dirty = realloc(d->inodes[inode].dirty, size / SIM_SECTOR + 1);
    memset(d->inodes[inode].dirty, 1, size / SIM_SECTOR + 1);
    bool power = sim_power(d);
    sim_move(d, "", name, inode);
    return power ? sim_handle(d, inode, out) : PBFT_STATUS_IO;
}

static inline enum pbft_status sim_open(struct pbft_disk *disk, const char *name, bool writable,
                                        struct pbft_disk_file **out, uint64_t *size)
{
    (void)writable;
    struct sim_disk *d = sim_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    int inode = sim_find(&d->now, name);
    if (inode < 0) return PBFT_STATUS_NOT_FOUND;
    *size = d->inodes[inode].now.size;
    return sim_handle(d, inode, out);
}

static inline enum pbft_status sim_rename(struct pbft_disk *disk, const char *from, const char *to)
{
    struct sim_disk *d = sim_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    int inode = sim_find(&d->now, from);
    if (inode < 0) return PBFT_STATUS_NOT_FOUND;
    bool power = sim_power(d);
    sim_move(d, from, to, inode);
    return power ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static inline enum pbft_status sim_unlink(struct pbft_disk *disk, const char *name)
{
    struct sim_disk *d = sim_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    if (sim_find(&d->now, name) < 0) return PBFT_STATUS_NOT_FOUND;
    bool power = sim_power(d);
    sim_move(d, name, "", -1);
    return power ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static inline enum pbft_status sim_sync_folder(struct pbft_disk *disk)
{
    struct sim_disk *d = sim_of(disk);
    if (!sim_power(d)) return PBFT_STATUS_IO;
    d->safe = d->now;
    d->move_count = 0;
    return PBFT_STATUS_OK;
}

static inline struct sim_inode *sim_inode_of(struct pbft_disk_file *file)
{
    return &sim_of(file->disk)->inodes[((struct sim_file *)file)->inode];
}

static inline enum pbft_status sim_read(struct pbft_disk_file *file, uint64_t offset, void *data,
                                        size_t size)
{
    const struct sim_bytes *bytes = &sim_inode_of(file)->now;
    if (sim_of(file->disk)->stopped) return PBFT_STATUS_IO;
    if (offset > bytes->size || size > bytes->size - offset) return PBFT_STATUS_IO;
    if (size > 0) memcpy(data, bytes->data + offset, size);
    return PBFT_STATUS_OK;
}

static inline enum pbft_status sim_write(struct pbft_disk_file *file, uint64_t offset,
                                         const void *data, size_t size)
{
    struct sim_disk *d = sim_of(file->disk);
    struct sim_bytes *bytes = &sim_inode_of(file)->now;
    if (d->stopped) return PBFT_STATUS_IO;
    bool power = sim_power(d);
    if (d->ops == d->misdirect_at) offset += d->misdirect_by;
    if (offset > bytes->size || size > bytes->size - offset) abort(); /* never beyond a segment */
    memcpy(bytes->data + offset, data, d->full ? size / 2 : size);
    for (size_t i = offset / SIM_SECTOR; i * SIM_SECTOR < offset + size; i++)
        sim_inode_of(file)->dirty[i] = 1;
    if (!power) return PBFT_STATUS_IO;
    return d->full ? PBFT_STATUS_FULL : PBFT_STATUS_OK;
}

/* After a failure the cache shows what the disk does not have, and calls it clean (FAULTS 2.41). */
static inline enum pbft_status sim_sync(struct pbft_disk_file *file)
{
    struct sim_disk *d = sim_of(file->disk);
    if (!sim_power(d)) return PBFT_STATUS_IO;
    struct sim_inode *inode = sim_inode_of(file);
    bool fails = ++d->syncs == d->fail_sync_at;
    size_t size = inode->now.size;
    if (inode->safe.size != size && !fails) {
        free(inode->safe.data);
        inode->safe = (struct sim_bytes){calloc(1, size + 1), size};
    }
    for (size_t i = 0; i * SIM_SECTOR < size; i++) {
        size_t at = i * SIM_SECTOR, rest = size - at < SIM_SECTOR ? size - at : SIM_SECTOR;
        if (inode->dirty[i] && !fails) memcpy(inode->safe.data + at, inode->now.data + at, rest);
        inode->dirty[i] = 0;
    }
    return fails ? PBFT_STATUS_IO : PBFT_STATUS_OK;
}

static inline void sim_close(struct pbft_disk_file *file)
{
    free(file);
}

static inline void sim_free(struct pbft_disk *disk)
{
    struct sim_disk *d = sim_of(disk);
    for (size_t i = 0; i < d->inode_count; i++) {
        free(d->inodes[i].now.data);
        free(d->inodes[i].safe.data);
        free(d->inodes[i].dirty);
    }
    free(d);
}

static const struct pbft_disk_ops sim_disk_ops = {
    .list = sim_list,
    .create = sim_create,
    .open = sim_open,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .sync_folder = sim_sync_folder,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .close = sim_close,
    .free = sim_free,
};

static inline struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *d = calloc(1, sizeof *d);
    if (d == NULL) abort();
    d->base.ops = &sim_disk_ops;
    return d;
}

static inline struct sim_disk *sim_disk_clone(const struct sim_disk *disk)
{
    struct sim_disk *d = sim_copy(disk, sizeof *disk);
    for (size_t i = 0; i < d->inode_count; i++) {
        struct sim_inode *inode = &d->inodes[i];
        inode->now.data = sim_copy(inode->now.data, inode->now.size);
        inode->safe.data = sim_copy(inode->safe.data, inode->safe.size);
        inode->dirty = sim_copy(inode->dirty, inode->now.size / SIM_SECTOR + 1);
    }
    return d;
}

static inline void sim_crash_inode(struct sim_inode *inode, enum sim_crash how, struct rng *rng)
{
    bool keep = how == SIM_KEEP || (how != SIM_LOSE && rng_below(rng, 2) == 0);
    size_t size = keep ? inode->now.size : inode->safe.size;
    uint8_t *data = calloc(1, size + 1);
    for (size_t at = 0; at < size; at += SIM_SECTOR) {
        size_t end = at + SIM_SECTOR < size ? at + SIM_SECTOR : size;
        uint8_t old[SIM_SECTOR] = {0}, new[SIM_SECTOR] = {0};
        for (size_t i = at; i < end; i++) {
            if (i < inode->safe.size) old[i - at] = inode->safe.data[i];
            if (i < inode->now.size) new[i - at] = inode->now.data[i];
        }
        uint32_t choice = how == SIM_KEEP ? 1 : how == SIM_LOSE ? 0 : rng_below(rng, 4);
        if (how == SIM_TEAR) choice &= 1u;
        memcpy(data + at, choice == 0 || choice == 2 ? old : new, end - at);
        if (choice == 3 && memcmp(old, new, sizeof old) != 0)
            for (size_t i = at; i < end; i++)
                data[i] = (uint8_t)rng_next(rng);
    }
    free(inode->now.data);
    free(inode->safe.data);
    inode->now = (struct sim_bytes){data, size};
    inode->safe = (struct sim_bytes){sim_copy(data, size), size};
    if (size > 0) memset(inode->dirty, 0, size / SIM_SECTOR + 1);
}

/* The end of one life; the disk is then as the next one finds it. */
static inline void sim_crash(struct sim_disk *d, enum sim_crash how, struct rng *rng)
{
    d->stop_at = 0;
    d->stopped = false;
    d->full = false;
    if (how == SIM_KILLED) return;
    for (size_t i = 0; i < d->move_count; i++)
        if (how == SIM_KEEP || (how != SIM_LOSE && rng_below(rng, 2) == 0))
            sim_apply(&d->safe, &d->moves[i]);
    d->now = d->safe;
    d->move_count = 0;
    for (size_t i = 0; i < d->inode_count; i++)
        sim_crash_inode(&d->inodes[i], how, rng);
}

#endif
