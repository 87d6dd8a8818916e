/* store/tree: against a sorted reference, shape, snapshots, change marks, hostile pages, threads.
 */
#include "store/page.h"
#include "store_pages.h"

#include <pthread.h>
#include <stdio.h>

/* ---- a sorted reference -------------------------------------------------------------------- */

#define UNIVERSE   3000u
#define POOL_BYTES 524288u
#define SNAPSHOTS  6u

struct model_entry {
    bool present;
    uint32_t offset, size; /* value: a piece of the pool */
    uint64_t changed;      /* mark of the last put or delete */
};

struct model {
    uint64_t seed;
    struct rng rng;
    struct pbft_tree_config config;
    struct pbft_tree *tree;
    uint8_t *pool;
    struct pbft_span keys[UNIVERSE]; /* ascending, distinct */
    struct model_entry *now;
    uint64_t mark;
    struct {
        struct pbft_snapshot *snapshot;
        struct model_entry *entries;
        struct pbft_digest root;
        bool hashed;
    } kept[SNAPSHOTS];
};

static int compare_keys(const void *a, const void *b)
{
    return span_compare(*(const struct pbft_span *)a, *(const struct pbft_span *)b);
}

/* Short, long, prefixes of one another, runs of 0x00 and 0xff, the empty key. */
static struct pbft_span random_key(struct rng *rng)
{
    static const uint8_t alphabet[] = {0, 'a', 'b', 0xff};
    uint32_t kind = rng_below(rng, 100);
    size_t size = kind < 60   ? rng_below(rng, 12)
                  : kind < 95 ? rng_below(rng, 60)
                              : rng_below(rng, PBFT_TREE_KEY_MAX + 1);
    uint8_t *data = malloc(size + 1);
    cr_assert_not_null(data);
    for (size_t i = 0; i < size; i++)
        data[i] = alphabet[rng_below(rng, sizeof alphabet)];
    if (kind >= 60 && size > 8)
        for (size_t i = 0; i < size - 8; i++)
            data[i] = 'p'; /* long common prefixes */
    return (struct pbft_span){data, size};
}

static void model_init(struct model *m, uint64_t seed, struct pbft_tree_config config)
{
    memset(m, 0, sizeof *m);
    m->seed = seed;
    m->rng.state = seed;
    m->config = config;
    m->tree = tree_new(&config);
    m->pool = malloc((size_t)POOL_BYTES);
    m->now = calloc(UNIVERSE, sizeof *m->now);
    cr_assert(m->pool != NULL && m->now != NULL);
    for (size_t i = 0; i < POOL_BYTES; i++)
        m->pool[i] = (uint8_t)rng_next(&m->rng);
    size_t count = 0;
    while (count < UNIVERSE) {
        while (count < UNIVERSE)
            m->keys[count++] = random_key(&m->rng);
        qsort(m->keys, count, sizeof m->keys[0], compare_keys);
        size_t kept = 1;
        for (size_t i = 1; i < count; i++) {
            if (span_compare(m->keys[kept - 1], m->keys[i]) == 0)
                free((void *)(uintptr_t)m->keys[i].data);
            else
                m->keys[kept++] = m->keys[i];
        }
        count = kept;
    }
}

static void model_drop(struct model *m, size_t slot)
{
    pbft_snapshot_release(m->kept[slot].snapshot);
    free(m->kept[slot].entries);
    memset(&m->kept[slot], 0, sizeof m->kept[slot]);
}

static void model_free(struct model *m)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        model_drop(m, i);
    pbft_tree_destroy(m->tree);
    for (size_t i = 0; i < UNIVERSE; i++)
        free((void *)(uintptr_t)m->keys[i].data);
    free(m->pool);
    free(m->now);
}

struct model_walk {
    const struct model *m;
    const struct model_entry *entries;
    size_t at, end; /* ids not yet seen */
    uint64_t left;  /* stop after so many */
    bool bad;
};

static bool model_visit(void *context, struct pbft_span key, struct pbft_span value)
{
    struct model_walk *w = context;
    while (w->at < w->end && !w->entries[w->at].present)
        w->at++;
    if (w->at >= w->end) {
        w->bad = true;
        return false;
    }
    const struct model_entry *e = &w->entries[w->at];
    if (span_compare(key, w->m->keys[w->at]) != 0 || value.size != e->size ||
        (value.size != 0 && memcmp(value.data, w->m->pool + e->offset, e->size) != 0))
        w->bad = true;
    w->at++;
    return !w->bad && --w->left != 0;
}

