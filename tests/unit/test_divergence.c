/* store/diff and replica/divergence: two states compared, the report of it, and its file. */
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "replica/divergence.h"
#include "store/page.h"
#include "tests/sim/vdisk.h"
#include "tests/unit/store_pages.h"
#include "tests/unit/store_pages.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct pbft_tree_config small = {256, 256};

static struct pbft_tree *tree(const struct pbft_tree_config *config)
{
    struct pbft_tree *t;
    cr_assert_eq(pbft_tree_create(&t, config), PBFT_STATUS_OK);
    return t;
}

static void put(struct pbft_tree *t, uint32_t key, const char *value, uint64_t mark)
{
    char text[16];
    (void)snprintf(text, sizeof text, "key%06u", (unsigned)key);
    cr_assert_eq(pbft_tree_put(t, text_span(text), text_span(value), mark), PBFT_STATUS_OK);
}

static void take_out(struct pbft_tree *t, uint32_t key, uint64_t mark)
{
    char text[16];
    (void)snprintf(text, sizeof text, "key%06u", (unsigned)key);
    cr_assert(pbft_tree_delete(t, text_span(text), mark));
}

static struct pbft_diff *compare(struct pbft_tree *ours, struct pbft_tree *theirs, uint64_t seq,
                                 size_t slice)
{
    struct pbft_snapshot *a = pbft_tree_snapshot(ours), *b = pbft_tree_snapshot(theirs);
    struct pbft_diff *diff = pbft_diff_new(a, b, seq);
    cr_assert_not_null(diff);
    pbft_snapshot_release(a);
    pbft_snapshot_release(b);
    size_t slices = 0;
    while (!pbft_diff_step(diff, slice))
        REQUIRE(slice, ++slices < 1000000);
    cr_assert(pbft_diff_step(diff, slice), "done is done");
    return diff;
}

/* 3000 keys, written at 1 .. 300, ten by ten; equal in both. */
static void fill(struct pbft_tree *t)
{
    for (uint32_t i = 0; i < 3000; i++)
        put(t, i, "a value of some length", 1 + i / 10);
}

static const char *key_of(const struct pbft_diff_key *k)
{
    static char text[PBFT_TREE_KEY_MAX + 1];
    memcpy(text, k->key, k->key_size);
    text[k->key_size] = '\0';
    return text;
}

Test(divergence, equal_states_have_no_difference)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(a);
    fill(b);
    struct pbft_diff *diff = compare(a, b, 1000, 1);
    const struct pbft_diff_result *r = pbft_diff_result(diff);
    cr_expect_eq(r->pages_ours + r->pages_theirs, 0u);
    cr_expect_eq(r->differs_at, UINT64_MAX);
    cr_expect(r->key_count == 0 && r->page_count == 0);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

/* One bit of one value: one leaf and what is above it; sides, position and bound are right. */
Test(divergence, one_bit_is_found_among_thousands)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(a);
    fill(b);
    put(a, 1234, "a value of sole length", 124); /* m and l differ in one bit */
    put(b, 1234, "a value of some length", 124);
    struct pbft_diff *diff = compare(a, b, 1000, 7);
    const struct pbft_diff_result *r = pbft_diff_result(diff);
    cr_assert_eq(r->key_count, 1u);
    cr_expect_eq(r->changed, 1u);
    cr_expect_eq(r->only_ours + r->only_theirs + r->undecided, 0u);
    const struct pbft_diff_key *k = &r->keys[0];
    cr_expect_str_eq(key_of(k), "key001234");
    cr_expect(k->comparable && k->bits == 1 && k->first_byte == 13, "%u %" PRIu64, k->first_byte,
              k->bits);
    struct pbft_digest ours, theirs;
    struct pbft_span a_value = text_span("a value of sole length");
    struct pbft_span b_value = text_span("a value of some length");
    pbft_hash(&ours, "pbft-value", &a_value, 1);
    pbft_hash(&theirs, "pbft-value", &b_value, 1);
    cr_expect(pbft_digest_equal(&k->ours.digest, &ours), "whose is whose");
    cr_expect(pbft_digest_equal(&k->theirs.digest, &theirs));
    cr_expect(r->differs_at >= 124 && r->differs_at <= 126, "a leaf's mark: %" PRIu64,
              r->differs_at);
    cr_expect_eq(r->page_count, 1u);
    cr_expect(r->pages[0].in_ours && r->pages[0].in_theirs);
    cr_expect(r->pages_ours == r->pages_theirs && r->pages_ours >= 2 && r->pages_ours <= 12,
              "the path down to it: %" PRIu64, r->pages_ours);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

