/* Two rows of FAULTS 2 in one cluster, which is large enough for the culprits of both. The second
 * begins where the first one has left the cluster: its liars go on, its filters stay, its dead are
 * dead. Each fault must have happened, and each row's own demands hold. */
#include "tests/sim/scenario.h"

#include "pbft/quorum.h"

#include <stdio.h>
#include <string.h>

/* What replica 1 sends otherwise than it was. */
enum { NOTHING, VOTES, PAGES };

/* What a row asks of the cluster that it meets, and leaves behind, beyond its liars. */
struct demand {
    const char *name;
    pbft_signers gone;  /* falls silent, dies or forgets in it */
    pbft_signers needs; /* has to be correct, and there */
    bool start;         /* its fault is in the first views */
    bool moves;         /* these are over behind it */
    bool isolates;      /* a correct replica, for some time: one more that is away */
    int changes;
};

static const struct demand demands[] = {
    {.name = "2.1", .start = true, .moves = true},
    {.name = "2.2", .start = true, .moves = true, .isolates = true},
    {.name = "2.3", .gone = 1, .start = true, .moves = true},
    {.name = "2.4", .start = true, .moves = true},
    {.name = "2.5", .start = true, .moves = true},
    {.name = "2.6", .needs = 9, .start = true},
    {.name = "2.7", .start = true, .moves = true, .isolates = true},
    {.name = "2.8", .start = true},
    {.name = "2.11", .changes = VOTES},
    {.name = "2.12", .changes = VOTES},
    {.name = "2.14", .moves = true, .isolates = true},
    {.name = "2.16", .start = true},
    {.name = "2.17", .moves = true, .isolates = true},
    {.name = "2.18", .start = true, .moves = true, .isolates = true},
    {.name = "2.21", .needs = 8, .isolates = true, .changes = PAGES},
    {.name = "2.22", .needs = 8, .isolates = true, .changes = PAGES},
    {.name = "2.23", .needs = 8, .isolates = true, .changes = PAGES},
    {.name = "2.24", .needs = ~UINT64_C(2), .start = true},
    {.name = "2.26", .needs = 8, .start = true},
    {.name = "2.27", .gone = 4},
    {.name = "2.30", .changes = VOTES},
    {.name = "2.34", .isolates = true},
    {.name = "2.39", .gone = 4, .needs = 4},
    {.name = "2.41", .gone = 4, .needs = 4},
    {.name = "2.42", .gone = 4, .needs = 4, .start = true}, /* later its log may not grow */
    {.name = "2.43", .gone = 4, .needs = 4},
    {.name = "2.44", .gone = 4, .needs = 4},
    {.name = "2.46", .gone = 2}, /* nothing that it sends is read */
    {.name = "2.47", .needs = 8, .moves = true, .isolates = true},
};

static struct demand demand_of(const struct sim_scenario *row)
{
    for (size_t i = 0; i < sizeof demands / sizeof demands[0]; i++)
        if (strcmp(demands[i].name, row->name) == 0) return demands[i];
    return (struct demand){.name = row->name};
}

static bool isolate(const struct sim_scenario *a, const struct sim_scenario *b)
{
    return demand_of(a).isolates || demand_of(b).isolates;
}

const char *sim_pair_refused(const struct sim_scenario *a, const struct sim_scenario *b, uint32_t n)
{
    struct demand x = demand_of(a), y = demand_of(b);
    pbft_signers lies_x = stage_row_of(a)->byzantine, lies_y = stage_row_of(b)->byzantine;
    if (a == b) return "a row is no pair with itself";
    if (((lies_x | x.gone) & y.needs) != 0 || ((lies_y | y.gone) & x.needs) != 0)
        return "one row's culprit must be correct for the other";
    if ((x.gone & (lies_y | y.gone)) != 0 || (y.gone & lies_x) != 0)
        return "both need the same replica, and in one of them it falls silent";
    if (x.changes != NOTHING && x.changes == y.changes)
        return "both send something else in the place of the same messages";
    if (x.start && y.start && x.moves && y.moves)
        return "both begin in the first views, and both leave them";
    if (stage_row_of(a)->options != NULL && stage_row_of(b)->options != NULL)
        return "both set what the links, disks or signatures of all are";
    uint32_t away = pbft_signers_count(lies_x | lies_y | x.gone | y.gone) + isolate(a, b);
    if (n != 0 && away > pbft_quorum_faults(n))
        return "so few replicas do not bear the culprits of both: leave --nodes out";
    return NULL;
}

/* Rows that need the first views come first, and of two such rows the one that stays there. */
static bool goes_first(const struct sim_scenario *a, const struct sim_scenario *b)
{
    struct demand x = demand_of(a), y = demand_of(b);
    if (x.start != y.start) return x.start;
    if (x.moves != y.moves) return y.moves;
    return x.gone != 0 || y.gone == 0;
}

static uint64_t scramble(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Until two fit; how many did not is returned. */
static uint64_t draw(uint64_t seed, uint32_t n, const struct sim_scenario *rows[2])
{
    size_t count = 0;
    while (sim_scenarios[count].name != NULL)
        count++;
    PBFT_ASSERT(count > 0);
    uint64_t state = seed * UINT64_C(0xD1342543DE82EF95) + 29, skipped = 0;
    for (;; skipped++) {
        rows[0] = &sim_scenarios[scramble(state += UINT64_C(0x9E3779B97F4A7C15)) % count];
        rows[1] = &sim_scenarios[scramble(state += UINT64_C(0x9E3779B97F4A7C15)) % count];
        if (sim_pair_refused(rows[0], rows[1], n) == NULL) return skipped;
    }
}

void sim_pair_run(const struct sim_world_options *options, struct sim_world_result *result)
{
    struct sim_world_options o = *options;
    const struct sim_scenario *rows[2] = {o.rows[0], o.rows[1]};
    uint64_t skipped = rows[0] == NULL ? draw(o.seed, o.n, rows) : 0;
    bool swap = !goes_first(rows[0], rows[1]);
    const struct sim_scenario *first = rows[swap], *second = rows[!swap];
    if (o.n == 0) o.n = isolate(first, second) ? 10 : 7;
    stage_run(stage_row_of(first), stage_row_of(second), &o, result);
    result->pair =
        1 + (uint64_t)(first - sim_scenarios) * SIM_ROWS_MAX + (uint64_t)(second - sim_scenarios);
    result->skipped = skipped;
    if (result->ok) return;
    char why[sizeof result->failure];
    memcpy(why, result->failure, sizeof why);
    snprintf(result->failure, sizeof result->failure, "rows %s and %s: %.440s", first->name,
             second->name, why);
}
