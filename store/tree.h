/**
 * store/tree.h - the authenticated ordered map: a copy-on-write B+tree in memory whose pages carry
 * BLAKE2b hashes, computed lazily (DESIGN 4, PROTOCOL 24, 30, 32).
 *
 * Keys are byte strings of 0 .. PBFT_TREE_KEY_MAX bytes in memcmp order, a prefix before its
 * extensions. Values have 0 .. PBFT_TREE_VALUE_MAX bytes.
 *
 * SHAPE. Which pages exist and what is in them is a function of the sequence of puts and deletes
 * (and of struct pbft_tree_config) alone. Snapshots, hashing, rollback, sharing and installation
 * never show in it: all correct replicas get the same root.
 *
 * THREADS. A tree's head has one owner thread: get, scan, put, delete, snapshot, rollback, begin
 * and finish of an installation. A snapshot can be read, hashed, retained and released on any
 * thread while the owner goes on writing: what a snapshot reaches is frozen, the writer copies it.
 * pbft_tree_page(), pbft_snapshot_page() and pbft_tree_bytes() may be called on any thread.
 *
 * MEMORY. Pages are freed when no head, snapshot or installation reaches them. A put or delete that
 * cannot get memory ends the process through pbft_panic(): a half-applied operation would be a
 * divergent replica, a dead one is an ordinary crash. Everything else reports PBFT_STATUS_MEMORY.
 *
 * CHANGE MARKS. Each leaf holds, inside its canonical bytes, the highest mark that changed it:
 * puts, deletes, splits and merges. A leaf's mark is therefore no less than that of the last change
 * to any key, present or absent, of the range that the leaf covers.
 *
 * CANONICAL PAGES. Little-endian; hashed as pbft_hash("pbft-leaf" | "pbft-inner", bytes). Exactly
 * one byte string is valid for a page: trailing bytes are refused.
 *
 *     leaf    u8 1, u8 version 1, u8 level 0, u8 0
 *             u32 length of the page, u32 count
 *             u64 change mark
 *             count * u32 end of entry i, counted from the first entry
 *             count * (u16 key length, key, value), keys strictly ascending
 *
 *     inner   u8 2, u8 version 1, u8 level >= 1 (its children are of level - 1), u8 0
 *             u32 length of the page, u32 count >= 2
 *             u64 entries below, u64 payload bytes (keys + values) below
 *             count * (u32 index i, u64 entries, u64 payload, digest[32], u32 end of key i)
 *             count * key: the least key that child i may hold, strictly ascending; that of child 0
 *             is empty and stands for the page's own lower bound
 *
 * A leaf of two or more entries is at most config.leaf_bytes long, an inner page of four or more
 * children at most config.inner_bytes. Only the root may be a leaf without entries.
 */
#ifndef PBFT_STORE_TREE_H
#define PBFT_STORE_TREE_H

#include "pbft/types.h"

#define PBFT_TREE_KEY_MAX     1100u
#define PBFT_TREE_VALUE_MAX   (1048576u + 64u)
#define PBFT_TREE_DEPTH_MAX   48u /* levels; every inner page has two children or more */
#define PBFT_TREE_PAGE_TARGET 4096u
#define PBFT_TREE_TARGET_MIN  128u
#define PBFT_TREE_TARGET_MAX  65536u
/* No canonical page is longer: one entry of greatest size in a leaf of its own. */
#define PBFT_PAGE_BYTES_MAX (20u + 4u + 2u + PBFT_TREE_KEY_MAX + PBFT_TREE_VALUE_MAX)

struct pbft_tree;
struct pbft_snapshot;
struct pbft_install;

/* Part of the shape, so equal on all replicas of a cluster and for as long as it lives. */
struct pbft_tree_config {
    uint32_t leaf_bytes;  /* target, PBFT_TREE_TARGET_MIN .. PBFT_TREE_TARGET_MAX */
    uint32_t inner_bytes; /* the same */
};

struct pbft_tree_config pbft_tree_config_default(void);

/* ---- the head ------------------------------------------------------------------------------ */

