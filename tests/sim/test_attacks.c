/* Attacks, each of which once worked, and an adversary without a plan (tests/sim/mutator.h). */
#include "tests/sim/fixture.h"
#include "tests/sim/mutator.h"

#include "pbft/quorum.h"
#include "service/kv.h"

#include <criterion/criterion.h>
#include <string.h>

#define ENOUGH      (SIM_SECOND * 60)
#define LARGE_BYTES (60u << 10)

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok && sim_ok(sim), "%s", sim_failure(sim));
}

/* ---- clients ---- */

static struct pbft_frame *put_request(struct sim *sim, uint32_t client, uint64_t session,
                                      uint64_t t)
{
    uint8_t op[64];
    struct pbft_span key = {(const uint8_t *)"k", 1}, value = {(const uint8_t *)"v", 1};
    struct pbft_span put = {op, pbft_kv_encode_put(op, sizeof op, key, value)};
    return sim_request(sim, client, session, t, put);
}

static bool executed_there(struct sim *sim, pbft_id id, uint64_t requests)
{
    return sim_info(sim, id).requests_executed >= requests;
}

/* FAULTS 3.22, PROTOCOL 21: a request whose session a newer one overtook never executes, for the
 * primary answers it instead of proposing it. A client that shows it to backups alone, while they
 * have not executed the newer one yet, must not make them leave a correct primary's view. */
Test(attacks, overtaken_session_shown_to_backups)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options o = sim_defaults(4, 2, seed);
        o.expect_no_view_change = true;
        struct sim *sim = sim_new(&o);
        uint64_t newer = sim_client_session(sim, 0) + 1000;
        sim_inject_client(sim, 0, 0, put_request(sim, 0, newer, 1));
        while (!executed_there(sim, 0, 1))
            cr_assert(sim_step(sim), "%s", sim_failure(sim));
        for (pbft_id backup = 1; backup < 4; backup++)
            for (uint64_t t = 1; t <= 8; t++)
                sim_inject_client(sim, 0, backup, put_request(sim, 0, newer - t, 1));
        must(sim, sim_run_for(sim, 2 * SIM_SECOND));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        sim_free(sim);
    }
}

/* PROTOCOL 16, 22: what a liar repeats of a client's old requests may not take the client's room.
 */
Test(attacks, replayed_requests_leave_the_client_room)
{
    struct sim_options o = sim_defaults(4, 2, 3);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    uint64_t session = sim_client_session(sim, 0) + 1;
    for (uint64_t t = 1; t <= 8; t++)
        sim_inject_client(sim, 0, 0, put_request(sim, 0, session, t));
    while (!executed_there(sim, 1, 8))
        must(sim, sim_step(sim));
    bool filled = false;
    for (uint64_t t = 9; t < 20 && !filled; t++) {
        sim_inject_client(sim, 0, 0, put_request(sim, 0, session, t));
        while (!filled && !executed_there(sim, 1, t)) {
            must(sim, sim_step(sim));
            uint64_t answered = sim_info(sim, 1).replies_sent;
            sim_inject(sim, 3, 1, put_request(sim, 0, session, 1));
            if (sim_info(sim, 1).replies_sent != answered) continue; /* at once: nothing to fill */
            for (unsigned i = 0; i < 40 && !filled; i++)
                filled = sim_inject(sim, 3, 1, put_request(sim, 0, session, 1 + i % 8)) ==
                         PBFT_DROP_BUSY;
            cr_assert_eq(sim_inject_client(sim, 0, 1, put_request(sim, 0, session, t + 1)),
                         PBFT_OK);
        }
    }
    cr_assert(filled, "the attack never happened");
    sim_free(sim);
}

/* ---- memory ---- */

