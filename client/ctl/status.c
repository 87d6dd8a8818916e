/* pbftctl status: what each replica says of itself, side by side. */
#include "client/ctl/ask.h"
#include "client/ctl/proofs.h"
#include "client/ctl/status_merge.h"
#include "pbft/quorum.h"
#include "pbft/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS_MAX 4u /* of questions, if the configuration changes meanwhile */

struct inquiry {
    struct pbft_client *client;
    const struct pbft_cluster *cluster;
    uint64_t timeout_ns;
    bool asked[PBFT_REPLICAS_MAX];
    uint32_t epochs[PBFT_REPLICAS_MAX]; /* of the client when it asked */
    json_t *objects[PBFT_REPLICAS_MAX]; /* NULL: no answer that makes sense */
    bool nonsense[PBFT_REPLICAS_MAX];
};

/* An answer that may be a replaced key's: the client has heard of a later epoch since it asked. */
static bool stale(const struct inquiry *q, pbft_id id)
{
    return (q->objects[id] != NULL || q->nonsense[id]) &&
           q->epochs[id] != pbft_client_epoch(q->client);
}

static void inquire(void *context, pbft_id id)
{
    struct inquiry *q = context;
    struct pbft_answer answer = {0};
    if (q->asked[id] && !stale(q, id)) return;
    q->asked[id] = true;
    json_decref(q->objects[id]);
    q->objects[id] = NULL;
    q->nonsense[id] = false;
    q->epochs[id] = pbft_client_epoch(q->client);
    if (ctl_ask(q->client, id, PBFT_ADMIN_STATUS, (struct pbft_span){NULL, 0}, q->timeout_ns,
                &answer) != PBFT_STATUS_OK)
        return;
    q->objects[id] =
        ctl_status_parse(q->cluster, id, (struct pbft_span){answer.bytes, answer.size});
    q->nonsense[id] = q->objects[id] == NULL;
    pbft_answer_free(&answer);
}

/* Everybody, under one configuration. */
static void inquire_all(struct inquiry *q)
{
    uint32_t n = q->cluster->params.n;
    bool again = true;
    for (unsigned round = 0; again && round < ROUNDS_MAX; round++) {
        again = false;
        ctl_ask_all(n, inquire, q);
        for (pbft_id id = 0; id < n; id++)
            again = stale(q, id) || again;
    }
    for (pbft_id id = 0; again && id < n; id++) {
        if (!stale(q, id)) continue;
        json_decref(q->objects[id]);
        q->objects[id] = NULL;
    }
}

/* Who is accused by more than liars, or by evidence that we have seen ourselves (PROTOCOL 38). */
static pbft_signers find_accused(const struct ctl_options *options, const struct inquiry *q)
{
    pbft_signers doubtful;
    pbft_signers accused = ctl_status_accused(q->cluster->params.n, q->objects, &doubtful);
    if (doubtful == 0) return accused;
    struct pbft_cluster_config config;
    if (ctl_cluster_load(options, &config) != CTL_OK) return accused;
    struct ctl_proofs proofs;
    if (ctl_proofs_collect(&proofs, q->client, &config.cluster, q->timeout_ns)) {
        accused |= ctl_proofs_culprits(&proofs);
        ctl_proofs_free(&proofs);
    }
    pbft_cluster_config_free(&config);
    return accused;
}

/* ---- for people ---- */

