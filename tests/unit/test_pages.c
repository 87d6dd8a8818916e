/* store/pages: certified checkpoints on a disk. What is promised by both implementations is tested
 * on both; crashes at every commit in memory. test_pages_lmdb.c has what is about files. */
#include "pages_fixture.h"

#include <pthread.h>

static const struct pbft_pages_tuning small_batches = {2000, 3, 4, 0};

/* ---- the walk ---- */

struct visit {
    struct page_list list;
    const struct pbft_digest *pruned;
    bool stop;
};

static enum pbft_status visit_have(void *context, const struct pbft_digest *digest)
{
    struct visit *visit = context;
    bool pruned = visit->pruned != NULL && digest_same(visit->pruned, digest);
    return pruned ? PBFT_STATUS_OK : PBFT_STATUS_NOT_FOUND;
}

static bool visited(const struct visit *visit, const struct pbft_digest *digest)
{
    for (size_t i = 0; i < visit->list.count; i++)
        if (digest_same(&visit->list.pages[i].digest, digest)) return true;
    return false;
}

static enum pbft_status visit_any(struct visit *visit, const struct pbft_digest *digest,
                                  struct pbft_span page)
{
    struct pbft_digest actual;
    REQUIRE(0, pbft_page_digest(page, &actual) && digest_same(&actual, digest));
    visit->list.pages =
        realloc(visit->list.pages, (visit->list.count + 1) * sizeof *visit->list.pages);
    REQUIRE(0, visit->list.pages != NULL);
    visit->list.pages[visit->list.count++] = (struct page_copy){*digest, NULL, page.size};
    return visit->stop ? PBFT_STATUS_FULL : PBFT_STATUS_OK;
}

static enum pbft_status visit_page(void *context, const struct pbft_digest *digest,
                                   struct pbft_span page)
{
    struct visit *visit = context;
    struct pbft_digest child;
    REQUIRE(0, !visited(visit, digest));
    for (uint32_t i = 0; pbft_page_child_digest(page, i, &child); i++)
        REQUIRE(i, visited(visit, &child) ||
                       (visit->pruned != NULL && digest_same(visit->pruned, &child)));
    return visit_any(visit, digest, page);
}

static enum pbft_status visit_sorted(void *context, const struct pbft_digest *digest,
                                     struct pbft_span page)
{
    struct visit *visit = context;
    const struct page_list *list = &visit->list;
    REQUIRE(0, list->count == 0 ||
                   pbft_digest_compare(&list->pages[list->count - 1].digest, digest) < 0);
    return visit_any(visit, digest, page);
}

