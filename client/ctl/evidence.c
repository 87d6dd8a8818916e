/* pbftctl evidence, pbftctl faults: who lied, the proof of it, and how to make one lie. */
#include "client/ctl/ask.h"
#include "client/ctl/proofs.h"
#include "pbft/wire.h"
#include "replica/faults/faults.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is known of an item ---- */

static const char *kind_text(enum pbft_evidence_kind kind)
{
    return kind == PBFT_EVIDENCE_CHECKPOINT ? "checkpoint" : "conflict";
}

static json_t *what_json(const struct pbft_evidence *e, const char *text, size_t size)
{
    return json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "culprit", (json_int_t)e->culprit,
                     "kind", kind_text(e->kind), "type", pbft_type_text(e->type), "epoch",
                     (json_int_t)e->epoch, "view", (json_int_t)e->view, "seq", (json_int_t)e->seq,
                     "bytes", (json_int_t)size, "text", text);
}

static json_t *proof_json(const struct ctl_proof *proof, size_t number)
{
    json_t *object = what_json(&proof->what, proof->text, proof->size);
    json_t *holders = json_array(), *sources = json_array();
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++) {
        if (!pbft_signers_has(proof->held_by, id)) continue;
        (void)json_array_append_new(holders, json_integer((json_int_t)id));
        (void)json_array_append_new(sources, json_sprintf("%u:%u", (unsigned)id,
                                                          (unsigned)proof->items[id]));
    }
    (void)json_object_set_new(object, "number", json_integer((json_int_t)number));
    (void)json_object_set_new(object, "held_by", holders);
    (void)json_object_set_new(object, "sources", sources);
    return object;
}

static void print_holders(const struct ctl_proof *proof)
{
    const char *comma = "";
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++) {
        if (!pbft_signers_has(proof->held_by, id)) continue;
        (void)printf("%s%u", comma, (unsigned)id);
        comma = ",";
    }
}

static void print_json(json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_INDENT(2));
    (void)putchar('\n');
    json_decref(value);
}

/* ---- list, show, export ---- */

static void warn_about(pbft_signers replicas, const char *what)
{
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++)
        if (pbft_signers_has(replicas, id))
            (void)fprintf(stderr, "pbftctl: replica %u %s.\n", (unsigned)id, what);
}

static int fetch_with(const struct ctl_options *options, const struct pbft_cluster *cluster,
                      struct ctl_proofs *out)
{
    int code = CTL_OK;
    struct pbft_client *client = ctl_open(options, false, &code);
    if (client == NULL) return code;
    bool complete = ctl_proofs_collect(out, client, cluster, ctl_ask_timeout(options));
    if (!complete)
        code = ctl_fail(CTL_NO, "out of memory.");
    else if (out->answered == 0)
        code = ctl_nobody(client);
    pbft_client_close(client);
    if (!complete) return code;
    warn_about(out->offenders, "offered an item that proves nothing; it is left out");
    warn_about(out->missing, "did not hand over all its items in time");
    if (code != CTL_OK) ctl_proofs_free(out);
    return code;
}

static int fetch(const struct ctl_options *options, struct ctl_proofs *out)
{
    struct pbft_cluster_config config;
    int code = ctl_cluster_load(options, &config);
    if (code != CTL_OK) return code;
    code = fetch_with(options, &config.cluster, out);
    pbft_cluster_config_free(&config);
    return code;
}

static int list_all(const struct ctl_options *options, char **argv)
{
    (void)argv;
    struct ctl_proofs proofs = {0};
    int code = fetch(options, &proofs);
    if (code != CTL_OK) return code;
    json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; i < proofs.count; i++) {
        const struct ctl_proof *proof = &proofs.items[i];
        if (options->json) {
            (void)json_array_append_new(list, proof_json(proof, i));
            continue;
        }
        (void)printf("%zu  %s (%zu bytes, held by ", i, proof->text, proof->size);
        print_holders(proof);
        (void)printf(")\n");
    }
    if (options->json)
        print_json(list);
    else if (proofs.count == 0)
        (void)fprintf(stderr, "pbftctl: no replica holds evidence against another.\n");
    ctl_proofs_free(&proofs);
    return CTL_OK;
}

