/* What must hold over the correct replicas of a world of twins (FAULTS 3). Nothing here shares code
 * with the core: notes of what was said and done are compared. */
#include "tests/sim/twins_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

enum note_kind {
    NOTE_SAID = 1, /* by whom, type, view, seq: what a correct replica signed */
    NOTE_SHOWN,    /* the same of a twin, as shown to correct replicas; number: shown two */
    NOTE_PREPARED, /* view, seq: the digest that some correct replica prepared */
    NOTE_COMMITS,  /* view, seq, digest: number is who signed a COMMIT */
    NOTE_DECIDED,  /* seq: the digest that q committed first, number is the view */
    NOTE_ROOT,     /* seq: root; number is who signed it */
};

bool twins_check_new(struct twins *w)
{
    w->notes = malloc(NOTES_MAX * sizeof *w->notes); /* touched as far as it is used */
    w->note_index = calloc(NOTES_INDEX, sizeof *w->note_index);
    return w->notes != NULL && w->note_index != NULL;
}

void twins_check_free(struct twins *w)
{
    free(w->notes);
    free(w->note_index);
}

static uint64_t key_of(enum note_kind kind, uint8_t type, pbft_id who, pbft_view view)
{
    return (uint64_t)kind << 56 | (uint64_t)type << 48 | (uint64_t)who << 40 | view;
}

static size_t note_slot(uint64_t a, uint64_t b)
{
    uint64_t h = (a * UINT64_C(0x9E3779B97F4A7C15)) ^ (b * UINT64_C(0xC2B2AE3D27D4EB4F));
    return (size_t)(h >> 40) & (NOTES_INDEX - 1);
}

static struct note *note(struct twins *w, uint64_t a, uint64_t b, bool *fresh)
{
    size_t at = note_slot(a, b);
    for (; w->note_index[at] != 0; at = (at + 1) & (NOTES_INDEX - 1)) {
        struct note *n = &w->notes[w->note_index[at] - 1];
        if (n->a != a || n->b != b) continue;
        *fresh = false;
        return n;
    }
    PBFT_ASSERT(w->note_count < NOTES_MAX);
    struct note *n = &w->notes[w->note_count++];
    w->note_index[at] = (uint16_t)w->note_count;
    *n = (struct note){.a = a, .b = b};
    *fresh = true;
    return n;
}

static const struct note *note_find(const struct twins *w, uint64_t a, uint64_t b)
{
    for (size_t at = note_slot(a, b); w->note_index[at] != 0; at = (at + 1) & (NOTES_INDEX - 1)) {
        const struct note *n = &w->notes[w->note_index[at] - 1];
        if (n->a == a && n->b == b) return n;
    }
    return NULL;
}

/* What may not differ between two frames of equal (signer, type, view, seq). */
static struct pbft_digest content_of(const struct pbft_claim *claim, struct pbft_span frame)
{
    if (claim->type != PBFT_VIEW_CHANGE && claim->type != PBFT_NEW_VIEW) return claim->digest;
    struct pbft_digest content = {{0}};
    pbft_put_u64(content.bytes, twins_bytes_hash(frame));
    return content;
}

/* ---- what is said ---- */

/* FAULTS 3.2: COMMITs of q, twins included, settle a digest for all later views. */
static void note_commit(struct twins *w, const struct pbft_claim *c, pbft_id signer)
{
    bool fresh;
    uint64_t which = pbft_get_u64(c->digest.bytes) ^ c->seq << 48;
    struct note *votes = note(w, key_of(NOTE_COMMITS, 0, 0, c->view), which, &fresh);
    votes->number |= pbft_signers_of(signer);
    if (pbft_signers_count(votes->number) < pbft_quorum(w->o.n)) return;
    struct note *decided = note(w, key_of(NOTE_DECIDED, 0, 0, 0), c->seq, &fresh);
    if (!fresh) return;
    decided->value = c->digest;
    decided->number = c->view;
}

static void check_commit(struct twins *w, const struct pbft_claim *c, pbft_id signer)
{
    const struct note *decided = note_find(w, key_of(NOTE_DECIDED, 0, 0, 0), c->seq);
    if (decided != NULL && c->view >= decided->number &&
        !pbft_digest_equal(&decided->value, &c->digest))
        twins_fail(w,
                   "FAULTS 3.2: n %llu was decided in view %llu, replica %u commits another digest "
                   "in view %llu",
                   (unsigned long long)c->seq, (unsigned long long)decided->number, signer,
                   (unsigned long long)c->view);
    note_commit(w, c, signer);
}

