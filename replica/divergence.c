/* The report of a divergence: what it says, and how it gets to the disk. */
#include "replica/divergence.h"

#include "crypto/keys.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PREFIX     "divergence-"
#define SUFFIX     ".json"
#define SCRATCH    "divergence.new"
#define NAME_BYTES (sizeof PREFIX + 20u + sizeof SUFFIX)

/* ---- what follows ---- */

enum finding {
    FOUND_NOTHING,   /* our state was not kept */
    FOUND_NO_KEY,    /* that differs; the pages do */
    FOUND_EXECUTION, /* an operation may have led to it */
    FOUND_NO_OPERATION,
    FOUND_DAMAGED, /* a page that is none */
};

static enum finding finding_of(const struct pbft_divergence *d, const struct pbft_diff_result *diff)
{
    if (diff == NULL) return FOUND_NOTHING;
    if (diff->damaged > 0) return FOUND_DAMAGED;
    if (diff->differs_at == UINT64_MAX) return FOUND_NO_KEY;
    return diff->differs_at <= d->agreed ? FOUND_NO_OPERATION : FOUND_EXECUTION;
}

static const char *finding_name(enum finding finding)
{
    switch (finding) {
    case FOUND_NOTHING: return "unknown";
    case FOUND_NO_KEY: return "no_key_differs";
    case FOUND_EXECUTION: return "execution";
    case FOUND_NO_OPERATION: return "no_operation";
    case FOUND_DAMAGED: return "damaged_page";
    }
    return "unknown";
}

static const char *finding_text(enum finding finding)
{
    switch (finding) {
    case FOUND_NOTHING:
        return "Our state at that checkpoint was not kept, so that nothing was compared.";
    case FOUND_NO_KEY:
        return "No key that can be compared differs. Either the pages differ in their shape or "
               "change marks alone, or what differed has been written since (entries.undecided).";
    case FOUND_EXECUTION:
        return "The states differ at differs.at_most, and did not at differs.after: an operation "
               "between them had another effect here, or the state changed underneath. Where one "
               "bit of one key differs (keys[].bits), suspect memory (ECC, dmesg) first; else "
               "a different or non-deterministic service binary.";
    case FOUND_NO_OPERATION:
        return "A key differs that no operation has touched, by either side's change marks, since "
               "the checkpoint at which the states were equal: the state changed underneath. "
               "Suspect memory (ECC, dmesg) or a stray write.";
    case FOUND_DAMAGED:
        return "A page of ours is none any more (pages.damaged): its bytes changed underneath. "
               "What it held counts as only_certified. Suspect memory (ECC, dmesg) or a stray "
               "write.";
    }
    return "";
}

/* ---- JSON ---- */

static json_t *hex(const uint8_t *bytes, size_t size)
{
    char *text = malloc(2 * size + 1);
    if (text == NULL) return NULL;
    pbft_hex_encode(bytes, size, text);
    json_t *value = json_string(text);
    free(text);
    return value;
}

