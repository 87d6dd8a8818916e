/*
 * Installation of a tree by its pages (PROTOCOL 30, FAULTS 4.20).
 *
 * Each page that is known but not complete has a node. A node's place (level, key range, totals) is
 * what its parent says, and the parent is bound by its own hash up to the certified root, so a page
 * is accepted only where it belongs. Nodes are resolved depth first, which keeps them few. A page
 * enters the index as soon as everything below it is there.
 */
#include "crypto/hash.h"
#include "store/page.h"

#include <stdlib.h>

#define LOCAL_PAGES_PER_CALL 256u
#define BUCKETS_FIRST        256u

enum node_state { NODE_PENDING, NODE_HANDED, NODE_OPEN }; /* OPEN: here, children are missing */

struct node {
    struct pbft_digest digest;
    struct node *parent; /* NULL: root */
    struct pbft_page *page;
    struct pbft_span low;  /* keys >= low; points into an ancestor's page */
    struct pbft_span high; /* keys < high, if bounded */
    uint64_t entries;
    uint64_t payload;
    uint32_t index;   /* in the parent */
    uint32_t missing; /* OPEN: children that are not complete */
    uint8_t level;
    bool bounded;
    bool looked; /* our own tree does not have it */
    enum node_state state;
    struct node *next, *prev;               /* in its list, by state */
    struct node *bucket_next, *bucket_prev; /* PENDING and HANDED only */
};

struct list {
    struct node *first, *last;
    uint64_t count;
};

struct pbft_install {
    struct pbft_tree *tree;
    struct pbft_space *space;
    struct pbft_install_limits limits;
    uint32_t series;        /* 0: none */
    struct pbft_page *root; /* set when all is there */
    struct list lists[3];   /* by enum node_state; PENDING is a stack */
    struct node **buckets;
    size_t bucket_count;
    uint64_t bucket_used;
    struct pbft_install_progress progress;
};

/* ---- lists and buckets ---- */

static void list_push(struct list *list, struct node *node)
{
    node->prev = NULL;
    node->next = list->first;
    if (list->first != NULL)
        list->first->prev = node;
    else
        list->last = node;
    list->first = node;
    list->count++;
}

static void list_append(struct list *list, struct node *node)
{
    node->next = NULL;
    node->prev = list->last;
    if (list->last != NULL)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
    list->count++;
}

static void list_remove(struct list *list, struct node *node)
{
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        list->first = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    else
        list->last = node->prev;
    node->next = node->prev = NULL;
    list->count--;
}

static struct node **bucket_of(struct pbft_install *in, const struct pbft_digest *digest)
{
    return &in->buckets[(size_t)load64(digest->bytes) & (in->bucket_count - 1)];
}

static void bucket_link(struct pbft_install *in, struct node *node)
{
    struct node **bucket = bucket_of(in, &node->digest);
    node->bucket_prev = NULL;
    node->bucket_next = *bucket;
    if (*bucket != NULL) (*bucket)->bucket_prev = node;
    *bucket = node;
}

static void buckets_grow(struct pbft_install *in)
{
    size_t old_count = in->bucket_count;
    struct node **old = in->buckets;
    struct node **buckets = calloc(old_count * 2, sizeof(struct node *));
    if (buckets == NULL) return; /* longer chains, nothing else */
    in->buckets = buckets;
    in->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        for (struct node *node = old[i], *next; node != NULL; node = next) {
            next = node->bucket_next;
            bucket_link(in, node);
        }
    }
    free(old);
}

static void bucket_insert(struct pbft_install *in, struct node *node)
{
    if (in->bucket_used >= in->bucket_count) buckets_grow(in);
    bucket_link(in, node);
    in->bucket_used++;
}

static void bucket_remove(struct pbft_install *in, struct node *node)
{
    if (node->bucket_prev != NULL)
        node->bucket_prev->bucket_next = node->bucket_next;
    else
        *bucket_of(in, &node->digest) = node->bucket_next;
    if (node->bucket_next != NULL) node->bucket_next->bucket_prev = node->bucket_prev;
    in->bucket_used--;
}

static struct node *bucket_find(struct pbft_install *in, const struct pbft_digest *digest)
{
    struct node *node = *bucket_of(in, digest);
    while (node != NULL && memcmp(node->digest.bytes, digest->bytes, PBFT_DIGEST_BYTES) != 0)
        node = node->bucket_next;
    return node;
}

/* ---- judging a page by its place ---- */

static bool in_range(const struct node *node, struct pbft_span key)
{
    return span_compare(key, node->low) >= 0 &&
           (!node->bounded || span_compare(key, node->high) < 0);
}

