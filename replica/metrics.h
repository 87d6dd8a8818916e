/**
 * replica/metrics.h - the numbers of one replica as Prometheus text (exposition format 0.0.4).
 *
 * Rendering is pure: the caller gathers everything in one structure, on whatever thread it lives.
 * Names are stable. Base units, `_total` for what only grows, labels of few values only.
 */
#ifndef PBFT_REPLICA_METRICS_H
#define PBFT_REPLICA_METRICS_H

#include "net/net.h"
#include "replica/node.h"
#include "replica/pool.h"
#include "store/log.h"

#define PBFT_JOB_KINDS 4u /* by enum pbft_job_kind */

/* The process as /proc sees it; zeros where that is not to be had. */
struct pbft_process_stats {
    uint64_t resident_bytes, virtual_bytes;
    double cpu_seconds;   /* user and system */
    double start_seconds; /* since the epoch */
    uint64_t threads, open_fds, max_fds;
};
void pbft_process_stats(struct pbft_process_stats *out);

struct pbft_metrics {
    pbft_id id;
    uint32_t n;
    char service[32];
    const char *durability; /* static */
    bool ready;
    uint64_t starts; /* of this data directory, this one included */
    struct pbft_node_info node;
    struct pbft_log_stats log;
    struct pbft_pages_stats pages; /* zeros: none are kept */
    struct pbft_net_stats net;
    struct pbft_net_peer_stats peers[PBFT_REPLICAS_MAX]; /* n of them */
    struct pbft_pool_stats pool, client_pool;
    uint64_t jobs[PBFT_JOB_KINDS];    /* done */
    uint64_t jobs_ns[PBFT_JOB_KINDS]; /* spent in them */
    uint64_t wakeups;                 /* of the core thread */
    uint64_t frames;                  /* handed to the node */
    uint64_t misbehaviour_closed;     /* connections closed for bad verdicts */
    uint64_t log_suppressed;          /* lines left out by their rate */
    struct pbft_process_stats process;
    char extra[1024]; /* further lines, complete, by an extension */
};

/* Writes at most `capacity` bytes, the closing 0 included. Returns the length that is needed
 * without it, like snprintf. */
size_t pbft_metrics_render(const struct pbft_metrics *m, char *out, size_t capacity);

#endif