void twins_check_sent(struct instance *i, struct pbft_frame *frame)
{
    struct twins *w = i->world;
    struct pbft_claim c;
    pbft_id signer;
    if (!sim_statement(w->o.n, pbft_frame_span(frame), &c, &signer) || signer != i->id) return;
    struct pbft_digest content = content_of(&c, pbft_frame_span(frame));
    bool fresh;
    struct note *said = note(w, key_of(NOTE_SAID, c.type, signer, c.view), c.seq, &fresh);
    if (fresh)
        said->value = content;
    else if (!pbft_digest_equal(&said->value, &content))
        twins_fail(w, "FAULTS 3.5: replica %u says two things in %s v %llu n %llu", signer,
                   pbft_type_text(c.type), (unsigned long long)c.view, (unsigned long long)c.seq);
    pbft_seq highest = i->stable + w->cluster.params.window;
    if ((c.type == PBFT_PREPARE || c.type == PBFT_COMMIT) && c.seq > highest)
        twins_fail(w, "FAULTS 3.13: replica %u votes for %llu above %llu", signer,
                   (unsigned long long)c.seq, (unsigned long long)highest);
    if (c.type == PBFT_COMMIT) check_commit(w, &c, signer);
}

void twins_check_shown(struct twins *w, const struct pbft_frame *frame)
{
    struct pbft_claim c;
    pbft_id signer;
    if (!sim_statement(w->o.n, pbft_frame_span(frame), &c, &signer) ||
        !pbft_signers_has(w->o.twins, signer))
        return;
    if (c.type == PBFT_COMMIT) note_commit(w, &c, signer);
    struct pbft_digest content = content_of(&c, pbft_frame_span(frame));
    bool fresh;
    struct note *shown = note(w, key_of(NOTE_SHOWN, c.type, signer, c.view), c.seq, &fresh);
    if (fresh) shown->value = content;
    if (shown->number != 0 || pbft_digest_equal(&shown->value, &content)) return;
    shown->number = 1;
    w->counts.equivocations++;
    if (c.type == PBFT_PRE_PREPARE) w->counts.proposals++;
}

/* ---- what is done ---- */

static void note_prepared(struct instance *i, const struct pbft_frame *commit)
{
    struct twins *w = i->world;
    struct pbft_claim c;
    if (commit == NULL || pbft_wire_peek(pbft_frame_span(commit), &c) != PBFT_OK) return;
    bool fresh;
    struct note *n = note(w, key_of(NOTE_PREPARED, 0, 0, c.view), c.seq, &fresh);
    if (fresh)
        n->value = c.digest;
    else if (!pbft_digest_equal(&n->value, &c.digest))
        twins_fail(w, "FAULTS 3.8: two digests prepared at v %llu n %llu, the second by replica %u",
                   (unsigned long long)c.view, (unsigned long long)c.seq, i->id);
}

static void note_root(struct instance *i, const struct pbft_frame *checkpoint)
{
    struct twins *w = i->world;
    struct pbft_claim c;
    if (pbft_wire_peek(pbft_frame_span(checkpoint), &c) != PBFT_OK) return;
    bool fresh;
    struct note *n = note(w, key_of(NOTE_ROOT, 0, 0, 0), c.seq, &fresh);
    if (fresh)
        n->value = c.digest;
    else if (!pbft_digest_equal(&n->value, &c.digest))
        twins_fail(w, "FAULTS 3.12: replica %u has another root at %llu", i->id,
                   (unsigned long long)c.seq);
    n->number |= pbft_signers_of(i->id);
}

static void on_persist(struct instance *i, const struct pbft_effect *e)
{
    if (e->persist.record == PBFT_RECORD_PREPARED) note_prepared(i, e->persist.frames[1]);
    if (e->persist.record == PBFT_RECORD_CHECKPOINT) note_root(i, e->persist.frames[0]);
}

/* FAULTS 3.4; and which of ours are executed now. A proposal is time u64, count u32, and each
 * request behind its length. */
static void note_requests(struct twins *w, const struct pbft_effect *e)
{
    struct pbft_span p = e->execute.proposal;
    uint32_t count = p.size < 12 ? 0 : pbft_get_u32(p.data + 8);
    size_t at = 12;
    uint32_t k = 0;
    for (; k < count; k++) {
        size_t size = p.size - at < 4 ? SIZE_MAX : pbft_get_u32(p.data + at);
        if (size == SIZE_MAX || size > p.size - at - 4) break;
        at += 4;
        uint32_t r = 0;
        while (r < w->request_count && (w->requests[r]->size != size ||
                                        memcmp(w->requests[r]->bytes, p.data + at, size) != 0))
            r++;
        if (r == w->request_count)
            twins_fail(w, "FAULTS 3.4: seq %llu holds a request that no client signed",
                       (unsigned long long)e->execute.seq);
        else
            w->requests_executed |= UINT64_C(1) << r;
        at += size;
    }
    if (p.size < 12 || k < count || at != p.size)
        twins_fail(w, "FAULTS 3.4: the proposal of seq %llu does not parse",
                   (unsigned long long)e->execute.seq);
}

