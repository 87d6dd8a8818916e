/* net/janitor.c - the service thread: time-outs, pings, redials, and the end of connections. */
#include "net/net_internal.h"

#include <time.h>

#define SWEEP_NS     (50 * MILLISECOND)
#define REAP_NS      (1 * MILLISECOND)
#define RECORD_TIMES 6u /* a record may take so many times dead_ns */

void service_poke(struct pbft_net *net)
{
    if (net->service_due) return;
    net->service_due = true;
    (void)pthread_cond_signal(&net->service_wake);
}

/* Is it over? Marks a ping as due on the way. */
static const char *verdict_of_time(struct connection *c, uint64_t now)
{
    const struct pbft_net_limits *limits = &c->net->limits;
    if (!c->open) {
        if (now - c->born_ns < limits->handshake_timeout_ns) return NULL;
        if (!c->ending) c->net->stats.refused[PBFT_NET_REFUSED_TIMEOUT]++;
        return pbft_net_refusal_text(PBFT_NET_REFUSED_TIMEOUT);
    }
    if (now - c->last_out_ns >= limits->ping_ns) c->ping_due = true;
    if (c->paused || c->rx_busy == false) return NULL; /* it is we who do not read */
    if (now > c->last_in_ns && now - c->last_in_ns >= limits->dead_ns) return "silent";
    if (c->record_ns != 0 && now > c->record_ns &&
        now - c->record_ns >= RECORD_TIMES * limits->dead_ns)
        return "record not completed";
    return NULL;
}

/* With the lock, which it gives up for writes. The list may grow at its head meanwhile, and only
 * reaped connections, which is this thread's doing, leave it. */
static void sweep(struct pbft_net *net, uint64_t now)
{
    for (struct connection *c = net->connections; c != NULL; c = c->next) {
        if (c->dead || c->reaped) continue;
        const char *reason = verdict_of_time(c, now);
        if (reason != NULL) {
            connection_kill(c, reason);
        } else if (c->ping_due && transmit_claim(c)) {
            (void)pthread_mutex_unlock(&net->lock);
            transmit_run(c);
            (void)pthread_mutex_lock(&net->lock);
        }
    }
}

/* With the lock, which it gives up. False: some are still in other hands. */
static bool reap_dead(struct pbft_net *net)
{
    struct connection *c = net->dead;
    bool all = true;
    net->dead = NULL;
    while (c != NULL) {
        struct connection *next = c->dead_next;
        (void)pthread_mutex_unlock(&net->lock);
        bool reaped = connection_reap(c);
        (void)pthread_mutex_lock(&net->lock);
        if (reaped) {
            c->reaped = true;
            connection_forget(c);
        } else {
            c->dead_next = net->dead;
            net->dead = c;
            all = false;
        }
        c = next;
    }
    return all;
}

static void earlier(uint64_t *when, uint64_t other)
{
    if (other < *when) *when = other;
}

/* With the lock, which it gives up. Starts what is due; returns when the next is. */
static uint64_t run_timers(struct pbft_net *net)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < net->n; i++) {
        struct dialer *d = &net->dialers[i];
        if (d->state != DIALER_WAITING) continue;
        if (d->next_ns > net_now()) {
            earlier(&next, d->next_ns);
            continue;
        }
        d->state = DIALER_DIALING;
        (void)pthread_mutex_unlock(&net->lock);
        dialer_start(d);
        (void)pthread_mutex_lock(&net->lock);
    }
    for (unsigned i = 0; i < LISTENERS; i++) {
        struct listener *l = &net->listeners[i];
        if (l->retry_ns == 0) continue;
        if (l->retry_ns > net_now()) {
            earlier(&next, l->retry_ns);
            continue;
        }
        l->retry_ns = 0;
        (void)pthread_mutex_unlock(&net->lock);
        listener_accept(l);
        (void)pthread_mutex_lock(&net->lock);
    }
    return next;
}

static bool all_reaped(const struct pbft_net *net)
{
    for (const struct connection *c = net->connections; c != NULL; c = c->next)
        if (!c->reaped) return false;
    return true;
}

static void wait_until(struct pbft_net *net, uint64_t deadline_ns)
{
    if (net->service_due) return;
    if (deadline_ns == UINT64_MAX) {
        (void)pthread_cond_wait(&net->service_wake, &net->lock);
        return;
    }
    struct timespec until = {(time_t)(deadline_ns / NANOSECONDS),
                             (long)(deadline_ns % NANOSECONDS)};
    (void)pthread_cond_timedwait(&net->service_wake, &net->lock, &until);
}

void *service_run(void *argument)
{
    struct pbft_net *net = argument;
    uint64_t next_sweep = 0;
    (void)pthread_mutex_lock(&net->lock);
    for (;;) {
        net->service_due = false;
        uint64_t next = UINT64_MAX;
        if (net->closing) {
            for (struct connection *c = net->connections; c != NULL; c = c->next)
                connection_kill(c, "we close");
        } else {
            next = run_timers(net);
            uint64_t now = net_now();
            if (now >= next_sweep) {
                sweep(net, now);
                next_sweep = now + SWEEP_NS;
            }
            if (net->connections != NULL) earlier(&next, next_sweep);
        }
        if (!reap_dead(net)) earlier(&next, net_now() + REAP_NS);
        if (net->closing && all_reaped(net)) break;
        wait_until(net, next);
    }
    (void)pthread_mutex_unlock(&net->lock);
    return NULL;
}
