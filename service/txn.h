/**
 * service/txn.h - what stands behind struct pbft_txn and struct pbft_view_txn. For the engine
 * (replica/apply) and for tests of services; services include service/service.h only.
 *
 * The service's keys live in the state tree under one first byte, so that no service can reach the
 * engine's own keys. It sorts before all of them, and what changes with every batch sorts last:
 * the change marks of the service's pages stay apart from the engine's writes.
 */
#ifndef PBFT_SERVICE_TXN_H
#define PBFT_SERVICE_TXN_H

#include "service/service.h"
#include "store/tree.h"

#define PBFT_TXN_KEYSPACE 0x10u

struct pbft_txn {
    struct pbft_tree *tree;
    const struct pbft_params *params;
    uint64_t mark;     /* the batch's sequence number: change mark of every write */
    uint8_t *value;    /* value_max_bytes + slack: a value is put together here */
    unsigned scanning; /* scans under way; they forbid changes */
};

struct pbft_view_txn {
    struct pbft_tree *tree; /* never changed but for what it remembers of prefetches */
    const struct pbft_params *params;
};

/* tree and params are borrowed. False: out of memory. */
bool pbft_txn_init(struct pbft_txn *txn, struct pbft_tree *tree, const struct pbft_params *params);
void pbft_txn_release(struct pbft_txn *txn);

#endif
