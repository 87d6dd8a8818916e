/* Byzantine replicas that spoil what a real node says, at random. */
#include "tests/sim/mutator_internal.h"

#include "crypto/hash.h"
#include "crypto/signed_body.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

#define RARE_LEVEL 500u /* of 1000 */

uint64_t mutator_roll(struct mutator *m, uint64_t below)
{
    return sim_random(m->sim, below);
}

bool mutator_chance(struct mutator *m, uint32_t per_mille)
{
    return mutator_roll(m, 1000) < per_mille;
}

const struct pbft_params *mutator_params(const struct mutator *m)
{
    return &m->cluster->params;
}

/* ---- what was heard ---- */

static void record(struct mutator *m, struct pbft_frame *frame)
{
    size_t at = mutator_roll(m, MUTATOR_RECORDS);
    pbft_frame_release(m->records[at]);
    m->records[at] = pbft_frame_retain(frame);
}

struct pbft_digest mutator_digest(struct mutator *m)
{
    struct pbft_digest d;
    switch (mutator_roll(m, 6)) {
    case 0: pbft_digest_null(&d); return d;
    case 1: memset(&d, 0, sizeof d); return d;
    case 2:
        for (unsigned i = 0; i < sizeof d.bytes; i++)
            d.bytes[i] = (uint8_t)mutator_roll(m, 256);
        return d;
    default: return m->digests[mutator_roll(m, MUTATOR_DIGESTS)];
    }
}

static void listen(struct mutator *m, struct pbft_frame *frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(pbft_frame_span(frame), &claim) != PBFT_OK) return;
    if (!pbft_digest_is_zero(&claim.digest))
        m->digests[m->digest_next++ % MUTATOR_DIGESTS] = claim.digest;
    if (claim.type == PBFT_VIEW_CHANGE) {
        struct heard *h = &m->heard[m->heard_count++ % MUTATOR_HEARD];
        h->view = claim.view;
        h->sender = claim.sender;
        pbft_digest_view_change(&h->digest, pbft_wire_signed_body(pbft_frame_span(frame)));
    }
    if (mutator_chance(m, 200) || claim.type == PBFT_VIEW_CHANGE || claim.type == PBFT_NEW_VIEW)
        record(m, frame);
}

/* ---- numbers ---- */

uint64_t mutator_number(struct mutator *m, uint64_t x)
{
    uint64_t k = mutator_params(m)->checkpoint_interval, l = mutator_params(m)->window;
    switch (mutator_roll(m, 16)) {
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
    default: return x + mutator_roll(m, 2 * l) - l;
    }
}

pbft_seq mutator_near_seq(struct mutator *m)
{
    pbft_seq above = m->high_seq + mutator_roll(m, mutator_params(m)->window + 8) + 1;
    return above - mutator_roll(m, mutator_params(m)->window);
}

static void look(struct mutator *m)
{
    m->high_view = m->high_seq = m->stable = 0;
    for (pbft_id id = 0; id < m->n; id++) {
        if (pbft_signers_has(m->liars, id) || !sim_alive(m->sim, id)) continue;
        struct pbft_core_info info = sim_info(m->sim, id).core;
        if (info.view > m->high_view) m->high_view = info.view;
        if (info.committed > m->high_seq) m->high_seq = info.committed;
        if (info.stable > m->stable) m->stable = info.stable;
    }
}

/* ---- saying something of one's own ---- */

