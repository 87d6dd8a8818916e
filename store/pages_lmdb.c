/*
 * Pages in LMDB: DIR/pages.mdb.
 *
 * One database. Pages have keys of 32 bytes, their hashes. LMDB stores a long value in pages of its
 * own: what is just too long for k of them would take k + 1. So its tail, if it is short, is a
 * record by itself, whose key has one byte more (1), and which shares a page with others. Two
 * records more, which their shorter keys tell from these: "owner" and "checkpoint", little-endian,
 * each with a hash over all of it.
 *
 *     owner        magic "PBFTPAGE", u32 version 1, u32 replica, cluster id[32], fingerprint of the
 *                  public key[32], pbft_hash("pbft-pages-own", all of that)[32]
 *     checkpoint   u64 seq, root[32], u32 flags (1: a sweep is under way), u32 certificate size,
 *                  certificate, pbft_hash("pbft-pages-meta", all of that)[32]
 *
 * A file that is new, or written anew, is made beside it, synced once, and renamed into place, so
 * DIR/pages.mdb is whole whenever there is one. LMDB runs without its lock file: there is one
 * process, and one transaction at a time.
 */
#include "store/pages.h"

#include "crypto/hash.h"
#include "pbft/wire.h"
#include "store/pages_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION   1u
#define FILE_NAME        "pages.mdb"
#define FILE_NAME_ASIDE  "pages.mdb.new"
#define PATH_BYTES       4096u
#define OWNER_KEY        "owner"
#define OWNER_BYTES      112u
#define CHECKPOINT_KEY   "checkpoint"
#define CHECKPOINT_HEAD  48u
#define CHECKPOINT_BYTES (CHECKPOINT_HEAD + PBFT_PAGES_CERTIFICATE_MAX + PBFT_DIGEST_BYTES)
#define FLAG_SWEEPING    1u
#define RESERVE_SLACK    (UINT64_C(256) << 10) /* branches, and the list of free pages */
#define PAGE_HEADER      16u                   /* of LMDB's own pages */
#define TAIL_KEY_BYTES   (PBFT_DIGEST_BYTES + 1u)

static const uint8_t magic[8] = {'P', 'B', 'F', 'T', 'P', 'A', 'G', 'E'};

struct file {
    MDB_env *env; /* NULL: not open */
    MDB_dbi dbi;
    uint32_t page_bytes; /* LMDB's, of this file */
    size_t inline_max;   /* longer values have LMDB pages of their own */
    uint64_t tails;      /* records that are the tails of pages */
};

struct lmdb_pages {
    struct pbft_pages base;
    struct pbft_superblock_owner owner;
    char path[PATH_BYTES];
    char path_aside[PATH_BYTES];
    uint64_t bytes_max;
    int dir_fd;
    bool read_only;
    bool dead;
    bool reading; /* the transaction changes nothing: damage that it meets is no end */
    struct file file;
    struct file aside;
    MDB_txn *txn;
    MDB_cursor *cursor; /* of the transaction, once one was needed */
    uint64_t tails;     /* after the transaction */
    uint8_t *whole;     /* a page and its tail, for whoever asked last */
    size_t whole_capacity;
    uint8_t record[CHECKPOINT_BYTES];
};

static struct lmdb_pages *from_base(struct pbft_pages *pages)
{
    return (struct lmdb_pages *)pages;
}

static enum pbft_status status_of(int error)
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

/* What is no passing trouble ends the use of the store: nothing is tried again (FAULTS 2.41). */
static enum pbft_status judge(struct lmdb_pages *store, int error)
{
    enum pbft_status status = status_of(error);
    if (status == PBFT_STATUS_PERMISSION) status = PBFT_STATUS_IO;
    if (status == PBFT_STATUS_IO || (status == PBFT_STATUS_CORRUPT && !store->reading))
        store->dead = true;
    return status;
}

static MDB_val key_text(const char *text)
{
    return (MDB_val){strlen(text), (void *)(uintptr_t)text};
}

