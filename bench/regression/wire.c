/* Rows of the wire: frames as they are made (encoded and signed) and as the door takes them
 * (decoded, bounded, digests recomputed, signatures asked for). The signatures are fast ones, or
 * they alone would count; in one row they are Ed25519. */
#include "bench/regression/regression.h"

#include "crypto/door.h"
#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

#define N        4u
#define BUNDLE   64u
#define REQUESTS 16u /* of a proposal */
#define FRAMES   64u /* different ones: a signature that was seen before would not be verified */
#define LEAF     (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)

struct world {
    struct pbft_cluster cluster;
    struct pbft_keypair keys[N + 1]; /* of the replicas and one client */
    uint64_t random;
    struct pbft_span frames[FRAMES]; /* bytes from malloc */
};

/* Room for any message of a row, or the frame of one. */
static uint8_t *room_new(size_t size)
{
    uint8_t *bytes = malloc(size);
    must(bytes != NULL, "out of memory");
    return bytes;
}

static struct pbft_span make(const struct world *w, const struct pbft_signer *signer,
                             const struct pbft_keypair *key, struct pbft_msg *msg)
{
    msg->epoch = w->cluster.epoch;
    size_t size = pbft_wire_size(msg);
    uint8_t *bytes = room_new(size);
    must(pbft_wire_encode(msg, bytes, size) == size, "a message has another size than it says");
    pbft_frame_sign(&w->cluster, signer, &key->secret, bytes, size);
    return (struct pbft_span){bytes, size};
}

static void drop(struct world *w)
{
    for (size_t i = 0; i < FRAMES; i++)
        free((void *)w->frames[i].data);
}

/* All frames, each once, through a new door. */
static void open_all(const struct world *w, const struct pbft_signer *signer,
                     const struct pbft_peer *from, const char *row)
{
    struct pbft_door_config config = {.cluster = &w->cluster,
                                      .signer = signer,
                                      .cache_entries = 4u * w->cluster.params.window * N};
    struct pbft_door *door = pbft_door_new(&config);
    must(door != NULL, "out of memory");
    count_begin();
    for (size_t i = 0; i < FRAMES; i++) {
        struct pbft_msg msg;
        must(pbft_door_open(door, from, w->frames[i], &msg) == PBFT_OK,
             "the door refuses a good frame");
    }
    count_end(row, FRAMES);
    pbft_door_free(door);
}

/* ---- a bundle of a client ---- */

static struct pbft_span request_new(struct world *w, uint64_t t, struct pbft_span ops)
{
    struct pbft_msg msg = {.type = PBFT_REQUEST};
    msg.request.client = w->keys[N].public;
    msg.request.session = 1;
    msg.request.t = t;
    msg.request.op_count = BUNDLE;
    msg.request.ops = ops;
    return make(w, &pbft_signer_fast, &w->keys[N], &msg);
}

static void requests(struct world *w)
{
    static uint8_t bytes[BUNDLE * (4 + OP_BYTES)];
    struct pbft_span ops = puts_of(BUNDLE, UINT32_MAX, &w->random, bytes);
    count_begin();
    for (size_t i = 0; i < FRAMES; i++)
        w->frames[i] = request_new(w, i + 1, ops);
    count_end("request-make", FRAMES);
    struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 1};
    open_all(w, &pbft_signer_fast, &client, "request-open");
    drop(w);
}

/* ---- a proposal of bundles ---- */

static void leaf_of(struct pbft_span request, uint8_t *out)
{
    struct pbft_digest digest;
    pbft_digest_request(&digest, pbft_wire_signed_body(request));
    memcpy(out, digest.bytes, sizeof digest.bytes);
    memcpy(out + sizeof digest.bytes, request.data + pbft_wire_signature_offset(request),
           PBFT_SIGNATURE_BYTES);
}

static void proposal_begin(struct pbft_msg *msg, struct pbft_request *into, uint8_t *bytes)
{
    *msg = (struct pbft_msg){.type = PBFT_PRE_PREPARE};
    msg->pre_prepare.proposal = (struct pbft_proposal){.time_ns = 1,
                                                       .request_count = REQUESTS,
                                                       .requests = into,
                                                       .bytes = {bytes, 12}};
    pbft_put_u64(bytes, msg->pre_prepare.proposal.time_ns);
    pbft_put_u32(bytes + 8, REQUESTS);
}

static struct pbft_span pre_prepare_new(struct world *w, pbft_seq seq, const struct pbft_span *from)
{
    uint8_t leaves[REQUESTS * LEAF];
    struct pbft_request decoded[REQUESTS] = {{.t = 0}};
    size_t size = 12;
    for (size_t i = 0; i < REQUESTS; i++)
        size += 4 + from[i].size;
    uint8_t *bytes = room_new(size), *at = bytes + 12;
    struct pbft_msg msg;
    proposal_begin(&msg, decoded, bytes);
    for (size_t i = 0; i < REQUESTS; i++) {
        decoded[i].frame = from[i];
        pbft_put_u32(at, (uint32_t)from[i].size);
        memcpy(at + 4, from[i].data, from[i].size);
        at += 4 + from[i].size;
        leaf_of(from[i], leaves + i * LEAF);
    }
    msg.pre_prepare.proposal.bytes.size = size;
    msg.pre_prepare.seq = seq;
    pbft_digest_proposal(&msg.pre_prepare.digest, msg.pre_prepare.proposal.time_ns, REQUESTS,
                         (struct pbft_span){leaves, sizeof leaves});
    struct pbft_span frame = make(w, &pbft_signer_fast, &w->keys[0], &msg);
    free(bytes);
    return frame;
}

static void pre_prepares(struct world *w)
{
    static uint8_t bytes[BUNDLE * (4 + OP_BYTES)];
    struct pbft_span bundles[REQUESTS];
    for (pbft_seq seq = 1; seq <= FRAMES; seq++) {
        for (size_t i = 0; i < REQUESTS; i++)
            bundles[i] =
                request_new(w, seq * REQUESTS + i, puts_of(BUNDLE, UINT32_MAX, &w->random, bytes));
        w->frames[seq - 1] = pre_prepare_new(w, seq, bundles);
        for (size_t i = 0; i < REQUESTS; i++)
            free((void *)bundles[i].data);
    }
    struct pbft_peer primary = {PBFT_PEER_REPLICA, 0, 1};
    open_all(w, &pbft_signer_fast, &primary, "pre-prepare-open");
    drop(w);
}

/* ---- votes ---- */

static void votes_make(struct world *w, const struct pbft_signer *signer)
{
    struct pbft_msg msg = {.type = PBFT_COMMIT};
    msg.vote.sender = 1;
    for (pbft_seq seq = 1; seq <= FRAMES; seq++) {
        msg.vote.seq = seq;
        msg.vote.digest.bytes[0] = (uint8_t)seq;
        w->frames[seq - 1] = make(w, signer, &w->keys[1], &msg);
    }
}

static void votes(struct world *w)
{
    struct pbft_peer backup = {PBFT_PEER_REPLICA, 1, 1};
    count_begin();
    votes_make(w, &pbft_signer_fast);
    count_end("vote-make", FRAMES);
    open_all(w, &pbft_signer_fast, &backup, "vote-open");
    drop(w);
    votes_make(w, &pbft_signer_ed25519);
    open_all(w, &pbft_signer_ed25519, &backup, "vote-open-ed25519");
    drop(w);
}

void rows_wire(void)
{
    struct world w = {.random = 1};
    cluster_make(&w.cluster, N, 1, w.keys);
    requests(&w);
    pre_prepares(&w);
    votes(&w);
    cluster_free(&w.cluster);
}
