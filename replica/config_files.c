/* replica/config_files.c - what stands in cluster.conf, node.conf and client.conf. */
#include "replica/config_internal.h"

#include "crypto/files.h"
#include "crypto/hash.h"
#include "crypto/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEX_BYTES    65u /* of a key or nonce, with the final 0 */
#define CALL_TIMEOUT UINT64_C(5000000000)
#define HOUR_NS      UINT64_C(3600000000000)
#define YEAR_NS      (UINT64_C(8760) * HOUR_NS)

static const char *const durabilities[] = {"memory", "async", "sync", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const formats[] = {"auto", "logfmt", "json", NULL};

const char *pbft_durability_text(enum pbft_durability durability)
{
    return (unsigned)durability <= PBFT_DURABILITY_SYNC ? durabilities[durability] : "?";
}

bool pbft_durability_parse(const char *text, enum pbft_durability *out)
{
    for (unsigned i = 0; durabilities[i] != NULL; i++) {
        if (strcmp(durabilities[i], text) != 0) continue;
        *out = (enum pbft_durability)i;
        return true;
    }
    return false;
}

void pbft_config_owner(const struct pbft_cluster *cluster, pbft_id id,
                       struct pbft_superblock_owner *out)
{
    PBFT_ASSERT(id < cluster->params.n);
    struct pbft_span key = {cluster->replicas[id].bytes, PBFT_PUBLIC_KEY_BYTES};
    out->cluster_id = cluster->id;
    out->replica = id;
    pbft_hash(&out->key_fingerprint, "fingerprint", &key, 1);
}

/* ---- cluster.conf ---- */

#define PARAM(member, kind_, min_)                                                                 \
    {                                                                                              \
        .section = "parameters", .name = #member, .kind = (kind_),                                 \
        .offset = offsetof(struct cluster_text, params.member), .min = (min_), .max = UINT32_MAX   \
    }
#define PARAM_TIME(name_, member)                                                                  \
    {                                                                                              \
        .section = "parameters", .name = (name_), .kind = CONFIG_DURATION,                         \
        .offset = offsetof(struct cluster_text, params.member), .min = 1, .max = YEAR_NS           \
    }

struct cluster_text {
    char service[PBFT_SERVICE_NAME_MAX + 1];
    char nonce[HEX_BYTES];
    char genesis_root[HEX_BYTES];
    uint64_t genesis_seq;
    struct pbft_params params;
};

/* pbft_params_check() judges ranges, with its own sentences. */
static const struct config_field cluster_fields[] = {
    {.section = "cluster",
     .name = "service",
     .kind = CONFIG_TEXT,
     .offset = offsetof(struct cluster_text, service),
     .max = PBFT_SERVICE_NAME_MAX + 1,
     .required = true},
    {.section = "cluster",
     .name = "nonce",
     .kind = CONFIG_TEXT,
     .offset = offsetof(struct cluster_text, nonce),
     .max = HEX_BYTES,
     .required = true},
    {.section = "cluster",
     .name = "genesis_seq",
     .kind = CONFIG_U64,
     .offset = offsetof(struct cluster_text, genesis_seq),
     .min = 1,
     .max = UINT64_MAX},
    {.section = "cluster",
     .name = "genesis_root",
     .kind = CONFIG_TEXT,
     .offset = offsetof(struct cluster_text, genesis_root),
     .max = HEX_BYTES},
    {.section = "parameters",
     .name = "n",
     .kind = CONFIG_U32,
     .offset = offsetof(struct cluster_text, params.n),
     .min = PBFT_REPLICAS_MIN,
     .max = PBFT_REPLICAS_MAX,
     .required = true},
    PARAM(window, CONFIG_U32, 0),
    PARAM(checkpoint_interval, CONFIG_U32, 0),
    PARAM(pipeline_depth, CONFIG_U32, 0),
    PARAM(batch_max_bytes, CONFIG_BYTES32, 0),
    PARAM(batch_max_requests, CONFIG_U32, 0),
    PARAM(bundle_max_ops, CONFIG_U32, 0),
    PARAM(key_max_bytes, CONFIG_BYTES32, 0),
    PARAM(value_max_bytes, CONFIG_BYTES32, 0),
    PARAM(reply_max_bytes, CONFIG_BYTES32, 0),
    PARAM(session_window, CONFIG_U32, 0),
    PARAM(sessions_per_client, CONFIG_U32, 0),
    PARAM(sessions_total, CONFIG_U32, 0),
    PARAM(client_quota, CONFIG_U32, 0),
    PARAM_TIME("session_idle", session_idle_ns),
    PARAM_TIME("clock_skew", clock_skew_ns),
    PARAM_TIME("view_timeout", view_timeout_ns),
    PARAM_TIME("view_timeout_max", view_timeout_max_ns),
};
#define CLUSTER_FIELDS (sizeof cluster_fields / sizeof cluster_fields[0])

/* The sections with a number in their name. */
struct cluster_lists {
    struct pbft_cluster_config *out;
    uint8_t seen[PBFT_REPLICAS_MAX]; /* bits: key, peer, client, admin */
    uint32_t client_capacity;
};
enum { SEEN_KEY = 1, SEEN_PEER = 2, SEEN_CLIENT = 4, SEEN_ADMIN = 8 };

/* Canonical decimal below `limit`. */
static bool index_of(const char *text, uint64_t limit, uint32_t *out)
{
    uint64_t value;
    if (!config_number(text, &value) || value >= limit || (text[0] == '0' && text[1] != '\0'))
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool replica_section(const char *section, uint32_t *id)
{
    return strncmp(section, "replica.", 8) == 0 && index_of(section + 8, PBFT_REPLICAS_MAX, id);
}

static bool cluster_section(const char *section)
{
    uint32_t id;
    return strcmp(section, "clients") == 0 || replica_section(section, &id);
}

static bool on_replica_key(struct config_parse *p, uint32_t id, const char *name, const char *value)
{
    struct cluster_lists *lists = p->context;
    struct pbft_config_addresses *a = &lists->out->addresses[id];
    struct config_field field = {.name = name, .kind = CONFIG_TCP};
    struct config_parse sub = *p; /* the same line, another target */
    uint8_t bit;
    if (strcmp(name, "key") == 0) {
        bit = SEEN_KEY;
    } else if (strcmp(name, "peer") == 0) {
        bit = SEEN_PEER;
        sub.target = a->peer;
    } else if (strcmp(name, "client") == 0) {
        bit = SEEN_CLIENT;
        sub.target = a->client;
    } else if (strcmp(name, "admin") == 0) {
        bit = SEEN_ADMIN;
        field.kind = CONFIG_HTTP;
        sub.target = a->admin;
    } else {
        return config_problem(p, "unknown key %.60s in section [replica.%u]", name, id);
    }
    if ((lists->seen[id] & bit) != 0) return config_problem(p, "%s is given twice", name);
    lists->seen[id] |= bit;
    if (bit == SEEN_KEY) {
        if (pbft_hex_decode(value, lists->out->cluster.replicas[id].bytes, PBFT_PUBLIC_KEY_BYTES))
            return true;
        return config_problem(p, "key must be 64 lower-case hex digits");
    }
    return config_store(&sub, &field, value) || config_problem(p, "%s", sub.problem);
}

static bool on_client_key(struct config_parse *p, const char *name, const char *value)
{
    struct cluster_lists *lists = p->context;
    struct pbft_cluster *c = &lists->out->cluster;
    uint32_t index;
    if (!index_of(name, PBFT_CLIENTS_MAX, &index))
        return config_problem(p, "unknown key %.60s in section [clients]", name);
    if (index != c->client_count)
        return config_problem(p, "clients are numbered 0, 1, 2 ... in order: %u is expected here",
                              c->client_count);
    if (c->client_count == lists->client_capacity) {
        uint32_t capacity = lists->client_capacity == 0 ? 16 : 2 * lists->client_capacity;
        struct pbft_public_key *grown = realloc(c->clients, capacity * sizeof *grown);
        if (grown == NULL) return config_problem(p, "out of memory");
        c->clients = grown;
        lists->client_capacity = capacity;
    }
    if (!pbft_hex_decode(value, c->clients[index].bytes, PBFT_PUBLIC_KEY_BYTES))
        return config_problem(p, "a client's key must be 64 lower-case hex digits");
    c->client_count++;
    return true;
}

static bool on_cluster_list(struct config_parse *p, const char *section, const char *name,
                            const char *value)
{
    uint32_t id;
    if (replica_section(section, &id)) return on_replica_key(p, id, name, value);
    return on_client_key(p, name, value);
}

static bool lists_complete(const struct cluster_lists *lists, uint32_t n, char problem[128])
{
    for (uint32_t i = 0; i < PBFT_REPLICAS_MAX; i++) {
        uint8_t needed = SEEN_KEY | SEEN_PEER | SEEN_CLIENT;
        if (i < n && (lists->seen[i] & needed) != needed) {
            (void)snprintf(problem, 128, "section [replica.%u] must have key, peer and client", i);
            return false;
        }
        if (i >= n && lists->seen[i] != 0) {
            (void)snprintf(problem, 128, "section [replica.%u] is beyond n = %u", i, n);
            return false;
        }
    }
    return true;
}

/* Defaults for the parameters that are not given. */
static void fill_params(const struct config_parse *p, struct pbft_params *params)
{
    struct cluster_text defaults = {.params = pbft_params_default(params->n)};
    for (size_t i = 0; i < CLUSTER_FIELDS; i++) {
        const struct config_field *f = &cluster_fields[i];
        if (strcmp(f->section, "parameters") != 0 || (p->seen >> i & 1) != 0) continue;
        size_t size = f->kind == CONFIG_DURATION ? sizeof(uint64_t) : sizeof(uint32_t);
        memcpy((char *)p->target + f->offset, (char *)&defaults + f->offset, size);
    }
}

/* The line of the parameter that a complaint begins with; 0: it was not given, or is none. */
static int line_of(const struct config_parse *p, const char *problem)
{
    size_t size = strcspn(problem, " ");
    for (size_t i = 0; i < CLUSTER_FIELDS; i++)
        if (strncmp(cluster_fields[i].name, problem, size) == 0 &&
            cluster_fields[i].name[size] == '\0')
            return p->lines[i];
    return 0;
}

static void complain_about(const struct config_parse *p, const char *problem, char error[256])
{
    int line = line_of(p, problem);
    if (line > 0)
        (void)snprintf(error, 256, "%.100s:%d: %.130s", p->path, line, problem);
    else
        (void)snprintf(error, 256, "%.100s: %.150s", p->path, problem);
}

static enum pbft_status cluster_finish(struct config_parse *p, struct cluster_text *text,
                                       struct cluster_lists *lists, char error[256])
{
    struct pbft_cluster *c = &lists->out->cluster;
    char problem[256];
    if (!pbft_hex_decode(text->nonce, c->nonce, sizeof c->nonce)) {
        complain_about(p, "nonce must be 64 lower-case hex digits", error);
        return PBFT_STATUS_CONFIG;
    }
    bool restored = text->genesis_seq > 0, root = text->genesis_root[0] != '\0';
    if (restored != root) {
        complain_about(p, "genesis_seq and genesis_root stand together, or neither does", error);
        return PBFT_STATUS_CONFIG;
    }
    if (root && !pbft_hex_decode(text->genesis_root, c->genesis_root.bytes, PBFT_DIGEST_BYTES)) {
        complain_about(p, "genesis_root must be 64 lower-case hex digits", error);
        return PBFT_STATUS_CONFIG;
    }
    c->genesis_seq = text->genesis_seq;
    if (!lists_complete(lists, text->params.n, problem)) {
        (void)snprintf(error, 256, "%.120s: %.120s", p->path, problem);
        return PBFT_STATUS_CONFIG;
    }
    fill_params(p, &text->params);
    c->params = text->params;
    memcpy(c->service, text->service, sizeof c->service);
    enum pbft_status status = pbft_cluster_seal(c, problem);
    if (status != PBFT_STATUS_OK) complain_about(p, problem, error);
    return status;
}

enum pbft_status pbft_cluster_config_load(struct pbft_cluster_config *out, const char *path,
                                          char error[256])
{
    memset(out, 0, sizeof *out);
    struct cluster_text text;
    memset(&text, 0, sizeof text);
    struct cluster_lists lists = {.out = out};
    struct config_parse p = {
        .path = path,
        .fields = cluster_fields,
        .field_count = CLUSTER_FIELDS,
        .target = &text,
        .section_known = cluster_section,
        .other = on_cluster_list,
        .context = &lists,
    };
    out->addresses = calloc(PBFT_REPLICAS_MAX, sizeof *out->addresses);
    if (out->addresses == NULL) {
        (void)snprintf(error, 256, "out of memory");
        return PBFT_STATUS_MEMORY;
    }
    enum pbft_status status = config_read(&p, error);
    if (status == PBFT_STATUS_OK) status = cluster_finish(&p, &text, &lists, error);
    if (status != PBFT_STATUS_OK) pbft_cluster_config_free(out);
    return status;
}

void pbft_cluster_config_free(struct pbft_cluster_config *config)
{
    pbft_cluster_unseal(&config->cluster);
    free(config->cluster.clients);
    free(config->addresses);
    memset(config, 0, sizeof *config);
}

/* ---- node.conf ---- */

#define NODE(section_, member, kind_, ...)                                                         \
    {                                                                                              \
        .section = (section_), .name = #member, .kind = (kind_),                                   \
        .offset = offsetof(struct pbft_replica_config, member), __VA_ARGS__                        \
    }

static const struct config_field node_fields[] = {
    NODE("node", id, CONFIG_U32, .max = PBFT_REPLICAS_MAX - 1, .required = true),
    NODE("node", cluster, CONFIG_PATH, .required = true),
    NODE("node", key, CONFIG_PATH, .required = true),
    NODE("node", data, CONFIG_PATH, .required = true),
    NODE("node", pid_file, CONFIG_PATH, .min = 0),
    NODE("node", listen_peers, CONFIG_TCP, .required = true),
    NODE("node", listen_clients, CONFIG_TCP, .required = true),
    NODE("node", admin_listen, CONFIG_HTTP, .min = 0),
    NODE("node", durability, CONFIG_CHOICE, .choices = durabilities),
    NODE("node", flush_bytes, CONFIG_BYTES, .min = 65536, .max = UINT64_C(1) << 40),
    NODE("node", transfer_bytes_per_second, CONFIG_BYTES, .min = 65536, .max = UINT64_C(1) << 40),
    NODE("node", threads, CONFIG_U32, .min = 1, .max = 64, .word = "auto"),
    NODE("node", frames_max_bytes, CONFIG_BYTES, .min = 67108864, .max = UINT64_C(1) << 40),
    {.section = "log",
     .name = "level",
     .kind = CONFIG_CHOICE,
     .offset = offsetof(struct pbft_replica_config, log_level),
     .choices = levels},
    {.section = "log",
     .name = "format",
     .kind = CONFIG_CHOICE,
     .offset = offsetof(struct pbft_replica_config, log_format),
     .choices = formats},
};

_Static_assert(sizeof(enum pbft_durability) == sizeof(int), "a choice is stored as an int");
_Static_assert(sizeof(enum pbft_config_level) == sizeof(int), "a choice is stored as an int");
_Static_assert(sizeof(enum pbft_config_format) == sizeof(int), "a choice is stored as an int");

struct pbft_replica_config pbft_replica_config_default(void)
{
    return (struct pbft_replica_config){
        .durability = PBFT_DURABILITY_SYNC,
        .log_level = PBFT_CONFIG_LEVEL_INFO,
        .log_format = PBFT_CONFIG_FORMAT_AUTO,
        .frames_max_bytes = 268435456,
        .flush_bytes = 67108864,
        .transfer_bytes_per_second = 8388608,
    };
}

enum pbft_status pbft_replica_config_load(struct pbft_replica_config *out, const char *path,
                                          char error[256])
{
    *out = pbft_replica_config_default();
    struct config_parse p = {
        .path = path,
        .fields = node_fields,
        .field_count = sizeof node_fields / sizeof node_fields[0],
        .target = out,
    };
    struct config_field pid = NODE("node", pid_file, CONFIG_PATH, .min = 0);
    if (!config_store(&p, &pid, "pbftd.pid")) {
        (void)snprintf(error, 256, "%.120s: the path is too long", path);
        return PBFT_STATUS_CONFIG;
    }
    return config_read(&p, error);
}

/* ---- client.conf ---- */

#define CLIENT(member, name_, kind_, ...)                                                          \
    {                                                                                              \
        .section = "client", .name = (name_), .kind = (kind_),                                     \
        .offset = offsetof(struct pbft_client_config, member), __VA_ARGS__                         \
    }

static const struct config_field client_fields[] = {
    CLIENT(cluster, "cluster", CONFIG_PATH, .required = true),
    CLIENT(key, "key", CONFIG_PATH, .required = true),
    CLIENT(timeout_ns, "timeout", CONFIG_DURATION, .min = 1000000, .max = 24 * HOUR_NS),
};

struct pbft_client_config pbft_client_config_default(void)
{
    return (struct pbft_client_config){.timeout_ns = CALL_TIMEOUT};
}

enum pbft_status pbft_client_config_load(struct pbft_client_config *out, const char *path,
                                         char error[256])
{
    *out = pbft_client_config_default();
    struct config_parse p = {
        .path = path,
        .fields = client_fields,
        .field_count = sizeof client_fields / sizeof client_fields[0],
        .target = out,
    };
    return config_read(&p, error);
}

/* ---- writing ---- */

struct writer {
    FILE *file;
    const char *path;
};

static enum pbft_status writer_open(struct writer *w, const char *path, mode_t mode,
                                    char error[256])
{
    w->path = path;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    w->file = fd < 0 ? NULL : fdopen(fd, "w");
    if (w->file != NULL) return PBFT_STATUS_OK;
    int saved = errno;
    if (fd >= 0) (void)close(fd);
    (void)snprintf(error, 256, "cannot create %.150s: %s", path, strerror(saved));
    return saved == EEXIST ? PBFT_STATUS_EXISTS : PBFT_STATUS_IO;
}

static enum pbft_status writer_close(struct writer *w, char error[256])
{
    bool ok = fflush(w->file) == 0 && fsync(fileno(w->file)) == 0;
    if (fclose(w->file) != 0) ok = false;
    if (ok && pbft_folder_sync_of(w->path) == PBFT_STATUS_OK) return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "cannot write %.150s", w->path);
    return PBFT_STATUS_IO;
}

static void write_duration(FILE *f, const char *name, uint64_t ns)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {{"h", HOUR_NS}, {"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
    size_t i = 0;
    while (ns % units[i].factor != 0)
        i++;
    (void)fprintf(f, "%s = %llu%s\n", name, (unsigned long long)(ns / units[i].factor),
                  units[i].unit);
}

static void write_hex(FILE *f, const char *name, const uint8_t bytes[32])
{
    char hex[HEX_BYTES];
    pbft_hex_encode(bytes, 32, hex);
    (void)fprintf(f, "%s = %s\n", name, hex);
}

static void write_params(FILE *f, const struct pbft_params *params)
{
    struct cluster_text text = {.params = *params};
    (void)fprintf(f, "\n[parameters]\n");
    for (size_t i = 0; i < CLUSTER_FIELDS; i++) {
        const struct config_field *field = &cluster_fields[i];
        if (strcmp(field->section, "parameters") != 0) continue;
        const char *at = (const char *)&text + field->offset;
        if (field->kind == CONFIG_DURATION) {
            uint64_t ns;
            memcpy(&ns, at, sizeof ns);
            write_duration(f, field->name, ns);
        } else {
            uint32_t value;
            memcpy(&value, at, sizeof value);
            (void)fprintf(f, "%s = %u\n", field->name, value);
        }
    }
}

enum pbft_status pbft_cluster_config_save(const struct pbft_cluster_config *config,
                                          const char *path, char error[256])
{
    const struct pbft_cluster *c = &config->cluster;
    struct writer w;
    enum pbft_status status = writer_open(&w, path, 0644, error);
    if (status != PBFT_STATUS_OK) return status;
    (void)fprintf(w.file,
                  "; Public and equal on every host: all but addresses is part of the "
                  "cluster id.\n[cluster]\nservice = %s\n",
                  c->service);
    write_hex(w.file, "nonce", c->nonce);
    if (c->genesis_seq > 0) {
        (void)fprintf(w.file, "; Restored from this checkpoint.\ngenesis_seq = %llu\n",
                      (unsigned long long)c->genesis_seq);
        write_hex(w.file, "genesis_root", c->genesis_root.bytes);
    }
    write_params(w.file, &c->params);
    for (uint32_t i = 0; i < c->params.n; i++) {
        const struct pbft_config_addresses *a = &config->addresses[i];
        (void)fprintf(w.file, "\n[replica.%u]\n", i);
        write_hex(w.file, "key", c->replicas[i].bytes);
        (void)fprintf(w.file, "peer = %s\nclient = %s\nadmin = %s\n", a->peer, a->client,
                      a->admin[0] == '\0' ? "none" : a->admin);
    }
    (void)fprintf(w.file, "\n; Client 0 is the administrator.\n[clients]\n");
    for (uint32_t i = 0; i < c->client_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u", i);
        write_hex(w.file, name, c->clients[i].bytes);
    }
    return writer_close(&w, error);
}

enum pbft_status pbft_replica_config_save(const struct pbft_replica_config *c, const char *path,
                                          char error[256])
{
    struct writer w;
    enum pbft_status status = writer_open(&w, path, 0644, error);
    if (status != PBFT_STATUS_OK) return status;
    (void)fprintf(w.file, "; Of this node alone. Paths are relative to this file.\n[node]\n");
    (void)fprintf(w.file, "id = %u\ncluster = %s\nkey = %s\ndata = %s\n", c->id, c->cluster, c->key,
                  c->data);
    if (c->pid_file[0] != '\0') (void)fprintf(w.file, "pid_file = %s\n", c->pid_file);
    (void)fprintf(w.file, "listen_peers = %s\nlisten_clients = %s\nadmin_listen = %s\n",
                  c->listen_peers, c->listen_clients,
                  c->admin_listen[0] == '\0' ? "none" : c->admin_listen);
    (void)fprintf(w.file, "durability = %s\nflush_bytes = %llu\ntransfer_bytes_per_second = %llu\n",
                  pbft_durability_text(c->durability), (unsigned long long)c->flush_bytes,
                  (unsigned long long)c->transfer_bytes_per_second);
    if (c->threads == 0)
        (void)fprintf(w.file, "threads = auto\n");
    else
        (void)fprintf(w.file, "threads = %u\n", c->threads);
    (void)fprintf(w.file, "frames_max_bytes = %llu\n\n[log]\nlevel = %s\nformat = %s\n",
                  (unsigned long long)c->frames_max_bytes, levels[c->log_level],
                  formats[c->log_format]);
    return writer_close(&w, error);
}

enum pbft_status pbft_client_config_save(const struct pbft_client_config *c, const char *path,
                                         char error[256])
{
    struct writer w;
    enum pbft_status status = writer_open(&w, path, 0644, error);
    if (status != PBFT_STATUS_OK) return status;
    (void)fprintf(w.file, "; Paths are relative to this file.\n[client]\ncluster = %s\nkey = %s\n",
                  c->cluster, c->key);
    write_duration(w.file, "timeout", c->timeout_ns);
    return writer_close(&w, error);
}
