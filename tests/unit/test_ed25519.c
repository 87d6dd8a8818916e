/* The quick way to a verdict (crypto/verify.h) against libsodium, down to its field (FAULTS 2.30).
 */
#include "crypto/edwards25519.h"
#include "crypto/keys.h"
#include "crypto/verify.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES 8u

static void init(void)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
}

TestSuite(ed25519, .init = init);

/* Equal in every run. */
static void draw(void *out, size_t size, uint64_t number)
{
    uint8_t seed[randombytes_SEEDBYTES] = {0};
    memcpy(seed, &number, sizeof number);
    randombytes_buf_deterministic(out, size, seed);
}

/* ---- the field ---- */

static struct fe drawn_fe(uint64_t number)
{
    uint8_t bytes[32];
    draw(bytes, sizeof bytes, number);
    return fe_from_bytes(bytes);
}

static bool fe_same(struct fe a, struct fe b)
{
    uint8_t x[32], y[32];
    fe_to_bytes(x, a);
    fe_to_bytes(y, b);
    return memcmp(x, y, sizeof x) == 0;
}

static void assert_tight(struct fe a)
{
    for (int i = 0; i < 5; i++)
        cr_assert_lt(a.limb[i], (UINT64_C(1) << 51) + (UINT64_C(1) << 14));
}

/* What is p or more has an encoding below p. */
Test(ed25519, encodings_are_canonical)
{
    for (unsigned i = 0; i < 19; i++) { /* p + i, up to 2^255 - 1 */
        uint8_t bytes[32], out[32], expected[32] = {0};
        memset(bytes, 0xff, sizeof bytes);
        bytes[0] = (uint8_t)(0xed + i);
        bytes[31] = 0x7f;
        expected[0] = (uint8_t)i;
        fe_to_bytes(out, fe_from_bytes(bytes));
        cr_assert_arr_eq(out, expected, 32, "p + %u", i);
    }
    uint8_t bytes[32], out[32];
    memset(bytes, 0xff, sizeof bytes);
    bytes[0] = 0xec;
    bytes[31] = 0x7f;
    fe_to_bytes(out, fe_from_bytes(bytes));
    cr_assert_arr_eq(out, bytes, 32, "p - 1");
    fe_to_bytes(out, fe_sub(fe_zero, fe_one));
    cr_assert_arr_eq(out, bytes, 32, "minus one");
}

/* Limbs at the end of what each function says it takes: products stay tight, and right. */
Test(ed25519, the_largest_limbs_do_not_overflow)
{
    const uint64_t loose = (UINT64_C(1) << 54) - 1;
    for (unsigned which = 0; which < 1024; which++) { /* each limb of both at 0 or at its end */
        struct fe a, b;
        for (unsigned i = 0; i < 5; i++) {
            a.limb[i] = which >> i & 1u ? loose : 0;
            b.limb[i] = which >> (5 + i) & 1u ? loose : 0;
        }
        struct fe product = fe_mul(a, b), square = fe_square(a);
        assert_tight(product);
        assert_tight(square);
        /* Through the encoding both are below p: the same product of small limbs. */
        uint8_t x[32], y[32];
        fe_to_bytes(x, a);
        fe_to_bytes(y, b);
        cr_assert(fe_same(product, fe_mul(fe_from_bytes(x), fe_from_bytes(y))), "%x", which);
        cr_assert(fe_same(square, fe_mul(fe_from_bytes(x), fe_from_bytes(x))), "%x", which);
    }
}