static json_t *digest_value(const struct pbft_digest *digest)
{
    return hex(digest->bytes, sizeof digest->bytes);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static bool put(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0; /* -1 for NULL, too */
}

/* Whose part of the state a key is in (replica/apply_internal.h). */
static const char *space_of(const uint8_t *key, size_t size)
{
    switch (size == 0 ? 0 : key[0]) {
    case 0x10: return "service";
    case 0x20: return "client";
    case 0x30: return "session";
    case 0x40: return "session age";
    case 0x50: return "state";
    case 0x60: return "epoch";
    default: return "unknown";
    }
}

/* As people read it: printable ASCII as it is, the rest as \xNN. */
static json_t *readable(const uint8_t *key, size_t size)
{
    char *text = malloc(4 * size + 1), *at = text;
    if (text == NULL) return NULL;
    for (size_t i = 0; i < size; i++) {
        if (key[i] >= 0x20 && key[i] < 0x7f && key[i] != '\\')
            *at++ = (char)key[i];
        else
            at += sprintf(at, "\\x%02x", key[i]);
    }
    *at = '\0';
    json_t *value = json_string(text);
    free(text);
    return value;
}

static bool put_key(json_t *object, const char *name, const uint8_t *key, size_t size)
{
    char shown[32];
    (void)snprintf(shown, sizeof shown, "%s_text", name);
    return put(object, name, hex(key, size)) && put(object, shown, readable(key, size));
}

static json_t *side_value(const struct pbft_diff_side *side)
{
    json_t *object = json_object();
    bool ok = put(object, "present", json_boolean(side->present)) &&
              put(object, "changed_by", number(side->mark));
    if (ok && side->present)
        ok = put(object, "bytes", number(side->size)) &&
             put(object, "digest", digest_value(&side->digest));
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *key_value(const struct pbft_diff_key *k)
{
    json_t *object = json_object();
    bool ok = put(object, "part", json_string(space_of(k->key, k->key_size))) &&
              put_key(object, "key", k->key, k->key_size) &&
              put(object, "ours", side_value(&k->ours)) &&
              put(object, "certified", side_value(&k->theirs));
    if (ok && k->comparable)
        ok = put(object, "first_byte", number(k->first_byte)) &&
             put(object, "bits", number(k->bits));
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *page_value(const struct pbft_diff_page *p)
{
    json_t *object = json_object();
    bool ok = put(object, "ours", p->in_ours ? digest_value(&p->ours) : json_null()) &&
              put(object, "certified", p->in_theirs ? digest_value(&p->theirs) : json_null()) &&
              put_key(object, "first_key", p->first, p->first_size) &&
              put_key(object, "last_key", p->last, p->last_size);
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static bool put_lists(json_t *object, const struct pbft_diff_result *diff)
{
    json_t *keys = json_array(), *pages = json_array();
    bool ok = put(object, "keys", keys), pages_ok = put(object, "leaves", pages);
    ok = ok && pages_ok;
    for (size_t i = 0; ok && i < diff->key_count; i++)
        ok = json_array_append_new(keys, key_value(&diff->keys[i])) == 0;
    for (size_t i = 0; ok && i < diff->page_count; i++)
        ok = json_array_append_new(pages, page_value(&diff->pages[i])) == 0;
    return ok;
}

static bool put_diff(json_t *object, const struct pbft_divergence *d,
                     const struct pbft_diff_result *diff)
{
    json_t *pages = json_object(), *entries = json_object(), *differs = json_object();
    bool ok = put(object, "differs", differs);
    ok = put(object, "pages", pages) && ok;
    ok = put(object, "entries", entries) && ok;
    if (!ok) return false;
    uint64_t at_most = diff->differs_at < d->seq ? diff->differs_at : d->seq;
    if (finding_of(d, diff) != FOUND_NO_OPERATION && diff->damaged == 0)
        ok = put(differs, "after", number(d->agreed)) && put(differs, "at_most", number(at_most));
    return ok && put(pages, "ours", number(diff->pages_ours)) &&
           put(pages, "certified", number(diff->pages_theirs)) &&
           put(pages, "damaged", number(diff->damaged)) &&
           put(entries, "changed", number(diff->changed)) &&
           put(entries, "only_ours", number(diff->only_ours)) &&
           put(entries, "only_certified", number(diff->only_theirs)) &&
           put(entries, "undecided", number(diff->undecided)) && put_lists(object, diff);
}

static json_t *time_value(uint64_t wall_ns)
{
    char text[32];
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL) return json_null();
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

char *pbft_divergence_json(const struct pbft_divergence *d, const struct pbft_diff_result *diff,
                           size_t *size)
{
    enum finding finding = finding_of(d, diff);
    json_t *root = json_object();
    bool ok = put(root, "version", number(1)) && put(root, "replica", number(d->replica)) &&
              put(root, "epoch", number(d->epoch)) &&
              put(root, "cluster_id", digest_value(&d->cluster_id)) &&
              put(root, "noticed", time_value(d->wall_ns)) &&
              put(root, "after_restart", json_boolean(d->restart)) &&
              put(root, "seq", number(d->seq)) && put(root, "own_root", digest_value(&d->own)) &&
              put(root, "certified_root", digest_value(&d->certified)) &&
              put(root, "agreed", number(d->agreed)) &&
              put(root, "compared_with", number(d->installed)) &&
              put(root, "finding", json_string(finding_name(finding))) &&
              put(root, "text", json_string(finding_text(finding)));
    if (ok && diff != NULL) ok = put_diff(root, d, diff);
    char *text = ok ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    if (text != NULL) *size = strlen(text);
    return text;
}

void pbft_divergence_summary(const struct pbft_divergence *d, const struct pbft_diff_result *diff,
                             char out[PBFT_DIVERGENCE_SUMMARY_BYTES])
{
    enum finding finding = finding_of(d, diff);
    int used = snprintf(out, PBFT_DIVERGENCE_SUMMARY_BYTES,
                        "seq=%" PRIu64 " installed=%" PRIu64 " agreed=%" PRIu64 " finding=%s",
                        d->seq, d->installed, d->agreed, finding_name(finding));
    if (diff == NULL) return;
    size_t at = (size_t)used;
    used = snprintf(out + at, PBFT_DIVERGENCE_SUMMARY_BYTES - at,
                    " pages=%" PRIu64 " changed=%" PRIu64 " only_ours=%" PRIu64
                    " only_certified=%" PRIu64 " undecided=%" PRIu64,
                    diff->pages_ours, diff->changed, diff->only_ours, diff->only_theirs,
                    diff->undecided);
    at += (size_t)used;
    if (diff->key_count == 0) return;
    const struct pbft_diff_key *k = &diff->keys[0];
    char text[2 * 40 + 1]; /* the beginning of the first key says which part of the state */
    pbft_hex_encode(k->key, k->key_size < 40 ? k->key_size : 40, text);
    used = snprintf(out + at, PBFT_DIVERGENCE_SUMMARY_BYTES - at, " first_key=%s part=\"%s\"", text,
                    space_of(k->key, k->key_size));
    at += (size_t)used;
    if (k->comparable)
        (void)snprintf(out + at, PBFT_DIVERGENCE_SUMMARY_BYTES - at, " bits=%" PRIu64, k->bits);
}

/* ---- the disk ---- */

static void name_of(pbft_seq seq, char out[NAME_BYTES])
{
    (void)snprintf(out, NAME_BYTES, PREFIX "%" PRIu64 SUFFIX, seq);
}

/* "divergence-20.json" -> 20; 0: no name of ours. */
static pbft_seq seq_of(const char *name)
{
    size_t prefix = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, prefix) != 0) return 0;
    pbft_seq seq = strtoull(name + prefix, NULL, 10);
    char ours[NAME_BYTES];
    name_of(seq, ours);
    return strcmp(name, ours) == 0 ? seq : 0;
}

struct kept {
    pbft_seq newest; /* is not counted */
    pbft_seq oldest;
    size_t count;
};

static bool see(void *context, const char *name)
{
    struct kept *k = context;
    pbft_seq seq = seq_of(name);
    if (seq == 0 || seq == k->newest) return true;
    if (k->count == 0 || seq < k->oldest) k->oldest = seq;
    k->count++;
    return true;
}

/* What cannot be removed stays. */
static void remove_oldest(struct pbft_disk *disk, pbft_seq newest)
{
    for (;;) {
        struct kept kept = {.newest = newest};
        char name[NAME_BYTES];
        if (disk->ops->list(disk, see, &kept) != PBFT_STATUS_OK) return;
        if (kept.count < PBFT_DIVERGENCES_KEPT) return;
        name_of(kept.oldest, name);
        if (disk->ops->unlink(disk, name) != PBFT_STATUS_OK) return;
    }
}

static enum pbft_status write_scratch(struct pbft_disk *disk, const char *json, size_t size)
{
    struct pbft_disk_file *file;
    (void)disk->ops->unlink(disk, SCRATCH); /* of one that was cut short */
    enum pbft_status status = disk->ops->create(disk, SCRATCH, size, &file);
    if (status != PBFT_STATUS_OK) return status;
    status = disk->ops->write(file, 0, json, size);
    if (status == PBFT_STATUS_OK) status = disk->ops->sync(file);
    disk->ops->close(file);
    return status;
}

enum pbft_status pbft_divergence_save(struct pbft_disk *disk, pbft_seq seq, const char *json,
                                      size_t size)
{
    char name[NAME_BYTES];
    name_of(seq, name);
    enum pbft_status status = write_scratch(disk, json, size);
    if (status == PBFT_STATUS_OK) status = disk->ops->rename(disk, SCRATCH, name);
    if (status != PBFT_STATUS_OK) {
        (void)disk->ops->unlink(disk, SCRATCH);
        return status;
    }
    status = disk->ops->sync_folder(disk);
    if (status == PBFT_STATUS_OK) remove_oldest(disk, seq);
    return status;
}
