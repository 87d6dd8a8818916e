/* client/match_body: who brings the body of an answer, and how long that is waited for
 * (FAULTS 4.23; PROTOCOL 34). */
#include "tests/unit/match_fixture.h"

Test(match_body, asks_those_who_agreed_for_the_body_in_turn)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    pbft_id designated = pbft_designated(4, &w->key.public, 1);
    pbft_id liar = (designated + 1) % 4;
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    struct answer lie = a;
    lie.text = "no";
    lie.whole = true;
    reply(w, liar, &lie);
    reply(w, (designated + 2) % 4, &a);
    reply(w, (designated + 3) % 4, &a);
    cr_assert_eq(w->sent_count, 0u);
    reply(w, designated, &a); /* withholds the body */
    pbft_signers asked = 0;
    cr_assert_eq(w->sent_count, 1u, "the designated one has spoken: no waiting");
    cr_assert_eq(w->sent[0].type, PBFT_RESULT_FETCH);
    asked |= w->sent[0].to;
    for (int i = 0; i < 8; i++) {
        w->now = pbft_match_deadline(w->m);
        tick(w);
        for (size_t k = 0; k < w->sent_count; k++) {
            cr_assert_eq(w->sent[k].type, PBFT_RESULT_FETCH);
            asked |= w->sent[k].to;
        }
    }
    cr_assert_eq(asked, pbft_everyone(4) & ~pbft_signers_of(liar));
    a.whole = true;
    reply(w, (designated + 3) % 4, &a);
    expect_answer(w, "yes");
    world_free(w);
}

Test(match_body, waits_a_little_for_the_designated_replica)
{
    struct world *w = world_new(4, 4, 16);
    submit(w, 0);
    pbft_id designated = pbft_designated(4, &w->key.public, 1);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (designated + i) % 4, &a);
    cr_assert_eq(w->sent_count, 0u);
    cr_assert_eq(w->done_count, 0u);
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 5 * MS);
    a.whole = true;
    reply(w, designated, &a);
    expect_answer(w, "yes");
    world_free(w);
}

/* The wait for a body whose digests stood so long after the request. */
static uint64_t patience_after(struct world *w, uint64_t took_ns)
{
    uint64_t t = pbft_match_next_t(w->m);
    submit(w, 0);
    pbft_id designated = pbft_designated(4, &w->key.public, t);
    struct answer a = {.t = t, .request = sent_digest(w), .text = "yes"};
    w->now += took_ns;
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (designated + i) % 4, &a);
    uint64_t wait = pbft_match_deadline(w->m) - w->now;
    a.whole = true;
    reply(w, designated, &a);
    expect_answer(w, "yes");
    return wait;
}

/* The size of "yes" is known after the first answer: 11 bytes of 64 ns. */
Test(match_body, is_as_patient_as_the_digests_took)
{
    static const struct {
        uint64_t took_ns, wait_ns;
    } expected[] = {{0, 5 * MS},
                    {1 * MS, 5 * MS + 704},
                    {2 * MS, 8 * MS + 704},
                    {12 * MS, 48 * MS + 704},
                    {13 * MS, 50 * MS},
                    {300 * MS, 50 * MS}};
    struct world *w = world_new(4, 4, 16);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        cr_assert_eq(patience_after(w, expected[i].took_ns), expected[i].wait_ns, "%zu", i);
    world_free(w);
}

/* A fast read of `text` is answered. */
static void read_of(struct world *w, const char *text)
{
    cr_assert_eq(read_op(w, false), PBFT_OK);
    uint64_t id = sent_query(w);
    for (pbft_id i = 0; i < 3; i++)
        query_reply(w, i, id, text, 7, 9, true);
    expect_answer(w, text);
}

