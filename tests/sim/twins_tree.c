/* Many scenarios: exhaustive ones as a tree of prefixes, in which each node is a process that forks
 * its children, so that a common prefix is executed once; drawn ones in batches, each a process,
 * so that a crash is a finding and not the end. */
#include "tests/sim/twins_internal.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX       16u
#define PARTITIONS_MAX 1024u
#define RANDOM_BATCH   64u

/* What the processes share. A worker has one descendant at work at a time, so its part of this has
 * one writer at a time. */
struct worker {
    struct twins_counts sum;
    unsigned failed_count;
    struct twins_failed failed[TWINS_FAILURES_KEPT];
    char current[TWINS_LINE_BYTES]; /* drawn: what runs now */
    uint64_t left;                  /* drawn: of the batch, including what runs now */
};
struct shared {
    atomic_uint_fast64_t next; /* item of work */
    atomic_uint_fast64_t violations;
    struct worker workers[JOBS_MAX];
};

struct tree {
    const struct twins_campaign *campaign;
    struct shared *shared;
    struct worker *worker;
    struct twins *world;
    struct twins_scenario path; /* rounds: how many of it are executed */
    uint8_t (*partitions)[TWINS_INSTANCES_MAX];
    size_t partition_count;
};

void twins_counts_add(struct twins_counts *sum, const struct twins_counts *more)
{
    sum->scenarios += more->scenarios;
    sum->violations += more->violations;
    sum->not_healed += more->not_healed;
    sum->crashed += more->crashed;
    sum->idle += more->idle;
    sum->equivocal += more->equivocal;
    sum->equivocations += more->equivocations;
    sum->proposals += more->proposals;
    sum->evidence += more->evidence;
    sum->view_changes += more->view_changes;
    sum->new_views += more->new_views;
    sum->commits += more->commits;
    sum->nulls += more->nulls;
    sum->checkpoints += more->checkpoints;
    sum->transfers += more->transfers;
    sum->delivered += more->delivered;
    sum->lost += more->lost;
    sum->shielded += more->shielded;
    sum->heal_rounds += more->heal_rounds;
    sum->hash += more->hash;
#define HIGHEST(field)                                                                             \
    if (more->highest.field > sum->highest.field) sum->highest.field = more->highest.field
    HIGHEST(heal_rounds);
    HIGHEST(view);
    HIGHEST(delivered);
    HIGHEST(seq);
#undef HIGHEST
}

static void record(struct tree *t, const struct twins_scenario *scenario, uint64_t scenarios,
                   bool crashed, const char *text)
{
    struct worker *worker = t->worker;
    worker->sum.scenarios += scenarios;
    worker->sum.violations += scenarios;
    if (crashed) worker->sum.crashed += scenarios;
    atomic_fetch_add(&t->shared->violations, scenarios);
    unsigned at = worker->failed_count++;
    if (at >= TWINS_FAILURES_KEPT) return;
    twins_line(scenario, worker->failed[at].line);
    snprintf(worker->failed[at].text, sizeof worker->failed[at].text, "%s", text);
}

static bool enough(const struct tree *t)
{
    uint64_t most = t->campaign->failures_max;
    return most != 0 && atomic_load(&t->shared->violations) >= most;
}

/* ---- the tree ---- */

static uint64_t leaves_below(const struct tree *t, unsigned rounds)
{
    uint64_t leaves = 1;
    for (unsigned r = rounds; r < t->campaign->rounds; r++)
        leaves *= t->partition_count;
    return leaves;
}

static void leaf(struct tree *t)
{
    struct twins_counts counts;
    bool ok = twins_heal(t->world);
    twins_counts(t->world, &counts);
    if (!ok) {
        record(t, &t->path, 1, false, twins_failure(t->world));
        t->worker->sum.not_healed += counts.not_healed;
        counts.scenarios = counts.violations = counts.not_healed = 0; /* counted already */
    }
    twins_counts_add(&t->worker->sum, &counts);
}

static bool advance(struct tree *t, size_t partition)
{
    uint8_t *group = t->path.group[t->path.rounds++];
    memcpy(group, t->partitions[partition], TWINS_INSTANCES_MAX);
    if (twins_round(t->world, group)) return true;
    record(t, &t->path, leaves_below(t, t->path.rounds), false, twins_failure(t->world));
    return false;
}

static void explore(struct tree *t);

static void grow(struct tree *t, size_t partition)
{
    if (!advance(t, partition)) return;
    if (t->path.rounds == t->campaign->rounds)
        leaf(t);
    else
        explore(t);
}

