/**
 * store/disk.h - all that the store asks of a file system: one folder of flat files.
 *
 * A table of functions, so that a simulation carries the real store on a disk of its own, which
 * loses, tears and rots what it likes (FAULTS 2.38 to 2.45). pbft_disk_posix_open() is the real
 * one.
 *
 * What a write has put into a file may be lost in any part until a sync of that file has succeeded;
 * what create, rename and unlink have done to the folder, until a sync of the folder has (FAULTS
 * 2.40). After a failed sync nothing is known about what it covered, and it is never repeated
 * (FAULTS 2.41). A disk serves one thread at a time; a file, too.
 *
 * Statuses of all functions: PBFT_STATUS_FULL (ENOSPC, EDQUOT), PBFT_STATUS_NOT_FOUND,
 * PBFT_STATUS_EXISTS, PBFT_STATUS_PERMISSION, PBFT_STATUS_MEMORY, PBFT_STATUS_IO.
 */
#ifndef PBFT_STORE_DISK_H
#define PBFT_STORE_DISK_H

#include "pbft/types.h"

struct pbft_disk;

/* First member of every implementation's open file. */
struct pbft_disk_file {
    struct pbft_disk *disk;
};

/* Return false to stop. The name lives for the call, which must not change the folder. */
typedef bool pbft_disk_name_fn(void *context, const char *name);

struct pbft_disk_ops {
    /* Every file's name, in any order. */
    enum pbft_status (*list)(struct pbft_disk *disk, pbft_disk_name_fn *visit, void *context);

    /* A new file of `size` zeros that are written, not merely promised: to overwrite them later
     * changes no metadata, so that one fdatasync does. Neither file nor folder is synced. On
     * failure nothing is left. PBFT_STATUS_EXISTS. */
    enum pbft_status (*create)(struct pbft_disk *disk, const char *name, uint64_t size,
                               struct pbft_disk_file **out);

    /* PBFT_STATUS_NOT_FOUND. `size`: bytes of the file. */
    enum pbft_status (*open)(struct pbft_disk *disk, const char *name, bool writable,
                             struct pbft_disk_file **out, uint64_t *size);

    enum pbft_status (*rename)(struct pbft_disk *disk, const char *from, const char *to);
    enum pbft_status (*unlink)(struct pbft_disk *disk, const char *name);
    enum pbft_status (*sync_folder)(struct pbft_disk *disk);

    /* All of it, or an error: PBFT_STATUS_IO beyond the end of the file. */
    enum pbft_status (*read)(struct pbft_disk_file *file, uint64_t offset, void *data, size_t size);
    enum pbft_status (*write)(struct pbft_disk_file *file, uint64_t offset, const void *data,
                              size_t size);
    enum pbft_status (*sync)(struct pbft_disk_file *file); /* contents and size */
    void (*close)(struct pbft_disk_file *file);            /* syncs nothing */

    void (*free)(struct pbft_disk *disk);
};

/* First member of every implementation. */
struct pbft_disk {
    const struct pbft_disk_ops *ops;
};

/**
 * The folder `dir` of the real file system, which exists. New files have mode 0600.
 * Returns PBFT_STATUS_NOT_FOUND, PBFT_STATUS_PERMISSION, PBFT_STATUS_MEMORY, PBFT_STATUS_IO.
 */
enum pbft_status pbft_disk_posix_open(struct pbft_disk **out, const char *dir) PBFT_MUST_USE;

/* All its files are closed. NULL is allowed. */
void pbft_disk_free(struct pbft_disk *disk);

#endif