Test(ed25519, the_field_has_its_laws)
{
    for (uint64_t i = 0; i < 500; i++) {
        struct fe a = drawn_fe(3 * i), b = drawn_fe(3 * i + 1), c = drawn_fe(3 * i + 2);
        struct fe sum = fe_mul(fe_add(a, b), c);
        cr_assert(fe_same(sum, fe_add(fe_mul(a, c), fe_mul(b, c))));
        struct fe squares = fe_sub(fe_square(a), fe_square(b));
        cr_assert(fe_same(squares, fe_mul(fe_add(a, b), fe_sub(a, b))));
        cr_assert(fe_same(fe_mul(a, fe_invert(a)), fe_one));
        cr_assert_not(fe_same(a, b));
    }
    cr_assert(fe_is_zero(fe_invert(fe_zero)));
    cr_assert(fe_same(fe_square(fe_sqrt_m1), fe_sub(fe_zero, fe_one)));
    /* d is -121665/121666. */
    struct fe numerator = {{121665, 0, 0, 0, 0}}, denominator = {{121666, 0, 0, 0, 0}};
    cr_assert(fe_is_zero(fe_add(fe_mul(fe_d, denominator), numerator)));
    cr_assert(fe_same(fe_2d, fe_add(fe_d, fe_d)));
    /* Its multiplication is the one that libsodium's X25519 has: 4 times 9 there and here. */
    struct fe nine = {{9, 0, 0, 0, 0}}, four = {{4, 0, 0, 0, 0}}, product = {{36, 0, 0, 0, 0}};
    cr_assert(fe_same(fe_mul(nine, four), product));
}

/* ---- points ---- */

static struct pbft_keypair drawn_key(uint64_t number)
{
    uint8_t seed[32];
    struct pbft_keypair pair;
    draw(seed, sizeof seed, number);
    pbft_keypair_from_seed(&pair, seed);
    return pair;
}

Test(ed25519, points_are_decoded_as_libsodium_does)
{
    unsigned points = 0;
    for (uint64_t i = 0; i < 400; i++) {
        uint8_t bytes[32], again[32], sum[32];
        draw(bytes, sizeof bytes, i);
        struct ed_point p;
        bool ours = ed_decode(&p, bytes);
        /* It adds whatever is on the curve, canonical or not; drawn ones are below p. */
        struct pbft_keypair other = drawn_key(1);
        bool theirs = crypto_core_ed25519_add(sum, bytes, other.public.bytes) == 0;
        cr_assert_eq(ours, theirs);
        if (!ours) continue;
        points++;
        ed_encode(again, &p);
        cr_assert_arr_eq(again, bytes, 32);
    }
    cr_assert_gt(points, 100u);
    for (unsigned y = 0; y < 38; y++) { /* y + p, and minus zero */
        uint8_t bytes[32];
        memset(bytes, 0xff, sizeof bytes);
        bytes[0] = (uint8_t)(0xed + y % 19);
        bytes[31] = y < 19 ? 0x7f : 0xff;
        struct ed_point p;
        cr_assert_not(ed_decode(&p, bytes), "p + %u is no canonical y", y % 19);
    }
    uint8_t minus_zero[32] = {1};
    minus_zero[31] = 0x80;
    struct ed_point p;
    cr_assert_not(ed_decode(&p, minus_zero));
}

Test(ed25519, small_orders_are_known)
{
    static const uint8_t small[][32] = {
        {0},
        {1},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
         0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
         0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
         0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
         0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    };
    struct ed_point p;
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        cr_assert(ed_decode(&p, small[i]));
        cr_assert(ed_small_order(&p), "%zu", i);
    }
    for (uint64_t i = 0; i < 50; i++) {
        cr_assert(ed_decode(&p, drawn_key(i).public.bytes));
        cr_assert_not(ed_small_order(&p));
    }
}

/* s B + h A by libsodium. Scalars that are zero it refuses; then it is the other summand. */
static void expected_sum(uint8_t out[32], const uint8_t s[32], const uint8_t key[32],
                         const uint8_t h[32])
{
    uint8_t left[32] = {1}, right[32] = {1};
    uint8_t neutral[32] = {1};
    if (crypto_scalarmult_ed25519_base_noclamp(left, s) != 0) memcpy(left, neutral, 32);
    if (crypto_scalarmult_ed25519_noclamp(right, h, key) != 0) memcpy(right, neutral, 32);
    cr_assert_eq(crypto_core_ed25519_add(out, left, right), 0);
}

static void check_scalars(const uint8_t s[32], const uint8_t h[32])
{
    struct pbft_keypair pair = drawn_key(7);
    struct ed_point point;
    static struct ed_key_tables tables;
    uint8_t got[32], expected[32];
    cr_assert(ed_decode(&point, pair.public.bytes));
    ed_key_tables(&tables, &point);
    point = ed_double_multiply(s, &tables, h);
    ed_encode(got, &point);
    expected_sum(expected, s, pair.public.bytes, h);
    cr_assert_arr_eq(got, expected, 32);
}

