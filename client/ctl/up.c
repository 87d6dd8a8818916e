/* pbftctl up: a whole cluster on this machine, in the foreground. */
#include "client/ctl/ctl.h"
#include "client/ctl/nodes.h"
#include "pbft/quorum.h"
#include "replica/epochs.h"
#include "replica/faults/faults.h"
#include "service/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS     UINT64_C(1000000000)
#define STOP_NS       (5 * SECOND_NS)  /* from SIGTERM to SIGKILL */
#define PROBE_NS      (30 * SECOND_NS) /* one attempt at an operation */
#define NEWS_NS       (10 * SECOND_NS) /* between two lines that say why it is not ready */
#define GATHER_NS     (5 * SECOND_NS)  /* how long the first operation waits for all nodes */
#define STRAGGLERS_NS (2 * SECOND_NS)  /* how long `ready` waits for the last node to connect */
#define ROUND_MS      50
#define PROGRAM_BYTES 1024u

enum probe { PROBE_NONE, PROBE_ASKED, PROBE_ANSWERED, PROBE_FAILED };

struct up {
    const char *dir;
    const char *pbftd; /* --pbftd, or NULL */
    const char *faulty[PBFT_REPLICAS_MAX];
    bool has_durability; /* else what each node.conf says */
    enum pbft_durability durability;
    struct pbft_cluster_config cluster;
    char dashboard[PBFT_CONFIG_URL_MAX];
    struct ctl_nodes nodes;
    bool quorum_lost;
    /* until it is ready */
    struct pbft_client *client;
    atomic_int probe; /* enum probe; set by the client's thread */
    bool ready;
    uint64_t started_ns, answered_ns, news_ns;
    /* at the end */
    bool stopping;
    uint64_t stopping_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* ---- signals and callbacks wake the poll through one pipe ---- */

static int wake_pipe[2] = {-1, -1};
static volatile sig_atomic_t stop_signals;

static void wake(void)
{
    int saved = errno;
    ssize_t written = write(wake_pipe[1], "", 1); /* full: it will wake anyway */
    (void)written;
    errno = saved;
}

static void on_signal(int number)
{
    if (number != SIGCHLD) stop_signals = stop_signals + 1;
    wake();
}

static bool catch_signals(void)
{
    if (pipe(wake_pipe) != 0) return false;
    for (unsigned i = 0; i < 2; i++)
        if (fcntl(wake_pipe[i], F_SETFD, FD_CLOEXEC) != 0 ||
            fcntl(wake_pipe[i], F_SETFL, O_NONBLOCK) != 0)
            return false;
    static const int caught[] = {SIGINT, SIGTERM, SIGCHLD, SIGHUP};
    struct sigaction old, action = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        if (sigaction(caught[i], NULL, &old) != 0) return false;
        if (caught[i] == SIGHUP && old.sa_handler == SIG_IGN) continue; /* nohup */
        if (sigaction(caught[i], &action, NULL) != 0) return false;
    }
    return sigaction(SIGPIPE, &ignore, NULL) == 0;
}

/* ---- options ---- */

static const struct pbft_fault_strategy *strategy_of(const char *spec, const char **argument)
{
    size_t size = strcspn(spec, "=");
    *argument = spec[size] == '=' ? spec + size + 1 : NULL;
    for (const struct pbft_fault_strategy *s = pbft_fault_strategies; s->name != NULL; s++)
        if (strlen(s->name) == size && strncmp(s->name, spec, size) == 0) return s;
    return NULL;
}

