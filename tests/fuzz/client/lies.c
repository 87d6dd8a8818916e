/* tests/fuzz/client/lies.c - liars: everything that their channels can carry, from the truth with
 * some fields changed to bytes of no meaning. */
#include "tests/fuzz/client/world.h"

static uint8_t lie_body[BYTES_MAX];

/* Results that no correct replica gives: their keys do not exist. */
static struct pbft_span false_results(uint32_t items, uint8_t value)
{
    size_t at = 4;
    pbft_put_u32(lie_body, items);
    for (uint32_t i = 0; i < items; i++) {
        pbft_put_u32(lie_body + at, 3);
        memset(lie_body + at + 4, 0xee, 2);
        lie_body[at + 6] = value;
        at += 7;
    }
    return (struct pbft_span){lie_body, at};
}

/* The truth with one byte changed, often a mark's; or marks and results of nothing. */
static struct pbft_span false_query_body(struct pbft_span truth, uint8_t how)
{
    if (how & 16u) {
        size_t size = truth.size < sizeof lie_body ? truth.size : sizeof lie_body;
        if (size > 0) memcpy(lie_body, truth.data, size);
        if (size > 4) lie_body[4 + (how & 15u) % (size - 4)] ^= 1u;
        return (struct pbft_span){lie_body, size};
    }
    uint32_t items = how & 3u;
    size_t marks = 8 * (size_t)items;
    struct pbft_span results = false_results(items, how);
    memmove(lie_body + 4 + marks, lie_body + 4, results.size - 4);
    memset(lie_body + 4, how, marks);
    return (struct pbft_span){lie_body, results.size + marks};
}

static uint64_t extreme(struct fuzz *f, uint64_t old)
{
    uint8_t choice = fuzz_u8(f);
    switch (choice & 7u) {
    case 0: return UINT64_MAX;
    case 1: return 0;
    case 2: return old + 1;
    case 3: return old - 1;
    case 4: return old + w.window;
    case 5: return old + w.ring;
    case 6: return fuzz_number(f, 8);
    default: return old + (choice >> 3);
    }
}

static uint64_t some_t(uint8_t choice)
{
    uint64_t back = choice & 7u;
    return w.newest_t > back ? w.newest_t - back : 1;
}

static void false_reply(struct fuzz *f, struct pbft_msg *msg)
{
    uint64_t t = some_t(fuzz_u8(f));
    uint8_t change = fuzz_u8(f), more = fuzz_u8(f);
    if (t > w.newest_t || !true_reply(t, w.executed, true, msg)) { /* before anybody executed it */
        memset(msg, 0, sizeof *msg);
        msg->type = PBFT_REPLY;
        msg->reply = (struct pbft_reply){.session = SESSION, .t = t, .seq = w.executed + 1};
        if (t < T_MAX) msg->reply.request = w.requests[t].digest;
        change |= 1u;
    }
    struct pbft_reply *r = &msg->reply;
    r->flags = PBFT_REPLY_HAS_BODY;
    if (change & 1u) r->body = false_results(more & 3u, more >> 2);
    if (change & 2u) r->outcome = more % (PBFT_OUTCOME_COUNT + 1);
    pbft_digest_result(&r->result, r->outcome, r->body);
    if (change & 4u) {
        r->flags = 0;
        r->body = (struct pbft_span){NULL, 0};
    }
    if (change & 8u) r->request.bytes[0] ^= 1u;
    if (change & 16u) r->view = extreme(f, r->view);
    if (change & 32u) r->seq = extreme(f, r->seq);
    if (change & 64u) r->t = extreme(f, r->t);
    if (change & 128u) r->session = extreme(f, r->session);
    if (more & 128u) r->result.bytes[more & 31u] ^= 1u;
}

static void false_query_reply(struct fuzz *f, struct pbft_msg *msg)
{
    uint8_t back = fuzz_u8(f), change = fuzz_u8(f), more = fuzz_u8(f);
    uint32_t token = w.call_count - 1 - (back & 7u) % w.call_count;
    while (token > 0 && !w.queries[token].sent)
        token--;
    if (!w.queries[token].sent) return;
    pbft_seq at = w.executed > (back >> 3) ? w.executed - (back >> 3) : 0;
    true_query_reply(token, at, true, msg);
    struct pbft_query_reply *r = &msg->query_reply;
    if (change & 1u) r->body = false_query_body(r->body, more);
    if (change & 2u) r->outcome = more & 1u ? PBFT_OUTCOME_INVALID : more % 8u;
    if (change & 4u) r->mark = extreme(f, r->mark);
    pbft_digest_query(&r->result, r->outcome, r->mark, r->body);
    if (change & 8u) {
        r->flags = 0;
        r->body = (struct pbft_span){NULL, 0};
    }
    if (change & 16u) r->executed = extreme(f, r->executed);
    if (change & 32u) r->id = extreme(f, r->id);
    if (change & 64u) r->result.bytes[more & 31u] ^= 1u;
    if (!(change & 128u)) return;
    r->mark = extreme(f, r->mark); /* under the right digest, that nothing here contradicts */
    r->flags = 0;
    r->body = (struct pbft_span){NULL, 0};
}

