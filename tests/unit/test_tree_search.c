/* store/heads and store/ahead: what makes a search cheap finds nothing else than a search of keys.
 * Whole workloads against a reference are in test_tree.c, prefetches and repeated keys among them.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include "store/page.h"
#include "store_pages.h"

#include <stdio.h>
#include <sys/mman.h>

#define KEYS 400u

/* ---- heads ---- */

static struct pbft_span key_of(const struct pbft_page *page, uint32_t index)
{
    return page->level == 0 ? leaf_key(page, index) : inner_key(page, index);
}

static uint32_t head_expected(struct pbft_span key, uint32_t shared)
{
    uint32_t head = 0;
    for (uint32_t i = 0; i < 4; i++)
        head = head << 8 | (shared + i < key.size ? key.data[shared + i] : 0u);
    return head;
}

/* Returns how many pages have keys that share something, so that a test can ask for it. */
static uint32_t heads_check(uint64_t seed, const struct pbft_page *page)
{
    uint32_t first = page->level == 0 ? 0 : 1, sharing = 0;
    for (uint32_t i = first; i < page->count; i++) {
        struct pbft_span key = key_of(page, i), least = key_of(page, first);
        REQUIRE(seed, key.size >= page->shared);
        REQUIRE(seed, page->shared == 0 || memcmp(key.data, least.data, page->shared) == 0);
        REQUIRE(seed, page->heads[i] == head_expected(key, page->shared));
    }
    if (page->count > first && page->shared > 0) sharing++;
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++)
        sharing += heads_check(seed, page->children[i].page);
    return sharing;
}

/* First entry that is not less, by its key alone. */
static void search_check(uint64_t seed, const struct pbft_page *page, struct pbft_span key)
{
    while (page->level != 0) {
        uint32_t child = 0;
        while (child + 1 < page->count && span_compare(inner_key(page, child + 1), key) <= 0)
            child++;
        REQUIRE(seed, pbft_inner_find(page, key) == child);
        page = page->children[child].page;
    }
    uint32_t index = 0;
    while (index < page->count && span_compare(leaf_key(page, index), key) < 0)
        index++;
    bool there = index < page->count && span_compare(leaf_key(page, index), key) == 0;
    bool found;
    REQUIRE(seed, pbft_leaf_find(page, key, &found) == index && found == there);
}

/* Prefixes of one another, zeros at the end, heads that are equal, all of 0xff. */
static struct pbft_span draw_key(struct rng *rng, uint8_t out[64])
{
    static const uint8_t few[] = {0, 0, 1, 0xff, 0xff, 'k'};
    size_t shared = rng_below(rng, 4) == 0 ? 0 : 5 + rng_below(rng, 2) * 20;
    size_t size = shared + rng_below(rng, 12);
    for (size_t i = 0; i < size; i++)
        out[i] = i < shared ? 'p' : few[rng_below(rng, sizeof few)];
    return (struct pbft_span){out, size};
}

static void heads_run(uint64_t seed, struct pbft_tree_config config)
{
    struct rng rng = {seed};
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, &config), PBFT_STATUS_OK);
    uint8_t value[40] = {0}, key[64];
    uint32_t sharing = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        struct pbft_span k = draw_key(&rng, key);
        if (rng_below(&rng, 3) == 0)
            pbft_tree_delete(tree, k, i);
        else
            tree_put(tree, k, (struct pbft_span){value, rng_below(&rng, sizeof value)}, i);
        search_check(seed, tree->root, draw_key(&rng, key));
        if (i % 16 == 0) sharing += heads_check(seed, tree->root);
    }
    REQUIRE(seed, sharing > 0);
    pbft_tree_destroy(tree);
}

Test(store_tree, heads_agree_with_the_keys)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        heads_run(seed, (struct pbft_tree_config){PBFT_TREE_TARGET_MIN, PBFT_TREE_TARGET_MIN});
        heads_run(seed, (struct pbft_tree_config){1024, 256});
    }
}

/* A page that came from elsewhere, or was copied, is searched by its heads as well. */
Test(store_tree, heads_of_pages_that_were_decoded)
{
    struct pbft_tree_config config = {256, 256};
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, &config), PBFT_STATUS_OK);
    struct rng rng = {7};
    uint8_t key[64], page[PBFT_TREE_TARGET_MAX];
    for (uint32_t i = 0; i < 500; i++)
        tree_put(tree, draw_key(&rng, key), (struct pbft_span){key, 3}, i);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    struct page_list list = page_list_of(tree, &config);
    cr_assert_gt(list.count, 20);
    for (size_t i = 0; i < list.count; i++) {
        size_t size;
        cr_assert_eq(pbft_tree_page(tree, &list.pages[i].digest, page, sizeof page, &size),
                     PBFT_STATUS_OK);
        struct pbft_page *decoded = pbft_page_decode(tree->space, (struct pbft_span){page, size});
        uint32_t first = decoded->level == 0 ? 0 : 1;
        for (uint32_t k = first; k < decoded->count; k++)
            cr_assert_eq(decoded->heads[k], head_expected(key_of(decoded, k), decoded->shared));
        pbft_page_unref(tree->space, decoded);
    }
    page_list_free(&list);
    tree_put(tree, draw_key(&rng, key), (struct pbft_span){key, 5}, 501); /* copies its path */
    heads_check(7, tree->root);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

/* ---- ways ---- */

static struct pbft_span numbered(uint32_t number, char out[32])
{
    int size = snprintf(out, 32, "a key with number %08u", number);
    return (struct pbft_span){(const uint8_t *)out, (size_t)size};
}

