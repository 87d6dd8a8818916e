/* Frames made by hand: what a Byzantine replica or a hostile client could sign. */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

#define CRAFT_REQUESTS_MAX 16u

const struct pbft_keypair *sim_replica_key(const struct sim *sim, pbft_id id)
{
    return &sim->nodes[id].keypair;
}

const struct pbft_keypair *sim_client_key(const struct sim *sim, uint32_t client)
{
    return &sim->clients[client].keypair;
}

static struct pbft_frame *encode(struct sim *sim, const struct pbft_keypair *key,
                                 struct pbft_msg *msg)
{
    msg->epoch = sim->cluster.epoch;
    size_t size = pbft_wire_size(msg);
    PBFT_ASSERT(size > 0 && size <= PBFT_FRAME_MAX_BYTES);
    struct pbft_frame *frame = pbft_frame_new(sim_pool(sim), (uint32_t)size);
    PBFT_ASSERT(frame != NULL);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    PBFT_ASSERT(frame->size == size);
    struct pbft_span body = pbft_wire_signed_body(pbft_frame_span(frame));
    if (body.data != NULL)
        pbft_frame_sign(&sim->cluster, sim->o.signer, &key->secret, frame->bytes, frame->size);
    return frame;
}

struct pbft_frame *sim_message(struct sim *sim, pbft_id as, struct pbft_msg *msg)
{
    return encode(sim, sim_replica_key(sim, as), msg);
}

void sim_sign_body(struct sim *sim, pbft_id as, uint8_t type, struct pbft_span body,
                   uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &sim->cluster.id, sim->cluster.epoch, body, bytes);
    sim->o.signer->sign(&sim_replica_key(sim, as)->secret, (struct pbft_span){bytes, size},
                        signature);
}

struct pbft_frame *sim_vote(struct sim *sim, uint8_t type, pbft_id as, pbft_view view, pbft_seq seq,
                            const struct pbft_digest *digest)
{
    struct pbft_msg msg = {.type = type};
    msg.vote.view = view;
    msg.vote.seq = seq;
    msg.vote.digest = *digest;
    msg.vote.sender = as;
    return sim_message(sim, as, &msg);
}

struct pbft_frame *sim_checkpoint(struct sim *sim, pbft_id as, pbft_seq seq,
                                  const struct pbft_digest *root)
{
    struct pbft_msg msg = {.type = PBFT_CHECKPOINT};
    msg.checkpoint.seq = seq;
    msg.checkpoint.root = *root;
    msg.checkpoint.sender = as;
    return sim_message(sim, as, &msg);
}

struct pbft_frame *sim_pre_prepare(struct sim *sim, pbft_id as, pbft_view view, pbft_seq seq,
                                   uint64_t time_ns, struct pbft_frame *const *requests,
                                   uint32_t count, struct pbft_digest *digest)
{
    PBFT_ASSERT(count <= CRAFT_REQUESTS_MAX);
    uint8_t leaves[CRAFT_REQUESTS_MAX * (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)];
    struct pbft_request decoded[CRAFT_REQUESTS_MAX];
    memset(decoded, 0, sizeof decoded);
    size_t size = 12;
    for (uint32_t i = 0; i < count; i++)
        size += 4 + (size_t)requests[i]->size;
    uint8_t *bytes = sim_alloc(size);
    pbft_put_u64(bytes, time_ns);
    pbft_put_u32(bytes + 8, count);
    size_t at = 12;
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_span frame = pbft_frame_span(requests[i]);
        decoded[i].frame = frame;
        pbft_put_u32(bytes + at, requests[i]->size);
        memcpy(bytes + at + 4, frame.data, frame.size);
        at += 4 + frame.size;
        struct pbft_digest leaf;
        pbft_digest_request(&leaf, pbft_wire_signed_body(frame));
        uint8_t *out = leaves + i * (size_t)(PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES);
        memcpy(out, leaf.bytes, PBFT_DIGEST_BYTES);
        memcpy(out + PBFT_DIGEST_BYTES, frame.data + pbft_wire_signature_offset(frame),
               PBFT_SIGNATURE_BYTES);
    }
    struct pbft_msg msg = {.type = PBFT_PRE_PREPARE};
    msg.pre_prepare.view = view;
    msg.pre_prepare.seq = seq;
    pbft_digest_proposal(&msg.pre_prepare.digest, time_ns, count,
                         (struct pbft_span){leaves, count * (size_t)(PBFT_DIGEST_BYTES +
                                                                     PBFT_SIGNATURE_BYTES)});
    msg.pre_prepare.proposal.time_ns = time_ns;
    msg.pre_prepare.proposal.request_count = count;
    msg.pre_prepare.proposal.requests = decoded;
    msg.pre_prepare.proposal.bytes = (struct pbft_span){bytes, size};
    if (digest != NULL) *digest = msg.pre_prepare.digest;
    struct pbft_frame *frame = sim_message(sim, as, &msg);
    free(bytes);
    return frame;
}

struct pbft_frame *sim_request(struct sim *sim, uint32_t client, uint64_t session, uint64_t t,
                               struct pbft_span op)
{
    struct pbft_msg msg = {.type = PBFT_REQUEST};
    uint8_t *ops = sim_alloc(4 + op.size);
    pbft_put_u32(ops, (uint32_t)op.size);
    if (op.size > 0) memcpy(ops + 4, op.data, op.size);
    msg.request.client = sim_client_key(sim, client)->public;
    msg.request.session = session == 0 ? sim_client_session(sim, client) : session;
    msg.request.t = t;
    msg.request.op_count = 1;
    msg.request.ops = (struct pbft_span){ops, 4 + op.size};
    struct pbft_frame *frame = encode(sim, sim_client_key(sim, client), &msg);
    free(ops);
    struct pbft_request request = msg.request;
    pbft_digest_request(&request.digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    check_request(sim, &request);
    return frame;
}
