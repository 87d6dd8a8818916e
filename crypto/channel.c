/*
 * crypto/channel.c - the handshake (PROTOCOL 4, 5) and the sealed records after it.
 *
 * A signed Diffie-Hellman exchange in which both signatures cover both identities. Bytes of fixed
 * size, little-endian:
 *
 *   HELLO    magic 8, kind u8, zero 3, replica id u32, epoch u32, verdicts u64, cluster id 32,
 *            initiator's key 32, responder's key 32, ephemeral key 32, nonce 32
 *   WELCOME  magic 8, verdicts u64, responder's key 32, ephemeral key 32, nonce 32, signature 64
 *   FINISH   magic 8, signature 64
 *   REFUSAL  magic 8, enum pbft_channel_failure u32; not signed, a hint
 *   EPOCH    magic 8, the sender's epoch u32, length u32, proof (crypto/epoch.h) or nothing; not
 *            signed: q replicas of the receiver's epoch have signed what matters
 *
 * Each signature is over a tag that names the signer's side, cluster id, epoch, and the hash of
 * everything said before it. Each direction has its own key, from the DH secret and the hash of all
 * three messages.
 *
 * What a stranger can make a responder do: look up a key, then one ephemeral key and one signature;
 * the DH itself waits for a FINISH whose signature verifies. Or send a proof: it costs one
 * signature check for each good signature in it and one more, q at most.
 */
#include "crypto/channel.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "pbft/wire.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_BYTES 8u
static const uint8_t magic_hello[MAGIC_BYTES] = {'p', 'b', 'f', 't', 'h', 'i', '0', '1'};
static const uint8_t magic_welcome[MAGIC_BYTES] = {'p', 'b', 'f', 't', 'w', 'e', '0', '1'};
static const uint8_t magic_finish[MAGIC_BYTES] = {'p', 'b', 'f', 't', 'f', 'i', '0', '1'};
static const uint8_t magic_refusal[MAGIC_BYTES] = {'p', 'b', 'f', 't', 'n', 'o', '0', '1'};
static const uint8_t magic_epoch[MAGIC_BYTES] = {'p', 'b', 'f', 't', 'e', 'p', '0', '1'};

enum hello_layout {
    HELLO_KIND = 8,
    HELLO_ID = 12,
    HELLO_EPOCH = 16,
    HELLO_VERDICTS = 20,
    HELLO_CLUSTER = 28,
    HELLO_INITIATOR = 60,
    HELLO_RESPONDER = 92,
    HELLO_EPHEMERAL = 124,
    HELLO_NONCE = 156,
    HELLO_BYTES = 188,
};
enum welcome_layout {
    WELCOME_VERDICTS = 8,
    WELCOME_RESPONDER = 16,
    WELCOME_EPHEMERAL = 48,
    WELCOME_NONCE = 80,
    WELCOME_SIGNATURE = 112,
    WELCOME_BYTES = 176,
};
enum finish_layout { FINISH_SIGNATURE = 8, FINISH_BYTES = 72 };
enum refusal_layout { REFUSAL_CODE = 8, REFUSAL_BYTES = 12 };
enum epoch_layout { EPOCH_NUMBER = 8, EPOCH_SIZE = 12, EPOCH_PROOF = 16 };
_Static_assert(HELLO_BYTES <= PBFT_HANDSHAKE_FIRST_BYTES, "cap before authentication");
_Static_assert(EPOCH_PROOF + PBFT_EPOCH_PROOF_MAX == PBFT_HANDSHAKE_MAX_BYTES, "the longest");
_Static_assert(PBFT_CHANNEL_OVERHEAD == crypto_secretstream_xchacha20poly1305_ABYTES, "overhead");

/* Never the tag of a wire message: those begin otherwise (PROTOCOL 1). */
#define SIGNED_TAG_BYTES 16u
static const char tag_responder[SIGNED_TAG_BYTES + 1] = "channel-1 answer";
static const char tag_initiator[SIGNED_TAG_BYTES + 1] = "channel-1 caller";
#define SIGNED_BYTES (SIGNED_TAG_BYTES + PBFT_DIGEST_BYTES + 4u + PBFT_DIGEST_BYTES)

