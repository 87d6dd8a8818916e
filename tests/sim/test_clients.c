/* Clients of every kind: the swarm's operations, histories, hostile ones among honest ones. */
#include "tests/sim/fixture.h"

#include "service/kv.h"

#include <criterion/criterion.h>
#include <string.h>

#define ENOUGH (SIM_SECOND * 60)

static void must(struct sim *sim, bool ok)
{
    cr_assert(ok && sim_ok(sim), "%s", sim_failure(sim));
}

static unsigned count_of(const struct sim *sim, enum sim_op_kind kind, enum sim_op_state state)
{
    unsigned count = 0;
    for (size_t i = 0; i < sim_op_count(sim); i++)
        if (sim_op(sim, i)->kind == kind && sim_op(sim, i)->state == state) count++;
    return count;
}

Test(clients, swarm_is_linearizable)
{
    unsigned answered[SIM_READS + 1] = {0}, timeouts = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_options o = sim_defaults(seed % 3 == 0 ? 7 : 4, 3, seed);
        o.loss_ppm = seed % 2 == 0 ? 50000 : 0;
        o.duplicate_ppm = o.loss_ppm;
        struct sim *sim = sim_new(&o);
        for (uint32_t client = 0; client < 3; client++)
            sim_load(sim, client, 60, SIM_SWARM);
        if (seed % 4 == 0) {
            must(sim, sim_run_for(sim, 40 * SIM_MS));
            sim_isolate(sim, 0, true);
            must(sim, sim_run_for(sim, 900 * SIM_MS));
            sim_isolate(sim, 0, false);
        }
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_check_history(sim));
        for (enum sim_op_kind kind = SIM_PUT; kind <= SIM_READS; kind++) {
            answered[kind] += count_of(sim, kind, SIM_OP_ANSWERED);
            timeouts += count_of(sim, kind, SIM_OP_TIMEOUT);
        }
        cr_assert_eq(sim_op_count(sim), 180);
        sim_free(sim);
    }
    for (enum sim_op_kind kind = SIM_PUT; kind <= SIM_READS; kind++)
        if (kind != SIM_RAW)
            cr_assert_gt(answered[kind], 100u, "%s: %u", sim_op_text(kind), answered[kind]);
    cr_assert_gt(timeouts, 100u);
}

Test(clients, ranges_and_bundles_by_hand)
{
    struct sim_options o = sim_defaults(4, 2, 11);
    struct sim *sim = sim_new(&o);
    const struct sim_part parts[] = {{.kind = SIM_PUT, .key = "a1", .value = "u"},
                                     {.kind = SIM_PUT, .key = "a2", .value = "v"},
                                     {.kind = SIM_CAS, .key = "a1", .expect = "u", .value = "w"},
                                     {.kind = SIM_CAS, .key = "a3", .expect = "u", .value = "w"},
                                     {.kind = SIM_RANGE_ORDERED, .key = "a"}};
    size_t bundle = sim_bundle(sim, 0, parts, 5);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    size_t range = sim_range(sim, 1, "a", 1, false);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    const struct sim_part asked[] = {{.kind = SIM_GET, .key = "a2"},
                                     {.kind = SIM_GET, .key = "a3"},
                                     {.kind = SIM_RANGE, .key = "a"}};
    size_t reads = sim_reads(sim, 1, asked, 3);
    must(sim, sim_run_until(sim, sim_ops_done, NULL, ENOUGH));
    struct pbft_kv_result kv;
    cr_assert(pbft_kv_decode_result(sim_result(sim, bundle, 3), &kv));
    cr_assert_eq(kv.status, PBFT_KV_COMPARE_FAILED);
    cr_assert(pbft_kv_decode_result(sim_result(sim, bundle, 4), &kv));
    cr_assert_eq(kv.count, 2);
    cr_assert(pbft_kv_decode_result(sim_result(sim, range, 0), &kv));
    cr_assert_eq(kv.count, 1);
    cr_assert_eq(kv.more, 1);
    cr_assert_not(sim_op(sim, reads)->fallback);
    cr_assert(pbft_kv_decode_result(sim_result(sim, reads, 0), &kv));
    cr_assert(kv.value.size == 1 && kv.value.data[0] == 'v');
    cr_assert(pbft_kv_decode_result(sim_result(sim, reads, 1), &kv));
    cr_assert_eq(kv.status, PBFT_KV_NOT_FOUND);
    cr_assert(pbft_kv_decode_result(sim_result(sim, reads, 2), &kv));
    cr_assert_eq(kv.count, 2);
    cr_assert_eq(sim_result(sim, range, 1).size, 0);
    must(sim, sim_check_history(sim));
    sim_free(sim);
}

