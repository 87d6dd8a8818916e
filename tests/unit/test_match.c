/* client/match: which replies make an answer, and what is sent when (FAULTS 2.25, 2.26; PROTOCOL 7,
 * 22, 31, 32). */
#include "tests/unit/match_fixture.h"

Test(match, first_request_goes_to_all_then_to_the_primary)
{
    struct world *w = world_new(4, 4, 16);
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(0));
    struct pbft_match_out out;
    pbft_match_disconnected(w->m, 2);
    pbft_match_connected(w->m, w->now, 2, &out); /* sees what is under way */
    take(w, &out);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[1].to, pbft_signers_of(2));
    pbft_match_disconnected(w->m, 0); /* nobody waits for a primary that is gone */
    cr_assert_eq(submit(w, 0), PBFT_OK);
    cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    world_free(w);
}

Test(match, what_a_dead_primary_had_goes_to_the_others_at_once)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    submit(w, 0); /* seen by the primary alone */
    pbft_match_disconnected(w->m, 3);
    cr_assert_gt(pbft_match_deadline(w->m), w->now);
    pbft_match_disconnected(w->m, 0);
    cr_assert_leq(pbft_match_deadline(w->m), w->now);
    tick(w);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[0].to & w->sent[1].to, pbft_everyone(4));
    cr_assert_gt(pbft_match_deadline(w->m), w->now, "once");
    world_free(w);
}

Test(match, answers_at_q_and_not_before)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true, .seq = 5};
    cr_assert_eq(reply(w, 0, &a), PBFT_OK);
    for (int i = 0; i < 5; i++)
        reply(w, 0, &a); /* one replica is one vote (FAULTS 2.9) */
    a.whole = false;
    reply(w, 1, &a);
    cr_assert_eq(w->done_count, 0u);
    reply(w, 2, &a);
    expect_answer(w, "yes");
    cr_assert_eq(pbft_match_stats(w->m)->answered, 1u);
    cr_assert_eq(pbft_match_outstanding(w->m), 0u);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u, "answered once");
    world_free(w);
}

Test(match, liars_up_to_f_plus_one_do_not_make_an_answer)
{
    for (uint32_t n = 4; n <= 10; n++) {
        struct world *w = world_new(n, 4, 16);
        submit(w, 0);
        struct answer lie = {
            .t = 1, .request = sent_digest(w), .text = "lie", .whole = true, .seq = 5};
        struct answer truth = lie;
        truth.text = "truth";
        uint32_t f = pbft_quorum_faults(n);
        for (pbft_id i = 0; i <= f; i++)
            reply(w, i, &lie);
        cr_assert_eq(w->done_count, 0u, "n = %u", n);
        reply(w, 0, &truth); /* a liar may think better of it */
        for (pbft_id i = f + 1; i < n; i++)
            reply(w, i, &truth);
        if (n - f >= pbft_quorum(n)) expect_answer(w, "truth");
        for (pbft_id i = 1; i <= f; i++)
            cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[i], 1u);
        cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[0], 0u);
        world_free(w);
    }
}

Test(match, a_late_lie_is_counted_once)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    expect_answer(w, "yes");
    a.text = "no";
    reply(w, 3, &a);
    reply(w, 3, &a);
    cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[3], 1u);
    a.text = "yes";
    a.request.bytes[0] ^= 1;
    reply(w, 2, &a); /* speaks of another request */
    cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[2], 1u);
    world_free(w);
}

