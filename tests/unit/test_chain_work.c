/* Targets, work and retargeting (bench/chain/work.h). */
#include "tests/unit/chain_fixture.h"

static struct chain_u256 shifted(unsigned bit)
{
    struct chain_u256 v = {{0}};
    v.limb[bit / 32] = UINT32_C(1) << (bit % 32);
    return v;
}

Test(chain_work, compact_forms_of_bitcoin)
{
    /* Genesis' target and regtest's, from Bitcoin's chainparams.cpp. */
    struct chain_u256 t;
    cr_assert(chain_target(0x1d00ffff, &t));
    for (unsigned i = 0; i < 8; i++)
        cr_expect_eq(t.limb[i], i == 6 ? 0xffff0000u : 0, "limb %u", i);
    cr_assert(chain_target(0x207fffff, &t));
    cr_expect_eq(t.limb[7], 0x7fffff00u);
    cr_assert(chain_target(0x01010000, &t));
    cr_expect_eq(t.limb[0], 1);
}

Test(chain_work, other_compact_forms_are_refused)
{
    static const uint32_t bad[] = {
        0,          0x1d000000,                         /* zero */
        0x1d80ffff,                                     /* negative */
        0x1e0000ff,                                     /* not the shortest */
        0x01000100,                                     /* of bytes below the number */
        0x01010001, 0x217fffff, 0x2200ffff, 0xff7fffff, /* beyond 256 bits */
    };
    struct chain_u256 t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(chain_target(bad[i], &t), "%08x", bad[i]);
}

Test(chain_work, compact_rounds_down_and_comes_back)
{
    struct chain_u256 t = shifted(200), back;
    t.limb[0] = 12345;
    uint32_t bits = chain_compact(&t);
    cr_assert(chain_target(bits, &back));
    cr_expect_lt(chain_u256_compare(&back, &t), 0);
    cr_expect_eq(chain_compact(&back), bits);
    for (unsigned bit = 0; bit < 256; bit++) {
        t = shifted(bit);
        cr_assert(chain_target(chain_compact(&t), &back), "bit %u", bit);
        cr_expect_eq(chain_u256_compare(&t, &back), 0, "bit %u", bit);
    }
}

Test(chain_work, work_is_the_expected_number_of_hashes)
{
    struct chain_u256 t, w, expected = chain_u256_of(UINT64_C(0x100010001));
    cr_assert(chain_target(0x1d00ffff, &t)); /* "minimum work" of Bitcoin's first block */
    w = chain_work_of(&t);
    cr_expect_eq(chain_u256_compare(&w, &expected), 0);
    cr_assert(chain_target(EASY_BITS, &t));
    w = chain_work_of(&t);
    expected = chain_u256_of(2);
    cr_expect_eq(chain_u256_compare(&w, &expected), 0);
    memset(&t, 0xff, sizeof t);
    w = chain_work_of(&t);
    expected = chain_u256_of(1);
    cr_expect_eq(chain_u256_compare(&w, &expected), 0);
    t = chain_u256_of(1);
    w = chain_work_of(&t);
    expected = shifted(255);
    cr_expect_eq(chain_u256_compare(&w, &expected), 0);
}

/* Target in units of 2^200. */
static double units(uint32_t bits)
{
    struct chain_u256 t, one = shifted(200);
    cr_assert(chain_target(bits, &t));
    return chain_u256_double(&t) / chain_u256_double(&one);
}

Test(chain_work, retarget_follows_the_time_within_a_factor_of_four)
{
    struct chain_u256 base = shifted(210);
    uint32_t bits = chain_compact(&base);
    static const struct {
        int64_t actual;
        double factor;
    } cases[] = {
        {1000, 1},    {2000, 2},      {500, 0.5},        {4000, 4}, {4001, 4},
        {1000000, 4}, {250, 0.25},    {249, 0.25},       {0, 0.25}, {-5000, 0.25},
        {3000, 3},    {INT64_MAX, 4}, {INT64_MIN, 0.25},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double got = units(chain_retarget(bits, EASY_BITS, cases[i].actual, 1000)) / 1024;
        cr_expect_lt(got, cases[i].factor * 1.0001, "%lld: %f", (long long)cases[i].actual, got);
        cr_expect_gt(got, cases[i].factor * 0.9999, "%lld: %f", (long long)cases[i].actual, got);
    }
}

Test(chain_work, retarget_stops_at_the_limit)
{
    cr_expect_eq(chain_retarget(EASY_BITS, EASY_BITS, 4000, 1000), EASY_BITS);
    cr_expect_eq(chain_retarget(0x1d00ffff, 0x1d00ffff, 2000, 1000), 0x1d00ffff);
    /* And the hardest target does not become none. */
    cr_expect_eq(chain_retarget(0x01010000, EASY_BITS, 250, 1000), 0x01010000);
}
