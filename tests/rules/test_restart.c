/* PROTOCOL 25 - 29, FAULTS 4.4, 4.5, 2.20, 2.21: a restart with its log keeps every promise. The
 * harness compares what is said in all lives of a replica. */
#include "tests/rules/harness.h"

#include <string.h>

#ifndef SEEDS
#define SEEDS 100u
#endif

static void all_answered(struct net *t, uint64_t numbers)
{
    net_run(t, 20);
    pbft_signers all = NET_BIT(t->n) - 1;
    for (uint64_t number = 1; number <= numbers; number++)
        cr_assert_geq(pbft_signers_count(net_replied(t, 0, 1, number)), 3u, "request %lu",
                      (unsigned long)number);
    cr_assert(net_roots_equal(t, all));
}

/* Every phase: what was proposed, prepared and committed is there again, and ends where it would
 * have ended. */
static void lose_power_while(uint8_t dropped, pbft_id who, bool with_state)
{
    struct net *t = net_new(4);
    for (uint64_t number = 1; number <= 5; number++) {
        net_put(t, number);
        net_run(t, 20);
    }
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = dropped});
    net_put(t, 6);
    net_put(t, 7);
    net_run(t, 20);
    net_power_loss(t, who);
    net_run(t, 5);
    net_rules_clear(t);
    net_power_on(t, who, with_state);
    cr_assert_eq(net_info(t, who).view, 0u);
    cr_assert_eq(net_info(t, who).stable, 4u);
    cr_assert(net_run_executed(t, 0, 7, 400), "phase of %s, replica %u", pbft_type_text(dropped),
              (unsigned)who);
    cr_assert_eq(net_info(t, 1).view, 0u, "a promise was forgotten or repeated otherwise");
    net_put(t, 8);
    cr_assert(net_run_executed(t, 0, 8, 400));
    all_answered(t, 8);
    net_free(t);
}

Test(restart, every_phase_goes_on)
{
    static const uint8_t phases[] = {PBFT_PRE_PREPARE, PBFT_PREPARE, PBFT_COMMIT, PBFT_REPLY};
    for (unsigned i = 0; i < sizeof phases; i++)
        for (pbft_id who = 0; who < 2; who++)
            for (unsigned state = 0; state < 2; state++)
                lose_power_while(phases[i], who, state == 1);
}

/* All of them at once: what was decided is still decided, and nothing else is. */
Test(restart, the_whole_group_loses_power)
{
    struct net *t = net_new(4);
    for (uint64_t number = 1; number <= 6; number++) {
        net_put(t, number);
        net_run(t, 20);
    }
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT});
    net_put(t, 7);
    net_run(t, 20);
    struct pbft_digest decided[7];
    memcpy(decided, t->agreed, sizeof decided);
    for (pbft_id id = 0; id < 4; id++)
        net_power_loss(t, id);
    net_run(t, 10);
    net_rules_clear(t);
    for (pbft_id id = 0; id < 4; id++)
        net_power_on(t, id, true);
    cr_assert(net_run_executed(t, 0, 7, 1000));
    cr_assert_eq(memcmp(decided, t->agreed, sizeof decided), 0);
    net_put(t, 8);
    cr_assert(net_run_executed(t, 0, 8, 1000));
    all_answered(t, 8);
    net_free(t);
}

/* A view that was left stays left, and a VIEW-CHANGE is sent again with the same bytes. */
Test(restart, a_view_change_is_remembered)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    net_run(t, 20);
    net_power_loss(t, 0);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_NEW_VIEW});
    net_put(t, 2);
    net_run(t, 700);
    struct pbft_frame *before = pbft_frame_retain(t->nodes[2].last_sent[PBFT_VIEW_CHANGE]);
    cr_assert_not_null(before);
    cr_assert_eq(net_info(t, 2).view, 1u);
    net_power_loss(t, 2);
    net_power_on(t, 2, true);
    cr_assert_eq(net_info(t, 2).view, 1u);
    cr_assert_not(net_info(t, 2).view_active);
    net_power_on(t, 0, true);
    net_run(t, 150);
    const struct pbft_frame *after = t->nodes[2].last_sent[PBFT_VIEW_CHANGE];
    if (net_info(t, 2).view == 1)
        cr_assert(after->size == before->size &&
                  memcmp(after->bytes, before->bytes, after->size) == 0);
    pbft_frame_release(before);
    net_rules_clear(t);
    cr_assert(net_run_executed(t, 0, 2, 5000));
    all_answered(t, 2);
    net_free(t);
}

