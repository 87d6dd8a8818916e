/*
 * How long requests are in each stage here, from their arrival to their execution: what a latency
 * consists of. Numbers for /metrics and benchmarks; nothing depends on them.
 *
 * What a stage begins with is kept by sequence number, and of the requests when they came. A moment
 * that was not seen (a certificate showed that a number is committed, and nobody prepared it) gives
 * its stage no length, so the stages of a request always add up to the time that it was here.
 */
#include "replica/node_internal.h"

#include <stdlib.h>

bool node_stages_init(struct pbft_node *node)
{
    node->batch_times = calloc(node->p->window, sizeof *node->batch_times);
    return node->batch_times != NULL;
}

/* Of what is in flight no two share a place. */
static struct batch_times *place_of(const struct pbft_node *node, pbft_seq seq)
{
    return &node->batch_times[seq % node->p->window];
}

void node_stage_begins(struct pbft_node *node, pbft_seq seq, enum pbft_stage stage)
{
    PBFT_ASSERT(stage != PBFT_STAGE_WAIT);
    struct batch_times *times = place_of(node, seq);
    if (times->seq != seq) *times = (struct batch_times){.seq = seq};
    /* The first one counts: what is proposed again in another view had been proposed. */
    if (times->begun_ns[stage] == 0) times->begun_ns[stage] = node->now_ns;
}

void node_stages_over(struct pbft_node *node, pbft_seq seq, uint64_t arrived_ns)
{
    const struct batch_times *times = place_of(node, seq);
    if (arrived_ns == 0 || times->seq != seq) return;
    uint64_t since = arrived_ns;
    for (unsigned stage = PBFT_STAGE_WAIT; stage < PBFT_STAGES; stage++) {
        bool last = stage + 1 == PBFT_STAGES;
        uint64_t until = last ? node->now_ns : times->begun_ns[stage + 1];
        if (until < since) continue;
        node->stage_ns[stage] += until - since;
        since = until;
    }
    node->requests_timed++;
}
