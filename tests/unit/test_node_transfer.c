/* replica/node_transfer.c through a virtual cluster: what a laggard asks for, and how fast. */
#include "replica/node_internal.h"

#include "service/kv.h"
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SOON (SIM_SECOND * 20)

static bool laggard_transfers(struct sim *sim, void *context)
{
    (void)context;
    return sim_info(sim, 3).core.transferring;
}

/* A transfer that failed for want of memory is begun anew, though h does not move on. */
Test(node_transfer, failed_transfer_is_tried_again)
{
    struct sim_options o = sim_defaults(4, 1, 11);
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, 3, true);
    sim_load(sim, 0, 100, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
    sim_isolate(sim, 3, false);
    cr_assert(sim_run_until(sim, laggard_transfers, NULL, SOON), "%s", sim_failure(sim));
    char status[4096];
    cr_assert_lt(pbft_node_status_json(sim_node(sim, 3), status, sizeof status), sizeof status);
    cr_assert_not_null(strstr(status, ",\"transfer\":{\"seq\":"), "%s", status);
    struct pbft_node *node = sim_node(sim, 3);
    struct task *step = task_new(TASK_INSTALL_STEP);
    step->generation = node->generation;
    step->status = PBFT_STATUS_MEMORY;
    node_install_step_done(node, step);
    task_free(step);
    cr_assert_not(node->transfer.active);
    pbft_seq stable = sim_info(sim, 0).core.stable;
    cr_assert(sim_run_for(sim, TRANSFER_RETRY_NS / 2), "%s", sim_failure(sim));
    cr_assert(sim_info(sim, 3).core.transferring, "not before the pause is over");
    cr_assert(sim_run_for(sim, TRANSFER_RETRY_NS), "%s", sim_failure(sim));
    cr_assert_not(sim_info(sim, 3).core.transferring);
    cr_assert_eq(sim_info(sim, 0).core.stable, stable, "nothing else began it");
    cr_assert_geq(sim_info(sim, 3).applied, stable);
    struct pbft_node_info laggard = sim_info(sim, 3);
    cr_assert_geq(laggard.transfers, 2u);
    cr_assert_gt(laggard.pages_fetched, 0u);
    uint64_t served = 0;
    for (pbft_id id = 0; id < 3; id++)
        served += sim_info(sim, id).pages_served;
    cr_assert_geq(served, laggard.pages_fetched);
    (void)pbft_node_status_json(sim_node(sim, 3), status, sizeof status);
    cr_assert_null(strstr(status, "\"transfer\":"), "%s", status);
    sim_free(sim);
}

static bool laggard_is_there(struct sim *sim, void *context)
{
    (void)context;
    return sim_info(sim, 3).applied >= sim_info(sim, 0).core.stable;
}

static bool answered(struct sim *sim, void *context)
{
    const size_t *number = context;
    return sim_op(sim, *number)->return_ns != 0;
}

/* One after the other, under keys of their own: each round overwrites those of the one before. */
static void put_values(struct sim *sim, unsigned count, size_t bytes)
{
    static uint8_t op[61000], value[60000];
    for (unsigned i = 0; i < count; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        value[0]++;
        size_t size = pbft_kv_encode_put(op, sizeof op, (struct pbft_span){key, sizeof key},
                                         (struct pbft_span){value, bytes});
        size_t number = sim_submit(sim, 0, (struct pbft_span){op, size});
        cr_assert(sim_run_until(sim, answered, &number, SOON), "%s", sim_failure(sim));
    }
}

/* Replica 3 lacks so many values, and has begun to fetch them. */
static struct sim *with_a_laggard(const struct sim_options *o, unsigned count, size_t bytes)
{
    struct sim *sim = sim_new(o);
    sim_isolate(sim, 3, true);
    put_values(sim, 40, 10); /* more than the window */
    put_values(sim, count, bytes);
    sim_isolate(sim, 3, false);
    cr_assert(sim_run_until(sim, laggard_transfers, NULL, 10 * SOON), "%s", sim_failure(sim));
    return sim;
}