/* A view that was installed is there again, with what its NEW-VIEW proposed. */
Test(restart, an_installed_view_is_remembered)
{
    for (pbft_id who = 1; who < 3; who++) { /* its primary, a backup */
        struct net *t = net_new(4);
        net_put(t, 1);
        net_run(t, 20);
        net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT});
        net_put(t, 2);
        net_put(t, 3);
        cr_assert(net_run_view(t, 0, 1, 2000));
        net_run(t, 5); /* on disk */
        net_power_loss(t, who);
        net_power_on(t, who, true);
        cr_assert_eq(net_info(t, who).view, 1u);
        cr_assert(net_info(t, who).view_active);
        net_rules_clear(t);
        cr_assert(net_run_executed(t, 0, 3, 450), "replica %u", (unsigned)who);
        cr_assert_eq(net_info(t, 3).view, 1u);
        all_answered(t, 3);
        net_free(t);
    }
}

/* PROTOCOL 18: two certificates of one number are in the log; the one of the higher view counts. */
Test(restart, the_newest_certificate_of_a_number_counts)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    net_run(t, 20);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_COMMIT});
    net_put(t, 2); /* prepared in view 0, and again in view 1 */
    cr_assert(net_run_view(t, 0, 1, 2000));
    net_run(t, 20);
    net_power_loss(t, 2);
    net_power_on(t, 2, true);
    cr_assert(net_run_view(t, 0, 2, 5000));
    const struct pbft_msg *vc = net_decode(t, t->nodes[2].last_sent[PBFT_VIEW_CHANGE]);
    cr_assert_eq(vc->view_change.view, 2u);
    cr_assert_eq(vc->view_change.prepared_count, 2u);
    cr_expect_eq(vc->view_change.prepared[1].seq, 2u);
    cr_expect_eq(vc->view_change.prepared[1].view, 1u);
    net_rules_clear(t);
    cr_assert(net_run_executed(t, 0, 2, 5000));
    net_free(t);
}

/* ---- many runs ---- */

static uint64_t next(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* How often replica 0 has executed this request of client 0. */
static unsigned executed(const struct net *t, uint64_t number)
{
    const struct net_state *state = &t->nodes[0].state;
    unsigned times = 0;
    for (uint32_t i = 0; i < state->done_count; i++)
        times += state->done[i].client == 0 && state->done[i].t == number;
    return times;
}

/* Whoever it hits, again and again, up to the whole group at once, with cuts and losses between. */
static void blackouts(uint64_t seed)
{
    uint64_t dice = seed;
    struct net *t = net_new(4);
    t->shuffle = seed + 1;
    t->disk_ns = (1 + next(&dice) % 8) * MS;
    pbft_id forgetful = (pbft_id)(next(&dice) % 4); /* f of them may lose their state, too */
    uint64_t number = 0;
    for (unsigned round = 0; round < 30; round++) {
        for (uint64_t i = next(&dice) % 4; i > 0; i--)
            net_put(t, ++number);
        if (next(&dice) % 3 == 0) net_cut(t, NET_BIT((pbft_id)(next(&dice) % 4)), 0x0f);
        struct net_rule loss = {.fate = NET_DROP};
        loss.type = (uint8_t)(PBFT_PRE_PREPARE + next(&dice) % 3);
        loss.times = 1 + (uint32_t)(next(&dice) % 9);
        if (next(&dice) % 4 == 0) net_rule(t, loss);
        uint64_t most = next(&dice) % 4 == 0 ? 900 : 60;
        net_run(t, 1 + next(&dice) % most);
        pbft_signers victims = NET_BIT((pbft_id)(next(&dice) % 4));
        if (next(&dice) % 8 == 0) victims = 0x0f;
        for (pbft_id id = 0; id < 4; id++)
            if (pbft_signers_has(victims, id)) net_power_loss(t, id);
        if (next(&dice) % 2 == 0) net_run(t, next(&dice) % 100);
        for (pbft_id id = 0; id < 4; id++)
            if (pbft_signers_has(victims, id))
                net_power_on(t, id, id != forgetful || next(&dice) % 2 == 0);
        if (next(&dice) % 3 == 0 || round % 6 == 5) net_rules_clear(t);
    }
    net_rules_clear(t);
    net_run(t, 12000);
    for (uint64_t i = 1; i <= number; i++)
        net_put(t, i); /* a power loss takes requests along: their client asks again */
    net_run(t, 12000);
    for (uint64_t i = 1; i <= number; i++)
        cr_assert_eq(executed(t, i), 1u, "seed %lu: request %lu", (unsigned long)seed,
                     (unsigned long)i);
    cr_assert(net_roots_equal(t, 0x0f), "seed %lu", (unsigned long)seed);
    net_free(t);
}

Test(restart, blackouts_of_any_kind)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        blackouts(seed);
}

