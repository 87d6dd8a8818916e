/* PROTOCOL 29: a replica gets a new key in a running cluster, by one command. Durability is sync.
 */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(live_replace, .timeout = 900);

/* Written to by clients; then replica 3 is killed, and `what` of its folder is gone. */
static struct live_writer *start_and_lose(struct live *l, const char *what)
{
    live_start_sync(l, 4, 2);
    struct live_writer *writer = live_writer_start(l, 3);
    live_sleep_ms(1000);
    live_kill9(l, 3);
    live_shell("rm -r '%s/node-3%s'", l->dir, what);
    return writer;
}

/* All that was written is there, and the votes of all but `lost` are enough. */
static void end_without(struct live *l, unsigned lost, struct live_writer *writer)
{
    live_sleep_ms(1000);
    live_expect_written(writer, 20);
    cr_expect(live_roots_agree(l, 0));
    live_expect_votes(l, lost);
    live_stop(l);
}

/* Issue 4, done when 0. */
Test(live_replace, a_wiped_replica_returns_and_another_may_be_lost)
{
    struct live l;
    struct live_writer *writer = start_and_lose(&l, "/data");
    live_sleep_ms(500);
    live_replace(&l, 3);
    live_restart(&l, 3, NULL);
    live_until(&l, 3, "epoch", 1);
    cr_expect_eq(live_number(&l, 3, "mute"), 0);
    end_without(&l, 1, writer);
}

/* The disk with all of its folder: node.conf and key, too. One command, which becomes the replica.
 */
Test(live_replace, a_lost_folder_is_made_anew)
{
    struct live l;
    struct live_writer *writer = start_and_lose(&l, "");
    char ctl[512];
    (void)snprintf(ctl, sizeof ctl, "%s", live_bin("pbftctl"));
    char *argv[] = {ctl, "--cluster", l.dir, "replica", "replace", "3", "--run", NULL};
    l.own[3] = live_spawn(argv, -1, -1);
    cr_assert_gt(l.own[3], 0);
    l.dead = 0;
    live_until(&l, 3, "epoch", 1);
    cr_expect_eq(live_number(&l, 3, "mute"), 0);
    end_without(&l, 1, writer);
}

/* With the files that are in the folder `other`. */
static void expect_refused(const struct live *l, const char *why)
{
    char command[1024], out[1024], shell[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell, option, command, NULL};
    (void)snprintf(command, sizeof command, "'%s' --cluster '%s/../other' replica replace 3 2>&1",
                   live_bin("pbftctl"), l->dir);
    cr_expect_eq(live_run(argv, out, sizeof out), 2, "%s", out);
    cr_expect_not_null(strstr(out, why), "%s", out);
}

/* Elsewhere a new key would be of no use, and the old one would be gone; and who lacks something is
 * told what to do. */
Test(live_replace, nothing_is_made_where_the_replica_is_not)
{
    struct live l;
    live_start_sync(&l, 4, 1);
    live_shell("cd '%s' && mkdir ../other && cp -r cluster.conf client ../other", l.dir);
    expect_refused(&l, "something listens at tcp://127.0.0.1:");
    live_kill9(&l, 3);
    live_shell("cd '%s' && sed -i '/^\\[replica.3\\]/,$s/127.0.0.1/192.0.2.1/' "
               "../other/cluster.conf",
               l.dir);
    expect_refused(&l, "Run this where that replica runs");
    live_shell("cd '%s' && test ! -e ../other/node-3 && mv ../other/client/key ../other", l.dir);
    expect_refused(&l, "administrator's key");
    live_shell("rm -r '%s/../other/client'", l.dir);
    expect_refused(&l, "administrator's key");
    live_shell("cd '%s' && cp -r client ../other && rm ../other/cluster.conf", l.dir);
    expect_refused(&l, "copy it from another host");
    live_until(&l, 0, "epoch", 0);
    live_stop(&l);
}

