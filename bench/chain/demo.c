/* bench/chain/demo.c - pbft-chain demo: real miners on loopback, then what only chance shows. */
#include "bench/chain/commands.h"
#include "bench/chain/demo_real.h"
#include "bench/chain/scenario.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: pbft-chain demo [options]\n"
    "Four miners on this machine, connected through loopback, with real proof of work. One of "
    "them\n"
    "is cut off, mines on, and sees its blocks abandoned when the cut heals. Then, simulated: a\n"
    "partition, a lying node, a majority, double spends, selfish mining. About half a minute.\n"
    "\n"
    "  --simulated        leave the real miners out\n"
    "  --seconds S        of the cut between real miners [6]\n"
    "  --runs N           of each race [100000]\n"
    "  --seed N           of the simulations [1]\n"
    "  --json FILE        write all figures to FILE (-: standard output, and nothing else there)\n"
    "  --quiet            print nothing but errors\n"
    "\n"
    "Example: pbft-chain demo --json demo.json\n"
    "Exit codes: 0; 1 something did not come out as it must, or failed; 2 usage; 3 no network.\n";

static const double shares[] = {0.1, 0.2, 0.3, 0.4, 0.45};
static const uint32_t depths[] = {1, 2, 3, 6, 12};
static const double powers[] = {0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45};
static const double gammas[] = {0, 0.5, 1};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct options {
    bool simulated, quiet;
    uint64_t seconds, runs, seed;
    const char *json;
};

static json_t *interval_json(struct chain_measured m)
{
    return json_pack("{s:f,s:f,s:f,s:I}", "measured", m.value, "low", m.low, "high", m.high, "runs",
                     (json_int_t)m.runs);
}

/* ---- each scenario: printed, and as JSON; false: it did not come out as it must ---- */

static bool partition(const struct options *o, json_t *all)
{
    struct chain_partition_result r;
    if (!chain_scenario_partition(o->seed, &r)) return false;
    json_object_set_new(all, "partition",
                        json_pack("{s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:b}", "spacing_ms",
                                  r.spacing_ms, "cut_ms", r.cut_ms, "majority_blocks",
                                  (json_int_t)r.majority_blocks, "minority_blocks",
                                  (json_int_t)r.minority_blocks, "minority_confirmed",
                                  (json_int_t)r.minority_confirmed, "minority_safe",
                                  (json_int_t)r.minority_safe, "reversed", (json_int_t)r.reversed,
                                  "reversed_safe", (json_int_t)r.reversed_safe, "spent_twice",
                                  (json_int_t)r.spent_twice, "depth", (json_int_t)r.depth,
                                  "agreed_ms", r.agreed_ms, "agreed", r.agreed));
    if (!o->quiet)
        printf("Partition (simulated, 3 of 8 nodes cut off for %.0f block times): both sides went "
               "on, %llu and %llu blocks. Healing undid %llu operations that the minority had "
               "confirmed, %llu of them with 6 confirmations or more; %llu requests were spent "
               "twice.\n",
               r.cut_ms / r.spacing_ms, (unsigned long long)r.majority_blocks,
               (unsigned long long)r.minority_blocks, (unsigned long long)r.reversed,
               (unsigned long long)r.reversed_safe, (unsigned long long)r.spent_twice);
    return r.agreed;
}

static bool liar(const struct options *o, json_t *all)
{
    struct chain_liar_result r;
    if (!chain_scenario_liar(o->seed, &r)) return false;
    json_t *dropped = json_object();
    for (unsigned v = 1; v < CHAIN_VERDICT_COUNT; v++)
        if (r.dropped[v] > 0)
            json_object_set_new(dropped, chain_verdict_text((enum chain_verdict)v),
                                json_integer((json_int_t)r.dropped[v]));
    json_object_set_new(all, "liar",
                        json_pack("{s:I,s:I,s:I,s:I,s:I,s:f,s:b,s:o}", "submitted",
                                  (json_int_t)r.submitted, "confirmed", (json_int_t)r.confirmed,
                                  "false_values", (json_int_t)r.false_values, "banned_by",
                                  (json_int_t)r.banned_by, "blocks", (json_int_t)r.blocks,
                                  "blocks_expected", r.blocks_expected, "agreed", r.agreed,
                                  "dropped", dropped));
    if (!o->quiet)
        printf("A lying node (simulated, 1 of 8): %llu of 200 operations confirmed, %llu false "
               "ones; %u of 7 nodes no longer listen to it.\n",
               (unsigned long long)r.confirmed, (unsigned long long)r.false_values, r.banned_by);
    return r.agreed && r.false_values == 0;
}