/* ---- logs that are not ours ---- */

static enum pbft_verdict read_back(struct net *t, enum pbft_record_kind kind,
                                   struct pbft_frame *first, struct pbft_frame *second)
{
    static _Alignas(16) uint8_t memory[2][65536];
    struct pbft_frame *frames[2] = {first, second};
    struct pbft_msg msgs[2];
    struct pbft_record r = {.kind = kind};
    for (unsigned k = 0; k < 2; k++) {
        if (frames[k] == NULL) continue;
        struct pbft_arena arena = {memory[k], sizeof memory[k], 0};
        cr_assert_eq(pbft_wire_decode(pbft_frame_span(frames[k]), &t->params, &arena, &msgs[k]),
                     PBFT_OK);
        r.msgs[k] = &msgs[k];
        r.frames[k] = frames[k];
    }
    enum pbft_verdict verdict = pbft_core_restore(t->nodes[1].core, &r);
    pbft_frame_release(first);
    pbft_frame_release(second);
    return verdict;
}

/* PROTOCOL 29: what this replica can not have written in this order is amnesia, not a log. */
Test(restart, records_that_contradict_are_refused)
{
    struct net *t = net_solo(4, 1);
    struct net_batch a = net_batch(t, 0, 1, 1, "a"), b = net_batch(t, 0, 1, 1, "b");
    const enum pbft_record_kind proposal = PBFT_RECORD_PROPOSAL;
    cr_assert_eq(read_back(t, proposal, net_pre_prepare(t, 0, 1, &a),
                           net_vote(t, PBFT_PREPARE, 2, 0, 1, &a.digest)),
                 PBFT_DROP_SENDER, "another replica's vote");
    cr_assert_eq(read_back(t, proposal, net_pre_prepare(t, 0, 9, &a),
                           net_vote(t, PBFT_PREPARE, 1, 0, 9, &a.digest)),
                 PBFT_DROP_WINDOW, "L = 8: a checkpoint is missing");
    cr_assert_eq(read_back(t, proposal, net_pre_prepare(t, 1, 1, &a),
                           net_vote(t, PBFT_PREPARE, 1, 1, 1, &a.digest)),
                 PBFT_DROP_VIEW, "a vote in a view that was never installed");
    cr_assert_eq(read_back(t, proposal, net_pre_prepare(t, 0, 1, &a),
                           net_vote(t, PBFT_PREPARE, 1, 0, 1, &a.digest)),
                 PBFT_OK);
    cr_assert_eq(read_back(t, proposal, net_pre_prepare(t, 0, 1, &b),
                           net_vote(t, PBFT_PREPARE, 1, 0, 1, &b.digest)),
                 PBFT_DROP_CONFLICT, "two votes for one number");
    cr_assert_eq(read_back(t, proposal, net_vote(t, PBFT_COMMIT, 1, 0, 1, &a.digest), NULL),
                 PBFT_DROP_TYPE);
    cr_assert_eq(read_back(t, PBFT_RECORD_VIEW_CHANGE,
                           net_vote(t, PBFT_PREPARE, 1, 0, 1, &a.digest), NULL),
                 PBFT_DROP_TYPE);
    cr_assert_eq(read_back(t, PBFT_RECORD_CHECKPOINT,
                           net_checkpoint(t, 2, 4, &t->cluster.genesis_root), NULL),
                 PBFT_DROP_SENDER);
    cr_assert_eq(read_back(t, PBFT_RECORD_STABLE, net_commit_certificate(t, 0, 4, &a, 0x0d), NULL),
                 PBFT_DROP_CERTIFICATE, "a certificate of another kind");
    net_free(t);
}

/* PROTOCOL 24: nobody signs two CHECKPOINTs for one number, not even where the first was beyond
 * what it knew of the window when it started. */
Test(restart, a_checkpoint_is_signed_once)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest other = {{1}};
    cr_assert_eq(read_back(t, PBFT_RECORD_CHECKPOINT,
                           net_checkpoint(t, 1, 12, &t->cluster.genesis_root), NULL),
                 PBFT_OK);
    cr_assert_eq(net_deliver(t, 0, 1, net_checkpoint_certificate(t, 8, &other, 0x0d)), PBFT_OK);
    struct pbft_event event = {.kind = PBFT_EVENT_CHECKPOINT_READY};
    event.checkpoint_ready.seq = 12;
    event.checkpoint_ready.root = other;
    enum pbft_verdict verdict;
    net_step_core(&t->nodes[1], &event, &verdict);
    cr_assert_eq(verdict, PBFT_OK);
    cr_assert_eq(t->nodes[1].sent[PBFT_CHECKPOINT], 0u);
    net_free(t);
}
