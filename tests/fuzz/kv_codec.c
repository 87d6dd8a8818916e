/*
 * tests/fuzz/kv_codec.c - the coordination service's operations, as a client's bytes, and its
 * results, as a lying replica's: what decodes has one encoding, which is written down here once
 * more for results (service/kv_codec.h has their layout; the product writes them piece by piece).
 *
 * Input: u8 what: bit 0, a result; else bits 1-3 and 4-7 choose the bounds. Then its bytes.
 */
#include "service/kv_codec.h"
#include "pbft/wire.h"
#include "tests/fuzz/fuzz.h"

/* ---- operations ---- */

static size_t encode(const struct pbft_kv_request *q, uint8_t *out, size_t capacity)
{
    switch ((enum pbft_kv_op)q->op) {
    case PBFT_KV_PUT: return pbft_kv_encode_put(out, capacity, q->key, q->value);
    case PBFT_KV_GET: return pbft_kv_encode_get(out, capacity, q->key);
    case PBFT_KV_DELETE: return pbft_kv_encode_delete(out, capacity, q->key);
    case PBFT_KV_RANGE: return pbft_kv_encode_range(out, capacity, q->key, q->limit);
    case PBFT_KV_CAS:
        return pbft_kv_encode_cas(out, capacity, q->key, q->expect_present, q->expected, q->value);
    }
    FINDING("an operation that is none");
}

static void operation(struct pbft_span op, uint8_t what)
{
    struct pbft_params params = pbft_params_default(4);
    params.key_max_bytes = 1u << (what >> 1 & 7);
    params.value_max_bytes = (what >> 4) * 16u;
    struct pbft_kv_request q;
    if (!pbft_kv_decode_op(op, &params, &q)) return;
    REQUIRE(q.key.size <= params.key_max_bytes && (q.key.size > 0 || q.op == PBFT_KV_RANGE));
    REQUIRE(q.value.size <= params.value_max_bytes && q.expected.size <= params.value_max_bytes);
    uint8_t again[1024];
    size_t size = encode(&q, again, sizeof again);
    REQUIRE(fuzz_same((struct pbft_span){again, size}, op));
    uint8_t *tight = malloc(size);
    REQUIRE(tight != NULL && encode(&q, tight, size - 1) == 0 && encode(&q, tight, size) == size);
    free(tight);
}

/* ---- results ---- */

struct out {
    uint8_t *at;
    size_t size;
};

static void out_bytes(struct out *o, const void *bytes, size_t size)
{
    if (size > 0) memcpy(o->at + o->size, bytes, size);
    o->size += size;
}

static void out_number(struct out *o, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        o->at[o->size++] = (uint8_t)(value >> 8 * i);
}

static void out_span(struct out *o, struct pbft_span span)
{
    out_number(o, span.size, 4);
    out_bytes(o, span.data, span.size);
}

static void out_meta(struct out *o, const struct pbft_kv_meta *meta)
{
    out_number(o, meta->create_revision, 8);
    out_number(o, meta->mod_revision, 8);
    out_number(o, meta->version, 8);
}

/* A key that is there was created before it was changed, once a revision at most. */
static bool possible(const struct pbft_kv_meta *m)
{
    return m->create_revision > 0 && m->mod_revision >= m->create_revision && m->version > 0 &&
           m->version - 1 <= m->mod_revision - m->create_revision;
}

static void entries(struct out *o, const struct pbft_kv_result *r)
{
    size_t cursor = 0;
    struct pbft_kv_entry e, before = {0};
    out_number(o, r->count, 4);
    out_number(o, r->more, 1);
    for (uint32_t i = 0; i < r->count; i++) {
        REQUIRE(pbft_kv_next_entry(r->entries, &cursor, &e) && e.key.size > 0 && possible(&e.meta));
        size_t common = e.key.size < before.key.size ? e.key.size : before.key.size;
        int order = common == 0 ? 0 : memcmp(before.key.data, e.key.data, common);
        REQUIRE(order < 0 || (order == 0 && before.key.size < e.key.size));
        out_span(o, e.key);
        out_span(o, e.value);
        out_meta(o, &e.meta);
        before = e;
    }
    REQUIRE(!pbft_kv_next_entry(r->entries, &cursor, &e) && cursor == r->entries.size);
}

/* What the layout says of this status and operation, and no more. */
static void encode_result(struct out *o, const struct pbft_kv_result *r)
{
    bool ok = r->status == PBFT_KV_OK, none = r->meta.create_revision == 0;
    out_number(o, r->status, 1);
    out_number(o, r->op, 1);
    if (r->status == PBFT_KV_BAD_REQUEST) return;
    switch ((enum pbft_kv_op)r->op) {
    case PBFT_KV_CAS:
        if (!ok) {
            REQUIRE(r->status == PBFT_KV_COMPARE_FAILED);
            REQUIRE(none ? r->value.size == 0 && (r->meta.mod_revision | r->meta.version) == 0
                         : possible(&r->meta));
            out_number(o, r->revision, 8);
            out_meta(o, &r->meta);
            out_span(o, r->value);
            return;
        } /* fall through */
    case PBFT_KV_PUT:
        REQUIRE(ok && possible(&r->meta) && r->meta.mod_revision == r->revision);
        out_number(o, r->revision, 8);
        out_meta(o, &r->meta);
        return;
    case PBFT_KV_DELETE:
        REQUIRE(ok || r->status == PBFT_KV_NOT_FOUND);
        out_number(o, r->revision, 8);
        return;
    case PBFT_KV_GET:
        REQUIRE(ok || r->status == PBFT_KV_NOT_FOUND);
        if (!ok) return;
        REQUIRE(possible(&r->meta));
        out_meta(o, &r->meta);
        out_span(o, r->value);
        return;
    case PBFT_KV_RANGE:
        REQUIRE(ok);
        entries(o, r);
        return;
    }
    FINDING("a result of no operation");
}

static void result(struct pbft_span bytes)
{
    struct pbft_kv_result r;
    if (!pbft_kv_decode_result(bytes, &r)) return;
    struct out again = {malloc(bytes.size + 256), 0}; /* decoded, so it has at least its size */
    REQUIRE(again.at != NULL);
    encode_result(&again, &r);
    REQUIRE(fuzz_same((struct pbft_span){again.at, again.size}, bytes));
    free(again.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    uint8_t what = fuzz_u8(&f);
    struct pbft_span span = {f.at, f.left};
    uint8_t *copy = fuzz_copy(span);
    span.data = copy;
    if ((what & 1) != 0)
        result(span);
    else
        operation(span, what);
    free(copy);
    return 0;
}
