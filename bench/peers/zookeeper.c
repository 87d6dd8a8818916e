/* ZooKeeper: its C client without threads. A put is set, a get is sync and get in the session's
 * order, which reads what was written before it by anybody. */
#include "bench/peers/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

#define SESSION_MS 10000
#define PATH_BYTES 64u

struct call {
    struct call *next_free;
    struct peer_conn *conn;
    void *slot;
    char path[PATH_BYTES];
    struct pbft_span value;
    bool synced; /* of a get */
};

struct peer_conn {
    struct peer_options options;
    zhandle_t *zk;
    struct call *calls, *free;
    char error[256];
};

static bool fail(struct peer_conn *c, int code)
{
    if (c->error[0] == '\0')
        (void)snprintf(c->error, sizeof c->error, "zookeeper: %s", zerror(code));
    return false;
}

static void call_done(struct call *call, enum peer_outcome outcome, struct pbft_span value)
{
    struct peer_conn *c = call->conn;
    void *slot = call->slot;
    call->next_free = c->free;
    c->free = call;
    c->options.done(slot, outcome, value);
}

/* A session that is lost ends the measurement; anything else is the operation's own failure. */
static void call_failed(struct call *call, int code)
{
    if (code == ZCONNECTIONLOSS || code == ZSESSIONEXPIRED || code == ZCLOSING ||
        code == ZINVALIDSTATE)
        (void)fail(call->conn, code);
    call_done(call, PEER_FAILED, (struct pbft_span){NULL, 0});
}

/* ---- puts ---- */

static int put_set(struct call *call);
static int put_create(struct call *call);

static void on_set(int code, const struct Stat *stat, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    (void)stat;
    if (code == ZNONODE)
        code = put_create(call);
    else if (code == ZOK) {
        call_done(call, PEER_DONE, (struct pbft_span){NULL, 0});
        return;
    }
    if (code != ZOK) call_failed(call, code);
}

static void on_create(int code, const char *name, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    (void)name;
    if (code == ZNODEEXISTS)
        code = put_set(call);
    else if (code == ZOK) {
        call_done(call, PEER_DONE, (struct pbft_span){NULL, 0});
        return;
    }
    if (code != ZOK) call_failed(call, code);
}

static int put_set(struct call *call)
{
    return zoo_aset(call->conn->zk, call->path, (const char *)call->value.data,
                    (int)call->value.size, -1, on_set, call);
}

static int put_create(struct call *call)
{
    return zoo_acreate(call->conn->zk, call->path, (const char *)call->value.data,
                       (int)call->value.size, &ZOO_OPEN_ACL_UNSAFE, 0, on_create, call);
}

/* ---- gets ---- */

static void on_sync(int code, const char *name, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    (void)name;
    call->synced = code == ZOK;
}

static void on_get(int code, const char *value, int size, const struct Stat *stat, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    struct pbft_span span = {(const uint8_t *)value, size < 0 ? 0 : (size_t)size};
    (void)stat;
    if (call->synced && code == ZOK)
        call_done(call, PEER_DONE, span);
    else if (call->synced && code == ZNONODE)
        call_done(call, PEER_MISSING, (struct pbft_span){NULL, 0});
    else
        call_failed(call, code);
}

/* ---- operations ---- */

static struct call *call_begin(struct peer_conn *c, struct pbft_span key, void *slot)
{
    struct call *call = c->free;
    PBFT_ASSERT(call != NULL);
    c->free = call->next_free;
    call->conn = c;
    call->slot = slot;
    call->synced = false;
    (void)snprintf(call->path, sizeof call->path, "/%s", (const char *)key.data);
    return call;
}

static bool zookeeper_put(struct peer_conn *c, struct pbft_span key, struct pbft_span value,
                          void *slot)
{
    if (c->error[0] != '\0') return false;
    struct call *call = call_begin(c, key, slot);
    call->value = value;
    int code = c->options.create ? put_create(call) : put_set(call);
    return code == ZOK || fail(c, code);
}

