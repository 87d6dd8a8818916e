/* Clients: the real client core, operations with a history, closed loops. */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"
#include "service/kv.h"

#include <stdlib.h>
#include <string.h>

#define LOAD_KEYS 8u

/* ---- carrying out what the client core says ---- */

static void schedule(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    uint64_t due = pbft_match_deadline(c->match);
    if (due == NEVER) return;
    if (due <= sim->now_ns) due = sim->now_ns + 1000;
    if (c->tick_at != NEVER && c->tick_at <= due && c->tick_at > sim->now_ns) return;
    c->tick_at = due;
    struct event e = {.at_ns = due, .kind = EVENT_CLIENT_TICK, .to = client};
    sim_push(sim, &e);
}

/* Whatever a client signs is known to the checkers; a read that became a request gets its t. */
static void note_request(struct sim *sim, uint32_t client, struct pbft_frame *frame)
{
    if (frame->size == 0 || frame->bytes[0] != PBFT_REQUEST) return;
    struct pbft_peer from = {PBFT_PEER_CLIENT, client, 1};
    struct pbft_msg msg;
    enum pbft_verdict verdict =
        pbft_door_open(sim->oracle_door, &from, pbft_frame_span(frame), &msg);
    if (verdict != PBFT_OK) {
        sim_fail(sim, "client %u sends a request that the door refuses: %s", client,
                 pbft_verdict_text(verdict));
        return;
    }
    check_request(sim, &msg.request);
}

/* The result digest of what was accepted: of the REPLY itself, or of one without results. */
static void reply_digest(struct sim *sim, struct client *c,
                         const struct pbft_match_completion *done, struct pbft_digest *out)
{
    static const uint8_t no_results[4] = {0};
    struct pbft_peer from = {PBFT_PEER_REPLICA, 0, 1};
    struct pbft_msg msg;
    if (done->frame != NULL &&
        pbft_door_open_client(c->door, &from, pbft_frame_span(done->frame), &msg) == PBFT_OK &&
        msg.type == PBFT_REPLY) {
        *out = msg.reply.result;
        return;
    }
    if (done->body.size > 0) sim_fail(sim, "a result without the REPLY that holds it");
    pbft_digest_result(out, done->outcome, (struct pbft_span){no_results, sizeof no_results});
}

static void answered(struct sim *sim, const struct pbft_match_completion *done)
{
    struct op *op = &sim->ops[done->token];
    struct client *c = &sim->clients[op->op.client];
    PBFT_ASSERT(op->op.state == SIM_OP_WAITING && c->outstanding > 0);
    c->outstanding--;
    sim->ops_waiting--;
    op->op.return_ns = sim->now_ns;
    if (done->result == PBFT_MATCH_TIMEOUT) {
        op->op.state = SIM_OP_TIMEOUT;
        return;
    }
    op->op.state = SIM_OP_ANSWERED;
    op->op.outcome = done->outcome;
    op->op.fallback = done->fallback;
    bool ordered = op->op.kind != SIM_GET || done->fallback;
    struct pbft_span result = done->body; /* a read's; a write's stands behind its length */
    size_t cursor = 0;
    bool read = op->op.kind == SIM_GET || op->op.kind == SIM_GET_ORDERED;
    if (!read && !pbft_wire_next_item(done->body, &cursor, &result))
        result = (struct pbft_span){NULL, 0};
    struct pbft_kv_result kv;
    if (done->outcome == PBFT_OUTCOME_EXECUTED && op->op.kind != SIM_RAW &&
        sim->o.service == &pbft_kv_service) {
        if (!pbft_kv_decode_result(result, &kv)) {
            sim_fail(sim, "client %u accepted a result that is none", op->op.client);
            return;
        }
        op->op.kv_status = kv.status;
        if (read) {
            size_t size =
                kv.value.size < sizeof op->op.value ? kv.value.size : sizeof op->op.value - 1;
            if (size > 0) memcpy(op->op.value, kv.value.data, size);
        }
    }
    if (ordered) {
        struct pbft_digest digest;
        reply_digest(sim, c, done, &digest);
        check_ordered(sim, op, done->outcome, &digest);
    } else if (done->outcome == PBFT_OUTCOME_EXECUTED) {
        check_fast(sim, op);
    }
}

static void load_more(struct sim *sim, uint32_t client);

static void carry_out(struct sim *sim, uint32_t client, const struct pbft_match_out *out)
{
    for (size_t i = 0; i < out->send_count; i++) {
        const struct pbft_match_send *s = &out->sends[i];
        note_request(sim, client, s->frame);
        for (pbft_id id = 0; id < sim->n; id++)
            if (pbft_signers_has(s->to, id)) sim_client_send(sim, client, id, s->frame);
        pbft_frame_release(s->frame);
    }
    for (size_t i = 0; i < out->completion_count; i++) {
        answered(sim, &out->completions[i]);
        pbft_frame_release(out->completions[i].frame);
    }
    bool more = out->completion_count > 0;
    schedule(sim, client);
    if (more) load_more(sim, client); /* a new call: `out` is gone */
}

