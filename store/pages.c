/*
 * Pages on a disk: what all implementations share. The walk that flushes, the sweep, the load.
 * (When all is written anew: pages_survey.c.)
 *
 * That a page which is there has all that it leads to is what lets a flush stop at it. It holds
 * because pages are put children first, and because a sweep, which takes them in the order of their
 * hashes, is noted before it begins and completed before anybody relies on it again. A store that
 * is written anew is nobody's before it is whole: its pages come in the order of their hashes.
 */
#include "store/pages_internal.h"

#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

#define LOAD_BATCH 64u
#define LOAD_BYTES (UINT64_C(16) << 20) /* read at a time: see relax */

void pbft_pages_init(struct pbft_pages *pages, const struct pbft_pages_ops *ops)
{
    pages->ops = ops;
    pages->tuning = pbft_pages_tuning_default();
    atomic_init(&pages->cancelled, false);
    pages->cancel = NULL;
    atomic_init(&pages->pages, 0);
    atomic_init(&pages->live, 0);
    atomic_init(&pages->bytes, 0);
    atomic_init(&pages->flushes, 0);
    atomic_init(&pages->renewed, 0);
    atomic_init(&pages->written, 0);
    atomic_init(&pages->written_bytes, 0);
    atomic_init(&pages->swept, 0);
}

struct pbft_pages_tuning pbft_pages_tuning_default(void)
{
    return (struct pbft_pages_tuning){
        .batch_bytes = 16u << 20,
        .sweep_batch = 512,
        .sweep_slack = 256,
        .renew_slack = 1u << 20,
    };
}

void pbft_pages_tune(struct pbft_pages *pages, const struct pbft_pages_tuning *tuning)
{
    PBFT_ASSERT(tuning->batch_bytes > 0);
    PBFT_ASSERT(tuning->sweep_batch > 0);
    pages->tuning = *tuning;
}

static void space_note(struct pbft_pages *pages, struct pbft_pages_space *space)
{
    pages->ops->space(pages, space);
    atomic_store(&pages->pages, space->pages);
    atomic_store(&pages->bytes, space->bytes);
}

void pbft_pages_cancel(struct pbft_pages *pages)
{
    atomic_store(&pages->cancelled, true);
}

static enum pbft_status cancelled(const struct pbft_pages *pages)
{
    return atomic_load(&pages->cancelled) ? PBFT_STATUS_REFUSED : PBFT_STATUS_OK;
}

void pbft_pages_cancel_by(struct pbft_pages *pages, const _Atomic bool *cancel)
{
    pages->cancel = cancel;
}

static enum pbft_status meta_read(struct pbft_pages *pages, struct pbft_pages_meta *meta)
{
    enum pbft_status status = pages->ops->begin(pages, false);
    if (status != PBFT_STATUS_OK) return status;
    status = pages->ops->get_meta(pages, meta);
    pages->ops->abort(pages);
    return status;
}

/* Allocated: with its certificate it is long for a stack. */
static struct pbft_pages_meta *meta_new(void)
{
    return calloc(1, sizeof(struct pbft_pages_meta));
}

/* ---- marks: digests, sorted ---- */

struct marks {
    struct pbft_digest *digests;
    size_t count, capacity;
};

static enum pbft_status mark_add(struct marks *marks, const struct pbft_digest *digest)
{
    if (marks->count == marks->capacity) {
        size_t capacity = marks->capacity == 0 ? 256 : marks->capacity * 2;
        struct pbft_digest *digests = realloc(marks->digests, capacity * sizeof *digests);
        if (digests == NULL) return PBFT_STATUS_MEMORY;
        marks->digests = digests;
        marks->capacity = capacity;
    }
    marks->digests[marks->count++] = *digest;
    return PBFT_STATUS_OK;
}

static int mark_compare(const void *a, const void *b)
{
    return pbft_digest_compare(a, b);
}

static void marks_sort(struct marks *marks)
{
    if (marks->count > 1) qsort(marks->digests, marks->count, sizeof *marks->digests, mark_compare);
}

static enum pbft_status mark_page(void *context, const struct pbft_digest *digest,
                                  struct pbft_span page)
{
    (void)page;
    return mark_add(context, digest);
}

/* ---- marks of what is stored: from a root down, believing nothing ---- */

/* A page above the leaves, checked against its digest; copied, because what the store lends lasts
 * no longer than until the next call. */
