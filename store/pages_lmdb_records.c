/*
 * The records of the page store in LMDB.
 *
 * Pages have keys of 32 bytes, their hashes. LMDB stores a long value in pages of its own: what is
 * just too long for k of them would take k + 1. So its tail, if it is short, is a record by itself,
 * whose key has one byte more (1), and which shares a page with others. Two records more, which
 * their shorter keys tell from these: "owner" and "checkpoint", little-endian, each with a hash
 * over all of it.
 *
 *     owner        magic "PBFTPAGE", u32 version 1, u32 replica, cluster id[32], fingerprint of the
 *                  public key[32], pbft_hash("pbft-pages-own", all of that)[32]
 *     checkpoint   u64 seq, root[32], u32 flags (1: a sweep is under way), u32 certificate size,
 *                  certificate, pbft_hash("pbft-pages-meta", all of that)[32]
 */
#include "crypto/hash.h"
#include "pbft/wire.h"
#include "store/pages_lmdb_internal.h"

#include <stdlib.h>

#define FORMAT_VERSION 1u
#define FLAG_SWEEPING  1u

static const uint8_t magic[8] = {'P', 'B', 'F', 'T', 'P', 'A', 'G', 'E'};

/* ---- keys, and where a page is cut ---- */

static MDB_val key_digest(const struct pbft_digest *digest)
{
    return (MDB_val){PBFT_DIGEST_BYTES, (void *)(uintptr_t)digest->bytes};
}

static MDB_val key_tail(const struct pbft_digest *digest, uint8_t out[LMDB_TAIL_KEY_BYTES])
{
    memcpy(out, digest->bytes, PBFT_DIGEST_BYTES);
    out[PBFT_DIGEST_BYTES] = 1;
    return (MDB_val){LMDB_TAIL_KEY_BYTES, out};
}

/* Bytes of a page that are stored apart from the others; 0: none. */
static size_t tail_size(const struct file *file, size_t size)
{
    size_t over = (size + LMDB_PAGE_HEADER) % file->page_bytes;
    bool more_than_one = size + LMDB_PAGE_HEADER > file->page_bytes;
    return more_than_one && over < file->inline_max ? over : 0;
}

/* A value that fills LMDB's pages to the last byte may have a tail. */
static bool may_have_tail(const struct file *file, size_t size)
{
    return size > file->inline_max && (size + LMDB_PAGE_HEADER) % file->page_bytes == 0;
}

size_t lmdb_inline_max(uint32_t page_bytes)
{
    /* LMDB keeps two nodes in a page; 8 bytes are a node's head, 2 its place. */
    return (((page_bytes - LMDB_PAGE_HEADER) / 2) & ~1u) - 2 - 8 - PBFT_DIGEST_BYTES;
}

/* A node of the index has 50 bytes, beside a value that fits in; its pages are two thirds full. */
uint64_t lmdb_cost(const struct pbft_pages *pages, size_t size)
{
    const struct file *file = &((const struct lmdb_pages *)pages)->file;
    if (size <= file->inline_max) return (size + 50) * 3 / 2;
    size_t apart = tail_size(file, size);
    if (apart > 0) return size - apart + LMDB_PAGE_HEADER + 75 + (apart + 51) * 3 / 2;
    uint64_t count = (size + LMDB_PAGE_HEADER + file->page_bytes - 1) / file->page_bytes;
    return count * file->page_bytes + 75;
}

/* ---- owner and checkpoint ---- */

static void record_seal(uint8_t *record, size_t size, const char *domain)
{
    struct pbft_digest sum;
    struct pbft_span body = {record, size};
    pbft_hash(&sum, domain, &body, 1);
    memcpy(record + size, sum.bytes, PBFT_DIGEST_BYTES);
}

static bool record_sealed(const uint8_t *record, size_t size, const char *domain)
{
    struct pbft_digest sum;
    struct pbft_span body = {record, size};
    pbft_hash(&sum, domain, &body, 1);
    return memcmp(record + size, sum.bytes, PBFT_DIGEST_BYTES) == 0;
}

void lmdb_owner_encode(const struct pbft_superblock_owner *owner, uint8_t out[LMDB_OWNER_BYTES])
{
    memcpy(out, magic, sizeof magic);
    pbft_put_u32(out + 8, FORMAT_VERSION);
    pbft_put_u32(out + 12, owner->replica);
    memcpy(out + 16, owner->cluster_id.bytes, PBFT_DIGEST_BYTES);
    memcpy(out + 48, owner->key_fingerprint.bytes, PBFT_DIGEST_BYTES);
    record_seal(out, LMDB_OWNER_BYTES - PBFT_DIGEST_BYTES, "pbft-pages-own");
}

