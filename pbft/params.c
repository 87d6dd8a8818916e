/*
 * pbft/params.c - the parameters that genesis fixes: defaults for n replicas, and PROTOCOL 20,
 * which refuses a cluster whose view change would not fit into a frame or into its time-out.
 */
#include "pbft/types.h"

#include "pbft/quorum.h"
#include "pbft/wire.h"

#define KIB            UINT32_C(1024)
#define MIB            UINT32_C(1048576)
#define MILLISECOND_NS UINT64_C(1000000)
#define SECOND_NS      (1000u * MILLISECOND_NS)
#define HOUR_NS        (3600u * SECOND_NS)
#define DAY_NS         (24u * HOUR_NS)

/* One Ed25519 verification on the slowest machine that we promise anything for. */
#define VERIFY_NS UINT64_C(49000)

#define WINDOW_DEFAULT   256u
#define WINDOW_MAX       4096u
#define INTERVAL_DEFAULT 64u
#define INTERVAL_LEAST   8u /* the smallest interval that pbft_params_default() chooses */

/* What a proposal's frame carries beside its batch. */
#define BATCH_OVERHEAD_BYTES UINT32_C(65536)
/* What a request carries beside one key and one value: header, signature, operation fields. */
#define REQUEST_OVERHEAD_BYTES UINT32_C(1024)

/*
 * Signatures of the worst NEW-VIEW: q VIEW-CHANGEs, each with its own signature list of L prepared
 * certificates (a PRE-PREPARE and q-1 PREPAREs) and the q CHECKPOINTs of its stable one.
 * No overflow: q <= 64, L < 2^32.
 */
static uint64_t new_view_verify_ns(uint32_t n, uint32_t window)
{
    uint64_t q = pbft_quorum(n);
    return q * (window * (1 + (q - 1)) + q) * VERIFY_NS;
}

/*
 * An upper bound of a VIEW-CHANGE: per entry view, seq, digest, bitmap and q signatures; the stable
 * certificate; and 1 KiB for everything that is there once.
 */
static uint64_t view_change_bytes(uint32_t n, uint32_t window)
{
    uint64_t q = pbft_quorum(n);
    uint64_t entry = 64u + q * PBFT_SIGNATURE_BYTES;
    return KIB + entry + window * entry;
}

/* The NEW-VIEW itself: q digests and at most L individually signed PRE-PREPAREs (PROTOCOL 19). */
static uint64_t new_view_bytes(uint32_t n, uint32_t window)
{
    uint64_t q = pbft_quorum(n);
    return KIB + q * (8u + PBFT_DIGEST_BYTES) + (uint64_t)window * (64u + PBFT_SIGNATURE_BYTES);
}

static bool window_fits(uint32_t n, uint32_t window, uint64_t view_timeout_ns)
{
    return new_view_verify_ns(n, window) <= view_timeout_ns / 2;
}

/*
 * The largest interval (a power of two) and then the largest window (a multiple of it, at least
 * two of them) that PROTOCOL 20 allows under p's view time-out. False when there is none.
 */
static bool choose_window(struct pbft_params *p)
{
    for (uint32_t k = INTERVAL_DEFAULT; k >= INTERVAL_LEAST; k /= 2) {
        if (!window_fits(p->n, 2 * k, p->view_timeout_ns)) continue;
        uint32_t window = 2 * k;
        while (window + k <= WINDOW_DEFAULT && window_fits(p->n, window + k, p->view_timeout_ns))
            window += k;
        p->checkpoint_interval = k;
        p->window = window;
        return true;
    }
    return false;
}

struct pbft_params pbft_params_default(uint32_t n)
{
    PBFT_ASSERT(n >= PBFT_REPLICAS_MIN && n <= PBFT_REPLICAS_MAX);
    struct pbft_params p = {
        .n = n,
        .batch_max_bytes = 4 * MIB - 4 * KIB,
        .batch_max_requests = 1024,
        .bundle_max_ops = 1024,
        .key_max_bytes = KIB,
        .value_max_bytes = MIB,
        .reply_max_bytes = MIB + 64 * 1024, /* a value of full size fits with its header */
        .session_window = 256,
        .sessions_per_client = 4096, /* one for each call of pbftctl */
        .sessions_total = 65536,
        .client_quota = 512,
        .session_idle_ns = 60 * SECOND_NS,
        .clock_skew_ns = 2 * SECOND_NS,
        .view_timeout_ns = 500 * MILLISECOND_NS,
        .view_timeout_max_ns = 30 * SECOND_NS,
    };
    /* From n = 26 on no window of two intervals can be verified in time: wait longer instead. */
    while (!choose_window(&p))
        p.view_timeout_ns += 100 * MILLISECOND_NS;
    p.pipeline_depth = 1; /* natural batching alone: best where CPU is the limit */
    return p;
}

