/* pbftd-faulty: a replica with a real core that lies. For tests and demonstrations, never for
 * service. */
#include "crypto/keys.h"
#include "replica/faults/faults.h"
#include "replica/pbft_replica.h"
#include "service/kv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LATER            "@USR2" /* behind a strategy: honest until that signal comes */
#define SPEC_BYTES       64u
#define DAMAGE_KEY_BYTES 128u /* longer keys are not shown */

struct liar {
    struct pbft_faults *faults; /* NULL without --fault: then it is an honest pbftd */
    char spec[SPEC_BYTES];
    struct pbft_node_hooks hooks; /* of the strategy */
};

static volatile sig_atomic_t lying;

static void lie_now(int signal_number)
{
    (void)signal_number;
    lying = 1;
}

static bool outbound(void *context, struct pbft_node *node, const struct pbft_peer *to,
                     struct pbft_frame *frame)
{
    const struct liar *liar = context;
    return lying == 0 || liar->hooks.outbound(liar->hooks.context, node, to, frame);
}

static bool inbound(void *context, struct pbft_node *node, const struct pbft_peer *from,
                    struct pbft_frame *frame)
{
    const struct liar *liar = context;
    return lying == 0 || liar->hooks.inbound(liar->hooks.context, node, from, frame);
}

/* The strategy alone; whether it has to wait for the signal. */
static bool split(struct liar *liar, const char *value)
{
    (void)snprintf(liar->spec, sizeof liar->spec, "%s", value);
    size_t size = strlen(liar->spec), tail = strlen(LATER);
    if (size < tail || strcmp(liar->spec + size - tail, LATER) != 0) return false;
    liar->spec[size - tail] = '\0';
    return true;
}

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
    bool later = split(liar, value);
    liar->faults = pbft_faults_new(liar->spec, &config, error);
    if (liar->faults == NULL) return false;
    liar->hooks = pbft_faults_hooks(liar->faults);
    *hooks = (struct pbft_node_hooks){.context = liar, .outbound = outbound, .inbound = inbound};
    struct sigaction action = {.sa_handler = lie_now, .sa_flags = SA_RESTART};
    (void)sigaction(SIGUSR2, &action, NULL);
    if (!later) lying = 1;
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
    struct liar liar = {0};
    struct pbft_replica_extension extension = {
        .context = &liar,
        .option = "fault",
        .option_argument = "STRATEGY",
        .option_help = "lie: see `pbftctl faults list`; STRATEGY@USR2: once that signal comes",
        .start = start,
        .tick = tick,
        .deadline = deadline,
        .metrics = metrics,
        .stop = stop,
    };
    return pbft_replica_main_with(argc, argv, &pbft_kv_service, &extension);
}