/* "ID=STRATEGY": NULL, or what is wrong with it. Its id is judged when n is known. */
static const char *take_faulty(struct up *up, const char *text)
{
    static char why[160];
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 3 || text[digits] != '=') return "--faulty takes ID=STRATEGY";
    unsigned long id = strtoul(text, NULL, 10);
    const char *argument, *spec = text + digits + 1;
    const struct pbft_fault_strategy *s = strategy_of(spec, &argument);
    if (s == NULL) {
        (void)snprintf(why, sizeof why, "there is no strategy '%.40s' (see `pbftctl faults list`)",
                       spec);
        return why;
    }
    size_t digits_of_it = argument == NULL ? 0 : strspn(argument, "0123456789");
    bool number = digits_of_it > 0 && digits_of_it < 10 && argument[digits_of_it] == '\0';
    if (s->argument == NULL ? argument != NULL : !number) {
        (void)snprintf(why, sizeof why, "it is --faulty %lu=%s%s%s", id, s->name,
                       s->argument == NULL ? "" : "=", s->argument == NULL ? "" : s->argument);
        return why;
    }
    if (id >= PBFT_REPLICAS_MAX) return "--faulty names a replica that there is not";
    if (up->faulty[id] != NULL) return "--faulty names a replica twice";
    up->faulty[id] = spec;
    return NULL;
}

static int take_durability(struct up *up, const char *text)
{
    if (!pbft_durability_parse(text, &up->durability))
        return ctl_usage(&ctl_up_commands[0], "--durability is sync, async or memory");
    up->has_durability = true;
    return CTL_OK;
}

