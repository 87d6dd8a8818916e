/**
 * store/pages.h - the pages of certified checkpoints on a disk, keyed by hash (DESIGN 4).
 *
 * What is kept is one checkpoint, the newest that was flushed: its pages, its sequence number, its
 * root and the certificate of q CHECKPOINTs for it. A flush writes the pages that are not there
 * yet, children before parents, and then, in one transaction, what makes them the checkpoint. So at
 * any moment, also after a power loss, a page that is there has all that it leads to, and the
 * checkpoint is a whole one. What the newest checkpoint does not reach is swept once it is an
 * eighth of what is there (PROTOCOL 30: by reachability, never by "this version died"). A sweep
 * takes parents and children in any order, in several transactions: it is noted as begun, and one
 * that was cut short is completed before a page's being there is trusted again.
 *
 * A flush that would leave much more on the disk than the checkpoint needs, or the sweep after it
 * would, writes all of the checkpoint aside instead, and that takes the place of what was there, in
 * one step.
 *
 * Nothing that is read back is believed: pages are hashed again by the installation that they are
 * loaded through (store/tree.h).
 *
 * One thread at a time uses a store. flush() blocks, on a thread of its own; it may run while
 * others read, hash and write the tree that the snapshot is of. Implementations are tables of
 * functions: LMDB on a disk, and one in memory that simulations keep across restarts.
 */
#ifndef PBFT_STORE_PAGES_H
#define PBFT_STORE_PAGES_H

#include "store/superblock.h"
#include "store/tree.h"

#include <stdatomic.h>

#define PBFT_PAGES_CERTIFICATE_MAX 8192u /* bytes */
#define PBFT_PAGES_ERROR_BYTES     200u

struct pbft_pages;

/* A certified checkpoint. */
struct pbft_pages_checkpoint {
    pbft_seq seq; /* 0: none was ever flushed */
    struct pbft_digest root;
    uint32_t certificate_size;
    uint8_t certificate[PBFT_PAGES_CERTIFICATE_MAX]; /* CERTIFICATE frame, opaque here */
};

struct pbft_pages_stats {
    uint64_t pages;   /* that are there */
    uint64_t live;    /* of these reached by the checkpoint, after the last flush of this process */
    uint64_t bytes;   /* on disk, with what is free for use again */
    uint64_t flushes; /* by this process, as all that follow */
    uint64_t renewed; /* flushes that wrote everything aside */
    uint64_t written; /* pages */
    uint64_t written_bytes; /* of pages */
    uint64_t swept;         /* pages */
};

/* ---- what an implementation provides ------------------------------------------------------- */

/* What is kept beside the pages. */
struct pbft_pages_meta {
    struct pbft_pages_checkpoint checkpoint;
    bool sweeping; /* a sweep was begun and has not ended */
};

struct pbft_pages_space {
    uint64_t pages;
    uint64_t bytes; /* on disk */
    uint64_t used;  /* of these not free for use again */
    uint64_t freed; /* of the others free only for the transaction after the next */
    /* The index has leaves, with the places of pages and the short ones themselves. One in which a
     * page comes or goes is written elsewhere, and its old place is free only later. 0: it has none
     * of that kind. */
    uint64_t index_leaves, index_leaf_bytes;
};

