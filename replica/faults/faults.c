#include "replica/faults/faults.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "replica/faults/witness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SLACK     4096u
#define DELAY_QUEUE_MAX 65536u /* frames held back; beyond it they are lost, as on a slow link */
#define REPLAY_KEPT     256u   /* recorded frames */
#define REPLAY_EVERY    3u     /* one old frame after so many new ones */

enum strategy {
    SILENT,
    EQUIVOCATE,
    LIE_REPLY,
    WRONG_DIGEST,
    BAD_SIGNATURE,
    CENSOR,
    DELAY,
    REPLAY,
    FORGE_NEW_VIEW,
    WRONG_CHECKPOINT,
    WRONG_PAGE,
    FLIP_STATE,
    WITNESS,
};

struct delayed {
    uint64_t due_ns;
    struct pbft_peer to;
    struct pbft_frame *frame;
};

struct pbft_faults {
    struct pbft_faults_config config;
    enum strategy strategy;
    uint64_t argument;
    uint64_t acts;
    uint64_t now_ns;
    struct pbft_arena arena;
    struct pbft_witness *witness;
    struct pbft_damage damage;
    struct delayed *delayed; /* ring */
    uint32_t delayed_first, delayed_count;
    struct pbft_frame *recorded[REPLAY_KEPT];
    uint32_t recorded_count, recorded_next, sent_since;
};

/* ---- forging ---- */

static struct pbft_frame *copy_frame(struct pbft_faults *f, const struct pbft_frame *frame)
{
    struct pbft_frame *copy = pbft_frame_new(f->config.pool, frame->size);
    if (copy == NULL) return NULL;
    memcpy(copy->bytes, frame->bytes, frame->size);
    copy->size = frame->size;
    return copy;
}

static void sign(struct pbft_faults *f, struct pbft_frame *frame)
{
    pbft_frame_sign(f->config.cluster, f->config.signer, &f->config.keypair->secret, frame->bytes,
                    frame->size);
}

/* An adversary reads what it forges; honest code leaves decoding to the door. */
static bool decode(struct pbft_faults *f, struct pbft_frame *frame, struct pbft_msg *msg)
{
    f->arena.used = 0;
    return pbft_wire_decode(pbft_frame_span(frame), &f->config.cluster->params, &f->arena, msg) ==
           PBFT_OK;
}

static struct pbft_frame *encode(struct pbft_faults *f, const struct pbft_msg *msg)
{
    size_t size = pbft_wire_size(msg);
    if (size == 0) return NULL; /* the forgery is no message at all */
    struct pbft_frame *frame = pbft_frame_new(f->config.pool, (uint32_t)size);
    if (frame == NULL) return NULL;
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, size);
    return frame;
}

/* The same requests under another agreed time: another proposal with another digest. */
static struct pbft_frame *forge_proposal(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    if (!decode(f, frame, &msg)) return NULL;
    struct pbft_proposal *p = &msg.pre_prepare.proposal;
    size_t leaf_bytes = PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES;
    uint8_t *leaves = malloc(p->request_count * leaf_bytes + 1u);
    struct pbft_frame *forged = copy_frame(f, frame);
    if (leaves == NULL || forged == NULL) {
        free(leaves);
        pbft_frame_release(forged);
        return NULL;
    }
    for (uint32_t i = 0; i < p->request_count; i++) {
        struct pbft_digest digest;
        pbft_digest_request(&digest, p->requests[i].body);
        memcpy(leaves + i * leaf_bytes, digest.bytes, PBFT_DIGEST_BYTES);
        memcpy(leaves + i * leaf_bytes + PBFT_DIGEST_BYTES, p->requests[i].signature,
               PBFT_SIGNATURE_BYTES);
    }
    struct pbft_digest digest;
    pbft_digest_proposal(&digest, p->time_ns + 1, p->request_count,
                         (struct pbft_span){leaves, p->request_count * leaf_bytes});
    free(leaves);
    size_t proposal_at = (size_t)(p->bytes.data - frame->bytes);
    pbft_put_u64(forged->bytes + proposal_at, p->time_ns + 1);
    pbft_wire_pre_prepare_body(msg.pre_prepare.view, msg.pre_prepare.seq, &digest,
                               forged->bytes + PBFT_WIRE_HEADER_BYTES);
    sign(f, forged);
    return forged;
}

static struct pbft_frame *forge_vote(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    if (!decode(f, frame, &msg)) return NULL;
    if (msg.type == PBFT_CHECKPOINT)
        msg.checkpoint.root.bytes[0] ^= 0x55;
    else
        msg.vote.digest.bytes[0] ^= 0x55;
    struct pbft_frame *forged = encode(f, &msg);
    if (forged != NULL) sign(f, forged);
    return forged;
}

