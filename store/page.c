/* Pages: memory, references, copy on write, and what is done inside a single page. */
#include "store/page.h"

#include <stdlib.h>

#define DATA_ROUND_BYTES 256u

static uint32_t round_up(uint32_t bytes)
{
    return (bytes + (DATA_ROUND_BYTES - 1)) & ~(DATA_ROUND_BYTES - 1);
}

static _Noreturn void no_memory(void)
{
    pbft_panic(__FILE__, __LINE__, "out of memory for the state tree");
}

static void account(struct pbft_space *space, size_t plus, size_t minus)
{
    atomic_fetch_add_explicit(&space->bytes, plus - minus, memory_order_relaxed);
}

static size_t page_memory(const struct pbft_page *page)
{
    return sizeof *page + page->capacity + page->children_capacity * sizeof *page->children +
           page->heads_capacity * sizeof *page->heads;
}

struct pbft_page *pbft_page_alloc(struct pbft_space *space, uint8_t level, uint32_t capacity,
                                  uint32_t children)
{
    struct pbft_page *page = calloc(1, sizeof *page);
    if (page == NULL) return NULL;
    page->level = level;
    page->capacity = round_up(capacity == 0 ? 1 : capacity);
    page->children_capacity = children;
    page->data = malloc(page->capacity);
    if (children != 0) page->children = calloc(children, sizeof *page->children);
    if (page->data == NULL || (children != 0 && page->children == NULL)) {
        free(page->data);
        free(page->children);
        free(page);
        return NULL;
    }
    atomic_init(&page->refs, 1);
    atomic_init(&page->hashed, false);
    if (level == 0) {
        PBFT_ASSERT(capacity >= LEAF_HEADER_BYTES);
        memset(page->data, 0, LEAF_HEADER_BYTES);
        page->data[0] = LEAF_TYPE;
        page->data[1] = PAGE_VERSION;
        page->length = LEAF_HEADER_BYTES;
        store32(page->data + 4, page->length);
    }
    account(space, page_memory(page), 0);
    return page;
}

struct pbft_page *pbft_page_new(struct pbft_space *space, uint8_t level, uint32_t capacity,
                                uint32_t children)
{
    struct pbft_page *page = pbft_page_alloc(space, level, capacity, children);
    if (page == NULL) no_memory();
    return page;
}

static void data_reserve(struct pbft_space *space, struct pbft_page *page, uint32_t bytes)
{
    if (bytes <= page->capacity) return;
    uint32_t capacity = round_up(bytes);
    uint8_t *data = realloc(page->data, capacity);
    if (data == NULL) no_memory();
    account(space, capacity, page->capacity);
    page->data = data;
    page->capacity = capacity;
}

/* Do not let a page keep the room of a great value that has left it. */
static void data_trim(struct pbft_space *space, struct pbft_page *page)
{
    uint32_t capacity = round_up(page->length == 0 ? 1 : page->length);
    if (page->capacity <= capacity + capacity / 4 + 4096) return;
    uint8_t *data = realloc(page->data, capacity);
    if (data == NULL) return;
    account(space, capacity, page->capacity);
    page->data = data;
    page->capacity = capacity;
}

static void children_reserve(struct pbft_space *space, struct pbft_page *page, uint32_t count)
{
    if (count <= page->children_capacity) return;
    uint32_t capacity = count + count / 4 + 4;
    struct pbft_child *children = realloc(page->children, capacity * sizeof *children);
    if (children == NULL) no_memory();
    account(space, capacity * sizeof *children, page->children_capacity * sizeof *children);
    page->children = children;
    page->children_capacity = capacity;
}

void pbft_page_ref(struct pbft_page *page)
{
    uint32_t before = atomic_fetch_add_explicit(&page->refs, 1, memory_order_relaxed);
    PBFT_ASSERT(before != 0 && before != UINT32_MAX);
}

