/* The replicas: our own children, which die with us. */
#include "replica/faults/witness.h"
#include "tests/crash/crash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program(const char *name, char out[CRASH_PATH])
{
    const char *dir = getenv("PBFT_BIN_DIR");
    (void)snprintf(out, CRASH_PATH, "%s/%s", dir != NULL ? dir : "build/bin", name);
    return out;
}

/* A child with standard error (and output) into a file. */
static pid_t run(char *const argv[], const char *output)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    int fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
    }
    (void)execv(argv[0], argv);
    _exit(127);
}

static bool port_free(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) (void)close(fd);
    return is_free;
}

/* Below the range of ports that connections get by themselves: it stays ours between two lives. */
static unsigned pick_ports(void)
{
    uint64_t state = (uint64_t)getpid() * 7919u + crash_now_ms();
    for (unsigned tries = 0; tries < 200; tries++) {
        unsigned base = 10000u + (unsigned)crash_random(&state, 20000), i = 0;
        while (i < 3 * CRASH_REPLICAS && port_free(base + i))
            i++;
        if (i == 3 * CRASH_REPLICAS) return base;
    }
    return 0;
}

/* A checkpoint to the disk each mebibyte of log: blows fall into flushes, cuts and sweeps too. */
static bool flush_often(const struct crash_cluster *c)
{
    char sed[] = "/bin/sed", option[] = "-i", output[CRASH_PATH], conf[CRASH_PATH];
    char change[] = "s/^flush_bytes = .*/flush_bytes = 1MiB/";
    (void)snprintf(output, sizeof output, "%s/init.log", c->dir);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++) {
        (void)snprintf(conf, sizeof conf, "%s/node-%u/node.conf", c->folder, id);
        char *argv[] = {sed, option, change, conf, NULL};
        int status = -1;
        pid_t pid = run(argv, output);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return false;
    }
    return true;
}

bool crash_cluster_make(struct crash_cluster *c, const char *durability)
{
    memset(c, 0, sizeof *c);
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(c->dir, sizeof c->dir, "%.100s/pbft-crash-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(c->dir) == NULL) return false;
    (void)snprintf(c->folder, sizeof c->folder, "%s/c", c->dir);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++)
        (void)snprintf(c->replicas[id].log, CRASH_PATH, "%s/replica-%u.log", c->dir, id);
    char ctl[CRASH_PATH], port[16], output[CRASH_PATH];
    char verb[] = "init", nodes[] = "--nodes", four[] = "4", ports[] = "--base-port";
    char clients[] = "--clients";
    (void)snprintf(port, sizeof port, "%u", pick_ports());
    (void)snprintf(output, sizeof output, "%s/init.log", c->dir);
    (void)program("pbftctl", ctl);
    char *argv[] = {ctl, verb, c->folder, nodes, four, ports, port, clients, four, NULL};
    int status = -1;
    pid_t pid = run(argv, output);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return false;
    if (!flush_often(c)) return false;
    if (durability != NULL) (void)setenv("PBFT_CRASH_DURABILITY", durability, 1);
    return true;
}

bool crash_start(struct crash_cluster *c, unsigned id)
{
    struct crash_replica *r = &c->replicas[id];
    if (c->replace.pid != 0 && c->replace.wiped && c->replace.id == id) return true; /* later */
    char bin[CRASH_PATH], conf[CRASH_PATH];
    char config[] = "--config", fault[] = "--fault", witness[] = "witness";
    (void)program("pbftd-faulty", bin);
    (void)snprintf(conf, sizeof conf, "%s/node-%u/node.conf", c->folder, id);
    char dir[sizeof c->dir];
    memcpy(dir, c->dir, sizeof dir);
    (void)snprintf(r->statements, sizeof r->statements, "%s/statements-%u-%u", dir, id,
                   r->incarnations);
    char *argv[8] = {bin, config, conf, fault, witness};
    char durability[] = "--durability", *mode = getenv("PBFT_CRASH_DURABILITY");
    if (mode != NULL) {
        argv[5] = durability;
        argv[6] = mode;
    }
    if (setenv(WITNESS_VARIABLE, r->statements, 1) != 0) return false;
    r->pid = run(argv, r->log);
    if (r->pid < 0) r->pid = 0;
    r->incarnations++;
    return r->pid > 0;
}

