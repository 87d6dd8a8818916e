/* PROTOCOL 1-5, 10, 17: what is signed, what is hashed, who may come in, what the door demands. */
#include "crypto/channel.h"
#include "crypto/signed_body.h"
#include "pbft/certificate.h"
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

/* Every test of the rules, in whatever file. */
TestSuite(protocol, .timeout = 60);

static struct pbft_door *open_door(const struct pbft_cluster *cluster, uint32_t cache)
{
    struct pbft_door_config config = {.cluster = cluster,
                                      .signer = &pbft_signer_fast,
                                      .cache_entries = cache};
    struct pbft_door *door = pbft_door_new(&config);
    cr_assert_not_null(door);
    return door;
}

static enum pbft_verdict enter(struct pbft_door *door, pbft_id from, struct pbft_frame *frame)
{
    struct pbft_peer peer = {PBFT_PEER_REPLICA, from, 1};
    struct pbft_msg m;
    return pbft_door_open(door, &peer, pbft_frame_span(frame), &m);
}

/* Opens and lets go of the frame. */
static enum pbft_verdict enter_once(struct pbft_door *door, pbft_id from, struct pbft_frame *frame)
{
    enum pbft_verdict verdict = enter(door, from, frame);
    pbft_frame_release(frame);
    return verdict;
}

/* The same replicas and clients under another genesis. */
static struct pbft_cluster sibling(const struct net *t, uint8_t nonce, pbft_epoch epoch)
{
    struct pbft_cluster c = t->cluster;
    char error[256];
    c.nonce[0] = nonce;
    c.epoch = epoch;
    cr_assert_eq(pbft_cluster_seal(&c, error), PBFT_STATUS_OK, "%s", error);
    return c;
}

/* PROTOCOL 1: signed bytes = domain tag (type, format version), cluster id, epoch, body. */
Test(protocol, r1_signed_bytes_name_type_version_cluster_epoch_body)
{
    struct pbft_digest cluster;
    memset(&cluster, 0xC1, sizeof cluster);
    uint8_t body[48], out[PBFT_SIGNED_MAX_BYTES], tags[64][PBFT_TAG_BYTES];
    memset(body, 0xB0, sizeof body);
    uint8_t count = 0;
    for (uint8_t type = PBFT_PRE_PREPARE; type <= PBFT_NEW_VIEW; type++, count++) {
        size_t size = pbft_wire_signed_bytes(type, &cluster, 0x04030201,
                                             (struct pbft_span){body, sizeof body}, out);
        cr_assert_eq(size, 16u + 32u + 4u + sizeof body);
        cr_assert_eq(memcmp(out + 16, cluster.bytes, 32), 0, "the cluster id stands in it");
        cr_assert_eq(memcmp(out + 48, "\x01\x02\x03\x04", 4), 0, "the epoch stands in it");
        cr_assert_eq(memcmp(out + 52, body, sizeof body), 0);
        cr_assert_not_null(memchr(out, PBFT_WIRE_VERSION, 16), "so does the format version");
        memcpy(tags[count], out, PBFT_TAG_BYTES);
        for (uint8_t other = 0; other < count; other++)
            cr_assert_neq(memcmp(tags[other], out, PBFT_TAG_BYTES), 0,
                          "types %u and %u share a tag", type, other + PBFT_PRE_PREPARE);
    }
}

/* PROTOCOL 1. Else: a 32-byte body and a digest are confusable. */
Test(protocol, r1_what_is_hashed_is_decided_by_type_never_by_length)
{
    struct pbft_digest cluster = {{7}};
    uint8_t body[PBFT_BODY_MAX_BYTES], out[PBFT_SIGNED_MAX_BYTES];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i + 1);
    static const struct {
        uint8_t type;
        bool digest;
    } types[] = {{PBFT_REQUEST, true}, {PBFT_PRE_PREPARE, false}, {PBFT_PREPARE, false},
                 {PBFT_COMMIT, false}, {PBFT_CHECKPOINT, false},  {PBFT_VIEW_CHANGE, true},
                 {PBFT_NEW_VIEW, true}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        cr_assert_eq(pbft_wire_signs_digest(types[i].type), types[i].digest);
        for (size_t size = 1; size <= sizeof body; size++) {
            struct pbft_span m = pbft_signed_message(types[i].type, &cluster, 0,
                                                     (struct pbft_span){body, size}, out);
            bool raw = m.size == 52 + size && memcmp(out + 52, body, size) == 0;
            cr_assert_eq(raw, !types[i].digest, "type %u, %zu bytes", types[i].type, size);
            cr_assert(raw || m.size == 52 + PBFT_DIGEST_BYTES);
        }
    }
}

