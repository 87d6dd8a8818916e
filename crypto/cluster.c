/* crypto/cluster.c - checks what genesis lists, and computes the cluster id (PROTOCOL 2). */
#include "crypto/cluster.h"

#include "crypto/hash.h"
#include "crypto/keys.h"
#include "pbft/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOMAIN_CLUSTER "cluster"
#define PARAMS_BYTES   (14u * 4u + 4u * 8u)

/* Every parameter, fixed width, in the order of struct pbft_params: part of the id, so the order
 * never changes. */
static void encode_params(const struct pbft_params *p, uint8_t out[PARAMS_BYTES])
{
    const uint32_t counts[] = {p->n,
                               p->window,
                               p->checkpoint_interval,
                               p->pipeline_depth,
                               p->batch_max_bytes,
                               p->batch_max_requests,
                               p->bundle_max_ops,
                               p->key_max_bytes,
                               p->value_max_bytes,
                               p->reply_max_bytes,
                               p->session_window,
                               p->sessions_per_client,
                               p->sessions_total,
                               p->client_quota};
    const uint64_t times[] = {p->session_idle_ns, p->clock_skew_ns, p->view_timeout_ns,
                              p->view_timeout_max_ns};
    _Static_assert(sizeof counts + sizeof times == PARAMS_BYTES, "each parameter, once");
    _Static_assert(sizeof counts + sizeof times == sizeof(struct pbft_params), "none forgotten");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++, out += 4)
        pbft_put_u32(out, counts[i]);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++, out += 8)
        pbft_put_u64(out, times[i]);
}

static void compute_id(struct pbft_cluster *c)
{
    uint8_t service[PBFT_SERVICE_NAME_MAX + 1] = {0};
    memcpy(service, c->service, strlen(c->service));
    uint8_t params[PARAMS_BYTES];
    encode_params(&c->params, params);
    uint8_t clients[4];
    pbft_put_u32(clients, c->client_count);
    /* A restored cluster is bound to the state that it began with (PROTOCOL 2); others have the id
     * that they always had. */
    uint8_t genesis[8];
    pbft_put_u64(genesis, c->genesis_seq);
    bool restored = c->genesis_seq > 0;
    /* Fixed widths and counts before lists: no two clusters have the same bytes. */
    const struct pbft_span parts[] = {
        {service, sizeof service},
        {params, sizeof params},
        {c->replicas[0].bytes, (size_t)c->params.n * PBFT_PUBLIC_KEY_BYTES},
        {clients, sizeof clients},
        {(const uint8_t *)c->clients, (size_t)c->client_count * PBFT_PUBLIC_KEY_BYTES},
        {c->nonce, sizeof c->nonce},
        {genesis, restored ? sizeof genesis : 0},
        {c->genesis_root.bytes, restored ? PBFT_DIGEST_BYTES : 0},
    };
    _Static_assert(sizeof(struct pbft_public_key) == PBFT_PUBLIC_KEY_BYTES, "keys are contiguous");
    pbft_hash(&c->id, DOMAIN_CLUSTER, parts, sizeof parts / sizeof parts[0]);
}

