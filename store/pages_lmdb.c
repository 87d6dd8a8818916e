/*
 * Pages in LMDB: DIR/pages.mdb.
 *
 * One database, whose records pages_lmdb_records.c describes.
 *
 * A file that is new, or written anew, is made beside it, synced once, and renamed into place, so
 * DIR/pages.mdb is whole whenever there is one. LMDB runs without its lock file: there is one
 * process, and one transaction at a time.
 */
#include "store/pages_lmdb_internal.h"
#include "store/pages_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME       "pages.mdb"
#define FILE_NAME_ASIDE "pages.mdb.new"
#define RESERVE_SLACK   (UINT64_C(256) << 10) /* branches, and the list of free pages */

enum pbft_status lmdb_status_of(int error)
{
    switch (error) {
    case 0: return PBFT_STATUS_OK;
    case MDB_NOTFOUND:
    case ENOENT:
    case ENOTDIR: return PBFT_STATUS_NOT_FOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return PBFT_STATUS_FULL;
    case ENOMEM: return PBFT_STATUS_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS: return PBFT_STATUS_PERMISSION;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE: return PBFT_STATUS_CORRUPT;
    default: return PBFT_STATUS_IO;
    }
}

enum pbft_status lmdb_judge(struct lmdb_pages *store, int error)
{
    enum pbft_status status = lmdb_status_of(error);
    if (status == PBFT_STATUS_PERMISSION) status = PBFT_STATUS_IO;
    if (status == PBFT_STATUS_IO || (status == PBFT_STATUS_CORRUPT && !store->reading))
        store->dead = true;
    return status;
}

/* ---- files ---- */

static void file_close(struct file *file)
{
    if (file->env != NULL) mdb_env_close(file->env);
    *file = (struct file){0};
}

static int file_dbi(struct file *file, unsigned txn_flags)
{
    MDB_txn *txn = NULL;
    int error = mdb_txn_begin(file->env, NULL, txn_flags, &txn);
    if (error != 0) return error;
    error = mdb_dbi_open(txn, NULL, 0, &file->dbi);
    if (error != 0) {
        mdb_txn_abort(txn);
        return error;
    }
    return mdb_txn_commit(txn);
}

static int file_open(const struct lmdb_pages *store, struct file *file, const char *path,
                     unsigned flags)
{
    int error = mdb_env_create(&file->env);
    if (error != 0) {
        file->env = NULL;
        return error;
    }
    if (store->bytes_max != 0) error = mdb_env_set_mapsize(file->env, (size_t)store->bytes_max);
    if (error == 0)
        error = mdb_env_open(file->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | flags, 0600);
    if (error == 0) error = file_dbi(file, flags & MDB_RDONLY);
    MDB_stat stat_of = {0};
    if (error == 0) error = mdb_env_stat(file->env, &stat_of);
    lmdb_file_sizes(file, stat_of.ms_psize);
    if (error != 0) file_close(file);
    return error;
}

/* A file that is shorter than LMDB thinks, cut or with its free tail never written, ends the
 * process where the missing part is touched: there must be something there. */
static enum pbft_status file_end(const struct file *file, mdb_filehandle_t *fd, off_t *end)
{
    MDB_envinfo info;
    MDB_stat stat_of;
    int error = mdb_env_info(file->env, &info);
    if (error == 0) error = mdb_env_stat(file->env, &stat_of);
    if (error == 0) error = mdb_env_get_fd(file->env, fd);
    if (error != 0) return lmdb_status_of(error);
    *end = (off_t)((info.me_last_pgno + 1) * stat_of.ms_psize);
    return PBFT_STATUS_OK;
}

static enum pbft_status file_extend(const struct lmdb_pages *store, const struct file *file)
{
    mdb_filehandle_t fd = -1;
    off_t size = 0;
    enum pbft_status status = file_end(file, &fd, &size);
    if (status != PBFT_STATUS_OK) return status;
    struct stat now;
    if (fstat(fd, &now) != 0) return PBFT_STATUS_IO;
    if (now.st_size >= size) return PBFT_STATUS_OK;
    if ((uint64_t)size > store->bytes_max) return PBFT_STATUS_CORRUPT;
    if (store->read_only) return PBFT_STATUS_OK; /* file_verify() minds what is in use */
    return ftruncate(fd, size) == 0 ? PBFT_STATUS_OK : lmdb_status_of(errno);
}

