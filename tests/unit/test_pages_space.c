/* store/pages: how much disk a checkpoint takes while keys are overwritten at random. The sizes are
 * such that what LMDB copies of its index is much of the file. */
#include "pages_fixture.h"

struct overwriting {
    uint32_t keys;
    size_t value;
    uint32_t interval; /* keys between flushes */
    uint32_t slack;    /* pages out of reach that are left, beside an eighth */
    uint32_t batch;    /* pages that a transaction of a sweep takes; 0: as usual */
};

#define KEY_BYTES 8u

/* Keys that follow each other are apart. */
static struct pbft_span key_of(uint32_t id, uint8_t out[KEY_BYTES])
{
    struct rng spread = {id};
    uint32_t place = (uint32_t)rng_next(&spread);
    memcpy(out, "key", 4);
    memcpy(out + 4, &place, sizeof place);
    return (struct pbft_span){out, KEY_BYTES};
}

static void overwrite(struct pbft_tree *tree, uint32_t id, size_t size, struct rng *rng)
{
    uint8_t key[KEY_BYTES], value[3000];
    uint64_t fresh = rng_next(rng);
    memset(value, (int)id, size);
    memcpy(value, &fresh, sizeof fresh);
    tree_put(tree, key_of(id, key), (struct pbft_span){value, size}, 1);
}

static void erase(struct pbft_tree *tree, uint32_t id)
{
    uint8_t key[KEY_BYTES];
    REQUIRE(id, pbft_tree_delete(tree, key_of(id, key), 1));
}

static uint64_t live_bytes(struct pbft_tree *tree)
{
    struct page_list list = page_list_of(tree, &default_pages);
    uint64_t bytes = page_list_bytes(&list);
    page_list_free(&list);
    return bytes;
}

/* The most on disk after a flush, in percent of the pages of its checkpoint. */
static uint64_t most_on_disk(const struct overwriting *how, struct pbft_pages_stats *stats)
{
    struct fixture f = fixture_new(true);
    struct pbft_pages_tuning tuning = pbft_pages_tuning_default();
    tuning.sweep_slack = how->slack;
    tuning.renew_slack = 0;
    if (how->batch > 0) tuning.sweep_batch = how->batch;
    pbft_pages_tune(f.pages, &tuning);
    struct pbft_tree *tree = tree_new(NULL);
    struct rng rng = {1};
    for (uint32_t id = 0; id < how->keys; id++)
        overwrite(tree, id, how->value, &rng);
    uint64_t most = 0;
    for (pbft_seq seq = 1; seq <= 30; seq++) {
        flush_ok(f.pages, tree, seq);
        pbft_pages_stats(f.pages, stats);
        uint64_t percent = stats->bytes * 100 / live_bytes(tree);
        if (percent > most) most = percent;
        for (uint32_t i = 0; i < how->interval; i++)
            overwrite(tree, rng_below(&rng, how->keys), how->value, &rng);
    }
    pbft_tree_destroy(tree);
    fixture_free(&f);
    return most;
}

/* Nearly all pages are in leaves of the index, and a flush copies many of those. */
Test(pages_space, the_leaves_that_a_flush_copies_are_foreseen)
{
    const struct overwriting how = {2000, 1000, 120, UINT32_MAX, 0};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_leq(stats.renewed, 15u);
}

/* And a sweep, which takes pages out of nearly all of them, many more: to write everything anew
 * instead is cheaper than to do so after it. */
Test(pages_space, the_leaves_that_a_sweep_copies_are_foreseen)
{
    const struct overwriting how = {1400, 1500, 13, 33, 0};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_leq(stats.renewed, 4u);
    cr_assert_eq(stats.swept, 0u);
}

/* Where nearly all pages of the tree have some of LMDB's to themselves there are few leaves, and
 * nothing is written anew for them. */
Test(pages_space, what_copies_few_leaves_is_swept_in_place)
{
    const struct overwriting how = {700, 3000, 7, 33, 0};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_gt(stats.swept, 100u);
    cr_assert_eq(stats.renewed, 1u, "after the first flush");
}

/* A page that two of LMDB's would just not hold, and one of them for each would be twice its bytes:
 * in quarters, also where much comes at once. */
Test(pages_space, pages_of_half_a_page_of_lmdbs_stay_within_twice)
{
    static const struct overwriting how[] = {{1000, 2010, 30, 33, 0},  {1000, 2040, 30, 33, 0},
                                             {1000, 2060, 300, 33, 0}, {2000, 2060, 500, 33, 0},
                                             {2000, 2060, 170, 33, 0}, {2000, 2300, 500, 256, 0},
                                             {1000, 2060, 5, 256, 0}};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct pbft_pages_stats stats;
        uint64_t most = most_on_disk(&how[i], &stats);
        REQUIRE(i, most <= 198);
    }
}

/* What one transaction of a sweep has copied is room for the next but one: the less each takes, the
 * less there is at once, and the less often a sweep is not worth it. */
Test(pages_space, transactions_of_a_sweep_make_room_for_each_other)
{
    const struct overwriting one = {1400, 1500, 13, 33, 4096}, many = {1400, 1500, 13, 33, 8};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&one, &stats), 198u);
    cr_assert_eq(stats.swept, 0u);
    cr_assert_leq(most_on_disk(&many, &stats), 198u);
    cr_assert_gt(stats.swept, 100u);
}

/* Of a large state a few pages are left, and each flush changes all of them: the file is not kept
 * as long as it was. */
Test(pages_space, little_that_is_left_of_a_large_state_takes_little)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = tree_new(NULL);
    struct rng rng = {1};
    struct pbft_pages_stats stats;
    const uint32_t many = 5000, few = 5;
    for (uint32_t id = 0; id < many; id++)
        overwrite(tree, id, 1000, &rng);
    flush_ok(f.pages, tree, 1);
    pbft_pages_stats(f.pages, &stats);
    cr_assert_gt(stats.bytes, 4 * MIB);
    for (uint32_t id = few; id < many; id++)
        erase(tree, id);
    for (pbft_seq seq = 2; seq <= 5; seq++) {
        for (uint32_t id = 0; id < few; id++)
            overwrite(tree, id, 1000, &rng);
        flush_ok(f.pages, tree, seq);
        pbft_pages_stats(f.pages, &stats);
        REQUIRE(seq, stats.bytes < MIB);
    }
    pbft_tree_destroy(tree);
    fixture_free(&f);
}