/* NULL if the record is that of the owner; or what is wrong with it. Magic, version and, at the
 * end, the hash stay where they are in every version to come: rot is none. */
const char *lmdb_owner_wrong(const MDB_val *value, const struct pbft_superblock_owner *owner,
                             enum pbft_status *status)
{
    const uint8_t *have = value->mv_data;
    *status = PBFT_STATUS_CORRUPT;
    if (value->mv_size < 12 + PBFT_DIGEST_BYTES || memcmp(have, magic, sizeof magic) != 0 ||
        !record_sealed(have, value->mv_size - PBFT_DIGEST_BYTES, "pbft-pages-own"))
        return "is damaged";
    if (pbft_get_u32(have + 8) > FORMAT_VERSION) {
        *status = PBFT_STATUS_LATER;
        return "was written by a newer version of pbft";
    }
    uint8_t expected[LMDB_OWNER_BYTES];
    lmdb_owner_encode(owner, expected);
    if (value->mv_size != LMDB_OWNER_BYTES || memcmp(have, expected, LMDB_OWNER_BYTES) != 0)
        return "belongs to another cluster, replica or key";
    *status = PBFT_STATUS_OK;
    return NULL;
}

static enum pbft_status meta_decode(const MDB_val *value, struct pbft_pages_meta *out)
{
    const uint8_t *have = value->mv_data;
    if (value->mv_size < LMDB_CHECKPOINT_HEAD + PBFT_DIGEST_BYTES ||
        value->mv_size > LMDB_CHECKPOINT_BYTES ||
        !record_sealed(have, value->mv_size - PBFT_DIGEST_BYTES, "pbft-pages-meta"))
        return PBFT_STATUS_CORRUPT;
    uint64_t size = pbft_get_u32(have + 44);
    if (size != value->mv_size - LMDB_CHECKPOINT_HEAD - PBFT_DIGEST_BYTES)
        return PBFT_STATUS_CORRUPT;
    out->checkpoint.seq = pbft_get_u64(have);
    memcpy(out->checkpoint.root.bytes, have + 8, PBFT_DIGEST_BYTES);
    out->sweeping = (pbft_get_u32(have + 40) & FLAG_SWEEPING) != 0;
    out->checkpoint.certificate_size = (uint32_t)size;
    memcpy(out->checkpoint.certificate, have + LMDB_CHECKPOINT_HEAD, size);
    return PBFT_STATUS_OK;
}

/* ---- pages ---- */

static enum pbft_status join(struct lmdb_pages *store, struct pbft_span *page, const MDB_val *tail)
{
    size_t size = page->size + tail->mv_size;
    if (size > store->whole_capacity) {
        uint8_t *grown = realloc(store->whole, size);
        if (grown == NULL) return PBFT_STATUS_MEMORY;
        store->whole = grown;
        store->whole_capacity = size;
    }
    memcpy(store->whole, page->data, page->size);
    memcpy(store->whole + page->size, tail->mv_data, tail->mv_size);
    *page = (struct pbft_span){store->whole, size};
    return PBFT_STATUS_OK;
}

enum pbft_status lmdb_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                          struct pbft_span *page)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    MDB_val key = key_digest(digest), value;
    int error = mdb_get(store->txn, lmdb_current(store)->dbi, &key, &value);
    if (error != 0) return lmdb_judge(store, error);
    *page = (struct pbft_span){value.mv_data, value.mv_size};
    if (!may_have_tail(lmdb_current(store), value.mv_size)) return PBFT_STATUS_OK;
    uint8_t bytes[LMDB_TAIL_KEY_BYTES];
    MDB_val tail;
    key = key_tail(digest, bytes);
    error = mdb_get(store->txn, lmdb_current(store)->dbi, &key, &tail);
    if (error == MDB_NOTFOUND) return PBFT_STATUS_OK; /* or it is lost, and the hash says so */
    return error == 0 ? join(store, page, &tail) : lmdb_judge(store, error);
}

