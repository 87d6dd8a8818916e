/* What the parts of the page store share: flush, sweep and load (pages.c), and what there would be
 * on the disk after a flush (pages_survey.c). */
#ifndef PBFT_STORE_PAGES_INTERNAL_H
#define PBFT_STORE_PAGES_INTERNAL_H

#include "store/pages.h"

/* Of a snapshot: all of its pages, and those that the store does not have. Costs: bytes on disk. */
struct pages_survey {
    struct pbft_pages *pages;
    uint64_t live_pages, live_bytes, live_cost; /* if all are written anew */
    uint64_t new_pages, new_cost;               /* if they come to the others */
};

/* compare: with what is there; else nothing is new. Outside of transactions. */
enum pbft_status pages_survey(struct pbft_pages *pages, const struct pbft_snapshot *snapshot,
                              bool compare, struct pages_survey *out);
/* Would what is on the disk after a flush in place be much more than it needs to be? */
bool pages_renewal_pays(const struct pages_survey *survey);
/* Is there enough out of reach of the checkpoint, of so many pages that are there? */
bool pages_sweep_due(const struct pbft_pages *pages, uint64_t there, uint64_t live);

#endif
