/* tests/fuzz/client/world.c - the cluster, the log of what was executed, what correct replicas say
 * about it, and the way of a message to the client. */
#include "tests/fuzz/client/world.h"

struct world w;

static struct pbft_frame *frame_raw(struct pbft_frame_pool *pool, uint32_t capacity)
{
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    REQUIRE(frame != NULL);
    frame->pool = pool;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    w.live++;
    return frame;
}

static struct pbft_frame *frame_alloc(struct pbft_frame_pool *pool, uint32_t capacity)
{
    return w.refuse ? NULL : frame_raw(pool, capacity);
}

static void frame_free(struct pbft_frame_pool *pool, struct pbft_frame *frame)
{
    (void)pool;
    w.live--;
    free(frame);
}

struct pbft_frame *frame_of(const struct pbft_msg *msg)
{
    size_t size = pbft_wire_size(msg);
    if (size == 0 || size > PBFT_FRAME_MAX_BYTES) return NULL;
    struct pbft_frame *frame = frame_raw(&w.pool, (uint32_t)size);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    if (frame->size == size) return frame;
    pbft_frame_release(frame);
    return NULL;
}

/* ---- beginning and end ---- */

static void make_cluster(struct pbft_cluster *c, uint32_t n)
{
    struct pbft_params *p = &c->params;
    *p = pbft_params_default(n);
    p->batch_max_requests = 4;
    p->bundle_max_ops = 4;
    p->key_max_bytes = 64;
    p->value_max_bytes = 1024;
    p->batch_max_bytes = 4096;
    p->session_window = SESSION_WINDOW;
    memcpy(c->service, "fuzz", sizeof "fuzz");
    for (uint32_t i = 0; i < n; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1), 'c'};
        struct pbft_keypair keys;
        pbft_keypair_from_seed(&keys, seed);
        c->replicas[i] = keys.public;
    }
    c->clients = &w.public;
    c->client_count = 1;
    char error[256];
    REQUIRE(pbft_cluster_seal(c, error) == PBFT_STATUS_OK);
}

void world_create(void)
{
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    w.pool = (struct pbft_frame_pool){frame_alloc, frame_free};
    uint8_t seed[32] = {99, 'c'};
    pbft_keypair_from_seed(&w.key, seed);
    w.public = w.key.public;
    for (uint32_t i = 0; i < SIZES; i++) {
        make_cluster(&w.clusters[i], 4 + i);
        struct pbft_door_config door = {.cluster = &w.clusters[i],
                                        .signer = &pbft_signer_fast,
                                        .cache_entries = 64};
        w.doors[i] = pbft_door_new(&door);
        REQUIRE(w.doors[i] != NULL);
    }
}

void world_begin(uint8_t how, uint8_t who)
{
    REQUIRE(w.live == 0);
    w.n = 4 + (how & 3u);
    w.cluster = &w.clusters[how & 3u];
    w.door = w.doors[how & 3u];
    w.f = pbft_quorum_faults(w.n);
    w.q = (w.n + w.f + 2) / 2; /* PROTOCOL: ceil((n+f+1)/2), not by way of pbft/quorum */
    w.window = 1 + (how >> 2 & 3u);
    w.ring = 2 * w.window < SESSION_WINDOW ? 2 * w.window : SESSION_WINDOW;
    w.bounded = (how & 0x70u) != 0x70u; /* one world in eight is the adversary's */
    w.liars = 0;
    for (uint32_t i = 0; i < w.f; i++) /* neighbours, and not always the first ones */
        w.liars |= pbft_signers_of((who + i * (1 + (who >> 6))) % w.n);
    if (!w.bounded) w.liars = pbft_everyone(w.n);
    w.style = who >> 3 & 7u;
    w.connected = pbft_everyone(w.n);
    w.refuse = w.healing = false;
    w.now_ns = 1000 * MS;
    w.executed = w.answered = w.floor = 0;
    memset(w.at, 0, sizeof w.at);
    memset(w.view, 0, sizeof w.view);
    memset(w.hints, 0, sizeof w.hints);
    memset(w.calls, 0, sizeof w.calls);
    memset(w.requests, 0, sizeof w.requests);
    memset(w.queries, 0, sizeof w.queries);
    memset(w.log, 0, sizeof w.log);
    w.call_count = w.answers = w.timeouts = w.heard_count = 0;
    w.newest_t = w.heeded = 0;
    struct pbft_match_config config = {.cluster = w.cluster,
                                       .signer = &pbft_signer_fast,
                                       .keypair = &w.key,
                                       .session = SESSION,
                                       .window = w.window,
                                       .query_base = how & 0x80u ? 1000 : 0,
                                       .retry_ns = 400 * MS,
                                       .pool = &w.pool};
    w.memory = malloc(pbft_match_size(&config)); /* exactly: ASan sees what lies behind it */
    REQUIRE(w.memory != NULL);
    w.m = pbft_match_init(w.memory, &config);
}

