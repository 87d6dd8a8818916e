/* net/: meshes, clients, bounds, strangers, time-outs. Loopback, ports by the kernel. */
#include "net/net_internal.h"
#include "net/http.h"
#include "tests/unit/net_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#define WAIT (10 * NET_SECOND)

TestSuite(net, .timeout = 60);

static struct pbft_net *replica(struct net_world *w, unsigned id)
{
    return net_open_as(w, &w->replicas[id], true, NULL);
}

/* A client's net that dials replica `id` at `port` (its client port). */
static struct pbft_net *client_of(struct net_world *w, const struct pbft_keypair *self, pbft_id id,
                                  struct pbft_net *at, const struct pbft_net_limits *limits)
{
    struct pbft_net *net = net_open_as(w, self, false, limits);
    net_dial_port(net, id, pbft_net_client_port(at));
    return net;
}

static void send_new(struct net_world *w, struct pbft_net *net, const struct pbft_peer *to,
                     uint32_t size, uint64_t tag, bool expected)
{
    struct pbft_frame *frame = net_frame(w, size, tag);
    cr_assert_eq(pbft_net_send(net, to, frame), expected);
    pbft_frame_release(frame);
}

static void expect_up(struct pbft_net *net, struct pbft_peer *peer)
{
    struct pbft_net_event event;
    cr_assert(net_expect(net, PBFT_NET_UP, &event, WAIT));
    cr_assert_neq(event.peer.connection, 0);
    if (peer != NULL) *peer = event.peer;
}

static void expect_frame(struct pbft_net *net, uint64_t tag, uint32_t size)
{
    struct pbft_net_event event;
    cr_assert(net_expect(net, PBFT_NET_FRAME, &event, WAIT));
    cr_assert_eq(event.frame->size, size);
    cr_assert_eq(pbft_get_u64(event.frame->bytes), tag);
    cr_assert(net_frame_intact(event.frame));
    pbft_frame_release(event.frame);
}

Test(net, mesh_of_four)
{
    struct net_world w;
    struct pbft_net *nets[NET_REPLICAS];
    net_world_make(&w, 1);
    for (unsigned i = 0; i < NET_REPLICAS; i++)
        nets[i] = replica(&w, i);
    cr_assert_eq(pbft_net_address(nets[2], 1, "tcp://127.0.0.1:1"), PBFT_STATUS_ARGUMENT,
                 "the lower id dials");
    for (unsigned i = 0; i < NET_REPLICAS; i++)
        for (unsigned j = i + 1; j < NET_REPLICAS; j++)
            net_dial_port(nets[i], j, pbft_net_peer_port(nets[j]));
    for (unsigned i = 0; i < NET_REPLICAS; i++) {
        pbft_signers seen = 0;
        for (unsigned k = 0; k < NET_REPLICAS - 1; k++) {
            struct pbft_peer peer;
            expect_up(nets[i], &peer);
            cr_assert_eq(peer.kind, PBFT_PEER_REPLICA);
            seen |= pbft_signers_of(peer.index);
        }
        cr_assert_eq(seen, 0xfu & ~(1u << i));
    }
    struct pbft_frame *frame = net_frame(&w, 500, 1234);
    cr_assert_eq(pbft_net_broadcast(nets[1], UINT64_MAX, frame), 0xdu);
    pbft_net_flush(nets[1]);
    pbft_frame_release(frame);
    for (unsigned i = 0; i < NET_REPLICAS; i++)
        if (i != 1) expect_frame(nets[i], 1234, 500);
    for (unsigned i = 0; i < NET_REPLICAS; i++)
        pbft_net_close(nets[i]);
    net_world_free(&w);
}

