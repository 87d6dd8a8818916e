/* Fork choice, reorganisation, exactly-once, and what is refused (bench/chain/tree.h). */
#include "tests/unit/chain_fixture.h"

static struct chain_tree tree;

static void open_with(const struct chain_params *p, const struct chain_limits *limits)
{
    cr_assert(chain_tree_init(&tree, p, limits, NULL, 1));
}

static void open_tree(void)
{
    struct chain_params p = easy_params();
    open_with(&p, NULL);
}

static void close_tree(void)
{
    chain_tree_free(&tree);
}

TestSuite(chain_tree, .init = open_tree, .fini = close_tree);

static enum chain_verdict add(const struct bytes *block)
{
    return chain_tree_add(&tree, span_of(block), NOW_MS);
}

/* A block with so many operations, at a plausible time. */
static struct bytes on(const struct pbft_digest *parent, uint64_t miner, const struct bytes *ops,
                       uint32_t count)
{
    const struct chain_block *b = chain_tree_find(&tree, parent);
    cr_assert_not_null(b);
    return block_on(parent, b->header.time_ms + 1000, chain_tree_bits(&tree, b), miner, ops, count);
}

/* `count` empty blocks after `from`; returns the hash of the last. */
static struct pbft_digest extend(struct pbft_digest from, uint64_t miner, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct bytes block = on(&from, miner, NULL, 0);
        cr_assert_eq(add(&block), CHAIN_OK);
        from = hash_of(&block);
    }
    return from;
}

static bool tip_is(const struct pbft_digest *hash)
{
    return pbft_digest_equal(&tree.tip->link.key, hash);
}

Test(chain_tree, first_seen_wins_ties_and_more_work_wins)
{
    struct pbft_digest a = extend(tree.id, 1, 2), b = extend(tree.id, 2, 2);
    cr_expect(tip_is(&a), "a tie changes nothing");
    cr_expect_eq(tree.stats.reorganisations, 0);
    b = extend(b, 2, 1);
    cr_expect(tip_is(&b));
    cr_expect_eq(tree.stats.reorganisations, 1);
    cr_expect_eq(tree.stats.reorganised_deepest, 2);
    cr_expect_eq(tree.tip->height, 3);
}

Test(chain_tree, work_decides_and_not_length)
{
    /* Four blocks a period. Those of branch b take a quarter of the time, so that its second period
     * is four times as hard: its five blocks outweigh seven. */
    close_tree();
    struct chain_params p = easy_params();
    p.retarget_blocks = 4;
    open_with(&p, NULL);
    struct pbft_digest a = tree.id, b = tree.id;
    uint64_t time = p.genesis_ms;
    for (unsigned i = 1; i <= 7; i++) {
        const struct chain_block *parent = chain_tree_find(&tree, &a);
        struct bytes block =
            block_on(&a, time + i * 1000, chain_tree_bits(&tree, parent), 1, NULL, 0);
        cr_assert_eq(add(&block), CHAIN_OK);
        a = hash_of(&block);
    }
    cr_assert(tip_is(&a));
    for (unsigned i = 1; i <= 5; i++) {
        const struct chain_block *parent = chain_tree_find(&tree, &b);
        struct bytes block =
            block_on(&b, time + i * 100, chain_tree_bits(&tree, parent), 2, NULL, 0);
        cr_assert_eq(add(&block), CHAIN_OK);
        b = hash_of(&block);
        if (i < 5) cr_expect(tip_is(&a), "after %u", i);
    }
    /* a: 7 blocks of work 2. b: 3 of 2, then 2 of 8. */
    cr_expect(tip_is(&b));
    cr_expect_eq(tree.tip->height, 5);
}

