/* The disk under a vote log, until the engine has one of its own: an image of bytes, of which a
 * crash keeps what was synced, and of the rest what it likes (FAULTS 2.38 to 2.40, 3.6). */
#include "tests/sim/fixture_internal.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_HEAD 24u /* size u32, kind u32, lsn u64, checksum u64; then the payload */

struct disk {
    struct pbft_log base;
    struct pbft_log *inner;
    struct node *node;
    uint8_t *image;
    size_t size, capacity;
    size_t synced;     /* bytes that no crash takes away */
    size_t committing; /* bytes that the sync under way covers; 0: none */
    size_t asked;
    size_t shown; /* to note_synced() */
    bool broken;
};

static struct disk *disk_of(struct pbft_log *log)
{
    return (struct disk *)log;
}

static uint64_t checksum(const uint8_t *head, const uint8_t *payload, size_t size)
{
    uint64_t h = pbft_get_u64(head) ^ (pbft_get_u64(head + 8) * UINT64_C(0x9E3779B97F4A7C15));
    size_t i = 0;
    for (; size - i >= 8; i += 8) {
        h = (h ^ pbft_get_u64(payload + i)) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 32;
    }
    for (; i < size; i++)
        h = (h ^ payload[i]) * UINT64_C(0x100000001B3);
    return h;
}

/* ---- the log ---- */

static void write_record(struct disk *d, uint32_t kind, pbft_lsn lsn, const struct pbft_span *parts,
                         size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    if (d->size + RECORD_HEAD + size > d->capacity) {
        d->capacity = 2 * (d->size + RECORD_HEAD + size);
        d->image = realloc(d->image, d->capacity);
        if (d->image == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    }
    /* cppcheck-suppress nullPointerArithmeticRedundantCheck ; pbft_panic() does not return */
    uint8_t *head = d->image + d->size, *at = head + RECORD_HEAD;
    pbft_put_u32(head, (uint32_t)size);
    pbft_put_u32(head + 4, kind);
    pbft_put_u64(head + 8, lsn);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    pbft_put_u64(head + 16, checksum(head, head + RECORD_HEAD, size));
    d->size += RECORD_HEAD + size;
}

static enum pbft_status disk_append(struct pbft_log *log, uint32_t kind, pbft_lsn lsn,
                                    const struct pbft_span *parts, size_t count)
{
    struct disk *d = disk_of(log);
    enum pbft_status status = pbft_log_append(d->inner, kind, lsn, parts, count);
    if (status == PBFT_STATUS_OK) write_record(d, kind, lsn, parts, count);
    return status;
}

static enum pbft_status disk_sync(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    enum pbft_status status = pbft_log_sync(d->inner);
    if (status != PBFT_STATUS_OK) return status;
    d->asked = d->size;
    if (d->committing == 0 && d->asked > d->synced) d->committing = d->asked;
    return status;
}

static bool disk_poll(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    bool reported = pbft_log_poll(d->inner);
    if (!reported || d->broken) return reported;
    d->synced = d->committing;
    d->committing = d->asked > d->synced ? d->asked : 0;
    return reported;
}

static bool disk_iterate(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context)
{
    return pbft_log_iterate(((const struct disk *)log)->inner, visit, context);
}

/* The segments before the carry-over go (PROTOCOL 26). */
static enum pbft_status disk_cut(struct pbft_log *log, pbft_lsn first, pbft_lsn last)
{
    struct disk *d = disk_of(log);
    enum pbft_status status = pbft_log_cut(d->inner, first, last);
    if (status != PBFT_STATUS_OK) return status;
    size_t at = 0;
    while (at < d->size && pbft_get_u64(d->image + at + 8) < first)
        at += RECORD_HEAD + pbft_get_u32(d->image + at);
    disk_show_synced(log); /* what goes was synced nevertheless */
    if (at > d->synced) {
        sim_fail(d->node->sim, "PROTOCOL 26: replica %u cuts its log before the cut is synced",
                 d->node->id);
        return status;
    }
    if (at > 0) memmove(d->image, d->image + at, d->size - at);
    d->size -= at;
    d->synced -= at;
    d->asked = d->asked > at ? d->asked - at : 0;
    d->committing = d->committing > at ? d->committing - at : 0;
    d->shown = d->shown > at ? d->shown - at : 0;
    return status;
}

static void disk_stats(const struct pbft_log *log, struct pbft_log_stats *out)
{
    pbft_log_stats(((const struct disk *)log)->inner, out);
}

static void disk_close(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    pbft_log_close(d->inner);
    free(d->image);
    free(d);
}

static const struct pbft_log_ops disk_ops = {
    .name = "simulated",
    .append = disk_append,
    .sync = disk_sync,
    .poll = disk_poll,
    .iterate = disk_iterate,
    .cut = disk_cut,
    .stats = disk_stats,
    .close = disk_close,
};

static void log_reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context, (void)status, (void)durable; /* the node looks at the log's stats */
}

struct pbft_log *disk_open(struct node *node, uint64_t bytes_max)
{
    struct disk *d = sim_alloc(sizeof *d);
    d->base.ops = &disk_ops;
    d->node = node;
    enum pbft_status status = pbft_log_memory_create(&d->inner, bytes_max, log_reported, NULL);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    return &d->base;
}

void disk_show_synced(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    while (d->shown < d->synced) {
        size_t size = pbft_get_u32(d->image + d->shown);
        note_synced(d->node, (struct pbft_span){d->image + d->shown + RECORD_HEAD, size});
        d->shown += RECORD_HEAD + size;
    }
}

