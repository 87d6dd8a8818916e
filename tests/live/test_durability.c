/* Replicas that end and come back with their votes and their state: PROTOCOL 25-29,
 * FAULTS 2.20-2.24, 2.38-2.47. Durability is sync, as `init` writes it. */
#define _GNU_SOURCE /* unshare */
#include "crypto/hash.h"
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINT_INTERVAL 128 /* what `init` writes */

TestSuite(live_durability, .timeout = 900);

static void load_until(const struct live *l, unsigned node, json_int_t stable)
{
    for (unsigned i = 0; i < 60 && live_number(l, node, "stable") < stable; i++) {
        struct live_load load;
        live_load_start(&load, l, "4", "1", "3", "0");
        json_t *result = live_load_finish(&load);
        cr_expect_not_null(result);
        json_decref(result);
    }
    cr_assert_geq(live_number(l, node, "stable"), stable, "the load brings no checkpoints");
}

static void expect_back(const struct live *l, unsigned node)
{
    bool restored = live_logged(l, node, "restored", 120);
    if (!restored) live_dump_node(l, node);
    cr_assert(restored, "node %u was not restored", node);
    cr_expect_eq(live_number(l, node, "mute"), 0, "node %u is mute", node);
}

Test(live_durability, killed_backup_resumes_and_votes)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    struct live_writer *writer = live_writer_start(&l, 3);
    live_sleep_ms(1500);
    unsigned backup = (live_primary(&l) + 1) % 4;
    live_kill9(&l, backup);
    live_sleep_ms(1500);
    live_restart(&l, backup, NULL);
    expect_back(&l, backup);
    live_sleep_ms(1000);
    live_expect_written(writer, 50);
    load_until(&l, backup, CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&l, 0));
    live_expect_votes(&l, (backup + 1) % 4);
    live_stop(&l);
}

/* FAULTS 2.45: the lights go out in the whole house. */
Test(live_durability, all_killed_and_nothing_lost)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    struct live_writer *writer = live_writer_start(&l, 3);
    live_sleep_ms(2500);
    live_kill9_all(&l);
    live_sleep_ms(300);
    for (unsigned node = 0; node < 4; node++)
        live_restart(&l, node, NULL);
    for (unsigned node = 0; node < 4; node++)
        expect_back(&l, node);
    live_sleep_ms(2000);
    live_expect_written(writer, 50);
    load_until(&l, 0, CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&l, 0));
    live_stop(&l);
}

/* The others have thrown away what it missed: pages instead of batches. */
Test(live_durability, three_checkpoints_behind)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    load_until(&l, 0, CHECKPOINT_INTERVAL);
    json_int_t before = live_number(&l, 3, "stable");
    live_kill9(&l, 3);
    load_until(&l, 0, before + 4 * CHECKPOINT_INTERVAL);
    live_restart(&l, 3, NULL);
    expect_back(&l, 3);
    cr_expect(live_roots_agree(&l, (uint64_t)before + 3 * CHECKPOINT_INTERVAL));
    live_expect_votes(&l, 1);
    live_stop(&l);
}

Test(live_durability, rolling_restart_fails_no_operation)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    struct live_writer *writer = live_writer_start(&l, 2);
    live_sleep_ms(500);
    for (unsigned node = 0; node < 4; node++) {
        live_terminate(&l, node);
        /* `up` sees its last node end with the third one: it is not needed any more. */
        live_restart(&l, node, NULL);
        expect_back(&l, node);
        live_until(&l, node, "view_active", 1);
    }
    cr_expect_eq(live_wait(l.up, 60), 1);
    l.up = 0;
    live_sleep_ms(500);
    cr_expect_eq(live_writer_failed(writer), 0u);
    live_expect_written(writer, 20);
    load_until(&l, 0, CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&l, 0));
    live_stop(&l);
}

/* ---- when it is ready ---- */

