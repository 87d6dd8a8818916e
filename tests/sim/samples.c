/* tests/sim/samples.c - one small cluster, and a valid frame of every type from it. */
#include "tests/sim/samples.h"

#include "crypto/door.h"
#include "pbft/quorum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_BYTES (size_t) PBFT_DIGEST_BYTES
#define LEAF_BYTES   (size_t)(PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)

static void keypair(struct pbft_keypair *out, uint8_t kind, uint8_t index)
{
    uint8_t seed[32] = {kind, index};
    pbft_keypair_from_seed(out, seed);
}

static struct pbft_params params(void)
{
    /* Written out: the cluster id covers them all, and golden vectors must not move when a default
     * does. */
    return (struct pbft_params){.n = SAMPLE_REPLICAS,
                                .window = 16,
                                .checkpoint_interval = 8,
                                .pipeline_depth = 4,
                                .batch_max_bytes = 4190208,
                                .batch_max_requests = 1024,
                                .bundle_max_ops = 1024,
                                .key_max_bytes = 1024,
                                .value_max_bytes = 1048576,
                                .reply_max_bytes = 1048576,
                                .session_window = 256,
                                .sessions_per_client = 4096,
                                .sessions_total = 65536,
                                .client_quota = 512,
                                .session_idle_ns = UINT64_C(60000000000),
                                .clock_skew_ns = UINT64_C(2000000000),
                                .view_timeout_ns = UINT64_C(500000000),
                                .view_timeout_max_ns = UINT64_C(30000000000)};
}

struct samples *samples_new(const struct pbft_signer *signer)
{
    struct samples *s = calloc(1, sizeof *s);
    if (s == NULL || pbft_crypto_init() != PBFT_STATUS_OK) abort();
    s->signer = signer;
    for (uint8_t i = 0; i < SAMPLE_REPLICAS; i++) {
        keypair(&s->replicas[i], 1, i);
        s->cluster.replicas[i] = s->replicas[i].public;
    }
    for (uint8_t i = 0; i < SAMPLE_CLIENTS; i++) {
        keypair(&s->clients[i], 2, i);
        s->client_keys[i] = s->clients[i].public;
    }
    keypair(&s->stranger, 3, 0);
    memcpy(s->cluster.service, "sample", sizeof "sample");
    s->cluster.params = params();
    s->cluster.clients = s->client_keys;
    s->cluster.client_count = SAMPLE_CLIENTS;
    memset(s->cluster.nonce, 0x5a, sizeof s->cluster.nonce);
    memset(s->cluster.genesis_root.bytes, 0x11, PBFT_DIGEST_BYTES);
    char error[256];
    if (pbft_cluster_seal(&s->cluster, error) != PBFT_STATUS_OK) {
        (void)fprintf(stderr, "samples: %s\n", error);
        abort();
    }
    return s;
}

void samples_free(struct samples *s)
{
    pbft_cluster_unseal(&s->cluster);
    free(s);
}

void samples_reset(struct samples *s)
{
    s->used = 0;
}

void *samples_alloc(struct samples *s, size_t size)
{
    size_t rounded = (size + 15u) & ~(size_t)15u;
    if (rounded > sizeof s->memory - s->used) abort();
    void *p = s->memory + s->used;
    s->used += rounded;
    memset(p, 0, size);
    return p;
}

void samples_resign(struct samples *s, struct pbft_span frame, const struct pbft_keypair *key)
{
    uint8_t *bytes = s->memory + (size_t)(frame.data - s->memory); /* a span of ours: writable */
    pbft_frame_sign(&s->cluster, s->signer, &key->secret, bytes, frame.size);
}

struct pbft_span samples_encode(struct samples *s, const struct pbft_msg *msg,
                                const struct pbft_keypair *key)
{
    size_t size = pbft_wire_size(msg);
    if (size == 0) abort();
    uint8_t *out = samples_alloc(s, size);
    if (pbft_wire_encode(msg, out, size) != size) abort();
    struct pbft_span frame = {out, size};
    if (key != NULL) samples_resign(s, frame, key);
    return frame;
}