/* Recursion is as deep as the tree is high. */
void pbft_page_unref(struct pbft_space *space, struct pbft_page *page)
{
    if (page == NULL) return;
    if (atomic_fetch_sub_explicit(&page->refs, 1, memory_order_acq_rel) != 1) return;
    if (atomic_load_explicit(&page->hashed, memory_order_relaxed)) pbft_space_unindex(space, page);
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++)
        pbft_page_unref(space, page->children[i].page);
    account(space, 0, page_memory(page));
    free(page->data);
    free(page->children);
    free(page->heads);
    free(page);
}

/* What changes a page cannot be half done. */
static void need(bool memory)
{
    if (!memory) no_memory();
}

static struct pbft_page *page_copy(struct pbft_space *space, const struct pbft_page *page)
{
    struct pbft_page *copy = pbft_page_new(space, page->level, page->length == 0 ? 1 : page->length,
                                           page->level == 0 ? 0 : page->count);
    memcpy(copy->data, page->data, page->length);
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++) {
        copy->children[i] = page->children[i];
        pbft_page_ref(copy->children[i].page);
    }
    copy->count = page->count;
    copy->length = page->length;
    copy->entries = page->entries;
    copy->payload = page->payload;
    need(pbft_heads_copy(space, copy, page));
    return copy;
}

struct pbft_page *pbft_page_writable(struct pbft_space *space, struct pbft_page **slot)
{
    struct pbft_page *page = *slot;
    /* One reference is the parent's, and the parent is the head's alone: nobody can come by
     * another, except through the index, which pbft_space_claim() closes. */
    if (atomic_load_explicit(&page->refs, memory_order_acquire) == 1) {
        if (!atomic_load_explicit(&page->hashed, memory_order_relaxed)) return page;
        if (pbft_space_claim(space, page)) return page;
    }
    struct pbft_page *copy = page_copy(space, page);
    *slot = copy;
    pbft_page_unref(space, page);
    return copy;
}

/* ---- leaves ---- */

static uint8_t *leaf_base(struct pbft_page *leaf)
{
    return leaf->data + LEAF_HEADER_BYTES + (size_t)leaf->count * LEAF_SLOT_BYTES;
}

static uint8_t *leaf_slot(struct pbft_page *leaf, uint32_t index)
{
    return leaf->data + LEAF_HEADER_BYTES + (size_t)index * LEAF_SLOT_BYTES;
}

/* Bytes of all entries, without the slots. */
static uint32_t leaf_body(const struct pbft_page *leaf)
{
    return leaf->count == 0 ? 0 : leaf_end(leaf->data, leaf->count - 1);
}

static void leaf_resize(struct pbft_page *leaf, uint32_t count, uint32_t body)
{
    leaf->count = count;
    leaf->entries = count;
    leaf->payload = body - 2u * count;
    leaf->length = LEAF_HEADER_BYTES + count * LEAF_SLOT_BYTES + body;
    store32(leaf->data + 4, leaf->length);
    store32(leaf->data + 8, count);
}

void pbft_leaf_raise_mark(struct pbft_page *leaf, uint64_t mark)
{
    if (mark > leaf_mark(leaf)) store64(leaf->data + 12, mark);
}

static bool points_into(const struct pbft_page *page, struct pbft_span span)
{
    uintptr_t at = (uintptr_t)span.data;
    uintptr_t start = (uintptr_t)page->data;
    return span.size != 0 && at >= start && at < start + page->capacity;
}

void pbft_leaf_insert(struct pbft_space *space, struct pbft_page *leaf, uint32_t index,
                      struct pbft_span key, struct pbft_span value)
{
    PBFT_ASSERT(!points_into(leaf, key) && !points_into(leaf, value));
    uint32_t size = (uint32_t)(2 + key.size + value.size);
    uint32_t body = leaf_body(leaf);
    uint32_t start = leaf_start(leaf->data, index);
    data_reserve(space, leaf, leaf->length + LEAF_SLOT_BYTES + size);

    uint8_t *from = leaf_base(leaf);
    uint8_t *to = from + LEAF_SLOT_BYTES;
    memmove(to + start + size, from + start, body - start);
    memmove(to, from, start);
    for (uint32_t i = leaf->count; i > index; i--)
        store32(leaf_slot(leaf, i), leaf_end(leaf->data, i - 1) + size);
    store32(leaf_slot(leaf, index), start + size);