enum state { AT_START, WAIT_HELLO, WAIT_WELCOME, WAIT_FINISH, WAIT_PROOF, OPEN, FAILED };

struct pbft_channel {
    const struct pbft_cluster *cluster;
    const struct pbft_keypair *self;
    struct pbft_public_key expected;
    unsigned roles;
    bool initiator;
    enum state state;
    enum pbft_channel_failure failure;
    char reason[160];
    struct pbft_peer peer;
    uint8_t ephemeral[32]; /* secret */
    uint8_t hello[HELLO_BYTES];
    uint8_t welcome[WELCOME_BYTES];
    uint8_t finish[FINISH_BYTES];
    crypto_secretstream_xchacha20poly1305_state sealing;
    crypto_secretstream_xchacha20poly1305_state opening;
    bool broken;   /* a record did not open */
    uint8_t *news; /* a proof that leads on from our epoch */
    size_t news_size;
};

static const char *failure_text(enum pbft_channel_failure failure)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PBFT_CHANNEL_FAILURES(X)
#undef X
    };
    return (size_t)failure < PBFT_CHANNEL_FAILURE_COUNT ? texts[failure] : "unknown reason";
}

struct pbft_channel *pbft_channel_new(const struct pbft_cluster *cluster,
                                      const struct pbft_keypair *self, bool initiator,
                                      const struct pbft_public_key *expected, unsigned roles)
{
    PBFT_ASSERT(!initiator || expected != NULL);
    struct pbft_channel *c = calloc(1, sizeof(*c));
    if (c == NULL) return NULL;
    c->cluster = cluster;
    c->self = self;
    c->initiator = initiator;
    c->roles = roles;
    if (initiator) c->expected = *expected;
    c->state = initiator ? AT_START : WAIT_HELLO;
    return c;
}

void pbft_channel_free(struct pbft_channel *channel)
{
    if (channel == NULL) return;
    free(channel->news);
    sodium_memzero(channel, sizeof(*channel));
    free(channel);
}

/* Remember why. The first reason stays: later ones only follow from it. */
static void note(struct pbft_channel *c, enum pbft_channel_failure failure)
{
    if (c->failure != PBFT_CHANNEL_NO_FAILURE) return;
    c->failure = failure;
    (void)snprintf(c->reason, sizeof(c->reason), "%s", failure_text(failure));
}

static enum pbft_channel_step fail(struct pbft_channel *c, enum pbft_channel_failure failure)
{
    note(c, failure);
    c->state = FAILED;
    sodium_memzero(c->ephemeral, sizeof(c->ephemeral));
    return PBFT_CHANNEL_FAIL;
}

size_t pbft_channel_refusal(enum pbft_channel_failure failure, uint8_t *out)
{
    memcpy(out, magic_refusal, MAGIC_BYTES);
    pbft_put_u32(out + REFUSAL_CODE, (uint32_t)failure);
    return REFUSAL_BYTES;
}

static enum pbft_channel_step refuse(struct pbft_channel *c, enum pbft_channel_failure failure,
                                     uint8_t *out, size_t *out_size)
{
    *out_size = pbft_channel_refusal(failure, out);
    return fail(c, failure);
}

/* The other side says no. Unproven, so it is told apart from what we found ourselves. */
static enum pbft_channel_step refused(struct pbft_channel *c, struct pbft_span in)
{
    uint32_t code = pbft_get_u32(in.data + REFUSAL_CODE);
    bool known = code > PBFT_CHANNEL_NO_FAILURE && code < PBFT_CHANNEL_FAILURE_COUNT;
    enum pbft_channel_failure failure =
        known ? (enum pbft_channel_failure)code : PBFT_CHANNEL_MALFORMED;
    if (c->failure == PBFT_CHANNEL_NO_FAILURE) {
        c->failure = failure;
        (void)snprintf(c->reason, sizeof(c->reason), "the other side refuses: %s",
                       known ? failure_text(failure) : "unknown reason");
    }
    c->state = FAILED;
    return PBFT_CHANNEL_FAIL;
}