Test(pages, walk_visits_children_first_and_passes_by_what_is_there)
{
    struct pbft_tree *tree = tree_new(&small_pages);
    steps(tree, 9, 400, 200);
    struct page_list all = page_list_of(tree, &small_pages);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    struct visit visit = {.pruned = NULL};
    REQUIRE(0, pbft_snapshot_walk(snapshot, NULL, visit_page, &visit) == PBFT_STATUS_OK);
    cr_assert_eq(visit.list.count, all.count);
    cr_assert_gt(all.height, 2);
    page_list_free(&visit.list);

    /* The second page of the list is the root's first child: an inner page. */
    size_t below = 1;
    while (all.pages[1 + below].data[2] < all.pages[1].data[2])
        below++;
    cr_assert_gt(below, 2);
    visit = (struct visit){.pruned = &all.pages[1].digest};
    REQUIRE(0, pbft_snapshot_walk(snapshot, visit_have, visit_page, &visit) == PBFT_STATUS_OK);
    cr_assert_eq(visit.list.count, all.count - below);
    page_list_free(&visit.list);

    visit = (struct visit){.stop = true};
    REQUIRE(0, pbft_snapshot_walk(snapshot, visit_have, visit_page, &visit) == PBFT_STATUS_FULL);
    cr_assert_eq(visit.list.count, 1);
    page_list_free(&visit.list);
    page_list_free(&all);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

Test(pages, walk_in_the_order_of_digests_visits_each_once)
{
    struct pbft_tree *tree = tree_new(&small_pages);
    steps(tree, 9, 400, 200);
    struct page_list all = page_list_of(tree, &small_pages);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    struct visit visit = {.pruned = NULL};
    REQUIRE(0, pbft_snapshot_walk_sorted(snapshot, visit_sorted, &visit) == PBFT_STATUS_OK);
    cr_assert_eq(visit.list.count, all.count);
    page_list_free(&visit.list);
    visit = (struct visit){.stop = true};
    REQUIRE(0, pbft_snapshot_walk_sorted(snapshot, visit_sorted, &visit) == PBFT_STATUS_FULL);
    cr_assert_eq(visit.list.count, 1);
    page_list_free(&visit.list);
    page_list_free(&all);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

/* ---- the contract, on both ---- */

static void check_contract(bool lmdb)
{
    struct fixture f = fixture_new(lmdb);
    cr_assert_str_eq(pbft_pages_name(f.pages), lmdb ? "lmdb" : "memory");
    pbft_seq seq;
    struct pbft_tree *none = load(f.pages, NULL, &seq);
    cr_assert_eq(seq, 0, "a new store has no checkpoint");

    struct pbft_tree *tree = tree_new(NULL);
    flush_ok(f.pages, tree, 1); /* an empty leaf is a checkpoint, too */
    holds(f.pages, tree, NULL, 1);
    steps(tree, 5, 3000, 2000);
    flush_ok(f.pages, tree, 2);
    holds(f.pages, tree, NULL, 2);
    struct page_list list = page_list_of(tree, &default_pages);
    struct pbft_pages_stats stats;
    pbft_pages_stats(f.pages, &stats);
    cr_assert_eq(stats.live, list.count);
    cr_assert_geq(stats.pages, list.count);
    cr_assert_eq(stats.flushes, 2);
    cr_assert_eq(stats.written, list.count + 1);
    cr_assert_gt(stats.bytes, stats.written_bytes / 2);

    for (size_t i = 0; i < list.count; i += 7) {
        uint8_t page[PBFT_TREE_PAGE_TARGET * 2];
        size_t size = 0;
        const struct page_copy *copy = &list.pages[i];
        if (copy->size > sizeof page) continue;
        REQUIRE(i, pbft_pages_get(f.pages, &copy->digest, page, sizeof page, &size) == 0);
        REQUIRE(i, size == copy->size && memcmp(page, copy->data, size) == 0);
        REQUIRE(i,
                pbft_pages_get(f.pages, &copy->digest, page, size - 1, &size) == PBFT_STATUS_FULL);
    }
    reopen(&f);
    holds(f.pages, tree, NULL, 2);
    pbft_pages_stats(f.pages, &stats);
    cr_assert_geq(stats.pages, list.count, "counted when it is opened");
    cr_assert_eq(stats.live, 0);

    /* Only what is new is written. */
    steps(tree, 6, 3, 2000);
    flush_ok(f.pages, tree, 3);
    pbft_pages_stats(f.pages, &stats);
    cr_assert_leq(stats.written, 3 * (uint64_t)list.height + 6);
    cr_assert_geq(stats.written, 1);
    holds(f.pages, tree, NULL, 3);

    page_list_free(&list);
    pbft_tree_destroy(none);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

Test(pages, contract_memory)
{
    check_contract(false);
}
Test(pages, contract_lmdb)
{
    check_contract(true);
}

static void check_refusals(bool lmdb)
{
    struct fixture f = fixture_new(lmdb);
    struct pbft_tree *tree = state(1);
    flush_ok(f.pages, tree, 4);
    cr_assert_eq(flush(f.pages, tree, 0), PBFT_STATUS_ARGUMENT);

    struct pbft_pages_checkpoint *checkpoint = checkpoint_new();
    checkpoint->seq = 5;
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    cr_assert_eq(pbft_pages_flush(f.pages, snapshot, checkpoint), PBFT_STATUS_ARGUMENT, "root");
    pbft_snapshot_root(snapshot, &checkpoint->root);
    checkpoint->certificate_size = PBFT_PAGES_CERTIFICATE_MAX + 1;
    cr_assert_eq(pbft_pages_flush(f.pages, snapshot, checkpoint), PBFT_STATUS_ARGUMENT);
    checkpoint->certificate_size = PBFT_PAGES_CERTIFICATE_MAX;
    cr_assert_eq(pbft_pages_flush(f.pages, snapshot, checkpoint), PBFT_STATUS_OK);

    /* A root that is not there; a page that is not there. */
    struct pbft_tree *other = state(7);
    struct pbft_digest before = tree_root(other), absent = {{1}};
    cr_assert_eq(pbft_pages_load(f.pages, other, &absent), PBFT_STATUS_NOT_FOUND);
    struct page_list list = page_list_of(tree, &small_pages);
    const struct pbft_digest *last = &list.pages[list.count - 1].digest;
    cr_assert_eq(f.pages->ops->begin(f.pages, true), PBFT_STATUS_OK);
    cr_assert_eq(f.pages->ops->remove(f.pages, last), PBFT_STATUS_OK);
    cr_assert_eq(f.pages->ops->remove(f.pages, last), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(f.pages->ops->commit(f.pages), PBFT_STATUS_OK);
    cr_assert_eq(pbft_pages_load(f.pages, other, &checkpoint->root), PBFT_STATUS_NOT_FOUND);
    size_t size;
    uint8_t byte;
    cr_assert_eq(pbft_pages_get(f.pages, last, &byte, 1, &size), PBFT_STATUS_NOT_FOUND);
    struct pbft_digest after = tree_root(other);
    cr_assert(digest_same(&before, &after), "the tree is as it was");

    /* All of it, over what a tree already has. */
    flush_ok(f.pages, other, 6);
    cr_assert_eq(pbft_pages_load(f.pages, tree, &before), PBFT_STATUS_OK);
    after = tree_root(tree);
    cr_assert(digest_same(&before, &after));
    page_list_free(&list);
    pbft_snapshot_release(snapshot);
    free(checkpoint);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(other);
    fixture_free(&f);
}

Test(pages, refusals_memory)
{
    check_refusals(false);
}
Test(pages, refusals_lmdb)
{
    check_refusals(true);
}

/* States that share pages, lose them and get them back; nothing is ever missing, and what is out of
 * reach stays within its bound. */
static void check_series(bool lmdb)
{
    struct fixture f = fixture_new(lmdb);
    struct pbft_pages_tuning tuning = small_batches;
    if (lmdb) tuning.renew_slack = MIB; /* the file is small: else every flush writes all */
    pbft_pages_tune(f.pages, &tuning);
    uint64_t swept = 0, renewed = 0;
    for (uint32_t k = 1; k <= 30; k++) {
        struct pbft_tree *tree = state(k);
        flush_ok(f.pages, tree, k);
        holds(f.pages, tree, &small_pages, k);
        struct pbft_pages_stats stats;
        pbft_pages_stats(f.pages, &stats);
        uint64_t pages = closed(f.pages);
        REQUIRE(k, pages == stats.pages);
        REQUIRE(k, pages >= stats.live);
        REQUIRE(k, pages - stats.live <= pages / 8 + small_batches.sweep_slack);
        swept += stats.swept;
        renewed += stats.renewed;
        if (k % 4 == 0) reopen(&f);
        pbft_tree_destroy(tree);
    }
    cr_assert_gt(swept, 20);
    if (!lmdb) cr_assert_gt(renewed, 2);
    fixture_free(&f);
}

Test(pages, series_memory)
{
    check_series(false);
}
Test(pages, series_lmdb)
{
    check_series(true);
}

/* A tree that lives on, with random puts and deletes, and is loaded again now and then. */
static void check_random(bool lmdb, uint64_t seed)
{
    struct fixture f = fixture_new(lmdb);
    const struct pbft_pages_tuning tuning = {30000, 7, 10, 0};
    pbft_pages_tune(f.pages, &tuning);
    struct pbft_tree *tree = tree_new(NULL);
    struct rng rng = {seed};
    for (uint32_t k = 1; k <= 25; k++) {
        uint32_t count = rng_below(&rng, 4) == 0 ? 1500 : rng_below(&rng, 40);
        steps(tree, seed * 1000 + k, count, 1500);
        flush_ok(f.pages, tree, k);
        if (k % 3 != 0) continue;
        reopen(&f);
        holds(f.pages, tree, NULL, k);
        closed(f.pages);
        if (k % 2 == 0) continue;
        pbft_seq seq;
        pbft_tree_destroy(tree);
        tree = load(f.pages, NULL, &seq);
        REQUIRE(seed, seq == k);
    }
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

Test(pages, random_memory)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        check_random(false, seed);
}
Test(pages, random_lmdb)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        check_random(true, seed);
}

static void check_clear(bool lmdb)
{
    struct fixture f = fixture_new(lmdb);
    struct pbft_tree *tree = state(2);
    flush_ok(f.pages, tree, 7);
    cr_assert_eq(pbft_pages_clear(f.pages), PBFT_STATUS_OK);
    for (int i = 0; i < 2; i++) {
        pbft_seq seq;
        struct pbft_tree *none = load(f.pages, &small_pages, &seq);
        cr_assert_eq(seq, 0);
        cr_assert_eq(closed(f.pages), 0);
        pbft_tree_destroy(none);
        reopen(&f);
    }
    flush_ok(f.pages, tree, 3);
    holds(f.pages, tree, &small_pages, 3);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

Test(pages, clear_memory)
{
    check_clear(false);
}
Test(pages, clear_lmdb)
{
    check_clear(true);
}

/* The owner of the tree writes while the flush goes on, on another thread. */
struct flusher {
    struct pbft_pages *pages;
    struct pbft_snapshot *snapshot;
    struct pbft_pages_checkpoint *checkpoint;
    enum pbft_status status;
};

static void *flush_thread(void *context)
{
    struct flusher *flusher = context;
    flusher->status = pbft_pages_flush(flusher->pages, flusher->snapshot, flusher->checkpoint);
    return NULL;
}

static void check_concurrent(bool lmdb)
{
    struct fixture f = fixture_new(lmdb);
    struct pbft_tree *tree = tree_new(&small_pages);
    steps(tree, 1, 3000, 2000);
    struct flusher flusher = {.pages = f.pages, .checkpoint = checkpoint_new()};
    for (uint32_t k = 1; k <= 5; k++) {
        flusher.snapshot = pbft_tree_snapshot(tree);
        flusher.checkpoint->seq = k;
        pbft_snapshot_root(flusher.snapshot, &flusher.checkpoint->root);
        certificate_fill(flusher.checkpoint);
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, flush_thread, &flusher), 0);
        steps(tree, k + 1, 3000, 2000);
        struct pbft_digest root = tree_root(tree);
        cr_assert(!digest_same(&root, &flusher.checkpoint->root));
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(flusher.status, PBFT_STATUS_OK);
        pbft_seq seq;
        struct pbft_tree *loaded = load(f.pages, &small_pages, &seq);
        cr_assert_eq(seq, k);
        pbft_tree_destroy(loaded);
        pbft_snapshot_release(flusher.snapshot);
    }
    free(flusher.checkpoint);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

Test(pages, flush_while_the_owner_writes_memory)
{
    check_concurrent(false);
}
Test(pages, flush_while_the_owner_writes_lmdb)
{
    check_concurrent(true);
}

/* ---- crashes (FAULTS 2.38 - 2.40) ---- */

#define CRASH_STATES 14u

/* From the checkpoint that is there to the last state. Returns how many flushes came to an end;
 * stops at a crash. */
static uint32_t crash_run(struct pbft_pages *pages, uint32_t from)
{
    for (uint32_t k = from + 1; k <= CRASH_STATES; k++) {
        struct pbft_tree *tree = state(k);
        enum pbft_status status = flush(pages, tree, k);
        pbft_tree_destroy(tree);
        if (status == PBFT_STATUS_IO) return k - 1;
        REQUIRE(k, status == PBFT_STATUS_OK);
    }
    return CRASH_STATES;
}

/* What is there after a crash that came after `done` flushes: this checkpoint or the next, whole,
 * and nothing that leads nowhere unless a sweep is to be completed. */
static uint32_t crash_check(struct pbft_pages *pages, uint64_t at, uint32_t done)
{
    pbft_seq seq;
    struct pbft_tree *tree = load(pages, &small_pages, &seq);
    REQUIRE(at, seq == done || seq == done + 1);
    pbft_tree_destroy(tree);
    tree = state((uint32_t)seq);
    if (seq != 0) holds(pages, tree, &small_pages, seq);
    pbft_tree_destroy(tree);
    struct pbft_pages_meta *meta = calloc(1, sizeof *meta);
    REQUIRE(at, meta != NULL && pages->ops->begin(pages, false) == PBFT_STATUS_OK);
    REQUIRE(at, pages->ops->get_meta(pages, meta) == PBFT_STATUS_OK);
    pages->ops->abort(pages);
    if (!meta->sweeping) closed(pages);
    free(meta);
    return (uint32_t)seq;
}

/* A crash after every number of commits, and a second one a while later. */
static void crash_everywhere(uint64_t second)
{
    for (uint64_t at = 0;; at++) {
        struct fixture f = fixture_new(false);
        pbft_pages_tune(f.pages, &small_batches);
        pbft_pages_disk_crash_after(f.disk, at);
        uint32_t done = crash_run(f.pages, 0);
        if (done == CRASH_STATES) {
            struct pbft_pages_stats stats;
            pbft_pages_stats(f.pages, &stats);
            cr_assert_gt(stats.swept, 20);
            cr_assert_gt(stats.renewed, 1);
            cr_assert_gt(at, 5 * CRASH_STATES, "too few commits to tell");
            fixture_free(&f);
            return;
        }
        struct pbft_tree *tree = state(1);
        REQUIRE(at, flush(f.pages, tree, 99) == PBFT_STATUS_IO);
        pbft_tree_destroy(tree);
        reopen(&f);
        done = crash_check(f.pages, at, done);
        pbft_pages_disk_crash_after(f.disk, second);
        done = crash_run(f.pages, done);
        if (done != CRASH_STATES) {
            reopen(&f);
            done = crash_check(f.pages, at, done);
            pbft_pages_disk_crash_after(f.disk, UINT64_MAX);
            REQUIRE(at, crash_run(f.pages, done) == CRASH_STATES);
        }
        REQUIRE(at, crash_check(f.pages, at, CRASH_STATES) == CRASH_STATES);
        fixture_free(&f);
    }
}

Test(pages, crash_at_every_commit)
{
    crash_everywhere(UINT64_MAX);
}
Test(pages, crash_at_every_commit_and_again)
{
    crash_everywhere(3);
}

/* A sweep that a crash cut short has taken pages from below others: the next flush must not stop at
 * these (PROTOCOL 30), whatever it finds in the rest. */
static void check_sweep_cut(bool damaged)
{
    struct fixture f = fixture_new(false);
    const struct pbft_pages_tuning tuning = {MIB, 1, 0, MIB};
    pbft_pages_tune(f.pages, &tuning);
    struct pbft_tree *first = state(1), *second = tree_new(&small_pages);
    steps(second, 77, 20, 120);
    flush_ok(f.pages, first, 1);
    uint64_t commits = pbft_pages_disk_commits(f.disk);
    uint32_t cut = 0;
    for (;; cut++) {
        struct pbft_pages_disk *disk = pbft_pages_disk_copy(f.disk);
        struct pbft_pages *pages = NULL;
        cr_assert_eq(pbft_pages_memory_open(&pages, disk), PBFT_STATUS_OK);
        pbft_pages_tune(pages, &tuning);
        pbft_pages_disk_crash_after(disk, 1 + cut);
        bool all = flush(pages, second, 2) == PBFT_STATUS_OK;
        pbft_pages_close(pages);
        if (all) {
            pbft_pages_disk_free(disk);
            break;
        }
        if (damaged)
            for (uint64_t n = 0; n < pbft_pages_disk_pages(disk); n++)
                pbft_pages_disk_rot(disk, n);
        cr_assert_eq(pbft_pages_memory_open(&pages, disk), PBFT_STATUS_OK);
        pbft_pages_tune(pages, &tuning);
        flush_ok(pages, first, 3);
        if (!damaged || cut > 0) holds(pages, first, &small_pages, 3);
        struct pbft_pages_stats stats;
        pbft_pages_stats(pages, &stats);
        if (cut > 0) cr_assert_eq(stats.renewed, damaged ? 1 : 0);
        pbft_pages_close(pages);
        pbft_pages_disk_free(disk);
    }
    cr_assert_gt(cut, 10);
    cr_assert_eq(commits, 1);
    pbft_tree_destroy(first);
    pbft_tree_destroy(second);
    fixture_free(&f);
}

Test(pages, sweep_cut_short_is_completed)
{
    check_sweep_cut(false);
}
Test(pages, sweep_cut_short_over_rot_writes_all)
{
    check_sweep_cut(true);
}

/* ---- a full disk (FAULTS 2.42) ---- */

Test(pages, full_disk_memory)
{
    struct fixture f = fixture_new(false);
    pbft_pages_tune(f.pages, &small_batches);
    for (uint32_t k = 1; k <= 12; k++) {
        struct pbft_tree *tree = state(k), *before = state(k - 1);
        pbft_pages_disk_fill(f.disk, true);
        cr_assert_eq(flush(f.pages, tree, k), PBFT_STATUS_FULL);
        cr_assert_eq(flush(f.pages, tree, k), PBFT_STATUS_FULL);
        if (k > 1) {
            holds(f.pages, before, &small_pages, k - 1);
            /* What is there already needs no room. */
            flush_ok(f.pages, before, k - 1);
        }
        pbft_pages_disk_fill(f.disk, false);
        flush_ok(f.pages, tree, k);
        holds(f.pages, tree, &small_pages, k);
        pbft_tree_destroy(tree);
        pbft_tree_destroy(before);
    }
    fixture_free(&f);
}

/* ---- rot (FAULTS 2.43) ---- */

Test(pages, every_rotten_page_is_found)
{
    struct fixture f = fixture_new(false);
    struct pbft_tree *tree = state(4), *other = state(8);
    flush_ok(f.pages, tree, 1);
    struct pbft_digest root = tree_root(tree), before = tree_root(other);
    uint64_t count = pbft_pages_disk_pages(f.disk);
    cr_assert_gt(count, 20);
    for (uint64_t n = 0; n < count; n++) {
        cr_assert(pbft_pages_disk_rot(f.disk, n));
        REQUIRE(n, pbft_pages_load(f.pages, other, &root) == PBFT_STATUS_CORRUPT);
        struct pbft_digest after = tree_root(other);
        REQUIRE(n, digest_same(&before, &after));
        cr_assert(pbft_pages_disk_rot(f.disk, n)); /* flips it back */
    }
    cr_assert_eq(pbft_pages_load(f.pages, other, &root), PBFT_STATUS_OK);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(other);
    fixture_free(&f);
}
