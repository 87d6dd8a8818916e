/* replica/apply: the rules of PROTOCOL 6-12, 24, 32 and FAULTS 2.31, 2.32, 4.12, 4.13, 4.19, one by
 * one. Properties over random histories are in test_apply_random.c. */
#include "tests/unit/apply_fixture.h"

static struct fixture f;

static void opened(void)
{
    struct pbft_params params = fixture_params();
    fixture_open(&f, &params, &probe_service);
}

static void closed(void)
{
    fixture_close(&f);
}

TestSuite(apply, .init = opened, .fini = closed);

static bool same(struct pbft_digest a, struct pbft_digest b)
{
    return pbft_digest_equal(&a, &b);
}

/* ---- genesis, null, time ------------------------------------------------------------------ */

Test(apply, genesis_is_a_function_of_service_and_parameters)
{
    struct fixture g;
    struct pbft_params params = fixture_params();
    fixture_open(&g, &params, &probe_service);
    cr_assert_eq(pbft_apply_seq(f.apply), 0);
    cr_assert(same(fixture_root(&f), fixture_root(&g)));
    cr_assert_eq(fixture_entries(&f), 2); /* the service's, and the engine's own record */
    fixture_close(&g);
}

/* FAULTS 4.12, PROTOCOL 30: a null request changes the sequence number and nothing else. */
Test(apply, null_changes_the_sequence_number_only)
{
    fixture_outcome(&f, fixture_count(0, 1, 1));
    struct pbft_digest before = fixture_root(&f);
    uint64_t entries = fixture_entries(&f), time = f.done.effective_ns, due = f.done.next_due_ns;
    fixture_drop_replies(&f);
    pbft_apply_execute(f.apply, 2, NULL, &f.done);
    cr_assert_eq(f.done.seq, 2);
    cr_assert_eq(f.done.applied_count, 0);
    cr_assert_eq(f.done.effective_ns, time);
    cr_assert_eq(f.done.next_due_ns, due);
    cr_assert_eq(fixture_entries(&f), entries);
    cr_assert_not(same(fixture_root(&f), before));
}

/* PROTOCOL 11: effective time = max(agreed, previous). */
Test(apply, time_never_decreases)
{
    static const uint8_t items[] = {1, 0, 0, 0, 't'};
    struct pbft_span op = {items, sizeof items};
    uint64_t start = f.now_ns;
    struct pbft_reply r = fixture_one(&f, fixture_request(0, 1, 1, op, 1));
    cr_assert_eq(fixture_number(&r), start);
    f.now_ns = start - 5;
    r = fixture_one(&f, fixture_request(0, 1, 2, op, 1));
    cr_assert_eq(fixture_number(&r), start);
    cr_assert_eq(f.done.effective_ns, start);
    f.now_ns = start + 5;
    r = fixture_one(&f, fixture_request(0, 1, 3, op, 1));
    cr_assert_eq(fixture_number(&r), start + 5);
    cr_assert_eq(pbft_apply_effective_ns(f.apply), start + 5);
}

/* ---- exactly once ------------------------------------------------------------------------- */

/* FAULTS 4.13, 2.7: a request ordered again, in one batch or at another number, runs once. */
Test(apply, a_duplicate_gets_the_record)
{
    struct pbft_request twice[] = {fixture_count(1, 9, 1), fixture_count(1, 9, 1)};
    fixture_execute(&f, twice, 2);
    for (int i = 0; i < 2; i++) {
        struct pbft_reply r = fixture_reply(&f, &f.done.applied[i]);
        cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
        cr_assert_eq(r.seq, 1);
        cr_assert_eq(fixture_number(&r), 1);
    }
    struct pbft_digest root = fixture_root(&f);
    uint64_t entries = fixture_entries(&f);
    for (int i = 0; i < 10; i++) {
        struct pbft_reply r = fixture_one(&f, fixture_count(1, 9, 1));
        cr_assert_eq(fixture_number(&r), 1);
        cr_assert_eq(r.seq, 1, "where it executed, not where it came again");
        cr_assert_eq(fixture_entries(&f), entries);
    }
    cr_assert_not(same(root, fixture_root(&f)), "the sequence number is under the root");
}