void world_end(void)
{
    while (w.queue_count > 0)
        pbft_frame_release(queue_take(w.queue_count - 1).frame);
    for (unsigned i = 0; i < 16; i++) {
        pbft_frame_release(w.heard[i]);
        w.heard[i] = NULL;
    }
    pbft_match_release(w.m);
    free(w.memory);
    REQUIRE(w.live == 0);
}

bool correct(pbft_id id)
{
    return !pbft_signers_has(w.liars, id);
}

/* ---- the truth ---- */

pbft_seq execution_of(uint64_t t, pbft_seq at)
{
    while (at > 0 && w.log[at].t != t)
        at--;
    return at;
}

pbft_seq mark_of(uint8_t key, pbft_seq at)
{
    while (at > 0 && !w.log[at].set[key % KEYS])
        at--;
    return at;
}

pbft_seq mark_of_call(const struct call *call, pbft_seq at)
{
    pbft_seq highest = 0;
    for (uint32_t i = 0; i < call->count; i++) {
        pbft_seq mark = mark_of(call->ops[7 * (size_t)i + 4 + 1], at);
        if (mark > highest) highest = mark;
    }
    return highest;
}

static size_t result_of(uint8_t *out, uint8_t kind, uint8_t key, uint8_t value)
{
    uint8_t pad = (uint8_t)(kind & 3u); /* results differ in size, too */
    memset(out, value, 3u + pad);
    out[0] = kind;
    out[1] = key;
    return 3u + pad;
}

void execute(uint64_t t, uint8_t outcome)
{
    if (t == 0 || t >= T_MAX || w.requests[t].size == 0) return;
    /* Refusals by LIMIT repeat: they leave room for one execution of each t, in the end. */
    if (w.executed + 1 >= (w.healing ? LOG_MAX : LOG_MAX - T_MAX)) return;
    pbft_seq before = execution_of(t, w.executed);
    if (before != 0 && w.log[before].outcome != PBFT_OUTCOME_LIMIT) return;
    struct pbft_msg msg;
    struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 1};
    struct pbft_span frame = {w.requests[t].frame, w.requests[t].size};
    REQUIRE(pbft_door_open(w.door, &client, frame, &msg) == PBFT_OK);
    struct execution *e = &w.log[w.executed + 1];
    *e = (struct execution){.t = t, .outcome = outcome};
    memcpy(e->value, w.log[w.executed].value, sizeof e->value);
    w.executed++;
    if (outcome != PBFT_OUTCOME_EXECUTED) return;
    pbft_put_u32(e->body, msg.request.op_count);
    e->size = 4;
    size_t cursor = 0;
    struct pbft_span op;
    while (pbft_wire_next_item(msg.request.ops, &cursor, &op)) {
        REQUIRE(op.size == 3);
        uint8_t key = op.data[1] % KEYS;
        if (op.data[0] == 'w') {
            e->set[key] = true;
            e->value[key] = op.data[2];
        }
        size_t size = result_of(e->body + e->size + 4, op.data[0], key, e->value[key]);
        pbft_put_u32(e->body + e->size, (uint32_t)size);
        e->size += 4 + size;
        REQUIRE(e->size <= sizeof e->body);
    }
}

