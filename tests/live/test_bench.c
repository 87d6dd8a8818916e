/* What measures is measured: the open loop, the check of what was acknowledged, hostile clients,
 * and a liar that waits. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* pbft-bench with these options; its JSON, and its exit code. */
static json_t *bench(const struct live *l, int *code, const char *options)
{
    char command[1024], path[192], out[512];
    (void)snprintf(path, sizeof path, "%s/bench.json", l->dir);
    (void)snprintf(command, sizeof command, "'%s' --cluster '%s' --warmup 0 --json '%s' %s 2>&1",
                   live_bin("pbft-bench"), l->dir, path, options);
    char shell[] = "/bin/sh", option[] = "-c";
    *code = live_run((char *[]){shell, option, command, NULL}, out, sizeof out);
    json_t *json = json_load_file(path, 0, NULL);
    cr_assert_not_null(json, "%s: %s", command, out);
    return json;
}

static json_int_t whole(const json_t *json, const char *key)
{
    return json_integer_value(json_object_get(json, key));
}

/* Alone it finds every key as it was acknowledged, bundles of reads between or not; with another
 * writer of the same keys it does not, and says so. */
Test(live_bench, verify_finds_what_was_overwritten, .timeout = 600)
{
    struct live l;
    int code;
    live_start(&l, 4, 2, NULL, NULL, NULL);
    json_t *json = bench(&l, &code,
                         "--clients 3 --bundle 16 --inflight 64 --keys 999 --reads 30 "
                         "--seconds 2 --verify");
    cr_expect_eq(code, 0);
    cr_expect_eq(whole(json, "wrong"), 0);
    cr_expect_gt(whole(json, "verified"), 0);
    cr_expect_leq(whole(json, "verified"), 999);
    cr_expect_eq(whole(json, "lost"), 0);
    json_decref(json);

    struct live_load other;
    live_load_start(&other, &l, "4", "16", "6", "0");
    live_sleep_ms(500);
    json = bench(&l, &code, "--clients 3 --bundle 16 --keys 1000 --seconds 2 --verify");
    cr_expect_eq(code, 1);
    cr_expect_gt(whole(json, "lost"), 0);
    cr_expect_eq(whole(json, "errors"), 0);
    json_decref(json);
    json_decref(live_load_finish(&other));
    live_stop(&l);
}

/* One client that waits for each answer can not keep a rate of a hundred thousand: in a closed loop
 * nobody notices, in an open loop everything that was due has waited. */
Test(live_bench, an_open_loop_counts_what_waits, .timeout = 600)
{
    struct live l;
    int code;
    live_start(&l, 4, 2, NULL, NULL, NULL);
    json_t *closed = bench(&l, &code, "--clients 1 --rate 100000 --seconds 2");
    json_t *open = bench(&l, &code, "--clients 1 --rate 100000 --seconds 2 --open");
    cr_expect_eq(code, 0);
    cr_expect(json_is_true(json_object_get(open, "open")));
    cr_expect_gt(whole(open, "overdue"), 100000);
    double late = json_real_value(json_object_get(open, "p50_ms"));
    cr_expect_gt(late, 500.0, "half of them waited more than %.0f ms", late);
    cr_expect_gt(late, 4 * json_real_value(json_object_get(closed, "p50_ms")));
    json_decref(open);
    json_decref(closed);

    open = bench(&l, &code, "--clients 8 --rate 50 --seconds 2 --open");
    cr_expect_eq(code, 0);
    cr_expect_leq(whole(open, "overdue"), 5);
    cr_expect_leq(whole(open, "ops"), 102);
    cr_expect_geq(whole(open, "ops"), 50);
    json_decref(open);
    live_stop(&l);
}

