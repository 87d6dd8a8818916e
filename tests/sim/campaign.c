/* Many seeds by several processes. */
#include "tests/sim/campaign.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S     60u
#define WAITING_FACTOR 120u
#define SAVE_S         10u
#define LINE_S         30.0 /* between two lines of progress where there is no terminal */
#define REDRAW_S       0.25

/* What a worker says about a seed. */
struct record {
    uint64_t seed;
    uint64_t twice;
    struct sim_world_result result;
};

struct worker {
    pid_t pid;    /* 0: none */
    int to, from; /* its pipes; -1 */
    FILE *said;   /* its standard output and error */
    bool busy;
    uint64_t item; /* seed - first */
};

struct crew {
    const struct sim_campaign *c;
    struct sim_report *report;
    struct worker *workers;
    struct pollfd *polls;
    uint8_t *done;
    uint64_t next; /* first item that nobody was given */
    double began, saved, shown;
    double seconds_before; /* of earlier sittings */
    bool terminal;
    char *error;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool whole(int fd, void *bytes, size_t size, bool reading)
{
    uint8_t *at = bytes;
    while (size > 0) {
        ssize_t n = reading ? read(fd, at, size) : write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* ---- in a worker ---- */

static void watch(void *context, const struct sim_seen *seen)
{
    uint64_t *count = context;
    *count += seen->at_ns != UINT64_MAX;
}

static void run_seed(const struct sim_campaign *c, uint64_t seed, struct record *record)
{
    struct sim_world_options options = c->world;
    memset(record, 0, sizeof *record);
    record->seed = options.seed = seed;
    c->run(&options, &record->result);
    if (seed % SIM_TWICE_EVERY != 0 || !record->result.ok) return;
    /* Once more, observed: neither a second run nor a spectator changes a thing. */
    static struct sim_world_result again;
    uint64_t events = 0;
    record->twice = 1;
    memset(&again, 0, sizeof again);
    options.observer = watch;
    options.observer_context = &events;
    c->run(&options, &again);
    if (again.trace_hash == record->result.trace_hash && again.ok) return;
    record->result.ok = false;
    snprintf(record->result.failure, sizeof record->result.failure,
             "seed %" PRIu64 ", n %" PRIu32
             ": FAULTS 3.19: two runs have the trace hashes %016" PRIx64 " and %016" PRIx64,
             seed, record->result.n, record->result.trace_hash, again.trace_hash);
}

static void forget_said(FILE *said)
{
    if (ftruncate(fileno(said), 0) == 0) lseek(fileno(said), 0, SEEK_SET);
}

static unsigned patience(const struct sim_campaign *c)
{
    return c->patience_s == 0 ? PATIENCE_S : c->patience_s;
}

/* A signal ends this process: after so much time of its own, or, should it wait for ever, after far
 * more of everybody's. A machine that is busy with something else, or that was suspended, is no
 * failure of the seed. 0: no more. */
static void watch_the_clock(unsigned seconds)
{
    struct itimerval own = {.it_value = {.tv_sec = (time_t)seconds}};
    int status = setitimer(ITIMER_PROF, &own, NULL);
    PBFT_ASSERT(status == 0);
    alarm(seconds * WAITING_FACTOR);
}

static void work(const struct sim_campaign *c, const struct worker *me)
{
    static struct record record;
    uint64_t seed;
    dup2(fileno(me->said), STDOUT_FILENO);
    dup2(fileno(me->said), STDERR_FILENO);
    signal(SIGINT, SIG_IGN); /* the terminal's; the parent ends its workers itself */
    while (whole(me->to, &seed, sizeof seed, true)) {
        forget_said(me->said);
        watch_the_clock(patience(c));
        run_seed(c, seed, &record);
        watch_the_clock(0);
        fflush(NULL);
        if (!whole(me->from, &record, sizeof record, false)) break;
    }
    _exit(0);
}

/* ---- workers ---- */

static void close_worker(struct worker *w)
{
    if (w->to >= 0) close(w->to);
    if (w->from >= 0) close(w->from);
    w->to = w->from = -1;
    w->pid = 0;
    w->busy = false;
}

static enum pbft_status start_worker(struct crew *crew, struct worker *w)
{
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    if (w->said == NULL) w->said = tmpfile();
    fflush(NULL);
    if (w->said == NULL || pipe(down) != 0 || pipe(up) != 0 || (w->pid = fork()) < 0) {
        snprintf(crew->error, SIM_CAMPAIGN_ERROR_BYTES, "cannot start a worker process: %s",
                 strerror(errno));
        w->pid = 0;
        for (int i = 0; i < 2; i++) {
            if (down[i] >= 0) close(down[i]);
            if (up[i] >= 0) close(up[i]);
        }
        return PBFT_STATUS_IO;
    }
    if (w->pid == 0) {
        /* Another worker's pipe in here would keep it from ever seeing its end. */
        for (unsigned i = 0; i < crew->c->jobs; i++)
            if (&crew->workers[i] != w) close_worker(&crew->workers[i]);
        close(down[1]);
        close(up[0]);
        w->to = down[0]; /* in here: where seeds come from, and records go to */
        w->from = up[1];
        work(crew->c, w);
    }
    close(down[0]);
    close(up[1]);
    w->to = down[1];
    w->from = up[0];
    return PBFT_STATUS_OK;
}

/* The first line with a letter in it of what a dead worker printed. */
static void last_words(FILE *said, char *text, size_t size)
{
    char line[256];
    text[0] = '\0';
    rewind(said);
    while (text[0] == '\0' && fgets(line, sizeof line, said) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strpbrk(line, "abcdefghijklmnopqrstuvwxyz") != NULL) snprintf(text, size, ": %s", line);
    }
}

static void describe_death(const struct sim_campaign *c, struct worker *w, int status, char *text,
                           size_t size)
{
    char words[300];
    uint64_t seed = c->first + w->item;
    last_words(w->said, words, sizeof words);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        snprintf(text, size, "seed %" PRIu64 ": it does not end within %u s of CPU time%s", seed,
                 patience(c), words);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, size, "seed %" PRIu64 ": it does not end within %u s%s", seed,
                 patience(c) * WAITING_FACTOR, words);
    else if (WIFSIGNALED(status))
        snprintf(text, size, "seed %" PRIu64 ": the process died of signal %d (%s)%s", seed,
                 WTERMSIG(status), strsignal(WTERMSIG(status)), words);
    else
        snprintf(text, size, "seed %" PRIu64 ": the process ended with status %d%s", seed,
                 WEXITSTATUS(status), words);
}

/* ---- progress ---- */

static void clear_line(const struct crew *crew)
{
    if (crew->terminal) fputs("\r\033[K", crew->c->progress);
}

static void put_span(char text[32], double seconds)
{
    if (seconds < 100)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 6000)
        snprintf(text, 32, "%.0f min", seconds / 60);
    else
        snprintf(text, 32, "%.1f h", seconds / 3600);
}

