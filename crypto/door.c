/*
 * crypto/door.c - THE DOOR. Cheap checks before dear ones, and one place where each type's rules of
 * admission can be read: open_frame() for replicas, pbft_door_open_client() for clients.
 */
#include "crypto/door.h"

#include "crypto/signed_body.h"
#include "crypto/verified.h"
#include "pbft/certificate.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_BYTES (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)

struct pbft_door {
    struct pbft_door_config config;
    struct pbft_arena arena;
    uint8_t *leaves; /* batch_max_requests * LEAF_BYTES */
    struct pbft_verified *cache;
    struct pbft_digest null_digest;
    struct pbft_door_stats stats;
};

struct pbft_door *pbft_door_new(const struct pbft_door_config *config)
{
    PBFT_ASSERT(config->cluster != NULL && config->signer != NULL);
    const struct pbft_params *p = &config->cluster->params;
    struct pbft_door *door = calloc(1, sizeof *door);
    if (door == NULL) return NULL;
    door->config = *config;
    door->arena.size = pbft_wire_arena_bytes(p);
    door->arena.base = malloc(door->arena.size); /* malloc aligns to 16 where max_align_t does */
    _Static_assert(_Alignof(max_align_t) >= 16, "the arena's alignment");
    door->leaves = malloc((size_t)p->batch_max_requests * LEAF_BYTES);
    door->cache = pbft_verified_new(config->cache_entries);
    pbft_digest_null(&door->null_digest);
    if (door->arena.base == NULL || door->leaves == NULL || door->cache == NULL) {
        pbft_door_free(door);
        return NULL;
    }
    return door;
}

void pbft_door_free(struct pbft_door *door)
{
    if (door == NULL) return;
    free(door->arena.base);
    free(door->leaves);
    pbft_verified_free(door->cache);
    free(door);
}

const struct pbft_door_stats *pbft_door_stats(const struct pbft_door *door)
{
    return &door->stats;
}

static bool wanted(const struct pbft_door *door, const struct pbft_peer *from,
                   const struct pbft_claim *claim)
{
    return door->config.wants == NULL ||
           door->config.wants(door->config.wants_context, from, claim);
}

/* ---- signatures ---- */

/* `body` is the body, or its digest, as the type demands. */
static bool verify(struct pbft_door *door, uint8_t type, const struct pbft_public_key *key,
                   struct pbft_span body, const uint8_t *signature)
{
    const struct pbft_cluster *cluster = door->config.cluster;
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &cluster->id, cluster->epoch, body, bytes);
    struct pbft_span message = {bytes, size};

    struct pbft_digest entry;
    pbft_verified_key(&entry, key, message, signature);
    if (pbft_verified_has(door->cache, &entry)) {
        door->stats.cache_hits++;
        return true;
    }
    door->stats.verified++;
    if (!door->config.signer->verify(key, message, signature)) return false;
    pbft_verified_add(door->cache, &entry);
    return true;
}

static bool verify_replica(struct pbft_door *door, uint8_t type, pbft_id signer,
                           struct pbft_span body, const uint8_t *signature)
{
    PBFT_ASSERT(signer < door->config.cluster->params.n); /* checked with the structure */
    return verify(door, type, &door->config.cluster->replicas[signer], body, signature);
}

static bool verify_digest(struct pbft_door *door, uint8_t type, pbft_id signer,
                          const struct pbft_digest *digest, const uint8_t *signature)
{
    return verify_replica(door, type, signer,
                          (struct pbft_span){digest->bytes, sizeof digest->bytes}, signature);
}

static bool verify_pre_prepare(struct pbft_door *door, pbft_view view, pbft_seq seq,
                               const struct pbft_digest *digest, const uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_pre_prepare_body(view, seq, digest, body);
    pbft_id primary = pbft_primary(door->config.cluster->params.n, view);
    return verify_replica(door, PBFT_PRE_PREPARE, primary, (struct pbft_span){body, size},
                          signature);
}

static bool verify_vote(struct pbft_door *door, uint8_t type, pbft_view view, pbft_seq seq,
                        const struct pbft_digest *digest, pbft_id sender, const uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_vote_body(view, seq, digest, sender, body);
    return verify_replica(door, type, sender, (struct pbft_span){body, size}, signature);
}

static bool verify_checkpoint(struct pbft_door *door, pbft_seq seq, const struct pbft_digest *root,
                              pbft_id sender, const uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_checkpoint_body(seq, root, sender, body);
    return verify_replica(door, PBFT_CHECKPOINT, sender, (struct pbft_span){body, size}, signature);
}

