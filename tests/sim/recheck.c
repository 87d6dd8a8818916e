/* See recheck.h. Layouts: docs/wire.md; rules: PROTOCOL 1-3, 14, 17-19, 36; FAULTS 4. */
#include "tests/sim/recheck.h"

#include "pbft/core.h"
#include "pbft/types.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 8u
#define DIGEST       32u
#define SIGNATURE    64u

/* ---- reading ---- */

struct in {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct in *in, size_t size)
{
    static const uint8_t nothing[SIGNATURE];
    if (in->bad || size > in->left) {
        in->bad = true;
        return nothing;
    }
    const uint8_t *at = in->at;
    in->at += size;
    in->left -= size;
    return at;
}

static uint64_t number(struct in *in, unsigned bytes)
{
    const uint8_t *at = take(in, bytes);
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static void put(uint8_t *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

/* ---- what a check carries about ---- */

struct check {
    const struct pbft_cluster *cluster;
    const struct pbft_signer *signer;
    char *why;
    uint32_t n, f, q;
    struct in in; /* behind the header */
    struct pbft_span frame;
    uint8_t type;
};

__attribute__((format(printf, 2, 3))) static bool no(struct check *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->why, RECHECK_WHY_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- hashing and signatures ---- */

static void hash_begin(crypto_generichash_state *h, const char *domain)
{
    uint8_t padded[16] = {0};
    memcpy(padded, domain, strlen(domain));
    (void)crypto_generichash_init(h, NULL, 0, DIGEST);
    (void)crypto_generichash_update(h, padded, sizeof padded);
}

static void hash_of(const char *domain, const uint8_t *bytes, size_t size, uint8_t out[DIGEST])
{
    crypto_generichash_state h;
    hash_begin(&h, domain);
    (void)crypto_generichash_update(&h, bytes, size);
    (void)crypto_generichash_final(&h, out, DIGEST);
}

static bool same(const uint8_t *a, const uint8_t *b, size_t size)
{
    PBFT_ASSERT(a != NULL && b != NULL);
    return memcmp(a, b, size) == 0;
}

/* PROTOCOL 1: tag, cluster, epoch, body (or its digest). */
static bool verify(const struct check *c, const struct pbft_public_key *key, uint8_t type,
                   const uint8_t *body, size_t size, const uint8_t *signature)
{
    uint8_t message[16 + DIGEST + 4 + 64] = "pbft-signed";
    if (size > 64) return false;
    message[14] = type;
    message[15] = 1;
    memcpy(message + 16, c->cluster->id.bytes, DIGEST);
    put(message + 48, c->cluster->epoch, 4);
    memcpy(message + 52, body, size);
    return c->signer->verify(key, (struct pbft_span){message, 52 + size}, signature);
}

static bool verify_replica(const struct check *c, uint64_t id, uint8_t type, const uint8_t *body,
                           size_t size, const uint8_t *signature)
{
    return id < c->n && verify(c, &c->cluster->replicas[id], type, body, size, signature);
}

/* The frame's own signature over the digest of its body, which ends where the signature begins. */
static bool own_signature(struct check *c, uint64_t id, const char *domain)
{
    if (c->frame.size < HEADER_BYTES + SIGNATURE) return no(c, "too short to be signed");
    size_t size = c->frame.size - HEADER_BYTES - SIGNATURE;
    const uint8_t *body = c->frame.data + HEADER_BYTES;
    uint8_t digest[DIGEST];
    hash_of(domain, body, size, digest);
    if (verify_replica(c, id, c->type, digest, sizeof digest, body + size)) return true;
    return no(c, "replica %llu did not sign it", (unsigned long long)id);
}

/* (view, seq, digest) as a PRE-PREPARE, a PREPARE or a COMMIT; the latter with their sender. */
static bool vote_signed(const struct check *c, uint8_t type, uint64_t view, uint64_t seq,
                        const uint8_t *digest, uint64_t id, const uint8_t *signature)
{
    uint8_t body[52];
    put(body, view, 8);
    put(body + 8, seq, 8);
    memcpy(body + 16, digest, DIGEST);
    put(body + 48, id, 4);
    return verify_replica(c, id, type, body, type == PBFT_PRE_PREPARE ? 48 : 52, signature);
}

static bool checkpoint_signed(const struct check *c, uint64_t seq, const uint8_t *root, uint64_t id,
                              const uint8_t *signature)
{
    uint8_t body[44];
    put(body, seq, 8);
    memcpy(body + 8, root, DIGEST);
    put(body + 40, id, 4);
    return verify_replica(c, id, PBFT_CHECKPOINT, body, sizeof body, signature);
}

/* ---- sets of signatures ---- */

struct statement {
    uint8_t type; /* PREPARE, COMMIT or CHECKPOINT */
    uint64_t view, seq;
    const uint8_t *digest;
};

/* Exactly `want` replicas other than `without`, each of which signed just this statement. */
static bool set_of(struct check *c, struct in *in, uint32_t want, uint64_t without,
                   const struct statement *s)
{
    uint64_t bitmap = number(in, 8);
    uint32_t found = 0;
    for (uint32_t id = 0; id < 64 && !in->bad; id++) {
        if (((bitmap >> id) & 1u) == 0) continue;
        if (id >= c->n) return no(c, "signer %u is no replica", id);
        if (id == without) return no(c, "the primary's own vote is counted");
        const uint8_t *signature = take(in, SIGNATURE);
        bool ok = s->type == PBFT_CHECKPOINT
                      ? checkpoint_signed(c, s->seq, s->digest, id, signature)
                      : vote_signed(c, s->type, s->view, s->seq, s->digest, id, signature);
        if (!ok) return no(c, "replica %u did not sign this statement", id);
        found++;
    }
    if (in->bad) return no(c, "a set of signatures is cut off");
    return found == want || no(c, "%u signatures, not %u", found, want);
}

/* ---- requests and proposals ---- */

/* `leaf`: digest and signature, as they enter the batch's digest. */
static bool request_ok(struct check *c, struct pbft_span frame, uint8_t leaf[DIGEST + SIGNATURE])
{
    const struct pbft_params *p = &c->cluster->params;
    if (frame.size < HEADER_BYTES + SIGNATURE) return no(c, "a request is cut off");
    size_t body = frame.size - HEADER_BYTES - SIGNATURE;
    struct in in = {frame.data, frame.size - SIGNATURE, false};
    uint64_t type = number(&in, 1), version = number(&in, 1), flags = number(&in, 2);
    uint64_t epoch = number(&in, 4);
    if (type != PBFT_REQUEST || version != 1 || flags != 0 || epoch != c->cluster->epoch)
        return no(c, "a request's header is wrong");
    const uint8_t *name = take(&in, 32);
    (void)number(&in, 8); /* session */
    uint64_t t = number(&in, 8), count = number(&in, 4);
    if (t == 0 || count == 0 || count > p->bundle_max_ops)
        return no(c, "a request's numbers are wrong");
    for (uint64_t i = 0; i < count && !in.bad; i++)
        (void)take(&in, (size_t)number(&in, 4));
    if (in.bad || in.left != 0) return no(c, "a request's operations do not fill it");
    uint32_t client = 0;
    while (client < c->cluster->client_count && !same(c->cluster->clients[client].bytes, name, 32))
        client++;
    if (client == c->cluster->client_count) return no(c, "a request of nobody");
    const uint8_t *signature = frame.data + HEADER_BYTES + body;
    hash_of("request", frame.data + HEADER_BYTES, body, leaf);
    memcpy(leaf + DIGEST, signature, SIGNATURE);
    return verify(c, &c->cluster->clients[client], PBFT_REQUEST, leaf, DIGEST, signature) ||
           no(c, "client %u did not sign this request", client);
}

/* The rest of `in`; `digest` takes the proposal's. PROTOCOL 3. */
static bool proposal_ok(struct check *c, struct in *in, uint8_t digest[DIGEST])
{
    const struct pbft_params *p = &c->cluster->params;
    if (in->left > p->batch_max_bytes) return no(c, "a proposal of %zu bytes", in->left);
    uint8_t numbers[8], leaf[DIGEST + SIGNATURE], batch[DIGEST];
    uint64_t time_ns = number(in, 8), count = number(in, 4);
    if (in->bad || count > p->batch_max_requests) return no(c, "a proposal's count is wrong");
    crypto_generichash_state h;
    hash_begin(&h, "batch");
    put(numbers, count, 4);
    (void)crypto_generichash_update(&h, numbers, 4);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = (size_t)number(in, 4);
        const uint8_t *bytes = take(in, size);
        if (in->bad) return no(c, "a proposal is cut off");
        if (!request_ok(c, (struct pbft_span){bytes, size}, leaf)) return false;
        (void)crypto_generichash_update(&h, leaf, sizeof leaf);
    }
    if (in->left != 0) return no(c, "bytes behind a proposal");
    (void)crypto_generichash_final(&h, batch, DIGEST);
    hash_begin(&h, "proposal");
    put(numbers, time_ns, 8);
    (void)crypto_generichash_update(&h, numbers, 8);
    (void)crypto_generichash_update(&h, batch, DIGEST);
    (void)crypto_generichash_final(&h, digest, DIGEST);
    return true;
}

static void null_digest(uint8_t out[DIGEST])
{
    hash_of("null-request", NULL, 0, out);
}

/* ---- frames ---- */

static bool pre_prepare_ok(struct check *c)
{
    uint64_t view = number(&c->in, 8), seq = number(&c->in, 8);
    const uint8_t *digest = take(&c->in, DIGEST), *signature = take(&c->in, SIGNATURE);
    uint8_t own[DIGEST];
    if (c->in.bad || seq == 0) return no(c, "a PRE-PREPARE without sense");
    if (!vote_signed(c, PBFT_PRE_PREPARE, view, seq, digest, view % c->n, signature))
        return no(c, "its primary did not sign it");
    if (c->type == PBFT_HEADER) return c->in.left == 0 || no(c, "bytes behind a HEADER");
    if (!proposal_ok(c, &c->in, own)) return false;
    return same(own, digest, DIGEST) || no(c, "the proposal has another digest");
}

static bool vote_ok(struct check *c)
{
    uint64_t view = number(&c->in, 8), seq = number(&c->in, 8);
    const uint8_t *digest = take(&c->in, DIGEST);
    uint64_t sender = number(&c->in, 4);
    const uint8_t *signature = take(&c->in, SIGNATURE);
    if (c->in.bad || c->in.left != 0 || seq == 0) return no(c, "a vote without sense");
    if (c->type == PBFT_PREPARE && sender == view % c->n)
        return no(c, "a PREPARE by the primary"); /* FAULTS 2.8 */
    return vote_signed(c, c->type, view, seq, digest, sender, signature) ||
           no(c, "replica %llu did not sign it", (unsigned long long)sender);
}

static bool checkpoint_ok(struct check *c)
{
    uint64_t seq = number(&c->in, 8);
    const uint8_t *root = take(&c->in, DIGEST);
    uint64_t sender = number(&c->in, 4);
    const uint8_t *signature = take(&c->in, SIGNATURE);
    if (c->in.bad || c->in.left != 0) return no(c, "a CHECKPOINT of another length");
    if (seq == 0 || seq % c->cluster->params.checkpoint_interval != 0)
        return no(c, "no checkpoint lies at %llu", (unsigned long long)seq);
    return checkpoint_signed(c, seq, root, sender, signature) ||
           no(c, "replica %llu did not sign it", (unsigned long long)sender);
}

struct entry {
    uint64_t seq, view;
    const uint8_t *digest;
};

/* PROTOCOL 14: the primary's PRE-PREPARE and q-1 PREPAREs of others. */
static bool entry_ok(struct check *c, struct in *in, struct entry *out)
{
    out->seq = number(in, 8);
    out->view = number(in, 8);
    out->digest = take(in, DIGEST);
    const uint8_t *signature = take(in, SIGNATURE);
    if (in->bad || out->seq == 0) return no(c, "a P entry is cut off");
    uint64_t primary = out->view % c->n;
    if (!vote_signed(c, PBFT_PRE_PREPARE, out->view, out->seq, out->digest, primary, signature))
        return no(c, "no PRE-PREPARE for a P entry");
    struct statement s = {PBFT_PREPARE, out->view, out->seq, out->digest};
    return set_of(c, in, c->q - 1, primary, &s);
}

/* What a NEW-VIEW is computed from. */
struct view_change {
    uint64_t view, sender, stable;
    uint32_t count;
    struct entry *entries; /* malloc'ed */
};

static bool entries_ok(struct check *c, struct in *in, struct view_change *out)
{
    uint64_t count = number(in, 4), last = out->stable;
    if (in->bad || count > c->cluster->params.window) return no(c, "P entries without number");
    out->entries = calloc((size_t)count + 1, sizeof *out->entries);
    if (out->entries == NULL) return no(c, "out of memory");
    for (; out->count < count; out->count++) {
        struct entry *e = &out->entries[out->count];
        if (!entry_ok(c, in, e)) return false;
        if (e->seq <= last || e->seq - out->stable > c->cluster->params.window)
            return no(c, "a P entry at %llu, h is %llu", (unsigned long long)e->seq,
                      (unsigned long long)out->stable); /* PROTOCOL 18 */
        if (e->view >= out->view) return no(c, "a P entry of a view that has not begun");
        last = e->seq;
    }
    return true;
}

static bool view_change_ok(struct check *c, struct view_change *out)
{
    out->view = number(&c->in, 8);
    out->sender = number(&c->in, 4);
    out->stable = number(&c->in, 8);
    const uint8_t *root = take(&c->in, DIGEST);
    if (c->in.bad || out->view == 0) return no(c, "a VIEW-CHANGE without sense");
    if (!own_signature(c, out->sender, "view-change")) return false;
    if (out->stable % c->cluster->params.checkpoint_interval != 0)
        return no(c, "h is no checkpoint's number");
    bool genesis = out->stable == c->cluster->genesis_seq; /* FAULTS 4.10 */
    if (genesis && !same(root, c->cluster->genesis_root.bytes, DIGEST))
        return no(c, "another root than that of genesis");
    struct statement s = {PBFT_CHECKPOINT, 0, out->stable, root};
    if (!set_of(c, &c->in, genesis ? 0 : c->q, UINT64_MAX, &s)) return false;
    if (!entries_ok(c, &c->in, out)) return false;
    return c->in.left == SIGNATURE || no(c, "bytes behind a VIEW-CHANGE");
}

struct new_view {
    uint64_t view, signers, min_s, count;
    const uint8_t *digests; /* of VIEW-CHANGEs */
    const uint8_t *entries; /* digest, signature */
};

static uint32_t bits(uint64_t bitmap)
{
    uint32_t count = 0;
    for (; bitmap != 0; bitmap &= bitmap - 1)
        count++;
    return count;
}

static bool new_view_ok(struct check *c, struct new_view *out)
{
    out->view = number(&c->in, 8);
    uint64_t sender = number(&c->in, 4);
    out->signers = number(&c->in, 8);
    if (out->view == 0 || sender != out->view % c->n) return no(c, "not by the view's primary");
    if (!own_signature(c, sender, "new-view")) return false;
    if (bits(out->signers) != c->q || (c->n < 64 && out->signers >> c->n != 0))
        return no(c, "it does not name q replicas");
    out->digests = take(&c->in, (size_t)c->q * DIGEST);
    out->min_s = number(&c->in, 8);
    out->count = number(&c->in, 4);
    if (c->in.bad || out->count > c->cluster->params.window ||
        out->min_s % c->cluster->params.checkpoint_interval != 0)
        return no(c, "O lies nowhere");
    out->entries = take(&c->in, (size_t)out->count * (DIGEST + SIGNATURE));
    if (c->in.bad || c->in.left != SIGNATURE) return no(c, "a NEW-VIEW of another length");
    for (uint64_t i = 0; i < out->count; i++) {
        const uint8_t *e = out->entries + i * (DIGEST + SIGNATURE);
        if (!vote_signed(c, PBFT_PRE_PREPARE, out->view, out->min_s + 1 + i, e, sender, e + DIGEST))
            return no(c, "O entry %llu is not signed", (unsigned long long)i);
    }
    return true;
}

/* `kept`: in a log the proposal may stand elsewhere. */
static bool certificate_ok(struct check *c, bool kept)
{
    uint64_t kind = number(&c->in, 1), view = number(&c->in, 8), seq = number(&c->in, 8);
    const uint8_t *digest = take(&c->in, DIGEST);
    if (c->in.bad || seq == 0 || (kind != PBFT_CERT_COMMIT && kind != PBFT_CERT_CHECKPOINT))
        return no(c, "a certificate without sense");
    bool commit = kind == PBFT_CERT_COMMIT;
    if (!commit && (view != 0 || seq % c->cluster->params.checkpoint_interval != 0))
        return no(c, "a checkpoint's certificate that cannot be");
    struct statement s = {commit ? PBFT_COMMIT : PBFT_CHECKPOINT, view, seq, digest};
    if (!set_of(c, &c->in, c->q, UINT64_MAX, &s)) return false;
    uint64_t with = number(&c->in, 1);
    uint8_t own[DIGEST];
    null_digest(own);
    bool null = same(own, digest, DIGEST);
    if (c->in.bad || with > 1) return no(c, "a certificate is cut off");
    if (with == 1 && (!commit || null)) return no(c, "a proposal where none can be");
    if (with == 0 && commit && !null && !kept) return no(c, "the proposal is missing");
    if (with == 0) return c->in.left == 0 || no(c, "bytes behind a certificate");
    if (!proposal_ok(c, &c->in, own)) return false;
    return same(own, digest, DIGEST) || no(c, "the proposal has another digest");
}

static bool header_ok(struct check *c, struct pbft_span frame)
{
    c->frame = frame;
    c->in = (struct in){frame.data, frame.size, false};
    c->type = (uint8_t)number(&c->in, 1);
    uint64_t version = number(&c->in, 1), flags = number(&c->in, 2), epoch = number(&c->in, 4);
    if (c->in.bad || version != 1 || flags != 0) return no(c, "the header is wrong");
    if (c->type == 0 || (c->type > PBFT_HEADER && c->type < PBFT_REPLY) ||
        c->type > PBFT_ADMIN_REPLY)
        return no(c, "type %u is none", c->type);
    return epoch == c->cluster->epoch || no(c, "it is of another epoch");
}

static struct check begin(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                          char *why)
{
    uint32_t n = cluster->params.n, f = (n - 1) / 3;
    why[0] = '\0';
    return (struct check){
        .cluster = cluster, .signer = signer, .why = why, .n = n, .f = f, .q = (n + f + 2) / 2};
}

static bool any_ok(struct check *c, bool kept)
{
    struct view_change vc = {0};
    struct new_view nv;
    uint8_t scratch[DIGEST + SIGNATURE];
    switch (c->type) {
    case PBFT_REQUEST: return request_ok(c, c->frame, scratch);
    case PBFT_PRE_PREPARE:
    case PBFT_HEADER: return pre_prepare_ok(c);
    case PBFT_PREPARE:
    case PBFT_COMMIT: return vote_ok(c);
    case PBFT_CHECKPOINT: return checkpoint_ok(c);
    case PBFT_VIEW_CHANGE: {
        bool ok = view_change_ok(c, &vc);
        free(vc.entries);
        return ok;
    }
    case PBFT_NEW_VIEW: return new_view_ok(c, &nv);
    case PBFT_BATCH: return proposal_ok(c, &c->in, scratch);
    case PBFT_CERTIFICATE: return certificate_ok(c, kept);
    default: return true;
    }
}

bool recheck_frame(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                   struct pbft_span frame, char why[RECHECK_WHY_BYTES])
{
    struct check c = begin(cluster, signer, why);
    return header_ok(&c, frame) && any_ok(&c, false);
}

/* The P entry alone, in a VIEW-CHANGE that claims nothing else. */
static bool prepared_ok(struct check *c)
{
    uint64_t view = number(&c->in, 8), sender = number(&c->in, 4), stable = number(&c->in, 8);
    (void)take(&c->in, DIGEST);
    uint64_t proof = number(&c->in, 8), count = number(&c->in, 4);
    struct entry e;
    if (c->in.bad || sender >= c->n || stable != 0 || proof != 0 || count != 1)
        return no(c, "a prepared record of another form");
    if (!entry_ok(c, &c->in, &e)) return false;
    if (e.view != view) return no(c, "a prepared record of two views");
    return c->in.left == SIGNATURE || no(c, "bytes behind a prepared record");
}

bool recheck_record(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                    uint32_t kind, struct pbft_span frame, char why[RECHECK_WHY_BYTES])
{
    struct check c = begin(cluster, signer, why);
    if (!header_ok(&c, frame)) return false;
    if (kind == PBFT_RECORD_PREPARED && c.type == PBFT_VIEW_CHANGE) return prepared_ok(&c);
    return any_ok(&c, kind == PBFT_RECORD_COMMITTED);
}

/* ---- O, computed anew ---- */

/* FAULTS 4.8, 4.12: the entry of the highest view for this n, or the null request. */
static void choose(const struct view_change *vcs, uint32_t count, uint64_t seq, uint8_t out[DIGEST])
{
    const struct entry *best = NULL;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < vcs[i].count; k++) {
            const struct entry *e = &vcs[i].entries[k];
            if (e->seq == seq && (best == NULL || e->view > best->view)) best = e;
        }
    if (best == NULL)
        null_digest(out);
    else
        memcpy(out, best->digest, DIGEST);
}

static bool selection_ok(struct check *c, const struct new_view *nv, const struct view_change *vcs,
                         uint32_t count)
{
    uint64_t min_s = 0, max_s = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (vcs[i].stable > min_s) min_s = vcs[i].stable;
        for (uint32_t k = 0; k < vcs[i].count; k++)
            if (vcs[i].entries[k].seq > max_s) max_s = vcs[i].entries[k].seq;
    }
    if (max_s < min_s) max_s = min_s;
    if (nv->min_s != min_s || nv->count != max_s - min_s)
        return no(c, "O covers (%llu, +%llu], not (%llu, %llu]", (unsigned long long)nv->min_s,
                  (unsigned long long)nv->count, (unsigned long long)min_s,
                  (unsigned long long)max_s);
    for (uint64_t i = 0; i < nv->count; i++) {
        uint8_t digest[DIGEST];
        choose(vcs, count, min_s + 1 + i, digest);
        if (!same(digest, nv->entries + i * (DIGEST + SIGNATURE), DIGEST))
            return no(c, "O has another digest at %llu", (unsigned long long)min_s + 1 + i);
    }
    return true;
}

