/*
 * tests/fuzz/channel.c - the handshake and the sealed records (crypto/channel.h) with a hand on the
 * wire: each message may be changed, cut, replaced, doubled or made up. Real keys and signatures,
 * fixed randomness.
 *
 * A side opens only if all that it received is what the other side sent, and then both mean the
 * same peer; a changed record does not open, and nothing opens after it.
 *
 * Input: u8 who, then for each message u8 how and what that needs, then records likewise.
 */
#include "crypto/channel.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/samples.h"

#include <sodium.h>

#define RECORD_BYTES 64u

static struct samples *cluster;
static uint64_t state;

static const char *random_name(void)
{
    return "fuzz";
}

static uint32_t random_number(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 32);
}

static void random_bytes(void *const out, const size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)random_number();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    static struct randombytes_implementation fixed = {.implementation_name = random_name,
                                                      .random = random_number,
                                                      .buf = random_bytes};
    REQUIRE(randombytes_set_implementation(&fixed) == 0);
    cluster = samples_new(&pbft_signer_ed25519);
    return 0;
}

/* ---- on the wire ---- */

struct message {
    uint8_t bytes[PBFT_HANDSHAKE_MAX_BYTES];
    size_t size;
    bool genuine; /* as it was sent */
};

static void meddle(struct fuzz *f, struct message *m)
{
    uint8_t before[PBFT_HANDSHAKE_MAX_BYTES];
    size_t size = m->size;
    memcpy(before, m->bytes, sizeof before);
    switch (fuzz_u8(f) % 8u) {
    case 1: { /* a byte */
        size_t at = fuzz_u8(f);
        if (at < m->size) m->bytes[at] ^= fuzz_u8(f);
        break;
    }
    case 2: m->size = fuzz_u8(f); break;
    case 3: { /* a stretch */
        size_t at = fuzz_u8(f);
        struct pbft_span with = fuzz_bytes(f, fuzz_u8(f) % 33u);
        if (with.size > 0 && at + with.size <= m->size) memcpy(m->bytes + at, with.data, with.size);
        break;
    }
    case 4: { /* all of it */
        struct pbft_span with = fuzz_bytes(f, fuzz_u8(f));
        if (with.size > 0) memcpy(m->bytes, with.data, with.size);
        m->size = with.size;
        break;
    }
    case 5: m->size = pbft_channel_refusal((enum pbft_channel_failure)fuzz_u8(f), m->bytes); break;
    default: break;
    }
    m->genuine = m->genuine && m->size == size && memcmp(m->bytes, before, size) == 0;
}

static enum pbft_channel_step give(struct pbft_channel *to, const struct message *in,
                                   struct message *out)
{
    uint8_t *exact = fuzz_copy((struct pbft_span){in->bytes, in->size});
    enum pbft_channel_step step =
        pbft_channel_step(to, (struct pbft_span){exact, in->size}, out->bytes, &out->size);
    free(exact);
    REQUIRE(out->size <= PBFT_HANDSHAKE_MAX_BYTES);
    out->genuine = in->genuine;
    if (step == PBFT_CHANNEL_FAIL) {
        REQUIRE(pbft_channel_failure(to) != PBFT_CHANNEL_NO_FAILURE);
        REQUIRE(pbft_channel_reason(to)[0] != '\0');
    }
    return step;
}

/* ---- records ---- */

static bool pass_record(struct fuzz *f, struct pbft_channel *from, struct pbft_channel *to,
                        bool intact)
{
    uint8_t plain[RECORD_BYTES], opened[RECORD_BYTES + 1];
    uint8_t sealed[RECORD_BYTES + PBFT_CHANNEL_OVERHEAD];
    struct pbft_span text = fuzz_bytes(f, fuzz_u8(f) % RECORD_BYTES);
    if (text.size > 0) memcpy(plain, text.data, text.size);
    struct pbft_span span = {plain, text.size};
    pbft_channel_seal(from, span, sealed);
    size_t size = text.size + PBFT_CHANNEL_OVERHEAD;
    uint8_t how = fuzz_u8(f), at = fuzz_u8(f);
    if (how % 4 == 1) {
        uint8_t change = fuzz_u8(f);
        sealed[at % size] ^= change;
        intact = intact && change == 0;
    }
    if (how % 4 == 2 && at < size) {
        size = at;
        intact = false;
    }
    if (how % 4 == 3) return false; /* lost: the next one is out of order */
    uint8_t *exact = fuzz_copy((struct pbft_span){sealed, size});
    bool open = pbft_channel_open_record(to, (struct pbft_span){exact, size}, opened);
    free(exact);
    REQUIRE(open == intact);
    REQUIRE(!open || memcmp(opened, plain, text.size) == 0);
    return intact;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    state = 1;
    uint8_t who = fuzz_u8(&f);
    uint32_t caller = who & 3u, answerer = who >> 2 & 3u;
    bool client = (who & 16u) != 0;
    const struct pbft_keypair *key = who & 32u ? &cluster->stranger
                                     : client  ? &cluster->clients[caller % SAMPLE_CLIENTS]
                                               : &cluster->replicas[caller];
    const struct pbft_keypair *other = &cluster->replicas[answerer];
    struct pbft_channel *a = pbft_channel_new(&cluster->cluster, key, true, &other->public, 0);
    struct pbft_channel *b =
        pbft_channel_new(&cluster->cluster, other, false, NULL, who & 64u ? PBFT_PEER_CLIENT : 3u);
    REQUIRE(a != NULL && b != NULL);

    struct message hello = {.genuine = true}, welcome = {.size = 0}, finish = welcome,
                   last = welcome;
    hello.size = pbft_channel_hello(a, hello.bytes);
    enum pbft_channel_step step_a = PBFT_CHANNEL_FAIL, step_b = PBFT_CHANNEL_FAIL;
    if (hello.size > 0) {
        meddle(&f, &hello);
        step_b = give(b, &hello, &welcome);
        REQUIRE(step_b != PBFT_CHANNEL_DONE);
        meddle(&f, &welcome);
        step_a = give(a, &welcome, &finish);
        REQUIRE(step_a != PBFT_CHANNEL_DONE || (hello.genuine && welcome.genuine));
        meddle(&f, &finish);
        step_b = give(b, &finish, &last);
        REQUIRE(step_b != PBFT_CHANNEL_DONE ||
                (hello.genuine && welcome.genuine && finish.genuine));
    }
    if (step_b == PBFT_CHANNEL_DONE) {
        REQUIRE(step_a == PBFT_CHANNEL_DONE && (who & 32u) == 0);
        struct pbft_peer peer = pbft_channel_peer(b), back = pbft_channel_peer(a);
        REQUIRE(peer.kind == (client ? PBFT_PEER_CLIENT : PBFT_PEER_REPLICA));
        REQUIRE(peer.index == (client ? caller % SAMPLE_CLIENTS : caller));
        REQUIRE(back.kind == PBFT_PEER_REPLICA && back.index == answerer);
        bool there = true, back_too = true;
        while (f.left > 0) {
            there = pass_record(&f, a, b, there);
            back_too = pass_record(&f, b, a, back_too);
        }
    }
    pbft_channel_free(a);
    pbft_channel_free(b);
    return 0;
}
