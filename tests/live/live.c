#define _GNU_SOURCE /* strcasestr */
#include "tests/live/live.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX   24
#define READY_SECONDS   120
#define COMMAND_SECONDS 120

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void live_sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000u, (long)(ms % 1000u) * 1000000L};
    nanosleep(&t, NULL);
}

const char *live_bin(const char *name)
{
    static _Thread_local char path[512];
    const char *dir = getenv("PBFT_BIN_DIR");
    snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "build/bin", name);
    return path;
}

/* ---- commands ---- */

/* Start argv with standard output and standard error into descriptors (-1: inherit). */
pid_t live_spawn(char *const argv[], int out, int err)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(126);
    if (out >= 0) dup2(out, STDOUT_FILENO);
    if (err >= 0) dup2(err, STDERR_FILENO);
    execv(argv[0], argv);
    _exit(127);
}

int live_wait(pid_t pid, double seconds)
{
    int status;
    double deadline = now_s() + seconds;
    while (true) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (got < 0 && errno != EINTR) return -1;
        if (now_s() > deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        live_sleep_ms(5);
    }
}

int live_run(char *const argv[], char *out, size_t capacity)
{
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    pid_t pid = live_spawn(argv, fileno(file), -1);
    cr_assert_gt(pid, 0);
    int status = live_wait(pid, COMMAND_SECONDS);
    rewind(file);
    size_t got = out == NULL ? 0 : fread(out, 1, capacity - 1, file);
    if (out != NULL) out[got] = '\0';
    fclose(file);
    return status;
}

int live_ctl(const struct live *l, char *out, size_t capacity, ...)
{
    char ctl[512];
    snprintf(ctl, sizeof ctl, "%s", live_bin("pbftctl"));
    char *argv[ARGUMENTS_MAX + 4] = {ctl, "--cluster", (char *)l->dir};
    int count = 3;
    va_list list;
    va_start(list, capacity);
    for (char *a; (a = va_arg(list, char *)) != NULL && count < ARGUMENTS_MAX;)
        argv[count++] = a;
    va_end(list);
    argv[count] = NULL;
    return live_run(argv, out, capacity);
}

/* ---- the cluster ---- */

static bool port_free(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return false;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool free = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return free;
}

/* A block of free ports below the ephemeral range, so that nobody's outgoing connection takes one.
 */
static unsigned pick_ports(unsigned count)
{
    static unsigned next;
    if (next == 0) next = 10000u + (unsigned)getpid() % 20000u;
    for (unsigned tries = 0; tries < 500; tries++) {
        unsigned base = next;
        next = base + count + 3 > 32000u ? 10000u : base + count + 3;
        unsigned i = 0;
        while (i < count && port_free(base + i))
            i++;
        if (i == count) return base;
    }
    cr_assert_fail("no block of %u free ports", count);
    return 0;
}

void live_dump_log(const struct live *l)
{
    FILE *file = fopen(l->log, "r");
    if (file == NULL) return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fseek(file, size > 6000 ? size - 6000 : 0, SEEK_SET);
    char line[512];
    while (fgets(line, sizeof line, file) != NULL)
        fprintf(stderr, "  | %s", line);
    fclose(file);
}

static bool wait_ready(const struct live *l)
{
    double deadline = now_s() + READY_SECONDS;
    while (now_s() < deadline) {
        int status;
        if (waitpid(l->up, &status, WNOHANG) == l->up) return false;
        FILE *file = fopen(l->log, "r");
        char line[1024];
        bool ready = false;
        while (file != NULL && !ready && fgets(line, sizeof line, file) != NULL)
            ready = strncmp(line, "ready", 5) == 0;
        if (file != NULL) fclose(file);
        if (ready) return true;
        live_sleep_ms(20);
    }
    return false;
}

static void init(struct live *l, unsigned clients, const char *service)
{
    char nodes[16], port[16], count[16], ctl[512];
    snprintf(nodes, sizeof nodes, "%u", l->nodes);
    snprintf(port, sizeof port, "%u", l->base_port);
    snprintf(count, sizeof count, "%u", clients);
    snprintf(ctl, sizeof ctl, "%s", live_bin("pbftctl"));
    char *argv[] = {ctl,
                    "init",
                    l->dir,
                    "--nodes",
                    nodes,
                    "--base-port",
                    port,
                    "--clients",
                    count,
                    service ? "--service" : NULL,
                    (char *)service,
                    NULL};
    cr_assert_eq(live_run(argv, NULL, 0), 0, "pbftctl init failed");
}