static bool is_message(struct pbft_span in, const uint8_t *magic, size_t size)
{
    return in.size == size && memcmp(in.data, magic, MAGIC_BYTES) == 0;
}

/* ---- what is signed, and the keys ---- */

/* signed = tag, cluster id, epoch, H(domain, messages so far): PROTOCOL 4. */
static void signed_bytes(const struct pbft_channel *c, bool by_initiator, uint8_t out[SIGNED_BYTES])
{
    /* The responder signs its WELCOME up to the signature, the initiator all of it. */
    struct pbft_span parts[2] = {{c->hello, HELLO_BYTES},
                                 {c->welcome, by_initiator ? WELCOME_BYTES : WELCOME_SIGNATURE}};
    struct pbft_digest transcript;
    pbft_hash(&transcript, by_initiator ? "channel caller" : "channel answer", parts, 2);
    uint8_t *p = out;
    memcpy(p, by_initiator ? tag_initiator : tag_responder, SIGNED_TAG_BYTES);
    p += SIGNED_TAG_BYTES;
    memcpy(p, c->cluster->id.bytes, PBFT_DIGEST_BYTES);
    p += PBFT_DIGEST_BYTES;
    pbft_put_u32(p, c->cluster->epoch);
    p += 4;
    memcpy(p, transcript.bytes, PBFT_DIGEST_BYTES);
}

static void sign_transcript(const struct pbft_channel *c, bool by_initiator, uint8_t *signature)
{
    uint8_t bytes[SIGNED_BYTES];
    signed_bytes(c, by_initiator, bytes);
    pbft_sign(&c->self->secret, (struct pbft_span){bytes, sizeof(bytes)}, signature);
}

static bool verify_transcript(const struct pbft_channel *c, bool by_initiator,
                              const struct pbft_public_key *key, const uint8_t *signature)
{
    uint8_t bytes[SIGNED_BYTES];
    signed_bytes(c, by_initiator, bytes);
    return pbft_verify(key, (struct pbft_span){bytes, sizeof(bytes)}, signature);
}

/* A stream of one direction. Key and nonce both come from the derivation, so no header travels;
 * init_pull is the half of libsodium's API that takes a header, and both halves leave the same
 * state. The key is new for every session, which is what the nonce's uniqueness rests on. */
static void derive_stream(crypto_secretstream_xchacha20poly1305_state *stream,
                          const char *direction, const struct pbft_digest *transcript,
                          const uint8_t secret[32])
{
    uint8_t material[crypto_secretstream_xchacha20poly1305_KEYBYTES +
                     crypto_secretstream_xchacha20poly1305_HEADERBYTES];
    uint8_t input[16 + PBFT_DIGEST_BYTES] = {0};
    memcpy(input, direction, strlen(direction));
    memcpy(input + 16, transcript->bytes, PBFT_DIGEST_BYTES);
    int failed = crypto_generichash(material, sizeof(material), input, sizeof(input), secret, 32);
    PBFT_ASSERT(failed == 0);
    failed = crypto_secretstream_xchacha20poly1305_init_pull(
        stream, material + crypto_secretstream_xchacha20poly1305_KEYBYTES, material);
    PBFT_ASSERT(failed == 0);
    sodium_memzero(material, sizeof(material));
}

static bool derive_keys(struct pbft_channel *c, const uint8_t *their_ephemeral)
{
    uint8_t secret[32];
    /* Refuses points of small order: their secret would be zero. */
    if (crypto_scalarmult(secret, c->ephemeral, their_ephemeral) != 0) return false;
    struct pbft_span parts[3] = {{c->hello, HELLO_BYTES},
                                 {c->welcome, WELCOME_BYTES},
                                 {c->finish, FINISH_BYTES}};
    struct pbft_digest transcript;
    pbft_hash(&transcript, "channel keys", parts, 3);
    derive_stream(c->initiator ? &c->sealing : &c->opening, "from caller", &transcript, secret);
    derive_stream(c->initiator ? &c->opening : &c->sealing, "from answerer", &transcript, secret);
    sodium_memzero(secret, sizeof(secret));
    sodium_memzero(c->ephemeral, sizeof(c->ephemeral));
    return true;
}

