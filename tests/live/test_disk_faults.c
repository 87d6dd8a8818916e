/* System calls that fail under a real replica (tests/inject): what it says, that it stops or goes
 * on, that the cluster does, and that it comes back with its votes (FAULTS 2.41, 2.42, 2.45).
 * Durability is sync. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECKPOINT_INTERVAL 128 /* what `init` writes */

TestSuite(live_disk_faults, .timeout = 900);

struct faulty {
    struct live live;
    unsigned victim; /* a backup */
    char when[160];  /* the fault is in force while this file exists */
    char calls[160]; /* what the injector noted */
};

static void fault(const struct faulty *f, bool on)
{
    if (!on) {
        cr_assert_eq(unlink(f->when), 0);
        return;
    }
    int fd = open(f->when, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
}

/* Lines of the injector's notes that begin so. */
static unsigned noted(const struct faulty *f, const char *prefix)
{
    char line[1024];
    unsigned count = 0;
    FILE *file = fopen(f->calls, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        count += strncmp(line, prefix, strlen(prefix)) == 0;
    if (file != NULL) (void)fclose(file);
    return count;
}

/* For what is started next; NULL: none. */
static void fault_rule(const struct faulty *f, const char *rule)
{
    char library[512];
    if (rule == NULL) {
        unsetenv("LD_PRELOAD");
        unsetenv("PBFT_INJECT");
        unsetenv("PBFT_INJECT_LOG");
        return;
    }
    snprintf(library, sizeof library, "%s", live_bin("../tests/inject.so"));
    cr_assert_eq(access(library, R_OK), 0, "%s is not there", library);
    (void)unlink(f->calls);
    setenv("LD_PRELOAD", library, 1);
    setenv("PBFT_INJECT", rule, 1);
    setenv("PBFT_INJECT_LOG", f->calls, 1);
}

/* Start the victim, which was ended, under a rule (NULL: none) whose fault waits for its switch. */
static pid_t start_under(struct faulty *f, const char *rule)
{
    char rules[512];
    (void)unlink(f->when);
    (void)unlink(f->calls);
    if (rule != NULL) {
        snprintf(rules, sizeof rules, "%s when=%s", rule, f->when);
        fault_rule(f, rules);
    }
    pid_t pid = live_restart(&f->live, f->victim, NULL);
    fault_rule(f, NULL);
    bool restored = live_logged(&f->live, f->victim, "restored", 120);
    if (!restored) live_dump_node(&f->live, f->victim);
    cr_assert(restored, "node %u was not restored", f->victim);
    cr_expect_eq(live_number(&f->live, f->victim, "mute"), 0, "node %u is mute", f->victim);
    return pid;
}

static void begin(struct faulty *f, const char *flush_bytes)
{
    memset(f, 0, sizeof *f);
    live_start_sync(&f->live, 4, 2);
    f->victim = (live_primary(&f->live) + 1) % 4;
    snprintf(f->when, sizeof f->when, "%s/fault", f->live.dir);
    snprintf(f->calls, sizeof f->calls, "%s/calls", f->live.dir);
    live_let_vote(&f->live, f->victim);
    live_terminate(&f->live, f->victim);
    if (flush_bytes != NULL)
        live_shell("sed -i 's/^flush_bytes = .*/flush_bytes = %s/' '%s/node-%u/node.conf' && "
                   "grep -q '^flush_bytes = %s$' '%s/node-%u/node.conf'",
                   flush_bytes, f->live.dir, f->victim, flush_bytes, f->live.dir, f->victim);
}

static void some_load(const struct faulty *f, const char *seconds)
{
    struct live_load load;
    live_load_start(&load, &f->live, "4", "1", seconds, "0");
    json_t *result = live_load_finish(&load);
    cr_expect_not_null(result);
    json_decref(result);
}

static void expect_ordered(const struct faulty *f, const char *timeout, bool ordered)
{
    int code = live_ctl(&f->live, NULL, 0, "put", "still", "here", "--timeout", timeout, NULL);
    cr_expect_eq(code == 0, ordered, "put ends with %d", code);
}

/* What is left on the disk is an ordinary crash's. */
static void expect_sound(const struct faulty *f)
{
    char bin[512], data[256], text[4096];
    snprintf(bin, sizeof bin, "%s", live_bin("pbftd"));
    snprintf(data, sizeof data, "%s/node-%u/data", f->live.dir, f->victim);
    char option[] = "--check-data";
    char *argv[] = {bin, option, data, NULL};
    int code = live_run(argv, text, sizeof text);
    cr_expect_eq(code, 0, "--check-data ends with %d:\n%s", code, text);
}

static void expect_metric(const struct faulty *f, const char *name, double value)
{
    for (unsigned i = 0; i < 1200 && live_metric(&f->live, f->victim, name) != value; i++)
        live_sleep_ms(50);
    cr_expect_eq(live_metric(&f->live, f->victim, name), value, "%s", name);
}

/* Load until a checkpoint newer than the one on the victim's disk is there. */
static void expect_flush(const struct faulty *f)
{
    double before = live_metric(&f->live, f->victim, "pbft_flushed_seq"), now = before;
    for (unsigned i = 0; i < 60 && now <= before; i++) {
        some_load(f, "2");
        now = live_metric(&f->live, f->victim, "pbft_flushed_seq");
    }
    cr_expect_gt(now, before, "no checkpoint is flushed");
}

/* Nothing is ordered without the victim's vote any more. */
static unsigned lose_another(struct faulty *f)
{
    unsigned other = (f->victim + 1) % 4;
    live_kill9(&f->live, other);
    return other;
}

/* ---- what ends the replica, FAULTS 2.41 ---- */

static void expect_end(struct faulty *f, const char *rule, const char *what)
{
    pid_t pid = start_under(f, rule);
    live_sleep_ms(300);
    struct live_load load;
    fault(f, true);
    live_load_start(&load, &f->live, "2", "1", "4", "0");
    int code = live_wait(pid, 90);
    f->live.own[f->victim] = 0;
    f->live.dead |= 1u << f->victim;
    bool said = live_logged(&f->live, f->victim, "storage_failed", 0) &&
                live_said(&f->live, f->victim, what, 0);
    if (code != 1 || !said) live_dump_node(&f->live, f->victim);
    cr_expect_eq(code, 1, "%s: it ends with %d", rule, code);
    cr_expect(said, "%s: it does not say that %s failed", rule, what);
    cr_expect_eq(noted(f, "fault"), 1u, "%s: %u faults", rule, noted(f, "fault"));
    json_t *result = live_load_finish(&load);
    cr_expect_not_null(result, "%s: the cluster does not go on", rule);
    json_decref(result);
    expect_sound(f);
}

/* After the fault nothing of its kind is tried on that file but `allowed` calls: a sync that
 * succeeds then says nothing about what the failed one lost. */
static void expect_never_again(const struct faulty *f, unsigned allowed)
{
    char line[1024];
    bool failed = false;
    unsigned after = 0;
    FILE *file = fopen(f->calls, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (failed && ++after > allowed) cr_expect_fail("after the failure: %s", line);
        failed = failed || strncmp(line, "fault", 5) == 0;
    }
    (void)fclose(file);
    cr_expect(failed);
}

Test(live_disk_faults, failed_log_stops_one_replica)
{
    struct faulty f;
    begin(&f, NULL);
    struct live_writer *writer = live_writer_start(&f.live, 2);
    expect_end(&f, "sync log- EIO after=3 times=1", "\"what\":\"commit\"");
    expect_never_again(&f, 0);
    expect_end(&f, "write log- EIO after=3 times=1", "\"what\":\"commit\"");
    expect_never_again(&f, 0);
    start_under(&f, NULL);
    live_sleep_ms(500);
    live_expect_written(writer, 50);
    lose_another(&f);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}

/* LMDB takes a short write for a failed one: that, too, is the end, and nothing is lost by it. */
Test(live_disk_faults, failed_flush_stops_one_replica)
{
    struct faulty f;
    begin(&f, "64KiB");
    struct live_writer *writer = live_writer_start(&f.live, 2);
    expect_end(&f, "sync pages.mdb EIO times=1", "\"what\":\"flush\"");
    expect_never_again(&f, 0);
    expect_end(&f, "write pages.mdb EIO after=2 times=1", "\"what\":\"flush\"");
    expect_never_again(&f, 1); /* LMDB puts an older meta page back over one that failed */
    expect_end(&f, "write pages.mdb short after=1 times=1", "\"what\":\"flush\"");
    start_under(&f, NULL);
    expect_flush(&f);
    live_expect_written(writer, 50);
    lose_another(&f);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}

/* ---- what does not ---- */

Test(live_disk_faults, short_writes_are_continued)
{
    struct faulty f;
    begin(&f, "64KiB");
    start_under(&f, "write log- short");
    live_sleep_ms(500);
    fault(&f, true);
    lose_another(&f); /* every acknowledgement rests on a vote whose bytes came in pieces */
    expect_ordered(&f, "60s", true);
    struct live_writer *writer = live_writer_start(&f.live, 2);
    live_sleep_ms(3000);
    live_kill9(&f.live, f.victim);
    unsigned cut = noted(&f, "fault");
    fprintf(stderr, "%u short writes\n", cut);
    cr_expect_gt(cut, 100u);
    expect_sound(&f);
    start_under(&f, NULL);
    live_sleep_ms(1000);
    live_expect_written(writer, 50);
    live_stop(&f.live);
}

/* FAULTS 2.42 */
Test(live_disk_faults, full_log_stops_votes_and_resumes)
{
    struct faulty f;
    begin(&f, NULL);
    start_under(&f, "write+allocate+truncate log- ENOSPC");
    struct live_writer *writer = live_writer_start(&f.live, 2);
    live_sleep_ms(1000);
    fault(&f, true);
    bool full = live_logged(&f.live, f.victim, "disk_full", 90);
    cr_expect(full, "it does not say that its disk is full");
    cr_expect(live_said(&f.live, f.victim, "\"for\":\"log\",\"votes\":\"wait\"", 0));
    expect_metric(&f, "pbft_disk_full", 1);
    expect_metric(&f, "pbft_ready", 0);
    live_until(&f.live, f.victim, "disk_full", 1);
    live_until(&f.live, f.victim, "votes_wait", 1);
    expect_ordered(&f, "60s", true); /* by the others */
    live_sleep_ms(500);
    live_expect_written(writer, 50);
    lose_another(&f);
    expect_ordered(&f, "4s", false); /* it must not vote */
    cr_expect_gt(noted(&f, "fault"), 0u);
    fault(&f, false);
    cr_expect(live_logged(&f.live, f.victim, "disk_room", 90), "it does not notice the room");
    expect_metric(&f, "pbft_disk_full", 0);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}

Test(live_disk_faults, full_page_store_goes_on_voting)
{
    struct faulty f;
    begin(&f, "64KiB");
    start_under(&f, "write+allocate+truncate pages.mdb ENOSPC");
    fault(&f, true);
    live_sleep_ms(300);
    double flushed = live_metric(&f.live, f.victim, "pbft_flushed_seq");
    some_load(&f, "3");
    for (unsigned i = 0; i < 60 && !live_logged(&f.live, f.victim, "disk_full", 1); i++)
        some_load(&f, "2");
    cr_expect(live_said(&f.live, f.victim, "\"for\":\"checkpoints\",\"votes\":\"go on\"", 0),
              "it does not say that there is no room for checkpoints");
    cr_expect_eq(live_metric(&f.live, f.victim, "pbft_flushed_seq"), flushed);
    expect_metric(&f, "pbft_disk_full", 1);
    expect_metric(&f, "pbft_ready", 0);
    live_until(&f.live, f.victim, "disk_full", 1);
    live_until(&f.live, f.victim, "votes_wait", 0);
    unsigned other = lose_another(&f);
    expect_ordered(&f, "60s", true); /* votes need no pages */
    fault(&f, false);
    live_restart(&f.live, other, NULL);
    expect_flush(&f);
    cr_expect(live_logged(&f.live, f.victim, "disk_room", 90), "it does not notice the room");
    expect_metric(&f, "pbft_disk_full", 0);
    live_terminate(&f.live, f.victim);
    expect_sound(&f);
    live_stop(&f.live);
}

/* Only the pid file, and the number of its starts, want room then. */
Test(live_disk_faults, full_disk_stops_no_start)
{
    struct faulty f;
    char path[256];
    begin(&f, NULL);
    snprintf(path, sizeof path, "%s/node-%u/pbftd.pid", f.live.dir, f.victim);
    fault_rule(&f, "write pbftd.pid ENOSPC;write superblock.tmp ENOSPC");
    live_restart(&f.live, f.victim, NULL);
    fault_rule(&f, NULL);
    bool started = live_logged(&f.live, f.victim, "started", 120);
    if (!started) live_dump_node(&f.live, f.victim);
    cr_assert(started, "it does not start");
    cr_expect(live_logged(&f.live, f.victim, "pid_file", 0), "it does not say what is missing");
    cr_expect_eq(noted(&f, "fault"), 2u, "%u faults", noted(&f, "fault"));
    cr_expect_eq(access(path, F_OK), -1, "%s is left", path);
    lose_another(&f);
    expect_ordered(&f, "60s", true); /* and it votes */
    live_stop(&f.live);
}

/* Nor does it keep `pbftctl up` from starting nodes; another trouble does, as ever. */
Test(live_disk_faults, full_disk_stops_no_cluster)
{
    struct faulty f;
    char command[1200], out[4096], shell[] = "/bin/sh", option[] = "-c";
    char *argv[] = {shell, option, command, NULL};
    static const char *const errors[] = {"ENOSPC", "EIO"};
    begin(&f, NULL);
    start_under(&f, NULL);
    live_kill9_all(&f.live);
    for (unsigned i = 0; i < 2; i++) {
        char rule[64];
        snprintf(rule, sizeof rule, "write pbftd.pid %s", errors[i]);
        snprintf(command, sizeof command,
                 "rm -f '%s/out'; '%s' up '%s' >'%s/out' 2>&1 & p=$!; n=0; "
                 "while kill -0 $p 2>/dev/null && ! grep -qs '^ready' '%s/out' && [ $n -lt 300 ]; "
                 "do sleep 0.2; n=$((n + 1)); done; kill $p 2>/dev/null; wait $p; cat '%s/out'",
                 f.live.dir, live_bin("pbftctl"), f.live.dir, f.live.dir, f.live.dir, f.live.dir);
        fault_rule(&f, rule);
        (void)live_run(argv, out, sizeof out);
        fault_rule(&f, NULL);
        cr_expect_eq(strstr(out, "\nready: 4 of 4") != NULL, i == 0, "%s: %s", errors[i], out);
        cr_expect_eq(strstr(out, "its node runs without one") != NULL, i == 0, "%s", out);
        cr_expect_eq(strstr(out, "cannot start node 0") != NULL, i == 1, "%s", out);
    }
    live_stop(&f.live);
}

/* FAULTS 2.46: votes are not in the pages, and the others have the state. */
Test(live_disk_faults, unreadable_pages_are_fetched_anew)
{
    struct faulty f;
    begin(&f, "64KiB");
    start_under(&f, NULL);
    expect_flush(&f);
    live_terminate(&f.live, f.victim);
    fault_rule(&f, "read pages.mdb EIO times=1");
    live_restart(&f.live, f.victim, NULL);
    fault_rule(&f, NULL);
    bool started = live_logged(&f.live, f.victim, "started", 60);
    if (!started) live_dump_node(&f.live, f.victim);
    cr_assert(started, "it does not start");
    cr_expect_eq(noted(&f, "fault"), 1u);
    cr_expect(live_logged(&f.live, f.victim, "pages_aside", 0), "it does not say what it does");
    cr_expect(live_said(&f.live, f.victim, "pages.mdb cannot be read", 0));
    live_shell("test -s '%s/node-%u/data/pages.mdb.damaged'", f.live.dir, f.victim);
    live_until(&f.live, f.victim, "mute", 0);
    expect_flush(&f);
    cr_expect(live_roots_agree(&f.live, 0));
    lose_another(&f);
    expect_ordered(&f, "20s", true);
    live_stop(&f.live);
}

/* LMDB maps the file: what cannot be read while it runs is a signal, as behind the end of a file
 * that was cut. */
Test(live_disk_faults, pages_that_become_unreadable)
{
    struct faulty f;
    char path[256];
    begin(&f, "64KiB");
    pid_t pid = start_under(&f, NULL);
    expect_flush(&f);
    snprintf(path, sizeof path, "%s/node-%u/data/pages.mdb", f.live.dir, f.victim);
    cr_assert_eq(truncate(path, 8192), 0); /* where it begins is read before the rest */
    for (unsigned i = 0; i < 60 && !live_logged(&f.live, f.victim, "storage_failed", 1); i++)
        some_load(&f, "2"); /* the cluster goes on; the next flush meets it */
    int code = live_wait(pid, 90);
    f.live.own[f.victim] = 0;
    f.live.dead |= 1u << f.victim;
    bool said = live_logged(&f.live, f.victim, "storage_failed", 0) &&
                live_said(&f.live, f.victim, "SIGBUS", 0);
    if (code != 1 || !said) live_dump_node(&f.live, f.victim);
    cr_expect_eq(code, 1, "it ends with %d", code);
    cr_expect(said, "it does not say why it ends");
    some_load(&f, "1");
    start_under(&f, NULL);
    cr_expect(live_logged(&f.live, f.victim, "pages_aside", 0), "it does not say what it does");
    expect_flush(&f);
    cr_expect(live_roots_agree(&f.live, 0));
    lose_another(&f);
    expect_ordered(&f, "20s", true);
    live_stop(&f.live);
}

/* What it has voted for nobody else knows: it does not go on, and nothing is changed. */
Test(live_disk_faults, an_unreadable_log_stops_the_start)
{
    struct faulty f;
    char way_back[64];
    begin(&f, NULL);
    fault_rule(&f, "read log- EIO");
    pid_t pid = live_restart(&f.live, f.victim, NULL);
    fault_rule(&f, NULL);
    cr_expect_eq(live_wait(pid, 30), 1);
    f.live.own[f.victim] = 0;
    f.live.dead |= 1u << f.victim;
    snprintf(way_back, sizeof way_back, "then `pbftctl replica replace %u` gives", f.victim);
    cr_expect(live_said(&f.live, f.victim, "input/output error: mend the disk", 0));
    cr_expect(live_said(&f.live, f.victim, way_back, 0), "it does not say what to do");
    start_under(&f, NULL);
    lose_another(&f);
    expect_ordered(&f, "20s", true);
    live_stop(&f.live);
}

/* Started under a rule that makes it slow, it is told to end before it has loaded its state. Its
 * signals wait for nobody, nor is this a start. Returns the seconds to its end. */
static double end_while_loading(struct faulty *f, const char *rule)
{
    struct timespec before, after;
    live_terminate(&f->live, f->victim);
    fault_rule(f, rule);
    pid_t pid = live_restart(&f->live, f->victim, NULL);
    fault_rule(f, NULL);
    for (unsigned i = 0; i < 2000 && noted(f, "fault") < 10; i++)
        live_sleep_ms(20);
    cr_expect_geq(noted(f, "fault"), 10u, "%s: it reads nothing", rule);
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    cr_assert_eq(kill(pid, SIGTERM), 0);
    int code = live_wait(pid, 90);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds =
        (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    f->live.own[f->victim] = 0;
    f->live.dead |= 1u << f->victim;
    if (code != 0) live_dump_node(&f->live, f->victim);
    cr_expect_eq(code, 0, "%s: it ends with %d", rule, code);
    cr_expect(live_said(&f->live, f->victim, "its state is loaded", 0), "%s: it was loaded", rule);
    cr_expect_not(live_logged(&f->live, f->victim, "started", 0));
    cr_expect(live_said(&f->live, f->victim, "\"clean\":true", 0));
    expect_sound(f);
    start_under(f, NULL); /* and has lost nothing */
    return seconds;
}

static void expect_end_while_loading(struct faulty *f, const char *rule)
{
    double seconds = 0;
    for (unsigned i = 0; i < LIVE_TRIES; i++) {
        seconds = end_while_loading(f, rule);
        if (seconds < 1.5) return;
    }
    cr_expect_fail("%s: it ends after %.1f s", rule, seconds);
}

Test(live_disk_faults, told_to_stop_while_loading)
{
    struct faulty f;
    begin(&f, NULL);
    start_under(&f, NULL);
    live_fill(&f.live, 600, 60000);
    live_terminate(&f.live, f.victim);
    live_shell("sed -i 's/^flush_bytes = .*/flush_bytes = 1MiB/' '%s/node-%u/node.conf'",
               f.live.dir, f.victim);
    start_under(&f, NULL);
    expect_flush(&f); /* the pages are worth a look */
    expect_end_while_loading(&f, "read pages.mdb delay=40");
    expect_end_while_loading(&f, "read log- delay=40");
    lose_another(&f);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}

/* It is in no epoch until there is room; its checkpoint goes along without hard links, too. */
Test(live_disk_faults, full_disk_delays_an_epoch)
{
    struct faulty f;
    char number[16], out[512];
    begin(&f, "64KiB");
    start_under(&f, "link epoch-1 EPERM;write+allocate+truncate epoch-1 ENOSPC");
    expect_flush(&f);
    fault(&f, true);
    struct live_writer *writer = live_writer_start(&f.live, 2);
    snprintf(number, sizeof number, "%u", (f.victim + 2) % 4);
    cr_assert_eq(live_ctl(&f.live, out, sizeof out, "replica", "replace", number, "--timeout",
                          "90s", NULL),
                 0, "%s", out);
    cr_expect(live_logged(&f.live, f.victim, "disk_full", 90), "it does not say that it waits");
    expect_ordered(&f, "60s", true); /* by the others */
    unsigned other = lose_another(&f);
    expect_ordered(&f, "3s", false);
    fault(&f, false);
    cr_expect(live_logged(&f.live, f.victim, "disk_room", 90), "it does not notice the room");
    expect_ordered(&f, "60s", true);
    cr_expect_eq(live_number(&f.live, f.victim, "epoch"), 1);
    cr_expect_eq(noted(&f, "fault link"), 1u, "%u links", noted(&f, "fault link"));
    live_restart(&f.live, other, NULL);
    live_terminate(&f.live, f.victim);
    start_under(&f, NULL);
    live_sleep_ms(500);
    live_expect_written(writer, 50);
    live_terminate(&f.live, f.victim);
    expect_sound(&f);
    live_stop(&f.live);
}

/* Operations of four seconds beside a disk that takes 1.5 s for a sync. False: some waited for it,
 * or the view was left. */
static bool unmoved(struct faulty *f, unsigned usual)
{
    unsigned other = (f->victim + 1) % 4;
    json_int_t view = live_number(&f->live, other, "view");
    struct live_load load; /* other keys: these were written once */
    live_load_start(&load, &f->live, "2", "1", "4", "0");
    json_t *result = live_load_finish(&load);
    cr_assert_not_null(result);
    double ops = json_number_value(json_object_get(result, "ops"));
    double p99_ms = json_number_value(json_object_get(result, "p99_ms"));
    json_decref(result);
    json_int_t after = live_number(&f->live, other, "view");
    fprintf(stderr,
            "%u writes in 3 s before, %.0f in 4 s with 1.5 s a sync; p99 %.0f ms, view %d\n", usual,
            ops, p99_ms, (int)after);
    return ops > usual / 4.0 && p99_ms < 1400.0 && after == view;
}

/* Nobody waits for the slowest f. */
Test(live_disk_faults, slow_disk_slows_one_replica)
{
    struct faulty f;
    begin(&f, NULL);
    start_under(&f, "sync * delay=1500");
    some_load(&f, "1");
    struct live_writer *before = live_writer_start(&f.live, 2);
    live_sleep_ms(3000);
    unsigned lost, wrong;
    double longest_ms;
    unsigned usual = live_writer_finish(before, &lost, &longest_ms, &wrong);
    cr_expect_eq(lost + wrong, 0u);
    fault(&f, true);
    bool held = false;
    for (unsigned i = 0; i < LIVE_TRIES && !held; i++)
        held = unmoved(&f, usual);
    cr_expect_gt(noted(&f, "fault"), 0u);
    cr_expect(held, "the slow disk of one replica slows the others, or moves them to another view");
    fault(&f, false);
    live_sleep_ms(2000);
    lose_another(&f);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}

/* ---- what is made has to last, FAULTS 2.40 ---- */

struct synced {
    char path[200][256]; /* in their order */
    unsigned count;
};

static void read_synced(const struct faulty *f, struct synced *s)
{
    char line[1024], call[32], path[256];
    FILE *file = fopen(f->calls, "r");
    cr_assert_not_null(file);
    for (s->count = 0; fgets(line, sizeof line, file) != NULL;) {
        cr_assert_eq(sscanf(line, "fault %31s %255s", call, path), 2, "%s", line);
        cr_assert_lt(s->count, 200u);
        (void)snprintf(s->path[s->count++], sizeof path, "%s", path);
    }
    (void)fclose(file);
}

static bool later(const struct synced *s, unsigned from, const char *path)
{
    for (unsigned i = from; i < s->count; i++)
        if (strcmp(s->path[i], path) == 0) return true;
    return false;
}

static bool is_in(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* Its name is synced in the folder that it is in, just before anything is made in it, or later. */
static void expect_named(const struct synced *s, const char *folder, const char *parent)
{
    unsigned first = 0;
    while (first < s->count && !is_in(s->path[first], folder))
        first++;
    cr_assert_lt(first, s->count, "nothing in %s is synced", folder);
    bool before = first > 0 && strcmp(s->path[first - 1], parent) == 0;
    cr_expect(before || later(s, first, parent), "%s may vanish from %s", folder, parent);
}

/* Votes in a folder whose name is lost are lost. */
Test(live_disk_faults, what_init_makes_lasts)
{
    struct faulty f = {.victim = 0};
    static struct synced s;
    char base[] = "/tmp/pbft-live-XXXXXX", top[64], node[80], data[96], out[4096];
    char init[] = "init", nodes[] = "--nodes", four[] = "4";
    cr_assert_not_null(mkdtemp(base));
    (void)snprintf(f.calls, sizeof f.calls, "%s/calls", base);
    (void)snprintf(top, sizeof top, "%s/d", base);
    char *argv[] = {strdup(live_bin("pbftctl")), init, top, nodes, four, NULL};
    fault_rule(&f, "sync * delay=0");
    int code = live_run(argv, out, sizeof out);
    fault_rule(&f, NULL);
    cr_assert_eq(code, 0, "%s", out);
    read_synced(&f, &s);
    expect_named(&s, top, base);
    for (unsigned id = 0; id < 4; id++) {
        (void)snprintf(node, sizeof node, "%s/node-%u", top, id);
        (void)snprintf(data, sizeof data, "%s/data", node);
        expect_named(&s, node, top);
        expect_named(&s, data, node);
    }
    (void)snprintf(node, sizeof node, "%s/client", top);
    expect_named(&s, node, top);
    for (unsigned i = 0; i < s.count; i++) {
        struct stat info;
        if (stat(s.path[i], &info) == 0 && S_ISDIR(info.st_mode)) continue;
        (void)snprintf(data, sizeof data, "%.*s", (int)(strrchr(s.path[i], '/') - s.path[i]),
                       s.path[i]);
        cr_expect(later(&s, i + 1, data), "%s may vanish", s.path[i]);
    }
    live_shell("rm -r '%s'", base);
    free(argv[0]);
}

/* ---- amnesia without room to note it, FAULTS 2.42 and 2.44 ---- */

/* PROTOCOL 29: an older copy of its data, and a full disk. That it is mute is written down when
 * there is room; till then it says so. Else: its next start votes until somebody shows it that vote
 * again. */
Test(live_disk_faults, amnesia_is_noted_when_there_is_room)
{
    struct faulty f;
    char rule[256];
    begin(&f, NULL);
    live_shell("cp -a '%s/node-%u/data' '%s/node-%u/old'", f.live.dir, f.victim, f.live.dir,
               f.victim);
    start_under(&f, NULL);
    live_sleep_ms(500);
    unsigned other = lose_another(&f);
    for (unsigned i = 0;
         i < 4 || live_number(&f.live, f.victim, "last_executed") % CHECKPOINT_INTERVAL < 3; i++)
        expect_ordered(&f, "60s", true); /* with its votes */
    live_terminate(&f.live, f.victim);
    live_shell("cd '%s/node-%u' && rm -r data && mv old data", f.live.dir, f.victim);
    fault(&f, true);
    (void)snprintf(rule, sizeof rule, "write superblock.tmp ENOSPC when=%s", f.when);
    fault_rule(&f, rule);
    live_restart(&f.live, f.victim, NULL);
    fault_rule(&f, NULL);
    bool muted = live_logged(&f.live, f.victim, "muted", 90);
    if (!muted) live_dump_node(&f.live, f.victim);
    cr_assert(muted, "it does not notice");
    cr_expect(live_said(&f.live, f.victim, "let it run until `superblock_written`", 10));
    fault(&f, false);
    cr_expect(live_logged(&f.live, f.victim, "superblock_written", 30), "it is not tried again");
    live_terminate(&f.live, f.victim);
    live_restart(&f.live, f.victim, NULL);
    cr_expect(live_said(&f.live, f.victim, "was shown a vote that its log did not hold", 90),
              "the next start knows nothing of it");
    live_until(&f.live, f.victim, "mute", 1);
    live_restart(&f.live, other, NULL);
    expect_ordered(&f, "60s", true);
    live_stop(&f.live);
}
