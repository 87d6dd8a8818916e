/* Canonical bytes of the coordination service's operations and results. */
#include "service/kv_codec.h"

#include "pbft/wire.h"

#include <string.h>

/* ---- cursor with a sticky bad flag -------------------------------------------------------- */

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct reader *r, size_t size)
{
    if (r->bad || size > r->left) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += size;
    r->left -= size;
    return at;
}

static uint8_t take_u8(struct reader *r)
{
    const uint8_t *p = take(r, 1);
    return p != NULL ? *p : 0;
}

static bool take_bool(struct reader *r)
{
    uint8_t v = take_u8(r);
    if (v > 1) r->bad = true;
    return v == 1;
}

static uint32_t take_u32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    return p != NULL ? pbft_get_u32(p) : 0;
}

static uint64_t take_u64(struct reader *r)
{
    const uint8_t *p = take(r, 8);
    return p != NULL ? pbft_get_u64(p) : 0;
}

static struct pbft_span take_bytes(struct reader *r, size_t max)
{
    size_t size = take_u32(r);
    if (size > max) r->bad = true;
    const uint8_t *p = take(r, size);
    return p != NULL ? (struct pbft_span){p, size} : (struct pbft_span){NULL, 0};
}

static struct pbft_kv_meta take_meta(struct reader *r)
{
    struct pbft_kv_meta zero = {0, 0, 0};
    const uint8_t *p = take(r, PBFT_KV_META_BYTES);
    return p != NULL ? pbft_kv_get_meta(p) : zero;
}

static bool reader_done(const struct reader *r)
{
    return !r->bad && r->left == 0;
}

/* ---- meta --------------------------------------------------------------------------------- */

void pbft_kv_put_meta(uint8_t out[PBFT_KV_META_BYTES], const struct pbft_kv_meta *meta)
{
    pbft_put_u64(out, meta->create_revision);
    pbft_put_u64(out + 8, meta->mod_revision);
    pbft_put_u64(out + 16, meta->version);
}

struct pbft_kv_meta pbft_kv_get_meta(const uint8_t bytes[PBFT_KV_META_BYTES])
{
    return (struct pbft_kv_meta){
        .create_revision = pbft_get_u64(bytes),
        .mod_revision = pbft_get_u64(bytes + 8),
        .version = pbft_get_u64(bytes + 16),
    };
}

/* What a key that exists can have. */
static bool meta_valid(const struct pbft_kv_meta *m)
{
    return m->create_revision > 0 && m->version > 0 && m->mod_revision >= m->create_revision &&
           m->version - 1 <= m->mod_revision - m->create_revision;
}

/* ---- operations --------------------------------------------------------------------------- */

bool pbft_kv_decode_op(struct pbft_span bytes, const struct pbft_params *p,
                       struct pbft_kv_request *out)
{
    struct reader r = {bytes.data, bytes.size, false};
    memset(out, 0, sizeof *out);
    uint8_t op = take_u8(&r);
    if (r.bad || op < PBFT_KV_PUT || op > PBFT_KV_CAS) return false;

    out->op = op;
    out->key = take_bytes(&r, p->key_max_bytes);
    if (out->key.size == 0 && op != PBFT_KV_RANGE) r.bad = true;
    switch ((enum pbft_kv_op)op) {
    case PBFT_KV_PUT: out->value = take_bytes(&r, p->value_max_bytes); break;
    case PBFT_KV_RANGE: out->limit = take_u32(&r); break;
    case PBFT_KV_CAS:
        out->expect_present = take_bool(&r);
        out->expected = take_bytes(&r, out->expect_present ? p->value_max_bytes : 0);
        out->value = take_bytes(&r, p->value_max_bytes);
        break;
    case PBFT_KV_GET:
    case PBFT_KV_DELETE: break;
    }
    return reader_done(&r);
}

struct writer {
    uint8_t *at;
    size_t left;
    size_t size;
    bool bad;
};

static void give(struct writer *w, const void *bytes, size_t size)
{
    if (w->bad || size > w->left) {
        w->bad = true;
        return;
    }
    if (size > 0) memcpy(w->at, bytes, size);
    w->at += size;
    w->left -= size;
    w->size += size;
}

static void give_u8(struct writer *w, uint8_t v)
{
    give(w, &v, 1);
}

static void give_u32(struct writer *w, uint32_t v)
{
    uint8_t bytes[4];
    pbft_put_u32(bytes, v);
    give(w, bytes, sizeof bytes);
}

static void give_bytes(struct writer *w, struct pbft_span bytes)
{
    if (bytes.size > UINT32_MAX) w->bad = true;
    give_u32(w, (uint32_t)bytes.size);
    give(w, bytes.data, bytes.size);
}

static struct writer writer_begin(uint8_t *out, size_t capacity, enum pbft_kv_op op,
                                  struct pbft_span key)
{
    struct writer w = {out, capacity, 0, false};
    give_u8(&w, (uint8_t)op);
    give_bytes(&w, key);
    return w;
}

static size_t writer_end(const struct writer *w)
{
    return w->bad ? 0 : w->size;
}

