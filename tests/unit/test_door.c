/* The door: nothing passes but what is canonical, ours, and signed by whom it names. Each test runs
 * with Ed25519 and with the simulator's fast signatures. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/door.h"
#include "tests/sim/samples.h"

struct fixture {
    struct samples *s;
    struct pbft_door *door;
    struct pbft_msg msg;
};

static const struct pbft_peer replica = {PBFT_PEER_REPLICA, 3, 1};
static const struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 2};

static const uint8_t from_replicas[] = {PBFT_REQUEST,  PBFT_PRE_PREPARE, PBFT_PREPARE,
                                        PBFT_COMMIT,   PBFT_CHECKPOINT,  PBFT_VIEW_CHANGE,
                                        PBFT_NEW_VIEW, PBFT_STATUS_MSG,  PBFT_FETCH,
                                        PBFT_BATCH,    PBFT_PAGE,        PBFT_CERTIFICATE,
                                        PBFT_HEADER};
static const uint8_t from_clients[] = {PBFT_REQUEST, PBFT_QUERY, PBFT_RESULT_FETCH, PBFT_ADMIN};
static const uint8_t to_clients[] = {PBFT_REPLY, PBFT_QUERY_REPLY, PBFT_BUSY, PBFT_ADMIN_REPLY};

static void with_cache(const struct pbft_signer *signer, uint32_t entries, pbft_wants_fn wants,
                       void (*test)(struct fixture *))
{
    struct fixture f = {.s = samples_new(signer)};
    struct pbft_door_config config = {.cluster = &f.s->cluster,
                                      .signer = signer,
                                      .wants = wants,
                                      .wants_context = &f,
                                      .cache_entries = entries};
    f.door = pbft_door_new(&config);
    cr_assert_not_null(f.door);
    test(&f);
    pbft_door_free(f.door);
    samples_free(f.s);
}

static void with_both(void (*test)(struct fixture *))
{
    with_cache(&pbft_signer_ed25519, 0, NULL, test);
    with_cache(&pbft_signer_fast, 1024, NULL, test);
}

static enum pbft_verdict open_as(struct fixture *f, const struct pbft_peer *from,
                                 struct pbft_span frame)
{
    return pbft_door_open(f->door, from, frame, &f->msg);
}

/* Bytes of a frame of ours that the test may change. */
static uint8_t *writable(struct fixture *f, struct pbft_span frame)
{
    return f->s->memory + (frame.data - f->s->memory);
}

#define expect(f, from, frame, verdict)                                                            \
    do {                                                                                           \
        enum pbft_verdict got_ = open_as(f, from, frame);                                          \
        cr_assert_eq(got_, verdict, "%s, not %s", pbft_verdict_text(got_),                         \
                     pbft_verdict_text(verdict));                                                  \
    } while (0)

static bool contains(const uint8_t *set, size_t count, uint8_t type)
{
    return memchr(set, type, count) != NULL;
}

/* ---- who may say what ---- */

static void check_roles(struct fixture *f)
{
    for (unsigned type = 0; type < 64; type++) {
        if (pbft_type_text((uint8_t)type)[0] == '?') continue;
        samples_reset(f->s);
        struct pbft_span frame = samples_frame(f->s, (uint8_t)type);
        bool by_replica = contains(from_replicas, sizeof from_replicas, (uint8_t)type);
        bool by_client = contains(from_clients, sizeof from_clients, (uint8_t)type);
        bool reply = contains(to_clients, sizeof to_clients, (uint8_t)type);
        cr_assert_eq(open_as(f, &replica, frame), by_replica ? PBFT_OK : PBFT_DROP_TYPE, "%s",
                     pbft_type_text((uint8_t)type));
        cr_assert_eq(open_as(f, &client, frame), by_client ? PBFT_OK : PBFT_DROP_TYPE, "%s",
                     pbft_type_text((uint8_t)type));
        cr_assert_eq(pbft_door_open_client(f->door, &replica, frame, &f->msg),
                     reply ? PBFT_OK : PBFT_DROP_TYPE, "%s", pbft_type_text((uint8_t)type));
        cr_assert_eq(pbft_door_open_client(f->door, &client, frame, &f->msg), PBFT_DROP_TYPE);
    }
}

Test(door, each_kind_of_peer_has_its_types)
{
    with_both(check_roles);
}

