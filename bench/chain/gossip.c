#include "bench/chain/gossip.h"

#include "pbft/wire.h"

#include <nng/nng.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LENGTH_BYTES 4u
#define OUT_MAX      8388608u
#define WRITE_MAX    65536u
#define GREET_MS     3000u
#define DIAL_MS      2000u
#define REDIAL_MIN   20u
#define REDIAL_MAX   1000u
#define RETRY_MS     50u

struct connection {
    struct chain_gossip *gossip;
    nng_stream *stream; /* NULL: the slot is free */
    nng_aio *rx, *tx;
    bool rx_done, tx_done; /* gossip->lock */
    bool tx_busy;
    bool broken;
    int dialer; /* who made it, -1: accepted */
    uint64_t born_ms;
    uint8_t *in;
    size_t in_fill;
    uint8_t *out; /* in_capacity OUT_MAX; [out_start, out_fill) is to be sent */
    size_t out_start, out_fill, out_capacity;
};

struct dialer {
    struct chain_gossip *gossip;
    nng_stream_dialer *stream;
    nng_aio *aio;
    bool done; /* gossip->lock */
    bool busy, connected, allowed;
    uint64_t next_ms, backoff_ms;
};

struct chain_gossip {
    struct chain_node *node;
    size_t in_capacity;
    nng_stream_listener *listener;
    nng_aio *accept;
    bool accept_done; /* lock */
    bool accepting;
    uint64_t accept_ms; /* not before */
    int port;
    struct dialer dialers[CHAIN_PEERS_MAX];
    uint32_t dialer_count;
    struct connection connections[CHAIN_PEERS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t something;
    bool woken; /* lock */
};

uint64_t chain_clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static uint64_t ticks_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* ---- callbacks: nng's threads ---- */

static void note(struct chain_gossip *g, bool *done)
{
    (void)pthread_mutex_lock(&g->lock);
    *done = true;
    g->woken = true;
    (void)pthread_cond_signal(&g->something);
    (void)pthread_mutex_unlock(&g->lock);
}

static void on_receive(void *argument)
{
    struct connection *c = argument;
    note(c->gossip, &c->rx_done);
}

static void on_send(void *argument)
{
    struct connection *c = argument;
    note(c->gossip, &c->tx_done);
}

static void on_accept(void *argument)
{
    struct chain_gossip *g = argument;
    note(g, &g->accept_done);
}

static void on_dial(void *argument)
{
    struct dialer *d = argument;
    note(d->gossip, &d->done);
}

static bool take(struct chain_gossip *g, bool *done)
{
    (void)pthread_mutex_lock(&g->lock);
    bool was = *done;
    *done = false;
    (void)pthread_mutex_unlock(&g->lock);
    return was;
}

void chain_gossip_wake(struct chain_gossip *g)
{
    bool nothing;
    note(g, &nothing);
}

/* ---- connections ---- */

static void receive(struct connection *c)
{
    nng_iov iov = {c->in + c->in_fill, c->gossip->in_capacity - c->in_fill};
    (void)nng_aio_set_iov(c->rx, 1, &iov);
    nng_stream_recv(c->stream, c->rx);
}

static void connection_free(struct connection *c)
{
    if (c->stream != NULL) nng_stream_close(c->stream);
    nng_aio *aios[2] = {c->rx, c->tx};
    for (unsigned i = 0; i < 2; i++) {
        if (aios[i] == NULL) continue;
        nng_aio_stop(aios[i]);
        nng_aio_free(aios[i]);
    }
    if (c->stream != NULL) nng_stream_free(c->stream);
    free(c->in);
    free(c->out);
    memset(c, 0, sizeof *c);
}

static void dial_later(struct dialer *d)
{
    d->next_ms = ticks_ms() + d->backoff_ms;
    d->backoff_ms = d->backoff_ms * 2 < REDIAL_MAX ? d->backoff_ms * 2 : REDIAL_MAX;
}

static void connection_end(struct connection *c)
{
    struct chain_gossip *g = c->gossip;
    int dialer = c->dialer;
    chain_node_down(g->node, (uint32_t)(c - g->connections));
    connection_free(c);
    if (dialer < 0) return;
    g->dialers[dialer].connected = false;
    dial_later(&g->dialers[dialer]);
}

/* False: there is no room, or no memory; the stream is gone. */
static bool connection_begin(struct chain_gossip *g, nng_stream *stream, int dialer)
{
    struct connection *c = NULL;
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX && c == NULL; i++)
        if (g->connections[i].stream == NULL) c = &g->connections[i];
    if (c == NULL) {
        nng_stream_free(stream);
        return false;
    }
    c->gossip = g;
    c->stream = stream;
    c->dialer = dialer;
    c->born_ms = ticks_ms();
    c->in = malloc(g->in_capacity);
    if (c->in == NULL || nng_aio_alloc(&c->rx, on_receive, c) != 0 ||
        nng_aio_alloc(&c->tx, on_send, c) != 0) {
        connection_free(c);
        return false;
    }
    chain_node_up(g->node, (uint32_t)(c - g->connections));
    receive(c);
    return true;
}

