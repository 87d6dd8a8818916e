/* client/client_epoch.c - the configuration that a handle works under, and how another follows
 * (PROTOCOL 29). */
#include "client/client_internal.h"

#include "crypto/epoch_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum pbft_status client_connect(const struct pbft_client *c, const struct pbft_cluster *cluster,
                                struct pbft_door **door, struct pbft_net **net, char error[256])
{
    const char *addresses[PBFT_REPLICAS_MAX];
    for (pbft_id i = 0; i < cluster->params.n; i++)
        addresses[i] = c->config.addresses[i].client;
    struct pbft_door_config door_config = {.cluster = cluster,
                                           .signer = &pbft_signer_ed25519,
                                           .cache_entries = 1};
    struct pbft_net_config net_config = {
        .cluster = cluster,
        .self = &c->keypair,
        .pool = pbft_pool_frames(c->pool),
        .addresses = addresses,
    };
    *net = NULL;
    *door = pbft_door_new(&door_config);
    if (*door == NULL) {
        (void)snprintf(error, 256, "out of memory");
        return PBFT_STATUS_MEMORY;
    }
    enum pbft_status status = pbft_net_open(net, &net_config, error);
    if (status == PBFT_STATUS_OK) return status;
    pbft_door_free(*door);
    *door = NULL;
    *net = NULL;
    return status;
}

static void cluster_free(struct pbft_cluster *cluster)
{
    pbft_epoch_free(cluster);
    free(cluster);
}

/* Until here nothing is lost. From here on nothing can fail. */
static void adopt(struct pbft_client *c, struct pbft_cluster *next, struct pbft_door *door,
                  struct pbft_net *net)
{
    struct pbft_net *net_before = c->net;
    struct pbft_door *door_before = c->door;
    const struct pbft_cluster *before = c->cluster;
    (void)pthread_mutex_lock(&c->epoch_lock);
    c->net = net;
    c->cluster = next;
    (void)pthread_mutex_unlock(&c->epoch_lock);
    atomic_store(&c->epoch, next->epoch);
    c->door = door;
    /* Its DOWNs are not told any more. */
    pbft_net_close(net_before);
    memset(c->connections, 0, sizeof c->connections);
    for (uint32_t i = 0; i < c->options.sessions; i++) {
        pbft_match_epoch(c->sessions[i].m, next);
        c->sessions[i].due_ns = 0;
    }
    pbft_door_free(door_before);
    c->unkept = true;
    if (before != &c->config.cluster) cluster_free((struct pbft_cluster *)(uintptr_t)before);
}

void client_follow(struct pbft_client *c, struct pbft_span proof)
{
    char error[256];
    struct pbft_door *door;
    struct pbft_net *net;
    struct pbft_cluster *next = malloc(sizeof *next);
    if (next == NULL) return;
    if (pbft_epoch_next(c->cluster, &pbft_signer_ed25519, proof, next) != PBFT_OK) {
        free(next);
        return;
    }
    if (client_connect(c, next, &door, &net, error) == PBFT_STATUS_OK)
        adopt(c, next, door, net);
    else
        cluster_free(next);
}

/* ---- from handle to handle ---- */

void client_recall(struct pbft_client *c, char warning[256])
{
    if (c->epochs[0] == '\0') return;
    struct pbft_cluster *kept = malloc(sizeof *kept);
    enum pbft_status status = kept == NULL ? PBFT_STATUS_MEMORY : PBFT_STATUS_OK;
    if (kept != NULL) {
        *kept = c->config.cluster;
        status = pbft_epoch_file_load(c->epochs, kept);
    }
    if (status == PBFT_STATUS_OK) {
        c->cluster = kept;
        return;
    }
    free(kept);
    if (status == PBFT_STATUS_CORRUPT)
        (void)snprintf(warning, 256,
                       "%.150s is damaged, or of another cluster, and was not used: remove it",
                       c->epochs);
    else if (status != PBFT_STATUS_NOT_FOUND)
        (void)snprintf(warning, 256, "%.150s was not used: %s", c->epochs,
                       pbft_status_text(status));
}

/* Another process may have been told more. What it wrote counts if it leads there from our genesis:
 * something that is just called a later epoch would stay for ever. */
static bool is_kept(const struct pbft_client *c)
{
    pbft_epoch named = 0;
    struct pbft_cluster kept = c->config.cluster;
    if (pbft_epoch_file_look(c->epochs, NULL, &named) != PBFT_STATUS_OK ||
        named < c->cluster->epoch || pbft_epoch_file_load(c->epochs, &kept) != PBFT_STATUS_OK)
        return false;
    pbft_epoch_free(&kept);
    return true;
}

void client_keep(struct pbft_client *c)
{
    if (!c->unkept || c->epochs[0] == '\0') return;
    c->unkept = false;
    /* Where it can not be written, every start is told anew. */
    if (!is_kept(c)) (void)(pbft_epoch_file_save(c->epochs, c->cluster) == PBFT_STATUS_OK);
}

void client_epoch_free(struct pbft_client *c)
{
    if (c->cluster != NULL && c->cluster != &c->config.cluster)
        cluster_free((struct pbft_cluster *)(uintptr_t)c->cluster);
}
