/*
 * pbftctl snapshot restore: a new cluster that begins where a snapshot ends.
 *
 * It is a new history, so it gets a new nonce and with it a new cluster id (PROTOCOL 2): no vote,
 * certificate or evidence of the old one means anything in it, and replicas and clients keep their
 * keys (PROTOCOL 1). But it begins at the snapshot's sequence number and not at 0. Change marks in
 * the pages, the floors of fast reads and the records of sessions all count in sequence numbers
 * (PROTOCOL 7, 24, 32): with smaller ones a page would keep the mark of before a change made after
 * it, and equal marks would be of different contents.
 */
#include "client/ctl/folders.h"
#include "client/ctl/snapshot.h"
#include "crypto/keys.h"
#include "replica/config.h"
#include "replica/data.h"
#include "replica/epochs.h"

#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct plan {
    const char *file, *from, *to, *with;
    struct pbft_cluster_config old, made;
    bool has_old, has_made;
    struct pbft_backup backup;
    struct pbft_snapshot *state;
    unsigned nodes, clients;
    char error[256];
};

/* ---- genesis ---- */

static bool same_history(const struct pbft_cluster *a, const struct pbft_cluster *b)
{
    return strcmp(a->service, b->service) == 0 &&
           memcmp(&a->params, &b->params, sizeof a->params) == 0 &&
           a->client_count == b->client_count &&
           (a->client_count == 0 ||
            memcmp(a->clients, b->clients, a->client_count * sizeof a->clients[0]) == 0);
}

/* Whoever began once has voted: the same key with an empty log in the same cluster is amnesia that
 * nobody can see (PROTOCOL 29). What lies beside the genesis file is the least that we know of. */
static bool began_already(const struct plan *p, uint32_t *id)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    const char *slash = strrchr(p->with, '/');
    int folder = slash == NULL ? 1 : (int)(slash - p->with) + 1;
    for (*id = 0; *id < p->made.cluster.params.n; ++*id) {
        (void)snprintf(path, sizeof path, "%s/node-%u/node.conf", p->from, *id);
        if (!ctl_path_exists(path)) continue;
        (void)snprintf(path, sizeof path, "%.*s/node-%u", folder, slash == NULL ? "." : p->with,
                       *id);
        if (ctl_path_exists(path)) return true;
    }
    return false;
}

/* The genesis of a restore that another host began. */
static int load_with(struct plan *p)
{
    if (pbft_cluster_config_load(&p->made, p->with, p->error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", p->error);
    p->has_made = true;
    const struct pbft_cluster *c = &p->made.cluster;
    if (!same_history(c, &p->old.cluster))
        return ctl_fail(CTL_REFUSED,
                        "%s lists another service, other parameters or clients "
                        "than %s/cluster.conf.",
                        p->with, p->from);
    if (c->genesis_seq != p->backup.checkpoint.seq ||
        !pbft_digest_equal(&c->genesis_root, &p->backup.checkpoint.root))
        return ctl_fail(CTL_REFUSED, "%s does not begin with the checkpoint of %s.", p->with,
                        p->file);
    uint32_t id;
    if (!began_already(p, &id)) return CTL_OK;
    return ctl_fail(CTL_REFUSED,
                    "node-%u of that cluster is there already: a replica that has voted must not "
                    "begin again with the same key (PROTOCOL 29). If it lost its data, `pbftctl "
                    "replica replace %u` gives it a new one; without --with a new cluster begins.",
                    id, id);
}

/* The replicas' keys as they are by now, which may be later ones than those that signed the backup:
 * what the data folders that are here know of epochs, and the key files themselves. */
static void newest_keys(struct plan *p)
{
    struct pbft_public_key *keys = p->made.cluster.replicas;
    pbft_epoch newest = p->backup.epoch;
    uint32_t n = p->old.cluster.params.n;
    memcpy(keys, p->backup.replicas, sizeof p->backup.replicas);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < n; i++) {
            char path[PBFT_CONFIG_PATH_MAX + 32];
            struct pbft_replica_config config;
            struct pbft_cluster known = p->old.cluster;
            struct pbft_keypair keypair;
            (void)snprintf(path, sizeof path, "%s/node-%u/node.conf", p->from, i);
            if (pbft_replica_config_load(&config, path, p->error) != PBFT_STATUS_OK) continue;
            if (pass == 0) {
                bool ok = pbft_epochs_load(config.data, &known, p->error) == PBFT_STATUS_OK;
                if (ok && known.epoch > newest) memcpy(keys, known.replicas, sizeof known.replicas);
                if (ok && known.epoch > newest) newest = known.epoch;
                pbft_epoch_free(&known);
            } else if (pbft_keypair_load(&keypair, config.key, p->error) == PBFT_STATUS_OK) {
                keys[i] = keypair.public;
                pbft_keypair_wipe(&keypair);
            }
        }
    }
}

