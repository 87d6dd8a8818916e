#include "bench/pace.h"

#include <criterion/criterion.h>

/* The programs' files are in no library. */
#include "bench/pace.c"

Test(pace, turns_are_due_at_equal_distances)
{
    struct pace p = {.begun_ns = 1000, .rate = 1000, .bundle = 10};
    cr_expect_eq(pace_due(&p, 999), 0);
    cr_expect_eq(pace_due(&p, 1000), 1, "the first is due at once");
    cr_expect_eq(pace_due(&p, 1000 + 9999999), 1);
    cr_expect_eq(pace_due(&p, 1000 + 10000000), 2);
    cr_expect_eq(pace_take(&p), 1000);
    cr_expect_eq(pace_take(&p), 1000 + 10000000);
    cr_expect_eq(pace_due(&p, 1000 + 10000000), 0);
    cr_expect_eq(pace_due(&p, 1000 + 1000000000), 99);
}

/* What a stall delayed is still due at the time at which it was due: its latency counts from there.
 */
Test(pace, a_late_turn_keeps_its_time)
{
    struct pace p = {.begun_ns = 0, .rate = 100, .bundle = 1};
    uint64_t second = 1000000000u;
    cr_expect_eq(pace_due(&p, second), 101);
    for (unsigned i = 0; i <= 100; i++)
        cr_expect_eq(pace_take(&p), i * 10000000u);
}

Test(pace, forgetting_leaves_the_newest)
{
    struct pace p = {.begun_ns = 0, .rate = 100, .bundle = 1};
    pace_forget(&p, 1000000000u, 5);
    cr_expect_eq(pace_due(&p, 1000000000u), 5);
    cr_expect_eq(pace_take(&p), 960000000u);
    pace_forget(&p, 1000000000u, 5);
    cr_expect_eq(pace_due(&p, 1000000000u), 4, "nothing is forgotten that may stay");
}

/* Highest rate, a year in: neither way overflows. */
Test(pace, long_runs_at_high_rates)
{
    struct pace p = {.begun_ns = 7, .rate = 1u << 30, .bundle = 4096};
    uint64_t year = UINT64_C(365) * 86400u, turns = year * (1u << 30) / 4096u;
    cr_expect_eq(pace_due(&p, 7 + year * 1000000000u), turns + 1);
    p.taken = turns;
    cr_expect_eq(pace_take(&p), 7 + year * 1000000000u);
}
