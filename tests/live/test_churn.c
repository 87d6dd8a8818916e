/*
 * Connections that come and go under two-way load: 1,000 and more in one process, ended abruptly by
 * either side or by closing a whole net, and peers in processes of their own that are killed with
 * SIGKILL. Nothing may hang or leak; frames stay intact and in order within a connection.
 *
 * Processes are made by a helper that is forked before nng has started any thread.
 */
#include "tests/unit/net_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>

#define CYCLES      1200u
#define KILL_CYCLES 40u
#define STALL       (10 * NET_SECOND)

TestSuite(churn, .timeout = 240);

/* One side: sends to every peer as fast as the queue allows in small bursts, checks what comes. */
struct side {
    struct net_world *world;
    struct pbft_net *net;
    uint64_t frames;
    uint64_t ups;
    uint64_t connection; /* the one that is up; 0 = none */
    uint64_t expected;   /* next number from it */
    uint64_t next;       /* next number to it */
    struct pbft_peer peer;
};

static void burst(struct side *s)
{
    for (unsigned i = 0; i < 8 && s->connection != 0; i++) {
        uint32_t size = s->next % 50 == 49 ? 100000 : 8 + (uint32_t)(s->next * 37 % 900);
        struct pbft_frame *frame = net_frame(s->world, size, s->next);
        if (pbft_net_send(s->net, &s->peer, frame)) s->next++;
        pbft_frame_release(frame);
    }
}

static void step(struct side *s, uint64_t timeout_ns)
{
    struct pbft_net_event events[64];
    burst(s);
    size_t count = pbft_net_poll(s->net, timeout_ns, events, 64);
    for (size_t i = 0; i < count; i++) {
        const struct pbft_net_event *e = &events[i];
        switch (e->kind) {
        case PBFT_NET_UP:
            cr_assert_eq(s->connection, 0, "UP before the DOWN of the one before");
            s->connection = e->peer.connection;
            s->peer = e->peer;
            s->expected = 0;
            s->next = 0;
            s->ups++;
            break;
        case PBFT_NET_DOWN:
            cr_assert_eq(s->connection, e->peer.connection);
            cr_assert_not_null(e->reason);
            s->connection = 0;
            break;
        case PBFT_NET_FRAME:
            cr_assert_eq(s->connection, e->peer.connection);
            cr_assert_eq(pbft_get_u64(e->frame->bytes), s->expected, "in order, none missing");
            cr_assert(net_frame_intact(e->frame));
            s->expected++;
            s->frames++;
            pbft_frame_release(e->frame);
            break;
        case PBFT_NET_EPOCH: cr_assert_fail("there is one epoch");
        }
    }
}

static const struct pbft_net_limits churn_limits = {.redial_min_ns = 1 * NET_MS,
                                                    .redial_max_ns = 20 * NET_MS,
                                                    .hellos_per_second = 100000};

static struct pbft_net *listen_again(struct net_world *w, uint16_t port)
{
    struct pbft_net *net = NULL;
    char url[64];
    char error[256];
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", (unsigned)port);
    struct pbft_net_config config = {.cluster = &w->cluster,
                                     .self = &w->replicas[1],
                                     .pool = pbft_pool_frames(w->pool),
                                     .listen_peers = url,
                                     .limits = churn_limits};
    cr_assert_eq(pbft_net_open(&net, &config, error), PBFT_STATUS_OK, "%s", error);
    return net;
}

