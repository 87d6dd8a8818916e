/* The APPLY queue as the node sees it: executions, snapshots and what waits between them are queued
 * here, handed to one job at a time, and their outcomes carried out in the same order. */
#include "replica/node_internal.h"

#include <stdlib.h>

/* ---- tasks ---- */

struct task *task_new(enum task_kind kind)
{
    struct task *task = node_alloc(sizeof *task);
    task->kind = kind;
    return task;
}

void task_push(struct task_list *list, struct task *task)
{
    task->next = NULL;
    if (list->tail != NULL)
        list->tail->next = task;
    else
        list->head = task;
    list->tail = task;
    list->count++;
}

struct task *task_pop(struct task_list *list)
{
    struct task *task = list->head;
    if (task == NULL) return NULL;
    list->head = task->next;
    if (list->head == NULL) list->tail = NULL;
    list->count--;
    task->next = NULL;
    return task;
}

void task_free(struct task *task)
{
    if (task == NULL) return;
    for (uint32_t i = 0; i < task->applied_count; i++)
        pbft_frame_release(task->applied[i].reply);
    free(task->applied);
    pbft_frame_release(task->frame);
    pbft_frame_release(task->reply);
    pbft_snapshot_release(task->snapshot);
    free(task->requests);
    free(task->wanted);
    free(task);
}

void task_list_free(struct task_list *list)
{
    for (struct task *task = task_pop(list); task != NULL; task = task_pop(list))
        task_free(task);
}

struct task *node_queue(struct pbft_node *node, enum task_kind kind)
{
    struct task *task = task_new(kind);
    task->generation = node->generation;
    task_push(&node->tasks, task);
    return task;
}

/* ---- effects ---- */

void node_execute(struct pbft_node *node, const struct pbft_effect *effect)
{
    struct task *task = node_queue(node, TASK_EXECUTE);
    task->seq = effect->execute.seq;
    task->needs_lsn = effect->execute.needs_lsn;
    node_stage_begins(node, task->seq, PBFT_STAGE_EXECUTE);
    task->frame = effect->execute.frame; /* its reference is ours now */
    if (task->frame == NULL) return;
    task->proposal = effect->execute.proposal;
    task->requests = node_opened_take(node, &effect->execute.digest, &task->digest_count);
}

void node_take_checkpoint(struct pbft_node *node, pbft_seq seq)
{
    node_queue(node, TASK_SNAPSHOT)->seq = seq;
}

static void snapshot_remove(struct pbft_node *node, size_t at)
{
    pbft_snapshot_release(node->snapshots[at].snapshot);
    for (size_t i = at + 1; i < node->snapshot_count; i++)
        node->snapshots[i - 1] = node->snapshots[i];
    node->snapshot_count--;
}

/* The roots of the old state that the core does not know yet it is not told. Else: one that was
 * wrong is signed, or held against the state that has replaced it (FAULTS 4.24). */
static void forget_untold(struct pbft_node *node)
{
    for (size_t i = node->snapshot_count; i-- > 0;) {
        node->snapshots[i].held = false;
        if (!node->snapshots[i].hashed) snapshot_remove(node, i);
    }
}

/* A TRANSFER: what was to be executed on the old state is not (the core asks again for what follows
 * the new one). Look-ups and reads stay. */
void node_drop_executions(struct pbft_node *node)
{
    node->generation++;
    forget_untold(node);
    struct task_list kept = {NULL, NULL, 0};
    for (struct task *task = task_pop(&node->tasks); task != NULL; task = task_pop(&node->tasks)) {
        switch (task->kind) {
        case TASK_LOOKUP:
        case TASK_RECHECK:
        case TASK_QUERY:
        case TASK_RESULT:
        case TASK_INSTALL_PAGE: task_push(&kept, task); break; /* pages settle their peer's count */
        case TASK_EXECUTE:
        case TASK_SNAPSHOT:
        case TASK_INSTALL_BEGIN:
        case TASK_INSTALL_STEP: task_free(task); break;
        }
    }
    node->tasks = kept;
}

