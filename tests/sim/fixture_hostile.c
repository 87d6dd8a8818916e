/* Hostile clients (FAULTS 2.31 to 2.33): they hold a key of genesis and know what others sent. They
 * write under keys of their own, so that the honest ones' history needs nothing of them. */
#include "tests/sim/fixture_clients.h"

#include "crypto/hash.h"
#include "service/kv.h"

#include <stdlib.h>
#include <string.h>

#define OVERHEARD_MAX 8u
#define KINDS         4u
#define OP_BYTES      128u

struct enemy {
    unsigned kinds;
    uint64_t every_ns, due_ns;
    uint64_t session, t;     /* in use: all t below were used */
    struct pbft_frame *last; /* a good request of its own, for replays */
};

struct hostile {
    struct enemy *enemies; /* by client */
    uint64_t acts[KINDS];
    struct pbft_frame *overheard[OVERHEARD_MAX];
    unsigned next;
};

/* ---- making things ---- */

struct forgery {
    uint32_t signer; /* client whose key signs */
    struct pbft_public_key name;
    uint64_t session, t;
    bool known; /* the checkers take it for a client's own (FAULTS 3.4) */
};

static struct pbft_frame *encode(struct sim *sim, struct pbft_msg *msg)
{
    msg->epoch = sim->cluster.epoch;
    size_t size = pbft_wire_size(msg);
    struct pbft_frame *frame = pbft_frame_new(sim_pool(sim), (uint32_t)size);
    PBFT_ASSERT(frame != NULL);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    PBFT_ASSERT(frame->size == size);
    return frame;
}

static size_t draw_op(struct sim *sim, uint32_t client, uint8_t out[OP_BYTES])
{
    char key[32], value[32];
    snprintf(key, sizeof key, "z%u-%u", client, (unsigned)sim_random(sim, 3));
    snprintf(value, sizeof value, "%u", (unsigned)sim_random(sim, 1000));
    switch (sim_random(sim, 8)) {
    case 0: return pbft_kv_encode_delete(out, OP_BYTES, text_span(key));
    case 1: return pbft_kv_encode_get(out, OP_BYTES, text_span(key));
    case 2: out[0] = (uint8_t)sim_random(sim, 256); return 1; /* no operation at all */
    case 3: return pbft_kv_encode_range(out, OP_BYTES, text_span("z"), 0);
    default: return pbft_kv_encode_put(out, OP_BYTES, text_span(key), text_span(value));
    }
}

static struct pbft_frame *request(struct sim *sim, uint32_t client, const struct forgery *f)
{
    uint8_t ops[3u * (4u + OP_BYTES)];
    size_t size = 0;
    struct pbft_msg msg = {.type = PBFT_REQUEST};
    msg.request.op_count = 1 + (uint32_t)sim_random(sim, 3);
    for (uint32_t i = 0; i < msg.request.op_count; i++) {
        size_t op = draw_op(sim, client, ops + size + 4);
        pbft_put_u32(ops + size, (uint32_t)op);
        size += 4 + op;
    }
    msg.request.client = f->name;
    msg.request.session = f->session;
    msg.request.t = f->t;
    msg.request.ops = (struct pbft_span){ops, size};
    struct pbft_frame *frame = encode(sim, &msg);
    struct pbft_request known = msg.request;
    struct pbft_span body = pbft_wire_signed_body(pbft_frame_span(frame));
    if (body.data == NULL) return frame; /* t = 0 is no message at all: unsigned, then */
    pbft_frame_sign(&sim->cluster, sim->o.signer, &sim->clients[f->signer].keypair.secret,
                    frame->bytes, frame->size);
    pbft_digest_request(&known.digest, body);
    if (f->known) check_request(sim, &known);
    return frame;
}

static struct pbft_frame *own_request(struct sim *sim, uint32_t client, uint64_t session,
                                      uint64_t t)
{
    struct forgery f = {client, sim->clients[client].keypair.public, session, t, true};
    return request(sim, client, &f);
}

static struct pbft_frame *altered(struct sim *sim, const struct pbft_frame *frame, size_t from,
                                  size_t to)
{
    PBFT_ASSERT(frame != NULL);
    struct pbft_frame *copy = pbft_frame_new(sim_pool(sim), frame->size);
    PBFT_ASSERT(copy != NULL && from < to && to <= frame->size);
    memcpy(copy->bytes, frame->bytes, frame->size);
    copy->size = frame->size;
    size_t at = from + sim_random(sim, to - from);
    copy->bytes[at] ^= (uint8_t)(1u << sim_random(sim, 8));
    return copy;
}

/* ---- sending ---- */

/* All, one, or any. */
static pbft_signers audience(struct sim *sim)
{
    pbft_signers all = sim->n == 64 ? ~(pbft_signers)0 : ((pbft_signers)1 << sim->n) - 1;
    switch (sim_random(sim, 3)) {
    case 0: return pbft_signers_of((pbft_id)sim_random(sim, sim->n));
    case 1: return 1 + sim_random(sim, all);
    default: return all;
    }
}