/* Compare a range of ids, in the head or in a snapshot, with the reference. */
static void model_scan(struct model *m, const struct pbft_snapshot *snapshot,
                       const struct model_entry *entries, size_t first, size_t end, uint64_t limit)
{
    struct model_walk w = {m, entries, first, end, limit, false};
    struct pbft_span from = m->keys[first];
    struct pbft_span to = end < UNIVERSE ? m->keys[end] : (struct pbft_span){NULL, 0};
    uint64_t mark = 0;
    uint64_t count = snapshot != NULL
                         ? pbft_snapshot_scan(snapshot, from, to, model_visit, &w, &mark)
                         : pbft_tree_scan(m->tree, from, to, model_visit, &w, &mark);
    uint64_t expected = 0, changed = 0;
    size_t id = first;
    for (; id < end && expected < limit; id++) {
        expected += entries[id].present;
        if (entries[id].changed > changed) changed = entries[id].changed;
    }
    REQUIRE(m->seed, !w.bad);
    REQUIRE(m->seed, count == expected);
    REQUIRE(m->seed, mark >= changed && mark <= m->mark); /* PROTOCOL 32 */
}

static void model_check(struct model *m)
{
    model_scan(m, NULL, m->now, 0, UNIVERSE, UINT64_MAX);
    uint64_t count = 0, payload = 0;
    for (size_t i = 0; i < UNIVERSE; i++) {
        if (!m->now[i].present) continue;
        count++;
        payload += m->keys[i].size + m->now[i].size;
    }
    REQUIRE(m->seed, pbft_tree_count(m->tree) == count);
    REQUIRE(m->seed, pbft_tree_payload(m->tree) == payload);
    struct page_list list = page_list_of(m->tree, &m->config);
    REQUIRE(m->seed, list.entries == count);
    page_list_free(&list);
}

static void model_put(struct model *m, size_t id)
{
    uint32_t kind = rng_below(&m->rng, 2000);
    uint32_t size = kind < 1400   ? rng_below(&m->rng, 150)
                    : kind < 1900 ? rng_below(&m->rng, 1200)
                    : kind < 1999 ? rng_below(&m->rng, 7000)
                                  : 100u * 1024u + rng_below(&m->rng, 60u * 1024u);
    uint32_t offset = rng_below(&m->rng, POOL_BYTES - size);
    m->now[id] = (struct model_entry){true, offset, size, ++m->mark};
    tree_put(m->tree, m->keys[id], (struct pbft_span){m->pool + offset, size}, m->mark);
}

static void model_delete(struct model *m, size_t id)
{
    bool was = m->now[id].present;
    m->mark++;
    REQUIRE(m->seed, pbft_tree_delete(m->tree, m->keys[id], m->mark) == was);
    m->now[id].present = false;
    if (was) m->now[id].changed = m->mark;
}

static void model_get(struct model *m, size_t id)
{
    size_t slot = rng_below(&m->rng, 2 * SNAPSHOTS);
    bool old = slot < SNAPSHOTS && m->kept[slot].snapshot != NULL;
    const struct model_entry *e = old ? &m->kept[slot].entries[id] : &m->now[id];
    struct pbft_span value = {NULL, 0};
    uint64_t mark = UINT64_MAX;
    bool found = old ? pbft_snapshot_get(m->kept[slot].snapshot, m->keys[id], &value, &mark)
                     : pbft_tree_get(m->tree, m->keys[id], &value, &mark);
    REQUIRE(m->seed, found == e->present);
    REQUIRE(m->seed, mark >= e->changed && mark <= m->mark);
    if (!found) return;
    REQUIRE(m->seed, value.size == e->size);
    REQUIRE(m->seed, value.size == 0 || memcmp(value.data, m->pool + e->offset, value.size) == 0);
}

static void model_snapshot(struct model *m)
{
    size_t slot = rng_below(&m->rng, SNAPSHOTS);
    model_drop(m, slot);
    m->kept[slot].snapshot = pbft_tree_snapshot(m->tree);
    m->kept[slot].entries = malloc(UNIVERSE * sizeof(struct model_entry));
    REQUIRE(m->seed, m->kept[slot].snapshot != NULL && m->kept[slot].entries != NULL);
    memcpy(m->kept[slot].entries, m->now, UNIVERSE * sizeof(struct model_entry));
}

