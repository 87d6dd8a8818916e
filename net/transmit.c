/*
 * net/transmit.c - frames out: bounded queues, coalesced into one sealed record for each write.
 *
 * Whoever finds the tx token free seals and writes; while a write is under way its callback goes on
 * with what has gathered meanwhile (NOTES B: one write for 64 messages costs a 36th for each).
 */
#include "net/net_internal.h"

#include <stdlib.h>
#include <string.h>

bool transmit_claim(struct connection *c)
{
    if (c->dead || c->tx_busy) return false;
    bool due = c->tell_size > 0 || (c->open && (c->outbox.count > 0 || c->ping_due));
    if (due) c->tx_busy = true;
    return due;
}

/* With the lock: the frames of the next record; returns the plaintext's size. */
static uint32_t take(struct connection *c, struct pbft_frame **batch, size_t *count)
{
    uint32_t size = 0;
    *count = 0;
    while (c->outbox.count > 0 && *count < RECORD_FRAMES_MAX) {
        const struct pbft_frame *next = c->outbox.at[c->outbox.head];
        if (*count > 0 && (uint64_t)size + LENGTH_BYTES + next->size > RECORD_PLAIN_MAX) break;
        batch[(*count)++] = frames_pop(&c->outbox);
        size += LENGTH_BYTES + next->size;
        if (size > RECORD_PLAIN_MAX) break; /* a large frame goes alone */
    }
    return size;
}

static bool out_room(struct connection *c, uint32_t size)
{
    if (size <= c->out_capacity) return true;
    uint32_t capacity = size;
    if (capacity <= BUFFER_SMALL)
        capacity = BUFFER_SMALL;
    else if (capacity <= BUFFER_LARGE)
        capacity = BUFFER_LARGE;
    free(c->out);
    c->out = malloc(capacity);
    c->out_capacity = c->out == NULL ? 0 : capacity;
    return c->out != NULL;
}

static bool seal(struct connection *c, struct pbft_frame *const *batch, size_t count,
                 uint32_t plain)
{
    uint32_t record = plain + PBFT_CHANNEL_OVERHEAD;
    if (!out_room(c, LENGTH_BYTES + record)) return false;
    pbft_put_u32(c->out, record);
    uint8_t *start = c->out + LENGTH_BYTES + 1; /* sealed where it lies */
    uint8_t *at = start;
    for (size_t i = 0; i < count; i++) {
        pbft_put_u32(at, batch[i]->size);
        memcpy(at + LENGTH_BYTES, batch[i]->bytes, batch[i]->size);
        at += LENGTH_BYTES + batch[i]->size;
    }
    pbft_channel_seal(c->channel, (struct pbft_span){start, plain}, c->out + LENGTH_BYTES);
    c->out_size = LENGTH_BYTES + record;
    return true;
}

static void give_up_token(struct connection *c, const char *reason)
{
    (void)pthread_mutex_lock(&c->net->lock);
    if (reason != NULL) connection_kill(c, reason);
    c->tx_busy = false;
    (void)pthread_mutex_unlock(&c->net->lock);
}

/* What is due next, into the out-buffer. False: the token is given up. */
static bool fill(struct connection *c)
{
    struct pbft_net *net = c->net;
    struct pbft_frame *batch[RECORD_FRAMES_MAX];
    size_t count = 0;
    uint32_t plain = 0;

    (void)pthread_mutex_lock(&net->lock);
    bool dead = c->dead;
    uint8_t *tell = c->tell;
    uint32_t tell_size = c->tell_size;
    if (tell_size > 0) {
        c->tell = NULL;
        c->tell_size = 0;
    } else if (!dead) {
        plain = take(c, batch, &count);
        c->ping_due = false;
        net->stats.records_out++;
        net->stats.frames_out += count;
    }
    c->last_out_ns = net_now();
    (void)pthread_mutex_unlock(&net->lock);

    bool built = false;
    if (!dead && tell_size > 0) {
        built = out_room(c, tell_size);
        if (built) memcpy(c->out, tell, tell_size);
        c->out_size = tell_size;
    } else if (!dead) {
        built = seal(c, batch, count, plain);
    }
    for (size_t i = 0; i < count; i++)
        pbft_frame_release(batch[i]);
    free(tell);
    c->out_sent = 0;
    if (!built) give_up_token(c, dead ? NULL : "out of memory");
    return built;
}

static void start_rest(struct connection *c)
{
    if (!connection_start(c, c->tx, c->out + c->out_sent, c->out_size - c->out_sent))
        give_up_token(c, NULL);
}

/* So much more was written. True: all of it, the token is ours still, and more is due. */
static bool written(struct connection *c, size_t count)
{
    PBFT_ASSERT(count <= c->out_size - c->out_sent);
    c->out_sent += (uint32_t)count;
    bool complete = c->out_sent == c->out_size;
    if (complete && c->out_capacity > BUFFER_LARGE) {
        free(c->out);
        c->out = NULL;
        c->out_capacity = 0;
    }
    (void)pthread_mutex_lock(&c->net->lock);
    c->net->stats.bytes_out += count;
    bool again = false;
    if (complete) {
        c->tx_busy = false;
        again = transmit_claim(c);
        if (!again && c->ending) connection_kill(c, "handshake failed");
    }
    (void)pthread_mutex_unlock(&c->net->lock);
    if (!complete) start_rest(c);
    return again;
}

