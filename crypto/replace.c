/* crypto/replace.c - the bytes of the operation that replaces a replica's key. */
#include "crypto/replace.h"

#include "pbft/wire.h"

#include <string.h>

enum replace_layout {
    REPLACE_EPOCH = 16,
    REPLACE_REPLICA = 20,
    REPLACE_KEY = 24,
    REPLACE_SIGNATURE = 56,
};
_Static_assert(REPLACE_SIGNATURE + PBFT_SIGNATURE_BYTES == PBFT_REPLACE_OP_BYTES, "the whole");

#define MESSAGE_BYTES (REPLACE_SIGNATURE + PBFT_DIGEST_BYTES)

static const uint8_t magic[PBFT_REPLACE_MAGIC_BYTES] = "\0pbft-replace-1";

const char *pbft_replace_text(uint8_t status)
{
    switch ((enum pbft_replace_status)status) {
    case PBFT_REPLACE_OK: return "ordered";
    case PBFT_REPLACE_FORBIDDEN: return "only the administrator's client may replace a replica";
    case PBFT_REPLACE_BAD: return "no such replica, or not a new key of its own";
    case PBFT_REPLACE_EPOCH: return "the configuration has changed meanwhile";
    case PBFT_REPLACE_UNDERWAY: return "another replacement is under way";
    case PBFT_REPLACE_STATUS_COUNT: break;
    }
    return "an unknown answer";
}

/* What the new key signs: the operation without its signature, and the cluster. */
static struct pbft_span message(const struct pbft_cluster *cluster, const uint8_t *op,
                                uint8_t out[MESSAGE_BYTES])
{
    memcpy(out, op, REPLACE_SIGNATURE);
    memcpy(out + REPLACE_SIGNATURE, cluster->id.bytes, PBFT_DIGEST_BYTES);
    return (struct pbft_span){out, MESSAGE_BYTES};
}

void pbft_replace_encode(const struct pbft_cluster *cluster, pbft_id replica,
                         const struct pbft_keypair *keypair, uint8_t out[PBFT_REPLACE_OP_BYTES])
{
    memcpy(out, magic, sizeof magic);
    pbft_put_u32(out + REPLACE_EPOCH, cluster->epoch);
    pbft_put_u32(out + REPLACE_REPLICA, replica);
    memcpy(out + REPLACE_KEY, keypair->public.bytes, PBFT_PUBLIC_KEY_BYTES);
    uint8_t bytes[MESSAGE_BYTES];
    pbft_sign(&keypair->secret, message(cluster, out, bytes), out + REPLACE_SIGNATURE);
}

bool pbft_replace_is(struct pbft_span op)
{
    return op.size >= sizeof magic && memcmp(op.data, magic, sizeof magic) == 0;
}

bool pbft_replace_decode(const struct pbft_cluster *cluster, struct pbft_span op,
                         struct pbft_replace *out)
{
    if (op.size != PBFT_REPLACE_OP_BYTES || !pbft_replace_is(op)) return false;
    out->epoch = pbft_get_u32(op.data + REPLACE_EPOCH);
    out->replica = pbft_get_u32(op.data + REPLACE_REPLICA);
    memcpy(out->key.bytes, op.data + REPLACE_KEY, PBFT_PUBLIC_KEY_BYTES);
    uint8_t bytes[MESSAGE_BYTES];
    return pbft_verify(&out->key, message(cluster, op.data, bytes), op.data + REPLACE_SIGNATURE);
}
