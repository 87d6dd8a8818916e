/* A check of stored pages: every one is hashed again, and the checkpoint's are followed from its
 * root down (store/pages.h). */
#include "store/pages.h"

#include <stdlib.h>
#include <string.h>

#define LEVEL_ANY  256u /* the root's is not known */
#define LEVEL_BYTE 2u   /* where it stands in a canonical page (store/tree.h) */

struct entry {
    struct pbft_digest digest;
    uint32_t bytes;
    bool sound, reached;
};

struct audit {
    struct pbft_pages *pages;
    struct pbft_tree_config config;
    pbft_pages_wrong_fn *wrong;
    void *context;
    struct pbft_pages_audit *out;
    struct entry *entries; /* in the order of their digests */
    size_t count, capacity;
};

static void found(struct audit *a, enum pbft_pages_wrong what, const struct pbft_digest *digest)
{
    a->out->wrong[what]++;
    if (a->wrong != NULL) a->wrong(a->context, what, digest);
}

static int entry_compare(const void *key, const void *entry)
{
    return pbft_digest_compare(key, &((const struct entry *)entry)->digest);
}

static struct entry *entry_find(const struct audit *a, const struct pbft_digest *digest)
{
    if (a->count == 0) return NULL;
    return bsearch(digest, a->entries, a->count, sizeof *a->entries, entry_compare);
}

static struct entry *entry_add(struct audit *a, const struct pbft_digest *digest)
{
    if (a->count == a->capacity) {
        size_t capacity = a->capacity == 0 ? 256 : a->capacity * 2;
        struct entry *entries = realloc(a->entries, capacity * sizeof *entries);
        if (entries == NULL) return NULL;
        a->entries = entries;
        a->capacity = capacity;
    }
    struct entry *entry = &a->entries[a->count++];
    *entry = (struct entry){.digest = *digest};
    return entry;
}

/* ---- all that is there ---- */

static enum pbft_status audit_page(struct audit *a, const struct pbft_digest *digest)
{
    struct pbft_span page;
    struct pbft_digest actual;
    enum pbft_status status = a->pages->ops->get(a->pages, digest, &page);
    /* Where the order of the keys is damaged, one may be shown that cannot be found. */
    if (status == PBFT_STATUS_NOT_FOUND) return PBFT_STATUS_CORRUPT;
    if (status != PBFT_STATUS_OK) return status;
    struct entry *entry = entry_add(a, digest);
    if (entry == NULL) return PBFT_STATUS_MEMORY;
    entry->bytes = (uint32_t)page.size;
    a->out->pages++;
    a->out->bytes += page.size;
    if (!pbft_page_digest(page, &actual) || !pbft_digest_equal(&actual, digest))
        found(a, PBFT_PAGES_ROTTEN, digest);
    else if (pbft_page_check(&a->config, page) != PBFT_OK)
        found(a, PBFT_PAGES_MALFORMED, digest);
    else
        entry->sound = true;
    return PBFT_STATUS_OK;
}

static enum pbft_status audit_all(struct audit *a)
{
    struct pbft_digest at, next = {{0}};
    enum pbft_status status = a->pages->ops->next(a->pages, NULL, &at);
    while (status == PBFT_STATUS_OK) {
        status = audit_page(a, &at);
        if (status == PBFT_STATUS_OK) status = a->pages->ops->next(a->pages, &at, &next);
        at = next;
    }
    return status == PBFT_STATUS_NOT_FOUND ? PBFT_STATUS_OK : status;
}

/* ---- what the root leads to ---- */

/* What the store lends lasts no longer than until the next call: inner pages are copied. */
static enum pbft_status page_copy(struct audit *a, const struct pbft_digest *digest, uint8_t **out,
                                  size_t *size)
{
    struct pbft_span page;
    enum pbft_status status = a->pages->ops->get(a->pages, digest, &page);
    if (status != PBFT_STATUS_OK) return status;
    uint8_t *data = malloc(page.size);
    if (data == NULL) return PBFT_STATUS_MEMORY;
    memcpy(data, page.data, page.size);
    *out = data;
    *size = page.size;
    return PBFT_STATUS_OK;
}

static enum pbft_status follow(struct audit *a, const struct pbft_digest *digest, uint32_t level,
                               uint32_t depth)
{
    struct entry *entry = entry_find(a, digest);
    if (entry == NULL) {
        found(a, PBFT_PAGES_ABSENT, digest);
        return PBFT_STATUS_OK;
    }
    if (entry->reached) return PBFT_STATUS_OK;
    entry->reached = true;
    a->out->reached++;
    a->out->reached_bytes += entry->bytes;
    if (!entry->sound) return PBFT_STATUS_OK; /* it was said */
    uint8_t *data = NULL;
    size_t size = 0;
    enum pbft_status status = page_copy(a, digest, &data, &size);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_span page = {data, size};
    uint32_t own = data[LEVEL_BYTE]; /* it is canonical */
    bool placed = (level == LEVEL_ANY || own == level) && depth < PBFT_TREE_DEPTH_MAX;
    if (!placed) found(a, PBFT_PAGES_MISPLACED, digest);
    struct pbft_digest child;
    for (uint32_t i = 0;
         placed && status == PBFT_STATUS_OK && pbft_page_child_digest(page, i, &child); i++)
        status = follow(a, &child, own - 1, depth + 1);
    free(data);
    return status;
}

enum pbft_status pbft_pages_audit(struct pbft_pages *pages, const struct pbft_tree_config *config,
                                  const struct pbft_digest *root, pbft_pages_wrong_fn *wrong,
                                  void *context, struct pbft_pages_audit *out)
{
    *out = (struct pbft_pages_audit){0};
    struct audit a = {.pages = pages,
                      .config = config != NULL ? *config : pbft_tree_config_default(),
                      .wrong = wrong,
                      .context = context,
                      .out = out};
    enum pbft_status status = pages->ops->begin(pages, false);
    if (status != PBFT_STATUS_OK) return status;
    status = audit_all(&a);
    if (status == PBFT_STATUS_OK && root != NULL) status = follow(&a, root, LEVEL_ANY, 0);
    pages->ops->abort(pages);
    free(a.entries);
    return status;
}