/* A key of theirs that an operation after `seq` may have changed proves nothing. */
Test(divergence, what_may_have_changed_since_is_undecided)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(a);
    fill(b);
    put(b, 100, "later", 501);
    put(a, 2000, "wrong", 400);
    struct pbft_diff *diff = compare(a, b, 500, 1000);
    const struct pbft_diff_result *r = pbft_diff_result(diff);
    cr_expect_eq(r->undecided, 1u);
    cr_assert_eq(r->key_count, 1u);
    cr_expect_str_eq(key_of(&r->keys[0]), "key002000");
    cr_expect_eq(r->differs_at, 400u);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

Test(divergence, an_empty_state_lacks_all)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(b);
    struct pbft_diff *diff = compare(a, b, 1000, 100);
    const struct pbft_diff_result *r = pbft_diff_result(diff);
    cr_expect_eq(r->only_theirs, 3000u);
    cr_expect_eq(r->only_ours + r->changed, 0u);
    cr_expect(r->key_count == PBFT_DIFF_KEYS && r->page_count == PBFT_DIFF_PAGES);
    pbft_diff_free(diff);
    diff = compare(b, a, 1000, 100);
    cr_expect_eq(pbft_diff_result(diff)->only_ours, 3000u);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

/* ---- against a plain comparison ---- */

struct plain {
    struct pbft_tree *other;
    bool changes; /* values are compared, too */
    uint64_t changed, missing;
};

static bool look(void *context, struct pbft_span key, struct pbft_span value)
{
    struct plain *p = context;
    struct pbft_span other;
    if (!pbft_tree_get(p->other, key, &other, NULL))
        p->missing++;
    else if (p->changes &&
             (other.size != value.size || memcmp(other.data, value.data, value.size) != 0))
        p->changed++;
    return true;
}

static void change(struct rng *rng, struct pbft_tree *t, uint64_t mark)
{
    uint32_t key = rng_below(rng, 800);
    char text[16], value[40];
    (void)snprintf(text, sizeof text, "key%06u", (unsigned)key);
    (void)snprintf(value, sizeof value, "%0*u", (int)rng_below(rng, 36) + 1, rng_below(rng, 10));
    if (rng_below(rng, 3) == 0)
        (void)pbft_tree_delete(t, text_span(text), mark);
    else
        cr_assert_eq(pbft_tree_put(t, text_span(text), text_span(value), mark), PBFT_STATUS_OK);
}

