/* pbftctl init: keys, genesis, and one configuration for each node and client (DESIGN 6). */
#include "client/ctl/ctl.h"

#include "client/ctl/folders.h"
#include "crypto/keys.h"
#include "replica/config.h"
#include "replica/data.h"

#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE_PORT      7000u
#define PORTS_PER_NODE 3u
#define HOST           "127.0.0.1"

struct plan {
    const char *dir;
    const char *service;
    uint32_t nodes, clients, base_port;
    struct pbft_cluster_config config;
    struct pbft_keypair *replica_keys, *client_keys;
    char error[256];
};

static bool number(const char *text, uint64_t min, uint64_t max, uint32_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) return false;
    *out = (uint32_t)value;
    return true;
}

/* As pbft_cluster_seal() demands, but before anything is made. */
static bool service_name(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size <= PBFT_SERVICE_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               size;
}

/* -1: go on; else the exit code. */
static int parse(struct plan *p, int argc, char **argv)
{
    static const struct option options[] = {
        {"nodes", required_argument, NULL, 'n'},
        {"base-port", required_argument, NULL, 'p'},
        {"clients", required_argument, NULL, 'c'},
        {"service", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    const struct ctl_command *command = &ctl_init_commands[0];
    int option;
    optind = 0;
    opterr = 0; /* what is wrong is said here, once */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool ok = true;
        switch (option) {
        case 'n': ok = number(optarg, PBFT_REPLICAS_MIN, PBFT_REPLICAS_MAX, &p->nodes); break;
        case 'p': ok = number(optarg, 1, 65535, &p->base_port); break;
        case 'c': ok = number(optarg, 1, PBFT_CLIENTS_MAX, &p->clients); break;
        case 's': p->service = optarg; break;
        default: return ctl_usage(command, "there is no such option, or its value is missing");
        }
        if (!ok)
            return ctl_usage(command, "--nodes is 4 .. 64, --clients 1 .. 65536, --base-port a "
                                      "port number");
    }
    if (argc - optind != 1) return ctl_usage(command, "init takes one folder");
    p->dir = argv[optind];
    if (p->base_port + PORTS_PER_NODE * p->nodes - 1 > 65535)
        return ctl_usage(command, "the ports of the last node would be beyond 65535");
    if (!service_name(p->service))
        return ctl_usage(command, "a service name is 1 to 31 letters, digits, '-', '_' or '.'");
    if (strlen(p->dir) > PBFT_CONFIG_PATH_MAX - 64)
        return ctl_usage(command, "the folder's path is too long");
    return -1;
}

/* ---- what is in them ---- */

static enum pbft_status make_keys(struct plan *p)
{
    enum pbft_status status = PBFT_STATUS_OK;
    p->replica_keys = calloc(p->nodes, sizeof *p->replica_keys);
    p->client_keys = calloc(p->clients, sizeof *p->client_keys);
    p->config.cluster.clients = calloc(p->clients, sizeof *p->config.cluster.clients);
    p->config.addresses = calloc(p->nodes, sizeof *p->config.addresses);
    if (p->replica_keys == NULL || p->client_keys == NULL || p->config.cluster.clients == NULL ||
        p->config.addresses == NULL)
        status = PBFT_STATUS_MEMORY;
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->nodes; i++) {
        status = pbft_keypair_generate(&p->replica_keys[i]);
        p->config.cluster.replicas[i] = p->replica_keys[i].public;
    }
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->clients; i++) {
        status = pbft_keypair_generate(&p->client_keys[i]);
        p->config.cluster.clients[i] = p->client_keys[i].public;
    }
    if (status != PBFT_STATUS_OK)
        (void)snprintf(p->error, sizeof p->error, "cannot make keys: %s", pbft_status_text(status));
    return status;
}