/* ---- snapshots: those above the stable checkpoint, the stable one, and the one before ---- */

static void snapshots_trim(struct pbft_node *node)
{
    size_t stable = 0; /* how many are at or below the stable checkpoint */
    while (stable < node->snapshot_count && node->snapshots[stable].seq <= node->stable_seq)
        stable++;
    size_t drop = stable > 2 ? stable - 2 : 0; /* two are served, FAULTS 4.20 */
    for (size_t i = 0; i < drop; i++)
        pbft_snapshot_release(node->snapshots[i].snapshot);
    node->snapshot_count -= drop;
    for (size_t i = 0; i < node->snapshot_count; i++)
        node->snapshots[i] = node->snapshots[i + drop];
}

/* Takes the reference. One for each seq, the newest state wins (a transfer replaced ours). */
void node_keep_snapshot(struct pbft_node *node, pbft_seq seq, struct pbft_snapshot *snapshot)
{
    while (node->snapshot_count > 0 && node->snapshots[node->snapshot_count - 1].seq >= seq)
        snapshot_remove(node, node->snapshot_count - 1);
    node->snapshots = node_grow(node->snapshots, &node->snapshot_capacity, node->snapshot_count,
                                sizeof *node->snapshots);
    node->snapshots[node->snapshot_count++] =
        (struct kept_snapshot){.seq = seq, .snapshot = snapshot};
    snapshots_trim(node);
}

void node_stable(struct pbft_node *node, pbft_seq seq)
{
    node->stable_seq = seq;
    snapshots_trim(node);
}

/* One for each number: a state that was replaced takes its root along. */
void node_root_known(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        if (node->roots[i].seq == seq) node->roots[i].seq = 0;
    node->roots[node->root_next] = (struct known_root){seq, *root};
    node->root_next = (node->root_next + 1) % ROOTS_KEPT;
}

void node_keep_hashed(struct pbft_node *node, pbft_seq seq, struct pbft_snapshot *snapshot,
                      const struct pbft_digest *root)
{
    node_keep_snapshot(node, seq, snapshot);
    struct kept_snapshot *kept = &node->snapshots[node->snapshot_count - 1];
    kept->hashed = true;
    kept->root = *root;
}

struct pbft_job *node_hash_job(struct pbft_node *node)
{
    for (size_t i = 0; i < node->snapshot_count; i++) {
        struct kept_snapshot *kept = &node->snapshots[i];
        if (kept->hashed) continue;
        struct pbft_job *job = node_alloc(sizeof *job);
        job->kind = PBFT_JOB_HASH;
        job->snapshot = pbft_snapshot_retain(kept->snapshot);
        job->seq = kept->seq;
        job->generation = node->generation;
        return job;
    }
    return node_compare_job(node);
}

void node_checkpoint_ready(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root)
{
    struct pbft_event event = {.kind = PBFT_EVENT_CHECKPOINT_READY};
    event.checkpoint_ready.seq = seq;
    event.checkpoint_ready.root = *root;
    node_step(node, &event);
}

void node_hash_done(struct pbft_node *node, struct pbft_job *job)
{
    if (job->generation != node->generation) return; /* of a state that was replaced */
    node->hashed = job;
    bool held = node_flush_holds(node, job->seq);
    for (size_t i = 0; i < node->snapshot_count; i++) {
        if (node->snapshots[i].seq != job->seq) continue;
        node->snapshots[i].hashed = true;
        node->snapshots[i].root = job->root;
        node->snapshots[i].held = held;
    }
    struct pbft_digest root;
    node_signed_root(node, job->seq, &job->root, &root);
    node_root_known(node, job->seq, &root);
    if (!held) node_checkpoint_ready(node, job->seq, &root); /* PROTOCOL 25 */
    node->hashed = NULL;
}

