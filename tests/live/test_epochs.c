/* PROTOCOL 29: what lies on a replica's disk between two epochs, and after two of them. Durability
 * is sync. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(live_epochs, .timeout = 900);

/* pbftd with the option, and what it says. */
static void expect_said(const struct live *l, unsigned node, const char *option, int expected,
                        const char *said)
{
    static char text[16384];
    char both[1200], sh[] = "/bin/sh", c[] = "-c";
    bool data = strcmp(option, "--check-data") == 0;
    (void)snprintf(both, sizeof both, "'%s' %s '%s/node-%u/%s' 2>&1", live_bin("pbftd"), option,
                   l->dir, node, data ? "data" : "node.conf");
    char *argv[] = {sh, c, both, NULL};
    int code = live_run(argv, text, sizeof text);
    cr_expect_eq(code, expected, "%s ends with %d:\n%s", option, code, text);
    cr_expect_not_null(strstr(text, said), "it does not say '%s':\n%s", said, text);
}

/* As a kill between the two steps leaves it: the epoch has begun, the key was not yet renamed. */
static void undo_the_key(const struct live *l, bool old_key)
{
    live_shell("cd '%s/node-2' && test ! -e key.next && mv key key.next", l->dir);
    if (old_key) live_shell("cp -p '%s/../old-key' '%s/node-2/key'", l->dir, l->dir);
}

Test(live_epochs, a_start_between_the_epoch_and_its_key)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    live_shell("cp -p '%s/node-2/key' '%s/../old-key'", l.dir, l.dir);
    live_replace(&l, 2);
    live_until(&l, 2, "epoch", 1);
    live_kill9(&l, 2);
    live_shell("cp -p '%s/node-2/key' '%s/../new-key'", l.dir, l.dir);
    for (unsigned old_key = 0; old_key < 2; old_key++) {
        undo_the_key(&l, old_key != 0);
        expect_said(&l, 2, "--check-config --config", 0, "ok: replica 2");
        live_shell("cmp '%s/node-2/key.next' '%s/../new-key'", l.dir, l.dir);
        live_restart(&l, 2, NULL);
        live_until(&l, 2, "epoch", 1);
        cr_expect_eq(live_number(&l, 2, "mute"), 0);
        live_shell("cd '%s/node-2' && test ! -e key.next && cmp key ../../new-key", l.dir);
        live_kill9(&l, 2);
    }
    live_restart(&l, 2, NULL);
    live_until(&l, 2, "mute", 0);
    live_expect_votes(&l, 3);
    live_stop(&l);
}

Test(live_epochs, a_next_key_of_nobody_stays_where_it_is)
{
    struct live l;
    live_start_sync(&l, 4, 2);
    live_kill9(&l, 2);
    live_shell("'%s' init '%s/../other' >/dev/null && cp -p '%s/../other/node-0/key' "
               "'%s/node-2/key.next'",
               live_bin("pbftctl"), l.dir, l.dir, l.dir);
    live_restart(&l, 2, NULL);
    live_until(&l, 2, "mute", 0);
    live_replace(&l, 1); /* nor does another epoch want it */
    live_until(&l, 2, "epoch", 1);
    live_kill9(&l, 2);
    live_shell("cmp '%s/node-2/key.next' '%s/../other/node-0/key'", l.dir, l.dir);
    live_shell("echo junk > '%s/node-2/key.next' && chmod 644 '%s/node-2/key.next'", l.dir, l.dir);
    live_restart(&l, 2, NULL);
    live_until(&l, 2, "epoch", 1);
    cr_expect_eq(live_number(&l, 2, "mute"), 0);
    live_shell("grep -q junk '%s/node-2/key.next'", l.dir);
    live_expect_votes(&l, 3);
    live_stop(&l);
}

/* ---- looking at it offline ---- */

static void flip(const struct live *l, unsigned node, const char *name, unsigned at)
{
    live_shell("cd '%s/node-%u/data' && b=$(od -An -tu1 -j%u -N1 %s) && "
               "printf \"\\\\$(printf %%o $((b ^ 64)))\" | "
               "dd of=$(echo %s) bs=1 seek=%u conv=notrunc 2>/dev/null",
               l->dir, node, at, name, name, at);
}

static void good_again(const struct live *l, unsigned node)
{
    live_shell("cd '%s/node-%u' && rm -r data && cp -a good data", l->dir, node);
    expect_said(l, node, "--check-data", 0, "data/epoch-2: ok");
}

Test(live_epochs, check_data_after_two_epochs)
{
    struct live l;
    static char out[4096];
    live_start_sync(&l, 4, 2);
    for (unsigned node = 2; node < 4; node++) {
        live_kill9(&l, node);
        live_shell("sed -i 's/^flush_bytes = .*/flush_bytes = 64KiB/' '%s/node-%u/node.conf'",
                   l.dir, node);
        live_restart(&l, node, NULL);
        live_until(&l, node, "mute", 0);
    }
    live_replace(&l, 1);
    live_replace(&l, 3);
    for (unsigned node = 2; node < 4; node++)
        live_until(&l, node, "epoch", 2);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "status", NULL), 0);
    cr_expect_not_null(strstr(out, " of epoch 2, whose primary is "), "%s", out);
    cr_expect_not_null(strstr(out, "EPOCH"), "%s", out);
    live_fill(&l, 600, 20000);
    live_kill9(&l, 2);
    live_kill9(&l, 3);
    for (unsigned node = 2; node < 4; node++) { /* the same key since genesis, and another one */
        expect_said(&l, node, "--check-data", 0, "a restart would follow all of it");
        expect_said(&l, node, "--check-data", 0, "data/epoch-2: ok");
        live_shell("cd '%s/node-%u' && cp -a data good", l.dir, node);
        static const unsigned places[] = {3, 9, 13, 40, 100, 400, 500, 600};
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            flip(&l, node, "epochs", places[i]);
            expect_said(&l, node, "--check-data", 4, "data/epochs is damaged");
            expect_said(&l, node, "--config", 4, "data/epochs is damaged");
            flip(&l, node, "epochs", places[i]);
        }
        expect_said(&l, node, "--check-data", 0, "data/epoch-2: ok");
        flip(&l, node, "epoch-2/superblock", 40);
        expect_said(&l, node, "--check-data", 4, "the superblock is damaged");
        good_again(&l, node);
        flip(&l, node, "$(ls epoch-2/log-0* | head -n 1)", 1024 + 100);
        expect_said(&l, node, "--check-data", 4, "vote log damaged: ");
        good_again(&l, node);
        live_shell(
            "cd '%s/node-%u/data/epoch-2' && for k in $(seq 16 4 200); do "
            "dd if=/dev/urandom of=pages.mdb bs=4096 seek=$k count=1 conv=notrunc 2>/dev/null; "
            "done",
            l.dir, node);
        expect_said(&l, node, "--check-data", 4, "WRONG: ");
        good_again(&l, node);
        live_restart(&l, node, NULL); /* looking has changed nothing */
        live_until(&l, node, "mute", 0);
    }
    live_expect_votes(&l, 1);
    live_stop(&l);
}