static bool majority(const struct options *o, json_t *all)
{
    struct chain_majority_result r;
    if (!chain_scenario_majority(o->seed, 0.55, &r)) return false;
    json_object_set_new(all, "majority",
                        json_pack("{s:f,s:b,s:I,s:I,s:f}", "share", r.share, "reversed", r.reversed,
                                  "confirmations", (json_int_t)r.confirmations, "depth",
                                  (json_int_t)r.depth, "attack_spacings",
                                  r.attack_ms / r.spacing_ms));
    if (!o->quiet)
        printf("A majority (simulated, %.0f %% of the power): a payment with %llu confirmations "
               "%s, %llu blocks abandoned, after %.0f block times of secret mining.\n",
               r.share * 100, (unsigned long long)r.confirmations,
               r.reversed ? "was reversed" : "stood", (unsigned long long)r.depth,
               r.attack_ms / r.spacing_ms);
    return r.reversed;
}

static bool forks(const struct options *o, json_t *all)
{
    static const double delays[] = {20, 200, 2000};
    json_t *list = json_array();
    for (size_t i = 0; i < COUNT(delays); i++) {
        struct chain_forks_result r;
        if (!chain_scenario_forks(o->seed, delays[i], 2000, &r)) return false;
        double stale = (double)(r.found - r.blocks) / (double)r.found;
        json_array_append_new(list, json_pack("{s:f,s:f,s:I,s:I}", "delay_of_spacing",
                                              r.delay_ms / r.spacing_ms, "stale", stale,
                                              "reorganisations", (json_int_t)r.reorganisations,
                                              "deepest", (json_int_t)r.deepest));
        if (!o->quiet)
            printf("Forks (simulated, 8 honest nodes): with a delay of %.1f %% of the block time "
                   "%.2f %% of the blocks go stale, the deepest reorganisation has %llu.\n",
                   100 * r.delay_ms / r.spacing_ms, 100 * stale, (unsigned long long)r.deepest);
    }
    json_object_set_new(all, "forks", list);
    return true;
}

/* Far outside of the interval, measured and exact value tell of a fault. */
static bool plausible(struct chain_measured m, double exact)
{
    double n = (double)m.runs, sigma = sqrt(exact * (1 - exact) / n);
    return fabs(m.value - exact) <= 6 * sigma + 3 / n;
}

static bool double_spends(const struct options *o, json_t *all)
{
    struct chain_random random = chain_random_seed(o->seed);
    json_t *list = json_array();
    bool right = true;
    if (!o->quiet)
        printf("Double spends: probability of reversal after k confirmations, of %llu races "
               "(Rosenfeld's exact value, Nakamoto's approximation).\n  q     ",
               (unsigned long long)o->runs);
    for (size_t j = 0; j < COUNT(depths) && !o->quiet; j++)
        printf(" k = %-24u", depths[j]);
    if (!o->quiet) putchar('\n');
    for (size_t i = 0; i < COUNT(shares); i++) {
        if (!o->quiet) printf("  %-4.2f  ", shares[i]);
        for (size_t j = 0; j < COUNT(depths); j++) {
            struct chain_measured m = chain_race_measure(&random, shares[i], depths[j], o->runs);
            double exact = chain_race_rosenfeld(shares[i], depths[j]);
            double nakamoto = chain_race_nakamoto(shares[i], depths[j]);
            right = right && plausible(m, exact);
            json_t *item = interval_json(m);
            json_object_set_new(item, "q", json_real(shares[i]));
            json_object_set_new(item, "k", json_integer(depths[j]));
            json_object_set_new(item, "rosenfeld", json_real(exact));
            json_object_set_new(item, "nakamoto", json_real(nakamoto));
            json_array_append_new(list, item);
            if (!o->quiet) printf(" %.4f (%.4f, %.4f)    ", m.value, exact, nakamoto);
        }
        if (!o->quiet) putchar('\n');
    }
    json_object_set_new(all, "double_spend", list);
    struct chain_measured m;
    if (!chain_scenario_double_spend(o->seed, 0.3, 3, 300, 40, &m)) return false;
    json_t *nodes = interval_json(m);
    json_object_set_new(nodes, "q", json_real(0.3));
    json_object_set_new(nodes, "k", json_integer(3));
    json_object_set_new(nodes, "rosenfeld", json_real(chain_race_rosenfeld(0.3, 3)));
    json_object_set_new(all, "double_spend_nodes", nodes);
    if (!o->quiet)
        printf("  The same over simulated nodes, q = 0.30, k = 3: %.3f of 300 (%.3f to %.3f; "
               "exact %.3f)\n",
               m.value, m.low, m.high, chain_race_rosenfeld(0.3, 3));
    return right && plausible(m, chain_race_rosenfeld(0.3, 3));
}

