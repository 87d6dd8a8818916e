/**
 * bench/load.h - a closed loop of clients: each keeps so many operations outstanding, and sends the
 * next when one is answered.
 */
#ifndef PBFT_BENCH_LOAD_H
#define PBFT_BENCH_LOAD_H

#include "bench/histogram.h"
#include "client/pbft.h"

#include <stdio.h>

#define LOAD_VERIFY_BYTES 48u /* of a value: which write it is stands in the first bytes */

struct load_options {
    const char *cluster;
    uint32_t clients;  /* sessions, each a closed loop of its own */
    uint32_t conns;    /* connections to each replica that they share; 1 .. clients */
    uint32_t inflight; /* operations outstanding per client */
    uint32_t bundle;   /* operations of one request */
    uint32_t value_bytes;
    uint32_t keys; /* so many, from `first` on */
    uint32_t first;
    bool sequential; /* each in its turn, not drawn */
    uint32_t reads;  /* percent of requests that are fast reads */
    uint64_t seconds, warmup;
    uint64_t ops; /* stop after so many counted operations; 0: by time alone */
    uint64_t timeout_ns;
    FILE *timeline; /* a line "UNIX_MS OPS" every `interval_ms` of the counted time; may be NULL */
    uint64_t interval_ms;
    uint64_t rate; /* operations a second of all clients together, at most; 0: as fast as it goes */
    bool open;     /* with a rate: latency counts from when an operation was due, sent or not, and
                    * none that is due is left out (no coordinated omission) */
    bool verify; /* in the end read every key, which must hold what was last acknowledged; needs at
                  * least as many keys as requests outstanding, values of LOAD_VERIFY_BYTES, and
                  * not `sequential`. Keys are drawn uniformly from the share of each request */
};

struct load_result {
    uint64_t ops;            /* answered within the counted time */
    uint64_t errors;         /* time-outs and refusals, at any time */
    uint64_t wrong;          /* requests with a read of a value that was never written to its key */
    uint64_t overdue;        /* with a rate: due within the counted time and not sent by its end */
    uint64_t verified, lost; /* keys that held what was acknowledged, and that did not */
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