static MDB_val key_digest(const struct pbft_digest *digest)
{
    return (MDB_val){PBFT_DIGEST_BYTES, (void *)(uintptr_t)digest->bytes};
}

static MDB_val key_tail(const struct pbft_digest *digest, uint8_t out[TAIL_KEY_BYTES])
{
    memcpy(out, digest->bytes, PBFT_DIGEST_BYTES);
    out[PBFT_DIGEST_BYTES] = 1;
    return (MDB_val){TAIL_KEY_BYTES, out};
}

/* Bytes of a page that are stored apart from the others; 0: none. */
static size_t tail_size(const struct file *file, size_t size)
{
    size_t over = (size + PAGE_HEADER) % file->page_bytes;
    return size > file->page_bytes && over < file->inline_max ? over : 0;
}

/* A value that fills LMDB's pages to the last byte may have a tail. */
static bool may_have_tail(const struct file *file, size_t size)
{
    return size > file->inline_max && (size + PAGE_HEADER) % file->page_bytes == 0;
}

/* ---- records ---- */

static void record_seal(uint8_t *record, size_t size, const char *domain)
{
    struct pbft_digest sum;
    struct pbft_span body = {record, size};
    pbft_hash(&sum, domain, &body, 1);
    memcpy(record + size, sum.bytes, PBFT_DIGEST_BYTES);
}

static bool record_sealed(const uint8_t *record, size_t size, const char *domain)
{
    struct pbft_digest sum;
    struct pbft_span body = {record, size};
    pbft_hash(&sum, domain, &body, 1);
    return memcmp(record + size, sum.bytes, PBFT_DIGEST_BYTES) == 0;
}

static void owner_encode(const struct pbft_superblock_owner *owner, uint8_t out[OWNER_BYTES])
{
    memcpy(out, magic, sizeof magic);
    pbft_put_u32(out + 8, FORMAT_VERSION);
    pbft_put_u32(out + 12, owner->replica);
    memcpy(out + 16, owner->cluster_id.bytes, PBFT_DIGEST_BYTES);
    memcpy(out + 48, owner->key_fingerprint.bytes, PBFT_DIGEST_BYTES);
    record_seal(out, OWNER_BYTES - PBFT_DIGEST_BYTES, "pbft-pages-own");
}

/* NULL if the record is that of the owner; or what is wrong with it. Magic, version and, at the
 * end, the hash stay where they are in every version to come: rot is none. */
static const char *owner_wrong(const MDB_val *value, const struct pbft_superblock_owner *owner,
                               enum pbft_status *status)
{
    const uint8_t *have = value->mv_data;
    *status = PBFT_STATUS_CORRUPT;
    if (value->mv_size < 12 + PBFT_DIGEST_BYTES || memcmp(have, magic, sizeof magic) != 0 ||
        !record_sealed(have, value->mv_size - PBFT_DIGEST_BYTES, "pbft-pages-own"))
        return "is damaged";
    if (pbft_get_u32(have + 8) > FORMAT_VERSION) {
        *status = PBFT_STATUS_LATER;
        return "was written by a newer version of pbft";
    }
    uint8_t expected[OWNER_BYTES];
    owner_encode(owner, expected);
    if (value->mv_size != OWNER_BYTES || memcmp(have, expected, OWNER_BYTES) != 0)
        return "belongs to another cluster, replica or key";
    *status = PBFT_STATUS_OK;
    return NULL;
}

