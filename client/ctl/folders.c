/* Folders that did not exist, or were empty. */
#include "client/ctl/folders.h"

#include "crypto/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What will be promised in it lasts no longer than its name (FAULTS 2.40). */
static enum pbft_status name_lasts(const char *path, char error[256])
{
    if (pbft_folder_sync_of(path) == PBFT_STATUS_OK) return PBFT_STATUS_OK;
    (void)snprintf(error, 256,
                   "cannot make the folder %.150s durable: the one that it is in cannot "
                   "be synced",
                   path);
    return PBFT_STATUS_IO;
}

enum pbft_status ctl_folder_make(const char *path, char error[256])
{
    if (mkdir(path, 0755) == 0) return name_lasts(path, error);
    (void)snprintf(error, 256, "cannot make the folder %.150s: %s", path, strerror(errno));
    return PBFT_STATUS_IO;
}

enum pbft_status ctl_folder_claim(const char *path, const char *verb, char error[256])
{
    if (mkdir(path, 0755) == 0) return name_lasts(path, error);
    if (errno != EEXIST) {
        (void)snprintf(error, 256, "cannot make the folder %.150s: %s", path, strerror(errno));
        return PBFT_STATUS_IO;
    }
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (void)snprintf(error, 256, "%.150s exists and is no folder of ours", path);
        return PBFT_STATUS_EXISTS;
    }
    bool empty = true;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) empty = false;
    (void)closedir(dir);
    if (empty) return PBFT_STATUS_OK;
    (void)snprintf(error, 256,
                   "%.150s is not empty, and %s overwrites nothing: choose another folder", path,
                   verb);
    return PBFT_STATUS_EXISTS;
}

bool ctl_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

enum pbft_status ctl_node_config_save(const char *path, pbft_id id, const char *cluster,
                                      const struct pbft_config_addresses *addresses,
                                      char error[256])
{
    struct pbft_replica_config node = pbft_replica_config_default();
    node.id = id;
    (void)snprintf(node.cluster, sizeof node.cluster, "%s", cluster);
    (void)snprintf(node.key, sizeof node.key, "key");
    (void)snprintf(node.data, sizeof node.data, "data");
    (void)snprintf(node.pid_file, sizeof node.pid_file, "pbftd.pid");
    (void)snprintf(node.listen_peers, sizeof node.listen_peers, "%s", addresses->peer);
    (void)snprintf(node.listen_clients, sizeof node.listen_clients, "%s", addresses->client);
    (void)snprintf(node.admin_listen, sizeof node.admin_listen, "%s", addresses->admin);
    return pbft_replica_config_save(&node, path, error);
}
