/* What a person at a shell meets: exit codes, sentences, `--`, standard input (DESIGN 5, 6). */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct line {
    const char *text; /* for the shell; @ is `pbftctl --cluster DIR`, % the folder */
    int code;
    const char *says; /* somewhere in standard output and error; NULL: nothing is asked */
};

static void append(char *to, size_t capacity, const char *text)
{
    size_t used = strlen(to);
    cr_assert_lt(used + strlen(text), capacity);
    memcpy(to + used, text, strlen(text) + 1);
}

static void check(const char *dir, const struct line *l)
{
    char command[2048] = "{ ", ctl[600], out[4096];
    (void)snprintf(ctl, sizeof ctl, "%s", live_bin("pbftctl"));
    for (const char *at = l->text; *at != '\0'; at++) {
        if (*at == '@') {
            append(command, sizeof command, ctl);
            append(command, sizeof command, " --cluster ");
        }
        if (*at == '@' || *at == '%')
            append(command, sizeof command, dir);
        else
            append(command, sizeof command, (char[]){*at, '\0'});
    }
    append(command, sizeof command, "; } 2>&1");
    char shell[] = "/bin/sh", option[] = "-c";
    int code = live_run((char *[]){shell, option, command, NULL}, out, sizeof out);
    cr_expect_eq(code, l->code, "%s: exit code %d, not %d: %s", command, code, l->code, out);
    if (l->says != NULL)
        cr_expect_not_null(strstr(out, l->says), "%s: no '%s' in: %s", command, l->says, out);
    cr_expect_null(strstr(out, "..\n"), "%s: two full stops: %s", command, out);
}

#define CHECK_ALL(dir, lines)                                                                      \
    for (size_t i = 0; i < sizeof(lines) / sizeof((lines)[0]); i++)                                \
    check((dir), &(lines)[i])

/* No replica runs, and none may be started: what is refused is refused before. */
Test(cli, mistakes_are_refused_before_anything_happens, .timeout = 600)
{
    static const struct line lines[] = {
        {"@ init %/d --base-port 27100", 0, "4 nodes"},
        {"@ init %/d", 2, "overwrites nothing"},
        {"@ init %/x --nodes 3", 2, "4 .. 64"},
        {"@ init %/x --service 'a b'", 2, "letters"},
        {"test -e %/x", 1, NULL},
        {"@ help nosuch", 2, "no verb 'nosuch'"},
        {"@ --nosuch put a b", 2, "no option '--nosuch'"},
        {"@/none get a", 2, "cannot open"},
        {"@/d --timeout 5 get a", 2, "--timeout takes a time"},
        {"@/d get a --timeout 200ms", 3, "0 of 4 replicas"},
        {"sed -i 's/^timeout.*/timeout = 100ms/' %/d/client/client.conf && "
         "timeout 4 @/d get a",
         3, "0 of 4 replicas"},
        {"@/d status --timeout 200ms --json", 3, "\"reachable\": false"},
        {"@/d up --durability never", 2, "sync, async or memory"},
        {"@/d up --faulty 0=delay=abc", 2, "delay=MS"},
        {"@/d up --faulty 0=silent=1", 2, "0=silent"},
        {"@/d up --faulty 0=censor=1", 2, "clients of"},
        {"@/d up --faulty 4=silent", 2, "0 to 3"},
        {"@/d up --pbftd /bin", 2, "no program"},
        {"@/d up --pbftd /none", 2, "cannot run"},
        {"ls %/d/node-0/pbftd.pid", 2, NULL},
        {"mkdir %/k && cp %/d/cluster.conf %/k && @/k snapshot restore %/f --to %/r", 2,
         "no node to restore"},
        {"chmod 644 %/d/client/key && @/d get a", 4, "0600"},
    };
    char dir[] = "/tmp/pbft-cli-XXXXXX", out[64], command[128];
    cr_assert_not_null(mkdtemp(dir));
    CHECK_ALL(dir, lines);
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    char shell[] = "/bin/sh", option[] = "-c";
    cr_assert_eq(live_run((char *[]){shell, option, command, NULL}, out, sizeof out), 0);
}

