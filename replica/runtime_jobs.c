/* Jobs: inline on the core thread, or on one worker for each kind. A hand-over costs about 30 us on
 * a small machine (NOTES 0.2), so few cores mean few threads. What waits for a disk has a thread of
 * its own in any case: log and checkpoints one each, for a vote must not wait for a page. So has
 * hashing, for no batch must wait for all pages of a checkpoint, and it steps back before the core
 * and what executes: there is time until the window is full. */
#define _GNU_SOURCE
#include "replica/runtime_internal.h"

#include <sys/resource.h>
#include <unistd.h>

#define HASH_NICE                                                                                  \
    5 /* a quarter of what the core thread gets, where there is not enough for both                \
       */

static void queue_push(struct job_queue *q, const struct job *job)
{
    PBFT_ASSERT(q->count < JOBS_OUT_MAX);
    q->at[q->count++] = *job;
}

static bool queue_pop(struct job_queue *q, struct job *job)
{
    if (q->count == 0) return false;
    *job = q->at[0];
    q->count--;
    for (size_t i = 0; i < q->count; i++)
        q->at[i] = q->at[i + 1];
    return true;
}

static void run(struct job *job)
{
    uint64_t before = runtime_now();
    pbft_job_run(job->job);
    job->ns = runtime_now() - before;
}

/* ---- workers ---- */

static bool worker_next(struct worker *w, struct job *job)
{
    pthread_mutex_lock(&w->mutex);
    while (w->queue.count == 0 && !w->stop)
        pthread_cond_wait(&w->cond, &w->mutex);
    bool found = queue_pop(&w->queue, job); /* what was handed over is finished */
    pthread_mutex_unlock(&w->mutex);
    return found;
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    struct jobs *jobs = &w->runtime->jobs;
    /* Of this thread alone (Linux). Refused: it hashes all the same. */
    if (w->nice != 0) (void)setpriority(PRIO_PROCESS, (id_t)gettid(), w->nice);
    struct job job;
    while (worker_next(w, &job)) {
        run(&job);
        pthread_mutex_lock(&jobs->mutex);
        queue_push(&jobs->completed, &job);
        pthread_mutex_unlock(&jobs->mutex);
        pbft_net_wake(w->runtime->net);
    }
    return NULL;
}

/* For `kind`, a worker of its own. */
static bool worker_for(struct pbft_runtime *r, enum pbft_job_kind kind)
{
    struct worker *w = &r->jobs.workers[r->jobs.worker_count];
    w->runtime = r;
    w->nice = kind == PBFT_JOB_HASH ? HASH_NICE : 0;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->cond, NULL);
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
        pthread_cond_destroy(&w->cond);
        pthread_mutex_destroy(&w->mutex);
        return false;
    }
    r->jobs.worker_count++;
    r->jobs.worker_of[kind] = w;
    return true;
}

bool jobs_open(struct pbft_runtime *r, uint32_t threads)
{
    bool disk = pbft_log_blocks(r->data.log);
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores <= 2 ? 1 : 2;
    }
    if (threads >= 2 && !worker_for(r, PBFT_JOB_APPLY)) return false;
    if (!worker_for(r, PBFT_JOB_HASH)) return false;
    if (!disk) return true;
    return worker_for(r, PBFT_JOB_SYNC) && worker_for(r, PBFT_JOB_FLUSH);
}

void jobs_close(struct pbft_runtime *r)
{
    struct jobs *jobs = &r->jobs;
    for (unsigned i = 0; i < jobs->worker_count; i++) {
        struct worker *w = &jobs->workers[i];
        pthread_mutex_lock(&w->mutex);
        w->stop = true;
        pthread_cond_signal(&w->cond);
        pthread_mutex_unlock(&w->mutex);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->cond);
        pthread_mutex_destroy(&w->mutex);
    }
    jobs->worker_count = 0;
    pthread_mutex_destroy(&jobs->mutex);
}

/* ---- the core thread's side ---- */

static void done(struct pbft_runtime *r, const struct job *job)
{
    r->jobs.count[job->kind]++;
    r->jobs.ns[job->kind] += job->ns;
    r->dirty = true;
    pbft_node_job_done(r->node, runtime_time(), job->job);
}

void jobs_dispatch(struct pbft_runtime *r, const struct pbft_output *output)
{
    struct jobs *jobs = &r->jobs;
    struct job job = {.job = output->job, .kind = output->job_kind};
    struct worker *w = jobs->worker_of[job.kind];
    if (job.kind == PBFT_JOB_SYNC && w == NULL) { /* it waits for no disk */
        run(&job);
        done(r, &job); /* puts out what waited; the caller is draining anyway */
        return;
    }
    if (w == NULL) {
        queue_push(&jobs->waiting, &job);
        return;
    }
    pthread_mutex_lock(&w->mutex);
    queue_push(&w->queue, &job);
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

bool jobs_collect(struct pbft_runtime *r)
{
    struct job_queue completed;
    pthread_mutex_lock(&r->jobs.mutex);
    completed = r->jobs.completed;
    r->jobs.completed.count = 0;
    pthread_mutex_unlock(&r->jobs.mutex);
    for (size_t i = 0; i < completed.count; i++)
        done(r, &completed.at[i]);
    return completed.count > 0;
}

/* One round: what these jobs lead to waits until the net was looked at again. */
bool jobs_run_inline(struct pbft_runtime *r)
{
    struct job_queue waiting = r->jobs.waiting;
    r->jobs.waiting.count = 0;
    for (size_t i = 0; i < waiting.count; i++) {
        run(&waiting.at[i]);
        done(r, &waiting.at[i]);
        runtime_drain(r);
    }
    return waiting.count > 0;
}
