/* store/log_file: the vote log on disk. A recorded life is ended at every disk operation, with
 * every kind of remains; what was reported durable is always there, and damage is never taken for a
 * crash nor a crash for damage (PROTOCOL 26, 29; FAULTS 2.38 to 2.44). */
#include "store/log_file.h"

#include "crypto/hash.h"
#include "tests/sim/vdisk.h"
#include "tests/unit/store_pages.h"

#include <unistd.h>

#define SEGMENT   8192u
#define LSNS      1024u
#define KIND_CUT  9u /* part of a carry-over */
#define KIND_ELSE 3u

/* What a log must hold, by what was done to it and what it reported. */
struct life {
    uint64_t seed;
    struct vdisk *disk; /* NULL: a real one */
    struct pbft_log *log;
    uint8_t generation;
    uint8_t written[LSNS]; /* generation that appended this lsn last */
    pbft_lsn appended, durable, must_from;
    pbft_lsn carry_first, carry_last;
    enum pbft_status status;
    unsigned reports;
    unsigned steps;
    enum pbft_log_found found;
};

static void report(void *context, enum pbft_status status, pbft_lsn durable)
{
    struct life *l = context;
    l->status = status;
    l->reports++;
    REQUIRE(l->seed, durable >= l->durable);
    l->durable = durable;
}

static struct pbft_log_file_config config_of(struct life *l, struct pbft_disk *disk)
{
    struct pbft_log_file_config config = {.disk = disk,
                                          .owner = {.replica = 2},
                                          .sync = true,
                                          .segment_bytes = SEGMENT,
                                          .bytes_max = 16 * SEGMENT,
                                          .durable = report,
                                          .context = l};
    memset(config.owner.cluster_id.bytes, 0xc1, PBFT_DIGEST_BYTES);
    memset(config.owner.key_fingerprint.bytes, 0x4e, PBFT_DIGEST_BYTES);
    memset(config.entropy, 1 + l->generation, sizeof config.entropy);
    return config;
}

static struct pbft_log_file_config life_config(struct life *l)
{
    return config_of(l, &l->disk->base);
}

/* The payload of a record follows from its lsn and who wrote it. */
static size_t payload_of(pbft_lsn lsn, uint8_t generation, uint8_t out[16384])
{
    struct rng rng = {lsn * 256 + generation};
    uint32_t dice = rng_below(&rng, 40);
    size_t size = dice == 0 ? 9000 : dice < 4 ? 2500 + rng_below(&rng, 600) : rng_below(&rng, 400);
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)rng_next(&rng);
    return size;
}

static bool life_append(struct life *l, uint32_t kind)
{
    static uint8_t payload[16384];
    pbft_lsn lsn = l->appended + 1;
    REQUIRE(l->seed, lsn < LSNS);
    size_t size = payload_of(lsn, l->generation, payload);
    struct pbft_span parts[2] = {{payload, size / 3}, {payload + size / 3, size - size / 3}};
    enum pbft_status status = pbft_log_append(l->log, kind, lsn, parts, 2);
    if (status != PBFT_STATUS_OK) return false;
    l->written[lsn] = l->generation;
    l->appended = lsn;
    return true;
}

static bool life_commit(struct life *l)
{
    if (pbft_log_sync(l->log) != PBFT_STATUS_OK) return false;
    pbft_log_commit(l->log);
    (void)pbft_log_poll(l->log);
    return l->status == PBFT_STATUS_OK;
}

/* Some appends, a commit that others join, now and then a carry-over and its cut. */
static bool life_step(struct life *l, struct rng *rng)
{
    for (uint32_t i = 1 + rng_below(rng, 4); i > 0; i--)
        if (!life_append(l, KIND_ELSE)) return false;
    if (++l->steps % 7 == 0 && l->carry_first == 0) {
        pbft_log_roll(l->log);
        l->carry_first = l->appended + 1;
        for (uint32_t i = 1 + rng_below(rng, 5); i > 0; i--)
            if (!life_append(l, KIND_CUT)) return false;
        l->carry_last = l->appended;
    }
    if (pbft_log_sync(l->log) != PBFT_STATUS_OK) return false;
    if (rng_below(rng, 3) == 0 && !life_append(l, KIND_ELSE)) return false;
    if (rng_below(rng, 3) == 0 && pbft_log_sync(l->log) != PBFT_STATUS_OK) return false;
    pbft_log_commit(l->log);
    (void)pbft_log_poll(l->log);
    if (l->carry_first != 0) {
        enum pbft_status status = pbft_log_cut(l->log, l->carry_first, l->carry_last);
        if (status == PBFT_STATUS_OK) {
            REQUIRE(l->seed, l->durable >= l->carry_last);
            l->must_from = l->carry_first;
            l->carry_first = 0;
        } else if (status != PBFT_STATUS_IO) {
            REQUIRE(l->seed, status == PBFT_STATUS_REFUSED && l->durable < l->carry_last);
        }
    }
    return l->status == PBFT_STATUS_OK;
}

