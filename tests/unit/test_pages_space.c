/* store/pages: how much disk a checkpoint takes while keys are overwritten at random. The sizes are
 * such that what LMDB copies of its index is much of the file. */
#include "pages_fixture.h"

struct overwriting {
    uint32_t keys;
    size_t value;
    uint32_t interval; /* keys between flushes */
    uint32_t slack;    /* pages out of reach that are left, beside an eighth */
};

static void overwrite(struct pbft_tree *tree, uint32_t id, size_t size, struct rng *rng)
{
    uint8_t key[8] = {'k', 'e', 'y'}, value[1500];
    struct rng spread = {id};
    uint32_t place = (uint32_t)rng_next(&spread);
    memcpy(key + 4, &place, sizeof place);
    uint64_t fresh = rng_next(rng);
    memset(value, (int)id, size);
    memcpy(value, &fresh, sizeof fresh);
    tree_put(tree, (struct pbft_span){key, sizeof key}, (struct pbft_span){value, size}, 1);
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
    const struct overwriting how = {2000, 1000, 60, UINT32_MAX};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_leq(stats.renewed, 10u);
}

/* And a sweep, which takes pages out of nearly all of them, many more: to write everything anew
 * instead is cheaper than to do so after it. */
Test(pages_space, the_leaves_that_a_sweep_copies_are_foreseen)
{
    const struct overwriting how = {1400, 1500, 13, 33};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_leq(stats.renewed, 4u);
    cr_assert_eq(stats.swept, 0u);
}

/* Where nearly all pages of the tree have some of LMDB's to themselves there are few leaves, and
 * nothing is written anew for them. */
Test(pages_space, what_copies_few_leaves_is_swept_in_place)
{
    const struct overwriting how = {1500, 1330, 14, 33};
    struct pbft_pages_stats stats;
    cr_assert_leq(most_on_disk(&how, &stats), 195u);
    cr_assert_gt(stats.swept, 100u);
    cr_assert_eq(stats.renewed, 0u);
}
