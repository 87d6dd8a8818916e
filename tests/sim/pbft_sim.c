/* pbft-sim: simulated clusters out of seeds (DESIGN 6 and 7). */
#include "tests/sim/command.h"
#include "tests/sim/timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SIM_COMMIT
#define SIM_COMMIT "unknown"
#endif

enum { PASSED = 0, FAILURE = 1, USAGE = 2, ENVIRONMENT = 3 };

static volatile sig_atomic_t stopped;

static void on_stop(int signal_number)
{
    stopped = signal_number;
}

/* "COMMIT HASH": the hash is of the program's own bytes, so that a checkpoint is of one build. */
static void name_build(char text[128])
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    uint8_t bytes[4096];
    size_t size = 0;
    FILE *self = fopen("/proc/self/exe", "rb");
    while (self != NULL && (size = fread(bytes, 1, sizeof bytes, self)) > 0)
        for (size_t i = 0; i < size; i++)
            hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
    if (self != NULL) fclose(self);
    snprintf(text, 128, "%s %016" PRIx64, SIM_COMMIT, hash);
}

static int complain(const char *what, const char *path)
{
    fprintf(stderr, "pbft-sim: cannot %s %s: %s\n", what, path,
            errno == 0 ? "it fails" : strerror(errno));
    return ENVIRONMENT;
}

static int list_scenarios(void)
{
    for (const struct sim_scenario *s = sim_scenarios; s->name != NULL; s++)
        printf("%-5s %s\n", s->name, s->title);
    return PASSED;
}

/* ---- one seed ---- */

struct spectators {
    FILE *timeline;
    struct sim_diagram *diagram;
    struct sim_explain *explain;
};

static struct sim_explain explain; /* for crashes, too */

static void observe(void *context, const struct sim_seen *seen)
{
    struct spectators *s = context;
    if (s->timeline != NULL) sim_timeline_observe(s->timeline, seen);
    if (s->diagram != NULL) sim_diagram_observe(s->diagram, seen);
    if (s->explain != NULL) sim_explain_observe(s->explain, seen);
}