/* PROTOCOL 1, FAULTS 2.13: a vote replayed as another type, in another cluster or another epoch. */
Test(protocol, r1_a_vote_counts_for_its_type_cluster_and_epoch_only)
{
    struct net *t = net_new(4);
    struct pbft_cluster other_nonce = sibling(t, 9, 0), other_epoch = sibling(t, 0, 1);
    other_epoch.id = t->cluster.id; /* an epoch that the id does not cover */
    struct pbft_door *door = open_door(&t->cluster, 64);
    struct pbft_door *nonce = open_door(&other_nonce, 64), *epoch = open_door(&other_epoch, 64);
    struct pbft_digest digest = {{1, 2, 3}};

    struct pbft_frame *vote = net_vote(t, PBFT_PREPARE, 1, 0, 1, &digest);
    cr_assert_eq(enter(door, 1, vote), PBFT_OK);
    cr_assert_eq(enter(nonce, 1, vote), PBFT_DROP_SIGNATURE);
    cr_assert_eq(enter(epoch, 1, vote), PBFT_DROP_EPOCH);
    vote->bytes[4] = 1; /* the header's epoch is what a recorder would change */
    cr_assert_eq(enter(epoch, 1, vote), PBFT_DROP_SIGNATURE);
    vote->bytes[4] = 0;
    vote->bytes[0] = PBFT_COMMIT;
    cr_assert_eq(enter(door, 1, vote), PBFT_DROP_SIGNATURE);
    pbft_frame_release(vote);

    pbft_door_free(door);
    pbft_door_free(nonce);
    pbft_door_free(epoch);
    pbft_cluster_unseal(&other_nonce);
    pbft_cluster_unseal(&other_epoch);
    net_free(t);
}

static struct pbft_digest sealed_id(struct pbft_cluster *c)
{
    char error[256];
    cr_assert_eq(pbft_cluster_seal(c, error), PBFT_STATUS_OK, "%s", error);
    pbft_cluster_unseal(c);
    return c->id;
}

/* PROTOCOL 2: service name, parameters, ordered replica keys, client keys, nonce; nothing else. A
 * restored snapshot has a new nonce, hence is another cluster. */
Test(protocol, r2_cluster_id_covers_what_genesis_fixes)
{
    struct net *t = net_new(4);
    const struct pbft_digest id = t->cluster.id;
    struct pbft_cluster c;
    struct pbft_digest changed[8];
    unsigned count = 0;

    c = t->cluster;
    cr_assert(pbft_digest_equal(&id, &(struct pbft_digest[]){sealed_id(&c)}[0]));
    strcpy(c.service, "other");
    changed[count++] = sealed_id(&c);
    c = t->cluster;
    c.params.client_quota++;
    changed[count++] = sealed_id(&c);
    c = t->cluster;
    c.params.view_timeout_max_ns++;
    changed[count++] = sealed_id(&c);
    c = t->cluster; /* the order of the replicas decides who is primary */
    c.replicas[0] = t->cluster.replicas[1];
    c.replicas[1] = t->cluster.replicas[0];
    changed[count++] = sealed_id(&c);
    c = t->cluster;
    c.client_count--;
    changed[count++] = sealed_id(&c);
    struct pbft_public_key clients[NET_CLIENTS];
    memcpy(clients, t->client_public, sizeof clients);
    clients[0] = t->client_public[1]; /* the first is the admin's */
    clients[1] = t->client_public[0];
    c = t->cluster;
    c.clients = clients;
    changed[count++] = sealed_id(&c);
    c = t->cluster;
    c.nonce[31] ^= 1;
    changed[count++] = sealed_id(&c);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_not(pbft_digest_equal(&changed[i], &id), "change %u does not show", i);
        for (unsigned k = 0; k < i; k++)
            cr_assert_not(pbft_digest_equal(&changed[i], &changed[k]));
    }
    net_free(t);
}

