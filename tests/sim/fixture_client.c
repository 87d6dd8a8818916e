/* Clients: the real client core, operations with a history, closed loops. */
#include "tests/sim/fixture_clients.h"

#include "crypto/hash.h"
#include "service/kv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_BYTES 4096u /* of a bundle of ours */

/* ---- carrying out what the client core says ---- */

void client_schedule(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    uint64_t due = pbft_match_deadline(c->match);
    if (hostile_due(sim, client) < due) due = hostile_due(sim, client);
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
        pbft_door_open(epoch_of_frame(sim, frame)->door, &from, pbft_frame_span(frame), &msg);
    if (verdict != PBFT_OK) {
        sim_fail(sim, "client %u sends a request that the door refuses: %s", client,
                 pbft_verdict_text(verdict));
        return;
    }
    check_request(sim, &msg.request);
    hostile_overhears(sim, frame);
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

static bool is_read(enum sim_op_kind kind)
{
    return kind == SIM_GET || kind == SIM_GET_ORDERED || kind == SIM_RANGE ||
           kind == SIM_RANGE_ORDERED || kind == SIM_READS;
}

static bool is_ordered(const struct sim_op *op)
{
    return (op->kind != SIM_GET && op->kind != SIM_RANGE && op->kind != SIM_READS) || op->fallback;
}

/* Several operations, and as many results. */
static bool is_bundle(enum sim_op_kind kind)
{
    return kind == SIM_BUNDLE || kind == SIM_READS;
}

/* What the service said, where it said one thing. */
static bool note_kv(struct sim *sim, struct op *op, struct pbft_span result)
{
    struct pbft_kv_result kv;
    if (!pbft_kv_decode_result(result, &kv)) {
        sim_fail(sim, "client %u accepted a result that is none", op->op.client);
        return false;
    }
    op->op.kv_status = kv.status;
    if (op->op.kind != SIM_GET && op->op.kind != SIM_GET_ORDERED) return true;
    size_t size = kv.value.size < sizeof op->op.value ? kv.value.size : sizeof op->op.value - 1;
    if (size > 0) memcpy(op->op.value, kv.value.data, size);
    return true;
}

static void tell_answer(struct sim *sim, size_t number)
{
    static const char *const said[] = {"ok", "not found", "not as expected", "bad request"};
    const struct sim_op *op = &sim->ops[number].op;
    char text[160];
    const char *name = sim_op_text(op->kind);
    bool kv = op->outcome == PBFT_OUTCOME_EXECUTED && op->kind != SIM_RAW && !is_bundle(op->kind);
    if (op->state == SIM_OP_TIMEOUT)
        snprintf(text, sizeof text, "%s %s: gives up", name, op->key);
    else if (!kv)
        snprintf(text, sizeof text, "%s %s: outcome %u", name, op->key, op->outcome);
    else if (op->kv_status == PBFT_KV_OK && (op->kind == SIM_GET || op->kind == SIM_GET_ORDERED))
        snprintf(text, sizeof text, "%s %s: \"%s\"", name, op->key, op->value);
    else
        snprintf(text, sizeof text, "%s %s: %s", name, op->key, said[op->kv_status & 3u]);
    struct sim_seen seen = {.kind = SIM_SEEN_ANSWERED,
                            .at_ns = sim->now_ns,
                            .from_client = true,
                            .from = op->client,
                            .number = number,
                            .text = text};
    sim_tell(sim, &seen);
}

/* An answer that q replicas agreed on is compared with the oracle's. */
static void judge(struct sim *sim, size_t number, const struct pbft_match_completion *done)
{
    struct op *op = &sim->ops[number];
    bool executed = done->outcome == PBFT_OUTCOME_EXECUTED;
    bool kv = executed && op->op.kind != SIM_RAW && sim->o.service == &pbft_kv_service;
    if (kv && !is_bundle(op->op.kind)) {
        struct pbft_span result = {NULL, 0};
        size_t cursor = 0;
        (void)pbft_wire_next_item(done->body, &cursor, &result);
        if (!note_kv(sim, op, result)) return;
    }
    if (kv) history_answered(sim, number, done->body);
    size_t cursor = 0;
    struct pbft_span raw;
    if (op->op.kind == SIM_RAW && pbft_wire_next_item(done->body, &cursor, &raw) && raw.size > 0)
        op->op.first = raw.data[0];
    if (is_ordered(&op->op)) {
        struct pbft_digest digest;
        reply_digest(sim, &sim->clients[op->op.client], done, &digest);
        check_ordered(sim, op, done->outcome, &digest);
    } else if (kv && op->op.kind == SIM_RANGE) {
        check_fast_range(sim, op, number);
    } else if (executed && !is_bundle(op->op.kind)) { /* the history judges a bundle as one */
        check_fast(sim, op);
    }
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
    } else {
        op->op.state = SIM_OP_ANSWERED;
        op->op.outcome = done->outcome;
        op->op.fallback = done->fallback;
        judge(sim, done->token, done);
    }
    tell_answer(sim, done->token);
}

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
    /* A request that was given up keeps its place until it is answered, which nobody is told. */
    bool more = out->completion_count > 0 || sim->clients[client].load_full;
    client_schedule(sim, client);
    if (more) client_load_more(sim, client); /* a new call: `out` is gone */
}