/* Whoever opens the store reads all of it next, in the order of hashes, which is none on the disk:
 * a disk that is asked in the order of the file is an order of magnitude faster. Not where the file
 * would push itself out of memory again. */
static void file_prefetch(const struct file *file)
{
    mdb_filehandle_t fd = -1;
    off_t size = 0;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (file_end(file, &fd, &size) != PBFT_STATUS_OK || pages <= 0 || page_bytes <= 0) return;
    if (size / page_bytes > pages / 2) return;
    (void)posix_fadvise(fd, 0, size, POSIX_FADV_WILLNEED);
}

/* ---- transactions ---- */

static enum pbft_status lmdb_begin(struct pbft_pages *pages, bool write)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    PBFT_ASSERT(store->txn == NULL);
    if (store->dead) return PBFT_STATUS_IO;
    if (write && store->read_only) return PBFT_STATUS_REFUSED;
    store->reading = !write;
    int error = mdb_txn_begin(lmdb_current(store)->env, NULL, write ? 0 : (unsigned)MDB_RDONLY,
                              &store->txn);
    if (error != 0) store->txn = NULL;
    store->pieces = lmdb_current(store)->pieces;
    return lmdb_judge(store, error);
}

/* LMDB reports a write for which there is no room as an input/output error, and one cannot go on
 * after that. Bytes behind the last page that it uses are where it would write. */
static enum pbft_status lmdb_reserve(struct pbft_pages *pages, uint64_t bytes)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    if (store->dead) return PBFT_STATUS_IO;
    mdb_filehandle_t fd = -1;
    off_t end = 0;
    enum pbft_status status = file_end(lmdb_current(store), &fd, &end);
    if (status != PBFT_STATUS_OK) return status;
    uint64_t wanted = bytes + bytes / 2 + RESERVE_SLACK;
    if ((uint64_t)end > store->bytes_max || wanted > store->bytes_max - (uint64_t)end)
        return PBFT_STATUS_OK; /* LMDB minds its cap */
    int error = posix_fallocate(fd, end, (off_t)wanted);
    if (error == 0) return PBFT_STATUS_OK;
    status = lmdb_status_of(error);
    return status == PBFT_STATUS_FULL ? status : PBFT_STATUS_OK; /* not to be had on this one */
}

static void cursor_close(struct lmdb_pages *store)
{
    if (store->cursor != NULL) mdb_cursor_close(store->cursor);
    store->cursor = NULL;
}

static void lmdb_abort(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    cursor_close(store);
    if (store->txn != NULL) mdb_txn_abort(store->txn);
    store->txn = NULL;
}

static enum pbft_status lmdb_commit(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    PBFT_ASSERT(store->txn != NULL);
    cursor_close(store);
    MDB_txn *txn = store->txn;
    store->txn = NULL;
    enum pbft_status status = lmdb_judge(store, mdb_txn_commit(txn));
    if (status == PBFT_STATUS_OK) lmdb_current(store)->pieces = store->pieces;
    /* What was committed is durable whether or not there was room for the tail. */
    if (status == PBFT_STATUS_OK && file_extend(store, lmdb_current(store)) == PBFT_STATUS_IO) {
        store->dead = true;
        status = PBFT_STATUS_IO;
    }
    return status;
}

/* ---- aside ---- */

static void lmdb_abandon(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    file_close(&store->aside);
    /* If this fails the next open, or the next time, removes it. */
    (void)unlinkat(store->dir_fd, FILE_NAME_ASIDE, 0);
}

