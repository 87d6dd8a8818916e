/**
 * bench/regression/nodes.h - a cluster in one thread: real nodes with their vote logs on disks in
 * memory, and real client cores, in closed loops. Frames and jobs take fixed times of a virtual
 * clock, nothing is lost and nobody lies, so that equal code runs equal instructions.
 *
 * What lies between the processes is not in it: connections, channels, threads.
 */
#ifndef PBFT_BENCH_REGRESSION_NODES_H
#define PBFT_BENCH_REGRESSION_NODES_H

#include "crypto/signer.h"
#include "pbft/types.h"

struct nodes; /* opaque */

struct nodes_options {
    const struct pbft_signer *signer;
    uint32_t clients; /* each with one bundle outstanding */
    uint32_t bundle;  /* puts of a request, or gets of a fast read */
    uint64_t keys;    /* that they are drawn from */
};

struct nodes *nodes_new(const struct nodes_options *options);
void nodes_free(struct nodes *nodes);
/* Each client has so many requests answered, one after the other. */
void nodes_put(struct nodes *nodes, uint32_t requests);
/* The same with fast reads. */
void nodes_read(struct nodes *nodes, uint32_t reads);
/* Batches that replica 0 has executed, and its newest stable checkpoint. */
uint64_t nodes_batches(const struct nodes *nodes);
pbft_seq nodes_stable(const struct nodes *nodes);

#endif