/* Both sides on one thread, so that the order of events is checked on both. */
Test(churn, connections_come_and_go)
{
    struct net_world w;
    net_world_make(&w, 1);
    struct side low = {.world = &w, .net = net_open_as(&w, &w.replicas[0], false, &churn_limits)};
    struct side high = {.world = &w, .net = listen_again(&w, 0)};
    uint16_t port = pbft_net_peer_port(high.net);
    net_dial_port(low.net, 1, port);

    uint64_t seed = 4711;
    uint64_t slowest = 0;
    uint64_t low_ups = 0;
    uint64_t high_ups = 0;
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        uint64_t begin = net_fixture_now();
        uint64_t low_frames = low.frames;
        uint64_t high_frames = high.frames;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t wanted = 1 + (seed >> 33) % 60;
        while (low.ups == low_ups || high.ups == high_ups || low.frames - low_frames < wanted ||
               high.frames - high_frames < wanted) {
            step(&low, 100000);
            step(&high, 100000);
            cr_assert_lt(net_fixture_now() - begin, STALL, "cycle %u hangs", cycle);
        }
        uint64_t took = net_fixture_now() - begin;
        if (took > slowest) slowest = took;
        low_ups = low.ups;
        high_ups = high.ups;
        struct side *ending = (seed >> 60) % 2 == 0 ? &low : &high;
        if (cycle % 50 == 49) { /* the whole net, in the middle of traffic */
            pbft_net_close(high.net);
            uint64_t frames = high.frames;
            uint64_t ups = high.ups;
            high = (struct side){.world = &w,
                                 .net = listen_again(&w, port),
                                 .frames = frames,
                                 .ups = ups};
        } else if (ending->connection == 0 ||
                   !pbft_net_disconnect(ending->net, ending->connection, "churn")) {
            continue; /* it has ended by itself and will come again */
        }
    }
    struct pbft_net_stats stats;
    pbft_net_stats(low.net, &stats);
    cr_assert_geq(low.ups, CYCLES);
    cr_assert_geq(stats.reconnected, CYCLES - 1);
    cr_log_info("%u cycles, %llu frames, slowest reconnection %llu ms", CYCLES,
                (unsigned long long)(low.frames + high.frames),
                (unsigned long long)(slowest / NET_MS));
    pbft_net_close(low.net);
    pbft_net_close(high.net);
    net_world_free(&w);
}

/* Close nets from their owners' threads while both send all the time. */
struct pounder {
    struct net_world *world;
    struct pbft_net *net;
    atomic_bool *end;
};

static void *pound(void *argument)
{
    struct pounder *p = argument;
    struct pbft_net_event events[32];
    struct pbft_frame *frame = net_frame(p->world, 3000, 1);
    while (!atomic_load(p->end)) {
        (void)pbft_net_broadcast(p->net, UINT64_MAX, frame);
        size_t count = pbft_net_poll(p->net, 1 * NET_MS, events, 32);
        for (size_t i = 0; i < count; i++)
            pbft_frame_release(events[i].frame);
    }
    pbft_frame_release(frame);
    pbft_net_close(p->net);
    return NULL;
}

Test(churn, closing_in_the_middle_of_traffic)
{
    struct net_world w;
    net_world_make(&w, 1);
    for (unsigned round = 0; round < 40; round++) {
        pthread_t threads[NET_REPLICAS];
        struct pounder pounders[NET_REPLICAS];
        atomic_bool ends[NET_REPLICAS];
        for (unsigned i = 0; i < NET_REPLICAS; i++) {
            struct pbft_net *net = net_open_as(&w, &w.replicas[i], true, &churn_limits);
            pounders[i] = (struct pounder){&w, net, &ends[i]};
            atomic_init(&ends[i], false);
        }
        for (unsigned i = 0; i < NET_REPLICAS; i++)
            for (unsigned j = i + 1; j < NET_REPLICAS; j++)
                net_dial_port(pounders[i].net, j, pbft_net_peer_port(pounders[j].net));
        for (unsigned i = 0; i < NET_REPLICAS; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, pound, &pounders[i]), 0);
        struct timespec pause = {0, 60 * 1000 * 1000};
        (void)nanosleep(&pause, NULL);
        for (unsigned i = 0; i < NET_REPLICAS; i++) {
            atomic_store(&ends[(i + round) % NET_REPLICAS], true);
            if (round % 2 == 0)
                cr_assert_eq(pthread_join(threads[(i + round) % NET_REPLICAS], NULL), 0);
        }
        for (unsigned i = 0; round % 2 == 1 && i < NET_REPLICAS; i++)
            cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    net_world_free(&w);
}

