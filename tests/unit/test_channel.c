/* The handshake and the sealed records: PROTOCOL 4, 5; FAULTS 2.30. */
#include "crypto/channel.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define REPLICAS 4u
#define CLIENTS  3u
#define REFUSAL  12u /* bytes of an unsigned "no" */

struct message {
    uint8_t bytes[PBFT_HANDSHAKE_MAX_BYTES];
    size_t size;
};

struct world {
    struct pbft_cluster cluster;
    struct pbft_keypair replicas[REPLICAS];
    struct pbft_keypair clients[CLIENTS];
    struct pbft_public_key client_keys[CLIENTS];
    struct pbft_keypair stranger;
};

static void world_make(struct world *w, uint8_t nonce)
{
    char error[256];
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    memset(w, 0, sizeof(*w));
    strcpy(w->cluster.service, "test");
    w->cluster.params = pbft_params_default(REPLICAS);
    w->cluster.nonce[0] = nonce;
    uint8_t seed[32] = {42};
    for (unsigned i = 0; i < REPLICAS; i++) {
        seed[1] = (uint8_t)i;
        pbft_keypair_from_seed(&w->replicas[i], seed);
        w->cluster.replicas[i] = w->replicas[i].public;
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        seed[1] = (uint8_t)(100 + i);
        pbft_keypair_from_seed(&w->clients[i], seed);
        w->client_keys[i] = w->clients[i].public;
    }
    seed[1] = 200;
    pbft_keypair_from_seed(&w->stranger, seed);
    w->cluster.clients = w->client_keys;
    w->cluster.client_count = CLIENTS;
    cr_assert_eq(pbft_cluster_seal(&w->cluster, error), PBFT_STATUS_OK, "%s", error);
}

static void world_free(struct world *w)
{
    pbft_cluster_unseal(&w->cluster);
}

static struct pbft_span span_of(const struct message *m)
{
    return (struct pbft_span){m->bytes, m->size};
}

static enum pbft_channel_step feed(struct pbft_channel *c, const struct message *in,
                                   struct message *out)
{
    return pbft_channel_step(c, span_of(in), out->bytes, &out->size);
}

static struct pbft_channel *caller(const struct world *w, const struct pbft_keypair *self,
                                   pbft_id to, struct message *hello)
{
    struct pbft_channel *c = pbft_channel_new(&w->cluster, self, true, &w->cluster.replicas[to], 0);
    cr_assert_not_null(c);
    hello->size = pbft_channel_hello(c, hello->bytes);
    return c;
}

static struct pbft_channel *answerer(const struct world *w, pbft_id id, unsigned roles)
{
    struct pbft_channel *c = pbft_channel_new(&w->cluster, &w->replicas[id], false, NULL, roles);
    cr_assert_not_null(c);
    return c;
}

/* A whole handshake that must succeed; leaves both ends open. */
static void connect_pair(const struct world *w, const struct pbft_keypair *from, pbft_id to,
                         struct pbft_channel **a, struct pbft_channel **b)
{
    struct message hello;
    struct message welcome;
    struct message finish;
    struct message none;
    *a = caller(w, from, to, &hello);
    *b = answerer(w, to, PBFT_PEER_REPLICA | PBFT_PEER_CLIENT);
    cr_assert_eq(feed(*b, &hello, &welcome), PBFT_CHANNEL_MORE, "%s", pbft_channel_reason(*b));
    cr_assert_eq(feed(*a, &welcome, &finish), PBFT_CHANNEL_DONE, "%s", pbft_channel_reason(*a));
    cr_assert_eq(feed(*b, &finish, &none), PBFT_CHANNEL_DONE, "%s", pbft_channel_reason(*b));
    cr_assert_eq(none.size, 0);
    cr_assert(hello.size <= PBFT_HANDSHAKE_MAX_BYTES && welcome.size <= PBFT_HANDSHAKE_MAX_BYTES);
}

