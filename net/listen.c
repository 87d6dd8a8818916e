/* net/listen.c - the two listeners. Nothing ends the accept loop but closing. */
#include "net/net_internal.h"

#include <stdio.h>
#include <string.h>

#define RETRY_NS (50 * MILLISECOND)

static void accept_callback(void *argument)
{
    struct listener *l = argument;
    struct pbft_net *net = l->net;
    int error;
    nng_stream *stream = net_stream_of(l->aio, &error);
    if (stream != NULL) {
        connection_begin(net, stream, NULL, l->which);
        listener_accept(l);
        return;
    }
    /* Out of descriptors or memory: both pass. */
    (void)pthread_mutex_lock(&net->lock);
    if (!net->closing) {
        net->stats.accepts_failed++;
        l->retry_ns = net_now() + RETRY_NS;
        service_poke(net);
    }
    (void)pthread_mutex_unlock(&net->lock);
}

void listener_accept(struct listener *l)
{
    (void)pthread_mutex_lock(&l->net->lock);
    bool closing = l->net->closing;
    (void)pthread_mutex_unlock(&l->net->lock);
    if (!closing) nng_stream_listener_accept(l->stream, l->aio);
}

enum pbft_status listener_open(struct pbft_net *net, unsigned which, const char *url,
                               char error[256])
{
    struct listener *l = &net->listeners[which];
    int port = 0;
    l->net = net;
    l->which = which;
    int failed = strncmp(url, "tcp://", 6) == 0 ? 0 : NNG_EADDRINVAL;
    if (failed == 0) failed = nng_aio_alloc(&l->aio, accept_callback, l);
    if (failed == 0) failed = nng_stream_listener_alloc(&l->stream, url);
    if (failed == 0) failed = nng_stream_listener_set_bool(l->stream, NNG_OPT_TCP_NODELAY, true);
    if (failed == 0) failed = nng_stream_listener_listen(l->stream);
    if (failed == 0) failed = nng_stream_listener_get_int(l->stream, NNG_OPT_TCP_BOUND_PORT, &port);
    if (failed != 0) {
        (void)snprintf(error, 256, "Cannot listen on %.120s: %s.", url, nng_strerror(failed));
        return failed == NNG_ENOMEM ? PBFT_STATUS_MEMORY : PBFT_STATUS_NETWORK;
    }
    l->port = (uint16_t)port;
    return PBFT_STATUS_OK;
}

void listener_close(struct listener *l)
{
    if (l->stream != NULL) nng_stream_listener_close(l->stream);
    if (l->aio != NULL) {
        nng_aio_stop(l->aio);
        nng_aio_free(l->aio);
    }
    if (l->stream != NULL) nng_stream_listener_free(l->stream);
    l->stream = NULL;
    l->aio = NULL;
}
