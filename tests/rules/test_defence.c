/* The core defends itself: `pbft_wants` sheds most of what cannot matter before a signature is
 * verified (PROTOCOL 16), and the pool rarely runs dry; neither may be what safety hangs on. Here
 * the door asks nobody, one replica says anything that its key can sign and repeats whatever
 * anybody ever said, and memory comes and goes. The harness's invariants (FAULTS 3) hold all the
 * time. */
#include "tests/rules/harness.h"

#include <string.h>

#define SEEDS   24u
#define ROUNDS  60u
#define HEARD   128u
#define LIAR    3u
#define WINDOWS 3u /* how far around the window the liar counts */

struct storm {
    struct net *t;
    uint64_t random;
    struct pbft_frame *heard[HEARD];
    uint64_t numbers; /* client requests so far */
    uint64_t verdicts[PBFT_VERDICT_COUNT];
};

static uint64_t draw(struct storm *s, uint64_t below)
{
    uint64_t z = (s->random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static enum net_fate listen(struct net *t, const struct net_packet *p)
{
    struct storm *s = t->filter_context;
    if (draw(s, 4) == 0) {
        struct pbft_frame **place = &s->heard[draw(s, HEARD)];
        pbft_frame_release(*place);
        *place = pbft_frame_retain(p->frame);
    }
    return draw(s, 40) == 0 ? NET_DROP : NET_PASS;
}

static void put(struct storm *s)
{
    uint64_t number = ++s->numbers;
    net_submit(s->t, (uint32_t)(number % NET_CLIENTS), 1, (number - 1) / NET_CLIENTS + 1, "storm",
               0);
}

/* What some replica holds at seq, or nothing that anybody does. */
static struct pbft_digest some_digest(struct storm *s, pbft_seq seq)
{
    struct pbft_digest digest;
    switch (draw(s, 4)) {
    case 0: return s->t->null_digest;
    case 1: memset(&digest, (int)draw(s, 4), sizeof digest); return digest;
    default:
        if (net_phase(s->t, (pbft_id)draw(s, LIAR), seq, &digest) == PBFT_PHASE_NONE)
            memset(&digest, 0x55, sizeof digest);
        return digest;
    }
}

static struct pbft_frame *invent(struct storm *s)
{
    struct pbft_core_info info = net_info(s->t, (pbft_id)draw(s, LIAR));
    uint32_t window = s->t->params.window, interval = s->t->params.checkpoint_interval;
    pbft_view view = info.view + draw(s, 4);
    if (view > 0 && draw(s, 3) == 0) view--;
    pbft_seq seq = info.stable + draw(s, WINDOWS * window) + 1;
    if (draw(s, 4) == 0) seq = seq > 2 * window ? seq - 2 * window : 1;
    struct pbft_digest digest = some_digest(s, seq);
    switch (draw(s, 9)) {
    case 0: return net_vote(s->t, PBFT_PREPARE, LIAR, view, seq, &digest);
    case 1: return net_vote(s->t, PBFT_COMMIT, LIAR, view, seq, &digest);
    case 2: {
        view = view / 4 * 4 + LIAR; /* its own */
        int64_t late = (int64_t)draw(s, 3) * (int64_t)s->t->params.clock_skew_ns * 2;
        struct net_batch batch = net_batch_at(s->t, net_wall(s->t, 0) + (uint64_t)late, 0, 1,
                                              draw(s, 2 + s->numbers / NET_CLIENTS) + 1, "storm");
        return net_pre_prepare(s->t, view, seq, &batch);
    }
    case 3: return net_header(s->t, view / 4 * 4 + LIAR, seq, &digest);
    case 4: return net_checkpoint(s->t, LIAR, seq / interval * interval + interval, &digest);
    case 5: return net_checkpoint(s->t, LIAR, info.stable == 0 ? interval : info.stable, &digest);
    case 6: {
        struct net_vc vc = {.view = view + 1, .sender = LIAR};
        return net_view_change(s->t, &vc);
    }
    case 7:
        return net_status(s->t, view, draw(s, seq), draw(s, seq), draw(s, 1u << 20),
                          (uint8_t)draw(s, 4));
    default: {
        struct net_batch batch = net_batch(s->t, 1, 1, s->numbers / NET_CLIENTS + 1, "storm");
        return net_batch_frame(s->t, &batch);
    }
    }
}

static void lie(struct storm *s)
{
    struct pbft_frame *frame = NULL;
    if (draw(s, 2) == 0) frame = s->heard[draw(s, HEARD)];
    frame = frame != NULL ? pbft_frame_retain(frame) : invent(s);
    for (pbft_id to = 0; to < LIAR; to++)
        if (draw(s, 3) != 0) s->verdicts[net_deliver(s->t, LIAR, to, pbft_frame_retain(frame))]++;
    pbft_frame_release(frame);
}

/* More votes for the next view than anybody may have kept for him. */
static void flood(struct storm *s)
{
    pbft_id to = (pbft_id)draw(s, LIAR);
    struct pbft_core_info info = net_info(s->t, to);
    for (pbft_seq seq = info.stable + 1; seq <= info.stable + s->t->params.window; seq++)
        for (unsigned twice = 0; twice < 3; twice++) {
            struct pbft_digest digest = some_digest(s, seq);
            uint8_t type = twice == 0 ? PBFT_PREPARE : PBFT_COMMIT;
            s->verdicts[net_deliver(s->t, LIAR, to,
                                    net_vote(s->t, type, LIAR, info.view + 1, seq, &digest))]++;
        }
}

static void storm_run(uint64_t seed, bool memory_fails, uint64_t verdicts[PBFT_VERDICT_COUNT])
{
    struct storm s = {.random = seed, .t = net_new(4)};
    net_puppet(s.t, LIAR);
    s.t->no_wants = true;
    s.t->shuffle = seed + 1;
    s.t->filter = listen;
    s.t->filter_context = &s;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        put(&s);
        for (uint64_t lies = draw(&s, 12); lies > 0; lies--)
            lie(&s);
        if (draw(&s, 12) == 0) flood(&s);
        if (draw(&s, 12) == 0) net_cut(s.t, NET_BIT((pbft_id)draw(&s, LIAR)), NET_BIT(LIAR) - 1);
        s.t->frames.refuse = memory_fails && draw(&s, 3) == 0;
        net_run(s.t, 1 + draw(&s, 60));
        s.t->frames.refuse = false;
        if (draw(&s, 6) == 0) net_rules_clear(s.t);
    }
    net_rules_clear(s.t);
    s.t->filter = NULL;
    /* Three are left, and they are all that a quorum needs: the liar fell silent. */
    pbft_signers rest = NET_BIT(LIAR) - 1;
    net_run(s.t, 15000);
    put(&s);
    net_run(s.t, 15000);
    for (uint64_t number = 1; number <= s.numbers; number++)
        cr_assert_eq(net_replied(s.t, (uint32_t)(number % NET_CLIENTS), 1,
                                 (number - 1) / NET_CLIENTS + 1) &
                         rest,
                     rest, "seed %llu: request %llu is not answered by all",
                     (unsigned long long)seed, (unsigned long long)number);
    cr_assert(net_roots_equal(s.t, rest), "seed %llu", (unsigned long long)seed);
    for (size_t i = 0; i < HEARD; i++)
        pbft_frame_release(s.heard[i]);
    for (size_t i = 0; i < PBFT_VERDICT_COUNT; i++)
        verdicts[i] += s.verdicts[i];
    net_free(s.t);
}

static void must_see(const uint64_t verdicts[PBFT_VERDICT_COUNT])
{
    static const enum pbft_verdict expected[] = {
        PBFT_OK,         PBFT_DROP_DUPLICATE, PBFT_DROP_WINDOW,
        PBFT_DROP_VIEW,  PBFT_DROP_CONFLICT,  PBFT_DROP_UNWANTED,
        PBFT_DROP_QUOTA,
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        cr_expect_gt(verdicts[expected[i]], 0, "no lie was met with: %s",
                     pbft_verdict_text(expected[i]));
}

Test(protocol, r16_the_core_stays_safe_when_the_door_asks_nobody)
{
    uint64_t verdicts[PBFT_VERDICT_COUNT] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        storm_run(seed, false, verdicts);
    must_see(verdicts);
}

Test(faults, r3_18_a_pool_that_runs_dry_costs_time_and_nothing_else)
{
    uint64_t verdicts[PBFT_VERDICT_COUNT] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        storm_run(seed * 1000, true, verdicts);
    must_see(verdicts);
}

/* Claims and messages that no door lets through, shown to the core all the same. */
Test(protocol, r16_claims_of_nobody_and_other_epochs_are_not_wanted)
{
    struct net *t = net_solo(4, 1);
    static const uint8_t types[] = {PBFT_PREPARE, PBFT_COMMIT, PBFT_CHECKPOINT, PBFT_VIEW_CHANGE};
    for (size_t i = 0; i < sizeof types; i++) {
        struct pbft_claim claim = {.type = types[i],
                                   .epoch = t->cluster.epoch,
                                   .view = types[i] == PBFT_VIEW_CHANGE ? 1 : 0,
                                   .seq = t->params.checkpoint_interval,
                                   .sender = 2};
        cr_expect(pbft_core_wants(t->nodes[1].core, 2, &claim), "type %u", types[i]);
        cr_expect_not(pbft_core_wants(t->nodes[1].core, 4, &claim), "a channel of nobody");
        claim.epoch++;
        cr_expect_not(pbft_core_wants(t->nodes[1].core, 2, &claim), "another epoch");
        claim.epoch--;
        claim.sender = 4;
        cr_expect_not(pbft_core_wants(t->nodes[1].core, 2, &claim), "signed by nobody");
    }
    net_free(t);
}

static enum pbft_verdict show(struct net *t, pbft_id from, struct pbft_frame *frame)
{
    struct pbft_msg msg = *net_decode(t, frame);
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE,
                               .message = {.msg = &msg, .frame = frame, .from = from}};
    enum pbft_verdict verdict;
    net_step_core(&t->nodes[1], &event, &verdict);
    pbft_frame_release(frame);
    return verdict;
}

Test(protocol, r16_what_the_door_would_refuse_the_core_refuses_too)
{
    struct net *t = net_solo(4, 1);
    pbft_seq k = t->params.checkpoint_interval;
    struct pbft_digest root = {{9}};
    cr_expect_eq(show(t, 4, net_vote(t, PBFT_COMMIT, 2, 0, 1, &root)), PBFT_DROP_SENDER);
    cr_expect_eq(show(t, 1, net_status(t, 0, 0, 0, 1, 0)), PBFT_DROP_SENDER, "our own STATUS");
    cr_expect_eq(show(t, 2, net_checkpoint(t, 2, k - 1, &root)), PBFT_DROP_MALFORMED);
    cr_expect_eq(show(t, 2, net_checkpoint_certificate(t, k + 1, &root, NET_BIT(3) - 1)),
                 PBFT_DROP_CERTIFICATE, "no multiple of K");
    cr_expect_eq(show(t, 2, net_commit_certificate(t, 0, 1, NULL, NET_BIT(3) - 1)), PBFT_OK,
                 "the null request needs no body");
    struct net_batch batch = net_batch(t, 0, 1, 1, "op");
    struct pbft_frame *bare = net_commit_certificate(t, 0, 2, &batch, NET_BIT(3) - 1);
    struct pbft_msg msg = *net_decode(t, bare);
    msg.certificate.has_proposal = 0;
    struct pbft_event event = {.kind = PBFT_EVENT_MESSAGE,
                               .message = {.msg = &msg, .frame = bare, .from = 2}};
    enum pbft_verdict verdict;
    net_step_core(&t->nodes[1], &event, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_CERTIFICATE, "a decision whose batch nobody has");
    pbft_frame_release(bare);
    net_free(t);
}

/* Completions of a state that is being replaced, or of a window that has passed (FAULTS 4.20). */
Test(faults, r4_20_completions_that_come_too_late_change_nothing)
{
    struct net *t = net_solo(4, 1);
    pbft_seq k = t->params.checkpoint_interval;
    struct pbft_digest root = {{9}};
    struct pbft_event ready = {.kind = PBFT_EVENT_CHECKPOINT_READY,
                               .checkpoint_ready = {.seq = k * 100, .root = root}};
    enum pbft_verdict verdict;
    net_step_core(&t->nodes[1], &ready, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_STATE, "above the window");
    struct pbft_event state = {.kind = PBFT_EVENT_STATE_READY,
                               .state_ready = {.seq = k, .root = root}};
    net_step_core(&t->nodes[1], &state, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_STATE, "nothing was asked for");

    show(t, 2, net_checkpoint_certificate(t, 100 * k, &root, NET_BIT(3) - 1));
    cr_assert(net_info(t, 1).transferring, "far behind: the state is fetched");
    struct pbft_event executed = {.kind = PBFT_EVENT_EXECUTED, .executed = {.seq = 1}};
    net_step_core(&t->nodes[1], &executed, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_STATE, "of the state that is given up");
    ready.checkpoint_ready.seq = 100 * k;
    net_step_core(&t->nodes[1], &ready, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_STATE, "the same");
    state.state_ready.seq = 99 * k;
    net_step_core(&t->nodes[1], &state, &verdict);
    cr_expect_eq(verdict, PBFT_DROP_STATE, "another target");
    cr_expect(net_info(t, 1).transferring);
    net_free(t);
}

/* PROTOCOL 29: whoever comes (back) is shown its own newest vote, as it signed it. Found by
 * fuzzing: while a view change was pending the vote was shown under the pending view, where its
 * signature does not verify. */
Test(protocol, r29_the_newest_vote_is_shown_under_its_own_view)
{
    struct net *t = net_new(4);
    net_put(t, 1);
    cr_assert(net_run_executed(t, 0, 1, 2000));
    net_crash(t, 0);
    net_rule(t, (struct net_rule){.fate = NET_DROP, .type = PBFT_VIEW_CHANGE});
    net_put(t, 2);
    net_run(t, 800);
    cr_assert_not(net_info(t, 1).view_active, "a view change is pending");
    pbft_frame_release(t->nodes[1].last_sent[PBFT_COMMIT]);
    t->nodes[1].last_sent[PBFT_COMMIT] = NULL;
    uint64_t before = t->nodes[3].verdicts[PBFT_DROP_SIGNATURE];
    net_peer_up(t, 1, 3);
    const struct pbft_frame *shown = t->nodes[1].last_sent[PBFT_COMMIT];
    cr_assert_not_null(shown);
    const struct pbft_vote *vote = &net_decode(t, shown)->vote;
    cr_expect_eq(vote->sender, 3u);
    cr_expect_eq(vote->seq, 1u);
    cr_expect_eq(vote->view, 0u);
    net_run(t, 10);
    cr_expect_eq(t->nodes[3].verdicts[PBFT_DROP_SIGNATURE], before, "its signature verifies");
    net_free(t);
}