Test(net, order_and_sizes_both_ways)
{
    struct net_world w;
    struct pbft_peer up;
    struct pbft_peer down;
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 2);
    struct pbft_net *client = client_of(&w, &w.clients[3], 2, server, NULL);
    expect_up(server, &down);
    expect_up(client, &up);
    cr_assert_eq(down.kind, PBFT_PEER_CLIENT);
    cr_assert_eq(up.kind, PBFT_PEER_REPLICA);
    cr_assert_eq(up.index, 2);
    uint32_t index = 99;
    cr_assert(pbft_cluster_client(&w.cluster, &w.client_keys[3], &index));
    cr_assert_eq(down.index, index);

    static const uint32_t sizes[] = {8,     9,      200,     4091,    4092,    65531,
                                     65532, 65533,  65536,   70000,   1000000, 8,
                                     500,   300000, 8388608, 8388608, 20,      64};
    size_t count = sizeof(sizes) / sizeof(sizes[0]);
    for (size_t i = 0; i < count; i++) {
        send_new(&w, client, &up, sizes[i], i, true);
        send_new(&w, server, &down, sizes[i], i, true);
    }
    pbft_net_flush(client);
    pbft_net_flush(server);
    for (size_t i = 0; i < count; i++) {
        expect_frame(server, i, sizes[i]);
        expect_frame(client, i, sizes[i]);
    }
    for (uint64_t i = 0; i < 10000; i++)
        send_new(&w, client, &up, 8 + (uint32_t)(i % 300), i, true);
    pbft_net_flush(client);
    for (uint64_t i = 0; i < 10000; i++)
        expect_frame(server, i, 8 + (uint32_t)(i % 300));
    struct pbft_net_stats stats;
    pbft_net_stats(client, &stats);
    cr_assert_eq(stats.frames_out, 10000 + count);
    cr_assert_lt(stats.records_out, 1000, "coalesced: %llu", (unsigned long long)stats.records_out);
    pbft_net_close(client);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, unconnected_and_full_queues_drop_and_count)
{
    struct net_world w;
    struct pbft_peer up;
    struct pbft_net_stats stats;
    struct pbft_net_peer_stats peer;
    struct pbft_net_limits limits = {.out_max_bytes = 1 << 20};
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 0);
    struct pbft_net *client = net_open_as(&w, &w.clients[0], false, &limits);
    struct pbft_peer nobody = {PBFT_PEER_REPLICA, 0, 0};
    send_new(&w, client, &nobody, 100, 1, false);
    nobody.connection = 77;
    send_new(&w, client, &nobody, 100, 1, false);
    net_dial_port(client, 0, pbft_net_client_port(server));
    expect_up(client, &up);
    expect_up(server, NULL);

    /* The server's owner does not poll: its inbox, the socket, then our queue fill. */
    unsigned refused = 0;
    unsigned taken = 0;
    uint64_t begin = net_fixture_now();
    for (unsigned i = 0; i < 3000; i++) {
        struct pbft_frame *frame = net_frame(&w, 64 * 1024, taken);
        if (pbft_net_send(client, &up, frame))
            taken++;
        else
            refused++;
        pbft_frame_release(frame);
    }
    cr_assert_gt(refused, 100);
    cr_assert_lt(net_fixture_now() - begin, 20 * NET_SECOND, "send never blocks");
    pbft_net_stats(client, &stats);
    cr_assert_eq(stats.dropped_full, refused);
    cr_assert(pbft_net_peer(client, 0, &peer));
    cr_assert_eq(peer.dropped, refused + 2);
    cr_assert_leq(peer.out_bytes, limits.out_max_bytes);
    /* What was taken arrives, all of it, in order: back pressure loses nothing. */
    uint64_t end = net_fixture_now() + WAIT;
    do {
        pbft_net_stats(server, &stats);
    } while (stats.paused == 0 && net_fixture_now() < end);
    cr_assert_gt(stats.paused, 0);
    cr_assert_lt(stats.in_bytes, 4u << 20);
    for (unsigned i = 0; i < taken; i++)
        expect_frame(server, i, 64 * 1024);
    pbft_net_close(client);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, empty_pool_is_back_pressure)
{
    struct net_world w;
    struct pbft_peer up;
    char error[256];
    net_world_make(&w, 1);
    struct pbft_pool *small = pbft_pool_new(100 * 1024);
    cr_assert_not_null(small);
    struct pbft_net *server = NULL;
    struct pbft_net_config config = {.cluster = &w.cluster,
                                     .self = &w.replicas[0],
                                     .pool = pbft_pool_frames(w.pool),
                                     .client_pool = pbft_pool_frames(small),
                                     .listen_clients = "tcp://127.0.0.1:0"};
    cr_assert_eq(pbft_net_open(&server, &config, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(pbft_net_peer_port(server), 0);
    struct pbft_net *client = client_of(&w, &w.clients[0], 0, server, NULL);
    expect_up(client, &up);
    for (unsigned i = 0; i < 500; i++)
        send_new(&w, client, &up, 10000, i, true);
    pbft_net_flush(client);
    struct pbft_frame *held[4] = {0};
    for (unsigned i = 0; i < 500; i++) { /* hold some back, so that the pool stays short */
        struct pbft_net_event event;
        cr_assert(net_expect(server, PBFT_NET_FRAME, &event, WAIT), "frame %u", i);
        cr_assert_eq(pbft_get_u64(event.frame->bytes), i);
        pbft_frame_release(held[i % 4]);
        held[i % 4] = event.frame;
    }
    struct pbft_net_stats stats;
    pbft_net_stats(server, &stats);
    cr_assert_gt(stats.paused, 0);
    for (unsigned i = 0; i < 4; i++)
        pbft_frame_release(held[i]);
    pbft_net_close(client);
    pbft_net_close(server);
    pbft_pool_free(small);
    net_world_free(&w);
}

static bool failure_contains(struct pbft_net *net, pbft_id id, const char *text)
{
    struct pbft_net_peer_stats peer;
    uint64_t end = net_fixture_now() + WAIT;
    struct pbft_net_event event;
    do {
        (void)pbft_net_poll(net, 5 * NET_MS, &event, 1);
        cr_assert(pbft_net_peer(net, id, &peer));
        if (strstr(peer.last_failure, text) != NULL) return true;
    } while (net_fixture_now() < end);
    cr_log_error("last failure: %s", peer.last_failure);
    return false;
}

Test(net, strangers_learn_why_they_are_refused)
{
    struct net_world w;
    struct net_world other;
    struct pbft_net_stats stats;
    net_world_make(&w, 1);
    net_world_make(&other, 2);
    struct pbft_net *server = replica(&w, 1);
    struct pbft_net *stranger = client_of(&w, &w.stranger, 1, server, NULL);
    struct pbft_net *foreign = client_of(&other, &other.clients[0], 1, server, NULL);
    struct pbft_net *client = net_open_as(&w, &w.clients[0], false, NULL);
    struct pbft_net *low = net_open_as(&w, &w.replicas[0], false, NULL);
    net_dial_port(client, 1, pbft_net_peer_port(server));
    net_dial_port(low, 1, pbft_net_client_port(server));
    cr_assert(failure_contains(stranger, 1, "genesis does not list"));
    cr_assert(failure_contains(foreign, 1, "another cluster"));
    cr_assert(failure_contains(client, 1, "does not serve that role"));
    cr_assert(failure_contains(low, 1, "does not serve that role"));
    net_dial_port(client, 1, 1);
    cr_assert(failure_contains(client, 1, "onnection refused"));
    pbft_net_stats(server, &stats);
    cr_assert_eq(stats.connected, 0);
    cr_assert_gt(stats.handshakes_failed[PBFT_CHANNEL_UNKNOWN], 0);
    cr_assert_gt(stats.handshakes_failed[PBFT_CHANNEL_CLUSTER], 0);
    cr_assert_gt(stats.handshakes_failed[PBFT_CHANNEL_ROLE], 0);
    pbft_net_close(stranger);
    pbft_net_close(foreign);
    pbft_net_close(client);
    pbft_net_close(low);
    pbft_net_close(server);
    pbft_pool_free(other.pool);
    pbft_cluster_unseal(&other.cluster);
    net_world_free(&w);
}

Test(net, garbage_and_huge_lengths)
{
    struct net_world w;
    struct pbft_net_stats stats;
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 1);
    uint16_t ports[2] = {pbft_net_peer_port(server), pbft_net_client_port(server)};
    uint64_t seed = 99;
    for (unsigned round = 0; round < 200; round++) {
        uint8_t junk[700];
        for (size_t i = 0; i < sizeof(junk); i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            junk[i] = (uint8_t)(seed >> 56);
        }
        int fd = net_raw(ports[round % 2]);
        cr_assert_geq(fd, 0);
        if (round % 4 == 1) pbft_put_u32(junk, UINT32_MAX);
        if (round % 4 == 2) pbft_put_u32(junk, 512); /* a full-size handshake message of junk */
        if (round % 4 == 3) pbft_put_u32(junk, 0);
        (void)send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
        cr_assert(net_raw_closed(fd, 1500), "round %u", round);
        (void)close(fd);
    }
    pbft_net_stats(server, &stats);
    cr_assert_gt(stats.refused[PBFT_NET_REFUSED_SIZE], 100);
    cr_assert_gt(stats.handshakes_failed[PBFT_CHANNEL_MALFORMED], 40);
    struct pbft_net *client = client_of(&w, &w.clients[0], 1, server, NULL);
    expect_up(client, NULL);
    pbft_net_close(client);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, half_handshakes_time_out)
{
    struct net_world w;
    struct pbft_net_limits limits = {.handshake_timeout_ns = 200 * NET_MS};
    struct pbft_net_stats stats;
    net_world_make(&w, 1);
    struct pbft_net *server = net_open_as(&w, &w.replicas[1], true, &limits);
    int silent = net_raw(pbft_net_peer_port(server));
    int slow = net_raw(pbft_net_client_port(server));
    uint8_t start[8] = {188, 0, 0, 0, 'p', 'b', 'f', 't'};
    for (size_t i = 0; i < sizeof(start); i++) { /* a byte now and then does not buy time */
        (void)send(slow, start + i, 1, MSG_NOSIGNAL);
        struct timespec pause = {0, 20 * 1000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
    cr_assert(net_raw_closed(silent, 3000));
    cr_assert(net_raw_closed(slow, 3000));
    pbft_net_stats(server, &stats);
    cr_assert_eq(stats.refused[PBFT_NET_REFUSED_TIMEOUT], 2);
    (void)close(silent);
    (void)close(slow);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, full_slots_do_not_keep_a_replica_out)
{
    struct net_world w;
    struct pbft_net_stats stats;
    int idle[300];
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 1);
    for (unsigned i = 0; i < 300; i++)
        idle[i] = net_raw(pbft_net_peer_port(server));
    struct pbft_net *low = replica(&w, 0);
    net_dial_port(low, 1, pbft_net_peer_port(server));
    expect_up(low, NULL);
    expect_up(server, NULL);
    pbft_net_stats(server, &stats);
    cr_assert_leq(stats.handshaking, 64);
    cr_assert_gt(stats.refused[PBFT_NET_REFUSED_SLOTS], 200);
    for (unsigned i = 0; i < 300; i++)
        if (idle[i] >= 0) (void)close(idle[i]);
    pbft_net_close(low);
    pbft_net_close(server);
    net_world_free(&w);
}

/* A dial that ends well and brings nothing is a dial that failed. */
Test(net, success_without_a_stream_is_none)
{
    nng_aio *aio = NULL;
    int error = 0, stream = 0; /* stands for one */
    cr_assert_eq(nng_aio_alloc(&aio, NULL, NULL), 0);
    cr_assert(nng_aio_begin(aio));
    nng_aio_finish(aio, 0);
    nng_aio_wait(aio);
    cr_assert_eq(nng_aio_result(aio), 0);
    cr_expect_null(net_stream_of(aio, &error));
    cr_expect_eq(error, NNG_ETIMEDOUT);
    cr_assert(nng_aio_begin(aio));
    cr_assert_eq(nng_aio_set_output(aio, 0, &stream), 0);
    nng_aio_finish(aio, 0);
    nng_aio_wait(aio);
    cr_expect_eq((void *)net_stream_of(aio, &error), (void *)&stream);
    cr_expect_eq(error, 0);
    cr_assert(nng_aio_begin(aio));
    nng_aio_finish(aio, NNG_ECONNREFUSED);
    nng_aio_wait(aio);
    cr_expect_null(net_stream_of(aio, &error));
    cr_expect_eq(error, NNG_ECONNREFUSED);
    nng_aio_free(aio);
}

Test(net, hellos_of_one_address_are_rationed)
{
    struct net_world w;
    struct pbft_net_limits limits = {.hellos_per_second = 1};
    struct pbft_net_stats stats;
    net_world_make(&w, 1);
    struct pbft_net *server = net_open_as(&w, &w.replicas[1], true, &limits);
    struct pbft_net *client = NULL;
    for (unsigned i = 0; i < 2; i++) { /* the burst */
        client = client_of(&w, &w.clients[0], 1, server, NULL);
        expect_up(client, NULL);
        pbft_net_close(client);
    }
    client = client_of(&w, &w.clients[0], 1, server, NULL);
    cr_assert(failure_contains(client, 1, "too many handshakes"));
    expect_up(client, NULL); /* a second later it may */
    pbft_net_stats(server, &stats);
    cr_assert_gt(stats.refused[PBFT_NET_REFUSED_RATE], 0);
    pbft_net_close(client);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, silence_ends_and_pings_keep)
{
    struct net_world w;
    struct pbft_net_event event;
    struct pbft_net_limits watchful = {.dead_ns = 400 * NET_MS, .ping_ns = 60 * NET_MS};
    struct pbft_net_limits mute = {.dead_ns = 100 * NET_SECOND, .ping_ns = 100 * NET_SECOND};
    net_world_make(&w, 1);
    struct pbft_net *server = net_open_as(&w, &w.replicas[1], true, &watchful);
    struct pbft_net *good = client_of(&w, &w.clients[0], 1, server, &watchful);
    expect_up(server, NULL);
    struct pbft_net *bad = client_of(&w, &w.clients[1], 1, server, &mute);
    expect_up(server, NULL);
    expect_up(good, NULL);
    expect_up(bad, NULL);
    cr_assert(net_expect(server, PBFT_NET_DOWN, &event, WAIT));
    cr_assert_str_eq(event.reason, "silent");
    uint32_t index = 99;
    cr_assert(pbft_cluster_client(&w.cluster, &w.client_keys[1], &index));
    cr_assert_eq(event.peer.index, index);
    pbft_net_close(bad);
    while (net_next(server, &event, 1000 * NET_MS)) /* the mute one may have come again */
        cr_assert_eq(event.peer.index, index, "an idle connection that pings stays");
    pbft_net_close(good);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, newest_connection_of_a_replica_counts)
{
    struct net_world w;
    struct pbft_peer old;
    struct pbft_net_event event;
    struct pbft_net_limits once = {.redial_min_ns = 100 * NET_SECOND};
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 3);
    struct pbft_net *first = net_open_as(&w, &w.replicas[0], false, &once);
    net_dial_port(first, 3, pbft_net_peer_port(server));
    expect_up(first, NULL);
    expect_up(server, &old);
    struct pbft_net *second = net_open_as(&w, &w.replicas[0], false, &once);
    net_dial_port(second, 3, pbft_net_peer_port(server));
    expect_up(second, NULL);
    cr_assert(net_next(server, &event, WAIT));
    cr_assert_eq(event.kind, PBFT_NET_DOWN);
    cr_assert_eq(event.peer.connection, old.connection);
    cr_assert(net_next(server, &event, WAIT));
    cr_assert_eq(event.kind, PBFT_NET_UP);
    cr_assert_gt(event.peer.connection, old.connection);
    struct pbft_peer to = {PBFT_PEER_REPLICA, 0, 0};
    send_new(&w, server, &to, 50, 5, true);
    send_new(&w, server, &old, 50, 6, false);
    pbft_net_flush(server);
    expect_frame(second, 5, 50);
    cr_assert(net_expect(first, PBFT_NET_DOWN, &event, WAIT));
    pbft_net_close(first);
    pbft_net_close(second);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, clients_are_limited)
{
    struct net_world w;
    struct pbft_net_event event;
    struct pbft_peer peers[3];
    struct pbft_net *clients[4];
    struct pbft_net_limits limits = {.connections_max = 3, .connections_per_client = 2};
    struct pbft_net_limits once = {.redial_min_ns = 100 * NET_SECOND};
    net_world_make(&w, 1);
    struct pbft_net *server = net_open_as(&w, &w.replicas[1], true, &limits);
    for (unsigned i = 0; i < 3; i++) { /* three of one key: the first gives way */
        clients[i] = client_of(&w, &w.clients[0], 1, server, &once);
        if (i == 2) {
            cr_assert(net_next(server, &event, WAIT));
            cr_assert_eq(event.kind, PBFT_NET_DOWN);
            cr_assert_eq(event.peer.connection, peers[0].connection);
        }
        expect_up(server, &peers[i]);
    }
    clients[3] = client_of(&w, &w.clients[1], 1, server, &once);
    expect_up(server, NULL);
    struct pbft_net *late = client_of(&w, &w.clients[2], 1, server, NULL);
    cr_assert(failure_contains(late, 1, "too many"));
    struct pbft_net_stats stats;
    pbft_net_stats(server, &stats);
    cr_assert_eq(stats.clients_up, 3);
    cr_assert_gt(stats.refused[PBFT_NET_REFUSED_CLIENTS], 0);
    cr_assert(pbft_net_disconnect(server, peers[1].connection, "test"));
    cr_assert_not(pbft_net_disconnect(server, peers[0].connection, "test"));
    cr_assert(net_expect(server, PBFT_NET_DOWN, &event, WAIT));
    cr_assert_str_eq(event.reason, "test");
    expect_up(late, NULL);
    for (unsigned i = 0; i < 4; i++)
        pbft_net_close(clients[i]);
    pbft_net_close(late);
    pbft_net_close(server);
    net_world_free(&w);
}

Test(net, a_flood_does_not_hide_the_others)
{
    struct net_world w;
    struct pbft_net_event events[16];
    struct pbft_net_stats stats;
    struct pbft_peer up;
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 1);
    struct pbft_net *loud = client_of(&w, &w.clients[0], 1, server, NULL);
    struct pbft_net *quiet = client_of(&w, &w.clients[1], 1, server, NULL);
    struct pbft_net *low = replica(&w, 0);
    net_dial_port(low, 1, pbft_net_peer_port(server));
    for (unsigned i = 0; i < 3; i++)
        expect_up(server, NULL);
    expect_up(loud, &up);
    for (unsigned i = 0; i < 5000; i++)
        send_new(&w, loud, &up, 100, 1, true);
    pbft_net_flush(loud);
    expect_up(quiet, &up);
    send_new(&w, quiet, &up, 100, 2, true);
    pbft_net_flush(quiet);
    expect_up(low, &up);
    send_new(&w, low, &up, 100, 3, true);
    pbft_net_flush(low);
    do { /* all is there before the first is taken */
        pbft_net_stats(server, &stats);
    } while (stats.frames_in < 5002);
    size_t count = pbft_net_poll(server, 0, events, 16);
    unsigned from_quiet = 0;
    unsigned from_low = 0;
    cr_assert_eq(count, 16);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(events[i].kind, PBFT_NET_FRAME);
        from_quiet += pbft_get_u64(events[i].frame->bytes) == 2;
        from_low += pbft_get_u64(events[i].frame->bytes) == 3;
        pbft_frame_release(events[i].frame);
    }
    cr_assert_eq(from_quiet, 1);
    cr_assert_eq(from_low, 1);
    pbft_net_close(loud);
    pbft_net_close(quiet);
    pbft_net_close(low);
    pbft_net_close(server);
    net_world_free(&w);
}