/* PROTOCOL 3. Else: one batch with two times commits everywhere and leases diverge. */
Test(protocol, r3_proposal_digest_covers_the_agreed_time_and_not_view_or_seq)
{
    struct net *t = net_new(4);
    struct pbft_door *door = open_door(&t->cluster, 64);
    struct net_batch early = net_batch_at(t, 1000, 0, 1, 1, "a");
    struct net_batch late = net_batch_at(t, 1001, 0, 1, 1, "a");
    struct net_batch other = net_batch_at(t, 1000, 0, 1, 1, "b");
    cr_assert_not(pbft_digest_equal(&early.digest, &late.digest));
    cr_assert_not(pbft_digest_equal(&early.digest, &other.digest));

    /* The same digest in every view and at every n: a re-proposal keeps it. */
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &early)), PBFT_OK);
    cr_assert_eq(enter_once(door, 1, net_pre_prepare(t, 5, 7, &early)), PBFT_OK);

    /* A body that has another time, or another request, under a digest that is signed. */
    late.digest = early.digest;
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &late)), PBFT_DROP_DIGEST);
    other.digest = early.digest;
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &other)), PBFT_DROP_DIGEST);
    cr_assert_eq(enter_once(door, 0, net_commit_certificate(t, 0, 1, &late, 7)), PBFT_DROP_DIGEST);
    pbft_door_free(door);
    net_free(t);
}

/* ---- channels ---- */

struct pair {
    struct pbft_channel *caller, *answerer;
    uint8_t hello[PBFT_HANDSHAKE_MAX_BYTES], welcome[PBFT_HANDSHAKE_MAX_BYTES];
    uint8_t finish[PBFT_HANDSHAKE_MAX_BYTES];
    size_t hello_size, welcome_size, finish_size;
};

static enum pbft_channel_step feed(struct pbft_channel *c, const uint8_t *in, size_t size,
                                   uint8_t *out, size_t *out_size)
{
    return pbft_channel_step(c, (struct pbft_span){in, size}, out, out_size);
}

static void call(const struct pbft_cluster *at, const struct pbft_cluster *to,
                 const struct pbft_keypair *from, const struct pbft_keypair *who, struct pair *p)
{
    p->caller = pbft_channel_new(at, from, true, &who->public, 0);
    p->answerer = pbft_channel_new(to, who, false, NULL, PBFT_PEER_REPLICA | PBFT_PEER_CLIENT);
    cr_assert(p->caller != NULL && p->answerer != NULL);
    p->hello_size = pbft_channel_hello(p->caller, p->hello);
    cr_assert_gt(p->hello_size, 0u);
}

static void hang_up(struct pair *p)
{
    pbft_channel_free(p->caller);
    pbft_channel_free(p->answerer);
}

static bool connect_pair(struct pair *p)
{
    size_t none;
    uint8_t unused[PBFT_HANDSHAKE_MAX_BYTES];
    return feed(p->answerer, p->hello, p->hello_size, p->welcome, &p->welcome_size) ==
               PBFT_CHANNEL_MORE &&
           feed(p->caller, p->welcome, p->welcome_size, p->finish, &p->finish_size) ==
               PBFT_CHANNEL_DONE &&
           feed(p->answerer, p->finish, p->finish_size, unused, &none) == PBFT_CHANNEL_DONE;
}

/* PROTOCOL 4: whatever of the handshake is changed on its way (role, identities, ephemeral keys,
 * nonces, cluster id, epoch), the two sides never both open. */
Test(protocol, r4_the_handshake_signs_everything_that_was_said)
{
    struct net *t = net_new(4);
    static struct pair p;
    for (size_t at = 0; at < 188 + 112; at++) {
        call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &p);
        cr_assert_eq(p.hello_size, 188);
        if (at < 188) p.hello[at] ^= 0x10;
        bool failed = feed(p.answerer, p.hello, p.hello_size, p.welcome, &p.welcome_size) ==
                      PBFT_CHANNEL_FAIL;
        if (!failed) {
            if (at >= 188) p.welcome[at - 188] ^= 0x10;
            failed = feed(p.caller, p.welcome, p.welcome_size, p.finish, &p.finish_size) ==
                     PBFT_CHANNEL_FAIL;
        }
        cr_assert(failed, "byte %zu of the handshake can be changed", at);
        hang_up(&p);
    }
    net_free(t);
}