struct checker {
    struct life *l;
    pbft_lsn first, last;
};

static bool check_record(void *context, const struct pbft_log_record *record)
{
    static uint8_t payload[16384];
    struct checker *c = context;
    struct life *l = c->l;
    REQUIRE(l->seed, record->lsn > 0 && record->lsn <= l->appended);
    REQUIRE(l->seed, c->last == 0 || record->lsn == c->last + 1);
    if (c->first == 0) c->first = record->lsn;
    c->last = record->lsn;
    size_t size = payload_of(record->lsn, l->written[record->lsn], payload);
    REQUIRE(l->seed, record->payload.size == size);
    REQUIRE(l->seed, size == 0 || memcmp(record->payload.data, payload, size) == 0);
    REQUIRE(l->seed, record->durable == (record->lsn <= l->durable));
    return true;
}

/* After a restart: everything durable is there, nothing that was never appended. */
static void life_check(struct life *l, const struct pbft_log_file_report *found)
{
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    REQUIRE(l->seed, stats.last >= l->durable && stats.last <= l->appended);
    REQUIRE(l->seed, stats.durable == stats.last && found->last == stats.last);
    REQUIRE(l->seed, stats.bytes <= stats.bytes_max);
    l->durable = l->appended = stats.last;
    struct checker c = {.l = l};
    REQUIRE(l->seed, pbft_log_iterate(l->log, check_record, &c));
    REQUIRE(l->seed, c.last == stats.last && c.first == stats.first);
    REQUIRE(l->seed, stats.last == 0 || c.first <= l->must_from);
}

/* Returns false if the disk stopped meanwhile. */
static bool life_open(struct life *l)
{
    struct pbft_log_file_report found;
    l->generation++;
    l->status = PBFT_STATUS_OK;
    l->carry_first = l->carry_last = 0;
    struct pbft_log_file_config config = life_config(l);
    enum pbft_status status = pbft_log_file_open(&l->log, &config, &found);
    if (status == PBFT_STATUS_IO && l->disk->stopped) return false;
    if (status != PBFT_STATUS_OK)
        cr_assert_fail("seed %llu: %s: %s", (unsigned long long)l->seed, pbft_status_text(status),
                       found.text);
    l->found = found.found;
    life_check(l, &found);
    return true;
}

static void life_new(struct life *l, uint64_t seed)
{
    *l = (struct life){.seed = seed, .disk = vdisk_new(), .must_from = 1};
    struct pbft_log_file_config config = life_config(l);
    REQUIRE(seed, pbft_log_file_create(&config) == PBFT_STATUS_OK);
    REQUIRE(seed, pbft_log_file_create(&config) == PBFT_STATUS_EXISTS);
    REQUIRE(seed, life_open(l));
}

static void life_run(struct life *l, unsigned steps)
{
    struct rng rng = {l->seed * 1000 + l->generation};
    while (steps > 0 && life_step(l, &rng))
        steps--;
    REQUIRE(l->seed, steps == 0 || l->disk->stopped);
}

static void life_end(struct life *l)
{
    pbft_log_close(l->log);
    l->log = NULL;
    pbft_disk_free(&l->disk->base);
}

static void life_crash(struct life *l, enum vdisk_crash how, uint64_t luck)
{
    struct rng rng = {l->seed * 7919 + luck};
    pbft_log_close(l->log);
    l->log = NULL;
    vdisk_crash(l->disk, how, rng_next(&rng));
}

/* ---- ordinary life ---- */

Test(log_file, round_trip_over_segments_and_cuts)
{
    struct life l;
    life_new(&l, 1);
    cr_assert_str_eq(pbft_log_name(l.log), "sync");
    for (unsigned i = 0; i < 12; i++) {
        life_run(&l, 10);
        life_crash(&l, i % 2 == 0 ? VDISK_LOSE : VDISK_KILLED, i);
        cr_assert(life_open(&l));
    }
    cr_assert(l.must_from > 100 && l.appended > 300);
    size_t files = 0;
    for (size_t i = 0; i < l.disk->now.count; i++)
        files += strncmp(l.disk->now.names[i].name, "log-0", 5) == 0;
    cr_assert(files < 12, "%zu files are left", files);
    life_end(&l);
}