static void model_rare(struct model *m)
{
    size_t slot = rng_below(&m->rng, SNAPSHOTS);
    uint32_t kind = rng_below(&m->rng, 100);
    struct pbft_snapshot *snapshot = m->kept[slot].snapshot;
    if (kind < 50) {
        model_snapshot(m);
    } else if (snapshot == NULL) {
        return;
    } else if (kind < 70) { /* an earlier hash of the same snapshot must come out again */
        struct pbft_digest root;
        if (kind < 60) pbft_snapshot_hash(snapshot, rng_below(&m->rng, 50));
        pbft_snapshot_root(snapshot, &root);
        REQUIRE(m->seed, !m->kept[slot].hashed || digest_same(&root, &m->kept[slot].root));
        m->kept[slot].root = root;
        m->kept[slot].hashed = true;
    } else if (kind < 85) {
        model_drop(m, slot);
    } else if (kind < 90) {
        pbft_tree_rollback(m->tree, snapshot);
        memcpy(m->now, m->kept[slot].entries, UNIVERSE * sizeof(struct model_entry));
    } else {
        size_t first = rng_below(&m->rng, UNIVERSE);
        model_scan(m, snapshot, m->kept[slot].entries, first, UNIVERSE, 200);
    }
}

/* PBFT_TEST_OPERATIONS sets the operations of each run, for slow builds. */
static uint32_t operations(uint32_t usual)
{
    const char *text = getenv("PBFT_TEST_OPERATIONS");
    if (text == NULL) return usual;
    unsigned long wanted = strtoul(text, NULL, 10);
    return wanted > 0 && wanted < usual ? (uint32_t)wanted : usual;
}

static void model_run(uint64_t seed, struct pbft_tree_config config)
{
    static struct model m;
    model_init(&m, seed, config);
    size_t empty_bytes = pbft_tree_bytes(m.tree);
    uint32_t total = operations(260000);
    uint32_t delete_share = 20;
    size_t id = 0;
    for (uint32_t i = 0; i < total; i++) {
        if (i % 10000 == 0) delete_share = 10 + 20 * rng_below(&m.rng, 4); /* grow and shrink */
        /* Now and then the key of the last operation, or one of few: their ways are remembered. */
        uint32_t choice = rng_below(&m.rng, 10);
        if (choice >= 3) id = rng_below(&m.rng, UNIVERSE);
        if (choice == 3) id %= 16;
        if (choice == 4) pbft_tree_prefetch(m.tree, m.keys[rng_below(&m.rng, UNIVERSE)]);
        uint32_t kind = rng_below(&m.rng, 1000);
        if (kind < 650) {
            if (rng_below(&m.rng, 100) < delete_share)
                model_delete(&m, id);
            else
                model_put(&m, id);
        } else if (kind < 950) {
            model_get(&m, id);
        } else if (kind < 996) {
            size_t end = id + rng_below(&m.rng, 60);
            model_scan(&m, NULL, m.now, id, end < UNIVERSE ? end : UNIVERSE,
                       1 + rng_below(&m.rng, 40));
        } else {
            model_rare(&m);
        }
        if (i % 20000 == 0) model_check(&m);
    }
    model_check(&m);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        if (m.kept[i].snapshot == NULL) continue;
        model_scan(&m, m.kept[i].snapshot, m.kept[i].entries, 0, UNIVERSE, UINT64_MAX);
        model_drop(&m, i);
    }
    for (id = 0; id < UNIVERSE; id++)
        model_delete(&m, (id * 7) % UNIVERSE);
    model_check(&m);
    REQUIRE(seed, pbft_tree_count(m.tree) == 0);
    REQUIRE(seed, pbft_tree_bytes(m.tree) <= 2 * empty_bytes + 4096); /* nothing is kept */
    model_free(&m);
}

Test(store_tree, model_default_pages)
{
    model_run(0xa11ce, pbft_tree_config_default());
}
Test(store_tree, model_least_pages)
{
    model_run(0xb0b, (struct pbft_tree_config){128, 128});
}
Test(store_tree, model_small_inner_pages)
{
    model_run(0xca401, (struct pbft_tree_config){1024, 256});
}
Test(store_tree, model_small_leaves)
{
    model_run(0xd00d, (struct pbft_tree_config){300, 2048});
}