static enum pbft_verdict root_fits(const struct pbft_install *in, uint64_t entries,
                                   uint64_t payload)
{
    if (entries > in->limits.entries_max || payload > in->limits.payload_max) return PBFT_DROP_SIZE;
    return PBFT_OK;
}

/* `bytes` hash to the node's digest and are canonical; are they what the parent announced? */
static enum pbft_verdict node_fits(const struct pbft_install *in, const struct node *node,
                                   struct pbft_span bytes)
{
    uint64_t entries, payload;
    pbft_page_totals(bytes, &entries, &payload);
    if (node->parent == NULL) return root_fits(in, entries, payload);
    if (bytes.data[2] != node->level) return PBFT_DROP_MALFORMED;
    if (entries != node->entries || payload != node->payload) return PBFT_DROP_MALFORMED;

    uint32_t count = load32(bytes.data + 8);
    PBFT_ASSERT(count > 0); /* entries is not 0, pbft_page_check() saw to that in the parent */
    struct pbft_span first, last, value;
    if (node->level == 0) {
        leaf_entry(bytes.data, count, 0, &first, &value);
        leaf_entry(bytes.data, count, count - 1, &last, &value);
    } else {
        first = pbft_page_child(bytes.data, 1).key; /* child 0 begins at our own low */
        last = pbft_page_child(bytes.data, count - 1).key;
        if (span_compare(first, node->low) <= 0) return PBFT_DROP_MALFORMED;
    }
    return in_range(node, first) && in_range(node, last) ? PBFT_OK : PBFT_DROP_MALFORMED;
}

/* ---- accepting ---- */

/* All of the subtree has been hashed, by us or by another one of the series. */
static void prove(const struct pbft_install *in, struct pbft_page *page)
{
    if (in->series == 0 || page->proved == in->series) return;
    page->proved_pages = 1;
    for (uint32_t i = 0; page->level != 0 && i < page->count; i++)
        page->proved_pages += page->children[i].page->proved_pages;
    page->proved = in->series;
}

/* The node's page is complete: hand it to the parent, which may be complete then, and so on. */
static void node_complete(struct pbft_install *in, struct node *node, struct pbft_page *page)
{
    for (;;) {
        struct node *parent = node->parent;
        if (!atomic_load_explicit(&page->hashed, memory_order_acquire)) {
            page->hash = node->digest;
            pbft_space_index(in->space, page);
        }
        prove(in, page);
        if (parent == NULL)
            in->root = page;
        else
            parent->page->children[node->index].page = page;
        free(node);
        if (parent == NULL || --parent->missing != 0) return;
        list_remove(&in->lists[NODE_OPEN], parent);
        node = parent;
        page = parent->page;
    }
}

static void node_take(struct pbft_install *in, struct node *node)
{
    list_remove(&in->lists[node->state], node);
    bucket_remove(in, node);
    in->progress.pages_have++;
    if (node->parent == NULL) in->progress.entries = node->entries;
}

static struct node *node_child(struct node *node, uint32_t index, uint32_t count)
{
    struct node *child = calloc(1, sizeof *child);
    if (child == NULL) return NULL;
    child->parent = node;
    child->index = index;
    child->level = (uint8_t)(node->page->level - 1);
    child->low = index == 0 ? node->low : inner_key(node->page, index);
    child->bounded = index + 1 < count || node->bounded;
    child->high = index + 1 < count ? inner_key(node->page, index + 1) : node->high;
    return child;
}

/* An inner page has come: its children are wanted now. All or nothing. */
static enum pbft_verdict inner_accept(struct pbft_install *in, struct node *node,
                                      struct pbft_span bytes)
{
    struct pbft_page *page = pbft_page_decode(in->space, bytes);
    if (page == NULL) return PBFT_DROP_BUSY;
    node->page = page;
    struct node *children = NULL; /* linked through next, the last child first */
    for (uint32_t i = 0; i < page->count; i++) {
        struct node *child = node_child(node, i, page->count);
        if (child == NULL) {
            while (children != NULL) {
                struct node *next = children->next;
                free(children);
                children = next;
            }
            node->page = NULL;
            pbft_page_unref(in->space, page);
            return PBFT_DROP_BUSY;
        }
        struct pbft_child_view view = pbft_page_child(bytes.data, i);
        memcpy(child->digest.bytes, view.digest, PBFT_DIGEST_BYTES);
        child->entries = view.entries;
        child->payload = view.payload;
        child->next = children;
        children = child;
    }

