/* The command line of pbft-sim. */
#include "tests/sim/command.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char sim_command_help[] =
    "Usage: pbft-sim --seed S [options]       one seed: its timeline and a verdict\n"
    "       pbft-sim --seeds N [--seed S]     a campaign of N seeds, from S on\n"
    "       pbft-sim --scenario NAME          one row of the faults' catalogue\n"
    "Real replicas and clients under virtual time; the seed draws the cluster, the load and the\n"
    "faults, up to f Byzantine replicas among them. Every invariant is checked after every step.\n"
    "\n"
    "  --seed S           which seed, or the first of many [1]\n"
    "  --seeds N          how many\n"
    "  --nodes n          replicas, 4 to 10 [drawn]\n"
    "  --scenario NAME    2.1 to 2.47; `list` lists them; 2.3,2.14: two in one cluster;\n"
    "                     pairs: two that the seed draws\n"
    "  --traitors T       so many Byzantine replicas, more than f to see the alarm ring\n"
    "  --signatures KIND  drawn, fast (keyed hashes) or real (Ed25519) [drawn: 1 seed in 100]\n"
    "  --quiet            the verdict only\n"
    "  --json FILE        the result as JSON (-: standard output)\n"
    "one seed:\n"
    "  --trace FILE       the timeline to FILE instead of standard output\n"
    "  --svg FILE         a message-sequence diagram instead of the timeline\n"
    "  --from MS --to MS  what of it [around the failure, or the first view change]\n"
    "  --explain          the violated invariant and the last 30 events before it\n"
    "  --twice            run it twice and compare the traces\n"
    "campaigns:\n"
    "  --jobs J           processes [one a core]\n"
    "  --state FILE       keep a checkpoint in FILE, and go on from it\n"
    "  --failures F       stop after F failures [never]\n"
    "  --version, --help\n"
    "\n"
    "Example: pbft-sim --seeds 100000 --state night.state; pbft-sim --seed 7 --svg seven.svg\n"
    "Exit codes: 0 passed, 1 a failure was found, 2 usage, 3 the environment (also: "
    "interrupted).\n";

enum {
    SEED = 1000,
    SEEDS,
    NODES,
    SCENARIO,
    TRAITORS,
    SIGNATURES,
    QUIET,
    JSON,
    TRACE,
    SVG,
    FROM,
    TO,
    EXPLAIN,
    TWICE,
    JOBS,
    STATE,
    FAILURES,
    VERSION,
    HELP,
};

static const struct option long_options[] = {
    {"seed", required_argument, NULL, SEED},
    {"seeds", required_argument, NULL, SEEDS},
    {"nodes", required_argument, NULL, NODES},
    {"scenario", required_argument, NULL, SCENARIO},
    {"traitors", required_argument, NULL, TRAITORS},
    {"signatures", required_argument, NULL, SIGNATURES},
    {"quiet", no_argument, NULL, QUIET},
    {"json", required_argument, NULL, JSON},
    {"trace", required_argument, NULL, TRACE},
    {"svg", required_argument, NULL, SVG},
    {"from", required_argument, NULL, FROM},
    {"to", required_argument, NULL, TO},
    {"explain", no_argument, NULL, EXPLAIN},
    {"twice", no_argument, NULL, TWICE},
    {"jobs", required_argument, NULL, JOBS},
    {"state", required_argument, NULL, STATE},
    {"failures", required_argument, NULL, FAILURES},
    {"version", no_argument, NULL, VERSION},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0') return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return value >= min && value <= max;
}

/* "12", "12.5": milliseconds. */
static bool milliseconds(const char *text, uint64_t *ns)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    double ms = strtod(text, &end);
    *ns = ms < 1e12 ? (uint64_t)(ms * 1e6) : 0;
    return *end == '\0' && ms < 1e12;
}

static bool signatures(struct sim_command *c, const char *text)
{
    c->real = strcmp(text, "real") == 0;
    c->fast = strcmp(text, "fast") == 0;
    return c->real || c->fast || strcmp(text, "drawn") == 0;
}

static bool pair(struct sim_command *c, const char *text, size_t size, const char *second)
{
    char first[16] = "";
    if (size < sizeof first) memcpy(first, text, size);
    c->rows[0] = sim_scenario_find(first);
    c->rows[1] = sim_scenario_find(second);
    return c->rows[0] != NULL && c->rows[1] != NULL;
}

static bool scenario(struct sim_command *c, const char *text)
{
    c->list = strcmp(text, "list") == 0;
    const char *comma = strchr(text, ',');
    if (comma != NULL && !pair(c, text, (size_t)(comma - text), comma + 1)) return false;
    if (strcmp(text, "pairs") == 0 || comma != NULL) {
        c->pair = (struct sim_scenario){text, "two rows in one cluster", sim_pair_run};
        c->scenario = &c->pair;
    } else if (!c->list) {
        c->scenario = sim_scenario_find(text);
    }
    return c->list || c->scenario != NULL;
}