/* Whole frames from the front of the buffer. False: it is to be ended. */
static bool consume(struct connection *c)
{
    struct chain_gossip *g = c->gossip;
    uint32_t peer = (uint32_t)(c - g->connections);
    size_t at = 0;
    while (c->in_fill - at >= LENGTH_BYTES) {
        uint32_t size = pbft_get_u32(c->in + at);
        if (size == 0 || size > g->in_capacity - LENGTH_BYTES) return false;
        if (size > c->in_fill - at - LENGTH_BYTES) break;
        struct pbft_span message = {c->in + at + LENGTH_BYTES, size};
        (void)chain_node_receive(g->node, peer, message, chain_clock_ms());
        if (chain_node_banned(g->node, peer)) return false;
        at += LENGTH_BYTES + size;
    }
    memmove(c->in, c->in + at, c->in_fill - at);
    c->in_fill -= at;
    return true;
}

static void pump_in(struct connection *c)
{
    if (!take(c->gossip, &c->rx_done)) return;
    size_t got = nng_aio_count(c->rx);
    if (nng_aio_result(c->rx) != 0 || got == 0) {
        c->broken = true;
        return;
    }
    c->in_fill += got;
    if (consume(c))
        receive(c);
    else
        c->broken = true;
}

static void pump_out(struct connection *c)
{
    if (take(c->gossip, &c->tx_done)) {
        c->tx_busy = false;
        if (nng_aio_result(c->tx) != 0) c->broken = true;
        c->out_start += nng_aio_count(c->tx);
    }
    if (c->tx_busy || c->broken) return;
    if (c->out_start == c->out_fill) {
        c->out_start = c->out_fill = 0;
        return;
    }
    size_t size = c->out_fill - c->out_start;
    nng_iov iov = {c->out + c->out_start, size < WRITE_MAX ? size : WRITE_MAX};
    c->tx_busy = true;
    (void)nng_aio_set_iov(c->tx, 1, &iov);
    nng_stream_send(c->stream, c->tx);
}

/* Room for `size` more. The buffer may not move while it is being written from. */
static bool make_room(struct connection *c, size_t size)
{
    if (c->out_capacity - c->out_fill >= size) return true;
    if (!c->tx_busy && c->out_start > 0) {
        memmove(c->out, c->out + c->out_start, c->out_fill - c->out_start);
        c->out_fill -= c->out_start;
        c->out_start = 0;
        if (c->out_capacity - c->out_fill >= size) return true;
    }
    if (c->out_capacity != 0) return false;
    c->out = malloc(OUT_MAX);
    c->out_capacity = c->out == NULL ? 0 : OUT_MAX;
    return c->out_capacity >= size;
}