/* Last: its key would be in the way of pages that come in the order of theirs. */
static enum pbft_status owner_write(struct lmdb_pages *store)
{
    MDB_txn *txn = NULL;
    int error = mdb_txn_begin(store->aside.env, NULL, 0, &txn);
    if (error != 0) return lmdb_judge(store, error);
    uint8_t record[LMDB_OWNER_BYTES];
    lmdb_owner_encode(&store->owner, record);
    MDB_val key = lmdb_key_text(LMDB_OWNER_KEY), value = {LMDB_OWNER_BYTES, record};
    error = mdb_put(txn, store->aside.dbi, &key, &value, 0);
    if (error != 0) {
        mdb_txn_abort(txn);
        return lmdb_judge(store, error);
    }
    return lmdb_judge(store, mdb_txn_commit(txn));
}

static enum pbft_status lmdb_aside(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    PBFT_ASSERT(store->txn == NULL);
    if (store->dead) return PBFT_STATUS_IO;
    if (store->read_only) return PBFT_STATUS_REFUSED;
    lmdb_abandon(pages);
    int error = file_open(store, &store->aside, store->path_aside, MDB_NOSYNC);
    if (error != 0) lmdb_abandon(pages);
    return lmdb_status_of(error); /* the old one is well */
}

/* Nothing of the file was synced so far, all of it is now, before its name says that it is whole.
 * From here on every commit is. */
static enum pbft_status lmdb_adopt(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    PBFT_ASSERT(store->aside.env != NULL && store->txn == NULL);
    enum pbft_status status = owner_write(store);
    if (status == PBFT_STATUS_OK) status = lmdb_judge(store, mdb_env_sync(store->aside.env, 1));
    if (status == PBFT_STATUS_OK)
        status = lmdb_judge(store, mdb_env_set_flags(store->aside.env, MDB_NOSYNC, 0));
    if (status == PBFT_STATUS_OK &&
        renameat(store->dir_fd, FILE_NAME_ASIDE, store->dir_fd, FILE_NAME) != 0)
        status = lmdb_judge(store, errno);
    if (status != PBFT_STATUS_OK) {
        lmdb_abandon(pages);
        return status;
    }
    file_close(&store->file);
    store->file = store->aside;
    store->aside = (struct file){0};
    if (fsync(store->dir_fd) == 0) return PBFT_STATUS_OK;
    store->dead = true; /* which of the two a power loss leaves is not known */
    return PBFT_STATUS_IO;
}

/* ---- figures ---- */

/* Pages that a transaction has freed: LMDB keeps their numbers under its own, and how many they are
 * first. The next transaction does not take them: it leaves the file before it as it was. */
static uint64_t freed_by(MDB_txn *txn, size_t number)
{
    const MDB_dbi free_pages = 0;
    MDB_cursor *cursor = NULL;
    MDB_val key = {sizeof number, &number}, value;
    size_t count = 0;
    if (mdb_cursor_open(txn, free_pages, &cursor) != 0) return 0;
    if (mdb_cursor_get(cursor, &key, &value, MDB_SET) == 0 && value.mv_size >= sizeof count)
        memcpy(&count, value.mv_data, sizeof count);
    mdb_cursor_close(cursor);
    return count;
}

static void lmdb_space(struct pbft_pages *pages, struct pbft_pages_space *out)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    MDB_stat stat_of;
    MDB_envinfo info;
    *out = (struct pbft_pages_space){0};
    if (store->file.env == NULL || mdb_env_stat(store->file.env, &stat_of) != 0 ||
        mdb_env_info(store->file.env, &info) != 0)
        return;
    MDB_txn *txn = NULL;
    MDB_val key = lmdb_key_text(LMDB_CHECKPOINT_KEY), value;
    uint64_t records = 1 + store->file.pieces; /* owner */
    if (store->txn == NULL && mdb_txn_begin(store->file.env, NULL, MDB_RDONLY, &txn) == 0) {
        if (mdb_get(txn, store->file.dbi, &key, &value) == 0) records++;
        out->freed = freed_by(txn, info.me_last_txnid) * stat_of.ms_psize;
        mdb_txn_abort(txn);
    }
    out->pages = stat_of.ms_entries > records ? stat_of.ms_entries - records : 0;
    out->bytes = (uint64_t)(info.me_last_pgno + 1) * stat_of.ms_psize;
    out->used = (uint64_t)(stat_of.ms_branch_pages + stat_of.ms_leaf_pages +
                           stat_of.ms_overflow_pages + 2) *
                stat_of.ms_psize;
    out->index_leaves = stat_of.ms_leaf_pages;
    out->index_leaf_bytes = stat_of.ms_psize;
}

