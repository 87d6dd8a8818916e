/* pbft_replica_main: options, files, keys, data directory; then the runtime. */
#include "replica/apply.h"
#include "replica/check_data.h"
#include "replica/data.h"
#include "replica/epochs.h"
#include "replica/pbft_replica.h"
#include "replica/pid_file.h"
#include "replica/pool.h"
#include "replica/runtime.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_POOL_DIVISOR 4u /* of the frame budget: what clients may fill */

struct options {
    const char *program, *config, *log_file, *extension;
    const char *check_data;            /* NULL: not asked for */
    char beside[PBFT_CONFIG_PATH_MAX]; /* the configuration beside that folder */
    enum pbft_durability durability;
    bool has_durability, check;
    int exit_code; /* -1: go on */
};

/* Everything that a start collects, and `finish` gives back. */
struct start {
    struct options options;
    const struct pbft_service *service;
    const struct pbft_replica_extension *extension;
    struct pbft_replica_config replica;
    struct pbft_cluster_config cluster;
    bool has_cluster, has_pid_file, extended;
    struct pbft_keypair keypair;
    struct pbft_pool *pool, *client_pool;
    struct pbft_logger *logger;
    struct pbft_superblock *superblock;
    struct pbft_superblock_owner owner;
    struct pbft_node_hooks hooks;
    char dir[PBFT_CONFIG_PATH_MAX + 32]; /* where this epoch's files lie */
    struct pbft_runtime_epoch epoch;     /* what is handed from one to the next */
};

/* ---- options ---- */

__attribute__((format(printf, 3, 4))) static int complain(const struct options *o, int exit_code,
                                                          const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "%s: ", o->program);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

static void help(const struct start *s)
{
    const struct pbft_replica_extension *x = s->extension;
    (void)printf(
        "Usage: %s --config FILE [options]\n"
        "One replica of a Byzantine fault-tolerant cluster; serves \"%s\".\n\n"
        "  --config FILE       the replica's node.conf\n"
        "  --durability MODE   sync, async or memory, instead of node.conf's; with the latter two\n"
        "                      a replica that starts again has forgotten its votes, and is mute\n"
        "  --log-file FILE     log there instead of standard error; HUP opens it again\n"
        "  --check-config      read configuration, epochs and key, say what is wrong, and end\n"
        "  --check-data DIR    verify every page, record, signature and certificate of a data\n"
        "                      directory whose replica is stopped, change nothing, and end;\n"
        "                      --config is DIR/../node.conf if it is not given\n",
        s->options.program, s->service->name);
    if (x != NULL && x->option != NULL) {
        char option[64];
        (void)snprintf(option, sizeof option, "--%s %s", x->option, x->option_argument);
        (void)printf("  %-19s %s\n", option, x->option_help);
    }
    (void)printf(
        "  --version, --help\n\n"
        "Example:\n"
        "  pbftctl init d --nodes 4\n"
        "  %s --config d/node-0/node.conf\n"
        "  %s --check-data d/node-0/data\n\n"
        "TERM and INT stop it, HUP reads the log level again. Exit codes: 0 clean, 1 failed\n"
        "while running, 2 usage, 3 configuration, 4 damaged or foreign data.\n",
        s->options.program, s->options.program);
}

enum option_code {
    OPTION_CONFIG = 256,
    OPTION_DURABILITY,
    OPTION_LOG_FILE,
    OPTION_CHECK,
    OPTION_CHECK_DATA,
    OPTION_VERSION,
    OPTION_HELP,
    OPTION_EXTENSION
};

static void take_option(struct start *s, int code)
{
    struct options *o = &s->options;
    switch (code) {
    case OPTION_CONFIG: o->config = optarg; break;
    case OPTION_LOG_FILE: o->log_file = optarg; break;
    case OPTION_CHECK: o->check = true; break;
    case OPTION_CHECK_DATA: o->check_data = optarg; break;
    case OPTION_EXTENSION: o->extension = optarg; break;
    case OPTION_DURABILITY:
        o->has_durability = true;
        if (!pbft_durability_parse(optarg, &o->durability))
            o->exit_code = complain(o, PBFT_EXIT_USAGE,
                                    "--durability is memory, async or sync, not '%.40s'.", optarg);
        break;
    case OPTION_VERSION:
        (void)printf("%s %s (service %s)\n", o->program, PBFT_VERSION, s->service->name);
        o->exit_code = PBFT_EXIT_CLEAN;
        break;
    case OPTION_HELP:
        help(s);
        o->exit_code = PBFT_EXIT_CLEAN;
        break;
    default: /* getopt has said what is wrong */
        (void)fprintf(stderr, "Try '%s --help'.\n", o->program);
        o->exit_code = PBFT_EXIT_USAGE;
        break;
    }
}