/* ---- jobs ---- */

struct pbft_job *node_apply_job(struct pbft_node *node)
{
    node_transfer_queue_step(node);
    if (node->tasks.count == 0) return NULL;
    struct pbft_job *job = node_alloc(sizeof *job);
    job->kind = PBFT_JOB_APPLY;
    job->side = &node->side;
    size_t executes = 0;
    while (node->tasks.head != NULL && job->tasks.count < TASKS_PER_JOB) {
        if (node->tasks.head->kind == TASK_EXECUTE && ++executes > EXECUTES_PER_JOB) break;
        task_push(&job->tasks, task_pop(&node->tasks));
    }
    return job;
}

static void executed(struct pbft_node *node, struct task *task)
{
    if (task->generation != node->generation) return; /* of a state that is being replaced */
    node->applied = task->seq;
    if (task->needs_lsn > node->applied_lsn) node->applied_lsn = task->needs_lsn;
    PBFT_ASSERT(task->applied_count <= node->p->batch_max_requests);
    for (uint32_t i = 0; i < task->applied_count; i++) {
        struct pbft_applied *a = &task->applied[i];
        node->done[i] = (struct pbft_done_request){a->client_index, a->session, a->t, a->low};
        node_stages_over(node, task->seq, node_forget_request(node, &node->done[i]));
        node_reply(node, a->client_index, a->session, a->reply, task->needs_lsn);
        a->reply = NULL;
    }
    node->batches_executed++;
    node->batches_rehashed += task->rehashed;
    node->requests_executed += task->applied_count;
    node->ops_executed += task->op_count;
    struct pbft_event event = {.kind = PBFT_EVENT_EXECUTED};
    event.executed.seq = task->seq;
    event.executed.effective_ns = task->effective_ns;
    event.executed.next_due_ns = task->next_due_ns;
    event.executed.last = task->last;
    event.executed.done = node->done;
    event.executed.done_count = task->applied_count;
    node_step(node, &event);
}

static void snapshot_taken(struct pbft_node *node, struct task *task)
{
    if (task->generation != node->generation) return;
    if (task->snapshot == NULL) {
        node_log_line(node, "snapshot_failed", "seq=%llu", (unsigned long long)task->seq);
        return; /* no memory: this checkpoint is left to the others */
    }
    node_keep_snapshot(node, task->seq, task->snapshot);
    task->snapshot = NULL;
}

void node_apply_done(struct pbft_node *node, struct pbft_job *job)
{
    node->state_bytes = node->side.bytes;
    node_epoch_look(node);
    for (struct task *task = task_pop(&job->tasks); task != NULL; task = task_pop(&job->tasks)) {
        switch (task->kind) {
        case TASK_EXECUTE: executed(node, task); break;
        case TASK_SNAPSHOT: snapshot_taken(node, task); break;
        case TASK_LOOKUP:
            node_lookup_done(node, task);
            if (task->verdict != PBFT_OK) node->dropped[task->verdict]++;
            break;
        case TASK_RECHECK: node_recheck_done(node, task); break;
        case TASK_QUERY: node_query_done(node, task); break;
        case TASK_RESULT: node_result_done(node, task); break;
        case TASK_INSTALL_BEGIN: break;
        case TASK_INSTALL_PAGE: node_page_done(node, task); break;
        case TASK_INSTALL_STEP: node_install_step_done(node, task); break;
        }
        task_free(task);
    }
    node_release_held(node);
}

void node_apply_free(struct pbft_node *node)
{
    task_list_free(&node->tasks);
    for (size_t i = 0; i < node->snapshot_count; i++)
        pbft_snapshot_release(node->snapshots[i].snapshot);
    free(node->snapshots);
    apply_side_forget(&node->side);
    pbft_apply_free(node->side.apply);
    pbft_door_free(node->side.door);
}
