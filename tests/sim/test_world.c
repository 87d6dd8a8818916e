/* Whole runs out of one seed each: safety under faults, then liveness with the liars still at it.
 */
#include "tests/sim/world.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 60u

/* More seeds for a campaign: PBFT_SIM_SEEDS=5000 (pbft-sim does it better). */
static uint64_t seeds(void)
{
    const char *text = getenv("PBFT_SIM_SEEDS");
    uint64_t count = text == NULL ? 0 : strtoull(text, NULL, 10);
    return count == 0 ? SEEDS : count;
}

static struct sim_world_result run(struct sim_world_options options)
{
    static struct sim_world_result result;
    sim_world_run(&options, &result);
    return result;
}

static void some(uint64_t from, uint64_t count)
{
    for (uint64_t seed = from; seed < from + count; seed++) {
        struct sim_world_result r = run((struct sim_world_options){.seed = seed});
        cr_expect(r.ok, "%s", r.failure);
    }
}

Test(world, seeds_of_the_first_half)
{
    some(1, seeds() / 2);
}
Test(world, seeds_of_the_second_half)
{
    some(1 + seeds() / 2, seeds() - seeds() / 2);
}

static void look(void *context, const struct sim_seen *seen)
{
    *(uint64_t *)context += seen->at_ns;
}

/* FAULTS 3.19 */
Test(world, equal_seeds_have_equal_traces_whoever_looks)
{
    for (uint64_t seed = 5; seed < 10; seed++) {
        uint64_t seen = 0;
        struct sim_world_result first = run((struct sim_world_options){.seed = seed});
        struct sim_world_result second = run(
            (struct sim_world_options){.seed = seed, .observer = look, .observer_context = &seen});
        cr_expect_eq(first.trace_hash, second.trace_hash, "seed %llu", (unsigned long long)seed);
        cr_expect_eq(memcmp(first.reached, second.reached, sizeof first.reached), 0);
        cr_expect_gt(seen, 0);
        struct sim_world_result other = run((struct sim_world_options){.seed = seed + 100});
        cr_expect_neq(first.trace_hash, other.trace_hash);
    }
}

/* Alarms ring: with more than f traitors, who do not even conspire, some invariant must break.
 * (Conspirators break agreement itself: test_cluster.c, test_twins.c.) */
Test(world, more_than_f_traitors_trip_the_checkers)
{
    unsigned tripped = 0;
    for (uint64_t seed = 1; seed <= 40; seed++)
        tripped += !run((struct sim_world_options){.seed = seed, .n = 4, .traitors = 2}).ok;
    cr_expect_gt(tripped, 5, "%u of 40", tripped);
}

Test(world, with_real_signatures)
{
    struct sim_world_result r =
        run((struct sim_world_options){.seed = 3, .n = 4, .real_signatures = true});
    cr_expect(r.ok, "%s", r.failure);
    cr_expect(r.real_signatures);
}

Test(world, says_what_it_is)
{
    char text[1024];
    struct sim_world_options options = {.seed = 3, .n = 7};
    sim_world_describe(&options, text, sizeof text);
    cr_expect_eq(strncmp(text, "n=7 ", 4), 0, "%s", text);
    cr_expect_lt(strlen(text), sizeof text);
}
