#include "bench/chain/load.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chain_waiting {
    struct chain_operation op; /* its spans are gone */
    uint64_t sent_ns;
    bool once; /* had a confirmation before */
    bool in;   /* has one now */
};

uint64_t chain_load_clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void chain_load_start(struct chain_load *l, double seconds)
{
    l->started_ns = chain_load_clock_ns();
    l->until_ns = l->started_ns + (uint64_t)(seconds * 1e9);
}

void chain_load_free(struct chain_load *l)
{
    free(l->waiting);
    l->waiting = NULL;
}

static bool remember(struct chain_load *l, const struct chain_operation *op, uint64_t now)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity == 0 ? 1024 : l->capacity * 2;
        struct chain_waiting *more = realloc(l->waiting, capacity * sizeof *more);
        if (more == NULL) return false;
        l->waiting = more;
        l->capacity = capacity;
    }
    l->waiting[l->count++] = (struct chain_waiting){.op = *op, .sent_ns = now};
    return true;
}

static void submit(struct chain_load *l, struct chain_station *s, uint64_t now)
{
    uint8_t frame[CHAIN_REQUEST_BYTES];
    struct chain_operation op;
    size_t size = chain_client_next(&l->client, &s->node.tree.id, frame);
    struct pbft_span span = {frame, size};
    if (size == 0 || chain_operation_read(span, &op) != CHAIN_OK ||
        chain_node_submit(&s->node, span) != CHAIN_OK || !remember(l, &op, now))
        l->refused++;
    else
        l->submitted++;
}

static void look(struct chain_load *l, const struct chain_tree *tree, uint64_t now)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct chain_waiting *w = &l->waiting[i];
        uint64_t confirmations = chain_tree_confirmations(tree, &w->op);
        if (w->in && confirmations == 0) l->reversed++;
        w->in = confirmations > 0;
        if (w->in && !w->once) {
            histogram_record(&l->first_latency, now - w->sent_ns, 1);
            l->once++;
            w->once = true;
        }
        if (confirmations >= l->confirmations) {
            histogram_record(&l->final_latency, now - w->sent_ns, 1);
            l->final++;
            l->last_final_ns = now;
            continue;
        }
        l->waiting[kept++] = *w;
    }
    l->count = kept;
}

void chain_load_step(struct chain_load *l, struct chain_station *s)
{
    uint64_t now = chain_load_clock_ns();
    uint64_t end = now < l->until_ns ? now : l->until_ns;
    uint64_t due = (uint64_t)((double)(end - l->started_ns) / 1e9 * l->requests_per_s);
    /* A few at a time: the loop has blocks to look after. */
    for (unsigned i = 0; i < 64 && l->submitted + l->refused < due; i++)
        submit(l, s, now);
    const struct pbft_digest *tip = &s->node.tree.tip->link.key;
    if (pbft_digest_equal(tip, &l->seen_tip)) return;
    l->seen_tip = *tip;
    look(l, &s->node.tree, now);
}