/* Takes the reference. */
static void send_to(struct sim *sim, uint32_t client, pbft_signers to, struct pbft_frame *frame)
{
    for (pbft_id id = 0; id < sim->n; id++)
        if (pbft_signers_has(to, id)) sim_client_send(sim, client, id, frame);
    pbft_frame_release(frame);
}

static void remember(struct enemy *e, struct pbft_frame *frame)
{
    pbft_frame_release(e->last);
    e->last = pbft_frame_retain(frame);
}

/* ---- what they do ---- */

static const size_t request_client = 8, request_session = 40, request_ops = 60; /* docs/wire.md */

static const char *act_forged(struct sim *sim, uint32_t client, struct enemy *e)
{
    const struct hostile *h = sim->hostile;
    uint32_t victim = (uint32_t)sim_random(sim, sim->o.clients);
    struct forgery f = {client, sim->clients[victim].keypair.public, sim->clients[victim].session,
                        pbft_match_next_t(sim->clients[victim].match), false};
    const struct pbft_frame *other = h->overheard[sim_random(sim, OVERHEARD_MAX)];
    uint64_t dice = sim_random(sim, other == NULL ? 4 : 8);
    PBFT_ASSERT(dice < 4 || other != NULL);
    struct pbft_frame *frame = NULL;
    const char *text = "a request with a broken signature";
    if (dice < 2 && victim != client) {
        frame = request(sim, client, &f);
        text = "a request in another client's name";
    } else if (dice == 2) {
        f.name.bytes[sim_random(sim, sizeof f.name.bytes)] ^= 1;
        frame = request(sim, client, &f);
        text = "a request under a key that is not listed";
    } else if (dice < 4) {
        struct pbft_frame *good = own_request(sim, client, e->session, e->t);
        size_t body = good->size - PBFT_SIGNATURE_BYTES;
        frame = dice == 3 ? altered(sim, good, body, good->size) : altered(sim, good, 40, body);
        pbft_frame_release(good);
    } else if (dice == 4) {
        frame = altered(sim, other, request_client, request_session);
        text = "another's request under a changed name";
    } else if (dice == 5) {
        frame = altered(sim, other, request_session, request_ops);
        text = "another's request with a changed number";
    } else if (dice == 6) {
        frame = altered(sim, other, request_ops, other->size);
        text = "another's request with a changed operation";
    } else {
        frame = altered(sim, other, request_ops, other->size);
        memcpy(frame->bytes, other->bytes, other->size);
        text = "another's request as it was";
    }
    send_to(sim, client, audience(sim), frame);
    return text;
}

static const char *act_conflict(struct sim *sim, uint32_t client, struct enemy *e)
{
    uint64_t t = e->t++;
    for (pbft_id id = 0; id < sim->n; id++) {
        if (sim_random(sim, 8) == 0) continue;
        struct pbft_frame *frame = own_request(sim, client, e->session, t);
        remember(e, frame);
        send_to(sim, client, pbft_signers_of(id), frame);
    }
    return "one request number, another operation to each replica";
}

static const char *act_huge_t(struct sim *sim, uint32_t client, struct enemy *e)
{
    uint64_t w = sim->o.params.session_window;
    const uint64_t ts[] = {
        UINT64_MAX,   UINT64_MAX - 1, UINT64_MAX - w, UINT64_C(1) << 63,      0, 1, w, w + 1,
        e->t + w - 1, e->t + w,       e->t + w + 1,   e->t > w ? e->t - w : 0};
    uint64_t t = ts[sim_random(sim, sizeof ts / sizeof ts[0])];
    if (sim_random(sim, 2) == 0) e->session++, e->t = 1;
    struct pbft_frame *frame = own_request(sim, client, e->session, t);
    if (t > e->t && t < UINT64_MAX) e->t = t + 1;
    if (e->t > UINT64_MAX / 2) e->session++, e->t = 1; /* it has harmed itself */
    remember(e, frame);
    send_to(sim, client, audience(sim), frame);
    return "a request number at the edge";
}

static struct pbft_frame *flood_query(struct sim *sim, uint32_t client)
{
    uint8_t items[2 * (4 + OP_BYTES)];
    size_t size = 0;
    const uint64_t floors[] = {0, sim->executed_count, sim->executed_count + 100, UINT64_MAX};
    struct pbft_msg msg = {.type = PBFT_QUERY};
    msg.query.id = sim_random(sim, UINT64_MAX);
    msg.query.floor = floors[sim_random(sim, 4)];
    msg.query.want_body = (uint8_t)sim_random(sim, 2);
    msg.query.op_count = 1 + (uint32_t)(msg.query.id % 2);
    for (uint32_t i = 0; i < msg.query.op_count; i++) {
        uint32_t op = (uint32_t)draw_op(sim, client, items + size + 4);
        pbft_put_u32(items + size, op);
        size += 4 + op;
    }
    msg.query.ops = (struct pbft_span){items, size};
    return encode(sim, &msg);
}

