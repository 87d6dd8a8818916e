/* Twins: enumerations small enough for every run; and the alarms. */
#include "tests/sim/twins.h"

#include <criterion/criterion.h>
#include <string.h>

static struct twins_campaign campaign(uint32_t groups_max, unsigned rounds)
{
    return (struct twins_campaign){.o = {.n = 4, .twins = 1},
                                   .groups_max = groups_max,
                                   .rounds = rounds,
                                   .jobs = 2};
}

static void must_hold(const struct twins_campaign *c)
{
    struct twins_report report;
    bool ok = twins_campaign(c, &report);
    cr_assert(ok, "%llu violations in %llu scenarios; %s: pbft-twins --scenario %s",
              (unsigned long long)report.sum.violations, (unsigned long long)report.sum.scenarios,
              report.failed[0].text, report.failed[0].line);
    cr_assert_eq(report.sum.scenarios, report.planned);
    /* A run in which the twins never lied has proved nothing. */
    cr_assert_gt(report.sum.equivocations, 0);
    cr_assert_gt(report.sum.evidence, 0);
    cr_assert_gt(report.sum.view_changes, 0);
    cr_assert_gt(report.sum.commits, 0);
}

Test(twins, every_pair_of_partitions)
{
    struct twins_campaign c = campaign(TWINS_INSTANCES_MAX, 2);
    must_hold(&c);
}

Test(twins, whoever_runs_twice)
{
    for (pbft_id id = 0; id < 4; id++) {
        struct twins_campaign c = campaign(2, 2);
        c.o.twins = pbft_signers_of(id);
        must_hold(&c);
    }
}

Test(twins, drawn_scenarios)
{
    struct twins_campaign c = campaign(2, 1);
    c.random = 400;
    c.o.seed = 1;
    must_hold(&c);
}

Test(twins, partitions_are_all_and_distinct)
{
    static const size_t bell[] = {1, 1, 2, 5, 15, 52, 203};
    static uint8_t out[256][TWINS_INSTANCES_MAX];
    for (uint32_t instances = 1; instances <= 6; instances++) {
        size_t count = twins_partitions(instances, instances, out, 256);
        cr_assert_eq(count, bell[instances]);
        for (size_t a = 0; a < count; a++)
            for (size_t b = 0; b < a; b++)
                cr_assert_neq(memcmp(out[a], out[b], TWINS_INSTANCES_MAX), 0);
        cr_assert_eq(twins_partitions(instances, 2, out, 256), (size_t)1 << (instances - 1));
    }
}

Test(twins, a_line_says_it_all)
{
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct twins_scenario drawn, parsed;
        char line[TWINS_LINE_BYTES], again[TWINS_LINE_BYTES];
        twins_draw(seed, 0, &drawn);
        cr_assert(twins_parse(twins_line(&drawn, line), &parsed), "%s", line);
        cr_assert_str_eq(twins_line(&parsed, again), line);
        cr_assert_eq(parsed.rounds, drawn.rounds);
        cr_assert_eq(memcmp(parsed.group, drawn.group, sizeof drawn.group), 0, "%s", line);
    }
    static const char *const bad[] = {"",
                                      "4",
                                      "4:0:0:0:",
                                      "3:0:0:0:012a",
                                      "4:0:0:0:0123",
                                      "4:0:0:0:0123aa",
                                      "4:0:0:0:0123b",
                                      "4:0:0:2000000:0123a",
                                      "4:5:0:0:0123a"};
    struct twins_scenario parsed;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(twins_parse(bad[i], &parsed), "%s", bad[i]);
}

/* FAULTS 3.19: the same scenario is the same run, message by message. */
Test(twins, equal_scenarios_have_equal_hashes)
{
    uint64_t last = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct twins_scenario s;
        struct twins_counts a, b;
        twins_draw(seed, 0, &s);
        cr_assert(twins_run(&s, NULL, &a, NULL));
        cr_assert(twins_run(&s, NULL, &b, NULL));
        cr_assert_eq(a.hash, b.hash, "seed %llu", (unsigned long long)seed);
        cr_assert_neq(a.hash, last);
        last = a.hash;
    }
}

/* A prefix that is shared through fork() is the prefix that is run: the tree's sum of hashes is the
 * sum over all scenarios run from their beginning, whatever the number of processes. */
Test(twins, the_tree_runs_what_its_lines_say)
{
    static uint8_t partitions[64][TWINS_INSTANCES_MAX];
    struct twins_campaign c = campaign(2, 2);
    size_t count = twins_partitions(5, 2, partitions, 64);
    struct twins_counts sum = {0};
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < count; b++) {
            struct twins_scenario s = {.o = c.o, .rounds = 2};
            memcpy(s.group[0], partitions[a], sizeof s.group[0]);
            memcpy(s.group[1], partitions[b], sizeof s.group[1]);
            struct twins_counts one;
            cr_assert(twins_run(&s, NULL, &one, NULL));
            twins_counts_add(&sum, &one);
        }
    }
    for (c.jobs = 1; c.jobs <= 2; c.jobs++) {
        struct twins_report report;
        cr_assert(twins_campaign(&c, &report));
        cr_assert_eq(memcmp(&report.sum, &sum, sizeof sum), 0);
    }
}

/* Two traitors of four are more than f: if nothing is found now, nothing ever would be. */
Test(twins, more_than_f_traitors_break_agreement)
{
    struct twins_campaign c = campaign(2, 2);
    c.o.twins = 3;
    struct twins_report report;
    cr_assert_not(twins_campaign(&c, &report));
    cr_assert_gt(report.sum.violations, 0);
    bool disagreement = false;
    for (unsigned k = 0; k < report.failed_count; k++) {
        disagreement = disagreement || strncmp(report.failed[k].text, "FAULTS 3.", 9) == 0;
        struct twins_scenario s;
        char failure[TWINS_LINE_BYTES];
        cr_assert(twins_parse(report.failed[k].line, &s), "%s", report.failed[k].line);
        cr_assert_not(twins_run(&s, NULL, NULL, failure), "%s", report.failed[k].line);
        cr_assert_str_eq(failure, report.failed[k].text, "%s", report.failed[k].line);
    }
    cr_assert(disagreement);
}
