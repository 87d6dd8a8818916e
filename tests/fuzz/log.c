/*
 * tests/fuzz/log.c - the vote log on a disk that lied, tore, rotted or was tampered with
 * (store/log_file.h, FAULTS 2.40 to 2.43). The real writer makes it on a disk in memory.
 *
 * Input: u8 mode, then as the mode says; a life is u8 how many steps, and two bytes for each.
 *
 *   crashes   up to three lives that each end at any operation of the disk, over a repair too
 *   damage    a log that was synced, changed: what is read was written, and one change alone never
 *             makes records disappear from a log that is called usable
 *   hostile   fields changed and checksums repaired: nothing is known of the contents, but what is
 *             opened can be worked with
 *   raw       the input itself as segments
 */
#include "crypto/keys.h"
#include "tests/fuzz/log/log.h"

#define LIVES   3u
#define CHANGES 4u

enum mode { CRASHES, DAMAGE, HOSTILE, RAW, MODES };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    life_watch_memory();
    return 0;
}

/* ---- crashes ---- */

static void crashes(struct life *l, struct fuzz *f)
{
    for (unsigned i = 0; i < LIVES; i++) {
        uint8_t how = fuzz_u8(f);
        uint64_t stop = fuzz_u8(f), sync = fuzz_u8(f), random = fuzz_number(f, 4);
        l->disk->stop_at = stop == 0 ? 0 : l->disk->ops + stop;
        l->disk->fail_sync_at = sync == 0 ? 0 : l->disk->syncs + sync;
        enum pbft_status status = life_open(l);
        REQUIRE(status == PBFT_STATUS_OK || status == PBFT_STATUS_IO); /* damage it is not */
        if (status == PBFT_STATUS_OK) {
            struct seen now = held(l, true);
            REQUIRE(l->durable == 0 || now.last >= l->durable);
            REQUIRE(now.count == 0 || now.first <= l->must_from);
            l->appended = l->durable = now.last;
            life_run(l, f);
            pbft_log_close(l->log);
            l->log = NULL;
        }
        vdisk_crash(l->disk, (enum vdisk_crash)(how % VDISK_CRASHES), random);
        l->disk->fail_sync_at = 0;
    }
    pbft_lsn durable = l->durable;
    struct pbft_log_file_report found;
    struct seen before = read_all(l, true, &found);
    REQUIRE(life_open(l) == PBFT_STATUS_OK);
    REQUIRE(before.last >= durable && (before.count == 0 || before.first <= l->must_from));
    life_goes_on(l, true, &before);
}

/* ---- changes ---- */

static void damage(struct life *l, struct fuzz *f)
{
    REQUIRE(life_open(l) == PBFT_STATUS_OK);
    life_run(l, f);
    pbft_log_close(l->log);
    l->log = NULL;
    unsigned changes = 1 + fuzz_u8(f) % CHANGES;
    for (unsigned i = 0; i < changes; i++)
        change(l, f);
    struct pbft_log_file_report found;
    struct seen before = read_all(l, true, &found);
    bool usable = pbft_log_found_usable(found.found);
    if (usable && changes == 1 && l->durable > 0) {
        REQUIRE(before.last >= l->durable);
        REQUIRE(before.first != 0 && before.first <= l->must_from);
    }
    enum pbft_status status = life_open(l);
    REQUIRE((status == PBFT_STATUS_OK) == usable);
    if (usable) life_goes_on(l, true, &before);
}

static void judge_unknown(struct life *l)
{
    struct pbft_log_file_report found;
    struct seen before = read_all(l, false, &found);
    l->appended = UINT64_MAX;
    l->durable = 0;
    enum pbft_status status = life_open(l);
    REQUIRE((status == PBFT_STATUS_OK) == pbft_log_found_usable(found.found));
    if (status == PBFT_STATUS_OK) life_goes_on(l, false, &before);
}

static void hostile(struct life *l, struct fuzz *f)
{
    REQUIRE(life_open(l) == PBFT_STATUS_OK);
    life_run(l, f);
    pbft_log_close(l->log);
    l->log = NULL;
    for (unsigned changes = 1 + fuzz_u8(f) % CHANGES; changes > 0; changes--)
        tamper(l, f);
    judge_unknown(l);
}

/* Whole segments of the input, or what is behind a good header. */
static void raw(struct life *l, struct fuzz *f)
{
    uint8_t count = (uint8_t)(1 + fuzz_u8(f) % 3);
    char name[LOG_NAME_BYTES];
    for (uint8_t i = 1; i <= count; i++) {
        uint8_t how = fuzz_u8(f);
        struct pbft_span bytes = fuzz_bytes(f, (size_t)fuzz_number(f, 2) % (2 * SEGMENT));
        size_t front = how % 2 == 0 ? 0 : LOG_DATA, size = front + bytes.size;
        uint8_t *file = calloc(1, size + 1);
        REQUIRE(file != NULL);
        if (bytes.size > 0) memcpy(file + front, bytes.data, bytes.size);
        struct pbft_log_file_config config = life_config(l);
        struct segment segment = {.number = i, .size = size, .first = 1, .first_commit = 1};
        if (front > 0) log_header_encode(file, &config.owner, &segment);
        log_segment_name(name, i);
        put_file(l, name, file, size);
        free(file);
    }
    judge_unknown(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct life l = {.disk = vdisk_new(), .must_from = 1};
    struct pbft_log_file_config config = life_config(&l);
    REQUIRE(pbft_log_file_create(&config) == PBFT_STATUS_OK);
    switch ((enum mode)(fuzz_u8(&f) % MODES)) {
    case CRASHES: crashes(&l, &f); break;
    case DAMAGE: damage(&l, &f); break;
    case HOSTILE: hostile(&l, &f); break;
    case RAW: raw(&l, &f); break;
    case MODES: break;
    }
    pbft_disk_free(&l.disk->base);
    return 0;
}
