/* pbft-sim: options, campaigns, checkpoints, and what people look at. */
#include "tests/sim/command.h"
#include "tests/sim/timeline.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

#define PARSE(command, error, ...)                                                                 \
    parse(&(command), error, (char *[]){(char *)"pbft-sim", __VA_ARGS__, NULL})

static bool parse(struct sim_command *command, char error[256], char **argv)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return sim_command_parse(argc, argv, command, error);
}

Test(campaign, options_are_taken)
{
    struct sim_command c;
    char error[256], again[256];
    cr_assert(PARSE(c, error, "--seeds", "100", "--seed", "7", "--jobs", "3", "--state", "s",
                    "--failures", "2", "--nodes", "10", "--json", "-", "--quiet"),
              "%s", error);
    cr_expect(c.many && c.seeds == 100 && c.seed == 7 && c.jobs == 3 && c.failures_max == 2);
    cr_expect(c.nodes == 10 && c.quiet && strcmp(c.state, "s") == 0 && strcmp(c.json, "-") == 0);
    cr_assert(PARSE(c, error, "--scenario", "2.17", "--svg", "f", "--from", "1.5", "--to", "20"));
    cr_expect(!c.many && c.seed == 1 && strcmp(c.scenario->name, "2.17") == 0);
    cr_expect(c.window.given && c.window.from_ns == 1500000 && c.window.to_ns == 20000000);
    cr_assert(PARSE(c, error, "--seed", "18446744073709551615", "--nodes", "7", "--explain",
                    "--signatures", "real"));
    cr_expect(c.seed == UINT64_MAX && c.real && c.explain);
    sim_command_again(&c, "build/bin/pbft-sim", again, sizeof again);
    cr_expect_str_eq(again, "build/bin/pbft-sim --nodes 7 --signatures real");
    cr_expect(PARSE(c, error, "--scenario", "list") && c.list);
    cr_expect(PARSE(c, error, "--help") && c.help);
}

Test(campaign, nonsense_is_refused_with_a_sentence)
{
    struct sim_command c;
    char error[256];
#define REFUSED(...)                                                                               \
    cr_expect(!PARSE(c, error, __VA_ARGS__) && strlen(error) > 10 && strchr(error, '\n') == NULL)
    REFUSED("--quiet");                                         /* nothing to do */
    REFUSED("--seed", "-1");                                    /* not a number */
    REFUSED("--seed", "18446744073709551616");                  /* 2^64 */
    REFUSED("--seed", "");                                      /* nor this */
    REFUSED("--seeds", "0");                                    /* none */
    REFUSED("--seeds", "10", "--seed", "18446744073709551610"); /* beyond the last */
    REFUSED("--seed", "1", "--nodes", "3");                     /* no quorum */
    REFUSED("--seed", "1", "--scenario", "2.99");               /* no such row */
    REFUSED("--seeds", "10", "--svg", "f");                     /* of which? */
    REFUSED("--seed", "1", "--jobs", "2");                      /* for campaigns */
    REFUSED("--seed", "1", "--from", "2");                      /* of no diagram */
    REFUSED("--seed", "1", "--svg", "f", "--from", "2", "--to", "1");
    REFUSED("--seed", "1", "more");
    REFUSED("--nonsense");
    REFUSED("--seed");
}

/* ---- campaigns over a world that needs no time ---- */

static void quick(const struct sim_world_options *options, struct sim_world_result *r)
{
    memset(r, 0, sizeof *r);
    r->ok = true;
    r->trace_hash = options->seed * 31;
    r->n = options->seed % 2 == 0 ? 4 : 7;
    r->real_signatures = options->seed % 100 == 0;
    r->virtual_ns = options->seed * 1000;
    r->delivered = 1500 + options->seed % 700;
    r->executed = 50 + options->seed % 13;
    r->injected = 1;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        r->faults[i] = options->seed % (i + 2) == 0;
    for (size_t i = 0; i < SIM_REACH_COUNT; i++)
        r->reached[i] = options->seed % (i + 1);
    r->reached[0] = 1;
}

/* As quick(), but for a few seeds. */
static void troubled(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    if (options->seed == 5) {
        r->ok = false;
        snprintf(r->failure, sizeof r->failure, "seed 5, n 4, at 1.0 s: FAULTS 3.1: made up");
    }
    if (options->seed == 9) {
        fprintf(stderr, "an assertion of ours\n");
        abort();
    }
    volatile bool endless = options->seed == 14;
    while (endless)
        ;
    if (options->seed == 17) exit(3);
    if (options->seed == 50 && options->observer != NULL) r->trace_hash++; /* it peeks */
}

