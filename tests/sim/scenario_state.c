/* FAULTS 2.20 to 2.24, 2.38 to 2.40, 2.43, 2.44, 2.47: checkpoints, state transfer, and what a
 * restart finds and forgets. */
#include "tests/sim/scenario.h"
#include "tests/sim/statement.h"

#include "pbft/quorum.h"

#include <string.h>

#define LAGGARD 3u

static bool between_replicas(const struct sim_packet *p)
{
    return !p->from_client && !p->to_client;
}

/* Cut one replica off for so long that only a state transfer brings it back. */
static void lag(struct stage *s)
{
    pbft_seq from = sim_executed_last(s->sim);
    sim_isolate(s->sim, LAGGARD, true);
    for (unsigned i = 0; i < 20 && sim_ok(s->sim); i++) {
        stage_load(s, 20);
        stage_wait(s);
        if (sim_executed_last(s->sim) > from + 4 * (pbft_seq)sim_cluster(s->sim)->params.window)
            break;
    }
}

/* Its view may be another: it may have timed out alone (PROTOCOL 23). */
struct goal {
    pbft_id who;
    pbft_seq executed;
};
static bool follows(struct sim *sim, void *context)
{
    const struct goal *goal = context;
    return sim_alive(sim, goal->who) && sim_info(sim, goal->who).core.executed >= goal->executed;
}

static void return_laggard(struct stage *s)
{
    struct goal goal = {LAGGARD, sim_executed_last(s->sim)};
    sim_isolate(s->sim, LAGGARD, false);
    stage_load(s, 40);
    stage_must(s, sim_run_until(s->sim, follows, &goal, STAGE_ENOUGH),
               "the laggard never came back");
}

/* The laggard's questions for pages get lost until the liar is asked: many others could be. */
static bool asks_another(const struct stage *s, const struct sim_packet *p)
{
    if (s->injected > 0 || !between_replicas(p) || p->type != PBFT_FETCH || p->from != LAGGARD)
        return false;
    struct pbft_msg msg;
    return pbft_wire_decode(pbft_frame_span(p->frame), &sim_cluster(s->sim)->params, NULL, &msg) ==
               PBFT_OK &&
           msg.fetch.kind == PBFT_FETCH_PAGE && p->to != 1;
}

/* 2.21: replica 1 changes one byte of each page that it serves. */
static bool poison(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    if (asks_another(s, p)) return false;
    if (s->busy || !between_replicas(p) || p->type != PBFT_PAGE || p->from != 1) return true;
    s->busy = true;
    struct pbft_frame *bad = stage_copy(s, pbft_frame_span(p->frame));
    bad->bytes[PBFT_WIRE_HEADER_BYTES + sim_random(sim, bad->size - PBFT_WIRE_HEADER_BYTES)] ^= 4;
    stage_inject(s, 1, p->to, bad, true); /* the node's verdict; nothing of it may be installed */
    s->busy = false;
    return false;
}

static void poisoned_pages(struct stage *s)
{
    lag(s);
    stage_filter(s, poison);
    return_laggard(s);
}

/* 2.22: CHECKPOINTs of a state that nobody has, and no answer to any question for pages. */
static bool stall(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (!between_replicas(p) || p->type != PBFT_PAGE || p->from != 1) return true;
    s->injected++;
    return false;
}

static void false_target(struct stage *s)
{
    lag(s);
    uint32_t k = sim_cluster(s->sim)->params.checkpoint_interval;
    struct pbft_digest root = {{0xBA, 0xD0}};
    for (pbft_seq seq = 1000; seq < 1010; seq++)
        for (pbft_id to = 0; to < s->n; to++)
            if (to != 1) stage_inject(s, 1, to, sim_checkpoint(s->sim, 1, seq * k, &root), true);
    stage_filter(s, stall);
    return_laggard(s);
}

/* 2.23: replica 1 answers each question with a page that was asked of somebody before; the first
 * one, with a page of its own making. */
static bool shift(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (asks_another(s, p)) return false;
    if (s->busy || !between_replicas(p) || p->type != PBFT_PAGE) return true;
    size_t last = (s->kept_count + 63) % 64;
    struct pbft_frame *other = s->kept_count > 0 ? pbft_frame_retain(s->kept[last])
                                                 : stage_copy(s, pbft_frame_span(p->frame));
    if (s->kept_count == 0) other->bytes[other->size - 1] ^= 1;
    stage_keep(s, p->frame);
    s->busy = true;
    if (p->from == 1)
        stage_inject(s, 1, p->to, other, true);
    else
        pbft_frame_release(other);
    s->busy = false;
    return p->from != 1;
}

