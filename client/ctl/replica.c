/* pbftctl replica replace: a new key for a replica, on the host that runs it (PROTOCOL 29). */
#include "client/ctl/ctl.h"

#include "client/ctl/replica_files.h"
#include "crypto/replace.h"
#include "replica/epochs.h"
#include "store/superblock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES  (PBFT_CONFIG_PATH_MAX + 64u)
#define PATIENCE_NS UINT64_C(120000000000) /* without --timeout: until the epoch has begun */
#define LOOK_NS     50000000L              /* whether it has */
#define TRIES_MAX   16u                    /* of an operation that other replacements overtake */

struct replace {
    const struct ctl_options *options;
    pbft_id id;
    const char *folder; /* --node, or NULL */
    const char *pbftd;  /* --pbftd, or NULL */
    bool run;
    char path[PATH_BYTES]; /* node.conf */
    char cluster[PBFT_CONFIG_PATH_MAX];
    struct pbft_replica_config node;
    struct pbft_keypair keypair; /* the new one */
    bool made;                   /* by this attempt */
    struct pbft_client *client;
    struct pbft_cluster now; /* the configuration that the client is in */
    uint64_t until_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- files ---- */

/* --node DIR; else node-ID beside the cluster.conf of --cluster. */
static int load_node(struct replace *r)
{
    char error[256];
    uint32_t n = pbft_client_cluster(r->client)->params.n;
    if (r->id >= n)
        return ctl_fail(CTL_USAGE, "there is no replica %u: they are 0 to %u.", (unsigned)r->id,
                        (unsigned)n - 1);
    int size = r->folder != NULL ? snprintf(r->path, sizeof r->path, "%s/node.conf", r->folder)
                                 : snprintf(r->path, sizeof r->path, "%s/node-%u/node.conf",
                                            r->options->cluster, (unsigned)r->id);
    if (size < 0 || (size_t)size >= sizeof r->path)
        return ctl_fail(CTL_USAGE, "the path of the node's folder is too long.");
    enum pbft_status status = pbft_replica_config_load(&r->node, r->path, error);
    if (status == PBFT_STATUS_NOT_FOUND) {
        int code = ctl_replica_make_node(r->cluster, r->id, r->path);
        if (code != CTL_OK) return code;
        status = pbft_replica_config_load(&r->node, r->path, error);
    }
    if (status != PBFT_STATUS_OK) return ctl_fail(CTL_USAGE, "%s.", error);
    if (r->node.id != r->id)
        return ctl_fail(CTL_USAGE, "%s is of replica %u, not %u.", r->path, (unsigned)r->node.id,
                        (unsigned)r->id);
    struct stat own;
    bool there = stat(r->node.key, &own) == 0 || stat(r->node.data, &own) == 0;
    if (!there || own.st_uid == geteuid()) return CTL_OK;
    return ctl_fail(
        CTL_REFUSED,
        "%s belongs to another user: replica %u could not read the new key. Run this as "
        "the user that it runs as.",
        r->node.key, (unsigned)r->id);
}

/* Where the new key waits until the replica takes it. */
static void next_path(const struct replace *r, char out[PATH_BYTES])
{
    (void)snprintf(out, PATH_BYTES, "%s" PBFT_KEY_NEXT, r->node.key);
}

/* Whether the file of the key holds the new one. */
static bool taken_over(const struct replace *r)
{
    char error[256];
    struct pbft_keypair keypair;
    bool taken = pbft_keypair_load(&keypair, r->node.key, error) == PBFT_STATUS_OK &&
                 pbft_public_key_equal(&keypair.public, &r->keypair.public);
    pbft_keypair_wipe(&keypair);
    return taken;
}

/* One that an earlier attempt has made is used on. */
static int make_key(struct replace *r)
{
    char path[PATH_BYTES], error[256];
    next_path(r, path);
    enum pbft_status status = pbft_keypair_load(&r->keypair, path, error);
    if (status == PBFT_STATUS_OK && taken_over(r))
        return ctl_fail(CTL_REFUSED,
                        "%s is the key that replica %u has now, not a new one: remove it.", path,
                        (unsigned)r->id);
    if (status == PBFT_STATUS_NOT_FOUND) {
        status = pbft_keypair_generate(&r->keypair);
        if (status == PBFT_STATUS_OK) status = pbft_keypair_save(&r->keypair, path, error);
        r->made = status == PBFT_STATUS_OK;
    }
    if (status == PBFT_STATUS_CORRUPT)
        return ctl_fail(CTL_REFUSED, "%s Remove it: an attempt that was interrupted left it.",
                        error);
    return status == PBFT_STATUS_OK ? CTL_OK : ctl_fail(CTL_REFUSED, "%s", error);
}

/* ---- the operation ---- */

static int refresh(struct replace *r)
{
    pbft_epoch_free(&r->now);
    return pbft_client_configuration(r->client, &r->now) == PBFT_STATUS_OK
               ? CTL_OK
               : ctl_fail(CTL_NO, "out of memory.");
}

static bool has_new_key(const struct replace *r)
{
    return pbft_public_key_equal(&r->now.replicas[r->id], &r->keypair.public);
}

/* A moment, until the client may know more. */
static int wait_a_little(struct replace *r, const char *what)
{
    struct timespec moment = {0, LOOK_NS};
    if (now_ns() >= r->until_ns)
        return ctl_fail(CTL_TIMEOUT,
                        "%s in time: are %u replicas running? The same command goes on where this "
                        "one stopped.",
                        what, (unsigned)(r->now.params.n - (r->now.params.n - 1) / 3));
    (void)nanosleep(&moment, NULL);
    return refresh(r);
}

static int order_once(struct replace *r, uint8_t *status)
{
    uint8_t op[PBFT_REPLACE_OP_BYTES];
    struct pbft_answer answer = {.status = PBFT_STATUS_CLOSED};
    pbft_replace_encode(&r->now, r->id, &r->keypair, op);
    uint64_t left = r->until_ns > now_ns() ? r->until_ns - now_ns() : 1;
    enum pbft_status called =
        pbft_client_call(r->client, (struct pbft_span){op, sizeof op}, left, &answer);
    *status = PBFT_REPLACE_STATUS_COUNT;
    if (called == PBFT_STATUS_OK && answer.size == PBFT_REPLACE_RESULT_BYTES)
        *status = answer.bytes[0];
    pbft_answer_free(&answer);
    if (called == PBFT_STATUS_OK) return CTL_OK;
    return called == PBFT_STATUS_TIMEOUT
               ? ctl_fail(CTL_TIMEOUT, "no quorum of replicas answered in time; the same command "
                                       "goes on where this one stopped.")
               : ctl_fail(CTL_SERVICE, "the cluster refused: %s.", pbft_status_text(called));
}

/* The key is nobody's then. One of an earlier attempt may be ordered yet. */
static int refused(const struct replace *r, uint8_t status)
{
    char path[PATH_BYTES];
    next_path(r, path);
    if (r->made) (void)unlink(path);
    if (status != PBFT_REPLACE_FORBIDDEN)
        return ctl_fail(CTL_SERVICE, "%s.", pbft_replace_text(status));
    return ctl_fail(CTL_REFUSED,
                    "%s: name its folder with --cluster, and the replica's with --node.",
                    pbft_replace_text(status));
}

/* Until it is ordered, by this attempt or an earlier one, whose answer got lost. */
static int order(struct replace *r)
{
    for (unsigned tries = 0; tries < TRIES_MAX && !has_new_key(r); tries++) {
        uint8_t status;
        int code = order_once(r, &status);
        if (code != CTL_OK) return code;
        if (status == PBFT_REPLACE_OK) return CTL_OK;
        if (status != PBFT_REPLACE_EPOCH && status != PBFT_REPLACE_UNDERWAY)
            return refused(r, status);
        pbft_epoch before = r->now.epoch; /* somebody's replacement comes first, perhaps ours */
        while (r->now.epoch == before) {
            code = wait_a_little(r, "the epoch did not end");
            if (code != CTL_OK) return code;
        }
    }
    return CTL_OK;
}

static int await_epoch(struct replace *r)
{
    while (!has_new_key(r)) {
        int code = wait_a_little(r, "the next epoch did not begin");
        if (code != CTL_OK) return code;
    }
    return CTL_OK;
}

/* ---- on this host ---- */

/* Whether the replica's process runs here: then it takes the new key by itself. */
static bool runs_here(const struct replace *r)
{
    return pbft_epochs_in_use(r->node.data);
}

/* What a running replica does by itself: a data directory for the new key, and the key. */
static int adopt(struct replace *r)
{
    char next[PATH_BYTES], error[256];
    struct pbft_epochs_begin begin = {.dir = r->node.data, .next = &r->now, .id = r->id};
    struct pbft_superblock *superblock = NULL;
    /* Begun already: by a replica that ran here then, and has voted in it. Only the name is left.
     */
    enum pbft_status status = pbft_epochs_begin(&begin, &superblock, error);
    if (status != PBFT_STATUS_OK && status != PBFT_STATUS_EXISTS)
        return ctl_fail(CTL_NO, "%s", error);
    next_path(r, next);
    status = pbft_keypair_adopt(next, r->node.key, error);
    pbft_superblock_close(superblock);
    return status == PBFT_STATUS_OK ? CTL_OK : ctl_fail(CTL_NO, "%s", error);
}

static int take_over(struct replace *r)
{
    while (!taken_over(r)) {
        if (!runs_here(r)) {
            int code = adopt(r);
            if (code != CTL_OK) return code;
            continue;
        }
        int code = wait_a_little(r, "the replica that runs here did not take its new key");
        if (code != CTL_OK) return code;
    }
    return CTL_OK;
}

static void say(const struct replace *r)
{
    char fingerprint[17];
    pbft_public_key_fingerprint(&r->keypair.public, fingerprint);
    if (r->options->json)
        (void)printf("{\"replica\":%u,\"epoch\":%u,\"seq\":%" PRIu64 ",\"key\":\"%s\"}\n",
                     (unsigned)r->id, (unsigned)r->now.epoch, r->now.genesis_seq, fingerprint);
    else
        (void)printf("replica %u has the key %s since epoch %u, which began at %" PRIu64 "\n",
                     (unsigned)r->id, fingerprint, (unsigned)r->now.epoch, r->now.genesis_seq);
    (void)fflush(stdout);
}

/* pbftd beside this program, in place of it. */
static int run_replica(const struct replace *r)
{
    char program[PATH_BYTES], config[] = "--config";
    char path[PATH_BYTES];
    const char *slash = strrchr(r->options->program, '/');
    int size = r->pbftd != NULL
                   ? snprintf(program, sizeof program, "%s", r->pbftd)
                   : snprintf(program, sizeof program, "%.*spbftd",
                              slash == NULL ? 0 : (int)(slash + 1 - r->options->program),
                              r->options->program);
    if (size < 0 || (size_t)size >= sizeof program)
        return ctl_fail(CTL_USAGE, "the path of pbftd is too long.");
    (void)snprintf(path, sizeof path, "%s", r->path);
    char *argv[] = {program, config, path, NULL};
    (void)execvp(program, argv);
    return ctl_fail(CTL_NO, "cannot run %s: %s.", program, strerror(errno));
}

/* ---- the verb ---- */

static int replace_all(struct replace *r)
{
    int code = refresh(r);
    if (code == CTL_OK) code = make_key(r);
    if (code == CTL_OK) code = order(r);
    if (code == CTL_OK) code = await_epoch(r);
    if (code == CTL_OK) code = take_over(r);
    if (code == CTL_OK) say(r);
    return code;
}

static int parse(struct replace *r, int argc, char **argv)
{
    static const struct option known[] = {{"node", required_argument, NULL, 'n'},
                                          {"run", no_argument, NULL, 'r'},
                                          {"pbftd", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    const struct ctl_command *command = &ctl_replica_commands[0];
    int option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'n') r->folder = optarg;
        if (option == 'p') r->pbftd = optarg;
        if (option == 'r') r->run = true;
        if (option == '?')
            return ctl_usage(command, "there is no such option, or its value is missing");
    }
    if (argc - optind != 2 || strcmp(argv[optind], "replace") != 0)
        return ctl_usage(command, "replace which replica");
    const char *text = argv[optind + 1];
    char *end;
    unsigned long id = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || id >= PBFT_REPLICAS_MAX)
        return ctl_usage(command, "ID is the number of a replica");
    r->id = (pbft_id)id;
    return CTL_OK;
}

