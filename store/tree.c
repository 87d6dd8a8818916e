/*
 * The head: put, delete, and the rules of shape.
 *
 * A page overflows above its target and is cut by bytes; it underflows below a quarter and joins a
 * neighbour (the left one first) if both fill at most three quarters together. A leaf without
 * entries and an inner page with one child always join one. These rules look at contents only,
 * never at whether a page is shared, hashed or was copied (PROTOCOL 30).
 */
#include "store/page.h"

#include <stdlib.h>

#define NO_HINT UINT32_MAX

/* From the root to a leaf: the page, and which of its children comes next. */
struct step {
    struct pbft_page *page;
    uint32_t index;
};

struct pbft_tree_config pbft_tree_config_default(void)
{
    return (struct pbft_tree_config){PBFT_TREE_PAGE_TARGET, PBFT_TREE_PAGE_TARGET};
}

static bool target_ok(uint32_t bytes)
{
    return bytes >= PBFT_TREE_TARGET_MIN && bytes <= PBFT_TREE_TARGET_MAX;
}

enum pbft_status pbft_tree_create(struct pbft_tree **out, const struct pbft_tree_config *config)
{
    struct pbft_tree_config chosen = config != NULL ? *config : pbft_tree_config_default();
    if (!target_ok(chosen.leaf_bytes) || !target_ok(chosen.inner_bytes))
        return PBFT_STATUS_ARGUMENT;
    struct pbft_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL) return PBFT_STATUS_MEMORY;
    tree->ahead = pbft_ahead_create();
    tree->space = pbft_space_create(&chosen);
    if (tree->space != NULL && tree->ahead != NULL)
        tree->root = pbft_page_alloc(tree->space, 0, LEAF_HEADER_BYTES, 0);
    if (tree->root == NULL) {
        if (tree->space != NULL) pbft_space_release(tree->space);
        free(tree->ahead);
        free(tree);
        return PBFT_STATUS_MEMORY;
    }
    *out = tree;
    return PBFT_STATUS_OK;
}

void pbft_tree_destroy(struct pbft_tree *tree)
{
    if (tree == NULL) return;
    pbft_page_unref(tree->space, tree->root);
    pbft_space_release(tree->space);
    free(tree->ahead);
    free(tree);
}

/* ---- shape ---- */

static uint32_t target_of(const struct pbft_space *space, const struct pbft_page *page)
{
    return page->level == 0 ? space->config.leaf_bytes : space->config.inner_bytes;
}

static bool overflows(const struct pbft_space *space, const struct pbft_page *page)
{
    uint32_t least = page->level == 0 ? 2 : 2 * INNER_FANOUT_MIN;
    return page->count >= least && page_size(page) > target_of(space, page);
}

/* A page that cannot stay as it is, whatever its neighbours. */
static bool must_join(const struct pbft_page *page)
{
    return page->count < (page->level == 0 ? 1 : INNER_FANOUT_MIN);
}

static bool underflows(const struct pbft_space *space, const struct pbft_page *page)
{
    return must_join(page) || page_size(page) < target_of(space, page) / 4;
}

static uint64_t bytes_before(const struct pbft_page *page, uint32_t cut)
{
    if (page->level == 0)
        return (uint64_t)leaf_start(page->data, cut) + (uint64_t)cut * LEAF_SLOT_BYTES;
    return (uint64_t)page->children[cut - 1].key_end + (uint64_t)cut * INNER_CHILD_BYTES;
}

/* Where to cut a page that overflows: the most even halves by bytes, the first of equals. */
static uint32_t even_cut(const struct pbft_page *page)
{
    uint32_t margin = page->level == 0 ? 1 : INNER_FANOUT_MIN;
    uint64_t total = page_size(page) - (page->level == 0 ? LEAF_HEADER_BYTES : INNER_HEADER_BYTES);
    uint32_t best = margin;
    uint64_t best_gap = UINT64_MAX;
    for (uint32_t cut = margin; cut <= page->count - margin; cut++) {
        uint64_t twice = 2 * bytes_before(page, cut);
        uint64_t gap = twice > total ? twice - total : total - twice;
        if (gap < best_gap) {
            best_gap = gap;
            best = cut;
        }
    }
    return best;
}

/* The shortest key that parts the leaves: above all keys left, not above any right. */
static struct pbft_span separator(const struct pbft_page *left, const struct pbft_page *right)
{
    struct pbft_span low = leaf_key(left, left->count - 1);
    struct pbft_span high = leaf_key(right, 0);
    size_t common = 0;
    while (common < low.size && low.data[common] == high.data[common])
        common++;
    PBFT_ASSERT(common < high.size);
    return (struct pbft_span){high.data, common + 1};
}

