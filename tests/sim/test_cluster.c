/* Whole clusters under virtual time: normal operation, crashes, loss, silence, laggards, chaos. The
 * fixture checks FAULTS 3 after every step; a failure names its seed. */
#include "tests/sim/fixture.h"

#include "pbft/quorum.h"
#include "service/kv.h"

#include <criterion/criterion.h>
#include <string.h>

#define ENOUGH (SIM_SECOND * 60)

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok && sim_ok(sim), "%s", sim_failure(sim));
}

static void all_answered(struct sim *sim)
{
    for (size_t i = 0; i < sim_op_count(sim); i++) {
        const struct sim_op *op = sim_op(sim, i);
        cr_assert_eq(op->state, SIM_OP_ANSWERED);
        cr_assert_eq(op->outcome, PBFT_OUTCOME_EXECUTED, "operation %zu: outcome %u", i,
                     op->outcome);
    }
}

/* Nobody waited longer than so many view time-outs. */
static void answered_within(struct sim *sim, uint64_t timeouts)
{
    uint64_t most = timeouts * sim_cluster(sim)->params.view_timeout_ns;
    for (size_t i = 0; i < sim_op_count(sim); i++) {
        const struct sim_op *op = sim_op(sim, i);
        cr_assert_leq(op->return_ns - op->call_ns, most, "seed %s: operation %zu took %llu ms",
                      sim_failure(sim), i,
                      (unsigned long long)((op->return_ns - op->call_ns) / SIM_MS));
    }
}

static void three_checkpoints(struct sim *sim)
{
    pbft_seq least = 3u * (pbft_seq)sim_cluster(sim)->params.checkpoint_interval;
    for (pbft_id id = 0; id < sim_cluster(sim)->params.n; id++)
        if (pbft_signers_has(sim_correct(sim), id))
            cr_assert_geq(sim_info(sim, id).core.stable, least, "replica %u", id);
}

static void normal(uint32_t n, uint64_t first, uint64_t seeds)
{
    for (uint64_t seed = first; seed < first + sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 2, seed);
        o.expect_no_view_change = true;
        o.fifo = seed % 2 == 0;
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 60, SIM_MIX);
        sim_load(sim, 1, 60, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        all_answered(sim);
        three_checkpoints(sim);
        sim_free(sim);
    }
}

Test(cluster, normal_4)
{
    normal(4, 1, 120);
}
Test(cluster, normal_5)
{
    normal(5, 1, 40);
}
Test(cluster, normal_6)
{
    normal(6, 1, 40);
}
Test(cluster, normal_7)
{
    normal(7, 1, 40);
}
Test(cluster, normal_13)
{
    normal(13, 1, 4);
}

Test(cluster, real_signatures)
{
    struct sim_options o = sim_defaults(4, 1, 7);
    o.signer = &pbft_signer_ed25519;
    struct sim *sim = sim_new(&o);
    sim_load(sim, 0, 60, SIM_MIX);
    must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
    all_answered(sim);
    sim_free(sim);
}

Test(cluster, equal_seeds_have_equal_traces)
{
    uint64_t hashes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct sim_options o = sim_defaults(4, 2, i == 2 ? 78 : 77);
        o.loss_ppm = 50000;
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 50, SIM_MIX);
        sim_load(sim, 1, 50, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        hashes[i] = sim_trace_hash(sim);
        sim_free(sim);
    }
    cr_assert_eq(hashes[0], hashes[1]);
    cr_assert_neq(hashes[0], hashes[2]);
}

/* ---- loss ---- */

static void lossy(uint32_t n, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 2, seed);
        o.loss_ppm = 100000;
        o.duplicate_ppm = 20000;
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 60, SIM_MIX);
        sim_load(sim, 1, 60, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        sim_heal(sim);
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        all_answered(sim);
        sim_free(sim);
    }
}

Test(cluster, loss_4)
{
    lossy(4, 60);
}
Test(cluster, loss_7)
{
    lossy(7, 25);
}

/* ---- silence: any f replicas ---- */

static void silent(uint32_t n, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 2, seed);
        struct sim *sim = sim_new(&o);
        uint32_t f = pbft_quorum_faults(n);
        uint32_t first = (uint32_t)sim_random(sim, n);
        for (uint32_t i = 0; i < f; i++)
            sim_isolate(sim, (first + i) % n, true);
        sim_load(sim, 0, 60, SIM_MIX);
        sim_load(sim, 1, 60, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        all_answered(sim);
        sim_free(sim);
    }
}