/* A wrong result with the right hash of itself. */
static struct pbft_frame *forge_reply(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    if (!decode(f, frame, &msg)) return NULL;
    bool query = msg.type == PBFT_QUERY_REPLY;
    struct pbft_span body = query ? msg.query_reply.body : msg.reply.body;
    uint8_t flags = query ? msg.query_reply.flags : msg.reply.flags;
    struct pbft_digest *result = query ? &msg.query_reply.result : &msg.reply.result;
    uint8_t *wrong = NULL;
    if ((flags & PBFT_REPLY_HAS_BODY) != 0 && body.size > 0) {
        wrong = malloc(body.size);
        if (wrong == NULL) return NULL;
        memcpy(wrong, body.data, body.size);
        wrong[body.size - 1] ^= 0x55;
        if (query) {
            msg.query_reply.body.data = wrong;
            pbft_digest_query(result, msg.query_reply.outcome, msg.query_reply.mark,
                              msg.query_reply.body);
        } else {
            msg.reply.body.data = wrong;
            pbft_digest_result(result, msg.reply.outcome, msg.reply.body);
        }
    } else {
        result->bytes[0] ^= 0x55;
    }
    struct pbft_frame *forged = encode(f, &msg);
    free(wrong);
    if (forged != NULL) return forged;
    /* The flipped byte was a length: lie with a bare digest instead. */
    if (query) {
        msg.query_reply.flags &= (uint8_t)~PBFT_REPLY_HAS_BODY;
        msg.query_reply.body = (struct pbft_span){NULL, 0};
    } else {
        msg.reply.flags &= (uint8_t)~PBFT_REPLY_HAS_BODY;
        msg.reply.body = (struct pbft_span){NULL, 0};
    }
    result->bytes[0] ^= 0x55;
    return encode(f, &msg);
}

/* A NEW-VIEW whose O forgets what was prepared, or re-proposes what never was. */
static struct pbft_frame *forge_new_view(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    if (!decode(f, frame, &msg)) return NULL;
    struct pbft_new_view *nv = &msg.new_view;
    uint32_t count = nv->count == 0 ? 1 : nv->count;
    uint8_t *entries = malloc((size_t)count * PBFT_NEW_VIEW_ENTRY_BYTES);
    if (entries == NULL) return NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        struct pbft_digest digest;
        pbft_digest_null(&digest);
        digest.bytes[0] ^= (uint8_t)(nv->count == 0);
        memcpy(entry, digest.bytes, PBFT_DIGEST_BYTES);
        uint8_t body[PBFT_BODY_MAX_BYTES], bytes[PBFT_SIGNED_MAX_BYTES];
        size_t size = pbft_wire_pre_prepare_body(nv->view, nv->min_s + 1 + i, &digest, body);
        size_t signed_size =
            pbft_wire_signed_bytes(PBFT_PRE_PREPARE, &f->config.cluster->id,
                                   f->config.cluster->epoch, (struct pbft_span){body, size}, bytes);
        f->config.signer->sign(&f->config.keypair->secret, (struct pbft_span){bytes, signed_size},
                               entry + PBFT_DIGEST_BYTES);
    }
    if (nv->count > 0 && memcmp(entries, nv->entries, PBFT_DIGEST_BYTES) == 0) {
        /* It was all null requests: claim one more instead. */
        nv->min_s += 1;
    }
    nv->count = count;
    nv->entries = entries;
    struct pbft_frame *forged = encode(f, &msg);
    free(entries);
    if (forged != NULL) sign(f, forged);
    return forged;
}

/* ---- acting ---- */

/* A memory fault: the replica means well, and knows nothing of it. */
static void flip_state(struct pbft_faults *f, struct pbft_node *node)
{
    struct pbft_node_info info;
    if (f->acts > 0) return;
    pbft_node_info(node, &info);
    if (info.applied < f->argument) return;
    uint64_t pick = (info.applied + f->config.id) * UINT64_C(0x9E3779B97F4A7C15);
    if (pbft_damage_state(node, pick ^ pick >> 32, &f->damage)) f->acts++;
}

static bool emit_instead(struct pbft_faults *f, struct pbft_node *node, const struct pbft_peer *to,
                         struct pbft_frame *forged)
{
    if (forged == NULL) return true;
    f->acts++;
    pbft_node_emit(node, to, forged);
    pbft_frame_release(forged);
    return false;
}

static bool signed_by_us(const struct pbft_frame *frame)
{
    switch (frame->bytes[0]) {
    case PBFT_PRE_PREPARE:
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE:
    case PBFT_NEW_VIEW: return true;
    default: return false;
    }
}

