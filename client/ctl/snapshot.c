/* pbftctl snapshot: a certified state as one file, taken from a running cluster and verified by
 * anyone. */
#include "client/ctl/snapshot.h"

#include "client/ctl/snapshot_fetch.h"
#include "crypto/files.h"
#include "crypto/keys.h"
#include "replica/config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS    30u
#define BAR_EVERY_NS UINT64_C(50000000)

/* ---- the bar ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void ctl_bar_draw(void *context, uint64_t done, uint64_t of)
{
    struct ctl_bar *bar = context;
    uint64_t now = now_ns();
    if (now - bar->drawn_ns < BAR_EVERY_NS || isatty(STDERR_FILENO) != 1) return;
    bar->drawn_ns = now;
    bar->shown = true;
    char cells[BAR_CELLS + 1];
    unsigned filled = of == 0 ? 0 : (unsigned)((double)done / (double)of * BAR_CELLS);
    if (filled > BAR_CELLS) filled = BAR_CELLS;
    memset(cells, '.', BAR_CELLS);
    memset(cells, '#', filled);
    cells[BAR_CELLS] = '\0';
    (void)fprintf(stderr, "\r%s [%s] %" PRIu64 " of %" PRIu64 " pages ", bar->what, cells, done,
                  of);
}

void ctl_bar_end(struct ctl_bar *bar)
{
    if (bar->shown) (void)fprintf(stderr, "\r\033[K");
    bar->shown = false;
}

/* ---- what is said ---- */

void ctl_snapshot_print(const struct ctl_options *options, const char *path, const char *verdict,
                        const struct pbft_backup *b)
{
    char root[2 * PBFT_DIGEST_BYTES + 1], id[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(b->checkpoint.root.bytes, PBFT_DIGEST_BYTES, root);
    pbft_hex_encode(b->cluster_id.bytes, PBFT_DIGEST_BYTES, id);
    if (options->json)
        (void)printf("{\"cluster_id\":\"%s\",\"epoch\":%" PRIu32 ",\"seq\":%" PRIu64
                     ",\"root\":\"%s\",\"pages\":%" PRIu64 ",\"page_bytes\":%" PRIu64 "}\n",
                     id, b->epoch, b->checkpoint.seq, root, b->pages, b->page_bytes);
    else
        (void)printf("%s: %s: checkpoint %" PRIu64 " of cluster %.16s, root %s, %" PRIu64
                     " pages of %" PRIu64 " bytes\n",
                     path, verdict, b->checkpoint.seq, id, root, b->pages, b->page_bytes);
}

int ctl_snapshot_read(const char *path, const struct pbft_cluster *cluster,
                      struct pbft_backup *backup, struct pbft_snapshot **state)
{
    char error[256];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return ctl_fail(CTL_USAGE, "cannot read %s: %s.", path, strerror(errno));
    struct ctl_bar bar = {.what = "verify"};
    enum pbft_status status = pbft_backup_read(file, cluster, &pbft_signer_ed25519, backup, state,
                                               ctl_bar_draw, &bar, error);
    ctl_bar_end(&bar);
    (void)fclose(file);
    if (status == PBFT_STATUS_OK) return CTL_OK;
    if (status == PBFT_STATUS_CORRUPT)
        return ctl_fail(CTL_REFUSED, "%s is refused: %s.", path, error);
    return ctl_fail(CTL_NO, "%s: %s.", path, error);
}

/* ---- save ---- */

/* Durable under a name of its own before it has the one that was asked for, which it takes only if
 * nobody else has. */
static int publish(const char *temporary, const char *path)
{
    if (link(temporary, path) != 0) {
        struct stat info;
        if (errno == EEXIST || lstat(path, &info) == 0)
            return ctl_fail(CTL_USAGE, "%s exists already, and nothing is overwritten.", path);
        if (rename(temporary, path) != 0) /* a file system without links */
            return ctl_fail(CTL_NO, "cannot name %s: %s.", path, strerror(errno));
    } else {
        (void)unlink(temporary);
    }
    if (pbft_folder_sync_of(path) == PBFT_STATUS_OK) return CTL_OK;
    return ctl_fail(CTL_NO, "cannot make %s durable: %s.", path, strerror(errno));
}

static int write_to(const char *temporary, struct ctl_snapshot_fetched *fetched)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (file == NULL) {
        int saved = errno;
        if (fd >= 0) (void)close(fd);
        if (fd >= 0) (void)unlink(temporary);
        return ctl_fail(CTL_NO, "cannot write %s: %s.", temporary, strerror(saved));
    }
    struct ctl_bar bar = {.what = "write"};
    enum pbft_status status =
        pbft_backup_write(file, &fetched->backup, fetched->state, ctl_bar_draw, &bar);
    bool ok = status == PBFT_STATUS_OK && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int saved = errno;
    ctl_bar_end(&bar);
    if (fclose(file) != 0 && ok) {
        saved = errno;
        ok = false;
    }
    if (ok) return CTL_OK;
    (void)unlink(temporary);
    bool io = status == PBFT_STATUS_OK || status == PBFT_STATUS_IO;
    return ctl_fail(CTL_NO, "cannot write %s: %s.", temporary,
                    io ? strerror(saved) : pbft_status_text(status));
}

