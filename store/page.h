/**
 * store/page.h - internal to store/: pages, the space that owns them, and the index by hash.
 *
 * A page is mutable while exactly one reference leads to it from the head, all its ancestors
 * included, and frozen otherwise. A leaf keeps its canonical bytes, so hashing, serving and copying
 * need no encoding. An inner page keeps its separators and pointers; its canonical bytes are put
 * together when asked for, because its children's hashes come late and from another thread.
 */
#ifndef PBFT_STORE_PAGE_H
#define PBFT_STORE_PAGE_H

#include "store/tree.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define LEAF_TYPE          1u
#define INNER_TYPE         2u
#define PAGE_VERSION       1u
#define LEAF_HEADER_BYTES  20u
#define LEAF_SLOT_BYTES    4u
#define INNER_HEADER_BYTES 28u
#define INNER_CHILD_BYTES  56u
#define INNER_FANOUT_MIN   2u

/* One word for all that belongs to one tree and must outlive it while snapshots do. */
struct pbft_space {
    struct pbft_tree_config config;
    _Atomic uint32_t refs;
    _Atomic size_t bytes;
    pthread_mutex_t hash_lock;  /* one hashing at a time; taken before index_lock */
    pthread_mutex_t index_lock; /* guards what follows and the links of the pages in it */
    struct pbft_page **buckets;
    size_t bucket_count; /* a power of two */
    size_t index_count;
};

struct pbft_child {
    struct pbft_page *page; /* NULL only while an installation waits for it */
    uint32_t key_end;       /* end of its separator in the page's data */
};

struct pbft_page {
    _Atomic uint32_t refs;
    _Atomic bool hashed; /* hash is valid and the page is in the index */
    uint8_t level;       /* 0: leaf */
    uint32_t count;      /* entries or children */
    uint32_t length;     /* leaf: canonical bytes; inner: separator bytes; both in data */
    uint32_t capacity;   /* of data */
    uint32_t shared;     /* its keys have so many first bytes in common */
    uint64_t entries;    /* of the subtree */
    uint64_t payload;    /* bytes of keys and values of the subtree */
    uint8_t *data;
    uint32_t *heads; /* of its keys (heads.c); an inner page's begin at 1 */
    struct pbft_child *children;
    uint32_t children_capacity; /* from here on cold: ahead.c */
    uint32_t heads_capacity;
    uint64_t proved_pages; /* proved: pages of the subtree, this one included */
    uint32_t proved; /* installations of this number have hashed all of the subtree; 0: none */
    struct pbft_digest hash;
    struct pbft_page *next; /* in its bucket */
    struct pbft_page *prev;
};

struct pbft_tree {
    struct pbft_space *space;
    struct pbft_page *root;
    struct pbft_ahead *ahead;
};

struct pbft_snapshot {
    _Atomic uint32_t refs;
    struct pbft_space *space;
    struct pbft_page *root;
};

/* ---- bytes ---- */

static inline uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)(p[1] << 8));
}
static inline uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}
static inline uint64_t load64(const uint8_t *p)
{
    return (uint64_t)load32(p) | ((uint64_t)load32(p + 4) << 32);
}
static inline void store16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v & 0xffu);
    p[1] = (uint8_t)(v >> 8);
}
static inline void store32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v & 0xffu);
    p[1] = (uint8_t)((v >> 8) & 0xffu);
    p[2] = (uint8_t)((v >> 16) & 0xffu);
    p[3] = (uint8_t)(v >> 24);
}
static inline void store64(uint8_t *p, uint64_t v)
{
    store32(p, (uint32_t)(v & 0xffffffffu));
    store32(p + 4, (uint32_t)(v >> 32));
}

/* memcpy and memmove take no null pointers, not even for nothing. */
static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t size)
{
    if (size != 0) memcpy(to, from, size);
}

static inline int span_compare(struct pbft_span a, struct pbft_span b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) return order;
    return (a.size > b.size) - (a.size < b.size);
}

/* ---- the space and its index (index.c) ---- */