/* The answer to a backup's question for pages, as opposed to other answers: a list of items. */
static bool answers_pages(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    struct pbft_span page;
    size_t at = 0;
    if (!decode(f, frame, &msg) || msg.admin_reply.ok == 0 || msg.admin_reply.body.size == 0)
        return false;
    while (pbft_wire_next_item(msg.admin_reply.body, &at, &page)) {
    }
    return at == msg.admin_reply.body.size;
}

static struct pbft_frame *forge_page(struct pbft_faults *f, const struct pbft_frame *frame)
{
    struct pbft_frame *forged = copy_frame(f, frame);
    if (forged != NULL) forged->bytes[forged->size - 1] ^= 1u;
    return forged;
}

static bool delay_frame(struct pbft_faults *f, const struct pbft_peer *to, struct pbft_frame *frame)
{
    f->acts++;
    if (f->delayed_count == DELAY_QUEUE_MAX) return false;
    struct delayed *d = &f->delayed[(f->delayed_first + f->delayed_count++) % DELAY_QUEUE_MAX];
    d->due_ns = f->now_ns + f->argument * 1000000u;
    d->to = *to;
    d->frame = pbft_frame_retain(frame);
    return false;
}

static void record(struct pbft_faults *f, struct pbft_frame *frame)
{
    struct pbft_frame **place = &f->recorded[f->recorded_next++ % REPLAY_KEPT];
    pbft_frame_release(*place);
    *place = pbft_frame_retain(frame);
    if (f->recorded_count < REPLAY_KEPT) f->recorded_count++;
}

static void replay_one(struct pbft_faults *f, struct pbft_node *node, const struct pbft_peer *to)
{
    if (f->recorded_count == 0 || ++f->sent_since % REPLAY_EVERY != 0) return;
    /* A stride that is coprime to the ring walks all of it. */
    struct pbft_frame *old = f->recorded[(f->sent_since * 37u) % f->recorded_count];
    f->acts++;
    pbft_node_emit(node, to, old);
}

static bool outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                     struct pbft_frame *frame)
{
    struct pbft_faults *f = context;
    uint8_t type = frame->bytes[0];
    bool replica = to->kind == PBFT_PEER_REPLICA;
    switch (f->strategy) {
    case SILENT: f->acts++; return false;
    case EQUIVOCATE:
        if (type != PBFT_PRE_PREPARE || (to->index & 1u) == 0) return true;
        return emit_instead(f, node, to, forge_proposal(f, frame));
    case LIE_REPLY:
        if (type != PBFT_REPLY && type != PBFT_QUERY_REPLY) return true;
        return emit_instead(f, node, to, forge_reply(f, frame));
    case WRONG_DIGEST:
        if (type != PBFT_PREPARE && type != PBFT_COMMIT) return true;
        return emit_instead(f, node, to, forge_vote(f, frame));
    case WRONG_CHECKPOINT:
        if (type != PBFT_CHECKPOINT) return true;
        return emit_instead(f, node, to, forge_vote(f, frame));
    case WRONG_PAGE:
        if (type != PBFT_PAGE && (type != PBFT_ADMIN_REPLY || !answers_pages(f, frame)))
            return true;
        return emit_instead(f, node, to, forge_page(f, frame));
    case BAD_SIGNATURE: {
        if (!replica || !signed_by_us(frame)) return true;
        struct pbft_frame *forged = copy_frame(f, frame);
        if (forged != NULL) forged->bytes[pbft_wire_signature_offset(pbft_frame_span(frame))] ^= 1u;
        return emit_instead(f, node, to, forged);
    }
    case FORGE_NEW_VIEW:
        /* Only its own: a NEW-VIEW that it relays is not its to sign. The view opens the body. */
        if (type != PBFT_NEW_VIEW ||
            pbft_primary(f->config.cluster->params.n,
                         pbft_get_u64(frame->bytes + PBFT_WIRE_HEADER_BYTES)) != f->config.id)
            return true;
        return emit_instead(f, node, to, forge_new_view(f, frame));
    case DELAY: return replica ? delay_frame(f, to, frame) : true;
    case REPLAY:
        if (!replica) return true;
        record(f, frame);
        replay_one(f, node, to);
        return true;
    case WITNESS:
        if (replica && pbft_witness_see(f->witness, true, frame)) f->acts++;
        return true;
    case FLIP_STATE:
    case CENSOR: return true;
    }
    return true;
}

static bool from_client(const struct pbft_faults *f, const struct pbft_peer *from,
                        const struct pbft_frame *frame)
{
    if (f->argument >= f->config.cluster->client_count) return false;
    if (from->kind == PBFT_PEER_CLIENT) return from->index == f->argument;
    return frame->bytes[0] == PBFT_REQUEST &&
           frame->size >= PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES &&
           memcmp(frame->bytes + PBFT_WIRE_HEADER_BYTES,
                  f->config.cluster->clients[f->argument].bytes, PBFT_PUBLIC_KEY_BYTES) == 0;
}