/* Scalars that lead digits to their ends: runs of ones and of zeros over the pieces' borders. */
Test(ed25519, scalars_at_their_ends)
{
    uint8_t zero[32] = {0}, one[32] = {1};
    uint8_t order_less_one[32];
    uint8_t minus[32] = {1};
    crypto_core_ed25519_scalar_negate(order_less_one, minus);
    check_scalars(zero, zero);
    check_scalars(one, zero);
    check_scalars(zero, one);
    check_scalars(order_less_one, one);
    check_scalars(one, order_less_one);
    check_scalars(order_less_one, order_less_one);
    for (unsigned from = 0; from < 252; from += 5) {
        for (unsigned to = from + 1; to <= 255; to += 18) { /* ones at from .. to - 1 */
            uint8_t run[32] = {0};
            for (unsigned bit = from; bit < to; bit++)
                run[bit / 8] |= (uint8_t)(1u << (bit % 8));
            check_scalars(run, one);
            check_scalars(one, run);
        }
    }
    for (uint64_t i = 0; i < 200; i++) {
        uint8_t both[64];
        draw(both, sizeof both, i);
        both[31] &= 0x7f;
        both[63] &= 0x7f;
        check_scalars(both, both + 32);
    }
}

/* ---- verdicts ---- */

/* With tables, whatever the key. */
static bool quick(const struct pbft_public_key *key, const uint8_t *message,
                  const uint8_t *signature)
{
    cr_assert(verify_learn(key));
    return verify_quickly(key, (struct pbft_span){message, MESSAGE_BYTES}, signature);
}

static bool sodium(const struct pbft_public_key *key, const uint8_t *message,
                   const uint8_t *signature)
{
    return crypto_sign_verify_detached(signature, message, MESSAGE_BYTES, key->bytes) == 0;
}

Test(ed25519, the_quick_way_is_on)
{
    cr_assert(verify_enabled());
    cr_assert_str_eq(pbft_crypto_verifier(), "tables");
}

/* A flaw of ours costs time only: without tables every verdict is libsodium's. */
Test(ed25519, without_it_all_verdicts_are_the_same)
{
    struct pbft_keypair pair = drawn_key(1);
    uint8_t message[MESSAGE_BYTES] = {1}, signature[PBFT_SIGNATURE_BYTES];
    struct pbft_span span = {message, sizeof message};
    pbft_sign(&pair.secret, span, signature);
    verify_disable();
    cr_assert_str_eq(pbft_crypto_verifier(), "libsodium");
    cr_assert_not(quick(&pair.public, message, signature));
    cr_assert(pbft_verify(&pair.public, span, signature));
    signature[0] ^= 1;
    cr_assert_not(pbft_verify(&pair.public, span, signature));
}

