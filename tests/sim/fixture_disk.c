/* The disk under a vote log, until the engine has one of its own: an image of bytes, of which a
 * crash keeps what was synced, and of the rest what it likes; worse may happen to it before the
 * next start (FAULTS 2.38 to 2.44, 3.6). */
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
    size_t shown;    /* to note_synced() */
    size_t size_max; /* no room beyond (FAULTS 2.42) */
    uint64_t syncs;
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
    size_t needed = RECORD_HEAD;
    for (size_t i = 0; i < count; i++)
        needed += parts[i].size;
    if (d->size_max < d->size || needed > d->size_max - d->size) return PBFT_STATUS_FULL;
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
    d->syncs++;
    d->committing = d->asked > d->synced ? d->asked : 0;
    return reported;
}

/* The record at `at`, whole and with its checksum; its size, or 0. */
static size_t record_at(const uint8_t *image, size_t size, size_t at)
{
    if (size - at < RECORD_HEAD) return 0;
    size_t payload = pbft_get_u32(image + at);
    if (payload > size - at - RECORD_HEAD) return 0;
    const uint8_t *head = image + at;
    if (pbft_get_u64(head + 16) != checksum(head, head + RECORD_HEAD, payload)) return 0;
    return RECORD_HEAD + payload;
}

/* What an earlier life left comes first: whoever believes it says so by its votes. */
static bool disk_iterate(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context)
{
    const struct disk *d = (const struct disk *)log;
    const uint8_t *remains = d->node->remains;
    size_t size = d->node->remains_size;
    for (size_t at = 0, step; (step = record_at(remains, size, at)) > 0; at += step) {
        struct pbft_log_record record = {.lsn = pbft_get_u64(remains + at + 8),
                                         .kind = pbft_get_u32(remains + at + 4),
                                         .durable = true,
                                         .payload = {remains + at + RECORD_HEAD,
                                                     step - RECORD_HEAD}};
        if (!visit(context, &record)) return false;
    }
    return pbft_log_iterate(d->inner, visit, context);
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
    d->size_max = SIZE_MAX;
    enum pbft_status status = pbft_log_memory_create(&d->inner, bytes_max, log_reported, NULL);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    return &d->base;
}