/* Mostly one record is due and the socket takes it: no callback, which would wake two threads for
 * nothing. The rest of a burst, and what has to wait, is left to nng's threads. */
void transmit_run(struct connection *c)
{
    if (!fill(c)) return;
    if (written(c, connection_write(c, c->out, c->out_size)) && fill(c)) start_rest(c);
}

void transmit_callback(void *argument)
{
    struct connection *c = argument;
    if (nng_aio_result(c->tx) != 0) {
        give_up_token(c, STREAM_LOST);
        return;
    }
    if (written(c, nng_aio_count(c->tx)) && fill(c)) start_rest(c);
}

void transmit_tell(struct connection *c, const uint8_t *bytes, size_t size, bool ending)
{
    PBFT_ASSERT(size > 0 && size <= PBFT_HANDSHAKE_MAX_BYTES);
    uint8_t *tell = malloc(LENGTH_BYTES + size);
    if (tell != NULL) {
        pbft_put_u32(tell, (uint32_t)size);
        memcpy(tell + LENGTH_BYTES, bytes, size);
    }
    (void)pthread_mutex_lock(&c->net->lock);
    /* A handshake alternates; at most one message waits for the write before it. */
    PBFT_ASSERT(c->tell == NULL);
    c->tell = tell;
    c->tell_size = tell == NULL ? 0 : LENGTH_BYTES + (uint32_t)size;
    c->ending = ending;
    if (tell == NULL) connection_kill(c, "out of memory");
    bool claimed = transmit_claim(c);
    (void)pthread_mutex_unlock(&c->net->lock);
    if (claimed) transmit_run(c);
}

/* ---- the owner's side ---- */

static struct connection *target(struct pbft_net *net, const struct pbft_peer *to)
{
    if (to->connection != 0) return connection_find(net, to->connection);
    if (to->kind != PBFT_PEER_REPLICA || to->index >= net->n) return NULL;
    return net->replicas[to->index].current;
}

static void count_drop(struct pbft_net *net, const struct pbft_peer *to, bool full)
{
    if (full)
        net->stats.dropped_full++;
    else
        net->stats.dropped_down++;
    if (to->kind == PBFT_PEER_REPLICA && to->index < net->n) net->replicas[to->index].dropped++;
}

/* With the lock. `*run` names a connection whose token was claimed: transmit_run() it. */
static bool queue(struct pbft_net *net, const struct pbft_peer *to, struct pbft_frame *frame,
                  struct connection **run)
{
    struct connection *c = target(net, to);
    *run = NULL;
    if (c == NULL || c->dead) {
        count_drop(net, to, false);
        return false;
    }
    uint32_t most = net->replica ? net->limits.frame_max_bytes : net->limits.client_frame_max_bytes;
    bool fits = frame->size <= most && c->outbox.count < net->limits.out_max_frames &&
                c->outbox.bytes + frame->size + FRAME_COST <= net->limits.out_max_bytes;
    if (!fits || !frames_push(&c->outbox, frame)) {
        count_drop(net, to, true);
        return false;
    }
    (void)pbft_frame_retain(frame);
    if (c->outbox.bytes >= RECORD_PLAIN_MAX && transmit_claim(c)) {
        *run = c; /* a whole record: no reason to wait */
    } else if (!c->dirty && !c->tx_busy) {
        c->dirty = true;
        c->dirty_next = net->dirty;
        net->dirty = c;
    }
    return true;
}

bool pbft_net_send(struct pbft_net *net, const struct pbft_peer *to, struct pbft_frame *frame)
{
    struct connection *run = NULL;
    PBFT_ASSERT(frame->size > 0 && frame->size <= PBFT_FRAME_MAX_BYTES);
    (void)pthread_mutex_lock(&net->lock);
    bool queued = queue(net, to, frame, &run);
    (void)pthread_mutex_unlock(&net->lock);
    if (run != NULL) transmit_run(run);
    return queued;
}

pbft_signers pbft_net_broadcast(struct pbft_net *net, pbft_signers to, struct pbft_frame *frame)
{
    struct connection *run[PBFT_REPLICAS_MAX];
    size_t count = 0;
    pbft_signers took = 0;
    PBFT_ASSERT(frame->size > 0 && frame->size <= PBFT_FRAME_MAX_BYTES);
    (void)pthread_mutex_lock(&net->lock);
    for (pbft_id i = 0; i < net->n; i++) {
        if (!pbft_signers_has(to, i) || (net->replica && i == net->id)) continue;
        struct pbft_peer peer = {PBFT_PEER_REPLICA, i, 0};
        if (queue(net, &peer, frame, &run[count])) took |= pbft_signers_of(i);
        if (run[count] != NULL) count++;
    }
    (void)pthread_mutex_unlock(&net->lock);
    for (size_t i = 0; i < count; i++)
        transmit_run(run[i]);
    return took;
}

void pbft_net_flush(struct pbft_net *net)
{
    (void)pthread_mutex_lock(&net->lock);
    while (net->dirty != NULL) {
        struct connection *c = net->dirty;
        net->dirty = c->dirty_next;
        c->dirty = false;
        if (!transmit_claim(c)) continue;
        (void)pthread_mutex_unlock(&net->lock);
        transmit_run(c);
        (void)pthread_mutex_lock(&net->lock);
    }
    (void)pthread_mutex_unlock(&net->lock);
}