static void print_table(const json_t *status, const struct ctl_status_summary *s)
{
    uint32_t n = (uint32_t)json_integer_value(json_object_get(status, "n"));
    (void)printf("cluster %.16s: %s. n = %u, f = %u, quorum %u; %u reachable, %u active",
                 json_string_value(json_object_get(status, "cluster_id")),
                 s->healthy ? "healthy" : "NOT HEALTHY", (unsigned)n,
                 (unsigned)pbft_quorum_faults(n), (unsigned)pbft_quorum(n), (unsigned)s->reachable,
                 (unsigned)s->active);
    if (s->active > 0)
        (void)printf(" in view %" PRIu64 " of epoch %u, whose primary is %u", s->view,
                     (unsigned)s->epoch, (unsigned)pbft_primary(n, s->view));
    (void)printf("\n");
    (void)printf("%-3s %-8s %5s %8s %12s %12s  %-16s  %s\n", "ID", "ROLE", "EPOCH", "VIEW",
                 "EXECUTED", "STABLE", "STATE ROOT", "NOTES");
    const json_t *replicas = json_object_get(status, "replicas");
    for (size_t i = 0; i < json_array_size(replicas); i++) {
        const json_t *r = json_array_get(replicas, i);
        if (!json_is_true(json_object_get(r, "reachable"))) {
            (void)printf("%-3zu %-8s %5s %8s %12s %12s  %-16s  no answer%s\n", i, "-", "-", "-",
                         "-", "-", "-",
                         json_is_true(json_object_get(r, "accused")) ? ", ACCUSED" : "");
            continue;
        }
        (void)printf("%-3zu %-8s %5" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT
                     " %12" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT "  %.16s  ",
                     i, json_string_value(json_object_get(r, "role")),
                     json_integer_value(json_object_get(r, "epoch")),
                     json_integer_value(json_object_get(r, "view")),
                     json_integer_value(json_object_get(r, "last_executed")),
                     json_integer_value(json_object_get(r, "stable")),
                     json_string_value(json_object_get(r, "root")));
        char notes[CTL_STATUS_NOTES_BYTES], bar[CTL_STATUS_BAR_BYTES];
        ctl_status_notes(r, notes);
        (void)printf("%s\n", notes);
        if (ctl_status_bar(r, bar)) (void)printf("    %s\n", bar);
    }
}

static int report(const struct ctl_options *options, struct inquiry *q)
{
    struct ctl_status_summary summary;
    for (pbft_id id = 0; id < q->cluster->params.n; id++)
        if (q->nonsense[id])
            (void)fprintf(stderr, "pbftctl: replica %u answered what makes no sense.\n",
                          (unsigned)id);
    json_t *status = ctl_status_merge(q->cluster, q->objects, find_accused(options, q), &summary);
    if (status == NULL) return ctl_fail(CTL_NO, "out of memory.");
    if (options->json) {
        (void)json_dumpf(status, stdout, JSON_INDENT(2));
        (void)putchar('\n');
    } else {
        print_table(status, &summary);
    }
    json_decref(status);
    if (summary.reachable == 0) return ctl_nobody(q->client);
    return summary.healthy ? CTL_OK : CTL_NO;
}

static int run_status(const struct ctl_options *options, int argc, char **argv)
{
    int code = CTL_OK;
    if (argc > 1) {
        (void)argv;
        return ctl_usage(&ctl_status_commands[0], "status takes no arguments");
    }
    struct pbft_client *client = ctl_open(options, false, &code);
    if (client == NULL) return code;
    struct inquiry q = {.client = client,
                        .cluster = pbft_client_cluster(client),
                        .timeout_ns = ctl_ask_timeout(options)};
    inquire_all(&q);
    code = report(options, &q);
    for (pbft_id id = 0; id < q.cluster->params.n; id++)
        json_decref(q.objects[id]);
    pbft_client_close(client);
    return code;
}

const struct ctl_command ctl_status_commands[] = {
    {"status", "status [--json]",
     "what each replica says of itself, and whether the cluster is well",
     "Each line is the word of that replica alone; a replica counts as accused when f+1 of a "
     "quorum\n"
     "say so, or when evidence against it verifies here. Exit code 0 when a quorum is active in "
     "one\n"
     "view, 1 when not, 3 when nobody answers.\n"
     "Example: pbftctl --cluster d status --json | jq '.replicas[].view'",
     run_status},
    {NULL, NULL, NULL, NULL, NULL},
};
