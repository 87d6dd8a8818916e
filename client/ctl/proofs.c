/* Evidence from all replicas, verified and merged. */
#include "client/ctl/proofs.h"

#include "client/client_files.h"
#include "client/ctl/ask.h"
#include "crypto/epoch_file.h"
#include "pbft/wire.h"
#include "replica/apply.h"
#include "replica/pool.h"
#include "service/kv.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A correct replica keeps one item for each (signer, type), and six types are accusable. */
#define ITEMS_PER_REPLICA_MAX(n) ((size_t)(n)*6u)

/* ---- the cluster ---- */

/* The root follows from parameters and service. Services other than ours are taken to start empty,
 * as all do that have no `genesis` of their own. */
static bool compute_genesis(struct pbft_cluster *cluster)
{
    if (cluster->genesis_seq > 0) return true;
    static const struct pbft_service empty = {.name = "empty"};
    bool ours = strcmp(cluster->service, pbft_kv_service.name) == 0;
    struct pbft_pool *pool = pbft_pool_new(1u << 20);
    if (pool == NULL) return false;
    struct pbft_apply_config config = {cluster, ours ? &pbft_kv_service : &empty,
                                       pbft_pool_frames(pool)};
    struct pbft_apply *apply = pbft_apply_new(&config);
    struct pbft_snapshot *snapshot = apply == NULL ? NULL : pbft_apply_snapshot(apply);
    if (snapshot != NULL) pbft_snapshot_root(snapshot, &cluster->genesis_root);
    pbft_snapshot_release(snapshot);
    pbft_apply_free(apply);
    pbft_pool_free(pool);
    return snapshot != NULL;
}

/* cluster.conf in the folder; or else the one that a client's configuration names: client.conf in
 * the folder, or the file itself. These are the paths that pbft_client_open() takes. */
static enum pbft_status load_public(const char *given, struct pbft_cluster_config *out,
                                    char error[256])
{
    static const char *const names[] = {"/client.conf", ""};
    char path[PBFT_CONFIG_PATH_MAX], ignored[256];
    struct pbft_client_config client;
    (void)snprintf(path, sizeof path, "%s/cluster.conf", given);
    enum pbft_status status = pbft_cluster_config_load(out, path, error);
    if (status != PBFT_STATUS_NOT_FOUND && status != PBFT_STATUS_IO) return status;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s%s", given, names[i]);
        if (pbft_client_config_load(&client, path, ignored) == PBFT_STATUS_OK)
            return pbft_cluster_config_load(out, client.cluster, error);
    }
    return status;
}

int ctl_cluster_load(const struct ctl_options *options, struct pbft_cluster_config *out)
{
    char error[256];
    if (options->cluster == NULL)
        return ctl_fail(CTL_USAGE, "which cluster? Give --cluster DIR, the folder that `pbftctl "
                                   "init` made.");
    if (strlen(options->cluster) > PBFT_CONFIG_PATH_MAX - sizeof "/cluster.conf")
        return ctl_fail(CTL_USAGE, "the path given with --cluster is too long.");
    if (pbft_crypto_init() != PBFT_STATUS_OK)
        return ctl_fail(CTL_REFUSED,
                        "the cryptographic self-test failed: this libsodium cannot be trusted.");
    if (load_public(options->cluster, out, error) != PBFT_STATUS_OK)
        return ctl_fail(CTL_USAGE, "%s.", error);
    if (compute_genesis(&out->cluster)) return CTL_OK;
    pbft_cluster_config_free(out);
    return ctl_fail(CTL_NO, "out of memory.");
}

void ctl_known_epochs(const struct ctl_options *options, const struct pbft_cluster *genesis,
                      struct pbft_cluster *out)
{
    struct pbft_client_files files;
    char error[256];
    *out = *genesis;
    if (pbft_client_files(options->cluster, &files, error) != PBFT_STATUS_OK) return;
    enum pbft_status status = pbft_epoch_file_load(files.epochs, out);
    if (status != PBFT_STATUS_OK && status != PBFT_STATUS_NOT_FOUND)
        (void)ctl_fail(CTL_OK, "%s was not used: %s; keys are judged by genesis alone.",
                       files.epochs, pbft_status_text(status));
}

/* ---- collecting ---- */

/* What one replica showed; only its own thread touches it. */
struct shown {
    struct ctl_proof *items;
    size_t count;
    bool answered, offended, incomplete, no_memory;
};

struct collection {
    struct pbft_client *client;
    const struct pbft_cluster *cluster;
    uint64_t timeout_ns;
    struct shown shown[PBFT_REPLICAS_MAX];
};

