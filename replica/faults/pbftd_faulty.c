/* pbftd-faulty: a replica with a real core that lies. For tests and demonstrations, never for
 * service. */
#include "crypto/keys.h"
#include "replica/faults/faults.h"
#include "replica/pbft_replica.h"
#include "service/kv.h"

#include <stdio.h>

#define DAMAGE_KEY_BYTES 128u /* longer keys are not shown */

struct liar {
    struct pbft_faults *faults; /* NULL without --fault: then it is an honest pbftd */
    const char *spec;
};

static bool start(void *context, const char *value, const struct pbft_replica_identity *identity,
                  struct pbft_node_hooks *hooks, char error[256])
{
    struct liar *liar = context;
    if (value == NULL) return true;
    struct pbft_faults_config config = {.cluster = identity->cluster,
                                        .id = identity->id,
                                        .keypair = identity->keypair,
                                        .signer = identity->signer,
                                        .pool = identity->pool};
    liar->faults = pbft_faults_new(value, &config, error);
    if (liar->faults == NULL) return false;
    liar->spec = value;
    *hooks = pbft_faults_hooks(liar->faults);
    return true;
}

static void tick(void *context, struct pbft_node *node, uint64_t now_ns)
{
    struct liar *liar = context;
    if (liar->faults != NULL) pbft_faults_tick(liar->faults, node, now_ns);
}

static uint64_t deadline(void *context)
{
    struct liar *liar = context;
    return liar->faults == NULL ? UINT64_MAX : pbft_faults_deadline(liar->faults);
}

static size_t metrics(void *context, char *out, size_t capacity)
{
    struct liar *liar = context;
    if (liar->faults == NULL) return 0;
    int size = snprintf(out, capacity,
                        "# HELP pbft_fault_acts_total Lies told, withheld, delayed or repeated.\n"
                        "# TYPE pbft_fault_acts_total counter\n"
                        "pbft_fault_acts_total{strategy=\"%s\"} %llu\n",
                        liar->spec, (unsigned long long)pbft_faults_acts(liar->faults));
    const struct pbft_damage *d = pbft_faults_damage(liar->faults);
    if (size < 0 || d == NULL || d->key_size > DAMAGE_KEY_BYTES || (size_t)size >= capacity)
        return size < 0 ? 0 : (size_t)size;
    char key[2 * DAMAGE_KEY_BYTES + 1];
    pbft_hex_encode(d->key, d->key_size, key);
    int more = snprintf(out + size, capacity - (size_t)size,
                        "# HELP pbft_fault_damage_info Whose value has a flipped bit, and where; "
                        "the value is the last sequence number before.\n"
                        "# TYPE pbft_fault_damage_info gauge\n"
                        "pbft_fault_damage_info{key=\"%s\",byte=\"%u\"} %llu\n",
                        key, (unsigned)d->byte, (unsigned long long)d->seq);
    return (size_t)size + (more < 0 ? 0 : (size_t)more);
}

static void stop(void *context)
{
    struct liar *liar = context;
    pbft_faults_free(liar->faults);
    liar->faults = NULL;
}

int main(int argc, char **argv)
{
    struct liar liar = {NULL, NULL};
    struct pbft_replica_extension extension = {
        .context = &liar,
        .option = "fault",
        .option_argument = "STRATEGY",
        .option_help = "lie: see `pbftctl faults list`",
        .start = start,
        .tick = tick,
        .deadline = deadline,
        .metrics = metrics,
        .stop = stop,
    };
    return pbft_replica_main_with(argc, argv, &pbft_kv_service, &extension);
}