static void sign_body(struct samples *s, uint8_t type, pbft_id signer, struct pbft_span body,
                      uint8_t *signature)
{
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &s->cluster.id, s->cluster.epoch, body, bytes);
    s->signer->sign(&s->replicas[signer].secret, (struct pbft_span){bytes, size}, signature);
}

/* ---- requests and proposals ---- */

struct pbft_span samples_request(struct samples *s, const struct pbft_keypair *client,
                                 uint64_t session, uint64_t t, uint32_t count)
{
    uint8_t *ops = samples_alloc(s, (size_t)count * 12u);
    for (uint32_t i = 0; i < count; i++) {
        pbft_put_u32(ops + (size_t)i * 12u, 8);
        pbft_put_u64(ops + (size_t)i * 12u + 4, t * 1000 + i);
    }
    struct pbft_msg m = {.type = PBFT_REQUEST, .epoch = s->cluster.epoch};
    m.request.client = client->public;
    m.request.session = session;
    m.request.t = t;
    m.request.op_count = count;
    m.request.ops = (struct pbft_span){ops, (size_t)count * 12u};
    return samples_encode(s, &m, client);
}

struct pbft_proposal samples_proposal(struct samples *s, uint64_t time_ns, uint32_t count)
{
    struct pbft_msg m = {.type = PBFT_BATCH, .epoch = s->cluster.epoch};
    m.batch.time_ns = time_ns;
    m.batch.request_count = count;
    m.batch.requests = samples_alloc(s, (count + 1u) * sizeof *m.batch.requests);
    uint8_t *leaves = samples_alloc(s, ((size_t)count + 1u) * LEAF_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_span frame =
            samples_request(s, &s->clients[i % SAMPLE_CLIENTS], 7, 1 + i, 1 + i % 3);
        m.batch.requests[i].frame = frame;
        struct pbft_digest digest;
        pbft_digest_request(&digest, pbft_wire_signed_body(frame));
        memcpy(leaves + i * LEAF_BYTES, digest.bytes, 32);
        memcpy(leaves + i * LEAF_BYTES + 32, frame.data + frame.size - 64, 64);
    }
    struct pbft_span frame = samples_encode(s, &m, NULL);
    m.batch.bytes = (struct pbft_span){frame.data + PBFT_WIRE_HEADER_BYTES,
                                       frame.size - PBFT_WIRE_HEADER_BYTES};
    pbft_digest_proposal(&m.batch.digest, time_ns, count,
                         (struct pbft_span){leaves, (size_t)count * LEAF_BYTES});
    return m.batch;
}

/* ---- votes ---- */

struct pbft_span samples_pre_prepare(struct samples *s, pbft_view view, pbft_seq seq,
                                     const struct pbft_proposal *proposal)
{
    struct pbft_msg m = {.type = PBFT_PRE_PREPARE, .epoch = s->cluster.epoch};
    m.pre_prepare.view = view;
    m.pre_prepare.seq = seq;
    m.pre_prepare.digest = proposal->digest;
    m.pre_prepare.proposal = *proposal;
    return samples_encode(s, &m, &s->replicas[pbft_primary(SAMPLE_REPLICAS, view)]);
}

struct pbft_span samples_vote(struct samples *s, uint8_t type, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest, pbft_id sender)
{
    struct pbft_msg m = {.type = type, .epoch = s->cluster.epoch};
    m.vote.view = view;
    m.vote.seq = seq;
    m.vote.digest = *digest;
    m.vote.sender = sender;
    return samples_encode(s, &m, &s->replicas[sender % SAMPLE_REPLICAS]);
}

struct pbft_span samples_checkpoint(struct samples *s, pbft_seq seq, const struct pbft_digest *root,
                                    pbft_id sender)
{
    struct pbft_msg m = {.type = PBFT_CHECKPOINT, .epoch = s->cluster.epoch};
    m.checkpoint.seq = seq;
    m.checkpoint.root = *root;
    m.checkpoint.sender = sender;
    return samples_encode(s, &m, &s->replicas[sender % SAMPLE_REPLICAS]);
}