void client_frame(struct sim *sim, uint32_t client, pbft_id from, struct pbft_frame *frame)
{
    struct client *c = &sim->clients[client];
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg msg;
    if (pbft_door_open_client(c->door, &peer, pbft_frame_span(frame), &msg) != PBFT_OK) return;
    if (msg.type == PBFT_ADMIN_REPLY) return;
    if (msg.type == PBFT_REPLY) note_reply(sim, client, from, &msg.reply);
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
    if (hostile_due(sim, client) > sim->now_ns) return;
    hostile_tick(sim, client);
    client_schedule(sim, client);
}

void client_connected(struct sim *sim, uint32_t client, pbft_id replica)
{
    struct pbft_match_out out = {0};
    pbft_match_connected(sim->clients[client].match, sim->now_ns, replica, &out);
    carry_out(sim, client, &out);
}

static void make_door(struct sim *sim, struct client *c, const struct pbft_cluster *cluster)
{
    struct pbft_door_config door = {.cluster = cluster,
                                    .signer = sim->o.signer,
                                    .cache_entries = 1};
    pbft_door_free(c->door);
    c->door = pbft_door_new(&door);
    PBFT_ASSERT(c->door != NULL);
}

void client_epoch(struct sim *sim, uint32_t client, const struct pbft_cluster *cluster)
{
    struct client *c = &sim->clients[client];
    c->epoch = cluster->epoch;
    make_door(sim, c, cluster);
    pbft_match_epoch(c->match, cluster);
    for (pbft_id id = 0; id < sim->n; id++)
        if (sim->nodes[id].node != NULL) client_connected(sim, client, id);
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
    make_door(sim, c, &sim->cluster);
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
    if (client + 1 < sim->o.clients) return;
    history_free(sim);
    hostile_free(sim);
}

/* ---- operations ---- */

