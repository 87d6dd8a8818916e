/*
 * tests/fuzz/client.c - the client core (client/match.h) against lying replicas. The input is a
 * program for a small machine: the application writes and reads, replicas execute, fall behind and
 * answer, messages are late, lost and doubled, connections end, clocks move, the frame pool runs
 * dry, and up to f of n = 4 .. 7 replicas say whatever they like, one by one or all the same.
 * Replies are not signed: a liar speaks on its own channel, through the real door.
 *
 * The world keeps the log that correct replicas execute, and counts for itself what every replica
 * said. Checked after every call: an answer is what q replicas said (PROTOCOL 31, 32) and what was
 * executed; a fast read is not older than what was answered before it began; every call ends once,
 * at once when nothing is missing, by TIMEOUT only after its deadline; no correct replica is
 * counted as a liar; floor and primary are vouched for by f+1; one t is one request, and none is
 * sent before all up to t - W are answered (PROTOCOL 7); frames are bounded. At the end the network
 * heals, liars go on, and everything must be answered within ROUNDS_MAX rounds. One world in eight
 * has liars only: nothing is promised there but to stay whole.
 */
#include "tests/fuzz/client/world.h"

static void tick(void)
{
    struct pbft_match_out out;
    pbft_match_tick(w.m, w.now_ns, &out);
    take(&out, CALLS_MAX);
    REQUIRE(pbft_match_deadline(w.m) > w.now_ns); /* no busy loop */
}

/* ---- the application ---- */

static void put_op(struct call *call, uint8_t kind, uint8_t key, uint8_t value)
{
    uint8_t *at = call->ops + call->size;
    pbft_put_u32(at, 3);
    at[4] = kind;
    at[5] = key % KEYS;
    at[6] = value & 3u; /* values repeat: equal ones of different states are the trap */
    call->size += 7;
    call->count++;
}

static struct call *new_call(uint8_t choice)
{
    if (w.call_count == CALLS_MAX) return NULL;
    struct call *call = &w.calls[w.call_count];
    *call = (struct call){.low = w.answered};
    if ((choice & 0xc0u) == 0xc0u) call->deadline_ns = w.now_ns + 300 * MS * (1 + (choice & 7u));
    return call;
}

static void settle_call(struct call *call, enum pbft_verdict verdict,
                        const struct pbft_match_out *out, uint32_t before)
{
    uint32_t token = w.call_count++;
    if (verdict == PBFT_OK) {
        take(out, token);
        REQUIRE(call->t != 0 || w.queries[token].sent);
        return;
    }
    /* Refused: only for want of room, or of an answer to t - ring, and without a trace. */
    bool held = (!call->read || call->ordered) && before > 0 && w.newest_t >= w.ring;
    REQUIRE(verdict == PBFT_DROP_BUSY && (w.refuse || held || before >= w.window));
    REQUIRE(out->send_count == 0 && out->completion_count == 0);
    call->done = true;
}

static void write_some(struct fuzz *f)
{
    uint8_t choice = fuzz_u8(f);
    struct call *call = new_call(choice);
    if (call == NULL) return;
    for (unsigned i = choice >> 4 & 3u; i < 4; i++)
        put_op(call, i == 2 ? 'r' : 'w', choice + (uint8_t)i, choice >> 1);
    struct pbft_match_out out;
    uint32_t before = pbft_match_requests(w.m);
    enum pbft_verdict verdict =
        pbft_match_submit(w.m, w.now_ns, call->deadline_ns, w.call_count,
                          (struct pbft_span){call->ops, call->size}, call->count, &out);
    settle_call(call, verdict, &out, before);
}

static void read_some(struct fuzz *f)
{
    uint8_t choice = fuzz_u8(f);
    struct call *call = new_call(choice);
    if (call == NULL) return;
    put_op(call, 'r', choice >> 4, 0);
    if (choice & 2u) put_op(call, 'r', (uint8_t)(choice >> 4) + 1u + (choice & 1u), 0);
    call->read = true;
    call->ordered = choice & 8u;
    struct pbft_match_out out;
    uint32_t requests = pbft_match_requests(w.m);
    uint32_t before = call->ordered ? requests : pbft_match_outstanding(w.m) - requests;
    enum pbft_verdict verdict = pbft_match_read(w.m, w.now_ns, call->deadline_ns, w.call_count,
                                                (struct pbft_span){call->ops, call->size},
                                                call->count, call->ordered, &out);
    settle_call(call, verdict, &out, before);
}

/* ---- correct replicas ---- */

static void replica_reply(pbft_id id, uint64_t t, bool whole)
{
    struct pbft_msg msg;
    if (!correct(id) || t == 0 || t > w.newest_t || !true_reply(t, w.at[id], whole, &msg)) return;
    msg.reply.view = w.view[id];
    enqueue(id, frame_of(&msg));
}

static void replies(uint8_t who, uint8_t which)
{
    uint64_t back = which & 7u;
    if (w.newest_t <= back) return;
    uint64_t t = w.newest_t - back;
    pbft_id designated = pbft_designated(w.n, &w.public, t);
    for (pbft_id id = 0; id < w.n; id++)
        if ((who & 8u) || id == who % w.n)
            replica_reply(id, t, (id == designated && !(which & 8u)) || (which & 16u));
}

static void query_replies(uint8_t who, uint8_t which)
{
    if (w.call_count == 0) return;
    uint32_t token = w.call_count - 1 - (which & 7u) % w.call_count;
    const struct query *query = &w.queries[token];
    for (pbft_id id = 0; query->sent && id < w.n; id++) {
        struct pbft_msg msg;
        if (!correct(id) || !((who & 8u) || id == who % w.n) || w.at[id] < query->floor) continue;
        true_query_reply(token, w.at[id], (which & 8u) || id == (which >> 4) % w.n, &msg);
        enqueue(id, frame_of(&msg));
    }
}

