/**
 * client/ctl/replica_files.h - what `replica replace` needs on the host of the replica, and what it
 * makes anew there.
 */
#ifndef PBFT_CLIENT_CTL_REPLICA_FILES_H
#define PBFT_CLIENT_CTL_REPLICA_FILES_H

#include "client/ctl/ctl.h"
#include "replica/config.h"

/* Whether the client's files of options->cluster are here; if not, says what is missing and what to
 * do. cluster: takes the path of its cluster.conf. An exit code. */
int ctl_replica_client(const struct ctl_options *options, char cluster[PBFT_CONFIG_PATH_MAX]);

/* Make the folder of replica `id`, if it is gone, and its node.conf at `path` in there, as `init`
 * does. Refused, with a sentence, unless the replica's addresses in cluster.conf are of this host
 * and nobody listens there: elsewhere the new key would be of no use, and the old one would be
 * gone. An exit code. */
int ctl_replica_make_node(const char *cluster, pbft_id id, const char *path);

#endif