static void expect_unready(const struct live *l, unsigned node, const char *expected)
{
    char why[256] = "";
    bool ready = false, said = false;
    for (unsigned i = 0; i < 1200 && !said && !ready; i++) {
        ready = live_ready(l, node, why, sizeof why);
        said = strstr(why, expected) != NULL;
        if (!said) live_sleep_ms(50);
    }
    cr_expect(said && !ready, "node %u says '%s', not '%s'", node, why, expected);
}

/* Connected to enough others, of which one says nothing: it cannot know what it lacks. With as many
 * as can be down it is ready. */
Test(live_durability, not_ready_before_others_have_spoken)
{
    struct live l;
    char why[256] = "";
    live_start_faulty_sync(&l, 4, 2, "3=silent");
    for (unsigned node = 0; node < 3; node++)
        for (unsigned i = 0; i < 1200 && !live_ready(&l, node, why, sizeof why); i++)
            live_sleep_ms(50);
    cr_expect(live_ready(&l, 1, why, sizeof why), "%s", why);
    live_kill9(&l, 1);
    live_terminate(&l, 2);
    live_restart(&l, 2, NULL);
    expect_unready(&l, 2, "not ready: 1 of 3 other replicas have said what they have, 2 needed");
    live_sleep_ms(1000); /* time does not make it so */
    expect_unready(&l, 2, "not ready: 1 of 3 other replicas have said what they have, 2 needed");
    cr_expect_eq(live_metric(&l, 2, "pbft_ready"), 0.0);
    live_restart(&l, 1, NULL);
    for (unsigned i = 0; i < 1200 && !live_ready(&l, 2, why, sizeof why); i++)
        live_sleep_ms(50);
    cr_expect(live_ready(&l, 2, why, sizeof why), "%s", why);
    cr_expect_str_eq(why, "ready\n");
    live_stop(&l);
}

/* ---- what is found instead of the data ---- */

/* The first byte from `at` on that is not 0: nothing of the log fills with anything else. */
static void flip(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0, "%s", path);
    unsigned char byte = 0;
    while (byte == 0) {
        cr_assert_eq(pread(fd, &byte, 1, at), 1, "%s ends", path);
        at++;
    }
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at - 1), 1);
    close(fd);
}

/* Started on what is left of its data, it is mute, says what to do, and the others go on. */
static void expect_mute(struct live *l, unsigned node)
{
    live_restart(l, node, NULL);
    bool mute = live_logged(l, node, "mute", 90);
    if (!mute) live_dump_node(l, node);
    cr_expect(mute, "node %u does not say that it is mute", node);
    cr_expect(live_said(l, node, "does not vote", 0), "it does not say what that means");
    char way_back[64], out[8192] = "";
    snprintf(way_back, sizeof way_back, "`pbftctl replica replace %u`", node);
    cr_expect(live_said(l, node, way_back, 0), "it does not say what brings it back");
    live_until(l, node, "mute", 1);
    (void)live_ctl(l, out, sizeof out, "status", NULL);
    cr_expect_not_null(strstr(out, way_back), "%s", out);
    (void)live_ready(l, node, out, sizeof out);
    cr_expect_not_null(strstr(out, way_back), "%s", out);
    cr_expect_eq(live_ctl(l, NULL, 0, "put", "still", "here", NULL), 0);
}

static void some_load(struct live *l)
{
    struct live_load load;
    live_start_sync(l, 4, 2);
    live_load_start(&load, l, "2", "2", "2", "0");
    json_t *result = live_load_finish(&load);
    cr_assert_not_null(result);
    json_decref(result);
}

/* FAULTS 2.43 */
Test(live_durability, damaged_log_is_mute)
{
    struct live l;
    char path[256];
    some_load(&l);
    live_kill9(&l, 3);
    snprintf(path, sizeof path, "%s/node-3/data/log-0000000000000001", l.dir);
    flip(path, 40000);
    expect_mute(&l, 3);
    live_stop(&l);
}

/* FAULTS 2.44; and twice: what is found the second time is no better. */
Test(live_durability, deleted_log_is_mute)
{
    struct live l;
    some_load(&l);
    live_terminate(&l, 3);
    live_shell("rm '%s'/node-3/data/log-*", l.dir);
    expect_mute(&l, 3);
    live_terminate(&l, 3);
    expect_mute(&l, 3);
    live_stop(&l);
}

