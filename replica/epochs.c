/* From epoch to epoch on a disk. */
#include "replica/epochs.h"

#include "crypto/epoch_file.h"
#include "crypto/files.h"
#include "replica/data.h"
#include "store/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES     (PBFT_CONFIG_PATH_MAX + 32u)
#define NAME_MAX_BYTES 64u
#define COPY_BYTES     (1u << 20)

void pbft_epochs_path(const char *dir, pbft_epoch epoch, char *out)
{
    if (epoch == 0)
        (void)snprintf(out, PATH_BYTES, "%s", dir);
    else
        (void)snprintf(out, PATH_BYTES, "%s/epoch-%u", dir, (unsigned)epoch);
}

static void join(const char *dir, const char *name, char out[PATH_BYTES + NAME_MAX_BYTES])
{
    (void)snprintf(out, PATH_BYTES + NAME_MAX_BYTES, "%s/%s", dir, name);
}

/* ---- DIR/epochs ---- */

enum pbft_status pbft_epochs_load(const char *dir, struct pbft_cluster *cluster, char error[256])
{
    char path[PATH_BYTES + NAME_MAX_BYTES];
    join(dir, "epochs", path);
    enum pbft_status status = pbft_epoch_file_load(path, cluster);
    if (status == PBFT_STATUS_NOT_FOUND) return PBFT_STATUS_OK;
    if (status == PBFT_STATUS_CORRUPT)
        (void)
            snprintf(error, 256,
                     "%.100s is damaged, or of another cluster: put that of a replica in the same "
                     "epoch in its place, or `pbftctl replica replace` this one.",
                     path);
    else if (status != PBFT_STATUS_OK)
        (void)snprintf(error, 256, "%.150s: %s.", path, pbft_status_text(status));
    return status;
}

/* From here on it is the present epoch. */
static enum pbft_status commit(const char *dir, const struct pbft_cluster *next)
{
    char path[PATH_BYTES + NAME_MAX_BYTES];
    join(dir, "epochs", path);
    return pbft_epoch_file_save(path, next);
}

/* ---- folders ---- */

static bool leads_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

/* What replica/data.h lists, by its full name: whatever else lies there is somebody's. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {"superblock", "superblock.tmp", "superblock.new",   "lock",
                                        "pages.mdb",  "pages.mdb.new",  "pages.mdb.damaged"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return pbft_log_file_named(name);
}

static void empty_folder(const char *dir)
{
    char path[PATH_BYTES + NAME_MAX_BYTES];
    DIR *folder = opendir(dir);
    if (folder == NULL) return;
    for (const struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        if (!is_ours(e->d_name) || strlen(e->d_name) >= NAME_MAX_BYTES) continue;
        join(dir, e->d_name, path);
        (void)unlink(path);
    }
    (void)closedir(folder);
}

/* The epoch whose folder has this name; 0: none. */
static pbft_epoch epoch_of(const char *name)
{
    char *end = NULL;
    if (!leads_with(name, "epoch-")) return 0;
    unsigned long epoch = strtoul(name + strlen("epoch-"), &end, 10);
    return *end == '\0' && epoch <= UINT32_MAX ? (pbft_epoch)epoch : 0;
}

bool pbft_epochs_in_use(const char *dir)
{
    char path[PATH_BYTES];
    bool in_use = false;
    DIR *folder = opendir(dir);
    if (folder == NULL) return false;
    if (pbft_superblock_in_use(dir, &in_use) != PBFT_STATUS_OK) in_use = false;
    for (const struct dirent *e; !in_use && (e = readdir(folder)) != NULL;) {
        pbft_epoch epoch = epoch_of(e->d_name);
        pbft_epochs_path(dir, epoch, path);
        if (epoch > 0 && pbft_superblock_in_use(path, &in_use) != PBFT_STATUS_OK) in_use = false;
    }
    (void)closedir(folder);
    return in_use;
}

void pbft_epochs_tidy(const char *dir, pbft_epoch present)
{
    char path[PATH_BYTES];
    DIR *folder = opendir(dir);
    if (folder == NULL) return;
    for (const struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        pbft_epoch epoch = epoch_of(e->d_name);
        if (epoch == 0 || epoch == present) continue;
        pbft_epochs_path(dir, epoch, path);
        empty_folder(path);
        (void)rmdir(path);
    }
    (void)closedir(folder);
    if (present > 0) empty_folder(dir);
}

