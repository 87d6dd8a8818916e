/* FAULTS 2.27 to 2.30, 2.34, 2.35, 2.37, 2.41, 2.42, 2.45, 2.46: networks, clocks, disks, bytes. */
#include "tests/sim/scenario.h"

#include "pbft/quorum.h"

#include <string.h>

static bool between_replicas(const struct sim_packet *p)
{
    return !p->from_client && !p->to_client;
}

/* ---- 2.28 ---- */

static void flood_one(struct stage *s, pbft_id to, unsigned round)
{
    if (!sim_alive(s->sim, to)) return;
    uint32_t window = sim_cluster(s->sim)->params.window;
    struct pbft_core_info info = sim_info(s->sim, to).core;
    for (pbft_seq seq = info.stable + 1; seq <= info.stable + window + 4; seq++) {
        struct pbft_digest digest = {{(uint8_t)seq, (uint8_t)round}};
        struct pbft_digest other = {{(uint8_t)seq, (uint8_t)round, 1}};
        stage_inject(s, 3, to, sim_vote(s->sim, PBFT_COMMIT, 3, info.view + 1, seq, &digest), true);
        /* One of a number, whatever became of the first (FAULTS 4.22). */
        stage_inject(s, 3, to, sim_vote(s->sim, PBFT_COMMIT, 3, info.view + 1, seq, &other), false);
        stage_inject(s, 3, to, sim_vote(s->sim, PBFT_PREPARE, 3, info.view + 2, seq, &digest),
                     false);
        pbft_seq beyond = seq + 10u * (pbft_seq)window;
        stage_inject(s, 3, to, sim_vote(s->sim, PBFT_COMMIT, 3, info.view, beyond, &digest), false);
    }
}

static void flood(struct stage *s)
{
    for (unsigned round = 0; round < 20 && sim_ok(s->sim); round++) {
        for (pbft_id to = 0; to < 3; to++)
            flood_one(s, to, round);
        stage_load(s, 3);
        stage_run_for(s, 20);
    }
    stage_wait(s);
}

/* ---- 2.29: every frame of replica 2 comes with a spoilt copy before it ---- */

static void spoil(struct sim *sim, struct pbft_frame *frame)
{
    switch (sim_random(sim, 4)) {
    case 0: frame->size = (uint32_t)sim_random(sim, frame->size); break; /* truncated */
    case 1: frame->size += 1 + (uint32_t)sim_random(sim, 40); break;     /* something behind it */
    case 2: /* a length, or whatever stands there, is huge */
        memset(frame->bytes + sim_random(sim, frame->size - 4), 0xFF, 4);
        break;
    default:
        for (unsigned i = 0; i < 8; i++) { /* one draw a statement: compilers differ in order */
            size_t at = sim_random(sim, frame->size);
            frame->bytes[at] = (uint8_t)sim_random(sim, 256);
        }
        break;
    }
}

static bool spoilt_copies(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    if (s->busy || !between_replicas(p) || p->from != 2 || p->frame->size < 8) return true;
    s->busy = true;
    struct pbft_frame *copy = stage_copy(s, pbft_frame_span(p->frame));
    memset(copy->bytes + copy->size, 0, 64);
    spoil(sim, copy);
    bool is_signed = pbft_wire_signed_body(pbft_frame_span(p->frame)).data != NULL;
    stage_inject(s, 2, p->to, copy, !is_signed);
    s->busy = false;
    return true;
}

static void spoilt(struct stage *s)
{
    stage_filter(s, spoilt_copies);
    stage_load(s, 30);
    stage_wait(s);
}

/* ---- 2.30: signatures that one library takes and another does not (RFC 8032 §5.1.7) ---- */

