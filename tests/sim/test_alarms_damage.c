/* A replica whose state changed (fixture_damage.c, FAULTS 4.24): what it must not do, and what its
 * report must say. */
#include "tests/sim/test_alarms.h"

#include "crypto/hash.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ENOUGH (SIM_SECOND * 60)
#define ID     2u

struct damaged {
    struct sim *sim;
    struct pbft_faults *faults;
    struct pbft_node_hooks hooks;
};

/* After `flip_at` sequence numbers a bit of its state flips. */
static void start(struct damaged *t, unsigned flip_at)
{
    struct sim_options o = sim_defaults(4, 1, 3);
    o.byzantine = pbft_signers_of(ID);
    t->sim = sim_new(&o);
    struct pbft_faults_config config = {.cluster = sim_cluster(t->sim),
                                        .id = ID,
                                        .keypair = sim_replica_key(t->sim, ID),
                                        .signer = o.signer,
                                        .pool = sim_pool(t->sim)};
    char error[256] = "", spec[32];
    (void)snprintf(spec, sizeof spec, "flip-state=%u", flip_at);
    t->faults = pbft_faults_new(spec, &config, error);
    cr_assert_not_null(t->faults, "%s", error);
    t->hooks = pbft_faults_hooks(t->faults);
    sim_set_hooks(t->sim, ID, &t->hooks);
    sim_damaged(t->sim, ID, t->faults);
}

static void ends(struct damaged *t, const char *words)
{
    rings(t->sim, words);
    pbft_faults_free(t->faults);
}

static void healthy(struct damaged *t)
{
    start(t, 1000000);
    sim_load(t->sim, 0, 60, SIM_MIX);
    cr_assert(sim_run_until(t->sim, sim_loads_done, NULL, ENOUGH), "%s", sim_failure(t->sim));
}

static bool is_repaired(struct sim *sim, void *context)
{
    (void)context;
    return sim_repaired(sim, ID) > 0 && sim_check_repaired(sim, ID);
}

static void repaired(struct damaged *t)
{
    start(t, 6);
    for (unsigned i = 0; i < 40 && sim_noticed(t->sim, ID) == 0; i++) {
        sim_load(t->sim, 0, 10, SIM_MIX);
        cr_assert(sim_run_until(t->sim, sim_loads_done, NULL, ENOUGH), "%s", sim_failure(t->sim));
    }
    cr_assert(sim_run_until(t->sim, is_repaired, NULL, ENOUGH), "%s", sim_failure(t->sim));
}

/* ---- what it does ---- */

static struct pbft_effect gives_up(pbft_seq seq)
{
    struct pbft_effect e = {.kind = PBFT_EFFECT_TRANSFER};
    e.transfer.seq = e.transfer.diverged = seq;
    return e;
}
Test(alarms, damage_that_never_was)
{
    struct damaged t;
    healthy(&t);
    struct pbft_effect e = gives_up(8);
    decides(t.sim, ID, &e);
    ends(&t, "FAULTS 4.24: replica 2 says that its state at 8 is wrong");
}
Test(alarms, damage_after_its_repair)
{
    struct damaged t;
    repaired(&t);
    struct pbft_effect e = gives_up(8);
    decides(t.sim, ID, &e);
    ends(&t, "is wrong again at 8, after its repair");
}
Test(alarms, an_execution_on_a_state_that_is_given_up)
{
    struct damaged t;
    healthy(&t);
    struct pbft_effect e[2] = {gives_up(8), {.kind = PBFT_EFFECT_EXECUTE}};
    struct pbft_effects effects = {e, 2, 2};
    e[0].transfer.diverged = 0;
    e[1].execute.seq = 9;
    struct node *n = &t.sim->nodes[ID];
    n->hooks.effects(n->hooks.context, n->node, &effects);
    ends(&t, "executes 9 on a state that is given up");
}

/* It signs this root where the others have another one. */
static void signs_wrong(struct damaged *t)
{
    says(t->sim, ID, sim_checkpoint(t->sim, ID, sim_info(t->sim, ID).core.stable, &some));
}
Test(alarms, a_wrong_root_after_the_repair)
{
    struct damaged t;
    repaired(&t);
    t.sim->nodes[ID].signed_wrong = 0; /* what it signed before it says again */
    signs_wrong(&t);
    ends(&t, "after its repair");
}
Test(alarms, a_wrong_root_that_is_not_noticed)
{
    struct damaged t;
    healthy(&t);
    signs_wrong(&t);
    (void)sim_run_for(t.sim, SIM_SECOND);
    ends(&t, "does not notice that its root");
}

/* ---- what it tells ---- */

/* About the one key that changed: the state that is right has `certified`, it has `ours`. */
static void reports(struct damaged *t, const struct pbft_digest *certified,
                    const struct pbft_digest *ours, unsigned bits)
{
    const struct pbft_damage *d = pbft_faults_damage(t->faults);
    char key[2 * PBFT_TREE_KEY_MAX + 1], sides[2][2 * PBFT_DIGEST_BYTES + 1], json[2048];
    pbft_hex_encode(d->key, d->key_size, key);
    pbft_hex_encode(certified->bytes, sizeof certified->bytes, sides[0]);
    pbft_hex_encode(ours->bytes, sizeof ours->bytes, sides[1]);
    int size =
        snprintf(json, sizeof json,
                 "{\"seq\":8,\"compared_with\":8,\"entries\":{\"changed\":1},\"keys\":[{"
                 "\"key\":\"%s\",\"certified\":{\"digest\":\"%s\"},\"ours\":{\"digest\":\"%s\"},"
                 "\"bits\":%u,\"first_byte\":%u}]}",
                 bits == 0 ? "" : key, sides[0], sides[1], bits, (unsigned)d->byte);
    cr_assert_eq(damage_report(&t->sim->nodes[ID], 8, json, (size_t)size), PBFT_STATUS_OK);
}
Test(alarms, a_report_of_nothing)
{
    struct damaged t;
    repaired(&t);
    cr_assert_eq(damage_report(&t.sim->nodes[ID], 8, "{", 1), PBFT_STATUS_OK);
    ends(&t, "the report of replica 2 is none");
}
Test(alarms, a_report_without_the_key)
{
    struct damaged t;
    repaired(&t);
    reports(&t, &some, &some, 0);
    ends(&t, "does not name the key");
}
Test(alarms, a_report_that_takes_one_side_for_the_other)
{
    struct damaged t;
    repaired(&t);
    reports(&t, &some, &pbft_faults_damage(t.faults)->before, 1);
    ends(&t, "takes the certified value for its own");
}
Test(alarms, a_report_of_another_bit)
{
    struct damaged t;
    repaired(&t);
    reports(&t, &pbft_faults_damage(t.faults)->before, &some, 2);
    ends(&t, "does not say which bit");
}