/* Wait for a child; false if it did not end as it should. */
static bool reap(pid_t child, int *status)
{
    while (waitpid(child, status, 0) < 0)
        continue; /* a signal came between */
    return WIFEXITED(*status) && WEXITSTATUS(*status) == 0;
}

static void crash_text(int status, char text[TWINS_LINE_BYTES])
{
    if (WIFSIGNALED(status))
        snprintf(text, TWINS_LINE_BYTES, "ended by signal %d", WTERMSIG(status));
    else
        snprintf(text, TWINS_LINE_BYTES, "ended with status %d", WEXITSTATUS(status));
}

/* In a process of its own: nothing of what it does happened here. */
static void branch(struct tree *t, size_t partition)
{
    pid_t child = fork();
    if (child == 0) {
        grow(t, partition);
        _exit(0);
    }
    int status = 0;
    if (child > 0 && reap(child, &status)) return;
    struct twins_scenario crashed = t->path;
    memcpy(crashed.group[crashed.rounds++], t->partitions[partition], TWINS_INSTANCES_MAX);
    char text[TWINS_LINE_BYTES] = "fork: no process to be had";
    if (child > 0) crash_text(status, text);
    record(t, &crashed, leaves_below(t, crashed.rounds), true, text);
}

static void explore(struct tree *t)
{
    for (size_t p = 0; p < t->partition_count && !enough(t); p++)
        branch(t, p);
}

/* An item of work is a pair of first partitions (with one round: one). */
static size_t item_count(const struct tree *t)
{
    return t->campaign->rounds == 1 ? t->partition_count : t->partition_count * t->partition_count;
}

static void work_item(struct tree *t, size_t item)
{
    if (t->campaign->rounds == 1) {
        branch(t, item);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        size_t first = item / t->partition_count;
        memcpy(t->path.group[0], t->partitions[first], TWINS_INSTANCES_MAX);
        t->path.rounds = 1;
        if (twins_round(t->world, t->path.group[0])) {
            branch(t, item % t->partition_count);
        } else {
            record(t, &t->path, leaves_below(t, 2), false, twins_failure(t->world));
        }
        _exit(0);
    }
    int status = 0;
    if (child > 0 && reap(child, &status)) return;
    struct twins_scenario crashed = t->path;
    memcpy(crashed.group[crashed.rounds++], t->partitions[item / t->partition_count],
           TWINS_INSTANCES_MAX);
    char text[TWINS_LINE_BYTES] = "fork: no process to be had";
    if (child > 0) crash_text(status, text);
    record(t, &crashed, leaves_below(t, 2), true, text);
}

static void work_tree(struct tree *t)
{
    t->path = (struct twins_scenario){.o = t->campaign->o};
    t->world = twins_new(&t->campaign->o);
    size_t items = item_count(t);
    for (;;) {
        size_t item = (size_t)atomic_fetch_add(&t->shared->next, 1);
        if (item >= items || enough(t)) break;
        work_item(t, item);
    }
    twins_free(t->world);
}

/* ---- drawn ones ---- */

static void run_batch(struct tree *t, uint64_t first, uint64_t count)
{
    for (uint64_t k = 0; k < count && !enough(t); k++) {
        struct twins_scenario scenario;
        twins_draw(first + k, t->campaign->random_n, &scenario);
        twins_line(&scenario, t->worker->current);
        t->worker->left = count - k;
        struct twins_counts counts;
        char failure[TWINS_LINE_BYTES];
        if (!twins_run(&scenario, NULL, &counts, failure)) {
            record(t, &scenario, 1, false, failure);
            t->worker->sum.not_healed += counts.not_healed;
            counts.scenarios = counts.violations = counts.not_healed = 0;
        }
        twins_counts_add(&t->worker->sum, &counts);
    }
}

static void random_crashed(struct tree *t, pid_t child, int status, uint64_t count)
{
    struct twins_scenario crashed = {.o = t->campaign->o};
    char text[TWINS_LINE_BYTES] = "fork: no process to be had";
    if (child > 0) crash_text(status, text);
    if (child > 0 && twins_parse(t->worker->current, &crashed)) count = 1;
    record(t, &crashed, count, true, text);
}

static void work_batch(struct tree *t, uint64_t first, uint64_t count)
{
    while (count > 0 && !enough(t)) { /* again behind each crash */
        t->worker->left = count;
        pid_t child = fork();
        if (child == 0) {
            run_batch(t, first, count);
            _exit(0);
        }
        int status = 0;
        if (child > 0 && reap(child, &status)) return;
        random_crashed(t, child, status, count);
        if (child < 0) return;
        first += count - t->worker->left + 1;
        count = t->worker->left - 1;
    }
}