/* Every signature of a set over PREPAREs or COMMITs with one (v, n, d): the expected bytes are
 * rebuilt, so votes for anything else cannot be mixed in (FAULTS 2.24). */
static bool verify_votes(struct pbft_door *door, uint8_t type, pbft_view view, pbft_seq seq,
                         const struct pbft_digest *digest, const struct pbft_signatures *set)
{
    const uint8_t *signature = set->bytes;
    for (pbft_id i = 0; i < door->config.cluster->params.n; i++) {
        if (!pbft_signers_has(set->signers, i)) continue;
        if (!verify_vote(door, type, view, seq, digest, i, signature)) return false;
        signature += PBFT_SIGNATURE_BYTES;
    }
    return true;
}

static bool verify_checkpoints(struct pbft_door *door, pbft_seq seq, const struct pbft_digest *root,
                               const struct pbft_signatures *set)
{
    const uint8_t *signature = set->bytes;
    for (pbft_id i = 0; i < door->config.cluster->params.n; i++) {
        if (!pbft_signers_has(set->signers, i)) continue;
        if (!verify_checkpoint(door, seq, root, i, signature)) return false;
        signature += PBFT_SIGNATURE_BYTES;
    }
    return true;
}

bool pbft_door_verify(struct pbft_door *door, uint8_t type, pbft_id signer, struct pbft_span body,
                      const uint8_t *signature)
{
    /* Evidence comes from files and peers: what no frame of ours could hold is not signed by us. */
    static const uint8_t body_bytes[] = {[PBFT_PRE_PREPARE] = 48,
                                         [PBFT_HEADER] = 48,
                                         [PBFT_PREPARE] = 52,
                                         [PBFT_COMMIT] = 52,
                                         [PBFT_CHECKPOINT] = 44};
    if (signer >= door->config.cluster->params.n) return false;
    if (type == PBFT_VIEW_CHANGE || type == PBFT_NEW_VIEW) {
        struct pbft_digest digest;
        pbft_signed_digest(type, body, &digest);
        return verify_digest(door, type, signer, &digest, signature);
    }
    if (type >= sizeof body_bytes || body_bytes[type] == 0 || body.size != body_bytes[type])
        return false;
    return verify_replica(door, type, signer, body, signature);
}

/* ---- requests and proposals ---- */

/* Digest and client of a request. The key must be one of genesis (PROTOCOL 10). */
static enum pbft_verdict request_identify(struct pbft_door *door, struct pbft_request *r)
{
    if (!pbft_cluster_client(door->config.cluster, &r->client, &r->client_index))
        return PBFT_DROP_CLIENT;
    pbft_digest_request(&r->digest, r->body);
    return PBFT_OK;
}

static bool verify_request(struct pbft_door *door, const struct pbft_request *r)
{
    return verify(door, PBFT_REQUEST, &r->client,
                  (struct pbft_span){r->digest.bytes, sizeof r->digest.bytes}, r->signature);
}

/* Recompute every digest of a decoded proposal (FAULTS 2.16, PROTOCOL 3). */
static enum pbft_verdict proposal_digest(struct pbft_door *door, struct pbft_proposal *p)
{
    uint8_t *leaf = door->leaves;
    for (uint32_t i = 0; i < p->request_count; i++, leaf += LEAF_BYTES) {
        enum pbft_verdict verdict = request_identify(door, &p->requests[i]);
        if (verdict != PBFT_OK) return verdict;
        memcpy(leaf, p->requests[i].digest.bytes, PBFT_DIGEST_BYTES);
        memcpy(leaf + PBFT_DIGEST_BYTES, p->requests[i].signature, PBFT_SIGNATURE_BYTES);
    }
    size_t size = (size_t)p->request_count * LEAF_BYTES;
    pbft_digest_proposal(&p->digest, p->time_ns, p->request_count,
                         (struct pbft_span){door->leaves, size});
    return PBFT_OK;
}

/* The requests' own headers lie outside their digests; only ours is the epoch that was signed. */
static enum pbft_verdict proposal_epochs(const struct pbft_door *door,
                                         const struct pbft_proposal *p)
{
    for (uint32_t i = 0; i < p->request_count; i++)
        if (pbft_get_u32(p->requests[i].frame.data + 4) != door->config.cluster->epoch)
            return PBFT_DROP_EPOCH;
    return PBFT_OK;
}

