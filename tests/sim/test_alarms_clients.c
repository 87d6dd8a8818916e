/* What clients ask and are told (fixture_client.c), against the oracle (fixture_oracle.c) and in
 * their history (fixture_history.c). */
#include "tests/sim/fixture_clients.h"
#include "tests/sim/linear.h"
#include "tests/sim/test_alarms.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- FAULTS 3.17, 3.16: one answer ---- */

static void wait(struct sim *sim)
{
    (void)sim_run_until(sim, sim_ops_done, NULL, SIM_SECOND);
}

/* From now on; "k" is "right". */
static struct sim *lied_to(struct lie *l)
{
    struct sim *sim = sound(0);
    sim_put(sim, 0, "k", "right");
    wait(sim);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    lie_to_clients(sim, l);
    return sim;
}

static void hears(struct sim *sim, const struct lie *l)
{
    wait(sim);
    cr_expect(l->told);
}

Test(alarms, a_result_that_never_was)
{
    struct lie l = {.find = "right", .put = "wrong"};
    struct sim *sim = lied_to(&l);
    sim_get(sim, 0, "k", true);
    hears(sim, &l);
    rings(sim, "FAULTS 3.17: client 0 accepted a result that the oracle never gave");
}
Test(alarms, a_result_of_an_earlier_time)
{
    struct lie l = {.keep = true};
    struct sim *sim = lied_to(&l);
    sim_get(sim, 0, "k", true);
    wait(sim);
    sim_set_filter(sim, NULL, NULL);
    sim_put(sim, 0, "k", "left");
    wait(sim);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    l.keep = false;
    l.again = true;
    lie_to_clients(sim, &l);
    sim_get(sim, 0, "k", true);
    hears(sim, &l);
    rings(sim, "FAULTS 3.17: client 0 accepted another result");
}
Test(alarms, a_result_that_is_none)
{
    struct lie l = {.at = 8}; /* status: behind count and length */
    struct sim *sim = lied_to(&l);
    sim_get(sim, 0, "k", true);
    hears(sim, &l);
    rings(sim, "client 0 accepted a result that is none");
}
Test(alarms, a_result_that_too_few_gave)
{
    struct sim *sim = sound(0);
    size_t number = sim_put(sim, 0, "k", "v");
    wait(sim);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    for (size_t i = 0; i < sim->replies.capacity; i++) /* as if one had said it twice */
        if (sim->replies.entries[i].used) sim->replies.entries[i].number = 3;
    struct pbft_digest key;
    key_numbers(&key, 0, sim_client_session(sim, 0), sim->ops[number].op.t, 0);
    check_ordered(sim, &sim->ops[number], PBFT_OUTCOME_EXECUTED,
                  &map_find(&sim->results, &key)->value);
    rings(sim, "client 0 accepted what 2 replicas gave it for t 1");
}
Test(alarms, a_fast_read_of_what_never_was)
{
    struct lie l = {.find = "right", .put = "wrong"};
    struct sim *sim = lied_to(&l);
    sim_get(sim, 0, "k", false);
    hears(sim, &l);
    rings(sim, "client 0 read k = \"wrong\"");
}
Test(alarms, a_fast_range_of_what_never_was)
{
    struct lie l = {.find = "right", .put = "wrong"};
    struct sim *sim = lied_to(&l);
    sim_range(sim, 0, "k", 0, false);
    hears(sim, &l);
    rings(sim, "client 0 read a range k*");
}
Test(alarms, an_ordered_read_that_was_not_ordered)
{
    struct sim *sim = sound(20);
    size_t number = sim_get(sim, 0, "k0", false);
    sim->ops[number].op.kind = SIM_GET_ORDERED;
    wait(sim);
    rings(sim, "a result without the REPLY that holds it");
}

/* ---- what clients ask ---- */

Test(alarms, a_request_that_the_door_refuses)
{
    struct sim *sim = sound(0);
    sim->clients[0].keypair.secret.bytes[40] ^= 1;
    sim_put(sim, 0, "k", "v");
    wait(sim);
    rings(sim, "client 0 sends a request that the door refuses");
}
Test(alarms, more_than_the_window)
{
    struct sim *sim = sound(0);
    for (uint32_t i = 0; i <= sim->o.client_window; i++)
        sim_put(sim, 0, "k", "v");
    rings(sim, "client 0: submission refused");
}

/* ---- FAULTS 3.16: the history ---- */

static void reads_two(struct sim *sim)
{
    static const struct sim_part parts[] = {{.kind = SIM_GET, .key = "k"},
                                            {.kind = SIM_GET, .key = "l"}};
    sim_reads(sim, 0, parts, 2);
}
Test(alarms, a_history_that_no_order_explains)
{
    struct lie l = {.find = "right", .put = "wrong"};
    struct sim *sim = lied_to(&l);
    reads_two(sim);
    hears(sim, &l);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim)); /* bundles of reads are the history's */
    cr_expect(!sim_check_history(sim));
    rings(sim, "FAULTS 3.16: not linearizable");
}
Test(alarms, a_history_without_a_result)
{
    struct lie l = {.at = 24}; /* status of the first: behind count, two marks and length */
    struct sim *sim = lied_to(&l);
    reads_two(sim);
    hears(sim, &l);
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    cr_expect(!sim_check_history(sim));
    rings(sim, "FAULTS 3.16: operation 1 of client 0");
}
Test(alarms, a_history_that_is_too_hard)
{
    struct sim *sim = sound(40);
    history_of(sim)->budget = 1;
    cr_expect(!sim_check_history(sim));
    rings(sim, "gave up");
}
Test(alarms, a_history_of_too_many_keys)
{
    struct sim *sim = sound(0);
    for (unsigned i = 0; i <= LINEAR_KEYS_MAX; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key%u", i);
        sim_put(sim, 0, key, "v");
        wait(sim);
    }
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    cr_expect(!sim_check_history(sim));
    rings(sim, "the history has more than 64 keys");
}
