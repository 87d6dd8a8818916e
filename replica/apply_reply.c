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

/* Operations of a query that come up. */
static void prefetch_next(struct pbft_apply *a, struct pbft_span ops, size_t *cursor)
{
    struct pbft_span op;
    if (a->service->prefetch == NULL) return;
    if (pbft_wire_next_item(ops, cursor, &op))
        apply_prefetch(a, op);
    else
        apply_prefetch_none(a);
}

/* All reads out of the present state: count, marks, results as items. Empty: the service has no
 * reads, or their results have no room. *mark becomes the highest. */
static struct pbft_span run_query(struct pbft_apply *a, const struct pbft_query *query,
                                  uint64_t *mark)
{
    const struct pbft_span none = {NULL, 0};
    PBFT_ASSERT(query->op_count >= 1 && query->op_count <= apply_params(a)->bundle_max_ops);
    if (a->service->query == NULL) return none;
    struct pbft_view_txn view = {a->tree, apply_params(a)};
    uint8_t *marks = apply_body(a) + 4;
    uint8_t *results = marks + (size_t)APPLY_MARK_BYTES * query->op_count;
    size_t size = 0, most = apply_params(a)->reply_max_bytes - 4u, cursor = 0, ahead = 0;
    for (uint32_t i = 0; i < PBFT_TREE_AHEAD && query->op_count > 1; i++)
        prefetch_next(a, query->ops, &ahead);
    struct pbft_span op;
    uint64_t highest = 0;
    for (uint32_t i = 0; pbft_wire_next_item(query->ops, &cursor, &op); i++) {
        if (most - size < APPLY_ITEM_BYTES) return none;
        struct pbft_result result = {
            .bytes = results + size + APPLY_ITEM_BYTES,
            .capacity = apply_capacity(most - size, query->op_count - 1 - i),
        };
        uint64_t own = 0;
        if (query->op_count > 1) prefetch_next(a, query->ops, &ahead);
        a->service->query(a->service->context, &view, op, &result, &own);
        if (result.overflow) return none;
        PBFT_ASSERT(result.size <= result.capacity);
        pbft_put_u64(marks + (size_t)APPLY_MARK_BYTES * i, own);
        pbft_put_u32(results + size, (uint32_t)result.size);
        size += APPLY_ITEM_BYTES + result.size;
        if (own > highest) highest = own;
    }
    *mark = highest;
    pbft_put_u32(apply_body(a), query->op_count);
    return (struct pbft_span){apply_body(a), (size_t)(results - apply_body(a)) + size};
}

struct pbft_frame *pbft_apply_query(struct pbft_apply *a, const struct pbft_query *query)
{
    uint64_t mark = 0;
    struct pbft_span body = run_query(a, query, &mark);
    uint8_t outcome = body.size > 0 ? PBFT_OUTCOME_EXECUTED : PBFT_OUTCOME_INVALID;

    struct pbft_msg msg;
    msg.type = PBFT_QUERY_REPLY;
    msg.epoch = a->cluster->epoch;
    msg.frame = (struct pbft_span){NULL, 0};
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
