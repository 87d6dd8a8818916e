/* FAULTS 2.9 to 2.19: votes, certificates, VIEW-CHANGEs and NEW-VIEWs that are not what they seem.
 */
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

#define VIEW_OFFSET 8u /* of a vote's view, in its frame: docs/wire.md */

static bool between_replicas(const struct sim_packet *p)
{
    return !p->from_client && !p->to_client;
}

static bool is_vote(const struct sim_packet *p)
{
    return between_replicas(p) && (p->type == PBFT_PREPARE || p->type == PBFT_COMMIT);
}

static struct pbft_digest other_digest(const struct pbft_digest *digest)
{
    struct pbft_digest other = *digest;
    other.bytes[0] ^= 0xFF;
    return other;
}

static void filtered(struct stage *s, sim_filter *filter)
{
    stage_filter(s, filter);
    stage_load(s, 20);
    stage_wait(s);
}

/* 2.9 */
static void everything_twice(struct sim_options *o)
{
    o->duplicate_ppm = 1000000;
}

static void count_sent(struct stage *s)
{
    stage_load(s, 20);
    stage_wait(s);
    s->injected += sim_sent(s->sim, PBFT_PREPARE);
}

/* 2.11: the valid vote first, then another digest in its place. */
static bool replace_vote(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    if (s->busy || !is_vote(p) || p->from != 1) return true;
    s->busy = true;
    struct pbft_digest other = other_digest(&p->claim.digest);
    bool first = sim_inject(sim, 1, p->to, pbft_frame_retain(p->frame)) == PBFT_OK;
    stage_inject(s, 1, p->to, sim_vote(sim, p->type, 1, p->claim.view, p->claim.seq, &other),
                 !first);
    s->busy = false;
    return false;
}

static void replaced(struct stage *s)
{
    filtered(s, replace_vote);
    stage_must(s, sim_log_lines(s->sim, "evidence") > 0, "nobody kept the evidence");
}

/* 2.12: spoilt before, and the same again behind it. */
static bool poison(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (s->busy || !is_vote(p) || p->from != 1) return true;
    s->busy = true;
    struct pbft_frame *spoilt = stage_copy(s, pbft_frame_span(p->frame));
    spoilt->bytes[spoilt->size - 1] ^= 0x80;
    stage_inject(s, 1, p->to, spoilt, false);
    stage_inject(s, 1, p->to, pbft_frame_retain(p->frame), true);
    stage_inject(s, 1, p->to, pbft_frame_retain(p->frame), false);
    s->busy = false;
    return false;
}

/* 2.13: replica 1 shows a correct replica's PREPARE as its COMMIT, and as one of the next view. */
static bool relabel(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (s->busy || !is_vote(p) || p->type != PBFT_PREPARE || p->from == 1 || p->to == 1)
        return true;
    s->busy = true;
    struct pbft_frame *commit = stage_copy(s, pbft_frame_span(p->frame));
    struct pbft_frame *next = stage_copy(s, pbft_frame_span(p->frame));
    commit->bytes[0] = PBFT_COMMIT;
    pbft_put_u64(next->bytes + VIEW_OFFSET, p->claim.view + 1);
    stage_inject(s, 1, p->to, commit, false);
    stage_inject(s, 1, p->to, next, false);
    s->busy = false;
    return true;
}

/* 2.14 */
static bool remember_views(struct sim *sim, const struct sim_packet *p, void *context)
{
    (void)sim;
    if (between_replicas(p) && (p->type == PBFT_VIEW_CHANGE || p->type == PBFT_NEW_VIEW))
        stage_keep(context, p->frame);
    return true;
}

static void replay_views(struct stage *s)
{
    stage_filter(s, remember_views);
    stage_change_views(s, stage_view(s) + 2);
    stage_filter(s, NULL);
    stage_wait(s);
    stage_run_for(s, 500);
    pbft_view before = stage_view(s);
    for (size_t i = 0; i < s->kept_count && i < 64; i++)
        for (pbft_id to = 0; to < s->n; to++)
            if (to != 3) stage_inject(s, 3, to, pbft_frame_retain(s->kept[i]), true);
    stage_run_for(s, 500);
    stage_must(s, stage_view(s) == before, "old VIEW-CHANGEs moved somebody");
}

/* ---- VIEW-CHANGEs of a liar ---- */

static struct pbft_frame *bare_view_change(struct stage *s, pbft_id as, pbft_view view)
{
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change.view = view;
    msg.view_change.sender = as;
    msg.view_change.stable_root = sim_cluster(s->sim)->genesis_root;
    return sim_message(s->sim, as, &msg);
}

/* 2.15 */
static void huge_views(struct stage *s)
{
    static const pbft_view views[] = {UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 1, 1000000};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        for (pbft_id to = 0; to < 3; to++)
            stage_inject(s, 3, to, bare_view_change(s, 3, views[i]), true);
    stage_load(s, 20);
    stage_wait(s);
}

/* 2.17: its own signature is right; of what it shows, one signature is spoilt, one is missing, or
 * all are (FAULTS 4.7). In turns, so that each replica is shown each. */