void chain_gossip_send(struct chain_gossip *g, uint32_t peer, struct pbft_span bytes)
{
    struct connection *c = &g->connections[peer];
    if (c->stream == NULL || c->broken) return;
    if (!make_room(c, LENGTH_BYTES + bytes.size)) {
        c->broken = true;
        return;
    }
    pbft_put_u32(c->out + c->out_fill, (uint32_t)bytes.size);
    memcpy(c->out + c->out_fill + LENGTH_BYTES, bytes.data, bytes.size);
    c->out_fill += LENGTH_BYTES + bytes.size;
}

/* ---- listening and dialling ---- */

/* nng calls a dial whose end and time-out come at once a success and shows no stream. */
static nng_stream *stream_of(nng_aio *aio)
{
    return nng_aio_result(aio) == 0 ? nng_aio_get_output(aio, 0) : NULL;
}

static void pump_accept(struct chain_gossip *g, uint64_t now)
{
    if (g->listener == NULL) return;
    if (take(g, &g->accept_done)) {
        nng_stream *stream = stream_of(g->accept);
        g->accepting = false;
        if (stream != NULL)
            (void)connection_begin(g, stream, -1);
        else
            g->accept_ms = now + RETRY_MS; /* out of descriptors: that passes */
    }
    if (g->accepting || now < g->accept_ms) return;
    g->accepting = true;
    nng_stream_listener_accept(g->listener, g->accept);
}

static void pump_dial(struct dialer *d, int index, uint64_t now)
{
    if (take(d->gossip, &d->done)) {
        nng_stream *stream = stream_of(d->aio);
        d->busy = false;
        if (stream != NULL && d->allowed)
            d->connected = connection_begin(d->gossip, stream, index);
        else if (stream != NULL)
            nng_stream_free(stream);
        if (d->connected)
            d->backoff_ms = REDIAL_MIN;
        else
            dial_later(d);
    }
    if (d->busy || d->connected || !d->allowed || now < d->next_ms) return;
    d->busy = true;
    nng_aio_set_timeout(d->aio, DIAL_MS);
    nng_stream_dialer_dial(d->stream, d->aio);
}

void chain_gossip_dialling(struct chain_gossip *g, uint32_t peer, bool allowed)
{
    g->dialers[peer].allowed = allowed;
    g->dialers[peer].backoff_ms = REDIAL_MIN;
    g->dialers[peer].next_ms = 0;
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++) {
        struct connection *c = &g->connections[i];
        if (!allowed && c->stream != NULL && c->dialer == (int)peer) connection_end(c);
    }
}

static bool nothing_done(struct chain_gossip *g, const struct timespec *until)
{
    return !g->woken && pthread_cond_timedwait(&g->something, &g->lock, until) == 0;
}

void chain_gossip_poll(struct chain_gossip *g, uint64_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + timeout_ms * 1000000u;
    until.tv_sec += (time_t)(nanoseconds / 1000000000u);
    until.tv_nsec = (long)(nanoseconds % 1000000000u);
    (void)pthread_mutex_lock(&g->lock);
    while (nothing_done(g, &until)) {
    }
    g->woken = false;
    (void)pthread_mutex_unlock(&g->lock);

    uint64_t now = ticks_ms();
    pump_accept(g, now);
    for (uint32_t i = 0; i < g->dialer_count; i++)
        pump_dial(&g->dialers[i], (int)i, now);
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++)
        if (g->connections[i].stream != NULL && !g->connections[i].broken)
            pump_in(&g->connections[i]);
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++) {
        struct connection *c = &g->connections[i];
        if (c->stream == NULL) continue;
        pump_out(c);
        if (!g->node->peers[i].greeted && now > c->born_ms + GREET_MS) c->broken = true;
        if (c->broken) connection_end(c);
    }
}

uint16_t chain_gossip_port(const struct chain_gossip *g)
{
    return (uint16_t)g->port;
}

uint32_t chain_gossip_connected(const struct chain_gossip *g)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++)
        count += g->connections[i].stream != NULL && g->node->peers[i].greeted;
    return count;
}

/* ---- opening and closing ---- */

