/* Shared by load.c (sessions, the loop and its phases), load_ops.c (what is sent, and whether an
 * answer is right) and load_verify.c (whether what was acknowledged is there). */
#ifndef PBFT_BENCH_LOAD_INTERNAL_H
#define PBFT_BENCH_LOAD_INTERNAL_H

#include "bench/load.h"
#include "bench/pace.h"
#include "service/kv.h"

#include <pthread.h>
#include <stdatomic.h>

#define KEY_BYTES 16u
#define OP_SLACK  32u /* op code and lengths of an encoded operation */

enum phase { WARMUP, COUNTED, DRAIN, VERIFY };

struct load {
    const struct load_options *options;
    atomic_int phase;
    atomic_uint_fast64_t ops, errors, wrong, verified, lost;
    atomic_uint outstanding;
    atomic_uint_fast64_t turn; /* of the next key, if they are taken in turn */
    uint32_t slots;            /* of all clients */
    uint64_t *acknowledged;    /* with `verify`, by key: see load_verify.c; else NULL */
    pthread_mutex_t lock;      /* guards `idle` and what follows */
    pthread_cond_t idle;
    uint64_t noted_ns, noted_ops;      /* of the timeline */
    struct slot *parked, *parked_last; /* with a rate: those whose turn has not come */
    struct pace pace;
};

struct client;

/* One outstanding request, again and again. */
struct slot {
    struct client *client;
    struct slot *next; /* parked */
    uint64_t begun_ns; /* sent, or, in an open loop, due */
    uint32_t number;   /* of all slots */
    uint32_t count;    /* operations */
    bool read;
    bool counted;
    struct pbft_span *ops;
    uint32_t *keys;       /* of the operations */
    uint8_t *bytes;       /* encoded operations */
    uint64_t first_write; /* the number of its first value; the others follow */
    uint32_t cursor;      /* of verifying: the next of its keys */
};

/* One session: a closed loop of its own, over the connections of a handle. */
struct client {
    struct load *load;
    struct pbft_client *handle; /* shared */
    uint32_t session;           /* of the handle */
    uint64_t random;
    uint32_t number;
    uint64_t writes;
    struct slot *slots;
    uint32_t slot_count;
    struct histogram latency; /* touched by the handle's thread only */
};

/* ---- load.c ---- */

void load_slot_ended(struct slot *s);

/* ---- load_ops.c ---- */

size_t load_key(uint32_t key, char out[KEY_BYTES + 1]);
/* What a value begins with: its key, its writer and the writer's count. Returns its size. */
int load_value_head(uint32_t key, uint32_t client, uint64_t number, char out[64]);
/* Fill the slot with its next request: a bundle of puts, or of fast reads. */
void load_next(struct slot *s);
void load_write(struct slot *s);
/* Count a bundle of reads that lacks one, or has a value that was never written to its key. */
void load_judge_reads(const struct slot *s, const struct pbft_answer *answer);

/* ---- load_verify.c ---- */

enum pbft_status load_verify_begin(struct load *load);
/* A key of the slot's own: nobody else writes it. */
uint32_t load_verify_draw(const struct slot *s, uint64_t random);
void load_verify_wrote(const struct slot *s, enum pbft_status status);
/* Nothing is outstanding: read every key that was written, and count those that hold something
 * else. Returns when reading has begun; it is over when nothing is outstanding again. */
void load_verify_run(struct load *load, struct client *clients);

#endif
