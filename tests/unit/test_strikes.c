/* Which connections are closed for what came over them. */
#include "replica/strikes.h"

#include <criterion/criterion.h>
#include <string.h>

Test(strikes, too_many_within_the_window)
{
    struct pbft_strikes s;
    memset(&s, 0, sizeof s);
    for (unsigned i = 0; i + 1 < PBFT_STRIKES_MAX; i++)
        cr_assert_not(pbft_strikes_add(&s, 7, i));
    cr_assert_not(pbft_strikes_add(&s, 8, 99), "each connection for itself");
    cr_assert(pbft_strikes_add(&s, 7, PBFT_STRIKES_WINDOW_NS));
    cr_assert_not(pbft_strikes_add(&s, 7, PBFT_STRIKES_WINDOW_NS), "and is forgotten");
}

Test(strikes, few_over_a_long_time_are_forgiven)
{
    struct pbft_strikes s;
    memset(&s, 0, sizeof s);
    for (uint64_t i = 0; i < 10 * PBFT_STRIKES_MAX; i++)
        cr_assert_not(pbft_strikes_add(&s, 7, i * (PBFT_STRIKES_WINDOW_NS / 8)));
}

Test(strikes, a_crowd_cannot_hide_the_busiest)
{
    struct pbft_strikes s;
    memset(&s, 0, sizeof s);
    uint64_t now = 1;
    unsigned closed = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        closed += pbft_strikes_add(&s, 1, now++);
        for (uint64_t other = 0; other < 100; other++)
            (void)pbft_strikes_add(&s, 1000 + (i * 100 + other) % 50000, now++);
        if (closed > 0) break;
    }
    cr_assert_eq(closed, 1);
}

Test(strikes, only_what_no_correct_peer_causes)
{
    cr_assert(pbft_strikes_counts(PBFT_DROP_SIGNATURE));
    cr_assert(pbft_strikes_counts(PBFT_DROP_MALFORMED));
    cr_assert_not(pbft_strikes_counts(PBFT_OK));
    cr_assert_not(pbft_strikes_counts(PBFT_DROP_DUPLICATE));
    cr_assert_not(pbft_strikes_counts(PBFT_DROP_UNWANTED));
    cr_assert_not(pbft_strikes_counts(PBFT_DROP_VIEW));
    cr_assert_not(pbft_strikes_counts(PBFT_DROP_BUSY));
}