Test(log_file, one_sync_for_all_that_queued)
{
    struct life l;
    life_new(&l, 2);
    uint8_t payload[16384];
    for (pbft_lsn lsn = 1; lsn <= 5; lsn++)
        if (payload_of(lsn, l.generation, payload) > 1000) { /* all in the first segment */
            l.generation++;
            lsn = 0;
        }
    cr_assert(!pbft_log_poll(l.log));
    pbft_log_commit(l.log); /* nothing is under way */
    cr_assert_eq(pbft_log_append(l.log, KIND_ELSE, 7, NULL, 0), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(pbft_log_append(l.log, 0xffffff00u, 1, NULL, 0), PBFT_STATUS_ARGUMENT);
    cr_assert(life_append(&l, KIND_ELSE));
    cr_assert_eq(pbft_log_sync(l.log), PBFT_STATUS_OK);
    cr_assert(!pbft_log_poll(l.log)); /* begun, not done */
    uint64_t ops = l.disk->ops, syncs = l.disk->syncs;
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(life_append(&l, KIND_ELSE));
        cr_assert_eq(pbft_log_sync(l.log), PBFT_STATUS_OK);
    }
    cr_assert_eq(l.disk->ops, ops); /* the owner never touches the disk */
    pbft_log_commit(l.log);
    cr_assert(l.reports == 0 && l.durable == 0);
    cr_assert(pbft_log_poll(l.log));
    cr_assert(l.reports == 1 && l.durable == 1);
    struct pbft_log_stats stats;
    pbft_log_stats(l.log, &stats);
    cr_assert(stats.committing && stats.last == 5 && stats.durable == 1 && stats.records == 5);
    pbft_log_commit(l.log);
    struct checker c = {.l = &l};
    cr_assert(
        pbft_log_iterate(l.log, check_record, &c)); /* on disk, sealed and queued, once each */
    cr_assert(c.first == 1 && c.last == 5);
    cr_assert(pbft_log_poll(l.log) && !pbft_log_poll(l.log));
    cr_assert(l.reports == 2 && l.durable == 5);
    cr_assert_eq(l.disk->syncs, syncs + 2);
    cr_assert_eq(pbft_log_cut(l.log, 3, 6), PBFT_STATUS_ARGUMENT);
    cr_assert(life_append(&l, KIND_ELSE));
    cr_assert_eq(pbft_log_cut(l.log, 3, 6), PBFT_STATUS_REFUSED);
    cr_assert_eq(pbft_log_cut(l.log, 3, 5), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_cut(l.log, 2, 5), PBFT_STATUS_ARGUMENT);
    life_end(&l);
}

Test(log_file, async_syncs_no_commit)
{
    struct life l = {.seed = 3, .disk = vdisk_new(), .must_from = 1};
    struct pbft_log_file_config config = life_config(&l);
    config.sync = false;
    struct pbft_log_file_report found;
    cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(found.found, PBFT_LOG_MISSING);
    cr_assert_eq(l.disk->ops, 0); /* it is never created */
    cr_assert_eq(pbft_log_file_create(&config), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_OK);
    cr_assert_eq(found.found, PBFT_LOG_FRESH);
    cr_assert_str_eq(pbft_log_name(l.log), "async");
    uint64_t syncs = l.disk->syncs;
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l) && l.durable == 1);
    cr_assert_eq(l.disk->syncs, syncs);
    pbft_log_close(l.log);
    l.log = NULL;
    cr_assert(life_open(&l)); /* the process ended, not the machine */
    cr_assert_eq(l.durable, 1);
    config.segment_bytes = 5000;
    cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_ARGUMENT);
    life_end(&l);
}

/* ---- crashes ---- */

#define RECORDED_STEPS 36u

static uint64_t recorded_ops(uint64_t seed)
{
    struct life l;
    life_new(&l, seed);
    life_run(&l, RECORDED_STEPS);
    uint64_t ops = l.disk->ops;
    cr_assert(l.must_from > 1);
    life_end(&l);
    return ops;
}

