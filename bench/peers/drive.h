/**
 * bench/peers/drive.h - a closed loop over one of the systems in peer.h: each of so many slots
 * keeps one operation outstanding, and sends the next when it is answered. One thread, epoll.
 */
#ifndef PBFT_BENCH_PEERS_DRIVE_H
#define PBFT_BENCH_PEERS_DRIVE_H

#include "bench/histogram.h"
#include "bench/peers/peer.h"

struct drive_options {
    const struct peer *peer;
    const char *endpoints[16]; /* connection i goes to i modulo their number */
    uint32_t endpoint_count;
    uint32_t conns; /* 1 .. outstanding */
    uint32_t outstanding;
    uint32_t value_bytes; /* VALUE_BYTES_MIN at least */
    uint32_t keys;
    bool sequential; /* each key in its turn, not drawn */
    uint32_t reads;  /* percent of operations that are linearizable reads */
    uint64_t seconds, warmup;
    uint64_t ops;   /* if `seconds` is 0: so many, and no warm-up */
    uint32_t check; /* keys read back at the end, at most */
    uint32_t wait_replicas;
    uint64_t timeout_ns; /* without any answer */
};

struct drive_result {
    uint64_t ops;     /* begun and answered within the counted time */
    uint64_t errors;  /* operations that failed, at any time */
    uint64_t wrong;   /* values, read in the loop or back, that a correct store does not return */
    uint64_t missing; /* reads that found no such key */
    uint64_t checked; /* keys that were read back */
    double seconds;   /* counted */
    double client_cpu_s;
    struct histogram latency; /* nanoseconds */
};

/* Runs to the end; `start` and `stop` are called as the counted time begins and ends. False: it
 * broke off, and why stands in `error`. */
bool drive_run(const struct drive_options *options, void (*start)(void *), void (*stop)(void *),
               void *context, struct drive_result *result, char error[256]);

#endif
