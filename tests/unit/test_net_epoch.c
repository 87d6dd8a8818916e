/* net/ between epochs: the owner hears of the next one, whoever dials, and a stranger can make
 * nobody work for it (PROTOCOL 29). */
#include "tests/unit/epoch_fixture.h"
#include "tests/unit/net_fixture.h"

#include <criterion/criterion.h>

#define WAIT (10 * NET_SECOND)

TestSuite(net_epoch, .timeout = 60);

struct place {
    struct epoch_chain *chain;
    struct pbft_pool *pool;
};

static struct place place_new(uint32_t n)
{
    struct place p = {chain_new(n, 1), pbft_pool_new(UINT64_C(64) << 20)};
    cr_assert_not_null(p.pool);
    return p;
}

static void place_free(struct place *p)
{
    nng_fini();
    pbft_pool_free(p->pool); /* asserts that no frame leaked */
    chain_free(p->chain);
}

static struct pbft_net *open_in(struct pbft_pool *pool, const struct pbft_cluster *cluster,
                                const struct pbft_keypair *self, bool listens,
                                const struct pbft_net_limits *limits)
{
    struct pbft_net *net = NULL;
    char error[256];
    struct pbft_net_config config = {
        .cluster = cluster,
        .self = self,
        .pool = pbft_pool_frames(pool),
        .listen_peers = listens ? "tcp://127.0.0.1:0" : NULL,
        .listen_clients = listens ? "tcp://127.0.0.1:0" : NULL,
    };
    if (limits != NULL) config.limits = *limits;
    cr_assert_eq(pbft_net_open(&net, &config, error), PBFT_STATUS_OK, "%s", error);
    return net;
}

static struct pbft_net *replica_in(struct place *p, pbft_epoch epoch, pbft_id id)
{
    return open_in(p->pool, &p->chain->at[epoch], &p->chain->keys[epoch][id], true, NULL);
}

/* It leads from `from` on, and nobody vouches for it. */
static void check_news(const struct pbft_net_event *event, const struct pbft_cluster *from)
{
    struct pbft_epoch_change change;
    struct pbft_peer nobody = {.index = 0};
    cr_assert_eq(event->kind, PBFT_NET_EPOCH);
    cr_assert_eq(memcmp(&event->peer, &nobody, sizeof nobody), 0);
    cr_assert_null(event->reason);
    cr_assert_eq(pbft_epoch_check(from, &pbft_signer_ed25519, pbft_frame_span(event->frame),
                                  &change),
                 PBFT_OK);
    cr_assert_eq(change.epoch, from->epoch + 1);
    pbft_frame_release(event->frame);
}

static void expect_news(struct pbft_net *net, const struct pbft_cluster *from)
{
    struct pbft_net_event event;
    cr_assert(net_next(net, &event, WAIT));
    check_news(&event, from);
}

static void expect_up(struct pbft_net *net)
{
    struct pbft_net_event event;
    cr_assert(net_expect(net, PBFT_NET_UP, &event, WAIT));
}

static void expect_nothing(struct pbft_net *net, uint64_t time_ns)
{
    struct pbft_net_event event;
    cr_assert_not(net_next(net, &event, time_ns));
}

/* Who dials steps through the epochs until it is let in. */
static void climb(struct place *p, struct pbft_net *server, pbft_id to, uint16_t port,
                  const struct pbft_keypair *self)
{
    for (pbft_epoch e = 0; e < 2; e++) {
        struct pbft_net *net = open_in(p->pool, &p->chain->at[e], self, false, NULL);
        net_dial_port(net, to, port);
        expect_news(net, &p->chain->at[e]);
        expect_news(net, &p->chain->at[e]); /* once more, after a redial, and harmless */
        struct pbft_net_peer_stats peer;
        struct pbft_net_stats stats;
        cr_assert(pbft_net_peer(net, to, &peer));
        cr_assert_not_null(strstr(peer.last_failure, "another configuration epoch"));
        cr_assert_not_null(strstr(peer.last_failure, "theirs 2"), "%s", peer.last_failure);
        pbft_net_stats(net, &stats);
        cr_assert_geq(stats.handshakes_failed[PBFT_CHANNEL_EPOCH], 2);
        cr_assert_eq(stats.connected, 0);
        pbft_net_close(net);
    }
    struct pbft_net *net = open_in(p->pool, &p->chain->at[2], self, false, NULL);
    net_dial_port(net, to, port);
    expect_up(net);
    expect_up(server);
    pbft_net_close(net);
}

/* Replica 1's key is another one since epoch 2, replica 0's since epoch 1: neither finds in its own
 * configuration whom it meets. */
