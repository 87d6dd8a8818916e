/**
 * bench/chain/station.h - a real node: node, connections and a mining thread, driven by one loop.
 */
#ifndef PBFT_BENCH_CHAIN_STATION_H
#define PBFT_BENCH_CHAIN_STATION_H

#include "bench/chain/gossip.h"
#include "bench/chain/miner.h"

struct chain_station_config {
    struct chain_params params;
    uint64_t miner;           /* who it is, in its blocks */
    uint64_t hashes_per_s;    /* 0: no limit */
    bool idle;                /* does not mine */
    const char *listen;       /* as chain_gossip_open() */
    const char *const *peers; /* the same */
    uint32_t peer_count;
    void *context; /* of the next two, which may be NULL */
    void (*connected)(void *context, const struct chain_block *block);
    void (*disconnected)(void *context, const struct chain_block *block);
};

struct chain_station {
    struct chain_station_config config;
    struct chain_node node;
    struct chain_gossip *gossip;
    struct chain_miner *miner;
    struct chain_template work; /* what the miner looks for a nonce of */
    uint64_t work_ms;
    uint64_t work_operations; /* that the pool had taken in by then */
};

/* The station must not move in memory. Statuses and `error` as chain_gossip_open(). */
PBFT_MUST_USE enum pbft_status chain_station_open(struct chain_station *s,
                                                  const struct chain_station_config *config,
                                                  char error[256]);
void chain_station_close(struct chain_station *s);
/* Waits at most so long when nothing happens. */
void chain_station_poll(struct chain_station *s, uint64_t timeout_ms);

#endif