static void new_ephemeral(struct pbft_channel *c, uint8_t *public)
{
    randombytes_buf(c->ephemeral, sizeof(c->ephemeral));
    int failed = crypto_scalarmult_base(public, c->ephemeral);
    PBFT_ASSERT(failed == 0);
}

/* Both directions refuse each other's build, with both vectors in the text (PROTOCOL 5). */
static bool verdicts_agree(struct pbft_channel *c, uint64_t theirs)
{
    uint64_t ours = pbft_crypto_verdicts();
    if (theirs == ours) return true;
    c->failure = PBFT_CHANNEL_VERDICTS;
    (void)snprintf(c->reason, sizeof(c->reason), "%s (ours %016llx, theirs %016llx)",
                   failure_text(PBFT_CHANNEL_VERDICTS), (unsigned long long)ours,
                   (unsigned long long)theirs);
    return false;
}

/* ---- another epoch ---- */

static void note_epoch(struct pbft_channel *c, pbft_epoch theirs)
{
    c->failure = PBFT_CHANNEL_EPOCH;
    (void)snprintf(c->reason, sizeof(c->reason), "%s (ours %u, theirs %u)",
                   failure_text(PBFT_CHANNEL_EPOCH), (unsigned)c->cluster->epoch, (unsigned)theirs);
}

/* Our epoch; and to whom is behind, what leads on from his. */
static size_t epoch_message(const struct pbft_channel *c, pbft_epoch theirs, uint8_t *out)
{
    struct pbft_span proof = {NULL, 0};
    if (theirs < c->cluster->epoch) proof = pbft_epoch_history(c->cluster, theirs + 1);
    memcpy(out, magic_epoch, MAGIC_BYTES);
    pbft_put_u32(out + EPOCH_NUMBER, c->cluster->epoch);
    pbft_put_u32(out + EPOCH_SIZE, (uint32_t)proof.size);
    if (proof.size > 0) memcpy(out + EPOCH_PROOF, proof.data, proof.size);
    return EPOCH_PROOF + proof.size;
}

/* A responder's answer to a HELLO of another epoch. One that is behind waits for the proof. */
static enum pbft_channel_step answer_epoch(struct pbft_channel *c, pbft_epoch theirs, uint8_t *out,
                                           size_t *out_size)
{
    *out_size = epoch_message(c, theirs, out);
    note_epoch(c, theirs);
    if (theirs < c->cluster->epoch) return fail(c, PBFT_CHANNEL_EPOCH);
    c->state = WAIT_PROOF;
    return PBFT_CHANNEL_MORE;
}

static enum pbft_channel_step on_proof(struct pbft_channel *c, pbft_epoch theirs,
                                       struct pbft_span proof)
{
    struct pbft_epoch_change change;
    enum pbft_verdict verdict = pbft_epoch_check(c->cluster, &pbft_signer_ed25519, proof, &change);
    if (verdict == PBFT_DROP_MALFORMED) return fail(c, PBFT_CHANNEL_MALFORMED);
    if (verdict != PBFT_OK) return fail(c, PBFT_CHANNEL_PROOF);
    c->news = malloc(proof.size);
    if (c->news != NULL) { /* else the next handshake brings it again */
        memcpy(c->news, proof.data, proof.size);
        c->news_size = proof.size;
    }
    note_epoch(c, theirs);
    return fail(c, PBFT_CHANNEL_EPOCH);
}

static enum pbft_channel_step on_epoch(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                       size_t *out_size)
{
    c->failure = PBFT_CHANNEL_NO_FAILURE; /* a responder only feared that it would be this */
    if (in.size < EPOCH_PROOF || memcmp(in.data, magic_epoch, MAGIC_BYTES) != 0)
        return fail(c, PBFT_CHANNEL_MALFORMED);
    pbft_epoch theirs = pbft_get_u32(in.data + EPOCH_NUMBER);
    struct pbft_span proof = {in.data + EPOCH_PROOF, in.size - EPOCH_PROOF};
    if (pbft_get_u32(in.data + EPOCH_SIZE) != proof.size) return fail(c, PBFT_CHANNEL_MALFORMED);
    if (theirs > c->cluster->epoch) return on_proof(c, theirs, proof);
    if (!c->initiator || theirs == c->cluster->epoch || proof.size != 0)
        return fail(c, PBFT_CHANNEL_MALFORMED);
    *out_size = epoch_message(c, theirs, out);
    note_epoch(c, theirs);
    return fail(c, PBFT_CHANNEL_EPOCH);
}

