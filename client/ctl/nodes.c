/* Child processes and their logs. */
#include "client/ctl/nodes.h"
#include "replica/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX_BYTES 8u /* "[63] " */

/* ---- pid files ---- */

/* Written aside and renamed: whoever reads it finds a whole number. */
static bool pid_file_write(const char *path, pid_t pid)
{
    char aside[CTL_NODE_PATH_BYTES + 8];
    (void)snprintf(aside, sizeof aside, "%s.tmp", path);
    int why = pbft_pid_file_write(aside, pid);
    if (why == 0 && rename(aside, path) == 0) return true;
    if (why == 0) why = errno;
    (void)unlink(aside);
    errno = why;
    if (why != ENOSPC && why != EDQUOT) return false;
    (void)unlink(path); /* of an earlier start */
    (void)fprintf(stderr, "pbftctl: cannot write %s: %s; its node runs without one.\n", path,
                  strerror(why));
    return true; /* no node needs it */
}

/* Not if somebody has started the node anew meanwhile. */
static void pid_file_remove(const char *path, pid_t pid)
{
    char text[32] = "";
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    bool ours = fgets(text, sizeof text, file) != NULL && strtol(text, NULL, 10) == (long)pid;
    (void)fclose(file);
    if (ours) (void)unlink(path);
}

/* ---- start ---- */

/* In the child, all signals blocked: our handlers must not run here, they share our pipe. */
_Noreturn static void become(char *const argv[], pid_t parent, int log, const sigset_t *mask)
{
    struct sigaction normal = {.sa_handler = SIG_DFL};
    static const int caught[] = {SIGINT, SIGTERM, SIGCHLD, SIGPIPE};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        (void)sigaction(caught[i], &normal, NULL);
    /* A group of its own: Ctrl-C is for us, and we tell the node once. */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(126); /* it died before the line above */
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    if (null > STDERR_FILENO) (void)close(null);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    (void)execv(argv[0], argv);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s.\n", argv[0], strerror(errno));
    _exit(127);
}

static bool cloexec_pipe(int ends[2])
{
    if (pipe(ends) != 0) return false;
    if (fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0 &&
        fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        return true;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return false;
}

bool ctl_node_start(struct ctl_node *node, char *const argv[], const char *pid_file)
{
    int ends[2];
    sigset_t all, mask;
    memset(node, 0, sizeof *node);
    node->log = -1;
    (void)snprintf(node->pid_file, sizeof node->pid_file, "%s", pid_file);
    if (!cloexec_pipe(ends)) return false;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &mask);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) become(argv, parent, ends[1], &mask);
    int why = errno;
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    (void)close(ends[1]);
    if (pid > 0 && pid_file_write(node->pid_file, pid)) {
        node->pid = pid;
        node->log = ends[0];
        return true;
    }
    if (pid > 0) {
        why = errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    (void)close(ends[0]);
    errno = why;
    return false;
}

/* ---- logs ---- */

void ctl_nodes_poll_set(const struct ctl_nodes *nodes, struct pollfd *fds)
{
    for (uint32_t i = 0; i < nodes->n; i++)
        fds[i] = (struct pollfd){.fd = nodes->at[i].log, .events = POLLIN};
}

/* A reader that is gone loses its lines; the nodes go on. A signal ends a write that is stuck. */
static void write_all(int to, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(to, bytes, size);
        if (written <= 0) return;
        bytes += written;
        size -= (size_t)written;
    }
}

/* Takes bytes into the node's line; each full one goes out in `out`. Returns what `out` holds. */
static size_t take_bytes(struct ctl_node *node, uint32_t id, const char *bytes, size_t size,
                         char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != '\n') node->line[node->line_size++] = bytes[i];
        if (bytes[i] != '\n' && node->line_size < sizeof node->line) continue;
        used += (size_t)snprintf(out + used, PREFIX_BYTES, "[%u] ", (unsigned)id);
        memcpy(out + used, node->line, node->line_size);
        used += node->line_size;
        out[used++] = '\n';
        node->line_size = 0;
    }
    return used;
}

/* Everything that can be read now. The log is closed at its end. */
static void drain(struct ctl_node *node, uint32_t id, int to)
{
    char bytes[2048];
    /* Lines may be empty: each byte can bring a prefix and its end; then there is what was held. */
    char out[sizeof bytes * (PREFIX_BYTES + 1) + CTL_NODE_LINE_BYTES];
    for (unsigned rounds = 0; node->log >= 0 && rounds < 64; rounds++) {
        ssize_t got = read(node->log, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got <= 0) {
            (void)close(node->log);
            node->log = -1;
            return;
        }
        write_all(to, out, take_bytes(node, id, bytes, (size_t)got, out));
    }
}

void ctl_nodes_pump(struct ctl_nodes *nodes, const struct pollfd *fds, int to)
{
    for (uint32_t i = 0; i < nodes->n; i++)
        if (nodes->at[i].log >= 0 && fds[i].revents != 0) drain(&nodes->at[i], i, to);
}

/* ---- the end ---- */

/* It ended, and is still a zombie: nobody else has its process id. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

int ctl_nodes_reap(struct ctl_nodes *nodes, int to)
{
    for (uint32_t i = 0; i < nodes->n; i++) {
        struct ctl_node *node = &nodes->at[i];
        if (node->pid == 0 || !has_ended(node->pid)) continue;
        drain(node, i, to);
        if (node->line_size > 0) {
            char out[PREFIX_BYTES + CTL_NODE_LINE_BYTES + 1];
            write_all(to, out, take_bytes(node, i, "\n", 1, out));
        }
        if (node->log >= 0) (void)close(node->log);
        node->log = -1;
        pid_file_remove(node->pid_file, node->pid); /* before its id may be a stranger's */
        (void)waitpid(node->pid, &node->status, 0);
        node->pid = 0;
        node->ended = true;
        return (int)i;
    }
    return -1;
}

uint32_t ctl_nodes_running(const struct ctl_nodes *nodes)
{
    uint32_t running = 0;
    for (uint32_t i = 0; i < nodes->n; i++)
        if (nodes->at[i].pid != 0) running++;
    return running;
}

void ctl_nodes_signal(struct ctl_nodes *nodes, int signal_number)
{
    for (uint32_t i = 0; i < nodes->n; i++) {
        struct ctl_node *node = &nodes->at[i];
        if (node->pid == 0) continue;
        if (signal_number == SIGKILL) node->killed = true;
        (void)kill(node->pid, signal_number);
    }
}

const char *ctl_node_end_text(const struct ctl_node *node, char text[64])
{
    if (WIFSIGNALED(node->status))
        (void)snprintf(text, 64, "signal %d (%s)", WTERMSIG(node->status),
                       strsignal(WTERMSIG(node->status)));
    else
        (void)snprintf(text, 64, "exit status %d", WEXITSTATUS(node->status));
    return text;
}
