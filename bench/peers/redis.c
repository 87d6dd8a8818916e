/* Redis: pipelined RESP (hiredis). With wait_replicas, SET is followed by WAIT, which holds up
 * whatever follows on its connection: give each slot one of its own. */
#include "bench/peers/peer.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A command whose reply has not come; replies come in the order of commands. */
struct call {
    void *slot;
    bool get;
    bool set_ok; /* the reply to SET, when that to WAIT is still to come */
    bool set_seen;
};

struct peer_conn {
    struct peer_options options;
    redisContext *redis;
    struct call *calls; /* a ring */
    uint32_t capacity, first, count;
    bool unsent;
    char wait_command[48];
    char error[256];
};

static bool fail(struct peer_conn *c, const char *why)
{
    if (c->error[0] == '\0') (void)snprintf(c->error, sizeof c->error, "redis: %s", why);
    return false;
}

static bool append(struct peer_conn *c, bool get, int argc, const char **argv, const size_t *sizes,
                   void *slot)
{
    if (c->error[0] != '\0') return false;
    PBFT_ASSERT(c->count < c->capacity);
    if (redisAppendCommandArgv(c->redis, argc, argv, sizes) != REDIS_OK)
        return fail(c, c->redis->errstr);
    if (!get && c->options.wait_replicas > 0 &&
        redisAppendCommand(c->redis, c->wait_command) != REDIS_OK)
        return fail(c, c->redis->errstr);
    c->calls[(c->first + c->count++) % c->capacity] = (struct call){.slot = slot, .get = get};
    c->unsent = true;
    return true;
}

static bool redis_put(struct peer_conn *c, struct pbft_span key, struct pbft_span value, void *slot)
{
    const char *argv[] = {"SET", (const char *)key.data, (const char *)value.data};
    const size_t sizes[] = {3, key.size, value.size};
    return append(c, false, 3, argv, sizes, slot);
}

static bool redis_get(struct peer_conn *c, struct pbft_span key, void *slot)
{
    const char *argv[] = {"GET", (const char *)key.data};
    const size_t sizes[] = {3, key.size};
    return append(c, true, 2, argv, sizes, slot);
}

static bool redis_flush(struct peer_conn *c, struct peer_wait *wait)
{
    if (c->error[0] != '\0') return false;
    int done = 0;
    if (c->unsent && redisBufferWrite(c->redis, &done) != REDIS_OK)
        return fail(c, c->redis->errstr);
    if (done) c->unsent = false;
    *wait = (struct peer_wait){.fd = c->redis->fd, .write = c->unsent};
    return true;
}

static bool is_ok(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0;
}

/* True when the operation that `reply` belongs to is at its end. */
static bool take(struct peer_conn *c, const redisReply *reply, enum peer_outcome *outcome,
                 struct pbft_span *value)
{
    struct call *call = &c->calls[c->first];
    *outcome = PEER_FAILED;
    if (call->get) {
        if (reply->type == REDIS_REPLY_NIL) *outcome = PEER_MISSING;
        if (reply->type != REDIS_REPLY_STRING) return true;
        *outcome = PEER_DONE;
        *value = (struct pbft_span){(const uint8_t *)reply->str, reply->len};
        return true;
    }
    if (c->options.wait_replicas == 0) {
        if (is_ok(reply)) *outcome = PEER_DONE;
        return true;
    }
    if (!call->set_seen) {
        call->set_seen = true;
        call->set_ok = is_ok(reply);
        return false;
    }
    if (call->set_ok && reply->type == REDIS_REPLY_INTEGER &&
        reply->integer >= (long long)c->options.wait_replicas)
        *outcome = PEER_DONE;
    return true;
}

static bool redis_ready(struct peer_conn *c, bool readable, bool writable)
{
    (void)writable; /* flush() follows */
    if (!readable) return true;
    if (redisBufferRead(c->redis) != REDIS_OK) return fail(c, c->redis->errstr);
    for (;;) {
        void *reply = NULL;
        if (redisGetReplyFromReader(c->redis, &reply) != REDIS_OK) return fail(c, c->redis->errstr);
        if (reply == NULL) return true;
        enum peer_outcome outcome;
        struct pbft_span value = {NULL, 0};
        if (c->count == 0) {
            freeReplyObject(reply);
            return fail(c, "a reply to nothing");
        }
        if (take(c, reply, &outcome, &value)) {
            void *slot = c->calls[c->first].slot;
            c->first = (c->first + 1) % c->capacity;
            c->count--;
            c->options.done(slot, outcome, value);
        }
        freeReplyObject(reply);
    }
}

static const char *redis_error(const struct peer_conn *c)
{
    return c->error;
}

static void redis_close(struct peer_conn *c)
{
    if (c->redis != NULL) redisFree(c->redis);
    free(c->calls);
    free(c);
}

/* A first PING: connecting is over, and it is Redis who answers. */
static bool greet(struct peer_conn *c)
{
    void *reply = NULL;
    struct peer_wait wait;
    if (redisAppendCommand(c->redis, "PING") != REDIS_OK) return false;
    c->unsent = true;
    int timeout_ms = (int)(c->options.timeout_ns / 1000000u);
    while (reply == NULL) {
        if (!redis_flush(c, &wait)) return false;
        struct pollfd p = {.fd = wait.fd, .events = wait.write ? POLLOUT : POLLIN};
        if (poll(&p, 1, timeout_ms) <= 0) return fail(c, "it does not answer");
        if (wait.write) continue;
        if (redisBufferRead(c->redis) != REDIS_OK ||
            redisGetReplyFromReader(c->redis, &reply) != REDIS_OK)
            return fail(c, c->redis->errstr);
    }
    const redisReply *r = reply;
    bool pong = r->type == REDIS_REPLY_STATUS && strcmp(r->str, "PONG") == 0;
    freeReplyObject(reply);
    return pong || fail(c, "no answer to PING");
}

static struct peer_conn *redis_open(const struct peer_options *options, const char *endpoint,
                                    char error[256])
{
    char host[128] = "";
    const char *colon = strrchr(endpoint, ':');
    struct peer_conn *c = calloc(1, sizeof *c);
    (void)snprintf(error, 256, "out of memory");
    if (c == NULL) return NULL;
    c->options = *options;
    c->capacity = options->slots;
    c->calls = calloc(c->capacity, sizeof *c->calls);
    /* Without a limit: a replica that is gone shows as no answer. */
    (void)snprintf(c->wait_command, sizeof c->wait_command, "WAIT %u 0",
                   (unsigned)options->wait_replicas);
    if (colon != NULL && (size_t)(colon - endpoint) < sizeof host)
        memcpy(host, endpoint, (size_t)(colon - endpoint));
    if (c->calls != NULL)
        c->redis = redisConnectNonBlock(host, colon == NULL ? 0 : (int)strtol(colon + 1, NULL, 10));
    if (c->redis == NULL || c->redis->err != 0 || !greet(c)) {
        const char *why = c->redis != NULL && c->redis->err != 0 ? c->redis->errstr : c->error;
        if (c->redis != NULL)
            (void)snprintf(error, 256, "redis at %.100s: %.100s: is the server up?", endpoint, why);
        redis_close(c);
        return NULL;
    }
    return c;
}

const struct peer peer_redis = {"redis",     redis_open,  redis_put,   redis_get,
                                redis_flush, redis_ready, redis_error, redis_close};
