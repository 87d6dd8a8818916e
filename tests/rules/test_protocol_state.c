/* PROTOCOL 6-9, 24, 30: sessions, exactly once, bounds, the state under the root, its pages. */
#include "store/page.h"
#include "tests/rules/harness.h"
#include "tests/unit/apply_fixture.h"
#include "tests/unit/store_pages.h"

static struct fixture f;

static void state_open(void)
{
    struct pbft_params params = fixture_params(); /* W = 4, 3 sessions a key, 7 in all */
    fixture_open(&f, &params, &probe_service);
}

static void state_close(void)
{
    fixture_close(&f);
}

#define StateTest(name) Test(protocol, name, .init = state_open, .fini = state_close)

static uint8_t outcome(uint32_t client, uint64_t session, uint64_t t)
{
    return fixture_outcome(&f, fixture_count(client, session, t));
}

/* PROTOCOL 6: an unknown session opens only above every number that its key ever opened. Else: an
 * old signed request recreates a retired session and executes twice. */
StateTest(r6_an_old_session_number_never_opens_again)
{
    cr_assert_eq(outcome(0, 5, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(0, 8, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(0, 7, 1), PBFT_OUTCOME_EXPIRED, "between two that were opened");
    cr_assert_eq(outcome(1, 7, 1), PBFT_OUTCOME_EXECUTED, "numbers are the key's own");
    f.now_ns += FIXTURE_IDLE_NS;
    fixture_execute(&f, NULL, 0);
    struct pbft_digest retired = fixture_root(&f);
    uint64_t entries = fixture_entries(&f);
    for (uint64_t session = 5; session <= 8; session++)
        cr_assert_eq(outcome(0, session, 1), PBFT_OUTCOME_EXPIRED, "session %lu", session);
    cr_assert_eq(fixture_entries(&f), entries, "nothing was created");
    struct pbft_digest now = fixture_root(&f);
    cr_assert_not(pbft_digest_equal(&retired, &now), "n is under the root");
    cr_assert_eq(outcome(0, 9, 1), PBFT_OUTCOME_EXECUTED);
}

/* PROTOCOL 7: executed answers its record, CONFLICT for another digest; unexecuted inside the
 * window executes, in whatever order; t <= maxT - W is STALE. */
StateTest(r7_each_number_executes_once_inside_its_window)
{
    cr_assert_eq(outcome(0, 1, 6), PBFT_OUTCOME_EXECUTED);
    static const uint64_t late[] = {4, 3, 5};
    for (unsigned i = 0; i < 3; i++) {
        struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, late[i]));
        cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED, "t = %lu", late[i]);
        cr_assert_eq(fixture_number(&r), 1u);
    }
    cr_assert_eq(outcome(0, 1, 2), PBFT_OUTCOME_STALE, "maxT - W = 2, included");
    for (uint64_t t = 3; t <= 6; t++) {
        struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, t));
        cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
        cr_assert_eq(fixture_number(&r), 1u, "the record, not a second run");
        cr_assert_eq(fixture_outcome(&f, fixture_other(0, 1, t)), PBFT_OUTCOME_CONFLICT);
    }
    cr_assert_eq(outcome(0, 1, 7), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(0, 1, 3), PBFT_OUTCOME_STALE, "executed or not, it is behind now");
}

/* PROTOCOL 7: deduplication happens at execution, so also within one batch; lookup changes nothing.
 */
StateTest(r7_deduplication_happens_at_execution)
{
    struct pbft_request batch[3] = {fixture_count(0, 1, 1), fixture_other(0, 1, 1),
                                    fixture_count(0, 1, 1)};
    struct pbft_applied out;
    cr_assert_eq(pbft_apply_lookup(f.apply, 0, 1, 1, &batch[0].digest, &out), PBFT_LOOKUP_NEW);
    cr_assert_eq(pbft_apply_lookup(f.apply, 0, 1, 1, &batch[1].digest, &out), PBFT_LOOKUP_NEW);
    fixture_execute(&f, batch, 3);
    struct pbft_reply first = fixture_reply(&f, &f.done.applied[0]);
    cr_assert_eq(fixture_number(&first), 1u);
    cr_assert_eq(fixture_reply(&f, &f.done.applied[1]).outcome, PBFT_OUTCOME_CONFLICT);
    struct pbft_reply third = fixture_reply(&f, &f.done.applied[2]);
    cr_assert_eq(fixture_number(&third), 1u);
}

