/* pbft/types.c - texts of verdicts and statuses, helpers on digests. */
#include "pbft/types.h"

#include <string.h>

const char *pbft_verdict_text(enum pbft_verdict verdict)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PBFT_VERDICTS(X)
#undef X
    };
    return (size_t)verdict < PBFT_VERDICT_COUNT ? texts[verdict] : "?";
}

const char *pbft_status_text(enum pbft_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PBFT_STATUSES(X)
#undef X
    };
    return (size_t)status < PBFT_STATUS_COUNT ? texts[status] : "?";
}

bool pbft_digest_equal(const struct pbft_digest *a, const struct pbft_digest *b)
{
    return memcmp(a->bytes, b->bytes, PBFT_DIGEST_BYTES) == 0;
}

int pbft_digest_compare(const struct pbft_digest *a, const struct pbft_digest *b)
{
    /* memcmp promises a sign only; equal inputs must give equal outputs everywhere. */
    int order = memcmp(a->bytes, b->bytes, PBFT_DIGEST_BYTES);
    return (order > 0) - (order < 0);
}

bool pbft_digest_is_zero(const struct pbft_digest *a)
{
    uint8_t seen = 0;
    for (size_t i = 0; i < PBFT_DIGEST_BYTES; i++)
        seen |= a->bytes[i];
    return seen == 0;
}