Test(match_body, is_as_patient_as_bodies_of_late_were_large)
{
    struct world *w = world_new(4, 4, 16);
    char *large = calloc(1, 1000001);
    memset(large, 'x', 100000);
    read_of(w, large);
    cr_assert_eq(patience_after(w, 0), 5 * MS + (16 + 100000) * 64);
    uint64_t before = patience_after(w, 0);
    cr_assert_lt(before, 5 * MS + (16 + 100000) * 64, "the answer between was small");
    cr_assert_gt(before, 5 * MS + 80000 * 64, "one is no reason to forget");
    for (int i = 0; i < 100; i++)
        read_of(w, "yes");
    cr_assert_eq(patience_after(w, 0), 5 * MS + (16 + 3) * 64);
    memset(large, 'x', 1000000);
    read_of(w, large);
    cr_assert_eq(patience_after(w, 0), 50 * MS, "at most");
    free(large);
    world_free(w);
}

/* One request: the others' digests, and what `silent` does not bring. Returns whether its body was
 * asked for at once. */
static bool without(struct world *w, pbft_id silent, bool patient)
{
    uint64_t t = pbft_match_next_t(w->m);
    cr_assert_eq(submit(w, 0), PBFT_OK);
    pbft_id designated = pbft_designated(4, &w->key.public, t);
    struct answer a = {.t = t, .request = sent_digest(w), .text = "yes"};
    for (pbft_id i = 0; i < 4; i++) {
        if (i == silent) continue;
        a.whole = i == designated;
        reply(w, i, &a);
    }
    bool at_once = w->sent_count > 0;
    if (designated == silent && patient && !at_once) {
        w->now = pbft_match_deadline(w->m);
        tick(w);
        cr_assert_eq(w->sent[0].type, PBFT_RESULT_FETCH);
    }
    a.whole = true;
    if (w->done_count == 0 && (at_once || patient)) reply(w, (silent + 1) % 4, &a);
    if (w->done_count == 1) expect_answer(w, "yes");
    return at_once;
}

/* The next request whose body `id` is to bring comes next. */
static void until_designated(struct world *w, pbft_id id)
{
    while (pbft_designated(4, &w->key.public, pbft_match_next_t(w->m)) != id)
        cr_assert_not(without(w, id, true));
}

static void body_in_time(struct world *w, pbft_id id, unsigned copies)
{
    until_designated(w, id);
    uint64_t t = pbft_match_next_t(w->m);
    submit(w, 0);
    struct answer a = {.t = t, .request = sent_digest(w), .text = "yes", .whole = true};
    for (unsigned i = 0; i < copies; i++)
        reply(w, id, &a);
    a.whole = false;
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (id + i) % 4, &a);
    expect_answer(w, "yes");
}

Test(match_body, who_was_waited_for_in_vain_is_not_waited_for_again)
{
    struct world *w = world_new(4, 4, 16);
    pbft_id silent = 2;
    until_designated(w, silent);
    cr_assert_not(without(w, silent, true), "the first time it is waited for");
    uint64_t before = w->now;
    for (int i = 0; i < 10; i++) {
        until_designated(w, silent);
        cr_assert(without(w, silent, true), "round %d: another one is asked at once", i);
    }
    cr_assert_eq(w->now, before, "nothing was waited for");
    for (int i = 0; i < 63; i++)
        body_in_time(w, silent, 3); /* one that comes again pays nothing */
    until_designated(w, silent);
    cr_assert(without(w, silent, true), "one is still owed");
    body_in_time(w, silent, 1);
    until_designated(w, silent);
    cr_assert_not(without(w, silent, true), "all were brought: it is waited for");
    world_free(w);
}

/* The next request whose body `id` is to bring, and everybody else's digest. Returns the answer. */
static struct answer digests_before(struct world *w, pbft_id id)
{
    until_designated(w, id);
    uint64_t t = pbft_match_next_t(w->m);
    submit(w, 0);
    struct answer a = {.t = t, .request = sent_digest(w), .text = "yes"};
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (id + i) % 4, &a);
    return a;
}