/* Every client's signature; they count in a PRE-PREPARE's validity (PROTOCOL 10). */
static enum pbft_verdict proposal_signatures(struct pbft_door *door, const struct pbft_proposal *p)
{
    for (uint32_t i = 0; i < p->request_count; i++)
        if (!verify_request(door, &p->requests[i])) return PBFT_DROP_SIGNATURE;
    return PBFT_OK;
}

/* A proposal whose digest is named by something that was signed. */
static enum pbft_verdict proposal_open(struct pbft_door *door, struct pbft_proposal *p,
                                       const struct pbft_digest *expected)
{
    enum pbft_verdict verdict = proposal_digest(door, p);
    if (verdict != PBFT_OK) return verdict;
    if (!pbft_digest_equal(&p->digest, expected)) return PBFT_DROP_DIGEST;
    return proposal_signatures(door, p);
}

static enum pbft_verdict open_request(struct pbft_door *door, const struct pbft_peer *from,
                                      struct pbft_request *r)
{
    enum pbft_verdict verdict = request_identify(door, r);
    if (verdict != PBFT_OK) return verdict;
    if (from->kind == PBFT_PEER_CLIENT && r->client_index != from->index) return PBFT_DROP_SENDER;
    return verify_request(door, r) ? PBFT_OK : PBFT_DROP_SIGNATURE;
}

/* ---- messages of replicas ---- */

static enum pbft_verdict open_pre_prepare(struct pbft_door *door, struct pbft_pre_prepare *m)
{
    enum pbft_verdict verdict = proposal_epochs(door, &m->proposal);
    if (verdict != PBFT_OK) return verdict;
    /* One signature over the digest before megabytes are hashed, let alone verified. */
    if (!verify_pre_prepare(door, m->view, m->seq, &m->digest, m->signature))
        return PBFT_DROP_SIGNATURE;
    return proposal_open(door, &m->proposal, &m->digest);
}

/* A BATCH names no digest. It is asked about twice: with none, before its contents are hashed, and
 * with theirs, before the clients' signatures. */
static enum pbft_verdict open_batch(struct pbft_door *door, const struct pbft_peer *from,
                                    struct pbft_claim *claim, struct pbft_proposal *p)
{
    enum pbft_verdict verdict = proposal_epochs(door, p);
    if (verdict == PBFT_OK) verdict = proposal_digest(door, p);
    if (verdict != PBFT_OK) return verdict;
    claim->digest = p->digest;
    if (!wanted(door, from, claim)) return PBFT_DROP_UNWANTED;
    return proposal_signatures(door, p);
}

static enum pbft_verdict open_certificate(struct pbft_door *door, struct pbft_certificate *c)
{
    enum pbft_verdict verdict = pbft_certificate_check(&door->config.cluster->params, c);
    if (verdict != PBFT_OK) return verdict;
    if (c->kind == PBFT_CERT_CHECKPOINT)
        return verify_checkpoints(door, c->seq, &c->digest, &c->signatures) ? PBFT_OK
                                                                            : PBFT_DROP_SIGNATURE;

    bool null = pbft_digest_equal(&c->digest, &door->null_digest);
    if (null == c->has_proposal) return PBFT_DROP_CERTIFICATE;
    verdict = proposal_epochs(door, &c->proposal);
    if (verdict != PBFT_OK) return verdict;
    if (!verify_votes(door, PBFT_COMMIT, c->view, c->seq, &c->digest, &c->signatures))
        return PBFT_DROP_SIGNATURE;
    return null ? PBFT_OK : proposal_open(door, &c->proposal, &c->digest);
}

static enum pbft_verdict open_view_change(struct pbft_door *door, struct pbft_view_change *m)
{
    const struct pbft_cluster *cluster = door->config.cluster;
    enum pbft_verdict verdict =
        pbft_view_change_check(&cluster->params, cluster->genesis_seq, &cluster->genesis_root, m);
    if (verdict != PBFT_OK) return verdict;
    pbft_digest_view_change(&m->digest, m->body);
    /* The sender's own signature first: a stranger cannot make us verify thousands. */
    if (!verify_digest(door, PBFT_VIEW_CHANGE, m->sender, &m->digest, m->signature))
        return PBFT_DROP_SIGNATURE;
    if (!verify_checkpoints(door, m->stable, &m->stable_root, &m->stable_proof))
        return PBFT_DROP_SIGNATURE;
    for (uint32_t i = 0; i < m->prepared_count; i++) {
        const struct pbft_prepared *e = &m->prepared[i];
        if (!verify_pre_prepare(door, e->view, e->seq, &e->digest, e->pre_prepare_signature))
            return PBFT_DROP_SIGNATURE;
        if (!verify_votes(door, PBFT_PREPARE, e->view, e->seq, &e->digest, &e->prepares))
            return PBFT_DROP_SIGNATURE;
    }
    return PBFT_OK;
}

