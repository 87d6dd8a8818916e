/* net/connection.c - the life of a connection: handshake, open, dead, gone. */
#include "net/net_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

void connection_ready(struct connection *c)
{
    struct ring *ring = &c->net->ready[c->peer.kind == PBFT_PEER_CLIENT];
    if (c->in_ring || c->done) return;
    c->in_ring = true;
    c->ring_next = NULL;
    if (ring->last == NULL)
        ring->first = c;
    else
        ring->last->ring_next = c;
    ring->last = c;
    owner_poke(c->net);
}

struct connection *connection_find(struct pbft_net *net, uint64_t number)
{
    struct connection *c = net->hash[number & net->hash_mask];
    while (c != NULL && c->number != number)
        c = c->hash_next;
    return c;
}

static void hash_remove(struct connection *c)
{
    if (!c->in_hash) return;
    struct connection **at = &c->net->hash[c->number & c->net->hash_mask];
    while (*at != c)
        at = &(*at)->hash_next;
    *at = c->hash_next;
    c->in_hash = false;
}

static void hash_insert(struct connection *c)
{
    struct connection **at = &c->net->hash[c->number & c->net->hash_mask];
    c->hash_next = *at;
    *at = c;
    c->in_hash = true;
}

static void link_connection(struct connection *c)
{
    c->next = c->net->connections;
    if (c->next != NULL) c->next->prev = c;
    c->net->connections = c;
}

static void half_insert(struct connection *c)
{
    c->half_next = c->net->half;
    if (c->half_next != NULL) c->half_next->half_prev = c;
    c->net->half = c;
    c->in_half = true;
}

static void half_remove(struct connection *c)
{
    if (!c->in_half) return;
    if (c->half_prev != NULL)
        c->half_prev->half_next = c->half_next;
    else
        c->net->half = c->half_next;
    if (c->half_next != NULL) c->half_next->half_prev = c->half_prev;
    c->in_half = false;
}

static void dirty_remove(struct connection *c)
{
    if (!c->dirty) return;
    struct connection **at = &c->net->dirty;
    while (*at != c)
        at = &(*at)->dirty_next;
    *at = c->dirty_next;
    c->dirty = false;
}

static void free_connection(struct connection *c)
{
    if (c->rx != NULL) nng_aio_free(c->rx);
    if (c->tx != NULL) nng_aio_free(c->tx);
    if (c->tx_now != NULL) nng_aio_free(c->tx_now);
    if (c->stream != NULL) nng_stream_free(c->stream);
    frames_clear(&c->inbox);
    frames_clear(&c->outbox);
    pbft_channel_free(c->channel);
    free(c->in);
    free(c->out);
    free(c->tell);
    (void)pthread_mutex_destroy(&c->io_lock);
    free(c);
}

void connection_forget(struct connection *c)
{
    if (!c->reaped || !c->done) return;
    PBFT_ASSERT(c->dead && !c->in_ring && !c->in_hash && !c->dirty);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->net->connections = c->next;
    if (c->next != NULL) c->next->prev = c->prev;
    free_connection(c); /* nothing in it blocks: stream and aios went in connection_reap() */
}

/* ---- begin ---- */

bool connection_start(struct connection *c, nng_aio *aio, uint8_t *bytes, size_t size)
{
    nng_iov iov = {bytes, size};
    (void)pthread_mutex_lock(&c->io_lock);
    bool closed = c->closed_io;
    if (!closed) {
        int failed = nng_aio_set_iov(aio, 1, &iov);
        PBFT_ASSERT(failed == 0); /* fewer than its four inline vectors: cannot fail */
        if (aio == c->rx)
            nng_stream_recv(c->stream, aio);
        else
            nng_stream_send(c->stream, aio);
    }
    (void)pthread_mutex_unlock(&c->io_lock);
    return !closed;
}

/* A send is tried at once; one that has to wait is taken back, with nothing written. */
size_t connection_write(struct connection *c, uint8_t *bytes, size_t size)
{
    nng_iov iov = {bytes, size};
    size_t written = 0;
    (void)pthread_mutex_lock(&c->io_lock);
    if (!c->closed_io) {
        int failed = nng_aio_set_iov(c->tx_now, 1, &iov);
        PBFT_ASSERT(failed == 0);
        nng_stream_send(c->stream, c->tx_now);
        nng_aio_abort(c->tx_now, NNG_ECANCELED);
        nng_aio_wait(c->tx_now);
        if (nng_aio_result(c->tx_now) == 0) written = nng_aio_count(c->tx_now);
    }
    (void)pthread_mutex_unlock(&c->io_lock);
    return written;
}