bool pbft_channel_news(const struct pbft_channel *channel, struct pbft_span *proof)
{
    *proof = (struct pbft_span){channel->news, channel->news_size};
    return channel->news != NULL;
}

/* ---- the three messages ---- */

size_t pbft_channel_hello(struct pbft_channel *c, uint8_t *out)
{
    PBFT_ASSERT(c->initiator && c->state == AT_START);
    pbft_id responder = 0;
    if (pbft_public_key_equal(&c->expected, &c->self->public)) {
        (void)fail(c, PBFT_CHANNEL_SELF);
        return 0;
    }
    if (!pbft_cluster_replica(c->cluster, &c->expected, &responder)) {
        (void)fail(c, PBFT_CHANNEL_UNKNOWN);
        return 0;
    }
    c->peer = (struct pbft_peer){PBFT_PEER_REPLICA, responder, 0};

    pbft_id id = 0;
    bool replica = pbft_cluster_replica(c->cluster, &c->self->public, &id);
    uint8_t *h = c->hello;
    memcpy(h, magic_hello, MAGIC_BYTES);
    h[HELLO_KIND] = (uint8_t)(replica ? PBFT_PEER_REPLICA : PBFT_PEER_CLIENT);
    pbft_put_u32(h + HELLO_ID, replica ? id : 0);
    pbft_put_u32(h + HELLO_EPOCH, c->cluster->epoch);
    pbft_put_u64(h + HELLO_VERDICTS, pbft_crypto_verdicts());
    memcpy(h + HELLO_CLUSTER, c->cluster->id.bytes, PBFT_DIGEST_BYTES);
    memcpy(h + HELLO_INITIATOR, c->self->public.bytes, PBFT_PUBLIC_KEY_BYTES);
    memcpy(h + HELLO_RESPONDER, c->expected.bytes, PBFT_PUBLIC_KEY_BYTES);
    new_ephemeral(c, h + HELLO_EPHEMERAL);
    randombytes_buf(h + HELLO_NONCE, 32);
    memcpy(out, h, HELLO_BYTES);
    c->state = WAIT_WELCOME;
    return HELLO_BYTES;
}

/* Who says hello, and may he? Everything here is a look-up. */
static enum pbft_channel_failure check_hello(const struct pbft_channel *c, const uint8_t *h,
                                             struct pbft_peer *peer)
{
    struct pbft_public_key key;
    memcpy(key.bytes, h + HELLO_INITIATOR, PBFT_PUBLIC_KEY_BYTES);
    uint8_t kind = h[HELLO_KIND];
    uint32_t stated = pbft_get_u32(h + HELLO_ID);
    if ((h[HELLO_KIND + 1] | h[HELLO_KIND + 2] | h[HELLO_KIND + 3]) != 0)
        return PBFT_CHANNEL_MALFORMED;
    if (kind != PBFT_PEER_REPLICA && kind != PBFT_PEER_CLIENT) return PBFT_CHANNEL_MALFORMED;
    if (kind == PBFT_PEER_CLIENT && stated != 0) return PBFT_CHANNEL_MALFORMED;
    if (memcmp(h + HELLO_CLUSTER, c->cluster->id.bytes, PBFT_DIGEST_BYTES) != 0)
        return PBFT_CHANNEL_CLUSTER;
    if (pbft_get_u32(h + HELLO_EPOCH) != c->cluster->epoch) return PBFT_CHANNEL_EPOCH;
    if (pbft_public_key_equal(&key, &c->self->public)) return PBFT_CHANNEL_SELF;
    if (memcmp(h + HELLO_RESPONDER, c->self->public.bytes, PBFT_PUBLIC_KEY_BYTES) != 0)
        return PBFT_CHANNEL_IDENTITY;
    if ((c->roles & kind) == 0) return PBFT_CHANNEL_ROLE;