static bool take(struct sim_command *c, int option, bool *seed_given)
{
    uint64_t x = 0;
    switch (option) {
    case SEED: *seed_given = true; return number(optarg, 0, UINT64_MAX, &c->seed);
    case SEEDS: c->many = true; return number(optarg, 1, SIM_CAMPAIGN_SEEDS_MAX, &c->seeds);
    case NODES:
        if (!number(optarg, PBFT_REPLICAS_MIN, 10, &x)) return false;
        c->nodes = (uint32_t)x;
        return true;
    case SCENARIO: return scenario(c, optarg);
    case TRAITORS:
        if (!number(optarg, 1, 10, &x)) return false;
        c->traitors = (uint32_t)x;
        return true;
    case SIGNATURES: return signatures(c, optarg);
    case QUIET: c->quiet = true; return true;
    case JSON: c->json = optarg; return true;
    case TRACE: c->trace = optarg; return true;
    case SVG: c->svg = optarg; return true;
    case FROM: c->window.given = true; return milliseconds(optarg, &c->window.from_ns);
    case TO: c->window.given = true; return milliseconds(optarg, &c->window.to_ns);
    case EXPLAIN: c->explain = true; return true;
    case TWICE: c->twice = true; return true;
    case JOBS:
        if (!number(optarg, 1, SIM_CAMPAIGN_JOBS_MAX, &x)) return false;
        c->jobs = (unsigned)x;
        return true;
    case STATE: c->state = optarg; return true;
    case FAILURES: return number(optarg, 1, UINT64_MAX, &c->failures_max);
    case VERSION: c->version = true; return true;
    case HELP: c->help = true; return true;
    default: return false;
    }
}

/* What does not go together; NULL: all is well. */
static const char *nonsense(const struct sim_command *c, bool seed_given)
{
    if (!c->many && !seed_given && c->scenario == NULL)
        return "--seed S runs one seed, --seeds N many, --scenario NAME a row of the catalogue";
    if (c->many && (c->trace != NULL || c->svg != NULL || c->explain || c->twice))
        return "--trace, --svg, --explain and --twice are for one seed: leave --seeds out";
    if (!c->many && (c->state != NULL || c->jobs > 0 || c->failures_max > 0))
        return "--state, --jobs and --failures are for campaigns: add --seeds N";
    if (c->rows[0] != NULL && sim_pair_refused(c->rows[0], c->rows[1], c->nodes) != NULL)
        return sim_pair_refused(c->rows[0], c->rows[1], c->nodes);
    if (c->window.given && c->svg == NULL) return "--from and --to limit the diagram of --svg FILE";
    if (c->window.given && c->window.to_ns <= c->window.from_ns)
        return "--to MS must be given and be later than --from";
    if (c->many && c->seed > UINT64_MAX - c->seeds) return "there are no seeds beyond 2^64-1";
    return NULL;
}

bool sim_command_parse(int argc, char **argv, struct sim_command *c, char error[256])
{
    bool seed_given = false;
    int option;
    memset(c, 0, sizeof *c);
    c->seed = 1;
    error[0] = '\0';
    opterr = 0; /* what is wrong is said once, by us */
    optind = 1;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == '?' || option == ':') {
            snprintf(error, 256, "there is no option %.100s, or its value is missing",
                     argv[optind - 1]);
            return false;
        }
        if (!take(c, option, &seed_given)) {
            const struct option *o = long_options;
            while (o->val != option)
                o++;
            snprintf(error, 256, "'%.100s' does not fit --%s%s", optarg, o->name,
                     option == SCENARIO ? "; --scenario list lists what does" : "");
            return false;
        }
    }
    if (c->help || c->version || c->list) return true;
    const char *wrong = optind < argc ? "it takes options only" : nonsense(c, seed_given);
    if (wrong != NULL) snprintf(error, 256, "%s", wrong);
    return wrong == NULL;
}

void sim_command_again(const struct sim_command *c, const char *program, char *text, size_t size)
{
    char nodes[32] = "", traitors[32] = "", row[32] = "";
    if (c->nodes > 0) snprintf(nodes, sizeof nodes, " --nodes %" PRIu32, c->nodes);
    if (c->traitors > 0) snprintf(traitors, sizeof traitors, " --traitors %" PRIu32, c->traitors);
    if (c->scenario != NULL) snprintf(row, sizeof row, " --scenario %s", c->scenario->name);
    snprintf(text, size, "%s%s%s%s%s", program, row, nodes, traitors,
             c->real   ? " --signatures real"
             : c->fast ? " --signatures fast"
                       : "");
}