static void take_item(struct collection *c, pbft_id from, uint32_t number)
{
    struct shown *s = &c->shown[from];
    struct pbft_answer answer = {0};
    uint8_t argument[4];
    pbft_put_u32(argument, number);
    enum pbft_status status =
        ctl_ask(c->client, from, PBFT_ADMIN_EVIDENCE_GET,
                (struct pbft_span){argument, sizeof argument}, c->timeout_ns, &answer);
    if (status != PBFT_STATUS_OK) {
        s->incomplete = true;
        return;
    }
    struct ctl_proof *proof = &s->items[s->count];
    struct pbft_cluster known;
    memset(proof, 0, sizeof *proof);
    if (pbft_client_configuration(c->client, &known) != PBFT_STATUS_OK) {
        s->no_memory = true;
        pbft_answer_free(&answer);
        return;
    }
    enum pbft_verdict verdict =
        pbft_evidence_verify_known(c->cluster, &known, &pbft_signer_ed25519,
                                   (struct pbft_span){answer.bytes, answer.size}, &proof->what,
                                   proof->text);
    pbft_epoch_free(&known);
    if (verdict != PBFT_OK) {
        s->offended = true;
        pbft_answer_free(&answer);
        return;
    }
    proof->file = malloc(answer.size);
    if (proof->file == NULL) {
        s->no_memory = true;
    } else {
        memcpy(proof->file, answer.bytes, answer.size);
        proof->size = answer.size;
        proof->held_by = pbft_signers_of(from);
        proof->items[from] = number;
        s->count++;
    }
    pbft_answer_free(&answer);
}

static void collect_from(void *context, pbft_id from)
{
    struct collection *c = context;
    struct shown *s = &c->shown[from];
    struct pbft_answer answer = {0};
    enum pbft_status status = ctl_ask(c->client, from, PBFT_ADMIN_EVIDENCE_LIST,
                                      (struct pbft_span){NULL, 0}, c->timeout_ns, &answer);
    if (status != PBFT_STATUS_OK) return;
    s->answered = true;
    json_t *list =
        json_loadb((const char *)answer.bytes, answer.size, JSON_REJECT_DUPLICATES, NULL);
    pbft_answer_free(&answer);
    size_t count = json_array_size(list), most = ITEMS_PER_REPLICA_MAX(c->cluster->params.n);
    if (!json_is_array(list) || count > most) s->offended = true;
    if (count > most) count = most;
    json_decref(list); /* how many there are is all that is believed */
    s->items = count == 0 ? NULL : calloc(count, sizeof *s->items);
    if (count > 0 && s->items == NULL) s->no_memory = true;
    for (size_t i = 0; s->items != NULL && i < count && !s->incomplete; i++)
        take_item(c, from, (uint32_t)i);
}

/* ---- merging ---- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b ? 1 : 0;
}

static int compare(const void *left, const void *right)
{
    const struct ctl_proof *a = left, *b = right;
    int order = compare_u64(a->what.culprit, b->what.culprit);
    if (order == 0) order = compare_u64(a->what.type, b->what.type);
    if (order == 0) order = compare_u64(a->what.view, b->what.view);
    if (order == 0) order = compare_u64(a->what.seq, b->what.seq);
    if (order == 0) order = compare_u64(a->size, b->size);
    return order == 0 ? memcmp(a->file, b->file, a->size) : order;
}

/* Equal neighbours of the sorted list become one. */
static void merge_equal(struct ctl_proofs *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct ctl_proof *proof = &p->items[i];
        if (kept == 0 || compare(&p->items[kept - 1], proof) != 0) {
            p->items[kept++] = *proof;
            continue;
        }
        struct ctl_proof *same = &p->items[kept - 1];
        for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++)
            if (pbft_signers_has(proof->held_by, id)) same->items[id] = proof->items[id];
        same->held_by |= proof->held_by;
        free(proof->file);
    }
    p->count = kept;
}

static bool join(struct ctl_proofs *out, struct collection *c, uint32_t n)
{
    size_t total = 0;
    bool complete = true;
    for (pbft_id id = 0; id < n; id++) {
        const struct shown *s = &c->shown[id];
        total += s->count;
        if (s->answered) out->answered |= pbft_signers_of(id);
        if (s->offended) out->offenders |= pbft_signers_of(id);
        if (s->incomplete) out->missing |= pbft_signers_of(id);
        if (s->no_memory) complete = false;
    }
    out->items = total == 0 ? NULL : calloc(total, sizeof *out->items);
    if (total > 0 && out->items == NULL) complete = false;
    for (pbft_id id = 0; id < n; id++) {
        struct shown *s = &c->shown[id];
        for (size_t i = 0; i < s->count; i++) {
            if (out->items != NULL)
                out->items[out->count++] = s->items[i];
            else
                free(s->items[i].file);
        }
        free(s->items);
    }
    if (out->items != NULL) {
        qsort(out->items, out->count, sizeof *out->items, compare);
        merge_equal(out);
    }
    return complete;
}

bool ctl_proofs_collect(struct ctl_proofs *out, struct pbft_client *client,
                        const struct pbft_cluster *cluster, uint64_t timeout_ns)
{
    memset(out, 0, sizeof *out);
    struct collection *c = calloc(1, sizeof *c);
    if (c == NULL) return false;
    c->client = client;
    c->cluster = cluster;
    c->timeout_ns = timeout_ns;
    ctl_ask_all(cluster->params.n, collect_from, c);
    bool complete = join(out, c, cluster->params.n);
    free(c);
    if (!complete) ctl_proofs_free(out);
    return complete;
}

void ctl_proofs_free(struct ctl_proofs *proofs)
{
    for (size_t i = 0; i < proofs->count; i++)
        free(proofs->items[i].file);
    free(proofs->items);
    memset(proofs, 0, sizeof *proofs);
}

pbft_signers ctl_proofs_culprits(const struct ctl_proofs *proofs)
{
    pbft_signers culprits = 0;
    for (size_t i = 0; i < proofs->count; i++)
        culprits |= pbft_signers_of(proofs->items[i].what.culprit);
    return culprits;
}
