/* Byzantine replicas that spoil what a real node says, at random. */
#include "tests/sim/mutator.h"

#include "crypto/hash.h"
#include "crypto/signed_body.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS      96u /* frames remembered, for replays and delays */
#define DIGESTS      64u
#define ENTRIES_MAX  64u
#define REQUESTS_MAX 16u

struct liar {
    struct mutator *m;
    pbft_id id;
    struct pbft_node_hooks hooks;
    bool shy; /* drops nearly everything for a while */
};

struct mutator {
    struct sim *sim;
    const struct pbft_cluster *cluster;
    uint32_t n;
    pbft_signers liars;
    struct liar liar[PBFT_REPLICAS_MAX];
    uint32_t per_mille;
    uint64_t acts;
    struct pbft_frame *records[RECORDS];
    struct pbft_digest digests[DIGESTS];
    size_t digest_next;
    pbft_view high_view; /* highest that a correct replica spoke of */
    pbft_seq high_seq;
    struct pbft_arena arena;
};

static uint64_t roll(struct mutator *m, uint64_t below)
{
    return sim_random(m->sim, below);
}

static bool chance(struct mutator *m, uint32_t per_mille)
{
    return roll(m, 1000) < per_mille;
}

static const struct pbft_params *params(const struct mutator *m)
{
    return &m->cluster->params;
}

/* ---- what was heard ---- */

static void record(struct mutator *m, struct pbft_frame *frame)
{
    size_t at = roll(m, RECORDS);
    pbft_frame_release(m->records[at]);
    m->records[at] = pbft_frame_retain(frame);
}

static struct pbft_digest some_digest(struct mutator *m)
{
    struct pbft_digest d;
    switch (roll(m, 6)) {
    case 0: pbft_digest_null(&d); return d;
    case 1: memset(&d, 0, sizeof d); return d;
    case 2:
        for (unsigned i = 0; i < sizeof d.bytes; i++)
            d.bytes[i] = (uint8_t)roll(m, 256);
        return d;
    default: return m->digests[roll(m, DIGESTS)];
    }
}

static void listen(struct mutator *m, struct pbft_frame *frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(pbft_frame_span(frame), &claim) != PBFT_OK) return;
    if (!pbft_digest_is_zero(&claim.digest)) m->digests[m->digest_next++ % DIGESTS] = claim.digest;
    if (chance(m, 200) || claim.type == PBFT_VIEW_CHANGE || claim.type == PBFT_NEW_VIEW)
        record(m, frame);
}

/* ---- numbers ---- */

static uint64_t other_number(struct mutator *m, uint64_t x)
{
    uint64_t k = params(m)->checkpoint_interval, l = params(m)->window;
    switch (roll(m, 16)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return UINT64_MAX - 1;
    case 3: return UINT64_MAX - l;
    case 4: return UINT64_C(1) << 63;
    case 5:
    case 6: return x - 1;
    case 7:
    case 8: return x + 1;
    case 9: return x + k;
    case 10: return x - k;
    case 11: return x + l;
    case 12: return x + m->n;
    case 13: return m->high_seq;
    case 14: return m->high_view + 1;
    default: return x + roll(m, 2 * l) - l;
    }
}

static pbft_seq near_seq(struct mutator *m)
{
    pbft_seq above = m->high_seq + roll(m, params(m)->window + 8) + 1;
    return above - roll(m, params(m)->window);
}

static void look(struct mutator *m)
{
    m->high_view = m->high_seq = 0;
    for (pbft_id id = 0; id < m->n; id++) {
        if (pbft_signers_has(m->liars, id) || !sim_alive(m->sim, id)) continue;
        struct pbft_core_info info = sim_info(m->sim, id).core;
        if (info.view > m->high_view) m->high_view = info.view;
        if (info.committed > m->high_seq) m->high_seq = info.committed;
    }
}

/* ---- altering a frame ---- */

static void resign(struct mutator *m, pbft_id as, struct pbft_frame *frame)
{
    if (pbft_wire_signed_body(pbft_frame_span(frame)).data == NULL) return;
    if (frame->bytes[0] == PBFT_REQUEST) return; /* no client's key is ours */
    pbft_frame_sign(m->cluster, sim_signer(m->sim), &sim_replica_key(m->sim, as)->secret,
                    frame->bytes, frame->size);
}