Test(match_body, a_body_after_its_time_pays_nothing)
{
    struct world *w = world_new(4, 4, 16);
    pbft_id slow = 1;
    until_designated(w, slow);
    without(w, slow, true);
    for (int i = 0; i < 80; i++) {
        struct answer a = digests_before(w, slow);
        cr_assert_eq(w->sent_count, 1u, "round %d", i);
        w->now += 6 * MS; /* the patience is 5, and not a thousandth more for the body */
        a.whole = true;
        reply(w, slow, &a);
        expect_answer(w, "yes");
    }
    for (int i = 0; i < 64; i++) { /* in time, if behind the digests */
        struct answer a = digests_before(w, slow);
        cr_assert_eq(w->sent_count, 1u, "round %d", i);
        a.whole = true;
        reply(w, (slow + 1) % 4, &a);
        expect_answer(w, "yes");
        w->now += 5 * MS;
        reply(w, slow, &a); /* behind the answer */
    }
    until_designated(w, slow);
    cr_assert_not(without(w, slow, true));
    world_free(w);
}

/* Every body of `liar` comes this long after digests that take 1 ms. Returns how long its answers
 * took in all, of so many. */
static uint64_t always_late(struct world *w, pbft_id liar, uint64_t late_ns, unsigned rounds)
{
    uint64_t waited = 0;
    for (unsigned i = 0; i < rounds; i++) {
        until_designated(w, liar);
        uint64_t t = pbft_match_next_t(w->m), start = w->now;
        submit(w, 0);
        struct answer a = {.t = t, .request = sent_digest(w), .text = "yes"};
        w->now += 1 * MS;
        for (pbft_id k = 1; k < 4; k++)
            reply(w, (liar + k) % 4, &a);
        uint64_t in_time = w->now + late_ns;
        a.whole = true;
        while (w->done_count == 0) {
            if (w->sent_count > 0) { /* asked; who agreed answers at once */
                cr_assert_neq(w->sent[0].to, pbft_signers_of(liar));
                reply(w, (liar + 1) % 4, &a);
            } else if (pbft_match_deadline(w->m) < in_time) {
                w->now = pbft_match_deadline(w->m);
                tick(w);
            } else {
                w->now = in_time;
                reply(w, liar, &a);
            }
        }
        waited += w->now - start;
        expect_answer(w, "yes");
    }
    return waited;
}

/* Just inside an eighth of the retry interval, but long after the others: that is late. */
Test(match_body, a_liar_that_is_just_in_time_costs_little)
{
    struct world *w = world_new(4, 4, 16);
    cr_assert_lt(always_late(w, 2, 49 * MS, 20), 27 * MS, "it is waited for once");
    world_free(w);
    w = world_new(4, 4, 16);
    cr_assert_eq(always_late(w, 2, 5 * MS, 20), 120 * MS, "that is no lie yet");
    world_free(w);
}

/* Of those who agreed, those that are relied on are asked first; the others when these are silent.
 * The two that owe would come first in turn. */
Test(match_body, who_owes_bodies_is_asked_for_one_last)
{
    struct world *w = world_new(7, 4, 16);
    pbft_signers owe = 0;
    for (int round = 0; round < 7;
         round++) { /* the first two designated ones and the last are silent */
        uint64_t t = pbft_match_next_t(w->m);
        pbft_id designated = pbft_designated(7, &w->key.public, t);
        bool silent = round < 2 || round == 6;
        submit(w, 0);
        struct answer a = {.t = t, .request = sent_digest(w), .text = "yes", .whole = true};
        if (!silent) reply(w, designated, &a);
        a.whole = false;
        for (pbft_id i = 1; w->done_count == 0 && i < 7; i++)
            reply(w, (designated + i) % 7, &a);
        if (silent) {
            w->now = pbft_match_deadline(w->m);
            tick(w);
        }
        if (round < 2) owe |= pbft_signers_of(designated);
        pbft_signers asked = 0;
        for (unsigned i = 0; round == 6 && i < 6; i++) {
            cr_assert_eq(w->sent_count, 1u);
            cr_assert_eq(asked & w->sent[0].to, 0u, "each once");
            cr_assert_eq((w->sent[0].to & owe) != 0, i >= 4, "question %u", i);
            asked |= w->sent[0].to;
            w->now = pbft_match_deadline(w->m);
            tick(w);
        }
        a.whole = true;
        if (silent) reply(w, (designated + 2) % 7, &a);
        expect_answer(w, "yes");
    }
    world_free(w);
}

