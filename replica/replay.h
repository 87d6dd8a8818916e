/**
 * replica/replay.h - the way from one checkpoint to a later one: the batches that a vote log has
 * committed between them, in order (PROTOCOL 25). A restart executes them; a check looks whether
 * they are there.
 */
#ifndef PBFT_REPLICA_REPLAY_H
#define PBFT_REPLICA_REPLAY_H

#include "pbft/frame.h"
#include "store/log.h"

/* The next one. frame: holds the proposal, borrowed; NULL: the null request. */
typedef void pbft_replay_execute_fn(void *context, pbft_seq seq, struct pbft_frame *frame,
                                    struct pbft_span proposal);

struct pbft_replay_config {
    const struct pbft_params *params;
    struct pbft_frame_pool *pool;
    pbft_seq from, to; /* from < to */
    pbft_replay_execute_fn *execute;
    void *context;
    const _Atomic bool *cancel; /* set by any thread: the visit stops; NULL: never */
};

struct pbft_replay;

struct pbft_replay *pbft_replay_new(const struct pbft_replay_config *config); /* NULL: no memory */
/* For pbft_log_iterate() and pbft_log_file_read(), once over the whole log; stops when it is there,
 * and when it cannot get there any more. */
pbft_log_visit_fn pbft_replay_visit;
pbft_seq pbft_replay_reached(const struct pbft_replay *replay);
void pbft_replay_free(struct pbft_replay *replay); /* NULL is allowed */

#endif
