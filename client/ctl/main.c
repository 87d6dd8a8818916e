/* pbftctl: one table of verbs, gathered from the files beside this one. */
#include "client/ctl/ctl.h"

#include "pbft/quorum.h"
#include "replica/config.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ctl_command *const tables[] = {
    ctl_init_commands,     ctl_up_commands,       ctl_kv_commands,      ctl_status_commands,
    ctl_evidence_commands, ctl_snapshot_commands, ctl_replica_commands,
};
#define TABLES (sizeof tables / sizeof tables[0])

int ctl_fail(enum ctl_exit code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("pbftctl: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return (int)code;
}

int ctl_usage(const struct ctl_command *command, const char *why)
{
    (void)fprintf(stderr, "pbftctl: %s. Usage: pbftctl %s (see pbftctl %s --help)\n", why,
                  command->usage, command->name);
    return CTL_USAGE;
}

bool ctl_duration(const char *text, uint64_t *out_ns)
{
    return pbft_config_duration(text, out_ns);
}

static int open_failed(enum pbft_status status, const char *error)
{
    bool refused = status == PBFT_STATUS_PERMISSION || status == PBFT_STATUS_CORRUPT ||
                   status == PBFT_STATUS_CRYPTO || status == PBFT_STATUS_REFUSED;
    bool files = status == PBFT_STATUS_NOT_FOUND || status == PBFT_STATUS_CONFIG ||
                 status == PBFT_STATUS_ARGUMENT;
    size_t size = strlen(error); /* sentences about key files have their full stop */
    return ctl_fail(refused ? CTL_REFUSED
                    : files ? CTL_USAGE
                            : CTL_NO,
                    "%s%s", error, size > 0 && error[size - 1] == '.' ? "" : ".");
}

static int no_quorum(struct pbft_client *client)
{
    struct pbft_client_stats stats;
    char text[96];
    pbft_id replica;
    uint32_t n = pbft_client_cluster(client)->params.n;
    if (pbft_client_refused(client, &replica, text))
        return ctl_fail(CTL_REFUSED, "replica %u and this client refuse each other: %s.",
                        (unsigned)replica, text);
    pbft_client_stats(client, &stats);
    return ctl_fail(CTL_TIMEOUT,
                    "%u of %u replicas can be reached and %u are needed: is the cluster running "
                    "(`pbftctl up`)?",
                    stats.connected, n, pbft_quorum(n));
}

struct pbft_client *ctl_open(const struct ctl_options *options, bool wait, int *code)
{
    char error[256];
    struct pbft_client *client;
    if (options->cluster == NULL) {
        *code = ctl_fail(CTL_USAGE, "which cluster? Give --cluster DIR, the folder that `pbftctl "
                                    "init` made, or set PBFT_CLUSTER.");
        return NULL;
    }
    struct pbft_client_options own = {.timeout_ns = options->timeout_ns};
    enum pbft_status status = pbft_client_open(&client, options->cluster, &own, error);
    if (status != PBFT_STATUS_OK) {
        *code = open_failed(status, error);
        return NULL;
    }
    if (error[0] != '\0') (void)fprintf(stderr, "pbftctl: %s.\n", error);
    if (!wait || pbft_client_wait(client, options->timeout_ns) == PBFT_STATUS_OK) return client;
    *code = no_quorum(client);
    pbft_client_close(client);
    return NULL;
}

/* ---- help ---- */

static void print_help(FILE *to)
{
    (void)fprintf(to, "Usage: pbftctl [--cluster DIR] VERB [ARGUMENTS]\n"
                      "Run and use a Byzantine fault-tolerant cluster.\n\n");
    for (size_t i = 0; i < TABLES; i++)
        for (const struct ctl_command *c = tables[i]; c->name != NULL; c++)
            (void)fprintf(to, "  %-10s %s\n", c->name, c->summary);
    (void)fprintf(to,
                  "\n  --cluster DIR  the cluster's folder, a client's folder or a client.conf\n"
                  "                 (or the environment variable PBFT_CLUSTER)\n"
                  "  --timeout 5s   how long to wait for an answer (ns, us, ms, s, m, h, d)\n"
                  "  --json         machine-readable output\n"
                  "  --help         of a verb: its arguments and an example\n"
                  "  --version\n\n"
                  "Exit codes: 0 yes, 1 a negative answer, 2 usage, 3 time-out or no quorum,\n"
                  "4 authentication or proof refused, 5 the service refused.\n\n"
                  "Example:\n"
                  "  pbftctl init d --nodes 4 && pbftctl up d &\n"
                  "  pbftctl --cluster d put greeting hello && pbftctl --cluster d get greeting\n");
}

static int command_help(const struct ctl_command *command)
{
    (void)printf("Usage: pbftctl %s\n%s\n", command->usage, command->summary);
    if (command->help != NULL) (void)printf("\n%s\n", command->help);
    return CTL_OK;
}

/* ---- the command line ---- */

struct line {
    struct ctl_options options;
    bool help, version;
    int argc;
    char **argv; /* what remains: the verb and what is its own */
};

/* --NAME VALUE or --NAME=VALUE at position *i; NULL: it is another argument. */
static const char *valued(const char *name, int argc, char **argv, int *i, bool *missing)
{
    const char *argument = argv[*i];
    size_t size = strlen(name);
    if (argument == NULL || strncmp(argument, name, size) != 0) return NULL;
    if (argument[size] == '=') return argument + size + 1;
    if (argument[size] != '\0') return NULL;
    if (*i + 1 >= argc) {
        *missing = true;
        return "";
    }
    return argv[++*i];
}

/* Common options may stand anywhere before a "--". */
static int split(int argc, char **argv, struct line *line)
{
    int i = 1;
    for (; i < argc && argv[i] != NULL && strcmp(argv[i], "--") != 0; i++) {
        bool missing = false;
        const char *name = argv[i];
        const char *cluster = valued("--cluster", argc, argv, &i, &missing);
        const char *timeout =
            cluster == NULL ? valued("--timeout", argc, argv, &i, &missing) : NULL;
        if (missing) return ctl_fail(CTL_USAGE, "%s needs a value.", name);
        if (cluster != NULL) {
            line->options.cluster = cluster;
        } else if (timeout != NULL) {
            if (!ctl_duration(timeout, &line->options.timeout_ns) || line->options.timeout_ns == 0)
                return ctl_fail(CTL_USAGE, "--timeout takes a time like 5s or 200ms, not '%.40s'.",
                                timeout);
        } else if (strcmp(name, "--json") == 0) {
            line->options.json = true;
        } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            line->help = true;
        } else if (strcmp(name, "--version") == 0) {
            line->version = true;
        } else {
            line->argv[line->argc++] = argv[i];
        }
    }
    for (; i < argc; i++)
        line->argv[line->argc++] = argv[i];
    line->argv[line->argc] = NULL;
    return -1;
}

