/* The alarms of a run's second phase (FAULTS 3.21) ring. */
#include "tests/sim/world.h"

#include <criterion/criterion.h>
#include <string.h>

/* A replica that came back with its log and is then left out for ever is missed, and by nobody
 * else: the others answer everything without it. */
Test(liveness, whoever_came_back_with_its_log_must_catch_up)
{
    unsigned missed = 0, resumed = 0;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct sim_world_options options = {.seed = seed, .n = 4, .fast_signatures = true};
        struct sim_world_result with, without;
        sim_world_run(&options, &with);
        cr_expect(with.ok, "%s", with.failure);
        if (with.reached[SIM_REACH_RESUMED] == 0) continue;
        resumed++;
        options.strand = true;
        sim_world_run(&options, &without);
        if (without.ok) continue; /* a power loss of everybody: none of these is a culprit */
        missed++;
        cr_expect_not_null(strstr(without.failure, "FAULTS 3.21: after healing"), "%s",
                           without.failure);
        cr_expect_not_null(strstr(without.failure, "0 operations wait, states differ"), "%s",
                           without.failure);
    }
    cr_expect_geq(missed, 3, "of %u", resumed);
}

/* What a run does so that a liar becomes primary is not counted as a fault that was drawn. */
Test(liveness, isolations_that_nobody_drew_are_not_counted)
{
    unsigned forced = 0;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct sim_world_options options = {.seed = seed, .n = 4, .fast_signatures = true};
        struct sim_world_result r;
        sim_world_run(&options, &r);
        cr_expect(r.ok, "%s", r.failure);
        if ((r.configured >> SIM_FAULT_ISOLATION & 1u) != 0) continue;
        forced += r.faults[SIM_FAULT_FORGE_NEW_VIEW] > 0;
        cr_expect_eq(r.faults[SIM_FAULT_ISOLATION], 0, "seed %llu", (unsigned long long)seed);
    }
    cr_expect_gt(forced, 0);
}