static struct pbft_frame *copy_of(struct mutator *m, const struct pbft_frame *frame)
{
    struct pbft_frame *copy = pbft_frame_new(sim_pool(m->sim), frame->size + 64);
    PBFT_ASSERT(copy != NULL);
    memcpy(copy->bytes, frame->bytes, frame->size);
    copy->size = frame->size;
    return copy;
}

/* Somewhere in the bytes: a number, a digest, a byte, the length. Signed again. */
static struct pbft_frame *altered_bytes(struct mutator *m, pbft_id as, const struct pbft_frame *f)
{
    static const size_t places[] = {8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 88, 96, 104};
    struct pbft_frame *frame = copy_of(m, f);
    size_t at =
        chance(m, 700) ? places[roll(m, sizeof places / sizeof places[0])] : roll(m, frame->size);
    switch (roll(m, 5)) {
    case 0:
        if (at < frame->size) frame->bytes[at] ^= (uint8_t)(1u << roll(m, 8));
        break;
    case 1:
        if (at + PBFT_DIGEST_BYTES <= frame->size) {
            struct pbft_digest d = some_digest(m);
            memcpy(frame->bytes + at, d.bytes, sizeof d.bytes);
        }
        break;
    case 2:
        if (chance(m, 500) && frame->size > 9)
            frame->size -= (uint32_t)roll(m, frame->size - 8);
        else
            frame->bytes[frame->size++] = (uint8_t)roll(m, 256);
        break;
    default:
        if (at + 8 <= frame->size)
            pbft_put_u64(frame->bytes + at, other_number(m, pbft_get_u64(frame->bytes + at)));
        break;
    }
    struct pbft_msg msg;
    m->arena.used = 0;
    if (pbft_wire_decode(pbft_frame_span(frame), params(m), &m->arena, &msg) == PBFT_OK)
        resign(m, as, frame);
    return frame;
}

/* Another batch, or another time, for the same (v, n). */
static struct pbft_frame *altered_proposal(struct mutator *m, pbft_id as,
                                           const struct pbft_pre_prepare *p)
{
    struct pbft_frame *requests[REQUESTS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->proposal.request_count && count < REQUESTS_MAX; i++) {
        if (chance(m, 300)) continue; /* censored */
        for (unsigned twice = chance(m, 200) ? 2 : 1; twice > 0 && count < REQUESTS_MAX; twice--) {
            struct pbft_span r = p->proposal.requests[i].frame;
            struct pbft_frame *f = pbft_frame_new(sim_pool(m->sim), (uint32_t)r.size);
            PBFT_ASSERT(f != NULL);
            memcpy(f->bytes, r.data, r.size);
            f->size = (uint32_t)r.size;
            requests[count++] = f;
        }
    }
    for (unsigned i = 0; i < 2 && count < REQUESTS_MAX; i++) { /* an old request again */
        struct pbft_frame *old = m->records[roll(m, RECORDS)];
        if (old != NULL && old->bytes[0] == PBFT_REQUEST)
            requests[count++] = pbft_frame_retain(old);
    }
    for (uint32_t i = 1; i < count; i++) {
        uint32_t j = (uint32_t)roll(m, i + 1);
        struct pbft_frame *swap = requests[i];
        requests[i] = requests[j];
        requests[j] = swap;
    }
    uint64_t time_ns = p->proposal.time_ns;
    if (chance(m, 300)) time_ns = other_number(m, time_ns);
    if (chance(m, 200)) time_ns += (uint64_t)params(m)->clock_skew_ns * roll(m, 3);
    pbft_seq seq = chance(m, 100) ? near_seq(m) : p->seq;
    struct pbft_frame *frame =
        sim_pre_prepare(m->sim, as, p->view, seq, time_ns, requests, count, NULL);
    for (uint32_t i = 0; i < count; i++)
        pbft_frame_release(requests[i]);
    return frame;
}