/* "3", a position in the list, or "1:0", item 0 of replica 1. NULL: there is none. */
static const struct ctl_proof *find(const struct ctl_proofs *proofs, const char *name,
                                    size_t *number)
{
    unsigned replica = 0, item = 0;
    int used = 0;
    bool by_source = sscanf(name, "%5u:%9u%n", &replica, &item, &used) == 2 && name[used] == '\0';
    bool by_position = !by_source && sscanf(name, "%9u%n", &item, &used) == 1 && name[used] == '\0';
    for (size_t i = 0; i < proofs->count; i++) {
        const struct ctl_proof *proof = &proofs->items[i];
        bool match =
            by_source ? pbft_signers_has(proof->held_by, replica) && proof->items[replica] == item
                      : by_position && i == item;
        if (!match) continue;
        *number = i;
        return proof;
    }
    return NULL;
}

static int no_such(const char *name)
{
    return ctl_fail(CTL_NO,
                    "there is no evidence with the number '%.40s': see `pbftctl evidence "
                    "list`.",
                    name);
}

static int show_one(const struct ctl_options *options, char **argv)
{
    struct ctl_proofs proofs = {0};
    size_t number = 0;
    int code = fetch(options, &proofs);
    if (code != CTL_OK) return code;
    const struct ctl_proof *proof = find(&proofs, argv[0], &number);
    if (proof == NULL) {
        code = no_such(argv[0]);
    } else if (options->json) {
        print_json(proof_json(proof, number));
    } else {
        const struct pbft_evidence *e = &proof->what;
        (void)printf("%s\n  number   %zu\n  culprit  %u\n  kind     %s\n  type     %s\n"
                     "  epoch    %u\n  view     %llu\n  seq      %llu\n  bytes    %zu\n  held by  ",
                     proof->text, number, (unsigned)e->culprit, kind_text(e->kind),
                     pbft_type_text(e->type), (unsigned)e->epoch, (unsigned long long)e->view,
                     (unsigned long long)e->seq, proof->size);
        print_holders(proof);
        (void)printf("\nBoth signatures were checked here. `pbftctl evidence export %zu FILE` "
                     "keeps it.\n",
                     number);
    }
    ctl_proofs_free(&proofs);
    return code;
}

static int write_file(const char *path, const struct ctl_proof *proof)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) return ctl_fail(CTL_USAGE, "cannot write %s: %s.", path, strerror(errno));
    bool ok = fwrite(proof->file, 1, proof->size, file) == proof->size;
    ok = fclose(file) == 0 && ok;
    if (!ok) return ctl_fail(CTL_NO, "%s was not written completely: %s.", path, strerror(errno));
    return CTL_OK;
}

static int export_one(const struct ctl_options *options, char **argv)
{
    struct ctl_proofs proofs = {0};
    size_t number = 0;
    int code = fetch(options, &proofs);
    if (code != CTL_OK) return code;
    const struct ctl_proof *proof = find(&proofs, argv[0], &number);
    if (proof == NULL) {
        code = no_such(argv[0]);
    } else if ((code = write_file(argv[1], proof)) == CTL_OK) {
        if (options->json)
            print_json(proof_json(proof, number));
        else
            (void)printf("%s: %zu bytes: %s\n", argv[1], proof->size, proof->text);
    }
    ctl_proofs_free(&proofs);
    return code;
}

/* ---- verify: offline ---- */

/* One byte more than an item may have is enough to see that it has too many. */
static uint8_t *read_file(const char *path, size_t *size)
{
    size_t most = (size_t)PBFT_EVIDENCE_MAX_BYTES + 1;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)ctl_fail(CTL_USAGE, "cannot read %s: %s.", path, strerror(errno));
        return NULL;
    }
    uint8_t *bytes = NULL, *grown;
    size_t capacity = 0;
    *size = 0;
    do {
        capacity = capacity == 0 ? 65536 : capacity * 2;
        if (capacity > most) capacity = most;
        grown = realloc(bytes, capacity);
        if (grown == NULL) break;
        bytes = grown;
        *size += fread(bytes + *size, 1, capacity - *size, file);
    } while (*size == capacity && capacity < most);
    bool failed = grown == NULL || ferror(file) != 0;
    (void)fclose(file);
    if (!failed) return bytes;
    free(bytes);
    (void)ctl_fail(CTL_USAGE, "cannot read %s.", path);
    return NULL;
}