static enum pbft_status meta_decode(const MDB_val *value, struct pbft_pages_meta *out)
{
    const uint8_t *have = value->mv_data;
    if (value->mv_size < CHECKPOINT_HEAD + PBFT_DIGEST_BYTES || value->mv_size > CHECKPOINT_BYTES ||
        !record_sealed(have, value->mv_size - PBFT_DIGEST_BYTES, "pbft-pages-meta"))
        return PBFT_STATUS_CORRUPT;
    uint64_t size = pbft_get_u32(have + 44);
    if (size != value->mv_size - CHECKPOINT_HEAD - PBFT_DIGEST_BYTES) return PBFT_STATUS_CORRUPT;
    out->checkpoint.seq = pbft_get_u64(have);
    memcpy(out->checkpoint.root.bytes, have + 8, PBFT_DIGEST_BYTES);
    out->sweeping = (pbft_get_u32(have + 40) & FLAG_SWEEPING) != 0;
    out->checkpoint.certificate_size = (uint32_t)size;
    memcpy(out->checkpoint.certificate, have + CHECKPOINT_HEAD, size);
    return PBFT_STATUS_OK;
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
    file->page_bytes = stat_of.ms_psize;
    /* LMDB keeps two nodes in a page; 8 bytes are a node's head, 2 its place. */
    file->inline_max = (((file->page_bytes - PAGE_HEADER) / 2) & ~1u) - 2 - 8 - PBFT_DIGEST_BYTES;
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
    if (error != 0) return status_of(error);
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
    return ftruncate(fd, size) == 0 ? PBFT_STATUS_OK : status_of(errno);
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

static struct file *current(struct lmdb_pages *store)
{
    return store->aside.env != NULL ? &store->aside : &store->file;
}

static enum pbft_status lmdb_begin(struct pbft_pages *pages, bool write)
{
    struct lmdb_pages *store = from_base(pages);
    PBFT_ASSERT(store->txn == NULL);
    if (store->dead) return PBFT_STATUS_IO;
    if (write && store->read_only) return PBFT_STATUS_REFUSED;
    store->reading = !write;
    int error =
        mdb_txn_begin(current(store)->env, NULL, write ? 0 : (unsigned)MDB_RDONLY, &store->txn);
    if (error != 0) store->txn = NULL;
    store->tails = current(store)->tails;
    return judge(store, error);
}

/* LMDB reports a write for which there is no room as an input/output error, and one cannot go on
 * after that. Bytes behind the last page that it uses are where it would write. */
static enum pbft_status lmdb_reserve(struct pbft_pages *pages, uint64_t bytes)
{
    struct lmdb_pages *store = from_base(pages);
    if (store->dead) return PBFT_STATUS_IO;
    mdb_filehandle_t fd = -1;
    off_t end = 0;
    enum pbft_status status = file_end(current(store), &fd, &end);
    if (status != PBFT_STATUS_OK) return status;
    uint64_t wanted = bytes + bytes / 2 + RESERVE_SLACK;
    if ((uint64_t)end > store->bytes_max || wanted > store->bytes_max - (uint64_t)end)
        return PBFT_STATUS_OK; /* LMDB minds its cap */
    int error = posix_fallocate(fd, end, (off_t)wanted);
    if (error == 0) return PBFT_STATUS_OK;
    status = status_of(error);
    return status == PBFT_STATUS_FULL ? status : PBFT_STATUS_OK; /* not to be had on this one */
}

static void cursor_close(struct lmdb_pages *store)
{
    if (store->cursor != NULL) mdb_cursor_close(store->cursor);
    store->cursor = NULL;
}

static void lmdb_abort(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
    cursor_close(store);
    if (store->txn != NULL) mdb_txn_abort(store->txn);
    store->txn = NULL;
}

static enum pbft_status lmdb_commit(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
    PBFT_ASSERT(store->txn != NULL);
    cursor_close(store);
    MDB_txn *txn = store->txn;
    store->txn = NULL;
    enum pbft_status status = judge(store, mdb_txn_commit(txn));
    if (status == PBFT_STATUS_OK) current(store)->tails = store->tails;
    /* What was committed is durable whether or not there was room for the tail. */
    if (status == PBFT_STATUS_OK && file_extend(store, current(store)) == PBFT_STATUS_IO) {
        store->dead = true;
        status = PBFT_STATUS_IO;
    }
    return status;
}

static enum pbft_status join(struct lmdb_pages *store, struct pbft_span *page, const MDB_val *tail)
{
    size_t size = page->size + tail->mv_size;
    if (size > store->whole_capacity) {
        uint8_t *grown = realloc(store->whole, size);
        if (grown == NULL) return PBFT_STATUS_MEMORY;
        store->whole = grown;
        store->whole_capacity = size;
    }
    memcpy(store->whole, page->data, page->size);
    memcpy(store->whole + page->size, tail->mv_data, tail->mv_size);
    *page = (struct pbft_span){store->whole, size};
    return PBFT_STATUS_OK;
}

static enum pbft_status lmdb_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                                 struct pbft_span *page)
{
    struct lmdb_pages *store = from_base(pages);
    MDB_val key = key_digest(digest), value;
    int error = mdb_get(store->txn, current(store)->dbi, &key, &value);
    if (error != 0) return judge(store, error);
    *page = (struct pbft_span){value.mv_data, value.mv_size};
    if (!may_have_tail(current(store), value.mv_size)) return PBFT_STATUS_OK;
    uint8_t bytes[TAIL_KEY_BYTES];
    MDB_val tail;
    key = key_tail(digest, bytes);
    error = mdb_get(store->txn, current(store)->dbi, &key, &tail);
    if (error == MDB_NOTFOUND) return PBFT_STATUS_OK; /* or it is lost, and the hash says so */
    return error == 0 ? join(store, page, &tail) : judge(store, error);
}