static enum pbft_status stored_copy(struct pbft_pages *pages, const struct pbft_digest *digest,
                                    uint8_t **out, size_t *size)
{
    struct pbft_span page;
    enum pbft_status status = pages->ops->get(pages, digest, &page);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_digest actual;
    if (!pbft_page_digest(page, &actual) || !pbft_digest_equal(&actual, digest))
        return PBFT_STATUS_CORRUPT;
    uint8_t *data = malloc(page.size);
    if (data == NULL) return PBFT_STATUS_MEMORY;
    memcpy(data, page.data, page.size);
    *out = data;
    *size = page.size;
    return PBFT_STATUS_OK;
}

/* Leaves are marked unread. */
static enum pbft_status mark_stored(struct pbft_pages *pages, const struct pbft_digest *digest,
                                    uint32_t depth, struct marks *marks)
{
    if (depth >= PBFT_TREE_DEPTH_MAX) return PBFT_STATUS_CORRUPT;
    uint8_t *data = NULL;
    size_t size = 0;
    enum pbft_status status = stored_copy(pages, digest, &data, &size);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_span page = {data, size};
    status = mark_add(marks, digest);
    bool leaves = page.size > 2 && page.data[2] == 1; /* are its children */
    struct pbft_digest child;
    for (uint32_t i = 0; status == PBFT_STATUS_OK && pbft_page_child_digest(page, i, &child); i++)
        status = leaves ? mark_add(marks, &child) : mark_stored(pages, &child, depth + 1, marks);
    free(data);
    return status;
}

/* ---- the sweep ---- */