/* Node 3's data as they are by now; it is back, and goes on. */
static void copy_data(struct live *l)
{
    live_terminate(l, 3);
    live_shell("cp -a '%s/node-3/data' '%s/node-3/old'", l->dir, l->dir);
    live_restart(l, 3, NULL);
    expect_back(l, 3);
}

static void roll_back(const struct live *l)
{
    live_shell("cd '%s/node-3' && rm -r data && mv old data", l->dir);
}

static void put_key(struct live *l, unsigned i)
{
    char key[16];
    snprintf(key, sizeof key, "key-%u", i);
    cr_assert_eq(live_ctl(l, NULL, 0, "put", key, "v", "--timeout", "60s", NULL), 0);
}

static void expect_noticed(struct live *l)
{
    bool muted = live_said(l, 3, "until `pbftctl replica replace 3` gives it", 90);
    if (!muted) live_dump_node(l, 3);
    cr_assert(muted, "it does not notice, or does not say what to do");
    live_until(l, 3, "mute", 1);
}

/* PROTOCOL 29, FAULTS 2.44: an older copy of its data, which nothing in it gives away. The others
 * show it the newest vote that they keep: one of the last three, without which there was no quorum,
 * above the last stable checkpoint. */
Test(live_durability, rolled_back_disk_is_mute_until_replaced)
{
    struct live l;
    some_load(&l);
    copy_data(&l);
    live_expect_votes(&l, 2);
    for (unsigned i = 0; i < 4 || live_number(&l, 0, "last_executed") % CHECKPOINT_INTERVAL < 3;
         i++)
        put_key(&l, i);
    live_terminate(&l, 3);
    roll_back(&l);

    live_restart(&l, 3, NULL);
    expect_noticed(&l);
    cr_expect_neq(live_ctl(&l, NULL, 0, "put", "two", "of four", "--timeout", "3s", NULL), 0,
                  "it votes");
    live_restart(&l, 2, NULL);
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "three", "of four", "--timeout", "60s", NULL), 0);
    live_terminate(&l, 3);
    expect_mute(&l, 3);
    live_replace(&l, 3);
    live_until(&l, 3, "epoch", 1);
    live_until(&l, 3, "mute", 0);
    live_expect_votes(&l, 1);
    live_stop(&l);
}

/* The same, while nobody else remembers: all that the others have of its votes is in the
 * certificates of their logs. It was one of the three that were there. */
Test(live_durability, rolled_back_disk_is_noticed_after_a_blackout)
{
    struct live l;
    some_load(&l);
    copy_data(&l);
    live_terminate(&l, 2);
    for (unsigned i = 0; i < 4; i++)
        put_key(&l, i);
    live_restart(&l, 2, NULL);
    live_kill9_all(&l);
    roll_back(&l);
    for (unsigned id = 0; id < 4; id++)
        live_restart(&l, id, NULL);
    expect_noticed(&l);
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "three", "of four", "--timeout", "60s", NULL), 0);
    live_stop(&l);
}

/* PROTOCOL 29: with durability memory every second start is mute. */
Test(live_durability, memory_restart_is_mute)
{
    struct live l;
    some_load(&l);
    live_terminate(&l, 2);
    live_restart(&l, 2, "memory");
    cr_expect(live_logged(&l, 2, "mute", 90));
    live_terminate(&l, 2);
    live_restart(&l, 2,
                 NULL); /* it was mute meanwhile: the log still holds all that it ever said */
    expect_back(&l, 2);
    live_expect_votes(&l, 1);
    live_stop(&l);
}

static void expect_up(const struct live *l, const char *option, int expected, const char *says)
{
    char command[512], out[16384], shell[] = "/bin/sh", c[] = "-c";
    (void)snprintf(command, sizeof command, "timeout -s TERM 15 '%s' up '%s' %s 2>&1",
                   live_bin("pbftctl"), l->dir, option);
    cr_expect_eq(live_run((char *[]){shell, c, command, NULL}, out, sizeof out), expected, "%s",
                 out);
    cr_expect_not_null(strstr(out, says), "no '%s' in: %s", says, out);
}

