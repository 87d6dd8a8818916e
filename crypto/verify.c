/* crypto/verify.c - tables of the keys that were seen lately, and the equation. */
#include "crypto/verify.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

static bool enabled;

#ifdef __SIZEOF_INT128__
#include "crypto/edwards25519.h"

struct key_entry {
    struct pbft_public_key key;
    bool usable;                 /* else: no canonical encoding of a point, or one of small order */
    struct ed_key_tables tables; /* of the point's negative */
};

struct key_cache { /* of a thread; a set's ways are in the order of their last use */
    struct key_entry *sets[VERIFY_SETS][VERIFY_WAYS];
    struct candidates { /* of each set, whose signatures libsodium has accepted last */
        struct pbft_public_key keys[VERIFY_WAYS];
        uint8_t times[VERIFY_WAYS]; /* 0: nobody's place */
        unsigned oldest;
    } candidates[VERIFY_SETS];
};

static bool keyed; /* there is a cache_key */
static pthread_key_t cache_key;

/* ---- keys ---- */

static void cache_free(void *memory)
{
    struct key_cache *cache = memory;
    for (size_t i = 0; i < VERIFY_SETS; i++)
        for (size_t way = 0; way < VERIFY_WAYS; way++)
            free(cache->sets[i][way]);
    free(cache);
}

static struct key_cache *cache_of_thread(void)
{
    if (!keyed) return NULL; /* the number in cache_key may be that of somebody else's */
    struct key_cache *cache = pthread_getspecific(cache_key);
    if (cache != NULL) return cache;
    cache = calloc(1, sizeof *cache);
    if (cache != NULL && pthread_setspecific(cache_key, cache) != 0) {
        free(cache);
        cache = NULL;
    }
    return cache;
}

static void entry_make(struct key_entry *entry, const struct pbft_public_key *key)
{
    struct ed_point point;
    entry->key = *key;
    entry->usable = ed_decode(&point, key->bytes) && !ed_small_order(&point);
    if (!entry->usable) return;
    point = ed_negative(&point);
    ed_key_tables(&entry->tables, &point);
}