static void exchange(struct pbft_channel *a, struct pbft_channel *b)
{
    uint8_t plain[300];
    uint8_t sealed[300 + PBFT_CHANNEL_OVERHEAD];
    uint8_t opened[300];
    for (unsigned i = 0; i < 20; i++) {
        size_t size = (size_t)i * 15;
        memset(plain, (int)i, sizeof(plain));
        pbft_channel_seal(a, (struct pbft_span){plain, size}, sealed);
        struct pbft_span record = {sealed, size + PBFT_CHANNEL_OVERHEAD};
        cr_assert(pbft_channel_open_record(b, record, opened));
        cr_assert_eq(memcmp(plain, opened, size), 0);
        struct pbft_channel *swap = a;
        a = b;
        b = swap;
    }
}

TestSuite(channel, .timeout = 60);

Test(channel, replica_and_client_handshakes)
{
    struct world w;
    struct pbft_channel *a;
    struct pbft_channel *b;
    world_make(&w, 1);
    connect_pair(&w, &w.replicas[1], 3, &a, &b);
    cr_assert_eq(pbft_channel_peer(a).kind, PBFT_PEER_REPLICA);
    cr_assert_eq(pbft_channel_peer(a).index, 3);
    cr_assert_eq(pbft_channel_peer(b).kind, PBFT_PEER_REPLICA);
    cr_assert_eq(pbft_channel_peer(b).index, 1);
    exchange(a, b);
    pbft_channel_free(a);
    pbft_channel_free(b);
    for (unsigned i = 0; i < CLIENTS; i++) {
        uint32_t index = 99;
        connect_pair(&w, &w.clients[i], 0, &a, &b);
        cr_assert_eq(pbft_channel_peer(b).kind, PBFT_PEER_CLIENT);
        cr_assert(pbft_cluster_client(&w.cluster, &w.client_keys[i], &index));
        cr_assert_eq(pbft_channel_peer(b).index, index);
        exchange(a, b);
        pbft_channel_free(a);
        pbft_channel_free(b);
    }
    world_free(&w);
}

/* Change one bit of each byte of each message: one side must notice before both are open. */
Test(channel, every_flipped_byte_is_noticed)
{
    struct world w;
    world_make(&w, 1);
    static const size_t sizes[3] = {188, 176, 72};
    for (unsigned which = 0; which < 3; which++) {
        for (size_t at = 0; at < sizes[which]; at++) {
            struct message m[3];
            struct message none = {{0}, 0};
            struct pbft_channel *a = caller(&w, &w.clients[1], 2, &m[0]);
            struct pbft_channel *b = answerer(&w, 2, PBFT_PEER_CLIENT);
            uint8_t bit = (uint8_t)(1u << (at % 8));
            cr_assert_eq(m[0].size, sizes[0]);
            if (which == 0) m[0].bytes[at] ^= bit;
            enum pbft_channel_step step = feed(b, &m[0], &m[1]);
            if (step == PBFT_CHANNEL_MORE) {
                /* Another epoch is told ours, and that is all (test_channel_epoch.c). */
                bool epoch = which == 0 && at >= 16 && at < 20;
                cr_assert_eq(m[1].size, epoch ? 16 : sizes[1], "byte %zu", at);
                if (which == 1) m[1].bytes[at] ^= bit;
                step = feed(a, &m[1], &m[2]);
                if (step == PBFT_CHANNEL_DONE) {
                    cr_assert_eq(which, 2, "message %u, byte %zu", which, at);
                    cr_assert_eq(m[2].size, sizes[2]);
                    m[2].bytes[at] ^= bit;
                    step = feed(b, &m[2], &none);
                }
            }
            cr_assert_eq(step, PBFT_CHANNEL_FAIL, "message %u, byte %zu", which, at);
            pbft_channel_free(a);
            pbft_channel_free(b);
        }
    }
    world_free(&w);
}