static struct pbft_frame *altered_view_change(struct mutator *m, pbft_id as,
                                              const struct pbft_view_change *in)
{
    struct pbft_prepared kept[ENTRIES_MAX];
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change = *in;
    if (chance(m, 300)) msg.view_change.view = other_number(m, in->view);
    uint32_t count = 0;
    for (uint32_t i = 0; i < in->prepared_count && count < ENTRIES_MAX; i++) {
        if (chance(m, 300)) continue; /* forgotten */
        kept[count] = in->prepared[i];
        if (chance(m, 50)) kept[count].digest = some_digest(m);
        if (chance(m, 50)) kept[count].view = other_number(m, kept[count].view);
        if (chance(m, 30)) kept[count].prepares.signers ^= pbft_signers_of((pbft_id)roll(m, m->n));
        if (pbft_signers_count(kept[count].prepares.signers) !=
            pbft_signers_count(in->prepared[i].prepares.signers))
            kept[count] = in->prepared[i];
        count++;
    }
    msg.view_change.prepared = kept;
    msg.view_change.prepared_count = count;
    if (chance(m, 100)) { /* as if it had never had a checkpoint */
        msg.view_change.stable = 0;
        msg.view_change.stable_root = m->cluster->genesis_root;
        msg.view_change.stable_proof.signers = 0;
        while (count > 0 && kept[count - 1].seq > params(m)->window)
            count--;
        msg.view_change.prepared_count = count;
    }
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *altered_new_view(struct mutator *m, pbft_id as,
                                           const struct pbft_new_view *in)
{
    static uint8_t entries[ENTRIES_MAX * PBFT_NEW_VIEW_ENTRY_BYTES];
    uint8_t digests[PBFT_REPLICAS_MAX * PBFT_DIGEST_BYTES];
    struct pbft_msg msg = {.type = PBFT_NEW_VIEW};
    msg.new_view = *in;
    size_t bytes = (size_t)pbft_signers_count(in->signers) * PBFT_DIGEST_BYTES;
    memcpy(digests, in->vc_digests, bytes);
    if (chance(m, 200) && bytes > 0) {
        struct pbft_digest d = some_digest(m);
        memcpy(digests + roll(m, bytes / PBFT_DIGEST_BYTES) * PBFT_DIGEST_BYTES, d.bytes,
               sizeof d.bytes);
    }
    msg.new_view.vc_digests = digests;
    if (chance(m, 200)) msg.new_view.min_s = other_number(m, in->min_s);
    if (chance(m, 200)) msg.new_view.view = in->view + m->n * roll(m, 3);
    uint32_t count = in->count < ENTRIES_MAX ? in->count : ENTRIES_MAX;
    if (chance(m, 300)) count = (uint32_t)roll(m, count + 3);
    if (count > params(m)->window) count = params(m)->window;
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_digest d;
        if (i < in->count && !chance(m, 100))
            memcpy(d.bytes, in->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, sizeof d.bytes);
        else
            d = some_digest(m);
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size =
            pbft_wire_pre_prepare_body(msg.new_view.view, msg.new_view.min_s + 1 + i, &d, body);
        uint8_t *entry = entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        memcpy(entry, d.bytes, sizeof d.bytes);
        sim_sign_body(m->sim, as, PBFT_PRE_PREPARE, (struct pbft_span){body, size},
                      entry + PBFT_DIGEST_BYTES);
    }
    msg.new_view.entries = entries;
    msg.new_view.count = count;
    return sim_message(m->sim, as, &msg);
}

static void alter_status(struct mutator *m, struct pbft_status_msg *s)
{
    if (chance(m, 300)) s->view = other_number(m, s->view);
    if (chance(m, 300)) s->stable = other_number(m, s->stable);
    if (chance(m, 300)) s->executed = other_number(m, s->executed);
    if (chance(m, 100)) s->flags ^= (uint8_t)(1u << roll(m, 2));
    if (chance(m, 300)) s->view_changes = roll(m, UINT64_MAX) & pbft_everyone(m->n);
    if (chance(m, 10)) s->counter = other_number(m, s->counter);
}

/* A wrong answer to a client, consistent in itself. */
static struct pbft_frame *altered_reply(struct mutator *m, pbft_id as, struct pbft_reply *r)
{
    uint8_t body[256];
    struct pbft_msg msg = {.type = PBFT_REPLY};
    if (chance(m, 300)) r->view = other_number(m, r->view);
    if (chance(m, 300)) r->seq = other_number(m, r->seq);
    if (chance(m, 200)) r->outcome = (uint8_t)roll(m, PBFT_OUTCOME_COUNT);
    if (chance(m, 100)) r->request = some_digest(m);
    if (chance(m, 100)) r->t = other_number(m, r->t);
    if ((r->flags & PBFT_REPLY_HAS_BODY) != 0 && r->body.size > 8 && r->body.size <= sizeof body) {
        memcpy(body, r->body.data, r->body.size);
        uint64_t at = 8 + roll(m, r->body.size - 8);
        body[at] ^= (uint8_t)(1u << roll(m, 8));
        r->body.data = body;
        pbft_digest_result(&r->result, r->outcome, r->body);
    } else {
        r->result = some_digest(m);
    }
    msg.reply = *r;
    if (pbft_wire_size(&msg) == 0) return NULL;
    return sim_message(m->sim, as, &msg);
}