static void split_once(struct pbft_space *space, struct pbft_page *parent, uint32_t index,
                       uint32_t cut)
{
    struct pbft_page *page = parent->children[index].page;
    if (page->level == 0) {
        struct pbft_page *right = pbft_leaf_split(space, page, cut);
        pbft_inner_insert(space, parent, index + 1, right, separator(page, right));
        return;
    }
    uint8_t key[PBFT_TREE_KEY_MAX];
    struct pbft_span up = inner_key(page, cut);
    PBFT_ASSERT(up.size <= sizeof key);
    memcpy(key, up.data, up.size);
    struct pbft_page *right = pbft_inner_split(space, page, cut);
    pbft_inner_insert(space, parent, index + 1, right, (struct pbft_span){key, up.size});
}

/* Cut child `index`, which is writable, until no piece overflows. hint: where to cut first. */
static void split_child(struct pbft_space *space, struct pbft_page *parent, uint32_t index,
                        uint32_t hint)
{
    uint32_t end = index + 1;
    while (index < end) {
        struct pbft_page *page = parent->children[index].page;
        if (!overflows(space, page)) {
            index++;
            continue;
        }
        split_once(space, parent, index, hint != NO_HINT ? hint : even_cut(page));
        hint = NO_HINT;
        end++;
    }
}

/* Child index and the next one, as one page: would they fill at most three quarters? */
static bool joint_fits(const struct pbft_space *space, const struct pbft_page *parent,
                       uint32_t index)
{
    const struct pbft_page *left = parent->children[index].page;
    const struct pbft_page *right = parent->children[index + 1].page;
    uint64_t size = (uint64_t)page_size(left) + page_size(right);
    if (left->level == 0)
        size -= LEAF_HEADER_BYTES;
    else
        size = size - INNER_HEADER_BYTES + inner_key(parent, index + 1).size;
    uint64_t target = target_of(space, left);
    return size <= target - target / 4;
}

static void join(struct pbft_space *space, struct pbft_page *parent, uint32_t index)
{
    struct pbft_page *left = pbft_page_writable(space, &parent->children[index].page);
    const struct pbft_page *right = parent->children[index + 1].page;
    if (left->level == 0)
        pbft_leaf_append(space, left, right);
    else
        pbft_inner_append(space, left, inner_key(parent, index + 1), right);
    pbft_inner_remove(space, parent, index + 1);
}

/* Child `index` underflows: join it with a neighbour. False if it stays as it is. */
static bool join_child(struct pbft_space *space, struct pbft_page *parent, uint32_t index)
{
    bool has_left = index > 0;
    bool has_right = index + 1 < parent->count;
    PBFT_ASSERT(has_left || has_right);
    uint32_t first;
    if (has_left && joint_fits(space, parent, index - 1))
        first = index - 1;
    else if (has_right && joint_fits(space, parent, index))
        first = index;
    else if (must_join(parent->children[index].page))
        first = has_left ? index - 1 : index;
    else
        return false;
    join(space, parent, first);
    split_child(space, parent, first, NO_HINT);
    return true;
}

static void root_grow(struct pbft_tree *tree, uint32_t hint)
{
    struct pbft_page *old = tree->root;
    PBFT_ASSERT(old->level + 1u < PBFT_TREE_DEPTH_MAX);
    struct pbft_page *root = pbft_page_new(tree->space, (uint8_t)(old->level + 1), 1, 4);
    root->entries = old->entries;
    root->payload = old->payload;
    pbft_inner_insert(tree->space, root, 0, old, (struct pbft_span){NULL, 0});
    tree->root = root;
    split_child(tree->space, root, 0, hint);
}

static void root_settle(struct pbft_tree *tree, uint32_t hint)
{
    if (overflows(tree->space, tree->root)) root_grow(tree, hint);
    while (tree->root->level != 0 && tree->root->count == 1) {
        struct pbft_page *old = tree->root;
        tree->root = old->children[0].page;
        pbft_page_ref(tree->root);
        pbft_page_unref(tree->space, old);
    }
}

/* Put the shape right from the changed leaf, path[depth], up to the root. */
static void settle(struct pbft_tree *tree, struct step *path, uint32_t depth, bool shrunk,
                   uint32_t hint)
{
    bool may_join = shrunk;
    for (uint32_t d = depth; d > 0; d--) {
        struct pbft_page *parent = path[d - 1].page;
        uint32_t index = path[d - 1].index;
        if (overflows(tree->space, path[d].page))
            split_child(tree->space, parent, index, hint);
        else if (!may_join || !underflows(tree->space, path[d].page) ||
                 !join_child(tree->space, parent, index))
            return; /* the parent has the children that it had */
        hint = NO_HINT;
        may_join = true;
    }
    root_settle(tree, hint);
}

/* ---- operations ---- */

/* Make the path to the key's leaf writable. known: the indices on it, or NULL. Returns the depth of
 * the leaf. */
