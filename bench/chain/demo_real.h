/**
 * bench/chain/demo_real.h - the part of the demo that really happens: four miners, a cut, the
 * reorganisation, and the file that is left.
 */
#ifndef PBFT_BENCH_CHAIN_DEMO_REAL_H
#define PBFT_BENCH_CHAIN_DEMO_REAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Figures go to "real" of `all`. Returns an exit code: 0, 1 it did not come out as it must, 3. */
int chain_demo_real(uint64_t cut_seconds, bool quiet, json_t *all);

#endif