/* S + L is S to a verifier that forgets to check that S < L. */
static void add_order(uint8_t scalar[32])
{
    static const uint8_t order[32] = {0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58,
                                      0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    unsigned carry = 0;
    for (unsigned i = 0; i < 32; i++) {
        carry += (unsigned)scalar[i] + order[i];
        scalar[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

static bool odd_signatures(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    bool is_vote = p->type == PBFT_COMMIT || p->type == PBFT_VIEW_CHANGE;
    if (s->busy || !between_replicas(p) || p->from != 1 || !is_vote) return true;
    s->busy = true;
    struct pbft_frame *odd = stage_copy(s, pbft_frame_span(p->frame));
    uint8_t *signature = odd->bytes + odd->size - PBFT_SIGNATURE_BYTES;
    switch (sim_random(sim, 4)) {
    case 0: add_order(signature + 32); break;
    case 1: signature[31] ^= 0x80; break;        /* the sign of R */
    case 2: memset(signature, 0, 32); break;     /* R of small order */
    default: memset(signature, 0xFF, 32); break; /* R that is not canonical */
    }
    stage_inject(s, 1, p->to, odd, false);
    s->busy = false;
    return true;
}

static void with_ed25519(struct sim_options *o)
{
    o->signer = &pbft_signer_ed25519;
}

static void odd(struct stage *s)
{
    stage_filter(s, odd_signatures);
    stage_load(s, 5);
    stage_wait(s);
}

/* ---- 2.34 ---- */

static void partitions(struct stage *s)
{
    pbft_signers left = pbft_everyone(s->n / 2); /* no quorum in either half */
    pbft_signers right = pbft_everyone(s->n) & ~left, minority = pbft_signers_of(3);
    pbft_seq before = 0;
    for (unsigned kind = 0; kind < 3; kind++) {
        pbft_signers a = kind == 0 ? left : minority;
        pbft_signers b = kind == 0 ? right : pbft_everyone(s->n) & ~minority;
        stage_load(s, 15);
        stage_run_for(s, 10);
        sim_block(s->sim, a, b, true);
        if (kind < 2) sim_block(s->sim, b, a, true);
        s->injected++;
        stage_run_for(s, 200); /* what was on its way has arrived */
        before = sim_executed_last(s->sim);
        stage_load(s, 15);
        stage_run_for(s, 3000);
        if (kind == 0)
            stage_must(s, sim_executed_last(s->sim) == before, "a half decided alone");
        else
            stage_wait(s); /* the majority goes on */
        sim_block(s->sim, a, b, false);
        sim_block(s->sim, b, a, false);
        stage_wait(s);
    }
}

/* ---- 2.35 ---- */

static void bad_links(struct sim_options *o)
{
    o->loss_ppm = 50000;
    o->duplicate_ppm = 50000;
    o->delay_max_ns = 20 * SIM_MS;
}

/* Bits flip on the way out of replica 3 alone: between correct ones the channel drops such frames,
 * which is a loss. */
static bool flip(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    if (s->busy || !between_replicas(p) || p->from != 3 || sim_random(sim, 4) != 0) return true;
    s->busy = true;
    struct pbft_frame *bad = stage_copy(s, pbft_frame_span(p->frame));
    size_t at = sim_random(sim, bad->size);
    bad->bytes[at] ^= (uint8_t)(1u << sim_random(sim, 8));
    bool is_signed = pbft_wire_signed_body(pbft_frame_span(p->frame)).data != NULL;
    stage_inject(s, 3, p->to, bad, !is_signed);
    s->busy = false;
    return false;
}

static void bad_network(struct stage *s)
{
    stage_filter(s, flip);
    stage_load(s, 40);
    stage_wait(s);
}

/* ---- 2.37 ---- */

static void primary_is_off(struct stage *s, int64_t offset_ns, uint64_t ms)
{
    sim_set_clock_offset(s->sim, (pbft_id)(stage_view(s) % s->n), offset_ns);
    s->injected++;
    for (uint64_t at = 0; at < ms; at += 100) {
        stage_load(s, 2);
        stage_run_for(s, 100);
    }
}

/* PROTOCOL 11. A primary behind the others proposes the effective time, and goes on; one that is
 * ahead of the skew is waited for, but not for longer than a time-out. */
static void primary_clock(struct stage *s)
{
    const struct pbft_params *params = &sim_cluster(s->sim)->params;
    uint64_t timeout_ms = params->view_timeout_ns / SIM_MS;
    int64_t beyond = (int64_t)(params->clock_skew_ns + params->view_timeout_ns / 4);
    stage_wait(s); /* there is an effective time */
    pbft_view before = stage_view(s);
    primary_is_off(s, -3600 * (int64_t)SIM_SECOND, params->clock_skew_ns / SIM_MS + 2 * timeout_ms);
    stage_must(s, stage_view(s) == before, "a primary is left whose clock is behind");
    primary_is_off(s, beyond, 2 * timeout_ms);
    stage_must(s, stage_view(s) == before, "a time that has come is not looked at again");
    primary_is_off(s, 3600 * (int64_t)SIM_SECOND, 4 * timeout_ms);
    stage_must(s, stage_view(s) > before, "an hour ahead of all others, and believed");
}

static void clocks(struct stage *s)
{
    bool alone = s->first->next == NULL; /* nobody else moves the view */
    if (alone) primary_clock(s);
    static const int64_t seconds[] = {-3600, 3600, 1, -1, 10, 0};
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        sim_set_clock_offset(s->sim, (pbft_id)(i % s->n), seconds[i] * (int64_t)SIM_SECOND);
        s->injected++;
        stage_load(s, 5);
        stage_run_for(s, 400);
    }
    for (pbft_id id = 0; id < s->n; id++)
        sim_set_clock_offset(s->sim, id, 0);
    stage_wait(s);
}

/* ---- disks ---- */

static void broken_disk(struct stage *s)
{
    stage_run_for(s, 10);
    sim_break_log(s->sim, 2);
    s->injected++;
    stage_load(s, 40);
    stage_wait(s);
    stage_must(s, sim_log_lines(s->sim, "storage_failed") > 0, "replica 2 did not notice");
    sim_kill(s->sim, 2); /* it has stopped: no convergence is asked of it */
}

/* 2.42: no room for another segment, in the middle of agreement. What the replica said before is on
 * its disk, and what it cannot write it does not say (FAULTS 3.6). It dies, or not, and goes on by
 * itself when there is room again. */
static bool is_full(struct sim *sim, void *context)
{
    return sim_info(sim, 2).disk_full == (context != NULL);
}

static void full_disk(struct stage *s)
{
    stage_run_for(s, 1 + sim_random(s->sim, 30));
    sim_fill_disk(s->sim, 2, sim_random(s->sim, 4096));
    bool full = false;
    for (unsigned more = 0; more < 200 && !full && sim_ok(s->sim); more++) {
        stage_load(s, 20);
        stage_wait(s);
        full = is_full(s->sim, s);
    }
    stage_must(s, full, "replica 2 did not notice that its disk is full");
    stage_must(s, sim_log_lines(s->sim, "disk_full") == 1, "its log does not say so");
    s->injected++;
    uint64_t commits = sim_disk_commits(s->sim, 2);
    stage_load(s, 20);
    stage_wait(s);
    stage_must(s, sim_disk_commits(s->sim, 2) == commits, "there was room after all");
    bool dies = sim_random(s->sim, 2) == 0;
    if (dies && sim_ok(s->sim)) {
        sim_kill(s->sim, 2);
        stage_run_for(s, 100);
        sim_restart(s->sim, 2);
    }
    sim_fill_disk(s->sim, 2, UINT64_MAX);
    stage_load(s, 20);
    stage_wait(s);
    stage_must(s, sim_run_until(s->sim, is_full, NULL, STAGE_ENOUGH), "it does not go on");
    stage_must(s, !sim_info(s->sim, 2).storage_failed, "a full disk is taken for a broken one");
}

static void slow_disks(struct sim_options *o)
{
    o->job_min_ns = 20 * SIM_MS;
    o->job_max_ns = 120 * SIM_MS;
}

static void slow_but_steady(struct stage *s)
{
    stage_load(s, 20);
    stage_wait(s);
    for (pbft_id id = 0; id < s->n; id++)
        s->injected += sim_disk_commits(s->sim, id);
}

/* ---- 2.46 ---- */

static bool next_version(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct stage *s = context;
    (void)sim;
    if (s->busy || !between_replicas(p) || p->from != 1) return true;
    s->busy = true;
    struct pbft_frame *next = stage_copy(s, pbft_frame_span(p->frame));
    next->bytes[1]++;
    stage_sign(s, 1, next);
    stage_inject(s, 1, p->to, next, false);
    s->busy = false;
    return false;
}

static void mixed_versions(struct stage *s)
{
    stage_filter(s, next_version);
    stage_load(s, 20);
    stage_wait(s);
}

const struct stage_row stage_rows_network[] = {
    {.name = "2.27", .byzantine = 4, .strategy = "silent", .liar = 2, .no_view_change = true},
    {.name = "2.28", .byzantine = 8, .play = flood, .no_view_change = true},
    {.name = "2.29", .byzantine = 4, .play = spoilt},
    {.name = "2.30", .byzantine = 2, .options = with_ed25519, .play = odd},
    {.name = "2.34", .play = partitions},
    {.name = "2.35", .byzantine = 8, .options = bad_links, .play = bad_network},
    {.name = "2.37", .play = clocks},
    {.name = "2.41", .play = broken_disk},
    {.name = "2.42", .play = full_disk},
    {.name = "2.45", .options = slow_disks, .play = slow_but_steady},
    {.name = "2.46", .byzantine = 2, .play = mixed_versions},
    {0},
};