/* Whatever the shapes: the same keys as found one by one, and pages only where these are. */
Test(divergence, finds_what_a_plain_comparison_finds)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng = {seed};
        struct pbft_tree *a = tree(&small), *b = tree(&small);
        struct pbft_span all = {NULL, 0};
        for (uint32_t i = 0; i < 1200; i++) { /* the same history */
            struct rng copy = rng;
            change(&copy, a, i + 1);
            change(&rng, b, i + 1);
        }
        uint32_t odd = rng_below(&rng, 40);
        for (uint32_t i = 0; i < odd; i++)
            change(&rng, rng_below(&rng, 2) == 0 ? a : b, 1201 + i);
        struct plain ours = {b, true, 0, 0}, theirs = {a, false, 0, 0};
        (void)pbft_tree_scan(a, text_span(""), all, look, &ours, NULL);
        (void)pbft_tree_scan(b, text_span(""), all, look, &theirs, NULL);
        struct pbft_diff *diff = compare(a, b, 5000, 1 + rng_below(&rng, 50));
        const struct pbft_diff_result *r = pbft_diff_result(diff);
        REQUIRE(seed, r->changed == ours.changed);
        REQUIRE(seed, r->only_ours == ours.missing);
        REQUIRE(seed, r->only_theirs == theirs.missing);
        REQUIRE(seed, r->undecided == 0);
        uint64_t keys = r->changed + r->only_ours + r->only_theirs;
        REQUIRE(seed, r->key_count == (keys < PBFT_DIFF_KEYS ? keys : PBFT_DIFF_KEYS));
        REQUIRE(seed, (r->differs_at == UINT64_MAX) == (keys == 0));
        REQUIRE(seed, r->differs_at == UINT64_MAX || r->differs_at >= 1201);
        for (size_t i = 1; i < r->key_count; i++)
            REQUIRE(seed,
                    strcmp((const char *)r->keys[i - 1].key, (const char *)r->keys[i].key) < 0);
        pbft_diff_free(diff);
        pbft_tree_destroy(a);
        pbft_tree_destroy(b);
    }
}

/* The bound that is told is one: the states did differ there. */
Test(divergence, the_states_differ_at_the_bound)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rng rng = {seed * 77};
        struct pbft_tree *a = tree(&small), *b = tree(&small);
        uint64_t first = 0, wrong = 200 + rng_below(&rng, 100);
        for (uint64_t seq = 1; seq <= 300; seq++) {
            struct rng copy = rng;
            change(&copy, a, seq);
            change(&rng, b, seq);
            if (seq == wrong) put(a, 900, "only here", seq);
            if (seq >= wrong && first == 0) first = seq;
        }
        struct pbft_diff *diff = compare(a, b, 300, 64);
        const struct pbft_diff_result *r = pbft_diff_result(diff);
        REQUIRE(seed, r->only_ours == 1 && r->differs_at >= first && r->differs_at <= 300);
        pbft_diff_free(diff);
        pbft_tree_destroy(a);
        pbft_tree_destroy(b);
    }
}

/* ---- the report ---- */

static const struct pbft_divergence what = {.replica = 2,
                                            .seq = 1000,
                                            .own = {{1}},
                                            .certified = {{2}},
                                            .agreed = 900,
                                            .wall_ns = UINT64_C(1700000000000000000),
                                            .installed = 1000};

static json_t *report(const struct pbft_divergence *d, const struct pbft_diff_result *r)
{
    size_t size = 0;
    char *text = pbft_divergence_json(d, r, &size);
    cr_assert_not_null(text);
    cr_assert_eq(strlen(text), size);
    json_t *value = json_loads(text, 0, NULL);
    cr_assert_not_null(value, "%s", text);
    free(text);
    return value;
}

