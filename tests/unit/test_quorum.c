/* Quorum arithmetic for every n (FAULTS 4.1). */
#include <criterion/criterion.h>

#include "pbft/quorum.h"

Test(quorum, known_sizes)
{
    static const struct {
        uint32_t n, f, q;
    } known[] = {{4, 1, 3},    {5, 1, 4},    {6, 1, 4},    {7, 2, 5},   {8, 2, 6},
                 {9, 2, 6},    {10, 3, 7},   {13, 4, 9},   {16, 5, 11}, {31, 10, 21},
                 {61, 20, 41}, {62, 20, 42}, {63, 20, 42}, {64, 21, 43}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        cr_assert_eq(pbft_quorum_faults(known[i].n), known[i].f, "n = %u", known[i].n);
        cr_assert_eq(pbft_quorum(known[i].n), known[i].q, "n = %u", known[i].n);
        cr_assert_eq(pbft_quorum_weak(known[i].n), known[i].f + 1, "n = %u", known[i].n);
    }
}

/* q = 2f+1 fails this at n = 5 and 6: two quorums could share liars only, or nobody. */
Test(quorum, two_quorums_share_a_correct_replica_and_q_is_the_least_such)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        uint32_t f = pbft_quorum_faults(n);
        uint32_t q = pbft_quorum(n);
        cr_assert(3 * f < n && 3 * (f + 1) >= n, "n = %u: f is the most that n bears", n);
        cr_assert(2 * q >= n + f + 1, "n = %u: intersection", n);
        cr_assert(2 * (q - 1) < n + f + 1, "n = %u: not larger than needed", n);
        cr_assert(q <= n - f, "n = %u: the correct ones suffice", n);
        if (n == 3 * f + 1) cr_assert_eq(q, 2 * f + 1);
    }
}

Test(quorum, primary_rotates)
{
    cr_assert_eq(pbft_primary(4, 0), 0);
    cr_assert_eq(pbft_primary(4, 7), 3);
    cr_assert_eq(pbft_primary(7, 7), 0);
    cr_assert_eq(pbft_primary(5, UINT64_MAX), UINT64_MAX % 5);
}

Test(quorum, everyone_is_n_low_bits)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        pbft_signers all = pbft_everyone(n);
        cr_assert_eq(pbft_signers_count(all), n);
        cr_assert(pbft_signers_has(all, n - 1));
        cr_assert_not(pbft_signers_has(all, n));
    }
}