static int draw(struct plan *p)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/cluster.conf", p->from);
    if (pbft_cluster_config_load(&p->made, path, p->error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", p->error);
    p->has_made = true;
    struct pbft_cluster *c = &p->made.cluster;
    pbft_cluster_unseal(c);
    randombytes_buf(c->nonce, sizeof c->nonce);
    newest_keys(p);
    c->genesis_seq = p->backup.checkpoint.seq;
    c->genesis_root = p->backup.checkpoint.root;
    if (pbft_cluster_seal(c, p->error) == PBFT_STATUS_OK) return CTL_OK;
    return ctl_fail(CTL_NO, "%s.", p->error);
}

/* ---- nodes and clients ---- */

/* Key files are private wherever they come to lie: written anew, never linked or copied. */
static enum pbft_status copy_key(struct plan *p, const char *from, const char *to,
                                 const struct pbft_public_key *expected)
{
    struct pbft_keypair keypair;
    enum pbft_status status = pbft_keypair_load(&keypair, from, p->error);
    if (status != PBFT_STATUS_OK) return status;
    if (pbft_public_key_equal(&keypair.public, expected)) {
        status = pbft_keypair_save(&keypair, to, p->error);
    } else {
        status = PBFT_STATUS_CONFIG;
        (void)snprintf(p->error, sizeof p->error,
                       "the key in %.150s is not the one that cluster.conf lists", from);
    }
    pbft_keypair_wipe(&keypair);
    return status;
}

static enum pbft_status copy_node_config(struct plan *p, const char *from, const char *to,
                                         uint32_t id, struct pbft_replica_config *config)
{
    enum pbft_status status = pbft_replica_config_load(config, from, p->error);
    if (status != PBFT_STATUS_OK) return status;
    if (config->id != id) {
        (void)snprintf(p->error, sizeof p->error, "%.150s: it is of replica %u", from,
                       (unsigned)config->id);
        return PBFT_STATUS_CONFIG;
    }
    struct pbft_replica_config made = *config; /* of the new folder, whatever the old paths were */
    (void)snprintf(made.cluster, sizeof made.cluster, "../cluster.conf");
    (void)snprintf(made.key, sizeof made.key, "key");
    (void)snprintf(made.data, sizeof made.data, "data");
    if (made.pid_file[0] != '\0') (void)snprintf(made.pid_file, sizeof made.pid_file, "pbftd.pid");
    return pbft_replica_config_save(&made, to, p->error);
}

static enum pbft_status make_data(struct plan *p, uint32_t id, const char *path)
{
    struct pbft_superblock_owner owner;
    char why[PBFT_PAGES_ERROR_BYTES];
    pbft_config_owner(&p->made.cluster, id, &owner);
    enum pbft_status status = ctl_folder_make(path, p->error);
    if (status != PBFT_STATUS_OK) return status;
    status = pbft_data_create_with(path, &owner, &p->made.cluster, p->state, why);
    if (status != PBFT_STATUS_OK)
        (void)snprintf(p->error, sizeof p->error, "cannot write %.100s: %.140s", path, why);
    return status;
}

static enum pbft_status make_node(struct plan *p, uint32_t id)
{
    char from[PBFT_CONFIG_PATH_MAX + 32], to[PBFT_CONFIG_PATH_MAX + 32];
    struct pbft_replica_config config;
    (void)snprintf(from, sizeof from, "%s/node-%u/node.conf", p->from, id);
    if (!ctl_path_exists(from)) return PBFT_STATUS_OK; /* of another host */
    (void)snprintf(to, sizeof to, "%s/node-%u", p->to, id);
    enum pbft_status status = ctl_folder_make(to, p->error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(to, sizeof to, "%s/node-%u/node.conf", p->to, id);
    status = copy_node_config(p, from, to, id, &config);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(to, sizeof to, "%s/node-%u/key", p->to, id);
    status = copy_key(p, config.key, to, &p->made.cluster.replicas[id]);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(to, sizeof to, "%s/node-%u/data", p->to, id);
    status = make_data(p, id, to);
    if (status == PBFT_STATUS_OK) p->nodes++;
    return status;
}

/* Client 0 in client, client J in client-J, as init made them. */
static enum pbft_status make_client(struct plan *p, uint32_t index)
{
    char name[32], from[PBFT_CONFIG_PATH_MAX + 64], to[PBFT_CONFIG_PATH_MAX + 64];
    struct pbft_client_config config;
    (void)snprintf(name, sizeof name, index == 0 ? "client" : "client-%u", index);
    (void)snprintf(from, sizeof from, "%s/%s/client.conf", p->from, name);
    if (!ctl_path_exists(from)) return PBFT_STATUS_OK;
    enum pbft_status status = pbft_client_config_load(&config, from, p->error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(to, sizeof to, "%s/%s", p->to, name);
    status = ctl_folder_make(to, p->error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(to, sizeof to, "%s/%s/key", p->to, name);
    status = copy_key(p, config.key, to, &p->made.cluster.clients[index]);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(config.cluster, sizeof config.cluster, "../cluster.conf");
    (void)snprintf(config.key, sizeof config.key, "key");
    (void)snprintf(to, sizeof to, "%s/%s/client.conf", p->to, name);
    status = pbft_client_config_save(&config, to, p->error);
    if (status == PBFT_STATUS_OK) p->clients++;
    return status;
}

static int make_all(struct plan *p)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    enum pbft_status status = ctl_folder_claim(p->to, "restore", p->error);
    (void)snprintf(path, sizeof path, "%s/cluster.conf", p->to);
    if (status == PBFT_STATUS_OK) status = pbft_cluster_config_save(&p->made, path, p->error);
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->made.cluster.params.n; i++)
        status = make_node(p, i);
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < p->made.cluster.client_count; i++)
        status = make_client(p, i);
    if (status == PBFT_STATUS_OK) return CTL_OK;
    size_t size = strlen(p->error); /* sentences about key files have their full stop */
    return ctl_fail(status == PBFT_STATUS_EXISTS ? CTL_USAGE : CTL_NO, "%s%s", p->error,
                    size > 0 && p->error[size - 1] == '.' ? "" : ".");
}

/* A cluster's folder as another host has it may hold none: nothing would begin, and nobody would
 * be told. */
static int any_node(const struct plan *p)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    for (uint32_t i = 0; i < p->old.cluster.params.n; i++) {
        (void)snprintf(path, sizeof path, "%s/node-%u/node.conf", p->from, i);
        if (ctl_path_exists(path)) return CTL_OK;
    }
    return ctl_fail(CTL_USAGE,
                    "%s has no node-0/node.conf to node-%u/node.conf: there is no node to restore; "
                    "give the folder that holds the replicas' keys with --cluster.",
                    p->from, p->old.cluster.params.n - 1u);
}

