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

/* Values of 3000 bytes, one after the other; each round overwrites those of the one before. */
static void put_values(struct sim *sim, unsigned count)
{
    static uint8_t op[4000], value[3000];
    for (unsigned i = 0; i < count; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        value[0]++;
        size_t size = pbft_kv_encode_put(op, sizeof op, (struct pbft_span){key, sizeof key},
                                         (struct pbft_span){value, sizeof value});
        size_t number = sim_submit(sim, 0, (struct pbft_span){op, size});
        cr_assert(sim_run_until(sim, answered, &number, SOON), "%s", sim_failure(sim));
    }
}

/* FAULTS 2.22. What it takes from the others a second has a bound; none of what it waits for
 * is a failure of theirs. */
Test(node_transfer, a_laggard_keeps_to_its_pace)
{
    static const uint64_t paces[] = {0, 262144};
    uint64_t took[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        struct sim_options o = sim_defaults(4, 1, 12);
        o.transfer_bytes_per_second = paces[i];
        struct sim *sim = sim_new(&o);
        sim_isolate(sim, 3, true);
        put_values(sim, 400);
        sim_isolate(sim, 3, false);
        cr_assert(sim_run_until(sim, laggard_transfers, NULL, SOON), "%s", sim_failure(sim));
        struct pbft_node *node = sim_node(sim, 3);
        const uint64_t begun = sim_now(sim);
        unsigned pauses = 0;
        for (; sim_info(sim, 3).core.transferring; took[i] = sim_now(sim) - begun) {
            cr_assert_lt(sim_now(sim), begun + SOON);
            cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
            uint64_t most = paces[i] / 8 + paces[i] * (sim_now(sim) - begun) / SIM_SECOND;
            uint64_t fetched = sim_info(sim, 3).pages_fetched_bytes;
            if (paces[i] != 0) cr_assert_leq(fetched, most);
            if (node->transfer.ask_count > 0 || node->transfer.wanted_count == 0) continue;
            pauses++;
            cr_expect_leq(node_transfer_deadline(node), sim_now(sim) + 30 * SIM_MS);
        }
        cr_assert_geq(node->transfer.fetched_bytes, 400u * 3000u);
        for (pbft_id id = 0; id < 3; id++)
            cr_expect_eq(node->peers[id].strikes, 0u, "replica %u", (unsigned)id);
        cr_expect_eq(pauses > 0, paces[i] > 0);
        cr_expect_eq(node->dropped[PBFT_DROP_UNWANTED], 0u);
        sim_free(sim);
    }
    cr_expect_lt(took[0], SIM_SECOND, "this is no bound");
    cr_expect_gt(took[1], 4 * SIM_SECOND);
    cr_expect_lt(took[1], 6 * SIM_SECOND, "nor is it a third of the bound");
}

/* More changes between two checkpoints than the pace brings in: it takes more, or it would never be
 * there; and as much again as is usual once it has been for a while. */
Test(node_transfer, a_state_that_changes_faster_than_the_pace_is_reached)
{
    struct sim_options o = sim_defaults(4, 1, 13);
    o.transfer_bytes_per_second = 65536;
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, 3, true);
    put_values(sim, 200);
    sim_isolate(sim, 3, false);
    cr_assert(sim_run_until(sim, laggard_transfers, NULL, SOON), "%s", sim_failure(sim));
    const struct transfer *t = &sim_node(sim, 3)->transfer;
    cr_assert_eq(t->pace, 65536u);
    for (unsigned round = 0; round < 60 && sim_info(sim, 3).core.transferring; round++)
        put_values(sim, 200);
    cr_assert_not(sim_info(sim, 3).core.transferring);
    cr_assert_gt(t->begun, 2u);
    cr_assert_gt(t->pace, 65536u);
    cr_assert(sim_run_until(sim, laggard_is_there, NULL, SOON), "%s", sim_failure(sim));
    sim_isolate(sim, 3, true);
    put_values(sim, 200);
    cr_assert(sim_run_for(sim, TRANSFER_CALM_NS), "%s", sim_failure(sim));
    sim_isolate(sim, 3, false);
    cr_assert(sim_run_until(sim, laggard_transfers, NULL, SOON), "%s", sim_failure(sim));
    cr_expect_eq(t->pace, 65536u);
    sim_free(sim);
}