static enum pbft_verdict open_new_view(struct pbft_door *door, struct pbft_new_view *m)
{
    enum pbft_verdict verdict = pbft_new_view_check(&door->config.cluster->params, m);
    if (verdict != PBFT_OK) return verdict;
    pbft_digest_new_view(&m->digest, m->body);
    if (!verify_digest(door, PBFT_NEW_VIEW, m->sender, &m->digest, m->signature))
        return PBFT_DROP_SIGNATURE;
    /* Each O entry is a PRE-PREPARE of the new view in its own right (PROTOCOL 19). */
    const uint8_t *entry = m->entries;
    for (uint32_t i = 0; i < m->count; i++, entry += PBFT_NEW_VIEW_ENTRY_BYTES) {
        struct pbft_digest digest;
        memcpy(digest.bytes, entry, sizeof digest.bytes);
        if (!verify_pre_prepare(door, m->view, m->min_s + 1 + i, &digest,
                                entry + PBFT_DIGEST_BYTES))
            return PBFT_DROP_SIGNATURE;
    }
    return PBFT_OK;
}

/* Who may send what. */
static bool allowed(enum pbft_peer_kind kind, uint8_t type)
{
    switch ((enum pbft_type)type) {
    case PBFT_REQUEST: return true; /* replicas forward */
    case PBFT_PRE_PREPARE:
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE:
    case PBFT_NEW_VIEW:
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_HEADER: return kind == PBFT_PEER_REPLICA;
    case PBFT_QUERY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN: return kind == PBFT_PEER_CLIENT;
    case PBFT_REPLY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_ADMIN_REPLY: return false;
    }
    return false;
}

/* Contents of a decoded message: digests, structure, signatures. */
static enum pbft_verdict authenticate(struct pbft_door *door, const struct pbft_peer *from,
                                      struct pbft_claim *claim, struct pbft_msg *m)
{
    bool ok = true;
    switch ((enum pbft_type)m->type) {
    case PBFT_REQUEST: return open_request(door, from, &m->request);
    case PBFT_PRE_PREPARE: return open_pre_prepare(door, &m->pre_prepare);
    case PBFT_BATCH: return open_batch(door, from, claim, &m->batch);
    case PBFT_CERTIFICATE: return open_certificate(door, &m->certificate);
    case PBFT_VIEW_CHANGE: return open_view_change(door, &m->view_change);
    case PBFT_NEW_VIEW: return open_new_view(door, &m->new_view);
    case PBFT_HEADER:
        ok = verify_pre_prepare(door, m->pre_prepare.view, m->pre_prepare.seq,
                                &m->pre_prepare.digest, m->pre_prepare.signature);
        break;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        ok = verify_vote(door, m->type, m->vote.view, m->vote.seq, &m->vote.digest, m->vote.sender,
                         m->vote.signature);
        break;
    case PBFT_CHECKPOINT:
        ok = verify_checkpoint(door, m->checkpoint.seq, &m->checkpoint.root, m->checkpoint.sender,
                               m->checkpoint.signature);
        break;
    case PBFT_STATUS_MSG:   /* the channel's peer speaks for itself */
    case PBFT_FETCH:        /* the same */
    case PBFT_PAGE:         /* whoever asked knows its hash; its domain is the store's */
    case PBFT_QUERY:        /* the channel proves the client */
    case PBFT_RESULT_FETCH: /* the same */
    case PBFT_ADMIN:        /* the same */
    case PBFT_REPLY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_ADMIN_REPLY: break; /* these four do not come through this door */
    }
    return ok ? PBFT_OK : PBFT_DROP_SIGNATURE;
}