static size_t put_large(struct sim *sim, uint32_t client, unsigned number)
{
    static uint8_t value[LARGE_BYTES], op[LARGE_BYTES + 64];
    memset(value, (int)(number & 0xff), sizeof value);
    struct pbft_span key = {(const uint8_t *)"large", 5};
    struct pbft_span text = {value, sizeof value};
    return sim_submit(sim, client,
                      (struct pbft_span){op, pbft_kv_encode_put(op, sizeof op, key, text)});
}

static uint64_t deepest; /* proposals that were in flight at once */

static bool done_and_measured(struct sim *sim, void *context)
{
    (void)context;
    struct pbft_core_info core = sim_info(sim, 0).core;
    if (core.proposed > core.committed && core.proposed - core.committed > deepest)
        deepest = core.proposed - core.committed;
    return sim_ops_done(sim, NULL);
}

/* FAULTS 3.18: the proposals of a window, each as large as they may be, do not fit into the memory
 * for frames, let alone the log. A primary that has used its share of it goes on to the next
 * checkpoint with empty proposals, many at once. Else: every replica waits for ever for room that
 * only a checkpoint could make. */
Test(attacks, large_values_reach_the_next_checkpoint)
{
    struct sim_options o = sim_defaults(4, 4, 5);
    o.params.checkpoint_interval = 16;
    o.params.pipeline_depth = 1;
    o.pool_bytes = 32u << 20;
    o.log_bytes_max = 4u << 20; /* room for a carry-over of three batches, twice */
    o.body_max_bytes = 1;       /* the least: room for three batches */
    o.expect_no_view_change = true;
    deepest = 0;
    struct sim *sim = sim_new(&o);
    for (unsigned i = 0; i < 30; i++) {
        for (uint32_t request = 0; request < 12; request++)
            put_large(sim, request % 4, i);
        must(sim, sim_run_until(sim, done_and_measured, NULL, ENOUGH));
    }
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    cr_assert_geq(sim_info(sim, 1).core.stable, 16u);
    cr_assert(deepest >= 8 && deepest <= 16, "%lu empty proposals in flight", deepest);
    cr_assert_eq(sim_log_lines(sim, "storage_failed"), 0u);
    sim_free(sim);
}

static void fill_window(struct sim *sim, pbft_view view)
{
    struct pbft_frame *requests[4];
    static uint8_t value[LARGE_BYTES], op[LARGE_BYTES + 64];
    struct pbft_span key = {(const uint8_t *)"x", 1}, text = {value, sizeof value};
    struct pbft_span put = {op, pbft_kv_encode_put(op, sizeof op, key, text)};
    for (uint64_t i = 0; i < 4; i++)
        requests[i] = sim_request(sim, 1, 0, 100 + i, put);
    for (pbft_id backup = 0; backup < 4; backup++) {
        if (backup == view % 4) continue;
        for (pbft_seq seq = 2; seq <= 32; seq++) /* never 1: nothing can be executed */
            sim_inject(sim, (pbft_id)view % 4, backup,
                       sim_pre_prepare(sim, (pbft_id)view % 4, view, seq, sim_wall_ns(sim) + seq,
                                       requests, 4, NULL));
    }
    for (unsigned i = 0; i < 4; i++)
        pbft_frame_release(requests[i]);
}

/* The same on purpose: a primary repeats an old request of somebody's until every backup's memory
 * is full of proposals that cannot be executed, so that none has room for its VIEW-CHANGE. */
Test(attacks, window_full_of_large_proposals)
{
    struct sim_options o = sim_defaults(4, 2, 6);
    o.byzantine = pbft_signers_of(0);
    o.pool_bytes = 16u << 20;
    o.body_max_bytes = 1;
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, 0, true); /* and says nothing else */
    fill_window(sim, 0);
    sim_put(sim, 0, "a", "b");
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    for (unsigned i = 0; i < 40; i++) {
        sim_put(sim, 0, "a", "c");
        must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    }
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    cr_assert_geq(sim_info(sim, 1).core.stable, 8u);
    sim_free(sim);
}

