/**
 * bench/chain/node.h - a node without a network: bytes from peers in, bytes for peers out. The
 * simulation and the program around real connections drive the same object.
 *
 * Messages: u8 type, then
 *
 *     1 HELLO      u32 version, 32 chain id, u64 height, 32 tip     also: my tip has changed hands
 *     2 OPERATION  a REQUEST frame
 *     3 BLOCK      a block
 *     4 GET        u8 count (1 .. 32), count * 32 hashes, the newest first: what comes after the
 *                  first of them that you have? Answer: BLOCKs, oldest first, then a HELLO
 *
 * Blocks and operations are flooded: whoever takes one in sends it to all others. Peers are
 * strangers: what is wrong is dropped with a verdict and counted, who sends what no correct node
 * sends is to be disconnected, and nobody can make a node hold or send more than its bounds.
 */
#ifndef PBFT_BENCH_CHAIN_NODE_H
#define PBFT_BENCH_CHAIN_NODE_H

#include "bench/chain/pool.h"
#include "bench/chain/tree.h"

#define CHAIN_PEERS_MAX     64u
#define CHAIN_MESSAGE_MAX   (CHAIN_BLOCK_MAX_BYTES + 1u)
#define CHAIN_STRIKES_MAX   8u  /* then a peer is to be disconnected */
#define CHAIN_GET_BLOCKS    64u /* of one answer */
#define CHAIN_GETS_A_SECOND 64u /* that one peer may ask */

enum chain_message {
    CHAIN_HELLO = 1,
    CHAIN_OPERATION = 2,
    CHAIN_BLOCK = 3,
    CHAIN_GET = 4,
};

struct chain_node_config {
    struct chain_params params;
    struct chain_limits limits;
    uint64_t miner;      /* in its blocks */
    uint64_t pool_bytes; /* 0: 16 MiB */
    uint64_t seed;       /* secret of its hash tables */
    void *context;
    /* Queue `bytes` (borrowed for the call) for a peer. May drop. Must not call the node. */
    void (*send)(void *context, uint32_t peer, struct pbft_span bytes);
    /* May be NULL: the best chain changes, as struct chain_watch. */
    void (*connected)(void *context, const struct chain_block *block);
    void (*disconnected)(void *context, const struct chain_block *block);
};

struct chain_peer {
    bool up;
    bool greeted; /* its HELLO came, of our chain */
    uint32_t strikes;
    bool asked, progress; /* a GET is out; blocks came since */
    uint64_t asked_ms;
    uint64_t window_ms; /* of its GETs */
    uint32_t gets;
};

struct chain_node_stats {
    uint64_t messages, bytes; /* received */
    uint64_t operations;      /* taken into the pool */
    uint64_t dropped[CHAIN_VERDICT_COUNT];
    uint64_t mined;
    uint64_t returned; /* operations of abandoned blocks that went back to the pool */
    uint64_t lost;     /* for which there was no room: their clients must send them again */
};

struct chain_node {
    struct chain_node_config config;
    struct chain_tree tree;
    struct chain_pool pool;
    struct chain_peer peers[CHAIN_PEERS_MAX];
    struct chain_node_stats stats;
};

/* A block that only lacks its nonce. */
struct chain_template {
    struct chain_header header;
    uint8_t *bytes; /* owned; NULL: none */
    size_t size;
};

/* False: out of memory. The node must not move in memory. */
bool chain_node_init(struct chain_node *n, const struct chain_node_config *config);
void chain_node_free(struct chain_node *n);

/* A connection has come to be, or has ended. peer < CHAIN_PEERS_MAX. */
void chain_node_up(struct chain_node *n, uint32_t peer);
void chain_node_down(struct chain_node *n, uint32_t peer);

/**
 * One message of a peer that is up.
 *
 * Returns CHAIN_OK or why it was dropped; chain_node_banned() says whether that was one too many.
 */
enum chain_verdict chain_node_receive(struct chain_node *n, uint32_t peer, struct pbft_span message,
                                      uint64_t now_ms);
bool chain_node_banned(const struct chain_node *n, uint32_t peer);

/* An operation of a client of this node: taken into the pool and sent on. */
enum chain_verdict chain_node_submit(struct chain_node *n, struct pbft_span frame);

/* The next block on the best chain out of the pool. False: out of memory. Free it. */
bool chain_node_template(struct chain_node *n, uint64_t now_ms, struct chain_template *out);
void chain_template_free(struct chain_template *t);
/* A template whose header's nonce works: taken in and sent on. */
enum chain_verdict chain_node_mined(struct chain_node *n, struct chain_template *t,
                                    uint64_t now_ms);

#endif
