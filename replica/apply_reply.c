/* Frames that execution hands out: REPLY and QUERY_REPLY, encoded once, straight into a frame. */
#include "crypto/hash.h"
#include "replica/apply_internal.h"

#include <string.h>

static struct pbft_frame *encode(struct pbft_apply *a, const struct pbft_msg *msg)
{
    size_t size = pbft_wire_size(msg);
    PBFT_ASSERT(size > 0 && size <= PBFT_FRAME_MAX_BYTES);
    struct pbft_frame *frame = pbft_frame_new(a->pool, (uint32_t)size);
    if (frame == NULL) return NULL;
    size_t written = pbft_wire_encode(msg, frame->bytes, frame->capacity);
    PBFT_ASSERT(written == size);
    frame->size = (uint32_t)size;
    return frame;
}

struct pbft_frame *pbft_apply_reply(struct pbft_apply *a, uint64_t session, uint64_t t,
                                    const struct apply_answer *answer, bool whole)
{
    struct pbft_msg msg;
    msg.type = PBFT_REPLY;
    msg.epoch = a->cluster->epoch;
    msg.frame = (struct pbft_span){NULL, 0};
    msg.reply = (struct pbft_reply){
        .seq = answer->seq,
        .session = session,
        .t = t,
        .request = answer->request,
        .outcome = answer->outcome,
        .flags = whole ? PBFT_REPLY_HAS_BODY : 0,
        .body = whole ? answer->body : (struct pbft_span){NULL, 0},
    };
    pbft_digest_result(&msg.reply.result, answer->outcome, answer->body);
    return encode(a, &msg);
}

struct pbft_frame *pbft_apply_query(struct pbft_apply *a, const struct pbft_query *query)
{
    struct pbft_view_txn view = {a->tree, apply_params(a)};
    struct pbft_result result = {apply_body(a), 0, apply_params(a)->reply_max_bytes, false};
    uint64_t mark = 0;
    uint8_t outcome = PBFT_OUTCOME_EXECUTED;
    if (a->service->query != NULL)
        a->service->query(a->service->context, &view, query->op, &result, &mark);
    if (a->service->query == NULL || result.overflow) {
        outcome = PBFT_OUTCOME_INVALID;
        result.size = 0;
        mark = 0;
    }
    PBFT_ASSERT(result.size <= result.capacity);

    struct pbft_msg msg;
    msg.type = PBFT_QUERY_REPLY;
    msg.epoch = a->cluster->epoch;
    msg.frame = (struct pbft_span){NULL, 0};
    struct pbft_span body = {apply_body(a), result.size};
    msg.query_reply = (struct pbft_query_reply){
        .id = query->id,
        .outcome = outcome,
        .mark = mark,
        .executed = a->seq,
    };
    pbft_digest_query(&msg.query_reply.result, outcome, mark, body);
    if (query->want_body != 0) {
        msg.query_reply.flags = PBFT_REPLY_HAS_BODY;
        msg.query_reply.body = body;
    }
    return encode(a, &msg);
}