static bool same_key(const struct pbft_public_key *a, const struct pbft_public_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static size_t set_of(const struct pbft_public_key *key)
{
    return key->bytes[0] % VERIFY_SETS;
}

static void put_first(struct key_entry **set, size_t way, struct key_entry *entry)
{
    memmove(set + 1, set, way * sizeof(struct key_entry *));
    set[0] = entry;
}

/* The key's entry, the first of its set now; NULL: it has none. */
static const struct key_entry *entry_of(const struct pbft_public_key *key)
{
    struct key_cache *cache = cache_of_thread();
    if (cache == NULL) return NULL;
    struct key_entry **set = cache->sets[set_of(key)];
    for (size_t way = 0; way < VERIFY_WAYS && set[way] != NULL; way++) {
        if (!same_key(&set[way]->key, key)) continue;
        put_first(set, way, set[way]);
        return set[0];
    }
    return NULL;
}

/* In the place of the one that was unused for longest. */
static void entry_add(struct key_cache *cache, const struct pbft_public_key *key)
{
    struct key_entry **set = cache->sets[set_of(key)];
    size_t way = 0;
    while (way < VERIFY_WAYS - 1 && set[way] != NULL)
        way++;
    struct key_entry *entry = set[way] != NULL ? set[way] : malloc(sizeof *entry);
    if (entry == NULL) return;
    entry_make(entry, key);
    put_first(set, way, entry);
}

bool verify_learn(const struct pbft_public_key *key)
{
    struct key_cache *cache = cache_of_thread();
    if (cache != NULL && entry_of(key) == NULL) entry_add(cache, key);
    return cache != NULL && entry_of(key) != NULL;
}

/* Once more, or for the first time in the oldest's place: how often by now? */
static uint8_t *times_accepted(struct candidates *c, const struct pbft_public_key *key)
{
    for (size_t i = 0; i < VERIFY_WAYS; i++) {
        if (c->times[i] == 0 || !same_key(&c->keys[i], key)) continue;
        c->times[i]++;
        return &c->times[i];
    }
    unsigned at = c->oldest++ % VERIFY_WAYS;
    c->keys[at] = *key;
    c->times[at] = 1;
    return &c->times[at];
}

/* Where there is room, tables pay from the third signature on. Where another's make way, which may
 * be as busy, they have to pay several times over: else keys that take turns in a full set, one
 * more than it holds, would each find its tables gone and have them made again. */
void verify_accepted(const struct pbft_public_key *key)
{
    if (!enabled || entry_of(key) != NULL) return;
    struct key_cache *cache = cache_of_thread();
    if (cache == NULL) return;
    size_t set = set_of(key);
    bool full = cache->sets[set][VERIFY_WAYS - 1] != NULL;
    uint8_t *times = times_accepted(&cache->candidates[set], key);
    if (*times < (full ? VERIFY_EARNED_FULL : VERIFY_EARNED)) return;
    *times = 0;
    entry_add(cache, key);
}

/* ---- the equation ---- */

static bool below_order(const uint8_t s[32])
{
    /* 2^252 + 27742317777372353535851937790883648493, little-endian. */
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    for (size_t i = 32; i-- > 0;)
        if (s[i] != order[i]) return s[i] < order[i];
    return false;
}

/* SHA-512(R, A, M) modulo the order (RFC 8032 5.1.7). */
static void challenge(uint8_t h[32], const struct pbft_public_key *key, struct pbft_span message,
                      const uint8_t *r)
{
    uint8_t hash[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_state state;
    (void)crypto_hash_sha512_init(&state);
    (void)crypto_hash_sha512_update(&state, r, 32);
    (void)crypto_hash_sha512_update(&state, key->bytes, sizeof key->bytes);
    (void)crypto_hash_sha512_update(&state, message.data, message.size);
    (void)crypto_hash_sha512_final(&state, hash);
    crypto_core_ed25519_scalar_reduce(h, hash);
}

/* R = S B - h A, as bytes, as libsodium compares it (FAULTS 2.30: cofactorless). */
static bool right(const struct pbft_public_key *key, struct pbft_span message,
                  const uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    const uint8_t *r = signature, *s = signature + 32;
    if (!below_order(s)) return false;
    const struct key_entry *entry = entry_of(key);
    if (entry == NULL || !entry->usable) return false;
    uint8_t h[32], encoded[32];
    challenge(h, key, message, r);
    struct ed_point point = ed_double_multiply(s, &entry->tables, h);
    ed_encode(encoded, &point);
    return memcmp(encoded, r, sizeof encoded) == 0 && !ed_small_order(&point);
}

bool verify_quickly(const struct pbft_public_key *key, struct pbft_span message,
                    const uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    return enabled && right(key, message, signature);
}

/* ---- the self-test ---- */

#define SAMPLES 8u

/* What libsodium signs, and the same with a bit changed, by keys that differ. */
static bool agrees(void)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t seed[crypto_sign_SEEDBYTES], secret[crypto_sign_SECRETKEYBYTES];
        uint8_t message[SAMPLES], signature[PBFT_SIGNATURE_BYTES];
        struct pbft_public_key key;
        memset(seed, (int)i + 1, sizeof seed);
        memset(message, (int)i, sizeof message);
        struct pbft_span span = {message, i};
        if (crypto_sign_seed_keypair(key.bytes, secret, seed) != 0 ||
            crypto_sign_detached(signature, NULL, message, i, secret) != 0 || !verify_learn(&key) ||
            !right(&key, span, signature))
            return false;
        signature[i * 8] ^= (uint8_t)(1u << i);
        if (right(&key, span, signature)) return false;
    }
    return true;
}

void verify_init(void)
{
    ed_init();
    keyed = pthread_key_create(&cache_key, cache_free) == 0;
    enabled = keyed && agrees();
}

#else

void verify_init(void)
{
}

bool verify_quickly(const struct pbft_public_key *key, struct pbft_span message,
                    const uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    (void)key;
    (void)message;
    (void)signature;
    return false;
}

void verify_accepted(const struct pbft_public_key *key)
{
    (void)key;
}

bool verify_learn(const struct pbft_public_key *key)
{
    (void)key;
    return false;
}

#endif

void verify_disable(void)
{
    enabled = false;
}

bool verify_enabled(void)
{
    return enabled;
}