/* One transaction at a time. All return PBFT_STATUS_IO once the store is dead. */
struct pbft_pages_ops {
    const char *name; /* "lmdb", "memory" */
    enum pbft_status (*begin)(struct pbft_pages *pages, bool write);
    /* Before a transaction that writes so many bytes of pages: PBFT_STATUS_FULL if the disk has no
     * room for it, rather than in its middle. */
    enum pbft_status (*reserve)(struct pbft_pages *pages, uint64_t bytes);
    /* Ends the transaction in any case. PBFT_STATUS_FULL: nothing of it was done. */
    enum pbft_status (*commit)(struct pbft_pages *pages);
    void (*abort)(struct pbft_pages *pages);
    /* In a transaction. page is borrowed until the next call. PBFT_STATUS_NOT_FOUND */
    enum pbft_status (*get)(struct pbft_pages *pages, const struct pbft_digest *digest,
                            struct pbft_span *page);
    enum pbft_status (*put)(struct pbft_pages *pages, const struct pbft_digest *digest,
                            struct pbft_span page);
    enum pbft_status (*remove)(struct pbft_pages *pages, const struct pbft_digest *digest);
    /* The least digest that is there and greater (after NULL: the least). PBFT_STATUS_NOT_FOUND */
    enum pbft_status (*next)(struct pbft_pages *pages, const struct pbft_digest *after,
                             struct pbft_digest *out);
    enum pbft_status (*get_meta)(struct pbft_pages *pages, struct pbft_pages_meta *out);
    enum pbft_status (*put_meta)(struct pbft_pages *pages, const struct pbft_pages_meta *meta);
    /* An empty store aside, which transactions go to from now on; their commits need not be
     * durable, and pages put in the order of their digests take the least room. adopt: it takes the
     * place of the old one, durably and at once; on failure it is gone and the old one is there.
     * abandon: the same without trying. */
    enum pbft_status (*aside)(struct pbft_pages *pages);
    enum pbft_status (*adopt)(struct pbft_pages *pages);
    void (*abandon)(struct pbft_pages *pages);
    /* Outside of transactions. */
    void (*space)(struct pbft_pages *pages, struct pbft_pages_space *out);
    /* Outside of transactions: give back memory that reading has taken. */
    enum pbft_status (*relax)(struct pbft_pages *pages);
    /* Bytes on disk that a page of this size takes. anew: one of many that are put aside. */
    uint64_t (*cost)(const struct pbft_pages *pages, size_t size, bool anew);
    void (*close)(struct pbft_pages *pages);
};

struct pbft_pages_tuning {
    uint64_t batch_bytes; /* of pages in one transaction of a flush */
    uint32_t sweep_batch; /* pages in one transaction of a sweep */
    uint32_t sweep_slack; /* pages out of reach that are left, beside an eighth of all */
    uint64_t renew_slack; /* bytes on disk beyond 1.95 times those of the pages: see flush */
};

/* First member of every implementation, which sets ops to its own table by pbft_pages_init(). */
struct pbft_pages {
    const struct pbft_pages_ops *ops;
    struct pbft_pages_tuning tuning;
    _Atomic bool cancelled;     /* flushes end */
    const _Atomic bool *cancel; /* loads do, too; NULL: never */
    bool distrusted;            /* a load has found damage: the next flush writes everything anew */
    _Atomic uint64_t pages, live, bytes, flushes, renewed, written, written_bytes, swept;
};

void pbft_pages_init(struct pbft_pages *pages, const struct pbft_pages_ops *ops);

/* ---- use ----------------------------------------------------------------------------------- */

/* 16 MiB, 512 pages, 256 pages, 1 MiB. */
struct pbft_pages_tuning pbft_pages_tuning_default(void);
/* Smaller ones make more of transactions and sweeps, for tests and simulations. None is 0 but the
 * slacks. Between flushes. */
void pbft_pages_tune(struct pbft_pages *pages, const struct pbft_pages_tuning *tuning);

/* The checkpoint that is there. Returns PBFT_STATUS_OK, also if there is none (seq 0), or
 * PBFT_STATUS_CORRUPT, PBFT_STATUS_IO. */
enum pbft_status pbft_pages_checkpoint(struct pbft_pages *pages,
                                       struct pbft_pages_checkpoint *out) PBFT_MUST_USE;