static bool named_ok(struct check *c, const struct new_view *nv, struct pbft_span frame,
                     uint32_t index, struct view_change *out)
{
    uint64_t rest = nv->signers;
    for (uint32_t i = 0; i < index; i++)
        rest &= rest - 1;
    struct check own = begin(c->cluster, c->signer, c->why);
    uint8_t digest[DIGEST];
    if (!header_ok(&own, frame)) return false;
    if (own.type != PBFT_VIEW_CHANGE || !view_change_ok(&own, out))
        return no(c, "VIEW-CHANGE %u of a NEW-VIEW is none", index);
    hash_of("view-change", frame.data + HEADER_BYTES, frame.size - HEADER_BYTES - SIGNATURE,
            digest);
    if (!same(digest, nv->digests + (size_t)index * DIGEST, DIGEST))
        return no(c, "VIEW-CHANGE %u is not the one that was named", index);
    if (out->view != nv->view || out->sender >= 64 || (rest & -rest) != UINT64_C(1) << out->sender)
        return no(c, "VIEW-CHANGE %u is of another view or sender", index);
    return true;
}

bool recheck_new_view(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                      struct pbft_span new_view, const struct pbft_span *view_changes,
                      uint32_t count, char why[RECHECK_WHY_BYTES])
{
    struct check c = begin(cluster, signer, why);
    struct new_view nv;
    struct view_change vcs[PBFT_REPLICAS_MAX] = {{0}};
    if (!header_ok(&c, new_view)) return false;
    if (c.type != PBFT_NEW_VIEW) return no(&c, "it is no NEW-VIEW");
    if (!new_view_ok(&c, &nv)) return false;
    if (count != c.q) return no(&c, "%u VIEW-CHANGEs", count);
    bool ok = true;
    for (uint32_t i = 0; i < count && ok; i++)
        ok = named_ok(&c, &nv, view_changes[i], i, &vcs[i]);
    ok = ok && selection_ok(&c, &nv, vcs, count);
    for (uint32_t i = 0; i < count; i++)
        free(vcs[i].entries);
    return ok;
}