static void shifted_pages(struct stage *s)
{
    lag(s);
    stage_filter(s, shift);
    return_laggard(s);
}

/* 2.24: COMMITs for one sequence number, shown as the certificate of the next. */
static bool keep_commits(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (between_replicas(p) && p->type == PBFT_COMMIT && p->claim.view == 0 && p->to == 1)
        stage_keep(s, p->frame);
    return true;
}

struct mixture {
    pbft_signers of;
    uint8_t signatures[PBFT_REPLICAS_MAX][PBFT_SIGNATURE_BYTES];
};

static const uint8_t *signature_of(const struct pbft_frame *vote)
{
    return vote->bytes + vote->size - PBFT_SIGNATURE_BYTES;
}

static void mix(struct stage *s, struct mixture *m)
{
    pbft_signers heard = 0;
    for (size_t i = 0; i < 64 && s->kept[i] != NULL; i++) {
        struct pbft_claim claim;
        if (pbft_wire_peek(pbft_frame_span(s->kept[i]), &claim) != PBFT_OK) continue;
        heard |= pbft_signers_of(claim.sender);
        memcpy(m->signatures[claim.sender], signature_of(s->kept[i]), PBFT_SIGNATURE_BYTES);
    }
    m->of = pbft_signers_of(1); /* its own, over what it likes */
    for (pbft_id id = s->n; id-- > 0 && pbft_signers_count(m->of) < pbft_quorum(s->n);)
        if (pbft_signers_has(heard, id)) m->of |= pbft_signers_of(id);
    stage_must(s, pbft_signers_count(m->of) == pbft_quorum(s->n), "votes of a quorum");
}

static void show_mixture(struct stage *s, struct mixture *m, enum pbft_certificate_kind kind,
                         pbft_seq seq, const struct pbft_digest *digest)
{
    uint8_t packed[sizeof m->signatures];
    size_t count = 0;
    struct pbft_frame *own = sim_vote(s->sim, PBFT_COMMIT, 1, 0, seq, digest);
    memcpy(m->signatures[1], signature_of(own), PBFT_SIGNATURE_BYTES);
    pbft_frame_release(own);
    for (pbft_id id = 0; id < s->n; id++)
        if (pbft_signers_has(m->of, id))
            memcpy(packed + PBFT_SIGNATURE_BYTES * count++, m->signatures[id],
                   PBFT_SIGNATURE_BYTES);
    struct pbft_msg msg = {.type = PBFT_CERTIFICATE};
    struct pbft_certificate *c = &msg.certificate;
    c->kind = (uint8_t)kind;
    c->seq = seq;
    c->digest = *digest;
    c->signatures.signers = m->of;
    c->signatures.bytes = packed;
    for (pbft_id to = 0; to < s->n; to++)
        if (to != 1) stage_inject(s, 1, to, sim_message(s->sim, 1, &msg), false);
}

static void mixed_votes(struct stage *s)
{
    stage_filter(s, keep_commits);
    stage_load(s, 20);
    stage_wait(s);
    stage_filter(s, NULL);
    struct mixture m;
    mix(s, &m);
    if (!sim_ok(s->sim)) return;
    pbft_seq next = sim_executed_last(s->sim) + 1;
    struct pbft_digest digest = {{0}};
    show_mixture(s, &m, PBFT_CERT_COMMIT, next, &digest);
    digest.bytes[0] = 1;
    show_mixture(s, &m, PBFT_CERT_COMMIT, next, &digest);
    next = 4 * (pbft_seq)sim_cluster(s->sim)->params.window;
    show_mixture(s, &m, PBFT_CERT_CHECKPOINT, next, &digest);
    stage_load(s, 20);
    stage_wait(s);
}

/* ---- restarts ---- */

static bool hashing(struct sim *sim, void *context)
{
    struct stage *s = context;
    struct pbft_core_info info = sim_info(sim, 2).core;
    uint32_t k = sim_cluster(s->sim)->params.checkpoint_interval;
    return info.executed % k == 0 && info.executed > info.stable;
}

