/**
 * crypto/channel.h - the secure channel between two ends: mutual handshake, then a pair of
 * libsodium secretstreams (PROTOCOL 4, 5). Pure bytes in, bytes out; net/ moves them.
 *
 * Three messages. Each side contributes an ephemeral X25519 key and a nonce, and signs
 * role || both identities || both ephemeral keys || both nonces || cluster id || epoch || verdict
 * vector with its Ed25519 identity. Session keys derive from the DH secret and the whole
 * transcript. The initiator names the identity it wants to reach; a responder names itself.
 *
 *   initiator                           responder
 *   HELLO    (188 bytes)         ->
 *                                <-     WELCOME (signed, 176)
 *   FINISH   (signed, 72)        ->
 *
 * Two ends of different epochs (PROTOCOL 29) get no channel, but whoever is behind gets the proof
 * of the epoch after its own, which speaks for itself (crypto/epoch.h):
 *
 *   HELLO                        ->          responder ahead
 *                                <-     EPOCH    (its epoch, proof)
 *
 *   HELLO                        ->          responder behind
 *                                <-     EPOCH    (its epoch)
 *   EPOCH    (its epoch, proof)  ->
 *
 * All sizes but that of a proof are fixed and small (PBFT_HANDSHAKE_FIRST_BYTES), and only who
 * waits for a proof takes one, so that the length cap before authentication is tight. The responder
 * makes one ephemeral key and one signature for each HELLO, and verifies at most q for a proof
 * (net/ limits the rate of both); its DH waits for a FINISH that verifies.
 */
#ifndef PBFT_CRYPTO_CHANNEL_H
#define PBFT_CRYPTO_CHANNEL_H

#include "crypto/cluster.h"
#include "crypto/door.h"
#include "crypto/epoch.h"
#include "crypto/keys.h"

#define PBFT_HANDSHAKE_FIRST_BYTES 512u /* of all but an EPOCH */
#define PBFT_HANDSHAKE_MAX_BYTES   (16u + PBFT_EPOCH_PROOF_MAX)
#define PBFT_CHANNEL_OVERHEAD      17u /* bytes that sealing adds to a record */

enum pbft_channel_step {
    PBFT_CHANNEL_MORE, /* send `out` if it is not empty, then wait for the next message */
    PBFT_CHANNEL_DONE, /* send `out` if it is not empty; the channel is open, `peer` is proven */
    PBFT_CHANNEL_FAIL, /* close; `reason` says why (also "verdict vectors differ", PROTOCOL 5) */
};

/* Why a handshake failed. The text is what pbft_channel_reason() returns. */
#define PBFT_CHANNEL_FAILURES(X)                                                                   \
    X(PBFT_CHANNEL_NO_FAILURE, "")                                                                 \
    X(PBFT_CHANNEL_MALFORMED, "not a handshake message of this protocol version")                  \
    X(PBFT_CHANNEL_CLUSTER, "another cluster")                                                     \
    X(PBFT_CHANNEL_EPOCH, "another configuration epoch")                                           \
    X(PBFT_CHANNEL_IDENTITY, "not the identity that was asked for")                                \
    X(PBFT_CHANNEL_SELF, "connected to itself")                                                    \
    X(PBFT_CHANNEL_ROLE, "this listener does not serve that role")                                 \
    X(PBFT_CHANNEL_UNKNOWN, "key that genesis does not list")                                      \
    X(PBFT_CHANNEL_PLACE, "replica id out of place")                                               \
    X(PBFT_CHANNEL_SIGNATURE, "handshake signature does not verify")                               \
    X(PBFT_CHANNEL_EXCHANGE, "key exchange with a weak key")                                       \
    X(PBFT_CHANNEL_VERDICTS, "verdict vectors differ: another build of the crypto library")        \
    X(PBFT_CHANNEL_BUSY, "too many handshakes from this address")                                  \
    X(PBFT_CHANNEL_PROOF, "a proof of the next epoch that does not hold")

enum pbft_channel_failure {
#define X(name, text) name,
    PBFT_CHANNEL_FAILURES(X)
#undef X
        PBFT_CHANNEL_FAILURE_COUNT
};

struct pbft_channel; /* opaque */

/**
 * self      our key pair; borrowed
 * expected  initiator: the identity to reach; responder: NULL
 * roles     responder: which kinds it accepts, bit mask of enum pbft_peer_kind
 */
struct pbft_channel *pbft_channel_new(const struct pbft_cluster *cluster,
                                      const struct pbft_keypair *self, bool initiator,
                                      const struct pbft_public_key *expected, unsigned roles);
void pbft_channel_free(struct pbft_channel *channel); /* wipes keys */

/* First message of the initiator: into `out` (PBFT_HANDSHAKE_MAX_BYTES); returns its size. */
size_t pbft_channel_hello(struct pbft_channel *channel, uint8_t *out);
/* Feed one handshake message; may produce the next one. */
enum pbft_channel_step pbft_channel_step(struct pbft_channel *channel, struct pbft_span in,
                                         uint8_t *out, size_t *out_size);
/* What it takes next: the greatest size of the message, and what that may cost us, in HELLOs. */
size_t pbft_channel_next_max(const struct pbft_channel *channel);
uint32_t pbft_channel_next_cost(const struct pbft_channel *channel);
/* A message that tells the initiator why it is refused (PBFT_HANDSHAKE_MAX_BYTES); a hint only: it
 * is not signed. With FAIL, `out` may hold one already: send it as far as that costs nothing. */
size_t pbft_channel_refusal(enum pbft_channel_failure failure, uint8_t *out);
/* After DONE: who is there (connection is 0; net/ fills it). */
struct pbft_peer pbft_channel_peer(const struct pbft_channel *channel);
/* Why it failed, or is about to (a responder knows before its peer that the verdicts differ);
 * NO_FAILURE and "" otherwise. The text lives as long as the channel. */
enum pbft_channel_failure pbft_channel_failure(const struct pbft_channel *channel);
const char *pbft_channel_reason(const struct pbft_channel *channel);
/* After FAIL: true if the other side has proven that the epoch after ours has begun. The proof has
 * been checked; it lives as long as the channel. */
bool pbft_channel_news(const struct pbft_channel *channel, struct pbft_span *proof);

/* After DONE: seal `plain` into `out` (plain.size + PBFT_CHANNEL_OVERHEAD bytes); open the other
 * direction. Opening fails for good on the first bad record: close the connection. Sealing and
 * opening may happen on two different threads. Both work in place: plain.data may be out + 1, and
 * `out` may be sealed.data + 1 (out takes sealed.size - PBFT_CHANNEL_OVERHEAD bytes). */
void pbft_channel_seal(struct pbft_channel *channel, struct pbft_span plain, uint8_t *out);
bool pbft_channel_open_record(struct pbft_channel *channel, struct pbft_span sealed, uint8_t *out);

#endif