/* A client's large frames end a poll for clients, not for replicas: a vote waits for one of them at
 * most, however many clients send. */
Test(net, large_frames_of_clients_do_not_hide_votes)
{
    struct net_world w;
    struct pbft_net_event events[16];
    struct pbft_net_stats stats;
    struct pbft_peer up;
    struct pbft_net *clients[3];
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 1);
    struct pbft_net *low = replica(&w, 0);
    net_dial_port(low, 1, pbft_net_peer_port(server));
    expect_up(low, &up);
    for (unsigned i = 0; i < 3; i++)
        clients[i] = client_of(&w, &w.clients[i % 2], 1, server, NULL);
    for (unsigned i = 0; i < 4; i++)
        expect_up(server, NULL);
    for (unsigned i = 0; i < 8; i++)
        send_new(&w, low, &up, 100, 9, true);
    pbft_net_flush(low);
    for (unsigned i = 0; i < 3; i++) {
        expect_up(clients[i], &up);
        send_new(&w, clients[i], &up, 1100000, i, true);
        pbft_net_flush(clients[i]);
    }
    do { /* all is there before the first is taken */
        pbft_net_stats(server, &stats);
    } while (stats.frames_in < 11);
    size_t count = pbft_net_poll(server, 0, events, 16);
    unsigned large = 0;
    for (size_t i = 0; i < count; i++) {
        large += events[i].frame->size > 100;
        pbft_frame_release(events[i].frame);
    }
    cr_assert_eq(large, 1, "%u", large);
    cr_assert_eq(count, 9, "%zu", count);
    cr_assert_eq(pbft_net_poll(server, WAIT, events, 16), 1, "the next one's turn");
    pbft_frame_release(events[0].frame);
    for (unsigned i = 0; i < 3; i++)
        pbft_net_close(clients[i]);
    pbft_net_close(low);
    pbft_net_close(server);
    net_world_free(&w);
}

