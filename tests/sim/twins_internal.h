/**
 * tests/sim/twins_internal.h - one world of twins, shared by twins*.c.
 */
#ifndef PBFT_TESTS_SIM_TWINS_INTERNAL_H
#define PBFT_TESTS_SIM_TWINS_INTERNAL_H

#include "replica/node.h"
#include "replica/pool.h"
#include "tests/sim/alarm.h"
#include "tests/sim/statement.h"
#include "tests/sim/twins.h"

#define CLIENTS      2u
#define REQUESTS_MAX ((TWINS_ROUNDS_MAX + 1u) * CLIENTS)
#define EXECUTED_MAX 256u
#define NOTES_MAX    8192u
#define NOTES_INDEX  16384u /* a power of two */

struct instance {
    struct pbft_node *node;
    struct pbft_log *log;
    struct pbft_node_hooks hooks;
    struct twins *world;
    uint32_t number;
    pbft_id id;
    bool correct;
    bool second;
    /* checks */
    pbft_view view;
    pbft_seq executing, stable;
};

struct packet {
    struct pbft_frame *frame;
    uint8_t from, to; /* instances; `from` >= TWINS_INSTANCES_MAX: a client */
};

/* What somebody said or did, under two numbers. */
struct note {
    uint64_t a, b;
    uint64_t number;
    struct pbft_digest value;
};

struct twins {
    struct twins_options o;
    struct pbft_cluster cluster;
    struct pbft_public_key client_keys[CLIENTS];
    struct pbft_keypair keys[TWINS_REPLICAS_MAX + CLIENTS];
    struct pbft_pool *pool;
    uint32_t count;
    struct instance instances[TWINS_INSTANCES_MAX];
    uint64_t now_ns;
    uint64_t random;
    uint8_t group[TWINS_INSTANCES_MAX];
    struct packet *queue; /* ring */
    size_t queue_first, queue_count, queue_capacity;
    unsigned rounds;
    bool healing;
    struct pbft_frame *requests[REQUESTS_MAX];
    uint32_t request_count;     /* handed out so far */
    uint64_t requests_executed; /* bit for each */
    struct pbft_digest executed[EXECUTED_MAX];
    pbft_seq executed_count;
    pbft_seq executed_in_rounds;
    struct note *notes;
    uint32_t note_count;
    uint16_t *note_index;
    struct twins_counts counts;
    uint64_t hash;
    FILE *trace;
    bool failed;
    char failure[TWINS_LINE_BYTES];
};

#define twins_fail(w, ...)                                                                         \
    do {                                                                                           \
        ALARM(alarm_here, __VA_ARGS__);                                                            \
        twins_fail_at(w, alarm_here, __VA_ARGS__);                                                 \
    } while (0)
__attribute__((format(printf, 3, 4))) void twins_fail_at(struct twins *w, const char *alarm,
                                                         const char *format, ...);
uint64_t twins_random(uint64_t *state, uint64_t below);

/* twins_check.c */
bool twins_check_new(struct twins *w);
void twins_check_free(struct twins *w);
void twins_check_effects(struct instance *i, const struct pbft_effects *effects);
void twins_check_sent(struct instance *i, struct pbft_frame *frame);
void twins_check_state(struct instance *i);
/* A correct replica is shown this frame. */
void twins_check_shown(struct twins *w, const struct pbft_frame *frame);
/* Every correct replica has executed everything that was ever asked for. */
bool twins_check_done(struct twins *w);
uint64_t twins_bytes_hash(struct pbft_span bytes);

#endif