/* NULL: nothing came of it. */
static struct pbft_frame *altered(struct mutator *m, pbft_id as, const struct pbft_frame *frame)
{
    struct pbft_msg msg;
    m->arena.used = 0;
    if (chance(m, 400) ||
        pbft_wire_decode(pbft_frame_span(frame), params(m), &m->arena, &msg) != PBFT_OK)
        return altered_bytes(m, as, frame);
    switch ((enum pbft_type)msg.type) {
    case PBFT_PRE_PREPARE: return altered_proposal(m, as, &msg.pre_prepare);
    case PBFT_VIEW_CHANGE: return altered_view_change(m, as, &msg.view_change);
    case PBFT_NEW_VIEW: return altered_new_view(m, as, &msg.new_view);
    case PBFT_STATUS_MSG: alter_status(m, &msg.status); return sim_message(m->sim, as, &msg);
    case PBFT_REPLY: return altered_reply(m, as, &msg.reply);
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        if (chance(m, 600)) msg.vote.digest = some_digest(m);
        if (chance(m, 300)) msg.vote.seq = near_seq(m);
        if (chance(m, 200)) msg.vote.view = other_number(m, msg.vote.view);
        if (chance(m, 100)) msg.type = (uint8_t)(PBFT_PREPARE + PBFT_COMMIT - msg.type);
        return sim_message(m->sim, as, &msg);
    case PBFT_CHECKPOINT:
        if (chance(m, 600)) msg.checkpoint.root = some_digest(m);
        if (chance(m, 500)) msg.checkpoint.seq += roll(m, 12) * params(m)->checkpoint_interval;
        return sim_message(m->sim, as, &msg);
    case PBFT_REQUEST:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_HEADER:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return altered_bytes(m, as, frame);
}

/* ---- saying something of one's own ---- */

static struct pbft_frame *invented_view_change(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change.view = chance(m, 700) ? m->high_view + 1 + roll(m, 2u * (uint64_t)m->n)
                                          : other_number(m, m->high_view);
    msg.view_change.sender = as;
    msg.view_change.stable_root = m->cluster->genesis_root;
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *invented_status(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_STATUS_MSG};
    msg.status.view = m->high_view;
    msg.status.executed = m->high_seq - roll(m, 3u * (uint64_t)params(m)->window);
    msg.status.stable = msg.status.executed;
    msg.status.counter = (sim_now(m->sim) << 8) + roll(m, 256);
    alter_status(m, &msg.status);
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *invented_fetch(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_FETCH};
    msg.fetch.kind = (uint8_t)(PBFT_FETCH_BATCH + roll(m, 6));
    struct pbft_digest d = some_digest(m);
    switch ((enum pbft_fetch_kind)msg.fetch.kind) {
    case PBFT_FETCH_BATCH:
        msg.fetch.digest = d;
        msg.fetch.seq = near_seq(m);
        break;
    case PBFT_FETCH_PAGE:
    case PBFT_FETCH_VIEW_CHANGE: msg.fetch.digest = d; break;
    case PBFT_FETCH_HEADER:
        msg.fetch.view = m->high_view;
        msg.fetch.seq = near_seq(m);
        break;
    case PBFT_FETCH_COMMIT:
    case PBFT_FETCH_CHECKPOINT: msg.fetch.seq = near_seq(m); break;
    }
    return sim_message(m->sim, as, &msg);
}

/* Claims that hold a real quorum's signatures are beyond it; one's own statement is not. */
static struct pbft_frame *invented(struct mutator *m, pbft_id as)
{
    look(m);
    struct pbft_digest d = some_digest(m);
    pbft_seq k = params(m)->checkpoint_interval;
    pbft_view view = m->high_view + (chance(m, 300) ? roll(m, 3) : 0);
    switch (roll(m, 8)) {
    case 0: return sim_vote(m->sim, PBFT_PREPARE, as, view, near_seq(m), &d);
    case 1: return sim_vote(m->sim, PBFT_COMMIT, as, view, near_seq(m), &d);
    case 2: {
        pbft_seq near = near_seq(m) / k;
        return sim_checkpoint(m->sim, as, (near + roll(m, 6)) * k, &d);
    }
    case 3: return invented_view_change(m, as);
    case 4: return invented_status(m, as);
    case 5: return invented_fetch(m, as);
    case 6: /* an empty proposal, if it is its turn; else a header with somebody else's name */
        return sim_pre_prepare(m->sim, as, view, near_seq(m), sim_wall_ns(m->sim), NULL, 0, NULL);
    default: break;
    }
    struct pbft_frame *old = m->records[roll(m, RECORDS)];
    return old == NULL ? NULL : pbft_frame_retain(old);
}

/* ---- hooks ---- */

static void emit(struct pbft_node *node, const struct pbft_peer *to, struct pbft_frame *frame)
{
    if (frame == NULL) return;
    pbft_node_emit(node, to, frame);
    pbft_frame_release(frame);
}

static void replay(struct mutator *m, struct pbft_node *node, const struct pbft_peer *to)
{
    struct pbft_frame *old = m->records[roll(m, RECORDS)];
    if (old != NULL) pbft_node_emit(node, to, old);
}

static void invent(struct mutator *m, struct pbft_node *node, pbft_id as)
{
    pbft_id who = as;
    if (chance(m, 200)) { /* a friend's key, if there is a friend */
        pbft_id other = (pbft_id)roll(m, m->n);
        if (pbft_signers_has(m->liars, other)) who = other;
    }
    struct pbft_frame *frame = invented(m, who);
    if (frame == NULL) return;
    m->acts++;
    bool all = chance(m, 500);
    for (pbft_id id = 0; id < m->n; id++) {
        if (id == as || (!all && !chance(m, 300))) continue;
        struct pbft_peer peer = {.kind = PBFT_PEER_REPLICA, .index = id, .connection = 0};
        pbft_node_emit(node, &peer, frame);
    }
    pbft_frame_release(frame);
}

static bool outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                     struct pbft_frame *frame)
{
    struct liar *liar = context;
    struct mutator *m = liar->m;
    if (chance(m, 100)) record(m, frame);
    if (chance(m, m->per_mille / 4)) invent(m, node, liar->id);
    if (chance(m, 2)) liar->shy = !liar->shy && chance(m, 300);
    if (liar->shy && chance(m, 900)) return false;
    if (!chance(m, m->per_mille)) return true;
    m->acts++;
    switch (roll(m, 8)) {
    case 0:
    case 1: return false;
    case 2: pbft_node_emit(node, to, frame); return true;
    case 3: /* instead of this one, an old one; this one may follow when it is old itself */
        record(m, frame);
        replay(m, node, to);
        return false;
    case 4: /* both */ emit(node, to, altered(m, liar->id, frame)); return true;
    default: emit(node, to, altered(m, liar->id, frame)); return false;
    }
}