/**
 * Make a checkpoint durable. snapshot: hashed, with checkpoint->root as its root; of a tree that
 * was loaded from here, or is being written here for the first time.
 *
 * Blocks on the disk. What is on disk after it is at most about 1.95 times what the pages have in
 * bytes, or, if that is more, 1.1 times what they take with the store's own granularity.
 *
 * Returns PBFT_STATUS_OK: it is durable, the older one is gone;
 *         PBFT_STATUS_ARGUMENT: seq 0, another root, or a certificate too long;
 *         PBFT_STATUS_REFUSED: it was cancelled;
 *         PBFT_STATUS_FULL: no room, the older one is still whole, try again later;
 *         PBFT_STATUS_MEMORY: the same; PBFT_STATUS_REFUSED: read-only;
 *         PBFT_STATUS_IO, PBFT_STATUS_CORRUPT: the store is dead, nothing is ever tried again
 */
enum pbft_status pbft_pages_flush(struct pbft_pages *pages, struct pbft_snapshot *snapshot,
                                  const struct pbft_pages_checkpoint *checkpoint) PBFT_MUST_USE;

/* Any thread: a flush that runs ends soon with PBFT_STATUS_REFUSED, and so does every later one.
 * The older checkpoint is still whole. */
void pbft_pages_cancel(struct pbft_pages *pages);

/* Whatever any thread sets meanwhile: a load ends soon with PBFT_STATUS_REFUSED. NULL: never. */
void pbft_pages_cancel_by(struct pbft_pages *pages, const _Atomic bool *cancel);

/**
 * Load the checkpoint with this root into the tree, by an installation (pages are hashed again).
 *
 * Returns PBFT_STATUS_NOT_FOUND: a page is missing; PBFT_STATUS_CORRUPT: a page is not what its
 *         hash says; the tree is as it was in both cases, and the next flush writes all pages
 *         anew. PBFT_STATUS_REFUSED: it was cancelled (pbft_pages_cancel_by()), nothing is said of
 *         the pages. PBFT_STATUS_MEMORY, PBFT_STATUS_IO.
 */
enum pbft_status pbft_pages_load(struct pbft_pages *pages, struct pbft_tree *tree,
                                 const struct pbft_digest *root) PBFT_MUST_USE;

/* One page, for a check or a backup; its hash is not compared. PBFT_STATUS_NOT_FOUND,
 * PBFT_STATUS_FULL (capacity; size is set), PBFT_STATUS_CORRUPT, PBFT_STATUS_IO. */
enum pbft_status pbft_pages_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                                uint8_t *out, size_t capacity, size_t *size) PBFT_MUST_USE;

/* ---- a check ---- */

enum pbft_pages_wrong {
    PBFT_PAGES_ROTTEN,    /* its bytes do not have its hash */
    PBFT_PAGES_MALFORMED, /* they have, and are no canonical page */
    PBFT_PAGES_MISPLACED, /* not of the level that its parent says */
    PBFT_PAGES_ABSENT,    /* the checkpoint reaches it, and it is not there */
};

/* For each page with which something is wrong; the digest lives for the call. */
typedef void pbft_pages_wrong_fn(void *context, enum pbft_pages_wrong what,
                                 const struct pbft_digest *digest);

struct pbft_pages_audit {
    uint64_t pages, bytes;           /* that are there */
    uint64_t reached, reached_bytes; /* of these, from the root down; each counts once */
    uint64_t wrong[PBFT_PAGES_ABSENT + 1];
};

/**
 * Hash every page that is there again, and follow those that the root leads to. Reads only, and
 * believes nothing. What is not reached is ordinary: it waits to be swept. Takes 40 bytes a page.
 *
 * config   of the tree; NULL: the default
 * root     NULL: there is none
 * Returns PBFT_STATUS_OK whatever was found; PBFT_STATUS_CORRUPT: the store cannot be walked;
 *         PBFT_STATUS_MEMORY, PBFT_STATUS_IO
 */
enum pbft_status pbft_pages_audit(struct pbft_pages *pages, const struct pbft_tree_config *config,
                                  const struct pbft_digest *root, pbft_pages_wrong_fn *wrong,
                                  void *context, struct pbft_pages_audit *out) PBFT_MUST_USE;