static bool within(uint64_t value, uint64_t least, uint64_t most)
{
    return value >= least && value <= most;
}

static const char *check_counts(const struct pbft_params *p)
{
    if (!within(p->n, PBFT_REPLICAS_MIN, PBFT_REPLICAS_MAX)) return "n must be between 4 and 64";
    if (!within(p->checkpoint_interval, 1, WINDOW_MAX / 2))
        return "checkpoint_interval must be between 1 and 2048";
    if (!within(p->window, 2, WINDOW_MAX)) return "window must be between 2 and 4096";
    if (p->window % p->checkpoint_interval != 0)
        return "window must be a multiple of checkpoint_interval";
    if (p->window / 2 < p->checkpoint_interval)
        return "window must be at least twice checkpoint_interval";
    if (!within(p->pipeline_depth, 1, p->window))
        return "pipeline_depth must be between 1 and window";
    if (!within(p->batch_max_requests, 1, 4096))
        return "batch_max_requests must be between 1 and 4096";
    if (!within(p->bundle_max_ops, 1, 4096)) return "bundle_max_ops must be between 1 and 4096";
    if (!within(p->session_window, 1, 4096)) return "session_window must be between 1 and 4096";
    if (!within(p->sessions_total, 1, 1u << 20))
        return "sessions_total must be between 1 and 1048576";
    if (!within(p->sessions_per_client, 1, p->sessions_total))
        return "sessions_per_client must be between 1 and sessions_total";
    if (!within(p->client_quota, 1, 65536)) return "client_quota must be between 1 and 65536";
    return NULL;
}

static const char *check_sizes(const struct pbft_params *p)
{
    if (!within(p->key_max_bytes, 1, KIB)) return "key_max_bytes must be between 1 and 1024";
    if (p->value_max_bytes > MIB) return "value_max_bytes must be at most 1048576";
    if (!within(p->reply_max_bytes, 64, UINT64_C(2) * MIB))
        return "reply_max_bytes must be between 64 and 2097152";
    if (!within(p->batch_max_bytes, 1, UINT64_C(4) * MIB))
        return "batch_max_bytes must be between 1 and 4194304";
    if ((uint64_t)p->key_max_bytes + p->value_max_bytes + REQUEST_OVERHEAD_BYTES >
        p->batch_max_bytes)
        return "batch_max_bytes must hold one request with the longest key and value";
    if ((uint64_t)p->batch_max_bytes + BATCH_OVERHEAD_BYTES > PBFT_FRAME_MAX_BYTES)
        return "batch_max_bytes does not fit into a frame";
    return NULL;
}

static const char *check_times(const struct pbft_params *p)
{
    if (!within(p->session_idle_ns, SECOND_NS, 365 * DAY_NS))
        return "session_idle must be between 1 second and 365 days";
    if (!within(p->clock_skew_ns, MILLISECOND_NS, HOUR_NS))
        return "clock_skew must be between 1 millisecond and 1 hour";
    if (!within(p->view_timeout_max_ns, MILLISECOND_NS, HOUR_NS))
        return "view_timeout_max must be between 1 millisecond and 1 hour";
    if (!within(p->view_timeout_ns, MILLISECOND_NS, p->view_timeout_max_ns))
        return "view_timeout must be between 1 millisecond and view_timeout_max";
    return NULL;
}

/* PROTOCOL 20. After the others: its arithmetic relies on their bounds. */
static const char *check_view_change(const struct pbft_params *p)
{
    if (view_change_bytes(p->n, p->window) > PBFT_FRAME_MAX_BYTES)
        return "a VIEW-CHANGE of this window would not fit into a frame: choose a smaller window";
    if (new_view_bytes(p->n, p->window) > PBFT_FRAME_MAX_BYTES)
        return "a NEW-VIEW of this window would not fit into a frame: choose a smaller window";
    if (!window_fits(p->n, p->window, p->view_timeout_ns))
        return "verifying a NEW-VIEW of this window could take more than half of view_timeout: "
               "choose a smaller window or a longer view_timeout";
    return NULL;
}

const char *pbft_params_check(const struct pbft_params *p)
{
    const char *problem = check_counts(p);
    if (problem == NULL) problem = check_sizes(p);
    if (problem == NULL) problem = check_times(p);
    if (problem == NULL) problem = check_view_change(p);
    return problem;
}
