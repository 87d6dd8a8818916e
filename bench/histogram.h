/**
 * bench/histogram.h - a log-linear histogram of durations: 64 linear steps in each power of two, so
 * that a percentile is wrong by at most 1.6 % from 1 ns to 2^63 ns, in fixed memory.
 */
#ifndef PBFT_BENCH_HISTOGRAM_H
#define PBFT_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   64u
#define HISTOGRAM_BUCKETS 3776u /* 59 powers of two */

struct histogram {
    uint64_t count;
    uint64_t max; /* exact */
    double sum;   /* exact up to 2^53 ns: 104 days */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t value, uint64_t times);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Highest value equivalent to the one below which `percent` (0 .. 100) of the recorded lie; 0 when
 * nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h); /* 0 when nothing was recorded */

#endif