enum pbft_status lmdb_put(struct pbft_pages *pages, const struct pbft_digest *digest,
                          struct pbft_span page)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    size_t apart = tail_size(lmdb_current(store), page.size), first = page.size - apart;
    MDB_val key = key_digest(digest);
    MDB_val value = {first, (void *)(uintptr_t)page.data};
    int error = mdb_put(store->txn, lmdb_current(store)->dbi, &key, &value, 0);
    if (error != 0 || apart == 0) return lmdb_judge(store, error);
    uint8_t bytes[LMDB_TAIL_KEY_BYTES];
    key = key_tail(digest, bytes);
    value = (MDB_val){apart, (void *)(uintptr_t)(page.data + first)};
    error = mdb_put(store->txn, lmdb_current(store)->dbi, &key, &value, MDB_NOOVERWRITE);
    if (error == 0) store->tails++;
    if (error != MDB_KEYEXIST) return lmdb_judge(store, error);
    value = (MDB_val){apart, (void *)(uintptr_t)(page.data + first)}; /* it shows what is there */
    return lmdb_judge(store, mdb_put(store->txn, lmdb_current(store)->dbi, &key, &value, 0));
}

enum pbft_status lmdb_remove(struct pbft_pages *pages, const struct pbft_digest *digest)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    MDB_val key;
    if (store->tails > 0) { /* as a rule there are none */
        uint8_t bytes[LMDB_TAIL_KEY_BYTES];
        key = key_tail(digest, bytes);
        int error = mdb_del(store->txn, lmdb_current(store)->dbi, &key, NULL);
        if (error == 0) store->tails--;
        if (error != 0 && error != MDB_NOTFOUND) return lmdb_judge(store, error);
    }
    key = key_digest(digest);
    return lmdb_judge(store, mdb_del(store->txn, lmdb_current(store)->dbi, &key, NULL));
}

enum pbft_status lmdb_next(struct pbft_pages *pages, const struct pbft_digest *after,
                           struct pbft_digest *out)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    int error = 0;
    if (store->cursor == NULL)
        error = mdb_cursor_open(store->txn, lmdb_current(store)->dbi, &store->cursor);
    if (error != 0) return lmdb_judge(store, error);
    MDB_val key = {0, NULL}, value;
    if (after != NULL) key = key_digest(after);
    error = mdb_cursor_get(store->cursor, &key, &value, after == NULL ? MDB_FIRST : MDB_SET_RANGE);
    while (error == 0 &&
           (key.mv_size != PBFT_DIGEST_BYTES ||
            (after != NULL && memcmp(key.mv_data, after->bytes, PBFT_DIGEST_BYTES) <= 0)))
        error = mdb_cursor_get(store->cursor, &key, &value, MDB_NEXT);
    if (error != 0) return lmdb_judge(store, error);
    memcpy(out->bytes, key.mv_data, PBFT_DIGEST_BYTES);
    return PBFT_STATUS_OK;
}

enum pbft_status lmdb_get_meta(struct pbft_pages *pages, struct pbft_pages_meta *out)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    MDB_val key = lmdb_key_text(LMDB_CHECKPOINT_KEY), value;
    int error = mdb_get(store->txn, lmdb_current(store)->dbi, &key, &value);
    if (error == MDB_NOTFOUND) {
        memset(out, 0, sizeof *out);
        return PBFT_STATUS_OK;
    }
    if (error != 0) return lmdb_judge(store, error);
    enum pbft_status status = meta_decode(&value, out);
    return status; /* whoever writes anew needs nothing of it */
}

enum pbft_status lmdb_put_meta(struct pbft_pages *pages, const struct pbft_pages_meta *meta)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    const struct pbft_pages_checkpoint *checkpoint = &meta->checkpoint;
    size_t size = LMDB_CHECKPOINT_HEAD + checkpoint->certificate_size;
    pbft_put_u64(store->record, checkpoint->seq);
    memcpy(store->record + 8, checkpoint->root.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(store->record + 40, meta->sweeping ? FLAG_SWEEPING : 0);
    pbft_put_u32(store->record + 44, checkpoint->certificate_size);
    memcpy(store->record + LMDB_CHECKPOINT_HEAD, checkpoint->certificate,
           checkpoint->certificate_size);
    record_seal(store->record, size, "pbft-pages-meta");
    MDB_val key = lmdb_key_text(LMDB_CHECKPOINT_KEY),
            value = {size + PBFT_DIGEST_BYTES, store->record};
    return lmdb_judge(store, mdb_put(store->txn, lmdb_current(store)->dbi, &key, &value, 0));
}