static struct connection *new_connection(struct pbft_net *net, nng_stream *stream,
                                         struct dialer *dialer, unsigned listener)
{
    struct connection *c = calloc(1, sizeof(*c));
    if (c == NULL) return NULL;
    c->net = net;
    c->dialer = dialer;
    c->listener = listener;
    c->handshaking = true;
    c->born_ns = c->last_in_ns = c->last_out_ns = net_now();
    c->in_capacity = BUFFER_HANDSHAKE;
    (void)pthread_mutex_init(&c->io_lock, NULL);
    c->in = malloc(c->in_capacity);
    /* Listeners serve one kind each (PROTOCOL 4: slots for replicas are reserved). */
    unsigned roles = listener == LISTENER_PEERS ? PBFT_PEER_REPLICA : PBFT_PEER_CLIENT;
    c->channel =
        pbft_channel_new(net->cluster, net->self, dialer != NULL,
                         dialer != NULL ? &net->cluster->replicas[dialer->id] : NULL, roles);
    if (c->in == NULL || c->channel == NULL || nng_aio_alloc(&c->rx, receive_callback, c) != 0 ||
        nng_aio_alloc(&c->tx, transmit_callback, c) != 0 ||
        nng_aio_alloc(&c->tx_now, NULL, NULL) != 0) {
        free_connection(c);
        return NULL;
    }
    c->stream = stream;
    if (dialer == NULL) gate_address(stream, &c->address);
    return c;
}

/* nng may say that all went well and have nothing to show, when a dial comes to its end and to its
 * time-out at once (nanomsg/nng issue 1620). */
nng_stream *net_stream_of(nng_aio *aio, int *error)
{
    *error = nng_aio_result(aio);
    nng_stream *stream = *error == 0 ? nng_aio_get_output(aio, 0) : NULL;
    if (*error == 0 && stream == NULL) *error = NNG_ETIMEDOUT;
    return stream;
}

void connection_begin(struct pbft_net *net, nng_stream *stream, struct dialer *dialer,
                      unsigned listener)
{
    struct connection *c = new_connection(net, stream, dialer, listener);
    (void)pthread_mutex_lock(&net->lock);
    bool refused = net->closing || c == NULL;
    if (refused) {
        if (c == NULL) net->stats.refused[PBFT_NET_REFUSED_MEMORY]++;
        if (dialer != NULL) dialer_later(dialer);
    } else {
        c->rx_busy = true; /* ours, until receive_more() has given it to the callback */
        link_connection(c);
        service_poke(net); /* it sleeps for ever while there is nothing to time */
        if (dialer == NULL) {
            c->listed = gate_listed(net, &c->address);
            half_insert(c);
            gate_admit(net, c);
        }
    }
    (void)pthread_mutex_unlock(&net->lock);
    if (refused) {
        if (c != NULL)
            free_connection(c);
        else
            nng_stream_free(stream);
        return;
    }
    if (dialer != NULL) {
        uint8_t hello[PBFT_HANDSHAKE_MAX_BYTES];
        size_t size = pbft_channel_hello(c->channel, hello);
        PBFT_ASSERT(size > 0); /* genesis lists whom we dial, and we do not dial ourselves */
        transmit_tell(c, hello, size, false);
    }
    receive_more(c);
}

/* ---- open ---- */

/* One client key, one share: its oldest connection gives way. */
static void limit_client(struct connection *newcomer)
{
    struct pbft_net *net = newcomer->net;
    struct connection *oldest = NULL;
    uint32_t count = 0;
    for (struct connection *c = net->connections; c != NULL; c = c->next) {
        if (c == newcomer || !c->open || c->dead) continue;
        if (c->peer.kind != PBFT_PEER_CLIENT || c->peer.index != newcomer->peer.index) continue;
        count++;
        if (oldest == NULL || c->number < oldest->number) oldest = c;
    }
    if (oldest != NULL && count >= net->limits.connections_per_client)
        connection_kill(oldest, "too many connections of one client");
}

