/* A folder of the real file system, by its descriptor. */
#include "store/disk.h"

#include "crypto/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZEROS_BYTES (256u << 10)

struct posix_disk {
    struct pbft_disk base;
    int fd;
};

struct posix_file {
    struct pbft_disk_file base;
    int fd;
};

static int folder_of(struct pbft_disk *disk)
{
    return ((struct posix_disk *)disk)->fd;
}

static int fd_of(struct pbft_disk_file *file)
{
    return ((struct posix_file *)file)->fd;
}

static enum pbft_status posix_list(struct pbft_disk *disk, pbft_disk_name_fn *visit, void *context)
{
    /* A description of its own: a duplicate would share the position. */
    int fd = openat(folder_of(disk), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return pbft_file_status(errno);
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        enum pbft_status status = pbft_file_status(errno);
        close(fd);
        return status;
    }
    enum pbft_status status = PBFT_STATUS_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            if (errno != 0) status = pbft_file_status(errno);
            break;
        }
        if (!visit(context, entry->d_name)) break;
    }
    closedir(folder);
    return status;
}

static enum pbft_status file_new(struct pbft_disk *disk, const char *name, int flags,
                                 struct pbft_disk_file **out)
{
    struct posix_file *file = malloc(sizeof *file);
    if (file == NULL) return PBFT_STATUS_MEMORY;
    do {
        file->fd = openat(folder_of(disk), name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    } while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0) {
        enum pbft_status status = pbft_file_status(errno);
        free(file);
        return status;
    }
    file->base.disk = disk;
    *out = &file->base;
    return PBFT_STATUS_OK;
}

static void posix_close(struct pbft_disk_file *file)
{
    close(fd_of(file)); /* what matters was synced, and a failure then cannot be mended here */
    free(file);
}

static enum pbft_status posix_read(struct pbft_disk_file *file, uint64_t offset, void *data,
                                   size_t size)
{
    uint8_t *at = data;
    while (size > 0) {
        ssize_t got = pread(fd_of(file), at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return pbft_file_status(errno);
        if (got == 0) return PBFT_STATUS_IO;
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return PBFT_STATUS_OK;
}

static enum pbft_status posix_write(struct pbft_disk_file *file, uint64_t offset, const void *data,
                                    size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t written = pwrite(fd_of(file), at, size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return pbft_file_status(errno);
        if (written == 0) return PBFT_STATUS_IO;
        at += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return PBFT_STATUS_OK;
}

static enum pbft_status write_zeros(struct pbft_disk_file *file, uint64_t size)
{
    uint8_t *zeros = calloc(1, ZEROS_BYTES);
    if (zeros == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = PBFT_STATUS_OK;
    for (uint64_t at = 0; at < size && status == PBFT_STATUS_OK; at += ZEROS_BYTES)
        status = posix_write(file, at, zeros,
                             size - at < ZEROS_BYTES ? (size_t)(size - at) : ZEROS_BYTES);
    free(zeros);
    return status;
}

static enum pbft_status posix_create(struct pbft_disk *disk, const char *name, uint64_t size,
                                     struct pbft_disk_file **out)
{
    struct pbft_disk_file *file;
    enum pbft_status status = file_new(disk, name, O_RDWR | O_CREAT | O_EXCL, &file);
    if (status != PBFT_STATUS_OK) return status;
    /* The room first, in one piece; not every file system can, and the zeros tell anyway. */
    int error = posix_fallocate(fd_of(file), 0, (off_t)size);
    if (error == ENOSPC || error == EDQUOT) status = PBFT_STATUS_FULL;
    if (status == PBFT_STATUS_OK) status = write_zeros(file, size);
    if (status == PBFT_STATUS_OK) {
        *out = file;
        return status;
    }
    posix_close(file);
    (void)unlinkat(folder_of(disk), name, 0);
    return status;
}

static enum pbft_status posix_open(struct pbft_disk *disk, const char *name, bool writable,
                                   struct pbft_disk_file **out, uint64_t *size)
{
    struct pbft_disk_file *file;
    enum pbft_status status = file_new(disk, name, writable ? O_RDWR : O_RDONLY, &file);
    if (status != PBFT_STATUS_OK) return status;
    struct stat found;
    if (fstat(fd_of(file), &found) != 0) status = pbft_file_status(errno);
    if (status == PBFT_STATUS_OK && !S_ISREG(found.st_mode)) status = PBFT_STATUS_IO;
    if (status != PBFT_STATUS_OK) {
        posix_close(file);
        return status;
    }
    *size = (uint64_t)found.st_size;
    *out = file;
    return PBFT_STATUS_OK;
}

static enum pbft_status posix_rename(struct pbft_disk *disk, const char *from, const char *to)
{
    int fd = folder_of(disk);
    return renameat(fd, from, fd, to) == 0 ? PBFT_STATUS_OK : pbft_file_status(errno);
}

static enum pbft_status posix_unlink(struct pbft_disk *disk, const char *name)
{
    return unlinkat(folder_of(disk), name, 0) == 0 ? PBFT_STATUS_OK : pbft_file_status(errno);
}

/* Interrupted is not known to be failed, but not known to be done either: like every failure. */
static enum pbft_status posix_sync_folder(struct pbft_disk *disk)
{
    return fsync(folder_of(disk)) == 0 ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static enum pbft_status posix_sync(struct pbft_disk_file *file)
{
    return fdatasync(fd_of(file)) == 0 ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static void posix_free(struct pbft_disk *disk)
{
    close(folder_of(disk));
    free(disk);
}

static const struct pbft_disk_ops posix_ops = {
    .list = posix_list,
    .create = posix_create,
    .open = posix_open,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_folder = posix_sync_folder,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .close = posix_close,
    .free = posix_free,
};

enum pbft_status pbft_disk_posix_open(struct pbft_disk **out, const char *dir)
{
    struct posix_disk *disk = malloc(sizeof *disk);
    if (disk == NULL) return PBFT_STATUS_MEMORY;
    disk->base.ops = &posix_ops;
    disk->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->fd < 0) {
        enum pbft_status status = pbft_file_status(errno);
        free(disk);
        return status;
    }
    *out = &disk->base;
    return PBFT_STATUS_OK;
}

void pbft_disk_free(struct pbft_disk *disk)
{
    if (disk != NULL) disk->ops->free(disk);
}