static enum pbft_status meta_note_sweep(struct pbft_pages *pages, bool sweeping)
{
    struct pbft_pages_meta *meta = meta_new();
    if (meta == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = pages->ops->get_meta(pages, meta);
    if (status == PBFT_STATUS_OK && meta->sweeping != sweeping) {
        meta->sweeping = sweeping;
        status = pages->ops->put_meta(pages, meta);
    }
    free(meta);
    return status;
}

/* One transaction: up to a batch of pages after *at that are not marked. */
static enum pbft_status sweep_some(struct pbft_pages *pages, const struct marks *marks,
                                   struct pbft_digest *at, bool *started, bool *done)
{
    enum pbft_status status = pages->ops->begin(pages, true);
    if (status != PBFT_STATUS_OK) return status;
    uint32_t swept = 0;
    if (!*started) status = meta_note_sweep(pages, true);
    while (status == PBFT_STATUS_OK && swept < pages->tuning.sweep_batch) {
        struct pbft_digest next;
        status = pages->ops->next(pages, *started ? at : NULL, &next);
        if (status == PBFT_STATUS_NOT_FOUND) {
            *done = true;
            break;
        }
        if (status != PBFT_STATUS_OK) break;
        *at = next;
        *started = true;
        if (marks->count != 0 && bsearch(&next, marks->digests, marks->count,
                                         sizeof *marks->digests, mark_compare) != NULL)
            continue;
        status = pages->ops->remove(pages, &next);
        swept++;
    }
    if (*done) status = meta_note_sweep(pages, false);
    if (status != PBFT_STATUS_OK) {
        pages->ops->abort(pages);
        return status;
    }
    status = pages->ops->commit(pages);
    if (status == PBFT_STATUS_OK) atomic_fetch_add(&pages->swept, swept);
    return status;
}

static enum pbft_status sweep(struct pbft_pages *pages, struct marks *marks)
{
    marks_sort(marks);
    struct pbft_digest at;
    bool started = false, done = false;
    enum pbft_status status = PBFT_STATUS_OK;
    while (status == PBFT_STATUS_OK && !done) {
        status = cancelled(pages);
        if (status == PBFT_STATUS_OK) status = sweep_some(pages, marks, &at, &started, &done);
    }
    return status;
}

/* Sweep what the checkpoint that is stored does not reach. PBFT_STATUS_CORRUPT, _NOT_FOUND: that
 * cannot be told, nothing was swept. */
static enum pbft_status sweep_stored(struct pbft_pages *pages, const struct pbft_pages_meta *meta)
{
    struct marks marks = {0};
    enum pbft_status status = pages->ops->begin(pages, false);
    if (status != PBFT_STATUS_OK) return status;
    if (meta->checkpoint.seq != 0) status = mark_stored(pages, &meta->checkpoint.root, 0, &marks);
    pages->ops->abort(pages);
    if (status == PBFT_STATUS_OK) status = sweep(pages, &marks);
    free(marks.digests);
    return status;
}

/* ---- the flush ---- */

struct flush {
    struct pbft_pages *pages;
    struct pbft_pages_meta *meta; /* as it will be */
    struct pages_survey survey;
    uint64_t batch; /* bytes put in this transaction */
    uint64_t written, written_bytes;
};

static enum pbft_status is_there(void *context, const struct pbft_digest *digest)
{
    struct flush *flush = context;
    struct pbft_span page;
    return flush->pages->ops->get(flush->pages, digest, &page);
}

/* In a transaction before and after, if all went well; none after a commit that failed. */
static enum pbft_status put_page(void *context, const struct pbft_digest *digest,
                                 struct pbft_span page)
{
    struct flush *flush = context;
    struct pbft_pages *pages = flush->pages;
    enum pbft_status status = cancelled(pages);
    if (status == PBFT_STATUS_OK) status = pages->ops->put(pages, digest, page);
    if (status != PBFT_STATUS_OK) return status;
    flush->written++;
    flush->written_bytes += page.size;
    flush->batch += page.size;
    if (flush->batch < pages->tuning.batch_bytes) return PBFT_STATUS_OK;
    flush->batch = 0;
    status = pages->ops->commit(pages);
    if (status == PBFT_STATUS_OK)
        status = pages->ops->reserve(pages, 2 * pages->tuning.batch_bytes);
    return status == PBFT_STATUS_OK ? pages->ops->begin(pages, true) : status;
}

static uint64_t batch_cost(const struct flush *flush, bool anew)
{
    uint64_t all = anew ? flush->survey.live_cost : flush->survey.new_cost;
    uint64_t batch = 2 * flush->pages->tuning.batch_bytes;
    return all < batch ? all : batch;
}

/* Write the pages, and then what makes them the checkpoint. anew: all of them. */
static enum pbft_status write_pages(struct flush *flush, const struct pbft_snapshot *snapshot,
                                    bool anew)
{
    struct pbft_pages *pages = flush->pages;
    flush->written = flush->written_bytes = flush->batch = 0;
    enum pbft_status status = pages->ops->reserve(pages, batch_cost(flush, anew));
    if (status == PBFT_STATUS_OK) status = pages->ops->begin(pages, true);
    if (status != PBFT_STATUS_OK) return status;
    status = anew ? pbft_snapshot_walk_sorted(snapshot, put_page, flush)
                  : pbft_snapshot_walk(snapshot, is_there, put_page, flush);
    if (status == PBFT_STATUS_OK) status = pages->ops->put_meta(pages, flush->meta);
    if (status != PBFT_STATUS_OK) {
        pages->ops->abort(pages);
        return status;
    }
    return pages->ops->commit(pages);
}

static enum pbft_status write_anew(struct flush *flush, const struct pbft_snapshot *snapshot)
{
    struct pbft_pages *pages = flush->pages;
    enum pbft_status status = pages->ops->aside(pages);
    if (status != PBFT_STATUS_OK) return status;
    status = write_pages(flush, snapshot, true);
    if (status != PBFT_STATUS_OK) {
        pages->ops->abandon(pages);
        return status;
    }
    status = pages->ops->adopt(pages);
    if (status == PBFT_STATUS_OK) atomic_fetch_add(&pages->renewed, 1);
    return status;
}

/* What a flush that came to no end has left may be what fills the disk. */
static enum pbft_status write_in_place(struct flush *flush, const struct pbft_snapshot *snapshot,
                                       const struct pbft_pages_meta *old)
{
    enum pbft_status status = write_pages(flush, snapshot, false);
    if (status != PBFT_STATUS_FULL) return status;
    status = sweep_stored(flush->pages, old);
    if (status == PBFT_STATUS_CORRUPT || status == PBFT_STATUS_NOT_FOUND) return PBFT_STATUS_FULL;
    return status == PBFT_STATUS_OK ? write_pages(flush, snapshot, false) : status;
}

/* The checkpoint is durable by now: no room and no memory are for the next flush to mend. */
static enum pbft_status sweep_after(struct pbft_pages *pages, const struct pbft_snapshot *snapshot,
                                    uint64_t live)
{
    struct pbft_pages_space space;
    space_note(pages, &space);
    if (!pages_sweep_due(pages, space.pages, live)) return PBFT_STATUS_OK;
    struct marks marks = {0};
    enum pbft_status status = pbft_snapshot_walk(snapshot, NULL, mark_page, &marks);
    if (status == PBFT_STATUS_OK) status = sweep(pages, &marks);
    free(marks.digests);
    if (status == PBFT_STATUS_FULL || status == PBFT_STATUS_MEMORY || status == PBFT_STATUS_REFUSED)
        status = PBFT_STATUS_OK;
    return status;
}

static enum pbft_status flush_with(struct flush *flush, struct pbft_snapshot *snapshot,
                                   struct pbft_pages_meta *old)
{
    struct pbft_pages *pages = flush->pages;
    enum pbft_status status = meta_read(pages, old);
    if (status == PBFT_STATUS_CORRUPT)
        pages->distrusted = true;
    else if (status != PBFT_STATUS_OK)
        return status;
    bool damaged = pages->distrusted; /* that a page is there says nothing of what it leads to */
    if (old->sweeping && !damaged) {
        status = sweep_stored(pages, old);
        /* To take pages away needs some room, too. */
        damaged = status == PBFT_STATUS_CORRUPT || status == PBFT_STATUS_NOT_FOUND ||
                  status == PBFT_STATUS_FULL;
        if (!damaged && status != PBFT_STATUS_OK) return status;
    }
    status = pages_survey(pages, snapshot, !damaged, &flush->survey);
    if (status != PBFT_STATUS_OK) return status;
    bool anew = damaged || pages_renewal_pays(&flush->survey);
    if (anew) status = write_anew(flush, snapshot);
    if (!anew || (!damaged && status == PBFT_STATUS_FULL))
        status = write_in_place(flush, snapshot, old);
    if (status != PBFT_STATUS_OK) return status;