void client_frame(struct sim *sim, uint32_t client, pbft_id from, struct pbft_frame *frame)
{
    struct client *c = &sim->clients[client];
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg msg;
    if (pbft_door_open_client(c->door, &peer, pbft_frame_span(frame), &msg) != PBFT_OK) return;
    if (msg.type == PBFT_ADMIN_REPLY) return;
    struct pbft_match_out out = {0};
    pbft_match_message(c->match, sim->now_ns, from, &msg, frame, &out);
    carry_out(sim, client, &out);
}

void client_tick(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    c->tick_at = NEVER;
    struct pbft_match_out out = {0};
    pbft_match_tick(c->match, sim->now_ns, &out);
    carry_out(sim, client, &out);
}

void client_connected(struct sim *sim, uint32_t client, pbft_id replica)
{
    struct pbft_match_out out = {0};
    pbft_match_connected(sim->clients[client].match, sim->now_ns, replica, &out);
    carry_out(sim, client, &out);
}

void client_disconnected(struct sim *sim, uint32_t client, pbft_id replica)
{
    pbft_match_disconnected(sim->clients[client].match, replica);
}

void client_start(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    c->session = sim->o.seed % 1000000u + client + 1;
    c->tick_at = NEVER;
    struct pbft_door_config door = {.cluster = &sim->cluster,
                                    .signer = sim->o.signer,
                                    .cache_entries = 1};
    c->door = pbft_door_new(&door);
    PBFT_ASSERT(c->door != NULL);
    struct pbft_match_config config = {.cluster = &sim->cluster,
                                       .signer = sim->o.signer,
                                       .keypair = &c->keypair,
                                       .client_index = client,
                                       .session = c->session,
                                       .window = sim->o.client_window,
                                       .retry_ns = sim->o.client_retry_ns,
                                       .pool = pbft_pool_frames(sim->pool)};
    size_t size = pbft_match_size(&config);
    PBFT_ASSERT(size > 0);
    void *memory = sim_alloc(size);
    c->match = pbft_match_init(memory, &config);
    PBFT_ASSERT((void *)c->match == memory);
    for (pbft_id id = 0; id < sim->n; id++)
        client_connected(sim, client, id);
}

void client_free(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    pbft_match_release(c->match);
    free(c->match);
    pbft_door_free(c->door);
}

/* ---- operations ---- */

static size_t op_new(struct sim *sim, enum sim_op_kind kind, uint32_t client, const char *key)
{
    sim->ops = sim_grow(sim->ops, &sim->op_capacity, sim->op_count, sizeof *sim->ops);
    size_t number = sim->op_count++;
    struct op *op = &sim->ops[number];
    memset(op, 0, sizeof *op);
    op->op.kind = kind;
    op->op.client = client;
    op->op.call_ns = sim->now_ns;
    op->floor = sim->answered_floor;
    snprintf(op->op.key, sizeof op->op.key, "%s", key == NULL ? "" : key);
    if (key != NULL && sim->o.service == &pbft_kv_service) check_key(sim, key);
    return number;
}

static size_t hand_in(struct sim *sim, size_t number, struct pbft_span op)
{
    struct op *o = &sim->ops[number];
    uint32_t client = o->op.client;
    struct client *c = &sim->clients[client];
    o->size = op.size + 4;
    o->bytes = sim_alloc(o->size);
    pbft_put_u32(o->bytes, (uint32_t)op.size);
    if (op.size > 0) memcpy(o->bytes + 4, op.data, op.size);
    struct pbft_match_out out = {0};
    bool read = o->op.kind == SIM_GET || o->op.kind == SIM_GET_ORDERED;
    enum pbft_verdict verdict =
        read ? pbft_match_read(c->match, sim->now_ns, 0, number, op, o->op.kind == SIM_GET_ORDERED,
                               &out)
             : pbft_match_submit(c->match, sim->now_ns, 0, number,
                                 (struct pbft_span){o->bytes, o->size}, 1, &out);
    if (verdict == PBFT_DROP_BUSY && c->loading) {
        free(o->bytes);
        sim->op_count--;
        c->load_full = true;
        return number;
    }
    if (verdict != PBFT_OK) {
        sim_fail(sim, "client %u: submission refused: %s", client, pbft_verdict_text(verdict));
        return number;
    }
    if (out.send_count > 0 && out.sends[0].frame->bytes[0] == PBFT_REQUEST) {
        struct pbft_peer from = {PBFT_PEER_CLIENT, client, 1};
        struct pbft_msg msg;
        if (pbft_door_open(sim->oracle_door, &from, pbft_frame_span(out.sends[0].frame), &msg) ==
            PBFT_OK)
            o->op.t = msg.request.t;
    }
    c->outstanding++;
    sim->ops_waiting++;
    carry_out(sim, client, &out);
    return number;
}

