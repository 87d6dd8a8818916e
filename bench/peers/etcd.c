/* etcd: API v3 over gRPC, that is HTTP/2 without TLS (nghttp2); one stream an operation. */
#include "bench/peers/etcd_message.h"
#include "bench/peers/peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define READ_BYTES   65536u
#define ANSWER_BYTES (4u << 20) /* beyond any answer to one key */
#define WINDOW_BYTES (16 << 20) /* of flow control: ours never holds the server up */

/* One operation on its stream. */
struct call {
    struct call *next_free;
    void *slot;
    bool get;
    struct pbft_span key;
    uint8_t *request, *answer;
    size_t request_size, request_sent, request_capacity;
    size_t answer_size, answer_capacity;
    bool http_ok, grpc_ok, bad;
};

struct peer_conn {
    struct peer_options options;
    int fd;
    nghttp2_session *session;
    struct call *calls, *free;
    char authority[128];
    uint8_t *out; /* frames that wait to be sent */
    size_t out_size, out_sent, out_capacity;
    char error[256];
};

static bool fail(struct peer_conn *c, const char *what, const char *why)
{
    if (c->error[0] == '\0') (void)snprintf(c->error, sizeof c->error, "etcd: %s: %s", what, why);
    return false;
}

static bool grow(uint8_t **bytes, size_t *capacity, size_t wanted)
{
    if (wanted <= *capacity) return true;
    size_t more = *capacity * 2 < wanted ? wanted : *capacity * 2;
    uint8_t *grown = realloc(*bytes, more);
    if (grown == NULL) return false;
    *bytes = grown;
    *capacity = more;
    return true;
}

/* ---- called by nghttp2 ---- */

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t size, int flags,
                       void *context)
{
    struct peer_conn *c = context;
    (void)session;
    (void)flags;
    if (!grow(&c->out, &c->out_capacity, c->out_size + size)) return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(c->out + c->out_size, data, size);
    c->out_size += size;
    return (ssize_t)size;
}

static ssize_t on_request_body(nghttp2_session *session, int32_t stream, uint8_t *out,
                               size_t capacity, uint32_t *flags, nghttp2_data_source *source,
                               void *context)
{
    struct call *call = source->ptr;
    (void)session;
    (void)stream;
    (void)context;
    size_t size = call->request_size - call->request_sent;
    if (size > capacity) size = capacity;
    memcpy(out, call->request + call->request_sent, size);
    call->request_sent += size;
    if (call->request_sent == call->request_size) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static bool is(const uint8_t *text, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *context)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)context;
    if (call == NULL) return 0;
    if (is(name, name_size, ":status")) call->http_ok = is(value, value_size, "200");
    if (is(name, name_size, "grpc-status")) call->grpc_ok = is(value, value_size, "0");
    return 0;
}

static int on_answer_body(nghttp2_session *session, uint8_t flags, int32_t stream,
                          const uint8_t *data, size_t size, void *context)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags;
    (void)context;
    if (call == NULL) return 0;
    if (size > ANSWER_BYTES - call->answer_size) {
        call->bad = true;
        return 0;
    }
    if (!grow(&call->answer, &call->answer_capacity, call->answer_size + size))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(call->answer + call->answer_size, data, size);
    call->answer_size += size;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *context)
{
    struct peer_conn *c = context;
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (call == NULL) return 0;
    struct pbft_span answer = {call->answer, call->answer_size}, value = {NULL, 0};
    bool ok = error == NGHTTP2_NO_ERROR && call->http_ok && call->grpc_ok && !call->bad;
    if (ok) ok = call->get ? etcd_range_decode(answer, call->key, &value) : etcd_put_decode(answer);
    enum peer_outcome outcome = ok ? PEER_DONE : PEER_FAILED;
    if (ok && call->get && value.data == NULL) outcome = PEER_MISSING;
    c->options.done(call->slot, outcome, value);
    /* Only now: the value lies in it. */
    call->next_free = c->free;
    c->free = call;
    return 0;
}

/* ---- operations ---- */

#define HEADER(name, value)                                                                        \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1,             \
            sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE                                                \
    }

static bool call_submit(struct peer_conn *c, struct call *call)
{
    nghttp2_nv path = HEADER(":path", "/etcdserverpb.KV/Put");
    nghttp2_nv range = HEADER(":path", "/etcdserverpb.KV/Range");
    nghttp2_nv authority = HEADER(":authority", "");
    authority.value = (uint8_t *)c->authority;
    authority.valuelen = strlen(c->authority);
    nghttp2_nv headers[] = {
        HEADER(":method", "POST"), HEADER(":scheme", "http"),
        call->get ? range : path,  authority,
        HEADER("te", "trailers"),  HEADER("content-type", "application/grpc"),
    };
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_request_body};
    int32_t stream = nghttp2_submit_request(c->session, NULL, headers,
                                            sizeof headers / sizeof headers[0], &body, call);
    return stream >= 0 || fail(c, "no stream", nghttp2_strerror(stream));
}

