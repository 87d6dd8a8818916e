/*
 * tests/fuzz/door.c - whole frames at THE DOOR, from a replica, a client, and at a client; as they
 * come, or repaired first (digests recomputed, signatures made anew, each as the input says), since
 * no mutation finds a signature.
 *
 * What passes must stand before the verifier of tests/sim/recheck.h, which shares no code with the
 * door: a signature that nobody made, a certificate of too few, a digest of something else.
 *
 * Input: u8 side, u8 peer, u8 repairs, then the frame.
 */
#include "crypto/door.h"
#include "crypto/signed_body.h"
#include "pbft/quorum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/strict.h"
#include "tests/sim/recheck.h"
#include "tests/sim/samples.h"

enum repair {
    REPAIR_REQUESTS = 1, /* in a proposal: each client's own signature */
    REPAIR_DIGEST = 2,   /* the proposal's digest in what names it */
    REPAIR_SETS = 4,     /* signatures inside certificates, P entries and O */
    REPAIR_OUTER = 8,    /* the frame's own */
};

static struct samples *cluster;
static struct pbft_door *door;
static struct pbft_arena arena;

static bool wants(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim)
{
    (void)context;
    return (claim->seq ^ from->index) % 16 != 5;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cluster = samples_new(&pbft_signer_fast);
    struct pbft_door_config config = {.cluster = &cluster->cluster,
                                      .signer = &pbft_signer_fast,
                                      .wants = wants,
                                      .cache_entries = 64};
    door = pbft_door_new(&config);
    arena.size = pbft_wire_arena_bytes(&cluster->cluster.params);
    arena.base = malloc(arena.size);
    REQUIRE(door != NULL && arena.base != NULL);
    return 0;
}

/* ---- repairs, in a frame that decodes; `bytes` is that frame, writable ---- */

static void sign(uint8_t type, pbft_id signer, struct pbft_span body, uint8_t *signature)
{
    uint8_t message[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &cluster->cluster.id, 0, body, message);
    pbft_signer_fast.sign(&cluster->replicas[signer % SAMPLE_REPLICAS].secret,
                          (struct pbft_span){message, size}, signature);
}

static void sign_statement(uint8_t type, pbft_view view, pbft_seq seq,
                           const struct pbft_digest *digest, pbft_id signer, uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = type == PBFT_PRE_PREPARE  ? pbft_wire_pre_prepare_body(view, seq, digest, body)
                  : type == PBFT_CHECKPOINT ? pbft_wire_checkpoint_body(seq, digest, signer, body)
                                            : pbft_wire_vote_body(view, seq, digest, signer, body);
    sign(type, signer, (struct pbft_span){body, size}, signature);
}

static uint8_t *inside(struct pbft_span frame, uint8_t *bytes, const uint8_t *at)
{
    return bytes + (at - frame.data);
}

static void sign_set(struct pbft_span frame, uint8_t *bytes, const struct pbft_signatures *set,
                     uint8_t type, pbft_view view, pbft_seq seq, const struct pbft_digest *digest)
{
    if (set->signers == 0) return;
    uint8_t *at = inside(frame, bytes, set->bytes);
    for (pbft_id id = 0; id < SAMPLE_REPLICAS; id++) {
        if (!pbft_signers_has(set->signers, id)) continue;
        sign_statement(type, view, seq, digest, id, at);
        at += PBFT_SIGNATURE_BYTES;
    }
}

static void repair_requests(struct pbft_span frame, uint8_t *bytes, const struct pbft_proposal *p)
{
    for (uint32_t i = 0; i < p->request_count; i++) {
        const struct pbft_request *r = &p->requests[i];
        uint32_t client;
        if (!pbft_cluster_client(&cluster->cluster, &r->client, &client)) continue;
        pbft_frame_sign(&cluster->cluster, &pbft_signer_fast, &cluster->clients[client].secret,
                        inside(frame, bytes, r->frame.data), r->frame.size);
    }
}

static struct pbft_digest digest_of(const struct pbft_proposal *p)
{
    const size_t leaf_bytes = PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES;
    uint8_t *leaves = malloc(p->request_count * leaf_bytes + 1);
    REQUIRE(leaves != NULL);
    for (uint32_t i = 0; i < p->request_count; i++) {
        struct pbft_digest request;
        pbft_digest_request(&request, p->requests[i].body);
        memcpy(leaves + i * leaf_bytes, request.bytes, PBFT_DIGEST_BYTES);
        memcpy(leaves + i * leaf_bytes + PBFT_DIGEST_BYTES, p->requests[i].signature,
               PBFT_SIGNATURE_BYTES);
    }
    struct pbft_digest digest;
    pbft_digest_proposal(&digest, p->time_ns, p->request_count,
                         (struct pbft_span){leaves, p->request_count * leaf_bytes});
    free(leaves);
    return digest;
}

static void repair_proposal(struct pbft_span frame, uint8_t *bytes, const struct pbft_proposal *p,
                            struct pbft_digest *digest, size_t digest_at, unsigned repairs)
{
    if (repairs & REPAIR_REQUESTS) repair_requests(frame, bytes, p);
    if ((repairs & REPAIR_DIGEST) == 0) return;
    *digest = digest_of(p);
    memcpy(bytes + digest_at, digest->bytes, sizeof digest->bytes);
}