static int write_file(const char *path, struct ctl_snapshot_fetched *fetched)
{
    char temporary[PBFT_CONFIG_PATH_MAX];
    (void)snprintf(temporary, sizeof temporary, "%s.%ld.new", path, (long)getpid());
    int code = write_to(temporary, fetched);
    if (code != CTL_OK) return code;
    code = publish(temporary, path);
    if (code != CTL_OK) (void)unlink(temporary);
    return code;
}

static int save_with(const struct ctl_options *options, const struct ctl_snapshot_request *from,
                     const char *path)
{
    struct ctl_bar bar = {.what = "fetch"};
    struct ctl_snapshot_fetched fetched;
    struct ctl_snapshot_request request = *from;
    request.progress = ctl_bar_draw;
    request.context = &bar;
    request.patience_ns = options->timeout_ns > 0 ? options->timeout_ns : CTL_SNAPSHOT_PATIENCE_NS;
    uint64_t fresh = ctl_snapshot_fresh(&request);
    int code = ctl_snapshot_fetch(&request, &fetched);
    ctl_bar_end(&bar);
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++)
        if (pbft_signers_has(fetched.liars, id))
            (void)fprintf(stderr,
                          "pbftctl: replica %u served what does not verify, and was not "
                          "asked again.\n",
                          (unsigned)id);
    if (code == CTL_OK) code = write_file(path, &fetched);
    if (code == CTL_OK) {
        ctl_snapshot_print(options, path, "saved", &fetched.backup);
        if (fresh == 0 || fetched.backup.checkpoint.seq < fresh)
            (void)fprintf(stderr,
                          "pbftctl: what was ordered after checkpoint %" PRIu64 " is not in it.\n",
                          fetched.backup.checkpoint.seq);
    }
    pbft_snapshot_release(fetched.state);
    pbft_backup_free(&fetched.backup);
    return code;
}

static bool replica_number(const char *text, uint32_t n, pbft_id *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value >= n) return false;
    *out = (pbft_id)value;
    return true;
}

/* Options behind the word that names the verb: argv[0]. -1: go on, with what is left in *path. */
static int parse(const struct option *options, int argc, char **argv, const char **values,
                 const char **path)
{
    const struct ctl_command *command = &ctl_snapshot_commands[0];
    int option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return ctl_usage(command, "there is no such option, or its value is missing");
        values[option] = optarg;
    }
    if (argc - optind != 1) return ctl_usage(command, "one snapshot file is needed");
    *path = argv[optind];
    if (strlen(*path) < PBFT_CONFIG_PATH_MAX - 64) return -1;
    return ctl_usage(command, "the file's path is too long");
}

static int run_save(const struct ctl_options *options, int argc, char **argv)
{
    static const struct option known[] = {{"from", required_argument, NULL, 0}, {NULL, 0, NULL, 0}};
    const char *path = "", *from = NULL;
    int code = parse(known, argc, argv, &from, &path);
    if (code >= 0) return code;
    struct stat info;
    if (lstat(path, &info) == 0)
        return ctl_fail(CTL_USAGE, "%s exists already, and nothing is overwritten.", path);
    struct ctl_snapshot_request request = {.client = ctl_open(options, false, &code),
                                           .one = from != NULL};
    if (request.client == NULL) return code;
    uint32_t n = pbft_client_cluster(request.client)->params.n;
    if (from != NULL && !replica_number(from, n, &request.from))
        code = ctl_usage(&ctl_snapshot_commands[0], "--from takes the number of a replica");
    else
        code = save_with(options, &request, path);
    pbft_client_close(request.client);
    return code;
}

