/* From the checkpoint on disk to the stable one: what the log has committed, executed again
 * (PROTOCOL 25). The result is compared with the certified root by the core. */
#include "replica/node_internal.h"

#include "replica/replay.h"

static void execute(void *context, pbft_seq seq, struct pbft_frame *frame,
                    struct pbft_span proposal)
{
    struct pbft_node *node = context;
    struct task *task = task_new(TASK_EXECUTE);
    task->seq = seq;
    task->frame = pbft_frame_retain(frame);
    task->proposal = proposal;
    apply_side_run(&node->side, task);
    node->applied = seq;
    task_free(task);
}

bool node_replay(struct pbft_node *node, pbft_seq seq)
{
    struct pbft_replay_config config = {.params = node->p,
                                        .pool = node->config.pool,
                                        .from = node->applied,
                                        .to = seq,
                                        .execute = execute,
                                        .context = node,
                                        .cancel = node->config.cancel};
    struct pbft_replay *replay = pbft_replay_new(&config);
    if (replay == NULL) return false;
    (void)pbft_log_iterate(node->config.log, pbft_replay_visit, replay);
    pbft_replay_free(replay);
    return node->applied == seq;
}