/* The alarm rings: an answer that is changed afterwards is found out. */
Test(clients, history_alarm)
{
    unsigned found = 0, tried = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim_options o = sim_defaults(4, 3, seed);
        struct sim *sim = sim_new(&o);
        for (uint32_t client = 0; client < 3; client++)
            sim_load(sim, client, 40, SIM_MIX); /* values of its own: a changed one is wrong */
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        for (size_t i = sim_op_count(sim); i-- > 0;) {
            if (sim_op(sim, i)->kind != SIM_GET || sim_op(sim, i)->kv_status != PBFT_KV_OK)
                continue;
            struct pbft_span result = sim_result(sim, i, 0);
            ((uint8_t *)(uintptr_t)result.data)[result.size - 1] ^= 1; /* the value's last byte */
            tried++;
            if (sim_check_history(sim)) break;
            found++;
            cr_assert_not_null(strstr(sim_failure(sim), sim_op(sim, i)->key), "%s",
                               sim_failure(sim));
            break;
        }
        sim_free(sim);
    }
    cr_assert_geq(found, tried - tried / 4, "%u of %u", found, tried); /* "17" may become "16" */
    cr_assert_gt(tried, 20u);
}

static void among_enemies(unsigned kinds, uint64_t seeds)
{
    uint64_t acts = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct sim_options o = sim_defaults(seed % 3 == 0 ? 7 : 4, 4, seed);
        o.expect_no_view_change = true; /* FAULTS 3.22: whatever clients do */
        struct sim *sim = sim_new(&o);
        sim_hostile(sim, 2, kinds, 10 * SIM_MS);
        sim_hostile(sim, 3, kinds, 15 * SIM_MS);
        sim_load(sim, 0, 60, SIM_SWARM);
        sim_load(sim, 1, 60, SIM_MIX);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        must(sim, sim_run_for(sim, 200 * SIM_MS));
        sim_hostile(sim, 2, kinds, 0);
        sim_hostile(sim, 3, 0, 0);
        must(sim, sim_run_until(sim, sim_converged, NULL, ENOUGH));
        must(sim, sim_check_history(sim));
        for (size_t i = 0; i < sim_op_count(sim); i++)
            if (sim_op(sim, i)->state == SIM_OP_ANSWERED)
                cr_assert_eq(sim_op(sim, i)->outcome, PBFT_OUTCOME_EXECUTED);
        acts += sim_hostile_acts(sim, (enum sim_hostile)kinds);
        sim_free(sim);
    }
    cr_assert_geq(acts, 5 * seeds);
}

Test(clients, hostile_forged)
{
    among_enemies(SIM_HOSTILE_FORGED, 25);
}
Test(clients, hostile_conflict)
{
    among_enemies(SIM_HOSTILE_CONFLICT, 25);
}
Test(clients, hostile_huge_t)
{
    among_enemies(SIM_HOSTILE_HUGE_T, 25);
}
Test(clients, hostile_flood)
{
    among_enemies(SIM_HOSTILE_FLOOD, 15);
}
Test(clients, hostile_all)
{
    among_enemies(SIM_HOSTILE_FORGED | SIM_HOSTILE_CONFLICT | SIM_HOSTILE_HUGE_T |
                      SIM_HOSTILE_FLOOD,
                  25);
}

Test(clients, equal_seeds_have_equal_traces)
{
    uint64_t hashes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct sim_options o = sim_defaults(4, 3, i == 2 ? 18 : 17);
        struct sim *sim = sim_new(&o);
        sim_hostile(sim, 2, 15, 10 * SIM_MS);
        sim_load(sim, 0, 60, SIM_SWARM);
        sim_load(sim, 1, 60, SIM_SWARM);
        must(sim, sim_run_until(sim, sim_loads_done, NULL, ENOUGH));
        hashes[i] = sim_trace_hash(sim);
        sim_free(sim);
    }
    cr_assert_eq(hashes[0], hashes[1]);
    cr_assert_neq(hashes[0], hashes[2]);
}
