/* Crafting messages, the toy state, and looking at what happened. */
#include "pbft/session.h"
#include "tests/rules/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALL_BASE_NS UINT64_C(1700000000000000000)

/* ---- frames and signatures ---- */

struct pbft_frame *net_frame_new(struct net *t, const struct pbft_msg *msg)
{
    size_t size = pbft_wire_size(msg);
    cr_assert_gt(size, 0u);
    struct pbft_frame *frame = pbft_frame_new(&t->frames.pool, (uint32_t)size);
    cr_assert_not_null(frame);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    cr_assert_eq(frame->size, size);
    return frame;
}

void net_sign(struct net *t, struct pbft_frame *frame, const struct pbft_secret_key *key)
{
    pbft_frame_sign(&t->cluster, &pbft_signer_fast, key, frame->bytes, frame->size);
}

static void sign_frame(void *context, uint8_t *frame, size_t size)
{
    struct net_node *node = context;
    pbft_frame_sign(&node->net->cluster, &pbft_signer_fast, &node->net->keys[node->id].secret,
                    frame, size);
}

static void sign_statement(struct net *t, pbft_id signer, uint8_t type, struct pbft_span body,
                           uint8_t *signature)
{
    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    size_t size = pbft_wire_signed_bytes(type, &t->cluster.id, t->cluster.epoch, body, bytes);
    pbft_signer_fast.sign(&t->keys[signer].secret, (struct pbft_span){bytes, size}, signature);
}

static void sign_body(void *context, uint8_t type, struct pbft_span body, uint8_t *signature)
{
    struct net_node *node = context;
    sign_statement(node->net, node->id, type, body, signature);
}

static void digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns,
                            uint32_t count, struct pbft_span leaves)
{
    (void)context;
    pbft_digest_proposal(out, time_ns, count, leaves);
}

void net_core_functions(struct net_node *node, struct pbft_core_functions *out)
{
    *out = (struct pbft_core_functions){.context = node,
                                        .digest_proposal = digest_proposal,
                                        .digest_null = pbft_digest_null,
                                        .digest_view_change = pbft_digest_view_change,
                                        .digest_new_view = pbft_digest_new_view,
                                        .sign_frame = sign_frame,
                                        .sign_body = sign_body};
}

struct pbft_frame *net_spoil(struct pbft_frame *frame)
{
    frame->bytes[pbft_wire_signature_offset(pbft_frame_span(frame))] ^= 1;
    return frame;
}

/* Signatures over PRE-PREPAREs, votes and CHECKPOINTs, as certificates hold them. */
static void sign_pre_prepare(struct net *t, pbft_id signer, pbft_view view, pbft_seq seq,
                             const struct pbft_digest *digest, uint8_t *signature)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_pre_prepare_body(view, seq, digest, body);
    sign_statement(t, signer, PBFT_PRE_PREPARE, (struct pbft_span){body, size}, signature);
}

static void sign_votes(struct net *t, uint8_t type, pbft_view view, pbft_seq seq,
                       const struct pbft_digest *digest, pbft_signers signers, uint8_t *out)
{
    uint8_t body[PBFT_BODY_MAX_BYTES];
    for (pbft_id id = 0; id < t->n; id++) {
        if (!pbft_signers_has(signers, id)) continue;
        size_t size = type == PBFT_CHECKPOINT ? pbft_wire_checkpoint_body(seq, digest, id, body)
                                              : pbft_wire_vote_body(view, seq, digest, id, body);
        sign_statement(t, id, type, (struct pbft_span){body, size}, out);
        out += PBFT_SIGNATURE_BYTES;
    }
}

/* ---- requests and proposals ---- */

struct pbft_frame *net_request_of(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                                  struct pbft_span op)
{
    uint8_t item[1u << 15];
    size_t size = op.size;
    cr_assert_lt(size, sizeof item - 4);
    pbft_put_u32(item, (uint32_t)size);
    memcpy(item + 4, op.data, size);
    struct pbft_msg m = {.type = PBFT_REQUEST};
    m.request.client = t->client_public[client];
    m.request.session = session;
    m.request.t = number;
    m.request.op_count = 1;
    m.request.ops = (struct pbft_span){item, size + 4};
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->client_keys[client].secret);
    return frame;
}

struct pbft_frame *net_request(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                               const char *op)
{
    struct pbft_span bytes = {(const uint8_t *)op, strlen(op)};
    return net_request_of(t, client, session, number, bytes);
}