/* ---- evidence ---- */

/* What of a frame may exist once only, and who said it; false: nothing of that sort. */
struct said {
    uint8_t type;
    uint64_t view, seq, sender;
    struct pbft_span content;
};

static bool said_in(struct check *c, struct pbft_span frame, struct said *out)
{
    struct in in = {frame.data + HEADER_BYTES, frame.size - HEADER_BYTES, false};
    *out = (struct said){.type = c->type};
    switch (c->type) {
    case PBFT_PRE_PREPARE:
    case PBFT_HEADER: out->type = PBFT_PRE_PREPARE; break;
    case PBFT_PREPARE:
    case PBFT_COMMIT: break;
    case PBFT_CHECKPOINT:
        out->seq = number(&in, 8);
        out->content = (struct pbft_span){take(&in, DIGEST), DIGEST};
        out->sender = number(&in, 4);
        return true;
    case PBFT_VIEW_CHANGE:
    case PBFT_NEW_VIEW:
        out->content = (struct pbft_span){in.at, in.left - SIGNATURE};
        out->view = number(&in, 8);
        out->sender = number(&in, 4);
        return true;
    default: return no(c, "nobody is accused by this");
    }
    out->view = number(&in, 8);
    out->seq = number(&in, 8);
    out->content = (struct pbft_span){take(&in, DIGEST), DIGEST};
    out->sender = out->type == PBFT_PRE_PREPARE ? out->view % c->n : number(&in, 4);
    return true;
}