Test(match, replies_to_another_request_or_session_do_not_match)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .whole = true};
    struct answer other = a;
    other.request.bytes[31] ^= 1;
    for (pbft_id i = 0; i < 4; i++)
        reply(w, i, &other);
    cr_assert_eq(w->done_count, 0u);
    other = a;
    other.t = 2;
    for (pbft_id i = 0; i < 4; i++)
        cr_assert_eq(reply(w, i, &other), PBFT_DROP_UNWANTED);
    other.t = UINT64_MAX;
    cr_assert_eq(reply(w, 0, &other), PBFT_DROP_UNWANTED);
    struct pbft_msg foreign = {.type = PBFT_REPLY};
    foreign.reply.session = SESSION + 1;
    foreign.reply.t = 1;
    cr_assert_eq(deliver(w, 0, &foreign, (struct pbft_span){NULL, 0}, false), PBFT_DROP_STATE);
    struct pbft_msg type = {.type = PBFT_ADMIN_REPLY};
    cr_assert_eq(deliver(w, 0, &type, (struct pbft_span){NULL, 0}, false), PBFT_DROP_TYPE);
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match, equal_digests_of_different_outcomes_do_not_match)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "x", .whole = true};
    reply(w, 0, &a);
    reply(w, 1, &a);
    a.outcome = PBFT_OUTCOME_STALE;
    reply(w, 2, &a);
    reply(w, 3, &a);
    cr_assert_eq(w->done_count, 0u);
    reply(w, 1, &a);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].outcome, PBFT_OUTCOME_STALE);
    cr_assert_not(pbft_match_opened(w->m));
    world_free(w);
}

/* Refused by LIMIT, executed by a later attempt; the refusals come after all. Found by the fuzzer
 * (corpus/client/regress-late-limit): nobody stood by the result any more, or was asked for it. */
Test(match, a_late_refusal_takes_nothing_back)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    struct answer executed = {.t = 1, .request = sent_digest(w), .text = "x", .seq = 2};
    struct answer limit = executed;
    limit.outcome = PBFT_OUTCOME_LIMIT;
    limit.seq = 1;
    reply(w, 0, &limit); /* before its execution it counts: this replica changes its mind below */
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &executed);
    for (pbft_id i = 0; i < 3; i++)
        cr_assert_eq(reply(w, i, &limit), PBFT_DROP_DUPLICATE);
    unsigned asked = 0;
    for (unsigned round = 0; round < 3; round++) {
        w->now = pbft_match_deadline(w->m);
        tick(w);
        for (size_t i = 0; i < w->sent_count; i++)
            asked += w->sent[i].type == PBFT_RESULT_FETCH;
    }
    cr_assert_gt(asked, 0u);
    cr_assert_eq(w->done_count, 0u);
    executed.whole = true;
    reply(w, 1, &executed);
    expect_answer(w, "x");
    world_free(w);
}

Test(match, the_primary_moves_at_f_plus_one_hints)
{
    struct world *w = world_new(7, 8, 16);
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes", .view = 1u << 30};
    reply(w, 6, &a);
    reply(w, 5, &a);
    reply(w, 5, &a);
    cr_assert_eq(pbft_match_primary(w->m), 0u);
    a.view = 3;
    reply(w, 1, &a); /* three are at 3 or above */
    cr_assert_eq(pbft_match_primary(w->m), 3u);
    a.view = 1;
    reply(w, 2, &a);
    cr_assert_eq(pbft_match_primary(w->m), 3u);
    world_free(w);
}

Test(match, busy_counts_from_f_plus_one)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    uint64_t first = pbft_match_deadline(w->m);
    w->now += 300 * MS;
    struct pbft_msg busy = {.type = PBFT_BUSY};
    busy.busy = (struct pbft_busy){SESSION, 1};
    for (int i = 0; i < 5; i++)
        deliver(w, 3, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(pbft_match_deadline(w->m), first);
    deliver(w, 1, &busy, (struct pbft_span){NULL, 0}, false);
    cr_assert_gt(pbft_match_deadline(w->m), first);
    cr_assert_eq(pbft_match_stats(w->m)->busy, 1u);
    world_free(w);
}

Test(match, retransmits_to_all_with_back_off)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    uint64_t last = w->now;
    uint64_t expected[] = {400, 800, 1600, 3200, 3200, 3200};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        w->now = pbft_match_deadline(w->m) - 1;
        tick(w);
        cr_assert_eq(w->sent_count, 0u);
        w->now++;
        cr_assert_eq(w->now - last, expected[i] * MS, "%zu", i);
        last = w->now;
        tick(w);
        cr_assert_eq(w->sent_count, 1u);
        cr_assert_eq(w->sent[0].to, pbft_everyone(4));
    }
    cr_assert_eq(pbft_match_stats(w->m)->retransmissions, 6u);
    world_free(w);
}