/* ---- shape --------------------------------------------------------------------------------- */

/* The same operations, with everything done to the second tree that must not show. */
static void shape_run(uint64_t seed, struct pbft_tree_config config)
{
    struct pbft_tree *plain = tree_new(&config);
    struct pbft_tree *busy = tree_new(&config);
    struct pbft_snapshot *kept[4] = {0};
    struct rng a = {seed}, b = {seed}, noise = {seed ^ 0x5a5a};
    uint32_t total = operations(30000);
    for (uint32_t i = 1; i <= total; i++) {
        uint32_t keep = (i / 5000) % 2 == 0 ? 85 : 30;
        tree_random_step(plain, &a, 2000, keep, i);
        uint32_t slot = rng_below(&noise, 4);
        switch (rng_below(&noise, 40)) {
        case 0:
            pbft_snapshot_release(kept[slot]);
            kept[slot] = pbft_tree_snapshot(busy);
            break;
        case 1:
            if (kept[slot] != NULL) pbft_snapshot_hash(kept[slot], rng_below(&noise, 30));
            break;
        case 2:
            pbft_snapshot_release(kept[slot]);
            kept[slot] = NULL;
            break;
        case 3: (void)tree_root(busy); break; /* hashed, not shared any more */
        case 4: {
            struct pbft_snapshot *back = pbft_tree_snapshot(busy);
            REQUIRE(seed, back != NULL);
            for (uint32_t k = 0; k < 20; k++)
                tree_random_step(busy, &noise, 2000, 50, i + 1000);
            pbft_tree_rollback(busy, back);
            pbft_snapshot_release(back);
            break;
        }
        default: break;
        }
        tree_random_step(busy, &b, 2000, keep, i);
        if (i % 3000 != 0 && i != total) continue;
        struct page_list left = page_list_of(plain, &config);
        struct page_list right = page_list_of(busy, &config);
        REQUIRE(seed, page_list_equal(&left, &right));
        page_list_free(&left);
        page_list_free(&right);
    }
    for (size_t i = 0; i < 4; i++)
        pbft_snapshot_release(kept[i]);
    pbft_tree_destroy(plain);
    pbft_tree_destroy(busy);
}

Test(store_tree, shape_depends_on_operations_only)
{
    shape_run(1, pbft_tree_config_default());
    shape_run(2, (struct pbft_tree_config){128, 128});
    shape_run(3, (struct pbft_tree_config){700, 300});
}

Test(store_tree, root_tells_histories_apart)
{
    struct pbft_tree *a = tree_new(NULL), *b = tree_new(NULL);
    struct pbft_digest empty = tree_root(a), other = tree_root(b);
    cr_assert(digest_same(&empty, &other));
    char key[16];
    for (uint64_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "key-%03d", (int)(i * 37 % 500));
        tree_put(a, text_span(key), text_span("value"), i + 1);
        tree_put(b, text_span(key), text_span("value"), i + 1);
    }
    struct pbft_digest root = tree_root(a);
    other = tree_root(b);
    cr_assert(digest_same(&root, &other));
    cr_assert(!digest_same(&root, &empty));

    /* Nothing happened: no change. */
    cr_assert(!pbft_tree_delete(b, text_span("absent"), 999));
    other = tree_root(b);
    cr_assert(digest_same(&root, &other));
    /* Another mark, another value, another key, each alone. */
    struct pbft_snapshot *at = pbft_tree_snapshot(b);
    tree_put(b, text_span("key-250"), text_span("value"), 999);
    other = tree_root(b);
    cr_assert(!digest_same(&root, &other));
    pbft_tree_rollback(b, at);
    tree_put(b, text_span("key-250"), text_span("valve"), 1);
    other = tree_root(b);
    cr_assert(!digest_same(&root, &other));
    tree_put(b, text_span("key-250"), text_span("value"), 1);
    other = tree_root(b);
    cr_assert(digest_same(&root, &other)); /* equal contents and marks: equal pages */
    tree_put(b, text_span("key-2500"), text_span(""), 1);
    other = tree_root(b);
    cr_assert(!digest_same(&root, &other));
    pbft_tree_rollback(b, at);
    other = tree_root(b);
    cr_assert(digest_same(&root, &other));
    pbft_snapshot_release(at);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

