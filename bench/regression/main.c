/* The regression bench: instructions an operation of the engine's hot paths, counted by valgrind.
 * bench/regression.sh runs it. The first row is the calibration loop, by which all are divided. */
#include "bench/regression/regression.h"

#include "crypto/keys.h"
#include "pbft/wire.h"
#include "service/kv.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

/* ---- counting ---- */

bool count_possible(void)
{
    return RUNNING_ON_VALGRIND != 0;
}

void count_begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void count_end(const char *row, uint64_t operations)
{
    CALLGRIND_STOP_INSTRUMENTATION;
    char label[64];
    (void)snprintf(label, sizeof label, "%s %" PRIu64, row, operations);
    CALLGRIND_DUMP_STATS_AT(label);
}

_Noreturn void fail(const char *why)
{
    (void)fprintf(stderr, "bench/regression: %s\n", why);
    exit(2);
}

/* ---- what rows share ---- */

uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

struct pbft_span key_of(uint64_t number, uint8_t out[KEY_BYTES])
{
    memcpy(out, "key-", 4);
    for (size_t i = KEY_BYTES; i-- > 4; number /= 10)
        out[i] = (uint8_t)('0' + number % 10);
    return (struct pbft_span){out, KEY_BYTES};
}

struct pbft_span put_of(uint64_t number, uint64_t value, uint8_t *out)
{
    uint8_t key[KEY_BYTES], bytes[VALUE_BYTES];
    memset(bytes, (int)('a' + number % 26), sizeof bytes);
    memcpy(bytes, &value, sizeof value);
    size_t size = pbft_kv_encode_put(out, OP_BYTES, key_of(number, key),
                                     (struct pbft_span){bytes, sizeof bytes});
    must(size > 0, "a put does not fit into its buffer");
    return (struct pbft_span){out, size};
}

struct pbft_span get_of(uint64_t number, uint8_t *out)
{
    uint8_t key[KEY_BYTES];
    size_t size = pbft_kv_encode_get(out, OP_BYTES, key_of(number, key));
    must(size > 0, "a get does not fit into its buffer");
    return (struct pbft_span){out, size};
}

static size_t item_ends(uint8_t *out, size_t at, struct pbft_span op)
{
    pbft_put_u32(out + at, (uint32_t)op.size);
    return at + 4 + op.size;
}

struct pbft_span puts_of(uint32_t count, uint64_t keys, uint64_t *random, uint8_t *out)
{
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key = next_random(random) % keys, value = next_random(random);
        struct pbft_span op = put_of(key, value, out + at + 4);
        at = item_ends(out, at, op);
    }
    return (struct pbft_span){out, at};
}

struct pbft_span gets_of(uint32_t count, uint64_t keys, uint64_t *random, uint8_t *out)
{
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_span op = get_of(next_random(random) % keys, out + at + 4);
        at = item_ends(out, at, op);
    }
    return (struct pbft_span){out, at};
}

void cluster_make(struct pbft_cluster *cluster, uint32_t n, uint32_t clients,
                  struct pbft_keypair *keys)
{
    memset(cluster, 0, sizeof *cluster);
    (void)snprintf(cluster->service, sizeof cluster->service, "%s", pbft_kv_service.name);
    cluster->params = pbft_params_default(n);
    cluster->client_count = clients;
    cluster->clients = calloc(clients, sizeof *cluster->clients);
    must(cluster->clients != NULL, "out of memory");
    for (uint32_t i = 0; i < n + clients; i++) {
        uint8_t seed[32] = {1};
        pbft_put_u32(seed + 1, i);
        pbft_keypair_from_seed(&keys[i], seed);
        if (i < n)
            cluster->replicas[i] = keys[i].public;
        else
            cluster->clients[i - n] = keys[i].public;
    }
    char error[256] = "";
    must(pbft_cluster_seal(cluster, error) == PBFT_STATUS_OK, error);
}

void cluster_free(struct pbft_cluster *cluster)
{
    pbft_cluster_unseal(cluster);
    free(cluster->clients);
}

/* ---- calibration ---- */

#define CALIBRATIONS 10u
#define HASHED_BYTES 16384u
#define SORTED       1024u

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* What no change of the engine can touch, of the sort that it does: libsodium verifies a signature
 * and hashes 16 KiB, which are copied, and numbers are sorted. About a million instructions. */
static void calibrate(void)
{
    static uint8_t bytes[HASHED_BYTES], copy[HASHED_BYTES];
    static uint64_t numbers[SORTED];
    static const uint8_t seed[crypto_sign_SEEDBYTES] = {1}, message[64] = {2};
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t signature[crypto_sign_BYTES], digest[crypto_generichash_BYTES];
    uint64_t random = 1, sum = 0;
    (void)crypto_sign_seed_keypair(public_key, secret_key, seed);
    (void)crypto_sign_detached(signature, NULL, message, sizeof message, secret_key);
    count_begin();
    for (unsigned i = 0; i < CALIBRATIONS; i++) {
        memcpy(bytes, &random, sizeof random);
        (void)crypto_generichash(digest, sizeof digest, bytes, sizeof bytes, NULL, 0);
        memcpy(copy, bytes, sizeof copy);
        for (size_t at = 0; at < SORTED; at++)
            numbers[at] = next_random(&random);
        qsort(numbers, SORTED, sizeof numbers[0], by_value);
        sum += copy[digest[0]] + numbers[0];
        must(crypto_sign_verify_detached(signature, message, sizeof message, public_key) == 0,
             "a good signature does not verify");
    }
    count_end("calibration", CALIBRATIONS);
    must(sum != 0, "the calibration loop did nothing");
}

int main(void)
{
    must(count_possible(), "runs under valgrind only: make bench-regression");
    must(pbft_crypto_init() == PBFT_STATUS_OK, "libsodium does not work as it should");
    calibrate();
    rows_state();
    rows_wire();
    rows_connection();
    rows_ordered();
    return 0;
}
