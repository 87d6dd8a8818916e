/* What the tests of the page store share: a store of either kind, checkpoints, and states whose
 * pages go and come back. */
#ifndef PBFT_TESTS_PAGES_FIXTURE_H
#define PBFT_TESTS_PAGES_FIXTURE_H

#include "store/pages.h"
#include "store_pages.h"

#include <stdio.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static const struct pbft_tree_config small_pages = {256, 256};
static const struct pbft_tree_config default_pages = {PBFT_TREE_PAGE_TARGET, PBFT_TREE_PAGE_TARGET};

struct fixture {
    bool lmdb;
    uint64_t bytes_max;
    struct pbft_pages_disk *disk;
    char dir[200];
    struct pbft_pages *pages;
};

static inline struct pbft_superblock_owner owner_of(uint8_t seed)
{
    struct pbft_superblock_owner owner = {.replica = seed};
    memset(owner.cluster_id.bytes, 0x11, PBFT_DIGEST_BYTES);
    memset(owner.key_fingerprint.bytes, 0x22, PBFT_DIGEST_BYTES);
    return owner;
}

static inline enum pbft_status lmdb_try(struct pbft_pages **pages, const char *dir,
                                        uint64_t bytes_max, bool read_only, char *error)
{
    struct pbft_pages_lmdb_config config = {.dir = dir,
                                            .owner = owner_of(1),
                                            .bytes_max = bytes_max,
                                            .read_only = read_only};
    return pbft_pages_lmdb_open(pages, &config, error);
}

static inline void open_store(struct fixture *f)
{
    char error[PBFT_PAGES_ERROR_BYTES] = "";
    enum pbft_status status = f->lmdb ? lmdb_try(&f->pages, f->dir, f->bytes_max, false, error)
                                      : pbft_pages_memory_open(&f->pages, f->disk);
    cr_assert(status == PBFT_STATUS_OK, "%s: %s", pbft_status_text(status), error);
}