static void *wake_later(void *argument)
{
    struct timespec pause = {0, 30 * 1000 * 1000};
    (void)nanosleep(&pause, NULL);
    pbft_net_wake(argument);
    return NULL;
}

Test(net, wake_ends_a_poll)
{
    struct net_world w;
    struct pbft_net_event event;
    pthread_t thread;
    net_world_make(&w, 1);
    struct pbft_net *net = replica(&w, 1);
    pbft_net_wake(net);
    pbft_net_wake(net);
    cr_assert_eq(pbft_net_poll(net, UINT64_MAX, &event, 1), 0, "a wake before the poll counts");
    cr_assert_eq(pthread_create(&thread, NULL, wake_later, net), 0);
    cr_assert_eq(pbft_net_poll(net, UINT64_MAX, &event, 1), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    uint64_t begin = net_fixture_now();
    cr_assert_eq(pbft_net_poll(net, 30 * NET_MS, &event, 1), 0, "once each");
    cr_assert_geq(net_fixture_now() - begin, 30 * NET_MS);
    pbft_net_close(net);
    net_world_free(&w);
}

Test(net, redial_finds_a_restarted_peer)
{
    struct net_world w;
    struct pbft_net_event event;
    char url[64];
    char error[256];
    net_world_make(&w, 1);
    struct pbft_net *low = replica(&w, 0);
    struct pbft_net *high = replica(&w, 1);
    uint16_t port = pbft_net_peer_port(high);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", (unsigned)port);
    net_dial_port(low, 1, port);
    expect_up(low, NULL);
    pbft_net_close(high);
    cr_assert(net_expect(low, PBFT_NET_DOWN, &event, WAIT));
    struct pbft_net_config config = {.cluster = &w.cluster,
                                     .self = &w.replicas[1],
                                     .pool = pbft_pool_frames(w.pool),
                                     .listen_peers = url};
    cr_assert_eq(pbft_net_open(&high, &config, error), PBFT_STATUS_OK, "%s", error);
    expect_up(low, NULL);
    expect_up(high, NULL);
    struct pbft_net *taken = NULL;
    cr_assert_eq(pbft_net_open(&taken, &config, error), PBFT_STATUS_NETWORK);
    cr_assert_not_null(strstr(error, "Cannot listen"));
    struct pbft_net_stats stats;
    pbft_net_stats(low, &stats);
    cr_assert_eq(stats.reconnected, 1);
    pbft_net_close(low);
    pbft_net_close(high);
    net_world_free(&w);
}

Test(net, running_out_of_descriptors_passes)
{
    struct net_world w;
    struct pbft_net_stats stats;
    struct rlimit old;
    net_world_make(&w, 1);
    struct pbft_net *server = replica(&w, 1);
    struct pbft_net *client = net_open_as(&w, &w.clients[0], false, NULL);
    int idle[8];
    int top = dup(0); /* the lowest free descriptor */
    (void)close(top);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit tight = {(rlim_t)top + 4, old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (unsigned i = 0; i < 4; i++)
        idle[i] = net_raw(pbft_net_client_port(server));
    uint64_t end = net_fixture_now() + WAIT;
    do {
        pbft_net_stats(server, &stats);
    } while (stats.accepts_failed == 0 && net_fixture_now() < end);
    cr_assert_gt(stats.accepts_failed, 0);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (unsigned i = 0; i < 4; i++)
        if (idle[i] >= 0) (void)close(idle[i]);
    net_dial_port(client, 1, pbft_net_client_port(server));
    expect_up(client, NULL);
    pbft_net_close(client);
    pbft_net_close(server);
    net_world_free(&w);
}

/* ---- HTTP ---- */

static void say_hello(void *context, const char *query, struct pbft_http_reply *reply)
{
    const char *name = context;
    reply->body = malloc(100);
    cr_assert_not_null(reply->body);
    reply->body_bytes = (size_t)snprintf(reply->body, 100, "hello %s %s\n", name, query);
    reply->content_type = "text/special";
}

static void say_unavailable(void *context, const char *query, struct pbft_http_reply *reply)
{
    (void)context;
    (void)query;
    reply->status = 503;
}

static const char *ask(uint16_t port, const char *request)
{
    static char text[4096];
    size_t size = 0;
    int fd = net_raw(port);
    cr_assert_geq(fd, 0);
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 2000) <= 0) break;
        ssize_t n = recv(fd, text + size, sizeof(text) - 1 - size, 0);
        if (n <= 0) break;
        size += (size_t)n;
    }
    text[size] = '\0';
    (void)close(fd);
    return text;
}