static struct pbft_span text_span(const char *text)
{
    return (struct pbft_span){(const uint8_t *)text, strlen(text)};
}

size_t sim_put(struct sim *sim, uint32_t client, const char *key, const char *value)
{
    size_t number = op_new(sim, SIM_PUT, client, key);
    snprintf(sim->ops[number].op.value, sizeof sim->ops[number].op.value, "%s", value);
    uint8_t op[256];
    size_t size = pbft_kv_encode_put(op, sizeof op, text_span(key), text_span(value));
    return hand_in(sim, number, (struct pbft_span){op, size});
}

size_t sim_get(struct sim *sim, uint32_t client, const char *key, bool ordered)
{
    size_t number = op_new(sim, ordered ? SIM_GET_ORDERED : SIM_GET, client, key);
    uint8_t op[256];
    size_t size = pbft_kv_encode_get(op, sizeof op, text_span(key));
    return hand_in(sim, number, (struct pbft_span){op, size});
}

size_t sim_delete(struct sim *sim, uint32_t client, const char *key)
{
    size_t number = op_new(sim, SIM_DELETE, client, key);
    uint8_t op[256];
    size_t size = pbft_kv_encode_delete(op, sizeof op, text_span(key));
    return hand_in(sim, number, (struct pbft_span){op, size});
}

size_t sim_cas(struct sim *sim, uint32_t client, const char *key, const char *expect,
               const char *value)
{
    size_t number = op_new(sim, SIM_CAS, client, key);
    struct sim_op *o = &sim->ops[number].op;
    snprintf(o->value, sizeof o->value, "%s", value);
    snprintf(o->expect, sizeof o->expect, "%s", expect == NULL ? "" : expect);
    uint8_t op[256];
    size_t size = pbft_kv_encode_cas(op, sizeof op, text_span(key), expect != NULL,
                                     text_span(expect == NULL ? "" : expect), text_span(value));
    return hand_in(sim, number, (struct pbft_span){op, size});
}

size_t sim_submit(struct sim *sim, uint32_t client, struct pbft_span op)
{
    return hand_in(sim, op_new(sim, SIM_RAW, client, NULL), op);
}

const struct sim_op *sim_op(const struct sim *sim, size_t number)
{
    PBFT_ASSERT(number < sim->op_count);
    return &sim->ops[number].op;
}

size_t sim_op_count(const struct sim *sim)
{
    return sim->op_count;
}

const struct pbft_match_stats *sim_client_stats(const struct sim *sim, uint32_t client)
{
    return pbft_match_stats(sim->clients[client].match);
}

uint64_t sim_client_session(const struct sim *sim, uint32_t client)
{
    return sim->clients[client].session;
}

/* ---- closed loops ---- */

static void load_one(struct sim *sim, uint32_t client)
{
    struct load *load = &sim->clients[client].load;
    load->left--;
    char key[32], value[64], expect[64];
    snprintf(key, sizeof key, "k%llu", (unsigned long long)sim_random(sim, LOAD_KEYS));
    snprintf(value, sizeof value, "c%u-%llu", client, (unsigned long long)++load->number);
    uint64_t dice = load->mix == SIM_WRITES ? 0 : sim_random(sim, 10);
    if (dice < 4) {
        sim_put(sim, client, key, value);
    } else if (dice < 6) {
        sim_get(sim, client, key, false);
    } else if (dice < 7) {
        sim_get(sim, client, key, true);
    } else if (dice < 9) {
        const struct key_history *k = check_key(sim, key); /* a good guess, but often too old */
        const struct version *v = &k->versions[k->count - 1];
        snprintf(expect, sizeof expect, "%s", v->value);
        sim_cas(sim, client, key, v->present ? expect : NULL, value);
    } else {
        sim_delete(sim, client, key);
    }
}

static void load_more(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    if (c->loading) return; /* called from within itself */
    c->loading = true;
    c->load_full = false;
    while (!sim->failed && c->load.left > 0 && c->outstanding < sim->o.client_window) {
        load_one(sim, client);
        if (c->load_full) { /* an old request is stuck: the next answer comes back here */
            c->load.left++;
            break;
        }
    }
    c->loading = false;
}

void sim_load(struct sim *sim, uint32_t client, uint64_t count, enum sim_mix mix)
{
    sim->clients[client].load.left += count;
    sim->clients[client].load.mix = mix;
    load_more(sim, client);
}

bool sim_ops_done(struct sim *sim, void *context)
{
    (void)context;
    return sim->ops_waiting == 0;
}

bool sim_loads_done(struct sim *sim, void *context)
{
    for (uint32_t client = 0; client < sim->o.clients; client++)
        if (sim->clients[client].load.left > 0) return false;
    return sim_ops_done(sim, context);
}