static void crash_everywhere(enum vdisk_crash how, uint64_t seed)
{
    unsigned torn = 0, whole = 0;
    uint64_t ops = recorded_ops(seed);
    for (unsigned at = 1; at <= ops; at++) {
        struct life l;
        life_new(&l, seed);
        l.disk->stop_at = at;
        if (at <= l.disk->ops) {
            life_end(&l);
            continue;
        }
        life_run(&l, RECORDED_STEPS);
        life_crash(&l, how, at);
        REQUIRE(seed, life_open(&l));
        if (l.found == PBFT_LOG_TORN)
            torn++;
        else
            whole++;
        life_run(&l, 3); /* and on it goes, over what is left of the old tail */
        l.disk->stop_at = l.disk->ops + 1 + at % 9;
        life_run(&l, 8);
        life_crash(&l, at % 2 == 0 ? VDISK_TEAR : VDISK_LOSE, at + 1);
        REQUIRE(seed, life_open(&l));
        life_run(&l, 2);
        life_crash(&l, VDISK_LOSE, at + 2);
        REQUIRE(seed, life_open(&l));
        life_end(&l);
    }
    cr_log_info("seed %llu: %llu operations, %u torn", (unsigned long long)seed,
                (unsigned long long)ops, torn);
    cr_assert(whole > 20 &&
              (torn > 10 || how == VDISK_LOSE || how == VDISK_KEEP || how == VDISK_KILLED));
}

Test(log_file, crash_anywhere_unsynced_lost)
{
    crash_everywhere(VDISK_LOSE, 11);
    crash_everywhere(VDISK_LOSE, 12);
}

Test(log_file, crash_anywhere_unsynced_kept)
{
    crash_everywhere(VDISK_KEEP, 13);
}

Test(log_file, crash_anywhere_torn)
{
    for (uint64_t seed = 14; seed < 18; seed++)
        crash_everywhere(VDISK_TEAR, seed);
}

Test(log_file, crash_anywhere_garbled)
{
    for (uint64_t seed = 18; seed < 21; seed++)
        crash_everywhere(VDISK_GARBLE, seed);
}

Test(log_file, killed_anywhere_then_power_loss)
{
    crash_everywhere(VDISK_KILLED, 21);
}

/* The second crash hits what the start does, at each of its operations. */
static void crash_twice(enum vdisk_crash first, enum vdisk_crash second, uint64_t seed)
{
    uint64_t ops = recorded_ops(seed);
    for (unsigned at = 1; at <= ops; at++) {
        struct life l;
        life_new(&l, seed);
        l.disk->stop_at = at;
        if (at > l.disk->ops) {
            life_run(&l, RECORDED_STEPS);
            life_crash(&l, first, at);
            bool opened = false;
            for (unsigned more = 1; !opened; more++) {
                struct life again = l;
                again.disk = vdisk_clone(l.disk);
                again.disk->stop_at = again.disk->ops + more;
                opened = life_open(&again);
                life_crash(&again, second, more);
                REQUIRE(seed, life_open(&again));
                life_run(&again, 2);
                life_crash(&again, VDISK_LOSE, more);
                REQUIRE(seed, life_open(&again));
                life_end(&again);
            }
        }
        life_end(&l);
    }
}

Test(log_file, second_crash_during_the_start)
{
    crash_twice(VDISK_TEAR, VDISK_TEAR, 31);
    crash_twice(VDISK_KILLED, VDISK_LOSE, 32);
    crash_twice(VDISK_LOSE, VDISK_KEEP, 33);
}

Test(log_file, crash_during_init)
{
    for (unsigned at = 1; at < 12; at++) {
        struct life l = {.seed = at, .disk = vdisk_new(), .must_from = 1};
        struct pbft_log_file_config config = life_config(&l);
        struct pbft_log_file_report found;
        l.disk->stop_at = at;
        enum pbft_status created = pbft_log_file_create(&config);
        struct rng rng = {at};
        vdisk_crash(l.disk, VDISK_TEAR, rng_next(&rng));
        cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_OK);
        cr_assert(found.found == PBFT_LOG_FRESH ||
                  (found.found == PBFT_LOG_MISSING && created != PBFT_STATUS_OK));
        pbft_disk_free(&l.disk->base);
    }
}

