#include "bench/chain/node.h"

#include "pbft/wire.h"

#include <stdlib.h>
#include <string.h>

#define HELLO_BYTES     (1u + 4u + PBFT_DIGEST_BYTES + 8u + PBFT_DIGEST_BYTES)
#define LOCATOR_MAX     32u
#define ASK_AGAIN_MS    1000u
#define BLOCK_FRAMES    4096u
#define POOL_BYTES      (UINT64_C(16) << 20)
#define OPERATION_BYTES (1u + CHAIN_REQUEST_BYTES)

static void send_to(struct chain_node *n, uint32_t peer, const uint8_t *bytes, size_t size)
{
    n->config.send(n->config.context, peer, (struct pbft_span){bytes, size});
}

/* One message of type and body, to all greeted peers but `except`, or to one. */
static void send_typed(struct chain_node *n, uint8_t type, struct pbft_span body, uint32_t only,
                       uint32_t except)
{
    uint8_t *message = malloc(1 + body.size);
    if (message == NULL) return; /* as if the network had lost it */
    message[0] = type;
    memcpy(message + 1, body.data, body.size);
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++)
        if (n->peers[i].greeted && i != except && (only == CHAIN_PEERS_MAX || only == i))
            send_to(n, i, message, 1 + body.size);
    free(message);
}

static void flood(struct chain_node *n, uint8_t type, struct pbft_span body, uint32_t except)
{
    send_typed(n, type, body, CHAIN_PEERS_MAX, except);
}

