/* store/install: state transfer by pages, from honest, lossy, lying and outdated sources. */
#include "crypto/hash.h"
#include "store/page.h"
#include "store_pages.h"

static const struct pbft_install_limits roomy = {UINT64_MAX, UINT64_MAX};
static const struct pbft_tree_config small_pages = {512, 512};

static struct pbft_tree *filled(const struct pbft_tree_config *config, uint64_t seed,
                                uint32_t operations)
{
    struct pbft_tree *tree = tree_new(config);
    struct rng rng = {seed};
    for (uint32_t i = 1; i <= operations; i++)
        tree_random_step(tree, &rng, 3000, 85, i);
    return tree;
}

static struct pbft_install *begin(struct pbft_tree *tree, const struct pbft_digest *root)
{
    struct pbft_install *install = NULL;
    enum pbft_status status = pbft_install_begin(&install, tree, root, &roomy);
    REQUIRE(0, status == PBFT_STATUS_OK && install != NULL);
    return install;
}

static const struct page_copy *page_of(const struct page_list *list,
                                       const struct pbft_digest *digest)
{
    for (size_t i = 0; i < list->count; i++)
        if (digest_same(&list->pages[i].digest, digest)) return &list->pages[i];
    return NULL;
}

static struct pbft_span span_of(const struct page_copy *page)
{
    return (struct pbft_span){page->data, page->size};
}

static void finish(struct pbft_install *install)
{
    enum pbft_status status = pbft_install_finish(install);
    REQUIRE(0, status == PBFT_STATUS_OK);
}

/* Fetch all from an honest source. Returns the number of pages that were sent. */
static size_t fetch_all(struct pbft_install *install, const struct page_list *source, size_t batch)
{
    struct pbft_digest wanted[64];
    struct pbft_install_progress progress;
    size_t sent = 0;
    while (!pbft_install_done(install)) {
        size_t count = pbft_install_wanted(install, wanted, batch);
        pbft_install_progress(install, &progress);
        REQUIRE(sent, count > 0 || progress.pages_pending > 0 || pbft_install_done(install));
        for (size_t i = 0; i < count; i++, sent++) {
            const struct page_copy *page = page_of(source, &wanted[i]);
            REQUIRE(sent, page != NULL);
            REQUIRE(sent, pbft_install_page(install, &wanted[i], span_of(page)) == PBFT_OK);
        }
    }
    return sent;
}

static void check_equal(struct pbft_tree *tree, const struct page_list *source,
                        const struct pbft_tree_config *config)
{
    struct page_list list = page_list_of(tree, config);
    REQUIRE(0, page_list_equal(&list, source));
    page_list_free(&list);
}

Test(store_install, gives_the_very_same_pages)
{
    static const struct pbft_tree_config configs[] = {{128, 128}, {512, 512}, {4096, 4096}};
    static const uint32_t sizes[] = {0, 1, 40, 6000};
    for (size_t c = 0; c < 3; c++) {
        for (size_t s = 0; s < 4; s++) {
            struct pbft_tree *source = filled(&configs[c], 10 + s, sizes[s]);
            struct pbft_tree *target = tree_new(&configs[c]);
            tree_put(target, text_span("old"), text_span("state"), 1);
            struct page_list pages = page_list_of(source, &configs[c]);
            struct pbft_install *install = begin(target, &pages.pages[0].digest);
            cr_assert_eq(pbft_install_finish(install), PBFT_STATUS_REFUSED);
            cr_assert_eq(fetch_all(install, &pages, 7), pages.count);
            cr_assert(pbft_tree_get(target, text_span("old"), NULL, NULL)); /* not yet */
            struct pbft_install_progress progress;
            pbft_install_progress(install, &progress);
            cr_assert_eq(progress.pages_known, pages.count);
            cr_assert_eq(progress.pages_have, pages.count);
            cr_assert_eq(progress.entries, pages.entries);
            cr_assert(!progress.failed);
            finish(install);
            cr_assert(!pbft_tree_get(target, text_span("old"), NULL, NULL));
            cr_assert_eq(pbft_tree_count(target), pbft_tree_count(source));
            cr_assert_eq(pbft_tree_payload(target), pbft_tree_payload(source));
            check_equal(target, &pages, &configs[c]);

            /* And from here on both go the same way. */
            struct rng a = {s}, b = {s};
            for (uint64_t i = 0; i < 3000; i++) {
                tree_random_step(source, &a, 3000, 50, 10000 + i);
                tree_random_step(target, &b, 3000, 50, 10000 + i);
            }
            page_list_free(&pages);
            pages = page_list_of(source, &configs[c]);
            check_equal(target, &pages, &configs[c]);
            page_list_free(&pages);
            pbft_tree_destroy(source);
            pbft_tree_destroy(target);
        }
    }
}