static void on_execute(struct instance *i, const struct pbft_effect *e)
{
    struct twins *w = i->world;
    pbft_seq seq = e->execute.seq;
    if (seq != i->executing + 1)
        twins_fail(w, "FAULTS 3.3: replica %u executes %llu after %llu", i->id,
                   (unsigned long long)seq, (unsigned long long)i->executing);
    i->executing = seq;
    if (w->trace != NULL)
        fprintf(w->trace, "            replica %u executes n %llu %02x%02x%02x%02x of view %llu\n",
                i->id, (unsigned long long)seq, e->execute.digest.bytes[0],
                e->execute.digest.bytes[1], e->execute.digest.bytes[2], e->execute.digest.bytes[3],
                (unsigned long long)e->execute.view);
    if (seq == w->executed_count + 1) {
        PBFT_ASSERT(seq <= EXECUTED_MAX);
        w->executed[w->executed_count++] = e->execute.digest;
        if (e->execute.frame == NULL)
            w->counts.nulls++;
        else
            note_requests(w, e);
    }
    if (seq == 0 || seq > w->executed_count)
        twins_fail(w, "FAULTS 3.3: replica %u executes %llu, which nobody has reached", i->id,
                   (unsigned long long)seq);
    else if (!pbft_digest_equal(&w->executed[seq - 1], &e->execute.digest))
        twins_fail(w, "FAULTS 3.1: replica %u executes another proposal at %llu (view %llu)", i->id,
                   (unsigned long long)seq, (unsigned long long)e->execute.view);
}

static void on_stable(struct instance *i, const struct pbft_effect *e)
{
    struct twins *w = i->world;
    if (e->stable.seq <= i->stable)
        twins_fail(w, "FAULTS 3.11: replica %u: stable %llu after %llu", i->id,
                   (unsigned long long)e->stable.seq, (unsigned long long)i->stable);
    i->stable = e->stable.seq;
    w->counts.checkpoints++;
    const struct note *root = note_find(w, key_of(NOTE_ROOT, 0, 0, 0), e->stable.seq);
    bool equal = root != NULL && pbft_digest_equal(&root->value, &e->stable.root);
    unsigned signers = equal ? pbft_signers_count(root->number) : 0;
    if (signers + pbft_signers_count(w->o.twins) < pbft_quorum(w->o.n))
        twins_fail(w, "FAULTS 3.11: replica %u: checkpoint %llu stable, but %u correct ones signed",
                   i->id, (unsigned long long)e->stable.seq, signers);
}

void twins_check_effects(struct instance *i, const struct pbft_effects *effects)
{
    struct twins *w = i->world;
    for (size_t k = 0; k < effects->count && !w->failed; k++) {
        const struct pbft_effect *e = &effects->items[k];
        switch (e->kind) {
        case PBFT_EFFECT_EXECUTE: on_execute(i, e); break;
        case PBFT_EFFECT_STABLE: on_stable(i, e); break;
        case PBFT_EFFECT_PERSIST: on_persist(i, e); break;
        case PBFT_EFFECT_TRANSFER: /* the state is replaced: execution goes on behind it */
            i->executing = e->transfer.seq;
            w->counts.transfers++;
            break;
        case PBFT_EFFECT_EVIDENCE:
            if (!pbft_signers_has(w->o.twins, e->evidence.culprit))
                twins_fail(w, "FAULTS 3.20: replica %u accuses correct replica %u", i->id,
                           e->evidence.culprit);
            break;
        case PBFT_EFFECT_MUTED:
            twins_fail(w, "PROTOCOL 29: replica %u thinks that it lost its memory", i->id);
            break;
        case PBFT_EFFECT_SEND:
        case PBFT_EFFECT_TAKE_CHECKPOINT:
        case PBFT_EFFECT_FETCH:
        case PBFT_EFFECT_FETCH_STOP:
        case PBFT_EFFECT_VIEW: break;
        }
    }
}

void twins_check_state(struct instance *i)
{
    struct pbft_core_info info;
    pbft_core_info(pbft_node_core(i->node), &info);
    if (info.view < i->view)
        twins_fail(i->world, "FAULTS 3.9: replica %u: view %llu after %llu", i->id,
                   (unsigned long long)info.view, (unsigned long long)i->view);
    i->view = info.view;
    if (info.stable != i->stable)
        twins_fail(i->world, "FAULTS 3.11: replica %u: h is %llu, STABLE said %llu", i->id,
                   (unsigned long long)info.stable, (unsigned long long)i->stable);
    pbft_seq highest = info.stable + i->world->cluster.params.window;
    if (info.proposed > highest)
        twins_fail(i->world, "FAULTS 3.13: replica %u accepted %llu above %llu", i->id,
                   (unsigned long long)info.proposed, (unsigned long long)highest);
}

bool twins_check_done(struct twins *w)
{
    uint64_t all = w->request_count == 64 ? UINT64_MAX : (UINT64_C(1) << w->request_count) - 1;
    if (w->requests_executed != all) return false;
    for (uint32_t k = 0; k < w->count; k++) {
        if (!w->instances[k].correct) continue;
        struct pbft_core_info info;
        pbft_core_info(pbft_node_core(w->instances[k].node), &info);
        if (info.pending > 0 || info.transferring || info.executed != w->executed_count)
            return false;
    }
    return true;
}