static void send_hello(struct chain_node *n, uint32_t peer)
{
    uint8_t bytes[HELLO_BYTES] = {CHAIN_HELLO};
    pbft_put_u32(bytes + 1, CHAIN_VERSION);
    memcpy(bytes + 5, n->tree.id.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u64(bytes + 37, n->tree.tip->height);
    memcpy(bytes + 45, n->tree.tip->link.key.bytes, PBFT_DIGEST_BYTES);
    send_to(n, peer, bytes, sizeof bytes);
}

/* Ten blocks one by one, then ever greater steps back to genesis. */
static void ask(struct chain_node *n, uint32_t peer, uint64_t now_ms)
{
    struct chain_peer *p = &n->peers[peer];
    if (p->asked && !p->progress && now_ms < p->asked_ms + ASK_AGAIN_MS) return;
    uint8_t bytes[2 + LOCATOR_MAX * PBFT_DIGEST_BYTES] = {CHAIN_GET};
    const struct chain_block *b = n->tree.tip;
    uint64_t step = 1;
    uint8_t count = 0;
    while (count < LOCATOR_MAX) {
        if (count == LOCATOR_MAX - 1) b = n->tree.genesis;
        memcpy(bytes + 2 + (size_t)count * PBFT_DIGEST_BYTES, b->link.key.bytes, PBFT_DIGEST_BYTES);
        count++;
        if (b->parent == NULL) break;
        if (count > 10) step *= 2;
        for (uint64_t i = 0; i < step && b->parent != NULL; i++)
            b = b->parent;
    }
    bytes[1] = count;
    p->asked = true;
    p->progress = false;
    p->asked_ms = now_ms;
    send_to(n, peer, bytes, 2 + (size_t)count * PBFT_DIGEST_BYTES);
}

/* ---- the tree's watch ---- */

static void on_connected(void *context, const struct chain_block *b)
{
    struct chain_node *n = context;
    for (uint32_t i = 0; i < b->op_count; i++)
        chain_pool_remove(&n->pool, &b->ops[i].slot);
    if (n->config.connected != NULL) n->config.connected(n->config.context, b);
}

static void on_disconnected(void *context, const struct chain_block *b)
{
    struct chain_node *n = context;
    for (uint32_t i = b->op_count; i-- > 0;) {
        if (chain_pool_find(&n->pool, &b->ops[i].slot) != NULL) continue;
        if (chain_pool_add(&n->pool, &b->ops[i], true))
            n->stats.returned++;
        else
            n->stats.lost++;
    }
    if (n->config.disconnected != NULL) n->config.disconnected(n->config.context, b);
}

static bool on_verified(void *context, const struct chain_operation *op)
{
    const struct chain_node *n = context;
    const struct chain_operation *held = chain_pool_find(&n->pool, &op->slot);
    return held != NULL && pbft_digest_equal(&held->id, &op->id);
}

bool chain_node_init(struct chain_node *n, const struct chain_node_config *config)
{
    memset(n, 0, sizeof *n);
    n->config = *config;
    struct chain_watch watch = {n, on_connected, on_disconnected, on_verified};
    uint64_t bytes = config->pool_bytes == 0 ? POOL_BYTES : config->pool_bytes;
    if (!chain_tree_init(&n->tree, &config->params, &config->limits, &watch, config->seed))
        return false;
    if (chain_pool_init(&n->pool, bytes, config->seed ^ 3u)) return true;
    chain_tree_free(&n->tree);
    return false;
}

void chain_node_free(struct chain_node *n)
{
    chain_tree_free(&n->tree);
    chain_pool_free(&n->pool);
}

void chain_node_up(struct chain_node *n, uint32_t peer)
{
    PBFT_ASSERT(peer < CHAIN_PEERS_MAX);
    n->peers[peer] = (struct chain_peer){.up = true};
    send_hello(n, peer);
}

void chain_node_down(struct chain_node *n, uint32_t peer)
{
    PBFT_ASSERT(peer < CHAIN_PEERS_MAX);
    memset(&n->peers[peer], 0, sizeof n->peers[peer]);
}

/* ---- messages ---- */

static enum chain_verdict on_hello(struct chain_node *n, uint32_t peer, struct pbft_span m,
                                   uint64_t now_ms)
{
    if (m.size != HELLO_BYTES) return CHAIN_DROP_MALFORMED;
    if (pbft_get_u32(m.data + 1) != CHAIN_VERSION) return CHAIN_DROP_VERSION;
    if (memcmp(m.data + 5, n->tree.id.bytes, PBFT_DIGEST_BYTES) != 0) return CHAIN_DROP_CHAIN;
    struct pbft_digest tip;
    memcpy(tip.bytes, m.data + 45, sizeof tip.bytes);
    n->peers[peer].greeted = true;
    if (chain_tree_find(&n->tree, &tip) == NULL) ask(n, peer, now_ms);
    return CHAIN_OK;
}

static enum chain_verdict take_operation(struct chain_node *n, struct pbft_span frame,
                                         uint32_t from)
{
    struct chain_operation op;
    enum chain_verdict verdict = chain_operation_read(frame, &op);
    if (verdict != CHAIN_OK) return verdict;
    const struct chain_operation *held = chain_pool_find(&n->pool, &op.slot);
    const struct pbft_digest *other =
        held != NULL ? &held->id : chain_state_executed(&n->tree.state, &op.slot, NULL);
    if (other != NULL)
        return pbft_digest_equal(other, &op.id) ? CHAIN_DROP_DUPLICATE : CHAIN_DROP_REPLAY;
    /* What fits into no block would stop the pool's queue. */
    if (frame.size + 4 + CHAIN_BLOCK_MIN_BYTES > n->config.params.block_max_bytes)
        return CHAIN_DROP_SIZE;
    if (!chain_operation_signed(frame, &n->tree.id)) return CHAIN_DROP_SIGNATURE;
    if (!chain_pool_add(&n->pool, &op, false)) return CHAIN_DROP_FULL;
    n->stats.operations++;
    flood(n, CHAIN_OPERATION, frame, from);
    return CHAIN_OK;
}

static enum chain_verdict take_block(struct chain_node *n, struct pbft_span bytes, uint32_t from,
                                     uint64_t now_ms)
{
    const struct chain_block *before = n->tree.tip;
    enum chain_verdict verdict = chain_tree_add(&n->tree, bytes, now_ms);
    if (from < CHAIN_PEERS_MAX && verdict == CHAIN_OK) n->peers[from].progress = true;
    if (from < CHAIN_PEERS_MAX && verdict == CHAIN_DROP_ORPHAN) ask(n, from, now_ms);
    /* With orphans that waited for it the tip is another one, and whoever gets that asks. */
    const struct chain_block *tip = n->tree.tip;
    if (tip != before) flood(n, CHAIN_BLOCK, (struct pbft_span){tip->bytes, tip->size}, from);
    return verdict;
}

static enum chain_verdict on_get(struct chain_node *n, uint32_t peer, struct pbft_span m,
                                 uint64_t now_ms)
{
    struct chain_peer *p = &n->peers[peer];
    if (m.size < 2 || m.data[1] == 0 || m.data[1] > LOCATOR_MAX ||
        m.size != 2 + (size_t)m.data[1] * PBFT_DIGEST_BYTES)
        return CHAIN_DROP_MALFORMED;
    if (now_ms >= p->window_ms + 1000) {
        p->window_ms = now_ms;
        p->gets = 0;
    }
    if (++p->gets > CHAIN_GETS_A_SECOND) return CHAIN_DROP_QUOTA;
    const struct chain_block *from = n->tree.genesis;
    for (unsigned i = 0; i < m.data[1]; i++) {
        struct pbft_digest hash;
        memcpy(hash.bytes, m.data + 2 + (size_t)i * PBFT_DIGEST_BYTES, sizeof hash.bytes);
        const struct chain_block *b = chain_tree_find(&n->tree, &hash);
        if (b == NULL || !b->best) continue;
        from = b;
        break;
    }
    const struct chain_block *run[CHAIN_GET_BLOCKS];
    uint64_t last = from->height + CHAIN_GET_BLOCKS;
    if (last > n->tree.tip->height) last = n->tree.tip->height;
    const struct chain_block *b = chain_tree_at(&n->tree, last);
    uint32_t count = 0;
    for (; b != from; b = b->parent)
        run[count++] = b;
    while (count-- > 0)
        send_typed(n, CHAIN_BLOCK, (struct pbft_span){run[count]->bytes, run[count]->size}, peer,
                   CHAIN_PEERS_MAX);
    if (last > from->height) send_hello(n, peer);
    return CHAIN_OK;
}

/* What a correct node may come to send: because it was overtaken, has other clocks or less room. */
static bool forgivable(enum chain_verdict verdict)
{
    return verdict == CHAIN_OK || verdict == CHAIN_DROP_DUPLICATE || verdict == CHAIN_DROP_ORPHAN ||
           verdict == CHAIN_DROP_REPLAY || verdict == CHAIN_DROP_FULL ||
           verdict == CHAIN_DROP_TIME || verdict == CHAIN_DROP_DEEP ||
           verdict == CHAIN_DROP_QUOTA || verdict == CHAIN_DROP_PARENT;
}

static enum chain_verdict dispatch(struct chain_node *n, uint32_t peer, struct pbft_span m,
                                   uint64_t now_ms)
{
    if (m.size < 1) return CHAIN_DROP_MALFORMED;
    struct pbft_span body = {m.data + 1, m.size - 1};
    if (m.data[0] == CHAIN_HELLO) return on_hello(n, peer, m, now_ms);
    /* Before its HELLO it might be a node of another chain. */
    if (!n->peers[peer].greeted) return CHAIN_DROP_CHAIN;
    switch (m.data[0]) {
    case CHAIN_OPERATION:
        return m.size > OPERATION_BYTES ? CHAIN_DROP_SIZE : take_operation(n, body, peer);
    case CHAIN_BLOCK: return take_block(n, body, peer, now_ms);
    case CHAIN_GET: return on_get(n, peer, m, now_ms);
    default: return CHAIN_DROP_MALFORMED;
    }
}

enum chain_verdict chain_node_receive(struct chain_node *n, uint32_t peer, struct pbft_span message,
                                      uint64_t now_ms)
{
    PBFT_ASSERT(peer < CHAIN_PEERS_MAX && n->peers[peer].up);
    n->stats.messages++;
    n->stats.bytes += message.size;
    enum chain_verdict verdict = dispatch(n, peer, message, now_ms);
    if (verdict != CHAIN_OK) n->stats.dropped[verdict]++;
    if (!forgivable(verdict)) n->peers[peer].strikes++;
    return verdict;
}

bool chain_node_banned(const struct chain_node *n, uint32_t peer)
{
    return n->peers[peer].strikes >= CHAIN_STRIKES_MAX;
}

enum chain_verdict chain_node_submit(struct chain_node *n, struct pbft_span frame)
{
    return take_operation(n, frame, CHAIN_PEERS_MAX);
}

/* ---- mining ---- */

bool chain_node_template(struct chain_node *n, uint64_t now_ms, struct chain_template *out)
{
    memset(out, 0, sizeof *out);
    struct pbft_span *frames = calloc(BLOCK_FRAMES, sizeof *frames);
    if (frames == NULL) return false;
    uint32_t count =
        chain_pool_pick(&n->pool, n->config.params.block_max_bytes, frames, BLOCK_FRAMES);
    const struct chain_block *tip = n->tree.tip;
    uint64_t earliest = chain_tree_median_time(tip) + 1;
    out->header.version = CHAIN_VERSION;
    out->header.bits = chain_tree_bits(&n->tree, tip);
    out->header.parent = tip->link.key;
    out->header.time_ms = now_ms > earliest ? now_ms : earliest;
    out->header.miner = n->config.miner;
    out->size = chain_block_bytes(frames, count);
    out->bytes = malloc(out->size);
    bool made = out->bytes != NULL && chain_block_encode(&out->header, frames, count, out->bytes);
    free(frames);
    if (!made) chain_template_free(out);
    return made;
}

void chain_template_free(struct chain_template *t)
{
    free(t->bytes);
    memset(t, 0, sizeof *t);
}

enum chain_verdict chain_node_mined(struct chain_node *n, struct chain_template *t, uint64_t now_ms)
{
    chain_header_encode(&t->header, t->bytes);
    n->stats.mined++;
    return take_block(n, (struct pbft_span){t->bytes, t->size}, CHAIN_PEERS_MAX, now_ms);
}