    store16(to + start, (uint16_t)key.size);
    copy_bytes(to + start + 2, key.data, key.size);
    copy_bytes(to + start + 2 + key.size, value.data, value.size);
    leaf_resize(leaf, leaf->count + 1, body + size);
    need(pbft_heads_inserted(space, leaf, index));
}

void pbft_leaf_replace(struct pbft_space *space, struct pbft_page *leaf, uint32_t index,
                       struct pbft_span value)
{
    PBFT_ASSERT(!points_into(leaf, value));
    struct pbft_span key = leaf_key(leaf, index);
    uint32_t body = leaf_body(leaf);
    uint32_t start = leaf_start(leaf->data, index);
    uint32_t end = leaf_end(leaf->data, index);
    uint32_t head = (uint32_t)(2 + key.size);
    uint32_t new_end = start + head + (uint32_t)value.size;
    if (new_end != end) {
        if (new_end > end) data_reserve(space, leaf, leaf->length + (new_end - end));
        memmove(leaf_base(leaf) + new_end, leaf_base(leaf) + end, body - end);
        for (uint32_t i = index; i < leaf->count; i++)
            store32(leaf_slot(leaf, i), leaf_end(leaf->data, i) - end + new_end);
    }
    copy_bytes(leaf_base(leaf) + start + head, value.data, value.size);
    leaf_resize(leaf, leaf->count, body - end + new_end);
    data_trim(space, leaf);
}

void pbft_leaf_remove(struct pbft_space *space, struct pbft_page *leaf, uint32_t index)
{
    uint32_t body = leaf_body(leaf);
    uint32_t start = leaf_start(leaf->data, index);
    uint32_t end = leaf_end(leaf->data, index);
    uint8_t *from = leaf_base(leaf);
    uint8_t *to = from - LEAF_SLOT_BYTES;
    for (uint32_t i = index; i + 1 < leaf->count; i++)
        store32(leaf_slot(leaf, i), leaf_end(leaf->data, i + 1) - (end - start));
    memmove(to, from, start);
    memmove(to + start, from + end, body - end);
    leaf_resize(leaf, leaf->count - 1, body - (end - start));
    pbft_heads_removed(leaf, index);
    data_trim(space, leaf);
}

struct pbft_page *pbft_leaf_split(struct pbft_space *space, struct pbft_page *leaf, uint32_t cut)
{
    PBFT_ASSERT(cut > 0 && cut < leaf->count);
    uint32_t body = leaf_body(leaf);
    uint32_t start = leaf_start(leaf->data, cut);
    uint32_t moved = leaf->count - cut;
    struct pbft_page *right =
        pbft_page_new(space, 0, LEAF_HEADER_BYTES + moved * LEAF_SLOT_BYTES + (body - start), 0);
    for (uint32_t i = 0; i < moved; i++)
        store32(leaf_slot(right, i), leaf_end(leaf->data, cut + i) - start);
    memcpy(leaf_slot(right, moved), leaf_base(leaf) + start, body - start);
    leaf_resize(right, moved, body - start);
    pbft_leaf_raise_mark(right, leaf_mark(leaf));

    memmove(leaf_slot(leaf, cut), leaf_base(leaf), start);
    leaf_resize(leaf, cut, start);
    data_trim(space, leaf);
    need(pbft_heads_rebuild(space, leaf) && pbft_heads_rebuild(space, right));
    return right;
}

void pbft_leaf_append(struct pbft_space *space, struct pbft_page *leaf,
                      const struct pbft_page *right)
{
    uint32_t body = leaf_body(leaf);
    uint32_t more = leaf_body(right);
    uint32_t count = leaf->count + right->count;
    data_reserve(space, leaf, LEAF_HEADER_BYTES + count * LEAF_SLOT_BYTES + body + more);
    memmove(leaf_slot(leaf, count), leaf_base(leaf), body);
    memcpy(leaf_slot(leaf, count) + body,
           right->data + LEAF_HEADER_BYTES + (size_t)right->count * LEAF_SLOT_BYTES, more);
    for (uint32_t i = 0; i < right->count; i++)
        store32(leaf_slot(leaf, leaf->count + i), leaf_end(right->data, i) + body);
    leaf_resize(leaf, count, body + more);
    need(pbft_heads_rebuild(space, leaf));
    pbft_leaf_raise_mark(leaf, leaf_mark(right));
}