static struct net_batch proposal(uint64_t time_ns, const struct pbft_frame *request)
{
    struct net_batch b = {.time_ns = time_ns};
    pbft_put_u64(b.bytes, time_ns);
    pbft_put_u32(b.bytes + 8, request != NULL);
    b.size = 12;
    uint8_t leaf[PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES];
    if (request != NULL) {
        cr_assert_leq(b.size + 4 + request->size, sizeof b.bytes);
        pbft_put_u32(b.bytes + b.size, request->size);
        memcpy(b.bytes + b.size + 4, request->bytes, request->size);
        b.size += 4 + (size_t)request->size;
        struct pbft_digest digest;
        pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(request)));
        memcpy(leaf, digest.bytes, PBFT_DIGEST_BYTES);
        memcpy(leaf + PBFT_DIGEST_BYTES, request->bytes + request->size - PBFT_SIGNATURE_BYTES,
               PBFT_SIGNATURE_BYTES);
    }
    pbft_digest_proposal(&b.digest, time_ns, request != NULL,
                         (struct pbft_span){leaf, request != NULL ? sizeof leaf : 0});
    return b;
}

struct net_batch net_batch_at(struct net *t, uint64_t time_ns, uint32_t client, uint64_t session,
                              uint64_t number, const char *op)
{
    struct pbft_frame *request = net_request(t, client, session, number, op);
    struct net_batch b = proposal(time_ns, request);
    pbft_frame_release(request);
    return b;
}

struct net_batch net_batch(struct net *t, uint32_t client, uint64_t session, uint64_t number,
                           const char *op)
{
    return net_batch_at(t, WALL_BASE_NS + t->now_ns, client, session, number, op);
}

struct net_batch net_batch_of(struct net *t, const struct pbft_frame *request)
{
    return proposal(WALL_BASE_NS + t->now_ns, request);
}

struct net_batch net_batch_empty(struct net *t, uint64_t time_ns)
{
    (void)t;
    return proposal(time_ns, NULL);
}

/* ---- messages of replicas ---- */

struct pbft_frame *net_pre_prepare(struct net *t, pbft_view view, pbft_seq seq,
                                   const struct net_batch *batch)
{
    struct pbft_msg m = {.type = PBFT_PRE_PREPARE};
    m.pre_prepare.view = view;
    m.pre_prepare.seq = seq;
    m.pre_prepare.digest = batch->digest;
    m.pre_prepare.proposal.bytes = (struct pbft_span){batch->bytes, batch->size};
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->keys[pbft_primary(t->n, view)].secret);
    return frame;
}

struct pbft_frame *net_header(struct net *t, pbft_view view, pbft_seq seq,
                              const struct pbft_digest *digest)
{
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    sign_pre_prepare(t, pbft_primary(t->n, view), view, seq, digest, signature);
    struct pbft_msg m = {.type = PBFT_HEADER};
    m.pre_prepare.view = view;
    m.pre_prepare.seq = seq;
    m.pre_prepare.digest = *digest;
    m.pre_prepare.signature = signature;
    return net_frame_new(t, &m);
}

struct pbft_frame *net_vote(struct net *t, uint8_t type, pbft_id sender, pbft_view view,
                            pbft_seq seq, const struct pbft_digest *digest)
{
    struct pbft_msg m = {.type = type};
    m.vote.view = view;
    m.vote.seq = seq;
    m.vote.digest = *digest;
    m.vote.sender = sender;
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->keys[sender].secret);
    return frame;
}

struct pbft_frame *net_checkpoint(struct net *t, pbft_id sender, pbft_seq seq,
                                  const struct pbft_digest *root)
{
    struct pbft_msg m = {.type = PBFT_CHECKPOINT};
    m.checkpoint.seq = seq;
    m.checkpoint.root = *root;
    m.checkpoint.sender = sender;
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->keys[sender].secret);
    return frame;
}

struct pbft_frame *net_batch_frame(struct net *t, const struct net_batch *batch)
{
    struct pbft_msg m = {.type = PBFT_BATCH};
    m.batch.bytes = (struct pbft_span){batch->bytes, batch->size};
    return net_frame_new(t, &m);
}

static struct pbft_frame *certificate(struct net *t, uint8_t kind, pbft_view view, pbft_seq seq,
                                      const struct pbft_digest *digest, pbft_signers signers,
                                      const struct net_batch *batch)
{
    uint8_t signatures[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES];
    sign_votes(t, kind == PBFT_CERT_COMMIT ? PBFT_COMMIT : PBFT_CHECKPOINT, view, seq, digest,
               signers, signatures);
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    m.certificate.kind = kind;
    m.certificate.view = view;
    m.certificate.seq = seq;
    m.certificate.digest = *digest;
    m.certificate.signatures = (struct pbft_signatures){signers, signatures};
    m.certificate.has_proposal = batch != NULL;
    if (batch != NULL) m.certificate.proposal.bytes = (struct pbft_span){batch->bytes, batch->size};
    return net_frame_new(t, &m);
}