static const char *text_at(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* No operation since the last agreement has touched the key: it was none. */
Test(divergence, report_of_what_no_operation_did)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(a);
    fill(b);
    put(a, 7, "A value of some length", 1);
    struct pbft_diff *diff = compare(a, b, 1000, 1000);
    json_t *r = report(&what, pbft_diff_result(diff));
    cr_expect_str_eq(text_at(r, "finding"), "no_operation");
    cr_expect_eq(json_object_size(json_object_get(r, "differs")), 0u);
    json_t *key = json_array_get(json_object_get(r, "keys"), 0);
    cr_expect_str_eq(text_at(key, "key_text"), "key000007");
    cr_expect_eq(json_integer_value(json_object_get(key, "bits")), 1);
    cr_expect_eq(strncmp(text_at(r, "own_root"), "01", 2), 0);
    cr_expect_eq(strncmp(text_at(r, "certified_root"), "02", 2), 0);
    cr_expect_str_eq(text_at(r, "noticed"), "2023-11-14T22:13:20Z");
    char summary[PBFT_DIVERGENCE_SUMMARY_BYTES];
    pbft_divergence_summary(&what, pbft_diff_result(diff), summary);
    cr_expect_not_null(strstr(summary, "finding=no_operation"), "%s", summary);
    cr_expect_not_null(strstr(summary, "first_key=6b6579303030303037"), "%s", summary);
    json_decref(r);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

Test(divergence, report_of_what_an_operation_may_have_done)
{
    struct pbft_tree *a = tree(&small), *b = tree(&small);
    fill(a);
    fill(b);
    put(a, 7, "one", 950);
    put(b, 7, "two", 950);
    take_out(a, 8, 960);
    uint8_t odd[] = {0x10, 'k', 0, '"', '\\', 0xff};
    cr_assert_eq(pbft_tree_put(a, (struct pbft_span){odd, sizeof odd}, text_span("x"), 990),
                 PBFT_STATUS_OK);
    struct pbft_diff *diff = compare(a, b, 1000, 1000);
    json_t *r = report(&what, pbft_diff_result(diff));
    cr_expect_str_eq(text_at(r, "finding"), "execution");
    json_t *differs = json_object_get(r, "differs");
    cr_expect_eq(json_integer_value(json_object_get(differs, "after")), 900);
    json_int_t at_most = json_integer_value(json_object_get(differs, "at_most"));
    cr_expect(at_most >= 950 && at_most <= 990, "a leaf's mark: %lld", (long long)at_most);
    json_t *key = json_array_get(json_object_get(r, "keys"), 0);
    cr_expect_str_eq(text_at(key, "part"), "service");
    cr_expect_str_eq(text_at(key, "key_text"), "\\x10k\\x00\"\\x5c\\xff");
    cr_expect(json_is_false(json_object_get(json_object_get(key, "certified"), "present")));
    json_decref(r);
    pbft_diff_free(diff);
    pbft_tree_destroy(a);
    pbft_tree_destroy(b);
}

Test(divergence, report_without_a_state)
{
    json_t *r = report(&what, NULL);
    cr_expect_str_eq(text_at(r, "finding"), "unknown");
    cr_expect_null(json_object_get(r, "keys"));
    char summary[PBFT_DIVERGENCE_SUMMARY_BYTES];
    pbft_divergence_summary(&what, NULL, summary);
    cr_expect_not_null(strstr(summary, "finding=unknown"));
    json_decref(r);
}

/* Bits flip in a leaf of ours, also where it says what is where: it is never read beyond its end,
 * and either the key is named or the page is. */
Test(divergence, a_page_that_is_none_is_not_read)
{
    unsigned damaged = 0, named = 0;
    for (size_t bit = 0;; bit++) {
        struct pbft_tree *a = tree(&small), *b = tree(&small);
        for (uint32_t i = 0; i < 40; i++) {
            put(a, i, "a value", 1 + i);
            put(b, i, "a value", 1 + i);
        }
        const struct pbft_page *leaf = a->root;
        while (leaf->level > 0)
            leaf = leaf->children[1].page;
        uint32_t held = leaf->count;
        bool more = bit < 8 * (size_t)leaf->length;
        if (more) leaf->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct pbft_diff *diff = compare(a, b, 1000, 100);
        const struct pbft_diff_result *r = pbft_diff_result(diff);
        json_t *said = report(&what, r);
        if (more) REQUIRE(bit, r->pages_ours >= 2 && r->page_count == 1 && r->damaged <= 1);
        if (r->damaged == 1) {
            REQUIRE(bit, r->only_theirs == held && r->changed == 0);
            REQUIRE(bit, strcmp(text_at(said, "finding"), "damaged_page") == 0);
        }
        damaged += r->damaged == 1;
        named += r->damaged == 0 && r->key_count > 0;
        json_decref(said);
        pbft_diff_free(diff);
        pbft_tree_destroy(a);
        pbft_tree_destroy(b);
        if (!more) break;
    }
    cr_expect(damaged > 0 && named > 0, "%u %u", damaged, named);
}

/* ---- the file ---- */

static bool there(const char *dir, pbft_seq seq)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/divergence-%llu.json", dir, (unsigned long long)seq);
    return access(path, F_OK) == 0;
}

