/**
 * tests/sim/observe.h - what happens in a simulated world, told as it happens.
 *
 * The fixture tells one observer about every delivery, loss, refusal, execution, view, fault and
 * lie. The timeline, the diagram and --explain are observers; the world itself never looks at them,
 * so that a run with one and a run without have equal trace hashes.
 */
#ifndef PBFT_TESTS_SIM_OBSERVE_H
#define PBFT_TESTS_SIM_OBSERVE_H

#include "pbft/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum sim_seen_kind {
    SIM_SEEN_DELIVERED, /* a frame reached its receiver; verdict: what the receiver said */
    SIM_SEEN_LOST,      /* a frame that the network, a filter or a dead receiver swallowed */
    SIM_SEEN_EXECUTED,  /* replica `from` hands seq to execution; claim.seq, claim.view, digest */
    SIM_SEEN_VIEW,      /* replica `from`: claim.view; active says whether it was installed */
    SIM_SEEN_STABLE,    /* replica `from`: claim.seq is its stable checkpoint now */
    SIM_SEEN_TRANSFER,  /* replica `from` begins a state transfer to claim.seq */
    SIM_SEEN_EVIDENCE,  /* replica `from` accuses `to` */
    SIM_SEEN_LOG,       /* a log line of replica `from`: text */
    SIM_SEEN_FAULT,     /* the world does something: text ("replica 2 is killed") */
    SIM_SEEN_LIE,       /* a Byzantine replica or a hostile client `from` acts: text */
    SIM_SEEN_SUBMITTED, /* client `from`: operation `number`, text */
    SIM_SEEN_ANSWERED,  /* client `from`: operation `number`, text */
    SIM_SEEN_FAILURE,   /* an invariant broke: text; the last thing that is told */
};

struct sim_seen {
    enum sim_seen_kind kind;
    uint64_t at_ns;   /* virtual time */
    uint64_t sent_ns; /* DELIVERED, LOST: when it was sent */
    bool from_client, to_client;
    uint32_t from, to; /* replica id, or client index */
    bool byzantine;    /* `from` is a Byzantine replica or a hostile client */
    bool active;       /* VIEW */
    struct pbft_claim claim;
    uint32_t size; /* of the frame */
    enum pbft_verdict verdict;
    uint64_t number;
    const char *text; /* for the call */
};

typedef void sim_observer(void *context, const struct sim_seen *seen);

#endif
