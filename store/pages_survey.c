/*
 * How much disk a flush would take, and whether to write everything anew instead.
 *
 * The bound is twice the bytes of the pages. A flush in place adds to what is used, and what it
 * copies of the index, or takes out of it, makes room only later; that much is foreseen here.
 * Anew, all of it is as short as it can be.
 */
#include "store/pages_internal.h"

/* ---- what there is ---- */

static enum pbft_status count_live(void *context, const struct pbft_digest *digest,
                                   struct pbft_span page)
{
    (void)digest;
    struct pages_survey *s = context;
    s->live_pages++;
    s->live_bytes += page.size;
    s->live_cost += s->pages->ops->cost(s->pages, page.size, true);
    return PBFT_STATUS_OK;
}

static enum pbft_status is_there(void *context, const struct pbft_digest *digest)
{
    const struct pages_survey *s = context;
    struct pbft_span page;
    return s->pages->ops->get(s->pages, digest, &page);
}

static enum pbft_status count_new(void *context, const struct pbft_digest *digest,
                                  struct pbft_span page)
{
    (void)digest;
    struct pages_survey *s = context;
    s->new_pages++;
    s->new_cost += s->pages->ops->cost(s->pages, page.size, false);
    return PBFT_STATUS_OK;
}

enum pbft_status pages_survey(struct pbft_pages *pages, const struct pbft_snapshot *snapshot,
                              bool compare, struct pages_survey *out)
{
    *out = (struct pages_survey){.pages = pages};
    enum pbft_status status = pbft_snapshot_walk(snapshot, NULL, count_live, out);
    if (status != PBFT_STATUS_OK || !compare) return status;
    status = pages->ops->begin(pages, false);
    if (status != PBFT_STATUS_OK) return status;
    status = pbft_snapshot_walk(snapshot, is_there, count_new, out);
    pages->ops->abort(pages);
    return status;
}

/* ---- what there would be ---- */

bool pages_sweep_due(const struct pbft_pages *pages, uint64_t there, uint64_t live)
{
    uint64_t garbage = there > live ? there - live : 0;
    return garbage > there / 8 + pages->tuning.sweep_slack;
}

/* Bytes of the index that are there twice once so many pages have come or gone: each is in a leaf,
 * and hashes spread them over all, some to the same (1 - exp(-x) is about 2x / (2 + x)). What a
 * transaction has copied makes room two transactions later: of many, two count. */
static uint64_t twice_there(const struct pbft_pages_space *space, uint64_t pages, uint64_t batch)
{
    if (pages > 2 * batch) pages = 2 * batch;
    uint64_t leaves = space->index_leaves;
    if (pages == 0 || leaves == 0) return 0;
    uint64_t touched = 2 * pages * leaves / (2 * leaves + pages);
    return (touched < leaves ? touched + 1 : leaves) * space->index_leaf_bytes;
}

/* Writing everything costs its bytes once more, so what has gathered must be worth it. The sweep
 * after the flush counts: one that makes the file too long is for nothing, as the next flush writes
 * everything. */
bool pages_renewal_pays(const struct pages_survey *survey)
{
    struct pbft_pages *pages = survey->pages;
    /* It is written either way, and takes less aside. Of little that is left of a large state this
     * says nothing: the file may be as long as it was. */
    if (survey->new_pages == survey->live_pages && survey->live_bytes > pages->tuning.renew_slack)
        return true;
    struct pbft_pages_space space;
    pages->ops->space(pages, &space);
    uint64_t there = space.pages + survey->new_pages;
    uint64_t each = survey->live_bytes / survey->live_pages + 1;
    uint64_t after = space.used + space.freed + survey->new_cost +
                     twice_there(&space, survey->new_pages, pages->tuning.batch_bytes / each + 1);
    if (pages_sweep_due(pages, there, survey->live_pages))
        after += twice_there(&space, there - survey->live_pages, pages->tuning.sweep_batch);
    if (after < space.bytes) after = space.bytes;
    return after > survey->live_bytes / 20 * 39 + pages->tuning.renew_slack &&
           after > survey->live_cost / 10 * 11;
}
