/*
 * Two replicas and a client on loopback, each polled by a thread of its own, with a second thread
 * that sends and wakes: for ThreadSanitizer. Ends with 0 when every frame has come back.
 */
#include "tests/unit/net_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ROUNDS 20000u

struct party {
    struct net_world *world;
    struct pbft_net *net;
    atomic_ullong echoed;   /* frames sent back */
    atomic_ullong returned; /* frames that came back */
    atomic_bool end;
};

/* Echo what comes first, count what comes back (the highest bit tells). */
static void *owner(void *argument)
{
    struct party *p = argument;
    struct pbft_net_event events[64];
    while (!atomic_load(&p->end)) {
        size_t count = pbft_net_poll(p->net, 50 * NET_MS, events, 64);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind != PBFT_NET_FRAME) continue;
            uint64_t tag = pbft_get_u64(events[i].frame->bytes);
            PBFT_ASSERT(net_frame_intact(events[i].frame));
            if (tag >> 63 != 0) {
                (void)atomic_fetch_add(&p->returned, 1);
            } else {
                struct pbft_frame *back =
                    net_frame(p->world, events[i].frame->size, tag | UINT64_C(1) << 63);
                if (pbft_net_send(p->net, &events[i].peer, back))
                    (void)atomic_fetch_add(&p->echoed, 1);
                pbft_frame_release(back);
            }
            pbft_frame_release(events[i].frame);
        }
    }
    return NULL;
}

/* Sends from a thread that is not the owner's. */
static uint64_t pour(struct party *p, pbft_id to, uint64_t rounds)
{
    uint64_t sent = 0;
    uint64_t end = net_fixture_now() + 60 * NET_SECOND;
    struct pbft_peer peer = {PBFT_PEER_REPLICA, to, 0};
    while (sent < rounds && net_fixture_now() < end) {
        struct pbft_frame *frame = net_frame(p->world, 20 + (uint32_t)(sent % 400), sent);
        if (pbft_net_send(p->net, &peer, frame)) sent++;
        pbft_frame_release(frame);
        if (sent % 50 == 0) pbft_net_flush(p->net);
        if (sent % 70 == 0) pbft_net_wake(p->net);
        /* Frames that fill a queue would only be dropped. */
        while (sent - atomic_load(&p->returned) > 2000 && net_fixture_now() < end) {
            struct pbft_net_stats stats;
            pbft_net_flush(p->net);
            pbft_net_stats(p->net, &stats);
        }
    }
    pbft_net_flush(p->net);
    while (atomic_load(&p->returned) < sent && net_fixture_now() < end)
        pbft_net_flush(p->net);
    return sent;
}

int main(void)
{
    static struct net_world w;
    net_world_make(&w, 1);
    struct party parties[3] = {
        {.world = &w, .net = net_open_as(&w, &w.replicas[0], true, NULL)},
        {.world = &w, .net = net_open_as(&w, &w.replicas[1], true, NULL)},
        {.world = &w, .net = net_open_as(&w, &w.clients[0], false, NULL)},
    };
    net_dial_port(parties[0].net, 1, pbft_net_peer_port(parties[1].net));
    net_dial_port(parties[2].net, 1, pbft_net_client_port(parties[1].net));
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, owner, &parties[i]) != 0) return EXIT_FAILURE;

    uint64_t replica_sent = pour(&parties[0], 1, ROUNDS);
    uint64_t client_sent = pour(&parties[2], 1, ROUNDS / 4);
    bool right = replica_sent == ROUNDS && client_sent == ROUNDS / 4 &&
                 atomic_load(&parties[0].returned) == replica_sent &&
                 atomic_load(&parties[2].returned) == client_sent;
    struct pbft_net_peer_stats peer;
    if (pbft_net_peer(parties[0].net, 1, &peer) && peer.connection != 0)
        (void)pbft_net_disconnect(parties[0].net, peer.connection, "test");

    for (unsigned i = 0; i < 3; i++) {
        atomic_store(&parties[i].end, true);
        pbft_net_wake(parties[i].net);
    }
    for (unsigned i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 3; i++)
        pbft_net_close(parties[i].net);
    net_world_free(&w);
    if (!right) (void)fprintf(stderr, "net_tsan: frames are missing\n");
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
