/* The endpoints on admin_listen. Handlers run on nng's threads: copies only. */
#include "replica/runtime_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON    "application/json"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"
#define HTML    "text/html; charset=utf-8"

static void answer(struct pbft_http_reply *reply, uint16_t status, const char *type,
                   const char *text)
{
    size_t size = strlen(text);
    reply->status = status;
    reply->content_type = type;
    reply->body = malloc(size + 1);
    if (reply->body == NULL) {
        reply->status = 503;
        return;
    }
    memcpy(reply->body, text, size + 1);
    reply->body_bytes = size;
}

static void get_healthz(void *context, const char *query, struct pbft_http_reply *reply)
{
    (void)context, (void)query;
    answer(reply, 200, NULL, "ok\n");
}

static void get_readyz(void *context, const char *query, struct pbft_http_reply *reply)
{
    struct pbft_runtime *r = context;
    (void)query;
    char text[PBFT_UNREADY_BYTES + 16], unready[sizeof r->published.unready];
    pthread_mutex_lock(&r->published.mutex);
    memcpy(unready, r->published.unready, sizeof unready);
    pthread_mutex_unlock(&r->published.mutex);
    (void)snprintf(text, sizeof text, "%s%s\n",
                   unready[0] == '\0' ? "ready" : "not ready: ", unready);
    answer(reply, unready[0] == '\0' ? 200 : 503, NULL, text);
}

static void get_status(void *context, const char *query, struct pbft_http_reply *reply)
{
    struct pbft_runtime *r = context;
    (void)query;
    char text[STATUS_BYTES];
    pthread_mutex_lock(&r->published.mutex);
    memcpy(text, r->published.status, sizeof text);
    pthread_mutex_unlock(&r->published.mutex);
    answer(reply, 200, JSON, text);
}

static void get_version(void *context, const char *query, struct pbft_http_reply *reply)
{
    struct pbft_runtime *r = context;
    (void)query;
    char text[160];
    (void)snprintf(text, sizeof text, "{\"version\":\"%s\",\"service\":\"%s\"}\n", PBFT_VERSION,
                   r->cluster->service);
    answer(reply, 200, JSON, text);
}

static void get_metrics(void *context, const char *query, struct pbft_http_reply *reply)
{
    struct pbft_runtime *r = context;
    (void)query;
    struct pbft_metrics m;
    pthread_mutex_lock(&r->published.mutex);
    m = r->published.metrics;
    pthread_mutex_unlock(&r->published.mutex);
    pbft_net_stats(r->net, &m.net); /* these may be asked from any thread */
    for (pbft_id i = 0; i < m.n; i++)
        (void)pbft_net_peer(r->net, i, &m.peers[i]);
    pbft_pool_stats(r->config.pool, &m.pool);
    pbft_pool_stats(r->config.client_pool, &m.client_pool);
    m.log_suppressed = pbft_logger_suppressed(r->config.logger);
    pbft_process_stats(&m.process);
    size_t size = pbft_metrics_render(&m, NULL, 0);
    reply->body = malloc(size + 1);
    if (reply->body == NULL) {
        reply->status = 503;
        return;
    }
    reply->content_type = METRICS;
    reply->body_bytes = pbft_metrics_render(&m, reply->body, size + 1);
}

static void get_dashboard(void *context, const char *query, struct pbft_http_reply *reply)
{
    (void)context, (void)query;
    answer(reply, 200, HTML, dashboard_html);
}

bool http_open(struct pbft_runtime *r)
{
    static const struct {
        const char *path;
        pbft_http_get_fn get;
    } routes[] = {
        {"/healthz", get_healthz}, {"/readyz", get_readyz},   {"/status", get_status},
        {"/version", get_version}, {"/metrics", get_metrics}, {"/", get_dashboard},
    };
    const char *address = r->config.replica->admin_listen, *scheme = "http://";
    if (strncmp(address, scheme, strlen(scheme)) == 0) address += strlen(scheme);
    char error[256] = "out of memory";
    enum pbft_status status = pbft_http_open(&r->http, address, error);
    if (status != PBFT_STATUS_OK) r->http = NULL;
    for (size_t i = 0; status == PBFT_STATUS_OK && i < sizeof routes / sizeof routes[0]; i++)
        status = pbft_http_get(r->http, routes[i].path, routes[i].get, r);
    if (status == PBFT_STATUS_OK) status = pbft_http_start(r->http, error);
    if (status == PBFT_STATUS_OK) return true;
    pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "start_failed",
                      "what=http address=%s why=\"%s\"", address, error);
    return false;
}