static bool no_commits(struct sim *sim, const struct sim_packet *packet, void *context)
{
    (void)sim, (void)context;
    return packet->type != PBFT_COMMIT && packet->type != PBFT_CERTIFICATE;
}

/* PROTOCOL 26: views that all propose the same large batches again, and no checkpoint in sight. The
 * log is cut all the same. Else: it fills up, and every replica ends for good. */
Test(attacks, view_changes_without_a_checkpoint_do_not_fill_the_log)
{
    struct sim_options o = sim_defaults(4, 4, 14);
    struct sim *sim = sim_new(&o);
    sim_set_filter(sim, no_commits, NULL);
    for (uint32_t client = 0; client < 4; client++)
        put_large(sim, client, client);
    must(sim, sim_run_for(sim, 180 * SIM_SECOND));
    cr_assert_geq(sim_info(sim, 1).core.new_views, 8u);
    cr_assert_eq(sim_log_lines(sim, "storage_failed"), 0u);
    sim_set_filter(sim, NULL, NULL);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    sim_free(sim);
}

/* ---- floods that ask ---- */

/* FAULTS 3.24: a STATUS costs a hundred bytes, its answer may be a megabyte. */
Test(attacks, status_flood_is_not_answered_by_a_flood)
{
    struct sim_options o = sim_defaults(4, 2, 8);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    sim_load(sim, 0, 12, SIM_WRITES);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    uint64_t before = sim_info(sim, 1).core.retransmissions;
    for (uint64_t i = 0; i < 2000; i++) {
        struct pbft_msg msg = {.type = PBFT_STATUS_MSG};
        msg.status.counter = 1000000 + i;
        sim_inject(sim, 3, 1, sim_message(sim, 3, &msg));
    }
    cr_assert_leq(sim_info(sim, 1).core.retransmissions - before, 100u);
    sim_free(sim);
}

Test(attacks, fetch_flood_is_not_answered_by_a_flood)
{
    struct sim_options o = sim_defaults(4, 4, 9);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    for (uint32_t client = 0; client < 4; client++)
        put_large(sim, client, client);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    struct pbft_digest digest;
    cr_assert(sim_executed(sim, 1, &digest));
    uint64_t served = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct pbft_msg msg = {.type = PBFT_FETCH};
        msg.fetch.kind = PBFT_FETCH_BATCH;
        msg.fetch.digest = digest;
        msg.fetch.seq = 1;
        if (sim_inject(sim, 3, 1, sim_message(sim, 3, &msg)) == PBFT_OK) served++;
    }
    cr_assert_gt(served, 0u);
    cr_assert_leq(served * LARGE_BYTES, 8u << 20);
    sim_free(sim);
}

/* ---- one fetch, two who wait for it ---- */

struct withheld {
    bool on;
    struct pbft_digest digest; /* of the NEW-VIEW's only VIEW-CHANGE that is withheld */
    struct pbft_frame *new_view;
};

/* Replica 3 hears no VIEW-CHANGE of the liar's, from nobody. */
static bool withhold(struct sim *sim, const struct sim_packet *packet, void *context)
{
    struct withheld *w = context;
    (void)sim;
    if (packet->from_client || packet->to_client) return true;
    if (packet->type == PBFT_NEW_VIEW && packet->to == 3 && w->new_view == NULL)
        w->new_view = pbft_frame_retain(packet->frame);
    return !(w->on && packet->to == 3 && packet->type == PBFT_VIEW_CHANGE &&
             packet->claim.sender == 2);
}

static bool new_view_there(struct sim *sim, void *context)
{
    (void)sim;
    return ((struct withheld *)context)->new_view != NULL;
}

/* The liar's NEW-VIEW for a later view of its own, naming the VIEW-CHANGEs of the honest one. */
static struct pbft_frame *parasite(struct sim *sim, const struct withheld *w, pbft_view view)
{
    static uint8_t memory[1u << 16];
    struct pbft_arena arena = {memory, sizeof memory, 0};
    struct pbft_msg msg;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(w->new_view), &sim_cluster(sim)->params, &arena,
                                  &msg),
                 PBFT_OK);
    msg.new_view.view = view;
    msg.new_view.sender = 2;
    msg.new_view.count = 0;
    return sim_message(sim, 2, &msg);
}