/* Whenever the power fails, a name leads to a whole report, the old one or the new one; and once
 * save() has said so, to the new one. */
Test(divergence, a_file_is_whole_whenever_the_power_fails)
{
    static const char *const texts[] = {"{\"old\": 1}", "{\"new, and longer\": 2}"};
    for (unsigned how = VDISK_LOSE; how < VDISK_CRASHES; how++) {
        for (unsigned at = 1;; at++) {
            struct rng rng = {at * 100 + how};
            struct vdisk *d = vdisk_new();
            REQUIRE(at, pbft_divergence_save(&d->base, 40, texts[0], strlen(texts[0])) ==
                            PBFT_STATUS_OK);
            d->stop_at = d->ops + at;
            bool saved =
                pbft_divergence_save(&d->base, 40, texts[1], strlen(texts[1])) == PBFT_STATUS_OK;
            vdisk_crash(d, (enum vdisk_crash)how, rng_next(&rng));
            struct pbft_disk_file *file;
            uint64_t size;
            char found[64] = "";
            REQUIRE(at, d->base.ops->open(&d->base, "divergence-40.json", false, &file, &size) ==
                            PBFT_STATUS_OK);
            REQUIRE(at, size < sizeof found &&
                            d->base.ops->read(file, 0, found, size) == PBFT_STATUS_OK);
            d->base.ops->close(file);
            REQUIRE(at, strcmp(found, texts[1]) == 0 || (!saved && strcmp(found, texts[0]) == 0));
            /* And what was cut short is in nobody's way. */
            REQUIRE(at, pbft_divergence_save(&d->base, 40, texts[0], strlen(texts[0])) ==
                            PBFT_STATUS_OK);
            pbft_disk_free(&d->base);
            if (saved) break;
        }
    }
}

Test(divergence, eight_files_are_kept)
{
    char dir[] = "/tmp/pbft-divergence-XXXXXX", path[256];
    cr_assert_not_null(mkdtemp(dir));
    struct pbft_disk *disk;
    cr_assert_eq(pbft_disk_posix_open(&disk, dir), PBFT_STATUS_OK);
    /* Not in order: a restored cluster may begin with lower numbers again. */
    static const pbft_seq seqs[] = {800, 1600, 2400, 3200, 4000, 4800, 5600, 6400, 7200, 16};
    (void)snprintf(path, sizeof path, "%s/divergence-007.json", dir);
    FILE *copy = fopen(path, "w"); /* somebody's: it does not count, and is in nobody's way */
    cr_assert_not_null(copy);
    fclose(copy);
    for (size_t i = 0; i < 10; i++)
        cr_assert_eq(pbft_divergence_save(disk, seqs[i], "{}", 2), PBFT_STATUS_OK);
    cr_expect_eq(access(path, F_OK), 0);
    unsigned kept = 0;
    for (size_t i = 0; i < 10; i++)
        kept += there(dir, seqs[i]);
    cr_expect_eq(kept, PBFT_DIVERGENCES_KEPT);
    cr_expect(there(dir, 16), "the new one stays");
    cr_expect(!there(dir, 800) && !there(dir, 1600), "the lowest go");
    cr_expect_eq(pbft_divergence_save(disk, 16, "{\"a\":1}", 7), PBFT_STATUS_OK, "replaced");
    (void)snprintf(path, sizeof path, "%s/divergence-16.json", dir);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_size, 7);
    (void)snprintf(path, sizeof path, "%s/divergence.new", dir);
    cr_expect_neq(access(path, F_OK), 0);
    pbft_disk_free(disk);
    char command[300];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}