Test(chain_tree, every_period_is_retargeted_and_no_other_block)
{
    close_tree();
    struct chain_params p = easy_params();
    p.retarget_blocks = 4;
    p.start_bits = 0x1f7fffff; /* 512 hashes */
    open_with(&p, NULL);
    struct pbft_digest at = tree.id;
    uint64_t time = p.genesis_ms;
    double targets[13] = {0};
    for (unsigned i = 1; i <= 12; i++) {
        const struct chain_block *parent = chain_tree_find(&tree, &at);
        uint32_t bits = chain_tree_bits(&tree, parent);
        struct chain_u256 target;
        cr_assert(chain_target(bits, &target));
        targets[i] = chain_u256_double(&target);
        /* On time; then at half of it. */
        time += i < 4 ? 1000 : 500;
        struct bytes block = block_on(&at, time, bits, 1, NULL, 0);
        cr_assert_eq(add(&block), CHAIN_OK, "block %u", i);
        at = hash_of(&block);
    }
    cr_expect_eq(targets[3], targets[1]);
    cr_expect_eq(targets[4], targets[3], "two intervals of the first period, on time");
    cr_expect_eq(targets[7], targets[4]);
    /* Blocks 4 to 7 against 3: four intervals of half the time. */
    cr_expect_lt(targets[8] / targets[7], 0.501);
    cr_expect_gt(targets[8] / targets[7], 0.499);
    cr_expect_lt(targets[12] / targets[11], 0.501);
}

Test(chain_tree, another_target_than_the_rule_gives_is_refused)
{
    struct bytes harder = block_on(&tree.id, tree.params.genesis_ms + 1000, 0x1f7fffff, 1, NULL, 0);
    cr_expect_eq(add(&harder), CHAIN_DROP_BITS, "work that the chain did not ask for");
    struct bytes block = on(&tree.id, 1, NULL, 0);
    pbft_put_u32(block.at + 4, 0x20ffffff);
    cr_expect_eq(add(&block), CHAIN_DROP_BITS);
    close_tree();
    struct chain_params p = easy_params();
    p.limit_bits = p.start_bits = 0x1f7fffff;
    open_with(&p, NULL);
    struct bytes easier = block_on(&tree.id, p.genesis_ms + 1000, EASY_BITS, 1, NULL, 0);
    cr_expect_eq(add(&easier), CHAIN_DROP_BITS);
}

Test(chain_tree, times_are_after_the_median_and_not_far_ahead)
{
    struct pbft_digest at = tree.id;
    uint64_t genesis = tree.params.genesis_ms;
    /* Sorted, the last eleven times are +10 .. +110 s. */
    static const unsigned order[] = {60, 10, 110, 30, 100, 20, 50, 90, 70, 40, 80};
    uint64_t least = 0;
    for (size_t i = 0; i < 11; i++) {
        const struct chain_block *parent = chain_tree_find(&tree, &at);
        uint64_t median = chain_tree_median_time(parent);
        uint64_t time = genesis + order[i] * UINT64_C(1000);
        if (time <= median) time = median + 1;
        struct bytes block = block_on(&at, time, EASY_BITS, 1, NULL, 0);
        cr_assert_eq(add(&block), CHAIN_OK);
        at = hash_of(&block);
        least = median;
    }
    cr_expect_gt(chain_tree_median_time(tree.tip), least);
    uint64_t median = chain_tree_median_time(tree.tip);
    cr_expect_lt(median, tree.params.genesis_ms + 110000, "below the latest");
    struct bytes late = block_on(&at, median, EASY_BITS, 1, NULL, 0);
    cr_expect_eq(add(&late), CHAIN_DROP_TIME);
    struct bytes ok = block_on(&at, median + 1, EASY_BITS, 1, NULL, 0);
    cr_expect_eq(add(&ok), CHAIN_OK, "earlier than its parent is allowed");
    struct bytes ahead = block_on(&at, NOW_MS + tree.params.future_ms + 1, EASY_BITS, 1, NULL, 0);
    cr_expect_eq(add(&ahead), CHAIN_DROP_TIME);
    struct bytes just = block_on(&at, NOW_MS + tree.params.future_ms, EASY_BITS, 1, NULL, 0);
    cr_expect_eq(add(&just), CHAIN_OK);
}

