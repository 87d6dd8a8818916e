/* Worse than a crash (FAULTS 2.43, 2.44): what becomes of a disk while its replica is dead. The
 * real store has to tell each of these from a crash, or nothing that counts may be gone. */
#include "store/log_file_internal.h"
#include "tests/sim/fixture_internal.h"

#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 1024u

/* A record on the disk. */
struct place {
    struct vdisk_inode *file;
    uint64_t at, size, commit;
};

struct places {
    struct vdisk *disk;
    struct place items[PLACES_MAX];
    size_t count;
};

/* ---- where the records are ---- */

static void find_in_segment(struct places *out, const struct pbft_log_file_config *config,
                            uint64_t number)
{
    char name[LOG_NAME_BYTES];
    log_segment_name(name, number);
    struct vdisk_inode *file = vdisk_file(out->disk, name);
    struct segment segment;
    if (file == NULL || log_header_decode(file->data, &config->owner, &segment) != PBFT_LOG_INTACT)
        return;
    pbft_lsn mark[2];
    if (log_mark_decode(file->data + LOG_MARK, &segment, &mark[0], &mark[1]))
        out->count = 0; /* what lies before it is over */
    struct cursor c;
    bool more = log_cursor_begin(&c, config->disk, &segment) == PBFT_STATUS_OK;
    while (more) {
        const uint8_t *record;
        uint64_t at = c.at;
        enum pbft_status status = log_cursor_next(&c, &record, &more);
        PBFT_ASSERT(status == PBFT_STATUS_OK);
        if (record == NULL || out->count == PLACES_MAX) continue;
        out->items[out->count++] =
            (struct place){file, at, log_record_bytes(log_record_head_get(record).length),
                           log_record_head_get(record).commit};
    }
    log_cursor_end(&c);
}

static void find_places(struct places *out, const struct node *node)
{
    struct pbft_log_file_config config = disk_config(node, node->disk);
    uint64_t last = 0;
    out->disk = node->disk;
    out->count = 0;
    for (size_t i = 0; i < node->disk->now.count; i++) {
        uint64_t number = log_segment_number(node->disk->now.names[i].name);
        if (number > last) last = number;
    }
    for (uint64_t number = 1; number <= last; number++)
        find_in_segment(out, &config, number);
}

/* Those of the last commit may be all that there is of it: to lose it is to lose the tail. */
static size_t count_proved(const struct places *places)
{
    size_t count = places->count;
    while (count > 0 && places->items[count - 1].commit == places->items[places->count - 1].commit)
        count--;
    return count;
}

/* ---- what is done ---- */

/* A bit flips in a record that others follow. */
static bool rot(struct sim *sim, const struct places *places)
{
    size_t count = count_proved(places);
    if (count == 0) return false;
    const struct place *p = &places->items[sim_random(sim, count)];
    uint64_t at = sim_random(sim, p->size);
    p->file->data[p->at + at] ^= (uint8_t)(1u << sim_random(sim, 8));
    return true;
}

/* The write of one record went to the place of an older one. */
static bool misdirect(struct sim *sim, const struct places *places)
{
    size_t count = count_proved(places);
    if (count == 0) return false;
    size_t to = sim_random(sim, count), from = to + 1 + sim_random(sim, places->count - to - 1);
    const struct place *a = &places->items[to], *b = &places->items[from];
    memmove(a->file->data + a->at, b->file->data + b->at, a->size < b->size ? a->size : b->size);
    return true;
}

static void swap_for(struct node *node, const struct vdisk *other)
{
    pbft_disk_free(&node->disk->base);
    node->disk = other == NULL ? vdisk_new() : vdisk_clone(other);
    vdisk_crash(node->disk, VDISK_LOSE, 0);
}

static bool swap_for_another(struct sim *sim, struct node *node)
{
    const struct node *other = &sim->nodes[(node->id + 1) % sim->n];
    if (other->disk == NULL) return false;
    swap_for(node, other->disk);
    return true;
}

static bool roll_back(struct node *node)
{
    if (node->snapshot == NULL) return false;
    swap_for(node, node->snapshot);
    node->forgetful = true;
    node->durable = 0; /* nothing of it is promised */
    return true;
}

static bool harm_disk(struct sim *sim, struct node *node, enum sim_harm harm)
{
    struct places *places = sim_alloc(sizeof *places);
    bool harmed = false;
    find_places(places, node);
    switch (harm) {
    case SIM_HARM_CRASH:
    case SIM_HARM_OUTAGE:
    case SIM_HARM_POWER:
    case SIM_HARM_TORN: break;
    case SIM_HARM_ROT: harmed = rot(sim, places); break;
    case SIM_HARM_MISDIRECTED: harmed = misdirect(sim, places); break;
    case SIM_HARM_WIPED:
        harmed = true;
        swap_for(node, NULL);
        break;
    case SIM_HARM_ROLLED_BACK: harmed = roll_back(node); break;
    case SIM_HARM_FOREIGN: harmed = swap_for_another(sim, node); break;
    }
    free(places);
    return harmed;
}

/* ---- what the store makes of it ---- */

static bool is_noticed(enum sim_harm harm, enum pbft_log_found found)
{
    switch ((int)harm) {
    case SIM_HARM_WIPED: return found == PBFT_LOG_MISSING;
    case SIM_HARM_FOREIGN: return found == PBFT_LOG_FOREIGN;
    case SIM_HARM_ROLLED_BACK: return true; /* cannot be seen from inside (PROTOCOL 29) */
    default: return found == PBFT_LOG_DAMAGED;
    }
}

bool disk_harm(struct sim *sim, struct node *node, enum sim_harm harm)
{
    node->disk->stopped = false;
    bool harmed = harm_disk(sim, node, harm);
    struct pbft_log_file_config config = disk_config(node, node->disk);
    struct pbft_log_file_report report = {.text = ""};
    enum pbft_status status = pbft_log_file_check(&config, &report);
    if (status != PBFT_STATUS_OK || (harmed && !is_noticed(harm, report.found)))
        sim_fail(sim, "FAULTS 2.43: replica %u would go on after its disk was harmed: %s", node->id,
                 status != PBFT_STATUS_OK ? pbft_status_text(status) : report.text);
    return harmed;
}

void sim_snapshot_disk(struct sim *sim, pbft_id id)
{
    struct node *n = &sim->nodes[id];
    if (n->snapshot != NULL) pbft_disk_free(&n->snapshot->base);
    n->snapshot = n->disk == NULL ? NULL : vdisk_clone(n->disk);
}
