/**
 * net/http.h - GET endpoints for people and monitors, over nng's HTTP server.
 *
 * Bind it to loopback unless a proxy stands before it: it has neither TLS nor authentication, and
 * it shares nng's task threads with the replica's streams (NOTES A).
 */
#ifndef PBFT_NET_HTTP_H
#define PBFT_NET_HTTP_H

#include "pbft/types.h"

struct pbft_http; /* opaque */

/* What a handler fills; it is zeroed before. */
struct pbft_http_reply {
    uint16_t status;          /* 0 means 200 */
    const char *content_type; /* static; NULL means "text/plain; charset=utf-8" */
    char *body;               /* from malloc; freed by the server; NULL: no body */
    size_t body_bytes;
};

/**
 * One GET (HEAD is derived from it). Runs on a thread of nng's, several at a time: it must not
 * block, and reads a snapshot under a lock of its own.
 *
 * query  what stands behind '?', not decoded; "" when there is nothing
 */
typedef void (*pbft_http_get_fn)(void *context, const char *query, struct pbft_http_reply *reply);

/* address is "host:port"; port 0 takes any. NETWORK, MEMORY, or OK; `error` takes one sentence. */
PBFT_MUST_USE enum pbft_status pbft_http_open(struct pbft_http **out, const char *address,
                                              char error[256]);
/* Before pbft_http_start(). `path` is exact, "/metrics". */
PBFT_MUST_USE enum pbft_status pbft_http_get(struct pbft_http *http, const char *path,
                                             pbft_http_get_fn get, void *context);
PBFT_MUST_USE enum pbft_status pbft_http_start(struct pbft_http *http, char error[256]);
uint16_t pbft_http_port(const struct pbft_http *http); /* after start */
/* After it returns no handler runs and none will. NULL is allowed. */
void pbft_http_close(struct pbft_http *http);

#endif