static int parse_options(struct start *s, int argc, char **argv)
{
    struct options *o = &s->options;
    struct option options[] = {
        {"config", required_argument, NULL, OPTION_CONFIG},
        {"durability", required_argument, NULL, OPTION_DURABILITY},
        {"log-file", required_argument, NULL, OPTION_LOG_FILE},
        {"check-config", no_argument, NULL, OPTION_CHECK},
        {"check-data", required_argument, NULL, OPTION_CHECK_DATA},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"help", no_argument, NULL, OPTION_HELP},
        {NULL, 0, NULL, 0}, /* the extension's */
        {NULL, 0, NULL, 0},
    };
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    o->program = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "pbftd";
    o->exit_code = -1;
    if (s->extension != NULL && s->extension->option != NULL)
        options[7] =
            (struct option){s->extension->option, required_argument, NULL, OPTION_EXTENSION};
    int code;
    while (o->exit_code < 0 && (code = getopt_long(argc, argv, "", options, NULL)) != -1)
        take_option(s, code);
    if (o->exit_code >= 0) return o->exit_code;
    if (optind < argc)
        return complain(o, PBFT_EXIT_USAGE, "unexpected argument '%.80s'; try --help.",
                        argv[optind]);
    if (o->config == NULL && o->check_data != NULL) {
        int size = snprintf(o->beside, sizeof o->beside, "%s/../node.conf", o->check_data);
        if (size < 0 || (size_t)size >= sizeof o->beside)
            return complain(o, PBFT_EXIT_USAGE, "the path after --check-data is too long.");
        o->config = o->beside;
    }
    if (o->config == NULL)
        return complain(o, PBFT_EXIT_USAGE,
                        "--config FILE is missing; `pbftctl init` writes one for each node.");
    return -1;
}

/* ---- files ---- */

static int load_cluster(struct start *s)
{
    char error[256];
    if (pbft_replica_config_load(&s->replica, s->options.config, error) != PBFT_STATUS_OK)
        return complain(&s->options, PBFT_EXIT_CONFIG, "%s", error);
    if (s->options.has_durability) s->replica.durability = s->options.durability;
    if (pbft_cluster_config_load(&s->cluster, s->replica.cluster, error) != PBFT_STATUS_OK)
        return complain(&s->options, PBFT_EXIT_CONFIG, "%s", error);
    s->has_cluster = true;
    const struct pbft_cluster *c = &s->cluster.cluster;
    if (strcmp(c->service, s->service->name) != 0)
        return complain(&s->options, PBFT_EXIT_CONFIG,
                        "%s is for the service '%s', but this program serves '%s': start the "
                        "program that was built for it, or `pbftctl init` a cluster with "
                        "--service %s.",
                        s->replica.cluster, c->service, s->service->name, s->service->name);
    if (s->replica.id >= c->params.n)
        return complain(&s->options, PBFT_EXIT_CONFIG, "%s: id = %u, but %s has %u replicas.",
                        s->options.config, (unsigned)s->replica.id, s->replica.cluster,
                        (unsigned)c->params.n);
    return -1;
}

static int load_epochs(struct start *s)
{
    char error[256];
    enum pbft_status status =
        pbft_epochs_load(s->options.check_data != NULL ? s->options.check_data : s->replica.data,
                         &s->cluster.cluster, error);
    if (status == PBFT_STATUS_OK) return -1;
    return complain(&s->options, status == PBFT_STATUS_CORRUPT ? PBFT_EXIT_DATA : PBFT_EXIT_FAILURE,
                    "%s", error);
}

static bool key_fits(const struct start *s, const struct pbft_keypair *keypair)
{
    return pbft_public_key_equal(&keypair->public, &s->cluster.cluster.replicas[s->replica.id]);
}

/* The key that `pbftctl replica replace` has made, if this epoch is the one that it is for. From
 * now on there is no other. */