/* In a later epoch, too. 124: it runs until it is ended. */
Test(live_durability, up_says_what_becomes_of_forgotten_votes)
{
    struct live l;
    live_start_sync(&l, 4, 1);
    live_terminate(&l, 3);
    live_replace(&l, 3);
    (void)live_restart(&l, 3, "memory");
    live_until(&l, 3, "epoch", 1);
    live_kill9_all(&l);
    expect_up(&l, "--durability memory", 1, "no quorum left. Start it with --durability sync.");
    expect_up(&l, "", 124, "are mute: `pbftctl replica replace ID` gives one a new key.");
    live_stop(&l);
    live_start(&l, 4, 1, NULL, NULL, NULL); /* memory */
    live_replace(&l, 2);
    for (unsigned node = 0; node < 4; node++)
        live_until(&l, node, "epoch", 1);
    live_kill9_all(&l);
    expect_up(&l, "", 1, "none can get a new key. Make a new cluster: ");
    expect_up(&l, "--durability sync", 1, "none can get a new key. Make a new cluster: ");
    live_stop(&l);
}

Test(live_durability, data_of_another_replica_are_refused)
{
    struct live l;
    some_load(&l);
    live_terminate(&l, 3);
    live_shell("rm -r '%s/node-3/data' && cp -r '%s/node-2/data' '%s/node-3/data'", l.dir, l.dir,
               l.dir);
    pid_t pid = live_restart(&l, 3, NULL);
    cr_expect_eq(live_wait(pid, 90), 4, "it does not end with 4: damaged or foreign data");
    l.own[3] = 0;
    l.dead |= 1u << 3;
    cr_expect(live_said(&l, 3, "is of another replica: check", 0));
    cr_expect(live_said(&l, 3, "do not copy data directories", 0));
    cr_expect(live_said(&l, 3, "If its own are lost: `pbftctl replica replace 3`.", 0));
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "still", "here", NULL), 0);
    live_stop(&l);
}

/* A superblock of this format; its hash is right, whatever is in it. */
static void write_superblock(const char *path, unsigned char bytes[128])
{
    struct pbft_digest sum;
    struct pbft_span body = {bytes, 96};
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    memcpy(bytes + 96, sum.bytes, sizeof sum.bytes);
    int fd = open(path, O_WRONLY | O_TRUNC);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, bytes, 128), 128);
    close(fd);
}

/* Each has its own sentence. No replica runs. */
Test(live_durability, a_superblock_that_cannot_be_used)
{
    static const struct {
        size_t at;
        unsigned char is; /* 0: cut there */
        const char *says;
    } cases[] = {
        {60, 0, "superblock is damaged. "},
        {8, 1, "superblock has format 1, of an older version of pbft"},
        {8, 9, "superblock has format 9, of a newer version of pbft: run that version."},
        {12, 7, "data is of another replica: check `data`, "},
        {24, 99, "data is of another cluster: check `data`, "},
        {56, 99, "data is of another key: check `data`, "},
    };
    char dir[] = "/tmp/pbft-superblock-XXXXXX", path[256], command[900], out[1024];
    char shell[] = "/bin/sh", option[] = "-c";
    unsigned char good[128], bytes[128];
    cr_assert_not_null(mkdtemp(dir));
    live_shell("'%s' init '%s/d' >/dev/null", live_bin("pbftctl"), dir);
    (void)snprintf(path, sizeof path, "%s/d/node-0/data/superblock", dir);
    int fd = open(path, O_RDONLY);
    cr_assert_eq(read(fd, good, sizeof good), 128);
    close(fd);
    (void)snprintf(command, sizeof command, "timeout 20 '%s' --config '%s/d/node-0/node.conf' 2>&1",
                   live_bin("pbftd"), dir);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bytes, good, sizeof bytes);
        bytes[cases[i].at] = cases[i].is;
        if (bytes[cases[i].at] == good[cases[i].at]) bytes[cases[i].at]++; /* drawn ones may be */
        write_superblock(path, bytes);
        if (cases[i].is == 0) cr_assert_eq(truncate(path, (off_t)cases[i].at), 0);
        cr_expect_eq(live_run((char *[]){shell, option, command, NULL}, out, sizeof out), 4, "%s",
                     out);
        cr_expect_not_null(strstr(out, cases[i].says), "no '%s' in: %s", cases[i].says, out);
        bool way_back = strstr(out, "`pbftctl replica replace 0`") != NULL;
        cr_expect_eq(way_back, cases[i].is != 9, "%s", out);
    }
    live_shell("rm -r '%s'", dir);
}

