/* Canonical page bytes (store/tree.h): encoding, and the decoder that trusts nothing. */
#include "crypto/hash.h"
#include "store/page.h"

#include <stdlib.h>

#define LEAF_DOMAIN   "pbft-leaf"
#define INNER_DOMAIN  "pbft-inner"
#define SCRATCH_BYTES 8192u

static void inner_encode(const struct pbft_page *page, uint8_t *out)
{
    out[0] = INNER_TYPE;
    out[1] = PAGE_VERSION;
    out[2] = page->level;
    out[3] = 0;
    store32(out + 4, page_size(page));
    store32(out + 8, page->count);
    store64(out + 12, page->entries);
    store64(out + 20, page->payload);
    uint8_t *at = out + INNER_HEADER_BYTES;
    for (uint32_t i = 0; i < page->count; i++, at += INNER_CHILD_BYTES) {
        const struct pbft_page *child = page->children[i].page;
        store32(at, i);
        store64(at + 4, child->entries);
        store64(at + 12, child->payload);
        memcpy(at + 20, child->hash.bytes, PBFT_DIGEST_BYTES);
        store32(at + 52, page->children[i].key_end);
    }
    copy_bytes(at, page->data, page->length);
}

void pbft_page_encode(const struct pbft_page *page, uint8_t *out)
{
    if (page->level == 0)
        memcpy(out, page->data, page->length);
    else
        inner_encode(page, out);
}

bool pbft_page_rehash(const struct pbft_page *page, struct pbft_digest *out)
{
    if (page->level == 0) {
        struct pbft_span bytes = {page->data, page->length};
        pbft_hash(out, LEAF_DOMAIN, &bytes, 1);
        return true;
    }
    uint8_t scratch[SCRATCH_BYTES];
    size_t size = page_size(page);
    uint8_t *encoded = size <= sizeof scratch ? scratch : malloc(size);
    if (encoded == NULL) return false;
    inner_encode(page, encoded);
    struct pbft_span bytes = {encoded, size};
    pbft_hash(out, INNER_DOMAIN, &bytes, 1);
    if (encoded != scratch) free(encoded);
    return true;
}

bool pbft_page_digest(struct pbft_span page, struct pbft_digest *digest)
{
    if (page.size == 0) return false;
    if (page.data[0] != LEAF_TYPE && page.data[0] != INNER_TYPE) return false;
    pbft_hash(digest, page.data[0] == LEAF_TYPE ? LEAF_DOMAIN : INNER_DOMAIN, &page, 1);
    return true;
}

/* ---- decoding ---- */

static enum pbft_verdict leaf_check(const struct pbft_tree_config *config, struct pbft_span page)
{
    const uint8_t *data = page.data;
    if (page.size < LEAF_HEADER_BYTES || data[2] != 0) return PBFT_DROP_MALFORMED;
    uint32_t count = load32(data + 8);
    if (count > (page.size - LEAF_HEADER_BYTES) / (LEAF_SLOT_BYTES + 2)) return PBFT_DROP_SIZE;
    if (count >= 2 && page.size > config->leaf_bytes) return PBFT_DROP_SIZE;

    size_t body = page.size - LEAF_HEADER_BYTES - (size_t)count * LEAF_SLOT_BYTES;
    const uint8_t *base = data + (page.size - body);
    struct pbft_span before = {NULL, 0};
    size_t start = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t end = leaf_end(data, i);
        if (end > body || end < start || end - start < 2) return PBFT_DROP_MALFORMED;
        struct pbft_span key = {base + start + 2, load16(base + start)};
        if (key.size > end - start - 2) return PBFT_DROP_MALFORMED;
        if (key.size > PBFT_TREE_KEY_MAX) return PBFT_DROP_SIZE;
        if (end - start - 2 - key.size > PBFT_TREE_VALUE_MAX) return PBFT_DROP_SIZE;
        if (i > 0 && span_compare(before, key) >= 0) return PBFT_DROP_MALFORMED;
        before = key;
        start = end;
    }
    return start == body ? PBFT_OK : PBFT_DROP_MALFORMED;
}

static enum pbft_verdict inner_check(const struct pbft_tree_config *config, struct pbft_span page)
{
    const uint8_t *data = page.data;
    if (page.size < INNER_HEADER_BYTES) return PBFT_DROP_MALFORMED;
    if (data[2] == 0 || data[2] >= PBFT_TREE_DEPTH_MAX) return PBFT_DROP_MALFORMED;
    uint32_t count = load32(data + 8);
    if (count < INNER_FANOUT_MIN) return PBFT_DROP_MALFORMED;
    if (count > (page.size - INNER_HEADER_BYTES) / INNER_CHILD_BYTES) return PBFT_DROP_SIZE;
    if (count >= 2 * INNER_FANOUT_MIN && page.size > config->inner_bytes) return PBFT_DROP_SIZE;

