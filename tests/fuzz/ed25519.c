/*
 * tests/fuzz/ed25519.c - the quick way to a verdict (crypto/verify.h) is libsodium's verdict, for
 * any bytes (FAULTS 2.30).
 *
 * Input: u8 how. 0: key 32, signature 64, message. 1: u8 whose key, u8 where, u8 what: a signature
 * that is right over the rest, and with that byte of (key, signature) changed so. 2: two scalars of
 * 32 bytes, whose multiples of the base point and of a key are added.
 */
#include "crypto/edwards25519.h"
#include "crypto/keys.h"
#include "crypto/verify.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

#define KEYS 8u

static struct pbft_keypair keys[KEYS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    REQUIRE(verify_enabled());
    for (uint8_t i = 0; i < KEYS; i++) {
        uint8_t seed[32] = {i};
        pbft_keypair_from_seed(&keys[i], seed);
    }
    return 0;
}

static bool judge(const uint8_t *key, const uint8_t *signature, struct pbft_span message)
{
    struct pbft_public_key k;
    memcpy(k.bytes, key, sizeof k.bytes);
    bool right = crypto_sign_verify_detached(signature, message.data, message.size, key) == 0;
    REQUIRE(verify_learn(&k));
    REQUIRE(verify_quickly(&k, message, signature) == right);
    REQUIRE(pbft_verify(&k, message, signature) == right);
    return right;
}

static void judge_changed(const uint8_t *data, size_t size)
{
    const struct pbft_keypair *pair = &keys[data[0] % KEYS];
    struct pbft_span message = {data + 3, size - 3};
    uint8_t all[32 + 64];
    memcpy(all, pair->public.bytes, 32);
    pbft_sign(&pair->secret, message, all + 32);
    REQUIRE(judge(all, all + 32, message));
    all[data[1] % sizeof all] ^= data[2];
    REQUIRE(judge(all, all + 32, message) == (data[2] == 0));
}

static void multiply(const uint8_t *data)
{
    static struct ed_key_tables tables;
    struct ed_point point;
    uint8_t s[32], h[32], got[32], left[32], right[32], sum[32];
    const uint8_t *key = keys[0].public.bytes;
    memcpy(s, data, 32);
    memcpy(h, data + 32, 32);
    s[31] &= 0x7f; /* as libsodium takes them */
    h[31] &= 0x7f;
    REQUIRE(ed_decode(&point, key));
    ed_key_tables(&tables, &point);
    point = ed_double_multiply(s, &tables, h);
    ed_encode(got, &point);
    memset(left, 0, 32);
    memset(right, 0, 32);
    left[0] = right[0] = 1; /* the neutral element, which it does not give out */
    if (crypto_scalarmult_ed25519_base_noclamp(sum, s) == 0) memcpy(left, sum, 32);
    if (crypto_scalarmult_ed25519_noclamp(sum, h, key) == 0) memcpy(right, sum, 32);
    REQUIRE(crypto_core_ed25519_add(sum, left, right) == 0);
    REQUIRE(memcmp(got, sum, 32) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    uint8_t how = data[0] % 3;
    data++;
    size--;
    if (how == 0 && size >= 96)
        (void)judge(data, data + 32, (struct pbft_span){data + 96, size - 96});
    if (how == 1 && size >= 3) judge_changed(data, size);
    if (how == 2 && size >= 64) multiply(data);
    return 0;
}