static bool inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                    struct pbft_frame *frame)
{
    struct liar *liar = context;
    (void)from;
    listen(liar->m, frame);
    if (chance(liar->m, liar->m->per_mille / 8)) invent(liar->m, node, liar->id);
    return !chance(liar->m, liar->m->per_mille / 16);
}

/* ---- life ---- */

struct mutator *mutator_new(struct sim *sim, pbft_signers liars)
{
    struct mutator *m = calloc(1, sizeof *m);
    PBFT_ASSERT(m != NULL);
    m->sim = sim;
    m->cluster = sim_cluster(sim);
    m->n = m->cluster->params.n;
    m->liars = liars;
    m->per_mille = 200;
    m->arena.size = pbft_wire_arena_bytes(params(m));
    m->arena.base = malloc(m->arena.size);
    PBFT_ASSERT(m->arena.base != NULL);
    PBFT_ASSERT(params(m)->window <= ENTRIES_MAX);
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(liars, id)) continue;
        struct liar *liar = &m->liar[id];
        liar->m = m;
        liar->id = id;
        liar->hooks = (struct pbft_node_hooks){liar, NULL, outbound, inbound};
        sim_set_hooks(sim, id, &liar->hooks);
    }
    return m;
}

void mutator_free(struct mutator *m)
{
    for (pbft_id id = 0; id < m->n; id++)
        if (pbft_signers_has(m->liars, id)) sim_set_hooks(m->sim, id, NULL);
    for (size_t i = 0; i < RECORDS; i++)
        pbft_frame_release(m->records[i]);
    free(m->arena.base);
    free(m);
}

void mutator_level(struct mutator *m, uint32_t per_mille)
{
    m->per_mille = per_mille;
}

uint64_t mutator_acts(const struct mutator *m)
{
    return m->acts;
}