Test(cluster, silent_4)
{
    silent(4, 40);
}
Test(cluster, silent_6)
{
    silent(6, 20);
}
Test(cluster, silent_7)
{
    silent(7, 20);
}

/* ---- the primary dies ---- */

static void primaries_die(uint32_t n, uint32_t kills, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 3, seed);
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 100, SIM_MIX);
        sim_load(sim, 1, 100, SIM_MIX);
        for (pbft_id victim = 0; victim < kills; victim++) {
            must(sim, sim_run_for(sim, 60 * SIM_MS + sim_random(sim, 40 * SIM_MS)));
            sim_kill(sim, victim);
            sim_put(sim, 2, "after", "kill");
            struct sim_at_least next = {.who = sim_correct(sim), .view = victim + 1u};
            must(sim, sim_run_until(sim, sim_reached, &next, ENOUGH));
        }
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        all_answered(sim);
        answered_within(sim, 3);
        sim_free(sim);
    }
}

Test(cluster, primary_dies_4)
{
    primaries_die(4, 1, 40);
}
Test(cluster, two_primaries_die_7)
{
    primaries_die(7, 2, 20);
}

/* ---- a laggard ---- */

static void laggard(uint32_t n, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 2, seed);
        struct sim *sim = sim_new(&o);
        pbft_id late = n - 1;
        sim_isolate(sim, late, true);
        sim_load(sim, 0, 120, SIM_MIX);
        sim_load(sim, 1, 120, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        pbft_seq interval = o.params.checkpoint_interval;
        cr_assert_geq(sim_info(sim, 1).core.stable, 3 * interval);
        cr_assert_eq(sim_info(sim, late).core.executed, 0u);
        sim_isolate(sim, late, false);
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        cr_assert_geq(sim_log_lines(sim, "transfer_done"), 1u, "seed %llu",
                      (unsigned long long)seed);
        /* It counts again: without it there is no quorum once f others are gone. */
        for (uint32_t i = 0; i < pbft_quorum_faults(n); i++)
            sim_isolate(sim, 1 + i, true);
        sim_load(sim, 0, 30, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        all_answered(sim);
        sim_free(sim);
    }
}

Test(cluster, laggard_4)
{
    laggard(4, 40);
}
Test(cluster, laggard_7)
{
    laggard(7, 15);
}

/* The target moves on, under load and loss, while the laggard transfers (FAULTS 2.47). */
Test(cluster, laggard_under_load)
{
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct sim_options o = sim_defaults(4, 3, seed);
        o.loss_ppm = 50000;
        struct sim *sim = sim_new(&o);
        sim_isolate(sim, 3, true);
        for (uint32_t client = 0; client < 3; client++)
            sim_load(sim, client, 250, SIM_MIX);
        struct sim_at_least far = {.who = 1u, .stable = 4 * (pbft_seq)o.params.checkpoint_interval};
        must(sim, sim_run_until(sim, sim_reached, &far, ENOUGH));
        sim_isolate(sim, 3, false);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        sim_heal(sim);
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        cr_assert_geq(sim_log_lines(sim, "transfer_done"), 1u);
        all_answered(sim);
        sim_free(sim);
    }
}

/* ---- memory mode: a second start is mute (PROTOCOL 29) ---- */

Test(cluster, restarted_replica_is_mute_and_follows)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options o = sim_defaults(4, 2, seed);
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 80, SIM_MIX);
        must(sim, sim_run_for(sim, 80 * SIM_MS));
        sim_kill(sim, 2);
        must(sim, sim_run_for(sim, 50 * SIM_MS));
        sim_restart_mute(sim, 2);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        sim_load(sim, 1, 80, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        all_answered(sim);
        cr_assert(sim_info(sim, 2).core.mute);
        cr_assert_eq(sim_info(sim, 2).replies_sent, 0u);
        struct sim_at_least caught_up = {
            .who = pbft_signers_of(2),
            .stable = 2u * (pbft_seq)o.params.checkpoint_interval,
        };
        must(sim, sim_run_until(sim, sim_reached, &caught_up, ENOUGH));
        sim_free(sim);
    }
}

/* FAULTS 2.41: a failed commit is never retried, and nothing that relies on it leaves. */
Test(cluster, broken_log_stops_one_replica)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options o = sim_defaults(4, 2, seed);
        struct sim *sim = sim_new(&o);
        pbft_id victim = (pbft_id)(seed % 4);
        sim_load(sim, 0, 80, SIM_MIX);
        must(sim, sim_run_for(sim, 40 * SIM_MS));
        sim_break_log(sim, victim);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        sim_load(sim, 1, 40, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        cr_assert(sim_info(sim, victim).storage_failed);
        cr_assert_eq(sim_log_lines(sim, "storage_failed"), 1u);
        all_answered(sim);
        sim_free(sim);
    }
}

