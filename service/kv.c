/* The coordination service's operations: get, put, delete, range, compare-and-swap.
 *
 * Its keyspace: "k" + key holds meta and value, "r" the store revision. The revision changes with
 * every write, so it sorts behind the keys and keeps its change mark out of most of their pages. */
#include "service/kv.h"

#include "pbft/wire.h"
#include "service/kv_codec.h"

#include <string.h>

#define KEY_BYTES    (1u + 1024u + 1u)
#define PUT_BYTES    (2u + 8u + PBFT_KV_META_BYTES) /* the longest result of a change */
#define ENTRY_BYTES  (4u + 4u + PBFT_KV_META_BYTES) /* of a RANGE, without key and value */
#define RANGE_OFFSET 2u                             /* of count and more in a RANGE result */

_Static_assert(PBFT_KV_META_BYTES <= PBFT_TXN_VALUE_SLACK, "meta fits beside a greatest value");

static const struct pbft_span revision_key = {(const uint8_t *)"r", 1};

/* Read access, so that execute and query answer reads with the same bytes. */
struct source {
    struct pbft_txn *txn; /* NULL: the view */
    struct pbft_view_txn *view;
    uint64_t *mark;
};

static bool source_get(const struct source *s, struct pbft_span key, struct pbft_span *value)
{
    if (s->txn != NULL) return pbft_txn_get(s->txn, key, value);
    return pbft_view_get(s->view, key, value, s->mark);
}

static void source_scan(const struct source *s, struct pbft_span from, struct pbft_span to,
                        pbft_txn_scan_fn each, void *context)
{
    if (s->txn != NULL)
        pbft_txn_scan(s->txn, from, to, each, context);
    else
        pbft_view_scan(s->view, from, to, each, context, s->mark);
}

static struct pbft_span user_key(uint8_t out[KEY_BYTES], struct pbft_span key)
{
    out[0] = 'k';
    if (key.size > 0) memcpy(out + 1, key.data, key.size);
    return (struct pbft_span){out, key.size + 1};
}

/* A key as it is stored; spans die with the next change. */
struct found {
    struct pbft_kv_meta meta;
    struct pbft_span value;
};

static bool split(struct pbft_span stored, struct found *out)
{
    PBFT_ASSERT(stored.size >= PBFT_KV_META_BYTES); /* we wrote it, under a certified root */
    out->meta = pbft_kv_get_meta(stored.data);
    out->value =
        (struct pbft_span){stored.data + PBFT_KV_META_BYTES, stored.size - PBFT_KV_META_BYTES};
    return true;
}

static bool find(const struct source *s, struct pbft_span stored_key, struct found *out)
{
    struct pbft_span stored;
    return source_get(s, stored_key, &stored) && split(stored, out);
}

static uint64_t revision(struct pbft_txn *txn)
{
    struct pbft_span bytes;
    if (!pbft_txn_get(txn, revision_key, &bytes)) return 0;
    PBFT_ASSERT(bytes.size == 8);
    return pbft_get_u64(bytes.data);
}

static uint64_t revision_next(struct pbft_txn *txn)
{
    uint64_t next = revision(txn) + 1;
    uint8_t bytes[8];
    pbft_put_u64(bytes, next);
    bool stored = pbft_txn_put(txn, revision_key, (struct pbft_span){bytes, sizeof bytes});
    PBFT_ASSERT(stored);
    return next;
}

/* ---- results ------------------------------------------------------------------------------ */

static void result_begin(struct pbft_result *r, enum pbft_kv_status status, uint8_t op)
{
    pbft_result_u8(r, (uint8_t)status);
    pbft_result_u8(r, op);
}

static void result_meta(struct pbft_result *r, const struct pbft_kv_meta *meta)
{
    uint8_t bytes[PBFT_KV_META_BYTES];
    pbft_kv_put_meta(bytes, meta);
    pbft_result_write(r, bytes, sizeof bytes);
}