static void check_relaying(struct fixture *f)
{
    /* Replica 3 hands on what replica 1 and client 1 signed. */
    struct pbft_digest d = {{1}};
    expect(f, &replica, samples_vote(f->s, PBFT_COMMIT, 0, 1, &d, 1), PBFT_OK);
    cr_assert_eq(f->msg.vote.sender, 1);
    struct pbft_span request = samples_request(f->s, &f->s->clients[1], 1, 1, 1);
    expect(f, &replica, request, PBFT_OK);
    cr_assert_eq(f->msg.request.client_index, 1);
    struct pbft_digest digest;
    pbft_digest_request(&digest, pbft_wire_signed_body(request));
    cr_assert(pbft_digest_equal(&digest, &f->msg.request.digest));
    /* A client speaks for itself only, and only if genesis lists it. */
    expect(f, &client, request, PBFT_DROP_SENDER);
    request = samples_request(f->s, &f->s->stranger, 1, 1, 1);
    expect(f, &client, request, PBFT_DROP_CLIENT);
    expect(f, &replica, request, PBFT_DROP_CLIENT);
    /* Signed by somebody else than it names. */
    request = samples_request(f->s, &f->s->clients[0], 1, 1, 1);
    samples_resign(f->s, request, &f->s->clients[1]);
    expect(f, &client, request, PBFT_DROP_SIGNATURE);
}

Test(door, signatures_count_not_channels)
{
    with_both(check_relaying);
}

/* ---- votes ---- */

static void check_every_bit(struct fixture *f)
{
    static const uint8_t votes[] = {PBFT_PREPARE, PBFT_COMMIT, PBFT_CHECKPOINT, PBFT_HEADER};
    for (size_t i = 0; i < sizeof votes; i++) {
        samples_reset(f->s);
        struct pbft_span frame = samples_frame(f->s, votes[i]);
        uint8_t *p = writable(f, frame);
        expect(f, &replica, frame, PBFT_OK);
        for (size_t at = 0; at < frame.size; at++) {
            unsigned step = f->s->signer == &pbft_signer_fast ? 1 : 5;
            for (unsigned bit = (unsigned)at % step; bit < 8; bit += step) {
                p[at] ^= (uint8_t)(1u << bit);
                enum pbft_verdict verdict = open_as(f, &replica, frame);
                /* One bit turns a PREPARE's type into PAGE, which holds any bytes. */
                bool page = at == 0 && p[0] == PBFT_PAGE;
                cr_assert(page || verdict != PBFT_OK, "%s, byte %zu, bit %u",
                          pbft_type_text(votes[i]), at, bit);
                p[at] ^= (uint8_t)(1u << bit);
            }
        }
        expect(f, &replica, frame, PBFT_OK);
    }
}

Test(door, every_bit_of_a_vote_counts)
{
    with_both(check_every_bit);
}

/* FAULTS 2.13. */
static void check_replay(struct fixture *f)
{
    struct pbft_digest d = {{1}};
    struct pbft_span frame = samples_vote(f->s, PBFT_PREPARE, 2, 9, &d, 1);
    uint8_t *p = writable(f, frame);
    p[0] = PBFT_COMMIT;
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    p[0] = PBFT_PREPARE;
    pbft_put_u32(p + 4, 1); /* another epoch, of which the frame says so */
    expect(f, &replica, frame, PBFT_DROP_EPOCH);
    f->s->cluster.epoch = 1; /* ... and which is ours by now */
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    f->s->cluster.epoch = 0;
    pbft_put_u32(p + 4, 0);
    expect(f, &replica, frame, PBFT_OK);
    f->s->cluster.id.bytes[0] ^= 1; /* another cluster with the same keys */
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    f->s->cluster.id.bytes[0] ^= 1;

    pbft_put_u32(p + 56, 2); /* another sender */
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    pbft_put_u32(p + 56, 4);
    expect(f, &replica, frame, PBFT_DROP_SENDER);
    pbft_put_u32(p + 56, PBFT_REPLICAS_MAX);
    expect(f, &replica, frame, PBFT_DROP_SENDER);
    pbft_put_u32(p + 56, UINT32_MAX);
    expect(f, &replica, frame, PBFT_DROP_SENDER);
}

Test(door, votes_are_not_replayed_as_something_else)
{
    with_both(check_replay);
}

/* ---- proposals ---- */

/* Where the only request's frame begins in a PRE-PREPARE. */
#define NESTED (8u + 48u + 64u + 12u + 4u)