Test(channel, wrong_sizes_and_garbage)
{
    struct world w;
    world_make(&w, 1);
    uint64_t seed = 1;
    for (unsigned round = 0; round < 2000; round++) {
        struct message junk;
        struct message out;
        struct message hello;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        junk.size = (size_t)(seed >> 33) % (sizeof(junk.bytes) + 1);
        for (size_t i = 0; i < junk.size; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            junk.bytes[i] = (uint8_t)(seed >> 56);
        }
        struct pbft_channel *a = caller(&w, &w.clients[0], 1, &hello);
        struct pbft_channel *b = answerer(&w, 1, PBFT_PEER_CLIENT);
        if (round % 2 == 0) { /* a true beginning, cut or padded */
            junk.size = (size_t)round % sizeof(junk.bytes);
            if (junk.size == hello.size) junk.size++;
            memcpy(junk.bytes, hello.bytes, hello.size);
        }
        cr_assert_eq(feed(b, &junk, &out), PBFT_CHANNEL_FAIL);
        cr_assert_eq(feed(a, &junk, &out), PBFT_CHANNEL_FAIL);
        cr_assert_eq(feed(a, &hello, &out), PBFT_CHANNEL_FAIL, "stays closed");
        pbft_channel_free(a);
        pbft_channel_free(b);
    }
    world_free(&w);
}

static void expect_refusal(const struct world *from, const struct pbft_keypair *self,
                           const struct world *at, pbft_id to, unsigned roles,
                           enum pbft_channel_failure why)
{
    struct message hello;
    struct message out;
    struct message none;
    struct pbft_channel *a = caller(from, self, to, &hello);
    struct pbft_channel *b = answerer(at, to, roles);
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b), why, "%s", pbft_channel_reason(b));
    /* The caller learns why, as a hint. */
    cr_assert_eq(out.size, REFUSAL);
    cr_assert_eq(feed(a, &out, &none), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(a), why);
    cr_assert_not_null(strstr(pbft_channel_reason(a), "refuses"));
    pbft_channel_free(a);
    pbft_channel_free(b);
}

Test(channel, who_may_come_in)
{
    struct world w;
    struct world other_nonce;
    world_make(&w, 1);
    world_make(&other_nonce, 2);
    unsigned both = PBFT_PEER_REPLICA | PBFT_PEER_CLIENT;
    expect_refusal(&other_nonce, &w.clients[0], &w, 0, both, PBFT_CHANNEL_CLUSTER);
    expect_refusal(&w, &w.stranger, &w, 0, both, PBFT_CHANNEL_UNKNOWN);
    expect_refusal(&w, &w.clients[0], &w, 0, PBFT_PEER_REPLICA, PBFT_CHANNEL_ROLE);
    expect_refusal(&w, &w.replicas[0], &w, 1, PBFT_PEER_CLIENT, PBFT_CHANNEL_ROLE);
    expect_refusal(&w, &w.replicas[3], &w, 1, both, PBFT_CHANNEL_PLACE);

    /* A replica that states another's place. */
    struct message hello;
    struct message out;
    struct pbft_channel *a = caller(&w, &w.replicas[0], 3, &hello);
    struct pbft_channel *b = answerer(&w, 3, both);
    hello.bytes[12] = 1;
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b), PBFT_CHANNEL_PLACE);
    pbft_channel_free(a);
    pbft_channel_free(b);
    world_free(&w);
    world_free(&other_nonce);
}

