/* Defaults for every n, and that each bound of pbft_params_check() is really checked. */
#include <criterion/criterion.h>
#include <string.h>

#include "pbft/types.h"

#define VERIFY_NS UINT64_C(49000)
#define MS        UINT64_C(1000000)

/* PROTOCOL 20, computed here from the definition and not from pbft/quorum. */
static uint64_t worst_new_view_ns(uint64_t n, uint64_t window)
{
    uint64_t f = (n - 1) / 3;
    uint64_t q = (n + f + 2) / 2; /* ceil((n+f+1)/2) */
    uint64_t per_view_change = window * (1 + (q - 1)) + q;
    return q * per_view_change * VERIFY_NS;
}

static void assert_refused(const struct pbft_params *p, const char *word)
{
    const char *problem = pbft_params_check(p);
    cr_assert_not_null(problem, "accepted although %s is bad", word);
    cr_assert_not_null(strstr(problem, word), "'%s' does not name %s", problem, word);
}

Test(params, defaults_hold_for_every_n)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        struct pbft_params p = pbft_params_default(n);
        const char *problem = pbft_params_check(&p);
        cr_assert_null(problem, "n = %u: %s", n, problem);
        cr_assert_eq(p.n, n);
        cr_assert_geq(p.checkpoint_interval, 8);
        cr_assert_geq(p.window, 2 * p.checkpoint_interval);
        cr_assert_eq(p.window % p.checkpoint_interval, 0);
        cr_assert_leq(worst_new_view_ns(n, p.window), p.view_timeout_ns / 2, "n = %u", n);
        /* The largest one: a further interval would be too much. */
        if (p.window < 256)
            cr_assert_gt(worst_new_view_ns(n, p.window + p.checkpoint_interval),
                         p.view_timeout_ns / 2, "n = %u could have a larger window", n);
    }
}

Test(params, figures_of_common_sizes)
{
    static const struct {
        uint32_t n, window, interval;
        uint64_t timeout_ms;
    } want[] = {
        {4, 256, 64, 500}, {7, 192, 64, 500}, {10, 96, 32, 500},
        {16, 32, 16, 500}, {25, 16, 8, 500},  {64, 16, 8, 3100},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct pbft_params p = pbft_params_default(want[i].n);
        cr_assert_eq(p.window, want[i].window, "n = %u: %u", p.n, p.window);
        cr_assert_eq(p.checkpoint_interval, want[i].interval, "n = %u", p.n);
        cr_assert_eq(p.view_timeout_ns, want[i].timeout_ms * MS, "n = %u", p.n);
    }
}

Test(params, new_view_must_be_verified_in_half_the_timeout)
{
    /* n = 4: q = 3, a window L costs 9 (L+1) verifications. */
    struct pbft_params p = pbft_params_default(4);
    p.view_timeout_ns = 2 * 9 * (p.window + 1) * VERIFY_NS;
    cr_assert_null(pbft_params_check(&p));
    p.view_timeout_ns -= 1;
    assert_refused(&p, "view_timeout");

    /* PROTOCOL 20's own example. */
    struct pbft_params big = pbft_params_default(16);
    big.window = 256;
    big.checkpoint_interval = 128;
    assert_refused(&big, "NEW-VIEW");
}

Test(params, view_change_must_fit_into_a_frame)
{
    struct pbft_params p = pbft_params_default(64);
    p.view_timeout_max_ns = UINT64_C(3600) * 1000 * MS;
    p.view_timeout_ns = p.view_timeout_max_ns; /* time is no obstacle here */
    p.window = 2048;
    cr_assert_null(pbft_params_check(&p));
    p.window = 4096; /* 4096 entries of 43 signatures: 11 MiB */
    assert_refused(&p, "VIEW-CHANGE");
}

Test(params, window_is_two_intervals_and_a_multiple)
{
    struct pbft_params p = pbft_params_default(4);
    p.window = p.checkpoint_interval;
    p.pipeline_depth = 1;
    assert_refused(&p, "window");
    p.window = 2 * p.checkpoint_interval + 1;
    assert_refused(&p, "multiple");
    p.window = UINT32_MAX;
    assert_refused(&p, "window");

    /* Tests use small windows. */
    p.checkpoint_interval = 4;
    p.window = 8;
    cr_assert_null(pbft_params_check(&p));
    p.checkpoint_interval = 1;
    p.window = 2;
    cr_assert_null(pbft_params_check(&p));
}