static struct pbft_tree *numbered_tree(void)
{
    struct pbft_tree_config config = {512, 256};
    struct pbft_tree *tree;
    char key[32];
    cr_assert_eq(pbft_tree_create(&tree, &config), PBFT_STATUS_OK);
    for (uint32_t i = 0; i < KEYS; i++)
        tree_put(tree, numbered(i, key), text_span("value"), 1);
    cr_assert_gt(tree->root->level, 1);
    return tree;
}

static bool way_known(struct pbft_tree *tree, struct pbft_span key)
{
    struct pbft_page *leaf;
    const uint32_t *indices;
    uint32_t entry;
    if (!pbft_ahead_guess(tree->ahead, tree->root, key, &leaf, &indices, &entry)) return false;
    bool found;
    cr_assert_eq(pbft_leaf_find(leaf, key, &found), entry);
    cr_assert(found);
    return true;
}

Test(store_tree, way_to_a_key_that_was_read_is_known)
{
    struct pbft_tree *tree = numbered_tree();
    char key[32];
    cr_assert_not(way_known(tree, numbered(17, key)));
    cr_assert(pbft_tree_get(tree, numbered(17, key), NULL, NULL));
    cr_assert(way_known(tree, numbered(17, key)));
    tree_put(tree, numbered(17, key), text_span("other"), 2);
    cr_assert(way_known(tree, numbered(17, key)), "replacing a value moves nothing");

    tree_put(tree, text_span("a key with number 00000016b"), text_span("before it"), 3);
    struct pbft_span value;
    cr_assert(pbft_tree_get(tree, numbered(17, key), &value, NULL));
    cr_assert(value.size == 5 && memcmp(value.data, "other", 5) == 0);
    cr_assert(pbft_tree_delete(tree, numbered(17, key), 4));
    cr_assert_not(pbft_tree_get(tree, numbered(17, key), &value, NULL));
    pbft_tree_destroy(tree);
}

Test(store_tree, way_to_a_key_is_known_when_its_turn_comes)
{
    struct pbft_tree *tree = numbered_tree();
    char key[32];
    for (uint32_t i = 0; i < PBFT_TREE_AHEAD; i++)
        pbft_tree_prefetch(tree, numbered(i * 31 % KEYS, key));
    uint32_t known = 0;
    for (uint32_t i = 0; i < 100; i++) {
        known += way_known(tree, numbered(i * 31 % KEYS, key));
        pbft_tree_prefetch(tree, numbered((i + PBFT_TREE_AHEAD) * 31 % KEYS, key));
    }
    cr_assert_geq(known, 90, "%u of 100", known); /* some share a place with another one */

    /* The last ones come although nothing is behind them. */
    cr_assert(pbft_tree_get(tree, numbered(0, key), NULL, NULL));
    pbft_tree_prefetch(tree, numbered(5, key));
    for (uint32_t i = 0; i < PBFT_TREE_AHEAD; i++)
        pbft_tree_prefetch(tree, (struct pbft_span){NULL, 0});
    cr_assert(way_known(tree, numbered(5, key)));
    pbft_tree_destroy(tree);
}

/* What is behind the beginning of a value cannot be read here: a hint costs its sender few bytes,
 * whatever it leads to. */
Test(store_tree, prefetch_reads_the_beginning_of_a_great_value)
{
    static uint8_t value[262144];
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    tree_put(tree, text_span("great"), (struct pbft_span){value, sizeof value}, 1);
    cr_assert_eq(tree->root->count, 1);

    uint8_t *kept = tree->root->data;
    size_t size = tree->root->capacity;
    uint8_t *guarded = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(guarded, MAP_FAILED);
    memcpy(guarded, kept, size);
    tree->root->data = guarded;
    cr_assert_eq(mprotect(guarded + 16384, size - 16384, PROT_NONE), 0);
    for (uint32_t i = 0; i <= PBFT_TREE_AHEAD; i++)
        pbft_tree_prefetch(tree, text_span("great"));
    cr_assert(way_known(tree, text_span("great")), "it was there");
    tree->root->data = kept;
    cr_assert_eq(munmap(guarded, size), 0);
    pbft_tree_destroy(tree);
}

/* Long keys, absent keys, keys that are gone when their turn comes, a tree that shrinks meanwhile.
 */
Test(store_tree, prefetch_changes_nothing)
{
    struct pbft_tree *plain = numbered_tree(), *hinted = numbered_tree();
    struct rng rng = {11};
    char key[32];
    static const uint8_t zeros[PBFT_TREE_KEY_MAX];
    for (uint32_t i = 0; i < 5000; i++) {
        struct pbft_span k = numbered(rng_below(&rng, 2 * KEYS), key);
        pbft_tree_prefetch(hinted, i % 50 == 0 ? (struct pbft_span){zeros, sizeof zeros} : k);
        k = numbered(rng_below(&rng, 2 * KEYS), key);
        bool drop = rng_below(&rng, 5000) < i;
        for (unsigned t = 0; t < 2; t++) {
            struct pbft_tree *tree = t == 0 ? plain : hinted;
            if (drop)
                pbft_tree_delete(tree, k, i);
            else
                tree_put(tree, k, text_span("changed"), i);
        }
    }
    struct pbft_snapshot *a = pbft_tree_snapshot(plain), *b = pbft_tree_snapshot(hinted);
    struct pbft_digest left, right;
    pbft_snapshot_root(a, &left);
    pbft_snapshot_root(b, &right);
    cr_assert(pbft_digest_equal(&left, &right));
    pbft_snapshot_release(a);
    pbft_snapshot_release(b);
    pbft_tree_destroy(plain);
    pbft_tree_destroy(hinted);
}
