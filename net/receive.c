/*
 * net/receive.c - bytes in: length prefixes, handshake messages, records, frames.
 *
 * Runs with the rx token, in the receive callback or, after back pressure, in the owner's poll.
 * Memory grows with the bytes that arrived, never with a length that somebody announced.
 */
#include "net/net_internal.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_FRAMES 64u
#define BATCH_BYTES  65536u
#define POOL_RETRY   (1 * MILLISECOND)

enum progress {
    NEED_MORE, /* read on */
    STEP,      /* something was consumed: look again */
    PAUSED,    /* back pressure; the token is given up */
    STOPPED,   /* dead, or ending: never read again */
};

static enum progress stop(struct connection *c, const char *reason)
{
    (void)pthread_mutex_lock(&c->net->lock);
    connection_kill(c, reason);
    (void)pthread_mutex_unlock(&c->net->lock);
    return STOPPED;
}

static uint32_t frame_max(const struct connection *c)
{
    const struct pbft_net_limits *limits = &c->net->limits;
    return c->peer.kind == PBFT_PEER_CLIENT ? limits->client_frame_max_bytes
                                            : limits->frame_max_bytes;
}

static uint32_t record_max(const struct connection *c)
{
    uint32_t alone = LENGTH_BYTES + frame_max(c);
    return (alone > RECORD_PLAIN_MAX ? alone : RECORD_PLAIN_MAX) + PBFT_CHANNEL_OVERHEAD;
}

static uint64_t inbox_max(const struct connection *c)
{
    const struct pbft_net_limits *limits = &c->net->limits;
    return c->peer.kind == PBFT_PEER_CLIENT ? limits->client_in_max_bytes : limits->in_max_bytes;
}

/* ---- handshake ---- */

/* Send a "no" and end; the reason is counted already. */
static enum progress refuse(struct connection *c, const uint8_t *no, size_t size, const char *text)
{
    (void)pthread_mutex_lock(&c->net->lock);
    connection_note_failure(c, text);
    (void)pthread_mutex_unlock(&c->net->lock);
    if (size == 0) return stop(c, text);
    transmit_tell(c, no, size, true);
    return STOPPED;
}

/* Before any signature is made or checked for it: may this address have that, is there room? */
static bool allowed(struct connection *c, uint32_t hellos)
{
    struct pbft_net *net = c->net;
    (void)pthread_mutex_lock(&net->lock);
    bool allowed = gate_hello(net, &c->address, hellos);
    if (!allowed) {
        net->stats.refused[PBFT_NET_REFUSED_RATE]++;
    } else if (c->listener == LISTENER_CLIENTS &&
               net->clients_open >= net->limits.connections_max) {
        net->stats.refused[PBFT_NET_REFUSED_CLIENTS]++;
        allowed = false;
    }
    (void)pthread_mutex_unlock(&net->lock);
    return allowed;
}

static enum progress on_handshake(struct connection *c, struct pbft_span message)
{
    uint8_t out[PBFT_HANDSHAKE_MAX_BYTES];
    size_t out_size = 0;
    uint32_t cost = c->dialer == NULL ? pbft_channel_next_cost(c->channel) : 0;
    if (cost > 0 && !allowed(c, cost))
        return refuse(c, out, pbft_channel_refusal(PBFT_CHANNEL_BUSY, out), "busy");
    enum pbft_channel_step step = pbft_channel_step(c->channel, message, out, &out_size);
    if (step == PBFT_CHANNEL_FAIL) {
        struct pbft_span news;
        (void)pthread_mutex_lock(&c->net->lock);
        c->net->stats.handshakes_failed[pbft_channel_failure(c->channel)]++;
        connection_note_failure(c, pbft_channel_reason(c->channel));
        (void)pthread_mutex_unlock(&c->net->lock);
        if (pbft_channel_news(c->channel, &news)) owner_news(c->net, news);
        return refuse(c, out, out_size, "handshake failed");
    }
    /* FINISH must be on its way before anybody can send a record. */
    if (out_size > 0) transmit_tell(c, out, out_size, false);
    if (step == PBFT_CHANNEL_DONE) {
        struct pbft_peer peer = pbft_channel_peer(c->channel);
        (void)pthread_mutex_lock(&c->net->lock);
        bool open = connection_open(c, peer);
        (void)pthread_mutex_unlock(&c->net->lock);
        if (!open) return STOPPED;
    }
    return STEP;
}

/* ---- records ---- */

