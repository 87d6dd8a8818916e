/* The vote log of a simulated replica: the store's own (store/log_file.h) on a disk in memory
 * (tests/sim/vdisk.h), which a crash leaves in any state that a disk may be in; worse may happen to
 * it before the next start (fixture_harm.c). A commit runs in the event that ends its job. */
#include "tests/sim/fixture_internal.h"

#include "replica/config.h"

#include <stdlib.h>
#include <string.h>

#define RECENT_HEAD 12u /* lsn u64, size u32; then the payload */
#define LOOK_EVERY  128u

struct disk {
    struct pbft_log base;
    struct pbft_log *inner; /* of a mute replica: in memory, as pbftd's */
    struct node *node;
    pbft_lsn durable; /* as it was reported */
    uint64_t commits;
    uint8_t *recent; /* records from recent_shown on have not gone to note_synced() */
    size_t recent_shown, recent_size, recent_capacity;
};

static struct disk *disk_of(struct pbft_log *log)
{
    return (struct disk *)log;
}

/* What crashes leave has dice of its own, so that a seed's other draws stay what they were. */
static uint64_t luck(struct node *node, uint64_t below)
{
    node->luck += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = (node->luck ^ (node->luck >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static void reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    struct disk *d = context;
    (void)status; /* the node looks at the log's stats */
    d->durable = durable;
}

static uint64_t log_bytes_max(const struct sim *sim)
{
    return sim->o.log_bytes_max != 0 ? sim->o.log_bytes_max : UINT64_C(2) << 20;
}

struct pbft_log_file_config disk_config(const struct node *node, struct vdisk *disk)
{
    static const uint64_t segments[] = {8u << 10, 16u << 10, 64u << 10};
    uint64_t dice = (node->sim->o.seed * UINT64_C(0x9E3779B97F4A7C15)) >> 40;
    struct pbft_log_file_config config = {.disk = &disk->base,
                                          .sync = true,
                                          .segment_bytes = segments[dice % 3],
                                          .bytes_max = log_bytes_max(node->sim),
                                          .durable = reported};
    pbft_config_owner(node->sim->epochs[node->epoch].cluster, node->id, &config.owner);
    return config;
}

/* ---- the log ---- */

static void remember(struct disk *d, pbft_lsn lsn, const struct pbft_span *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    if (d->recent_size + RECENT_HEAD + size > d->recent_capacity) {
        d->recent_capacity = 2 * (d->recent_size + RECENT_HEAD + size);
        d->recent = realloc(d->recent, d->recent_capacity);
        if (d->recent == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    }
    /* cppcheck-suppress nullPointerArithmeticRedundantCheck ; pbft_panic() does not return */
    uint8_t *at = d->recent + d->recent_size;
    pbft_put_u64(at, lsn);
    pbft_put_u32(at + 8, (uint32_t)size);
    at += RECENT_HEAD;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    d->recent_size += RECENT_HEAD + size;
}

static enum pbft_status disk_append(struct pbft_log *log, uint32_t kind, pbft_lsn lsn,
                                    const struct pbft_span *parts, size_t count)
{
    struct disk *d = disk_of(log);
    enum pbft_status status = pbft_log_append(d->inner, kind, lsn, parts, count);
    if (status == PBFT_STATUS_OK && !d->node->mute) remember(d, lsn, parts, count);
    return status;
}

static enum pbft_status disk_sync(struct pbft_log *log)
{
    return pbft_log_sync(disk_of(log)->inner);
}

static void disk_commit(struct pbft_log *log)
{
    pbft_log_commit(disk_of(log)->inner);
}

/* What a loss of power right now would leave. */
static void look(struct disk *d)
{
    struct vdisk *disk = vdisk_clone(d->node->disk);
    vdisk_crash(disk, VDISK_LOSE, 0);
    (void)found_check(d->node->sim, d->node, disk, d->durable);
    pbft_disk_free(&disk->base);
}

static bool disk_poll(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    pbft_lsn before = d->durable;
    if (!pbft_log_poll(d->inner)) return false;
    struct node *n = d->node;
    if (d->durable == before) return true;
    d->commits++;
    if (!n->mute && !n->dying && sim_is_correct(n->sim, n->id) &&
        ++n->sim->log_commits % LOOK_EVERY == 0)
        look(d);
    return true;
}

/* What an earlier life left comes first for a replica that must not believe it: if it does, it says
 * so by its votes. */
static bool disk_iterate(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context)
{
    const struct disk *d = (const struct disk *)log;
    if (d->node->mute && d->node->disk != NULL) {
        struct pbft_log_file_config config = disk_config(d->node, d->node->disk);
        struct pbft_log_file_report report;
        if (pbft_log_file_read(&config, &report, visit, context) != PBFT_STATUS_OK) return false;
    }
    return pbft_log_iterate(d->inner, visit, context);
}

static enum pbft_status disk_cut(struct pbft_log *log, pbft_lsn first, pbft_lsn last)
{
    struct disk *d = disk_of(log);
    if (last > d->durable)
        sim_fail(d->node->sim, "PROTOCOL 26: replica %u cuts its log before the cut is synced",
                 d->node->id);
    return pbft_log_cut(d->inner, first, last);
}

static void disk_roll(struct pbft_log *log)
{
    pbft_log_roll(disk_of(log)->inner);
}

static void disk_stats(const struct pbft_log *log, struct pbft_log_stats *out)
{
    pbft_log_stats(((const struct disk *)log)->inner, out);
}

static void disk_close(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    pbft_log_close(d->inner);
    free(d->recent);
    free(d);
}

static const struct pbft_log_ops disk_ops = {
    .name = "simulated",
    .append = disk_append,
    .sync = disk_sync,
    .commit = disk_commit,
    .poll = disk_poll,
    .iterate = disk_iterate,
    .cut = disk_cut,
    .roll = disk_roll,
    .stats = disk_stats,
    .close = disk_close,
};

/* ---- opening ---- */

static struct disk *disk_new(struct node *node)
{
    struct disk *d = sim_alloc(sizeof *d);
    d->base.ops = &disk_ops;
    d->node = node;
    return d;
}

static enum pbft_status open_file(struct disk *d, struct pbft_log_file_report *report)
{
    struct pbft_log_file_config config = disk_config(d->node, d->node->disk);
    config.context = d;
    for (size_t i = 0; i < sizeof config.entropy; i++)
        config.entropy[i] = (uint8_t)luck(d->node, 256);
    return pbft_log_file_open(&d->inner, &config, report);
}

static void open_memory(struct disk *d)
{
    enum pbft_status status =
        pbft_log_memory_create(&d->inner, log_bytes_max(d->node->sim), reported, d);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
}

struct pbft_log *disk_open(struct node *node)
{
    struct disk *d = disk_new(node);
    if (node->mute) {
        if (node->disk != NULL) node->disk->stopped = false;
        open_memory(d);
        return &d->base;
    }
    disk_drop(node);
    node->disk = vdisk_new();
    struct pbft_log_file_config config = disk_config(node, node->disk);
    struct pbft_log_file_report report = {.text = ""};
    enum pbft_status status = pbft_log_file_create(&config);
    if (status == PBFT_STATUS_OK) status = open_file(d, &report);
    PBFT_ASSERT(status == PBFT_STATUS_OK && report.found == PBFT_LOG_FRESH);
    return &d->base;
}

void disk_drop(struct node *node)
{
    if (node->disk != NULL) pbft_disk_free(&node->disk->base);
    if (node->snapshot != NULL) pbft_disk_free(&node->snapshot->base);
    node->disk = node->snapshot = NULL;
    node->durable = 0;
}

static bool show_record(void *context, const struct pbft_log_record *record)
{
    note_synced(context, record->payload);
    return true;
}

static enum vdisk_crash crash_of(struct node *node, enum sim_harm harm)
{
    switch ((int)harm) {
    case SIM_HARM_POWER: return VDISK_LOSE;
    case SIM_HARM_TORN: return VDISK_CUT;
    case SIM_HARM_OUTAGE:
        return (enum vdisk_crash)(VDISK_LOSE + luck(node, VDISK_CRASHES - VDISK_LOSE));
    default: return (enum vdisk_crash)luck(node, VDISK_CRASHES);
    }
}

static void lose_power(struct node *node, enum sim_harm harm)
{
    enum vdisk_crash how = crash_of(node, harm);
    uint64_t random = luck(node, UINT64_MAX);
    vdisk_crash(node->disk, how, random);
}

/* Now and then the power fails again while it starts. */
static enum pbft_status open_again(struct disk *d, struct pbft_log_file_report *report)
{
    struct node *n = d->node;
    struct vdisk *disk = n->disk;
    if (luck(n, 4) == 0) disk->stop_at = disk->ops + 1 + luck(n, 6);
    enum pbft_status status = open_file(d, report);
    for (unsigned i = 0; i < 2 && status == PBFT_STATUS_IO; i++) { /* either happens once */
        if (disk->stopped) {
            lose_power(n, SIM_HARM_OUTAGE);
            if (sim_is_correct(n->sim, n->id)) (void)found_check(n->sim, n, disk, n->durable);
        } else { /* a sync has failed: that process ends */
            vdisk_crash(disk, VDISK_KILLED, 0);
        }
        status = open_file(d, report);
    }
    disk->stop_at = 0;
    return status;
}

bool disk_usable(const struct node *node)
{
    struct pbft_log_file_config config = disk_config(node, node->disk);
    struct pbft_log_file_report report = {.text = ""};
    node->disk->stopped = false;
    return pbft_log_file_check(&config, &report) == PBFT_STATUS_OK &&
           pbft_log_found_usable(report.found);
}

struct pbft_log *disk_reopen(struct node *node)
{
    if (node->disk == NULL) return disk_open(node);
    struct disk *d = disk_new(node);
    struct pbft_log_file_report report = {.text = ""};
    node->disk->stopped = false;
    enum pbft_status status = open_again(d, &report);
    if (status != PBFT_STATUS_OK || report.last < node->durable) {
        sim_fail(node->sim, "PROTOCOL 29: replica %u does not go on with its log: %s %s", node->id,
                 pbft_status_text(status), report.text);
        if (status != PBFT_STATUS_OK) open_memory(d);
        return &d->base;
    }
    d->durable = report.last;
    if (!pbft_log_iterate(d->inner, show_record, node))
        sim_fail(node->sim, "PROTOCOL 25: replica %u cannot read its log", node->id);
    return &d->base;
}

void disk_show_synced(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    while (d->recent_shown < d->recent_size) {
        const uint8_t *head = d->recent + d->recent_shown;
        size_t size = pbft_get_u32(head + 8);
        if (pbft_get_u64(head) > d->durable) break;
        note_synced(d->node, (struct pbft_span){head + RECENT_HEAD, size});
        d->recent_shown += RECENT_HEAD + size;
    }
    d->recent_size -= d->recent_shown;
    if (d->recent_size > 0) memmove(d->recent, d->recent + d->recent_shown, d->recent_size);
    d->recent_shown = 0;
}

/* ---- a crash ---- */

/* A commit that is under way ends at any of its operations. */
static void cut_commit(struct disk *d, enum sim_harm harm)
{
    struct node *n = d->node;
    struct pbft_log_stats stats;
    pbft_log_stats(d->inner, &stats);
    if (harm == SIM_HARM_POWER || n->disk->stopped) return;
    if (harm == SIM_HARM_TORN && pbft_log_sync(d->inner) != PBFT_STATUS_OK) return;
    if (harm == SIM_HARM_TORN) {
        n->disk->stop_at = n->disk->ops + 1;
    } else {
        uint64_t most = luck(n, 4) == 0 ? 16 : 4;
        n->disk->stop_at = n->disk->ops + 1 + luck(n, most);
    }
    pbft_log_commit(d->inner);
}

uint64_t disk_crash(struct sim *sim, struct node *node, enum sim_harm harm)
{
    struct disk *d = disk_of(node->log);
    if (node->mute) return 0; /* it has said nothing in this life */
    struct pbft_log_stats stats;
    pbft_log_stats(d->inner, &stats);
    cut_commit(d, harm);
    node->durable = d->durable;
    lose_power(node, harm);
    uint64_t lost = 0;
    if (sim_is_correct(sim, node->id))
        lost = stats.last - found_check(sim, node, node->disk, d->durable);
    node->disk->stopped = true; /* for what is left of this life */
    return lost;
}

/* ---- what a test asks for ---- */

void disk_break(struct pbft_log *log)
{
    struct disk *d = disk_of(log);
    if (d->node->mute)
        pbft_log_memory_break(d->inner);
    else
        d->node->disk->fail_sync_at = d->node->disk->syncs + 1;
}

bool disk_is_dark(const struct node *node)
{
    return !node->mute && node->disk != NULL && node->disk->stopped;
}

void sim_fill_disk(struct sim *sim, pbft_id id, uint64_t room)
{
    struct vdisk *disk = sim->nodes[id].disk;
    if (room == UINT64_MAX) {
        sim_tell_fault(sim, "the disk of replica %u has room again", id);
        disk->room = 0;
        return;
    }
    sim_tell_fault(sim, "the disk of replica %u has room for %llu bytes more", id,
                   (unsigned long long)room);
    disk->room = vdisk_bytes(disk) + room;
}

void sim_cut_power_at(struct sim *sim, pbft_id id, uint64_t op)
{
    sim->nodes[id].disk->stop_at = op;
}

uint64_t sim_disk_ops(const struct sim *sim, pbft_id id)
{
    return sim->nodes[id].disk->ops;
}

uint64_t sim_disk_commits(const struct sim *sim, pbft_id id)
{
    const struct node *n = &sim->nodes[id];
    return n->node == NULL ? 0 : disk_of(n->log)->commits;
}

uint64_t sim_disk_unsynced(const struct sim *sim, pbft_id id)
{
    const struct node *n = &sim->nodes[id];
    if (n->node == NULL) return 0;
    struct pbft_log_stats stats;
    pbft_log_stats(n->log, &stats);
    return stats.last - disk_of(n->log)->durable;
}