Test(channel, wrong_identity_and_oneself)
{
    struct world w;
    struct message hello;
    struct message out;
    world_make(&w, 1);
    /* Replica 2 sits where 1 was expected: it refuses; and if it answers as itself, the caller. */
    struct pbft_channel *a = caller(&w, &w.clients[0], 1, &hello);
    struct pbft_channel *b = answerer(&w, 2, PBFT_PEER_CLIENT);
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b), PBFT_CHANNEL_IDENTITY);
    pbft_channel_free(b);
    struct message for_two;
    struct message welcome;
    struct pbft_channel *a2 = caller(&w, &w.clients[0], 2, &for_two);
    b = answerer(&w, 2, PBFT_PEER_CLIENT);
    cr_assert_eq(feed(b, &for_two, &welcome), PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(a, &welcome, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(a), PBFT_CHANNEL_IDENTITY);
    pbft_channel_free(a);
    pbft_channel_free(a2);
    pbft_channel_free(b);

    /* Itself, by address or by reflection. */
    a = caller(&w, &w.replicas[1], 1, &hello);
    cr_assert_eq(hello.size, 0);
    cr_assert_eq(pbft_channel_failure(a), PBFT_CHANNEL_SELF);
    pbft_channel_free(a);
    a = caller(&w, &w.replicas[0], 1, &hello);
    b = answerer(&w, 0, PBFT_PEER_REPLICA);
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b), PBFT_CHANNEL_SELF);
    cr_assert_eq(feed(a, &hello, &out), PBFT_CHANNEL_FAIL, "its own HELLO comes back");
    pbft_channel_free(a);
    pbft_channel_free(b);

    /* One that genesis does not list cannot be reached at all. */
    a = pbft_channel_new(&w.cluster, &w.clients[0], true, &w.stranger.public, 0);
    cr_assert_eq(pbft_channel_hello(a, hello.bytes), 0);
    cr_assert_eq(pbft_channel_failure(a), PBFT_CHANNEL_UNKNOWN);
    pbft_channel_free(a);
    world_free(&w);
}

Test(channel, replayed_messages_fail)
{
    struct world w;
    struct message hello[2];
    struct message welcome[2];
    struct message finish[2];
    struct message out;
    struct pbft_channel *a[2];
    struct pbft_channel *b[2];
    world_make(&w, 1);
    for (unsigned i = 0; i < 2; i++) {
        a[i] = caller(&w, &w.clients[0], 1, &hello[i]);
        b[i] = answerer(&w, 1, PBFT_PEER_CLIENT);
        cr_assert_eq(feed(b[i], &hello[i], &welcome[i]), PBFT_CHANNEL_MORE);
    }
    cr_assert_eq(feed(a[0], &welcome[0], &finish[0]), PBFT_CHANNEL_DONE);
    /* A WELCOME of another session. */
    cr_assert_eq(feed(a[1], &welcome[0], &finish[1]), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(a[1]), PBFT_CHANNEL_SIGNATURE);
    /* A FINISH of another session. */
    cr_assert_eq(feed(b[1], &finish[0], &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b[1]), PBFT_CHANNEL_SIGNATURE);
    cr_assert_eq(feed(b[0], &finish[0], &out), PBFT_CHANNEL_DONE);
    cr_assert_eq(feed(b[0], &finish[0], &out), PBFT_CHANNEL_FAIL, "not twice");
    /* A HELLO replayed gets a WELCOME, and the recorded FINISH does not fit it. */
    struct pbft_channel *c = answerer(&w, 1, PBFT_PEER_CLIENT);
    cr_assert_eq(feed(c, &hello[0], &out), PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(c, &finish[0], &out), PBFT_CHANNEL_FAIL);
    /* The responder's signature is no FINISH (roles are apart). */
    struct pbft_channel *d = answerer(&w, 1, PBFT_PEER_CLIENT);
    cr_assert_eq(feed(d, &hello[0], &welcome[1]), PBFT_CHANNEL_MORE);
    memcpy(finish[0].bytes + 8, welcome[1].bytes + 112, 64);
    cr_assert_eq(feed(d, &finish[0], &out), PBFT_CHANNEL_FAIL);
    for (unsigned i = 0; i < 2; i++) {
        pbft_channel_free(a[i]);
        pbft_channel_free(b[i]);
    }
    pbft_channel_free(c);
    pbft_channel_free(d);
    world_free(&w);
}

