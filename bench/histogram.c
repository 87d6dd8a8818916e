#include "bench/histogram.h"

#include <stddef.h>

static unsigned bucket_of(uint64_t value)
{
    if (value < 128) return (unsigned)value;
    unsigned shift = (unsigned)(63 - __builtin_clzll(value)) - 6u; /* value >> shift in [64, 128) */
    return shift * HISTOGRAM_STEPS + (unsigned)(value >> shift);
}

static uint64_t highest_in(unsigned bucket)
{
    if (bucket < 128) return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1u;
    uint64_t low = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return low + ((uint64_t)1 << shift) - 1;
}

void histogram_record(struct histogram *h, uint64_t value, uint64_t times)
{
    h->buckets[bucket_of(value)] += times;
    h->count += times;
    h->sum += (double)value * (double)times;
    if (value > h->max) h->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) into->max = from->max;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    if (h->count == 0) return 0;
    double wanted = (double)h->count * percent / 100.0;
    uint64_t rank = (uint64_t)wanted;
    if ((double)rank < wanted || rank == 0) rank++;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen < rank) continue;
        uint64_t value = highest_in(i);
        return value < h->max ? value : h->max;
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->count == 0 ? 0 : h->sum / (double)h->count;
}
