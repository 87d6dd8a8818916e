/* Many replicas' answers about themselves into one status. */
#include "client/ctl/status_merge.h"

#include "crypto/keys.h"
#include "pbft/quorum.h"

#include <stdio.h>
#include <string.h>

static bool natural(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

static bool hex_digest(const json_t *object, const char *key, struct pbft_digest *out)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) && json_string_length(value) == 2 * (size_t)PBFT_DIGEST_BYTES &&
           pbft_hex_decode(json_string_value(value), out->bytes, PBFT_DIGEST_BYTES);
}

static bool sensible(const struct pbft_cluster *cluster, pbft_id id, const json_t *object)
{
    struct pbft_digest cluster_id, root;
    const char *role = json_string_value(json_object_get(object, "role"));
    return natural(object, "id") && json_integer_value(json_object_get(object, "id")) == id &&
           hex_digest(object, "cluster_id", &cluster_id) &&
           pbft_digest_equal(&cluster_id, &cluster->id) && role != NULL &&
           (strcmp(role, "primary") == 0 || strcmp(role, "backup") == 0) &&
           natural(object, "epoch") &&
           json_integer_value(json_object_get(object, "epoch")) <= UINT32_MAX &&
           natural(object, "view") && json_is_boolean(json_object_get(object, "view_active")) &&
           natural(object, "last_executed") && natural(object, "stable") &&
           hex_digest(object, "root", &root);
}

json_t *ctl_status_parse(const struct pbft_cluster *cluster, pbft_id id, struct pbft_span answer)
{
    json_t *object =
        json_loadb((const char *)answer.data, answer.size, JSON_REJECT_DUPLICATES, NULL);
    if (object != NULL && json_is_object(object) && sensible(cluster, id, object)) return object;
    json_decref(object);
    return NULL;
}

static pbft_signers claims_of(uint32_t n, const json_t *object)
{
    pbft_signers against = 0;
    const json_t *list = json_object_get(object, "evidence_against");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        json_int_t id = json_integer_value(entry);
        if (json_is_integer(entry) && id >= 0 && id < (json_int_t)n)
            against |= pbft_signers_of((pbft_id)id);
    }
    return against;
}

pbft_signers ctl_status_accused(uint32_t n, json_t *const objects[], pbft_signers *doubtful)
{
    uint32_t accusers[PBFT_REPLICAS_MAX] = {0}, answers = 0;
    for (pbft_id id = 0; id < n; id++) {
        if (objects[id] != NULL) answers++;
        pbft_signers against = objects[id] == NULL ? 0 : claims_of(n, objects[id]);
        for (pbft_id culprit = 0; culprit < n; culprit++)
            if (pbft_signers_has(against, culprit)) accusers[culprit]++;
    }
    pbft_signers accused = 0;
    *doubtful = 0;
    for (pbft_id culprit = 0; culprit < n; culprit++) {
        if (accusers[culprit] >= pbft_quorum_weak(n) && answers >= pbft_quorum(n))
            accused |= pbft_signers_of(culprit);
        else if (accusers[culprit] > 0)
            *doubtful |= pbft_signers_of(culprit);
    }
    return accused;
}

/* ---- notes ---- */

static bool says(const json_t *entry, const char *key, bool value)
{
    const json_t *said = json_object_get(entry, key);
    return json_is_boolean(said) && json_is_true(said) == value;
}

void ctl_status_notes(const json_t *entry, char out[CTL_STATUS_NOTES_BYTES])
{
    static const struct {
        const char *key;
        bool when;
        const char *text;
    } notes[] = {
        {"view_active", false, "changing view"},
        {"transferring", true, "catching up"},
        {"repairing", true, "DIVERGED: its state was not the certified one, which it fetches"},
        {"disk_full", true, "DISK FULL: it goes on by itself when there is room"},
        {"votes_wait", true, "does not vote until then"},
        {"accused", true, "ACCUSED (see `pbftctl evidence list`)"},
    };
    size_t size = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
        if (says(entry, notes[i].key, notes[i].when))
            size += (size_t)snprintf(out + size, CTL_STATUS_NOTES_BYTES - size, "%s%s",
                                     size == 0 ? "" : ", ", notes[i].text);
    if (says(entry, "mute", true))
        size += (size_t)snprintf(out + size, CTL_STATUS_NOTES_BYTES - size,
                                 "%smute (does not vote: `pbftctl replica replace "
                                 "%" JSON_INTEGER_FORMAT "`, unless its log names another way)",
                                 size == 0 ? "" : ", ",
                                 json_integer_value(json_object_get(entry, "id")));
    PBFT_ASSERT(size < CTL_STATUS_NOTES_BYTES);
    if (size == 0) (void)snprintf(out, CTL_STATUS_NOTES_BYTES, "ok");
}

