/* DIR/superblock: written aside, synced, then linked or renamed into place, directory synced. */
#include "store/superblock.h"

#include "crypto/files.h"
#include "crypto/hash.h"
#include "pbft/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES     128u
#define BODY_BYTES     96u
#define FILE_VERSION   2u
#define READ_BYTES     4096u /* a later version may be longer */
#define SUPERBLOCK     "superblock"
#define SUPERBLOCK_TMP "superblock.tmp" /* by a start */
#define SUPERBLOCK_NEW "superblock.new" /* by init, which may meet a running replica */

static const uint8_t magic[8] = {'P', 'B', 'F', 'T', 'S', 'U', 'P', 'R'};

struct pbft_superblock {
    struct pbft_superblock_owner owner;
    uint64_t starts, forgot;
    int dir_fd;
    int lock_fd;
    bool marked;
};

static void encode(uint8_t out[FILE_BYTES], const struct pbft_superblock_owner *owner,
                   uint64_t starts, uint64_t forgot)
{
    memset(out, 0, FILE_BYTES);
    memcpy(out, magic, sizeof magic);
    pbft_put_u32(out + 8, FILE_VERSION);
    pbft_put_u32(out + 12, owner->replica);
    pbft_put_u64(out + 16, starts);
    memcpy(out + 24, owner->cluster_id.bytes, PBFT_DIGEST_BYTES);
    memcpy(out + 56, owner->key_fingerprint.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u64(out + 88, forgot);
    struct pbft_digest sum;
    struct pbft_span body = {out, BODY_BYTES};
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    memcpy(out + BODY_BYTES, sum.bytes, PBFT_DIGEST_BYTES);
}

/* Bytes read, up to size; -1 on error. */
static ssize_t read_all(int fd, uint8_t *data, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(fd, data + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* A synced file beside the superblock. What an earlier crash left there is replaced. */
static enum pbft_status write_aside(int dir_fd, const char *name, const uint8_t data[FILE_BYTES])
{
    if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT) return pbft_file_status(errno);
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return pbft_file_status(errno);
    enum pbft_status status = pbft_file_write(fd, data, FILE_BYTES);
    if (status == PBFT_STATUS_OK && fsync(fd) != 0) status = pbft_file_status(errno);
    if (close(fd) != 0) status = PBFT_STATUS_IO;
    return status;
}

static enum pbft_status dir_open(const char *dir, int *dir_fd)
{
    *dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *dir_fd < 0 ? pbft_file_status(errno) : PBFT_STATUS_OK;
}

enum pbft_status pbft_superblock_create(const char *dir, const struct pbft_superblock_owner *owner)
{
    int dir_fd;
    enum pbft_status status = dir_open(dir, &dir_fd);
    if (status != PBFT_STATUS_OK) return status;
    uint8_t data[FILE_BYTES];
    encode(data, owner, 0, 0);
    status = write_aside(dir_fd, SUPERBLOCK_NEW, data);
    if (status == PBFT_STATUS_OK) {
        /* Unlike a rename, a link fails where there is one already. */
        if (linkat(dir_fd, SUPERBLOCK_NEW, dir_fd, SUPERBLOCK, 0) != 0)
            status = pbft_file_status(errno);
        if (unlinkat(dir_fd, SUPERBLOCK_NEW, 0) != 0 && status == PBFT_STATUS_OK)
            status = pbft_file_status(errno);
        if (fsync(dir_fd) != 0 && status == PBFT_STATUS_OK) status = PBFT_STATUS_IO;
    }
    close(dir_fd);
    return status;
}

static bool is_sealed(const uint8_t *data, size_t size)
{
    struct pbft_digest sum;
    struct pbft_span body = {data, size - PBFT_DIGEST_BYTES};
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    return memcmp(data + body.size, sum.bytes, PBFT_DIGEST_BYTES) == 0;
}

/* Magic, version and, at the end, the hash stay where they are in every version to come: rot is
 * none. version: 0 if it is damaged. */
static enum pbft_status look_version(const uint8_t *data, size_t size, uint32_t *version)
{
    *version = 0;
    if (size < 12 + PBFT_DIGEST_BYTES || memcmp(data, magic, sizeof magic) != 0 ||
        !is_sealed(data, size))
        return PBFT_STATUS_CORRUPT;
    *version = pbft_get_u32(data + 8);
    if (*version > FILE_VERSION) return PBFT_STATUS_LATER;
    return *version == FILE_VERSION && size == FILE_BYTES ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
}

/* Whoever it belongs to. */
static enum pbft_status file_look(int dir_fd, struct pbft_superblock_info *info)
{
    uint8_t data[READ_BYTES];
    int fd = openat(dir_fd, SUPERBLOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno == ELOOP ? PBFT_STATUS_CORRUPT : pbft_file_status(errno);
    ssize_t got = read_all(fd, data, sizeof data);
    close(fd);
    if (got < 0) return PBFT_STATUS_IO;
    enum pbft_status status = look_version(data, (size_t)got, &info->version);
    if (status != PBFT_STATUS_OK) return status;
    info->owner.replica = pbft_get_u32(data + 12);
    memcpy(info->owner.cluster_id.bytes, data + 24, PBFT_DIGEST_BYTES);
    memcpy(info->owner.key_fingerprint.bytes, data + 56, PBFT_DIGEST_BYTES);
    info->starts = pbft_get_u64(data + 16);
    info->forgot = pbft_get_u64(data + 88);
    return PBFT_STATUS_OK;
}

static enum pbft_status load(struct pbft_superblock *superblock)
{
    struct pbft_superblock_info info;
    enum pbft_status status = file_look(superblock->dir_fd, &info);
    if (status != PBFT_STATUS_OK) return status;
    if (info.owner.replica != superblock->owner.replica ||
        !pbft_digest_equal(&info.owner.cluster_id, &superblock->owner.cluster_id) ||
        !pbft_digest_equal(&info.owner.key_fingerprint, &superblock->owner.key_fingerprint))
        return PBFT_STATUS_CORRUPT;
    superblock->starts = info.starts;
    superblock->forgot = info.forgot;
    return PBFT_STATUS_OK;
}

static enum pbft_status lock(struct pbft_superblock *superblock)
{
    superblock->lock_fd =
        openat(superblock->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (superblock->lock_fd < 0) return pbft_file_status(errno);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(superblock->lock_fd, F_SETLK, &whole) == 0) return PBFT_STATUS_OK;
    return errno == EACCES || errno == EAGAIN ? PBFT_STATUS_REFUSED : PBFT_STATUS_IO;
}

enum pbft_status pbft_superblock_open(struct pbft_superblock **out, const char *dir,
                                      const struct pbft_superblock_owner *owner, uint64_t *starts)
{
    struct pbft_superblock *superblock = calloc(1, sizeof *superblock);
    if (superblock == NULL) return PBFT_STATUS_MEMORY;
    superblock->owner = *owner;
    superblock->dir_fd = superblock->lock_fd = -1;
    enum pbft_status status = dir_open(dir, &superblock->dir_fd);
    /* Looked at before the lock file is made, so that a wiped directory stays untouched, and again
     * under the lock. */
    if (status == PBFT_STATUS_OK) status = load(superblock);
    if (status == PBFT_STATUS_OK) status = lock(superblock);
    if (status == PBFT_STATUS_OK) status = load(superblock);
    if (status != PBFT_STATUS_OK) {
        pbft_superblock_close(superblock);
        return status;
    }
    if (starts != NULL) *starts = superblock->starts;
    *out = superblock;
    return PBFT_STATUS_OK;
}

static enum pbft_status store(struct pbft_superblock *superblock, uint64_t starts, uint64_t forgot)
{
    uint8_t data[FILE_BYTES];
    encode(data, &superblock->owner, starts, forgot);
    enum pbft_status status = write_aside(superblock->dir_fd, SUPERBLOCK_TMP, data);
    if (status != PBFT_STATUS_OK) return status;
    if (renameat(superblock->dir_fd, SUPERBLOCK_TMP, superblock->dir_fd, SUPERBLOCK) != 0)
        return pbft_file_status(errno);
    if (fsync(superblock->dir_fd) != 0) return PBFT_STATUS_IO;
    superblock->starts = starts;
    superblock->forgot = forgot;
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_superblock_mark_start(struct pbft_superblock *superblock, bool forgets)
{
    if (superblock->marked) return PBFT_STATUS_REFUSED;
    uint64_t forgot = superblock->forgot + (forgets ? 1 : 0);
    enum pbft_status status = store(superblock, superblock->starts + 1, forgot);
    if (status == PBFT_STATUS_OK) superblock->marked = true;
    return status;
}

enum pbft_status pbft_superblock_mark_amnesia(struct pbft_superblock *superblock)
{
    uint64_t starts = superblock->starts + (superblock->marked ? 0 : 1);
    enum pbft_status status = store(superblock, starts, superblock->forgot + 1);
    if (status == PBFT_STATUS_OK) superblock->marked = true;
    return status;
}

uint64_t pbft_superblock_starts(const struct pbft_superblock *superblock)
{
    return superblock->starts;
}

uint64_t pbft_superblock_forgot(const struct pbft_superblock *superblock)
{
    return superblock->forgot;
}

/* ---- for a check ---- */

enum pbft_status pbft_superblock_look(const char *dir, struct pbft_superblock_info *info)
{
    *info = (struct pbft_superblock_info){0};
    int dir_fd;
    enum pbft_status status = dir_open(dir, &dir_fd);
    if (status != PBFT_STATUS_OK) return status;
    status = file_look(dir_fd, info);
    close(dir_fd);
    return status;
}

enum pbft_status pbft_superblock_in_use(const char *dir, bool *in_use)
{
    *in_use = false;
    int dir_fd;
    enum pbft_status status = dir_open(dir, &dir_fd);
    if (status != PBFT_STATUS_OK) return status;
    int fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    status = fd < 0 && errno != ENOENT ? pbft_file_status(errno) : PBFT_STATUS_OK;
    close(dir_fd);
    if (fd < 0) return status; /* none: nobody ever started on it */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &whole) != 0)
        status = PBFT_STATUS_IO;
    else
        *in_use = whole.l_type != F_UNLCK;
    close(fd);
    return status;
}

void pbft_superblock_close(struct pbft_superblock *superblock)
{
    if (superblock == NULL) return;
    if (superblock->lock_fd >= 0) close(superblock->lock_fd);
    if (superblock->dir_fd >= 0) close(superblock->dir_fd);
    free(superblock);
}