    node->entries = page->entries;
    node_take(in, node);
    node->state = NODE_OPEN;
    node->missing = page->count;
    list_push(&in->lists[NODE_OPEN], node);
    in->progress.pages_known += page->count;
    while (children != NULL) {
        struct node *next = children->next;
        children->state = NODE_PENDING;
        list_push(&in->lists[NODE_PENDING], children); /* child 0 ends on top */
        bucket_insert(in, children);
        children = next;
    }
    return PBFT_OK;
}

/* local: the page that the bytes come from, with a reference that is consumed; or NULL */
static enum pbft_verdict node_accept(struct pbft_install *in, struct node *node,
                                     struct pbft_span bytes, struct pbft_page *local)
{
    enum pbft_verdict verdict = pbft_page_check(&in->space->config, bytes);
    if (verdict == PBFT_OK) verdict = node_fits(in, node, bytes);
    if (verdict != PBFT_OK)
        in->progress.failed = true;
    else if (bytes.data[0] == INNER_TYPE)
        verdict = inner_accept(in, node, bytes);
    else {
        /* A leaf of our own is shared, as with a snapshot. */
        struct pbft_page *page = local != NULL ? local : pbft_page_decode(in->space, bytes);
        if (page == NULL) return PBFT_DROP_BUSY;
        local = NULL;
        in->progress.entries_have += page->entries;
        node->entries = page->entries;
        node_take(in, node);
        node_complete(in, node, page);
    }
    pbft_page_unref(in->space, local);
    return verdict;
}

/* ---- our own pages ---- */

/* Does the subtree belong where the parent puts it? Its pages fit each other already, so only those
 * along its two edges can be wrong here, and in the same ways as one by one (node_fits). */
static bool subtree_fits(const struct pbft_install *in, const struct node *node,
                         const struct pbft_page *page)
{
    if (node->parent == NULL) return root_fits(in, page->entries, page->payload) == PBFT_OK;
    if (page->level != node->level || page->entries != node->entries ||
        page->payload != node->payload)
        return false;
    PBFT_ASSERT(page->entries > 0); /* the parent announces no empty ones */
    const struct pbft_page *left = page, *right = page;
    for (; left->level != 0; left = left->children[0].page)
        if (span_compare(inner_key(left, 1), node->low) <= 0) return false;
    for (; right->level != 0; right = right->children[right->count - 1].page)
        if (!in_range(node, inner_key(right, right->count - 1))) return false;
    return in_range(node, leaf_key(left, 0)) && in_range(node, leaf_key(right, right->count - 1));
}

/* With all that lies below, if the series has hashed it. Takes the reference then. */
static bool subtree_take(struct pbft_install *in, struct node *node, struct pbft_page *page)
{
    if (in->series == 0 || page->proved != in->series || !subtree_fits(in, node, page))
        return false;
    in->progress.pages_known += page->proved_pages - 1;
    in->progress.pages_local += page->proved_pages;
    in->progress.pages_have += page->proved_pages - 1;
    in->progress.entries_have += page->entries;
    node->entries = page->entries;
    node_take(in, node);
    node_complete(in, node, page);
    return true;
}

/* Take the page from our own tree, if it is there and still has its hash. */
static bool node_local(struct pbft_install *in, struct node *node)
{
    struct pbft_page *page = pbft_space_find(in->space, &node->digest);
    if (page == NULL) return false;
    if (subtree_take(in, node, page)) return true;
    size_t size = page_size(page);
    bool inner = page->level != 0;
    uint8_t *encoded = inner ? malloc(size) : NULL;
    if (inner && encoded == NULL) {
        pbft_page_unref(in->space, page);
        return false;
    }
    if (inner) pbft_page_encode(page, encoded);
    struct pbft_span bytes = {inner ? encoded : page->data, size};

    struct pbft_digest digest;
    bool intact = pbft_page_digest(bytes, &digest) &&
                  memcmp(digest.bytes, node->digest.bytes, PBFT_DIGEST_BYTES) == 0;
    enum pbft_verdict verdict = PBFT_DROP_DIGEST;
    if (intact) {
        verdict = node_accept(in, node, bytes, page);
    } else {
        in->progress.pages_damaged++;
        pbft_page_unref(in->space, page);
    }
    free(encoded);
    if (verdict == PBFT_OK) in->progress.pages_local++;
    return verdict == PBFT_OK;
}

/* ---- the interface ---- */