/* ---- progress ---- */

bool ctl_status_bar(const json_t *entry, char out[CTL_STATUS_BAR_BYTES])
{
    enum { WIDTH = 30 };
    const json_t *transfer = json_object_get(entry, "transfer");
    if (!natural(transfer, "seq") || !natural(transfer, "entries") ||
        !natural(transfer, "entries_have") || !natural(transfer, "pages_have"))
        return false;
    json_int_t all = json_integer_value(json_object_get(transfer, "entries"));
    json_int_t have = json_integer_value(json_object_get(transfer, "entries_have"));
    if (have > all) return false;
    double part = all == 0 ? 0 : (double)have / (double)all;
    char bar[WIDTH + 1];
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)(part * WIDTH));
    bar[WIDTH] = '\0';
    (void)snprintf(out, CTL_STATUS_BAR_BYTES,
                   "[%s] %.0f %% of the state at %" JSON_INTEGER_FORMAT " (%" JSON_INTEGER_FORMAT
                   " pages)",
                   bar, 100 * part, json_integer_value(json_object_get(transfer, "seq")),
                   json_integer_value(json_object_get(transfer, "pages_have")));
    return true;
}

/* ---- merging ---- */

static bool active_in(const json_t *object, pbft_epoch *epoch, pbft_view *view)
{
    if (object == NULL || says(object, "mute", true) || says(object, "votes_wait", true) ||
        !says(object, "view_active", true))
        return false;
    *epoch = (pbft_epoch)json_integer_value(json_object_get(object, "epoch"));
    *view = (pbft_view)json_integer_value(json_object_get(object, "view"));
    return true;
}

static void summarize(uint32_t n, json_t *const objects[], struct ctl_status_summary *out)
{
    memset(out, 0, sizeof *out);
    for (pbft_id id = 0; id < n; id++) {
        pbft_view view, other;
        pbft_epoch epoch, its;
        uint32_t count = 0;
        if (objects[id] != NULL) out->reachable++;
        if (!active_in(objects[id], &epoch, &view)) continue;
        for (pbft_id j = 0; j < n; j++)
            if (active_in(objects[j], &its, &other) && its == epoch && other == view) count++;
        bool later = epoch > out->epoch || (epoch == out->epoch && view > out->view);
        if (count < out->active || (count == out->active && !later)) continue;
        out->active = count;
        out->epoch = epoch;
        out->view = view;
    }
    out->healthy = out->active >= pbft_quorum(n);
}

static json_t *entry_of(pbft_id id, json_t *object, bool accused)
{
    json_t *entry = object == NULL ? json_object() : json_deep_copy(object);
    if (entry == NULL || json_object_set_new(entry, "id", json_integer((json_int_t)id)) != 0 ||
        json_object_set_new(entry, "reachable", json_boolean(object != NULL)) != 0 ||
        json_object_set_new(entry, "accused", json_boolean(accused)) != 0) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

json_t *ctl_status_merge(const struct pbft_cluster *cluster, json_t *const objects[],
                         pbft_signers accused, struct ctl_status_summary *summary)
{
    uint32_t n = cluster->params.n;
    char hex[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(cluster->id.bytes, PBFT_DIGEST_BYTES, hex);
    summarize(n, objects, summary);
    json_t *replicas = json_array();
    bool complete = replicas != NULL;
    for (pbft_id id = 0; complete && id < n; id++)
        complete = json_array_append_new(replicas, entry_of(id, objects[id],
                                                            pbft_signers_has(accused, id))) == 0;
    if (!complete) {
        json_decref(replicas);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:b, s:o}", "cluster_id", hex, "n", (json_int_t)n, "f",
                     (json_int_t)pbft_quorum_faults(n), "quorum", (json_int_t)pbft_quorum(n),
                     "healthy", (int)summary->healthy, "replicas", replicas);
}