struct pbft_log *disk_reopen(struct node *node, uint64_t bytes_max)
{
    struct pbft_log *log = disk_open(node, bytes_max);
    struct disk *d = disk_of(log);
    size_t at = 0;
    for (size_t step; (step = record_at(node->remains, node->remains_size, at)) > 0; at += step) {
        const uint8_t *head = node->remains + at;
        struct pbft_span payload = {head + RECORD_HEAD, step - RECORD_HEAD};
        enum pbft_status status =
            pbft_log_append(d->inner, pbft_get_u32(head + 4), pbft_get_u64(head + 8), &payload, 1);
        PBFT_ASSERT(status == PBFT_STATUS_OK);
    }
    if (at > 0) {
        enum pbft_status status = pbft_log_sync(d->inner);
        PBFT_ASSERT(status == PBFT_STATUS_OK);
        (void)pbft_log_poll(d->inner);
    }
    d->image = node->remains;
    d->capacity = node->remains_size;
    d->size = d->synced = d->asked = at;
    node->remains = NULL;
    node->remains_size = 0;
    disk_show_synced(log);
    return log;
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

void sim_fill_disk(struct sim *sim, pbft_id id, size_t room)
{
    struct disk *d = disk_of(sim->nodes[id].log);
    sim_tell_fault(sim, "the disk of replica %u has room for %zu bytes more", id, room);
    d->size_max = d->size + room;
}

uint64_t sim_disk_syncs(const struct sim *sim, pbft_id id)
{
    const struct node *n = &sim->nodes[id];
    return n->node == NULL ? 0 : disk_of(n->log)->syncs;
}

size_t sim_disk_unsynced(const struct sim *sim, pbft_id id)
{
    const struct node *n = &sim->nodes[id];
    if (n->node == NULL) return 0;
    const struct disk *d = disk_of(n->log);
    return d->size - d->synced;
}

/* ---- a crash ---- */

/* What a replica would find when it starts again. */
struct found {
    struct map statements; /* (type, view, seq, content) */
    struct map committing; /* seq: the highest view of a COMMIT of its own */
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
    if (claim.type != PBFT_COMMIT) return;
    key_numbers(&key, PBFT_COMMIT, claim.seq, 0, 0);
    struct map_entry *last = map_put(&out->committing, &key, &fresh);
    if (claim.view > last->number) last->number = claim.view;
}

static void read_image(struct sim *sim, const struct node *node, const uint8_t *image, size_t size,
                       struct found *out)
{
    for (size_t step; (step = record_at(image, size, out->valid)) > 0; out->valid += step) {
        const uint8_t *head = image + out->valid;
        struct pbft_span items = {head + RECORD_HEAD, step - RECORD_HEAD}, frame;
        size_t at = 0;
        while (pbft_wire_next_item(items, &at, &frame))
            note_frame(sim, node, pbft_get_u32(head + 4), frame, out);
    }
}

static bool prepared_later(const struct found *found, pbft_view view, pbft_seq seq)
{
    struct pbft_digest key;
    key_numbers(&key, PBFT_COMMIT, seq, 0, 0);
    const struct map_entry *last = map_find(&found->committing, &key);
    return last != NULL && last->number > view;
}

/* What may be missing because nothing depends on it any more: numbers below the stable one, and
 * promises of views that were left for good. A COMMIT stays: the certificate beside it is a P entry
 * for as long as no later view has prepared there. */
static bool is_over(const struct found *found, uint8_t type, pbft_view view, pbft_seq seq)
{
    switch (type) {
    case PBFT_VIEW_CHANGE: return view < found->left || view <= found->new_view;
    case PBFT_NEW_VIEW: return view < found->new_view;
    case PBFT_PREPARE: return seq <= found->stable || view < found->new_view;
    case PBFT_COMMIT: return seq <= found->stable || prepared_later(found, view, seq);
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

static size_t crash_image(struct sim *sim, const struct disk *d, enum sim_harm harm, uint8_t *image)
{
    if (harm != SIM_HARM_POWER && harm != SIM_HARM_TORN) return tear(sim, d, image);
    size_t kept = d->synced;
    if (harm == SIM_HARM_TORN) kept += sim_random(sim, d->size - d->synced);
    if (kept > 0) memcpy(image, d->image, kept);
    return kept;
}

size_t disk_crash(struct sim *sim, struct node *node, enum sim_harm harm)
{
    struct disk *d = disk_of(node->log);
    if (node->mute) return 0; /* it has said nothing in this life */
    uint8_t *image = sim_alloc(d->size);
    struct found found = {.valid = 0};
    size_t size = crash_image(sim, d, harm, image);
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
    map_free(&found.committing);
    free(node->remains);
    node->remains = image;
    node->remains_size = size;
    return d->size - found.valid;
}

/* ---- worse than a crash (FAULTS 2.43, 2.44) ---- */

/* Where the records of an image begin, up to `max` of them. */
static size_t index_records(const uint8_t *image, size_t size, size_t *starts, size_t max)
{
    size_t count = 0;
    for (size_t at = 0, step; count < max && (step = record_at(image, size, at)) > 0; at += step)
        starts[count++] = at;
    return count;
}

/* A bit flips in a record that others follow. */
static size_t rot(struct sim *sim, struct node *node, const size_t *starts, size_t count)
{
    if (count < 2) return 0;
    size_t which = sim_random(sim, count - 1);
    size_t length = starts[which + 1] - starts[which];
    node->remains[starts[which] + sim_random(sim, length)] ^= (uint8_t)(1u << sim_random(sim, 8));
    return 1;
}

/* The write of one record went to the place of an older one. */
static size_t misdirect(struct sim *sim, struct node *node, const size_t *starts, size_t count)
{
    if (count < 3) return 0;
    size_t to = sim_random(sim, count - 2), room = starts[to + 1] - starts[to];
    size_t from = to + 1 + sim_random(sim, count - 2 - to);
    size_t length = starts[from + 1] - starts[from];
    memcpy(node->remains + starts[to], node->remains + starts[from], length < room ? length : room);
    return length < room ? length : room;
}

static size_t swap_for_another(struct sim *sim, struct node *node)
{
    const struct node *other = &sim->nodes[(node->id + 1) % sim->n];
    if (other->node == NULL) return 0;
    const struct disk *d = disk_of(other->log);
    free(node->remains);
    node->remains = sim_alloc(d->synced);
    node->remains_size = d->synced;
    if (d->synced > 0) memcpy(node->remains, d->image, d->synced);
    return d->synced;
}

size_t disk_harm(struct sim *sim, struct node *node, enum sim_harm harm)
{
    enum { RECORDS = 1024 };
    size_t starts[RECORDS], size = node->remains_size;
    size_t count = size == 0 ? 0 : index_records(node->remains, size, starts, RECORDS);
    switch (harm) {
    case SIM_HARM_CRASH:
    case SIM_HARM_POWER:
    case SIM_HARM_TORN: return 0;
    case SIM_HARM_ROT: return rot(sim, node, starts, count);
    case SIM_HARM_MISDIRECTED: return misdirect(sim, node, starts, count);
    case SIM_HARM_WIPED: node->remains_size = 0; return size;
    case SIM_HARM_ROLLED_BACK:
        if (count > 0) node->remains_size = starts[sim_random(sim, count)];
        return size - node->remains_size;
    case SIM_HARM_FOREIGN: return swap_for_another(sim, node);
    }
    return 0;
}
