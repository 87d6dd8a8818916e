/**
 * tests/sim/mutator_internal.h - the adversary without a plan, shared by mutator*.c.
 */
#ifndef PBFT_TESTS_SIM_MUTATOR_INTERNAL_H
#define PBFT_TESTS_SIM_MUTATOR_INTERNAL_H

#include "tests/sim/mutator.h"

#define MUTATOR_RECORDS 96u /* frames remembered, for replays and delays */
#define MUTATOR_DIGESTS 64u
#define MUTATOR_HEARD   32u /* VIEW-CHANGEs */
#define MUTATOR_ENTRIES 64u /* of a VIEW-CHANGE or NEW-VIEW */

struct mutating {
    struct mutator *m;
    pbft_id id;
    struct pbft_node_hooks hooks;
    bool shy; /* drops nearly everything for a while */
};

/* A VIEW-CHANGE of anybody's. */
struct heard {
    pbft_view view;
    pbft_id sender;
    struct pbft_digest digest;
};

struct mutator {
    struct sim *sim;
    const struct pbft_cluster *cluster;
    uint32_t n;
    pbft_signers liars;
    struct mutating liar[PBFT_REPLICAS_MAX];
    uint32_t per_mille;
    uint64_t acts;
    struct pbft_frame *records[MUTATOR_RECORDS];
    struct pbft_digest digests[MUTATOR_DIGESTS];
    size_t digest_next;
    struct heard heard[MUTATOR_HEARD];
    size_t heard_count;        /* ever; the last ones are kept */
    pbft_view high_view;       /* highest that a correct replica spoke of */
    pbft_seq high_seq, stable; /* likewise, and the highest low mark */
    struct pbft_arena arena;
};

/* mutator.c */
uint64_t mutator_roll(struct mutator *m, uint64_t below);
bool mutator_chance(struct mutator *m, uint32_t per_mille);
const struct pbft_params *mutator_params(const struct mutator *m);
struct pbft_digest mutator_digest(struct mutator *m);   /* one that was heard, mostly */
uint64_t mutator_number(struct mutator *m, uint64_t x); /* another one */
pbft_seq mutator_near_seq(struct mutator *m);

/* mutator_alter.c: this frame, spoilt; NULL: nothing came of it. The caller owns it. */
struct pbft_frame *mutator_altered(struct mutator *m, pbft_id as, const struct pbft_frame *frame);
/* Signed as `as`, if its type is signed. */
void mutator_resign(struct mutator *m, pbft_id as, struct pbft_frame *frame);
struct pbft_frame *mutator_copy(struct mutator *m, const struct pbft_frame *frame);
void mutator_alter_status(struct mutator *m, struct pbft_status_msg *status);

/* mutator_claims.c: statements about what others signed, wrong in one thing only. `as` signs.
 * NULL: nothing came of it. */
struct pbft_frame *mutator_claim_view_change(struct mutator *m, pbft_id as,
                                             const struct pbft_view_change *in);
struct pbft_frame *mutator_claim_new_view(struct mutator *m, pbft_id as,
                                          const struct pbft_new_view *in);
struct pbft_frame *mutator_claim_certificate(struct mutator *m, pbft_id as,
                                             const struct pbft_certificate *in);

#endif
