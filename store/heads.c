/*
 * Searching a page by the heads of its keys: four bytes of each, big-endian, behind what all of
 * them begin with. They lie side by side, so that a search reads one or two cache lines where the
 * keys themselves are spread over a page, each of them a miss in a state that is larger than the
 * caches. Key truncation of this kind is Bohannon's and Graefe's ("poor man's normalized keys").
 *
 * Heads follow from a page's keys. They are made by whoever may write to the page, so that readers
 * of a frozen one share them. They are no part of its canonical bytes.
 */
#include "store/page.h"

#include <stdlib.h>

static uint32_t first_of(const struct pbft_page *page)
{
    return page->level == 0 ? 0 : 1; /* the key of child 0 stands for the page's lower bound */
}

static struct pbft_span key_at(const struct pbft_page *page, uint32_t index)
{
    return page->level == 0 ? leaf_key(page, index) : inner_key(page, index);
}

/* Zeros behind a key that is shorter keep the order: equal heads say nothing, unequal ones all. */
static uint32_t head_of(struct pbft_span key, uint32_t shared)
{
    size_t left = key.size - shared;
    if (left >= 4) {
        const uint8_t *at = key.data + shared;
        return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    uint32_t head = 0; /* and of an empty key there may be no bytes to point at */
    for (size_t i = 0; i < left; i++)
        head |= (uint32_t)key.data[shared + i] << (24 - 8 * i);
    return head;
}

/* ---- making them ---- */

/* What the least and the greatest key begin with, all keys between them do. */
static uint32_t shared_bytes(const struct pbft_page *page)
{
    uint32_t first = first_of(page);
    if (page->count <= first) return 0;
    struct pbft_span low = key_at(page, first);
    struct pbft_span high = key_at(page, page->count - 1);
    size_t most = low.size < high.size ? low.size : high.size;
    uint32_t common = 0;
    while (common < most && low.data[common] == high.data[common])
        common++;
    return common;
}

static bool reserve(struct pbft_space *space, struct pbft_page *page)
{
    if (page->count <= page->heads_capacity) return true;
    uint32_t capacity = (page->count + page->count / 4 + 7u) & ~7u;
    uint32_t *heads = realloc(page->heads, capacity * sizeof *heads);
    if (heads == NULL) return false;
    size_t more = (capacity - page->heads_capacity) * sizeof *heads;
    atomic_fetch_add_explicit(&space->bytes, more, memory_order_relaxed);
    page->heads = heads;
    page->heads_capacity = capacity;
    return true;
}

bool pbft_heads_rebuild(struct pbft_space *space, struct pbft_page *page)
{
    if (!reserve(space, page)) return false;
    page->shared = shared_bytes(page);
    for (uint32_t i = first_of(page); i < page->count; i++)
        page->heads[i] = head_of(key_at(page, i), page->shared);
    return true;
}

bool pbft_heads_copy(struct pbft_space *space, struct pbft_page *copy, const struct pbft_page *page)
{
    if (!reserve(space, copy)) return false;
    copy->shared = page->shared;
    for (uint32_t i = first_of(page); i < page->count; i++)
        copy->heads[i] = page->heads[i];
    return true;
}

bool pbft_heads_inserted(struct pbft_space *space, struct pbft_page *page, uint32_t index)
{
    uint32_t first = first_of(page), last = page->count - 1;
    if (index < first) return pbft_heads_rebuild(space, page);
    bool outermost = index == first || index == last;
    /* From time to time also to see whether they share more by now. */
    bool doubled = (page->count & last) == 0;
    if (doubled || (outermost && shared_bytes(page) < page->shared))
        return pbft_heads_rebuild(space, page);
    if (!reserve(space, page)) return false;
    memmove(page->heads + index + 1, page->heads + index, (last - index) * sizeof *page->heads);
    page->heads[index] = head_of(key_at(page, index), page->shared);
    return true;
}

void pbft_heads_removed(struct pbft_page *page, uint32_t index)
{
    memmove(page->heads + index, page->heads + index + 1,
            (page->count - index) * sizeof *page->heads);
}

/* ---- searching ---- */

/* The first head that is not below `head`: at or after `from`, before `to`. No branch depends on
 * what is compared, for it would be guessed wrong every second time. */
static uint32_t lower_bound(const uint32_t *heads, uint32_t from, uint32_t to, uint32_t head)
{
    uint32_t length = to - from;
    if (length == 0) return from;
    while (length > 1) {
        uint32_t half = length / 2;
        from += heads[from + half - 1] < head ? half : 0;
        length -= half;
    }
    return from + (heads[from] < head ? 1 : 0);
}

/* Where a key belongs that does not begin as all of the page's do: -1 before them, 1 behind. */
static int outside(const struct pbft_page *page, struct pbft_span key)
{
    struct pbft_span least = key_at(page, first_of(page));
    size_t common = key.size < page->shared ? key.size : page->shared;
    int order = common == 0 ? 0 : memcmp(key.data, least.data, common);
    if (order == 0 && key.size < page->shared) return -1;
    return order;
}

/* The first key that is not less than `key`; whether it is equal. Whether the beginnings agree is
 * looked at last: of a key that is there, its own bytes are all that is read of the page. */
static uint32_t find(const struct pbft_page *page, struct pbft_span key, bool *found)
{
    uint32_t first = first_of(page), end = page->count, low = first;
    *found = false;
    if (first >= end) return end;
    if (key.size >= page->shared) {
        uint32_t head = head_of(key, page->shared);
        low = lower_bound(page->heads, first, end, head);
        uint32_t high = low;
        if (low < end && page->heads[low] == head)
            high = head == UINT32_MAX ? end : lower_bound(page->heads, low, end, head + 1);
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            int order = span_compare(key_at(page, middle), key);
            if (order == 0) {
                *found = true;
                return middle;
            }
            if (order < 0)
                low = middle + 1;
            else
                high = middle;
        }
    }
    int order = outside(page, key);
    return order == 0 ? low : order < 0 ? first : end;
}

uint32_t pbft_heads_guess(const struct pbft_page *leaf, struct pbft_span key)
{
    if (key.size < leaf->shared) return leaf->count;
    return lower_bound(leaf->heads, 0, leaf->count, head_of(key, leaf->shared));
}

uint32_t pbft_leaf_find(const struct pbft_page *leaf, struct pbft_span key, bool *found)
{
    return find(leaf, key, found);
}

uint32_t pbft_inner_find(const struct pbft_page *inner, struct pbft_span key)
{
    bool found;
    uint32_t index = find(inner, key, &found);
    return found ? index : index - 1;
}