static bool adopt_next_key(struct start *s)
{
    char path[PBFT_CONFIG_PATH_MAX + 8], error[256];
    struct pbft_keypair next;
    (void)snprintf(path, sizeof path, "%s" PBFT_KEY_NEXT, s->replica.key);
    if (pbft_keypair_load(&next, path, error) != PBFT_STATUS_OK) return false;
    bool fits =
        key_fits(s, &next) &&
        (s->options.check || pbft_keypair_adopt(path, s->replica.key, error) == PBFT_STATUS_OK);
    if (fits) s->keypair = next;
    pbft_keypair_wipe(&next);
    return fits;
}

static int load_key(struct start *s)
{
    char error[256];
    enum pbft_status status = pbft_keypair_load(&s->keypair, s->replica.key, error);
    if (status == PBFT_STATUS_OK && key_fits(s, &s->keypair)) return -1;
    if ((status == PBFT_STATUS_OK || status == PBFT_STATUS_NOT_FOUND) && adopt_next_key(s))
        return -1;
    if (status != PBFT_STATUS_OK) return complain(&s->options, PBFT_EXIT_CONFIG, "%s", error);
    if (s->cluster.cluster.epoch > 0)
        return complain(&s->options, PBFT_EXIT_CONFIG,
                        "replica %u has another key than that in %s since epoch %u: it was made "
                        "elsewhere. `pbftctl replica replace %u` makes one here.",
                        (unsigned)s->replica.id, s->replica.key, (unsigned)s->cluster.cluster.epoch,
                        (unsigned)s->replica.id);
    return complain(&s->options, PBFT_EXIT_CONFIG,
                    "the key in %s is not the one that %s lists for replica %u. If it has replaced "
                    "that one and `data` was lost since: `pbftctl replica replace %u`.",
                    s->replica.key, s->replica.cluster, (unsigned)s->replica.id,
                    (unsigned)s->replica.id);
}

/* ---- parts ---- */

static int make_pools(struct start *s)
{
    uint64_t clients = s->replica.frames_max_bytes / CLIENT_POOL_DIVISOR;
    s->client_pool = pbft_pool_new(clients);
    s->pool = pbft_pool_new(s->replica.frames_max_bytes - clients);
    if (s->pool != NULL && s->client_pool != NULL) return -1;
    return complain(&s->options, PBFT_EXIT_FAILURE, "out of memory.");
}

/* The root of the state before the first proposal follows from service and parameters, unless the
 * cluster was restored from another one's. */
static int compute_genesis(struct start *s)
{
    if (s->cluster.cluster.genesis_seq > 0) return -1;
    struct pbft_apply_config config = {&s->cluster.cluster, s->service, pbft_pool_frames(s->pool)};
    struct pbft_apply *apply = pbft_apply_new(&config);
    struct pbft_snapshot *snapshot = apply == NULL ? NULL : pbft_apply_snapshot(apply);
    if (snapshot != NULL && s->cluster.cluster.epoch == 0)
        pbft_snapshot_root(snapshot, &s->cluster.cluster.genesis_root);
    int result = snapshot != NULL ? -1 : complain(&s->options, PBFT_EXIT_FAILURE, "out of memory.");
    pbft_snapshot_release(snapshot);
    pbft_apply_free(apply);
    return result;
}

static int make_logger(struct start *s)
{
    char error[256], common[32];
    enum pbft_log_format format = PBFT_LOG_JSON;
    if (s->replica.log_format == PBFT_CONFIG_FORMAT_LOGFMT ||
        (s->replica.log_format == PBFT_CONFIG_FORMAT_AUTO && s->options.log_file == NULL &&
         isatty(STDERR_FILENO) == 1))
        format = PBFT_LOG_LOGFMT;
    (void)snprintf(common, sizeof common, "replica=%u", (unsigned)s->replica.id);
    s->logger = pbft_logger_new(s->options.log_file, pbft_runtime_log_level(s->replica.log_level),
                                format, common, error);
    if (s->logger != NULL) return -1;
    return complain(&s->options, PBFT_EXIT_CONFIG, "%s.", error);
}

static int start_extension(struct start *s)
{
    if (s->extension == NULL) return -1;
    char error[256];
    struct pbft_replica_identity identity = {&s->cluster.cluster, s->replica.id, &s->keypair,
                                             &pbft_signer_ed25519, pbft_pool_frames(s->pool)};
    if (!s->extension->start(s->extension->context, s->options.extension, &identity, &s->hooks,
                             error))
        return complain(&s->options, PBFT_EXIT_USAGE, "%s", error);
    s->extended = true;
    return -1;
}