static enum pbft_status make_folder(const char *path)
{
    if (mkdir(path, 0700) != 0) return errno == EEXIST ? PBFT_STATUS_OK : pbft_file_status(errno);
    return pbft_folder_sync_of(path);
}

static enum pbft_status copy_bytes(int from, int to)
{
    uint8_t *block = malloc(COPY_BYTES);
    enum pbft_status status = block == NULL ? PBFT_STATUS_MEMORY : PBFT_STATUS_OK;
    while (status == PBFT_STATUS_OK) {
        ssize_t n = read(from, block, COPY_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = pbft_file_status(errno);
        if (n <= 0) break;
        status = pbft_file_write(to, block, (size_t)n);
    }
    free(block);
    if (status == PBFT_STATUS_OK && fsync(to) != 0) status = pbft_file_status(errno);
    return status;
}

static enum pbft_status copy_file(const char *before, const char *after)
{
    int from = open(before, O_RDONLY | O_CLOEXEC);
    if (from < 0) return pbft_file_status(errno);
    int to = open(after, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum pbft_status status = to < 0 ? pbft_file_status(errno) : copy_bytes(from, to);
    if (to >= 0) close(to);
    close(from);
    return status;
}

/* The same file under a second name: the first one goes when the epoch has begun. Where the file
 * system has no such names, a copy. */
static enum pbft_status keep_pages(const char *from, const char *to)
{
    char before[PATH_BYTES + NAME_MAX_BYTES], after[PATH_BYTES + NAME_MAX_BYTES];
    join(from, "pages.mdb", before);
    join(to, "pages.mdb", after);
    if (link(before, after) == 0 || errno == ENOENT) return PBFT_STATUS_OK;
    enum pbft_status status = pbft_file_status(errno);
    return status == PBFT_STATUS_FULL ? status : copy_file(before, after);
}

/* A start that forgets, so that every later one is mute, too. */
static enum pbft_status mark_forgetful(const char *dir, const struct pbft_superblock_owner *owner)
{
    struct pbft_superblock *superblock;
    enum pbft_status status = pbft_superblock_open(&superblock, dir, owner, NULL);
    if (status != PBFT_STATUS_OK) return status;
    status = pbft_superblock_mark_start(superblock, true);
    pbft_superblock_close(superblock);
    return status;
}

static enum pbft_status make_epoch(const struct pbft_epochs_begin *b, const char *to,
                                   const struct pbft_superblock_owner *owner)
{
    char from[PATH_BYTES];
    struct pbft_superblock_info before;
    pbft_epochs_path(b->dir, b->next->epoch - 1, from);
    enum pbft_status status = pbft_superblock_look(to, &before);
    if (status != PBFT_STATUS_OK && status != PBFT_STATUS_NOT_FOUND) return status;
    /* Started on, and yet DIR/epochs does not name it: that file was lost. The votes stay, so that
     * a crash does not make it one that was never started on. */
    if (before.starts > 0 &&
        pbft_digest_equal(&before.owner.key_fingerprint, &owner->key_fingerprint))
        return mark_forgetful(to, owner);
    status = make_folder(to);
    if (status != PBFT_STATUS_OK) return status;
    empty_folder(to); /* of an attempt that never came to its end */
    status = pbft_data_create(to, owner);
    if (status == PBFT_STATUS_OK && b->keep_pages) status = keep_pages(from, to);
    if (status == PBFT_STATUS_OK) status = pbft_folder_sync(to);
    if (status == PBFT_STATUS_OK && b->forgets) status = mark_forgetful(to, owner);
    return status;
}

/* Whatever lies there and will be removed is this replica's, and over. */
static enum pbft_status may_go(const char *dir, pbft_epoch epoch, pbft_epoch next,
                               const struct pbft_superblock_owner *owner)
{
    char path[PATH_BYTES];
    struct pbft_superblock_info info;
    pbft_epochs_path(dir, epoch, path);
    enum pbft_status status = pbft_superblock_look(path, &info);
    if (status == PBFT_STATUS_LATER) return status;
    if (status != PBFT_STATUS_OK) return PBFT_STATUS_OK;
    if (info.owner.replica != owner->replica ||
        !pbft_digest_equal(&info.owner.cluster_id, &owner->cluster_id))
        return PBFT_STATUS_REFUSED;
    return epoch > next && info.starts > 0 ? PBFT_STATUS_EXISTS : PBFT_STATUS_OK;
}

static enum pbft_status all_may_go(const struct pbft_epochs_begin *begin,
                                   const struct pbft_superblock_owner *owner)
{
    DIR *folder = opendir(begin->dir);
    if (folder == NULL) return pbft_file_status(errno);
    enum pbft_status status = may_go(begin->dir, 0, begin->next->epoch, owner);
    for (const struct dirent *e; status == PBFT_STATUS_OK && (e = readdir(folder)) != NULL;) {
        pbft_epoch epoch = epoch_of(e->d_name);
        if (epoch > 0) status = may_go(begin->dir, epoch, begin->next->epoch, owner);
    }
    (void)closedir(folder);
    return status;
}

/* What is begun stays: a vote log of this epoch is not made twice. */
static enum pbft_status not_begun(const struct pbft_epochs_begin *begin, char error[256])
{
    char path[PATH_BYTES + NAME_MAX_BYTES];
    pbft_epoch named = 0;
    join(begin->dir, "epochs", path);
    enum pbft_status status = pbft_epoch_file_look(path, begin->next, &named);
    /* One that is damaged names none: who was told to begin anew does. */
    if (status == PBFT_STATUS_NOT_FOUND || status == PBFT_STATUS_CORRUPT) return PBFT_STATUS_OK;
    if (status == PBFT_STATUS_OK && named >= begin->next->epoch) {
        (void)snprintf(error, 256, "epoch %u in %.150s has begun already: start pbftd again.",
                       (unsigned)begin->next->epoch, begin->dir);
        return PBFT_STATUS_EXISTS;
    }
    if (status != PBFT_STATUS_OK)
        (void)snprintf(error, 256, "cannot begin epoch %u in %.150s: its file `epochs`: %s.",
                       (unsigned)begin->next->epoch, begin->dir, pbft_status_text(status));
    return status;
}

static enum pbft_status begin_alone(const struct pbft_epochs_begin *begin,
                                    struct pbft_superblock **out, char error[256])
{
    char to[PATH_BYTES];
    struct pbft_superblock_owner owner;
    struct pbft_superblock *superblock = NULL;
    enum pbft_status status = not_begun(begin, error);
    if (status != PBFT_STATUS_OK) return status;
    pbft_epochs_path(begin->dir, begin->next->epoch, to);
    pbft_config_owner(begin->next, begin->id, &owner);
    status = all_may_go(begin, &owner);
    if (status == PBFT_STATUS_REFUSED) {
        (void)snprintf(error, 256,
                       "%.150s holds the data of another replica, or of another cluster.",
                       begin->dir);
        return status;
    }
    if (status == PBFT_STATUS_OK) status = make_epoch(begin, to, &owner);
    /* Locked before anybody can find it. */
    if (status == PBFT_STATUS_OK && out != NULL)
        status = pbft_superblock_open(&superblock, to, &owner, NULL);
    if (status == PBFT_STATUS_OK) status = commit(begin->dir, begin->next);
    if (status != PBFT_STATUS_OK) {
        pbft_superblock_close(superblock);
        (void)snprintf(error, 256, "cannot begin epoch %u in %.150s: %s.",
                       (unsigned)begin->next->epoch, begin->dir, pbft_status_text(status));
        return status;
    }
    pbft_epochs_tidy(begin->dir, begin->next->epoch);
    if (out != NULL) *out = superblock;
    return PBFT_STATUS_OK;
}

/* `pbftctl replica replace` and a replica that is just started may both do it. */
enum pbft_status pbft_epochs_begin(const struct pbft_epochs_begin *begin,
                                   struct pbft_superblock **out, char error[256])
{
    PBFT_ASSERT(begin->next->epoch > 0);
    enum pbft_status status = make_folder(begin->dir);
    int fd = status == PBFT_STATUS_OK ? open(begin->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (status == PBFT_STATUS_OK && fd < 0) status = pbft_file_status(errno);
    while (status == PBFT_STATUS_OK && flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) status = pbft_file_status(errno);
    if (status == PBFT_STATUS_OK)
        status = begin_alone(begin, out, error);
    else
        (void)snprintf(error, 256, "%.150s: %s.", begin->dir, pbft_status_text(status));
    if (fd >= 0) close(fd); /* with the lock */
    return status;
}