struct pbft_signatures samples_votes(struct samples *s, uint8_t type, pbft_view view, pbft_seq seq,
                                     const struct pbft_digest *digest, pbft_signers signers)
{
    uint8_t *out = samples_alloc(s, (size_t)pbft_signers_count(signers) * 64u + 1u);
    struct pbft_signatures set = {signers, out};
    for (pbft_id i = 0; i < SAMPLE_REPLICAS; i++) {
        if (!pbft_signers_has(signers, i)) continue;
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size = pbft_wire_vote_body(view, seq, digest, i, body);
        sign_body(s, type, i, (struct pbft_span){body, size}, out);
        out += 64;
    }
    return set;
}

struct pbft_signatures samples_checkpoints(struct samples *s, pbft_seq seq,
                                           const struct pbft_digest *root, pbft_signers signers)
{
    uint8_t *out = samples_alloc(s, (size_t)pbft_signers_count(signers) * 64u + 1u);
    struct pbft_signatures set = {signers, out};
    for (pbft_id i = 0; i < SAMPLE_REPLICAS; i++) {
        if (!pbft_signers_has(signers, i)) continue;
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size = pbft_wire_checkpoint_body(seq, root, i, body);
        sign_body(s, PBFT_CHECKPOINT, i, (struct pbft_span){body, size}, out);
        out += 64;
    }
    return set;
}

/* The first `count` replicas, without `skip`. */
static pbft_signers some(uint32_t count, pbft_id skip)
{
    pbft_signers set = 0;
    for (pbft_id i = 0; count > 0; i++) {
        if (i == skip) continue;
        set |= pbft_signers_of(i);
        count--;
    }
    return set;
}

static void sign_pre_prepare(struct samples *s, pbft_view view, pbft_seq seq,
                             const struct pbft_digest *digest, uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_pre_prepare_body(view, seq, digest, body);
    sign_body(s, PBFT_PRE_PREPARE, pbft_primary(SAMPLE_REPLICAS, view),
              (struct pbft_span){body, size}, signature);
}

struct pbft_prepared samples_prepared(struct samples *s, pbft_view view, pbft_seq seq,
                                      const struct pbft_digest *digest)
{
    uint8_t *signature = samples_alloc(s, 64);
    sign_pre_prepare(s, view, seq, digest, signature);
    pbft_signers backups = some(SAMPLE_QUORUM - 1, pbft_primary(SAMPLE_REPLICAS, view));
    return (struct pbft_prepared){.seq = seq,
                                  .view = view,
                                  .digest = *digest,
                                  .pre_prepare_signature = signature,
                                  .prepares =
                                      samples_votes(s, PBFT_PREPARE, view, seq, digest, backups)};
}

static struct pbft_digest filled(uint8_t byte)
{
    struct pbft_digest d;
    memset(d.bytes, byte, sizeof d.bytes);
    return d;
}

struct pbft_msg samples_view_change(struct samples *s, pbft_view view, pbft_id sender,
                                    pbft_seq stable, uint32_t prepared)
{
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE, .epoch = s->cluster.epoch};
    struct pbft_view_change *vc = &m.view_change;
    vc->view = view;
    vc->sender = sender;
    vc->stable = stable;
    vc->stable_root = stable == 0 ? s->cluster.genesis_root : filled(0x22);
    if (stable > 0)
        vc->stable_proof =
            samples_checkpoints(s, stable, &vc->stable_root, some(SAMPLE_QUORUM, UINT32_MAX));
    vc->prepared_count = prepared;
    vc->prepared = samples_alloc(s, (prepared + 1u) * sizeof *vc->prepared);
    for (uint32_t i = 0; i < prepared; i++) {
        struct pbft_digest digest = filled((uint8_t)(0x30 + i));
        vc->prepared[i] = samples_prepared(s, i % view, stable + 1 + 2 * (pbft_seq)i, &digest);
    }
    return m;
}