/* The next process reads from the page cache what never reached the disk. */
Test(log_file, failed_sync_anywhere)
{
    uint64_t syncs = 0;
    for (uint64_t at = 0; at <= syncs; at++) {
        struct life l;
        life_new(&l, 36);
        l.disk->fail_sync_at = at == 0 ? 0 : l.disk->syncs + at;
        struct rng rng = {36};
        unsigned steps = 0;
        while (steps < RECORDED_STEPS && life_step(&l, &rng))
            steps++;
        if (at == 0) syncs = l.disk->syncs - 2; /* an end is not reached otherwise */
        REQUIRE(at, at == 0 || steps < RECORDED_STEPS);
        life_crash(&l, VDISK_KILLED, 0);
        REQUIRE(at, life_open(&l));
        life_run(&l, (unsigned)(at % 3));
        life_crash(&l, VDISK_LOSE, 0);
        REQUIRE(at, life_open(&l));
        life_end(&l);
    }
    cr_assert(syncs > 40);
}

/* ---- harm ---- */

static struct life life_to_harm(uint64_t seed)
{
    struct life l;
    life_new(&l, seed);
    life_run(&l, 19); /* the last cut is a while ago */
    while (l.durable < l.appended)
        cr_assert(life_commit(&l));
    cr_assert(l.must_from > 1 && l.durable == l.appended);
    life_crash(&l, VDISK_KEEP, 0);
    return l;
}

static enum pbft_log_found look(struct life *l)
{
    struct pbft_log_file_report found;
    struct pbft_log_file_config config = life_config(l);
    REQUIRE(l->seed, pbft_log_file_check(&config, &found) == PBFT_STATUS_OK);
    if (pbft_log_found_usable(found.found)) {
        REQUIRE(l->seed, found.last >= l->durable && found.first <= l->must_from);
    } else {
        struct pbft_log *log;
        REQUIRE(l->seed, found.text[0] != '\0');
        uint64_t ops = l->disk->ops;
        enum pbft_status status = pbft_log_file_open(&log, &config, &found);
        REQUIRE(l->seed, status == (found.found == PBFT_LOG_MISSING ? PBFT_STATUS_NOT_FOUND
                                                                    : PBFT_STATUS_CORRUPT));
        REQUIRE(l->seed, l->disk->ops == ops); /* left as it is, for whoever looks into it */
    }
    return found.found;
}

/* No rotten byte makes a record that was synced disappear, or appear changed: either it is noticed,
 * or it was nowhere that counts. */
Test(log_file, rot_of_every_byte)
{
    struct life l = life_to_harm(41);
    cr_assert_eq(look(&l), PBFT_LOG_INTACT);
    unsigned noticed = 0, harmless = 0;
    for (size_t f = 0; f < l.disk->now.count; f++) {
        struct vdisk_inode *bytes = vdisk_file(l.disk, l.disk->now.names[f].name);
        for (size_t at = 0; at < bytes->size; at++) {
            uint8_t before = bytes->data[at];
            bytes->data[at] ^= (uint8_t)(1u << (at % 8));
            if (pbft_log_found_usable(look(&l)))
                harmless++;
            else
                noticed++;
            if (at % 61 == 0 && pbft_log_found_usable(look(&l))) {
                struct life again = l;
                again.disk = vdisk_clone(l.disk);
                REQUIRE(l.seed, life_open(&again)); /* with all bytes of all records */
                life_end(&again);
            }
            bytes->data[at] = before;
        }
    }
    cr_log_info("%u rotten bytes noticed, %u harmless", noticed, harmless);
    cr_assert(noticed > 8000 && harmless > 1000);
    life_end(&l);
}

Test(log_file, missing_and_truncated_segments)
{
    struct life l = life_to_harm(42);
    unsigned tried = 0;
    for (size_t f = 0; f < l.disk->now.count; f++) {
        if (strncmp(l.disk->now.names[f].name, "log-0", 5) != 0) continue;
        struct life again = l;
        again.disk = vdisk_clone(l.disk);
        vdisk_remove(again.disk, l.disk->now.names[f].name);
        cr_assert_eq(look(&again), PBFT_LOG_DAMAGED);
        pbft_disk_free(&again.disk->base);
        again.disk = vdisk_clone(l.disk);
        vdisk_file(again.disk, l.disk->now.names[f].name)->size -= 512;
        cr_assert_eq(look(&again), PBFT_LOG_DAMAGED);
        vdisk_file(again.disk, l.disk->now.names[f].name)->size = 100;
        cr_assert_eq(look(&again), PBFT_LOG_DAMAGED);
        pbft_disk_free(&again.disk->base);
        tried++;
    }
    cr_assert(tried >= 2);
    while (l.disk->now.count > 0)
        vdisk_remove(l.disk, l.disk->now.names[0].name);
    cr_assert_eq(look(&l), PBFT_LOG_MISSING);
    life_end(&l);
}