struct pbft_frame *net_commit_certificate(struct net *t, pbft_view view, pbft_seq seq,
                                          const struct net_batch *batch, pbft_signers signers)
{
    const struct pbft_digest *digest = batch != NULL ? &batch->digest : &t->null_digest;
    return certificate(t, PBFT_CERT_COMMIT, view, seq, digest, signers, batch);
}

struct pbft_frame *net_checkpoint_certificate(struct net *t, pbft_seq seq,
                                              const struct pbft_digest *root, pbft_signers signers)
{
    return certificate(t, PBFT_CERT_CHECKPOINT, 0, seq, root, signers, NULL);
}

struct pbft_frame *net_status(struct net *t, pbft_view view, pbft_seq stable, pbft_seq executed,
                              uint64_t counter, uint8_t flags)
{
    struct pbft_msg m = {.type = PBFT_STATUS_MSG};
    m.status.view = view;
    m.status.stable = stable;
    m.status.executed = executed;
    m.status.counter = counter;
    m.status.flags = flags;
    return net_frame_new(t, &m);
}

/* ---- VIEW-CHANGE and NEW-VIEW ---- */

struct pbft_frame *net_view_change(struct net *t, const struct net_vc *vc)
{
    static uint8_t pre_prepares[NET_ENTRIES][PBFT_SIGNATURE_BYTES];
    static uint8_t prepares[NET_ENTRIES][PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES];
    uint8_t proof[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES] = {0};
    struct pbft_prepared entries[NET_ENTRIES];
    for (uint32_t i = 0; i < vc->entry_count; i++) {
        const struct net_entry *e = &vc->entries[i];
        sign_pre_prepare(t, pbft_primary(t->n, e->view), e->view, e->seq, &e->digest,
                         pre_prepares[i]);
        sign_votes(t, PBFT_PREPARE, e->view, e->seq, &e->digest, e->signers, prepares[i]);
        if (e->forged_pre_prepare) pre_prepares[i][7] ^= 1;
        if (e->forged_prepare) prepares[i][7] ^= 1;
        entries[i] = (struct pbft_prepared){.seq = e->seq,
                                            .view = e->view,
                                            .digest = e->digest,
                                            .pre_prepare_signature = pre_prepares[i],
                                            .prepares = {e->signers, prepares[i]}};
    }
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE};
    m.view_change.view = vc->view;
    m.view_change.sender = vc->sender;
    m.view_change.stable = vc->stable;
    m.view_change.stable_root = vc->root;
    if (vc->stable == 0 && pbft_digest_is_zero(&vc->root))
        m.view_change.stable_root = t->cluster.genesis_root;
    sign_votes(t, PBFT_CHECKPOINT, 0, vc->stable, &vc->root, vc->proof, proof);
    if (vc->forged_proof) proof[7] ^= 1;
    m.view_change.stable_proof = (struct pbft_signatures){vc->proof, proof};
    m.view_change.prepared_count = vc->entry_count;
    m.view_change.prepared = entries;
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->keys[vc->sender].secret);
    return frame;
}

const struct pbft_msg *net_decode(struct net *t, const struct pbft_frame *frame)
{
    static _Alignas(16) uint8_t memory[65536];
    static struct pbft_msg msg;
    struct pbft_arena arena = {memory, sizeof memory, 0};
    enum pbft_verdict verdict = pbft_wire_decode(pbft_frame_span(frame), &t->params, &arena, &msg);
    cr_assert_eq(verdict, PBFT_OK, "%s", pbft_verdict_text(verdict));
    return &msg;
}