static bool inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                    struct pbft_frame *frame)
{
    struct pbft_faults *f = context;
    if (f->strategy == FLIP_STATE) flip_state(f, node);
    if (frame->size < PBFT_WIRE_HEADER_BYTES) return true;
    if (f->strategy == CENSOR && from_client(f, from, frame)) {
        f->acts++;
        return false;
    }
    if (f->strategy == REPLAY && from->kind == PBFT_PEER_REPLICA) record(f, frame);
    if (f->strategy == WITNESS && from->kind == PBFT_PEER_REPLICA &&
        pbft_witness_see(f->witness, false, frame))
        f->acts++;
    return true;
}

/* ---- the object ---- */

static bool parse(const char *spec, struct pbft_faults *f, char error[256])
{
    const char *equals = strchr(spec, '=');
    size_t length = equals == NULL ? strlen(spec) : (size_t)(equals - spec);
    for (unsigned i = 0; pbft_fault_strategies[i].name != NULL; i++) {
        const struct pbft_fault_strategy *s = &pbft_fault_strategies[i];
        if (strlen(s->name) != length || strncmp(s->name, spec, length) != 0) continue;
        f->strategy = (enum strategy)i;
        if (s->argument == NULL && equals == NULL) return true;
        char *end = NULL;
        if (s->argument != NULL && equals != NULL && equals[1] >= '0' && equals[1] <= '9')
            f->argument = strtoull(equals + 1, &end, 10);
        if (end != NULL && *end == '\0' && f->argument <= UINT32_MAX) return true;
        snprintf(error, 256, "strategy '%s' is written %s%s%s.", s->name, s->name,
                 s->argument == NULL ? "" : "=", s->argument == NULL ? "" : s->argument);
        return false;
    }
    snprintf(error, 256, "there is no strategy '%.40s': see `pbftctl faults list`.", spec);
    return false;
}

struct pbft_faults *pbft_faults_new(const char *spec, const struct pbft_faults_config *config,
                                    char error[256])
{
    struct pbft_faults *f = calloc(1, sizeof *f);
    if (f == NULL) {
        snprintf(error, 256, "out of memory.");
        return NULL;
    }
    f->config = *config;
    if (!parse(spec, f, error)) {
        free(f);
        return NULL;
    }
    if (f->strategy == WITNESS) {
        f->witness = pbft_witness_open(config->cluster, config->id, error);
        if (f->witness == NULL) {
            free(f);
            return NULL;
        }
    }
    f->arena.size = pbft_wire_arena_bytes(&config->cluster->params) + ARENA_SLACK;
    f->arena.base = malloc(f->arena.size);
    if (f->strategy == DELAY) f->delayed = calloc(DELAY_QUEUE_MAX, sizeof *f->delayed);
    if (f->arena.base == NULL || (f->strategy == DELAY && f->delayed == NULL)) {
        snprintf(error, 256, "out of memory.");
        pbft_faults_free(f);
        return NULL;
    }
    return f;
}

void pbft_faults_free(struct pbft_faults *f)
{
    if (f == NULL) return;
    for (uint32_t i = 0; f->delayed != NULL && i < f->delayed_count; i++)
        pbft_frame_release(f->delayed[(f->delayed_first + i) % DELAY_QUEUE_MAX].frame);
    for (uint32_t i = 0; i < REPLAY_KEPT; i++)
        pbft_frame_release(f->recorded[i]);
    free(f->delayed);
    pbft_witness_close(f->witness);
    free(f->arena.base);
    free(f);
}

struct pbft_node_hooks pbft_faults_hooks(struct pbft_faults *faults)
{
    return (struct pbft_node_hooks){.context = faults, .outbound = outbound, .inbound = inbound};
}

void pbft_faults_tick(struct pbft_faults *f, struct pbft_node *node, uint64_t now_ns)
{
    f->now_ns = now_ns;
    while (f->delayed_count > 0 && f->delayed[f->delayed_first].due_ns <= now_ns) {
        struct delayed d = f->delayed[f->delayed_first];
        f->delayed_first = (f->delayed_first + 1) % DELAY_QUEUE_MAX;
        f->delayed_count--;
        pbft_node_emit(node, &d.to, d.frame);
        pbft_frame_release(d.frame);
    }
}

uint64_t pbft_faults_deadline(const struct pbft_faults *f)
{
    return f->delayed_count == 0 ? UINT64_MAX : f->delayed[f->delayed_first].due_ns;
}

uint64_t pbft_faults_acts(const struct pbft_faults *f)
{
    return f->acts;
}

const struct pbft_damage *pbft_faults_damage(const struct pbft_faults *f)
{
    return f->strategy == FLIP_STATE && f->acts > 0 ? &f->damage : NULL;
}
