/* store/log_file: segments that no writer made, whose checksums hold all the same. They are called
 * damaged, and neither repair nor a commit writes behind the end of a file. */
#include "store/log_file_internal.h"

#include "crypto/keys.h"
#include "tests/sim/vdisk.h"

#include <criterion/criterion.h>
#include <string.h>

#define SEGMENT 8192u

static struct vdisk *disk;

static void setup(void)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    disk = vdisk_new();
}

static void teardown(void)
{
    pbft_disk_free(&disk->base);
}

TestSuite(log_hostile, .init = setup, .fini = teardown, .timeout = 60);

static void report(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context;
    (void)durable;
    cr_assert_eq(status, PBFT_STATUS_OK);
}

static struct pbft_log_file_config config_of(void)
{
    return (struct pbft_log_file_config){.disk = &disk->base,
                                         .sync = true,
                                         .segment_bytes = SEGMENT,
                                         .bytes_max = 16 * SEGMENT,
                                         .durable = report};
}

/* ---- segments by hand ---- */

static void put_file(const char *name, const uint8_t *bytes, size_t size)
{
    const struct pbft_disk_ops *ops = disk->base.ops;
    struct pbft_disk_file *file;
    cr_assert_eq(ops->create(&disk->base, name, size, &file), PBFT_STATUS_OK);
    cr_assert_eq(ops->write(file, 0, bytes, size), PBFT_STATUS_OK);
    ops->close(file);
}

static struct segment put_segment(uint64_t number, uint64_t size, pbft_lsn first, uint64_t commit)
{
    static const uint8_t zeros[2 * SEGMENT];
    struct pbft_log_file_config config = config_of();
    struct segment segment = {.number = number,
                              .size = size,
                              .first = first,
                              .first_commit = commit};
    char name[LOG_NAME_BYTES];
    log_segment_name(name, number);
    put_file(name, zeros, size);
    log_header_encode(vdisk_file(disk, name)->data, &config.owner, &segment);
    return segment;
}

/* Returns where it ends. */
static size_t put_record(const struct segment *segment, size_t at, uint32_t kind, pbft_lsn lsn,
                         uint64_t commit, uint32_t length)
{
    char name[LOG_NAME_BYTES];
    log_segment_name(name, segment->number);
    uint8_t *record = vdisk_file(disk, name)->data + at;
    struct record_head head = {.length = length, .kind = kind, .lsn = lsn};
    log_record_head_put(record, &head);
    log_record_seal(record, segment, commit);
    return at + (size_t)log_record_bytes(length);
}

static bool count_record(void *context, const struct pbft_log_record *record)
{
    (void)record;
    ++*(unsigned *)context;
    return true;
}

static unsigned expect(enum pbft_log_found wanted, const char *text)
{
    struct pbft_log_file_report found;
    struct pbft_log_file_config config = config_of();
    unsigned records = 0;
    cr_assert_eq(pbft_log_file_read(&config, &found, count_record, &records), PBFT_STATUS_OK);
    cr_assert_eq(found.found, wanted, "%d: %s", (int)found.found, found.text);
    cr_assert_not_null(strstr(found.text, text), "%s", found.text);
    return records;
}

/* Opened, with these records, and fit for one more that is there at the next start. */
static void goes_on(unsigned records)
{
    struct pbft_log_file_config config = config_of();
    struct pbft_log_file_report found;
    for (unsigned more = 0; more < 2; more++) {
        struct pbft_log *log;
        unsigned seen = 0;
        cr_assert_eq(pbft_log_file_open(&log, &config, &found), PBFT_STATUS_OK);
        cr_assert(pbft_log_iterate(log, count_record, &seen));
        cr_assert_eq(seen, records + more);
        cr_assert_eq(pbft_log_append(log, 3, found.last + 1, NULL, 0), PBFT_STATUS_OK);
        cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
        pbft_log_commit(log);
        cr_assert(pbft_log_poll(log));
        pbft_log_close(log);
    }
}

static void refused(void)
{
    struct pbft_log_file_config config = config_of();
    struct pbft_log_file_report found;
    struct pbft_log *log;
    uint64_t ops = disk->ops;
    cr_assert_eq(pbft_log_file_open(&log, &config, &found), PBFT_STATUS_CORRUPT);
    cr_assert_eq(disk->ops, ops);
}

/* ---- what there may be ---- */

Test(log_hostile, sizes_are_those_of_a_writer)
{
    (void)put_segment(1, SEGMENT + 512, 1, 1);
    (void)expect(PBFT_LOG_DAMAGED, "wrong size");
    refused();
    vdisk_remove(disk, "log-0000000000000001");
    (void)put_segment(1, SEGMENT + 4096, 1, 1);
    (void)expect(PBFT_LOG_FRESH, "never used");
    goes_on(0);
}