static int parse(struct up *up, const struct ctl_options *options, int argc, char **argv)
{
    static const struct option longs[] = {
        {"faulty", required_argument, NULL, 'f'},
        {"durability", required_argument, NULL, 'd'},
        {"pbftd", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    const char *why = NULL;
    int code = CTL_OK, option;
    optind = 0;
    while (code == CTL_OK && why == NULL &&
           (option = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (option == 'f')
            why = take_faulty(up, optarg);
        else if (option == 'd')
            code = take_durability(up, optarg);
        else if (option == 'p')
            up->pbftd = optarg;
        else
            why = option == ':' ? "an option lacks its value" : "there is no such option";
    }
    if (code != CTL_OK) return code;
    if (why != NULL) return ctl_usage(&ctl_up_commands[0], why);
    up->dir = optind < argc ? argv[optind] : options->cluster;
    if (up->dir == NULL) return ctl_usage(&ctl_up_commands[0], "which cluster? Name its folder");
    if (optind + 1 < argc) return ctl_usage(&ctl_up_commands[0], "one folder only");
    return CTL_OK;
}

/* ---- before anything is started ---- */

static bool path_of(char *out, size_t capacity, const char *format, const char *dir, unsigned id)
    __attribute__((format(printf, 3, 0)));
static bool path_of(char *out, size_t capacity, const char *format, const char *dir, unsigned id)
{
    int size = snprintf(out, capacity, format, dir, id);
    return size > 0 && (size_t)size < capacity;
}

static int check_faulty(const struct up *up)
{
    uint32_t n = up->cluster.cluster.params.n, liars = 0;
    for (uint32_t id = 0; id < PBFT_REPLICAS_MAX; id++) {
        if (up->faulty[id] == NULL) continue;
        liars++;
        if (id >= n)
            return ctl_fail(CTL_USAGE, "--faulty %u: replicas of %s are 0 to %u.", (unsigned)id,
                            up->dir, (unsigned)n - 1);
        const char *argument;
        const struct pbft_fault_strategy *s = strategy_of(up->faulty[id], &argument);
        bool client = s != NULL && s->argument != NULL && strcmp(s->argument, "CLIENT") == 0;
        if (client && argument != NULL &&
            strtoul(argument, NULL, 10) >= up->cluster.cluster.client_count)
            return ctl_fail(CTL_USAGE, "--faulty %u=%s: the clients of %s are 0 to %u.",
                            (unsigned)id, up->faulty[id], up->dir,
                            (unsigned)up->cluster.cluster.client_count - 1);
    }
    if (liars > pbft_quorum_faults(n))
        (void)
            fprintf(stderr,
                    "pbftctl: %u liars are more than the f = %u that %u replicas survive: nothing "
                    "is promised.\n",
                    (unsigned)liars, (unsigned)pbft_quorum_faults(n), (unsigned)n);
    return CTL_OK;
}

enum memory { REMEMBERS, HAS_FORGOTTEN, WOULD_NOT_LOOK /* without --durability sync */ };

/* What this node knows of the votes that it has cast (PROTOCOL 29). Damaged or missing data are
 * left to the node, which says what it finds. */
static int check_data(const struct up *up, const struct pbft_replica_config *config,
                      enum memory *memory)
{
    char path[PBFT_CONFIG_PATH_MAX + 32], error[256];
    struct pbft_cluster present = up->cluster.cluster;
    struct pbft_superblock_owner owner;
    struct pbft_superblock *superblock;
    uint64_t starts = 0, forgot = 0;
    if (pbft_epochs_in_use(config->data))
        return ctl_fail(CTL_NO, "node %u of %s is running already: stop it first.",
                        (unsigned)config->id, up->dir);
    if (pbft_epochs_load(config->data, &present, error) != PBFT_STATUS_OK) return CTL_OK;
    pbft_epochs_path(config->data, present.epoch, path);
    pbft_config_owner(&present, config->id, &owner);
    if (pbft_superblock_open(&superblock, path, &owner, &starts) == PBFT_STATUS_OK) {
        forgot = pbft_superblock_forgot(superblock);
        pbft_superblock_close(superblock);
    }
    pbft_epoch_free(&present);
    enum pbft_durability durability = up->has_durability ? up->durability : config->durability;
    if (forgot > 0)
        *memory = HAS_FORGOTTEN;
    else if (durability != PBFT_DURABILITY_SYNC && starts > 0)
        *memory = WOULD_NOT_LOOK;
    return CTL_OK;
}

/* Who is mute at once, and whether a quorum is left. */
static int judge(const struct up *up, const uint32_t count[3])
{
    uint32_t n = up->cluster.cluster.params.n, forgot = count[HAS_FORGOTTEN];
    uint32_t mutes = forgot + count[WOULD_NOT_LOOK];
    if (n - forgot < pbft_quorum(n))
        return ctl_fail(CTL_NO,
                        "%u of the %u replicas of %s were started before with a durability that "
                        "forgets votes: they stay mute, no quorum is left, and none can get a new "
                        "key. Make a new cluster: with `pbftctl snapshot restore` from a backup, "
                        "else with `pbftctl init`.",
                        (unsigned)forgot, (unsigned)n, up->dir);
    if (n - mutes < pbft_quorum(n))
        return ctl_fail(CTL_NO,
                        "%u of the %u replicas of %s were started before, and with this durability "
                        "they do not read their votes: they would be mute, and no quorum left. "
                        "Start it with --durability sync.",
                        (unsigned)mutes, (unsigned)n, up->dir);
    if (mutes > 0)
        (void)fprintf(stderr,
                      "pbftctl: %u of %u replicas were started before, do not know their votes and "
                      "are mute: %s.\n",
                      (unsigned)mutes, (unsigned)n,
                      forgot == 0 ? "start them with --durability sync"
                                  : "`pbftctl replica replace ID` gives one a new key");
    return CTL_OK;
}

static int check_nodes(struct up *up)
{
    struct pbft_replica_config config;
    uint32_t n = up->cluster.cluster.params.n, count[3] = {0};
    char path[CTL_NODE_PATH_BYTES], error[256];
    for (uint32_t id = 0; id < n; id++) {
        enum memory memory = REMEMBERS;
        if (!path_of(path, sizeof path, "%s/node-%u/node.conf", up->dir, id))
            return ctl_fail(CTL_USAGE, "the path of %.40s... is too long.", up->dir);
        if (pbft_replica_config_load(&config, path, error) != PBFT_STATUS_OK)
            return ctl_fail(CTL_USAGE, "%s.", error);
        if (config.id != id)
            return ctl_fail(CTL_USAGE, "%s: id = %u, but the folder is node-%u's.", path,
                            (unsigned)config.id, (unsigned)id);
        int code = check_data(up, &config, &memory);
        if (code != CTL_OK) return code;
        count[memory]++;
        if (id == 0) memcpy(up->dashboard, config.admin_listen, sizeof up->dashboard);
    }
    return judge(up, count);
}

static int check_cluster(struct up *up)
{
    char path[CTL_NODE_PATH_BYTES], error[256];
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return ctl_fail(CTL_REFUSED,
                        "the cryptographic self-test failed: this libsodium cannot be trusted.");
    int size = snprintf(path, sizeof path, "%s/cluster.conf", up->dir);
    if (size < 0 || (size_t)size >= sizeof path)
        return ctl_fail(CTL_USAGE, "the path of %.40s... is too long.", up->dir);
    enum pbft_status status = pbft_cluster_config_load(&up->cluster, path, error);
    if (status == PBFT_STATUS_NOT_FOUND)
        return ctl_fail(CTL_USAGE,
                        "%s is no cluster (it has no cluster.conf): make one with "
                        "`pbftctl init %s --nodes 4`.",
                        up->dir, up->dir);
    if (status != PBFT_STATUS_OK) return ctl_fail(CTL_USAGE, "%s.", error);
    int code = check_faulty(up);
    if (code == CTL_OK) code = check_nodes(up);
    if (code != CTL_OK) pbft_cluster_config_free(&up->cluster);
    return code;
}

/* ---- start ---- */

/* A program beside our own. */
static bool beside(char *out, const char *name)
{
    char self[PROGRAM_BYTES];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size <= 0) return false;
    self[size] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) return false;
    slash[1] = '\0';
    int length = snprintf(out, PROGRAM_BYTES, "%s%s", self, name);
    return length > 0 && (size_t)length < PROGRAM_BYTES;
}

static bool program_of(const struct up *up, uint32_t id, char *out)
{
    if (up->faulty[id] != NULL) return beside(out, "pbftd-faulty");
    if (up->pbftd == NULL) return beside(out, "pbftd");
    int length = snprintf(out, PROGRAM_BYTES, "%s", up->pbftd);
    return length > 0 && (size_t)length < PROGRAM_BYTES;
}

static int start_node(struct up *up, uint32_t id)
{
    char program[PROGRAM_BYTES], config[CTL_NODE_PATH_BYTES], pid_file[CTL_NODE_PATH_BYTES];
    if (!program_of(up, id, program))
        return ctl_fail(CTL_NO, "cannot tell where the replica's program is: give --pbftd PATH.");
    struct stat info;
    if (access(program, X_OK) != 0)
        return ctl_fail(CTL_USAGE, "cannot run %s: %s.", program, strerror(errno));
    if (stat(program, &info) != 0 || !S_ISREG(info.st_mode))
        return ctl_fail(CTL_USAGE, "cannot run %s: it is no program.", program);
    if (!path_of(config, sizeof config, "%s/node-%u/node.conf", up->dir, id) ||
        !path_of(pid_file, sizeof pid_file, "%s/node-%u/pbftd.pid", up->dir, id))
        return ctl_fail(CTL_USAGE, "the path of %.40s... is too long.", up->dir);
    char *argv[8] = {program, (char *)"--config", config}; /* ends with NULL */
    size_t count = 3;
    if (up->has_durability) {
        argv[count++] = (char *)"--durability";
        argv[count++] = (char *)pbft_durability_text(up->durability);
    }
    if (up->faulty[id] != NULL) {
        argv[count++] = (char *)"--fault";
        argv[count++] = (char *)up->faulty[id];
    }
    if (ctl_node_start(&up->nodes.at[id], argv, pid_file)) return CTL_OK;
    return ctl_fail(CTL_NO, "cannot start node %u: %s.", (unsigned)id, strerror(errno));
}

/* ---- does it serve? ---- */

static void probe_done(void *context, const struct pbft_answer *answer)
{
    struct up *up = context;
    /* Whatever the outcome, a quorum ordered it and agrees. */
    bool answered = answer->status == PBFT_STATUS_OK || answer->status == PBFT_STATUS_REFUSED;
    atomic_store(&up->probe, answered ? PROBE_ANSWERED : PROBE_FAILED);
    wake();
}

/* An operation that changes nothing: a read of a key, put through the order. Other services get an
 * empty operation, which they refuse by their own rules. */
static void probe_start(struct up *up)
{
    uint8_t op[64];
    size_t size = 0;
    static const char key[] = "pbftctl-up";
    if (strcmp(up->cluster.cluster.service, pbft_kv_service.name) == 0)
        size = pbft_kv_encode_get(op, sizeof op,
                                  (struct pbft_span){(const uint8_t *)key, sizeof key - 1});
    struct pbft_span ops = {op, size};
    atomic_store(&up->probe, PROBE_ASKED);
    if (pbft_client_submit(up->client, &ops, 1, PROBE_NS, probe_done, up) != PBFT_STATUS_OK)
        atomic_store(&up->probe, PROBE_FAILED); /* again in the next round */
}

static void say_ready(struct up *up)
{
    const struct pbft_cluster *c = &up->cluster.cluster;
    up->ready = true;
    (void)printf("ready: %u of %u replicas run, service %s%s%s. Try: pbftctl --cluster %s status\n",
                 (unsigned)ctl_nodes_running(&up->nodes), (unsigned)c->params.n, c->service,
                 up->dashboard[0] == '\0' ? "" : ", dashboard ", up->dashboard, up->dir);
    (void)fflush(stdout);
    pbft_client_close(up->client);
    up->client = NULL;
}

static void watch_readiness(struct up *up)
{
    uint64_t now = now_ns();
    struct pbft_client_stats stats;
    int probe = atomic_load(&up->probe);
    if (up->client == NULL) return;
    pbft_client_stats(up->client, &stats);
    /* Whoever has our request before it has the others would give their primary up, alone. */
    bool gathered =
        stats.connected >= ctl_nodes_running(&up->nodes) || now - up->started_ns >= GATHER_NS;
    if ((probe == PROBE_NONE && gathered) || probe == PROBE_FAILED) probe_start(up);
    if (probe == PROBE_ANSWERED) {
        if (up->answered_ns == 0) up->answered_ns = now;
        if (stats.connected >= ctl_nodes_running(&up->nodes) ||
            now - up->answered_ns >= STRAGGLERS_NS)
            say_ready(up);
        return;
    }
    if (now - up->news_ns < NEWS_NS) return;
    up->news_ns = now;
    (void)fprintf(stderr,
                  "pbftctl: not ready after %" PRIu64
                  " s: %u of %u replicas run, %u are connected, "
                  "and %u must agree; their logs say more.\n",
                  (now - up->started_ns) / SECOND_NS, (unsigned)ctl_nodes_running(&up->nodes),
                  (unsigned)up->nodes.n, (unsigned)stats.connected,
                  (unsigned)pbft_quorum(up->nodes.n));
}

/* ---- the loop ---- */

/* One that had not set up its signals yet ends by ours. */
static bool clean_end(const struct ctl_node *node)
{
    if (WIFSIGNALED(node->status)) return WTERMSIG(node->status) == SIGTERM;
    return !node->killed && WEXITSTATUS(node->status) == 0;
}

/* True unless a node ended badly although we asked it to end. */
static bool collect_ended(struct up *up)
{
    char text[64];
    bool clean = true;
    for (int id; (id = ctl_nodes_reap(&up->nodes, STDERR_FILENO)) >= 0;) {
        const struct ctl_node *node = &up->nodes.at[id];
        if (up->stopping && clean_end(node)) continue;
        if (up->stopping) clean = false;
        (void)fprintf(stderr, "pbftctl: node %d ended: %s; %u of %u run.\n", id,
                      ctl_node_end_text(node, text), (unsigned)ctl_nodes_running(&up->nodes),
                      (unsigned)up->nodes.n);
    }
    if (!up->stopping && !up->quorum_lost && ctl_nodes_running(&up->nodes) > 0 &&
        ctl_nodes_running(&up->nodes) < pbft_quorum(up->nodes.n)) {
        up->quorum_lost = true;
        (void)fprintf(stderr,
                      "pbftctl: fewer than the %u replicas that must agree are left: nothing can "
                      "be ordered.\n",
                      (unsigned)pbft_quorum(up->nodes.n));
    }
    return clean;
}

static void begin_stop(struct up *up)
{
    up->stopping = true;
    up->stopping_ns = now_ns();
    ctl_nodes_signal(&up->nodes, SIGTERM);
    ctl_nodes_signal(&up->nodes, SIGCONT); /* one that is stopped could not hear it */
}

/* One round: logs, ends, readiness, signals. Returns collect_ended()'s verdict. */
static bool loop_round(struct up *up)
{
    struct pollfd fds[PBFT_REPLICAS_MAX + 1];
    char bytes[64];
    ctl_nodes_poll_set(&up->nodes, fds);
    fds[up->nodes.n] = (struct pollfd){.fd = wake_pipe[0], .events = POLLIN};
    /* A SIGCHLD that came is in the pipe; time alone matters while stopping or not yet ready. */
    bool timed = up->stopping || up->client != NULL;
    if (poll(fds, up->nodes.n + 1, timed ? ROUND_MS : -1) < 0) fds[up->nodes.n].revents = 0;
    while (fds[up->nodes.n].revents != 0 && read(wake_pipe[0], bytes, sizeof bytes) > 0)
        ;
    ctl_nodes_pump(&up->nodes, fds, STDERR_FILENO);
    bool clean = collect_ended(up);
    if (!up->stopping && stop_signals > 0) begin_stop(up);
    if (!up->stopping) watch_readiness(up);
    bool late = up->stopping && (now_ns() - up->stopping_ns >= STOP_NS || stop_signals > 1);
    if (late) ctl_nodes_signal(&up->nodes, SIGKILL);
    return clean;
}

static int supervise(struct up *up)
{
    bool clean = true;
    while (ctl_nodes_running(&up->nodes) > 0)
        clean = loop_round(up) && clean;
    if (!up->stopping) return ctl_fail(CTL_NO, "all nodes have ended.");
    return clean ? CTL_OK : CTL_NO;
}

/* Stop what runs, after a failure on the way up. */
static int give_up(struct up *up, int code)
{
    begin_stop(up);
    (void)supervise(up);
    return code;
}

static int start_all(struct up *up)
{
    char error[256];
    up->nodes.n = up->cluster.cluster.params.n;
    for (uint32_t id = 0; id < up->nodes.n; id++)
        up->nodes.at[id].log = -1;
    up->started_ns = up->news_ns = now_ns();
    for (uint32_t id = 0; id < up->nodes.n && stop_signals == 0; id++) {
        int code = start_node(up, id);
        if (code != CTL_OK) return give_up(up, code);
    }
    /* Threads begin here: everything has been forked. */
    if (stop_signals == 0 &&
        pbft_client_open(&up->client, up->dir, NULL, error) != PBFT_STATUS_OK) {
        up->client = NULL;
        return give_up(up, ctl_fail(CTL_NO, "%s.", error));
    }
    int code = supervise(up);
    pbft_client_close(up->client);
    up->client = NULL;
    return code;
}

static int run_up(const struct ctl_options *options, int argc, char **argv)
{
    struct up *up = calloc(1, sizeof *up);
    if (up == NULL) return ctl_fail(CTL_NO, "out of memory.");
    atomic_init(&up->probe, PROBE_NONE);
    int code = parse(up, options, argc, argv);
    if (code == CTL_OK) code = check_cluster(up);
    if (code == CTL_OK) {
        code = catch_signals() ? start_all(up)
                               : ctl_fail(CTL_NO, "no signal handlers: %s.", strerror(errno));
        pbft_cluster_config_free(&up->cluster);
    }
    free(up);
    return code;
}

const struct ctl_command ctl_up_commands[] = {
    {"up", "up DIR [--faulty ID=STRATEGY ...] [--durability sync|async|memory] [--pbftd PATH]",
     "run all nodes of DIR here, in the foreground",
     "Prints a line that begins with `ready` once a quorum has ordered an operation. A node that\n"
     "ends is reported, the others go on. Ctrl-C stops all. --faulty makes a replica lie (see\n"
     "`pbftctl faults list`); --pbftd runs a service of your own (examples/counter.c);\n"
     "--durability counts in place of what each node.conf says.\n"
     "Example: pbftctl init d --nodes 4 && pbftctl up d --faulty 2=lie-reply",
     run_up},
    {NULL, NULL, NULL, NULL, NULL},
};