/* FAULTS 2.31: same t, other operations: one executes. */
Test(apply, another_request_with_the_same_number_conflicts)
{
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 1)), PBFT_OUTCOME_EXECUTED);
    uint64_t entries = fixture_entries(&f);
    struct pbft_reply r = fixture_one(&f, fixture_other(0, 1, 1));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_CONFLICT);
    cr_assert_eq(r.body.size, 4);
    cr_assert_eq(fixture_entries(&f), entries);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 1)), PBFT_OUTCOME_EXECUTED);
    /* Another client, another session: no relation. */
    cr_assert_eq(fixture_outcome(&f, fixture_other(1, 1, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_other(0, 2, 1)), PBFT_OUTCOME_EXECUTED);
}

/* PROTOCOL 7: numbers may come in any order within the window. */
Test(apply, window_of_outstanding_numbers)
{
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 4)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(f.done.applied[0].low, 0);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 2)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 0)), PBFT_OUTCOME_STALE);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 6)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(f.done.applied[0].low, 2);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 2)), PBFT_OUTCOME_STALE);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 1)), PBFT_OUTCOME_STALE);
    cr_assert_eq(f.done.applied[0].low, 2);
    struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, 3));
    cr_assert_eq(fixture_number(&r), 1, "in the window and never executed");
    r = fixture_one(&f, fixture_count(0, 1, 4));
    cr_assert_eq(r.seq, 1, "a record");
}

/* Records that leave the window are gone from the state: it stays as large as W is. */
Test(apply, records_leave_with_the_window)
{
    uint64_t t = 0, base = 0;
    for (unsigned i = 1; i <= 40; i++) {
        t += 1 + i % 7; /* steps within, at and beyond W = 4 */
        fixture_outcome(&f, fixture_count(2, 1, t));
        uint64_t records = fixture_entries(&f) - i; /* less the service's own */
        if (i == 1) base = records - 1;
        cr_assert_leq(records - base, 4);
        if (i % 7 >= 3) cr_assert_eq(records - base, 1, "step %u", i);
    }
}

/* FAULTS 2.32: the greatest number uses up this one session and harms nobody else. */
Test(apply, greatest_number_harms_its_client_only)
{
    fixture_outcome(&f, fixture_count(0, 1, 1));
    fixture_outcome(&f, fixture_count(1, 1, 1));
    struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, UINT64_MAX));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(f.done.applied[0].low, UINT64_MAX - 4);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 2)), PBFT_OUTCOME_STALE);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, UINT64_MAX)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, UINT64_MAX - 3)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 2, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(1, 1, 2)), PBFT_OUTCOME_EXECUTED);
}

/* ---- sessions ----------------------------------------------------------------------------- */

/* PROTOCOL 6: only a number above every earlier one opens. */
Test(apply, session_numbers_only_grow)
{
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 0, 1)), PBFT_OUTCOME_EXPIRED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 10, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 9, 1)), PBFT_OUTCOME_EXPIRED);
    cr_assert_eq(f.done.applied[0].low, UINT64_MAX, "nothing of that session can ever run");
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 11, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 10, 2)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(1, 9, 1)), PBFT_OUTCOME_EXECUTED);
    /* Number 0 is no request: it opens nothing. */
    uint64_t entries = fixture_entries(&f);
    cr_assert_eq(fixture_outcome(&f, fixture_count(2, 5, 0)), PBFT_OUTCOME_STALE);
    cr_assert_eq(fixture_entries(&f), entries);
    cr_assert_eq(fixture_outcome(&f, fixture_count(2, 4, 1)), PBFT_OUTCOME_EXECUTED);
}

/* PROTOCOL 6, Else: an old signed request must not bring a retired session back. */
Test(apply, a_retired_session_never_returns)
{
    fixture_outcome(&f, fixture_count(0, 5, 1));
    cr_assert_eq(f.done.next_due_ns, f.now_ns + FIXTURE_IDLE_NS);
    f.now_ns += FIXTURE_IDLE_NS;
    fixture_execute(&f, NULL, 0); /* the empty timed batch of PROTOCOL 12 */
    cr_assert_eq(f.done.next_due_ns, 0);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 5, 1)), PBFT_OUTCOME_EXPIRED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 5, 2)), PBFT_OUTCOME_EXPIRED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 4, 1)), PBFT_OUTCOME_EXPIRED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 6, 1)), PBFT_OUTCOME_EXECUTED);
}