static enum pbft_status lmdb_put(struct pbft_pages *pages, const struct pbft_digest *digest,
                                 struct pbft_span page)
{
    struct lmdb_pages *store = from_base(pages);
    size_t apart = tail_size(current(store), page.size), first = page.size - apart;
    MDB_val key = key_digest(digest);
    MDB_val value = {first, (void *)(uintptr_t)page.data};
    int error = mdb_put(store->txn, current(store)->dbi, &key, &value, 0);
    if (error != 0 || apart == 0) return judge(store, error);
    uint8_t bytes[TAIL_KEY_BYTES];
    key = key_tail(digest, bytes);
    value = (MDB_val){apart, (void *)(uintptr_t)(page.data + first)};
    error = mdb_put(store->txn, current(store)->dbi, &key, &value, MDB_NOOVERWRITE);
    if (error == 0) store->tails++;
    if (error != MDB_KEYEXIST) return judge(store, error);
    value = (MDB_val){apart, (void *)(uintptr_t)(page.data + first)}; /* it shows what is there */
    return judge(store, mdb_put(store->txn, current(store)->dbi, &key, &value, 0));
}

static enum pbft_status lmdb_remove(struct pbft_pages *pages, const struct pbft_digest *digest)
{
    struct lmdb_pages *store = from_base(pages);
    uint8_t bytes[TAIL_KEY_BYTES];
    MDB_val key = key_tail(digest, bytes);
    int error = mdb_del(store->txn, current(store)->dbi, &key, NULL);
    if (error == 0) store->tails--;
    if (error != 0 && error != MDB_NOTFOUND) return judge(store, error);
    key = key_digest(digest);
    return judge(store, mdb_del(store->txn, current(store)->dbi, &key, NULL));
}

static enum pbft_status lmdb_next(struct pbft_pages *pages, const struct pbft_digest *after,
                                  struct pbft_digest *out)
{
    struct lmdb_pages *store = from_base(pages);
    int error = 0;
    if (store->cursor == NULL)
        error = mdb_cursor_open(store->txn, current(store)->dbi, &store->cursor);
    if (error != 0) return judge(store, error);
    MDB_val key = {0, NULL}, value;
    if (after != NULL) key = key_digest(after);
    error = mdb_cursor_get(store->cursor, &key, &value, after == NULL ? MDB_FIRST : MDB_SET_RANGE);
    while (error == 0 &&
           (key.mv_size != PBFT_DIGEST_BYTES ||
            (after != NULL && memcmp(key.mv_data, after->bytes, PBFT_DIGEST_BYTES) <= 0)))
        error = mdb_cursor_get(store->cursor, &key, &value, MDB_NEXT);
    if (error != 0) return judge(store, error);
    memcpy(out->bytes, key.mv_data, PBFT_DIGEST_BYTES);
    return PBFT_STATUS_OK;
}

