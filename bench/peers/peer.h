/**
 * bench/peers/peer.h - what the load needs of a system: connections that carry puts and gets of
 * many slots at once, without blocking. One for each system: etcd.c, redis.c, zookeeper.c.
 *
 * One thread. A connection that failed stays so: a measurement over a new one would not be the
 * same.
 */
#ifndef PBFT_BENCH_PEERS_PEER_H
#define PBFT_BENCH_PEERS_PEER_H

#include "pbft/types.h"

enum peer_outcome {
    PEER_DONE,
    PEER_MISSING, /* of a get: there is no such key */
    PEER_FAILED,  /* refused, or an answer that makes no sense; the connection goes on */
};

struct peer_options {
    uint32_t slots;         /* operations outstanding on one connection, at most */
    uint32_t wait_replicas; /* redis: so many have the write before it counts; 0: none is asked */
    bool create;            /* zookeeper: keys are new, rather than there already */
    uint64_t timeout_ns;    /* to connect */
    /* Called from ready() once for each operation. `value` of a get that is PEER_DONE lives for the
     * call. put() and get() may be called from it. */
    void (*done)(void *slot, enum peer_outcome outcome, struct pbft_span value);
};

struct peer_wait {
    int fd;
    bool write; /* wait for room, too */
};

struct peer_conn;

struct peer {
    const char *name;
    /* Connected when it returns; NULL: why stands in `error`. `endpoint` is HOST:PORT. */
    struct peer_conn *(*open)(const struct peer_options *options, const char *endpoint,
                              char error[256]);
    /* Queues an operation. `key` (terminated, too) and `value` live until it is done; `slot` comes
     * back with it. False: the connection has failed. */
    bool (*put)(struct peer_conn *conn, struct pbft_span key, struct pbft_span value, void *slot);
    bool (*get)(struct peer_conn *conn, struct pbft_span key, void *slot);
    /* Sends what is queued, as far as there is room, and says what to wait for. Called after puts,
     * gets and ready(), and every 100 ms (pings). */
    bool (*flush)(struct peer_conn *conn, struct peer_wait *wait);
    bool (*ready)(struct peer_conn *conn, bool readable, bool writable);
    /* Why it failed. */
    const char *(*error)(const struct peer_conn *conn);
    void (*close)(struct peer_conn *conn);
};

extern const struct peer peer_etcd, peer_redis, peer_zookeeper;

#endif