Test(chain_tree, a_reorganisation_undoes_and_redoes)
{
    struct bytes base[2] = {put(&tree.id, 1, 1, "x", "old"), put(&tree.id, 1, 2, "y", "kept")};
    struct bytes first = on(&tree.id, 1, base, 2);
    cr_assert_eq(add(&first), CHAIN_OK);
    struct pbft_digest fork = hash_of(&first), before, after;
    chain_state_digest(&tree.state, &before);

    struct bytes a_ops[2] = {put(&tree.id, 1, 3, "x", "a"), put(&tree.id, 1, 4, "new", "a")};
    struct bytes a = on(&fork, 1, a_ops, 2);
    cr_assert_eq(add(&a), CHAIN_OK);
    cr_expect(has(&tree, "x", "a") && has(&tree, "new", "a"));

    struct bytes b_op = put(&tree.id, 1, 3, "x", "b"); /* the same request number: a double spend */
    struct bytes b = on(&fork, 2, &b_op, 1);
    cr_assert_eq(add(&b), CHAIN_OK);
    cr_expect(has(&tree, "x", "a"));
    struct pbft_digest tip = extend(hash_of(&b), 2, 1);
    cr_expect(tip_is(&tip));
    cr_expect(has(&tree, "x", "b") && has(&tree, "new", NULL) && has(&tree, "y", "kept"));
    cr_expect_eq(tree.stats.operations_undone, 2);

    struct chain_operation op;
    cr_assert_eq(chain_operation_read(span_of(&b_op), &op), CHAIN_OK);
    cr_expect_eq(chain_tree_confirmations(&tree, &op), 2);
    cr_assert_eq(chain_operation_read(span_of(&a_ops[0]), &op), CHAIN_OK);
    cr_expect_eq(chain_tree_confirmations(&tree, &op), 0, "another one has its slot");
    cr_assert_eq(chain_operation_read(span_of(&a_ops[1]), &op), CHAIN_OK);
    cr_expect_eq(chain_tree_confirmations(&tree, &op), 0);

    /* Back to a, and what was undone is as if it had never been. */
    tip = extend(hash_of(&a), 1, 2);
    cr_expect(tip_is(&tip));
    cr_expect(has(&tree, "x", "a") && has(&tree, "new", "a") && has(&tree, "y", "kept"));
    tip = extend(fork, 3, 4);
    cr_expect(tip_is(&tip));
    chain_state_digest(&tree.state, &after);
    cr_expect(pbft_digest_equal(&before, &after));
}

Test(chain_tree, an_operation_happens_once_on_a_branch)
{
    struct bytes op = put(&tree.id, 1, 1, "x", "1"), again = put(&tree.id, 1, 1, "x", "2");
    struct bytes twice[2] = {op, op};
    struct bytes in_one = on(&tree.id, 1, twice, 2);
    cr_expect_eq(add(&in_one), CHAIN_DROP_REPLAY);
    struct bytes first = on(&tree.id, 1, &op, 1);
    cr_assert_eq(add(&first), CHAIN_OK);
    struct pbft_digest tip = hash_of(&first);
    struct bytes same = on(&tip, 1, &op, 1), other = on(&tip, 1, &again, 1);
    cr_expect_eq(add(&same), CHAIN_DROP_REPLAY);
    cr_expect_eq(add(&other), CHAIN_DROP_REPLAY);
    cr_expect(tip_is(&tip) && has(&tree, "x", "1"));
    struct pbft_digest bad = hash_of(&other);
    struct bytes child = on(&bad, 1, NULL, 0);
    cr_expect_eq(add(&child), CHAIN_DROP_PARENT);
    /* On another branch it is as good as new. */
    struct bytes side = on(&tree.id, 2, &again, 1);
    cr_assert_eq(add(&side), CHAIN_OK);
    tip = extend(hash_of(&side), 2, 1);
    cr_expect(tip_is(&tip) && has(&tree, "x", "2"));
}