Test(net_epoch, who_dials_from_behind_is_told_step_by_step)
{
    struct place p = place_new(4);
    struct pbft_net *server = replica_in(&p, 2, 1);
    climb(&p, server, 1, pbft_net_client_port(server), &p.chain->clients[0]);
    climb(&p, server, 1, pbft_net_peer_port(server), &p.chain->keys[2][0]);
    pbft_net_close(server);
    place_free(&p);
}

Test(net_epoch, who_is_dialled_and_behind_is_told_step_by_step)
{
    struct place p = place_new(4);
    for (unsigned who = 0; who < 2; who++) {
        const struct pbft_keypair *self = who == 0 ? &p.chain->clients[0] : &p.chain->keys[2][0];
        struct pbft_net *ahead = open_in(p.pool, &p.chain->at[2], self, false, NULL);
        for (pbft_epoch e = 0; e < 2; e++) {
            struct pbft_net *server = replica_in(&p, e, 1);
            net_dial_port(ahead, 1,
                          who == 0 ? pbft_net_client_port(server) : pbft_net_peer_port(server));
            expect_news(server, &p.chain->at[e]);
            expect_news(server, &p.chain->at[e]);
            struct pbft_net_stats stats;
            pbft_net_stats(server, &stats);
            cr_assert_geq(stats.handshakes_failed[PBFT_CHANNEL_EPOCH], 2);
            pbft_net_close(server);
        }
        struct pbft_net *server = replica_in(&p, 2, 1);
        net_dial_port(ahead, 1,
                      who == 0 ? pbft_net_client_port(server) : pbft_net_peer_port(server));
        expect_up(ahead);
        expect_up(server);
        struct pbft_net_stats stats;
        pbft_net_stats(ahead, &stats);
        cr_assert_geq(stats.handshakes_failed[PBFT_CHANNEL_EPOCH], 4);
        pbft_net_close(server);
        pbft_net_close(ahead);
    }
    place_free(&p);
}

/* The longest proof passes, both ways. */
Test(net_epoch, the_largest_cluster)
{
    struct place p = place_new(PBFT_REPLICAS_MAX);
    struct pbft_net *low = replica_in(&p, 0, 5), *high = replica_in(&p, 1, 6);
    net_dial_port(low, 6, pbft_net_peer_port(high));
    expect_news(low, &p.chain->at[0]);
    pbft_net_close(low);
    pbft_net_close(high);
    low = replica_in(&p, 0, 6);
    high = replica_in(&p, 1, 5);
    net_dial_port(high, 6, pbft_net_peer_port(low));
    expect_news(low, &p.chain->at[0]);
    pbft_net_close(low);
    pbft_net_close(high);
    place_free(&p);
}

/* Nothing is lost for want of memory: it is counted, and the redial brings it again. */
Test(net_epoch, an_empty_pool_delays_the_news)
{
    struct place p = place_new(4);
    struct pbft_pool *small = pbft_pool_new(UINT64_C(64) << 10);
    struct pbft_frame *held[64];
    size_t count = 0;
    for (uint32_t size = 64 * 1024; size > 0; size /= 2) {
        while (count < 64) {
            struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(small), size);
            if (frame == NULL) break;
            held[count++] = frame;
        }
    }
    cr_assert_lt(count, (size_t)64);
    struct pbft_net *server = replica_in(&p, 1, 1);
    struct pbft_net *client = open_in(small, &p.chain->at[0], &p.chain->clients[0], false, NULL);
    struct pbft_net_stats stats;
    net_dial_port(client, 1, pbft_net_client_port(server));
    uint64_t end = net_fixture_now() + WAIT;
    do {
        expect_nothing(client, 20 * NET_MS);
        pbft_net_stats(client, &stats);
    } while (stats.refused[PBFT_NET_REFUSED_MEMORY] < 2 && net_fixture_now() < end);
    cr_assert_geq(stats.refused[PBFT_NET_REFUSED_MEMORY], 2);
    for (size_t i = 0; i < count; i++)
        pbft_frame_release(held[i]);
    expect_news(client, &p.chain->at[0]);
    pbft_net_close(client);
    pbft_net_close(server);
    pbft_pool_free(small);
    place_free(&p);
}