struct pbft_span text_span(const char *text)
{
    return (struct pbft_span){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

const char *sim_op_text(enum sim_op_kind kind)
{
    switch (kind) {
    case SIM_PUT: return "put";
    case SIM_GET: return "get";
    case SIM_GET_ORDERED: return "get (ordered)";
    case SIM_DELETE: return "delete";
    case SIM_CAS: return "cas";
    case SIM_RAW: return "raw";
    case SIM_RANGE: return "range";
    case SIM_RANGE_ORDERED: return "range (ordered)";
    case SIM_BUNDLE: return "bundle";
    case SIM_READS: return "reads";
    }
    return "?";
}

/* A bundle's operations, each behind its length. */
struct items {
    uint8_t bytes[ITEMS_BYTES];
    size_t size;
    uint32_t count;
};

static void add_item(struct items *items, const struct sim_part *part)
{
    uint8_t *out = items->bytes + items->size + 4;
    PBFT_ASSERT(items->size + 4 < sizeof items->bytes);
    size_t room = sizeof items->bytes - items->size - 4, size = 0;
    struct pbft_span key = text_span(part->key), value = text_span(part->value);
    switch (part->kind) {
    case SIM_PUT: size = pbft_kv_encode_put(out, room, key, value); break;
    case SIM_GET:
    case SIM_GET_ORDERED: size = pbft_kv_encode_get(out, room, key); break;
    case SIM_DELETE: size = pbft_kv_encode_delete(out, room, key); break;
    case SIM_CAS:
        size = pbft_kv_encode_cas(out, room, key, part->expect != NULL, text_span(part->expect),
                                  value);
        break;
    case SIM_RANGE:
    case SIM_RANGE_ORDERED: size = pbft_kv_encode_range(out, room, key, part->limit); break;
    case SIM_RAW:
    case SIM_BUNDLE:
    case SIM_READS: break;
    }
    PBFT_ASSERT(size > 0);
    pbft_put_u32(items->bytes + items->size, (uint32_t)size);
    items->size += 4 + size;
    items->count++;
}

static size_t op_new(struct sim *sim, enum sim_op_kind kind, uint32_t client)
{
    sim->ops = sim_grow(sim->ops, &sim->op_capacity, sim->op_count, sizeof *sim->ops);
    size_t number = sim->op_count++;
    struct op *op = &sim->ops[number];
    memset(op, 0, sizeof *op);
    op->op.kind = kind;
    op->op.client = client;
    op->op.call_ns = sim->now_ns;
    op->floor = sim->answered_floor;
    return number;
}

static void tell_submission(struct sim *sim, size_t number)
{
    const struct sim_op *op = &sim->ops[number].op;
    char text[256];
    int used = snprintf(text, sizeof text, "%s %s", sim_op_text(op->kind), op->key);
    if (op->kind == SIM_PUT || op->kind == SIM_CAS)
        snprintf(text + used, sizeof text - (size_t)used, " := \"%s\"", op->value);
    else if (is_bundle(op->kind))
        snprintf(text + used, sizeof text - (size_t)used, "of %u", op->parts);
    struct sim_seen seen = {.kind = SIM_SEEN_SUBMITTED,
                            .at_ns = sim->now_ns,
                            .from_client = true,
                            .from = op->client,
                            .number = number,
                            .text = text};
    sim_tell(sim, &seen);
}

static uint64_t request_number(struct sim *sim, uint32_t client, const struct pbft_match_out *out)
{
    if (out->send_count == 0 || out->sends[0].frame->bytes[0] != PBFT_REQUEST) return 0;
    struct pbft_peer from = {PBFT_PEER_CLIENT, client, 1};
    struct pbft_msg msg;
    enum pbft_verdict verdict = pbft_door_open(epoch_of_frame(sim, out->sends[0].frame)->door,
                                               &from, pbft_frame_span(out->sends[0].frame), &msg);
    return verdict == PBFT_OK ? msg.request.t : 0;
}

static size_t hand_in(struct sim *sim, size_t number, struct pbft_span items, uint32_t count)
{
    struct op *o = &sim->ops[number];
    uint32_t client = o->op.client;
    struct client *c = &sim->clients[client];
    o->op.parts = count;
    o->size = items.size;
    o->bytes = sim_alloc(items.size);
    memcpy(o->bytes, items.data, items.size);
    uint64_t patience = history_of(sim)->patience_ns[client];
    uint64_t deadline = patience == 0 ? 0 : sim->now_ns + patience;
    struct pbft_match_out out = {0};
    struct pbft_span ops = {o->bytes, o->size};
    enum pbft_verdict verdict =
        is_read(o->op.kind)
            ? pbft_match_read(c->match, sim->now_ns, deadline, number, ops, count,
                              is_ordered(&o->op), &out)
            : pbft_match_submit(c->match, sim->now_ns, deadline, number, ops, count, &out);
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
    o->op.t = request_number(sim, client, &out);
    history_submitted(sim, number);
    tell_submission(sim, number);
    c->outstanding++;
    sim->ops_waiting++;
    carry_out(sim, client, &out);
    return number;
}

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from == NULL ? "" : from);
}

