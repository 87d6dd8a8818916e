/* pbft-twins: scenarios of twins, all of them or drawn ones, and one again from its line. */
#include "tests/sim/twins.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: pbft-twins [--groups 2|all] [--rounds R] [--n N] [--twin ID] [--jobs J] [--quiet]\n"
    "       pbft-twins --random COUNT [--seed S] [--n N] [--jobs J]\n"
    "       pbft-twins --scenario LINE [--trace]\n"
    "\n"
    "Two instances of the real replica under one key; every round a partition decides who hears\n"
    "whom. Exhaustive over all sequences of R partitions into at most two groups, or any number;\n"
    "or COUNT drawn scenarios (n = 4, or 7 with two twins, loss, any order of messages).\n"
    "--failures F stops after F violations (default 8; 0: never).\n"
    "Example: pbft-twins --groups 2 --rounds 5 --jobs 2\n";

struct command {
    struct twins_campaign campaign;
    const char *line;
    bool trace, quiet;
};

static bool number(const char *text, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0';
}

static bool option(struct command *c, const char *name, const char *value)
{
    uint64_t x = 0;
    if (strcmp(name, "--scenario") == 0) {
        c->line = value;
        return true;
    }
    if (strcmp(name, "--groups") == 0 && strcmp(value, "all") == 0) {
        c->campaign.groups_max = TWINS_INSTANCES_MAX;
        return true;
    }
    if (!number(value, &x)) return false;
    if (strcmp(name, "--groups") == 0)
        c->campaign.groups_max = (uint32_t)x;
    else if (strcmp(name, "--rounds") == 0)
        c->campaign.rounds = (unsigned)x;
    else if (strcmp(name, "--n") == 0)
        c->campaign.o.n = c->campaign.random_n = (uint32_t)x;
    else if (strcmp(name, "--twin") == 0)
        c->campaign.o.twins = pbft_signers_of((pbft_id)x);
    else if (strcmp(name, "--random") == 0)
        c->campaign.random = x;
    else if (strcmp(name, "--seed") == 0)
        c->campaign.o.seed = x;
    else if (strcmp(name, "--jobs") == 0)
        c->campaign.jobs = (unsigned)x;
    else if (strcmp(name, "--failures") == 0)
        c->campaign.failures_max = x;
    else
        return false;
    return true;
}

static bool sensible(const struct twins_campaign *c)
{
    return c->o.n >= PBFT_REPLICAS_MIN && c->o.n <= TWINS_REPLICAS_MAX &&
           pbft_signers_count(c->o.twins) == 1 && c->o.twins < pbft_signers_of(c->o.n) &&
           c->groups_max >= 1 && c->rounds >= 1 && c->rounds <= 8;
}

static void print_counts(const struct twins_report *r)
{
    const struct twins_counts *s = &r->sum;
    printf("twins: %" PRIu64 " of %" PRIu64 " scenarios in %.0f s (%.0f a second), %" PRIu64
           " violations (%" PRIu64 " not healed, %" PRIu64 " crashed)\n",
           s->scenarios, r->planned, r->seconds,
           r->seconds > 0 ? (double)s->scenarios / r->seconds : 0, s->violations, s->not_healed,
           s->crashed);
    printf("  equivocations shown %" PRIu64 " (proposals %" PRIu64 ") in %" PRIu64
           " scenarios, evidence %" PRIu64 "\n",
           s->equivocations, s->proposals, s->equivocal, s->evidence);
    printf("  view changes %" PRIu64 ", views installed %" PRIu64 ", highest view %" PRIu64 "\n",
           s->view_changes, s->new_views, s->highest.view);
    printf("  commits %" PRIu64 " (nulls %" PRIu64 ", highest n %" PRIu64 "), stable %" PRIu64
           ", transfers %" PRIu64 "\n",
           s->commits, s->nulls, s->highest.seq, s->checkpoints, s->transfers);
    printf("  messages delivered %" PRIu64 " (most %" PRIu64 "), lost %" PRIu64
           ", kept from twins %" PRIu64 "\n",
           s->delivered, s->highest.delivered, s->lost, s->shielded);
    printf("  without progress before healing %" PRIu64 ", healing took %.2f time-outs, at most "
           "%" PRIu64 "\n",
           s->idle, s->scenarios > 0 ? (double)s->heal_rounds / (double)s->scenarios : 0,
           s->highest.heal_rounds);
    printf("  hash %016" PRIx64 "\n", s->hash);
}

static int run_campaign(struct command *c)
{
    struct twins_report report;
    bool ok = twins_campaign(&c->campaign, &report);
    if (report.planned == 0) {
        fprintf(stderr, "pbft-twins: no memory to share between processes\n");
        return 1;
    }
    print_counts(&report);
    for (unsigned k = 0; k < report.failed_count; k++)
        printf("VIOLATION %s\n    again: pbft-twins --trace --scenario %s\n", report.failed[k].text,
               report.failed[k].line);
    if (ok && report.sum.equivocations == 0) {
        printf("FAILED: the twins never equivocated: this proved nothing\n");
        return 1;
    }
    return ok ? 0 : 1;
}

static int run_line(const struct command *c)
{
    struct twins_scenario scenario;
    if (!twins_parse(c->line, &scenario)) {
        fprintf(stderr, "pbft-twins: not a scenario: %s\n", c->line);
        return 2;
    }
    struct twins_report report = {.planned = 1};
    char failure[TWINS_LINE_BYTES];
    bool ok = twins_run(&scenario, c->trace ? stdout : NULL, &report.sum, failure);
    print_counts(&report);
    if (!ok) printf("VIOLATION %s\n", failure);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct command c = {.campaign = {.o = {.n = 4, .twins = 1},
                                     .groups_max = 2,
                                     .rounds = 3,
                                     .jobs = 1,
                                     .failures_max = TWINS_FAILURES_KEPT}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--trace") == 0)
            c.trace = true;
        else if (strcmp(argv[i], "--quiet") == 0)
            c.quiet = true;
        else if (i + 1 < argc && option(&c, argv[i], argv[i + 1]))
            i++;
        else {
            fprintf(stderr, "pbft-twins: cannot use %s\n%s", argv[i], usage);
            return 2;
        }
    }
    if (c.line != NULL) return run_line(&c);
    if (c.campaign.random == 0) c.campaign.o.seed = 0;
    if (!sensible(&c.campaign)) {
        fprintf(stderr, "pbft-twins: n 4 .. 10, a twin below n, 1 .. 8 rounds\n");
        return 2;
    }
    c.campaign.progress = !c.quiet;
    return run_campaign(&c);
}