/* ---- the data directory ---- */

/* One that cannot be used: what it is tells what to do. */
static int superblock_unusable(const struct start *s)
{
    struct pbft_superblock_info info;
    const struct pbft_superblock_owner *have = &info.owner;
    enum pbft_status status = pbft_superblock_look(s->dir, &info);
    unsigned id = s->replica.id;
    if (status == PBFT_STATUS_LATER)
        return complain(&s->options, PBFT_EXIT_DATA,
                        "%s/superblock has format %u, of a newer version of pbft: run that "
                        "version. Nothing on the disk was changed.",
                        s->dir, (unsigned)info.version);
    if (status != PBFT_STATUS_OK && info.version != 0)
        return complain(&s->options, PBFT_EXIT_DATA,
                        "%s/superblock has format %u, of an older version of pbft: run that "
                        "version, or `pbftctl replica replace %u` gives it a new key.",
                        s->dir, (unsigned)info.version, id);
    if (status != PBFT_STATUS_OK)
        return complain(&s->options, PBFT_EXIT_DATA,
                        "%s/superblock is damaged. A replica that cannot tell what it voted must "
                        "not vote again under its key: `pbftctl replica replace %u` gives it a new "
                        "one.",
                        s->dir, id);
    const char *whose = "another key";
    if (have->replica != s->owner.replica) whose = "another replica";
    if (!pbft_digest_equal(&have->cluster_id, &s->owner.cluster_id)) whose = "another cluster";
    return complain(&s->options, PBFT_EXIT_DATA,
                    "%s is of %s: check `data`, `cluster` and `key` in %s; do not copy data "
                    "directories. If its own are lost: `pbftctl replica replace %u`.",
                    s->dir, whose, s->options.config, id);
}

static int superblock_problem(const struct start *s, enum pbft_status status)
{
    const char *dir = s->dir;
    switch ((int)status) {
    case PBFT_STATUS_NOT_FOUND:
        return complain(&s->options, PBFT_EXIT_DATA,
                        "%s has no superblock: it was never initialised, or wiped. A replica that "
                        "lost its data must not vote again under its key: `pbftctl replica "
                        "replace %u` gives it a new one.",
                        dir, (unsigned)s->replica.id);
    case PBFT_STATUS_CORRUPT:
    case PBFT_STATUS_LATER: return superblock_unusable(s);
    case PBFT_STATUS_PERMISSION:
        return complain(&s->options, PBFT_EXIT_FAILURE,
                        "%s cannot be read and written by this user: check its owner and "
                        "permissions, and that its file system is not read-only.",
                        dir);
    case PBFT_STATUS_REFUSED:
        return complain(&s->options, PBFT_EXIT_FAILURE,
                        "%s is in use by another process: two replicas with one key would "
                        "contradict each other.",
                        dir);
    default:
        return complain(&s->options, PBFT_EXIT_FAILURE, "%s: %s.", dir, pbft_status_text(status));
    }
}

/* A replica of a restored cluster begins with a state. Later starts fetch what they lack. */
static int check_genesis(struct start *s)
{
    const struct pbft_cluster *c = &s->cluster.cluster;
    if (c->genesis_seq == 0 || c->epoch > 0 || pbft_superblock_starts(s->superblock) > 0) return -1;
    char why[256];
    if (pbft_data_check_genesis(s->replica.data, &s->owner, c, why) == PBFT_STATUS_OK) return -1;
    return complain(&s->options, PBFT_EXIT_DATA,
                    "%s does not hold the state that this cluster was restored with: %s. When the "
                    "other replicas run, `pbftctl replica replace %u` brings it in.",
                    s->replica.data, why, (unsigned)s->replica.id);
}

static int open_data(struct start *s)
{
    pbft_config_owner(&s->cluster.cluster, s->replica.id, &s->owner);
    pbft_epochs_path(s->replica.data, s->cluster.cluster.epoch, s->dir);
    if (s->superblock != NULL) return -1; /* of an epoch that has begun just now */
    enum pbft_status status = pbft_superblock_open(&s->superblock, s->dir, &s->owner, NULL);
    if (status == PBFT_STATUS_OK) pbft_epochs_tidy(s->replica.data, s->cluster.cluster.epoch);
    if (status == PBFT_STATUS_OK) return check_genesis(s);
    s->superblock = NULL;
    return superblock_problem(s, status);
}