static void say(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

/* An assertion of ours failed, or worse: the last events are what there is to go by. */
static void on_crash(int signal_number)
{
    (void)signal_number;
    say("\nThe process crashed. The last events before it:\n");
    uint64_t count = explain.seen < SIM_LINES_KEPT ? explain.seen : SIM_LINES_KEPT;
    for (uint64_t i = explain.seen - count; i < explain.seen; i++)
        say(explain.lines[i % SIM_LINES_KEPT]);
    _exit(FAILURE);
}

static struct sim_world_options world_of(const struct sim_command *c)
{
    return (struct sim_world_options){.seed = c->seed,
                                      .rows = {c->rows[0], c->rows[1]},
                                      .n = c->nodes,
                                      .real_signatures = c->real,
                                      .fast_signatures = c->fast,
                                      .traitors = c->traitors};
}

static sim_runner *runner_of(const struct sim_command *c)
{
    return c->scenario == NULL ? sim_world_run : c->scenario->run;
}

static int write_svg(const struct sim_command *c, const struct sim_world_result *r,
                     const struct sim_diagram *diagram)
{
    char title[400], command[256];
    FILE *file = fopen(c->svg, "w");
    if (file == NULL) return complain("write", c->svg);
    sim_command_again(c, "pbft-sim", command, sizeof command);
    snprintf(title, sizeof title, "%s%s%s --seed %" PRIu64 ", n = %" PRIu32,
             c->scenario == NULL ? "" : c->scenario->title, c->scenario == NULL ? "" : ": ",
             command, c->seed, r->n);
    if (title[0] >= 'a' && title[0] <= 'z' && c->scenario != NULL)
        title[0] = (char)(title[0] - 'a' + 'A');
    errno = 0;
    bool ok = sim_diagram_write(diagram, r->n, title, &c->window, file);
    if (fclose(file) == 0 && ok) return PASSED;
    if (errno != 0) return complain("write", c->svg);
    fprintf(stderr, "pbft-sim: nothing happens between --from and --to\n");
    return USAGE;
}

static int conclude(const struct sim_command *c, const char *program, struct sim_world_result *r)
{
    char build[128], again[256];
    name_build(build);
    sim_command_again(c, program, again, sizeof again);
    if (r->ok && c->scenario != NULL && r->injected == 0) {
        r->ok = false;
        snprintf(r->failure, sizeof r->failure, "seed %" PRIu64 ": the scenario's fault never was",
                 c->seed);
    }
    if (c->twice && r->ok) {
        static struct sim_world_result second;
        struct sim_world_options options = world_of(c);
        runner_of(c)(&options, &second);
        r->ok = second.trace_hash == r->trace_hash;
        if (!r->ok)
            snprintf(r->failure, sizeof r->failure,
                     "seed %" PRIu64 ": FAULTS 3.19: the second run "
                     "has the trace %016" PRIx64 ", the first %016" PRIx64,
                     c->seed, second.trace_hash, r->trace_hash);
    }
    FILE *out = c->json != NULL && strcmp(c->json, "-") == 0 ? stderr : stdout;
    if (!c->quiet) sim_result_write(c->seed, r, out);
    if (c->explain && !r->ok)
        sim_explain_write(&explain, r->failure, out);
    else if (c->explain)
        fprintf(out, "No invariant was violated.\n");
    if (r->ok)
        fprintf(out, "== pbft-sim: passed\n");
    else
        sim_failed_write(build, again, c->seed, r->failure, out);
    if (c->json != NULL && !sim_result_write_json(c->seed, r, c->json))
        return complain("write", c->json);
    return r->ok ? PASSED : FAILURE;
}

static int run_one(const struct sim_command *c, const char *program)
{
    static struct sim_world_result result;
    struct spectators s = {0};
    struct sim_world_options options = world_of(c);
    if (c->trace != NULL) {
        if ((s.timeline = fopen(c->trace, "w")) == NULL) return complain("write", c->trace);
    } else if (c->svg == NULL && !c->explain && !c->quiet && c->json == NULL) {
        s.timeline = stdout;
    }
    if (c->svg != NULL && (s.diagram = sim_diagram_new()) == NULL) return complain("draw", c->svg);
    if (c->explain) {
        struct sigaction crash = {.sa_handler = on_crash};
        s.explain = &explain;
        sigaction(SIGABRT, &crash, NULL);
        sigaction(SIGSEGV, &crash, NULL);
    }
    if (s.timeline != NULL || s.diagram != NULL || s.explain != NULL) {
        options.observer = observe;
        options.observer_context = &s;
    }
    if (s.timeline != NULL) {
        char world[512];
        if (c->scenario == NULL) {
            sim_world_describe(&options, world, sizeof world);
            fprintf(s.timeline, "# seed %" PRIu64 ": %s\n", c->seed, world);
        } else {
            fprintf(s.timeline, "# seed %" PRIu64 ", scenario %s: %s\n", c->seed, c->scenario->name,
                    c->scenario->title);
        }
        sim_timeline_head(s.timeline);
    }
    runner_of(c)(&options, &result);
    errno = 0;
    bool traced = c->trace == NULL || fclose(s.timeline) == 0;
    int code = conclude(c, program, &result);
    if (s.diagram != NULL) {
        int drawn = write_svg(c, &result, s.diagram);
        if (code == PASSED) code = drawn;
        sim_diagram_free(s.diagram);
    }
    return traced ? code : complain("write", c->trace);
}

/* ---- a campaign ---- */

static int run_many(const struct sim_command *c, const char *program)
{
    static struct sim_report report;
    char build[128], again[256], error[SIM_CAMPAIGN_ERROR_BYTES], why[512];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned most = cores < 1 ? 1 : cores > 256 ? 256 : (unsigned)cores;
    name_build(build);
    sim_command_again(c, program, again, sizeof again);
    struct sim_campaign campaign = {.run = runner_of(c),
                                    .world = world_of(c),
                                    .scenario = c->scenario == NULL ? NULL : c->scenario->name,
                                    .first = c->seed,
                                    .count = c->seeds,
                                    .jobs = c->jobs == 0 ? most : c->jobs,
                                    .failures_max = c->failures_max,
                                    .state = c->state,
                                    .build = build,
                                    .again = again,
                                    .progress = c->quiet ? NULL : stderr,
                                    .stop = &stopped};
    struct sigaction stop = {.sa_handler = on_stop};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    enum pbft_status status = sim_campaign_run(&campaign, &report, error);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-sim: %s\n", error);
        return status == PBFT_STATUS_ARGUMENT ? USAGE : ENVIRONMENT;
    }
    bool passed = sim_report_passed(&campaign, &report, why);
    bool to_stdout = c->json != NULL && strcmp(c->json, "-") == 0;
    if (!c->quiet || !passed) sim_report_write(&campaign, &report, to_stdout ? stderr : stdout);
    if (c->json != NULL && !sim_report_write_json(&campaign, &report, c->json))
        return complain("write", c->json);
    if (stopped != 0 && !report.complete && report.totals.failed == 0) {
        fprintf(stderr, "pbft-sim: interrupted; %s\n",
                c->state != NULL ? "the same command goes on from here"
                                 : "with --state FILE it could go on from here");
        return ENVIRONMENT;
    }
    return passed ? PASSED : FAILURE;
}

int main(int argc, char **argv)
{
    static struct sim_command command;
    char error[256];
    if (!sim_command_parse(argc, argv, &command, error)) {
        fprintf(stderr, "pbft-sim: %s; see pbft-sim --help\n", error);
        return USAGE;
    }
    if (command.help) {
        fputs(sim_command_help, stdout);
        return PASSED;
    }
    if (command.version) {
        puts("pbft-sim " PBFT_VERSION);
        return PASSED;
    }
    if (command.list) return list_scenarios();
    return command.many ? run_many(&command, argv[0]) : run_one(&command, argv[0]);
}