static bool zookeeper_get(struct peer_conn *c, struct pbft_span key, void *slot)
{
    if (c->error[0] != '\0') return false;
    struct call *call = call_begin(c, key, slot);
    int code = zoo_async(c->zk, call->path, on_sync, call);
    if (code == ZOK) code = zoo_aget(c->zk, call->path, 0, on_get, call);
    return code == ZOK || fail(c, code);
}

static bool zookeeper_flush(struct peer_conn *c, struct peer_wait *wait)
{
    int fd = -1, interest = 0;
    struct timeval timeout;
    if (c->error[0] != '\0') return false;
    int code = zookeeper_interest(c->zk, &fd, &interest, &timeout);
    if (code != ZOK) return fail(c, code);
    *wait = (struct peer_wait){.fd = fd, .write = (interest & ZOOKEEPER_WRITE) != 0};
    return true;
}

static bool zookeeper_ready(struct peer_conn *c, bool readable, bool writable)
{
    int code = zookeeper_process(c->zk, (readable ? ZOOKEEPER_READ : 0) |
                                            (writable ? ZOOKEEPER_WRITE : 0));
    if (code != ZOK && code != ZNOTHING) return fail(c, code);
    return c->error[0] == '\0';
}

static const char *zookeeper_error(const struct peer_conn *c)
{
    return c->error;
}

static void zookeeper_release(struct peer_conn *c)
{
    if (c->zk != NULL) (void)zookeeper_close(c->zk);
    free(c->calls);
    free(c);
}

static void on_event(zhandle_t *zk, int type, int state, const char *path, void *context)
{
    (void)zk;
    (void)type;
    (void)state;
    (void)path;
    (void)context;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The client tries again by itself; so do we until the time is over. */
static bool wait_connected(struct peer_conn *c)
{
    for (uint64_t until = now_ns() + c->options.timeout_ns; now_ns() < until;) {
        int fd = -1, interest = 0;
        struct timeval timeout;
        if (zoo_state(c->zk) == ZOO_CONNECTED_STATE) return true;
        if (zookeeper_interest(c->zk, &fd, &interest, &timeout) != ZOK || fd < 0) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
            continue;
        }
        struct pollfd p = {.fd = fd};
        if (interest & ZOOKEEPER_READ) p.events |= POLLIN;
        if (interest & ZOOKEEPER_WRITE) p.events |= POLLOUT;
        if (poll(&p, 1, 50) < 0 && errno != EINTR) return false;
        int events = (p.revents & (POLLIN | POLLHUP | POLLERR) ? ZOOKEEPER_READ : 0) |
                     (p.revents & POLLOUT ? ZOOKEEPER_WRITE : 0);
        (void)zookeeper_process(c->zk, events);
    }
    return false;
}

static struct peer_conn *zookeeper_open(const struct peer_options *options, const char *endpoint,
                                        char error[256])
{
    struct peer_conn *c = calloc(1, sizeof *c);
    (void)snprintf(error, 256, "out of memory");
    if (c == NULL) return NULL;
    c->options = *options;
    c->calls = calloc(options->slots, sizeof *c->calls);
    for (uint32_t i = 0; c->calls != NULL && i < options->slots; i++) {
        c->calls[i].next_free = c->free;
        c->free = &c->calls[i];
    }
    zoo_set_debug_level((ZooLogLevel)0); /* what goes wrong is said here, once */
    if (c->calls != NULL) c->zk = zookeeper_init(endpoint, on_event, SESSION_MS, NULL, c, 0);
    if (c->zk != NULL && wait_connected(c)) return c;
    if (c->zk != NULL)
        (void)snprintf(error, 256, "zookeeper: no session at %.100s: is the server up?", endpoint);
    zookeeper_release(c);
    return NULL;
}

const struct peer peer_zookeeper = {"zookeeper",     zookeeper_open,   zookeeper_put,
                                    zookeeper_get,   zookeeper_flush,  zookeeper_ready,
                                    zookeeper_error, zookeeper_release};