/* ---- a bit of everything, then healed: liveness ---- */

struct trouble {
    uint32_t kills;
    pbft_id isolated; /* PBFT_REPLICAS_MAX: none */
};

static void trouble_kill(struct sim *sim, struct trouble *t, uint32_t n)
{
    pbft_id victim = (pbft_id)sim_random(sim, n);
    if (t->kills >= pbft_quorum_faults(n) || !sim_alive(sim, victim)) return;
    sim_kill(sim, victim);
    t->kills++;
    if (sim_random(sim, 2) == 0) return;
    sim_run_for(sim, sim_random(sim, SIM_SECOND));
    sim_restart_mute(sim, victim);
}

static void trouble_step(struct sim *sim, struct trouble *t, uint32_t n)
{
    sim_run_for(sim, 20 * SIM_MS + sim_random(sim, 900 * SIM_MS));
    pbft_signers a = pbft_signers_of((pbft_id)sim_random(sim, n));
    pbft_signers b = pbft_signers_of((pbft_id)sim_random(sim, n));
    uint32_t loss = (uint32_t)sim_random(sim, 200000);
    uint32_t duplicates = (uint32_t)sim_random(sim, 100000);
    switch (sim_random(sim, 6)) {
    case 0:
        if (t->isolated < n) sim_isolate(sim, t->isolated, false);
        t->isolated = t->isolated < n ? PBFT_REPLICAS_MAX : (pbft_id)sim_random(sim, n);
        if (t->isolated < n) sim_isolate(sim, t->isolated, true);
        break;
    case 1: sim_block(sim, a, b, true); break;
    case 2: sim_block(sim, pbft_everyone(n), pbft_everyone(n), false); break;
    case 3: trouble_kill(sim, t, n); break;
    default: sim_set_loss(sim, loss, duplicates); break;
    }
}

static void chaos(uint32_t n, uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= sim_seeds(seeds); seed++) {
        struct sim_options o = sim_defaults(n, 2, seed);
        struct sim *sim = sim_new(&o);
        sim_load(sim, 0, 150, SIM_MIX);
        sim_load(sim, 1, 150, SIM_MIX);
        struct trouble t = {.isolated = PBFT_REPLICAS_MAX};
        for (unsigned i = 0; i < 12; i++)
            trouble_step(sim, &t, n);
        sim_heal(sim);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        all_answered(sim);
        sim_free(sim);
    }
}

Test(cluster, chaos_4)
{
    chaos(4, 80);
}
Test(cluster, chaos_5)
{
    chaos(5, 25);
}
Test(cluster, chaos_7)
{
    chaos(7, 25);
}

/* ---- the harness itself: more than f traitors must trip the agreement checker ---- */

static void betray(struct sim *sim, pbft_id victim, const char *value)
{
    uint8_t op[64];
    struct pbft_span key = {(const uint8_t *)"k", 1};
    struct pbft_span text = {(const uint8_t *)value, strlen(value)};
    struct pbft_span put = {op, pbft_kv_encode_put(op, sizeof op, key, text)};
    struct pbft_frame *request = sim_request(sim, 0, 0, 1, put);
    struct pbft_digest d;
    sim_inject(sim, 0, victim, sim_pre_prepare(sim, 0, 0, 1, sim_wall_ns(sim), &request, 1, &d));
    sim_inject(sim, 1, victim, sim_vote(sim, PBFT_PREPARE, 1, 0, 1, &d));
    sim_inject(sim, 0, victim, sim_vote(sim, PBFT_COMMIT, 0, 0, 1, &d));
    sim_inject(sim, 1, victim, sim_vote(sim, PBFT_COMMIT, 1, 0, 1, &d));
    pbft_frame_release(request);
}

Test(cluster, two_traitors_of_four_trip_the_checker)
{
    struct sim_options o = sim_defaults(4, 1, 1);
    o.byzantine = pbft_signers_of(0) | pbft_signers_of(1);
    struct sim *sim = sim_new(&o);
    sim_block(sim, pbft_everyone(4), pbft_everyone(4), true);
    betray(sim, 2, "one");
    cr_assert(sim_ok(sim), "%s", sim_failure(sim));
    betray(sim, 3, "two");
    sim_run_for(sim, SIM_SECOND);
    cr_assert(!sim_ok(sim));
    cr_assert(strstr(sim_failure(sim), "FAULTS 3.") != NULL, "%s", sim_failure(sim));
    sim_free(sim);
}
