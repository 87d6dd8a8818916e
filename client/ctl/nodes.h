/**
 * client/ctl/nodes.h - a local cluster's replicas as child processes: started, listened to, reaped,
 * stopped. No threads; the caller polls.
 *
 * No child outlives us: each asks the kernel for SIGTERM when its parent dies.
 */
#ifndef PBFT_CLIENT_CTL_NODES_H
#define PBFT_CLIENT_CTL_NODES_H

#include "pbft/types.h"

#include <poll.h>
#include <sys/types.h>

#define CTL_NODE_LINE_BYTES 4096u /* a longer line of a log is shown in pieces */
#define CTL_NODE_PATH_BYTES 1280u

struct ctl_node {
    pid_t pid;          /* 0: not running */
    int log;            /* read end of its standard output and error; -1: closed */
    int status;         /* as waitpid() gave it, once it ended */
    bool ended, killed; /* killed: by us, it did not end in time */
    char pid_file[CTL_NODE_PATH_BYTES];
    char line[CTL_NODE_LINE_BYTES]; /* what has come of an unfinished line */
    size_t line_size;
};

struct ctl_nodes {
    uint32_t n;
    struct ctl_node at[PBFT_REPLICAS_MAX];
};

/* argv as for execv(). Its process id goes to `pid_file`, if the disk has room. False: fork, pipe
 * or file failed, errno says why, and nothing was started. Call before there are threads. */
bool ctl_node_start(struct ctl_node *node, char *const argv[], const char *pid_file);

/* One pollfd for each node, events 0 for those without a log. */
void ctl_nodes_poll_set(const struct ctl_nodes *nodes, struct pollfd *fds);
/* Read what is there, and write whole lines to descriptor `to`, each behind "[I] ". */
void ctl_nodes_pump(struct ctl_nodes *nodes, const struct pollfd *fds, int to);
/* Collect a node that has ended: its number, with status and the rest of its log shown; -1: none.
 * Its pid file is removed if it still names it. */
int ctl_nodes_reap(struct ctl_nodes *nodes, int to);

uint32_t ctl_nodes_running(const struct ctl_nodes *nodes);
/* To all that run. SIGKILL is remembered in `killed`. */
void ctl_nodes_signal(struct ctl_nodes *nodes, int signal_number);
/* "exit status 3" or "signal 9 (Killed)". */
const char *ctl_node_end_text(const struct ctl_node *node, char text[64]);

#endif