/* With the lock. The token is given up: whoever resumes takes it. */
static enum progress pause_reading(struct connection *c, uint64_t resume_ns)
{
    c->paused = true;
    c->resume_ns = resume_ns;
    c->rx_busy = false;
    c->net->paused_count++;
    c->net->stats.paused++;
    owner_poke(c->net);
    return PAUSED;
}

/* Copy frames out of the opened record; stops at the batch's bound, a bad length or an empty pool.
 */
static size_t collect(struct connection *c, struct pbft_frame **batch, bool *bad, bool *empty)
{
    struct pbft_frame_pool *pool =
        c->peer.kind == PBFT_PEER_CLIENT ? c->net->client_pool : c->net->pool;
    size_t count = 0;
    uint64_t bytes = 0;
    while (c->plain_at < c->plain_end && count < BATCH_FRAMES && bytes < BATCH_BYTES) {
        uint32_t left = c->plain_end - c->plain_at;
        uint32_t size = left < LENGTH_BYTES ? 0 : pbft_get_u32(c->in + c->plain_at);
        if (size == 0 || size > frame_max(c) || size > left - LENGTH_BYTES) {
            *bad = true;
            break;
        }
        struct pbft_frame *frame = pbft_frame_new(pool, size);
        if (frame == NULL) {
            *empty = true;
            break;
        }
        memcpy(frame->bytes, c->in + c->plain_at + LENGTH_BYTES, size);
        frame->size = size;
        batch[count++] = frame;
        bytes += size;
        c->plain_at += LENGTH_BYTES + size;
    }
    return count;
}

/* One batch of the opened record into the inbox. */
static enum progress deliver(struct connection *c)
{
    struct pbft_net *net = c->net;
    struct pbft_frame *batch[BATCH_FRAMES];
    bool bad = false;
    bool empty = false;

    (void)pthread_mutex_lock(&net->lock);
    enum progress progress = STEP;
    if (c->dead)
        progress = STOPPED;
    else if (c->inbox.bytes >= inbox_max(c))
        progress = pause_reading(c, 0);
    (void)pthread_mutex_unlock(&net->lock);
    if (progress != STEP) return progress;

    size_t count = collect(c, batch, &bad, &empty);
    size_t kept = 0;
    (void)pthread_mutex_lock(&net->lock);
    while (!c->dead && kept < count && frames_push(&c->inbox, batch[kept]))
        kept++;
    net->stats.frames_in += kept;
    if (kept > 0) connection_ready(c);
    if (c->dead) {
        progress = STOPPED;
    } else if (bad || kept < count) {
        connection_kill(c, bad ? "malformed record" : "out of memory");
        progress = STOPPED;
    } else if (empty) {
        progress = pause_reading(c, net_now() + POOL_RETRY);
    }
    (void)pthread_mutex_unlock(&net->lock);
    while (kept < count)
        pbft_frame_release(batch[kept++]);
    return progress;
}

static enum progress on_record(struct connection *c, uint32_t length)
{
    uint8_t *sealed = c->in + c->in_start + LENGTH_BYTES;
    if (!pbft_channel_open_record(c->channel, (struct pbft_span){sealed, length}, sealed + 1))
        return stop(c, "record does not open");
    c->plain_at = c->in_start + LENGTH_BYTES + 1;
    c->plain_end = c->plain_at + (length - PBFT_CHANNEL_OVERHEAD);
    c->record_end = c->in_start + LENGTH_BYTES + length;
    (void)pthread_mutex_lock(&c->net->lock);
    c->net->stats.records_in++;
    (void)pthread_mutex_unlock(&c->net->lock);
    return STEP;
}

static enum progress bad_length(struct connection *c)
{
    if (c->open) return stop(c, "length beyond its bound");
    (void)pthread_mutex_lock(&c->net->lock);
    c->net->stats.refused[PBFT_NET_REFUSED_SIZE]++;
    connection_kill(c, pbft_net_refusal_text(PBFT_NET_REFUSED_SIZE));
    (void)pthread_mutex_unlock(&c->net->lock);
    return STOPPED;
}