struct pbft_msg samples_new_view(struct samples *s, pbft_view view, pbft_seq min_s, uint32_t count)
{
    struct pbft_msg m = {.type = PBFT_NEW_VIEW, .epoch = s->cluster.epoch};
    struct pbft_new_view *nv = &m.new_view;
    nv->view = view;
    nv->sender = pbft_primary(SAMPLE_REPLICAS, view);
    nv->signers = some(SAMPLE_QUORUM, 0);
    uint8_t *digests = samples_alloc(s, SAMPLE_QUORUM * DIGEST_BYTES);
    memset(digests, 0x44, SAMPLE_QUORUM * DIGEST_BYTES);
    nv->vc_digests = digests;
    nv->min_s = min_s;
    nv->count = count;
    uint8_t *entries = samples_alloc(s, ((size_t)count + 1u) * PBFT_NEW_VIEW_ENTRY_BYTES);
    nv->entries = entries;
    for (uint32_t i = 0; i < count; i++, entries += PBFT_NEW_VIEW_ENTRY_BYTES) {
        struct pbft_digest digest = filled((uint8_t)(0x50 + i));
        memcpy(entries, digest.bytes, sizeof digest.bytes);
        sign_pre_prepare(s, view, min_s + 1 + i, &digest, entries + sizeof digest.bytes);
    }
    return m;
}

struct pbft_msg samples_certificate(struct samples *s, uint8_t kind, pbft_seq seq)
{
    struct pbft_msg m = {.type = PBFT_CERTIFICATE, .epoch = s->cluster.epoch};
    struct pbft_certificate *c = &m.certificate;
    c->kind = kind;
    c->seq = seq;
    if (kind == PBFT_CERT_CHECKPOINT) {
        c->digest = filled(0x66);
        c->signatures = samples_checkpoints(s, seq, &c->digest, some(SAMPLE_QUORUM, UINT32_MAX));
        return m;
    }
    c->view = 2;
    c->has_proposal = true;
    c->proposal = samples_proposal(s, SAMPLE_TIME_NS, 2);
    c->digest = c->proposal.digest;
    c->signatures = samples_votes(s, PBFT_COMMIT, c->view, seq, &c->digest, some(SAMPLE_QUORUM, 1));
    return m;
}

/* ---- the rest ---- */

struct pbft_msg samples_reply(struct samples *s, bool body)
{
    static const uint8_t result[] = {1, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};
    struct pbft_msg m = {.type = PBFT_REPLY, .epoch = s->cluster.epoch};
    m.reply = (struct pbft_reply){.view = 3,
                                  .seq = 12,
                                  .session = 7,
                                  .t = 5,
                                  .request = filled(0x77),
                                  .outcome = PBFT_OUTCOME_EXECUTED};
    struct pbft_span bytes = {result, sizeof result};
    pbft_digest_result(&m.reply.result, m.reply.outcome, bytes);
    if (!body) return m;
    m.reply.flags = PBFT_REPLY_HAS_BODY;
    m.reply.body = bytes;
    return m;
}

static struct pbft_msg query_reply(void)
{
    /* Two results: "value" at change mark 11, and none at 7. */
    static const uint8_t results[] = "\2\0\0\0"
                                     "\13\0\0\0\0\0\0\0"
                                     "\7\0\0\0\0\0\0\0"
                                     "\5\0\0\0value"
                                     "\0\0\0";
    struct pbft_msg m = {.type = PBFT_QUERY_REPLY};
    m.query_reply = (struct pbft_query_reply){.id = 9,
                                              .outcome = PBFT_OUTCOME_EXECUTED,
                                              .flags = PBFT_REPLY_HAS_BODY,
                                              .mark = 11,
                                              .executed = 12,
                                              .body = {results, sizeof results}};
    pbft_digest_query(&m.query_reply.result, PBFT_OUTCOME_EXECUTED, 11, m.query_reply.body);
    return m;
}