static bool service_name_valid(const char name[PBFT_SERVICE_NAME_MAX + 1])
{
    const char *end = memchr(name, '\0', PBFT_SERVICE_NAME_MAX + 1);
    if (end == NULL || end == name) return false;
    for (const char *c = name; c < end; c++) {
        bool ok = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                  (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.';
        if (!ok) return false;
    }
    return true;
}

/* ---- client keys, sorted ---- */

struct keyed {
    struct pbft_public_key key;
    uint32_t index;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    return memcmp(x->key.bytes, y->key.bytes, PBFT_PUBLIC_KEY_BYTES);
}

static enum pbft_status order_clients(struct pbft_cluster *c, char error[256])
{
    struct keyed *sorted = calloc((size_t)c->client_count + 1, sizeof *sorted);
    uint32_t *order = calloc((size_t)c->client_count + 1, sizeof *order);
    enum pbft_status status = PBFT_STATUS_OK;
    if (sorted == NULL || order == NULL) {
        (void)snprintf(error, 256, "out of memory for %u client keys", c->client_count);
        status = PBFT_STATUS_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < c->client_count; i++)
        sorted[i] = (struct keyed){c->clients[i], i};
    qsort(sorted, c->client_count, sizeof *sorted, compare_keyed);
    for (uint32_t i = 0; i < c->client_count; i++) {
        order[i] = sorted[i].index;
        if (i == 0 || compare_keyed(&sorted[i - 1], &sorted[i]) != 0) continue;
        (void)snprintf(error, 256, "clients %u and %u have the same key",
                       sorted[i - 1].index < sorted[i].index ? sorted[i - 1].index
                                                             : sorted[i].index,
                       sorted[i - 1].index < sorted[i].index ? sorted[i].index
                                                             : sorted[i - 1].index);
        status = PBFT_STATUS_CONFIG;
        goto done;
    }
    c->client_order = order;
    order = NULL;
done:
    free(sorted);
    free(order);
    return status;
}

/* ---- checks ---- */

static enum pbft_status check_replicas(const struct pbft_cluster *c, char error[256])
{
    for (uint32_t i = 0; i < c->params.n; i++) {
        if (!pbft_public_key_valid(&c->replicas[i])) {
            (void)snprintf(error, 256, "the key of replica %u is not a valid Ed25519 public key",
                           i);
            return PBFT_STATUS_CONFIG;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (!pbft_public_key_equal(&c->replicas[i], &c->replicas[j])) continue;
            (void)snprintf(error, 256, "replicas %u and %u have the same key", j, i);
            return PBFT_STATUS_CONFIG;
        }
    }
    return PBFT_STATUS_OK;
}

static enum pbft_status check_clients(const struct pbft_cluster *c, char error[256])
{
    if (c->client_count > PBFT_CLIENTS_MAX || (c->client_count > 0 && c->clients == NULL)) {
        (void)snprintf(error, 256, "at most %u client keys can be listed", PBFT_CLIENTS_MAX);
        return PBFT_STATUS_CONFIG;
    }
    for (uint32_t i = 0; i < c->client_count; i++) {
        pbft_id replica;
        if (!pbft_public_key_valid(&c->clients[i])) {
            (void)snprintf(error, 256, "the key of client %u is not a valid Ed25519 public key", i);
            return PBFT_STATUS_CONFIG;
        }
        if (pbft_cluster_replica(c, &c->clients[i], &replica)) {
            (void)snprintf(error, 256, "client %u has the key of replica %u", i, replica);
            return PBFT_STATUS_CONFIG;
        }
    }
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_cluster_seal(struct pbft_cluster *c, char error[256])
{
    error[0] = '\0';
    c->client_order = NULL;
    const char *sentence = pbft_params_check(&c->params);
    if (sentence != NULL) {
        (void)snprintf(error, 256, "%s", sentence);
        return PBFT_STATUS_CONFIG;
    }
    if (!service_name_valid(c->service)) {
        (void)snprintf(error, 256,
                       "the service name must be 1 to %u letters, digits, '-', '_' or '.'",
                       PBFT_SERVICE_NAME_MAX);
        return PBFT_STATUS_CONFIG;
    }
    /* Far from the end of all numbers, as no checkpoint of a cluster that worked is. */
    if (c->genesis_seq % c->params.checkpoint_interval != 0 || c->genesis_seq > UINT64_MAX / 2) {
        (void)snprintf(error, 256, "genesis_seq must be a multiple of checkpoint_interval");
        return PBFT_STATUS_CONFIG;
    }
    enum pbft_status status = check_replicas(c, error);
    if (status == PBFT_STATUS_OK) status = check_clients(c, error);
    if (status == PBFT_STATUS_OK) status = order_clients(c, error);
    if (status == PBFT_STATUS_OK) compute_id(c);
    return status;
}

void pbft_cluster_unseal(struct pbft_cluster *c)
{
    free(c->client_order);
    c->client_order = NULL;
}

bool pbft_cluster_client(const struct pbft_cluster *c, const struct pbft_public_key *key,
                         uint32_t *index)
{
    uint32_t low = 0;
    uint32_t high = c->client_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t at = c->client_order[middle];
        int order = memcmp(c->clients[at].bytes, key->bytes, PBFT_PUBLIC_KEY_BYTES);
        if (order == 0) {
            *index = at;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool pbft_cluster_replica(const struct pbft_cluster *c, const struct pbft_public_key *key,
                          pbft_id *id)
{
    for (pbft_id i = 0; i < c->params.n; i++) {
        if (!pbft_public_key_equal(&c->replicas[i], key)) continue;
        *id = i;
        return true;
    }
    return false;
}
