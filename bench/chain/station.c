#include "bench/chain/station.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define FRESH_MS 100u  /* a template without operations that wait is replaced after so long */
#define STALE_MS 1000u /* any, so that its time stays near the clock */

static void station_send(void *context, uint32_t peer, struct pbft_span bytes)
{
    struct chain_station *s = context;
    chain_gossip_send(s->gossip, peer, bytes);
}

static void station_connected(void *context, const struct chain_block *block)
{
    struct chain_station *s = context;
    if (s->config.connected != NULL) s->config.connected(s->config.context, block);
}

static void station_disconnected(void *context, const struct chain_block *block)
{
    struct chain_station *s = context;
    if (s->config.disconnected != NULL) s->config.disconnected(s->config.context, block);
}

static void station_wake(void *context)
{
    struct chain_station *s = context;
    chain_gossip_wake(s->gossip);
}

enum pbft_status chain_station_open(struct chain_station *s,
                                    const struct chain_station_config *config, char error[256])
{
    memset(s, 0, sizeof *s);
    s->config = *config;
    struct chain_node_config node = {.params = config->params,
                                     .miner = config->miner,
                                     .context = s,
                                     .send = station_send,
                                     .connected = station_connected,
                                     .disconnected = station_disconnected};
    randombytes_buf(&node.seed, sizeof node.seed);
    (void)snprintf(error, 256, "memory ran out");
    if (!chain_node_init(&s->node, &node)) return PBFT_STATUS_MEMORY;
    enum pbft_status status = chain_gossip_open(&s->gossip, &s->node, config->listen, config->peers,
                                                config->peer_count, error);
    if (status == PBFT_STATUS_OK && !config->idle) {
        s->miner = chain_miner_start(config->hashes_per_s, station_wake, s);
        if (s->miner == NULL) status = PBFT_STATUS_MEMORY;
    }
    if (status != PBFT_STATUS_OK) chain_station_close(s);
    return status;
}

void chain_station_close(struct chain_station *s)
{
    chain_miner_stop(s->miner);
    chain_gossip_close(s->gossip);
    chain_template_free(&s->work);
    chain_node_free(&s->node);
    memset(s, 0, sizeof *s);
}

static bool outdated(const struct chain_station *s, uint64_t now)
{
    if (s->work.bytes == NULL) return true;
    if (!pbft_digest_equal(&s->work.header.parent, &s->node.tree.tip->link.key)) return true;
    uint64_t age = now - s->work_ms;
    bool more = s->node.stats.operations != s->work_operations;
    return age >= STALE_MS || (more && age >= FRESH_MS);
}

static void mine(struct chain_station *s)
{
    struct chain_header found;
    uint64_t now = chain_clock_ms();
    if (chain_miner_found(s->miner, &found)) {
        s->work.header = found;
        (void)chain_node_mined(&s->node, &s->work, now);
        chain_template_free(&s->work);
    }
    if (!outdated(s, now)) return;
    chain_template_free(&s->work);
    if (!chain_node_template(&s->node, now, &s->work)) return;
    randombytes_buf(&s->work.header.nonce, sizeof s->work.header.nonce);
    s->work_ms = now;
    s->work_operations = s->node.stats.operations;
    chain_miner_work(s->miner, &s->work.header);
}

void chain_station_poll(struct chain_station *s, uint64_t timeout_ms)
{
    chain_gossip_poll(s->gossip, timeout_ms);
    if (s->miner != NULL) mine(s);
}