static volatile sig_atomic_t stop_now;

static void stop_early(const struct sim_world_options *options, struct sim_world_result *r)
{
    if (options->seed == 400) kill(getppid(), SIGUSR1);
    quick(options, r);
}

static void on_signal(int number)
{
    stop_now = number;
}

static struct sim_campaign campaign_of(sim_runner *run, uint64_t seeds)
{
    return (struct sim_campaign){.run = run,
                                 .first = 1,
                                 .count = seeds,
                                 .jobs = 3,
                                 .patience_s = 1,
                                 .build = "abc 0123",
                                 .again = "pbft-sim"};
}

static struct sim_report report, other; /* large */
static char error[SIM_CAMPAIGN_ERROR_BYTES], why[512];

Test(campaign, adds_up_whatever_the_order)
{
    struct sim_campaign c = campaign_of(quick, 2000);
    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK, "%s", error);
    cr_expect(sim_report_passed(&c, &report, why), "%s", why);
    cr_expect(report.complete && report.totals.seeds == 2000 && report.totals.failed == 0);
    cr_expect_eq(report.totals.virtual_ns, UINT64_C(2001000000));
    cr_expect_eq(report.totals.twice, 40);
    cr_expect_eq(report.totals.real_signatures, 20);
    cr_expect_eq(report.totals.least_delivered, 1500 + 1);
    cr_expect_eq(report.totals.by_n[7], 1000);
    c.jobs = 1;
    cr_assert_eq(sim_campaign_run(&c, &other, error), PBFT_STATUS_OK);
    cr_expect_arr_eq(&report.totals, &other.totals, sizeof report.totals);
}

Test(campaign, a_seed_that_fails_crashes_hangs_or_ends_is_reported)
{
    struct sim_campaign c = campaign_of(troubled, 60);
    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK, "%s", error);
    cr_expect(!sim_report_passed(&c, &report, why));
    cr_expect_str_eq(why, "5 of 60 seeds failed");
    cr_assert(report.complete && report.failed_count == 5);
    static const struct {
        uint64_t seed;
        const char *text;
    } expected[] = {{5, "FAULTS 3.1"},
                    {9, "signal 6"},
                    {14, "does not end within 1 s of CPU time"},
                    {17, "status 3"},
                    {50, "FAULTS 3.19"}};
    for (size_t i = 0; i < 5; i++) {
        cr_expect_eq(report.failed[i].seed, expected[i].seed);
        cr_expect_not_null(strstr(report.failed[i].text, expected[i].text), "%s",
                           report.failed[i].text);
    }
    cr_expect_not_null(strstr(report.failed[1].text, "an assertion of ours"));
    char text[4096] = "";
    FILE *file = fmemopen(text, sizeof text, "w");
    sim_failed_write(c.build, c.again, 5, report.failed[0].text, file);
    fclose(file);
    cr_expect_not_null(strstr(text, "FAULTS 3.1: made up"));
    cr_expect_not_null(strstr(text, "build abc 0123"));
    cr_expect_not_null(strstr(text, "again: pbft-sim --seed 5 "));
}

Test(campaign, stops_after_enough_failures)
{
    struct sim_campaign c = campaign_of(troubled, 60);
    c.failures_max = 1;
    c.jobs = 1;
    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK);
    cr_expect(!report.complete && report.totals.seeds == 5 && report.failed[0].seed == 5);
}