Test(match, a_timed_out_request_keeps_its_place_until_answered)
{
    struct world *w = world_new(4, 1, 2); /* two places */
    submit(w, 100 * MS);
    struct answer first = {.t = 1, .request = sent_digest(w), .text = "1", .whole = true};
    cr_assert_eq(submit(w, 0), PBFT_DROP_BUSY);
    w->now += 100 * MS;
    tick(w);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(w->done[0].result, PBFT_MATCH_TIMEOUT);
    forget_done(w);
    cr_assert_eq(submit(w, 0), PBFT_OK);
    struct answer second = {.t = 2, .request = sent_digest(w), .text = "2", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &second);
    expect_answer(w, "2");
    cr_assert_eq(submit(w, 0), PBFT_DROP_BUSY, "3 <= 1 + W is not answered (PROTOCOL 7)");
    w->now += 1000 * MS;
    tick(w);
    cr_assert_eq(w->sent_count, 1u, "still retransmitted");
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &first);
    cr_assert_eq(w->done_count, 0u, "the caller heard of it already");
    cr_assert_eq(submit(w, 0), PBFT_OK);
    world_free(w);
}

Test(match, t_is_sent_only_after_every_reply_up_to_t_minus_w)
{
    struct world *w = world_new(4, 4, 8); /* W = 8 */
    submit(w, 0);
    uint64_t sent = 1;
    for (int i = 0; i < 30; i++) {
        if (submit(w, 0) != PBFT_OK) break;
        sent++;
        struct answer a = {.t = sent, .request = sent_digest(w), .text = "x", .whole = true};
        for (pbft_id k = 0; k < 3; k++)
            reply(w, k, &a);
        expect_answer(w, "x");
    }
    cr_assert_eq(sent, 8u, "t = 9 needs the reply to t = 1");
    world_free(w);
}

Test(match, bounds_of_a_request)
{
    struct world *w = world_new(4, 4, 16);
    struct pbft_match_out out;
    uint8_t ops[16];
    size_t size = one_item(ops, "op");
    struct pbft_span span = {ops, size};
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 0, &out), PBFT_DROP_SIZE);
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 2, &out), PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, span, 4097, &out), PBFT_DROP_SIZE);
    size_t huge = w->cluster.params.batch_max_bytes;
    uint8_t *bytes = calloc(1, huge);
    /* The longest request that every replica accepts, and one byte more. */
    size_t most = huge - (8 + 32 + 8 + 8 + 4 + 64 + 16);
    pbft_put_u32(bytes, (uint32_t)(most - 4));
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, (struct pbft_span){bytes, most}, 1, &out),
                 PBFT_OK);
    take(w, &out);
    struct pbft_arena arena = {malloc(pbft_wire_arena_bytes(&w->cluster.params)),
                               pbft_wire_arena_bytes(&w->cluster.params), 0};
    struct pbft_msg msg;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(w->sent[0].frame), &w->cluster.params, &arena,
                                  &msg),
                 PBFT_OK);
    pbft_put_u32(bytes, (uint32_t)(most - 3));
    cr_assert_eq(pbft_match_submit(w->m, w->now, 0, 0, (struct pbft_span){bytes, most + 1}, 1,
                                   &out),
                 PBFT_DROP_SIZE);
    free(arena.base);
    free(bytes);
    world_free(w);
}

Test(match, fast_read_needs_q_on_result_and_mark)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    cr_assert_eq(w->sent_count, 2u);
    cr_assert_eq(w->sent[0].to | w->sent[1].to, pbft_everyone(4));
    cr_assert_eq(pbft_signers_count(w->sent[0].to), 1u, "one sends the body");
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 7, 900, false);
    struct pbft_msg forged = {.type = PBFT_QUERY_REPLY}; /* the digest of mark 7 under mark 8 */
    forged.query_reply = (struct pbft_query_reply){.id = id, .mark = 8, .executed = 11};
    uint8_t body[128];
    pbft_digest_query(&forged.query_reply.result, 0, 7, query_body(body, "u", 7));
    deliver(w, 3, &forged, (struct pbft_span){NULL, 0}, false);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 2, id, "u", 7, 11, false);
    cr_assert_eq(w->done[0].mark, 7u);
    cr_assert_not(w->done[0].fallback);
    expect_answer(w, "u");
    cr_assert_eq(pbft_match_floor(w->m), 11u, "two vouch for 11, one liar alone for 900");
    read_op(w, false);
    cr_assert_eq(sent_floor(w), 11u);
    world_free(w);
}

