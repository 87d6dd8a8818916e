/**
 * bench/chain/race.h - how safe a confirmation is, and what a selfish miner earns: the formulas,
 * and Monte Carlo of the races that they describe. No blocks here, only who finds the next one; the
 * same races over real nodes are in scenario.h.
 *
 * q is the attacker's share of the hash power, 0 < q < 1; k the confirmations that the victim waits
 * for.
 */
#ifndef PBFT_BENCH_CHAIN_RACE_H
#define PBFT_BENCH_CHAIN_RACE_H

#include "bench/chain/random.h"

/* Measured: successes of runs, and Wilson's 95 % interval. */
struct chain_measured {
    uint64_t runs, hits;
    double value, low, high;
};
struct chain_measured chain_measured_of(uint64_t hits, uint64_t runs);

/* Bitcoin's paper, section 11. It takes the attacker's progress for Poisson distributed, which it
 * would be if the honest network needed exactly the expected time. 1 where q >= 1/2. */
double chain_race_nakamoto(double q, uint32_t k);
/* Rosenfeld, "Analysis of hashrate-based double spending" (2012), eq. 1: the progress is negative
 * binomial. The exact value of the same race. */
double chain_race_rosenfeld(double q, uint32_t k);

/* A deficit of so many blocks counts as lost: at q = 0.45 the chance left is (9/11)^100 < 2e-9. */
#define CHAIN_RACE_LOST 100u

/**
 * The attacker has mined one block ahead, the network finds k more, he what he finds meanwhile;
 * then he goes on until his branch is the longer one, or CHAIN_RACE_LOST blocks behind.
 */
struct chain_measured chain_race_measure(struct chain_random *r, double q, uint32_t k,
                                         uint64_t runs);

/* Eyal and Sirer, "Majority is not enough" (2014), eq. 8: the share of the blocks that a pool with
 * `alpha` < 1/2 of the power gets, when `gamma` of the others mine on its block in a tie. */
double chain_selfish_formula(double alpha, double gamma);
/* Their state machine over so many block discoveries; runs counts blocks of the final chain. */
struct chain_measured chain_selfish_measure(struct chain_random *r, double alpha, double gamma,
                                            uint64_t discoveries);

#endif