Test(store_install, great_values)
{
    struct pbft_tree *source = tree_new(NULL), *target = tree_new(NULL);
    uint8_t *value = malloc(PBFT_TREE_VALUE_MAX);
    cr_assert_not_null(value);
    for (uint8_t i = 0; i < 6; i++) {
        memset(value, i, PBFT_TREE_VALUE_MAX);
        uint8_t key[PBFT_TREE_KEY_MAX];
        memset(key, 'k' + i, sizeof key);
        tree_put(source, (struct pbft_span){key, sizeof key},
                 (struct pbft_span){value, PBFT_TREE_VALUE_MAX}, i);
    }
    free(value);
    struct pbft_tree_config config = pbft_tree_config_default();
    struct page_list pages = page_list_of(source, &config);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    fetch_all(install, &pages, 64);
    finish(install);
    check_equal(target, &pages, &config);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* Loss, corruption, wrong answers, duplicates, any order: the right tree in the end. */
static void hostile_run(uint64_t seed)
{
    struct pbft_tree *source = filled(&small_pages, seed, 4000);
    struct pbft_tree *target = tree_new(&small_pages);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    struct rng rng = {seed};
    struct pbft_digest wanted[64];
    uint32_t idle = 0;
    while (!pbft_install_done(install)) {
        size_t count = pbft_install_wanted(install, wanted, 1 + rng_below(&rng, 40));
        if (count == 0) { /* all handed out: a time-out, of one or of all */
            pbft_install_reoffer(install, NULL);
            REQUIRE(seed, ++idle < 10000);
        }
        for (size_t i = count; i > 1; i--) { /* shuffled */
            size_t k = rng_below(&rng, (uint32_t)i);
            struct pbft_digest t = wanted[i - 1];
            wanted[i - 1] = wanted[k];
            wanted[k] = t;
        }
        for (size_t i = 0; i < count; i++) {
            const struct page_copy *page = page_of(&pages, &wanted[i]);
            REQUIRE(seed, page != NULL);
            uint8_t copy[65536];
            REQUIRE(seed, page->size <= sizeof copy);
            memcpy(copy, page->data, page->size);
            struct pbft_span bytes = {copy, page->size};
            enum pbft_verdict verdict;
            switch (rng_below(&rng, 6)) {
            case 0: continue; /* lost */
            case 1:           /* another page than the one asked for */
                bytes = span_of(&pages.pages[rng_below(&rng, (uint32_t)pages.count)]);
                verdict = pbft_install_page(install, &wanted[i], bytes);
                REQUIRE(seed, verdict == PBFT_DROP_DIGEST || bytes.data == page->data);
                if (verdict == PBFT_DROP_DIGEST) pbft_install_reoffer(install, &wanted[i]);
                break;
            case 2: /* a bit */
                copy[rng_below(&rng, (uint32_t)page->size)] ^= (uint8_t)(1u << rng_below(&rng, 8));
                verdict = pbft_install_page(install, &wanted[i], bytes);
                REQUIRE(seed, verdict == PBFT_DROP_DIGEST);
                verdict = pbft_install_page(install, NULL, bytes);
                REQUIRE(seed, verdict == PBFT_DROP_UNWANTED || verdict == PBFT_DROP_TYPE);
                break;
            case 3: /* cut short, empty */
                bytes.size = rng_below(&rng, (uint32_t)page->size);
                verdict = pbft_install_page(install, &wanted[i], bytes);
                REQUIRE(seed, verdict == PBFT_DROP_DIGEST);
                break;
            default:
                verdict = pbft_install_page(install, rng_below(&rng, 2) ? &wanted[i] : NULL, bytes);
                REQUIRE(seed, verdict == PBFT_OK);
                verdict = pbft_install_page(install, &wanted[i], bytes);
                REQUIRE(seed, verdict == PBFT_DROP_UNWANTED); /* again */
                break;
            }
        }
    }
    finish(install);
    check_equal(target, &pages, &small_pages);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

Test(store_install, lossy_and_lying_sources)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        hostile_run(seed);
}

/* FAULTS 4.20: flip every byte. */
Test(store_install, every_flipped_byte_is_refused)
{
    struct pbft_tree *source = filled(&small_pages, 3, 3000);
    struct pbft_tree *target = tree_new(&small_pages);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    struct pbft_digest wanted;
    uint64_t flips = 0;
    for (uint32_t page_index = 0; page_index < 12; page_index++) {
        cr_assert_eq(pbft_install_wanted(install, &wanted, 1), 1);
        const struct page_copy *page = page_of(&pages, &wanted);
        cr_assert_not_null(page);
        for (size_t i = 0; i < page->size; i++, flips++) {
            page->data[i] ^= (uint8_t)(1u << (i % 8));
            REQUIRE(i, pbft_install_page(install, &wanted, span_of(page)) == PBFT_DROP_DIGEST);
            REQUIRE(i, pbft_install_page(install, NULL, span_of(page)) != PBFT_OK);
            page->data[i] ^= (uint8_t)(1u << (i % 8));
        }
        cr_assert_eq(pbft_install_page(install, &wanted, span_of(page)), PBFT_OK);
    }
    cr_assert_gt(flips, 2000);
    fetch_all(install, &pages, 64);
    finish(install);
    check_equal(target, &pages, &small_pages);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* A laggard pays for what changed only. */
Test(store_install, reuses_what_it_has)
{
    struct pbft_tree *source = filled(&small_pages, 8, 6000);
    struct pbft_tree *target = filled(&small_pages, 8, 6000);
    (void)tree_root(target); /* hashed and in the index, although no snapshot is left */
    for (uint8_t i = 0; i < 5; i++)
        tree_put(source, (struct pbft_span){&i, 1}, text_span("new"), 7000);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    size_t sent = fetch_all(install, &pages, 64);
    struct pbft_install_progress progress;
    pbft_install_progress(install, &progress);
    cr_assert_lt(sent, 20);
    cr_assert_eq(progress.pages_local, pages.count - sent);
    cr_assert_gt(progress.pages_local, 256, "the budget of a call was not exceeded");
    cr_assert_eq(progress.pages_damaged, 0);
    /* The head stays usable, and writes to shared pages do not reach the installation. */
    for (uint64_t i = 0; i < 3000; i++) {
        struct rng rng = {i};
        tree_random_step(target, &rng, 3000, 50, 8000 + i);
    }
    finish(install);
    check_equal(target, &pages, &small_pages);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* Flip a bit in each ninth leaf of those that are here. Returns how many that were. */
static size_t damage(struct pbft_tree *target, const struct page_list *pages)
{
    size_t damaged = 0;
    for (size_t i = 0; i < pages->count; i += 9) {
        struct pbft_page *page = pbft_space_find(target->space, &pages->pages[i].digest);
        if (page == NULL) continue;
        if (page->level == 0) {
            page->data[page->length - 1] ^= 1;
            damaged++;
        }
        pbft_page_unref(target->space, page);
    }
    return damaged;
}

/* PROTOCOL 30: a local page is hashed again before it is reused. */
Test(store_install, damaged_local_pages_are_fetched)
{
    struct pbft_tree *source = filled(&small_pages, 8, 3000);
    struct pbft_tree *target = filled(&small_pages, 8, 3000);
    (void)tree_root(target);
    tree_put(source, text_span("\x01"), text_span("new"), 7000);
    struct page_list pages = page_list_of(source, &small_pages);
    size_t damaged = damage(target, &pages);
    cr_assert_gt(damaged, 10);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    fetch_all(install, &pages, 64);
    struct pbft_install_progress progress;
    pbft_install_progress(install, &progress);
    cr_assert_eq(progress.pages_damaged, damaged);
    finish(install);
    check_equal(target, &pages, &small_pages);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

Test(store_install, moving_target_and_abort)
{
    struct pbft_tree *source = filled(&small_pages, 4, 5000);
    struct pbft_tree *target = filled(&small_pages, 5, 100);
    size_t bytes = pbft_tree_bytes(target);
    struct pbft_digest before = tree_root(target);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *first = begin(target, &pages.pages[0].digest);
    struct pbft_digest wanted[8];
    for (size_t i = 0; i < pages.count / 2;) {
        size_t count = pbft_install_wanted(first, wanted, 8);
        for (size_t k = 0; k < count; k++, i++)
            REQUIRE(i, pbft_install_page(first, &wanted[k], span_of(page_of(&pages, &wanted[k]))) ==
                           PBFT_OK);
    }
    tree_put(source, text_span("\xff\xff"), text_span("new"), 7000);
    struct page_list moved = page_list_of(source, &small_pages);
    struct pbft_install *second = begin(target, &moved.pages[0].digest);
    struct pbft_install_progress progress = {0};
    while (progress.pages_have < pages.count / 2) { /* takes over what the first one has */
        size_t count = pbft_install_wanted(second, wanted, 8);
        for (size_t k = 0; k < count; k++)
            REQUIRE(k, pbft_install_page(second, &wanted[k],
                                         span_of(page_of(&moved, &wanted[k]))) == PBFT_OK);
        pbft_install_progress(second, &progress);
    }
    pbft_install_abort(first);
    (void)fetch_all(second, &moved, 64);
    pbft_install_progress(second, &progress);
    cr_assert_gt(progress.pages_local, pages.count / 4);
    cr_assert_eq(progress.pages_have, moved.count);

    /* Abort: nothing stays of it, the head is as it was. */
    pbft_install_abort(second);
    cr_assert_eq(pbft_tree_bytes(target), bytes);
    struct pbft_digest after = tree_root(target);
    cr_assert(digest_same(&before, &after));
    pbft_install_abort(NULL);
    page_list_free(&pages);
    page_list_free(&moved);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* Following a target costs what changed; what the series has not hashed itself is not believed. */
Test(store_install, a_series_hashes_once)
{
    struct pbft_tree *source = filled(&small_pages, 4, 5000);
    struct pbft_tree *target = tree_new(&small_pages);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *first = begin(target, &pages.pages[0].digest);
    pbft_install_join(first, 7);
    (void)fetch_all(first, &pages, 64);
    finish(first);
    tree_put(source, text_span("\xff\xff"), text_span("new"), 7000);
    struct page_list moved = page_list_of(source, &small_pages);

    struct pbft_install *second = begin(target, &moved.pages[0].digest);
    pbft_install_join(second, 7);
    size_t sent = 0;
    struct pbft_digest wanted;
    unsigned calls = 0;
    for (; !pbft_install_done(second); calls++) {
        if (pbft_install_wanted(second, &wanted, 1) == 0) continue;
        REQUIRE(calls,
                pbft_install_page(second, &wanted, span_of(page_of(&moved, &wanted))) == PBFT_OK);
        sent++;
    }
    struct pbft_install_progress progress;
    pbft_install_progress(second, &progress);
    cr_assert_leq(sent, moved.height + 1u);
    cr_assert_leq(calls, moved.height + 2u, "all of it was looked at again");
    cr_assert_eq(progress.pages_have, moved.count);
    cr_assert_eq(progress.pages_known, moved.count);
    cr_assert_eq(progress.pages_local, moved.count - sent);
    cr_assert_eq(progress.entries_have, moved.entries);
    cr_assert_eq(progress.entries, moved.entries);
    finish(second);
    check_equal(target, &moved, &small_pages);

    size_t damaged = damage(target, &moved);
    cr_assert_gt(damaged, 10);
    struct pbft_install *third = begin(target, &pages.pages[0].digest);
    pbft_install_join(third, 8); /* another series: hashed again */
    (void)fetch_all(third, &pages, 64);
    pbft_install_progress(third, &progress);
    cr_assert_geq(progress.pages_damaged, damaged - 1, "but for the leaf that changed");
    finish(third);
    check_equal(target, &pages, &small_pages);
    page_list_free(&pages);
    page_list_free(&moved);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* A page that was written to has to be hashed anew, whatever series it was installed in. */
Test(store_install, a_write_leaves_the_series)
{
    struct pbft_tree *source = filled(&small_pages, 4, 2000);
    struct pbft_tree *target = tree_new(&small_pages);
    struct page_list pages = page_list_of(source, &small_pages);
    struct pbft_install *install = begin(target, &pages.pages[0].digest);
    pbft_install_join(install, 1);
    (void)fetch_all(install, &pages, 64);
    finish(install);
    for (unsigned i = 0; i < 2; i++) {
        tree_put(target, text_span("\xff\xff"), text_span(i == 0 ? "new" : "newer"), 7000);
        tree_put(source, text_span("\xff\xff"), text_span(i == 0 ? "new" : "newer"), 7000);
    }
    (void)tree_root(target);
    struct page_list moved = page_list_of(source, &small_pages);
    struct pbft_page *leaf = target->root; /* the one that holds the new key: changed in place */
    while (leaf->level != 0)
        leaf = leaf->children[leaf->count - 1].page;
    leaf->data[leaf->length - 1] ^= 1;
    install = begin(target, &moved.pages[0].digest);
    pbft_install_join(install, 1);
    (void)fetch_all(install, &moved, 64);
    struct pbft_install_progress progress;
    pbft_install_progress(install, &progress);
    cr_assert_eq(progress.pages_damaged, 1);
    finish(install);
    check_equal(target, &moved, &small_pages);
    page_list_free(&pages);
    page_list_free(&moved);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

Test(store_install, limits)
{
    struct pbft_tree *source = filled(&small_pages, 4, 3000);
    struct pbft_tree *target = tree_new(&small_pages);
    struct page_list pages = page_list_of(source, &small_pages);
    uint64_t entries = pbft_tree_count(source), payload = pbft_tree_payload(source);
    const struct pbft_install_limits limits[] = {{entries - 1, payload},
                                                 {entries, payload - 1},
                                                 {entries, payload}};
    for (size_t i = 0; i < 3; i++) {
        struct pbft_install *install = NULL;
        struct pbft_digest root;
        cr_assert_eq(pbft_install_begin(&install, target, &pages.pages[0].digest, &limits[i]),
                     PBFT_STATUS_OK);
        cr_assert_eq(pbft_install_wanted(install, &root, 1), 1);
        enum pbft_verdict verdict = pbft_install_page(install, &root, span_of(&pages.pages[0]));
        cr_assert_eq(verdict, i < 2 ? PBFT_DROP_SIZE : PBFT_OK);
        struct pbft_install_progress progress;
        pbft_install_progress(install, &progress);
        cr_assert_eq(progress.failed, i < 2);
        cr_assert(i == 2 || pbft_install_wanted(install, &root, 1) == 0);
        pbft_install_abort(install);
    }
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* ---- a certified root that leads to pages which do not belong where they are ---------------- */

enum forgery {
    FORGE_NOTHING,
    FORGE_SWAP,       /* two children change places */
    FORGE_SAME_CHILD, /* one child twice */
    FORGE_ENTRIES,    /* one more than there are */
    FORGE_PAYLOAD,
    FORGE_LEVEL,    /* leaves where inner pages should be */
    FORGE_KEY_LOW,  /* a separator below keys of the left child */
    FORGE_KEY_HIGH, /* a separator above keys of the right child */
    FORGE_COUNT
};

static uint8_t *child_at(uint8_t *page, uint32_t index)
{
    return page + 28 + (size_t)index * 56;
}

static void forge(enum forgery forgery, uint8_t *page)
{
    uint32_t count = field32(page + 8);
    uint8_t *first = child_at(page, 0), *second = child_at(page, 1);
    uint8_t *keys = child_at(page, count);
    uint32_t key_end = field32(second + 52);
    uint8_t t[48];
    switch (forgery) {
    case FORGE_SWAP: /* with their counts */
        memcpy(t, first + 4, 48);
        memcpy(first + 4, second + 4, 48);
        memcpy(second + 4, t, 48);
        break;
    case FORGE_SAME_CHILD:
        store64(page + 12, load64(page + 12) - load64(second + 4) + load64(first + 4));
        store64(page + 20, load64(page + 20) - load64(second + 12) + load64(first + 12));
        memcpy(second + 4, first + 4, 48);
        break;
    case FORGE_ENTRIES:
        store64(first + 4, load64(first + 4) + 1);
        store64(page + 12, load64(page + 12) + 1);
        break;
    case FORGE_PAYLOAD:
        store64(first + 12, load64(first + 12) + 1);
        store64(page + 20, load64(page + 20) + 1);
        break;
    case FORGE_LEVEL: page[2]++; break;
    case FORGE_KEY_LOW: memset(keys, 0, key_end); break;
    case FORGE_KEY_HIGH:
        key_end = field32(child_at(page, count - 2) + 52);
        memset(keys + key_end, 0xff, field32(child_at(page, count - 1) + 52) - key_end);
        break;
    case FORGE_NOTHING:
    case FORGE_COUNT: break;
    }
}

/* Whether the installation of a tree whose root page is this one gets a MALFORMED page. */
static bool refused_by(struct pbft_tree *target, uint32_t series, const struct page_list *pages,
                       struct pbft_span bytes, int forgery)
{
    struct pbft_digest digest;
    REQUIRE(forgery, pbft_page_digest(bytes, &digest));
    REQUIRE(forgery, pbft_page_check(&small_pages, bytes) == PBFT_OK); /* alone it looks fine */

    struct pbft_install *install = begin(target, &digest);
    pbft_install_join(install, series);
    struct pbft_digest wanted[64];
    bool refused = false;
    size_t count;
    while (!refused && (count = pbft_install_wanted(install, wanted, 64)) > 0) {
        for (size_t i = 0; i < count && !refused; i++) {
            const struct page_copy *page = page_of(pages, &wanted[i]);
            enum pbft_verdict verdict =
                pbft_install_page(install, &wanted[i], page != NULL ? span_of(page) : bytes);
            REQUIRE(forgery, verdict == PBFT_OK || verdict == PBFT_DROP_MALFORMED);
            refused = verdict == PBFT_DROP_MALFORMED;
        }
    }
    struct pbft_install_progress progress;
    pbft_install_progress(install, &progress);
    REQUIRE(forgery, series != 0 || progress.failed == refused);
    refused = progress.failed; /* what is here already is refused without a verdict */
    REQUIRE(forgery, pbft_install_done(install) != refused);
    pbft_install_abort(install);
    return refused;
}

/* The same, whether its pages come one by one, or are there and were hashed in the same series. */
static bool root_is_refused(const struct page_list *pages, struct pbft_span bytes, int forgery)
{
    struct pbft_tree *target = tree_new(&small_pages);
    bool refused = refused_by(target, 0, pages, bytes, forgery);
    struct pbft_install *honest = begin(target, &pages->pages[0].digest);
    pbft_install_join(honest, 1);
    (void)fetch_all(honest, pages, 64);
    finish(honest);
    REQUIRE(forgery, refused_by(target, 1, pages, bytes, forgery) == refused);
    pbft_tree_destroy(target);
    return refused;
}

static bool forged_is_refused(const struct page_list *pages, enum forgery forgery)
{
    uint8_t root[4096];
    size_t size = pages->pages[0].size;
    REQUIRE(forgery, size <= sizeof root);
    memcpy(root, pages->pages[0].data, size);
    forge(forgery, root);
    return root_is_refused(pages, (struct pbft_span){root, size}, (int)forgery);
}

/* The root page with another key for child 1. */
static bool separator_is_refused(const struct page_list *pages, const uint8_t *key, uint32_t size)
{
    uint8_t root[4096];
    const struct page_copy *page = &pages->pages[0];
    uint32_t count = field32(page->data + 8);
    uint32_t old = field32(page->data + 28 + 56 + 52);
    size_t keys = 28 + (size_t)count * 56;
    REQUIRE(size, page->size + size <= sizeof root);
    memcpy(root, page->data, keys);
    memcpy(root + keys, key, size);
    memcpy(root + keys + size, page->data + keys + old, page->size - keys - old);
    for (uint32_t i = 1; i < count; i++)
        store32(child_at(root, i) + 52, field32(child_at(root, i) + 52) - old + size);
    store32(root + 4, (uint32_t)(page->size - old + size));
    return root_is_refused(pages, (struct pbft_span){root, page->size - old + size}, -1);
}

static const struct page_copy *child_of_root(const struct page_list *pages, uint32_t index)
{
    struct pbft_digest digest;
    memcpy(digest.bytes, child_at(pages->pages[0].data, index) + 20, PBFT_DIGEST_BYTES);
    return page_of(pages, &digest);
}

/* The range of a child is exact: one key beyond either end is refused. */
Test(store_install, separators_one_key_off)
{
    for (uint32_t entries = 30; entries <= 300; entries *= 10) {
        struct pbft_tree *source = tree_new(&small_pages);
        uint8_t value[40] = {0};
        for (uint32_t i = 0; i < entries; i++) {
            uint8_t key[4] = {'k', (uint8_t)(i * 7 % entries / 16), (uint8_t)(i * 7 % entries % 16),
                              'x'};
            tree_put(source, (struct pbft_span){key, 4}, (struct pbft_span){value, 40}, i);
        }
        struct page_list pages = page_list_of(source, &small_pages);
        cr_assert_eq(pages.height, entries == 30 ? 2 : 3);
        const struct page_copy *left = child_of_root(&pages, 0), *right = child_of_root(&pages, 1);
        uint32_t left_count = field32(left->data + 8), right_count = field32(right->data + 8);
        cr_assert(left_count > 2 && right_count > 2);
        struct pbft_span last, first, value_span;
        uint8_t key[8];
        if (pages.height == 2) {
            leaf_entry(left->data, left_count, left_count - 1, &last, &value_span);
            leaf_entry(right->data, right_count, 0, &first, &value_span);
        } else { /* a child's range may not be empty either */
            last = pbft_page_child(left->data, left_count - 1).key;
            first = pbft_page_child(right->data, 1).key;
        }
        memcpy(key, last.data, last.size);
        cr_assert(separator_is_refused(&pages, key, (uint32_t)last.size));
        memcpy(key, first.data, first.size);
        key[first.size] = 0;
        /* Of leaves the first key itself still parts them. */
        uint32_t more = pages.height == 2 ? 1 : 0;
        cr_assert(separator_is_refused(&pages, key, (uint32_t)first.size + more));
        if (pages.height == 2) cr_assert(!separator_is_refused(&pages, key, (uint32_t)first.size));
        page_list_free(&pages);
        pbft_tree_destroy(source);
    }
}

Test(store_install, pages_that_do_not_belong)
{
    for (uint64_t seed = 20; seed < 24; seed++) {
        /* Two levels, three and more: roots over leaves and over inner pages. */
        struct pbft_tree *source = filled(&small_pages, seed, seed % 2 == 0 ? 14 : 2500);
        struct page_list pages = page_list_of(source, &small_pages);
        cr_assert_geq(pages.height, seed % 2 == 0 ? 2 : 3);
        cr_assert(!forged_is_refused(&pages, FORGE_NOTHING));
        for (int forgery = FORGE_SWAP; forgery < FORGE_COUNT; forgery++)
            if (!forged_is_refused(&pages, (enum forgery)forgery))
                cr_assert_fail("seed %d: forgery %d was installed", (int)seed, forgery);
        page_list_free(&pages);
        pbft_tree_destroy(source);
    }
}

/* An index inside an inner page that is not its position is no page at all. */
Test(store_install, index_inside_inner_pages)
{
    struct pbft_tree *source = filled(&small_pages, 6, 1000);
    struct page_list pages = page_list_of(source, &small_pages);
    cr_assert_gt(pages.height, 1);
    store32(child_at(pages.pages[0].data, 1), 0);
    cr_assert_eq(pbft_page_check(&small_pages, span_of(&pages.pages[0])), PBFT_DROP_MALFORMED);
    struct pbft_tree *target = tree_new(&small_pages);
    struct pbft_digest root;
    cr_assert(pbft_page_digest(span_of(&pages.pages[0]), &root));
    struct pbft_install *install = begin(target, &root);
    cr_assert_eq(pbft_install_page(install, NULL, span_of(&pages.pages[0])), PBFT_DROP_MALFORMED);
    pbft_install_abort(install);
    page_list_free(&pages);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}
