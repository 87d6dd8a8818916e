/* What the tests of the tree share: portable randomness, keys, and a walk over canonical pages. */
#ifndef PBFT_TESTS_STORE_PAGES_H
#define PBFT_TESTS_STORE_PAGES_H

#include "store/tree.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Criterion reports each assertion to its parent process; a loop of millions needs silence. */
#define REQUIRE(seed, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            cr_assert_fail("seed %llu: %s (line %d)", (unsigned long long)(seed), #condition,      \
                           __LINE__);                                                              \
    } while (0)

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng) /* splitmix64 */
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    return (uint32_t)(rng_next(rng) % bound);
}

static inline struct pbft_span text_span(const char *text)
{
    return (struct pbft_span){(const uint8_t *)text, strlen(text)};
}

static inline uint32_t field32(const uint8_t *p)
{
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}

struct page_copy {
    struct pbft_digest digest;
    uint8_t *data;
    size_t size;
};

struct page_list {
    struct page_copy *pages;
    size_t count, capacity;
    size_t leaves;
    uint64_t entries;
    uint8_t height;
};

static inline void page_list_free(struct page_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->pages[i].data);
    free(list->pages);
    *list = (struct page_list){0};
}

/* Fetch the page and all below it through the serving interface, parents first; each must be
 * canonical and have the hash that it was asked by. */
static inline void page_list_walk(struct page_list *list, const struct pbft_snapshot *snapshot,
                                  const struct pbft_tree_config *config,
                                  const struct pbft_digest *digest)
{
    size_t size = 0;
    uint8_t none;
    enum pbft_status status = pbft_snapshot_page(snapshot, digest, &none, 0, &size);
    REQUIRE(0, status == PBFT_STATUS_FULL && size > 0 && size <= PBFT_PAGE_BYTES_MAX);
    uint8_t *data = malloc(size);
    REQUIRE(0, data != NULL);
    status = pbft_snapshot_page(snapshot, digest, data, size, &size);
    REQUIRE(0, status == PBFT_STATUS_OK);
    struct pbft_span bytes = {data, size};
    struct pbft_digest actual;
    REQUIRE(0, pbft_page_check(config, bytes) == PBFT_OK);
    REQUIRE(0, pbft_page_digest(bytes, &actual));
    REQUIRE(0, memcmp(actual.bytes, digest->bytes, PBFT_DIGEST_BYTES) == 0);

    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->pages = realloc(list->pages, list->capacity * sizeof *list->pages);
        REQUIRE(0, list->pages != NULL);
    }
    list->pages[list->count++] = (struct page_copy){*digest, data, size};
    uint32_t count = field32(data + 8);
    if (list->count == 1) list->height = (uint8_t)(data[2] + 1);
    if (data[0] == 1) {
        list->leaves++;
        list->entries += count;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_digest child;
        memcpy(child.bytes, data + 28 + (size_t)i * 56 + 20, PBFT_DIGEST_BYTES);
        page_list_walk(list, snapshot, config, &child);
    }
}

static inline struct page_list page_list_of(struct pbft_tree *tree,
                                            const struct pbft_tree_config *config)
{
    struct page_list list = {0};
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    REQUIRE(0, snapshot != NULL);
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    page_list_walk(&list, snapshot, config, &root);
    REQUIRE(0, list.entries == pbft_tree_count(tree));
    pbft_snapshot_release(snapshot);
    return list;
}

static inline uint64_t page_list_bytes(const struct page_list *list)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->count; i++)
        bytes += list->pages[i].size;
    return bytes;
}

static inline bool page_list_equal(const struct page_list *a, const struct page_list *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (a->pages[i].size != b->pages[i].size) return false;
        if (memcmp(a->pages[i].data, b->pages[i].data, a->pages[i].size) != 0) return false;
    }
    return true;
}

static inline struct pbft_digest tree_root(struct pbft_tree *tree)
{
    struct pbft_digest root;
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    REQUIRE(0, snapshot != NULL);
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    return root;
}

static inline bool digest_same(const struct pbft_digest *a, const struct pbft_digest *b)
{
    return memcmp(a->bytes, b->bytes, PBFT_DIGEST_BYTES) == 0;
}

static inline struct pbft_tree *tree_new(const struct pbft_tree_config *config)
{
    struct pbft_tree *tree = NULL;
    enum pbft_status status = pbft_tree_create(&tree, config);
    REQUIRE(0, status == PBFT_STATUS_OK && tree != NULL);
    return tree;
}

static inline void tree_put(struct pbft_tree *tree, struct pbft_span key, struct pbft_span value,
                            uint64_t mark)
{
    enum pbft_status status = pbft_tree_put(tree, key, value, mark);
    REQUIRE(mark, status == PBFT_STATUS_OK);
}

/* One random operation on a key space of `keys` short and long keys: the same state of the
 * generator gives the same operation. Larger `keep` means fewer deletions (of 100). */
static inline void tree_random_step(struct pbft_tree *tree, struct rng *rng, uint32_t keys,
                                    uint32_t keep, uint64_t mark)
{
    uint8_t key[256];
    uint8_t value[6000];
    uint32_t id = rng_below(rng, keys);
    size_t key_size = id % 17 == 0 ? 200 : 8;
    memset(key, 'x', sizeof key);
    for (size_t i = 0; i < 4; i++)
        key[key_size - 4 + i] = (uint8_t)(id >> (8 * (3 - i)));
    bool remove = rng_below(rng, 100) >= keep;
    uint32_t kind = rng_below(rng, 100);
    uint32_t value_size = rng_below(rng, kind < 90 ? 150 : kind < 99 ? 1500 : 6000);
    memset(value, (int)(rng_next(rng) & 0xff), value_size);
    struct pbft_span key_span = {key, key_size};
    if (remove)
        pbft_tree_delete(tree, key_span, mark);
    else
        tree_put(tree, key_span, (struct pbft_span){value, value_size}, mark);
}

#endif
