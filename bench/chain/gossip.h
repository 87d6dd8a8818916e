/**
 * bench/chain/gossip.h - a node (node.h) among real ones: nng byte streams with u32 lengths.
 *
 * net/ connects the replicas that a genesis lists, each proven by its key. A chain is open to
 * whoever finds its address, so it has a transport of its own: no keys, no secrecy, strangers on
 * both sides. What is inside a frame proves itself, by work and by signatures.
 *
 * One thread, the owner's, starts and ends everything and calls the node; nng's callbacks only say
 * that something is done. So nothing is started on a stream that was closed, and the node needs no
 * lock. Bounds: 64 connections, of each one frame received and 8 MiB to be sent; who reads too
 * slowly for that is disconnected, as is who does not greet in time or is banned.
 */
#ifndef PBFT_BENCH_CHAIN_GOSSIP_H
#define PBFT_BENCH_CHAIN_GOSSIP_H

#include "bench/chain/node.h"

struct chain_gossip; /* opaque */

/**
 * node     outlives it; its `send` calls chain_gossip_send()
 * listen   "tcp://host:port", port 0: any; NULL: nobody can reach us
 * peers    addresses to dial, again and again; copied
 * error    takes one sentence
 * Returns  PBFT_STATUS_OK, NETWORK, MEMORY
 */
PBFT_MUST_USE enum pbft_status chain_gossip_open(struct chain_gossip **out, struct chain_node *node,
                                                 const char *listen, const char *const *peers,
                                                 uint32_t peer_count, char error[256]);
void chain_gossip_close(struct chain_gossip *g);

uint16_t chain_gossip_port(const struct chain_gossip *g);
uint32_t chain_gossip_connected(const struct chain_gossip *g); /* and greeted */

/* What came, to the node; what is to be sent, out. Waits at most `timeout_ms` if nothing is. */
void chain_gossip_poll(struct chain_gossip *g, uint64_t timeout_ms);
/* End a wait. Any thread. */
void chain_gossip_wake(struct chain_gossip *g);

void chain_gossip_send(struct chain_gossip *g, uint32_t peer, struct pbft_span bytes);

/* A partition: the peers that we dial are no longer dialled, and disconnected; or again. */
void chain_gossip_dialling(struct chain_gossip *g, uint32_t peer, bool allowed);

/* Wall clock in ms since 1970. */
uint64_t chain_clock_ms(void);

#endif