/**
 * An empty tree. config is copied; NULL means the default.
 * Returns PBFT_STATUS_ARGUMENT for targets out of bounds, PBFT_STATUS_MEMORY.
 */
enum pbft_status pbft_tree_create(struct pbft_tree **out,
                                  const struct pbft_tree_config *config) PBFT_MUST_USE;

/* Let go of the head. Its snapshots stay valid until released, its installations must have ended.
 * NULL is allowed. */
void pbft_tree_destroy(struct pbft_tree *tree);

/**
 * Look a key up.
 *
 * value   if found, borrowed until the next put, delete, rollback or install; may be NULL
 * mark    change mark of the leaf that holds the key or would hold it; may be NULL
 * Returns whether the key is there.
 */
bool pbft_tree_get(const struct pbft_tree *tree, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark);

/* How many prefetches ahead of its turn a key is worth it. */
#define PBFT_TREE_AHEAD 12u

/**
 * A hint that a key will be looked up, PBFT_TREE_AHEAD of these calls from now: the first KiB of
 * its entry is fetched into the caches meanwhile. An empty key: none, but those before go on.
 */
void pbft_tree_prefetch(struct pbft_tree *tree, struct pbft_span key);

/**
 * Insert or replace. `mark` is the sequence number of the operation; marks should not decrease
 * (the leaf keeps the greater one). key and value must not point into the head itself.
 * Returns PBFT_STATUS_ARGUMENT, with nothing changed, for a key or value that is too long.
 */
enum pbft_status pbft_tree_put(struct pbft_tree *tree, struct pbft_span key, struct pbft_span value,
                               uint64_t mark) PBFT_MUST_USE;

/* Delete. Returns whether the key was there; if not, nothing changes, marks included. */
bool pbft_tree_delete(struct pbft_tree *tree, struct pbft_span key, uint64_t mark);

/* Called for each entry in ascending order; the spans are borrowed for the call, which must not
 * change the tree. Return false to stop. */
typedef bool pbft_scan_fn(void *context, struct pbft_span key, struct pbft_span value);

/**
 * Visit the entries with from <= key < to.
 *
 * to      .data == NULL: no upper bound
 * mark    highest change mark of the leaves read, which are those that cover the range (or, if
 *         visit stopped, its beginning up to the last entry visited); 0 for an empty range
 *         (from >= to); may be NULL
 * Returns how many entries were visited.
 */
uint64_t pbft_tree_scan(const struct pbft_tree *tree, struct pbft_span from, struct pbft_span to,
                        pbft_scan_fn *visit, void *context, uint64_t *mark);

/* The same over all keys that begin with prefix (at most PBFT_TREE_KEY_MAX bytes; a longer one
 * visits nothing). */
uint64_t pbft_tree_scan_prefix(const struct pbft_tree *tree, struct pbft_span prefix,
                               pbft_scan_fn *visit, void *context, uint64_t *mark);

/* Entries of the head; bytes of keys and values in it. */
uint64_t pbft_tree_count(const struct pbft_tree *tree);
uint64_t pbft_tree_payload(const struct pbft_tree *tree);
/* Bytes allocated for all pages that the head, its snapshots and installations reach. Any thread.
 */
size_t pbft_tree_bytes(const struct pbft_tree *tree);

/* ---- snapshots ----------------------------------------------------------------------------- */

/* The head as it is now, in O(1). NULL: out of memory. The caller holds one reference. */
struct pbft_snapshot *pbft_tree_snapshot(struct pbft_tree *tree) PBFT_MUST_USE;

/* Make the head equal to a snapshot of the same tree. The snapshot stays. */
void pbft_tree_rollback(struct pbft_tree *tree, const struct pbft_snapshot *snapshot);

/* References, on any thread. release(NULL) is allowed; the last release frees what only this
 * snapshot reached. */
struct pbft_snapshot *pbft_snapshot_retain(struct pbft_snapshot *snapshot);
void pbft_snapshot_release(struct pbft_snapshot *snapshot);

/* As the functions on the head; spans live as long as the snapshot. */
bool pbft_snapshot_get(const struct pbft_snapshot *snapshot, struct pbft_span key,
                       struct pbft_span *value, uint64_t *mark);