void crash_kill(struct crash_cluster *c, unsigned id)
{
    struct crash_replica *r = &c->replicas[id];
    if (r->pid == 0) return;
    (void)kill(r->pid, SIGKILL);
    while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    r->pid = 0;
    c->kills++;
}

/* ---- a new key ---- */

static bool run_replace(struct crash_cluster *c)
{
    char ctl[CRASH_PATH], output[CRASH_PATH], number[16], cluster[] = "--cluster";
    char noun[] = "replica", verb[] = "replace", option[] = "--timeout", patience[] = "20s";
    (void)program("pbftctl", ctl);
    (void)snprintf(output, sizeof output, "%s/replace.log", c->dir);
    (void)snprintf(number, sizeof number, "%u", c->replace.id);
    char *argv[] = {ctl, cluster, c->folder, noun, verb, number, option, patience, NULL};
    c->replace.pid = run(argv, output);
    if (c->replace.pid < 0) c->replace.pid = 0;
    return c->replace.pid != 0;
}

bool crash_replace(struct crash_cluster *c, unsigned id, bool wiped, uint64_t kill_after_ms)
{
    char rm[] = "/bin/rm", option[] = "-r", data[CRASH_PATH];
    (void)snprintf(data, sizeof data, "%s/node-%u/data", c->folder, id);
    char *argv[] = {rm, option, data, NULL};
    int status = 0;
    c->replace.id = id;
    c->replace.wiped = wiped;
    c->replace.kill_ms = kill_after_ms > 0 ? crash_now_ms() + kill_after_ms : 0;
    c->replace.begun++;
    if (wiped) {
        c->replace.wipes++;
        pid_t pid = run(argv, "/dev/null");
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return false;
    }
    return run_replace(c);
}

/* Killed, or out of time because everybody is killed: the same command goes on. */
static bool replace_ended(struct crash_cluster *c, int status)
{
    struct crash_replace *r = &c->replace;
    r->pid = 0;
    r->ended_ms = crash_now_ms();
    if (WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 3))
        return run_replace(c);
    if (status != 0) {
        crash_found("replica replace %u: status %x, see replace.log", r->id, (unsigned)status);
        return false;
    }
    return !r->wiped || crash_start(c, r->id);
}

bool crash_replacing(struct crash_cluster *c)
{
    struct crash_replace *r = &c->replace;
    int status;
    if (r->pid == 0) return false;
    if (waitpid(r->pid, &status, WNOHANG) == r->pid) {
        if (!replace_ended(c, status) && crash_findings() == 0)
            crash_found("replica %u or its replacement cannot be started", r->id);
    } else if (r->kill_ms != 0 && crash_now_ms() > r->kill_ms) {
        r->kill_ms = 0;
        r->killed++;
        (void)kill(r->pid, SIGKILL);
    }
    return r->pid != 0;
}

/* It was started while its data went over to the next epoch: it is started again. */
static bool met_the_replacement(const struct crash_cluster *c, unsigned id, int status)
{
    const struct crash_replace *r = &c->replace;
    bool now = r->pid != 0 || crash_now_ms() - r->ended_ms < 5000;
    return r->begun > 0 && r->id == id && now && WIFEXITED(status) && WEXITSTATUS(status) == 4;
}

