/**
 * tests/unit/net_fixture.h - a cluster's keys and nets on loopback, for the tests of net/.
 *
 * No test framework in here: the program for ThreadSanitizer uses it too. What must hold is
 * asserted.
 */
#ifndef TESTS_UNIT_NET_FIXTURE_H
#define TESTS_UNIT_NET_FIXTURE_H

#include "crypto/cluster.h"
#include "net/net.h"
#include "pbft/wire.h"
#include "replica/pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nng/nng.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NET_REPLICAS 4u
#define NET_CLIENTS  4u
#define NET_SECOND   UINT64_C(1000000000)
#define NET_MS       UINT64_C(1000000)

struct net_world {
    struct pbft_cluster cluster;
    struct pbft_keypair replicas[NET_REPLICAS];
    struct pbft_keypair clients[NET_CLIENTS];
    struct pbft_public_key client_keys[NET_CLIENTS];
    struct pbft_keypair stranger;
    struct pbft_pool *pool;
};

static inline uint64_t net_fixture_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NET_SECOND + (uint64_t)now.tv_nsec;
}

static inline void net_world_make(struct net_world *w, uint8_t nonce)
{
    char error[256];
    uint8_t seed[32] = {77};
    enum pbft_status status = pbft_crypto_init();
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    memset(w, 0, sizeof(*w));
    (void)snprintf(w->cluster.service, sizeof(w->cluster.service), "net");
    w->cluster.params = pbft_params_default(NET_REPLICAS);
    w->cluster.nonce[0] = nonce;
    for (unsigned i = 0; i < NET_REPLICAS; i++) {
        seed[1] = (uint8_t)i;
        pbft_keypair_from_seed(&w->replicas[i], seed);
        w->cluster.replicas[i] = w->replicas[i].public;
    }
    for (unsigned i = 0; i < NET_CLIENTS; i++) {
        seed[1] = (uint8_t)(100 + i);
        pbft_keypair_from_seed(&w->clients[i], seed);
        w->client_keys[i] = w->clients[i].public;
    }
    seed[1] = 200;
    pbft_keypair_from_seed(&w->stranger, seed);
    w->cluster.clients = w->client_keys;
    w->cluster.client_count = NET_CLIENTS;
    status = pbft_cluster_seal(&w->cluster, error);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    w->pool = pbft_pool_new(UINT64_C(256) << 20);
    PBFT_ASSERT(w->pool != NULL);
}

/* Every net is closed. Asserts that no frame leaked. */
static inline void net_world_free(struct net_world *w)
{
    nng_fini();
    pbft_pool_free(w->pool);
    pbft_cluster_unseal(&w->cluster);
}

static inline struct pbft_net *net_open_as(struct net_world *w, const struct pbft_keypair *self,
                                           bool listens, const struct pbft_net_limits *limits)
{
    struct pbft_net *net = NULL;
    char error[256];
    struct pbft_net_config config = {
        .cluster = &w->cluster,
        .self = self,
        .pool = pbft_pool_frames(w->pool),
        .listen_peers = listens ? "tcp://127.0.0.1:0" : NULL,
        .listen_clients = listens ? "tcp://127.0.0.1:0" : NULL,
    };
    if (limits != NULL) config.limits = *limits;
    enum pbft_status status = pbft_net_open(&net, &config, error);
    if (status != PBFT_STATUS_OK) (void)fprintf(stderr, "net: %s\n", error);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    return net;
}

static inline void net_dial_port(struct pbft_net *net, pbft_id id, uint16_t port)
{
    char url[64];
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", (unsigned)port);
    enum pbft_status status = pbft_net_address(net, id, url);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
}

static inline struct pbft_frame *net_frame(struct net_world *w, uint32_t size, uint64_t tag)
{
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(w->pool), size < 8 ? 8 : size);
    PBFT_ASSERT(frame != NULL);
    frame->size = size < 8 ? 8 : size;
    memset(frame->bytes, (int)(tag & 0x7f), frame->size);
    pbft_put_u64(frame->bytes, tag);
    return frame;
}

/* Does the body still carry what net_frame() wrote? */
static inline bool net_frame_intact(const struct pbft_frame *frame)
{
    uint8_t fill = (uint8_t)(pbft_get_u64(frame->bytes) & 0x7f);
    for (uint32_t i = 8; i < frame->size; i++)
        if (frame->bytes[i] != fill) return false;
    return true;
}

/* The next event, or false after the time-out. */
static inline bool net_next(struct pbft_net *net, struct pbft_net_event *event, uint64_t timeout_ns)
{
    uint64_t end = net_fixture_now() + timeout_ns;
    for (;;) {
        if (pbft_net_poll(net, 10 * NET_MS, event, 1) == 1) return true;
        if (net_fixture_now() >= end) return false;
    }
}

/* Skip events until one of `kind`; frames on the way are released. */
static inline bool net_expect(struct pbft_net *net, enum pbft_net_event_kind kind,
                              struct pbft_net_event *event, uint64_t timeout_ns)
{
    uint64_t end = net_fixture_now() + timeout_ns;
    while (net_fixture_now() < end && net_next(net, event, end - net_fixture_now())) {
        if (event->kind == kind) return true;
        pbft_frame_release(event->frame);
    }
    return false;
}

/* A plain TCP connection to a port of ours; -1 on failure. */
static inline int net_raw(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* True when the other side ends the connection within the time. */
static inline bool net_raw_closed(int fd, int timeout_ms)
{
    uint64_t end = net_fixture_now() + (uint64_t)timeout_ms * NET_MS;
    for (;;) {
        char sink[4096];
        struct pollfd p = {fd, POLLIN, 0};
        uint64_t now = net_fixture_now();
        if (now >= end || poll(&p, 1, (int)((end - now) / NET_MS) + 1) <= 0) return false;
        ssize_t n = recv(fd, sink, sizeof(sink), 0);
        if (n == 0 || (n < 0 && errno != EINTR)) return true;
    }
}

#endif
