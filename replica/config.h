/**
 * replica/config.h - configuration files: cluster.conf (public), node.conf and client.conf
 * (private). docs/configuration.md lists every key with unit, default and range.
 *
 * INI, read with inih. Lines of 199 bytes or more are refused before parsing (inih would split
 * them); unknown sections and keys, and keys given twice, are errors. Every error is one sentence
 * that begins with the file, and the line where there is one. Paths inside a file are relative to
 * the folder that holds it.
 */
#ifndef PBFT_REPLICA_CONFIG_H
#define PBFT_REPLICA_CONFIG_H

#include "crypto/cluster.h"
#include "store/superblock.h"

#define PBFT_CONFIG_LINE_MAX 198u      /* bytes of a line, without its end */
#define PBFT_CONFIG_FILE_MAX 16777216u /* bytes of a file */
#define PBFT_CONFIG_URL_MAX  128u      /* bytes with the final 0 */
#define PBFT_CONFIG_PATH_MAX 1024u     /* bytes with the final 0 */

/* Where one replica is reached. Outside the cluster id (PROTOCOL 2). */
struct pbft_config_addresses {
    char peer[PBFT_CONFIG_URL_MAX];   /* tcp://host:port */
    char client[PBFT_CONFIG_URL_MAX]; /* tcp://host:port */
    char admin[PBFT_CONFIG_URL_MAX];  /* http://host:port, for people; empty: none */
};

/* cluster.conf. `cluster` is sealed; its genesis root is left zero, for it follows from the
 * service, unless the cluster was restored. */
struct pbft_cluster_config {
    struct pbft_cluster cluster;
    struct pbft_config_addresses *addresses; /* params.n of them */
};

/**
 * error    takes one sentence when the status is not OK
 * Returns  PBFT_STATUS_NOT_FOUND, PERMISSION or IO (the file), CONFIG (what is in it), MEMORY
 */
PBFT_MUST_USE enum pbft_status pbft_cluster_config_load(struct pbft_cluster_config *out,
                                                        const char *path, char error[256]);
void pbft_cluster_config_free(struct pbft_cluster_config *config);
/* Writes a new file; never overwrites (PBFT_STATUS_EXISTS). */
PBFT_MUST_USE enum pbft_status pbft_cluster_config_save(const struct pbft_cluster_config *config,
                                                        const char *path, char error[256]);

enum pbft_durability { PBFT_DURABILITY_MEMORY, PBFT_DURABILITY_ASYNC, PBFT_DURABILITY_SYNC };
enum pbft_config_level {
    PBFT_CONFIG_LEVEL_ERROR,
    PBFT_CONFIG_LEVEL_WARN,
    PBFT_CONFIG_LEVEL_INFO,
    PBFT_CONFIG_LEVEL_DEBUG,
};
enum pbft_config_format {
    PBFT_CONFIG_FORMAT_AUTO, /* logfmt on a terminal, else JSON */
    PBFT_CONFIG_FORMAT_LOGFMT,
    PBFT_CONFIG_FORMAT_JSON,
};

/* "memory", "async", "sync"; static. */
const char *pbft_durability_text(enum pbft_durability durability);
bool pbft_durability_parse(const char *text, enum pbft_durability *out);

/* node.conf. Paths are joined with the file's folder. */
struct pbft_replica_config {
    pbft_id id;
    char cluster[PBFT_CONFIG_PATH_MAX];
    char key[PBFT_CONFIG_PATH_MAX];
    char data[PBFT_CONFIG_PATH_MAX];
    char pid_file[PBFT_CONFIG_PATH_MAX];
    char listen_peers[PBFT_CONFIG_URL_MAX];
    char listen_clients[PBFT_CONFIG_URL_MAX];
    char admin_listen[PBFT_CONFIG_URL_MAX]; /* empty: none */
    enum pbft_durability durability;
    enum pbft_config_level log_level;
    enum pbft_config_format log_format;
    uint32_t threads;                   /* 0 = auto: 1 with up to two CPUs, else 3 */
    uint64_t frames_max_bytes;          /* budget of the frame pool */
    uint64_t flush_bytes;               /* of log, between two checkpoints on disk */
    uint64_t transfer_bytes_per_second; /* of pages, while it catches up (node.h) */
};
/* Same statuses as pbft_cluster_config_load(). */
PBFT_MUST_USE enum pbft_status pbft_replica_config_load(struct pbft_replica_config *out,
                                                        const char *path, char error[256]);
/* Paths are written as they stand in `config`. Never overwrites. */
PBFT_MUST_USE enum pbft_status pbft_replica_config_save(const struct pbft_replica_config *config,
                                                        const char *path, char error[256]);
struct pbft_replica_config pbft_replica_config_default(void);

/* Beside a replica's key: the one that replaces it, until its epoch begins (PROTOCOL 29). */
#define PBFT_KEY_NEXT ".next"

/* client.conf. */
struct pbft_client_config {
    char cluster[PBFT_CONFIG_PATH_MAX];
    char key[PBFT_CONFIG_PATH_MAX];
    uint64_t timeout_ns; /* of one call */
};
PBFT_MUST_USE enum pbft_status pbft_client_config_load(struct pbft_client_config *out,
                                                       const char *path, char error[256]);
PBFT_MUST_USE enum pbft_status pbft_client_config_save(const struct pbft_client_config *config,
                                                       const char *path, char error[256]);
struct pbft_client_config pbft_client_config_default(void);

/* Who a replica's data directory belongs to; its key fingerprint is H("fingerprint", key). For
 * pbft_superblock_create() and pbft_superblock_open(). */
void pbft_config_owner(const struct pbft_cluster *cluster, pbft_id id,
                       struct pbft_superblock_owner *out);

/* An unsigned number followed by ns, us, ms, s, m, h or d. False if it is not one, or too large. */
bool pbft_config_duration(const char *text, uint64_t *out_ns);

#endif