/* ---- pages ---- */

static off_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : 0;
}

/* Enough log for a checkpoint on the disk; a flush that has only begun is none. */
static void fill(const struct live *l, unsigned node, char path[256])
{
    snprintf(path, 256, "%s/node-%u/data/pages.mdb", l->dir, node);
    for (unsigned i = 0; i < 100 && live_metric(l, node, "pbft_flushed_seq") <= 0; i++)
        live_fill(l, 400, 60000);
    cr_assert_gt(live_metric(l, node, "pbft_flushed_seq"), 0.0, "no checkpoint was flushed");
    cr_assert_geq(size_of(path), 1 << 20);
}

static void damaged_pages(void (*damage)(const char *path))
{
    struct live l;
    char path[256], aside[272];
    live_start_sync(&l, 4, 2);
    fill(&l, 3, path);
    live_sleep_ms(1000);
    live_kill9(&l, 3);
    damage(path);
    live_restart(&l, 3, NULL);
    expect_back(&l, 3);
    snprintf(aside, sizeof aside, "%s.damaged", path);
    bool moved = access(aside, F_OK) == 0;
    cr_expect(moved || live_logged(&l, 3, "state_refused", 0), "the damage went unnoticed");
    cr_expect_eq(live_logged(&l, 3, "pages_aside", 0), moved);
    snprintf(aside, sizeof aside, "node-3/data/pages.mdb.damaged now; the state is fetched");
    cr_expect_eq(live_said(&l, 3, aside, 0), moved, "it does not say where they are");
    load_until(&l, 0, live_number(&l, 0, "stable") + CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&l, 0));
    live_expect_votes(&l, 1);
    live_stop(&l);
}

static void overwrite(const char *path)
{
    live_shell("dd if=/dev/urandom of='%s' bs=4096 count=64 conv=notrunc 2>/dev/null", path);
}

static void flip_some(const char *path)
{
    for (off_t at = 64 << 10; at < size_of(path) - (64 << 10); at += 64 << 10)
        flip(path, at);
}

/* FAULTS 2.46: the votes are in the log, and the state can be fetched. */
Test(live_durability, garbage_for_pages_is_fetched_anew)
{
    damaged_pages(overwrite);
}

Test(live_durability, rotten_pages_are_fetched_anew)
{
    damaged_pages(flip_some);
}

/* ---- looking at it offline ---- */

static void expect_check(const struct live *l, int expected, const char *said)
{
    static char text[16384];
    char bin[512], data[256], both[1100];
    snprintf(bin, sizeof bin, "%s", live_bin("pbftd"));
    snprintf(data, sizeof data, "%s/node-3/data", l->dir);
    snprintf(both, sizeof both, "'%s' --check-data '%s' 2>&1", bin, data);
    char shell_path[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell_path, option, both, NULL};
    int code = live_run(argv, text, sizeof text);
    cr_expect_eq(code, expected, "--check-data ends with %d:\n%s", code, text);
    cr_expect_not_null(strstr(text, said), "it does not say '%s':\n%s", said, text);
}

