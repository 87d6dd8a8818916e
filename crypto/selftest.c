/*
 * crypto/selftest.c - what must be true of the library before we sign anything, and how it judges
 * odd signatures (FAULTS 2.30, PROTOCOL 5).
 *
 * Known answers come from RFC 8032 7.1, RFC 7748 5.2 and RFC 7693. The odd vectors were built with
 * an independent implementation of the curve: each satisfies the verification equation that its
 * name tells, and breaks one rule that some libraries check and others do not.
 */
#include "crypto/keys.h"

#include "crypto/verify.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

struct known_signature {
    const char *seed;
    const char *public;
    const char *message; /* hex */
    const char *signature;
};

static const struct known_signature known[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
     "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

struct odd_signature {
    const char *name;
    const char *message; /* text */
    const char *public;
    const char *signature;
};

/* Order and contents are fixed for ever: bit i of the verdict vector is vector i. New vectors are
 * appended. The first must be accepted and the last of these refused, whatever the library. */
static const struct odd_signature odd[] = {
    {"ordinary", "odd 0000", "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "91f628121db55f243188ddb35bcc718dce2a40d69d8d9459cac914999993170e"},
    {"key is the identity, R and S zero", "odd 0000",
     "0100000000000000000000000000000000000000000000000000000000000000",
     "0100000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000000000"},
    {"key of order 8, R of small order", "odd 0001",
     "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
     "0000000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000000000"},
    {"key of order 8, ordinary R, both equations", "odd 0014",
     "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "543ed0afb1beff71c31bd02a592de6fda4abb0654b7d2a731cbb106b9bb3b001"},
    {"key of order 8, ordinary R, cofactored only", "odd 0000",
     "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "543ed0afb1beff71c31bd02a592de6fda4abb0654b7d2a731cbb106b9bb3b001"},
    {"key of mixed order, both equations", "odd 0001",
     "c8b419eadc6212ca1723945c33b60db7c0e179f295b16f583328c77f9fdab76a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "58906eec19c2512e5e17a1a7258ca28cc5a4aff191df1a2b96949be529c93b05"},
    {"key of mixed order, cofactored only", "odd 0000",
     "c8b419eadc6212ca1723945c33b60db7c0e179f295b16f583328c77f9fdab76a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "9db42dfbc919a68368ae6ca7781ce8c9e94ee6ce3bb69b0fc75240d60075a409"},
    {"R of mixed order, cofactored only", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "a63389d760b36c89d20a74b4e39f17cc6a9e1cfc9f0c959e1fd9df8a1165f01d"
     "ed6f9b6a5b806c1a111438cb7892b7832ce93408c2f54b51b92fac12fe93c206"},
    {"key and R of mixed order that cancel", "odd 0000",
     "c8b419eadc6212ca1723945c33b60db7c0e179f295b16f583328c77f9fdab76a",
     "a63389d760b36c89d20a74b4e39f17cc6a9e1cfc9f0c959e1fd9df8a1165f01d"
     "7ebbdc4be3654755723088329f077fb5f43dba4b4836d6055165bc6153dcd409"},
    {"R is the identity", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "0100000000000000000000000000000000000000000000000000000000000000"
     "7e3aa44c3c7c60ccdb41737b34c1e55b8d8a6c5e09dbed5a1e2607a7a580450b"},
    {"S plus the group order", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "7eca1e6f3718727c0725d5563ac650a2ce2a40d69d8d9459cac914999993171e"},
    {"S plus 8 times the group order", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "f995d7f9efcdf2e4e36e9acb509b6934cf2a40d69d8d9459cac914999993178e"},
    {"R is the identity, y not reduced", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
     "aac219807b46518bb677e678734545c4df80953b2ec81c7027c5363c18695e01"},
    {"R is the identity, sign of zero", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "0100000000000000000000000000000000000000000000000000000000000080"
     "9ce8f0e4ea1a5a7f0293a0122c3f4a6c043dd6d31e60daceee81f5384ae59905"},
    {"key is the identity, y not reduced", "odd 0000",
     "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "543ed0afb1beff71c31bd02a592de6fda4abb0654b7d2a731cbb106b9bb3b001"},
    {"key is the identity, sign of zero", "odd 0000",
     "0100000000000000000000000000000000000000000000000000000000000080",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "543ed0afb1beff71c31bd02a592de6fda4abb0654b7d2a731cbb106b9bb3b001"},
    {"one bit of an ordinary signature changed", "odd 0000",
     "4b23024cd799cc9d2f4fb973dc9025f0222bfc35013b6a00ea2f000eda63128a",
     "9452cb87e86ef46fe79b29ef3687169a65fc9449588512f464522c2c0cf3dc57"
     "91f628161db55f243188ddb35bcc718dce2a40d69d8d9459cac914999993170e"},
};
#define ODD_COUNT    (sizeof(odd) / sizeof(odd[0]))
#define ODD_ACCEPTED 0u
#define ODD_REFUSED  16u
_Static_assert(ODD_COUNT <= 64 && ODD_COUNT > ODD_REFUSED, "one bit each");

static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum pbft_status outcome = PBFT_STATUS_CRYPTO;
static uint64_t verdicts;

static bool signatures_right(void)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint8_t seed[32];
        uint8_t public[32];
        uint8_t message[2];
        uint8_t expected[64];
        size_t size = strlen(known[i].message) / 2;
        if (!pbft_hex_decode(known[i].seed, seed, sizeof(seed)) ||
            !pbft_hex_decode(known[i].public, public, sizeof(public)) ||
            !pbft_hex_decode(known[i].message, message, size) ||
            !pbft_hex_decode(known[i].signature, expected, sizeof(expected)))
            return false;

        struct pbft_keypair pair;
        uint8_t signature[PBFT_SIGNATURE_BYTES];
        struct pbft_span span = {message, size};
        pbft_keypair_from_seed(&pair, seed);
        pbft_sign(&pair.secret, span, signature);
        if (memcmp(pair.public.bytes, public, sizeof(public)) != 0 ||
            memcmp(signature, expected, sizeof(expected)) != 0 ||
            !pbft_public_key_valid(&pair.public) || !pbft_verify(&pair.public, span, signature))
            return false;
        (void)verify_learn(&pair.public);
        if (!verify_quickly(&pair.public, span, signature)) verify_disable();
        signature[i] ^= 0x10;
        if (pbft_verify(&pair.public, span, signature)) return false;
    }
    return true;
}

static bool hash_right(void)
{
    uint8_t expected[32];
    uint8_t got[32];
    const uint8_t abc[3] = {'a', 'b', 'c'};
    return pbft_hex_decode("bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
                           expected, sizeof(expected)) &&
           crypto_generichash(got, sizeof(got), abc, sizeof(abc), NULL, 0) == 0 &&
           memcmp(got, expected, sizeof(got)) == 0;
}

static bool exchange_right(void)
{
    uint8_t k[32] = {9};
    uint8_t expected[32];
    uint8_t got[32];
    return pbft_hex_decode("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
                           expected, sizeof(expected)) &&
           crypto_scalarmult(got, k, k) == 0 && memcmp(got, expected, sizeof(got)) == 0;
}

static bool judge_odd(uint64_t *out)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < ODD_COUNT; i++) {
        struct pbft_public_key key;
        uint8_t signature[PBFT_SIGNATURE_BYTES];
        if (!pbft_hex_decode(odd[i].public, key.bytes, sizeof(key.bytes)) ||
            !pbft_hex_decode(odd[i].signature, signature, sizeof(signature)))
            return false;
        struct pbft_span message = {(const uint8_t *)odd[i].message, strlen(odd[i].message)};
        bool accepted =
            crypto_sign_verify_detached(signature, message.data, message.size, key.bytes) == 0;
        (void)verify_learn(&key);
        if (verify_quickly(&key, message, signature) && !accepted) verify_disable();
        if (accepted) bits |= UINT64_C(1) << i;
    }
    *out = bits;
    return ((bits >> ODD_ACCEPTED) & 1u) == 1 && ((bits >> ODD_REFUSED) & 1u) == 0;
}

static void run_once(void)
{
    if (sodium_init() < 0) return;
    verify_init(); /* what it says yes to is compared below; if it differs, libsodium judges alone
                    */
    if (!signatures_right() || !hash_right() || !exchange_right() || !judge_odd(&verdicts)) return;
    outcome = PBFT_STATUS_OK;
}

enum pbft_status pbft_crypto_init(void)
{
    (void)pthread_once(&once, run_once);
    return outcome;
}

const char *pbft_crypto_verifier(void)
{
    return verify_enabled() ? "tables" : "libsodium";
}

uint64_t pbft_crypto_verdicts(void)
{
    return verdicts;
}