static struct pbft_frame *with_bad_certificate(struct stage *s, const struct pbft_frame *frame)
{
    const struct pbft_params *params = &sim_cluster(s->sim)->params;
    struct pbft_arena arena = {.size = pbft_wire_arena_bytes(params)};
    arena.base = malloc(arena.size);
    PBFT_ASSERT(arena.base != NULL);
    struct pbft_msg msg;
    enum pbft_verdict verdict = pbft_wire_decode(pbft_frame_span(frame), params, &arena, &msg);
    PBFT_ASSERT(verdict == PBFT_OK);
    struct pbft_view_change *vc = &msg.view_change;
    uint8_t spoilt[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES];
    struct pbft_frame *bad = NULL;
    if (vc->prepared_count > 0) {
        struct pbft_prepared *e = &vc->prepared[vc->prepared_count - 1];
        switch (s->number++ % 4) {
        case 0: e->prepares.signers = 0; break;
        case 1: /* one too few */
            e->prepares.signers &= e->prepares.signers - 1;
            e->prepares.bytes += PBFT_SIGNATURE_BYTES;
            break;
        case 2:
            memcpy(spoilt, e->pre_prepare_signature, PBFT_SIGNATURE_BYTES);
            spoilt[0] ^= 1;
            e->pre_prepare_signature = spoilt;
            break;
        default:
            memcpy(spoilt, e->prepares.bytes,
                   pbft_signers_count(e->prepares.signers) * (size_t)PBFT_SIGNATURE_BYTES);
            spoilt[0] ^= 1;
            e->prepares.bytes = spoilt;
            break;
        }
        bad = sim_message(s->sim, 3, &msg);
    } else if (vc->stable_proof.signers != 0) {
        vc->stable_proof.signers &= vc->stable_proof.signers - 1;
        vc->stable_proof.bytes += PBFT_SIGNATURE_BYTES;
        bad = sim_message(s->sim, 3, &msg);
    }
    free(arena.base);
    return bad;
}

static bool bad_certificate(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (s->busy || !between_replicas(p) || p->type != PBFT_VIEW_CHANGE || p->from != 3) return true;
    if (p->claim.sender != 3) return true;
    struct pbft_frame *bad = with_bad_certificate(s, p->frame);
    if (bad == NULL) return true; /* nothing is proved in it */
    s->busy = true;
    stage_inject(s, 3, p->to, bad, false);
    s->busy = false;
    return false;
}

static void bad_certificates(struct stage *s)
{
    stage_filter(s, bad_certificate);
    stage_change_views(s, stage_view(s) + 2);
    stage_wait(s);
}

/* 2.18 */
static void view_two(struct stage *s)
{
    stage_change_views(s, stage_view(s) + 2);
}

/* 2.19 */
static void spam(struct stage *s)
{
    for (pbft_view view = 1; view <= 60; view++) {
        for (pbft_id to = 0; to < 3; to++)
            stage_inject(s, 3, to, bare_view_change(s, 3, view), true);
        if (view % 10 == 0) stage_load(s, 2);
        stage_run_for(s, 5);
    }
    stage_wait(s);
}

/* 2.16: the agreed time stands outside what the primary signs, inside what the digest covers. */
static bool other_time(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (s->busy || !between_replicas(p) || p->type != PBFT_PRE_PREPARE || p->from != 0) return true;
    s->busy = true;
    struct pbft_frame *other = stage_copy(s, pbft_frame_span(p->frame));
    size_t time = PBFT_WIRE_HEADER_BYTES + 48u + PBFT_SIGNATURE_BYTES;
    pbft_put_u64(other->bytes + time, pbft_get_u64(other->bytes + time) + 1);
    stage_inject(s, 0, p->to, other, false);
    s->busy = false;
    return true;
}

static void twice_sent(struct stage *s)
{
    count_sent(s);
}
static void poisoned(struct stage *s)
{
    filtered(s, poison);
}
static void relabelled(struct stage *s)
{
    filtered(s, relabel);
}
static void other_times(struct stage *s)
{
    filtered(s, other_time);
}

const struct stage_row stage_rows_votes[] = {
    {.name = "2.9", .options = everything_twice, .play = twice_sent, .no_view_change = true},
    {.name = "2.10", .byzantine = 2, .strategy = "wrong-digest", .liar = 1},
    {.name = "2.11", .byzantine = 2, .play = replaced, .no_view_change = true},
    {.name = "2.12", .byzantine = 2, .play = poisoned, .no_view_change = true},
    {.name = "2.13", .byzantine = 2, .play = relabelled, .no_view_change = true},
    {.name = "2.14", .byzantine = 8, .play = replay_views},
    {.name = "2.15", .byzantine = 8, .play = huge_views, .no_view_change = true},
    {.name = "2.16", .byzantine = 1, .play = other_times},
    {.name = "2.17", .byzantine = 8, .play = bad_certificates},
    {.name = "2.18", .byzantine = 2, .strategy = "forge-new-view", .liar = 1, .play = view_two},
    {.name = "2.19", .byzantine = 8, .play = spam, .no_view_change = true},
    {0},
};