struct pbft_space *pbft_space_create(const struct pbft_tree_config *config);
struct pbft_space *pbft_space_retain(struct pbft_space *space);
void pbft_space_release(struct pbft_space *space);

/* The page's hash is set; from now on it can be found. */
void pbft_space_index(struct pbft_space *space, struct pbft_page *page);
void pbft_space_unindex(struct pbft_space *space, struct pbft_page *page);
/* Out of the index if nobody but the caller holds it; false if somebody does. */
bool pbft_space_claim(struct pbft_space *space, struct pbft_page *page);
/* A page with this hash, with a reference for the caller; NULL if there is none. */
struct pbft_page *pbft_space_find(struct pbft_space *space, const struct pbft_digest *digest);

/* ---- pages (page.c) ---- */

/* NULL if there is no memory; one reference, no entries. */
struct pbft_page *pbft_page_alloc(struct pbft_space *space, uint8_t level, uint32_t capacity,
                                  uint32_t children);
/* The same, but ends the process instead (store/tree.h, MEMORY). */
struct pbft_page *pbft_page_new(struct pbft_space *space, uint8_t level, uint32_t capacity,
                                uint32_t children);
void pbft_page_ref(struct pbft_page *page);
void pbft_page_unref(struct pbft_space *space, struct pbft_page *page);
/* Make the page in *slot, whose parent is writable, writable itself. */
struct pbft_page *pbft_page_writable(struct pbft_space *space, struct pbft_page **slot);

static inline uint64_t leaf_mark(const struct pbft_page *leaf)
{
    return load64(leaf->data + 12);
}
static inline uint32_t leaf_end(const uint8_t *data, uint32_t index)
{
    return load32(data + LEAF_HEADER_BYTES + (size_t)index * LEAF_SLOT_BYTES);
}
static inline uint32_t leaf_start(const uint8_t *data, uint32_t index)
{
    return index == 0 ? 0 : leaf_end(data, index - 1);
}
static inline void leaf_entry(const uint8_t *data, uint32_t count, uint32_t index,
                              struct pbft_span *key, struct pbft_span *value)
{
    const uint8_t *base = data + LEAF_HEADER_BYTES + (size_t)count * LEAF_SLOT_BYTES;
    const uint8_t *entry = base + leaf_start(data, index);
    const uint8_t *end = base + leaf_end(data, index);
    *key = (struct pbft_span){entry + 2, load16(entry)};
    *value = (struct pbft_span){entry + 2 + key->size, (size_t)(end - entry) - 2 - key->size};
}
static inline struct pbft_span leaf_key(const struct pbft_page *leaf, uint32_t index)
{
    struct pbft_span key, value;
    leaf_entry(leaf->data, leaf->count, index, &key, &value);
    return key;
}
static inline struct pbft_span inner_key(const struct pbft_page *inner, uint32_t index)
{
    uint32_t start = index == 0 ? 0 : inner->children[index - 1].key_end;
    return (struct pbft_span){inner->data + start, inner->children[index].key_end - start};
}
/* Canonical bytes of a page. */
static inline uint32_t page_size(const struct pbft_page *page)
{
    return page->level == 0 ? page->length
                            : INNER_HEADER_BYTES + page->count * INNER_CHILD_BYTES + page->length;
}

/* ---- searching a page (heads.c) ---- */

/* First entry with a key that is not less; *found says whether it is equal. */
uint32_t pbft_leaf_find(const struct pbft_page *leaf, struct pbft_span key, bool *found);
/* The child whose range holds the key. */
uint32_t pbft_inner_find(const struct pbft_page *inner, struct pbft_span key);

/* Where the heads alone say that the key is, if it is in the leaf. */
uint32_t pbft_heads_guess(const struct pbft_page *leaf, struct pbft_span key);

/* Make the heads of all keys anew; of a copy; put that right which the key at `index` changed by
 * coming, or by going (count is the new one). False: no memory. */
bool pbft_heads_rebuild(struct pbft_space *space, struct pbft_page *page);
bool pbft_heads_copy(struct pbft_space *space, struct pbft_page *copy,
                     const struct pbft_page *page);
