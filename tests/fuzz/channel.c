/*
 * tests/fuzz/channel.c - the handshake and the sealed records (crypto/channel.h) with a hand on the
 * wire: each message may be changed, cut, replaced, doubled or made up. Real keys and signatures,
 * fixed randomness.
 *
 * A side opens only if all that it received is what the other side sent, and then both mean the
 * same peer; a changed record does not open, and nothing opens after it. Two sides of different
 * epochs never open; whoever is behind has the next epoch proven to it if nobody meddled, and never
 * anything else but that.
 *
 * Input: u8 who, u8 which epochs if its highest bit is set, then for each message u8 how and what
 * that needs, then records likewise.
 */
#include "crypto/channel.h"
#include "crypto/epoch.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/samples.h"

#include <sodium.h>

#define RECORD_BYTES 64u

#define EPOCHS 4u

static struct samples *cluster;
static struct pbft_cluster epochs[EPOCHS];
static struct pbft_keypair fresh[EPOCHS]; /* of replica e - 1, since epoch e */
static uint64_t state;

/* Who has that place in that epoch. */
static const struct pbft_keypair *key_of(pbft_id id, pbft_epoch epoch)
{
    return id < epoch ? &fresh[id + 1] : &cluster->replicas[id];
}

static void make_epoch(pbft_epoch epoch)
{
    struct pbft_cluster *from = &epochs[epoch - 1];
    uint8_t seed[32] = {77, (uint8_t)epoch}, signatures[SAMPLE_QUORUM * PBFT_SIGNATURE_BYTES];
    uint8_t proof[PBFT_EPOCH_PROOF_MAX], body[PBFT_BODY_MAX_BYTES], bytes[PBFT_SIGNED_MAX_BYTES];
    pbft_keypair_from_seed(&fresh[epoch], seed);
    struct pbft_epoch_change change = {.epoch = epoch,
                                       .seq = from->genesis_seq + from->params.checkpoint_interval,
                                       .replica = epoch - 1,
                                       .key = fresh[epoch].public};
    struct pbft_digest digest;
    pbft_epoch_digest(&change, &digest);
    for (pbft_id id = 0; id < SAMPLE_QUORUM; id++) {
        size_t size = pbft_wire_checkpoint_body(change.seq, &digest, id, body);
        size = pbft_wire_signed_bytes(PBFT_CHECKPOINT, &from->id, from->epoch,
                                      (struct pbft_span){body, size}, bytes);
        pbft_sign(&key_of(id, epoch - 1)->secret, (struct pbft_span){bytes, size},
                  signatures + (size_t)id * PBFT_SIGNATURE_BYTES);
    }
    struct pbft_signatures certificate = {(UINT64_C(1) << SAMPLE_QUORUM) - 1, signatures};
    struct pbft_span span = {proof, pbft_epoch_proof(&change, &certificate, proof)};
    REQUIRE(pbft_epoch_next(from, &pbft_signer_ed25519, span, &epochs[epoch]) == PBFT_OK);
}

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
    epochs[0] = cluster->cluster;
    for (pbft_epoch e = 1; e < EPOCHS; e++)
        make_epoch(e);
    return 0;
}

/* ---- on the wire ---- */

struct message {
    uint8_t bytes[PBFT_HANDSHAKE_MAX_BYTES + 256];
    size_t size;
    bool genuine; /* as it was sent */
};

static void meddle(struct fuzz *f, struct message *m)
{
    static uint8_t before[sizeof m->bytes];
    size_t size = m->size;
    memcpy(before, m->bytes, sizeof before);
    switch (fuzz_u8(f) % 8u) {
    case 1: { /* a byte */
        size_t at = fuzz_u8(f);
        if (m->size > 256) at = at * m->size / 256;
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
    case 6: { /* something after it */
        struct pbft_span with = fuzz_bytes(f, fuzz_u8(f));
        if (with.size > 0) memcpy(m->bytes + m->size, with.data, with.size);
        m->size += with.size;
        break;
    }
    default: break;
    }
    m->genuine = m->genuine && m->size == size && memcmp(m->bytes, before, size) == 0;
}

static enum pbft_channel_step give(struct pbft_channel *to, const struct message *in,
                                   struct message *out)
{
    uint8_t *exact = fuzz_copy((struct pbft_span){in->bytes, in->size});
    REQUIRE(!in->genuine || in->size <= pbft_channel_next_max(to));
    REQUIRE(pbft_channel_next_cost(to) <= SAMPLE_QUORUM);
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

/* ---- another epoch ---- */

/* Whatever was said: news is a proof, of the very next epoch. */
static bool told(const struct pbft_channel *c, const struct pbft_cluster *own)
{
    struct pbft_span proof;
    struct pbft_epoch_change change;
    if (!pbft_channel_news(c, &proof)) return false;
    REQUIRE(pbft_epoch_check(own, &pbft_signer_ed25519, proof, &change) == PBFT_OK);
    REQUIRE(change.epoch == own->epoch + 1 && pbft_channel_failure(c) == PBFT_CHANNEL_EPOCH);
    REQUIRE(own->epoch + 1 < EPOCHS);
    REQUIRE(fuzz_same(proof, pbft_epoch_history(&epochs[EPOCHS - 1], own->epoch + 1)));
    return true;
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
    uint8_t who = fuzz_u8(&f), which = who & 128u ? fuzz_u8(&f) : 0;
    const struct pbft_cluster *here = &epochs[which % EPOCHS];
    const struct pbft_cluster *there_is = &epochs[which / EPOCHS % EPOCHS];
    bool one_epoch = here == there_is;
    uint32_t caller = who & 3u, answerer = who >> 2 & 3u;
    bool client = (who & 16u) != 0;
    const struct pbft_keypair *key = who & 32u ? &cluster->stranger
                                     : client  ? &cluster->clients[caller % SAMPLE_CLIENTS]
                                               : key_of(caller, here->epoch);
    struct pbft_channel *a =
        pbft_channel_new(here, key, true, &key_of(answerer, here->epoch)->public, 0);
    struct pbft_channel *b = pbft_channel_new(there_is, key_of(answerer, there_is->epoch), false,
                                              NULL, who & 64u ? PBFT_PEER_CLIENT : 3u);
    REQUIRE(a != NULL && b != NULL);

    static struct message hello, welcome, finish, last;
    memset(&hello, 0, sizeof hello);
    welcome = finish = last = hello;
    hello.genuine = true;
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
        REQUIRE(one_epoch || (step_a != PBFT_CHANNEL_DONE && step_b != PBFT_CHANNEL_DONE));
        bool plain = hello.genuine && welcome.genuine && finish.genuine;
        REQUIRE(told(a, here) || !plain || here->epoch >= there_is->epoch);
        REQUIRE(told(b, there_is) || !plain || there_is->epoch >= here->epoch);
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
