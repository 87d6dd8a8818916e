/**
 * bench/pace.h - when a load of a given rate sends: turn k is due k * bundle / rate after the
 * beginning. Arithmetic alone; the caller brings the clock and the lock.
 */
#ifndef PBFT_BENCH_PACE_H
#define PBFT_BENCH_PACE_H

#include <stdint.h>

struct pace {
    uint64_t begun_ns;
    uint64_t rate;   /* operations a second, at least 1 */
    uint64_t bundle; /* operations of one turn, at least 1 */
    uint64_t taken;  /* turns, the forgotten ones included */
};

/* When turn `turn` is due, nanoseconds of the clock of begun_ns. */
uint64_t pace_time(const struct pace *p, uint64_t turn);
/* Turns that are due at `now_ns` and were not taken. */
uint64_t pace_due(const struct pace *p, uint64_t now_ns);
/* Take the next turn; returns when it was due. Ask pace_due() before. */
uint64_t pace_take(struct pace *p);
/* Of those that are due, the oldest are forgotten until `keep` are left: a stall is then not
 * followed by a storm. */
void pace_forget(struct pace *p, uint64_t now_ns, uint64_t keep);

#endif