Test(store_tree, ascending_keys_fill_their_pages)
{
    struct pbft_tree_config config = pbft_tree_config_default();
    struct pbft_tree *tree = tree_new(&config);
    uint8_t value[100] = {0};
    char key[16];
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "%08u", i);
        tree_put(tree, text_span(key), (struct pbft_span){value, sizeof value}, i);
    }
    struct page_list list = page_list_of(tree, &config);
    size_t least = 10000 * (4 + 2 + 8 + 100) / 4096;
    cr_assert(list.leaves <= least + least / 10, "%zu leaves, at best %zu", list.leaves, least);
    page_list_free(&list);
    pbft_tree_destroy(tree);
}

/* ---- entries at the bounds ----------------------------------------------------------------- */

Test(store_tree, greatest_entries)
{
    struct pbft_tree_config config = pbft_tree_config_default();
    struct pbft_tree *tree = tree_new(&config);
    uint8_t *value = calloc(1, PBFT_TREE_VALUE_MAX + 1);
    uint8_t key[PBFT_TREE_KEY_MAX + 1];
    cr_assert_not_null(value);
    for (uint32_t i = 0; i < 12; i++) {
        memset(key, 'k', sizeof key);
        key[PBFT_TREE_KEY_MAX - 1] = (uint8_t)i;
        tree_put(tree, (struct pbft_span){key, PBFT_TREE_KEY_MAX},
                 (struct pbft_span){value, PBFT_TREE_VALUE_MAX}, i);
        key[PBFT_TREE_KEY_MAX - 2] = 'l';
        tree_put(tree, (struct pbft_span){key, PBFT_TREE_KEY_MAX}, text_span("small"), i);
    }
    struct pbft_span at_bound = {key, PBFT_TREE_KEY_MAX};
    struct pbft_span long_key = {key, PBFT_TREE_KEY_MAX + 1};
    struct pbft_span long_value = {value, PBFT_TREE_VALUE_MAX + 1};
    cr_assert_eq(pbft_tree_put(tree, long_key, text_span(""), 99), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(pbft_tree_put(tree, at_bound, long_value, 99), PBFT_STATUS_ARGUMENT);
    cr_assert(!pbft_tree_get(tree, long_key, NULL, NULL));
    cr_assert(!pbft_tree_delete(tree, long_key, 99));
    cr_assert_eq(pbft_tree_count(tree), 24);
    struct page_list list = page_list_of(tree, &config); /* each great one has its own page */
    cr_assert_geq(list.leaves, 13);
    page_list_free(&list);
    cr_assert_lt(pbft_tree_bytes(tree), 13u * 1049000u + 200000u); /* small pages got trimmed */

    struct pbft_tree_config bad = {PBFT_TREE_TARGET_MIN - 1, 4096};
    struct pbft_tree *none = NULL;
    cr_assert_eq(pbft_tree_create(&none, &bad), PBFT_STATUS_ARGUMENT);
    bad = (struct pbft_tree_config){4096, PBFT_TREE_TARGET_MAX + 1};
    cr_assert_eq(pbft_tree_create(&none, &bad), PBFT_STATUS_ARGUMENT);
    free(value);
    pbft_tree_destroy(tree);
}

static bool count_visit(void *context, struct pbft_span key, struct pbft_span value)
{
    (void)key;
    (void)value;
    ++*(uint64_t *)context;
    return true;
}

Test(store_tree, prefixes)
{
    struct pbft_tree *tree = tree_new(NULL);
    static const char *const keys[] = {"",  "a",    "aa",       "ab",
                                       "b", "\xff", "\xff\xff", "\xff\xff\x01"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        tree_put(tree, text_span(keys[i]), text_span("v"), i + 1);
    static const struct {
        const char *prefix;
        uint64_t count;
    } cases[] = {{"", 8}, {"a", 3}, {"aa", 1}, {"ac", 0}, {"\xff", 3}, {"\xff\xff", 2}, {"b", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t seen = 0, mark = 0;
        uint64_t count =
            pbft_tree_scan_prefix(tree, text_span(cases[i].prefix), count_visit, &seen, &mark);
        cr_assert(count == cases[i].count && seen == count, "prefix %zu", i);
        cr_assert_eq(mark, 8); /* one leaf */
    }
    uint8_t long_prefix[PBFT_TREE_KEY_MAX + 1] = {0};
    uint64_t seen = 0, mark = 1;
    struct pbft_span prefix = {long_prefix, sizeof long_prefix};
    cr_assert_eq(pbft_tree_scan_prefix(tree, prefix, count_visit, &seen, &mark), 0);
    cr_assert_eq(mark, 0);
    cr_assert_eq(pbft_tree_scan(tree, text_span("b"), text_span("a"), count_visit, &seen, &mark),
                 0);
    pbft_tree_destroy(tree);
}

/* PROTOCOL 32: a reader who sees an equal mark twice may conclude that nothing changed between. */
Test(store_tree, mark_moves_with_every_change_of_a_range)
{
    struct pbft_tree_config config = {256, 256};
    struct pbft_tree *tree = tree_new(&config);
    struct rng rng = {77};
    for (uint64_t i = 1; i <= 500; i++)
        tree_random_step(tree, &rng, 300, 80, i);
    for (uint64_t i = 501; i <= 5000; i++) {
        struct pbft_snapshot *before = pbft_tree_snapshot(tree);
        REQUIRE(i, before != NULL);
        tree_random_step(tree, &rng, 300, 50, i);
        struct pbft_digest old_root, new_root = tree_root(tree);
        pbft_snapshot_root(before, &old_root);
        uint64_t seen = 0, old_mark, new_mark;
        struct pbft_span all = {NULL, 0};
        pbft_snapshot_scan(before, all, all, count_visit, &seen, &old_mark);
        pbft_tree_scan(tree, all, all, count_visit, &seen, &new_mark);
        REQUIRE(i, digest_same(&old_root, &new_root) ? new_mark == old_mark : new_mark == i);
        pbft_snapshot_release(before);
    }
    pbft_tree_destroy(tree);
}

/* A page that was freed may have been recreated with equal bytes: PROTOCOL 30. */
Test(store_tree, recreated_page_outlives_its_twin)
{
    struct pbft_tree *tree = tree_new(NULL);
    tree_put(tree, text_span("k"), text_span("one"), 1);
    struct pbft_snapshot *first = pbft_tree_snapshot(tree);
    struct pbft_digest root, again;
    pbft_snapshot_root(first, &root);
    tree_put(tree, text_span("k"), text_span("two"), 1);
    tree_put(tree, text_span("k"), text_span("one"), 1);
    struct pbft_snapshot *second = pbft_tree_snapshot(tree);
    pbft_snapshot_root(second, &again);
    cr_assert(digest_same(&root, &again));
    uint8_t page[256];
    size_t size;
    pbft_snapshot_release(first);
    cr_assert_eq(pbft_tree_page(tree, &root, page, sizeof page, &size), PBFT_STATUS_OK);
    tree_put(tree, text_span("k"), text_span("two"), 1);
    cr_assert_eq(pbft_tree_page(tree, &root, page, sizeof page, &size), PBFT_STATUS_OK);
    pbft_snapshot_release(second);
    cr_assert_eq(pbft_tree_page(tree, &root, page, sizeof page, &size), PBFT_STATUS_NOT_FOUND);
    pbft_tree_destroy(tree);
}

/* A page that is being served is found by hash and held, while the head could write in place. */
Test(store_tree, page_being_served_is_frozen)
{
    struct pbft_tree *tree = tree_new(NULL);
    tree_put(tree, text_span("k"), text_span("one"), 1);
    struct pbft_digest root = tree_root(tree), again; /* only the head holds the page now */
    struct pbft_page *held = pbft_space_find(tree->space, &root);
    cr_assert_not_null(held);
    tree_put(tree, text_span("k"), text_span("two"), 2);
    cr_assert(pbft_page_rehash(held, &again));
    cr_assert(digest_same(&root, &again));
    struct pbft_digest now = tree_root(tree);
    cr_assert(!digest_same(&root, &now));
    pbft_page_unref(tree->space, held);
    cr_assert_null(pbft_space_find(tree->space, &root));
    pbft_tree_destroy(tree);
}

/* Hashing in slices comes to the same root, and does no page twice. */
Test(store_tree, hashing_in_slices)
{
    struct pbft_tree_config config = {512, 512};
    struct pbft_tree *tree = tree_new(&config);
    struct rng rng = {5};
    for (uint64_t i = 1; i <= 5000; i++)
        tree_random_step(tree, &rng, 2000, 90, i);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    size_t slices = 0;
    while (!pbft_snapshot_hash(snapshot, 10))
        slices++;
    struct page_list list = page_list_of(tree, &config);
    cr_assert_eq(slices, (list.count - 1) / 10);
    page_list_free(&list);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

/* A snapshot outlives its tree. */
Test(store_tree, snapshot_outlives_tree)
{
    struct pbft_tree *tree = tree_new(NULL);
    tree_put(tree, text_span("k"), text_span("v"), 3);
    struct pbft_snapshot *snapshot = pbft_snapshot_retain(pbft_tree_snapshot(tree));
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
    struct pbft_span value;
    uint64_t mark;
    cr_assert(pbft_snapshot_get(snapshot, text_span("k"), &value, &mark));
    cr_assert_eq(mark, 3);
    cr_assert_eq(value.size, 1);
    cr_assert_eq(pbft_snapshot_count(snapshot), 1);
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
}

/* ---- hostile pages ------------------------------------------------------------------------- */

/* Read all that a page accepted as canonical offers; the sanitizers watch. */
static uint64_t page_touch(struct pbft_span bytes)
{
    uint64_t entries, payload, sum = 0;
    pbft_page_totals(bytes, &entries, &payload);
    uint32_t count = field32(bytes.data + 8);
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_span key, value = {NULL, 0};
        if (bytes.data[0] == 1)
            leaf_entry(bytes.data, count, i, &key, &value);
        else
            key = pbft_page_child(bytes.data, i).key;
        for (size_t k = 0; k < key.size; k++)
            sum += key.data[k];
        for (size_t k = 0; k < value.size; k++)
            sum += value.data[k];
    }
    return sum + entries + payload;
}

static void mutate(struct rng *rng, uint8_t *data, size_t *size, size_t room)
{
    static const uint32_t odd[] = {0,  1,          2,           19,          20,
                                   28, 0x7fffffff, 0x80000000u, 0xfffffffeu, 0xffffffffu};
    uint32_t times = 1 + rng_below(rng, 3);
    for (uint32_t i = 0; i < times; i++) {
        uint32_t at = rng_below(rng, (uint32_t)*size);
        switch (rng_below(rng, 6)) {
        case 0: data[at] ^= (uint8_t)(1u << rng_below(rng, 8)); break;
        case 1: data[at] = (uint8_t)rng_next(rng); break;
        case 2: *size = 1 + rng_below(rng, (uint32_t)*size); break;
        case 3:
            if (*size + 16 < room) {
                memset(data + *size, (int)rng_below(rng, 256), 16);
                *size += 1 + rng_below(rng, 16);
            }
            break;
        case 4: /* a word of the header or the slots, often */
            at = rng_below(rng, *size < 120 ? (uint32_t)*size : 120) & ~3u;
            if (at + 4 <= *size) store32(data + at, odd[rng_below(rng, 10)]);
            break;
        default:
            if (*size >= 8) store32(data + 4, (uint32_t)*size); /* make the length fit again */
            break;
        }
    }
}

Test(store_tree, decoder_survives_mutated_pages)
{
    struct pbft_tree_config config = {1024, 1024};
    struct pbft_tree *tree = tree_new(&config);
    struct rng rng = {0xf022};
    for (uint64_t i = 1; i <= 3000; i++)
        tree_random_step(tree, &rng, 1500, 90, i);
    struct page_list list = page_list_of(tree, &config);
    uint64_t accepted = 0, refused = 0, sum = 0;
    uint32_t rounds = operations(300000);
    for (uint32_t i = 0; i < rounds; i++) {
        /* Inner pages come first in the walk; look at both kinds. */
        const struct page_copy *page = &list.pages[rng_below(&rng, (uint32_t)list.count)];
        size_t room = page->size + 64, size = page->size;
        uint8_t *scratch = malloc(room);
        REQUIRE(i, scratch != NULL);
        memcpy(scratch, page->data, size);
        mutate(&rng, scratch, &size, room);
        uint8_t *exact = malloc(size); /* so that one byte too many is seen */
        REQUIRE(i, exact != NULL);
        memcpy(exact, scratch, size);
        struct pbft_span bytes = {exact, size};
        if (pbft_page_check(&config, bytes) == PBFT_OK) {
            accepted++;
            sum += page_touch(bytes);
        } else {
            refused++;
        }
        free(exact);
        free(scratch);
    }
    cr_assert(accepted > 0 && refused > accepted && sum > 0);

    /* One byte string a page: neither longer nor shorter. */
    for (size_t i = 0; i < 20 && i < list.count; i++) {
        uint8_t *more = malloc(list.pages[i].size + 1);
        cr_assert_not_null(more);
        memcpy(more, list.pages[i].data, list.pages[i].size);
        more[list.pages[i].size] = 0;
        struct pbft_span longer = {more, list.pages[i].size + 1};
        cr_assert_neq(pbft_page_check(&config, longer), PBFT_OK);
        store32(more + 4, (uint32_t)longer.size);
        cr_assert_neq(pbft_page_check(&config, longer), PBFT_OK);
        for (size_t size = 0; size < list.pages[i].size; size++) {
            if (size >= 8) store32(more + 4, (uint32_t)size);
            if (pbft_page_check(&config, (struct pbft_span){more, size}) == PBFT_OK)
                cr_assert_fail("page %zu cut to %zu was accepted", i, size);
        }
        free(more);
    }
    page_list_free(&list);
    pbft_tree_destroy(tree);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define ROUNDS 60u

struct hand_over {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct pbft_snapshot *queue[ROUNDS];
    size_t filled, taken;
    struct pbft_digest roots[ROUNDS];
    uint64_t counts[ROUNDS];
    bool served;
};

/* Hashes, reads, serves and lets go of what the writer hands over. */
static void *hashing_thread(void *context)
{
    struct hand_over *h = context;
    static uint8_t page[65536];
    for (size_t i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&h->lock);
        while (h->filled == i)
            pthread_cond_wait(&h->changed, &h->lock);
        struct pbft_snapshot *snapshot = h->queue[i];
        pthread_mutex_unlock(&h->lock);

        while (!pbft_snapshot_hash(snapshot, 20)) {
        }
        pbft_snapshot_root(snapshot, &h->roots[i]);
        struct pbft_span all = {NULL, 0};
        pbft_snapshot_scan(snapshot, all, all, count_visit, &h->counts[i], NULL);
        if (h->counts[i] != pbft_snapshot_count(snapshot)) h->counts[i] = 0;
        for (size_t k = 0; k <= i; k++) { /* old ones may be gone, that is the point */
            size_t size;
            if (pbft_snapshot_page(snapshot, &h->roots[k], page, sizeof page, &size) ==
                PBFT_STATUS_OK)
                h->served = true;
        }
        pbft_snapshot_release(snapshot);

        pthread_mutex_lock(&h->lock);
        h->taken = i + 1;
        pthread_cond_broadcast(&h->changed);
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

Test(store_tree, hashing_while_writing)
{
    struct pbft_tree_config config = {512, 512};
    struct pbft_tree *tree = tree_new(&config), *alone = tree_new(&config);
    static struct hand_over h;
    static struct pbft_digest expected[ROUNDS];
    static uint64_t counts[ROUNDS];
    pthread_mutex_init(&h.lock, NULL);
    pthread_cond_init(&h.changed, NULL);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, hashing_thread, &h), 0);

    struct rng a = {99}, b = {99};
    uint64_t mark = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < 400; i++) {
            tree_random_step(tree, &a, 3000, round % 8 < 5 ? 90 : 30, mark + i);
            tree_random_step(alone, &b, 3000, round % 8 < 5 ? 90 : 30, mark + i);
        }
        mark += 400;
        expected[round] = tree_root(alone);
        counts[round] = pbft_tree_count(alone);
        struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
        cr_assert_not_null(snapshot);
        pthread_mutex_lock(&h.lock);
        /* Up to three in flight: the writer meets shared, hashed and freed pages. */
        while (h.filled >= h.taken + 3)
            pthread_cond_wait(&h.changed, &h.lock);
        h.queue[h.filled++] = snapshot;
        pthread_cond_broadcast(&h.changed);
        pthread_mutex_unlock(&h.lock);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        REQUIRE(round, digest_same(&h.roots[round], &expected[round]));
        REQUIRE(round, h.counts[round] == counts[round]);
    }
    cr_assert(h.served);
    pthread_mutex_destroy(&h.lock);
    pthread_cond_destroy(&h.changed);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(alone);
}