    if (kind == PBFT_PEER_CLIENT) {
        uint32_t index = 0;
        if (!pbft_cluster_client(c->cluster, &key, &index)) return PBFT_CHANNEL_UNKNOWN;
        *peer = (struct pbft_peer){PBFT_PEER_CLIENT, index, 0};
        return PBFT_CHANNEL_NO_FAILURE;
    }
    pbft_id id = 0;
    pbft_id own = 0;
    if (!pbft_cluster_replica(c->cluster, &key, &id)) return PBFT_CHANNEL_UNKNOWN;
    /* The lower id dials (DESIGN 5): one stream for a pair, and no pair that dials crosswise. */
    if (id != stated) return PBFT_CHANNEL_PLACE;
    if (!pbft_cluster_replica(c->cluster, &c->self->public, &own) || id >= own)
        return PBFT_CHANNEL_PLACE;
    *peer = (struct pbft_peer){PBFT_PEER_REPLICA, id, 0};
    return PBFT_CHANNEL_NO_FAILURE;
}

static enum pbft_channel_step on_hello(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                       size_t *out_size)
{
    if (!is_message(in, magic_hello, HELLO_BYTES)) return fail(c, PBFT_CHANNEL_MALFORMED);
    enum pbft_channel_failure failure = check_hello(c, in.data, &c->peer);
    if (failure == PBFT_CHANNEL_EPOCH)
        return answer_epoch(c, pbft_get_u32(in.data + HELLO_EPOCH), out, out_size);
    if (failure != PBFT_CHANNEL_NO_FAILURE) return refuse(c, failure, out, out_size);

    /* Another verdict vector is answered all the same: the initiator then has ours with our
     * signature on it, and its operator a clear error. FINISH will be refused. */
    (void)verdicts_agree(c, pbft_get_u64(in.data + HELLO_VERDICTS));

    memcpy(c->hello, in.data, HELLO_BYTES);
    uint8_t *w = c->welcome;
    memcpy(w, magic_welcome, MAGIC_BYTES);
    pbft_put_u64(w + WELCOME_VERDICTS, pbft_crypto_verdicts());
    memcpy(w + WELCOME_RESPONDER, c->self->public.bytes, PBFT_PUBLIC_KEY_BYTES);
    new_ephemeral(c, w + WELCOME_EPHEMERAL);
    randombytes_buf(w + WELCOME_NONCE, 32);
    sign_transcript(c, false, w + WELCOME_SIGNATURE);
    memcpy(out, w, WELCOME_BYTES);
    *out_size = WELCOME_BYTES;
    c->state = WAIT_FINISH;
    return PBFT_CHANNEL_MORE;
}

static enum pbft_channel_step on_welcome(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                         size_t *out_size)
{
    if (is_message(in, magic_refusal, REFUSAL_BYTES)) return refused(c, in);
    if (!is_message(in, magic_welcome, WELCOME_BYTES)) return on_epoch(c, in, out, out_size);
    if (memcmp(in.data + WELCOME_RESPONDER, c->expected.bytes, PBFT_PUBLIC_KEY_BYTES) != 0)
        return fail(c, PBFT_CHANNEL_IDENTITY);
    memcpy(c->welcome, in.data, WELCOME_BYTES);
    if (!verify_transcript(c, false, &c->expected, c->welcome + WELCOME_SIGNATURE))
        return fail(c, PBFT_CHANNEL_SIGNATURE);
    if (!verdicts_agree(c, pbft_get_u64(in.data + WELCOME_VERDICTS)))
        return refuse(c, PBFT_CHANNEL_VERDICTS, out, out_size);

    memcpy(c->finish, magic_finish, MAGIC_BYTES);
    sign_transcript(c, true, c->finish + FINISH_SIGNATURE);
    if (!derive_keys(c, c->welcome + WELCOME_EPHEMERAL)) return fail(c, PBFT_CHANNEL_EXCHANGE);
    memcpy(out, c->finish, FINISH_BYTES);
    *out_size = FINISH_BYTES;
    c->state = OPEN;
    return PBFT_CHANNEL_DONE;
}

