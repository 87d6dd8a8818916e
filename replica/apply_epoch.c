/* The configuration in the state: a replica's key is replaced by an operation, and the epoch ends
 * at a checkpoint that all can know of in time (PROTOCOL 29).
 *
 * Which one: the first that is a whole window behind the operation. Nothing above it is decided in
 * this epoch: a proposal above it fits only into a window whose low mark is beyond the operation.
 * That low mark is certified by q replicas; the q-f correct ones among them have executed the
 * operation and vote for nothing above. The others are n-q+f, fewer than q. */
#include "replica/apply_internal.h"

#include "crypto/replace.h"

#include <string.h>

#define EPOCH_KEY   0x60u
#define EPOCH_BYTES (4u + 4u + PBFT_PUBLIC_KEY_BYTES + 8u)

static pbft_seq last_for(const struct pbft_params *p, pbft_seq seq)
{
    pbft_seq least = seq + p->window, past = least % p->checkpoint_interval;
    return past == 0 ? least : least + p->checkpoint_interval - past;
}

bool pbft_apply_change(const struct pbft_apply *a, struct pbft_epoch_change *out)
{
    static const uint8_t key[1] = {EPOCH_KEY};
    struct pbft_span value;
    *out = (struct pbft_epoch_change){.epoch = 0};
    if (!pbft_tree_get(a->tree, (struct pbft_span){key, sizeof key}, &value, NULL)) return false;
    PBFT_ASSERT(value.size == EPOCH_BYTES);
    if (pbft_get_u32(value.data) != a->cluster->epoch + 1) return false; /* it has happened */
    /* In the history that a cluster was restored from, whose epochs are not its own: an operation
     * of this epoch stands behind its genesis, and a window before the last number. */
    pbft_seq last = pbft_get_u64(value.data + 8 + PBFT_PUBLIC_KEY_BYTES);
    if (last <= last_for(apply_params(a), a->cluster->genesis_seq)) return false;
    out->epoch = pbft_get_u32(value.data);
    out->replica = pbft_get_u32(value.data + 4);
    memcpy(out->key.bytes, value.data + 8, PBFT_PUBLIC_KEY_BYTES);
    out->seq = last;
    return true;
}

static void change_store(struct pbft_apply *a, const struct pbft_epoch_change *change)
{
    static const uint8_t key[1] = {EPOCH_KEY};
    uint8_t value[EPOCH_BYTES];
    pbft_put_u32(value, change->epoch);
    pbft_put_u32(value + 4, change->replica);
    memcpy(value + 8, change->key.bytes, PBFT_PUBLIC_KEY_BYTES);
    pbft_put_u64(value + 8 + PBFT_PUBLIC_KEY_BYTES, change->seq);
    enum pbft_status status = pbft_tree_put(a->tree, (struct pbft_span){key, sizeof key},
                                            (struct pbft_span){value, sizeof value}, a->seq);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    a->last = change->seq;
}

static enum pbft_replace_status judge(struct pbft_apply *a, const struct pbft_call *call,
                                      struct pbft_span op, struct pbft_epoch_change *change)
{
    struct pbft_replace replace;
    if (call->client_index != 0) return PBFT_REPLACE_FORBIDDEN;
    if (!pbft_replace_decode(a->cluster, op, &replace)) return PBFT_REPLACE_BAD;
    if (replace.epoch != a->cluster->epoch) return PBFT_REPLACE_EPOCH;
    if (pbft_apply_change(a, change)) return PBFT_REPLACE_UNDERWAY;
    *change = (struct pbft_epoch_change){.epoch = replace.epoch + 1,
                                         .replica = replace.replica,
                                         .key = replace.key,
                                         .seq = last_for(apply_params(a), a->seq)};
    return pbft_epoch_change_valid(a->cluster, change) ? PBFT_REPLACE_OK : PBFT_REPLACE_BAD;
}

void pbft_apply_replace(struct pbft_apply *a, const struct pbft_call *call, struct pbft_span op,
                        struct pbft_result *result)
{
    struct pbft_epoch_change change = {.epoch = 0};
    if (!pbft_result_reserve(result, PBFT_REPLACE_RESULT_BYTES)) return;
    enum pbft_replace_status status = judge(a, call, op, &change);
    bool ends = status == PBFT_REPLACE_OK || status == PBFT_REPLACE_UNDERWAY;
    if (status == PBFT_REPLACE_OK) change_store(a, &change);
    pbft_result_u8(result, (uint8_t)status);
    pbft_result_u32(result, ends ? change.epoch : 0);
    pbft_result_u64(result, ends ? change.seq : 0);
}