enum pbft_status pbft_install_begin(struct pbft_install **out, struct pbft_tree *tree,
                                    const struct pbft_digest *root,
                                    const struct pbft_install_limits *limits)
{
    struct pbft_install *in = calloc(1, sizeof *in);
    struct node *node = calloc(1, sizeof *node);
    struct node **buckets = calloc(BUCKETS_FIRST, sizeof(struct node *));
    if (in == NULL || node == NULL || buckets == NULL) {
        free(in);
        free(node);
        free(buckets);
        return PBFT_STATUS_MEMORY;
    }
    in->tree = tree;
    in->space = pbft_space_retain(tree->space);
    in->limits = *limits;
    in->buckets = buckets;
    in->bucket_count = BUCKETS_FIRST;
    node->digest = *root;
    node->state = NODE_PENDING;
    list_push(&in->lists[NODE_PENDING], node);
    bucket_insert(in, node);
    in->progress.pages_known = 1;
    *out = in;
    return PBFT_STATUS_OK;
}

void pbft_install_join(struct pbft_install *install, uint32_t series)
{
    install->series = series;
}

size_t pbft_install_wanted(struct pbft_install *install, struct pbft_digest *out, size_t max)
{
    struct list *pending = &install->lists[NODE_PENDING];
    size_t count = 0;
    uint32_t budget = LOCAL_PAGES_PER_CALL;
    while (count < max && pending->first != NULL && !install->progress.failed) {
        struct node *node = pending->first;
        if (!node->looked) {
            if (budget == 0) break;
            budget--;
            if (node_local(install, node)) continue;
            if (install->progress.failed) break;
            node->looked = true;
        }
        out[count++] = node->digest;
        list_remove(pending, node);
        node->state = NODE_HANDED;
        list_append(&install->lists[NODE_HANDED], node);
    }
    return count;
}

static void node_reoffer(struct pbft_install *in, struct node *node)
{
    list_remove(&in->lists[NODE_HANDED], node);
    node->state = NODE_PENDING;
    list_push(&in->lists[NODE_PENDING], node);
}

void pbft_install_reoffer(struct pbft_install *install, const struct pbft_digest *digest)
{
    if (digest == NULL) {
        while (install->lists[NODE_HANDED].last != NULL)
            node_reoffer(install, install->lists[NODE_HANDED].last);
        return;
    }
    struct node *node = bucket_find(install, digest);
    if (node != NULL && node->state == NODE_HANDED) node_reoffer(install, node);
}

enum pbft_verdict pbft_install_page(struct pbft_install *install, const struct pbft_digest *digest,
                                    struct pbft_span page)
{
    /* What is not wanted costs no hash, if it says what it is. */
    if (digest != NULL && bucket_find(install, digest) == NULL) return PBFT_DROP_UNWANTED;
    if (page.size > PBFT_PAGE_BYTES_MAX) return PBFT_DROP_SIZE;
    struct pbft_digest actual;
    if (!pbft_page_digest(page, &actual)) return digest != NULL ? PBFT_DROP_DIGEST : PBFT_DROP_TYPE;
    if (digest != NULL && memcmp(actual.bytes, digest->bytes, PBFT_DIGEST_BYTES) != 0)
        return PBFT_DROP_DIGEST;
    return pbft_install_hashed_page(install, &actual, page);
}

enum pbft_verdict pbft_install_hashed_page(struct pbft_install *install,
                                           const struct pbft_digest *digest, struct pbft_span page)
{
    struct node *node = bucket_find(install, digest);
    if (node == NULL) return PBFT_DROP_UNWANTED;
    if (page.size > PBFT_PAGE_BYTES_MAX) return PBFT_DROP_SIZE;
    return node_accept(install, node, page, NULL);
}

bool pbft_install_done(const struct pbft_install *install)
{
    return install->root != NULL;
}

void pbft_install_progress(const struct pbft_install *install, struct pbft_install_progress *out)
{
    *out = install->progress;
    out->pages_handed = install->lists[NODE_HANDED].count;
    out->pages_pending = install->lists[NODE_PENDING].count;
}

static void install_free(struct pbft_install *in)
{
    /* Pages of open nodes hold their complete children; a missing one is NULL. */
    for (size_t i = 0; i < sizeof in->lists / sizeof in->lists[0]; i++) {
        for (struct node *node = in->lists[i].first, *next; node != NULL; node = next) {
            next = node->next;
            pbft_page_unref(in->space, node->page);
            free(node);
        }
    }
    pbft_page_unref(in->space, in->root);
    pbft_space_release(in->space);
    free(in->buckets);
    free(in);
}

enum pbft_status pbft_install_finish(struct pbft_install *install)
{
    if (install->root == NULL) return PBFT_STATUS_REFUSED;
    struct pbft_page *old = install->tree->root;
    install->tree->root = install->root;
    install->root = NULL;
    pbft_page_unref(install->space, old);
    install_free(install);
    return PBFT_STATUS_OK;
}

void pbft_install_abort(struct pbft_install *install)
{
    if (install != NULL) install_free(install);
}