/* PROTOCOL 4: both sides prove themselves; no proof serves twice or for the other role; another
 * genesis is another world. Keys follow from the transcript. */
Test(protocol, r4_proofs_serve_once_for_one_role_in_one_cluster)
{
    struct net *t = net_new(4);
    static struct pair a, b;
    uint8_t out[PBFT_HANDSHAKE_MAX_BYTES];
    size_t size;

    call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &a);
    cr_assert(connect_pair(&a));
    cr_assert_eq(pbft_channel_peer(a.caller).index, 2u);
    cr_assert_eq(pbft_channel_peer(a.answerer).index, 0u);
    /* A recorded FINISH does not open a second channel. */
    call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &b);
    cr_assert_eq(feed(b.answerer, a.hello, a.hello_size, b.welcome, &b.welcome_size),
                 PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(b.answerer, a.finish, a.finish_size, out, &size), PBFT_CHANNEL_FAIL);
    hang_up(&b);
    /* Nor does the answerer's own signature, handed back as the caller's. */
    call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &b);
    cr_assert_eq(feed(b.answerer, b.hello, b.hello_size, b.welcome, &b.welcome_size),
                 PBFT_CHANNEL_MORE);
    memcpy(a.finish + 8, b.welcome + 112, PBFT_SIGNATURE_BYTES);
    cr_assert_eq(feed(b.answerer, a.finish, a.finish_size, out, &size), PBFT_CHANNEL_FAIL);
    hang_up(&b);
    /* Two sessions of one pair have different keys. */
    call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &b);
    cr_assert(connect_pair(&b));
    uint8_t record[8 + PBFT_CHANNEL_OVERHEAD], plain[8] = "payload";
    pbft_channel_seal(a.caller, (struct pbft_span){plain, sizeof plain}, record);
    struct pbft_span sealed = {record, sizeof record};
    uint8_t opened[8];
    cr_assert(pbft_channel_open_record(a.answerer, sealed, opened));
    cr_assert_not(pbft_channel_open_record(b.answerer, sealed, opened));
    hang_up(&a);
    hang_up(&b);

    struct pbft_cluster restored = sibling(t, 77, 0);
    call(&restored, &t->cluster, &t->keys[0], &t->keys[2], &a);
    cr_assert_eq(feed(a.answerer, a.hello, a.hello_size, out, &size), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(a.answerer), PBFT_CHANNEL_CLUSTER);
    hang_up(&a);
    pbft_cluster_unseal(&restored);
    net_free(t);
}

/* PROTOCOL 5, FAULTS 2.30: another verdict on the odd signatures is refused, with a clear word. */
Test(protocol, r5_another_verdict_vector_is_refused_by_name)
{
    struct net *t = net_new(4);
    static struct pair p;
    uint8_t out[PBFT_HANDSHAKE_MAX_BYTES];
    size_t size;
    cr_assert_neq(pbft_crypto_verdicts(), 0u, "a vector that says nothing compares nothing");
    call(&t->cluster, &t->cluster, &t->keys[0], &t->keys[2], &p);
    p.hello[20] ^= 4;
    (void)feed(p.answerer, p.hello, p.hello_size, p.welcome, &p.welcome_size);
    cr_assert_eq(pbft_channel_failure(p.answerer), PBFT_CHANNEL_VERDICTS);
    cr_assert_not_null(strstr(pbft_channel_reason(p.answerer), "verdict vectors differ"));
    uint8_t finish[72] = "pbftfi01";
    cr_assert_eq(feed(p.answerer, finish, sizeof finish, out, &size), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(p.answerer), PBFT_CHANNEL_VERDICTS);
    hang_up(&p);
    net_free(t);
}

/* ---- PROTOCOL 10 ---- */

/* PROTOCOL 10: a proposal's validity is a function of its bytes. Sessions, order of t and what was
 * executed play no part; a client's signature and a listed key do. */