uint64_t pbft_snapshot_scan(const struct pbft_snapshot *snapshot, struct pbft_span from,
                            struct pbft_span to, pbft_scan_fn *visit, void *context,
                            uint64_t *mark);
uint64_t pbft_snapshot_scan_prefix(const struct pbft_snapshot *snapshot, struct pbft_span prefix,
                                   pbft_scan_fn *visit, void *context, uint64_t *mark);
uint64_t pbft_snapshot_count(const struct pbft_snapshot *snapshot);

/* ---- hashes and pages ---------------------------------------------------------------------- */

/**
 * Hash the pages that have changed since they were last hashed, at most max_pages of them, so that
 * a replica without a thread to spare can do it in slices. Any thread; calls on snapshots of one
 * tree wait for one another. Returns true once the root is known, false if pages remain.
 */
bool pbft_snapshot_hash(struct pbft_snapshot *snapshot, size_t max_pages);

/* The root digest: finishes the hashing that is left, without waiting if there is none. */
void pbft_snapshot_root(struct pbft_snapshot *snapshot, struct pbft_digest *root);

/**
 * Copy out a page by its hash, if anything that the tree retains (head, snapshots, completed parts
 * of installations) reaches it and it has been hashed. Any thread.
 *
 * size    set to the page's length for PBFT_STATUS_OK and PBFT_STATUS_FULL
 * Returns PBFT_STATUS_NOT_FOUND, or PBFT_STATUS_FULL if capacity is too small (nothing written).
 */
enum pbft_status pbft_tree_page(const struct pbft_tree *tree, const struct pbft_digest *digest,
                                uint8_t *out, size_t capacity, size_t *size) PBFT_MUST_USE;
/* The same through a snapshot of the tree, which may outlive it. */
enum pbft_status pbft_snapshot_page(const struct pbft_snapshot *snapshot,
                                    const struct pbft_digest *digest, uint8_t *out, size_t capacity,
                                    size_t *size) PBFT_MUST_USE;

/* Whether what is walked for has the page: PBFT_STATUS_OK, and the walk passes it and all below it
 * by; PBFT_STATUS_NOT_FOUND, and it goes on; anything else ends it. */
typedef enum pbft_status pbft_walk_have_fn(void *context, const struct pbft_digest *digest);
/* A page, its bytes borrowed for the call. Anything but PBFT_STATUS_OK ends the walk. */
typedef enum pbft_status pbft_walk_page_fn(void *context, const struct pbft_digest *digest,
                                           struct pbft_span page);

/**
 * Visit the pages of a snapshot whose root is known, each after all below it. Any thread, while the
 * owner goes on writing.
 *
 * have    NULL: nothing is passed by
 * Returns PBFT_STATUS_OK, PBFT_STATUS_MEMORY, or what a function returned that ended the walk.
 */
enum pbft_status pbft_snapshot_walk(const struct pbft_snapshot *snapshot, pbft_walk_have_fn *have,
                                    pbft_walk_page_fn *page, void *context) PBFT_MUST_USE;
/* The same in the order of their digests, all of them. It takes up to 24 bytes of memory a page. */
enum pbft_status pbft_snapshot_walk_sorted(const struct pbft_snapshot *snapshot,
                                           pbft_walk_page_fn *page, void *context) PBFT_MUST_USE;

/* The digest of child `index` of a page whose hash is what it should be. False: a leaf, or there is
 * no such child. */
bool pbft_page_child_digest(struct pbft_span page, uint32_t index, struct pbft_digest *digest);

/**
 * Whether bytes from anywhere are a canonical page, its place in a tree aside.
 * Returns PBFT_OK, PBFT_DROP_SIZE, PBFT_DROP_TYPE, PBFT_DROP_VERSION or PBFT_DROP_MALFORMED.
 */
enum pbft_verdict pbft_page_check(const struct pbft_tree_config *config, struct pbft_span page);

/* The digest that a page with these bytes has. False if they do not begin as a page does. */
bool pbft_page_digest(struct pbft_span page, struct pbft_digest *digest);

