/* The pages of a hashed snapshot, children before parents or in the order of their digests
 * (store/tree.h). */
#include "store/page.h"

#include <stdlib.h>

struct walk {
    pbft_walk_have_fn *have;
    pbft_walk_page_fn *page;
    void *context;
    uint8_t *scratch; /* canonical bytes of an inner page */
    size_t scratch_size;
};

static enum pbft_status page_visit(struct walk *walk, const struct pbft_page *page)
{
    struct pbft_span bytes = {page->data, page->length};
    if (page->level != 0) {
        size_t size = page_size(page);
        if (size > walk->scratch_size) {
            uint8_t *scratch = realloc(walk->scratch, size);
            if (scratch == NULL) return PBFT_STATUS_MEMORY;
            walk->scratch = scratch;
            walk->scratch_size = size;
        }
        pbft_page_encode(page, walk->scratch);
        bytes = (struct pbft_span){walk->scratch, size};
    }
    return walk->page(walk->context, &page->hash, bytes);
}

/* Recursion is as deep as the tree is high. */
static enum pbft_status subtree(struct walk *walk, const struct pbft_page *page)
{
    PBFT_ASSERT(atomic_load_explicit(&page->hashed, memory_order_acquire));
    if (walk->have != NULL) {
        enum pbft_status status = walk->have(walk->context, &page->hash);
        if (status == PBFT_STATUS_OK) return PBFT_STATUS_OK;
        if (status != PBFT_STATUS_NOT_FOUND) return status;
    }
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++) {
        enum pbft_status status = subtree(walk, page->children[i].page);
        if (status != PBFT_STATUS_OK) return status;
    }
    return page_visit(walk, page);
}

enum pbft_status pbft_snapshot_walk(const struct pbft_snapshot *snapshot, pbft_walk_have_fn *have,
                                    pbft_walk_page_fn *page, void *context)
{
    struct walk walk = {.have = have, .page = page, .context = context};
    enum pbft_status status = subtree(&walk, snapshot->root);
    free(walk.scratch);
    return status;
}

/* ---- in the order of digests ---- */

struct place {
    const struct pbft_page *page;
};

struct places {
    struct place *items;
    size_t count, capacity;
};

static enum pbft_status gather(struct places *all, const struct pbft_page *page)
{
    PBFT_ASSERT(atomic_load_explicit(&page->hashed, memory_order_acquire));
    if (all->count == all->capacity) {
        size_t capacity = all->capacity == 0 ? 256 : all->capacity * 2;
        struct place *items = realloc(all->items, capacity * sizeof *items);
        if (items == NULL) return PBFT_STATUS_MEMORY;
        all->items = items;
        all->capacity = capacity;
    }
    all->items[all->count++].page = page;
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++) {
        enum pbft_status status = gather(all, page->children[i].page);
        if (status != PBFT_STATUS_OK) return status;
    }
    return PBFT_STATUS_OK;
}

static int place_compare(const void *a, const void *b)
{
    const struct place *one = a, *other = b;
    return pbft_digest_compare(&one->page->hash, &other->page->hash);
}

enum pbft_status pbft_snapshot_walk_sorted(const struct pbft_snapshot *snapshot,
                                           pbft_walk_page_fn *page, void *context)
{
    struct walk walk = {.page = page, .context = context};
    struct places all = {0};
    enum pbft_status status = gather(&all, snapshot->root);
    if (status == PBFT_STATUS_OK) qsort(all.items, all.count, sizeof *all.items, place_compare);
    for (size_t i = 0; status == PBFT_STATUS_OK && i < all.count; i++)
        status = page_visit(&walk, all.items[i].page);
    free(walk.scratch);
    free(all.items);
    return status;
}

bool pbft_page_child_digest(struct pbft_span page, uint32_t index, struct pbft_digest *digest)
{
    if (page.size < INNER_HEADER_BYTES || page.data[0] != INNER_TYPE) return false;
    if (index >= load32(page.data + 8)) return false;
    if (index >= (page.size - INNER_HEADER_BYTES) / INNER_CHILD_BYTES) return false;
    const uint8_t *child = page.data + INNER_HEADER_BYTES + (size_t)index * INNER_CHILD_BYTES;
    memcpy(digest->bytes, child + 20, PBFT_DIGEST_BYTES);
    return true;
}