static const struct ctl_command *find(const char *name)
{
    for (size_t i = 0; i < TABLES; i++)
        for (const struct ctl_command *c = tables[i]; c->name != NULL; c++)
            if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

static int run(struct line *line)
{
    if (line->version) {
        (void)printf("pbftctl %s\n", PBFT_VERSION);
        return CTL_OK;
    }
    const char *verb = line->argc > 0 ? line->argv[0] : line->help ? "help" : NULL;
    if (verb == NULL) {
        print_help(stderr);
        return CTL_USAGE;
    }
    if (strcmp(verb, "help") == 0 && line->argc < 2) {
        print_help(stdout);
        return CTL_OK;
    }
    bool help = line->help || strcmp(verb, "help") == 0;
    if (strcmp(verb, "help") == 0) verb = line->argv[1];
    PBFT_ASSERT(verb != NULL); /* main() counted the arguments */
    const struct ctl_command *command = find(verb);
    if (command == NULL)
        return ctl_fail(CTL_USAGE, "there is no %s '%.40s'; see pbftctl --help.",
                        verb[0] == '-' ? "option" : "verb", verb);
    if (help) return command_help(command);
    return command->run(&line->options, line->argc, line->argv);
}

int main(int argc, char **argv)
{
    struct line line = {
        .options = {.cluster = getenv("PBFT_CLUSTER"), .program = argc > 0 ? argv[0] : "pbftctl"}};
    line.argv = calloc((size_t)argc + 2, sizeof *line.argv);
    if (line.argv == NULL) return ctl_fail(CTL_NO, "out of memory.");
    int code = split(argc, argv, &line);
    if (code < 0) code = run(&line);
    free(line.argv);
    /* What could not be written was not said (`pbftctl get key > full-disk`). */
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && code == CTL_OK)
        code = ctl_fail(CTL_NO, "cannot write the answer: %s.", strerror(errno));
    return code;
}