static enum pbft_verdict open_frame(struct pbft_door *door, const struct pbft_peer *from,
                                    struct pbft_span frame, struct pbft_msg *msg)
{
    const struct pbft_cluster *cluster = door->config.cluster;
    struct pbft_claim claim;
    enum pbft_verdict verdict = pbft_wire_peek(frame, &claim);
    if (verdict != PBFT_OK) return verdict;
    if (!allowed(from->kind, claim.type)) return PBFT_DROP_TYPE;
    if (claim.epoch != cluster->epoch) return PBFT_DROP_EPOCH;
    if (claim.sender != PBFT_REPLICAS_MAX && claim.sender >= cluster->params.n)
        return PBFT_DROP_SENDER;
    if (!wanted(door, from, &claim)) return PBFT_DROP_UNWANTED;

    door->arena.used = 0;
    verdict = pbft_wire_decode(frame, &cluster->params, &door->arena, msg);
    return verdict == PBFT_OK ? authenticate(door, from, &claim, msg) : verdict;
}

static enum pbft_verdict counted(struct pbft_door *door, enum pbft_verdict verdict)
{
    if (verdict == PBFT_OK)
        door->stats.passed++;
    else
        door->stats.dropped[verdict]++;
    return verdict;
}

enum pbft_verdict pbft_door_open(struct pbft_door *door, const struct pbft_peer *from,
                                 struct pbft_span frame, struct pbft_msg *msg)
{
    /* The handshake proved it. */
    PBFT_ASSERT(from->index < (from->kind == PBFT_PEER_REPLICA
                                   ? door->config.cluster->params.n
                                   : door->config.cluster->client_count));
    return counted(door, open_frame(door, from, frame, msg));
}

enum pbft_verdict pbft_door_reopen_proposal(struct pbft_door *door, struct pbft_span bytes,
                                            const struct pbft_digest *requests, uint32_t count,
                                            struct pbft_proposal *out)
{
    const struct pbft_cluster *cluster = door->config.cluster;
    door->arena.used = 0;
    enum pbft_verdict verdict =
        pbft_wire_decode_proposal(bytes, &cluster->params, &door->arena, out);
    if (verdict != PBFT_OK) return verdict;
    if (requests == NULL) return proposal_digest(door, out);
    PBFT_ASSERT(count == out->request_count);
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_request *r = &out->requests[i];
        if (!pbft_cluster_client(cluster, &r->client, &r->client_index)) return PBFT_DROP_CLIENT;
        r->digest = requests[i];
    }
    return PBFT_OK;
}

/* ---- what a client opens ---- */

static enum pbft_verdict open_for_client(struct pbft_door *door, const struct pbft_peer *from,
                                         struct pbft_span frame, struct pbft_msg *msg)
{
    const struct pbft_cluster *cluster = door->config.cluster;
    struct pbft_claim claim;
    enum pbft_verdict verdict = pbft_wire_peek(frame, &claim);
    if (verdict != PBFT_OK) return verdict;
    bool mine = claim.type == PBFT_REPLY || claim.type == PBFT_QUERY_REPLY ||
                claim.type == PBFT_BUSY || claim.type == PBFT_ADMIN_REPLY;
    if (!mine || from->kind != PBFT_PEER_REPLICA) return PBFT_DROP_TYPE;
    if (claim.epoch != cluster->epoch) return PBFT_DROP_EPOCH;

    door->arena.used = 0;
    verdict = pbft_wire_decode(frame, &cluster->params, &door->arena, msg);
    if (verdict != PBFT_OK) return verdict;

    /* Without a body the digest is a claim like any other: it is matched at q (PROTOCOL 31). */
    struct pbft_digest digest;
    if (msg->type == PBFT_REPLY && (msg->reply.flags & PBFT_REPLY_HAS_BODY) != 0) {
        pbft_digest_result(&digest, msg->reply.outcome, msg->reply.body);
        if (!pbft_digest_equal(&digest, &msg->reply.result)) return PBFT_DROP_DIGEST;
    }
    if (msg->type == PBFT_QUERY_REPLY && (msg->query_reply.flags & PBFT_REPLY_HAS_BODY) != 0) {
        pbft_digest_query(&digest, msg->query_reply.outcome, msg->query_reply.mark,
                          msg->query_reply.body);
        if (!pbft_digest_equal(&digest, &msg->query_reply.result)) return PBFT_DROP_DIGEST;
    }
    return PBFT_OK;
}

enum pbft_verdict pbft_door_open_client(struct pbft_door *door, const struct pbft_peer *from,
                                        struct pbft_span frame, struct pbft_msg *msg)
{
    PBFT_ASSERT(from->index < door->config.cluster->params.n);
    return counted(door, open_for_client(door, from, frame, msg));
}