size_t pbft_kv_encode_put(uint8_t *out, size_t capacity, struct pbft_span key,
                          struct pbft_span value)
{
    struct writer w = writer_begin(out, capacity, PBFT_KV_PUT, key);
    give_bytes(&w, value);
    return writer_end(&w);
}

size_t pbft_kv_encode_get(uint8_t *out, size_t capacity, struct pbft_span key)
{
    struct writer w = writer_begin(out, capacity, PBFT_KV_GET, key);
    return writer_end(&w);
}

size_t pbft_kv_encode_delete(uint8_t *out, size_t capacity, struct pbft_span key)
{
    struct writer w = writer_begin(out, capacity, PBFT_KV_DELETE, key);
    return writer_end(&w);
}

size_t pbft_kv_encode_range(uint8_t *out, size_t capacity, struct pbft_span prefix, uint32_t limit)
{
    struct writer w = writer_begin(out, capacity, PBFT_KV_RANGE, prefix);
    give_u32(&w, limit);
    return writer_end(&w);
}

size_t pbft_kv_encode_cas(uint8_t *out, size_t capacity, struct pbft_span key, bool expect_present,
                          struct pbft_span expected, struct pbft_span value)
{
    struct pbft_span none = {NULL, 0};
    struct writer w = writer_begin(out, capacity, PBFT_KV_CAS, key);
    give_u8(&w, expect_present ? 1 : 0);
    give_bytes(&w, expect_present ? expected : none);
    give_bytes(&w, value);
    return writer_end(&w);
}

/* ---- results ------------------------------------------------------------------------------ */

static bool take_entry(struct reader *r, struct pbft_kv_entry *out)
{
    out->key = take_bytes(r, SIZE_MAX);
    out->value = take_bytes(r, SIZE_MAX);
    out->meta = take_meta(r);
    if (out->key.size == 0 || !meta_valid(&out->meta)) r->bad = true;
    return !r->bad;
}

bool pbft_kv_next_entry(struct pbft_span entries, size_t *cursor, struct pbft_kv_entry *out)
{
    if (*cursor >= entries.size) return false;
    struct reader r = {entries.data + *cursor, entries.size - *cursor, false};
    if (!take_entry(&r, out)) return false;
    *cursor = entries.size - r.left;
    return true;
}

static bool ascending(struct pbft_span a, struct pbft_span b)
{
    if (a.size == 0) return b.size > 0;
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order < 0 || (order == 0 && a.size < b.size);
}

static void decode_range(struct reader *r, struct pbft_kv_result *out)
{
    out->count = take_u32(r);
    out->more = take_bool(r) ? 1 : 0;
    out->entries = (struct pbft_span){r->at, r->left};
    struct pbft_span previous = {NULL, 0}; /* below every key: keys are not empty */
    for (uint32_t i = 0; i < out->count && !r->bad; i++) {
        struct pbft_kv_entry entry;
        if (!take_entry(r, &entry)) return;
        if (!ascending(previous, entry.key)) r->bad = true;
        previous = entry.key;
    }
}

/* CAS that found something else: a key with its value, or no key. */
static void decode_found(struct reader *r, struct pbft_kv_result *out)
{
    out->meta = take_meta(r);
    out->value = take_bytes(r, SIZE_MAX);
    if (out->meta.create_revision == 0 && out->meta.mod_revision == 0 && out->meta.version == 0) {
        if (out->value.size > 0) r->bad = true;
    } else if (!meta_valid(&out->meta)) {
        r->bad = true;
    }
}

static void decode_rest(struct reader *r, struct pbft_kv_result *out)
{
    bool ok = out->status == PBFT_KV_OK;
    switch ((enum pbft_kv_op)out->op) {
    case PBFT_KV_PUT:
    case PBFT_KV_CAS:
        if (out->status == PBFT_KV_NOT_FOUND || (!ok && out->op == PBFT_KV_PUT)) r->bad = true;
        out->revision = take_u64(r);
        if (!ok) {
            decode_found(r, out);
            break;
        }
        out->meta = take_meta(r);
        if (!meta_valid(&out->meta) || out->meta.mod_revision != out->revision) r->bad = true;
        break;
    case PBFT_KV_DELETE:
        if (out->status == PBFT_KV_COMPARE_FAILED) r->bad = true;
        out->revision = take_u64(r);
        break;
    case PBFT_KV_GET:
        if (out->status == PBFT_KV_COMPARE_FAILED) r->bad = true;
        if (!ok) break;
        out->meta = take_meta(r);
        out->value = take_bytes(r, SIZE_MAX);
        if (!meta_valid(&out->meta)) r->bad = true;
        break;
    case PBFT_KV_RANGE:
        if (!ok) r->bad = true;
        decode_range(r, out);
        break;
    default: r->bad = true;
    }
}

bool pbft_kv_decode_result(struct pbft_span bytes, struct pbft_kv_result *out)
{
    struct reader r = {bytes.data, bytes.size, false};
    memset(out, 0, sizeof *out);
    out->status = take_u8(&r);
    out->op = take_u8(&r);
    if (r.bad || out->op > PBFT_KV_CAS || out->status > PBFT_KV_BAD_REQUEST) return false;
    if (out->status != PBFT_KV_BAD_REQUEST) decode_rest(&r, out);
    return reader_done(&r);
}