Test(protocol, r10_a_proposal_is_judged_by_its_bytes_alone)
{
    struct net *t = net_new(4);
    struct pbft_door *door = open_door(&t->cluster, 64);
    struct net_batch stale = net_batch_at(t, 1, 0, 1, 1, "ordered long ago");
    struct net_batch huge = net_batch_at(t, 1, 1, UINT64_MAX, UINT64_MAX, "far ahead");
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &stale)), PBFT_OK);
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &stale)), PBFT_OK, "and again");
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 2, &huge)), PBFT_OK);

    /* The digest covers a client's signature too, so a primary can name a forged one. */
    struct net_batch forged = net_batch_at(t, 1, 0, 1, 1, "forged");
    forged.bytes[forged.size - 1] ^= 1;
    uint8_t leaf[PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES];
    struct pbft_digest request;
    struct pbft_span frame = {forged.bytes + 16, forged.size - 16};
    pbft_digest_request(&request, pbft_wire_signed_body(frame));
    memcpy(leaf, request.bytes, sizeof request);
    memcpy(leaf + PBFT_DIGEST_BYTES, forged.bytes + forged.size - PBFT_SIGNATURE_BYTES,
           PBFT_SIGNATURE_BYTES);
    pbft_digest_proposal(&forged.digest, forged.time_ns, 1, (struct pbft_span){leaf, sizeof leaf});
    cr_assert_eq(enter_once(door, 0, net_pre_prepare(t, 0, 1, &forged)), PBFT_DROP_SIGNATURE);
    pbft_door_free(door);
    net_free(t);
}

/* PROTOCOL 10. Else: a lagging backup refuses a correct batch and there is no quorum. Here two
 * backups have executed the request already; the primary orders it again, and everybody agrees. */
Test(protocol, r10_a_repeated_request_is_ordered_and_executes_once)
{
    struct net *t = net_new(4);
    net_puppet(t, 0);
    for (pbft_seq seq = 1; seq <= 2; seq++) {
        struct net_batch b = net_batch(t, 0, 1, 1, "the same");
        net_send(t, 0, 0, net_pre_prepare(t, 0, seq, &b));
        net_run(t, 20);
    }
    cr_assert(net_run_executed(t, 0, 2, 200), "a replica judged service state while voting");
    for (pbft_id id = 1; id < 4; id++) {
        cr_assert_eq(t->nodes[id].state.executed, 1u);
        cr_assert_eq(net_info(t, id).view, 0u);
    }
    net_free(t);
}

/* ---- PROTOCOL 17 ---- */

/* PROTOCOL 17: q distinct signers of one statement; structure before signatures; the signed bytes
 * are rebuilt from the fields (FAULTS 2.9, 2.24). */
Test(protocol, r17_certificates_need_a_quorum_of_distinct_replicas)
{
    struct net *t = net_new(6); /* f = 1, q = 4: 2f+1 would do for less */
    struct pbft_door *door = open_door(&t->cluster, 1024);
    const struct pbft_door_stats *stats = pbft_door_stats(door);
    struct net_batch b = net_batch(t, 0, 1, 1, "op");
    cr_assert_eq(pbft_quorum(6), 4u);
    uint64_t before = stats->verified;
    cr_assert_eq(enter_once(door, 0, net_commit_certificate(t, 3, 1, &b, 0x07)),
                 PBFT_DROP_CERTIFICATE, "three of six");
    cr_assert_eq(enter_once(door, 0, net_commit_certificate(t, 3, 1, &b, 0x1f)),
                 PBFT_DROP_CERTIFICATE, "one byte string for a statement: exactly q");
    cr_assert_eq(stats->verified, before, "structure is checked before any signature");
    cr_assert_eq(enter_once(door, 0, net_commit_certificate(t, 3, 1, &b, 0x2d)), PBFT_OK);

    struct pbft_digest root = {{5}};
    cr_assert_eq(enter_once(door, 0, net_checkpoint_certificate(t, 4, &root, 0x07)),
                 PBFT_DROP_CERTIFICATE);
    cr_assert_eq(enter_once(door, 0, net_checkpoint_certificate(t, 4, &root, 0x0f)), PBFT_OK);

    /* Votes for another (v, n): the bytes under each signature are rebuilt. */
    struct pbft_frame *moved = net_commit_certificate(t, 3, 1, &b, 0x0f);
    pbft_put_u64(moved->bytes + 17, 2);
    cr_assert_eq(enter_once(door, 0, moved), PBFT_DROP_SIGNATURE);
    moved = net_commit_certificate(t, 3, 1, &b, 0x0f);
    pbft_put_u64(moved->bytes + 9, 2);
    cr_assert_eq(enter_once(door, 0, moved), PBFT_DROP_SIGNATURE);
    pbft_door_free(door);
    net_free(t);
}