/* News that nobody fetches is one frame, however often it is told; closing releases it. */
Test(net_epoch, news_that_is_not_fetched_does_not_pile_up)
{
    struct place p = place_new(4);
    struct pbft_net_limits eager = {.redial_min_ns = 1 * NET_MS, .redial_max_ns = 5 * NET_MS};
    struct pbft_net *server = replica_in(&p, 0, 1);
    struct pbft_net *ahead = open_in(p.pool, &p.chain->at[1], &p.chain->clients[0], false, &eager);
    struct pbft_net_stats stats;
    struct pbft_net_event events[8];
    net_dial_port(ahead, 1, pbft_net_client_port(server));
    uint64_t end = net_fixture_now() + WAIT;
    do {
        pbft_net_stats(server, &stats);
    } while (stats.handshakes_failed[PBFT_CHANNEL_EPOCH] < 20 && net_fixture_now() < end);
    cr_assert_eq(pbft_net_poll(server, 0, events, 0), 0, "no room, nothing lost");
    cr_assert_eq(pbft_net_poll(server, WAIT, events, 8), 1);
    check_news(&events[0], &p.chain->at[0]);
    do {
        pbft_net_stats(server, &stats);
    } while (stats.handshakes_failed[PBFT_CHANNEL_EPOCH] < 40 && net_fixture_now() < end);
    pbft_net_close(ahead);
    pbft_net_close(server);
    place_free(&p);
}

/* ---- strangers ---- */

static void raw_send(int fd, const uint8_t *bytes, size_t size)
{
    uint8_t length[4];
    pbft_put_u32(length, (uint32_t)size);
    (void)send(fd, length, 4, MSG_NOSIGNAL);
    (void)send(fd, bytes, size, MSG_NOSIGNAL);
}

static bool raw_receive(int fd, uint8_t *out, size_t size)
{
    for (size_t got = 0; got < size;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 2000) <= 0) return false;
        ssize_t n = recv(fd, out + got, size - got, 0);
        if (n <= 0) return false;
        got += (size_t)n;
    }
    return true;
}

/* As one would who is in epoch 1, to replica 1 in epoch 0, who takes nothing for granted: a HELLO,
 * then `proof` with `size` in front of it. The message that came last. */
static uint32_t stranger_tells(struct place *p, struct pbft_net *server, const uint8_t *proof,
                               uint32_t size, uint8_t out[64])
{
    uint8_t hello[PBFT_HANDSHAKE_MAX_BYTES], length[4], epoch[16];
    struct pbft_channel *c = pbft_channel_new(&p->chain->at[1], &p->chain->stranger, true,
                                              &p->chain->at[1].replicas[1], 0);
    size_t hello_size = pbft_channel_hello(c, hello);
    pbft_channel_free(c);
    int fd = net_raw(pbft_net_client_port(server));
    cr_assert_geq(fd, 0);
    raw_send(fd, hello, hello_size);
    uint32_t answer = 0;
    if (raw_receive(fd, length, 4) && raw_receive(fd, epoch, 12)) {
        memcpy(out, epoch, 12);
        answer = pbft_get_u32(length);
        if (answer == 16 && raw_receive(fd, epoch + 12, 4)) {
            uint8_t *message = malloc(16 + (size_t)size);
            memcpy(message, "pbftep01", 8);
            pbft_put_u32(message + 8, 1);
            pbft_put_u32(message + 12, size);
            memcpy(message + 16, proof, size);
            raw_send(fd, message, 16 + (size_t)size);
            free(message);
            if (raw_receive(fd, length, 4) && raw_receive(fd, out, 12))
                answer = pbft_get_u32(length);
        }
    }
    (void)close(fd);
    return answer;
}

static uint64_t failures(struct pbft_net *net, enum pbft_channel_failure failure)
{
    struct pbft_net_stats stats;
    pbft_net_stats(net, &stats);
    return stats.handshakes_failed[failure];
}

Test(net_epoch, what_strangers_make_up_is_no_news)
{
    struct place p = place_new(4);
    struct pbft_net *server = replica_in(&p, 0, 1);
    struct pbft_span proof = pbft_epoch_history(&p.chain->at[1], 1);
    uint8_t forged[8192] = {0}, out[64];
    cr_assert_eq(proof.size, 280u);
    static const size_t fields[] = {0, 4, 12, 44, 48, 80, 88, 151, 152, 216, 279};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        memcpy(forged, proof.data, proof.size);
        forged[fields[i]] ^= 1;
        (void)stranger_tells(&p, server, forged, 280, out);
        uint64_t end = net_fixture_now() + WAIT;
        while (failures(server, PBFT_CHANNEL_PROOF) <= i && net_fixture_now() < end)
            expect_nothing(server, 1 * NET_MS);
        cr_assert_eq(failures(server, PBFT_CHANNEL_PROOF), i + 1, "byte %zu", fields[i]);
    }
    memcpy(forged, proof.data, proof.size);
    (void)stranger_tells(&p, server, forged, 281, out); /* something after it */
    (void)stranger_tells(&p, server, forged, 279, out);
    expect_nothing(server, 200 * NET_MS);
    cr_assert_eq(failures(server, PBFT_CHANNEL_MALFORMED), 2);
    (void)stranger_tells(&p, server, forged, 600, out); /* longer than any in this cluster */
    expect_nothing(server, 200 * NET_MS);
    struct pbft_net_stats stats;
    pbft_net_stats(server, &stats);
    cr_assert_eq(stats.refused[PBFT_NET_REFUSED_SIZE], 1);
    /* And yet: a stranger who tells the truth is believed, for it is not his word. */
    (void)stranger_tells(&p, server, forged, 280, out);
    expect_news(server, &p.chain->at[0]);
    pbft_net_close(server);
    place_free(&p);
}