/* Or has left the view alone, and follows: what it would vote for is stable already. */
static bool votes(struct sim *sim, void *context)
{
    const struct goal *goal = context;
    if (!follows(sim, context)) return false;
    struct pbft_core_info info = sim_info(sim, goal->who).core;
    return info.own_checkpoint >= goal->executed || !info.view_active;
}

/* It goes on with what is on its disk, and votes again. */
static void returns(struct stage *s, pbft_id id)
{
    stage_must(s, sim_restart_as_found(s->sim, id), "its log is not what it wrote");
    struct goal goal = {id, sim_executed_last(s->sim) + 1};
    for (unsigned i = 0; i < 10 && sim_ok(s->sim) && !votes(s->sim, &goal); i++) {
        stage_load(s, 40); /* up to the next checkpoint */
        stage_wait(s);
        stage_must(s, sim_run_until(s->sim, follows, &goal, STAGE_ENOUGH),
                   "the replica does not follow");
    }
    stage_must(s,
               sim_run_until(s->sim, votes, &goal, STAGE_ENOUGH) && !sim_info(s->sim, id).core.mute,
               "the replica does not vote");
}

/* 2.39: a checkpoint is one transaction: what is on the disk afterwards is this one or the one
 * before. */
static void die_in_checkpoint(struct stage *s)
{
    stage_load(s, 40);
    stage_must(s, sim_run_until(s->sim, hashing, s, STAGE_ENOUGH), "no checkpoint came");
    if (!sim_ok(s->sim)) return;
    pbft_seq flushed = sim_info(s->sim, 2).flushed;
    sim_kill(s->sim, 2);
    s->injected++;
    stage_run_for(s, 200);
    returns(s, 2);
    stage_must(s, sim_ok(s->sim) && sim_info(s->sim, 2).flushed >= flushed,
               "a checkpoint that was on its disk is gone");
}

/* 2.38 */
static void die_anywhere(struct stage *s)
{
    stage_load(s, 60);
    stage_run_for(s, 1 + sim_random(s->sim, 120));
    pbft_id victim = stage_victim(s);
    sim_kill(s->sim, victim);
    s->injected++;
    stage_run_for(s, 1 + sim_random(s->sim, 900));
    returns(s, victim);
}

/* 2.40: the power of one replica fails while its disk is behind with syncs. Nothing that it ever
 * said may have been in what is gone (FAULTS 3.6, checked when it dies), so it votes on. */
static bool is_behind(struct sim *sim, void *context)
{
    return sim_disk_unsynced(sim, *(const pbft_id *)context) > 0;
}

static void power_fails(struct stage *s)
{
    pbft_id victim = stage_victim(s);
    sim_slow_disk(s->sim, victim, (1 + sim_random(s->sim, 40)) * SIM_MS);
    stage_load(s, 60);
    stage_run_for(s, 1 + sim_random(s->sim, 120));
    stage_must(s, sim_run_until(s->sim, is_behind, &victim, STAGE_ENOUGH), "nothing to lose");
    if (!sim_ok(s->sim)) return;
    if (sim_kill_harming(s->sim, victim, SIM_HARM_POWER) > 0) s->injected++;
    stage_run_for(s, 1 + sim_random(s->sim, 900));
    sim_slow_disk(s->sim, victim, 0);
    returns(s, victim);
}

/* 2.43, 2.44: whoever comes back on a disk that is not what it wrote is shown its own old votes,
 * and never votes again. Its own reader sees what is rotten, gone or another's; that everything is
 * whole and older its peers tell it (PROTOCOL 29). A tail that a crash has torn is neither. */
static bool remember_own(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (between_replicas(p) && p->from == 2 && (p->type == PBFT_PREPARE || p->type == PBFT_COMMIT))
        stage_keep(s, p->frame);
    return true;
}

/* What it hands on of others is no word of its own, nor is a VIEW-CHANGE of its earlier life that
 * somebody asks for. */
static bool votes_of_two(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    struct pbft_claim claim;
    pbft_id signer;
    if (p->from_client || p->from != 2 || !sim_info(sim, 2).core.mute) return true;
    if (!sim_statement(s->n, pbft_frame_span(p->frame), &claim, &signer) || signer != 2)
        return true;
    if (claim.type != PBFT_VIEW_CHANGE || claim.view > s->number)
        sim_fail(sim, "scenario %s: a replica without memory sends a %s", s->row->name,
                 pbft_type_text(p->type));
    return true;
}