static void check_pre_prepare(struct fixture *f)
{
    struct pbft_proposal proposal = samples_proposal(f->s, SAMPLE_TIME_NS, 1);
    struct pbft_span frame = samples_pre_prepare(f->s, 2, 9, &proposal);
    uint8_t *p = writable(f, frame);
    expect(f, &replica, frame, PBFT_OK);
    const struct pbft_pre_prepare *m = &f->msg.pre_prepare;
    cr_assert(pbft_digest_equal(&m->proposal.digest, &m->digest));
    cr_assert_eq(m->proposal.requests[0].client_index, 0);
    cr_assert_not(pbft_digest_is_zero(&m->proposal.requests[0].digest));

    p[120] ^= 1; /* FAULTS 2.16: the agreed time is inside the digest */
    expect(f, &replica, frame, PBFT_DROP_DIGEST);
    p[120] ^= 1;
    p[NESTED + 40] ^= 1; /* the session number of its request */
    expect(f, &replica, frame, PBFT_DROP_DIGEST);
    p[NESTED + 40] ^= 1;
    p[frame.size - 1] ^= 1; /* the client's signature is inside the digest as well */
    expect(f, &replica, frame, PBFT_DROP_DIGEST);
    p[frame.size - 1] ^= 1;
    p[NESTED + 4] ^= 1; /* the request's epoch is not, and must be ours */
    expect(f, &replica, frame, PBFT_DROP_EPOCH);
    p[NESTED + 4] ^= 1;
    p[8] ^= 1; /* view 3: another primary */
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    p[8] ^= 1;
    expect(f, &replica, frame, PBFT_OK);
}

Test(door, pre_prepare_binds_its_proposal)
{
    with_both(check_pre_prepare);
}

/* A primary that signs a proposal with one request that its client did not sign. */
static struct pbft_span forged_pre_prepare(struct fixture *f, const struct pbft_keypair *named,
                                           const struct pbft_keypair *signer)
{
    struct pbft_span request = samples_request(f->s, named, 1, 1, 1);
    samples_resign(f->s, request, signer);
    struct pbft_msg m = {.type = PBFT_PRE_PREPARE};
    struct pbft_request nested = {.frame = request};
    m.pre_prepare.view = 2;
    m.pre_prepare.seq = 1;
    m.pre_prepare.proposal.request_count = 1;
    m.pre_prepare.proposal.requests = &nested;
    uint8_t leaf[96];
    struct pbft_digest digest;
    pbft_digest_request(&digest, pbft_wire_signed_body(request));
    memcpy(leaf, digest.bytes, 32);
    memcpy(leaf + 32, request.data + request.size - 64, 64);
    pbft_digest_proposal(&m.pre_prepare.digest, 0, 1, (struct pbft_span){leaf, sizeof leaf});
    return samples_encode(f->s, &m, &f->s->replicas[2]);
}

static void check_forged_request(struct fixture *f)
{
    const struct pbft_keypair *clients = f->s->clients;
    expect(f, &replica, forged_pre_prepare(f, &clients[0], &clients[0]), PBFT_OK);
    expect(f, &replica, forged_pre_prepare(f, &clients[0], &clients[1]), PBFT_DROP_SIGNATURE);
    expect(f, &replica, forged_pre_prepare(f, &clients[0], &f->s->replicas[2]),
           PBFT_DROP_SIGNATURE);
    expect(f, &replica, forged_pre_prepare(f, &f->s->stranger, &f->s->stranger), PBFT_DROP_CLIENT);
}

Test(door, a_primary_cannot_invent_requests)
{
    with_both(check_forged_request);
}

static void check_primary_first(struct fixture *f)
{
    struct pbft_proposal proposal = samples_proposal(f->s, SAMPLE_TIME_NS, 6);
    struct pbft_span frame = samples_pre_prepare(f->s, 2, 9, &proposal);
    samples_resign(f->s, frame, &f->s->replicas[1]);
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    cr_assert_eq(pbft_door_stats(f->door)->verified, 1);
}

Test(door, the_primarys_signature_comes_first)
{
    with_both(check_primary_first);
}