/* ---- verify ---- */

static int load_genesis(const struct ctl_options *options, const char *genesis,
                        struct pbft_cluster_config *out)
{
    char error[256], path[PBFT_CONFIG_PATH_MAX];
    if (genesis == NULL && options->cluster == NULL)
        return ctl_fail(CTL_USAGE, "which cluster? Give --genesis CLUSTER.CONF, or --cluster DIR.");
    int size = genesis != NULL ? snprintf(path, sizeof path, "%s", genesis)
                               : snprintf(path, sizeof path, "%s/cluster.conf", options->cluster);
    if (size < 0 || (size_t)size >= sizeof path)
        return ctl_fail(CTL_USAGE, "the path of the genesis file is too long.");
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return ctl_fail(CTL_REFUSED,
                        "the cryptographic self-test failed: this libsodium cannot be trusted.");
    if (pbft_cluster_config_load(out, path, error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", error);
    return CTL_OK;
}

static int run_verify(const struct ctl_options *options, int argc, char **argv)
{
    static const struct option known[] = {{"genesis", required_argument, NULL, 0},
                                          {NULL, 0, NULL, 0}};
    const char *path = "", *genesis = NULL;
    int code = parse(known, argc, argv, &genesis, &path);
    if (code >= 0) return code;
    struct pbft_cluster_config config;
    code = load_genesis(options, genesis, &config);
    if (code != CTL_OK) return code;
    struct pbft_backup *backup = calloc(1, sizeof *backup);
    if (backup == NULL) {
        code = ctl_fail(CTL_NO, "out of memory.");
    } else {
        code = ctl_snapshot_read(path, &config.cluster, backup, NULL);
        if (code == CTL_OK) ctl_snapshot_print(options, path, "verified", backup);
        pbft_backup_free(backup);
    }
    free(backup);
    pbft_cluster_config_free(&config);
    return code;
}

/* ---- the verb ---- */

static int run_snapshot(const struct ctl_options *options, int argc, char **argv)
{
    const struct ctl_command *command = &ctl_snapshot_commands[0];
    if (argc < 2) return ctl_usage(command, "say what to do: save, verify or restore");
    if (strcmp(argv[1], "save") == 0) return run_save(options, argc - 1, argv + 1);
    if (strcmp(argv[1], "verify") == 0) return run_verify(options, argc - 1, argv + 1);
    if (strcmp(argv[1], "restore") == 0) return ctl_snapshot_restore(options, argc - 1, argv + 1);
    return ctl_usage(command, "there are save, verify and restore");
}

const struct ctl_command ctl_snapshot_commands[] = {
    {"snapshot",
     "snapshot save FILE [--from ID] | verify FILE [--genesis CLUSTER.CONF] | restore FILE --to "
     "DIR [--with CLUSTER.CONF]",
     "back up the certified state, verify a backup, begin a new cluster with it",
     "save needs the administrator's client and takes a checkpoint that a quorum has signed, from\n"
     "all replicas at once, or from one. What was acknowledged before it began is in it (for\n"
     "services other than kv: what the newest checkpoint has). FILE is never overwritten.\n"
     "verify needs no replica: only FILE and the cluster's genesis, cluster.conf. It exits 0 when\n"
     "a quorum of that cluster has signed all of it, 4 when it is refused.\n"
     "restore verifies FILE against the cluster of --cluster DIR and makes a new cluster in the\n"
     "folder --to, with the replicas and clients whose keys are in DIR, and the state as its\n"
     "genesis. It has a new cluster id and the old addresses: end the old one first. Other hosts\n"
     "restore the same FILE --with the cluster.conf that the first one made; once for each node:\n"
     "whoever has voted in a cluster must never begin in it again with an empty data folder.\n"
     "Example: pbftctl --cluster d snapshot save b.snap\n"
     "         pbftctl snapshot verify b.snap --genesis d/cluster.conf\n"
     "         pbftctl --cluster d snapshot restore b.snap --to e",
     run_snapshot},
    {NULL, NULL, NULL, NULL, NULL},
};
