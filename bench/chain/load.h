/**
 * bench/chain/load.h - operations at a rate into a station, and how long each takes until it has
 * one confirmation, and so many.
 */
#ifndef PBFT_BENCH_CHAIN_LOAD_H
#define PBFT_BENCH_CHAIN_LOAD_H

#include "bench/chain/client.h"
#include "bench/chain/station.h"
#include "bench/histogram.h"

struct chain_waiting;

struct chain_load {
    struct chain_client client;
    double requests_per_s;
    uint32_t confirmations; /* that count as final */
    uint64_t started_ns, until_ns;
    struct chain_waiting *waiting; /* in the order of their submission */
    size_t count, capacity;
    struct pbft_digest seen_tip;
    uint64_t submitted, refused; /* REQUESTs */
    uint64_t once, final;        /* REQUESTs that had one confirmation, all of them */
    uint64_t reversed;           /* confirmations that were taken back */
    uint64_t last_final_ns;
    struct histogram first_latency, final_latency;
};

/* From now on for so many seconds. */
void chain_load_start(struct chain_load *l, double seconds);
/* Submit what is due, look at what is confirmed. */
void chain_load_step(struct chain_load *l, struct chain_station *s);
void chain_load_free(struct chain_load *l);
uint64_t chain_load_clock_ns(void);

#endif