static inline struct fixture fixture_new(bool lmdb)
{
    struct fixture f = {.lmdb = lmdb, .bytes_max = 64 * MIB, .dir = ""};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(f.dir, sizeof f.dir, "%s/pbft-pages-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (lmdb)
        cr_assert(mkdtemp(f.dir) != NULL);
    else
        cr_assert((f.disk = pbft_pages_disk_new()) != NULL);
    open_store(&f);
    return f;
}

static inline void reopen(struct fixture *f)
{
    struct pbft_pages_tuning tuning = f->pages->tuning;
    pbft_pages_close(f->pages);
    open_store(f);
    pbft_pages_tune(f->pages, &tuning);
}

static inline void path_in(const struct fixture *f, const char *name, char out[300])
{
    (void)snprintf(out, 300, "%s/%s", f->dir, name);
}

static inline void dir_remove(const char *dir)
{
    static const char *const names[] = {"pages.mdb", "pages.mdb.new"};
    char path[300];
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    cr_assert_eq(rmdir(dir), 0, "something was left in %s", dir);
}

static inline void fixture_free(struct fixture *f)
{
    pbft_pages_close(f->pages);
    pbft_pages_disk_free(f->disk);
    if (f->lmdb) dir_remove(f->dir);
}

/* ---- checkpoints ---- */

static inline struct pbft_pages_checkpoint *checkpoint_new(void)
{
    struct pbft_pages_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    REQUIRE(0, checkpoint != NULL);
    return checkpoint;
}

/* A certificate of a length and contents of its own for each checkpoint. */
static inline void certificate_fill(struct pbft_pages_checkpoint *checkpoint)
{
    checkpoint->certificate_size =
        (uint32_t)(checkpoint->seq * 977 % (PBFT_PAGES_CERTIFICATE_MAX + 1));
    for (uint32_t i = 0; i < checkpoint->certificate_size; i++)
        checkpoint->certificate[i] = (uint8_t)(checkpoint->seq + i * 7);
}

static inline enum pbft_status flush(struct pbft_pages *pages, struct pbft_tree *tree, pbft_seq seq)
{
    struct pbft_pages_checkpoint *checkpoint = checkpoint_new();
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    REQUIRE(seq, snapshot != NULL);
    pbft_snapshot_root(snapshot, &checkpoint->root);
    checkpoint->seq = seq;
    certificate_fill(checkpoint);
    enum pbft_status status = pbft_pages_flush(pages, snapshot, checkpoint);
    pbft_snapshot_release(snapshot);
    free(checkpoint);
    return status;
}

static inline void flush_ok(struct pbft_pages *pages, struct pbft_tree *tree, pbft_seq seq)
{
    enum pbft_status status = flush(pages, tree, seq);
    if (status != PBFT_STATUS_OK)
        cr_assert_fail("flush %llu: %s", (unsigned long long)seq, pbft_status_text(status));
}

/* The checkpoint that is there, whole and with the certificate that belongs to it, as a tree. */
static inline struct pbft_tree *load(struct pbft_pages *pages,
                                     const struct pbft_tree_config *config, pbft_seq *seq)
{
    struct pbft_pages_checkpoint *have = checkpoint_new(), *expected = checkpoint_new();
    enum pbft_status status = pbft_pages_checkpoint(pages, have);
    REQUIRE(0, status == PBFT_STATUS_OK);
    struct pbft_tree *tree = tree_new(config);
    if (have->seq != 0) {
        expected->seq = have->seq;
        expected->root = have->root;
        certificate_fill(expected);
        REQUIRE(have->seq, memcmp(have, expected, sizeof *have) == 0);
        status = pbft_pages_load(pages, tree, &have->root);
        if (status != PBFT_STATUS_OK)
            cr_assert_fail("load %llu: %s", (unsigned long long)have->seq,
                           pbft_status_text(status));
        struct pbft_digest root = tree_root(tree);
        REQUIRE(have->seq, digest_same(&root, &have->root));
    }
    *seq = have->seq;
    free(have);
    free(expected);
    return tree;
}

/* Contents, not only hashes. */
static inline void holds(struct pbft_pages *pages, struct pbft_tree *expected,
                         const struct pbft_tree_config *config, pbft_seq seq)
{
    if (config == NULL) config = &default_pages;
    pbft_seq have;
    struct pbft_tree *tree = load(pages, config, &have);
    REQUIRE(seq, have == seq);
    struct page_list a = page_list_of(tree, config), b = page_list_of(expected, config);
    REQUIRE(seq, page_list_equal(&a, &b));
    page_list_free(&a);
    page_list_free(&b);
    pbft_tree_destroy(tree);
}

static inline void steps(struct pbft_tree *tree, uint64_t seed, uint32_t count, uint32_t keys)
{
    struct rng rng = {seed};
    for (uint32_t i = 0; i < count; i++)
        tree_random_step(tree, &rng, keys, 75, seed);
}

/* A state that depends on k alone. Each one shares much with the one before it, every third changes
 * nearly everything, and pages of earlier ones come back (PROTOCOL 30). */
static inline struct pbft_tree *state(uint32_t k)
{
    struct pbft_tree *tree = tree_new(&small_pages);
    steps(tree, 1 + k / 6, 150, 120);
    if (k % 3 != 0) steps(tree, 100 + k % 3, 6, 120);
    return tree;
}

/* Whether all pages below a stored one are there, for each stored one. */
static inline uint64_t closed(struct pbft_pages *pages)
{
    uint64_t count = 0;
    struct pbft_digest at, child;
    REQUIRE(0, pages->ops->begin(pages, false) == PBFT_STATUS_OK);
    bool more = pages->ops->next(pages, NULL, &at) == PBFT_STATUS_OK;
    while (more) {
        struct pbft_span page, below;
        REQUIRE(count, pages->ops->get(pages, &at, &page) == PBFT_STATUS_OK);
        uint8_t *copy = malloc(page.size);
        REQUIRE(count, copy != NULL);
        memcpy(copy, page.data, page.size);
        page.data = copy;
        for (uint32_t i = 0; pbft_page_child_digest(page, i, &child); i++)
            REQUIRE(count, pages->ops->get(pages, &child, &below) == PBFT_STATUS_OK);
        free(copy);
        count++;
        more = pages->ops->next(pages, &at, &at) == PBFT_STATUS_OK;
    }
    pages->ops->abort(pages);
    return count;
}

static inline struct pbft_tree *bulk(uint64_t seed, uint32_t keys)
{
    struct pbft_tree *tree = tree_new(NULL);
    for (uint32_t i = 0; i < keys; i++) {
        uint8_t key[8] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        uint8_t value[200];
        memset(value, (int)(seed + i), sizeof value);
        tree_put(tree, (struct pbft_span){key, 3}, (struct pbft_span){value, sizeof value}, seed);
    }
    return tree;
}

#endif