    pages->distrusted = false;
    atomic_fetch_add(&pages->flushes, 1);
    atomic_fetch_add(&pages->written, flush->written);
    atomic_fetch_add(&pages->written_bytes, flush->written_bytes);
    atomic_store(&pages->live, flush->survey.live_pages);
    status = sweep_after(pages, snapshot, flush->survey.live_pages);
    return status == PBFT_STATUS_OK ? pages->ops->relax(pages) : status;
}

enum pbft_status pbft_pages_flush(struct pbft_pages *pages, struct pbft_snapshot *snapshot,
                                  const struct pbft_pages_checkpoint *checkpoint)
{
    if (checkpoint->seq == 0 || checkpoint->certificate_size > PBFT_PAGES_CERTIFICATE_MAX)
        return PBFT_STATUS_ARGUMENT;
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    if (!pbft_digest_equal(&root, &checkpoint->root)) return PBFT_STATUS_ARGUMENT;

    struct pbft_pages_meta *old = meta_new();
    struct flush flush = {.pages = pages, .meta = meta_new()};
    enum pbft_status status = PBFT_STATUS_MEMORY;
    if (old != NULL && flush.meta != NULL) {
        flush.meta->checkpoint = *checkpoint;
        status = flush_with(&flush, snapshot, old);
    }
    free(old);
    free(flush.meta);
    struct pbft_pages_space space;
    space_note(pages, &space);
    return status;
}

/* ---- reading ---- */

enum pbft_status pbft_pages_checkpoint(struct pbft_pages *pages, struct pbft_pages_checkpoint *out)
{
    struct pbft_pages_meta *meta = meta_new();
    if (meta == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = meta_read(pages, meta);
    if (status == PBFT_STATUS_OK) *out = meta->checkpoint;
    free(meta);
    return status;
}

static enum pbft_status install_one(struct pbft_pages *pages, struct pbft_install *install,
                                    const struct pbft_digest *digest, uint64_t *bytes)
{
    struct pbft_span page;
    enum pbft_status status = pages->ops->get(pages, digest, &page);
    if (status != PBFT_STATUS_OK) return status;
    *bytes += page.size;
    enum pbft_verdict verdict = pbft_install_page(install, digest, page);
    if (verdict == PBFT_DROP_BUSY) return PBFT_STATUS_MEMORY;
    return verdict == PBFT_OK ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
}

static enum pbft_status install_all(struct pbft_pages *pages, struct pbft_install *install)
{
    struct pbft_digest wanted[LOAD_BATCH];
    uint64_t bytes = 0;
    enum pbft_status status = pages->ops->begin(pages, false);
    while (status == PBFT_STATUS_OK && !pbft_install_done(install)) {
        if (pages->cancel != NULL && atomic_load(pages->cancel)) {
            status = PBFT_STATUS_REFUSED;
            break;
        }
        size_t count = pbft_install_wanted(install, wanted, LOAD_BATCH);
        for (size_t i = 0; status == PBFT_STATUS_OK && i < count; i++)
            status = install_one(pages, install, &wanted[i], &bytes);
        struct pbft_install_progress progress;
        pbft_install_progress(install, &progress);
        if (status == PBFT_STATUS_OK && progress.failed) status = PBFT_STATUS_CORRUPT;
        if (status != PBFT_STATUS_OK || bytes < LOAD_BYTES) continue;
        bytes = 0;
        pages->ops->abort(pages);
        status = pages->ops->relax(pages);
        if (status == PBFT_STATUS_OK) status = pages->ops->begin(pages, false);
    }
    pages->ops->abort(pages);
    return status;
}

enum pbft_status pbft_pages_load(struct pbft_pages *pages, struct pbft_tree *tree,
                                 const struct pbft_digest *root)
{
    const struct pbft_install_limits limits = {UINT64_MAX, UINT64_MAX};
    struct pbft_install *install = NULL;
    enum pbft_status status = pbft_install_begin(&install, tree, root, &limits);
    if (status != PBFT_STATUS_OK) return status;
    status = install_all(pages, install);
    if (status == PBFT_STATUS_OK) status = pages->ops->relax(pages);
    if (status == PBFT_STATUS_OK) return pbft_install_finish(install);
    pbft_install_abort(install);
    if (status == PBFT_STATUS_CORRUPT || status == PBFT_STATUS_NOT_FOUND) pages->distrusted = true;
    return status;
}

enum pbft_status pbft_pages_get(struct pbft_pages *pages, const struct pbft_digest *digest,
                                uint8_t *out, size_t capacity, size_t *size)
{
    enum pbft_status status = pages->ops->begin(pages, false);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_span page;
    status = pages->ops->get(pages, digest, &page);
    if (status == PBFT_STATUS_OK) {
        *size = page.size;
        if (page.size > capacity)
            status = PBFT_STATUS_FULL;
        else if (page.size > 0)
            memcpy(out, page.data, page.size);
    }
    pages->ops->abort(pages);
    return status;
}

/* ---- the rest ---- */

static enum pbft_status write_nothing(struct pbft_pages *pages)
{
    struct pbft_pages_meta *meta = meta_new();
    if (meta == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = pages->ops->begin(pages, true);
    if (status == PBFT_STATUS_OK) {
        status = pages->ops->put_meta(pages, meta);
        if (status == PBFT_STATUS_OK)
            status = pages->ops->commit(pages);
        else
            pages->ops->abort(pages);
    }
    free(meta);
    return status;
}

enum pbft_status pbft_pages_clear(struct pbft_pages *pages)
{
    enum pbft_status status = pages->ops->aside(pages);
    if (status != PBFT_STATUS_OK) return status;
    status = write_nothing(pages);
    if (status != PBFT_STATUS_OK) {
        pages->ops->abandon(pages);
        return status;
    }
    status = pages->ops->adopt(pages);
    if (status == PBFT_STATUS_OK) atomic_store(&pages->live, 0);
    struct pbft_pages_space space;
    space_note(pages, &space);
    return status;
}

void pbft_pages_stats(struct pbft_pages *pages, struct pbft_pages_stats *out)
{
    *out = (struct pbft_pages_stats){
        .pages = atomic_load(&pages->pages),
        .live = atomic_load(&pages->live),
        .bytes = atomic_load(&pages->bytes),
        .flushes = atomic_load(&pages->flushes),
        .renewed = atomic_load(&pages->renewed),
        .written = atomic_load(&pages->written),
        .written_bytes = atomic_load(&pages->written_bytes),
        .swept = atomic_load(&pages->swept),
    };
}

const char *pbft_pages_name(const struct pbft_pages *pages)
{
    return pages->ops->name;
}

void pbft_pages_close(struct pbft_pages *pages)
{
    if (pages != NULL) pages->ops->close(pages);
}