/* Nothing that a replica does needs it: a full disk keeps none from voting (FAULTS 2.42). */
static int write_pid_file(struct start *s)
{
    const char *path = s->replica.pid_file;
    if (path[0] == '\0') return -1;
    int error = pbft_pid_file_write(path, getpid());
    s->has_pid_file = error == 0;
    if (error == 0) return -1;
    if (error != ENOSPC && error != EDQUOT)
        return complain(&s->options, PBFT_EXIT_FAILURE, "cannot write %s: %s.", path,
                        strerror(error));
    (void)unlink(path); /* another process's */
    pbft_logger_write(s->logger, PBFT_LOG_WARN, "pid_file",
                      "why=\"cannot write %s: %s\" hint=\"it runs without one\"", path,
                      strerror(error));
    return -1;
}

/* ---- all together ---- */

static int serve(struct start *s)
{
    if (s->replica.durability != PBFT_DURABILITY_SYNC)
        pbft_logger_write(
            s->logger, PBFT_LOG_WARN, "durability",
            "mode=%s hint=\"votes are lost when the %s: a restarted replica is mute\"",
            pbft_durability_text(s->replica.durability),
            s->replica.durability == PBFT_DURABILITY_MEMORY ? "process ends" : "machine stops");
    struct pbft_runtime_config config = {
        .replica = &s->replica,
        .cluster = &s->cluster,
        .dir = s->dir,
        .epoch = &s->epoch,
        .config_path = s->options.config,
        .keypair = &s->keypair,
        .service = s->service,
        .logger = s->logger,
        .superblock = s->superblock,
        .owner = s->owner,
        .pool = s->pool,
        .client_pool = s->client_pool,
        .hooks = s->extended ? &s->hooks : NULL,
        .extension = s->extension,
    };
    return pbft_runtime_run(&config);
}

/* False: it is time to stop. */
static bool wait_for_room(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 1}) < 0;
}

/* FAULTS 2.42: what lacks room is tried again; it votes in neither epoch until there is some. */
static int begin_epoch(struct start *s, const struct pbft_epochs_begin *begin,
                       struct pbft_superblock **superblock)
{
    char error[256];
    enum pbft_status status = pbft_epochs_begin(begin, superblock, error);
    if (status == PBFT_STATUS_FULL)
        pbft_logger_write(s->logger, PBFT_LOG_ERROR, "disk_full",
                          "epoch=%u what=\"%s\" hint=\"it goes on by itself when there is room\"",
                          (unsigned)begin->next->epoch, error);
    bool waited = status == PBFT_STATUS_FULL;
    while (status == PBFT_STATUS_FULL) {
        if (!wait_for_room()) return PBFT_EXIT_CLEAN;
        status = pbft_epochs_begin(begin, superblock, error);
    }
    if (status != PBFT_STATUS_OK) return complain(&s->options, PBFT_EXIT_FAILURE, "%s", error);
    if (waited)
        pbft_logger_write(s->logger, PBFT_LOG_WARN, "disk_room", "epoch=%u",
                          (unsigned)begin->next->epoch);
    return -1;
}

/* PROTOCOL 29. The vote log of the old epoch is of no use any more, nor is a key that was replaced.
 */
static int next_epoch(struct start *s)
{
    struct pbft_cluster *now = &s->cluster.cluster, next;
    struct pbft_span proof = {s->epoch.proof, s->epoch.proof_size};
    enum pbft_verdict verdict = pbft_epoch_next(now, &pbft_signer_ed25519, proof, &next);
    if (verdict != PBFT_OK)
        return complain(&s->options, PBFT_EXIT_FAILURE, "the next epoch cannot begin: %s.",
                        pbft_verdict_text(verdict));
    pbft_id id = s->replica.id;
    bool same = pbft_public_key_equal(&now->replicas[id], &next.replicas[id]);
    struct pbft_epochs_begin begin = {.dir = s->replica.data,
                                      .next = &next,
                                      .id = id,
                                      .keep_pages = same,
                                      .forgets = same && s->epoch.mute};
    struct pbft_superblock *superblock;
    int code = begin_epoch(s, &begin, &superblock);
    if (code >= 0) {
        pbft_epoch_free(&next);
        return code;
    }
    pbft_superblock_close(s->superblock);
    s->superblock = superblock;
    pbft_epoch_free(now);
    *now = next;
    if (!same) s->epoch.flushed = 0;
    s->epoch.over = false;
    return load_key(s);
}