bool pbft_heads_inserted(struct pbft_space *space, struct pbft_page *page, uint32_t index);
void pbft_heads_removed(struct pbft_page *page, uint32_t index);

/* All of these want a writable page. entries and payload are kept for leaves, and by the caller
 * for inner pages. */
void pbft_leaf_raise_mark(struct pbft_page *leaf, uint64_t mark);
void pbft_leaf_insert(struct pbft_space *space, struct pbft_page *leaf, uint32_t index,
                      struct pbft_span key, struct pbft_span value);
void pbft_leaf_replace(struct pbft_space *space, struct pbft_page *leaf, uint32_t index,
                       struct pbft_span value);
void pbft_leaf_remove(struct pbft_space *space, struct pbft_page *leaf, uint32_t index);
/* Entries from cut on move to a new page. */
struct pbft_page *pbft_leaf_split(struct pbft_space *space, struct pbft_page *leaf, uint32_t cut);
void pbft_leaf_append(struct pbft_space *space, struct pbft_page *leaf,
                      const struct pbft_page *right);
void pbft_inner_insert(struct pbft_space *space, struct pbft_page *inner, uint32_t index,
                       struct pbft_page *child, struct pbft_span key);
/* Takes the child out of the page and lets go of it. index >= 1. */
void pbft_inner_remove(struct pbft_space *space, struct pbft_page *inner, uint32_t index);
struct pbft_page *pbft_inner_split(struct pbft_space *space, struct pbft_page *inner, uint32_t cut);
void pbft_inner_append(struct pbft_space *space, struct pbft_page *inner, struct pbft_span key,
                       const struct pbft_page *right);

/* ---- ways to keys of the head (ahead.c); for its owner ---- */

/* Each stage of a prefetch is so many prefetches behind the one before. */
#define PBFT_AHEAD_STAGE 4u

struct pbft_ahead *pbft_ahead_create(void); /* NULL: no memory; free() ends it */
/* Where the key is, if that is where it was seen last. indices live until the next call. */
bool pbft_ahead_guess(struct pbft_ahead *ahead, struct pbft_page *root, struct pbft_span key,
                      struct pbft_page **leaf, const uint32_t **indices, uint32_t *entry);
void pbft_ahead_note(struct pbft_ahead *ahead, struct pbft_span key, uint32_t depth,
                     const uint32_t *indices, uint32_t entry);
/* An empty key: nothing comes, but what came before goes on. */
void pbft_ahead_come(struct pbft_ahead *ahead, struct pbft_page *root, struct pbft_span key);

/* ---- canonical bytes (codec.c) ---- */

/* Write the canonical bytes, page_size() of them; the children of an inner page are hashed. */
void pbft_page_encode(const struct pbft_page *page, uint8_t *out);
/* Hash the page from its bytes; false: no memory. The children of an inner page are hashed. */
bool pbft_page_rehash(const struct pbft_page *page, struct pbft_digest *out);
/* Fields of an inner page that pbft_page_check() accepted. */
struct pbft_child_view {
    struct pbft_span key;
    const uint8_t *digest;
    uint64_t entries;
    uint64_t payload;
};
struct pbft_child_view pbft_page_child(const uint8_t *data, uint32_t index);
/* A page made of bytes that pbft_page_check() accepted, children of an inner page NULL.
 * NULL: no memory. */
struct pbft_page *pbft_page_decode(struct pbft_space *space, struct pbft_span bytes);
/* entries and payload that a checked page claims (inner) or has (leaf). */
void pbft_page_totals(struct pbft_span bytes, uint64_t *entries, uint64_t *payload);

/* ---- reading (scan.c), on the subtree of root ---- */

bool pbft_page_get(const struct pbft_page *root, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark);
uint64_t pbft_page_scan(const struct pbft_page *root, struct pbft_span from, struct pbft_span to,
                        pbft_scan_fn *visit, void *context, uint64_t *mark);
uint64_t pbft_page_scan_prefix(const struct pbft_page *root, struct pbft_span prefix,
                               pbft_scan_fn *visit, void *context, uint64_t *mark);

#endif