/* The old key is worth nothing, wherever it turns up. */
Test(live_replace, an_old_key_starts_no_replica)
{
    struct live l;
    char command[1024], out[512];
    live_start_sync(&l, 4, 2);
    (void)snprintf(command, sizeof command, "cp -r %s/node-2 %s/../stolen", l.dir, l.dir);
    cr_assert_eq(system(command), 0);
    live_replace(&l, 2); /* it runs, and goes on by itself */
    live_until(&l, 2, "epoch", 1);
    live_kill9(&l, 2);
    (void)snprintf(command, sizeof command,
                   "cp %s/../stolen/key %s/node-2/key && %s --config %s/node-2/node.conf 2>&1",
                   l.dir, l.dir, live_bin("pbftd"), l.dir);
    char shell[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell, option, command, NULL};
    cr_expect_eq(live_run(argv, out, sizeof out), 3, "%s", out);
    live_stop(&l);
}

/* What `pbftctl` was told is beside its client.conf; without it, it is told again. */
Test(live_replace, a_command_begins_where_the_one_before_ended)
{
    struct live l;
    char path[512], damage[600], out[512];
    struct stat info;
    live_start_sync(&l, 4, 2);
    (void)snprintf(path, sizeof path, "%s/client/client.epochs", l.dir);
    (void)snprintf(damage, sizeof damage, "echo damaged > %s", path);
    cr_assert_eq(live_ctl(&l, NULL, 0, "put", "k", "v", NULL), 0);
    cr_expect_eq(stat(path, &info), -1, "there is but one epoch");
    live_replace(&l, 2);
    live_until(&l, 2, "epoch", 1);
    cr_expect_eq(stat(path, &info), 0, "%s", path);
    off_t size = info.st_size;
    cr_expect_eq(live_ctl(&l, NULL, 0, "get", "k", NULL), 0);
    cr_assert_eq(system(damage), 0);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "get", "k", NULL), 0, "%s", out);
    cr_expect_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_size, size, "written anew");
    live_stop(&l);
}

/* Everybody's, one after the other, while clients write; one that sleeps through two of them. */
Test(live_replace, keys_are_rotated_under_load)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    struct live_writer *writer = live_writer_start(&l, 3);
    live_sleep_ms(500);
    live_replace(&l, 0);
    live_replace(&l, 1);
    live_kill9(&l, 2);
    live_replace(&l, 3);
    live_replace(&l, 0);
    live_restart(&l, 2, NULL);
    live_until(&l, 2, "epoch", 4);
    end_without(&l, 3, writer);
}

Test(live_replace, only_the_administrator)
{
    struct live l;
    char command[1024], out[512];
    live_start_sync(&l, 4, 2);
    (void)snprintf(command, sizeof command,
                   "%s --cluster %s/client-1 replica replace 2 --node %s/node-2 2>&1",
                   live_bin("pbftctl"), l.dir, l.dir);
    char shell[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell, option, command, NULL};
    cr_expect_eq(live_run(argv, out, sizeof out), 4, "%s", out);
    cr_expect_not_null(strstr(out, "administrator"), "%s", out);
    live_shell("test ! -e '%s/node-2/key.next'", l.dir); /* it would be of no use */
    live_shell("cp -p '%s/node-2/key' '%s/node-2/key.next'", l.dir, l.dir);
    (void)snprintf(command, sizeof command, "%s --cluster %s replica replace 2 2>&1",
                   live_bin("pbftctl"), l.dir);
    cr_expect_eq(live_run(argv, out, sizeof out), 4, "%s", out);
    cr_expect_not_null(strstr(out, "key.next is the key that replica 2 has now"), "%s", out);
    live_shell("cmp '%s/node-2/key' '%s/node-2/key.next'", l.dir, l.dir);
    live_until(&l, 2, "epoch", 0);
    live_stop(&l);
}

