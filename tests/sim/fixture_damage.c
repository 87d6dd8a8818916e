/* FAULTS 2.20, 4.24: an honest replica whose state changes underneath it. It counts against f, for
 * what it says may be wrong; but it has to notice at the first certified checkpoint where its root
 * is another one, to execute nothing until it is repaired, and to tell what had changed. */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void sim_damaged(struct sim *sim, pbft_id id, const struct pbft_faults *faults)
{
    PBFT_ASSERT(!sim_is_correct(sim, id));
    sim->nodes[id].damaged = faults;
}

uint64_t sim_noticed(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].noticed;
}

uint64_t sim_repaired(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].repaired;
}

static const struct pbft_damage *damage_of(const struct node *n)
{
    return n->damaged == NULL ? NULL : pbft_faults_damage(n->damaged);
}

/* ---- what it does ---- */

static void on_transfer(struct sim *sim, struct node *n, const struct pbft_effect *e)
{
    n->replacing = true;
    memset(n->wrong_roots, 0, sizeof n->wrong_roots);
    if (e->transfer.diverged == 0) return; /* behind: what is wrong goes with the state */
    if (damage_of(n) == NULL)
        sim_fail(sim, "FAULTS 4.24: replica %u says that its state at %llu is wrong, and it is not",
                 n->id, (unsigned long long)e->transfer.diverged);
    if (n->noticed > n->noticed_before)
        sim_fail(sim, "FAULTS 4.24: replica %u is wrong again at %llu, after its repair", n->id,
                 (unsigned long long)e->transfer.diverged);
    n->noticed++;
    n->signed_wrong = n->signed_last;
    reach(sim, SIM_REACH_DIVERGENCE);
}

/* It leaves when it is on the disk, which may be after what is wrong was noticed. */
static void on_send(struct node *n, const struct pbft_frame *frame)
{
    struct pbft_claim claim;
    if (frame->bytes[0] == PBFT_CHECKPOINT &&
        pbft_wire_peek(pbft_frame_span(frame), &claim) == PBFT_OK && claim.sender == n->id &&
        claim.seq > n->signed_last)
        n->signed_last = claim.seq;
}

void damage_effects(struct sim *sim, struct node *n, const struct pbft_effects *effects)
{
    if (n->damaged == NULL) return;
    struct pbft_core_info info;
    pbft_core_info(pbft_node_core(n->node), &info);
    if (!info.transferring) n->replacing = false; /* what follows the new state may be executed */
    for (size_t i = 0; i < effects->count; i++) {
        const struct pbft_effect *e = &effects->items[i];
        if (e->kind == PBFT_EFFECT_SEND) on_send(n, e->send.frame);
        if (e->kind == PBFT_EFFECT_TRANSFER) on_transfer(sim, n, e);
        if (e->kind == PBFT_EFFECT_EXECUTE && n->replacing)
            sim_fail(sim, "FAULTS 4.24: replica %u executes %llu on a state that is given up",
                     n->id, (unsigned long long)e->execute.seq);
    }
}

/* The roots that it signs, not what it tells a returning replica of that one's own (PROTOCOL 29).
 * What it signed before it was repaired it says again, byte for byte. */
void damage_outbound(struct sim *sim, struct node *n, const struct pbft_frame *frame)
{
    struct pbft_claim claim;
    if (n->damaged == NULL || frame->bytes[0] != PBFT_CHECKPOINT ||
        pbft_wire_peek(pbft_frame_span(frame), &claim) != PBFT_OK || claim.sender != n->id)
        return;
    struct pbft_digest key;
    key_numbers(&key, claim.seq, 0, 0, 0);
    const struct map_entry *root = map_find(&sim->roots, &key);
    if (root == NULL || pbft_digest_equal(&root->value, &claim.digest)) return;
    if (claim.seq <= n->signed_wrong || n->replacing) return;
    if (n->noticed > 0)
        sim_fail(sim, "FAULTS 4.24: replica %u signs a wrong root for %llu after its repair", n->id,
                 (unsigned long long)claim.seq);
    else
        n->wrong_roots[claim.seq / sim->o.params.checkpoint_interval % WRONG_ROOTS] = claim.seq;
}