static struct pbft_msg status(void)
{
    static const uint8_t bits[] = {0xff, 0x03, 0x0f, 0x00, 0x01, 0x00};
    struct pbft_msg m = {.type = PBFT_STATUS_MSG};
    m.status = (struct pbft_status_msg){.view = 3,
                                        .stable = 8,
                                        .executed = 10,
                                        .counter = 99,
                                        .flags = PBFT_STATUS_VIEW_CHANGING,
                                        .view_changes = 5,
                                        .waits_client = 1,
                                        .waits_session = 7,
                                        .waits_t = 5,
                                        .count = 10,
                                        .have_proposal = {bits, 2},
                                        .prepared = {bits + 2, 2},
                                        .committed = {bits + 4, 2}};
    return m;
}

/* Types that carry no signature of their own and no proposal. */
static struct pbft_msg plain(uint8_t type)
{
    static const uint8_t text[] = "sample bytes";
    static const uint8_t items[] = "\3\0\0\0one\3\0\0\0two";
    struct pbft_span bytes = {text, 12};
    struct pbft_msg m = {.type = type};
    if (type == PBFT_FETCH)
        m.fetch = (struct pbft_fetch){.kind = PBFT_FETCH_BATCH, .digest = filled(0x88), .seq = 12};
    if (type == PBFT_PAGE) m.page = bytes;
    if (type == PBFT_QUERY)
        m.query = (struct pbft_query){
            .id = 9, .floor = 4, .want_body = 1, .op_count = 2, .ops = {items, sizeof items - 1}};
    if (type == PBFT_BUSY) m.busy = (struct pbft_busy){.session = 7, .t = 5};
    if (type == PBFT_RESULT_FETCH)
        m.result_fetch = (struct pbft_result_fetch){.session = 7, .t = 5};
    if (type == PBFT_ADMIN)
        m.admin = (struct pbft_admin){.id = 3,
                                      .kind = PBFT_ADMIN_EVIDENCE_GET,
                                      .argument = {bytes.data, 4}};
    if (type == PBFT_ADMIN_REPLY)
        m.admin_reply = (struct pbft_admin_reply){.id = 3, .ok = 1, .body = bytes};
    if (type == PBFT_STATUS_MSG) m = status();
    if (type == PBFT_QUERY_REPLY) m = query_reply();
    return m;
}

struct pbft_span samples_frame(struct samples *s, uint8_t type)
{
    struct pbft_digest digest = filled(0x99);
    struct pbft_msg m = {.type = type, .epoch = s->cluster.epoch};
    struct pbft_proposal proposal;
    switch ((enum pbft_type)type) {
    case PBFT_REQUEST: return samples_request(s, &s->clients[0], 7, 5, 2);
    case PBFT_PRE_PREPARE:
        proposal = samples_proposal(s, SAMPLE_TIME_NS, 3);
        return samples_pre_prepare(s, 2, 9, &proposal);
    case PBFT_PREPARE:
    case PBFT_COMMIT: return samples_vote(s, type, 2, 9, &digest, 1);
    case PBFT_CHECKPOINT: return samples_checkpoint(s, 8, &digest, 3);
    case PBFT_VIEW_CHANGE:
        m = samples_view_change(s, 3, 1, 8, 2);
        return samples_encode(s, &m, &s->replicas[1]);
    case PBFT_NEW_VIEW:
        m = samples_new_view(s, 3, 8, 2);
        return samples_encode(s, &m, &s->replicas[3]);
    case PBFT_BATCH:
        m.batch = samples_proposal(s, SAMPLE_TIME_NS, 2);
        return samples_encode(s, &m, NULL);
    case PBFT_CERTIFICATE:
        m = samples_certificate(s, PBFT_CERT_COMMIT, 9);
        return samples_encode(s, &m, NULL);
    case PBFT_HEADER:
        m.pre_prepare.view = 2;
        m.pre_prepare.seq = 9;
        m.pre_prepare.digest = digest;
        return samples_encode(s, &m, &s->replicas[2]);
    case PBFT_REPLY: m = samples_reply(s, true); return samples_encode(s, &m, NULL);
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_PAGE:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    m = plain(type);
    m.epoch = s->cluster.epoch;
    return samples_encode(s, &m, NULL);
}