static int verify_file(const struct ctl_options *options, char **argv)
{
    struct pbft_cluster_config config;
    int code = ctl_cluster_load(options, &config);
    if (code != CTL_OK) return code;
    size_t size = 0;
    uint8_t *bytes = read_file(argv[0], &size);
    if (bytes == NULL) {
        pbft_cluster_config_free(&config);
        return CTL_USAGE;
    }
    struct pbft_evidence e;
    struct pbft_cluster known;
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    ctl_known_epochs(options, &config.cluster, &known);
    pbft_epoch newest = known.epoch;
    enum pbft_verdict verdict =
        pbft_evidence_verify_known(&config.cluster, &known, &pbft_signer_ed25519,
                                   (struct pbft_span){bytes, size}, &e, text);
    pbft_epoch_free(&known);
    free(bytes);
    pbft_cluster_config_free(&config);
    if (options->json) {
        json_t *object = verdict == PBFT_OK ? what_json(&e, text, size)
                                            : json_pack("{s:s, s:s}", "verdict",
                                                        pbft_verdict_text(verdict), "text", text);
        (void)json_object_set_new(object, "valid", json_boolean(verdict == PBFT_OK));
        print_json(object);
    } else if (verdict == PBFT_OK) {
        (void)printf("valid: %s\n", text);
    }
    if (verdict == PBFT_OK && e.epoch > newest)
        (void)ctl_fail(CTL_OK,
                       "epoch %u is not known here, where the last one is %u: the file's own "
                       "proofs lead there.",
                       (unsigned)e.epoch, (unsigned)newest);
    if (verdict == PBFT_OK) return CTL_OK;
    return ctl_fail(CTL_REFUSED, "%s is refused: %s.", argv[0], text);
}

/* ---- the verbs ---- */

static int run_evidence(const struct ctl_options *options, int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        int (*run)(const struct ctl_options *options, char **argv);
    } verbs[] = {
        {"list", 0, list_all},
        {"show", 1, show_one},
        {"verify", 1, verify_file},
        {"export", 2, export_one},
    };
    const struct ctl_command *command = &ctl_evidence_commands[0];
    if (argc < 2) return ctl_usage(command, "say what to do: list, show, verify or export");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, argv[1]) != 0) continue;
        if (argc != 2 + verbs[i].arguments)
            return ctl_usage(command, verbs[i].arguments == 0   ? "list takes no arguments"
                                      : verbs[i].arguments == 1 ? "one argument is needed"
                                                                : "a number and a file are needed");
        return verbs[i].run(options, argv + 2);
    }
    return ctl_usage(command, "there are list, show, verify and export");
}

static int run_faults(const struct ctl_options *options, int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "list") != 0)
        return ctl_usage(&ctl_evidence_commands[1], "there is `faults list`");
    json_t *list = options->json ? json_array() : NULL;
    for (const struct pbft_fault_strategy *s = pbft_fault_strategies; s->name != NULL; s++) {
        if (options->json) {
            (void)json_array_append_new(list, json_pack("{s:s, s:s?, s:s}", "name", s->name,
                                                        "argument", s->argument, "text", s->text));
            continue;
        }
        char spec[64];
        (void)snprintf(spec, sizeof spec, "%s%s%s", s->name, s->argument == NULL ? "" : "=",
                       s->argument == NULL ? "" : s->argument);
        (void)printf("%-18s %s\n", spec, s->text);
    }
    if (options->json) print_json(list);
    return CTL_OK;
}

const struct ctl_command ctl_evidence_commands[] = {
    {"evidence", "evidence list [--json] | show N | verify FILE | export N FILE",
     "signed proof that a replica lied",
     "list, show and export ask the replicas and check every signature here; N is a position in\n"
     "the list, or REPLICA:ITEM. verify needs no replica: only FILE and the cluster.conf of\n"
     "--cluster DIR. It exits 0 when the proof holds, 4 when it is refused. Signatures are judged\n"
     "by the keys of their epoch; where the client of DIR has followed the epochs "
     "(client.epochs),\n"
     "FILE's have to be the same. A replica keeps what it holds in memory: export what is to\n"
     "outlast it.\n"
     "Example: pbftctl --cluster d evidence export 0 proof && pbftctl --cluster d evidence verify "
     "proof",
     run_evidence},
    {"faults", "faults list [--json]", "the ways in which a replica can be made to lie",
     "Example: pbftctl up d --faulty 0=equivocate", run_faults},
    {NULL, NULL, NULL, NULL, NULL},
};