/* A backup is older than the keys that the replicas have by now; it is restored all the same. */
Test(live_replace, a_backup_from_before_a_rotation_is_restored)
{
    struct live l;
    char file[512], to[512], command[1024], out[512];
    live_start_sync(&l, 4, 1);
    (void)snprintf(file, sizeof file, "%s/../backup", l.dir);
    (void)snprintf(to, sizeof to, "%s/../restored", l.dir);
    cr_assert_eq(live_ctl(&l, NULL, 0, "put", "k", "v", NULL), 0);
    cr_assert_eq(live_ctl(&l, out, sizeof out, "snapshot", "save", file, NULL), 0, "%s", out);
    live_replace(&l, 2);
    live_until(&l, 2, "epoch", 1);
    cr_assert_eq(live_ctl(&l, out, sizeof out, "snapshot", "restore", file, "--to", to, NULL), 0,
                 "%s", out);
    for (unsigned node = 0; node < 4; node++) {
        (void)snprintf(command, sizeof command, "%s --check-config --config %s/node-%u/node.conf",
                       live_bin("pbftd"), to, node);
        cr_expect_eq(system(command), 0, "%s", command);
    }
    /* One that has lost the state at once does as it says. */
    struct live made = l;
    live_kill9_all(&l);
    (void)snprintf(made.dir, sizeof made.dir, "%.100s/../restored", l.dir);
    made.dead = 0;
    live_shell("rm '%s/node-3/data/pages.mdb'", to);
    for (unsigned node = 0; node < 4; node++)
        (void)live_restart(&made, node, NULL);
    cr_expect_eq(live_wait(made.own[3], 90), 4);
    cr_expect(live_said(&made, 3, "run, `pbftctl replica replace 3` brings it in.", 0));
    live_replace(&made, 3);
    (void)live_restart(&made, 3, NULL);
    live_until(&made, 3, "epoch", 1);
    live_expect_votes(&made, 1);
    for (unsigned node = 0; node < 4; node++)
        if (made.own[node] > 0) live_terminate(&made, node);
    live_stop(&l);
}

/* Whatever a program takes of two equal keys. Before each line is whose it is. */
static void expect_no_key_twice(const char *log)
{
    static char line[16384];
    unsigned lines = 0;
    FILE *file = fopen(log, "r");
    cr_assert_not_null(file, "%s", log);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *object = strchr(line, '{');
        if (line[0] != '[' || object == NULL || strchr(line, '\n') == NULL) continue;
        json_t *parsed = json_loads(object, JSON_REJECT_DUPLICATES, NULL);
        cr_expect_not_null(parsed, "%s", line);
        json_decref(parsed);
        lines++;
    }
    (void)fclose(file);
    cr_expect_gt(lines, 10u);
}

/* What runs lies in the folder of its epoch by then. */
Test(live_replace, up_leaves_alone_what_runs_in_a_later_epoch)
{
    struct live l;
    char command[1024], out[1024], shell[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell, option, command, NULL};
    live_start_sync(&l, 4, 1);
    live_replace(&l, 2);
    for (unsigned node = 0; node < 4; node++)
        live_until(&l, node, "epoch", 1);
    live_shell("cd '%s' && cat node-?/pbftd.pid > ../pids", l.dir);
    (void)snprintf(command, sizeof command, "'%s' up '%s' 2>&1", live_bin("pbftctl"), l.dir);
    cr_expect_eq(live_run(argv, out, sizeof out), 1, "%s", out);
    cr_expect_not_null(strstr(out, "node 0 of "), "%s", out);
    cr_expect_not_null(strstr(out, " is running already: stop it first."), "%s", out);
    live_shell("cd '%s' && cat node-?/pbftd.pid | cmp - ../pids", l.dir);
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "k", "v", NULL), 0);
    live_shell("grep -q '\"event\":\"epoch_ends\".*\"replica\":3,.*\"replaced\":2' '%s'", l.log);
    expect_no_key_twice(l.log);
    live_stop(&l);
}
