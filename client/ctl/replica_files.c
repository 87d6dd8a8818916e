/* What `replica replace` needs, and what it makes anew of a folder that is lost. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "client/ctl/replica_files.h"

#include "client/client_files.h"
#include "client/ctl/folders.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the client ---- */

static int no_admin(const char *path)
{
    return ctl_fail(CTL_USAGE,
                    "%s is not here, and the administrator's key has to sign this: copy its folder "
                    "(client, as `pbftctl init` made it) beside cluster.conf until this is done, "
                    "or name it with --cluster, and the replica's with --node.",
                    path);
}

int ctl_replica_client(const struct ctl_options *options, char cluster[PBFT_CONFIG_PATH_MAX])
{
    char error[256];
    struct pbft_client_files files;
    struct pbft_client_config client;
    cluster[0] = '\0';
    if (options->cluster == NULL) return CTL_OK; /* ctl_open() knows what to say, of all this */
    if (pbft_client_files(options->cluster, &files, error) != PBFT_STATUS_OK) return CTL_OK;
    if (!ctl_path_exists(files.config)) return no_admin(files.config);
    if (pbft_client_config_load(&client, files.config, error) != PBFT_STATUS_OK) return CTL_OK;
    if (!ctl_path_exists(client.key)) return no_admin(client.key);
    if (!ctl_path_exists(client.cluster))
        return ctl_fail(CTL_USAGE, "%s is not here: copy it from another host, it holds no secret.",
                        client.cluster);
    memcpy(cluster, client.cluster, sizeof client.cluster);
    return CTL_OK;
}

/* ---- the replica ---- */

/* tcp://HOST:PORT, HOST perhaps in brackets. */
static bool resolve(const char *url, struct addrinfo **out)
{
    char host[PBFT_CONFIG_URL_MAX];
    const char *from = strstr(url, "://");
    const char *port = strrchr(url, ':');
    if (from == NULL || port == NULL || port <= from) return false;
    from += 3;
    int size = (int)(port - from);
    if (size > 2 && from[0] == '[') {
        from++;
        size -= 2;
    }
    (void)snprintf(host, sizeof host, "%.*s", size, from);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    return getaddrinfo(host, port + 1, &hints, out) == 0;
}

/* 0, or why one cannot listen there. */
static int try_listening(const char *url)
{
    struct addrinfo *all = NULL;
    int why = EADDRNOTAVAIL, on = 1;
    if (!resolve(url, &all)) return why;
    for (const struct addrinfo *a = all; a != NULL && why == EADDRNOTAVAIL; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* as pbftd does */
        why = bind(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        (void)close(fd);
    }
    freeaddrinfo(all);
    return why;
}

static int may_be_here(const char *path, pbft_id id, const char *url)
{
    int why = try_listening(url);
    if (why == 0) return CTL_OK;
    if (why == EADDRINUSE)
        return ctl_fail(CTL_USAGE,
                        "there is no %s, but something listens at %s: if it is replica %u, give "
                        "--node with its folder, else stop it.",
                        path, url, (unsigned)id);
    return ctl_fail(CTL_USAGE,
                    "there is no %s, and it cannot be made anew here: listening at %s, where "
                    "cluster.conf has replica %u, fails (%s). Run this where that replica runs, or "
                    "give --node with its folder.",
                    path, url, (unsigned)id, strerror(why));
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* How node.conf is to name it: as `init` does, if it lies there. */
static bool name_cluster(const char *cluster, const char *folder, char out[PBFT_CONFIG_PATH_MAX])
{
    char beside[PBFT_CONFIG_PATH_MAX + 32];
    (void)snprintf(beside, sizeof beside, "%s/../cluster.conf", folder);
    char *whole = same_file(cluster, beside) ? strdup("../cluster.conf") : realpath(cluster, NULL);
    int size = whole == NULL ? -1 : snprintf(out, PBFT_CONFIG_PATH_MAX, "%s", whole);
    free(whole);
    return size > 0 && size < (int)PBFT_CONFIG_PATH_MAX;
}

static int make(const struct pbft_cluster_config *config, const char *cluster, pbft_id id,
                const char *path)
{
    const struct pbft_config_addresses *a = &config->addresses[id];
    char folder[PBFT_CONFIG_PATH_MAX], name[PBFT_CONFIG_PATH_MAX], error[256];
    int size = snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (size < 0 || (size_t)size >= sizeof folder)
        return ctl_fail(CTL_USAGE, "the path of the node's folder is too long.");
    int code = may_be_here(path, id, a->peer);
    if (code == CTL_OK) code = may_be_here(path, id, a->client);
    if (code != CTL_OK) return code;
    enum pbft_status status = PBFT_STATUS_OK;
    if (!ctl_path_exists(folder)) status = ctl_folder_make(folder, error);
    if (status == PBFT_STATUS_OK && !name_cluster(cluster, folder, name))
        return ctl_fail(CTL_USAGE, "the path of %s is too long.", cluster);
    if (status == PBFT_STATUS_OK) status = ctl_node_config_save(path, id, name, a, error);
    if (status != PBFT_STATUS_OK) return ctl_fail(CTL_NO, "%s.", error);
    (void)fprintf(stderr,
                  "pbftctl: %s was lost and is made from cluster.conf; settings that it had of its "
                  "own are the defaults again.\n",
                  path);
    return CTL_OK;
}

int ctl_replica_make_node(const char *cluster, pbft_id id, const char *path)
{
    char error[256];
    struct pbft_cluster_config config;
    if (pbft_cluster_config_load(&config, cluster, error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", error);
    int code = make(&config, cluster, id, path);
    pbft_cluster_config_free(&config);
    return code;
}