static void check_batch(struct fixture *f)
{
    struct pbft_msg m = {.type = PBFT_BATCH};
    m.batch = samples_proposal(f->s, SAMPLE_TIME_NS, 2);
    struct pbft_digest digest = m.batch.digest;
    struct pbft_span frame = samples_encode(f->s, &m, NULL);
    uint8_t *p = writable(f, frame);
    expect(f, &replica, frame, PBFT_OK);
    cr_assert(pbft_digest_equal(&f->msg.batch.digest, &digest));
    p[8] ^= 1; /* another time: a valid proposal, of another digest */
    expect(f, &replica, frame, PBFT_OK);
    cr_assert_not(pbft_digest_equal(&f->msg.batch.digest, &digest));
    p[frame.size - 1] ^= 1;
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    p[frame.size - 1] ^= 1;
    p[8 + 12 + 4 + 4] ^= 1;
    expect(f, &replica, frame, PBFT_DROP_EPOCH);
}

Test(door, batches_are_named_by_their_contents)
{
    with_both(check_batch);
}

static void check_reopen(struct fixture *f)
{
    struct pbft_proposal proposal = samples_proposal(f->s, SAMPLE_TIME_NS, 3);
    struct pbft_proposal out;
    cr_assert_eq(pbft_door_reopen_proposal(f->door, proposal.bytes, NULL, 0, &out), PBFT_OK);
    cr_assert(pbft_digest_equal(&out.digest, &proposal.digest));
    cr_assert_eq(out.requests[1].client_index, 1);
    cr_assert_eq(pbft_door_stats(f->door)->verified, 0);
    struct pbft_span half = {proposal.bytes.data, proposal.bytes.size / 2};
    cr_assert_eq(pbft_door_reopen_proposal(f->door, half, NULL, 0, &out), PBFT_DROP_MALFORMED);

    struct pbft_digest known[3];
    memset(known, 0x5a, sizeof known);
    cr_assert_eq(pbft_door_reopen_proposal(f->door, half, known, 3, &out), PBFT_DROP_MALFORMED);
    cr_assert_eq(pbft_door_reopen_proposal(f->door, proposal.bytes, known, 3, &out), PBFT_OK);
    cr_assert(pbft_digest_equal(&out.requests[2].digest, &known[2]));
    cr_assert_eq(out.requests[1].client_index, 1);
}

Test(door, stored_proposals_are_reopened_without_signatures)
{
    with_both(check_reopen);
}

/* ---- certificates ---- */

static void check_commit_certificate(struct fixture *f)
{
    struct pbft_msg m = samples_certificate(f->s, PBFT_CERT_COMMIT, 9);
    struct pbft_certificate *c = &m.certificate;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_OK);
    cr_assert(pbft_digest_equal(&f->msg.certificate.proposal.digest, &c->digest));
    cr_assert_eq(f->msg.certificate.proposal.requests[1].client_index, 1);

    /* FAULTS 2.24: votes for another view, number or digest, or of another type, among them. */
    struct pbft_signatures good = c->signatures;
    struct pbft_digest other = {{1}};
    struct pbft_signatures bad[] = {
        samples_votes(f->s, PBFT_COMMIT, c->view + 1, 9, &c->digest, 8),
        samples_votes(f->s, PBFT_COMMIT, c->view, 8, &c->digest, 8),
        samples_votes(f->s, PBFT_COMMIT, c->view, 9, &other, 8),
        samples_votes(f->s, PBFT_PREPARE, c->view, 9, &c->digest, 8),
        samples_votes(f->s, PBFT_COMMIT, c->view, 9, &c->digest, 4), /* replica 2's twice */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t *mixed = samples_alloc(f->s, 192);
        memcpy(mixed, good.bytes, 128);
        memcpy(mixed + 128, bad[i].bytes, 64);
        c->signatures.bytes = mixed;
        expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_SIGNATURE);
    }
    c->signatures = samples_votes(f->s, PBFT_COMMIT, c->view, 9, &c->digest, 3);
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_CERTIFICATE);
    c->signatures = samples_votes(f->s, PBFT_COMMIT, c->view, 9, &c->digest, 15);
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_CERTIFICATE);
    c->signatures = good;

    struct pbft_proposal another = samples_proposal(f->s, SAMPLE_TIME_NS + 1, 2);
    struct pbft_proposal own = c->proposal;
    c->proposal = another;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_DIGEST);
    c->proposal = own;
    c->has_proposal = false;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_CERTIFICATE);
}

Test(door, commit_certificates_are_of_one_statement)
{
    with_both(check_commit_certificate);
}

static void check_null_certificate(struct fixture *f)
{
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    struct pbft_certificate *c = &m.certificate;
    c->kind = PBFT_CERT_COMMIT;
    c->view = 1;
    c->seq = 3;
    pbft_digest_null(&c->digest);
    c->signatures = samples_votes(f->s, PBFT_COMMIT, 1, 3, &c->digest, 14);
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_OK);
    c->has_proposal = true; /* FAULTS 4.12: missing and null differ */
    c->proposal = samples_proposal(f->s, 0, 0);
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_CERTIFICATE);
}