static bool operation(struct peer_conn *c, bool get, struct pbft_span key, struct pbft_span value,
                      void *slot)
{
    struct call *call = c->free;
    if (c->error[0] != '\0') return false;
    /* One more than there are slots: that of an answer comes back after done(). */
    PBFT_ASSERT(call != NULL);
    if (!grow(&call->request, &call->request_capacity, key.size + value.size + ETCD_FRAME_SLACK))
        return fail(c, "request", "out of memory");
    size_t size = get ? etcd_range_encode(call->request, call->request_capacity, key)
                      : etcd_put_encode(call->request, call->request_capacity, key, value);
    PBFT_ASSERT(size > 0);
    c->free = call->next_free;
    call->slot = slot;
    call->get = get;
    call->key = key;
    call->request_size = size;
    call->request_sent = call->answer_size = 0;
    call->http_ok = call->grpc_ok = call->bad = false;
    return call_submit(c, call);
}

static bool etcd_put(struct peer_conn *c, struct pbft_span key, struct pbft_span value, void *slot)
{
    return operation(c, false, key, value, slot);
}

static bool etcd_get(struct peer_conn *c, struct pbft_span key, void *slot)
{
    return operation(c, true, key, (struct pbft_span){NULL, 0}, slot);
}

static bool etcd_flush(struct peer_conn *c, struct peer_wait *wait)
{
    if (c->error[0] != '\0') return false;
    int code = nghttp2_session_send(c->session);
    if (code != 0) return fail(c, "HTTP/2", nghttp2_strerror(code));
    while (c->out_sent < c->out_size) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (sent < 0) return fail(c, "send", strerror(errno));
        c->out_sent += (size_t)sent;
    }
    if (c->out_sent == c->out_size) c->out_sent = c->out_size = 0;
    *wait = (struct peer_wait){.fd = c->fd, .write = c->out_size > 0};
    return true;
}

static bool etcd_ready(struct peer_conn *c, bool readable, bool writable)
{
    uint8_t bytes[READ_BYTES];
    (void)writable; /* flush() follows */
    if (!readable) return true;
    ssize_t size = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size < 0) return errno == EAGAIN || errno == EINTR || fail(c, "receive", strerror(errno));
    if (size == 0) return fail(c, "receive", "the server has closed the connection");
    ssize_t taken = nghttp2_session_mem_recv(c->session, bytes, (size_t)size);
    if (taken < 0) return fail(c, "HTTP/2", nghttp2_strerror((int)taken));
    return true;
}

static const char *etcd_error(const struct peer_conn *c)
{
    return c->error;
}

static void etcd_close(struct peer_conn *c)
{
    nghttp2_session_del(c->session);
    if (c->fd >= 0) (void)close(c->fd);
    for (uint32_t i = 0; c->calls != NULL && i <= c->options.slots; i++) {
        free(c->calls[i].request);
        free(c->calls[i].answer);
    }
    free(c->calls);
    free(c->out);
    free(c);
}

/* ---- connecting ---- */

static int dial(const char *endpoint, uint64_t timeout_ns)
{
    char host[128];
    const char *colon = strrchr(endpoint, ':');
    if (colon == NULL || (size_t)(colon - endpoint) >= sizeof host) return -1;
    memcpy(host, endpoint, (size_t)(colon - endpoint));
    host[colon - endpoint] = '\0';
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) return -1;
    int fd = -1;
    struct timeval timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u)};
    for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd < 0) continue;
        /* connect() keeps to it, too. */
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static bool session_begin(struct peer_conn *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_answer_body);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int code = nghttp2_session_client_new(&c->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
    };
    return code == 0 &&
           nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof settings / sizeof settings[0]) == 0 &&
           nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) ==
               0;
}

static struct peer_conn *etcd_open(const struct peer_options *options, const char *endpoint,
                                   char error[256])
{
    struct peer_conn *c = calloc(1, sizeof *c);
    (void)snprintf(error, 256, "out of memory");
    if (c == NULL) return NULL;
    c->options = *options;
    c->fd = -1;
    (void)snprintf(c->authority, sizeof c->authority, "%s", endpoint);
    c->calls = calloc(options->slots + 1u, sizeof *c->calls);
    for (uint32_t i = 0; c->calls != NULL && i <= options->slots; i++) {
        c->calls[i].next_free = c->free;
        c->free = &c->calls[i];
    }
    if (c->calls == NULL || !session_begin(c)) {
        etcd_close(c);
        return NULL;
    }
    c->fd = dial(endpoint, options->timeout_ns);
    if (c->fd < 0) {
        (void)snprintf(error, 256, "etcd: nobody answers at %s: is the server up?", endpoint);
        etcd_close(c);
        return NULL;
    }
    return c;
}

const struct peer peer_etcd = {"etcd",     etcd_open,  etcd_put,   etcd_get,
                               etcd_flush, etcd_ready, etcd_error, etcd_close};