/* `up` runs all nodes of a cluster; here may be only some. */
static void say_next(const struct plan *p)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    if (p->nodes == p->made.cluster.params.n) {
        (void)printf("Next: pbftctl up %s (on further hosts: restore --with this cluster.conf)\n",
                     p->to);
        return;
    }
    (void)printf("Next:");
    const char *before = " ";
    for (uint32_t i = 0; i < p->made.cluster.params.n; i++) {
        (void)snprintf(path, sizeof path, "%s/node-%u/node.conf", p->to, i);
        if (!ctl_path_exists(path)) continue;
        (void)printf("%spbftd --config %s", before, path);
        before = "; ";
    }
    (void)printf(" (hosts that lack their nodes: restore --with this cluster.conf)\n");
}

/* ---- all together ---- */

static int restore(const struct ctl_options *options, struct plan *p)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/cluster.conf", p->from);
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return ctl_fail(CTL_REFUSED,
                        "the cryptographic self-test failed: this libsodium cannot be trusted.");
    if (pbft_cluster_config_load(&p->old, path, p->error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", p->error);
    p->has_old = true;
    int code = any_node(p);
    if (code == CTL_OK) code = ctl_snapshot_read(p->file, &p->old.cluster, &p->backup, &p->state);
    if (code == CTL_OK) code = p->with != NULL ? load_with(p) : draw(p);
    if (code == CTL_OK) code = make_all(p);
    if (code != CTL_OK) return code;
    char id[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(p->made.cluster.id.bytes, PBFT_DIGEST_BYTES, id);
    if (options->json)
        (void)printf("{\"cluster_id\":\"%s\",\"genesis_seq\":%llu,\"nodes\":%u,\"clients\":%u}\n",
                     id, (unsigned long long)p->made.cluster.genesis_seq, p->nodes, p->clients);
    else
        (void)printf("cluster %s: begins with checkpoint %llu; %u nodes, %u client keys in %s\n",
                     id, (unsigned long long)p->made.cluster.genesis_seq, p->nodes, p->clients,
                     p->to);
    if (!options->json) say_next(p);
    return CTL_OK;
}

static int parse(struct plan *p, int argc, char **argv)
{
    static const struct option known[] = {{"to", required_argument, NULL, 't'},
                                          {"with", required_argument, NULL, 'w'},
                                          {NULL, 0, NULL, 0}};
    const struct ctl_command *command = &ctl_snapshot_commands[0];
    int option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == '?')
            return ctl_usage(command, "there is no such option, or its value is missing");
        *(option == 't' ? &p->to : &p->with) = optarg;
    }
    if (argc - optind != 1) return ctl_usage(command, "one snapshot file is needed");
    p->file = argv[optind];
    if (p->from == NULL)
        return ctl_usage(command, "--cluster names the folder with the old cluster.conf and keys");
    if (p->to == NULL) return ctl_usage(command, "--to names the folder of the new cluster");
    if (strlen(p->to) < PBFT_CONFIG_PATH_MAX - 64 && strlen(p->from) < PBFT_CONFIG_PATH_MAX - 64)
        return -1;
    return ctl_usage(command, "the folder's path is too long");
}

int ctl_snapshot_restore(const struct ctl_options *options, int argc, char **argv)
{
    struct plan *p = calloc(1, sizeof *p);
    if (p == NULL) return ctl_fail(CTL_NO, "out of memory.");
    p->from = options->cluster;
    int code = parse(p, argc, argv);
    if (code < 0) code = restore(options, p);
    pbft_snapshot_release(p->state);
    pbft_backup_free(&p->backup);
    if (p->has_old) pbft_cluster_config_free(&p->old);
    if (p->has_made) pbft_cluster_config_free(&p->made);
    free(p);
    return code;
}