static void comes_back_on(struct stage *s, enum sim_harm harm)
{
    stage_filter(s, remember_own);
    stage_load(s, 20);
    stage_wait(s);
    pbft_id victim = 2;
    if (harm == SIM_HARM_ROLLED_BACK) {
        sim_snapshot_disk(s->sim, victim);
        stage_load(s, 20);
        stage_wait(s);
    }
    uint64_t harmed = 0;
    for (unsigned i = 0; i < 5 && sim_ok(s->sim) && harmed == 0; i++) {
        if (i > 0) returns(s, victim); /* its last write was cut where a record ends */
        if (harm == SIM_HARM_TORN) {   /* there must be a tail */
            stage_load(s, 20);
            stage_must(s, sim_run_until(s->sim, is_behind, &victim, STAGE_ENOUGH), "no tail");
        }
        if (sim_ok(s->sim)) harmed = sim_kill_harming(s->sim, victim, harm);
    }
    stage_must(s, harmed > 0, "nothing on its disk was harmed");
    if (!sim_ok(s->sim)) return;
    s->injected++;
    s->number = stage_view(s);
    stage_run_for(s, 300);
    if (harm == SIM_HARM_TORN) {
        returns(s, victim);
        return;
    }
    bool older = harm == SIM_HARM_ROLLED_BACK;
    stage_must(s, sim_restart_as_found(s->sim, victim) == older,
               "it votes on what is no log of its");
    stage_filter(s, votes_of_two);
    for (size_t i = 0; i < 64 && s->kept[i] != NULL; i++)
        stage_inject(s, 0, 2, pbft_frame_retain(s->kept[i]), true);
    stage_load(s, 40);
    stage_wait(s);
    struct goal goal = {victim, sim_executed_last(s->sim) / 2};
    stage_must(s, sim_run_until(s->sim, follows, &goal, STAGE_ENOUGH),
               "the mute replica does not follow");
    stage_must(s, sim_ok(s->sim) && sim_info(s->sim, victim).core.mute, "it goes on voting");
}

static void damaged(struct stage *s)
{
    static const enum sim_harm harms[] = {SIM_HARM_TORN, SIM_HARM_ROT, SIM_HARM_MISDIRECTED};
    comes_back_on(s, harms[sim_random(s->sim, 3)]);
}

static void wiped(struct stage *s)
{
    static const enum sim_harm harms[] = {SIM_HARM_WIPED, SIM_HARM_ROLLED_BACK, SIM_HARM_FOREIGN};
    comes_back_on(s, harms[sim_random(s->sim, 3)]);
}

/* 2.47: without the laggard there is no quorum once the primary is dead. */
static bool transferring(struct sim *sim, void *context)
{
    (void)context;
    return sim_info(sim, LAGGARD).core.transferring;
}

static void view_change_in_transfer(struct stage *s)
{
    lag(s);
    sim_isolate(s->sim, LAGGARD, false);
    stage_load(s, 20);
    stage_must(s, sim_run_until(s->sim, transferring, s, STAGE_ENOUGH), "no transfer began");
    if (sim_ok(s->sim)) sim_kill(s->sim, (pbft_id)(stage_view(s) % s->n));
    s->injected++;
    stage_load(s, 20);
    stage_wait(s);
    stage_must(s, stage_view(s) > 0, "nobody left the dead primary");
}

const struct stage_row stage_rows_state[] = {
    {.name = "2.20", .byzantine = 4, .strategy = "wrong-checkpoint", .liar = 2},
    {.name = "2.21", .byzantine = 2, .play = poisoned_pages},
    {.name = "2.22", .byzantine = 2, .play = false_target},
    {.name = "2.23", .byzantine = 2, .play = shifted_pages},
    {.name = "2.24", .byzantine = 2, .play = mixed_votes},
    {.name = "2.38", .play = die_anywhere},
    {.name = "2.39", .play = die_in_checkpoint},
    {.name = "2.40", .play = power_fails},
    {.name = "2.43", .play = damaged},
    {.name = "2.44", .play = wiped},
    {.name = "2.47", .play = view_change_in_transfer},
    {0},
};