/* CHECKPOINT(n, root) against a certificate of q over another root at n. */
static bool against_certificate(struct check *c, const struct said *one, struct pbft_span frame)
{
    if (one->type != PBFT_CHECKPOINT) return no(c, "a certificate accuses no such statement");
    struct in in = {frame.data + HEADER_BYTES, frame.size - HEADER_BYTES, false};
    uint64_t kind = number(&in, 1);
    (void)number(&in, 8);
    uint64_t seq = number(&in, 8);
    const uint8_t *root = take(&in, DIGEST);
    if (kind != PBFT_CERT_CHECKPOINT || seq != one->seq) return no(c, "of another checkpoint");
    return !same(root, one->content.data, DIGEST) || no(c, "the two agree");
}

bool recheck_evidence(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                      pbft_id culprit, struct pbft_span first, struct pbft_span second,
                      char why[RECHECK_WHY_BYTES])
{
    struct check c = begin(cluster, signer, why);
    struct said one, two;
    if (!recheck_frame(cluster, signer, first, why)) return false;
    if (!recheck_frame(cluster, signer, second, why)) return false;
    if (!header_ok(&c, first) || !said_in(&c, first, &one)) return false;
    if (one.sender != culprit) return no(&c, "somebody else said it");
    if (!header_ok(&c, second)) return false;
    if (c.type == PBFT_CERTIFICATE) return against_certificate(&c, &one, second);
    if (!said_in(&c, second, &two)) return false;
    if (two.sender != culprit) return no(&c, "somebody else said the second");
    if (one.type != two.type || one.view != two.view || one.seq != two.seq)
        return no(&c, "the two are about different things");
    bool equal = one.content.size == two.content.size &&
                 same(one.content.data, two.content.data, one.content.size);
    return !equal || no(&c, "the two agree");
}
