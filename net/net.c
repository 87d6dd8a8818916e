/* net/net.c - opening, closing, looking. */
#include "net/net_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_MAX 200u

const char *pbft_net_refusal_text(enum pbft_net_refusal refusal)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PBFT_NET_REFUSALS(X)
#undef X
    };
    return (size_t)refusal < PBFT_NET_REFUSAL_COUNT ? texts[refusal] : "?";
}

static void default_u32(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0) *value = otherwise;
}

static void default_u64(uint64_t *value, uint64_t otherwise)
{
    if (*value == 0) *value = otherwise;
}

static void fill_limits(struct pbft_net_limits *l)
{
    default_u32(&l->frame_max_bytes, PBFT_FRAME_MAX_BYTES);
    default_u32(&l->client_frame_max_bytes, PBFT_FRAME_MAX_BYTES);
    default_u64(&l->out_max_bytes, UINT64_C(32) << 20);
    default_u32(&l->out_max_frames, 16384);
    default_u64(&l->in_max_bytes, UINT64_C(16) << 20);
    default_u64(&l->client_in_max_bytes, UINT64_C(1) << 20);
    default_u32(&l->connections_max, 1024);
    default_u32(&l->connections_per_client, 64);
    default_u32(&l->handshakes_max, 64);
    default_u32(&l->handshakes_per_address, (l->handshakes_max + 1) / 2);
    default_u32(&l->hellos_per_second, 500);
    default_u64(&l->handshake_timeout_ns, 2 * NANOSECONDS);
    default_u64(&l->ping_ns, 1 * NANOSECONDS);
    default_u64(&l->dead_ns, 5 * NANOSECONDS);
    default_u64(&l->redial_min_ns, 10 * MILLISECOND);
    default_u64(&l->redial_max_ns, 1 * NANOSECONDS);
    if (l->frame_max_bytes > PBFT_FRAME_MAX_BYTES) l->frame_max_bytes = PBFT_FRAME_MAX_BYTES;
    if (l->client_frame_max_bytes > PBFT_FRAME_MAX_BYTES)
        l->client_frame_max_bytes = PBFT_FRAME_MAX_BYTES;
    if (l->redial_max_ns < l->redial_min_ns) l->redial_max_ns = l->redial_min_ns;
}

static bool dials(const struct pbft_net *net, pbft_id id)
{
    return id < net->n && (!net->replica || id > net->id);
}

static enum pbft_status make_hash(struct pbft_net *net)
{
    uint32_t size = 256;
    while (size < net->limits.connections_max && size < (UINT32_C(1) << 20))
        size *= 2;
    net->hash = calloc(size, sizeof(struct connection *));
    net->hash_mask = size - 1;
    return net->hash == NULL ? PBFT_STATUS_MEMORY : PBFT_STATUS_OK;
}

static enum pbft_status make_locks(struct pbft_net *net)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) return PBFT_STATUS_MEMORY;
    bool made = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
                pthread_mutex_init(&net->lock, NULL) == 0 &&
                pthread_cond_init(&net->owner_wake, &monotonic) == 0 &&
                pthread_cond_init(&net->service_wake, &monotonic) == 0;
    (void)pthread_condattr_destroy(&monotonic);
    return made ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
}

/* Listeners and dialers are there, nothing runs: the service thread first, then accepting. */
static enum pbft_status start(struct pbft_net *net, const struct pbft_net_config *config,
                              char error[256])
{
    enum pbft_status status = PBFT_STATUS_OK;
    if (config->listen_peers != NULL)
        status = listener_open(net, LISTENER_PEERS, config->listen_peers, error);
    if (status == PBFT_STATUS_OK && config->listen_clients != NULL)
        status = listener_open(net, LISTENER_CLIENTS, config->listen_clients, error);
    for (pbft_id i = 0; i < net->n && status == PBFT_STATUS_OK; i++)
        if (dials(net, i)) status = dialer_init(net, i);
    for (pbft_id i = 0; i < net->n && status == PBFT_STATUS_OK; i++) {
        const char *url = config->addresses == NULL ? NULL : config->addresses[i];
        if (url == NULL) continue;
        if (gate_parse(url, &net->listed[net->listed_count])) net->listed_count++;
        if (!dials(net, i)) continue;
        status = pbft_net_address(net, i, url);
        if (status != PBFT_STATUS_OK)
            (void)snprintf(error, 256, "Address of replica %u (%.120s) is not tcp://host:port.",
                           (unsigned)i, url);
    }
    if (status != PBFT_STATUS_OK) return status;
    if (pthread_create(&net->service, NULL, service_run, net) != 0) {
        (void)snprintf(error, 256, "No thread can be started.");
        return PBFT_STATUS_MEMORY;
    }
    for (unsigned i = 0; i < LISTENERS; i++)
        if (net->listeners[i].stream != NULL) listener_accept(&net->listeners[i]);
    return PBFT_STATUS_OK;
}

/* Everything but the service thread, which does not run (any more). */
static void dismantle(struct pbft_net *net)
{
    for (unsigned i = 0; i < LISTENERS; i++)
        listener_close(&net->listeners[i]);
    for (uint32_t i = 0; i < PBFT_REPLICAS_MAX; i++)
        dialer_close(&net->dialers[i]);
    while (net->connections != NULL) {
        struct connection *c = net->connections;
        c->in_ring = false; /* the rings end with the net */
        PBFT_ASSERT(c->reaped && !c->done);
        connection_done(c);
    }
    pbft_frame_release(net->news);
    (void)pthread_cond_destroy(&net->owner_wake);
    (void)pthread_cond_destroy(&net->service_wake);
    (void)pthread_mutex_destroy(&net->lock);
    free(net->hash);
    free(net);
}

