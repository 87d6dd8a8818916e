/**
 * client/ctl/folders.h - folders that a verb makes and fills: nothing is ever overwritten.
 */
#ifndef PBFT_CLIENT_CTL_FOLDERS_H
#define PBFT_CLIENT_CTL_FOLDERS_H

#include "replica/config.h"

/* Made now. error takes one sentence without its full stop, 256 bytes. PBFT_STATUS_IO. */
enum pbft_status ctl_folder_make(const char *path, char error[256]) PBFT_MUST_USE;
/* Made, or there and empty. verb: what overwrites nothing. PBFT_STATUS_EXISTS, PBFT_STATUS_IO. */
enum pbft_status ctl_folder_claim(const char *path, const char *verb,
                                  char error[256]) PBFT_MUST_USE;

/* Whatever it is; what a link shows. */
bool ctl_path_exists(const char *path);

/* A node.conf; the key and the data are beside it, `cluster` is how it names its cluster.conf. */
enum pbft_status ctl_node_config_save(const char *path, pbft_id id, const char *cluster,
                                      const struct pbft_config_addresses *addresses,
                                      char error[256]) PBFT_MUST_USE;

#endif
