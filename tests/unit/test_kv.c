/* service/kv and service/txn: revisions, bounds, canonical bytes, marks. */
#include "pbft/wire.h"
#include "service/kv_codec.h"
#include "service/txn.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX   32u
#define VALUE_MAX 256u
#define REPLY_MAX 4096u

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct pbft_span text(const char *s)
{
    return (struct pbft_span){(const uint8_t *)s, strlen(s)};
}

static bool span_is(struct pbft_span a, struct pbft_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

struct store {
    struct pbft_params params;
    struct pbft_tree *tree;
    struct pbft_txn txn;
    uint8_t op[4096];
    uint8_t bytes[REPLY_MAX];
    size_t capacity;
    struct pbft_span raw;
};

static void store_open(struct store *s)
{
    memset(s, 0, sizeof *s);
    s->params.key_max_bytes = KEY_MAX;
    s->params.value_max_bytes = VALUE_MAX;
    s->capacity = REPLY_MAX;
    cr_assert_eq(pbft_tree_create(&s->tree, NULL), PBFT_STATUS_OK);
    cr_assert(pbft_txn_init(&s->txn, s->tree, &s->params));
    s->txn.mark = 1;
}

static void store_close(struct store *s)
{
    pbft_txn_release(&s->txn);
    pbft_tree_destroy(s->tree);
}

static bool run_raw(struct store *s, struct pbft_span op)
{
    struct pbft_call call = {.t = 1};
    struct pbft_result r = {.bytes = s->bytes, .capacity = s->capacity};
    pbft_kv_service.execute(pbft_kv_service.context, &s->txn, &call, op, &r);
    s->raw = (struct pbft_span){s->bytes, r.size};
    return !r.overflow;
}

static struct pbft_kv_result run(struct store *s, size_t op_size)
{
    struct pbft_kv_result out;
    cr_assert_gt(op_size, 0);
    cr_assert(run_raw(s, (struct pbft_span){s->op, op_size}));
    cr_assert(pbft_kv_decode_result(s->raw, &out));
    return out;
}

static struct pbft_kv_result put(struct store *s, const char *key, const char *value)
{
    return run(s, pbft_kv_encode_put(s->op, sizeof s->op, text(key), text(value)));
}
static struct pbft_kv_result get(struct store *s, const char *key)
{
    return run(s, pbft_kv_encode_get(s->op, sizeof s->op, text(key)));
}
static struct pbft_kv_result del(struct store *s, const char *key)
{
    return run(s, pbft_kv_encode_delete(s->op, sizeof s->op, text(key)));
}
static struct pbft_kv_result range(struct store *s, const char *prefix, uint32_t limit)
{
    return run(s, pbft_kv_encode_range(s->op, sizeof s->op, text(prefix), limit));
}
/* expected NULL: the key must be absent. */
static struct pbft_kv_result cas(struct store *s, const char *key, const char *expected,
                                 const char *value)
{
    struct pbft_span none = {NULL, 0};
    return run(s, pbft_kv_encode_cas(s->op, sizeof s->op, text(key), expected != NULL,
                                     expected != NULL ? text(expected) : none, text(value)));
}

static void assert_meta(struct pbft_kv_meta m, uint64_t create, uint64_t mod, uint64_t version)
{
    cr_assert_eq(m.create_revision, create);
    cr_assert_eq(m.mod_revision, mod);
    cr_assert_eq(m.version, version);
}

static bool query(struct store *s, struct pbft_span op, struct pbft_kv_result *out, uint64_t *mark)
{
    struct pbft_view_txn view = {s->tree, &s->params};
    struct pbft_result r = {.bytes = s->bytes, .capacity = s->capacity};
    *mark = 0;
    pbft_kv_service.query(pbft_kv_service.context, &view, op, &r, mark);
    s->raw = (struct pbft_span){s->bytes, r.size};
    return !r.overflow && pbft_kv_decode_result(s->raw, out);
}

/* ---- behaviour ---------------------------------------------------------------------------- */

Test(kv, revisions_as_in_etcd)
{
    struct store s;
    store_open(&s);
    struct pbft_kv_result r = put(&s, "a", "1");
    cr_assert_eq(r.status, PBFT_KV_OK);
    cr_assert_eq(r.revision, 1);
    assert_meta(r.meta, 1, 1, 1);
    assert_meta(put(&s, "b", "x").meta, 2, 2, 1);
    assert_meta(put(&s, "a", "2").meta, 1, 3, 2);

    r = get(&s, "a");
    cr_assert_eq(r.status, PBFT_KV_OK);
    cr_assert_eq(r.revision, 0);
    assert_meta(r.meta, 1, 3, 2);
    cr_assert(span_is(r.value, text("2")));

    r = del(&s, "a");
    cr_assert_eq(r.status, PBFT_KV_OK);
    cr_assert_eq(r.revision, 4);
    r = del(&s, "a");
    cr_assert_eq(r.status, PBFT_KV_NOT_FOUND);
    cr_assert_eq(r.revision, 4, "a delete of nothing is no change");
    cr_assert_eq(get(&s, "a").status, PBFT_KV_NOT_FOUND);
    assert_meta(put(&s, "a", "").meta, 5, 5, 1);
    r = get(&s, "a");
    cr_assert_eq(r.status, PBFT_KV_OK);
    cr_assert_eq(r.value.size, 0, "an empty value is a value");
    store_close(&s);
}

Test(kv, compare_and_swap)
{
    struct store s;
    store_open(&s);
    struct pbft_kv_result r = cas(&s, "k", "x", "y");
    cr_assert_eq(r.status, PBFT_KV_COMPARE_FAILED);
    cr_assert_eq(r.revision, 0);
    assert_meta(r.meta, 0, 0, 0);
    r = cas(&s, "k", NULL, "v1");
    cr_assert_eq(r.status, PBFT_KV_OK);
    assert_meta(r.meta, 1, 1, 1);
    r = cas(&s, "k", NULL, "v2");
    cr_assert_eq(r.status, PBFT_KV_COMPARE_FAILED);
    cr_assert(span_is(r.value, text("v1")));
    assert_meta(r.meta, 1, 1, 1);
    cr_assert_eq(r.revision, 1);
    cr_assert_eq(cas(&s, "k", "v", "v2").status, PBFT_KV_COMPARE_FAILED);
    cr_assert_eq(cas(&s, "k", "", "v2").status, PBFT_KV_COMPARE_FAILED);
    r = cas(&s, "k", "v1", "v2");
    cr_assert_eq(r.status, PBFT_KV_OK);
    assert_meta(r.meta, 1, 2, 2);
    cr_assert(span_is(get(&s, "k").value, text("v2")));
    /* Present with an empty value is not absent. */
    put(&s, "e", "");
    cr_assert_eq(cas(&s, "e", NULL, "z").status, PBFT_KV_COMPARE_FAILED);
    cr_assert_eq(cas(&s, "e", "", "z").status, PBFT_KV_OK);
    store_close(&s);
}

Test(kv, range_by_prefix)
{
    struct store s;
    store_open(&s);
    put(&s, "a", "0");
    put(&s, "b", "1");
    put(&s, "b/1", "2");
    put(&s, "b/2", "3");
    put(&s, "b\xff", "4");
    put(&s, "b\xff\xff", "5");
    put(&s, "c", "6");

    struct pbft_kv_result r = range(&s, "b", 0);
    cr_assert_eq(r.count, 5);
    cr_assert_eq(r.more, 0);
    const char *expected[] = {"b", "b/1", "b/2", "b\xff", "b\xff\xff"};
    struct pbft_kv_entry e;
    size_t cursor = 0;
    for (size_t i = 0; i < 5; i++) {
        cr_assert(pbft_kv_next_entry(r.entries, &cursor, &e));
        cr_assert(span_is(e.key, text(expected[i])));
        cr_assert_eq(e.value.data[0], (uint8_t)('1' + (int)i));
        assert_meta(e.meta, 2 + i, 2 + i, 1);
    }
    cr_assert_not(pbft_kv_next_entry(r.entries, &cursor, &e));

    r = range(&s, "b", 5);
    cr_assert(r.count == 5 && r.more == 0, "a limit that is just reached cuts nothing");
    r = range(&s, "b", 4);
    cr_assert(r.count == 4 && r.more == 1);
    cr_assert_eq(range(&s, "", 0).count, 7);
    cr_assert_eq(range(&s, "b\xff", 0).count, 2);
    r = range(&s, "nothing", 0);
    cr_assert(r.status == PBFT_KV_OK && r.count == 0 && r.more == 0);
    store_close(&s);
}

/* Whatever room there is: never an overflow, always as many entries as fit, never one too few. */
Test(kv, range_stops_before_the_reply_is_full)
{
    struct store s;
    store_open(&s);
    for (char c = 'a'; c < 'k'; c++)
        put(&s, (char[]){c, 0}, "0123456789");
    for (size_t capacity = 0; capacity < 600; capacity++) {
        s.capacity = capacity;
        size_t size = pbft_kv_encode_range(s.op, sizeof s.op, text(""), 0);
        bool written = run_raw(&s, (struct pbft_span){s.op, size});
        cr_assert_eq(written, capacity >= 7);
        if (!written) continue;
        struct pbft_kv_result r;
        cr_assert(pbft_kv_decode_result(s.raw, &r));
        size_t fit = (capacity - 7) / (4 + 1 + 4 + 10 + 24);
        cr_assert_eq(r.count, fit < 10 ? fit : 10);
        cr_assert_eq(r.more, fit < 10 ? 1 : 0);
    }
    store_close(&s);
}

Test(kv, nothing_changes_without_room_for_its_result)
{
    struct store s;
    struct pbft_digest before, after;
    store_open(&s);
    put(&s, "a", "1");
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(s.tree);
    pbft_snapshot_root(snapshot, &before);
    pbft_snapshot_release(snapshot);
    for (s.capacity = 0; s.capacity < 34; s.capacity++) {
        cr_assert_not(
            run_raw(&s, (struct pbft_span){s.op, pbft_kv_encode_put(s.op, sizeof s.op, text("a"),
                                                                    text("2"))}));
        cr_assert_not(run_raw(&s, (struct pbft_span){s.op, pbft_kv_encode_delete(s.op, sizeof s.op,
                                                                                 text("a"))}));
        cr_assert_not(
            run_raw(&s, (struct pbft_span){s.op, pbft_kv_encode_cas(s.op, sizeof s.op, text("a"),
                                                                    true, text("1"), text("2"))}));
    }
    snapshot = pbft_tree_snapshot(s.tree);
    pbft_snapshot_root(snapshot, &after);
    pbft_snapshot_release(snapshot);
    cr_assert(pbft_digest_equal(&before, &after));
    cr_assert_eq(put(&s, "a", "2").status, PBFT_KV_OK);
    store_close(&s);
}

/* ---- hostile operations ------------------------------------------------------------------- */

Test(kv, bounds_are_exact)
{
    struct store s;
    store_open(&s);
    static uint8_t bytes[VALUE_MAX + 1];
    memset(bytes, 'x', sizeof bytes);
    struct pbft_span key = {bytes, KEY_MAX}, long_key = {bytes, KEY_MAX + 1}, none = {NULL, 0};
    struct pbft_span value = {bytes, VALUE_MAX}, long_value = {bytes, VALUE_MAX + 1};
    struct {
        size_t size;
        uint8_t status;
    } got;
#define TRY(call, expected)                                                                        \
    do {                                                                                           \
        got.size = call;                                                                           \
        got.status = run(&s, got.size).status;                                                     \
        cr_assert_eq(got.status, expected, "%s", #call);                                           \
    } while (0)
    TRY(pbft_kv_encode_put(s.op, sizeof s.op, key, value), PBFT_KV_OK);
    TRY(pbft_kv_encode_put(s.op, sizeof s.op, long_key, value), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_put(s.op, sizeof s.op, key, long_value), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_put(s.op, sizeof s.op, none, value), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_get(s.op, sizeof s.op, key), PBFT_KV_OK);
    TRY(pbft_kv_encode_get(s.op, sizeof s.op, long_key), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_get(s.op, sizeof s.op, none), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_delete(s.op, sizeof s.op, long_key), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_delete(s.op, sizeof s.op, none), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_range(s.op, sizeof s.op, key, 0), PBFT_KV_OK);
    TRY(pbft_kv_encode_range(s.op, sizeof s.op, long_key, 0), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_cas(s.op, sizeof s.op, key, true, value, value), PBFT_KV_OK);
    TRY(pbft_kv_encode_cas(s.op, sizeof s.op, key, true, long_value, value), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_cas(s.op, sizeof s.op, key, true, value, long_value), PBFT_KV_BAD_REQUEST);
    TRY(pbft_kv_encode_cas(s.op, sizeof s.op, long_key, true, value, value), PBFT_KV_BAD_REQUEST);
#undef TRY
    cr_assert_eq(range(&s, "", 0).count, 1);
    store_close(&s);
}

/* Each operation has one encoding: cut short, prolonged or with another flag it is refused. */
Test(kv, operations_are_canonical)
{
    struct store s;
    store_open(&s);
    struct pbft_kv_request q;
    for (int kind = PBFT_KV_PUT; kind <= PBFT_KV_CAS; kind++) {
        size_t size = 0;
        if (kind == PBFT_KV_PUT)
            size = pbft_kv_encode_put(s.op, sizeof s.op, text("key"), text("value"));
        else if (kind == PBFT_KV_GET)
            size = pbft_kv_encode_get(s.op, sizeof s.op, text("key"));
        else if (kind == PBFT_KV_DELETE)
            size = pbft_kv_encode_delete(s.op, sizeof s.op, text("key"));
        else if (kind == PBFT_KV_RANGE)
            size = pbft_kv_encode_range(s.op, sizeof s.op, text("key"), 7);
        else
            size = pbft_kv_encode_cas(s.op, sizeof s.op, text("key"), true, text("a"), text("b"));
        cr_assert(pbft_kv_decode_op((struct pbft_span){s.op, size}, &s.params, &q));
        for (size_t cut = 0; cut < size; cut++)
            cr_assert_not(pbft_kv_decode_op((struct pbft_span){s.op, cut}, &s.params, &q));
        s.op[size] = 0;
        cr_assert_not(pbft_kv_decode_op((struct pbft_span){s.op, size + 1}, &s.params, &q));
        /* The encoders find out that there is no room. */
        for (size_t room = 0; kind == PBFT_KV_CAS && room < size; room++)
            cr_assert_eq(pbft_kv_encode_cas(s.op, room, text("key"), true, text("a"), text("b")),
                         0);
    }
    size_t size = pbft_kv_encode_cas(s.op, sizeof s.op, text("key"), true, text("a"), text("b"));
    s.op[8] = 2; /* expect_present */
    cr_assert_not(pbft_kv_decode_op((struct pbft_span){s.op, size}, &s.params, &q));
    s.op[8] = 0; /* absent, and yet a value is expected */
    cr_assert_not(pbft_kv_decode_op((struct pbft_span){s.op, size}, &s.params, &q));

    size = pbft_kv_encode_cas(s.op, sizeof s.op, text("key"), false, text("a"), text("b"));
    cr_assert(pbft_kv_decode_op((struct pbft_span){s.op, size}, &s.params, &q));
    s.op[8] = 2;
    cr_assert_not(pbft_kv_decode_op((struct pbft_span){s.op, size}, &s.params, &q));

    cr_assert(run_raw(&s, (struct pbft_span){NULL, 0}));
    struct pbft_kv_result r;
    cr_assert(pbft_kv_decode_result(s.raw, &r));
    cr_assert(r.status == PBFT_KV_BAD_REQUEST && r.op == 0);
    s.op[0] = 6;
    r = run(&s, 1);
    cr_assert(r.status == PBFT_KV_BAD_REQUEST && r.op == 0);
    s.op[0] = PBFT_KV_GET;
    memset(s.op + 1, 0xff, 8); /* a length of 4 GiB */
    r = run(&s, 9);
    cr_assert(r.status == PBFT_KV_BAD_REQUEST && r.op == PBFT_KV_GET);
    store_close(&s);
}

/* A lying replica's result: cut, prolonged or garbled it must be refused or decode to something
 * that the same bytes mean; nothing outside them is read (ASan watches). */
Test(kv, results_are_canonical)
{
    struct store s;
    store_open(&s);
    put(&s, "a", "one");
    put(&s, "b", "two");
    uint64_t seed = 0x6b76u;
    for (int kind = 0; kind < 6; kind++) {
        if (kind == 0) put(&s, "a", "x");
        if (kind == 1) get(&s, "a");
        if (kind == 2) range(&s, "", 0);
        if (kind == 3) cas(&s, "a", "no", "y");
        if (kind == 4) del(&s, "zz");
        if (kind == 5) get(&s, "zz");
        struct pbft_kv_result r;
        size_t size = s.raw.size;
        uint8_t *bytes = malloc(size + 1);
        cr_assert_not_null(bytes);
        memcpy(bytes, s.raw.data, size);
        bytes[size] = 0;
        cr_assert_not(pbft_kv_decode_result((struct pbft_span){bytes, size + 1}, &r));
        free(bytes);
        for (size_t cut = 0; cut < size; cut++) {
            bytes = malloc(cut + 1);
            cr_assert_not_null(bytes);
            memcpy(bytes, s.raw.data, cut);
            cr_assert_not(pbft_kv_decode_result((struct pbft_span){bytes, cut}, &r));
            free(bytes);
        }
        for (int i = 0; i < 3000; i++) {
            bytes = malloc(size);
            cr_assert_not_null(bytes);
            memcpy(bytes, s.raw.data, size);
            bytes[next_random(&seed) % size] = (uint8_t)next_random(&seed);
            if (pbft_kv_decode_result((struct pbft_span){bytes, size}, &r) && r.count > 0) {
                struct pbft_kv_entry e;
                size_t cursor = 0;
                uint32_t count = 0;
                while (pbft_kv_next_entry(r.entries, &cursor, &e))
                    count++;
                cr_assert_eq(count, r.count);
                cr_assert_eq(cursor, r.entries.size);
            }
            free(bytes);
        }
    }
    store_close(&s);
}

static bool decodes(const uint8_t *bytes, size_t size)
{
    struct pbft_kv_result r;
    return pbft_kv_decode_result((struct pbft_span){bytes, size}, &r);
}

/* Well-formed bytes that no correct replica writes. */
Test(kv, results_mean_something)
{
    struct store s;
    store_open(&s);
    put(&s, "a", "1");
    put(&s, "b", "2");
    range(&s, "", 0);
    const size_t head = 7, entry = 4 + 1 + 4 + 1 + 24, size = head + 2 * entry;
    cr_assert_eq(s.raw.size, size);
    uint8_t bytes[128];
    memcpy(bytes, s.bytes, size);
    cr_assert(decodes(bytes, size));
    bytes[6] = 2; /* more */
    cr_assert_not(decodes(bytes, size));
    bytes[6] = 1;
    cr_assert(decodes(bytes, size));
    memcpy(bytes + head, s.bytes + head + entry, entry);
    cr_assert_not(decodes(bytes, size), "one key twice");
    memcpy(bytes + head + entry, s.bytes + head, entry);
    cr_assert_not(decodes(bytes, size), "descending");

    cas(&s, "none", "x", "y"); /* no key found: meta zero, no value */
    memcpy(bytes, s.bytes, s.raw.size);
    cr_assert(decodes(bytes, s.raw.size));
    bytes[s.raw.size - 4] = 1;
    bytes[s.raw.size] = 'v';
    cr_assert_not(decodes(bytes, s.raw.size + 1), "a value of no key");

    get(&s, "a");
    memcpy(bytes, s.bytes, s.raw.size);
    bytes[2] = 2; /* created after it was modified */
    cr_assert_not(decodes(bytes, s.raw.size));
    bytes[2] = 0;
    cr_assert_not(decodes(bytes, s.raw.size));
    bytes[2] = 1;
    bytes[1] = PBFT_KV_DELETE;
    cr_assert_not(decodes(bytes, s.raw.size));
    bytes[1] = 6;
    cr_assert_not(decodes(bytes, s.raw.size));
    bytes[1] = PBFT_KV_GET;
    bytes[0] = PBFT_KV_COMPARE_FAILED;
    cr_assert_not(decodes(bytes, s.raw.size));
    store_close(&s);
}

/* ---- fast reads (PROTOCOL 32) ------------------------------------------------------------- */

Test(kv, marks_of_fast_reads)
{
    struct store s;
    store_open(&s);
    struct pbft_kv_result r;
    uint64_t mark;
    s.txn.mark = 100;
    put(&s, "u", "same");
    s.txn.mark = 200;
    put(&s, "v", "other");

    /* Present: its revision, whatever else changes in its page. */
    size_t size = pbft_kv_encode_get(s.op, sizeof s.op, text("u"));
    struct pbft_span get_u = {s.op, size};
    cr_assert(query(&s, get_u, &r, &mark));
    cr_assert(r.status == PBFT_KV_OK && span_is(r.value, text("same")));
    cr_assert_eq(mark, 1);
    cr_assert_eq(mark, r.meta.mod_revision);

    /* Absent: the highest sequence number of the page. */
    uint8_t other[64];
    struct pbft_span get_w = {other, pbft_kv_encode_get(other, sizeof other, text("w"))};
    cr_assert(query(&s, get_w, &r, &mark));
    cr_assert_eq(r.status, PBFT_KV_NOT_FOUND);
    cr_assert_eq(mark, 200);
    cr_assert_eq(s.raw.size, 2);

    /* Equal values of different states differ in their marks. */
    uint8_t bytes[64];
    s.txn.mark = 300;
    struct pbft_span op = {bytes, pbft_kv_encode_put(bytes, sizeof bytes, text("u"), text("same"))};
    cr_assert(run_raw(&s, op));
    cr_assert(query(&s, get_u, &r, &mark));
    cr_assert_eq(mark, 3);
    op.size = pbft_kv_encode_delete(bytes, sizeof bytes, text("u"));
    s.txn.mark = 400;
    cr_assert(run_raw(&s, op));
    cr_assert(query(&s, get_u, &r, &mark));
    cr_assert(r.status == PBFT_KV_NOT_FOUND && mark == 400);

    op.size = pbft_kv_encode_range(bytes, sizeof bytes, text("v"), 0);
    cr_assert(query(&s, op, &r, &mark));
    cr_assert(r.count == 1 && mark == 400);
    /* A change is no query, and leaves no trace. */
    uint64_t count = pbft_tree_count(s.tree);
    op.size = pbft_kv_encode_put(bytes, sizeof bytes, text("q"), text("q"));
    cr_assert(query(&s, op, &r, &mark));
    cr_assert_eq(r.status, PBFT_KV_BAD_REQUEST);
    cr_assert_eq(pbft_tree_count(s.tree), count);
    store_close(&s);
}

/* An ordered read and a fast one give the same bytes, so a client can fall back (PROTOCOL 32). */
Test(kv, ordered_and_fast_reads_are_equal)
{
    struct store s;
    store_open(&s);
    put(&s, "a", "1");
    put(&s, "b", "2");
    uint8_t ordered[512];
    struct pbft_kv_result r;
    uint64_t mark;
    const char *keys[] = {"a", "b", "none"};
    for (int i = 0; i < 6; i++) {
        size_t size = i < 3 ? pbft_kv_encode_get(s.op, sizeof s.op, text(keys[i]))
                            : pbft_kv_encode_range(s.op, sizeof s.op, text(i == 5 ? "x" : ""),
                                                   (uint32_t)i - 3);
        cr_assert(run_raw(&s, (struct pbft_span){s.op, size}));
        size_t ordered_size = s.raw.size;
        memcpy(ordered, s.raw.data, ordered_size);
        cr_assert(query(&s, (struct pbft_span){s.op, size}, &r, &mark));
        cr_assert(span_is(s.raw, (struct pbft_span){ordered, ordered_size}));
    }
    store_close(&s);
}

/* ---- against a model ---------------------------------------------------------------------- */

#define MODEL_KEYS 60u

struct model {
    uint64_t revision;
    struct {
        bool present;
        char value[8];
        struct pbft_kv_meta meta;
    } keys[MODEL_KEYS];
};

static void model_write(struct model *m, size_t k, const char *value)
{
    m->revision++;
    if (!m->keys[k].present) m->keys[k].meta = (struct pbft_kv_meta){m->revision, 0, 0};
    m->keys[k].present = true;
    m->keys[k].meta.mod_revision = m->revision;
    m->keys[k].meta.version++;
    strcpy(m->keys[k].value, value);
}

static void model_step(struct store *s, struct model *m, uint64_t *seed)
{
    size_t k = next_random(seed) % MODEL_KEYS;
    char key[8], value[8], expect[8];
    snprintf(key, sizeof key, "k%02zu", k);
    snprintf(value, sizeof value, "%u", (unsigned)(next_random(seed) % 4));
    snprintf(expect, sizeof expect, "%u", (unsigned)(next_random(seed) % 4));
    struct pbft_kv_result r;
    bool present = m->keys[k].present;
    switch (next_random(seed) % 5) {
    case 0:
        r = put(s, key, value);
        model_write(m, k, value);
        cr_assert_eq(r.status, PBFT_KV_OK);
        assert_meta(r.meta, m->keys[k].meta.create_revision, m->revision, m->keys[k].meta.version);
        break;
    case 1:
        r = del(s, key);
        cr_assert_eq(r.status, present ? PBFT_KV_OK : PBFT_KV_NOT_FOUND);
        if (present) m->revision++;
        m->keys[k].present = false;
        cr_assert_eq(r.revision, m->revision);
        break;
    case 2: {
        bool want = next_random(seed) % 3 != 0;
        r = cas(s, key, want ? expect : NULL, value);
        bool ok = want == present && (!present || strcmp(m->keys[k].value, expect) == 0);
        cr_assert_eq(r.status, ok ? PBFT_KV_OK : PBFT_KV_COMPARE_FAILED);
        if (ok) model_write(m, k, value);
        if (!ok && present) cr_assert(span_is(r.value, text(m->keys[k].value)));
        cr_assert_eq(r.revision, m->revision);
        break;
    }
    case 3:
        r = get(s, key);
        cr_assert_eq(r.status, present ? PBFT_KV_OK : PBFT_KV_NOT_FOUND);
        if (!present) break;
        cr_assert(span_is(r.value, text(m->keys[k].value)));
        assert_meta(r.meta, m->keys[k].meta.create_revision, m->keys[k].meta.mod_revision,
                    m->keys[k].meta.version);
        break;
    default: {
        uint32_t limit = (uint32_t)(next_random(seed) % 8);
        key[2] = 0; /* "k3": up to ten keys */
        r = range(s, key, limit);
        size_t cursor = 0, count = 0, all = 0;
        struct pbft_kv_entry e;
        for (size_t i = k / 10 * 10; i < k / 10 * 10 + 10; i++) {
            if (!m->keys[i].present || (++all > limit && limit != 0)) continue;
            cr_assert(pbft_kv_next_entry(r.entries, &cursor, &e));
            cr_assert(span_is(e.value, text(m->keys[i].value)));
            cr_assert_eq(e.meta.mod_revision, m->keys[i].meta.mod_revision);
            count++;
        }
        cr_assert_eq(r.count, count);
        cr_assert_eq(r.more, all > count ? 1 : 0);
    }
    }
}

Test(kv, agrees_with_a_model)
{
    for (uint64_t first = 1; first <= 5; first++) {
        struct store s;
        struct model m;
        memset(&m, 0, sizeof m);
        store_open(&s);
        uint64_t seed = first;
        for (int i = 0; i < 20000; i++) {
            s.txn.mark++;
            model_step(&s, &m, &seed);
        }
        cr_assert_gt(m.revision, 1000, "seed %llu", (unsigned long long)first);
        store_close(&s);
    }
}

/* ---- the transaction ---------------------------------------------------------------------- */

static bool count_keys(void *context, struct pbft_span key, struct pbft_span value)
{
    (void)key;
    (void)value;
    (*(unsigned *)context)++;
    return true;
}

static unsigned scan_count(struct store *s, struct pbft_span from, struct pbft_span to)
{
    unsigned n = 0;
    pbft_txn_scan(&s->txn, from, to, count_keys, &n);
    return n;
}

Test(txn, no_service_reaches_the_engines_keys)
{
    struct store s;
    store_open(&s);
    struct pbft_span none = {NULL, 0}, value;
    uint8_t before = PBFT_TXN_KEYSPACE - 1, after = PBFT_TXN_KEYSPACE + 1;
    cr_assert_eq(pbft_tree_put(s.tree, (struct pbft_span){&before, 1}, text("x"), 1), 0);
    cr_assert_eq(pbft_tree_put(s.tree, (struct pbft_span){&after, 1}, text("y"), 1), 0);
    cr_assert_eq(scan_count(&s, none, none), 0);
    cr_assert_not(pbft_txn_get(&s.txn, (struct pbft_span){&after, 1}, &value));
    cr_assert_not(pbft_txn_delete(&s.txn, (struct pbft_span){&after, 1}));
    cr_assert(pbft_txn_put(&s.txn, none, text("empty key")));
    cr_assert(pbft_txn_put(&s.txn, text("\xff\xff"), text("last")));
    cr_assert_eq(scan_count(&s, none, none), 2);
    cr_assert_eq(scan_count(&s, none, text("a")), 1);
    cr_assert_eq(scan_count(&s, text("a"), none), 1);
    cr_assert(pbft_txn_get(&s.txn, none, &value) && span_is(value, text("empty key")));
    cr_assert_eq(pbft_tree_count(s.tree), 4);
    store_close(&s);
}

Test(txn, bounds_and_spans_of_its_own)
{
    struct store s;
    store_open(&s);
    static uint8_t bytes[VALUE_MAX + PBFT_TXN_VALUE_SLACK + 1];
    memset(bytes, 'x', sizeof bytes);
    struct pbft_span key = {bytes, KEY_MAX + PBFT_TXN_KEY_SLACK}, none = {NULL, 0}, value;
    struct pbft_span long_key = {bytes, key.size + 1};
    struct pbft_span most = {bytes, sizeof bytes - 1}, too_much = {bytes, sizeof bytes};
    cr_assert(pbft_txn_put(&s.txn, key, most));
    cr_assert_not(pbft_txn_put(&s.txn, long_key, most));
    cr_assert_not(pbft_txn_put(&s.txn, key, too_much));
    cr_assert_not(pbft_txn_put2(&s.txn, key, most, text("1")));
    cr_assert_not(pbft_txn_put2(&s.txn, key, text("1"), (struct pbft_span){bytes, SIZE_MAX}));
    cr_assert_not(pbft_txn_get(&s.txn, long_key, &value));
    cr_assert_not(pbft_txn_delete(&s.txn, long_key));
    /* Bounds of a scan that are longer than any key. */
    cr_assert_eq(scan_count(&s, long_key, none), 0);
    cr_assert_eq(scan_count(&s, none, long_key), 1);
    cr_assert_eq(scan_count(&s, key, none), 1);
    cr_assert_eq(scan_count(&s, none, key), 0);
    /* What was just read is a good argument of a change. */
    cr_assert(pbft_txn_get(&s.txn, key, &value));
    cr_assert(pbft_txn_put2(&s.txn, text("b"), (struct pbft_span){value.data, 10}, none));
    cr_assert(pbft_txn_get(&s.txn, text("b"), &value));
    cr_assert(value.size == 10 && value.data[0] == 'x');
    cr_assert_eq(pbft_txn_params(&s.txn)->key_max_bytes, KEY_MAX);
    store_close(&s);
}