static uint32_t descend(struct pbft_tree *tree, struct pbft_span key, const uint32_t *known,
                        struct step path[PBFT_TREE_DEPTH_MAX])
{
    struct pbft_page **slot = &tree->root;
    for (uint32_t depth = 0;; depth++) {
        PBFT_ASSERT(depth < PBFT_TREE_DEPTH_MAX);
        struct pbft_page *page = pbft_page_writable(tree->space, slot);
        path[depth].page = page;
        if (page->level == 0) return depth;
        path[depth].index = known != NULL ? known[depth] : pbft_inner_find(page, key);
        slot = &page->children[path[depth].index].page;
    }
}

/* Hand the leaf's change of totals to the pages above it. */
static void pass_up(struct step *path, uint32_t depth, uint64_t old_entries, uint64_t old_payload)
{
    const struct pbft_page *leaf = path[depth].page;
    for (uint32_t d = 0; d < depth; d++) {
        path[d].page->entries += leaf->entries - old_entries; /* modulo 2^64 */
        path[d].page->payload += leaf->payload - old_payload;
    }
}

enum pbft_status pbft_tree_put(struct pbft_tree *tree, struct pbft_span key, struct pbft_span value,
                               uint64_t mark)
{
    if (key.size > PBFT_TREE_KEY_MAX || value.size > PBFT_TREE_VALUE_MAX)
        return PBFT_STATUS_ARGUMENT;
    struct step path[PBFT_TREE_DEPTH_MAX];
    struct pbft_page *leaf;
    const uint32_t *known = NULL;
    uint32_t index, hint = NO_HINT;
    bool found = pbft_ahead_guess(tree->ahead, tree->root, key, &leaf, &known, &index);
    uint32_t depth = descend(tree, key, known, path);
    leaf = path[depth].page;
    uint64_t old_entries = leaf->entries, old_payload = leaf->payload;
    if (!found) index = pbft_leaf_find(leaf, key, &found);
    if (found) {
        pbft_leaf_replace(tree->space, leaf, index, value);
    } else {
        pbft_leaf_insert(tree->space, leaf, index, key, value);
        /* Ascending keys fill their pages: what is appended begins the next one. */
        if (leaf->count > 1 && index == leaf->count - 1) hint = index;
    }
    pbft_leaf_raise_mark(leaf, mark);
    pass_up(path, depth, old_entries, old_payload);
    settle(tree, path, depth, found && leaf->payload < old_payload, hint);
    return PBFT_STATUS_OK;
}

bool pbft_tree_delete(struct pbft_tree *tree, struct pbft_span key, uint64_t mark)
{
    if (!pbft_page_get(tree->root, key, NULL, NULL)) return false;
    struct step path[PBFT_TREE_DEPTH_MAX];
    uint32_t depth = descend(tree, key, NULL, path);
    struct pbft_page *leaf = path[depth].page;
    uint64_t old_entries = leaf->entries, old_payload = leaf->payload;

    bool found;
    uint32_t index = pbft_leaf_find(leaf, key, &found);
    PBFT_ASSERT(found);
    pbft_leaf_remove(tree->space, leaf, index);
    pbft_leaf_raise_mark(leaf, mark);
    pass_up(path, depth, old_entries, old_payload);
    settle(tree, path, depth, true, NO_HINT);
    return true;
}

uint64_t pbft_tree_count(const struct pbft_tree *tree)
{
    return tree->root->entries;
}

uint64_t pbft_tree_payload(const struct pbft_tree *tree)
{
    return tree->root->payload;
}

size_t pbft_tree_bytes(const struct pbft_tree *tree)
{
    return atomic_load_explicit(&tree->space->bytes, memory_order_relaxed);
}

/* ---- snapshots ---- */

struct pbft_snapshot *pbft_tree_snapshot(struct pbft_tree *tree)
{
    struct pbft_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) return NULL;
    atomic_init(&snapshot->refs, 1);
    snapshot->space = pbft_space_retain(tree->space);
    snapshot->root = tree->root;
    pbft_page_ref(snapshot->root);
    return snapshot;
}

void pbft_tree_rollback(struct pbft_tree *tree, const struct pbft_snapshot *snapshot)
{
    PBFT_ASSERT(tree->space == snapshot->space);
    struct pbft_page *old = tree->root;
    pbft_page_ref(snapshot->root);
    tree->root = snapshot->root;
    pbft_page_unref(tree->space, old);
}

struct pbft_snapshot *pbft_snapshot_retain(struct pbft_snapshot *snapshot)
{
    uint32_t before = atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    PBFT_ASSERT(before != 0 && before != UINT32_MAX);
    return snapshot;
}

void pbft_snapshot_release(struct pbft_snapshot *snapshot)
{
    if (snapshot == NULL) return;
    if (atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1) return;
    pbft_page_unref(snapshot->space, snapshot->root);
    pbft_space_release(snapshot->space);
    free(snapshot);
}

uint64_t pbft_snapshot_count(const struct pbft_snapshot *snapshot)
{
    return snapshot->root->entries;
}
