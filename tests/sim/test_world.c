/* Whole runs out of one seed each: safety under faults, then liveness with the liars still at it.
 */
#include "tests/sim/world.h"
#include "tests/sim/world_internal.h"

#include <criterion/criterion.h>
#include <string.h>

#define SEEDS 60u

static struct sim_world_result run(struct sim_world_options options)
{
    static struct sim_world_result result;
    sim_world_run(&options, &result);
    return result;
}

static void some(uint64_t from, uint64_t count)
{
    for (uint64_t seed = from; seed < from + count; seed++) {
        struct sim_world_result r = run((struct sim_world_options){.seed = seed});
        cr_expect(r.ok, "%s", r.failure);
        cr_expect_geq(r.executed, 50, "seed %llu", (unsigned long long)seed);
        cr_expect_geq(r.delivered, 1000, "seed %llu", (unsigned long long)seed);
    }
}

Test(world, seeds_of_the_first_half)
{
    some(1, sim_seeds(SEEDS) / 2);
}
Test(world, seeds_of_the_second_half)
{
    some(1 + sim_seeds(SEEDS) / 2, sim_seeds(SEEDS) - sim_seeds(SEEDS) / 2);
}

static void look(void *context, const struct sim_seen *seen)
{
    uint64_t *kinds = context;
    kinds[seen->kind]++;
}

/* FAULTS 3.19 */
Test(world, equal_seeds_have_equal_traces_whoever_looks)
{
    uint64_t seen[SIM_SEEN_FAILURE + 1] = {0};
    for (uint64_t seed = 5; seed < 15; seed++) {
        struct sim_world_result first = run((struct sim_world_options){.seed = seed});
        struct sim_world_result second = run(
            (struct sim_world_options){.seed = seed, .observer = look, .observer_context = seen});
        cr_expect_eq(first.trace_hash, second.trace_hash, "seed %llu", (unsigned long long)seed);
        cr_expect_eq(memcmp(first.reached, second.reached, sizeof first.reached), 0);
        cr_expect_eq(memcmp(first.faults, second.faults, sizeof first.faults), 0);
        struct sim_world_result other = run((struct sim_world_options){.seed = seed + 100});
        cr_expect_neq(first.trace_hash, other.trace_hash);
    }
    /* Ten runs have something of everything to tell, but of failures. */
    for (unsigned kind = 0; kind < SIM_SEEN_FAILURE; kind++)
        cr_expect_gt(seen[kind], 0, "nothing of kind %u", kind);
    cr_expect_eq(seen[SIM_SEEN_FAILURE], 0);
}

/* The alarm rings: more than f replicas that conspire divide the correct ones (FAULTS 3.1). */
static void conspire(uint32_t n, uint32_t traitors)
{
    unsigned tripped = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_world_result r =
            run((struct sim_world_options){.seed = seed, .n = n, .traitors = traitors});
        tripped += !r.ok && strstr(r.failure, "FAULTS 3.1:") != NULL;
    }
    cr_expect_geq(tripped, 8, "%u of 10 with %u of %u", tripped, traitors, n);
}
Test(world, more_than_f_traitors_trip_agreement)
{
    conspire(4, 2);
    conspire(6, 2);
    conspire(7, 3);
    conspire(10, 4);
}

/* ... and f of them do not. */
Test(world, f_twins_divide_nobody)
{
    unsigned twins = 0;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct sim_world_result r = run((struct sim_world_options){.seed = seed, .n = 4});
        cr_expect(r.ok, "%s", r.failure);
        twins += r.faults[SIM_FAULT_TWIN] > 0;
    }
    cr_expect_gt(twins, 2);
}

/* A fault that is drawn, could act and does not is a failure. */
Test(world, a_fault_that_never_acts_is_noticed)
{
    static const enum sim_fault faults[] = {SIM_FAULT_LOSS,      SIM_FAULT_DUPLICATE,
                                            SIM_FAULT_PARTITION, SIM_FAULT_SLOW_LINK,
                                            SIM_FAULT_CRASH,     SIM_FAULT_MUTATOR,
                                            SIM_FAULT_BIT_FLIP,  SIM_FAULT_ONE_WAY};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        unsigned noticed = 0, drawn = 0;
        for (uint64_t seed = 1; seed <= 60 && drawn < 4; seed++) {
            struct sim_world_result r =
                run((struct sim_world_options){.seed = seed,
                                               .n = 4,
                                               .forbid = UINT64_C(1) << faults[i]});
            drawn += (r.configured >> faults[i] & 1u) != 0;
            noticed += !r.ok && strstr(r.failure, "never happened") != NULL;
        }
        cr_expect_gt(noticed, 0, "%s: drawn in %u", sim_fault_text(faults[i]), drawn);
    }
}

Test(world, with_real_signatures)
{
    struct sim_world_result r =
        run((struct sim_world_options){.seed = 3, .n = 4, .real_signatures = true});
    cr_expect(r.ok, "%s", r.failure);
    cr_expect(r.real_signatures);
}

/* What is remembered of a signature vouches for nothing that differs from it in any bit. */
Test(world, a_true_signature_that_is_remembered_vouches_for_no_other)
{
    struct pbft_keypair pair;
    uint8_t seed[32] = {7}, message[100] = {1}, signature[PBFT_SIGNATURE_BYTES];
    pbft_keypair_from_seed(&pair, seed);
    struct pbft_span span = {message, sizeof message};
    world_signer_once.sign(&pair.secret, span, signature);
    for (unsigned i = 0; i < 2; i++)
        cr_assert(world_signer_once.verify(&pair.public, span, signature));
    struct {
        uint8_t *bytes;
        size_t size;
    } parts[] = {{pair.public.bytes, sizeof pair.public.bytes},
                 {message, sizeof message},
                 {signature, sizeof signature}};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        for (size_t bit = 0; bit < 8 * parts[p].size; bit++) {
            parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_expect(!world_signer_once.verify(&pair.public, span, signature));
            parts[p].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    span.size--;
    cr_expect(!world_signer_once.verify(&pair.public, span, signature));
    span.size++;
    cr_expect(world_signer_once.verify(&pair.public, span, signature));
}

Test(world, says_what_it_is)
{
    char text[1024];
    struct sim_world_options options = {.seed = 3, .n = 7};
    sim_world_describe(&options, text, sizeof text);
    cr_expect_eq(strncmp(text, "n=7 ", 4), 0, "%s", text);
    cr_expect_lt(strlen(text), sizeof text);
}
