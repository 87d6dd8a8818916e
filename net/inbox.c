/*
 * net/inbox.c - what the owner sees: events of all connections, in turn.
 *
 * Replicas and clients have a ring each and alternate, so a thousand busy clients cannot push votes
 * aside; within a ring each connection gives one frame a turn.
 */
#include "net/net_internal.h"

#include <string.h>
#include <time.h>

#define PAUSE_LOOK (2 * MILLISECOND)
/* Then clients wait for the next poll: no vote waits for more than this and one frame. */
#define CLIENT_BYTES_PER_POLL 1048576u

uint64_t net_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

void owner_poke(struct pbft_net *net)
{
    if (!net->owner_waiting) return;
    net->owner_waiting = false; /* one wake-up, however many events follow */
    (void)pthread_cond_signal(&net->owner_wake);
}

void pbft_net_wake(struct pbft_net *net)
{
    (void)pthread_mutex_lock(&net->lock);
    net->woken = true;
    owner_poke(net);
    (void)pthread_mutex_unlock(&net->lock);
}

/* One is as good as another; what finds no place is proven again at the next redial. */
void owner_news(struct pbft_net *net, struct pbft_span proof)
{
    struct pbft_frame *frame = pbft_frame_new(net->pool, (uint32_t)proof.size);
    if (frame != NULL) {
        memcpy(frame->bytes, proof.data, proof.size);
        frame->size = (uint32_t)proof.size;
    }
    (void)pthread_mutex_lock(&net->lock);
    if (frame == NULL) net->stats.refused[PBFT_NET_REFUSED_MEMORY]++;
    if (net->news == NULL) {
        net->news = frame;
        frame = NULL;
    }
    if (net->news != NULL) owner_poke(net);
    (void)pthread_mutex_unlock(&net->lock);
    pbft_frame_release(frame);
}

static struct connection *ring_take(struct pbft_net *net, bool clients_too)
{
    unsigned turn = clients_too ? net->turn ^ 1u : 0;
    if (clients_too && net->ready[turn].first == NULL) turn ^= 1u;
    struct connection *c = net->ready[turn].first;
    net->turn = turn;
    if (c == NULL) return NULL;
    net->ready[turn].first = c->ring_next;
    if (net->ready[turn].first == NULL) net->ready[turn].last = NULL;
    c->in_ring = false;
    return c;
}

static struct connection **shown_of(struct connection *c)
{
    return c->peer.kind == PBFT_PEER_REPLICA ? &c->net->replicas[c->peer.index].shown : NULL;
}

/* The next event of a connection that was taken off its ring; false when it has none to tell. */
static bool tell(struct connection *c, struct pbft_net_event *event)
{
    struct connection **shown = shown_of(c);
    *event = (struct pbft_net_event){PBFT_NET_UP, c->peer, NULL, NULL};
    if (!c->up_told) {
        if (c->dead) {
            connection_done(c);
            return false;
        }
        if (shown != NULL && *shown != NULL) {
            connection_ready(c); /* its predecessor's DOWN comes first, and is in the ring too */
            return false;
        }
        c->up_told = true;
        c->up_due = false;
        if (shown != NULL) *shown = c;
    } else if (c->inbox.count > 0) {
        event->kind = PBFT_NET_FRAME;
        event->frame = frames_pop(&c->inbox);
    } else if (c->dead) {
        event->kind = PBFT_NET_DOWN;
        event->reason = c->reason;
        if (shown != NULL) *shown = NULL;
        connection_done(c);
        return true;
    } else {
        return false;
    }
    if (c->inbox.count > 0 || c->dead) connection_ready(c);
    return true;
}

static size_t gather(struct pbft_net *net, struct pbft_net_event *events, size_t max)
{
    size_t count = 0;
    uint64_t client_bytes = 0;
    if (net->news != NULL && max > 0) {
        events[count++] = (struct pbft_net_event){.kind = PBFT_NET_EPOCH, .frame = net->news};
        net->news = NULL;
    }
    while (count < max) {
        struct connection *c = ring_take(net, client_bytes < CLIENT_BYTES_PER_POLL);
        if (c == NULL) break;
        if (!tell(c, &events[count])) continue;
        const struct pbft_net_event *e = &events[count++];
        if (e->kind == PBFT_NET_FRAME && e->peer.kind == PBFT_PEER_CLIENT)
            client_bytes += e->frame->size;
    }
    return count;
}

/* A connection that may read on; takes its rx token. */
static struct connection *find_resumable(struct pbft_net *net)
{
    if (net->paused_count == 0) return NULL;
    uint64_t now = net_now();
    for (struct connection *c = net->connections; c != NULL; c = c->next) {
        if (!c->paused || c->resume_ns > now) continue;
        uint64_t most = c->peer.kind == PBFT_PEER_CLIENT ? net->limits.client_in_max_bytes
                                                         : net->limits.in_max_bytes;
        if (c->inbox.bytes > most / 2) continue;
        c->paused = false;
        net->paused_count--;
        c->rx_busy = true;
        c->last_in_ns = now; /* we were deaf, the peer was not silent */
        return c;
    }
    return NULL;
}

static void resume(struct pbft_net *net)
{
    for (struct connection *c = find_resumable(net); c != NULL; c = find_resumable(net)) {
        (void)pthread_mutex_unlock(&net->lock);
        receive_resume(c);
        (void)pthread_mutex_lock(&net->lock);
    }
}

static void wait_until(struct pbft_net *net, uint64_t deadline_ns)
{
    net->owner_waiting = true;
    if (deadline_ns == UINT64_MAX) {
        (void)pthread_cond_wait(&net->owner_wake, &net->lock);
    } else {
        struct timespec until = {(time_t)(deadline_ns / NANOSECONDS),
                                 (long)(deadline_ns % NANOSECONDS)};
        (void)pthread_cond_timedwait(&net->owner_wake, &net->lock, &until);
    }
    net->owner_waiting = false;
}

size_t pbft_net_poll(struct pbft_net *net, uint64_t timeout_ns, struct pbft_net_event *events,
                     size_t max)
{
    uint64_t now = net_now();
    uint64_t deadline = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
    size_t count = 0;
    pbft_net_flush(net);
    (void)pthread_mutex_lock(&net->lock);
    for (;;) {
        resume(net);
        count = gather(net, events, max);
        if (count > 0 || net->woken) break;
        now = net_now();
        if (now >= deadline) break;
        uint64_t until = deadline;
        if (net->paused_count > 0 && until - now > PAUSE_LOOK) until = now + PAUSE_LOOK;
        wait_until(net, until);
    }
    net->woken = false;
    (void)pthread_mutex_unlock(&net->lock);
    return count;
}

bool pbft_net_disconnect(struct pbft_net *net, uint64_t connection, const char *reason)
{
    (void)pthread_mutex_lock(&net->lock);
    struct connection *c = connection_find(net, connection);
    if (c != NULL) connection_kill(c, reason);
    (void)pthread_mutex_unlock(&net->lock);
    return c != NULL;
}