/* ---- installation: state transfer page by page --------------------------------------------- */

struct pbft_install_limits {
    uint64_t entries_max;
    uint64_t payload_max; /* bytes of all keys and values */
};

struct pbft_install_progress {
    uint64_t pages_known;   /* pages that the target is known to have so far */
    uint64_t pages_have;    /* of these verified and in place; equal to known when done */
    uint64_t pages_local;   /* of these taken from our own tree */
    uint64_t pages_damaged; /* own pages that no longer had their hash, and were fetched */
    uint64_t pages_handed;  /* handed out and awaited */
    uint64_t pages_pending; /* not handed out yet; call pbft_install_wanted() */
    uint64_t entries;       /* of the whole target; 0 until its root is here */
    uint64_t entries_have;  /* of these in leaves that are in place */
    bool failed;            /* the certified root leads to a page that is no page: give up */
};

/**
 * Begin to fetch the tree whose root digest is known (a stable checkpoint). Head and snapshots stay
 * as they are and usable until finish. To follow a moving target begin a new installation and keep
 * the old one until the new one is finished: its completed subtrees are found locally.
 * Returns PBFT_STATUS_MEMORY.
 */
enum pbft_status pbft_install_begin(struct pbft_install **out, struct pbft_tree *tree,
                                    const struct pbft_digest *root,
                                    const struct pbft_install_limits *limits) PBFT_MUST_USE;

/**
 * The installation is one of several that belong together: targets of one that moves, or installed
 * one straight after the other. What such a one has hashed with all that lies below is taken as it
 * is, so that following a target costs what changed and not all there is (PROTOCOL 30: a page of
 * our own is hashed again, once in each series). Call it before the first page.
 *
 * series  the same number for these, another one for others; 0, the default: alone
 */
void pbft_install_join(struct pbft_install *install, uint32_t series);

/**
 * Hand out up to max digests of pages that are still needed and not handed out. Before that, up to
 * a few hundred pages are looked for in our own tree, hashed again and taken (PROTOCOL 30); while
 * progress.pages_pending is not 0 a call can return 0 and the next one go on.
 * Returns how many digests were written.
 */
size_t pbft_install_wanted(struct pbft_install *install, struct pbft_digest *out, size_t max);

/* Offer a page again that was handed out and has not come (time-out, peer lost); NULL: all such.
 * A digest that is not awaited is ignored. */
void pbft_install_reoffer(struct pbft_install *install, const struct pbft_digest *digest);

/**
 * A page from a peer; bytes borrowed for the call.
 *
 * digest  what it was asked for as, or NULL to go by the contents alone
 * Returns PBFT_OK; PBFT_DROP_UNWANTED: no such page is needed (a duplicate, a late answer);
 *         PBFT_DROP_DIGEST: the contents have another hash; PBFT_DROP_SIZE, _TYPE, _VERSION,
 *         _MALFORMED: they have the hash but are no page that belongs where the parent puts it,
 *         which sets progress.failed; PBFT_DROP_BUSY: no memory now, send again.
 *         After each of them but PBFT_OK the page is still wanted, if it was.
 */
enum pbft_verdict pbft_install_page(struct pbft_install *install, const struct pbft_digest *digest,
                                    struct pbft_span page);

/* The same for a page of which the caller has computed the digest himself (pbft_page_digest()): it
 * is hashed no second time, so never give what somebody else says that it is. */
enum pbft_verdict pbft_install_hashed_page(struct pbft_install *install,
                                           const struct pbft_digest *digest, struct pbft_span page);

bool pbft_install_done(const struct pbft_install *install);
void pbft_install_progress(const struct pbft_install *install, struct pbft_install_progress *out);

/* Swap the head for the installed tree, all at once, and free the installation.
 * Returns PBFT_STATUS_REFUSED, with nothing changed, unless it is done. */
enum pbft_status pbft_install_finish(struct pbft_install *install) PBFT_MUST_USE;
/* Free the installation; the head was never touched. NULL is allowed. */
void pbft_install_abort(struct pbft_install *install);

#endif