static struct pbft_frame *flood_fetch(struct sim *sim, const struct enemy *e)
{
    struct pbft_msg msg = {.type = PBFT_RESULT_FETCH};
    msg.result_fetch.session = e->session - sim_random(sim, 3);
    msg.result_fetch.t = sim_random(sim, 2) == 0 ? sim_random(sim, e->t + 1) : UINT64_MAX;
    return encode(sim, &msg);
}

static const char *act_flood(struct sim *sim, uint32_t client, struct enemy *e)
{
    static const char *const texts[] = {"a flood of requests", "a flood of sessions",
                                        "a flood of replays", "a flood of fast reads",
                                        "a flood of questions for results"};
    uint64_t what = sim_random(sim, 5);
    pbft_signers to = audience(sim);
    uint32_t count = sim->o.params.client_quota + 1 + sim->o.params.client_quota / 2;
    if (what == 2 && e->last == NULL) what = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_frame *frame = NULL;
        if (what == 0 || what == 1) {
            if (what == 1) e->session++, e->t = 1;
            frame = own_request(sim, client, e->session, e->t++);
            if (i == 0) remember(e, frame);
        } else if (what == 2) {
            frame = pbft_frame_retain(e->last);
        } else {
            frame = what == 3 ? flood_query(sim, client) : flood_fetch(sim, e);
        }
        send_to(sim, client, to, frame);
    }
    return texts[what];
}

/* ---- when ---- */

uint64_t hostile_due(const struct sim *sim, uint32_t client)
{
    return sim->hostile == NULL ? NEVER : sim->hostile->enemies[client].due_ns;
}

void hostile_tick(struct sim *sim, uint32_t client)
{
    typedef const char *act_fn(struct sim *, uint32_t, struct enemy *);
    static act_fn *const acts[KINDS] = {act_forged, act_conflict, act_huge_t, act_flood};
    struct enemy *e = &sim->hostile->enemies[client];
    uint64_t kind = sim_random(sim, KINDS);
    while (((e->kinds >> kind) & 1u) == 0)
        kind = (kind + 1) % KINDS;
    const char *text = acts[kind](sim, client, e);
    sim->hostile->acts[kind]++;
    e->due_ns = sim->now_ns + e->every_ns / 2 + 1 + sim_random(sim, e->every_ns);
    struct sim_seen seen = {.kind = SIM_SEEN_LIE,
                            .at_ns = sim->now_ns,
                            .from_client = true,
                            .from = client,
                            .byzantine = true,
                            .text = text};
    sim_tell(sim, &seen);
}

void hostile_overhears(struct sim *sim, struct pbft_frame *frame)
{
    struct hostile *h = sim->hostile;
    if (h == NULL) return;
    pbft_frame_release(h->overheard[h->next]);
    h->overheard[h->next] = pbft_frame_retain(frame);
    h->next = (h->next + 1) % OVERHEARD_MAX;
}

void sim_hostile(struct sim *sim, uint32_t client, unsigned kinds, uint64_t every_ns)
{
    PBFT_ASSERT(client < sim->o.clients);
    if (sim->hostile == NULL) {
        sim->hostile = sim_alloc(sizeof *sim->hostile);
        sim->hostile->enemies = sim_alloc(sim->o.clients * sizeof *sim->hostile->enemies);
        for (uint32_t i = 0; i < sim->o.clients; i++)
            sim->hostile->enemies[i].due_ns = NEVER;
    }
    struct enemy *e = &sim->hostile->enemies[client];
    e->kinds = kinds & ((1u << KINDS) - 1);
    e->every_ns = every_ns;
    if (e->session == 0) e->session = sim->clients[client].session + 1;
    if (e->t == 0) e->t = 1;
    bool on = e->kinds != 0 && every_ns != 0;
    e->due_ns = on ? sim->now_ns + 1 + sim_random(sim, every_ns) : NEVER;
    client_schedule(sim, client);
}

uint64_t sim_hostile_acts(const struct sim *sim, enum sim_hostile kind)
{
    uint64_t acts = 0;
    for (unsigned i = 0; sim->hostile != NULL && i < KINDS; i++)
        if ((((unsigned)kind >> i) & 1u) != 0) acts += sim->hostile->acts[i];
    return acts;
}

void hostile_free(struct sim *sim)
{
    struct hostile *h = sim->hostile;
    if (h == NULL) return;
    for (unsigned i = 0; i < OVERHEARD_MAX; i++)
        pbft_frame_release(h->overheard[i]);
    for (uint32_t i = 0; i < sim->o.clients; i++)
        pbft_frame_release(h->enemies[i].last);
    free(h->enemies);
    free(h);
    sim->hostile = NULL;
}