/* PROTOCOL 8: sessions are bounded by key and in all; only idle ones go, at execution; else opening
 * is refused. */
StateTest(r8_sessions_are_bounded_and_only_idle_ones_retire)
{
    for (uint64_t s = 1; s <= 3; s++)
        cr_assert_eq(outcome(0, s, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(0, 4, 1), PBFT_OUTCOME_LIMIT, "three of one key");
    for (uint32_t client = 1; client <= 2; client++)
        for (uint64_t s = 1; s <= 2; s++)
            cr_assert_eq(outcome(client, s, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(3, 1, 1), PBFT_OUTCOME_LIMIT, "seven in all");
    f.now_ns += FIXTURE_IDLE_NS - 1;
    cr_assert_eq(outcome(3, 1, 1), PBFT_OUTCOME_LIMIT, "none has been idle long enough");
    cr_assert_eq(outcome(0, 2, 2), PBFT_OUTCOME_EXECUTED, "this one was heard of again");
    f.now_ns += 1;
    cr_assert_eq(outcome(3, 1, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(outcome(0, 2, 3), PBFT_OUTCOME_EXECUTED, "active sessions stay");
    cr_assert_eq(outcome(0, 1, 2), PBFT_OUTCOME_EXPIRED);
}

/* PROTOCOL 8: the records live under the root: two histories that differ in a reply alone differ.
 */
StateTest(r8_reply_records_are_under_the_root)
{
    struct fixture g;
    struct pbft_params params = fixture_params();
    fixture_open(&g, &params, &probe_service);
    fixture_outcome(&f, fixture_count(0, 1, 1));
    fixture_outcome(&g, fixture_other(0, 1, 1)); /* the same effect, another digest and result */
    struct pbft_digest a = fixture_root(&f), b = fixture_root(&g);
    cr_assert_not(pbft_digest_equal(&a, &b));
    fixture_close(&g);
}

/* PROTOCOL 9: what a bundle may hold and answer is bounded at execution, the same everywhere. */
StateTest(r9_bundles_and_results_are_bounded_at_execution)
{
    uint8_t items[17 * 9];
    size_t size = 0;
    for (unsigned i = 0; i < 17; i++)
        size += fixture_blob(items + size, 8);
    struct pbft_request r = fixture_request(0, 1, 1, (struct pbft_span){items, size}, 17);
    struct pbft_reply reply = fixture_one(&f, r);
    cr_assert_eq(reply.outcome, PBFT_OUTCOME_INVALID, "16 operations are the most");
    cr_assert_eq(pbft_get_u32(reply.body.data), 0u);

    size = fixture_blob(items, 8);
    size += fixture_blob(items + size, 1u << 20);
    size += fixture_blob(items + size, 8);
    r = fixture_request(0, 1, 2, (struct pbft_span){items, size}, 3);
    reply = fixture_one(&f, r);
    cr_assert_eq(reply.outcome, PBFT_OUTCOME_INVALID, "reply_max_bytes is 2048");
    cr_assert_eq(pbft_get_u32(reply.body.data), 1u, "the results before it stand");
    cr_assert_leq(reply.body.size, 2048u);
    cr_assert_eq(fixture_one(&f, r).outcome, PBFT_OUTCOME_INVALID, "recorded like any other");
}

/* PROTOCOL 11: effective time = max(agreed, previous effective). */
StateTest(r11_effective_time_never_goes_back)
{
    cr_assert_eq(outcome(0, 1, 1), PBFT_OUTCOME_EXECUTED);
    uint64_t highest = f.now_ns;
    f.now_ns -= 5 * FIXTURE_SECOND;
    cr_assert_eq(outcome(0, 1, 2), PBFT_OUTCOME_EXECUTED, "an earlier time is no reason to refuse");
    cr_assert_eq(f.done.effective_ns, highest);
    f.now_ns = highest + 1;
    cr_assert_eq(outcome(0, 1, 3), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(f.done.effective_ns, highest + 1);
}

/* PROTOCOL 12: a due session expiry asks for a batch. */
StateTest(r12_expiry_of_a_session_is_a_timed_effect)
{
    cr_assert_eq(outcome(0, 1, 1), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(f.done.next_due_ns, f.now_ns + FIXTURE_IDLE_NS);
    f.now_ns = f.done.next_due_ns;
    fixture_execute(&f, NULL, 0);
    cr_assert_eq(f.done.next_due_ns, 0u, "an empty timed batch was enough");
    cr_assert_eq(outcome(0, 1, 2), PBFT_OUTCOME_EXPIRED);
}

/* PROTOCOL 24: user keys, sessions and replies, effective time and n, all under the root. */
StateTest(r24_the_root_covers_everything_that_a_later_reply_depends_on)
{
    struct fixture g;
    struct pbft_params params = fixture_params();
    fixture_open(&g, &params, &probe_service);
    struct pbft_digest a = fixture_root(&f), b = fixture_root(&g);
    cr_assert(pbft_digest_equal(&a, &b));
    fixture_drop_replies(&f);
    pbft_apply_execute(f.apply, 1, NULL, &f.done); /* n alone */
    a = fixture_root(&f);
    cr_assert_not(pbft_digest_equal(&a, &b), "n is outside the root");
    pbft_apply_execute(g.apply, 1, NULL, &g.done);
    g.now_ns = f.now_ns + 1;
    fixture_execute(&f, NULL, 0); /* the effective time alone */
    fixture_execute(&g, NULL, 0);
    a = fixture_root(&f);
    b = fixture_root(&g);
    cr_assert_not(pbft_digest_equal(&a, &b), "the effective time is outside the root");
    /* Whoever installs that root learns both from it. */
    pbft_seq seq;
    uint64_t effective, due;
    cr_assert_eq(pbft_apply_reload(g.apply, &seq, &effective, &due), PBFT_STATUS_OK);
    cr_assert_eq(seq, 2u);
    cr_assert_eq(effective, g.now_ns);
    fixture_close(&g);
}

/* PROTOCOL 30: a null batch changes n only. */
StateTest(r30_a_null_batch_changes_n_only)
{
    outcome(0, 1, 1);
    uint64_t due = f.done.next_due_ns, time = f.done.effective_ns, entries = fixture_entries(&f);
    fixture_drop_replies(&f);
    pbft_apply_execute(f.apply, 2, NULL, &f.done);
    cr_assert_eq(f.done.seq, 2u);
    cr_assert_eq(f.done.effective_ns, time);
    cr_assert_eq(f.done.next_due_ns, due);
    cr_assert_eq(fixture_entries(&f), entries);
    struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, 1));
    cr_assert_eq(fixture_number(&r), 1u);
}

static const struct pbft_tree_config small = {256, 256};

static struct pbft_tree *small_tree(void)
{
    struct pbft_tree *tree = NULL;
    cr_assert_eq(pbft_tree_create(&tree, &small), PBFT_STATUS_OK);
    return tree;
}

static void put(struct pbft_tree *tree, uint32_t key, uint32_t value, uint64_t mark)
{
    uint8_t k[4] = {(uint8_t)(key >> 24), (uint8_t)(key >> 16), (uint8_t)(key >> 8), (uint8_t)key};
    uint8_t v[32];
    memset(v, (int)value, sizeof v);
    REQUIRE(mark, pbft_tree_put(tree, (struct pbft_span){k, 4}, (struct pbft_span){v, sizeof v},
                                mark) == PBFT_STATUS_OK);
}

static void drop(struct pbft_tree *tree, uint32_t key, uint64_t mark)
{
    uint8_t k[4] = {(uint8_t)(key >> 24), (uint8_t)(key >> 16), (uint8_t)(key >> 8), (uint8_t)key};
    pbft_tree_delete(tree, (struct pbft_span){k, 4}, mark);
}

static struct pbft_digest root_of(struct pbft_tree *tree)
{
    struct pbft_digest root;
    struct pbft_snapshot *s = pbft_tree_snapshot(tree);
    cr_assert_not_null(s);
    pbft_snapshot_root(s, &root);
    pbft_snapshot_release(s);
    return root;
}

/* PROTOCOL 30: splits and merges depend on contents, never on dirty, shared or hashed status. Two
 * trees see one history; one of them is snapshot and hashed all the time, and rolled back. */
Test(protocol, r30_hashing_and_sharing_never_show_in_the_shape)
{
    struct pbft_tree *plain = small_tree(), *busy = small_tree();
    struct pbft_snapshot *held[4] = {NULL};
    struct rng rng = {30};
    for (uint64_t i = 1; i <= 3000; i++) {
        if (i % 7 == 0) {
            struct pbft_snapshot *before = pbft_tree_snapshot(busy);
            put(busy, rng_below(&(struct rng){i}, 400), 9, i);
            root_of(busy);
            pbft_tree_rollback(busy, before);
            pbft_snapshot_release(before);
        }
        uint32_t key = rng_below(&rng, 400), value = rng_below(&rng, 256);
        if (rng_below(&rng, 100) < 40) {
            drop(plain, key, i);
            drop(busy, key, i);
        } else {
            put(plain, key, value, i);
            put(busy, key, value, i);
        }
        if (i % 3 != 0) continue;
        pbft_snapshot_release(held[i % 4]);
        held[i % 4] = pbft_tree_snapshot(busy);
        pbft_snapshot_hash(held[i % 4], i % 5);
    }
    struct pbft_digest a = root_of(plain), b = root_of(busy);
    cr_assert(pbft_digest_equal(&a, &b));
    for (unsigned i = 0; i < 4; i++)
        pbft_snapshot_release(held[i]);
    pbft_tree_destroy(plain);
    pbft_tree_destroy(busy);
}

/* Fetch `root` into `target` from `source`'s pages; pages that the target has are not asked for. */
static size_t transfer(struct pbft_tree *target, struct pbft_tree *source,
                       const struct pbft_digest *root, uint64_t *damaged)
{
    static uint8_t page[PBFT_PAGE_BYTES_MAX];
    static const struct pbft_install_limits roomy = {UINT64_MAX, UINT64_MAX};
    struct pbft_install *in = NULL;
    struct pbft_digest wanted[32];
    size_t sent = 0;
    cr_assert_eq(pbft_install_begin(&in, target, root, &roomy), PBFT_STATUS_OK);
    while (!pbft_install_done(in)) {
        size_t count = pbft_install_wanted(in, wanted, 32), size;
        for (size_t i = 0; i < count; i++, sent++) {
            cr_assert_eq(pbft_tree_page(source, &wanted[i], page, sizeof page, &size),
                         PBFT_STATUS_OK);
            cr_assert_eq(pbft_install_page(in, &wanted[i], (struct pbft_span){page, size}),
                         PBFT_OK);
        }
        cr_assert_lt(sent, 10000u);
    }
    struct pbft_install_progress progress;
    pbft_install_progress(in, &progress);
    *damaged = progress.pages_damaged;
    cr_assert_eq(pbft_install_finish(in), PBFT_STATUS_OK);
    return sent;
}

/* PROTOCOL 30: restoring installs the pages (re-inserting the keys would give another shape), and a
 * local page is hashed again before it is reused. */
Test(protocol, r30_restoring_installs_pages_and_rehashes_local_ones)
{
    struct pbft_tree *source = small_tree(), *target = small_tree();
    for (uint32_t i = 1; i <= 500; i++) {
        put(source, i * 7919u % 500u, i, i);
        put(target, i * 7919u % 500u, i, i);
    }
    for (uint32_t i = 0; i < 500; i += 2) /* half-empty pages, which nobody would rebuild so */
        if (i % 3 != 0) drop(source, i, 501);
    root_of(target);
    struct pbft_digest root = root_of(source);
    struct page_list before = page_list_of(source, &small);
    unsigned spoiled = 0;
    for (size_t i = 0; i < before.count && spoiled == 0; i++) {
        struct pbft_page *page = pbft_space_find(target->space, &before.pages[i].digest);
        if (page == NULL) continue;
        if (page->level == 0) {
            page->data[page->length - 1] ^= 1;
            spoiled++;
        }
        pbft_page_unref(target->space, page);
    }
    uint64_t damaged;
    transfer(target, source, &root, &damaged);
    cr_assert_eq(damaged, spoiled, "a page in our own memory was trusted");
    struct page_list after = page_list_of(target, &small);
    cr_assert_eq(after.count, before.count);
    for (size_t i = 0; i < after.count; i++)
        cr_assert(pbft_digest_equal(&after.pages[i].digest, &before.pages[i].digest));
    page_list_free(&before);
    page_list_free(&after);
    pbft_tree_destroy(source);
    pbft_tree_destroy(target);
}

/* PROTOCOL 30: canonical bytes; index and length stand inside; one flipped byte is another page. */
Test(protocol, r30_pages_are_canonical_and_bound_to_their_hash)
{
    struct pbft_tree *source = small_tree();
    for (uint32_t i = 0; i < 200; i++)
        put(source, i, i, i + 1);
    struct page_list pages = page_list_of(source, &small);
    struct pbft_digest digest;
    uint8_t copy[1024];
    for (size_t i = 0; i < 2; i++) { /* an inner page and a leaf */
        const struct page_copy *page = &pages.pages[i == 0 ? 0 : pages.count - 1];
        cr_assert_leq(page->size + 1, sizeof copy);
        memcpy(copy, page->data, page->size);
        copy[page->size] = 0;
        cr_assert_neq(pbft_page_check(&small, (struct pbft_span){copy, page->size + 1}), PBFT_OK);
        cr_assert_neq(pbft_page_check(&small, (struct pbft_span){copy, page->size - 1}), PBFT_OK);
        for (size_t at = 0; at < page->size; at++) {
            copy[at] ^= 1;
            bool same = pbft_page_digest((struct pbft_span){copy, page->size}, &digest) &&
                        pbft_digest_equal(&digest, &page->digest);
            cr_assert_not(same, "byte %zu is outside the hash", at);
            copy[at] ^= 1;
        }
        cr_assert(pbft_page_digest((struct pbft_span){copy, page->size}, &digest));
        cr_assert(pbft_digest_equal(&digest, &page->digest));
    }
    page_list_free(&pages);
    pbft_tree_destroy(source);
}

/* PROTOCOL 30: pages go by reachability, never by "this version died": an equal page may have been
 * made again meanwhile. */
Test(protocol, r30_a_recreated_page_outlives_its_twin)
{
    struct pbft_tree *tree = small_tree();
    uint8_t page[1024];
    size_t size;
    put(tree, 1, 1, 1);
    struct pbft_snapshot *first = pbft_tree_snapshot(tree);
    struct pbft_digest root, again;
    pbft_snapshot_root(first, &root);
    put(tree, 1, 2, 1);
    put(tree, 1, 1, 1);
    struct pbft_snapshot *second = pbft_tree_snapshot(tree);
    pbft_snapshot_root(second, &again);
    cr_assert(pbft_digest_equal(&root, &again));
    pbft_snapshot_release(first);
    cr_assert_eq(pbft_tree_page(tree, &root, page, sizeof page, &size), PBFT_STATUS_OK);
    put(tree, 1, 2, 2);
    cr_assert_eq(pbft_tree_page(tree, &root, page, sizeof page, &size), PBFT_STATUS_OK,
                 "the second snapshot still reaches it");
    pbft_snapshot_release(second);
    pbft_tree_destroy(tree);
}