static void busy(uint8_t who)
{
    uint64_t back = who >> 3 & 7u;
    if (w.newest_t <= back || !correct(who % w.n)) return;
    struct pbft_msg msg = {.type = PBFT_BUSY, .epoch = w.cluster->epoch};
    msg.busy = (struct pbft_busy){SESSION, w.newest_t - back};
    enqueue(who % w.n, frame_of(&msg));
}

static void progress(uint8_t who)
{
    for (pbft_id id = 0; id < w.n; id++) {
        if (!(who & 8u) && id != who % w.n) continue;
        w.at[id] += 1u + (who >> 4 & 7u);
        if (w.at[id] > w.executed) w.at[id] = w.executed;
        if (who & 128u) w.view[id]++;
    }
}

/* ---- the network ---- */

static void deliver_at(size_t at, unsigned times)
{
    struct parcel p = queue_take(at);
    while (times-- > 0)
        deliver(p.from, p.frame);
    pbft_frame_release(p.frame);
}

static void connect(pbft_id id, bool up)
{
    if (up) {
        struct pbft_match_out out;
        w.connected |= pbft_signers_of(id);
        pbft_match_connected(w.m, w.now_ns, id, &out);
        take(&out, CALLS_MAX);
    } else {
        w.connected &= ~pbft_signers_of(id);
        pbft_match_disconnected(w.m, id);
    }
}

static void pass_time(uint8_t choice)
{
    static const uint16_t ms[8] = {0, 1, 20, 50, 100, 400, 1000, 5000};
    uint64_t due = pbft_match_deadline(w.m);
    if ((choice & 8u) && due != UINT64_MAX && due > w.now_ns)
        w.now_ns = due;
    else
        w.now_ns += ms[choice & 7u] * MS;
    tick();
}

static void command(struct fuzz *f)
{
    static const uint8_t outcomes[8] = {PBFT_OUTCOME_EXECUTED, PBFT_OUTCOME_EXECUTED,
                                        PBFT_OUTCOME_EXECUTED, PBFT_OUTCOME_EXECUTED,
                                        PBFT_OUTCOME_EXECUTED, PBFT_OUTCOME_INVALID,
                                        PBFT_OUTCOME_LIMIT,    PBFT_OUTCOME_EXPIRED};
    uint8_t op = fuzz_u8(f) % 16u;
    if (op == 0 || op == 1) {
        (void)(op == 0 ? write_some(f) : read_some(f));
        return;
    }
    if (op >= 12) {
        if (op == 12) pass_time(fuzz_u8(f));
        if (op > 12) lie_command(f);
        return;
    }
    uint8_t choice = fuzz_u8(f);
    switch (op) {
    case 2:
    case 3: {
        uint64_t back = choice & 7u;
        if (w.newest_t > back) execute(w.newest_t - back, outcomes[choice >> 3 & 7u]);
        break;
    }
    case 4: progress(choice); break;
    case 5: replies(choice, fuzz_u8(f)); break;
    case 6: query_replies(choice, fuzz_u8(f)); break;
    case 7:
        if (w.queue_count > 0) deliver_at((choice >> 1) % w.queue_count, 1 + (choice & 1u));
        break;
    case 8:
        for (size_t count = w.queue_count; count > 0; count--)
            deliver_at(choice & 1u ? w.queue_count - 1 : 0, 1);
        break;
    case 9:
        if (w.queue_count > 0) pbft_frame_release(queue_take(choice % w.queue_count).frame);
        break;
    case 10: connect(choice % w.n, choice & 128u); break;
    default:
        if (choice & 128u)
            w.refuse = choice & 1u;
        else
            busy(choice);
    }
}

/* ---- the end ---- */

/* Everybody correct is reached and works; liars are who they were. */
static void heal(void)
{
    w.refuse = false;
    w.healing = true;
    for (pbft_id id = 0; id < w.n; id++)
        connect(id, true);
    for (unsigned round = 0; pbft_match_outstanding(w.m) > 0; round++) {
        REQUIRE(round < ROUNDS_MAX);
        for (uint64_t t = 1; t <= w.newest_t; t++)
            execute(t, PBFT_OUTCOME_EXECUTED);
        for (pbft_id id = 0; id < w.n; id++)
            w.at[id] = w.executed;
        lie_while_healing(round);
        for (uint64_t t = 1; t <= w.newest_t; t++)
            for (pbft_id id = 0; !w.requests[t].tally.decided && id < w.n; id++)
                replica_reply(id, t, id == pbft_designated(w.n, &w.public, t));
        while (w.queue_count > 0)
            deliver_at(0, 1);
        pass_time(8);
    }
    for (uint32_t i = 0; i < w.call_count; i++)
        REQUIRE(w.calls[i].done);
}

static void show(void)
{
    const struct pbft_match_stats *s = pbft_match_stats(w.m);
    (void)fprintf(stderr,
                  "n=%u window=%u calls=%u answers=%u timeouts=%u fallbacks=%llu busy=%llu\n", w.n,
                  w.window, w.call_count, w.answers, w.timeouts, (unsigned long long)s->fallbacks,
                  (unsigned long long)s->busy);
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
    uint8_t how = fuzz_u8(&f), who = fuzz_u8(&f);
    world_begin(how, who);
    for (unsigned i = 0; i < COMMANDS_MAX && f.left > 0; i++)
        command(&f);
    if (w.bounded) heal();
    if (getenv("FUZZ_SHOW") != NULL) show(); /* how far each input came */
    world_end();
    return 0;
}