/* What was read through the map counts as ours until it is mapped anew. */
static enum pbft_status lmdb_relax(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    PBFT_ASSERT(store->txn == NULL);
    MDB_envinfo info;
    if (store->dead) return PBFT_STATUS_IO;
    mdb_filehandle_t fd = -1; /* what was reserved, and not needed, goes back */
    off_t end = 0;
    struct stat now;
    if (!store->read_only && file_end(&store->file, &fd, &end) == PBFT_STATUS_OK &&
        fstat(fd, &now) == 0 && now.st_size > end && ftruncate(fd, end) != 0)
        return PBFT_STATUS_IO;
    int error = mdb_env_info(store->file.env, &info);
    if (error == 0) error = mdb_env_set_mapsize(store->file.env, info.me_mapsize);
    if (error == 0) return PBFT_STATUS_OK;
    store->dead = true; /* there is no map any more */
    return PBFT_STATUS_IO;
}

static void lmdb_close(struct pbft_pages *pages)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    lmdb_abort(pages);
    if (store->aside.env != NULL) lmdb_abandon(pages);
    file_close(&store->file);
    if (store->dir_fd >= 0) close(store->dir_fd);
    free(store->whole);
    free(store);
}

static const struct pbft_pages_ops lmdb_ops = {
    .name = "lmdb",
    .begin = lmdb_begin,
    .reserve = lmdb_reserve,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .get = lmdb_get,
    .put = lmdb_put,
    .remove = lmdb_remove,
    .next = lmdb_next,
    .get_meta = lmdb_get_meta,
    .put_meta = lmdb_put_meta,
    .aside = lmdb_aside,
    .adopt = lmdb_adopt,
    .abandon = lmdb_abandon,
    .space = lmdb_space,
    .relax = lmdb_relax,
    .cost = lmdb_cost,
    .close = lmdb_close,
};

/* ---- opening ---- */

static void say(char *error, const struct lmdb_pages *store, const char *what)
{
    if (error != NULL)
        (void)snprintf(error, PBFT_PAGES_ERROR_BYTES, "page store %.120s %s", store->path, what);
}

static enum pbft_status paths_set(struct lmdb_pages *store, const char *dir)
{
    int size = snprintf(store->path, sizeof store->path, "%s/%s", dir, FILE_NAME);
    int size_aside =
        snprintf(store->path_aside, sizeof store->path_aside, "%s/%s", dir, FILE_NAME_ASIDE);
    if (size < 0 || size_aside < 0 || (size_t)size_aside >= sizeof store->path_aside)
        return PBFT_STATUS_ARGUMENT;
    return PBFT_STATUS_OK;
}

/* Make the file if there is none. */
static enum pbft_status file_ensure(struct lmdb_pages *store)
{
    struct stat now;
    if (fstatat(store->dir_fd, FILE_NAME, &now, AT_SYMLINK_NOFOLLOW) == 0) {
        /* Our own files never are so short, and LMDB takes an empty one for new. */
        return S_ISREG(now.st_mode) && now.st_size >= 8192 ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
    }
    if (errno != ENOENT || store->read_only) return lmdb_status_of(errno);
    enum pbft_status status = lmdb_aside(&store->base);
    return status == PBFT_STATUS_OK ? lmdb_adopt(&store->base) : status;
}

