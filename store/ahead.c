/*
 * Where keys were found last, and where keys will be found that are about to be looked up.
 *
 * A service looks a key up and then writes it, and one key (a counter, say) with each operation:
 * the head remembers the way to the last keys. It is a guess and checked as one: the way is taken
 * within the bounds of the pages as they are now, and right if the entry at its end has the key.
 *
 * Of a batch all keys are known before the first operation runs. pbft_tree_prefetch() walks to them
 * some operations ahead, in stages, none of which reads what the one before has not asked the
 * memory for: a large state then costs a few cache misses at a time instead of one after the other.
 */
#include "store/page.h"

#include <stddef.h>
#include <stdlib.h>

#define GUESSES     64u   /* a power of two */
#define LEVELS      6u    /* of inner pages; a higher tree is searched */
#define KEY_BYTES   96u   /* longer ones are not looked for ahead */
#define ENTRY_BYTES 1024u /* of an entry, be its value a MiB: a hint costs little (PROTOCOL 9) */
#define ROUND       16u   /* prefetches under way; a power of two */
#define LINE        64u

/* Of a page what its search reads. Not the atomics before it, which other threads change. */
#define PAGE_HOT       offsetof(struct pbft_page, level)
#define PAGE_HOT_BYTES (offsetof(struct pbft_page, children_capacity) - PAGE_HOT)

struct way {
    uint32_t tag; /* of the key; 0: none */
    uint8_t depth;
    uint32_t index[LEVELS]; /* of the child, from the root down */
    uint32_t entry;         /* in the leaf */
};

struct coming {
    struct way way;
    uint32_t size;
    uint8_t key[KEY_BYTES];
};

struct pbft_ahead {
    struct way guesses[GUESSES];
    struct coming coming[ROUND];
    uint32_t turn;
};

struct pbft_ahead *pbft_ahead_create(void)
{
    return calloc(1, sizeof(struct pbft_ahead));
}

/* Keys of one kind differ in their last bytes. Whoever makes them equal gains nothing. */
static uint32_t tag_of(struct pbft_span key)
{
    uint64_t last = 0, before = 0;
    if (key.size >= 16) {
        last = load64(key.data + key.size - 8);
        before = load64(key.data + key.size - 16);
    } else {
        for (size_t i = 0; i < key.size; i++)
            last = last * 257 + key.data[i];
    }
    /* What differs may be in the highest bits only, and a product carries upwards: folded, again.
     */
    uint64_t mixed = last ^ (before * UINT64_C(0x9E3779B97F4A7C15)) ^ key.size;
    mixed *= UINT64_C(0xD6E8FEB86659FD93);
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(mixed >> 32) | 1u;
}

static struct way *guess_of(struct pbft_ahead *ahead, uint32_t tag)
{
    return &ahead->guesses[(tag >> 8) & (GUESSES - 1)];
}

/* The leaf at the end of a way, if there is one. */
static struct pbft_page *follow(struct pbft_page *root, const struct way *way)
{
    struct pbft_page *page = root;
    if (root->level != way->depth) return NULL;
    for (uint32_t d = 0; d < way->depth; d++) {
        if (way->index[d] >= page->count) return NULL;
        page = page->children[way->index[d]].page;
    }
    return page;
}

bool pbft_ahead_guess(struct pbft_ahead *ahead, struct pbft_page *root, struct pbft_span key,
                      struct pbft_page **leaf, const uint32_t **indices, uint32_t *entry)
{
    uint32_t tag = tag_of(key);
    const struct way *way = guess_of(ahead, tag);
    if (way->tag != tag || key.size == 0) return false;
    struct pbft_page *page = follow(root, way);
    if (page == NULL || way->entry >= page->count) return false;
    struct pbft_span held = leaf_key(page, way->entry);
    if (held.size != key.size || memcmp(held.data, key.data, key.size) != 0) return false;
    *leaf = page;
    *indices = way->index;
    *entry = way->entry;
    return true;
}

void pbft_ahead_note(struct pbft_ahead *ahead, struct pbft_span key, uint32_t depth,
                     const uint32_t *indices, uint32_t entry)
{
    if (depth > LEVELS || key.size == 0) return;
    uint32_t tag = tag_of(key);
    struct way *way = guess_of(ahead, tag);
    way->tag = tag;
    way->depth = (uint8_t)depth;
    for (uint32_t d = 0; d < depth; d++)
        way->index[d] = indices[d];
    way->entry = entry;
}

/* ---- ahead of what will be looked up ---- */

/* Loads: a prefetch instruction whose page is not in the TLB may do nothing, and in a large state
 * none is (measured: half of the misses stayed). Nothing waits for them but their retirement. */
static void fetch(const void *at, size_t bytes)
{
    const volatile uint8_t *p = at;
    if (bytes == 0) return;
    for (size_t i = 0; i < bytes; i += LINE)
        (void)p[i];
    (void)p[bytes - 1];
}

/* Inner pages are few and warm; nothing of the leaf is read. */
static void find_leaf(struct pbft_page *root, struct coming *c)
{
    struct pbft_span key = {c->key, c->size};
    struct pbft_page *page = root;
    c->way.tag = 0;
    if (root->level > LEVELS) return;
    c->way.depth = root->level;
    for (uint32_t d = 0; d < c->way.depth; d++) {
        c->way.index[d] = pbft_inner_find(page, key);
        page = page->children[c->way.index[d]].page;
    }
    c->way.tag = 1;
    fetch((const uint8_t *)page + PAGE_HOT, PAGE_HOT_BYTES);
}

static void fetch_leaf(struct pbft_page *root, const struct coming *c)
{
    struct pbft_page *leaf = c->way.tag != 0 ? follow(root, &c->way) : NULL;
    if (leaf == NULL) return;
    fetch(leaf->heads, leaf->count * sizeof *leaf->heads);
    fetch(leaf->data, LEAF_HEADER_BYTES + leaf->count * LEAF_SLOT_BYTES);
}

/* Which entry the heads name; nothing waits for its bytes. */
static void fetch_entry(struct pbft_ahead *ahead, struct pbft_page *root, struct coming *c)
{
    struct pbft_page *leaf = c->way.tag != 0 ? follow(root, &c->way) : NULL;
    c->way.tag = 0;
    if (leaf == NULL) return;
    struct pbft_span key = {c->key, c->size};
    uint32_t entry = pbft_heads_guess(leaf, key);
    if (entry >= leaf->count) return;
    const uint8_t *base = leaf->data + LEAF_HEADER_BYTES + (size_t)leaf->count * LEAF_SLOT_BYTES;
    uint32_t start = leaf_start(leaf->data, entry), bytes = leaf_end(leaf->data, entry) - start;
    fetch(base + start, bytes < ENTRY_BYTES ? bytes : ENTRY_BYTES);
    pbft_ahead_note(ahead, key, c->way.depth, c->way.index, entry);
}

void pbft_ahead_come(struct pbft_ahead *ahead, struct pbft_page *root, struct pbft_span key)
{
    uint32_t turn = ahead->turn++;
    struct coming *c = &ahead->coming[turn % ROUND];
    c->way.tag = 0;
    if (key.size > 0 && key.size <= KEY_BYTES) {
        memcpy(c->key, key.data, key.size);
        c->size = (uint32_t)key.size;
        find_leaf(root, c);
    }
    fetch_leaf(root, &ahead->coming[(turn - PBFT_AHEAD_STAGE) % ROUND]);
    fetch_entry(ahead, root, &ahead->coming[(turn - 2 * PBFT_AHEAD_STAGE) % ROUND]);
}