Test(campaign, resumed_equals_uninterrupted)
{
    char path[] = "/tmp/pbft-sim-state-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && close(fd) == 0 && unlink(path) == 0);
    struct sigaction stop = {.sa_handler = on_signal};
    cr_assert_eq(sigaction(SIGUSR1, &stop, NULL), 0);
    struct sim_campaign c = campaign_of(stop_early, 1000);
    c.state = path;
    c.stop = &stop_now;
    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK, "%s", error);
    cr_assert(!report.complete && report.totals.seeds > 300 && report.totals.seeds < 1000, "%llu",
              (unsigned long long)report.totals.seeds);
    cr_expect(!sim_report_passed(&c, &report, why), "half a campaign has proved nothing");

    stop_now = 0;
    c.run = quick;
    struct sim_campaign wrong = c;
    wrong.build = "abc 9999";
    cr_expect_eq(sim_campaign_run(&wrong, &other, error), PBFT_STATUS_ARGUMENT);
    cr_expect_not_null(strstr(error, "another build"));
    wrong = c;
    wrong.world.n = 7;
    cr_expect_eq(sim_campaign_run(&wrong, &other, error), PBFT_STATUS_ARGUMENT);
    cr_expect_not_null(strstr(error, "other options"));

    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK, "%s", error);
    cr_expect(report.complete && report.resumed_at > 300);
    c.state = NULL;
    cr_assert_eq(sim_campaign_run(&c, &other, error), PBFT_STATUS_OK);
    cr_expect_arr_eq(&report.totals, &other.totals, sizeof report.totals);

    /* A finished one is not run again; a damaged one is not believed. */
    c.state = path;
    cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK);
    cr_expect(report.complete && report.resumed_at == 1000);
    cr_assert_eq(truncate(path, 400), 0);
    cr_expect_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_CORRUPT);
    unlink(path);
}

/* ---- what a campaign must have met ---- */

static void feeble(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    r->delivered = 1200;
}

static void lucky(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    r->reached[SIM_REACH_TRANSFER] = 0;
}

static void harmless(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    r->faults[SIM_FAULT_MUTATOR] = 0;
}

/* The fault was drawn and could not act: in five seeds of 1,000, in six. */
static void bears(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    r->waived = options->seed % 200 == 0 ? UINT64_C(1) << SIM_FAULT_BROKEN_DISK : 0;
}

static void waives(const struct sim_world_options *options, struct sim_world_result *r)
{
    quick(options, r);
    r->waived = options->seed % 160 == 0 ? UINT64_C(1) << SIM_FAULT_BROKEN_DISK : 0;
}

Test(campaign, small_seeds_and_places_never_reached_fail_it)
{
    static const struct {
        sim_runner *run;
        uint64_t seeds;
        const char *why; /* NULL: it passes */
    } cases[] = {{feeble, 99, NULL},
                 {feeble, 100, "too small"},
                 {lucky, 999, NULL},
                 {lucky, 1000, "state transfers"},
                 {harmless, 999, NULL},
                 {harmless, 1000, "mutating replica"},
                 {bears, 1000, NULL},
                 {waives, 999, NULL},
                 {waives, 1000, "'broken disk' was drawn"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sim_campaign c = campaign_of(cases[i].run, cases[i].seeds);
        cr_assert_eq(sim_campaign_run(&c, &report, error), PBFT_STATUS_OK);
        bool passed = sim_report_passed(&c, &report, why);
        cr_expect_eq(passed, cases[i].why == NULL, "%zu: %s", i, why);
        if (cases[i].why != NULL) cr_expect_not_null(strstr(why, cases[i].why), "%s", why);
    }
}

Test(campaign, medians)
{
    uint64_t buckets[10] = {0};
    cr_expect_eq(sim_median(buckets, 10, 50), 0);
    buckets[3] = 1;
    cr_expect_eq(sim_median(buckets, 10, 50), 150);
    buckets[7] = 2;
    cr_expect_eq(sim_median(buckets, 10, 50), 350);
}

/* ---- spectators, over the real cluster ---- */

static void run_row(const char *name, uint64_t seed, sim_observer *observer, void *context,
                    struct sim_world_result *result)
{
    struct sim_world_options options = {.seed = seed,
                                        .observer = observer,
                                        .observer_context = context};
    sim_scenario_find(name)->run(&options, result);
    cr_assert(result->ok, "%s", result->failure);
}

/* Everything is closed in the right order, and text holds no stray '<' or '&'. */
static bool well_formed(const char *xml)
{
    char open[16][16];
    size_t depth = 0;
    for (const char *at = xml; *at != '\0'; at++) {
        if (*at == '&' && strncmp(at, "&lt;", 4) != 0 && strncmp(at, "&gt;", 4) != 0 &&
            strncmp(at, "&amp;", 5) != 0 && strncmp(at, "&quot;", 6) != 0)
            return false;
        if (*at != '<') continue;
        const char *end = strchr(at, '>');
        bool closing = at[1] == '/';
        char name[16] = "";
        size_t size = 0, quotes = 0;
        for (const char *c = at + 1 + closing; isalnum((unsigned char)*c) && size < 15; c++)
            name[size++] = *c;
        if (end == NULL || size == 0 || depth == 16) return false;
        for (const char *c = at; c < end; c++)
            quotes += *c == '"';
        if (quotes % 2 != 0) return false;
        if (closing && (depth == 0 || strcmp(open[--depth], name) != 0)) return false;
        if (!closing && end[-1] != '/') strcpy(open[depth++], name);
        at = end;
    }
    return depth == 0;
}

static char *drawn(struct sim_diagram *diagram, const struct sim_diagram_window *window)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    bool ok = sim_diagram_write(diagram, 4, "<a> & \"b\"", window, file);
    fclose(file);
    if (ok) return text;
    free(text);
    return NULL;
}

