/**
 * pbft/new_view.h - what a new view must re-propose: a pure function of q VIEW-CHANGEs.
 *
 * Source: OSDI'99 §4.4 (O, min-s, max-s); FAULTS 4.7, 4.8; PROTOCOL 19. Signed variant: one valid
 * prepared certificate suffices and the highest view wins.
 */
#ifndef PBFT_NEW_VIEW_SELECT_H
#define PBFT_NEW_VIEW_SELECT_H

#include "pbft/types.h"

/* What counts of a P entry once its certificate was verified. */
struct pbft_prepared_summary {
    pbft_seq seq;
    pbft_view view;
    struct pbft_digest digest;
};

/* What counts of a VIEW-CHANGE. */
struct pbft_view_change_summary {
    pbft_seq stable; /* proved by a q certificate, or genesis' */
    struct pbft_digest stable_root;
    uint32_t prepared_count;
    const struct pbft_prepared_summary *prepared; /* ascending seq in (stable, stable+L] */
};

struct pbft_new_view_selection {
    pbft_seq min_s;              /* highest proved checkpoint */
    struct pbft_digest root;     /* its root */
    uint32_t count;              /* O covers (min_s, min_s + count], max-s inclusive (FAULTS 4.8) */
    struct pbft_digest *digests; /* caller's memory, `window` of them; holes get the null digest */
};

void pbft_new_view_select(const struct pbft_view_change_summary *view_changes, uint32_t count,
                          uint32_t window, const struct pbft_digest *null_digest,
                          struct pbft_new_view_selection *out);

#endif