static size_t submit(struct sim *sim, enum sim_op_kind kind, uint32_t client,
                     const struct sim_part *parts, uint32_t count)
{
    size_t number = op_new(sim, kind, client);
    struct items items = {.size = 0};
    for (uint32_t i = 0; i < count; i++) {
        add_item(&items, &parts[i]);
        bool whole_key = parts[i].kind != SIM_RANGE && parts[i].kind != SIM_RANGE_ORDERED;
        if (whole_key && sim->o.service == &pbft_kv_service) check_key(sim, parts[i].key);
    }
    if (!is_bundle(kind)) {
        struct sim_op *o = &sim->ops[number].op;
        copy_text(o->key, sizeof o->key, parts->key);
        copy_text(o->value, sizeof o->value, parts->value);
        copy_text(o->expect, sizeof o->expect, parts->expect);
        o->limit = parts->limit;
    }
    return hand_in(sim, number, (struct pbft_span){items.bytes, items.size}, items.count);
}

size_t sim_put(struct sim *sim, uint32_t client, const char *key, const char *value)
{
    struct sim_part part = {.kind = SIM_PUT, .key = key, .value = value};
    return submit(sim, SIM_PUT, client, &part, 1);
}

size_t sim_get(struct sim *sim, uint32_t client, const char *key, bool ordered)
{
    struct sim_part part = {.kind = ordered ? SIM_GET_ORDERED : SIM_GET, .key = key};
    return submit(sim, part.kind, client, &part, 1);
}

size_t sim_delete(struct sim *sim, uint32_t client, const char *key)
{
    struct sim_part part = {.kind = SIM_DELETE, .key = key};
    return submit(sim, SIM_DELETE, client, &part, 1);
}

size_t sim_cas(struct sim *sim, uint32_t client, const char *key, const char *expect,
               const char *value)
{
    struct sim_part part = {.kind = SIM_CAS, .key = key, .value = value, .expect = expect};
    return submit(sim, SIM_CAS, client, &part, 1);
}

size_t sim_range(struct sim *sim, uint32_t client, const char *prefix, uint32_t limit, bool ordered)
{
    struct sim_part part = {.kind = ordered ? SIM_RANGE_ORDERED : SIM_RANGE,
                            .key = prefix,
                            .limit = limit};
    return submit(sim, part.kind, client, &part, 1);
}

size_t sim_bundle(struct sim *sim, uint32_t client, const struct sim_part *parts, uint32_t count)
{
    return submit(sim, SIM_BUNDLE, client, parts, count);
}

size_t sim_reads(struct sim *sim, uint32_t client, const struct sim_part *parts, uint32_t count)
{
    return submit(sim, SIM_READS, client, parts, count);
}

void sim_set_patience(struct sim *sim, uint32_t client, uint64_t ns)
{
    history_of(sim)->patience_ns[client] = ns;
}

size_t sim_submit(struct sim *sim, uint32_t client, struct pbft_span op)
{
    size_t number = op_new(sim, SIM_RAW, client);
    uint8_t *items = sim_alloc(op.size + 4);
    pbft_put_u32(items, (uint32_t)op.size);
    if (op.size > 0) memcpy(items + 4, op.data, op.size);
    hand_in(sim, number, (struct pbft_span){items, op.size + 4}, 1);
    free(items);
    return number;
}

struct pbft_span sim_result(const struct sim *sim, size_t number, uint32_t index)
{
    struct pbft_span none = {NULL, 0}, item = none;
    PBFT_ASSERT(number < sim->op_count);
    if (sim->history == NULL) return none;
    const struct past *past = &sim->history->past[number];
    size_t cursor = 0;
    for (uint32_t i = 0; i <= index; i++)
        if (!pbft_wire_next_item((struct pbft_span){past->results, past->size}, &cursor, &item))
            return none;
    return item;
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
