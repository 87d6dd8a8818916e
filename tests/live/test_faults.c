/* Every strategy of replica/faults, on the primary and on a backup of a real cluster under load:
 * the act counter is above zero, every acknowledged write reads back, no wrong result is returned,
 * and the correct replicas' roots are equal. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Give `node` its turn as a new primary: stop whoever is primary for longer than a time-out, do not
 * kill it, until the liar has acted. (To ask whether it is the primary would be too late: the
 * others leave a liar at once.) */
static void force_turn(const struct live *l, unsigned node)
{
    for (unsigned turn = 0; turn < 12; turn++) {
        pid_t stopped = live_pid(l, live_primary(l));
        cr_assert_eq(kill(stopped, SIGSTOP), 0);
        live_sleep_ms(1200);
        cr_assert_eq(kill(stopped, SIGCONT), 0);
        live_sleep_ms(300);
        if (live_metric(l, node, "pbft_fault_acts_total") > 0) return;
    }
}

static void with_strategy(const char *strategy, unsigned node, bool force_view_change)
{
    struct live l;
    char faulty[64];
    snprintf(faulty, sizeof faulty, "%u=%s", node, strategy);
    live_start(&l, 4, 4, faulty, NULL, NULL);
    struct live_load load;
    live_load_start(&load, &l, "2", "2", "5", "30");
    struct live_writer *writer = live_writer_start(&l, 3);
    if (force_view_change) {
        live_sleep_ms(1000);
        force_turn(&l, node);
    }
    live_sleep_ms(3000);
    json_t *result = live_load_finish(&load);
    /* A busy machine may not have come to what it lies about, a checkpoint for instance. */
    for (unsigned i = 0; i < 900 && live_metric(&l, node, "pbft_fault_acts_total") <= 0; i++)
        live_sleep_ms(100);
    live_writer_until(writer, 21);
    unsigned lost, wrong;
    double longest_ms;
    unsigned acknowledged = live_writer_finish(writer, &lost, &longest_ms, &wrong);
    double acts = live_metric(&l, node, "pbft_fault_acts_total");
    fprintf(stderr, "%s: %.0f acts, %u writes acknowledged, longest wait %.0f ms\n", faulty, acts,
            acknowledged, longest_ms);
    if (acts <= 0) live_dump_log(&l);
    cr_expect_gt(acts, 0.0, "%s: it never had the chance", faulty);
    cr_expect_gt(acknowledged, 20, "%s", faulty);
    cr_expect_eq(lost, 0, "%s: %u acknowledged writes were lost", faulty, lost);
    cr_expect_eq(wrong, 0, "%s", faulty);
    cr_expect_not_null(result, "%s", faulty);
    cr_expect_eq(json_integer_value(json_object_get(result, "wrong")), 0, "%s", faulty);
    json_decref(result);
    cr_expect(live_roots_agree(&l, 0), "%s", faulty);
    live_stop(&l);
}

static bool set(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] != '\0' && value[0] != '0';
}

/* On the first primary and on a backup; on every node with PBFT_FAULT_NODES=1, on the backup alone
 * with PBFT_LIVE_BRIEF=1 (sanitizers). */
static void on_nodes(const char *strategy)
{
    unsigned first = set("PBFT_LIVE_BRIEF") ? 1 : 0, last = set("PBFT_FAULT_NODES") ? 3 : 1;
    for (unsigned node = first; node <= last; node++)
        with_strategy(strategy, node, false);
}

/* Strategies of a primary: node 0 is the first one; node 1 (with PBFT_FAULT_NODES=1: every other)
 * becomes it by forced view changes. `first`: it can act out as the first primary, too. */
static void on_primaries(const char *strategy, bool first)
{
    if (first && !set("PBFT_LIVE_BRIEF")) with_strategy(strategy, 0, false);
    for (unsigned node = first ? 1 : 0; node < 4; node++)
        if (node == 1 || set("PBFT_FAULT_NODES")) with_strategy(strategy, node, true);
}

Test(live_faults, silent)
{
    on_nodes("silent");
}
Test(live_faults, equivocate)
{
    on_primaries("equivocate", true);
}
Test(live_faults, lie_reply)
{
    on_nodes("lie-reply");
}
Test(live_faults, wrong_digest)
{
    on_nodes("wrong-digest");
}
Test(live_faults, bad_signature)
{
    on_nodes("bad-signature");
}
Test(live_faults, censor)
{
    on_nodes("censor=1");
}
Test(live_faults, delay)
{
    on_nodes("delay=20");
}
Test(live_faults, replay)
{
    on_nodes("replay");
}
Test(live_faults, forge_new_view)
{
    on_primaries("forge-new-view", false);
}
Test(live_faults, wrong_checkpoint)
{
    on_nodes("wrong-checkpoint");
}

/* An equivocating primary leaves proof, which verifies, and does not with any one bit changed. */
Test(live_faults, equivocation_leaves_proof)
{
    struct live l;
    static char out[65536];
    char proof[256], forged[256];
    live_start(&l, 4, 2, "0=equivocate", NULL, NULL);
    struct live_load load;
    live_load_start(&load, &l, "2", "2", "3", "0");
    json_decref(live_load_finish(&load));
    snprintf(proof, sizeof proof, "%s/proof", l.dir);
    snprintf(forged, sizeof forged, "%s/forged", l.dir);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "evidence", "list", NULL), 0);
    cr_expect_gt(strlen(out), 0);
    cr_assert_eq(live_ctl(&l, out, sizeof out, "evidence", "export", "0", proof, NULL), 0);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "evidence", "verify", proof, NULL), 0);

    FILE *file = fopen(proof, "rb");
    cr_assert_not_null(file);
    size_t size = fread(out, 1, sizeof out, file);
    fclose(file);
    for (size_t bit = 3; bit < size * 8; bit += size / 2 * 8 / 5 + 1) {
        out[bit / 8] = (char)(out[bit / 8] ^ (1 << bit % 8));
        file = fopen(forged, "wb");
        cr_assert_eq(fwrite(out, 1, size, file), size);
        fclose(file);
        cr_expect_eq(live_ctl(&l, NULL, 0, "evidence", "verify", forged, NULL), 4, "bit %zu", bit);
        out[bit / 8] = (char)(out[bit / 8] ^ (1 << bit % 8));
    }
    live_stop(&l);
}