Test(log_file, foreign_and_future)
{
    struct life l = life_to_harm(43);
    for (unsigned i = 0; i < 3; i++) {
        struct pbft_log_file_config config = life_config(&l);
        struct pbft_log_file_report found;
        if (i == 0) config.owner.replica++;
        if (i == 1) config.owner.cluster_id.bytes[31] ^= 1;
        if (i == 2) config.owner.key_fingerprint.bytes[0] ^= 1;
        cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_OK);
        cr_assert_eq(found.found, PBFT_LOG_FOREIGN);
    }
    for (size_t f = 0; f < l.disk->now.count; f++) {
        uint8_t *data = vdisk_file(l.disk, l.disk->now.names[f].name)->data;
        if (strncmp(l.disk->now.names[f].name, "log-0", 5) != 0) continue;
        data[8]++; /* version */
        struct pbft_digest hash;
        struct pbft_span body = {data, 480};
        pbft_hash(&hash, "pbft-log-segment", &body, 1);
        memcpy(data + 480, hash.bytes, sizeof hash.bytes);
    }
    cr_assert_eq(look(&l), PBFT_LOG_FUTURE);
    life_end(&l);
}

/* A commit that lands in another place, and is followed by another one. */
Test(log_file, misdirected_write)
{
    struct life l;
    life_new(&l, 44);
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    l.disk->misdirect_at = l.disk->ops + 1;
    l.disk->misdirect_by = 2048;
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    life_crash(&l, VDISK_LOSE, 0);
    cr_assert_eq(look(&l), PBFT_LOG_DAMAGED);
    life_end(&l);
}

/* A read that is answered from another place of the file, each of those of a start: it is noticed,
 * or it was of nothing that counts. */
Test(log_file, misdirected_read)
{
    static const uint64_t by[] = {512, 1536, 4096};
    struct life l = life_to_harm(46);
    uint64_t before = l.disk->reads;
    cr_assert_eq(look(&l), PBFT_LOG_INTACT);
    uint64_t reads = l.disk->reads - before;
    unsigned noticed = 0;
    for (uint64_t i = 0; i < 3 * reads; i++) {
        struct pbft_log_file_config config = life_config(&l);
        struct pbft_log_file_report found;
        l.disk->misread_at = l.disk->reads + 1 + i / 3;
        l.disk->misdirect_by = by[i % 3];
        REQUIRE(i, pbft_log_file_check(&config, &found) == PBFT_STATUS_OK);
        if (pbft_log_found_usable(found.found))
            REQUIRE(i, found.last >= l.durable && found.first <= l.must_from);
        else
            noticed++;
    }
    cr_assert(reads > 3 && noticed > reads, "%u of %llu noticed", noticed,
              (unsigned long long)(3 * reads));
    life_end(&l);
}

Test(log_file, failed_sync_is_final)
{
    struct life l;
    life_new(&l, 45);
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    l.disk->fail_sync_at = l.disk->syncs + 1;
    cr_assert(life_append(&l, KIND_ELSE) && !life_commit(&l));
    cr_assert(l.status == PBFT_STATUS_IO && l.durable == 1);
    uint64_t ops = l.disk->ops;
    cr_assert_eq(pbft_log_append(l.log, KIND_ELSE, 3, NULL, 0), PBFT_STATUS_IO);
    cr_assert_eq(pbft_log_sync(l.log), PBFT_STATUS_IO);
    cr_assert_eq(pbft_log_cut(l.log, 1, 1), PBFT_STATUS_IO);
    pbft_log_commit(l.log);
    cr_assert(!pbft_log_poll(l.log));
    cr_assert_eq(l.disk->ops, ops); /* FAULTS 2.41 */
    struct pbft_log_stats stats;
    pbft_log_stats(l.log, &stats);
    cr_assert(!stats.committing && stats.durable == 1);
    /* The next process reads from the page cache what never reached the disk: not for long. */
    life_crash(&l, VDISK_KILLED, 0);
    cr_assert(life_open(&l));
    life_crash(&l, VDISK_LOSE, 0);
    cr_assert(life_open(&l));
    life_end(&l);
}

/* ---- no room ---- */

static bool fill(struct life *l)
{
    for (unsigned i = 0; i < 400; i++)
        if (!life_append(l, KIND_ELSE) || !life_commit(l)) return true;
    return false;
}

