/* A disk in memory, see vdisk.h. */
#include "tests/sim/vdisk.h"

#include <stdlib.h>
#include <string.h>

#define OLD   1u /* the platter holds something else: see olds */
#define DIRTY 2u /* a sync takes it along */

#define NONE SIZE_MAX

struct open_file {
    struct pbft_disk_file base;
    size_t inode;
};

static struct vdisk *disk_of(struct pbft_disk *disk)
{
    return (struct vdisk *)disk;
}

static void *must(void *memory)
{
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

static void *grow(void *array, size_t *capacity, size_t count, size_t item)
{
    if (count < *capacity) return array;
    *capacity = *capacity == 0 ? 8 : 2 * *capacity;
    return must(realloc(array, *capacity * item));
}

static void *copy(const void *data, size_t size)
{
    void *memory = must(malloc(size == 0 ? 1 : size));
    if (size > 0) memcpy(memory, data, size);
    return memory;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *random)
{
    uint64_t z = (*random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* ---- the folder ---- */

static void name_copy(char out[VDISK_NAME_BYTES], const char *name)
{
    size_t size = strlen(name) + 1;
    PBFT_ASSERT(size <= VDISK_NAME_BYTES);
    memmove(out, name, size);
}

static size_t name_find(const struct vdisk_folder *folder, const char *name)
{
    for (size_t i = 0; i < folder->count; i++)
        if (strcmp(folder->names[i].name, name) == 0) return i;
    return NONE;
}

static void name_set(struct vdisk_folder *folder, const char *name, size_t inode)
{
    size_t i = name_find(folder, name);
    if (i == NONE) {
        i = folder->count;
        folder->names = grow(folder->names, &folder->capacity, i, sizeof *folder->names);
        folder->count++;
        name_copy(folder->names[i].name, name);
    }
    folder->names[i].inode = inode;
}

static void name_drop(struct vdisk_folder *folder, const char *name)
{
    size_t i = name_find(folder, name);
    if (i != NONE) folder->names[i] = folder->names[--folder->count];
}

static void folder_copy(struct vdisk_folder *to, const struct vdisk_folder *from)
{
    free(to->names);
    *to = (struct vdisk_folder){.names = copy(from->names, from->count * sizeof *from->names),
                                .count = from->count,
                                .capacity = from->count};
}

static void apply(struct vdisk_folder *folder, const struct vdisk_move *move)
{
    if (move->gone[0] != '\0') name_drop(folder, move->gone);
    if (move->name[0] != '\0') name_set(folder, move->name, move->inode);
}

static void change(struct vdisk *d, const char *gone, const char *name, size_t inode)
{
    d->moves = grow(d->moves, &d->move_capacity, d->move_count, sizeof *d->moves);
    struct vdisk_move *move = &d->moves[d->move_count++];
    name_copy(move->gone, gone);
    name_copy(move->name, name);
    move->inode = inode;
    apply(&d->now, move);
}

/* ---- inodes ---- */

static size_t sectors(const struct vdisk_inode *inode)
{
    return (inode->size + VDISK_SECTOR - 1) / VDISK_SECTOR;
}

static size_t sector_bytes(const struct vdisk_inode *inode, size_t sector)
{
    size_t rest = inode->size - sector * VDISK_SECTOR;
    return rest < VDISK_SECTOR ? rest : VDISK_SECTOR;
}

static void inode_free(struct vdisk_inode *inode)
{
    free(inode->data);
    free(inode->flags);
    free(inode->olds);
    *inode = (struct vdisk_inode){0};
}

static bool names_inode(const struct vdisk_folder *folder, size_t inode)
{
    for (size_t i = 0; i < folder->count; i++)
        if (folder->names[i].inode == inode) return true;
    return false;
}

/* What no name and no process leads to any more. With moves open, any of them may come back. */
static void reap(struct vdisk *d)
{
    for (size_t i = 0; i < d->inode_count && d->move_count == 0; i++)
        if (d->inodes[i].data != NULL && d->inodes[i].handles == 0 && !names_inode(&d->now, i) &&
            !names_inode(&d->safe, i))
            inode_free(&d->inodes[i]);
}

static size_t inode_new(struct vdisk *d, size_t size)
{
    size_t i = 0;
    while (i < d->inode_count && d->inodes[i].data != NULL)
        i++;
    if (i == d->inode_count) {
        d->inodes = grow(d->inodes, &d->inode_capacity, i, sizeof *d->inodes);
        d->inode_count++;
    }
    d->inodes[i] = (struct vdisk_inode){.data = must(calloc(1, size + 1)), .size = size};
    d->inodes[i].flags = must(calloc(1, sectors(&d->inodes[i]) + 1));
    return i;
}

/* NULL: zeros, as a new file's. */
static void put_aside(struct vdisk_inode *inode, size_t sector, const uint8_t *bytes)
{
    inode->olds = grow(inode->olds, &inode->old_capacity, inode->old_count, sizeof *inode->olds);
    struct vdisk_old *old = &inode->olds[inode->old_count++];
    *old = (struct vdisk_old){.sector = sector};
    if (bytes != NULL) memcpy(old->bytes, bytes, sector_bytes(inode, sector));
    inode->flags[sector] |= OLD;
}

/* Before it is written to. */
static void soil(struct vdisk_inode *inode, size_t sector)
{
    if (inode->synced && (inode->flags[sector] & OLD) == 0)
        put_aside(inode, sector, inode->data + sector * VDISK_SECTOR);
    inode->flags[sector] |= DIRTY;
}

static void inode_synced(struct vdisk_inode *inode)
{
    if (!inode->synced)
        for (size_t i = 0; i < sectors(inode); i++)
            if ((inode->flags[i] & OLD) == 0) inode->flags[i] = 0;
    inode->synced = true;
    size_t kept = 0;
    for (size_t i = 0; i < inode->old_count; i++) {
        uint8_t *flags = &inode->flags[inode->olds[i].sector];
        if ((*flags & DIRTY) == 0)
            inode->olds[kept++] = inode->olds[i]; /* lost by a sync that failed */
        else
            *flags = 0;
    }
    inode->old_count = kept;
}

/* The cache shows what the disk does not have, and calls it clean (FAULTS 2.41). */
static void inode_sync_failed(struct vdisk_inode *inode)
{
    for (size_t i = 0; i < sectors(inode); i++) {
        if (!inode->synced && (inode->flags[i] & OLD) == 0) put_aside(inode, i, NULL);
        inode->flags[i] &= (uint8_t)~DIRTY;
    }
}

/* ---- the table ---- */

/* Counts an operation that changes something. False: it is the last one, or there is no power. */
static bool power(struct vdisk *d)
{
    if (d->stopped) return false;
    d->stopped = ++d->ops == d->stop_at;
    return !d->stopped;
}

static enum pbft_status vdisk_list(struct pbft_disk *disk, pbft_disk_name_fn *visit, void *context)
{
    const struct vdisk *d = disk_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    for (size_t i = 0; i < d->now.count; i++)
        if (!visit(context, d->now.names[i].name)) break;
    return PBFT_STATUS_OK;
}

static enum pbft_status hand_out(struct vdisk *d, size_t inode, struct pbft_disk_file **out)
{
    struct open_file *file = must(malloc(sizeof *file));
    file->base.disk = &d->base;
    file->inode = inode;
    d->inodes[inode].handles++;
    *out = &file->base;
    return PBFT_STATUS_OK;
}

uint64_t vdisk_bytes(const struct vdisk *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->now.count; i++)
        bytes += d->inodes[d->now.names[i].inode].size;
    return bytes;
}

static enum pbft_status vdisk_create(struct pbft_disk *disk, const char *name, uint64_t size,
                                     struct pbft_disk_file **out)
{
    struct vdisk *d = disk_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    if (name_find(&d->now, name) != NONE) return PBFT_STATUS_EXISTS;
    if (d->room != 0 && vdisk_bytes(d) + size > d->room) return PBFT_STATUS_FULL;
    size_t inode = inode_new(d, (size_t)size);
    bool on = power(d);
    change(d, "", name, inode);
    return on ? hand_out(d, inode, out) : PBFT_STATUS_IO;
}

static enum pbft_status vdisk_open(struct pbft_disk *disk, const char *name, bool writable,
                                   struct pbft_disk_file **out, uint64_t *size)
{
    (void)writable;
    struct vdisk *d = disk_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    size_t at = name_find(&d->now, name);
    if (at == NONE) return PBFT_STATUS_NOT_FOUND;
    *size = d->inodes[d->now.names[at].inode].size;
    return hand_out(d, d->now.names[at].inode, out);
}

static enum pbft_status vdisk_rename(struct pbft_disk *disk, const char *from, const char *to)
{
    struct vdisk *d = disk_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    size_t at = name_find(&d->now, from);
    if (at == NONE) return PBFT_STATUS_NOT_FOUND;
    bool on = power(d);
    change(d, from, to, d->now.names[at].inode);
    return on ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static enum pbft_status vdisk_unlink(struct pbft_disk *disk, const char *name)
{
    struct vdisk *d = disk_of(disk);
    if (d->stopped) return PBFT_STATUS_IO;
    if (name_find(&d->now, name) == NONE) return PBFT_STATUS_NOT_FOUND;
    bool on = power(d);
    change(d, name, "", NONE);
    return on ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static enum pbft_status vdisk_sync_folder(struct pbft_disk *disk)
{
    struct vdisk *d = disk_of(disk);
    if (!power(d)) return PBFT_STATUS_IO;
    folder_copy(&d->safe, &d->now);
    d->move_count = 0;
    reap(d);
    return PBFT_STATUS_OK;
}

static struct vdisk_inode *inode_of(struct pbft_disk_file *file)
{
    return &disk_of(file->disk)->inodes[((struct open_file *)file)->inode];
}

static enum pbft_status vdisk_read(struct pbft_disk_file *file, uint64_t offset, void *data,
                                   size_t size)
{
    struct vdisk *d = disk_of(file->disk);
    const struct vdisk_inode *inode = inode_of(file);
    if (d->stopped) return PBFT_STATUS_IO;
    if (offset > inode->size || size > inode->size - offset) return PBFT_STATUS_IO;
    if (++d->reads == d->misread_at && inode->size > 0) { /* wherever that is */
        for (size_t i = 0; i < size; i++)
            ((uint8_t *)data)[i] = inode->data[(offset + d->misdirect_by + i) % inode->size];
    } else if (size > 0) {
        memcpy(data, inode->data + offset, size);
    }
    return PBFT_STATUS_OK;
}

static enum pbft_status vdisk_write(struct pbft_disk_file *file, uint64_t offset, const void *data,
                                    size_t size)
{
    struct vdisk *d = disk_of(file->disk);
    struct vdisk_inode *inode = inode_of(file);
    if (d->stopped) return PBFT_STATUS_IO;
    bool on = power(d);
    if (d->ops == d->misdirect_at) offset += d->misdirect_by;
    PBFT_ASSERT(offset <= inode->size && size <= inode->size - offset);
    size_t written = d->full ? size / 2 : size;
    for (size_t i = offset / VDISK_SECTOR; i * VDISK_SECTOR < offset + written; i++)
        soil(inode, i);
    if (written > 0) memcpy(inode->data + offset, data, written);
    if (!on) return PBFT_STATUS_IO;
    return d->full ? PBFT_STATUS_FULL : PBFT_STATUS_OK;
}

static enum pbft_status vdisk_sync(struct pbft_disk_file *file)
{
    struct vdisk *d = disk_of(file->disk);
    if (!power(d)) return PBFT_STATUS_IO;
    bool fails = ++d->syncs == d->fail_sync_at;
    if (fails)
        inode_sync_failed(inode_of(file));
    else
        inode_synced(inode_of(file));
    return fails ? PBFT_STATUS_IO : PBFT_STATUS_OK;
}

static void vdisk_close(struct pbft_disk_file *file)
{
    struct vdisk *d = disk_of(file->disk);
    inode_of(file)->handles--;
    free(file);
    reap(d);
}

static void vdisk_free(struct pbft_disk *disk)
{
    struct vdisk *d = disk_of(disk);
    for (size_t i = 0; i < d->inode_count; i++)
        inode_free(&d->inodes[i]);
    free(d->inodes);
    free(d->now.names);
    free(d->safe.names);
    free(d->moves);
    free(d);
}

static const struct pbft_disk_ops vdisk_ops = {
    .list = vdisk_list,
    .create = vdisk_create,
    .open = vdisk_open,
    .rename = vdisk_rename,
    .unlink = vdisk_unlink,
    .sync_folder = vdisk_sync_folder,
    .read = vdisk_read,
    .write = vdisk_write,
    .sync = vdisk_sync,
    .close = vdisk_close,
    .free = vdisk_free,
};

/* ---- making one ---- */

struct vdisk *vdisk_new(void)
{
    struct vdisk *d = must(calloc(1, sizeof *d));
    d->base.ops = &vdisk_ops;
    return d;
}

struct vdisk *vdisk_clone(const struct vdisk *disk)
{
    struct vdisk *d = copy(disk, sizeof *disk);
    d->inodes = must(calloc(disk->inode_count + 1, sizeof *disk->inodes));
    d->inode_capacity = disk->inode_count;
    for (size_t i = 0; i < d->inode_count; i++) {
        struct vdisk_inode *inode = &d->inodes[i];
        *inode = disk->inodes[i];
        if (inode->data == NULL) continue;
        inode->data = copy(inode->data, inode->size);
        inode->flags = copy(inode->flags, sectors(inode) + 1);
        inode->olds = copy(inode->olds, inode->old_count * sizeof *inode->olds);
        inode->old_capacity = inode->old_count;
        inode->handles = 0; /* they are the original's */
    }
    d->now.names = d->safe.names = NULL;
    folder_copy(&d->now, &disk->now);
    folder_copy(&d->safe, &disk->safe);
    d->moves = copy(disk->moves, disk->move_count * sizeof *disk->moves);
    d->move_capacity = disk->move_count;
    return d;
}

struct vdisk_inode *vdisk_file(struct vdisk *d, const char *name)
{
    size_t at = name_find(&d->now, name);
    return at == NONE ? NULL : &d->inodes[d->now.names[at].inode];
}

void vdisk_remove(struct vdisk *d, const char *name)
{
    name_drop(&d->now, name);
    name_drop(&d->safe, name);
}

/* ---- crashes ---- */

static void sector_crash(struct vdisk_inode *inode, size_t sector, const uint8_t *old,
                         enum vdisk_crash how, uint64_t *random)
{
    enum { OF_OLD, OF_NEW, OF_OLD_TOO, OF_NEITHER };
    uint8_t *data = inode->data + sector * VDISK_SECTOR;
    size_t size = sector_bytes(inode, sector);
    if (how == VDISK_KEEP) return;
    uint64_t choice =
        how == VDISK_LOSE ? OF_OLD : next_random(random) % (how == VDISK_GARBLE ? 4 : 2);
    if (choice == OF_NEW || memcmp(data, old, size) == 0) return;
    if (choice != OF_NEITHER) {
        memcpy(data, old, size);
        return;
    }
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)next_random(random);
}

static void inode_crash(struct vdisk_inode *inode, enum vdisk_crash how, uint64_t *random)
{
    static const uint8_t zeros[VDISK_SECTOR];
    bool new = !inode->synced;
    if (new && (how == VDISK_LOSE || how == VDISK_CUT ||
                (how != VDISK_KEEP && next_random(random) % 2 == 0)))
        inode->size = 0;
    size_t first = how == VDISK_CUT ? (size_t)(next_random(random) % (inode->old_count + 1)) : 0;
    if (first > 0 && first == inode->old_count) first--;
    for (size_t i = 0; new &&i < sectors(inode); i++)
        if ((inode->flags[i] & OLD) == 0) sector_crash(inode, i, zeros, how, random);
    for (size_t i = first; i < inode->old_count; i++)
        if (inode->size > 0)
            sector_crash(inode, inode->olds[i].sector, inode->olds[i].bytes,
                         how == VDISK_CUT ? VDISK_LOSE : how, random);
    inode->old_count = 0;
    memset(inode->flags, 0, sectors(inode));
    inode->synced = true;
}

void vdisk_crash(struct vdisk *d, enum vdisk_crash how, uint64_t random)
{
    d->stop_at = 0;
    d->stopped = d->full = false;
    if (how == VDISK_KILLED) return;
    for (size_t i = 0; i < d->move_count; i++)
        if (how == VDISK_KEEP ||
            ((how == VDISK_TEAR || how == VDISK_GARBLE) && next_random(&random) % 2 == 0))
            apply(&d->safe, &d->moves[i]);
    folder_copy(&d->now, &d->safe);
    d->move_count = 0;
    for (size_t i = 0; i < d->inode_count; i++)
        if (d->inodes[i].data != NULL) inode_crash(&d->inodes[i], how, &random);
    reap(d);
}