/* Each kind is noticed where it should be, and the others are served. */
Test(live_bench, hostile_clients_are_noticed, .timeout = 600)
{
    static const struct {
        const char *kind, *metric;
        double least;
    } kinds[] = {
        {"forge", "pbft_dropped_total{verdict=\"signature\"}", 64},
        {"garbage", "pbft_dropped_total{verdict=\"version\"}", 64},
        {"conflict", "pbft_requests_executed_total", 10},
        {"replay", "pbft_frames_received_total", 100},
        {"flood", "pbft_requests_executed_total", 10},
    };
    struct live l;
    char out[256], client[192], bin[512];
    live_start(&l, 4, 2, NULL, NULL, NULL);
    (void)snprintf(client, sizeof client, "%s/client-1", l.dir);
    (void)snprintf(bin, sizeof bin, "%s", live_bin("pbft-hostile"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double before = live_metric(&l, 1, kinds[i].metric);
        char *argv[] = {bin,         "--cluster", client, "--kind", (char *)kinds[i].kind,
                        "--seconds", "2",         NULL};
        pid_t enemy = live_spawn(argv, -1, -1);
        cr_expect_eq(live_ctl(&l, NULL, 0, "put", "mine", kinds[i].kind, NULL), 0);
        cr_expect_eq(live_ctl(&l, out, sizeof out, "get", "mine", NULL), 0);
        cr_expect_eq(strncmp(out, kinds[i].kind, strlen(kinds[i].kind)), 0, "%s", out);
        cr_expect_eq(live_wait(enemy, 60), 0, "%s", kinds[i].kind);
        double seen = live_metric(&l, 1, kinds[i].metric) - before;
        cr_expect_geq(seen, kinds[i].least, "%s: %s grew by %.0f", kinds[i].kind, kinds[i].metric,
                      seen);
    }
    cr_expect_gt(live_metric(&l, 1, "pbft_misbehaviour_disconnects_total"), 0);
    char *wrong[] = {bin, "--cluster", client, "--kind", "polite", NULL};
    cr_expect_eq(live_wait(live_spawn(wrong, -1, -1), 60), 2);
    live_stop(&l);
}

/* "@USR2": not a single lie before the signal, and then it lies. */
Test(live_bench, a_liar_waits_for_the_signal, .timeout = 600)
{
    struct live l;
    char bin[512], config[256];
    live_start_sync(&l, 4, 2);
    live_terminate(&l, 2);
    (void)snprintf(bin, sizeof bin, "%s", live_bin("pbftd-faulty"));
    (void)snprintf(config, sizeof config, "%s/node-2/node.conf", l.dir);
    char *argv[] = {bin, "--config", config, "--fault", "wrong-digest@USR2", NULL};
    pid_t liar = live_spawn(argv, -1, -1);
    l.own[2] = liar;
    for (unsigned i = 0; i < 300 && !live_ready(&l, 2, NULL, 0); i++)
        live_sleep_ms(100);
    live_fill(&l, 400, 10);
    cr_expect_eq(live_metric(&l, 2, "pbft_fault_acts_total"), 0.0);
    cr_assert_eq(kill(liar, SIGUSR2), 0);
    live_fill(&l, 400, 10);
    cr_expect_gt(live_metric(&l, 2, "pbft_fault_acts_total"), 0.0);
    live_stop(&l);
}

/* `make bench`, one short round of one case: docs/performance.md says what is in the JSON. */
Test(live_bench, the_suite_writes_what_the_docs_promise, .timeout = 600)
{
    char dir[64] = "/tmp/pbft-bench-live-XXXXXX", command[512], path[128], out[4096];
    static const char *const about[] = {"machine",    "cores",  "stolen_percent",
                                        "page_bytes", "window", "checkpoint_interval"};
    static const char *const figures[] = {"ops_per_s", "p50_ms", "p99_ms", "cpu_ms_per_op",
                                          "memory_mib"};
    char shell[] = "/bin/sh", option[] = "-c";
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(command, sizeof command,
                   "CASES=D ROUND_SECONDS=1 REPEATS=1 KEYS=2000 PBFT_RESULTS='%s' bench/suite.sh "
                   "2>&1",
                   dir);
    int code = live_run((char *[]){shell, option, command, NULL}, out, sizeof out);
    cr_assert_eq(code, 0, "exit code %d: %s", code, out);
    (void)snprintf(path, sizeof path, "%s/performance.json", dir);
    json_t *all = json_load_file(path, 0, NULL);
    cr_assert_not_null(all);
    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        cr_expect_not_null(json_object_get(all, about[i]), "%s", about[i]);
    json_t *d = json_object_get(json_object_get(all, "basic"), "D");
    static const char *const stages[] = {"prepare", "commit", "execute", "else"};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        json_t *stage = json_object_get(json_object_get(d, "stages_ms"), stages[i]);
        cr_expect_gt(json_number_value(json_object_get(stage, "median")), 0.0, "%s", stages[i]);
    }
    cr_expect_str_eq(json_string_value(json_object_get(d, "durability")), "memory");
    cr_expect_eq(whole(d, "failed"), 0);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        json_t *spread = json_object_get(d, figures[i]);
        cr_expect_gt(json_number_value(json_object_get(spread, "min")), 0.0, "%s", figures[i]);
        cr_expect_leq(json_number_value(json_object_get(spread, "min")),
                      json_number_value(json_object_get(spread, "median")), "%s", figures[i]);
        cr_expect_leq(json_number_value(json_object_get(spread, "median")),
                      json_number_value(json_object_get(spread, "max")), "%s", figures[i]);
    }
    cr_expect_eq(json_array_size(json_object_get(all, "rounds")), 1);
    json_decref(all);
    (void)snprintf(command, sizeof command,
                   "grep -q '^| D. one client' '%s/performance.md' && rm -r '%s'", dir, dir);
    cr_expect_eq(live_run((char *[]){shell, option, command, NULL}, out, sizeof out), 0);
    (void)snprintf(command, sizeof command, "CASES=Z bench/suite.sh 2>&1");
    cr_expect_neq(live_run((char *[]){shell, option, command, NULL}, out, sizeof out), 0);
    cr_expect_not_null(strstr(out, "there is no case 'Z'"), "%s", out);
}