bool crash_all_run(struct crash_cluster *c)
{
    bool all = true;
    (void)crash_replacing(c);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++) {
        struct crash_replica *r = &c->replicas[id];
        int status;
        if (r->pid == 0 || waitpid(r->pid, &status, WNOHANG) != r->pid) continue;
        r->pid = 0;
        if (met_the_replacement(c, id, status) && crash_start(c, id)) continue;
        all = false;
        if (WIFSIGNALED(status))
            crash_found("replica %u died of signal %d", id, WTERMSIG(status));
        else
            crash_found("replica %u ended with status %d", id, WEXITSTATUS(status));
    }
    return all;
}

void crash_stop(struct crash_cluster *c)
{
    for (unsigned id = 0; id < CRASH_REPLICAS; id++)
        if (c->replicas[id].pid != 0) (void)kill(c->replicas[id].pid, SIGTERM);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++) {
        struct crash_replica *r = &c->replicas[id];
        uint64_t begun = crash_now_ms();
        int status = 0;
        while (r->pid != 0 && waitpid(r->pid, &status, WNOHANG) != r->pid) {
            if (crash_now_ms() - begun > 20000) {
                crash_found("replica %u does not end after SIGTERM", id);
                (void)kill(r->pid, SIGKILL);
                (void)waitpid(r->pid, &status, 0);
                status = 0;
                break;
            }
            crash_sleep_ms(10);
        }
        if (r->pid != 0 && status != 0) crash_found("replica %u: status %d at its end", id, status);
        r->pid = 0;
    }
}

void crash_check_logs(const struct crash_cluster *c)
{
    static const char *const bad[] = {
        "\"event\":\"mute\"",
        "\"event\":\"muted\"",
        "\"event\":\"log_refused\"",
        "\"event\":\"storage_failed\"",
        "\"event\":\"state_refused\"",
        "\"event\":\"disk_full\"",
        "\"event\":\"start_failed\"",
        "\"event\":\"divergence\"",
        "\"event\":\"evidence\"",
        "PBFT_ASSERT",
        "AddressSanitizer",
        "runtime error",
    };
    static char line[8192];
    for (unsigned id = 0; id < CRASH_REPLICAS; id++) {
        FILE *file = fopen(c->replicas[id].log, "r");
        unsigned said = 0;
        while (file != NULL && said < 3 && fgets(line, sizeof line, file) != NULL)
            for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                if (strstr(line, bad[i]) != NULL) {
                    line[strcspn(line, "\n")] = '\0';
                    crash_found("the log of replica %u says: %.300s", id, line);
                    said++;
                }
        if (file != NULL) (void)fclose(file);
    }
}

void crash_check_data(const struct crash_cluster *c)
{
    static char line[1024];
    char bin[CRASH_PATH], option[] = "--check-data", data[CRASH_PATH], output[CRASH_PATH];
    (void)program("pbftd", bin);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++) {
        (void)snprintf(data, sizeof data, "%s/node-%u/data", c->folder, id);
        (void)snprintf(output, sizeof output, "%s/check-%u.log", c->dir, id);
        char *argv[] = {bin, option, data, NULL};
        int status = -1;
        pid_t pid = run(argv, output);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            crash_found("the data of replica %u are not sound: see %s", id, output);
        FILE *file = fopen(output, "r");
        bool flushed = false;
        while (file != NULL && fgets(line, sizeof line, file) != NULL)
            flushed = flushed || strstr(line, "owner ok, checkpoint ") != NULL;
        if (file != NULL) (void)fclose(file);
        (void)fprintf(stderr, "replica %u: data %s, %s\n", id, status == 0 ? "sound" : "NOT SOUND",
                      flushed ? "checkpoint on disk" : "nothing was flushed");
    }
}

void crash_remove(const struct crash_cluster *c)
{
    char rm[] = "/bin/rm", option[] = "-rf", dir[CRASH_PATH];
    (void)snprintf(dir, sizeof dir, "%s", c->dir);
    char *argv[] = {rm, option, dir, NULL};
    pid_t pid = run(argv, "/dev/null");
    if (pid > 0) (void)waitpid(pid, NULL, 0);
}