void disk_break(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    d->broken = true;
    pbft_log_memory_break(d->inner);
}

/* ---- a crash ---- */

/* What a replica would find when it starts again. */
struct found {
    struct map statements; /* (type, view, seq, content) */
    pbft_seq stable;       /* highest certified */
    pbft_view left;        /* highest view of a VIEW-CHANGE of its own */
    pbft_view new_view;    /* highest NEW-VIEW */
    size_t valid;          /* bytes of whole records */
};

/* Unsynced bytes reach the disk in any part: none, some, torn in the middle, overwritten. */
static size_t tear(struct sim *sim, const struct disk *d, uint8_t *image)
{
    size_t tail = d->size - d->synced;
    if (d->size > 0) memcpy(image, d->image, d->size);
    if (tail == 0) return d->size;
    size_t kept = d->synced + sim_random(sim, tail + 1);
    if (kept > d->synced && sim_random(sim, 2) == 0) {
        size_t at = d->synced + sim_random(sim, kept - d->synced);
        image[at] ^= (uint8_t)(1 + sim_random(sim, 255));
    }
    return kept;
}

static void note_frame(struct sim *sim, const struct node *node, uint32_t kind,
                       struct pbft_span frame, struct found *out)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return;
    if (kind == PBFT_RECORD_STABLE && claim.seq > out->stable) out->stable = claim.seq;
    if (kind == PBFT_RECORD_NEW_VIEW && claim.view > out->new_view) out->new_view = claim.view;
    if (!own_statement(sim, node->id, frame, &claim)) return;
    if (kind == PBFT_RECORD_VIEW_CHANGE && claim.view > out->left) out->left = claim.view;
    struct pbft_digest content, key;
    statement_content(&claim, frame, &content);
    statement_key(&claim, &content, &key);
    bool fresh;
    map_put(&out->statements, &key, &fresh);
}

static void read_image(struct sim *sim, const struct node *node, const uint8_t *image, size_t size,
                       struct found *out)
{
    while (size - out->valid >= RECORD_HEAD) {
        const uint8_t *head = image + out->valid;
        size_t payload = pbft_get_u32(head);
        if (payload > size - out->valid - RECORD_HEAD) break;
        if (pbft_get_u64(head + 16) != checksum(head, head + RECORD_HEAD, payload)) break;
        struct pbft_span items = {head + RECORD_HEAD, payload}, frame;
        size_t at = 0;
        while (pbft_wire_next_item(items, &at, &frame))
            note_frame(sim, node, pbft_get_u32(head + 4), frame, out);
        out->valid += RECORD_HEAD + payload;
    }
}

/* What may be missing because nothing depends on it any more: numbers below the stable one, and
 * promises of views that were left for good. */
static bool is_over(const struct found *found, uint8_t type, pbft_view view, pbft_seq seq)
{
    switch (type) {
    case PBFT_VIEW_CHANGE: return view < found->left || view <= found->new_view;
    case PBFT_NEW_VIEW: return view < found->new_view;
    default: return seq <= found->stable;
    }
}

static bool is_there(const struct node *node, const struct found *found,
                     const struct map_entry *said)
{
    struct pbft_claim claim = {.type = (uint8_t)pbft_get_u64(said->key.bytes),
                               .view = pbft_get_u64(said->key.bytes + 8),
                               .seq = pbft_get_u64(said->key.bytes + 16)};
    if (is_over(found, claim.type, claim.view, claim.seq)) return true;
    struct pbft_digest key;
    statement_key(&claim, &said->value, &key);
    if (map_find(&found->statements, &key) != NULL) return true;
    if (claim.type != PBFT_PRE_PREPARE) return false;
    if (claim.view < found->new_view) return true; /* of a NEW-VIEW that another one replaced */
    struct pbft_digest new_view;                   /* an O entry: its NEW-VIEW holds it */
    key_numbers(&new_view, PBFT_NEW_VIEW, claim.view, 0, 0);
    const struct map_entry *whole = map_find(&node->said, &new_view);
    if (whole == NULL) return false;
    struct pbft_claim of_view = {.type = PBFT_NEW_VIEW, .view = claim.view};
    statement_key(&of_view, &whole->value, &key);
    return map_find(&found->statements, &key) != NULL;
}

void disk_crash(struct sim *sim, struct node *node)
{
    struct disk *d = disk_of(node->log);
    if (node->mute) return; /* it has said nothing in this life */
    uint8_t *image = sim_alloc(d->size);
    struct found found = {.valid = 0};
    size_t size = tear(sim, d, image);
    read_image(sim, node, image, size, &found);
    if (found.valid < d->synced)
        sim_fail(sim, "FAULTS 2.40: replica %u lost %zu synced bytes", node->id,
                 d->synced - found.valid);
    for (size_t i = 0; i < node->said.capacity && !sim->failed; i++) {
        const struct map_entry *said = &node->said.entries[i];
        if (!said->used || is_there(node, &found, said)) continue;
        sim_fail(sim, "FAULTS 3.6: replica %u sent %s v %llu n %llu, which its disk does not hold",
                 node->id, pbft_type_text((uint8_t)pbft_get_u64(said->key.bytes)),
                 (unsigned long long)pbft_get_u64(said->key.bytes + 8),
                 (unsigned long long)pbft_get_u64(said->key.bytes + 16));
    }
    map_free(&found.statements);
    free(image);
}