/* Several reads are one exchange; if they have to be ordered, they are one request. */
Test(match, a_bundle_of_fast_reads)
{
    struct world *w = world_new(4, 4, 16);
    uint8_t ops[64], body[64];
    size_t size = one_item(ops, "a");
    size += one_item(ops + size, "bb");
    struct pbft_span span = {ops, size};
    struct pbft_match_out out;
    cr_assert_eq(pbft_match_read(w->m, w->now, 0, 1, span, 0, false, &out), PBFT_DROP_SIZE);
    cr_assert_eq(pbft_match_read(w->m, w->now, 0, 1, span, 3, false, &out), PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_match_read(w->m, w->now, 0, 1, span, 1, false, &out), PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_match_read(w->m, w->now, 0, w->next_token++, span, 2, false, &out), PBFT_OK);
    take(w, &out);
    cr_assert_eq(w->sent_count, 2u);
    uint64_t id = sent_query(w);
    pbft_put_u32(body, 2);
    for (int round = 0; round < 2; round++) {
        /* The highest mark and the values are equal; the other mark tells two states apart. */
        uint64_t marks[4] = {3, 3, round == 0 ? 3 : 4, round == 0 ? 3 : 5};
        for (pbft_id i = 0; i < 4; i++) {
            struct pbft_msg msg = {.type = PBFT_QUERY_REPLY};
            msg.query_reply = (struct pbft_query_reply){.id = id,
                                                        .mark = 9,
                                                        .executed = 10,
                                                        .flags = PBFT_REPLY_HAS_BODY};
            pbft_put_u64(body + 4, marks[i]);
            pbft_put_u64(body + 12, 9);
            size_t end = 20 + one_item(body + 20, "u");
            end += one_item(body + end, "vv");
            pbft_digest_query(&msg.query_reply.result, 0, 9, (struct pbft_span){body, end});
            if (w->done_count == 0) deliver(w, i, &msg, (struct pbft_span){body, end}, true);
        }
        if (round == 1) break;
        cr_assert_eq(w->done_count, 1u);
        cr_assert_not(w->done[0].fallback);
        cr_assert_eq(w->done[0].mark, 9u);
        cr_assert_eq(w->done[0].body.size, 5u + 6u);
        cr_assert_eq(memcmp(w->done[0].body.data + 5, "\2\0\0\0vv", 6), 0);
        forget_done(w);
        forget_sent(w);
        cr_assert_eq(pbft_match_read(w->m, w->now, 0, w->next_token++, span, 2, false, &out),
                     PBFT_OK);
        take(w, &out);
        id = sent_query(w);
        forget_sent(w);
    }
    cr_assert_eq(w->done_count, 0u, "two of each");
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    const uint8_t *request = w->sent[0].frame->bytes + PBFT_WIRE_HEADER_BYTES + 48;
    cr_assert_eq(pbft_get_u32(request), 2u);
    cr_assert_eq(memcmp(request + 4, ops, size), 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "only one", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert(w->done[0].fallback);
    expect_answer(w, "only one"); /* the number of results is the quorum's word */
    world_free(w);
}

/* Whether results have room depends on the state, and a refusal does not say which that was: one
 * may stand before a write, the others after one that followed (PROTOCOL 32). */
Test(match, refused_reads_are_ordered)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    forget_sent(w);
    for (pbft_id i = 0; i < 3; i++) {
        cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 0u);
        struct pbft_msg msg = {.type = PBFT_QUERY_REPLY};
        msg.query_reply = (struct pbft_query_reply){.id = id,
                                                    .outcome = PBFT_OUTCOME_INVALID,
                                                    .executed = 10 + i,
                                                    .flags = i == 0};
        pbft_digest_query(&msg.query_reply.result, PBFT_OUTCOME_INVALID, 0,
                          (struct pbft_span){NULL, 0});
        deliver(w, i, &msg, (struct pbft_span){NULL, 0}, i == 0);
    }
    cr_assert_eq(w->done_count, 0u);
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "u", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert(w->done[0].fallback);
    expect_answer(w, "u");
    world_free(w);
}