/* ---- inner pages ---- */

void pbft_inner_insert(struct pbft_space *space, struct pbft_page *inner, uint32_t index,
                       struct pbft_page *child, struct pbft_span key)
{
    uint32_t size = (uint32_t)key.size;
    uint32_t start = index == 0 ? 0 : inner->children[index - 1].key_end;
    children_reserve(space, inner, inner->count + 1);
    data_reserve(space, inner, inner->length + size);
    memmove(inner->data + start + size, inner->data + start, inner->length - start);
    copy_bytes(inner->data + start, key.data, size);
    for (uint32_t i = inner->count; i > index; i--) {
        inner->children[i] = inner->children[i - 1];
        inner->children[i].key_end += size;
    }
    inner->children[index] = (struct pbft_child){child, start + size};
    inner->count++;
    inner->length += size;
    need(pbft_heads_inserted(space, inner, index));
}

void pbft_inner_remove(struct pbft_space *space, struct pbft_page *inner, uint32_t index)
{
    PBFT_ASSERT(index > 0 && index < inner->count);
    struct pbft_page *child = inner->children[index].page;
    uint32_t start = inner->children[index - 1].key_end;
    uint32_t end = inner->children[index].key_end;
    memmove(inner->data + start, inner->data + end, inner->length - end);
    for (uint32_t i = index; i + 1 < inner->count; i++) {
        inner->children[i] = inner->children[i + 1];
        inner->children[i].key_end -= end - start;
    }
    inner->count--;
    inner->length -= end - start;
    pbft_heads_removed(inner, index);
    pbft_page_unref(space, child);
}

static void inner_total(struct pbft_page *inner)
{
    inner->entries = 0;
    inner->payload = 0;
    for (uint32_t i = 0; i < inner->count; i++) {
        inner->entries += inner->children[i].page->entries;
        inner->payload += inner->children[i].page->payload;
    }
}

/* The key of the first child that moves is not kept: its place is the parent. */
struct pbft_page *pbft_inner_split(struct pbft_space *space, struct pbft_page *inner, uint32_t cut)
{
    PBFT_ASSERT(cut > 0 && cut < inner->count);
    uint32_t moved = inner->count - cut;
    uint32_t left_length = inner->children[cut - 1].key_end;
    uint32_t skipped = inner->children[cut].key_end;
    uint32_t length = inner->length - skipped;
    struct pbft_page *right = pbft_page_new(space, inner->level, length, moved);
    memcpy(right->data, inner->data + skipped, length);
    for (uint32_t i = 0; i < moved; i++) {
        right->children[i] = inner->children[cut + i];
        right->children[i].key_end -= skipped;
    }
    right->count = moved;
    right->length = length;
    inner_total(right);
    inner->count = cut;
    inner->length = left_length;
    inner->entries -= right->entries;
    inner->payload -= right->payload;
    need(pbft_heads_rebuild(space, inner) && pbft_heads_rebuild(space, right));
    return right;
}

void pbft_inner_append(struct pbft_space *space, struct pbft_page *inner, struct pbft_span key,
                       const struct pbft_page *right)
{
    uint32_t size = (uint32_t)key.size;
    children_reserve(space, inner, inner->count + right->count);
    data_reserve(space, inner, inner->length + size + right->length);
    copy_bytes(inner->data + inner->length, key.data, size);
    copy_bytes(inner->data + inner->length + size, right->data, right->length);
    for (uint32_t i = 0; i < right->count; i++) {
        struct pbft_child child = right->children[i];
        child.key_end += inner->length + size;
        pbft_page_ref(child.page);
        inner->children[inner->count + i] = child;
    }
    inner->count += right->count;
    inner->length += size + right->length;
    inner->entries += right->entries;
    inner->payload += right->payload;
    need(pbft_heads_rebuild(space, inner));
}
