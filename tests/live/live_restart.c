/* Nodes that end and are started again by the test, without `up`. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pid_of(const struct live *l, unsigned node)
{
    pid_t pid = l->own[node] > 0 ? l->own[node] : live_pid(l, node);
    cr_assert_gt(pid, 1);
    return pid;
}

/* Until `up` has reaped one of its own: its data are free then. No pid file names a process id that
 * may be a stranger's. */
static void wait_gone(const struct live *l, unsigned node, pid_t pid)
{
    char path[256];
    if (l->own[node] != 0) return;
    for (unsigned i = 0; i < 6000 && kill(pid, 0) == 0; i++)
        live_sleep_ms(10);
    (void)snprintf(path, sizeof path, "%s/node-%u/pbftd.pid", l->dir, node);
    cr_expect_eq(access(path, F_OK), -1, "%s has outlived its process", path);
}

void live_kill9(struct live *l, unsigned node)
{
    pid_t pid = pid_of(l, node);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    if (l->own[node] > 0) (void)waitpid(pid, NULL, 0);
    wait_gone(l, node, pid);
    l->own[node] = 0;
    l->dead |= 1u << node;
}

void live_kill9_all(struct live *l)
{
    for (unsigned node = 0; node < l->nodes; node++)
        live_kill9(l, node);
    if (l->up > 0) cr_assert_eq(live_wait(l->up, 60), 1, "`up` outlives its nodes");
    l->up = 0;
}

void live_terminate(struct live *l, unsigned node)
{
    pid_t pid = pid_of(l, node);
    cr_assert_eq(kill(pid, SIGTERM), 0);
    if (l->own[node] > 0) {
        int status = live_wait(pid, 60);
        if (status != 0) live_dump_node(l, node);
        cr_expect_eq(status, 0, "node %u ended with status %d", node, status);
    }
    wait_gone(l, node, pid);
    l->own[node] = 0;
    l->dead |= 1u << node;
}

static void log_of(const struct live *l, unsigned node, char path[256])
{
    (void)snprintf(path, 256, "%s/node-%u/again.log", l->dir, node);
}

pid_t live_restart(struct live *l, unsigned node, const char *durability)
{
    char config[256], path[256], bin[512];
    (void)snprintf(config, sizeof config, "%s/node-%u/node.conf", l->dir, node);
    (void)snprintf(bin, sizeof bin, "%s", live_bin("pbftd"));
    log_of(l, node, path);
    char *argv[] = {
        bin, "--config", config, durability != NULL ? "--durability" : NULL, (char *)durability,
        NULL};
    int log = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    cr_assert_geq(log, 0);
    l->own[node] = live_spawn(argv, log, log);
    (void)close(log);
    cr_assert_gt(l->own[node], 0);
    l->dead &= ~(1u << node);
    return l->own[node];
}

static bool in_log(const struct live *l, unsigned node, const char *text)
{
    char path[256];
    static char line[4096];
    log_of(l, node, path);
    FILE *file = fopen(path, "r");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, text) != NULL;
    if (file != NULL) (void)fclose(file);
    return found;
}

bool live_said(const struct live *l, unsigned node, const char *text, unsigned seconds)
{
    for (unsigned i = 0; !in_log(l, node, text); i++) {
        if (i == seconds * 20) return false;
        live_sleep_ms(50);
    }
    return true;
}

bool live_logged(const struct live *l, unsigned node, const char *event, unsigned seconds)
{
    char text[80];
    (void)snprintf(text, sizeof text, "\"event\":\"%s\"", event);
    return live_said(l, node, text, seconds);
}

void live_dump_node(const struct live *l, unsigned node)
{
    struct live other = *l;
    char path[256];
    log_of(l, node, path);
    (void)snprintf(other.log, sizeof other.log, "%.159s", path);
    live_dump_log(&other);
}

json_int_t live_number(const struct live *l, unsigned node, const char *name)
{
    json_t *status = live_status(l);
    json_t *value =
        json_object_get(json_array_get(json_object_get(status, "replicas"), node), name);
    json_int_t number = -1;
    if (json_is_boolean(value)) number = json_is_true(value);
    if (json_is_integer(value)) number = json_integer_value(value);
    json_decref(status);
    return number;
}

void live_let_vote(const struct live *l, unsigned node)
{
    cr_assert_eq(live_ctl(l, NULL, 0, "put", "voted", "on", NULL), 0);
    for (unsigned i = 0; i < 1200 && live_number(l, node, "last_executed") < 1; i++)
        live_sleep_ms(50);
    cr_assert_geq(live_number(l, node, "last_executed"), 1, "node %u executes nothing", node);
}