/* Right ones are accepted, and with any bit of anything changed both say no. */
Test(ed25519, each_bit_counts)
{
    for (uint64_t i = 0; i < 8; i++) {
        struct {
            struct pbft_public_key key;
            uint8_t message[MESSAGE_BYTES];
            uint8_t signature[PBFT_SIGNATURE_BYTES];
        } all;
        struct pbft_keypair pair = drawn_key(i);
        all.key = pair.public;
        draw(all.message, sizeof all.message, 1000 + i);
        pbft_sign(&pair.secret, (struct pbft_span){all.message, MESSAGE_BYTES}, all.signature);
        uint8_t *bytes = (uint8_t *)&all;
        for (size_t bit = 0; bit < 8 * sizeof all; bit++) {
            cr_assert(quick(&all.key, all.message, all.signature));
            bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            cr_assert_not(quick(&all.key, all.message, all.signature), "bit %zu", bit);
            cr_assert_not(sodium(&all.key, all.message, all.signature), "bit %zu", bit);
            bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
    }
}

Test(ed25519, messages_of_any_length)
{
    struct pbft_keypair pair = drawn_key(3);
    static uint8_t message[5000];
    draw(message, sizeof message, 9);
    for (size_t size = 0; size <= sizeof message; size += size < 300 ? 1 : 1175) {
        uint8_t signature[PBFT_SIGNATURE_BYTES];
        struct pbft_span span = {size == 0 ? NULL : message, size};
        pbft_sign(&pair.secret, (struct pbft_span){message, size}, signature);
        cr_assert(verify_learn(&pair.public));
        cr_assert(verify_quickly(&pair.public, span, signature), "%zu", size);
        signature[40] ^= 4;
        cr_assert_not(verify_quickly(&pair.public, span, signature), "%zu", size);
    }
}

/* With a key of small order S = 0 and the neutral element for R satisfy the equation: always where
 * the key is the neutral element, for each fourth message where its order is four. */
Test(ed25519, what_is_of_small_order_is_refused)
{
    static const uint8_t orders[][32] = {{1}, {0}};
    uint8_t message[MESSAGE_BYTES];
    unsigned satisfied = 0;
    for (uint64_t i = 0; i < 64; i++) {
        for (size_t k = 0; k < 2; k++) {
            struct pbft_public_key key;
            uint8_t signature[PBFT_SIGNATURE_BYTES] = {0};
            memcpy(key.bytes, orders[k], 32);
            signature[0] = 1;
            draw(message, sizeof message, i);
            cr_assert_not(quick(&key, message, signature));
            cr_assert_not(sodium(&key, message, signature));
            satisfied++;
        }
    }
    cr_assert_eq(satisfied, 128u);
}

struct owner { /* of a key, who can make S for any R */
    struct pbft_public_key key;
    uint8_t a[32]; /* the secret scalar */
};

static struct owner drawn_owner(uint64_t number)
{
    struct owner o;
    uint8_t seed[32], secret[64], hash[64], wide[64] = {0};
    draw(seed, sizeof seed, number);
    cr_assert_eq(crypto_sign_seed_keypair(o.key.bytes, secret, seed), 0);
    crypto_hash_sha512(hash, seed, sizeof seed);
    hash[0] &= 248;
    hash[31] &= 127;
    hash[31] |= 64;
    memcpy(wide, hash, 32);
    crypto_core_ed25519_scalar_reduce(o.a, wide);
    return o;
}

/* S = r + h a, where h is the challenge of the R that stands in `signature`. */
static void answer(const struct owner *o, const uint8_t r[32], const uint8_t *message,
                   uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    uint8_t input[32 + 32 + MESSAGE_BYTES], wide[64], h[32];
    memcpy(input, signature, 32);
    memcpy(input + 32, o->key.bytes, 32);
    memcpy(input + 64, message, MESSAGE_BYTES);
    crypto_hash_sha512(wide, input, sizeof input);
    crypto_core_ed25519_scalar_reduce(h, wide);
    crypto_core_ed25519_scalar_mul(signature + 32, h, o->a);
    crypto_core_ed25519_scalar_add(signature + 32, signature + 32, r);
}

Test(ed25519, an_r_of_small_order_is_refused)
{
    struct owner o = drawn_owner(5);
    uint8_t zero[32] = {0}, r[32] = {77}, message[MESSAGE_BYTES] = {7};
    uint8_t signature[PBFT_SIGNATURE_BYTES] = {1}; /* R the neutral element: the equation holds */
    answer(&o, zero, message, signature);
    cr_assert_not(sodium(&o.key, message, signature));
    cr_assert_not(quick(&o.key, message, signature));
    /* Made alike with an ordinary R it is right. */
    cr_assert_eq(crypto_scalarmult_ed25519_base_noclamp(signature, r), 0);
    answer(&o, r, message, signature);
    cr_assert(sodium(&o.key, message, signature));
    cr_assert(quick(&o.key, message, signature));
}

/* The sum is r B, and R is that but for one bit. A changed R of an ordinary signature would not do:
 * the challenge changes with it. */
Test(ed25519, r_is_compared_whole)
{
    struct owner o = drawn_owner(6);
    uint8_t r[32] = {77}, message[MESSAGE_BYTES] = {7}, signature[PBFT_SIGNATURE_BYTES];
    for (size_t bit = 0; bit < 256; bit++) {
        cr_assert_eq(crypto_scalarmult_ed25519_base_noclamp(signature, r), 0);
        signature[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        answer(&o, r, message, signature);
        cr_assert_not(quick(&o.key, message, signature), "bit %zu", bit);
        cr_assert_not(sodium(&o.key, message, signature), "bit %zu", bit);
    }
}

/* S and S + L satisfy the same equation. */
Test(ed25519, s_is_below_the_order)
{
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    struct pbft_keypair pair = drawn_key(11);
    for (uint8_t i = 0; i < 50; i++) {
        uint8_t message[MESSAGE_BYTES] = {i}, signature[PBFT_SIGNATURE_BYTES];
        pbft_sign(&pair.secret, (struct pbft_span){message, MESSAGE_BYTES}, signature);
        cr_assert(quick(&pair.public, message, signature));
        for (unsigned times = 1; times < 8; times++) {
            sodium_add(signature + 32, order, sizeof order);
            cr_assert_not(quick(&pair.public, message, signature), "S + %u L", times);
            cr_assert_not(sodium(&pair.public, message, signature), "S + %u L", times);
        }
    }
}

/* ---- the memory of keys ---- */

#define MANY (2 * VERIFY_TABLES)

struct signer {
    struct pbft_public_key key;
    uint8_t signature[PBFT_SIGNATURE_BYTES];
};

static struct signer *many_signers(const uint8_t *message)
{
    struct signer *signers = calloc(MANY, sizeof *signers);
    cr_assert_not_null(signers);
    for (uint64_t i = 0; i < MANY; i++) {
        struct pbft_keypair pair = drawn_key(i);
        signers[i].key = pair.public;
        pbft_sign(&pair.secret, (struct pbft_span){message, MESSAGE_BYTES}, signers[i].signature);
    }
    return signers;
}

/* One more than a set has room for. */
static void signers_of_one_set(struct signer signers[VERIFY_WAYS + 1], struct pbft_span message)
{
    for (uint64_t i = 0; i < VERIFY_WAYS + 1; i++) {
        struct pbft_keypair pair;
        uint64_t number = 10000 * i;
        do
            pair = drawn_key(number++);
        while (pair.public.bytes[0] != 9);
        signers[i].key = pair.public;
        pbft_sign(&pair.secret, message, signers[i].signature);
    }
}

/* Tables are made for the second signature in turn that libsodium accepts, and for no other. */
Test(ed25519, tables_have_to_be_earned)
{
    uint8_t message[MESSAGE_BYTES] = {4};
    struct pbft_span span = {message, sizeof message};
    struct signer signers[VERIFY_WAYS + 1];
    signers_of_one_set(signers, span);
    struct signer wrong = signers[0];
    wrong.signature[33] ^= 1;
    for (unsigned times = 0; times < 5; times++)
        cr_assert_not(pbft_verify(&wrong.key, span, wrong.signature));
    cr_assert_not(verify_quickly(&signers[0].key, span, signers[0].signature));
    for (unsigned round = 0; round < 2; round++) { /* one too many */
        for (unsigned i = 0; i < VERIFY_WAYS + 1; i++) {
            const struct signer *it = &signers[i];
            cr_assert(pbft_verify(&it->key, span, it->signature));
            cr_assert_not(verify_quickly(&it->key, span, it->signature));
        }
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < VERIFY_WAYS; i++) {
            const struct signer *it = &signers[i];
            cr_assert_eq(verify_quickly(&it->key, span, it->signature), round > 1);
            cr_assert(pbft_verify(&it->key, span, it->signature));
        }
    }
}

/* Nine keys take turns where there is room for eight: a key that has no tables does not have them
 * made, and another's thrown away, each time that it comes. */
Test(ed25519, turns_in_a_full_set_make_few_tables)
{
    uint8_t message[MESSAGE_BYTES] = {5};
    struct pbft_span span = {message, sizeof message};
    struct signer signers[VERIFY_WAYS + 1];
    signers_of_one_set(signers, span);
    for (unsigned i = 0; i < VERIFY_WAYS; i++)
        cr_assert(verify_learn(&signers[i].key));
    unsigned rounds = 20 * VERIFY_EARNED_FULL, made = 0, quickly = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < VERIFY_WAYS + 1; i++) {
            const struct signer *it = &signers[i];
            bool had = verify_quickly(&it->key, span, it->signature);
            cr_assert(pbft_verify(&it->key, span, it->signature));
            made += !had && verify_quickly(&it->key, span, it->signature);
            quickly += had;
        }
    }
    cr_assert_geq(quickly, rounds * (VERIFY_WAYS - 1), "%u of %u", quickly,
                  rounds * (VERIFY_WAYS + 1));
    cr_assert_leq(made, rounds / (VERIFY_EARNED_FULL - 1), "%u tables", made);
    cr_assert_geq(made, rounds / VERIFY_EARNED_FULL / 2, "only %u tables", made);
}