struct net_nv net_new_view(struct net *t, pbft_view view, struct pbft_frame *const *vcs,
                           uint32_t count)
{
    struct net_nv nv = {.view = view};
    nv.sender = nv.signer = nv.entry_signer = pbft_primary(t->n, view);
    struct pbft_digest by_id[PBFT_REPLICAS_MAX] = {{{0}}};
    pbft_view best[NET_SEQ_MAX] = {0};
    static struct pbft_digest digest[NET_SEQ_MAX];
    bool known[NET_SEQ_MAX] = {false};
    pbft_seq max_s = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct pbft_view_change *m = &net_decode(t, vcs[i])->view_change;
        nv.signers |= NET_BIT(m->sender);
        pbft_digest_view_change(&by_id[m->sender], m->body);
        if (m->stable > nv.min_s) nv.min_s = m->stable;
        for (uint32_t k = 0; k < m->prepared_count; k++) {
            const struct pbft_prepared *e = &m->prepared[k];
            if (e->seq > max_s) max_s = e->seq;
            if (known[e->seq] && e->view <= best[e->seq]) continue;
            known[e->seq] = true;
            best[e->seq] = e->view;
            digest[e->seq] = e->digest;
        }
    }
    unsigned at = 0;
    for (pbft_id id = 0; id < t->n; id++)
        if (pbft_signers_has(nv.signers, id)) nv.vc_digests[at++] = by_id[id];
    for (pbft_seq seq = nv.min_s + 1; seq <= max_s; seq++)
        nv.digests[nv.count++] = known[seq] ? digest[seq] : t->null_digest;
    return nv;
}

struct pbft_frame *net_new_view_frame(struct net *t, const struct net_nv *nv)
{
    uint8_t entries[NET_ENTRIES * PBFT_NEW_VIEW_ENTRY_BYTES], *at = entries;
    for (uint32_t i = 0; i < nv->count; i++, at += PBFT_NEW_VIEW_ENTRY_BYTES) {
        memcpy(at, nv->digests[i].bytes, PBFT_DIGEST_BYTES);
        sign_pre_prepare(t, nv->entry_signer, nv->view, nv->min_s + 1 + i, &nv->digests[i],
                         at + PBFT_DIGEST_BYTES);
    }
    struct pbft_msg m = {.type = PBFT_NEW_VIEW};
    m.new_view.view = nv->view;
    m.new_view.sender = nv->sender;
    m.new_view.signers = nv->signers;
    m.new_view.vc_digests = nv->vc_digests[0].bytes;
    m.new_view.min_s = nv->min_s;
    m.new_view.count = nv->count;
    m.new_view.entries = entries;
    struct pbft_frame *frame = net_frame_new(t, &m);
    net_sign(t, frame, &t->keys[nv->signer].secret);
    return frame;
}

/* ---- the toy state ---- */

void net_state_genesis(struct net_state *state)
{
    memset(state, 0, sizeof *state);
}

struct pbft_digest net_root(const struct net *t, const struct net_state *state)
{
    (void)t;
    struct pbft_digest root;
    struct pbft_span parts[] = {{(const uint8_t *)&state->seq, sizeof state->seq},
                                {state->chain.bytes, sizeof state->chain},
                                {(const uint8_t *)&state->effective_ns, sizeof state->effective_ns},
                                {(const uint8_t *)state->done,
                                 state->done_count * sizeof *state->done}};
    pbft_hash(&root, "toy-root", parts, 4);
    return root;
}

static bool recorded(const struct net_state *state, uint32_t client, const struct pbft_request *r)
{
    for (uint32_t i = 0; i < state->done_count; i++)
        if (state->done[i].client == client && state->done[i].session == r->session &&
            state->done[i].t == r->t)
            return true;
    return false;
}

static void execute_request(struct net_node *node, const struct pbft_request *r,
                            struct pbft_done_request *done)
{
    struct net *t = node->net;
    struct net_state *state = &node->state;
    uint32_t client;
    cr_assert(pbft_cluster_client(&t->cluster, &r->client, &client));
    *done = (struct pbft_done_request){client, r->session, r->t, 0};
    if (recorded(state, client, r)) return; /* exactly once */
    struct pbft_digest digest;
    pbft_digest_request(&digest, r->body);
    struct pbft_span parts[] = {{state->chain.bytes, sizeof state->chain},
                                {digest.bytes, sizeof digest}};
    pbft_hash(&state->chain, "toy", parts, 2);
    cr_assert_lt(state->done_count, NET_DONE_MAX);
    struct net_done *record = &state->done[state->done_count++];
    memset(record, 0, sizeof *record);
    record->client = client;
    record->session = r->session;
    record->t = r->t;
    record->request = digest;
    state->executed++;
}

void net_execute(struct net_node *node, struct pbft_span bytes, bool null,
                 struct pbft_done_request *done, uint32_t *done_count, uint32_t capacity)
{
    struct net *t = node->net;
    struct net_state *state = &node->state;
    state->seq++;
    *done_count = 0;
    if (!null) {
        _Alignas(16) static uint8_t memory[65536];
        struct pbft_arena arena = {memory, sizeof memory, 0};
        struct pbft_proposal p;
        cr_assert_eq(pbft_wire_decode_proposal(bytes, &t->params, &arena, &p), PBFT_OK);
        cr_assert_leq(p.request_count, capacity);
        if (p.time_ns > state->effective_ns) state->effective_ns = p.time_ns;
        for (uint32_t i = 0; i < p.request_count; i++)
            execute_request(node, &p.requests[i], &done[(*done_count)++]);
    }
    if (node->diverge_at != 0 && state->seq == node->diverge_at) state->chain.bytes[0] ^= 1;
}

