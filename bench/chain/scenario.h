/**
 * bench/chain/scenario.h - what a chain does when the network parts, a node lies, or somebody has
 * most of the hash power: simulated nodes (sim.h), measured.
 *
 * Each returns false only when memory ran out. Times are virtual. Confirmations count the block
 * that an operation is in.
 */
#ifndef PBFT_BENCH_CHAIN_SCENARIO_H
#define PBFT_BENCH_CHAIN_SCENARIO_H

#include "bench/chain/race.h"
#include "bench/chain/sim.h"

#define CHAIN_SAFE 6u /* confirmations that people wait for */

/* Eight equal nodes; three of them are cut off for a while. Clients go on at both sides, and one
 * request in five is signed twice, for the one side and for the other. */
struct chain_partition_result {
    double spacing_ms, cut_ms;
    uint64_t majority_blocks, minority_blocks; /* found while parted */
    uint64_t minority_confirmed; /* operations in the minority's blocks when the cut healed */
    uint64_t minority_safe;      /* of these, with CHAIN_SAFE confirmations or more */
    uint64_t reversed;           /* operations that the healing took back */
    uint64_t reversed_safe;      /* of these, with CHAIN_SAFE confirmations or more */
    uint64_t spent_twice;        /* whose other version stands in the end */
    uint64_t depth;              /* blocks that were abandoned */
    double agreed_ms;            /* from healing until all had one tip */
    bool agreed;
};
bool chain_scenario_partition(uint64_t seed, struct chain_partition_result *out);

/* Eight equal nodes, one of which lies (chain_sim_liar()) about all that it sends. */
struct chain_liar_result {
    uint64_t submitted, confirmed; /* operations of honest clients, on the honest nodes */
    uint64_t dropped[CHAIN_VERDICT_COUNT];
    uint32_t banned_by;     /* honest nodes that no longer listen to it */
    uint64_t false_values;  /* operations on the honest chain that nobody signed */
    double blocks_expected; /* of its time, without the liar's power */
    uint64_t blocks;
    bool agreed; /* the honest nodes, in the end */
};
bool chain_scenario_liar(uint64_t seed, struct chain_liar_result *out);

/* A miner with `share` of the power works in secret on a branch with a double spend, until the
 * victim has seen CHAIN_SAFE confirmations and his branch has more work. */
struct chain_majority_result {
    double share;
    bool reversed;
    uint64_t confirmations; /* that the victim saw at best */
    uint64_t depth;         /* blocks that were abandoned */
    double attack_ms;       /* until he published */
    double spacing_ms;
};
bool chain_scenario_majority(uint64_t seed, double share, struct chain_majority_result *out);

/* The race of chain_race_measure(), over real nodes: `trials` double spends by one with share `q`
 * against k confirmations. He gives up `lost` blocks behind. */
bool chain_scenario_double_spend(uint64_t seed, double q, uint32_t k, uint32_t trials,
                                 uint32_t lost, struct chain_measured *out);

/* Eight equal honest nodes for so many blocks: how often they fork. */
struct chain_forks_result {
    double spacing_ms, delay_ms;
    uint64_t blocks, found; /* on the best chain, in all */
    uint64_t reorganisations, deepest;
};
bool chain_scenario_forks(uint64_t seed, double delay_ms, uint64_t blocks,
                          struct chain_forks_result *out);

#endif