/* ---- processes ---- */

/* Life of a peer that will be killed: dial, send, receive, for ever. Its parent ended: so does it.
 */
static void peer_process(uint16_t port)
{
    static struct net_world w;
    struct pbft_net_event events[64];
    net_world_make(&w, 1);
    struct pbft_net *net = net_open_as(&w, &w.replicas[0], false, &churn_limits);
    net_dial_port(net, 1, port);
    uint64_t next = 0;
    struct pbft_peer to = {PBFT_PEER_REPLICA, 1, UINT64_MAX}; /* nobody yet */
    pid_t parent = getppid();
    while (getppid() == parent) {
        size_t count = pbft_net_poll(net, 1 * NET_MS, events, 64);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind == PBFT_NET_UP) {
                to = events[i].peer; /* this very connection: its numbers begin at 0 */
                next = 0;
            }
            pbft_frame_release(events[i].frame);
        }
        for (unsigned i = 0; i < 8; i++) {
            struct pbft_frame *frame = net_frame(&w, 8 + (uint32_t)(next * 37 % 900), next);
            if (pbft_net_send(net, &to, frame)) next++;
            pbft_frame_release(frame);
        }
    }
    _exit(0);
}

/* Reads ports, answers with the pid of a new peer; kills the one before. Ends with its input. */
static void helper_process(int in, int out)
{
    uint16_t port = 0;
    pid_t peer = -1;
    while (read(in, &port, sizeof(port)) == (ssize_t)sizeof(port)) {
        if (peer > 0) {
            (void)kill(peer, SIGKILL);
            (void)waitpid(peer, NULL, 0);
            peer = -1;
        }
        if (port != 0) {
            peer = fork();
            if (peer == 0) peer_process(port);
        }
        if (write(out, &peer, sizeof(peer)) != (ssize_t)sizeof(peer)) break;
    }
    if (peer > 0) {
        (void)kill(peer, SIGKILL);
        (void)waitpid(peer, NULL, 0);
    }
    _exit(0);
}

static void command(int out, int in, uint16_t port)
{
    pid_t pid = -1;
    cr_assert_eq(write(out, &port, sizeof(port)), (ssize_t)sizeof(port));
    cr_assert_eq(read(in, &pid, sizeof(pid)), (ssize_t)sizeof(pid));
    cr_assert(port == 0 || pid > 0);
}

Test(churn, killed_processes)
{
    int to_helper[2];
    int from_helper[2];
    cr_assert_eq(pipe(to_helper), 0);
    cr_assert_eq(pipe(from_helper), 0);
    pid_t helper = fork();
    cr_assert_geq(helper, 0);
    if (helper == 0) {
        (void)close(to_helper[1]);
        (void)close(from_helper[0]);
        helper_process(to_helper[0], from_helper[1]);
    }
    (void)close(to_helper[0]);
    (void)close(from_helper[1]);

    struct net_world w;
    net_world_make(&w, 1);
    struct side high = {.world = &w, .net = listen_again(&w, 0)};
    uint16_t port = pbft_net_peer_port(high.net);
    for (unsigned cycle = 0; cycle < KILL_CYCLES; cycle++) {
        uint64_t begin = net_fixture_now();
        uint64_t ups = high.ups;
        uint64_t frames = high.frames;
        command(to_helper[1], from_helper[0], port);
        while (high.ups == ups || high.frames - frames < 200) {
            step(&high, NET_MS);
            cr_assert_lt(net_fixture_now() - begin, STALL, "cycle %u hangs", cycle);
        }
    }
    command(to_helper[1], from_helper[0], 0);
    uint64_t begin = net_fixture_now();
    while (high.connection != 0) {
        step(&high, NET_MS);
        cr_assert_lt(net_fixture_now() - begin, STALL);
    }
    (void)close(to_helper[1]);
    cr_assert_eq(waitpid(helper, NULL, 0), helper);
    (void)close(from_helper[0]);
    pbft_net_close(high.net);
    net_world_free(&w);
}