Test(apply, retiring_leaves_one_number_behind)
{
    uint64_t before = fixture_entries(&f);
    for (uint64_t t = 1; t <= 4; t++)
        fixture_outcome(&f, fixture_count(3, 1, t));
    cr_assert_eq(fixture_entries(&f), before + 4 + 1 + 1 + 1 + 4);
    f.now_ns += FIXTURE_IDLE_NS - 1;
    fixture_execute(&f, NULL, 0);
    cr_assert_eq(fixture_entries(&f), before + 11, "a nanosecond early");
    f.now_ns += 1;
    fixture_execute(&f, NULL, 0);
    cr_assert_eq(fixture_entries(&f), before + 4 + 1);
}

Test(apply, activity_keeps_a_session)
{
    uint64_t t = 0;
    fixture_outcome(&f, fixture_count(1, 1, ++t));
    uint64_t idle_from = f.now_ns;
    for (int i = 0; i < 50; i++) {
        f.now_ns += 3u * (uint64_t)FIXTURE_SECOND;
        cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, ++t)), PBFT_OUTCOME_EXECUTED);
        bool idle = f.now_ns - idle_from < FIXTURE_IDLE_NS;
        struct pbft_applied out;
        struct pbft_request q = fixture_count(1, 1, 2);
        enum pbft_lookup known = pbft_apply_lookup(f.apply, 1, 1, 2, &q.digest, &out);
        cr_assert_eq(known, idle ? PBFT_LOOKUP_NEW : PBFT_LOOKUP_REPLY);
        pbft_frame_release(out.reply);
    }
    /* Just short of idle, never longer ago than that: kept; duplicates keep nothing alive. */
    uint64_t last = f.now_ns;
    while (f.now_ns < last + FIXTURE_IDLE_NS - FIXTURE_SECOND) {
        f.now_ns += FIXTURE_SECOND;
        cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, t)), PBFT_OUTCOME_EXECUTED);
    }
    f.now_ns += FIXTURE_SECOND;
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, t)), PBFT_OUTCOME_EXPIRED);
}

/* PROTOCOL 8: at a bound opening is refused, and the refusal leaves no trace. */
Test(apply, sessions_of_a_client_are_bounded)
{
    for (uint64_t s = 1; s <= 3; s++)
        cr_assert_eq(fixture_outcome(&f, fixture_count(0, s, 1)), PBFT_OUTCOME_EXECUTED);
    uint64_t entries = fixture_entries(&f);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 9, 1)), PBFT_OUTCOME_LIMIT);
    cr_assert_eq(f.done.applied[0].low, 0);
    cr_assert_eq(fixture_entries(&f), entries);
    cr_assert_eq(fixture_outcome(&f, fixture_count(1, 9, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 3, 2)), PBFT_OUTCOME_EXECUTED);
    struct pbft_applied out;
    struct pbft_request q = fixture_count(0, 9, 1);
    cr_assert_eq(pbft_apply_lookup(f.apply, 0, 9, 1, &q.digest, &out), PBFT_LOOKUP_NEW);
    /* Refused is not used: the same number opens once the idle ones are gone. */
    f.now_ns += FIXTURE_IDLE_NS;
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 9, 1)), PBFT_OUTCOME_EXECUTED);
}

Test(apply, sessions_of_all_clients_are_bounded)
{
    for (uint32_t c = 0; c < 2; c++)
        for (uint64_t s = 1; s <= 3; s++)
            cr_assert_eq(fixture_outcome(&f, fixture_count(c, s, 1)), PBFT_OUTCOME_EXECUTED);
    f.now_ns += 10u * (uint64_t)FIXTURE_SECOND;
    cr_assert_eq(fixture_outcome(&f, fixture_count(2, 1, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(2, 2, 1)), PBFT_OUTCOME_LIMIT);
    cr_assert_eq(fixture_outcome(&f, fixture_count(3, 1, 1)), PBFT_OUTCOME_LIMIT);
    f.now_ns += 7u * (uint64_t)FIXTURE_SECOND; /* the six are idle, the seventh is not */
    cr_assert_eq(fixture_outcome(&f, fixture_count(3, 1, 1)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(2, 1, 2)), PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 3, 2)), PBFT_OUTCOME_EXPIRED);
}