/* ---- looking ---- */

uint64_t net_wall(const struct net *t, pbft_id id)
{
    return WALL_BASE_NS + t->now_ns + (uint64_t)t->nodes[id].wall_skew_ns;
}

pbft_signers net_running(const struct net *t)
{
    pbft_signers who = 0;
    for (pbft_id id = 0; id < t->n; id++)
        if (!t->nodes[id].puppet && !t->nodes[id].down) who |= NET_BIT(id);
    return who;
}

struct pbft_core_info net_info(const struct net *t, pbft_id id)
{
    struct pbft_core_info info;
    cr_assert_not_null(t->nodes[id].core);
    pbft_core_info(t->nodes[id].core, &info);
    return info;
}

enum pbft_phase net_phase(const struct net *t, pbft_id id, pbft_seq seq, struct pbft_digest *digest)
{
    pbft_view view;
    struct pbft_digest unused;
    return pbft_core_phase(t->nodes[id].core, seq, &view, digest != NULL ? digest : &unused);
}

pbft_signers net_replied(const struct net *t, uint32_t client, uint64_t session, uint64_t number)
{
    pbft_signers who = 0;
    for (size_t i = 0; i < t->reply_count; i++) {
        const struct net_reply *r = &t->replies[i];
        if (r->client == client && r->session == session && r->t == number) who |= NET_BIT(r->node);
    }
    return who;
}

bool net_roots_equal(const struct net *t, pbft_signers who)
{
    if (who == 0) who = net_running(t);
    struct pbft_digest first = {{0}};
    bool have = false;
    for (pbft_id id = 0; id < t->n; id++) {
        if (!pbft_signers_has(who, id)) continue;
        struct pbft_digest root = net_root(t, &t->nodes[id].state);
        if (have && !pbft_digest_equal(&root, &first)) return false;
        first = root;
        have = true;
    }
    return have;
}

uint32_t net_records(const struct net *t, pbft_id id, enum pbft_record_kind kind)
{
    uint32_t count = 0;
    for (size_t i = 0; i < t->nodes[id].record_count; i++)
        if (t->nodes[id].records[i].kind == kind) count++;
    return count;
}

uint64_t net_sent(const struct net *t, uint8_t type)
{
    uint64_t count = 0;
    for (pbft_id id = 0; id < t->n; id++)
        count += t->nodes[id].sent[type];
    return count;
}

bool net_accused(const struct net *t, pbft_id by, pbft_id culprit)
{
    for (uint32_t i = 0; i < t->nodes[by].evidence_count; i++)
        if (t->nodes[by].evidence[i].culprit == culprit) return true;
    return false;
}

static void dump_counts(const char *what, const uint64_t *counts)
{
    (void)fprintf(stderr, "\n    %s:", what);
    for (unsigned k = 0; k < NET_TYPES; k++)
        if (counts[k] != 0)
            (void)fprintf(stderr, " %s=%lu", pbft_type_text((uint8_t)k), (unsigned long)counts[k]);
}

void net_dump(const struct net *t)
{
    for (pbft_id id = 0; id < t->n; id++) {
        const struct net_node *node = &t->nodes[id];
        if (node->puppet || node->down) continue;
        struct pbft_core_info i = net_info(t, id);
        (void)fprintf(stderr,
                      "%u: view %lu%s h %lu executed %lu committed %lu proposed %lu pending %u "
                      "time-out %lu ms, %u transfers%s%s",
                      id, (unsigned long)i.view, i.view_active ? "" : " (changing)",
                      (unsigned long)i.stable, (unsigned long)i.executed,
                      (unsigned long)i.committed, (unsigned long)i.proposed, i.pending,
                      (unsigned long)(i.view_timeout_ns / MS), node->transfers,
                      i.transferring ? ", transferring" : "", i.mute ? ", mute" : "");
        dump_counts("sent", node->sent);
        dump_counts("received", node->received);
        (void)fprintf(stderr, "\n    verdicts:");
        for (unsigned k = 0; k < PBFT_VERDICT_COUNT; k++)
            if (node->verdicts[k] != 0)
                (void)fprintf(stderr, " %s=%lu", pbft_verdict_text((enum pbft_verdict)k),
                              (unsigned long)node->verdicts[k]);
        (void)fprintf(stderr, "\n");
    }
}