static void start(struct live *l, unsigned nodes, unsigned clients, const char *durability,
                  const char *faulty, const char *service, const char *pbftd)
{
    memset(l, 0, sizeof *l);
    l->nodes = nodes;
    l->base_port = pick_ports(3 * nodes);
    const char *tmp = getenv("TMPDIR");
    snprintf(l->dir, sizeof l->dir, "%.80s/pbft-live-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(l->dir));
    size_t length = strlen(l->dir);
    snprintf(l->log, sizeof l->log, "%s.log", l->dir);
    snprintf(l->dir + length, sizeof l->dir - length, "/c");
    init(l, clients, service);

    char ctl[512];
    snprintf(ctl, sizeof ctl, "%s", live_bin("pbftctl"));
    char *argv[12] = {ctl, "up", l->dir};
    int count = 3;
    if (durability != NULL) {
        argv[count++] = "--durability";
        argv[count++] = (char *)durability;
    }
    if (faulty != NULL) {
        argv[count++] = "--faulty";
        argv[count++] = (char *)faulty;
        l->faulty = 1u << atoi(faulty);
    }
    if (pbftd != NULL) {
        argv[count++] = "--pbftd";
        argv[count++] = (char *)pbftd;
    }
    int log = open(l->log, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    cr_assert_geq(log, 0);
    l->up = live_spawn(argv, log, log);
    close(log);
    if (!wait_ready(l)) {
        live_dump_log(l);
        live_stop(l);
        cr_assert_fail("the cluster did not become ready");
    }
}

void live_start(struct live *l, unsigned nodes, unsigned clients, const char *faulty,
                const char *service, const char *pbftd)
{
    start(l, nodes, clients, "memory", faulty, service, pbftd);
}

void live_start_sync(struct live *l, unsigned nodes, unsigned clients)
{
    start(l, nodes, clients, NULL, NULL, NULL, NULL);
}

void live_start_faulty_sync(struct live *l, unsigned nodes, unsigned clients, const char *faulty)
{
    start(l, nodes, clients, NULL, faulty, NULL, NULL);
}

void live_stop(struct live *l)
{
    if (l->dir[0] == 0) return;
    for (unsigned node = 0; node < l->nodes; node++)
        if (l->own[node] > 0) live_terminate(l, node);
    int status = 0;
    if (l->up > 0) {
        kill(l->up, SIGTERM);
        status = live_wait(l->up, 60);
    }
    l->up = 0;
    if (status != 0) {
        live_dump_log(l);
        cr_expect_fail("`pbftctl up` ended with status %d after SIGTERM", status);
        return; /* keep the folder: it explains why */
    }
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%.*s' '%s'", (int)(strlen(l->dir) - 2), l->dir,
             l->log);
    if (system(command) != 0) fprintf(stderr, "could not remove %s\n", l->dir);
    l->dir[0] = 0;
}

pid_t live_pid(const struct live *l, unsigned node)
{
    char path[256];
    snprintf(path, sizeof path, "%s/node-%u/pbftd.pid", l->dir, node);
    FILE *file = fopen(path, "r");
    int pid = 0;
    if (file == NULL || fscanf(file, "%d", &pid) != 1) pid = 0;
    if (file != NULL) fclose(file);
    return pid;
}

/* ---- looking ---- */

json_t *live_status(const struct live *l)
{
    static char text[1 << 20];
    int exit_code = live_ctl(l, text, sizeof text, "status", "--json", NULL);
    if (exit_code != 0 && exit_code != 1) return NULL;
    return json_loads(text, 0, NULL);
}

static bool correct(const struct live *l, unsigned node)
{
    return ((l->faulty | l->dead) >> node & 1u) == 0;
}

unsigned live_primary(const struct live *l)
{
    double deadline = now_s() + 60;
    while (now_s() < deadline) {
        json_t *status = live_status(l);
        unsigned votes[LIVE_NODES_MAX] = {0};
        size_t i;
        json_t *r;
        json_array_foreach(json_object_get(status, "replicas"), i, r)
        {
            if (i >= l->nodes || !correct(l, (unsigned)i)) continue;
            votes[(unsigned)json_integer_value(json_object_get(r, "view")) % l->nodes]++;
        }
        json_decref(status);
        for (unsigned node = 0; node < l->nodes; node++)
            if (votes[node] > l->nodes / 2) return node;
        live_sleep_ms(50);
    }
    cr_assert_fail("no quorum agrees on a primary");
    return 0;
}

bool live_roots_agree(const struct live *l, uint64_t after)
{
    double deadline = now_s() + 90;
    char last[400] = "";
    while (now_s() < deadline) {
        json_t *status = live_status(l);
        const char *root = NULL;
        json_int_t stable = -1;
        bool agree = status != NULL, short_of = false;
        size_t i;
        json_t *r;
        size_t used = 0;
        json_array_foreach(json_object_get(status, "replicas"), i, r)
        {
            if (!correct(l, (unsigned)i)) continue;
            json_int_t s = json_integer_value(json_object_get(r, "stable"));
            const char *text = json_string_value(json_object_get(r, "root"));
            used += (size_t)snprintf(last + used, sizeof last - used, " %zu:%lld:%.8s", i,
                                     (long long)s, text == NULL ? "?" : text);
            if (text == NULL || s <= (json_int_t)after) agree = false;
            if (s <= (json_int_t)after) short_of = true;
            if (root == NULL) {
                root = text;
                stable = s;
            } else if (text == NULL || s != stable || strcmp(root, text) != 0) {
                agree = false;
            }
        }
        if (root == NULL) agree = false;
        json_decref(status);
        if (agree) return true;
        live_sleep_ms(100);
        /* On a busy machine the test's own load may not have led to a checkpoint. */
        for (unsigned k = 0; k < 10 && short_of; k++)
            (void)live_ctl(l, NULL, 0, "put", "live-roots", "agree", NULL);
    }
    fprintf(stderr, "roots do not agree (id:stable:root):%s\n", last);
    live_dump_log(l);
    return false;
}

/* Whether an HTTP answer is all there, by its Content-Length. */
static bool complete(const char *text, size_t used)
{
    const char *body = used == 0 ? NULL : strstr(text, "\r\n\r\n");
    const char *length = used == 0 ? NULL : strcasestr(text, "\nContent-Length:");
    if (body == NULL || length == NULL || length > body) return false;
    return used - (size_t)(body + 4 - text) >= strtoull(length + 16, NULL, 10);
}

/* An answer of the admin address, head and all; "" if there is none. */
static const char *http_get(const struct live *l, unsigned node, const char *path)
{
    static char text[1 << 18];
    char ask[160];
    size_t used = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)(l->base_port + 3 * node + 2))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int size = snprintf(ask, sizeof ask,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        write(fd, ask, (size_t)size) == size) {
        struct pollfd p = {fd, POLLIN, 0};
        double deadline = now_s() + 20;
        while (used < sizeof text - 1 && now_s() < deadline && !complete(text, used)) {
            if (poll(&p, 1, 200) <= 0) continue;
            ssize_t got = read(fd, text + used, sizeof text - 1 - used);
            if (got <= 0) break;
            used += (size_t)got;
            text[used] = '\0';
        }
    }
    text[used] = '\0';
    if (fd >= 0) close(fd);
    return text;
}