static bool selfish(const struct options *o, json_t *all)
{
    struct chain_random random = chain_random_seed(o->seed + 1);
    json_t *list = json_array();
    bool right = true;
    if (!o->quiet) {
        printf("Selfish mining: share of the blocks, of %llu discoveries (Eyal and Sirer's "
               "formula); above alpha it pays.\n  alpha ",
               (unsigned long long)o->runs * 10);
        for (size_t j = 0; j < COUNT(gammas); j++)
            printf(" gamma = %-11.1f", gammas[j]);
        putchar('\n');
    }
    for (size_t i = 0; i < COUNT(powers); i++) {
        if (!o->quiet) printf("  %-4.2f  ", powers[i]);
        for (size_t j = 0; j < COUNT(gammas); j++) {
            struct chain_measured m =
                chain_selfish_measure(&random, powers[i], gammas[j], o->runs * 10);
            double formula = chain_selfish_formula(powers[i], gammas[j]);
            /* Blocks come in runs: they are fewer independent events than there are blocks. */
            right = right && fabs(m.value - formula) < 0.001 + 8 / sqrt((double)m.runs);
            json_array_append_new(list,
                                  json_pack("{s:f,s:f,s:f,s:f,s:I}", "alpha", powers[i], "gamma",
                                            gammas[j], "measured", m.value, "formula", formula,
                                            "discoveries", (json_int_t)o->runs * 10));
            if (!o->quiet) printf(" %.4f (%.4f)  ", m.value, formula);
        }
        if (!o->quiet) putchar('\n');
    }
    json_object_set_new(all, "selfish", list);
    return right;
}

static int parse(int argc, char **argv, struct options *o)
{
    enum { SIMULATED = 1000, SECONDS, RUNS, SEED, JSON, QUIET, HELP };
    static const struct option long_options[] = {
        {"simulated", no_argument, NULL, SIMULATED}, {"seconds", required_argument, NULL, SECONDS},
        {"runs", required_argument, NULL, RUNS},     {"seed", required_argument, NULL, SEED},
        {"json", required_argument, NULL, JSON},     {"quiet", no_argument, NULL, QUIET},
        {"help", no_argument, NULL, HELP},           {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case SIMULATED: o->simulated = true; break;
        case SECONDS:
            if (!chain_number(optarg, 1, 600, &o->seconds))
                return chain_bad_number("seconds", optarg);
            break;
        case RUNS:
            if (!chain_number(optarg, 100, 100000000, &o->runs))
                return chain_bad_number("runs", optarg);
            break;
        case SEED:
            if (!chain_number(optarg, 0, UINT64_MAX, &o->seed))
                return chain_bad_number("seed", optarg);
            break;
        case JSON: o->json = optarg; break;
        case QUIET: o->quiet = true; break;
        case HELP: fputs(help, stdout); return 0;
        default: return chain_usage("demo has no such option, or its value is missing");
        }
    }
    if (optind < argc) return chain_usage("demo takes options only");
    if (o->json != NULL && strcmp(o->json, "-") == 0) o->quiet = true;
    return -1;
}

int chain_demo(int argc, char **argv)
{
    struct options o = {.seconds = 6, .runs = 100000, .seed = 1};
    int code = parse(argc, argv, &o);
    if (code >= 0) return code;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    json_t *all = json_object();
    code = o.simulated ? 0 : chain_demo_real(o.seconds, o.quiet, all);
    bool (*const scenarios[])(const struct options *, json_t *) = {partition,     liar,
                                                                   majority,      forks,
                                                                   double_spends, selfish};
    static const char *const names[] = {"partition", "lying node",    "majority",
                                        "forks",     "double spends", "selfish miner"};
    for (size_t i = 0; i < COUNT(scenarios) && code == 0; i++) {
        if (scenarios[i](&o, all)) continue;
        fprintf(stderr, "pbft-chain: the scenario '%s' did not come out as it must\n", names[i]);
        code = 1;
    }
    if (o.json == NULL)
        json_decref(all);
    else if (!chain_write_json(o.json, all))
        code = 1;
    return code;
}