Test(spectators, a_diagram_is_well_formed_and_shows_the_view_change)
{
    static const char *const rows[] = {"2.1", "2.3", "2.35", "2.47"};
    for (size_t i = 0; i < 4; i++) {
        struct sim_world_result result;
        struct sim_diagram_window window = {0};
        struct sim_diagram *diagram = sim_diagram_new();
        run_row(rows[i], 3, sim_diagram_observe, diagram, &result);
        char *svg = drawn(diagram, &window);
        cr_assert_not_null(svg, "%s", rows[i]);
        cr_expect(well_formed(svg), "%s", rows[i]);
        cr_expect_not_null(strstr(svg, "&lt;a&gt; &amp; &quot;b&quot;"));
        if (i < 2) cr_expect_not_null(strstr(svg, "view change to 1"), "%s", rows[i]);
        if (i == 0) cr_expect_not_null(strstr(svg, "class=\"arrow li\""), "its lies are red");
        if (i == 1) cr_expect_not_null(strstr(svg, "replica 0 is killed"));
        free(svg);
        window = (struct sim_diagram_window){true, 5 * 1000000, 15 * 1000000};
        svg = drawn(diagram, &window);
        cr_expect(svg != NULL && well_formed(svg));
        free(svg);
        window = (struct sim_diagram_window){true, UINT64_C(1) << 60, UINT64_C(1) << 61};
        cr_expect_null(drawn(diagram, &window), "nothing happens then");
        sim_diagram_free(diagram);
    }
}

Test(spectators, change_nothing)
{
    struct sim_world_result alone, observed;
    struct sim_diagram *diagram = sim_diagram_new();
    run_row("2.14", 5, NULL, NULL, &alone);
    run_row("2.14", 5, sim_diagram_observe, diagram, &observed);
    cr_expect_eq(alone.trace_hash, observed.trace_hash);
    sim_diagram_free(diagram);
}

Test(spectators, the_timeline_is_a_line_an_event)
{
    struct sim_world_result result;
    char *text = NULL;
    size_t size = 0, lines = 0;
    FILE *file = open_memstream(&text, &size);
    run_row("2.3", 1, sim_timeline_observe, file, &result);
    fclose(file);
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        cr_assert(strcspn(at, "\n") < SIM_LINE_BYTES && at[7] == '.');
        lines++;
    }
    cr_expect_gt(lines, 1000);
    cr_expect_not_null(strstr(text, "FAULT: replica 0 is killed"));
    cr_expect_not_null(strstr(text, "-x r0  VIEW-CHANGE"));
    cr_expect_not_null(strstr(text, "executes"));
    free(text);
}

Test(spectators, the_explanation_holds_the_last_events_before_the_first_failure)
{
    static struct sim_explain explain;
    struct sim_seen seen = {.kind = SIM_SEEN_STABLE};
    for (seen.at_ns = 0; seen.at_ns < 100; seen.at_ns++) {
        seen.kind = seen.at_ns == 70 ? SIM_SEEN_FAILURE : SIM_SEEN_STABLE;
        seen.claim.seq = seen.at_ns;
        sim_explain_observe(&explain, &seen);
    }
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    sim_explain_write(&explain, "seed 1, n 4, at 1.0 s: FAULTS 3.11: h fell", file);
    fclose(file);
    cr_expect_not_null(strstr(text, "a stable checkpoint has its quorum"));
    cr_expect_not_null(strstr(text, "The last 30 of 70 events"));
    cr_expect_not_null(strstr(text, "n 69\n"));
    cr_expect_not_null(strstr(text, "n 40\n"));
    cr_expect_null(strstr(text, "n 39\n"));
    cr_expect_null(strstr(text, "n 70\n"));
    cr_expect_null(sim_explain_invariant("FAULTS 3.99: none"));
    cr_expect_null(sim_explain_invariant("something else"));
    free(text);
}
