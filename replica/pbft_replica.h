/**
 * replica/pbft_replica.h - a replica of one's own: write `execute`, call pbft_replica_main().
 *
 *     static void execute(void *context, struct pbft_txn *txn, const struct pbft_call *call,
 *                         struct pbft_span op, struct pbft_result *result) { ... }
 *     static const struct pbft_service service = {.name = "counter", .execute = execute};
 *     int main(int argc, char **argv) { return pbft_replica_main(argc, argv, &service); }
 *
 * The program takes pbftd's options, reads the same files and serves the same endpoints; see
 * examples/counter.c, service/service.h and docs/configuration.md.
 */
#ifndef PBFT_REPLICA_H
#define PBFT_REPLICA_H

#include "service/service.h"

/* Exit codes. */
#define PBFT_EXIT_CLEAN   0
#define PBFT_EXIT_FAILURE 1 /* at run time: network, memory, a vote log that failed */
#define PBFT_EXIT_USAGE   2
#define PBFT_EXIT_CONFIG  3
#define PBFT_EXIT_DATA    4 /* damaged or foreign data */

/**
 * Run one replica until it is told to stop (TERM, INT). Blocks signals and starts threads: call it
 * from main(), first, with the program's arguments.
 *
 * service  outlives the call; its name must be the one in cluster.conf
 * Returns  one of PBFT_EXIT_*
 */
int pbft_replica_main(int argc, char **argv, const struct pbft_service *service);

/* ---- for replicas that misbehave on purpose (replica/faults), never linked into pbftd ---- */

struct pbft_cluster;
struct pbft_frame_pool;
struct pbft_keypair;
struct pbft_node;
struct pbft_node_hooks;
struct pbft_signer;

/* What a replica is, once that is known. */
struct pbft_replica_identity {
    const struct pbft_cluster *cluster;
    pbft_id id;
    const struct pbft_keypair *keypair;
    const struct pbft_signer *signer;
    struct pbft_frame_pool *pool;
};

/* All functions are called on the core thread with `context`; each but `start` may be NULL. */
struct pbft_replica_extension {
    void *context;
    /* One option more: --NAME ARGUMENT. NULL: none. */
    const char *option, *option_argument, *option_help;
    /* Before anything is sent. `value` is what the option was given, NULL if it was not. Fills
     * `hooks` and returns true, or puts one sentence into `error` (exit code 2). */
    bool (*start)(void *context, const char *value, const struct pbft_replica_identity *identity,
                  struct pbft_node_hooks *hooks, char error[256]);
    /* Each round of the core thread, and when `deadline` (monotonic, UINT64_MAX: never) is due. */
    void (*tick)(void *context, struct pbft_node *node, uint64_t now_ns);
    uint64_t (*deadline)(void *context);
    /* Complete lines for /metrics with their HELP and TYPE, at most `capacity` bytes with the final
     * 0; like snprintf. */
    size_t (*metrics)(void *context, char *out, size_t capacity);
    /* After the node is gone, before the pool. Not called if `start` failed. */
    void (*stop)(void *context);
};

/* extension  NULL: none. Outlives the call. */
int pbft_replica_main_with(int argc, char **argv, const struct pbft_service *service,
                           const struct pbft_replica_extension *extension);

#endif