/* PROTOCOL 17: one bad signature among q spoils the certificate, wherever it stands. */
Test(protocol, r17_every_signature_in_a_certificate_is_verified)
{
    struct net *t = net_new(4);
    struct pbft_digest root = {{5}};
    for (unsigned bad = 0; bad < 3; bad++) {
        struct pbft_door *door = open_door(&t->cluster, 0);
        struct pbft_frame *frame = net_checkpoint_certificate(t, 4, &root, 0x07);
        struct net_vc vc = {.view = 1, .sender = 3, .stable = 4, .root = root, .proof = 0x07};
        cr_assert_eq(enter(door, 0, frame), PBFT_OK);
        const uint8_t *set = net_decode(t, frame)->certificate.signatures.bytes;
        frame->bytes[set - frame->bytes + (ptrdiff_t)bad * 64] ^= 1;
        cr_assert_eq(enter_once(door, 0, frame), PBFT_DROP_SIGNATURE, "signature %u", bad);

        vc.entry_count = 1;
        vc.entries[0] = (struct net_entry){.seq = 5, .view = 0, .signers = 0x0c};
        cr_assert_eq(enter_once(door, 3, net_view_change(t, &vc)), PBFT_OK);
        vc.entries[0].forged_prepare = bad == 0;
        vc.entries[0].forged_pre_prepare = bad == 1;
        vc.forged_proof = bad == 2;
        cr_assert_eq(enter_once(door, 3, net_view_change(t, &vc)), PBFT_DROP_SIGNATURE,
                     "forgery %u", bad);
        pbft_door_free(door);
    }
    net_free(t);
}

/* PROTOCOL 17: the cache of verified signatures is bounded, and remembers (signer, bytes,
 * signature), never a failure and never the statement alone. */
Test(protocol, r17_the_cache_remembers_signatures_not_statements)
{
    struct net *t = net_new(4);
    struct pbft_door *door = open_door(&t->cluster, 64);
    const struct pbft_door_stats *stats = pbft_door_stats(door);
    struct pbft_digest digest = {{1}};
    struct pbft_frame *vote = net_vote(t, PBFT_COMMIT, 1, 0, 1, &digest);
    cr_assert_eq(enter(door, 1, vote), PBFT_OK);
    uint64_t verified = stats->verified;
    cr_assert_eq(enter(door, 2, vote), PBFT_OK);
    cr_assert_eq(stats->verified, verified, "verified once");
    cr_assert_gt(stats->cache_hits, 0u);
    cr_assert_eq(enter(door, 1, net_spoil(vote)), PBFT_DROP_SIGNATURE,
                 "the statement is known, this signature is not");
    verified = stats->verified;
    cr_assert_eq(enter(door, 1, vote), PBFT_DROP_SIGNATURE);
    cr_assert_eq(stats->verified, verified + 1, "failures are not remembered");
    pbft_frame_release(vote);
    pbft_door_free(door);

    door = open_door(&t->cluster, 4);
    for (pbft_seq seq = 1; seq <= 64; seq++)
        cr_assert_eq(enter_once(door, 1, net_vote(t, PBFT_COMMIT, 1, 0, seq, &digest)), PBFT_OK);
    cr_assert_eq(enter_once(door, 1, net_vote(t, PBFT_COMMIT, 1, 0, 1, &digest)), PBFT_OK);
    cr_assert_eq(pbft_door_stats(door)->cache_hits, 0u, "64 entries do not fit into 4");
    pbft_door_free(door);
    net_free(t);
}