/* Asked for a body, and silent: it is not the one that is asked next time. */
Test(match_body, who_was_asked_in_vain_owes_too)
{
    struct world *w = world_new(4, 4, 16);
    pbft_id designated = pbft_designated(4, &w->key.public, 1), asked = (designated + 1) % 4;
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (designated + i) % 4, &a);
    w->now = pbft_match_deadline(w->m);
    tick(w);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(asked));
    reply(w, asked, &a); /* its digest again, which may have been under way */
    cr_assert_eq(w->sent_count, 0u, "it is still waited for");
    w->now = pbft_match_deadline(w->m);
    tick(w);
    cr_assert_eq(w->sent[0].to, pbft_signers_of((designated + 2) % 4));
    a.whole = true;
    reply(w, (designated + 2) % 4, &a);
    expect_answer(w, "yes");
    until_designated(w, asked);
    cr_assert(without(w, asked, true), "another one is asked at once");
    world_free(w);
}

/* Who is asked is given a round trip, which may take longer than the patience: it does not owe, and
 * is not asked twice. */
Test(match_body, who_is_asked_has_the_time_that_the_digests_took)
{
    struct world *w = world_new(4, 4, 16);
    pbft_id designated = pbft_designated(4, &w->key.public, 1), asked = (designated + 1) % 4;
    submit(w, 0);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "yes"};
    w->now += 120 * MS;
    for (pbft_id i = 1; i < 4; i++)
        reply(w, (designated + i) % 4, &a);
    w->now += 50 * MS;
    cr_assert_eq(pbft_match_deadline(w->m), w->now);
    tick(w);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(asked));
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 120 * MS);
    w->now += 110 * MS;
    tick(w);
    cr_assert_eq(w->sent_count, 0u);
    a.whole = true;
    reply(w, asked, &a);
    expect_answer(w, "yes");
    until_designated(w, asked);
    cr_assert_not(without(w, asked, true));
    world_free(w);
}

/* The next fast read whose body 0 is to bring; the others agree without it. Returns its id. */
static uint64_t read_from_0(struct world *w)
{
    uint64_t id;
    while (read_op(w, false), id = sent_query(w), id / 4 % 4 != 0) { /* 4: the window */
        for (pbft_id i = 0; i < 4; i++)
            query_reply(w, i, id, "value", 7, 9, true);
        expect_answer(w, "value");
    }
    cr_assert_eq(w->sent[0].to & 1u, 1u);
    for (pbft_id i = 1; i < 4; i++)
        query_reply(w, i, id, "value", 7, 9, false);
    return id;
}

/* The state has moved on where the body was to come from: that replica is correct. */
Test(match_body, who_brings_a_newer_value_is_not_waited_for_and_owes_nothing)
{
    struct world *w = world_new(4, 4, 16);
    for (int i = 0; i < 4; i++) {
        uint64_t id = read_from_0(w);
        cr_assert_eq(w->sent_count, 0u, "round %d: it is waited for", i);
        cr_assert_eq(query_reply(w, 0, id, "newer", 8, 10, true), PBFT_DROP_UNWANTED);
        cr_assert_eq(w->sent_count, 1u, "round %d: another one is asked at once", i);
        cr_assert_eq(w->sent[0].to, pbft_signers_of(i == 0 ? 1 : 2));
        if (i == 0) { /* that one does not answer */
            w->now = pbft_match_deadline(w->m);
            tick(w);
            cr_assert_eq(w->sent[0].to, pbft_signers_of(2));
        }
        query_reply(w, 2, id, "value", 7, 9, true);
        expect_answer(w, "value");
    }
    world_free(w);
}