/* A field set to `bad` is refused with a sentence that names it; `good` is the nearest value. */
#define BOUND(field, good, bad, word)                                                              \
    do {                                                                                           \
        struct pbft_params bound = pbft_params_default(4);                                         \
        bound.field = (good);                                                                      \
        cr_assert_null(pbft_params_check(&bound), #field " = " #good " refused: %s",               \
                       pbft_params_check(&bound));                                                 \
        bound.field = (bad);                                                                       \
        assert_refused(&bound, (word));                                                            \
    } while (0)

Test(params, bounds_of_counts)
{
    BOUND(n, 4, 3, "n must");
    BOUND(n, 4, 65, "n must");
    BOUND(n, 4, 0, "n must");
    BOUND(checkpoint_interval, 128, 0, "checkpoint_interval");
    BOUND(checkpoint_interval, 128, UINT32_MAX, "checkpoint_interval");
    BOUND(pipeline_depth, 1, 0, "pipeline_depth");
    BOUND(pipeline_depth, 256, 257, "pipeline_depth");
    BOUND(batch_max_requests, 1, 0, "batch_max_requests");
    BOUND(batch_max_requests, 4096, 4097, "batch_max_requests");
    BOUND(bundle_max_ops, 1, 0, "bundle_max_ops");
    BOUND(bundle_max_ops, 4096, 4097, "bundle_max_ops");
    BOUND(session_window, 1, 0, "session_window");
    BOUND(session_window, 4096, 4097, "session_window");
    BOUND(sessions_total, 4096, 0, "sessions_total");
    BOUND(sessions_total, 1u << 20, (1u << 20) + 1, "sessions_total");
    BOUND(sessions_per_client, 1, 0, "sessions_per_client");
    BOUND(sessions_per_client, 65536, 65537, "sessions_per_client");
    BOUND(client_quota, 1, 0, "client_quota");
    BOUND(client_quota, 65536, 65537, "client_quota");
}

Test(params, bounds_of_sizes)
{
    BOUND(key_max_bytes, 1, 0, "key_max_bytes");
    BOUND(key_max_bytes, 1024, 1025, "key_max_bytes");
    BOUND(value_max_bytes, 0, (1u << 20) + 1, "value_max_bytes");
    BOUND(reply_max_bytes, 64, 63, "reply_max_bytes");
    BOUND(reply_max_bytes, 2u << 20, (2u << 20) + 1, "reply_max_bytes");
    BOUND(batch_max_bytes, 4u << 20, (4u << 20) + 1, "batch_max_bytes");
    /* one request with the longest key and value, plus its fields, must fit */
    BOUND(batch_max_bytes, (1u << 20) + 2048, (1u << 20) + 2047, "batch_max_bytes");
    BOUND(batch_max_bytes, 4u << 20, 0, "batch_max_bytes");
    BOUND(batch_max_bytes, 4u << 20, UINT32_MAX, "batch_max_bytes");
}

Test(params, bounds_of_times)
{
    BOUND(session_idle_ns, 1000 * MS, 1000 * MS - 1, "session_idle");
    BOUND(session_idle_ns, 1000 * MS, UINT64_MAX, "session_idle");
    BOUND(clock_skew_ns, MS, MS - 1, "clock_skew");
    BOUND(clock_skew_ns, 3600 * 1000 * MS, UINT64_MAX, "clock_skew");
    BOUND(view_timeout_ns, 30000 * MS, 30001 * MS, "view_timeout");
    BOUND(view_timeout_ns, 500 * MS, 0, "view_timeout");
    BOUND(view_timeout_max_ns, 500 * MS, 499 * MS, "view_timeout");
    BOUND(view_timeout_max_ns, 3600 * 1000 * MS, 3600 * 1000 * MS + 1, "view_timeout_max");
}