/* Work per batch is bounded: what is left over is due at once and goes with the next batches. */
Test(apply_bounds, retiring_is_bounded_per_batch)
{
    struct pbft_params params = fixture_params();
    params.session_window = 2048;
    params.sessions_per_client = 8;
    params.sessions_total = 8;
    fixture_open(&f, &params, &probe_service);
    uint64_t before = fixture_entries(&f);
    struct pbft_request requests[64];
    uint64_t run = 0;
    for (uint64_t s = 1; s <= 8; s++) {
        for (uint64_t t = 1; t <= 1024; t += 64) {
            for (uint64_t i = 0; i < 64; i++)
                requests[i] = fixture_count(0, s, t + i);
            fixture_execute(&f, requests, 64);
            run += 64;
        }
    }
    f.now_ns += FIXTURE_IDLE_NS;
    for (unsigned batches = 1;; batches++) {
        fixture_execute(&f, NULL, 0);
        if (f.done.next_due_ns == 0) {
            cr_assert_eq(batches, 2); /* 4 sessions of 1,025 entries pass 4,096 */
            break;
        }
        cr_assert_leq(f.done.next_due_ns, f.done.effective_ns);
        cr_assert_lt(batches, 8);
    }
    cr_assert_eq(fixture_entries(&f), before + run + 1);
    fixture_close(&f);
}

/* ---- bundles and bounds (PROTOCOL 9) ------------------------------------------------------ */

Test(apply, results_in_order)
{
    uint8_t items[64];
    size_t size = fixture_blob(items, 3);
    memcpy(items + size,
           "\x01\0\0\0"
           "0",
           5);                               /* an empty result */
    memcpy(items + size + 5, "\0\0\0\0", 4); /* an empty operation */
    size += 9;
    memcpy(items + size,
           "\x01\0\0\0"
           "n",
           5);
    size += 5;
    struct pbft_reply r =
        fixture_one(&f, fixture_request(0, 1, 1, (struct pbft_span){items, size}, 4));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(pbft_get_u32(r.body.data), 4);
    const size_t sizes[] = {3, 0, 0, 8};
    struct pbft_span results = {r.body.data + 4, r.body.size - 4}, item;
    size_t cursor = 0;
    for (int i = 0; i < 4; i++) {
        cr_assert(pbft_wire_next_item(results, &cursor, &item));
        cr_assert_eq(item.size, sizes[i]);
    }
    cr_assert_eq(cursor, results.size);
    cr_assert_eq(pbft_get_u64(item.data), 1);
}

static struct pbft_reply blobs(uint64_t t, const uint32_t *sizes, uint32_t count)
{
    static uint8_t items[16 * 9];
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += fixture_blob(items + size, sizes[i]);
    return fixture_one(&f, fixture_request(0, 1, t, (struct pbft_span){items, size}, count));
}

