#include "pbft/new_view.h"

#include <string.h>

static const struct pbft_prepared_summary *find(const struct pbft_view_change_summary *vc,
                                                pbft_seq seq)
{
    uint32_t low = 0, high = vc->prepared_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (vc->prepared[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == vc->prepared_count || vc->prepared[low].seq != seq) return NULL;
    return &vc->prepared[low];
}

void pbft_new_view_select(const struct pbft_view_change_summary *view_changes, uint32_t count,
                          uint32_t window, const struct pbft_digest *null_digest,
                          struct pbft_new_view_selection *out)
{
    PBFT_ASSERT(count > 0);
    out->min_s = view_changes[0].stable;
    out->root = view_changes[0].stable_root;
    pbft_seq max_s = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct pbft_view_change_summary *vc = &view_changes[i];
        if (vc->stable > out->min_s) {
            out->min_s = vc->stable;
            out->root = vc->stable_root;
        }
        if (vc->prepared_count > 0 && vc->prepared[vc->prepared_count - 1].seq > max_s)
            max_s = vc->prepared[vc->prepared_count - 1].seq;
    }
    if (max_s < out->min_s) max_s = out->min_s;
    /* Each entry lies within L of its own h, and no h is above min-s (PROTOCOL 18). */
    PBFT_ASSERT(max_s - out->min_s <= window);
    out->count = (uint32_t)(max_s - out->min_s);

    for (uint32_t i = 0; i < out->count; i++) {
        pbft_seq seq = out->min_s + 1 + i;
        const struct pbft_prepared_summary *best = NULL;
        for (uint32_t k = 0; k < count; k++) {
            const struct pbft_prepared_summary *entry = find(&view_changes[k], seq);
            if (entry != NULL && (best == NULL || entry->view > best->view)) best = entry;
        }
        out->digests[i] = best != NULL ? best->digest : *null_digest;
    }
}
