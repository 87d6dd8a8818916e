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
    cr_assert_eq(pbft_match_deadline(w->m), w->now + 50 * MS);
    a.whole = true;
    reply(w, designated, &a);
    expect_answer(w, "yes");
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
        w->now += 51 * MS; /* the patience is 50 */
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
        w->now += 50 * MS;
        reply(w, slow, &a); /* behind the answer */
    }
    until_designated(w, slow);
    cr_assert_not(without(w, slow, true));
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
        expect_read(w, "value");
    }
    cr_assert_eq(asked_silent, 2u, "its turn comes nevertheless");
    world_free(w);
}
