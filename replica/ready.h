/**
 * replica/ready.h - whether a replica serves, and why not: what `/readyz` answers.
 */
#ifndef PBFT_REPLICA_READY_H
#define PBFT_REPLICA_READY_H

#include "replica/node.h"

#define PBFT_UNREADY_BYTES 160u

struct pbft_ready_question {
    const struct pbft_node_info *node;
    const struct pbft_params *params;
    pbft_id id;
    uint32_t replicas_up; /* others that are connected */
    bool stopping;
};

/* One sentence without its full stop, "" if it serves. Whoever has just started does not know what
 * it lacks before q - 1 others have said what they have: it is not ready until then, nor while it
 * lacks more than a checkpoint interval of that. */
void pbft_unready(const struct pbft_ready_question *question, char out[PBFT_UNREADY_BYTES]);

#endif