Test(chain_tree, a_branch_that_fails_gives_the_old_one_back)
{
    struct bytes op = put(&tree.id, 1, 1, "x", "1"), good = put(&tree.id, 1, 2, "y", "side");
    struct bytes a = on(&tree.id, 1, &op, 1);
    cr_assert_eq(add(&a), CHAIN_OK);
    struct pbft_digest best = extend(hash_of(&a), 1, 1);
    struct bytes b = on(&tree.id, 2, &good, 1);
    cr_assert_eq(add(&b), CHAIN_OK);
    /* Beside the best chain, nobody has looked at its state yet. */
    struct pbft_digest side = hash_of(&b);
    struct bytes replay = on(&side, 2, &good, 1);
    cr_assert_eq(add(&replay), CHAIN_OK);
    side = hash_of(&replay);
    struct bytes third = on(&side, 2, NULL, 0);
    cr_expect_eq(add(&third), CHAIN_DROP_REPLAY);
    cr_expect(tip_is(&best));
    cr_expect(has(&tree, "x", "1") && has(&tree, "y", NULL));
    cr_expect(chain_tree_find(&tree, &side)->invalid);
}

Test(chain_tree, whatever_is_changed_in_a_block_is_noticed)
{
    struct bytes ops[2] = {put(&tree.id, 1, 1, "x", "1"), put(&tree.id, 1, 2, "y", "2")};
    struct bytes block = on(&tree.id, 1, ops, 2);
    for (size_t i = 0; i < block.size; i++) {
        for (unsigned bit = 0; bit < 8; bit += 7) {
            struct bytes changed = block;
            changed.at[i] ^= (uint8_t)(1u << bit);
            /* What others can do: work is cheap here, keys are not theirs. */
            struct chain_header h;
            chain_header_decode(&h, changed.at);
            if (h.bits == EASY_BITS) rework(&changed);
            enum chain_verdict verdict = add(&changed);
            bool free = (i >= 72 && i < CHAIN_HEADER_BYTES); /* time, miner and nonce are his */
            if (free)
                cr_expect(verdict == CHAIN_OK || verdict == CHAIN_DROP_TIME ||
                              verdict == CHAIN_DROP_DUPLICATE,
                          "byte %zu: %s", i, chain_verdict_text(verdict));
            else
                cr_expect(verdict != CHAIN_OK && verdict != CHAIN_DROP_DUPLICATE, "byte %zu: %s", i,
                          chain_verdict_text(verdict));
        }
    }
}

Test(chain_tree, each_fault_has_its_verdict)
{
    struct bytes ops[2] = {put(&tree.id, 1, 1, "x", "1"), put(&tree.id, 1, 2, "y", "2")};
    struct bytes good = on(&tree.id, 1, ops, 2), bad = good;
    do
        bad.at[CHAIN_HEADER_BYTES - 1]++; /* until the nonce does not work */
    while (chain_header_works(&(struct pbft_digest){{0}}, 0) ||
           chain_header_works((struct pbft_digest[]){hash_of(&bad)}, EASY_BITS));
    cr_expect_eq(add(&bad), CHAIN_DROP_WORK);
    bad = good;
    bad.at[0] = 2;
    rework(&bad);
    cr_expect_eq(add(&bad), CHAIN_DROP_VERSION);
    bad = good;
    bad.at[40] ^= 1;
    rework(&bad);
    cr_expect_eq(add(&bad), CHAIN_DROP_MERKLE);
    bad = good;
    bad.at[8] ^= 1;
    rework(&bad);
    cr_expect_eq(add(&bad), CHAIN_DROP_ORPHAN);
    /* An operation of another hand, with a root that fits. */
    struct bytes forged[2] = {ops[0], ops[1]};
    forged[1].at[forged[1].size - 64] ^= 1;
    bad = on(&tree.id, 1, forged, 2);
    cr_expect_eq(add(&bad), CHAIN_DROP_SIGNATURE);
    forged[1].at[0] = PBFT_PREPARE;
    bad = on(&tree.id, 1, forged, 2);
    cr_expect_eq(add(&bad), CHAIN_DROP_OPERATION);
    struct bytes large = {.size = sizeof large.at};
    memcpy(large.at, good.at, good.size);
    tree.params.block_max_bytes = 4095;
    cr_expect_eq(add(&large), CHAIN_DROP_SIZE);
    cr_expect_eq(add(&good), CHAIN_OK);
    cr_expect_eq(add(&good), CHAIN_DROP_DUPLICATE);
}