/* reply_max_bytes is exact; a result beyond it ends the bundle, which is recorded all the same. */
Test(apply, results_are_bounded)
{
    uint32_t size = 2048 - 4 - 4;
    struct pbft_reply r = blobs(1, &size, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(r.body.size, 2048);
    size++;
    r = blobs(2, &size, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(r.body.size, 4);
    uint64_t entries = fixture_entries(&f);
    r = blobs(2, &size, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(r.seq, 2, "INVALID is a record like any other");
    cr_assert_eq(fixture_entries(&f), entries);
    cr_assert_eq(fixture_outcome(&f, fixture_count(0, 1, 2)), PBFT_OUTCOME_CONFLICT);

    /* The first result fits, the second does not, the third is not tried. */
    uint32_t three[] = {1000, 1500, 1};
    r = blobs(3, three, 3);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(pbft_get_u32(r.body.data), 1);
    cr_assert_eq(r.body.size, 4 + 4 + 1000);
    cr_assert_eq(fixture_entries(&f), entries + 2 + 1, "two ran, and a record");

    /* A large result leaves the later ones their share. */
    uint32_t greedy[] = {2048 - 8 - 2 * 68 + 1, 64, 64}, fair[] = {2048 - 8 - 2 * 68, 64, 64};
    r = blobs(4, greedy, 3);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(pbft_get_u32(r.body.data), 0, "the greedy one goes, not the last");
    cr_assert_eq(blobs(5, fair, 3).outcome, PBFT_OUTCOME_EXECUTED);
}

/* A small reply is shared out evenly: no operation is refused because others might follow. */
Test(apply_bounds, a_small_reply_is_shared_evenly)
{
    struct pbft_params params = fixture_params();
    params.reply_max_bytes = 4 + 16 * 16;
    fixture_open(&f, &params, &probe_service);
    uint32_t sizes[16];
    for (int i = 0; i < 16; i++)
        sizes[i] = 12;
    struct pbft_reply r = blobs(1, sizes, 16);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(r.body.size, 4 + 16 * 16);
    sizes[15] = 13;
    r = blobs(2, sizes, 16);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(pbft_get_u32(r.body.data), 15);
    fixture_close(&f);
}

Test(apply, bundle_size_is_bounded)
{
    uint8_t items[17 * 4];
    memset(items, 0, sizeof items);
    struct pbft_reply r =
        fixture_one(&f, fixture_request(0, 1, 1, (struct pbft_span){items, 16 * 4}, 16));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    uint64_t entries = fixture_entries(&f);
    r = fixture_one(&f, fixture_request(0, 1, 2, (struct pbft_span){items, 17 * 4}, 17));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert_eq(pbft_get_u32(r.body.data), 0);
    cr_assert_eq(fixture_entries(&f), entries + 1, "no operation ran, t is used");
    r = fixture_one(&f, fixture_request(0, 1, 3, (struct pbft_span){NULL, 0}, 0));
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
}

/* The largest replies do not fit into one entry of the tree. */
Test(apply_bounds, records_of_many_parts)
{
    struct pbft_params params = fixture_params();
    params.reply_max_bytes = 2u << 20;
    fixture_open(&f, &params, &probe_service);
    fixture_outcome(&f, fixture_count(0, 1, 1));
    uint64_t entries = fixture_entries(&f);
    const uint32_t mib = 1u << 20;
    uint32_t sizes[] = {mib - 8, mib - 7, 2 * mib - 8, 5, 2 * mib - 8};
    for (uint64_t i = 0; i < 5; i++) {
        struct pbft_reply r = blobs(2 + i, &sizes[i], 1);
        cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
        cr_assert_eq(r.body.size, 8 + (size_t)sizes[i]);
        struct pbft_digest result = r.result;
        r = blobs(2 + i, &sizes[i], 1);
        cr_assert_eq(r.seq, 2 + 2 * i, "from the record");
        cr_assert(same(r.result, result));
    }
    /* Each part goes with its record: slots hold t = 3..6, three of them have a second part, and
     * t = 6 took the slot of t = 2. */
    cr_assert_eq(fixture_entries(&f), entries + 5 + 3 + 3);
    /* A jump clears the rest, a small record takes the slot of a large one. */
    fixture_outcome(&f, fixture_count(0, 1, 10));
    cr_assert_eq(fixture_entries(&f), entries + 6);
    blobs(14, &sizes[2], 1);
    cr_assert_eq(fixture_entries(&f), entries + 8);
    fixture_outcome(&f, fixture_count(0, 1, 18));
    cr_assert_eq(fixture_entries(&f), entries + 8);
    blobs(22, &sizes[2], 1);
    f.now_ns += FIXTURE_IDLE_NS;
    fixture_execute(&f, NULL, 0);
    cr_assert_eq(f.done.next_due_ns, 0);
    cr_assert_eq(fixture_entries(&f), 2 + 10 + 1);
    fixture_close(&f);
}

/* ---- look-ups, queries, memory ------------------------------------------------------------ */

Test(apply, lookup_says_what_execution_would)
{
    struct pbft_applied out;
    for (uint64_t t = 3; t <= 6; t++)
        fixture_outcome(&f, fixture_count(0, 5, t));
    struct pbft_digest root = fixture_root(&f);
    struct {
        struct pbft_request request;
        int outcome; /* -1: new */
        uint64_t low;
    } cases[] = {
        {fixture_count(0, 5, 6), PBFT_OUTCOME_EXECUTED, 2},
        {fixture_other(0, 5, 6), PBFT_OUTCOME_CONFLICT, 2},
        {fixture_count(0, 5, 2), PBFT_OUTCOME_STALE, 2},
        {fixture_count(0, 5, 0), PBFT_OUTCOME_STALE, 2},
        {fixture_count(0, 4, 1), PBFT_OUTCOME_EXPIRED, UINT64_MAX},
        {fixture_count(0, 5, 7), -1, 2},
        {fixture_count(0, 6, 1), -1, 0},
        {fixture_count(1, 1, 1), -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct pbft_request *q = &cases[i].request;
        enum pbft_lookup found =
            pbft_apply_lookup(f.apply, q->client_index, q->session, q->t, &q->digest, &out);
        cr_assert_eq(found, cases[i].outcome < 0 ? PBFT_LOOKUP_NEW : PBFT_LOOKUP_REPLY);
        cr_assert_eq(out.low, cases[i].low);
        if (found == PBFT_LOOKUP_NEW) {
            cr_assert_null(out.reply);
            continue;
        }
        cr_assert_eq(fixture_reply(&f, &out).outcome, cases[i].outcome, "case %zu", i);
        pbft_frame_release(out.reply);
    }
    cr_assert(same(root, fixture_root(&f)));
}

/* RESULT-FETCH: the record itself, or nothing. */
Test(apply, results_by_number)
{
    for (uint64_t t = 1; t <= 5; t++)
        fixture_outcome(&f, fixture_count(0, 5, t));
    fixture_outcome(&f, fixture_count(0, 5, 7));
    cr_assert_null(pbft_apply_result(f.apply, 0, 5, 3), "left the window");
    cr_assert_null(pbft_apply_result(f.apply, 0, 5, 6), "not executed");
    cr_assert_null(pbft_apply_result(f.apply, 0, 5, 8));
    cr_assert_null(pbft_apply_result(f.apply, 0, 4, 4));
    cr_assert_null(pbft_apply_result(f.apply, 1, 5, 4));
    struct pbft_applied out = {.session = 5, .t = 4, .request = fixture_count(0, 5, 4).digest};
    out.reply = pbft_apply_result(f.apply, 0, 5, 4);
    struct pbft_reply r = fixture_reply(&f, &out);
    cr_assert_eq(r.seq, 4);
    cr_assert_eq(fixture_number(&r), 1);
    pbft_frame_release(out.reply);
}

/* Without frames the state is the same, and the client asks again. */
Test(apply, a_dry_pool_costs_replies_only)
{
    struct fixture g;
    struct pbft_params params = fixture_params();
    fixture_open(&g, &params, &probe_service);
    struct pbft_request request = fixture_count(0, 1, 1);
    f.pool.refuse = true;
    fixture_execute(&f, &request, 1);
    fixture_execute(&g, &request, 1);
    cr_assert_null(f.done.applied[0].reply);
    cr_assert_not_null(g.done.applied[0].reply);
    cr_assert(same(fixture_root(&f), fixture_root(&g)));
    struct pbft_query query = {.id = 1,
                               .op_count = 1,
                               .ops = {(const uint8_t *)"\1\0\0\0s", 5},
                               .want_body = 1};
    cr_assert_null(pbft_apply_query(f.apply, &query));
    f.pool.refuse = false;
    cr_assert_eq(fixture_outcome(&f, request), PBFT_OUTCOME_EXECUTED);
    fixture_close(&g);
}

static struct pbft_query_reply ask_all(struct pbft_span ops, uint32_t count, uint8_t want_body)
{
    static uint8_t body[4096];
    struct pbft_query query = {.id = 77, .op_count = count, .ops = ops, .want_body = want_body};
    struct pbft_frame *frame = pbft_apply_query(f.apply, &query);
    cr_assert_not_null(frame);
    struct pbft_arena arena = {f.arena, f.arena_size, 0};
    struct pbft_msg msg;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(frame), &f.cluster.params, &arena, &msg),
                 PBFT_OK);
    cr_assert_eq(msg.type, PBFT_QUERY_REPLY);
    cr_assert_eq(msg.query_reply.id, 77);
    cr_assert_eq(msg.query_reply.executed, pbft_apply_seq(f.apply));
    cr_assert_eq(msg.query_reply.flags, want_body ? PBFT_REPLY_HAS_BODY : 0);
    struct pbft_query_reply r = msg.query_reply;
    if (r.body.size > 0) memcpy(body, r.body.data, r.body.size);
    r.body.data = body;
    pbft_frame_release(frame);
    return r;
}

static size_t put_item(uint8_t *out, const char *op, size_t size)
{
    pbft_put_u32(out, (uint32_t)size);
    memcpy(out + 4, op, size);
    return 4 + size;
}

static struct pbft_query_reply ask(const char *op, size_t size, uint8_t want_body)
{
    uint8_t item[64];
    return ask_all((struct pbft_span){item, put_item(item, op, size)}, 1, want_body);
}

Test(apply, queries)
{
    struct pbft_digest digest;
    fixture_outcome(&f, fixture_count(0, 1, 1));
    fixture_outcome(&f, fixture_count(0, 1, 2));
    struct pbft_query_reply r = ask("s", 1, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(pbft_get_u32(r.body.data), 1, "one result");
    cr_assert_eq(pbft_get_u64(r.body.data + 4), 2, "its mark");
    cr_assert_eq(pbft_get_u32(r.body.data + 12), 8);
    cr_assert_eq(pbft_get_u64(r.body.data + 16), 3);
    cr_assert_eq(r.mark, 2);
    pbft_digest_query(&digest, r.outcome, r.mark, r.body);
    cr_assert(same(digest, r.result));
    struct pbft_query_reply brief = ask("s", 1, 0);
    cr_assert_eq(brief.body.size, 0);
    cr_assert(same(brief.result, r.result));

    /* A result beyond the bound: INVALID without a body, equal everywhere. */
    cr_assert_eq(ask("b\xf8\x07\0\0", 5, 1).body.size, 16 + 2040);
    r = ask("b\xf9\x07\0\0", 5, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert(r.body.size == 0 && r.mark == 0);
}

/* A bundle of reads: one state, and for each its own mark. */
Test(apply, queries_of_several)
{
    fixture_outcome(&f, fixture_count(0, 1, 1));
    fixture_outcome(&f, fixture_count(0, 1, 2));
    uint8_t items[256];
    size_t size = put_item(items, "s", 1);
    size += put_item(items + size, "b\x02\0\0\0", 5);
    size += put_item(items + size, "gborn", 5);
    struct pbft_query_reply r = ask_all((struct pbft_span){items, size}, 3, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(r.mark, 2, "the highest");
    cr_assert_eq(pbft_get_u32(r.body.data), 3);
    cr_assert_eq(pbft_get_u64(r.body.data + 4), 2);
    cr_assert_eq(pbft_get_u64(r.body.data + 12), 0, "nothing of the state was read");
    struct pbft_span results = pbft_wire_query_results(r.body), result;
    size_t cursor = 0;
    cr_assert(pbft_wire_next_item(results, &cursor, &result));
    cr_assert_eq(pbft_get_u64(result.data), 3);
    cr_assert(pbft_wire_next_item(results, &cursor, &result));
    cr_assert_eq(result.size, 2);
    cr_assert(pbft_wire_next_item(results, &cursor, &result));
    cr_assert_eq(result.size, 8);
    cr_assert_not(pbft_wire_next_item(results, &cursor, &result));
    struct pbft_query_reply brief = ask_all((struct pbft_span){items, size}, 3, 0);
    cr_assert_eq(brief.body.size, 0);
    cr_assert(same(brief.result, r.result));

    /* One that has no room: INVALID, and none of the others is told. */
    size = put_item(items, "s", 1);
    size += put_item(items + size, "b\xf8\x07\0\0", 5);
    r = ask_all((struct pbft_span){items, size}, 2, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_INVALID);
    cr_assert(r.body.size == 0 && r.mark == 0);
    size = 0;
    for (int i = 0; i < 16; i++) /* as many as may be: each has its share */
        size += put_item(items + size, "s", 1);
    r = ask_all((struct pbft_span){items, size}, 16, 1);
    cr_assert_eq(r.outcome, PBFT_OUTCOME_EXECUTED);
    cr_assert_eq(pbft_get_u32(r.body.data), 16);
    cr_assert_eq(r.body.size, 4 + 16 * (8 + 4 + 8));
}

Test(apply_bounds, a_service_without_queries)
{
    struct pbft_service service = probe_service;
    struct pbft_params params = fixture_params();
    service.query = NULL;
    fixture_open(&f, &params, &service);
    cr_assert_eq(ask("s", 1, 1).outcome, PBFT_OUTCOME_INVALID);
    fixture_close(&f);
}

/* ---- rollback and transfer ---------------------------------------------------------------- */

static void reload(struct fixture *g, pbft_seq expected)
{
    pbft_seq seq;
    uint64_t effective, due;
    cr_assert_eq(pbft_apply_reload(g->apply, &seq, &effective, &due), PBFT_STATUS_OK);
    cr_assert_eq(seq, expected);
    cr_assert_eq(effective, pbft_apply_effective_ns(g->apply));
}

/* PROTOCOL 35: rolling back restores sessions with the root. */
Test(apply, rollback_restores_sessions)
{
    fixture_outcome(&f, fixture_count(0, 1, 1));
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(f.apply);
    struct pbft_digest root = fixture_root(&f);
    fixture_outcome(&f, fixture_count(0, 1, 2));
    fixture_outcome(&f, fixture_count(0, 2, 1));
    struct pbft_digest later = fixture_root(&f);
    f.now_ns += FIXTURE_IDLE_NS;
    fixture_execute(&f, NULL, 0);
    f.now_ns -= FIXTURE_IDLE_NS;
    pbft_tree_rollback(pbft_apply_tree(f.apply), snapshot);
    pbft_snapshot_release(snapshot);
    reload(&f, 1);
    cr_assert(same(fixture_root(&f), root));
    struct pbft_reply r = fixture_one(&f, fixture_count(0, 1, 2));
    cr_assert_eq(fixture_number(&r), 1, "it did not happen");
    r = fixture_one(&f, fixture_count(0, 2, 1));
    cr_assert_eq(fixture_number(&r), 1);
    cr_assert(same(fixture_root(&f), later));
}

Test(apply, a_tree_without_our_record_is_refused)
{
    struct pbft_tree *tree = pbft_apply_tree(f.apply);
    uint8_t key = 0x50;
    pbft_seq seq;
    uint64_t effective, due;
    cr_assert(pbft_tree_delete(tree, (struct pbft_span){&key, 1}, 1));
    cr_assert_eq(pbft_apply_reload(f.apply, &seq, &effective, &due), PBFT_STATUS_CORRUPT);
    cr_assert_eq(pbft_tree_put(tree, (struct pbft_span){&key, 1}, (struct pbft_span){&key, 1}, 1),
                 PBFT_STATUS_OK);
    cr_assert_eq(pbft_apply_reload(f.apply, &seq, &effective, &due), PBFT_STATUS_CORRUPT);
}

/* Fetch the state of `from` into `to`, page by page. */
static void transfer(struct fixture *from, struct fixture *to)
{
    static uint8_t page[1u << 20];
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(from->apply);
    struct pbft_install *install;
    struct pbft_install_limits limits = {1u << 20, 1u << 30};
    struct pbft_digest root, wanted[16];
    pbft_snapshot_root(snapshot, &root);
    cr_assert_eq(pbft_install_begin(&install, pbft_apply_tree(to->apply), &root, &limits),
                 PBFT_STATUS_OK);
    for (unsigned rounds = 0; !pbft_install_done(install); rounds++) {
        cr_assert_lt(rounds, 10000);
        size_t count = pbft_install_wanted(install, wanted, 16), size;
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(pbft_snapshot_page(snapshot, &wanted[i], page, sizeof page, &size),
                         PBFT_STATUS_OK);
            cr_assert_eq(pbft_install_page(install, &wanted[i], (struct pbft_span){page, size}),
                         PBFT_OK);
        }
    }
    cr_assert_eq(pbft_install_finish(install), PBFT_STATUS_OK);
    pbft_snapshot_release(snapshot);
}

/* FAULTS 4.19: after a state transfer an old request gets its old reply. */
Test(apply, records_travel_with_the_state)
{
    struct fixture g;
    struct pbft_params params = fixture_params();
    fixture_open(&g, &params, &probe_service);
    for (uint64_t t = 1; t <= 60; t++)
        for (uint32_t c = 0; c < 3; c++)
            fixture_outcome(&f, fixture_count(c, 1 + c, t));
    transfer(&f, &g);
    reload(&g, 180);
    cr_assert_eq(g.done.next_due_ns, 0);
    cr_assert(same(fixture_root(&f), fixture_root(&g)));

    struct pbft_reply r = fixture_one(&g, fixture_count(1, 2, 60));
    cr_assert_eq(fixture_number(&r), 1);
    cr_assert_eq(r.seq, 179);
    fixture_outcome(&f, fixture_count(1, 2, 60));
    struct pbft_request requests[] = {fixture_count(1, 2, 61), fixture_count(1, 2, 56),
                                      fixture_other(1, 2, 60), fixture_count(1, 1, 1),
                                      fixture_count(2, 3, 64)};
    const uint8_t outcomes[] = {PBFT_OUTCOME_EXECUTED, PBFT_OUTCOME_STALE, PBFT_OUTCOME_CONFLICT,
                                PBFT_OUTCOME_EXPIRED, PBFT_OUTCOME_EXECUTED};
    fixture_execute(&f, requests, 5);
    fixture_execute(&g, requests, 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(fixture_reply(&g, &g.done.applied[i]).outcome, outcomes[i]);
    cr_assert(same(fixture_root(&f), fixture_root(&g)));
    cr_assert_eq(f.done.next_due_ns, g.done.next_due_ns);
    fixture_close(&g);
}