static enum pbft_channel_step on_finish(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                        size_t *out_size)
{
    if (is_message(in, magic_refusal, REFUSAL_BYTES)) return refused(c, in);
    if (!is_message(in, magic_finish, FINISH_BYTES)) return fail(c, PBFT_CHANNEL_MALFORMED);
    struct pbft_public_key key;
    memcpy(key.bytes, c->hello + HELLO_INITIATOR, PBFT_PUBLIC_KEY_BYTES);
    memcpy(c->finish, in.data, FINISH_BYTES);
    if (!verify_transcript(c, true, &key, c->finish + FINISH_SIGNATURE))
        return refuse(c, PBFT_CHANNEL_SIGNATURE, out, out_size);
    if (c->failure == PBFT_CHANNEL_VERDICTS) return refuse(c, PBFT_CHANNEL_VERDICTS, out, out_size);
    if (!derive_keys(c, c->hello + HELLO_EPHEMERAL))
        return refuse(c, PBFT_CHANNEL_EXCHANGE, out, out_size);
    c->state = OPEN;
    return PBFT_CHANNEL_DONE;
}

enum pbft_channel_step pbft_channel_step(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                         size_t *out_size)
{
    *out_size = 0;
    switch (c->state) {
    case WAIT_HELLO: return on_hello(c, in, out, out_size);
    case WAIT_WELCOME: return on_welcome(c, in, out, out_size);
    case WAIT_FINISH: return on_finish(c, in, out, out_size);
    case WAIT_PROOF:
        if (is_message(in, magic_refusal, REFUSAL_BYTES)) return refused(c, in);
        return on_epoch(c, in, out, out_size);
    case AT_START:
    case OPEN:
    case FAILED: break;
    }
    return fail(c, PBFT_CHANNEL_MALFORMED);
}

static uint32_t quorum(const struct pbft_channel *c)
{
    return pbft_quorum(c->cluster->params.n);
}

size_t pbft_channel_next_max(const struct pbft_channel *c)
{
    size_t proof = PBFT_EPOCH_CHANGE_BYTES + 8u + (size_t)quorum(c) * PBFT_SIGNATURE_BYTES;
    size_t epoch = EPOCH_PROOF + proof;
    bool waits = c->state == WAIT_WELCOME || c->state == WAIT_PROOF;
    return waits && epoch > PBFT_HANDSHAKE_FIRST_BYTES ? epoch : PBFT_HANDSHAKE_FIRST_BYTES;
}

uint32_t pbft_channel_next_cost(const struct pbft_channel *c)
{
    if (c->state == WAIT_PROOF) return quorum(c);
    return c->state == WAIT_HELLO ? 1 : 0;
}

struct pbft_peer pbft_channel_peer(const struct pbft_channel *channel)
{
    PBFT_ASSERT(channel->state == OPEN);
    return channel->peer;
}

enum pbft_channel_failure pbft_channel_failure(const struct pbft_channel *channel)
{
    return channel->failure;
}

const char *pbft_channel_reason(const struct pbft_channel *channel)
{
    return channel->reason;
}

/* ---- records ---- */

void pbft_channel_seal(struct pbft_channel *c, struct pbft_span plain, uint8_t *out)
{
    PBFT_ASSERT(c->state == OPEN);
    int failed = crypto_secretstream_xchacha20poly1305_push(
        &c->sealing, out, NULL, plain.data, plain.size, NULL, 0,
        crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
    PBFT_ASSERT(failed == 0);
}

bool pbft_channel_open_record(struct pbft_channel *c, struct pbft_span sealed, uint8_t *out)
{
    PBFT_ASSERT(c->state == OPEN);
    unsigned char tag = 0;
    if (c->broken) return false;
    if (sealed.size < PBFT_CHANNEL_OVERHEAD ||
        crypto_secretstream_xchacha20poly1305_pull(&c->opening, out, NULL, &tag, sealed.data,
                                                   sealed.size, NULL, 0) != 0 ||
        tag != crypto_secretstream_xchacha20poly1305_TAG_MESSAGE) {
        c->broken = true;
        return false;
    }
    return true;
}
