/* One configuration follows another: which there are, who is in which, and how those who are behind
 * hear of it (PROTOCOL 29). As over real channels, whose handshakes name the epoch: whoever meets
 * somebody of another one is told, or tells. */
#include "tests/sim/fixture_internal.h"

#include "crypto/replace.h"

#include <stdlib.h>
#include <string.h>

static bool judges(struct sim *sim, struct epoch *e, const struct pbft_cluster *cluster)
{
    struct pbft_door_config door = {.cluster = cluster,
                                    .signer = sim->o.signer,
                                    .cache_entries = 16};
    e->cluster = cluster;
    e->door = pbft_door_new(&door);
    e->reply_door = pbft_door_new(&door);
    e->recheck = recheck_new(cluster, sim->o.signer);
    return e->door != NULL && e->reply_door != NULL;
}

bool epochs_start(struct sim *sim)
{
    sim->epoch_count = 1;
    return judges(sim, &sim->epochs[0], &sim->cluster);
}

void epochs_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->epoch_count; i++) {
        struct epoch *e = &sim->epochs[i];
        pbft_door_free(e->door);
        pbft_door_free(e->reply_door);
        recheck_free(e->recheck);
        if (i > 0) pbft_epoch_free(&e->owned);
    }
}

struct epoch *epoch_of(struct sim *sim, pbft_epoch epoch)
{
    return &sim->epochs[epoch < sim->epoch_count ? epoch : 0];
}

struct epoch *epoch_of_frame(struct sim *sim, const struct pbft_frame *frame)
{
    return epoch_of(sim, frame->size < PBFT_WIRE_HEADER_BYTES ? 0 : pbft_get_u32(frame->bytes + 4));
}

/* FAULTS 3.1 for configurations: there is one after each. */
static bool same_configuration(const struct pbft_cluster *a, const struct pbft_cluster *b)
{
    return a->epoch == b->epoch && a->genesis_seq == b->genesis_seq &&
           pbft_digest_equal(&a->genesis_root, &b->genesis_root) &&
           memcmp(a->replicas, b->replicas, sizeof a->replicas) == 0;
}

const struct pbft_cluster *epoch_after(struct sim *sim, pbft_epoch from, struct pbft_span proof)
{
    struct pbft_cluster next;
    enum pbft_verdict verdict =
        pbft_epoch_next(sim->epochs[from].cluster, sim->o.signer, proof, &next);
    if (verdict != PBFT_OK) {
        sim_fail(sim, "PROTOCOL 29: a proof of epoch %u is none: %s", (unsigned)from + 1,
                 pbft_verdict_text(verdict));
        return NULL;
    }
    struct epoch *e = &sim->epochs[from + 1];
    if (from + 1 < sim->epoch_count) {
        if (!same_configuration(e->cluster, &next))
            sim_fail(sim, "PROTOCOL 29: two configurations of epoch %u", (unsigned)next.epoch);
        pbft_epoch_free(&next);
        return e->cluster;
    }
    PBFT_ASSERT(from + 1 < EPOCHS_MAX);
    struct pbft_digest root;
    if (!sim_executed(sim, next.genesis_seq, &root))
        sim_fail(sim, "PROTOCOL 29: epoch %u begins behind what was executed",
                 (unsigned)next.epoch);
    e->owned = next;
    bool made = judges(sim, e, &e->owned);
    PBFT_ASSERT(made);
    sim->epoch_count++;
    sim_tell_fault(sim, "epoch %u begins at %llu", (unsigned)next.epoch,
                   (unsigned long long)next.genesis_seq);
    reach(sim, SIM_REACH_EPOCH);
    return e->cluster;
}

/* ---- telling ---- */

static void tell(struct sim *sim, enum event_kind kind, uint32_t to, uint64_t incarnation)
{
    struct event e = {.at_ns =
                          sim->now_ns + sim_between(sim, sim->o.delay_min_ns, sim->o.delay_max_ns),
                      .kind = kind,
                      .to = to,
                      .incarnation = incarnation};
    sim_push(sim, &e);
}

static void tell_node(struct sim *sim, struct node *n, pbft_epoch known)
{
    if (n->node == NULL || n->told || known <= n->epoch) return;
    n->told = true;
    reach(sim, SIM_REACH_EPOCH_TOLD);
    tell(sim, EVENT_TOLD, n->place, n->incarnation);
}

static void tell_client(struct sim *sim, uint32_t client, pbft_epoch known)
{
    struct client *c = &sim->clients[client];
    if (c->told || known <= c->epoch) return;
    c->told = true;
    tell(sim, EVENT_TOLD_CLIENT, client, 0);
}

void epochs_meet(struct sim *sim, const struct event *e)
{
    struct node *n = &sim->nodes[e->to];
    if (e->from_client) {
        tell_client(sim, e->from, n->epoch);
        tell_node(sim, n, sim->clients[e->from].epoch);
        return;
    }
    struct node *from = &sim->nodes[e->from];
    tell_node(sim, n, from->epoch);
    tell_node(sim, from, n->epoch);
}

void client_told(struct sim *sim, uint32_t client)
{
    struct client *c = &sim->clients[client];
    c->told = false;
    if (c->epoch + 1 < sim->epoch_count)
        client_epoch(sim, client, sim->epochs[c->epoch + 1].cluster);
}

/* ---- replacing a key ---- */

void epoch_keypair(const struct sim *sim, pbft_id id, pbft_epoch epoch, struct pbft_keypair *out)
{
    uint8_t seed[32] = {0};
    pbft_put_u64(seed, sim->o.seed);
    pbft_put_u32(seed + 8, id);
    pbft_put_u32(seed + 12, epoch);
    pbft_keypair_from_seed(out, seed);
}

size_t sim_replace(struct sim *sim, uint32_t client, pbft_id id)
{
    const struct pbft_cluster *cluster = sim->epochs[sim->clients[client].epoch].cluster;
    struct pbft_keypair keypair;
    uint8_t op[PBFT_REPLACE_OP_BYTES];
    epoch_keypair(sim, id, cluster->epoch + 1, &keypair);
    pbft_replace_encode(cluster, id, &keypair, op);
    sim_tell_fault(sim, "client %u replaces the key of replica %u", client, id);
    bool loading = sim->clients[client].loading;
    size_t before = sim->op_count;
    sim->clients[client].loading = true; /* a full window is no failure */
    size_t number = sim_submit(sim, client, (struct pbft_span){op, sizeof op});
    sim->clients[client].loading = loading;
    return sim->op_count > before ? number : SIZE_MAX;
}

pbft_epoch sim_epoch(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].epoch;
}
