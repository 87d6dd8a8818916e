/* Reading a subtree: one key, or a range in ascending order, with the change marks of the leaves.
 */
#include "store/page.h"

bool pbft_page_get(const struct pbft_page *root, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark)
{
    const struct pbft_page *page = root;
    while (page->level != 0)
        page = page->children[pbft_inner_find(page, key)].page;
    if (mark != NULL) *mark = leaf_mark(page);
    bool found;
    uint32_t index = pbft_leaf_find(page, key, &found);
    if (found && value != NULL) {
        struct pbft_span held;
        leaf_entry(page->data, page->count, index, &held, value);
    }
    return found;
}

struct scan {
    struct pbft_span from;
    struct pbft_span to; /* data NULL: none */
    pbft_scan_fn *visit;
    void *context;
    uint64_t count;
    uint64_t mark;
};

static bool scan_leaf(struct scan *s, const struct pbft_page *leaf)
{
    if (leaf_mark(leaf) > s->mark) s->mark = leaf_mark(leaf);
    bool found;
    for (uint32_t i = pbft_leaf_find(leaf, s->from, &found); i < leaf->count; i++) {
        struct pbft_span key, value;
        leaf_entry(leaf->data, leaf->count, i, &key, &value);
        if (s->to.data != NULL && span_compare(key, s->to) >= 0) return false;
        s->count++;
        if (!s->visit(s->context, key, value)) return false;
    }
    return true;
}

/* Whether to go on with the next page to the right. Recursion is as deep as the tree is high. */
static bool scan_page(struct scan *s, const struct pbft_page *page)
{
    if (page->level == 0) return scan_leaf(s, page);
    uint32_t first = pbft_inner_find(page, s->from);
    for (uint32_t i = first; i < page->count; i++) {
        if (i > first && s->to.data != NULL && span_compare(inner_key(page, i), s->to) >= 0)
            return false;
        if (!scan_page(s, page->children[i].page)) return false;
    }
    return true;
}

uint64_t pbft_page_scan(const struct pbft_page *root, struct pbft_span from, struct pbft_span to,
                        pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    struct scan s = {.from = from, .to = to, .visit = visit, .context = context};
    if (to.data == NULL || span_compare(from, to) < 0) scan_page(&s, root);
    if (mark != NULL) *mark = s.mark;
    return s.count;
}

uint64_t pbft_page_scan_prefix(const struct pbft_page *root, struct pbft_span prefix,
                               pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    uint8_t bound[PBFT_TREE_KEY_MAX];
    if (mark != NULL) *mark = 0;
    if (prefix.size > sizeof bound) return 0;
    /* The least key after all that begin with prefix: its last byte below 0xff, plus one. */
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == 0xff)
        size--;
    struct pbft_span to = {NULL, 0};
    if (size > 0) {
        memcpy(bound, prefix.data, size);
        bound[size - 1]++;
        to = (struct pbft_span){bound, size};
    }
    return pbft_page_scan(root, prefix, to, visit, context, mark);
}

bool pbft_tree_get(const struct pbft_tree *tree, struct pbft_span key, struct pbft_span *value,
                   uint64_t *mark)
{
    struct pbft_page *leaf = tree->root;
    const uint32_t *known;
    uint32_t entry;
    bool found = true;
    if (!pbft_ahead_guess(tree->ahead, tree->root, key, &leaf, &known, &entry)) {
        uint32_t indices[PBFT_TREE_DEPTH_MAX], depth = 0;
        for (; leaf->level != 0; depth++) {
            indices[depth] = pbft_inner_find(leaf, key);
            leaf = leaf->children[indices[depth]].page;
        }
        entry = pbft_leaf_find(leaf, key, &found);
        if (found) pbft_ahead_note(tree->ahead, key, depth, indices, entry);
    }
    if (mark != NULL) *mark = leaf_mark(leaf);
    if (found && value != NULL) {
        struct pbft_span held;
        leaf_entry(leaf->data, leaf->count, entry, &held, value);
    }
    return found;
}

void pbft_tree_prefetch(struct pbft_tree *tree, struct pbft_span key)
{
    pbft_ahead_come(tree->ahead, tree->root, key);
}

uint64_t pbft_tree_scan(const struct pbft_tree *tree, struct pbft_span from, struct pbft_span to,
                        pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    return pbft_page_scan(tree->root, from, to, visit, context, mark);
}

uint64_t pbft_tree_scan_prefix(const struct pbft_tree *tree, struct pbft_span prefix,
                               pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    return pbft_page_scan_prefix(tree->root, prefix, visit, context, mark);
}

bool pbft_snapshot_get(const struct pbft_snapshot *snapshot, struct pbft_span key,
                       struct pbft_span *value, uint64_t *mark)
{
    return pbft_page_get(snapshot->root, key, value, mark);
}

uint64_t pbft_snapshot_scan(const struct pbft_snapshot *snapshot, struct pbft_span from,
                            struct pbft_span to, pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    return pbft_page_scan(snapshot->root, from, to, visit, context, mark);
}

uint64_t pbft_snapshot_scan_prefix(const struct pbft_snapshot *snapshot, struct pbft_span prefix,
                                   pbft_scan_fn *visit, void *context, uint64_t *mark)
{
    return pbft_page_scan_prefix(snapshot->root, prefix, visit, context, mark);
}