Test(cli, verbs_answer_as_their_help_says, .timeout = 600)
{
    static const struct line lines[] = {
        {"@ put k v", 0, "OK"},
        {"test \"$(@ get k)\" = v", 0, NULL},
        {"@ get none", 1, "no key 'none'"},
        {"@ get none --json", 1, "\"not_found\""},
        {"@ del none", 1, "no key"},
        {"@ cas k x y", 1, "another value"},
        {"@ cas --absent k y", 1, "exists already"},
        {"@ cas none x y", 1, "does not exist"},
        {"@ cas k v w && @ get k", 0, "w"},
        /* Behind "--" nothing is an option, wherever it stands; "--" itself is no value then. */
        {"@ put k -- --json && @ get k", 0, "--json"},
        {"@ put -- k --timeout && @ get k", 0, "--timeout"},
        {"@ put k -5 && @ get k", 0, "-5"},
        {"@ cas k -- -5 -6 && @ get k", 0, "-6"},
        {"@ put -- k -- && @ get k", 0, "--"},
        {"@ put k", 2, "number of arguments"},
        {"@ put '' v", 5, "refused"},
        {"printf 'a\\nb' | @ put k - && @ get k --json", 0, "\"a\\nb\""},
        {"printf '\\377' | @ put k - && @ get k --json", 0, "\"value_base64\":\"/w==\""},
        {"@ range '' --limit 0", 2, "--limit"},
        {"@ range k --json", 0, "\"more\":false"},
        /* An answer that could not be written was not given, however long it is. */
        {"head -c 100000 /dev/zero | tr '\\0' x | @ put big - && @ get big > /dev/full", 1,
         "cannot write"},
        {"@ get k > /dev/full", 1, "cannot write"},
        {"@ evidence list", 0, NULL},
        {"@ evidence show 7", 1, "no evidence"},
        {"echo x > %/x && @ evidence verify %/x", 4, "refused"},
        {"echo x > %/client/client.epochs; @ evidence verify %/x; c=$?; "
         "rm %/client/client.epochs; exit $c",
         4, "client.epochs was not used"},
        {"@ up", 1, "running already"},
        {"@ status", 0, "healthy"},
    };
    struct live l;
    live_start(&l, 4, 1, NULL, NULL, NULL);
    CHECK_ALL(l.dir, lines);
    live_stop(&l);
}

/* Sixteen sessions over one connection to each replica, or over several, or one for each. */
Test(cli, bench_shares_connections_between_its_clients, .timeout = 600)
{
    static const struct line lines[] = {
        {"\"$BENCH\" --cluster % --clients 16 --inflight 4 --reads 30 --keys 50 --seconds 1 --json "
         "-",
         0, "\"conns\": 1,"},
        {"\"$BENCH\" --cluster % --clients 16 --conns 3 --seconds 0 --ops 300 --json - | "
         "grep -c -e '\"conns\": 3,' -e '\"errors\": 0,' -e '\"wrong_replies\": 0,'",
         0, "3\n"},
        {"PBFT_CLUSTER=% \"$BENCH\" --clients 2 --conns 2 --seconds 0 --ops 50", 0, " 0 errors"},
        {"\"$BENCH\" --cluster % --clients 2 --conns 3", 2, "more --conns"},
        {"\"$BENCH\" --cluster % --clients 300 --conns 1", 2, "at most 256"},
        {"env -u PBFT_CLUSTER \"$BENCH\"", 2, "PBFT_CLUSTER"},
    };
    struct live l;
    cr_assert_eq(setenv("BENCH", live_bin("pbft-bench"), 1), 0);
    live_start(&l, 4, 2, NULL, NULL, NULL);
    CHECK_ALL(l.dir, lines);
    live_stop(&l);
}

/* The kernel tells the nodes, perhaps several times at once; each ends by its own rules and takes
 * its pid file along (whether the process is gone cannot be asked: nobody may have reaped it). */
Test(cli, nodes_end_cleanly_when_up_is_killed, .timeout = 300)
{
    struct live l;
    live_start(&l, 4, 1, NULL, NULL, NULL);
    cr_assert_eq(kill(l.up, SIGKILL), 0);
    cr_assert_eq(waitpid(l.up, NULL, 0), l.up);
    l.up = 0;
    char path[256];
    unsigned left = 4;
    for (unsigned rounds = 0; left > 0 && rounds < 50; rounds++) {
        live_sleep_ms(100);
        left = 0;
        for (unsigned node = 0; node < 4; node++) {
            (void)snprintf(path, sizeof path, "%s/node-%u/pbftd.pid", l.dir, node);
            if (access(path, F_OK) == 0) left++;
        }
    }
    cr_expect_eq(left, 0u, "%u nodes left their pid file in %s", left, l.dir);
    char command[512], out[64], shell[] = "/bin/sh", option[] = "-c";
    (void)snprintf(command, sizeof command, "rm -r '%.*s' '%s'", (int)(strlen(l.dir) - 2), l.dir,
                   l.log);
    if (left == 0)
        cr_expect_eq(live_run((char *[]){shell, option, command, NULL}, out, sizeof out), 0);
}
