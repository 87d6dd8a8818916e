/* Who fell behind comes back while the others go on at full speed, although the primary is against
 * it (FAULTS 2.22, 2.26; PROTOCOL 33). */
#include "replica/node_internal.h"
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ENOUGH  (SIM_SECOND * 60)
#define LAGGARD 3u
#define KEYS    2400u

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok && sim_ok(sim), "%s", sim_failure(sim));
}

/* Replica 0 hides its proposals from the laggard, serves it nothing, and is no worse than that. */
static bool selfish(struct sim *sim, const struct sim_packet *p, void *context)
{
    (void)sim, (void)context;
    if (p->from_client || p->to_client || p->from != 0 || p->to != LAGGARD) return true;
    return p->type != PBFT_PRE_PREPARE && p->type != PBFT_PAGE && p->type != PBFT_CERTIFICATE &&
           p->type != PBFT_COMMIT;
}

/* A state of many pages, which the laggard has not seen. */
static void fill(struct sim *sim, uint32_t clients)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof key, "laggard/%04u", i);
        (void)sim_put(sim, i % clients, key, "a value that takes some room in a page of the tree");
        if (i % clients == clients - 1) must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    }
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
}

/* Where it has everything but what is under way. */
static bool is_level(struct sim *sim, void *context)
{
    (void)context;
    return sim_info(sim, LAGGARD).applied + 16 >= sim_executed_last(sim);
}

static struct sim *left_behind(uint64_t seed, uint32_t interval, uint32_t pipeline)
{
    struct sim_options o = sim_defaults(4, 8, seed);
    o.byzantine = pbft_signers_of(0);
    o.params.batch_max_requests = 1;
    o.params.pipeline_depth = pipeline;
    o.params.checkpoint_interval = interval;
    o.params.window = 4 * interval;
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, LAGGARD, true);
    fill(sim, 8);
    sim_isolate(sim, LAGGARD, false);
    sim_set_filter(sim, selfish, NULL);
    for (uint32_t client = 0; client < 8; client++)
        sim_load(sim, client, 4000, SIM_WRITES);
    return sim;
}

/* Stable checkpoints are 25 ms apart: a target lives for shorter than a page is waited for. What
 * was fetched for one target must serve for the next, and who owed pages is not asked first again.
 * Else: the laggard begins one transfer after the other for as long as the load lasts. */
Test(laggard, reaches_a_target_that_moves)
{
    for (uint64_t seed = 1; seed <= sim_seeds(5); seed++) {
        struct sim *sim = left_behind(seed, 8, 6);
        must(sim, sim_run_until(sim, is_level, NULL, SIM_SECOND));
        cr_assert(!sim_loads_done(sim, NULL), "the load ended: nothing moved any more");
        sim_free(sim);
    }
}

static bool is_fetching(struct sim *sim, void *context)
{
    (void)context;
    return sim_node(sim, LAGGARD)->transfer.active &&
           sim_node(sim, LAGGARD)->transfer.ask_count > 8;
}

/* One moment in which nothing came is one reason to wait longer for pages, however many were under
 * way. Else: four of them make it 1.6 s, and so long waits each that a peer may not serve now. */
Test(laggard, a_hiccup_is_one_reason_to_wait)
{
    struct sim_options o = sim_defaults(4, 8, 1);
    o.params.checkpoint_interval = 32;
    o.params.window = 128;
    struct sim *sim = sim_new(&o);
    sim_isolate(sim, LAGGARD, true);
    fill(sim, 8);
    sim_isolate(sim, LAGGARD, false);
    sim_slow_links(sim, 0xff, pbft_signers_of(LAGGARD), 5 * SIM_MS);
    must(sim, sim_run_until(sim, is_fetching, NULL, ENOUGH));
    uint64_t asked = sim_now(sim);
    sim_slow_links(sim, 0xff, pbft_signers_of(LAGGARD), 103 * SIM_MS);
    must(sim, sim_run_for(sim, 20 * SIM_MS));
    sim_slow_links(sim, 0xff, pbft_signers_of(LAGGARD), 0);
    uint64_t longest = 0;
    while (sim_now(sim) < asked + SIM_SECOND && sim_node(sim, LAGGARD)->transfer.active) {
        must(sim, sim_step(sim));
        if (sim_node(sim, LAGGARD)->transfer.retry_ns > longest)
            longest = sim_node(sim, LAGGARD)->transfer.retry_ns;
    }
    cr_assert_gt(longest, PAGE_RETRY_NS, "nothing came late");
    cr_assert_leq(longest, 2 * PAGE_RETRY_NS, "%lu ms", (unsigned long)(longest / SIM_MS));
    sim_free(sim);
}

/* Then it lives on what the others push. Else: it gets less than they decide, and goes from one
 * state transfer to the next. */
Test(laggard, lives_on_pushed_certificates)
{
    for (uint64_t seed = 1; seed <= sim_seeds(5); seed++) {
        struct sim *sim = left_behind(seed, 32, 4);
        must(sim, sim_run_until(sim, is_level, NULL, 10 * SIM_SECOND));
        uint64_t before = sim_log_lines(sim, "transfer_begin");
        pbft_seq from = sim_executed_last(sim);
        must(sim, sim_run_for(sim, 3 * SIM_SECOND));
        cr_assert(!sim_loads_done(sim, NULL), "the load ended");
        cr_assert_gt(sim_executed_last(sim), from + 500, "so slow that anybody could follow");
        uint64_t more = sim_log_lines(sim, "transfer_begin") - before;
        cr_assert_leq(more, 2u, "seed %lu: %lu transfers more", (unsigned long)seed,
                      (unsigned long)more);
        sim_free(sim);
    }
}