Test(log_hostile, numbers_do_not_wrap)
{
    static const uint64_t numbers[][2] = {
        {0, 1}, {1, 0}, {UINT64_MAX, 1}, {1, UINT64_MAX}, {1, UINT64_MAX / 2 + 1}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        (void)put_segment(1, SEGMENT, numbers[i][0], numbers[i][1]);
        (void)expect(PBFT_LOG_DAMAGED, "damaged header");
        refused();
        vdisk_remove(disk, "log-0000000000000001");
    }
    (void)put_segment(1, SEGMENT, 1, UINT64_MAX / 2);
    (void)expect(PBFT_LOG_FRESH, "never used");
    goes_on(0);
}

/* An incomplete commit, with `room` bytes of the segment behind it. */
static void fill_but(uint32_t room)
{
    struct segment segment = put_segment(1, SEGMENT, 1, 1);
    size_t at = put_record(&segment, LOG_DATA, LOG_KIND_BEGIN, 0, 1, 0);
    uint32_t length = (uint32_t)(SEGMENT - room - at - LOG_RECORD_HEAD);
    cr_assert_eq(put_record(&segment, at, 3, 1, 1, length), SEGMENT - room);
}

Test(log_hostile, an_incomplete_commit_needs_room_for_its_end)
{
    fill_but(0);
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "fuller than"), 1);
    refused();
    vdisk_remove(disk, "log-0000000000000001");
    fill_but(LOG_SECTOR + LOG_RECORD_HEAD - 8); /* for an END, or for NEXT, not for both */
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "fuller than"), 1);
    refused();
    vdisk_remove(disk, "log-0000000000000001");
    fill_but(LOG_SECTOR + LOG_RECORD_HEAD);
    cr_assert_eq(expect(PBFT_LOG_TORN, "under way"), 1);
    goes_on(1);
}

/* A complete one, then nothing: `room` is what is left. */
static struct segment complete_but(uint32_t room)
{
    struct segment segment = put_segment(1, SEGMENT, 1, 1);
    size_t at = put_record(&segment, LOG_DATA, LOG_KIND_BEGIN, 0, 1, 0);
    uint32_t length = (uint32_t)(SEGMENT - room - at - 2 * LOG_RECORD_HEAD);
    at = put_record(&segment, at, 3, 1, 1, length);
    cr_assert_eq(put_record(&segment, at, LOG_KIND_END, 1, 1, 0), SEGMENT - room);
    return segment;
}

Test(log_hostile, a_complete_one_leaves_room_for_next)
{
    (void)complete_but(0);
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "fuller than"), 1);
    refused();
    (void)put_segment(2, SEGMENT, 2, 2); /* and NEXT is not there */
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "fuller than"), 1);
    refused();
    vdisk_remove(disk, "log-0000000000000001");
    (void)complete_but(LOG_SECTOR);
    cr_assert_eq(expect(PBFT_LOG_INTACT, "all records"), 1);
    goes_on(1);
}

/* Its sum would hold for what is behind it, until the next commit goes there. */
Test(log_hostile, a_begin_has_no_payload)
{
    struct segment segment = put_segment(1, SEGMENT, 1, 1);
    size_t at = put_record(&segment, LOG_DATA + LOG_RECORD_HEAD, 3, 1, 1, 0);
    (void)put_record(&segment, at, LOG_KIND_END, 1, 1, 0);
    (void)put_record(&segment, LOG_DATA, LOG_KIND_BEGIN, 0, 1, 4096);
    (void)expect(PBFT_LOG_TORN, "under way");
    goes_on(0);
    goes_on(2);
}

/* One that lies where another belongs has no records of its own, and hides nobody else's. */
Test(log_hostile, a_segment_under_another_number)
{
    (void)complete_but(LOG_SECTOR);
    const struct vdisk_inode *first = vdisk_file(disk, "log-0000000000000001");
    put_file("log-0000000000000007", first->data, first->size);
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "segment 7"), 1);
    vdisk_remove(disk, "log-0000000000000001");
    cr_assert_eq(expect(PBFT_LOG_DAMAGED, "segment 7"), 0);
    refused();
}

Test(log_hostile, a_carry_over_ends_behind_its_beginning)
{
    struct segment segment = complete_but(LOG_SECTOR);
    uint8_t *mark = vdisk_file(disk, "log-0000000000000001")->data + LOG_MARK;
    log_mark_encode(mark, &segment, 9, 1);
    (void)expect(PBFT_LOG_DAMAGED, "carries over");
    refused();
    log_mark_encode(mark, &segment, 1, 1);
    (void)expect(PBFT_LOG_INTACT, "all records");
    goes_on(1);
}
