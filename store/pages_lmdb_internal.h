/* What the parts of the page store in LMDB share: its records (pages_lmdb_records.c), and the file,
 * its transactions and how it is opened and written anew (pages_lmdb.c). */
#ifndef PBFT_STORE_PAGES_LMDB_INTERNAL_H
#define PBFT_STORE_PAGES_LMDB_INTERNAL_H

#include "store/pages.h"

#include <lmdb.h>
#include <string.h>

#define LMDB_PATH_BYTES      4096u
#define LMDB_PAGE_HEADER     16u /* of LMDB's own pages */
#define LMDB_PIECE_KEY_BYTES (PBFT_DIGEST_BYTES + 1u)
#define LMDB_OWNER_KEY       "owner"
#define LMDB_OWNER_BYTES     112u
#define LMDB_CHECKPOINT_KEY  "checkpoint"
#define LMDB_CHECKPOINT_HEAD 48u
#define LMDB_CHECKPOINT_BYTES                                                                      \
    (LMDB_CHECKPOINT_HEAD + PBFT_PAGES_CERTIFICATE_MAX + PBFT_DIGEST_BYTES)

struct file {
    MDB_env *env; /* NULL: not open */
    MDB_dbi dbi;
    uint32_t page_bytes;  /* LMDB's, of this file */
    size_t inline_max;    /* longer values have LMDB pages of their own */
    size_t quartered_max; /* pages above that, and up to here, are stored as four */
    uint64_t pieces;      /* records that continue a page */
};

struct lmdb_pages {
    struct pbft_pages base;
    struct pbft_superblock_owner owner;
    char path[LMDB_PATH_BYTES];
    char path_aside[LMDB_PATH_BYTES];
    uint64_t bytes_max;
    int dir_fd;
    bool read_only;
    bool dead;
    bool reading; /* the transaction changes nothing: damage that it meets is no end */
    struct file file;
    struct file aside;
    MDB_txn *txn;
    MDB_cursor *cursor; /* of the transaction, once one was needed */
    uint64_t pieces;    /* after the transaction */
    uint8_t *whole;     /* a page in pieces, for whoever asked last */
    size_t whole_capacity;
    uint8_t record[LMDB_CHECKPOINT_BYTES];
};

static inline struct lmdb_pages *lmdb_from_base(struct pbft_pages *pages)
{
    return (struct lmdb_pages *)pages;
}

static inline struct file *lmdb_current(struct lmdb_pages *store)
{
    return store->aside.env != NULL ? &store->aside : &store->file;
}

static inline MDB_val lmdb_key_text(const char *text)
{
    return (MDB_val){strlen(text), (void *)(uintptr_t)text};
}

/* ---- pages_lmdb.c ---- */

enum pbft_status lmdb_status_of(int error);
/* What is no passing trouble ends the use of the store: nothing is tried again (FAULTS 2.41). */
enum pbft_status lmdb_judge(struct lmdb_pages *store, int error);

/* ---- pages_lmdb_records.c ---- */

void lmdb_owner_encode(const struct pbft_superblock_owner *owner, uint8_t out[LMDB_OWNER_BYTES]);
/* NULL if the record is that of the owner; or what is wrong with it. */
const char *lmdb_owner_wrong(const MDB_val *value, const struct pbft_superblock_owner *owner,
                             enum pbft_status *status);
void lmdb_file_sizes(struct file *file, uint32_t page_bytes); /* of LMDB's pages */

/* As in struct pbft_pages_ops. */
enum pbft_status lmdb_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                          struct pbft_span *page);
enum pbft_status lmdb_put(struct pbft_pages *pages, const struct pbft_digest *digest,
                          struct pbft_span page);
enum pbft_status lmdb_remove(struct pbft_pages *pages, const struct pbft_digest *digest);
enum pbft_status lmdb_next(struct pbft_pages *pages, const struct pbft_digest *after,
                           struct pbft_digest *out);
enum pbft_status lmdb_get_meta(struct pbft_pages *pages, struct pbft_pages_meta *out);
enum pbft_status lmdb_put_meta(struct pbft_pages *pages, const struct pbft_pages_meta *meta);
uint64_t lmdb_cost(const struct pbft_pages *pages, size_t size, bool anew);

#endif