bool connection_open(struct connection *c, struct pbft_peer peer)
{
    struct pbft_net *net = c->net;
    if (c->dead) return false;
    if (peer.kind == PBFT_PEER_CLIENT && net->clients_open >= net->limits.connections_max) {
        net->stats.refused[PBFT_NET_REFUSED_CLIENTS]++;
        connection_kill(c, pbft_net_refusal_text(PBFT_NET_REFUSED_CLIENTS));
        return false;
    }
    half_remove(c);
    c->number = ++net->last_number;
    c->peer = peer;
    c->peer.connection = c->number;
    c->handshaking = false;
    c->open = true;
    c->up_due = true;
    hash_insert(c);
    net->stats.connected++;
    if (peer.kind == PBFT_PEER_REPLICA) {
        struct replica_slot *slot = &net->replicas[peer.index];
        if (slot->connects++ > 0) net->stats.reconnected++;
        /* PROTOCOL 4: the newest proven connection is the one that counts. */
        if (slot->current != NULL) connection_kill(slot->current, "replaced by a newer connection");
        slot->current = c;
        slot->last_failure[0] = '\0';
        if (c->dialer != NULL) c->dialer->backoff_ns = net->limits.redial_min_ns;
    } else {
        net->clients_open++;
        limit_client(c);
    }
    connection_ready(c);
    return true;
}

void connection_note_failure(struct connection *c, const char *text)
{
    if (c->dialer == NULL || c->noted) return;
    c->noted = true;
    struct replica_slot *slot = &c->net->replicas[c->dialer->id];
    (void)snprintf(slot->last_failure, sizeof(slot->last_failure), "%.95s", text);
}

/* ---- dead ---- */

void connection_kill(struct connection *c, const char *reason)
{
    struct pbft_net *net = c->net;
    if (c->dead) return;
    c->dead = true;
    c->reason = reason;
    if (c->paused) {
        c->paused = false;
        net->paused_count--;
    }
    net->stats.dropped_down += c->outbox.count;
    if (!c->up_told) frames_clear(&c->inbox);
    if (c->open) {
        net->stats.disconnected++;
        if (c->peer.kind == PBFT_PEER_REPLICA) {
            struct replica_slot *slot = &net->replicas[c->peer.index];
            slot->dropped += c->outbox.count;
            if (slot->current == c) slot->current = NULL;
        }
        hash_remove(c);
    }
    frames_clear(&c->outbox);
    if (c->dialer != NULL) {
        connection_note_failure(c, reason);
        dialer_later(c->dialer);
    }
    c->handshaking = false;
    half_remove(c);
    dirty_remove(c);
    c->dead_next = net->dead;
    net->dead = c;
    service_poke(net);
    if (c->up_told)
        connection_ready(c); /* DOWN is due */
    else if (!c->in_ring)
        connection_done(c); /* the owner never heard of it; otherwise it leaves the ring there */
}

void connection_done(struct connection *c)
{
    if (c->done) return;
    c->done = true;
    if (c->open && c->peer.kind == PBFT_PEER_CLIENT) c->net->clients_open--;
    connection_forget(c);
}

bool connection_reap(struct connection *c)
{
    (void)pthread_mutex_lock(&c->io_lock);
    if (!c->closed_io) {
        c->closed_io = true;
        nng_stream_close(c->stream);
    }
    (void)pthread_mutex_unlock(&c->io_lock);
    /* From here on no operation starts; what runs is cancelled and its callback waited for. */
    nng_aio_stop(c->rx);
    nng_aio_stop(c->tx);
    (void)pthread_mutex_lock(&c->net->lock);
    bool idle = !c->rx_busy && !c->tx_busy;
    (void)pthread_mutex_unlock(&c->net->lock);
    if (!idle) return false; /* the owner's thread is in the middle of it; next time */
    nng_aio_free(c->rx);
    nng_aio_free(c->tx);
    nng_aio_free(c->tx_now);
    nng_stream_free(c->stream);
    c->rx = NULL;
    c->tx = NULL;
    c->tx_now = NULL;
    c->stream = NULL;
    return true;
}
