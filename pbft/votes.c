#include "pbft/votes.h"

#include <string.h>

enum pbft_vote_check pbft_votes_check(const struct pbft_votes *v, pbft_id sender,
                                      const struct pbft_digest *digest)
{
    if (!pbft_signers_has(v->have, sender)) return PBFT_VOTE_NEW;
    return pbft_digest_equal(&v->by[sender].digest, digest) ? PBFT_VOTE_DUPLICATE
                                                            : PBFT_VOTE_CONFLICT;
}

void pbft_votes_add(struct pbft_votes *v, pbft_id sender, const struct pbft_digest *digest,
                    const uint8_t *signature)
{
    PBFT_ASSERT(!pbft_signers_has(v->have, sender));
    v->have |= pbft_signers_of(sender);
    v->by[sender].digest = *digest;
    memcpy(v->by[sender].signature.bytes, signature, PBFT_SIGNATURE_BYTES);
}

pbft_signers pbft_votes_for(const struct pbft_votes *v, const struct pbft_digest *digest)
{
    pbft_signers matching = 0;
    for (pbft_signers rest = v->have; rest != 0; rest &= rest - 1) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        if (pbft_digest_equal(&v->by[id].digest, digest)) matching |= pbft_signers_of(id);
    }
    return matching;
}

void pbft_votes_clear(struct pbft_votes *v)
{
    v->have = 0;
}

pbft_signers pbft_votes_collect(const struct pbft_votes *v, pbft_signers from, uint32_t count,
                                uint8_t *out)
{
    PBFT_ASSERT((from & ~v->have) == 0);
    PBFT_ASSERT(pbft_signers_count(from) >= count);
    pbft_signers taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        pbft_id id = (pbft_id)__builtin_ctzll(from);
        from &= from - 1;
        taken |= pbft_signers_of(id);
        memcpy(out + (size_t)i * PBFT_SIGNATURE_BYTES, v->by[id].signature.bytes,
               PBFT_SIGNATURE_BYTES);
    }
    return taken;
}
