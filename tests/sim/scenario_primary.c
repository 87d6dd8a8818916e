/* FAULTS 2.1 to 2.8: what a primary can do. */
#include "tests/sim/scenario.h"

#include <string.h>

#define BACKUPS(s, id) for (pbft_id id = 1; id < (s)->n; id++)

/* Nothing is proposed or on its way. */
static void settle(struct stage *s)
{
    stage_wait(s);
    stage_run_for(s, 100);
}

static pbft_seq next_seq(struct stage *s)
{
    return sim_executed_last(s->sim) + 1;
}

static void propose(struct stage *s, pbft_seq seq, struct pbft_frame *const *requests,
                    uint32_t count, bool may_pass)
{
    BACKUPS(s, id)
    stage_inject(s, 0, id,
                 sim_pre_prepare(s->sim, 0, 0, seq, sim_wall_ns(s->sim), requests, count, NULL),
                 may_pass);
}

static bool is_beyond(struct sim *sim, void *context)
{
    return sim_executed_last(sim) > *(const pbft_seq *)context;
}

/* 2.2: h+L is inside, h+L+1 is not; what follows a gap is prepared and must not be executed; the
 * view change fills the gap with a null request. */
static void skip(struct stage *s)
{
    settle(s);
    struct pbft_core_info info = sim_info(s->sim, 1).core;
    pbft_seq next = next_seq(s), high = info.stable + sim_cluster(s->sim)->params.window;
    struct pbft_frame *request = stage_request(s, 1);
    propose(s, high + 1, &request, 1, false);
    propose(s, high, &request, 1, true);
    propose(s, next + 1, &request, 1, true);
    stage_run_for(s, 50);
    stage_must(s, sim_executed_last(s->sim) < next, "executed behind a gap");
    pbft_frame_release(request);
    stage_change_views(s, 1);
    stage_must(s, sim_run_until(s->sim, is_beyond, &next, STAGE_ENOUGH),
               "the gap was never filled");
}

static void die(struct stage *s)
{
    stage_run_for(s, 20);
    sim_kill(s->sim, 0);
    s->injected++;
    stage_wait(s);
    stage_must(s, stage_view(s) > 0, "nobody left the dead primary");
}

/* 2.4: the others' progress, which never ends here, does not keep a primary that censors one. */
static void censored(struct stage *s)
{
    uint64_t ms = sim_cluster(s->sim)->params.view_timeout_ns / SIM_MS;
    pbft_view before = stage_view(s);
    for (uint64_t at = 0; at < 4 * ms && stage_view(s) == before && sim_ok(s->sim); at += 10) {
        sim_load(s->sim, 0, 4, SIM_WRITES);
        stage_run_for(s, 10);
    }
    /* It may have been left already, in the row before this one. */
    bool censors = before % s->n == s->row->liar;
    stage_must(s, !censors || stage_view(s) > before, "others keep a primary that censors");
}

/* 2.5: what the primary proposes leaves it 0.9 time-outs later. */
#define SLOW_ROUNDS 12u

static bool hold_back(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (p->from_client || p->to_client || p->from != 0 || p->type != PBFT_PRE_PREPARE) return true;
    stage_keep(s, p->frame);
    return false;
}

static void slow(struct stage *s)
{
    uint64_t ms = sim_cluster(s->sim)->params.view_timeout_ns / SIM_MS;
    pbft_seq before = sim_executed_last(s->sim);
    stage_filter(s, hold_back);
    for (unsigned round = 0; round < SLOW_ROUNDS && sim_ok(s->sim); round++) {
        stage_load(s, 4);
        stage_run_for(s, ms * 9 / 10);
        for (size_t i = 0; i < s->kept_count && i < 64; i++)
            BACKUPS(s, id) stage_inject(s, 0, id, pbft_frame_retain(s->kept[i]), true);
    }
    stage_filter(s, NULL);
    stage_must(s, sim_executed_last(s->sim) + 1 >= before + SLOW_ROUNDS,
               "less than a batch in each time-out");
}

/* 2.6: replica 3 sees the votes, never the proposal; replica 1, which it asks first, says nothing.
 */
static bool without_body(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (p->from_client || p->to_client || p->to != 3) return true;
    bool body = p->type == PBFT_PRE_PREPARE && p->from == 0;
    bool answer = (p->type == PBFT_BATCH || p->type == PBFT_CERTIFICATE) && p->from == 1;
    if (body || answer) s->injected++;
    return !body && !answer;
}

static void hide_body(struct stage *s)
{
    stage_filter(s, without_body);
    stage_load(s, 20);
    stage_wait(s);
    struct sim_at_least there = {.who = pbft_signers_of(3),
                                 .executed = sim_executed_last(s->sim) / 2};
    stage_must(s, sim_run_until(s->sim, sim_reached, &there, STAGE_ENOUGH),
               "replica 3 never got the bodies");
}

/* 2.7 */
static void doubled(struct stage *s)
{
    settle(s);
    struct pbft_frame *fresh = stage_request(s, 1), *forged = stage_request(s, 2);
    struct pbft_frame *twice[3] = {fresh, fresh, fresh}, *spoilt[2] = {fresh, forged};
    forged->bytes[forged->size - 1] ^= 1;
    propose(s, next_seq(s), spoilt, 2, false);
    propose(s, next_seq(s), twice, 3, true);
    stage_run_for(s, 100);
    struct pbft_frame *again[1] = {fresh};
    propose(s, next_seq(s), again, 1, true);
    stage_run_for(s, 100);
    pbft_frame_release(fresh);
    pbft_frame_release(forged);
    stage_change_views(s, 1); /* its own core does not know what was proposed in its name */
}

/* 2.8 */
static bool prepare_too(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    if (s->busy || p->from_client || p->to_client || p->type != PBFT_PRE_PREPARE || p->from != 0)
        return true;
    s->busy = true;
    stage_inject(s, 0, p->to,
                 sim_vote(sim, PBFT_PREPARE, 0, p->claim.view, p->claim.seq, &p->claim.digest),
                 false);
    s->busy = false;
    return true;
}

static void both_roles(struct stage *s)
{
    stage_filter(s, prepare_too);
    stage_load(s, 20);
    stage_wait(s);
}

const struct stage_row stage_rows_primary[] = {
    {.name = "2.1", .byzantine = 1, .strategy = "equivocate", .liar = 0},
    {.name = "2.2", .byzantine = 1, .play = skip},
    {.name = "2.3", .play = die},
    {.name = "2.4", .byzantine = 1, .strategy = "censor=1", .liar = 0, .play = censored},
    {.name = "2.5", .byzantine = 1, .play = slow},
    {.name = "2.6", .byzantine = 2, .play = hide_body},
    {.name = "2.7", .byzantine = 1, .play = doubled},
    {.name = "2.8", .byzantine = 1, .play = both_roles},
    {0},
};
