/**
 * replica/runtime.h - the world around replica/node: threads, sockets, signals, log and endpoints.
 *
 * One core thread (the caller's) owns the net's poll and the node. Jobs run inline on it or on
 * worker threads (`threads` in node.conf); HTTP handlers and the signal thread see copies only.
 */
#ifndef PBFT_REPLICA_RUNTIME_H
#define PBFT_REPLICA_RUNTIME_H

#include "crypto/epoch.h"
#include "net/net.h"
#include "replica/config.h"
#include "replica/logline.h"
#include "replica/node.h"
#include "replica/pbft_replica.h"
#include "replica/pool.h"

/* What one epoch leaves to the next (crypto/epoch.h). */
struct pbft_runtime_epoch {
    struct pbft_apply
        *state;       /* in: of the epoch before, the runtime's now; out: its own. NULL: none */
    pbft_seq flushed; /* the newest checkpoint of it on disk */
    bool over;        /* out: the epoch has ended, and `proof` leads to the next one */
    bool mute;        /* out: this replica had lost its memory */
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    size_t proof_size;
};

struct pbft_runtime_config {
    const struct pbft_replica_config *replica;
    const struct pbft_cluster_config *cluster; /* with its genesis root */
    const char *dir;                           /* where this epoch's files lie */
    struct pbft_runtime_epoch *epoch;
    const char *config_path; /* read again on HUP */
    const struct pbft_keypair *keypair;
    const struct pbft_service *service;
    struct pbft_logger *logger;
    struct pbft_superblock *superblock; /* open; this start is not marked yet */
    struct pbft_superblock_owner owner; /* of the data directory */
    struct pbft_pool *pool, *client_pool;
    const struct pbft_node_hooks *hooks;            /* may be NULL */
    const struct pbft_replica_extension *extension; /* started; may be NULL */
};

/* Block the signals that a runtime waits for, in this thread and all that it starts. Before any
 * other thread exists. */
void pbft_runtime_block_signals(void);

/**
 * Load, listen, dial, mark the start (a start that fails or is told to stop before is none), then
 * serve until TERM or INT, or until the epoch is over, then drain and stop. All that it opened is
 * closed and freed when it returns; a second signal, or two seconds without an end, end the process
 * with code 1.
 *
 * Returns  PBFT_EXIT_CLEAN or PBFT_EXIT_FAILURE; why is in the log
 */
int pbft_runtime_run(const struct pbft_runtime_config *config);

/* pbft_log_level from the level in a configuration file. */
enum pbft_log_level pbft_runtime_log_level(enum pbft_config_level level);

#endif