/* Consume the next thing in the buffer. */
static enum progress consume(struct connection *c)
{
    if (c->plain_at != 0) {
        if (c->plain_at < c->plain_end) return deliver(c);
        c->in_start = c->record_end;
        c->plain_at = 0;
        return STEP;
    }
    uint32_t have = c->in_fill - c->in_start;
    if (have < LENGTH_BYTES) return NEED_MORE;
    uint32_t length = pbft_get_u32(c->in + c->in_start);
    uint32_t least = c->open ? PBFT_CHANNEL_OVERHEAD : 1;
    uint32_t most = c->open ? record_max(c) : (uint32_t)pbft_channel_next_max(c->channel);
    if (length < least || length > most) return bad_length(c);
    if (have - LENGTH_BYTES < length) return NEED_MORE;
    if (c->open) return on_record(c, length);
    struct pbft_span message = {c->in + c->in_start + LENGTH_BYTES, length};
    enum progress progress = on_handshake(c, message);
    c->in_start += LENGTH_BYTES + length;
    return progress;
}

/* ---- reading ---- */

static bool resize(struct connection *c, uint32_t capacity)
{
    uint8_t *in = realloc(c->in, capacity);
    if (in == NULL) return false;
    c->in = in;
    c->in_capacity = capacity;
    return true;
}

/* Room for at least one more byte. */
static bool make_room(struct connection *c)
{
    if (c->in_start > 0) {
        memmove(c->in, c->in + c->in_start, c->in_fill - c->in_start);
        c->in_fill -= c->in_start;
        c->in_start = 0;
    }
    if (c->in_capacity > BUFFER_LARGE && c->in_fill <= LENGTH_BYTES)
        (void)resize(c, BUFFER_LARGE); /* a big record has passed */
    bool full = c->in_fill == c->in_capacity;
    if (!full && !(c->in_large && c->in_capacity < BUFFER_LARGE)) return true;
    c->in_large = false;
    uint32_t capacity = c->in_capacity * 2;
    if (capacity < BUFFER_SMALL) capacity = BUFFER_SMALL;
    if (c->in_capacity >= BUFFER_SMALL && capacity < BUFFER_LARGE) capacity = BUFFER_LARGE;
    uint32_t most = LENGTH_BYTES + record_max(c);
    if (capacity > most) capacity = most;
    PBFT_ASSERT(capacity > c->in_fill); /* else the record would be complete */
    return resize(c, capacity) || !full;
}

void receive_more(struct connection *c)
{
    enum progress progress = STEP;
    while (progress == STEP)
        progress = consume(c);
    if (progress == PAUSED) return; /* the token went with it */

    if (progress == NEED_MORE) {
        bool consumed = c->in_start > 0;
        bool room = make_room(c);
        (void)pthread_mutex_lock(&c->net->lock);
        if (!room) connection_kill(c, "out of memory");
        if (c->in_fill == 0)
            c->record_ns = 0;
        else if (consumed || c->record_ns == 0)
            c->record_ns = net_now();
        bool dead = c->dead;
        (void)pthread_mutex_unlock(&c->net->lock);
        if (!dead && connection_start(c, c->rx, c->in + c->in_fill, c->in_capacity - c->in_fill))
            return; /* the callback has the token */
    }
    (void)pthread_mutex_lock(&c->net->lock);
    c->rx_busy = false;
    (void)pthread_mutex_unlock(&c->net->lock);
}

void receive_resume(struct connection *c)
{
    receive_more(c);
}

/* The other side or the network ended it; the token is ours. */
static void lost(struct connection *c, int error)
{
    struct pbft_net *net = c->net;
    (void)pthread_mutex_lock(&net->lock);
    c->rx_busy = false;
    if (!c->dead) {
        const char *reason = error == NNG_ECONNSHUT ? "closed by the other side" : STREAM_LOST;
        if (c->handshaking && !c->ending) {
            enum pbft_channel_failure failure = pbft_channel_failure(c->channel);
            if (failure != PBFT_CHANNEL_NO_FAILURE) {
                net->stats.handshakes_failed[failure]++;
                connection_note_failure(c, pbft_channel_reason(c->channel));
            } else {
                net->stats.refused[PBFT_NET_REFUSED_CLOSED]++;
            }
        }
        connection_kill(c, reason);
    }
    (void)pthread_mutex_unlock(&net->lock);
}

void receive_callback(void *argument)
{
    struct connection *c = argument;
    int error = nng_aio_result(c->rx);
    if (error != 0) {
        lost(c, error);
        return;
    }
    size_t count = nng_aio_count(c->rx);
    PBFT_ASSERT(count > 0 && count <= c->in_capacity - c->in_fill);
    c->in_fill += (uint32_t)count;
    c->in_large = c->open && c->in_fill == c->in_capacity;
    (void)pthread_mutex_lock(&c->net->lock);
    c->last_in_ns = net_now();
    c->net->stats.bytes_in += count;
    (void)pthread_mutex_unlock(&c->net->lock);
    receive_more(c);
}
