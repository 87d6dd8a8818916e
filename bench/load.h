/**
 * bench/load.h - a closed loop of clients: each keeps so many operations outstanding, and sends the
 * next when one is answered.
 */
#ifndef PBFT_BENCH_LOAD_H
#define PBFT_BENCH_LOAD_H

#include "bench/histogram.h"
#include "client/pbft.h"

#include <stdio.h>

struct load_options {
    const char *cluster;
    uint32_t clients;  /* sessions, each a closed loop of its own */
    uint32_t conns;    /* connections to each replica that they share; 1 .. clients */
    uint32_t inflight; /* operations outstanding per client */
    uint32_t bundle;   /* operations of one write request */
    uint32_t value_bytes;
    uint32_t keys; /* so many, from `first` on */
    uint32_t first;
    bool sequential; /* each in its turn, not drawn */
    uint32_t reads;  /* percent of operations that are fast reads */
    uint64_t seconds, warmup;
    uint64_t ops; /* stop after so many counted operations; 0: by time alone */
    uint64_t timeout_ns;
    FILE *timeline; /* a line "UNIX_MS OPS" every `interval_ms` of the counted time; may be NULL */
    uint64_t interval_ms;
    uint64_t rate; /* operations a second of all clients together, at most; 0: as fast as it goes */
};

struct load_result {
    uint64_t ops;    /* answered within the counted time */
    uint64_t errors; /* time-outs and refusals, at any time */
    uint64_t wrong;  /* reads whose value was not one that was ever written to that key */
    uint64_t wrong_replies, fallbacks, retransmissions;
    double seconds; /* counted */
    double client_cpu_s;
    struct histogram latency; /* nanoseconds, one for each operation */
};

/* Runs to the end. `progress`: a line a second on standard error. `start` and `stop` are called as
 * the counted time begins and ends. On failure says why in `error`. */
enum pbft_status load_run(const struct load_options *options, bool progress, void (*start)(void *),
                          void (*stop)(void *), void *context, struct load_result *result,
                          char error[256]);

#endif