static enum pbft_status make_cluster(struct plan *p)
{
    struct pbft_cluster *c = &p->config.cluster;
    c->params = pbft_params_default(p->nodes);
    (void)snprintf(c->service, sizeof c->service, "%s", p->service);
    c->client_count = p->clients;
    randombytes_buf(c->nonce, sizeof c->nonce);
    for (uint32_t i = 0; i < p->nodes; i++) {
        struct pbft_config_addresses *a = &p->config.addresses[i];
        unsigned port = p->base_port + PORTS_PER_NODE * i;
        (void)snprintf(a->peer, sizeof a->peer, "tcp://" HOST ":%u", port);
        (void)snprintf(a->client, sizeof a->client, "tcp://" HOST ":%u", port + 1);
        (void)snprintf(a->admin, sizeof a->admin, "http://" HOST ":%u", port + 2);
    }
    enum pbft_status status = pbft_cluster_seal(c, p->error);
    if (status != PBFT_STATUS_OK) return status;
    char path[PBFT_CONFIG_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/cluster.conf", p->dir);
    return pbft_cluster_config_save(&p->config, path, p->error);
}

static enum pbft_status make_data(struct plan *p, uint32_t id, const char *data)
{
    struct pbft_superblock_owner owner;
    pbft_config_owner(&p->config.cluster, id, &owner);
    enum pbft_status status = pbft_data_create(data, &owner);
    if (status != PBFT_STATUS_OK)
        (void)snprintf(p->error, sizeof p->error, "cannot make the vote log in %.150s: %s", data,
                       pbft_status_text(status));
    return status;
}

static enum pbft_status make_node(struct plan *p, uint32_t id)
{
    char dir[PBFT_CONFIG_PATH_MAX];
    char path[PBFT_CONFIG_PATH_MAX + 32];
    (void)snprintf(dir, sizeof dir, "%s/node-%u", p->dir, id);
    enum pbft_status status = ctl_folder_make(dir, p->error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(path, sizeof path, "%s/data", dir);
    status = ctl_folder_make(path, p->error);
    if (status == PBFT_STATUS_OK) status = make_data(p, id, path);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(path, sizeof path, "%s/key", dir);
    status = pbft_keypair_save(&p->replica_keys[id], path, p->error);
    if (status != PBFT_STATUS_OK) return status;

    (void)snprintf(path, sizeof path, "%s/node.conf", dir);
    return ctl_node_config_save(path, id, "../cluster.conf", &p->config.addresses[id], p->error);
}

/* Client 0 in DIR/client, client J in DIR/client-J. */
static enum pbft_status make_client(struct plan *p, uint32_t index)
{
    char dir[PBFT_CONFIG_PATH_MAX];
    char path[PBFT_CONFIG_PATH_MAX + 32];
    if (index == 0)
        (void)snprintf(dir, sizeof dir, "%s/client", p->dir);
    else
        (void)snprintf(dir, sizeof dir, "%s/client-%u", p->dir, index);
    enum pbft_status status = ctl_folder_make(dir, p->error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(path, sizeof path, "%s/key", dir);
    status = pbft_keypair_save(&p->client_keys[index], path, p->error);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_client_config client = pbft_client_config_default();
    (void)snprintf(client.cluster, sizeof client.cluster, "../cluster.conf");
    (void)snprintf(client.key, sizeof client.key, "key");
    (void)snprintf(path, sizeof path, "%s/client.conf", dir);
    return pbft_client_config_save(&client, path, p->error);
}

static enum pbft_status make_all(struct plan *p)
{
    enum pbft_status status = ctl_folder_claim(p->dir, "init", p->error);
    if (status == PBFT_STATUS_OK) status = make_keys(p);
    if (status == PBFT_STATUS_OK) status = make_cluster(p);
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->nodes; i++)
        status = make_node(p, i);
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->clients; i++)
        status = make_client(p, i);
    return status;
}

static void plan_free(struct plan *p)
{
    for (uint32_t i = 0; p->replica_keys != NULL && i < p->nodes; i++)
        pbft_keypair_wipe(&p->replica_keys[i]);
    for (uint32_t i = 0; p->client_keys != NULL && i < p->clients; i++)
        pbft_keypair_wipe(&p->client_keys[i]);
    free(p->replica_keys);
    free(p->client_keys);
    pbft_cluster_config_free(&p->config);
}

static int run_init(const struct ctl_options *options, int argc, char **argv)
{
    struct plan p = {.dir = "", .nodes = 4, .clients = 1, .base_port = BASE_PORT, .service = "kv"};
    int code = parse(&p, argc, argv);
    if (code >= 0) return code;
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return ctl_fail(CTL_NO, "the cryptographic self-test failed.");
    enum pbft_status status = make_all(&p);
    code = CTL_OK;
    if (status != PBFT_STATUS_OK) {
        code = ctl_fail(status == PBFT_STATUS_EXISTS ? CTL_USAGE : CTL_NO, "%s.", p.error);
    } else {
        char id[2 * PBFT_DIGEST_BYTES + 1];
        pbft_hex_encode(p.config.cluster.id.bytes, PBFT_DIGEST_BYTES, id);
        if (options->json)
            (void)printf("{\"cluster_id\":\"%s\",\"nodes\":%u,\"clients\":%u}\n", id, p.nodes,
                         p.clients);
        else
            (void)printf("cluster %s: %u nodes, %u client key%s in %s\n"
                         "Next: pbftctl up %s\n",
                         id, p.nodes, p.clients, p.clients == 1 ? "" : "s", p.dir, p.dir);
    }
    plan_free(&p);
    return code;
}

const struct ctl_command ctl_init_commands[] = {
    {"init", "init DIR [--nodes 4] [--base-port 7000] [--clients 1] [--service kv]",
     "make keys, genesis and configurations of a new cluster",
     "Writes DIR/cluster.conf (public), DIR/node-I (configuration, key and data of node I),\n"
     "DIR/client (the administrator) and DIR/client-J (further clients). Node I listens on\n"
     "base port + 3I (replicas), + 3I+1 (clients) and + 3I+2 (HTTP for administration).\n"
     "DIR must not exist, or be empty: nothing is overwritten.\n\n"
     "Example: pbftctl init d --nodes 4 --base-port 7000 --clients 2",
     run_init},
    {NULL, NULL, NULL, NULL, NULL},
};
