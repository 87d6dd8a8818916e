/* pbft/session: the window's arithmetic, at its edges and against wide integers. */
#include "pbft/session.h"

#include <criterion/criterion.h>

Test(session, low_saturates)
{
    cr_assert_eq(pbft_session_low(0, 8), 0);
    cr_assert_eq(pbft_session_low(7, 8), 0);
    cr_assert_eq(pbft_session_low(8, 8), 0);
    cr_assert_eq(pbft_session_low(9, 8), 1);
    cr_assert_eq(pbft_session_low(UINT64_MAX, 8), UINT64_MAX - 8);
    cr_assert_eq(pbft_session_low(UINT64_MAX, UINT32_MAX), UINT64_MAX - UINT32_MAX);
}

Test(session, number_zero_is_never_valid)
{
    cr_assert_eq(pbft_session_place(0, 8, 0), PBFT_SESSION_STALE);
    cr_assert_eq(pbft_session_place(5, 8, 0), PBFT_SESSION_STALE);
    cr_assert_eq(pbft_session_place(UINT64_MAX, 8, 0), PBFT_SESSION_STALE);
}

Test(session, edges_of_the_window)
{
    cr_assert_eq(pbft_session_place(20, 8, 12), PBFT_SESSION_STALE);
    cr_assert_eq(pbft_session_place(20, 8, 13), PBFT_SESSION_WINDOW);
    cr_assert_eq(pbft_session_place(20, 8, 20), PBFT_SESSION_WINDOW);
    cr_assert_eq(pbft_session_place(20, 8, 21), PBFT_SESSION_AHEAD);
}

/* FAULTS 2.32: the greatest number is an ordinary one, and afterwards the session is used up. */
Test(session, greatest_number)
{
    cr_assert_eq(pbft_session_place(0, 8, UINT64_MAX), PBFT_SESSION_AHEAD);
    cr_assert_eq(pbft_session_place(UINT64_MAX - 1, 8, UINT64_MAX), PBFT_SESSION_AHEAD);
    cr_assert_eq(pbft_session_place(UINT64_MAX, 8, UINT64_MAX), PBFT_SESSION_WINDOW);
    cr_assert_eq(pbft_session_place(UINT64_MAX, 8, UINT64_MAX - 7), PBFT_SESSION_WINDOW);
    cr_assert_eq(pbft_session_place(UINT64_MAX, 8, UINT64_MAX - 8), PBFT_SESSION_STALE);
    cr_assert_eq(pbft_session_place(UINT64_MAX, 8, 1), PBFT_SESSION_STALE);
}

/* The definition, with sums that cannot wrap because the operands are small. */
Test(session, agrees_with_the_definition)
{
    for (uint64_t max_t = 0; max_t < 40; max_t++) {
        for (uint32_t window = 1; window < 12; window++) {
            for (uint64_t t = 0; t < 60; t++) {
                enum pbft_session_place expected = PBFT_SESSION_WINDOW;
                if (t == 0 || t + window <= max_t)
                    expected = PBFT_SESSION_STALE;
                else if (t > max_t)
                    expected = PBFT_SESSION_AHEAD;
                cr_assert_eq(pbft_session_place(max_t, window, t), expected,
                             "max_t %llu window %u t %llu", (unsigned long long)max_t, window,
                             (unsigned long long)t);
                bool stale = t <= pbft_session_low(max_t, window);
                cr_assert_eq(stale, expected == PBFT_SESSION_STALE);
            }
        }
    }
}