static struct pbft_frame *raw(struct pbft_span bytes)
{
    struct pbft_msg any = {.type = PBFT_ADMIN_REPLY}; /* any frame that is large enough */
    any.admin_reply.body = bytes;
    struct pbft_frame *frame = frame_of(&any);
    if (frame == NULL || bytes.size == 0) return frame;
    memcpy(frame->bytes, bytes.data, bytes.size);
    frame->size = (uint32_t)bytes.size;
    return frame;
}

static struct pbft_frame *replayed(struct fuzz *f)
{
    uint8_t which = fuzz_u8(f);
    const struct pbft_frame *heard = w.heard[which & 15u];
    if (heard == NULL) return NULL;
    struct pbft_frame *frame = raw(pbft_frame_span(heard));
    if (frame == NULL || !(which & 16u)) return frame;
    uint8_t at = fuzz_u8(f);
    frame->bytes[at % frame->size] ^= (uint8_t)(1u + fuzz_u8(f) % 255u);
    return frame;
}

static struct pbft_frame *some_lie(struct fuzz *f, uint8_t kind)
{
    struct pbft_msg msg = {.type = PBFT_BUSY, .epoch = w.cluster->epoch};
    switch (kind) {
    case 0:
    case 1: false_reply(f, &msg); break;
    case 2:
        if (w.call_count > 0) false_query_reply(f, &msg);
        break;
    case 3:
        msg.busy = (struct pbft_busy){SESSION, some_t(fuzz_u8(f))};
        if (fuzz_u8(f) & 1u) msg.busy.t = extreme(f, msg.busy.t);
        break;
    case 4:
        msg.type = PBFT_ADMIN_REPLY;
        msg.admin_reply = (struct pbft_admin_reply){fuzz_u8(f), 1, fuzz_bytes(f, fuzz_u8(f))};
        break;
    case 5: /* of a client, or of a replica to replicas */
        msg.type = PBFT_RESULT_FETCH;
        msg.result_fetch = (struct pbft_result_fetch){SESSION, some_t(fuzz_u8(f))};
        break;
    case 6: return raw(fuzz_bytes(f, 8u + fuzz_u8(f)));
    default: return replayed(f);
    }
    return frame_of(&msg);
}

/* One liar says it, or all of them; at once, or behind what is under way. */
void lie_command(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    if (w.liars == 0) return;
    struct pbft_frame *frame = some_lie(f, how & 7u);
    if (frame == NULL) return;
    unsigned skip = (how >> 3 & 7u) % pbft_signers_count(w.liars);
    for (pbft_id id = 0; id < w.n; id++) {
        if (correct(id)) continue;
        bool mine = skip-- == 0;
        if (!mine && !(how & 64u)) continue;
        if (how & 128u)
            enqueue(id, pbft_frame_retain(frame));
        else
            deliver(id, frame);
    }
    pbft_frame_release(frame);
}

/* By style: silent; another result; the right digest, never its body; the right body, then a lie;
 * BUSY; another request's; views and places far ahead. */
void lie_while_healing(unsigned round)
{
    for (pbft_id id = 0; w.style != 0 && id < w.n; id++) {
        for (uint64_t t = 1; !correct(id) && t <= w.newest_t; t++) {
            struct pbft_msg msg;
            if (w.newest_t - t > 12) continue;
            if (!true_reply(t, w.executed, w.style != 2, &msg)) continue;
            struct pbft_reply *r = &msg.reply;
            if (w.style == 1 || (w.style == 3 && round % 2 == 1)) {
                r->body = false_results(1, (uint8_t)round);
                pbft_digest_result(&r->result, r->outcome, r->body);
            }
            if (w.style == 4) {
                msg.type = PBFT_BUSY;
                msg.busy = (struct pbft_busy){SESSION, t};
            }
            if (w.style == 5) r->request.bytes[3] ^= 4u;
            if (w.style >= 6) r->view = r->seq = UINT64_MAX - round;
            struct pbft_frame *frame = frame_of(&msg);
            deliver(id, frame);
            pbft_frame_release(frame);
        }
    }
}