static int open_listener(struct chain_gossip *g, const char *url)
{
    int failed = nng_aio_alloc(&g->accept, on_accept, g);
    if (failed == 0) failed = nng_stream_listener_alloc(&g->listener, url);
    if (failed == 0) failed = nng_stream_listener_set_bool(g->listener, NNG_OPT_TCP_NODELAY, true);
    if (failed == 0) failed = nng_stream_listener_listen(g->listener);
    if (failed == 0)
        failed = nng_stream_listener_get_int(g->listener, NNG_OPT_TCP_BOUND_PORT, &g->port);
    return failed;
}

static int open_dialer(struct chain_gossip *g, const char *url)
{
    struct dialer *d = &g->dialers[g->dialer_count++];
    d->gossip = g;
    d->allowed = true;
    d->backoff_ms = REDIAL_MIN;
    int failed = nng_aio_alloc(&d->aio, on_dial, d);
    if (failed == 0) failed = nng_stream_dialer_alloc(&d->stream, url);
    if (failed == 0) failed = nng_stream_dialer_set_bool(d->stream, NNG_OPT_TCP_NODELAY, true);
    return failed;
}

enum pbft_status chain_gossip_open(struct chain_gossip **out, struct chain_node *node,
                                   const char *listen, const char *const *peers,
                                   uint32_t peer_count, char error[256])
{
    PBFT_ASSERT(peer_count <= CHAIN_PEERS_MAX);
    struct chain_gossip *g = calloc(1, sizeof *g);
    pthread_condattr_t attributes;
    if (g == NULL) {
        (void)snprintf(error, 256, "memory ran out");
        return PBFT_STATUS_MEMORY;
    }
    g->node = node;
    /* A block, an operation or a GET, and its type. */
    size_t largest = node->config.params.block_max_bytes;
    if (largest < CHAIN_REQUEST_BYTES) largest = CHAIN_REQUEST_BYTES;
    g->in_capacity = LENGTH_BYTES + 1 + largest;
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&g->something, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    const char *url = listen;
    int failed = listen == NULL ? 0 : open_listener(g, listen);
    for (uint32_t i = 0; failed == 0 && i < peer_count; i++)
        failed = open_dialer(g, url = peers[i]);
    if (failed != 0) {
        (void)snprintf(error, 256, "cannot use the address '%.120s': %s", url,
                       nng_strerror(failed));
        chain_gossip_close(g);
        return failed == NNG_ENOMEM ? PBFT_STATUS_MEMORY : PBFT_STATUS_NETWORK;
    }
    *out = g;
    return PBFT_STATUS_OK;
}

void chain_gossip_close(struct chain_gossip *g)
{
    if (g == NULL) return;
    if (g->listener != NULL) nng_stream_listener_close(g->listener);
    if (g->accept != NULL) {
        nng_aio_stop(g->accept);
        /* Somebody who came at the last moment. */
        nng_stream *late = g->accepting ? stream_of(g->accept) : NULL;
        if (late != NULL) nng_stream_free(late);
        nng_aio_free(g->accept);
    }
    if (g->listener != NULL) nng_stream_listener_free(g->listener);
    for (uint32_t i = 0; i < g->dialer_count; i++) {
        struct dialer *d = &g->dialers[i];
        if (d->stream != NULL) nng_stream_dialer_close(d->stream);
        if (d->aio != NULL) {
            nng_aio_stop(d->aio);
            nng_stream *late = d->busy ? stream_of(d->aio) : NULL;
            if (late != NULL) nng_stream_free(late);
            nng_aio_free(d->aio);
        }
        if (d->stream != NULL) nng_stream_dialer_free(d->stream);
    }
    for (uint32_t i = 0; i < CHAIN_PEERS_MAX; i++)
        if (g->connections[i].stream != NULL) connection_free(&g->connections[i]);
    (void)pthread_mutex_destroy(&g->lock);
    (void)pthread_cond_destroy(&g->something);
    free(g);
}