/* A program that has used up its thread-specific values goes on with libsodium, and nothing of its
 * own is touched. */
Test(ed25519_alone, no_thread_specific_value_left)
{
    static uint8_t mine[64], zero[64];
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0)
        cr_assert_eq(pthread_setspecific(key, mine), 0);
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    cr_assert_not(verify_enabled());
    struct pbft_keypair pair = drawn_key(3);
    uint8_t message[MESSAGE_BYTES] = {3}, signature[PBFT_SIGNATURE_BYTES];
    struct pbft_span span = {message, sizeof message};
    pbft_sign(&pair.secret, span, signature);
    for (unsigned times = 0; times < 2 * VERIFY_EARNED_FULL; times++)
        cr_assert(pbft_verify(&pair.public, span, signature));
    cr_assert_not(verify_learn(&pair.public));
    cr_assert_eq(memcmp(mine, zero, sizeof mine), 0);
}

/* More keys than there is room for, in turns that evict and that do not: each is judged by itself.
 */
static void *judge_all(void *argument)
{
    const struct signer *signers = argument;
    uint8_t message[MESSAGE_BYTES] = {1};
    bool right = true;
    for (size_t step = 0; step < 3 * MANY; step++) {
        uint32_t random[3];
        draw(random, sizeof random, step);
        size_t range = step % 3 == 0 ? MANY : 16;
        const struct signer *a = &signers[random[0] % range], *b = &signers[random[1] % range];
        right = right && quick(&a->key, message, a->signature);
        if (a == b) continue;
        right = right && !quick(&a->key, message, b->signature);
        right = right && !quick(&b->key, message, a->signature);
    }
    return right ? argument : NULL;
}

