/*
 * The records of the page store in LMDB.
 *
 * Pages have keys of 32 bytes, their hashes. LMDB stores a long value in pages of its own. One that
 * is just too long for k of them would take k + 1: its tail, if it is short, is a record by itself.
 * One that is just too long for two to share one would take twice its bytes: it is stored as four.
 * The keys of the further pieces have one byte more (1, 2, 3). Two records more, which their
 * shorter keys tell from these: "owner" and "checkpoint", little-endian, each with a hash over all
 * of it.
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
#define QUARTERS       4u

static const uint8_t magic[8] = {'P', 'B', 'F', 'T', 'P', 'A', 'G', 'E'};

/* ---- keys, and where a page is cut ---- */

static MDB_val key_digest(const struct pbft_digest *digest)
{
    return (MDB_val){PBFT_DIGEST_BYTES, (void *)(uintptr_t)digest->bytes};
}

static MDB_val key_piece(const struct pbft_digest *digest, unsigned piece,
                         uint8_t out[LMDB_PIECE_KEY_BYTES])
{
    memcpy(out, digest->bytes, PBFT_DIGEST_BYTES);
    out[PBFT_DIGEST_BYTES] = (uint8_t)piece;
    return (MDB_val){LMDB_PIECE_KEY_BYTES, out};
}

static bool quartered(const struct file *file, size_t size)
{
    return size > file->inline_max && size <= file->quartered_max;
}

/* Bytes of each record that a page is cut into, but for the last, which has what is left. */
static size_t piece_bytes(const struct file *file, size_t size)
{
    if (quartered(file, size)) return (size + QUARTERS - 1) / QUARTERS;
    size_t over = (size + LMDB_PAGE_HEADER) % file->page_bytes;
    bool more_than_one = size + LMDB_PAGE_HEADER > file->page_bytes;
    return more_than_one && over < file->inline_max ? size - over : size;
}

/* How many records a page may have whose first has so many bytes. */
static unsigned pieces_max(const struct file *file, size_t first)
{
    if (first <= file->inline_max) return quartered(file, first * QUARTERS) ? QUARTERS : 1;
    return (first + LMDB_PAGE_HEADER) % file->page_bytes == 0 ? 2 : 1;
}

/* The longest value that so many of its length share a page of LMDB's with; 8 bytes are a node's
 * head, 2 its place. */
static size_t shared_max(uint32_t page_bytes, uint32_t nodes, size_t key_bytes)
{
    return (((page_bytes - LMDB_PAGE_HEADER) / nodes) & ~1u) - 2 - 8 - key_bytes;
}

void lmdb_file_sizes(struct file *file, uint32_t page_bytes)
{
    file->page_bytes = page_bytes;
    file->inline_max = shared_max(page_bytes, 2, PBFT_DIGEST_BYTES); /* LMDB's own rule */
    /* Longer ones fill enough of a page of their own. */
    file->quartered_max = QUARTERS * shared_max(page_bytes, 6, LMDB_PIECE_KEY_BYTES);
}

/* Bytes that a record takes in a page that it shares: in order as many are in one as fit, in no
 * order pages are two thirds full. */
static uint64_t shared_cost(const struct file *file, size_t key_bytes, size_t size, bool anew)
{
    size_t node = (8 + key_bytes + size + 1) / 2 * 2 + 2;
    return anew ? file->page_bytes / ((file->page_bytes - LMDB_PAGE_HEADER) / node) : node * 3 / 2;
}

