#include "bench/chain/client.h"

#include "pbft/wire.h"
#include "service/kv.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 4096u
#define KEY_BYTES 16u

struct chain_client chain_client_seeded(uint64_t seed)
{
    struct chain_client c = {.keys = 100000, .bundle = 1, .value_bytes = 100};
    uint8_t bytes[32] = {0};
    pbft_put_u64(bytes, seed);
    pbft_keypair_from_seed(&c.key, bytes);
    c.random = chain_random_seed(seed);
    return c;
}

size_t chain_client_again(struct chain_client *c, const struct pbft_digest *chain, uint8_t *out)
{
    static uint8_t bytes[CHAIN_REQUEST_BYTES];
    struct pbft_span ops[CHAIN_BUNDLE_MAX];
    size_t used = 0;
    for (uint32_t i = 0; i < c->bundle; i++) {
        uint8_t value[VALUE_MAX];
        char key[KEY_BYTES];
        uint64_t drawn = chain_random_next(&c->random);
        int size = snprintf(key, sizeof key, "key-%010u", (unsigned)(drawn % c->keys));
        memset(value, 'a' + (int)(drawn % 26), c->value_bytes);
        pbft_put_u64(value, drawn);
        size_t written = pbft_kv_encode_put(bytes + used, sizeof bytes - used,
                                            (struct pbft_span){(const uint8_t *)key, (size_t)size},
                                            (struct pbft_span){value, c->value_bytes});
        if (written == 0) return 0;
        ops[i] = (struct pbft_span){bytes + used, written};
        used += written;
    }
    return chain_operation_make(&c->key, chain, 1, c->t, ops, c->bundle, out, CHAIN_REQUEST_BYTES);
}

size_t chain_client_next(struct chain_client *c, const struct pbft_digest *chain, uint8_t *out)
{
    c->t++;
    return chain_client_again(c, chain, out);
}