/* FAULTS 2.22. What it takes from the others a second has a bound; none of what it waits for
 * is a failure of theirs. */
Test(node_transfer, a_laggard_keeps_to_its_pace)
{
    static const uint64_t rates[] = {0, 262144};
    uint64_t took[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        struct sim_options o = sim_defaults(4, 1, 12);
        o.transfer_bytes_per_second = rates[i];
        struct sim *sim = with_a_laggard(&o, 400, 3000);
        struct pbft_node *node = sim_node(sim, 3);
        const uint64_t begun = sim_now(sim);
        unsigned pauses = 0;
        for (; sim_info(sim, 3).core.transferring; took[i] = sim_now(sim) - begun) {
            cr_assert_lt(sim_now(sim), begun + SOON);
            cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
            uint64_t most = rates[i] / 8 + rates[i] * (sim_now(sim) - begun) / SIM_SECOND;
            uint64_t fetched = sim_info(sim, 3).pages_fetched_bytes;
            if (rates[i] != 0) cr_assert_leq(fetched, most);
            if (node->transfer.ask_count > 0 || node->transfer.wanted_count == 0) continue;
            pauses++;
            cr_expect_leq(node_transfer_deadline(node), sim_now(sim) + 30 * SIM_MS);
        }
        cr_assert_geq(node->transfer.fetched_bytes, 400u * 3000u);
        for (pbft_id id = 0; id < 3; id++)
            cr_expect_eq(node->peers[id].strikes, 0u, "replica %u", (unsigned)id);
        cr_expect_eq(pauses > 0, rates[i] > 0);
        cr_expect_eq(node->dropped[PBFT_DROP_UNWANTED], 0u);
        sim_free(sim);
    }
    cr_expect_lt(took[0], SIM_SECOND, "this is no bound");
    cr_expect_gt(took[1], 4 * SIM_SECOND);
    cr_expect_lt(took[1], 6 * SIM_SECOND, "nor is it a third of the bound");
}

