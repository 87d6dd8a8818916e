/* A log's lives on a disk in memory: what was appended and reported, what is read. */
#include "tests/fuzz/log/log.h"

#include <sanitizer/allocator_interface.h>

#define PAYLOAD_MAX 9216u
#define ALLOCATION  (1u << 20) /* a window, and the structures; else it goes by the files */

static size_t largest;

static void on_malloc(const volatile void *memory, size_t size)
{
    (void)memory;
    if (size > largest) largest = size;
}

static void on_free(const volatile void *memory)
{
    (void)memory;
}

void life_watch_memory(void)
{
    REQUIRE(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0);
}

/* ---- a life ---- */

static void report(void *context, enum pbft_status status, pbft_lsn durable)
{
    struct life *l = context;
    REQUIRE(durable >= l->durable && durable <= l->appended);
    l->status = status;
    l->durable = durable;
}

struct pbft_log_file_config life_config(struct life *l)
{
    struct pbft_log_file_config config = {.disk = &l->disk->base,
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

/* Follows from the lsn, and from who wrote it: a lost record's number is used again. */
static size_t payload_of(pbft_lsn lsn, uint8_t size, uint8_t generation, uint8_t out[PAYLOAD_MAX])
{
    size_t bytes = size < 0xe0 ? size : size < 0xf8 ? 1800u + size : 9000u;
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(lsn * 31 + generation * 7u + i * (1 + lsn % 5));
    return bytes;
}

static bool life_append(struct life *l, uint8_t size)
{
    uint8_t payload[PAYLOAD_MAX];
    pbft_lsn lsn = l->appended + 1;
    if (lsn >= LSNS) return false;
    size_t bytes = payload_of(lsn, size, l->generation, payload);
    struct pbft_span part = {payload, bytes};
    enum pbft_status status = pbft_log_append(l->log, 3, lsn, &part, 1);
    REQUIRE(status == PBFT_STATUS_OK || status == PBFT_STATUS_FULL || status == PBFT_STATUS_IO);
    if (status != PBFT_STATUS_OK) return false;
    l->sizes[lsn] = size;
    l->generations[lsn] = l->generation;
    l->appended = lsn;
    return true;
}

static void life_commit(struct life *l)
{
    if (pbft_log_sync(l->log) != PBFT_STATUS_OK) return;
    pbft_log_commit(l->log);
    (void)pbft_log_poll(l->log);
}

static void life_cut(struct life *l, uint8_t size)
{
    pbft_log_roll(l->log);
    pbft_lsn first = l->appended + 1;
    if (!life_append(l, size) || !life_append(l, 8)) return;
    pbft_lsn last = l->appended;
    life_commit(l);
    if (l->durable < last) return;
    REQUIRE(pbft_log_cut(l->log, first, last) == PBFT_STATUS_OK);
    l->must_from = first;
}

void life_run(struct life *l, struct fuzz *f)
{
    for (unsigned steps = fuzz_u8(f) % 32; steps > 0; steps--) {
        uint8_t op = fuzz_u8(f), size = fuzz_u8(f);
        if (op % 8 == 7) {
            life_cut(l, size);
            continue;
        }
        for (unsigned i = 0; i < 1 + op % 8u; i++)
            (void)life_append(l, size);
        if (op < 192) life_commit(l);
    }
}

/* ---- reading ---- */

static bool see(void *context, const struct pbft_log_record *record)
{
    struct seen *s = context;
    REQUIRE(record->lsn > s->last && record->kind < LOG_KINDS);
    if (s->first == 0)
        s->first = record->lsn;
    else if (record->lsn != s->last + 1)
        s->gaps = true;
    s->last = record->lsn;
    s->count++;
    s->sum = s->sum * 31 + record->lsn + record->kind;
    for (size_t i = 0; i < record->payload.size; i++)
        s->sum = s->sum * 31 + record->payload.data[i];
    if (s->life == NULL) return true;
    uint8_t payload[PAYLOAD_MAX];
    REQUIRE(record->lsn <= s->life->appended && record->kind == 3);
    size_t size = payload_of(record->lsn, s->life->sizes[record->lsn],
                             s->life->generations[record->lsn], payload);
    REQUIRE(fuzz_same(record->payload, (struct pbft_span){payload, size}));
    return true;
}

static void said(const struct pbft_log_file_report *found)
{
    REQUIRE(found->found <= PBFT_LOG_FUTURE);
    REQUIRE(found->text[0] != '\0' && memchr(found->text, 0, sizeof found->text) != NULL);
    REQUIRE(found->segments <= PBFT_LOG_SEGMENTS_MAX);
}

struct seen read_all(struct life *l, bool known, struct pbft_log_file_report *found)
{
    struct seen s = {.life = known ? l : NULL};
    struct pbft_log_file_config config = life_config(l);
    uint64_t ops = l->disk->ops;
    largest = 0;
    REQUIRE(pbft_log_file_read(&config, found, see, &s) == PBFT_STATUS_OK);
    REQUIRE(largest <= ALLOCATION + 2 * vdisk_bytes(l->disk));
    REQUIRE(l->disk->ops == ops); /* it changes nothing */
    said(found);
    if (pbft_log_found_usable(found->found)) REQUIRE(!s.gaps);
    return s;
}

struct seen held(struct life *l, bool known)
{
    struct seen s = {.life = known ? l : NULL};
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    REQUIRE(pbft_log_iterate(l->log, see, &s));
    REQUIRE(!s.gaps && s.first == stats.first && s.count == stats.records);
    REQUIRE(s.count == 0 || s.last == stats.last);
    REQUIRE(stats.durable == stats.last);
    return s;
}

enum pbft_status life_open(struct life *l)
{
    struct pbft_log_file_report found;
    l->generation++;
    l->status = PBFT_STATUS_OK;
    struct pbft_log_file_config config = life_config(l);
    largest = 0;
    enum pbft_status status = pbft_log_file_open(&l->log, &config, &found);
    REQUIRE(largest <= ALLOCATION + 2 * vdisk_bytes(l->disk));
    if (status == PBFT_STATUS_IO) {
        REQUIRE(l->disk->stopped || l->disk->fail_sync_at != 0);
        return status;
    }
    said(&found);
    bool usable = pbft_log_found_usable(found.found);
    if (status == PBFT_STATUS_NOT_FOUND)
        REQUIRE(found.found == PBFT_LOG_MISSING);
    else if (status == PBFT_STATUS_CORRUPT)
        REQUIRE(!usable);
    else
        REQUIRE(status == PBFT_STATUS_OK && usable);
    return status;
}

void life_goes_on(struct life *l, bool known, const struct seen *before)
{
    struct seen now = held(l, known);
    REQUIRE(before == NULL || (now.count == before->count && now.sum == before->sum));
    struct pbft_log_stats stats;
    pbft_log_stats(l->log, &stats);
    l->appended = l->durable = stats.last;
    pbft_log_close(l->log);
    REQUIRE(life_open(l) == PBFT_STATUS_OK);
    struct seen again = held(l, known);
    REQUIRE(again.count == now.count && again.sum == now.sum);
    static const uint8_t payload[40] = "a record that follows";
    struct pbft_span part = {payload, sizeof payload};
    enum pbft_status status = pbft_log_append(l->log, 3, stats.last + 1, &part, 1);
    if (status == PBFT_STATUS_OK) {
        l->appended++;
        life_commit(l);
        REQUIRE(l->status == PBFT_STATUS_OK || l->status == PBFT_STATUS_FULL);
    } else {
        REQUIRE(status == PBFT_STATUS_FULL);
    }
    if (status == PBFT_STATUS_OK && l->status == PBFT_STATUS_OK) {
        REQUIRE(l->durable == stats.last + 1);
        pbft_log_close(l->log);
        REQUIRE(life_open(l) == PBFT_STATUS_OK);
        again = held(l, false);
        REQUIRE(again.last == stats.last + 1 && again.count == now.count + 1);
    }
    pbft_log_close(l->log);
    l->log = NULL;
}
