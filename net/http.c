/* net/http.c - GET endpoints over nng's HTTP server. */
#include "net/http.h"

#include <nng/nng.h>
#include <nng/supplemental/http/http.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINTS_MAX 16u

struct endpoint {
    struct pbft_http *http;
    pbft_http_get_fn get;
    void *context;
};

struct pbft_http {
    nng_http_server *server;
    uint16_t port;
    bool started;
    uint32_t count;
    struct endpoint endpoints[ENDPOINTS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t idle;
    bool closing;
    uint32_t running; /* handlers */
    uint32_t holders; /* we, and each handler that nng still holds */
};

static void drop(struct pbft_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    bool last = --http->holders == 0;
    (void)pthread_mutex_unlock(&http->lock);
    if (!last) return;
    (void)pthread_cond_destroy(&http->idle);
    (void)pthread_mutex_destroy(&http->lock);
    free(http);
}

/* nng lets go of a handler when its last connection has ended, which may be after close. */
static void handler_freed(void *argument)
{
    struct endpoint *endpoint = argument;
    drop(endpoint->http);
}

static int respond(nng_http_res *response, const struct pbft_http_reply *reply)
{
    const char *type = reply->content_type;
    int failed = nng_http_res_set_status(response, reply->status == 0 ? 200 : reply->status);
    if (failed == 0)
        failed = nng_http_res_set_header(response, "Content-Type",
                                         type != NULL ? type : "text/plain; charset=utf-8");
    if (failed == 0) failed = nng_http_res_set_header(response, "Cache-Control", "no-store");
    if (failed != 0) return failed;
    if (reply->body == NULL || reply->body_bytes == 0) /* nng cannot copy nothing */
        return nng_http_res_set_header(response, "Content-Length", "0");
    return nng_http_res_copy_data(response, reply->body, reply->body_bytes);
}

static bool enter(struct pbft_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    bool open = !http->closing;
    if (open) http->running++;
    (void)pthread_mutex_unlock(&http->lock);
    return open;
}

static void leave(struct pbft_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    if (--http->running == 0) (void)pthread_cond_broadcast(&http->idle);
    (void)pthread_mutex_unlock(&http->lock);
}

static void serve(nng_aio *aio)
{
    nng_http_req *request = nng_aio_get_input(aio, 0);
    const nng_http_handler *handler = nng_aio_get_input(aio, 1);
    struct endpoint *endpoint = nng_http_handler_get_data((nng_http_handler *)handler);
    nng_http_res *response = NULL;
    int failed = nng_http_res_alloc(&response);
    if (failed == 0) {
        const char *uri = nng_http_req_get_uri(request);
        const char *query = uri == NULL ? NULL : strchr(uri, '?');
        struct pbft_http_reply reply = {0, NULL, NULL, 0};
        if (enter(endpoint->http)) {
            endpoint->get(endpoint->context, query == NULL ? "" : query + 1, &reply);
            leave(endpoint->http);
        } else {
            reply.status = 503;
        }
        failed = respond(response, &reply);
        free(reply.body);
    }
    if (failed != 0) {
        if (response != NULL) nng_http_res_free(response);
        nng_aio_finish(aio, failed);
        return;
    }
    (void)nng_aio_set_output(aio, 0, response);
    nng_aio_finish(aio, 0);
}

enum pbft_status pbft_http_open(struct pbft_http **out, const char *address, char error[256])
{
    char text[256];
    nng_url *url = NULL;
    *out = NULL;
    struct pbft_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        (void)snprintf(error, 256, "Out of memory.");
        return PBFT_STATUS_MEMORY;
    }
    http->holders = 1;
    (void)pthread_mutex_init(&http->lock, NULL);
    (void)pthread_cond_init(&http->idle, NULL);
    int failed = snprintf(text, sizeof(text), "http://%s", address) < (int)sizeof(text)
                     ? nng_url_parse(&url, text)
                     : NNG_EADDRINVAL;
    if (failed == 0) {
        failed = nng_http_server_hold(&http->server, url);
        nng_url_free(url);
    }
    if (failed != 0) {
        (void)snprintf(error, 256, "Cannot serve HTTP on %.120s: %s.", address,
                       nng_strerror(failed));
        drop(http);
        return failed == NNG_ENOMEM ? PBFT_STATUS_MEMORY : PBFT_STATUS_NETWORK;
    }
    *out = http;
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_http_get(struct pbft_http *http, const char *path, pbft_http_get_fn get,
                               void *context)
{
    nng_http_handler *handler = NULL;
    if (http->count == ENDPOINTS_MAX || http->started) return PBFT_STATUS_FULL;
    struct endpoint *endpoint = &http->endpoints[http->count];
    *endpoint = (struct endpoint){http, get, context};
    if (nng_http_handler_alloc(&handler, path, serve) != 0) return PBFT_STATUS_MEMORY;
    /* The handler holds us from here on, and gives us back through handler_freed(). */
    if (nng_http_handler_set_data(handler, endpoint, handler_freed) != 0) {
        nng_http_handler_free(handler);
        return PBFT_STATUS_MEMORY;
    }
    http->holders++;
    if (nng_http_server_add_handler(http->server, handler) != 0) {
        nng_http_handler_free(handler);
        return PBFT_STATUS_ARGUMENT;
    }
    http->count++;
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_http_start(struct pbft_http *http, char error[256])
{
    int failed = nng_http_server_start(http->server);
    if (failed != 0) {
        (void)snprintf(error, 256, "Cannot serve HTTP: %s.", nng_strerror(failed));
        return PBFT_STATUS_NETWORK;
    }
    http->started = true;
    nng_sockaddr bound;
    if (nng_http_server_get_addr(http->server, &bound) == 0) {
        uint16_t network_order =
            bound.s_family == NNG_AF_INET6 ? bound.s_in6.sa_port : bound.s_in.sa_port;
        uint8_t bytes[2];
        memcpy(bytes, &network_order, sizeof(bytes));
        http->port = (uint16_t)(bytes[0] << 8 | bytes[1]);
    }
    return PBFT_STATUS_OK;
}

uint16_t pbft_http_port(const struct pbft_http *http)
{
    return http->port;
}

void pbft_http_close(struct pbft_http *http)
{
    if (http == NULL) return;
    (void)pthread_mutex_lock(&http->lock);
    http->closing = true;
    while (http->running > 0)
        (void)pthread_cond_wait(&http->idle, &http->lock);
    (void)pthread_mutex_unlock(&http->lock);
    if (http->started) nng_http_server_stop(http->server);
    nng_http_server_release(http->server);
    drop(http);
}