/* A liar's NEW-VIEW names what an honest one waits for, and is replaced by another: what the honest
 * one misses is still asked for. */
Test(attacks, shared_fetch_is_not_stopped_by_one)
{
    struct sim_options o = sim_defaults(4, 1, 11);
    o.byzantine = pbft_signers_of(2);
    struct sim *sim = sim_new(&o);
    struct withheld w = {.on = true};
    sim_set_filter(sim, withhold, &w);
    sim_kill(sim, 0);
    sim_put(sim, 0, "a", "b");
    must(sim, sim_run_until(sim, new_view_there, &w, ENOUGH));
    must(sim, sim_run_for(sim, 20 * SIM_MS));
    cr_assert_not(sim_info(sim, 3).core.view_active);
    uint8_t none[PBFT_DIGEST_BYTES * 4] = {1};
    sim_inject(sim, 2, 3, parasite(sim, &w, 2));
    struct pbft_msg other = {.type = PBFT_NEW_VIEW};
    other.new_view.view = 6;
    other.new_view.sender = 2;
    other.new_view.signers = 7;
    other.new_view.vc_digests = none;
    sim_inject(sim, 2, 3, sim_message(sim, 2, &other));
    w.on = false;
    must(sim, sim_run_for(sim, 300 * SIM_MS));
    cr_assert(sim_info(sim, 3).core.view_active);
    cr_assert_eq(sim_info(sim, 3).core.view, 1u);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    pbft_frame_release(w.new_view);
    sim_free(sim);
}

/* A header that nobody has is asked for until its view ends, and not for ever. Else: what is asked
 * for in vain grows from view to view until the table is full and nothing can be fetched. */
Test(attacks, headers_are_not_asked_for_beyond_their_view)
{
    struct sim_options o = sim_defaults(7, 1, 12);
    o.byzantine = pbft_signers_of(0) | pbft_signers_of(6);
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, 0, true);
    sim_isolate(sim, 6, true);
    struct pbft_digest other = {{1}};
    for (pbft_seq seq = 1; seq <= 32; seq++) {
        sim_inject(sim, 0, 1, sim_pre_prepare(sim, 0, 0, seq, sim_wall_ns(sim), NULL, 0, NULL));
        sim_inject(sim, 6, 1, sim_vote(sim, PBFT_PREPARE, 6, 0, seq, &other));
    }
    for (unsigned i = 0; i < 20; i++) {
        sim_put(sim, 0, "a", "b");
        must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    }
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    cr_assert_geq(sim_info(sim, 1).core.view, 1u);
    must(sim, sim_run_for(sim, SIM_SECOND));
    uint64_t before = sim_sent(sim, PBFT_FETCH);
    must(sim, sim_run_for(sim, SIM_SECOND));
    cr_assert_eq(sim_sent(sim, PBFT_FETCH), before);
    sim_free(sim);
}

static bool no_pages(struct sim *sim, const struct sim_packet *packet, void *context)
{
    (void)sim, (void)context;
    return packet->type != PBFT_PAGE && packet->type != PBFT_CERTIFICATE;
}

/* FAULTS 3.22: who is behind the stable checkpoint knows that others make progress. It does not
 * leave their view because it cannot execute anything itself. */
