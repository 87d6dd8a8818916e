/* client/match: another epoch (PROTOCOL 29). */
#include "tests/unit/match_fixture.h"

static void next_epoch(struct world *w)
{
    forget_sent(w);
    w->next = w->cluster;
    w->next.epoch = w->cluster.epoch + 1;
    pbft_match_epoch(w->m, &w->next);
}

static void connected(struct world *w, pbft_id id)
{
    struct pbft_match_out out;
    pbft_match_connected(w->m, w->now, id, &out);
    take(w, &out);
}

static uint32_t epoch_of(const struct pbft_frame *frame)
{
    return pbft_get_u32(frame->bytes + 4);
}

/* Signed for that epoch, and for no other. */
static bool signed_for(const struct world *w, const struct pbft_frame *frame, uint32_t epoch)
{
    struct pbft_digest digest;
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    size_t size =
        pbft_wire_signed_bytes(PBFT_REQUEST, &w->cluster.id, epoch,
                               (struct pbft_span){digest.bytes, sizeof digest.bytes}, bytes);
    return pbft_verify(&w->key.public, (struct pbft_span){bytes, size},
                       frame->bytes + frame->size - PBFT_SIGNATURE_BYTES);
}

static void expect_signed(const struct world *w, const struct pbft_frame *frame, uint32_t epoch)
{
    cr_assert_eq(epoch_of(frame), epoch);
    for (uint32_t e = 0; e < 3; e++)
        cr_assert_eq(signed_for(w, frame, e), e == epoch, "%u", e);
}

Test(match, what_waits_is_signed_again_in_a_new_epoch)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_digest digests[3];
    for (unsigned i = 0; i < 3; i++) {
        submit(w, i == 2 ? 100 * MS : 0);
        digests[i] = sent_digest(w);
        expect_signed(w, w->sent[0].frame, 0);
    }
    struct answer a = {.t = 1, .request = digests[0], .text = "yes", .whole = true};
    for (pbft_id from = 1; from < 4; from++)
        reply(w, from, &a);
    expect_answer(w, "yes");
    forget_done(w);
    w->now += 200 * MS; /* the third one is late, and keeps its place */
    tick(w);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_TIMEOUT);

    struct pbft_frame *before = pbft_frame_retain(w->sent_count > 0 ? w->sent[0].frame : NULL);
    next_epoch(w);
    if (before != NULL) cr_assert_eq(epoch_of(before), 0u, "a frame on its way is not touched");
    pbft_frame_release(before);
    connected(w, 2);
    cr_assert_eq(w->sent_count, 2u);
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_digest digest;
        cr_assert_eq(w->sent[i].to, pbft_signers_of(2));
        expect_signed(w, w->sent[i].frame, 1);
        pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(w->sent[i].frame)));
        cr_assert(pbft_digest_equal(&digest, &digests[i + 1]), "the same request");
    }
    submit(w, 0);
    expect_signed(w, w->sent[0].frame, 1);
    w->now += 5000 * MS;
    tick(w); /* retransmissions */
    cr_assert_eq(w->sent_count, 3u);
    for (unsigned i = 0; i < 3; i++)
        expect_signed(w, w->sent[i].frame, 1);
    world_free(w);
}

/* q - 1 of one epoch and one of the next are no quorum of either. */
Test(match, votes_of_two_epochs_do_not_add_up)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    reply(w, 0, &a);
    reply(w, 1, &a);
    next_epoch(w);
    reply(w, 2, &a);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "two and two");
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "repetition");
    reply(w, 0, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, votes_of_reads_do_not_add_up_either)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "v", 5, 9, true);
    query_reply(w, 1, id, "v", 5, 9, false);
    next_epoch(w);
    connected(w, 0);
    cr_assert_eq(w->sent_count, 1u, "asked again");
    cr_assert_eq(epoch_of(w->sent[0].frame), 1u);
    cr_assert_eq(sent_query(w), id);
    query_reply(w, 2, id, "v", 5, 9, false);
    query_reply(w, 3, id, "v", 5, 9, false);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 0, id, "v", 5, 9, true);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_ANSWER);
    world_free(w);
}

/* BUSY of f of one epoch and one of the next is no f + 1. */
Test(match, busy_of_two_epochs_does_not_add_up)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct pbft_msg busy = {.type = PBFT_BUSY};
    busy.busy = (struct pbft_busy){SESSION, 1};
    deliver(w, 1, &busy, (struct pbft_span){NULL, 0}, false);
    next_epoch(w);
    deliver(w, 2, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 0u);
    deliver(w, 3, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 1u);
    world_free(w);
}

/* What q said is the answer; only its body is fetched, by questions of the new epoch. */
Test(match, what_was_agreed_on_survives_the_epoch)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    for (pbft_id from = 0; from < 3; from++)
        reply(w, from, &a);
    cr_assert_eq(w->done_count, 0u, "no body yet");
    next_epoch(w);
    connected(w, 1);
    for (size_t i = 0; i < w->sent_count; i++)
        cr_assert_neq(w->sent[i].type, PBFT_REQUEST, "it is executed");
    w->now += 1000 * MS;
    tick(w);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_RESULT_FETCH);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(1), "the one that agreed and is there");
    cr_assert_eq(epoch_of(w->sent[0].frame), 1u);
    struct answer lie = a;
    lie.text = "no";
    lie.whole = true;
    reply(w, 3, &lie);
    cr_assert_eq(w->done_count, 0u);
    a.whole = true;
    reply(w, 1, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, the_next_epoch_begins_with_the_first_primary_and_no_connection)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .view = 2};
    for (pbft_id from = 0; from < 3; from++)
        reply(w, from, &a);
    cr_assert_eq(pbft_match_primary(w->m), 2u);
    next_epoch(w);
    cr_assert_eq(pbft_match_primary(w->m), 0u);
    submit(w, 0);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4), "nobody is known to be there");
    world_free(w);
}

/* Without memory nothing is lost: the old frames stay until a tick finds some. */
Test(match, no_memory_for_new_signatures_is_tried_again)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_frame *held[64];
    size_t count = 0;
    submit(w, 0);
    submit(w, 0);
    read_op(w, false);
    forget_sent(w);
    for (uint32_t size = 32u << 20; size > 0; size /= 2) { /* all of the pool */
        while (count < 64) {
            struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), size);
            if (frame == NULL) break;
            held[count++] = frame;
        }
    }
    cr_assert_lt(count, (size_t)64);
    next_epoch(w);
    connected(w, 1);
    cr_assert_eq(w->sent_count, 3u);
    cr_assert_eq(epoch_of(w->sent[0].frame), 0u, "there is none other yet");
    tick(w);
    for (size_t i = 0; i < count; i++)
        pbft_frame_release(held[i]);
    tick(w);
    connected(w, 2);
    cr_assert_eq(w->sent_count, 3u);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(epoch_of(w->sent[i].frame), 1u);
    expect_signed(w, w->sent[0].frame, 1);
    expect_signed(w, w->sent[1].frame, 1);
    cr_assert_eq(w->sent[2].type, PBFT_QUERY);
    world_free(w);
}