void damage_check(struct sim *sim, struct node *n)
{
    if (n->damaged == NULL || n->node == NULL) return;
    struct pbft_core_info info;
    pbft_core_info(pbft_node_core(n->node), &info);
    if (!info.transferring) n->replacing = false;
    /* One that never was certified itself is no sign: an operation may have mended the state. */
    pbft_seq wrong = n->wrong_roots[info.stable / sim->o.params.checkpoint_interval % WRONG_ROOTS];
    if (wrong != 0 && wrong == info.stable)
        sim_fail(sim,
                 "FAULTS 4.24: replica %u does not notice that its root for %llu is not the "
                 "certified one",
                 n->id, (unsigned long long)wrong);
}

/* Its log begins anew, and what it signed in the old epoch is over. */
void damage_epoch(struct node *n)
{
    n->replacing = false;
    memset(n->wrong_roots, 0, sizeof n->wrong_roots);
    n->signed_last = n->signed_wrong = 0;
    n->repaired = n->noticed_before =
        n->noticed; /* by what the epoch begins with; or it is noticed again */
}

bool sim_check_repaired(struct sim *sim, pbft_id id)
{
    const struct node *n = &sim->nodes[id];
    if (n->noticed == 0) return true;
    struct pbft_node_info info = sim_info(sim, id);
    return info.diverged == 0 && !info.core.transferring && n->repaired >= n->noticed;
}

/* ---- what it tells ---- */

static const json_t *named(json_t *report, const struct pbft_damage *d)
{
    char key[2 * PBFT_TREE_KEY_MAX + 1];
    pbft_hex_encode(d->key, d->key_size, key);
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(report, "keys"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "key")), key) == 0) return entry;
    }
    return NULL;
}

static json_int_t number_at(const json_t *object, const char *a, const char *b)
{
    return json_integer_value(json_object_get(json_object_get(object, a), b));
}

static bool is_digest(const json_t *entry, const char *side, const struct pbft_digest *digest)
{
    char text[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(digest->bytes, sizeof digest->bytes, text);
    const char *found = json_string_value(json_object_get(json_object_get(entry, side), "digest"));
    return found != NULL && strcmp(found, text) == 0;
}

/* Is the entry in the agreed state what it was before the bit flipped? Then it has to be named. */
static bool untouched(const struct sim *sim, const struct pbft_damage *d)
{
    struct pbft_span value;
    struct pbft_digest now;
    if (!pbft_tree_get(pbft_apply_tree(sim->oracle), (struct pbft_span){d->key, d->key_size},
                       &value, NULL))
        return false;
    pbft_hash(&now, "pbft-value", &value, 1);
    return pbft_digest_equal(&now, &d->before);
}

static void judge_report(struct sim *sim, const struct node *n, json_t *report)
{
    const struct pbft_damage *d = damage_of(n);
    const json_t *entry = d == NULL ? NULL : named(report, d);
    json_int_t count = number_at(report, "entries", "changed") +
                       number_at(report, "entries", "only_ours") +
                       number_at(report, "entries", "only_certified");
    bool same = json_integer_value(json_object_get(report, "compared_with")) ==
                json_integer_value(json_object_get(report, "seq"));
    bool must = d != NULL && n->noticed == 1 && same && count <= (json_int_t)PBFT_DIFF_KEYS &&
                json_object_get(report, "keys") != NULL && untouched(sim, d);
    if (!must) return;
    if (entry == NULL)
        sim_fail(sim, "FAULTS 4.24: replica %u does not name the key that has changed", n->id);
    else if (!is_digest(entry, "certified", &d->before) || is_digest(entry, "ours", &d->before))
        sim_fail(sim, "FAULTS 4.24: replica %u takes the certified value for its own", n->id);
    else if (json_integer_value(json_object_get(entry, "bits")) != 1 ||
             json_integer_value(json_object_get(entry, "first_byte")) != d->byte)
        sim_fail(sim, "FAULTS 4.24: replica %u does not say which bit has changed", n->id);
    else
        reach(sim, SIM_REACH_DAMAGE_NAMED);
}

enum pbft_status damage_report(void *context, pbft_seq seq, const char *json, size_t size)
{
    struct node *n = context;
    json_t *report = json_loadb(json, size, 0, NULL);
    if (report == NULL || json_integer_value(json_object_get(report, "seq")) != (json_int_t)seq)
        sim_fail(n->sim, "FAULTS 4.24: the report of replica %u is none", n->id);
    else if (!n->dying)
        judge_report(n->sim, n, report);
    json_decref(report);
    return PBFT_STATUS_OK;
}
