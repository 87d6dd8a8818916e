#include "tests/sim/test_alarms.h"

#include "crypto/hash.h"

#include <criterion/criterion.h>
#include <string.h>

const struct pbft_digest some = {{1, 2, 3}};

struct sim *sound_with(const struct sim_options *options, uint64_t operations)
{
    struct sim *sim = sim_new(options);
    sim_load(sim, 0, operations, SIM_MIX);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, 20 * SIM_SECOND), "%s", sim_failure(sim));
    cr_assert(sim_check_bandwidth(sim), "%s", sim_failure(sim));
    return sim;
}

struct sim *sound(uint64_t operations)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    return sound_with(&o, operations);
}

void rings(struct sim *sim, const char *words)
{
    cr_expect(!sim_ok(sim), "%s: nothing rang", words);
    cr_expect_not_null(strstr(sim_failure(sim), words), "%s: %s", words, sim_failure(sim));
    sim_free(sim);
}

void is_silent(struct sim *sim)
{
    cr_expect(sim_ok(sim), "%s", sim_failure(sim));
    sim_free(sim);
}

void decides(struct sim *sim, pbft_id id, const struct pbft_effect *effect)
{
    struct node *n = &sim->nodes[id];
    struct pbft_effect e = *effect;
    struct pbft_effects effects = {&e, 1, 1};
    n->hooks.effects(n->hooks.context, n->node, &effects);
}

void persists(struct sim *sim, pbft_id id, enum pbft_record_kind record, struct pbft_frame *a,
              struct pbft_frame *b)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_PERSIST};
    e.persist.record = record;
    e.persist.frames[0] = a;
    e.persist.frames[1] = b;
    decides(sim, id, &e);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

static void sends(struct sim *sim, pbft_id id, enum pbft_peer_kind kind, uint32_t to,
                  struct pbft_frame *frame)
{
    struct node *n = &sim->nodes[id];
    struct pbft_peer peer = {kind, to, 1};
    (void)n->hooks.outbound(n->hooks.context, n->node, &peer, frame);
    pbft_frame_release(frame);
}

void says(struct sim *sim, pbft_id id, struct pbft_frame *frame)
{
    sends(sim, id, PBFT_PEER_REPLICA, (id + 1) % sim->n, frame);
}

void answers(struct sim *sim, pbft_id id, struct pbft_frame *frame)
{
    sends(sim, id, PBFT_PEER_CLIENT, 0, frame);
}

void says_synced(struct sim *sim, pbft_id id, struct pbft_frame *frame)
{
    struct pbft_claim claim;
    struct pbft_digest content, key;
    bool fresh;
    cr_assert(own_statement(sim, id, pbft_frame_span(frame), &claim));
    statement_content(&claim, pbft_frame_span(frame), &content);
    statement_key(&claim, &content, &key);
    map_put(&sim->nodes[id].synced, &key, &fresh);
    says(sim, id, frame);
}

struct pbft_frame *spoilt(struct sim *sim, struct pbft_frame *frame)
{
    struct pbft_frame *copy = pbft_frame_new(sim_pool(sim), frame->size);
    cr_assert_not_null(copy);
    memcpy(copy->bytes, frame->bytes, frame->size);
    copy->size = frame->size;
    copy->bytes[copy->size - 1] ^= 0x55;
    pbft_frame_release(frame);
    return copy;
}

struct pbft_frame *certificate_of(struct sim *sim, pbft_id id)
{
    struct pbft_fetch what = {.kind = PBFT_FETCH_CHECKPOINT, .seq = sim_info(sim, id).core.stable};
    struct pbft_frame *frame = pbft_core_serve(pbft_node_core(sim->nodes[id].node), &what);
    cr_assert_not_null(frame);
    return frame;
}

/* ---- lies to clients ---- */

static void spoil(struct lie *l, struct pbft_span *body)
{
    if (!l->again) {
        memcpy(l->body, body->data, body->size);
        l->size = body->size;
    }
    if (l->find != NULL) {
        size_t i = 0, length = strlen(l->find);
        while (memcmp(l->body + i, l->find, length) != 0)
            cr_assert_leq(++i + length, l->size);
        memcpy(l->body + i, l->put, length);
    } else if (!l->again) {
        cr_assert_lt(l->at, l->size);
        l->body[l->at] = 0xFF;
    }
    *body = (struct pbft_span){l->body, l->size};
}

/* The first answer with a body is spoilt, its digest set right, and given to the client as that of
 * each replica; true ones get lost. */
static bool tell(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct lie *l = context;
    if (!p->to_client || (p->type != PBFT_REPLY && p->type != PBFT_QUERY_REPLY)) return true;
    struct pbft_msg msg;
    sim->arena.used = 0;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(p->frame), &sim->o.params, &sim->arena, &msg),
                 PBFT_OK);
    bool query = p->type == PBFT_QUERY_REPLY;
    struct pbft_span *body = query ? &msg.query_reply.body : &msg.reply.body;
    cr_assert_leq(body->size, LIE_BODY_MAX);
    if (l->keep && body->size > 0) {
        memcpy(l->body, body->data, body->size);
        l->size = body->size;
    }
    if (l->keep || l->told || body->size == 0) return l->keep;
    l->told = true;
    spoil(l, body);
    if (query)
        pbft_digest_query(&msg.query_reply.result, msg.query_reply.outcome, msg.query_reply.mark,
                          *body);
    else
        pbft_digest_result(&msg.reply.result, msg.reply.outcome, *body);
    struct pbft_frame *frame = pbft_frame_new(sim_pool(sim), (uint32_t)pbft_wire_size(&msg));
    cr_assert_not_null(frame);
    frame->size = (uint32_t)pbft_wire_encode(&msg, frame->bytes, frame->capacity);
    for (pbft_id id = 0; id < sim->n; id++) {
        struct event e = {.at_ns = sim->now_ns + 1,
                          .kind = EVENT_TO_CLIENT,
                          .from = id,
                          .to = p->to,
                          .frame = pbft_frame_retain(frame)};
        sim_push(sim, &e);
    }
    pbft_frame_release(frame);
    return false;
}

void lie_to_clients(struct sim *sim, struct lie *lie)
{
    sim_set_filter(sim, tell, lie);
}