/* Forget everything, durably and at once: before an installation of another history.
 * PBFT_STATUS_FULL, PBFT_STATUS_MEMORY: nothing has changed. PBFT_STATUS_REFUSED: read-only.
 * PBFT_STATUS_IO. */
enum pbft_status pbft_pages_clear(struct pbft_pages *pages) PBFT_MUST_USE;

void pbft_pages_stats(struct pbft_pages *pages, struct pbft_pages_stats *out); /* any thread */
const char *pbft_pages_name(const struct pbft_pages *pages);                   /* static */
void pbft_pages_close(struct pbft_pages *pages);                               /* NULL is allowed */

/* ---- LMDB ---------------------------------------------------------------------------------- */

struct pbft_pages_lmdb_config {
    const char *dir;                    /* exists, and is locked by the caller's superblock */
    struct pbft_superblock_owner owner; /* compared, and written when it is new */
    uint64_t bytes_max;                 /* size of the map: cap of the file */
    bool read_only;                     /* for a check: nothing is created or changed */
    const _Atomic bool *cancel;         /* opening ends soon, and so do loads; NULL: never */
};

/**
 * Open DIR/pages.mdb, or create it, durably. While everything is written anew there is
 * DIR/pages.mdb.new beside it, with the same cap; what a crash left of that is removed.
 *
 * There is no lock file: one process at a time is what DIR/lock is for (store/superblock.h).
 * The structure of the file is looked through first: LMDB follows what it finds, and rot there
 * would end the process. That reads about a hundredth of the file, and a head of each page.
 *
 * error   one sentence for people, PBFT_PAGES_ERROR_BYTES; may be NULL
 * Returns PBFT_STATUS_NOT_FOUND (read_only, and not there; no such directory),
 *         PBFT_STATUS_CORRUPT: damaged, or of another owner; PBFT_STATUS_LATER: of a format version
 *         that came after ours; PBFT_STATUS_REFUSED: it was cancelled;
 *         PBFT_STATUS_ARGUMENT (path too long), PBFT_STATUS_PERMISSION, PBFT_STATUS_FULL,
 *         PBFT_STATUS_MEMORY, PBFT_STATUS_IO
 */
enum pbft_status pbft_pages_lmdb_open(struct pbft_pages **out,
                                      const struct pbft_pages_lmdb_config *config,
                                      char *error) PBFT_MUST_USE;

/* ---- in memory ----------------------------------------------------------------------------- */

/* For simulations and tests: contents outlive close(), in a disk of their own. */
struct pbft_pages_disk;

struct pbft_pages_disk *pbft_pages_disk_new(void); /* NULL: out of memory */
/* A copy as the disk is now, without its troubles (to be rolled back to later); NULL: memory. */
struct pbft_pages_disk *pbft_pages_disk_copy(const struct pbft_pages_disk *disk);
void pbft_pages_disk_free(struct pbft_pages_disk *disk); /* nobody has it open; NULL allowed */
/* The disk loses power after `transactions` more commits (an adopt is one too): later ones never
 * happen, calls return PBFT_STATUS_IO until it is opened again. UINT64_MAX: never. */
void pbft_pages_disk_crash_after(struct pbft_pages_disk *disk, uint64_t transactions);
/* Full from now on, or not (FAULTS 2.42): commits that add pages return PBFT_STATUS_FULL. */
void pbft_pages_disk_fill(struct pbft_pages_disk *disk, bool full);
/* Flip a bit of a stored page: the nth in hash order, modulo their number. False: there are none.
 */
bool pbft_pages_disk_rot(struct pbft_pages_disk *disk, uint64_t nth);
/* Commits that happened, and pages that are there. */
uint64_t pbft_pages_disk_commits(const struct pbft_pages_disk *disk);
uint64_t pbft_pages_disk_pages(const struct pbft_pages_disk *disk);
/* PBFT_STATUS_MEMORY */
enum pbft_status pbft_pages_memory_open(struct pbft_pages **out,
                                        struct pbft_pages_disk *disk) PBFT_MUST_USE;

#endif