bool true_reply(uint64_t t, pbft_seq at, bool whole, struct pbft_msg *msg)
{
    pbft_seq seq = execution_of(t, at);
    if (seq == 0) return false;
    const struct execution *e = &w.log[seq];
    struct pbft_span body = {e->body, e->size};
    memset(msg, 0, sizeof *msg);
    msg->type = PBFT_REPLY;
    msg->epoch = w.cluster->epoch;
    msg->reply = (struct pbft_reply){.seq = seq,
                                     .session = SESSION,
                                     .t = t,
                                     .request = w.requests[t].digest,
                                     .outcome = e->outcome};
    pbft_digest_result(&msg->reply.result, e->outcome, body);
    if (!whole) return true;
    msg->reply.flags = PBFT_REPLY_HAS_BODY;
    msg->reply.body = body;
    return true;
}

void true_query_reply(uint32_t token, pbft_seq at, bool whole, struct pbft_msg *msg)
{
    static uint8_t body[64];
    const struct call *call = &w.calls[token];
    pbft_seq mark = mark_of_call(call, at);
    struct pbft_span span = {body, 4 + 8 * (size_t)call->count};
    pbft_put_u32(body, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
        const uint8_t *op = call->ops + 7 * (size_t)i + 4;
        uint8_t key = op[1] % KEYS;
        pbft_put_u64(body + 4 + 8 * (size_t)i, mark_of(key, at));
        size_t size = result_of(body + span.size + 4, op[0], key, w.log[at].value[key]);
        pbft_put_u32(body + span.size, (uint32_t)size);
        span.size += 4 + size;
    }
    REQUIRE(span.size <= sizeof body);
    memset(msg, 0, sizeof *msg);
    msg->type = PBFT_QUERY_REPLY;
    msg->epoch = w.cluster->epoch;
    msg->query_reply = (struct pbft_query_reply){.id = w.queries[token].id,
                                                 .outcome = PBFT_OUTCOME_EXECUTED,
                                                 .mark = mark,
                                                 .executed = at};
    pbft_digest_query(&msg->query_reply.result, PBFT_OUTCOME_EXECUTED, mark, span);
    if (!whole) return;
    msg->query_reply.flags = PBFT_REPLY_HAS_BODY;
    msg->query_reply.body = span;
}

/* ---- on the way ---- */

void enqueue(pbft_id from, struct pbft_frame *frame)
{
    if (frame == NULL) return;
    if (w.queue_count == QUEUE_MAX) pbft_frame_release(queue_take(0).frame);
    w.queue[w.queue_count++] = (struct parcel){frame, from};
}

struct parcel queue_take(size_t at)
{
    struct parcel p = w.queue[at];
    memmove(&w.queue[at], &w.queue[at + 1], (--w.queue_count - at) * sizeof p);
    return p;
}

void deliver(pbft_id from, struct pbft_frame *frame)
{
    if (frame == NULL || !pbft_signers_has(w.connected, from)) return;
    struct pbft_frame **slot = &w.heard[w.heard_count++ % 16];
    pbft_frame_release(*slot);
    *slot = pbft_frame_retain(frame);
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg msg;
    enum pbft_verdict verdict = pbft_door_open_client(w.door, &peer, pbft_frame_span(frame), &msg);
    if (verdict != PBFT_OK) {
        REQUIRE(!correct(from));
        return;
    }
    note(from, &msg);
    struct pbft_match_out out;
    (void)pbft_match_message(w.m, w.now_ns, from, &msg, frame, &out);
    take(&out, CALLS_MAX);
}