Test(log_file, disk_full_is_not_the_end)
{
    for (uint64_t seed = 51; seed < 55; seed++) {
        struct life l;
        life_new(&l, seed);
        l.disk->room = 7 * SEGMENT + SEGMENT / 2;
        REQUIRE(seed, life_append(&l, KIND_ELSE) && life_commit(&l));
        REQUIRE(seed, fill(&l) && l.status == PBFT_STATUS_FULL);
        pbft_lsn durable = l.durable;
        REQUIRE(seed, durable < l.appended && !pbft_log_poll(l.log));
        REQUIRE(seed, !life_commit(&l) && l.status == PBFT_STATUS_FULL && l.durable == durable);
        if (seed % 2 == 0) { /* a crash loses at most what was not reported */
            life_crash(&l, VDISK_TEAR, 1);
            REQUIRE(seed, life_open(&l));
            REQUIRE(seed, life_append(&l, KIND_ELSE));
        }
        REQUIRE(seed, pbft_log_cut(l.log, l.durable, l.durable) == PBFT_STATUS_OK);
        l.must_from = l.durable;
        l.status = PBFT_STATUS_OK;
        REQUIRE(seed, life_commit(&l) && l.durable == l.appended);
        REQUIRE(seed, life_append(&l, KIND_ELSE) && life_commit(&l));
        life_crash(&l, VDISK_LOSE, 2);
        REQUIRE(seed, life_open(&l));
        life_end(&l);
    }
}

Test(log_file, full_in_the_middle_of_a_write)
{
    struct life l;
    life_new(&l, 56);
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    l.disk->full = true;
    for (unsigned i = 0; i < 4; i++)
        cr_assert(life_append(&l, KIND_ELSE));
    cr_assert(!life_commit(&l) && l.status == PBFT_STATUS_FULL && l.durable == 1);
    l.disk->full = false;
    cr_assert(life_append(&l, KIND_ELSE));
    l.status = PBFT_STATUS_OK;
    cr_assert(life_commit(&l) && l.durable == 5); /* what had failed first */
    pbft_log_commit(l.log);
    cr_assert(pbft_log_poll(l.log) && l.durable == 6);
    life_crash(&l, VDISK_LOSE, 0);
    cr_assert(life_open(&l));
    life_end(&l);
}

Test(log_file, bytes_max_bounds_the_disk)
{
    struct life l;
    life_new(&l, 57);
    cr_assert(fill(&l));
    cr_assert_eq(l.status, PBFT_STATUS_OK); /* append said so, before the disk was asked */
    uint64_t bytes = vdisk_bytes(l.disk);
    cr_assert(bytes <= 16 * SEGMENT && bytes > 8 * SEGMENT);
    cr_assert_eq(pbft_log_cut(l.log, l.durable, l.durable), PBFT_STATUS_OK);
    l.must_from = l.durable;
    cr_assert(life_append(&l, KIND_ELSE) && life_commit(&l));
    cr_assert(l.disk->now.count <= 3);
    life_end(&l);
}

static bool see_large(void *context, const struct pbft_log_record *record)
{
    struct pbft_span *seen = context;
    size_t size = record->payload.size;
    cr_assert(record->lsn <= 3 && size <= seen[0].size);
    cr_assert_eq(memcmp(record->payload.data, seen[0].data, size), 0);
    if (record->lsn > 1) seen[record->lsn - 1].size = size;
    return true;
}

/* Larger than a segment, than one write, and than what is read at once. */
Test(log_file, large_records)
{
    static uint8_t payload[5u << 20];
    struct life l = {.seed = 58, .disk = vdisk_new(), .must_from = 1};
    struct pbft_log_file_config config = life_config(&l);
    config.segment_bytes = 1u << 20;
    config.bytes_max = 32u << 20;
    struct pbft_log_file_report found;
    cr_assert_eq(pbft_log_file_create(&config), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_OK);
    struct rng rng = {58};
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)rng_next(&rng);
    struct pbft_span whole = {payload, sizeof payload}, third = {payload, sizeof payload / 15};
    cr_assert_eq(pbft_log_append(l.log, 1, 1, &third, 1), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_append(l.log, 1, 2, &whole, 1), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_append(l.log, 1, 3, &third, 1), PBFT_STATUS_OK);
    cr_assert(life_commit(&l) && l.durable == 3);
    life_crash(&l, VDISK_LOSE, 0);
    cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_OK);
    cr_assert(found.found == PBFT_LOG_INTACT && found.last == 3 && found.segments == 3);
    struct pbft_span seen[3] = {whole, whole, whole};
    cr_assert(pbft_log_iterate(l.log, see_large, seen));
    cr_assert(seen[1].size == whole.size && seen[2].size == third.size);
    life_end(&l);
}

