/* What an APPLY job does, on whatever thread it runs: it owns the apply side and its tasks, and
 * touches nothing else of the node. */
#include "replica/node_internal.h"

#include <stdlib.h>
#include <string.h>

#define LOCAL_PAGE_ROUNDS 64u /* look-ups of pages that we have already, in one step */

static void run_execute(struct apply_side *side, struct task *task)
{
    struct pbft_proposal proposal = {0};
    bool null = task->frame == NULL;
    if (!null) {
        enum pbft_verdict verdict =
            pbft_door_reopen_proposal(side->door, task->proposal, task->requests,
                                      task->digest_count, &proposal);
        PBFT_ASSERT(verdict == PBFT_OK); /* it passed the door before it was ordered */
        task->rehashed = task->requests == NULL && proposal.request_count > 0;
    }
    struct pbft_apply_done done;
    pbft_apply_execute(side->apply, task->seq, null ? NULL : &proposal, &done);
    task->effective_ns = done.effective_ns;
    task->next_due_ns = done.next_due_ns;
    task->last = done.last;
    task->applied_count = done.applied_count;
    if (done.applied_count == 0) return;
    for (uint32_t i = 0; i < proposal.request_count; i++)
        task->op_count += proposal.requests[i].op_count;
    task->applied = node_alloc(done.applied_count * sizeof *task->applied);
    memcpy(task->applied, done.applied, done.applied_count * sizeof *task->applied);
}

static void run_lookup(struct apply_side *side, struct task *task)
{
    struct pbft_applied applied = {0};
    task->lookup = pbft_apply_lookup(side->apply, task->client_index, task->session, task->t,
                                     &task->digest, &applied);
    task->low = applied.low;
    task->reply = applied.reply;
}

/* ---- installation ---- */

/* Of those given up, the one with the most pages stays until one is finished, and the latest, which
 * alone may have what changed since. Else: a target that moves faster than a state can be fetched
 * is never reached. */
static void set_aside(struct apply_side *side)
{
    if (side->install == NULL) return;
    struct pbft_install_progress now, then;
    pbft_install_progress(side->install, &now);
    while (side->before_count > 0) {
        pbft_install_progress(side->before[side->before_count - 1], &then);
        if (then.pages_have > now.pages_have && side->before_count < INSTALLS_KEPT) break;
        pbft_install_abort(side->before[--side->before_count]);
    }
    side->before[side->before_count++] = side->install;
    side->install = NULL;
}

static void drop_aside(struct apply_side *side)
{
    while (side->before_count > 0)
        pbft_install_abort(side->before[--side->before_count]);
}

void apply_side_forget(struct apply_side *side)
{
    pbft_install_abort(side->install);
    side->install = NULL;
    drop_aside(side);
}

static void run_install_begin(struct apply_side *side, struct task *task)
{
    /* A q-signed root vouches for the contents; these only keep the arithmetic far from its ends.
     */
    struct pbft_install_limits limits = {.entries_max = UINT64_C(1) << 40,
                                         .payload_max = UINT64_C(1) << 50};
    struct pbft_install *install = NULL;
    task->status =
        pbft_install_begin(&install, pbft_apply_tree(side->apply), &task->digest, &limits);
    set_aside(side);
    if (install != NULL) pbft_install_join(install, task->series);
    side->install = install; /* NULL if there was no memory: the step will say so */
}

static void run_install_page(struct apply_side *side, struct task *task)
{
    task->verdict = PBFT_DROP_DIGEST;
    if (!pbft_page_digest(task->page, &task->digest)) return;
    task->verdict = PBFT_DROP_UNWANTED;
    if (side->install != NULL)
        task->verdict = pbft_install_hashed_page(side->install, &task->digest, task->page);
}

static void finish_install(struct apply_side *side, struct task *task)
{
    task->status = pbft_install_finish(side->install);
    PBFT_ASSERT(task->status == PBFT_STATUS_OK); /* it was done */
    side->install = NULL;
    drop_aside(side);
    task->status =
        pbft_apply_reload(side->apply, &task->seq, &task->effective_ns, &task->next_due_ns);
    if (task->status != PBFT_STATUS_OK) return;
    task->last = pbft_apply_last(side->apply);
    task->snapshot = pbft_apply_snapshot(side->apply);
    task->installed = true;
}

static void run_install_step(struct apply_side *side, struct task *task)
{
    if (side->install == NULL) {
        task->status = PBFT_STATUS_MEMORY; /* it could not begin */
        return;
    }
    task->wanted = node_alloc(task->want * sizeof *task->wanted);
    for (unsigned round = 0; round < LOCAL_PAGE_ROUNDS; round++) {
        task->wanted_count += pbft_install_wanted(side->install, task->wanted + task->wanted_count,
                                                  task->want - task->wanted_count);
        pbft_install_progress(side->install, &task->progress);
        if (task->progress.pages_pending == 0 || task->wanted_count == task->want) break;
    }
    if (pbft_install_done(side->install)) finish_install(side, task);
}

void apply_side_run(struct apply_side *side, struct task *task)
{
    switch (task->kind) {
    case TASK_EXECUTE: run_execute(side, task); break;
    case TASK_LOOKUP:
    case TASK_RECHECK: run_lookup(side, task); break;
    case TASK_QUERY: task->reply = pbft_apply_query(side->apply, &task->query); break;
    case TASK_RESULT:
        task->reply = pbft_apply_result(side->apply, task->client_index, task->session, task->t);
        break;
    case TASK_SNAPSHOT: task->snapshot = pbft_apply_snapshot(side->apply); break;
    case TASK_INSTALL_BEGIN: run_install_begin(side, task); break;
    case TASK_INSTALL_PAGE: run_install_page(side, task); break;
    case TASK_INSTALL_STEP: run_install_step(side, task); break;
    }
}