static void result_bytes(struct pbft_result *r, struct pbft_span bytes)
{
    pbft_result_u32(r, (uint32_t)bytes.size); /* values and keys are bounded by 1 MiB */
    pbft_result_write(r, bytes.data, bytes.size);
}

/* ---- changes ------------------------------------------------------------------------------ */

/* `old` NULL: the key does not exist. Its value is not used. */
static void store(struct pbft_txn *txn, uint8_t op, struct pbft_span key, const struct found *old,
                  struct pbft_span value, struct pbft_result *r)
{
    struct pbft_kv_meta meta = {0, 0, 0};
    if (old != NULL) meta = old->meta;
    meta.mod_revision = revision_next(txn);
    if (old == NULL) meta.create_revision = meta.mod_revision;
    meta.version++;

    uint8_t header[PBFT_KV_META_BYTES];
    pbft_kv_put_meta(header, &meta);
    bool stored = pbft_txn_put2(txn, key, (struct pbft_span){header, sizeof header}, value);
    PBFT_ASSERT(stored); /* the decoder judged the bounds */
    result_begin(r, PBFT_KV_OK, op);
    pbft_result_u64(r, meta.mod_revision);
    result_meta(r, &meta);
}

static void on_put(struct pbft_txn *txn, const struct pbft_kv_request *q, struct pbft_result *r)
{
    uint8_t bytes[KEY_BYTES];
    struct pbft_span key = user_key(bytes, q->key);
    struct source source = {.txn = txn};
    struct found old;
    bool exists = find(&source, key, &old);
    store(txn, q->op, key, exists ? &old : NULL, q->value, r);
}

static void on_delete(struct pbft_txn *txn, const struct pbft_kv_request *q, struct pbft_result *r)
{
    uint8_t bytes[KEY_BYTES];
    bool existed = pbft_txn_delete(txn, user_key(bytes, q->key));
    result_begin(r, existed ? PBFT_KV_OK : PBFT_KV_NOT_FOUND, q->op);
    pbft_result_u64(r, existed ? revision_next(txn) : revision(txn));
}