/* A hole (FAULTS 2.43) looks like what was never written: a later commit alone tells them apart,
 * wherever it begins. */
Test(log_file, hole_before_a_later_commit)
{
    static uint8_t payload[32768];
    memset(payload, 0x5a, sizeof payload);
    for (size_t size = 4096; size <= sizeof payload; size += 512) {
        struct life l = {.seed = size, .disk = vdisk_new(), .must_from = 1};
        struct pbft_log_file_config config = life_config(&l);
        config.segment_bytes = 65536;
        config.bytes_max = 16 * config.segment_bytes;
        struct pbft_log_file_report found;
        cr_assert_eq(pbft_log_file_create(&config), PBFT_STATUS_OK);
        cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_OK);
        for (pbft_lsn lsn = 1; lsn <= 3; lsn++) {
            struct pbft_span span = {payload, lsn == 2 ? size : 16};
            cr_assert_eq(pbft_log_append(l.log, 1, lsn, &span, 1), PBFT_STATUS_OK);
            cr_assert(life_commit(&l));
        }
        life_crash(&l, VDISK_LOSE, 0);
        cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_OK);
        cr_assert(found.found == PBFT_LOG_INTACT && found.last == 3);
        /* The header, its mark and the first commit take 1536 bytes. */
        memset(vdisk_file(l.disk, "log-0000000000000001")->data + 1536, 0, size + 512);
        cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_OK);
        cr_assert_eq(found.found, PBFT_LOG_DAMAGED, "%zu bytes: %s", size, found.text);
        life_end(&l);
    }
}

/* ---- a real folder ---- */

static bool remove_name(void *context, const char *name)
{
    struct pbft_disk *disk = context;
    if (name[0] != '.') (void)disk->ops->unlink(disk, name);
    return true;
}

Test(log_file, real_files)
{
    char dir[] = "/tmp/pbft-log-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    struct pbft_disk *disk;
    cr_assert_eq(pbft_disk_posix_open(&disk, "/nonexistent/folder"), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(pbft_disk_posix_open(&disk, dir), PBFT_STATUS_OK);
    struct life l = {.seed = 61, .must_from = 1};
    struct pbft_log_file_config config = config_of(&l, disk);
    struct pbft_log_file_report found;
    cr_assert_eq(pbft_log_file_check(&config, &found), PBFT_STATUS_OK);
    cr_assert_eq(found.found, PBFT_LOG_MISSING);
    cr_assert_eq(pbft_log_file_create(&config), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_file_create(&config), PBFT_STATUS_EXISTS);
    struct rng rng = {61};
    for (unsigned i = 0; i < 6; i++) {
        l.generation++;
        l.carry_first = 0;
        config = config_of(&l, disk);
        cr_assert_eq(pbft_log_file_open(&l.log, &config, &found), PBFT_STATUS_OK);
        cr_assert(found.found == (i == 0 ? PBFT_LOG_FRESH : PBFT_LOG_INTACT), "%s", found.text);
        life_check(&l, &found);
        for (unsigned k = 0; k < 15; k++)
            cr_assert(life_step(&l, &rng));
        while (l.durable < l.appended)
            cr_assert(life_commit(&l));
        pbft_log_close(l.log);
    }
    cr_assert(l.must_from > 1);
    struct pbft_disk_file *file;
    uint64_t size;
    cr_assert_eq(disk->ops->create(disk, "another", 5000, &file), PBFT_STATUS_OK);
    uint8_t bytes[16];
    cr_assert_eq(disk->ops->read(file, 4984, bytes, 16), PBFT_STATUS_OK);
    cr_assert_eq(disk->ops->read(file, 4985, bytes, 16), PBFT_STATUS_IO);
    disk->ops->close(file);
    cr_assert_eq(disk->ops->create(disk, "another", 5000, &file), PBFT_STATUS_EXISTS);
    cr_assert_eq(disk->ops->open(disk, "none", true, &file, &size), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(disk->ops->list(disk, remove_name, disk), PBFT_STATUS_OK);
    pbft_disk_free(disk);
    pbft_disk_free(NULL);
    cr_assert_eq(rmdir(dir), 0);
}