/* Only who waits for a proof takes more than a handshake's few bytes. */
Test(net_epoch, a_first_message_is_no_longer_than_ever)
{
    struct place p = place_new(PBFT_REPLICAS_MAX);
    struct pbft_net *server = replica_in(&p, 0, 1);
    uint8_t junk[2048] = {0};
    struct pbft_net_stats stats;
    int fd = net_raw(pbft_net_client_port(server));
    raw_send(fd, junk, PBFT_HANDSHAKE_FIRST_BYTES + 1);
    cr_assert(net_raw_closed(fd, 1500));
    (void)close(fd);
    pbft_net_stats(server, &stats);
    cr_assert_eq(stats.refused[PBFT_NET_REFUSED_SIZE], 1);
    cr_assert_eq(stats.handshakes_failed[PBFT_CHANNEL_MALFORMED], 0);
    pbft_net_close(server);
    place_free(&p);
}

/* Each proof costs its address q HELLOs: after the burst it waits in line. */
Test(net_epoch, a_flood_of_proofs_is_rationed)
{
    struct place p = place_new(PBFT_REPLICAS_MAX); /* q = 43 */
    struct pbft_net_limits limits = {.hellos_per_second = 50};
    struct pbft_net *server = open_in(p.pool, &p.chain->at[0], &p.chain->keys[0][1], true, &limits);
    struct pbft_span proof = pbft_epoch_history(&p.chain->at[1], 1);
    uint8_t forged[PBFT_EPOCH_PROOF_MAX], out[64];
    memcpy(forged, proof.data, proof.size);
    forged[proof.size - 1] ^= 1; /* 42 good signatures, and a bad one */
    uint64_t begin = net_fixture_now();
    unsigned tried = 0, busy = 0;
    for (; tried < 40; tried++) {
        uint32_t size = stranger_tells(&p, server, forged, (uint32_t)proof.size, out);
        if (size != 12) continue; /* closed */
        cr_assert_eq(memcmp(out, "pbftno01", 8), 0);
        cr_assert_eq(pbft_get_u32(out + 8), PBFT_CHANNEL_BUSY);
        busy++;
    }
    uint64_t seconds = (net_fixture_now() - begin) / NET_SECOND + 1;
    cr_assert_gt(busy, 0);
    struct pbft_net_stats stats;
    pbft_net_stats(server, &stats);
    cr_assert_gt(stats.refused[PBFT_NET_REFUSED_RATE], 0);
    /* 100 at once and 50 a second pay for so many, at 44 each. */
    cr_assert_leq(stats.handshakes_failed[PBFT_CHANNEL_PROOF], (100 + 50 * seconds) / 44,
                  "%llu proofs checked in %llu s",
                  (unsigned long long)stats.handshakes_failed[PBFT_CHANNEL_PROOF],
                  (unsigned long long)seconds);
    cr_assert_gt(stats.handshakes_failed[PBFT_CHANNEL_PROOF], 0);
    pbft_net_close(server);
    place_free(&p);
}

/* Where a proof costs more than any burst, it takes all of it, and can be told all the same. */
Test(net_epoch, a_proof_fits_into_the_smallest_ration)
{
    struct place p = place_new(PBFT_REPLICAS_MAX);
    struct pbft_net_limits limits = {.hellos_per_second = 20};
    struct pbft_net *server = open_in(p.pool, &p.chain->at[0], &p.chain->keys[0][1], true, &limits);
    struct pbft_net *ahead = open_in(p.pool, &p.chain->at[1], &p.chain->clients[0], false, NULL);
    net_dial_port(ahead, 1, pbft_net_client_port(server));
    struct pbft_net_event event;
    cr_assert(net_expect(server, PBFT_NET_EPOCH, &event, 20 * NET_SECOND));
    check_news(&event, &p.chain->at[0]);
    pbft_net_close(ahead);
    pbft_net_close(server);
    place_free(&p);
}