Test(door, the_null_request_has_no_proposal)
{
    with_both(check_null_certificate);
}

static void check_checkpoint_certificate(struct fixture *f)
{
    struct pbft_msg m = samples_certificate(f->s, PBFT_CERT_CHECKPOINT, 16);
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_OK);
    m.certificate.seq = 8;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_SIGNATURE);
    m.certificate.seq = 12;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_CERTIFICATE);
    m.certificate.seq = 16;
    m.certificate.digest.bytes[0] ^= 1;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_SIGNATURE);
}

Test(door, checkpoint_certificates_are_of_one_root)
{
    with_both(check_checkpoint_certificate);
}

/* ---- view change ---- */

static enum pbft_verdict open_view_change(struct fixture *f, const struct pbft_msg *m)
{
    return open_as(f, &replica,
                   samples_encode(f->s, m, &f->s->replicas[m->view_change.sender % 4]));
}

static void check_view_change(struct fixture *f)
{
    struct pbft_msg m = samples_view_change(f->s, 3, 1, 8, 3);
    struct pbft_view_change *vc = &m.view_change;
    cr_assert_eq(open_view_change(f, &m), PBFT_OK);
    struct pbft_digest digest;
    pbft_digest_view_change(&digest, f->msg.view_change.body);
    cr_assert(pbft_digest_equal(&digest, &f->msg.view_change.digest));

    vc->stable_root.bytes[0] ^= 1;
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_SIGNATURE, "forged root");
    vc->stable_root.bytes[0] ^= 1;
    vc->prepared[1].digest.bytes[0] ^= 1;
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_SIGNATURE, "forged P digest");
    vc->prepared[1].digest.bytes[0] ^= 1;

    /* A claim of a higher view needs votes of that view (FAULTS 4.7). */
    struct pbft_prepared good = vc->prepared[0];
    vc->prepared[0].view = 1;
    cr_assert_neq(open_view_change(f, &m), PBFT_OK);
    vc->prepared[0] = samples_prepared(f->s, 3, 9, &good.digest);
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_VIEW);
    vc->prepared[0] = good;
    const uint8_t *real = good.pre_prepare_signature;
    vc->prepared[0].pre_prepare_signature = good.prepares.bytes;
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_SIGNATURE, "no PRE-PREPARE by the primary");
    vc->prepared[0].pre_prepare_signature = real;
    /* COMMITs are no PREPAREs. */
    vc->prepared[0].prepares =
        samples_votes(f->s, PBFT_COMMIT, good.view, good.seq, &good.digest, good.prepares.signers);
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_SIGNATURE);
    vc->prepared[0] = good;
    cr_assert_eq(open_view_change(f, &m), PBFT_OK);

    m = samples_view_change(f->s, 1, 2, 0, 0); /* at boot */
    cr_assert_eq(open_view_change(f, &m), PBFT_OK);
    vc->stable_root.bytes[0] ^= 1;
    cr_assert_eq(open_view_change(f, &m), PBFT_DROP_CERTIFICATE);
}

Test(door, view_changes_prove_what_they_claim)
{
    with_both(check_view_change);
}

static void check_view_change_sender_first(struct fixture *f)
{
    struct pbft_msg m = samples_view_change(f->s, 3, 1, 8, 8);
    struct pbft_span frame = samples_encode(f->s, &m, &f->s->replicas[2]);
    expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    cr_assert_eq(pbft_door_stats(f->door)->verified, 1);
    samples_resign(f->s, frame, &f->s->replicas[1]);
    expect(f, &replica, frame, PBFT_OK);
    cr_assert_eq(pbft_door_stats(f->door)->verified, 1 + 1 + 3 + 8 * 3);
}

Test(door, a_view_change_is_its_senders_before_it_is_expensive)
{
    with_both(check_view_change_sender_first);
}