bool live_metric_line(const struct live *l, unsigned node, const char *name, char *out,
                      size_t capacity)
{
    const char *text = http_get(l, node, "/metrics");
    for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        if (strncmp(line + 1, name, strlen(name)) != 0) continue;
        snprintf(out, capacity, "%.*s", (int)strcspn(line + 1, "\r\n"), line + 1);
        return true;
    }
    return false;
}

bool live_ready(const struct live *l, unsigned node, char *why, size_t capacity)
{
    const char *text = http_get(l, node, "/readyz"), *body = strstr(text, "\r\n\r\n");
    snprintf(why, capacity, "%s", body == NULL ? "" : body + 4);
    return strncmp(text, "HTTP/1.1 200 ", 13) == 0;
}

double live_metric(const struct live *l, unsigned node, const char *name)
{
    char line[1024];
    if (!live_metric_line(l, node, name, line, sizeof line)) return -1;
    const char *space = strchr(line, ' ');
    return space == NULL ? -1 : strtod(space, NULL);
}

/* ---- load ---- */

void live_load_start(struct live_load *load, const struct live *l, const char *clients,
                     const char *bundle, const char *seconds, const char *reads)
{
    snprintf(load->json, sizeof load->json, "%s/../load.json", l->dir);
    char bench[512];
    snprintf(bench, sizeof bench, "%s", live_bin("pbft-bench"));
    char *argv[] = {bench,     "--cluster",   (char *)l->dir,  "--clients",    (char *)clients,
                    "--conns", "2",           "--bundle",      (char *)bundle, "--keys",
                    "5000",    "--seconds",   (char *)seconds, "--warmup",     "0",
                    "--reads", (char *)reads, "--json",        load->json,     "--timeout",
                    "60",      NULL};
    int null = open("/dev/null", O_WRONLY);
    load->pid = live_spawn(argv, null, -1);
    close(null);
    cr_assert_gt(load->pid, 0);
}

json_t *live_load_finish(struct live_load *load)
{
    int status = live_wait(load->pid, 300);
    if (status != 0) {
        fprintf(stderr, "pbft-bench ended with status %d\n", status);
        return NULL;
    }
    return json_load_file(load->json, 0, NULL);
}