/* Far away, and with pages of several seconds each, while nothing else wakes the replica. */
Test(node_transfer, the_pace_is_reached)
{
    static const struct {
        uint64_t delay_ns;
        unsigned count;
        size_t bytes;
    } cases[] = {{50 * SIM_MS, 60, 3000}, {SIM_MS, 20, 60000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim_options o = sim_defaults(4, 1, 14);
        o.transfer_bytes_per_second = 65536;
        o.params.view_timeout_ns = 30 * SIM_SECOND;
        o.log_bytes_max = 8u << 20;
        o.delay_min_ns = o.delay_max_ns = cases[i].delay_ns;
        struct sim *sim = with_a_laggard(&o, cases[i].count, cases[i].bytes);
        const uint64_t begun = sim_now(sim);
        while (sim_info(sim, 3).core.transferring && sim_now(sim) < begun + 100 * SIM_SECOND) {
            cr_assert(sim_run_for(sim, 35 * SIM_MS), "%s", sim_failure(sim));
            cr_expect_leq(sim_node(sim, 3)->transfer.ask_count, 8u, "far more than it may");
        }
        uint64_t took_ms = (sim_now(sim) - begun) / SIM_MS;
        uint64_t rate = sim_info(sim, 3).pages_fetched_bytes * 1000 / took_ms;
        cr_expect_gt(rate, 48000u, "%zu: %llu", i, (unsigned long long)rate);
        cr_expect_lt(rate, 75000u, "%zu: %llu", i, (unsigned long long)rate);
        sim_free(sim);
    }
}

/* More changes between two checkpoints than the pace brings in: it takes more, or it would never be
 * there; and as much again as is usual once it has been for a while. */
Test(node_transfer, a_state_that_changes_faster_than_the_pace_is_reached)
{
    struct sim_options o = sim_defaults(4, 1, 13);
    o.transfer_bytes_per_second = 65536;
    struct sim *sim = with_a_laggard(&o, 200, 3000);
    const struct transfer *t = &sim_node(sim, 3)->transfer;
    cr_assert_eq(t->pace.rate, 65536u);
    for (unsigned round = 0; round < 60 && sim_info(sim, 3).core.transferring; round++)
        put_values(sim, 200, 3000);
    cr_assert_not(sim_info(sim, 3).core.transferring);
    cr_assert_gt(t->begun, 2u);
    cr_assert_gt(t->pace.rate, 65536u);
    cr_assert(sim_run_until(sim, laggard_is_there, NULL, SOON), "%s", sim_failure(sim));
    sim_isolate(sim, 3, true);
    put_values(sim, 200, 3000);
    cr_assert(sim_run_for(sim, 600 * SIM_SECOND), "%s", sim_failure(sim));
    sim_isolate(sim, 3, false);
    cr_assert(sim_run_until(sim, laggard_transfers, NULL, SOON), "%s", sim_failure(sim));
    cr_expect_eq(t->pace.rate, 65536u);
    sim_free(sim);
}

static bool few_pages(struct sim *sim, const struct sim_packet *packet, void *context)
{
    (void)sim;
    unsigned *pages = context;
    return packet->type != PBFT_PAGE || (*pages)++ % 30 == 0;
}

/* Targets that come to nothing because hardly a page comes: a faster laggard would be a burden, and
 * no sooner there. */
Test(node_transfer, there_is_no_haste_where_little_comes)
{
    struct sim_options o = sim_defaults(4, 1, 5);
    o.transfer_bytes_per_second = 65536;
    struct sim *sim = with_a_laggard(&o, 200, 3000);
    const struct transfer *t = &sim_node(sim, 3)->transfer;
    unsigned pages = 0;
    sim_set_filter(sim, few_pages, &pages);
    const uint64_t begun = sim_now(sim);
    while (sim_now(sim) < begun + 20 * SIM_SECOND)
        put_values(sim, 200, 3000);
    cr_assert(sim_info(sim, 3).core.transferring);
    cr_assert_gt(t->begun, 5u);
    cr_assert_gt(t->fetched, 10u);
    cr_expect_eq(t->pace.rate, 65536u);
    sim_free(sim);
}

/* Nor because they live for a moment only, now and then. */
Test(node_transfer, there_is_no_haste_for_a_moment)
{
    struct sim_options o = sim_defaults(4, 1, 6);
    o.transfer_bytes_per_second = 65536;
    struct sim *sim = with_a_laggard(&o, 800, 3000);
    const struct transfer *t = &sim_node(sim, 3)->transfer;
    for (unsigned round = 0; round < 1000 && sim_info(sim, 3).core.transferring; round++) {
        put_values(sim, round % 10 == 0 ? 150 : 3, 10);
        cr_assert(sim_run_for(sim, 150 * SIM_MS), "%s", sim_failure(sim));
    }
    cr_assert_not(sim_info(sim, 3).core.transferring);
    cr_assert_gt(t->begun, 20u);
    cr_expect_eq(t->pace.rate, 65536u);
    sim_free(sim);
}

/* An answer may overdraw it by what comes in over many seconds. */
Test(node_transfer, an_overdrawn_bucket_fills_in_time)
{
    static struct pbft_node node;
    struct bucket b = {-640000, 0};
    unsigned rounds = 0;
    node.now_ns = SIM_SECOND;
    node_bucket_refill(&node, &b, 4000, 64000);
    cr_assert_eq(b.bytes, -576000);
    for (uint64_t due; (due = node_bucket_due(&b, 500, 64000)) != NEVER; rounds++) {
        cr_assert_lt(rounds, 100u);
        cr_assert_gt(due, node.now_ns);
        node.now_ns = due;
        node_bucket_refill(&node, &b, 4000, 64000);
    }
    cr_expect_lt(rounds, 12u);
    cr_expect_gt(node.now_ns, 10 * SIM_SECOND);
    cr_expect_lt(node.now_ns, 10 * SIM_SECOND + 100 * SIM_MS);
    for (unsigned i = 0; i < 1000; i++, node.now_ns += SIM_MS / 100)
        node_bucket_refill(&node, &b, 4000, 64000);
    cr_expect_gt(b.bytes, 1000, "a drop at a time");
}
