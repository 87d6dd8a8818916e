/**
 * bench/chain/sim.h - nodes (node.h) under virtual time: equal seeds give equal runs.
 *
 * The nodes are the real ones, down to SHA-256d, Merkle roots and signatures. Only two things are
 * drawn: how long a message takes, and when a miner finds a block, an exponential time whose mean
 * follows its share of the power and the target. The proof of work is then found for real, at
 * targets so easy that it takes a few hashes: one simulated hash stands for very many.
 */
#ifndef PBFT_BENCH_CHAIN_SIM_H
#define PBFT_BENCH_CHAIN_SIM_H

#include "bench/chain/node.h"
#include "bench/chain/random.h"

#define CHAIN_SIM_NODES 16u

struct chain_sim_config {
    uint64_t seed;
    uint32_t nodes; /* 1 .. CHAIN_SIM_NODES, each linked with every other */
    /* Hash power; 1.0 finds a block in params.spacing_ms at params.start_bits, on average. */
    double power[CHAIN_SIM_NODES];
    double delay_ms; /* of a message: uniform, from half of it to one and a half */
    struct chain_params params;
    /* May be NULL: node i's best chain changes. */
    void *context;
    void (*connected)(void *context, uint32_t node, const struct chain_block *block);
    void (*disconnected)(void *context, uint32_t node, const struct chain_block *block);
};

struct chain_sim; /* opaque */

struct chain_sim *chain_sim_new(const struct chain_sim_config *config); /* NULL: out of memory */
void chain_sim_free(struct chain_sim *s);

struct chain_node *chain_sim_node(struct chain_sim *s, uint32_t node);
double chain_sim_now_ms(const struct chain_sim *s); /* since genesis */

/* One event. False: nothing would ever happen. */
bool chain_sim_step(struct chain_sim *s);
void chain_sim_run(struct chain_sim *s, double until_ms);

/* Nodes of `group` (a bitmap) and the others no longer hear each other; messages on the way are
 * lost. Replaces an earlier cut; 0 heals. */
void chain_sim_cut(struct chain_sim *s, uint32_t group);
void chain_sim_power(struct chain_sim *s, uint32_t node, double power);
/* From now on it tampers with what it sends: blocks with wrong work, root or operations, blocks
 * with a forged operation under fitting work, garbage; it withholds some, and every operation. */
void chain_sim_liar(struct chain_sim *s, uint32_t node);
/* Nodes that no longer listen to `node`. */
uint32_t chain_sim_banned_by(const struct chain_sim *s, uint32_t node);

enum chain_verdict chain_sim_submit(struct chain_sim *s, uint32_t node, struct pbft_span frame);

/* Whether all nodes of `group` have one tip. */
bool chain_sim_agree(struct chain_sim *s, uint32_t group);

#endif