Test(ed25519, more_keys_than_tables)
{
    uint8_t message[MESSAGE_BYTES] = {1};
    struct signer *signers = many_signers(message);
    cr_assert_not_null(judge_all(signers));
    free(signers);
}

/* A key that differs from a known one in its last bits has none of its tables: with them another's
 * signature would be right. */
Test(ed25519, keys_are_compared_whole)
{
    struct pbft_keypair pair = drawn_key(2);
    uint8_t message[MESSAGE_BYTES] = {2}, signature[PBFT_SIGNATURE_BYTES];
    pbft_sign(&pair.secret, (struct pbft_span){message, MESSAGE_BYTES}, signature);
    for (size_t at = 0; at < 32; at++) {
        cr_assert(quick(&pair.public, message, signature)); /* the last one that was used */
        /* Signed so that only the tables can tell: the challenge is that of the other key. */
        struct pbft_keypair forged = pair;
        forged.public.bytes[at] ^= 0x80;
        memcpy(forged.secret.bytes + 32, forged.public.bytes, 32);
        uint8_t lie[PBFT_SIGNATURE_BYTES];
        pbft_sign(&forged.secret, (struct pbft_span){message, MESSAGE_BYTES}, lie);
        cr_assert_not(quick(&forged.public, message, lie), "byte %zu", at);
        cr_assert_not(sodium(&forged.public, message, lie), "byte %zu", at);
    }
}

Test(ed25519, threads_have_tables_of_their_own)
{
    uint8_t message[MESSAGE_BYTES] = {1};
    struct signer *signers = many_signers(message);
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, judge_all, signers), 0);
    for (size_t i = 0; i < 3; i++) {
        void *right;
        cr_assert_eq(pthread_join(threads[i], &right), 0);
        cr_assert_not_null(right);
    }
    free(signers);
}
