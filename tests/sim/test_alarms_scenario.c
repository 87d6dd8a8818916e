/* Rows of FAULTS 2 that go wrong (scenario.c): plays of our own, in which what must not happen
 * does. */
#include "tests/sim/scenario.h"
#include "tests/sim/test_alarms.h"

#include <criterion/criterion.h>
#include <string.h>

static void fails(void (*play)(struct stage *s), const char *words)
{
    const struct stage_row row = {.name = "2.0", .play = play};
    struct sim_world_options options = {.seed = 1};
    struct sim_world_result result;
    stage_run(&row, NULL, &options, &result);
    cr_expect(!result.ok, "%s: nothing rang", words);
    cr_expect_not_null(strstr(result.failure, words), "%s: %s", words, result.failure);
}

static void nobody_hears(struct stage *s)
{
    sim_set_loss(s->sim, 1000000, 0);
    stage_load(s, 1);
}
Test(alarms, a_row_whose_operations_are_not_answered)
{
    fails(nobody_hears, "operations are not answered in time");
}

Test(alarms, a_row_without_its_fault)
{
    fails(NULL, "scenario 2.0: its fault never happened");
}

/* Of two rows in one cluster each has its own. */
static void happens(struct stage *s)
{
    s->injected++;
}
Test(alarms, the_second_of_two_rows_without_its_fault)
{
    const struct stage_row first = {.name = "2.98", .play = happens}, second = {.name = "2.99"};
    struct sim_world_options options = {.seed = 1};
    struct sim_world_result result;
    stage_run(&first, &second, &options, &result);
    cr_expect(!result.ok && strstr(result.failure, "scenario 2.99: its fault never") != NULL, "%s",
              result.failure);
}

static void is_taken_for_good(struct stage *s)
{
    stage_wait(s);
    const struct pbft_digest digest = {{1}};
    struct pbft_frame *vote =
        sim_vote(s->sim, PBFT_PREPARE, 2, 0, sim_executed_last(s->sim) + 1, &digest);
    stage_inject(s, 2, 1, vote, false);
}
Test(alarms, a_row_whose_fault_is_accepted)
{
    fails(is_taken_for_good, "replica 1 accepts a PREPARE that it must refuse");
}

static void one_stays_behind(struct stage *s)
{
    sim_break_log(s->sim, 3);
    s->injected++;
}
Test(alarms, a_row_after_which_states_differ)
{
    fails(one_stays_behind, "the correct replicas do not converge");
}

static void a_client_is_lied_to(struct stage *s)
{
    static const struct sim_part part = {.kind = SIM_GET, .key = "k"};
    static struct lie l = {.find = "right", .put = "wrong"};
    stage_wait(s);
    sim_put(s->sim, STAGE_HAND, "k", "right");
    stage_run_for(s, 500);
    lie_to_clients(s->sim, &l);
    sim_reads(s->sim, STAGE_HAND, &part, 1); /* of which only the history knows */
    stage_run_for(s, 500);
    s->injected++;
}
Test(alarms, a_row_with_a_wrong_history)
{
    fails(a_client_is_lied_to, "FAULTS 3.16: not linearizable");
}