static enum pbft_status owner_check(struct lmdb_pages *store, char *error)
{
    enum pbft_status status = lmdb_begin(&store->base, false);
    if (status != PBFT_STATUS_OK) return status;
    MDB_val key = lmdb_key_text(LMDB_OWNER_KEY), value;
    int code = mdb_get(store->txn, store->file.dbi, &key, &value);
    const char *wrong = NULL;
    if (code == 0) {
        wrong = lmdb_owner_wrong(&value, &store->owner, &status);
    } else if (code == MDB_NOTFOUND) {
        wrong = "is damaged: it names no owner";
        status = PBFT_STATUS_CORRUPT;
    } else {
        status = lmdb_status_of(code);
    }
    if (wrong != NULL) say(error, store, wrong);
    lmdb_abort(&store->base);
    return status;
}

/* Nothing follows what is in the file before this has looked at it. */
static enum pbft_status file_verify(struct lmdb_pages *store)
{
    MDB_envinfo info;
    MDB_stat stat_of;
    mdb_filehandle_t fd;
    int error = mdb_env_info(store->file.env, &info);
    if (error == 0) error = mdb_env_stat(store->file.env, &stat_of);
    if (error == 0) error = mdb_env_get_fd(store->file.env, &fd);
    if (error != 0) return lmdb_status_of(error);
    const struct pbft_pages_verify_config config = {.fd = fd,
                                                    .page_bytes = stat_of.ms_psize,
                                                    .txn = info.me_last_txnid,
                                                    .count_key_bytes = LMDB_PIECE_KEY_BYTES,
                                                    .cancel = store->base.cancel};
    return pbft_pages_verify(&config, &store->file.pieces);
}

/* LMDB itself believes what it finds in the first pages. */
static enum pbft_status head_verify(const struct lmdb_pages *store)
{
    int fd = openat(store->dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return lmdb_status_of(errno);
    enum pbft_status status = pbft_pages_verify_head(fd);
    close(fd);
    return status;
}

static enum pbft_status store_open(struct lmdb_pages *store, char *error)
{
    enum pbft_status status = file_ensure(store);
    if (status == PBFT_STATUS_OK && store->file.env == NULL) status = head_verify(store);
    if (status == PBFT_STATUS_OK && store->file.env == NULL)
        status = lmdb_status_of(file_open(store, &store->file, store->path,
                                          store->read_only ? (unsigned)MDB_RDONLY : 0));
    if (status == PBFT_STATUS_OK) status = file_extend(store, &store->file);
    if (status == PBFT_STATUS_OK) file_prefetch(&store->file);
    if (status == PBFT_STATUS_OK) status = file_verify(store);
    if (status != PBFT_STATUS_OK) {
        say(error, store, pbft_status_text(status));
        return status;
    }
    return owner_check(store, error);
}

enum pbft_status pbft_pages_lmdb_open(struct pbft_pages **out,
                                      const struct pbft_pages_lmdb_config *config, char *error)
{
    if (error != NULL) error[0] = '\0';
    struct lmdb_pages *store = calloc(1, sizeof *store);
    if (store == NULL) return PBFT_STATUS_MEMORY;
    pbft_pages_init(&store->base, &lmdb_ops);
    pbft_pages_cancel_by(&store->base, config->cancel);
    store->owner = config->owner;
    store->bytes_max = config->bytes_max;
    store->read_only = config->read_only;
    store->dir_fd = -1;
    enum pbft_status status = paths_set(store, config->dir);
    if (status == PBFT_STATUS_OK) {
        store->dir_fd = open(config->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->dir_fd < 0) status = lmdb_status_of(errno);
    }
    if (status != PBFT_STATUS_OK) say(error, store, pbft_status_text(status));
    if (status == PBFT_STATUS_OK && !store->read_only &&
        unlinkat(store->dir_fd, FILE_NAME_ASIDE, 0) != 0 && errno != ENOENT)
        status = lmdb_status_of(errno);
    if (status == PBFT_STATUS_OK) status = store_open(store, error);
    if (status != PBFT_STATUS_OK) {
        lmdb_close(&store->base);
        return status;
    }
    struct pbft_pages_space space;
    lmdb_space(&store->base, &space);
    atomic_store(&store->base.pages, space.pages);
    atomic_store(&store->base.bytes, space.bytes);
    *out = &store->base;
    return PBFT_STATUS_OK;
}