static void repair_view_change(struct pbft_span frame, uint8_t *bytes,
                               const struct pbft_view_change *m)
{
    sign_set(frame, bytes, &m->stable_proof, PBFT_CHECKPOINT, 0, m->stable, &m->stable_root);
    for (uint32_t i = 0; i < m->prepared_count; i++) {
        const struct pbft_prepared *e = &m->prepared[i];
        sign_statement(PBFT_PRE_PREPARE, e->view, e->seq, &e->digest,
                       pbft_primary(SAMPLE_REPLICAS, e->view),
                       inside(frame, bytes, e->pre_prepare_signature));
        sign_set(frame, bytes, &e->prepares, PBFT_PREPARE, e->view, e->seq, &e->digest);
    }
}

static void repair_new_view(struct pbft_span frame, uint8_t *bytes, const struct pbft_new_view *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        uint8_t *entry = inside(frame, bytes, m->entries) + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        struct pbft_digest digest;
        memcpy(digest.bytes, entry, sizeof digest.bytes);
        sign_statement(PBFT_PRE_PREPARE, m->view, m->min_s + 1 + i, &digest,
                       pbft_primary(SAMPLE_REPLICAS, m->view), entry + sizeof digest.bytes);
    }
}

static void repair(struct pbft_span frame, uint8_t *bytes, unsigned repairs)
{
    struct pbft_msg m;
    arena.used = 0;
    if (pbft_wire_decode(frame, &cluster->cluster.params, &arena, &m) != PBFT_OK) return;
    struct pbft_certificate *c = &m.certificate;
    if (m.type == PBFT_PRE_PREPARE)
        repair_proposal(frame, bytes, &m.pre_prepare.proposal, &m.pre_prepare.digest, 24, repairs);
    if (m.type == PBFT_BATCH)
        repair_proposal(frame, bytes, &m.batch, &m.batch.digest, 0, repairs & 1);
    if (m.type == PBFT_CERTIFICATE && c->has_proposal)
        repair_proposal(frame, bytes, &c->proposal, &c->digest, 25, repairs);
    if (repairs & REPAIR_SETS) {
        if (m.type == PBFT_CERTIFICATE)
            sign_set(frame, bytes, &c->signatures,
                     c->kind == PBFT_CERT_COMMIT ? PBFT_COMMIT : PBFT_CHECKPOINT, c->view, c->seq,
                     &c->digest);
        if (m.type == PBFT_VIEW_CHANGE) repair_view_change(frame, bytes, &m.view_change);
        if (m.type == PBFT_NEW_VIEW) repair_new_view(frame, bytes, &m.new_view);
    }
    if ((repairs & REPAIR_OUTER) == 0 || pbft_wire_signature_offset(frame) == 0) return;
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return;
    pbft_id signer = claim.sender != PBFT_REPLICAS_MAX ? claim.sender
                                                       : pbft_primary(SAMPLE_REPLICAS, claim.view);
    const struct pbft_keypair *key = &cluster->replicas[signer % SAMPLE_REPLICAS];
    uint32_t client;
    if (m.type == PBFT_REQUEST &&
        pbft_cluster_client(&cluster->cluster, &m.request.client, &client))
        key = &cluster->clients[client];
    pbft_frame_sign(&cluster->cluster, &pbft_signer_fast, &key->secret, bytes, frame.size);
}

/* ---- what has passed ---- */

static void check_passed(const struct pbft_msg *m, const struct pbft_peer *from,
                         struct pbft_span frame)
{
    char why[RECHECK_WHY_BYTES];
    if (!left_to_the_core(&cluster->cluster.params, frame) &&
        !recheck_frame(&cluster->cluster, &pbft_signer_fast, frame, why)) {
        (void)fprintf(stderr, "recheck: %s\n", why);
        FINDING("the door let through what recheck refuses");
    }
    if (m->type == PBFT_REQUEST && from->kind == PBFT_PEER_CLIENT)
        REQUIRE(m->request.client_index == from->index);
    if (m->type == PBFT_BATCH) {
        /* What was stored is read again, to the same digest. */
        struct pbft_digest digest = m->batch.digest;
        struct pbft_span bytes = m->batch.bytes;
        struct pbft_proposal again;
        REQUIRE(pbft_door_reopen_proposal(door, bytes, NULL, 0, &again) == PBFT_OK);
        REQUIRE(pbft_digest_equal(&again.digest, &digest));
    }
}

/* Evidence asks about a bare statement; nobody signed what the input holds. */
static void verify_statement(struct fuzz f)
{
    uint8_t type = fuzz_u8(&f), signer = fuzz_u8(&f);
    uint8_t signature[PBFT_SIGNATURE_BYTES] = {0};
    uint8_t *body = fuzz_copy((struct pbft_span){f.at, f.left});
    bool valid =
        pbft_door_verify(door, type, signer % 5, (struct pbft_span){body, f.left}, signature);
    free(body);
    REQUIRE(!valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    unsigned side = fuzz_u8(&f) % 4, index = fuzz_u8(&f);
    unsigned repairs = fuzz_u8(&f);
    if (side == 3) {
        verify_statement(f);
        return 0;
    }
    uint8_t *bytes = fuzz_copy((struct pbft_span){f.at, f.left});
    struct pbft_span frame = {bytes, f.left};
    repair(frame, bytes, repairs);

    bool client = side == 1;
    struct pbft_peer from = {.kind = client ? PBFT_PEER_CLIENT : PBFT_PEER_REPLICA,
                             .index = index % (client ? SAMPLE_CLIENTS : SAMPLE_REPLICAS),
                             .connection = 1};
    struct pbft_msg msg;
    enum pbft_verdict verdict = side == 2 ? pbft_door_open_client(door, &from, frame, &msg)
                                          : pbft_door_open(door, &from, frame, &msg);
    if (verdict == PBFT_OK) check_passed(&msg, &from, frame);
    free(bytes);
    return 0;
}