Test(chain_tree, orphans_wait_for_their_parents_and_are_bounded)
{
    struct bytes blocks[20];
    struct pbft_digest at = tree.id;
    for (unsigned i = 0; i < 20; i++) {
        blocks[i] = block_on(&at, tree.params.genesis_ms + 1000 * (i + 1), EASY_BITS, 1, NULL, 0);
        at = hash_of(&blocks[i]);
    }
    for (unsigned i = 19; i > 0; i--)
        cr_expect_eq(add(&blocks[i]), CHAIN_DROP_ORPHAN);
    cr_expect_eq(add(&blocks[7]), CHAIN_DROP_DUPLICATE);
    cr_expect_eq(tree.orphan_count, 19);
    cr_expect_eq(add(&blocks[0]), CHAIN_OK);
    cr_expect_eq(tree.orphan_count, 0);
    cr_expect_eq(tree.orphan_bytes, 0);
    cr_expect(tip_is(&at));
    for (uint64_t i = 0; i < 200; i++) {
        struct pbft_digest nowhere = {{1, (uint8_t)i}};
        struct bytes b = block_on(&nowhere, NOW_MS, EASY_BITS, i, NULL, 0);
        cr_expect_eq(add(&b), CHAIN_DROP_ORPHAN);
    }
    cr_expect_eq(tree.orphan_count, tree.limits.orphans);
}

Test(chain_tree, side_branches_are_bounded_and_the_weakest_goes)
{
    close_tree();
    struct chain_params p = easy_params();
    struct chain_limits limits = {.side_blocks = 8, .fork_depth = 12};
    open_with(&p, &limits);
    extend(tree.id, 1, 10);
    struct pbft_digest strong = chain_tree_at(&tree, 5)->link.key;
    strong = extend(strong, 2, 4);
    struct pbft_digest fork = chain_tree_at(&tree, 1)->link.key;
    for (uint64_t i = 0; i < 50; i++) {
        struct bytes b = on(&fork, 100 + i, NULL, 0);
        cr_assert_eq(add(&b), CHAIN_OK);
    }
    cr_expect_leq(tree.side_blocks, 8);
    cr_expect_eq(tree.blocks.count, 1 + 10 + tree.side_blocks);
    cr_expect_not_null(chain_tree_find(&tree, &strong), "the strongest stays");
    struct pbft_digest tip = extend(strong, 2, 2);
    cr_expect(tip_is(&tip));
    extend(tip, 2, 4);
    struct bytes deep = block_on(&tree.id, p.genesis_ms + 5, EASY_BITS, 9, NULL, 0);
    cr_expect_eq(add(&deep), CHAIN_DROP_DEEP);
}

Test(chain_tree, a_full_tree_says_so)
{
    close_tree();
    struct chain_params p = easy_params();
    struct chain_limits limits = {.blocks = 4};
    open_with(&p, &limits);
    struct pbft_digest tip = extend(tree.id, 1, 3);
    struct bytes more = on(&tip, 1, NULL, 0);
    cr_expect_eq(add(&more), CHAIN_DROP_FULL);
}