/* So has whoever is asked next: there are others. When all have moved on, time decides. */
Test(match_body, who_was_asked_and_brings_a_newer_value_is_not_waited_for)
{
    struct world *w = world_new(4, 4, 16);
    uint64_t id = read_from_0(w), start = w->now;
    for (pbft_id i = 0; i < 4; i++) {
        query_reply(w, i, id, "newer", 8, 10, true);
        cr_assert_eq(w->sent_count, i < 3 ? 1u : 0u, "after %u", i);
        if (i < 3) cr_assert_eq(w->sent[0].to, pbft_signers_of(i + 1));
    }
    for (;;) {
        w->now = pbft_match_deadline(w->m);
        tick(w);
        if (w->sent_count == 0 || w->sent[0].type != PBFT_QUERY) break;
        for (pbft_id i = 0; i < 4; i++)
            if (w->sent_count > 0 && pbft_signers_has(w->sent[0].to, i))
                query_reply(w, i, id, "newer", 8, 10, true);
    }
    cr_assert_eq(w->sent[0].type, PBFT_REQUEST);
    cr_assert_eq(w->now, start + 100 * MS);
    struct answer a = {.t = 1, .request = sent_digest(w), .text = "newer", .whole = true};
    for (pbft_id i = 0; i < 4; i++)
        reply(w, i, &a);
    forget_done(w);
    for (pbft_id i = 0; i < 4; i++) { /* nobody owes */
        until_designated(w, i);
        cr_assert_not(without(w, i, true), "%u", i);
    }
    world_free(w);
}

/* One that brings something else each time would be asked for ever, for nobody else is relied on.
 */
Test(match_body, who_is_relied_on_comes_first_only_once)
{
    struct world *w = world_new(4, 4, 16);
    for (pbft_id i = 2; i < 4; i++) {
        until_designated(w, i);
        cr_assert_not(without(w, i, true));
    }
    uint64_t id = read_from_0(w);
    query_reply(w, 0, id, "newer", 8, 10, true);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(1));
    query_reply(w, 1, id, "newest", 9, 11, true);
    cr_assert_eq(w->sent_count, 1u);
    cr_assert_eq(w->sent[0].to, pbft_signers_of(2));
    query_reply(w, 2, id, "value", 7, 9, true);
    expect_answer(w, "value");
    world_free(w);
}

/* A read asks another one beside whoever owes bodies, and still gives that one the occasion. */
Test(match_body, a_read_does_not_wait_for_who_owes_bodies)
{
    struct world *w = world_new(4, 4, 16);
    pbft_id silent = 3;
    until_designated(w, silent);
    without(w, silent, true);
    unsigned asked_silent = 0;
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(read_op(w, false), PBFT_OK);
        uint64_t id = sent_query(w);
        pbft_signers bodies = 0;
        for (size_t k = 0; k < w->sent_count; k++) {
            bool body = w->sent[k].frame->bytes[PBFT_WIRE_HEADER_BYTES + 16] == 1;
            if (body) bodies |= w->sent[k].to;
        }
        asked_silent += pbft_signers_has(bodies, silent);
        cr_assert_neq(bodies & ~pbft_signers_of(silent), 0u, "read %d", i);
        for (pbft_id k = 0; k < 4; k++)
            if (k != silent) query_reply(w, k, id, "value", 7, 9, pbft_signers_has(bodies, k));
        expect_answer(w, "value");
    }
    cr_assert_eq(asked_silent, 2u, "its turn comes nevertheless");
    world_free(w);
}
