/* net/dial.c - one dialer for each replica that we have to reach; back-off with jitter. */
#include "net/net_internal.h"

#include <nng/supplemental/util/platform.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(struct dialer *d, const char *text)
{
    struct replica_slot *slot = &d->net->replicas[d->id];
    (void)snprintf(slot->last_failure, sizeof(slot->last_failure), "%.95s", text);
}

void dialer_later(struct dialer *d)
{
    const struct pbft_net_limits *limits = &d->net->limits;
    if (d->url == NULL) {
        d->state = DIALER_IDLE;
        return;
    }
    /* Half of it fixed, half of it chance: replicas that lost each other must not come in step. */
    uint64_t half = d->backoff_ns / 2;
    d->next_ns = net_now() + half + half / 1024 * (nng_random() & 1023u);
    d->backoff_ns *= 2;
    if (d->backoff_ns > limits->redial_max_ns) d->backoff_ns = limits->redial_max_ns;
    d->state = DIALER_WAITING;
    service_poke(d->net);
}

static void dial_callback(void *argument)
{
    struct dialer *d = argument;
    struct pbft_net *net = d->net;
    int error;
    nng_stream *stream = net_stream_of(d->aio, &error);
    (void)pthread_mutex_lock(&net->lock);
    if (error == 0) {
        d->state = DIALER_CONNECTED;
    } else {
        net->stats.dials_failed++;
        note(d, nng_strerror(error));
        dialer_later(d);
    }
    (void)pthread_mutex_unlock(&net->lock);
    if (stream != NULL) connection_begin(net, stream, d, 0);
}

void dialer_start(struct dialer *d)
{
    struct pbft_net *net = d->net;
    char url[256];
    (void)pthread_mutex_lock(&net->lock);
    bool changed = d->url_changed;
    d->url_changed = false;
    (void)snprintf(url, sizeof(url), "%s", d->url);
    (void)pthread_mutex_unlock(&net->lock);

    int failed = 0;
    if (changed && d->stream != NULL) {
        nng_stream_dialer_close(d->stream);
        nng_stream_dialer_free(d->stream);
        d->stream = NULL;
    }
    if (d->stream == NULL) {
        failed = nng_stream_dialer_alloc(&d->stream, url);
        if (failed == 0) failed = nng_stream_dialer_set_bool(d->stream, NNG_OPT_TCP_NODELAY, true);
    }
    if (failed == 0) {
        nng_aio_set_timeout(d->aio, (nng_duration)(net->limits.handshake_timeout_ns / MILLISECOND));
        nng_stream_dialer_dial(d->stream, d->aio);
        return;
    }
    (void)pthread_mutex_lock(&net->lock);
    net->stats.dials_failed++;
    note(d, nng_strerror(failed));
    dialer_later(d);
    (void)pthread_mutex_unlock(&net->lock);
}

enum pbft_status dialer_init(struct pbft_net *net, pbft_id id)
{
    struct dialer *d = &net->dialers[id];
    d->net = net;
    d->id = id;
    d->backoff_ns = net->limits.redial_min_ns;
    return nng_aio_alloc(&d->aio, dial_callback, d) == 0 ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
}

void dialer_close(struct dialer *d)
{
    if (d->stream != NULL) nng_stream_dialer_close(d->stream);
    if (d->aio != NULL) {
        nng_aio_stop(d->aio);
        nng_aio_free(d->aio);
    }
    if (d->stream != NULL) nng_stream_dialer_free(d->stream);
    free(d->url);
    memset(d, 0, sizeof(*d));
}