static void show(struct crew *crew, bool now)
{
    const struct sim_campaign *c = crew->c;
    double at = now_s();
    if (c->progress == NULL || (!now && at - crew->shown < (crew->terminal ? REDRAW_S : LINE_S)))
        return;
    crew->shown = at;
    const struct sim_totals *t = &crew->report->totals;
    uint64_t here = t->seeds - crew->report->resumed_at;
    double rate = at > crew->began ? (double)here / (at - crew->began) : 0;
    char left[32] = "?", bar[31];
    if (rate > 0) put_span(left, (double)(c->count - t->seeds) / rate);
    size_t full = c->count == 0 ? 30 : (size_t)(30 * t->seeds / c->count);
    memset(bar, '.', 30);
    memset(bar, '#', full);
    bar[30] = '\0';
    clear_line(crew);
    fprintf(c->progress,
            "[%s] %" PRIu64 " of %" PRIu64 " seeds, %.1f a second, %s left, %" PRIu64 " failure%s",
            bar, t->seeds, c->count, rate, left, t->failed, t->failed == 1 ? "" : "s");
    if (!crew->terminal) fputc('\n', c->progress);
    fflush(c->progress);
}

/* ---- seeds ---- */

static bool is_done(const struct crew *crew, uint64_t item)
{
    return ((unsigned)crew->done[item / 8] >> (item % 8) & 1u) != 0;
}

static bool enough(const struct crew *crew)
{
    const struct sim_campaign *c = crew->c;
    return (c->stop != NULL && *c->stop != 0) ||
           (c->failures_max > 0 && crew->report->totals.failed >= c->failures_max);
}

/* False when there is nothing left to give. */
static bool give(struct crew *crew, struct worker *w)
{
    while (crew->next < crew->c->count && is_done(crew, crew->next))
        crew->next++;
    if (crew->next >= crew->c->count || enough(crew)) return false;
    w->item = crew->next++;
    w->busy = true;
    uint64_t seed = crew->c->first + w->item;
    (void)whole(w->to, &seed, sizeof seed, false); /* a dead worker shows when it is read from */
    return true;
}

static void finish_seed(struct crew *crew, struct worker *w, const struct record *record,
                        const char *text)
{
    const struct sim_campaign *c = crew->c;
    struct sim_totals *t = &crew->report->totals;
    uint64_t seed = c->first + w->item;
    w->busy = false;
    crew->done[w->item / 8] = (uint8_t)(crew->done[w->item / 8] | 1u << (w->item % 8));
    sim_totals_add(t, seed, record == NULL ? NULL : &record->result);
    if (record != NULL) t->twice += record->twice;
    if (text == NULL) return;
    sim_report_failed(crew->report, seed, text);
    if (c->progress == NULL || t->failed > 20) return;
    clear_line(crew);
    sim_failed_write(c->build, c->again, seed, text, c->progress);
}

static enum pbft_status bury(struct crew *crew, struct worker *w)
{
    char text[512];
    int status = 0;
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    bool busy = w->busy;
    if (busy) {
        describe_death(crew->c, w, status, text, sizeof text);
        finish_seed(crew, w, NULL, text);
    }
    close_worker(w);
    return start_worker(crew, w);
}