/* FAULTS 2.18, PROTOCOL 19. */
static void check_new_view(struct fixture *f)
{
    struct pbft_msg m = samples_new_view(f->s, 3, 8, 3);
    struct pbft_new_view *nv = &m.new_view;
    const struct pbft_keypair *primary = &f->s->replicas[3];
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_OK);
    struct pbft_digest digest;
    pbft_digest_new_view(&digest, f->msg.new_view.body);
    cr_assert(pbft_digest_equal(&digest, &f->msg.new_view.digest));

    expect(f, &replica, samples_encode(f->s, &m, &f->s->replicas[2]), PBFT_DROP_SIGNATURE);
    nv->min_s = 0; /* O moved to other numbers */
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_DROP_SIGNATURE);
    nv->min_s = 8;
    nv->view = 7; /* the same primary's next turn */
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_DROP_SIGNATURE);
    nv->view = 4;
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_DROP_ROLE);
    nv->view = 3;
    nv->sender = 2;
    expect(f, &replica, samples_encode(f->s, &m, &f->s->replicas[2]), PBFT_DROP_ROLE);
    nv->sender = 3;
    nv->signers = 6; /* two VIEW-CHANGEs */
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_DROP_CERTIFICATE);
    nv->signers = 14;
    size_t entry = PBFT_NEW_VIEW_ENTRY_BYTES;
    uint8_t *entries = samples_alloc(f->s, 3 * entry);
    memcpy(entries, nv->entries, 3 * entry);
    entries[2 * entry] ^= 1;
    nv->entries = entries;
    expect(f, &replica, samples_encode(f->s, &m, primary), PBFT_DROP_SIGNATURE);
}

Test(door, new_views_sign_each_entry)
{
    with_both(check_new_view);
}

