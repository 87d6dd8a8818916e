/* pbft/quorum.c - quorum arithmetic for any n >= 4 (FAULTS 4.1). */
#include "pbft/quorum.h"

uint32_t pbft_quorum_faults(uint32_t n)
{
    PBFT_ASSERT(n >= PBFT_REPLICAS_MIN && n <= PBFT_REPLICAS_MAX);
    return (n - 1) / 3;
}

uint32_t pbft_quorum(uint32_t n)
{
    /* ceil((n+f+1)/2): two quorums share f+1 replicas at least, hence a correct one. */
    return (n + pbft_quorum_faults(n) + 2) / 2;
}

uint32_t pbft_quorum_weak(uint32_t n)
{
    return pbft_quorum_faults(n) + 1;
}

pbft_id pbft_primary(uint32_t n, pbft_view view)
{
    return (pbft_id)(view % n);
}

pbft_signers pbft_everyone(uint32_t n)
{
    /* A shift by 64 is undefined. */
    return n >= PBFT_REPLICAS_MAX ? ~(pbft_signers)0 : ((pbft_signers)1 << n) - 1;
}

pbft_id pbft_designated(uint32_t n, const struct pbft_public_key *client, uint64_t t)
{
    const uint8_t *k = client->bytes;
    uint32_t hash =
        (uint32_t)k[0] | (uint32_t)k[1] << 8 | (uint32_t)k[2] << 16 | (uint32_t)k[3] << 24;
    return (pbft_id)((hash % n + t % n) % n);
}