static enum pbft_status hear(struct crew *crew, struct worker *w)
{
    static struct record record;
    if (!whole(w->from, &record, sizeof record, true)) return bury(crew, w);
    struct sim_world_result *r = &record.result;
    if (r->ok && crew->c->scenario != NULL && r->injected == 0) {
        r->ok = false;
        snprintf(r->failure, sizeof r->failure, "seed %" PRIu64 ": the scenario's fault never was",
                 record.seed);
    }
    r->failure[strcspn(r->failure, "\n")] = '\0';
    finish_seed(crew, w, &record, r->ok ? NULL : r->failure);
    return PBFT_STATUS_OK;
}

static enum pbft_status save(struct crew *crew, bool now)
{
    double at = now_s();
    crew->report->seconds = crew->seconds_before + at - crew->began;
    unsigned every = crew->c->save_every_s == 0 ? SAVE_S : crew->c->save_every_s;
    if (crew->c->state == NULL || (!now && at - crew->saved < every)) return PBFT_STATUS_OK;
    crew->saved = at;
    return sim_state_save(crew->c, crew->report, crew->done, crew->error);
}

/* Until all seeds are done, or enough of them. */
static enum pbft_status drive(struct crew *crew)
{
    unsigned jobs = crew->c->jobs;
    enum pbft_status status = PBFT_STATUS_OK;
    for (unsigned i = 0; i < jobs && status == PBFT_STATUS_OK; i++)
        status = start_worker(crew, &crew->workers[i]);
    while (status == PBFT_STATUS_OK) {
        bool busy = false;
        for (unsigned i = 0; i < jobs; i++) {
            struct worker *w = &crew->workers[i];
            if (!w->busy) (void)give(crew, w);
            busy = busy || w->busy;
            crew->polls[i] = (struct pollfd){.fd = w->from, .events = POLLIN};
        }
        /* After a signal nobody waits for seeds that are under way: they are run again. */
        if (!busy || enough(crew)) break;
        if (poll(crew->polls, jobs, 250) < 0 && errno != EINTR) {
            snprintf(crew->error, SIM_CAMPAIGN_ERROR_BYTES, "poll: %s", strerror(errno));
            status = PBFT_STATUS_IO;
            break;
        }
        for (unsigned i = 0; i < jobs && status == PBFT_STATUS_OK; i++)
            if (crew->polls[i].revents != 0) status = hear(crew, &crew->workers[i]);
        show(crew, false);
        if (status == PBFT_STATUS_OK) status = save(crew, false);
    }
    return status;
}

static void dismiss(struct crew *crew)
{
    for (unsigned i = 0; i < crew->c->jobs; i++) {
        struct worker *w = &crew->workers[i];
        pid_t pid = w->pid;
        if (pid > 0 && w->busy) kill(pid, SIGKILL);
        close_worker(w);
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        if (w->said != NULL) fclose(w->said);
    }
}

static enum pbft_status run(struct crew *crew)
{
    const struct sim_campaign *c = crew->c;
    struct sim_report *r = crew->report;
    enum pbft_status status = PBFT_STATUS_OK;
    if (c->state != NULL) status = sim_state_load(c, r, crew->done, crew->error);
    if (status != PBFT_STATUS_OK) return status;
    r->resumed_at = r->totals.seeds;
    crew->seconds_before = r->seconds;
    if (c->progress != NULL && r->resumed_at > 0)
        fprintf(c->progress, "Going on after %" PRIu64 " of %" PRIu64 " seeds.\n", r->resumed_at,
                c->count);
    status = save(crew, true); /* a file that cannot be written is known now, not in ten seconds */
    if (status == PBFT_STATUS_OK && r->resumed_at < c->count) status = drive(crew);
    dismiss(crew);
    clear_line(crew);
    if (status == PBFT_STATUS_OK) status = save(crew, true);
    r->complete = r->totals.seeds == c->count;
    return status;
}

enum pbft_status sim_campaign_run(const struct sim_campaign *c, struct sim_report *report,
                                  char error[SIM_CAMPAIGN_ERROR_BYTES])
{
    struct crew crew = {.c = c, .report = report, .error = error};
    void (*broken_pipe)(int) = signal(SIGPIPE, SIG_IGN);
    memset(report, 0, sizeof *report);
    crew.began = crew.saved = crew.shown = now_s();
    crew.terminal = c->progress != NULL && isatty(fileno(c->progress)) != 0;
    crew.workers = calloc(c->jobs, sizeof *crew.workers);
    crew.polls = calloc(c->jobs, sizeof *crew.polls);
    crew.done = calloc(1, (size_t)(c->count / 8 + 1));
    enum pbft_status status = PBFT_STATUS_MEMORY;
    if (crew.workers == NULL || crew.polls == NULL || crew.done == NULL) {
        snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "out of memory");
    } else {
        for (unsigned i = 0; i < c->jobs; i++)
            crew.workers[i].to = crew.workers[i].from = -1;
        status = run(&crew);
    }
    free(crew.workers);
    free(crew.polls);
    free(crew.done);
    signal(SIGPIPE, broken_pipe);
    return status;
}