Test(attacks, laggard_does_not_blame_the_primary)
{
    struct sim_options o = sim_defaults(4, 2, 13);
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, 3, true);
    sim_load(sim, 0, 100, SIM_WRITES);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    sim_isolate(sim, 3, false);
    struct sim_at_least behind = {.who = pbft_signers_of(3), .stable = 8};
    must(sim, sim_run_until(sim, sim_reached, &behind, ENOUGH));
    sim_set_filter(sim, no_pages, NULL);
    for (unsigned i = 0; i < 20; i++) {
        sim_inject_client(sim, 1, 3, put_request(sim, 1, 0, 500 + i));
        must(sim, sim_run_for(sim, 100 * SIM_MS));
    }
    sim_set_filter(sim, NULL, NULL);
    must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
    cr_assert_eq(sim_info(sim, 3).core.view_changes, 0u);
    sim_free(sim);
}

/* Whoever is asked for a page answers later than the next one is asked: a link of 200 ms and more
 * there and back, as between continents. */
Test(attacks, transfer_over_slow_links)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_options o = sim_defaults(4, 1, seed);
        o.delay_min_ns = 80 * SIM_MS;
        o.delay_max_ns = 120 * SIM_MS;
        struct sim *sim = sim_new(&o);
        sim_isolate(sim, 3, true);
        sim_load(sim, 0, 200, SIM_WRITES);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, 10 * ENOUGH));
        sim_isolate(sim, 3, false);
        must(sim, sim_run_until(sim, sim_converged, NULL, 20 * SIM_SECOND));
        cr_assert_geq(sim_log_lines(sim, "transfer_done"), 1u);
        sim_free(sim);
    }
}

/* ---- no plan at all ---- */

static pbft_signers draw_liars(struct sim_options *o, uint64_t random)
{
    uint32_t n = o->params.n;
    pbft_signers liars = 0;
    for (; pbft_signers_count(liars) < pbft_quorum_faults(n); random /= 7)
        liars |= pbft_signers_of((pbft_id)(random % n));
    return liars;
}

static void trouble(struct sim *sim, struct mutator *m, uint32_t n)
{
    static const uint32_t levels[] = {30, 100, 300, 700};
    pbft_signers everyone = pbft_everyone(n), some = sim_random(sim, everyone);
    switch (sim_random(sim, 4)) {
    case 0: sim_isolate(sim, (pbft_id)sim_random(sim, n), true); break;
    case 1: /* a partition, in one direction or both */
        sim_block(sim, some, everyone & ~some, true);
        if (sim_random(sim, 2) == 0) sim_block(sim, everyone & ~some, some, true);
        break;
    case 2: sim_set_loss(sim, (uint32_t)sim_random(sim, 300000), 50000); break;
    default: mutator_level(m, levels[sim_random(sim, 4)]); break;
    }
    must(sim, sim_run_for(sim, (100 + sim_random(sim, 1500)) * SIM_MS));
    if (sim_random(sim, 2) == 0) sim_heal(sim);
}

/* Safety all the time; and once the network is healed every operation is answered and the correct
 * replicas agree, while the liars go on (FAULTS 3.21). */
static void mutated(uint32_t n, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 3, seed);
        o.byzantine = draw_liars(&o, seed * UINT64_C(0x9E3779B97F4A7C15));
        o.fifo = seed % 2 == 0;
        if (seed % 4 == 0) o.delay_max_ns = 60 * SIM_MS;
        struct sim *sim = sim_new(&o);
        struct mutator *m = mutator_new(sim, o.byzantine);
        for (uint32_t client = 0; client < 3; client++)
            sim_load(sim, client, 60, SIM_MIX);
        for (uint64_t i = sim_random(sim, 8); i > 0; i--)
            trouble(sim, m, n);
        sim_heal(sim);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, 3 * ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        cr_assert_gt(mutator_acts(m), 0u);
        for (size_t i = 0; i < sim_op_count(sim); i++)
            cr_assert_eq(sim_op(sim, i)->outcome, PBFT_OUTCOME_EXECUTED, "%s", sim_failure(sim));
        mutator_free(m);
        sim_free(sim);
    }
}

Test(attacks, mutator_4)
{
    mutated(4, 150);
}
Test(attacks, mutator_6)
{
    mutated(6, 40);
}
Test(attacks, mutator_7)
{
    mutated(7, 60);
}