static struct pbft_frame *invented_view_change(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change.view = mutator_chance(m, 700)
                               ? m->high_view + 1 + mutator_roll(m, 2u * (uint64_t)m->n)
                               : mutator_number(m, m->high_view);
    msg.view_change.sender = as;
    msg.view_change.stable_root = m->cluster->genesis_root;
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *invented_status(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_STATUS_MSG};
    msg.status.view = m->high_view;
    msg.status.executed = m->high_seq - mutator_roll(m, 3u * (uint64_t)mutator_params(m)->window);
    msg.status.stable = msg.status.executed;
    msg.status.counter = (sim_now(m->sim) << 8) + mutator_roll(m, 256);
    mutator_alter_status(m, &msg.status);
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *invented_fetch(struct mutator *m, pbft_id as)
{
    struct pbft_msg msg = {.type = PBFT_FETCH};
    msg.fetch.kind = (uint8_t)(PBFT_FETCH_BATCH + mutator_roll(m, 6));
    struct pbft_digest d = mutator_digest(m);
    switch ((enum pbft_fetch_kind)msg.fetch.kind) {
    case PBFT_FETCH_BATCH:
        msg.fetch.digest = d;
        msg.fetch.seq = mutator_near_seq(m);
        break;
    case PBFT_FETCH_PAGE:
    case PBFT_FETCH_VIEW_CHANGE: msg.fetch.digest = d; break;
    case PBFT_FETCH_HEADER:
        msg.fetch.view = m->high_view;
        msg.fetch.seq = mutator_near_seq(m);
        break;
    case PBFT_FETCH_COMMIT:
    case PBFT_FETCH_CHECKPOINT: msg.fetch.seq = mutator_near_seq(m); break;
    }
    return sim_message(m->sim, as, &msg);
}

/* What somebody said, as if this one had said it. */
static struct pbft_frame *another_s_words(struct mutator *m, pbft_id as,
                                          const struct pbft_frame *old)
{
    struct pbft_msg msg;
    m->arena.used = 0;
    enum pbft_verdict verdict =
        pbft_wire_decode(pbft_frame_span(old), mutator_params(m), &m->arena, &msg);
    if (verdict == PBFT_OK && msg.type == PBFT_NEW_VIEW) {
        msg.new_view.sender = as;
        return sim_message(m->sim, as, &msg);
    }
    struct pbft_frame *own = mutator_copy(m, old);
    mutator_resign(m, as, own);
    return own;
}

/* Claims that hold a real quorum's signatures are beyond it; one's own statement is not. */
static struct pbft_frame *invented(struct mutator *m, pbft_id as)
{
    look(m);
    struct pbft_digest d = mutator_digest(m);
    pbft_seq k = mutator_params(m)->checkpoint_interval;
    pbft_view view = m->high_view + (mutator_chance(m, 300) ? mutator_roll(m, 3) : 0);
    switch (mutator_roll(m, 8)) {
    case 0: return sim_vote(m->sim, PBFT_PREPARE, as, view, mutator_near_seq(m), &d);
    case 1: return sim_vote(m->sim, PBFT_COMMIT, as, view, mutator_near_seq(m), &d);
    case 2: {
        pbft_seq near = mutator_near_seq(m) / k;
        return sim_checkpoint(m->sim, as, (near + mutator_roll(m, 6)) * k, &d);
    }
    case 3: return invented_view_change(m, as);
    case 4: return invented_status(m, as);
    case 5: return invented_fetch(m, as);
    case 6: /* an empty proposal, if it is its turn; else a header with somebody else's name */
        return sim_pre_prepare(m->sim, as, view,
                               mutator_chance(m, 300) ? m->stable : mutator_near_seq(m),
                               sim_wall_ns(m->sim), NULL, 0, NULL);
    default: break;
    }
    struct pbft_frame *old = m->records[mutator_roll(m, MUTATOR_RECORDS)];
    if (old == NULL) return NULL;
    if (!mutator_chance(m, 200)) return pbft_frame_retain(old);
    return another_s_words(m, as, old);
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
    struct pbft_frame *old = m->records[mutator_roll(m, MUTATOR_RECORDS)];
    if (old != NULL) pbft_node_emit(node, to, old);
}

static void invent(struct mutator *m, struct pbft_node *node, pbft_id as)
{
    pbft_id who = as;
    if (mutator_chance(m, 200)) { /* a friend's key, if there is a friend */
        pbft_id other = (pbft_id)mutator_roll(m, m->n);
        if (pbft_signers_has(m->liars, other)) who = other;
    }
    struct pbft_frame *frame = invented(m, who);
    if (frame == NULL) return;
    m->acts++;
    bool all = mutator_chance(m, 500);
    for (pbft_id id = 0; id < m->n; id++) {
        if (id == as || (!all && !mutator_chance(m, 300))) continue;
        struct pbft_peer peer = {.kind = PBFT_PEER_REPLICA, .index = id, .connection = 0};
        pbft_node_emit(node, &peer, frame);
    }
    pbft_frame_release(frame);
}

/* It is the primary of the view that begins: who is told so before the real one is heard, might
 * believe it. Only what the real one said is claimed: of each other's claims three liars would make
 * more without an end (seed 19863). */
static void claim_view(struct mutating *liar, struct pbft_node *node,
                       const struct pbft_frame *frame)
{
    struct mutator *m = liar->m;
    struct pbft_claim claim;
    if (pbft_wire_peek(pbft_frame_span(frame), &claim) != PBFT_OK) return;
    if (claim.sender != pbft_primary(m->n, claim.view)) return;
    struct pbft_frame *own = another_s_words(m, liar->id, frame);
    m->acts++;
    for (pbft_id id = 0; id < m->n; id++) {
        struct pbft_peer peer = {.kind = PBFT_PEER_REPLICA, .index = id, .connection = 0};
        if (id != liar->id) pbft_node_emit(node, &peer, own);
    }
    pbft_frame_release(own);
}

/* What views are built on is rare and worth more lies than votes are. */
static uint32_t level_of(const struct mutator *m, const struct pbft_frame *frame)
{
    uint8_t type = frame->bytes[0];
    bool rare = type == PBFT_VIEW_CHANGE || type == PBFT_NEW_VIEW || type == PBFT_CERTIFICATE;
    return rare && m->per_mille > 0 && m->per_mille < RARE_LEVEL ? RARE_LEVEL : m->per_mille;
}

static bool outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                     struct pbft_frame *frame)
{
    struct mutating *liar = context;
    struct mutator *m = liar->m;
    if (mutator_chance(m, 100)) record(m, frame);
    if (mutator_chance(m, m->per_mille / 4)) invent(m, node, liar->id);
    if (mutator_chance(m, 2)) liar->shy = !liar->shy && mutator_chance(m, 300);
    if (liar->shy && mutator_chance(m, 900)) return false;
    if (!mutator_chance(m, level_of(m, frame))) return true;
    m->acts++;
    switch (mutator_roll(m, 8)) {
    case 0:
    case 1: return false;
    case 2: pbft_node_emit(node, to, frame); return true;
    case 3: /* instead of this one, an old one; this one may follow when it is old itself */
        record(m, frame);
        replay(m, node, to);
        return false;
    case 4: /* both */ emit(node, to, mutator_altered(m, liar->id, frame)); return true;
    default: emit(node, to, mutator_altered(m, liar->id, frame)); return false;
    }
}

static bool inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                    struct pbft_frame *frame)
{
    struct mutating *liar = context;
    (void)from;
    listen(liar->m, frame);
    if (frame->bytes[0] == PBFT_NEW_VIEW && mutator_chance(liar->m, level_of(liar->m, frame)))
        claim_view(liar, node, frame);
    if (mutator_chance(liar->m, liar->m->per_mille / 8)) invent(liar->m, node, liar->id);
    return !mutator_chance(liar->m, liar->m->per_mille / 16);
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
    m->arena.size = pbft_wire_arena_bytes(mutator_params(m));
    m->arena.base = malloc(m->arena.size);
    PBFT_ASSERT(m->arena.base != NULL);
    PBFT_ASSERT(mutator_params(m)->window <= MUTATOR_ENTRIES);
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(liars, id)) continue;
        struct mutating *liar = &m->liar[id];
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
    for (size_t i = 0; i < MUTATOR_RECORDS; i++)
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