uint64_t lmdb_cost(const struct pbft_pages *pages, size_t size, bool anew)
{
    const struct file *file = &((const struct lmdb_pages *)pages)->file;
    if (size <= file->inline_max) return shared_cost(file, PBFT_DIGEST_BYTES, size, anew);
    size_t each = piece_bytes(file, size);
    /* Four that come to a full page of six or seven split it, and often twice: three to a page. */
    if (quartered(file, size))
        return anew ? QUARTERS * shared_cost(file, LMDB_PIECE_KEY_BYTES, each, true)
                    : QUARTERS * file->page_bytes / 3;
    /* In the leaf there is the number of the first page. */
    uint64_t count = (each + LMDB_PAGE_HEADER + file->page_bytes - 1) / file->page_bytes;
    uint64_t cost = count * file->page_bytes + shared_cost(file, PBFT_DIGEST_BYTES, 8, anew);
    if (each == size) return cost;
    return cost + shared_cost(file, LMDB_PIECE_KEY_BYTES, size - each, anew);
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

/* `page` with this piece behind it, in the store's memory. */
static enum pbft_status join(struct lmdb_pages *store, struct pbft_span *page, const MDB_val *piece)
{
    size_t size = page->size + piece->mv_size;
    bool begun = page->data == store->whole;
    if (size > store->whole_capacity) {
        uint8_t *grown = realloc(store->whole, size);
        if (grown == NULL) return PBFT_STATUS_MEMORY;
        store->whole = grown;
        store->whole_capacity = size;
    }
    if (!begun) memcpy(store->whole, page->data, page->size);
    memcpy(store->whole + page->size, piece->mv_data, piece->mv_size);
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
    unsigned most = pieces_max(lmdb_current(store), value.mv_size);
    for (unsigned piece = 1; piece < most; piece++) {
        uint8_t bytes[LMDB_PIECE_KEY_BYTES];
        key = key_piece(digest, piece, bytes);
        error = mdb_get(store->txn, lmdb_current(store)->dbi, &key, &value);
        if (error == MDB_NOTFOUND) break; /* or it is lost, and the hash says so */
        if (error != 0) return lmdb_judge(store, error);
        enum pbft_status status = join(store, page, &value);
        if (status != PBFT_STATUS_OK) return status;
    }
    return PBFT_STATUS_OK;
}

/* Aside, where keys come in their order, LMDB fills its pages to the end; a key that does not is
 * put like any other. fresh: there was none like it. */
static int record_put(struct lmdb_pages *store, MDB_val key, struct pbft_span bytes, bool *fresh)
{
    const MDB_val given = {bytes.size, (void *)(uintptr_t)bytes.data};
    MDB_dbi dbi = lmdb_current(store)->dbi;
    MDB_val value = given; /* LMDB puts there what it finds */
    int error = MDB_KEYEXIST;
    if (store->aside.env != NULL) error = mdb_put(store->txn, dbi, &key, &value, MDB_APPEND);
    value = given;
    if (error == MDB_KEYEXIST) error = mdb_put(store->txn, dbi, &key, &value, MDB_NOOVERWRITE);
    *fresh = error == 0;
    value = given;
    return error == MDB_KEYEXIST ? mdb_put(store->txn, dbi, &key, &value, 0) : error;
}

enum pbft_status lmdb_put(struct pbft_pages *pages, const struct pbft_digest *digest,
                          struct pbft_span page)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    size_t each = piece_bytes(lmdb_current(store), page.size);
    bool fresh;
    int error = record_put(store, key_digest(digest), (struct pbft_span){page.data, each}, &fresh);
    size_t at = each;
    for (unsigned piece = 1; error == 0 && at < page.size; piece++, at += each) {
        uint8_t key[LMDB_PIECE_KEY_BYTES];
        size_t size = page.size - at < each ? page.size - at : each;
        error = record_put(store, key_piece(digest, piece, key),
                           (struct pbft_span){page.data + at, size}, &fresh);
        if (fresh) store->pieces++;
    }
    return lmdb_judge(store, error);
}

enum pbft_status lmdb_remove(struct pbft_pages *pages, const struct pbft_digest *digest)
{
    struct lmdb_pages *store = lmdb_from_base(pages);
    MDB_val key;
    for (unsigned piece = 1; store->pieces > 0 && piece < QUARTERS; piece++) {
        uint8_t bytes[LMDB_PIECE_KEY_BYTES];
        key = key_piece(digest, piece, bytes);
        int error = mdb_del(store->txn, lmdb_current(store)->dbi, &key, NULL);
        if (error == MDB_NOTFOUND) break;
        if (error != 0) return lmdb_judge(store, error);
        store->pieces--;
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
