/* crypto/hash.c - BLAKE2b-256 with domains, and the digests of the protocol (PROTOCOL 3). */
#include "crypto/hash.h"

#include "pbft/wire.h"

#include <sodium.h>
#include <string.h>

#define DOMAIN_REQUEST     "request"
#define DOMAIN_BATCH       "batch"
#define DOMAIN_PROPOSAL    "proposal"
#define DOMAIN_NULL        "null-request"
#define DOMAIN_VIEW_CHANGE "view-change"
#define DOMAIN_NEW_VIEW    "new-view"
#define DOMAIN_RESULT      "result"
#define DOMAIN_QUERY       "query"

static crypto_generichash_state *state_of(struct pbft_hasher *hasher)
{
    _Static_assert(sizeof hasher->state >= sizeof(crypto_generichash_state) + 64u, "room for it");
    uintptr_t past = (uintptr_t)hasher->state % 64u;
    return (crypto_generichash_state *)(void *)(hasher->state + (past == 0 ? 0 : 64u - past));
}

void pbft_hasher_begin(struct pbft_hasher *hasher, const char *domain)
{
    size_t length = strlen(domain);
    PBFT_ASSERT(length >= 1 && length <= PBFT_HASH_DOMAIN_MAX);
    uint8_t padded[PBFT_HASH_DOMAIN_MAX] = {0};
    memcpy(padded, domain, length);
    crypto_generichash_init(state_of(hasher), NULL, 0, PBFT_DIGEST_BYTES);
    crypto_generichash_update(state_of(hasher), padded, sizeof padded);
}

void pbft_hasher_add(struct pbft_hasher *hasher, struct pbft_span part)
{
    if (part.size > 0) crypto_generichash_update(state_of(hasher), part.data, part.size);
}

void pbft_hasher_end(struct pbft_hasher *hasher, struct pbft_digest *out)
{
    crypto_generichash_final(state_of(hasher), out->bytes, PBFT_DIGEST_BYTES);
}

void pbft_hash(struct pbft_digest *out, const char *domain, const struct pbft_span *parts,
               size_t count)
{
    struct pbft_hasher hasher;
    pbft_hasher_begin(&hasher, domain);
    for (size_t i = 0; i < count; i++)
        pbft_hasher_add(&hasher, parts[i]);
    pbft_hasher_end(&hasher, out);
}

void pbft_digest_request(struct pbft_digest *out, struct pbft_span body)
{
    pbft_hash(out, DOMAIN_REQUEST, &body, 1);
}

void pbft_digest_proposal(struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves)
{
    uint8_t number[4];
    pbft_put_u32(number, count);
    struct pbft_digest batch;
    pbft_hash(&batch, DOMAIN_BATCH, (struct pbft_span[]){{number, sizeof number}, leaves}, 2);

    uint8_t time[8];
    pbft_put_u64(time, time_ns);
    pbft_hash(out, DOMAIN_PROPOSAL,
              (struct pbft_span[]){{time, sizeof time}, {batch.bytes, sizeof batch.bytes}}, 2);
}

void pbft_digest_null(struct pbft_digest *out)
{
    pbft_hash(out, DOMAIN_NULL, NULL, 0);
}

void pbft_digest_view_change(struct pbft_digest *out, struct pbft_span body)
{
    pbft_hash(out, DOMAIN_VIEW_CHANGE, &body, 1);
}

void pbft_digest_new_view(struct pbft_digest *out, struct pbft_span body)
{
    pbft_hash(out, DOMAIN_NEW_VIEW, &body, 1);
}

void pbft_digest_result(struct pbft_digest *out, uint8_t outcome, struct pbft_span body)
{
    pbft_hash(out, DOMAIN_RESULT, (struct pbft_span[]){{&outcome, 1}, body}, 2);
}

void pbft_digest_query(struct pbft_digest *out, uint8_t outcome, uint64_t mark,
                       struct pbft_span body)
{
    uint8_t head[9] = {outcome};
    pbft_put_u64(head + 1, mark);
    pbft_hash(out, DOMAIN_QUERY, (struct pbft_span[]){{head, sizeof head}, body}, 2);
}
