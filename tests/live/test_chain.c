/* pbft-chain: real miners, gossip between processes, and what verify says of a file. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @ is pbft-chain, % a folder of the test's own. Returns the exit status. */
static int shell(const char *dir, const char *text, char *out, size_t capacity)
{
    char command[2048] = "", program[512];
    size_t used = 0;
    (void)snprintf(program, sizeof program, "%s", live_bin("pbft-chain"));
    for (const char *at = text; *at != '\0'; at++) {
        const char one[2] = {*at, '\0'}, *piece = *at == '@' ? program : *at == '%' ? dir : one;
        used += (size_t)snprintf(command + used, sizeof command - used, "%s", piece);
        cr_assert_lt(used, sizeof command);
    }
    char sh[] = "/bin/sh", option[] = "-c";
    return live_run((char *[]){sh, option, command, NULL}, out, capacity);
}

static void make_folder(char dir[64])
{
    (void)snprintf(dir, 64, "/tmp/pbft-chain-live-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

Test(chain, the_demo_shows_what_it_promises, .timeout = 600)
{
    char dir[64], out[16384];
    make_folder(dir);
    int code =
        shell(dir, "@ demo --seconds 2 --runs 2000 --json %/demo.json 2>&1", out, sizeof out);
    cr_assert_eq(code, 0, "exit code %d: %s", code, out);
    cr_expect_not_null(strstr(out, "Healed: after"), "%s", out);
    char path[128];
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/demo.json", dir);
    json_t *all = json_load_file(path, 0, &error);
    cr_assert_not_null(all);
    cr_expect_gt(json_integer_value(json_object_get(json_object_get(all, "real"), "undone_blocks")),
                 0);
    cr_expect(json_is_true(json_object_get(json_object_get(all, "majority"), "reversed")));
    json_decref(all);
    cr_expect_eq(shell(dir, "rm -r %", out, sizeof out), 0);
}

Test(chain, a_file_is_verified_and_what_is_wrong_is_named, .timeout = 600)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } lines[] = {
        {"@ mine --spacing 100 --start-bits 1f7fffff --rate 100 --blocks 10 --quiet --out %/a", 0,
         NULL},
        {"@ verify %/a", 0, "holds: 10 blocks"},
        {"@ verify --json %/a", 0, "\"valid\": true"},
        {"head -c -1 %/a > %/cut; @ verify %/cut", 4, "ends within"},
        {"cat %/a %/cut > %/longer; @ verify %/longer", 4, "bytes follow"},
        {"head -c 60 %/a > %/x; head -c 8 /dev/zero >> %/x; tail -c +69 %/a >> %/x; @ verify %/x",
         1, "block 1 is wrong (version)"},
        {"head -c 300 /dev/zero > %/zero; @ verify %/zero", 4, "not a chain file"},
        {"@ verify %/none", 2, "No such file"},
        {"@ verify", 2, "one FILE"},
        {"@ verify %", 4, "no file"},
        {"@ mine --spacing 0", 2, "--spacing"},
        {"@ mine --peer nonsense --seconds 1", 3, "address"},
        {"@ mine --start-bits 21ffffff", 2, "--start-bits"},
        {"@ nosuch", 2, "no such command"},
        {"@ demo --runs 1", 2, "--runs"},
        {"@ --help", 0, "Example: "},
    };
    char dir[64], out[8192], command[512];
    make_folder(dir);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        (void)snprintf(command, sizeof command, "{ %s; } 2>&1", lines[i].text);
        int code = shell(dir, command, out, sizeof out);
        cr_expect_eq(code, lines[i].code, "%s: exit code %d, not %d: %s", lines[i].text, code,
                     lines[i].code, out);
        if (lines[i].says != NULL)
            cr_expect_not_null(strstr(out, lines[i].says), "%s: no '%s' in: %s", lines[i].text,
                               lines[i].says, out);
    }
    cr_expect_eq(shell(dir, "rm -r %", out, sizeof out), 0);
}

Test(chain, blocks_and_operations_travel_between_processes, .timeout = 600)
{
    char dir[64], out[8192];
    make_folder(dir);
    /* The one mines what the other's client asks for; the other gets the blocks. */
    int code = shell(dir,
                     "exec 2>&1; @ mine --listen tcp://127.0.0.1:0 --spacing 200 --start-bits "
                     "1f7fffff > %/log & one=$!; "
                     "for i in $(seq 100); do grep -q ready %/log && break; sleep 0.1; done; "
                     "port=$(sed -n 's/^ready on port //p' %/log); "
                     "@ mine --idle --peer tcp://127.0.0.1:$port --spacing 200 --start-bits "
                     "1f7fffff --rate 50 --load-seconds 5 --quiet --seconds 10 --out %/b --json "
                     "%/json; code=$?; "
                     "kill $one; wait $one; @ verify --json %/b && exit $code",
                     out, sizeof out);
    cr_assert_eq(code, 0, "exit code %d: %s", code, out);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/json", dir);
    json_t *all = json_load_file(path, 0, NULL);
    cr_assert_not_null(all);
    cr_expect_eq(json_integer_value(json_object_get(all, "mined")), 0);
    cr_expect_gt(json_integer_value(json_object_get(all, "final")), 0);
    json_decref(all);
    cr_expect_eq(shell(dir, "rm -r %", out, sizeof out), 0);
}