static void work_random(struct tree *t)
{
    for (;;) {
        uint64_t at = atomic_fetch_add(&t->shared->next, RANDOM_BATCH);
        if (at >= t->campaign->random || enough(t)) return;
        uint64_t count = t->campaign->random - at;
        if (count > RANDOM_BATCH) count = RANDOM_BATCH;
        work_batch(t, t->campaign->o.seed + at, count);
    }
}

/* ---- all of it ---- */

static struct shared *share(void)
{
    FILE *file = tmpfile();
    if (file == NULL) return NULL;
    void *memory = MAP_FAILED;
    if (ftruncate(fileno(file), (off_t)sizeof(struct shared)) == 0)
        memory =
            mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    fclose(file);
    return memory == MAP_FAILED ? NULL : memory;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t done_so_far(const struct shared *shared)
{
    uint64_t done = 0;
    for (unsigned j = 0; j < JOBS_MAX; j++)
        done += shared->workers[j].sum.scenarios;
    return done;
}

static void show_progress(const struct shared *shared, const struct twins_report *report,
                          double start)
{
    uint64_t done = done_so_far(shared);
    double seconds = seconds_now() - start;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    double left = rate > 0 ? (double)(report->planned - done) / rate : 0;
    fprintf(stderr, "\r  %llu of %llu scenarios, %.0f a second, %.0f s left, %llu violations ",
            (unsigned long long)done, (unsigned long long)report->planned, rate, left,
            (unsigned long long)atomic_load(&shared->violations));
}

static void wait_for(const pid_t *workers, unsigned jobs, struct tree *t,
                     const struct twins_report *report, double start)
{
    for (unsigned j = 0; j < jobs; j++) {
        int status = 0;
        for (;;) {
            pid_t ended = workers[j] < 0 ? -1 : waitpid(workers[j], &status, WNOHANG);
            if (ended != 0) break;
            struct timespec nap = {0, 20000000};
            nanosleep(&nap, NULL);
            static unsigned naps;
            if (t->campaign->progress && ++naps % 25 == 0) show_progress(t->shared, report, start);
        }
        if (workers[j] > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        t->worker = &t->shared->workers[j];
        record(t, &(struct twins_scenario){.o = t->campaign->o}, 0, true, "a worker crashed");
        t->worker->sum.crashed++;
    }
    if (t->campaign->progress) fprintf(stderr, "\r%79s\r", "");
}

static void collect(const struct shared *shared, unsigned jobs, struct twins_report *report)
{
    for (unsigned j = 0; j < jobs; j++) {
        const struct worker *w = &shared->workers[j];
        twins_counts_add(&report->sum, &w->sum);
        for (unsigned k = 0; k < w->failed_count && k < TWINS_FAILURES_KEPT; k++)
            if (report->failed_count < TWINS_FAILURES_KEPT)
                report->failed[report->failed_count++] = w->failed[k];
    }
}

bool twins_campaign(const struct twins_campaign *campaign, struct twins_report *report)
{
    static uint8_t partitions[PARTITIONS_MAX][TWINS_INSTANCES_MAX];
    *report = (struct twins_report){.planned = 0};
    struct tree t = {.campaign = campaign, .shared = share(), .partitions = partitions};
    if (t.shared == NULL) return false;
    unsigned jobs = campaign->jobs == 0 ? 1 : campaign->jobs;
    if (jobs > JOBS_MAX) jobs = JOBS_MAX;
    report->planned = campaign->random;
    if (campaign->random == 0) {
        t.partition_count = twins_partitions(twins_instances(&campaign->o), campaign->groups_max,
                                             partitions, PARTITIONS_MAX);
        PBFT_ASSERT(t.partition_count <= PARTITIONS_MAX && campaign->rounds >= 1 &&
                    campaign->rounds <= TWINS_ROUNDS_MAX);
        report->planned = leaves_below(&t, 0);
    }
    double start = seconds_now();
    fflush(NULL); /* or children write it again */
    pid_t workers[JOBS_MAX];
    for (unsigned j = 0; j < jobs; j++) {
        workers[j] = fork();
        if (workers[j] != 0) continue;
        t.worker = &t.shared->workers[j];
        if (campaign->random > 0)
            work_random(&t);
        else
            work_tree(&t);
        _exit(0);
    }
    wait_for(workers, jobs, &t, report, start);
    collect(t.shared, jobs, report);
    report->seconds = seconds_now() - start;
    munmap(t.shared, sizeof *t.shared);
    return report->sum.violations == 0 && report->sum.crashed == 0 &&
           report->sum.scenarios == report->planned;
}