Test(live_durability, check_data_finds_damage)
{
    struct live l;
    char path[256];
    live_start_sync(&l, 4, 2);
    live_let_vote(&l, 3);
    expect_check(&l, 1, "is in use by a replica");
    live_terminate(&l, 3);
    live_shell("sed -i 's/^flush_bytes = .*/flush_bytes = 64KiB/' '%s/node-3/node.conf'", l.dir);
    live_restart(&l, 3, NULL);
    expect_back(&l, 3);
    load_until(&l, 3, 4 * CHECKPOINT_INTERVAL);
    for (unsigned i = 0; i < 1200 && live_metric(&l, 3, "pbft_flushed_seq") <= 0; i++)
        live_sleep_ms(50);
    cr_expect_gt(live_metric(&l, 3, "pbft_flushed_seq"), 0.0, "nothing was flushed");
    live_kill9(&l, 3);
    expect_check(&l, 0, "a restart would follow all of it");
    expect_check(&l, 0, "is signed by 3 replicas");
    expect_check(&l, 0, "data: ok");
    snprintf(path, sizeof path, "%s/node-3", l.dir);
    live_shell("cp -a '%s/data' '%s/good'", path, path);

    snprintf(path, sizeof path, "%s/node-3/data/pages.mdb", l.dir);
    flip_some(path);
    expect_check(&l, 4, "page");
    expect_check(&l, 4, "WRONG: ");
    snprintf(path, sizeof path, "%s/node-3", l.dir);
    live_shell("rm -r '%s/data' && cp -a '%s/good' '%s/data'", path, path, path);
    expect_check(&l, 0, "data: ok");

    live_shell(
        "cd '%s/data' && dd if=/dev/urandom of=$(ls log-0* | head -n 1) bs=512 seek=4 count=1 "
        "conv=notrunc 2>/dev/null",
        path);
    expect_check(&l, 4, "vote log damaged: ");
    live_shell("rm -r '%s/data' && cp -a '%s/good' '%s/data'", path, path, path);
    live_restart(&l, 3, NULL); /* looking has changed nothing */
    expect_back(&l, 3);
    live_expect_votes(&l, 1);
    live_stop(&l);
}

/* ---- no room, FAULTS 2.42 ---- */

Test(live_durability, full_disk_stops_votes_until_there_is_room)
{
    struct live l;
    char data[256];
    live_start_sync(&l, 4, 2);
    live_let_vote(&l, 3);
    live_terminate(&l, 3);
    snprintf(data, sizeof data, "%s/node-3/data", l.dir);
    live_shell("mv '%s' '%s.old' && mkdir '%s'", data, data, data);
    /* In a space of our own: the mount goes with us, however this ends. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", data, "tmpfs", 0, "size=200m,mode=0755") != 0) {
        fprintf(stderr, "skipped: a tmpfs cannot be mounted here (%s)\n", strerror(errno));
        live_stop(&l);
        cr_skip_test("a tmpfs cannot be mounted here");
    }
    live_shell("cp -a '%s.old/.' '%s/'", data, data);
    live_restart(&l, 3, NULL);
    expect_back(&l, 3);
    live_shell("! dd if=/dev/zero of='%s/filler' bs=64k 2>/dev/null", data);
    bool full = false;
    for (unsigned i = 0; i < 40 && !full; i++) { /* a segment's worth each */
        live_fill(&l, 150, 60000);
        full = live_logged(&l, 3, "disk_full", 1);
    }
    if (!full) live_dump_node(&l, 3);
    cr_expect(full, "it does not say that its disk is full");
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "still", "here", NULL), 0);
    live_shell("rm '%s/filler'", data);
    cr_expect(live_logged(&l, 3, "disk_room", 90), "it does not notice that there is room");
    load_until(&l, 0, live_number(&l, 0, "stable") + CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&l, 0));
    live_expect_votes(&l, 1);
    live_terminate(&l, 3);
    cr_expect_eq(mount(NULL, data, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    cr_expect_eq(live_wait(live_restart(&l, 3, NULL), 90), 1);
    l.own[3] = 0;
    cr_expect(live_said(&l, 3, "that its file system is not read-only.", 0));
    cr_expect_eq(umount(data), 0);
    live_stop(&l);
}