/* Any changed bit of anything that is signed as a whole. */
static void check_any_bit(struct fixture *f)
{
    static const uint8_t kinds[] = {PBFT_REQUEST, PBFT_PRE_PREPARE, PBFT_CERTIFICATE,
                                    PBFT_VIEW_CHANGE, PBFT_NEW_VIEW};
    for (size_t i = 0; i < sizeof kinds; i++) {
        samples_reset(f->s);
        struct pbft_span frame = samples_frame(f->s, kinds[i]);
        uint8_t *p = writable(f, frame);
        /* Ed25519 is slow: a sample of the bits. */
        size_t step = f->s->signer == &pbft_signer_fast ? 1 : 31;
        for (size_t bit = 0; bit < frame.size * 8; bit += step) {
            p[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_neq(open_as(f, &replica, frame), PBFT_OK, "%s, bit %zu",
                          pbft_type_text(kinds[i]), bit);
            p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        expect(f, &replica, frame, PBFT_OK);
    }
}

Test(door, every_bit_of_a_signed_message_counts)
{
    with_both(check_any_bit);
}

/* ---- wants, cache, counters ---- */

static unsigned asked;
static struct pbft_claim last_claim;

static bool never(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim)
{
    (void)context;
    cr_assert_eq(from->index, 3);
    asked++;
    last_claim = *claim;
    return false;
}

static void check_unwanted(struct fixture *f)
{
    for (size_t i = 0; i < sizeof from_replicas; i++) {
        samples_reset(f->s);
        asked = 0;
        struct pbft_span frame = samples_frame(f->s, from_replicas[i]);
        expect(f, &replica, frame, PBFT_DROP_UNWANTED);
        cr_assert_eq(asked, 1);
        cr_assert_eq(last_claim.type, from_replicas[i]);
    }
    /* What is not for us is not asked about. */
    asked = 0;
    struct pbft_span frame = samples_frame(f->s, PBFT_COMMIT);
    writable(f, frame)[4] ^= 1;
    expect(f, &replica, frame, PBFT_DROP_EPOCH);
    expect(f, &replica, samples_frame(f->s, PBFT_QUERY), PBFT_DROP_TYPE);
    cr_assert_eq(asked, 0);
    const struct pbft_door_stats *stats = pbft_door_stats(f->door);
    cr_assert_eq(stats->verified, 0);
    cr_assert_eq(stats->cache_hits, 0);
    cr_assert_eq(stats->passed, 0);
    cr_assert_eq(stats->dropped[PBFT_DROP_UNWANTED], sizeof from_replicas);
    cr_assert_eq(stats->dropped[PBFT_DROP_EPOCH], 1);
    cr_assert_eq(stats->dropped[PBFT_DROP_TYPE], 1);
}

Test(door, unwanted_frames_cost_no_signature)
{
    with_cache(&pbft_signer_ed25519, 64, never, check_unwanted);
    with_cache(&pbft_signer_fast, 64, never, check_unwanted);
}

static bool any_but_this_batch(const void *context, const struct pbft_peer *from,
                               const struct pbft_claim *claim)
{
    (void)context;
    (void)from;
    last_claim = *claim;
    return ++asked == 1;
}

static void check_unwanted_batch(struct fixture *f)
{
    struct pbft_msg m = {.type = PBFT_BATCH};
    m.batch = samples_proposal(f->s, SAMPLE_TIME_NS, 2);
    asked = 0;
    expect(f, &replica, samples_encode(f->s, &m, NULL), PBFT_DROP_UNWANTED);
    cr_assert_eq(asked, 2);
    cr_assert(pbft_digest_equal(&last_claim.digest, &m.batch.digest));
    cr_assert_eq(pbft_door_stats(f->door)->verified, 0);
}

Test(door, batches_are_asked_about_by_digest)
{
    with_cache(&pbft_signer_fast, 64, any_but_this_batch, check_unwanted_batch);
}

static void check_cache(struct fixture *f)
{
    const struct pbft_door_stats *stats = pbft_door_stats(f->door);
    struct pbft_msg m = samples_certificate(f->s, PBFT_CERT_COMMIT, 9);
    for (pbft_id i = 0; i < 3; i++) /* the votes come alone first */
        if (pbft_signers_has(m.certificate.signatures.signers, i))
            expect(f, &replica, samples_vote(f->s, PBFT_COMMIT, 2, 9, &m.certificate.digest, i),
                   PBFT_OK);
    uint64_t before = stats->verified;
    cr_assert_eq(before, 2);
    struct pbft_span frame = samples_encode(f->s, &m, NULL);
    expect(f, &replica, frame, PBFT_OK);
    cr_assert_eq(stats->verified, before + 1 + 2, "the third vote and two clients");
    cr_assert_eq(stats->cache_hits, 2);
    expect(f, &replica, frame, PBFT_OK);
    cr_assert_eq(stats->verified, before + 3, "nothing is verified twice");
    cr_assert_eq(stats->cache_hits, 2 + 5);

    /* What failed is not remembered as good, nor what is like the good. */
    uint8_t *p = writable(f, frame);
    p[65] ^= 1;
    for (int i = 0; i < 3; i++)
        expect(f, &replica, frame, PBFT_DROP_SIGNATURE);
    p[65] ^= 1;
    expect(f, &replica, frame, PBFT_OK);
}

Test(door, verified_signatures_are_remembered)
{
    with_cache(&pbft_signer_ed25519, 256, NULL, check_cache);
    with_cache(&pbft_signer_fast, 256, NULL, check_cache);
}

static void check_small_cache(struct fixture *f)
{
    struct pbft_digest d = {{1}};
    for (int round = 0; round < 3; round++)
        for (pbft_seq seq = 1; seq <= 500; seq++) {
            samples_reset(f->s);
            expect(f, &replica, samples_vote(f->s, PBFT_COMMIT, 0, seq, &d, 1), PBFT_OK);
        }
    const struct pbft_door_stats *stats = pbft_door_stats(f->door);
    cr_assert_eq(stats->passed, 1500);
    cr_assert_eq(stats->verified + stats->cache_hits, 1500);
    cr_assert(stats->verified > 1400, "four entries cannot hold five hundred");
}

Test(door, the_cache_is_bounded)
{
    with_cache(&pbft_signer_fast, 1, NULL, check_small_cache);
    with_cache(&pbft_signer_fast, 0, NULL, check_small_cache);
}

/* ---- evidence ---- */

static void check_evidence(struct fixture *f)
{
    static const uint8_t kinds[] = {PBFT_PRE_PREPARE, PBFT_HEADER,      PBFT_PREPARE, PBFT_COMMIT,
                                    PBFT_CHECKPOINT,  PBFT_VIEW_CHANGE, PBFT_NEW_VIEW};
    static const pbft_id signers[] = {2, 2, 1, 1, 3, 1, 3};
    for (size_t i = 0; i < sizeof kinds; i++) {
        samples_reset(f->s);
        struct pbft_span frame = samples_frame(f->s, kinds[i]);
        struct pbft_span body = pbft_wire_signed_body(frame);
        const uint8_t *signature = frame.data + pbft_wire_signature_offset(frame);
        for (pbft_id id = 0; id < 6; id++)
            cr_assert_eq(pbft_door_verify(f->door, kinds[i], id, body, signature), id == signers[i],
                         "%s by %u", pbft_type_text(kinds[i]), id);
        for (unsigned type = 0; type < 256; type++) {
            bool same = type == kinds[i] || (kinds[i] == PBFT_PRE_PREPARE && type == PBFT_HEADER) ||
                        (kinds[i] == PBFT_HEADER && type == PBFT_PRE_PREPARE);
            cr_assert_eq(pbft_door_verify(f->door, (uint8_t)type, signers[i], body, signature),
                         same, "%s as %u", pbft_type_text(kinds[i]), type);
        }
        struct pbft_span shorter = {body.data, body.size - 1};
        cr_assert_not(pbft_door_verify(f->door, kinds[i], signers[i], shorter, signature));
        shorter.size = 0;
        cr_assert_not(pbft_door_verify(f->door, kinds[i], signers[i], shorter, signature));
    }
}

Test(door, evidence_is_verified_from_bodies)
{
    with_both(check_evidence);
}

/* ---- the client's side ---- */

static enum pbft_verdict open_reply(struct fixture *f, const struct pbft_msg *m)
{
    return pbft_door_open_client(f->door, &replica, samples_encode(f->s, m, NULL), &f->msg);
}

static void check_replies(struct fixture *f)
{
    struct pbft_msg m = samples_reply(f->s, true);
    cr_assert_eq(open_reply(f, &m), PBFT_OK);
    m.reply.result.bytes[0] ^= 1;
    cr_assert_eq(open_reply(f, &m), PBFT_DROP_DIGEST);
    m.reply.result.bytes[0] ^= 1;
    m.reply.outcome = PBFT_OUTCOME_INVALID; /* the outcome is inside the digest */
    cr_assert_eq(open_reply(f, &m), PBFT_DROP_DIGEST);
    m = samples_reply(f->s, false);
    m.reply.result.bytes[0] ^= 1;
    cr_assert_eq(open_reply(f, &m), PBFT_OK, "a digest alone is a claim; q of them decide");
    m.epoch = 1;
    cr_assert_eq(open_reply(f, &m), PBFT_DROP_EPOCH);

    uint8_t body[] = {1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'v'};
    m = (struct pbft_msg){.type = PBFT_QUERY_REPLY};
    m.query_reply.flags = PBFT_REPLY_HAS_BODY;
    m.query_reply.mark = 7;
    m.query_reply.body = (struct pbft_span){body, sizeof body};
    pbft_digest_query(&m.query_reply.result, 0, 7, m.query_reply.body);
    cr_assert_eq(open_reply(f, &m), PBFT_OK);
    m.query_reply.mark = 8; /* PROTOCOL 32: the mark is matched on, hence bound */
    cr_assert_eq(open_reply(f, &m), PBFT_DROP_DIGEST);
    m.query_reply.mark = 7;
    cr_assert_eq(open_reply(f, &m), PBFT_OK);
    body[4] = 6; /* each one of a bundle's is */
    cr_assert_eq(open_reply(f, &m), PBFT_DROP_DIGEST);
    cr_assert_eq(pbft_door_stats(f->door)->verified, 0);
}

Test(door, results_hash_to_their_digests)
{
    with_both(check_replies);
}

/* ---- hostile bytes ---- */

static void check_noise(struct fixture *f)
{
    uint64_t state = UINT64_C(0x646f6f72);
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof from_replicas; i++) {
        samples_reset(f->s);
        struct pbft_span frame = samples_frame(f->s, from_replicas[i]);
        for (int round = 0; round < 300; round++) {
            uint8_t *copy = malloc(frame.size);
            memcpy(copy, frame.data, frame.size);
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
            size_t size = (state >> 33) % (frame.size + 1);
            size_t at = (state >> 17) % frame.size;
            copy[at] = (uint8_t)(state >> 56);
            uint8_t *exact = malloc(size > 0 ? size : 1);
            memcpy(exact, copy, size);
            (void)open_as(f, &replica, (struct pbft_span){exact, size});
            (void)open_as(f, &client, (struct pbft_span){copy, frame.size});
            total += 2;
            free(exact);
            free(copy);
        }
    }
    const struct pbft_door_stats *stats = pbft_door_stats(f->door);
    uint64_t counted = stats->passed;
    for (unsigned i = 0; i < PBFT_VERDICT_COUNT; i++)
        counted += stats->dropped[i];
    cr_assert_eq(counted, total, "every frame is counted once");
    cr_assert_eq(stats->dropped[PBFT_OK], 0);
}

Test(door, broken_frames_are_counted_and_harmless)
{
    with_cache(&pbft_signer_fast, 64, NULL, check_noise);
}
