/* Bad verdicts by connection, in a window of time. */
#include "replica/strikes.h"

#include <string.h>

bool pbft_strikes_counts(enum pbft_verdict verdict)
{
    switch (verdict) {
    case PBFT_DROP_MALFORMED:
    case PBFT_DROP_SIZE:
    case PBFT_DROP_TYPE:
    case PBFT_DROP_VERSION:
    case PBFT_DROP_SENDER:
    case PBFT_DROP_CLIENT:
    case PBFT_DROP_SIGNATURE:
    case PBFT_DROP_DIGEST:
    case PBFT_DROP_CERTIFICATE: return true;
    /* What delays, restarts and view changes make of correct messages. */
    case PBFT_OK:
    case PBFT_DROP_EPOCH:
    case PBFT_DROP_ROLE:
    case PBFT_DROP_VIEW:
    case PBFT_DROP_WINDOW:
    case PBFT_DROP_DUPLICATE:
    case PBFT_DROP_CONFLICT:
    case PBFT_DROP_UNWANTED:
    case PBFT_DROP_TIME:
    case PBFT_DROP_NEW_VIEW:
    case PBFT_DROP_QUOTA:
    case PBFT_DROP_BUSY:
    case PBFT_DROP_MUTE:
    case PBFT_DROP_STATE:
    case PBFT_VERDICT_COUNT: return false;
    }
    return false;
}

static size_t place(const struct pbft_strikes *s, uint64_t connection)
{
    size_t oldest = 0;
    for (size_t i = 0; i < PBFT_STRIKES_WATCHED; i++) {
        if (s->watched[i].connection == connection) return i;
        if (s->watched[oldest].connection == 0) continue;
        if (s->watched[i].connection == 0 || s->watched[i].last_ns < s->watched[oldest].last_ns)
            oldest = i;
    }
    return oldest;
}

bool pbft_strikes_add(struct pbft_strikes *strikes, uint64_t connection, uint64_t now_ns)
{
    size_t at = place(strikes, connection);
    if (strikes->watched[at].connection != connection ||
        now_ns - strikes->watched[at].since_ns > PBFT_STRIKES_WINDOW_NS) {
        strikes->watched[at].connection = connection;
        strikes->watched[at].since_ns = now_ns;
        strikes->watched[at].count = 0;
    }
    strikes->watched[at].last_ns = now_ns;
    if (++strikes->watched[at].count < PBFT_STRIKES_MAX) return false;
    memset(&strikes->watched[at], 0, sizeof strikes->watched[at]);
    return true;
}