static int serve_epochs(struct start *s)
{
    int code = -1;
    while (code < 0) {
        code = start_extension(s);
        if (code < 0) code = open_data(s);
        if (code < 0 && !s->has_pid_file) code = write_pid_file(s);
        if (code < 0) code = serve(s);
        if (s->extended && s->extension->stop != NULL) s->extension->stop(s->extension->context);
        s->extended = false;
        if (code == PBFT_EXIT_CLEAN && s->epoch.over) code = next_epoch(s);
    }
    return code;
}

/* Public keys are enough: whoever checks a copy needs no secret. */
static int check_data(struct start *s)
{
    int (*const before[])(struct start *) = {load_cluster, load_epochs, make_pools,
                                             compute_genesis};
    int code = -1;
    for (size_t i = 0; code < 0 && i < sizeof before / sizeof before[0]; i++)
        code = before[i](s);
    if (code >= 0) return code;
    pbft_epochs_path(s->options.check_data, s->cluster.cluster.epoch, s->dir);
    struct pbft_check_config config = {.dir = s->dir,
                                       .cluster = &s->cluster.cluster,
                                       .id = s->replica.id,
                                       .service = s->service,
                                       .pool = pbft_pool_frames(s->pool),
                                       .out = stdout};
    char sentence[320];
    code = pbft_check_data(&config, sentence);
    if (code == PBFT_EXIT_CLEAN) (void)printf("%s\n", sentence);
    (void)fflush(stdout);
    return code == PBFT_EXIT_CLEAN ? code : complain(&s->options, code, "%s", sentence);
}

static int check_and_serve(struct start *s)
{
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return complain(&s->options, PBFT_EXIT_FAILURE,
                        "the cryptographic self-test failed: this libsodium cannot be trusted.");
    if (s->options.check_data != NULL) return check_data(s);
    int (*const before_check[])(struct start *) = {load_cluster, load_epochs, load_key};
    int (*const after_check[])(struct start *) = {make_pools, compute_genesis, make_logger};
    int code = -1;
    for (size_t i = 0; code < 0 && i < sizeof before_check / sizeof before_check[0]; i++)
        code = before_check[i](s);
    if (code < 0 && s->options.check) {
        char id[2 * PBFT_DIGEST_BYTES + 1];
        pbft_hex_encode(s->cluster.cluster.id.bytes, PBFT_DIGEST_BYTES, id);
        (void)printf("%s: ok: replica %u of %u, service %s, cluster %s\n", s->options.config,
                     (unsigned)s->replica.id, (unsigned)s->cluster.cluster.params.n,
                     s->service->name, id);
        return PBFT_EXIT_CLEAN;
    }
    for (size_t i = 0; code < 0 && i < sizeof after_check / sizeof after_check[0]; i++)
        code = after_check[i](s);
    return code < 0 ? serve_epochs(s) : code;
}

static void finish(struct start *s)
{
    if (s->has_pid_file) (void)unlink(s->replica.pid_file);
    pbft_superblock_close(s->superblock);
    pbft_apply_free(s->epoch.state);
    pbft_pool_free(s->pool);
    pbft_pool_free(s->client_pool);
    if (s->has_cluster) pbft_epoch_free(&s->cluster.cluster);
    if (s->has_cluster) pbft_cluster_config_free(&s->cluster);
    pbft_keypair_wipe(&s->keypair);
    pbft_logger_free(s->logger);
    free(s);
}

int pbft_replica_main_with(int argc, char **argv, const struct pbft_service *service,
                           const struct pbft_replica_extension *extension)
{
    struct start *s = calloc(1, sizeof *s);
    if (s == NULL) return PBFT_EXIT_FAILURE;
    s->service = service;
    s->extension = extension;
    int code = parse_options(s, argc, argv);
    if (s->options.check_data == NULL)
        pbft_runtime_block_signals(); /* a check can be interrupted */
    if (code < 0) code = check_and_serve(s);
    finish(s);
    return code;
}

int pbft_replica_main(int argc, char **argv, const struct pbft_service *service)
{
    return pbft_replica_main_with(argc, argv, service, NULL);
}