/* PROTOCOL 5: each side says clearly that the other's library judges otherwise. */
Test(channel, other_verdicts_are_refused)
{
    struct world w;
    struct message hello;
    struct message out;
    struct message none;
    world_make(&w, 1);
    struct pbft_channel *a = caller(&w, &w.clients[0], 1, &hello);
    struct pbft_channel *b = answerer(&w, 1, PBFT_PEER_CLIENT);
    hello.bytes[20] ^= 2; /* as a caller of another build would send it */
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_MORE);
    cr_assert_eq(pbft_channel_failure(b), PBFT_CHANNEL_VERDICTS);
    cr_assert_not_null(strstr(pbft_channel_reason(b), "verdict vectors differ"));
    cr_assert_not_null(strstr(pbft_channel_reason(b), "theirs"));
    (void)pbft_channel_refusal(PBFT_CHANNEL_VERDICTS, none.bytes);
    none.size = REFUSAL;
    cr_assert_eq(feed(b, &none, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(b), PBFT_CHANNEL_VERDICTS);
    pbft_channel_free(a);
    pbft_channel_free(b);
    world_free(&w);
}

Test(channel, weak_ephemeral_keys_are_refused)
{
    struct world w;
    struct message hello;
    struct message out;
    world_make(&w, 1);
    /* A man in the middle that zeroes an ephemeral key breaks the signature; here we only make sure
     * that such a HELLO neither crashes nor opens. */
    struct pbft_channel *a = caller(&w, &w.clients[0], 1, &hello);
    struct pbft_channel *b = answerer(&w, 1, PBFT_PEER_CLIENT);
    struct message finish;
    memset(hello.bytes + 124, 0, 32);
    cr_assert_eq(feed(b, &hello, &out), PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(a, &out, &finish), PBFT_CHANNEL_FAIL);
    pbft_channel_free(a);
    pbft_channel_free(b);
    world_free(&w);
}

Test(channel, records_keep_order_and_bytes)
{
    struct world w;
    struct pbft_channel *a;
    struct pbft_channel *b;
    uint8_t plain[64] = {5};
    uint8_t sealed[3][64 + PBFT_CHANNEL_OVERHEAD];
    uint8_t out[64];
    world_make(&w, 1);
    for (unsigned attack = 0; attack < 6; attack++) {
        connect_pair(&w, &w.clients[0], 1, &a, &b);
        for (unsigned i = 0; i < 3; i++)
            pbft_channel_seal(a, (struct pbft_span){plain, sizeof(plain)}, sealed[i]);
        struct pbft_span r0 = {sealed[0], sizeof(sealed[0])};
        struct pbft_span bad = r0;
        switch (attack) {
        case 0: bad.data = sealed[1]; break; /* one is missing */
        case 1: bad.size--; break;           /* cut */
        case 2: bad.size = 16; break;        /* shorter than any record */
        case 3: sealed[0][40] ^= 1; break;
        case 4: /* once more */ cr_assert(pbft_channel_open_record(b, r0, out)); break;
        default: /* reflected */ {
            cr_assert_not(pbft_channel_open_record(a, r0, out));
            break;
        }
        }
        if (attack != 5) {
            cr_assert_not(pbft_channel_open_record(b, bad, out), "attack %u", attack);
            /* For good: the right record does not help any more. */
            cr_assert_not(pbft_channel_open_record(b, (struct pbft_span){sealed[1], 81}, out));
        }
        pbft_channel_free(a);
        pbft_channel_free(b);
    }
    world_free(&w);
}

Test(channel, records_work_in_place)
{
    struct world w;
    struct pbft_channel *a;
    struct pbft_channel *b;
    world_make(&w, 1);
    connect_pair(&w, &w.replicas[0], 1, &a, &b);
    for (size_t size = 0; size < 5000; size += 61) {
        uint8_t *buffer = malloc(size + PBFT_CHANNEL_OVERHEAD);
        cr_assert_not_null(buffer);
        for (size_t i = 0; i < size; i++)
            buffer[1 + i] = (uint8_t)(i * 7 + size);
        pbft_channel_seal(a, (struct pbft_span){buffer + 1, size}, buffer);
        cr_assert(pbft_channel_open_record(b,
                                           (struct pbft_span){buffer, size + PBFT_CHANNEL_OVERHEAD},
                                           buffer + 1));
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(buffer[1 + i], (uint8_t)(i * 7 + size));
        free(buffer);
    }
    pbft_channel_free(a);
    pbft_channel_free(b);
    world_free(&w);
}
