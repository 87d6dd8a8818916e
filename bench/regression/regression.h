/**
 * bench/regression/regression.h - what the rows of the regression bench share: counting under
 * valgrind, chance, and operations.
 *
 * Each row is a deterministic, single-threaded run of real code. Valgrind counts the instructions
 * between count_begin() and count_end(), of the program and of all that it calls in user space;
 * bench/regression.sh divides them by the operations and compares them with the baseline.
 */
#ifndef PBFT_BENCH_REGRESSION_H
#define PBFT_BENCH_REGRESSION_H

#include "crypto/cluster.h"
#include "crypto/keys.h"
#include "pbft/types.h"

#define KEY_BYTES   16u
#define VALUE_BYTES 100u
#define OP_BYTES    160u /* room for an encoded put of these */

/* What follows is counted, until count_end(): a row of this name, and how many operations it was.
 * The name goes with them into a file of valgrind's. */
void count_begin(void);
void count_end(const char *row, uint64_t operations);

/* Whether valgrind counts. */
bool count_possible(void);

/* The bench can not go on: says why and ends the process with 2. */
_Noreturn void fail(const char *why);
static inline void must(bool holds, const char *why)
{
    if (!holds) fail(why);
}

/* splitmix64: equal runs draw equal numbers. */
uint64_t next_random(uint64_t *state);

/* "key-0000000017" into `out`. */
struct pbft_span key_of(uint64_t number, uint8_t out[KEY_BYTES]);
/* An encoded put, or get, of the service kv into `out`, OP_BYTES. */
struct pbft_span put_of(uint64_t number, uint64_t value, uint8_t *out);
struct pbft_span get_of(uint64_t number, uint8_t *out);
/* `count` puts, or gets, of keys drawn below `keys`, each behind its length as in struct
 * pbft_request.ops; `out` has count * (4 + OP_BYTES) bytes. */
struct pbft_span puts_of(uint32_t count, uint64_t keys, uint64_t *random, uint8_t *out);
struct pbft_span gets_of(uint32_t count, uint64_t keys, uint64_t *random, uint8_t *out);

/* n replicas and `clients` clients with keys that follow from their places; sealed. `keys` takes
 * those of the replicas, then those of the clients. Ends with cluster_free(). */
void cluster_make(struct pbft_cluster *cluster, uint32_t n, uint32_t clients,
                  struct pbft_keypair *keys);
void cluster_free(struct pbft_cluster *cluster);

/* ---- the rows ---- */

void rows_ordered(void);    /* whole clusters */
void rows_state(void);      /* service, tree, checkpoint */
void rows_wire(void);       /* frames: encode and sign, open */
void rows_connection(void); /* channel, vote log */

#endif
