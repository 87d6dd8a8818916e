/* crypto/verified.c - the cache of verified signatures. */
#include "crypto/verified.h"

#include "crypto/hash.h"
#include "pbft/wire.h"

#include <stdlib.h>
#include <string.h>

#define WAYS        4u
#define ENTRIES_MAX (1u << 24)

/* Most recently used first. An all-zero entry is empty: no preimage of it is known. */
struct set {
    struct pbft_digest ways[WAYS];
};

struct pbft_verified {
    uint32_t set_count; /* a power of two, or 0 */
    struct set sets[];
};

struct pbft_verified *pbft_verified_new(uint32_t entries)
{
    uint32_t sets = 0;
    if (entries > 0) {
        sets = 1;
        while (sets * WAYS < entries && sets * WAYS < ENTRIES_MAX)
            sets *= 2;
    }
    struct pbft_verified *v = calloc(1, sizeof *v + (size_t)sets * sizeof v->sets[0]);
    if (v != NULL) v->set_count = sets;
    return v;
}

void pbft_verified_free(struct pbft_verified *v)
{
    free(v);
}

void pbft_verified_key(struct pbft_digest *out, const struct pbft_public_key *key,
                       struct pbft_span message, const uint8_t *signature)
{
    /* Key and signature have fixed sizes, so the message's borders are known. */
    const struct pbft_span parts[] = {{key->bytes, PBFT_PUBLIC_KEY_BYTES},
                                      {signature, PBFT_SIGNATURE_BYTES},
                                      message};
    pbft_hash(out, "verified", parts, sizeof parts / sizeof parts[0]);
}

static struct set *set_of(struct pbft_verified *v, const struct pbft_digest *entry)
{
    return &v->sets[pbft_get_u32(entry->bytes) & (v->set_count - 1)];
}

/* Put `entry` first; the ways before `at` move back by one. */
static void to_front(struct set *set, size_t at, const struct pbft_digest *entry)
{
    memmove(&set->ways[1], &set->ways[0], at * sizeof set->ways[0]);
    set->ways[0] = *entry;
}

bool pbft_verified_has(struct pbft_verified *v, const struct pbft_digest *entry)
{
    if (v->set_count == 0) return false;
    struct set *set = set_of(v, entry);
    for (size_t i = 0; i < WAYS; i++) {
        if (!pbft_digest_equal(&set->ways[i], entry)) continue;
        to_front(set, i, entry);
        return true;
    }
    return false;
}

void pbft_verified_add(struct pbft_verified *v, const struct pbft_digest *entry)
{
    if (v->set_count == 0) return;
    to_front(set_of(v, entry), WAYS - 1, entry);
}
