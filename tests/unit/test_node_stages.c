/* What the replicas say of the stages of a request (replica/node_stages.c), beside a virtual clock:
 * links take DELAY each way, jobs JOB. */
#include "service/kv.h"
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>

#define DELAY (10 * SIM_MS)
#define JOB   (3 * SIM_MS)
#define SOON  (SIM_SECOND * 20)

static struct sim *exact_cluster(uint32_t pipeline_depth)
{
    struct sim_options o = sim_defaults(4, 1, 5);
    o.params.pipeline_depth = pipeline_depth;
    o.delay_min_ns = o.delay_max_ns = DELAY;
    o.job_min_ns = o.job_max_ns = JOB;
    struct sim *sim = sim_new(&o);
    cr_assert(sim_run_for(sim, SIM_SECOND), "%s", sim_failure(sim));
    return sim;
}

static struct pbft_frame *put_request(struct sim *sim, uint64_t t)
{
    uint8_t op[64];
    struct pbft_span text = {(const uint8_t *)"key", 3};
    return sim_request(sim, 0, 0, t,
                       (struct pbft_span){op, pbft_kv_encode_put(op, sizeof op, text, text)});
}

/* Until everybody has executed so many batches; `took` each replica to execute the last one. */
static void run(struct sim *sim, uint64_t batches, uint64_t took[4])
{
    uint64_t begun = sim_now(sim);
    for (pbft_id id = 0; id < 4; id++) {
        struct sim_at_least goal = {.who = pbft_signers_of(id), .executed = batches};
        cr_assert(sim_run_until(sim, sim_reached, &goal, SOON), "%s", sim_failure(sim));
        took[id] = sim_now(sim) - begun;
    }
}

static uint64_t sum(const struct pbft_node_info *info)
{
    uint64_t all = 0;
    for (unsigned stage = 0; stage < PBFT_STAGES; stage++)
        all += info->stage_ns[stage];
    return all;
}

/* A backup's PREPARE waits for its log, and so does a COMMIT: each a SYNC job. */
Test(node_stages, each_has_the_length_of_its_messages)
{
    struct sim *sim = exact_cluster(4);
    uint64_t took[4];
    cr_assert_eq(sim_inject_client(sim, 0, 0, put_request(sim, 1)), PBFT_OK);
    run(sim, 1, took);
    struct pbft_node_info info = sim_info(sim, 0);
    cr_assert_eq(info.requests_timed, 1);
    cr_assert_eq(info.stage_ns[PBFT_STAGE_WAIT], 0); /* it was proposed at once */
    /* PRE-PREPARE, and PREPAREs that come back. */
    cr_assert_geq(info.stage_ns[PBFT_STAGE_PREPARE], 2 * DELAY + JOB);
    cr_assert_leq(info.stage_ns[PBFT_STAGE_PREPARE], 2 * DELAY + 3 * JOB);
    /* The others prepare a message later than the primary, and then their COMMITs travel. */
    cr_assert_geq(info.stage_ns[PBFT_STAGE_COMMIT], DELAY + JOB);
    cr_assert_leq(info.stage_ns[PBFT_STAGE_COMMIT], 2 * DELAY + 3 * JOB);
    cr_assert_eq(info.stage_ns[PBFT_STAGE_EXECUTE], JOB);
    cr_assert_eq(sum(&info), took[0]);
    for (pbft_id id = 1; id < 4; id++) /* they never had it from its client */
        cr_assert_eq(sim_info(sim, id).requests_timed, 0);
    sim_free(sim);
}

/* With one batch in flight the third request waits while the second is ordered: as long as that
 * takes from its proposal to its execution, which is what the first took. */
Test(node_stages, a_request_waits_for_the_batch_before)
{
    struct sim *sim = exact_cluster(1);
    uint64_t took[4];
    cr_assert_eq(sim_inject_client(sim, 0, 0, put_request(sim, 1)), PBFT_OK);
    run(sim, 1, took);
    struct pbft_node_info first = sim_info(sim, 0), info;
    cr_assert_eq(sim_inject_client(sim, 0, 0, put_request(sim, 2)), PBFT_OK);
    cr_assert_eq(sim_inject_client(sim, 0, 0, put_request(sim, 3)), PBFT_OK);
    run(sim, 3, took);
    info = sim_info(sim, 0);
    cr_assert_eq(info.requests_timed, 3);
    cr_assert_eq(info.stage_ns[PBFT_STAGE_WAIT],
                 first.stage_ns[PBFT_STAGE_PREPARE] + first.stage_ns[PBFT_STAGE_COMMIT]);
    for (unsigned stage = PBFT_STAGE_PREPARE; stage < PBFT_STAGES; stage++)
        cr_assert_eq(info.stage_ns[stage], 3 * first.stage_ns[stage]);
    cr_assert_eq(took[0], info.stage_ns[PBFT_STAGE_WAIT] + sum(&first));
    sim_free(sim);
}

/* Who has it from its client, too, but no part in the order, counts from when it came. */
Test(node_stages, a_backup_that_was_told_later_waits_for_nothing)
{
    struct sim *sim = exact_cluster(4);
    uint64_t took[4];
    struct pbft_frame *request = put_request(sim, 1);
    pbft_frame_retain(request);
    cr_assert_eq(sim_inject_client(sim, 0, 0, request), PBFT_OK);
    cr_assert(sim_run_for(sim, DELAY + JOB), "%s", sim_failure(sim));
    cr_assert_eq(sim_inject_client(sim, 0, 2, request), PBFT_OK);
    run(sim, 1, took);
    struct pbft_node_info info = sim_info(sim, 2);
    cr_assert_eq(info.requests_timed, 1);
    cr_assert_eq(info.stage_ns[PBFT_STAGE_WAIT], 0);
    cr_assert_eq(sum(&info), took[2]);
    sim_free(sim);
}
