/* Closed loops: what clients do one operation after the other, out of the seed. */
#include "tests/sim/fixture_clients.h"

#include <string.h>

#define LOAD_KEYS 8u

/* Two families of keys, which ranges and bundles join, and some that stand alone; three values. */
struct swarm_names {
    char key[32], prefix[32];
    const char *value, *expect; /* expect NULL: absent */
};

static const char *swarm_value(struct sim *sim)
{
    static const char *const values[] = {"u", "v", "w"};
    return values[sim_random(sim, 3)];
}

static void swarm_names(struct sim *sim, uint64_t family, struct swarm_names *out)
{
    static const char families[] = "aabbk";
    char letter = families[family % 5];
    snprintf(out->key, sizeof out->key, "%c%u", letter, (unsigned)sim_random(sim, 4));
    if (letter == 'k' || sim_random(sim, 4) == 0)
        snprintf(out->prefix, sizeof out->prefix, "%s", out->key);
    else
        snprintf(out->prefix, sizeof out->prefix, "%c", letter);
    out->value = swarm_value(sim);
    const struct key_history *k = check_key(sim, out->key);
    const struct version *v = &k->versions[k->count - 1];
    out->expect = v->present ? v->value : NULL; /* a good guess, but often too old */
    if (sim_random(sim, 4) == 0) out->expect = swarm_value(sim);
    if (sim_random(sim, 8) == 0) out->expect = NULL;
}

static void swarm_part(struct sim *sim, const struct swarm_names *names, struct sim_part *out)
{
    uint64_t dice = sim_random(sim, 16);
    *out = (struct sim_part){.kind = SIM_PUT, .key = names->key, .value = names->value};
    if (dice >= 15) {
        out->kind = SIM_RANGE_ORDERED;
        out->key = names->prefix;
        out->limit = (uint32_t)sim_random(sim, 4);
    } else if (dice >= 13) {
        out->kind = SIM_DELETE;
    } else if (dice >= 10) {
        out->kind = SIM_CAS;
        out->expect = names->expect;
    } else if (dice >= 6) {
        out->kind = SIM_GET_ORDERED;
    }
}

#define SWARM_PARTS_MAX 8u

static void swarm_bundle(struct sim *sim, uint32_t client)
{
    struct swarm_names names[SWARM_PARTS_MAX];
    struct sim_part parts[SWARM_PARTS_MAX];
    uint32_t most = sim->o.params.bundle_max_ops;
    if (most > SWARM_PARTS_MAX) most = SWARM_PARTS_MAX;
    uint32_t count = most < 2 ? most : 2 + (uint32_t)sim_random(sim, most - 1);
    uint64_t family = sim_random(sim, 5);
    bool mixed = sim_random(sim, 8) == 0;
    char expect[SWARM_PARTS_MAX][64];
    for (uint32_t i = 0; i < count; i++) {
        if (mixed) family = sim_random(sim, 5);
        swarm_names(sim, family, &names[i]);
        if (names[i].expect != NULL) { /* the next name may move the key histories */
            snprintf(expect[i], sizeof expect[i], "%s", names[i].expect);
            names[i].expect = expect[i];
        }
        swarm_part(sim, &names[i], &parts[i]);
    }
    sim_bundle(sim, client, parts, count);
}

/* All keys of a family by their names, and as a range: two accounts of one state. */
static void swarm_reads(struct sim *sim, uint32_t client, const struct swarm_names *names)
{
    char key[4][32];
    char prefix[2] = {names->key[0], '\0'};
    struct sim_part parts[5];
    uint32_t most = sim->o.params.bundle_max_ops, count = 0;
    for (; count < 4 && count < most; count++) {
        snprintf(key[count], sizeof key[count], "%c%u", prefix[0], (unsigned)count);
        parts[count] = (struct sim_part){.kind = SIM_GET, .key = key[count]};
    }
    if (count < most) parts[count++] = (struct sim_part){.kind = SIM_RANGE, .key = prefix};
    sim_reads(sim, client, parts, count);
}

static void swarm_one(struct sim *sim, uint32_t client)
{
    struct swarm_names names = {.value = NULL};
    uint64_t dice = sim_random(sim, 100);
    if (sim_random(sim, 16) == 0)
        sim_set_patience(sim, client, SIM_MS + sim_random(sim, 30 * SIM_MS));
    if (dice < 18) {
        swarm_bundle(sim, client);
        sim_set_patience(sim, client, 0);
        return;
    }
    swarm_names(sim, sim_random(sim, 5), &names);
    char expect[64];
    snprintf(expect, sizeof expect, "%s", names.expect == NULL ? "" : names.expect);
    uint32_t limit = (uint32_t)sim_random(sim, 4);
    if (dice < 40)
        sim_put(sim, client, names.key, names.value);
    else if (dice < 58 && sim->op_count % 3 == 0)
        swarm_reads(sim, client, &names);
    else if (dice < 58)
        sim_get(sim, client, names.key, false);
    else if (dice < 64)
        sim_get(sim, client, names.key, true);
    else if (dice < 78)
        sim_cas(sim, client, names.key, names.expect == NULL ? NULL : expect, names.value);
    else if (dice < 86)
        sim_delete(sim, client, names.key);
    else
        sim_range(sim, client, names.prefix, limit, dice >= 96);
    sim_set_patience(sim, client, 0);
}

static void load_one(struct sim *sim, uint32_t client)
{
    struct load *load = &sim->clients[client].load;
    load->left--;
    if (load->mix == SIM_SWARM) {
        swarm_one(sim, client);
        return;
    }
    char key[32], value[64], expect[64];
    snprintf(key, sizeof key, "k%llu", (unsigned long long)sim_random(sim, LOAD_KEYS));
    snprintf(value, sizeof value, "c%u-%llu", client, (unsigned long long)++load->number);
    uint64_t dice = load->mix == SIM_WRITES ? 0 : sim_random(sim, 10);
    if (dice < 4) {
        sim_put(sim, client, key, value);
    } else if (dice < 6) {
        sim_get(sim, client, key, false);
    } else if (dice < 7) {
        sim_get(sim, client, key, true);
    } else if (dice < 9) {
        const struct key_history *k = check_key(sim, key); /* a good guess, but often too old */
        const struct version *v = &k->versions[k->count - 1];
        snprintf(expect, sizeof expect, "%s", v->value);
        sim_cas(sim, client, key, v->present ? expect : NULL, value);
    } else {
        sim_delete(sim, client, key);
    }
}

void client_load_more(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    if (c->loading) return; /* called from within itself */
    c->loading = true;
    c->load_full = false;
    while (!sim->failed && c->load.left > 0 && c->outstanding < sim->o.client_window) {
        load_one(sim, client);
        if (c->load_full) { /* an old request is stuck: the next answer comes back here */
            c->load.left++;
            break;
        }
    }
    c->loading = false;
}

void sim_load(struct sim *sim, uint32_t client, uint64_t count, enum sim_mix mix)
{
    sim->clients[client].load.left += count;
    sim->clients[client].load.mix = mix;
    client_load_more(sim, client);
}