static int run_replace(const struct ctl_options *options, int argc, char **argv)
{
    struct replace r = {.options = options};
    int code = parse(&r, argc, argv);
    if (code != CTL_OK) return code;
    code = ctl_replica_client(options, r.cluster);
    if (code != CTL_OK) return code;
    r.client = ctl_open(options, true, &code);
    if (r.client == NULL) return code;
    r.until_ns = now_ns() + (options->timeout_ns > 0 ? options->timeout_ns : PATIENCE_NS);
    code = load_node(&r);
    if (code == CTL_OK) code = replace_all(&r);
    bool running = code == CTL_OK && runs_here(&r);
    pbft_epoch_free(&r.now);
    pbft_client_close(r.client);
    pbft_keypair_wipe(&r.keypair);
    if (code == CTL_OK && r.run && !running) return run_replica(&r);
    if (code == CTL_OK && !running && !options->json)
        (void)printf("start it: pbftd --config %s\n", r.path);
    return code;
}

const struct ctl_command ctl_replica_commands[] = {
    {"replica", "replica replace ID [--node FOLDER] [--run [--pbftd PATH]]",
     "give a replica a new key, in a running cluster",
     "On the host of replica ID, whose disk was lost, whose key may be known to others, or whose\n"
     "key is to be rotated. What is left of its folder is used; node.conf, too, is made anew from\n"
     "cluster.conf if it is gone and the replica's addresses are this host's. Makes a key beside "
     "the old one, has the cluster order it, waits until\n"
     "the next epoch begins, in which the old key is worth nothing, and puts the new one in its\n"
     "place. A replica that runs goes on by itself; --run starts one that does not, in place of\n"
     "this command. FOLDER holds its node.conf, DIR/node-ID if it is not given. Only with the\n"
     "administrator's client, DIR/client: copy it here, or name it with --cluster and give\n"
     "--node. Interrupted, the same command goes on where it stopped.\n\n"
     "Example: pbftctl --cluster d replica replace 3",
     run_replace},
    {NULL, NULL, NULL, NULL, NULL},
};
