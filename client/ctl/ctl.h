/**
 * client/ctl/ctl.h - what the command files of pbftctl share.
 */
#ifndef PBFT_CLIENT_CTL_H
#define PBFT_CLIENT_CTL_H

#include "client/pbft.h"

/* Exit codes, DESIGN 5. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_NO = 1, /* a negative answer: no such key, compare failed, unhealthy */
    CTL_USAGE = 2,
    CTL_TIMEOUT = 3, /* time-out or no quorum */
    CTL_REFUSED = 4, /* authentication or proof refused */
    CTL_SERVICE = 5, /* the service refused */
};

/* Options that stand before or behind the verb and mean the same everywhere. */
struct ctl_options {
    const char *cluster; /* --cluster DIR, or PBFT_CLUSTER; NULL: none was given */
    uint64_t timeout_ns; /* --timeout 5s; 0: what client.conf says */
    bool json;           /* --json */
    const char *program; /* argv[0], to find the other programs beside it */
};

/* One verb. argv[0] is the verb; common options have been taken out by main.c, options of the
 * verb's own are still there (getopt_long with `optind = 0`). Returns the exit code. */
struct ctl_command {
    const char *name;
    const char *usage;   /* "put KEY VALUE" */
    const char *summary; /* one line */
    const char *help;    /* more lines, with an example; may be NULL */
    int (*run)(const struct ctl_options *options, int argc, char **argv);
};

/* One sentence to standard error, "pbftctl: ..."; returns `code`. */
int ctl_fail(enum ctl_exit code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Usage error of a verb: its usage line and a hint; CTL_USAGE. */
int ctl_usage(const struct ctl_command *command, const char *why);
/* Open the client of options->cluster and wait for a quorum if `wait`; on failure says why, and
 * *code is what to return. */
struct pbft_client *ctl_open(const struct ctl_options *options, bool wait, int *code);
/* "5s", "200ms", "1m" to nanoseconds; false if it is none. */
bool ctl_duration(const char *text, uint64_t *out_ns);

/* The command tables of each file; main.c joins them. Each ends with a NULL name. */
extern const struct ctl_command ctl_init_commands[];     /* init.c: init */
extern const struct ctl_command ctl_kv_commands[];       /* kv.c: put get del cas range call */
extern const struct ctl_command ctl_up_commands[];       /* up.c: up */
extern const struct ctl_command ctl_status_commands[];   /* status.c: status */
extern const struct ctl_command ctl_evidence_commands[]; /* evidence.c: evidence, faults */
extern const struct ctl_command ctl_snapshot_commands[]; /* snapshot.c: snapshot */
extern const struct ctl_command ctl_replica_commands[];  /* replica.c: replica */

#endif