static enum pbft_status lmdb_get_meta(struct pbft_pages *pages, struct pbft_pages_meta *out)
{
    struct lmdb_pages *store = from_base(pages);
    MDB_val key = key_text(CHECKPOINT_KEY), value;
    int error = mdb_get(store->txn, current(store)->dbi, &key, &value);
    if (error == MDB_NOTFOUND) {
        memset(out, 0, sizeof *out);
        return PBFT_STATUS_OK;
    }
    if (error != 0) return judge(store, error);
    enum pbft_status status = meta_decode(&value, out);
    return status; /* whoever writes anew needs nothing of it */
}

static enum pbft_status lmdb_put_meta(struct pbft_pages *pages, const struct pbft_pages_meta *meta)
{
    struct lmdb_pages *store = from_base(pages);
    const struct pbft_pages_checkpoint *checkpoint = &meta->checkpoint;
    size_t size = CHECKPOINT_HEAD + checkpoint->certificate_size;
    pbft_put_u64(store->record, checkpoint->seq);
    memcpy(store->record + 8, checkpoint->root.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(store->record + 40, meta->sweeping ? FLAG_SWEEPING : 0);
    pbft_put_u32(store->record + 44, checkpoint->certificate_size);
    memcpy(store->record + CHECKPOINT_HEAD, checkpoint->certificate, checkpoint->certificate_size);
    record_seal(store->record, size, "pbft-pages-meta");
    MDB_val key = key_text(CHECKPOINT_KEY), value = {size + PBFT_DIGEST_BYTES, store->record};
    return judge(store, mdb_put(store->txn, current(store)->dbi, &key, &value, 0));
}

/* ---- aside ---- */

static void lmdb_abandon(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
    file_close(&store->aside);
    /* If this fails the next open, or the next time, removes it. */
    (void)unlinkat(store->dir_fd, FILE_NAME_ASIDE, 0);
}

static enum pbft_status owner_write(struct lmdb_pages *store)
{
    MDB_txn *txn = NULL;
    int error = mdb_txn_begin(store->aside.env, NULL, 0, &txn);
    if (error != 0) return judge(store, error);
    uint8_t record[OWNER_BYTES];
    owner_encode(&store->owner, record);
    MDB_val key = key_text(OWNER_KEY), value = {OWNER_BYTES, record};
    error = mdb_put(txn, store->aside.dbi, &key, &value, 0);
    if (error != 0) {
        mdb_txn_abort(txn);
        return judge(store, error);
    }
    return judge(store, mdb_txn_commit(txn));
}

static enum pbft_status lmdb_aside(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
    PBFT_ASSERT(store->txn == NULL);
    if (store->dead) return PBFT_STATUS_IO;
    if (store->read_only) return PBFT_STATUS_REFUSED;
    lmdb_abandon(pages);
    int error = file_open(store, &store->aside, store->path_aside, MDB_NOSYNC);
    enum pbft_status status =
        error == 0 ? owner_write(store) : status_of(error); /* the old one is well */
    if (status != PBFT_STATUS_OK) lmdb_abandon(pages);
    return status;
}

/* Nothing of the file was synced so far, all of it is now, before its name says that it is whole.
 * From here on every commit is. */
static enum pbft_status lmdb_adopt(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
    PBFT_ASSERT(store->aside.env != NULL && store->txn == NULL);
    enum pbft_status status = judge(store, mdb_env_sync(store->aside.env, 1));
    if (status == PBFT_STATUS_OK)
        status = judge(store, mdb_env_set_flags(store->aside.env, MDB_NOSYNC, 0));
    if (status == PBFT_STATUS_OK &&
        renameat(store->dir_fd, FILE_NAME_ASIDE, store->dir_fd, FILE_NAME) != 0)
        status = judge(store, errno);
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

static void lmdb_space(struct pbft_pages *pages, struct pbft_pages_space *out)
{
    struct lmdb_pages *store = from_base(pages);
    MDB_stat stat_of;
    MDB_envinfo info;
    *out = (struct pbft_pages_space){0};
    if (store->file.env == NULL || mdb_env_stat(store->file.env, &stat_of) != 0 ||
        mdb_env_info(store->file.env, &info) != 0)
        return;
    MDB_txn *txn = NULL;
    MDB_val key = key_text(CHECKPOINT_KEY), value;
    uint64_t records = 1 + store->file.tails; /* owner */
    if (store->txn == NULL && mdb_txn_begin(store->file.env, NULL, MDB_RDONLY, &txn) == 0) {
        if (mdb_get(txn, store->file.dbi, &key, &value) == 0) records++;
        mdb_txn_abort(txn);
    }
    out->pages = stat_of.ms_entries > records ? stat_of.ms_entries - records : 0;
    out->bytes = (uint64_t)(info.me_last_pgno + 1) * stat_of.ms_psize;
    out->used = (uint64_t)(stat_of.ms_branch_pages + stat_of.ms_leaf_pages +
                           stat_of.ms_overflow_pages + 2) *
                stat_of.ms_psize;
}

/* A node of the index has 50 bytes, beside a value that fits in; its pages are two thirds full. */
static uint64_t lmdb_cost(const struct pbft_pages *pages, size_t size)
{
    const struct file *file = &((const struct lmdb_pages *)pages)->file;
    if (size <= file->inline_max) return (size + 50) * 3 / 2;
    size_t apart = tail_size(file, size);
    if (apart > 0) return size - apart + PAGE_HEADER + 75 + (apart + 51) * 3 / 2;
    uint64_t count = (size + PAGE_HEADER + file->page_bytes - 1) / file->page_bytes;
    return count * file->page_bytes + 75;
}

/* What was read through the map counts as ours until it is mapped anew. */
static enum pbft_status lmdb_relax(struct pbft_pages *pages)
{
    struct lmdb_pages *store = from_base(pages);
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
    struct lmdb_pages *store = from_base(pages);
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
    if (errno != ENOENT || store->read_only) return status_of(errno);
    enum pbft_status status = lmdb_aside(&store->base);
    return status == PBFT_STATUS_OK ? lmdb_adopt(&store->base) : status;
}

static enum pbft_status owner_check(struct lmdb_pages *store, char *error)
{
    enum pbft_status status = lmdb_begin(&store->base, false);
    if (status != PBFT_STATUS_OK) return status;
    MDB_val key = key_text(OWNER_KEY), value;
    int code = mdb_get(store->txn, store->file.dbi, &key, &value);
    const char *wrong = NULL;
    if (code == 0) {
        wrong = owner_wrong(&value, &store->owner, &status);
    } else if (code == MDB_NOTFOUND) {
        wrong = "is damaged: it names no owner";
        status = PBFT_STATUS_CORRUPT;
    } else {
        status = status_of(code);
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
    if (error != 0) return status_of(error);
    const struct pbft_pages_verify_config config = {.fd = fd,
                                                    .page_bytes = stat_of.ms_psize,
                                                    .txn = info.me_last_txnid,
                                                    .count_key_bytes = TAIL_KEY_BYTES,
                                                    .cancel = store->base.cancel};
    return pbft_pages_verify(&config, &store->file.tails);
}

/* LMDB itself believes what it finds in the first pages. */
static enum pbft_status head_verify(const struct lmdb_pages *store)
{
    int fd = openat(store->dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return status_of(errno);
    enum pbft_status status = pbft_pages_verify_head(fd);
    close(fd);
    return status;
}

static enum pbft_status store_open(struct lmdb_pages *store, char *error)
{
    enum pbft_status status = file_ensure(store);
    if (status == PBFT_STATUS_OK && store->file.env == NULL) status = head_verify(store);
    if (status == PBFT_STATUS_OK && store->file.env == NULL)
        status = status_of(file_open(store, &store->file, store->path,
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
        if (store->dir_fd < 0) status = status_of(errno);
    }
    if (status != PBFT_STATUS_OK) say(error, store, pbft_status_text(status));
    if (status == PBFT_STATUS_OK && !store->read_only &&
        unlinkat(store->dir_fd, FILE_NAME_ASIDE, 0) != 0 && errno != ENOENT)
        status = status_of(errno);
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
