/* Rows of whole clusters, n = 4: all that four replicas and the clients do for an ordered operation
 * or a fast read. With Ed25519, where verification is nearly everything, and with fast signatures,
 * where only the engine's own work is left. */
#include "bench/regression/nodes.h"
#include "bench/regression/regression.h"

#define KEYS 10000u

struct row {
    const char *name;
    const struct pbft_signer *signer;
    uint32_t clients, bundle;
    uint32_t requests;   /* of each client */
    bool has_checkpoint; /* long enough for one */
};

/* What runs once, sessions and the first batches, is not counted. */
#define WARM_UP 4u

static void ordered(const struct row *row)
{
    struct nodes_options o = {.signer = row->signer,
                              .clients = row->clients,
                              .bundle = row->bundle,
                              .keys = KEYS};
    struct nodes *nodes = nodes_new(&o);
    nodes_put(nodes, WARM_UP);
    pbft_seq stable = nodes_stable(nodes);
    count_begin();
    nodes_put(nodes, row->requests);
    count_end(row->name, (uint64_t)row->clients * row->requests * row->bundle);
    must((nodes_stable(nodes) > stable) == row->has_checkpoint,
         "an ordered row has another number of checkpoints than it should");
    nodes_free(nodes);
}

static void reads(const char *row, uint32_t clients, uint32_t bundle)
{
    enum { READS = 100 };
    struct nodes_options o = {.signer = &pbft_signer_fast,
                              .clients = clients,
                              .bundle = bundle,
                              .keys = KEYS};
    struct nodes *nodes = nodes_new(&o);
    nodes_put(nodes, WARM_UP);
    uint64_t batches = nodes_batches(nodes);
    count_begin();
    nodes_read(nodes, READS);
    count_end(row, (uint64_t)clients * READS * bundle);
    must(nodes_batches(nodes) == batches, "a fast read was ordered");
    nodes_free(nodes);
}

void rows_ordered(void)
{
    static const struct row rows[] = {
        {"ordered-1", &pbft_signer_fast, 16, 1, 128, true},
        {"ordered-64", &pbft_signer_fast, 4, 64, 64, true},
        {"ordered-1-ed25519", &pbft_signer_ed25519, 16, 1, 8, false},
        {"ordered-64-ed25519", &pbft_signer_ed25519, 4, 64, 16, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ordered(&rows[i]);
    reads("read-1", 16, 1);
    reads("read-64", 4, 64);
}
