/*
 * tests/fuzz/core.c - real cores against authenticated but hostile messages. The input is a program
 * for a small machine: it crafts messages of any type, signs them with the keys that the adversary
 * has, assembles certificates out of signatures that were really made (others are wrong), delivers,
 * loses, doubles and replays, moves clocks, finishes jobs, and takes the frame pool's budget away.
 *
 * Two worlds, by the first byte:
 *   solo   one real core, all others belong to the adversary: more traitors than PBFT bears. No
 *          agreement is promised then, but the core must neither break nor contradict itself
 *   trio   three real cores and one traitor (n = 4, f = 1): all of FAULTS 3 that can be seen here
 *
 * Checked after every step: nothing asserts; effects are bounded; execution without gap or repeat;
 * executed <= committed <= h + L; view and h go up only; phases never regress within a view; what
 * is decided stays decided; no core says two different things about one (view, seq), sends before
 * it has logged, accuses a correct replica or stops a fetch that it did not begin; trio: agreement
 * on proposals and on checkpoint roots. At the end no frame is left.
 */
#include "tests/fuzz/core/world.h"

static void pass_time(uint8_t choice)
{
    static const uint16_t ms[8] = {0, 1, 10, 50, 100, 500, 1000, 8000};
    w.now_ns += ms[choice & 7u] * MS;
    for (pbft_id id = 0; id < N; id++)
        if (w.nodes[id].real && pbft_core_deadline(w.nodes[id].core) <= w.now_ns)
            tick(&w.nodes[id]);
}

/* An undisturbed while: all that is under way arrives, all that was begun ends. */
static void settle(unsigned rounds)
{
    while (rounds-- > 0 && w.steps < STEPS_MAX) {
        for (size_t count = w.queue_count; count > 0; count--)
            deliver(0, 1);
        for (pbft_id id = 0; id < N; id++) {
            struct node *node = &w.nodes[id];
            if (!node->real) continue;
            while (node->job_count > 0 && w.steps < STEPS_MAX)
                run_job(node);
            while (node->ready_count > 0)
                checkpoint_ready(node);
            state_ready(node);
            answer_fetches(node);
        }
    }
}

static void disturb(struct fuzz *f, uint8_t what)
{
    uint8_t choice = fuzz_u8(f);
    struct node *node = some_real(choice & 3u);
    switch (what) {
    case 0: pass_time(choice); break;
    case 1: settle(1 + choice % 6u); break;
    case 2: run_job(node); break;
    case 3: checkpoint_ready(node); break;
    case 4: state_ready(node); break;
    case 5: answer_fetches(node); break;
    case 6:
        if (w.queue_count > 0) deliver(choice % w.queue_count, 1 + choice % 2u);
        break;
    case 7:
        for (unsigned i = choice % 16u; i > 0 && w.queue_count > 0; i--)
            pbft_frame_release(queue_take(0).frame);
        break;
    case 8: {
        struct pbft_frame *frame = w.heard[choice % 32u];
        pbft_id from = (pbft_id)__builtin_ctzll(w.traitors);
        pbft_frame_retain(frame); /* the ring may let go of it meanwhile */
        for (pbft_id id = 0; frame != NULL && id < N; id++)
            arrive(from, id, frame);
        pbft_frame_release(frame);
        break;
    }
    case 9: w.refuse = choice & 1u; break;
    case 10: w.wall_skew_ns = (choice & 31u) * UINT64_C(600000000000); break;
    default: {
        struct pbft_event event = {.kind = PBFT_EVENT_PEER_UP};
        event.peer_up.id = (choice >> 2) % N;
        if (choice & 0x80u) { /* its session was retired */
            struct pbft_done_request *done = &event.request_over.done;
            event.kind = PBFT_EVENT_REQUEST_OVER;
            *done = (struct pbft_done_request){choice >> 2 & 1u, 1, 1 + (choice >> 3 & 3u), 0};
            if (pbft_core_oldest_request(node->core, &done->client_index, &done->session, &done->t))
                REQUIRE(done->client_index < CLIENTS && done->session == 1);
        }
        (void)step(node, &event);
    }
    }
}

static void command(struct fuzz *f)
{
    uint8_t op = fuzz_u8(f) % (CRAFTS + 12u);
    if (op < CRAFTS)
        craft_command(f, op);
    else
        disturb(f, (uint8_t)(op - CRAFTS));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    world_create();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    int64_t live = w.live;
    world_begin(fuzz_u8(&f));
    for (unsigned i = 0; i < COMMANDS_MAX && f.left > 0 && w.steps < STEPS_MAX; i++)
        command(&f);
    world_end(live);
    return 0;
}