Test(net, http_get)
{
    struct pbft_http *http = NULL;
    char error[256];
    static char name[] = "world";
    cr_assert_eq(pbft_http_open(&http, "127.0.0.1:0", error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(pbft_http_get(http, "/hello", say_hello, name), PBFT_STATUS_OK);
    cr_assert_eq(pbft_http_get(http, "/readyz", say_unavailable, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_http_start(http, error), PBFT_STATUS_OK, "%s", error);
    uint16_t port = pbft_http_port(http);
    cr_assert_neq(port, 0);
    const char *text =
        ask(port, "GET /hello?x=1&y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    cr_assert_not_null(strstr(text, " 200 "), "%s", text);
    cr_assert_not_null(strstr(text, "text/special"), "%s", text);
    cr_assert_not_null(strstr(text, "hello world x=1&y\n"), "%s", text);
    text = ask(port, "GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    cr_assert_not_null(strstr(text, " 503 "), "[%s]", text);
    text = ask(port, "GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    cr_assert_not_null(strstr(text, " 404 "), "%s", text);
    text = ask(port, "POST /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    cr_assert_not_null(strstr(text, " 405 "), "%s", text);
    struct pbft_http *second = NULL;
    char address[64];
    (void)snprintf(address, sizeof(address), "256.1.1.1:%u", (unsigned)port);
    cr_assert_eq(pbft_http_open(&second, address, error) == PBFT_STATUS_OK &&
                     pbft_http_start(second, error) == PBFT_STATUS_OK,
                 false);
    pbft_http_close(second);
    pbft_http_close(http);
    nng_fini();
}