static bool same(struct pbft_span a, struct pbft_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void on_cas(struct pbft_txn *txn, const struct pbft_kv_request *q, struct pbft_result *r)
{
    uint8_t bytes[KEY_BYTES];
    struct pbft_span key = user_key(bytes, q->key);
    struct source source = {.txn = txn};
    struct found old = {{0, 0, 0}, {NULL, 0}};
    bool exists = find(&source, key, &old);
    if (exists == q->expect_present && (!exists || same(old.value, q->expected))) {
        store(txn, q->op, key, exists ? &old : NULL, q->value, r);
        return;
    }
    result_begin(r, PBFT_KV_COMPARE_FAILED, q->op);
    pbft_result_u64(r, revision(txn));
    result_meta(r, &old.meta);
    result_bytes(r, old.value);
}

/* ---- reads -------------------------------------------------------------------------------- */

static void on_get(const struct source *s, const struct pbft_kv_request *q, struct pbft_result *r)
{
    uint8_t bytes[KEY_BYTES];
    struct found found;
    if (!find(s, user_key(bytes, q->key), &found)) {
        result_begin(r, PBFT_KV_NOT_FOUND, q->op); /* the mark stays the page's */
        return;
    }
    /* PROTOCOL 32: a present key is known by its revision. A page's mark is never compared with it:
     * it goes with another status. */
    if (s->mark != NULL) *s->mark = found.meta.mod_revision;
    result_begin(r, PBFT_KV_OK, q->op);
    result_meta(r, &found.meta);
    result_bytes(r, found.value);
}

struct range {
    struct pbft_result *result;
    uint32_t limit;
    uint32_t count;
    bool more;
};

static bool range_each(void *context, struct pbft_span key, struct pbft_span value)
{
    struct range *range = context;
    struct pbft_result *r = range->result;
    struct found found;
    split(value, &found);
    struct pbft_span user = {key.data + 1, key.size - 1};
    size_t size = ENTRY_BYTES + user.size + found.value.size;
    if (range->count == range->limit || size > r->capacity - r->size) {
        range->more = true;
        return false;
    }
    result_bytes(r, user);
    result_bytes(r, found.value);
    result_meta(r, &found.meta);
    range->count++;
    return true;
}

/* Work is bounded by the result: each entry visited but the last one is in it (PROTOCOL 9). */
static void on_range(const struct source *s, const struct pbft_kv_request *q, struct pbft_result *r)
{
    uint8_t from_bytes[KEY_BYTES];
    uint8_t to_bytes[KEY_BYTES];
    struct pbft_span from = user_key(from_bytes, q->key);
    struct pbft_span to = user_key(to_bytes, q->key);
    while (to_bytes[to.size - 1] == UINT8_MAX)
        to.size--; /* ends at the "k" at the latest */
    to_bytes[to.size - 1]++;

    result_begin(r, PBFT_KV_OK, q->op);
    uint8_t head[5] = {0};
    pbft_result_write(r, head, sizeof head);
    if (r->overflow) return;
    struct range range = {r, q->limit == 0 ? UINT32_MAX : q->limit, 0, false};
    source_scan(s, from, to, range_each, &range);
    pbft_put_u32(r->bytes + RANGE_OFFSET, range.count);
    r->bytes[RANGE_OFFSET + 4] = range.more ? 1 : 0;
}

/* ---- the service -------------------------------------------------------------------------- */

static void kv_execute(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                       struct pbft_span op, struct pbft_result *result)
{
    (void)context;
    (void)call;
    struct source source = {.txn = txn};
    struct pbft_kv_request q;
    if (!pbft_kv_decode_op(op, pbft_txn_params(txn), &q)) {
        result_begin(result, PBFT_KV_BAD_REQUEST, q.op);
        return;
    }
    switch ((enum pbft_kv_op)q.op) {
    case PBFT_KV_GET: on_get(&source, &q, result); return;
    case PBFT_KV_RANGE: on_range(&source, &q, result); return;
    case PBFT_KV_PUT:
    case PBFT_KV_DELETE:
    case PBFT_KV_CAS: break;
    }
    /* Nothing changes unless its result can be written. */
    if (!pbft_result_reserve(result, PUT_BYTES)) return;
    if (q.op == PBFT_KV_PUT)
        on_put(txn, &q, result);
    else if (q.op == PBFT_KV_DELETE)
        on_delete(txn, &q, result);
    else
        on_cas(txn, &q, result);
}

static void kv_prefetch(void *context, struct pbft_view_txn *view, struct pbft_span op)
{
    (void)context;
    struct pbft_kv_request q;
    uint8_t bytes[KEY_BYTES];
    if (pbft_kv_decode_op(op, pbft_view_params(view), &q))
        pbft_view_prefetch(view, user_key(bytes, q.key));
}

static void kv_query(void *context, struct pbft_view_txn *view, struct pbft_span op,
                     struct pbft_result *result, uint64_t *mark)
{
    (void)context;
    struct source source = {.view = view, .mark = mark};
    struct pbft_kv_request q;
    bool ok = pbft_kv_decode_op(op, pbft_view_params(view), &q);
    if (ok && q.op == PBFT_KV_GET)
        on_get(&source, &q, result);
    else if (ok && q.op == PBFT_KV_RANGE)
        on_range(&source, &q, result);
    else
        result_begin(result, PBFT_KV_BAD_REQUEST, q.op); /* a change is no query */
}

const struct pbft_service pbft_kv_service = {
    .name = "kv",
    .context = NULL,
    .genesis = NULL,
    .execute = kv_execute,
    .prefetch = kv_prefetch,
    .query = kv_query,
};
