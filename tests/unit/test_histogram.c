#include "bench/histogram.h"

#include <criterion/criterion.h>
#include <string.h>

/* The programs' files are in no library. */
#include "bench/histogram.c"

static struct histogram h;

static void reset(void)
{
    memset(&h, 0, sizeof h);
}

TestSuite(histogram, .init = reset);

Test(histogram, empty)
{
    cr_expect_eq(histogram_percentile(&h, 50), 0);
    cr_expect_eq(histogram_mean(&h), 0.0);
}

Test(histogram, small_values_are_exact)
{
    for (uint64_t v = 0; v < 100; v++)
        histogram_record(&h, v, 1);
    cr_expect_eq(histogram_percentile(&h, 50), 49);
    cr_expect_eq(histogram_percentile(&h, 100), 99);
    cr_expect_eq(histogram_percentile(&h, 1), 0);
}

Test(histogram, error_is_bounded_over_the_whole_range)
{
    for (uint64_t v = 1; v < UINT64_MAX / 3; v = v * 3 / 2 + 1) {
        reset();
        histogram_record(&h, v, 1);
        histogram_record(&h, UINT64_MAX / 2, 1); /* so that the maximum does not cap it */
        uint64_t got = histogram_percentile(&h, 50);
        cr_expect(got >= v && got - v <= v / 64 + 1, "%llu reads %llu", (unsigned long long)v,
                  (unsigned long long)got);
    }
}

Test(histogram, weights_and_merging)
{
    static struct histogram other;
    memset(&other, 0, sizeof other);
    histogram_record(&h, 10, 99);
    histogram_record(&other, 1000000, 1);
    histogram_merge(&h, &other);
    cr_expect_eq(h.count, 100);
    cr_expect_eq(h.max, 1000000);
    cr_expect_eq(histogram_mean(&h), (99 * 10 + 1000000) / 100.0);
    cr_expect_eq(histogram_percentile(&h, 99), 10);
    cr_expect_eq(histogram_percentile(&h, 99.5), 1000000);
}
