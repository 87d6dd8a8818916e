/* Places that a campaign must reach, seen from outside: effects, frames, states. */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"

#include <string.h>

void reach(struct sim *sim, enum sim_reach place)
{
    sim->reached[place]++;
}

/* A NEW-VIEW that is being installed: what its O holds. */
static void reach_new_view(struct sim *sim, struct pbft_span frame)
{
    struct pbft_msg msg;
    struct pbft_digest null, digest;
    sim->arena.used = 0;
    if (pbft_wire_decode(frame, &sim->o.params, &sim->arena, &msg) != PBFT_OK) return;
    if (msg.new_view.count > 0) reach(sim, SIM_REACH_O_NOT_EMPTY);
    pbft_digest_null(&null);
    for (uint32_t i = 0; i < msg.new_view.count; i++) {
        const uint8_t *entry = msg.new_view.entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        memcpy(digest.bytes, entry, sizeof digest.bytes);
        if (pbft_digest_equal(&digest, &null)) reach(sim, SIM_REACH_O_NULL);
    }
}

static void reach_view(struct sim *sim, const struct node *node, const struct pbft_effect *e)
{
    if (e->view.active) {
        reach(sim, SIM_REACH_NEW_VIEW);
        return;
    }
    reach(sim, SIM_REACH_VIEW_CHANGE);
    if (node->transferring) reach(sim, SIM_REACH_VIEW_CHANGE_IN_TRANSFER);
    if (sim->stepping != NULL && sim->stepping->frame->bytes[0] == PBFT_VIEW_CHANGE)
        reach(sim, SIM_REACH_JOIN);
}

void reach_effect(struct sim *sim, struct node *node, const struct pbft_effect *e)
{
    switch (e->kind) {
    case PBFT_EFFECT_VIEW: reach_view(sim, node, e); break;
    case PBFT_EFFECT_EXECUTE:
        if (e->execute.frame == NULL) reach(sim, SIM_REACH_NULL_EXECUTED);
        break;
    case PBFT_EFFECT_STABLE: reach(sim, SIM_REACH_STABLE); break;
    case PBFT_EFFECT_TRANSFER:
        reach(sim, node->transferring ? SIM_REACH_TRANSFER_MOVED : SIM_REACH_TRANSFER);
        break;
    case PBFT_EFFECT_FETCH:
        if (e->fetch.what.kind == PBFT_FETCH_BATCH) reach(sim, SIM_REACH_BODY_FETCH);
        if (e->fetch.what.kind == PBFT_FETCH_HEADER) reach(sim, SIM_REACH_HEADER_FETCH);
        break;
    case PBFT_EFFECT_EVIDENCE: reach(sim, SIM_REACH_EVIDENCE); break;
    case PBFT_EFFECT_PERSIST:
        if (e->persist.record == PBFT_RECORD_COMMITTED && e->persist.sync)
            reach(sim, SIM_REACH_CERTIFICATE);
        if (e->persist.record == PBFT_RECORD_NEW_VIEW)
            reach_new_view(sim, pbft_frame_span(e->persist.frames[0]));
        break;
    case PBFT_EFFECT_SEND:
    case PBFT_EFFECT_TAKE_CHECKPOINT:
    case PBFT_EFFECT_FETCH_STOP:
    case PBFT_EFFECT_MUTED: break;
    }
}

static void reach_fetch(struct sim *sim, struct node *node, const struct pbft_peer *to,
                        struct pbft_span frame)
{
    struct pbft_digest key;
    pbft_digest_result(&key, 0, frame);
    bool fresh;
    struct map_entry *asked = map_put(&node->asked, &key, &fresh);
    if (!fresh && asked->number != to->index) reach(sim, SIM_REACH_FETCH_ROTATION);
    asked->number = to->index;
}

static void reach_reply(struct sim *sim, struct node *node, const struct pbft_peer *to,
                        struct pbft_span frame)
{
    struct pbft_msg msg;
    sim->arena.used = 0;
    if (pbft_wire_decode(frame, &sim->o.params, &sim->arena, &msg) != PBFT_OK) return;
    if (msg.reply.outcome == PBFT_OUTCOME_EXPIRED) reach(sim, SIM_REACH_EXPIRED);
    if (msg.reply.outcome != PBFT_OUTCOME_EXECUTED) return;
    struct pbft_digest key;
    key_numbers(&key, to->index, msg.reply.session, msg.reply.t, 0);
    bool fresh;
    struct map_entry *first = map_put(&node->answered, &key, &fresh);
    if (fresh) {
        first->number = node->view;
        return;
    }
    reach(sim, SIM_REACH_CACHED_REPLY);
    if (first->number < node->view) reach(sim, SIM_REACH_CACHED_REPLY_LATER_VIEW);
}

void reach_outbound(struct sim *sim, struct node *node, const struct pbft_peer *to,
                    struct pbft_frame *frame)
{
    switch (frame->bytes[0]) {
    case PBFT_FETCH: reach_fetch(sim, node, to, pbft_frame_span(frame)); break;
    case PBFT_REPLY: reach_reply(sim, node, to, pbft_frame_span(frame)); break;
    case PBFT_BUSY: reach(sim, SIM_REACH_BUSY); break;
    default: break;
    }
}

void reach_info(struct sim *sim, struct node *node, const struct pbft_core_info *info)
{
    if (info->view_timeout_ns > node->timeout_ns) reach(sim, SIM_REACH_BACK_OFF);
    node->timeout_ns = info->view_timeout_ns;
    node->transferring = info->transferring;
    bool full = info->proposed == info->stable + sim->o.params.window;
    if (full && !node->window_full) reach(sim, SIM_REACH_WINDOW_FULL);
    node->window_full = full;
    if (info->retransmissions > node->retransmissions)
        sim->reached[SIM_REACH_RETRANSMISSION] += info->retransmissions - node->retransmissions;
    node->retransmissions = info->retransmissions;
}

void reach_delivery(struct sim *sim, struct node *node, const struct event *e,
                    const struct pbft_claim *claim, pbft_view view)
{
    if (node->verdict == PBFT_DROP_TIME) reach(sim, SIM_REACH_CLOCK_HELD);
    bool vote = claim->type == PBFT_PREPARE || claim->type == PBFT_COMMIT ||
                claim->type == PBFT_PRE_PREPARE;
    if (vote && claim->view > view && node->verdict == PBFT_OK && !e->from_client)
        reach(sim, SIM_REACH_FUTURE_VOTE);
}