enum pbft_status pbft_net_open(struct pbft_net **out, const struct pbft_net_config *config,
                               char error[256])
{
    *out = NULL;
    struct pbft_net *net = calloc(1, sizeof(*net));
    (void)snprintf(error, 256, "Out of memory.");
    if (net == NULL) return PBFT_STATUS_MEMORY;
    net->cluster = config->cluster;
    net->self = config->self;
    net->pool = config->pool;
    net->client_pool = config->client_pool != NULL ? config->client_pool : config->pool;
    net->limits = config->limits;
    net->n = config->cluster->params.n;
    net->replica = pbft_cluster_replica(config->cluster, &config->self->public, &net->id);
    fill_limits(&net->limits);
    if (make_hash(net) != PBFT_STATUS_OK || make_locks(net) != PBFT_STATUS_OK) {
        free(net->hash);
        free(net);
        return PBFT_STATUS_MEMORY;
    }
    enum pbft_status status = start(net, config, error);
    if (status != PBFT_STATUS_OK) {
        dismantle(net);
        return status;
    }
    error[0] = '\0';
    *out = net;
    return PBFT_STATUS_OK;
}

void pbft_net_close(struct pbft_net *net)
{
    if (net == NULL) return;
    (void)pthread_mutex_lock(&net->lock);
    net->closing = true;
    service_poke(net);
    (void)pthread_mutex_unlock(&net->lock);
    /* No new connection comes after these; the service thread ends when the last one is gone. */
    for (unsigned i = 0; i < LISTENERS; i++)
        if (net->listeners[i].aio != NULL) nng_aio_stop(net->listeners[i].aio);
    for (uint32_t i = 0; i < net->n; i++)
        if (net->dialers[i].aio != NULL) nng_aio_stop(net->dialers[i].aio);
    (void)pthread_join(net->service, NULL);
    dismantle(net);
}

enum pbft_status pbft_net_address(struct pbft_net *net, pbft_id id, const char *url)
{
    if (!dials(net, id) || strncmp(url, "tcp://", 6) != 0 || strlen(url) > URL_MAX)
        return PBFT_STATUS_ARGUMENT;
    char *copy = strdup(url);
    if (copy == NULL) return PBFT_STATUS_MEMORY;
    struct dialer *d = &net->dialers[id];
    (void)pthread_mutex_lock(&net->lock);
    free(d->url);
    d->url = copy;
    d->url_changed = true;
    if (d->state == DIALER_IDLE || d->state == DIALER_WAITING) {
        d->state = DIALER_WAITING;
        d->next_ns = 0;
        d->backoff_ns = net->limits.redial_min_ns;
        service_poke(net);
    }
    (void)pthread_mutex_unlock(&net->lock);
    return PBFT_STATUS_OK;
}

uint16_t pbft_net_peer_port(const struct pbft_net *net)
{
    return net->listeners[LISTENER_PEERS].port;
}

uint16_t pbft_net_client_port(const struct pbft_net *net)
{
    return net->listeners[LISTENER_CLIENTS].port;
}

void pbft_net_stats(struct pbft_net *net, struct pbft_net_stats *out)
{
    (void)pthread_mutex_lock(&net->lock);
    *out = net->stats;
    for (const struct connection *c = net->connections; c != NULL; c = c->next) {
        out->in_bytes += c->inbox.bytes;
        out->out_bytes += c->outbox.bytes;
        if (c->dead) continue;
        if (c->handshaking) out->handshaking++;
        if (c->open && c->peer.kind == PBFT_PEER_REPLICA) out->replicas_up++;
        if (c->open && c->peer.kind == PBFT_PEER_CLIENT) out->clients_up++;
    }
    (void)pthread_mutex_unlock(&net->lock);
}

bool pbft_net_peer(struct pbft_net *net, pbft_id id, struct pbft_net_peer_stats *out)
{
    memset(out, 0, sizeof(*out));
    if (id >= net->n) return false;
    (void)pthread_mutex_lock(&net->lock);
    const struct replica_slot *slot = &net->replicas[id];
    out->dropped = slot->dropped;
    out->connects = slot->connects;
    memcpy(out->last_failure, slot->last_failure, sizeof(out->last_failure));
    if (slot->current != NULL) {
        out->connection = slot->current->number;
        out->in_bytes = slot->current->inbox.bytes;
        out->out_bytes = slot->current->outbox.bytes;
        out->out_frames = slot->current->outbox.count;
    }
    (void)pthread_mutex_unlock(&net->lock);
    return true;
}

static bool transport_send(void *self, const struct pbft_peer *to, struct pbft_frame *frame)
{
    return pbft_net_send(self, to, frame);
}

static size_t transport_poll(void *self, uint64_t timeout_ns, struct pbft_net_event *events,
                             size_t max)
{
    return pbft_net_poll(self, timeout_ns, events, max);
}

struct pbft_transport pbft_net_transport(struct pbft_net *net)
{
    return (struct pbft_transport){net, transport_send, transport_poll};
}