Test(match, equal_values_with_different_marks_fall_back)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0); /* so that the fallback is sent to the primary alone */
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 9, 12, true);
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 0u);
    query_reply(w, 2, id, "v", 8, 12, true);
    cr_assert_eq(pbft_match_stats(w->m)->fallbacks, 1u);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    struct answer a = {.t = 2, .request = sent_digest(w), .text = "v", .whole = true};
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert(w->done[0].fallback);
    expect_answer(w, "v");
    for (pbft_id i = 0; i < 4; i++)
        cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[i], 0u, "lagging is no lie");
    world_free(w);
}

/* The highest mark of a bundle does not name its state: another's may differ. */
Test(match, a_laggard_with_an_equal_highest_mark_tells_no_lie)
{
    struct world *w = world_new(4, 4, 16);
    uint8_t ops[64];
    size_t size = one_item(ops, "a");
    size += one_item(ops + size, "b");
    struct pbft_match_out out;
    cr_assert_eq(pbft_match_read(w->m, w->now, 0, 0, (struct pbft_span){ops, size}, 2, false, &out),
                 PBFT_OK);
    take(w, &out);
    uint64_t id = sent_query(w);
    query_reply(w, 3, id, "a=u at 10, b=u at 3", 10, 4, true);
    for (pbft_id i = 0; i < 3; i++)
        query_reply(w, i, id, "a=u at 10, b=v at 5", 10, 5, true);
    cr_assert_eq(w->done_count, 1u);
    cr_assert_eq(pbft_match_stats(w->m)->wrong_replies[3], 0u, "it is behind");
    world_free(w);
}

Test(match, silent_fast_read_is_ordered_after_its_patience)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    query_reply(w, 0, id, "u", 7, 10, true);
    query_reply(w, 1, id, "u", 7, 10, true);
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 100 * MS);
    w->now += 100 * MS;
    tick(w);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    cr_assert_eq(query_reply(w, 2, id, "u", 7, 10, true), PBFT_DROP_UNWANTED);
    cr_assert_eq(w->done_count, 0u);
    world_free(w);
}

Test(match, fast_read_without_a_body_asks_those_who_agreed)
{
    struct world *w = world_new(4, 4, 16);
    read_op(w, false);
    uint64_t id = sent_query(w);
    for (pbft_id i = 0; i < 3; i++)
        query_reply(w, i, id, "u", 7, 10, false);
    if (w->sent_count == 0) { /* the designated one is the missing one: wait for it a little */
        w->now = pbft_match_deadline(w->m);
        tick(w);
    }
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].type, PBFT_QUERY);
    cr_assert_eq(w->sent[0].to & pbft_signers_of(3), 0u);
    /* A liar cannot slip another body in. */
    cr_assert_eq(query_reply(w, 3, id, "w", 7, 10, true), PBFT_DROP_UNWANTED);
    cr_assert_eq(w->done_count, 0u);
    query_reply(w, 1, id, "u", 7, 10, true);
    expect_answer(w, "u");
    world_free(w);
}

Test(match, ordered_read_skips_the_fast_path)
{
    struct world *w = world_new(4, 1, 2);
    cr_assert_eq(read_op(w, true), PBFT_OK);
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "v", .whole = true, .seq = 4};
    cr_assert_eq(read_op(w, true), PBFT_DROP_BUSY);
    cr_assert_eq(read_op(w, false), PBFT_OK, "fast reads have a window of their own");
    cr_assert_eq(read_op(w, false), PBFT_DROP_BUSY);
    for (pbft_id i = 0; i < 3; i++)
        reply(w, i, &a);
    cr_assert_not(w->done[0].fallback);
    expect_answer(w, "v");
    cr_assert(pbft_match_opened(w->m));
    world_free(w);
}