    size_t length = page.size - INNER_HEADER_BYTES - (size_t)count * INNER_CHILD_BYTES;
    const uint8_t *keys = data + (page.size - length);
    const uint8_t *child = data + INNER_HEADER_BYTES;
    uint64_t entries = 0, payload = 0;
    struct pbft_span before = {keys, 0};
    size_t start = 0;
    for (uint32_t i = 0; i < count; i++, child += INNER_CHILD_BYTES) {
        uint64_t child_entries = load64(child + 4), child_payload = load64(child + 12);
        size_t end = load32(child + 52);
        if (load32(child) != i) return PBFT_DROP_MALFORMED;
        if (end > length || end < start) return PBFT_DROP_MALFORMED;
        struct pbft_span key = {keys + start, end - start};
        if (key.size > PBFT_TREE_KEY_MAX) return PBFT_DROP_SIZE;
        /* An empty key for child 0 only: all others are greater than it. */
        if (i == 0 ? key.size != 0 : span_compare(before, key) >= 0) return PBFT_DROP_MALFORMED;
        if (child_entries == 0) return PBFT_DROP_MALFORMED;
        if (child_entries > UINT64_MAX - entries) return PBFT_DROP_SIZE;
        if (child_payload > UINT64_MAX - payload) return PBFT_DROP_SIZE;
        entries += child_entries;
        payload += child_payload;
        before = key;
        start = end;
    }
    if (start != length || entries != load64(data + 12) || payload != load64(data + 20))
        return PBFT_DROP_MALFORMED;
    return PBFT_OK;
}

enum pbft_verdict pbft_page_check(const struct pbft_tree_config *config, struct pbft_span page)
{
    if (page.size > PBFT_PAGE_BYTES_MAX) return PBFT_DROP_SIZE;
    if (page.size < LEAF_HEADER_BYTES) return PBFT_DROP_MALFORMED;
    if (page.data[0] != LEAF_TYPE && page.data[0] != INNER_TYPE) return PBFT_DROP_TYPE;
    if (page.data[1] != PAGE_VERSION) return PBFT_DROP_VERSION;
    if (page.data[3] != 0 || load32(page.data + 4) != page.size) return PBFT_DROP_MALFORMED;
    return page.data[0] == LEAF_TYPE ? leaf_check(config, page) : inner_check(config, page);
}

struct pbft_child_view pbft_page_child(const uint8_t *data, uint32_t index)
{
    uint32_t count = load32(data + 8);
    const uint8_t *child = data + INNER_HEADER_BYTES + (size_t)index * INNER_CHILD_BYTES;
    const uint8_t *keys = data + INNER_HEADER_BYTES + (size_t)count * INNER_CHILD_BYTES;
    uint32_t start = index == 0 ? 0 : load32(child - INNER_CHILD_BYTES + 52);
    return (struct pbft_child_view){
        .key = {keys + start, load32(child + 52) - start},
        .digest = child + 20,
        .entries = load64(child + 4),
        .payload = load64(child + 12),
    };
}

void pbft_page_totals(struct pbft_span bytes, uint64_t *entries, uint64_t *payload)
{
    if (bytes.data[0] == INNER_TYPE) {
        *entries = load64(bytes.data + 12);
        *payload = load64(bytes.data + 20);
        return;
    }
    uint32_t count = load32(bytes.data + 8);
    *entries = count;
    *payload = count == 0 ? 0 : leaf_end(bytes.data, count - 1) - 2u * count;
}

struct pbft_page *pbft_page_decode(struct pbft_space *space, struct pbft_span bytes)
{
    uint32_t count = load32(bytes.data + 8);
    bool inner = bytes.data[0] == INNER_TYPE;
    size_t head = inner ? INNER_HEADER_BYTES + (size_t)count * INNER_CHILD_BYTES : 0;
    uint32_t length = (uint32_t)(bytes.size - head);
    struct pbft_page *page =
        pbft_page_alloc(space, bytes.data[2], length == 0 ? 1 : length, inner ? count : 0);
    if (page == NULL) return NULL;
    copy_bytes(page->data, bytes.data + head, length);
    page->length = length;
    page->count = count;
    for (uint32_t i = 0; inner && i < count; i++) {
        const uint8_t *child = bytes.data + INNER_HEADER_BYTES + (size_t)i * INNER_CHILD_BYTES;
        page->children[i] = (struct pbft_child){NULL, load32(child + 52)};
    }
    pbft_page_totals(bytes, &page->entries, &page->payload);
    if (pbft_heads_rebuild(space, page)) return page;
    pbft_page_unref(space, page);
    return NULL;
}
