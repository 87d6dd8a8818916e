/* The bytes of the vote log on disk: names, headers, cut marks, records (store/log_file.h). */
#include "store/log_file_internal.h"

#include "crypto/hash.h"
#include "pbft/wire.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define VERSION    1u
#define HASH_AT    (LOG_SECTOR - PBFT_DIGEST_BYTES)
#define NUMBER_HEX 16u

_Static_assert(crypto_shorthash_KEYBYTES == LOG_SALT_BYTES, "a salt is a SipHash key");
_Static_assert(crypto_shorthash_BYTES == 8, "a sum is 64 bits");

static const uint8_t header_magic[8] = {'P', 'B', 'F', 'T', 'V', 'L', 'O', 'G'};
static const uint8_t mark_magic[8] = {'P', 'B', 'F', 'T', 'L', 'C', 'U', 'T'};

bool log_buffer_reserve(struct buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->size) return true;
    if (more > SIZE_MAX / 4 || buffer->size > SIZE_MAX / 4) return false;
    size_t capacity = 2 * (buffer->size + more);
    uint8_t *bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL) return false;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return true;
}

void log_buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}

/* ---- names ---- */

void log_segment_name(char out[LOG_NAME_BYTES], uint64_t number)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "log-", 4);
    for (unsigned i = 0; i < NUMBER_HEX; i++)
        out[4 + i] = digits[(number >> (4 * (NUMBER_HEX - 1 - i))) & 15u];
    out[4 + NUMBER_HEX] = '\0';
}

uint64_t log_segment_number(const char *name)
{
    if (strncmp(name, "log-", 4) != 0 || strlen(name) != 4 + NUMBER_HEX) return 0;
    uint64_t number = 0;
    for (const char *p = name + 4; *p != '\0'; p++) {
        bool digit = *p >= '0' && *p <= '9';
        if (!digit && !(*p >= 'a' && *p <= 'f')) return 0;
        number = number << 4 | (uint64_t)(digit ? *p - '0' : *p - 'a' + 10);
    }
    return number;
}

bool pbft_log_file_named(const char *name)
{
    return log_segment_number(name) != 0 || strcmp(name, LOG_SPARE) == 0 ||
           strcmp(name, LOG_NEW) == 0;
}

/* ---- header ---- */

static void header_hash(const uint8_t data[LOG_SECTOR], struct pbft_digest *out)
{
    struct pbft_span body = {data, HASH_AT};
    pbft_hash(out, "pbft-log-segment", &body, 1);
}

void log_header_encode(uint8_t out[LOG_SECTOR], const struct pbft_superblock_owner *owner,
                       const struct segment *segment)
{
    memset(out, 0, LOG_SECTOR);
    memcpy(out, header_magic, sizeof header_magic);
    pbft_put_u32(out + 8, VERSION);
    pbft_put_u32(out + 12, owner->replica);
    memcpy(out + 16, owner->cluster_id.bytes, PBFT_DIGEST_BYTES);
    memcpy(out + 48, owner->key_fingerprint.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u64(out + 80, segment->number);
    pbft_put_u64(out + 88, segment->size);
    pbft_put_u64(out + 96, segment->first);
    pbft_put_u64(out + 104, segment->first_commit);
    memcpy(out + 112, segment->salt, LOG_SALT_BYTES);
    struct pbft_digest hash;
    header_hash(out, &hash);
    memcpy(out + HASH_AT, hash.bytes, PBFT_DIGEST_BYTES);
}

/* Magic, version and hash stay where they are in every version to come. */
enum pbft_log_found log_header_decode(const uint8_t data[LOG_SECTOR],
                                      const struct pbft_superblock_owner *owner,
                                      struct segment *segment)
{
    struct pbft_digest hash;
    header_hash(data, &hash);
    if (memcmp(data, header_magic, sizeof header_magic) != 0 ||
        memcmp(data + HASH_AT, hash.bytes, PBFT_DIGEST_BYTES) != 0)
        return PBFT_LOG_DAMAGED;
    if (pbft_get_u32(data + 8) != VERSION) return PBFT_LOG_FUTURE;
    *segment = (struct segment){.number = pbft_get_u64(data + 80),
                                .size = pbft_get_u64(data + 88),
                                .first = pbft_get_u64(data + 96),
                                .first_commit = pbft_get_u64(data + 104)};
    memcpy(segment->salt, data + 112, LOG_SALT_BYTES);
    bool ours = pbft_get_u32(data + 12) == owner->replica &&
                memcmp(data + 16, owner->cluster_id.bytes, PBFT_DIGEST_BYTES) == 0 &&
                memcmp(data + 48, owner->key_fingerprint.bytes, PBFT_DIGEST_BYTES) == 0;
    return ours ? PBFT_LOG_INTACT : PBFT_LOG_FOREIGN;
}

/* ---- sums ---- */

static uint64_t sum_of(const uint8_t *data, size_t size, const struct segment *segment)
{
    uint8_t sum[8];
    (void)crypto_shorthash(sum, data, size, segment->salt);
    return pbft_get_u64(sum);
}

void log_mark_encode(uint8_t out[LOG_SECTOR], const struct segment *segment, pbft_lsn first,
                     pbft_lsn last)
{
    memset(out, 0, LOG_SECTOR);
    memcpy(out + 8, mark_magic, sizeof mark_magic);
    pbft_put_u64(out + 16, first);
    pbft_put_u64(out + 24, last);
    pbft_put_u64(out, sum_of(out + 8, LOG_SECTOR - 8, segment));
}

bool log_mark_decode(const uint8_t data[LOG_SECTOR], const struct segment *segment, pbft_lsn *first,
                     pbft_lsn *last)
{
    if (memcmp(data + 8, mark_magic, sizeof mark_magic) != 0) return false;
    if (pbft_get_u64(data) != sum_of(data + 8, LOG_SECTOR - 8, segment)) return false;
    *first = pbft_get_u64(data + 16);
    *last = pbft_get_u64(data + 24);
    return true;
}

void log_record_head_put(uint8_t *out, const struct record_head *head)
{
    pbft_put_u64(out, head->sum);
    pbft_put_u32(out + 8, head->length);
    pbft_put_u32(out + 12, head->kind);
    pbft_put_u64(out + 16, head->lsn);
    pbft_put_u64(out + 24, head->commit);
}

struct record_head log_record_head_get(const uint8_t *record)
{
    return (struct record_head){.sum = pbft_get_u64(record),
                                .length = pbft_get_u32(record + 8),
                                .kind = pbft_get_u32(record + 12),
                                .lsn = pbft_get_u64(record + 16),
                                .commit = pbft_get_u64(record + 24)};
}

static uint64_t record_sum(const uint8_t *record, const struct segment *segment)
{
    size_t size = (size_t)log_record_bytes(pbft_get_u32(record + 8));
    return sum_of(record + 8, size - 8, segment);
}

void log_record_seal(uint8_t *record, const struct segment *segment, uint64_t commit)
{
    pbft_put_u64(record + 24, commit);
    pbft_put_u64(record, record_sum(record, segment));
}

bool log_record_valid(const uint8_t *record, const struct segment *segment)
{
    return pbft_get_u64(record) == record_sum(record, segment);
}

bool log_record_mark(struct buffer *out, const struct segment *segment, uint32_t kind, pbft_lsn lsn,
                     uint64_t commit)
{
    if (!log_buffer_reserve(out, LOG_RECORD_HEAD)) return false;
    uint8_t *record = out->bytes + out->size;
    log_record_head_put(record, &(struct record_head){.kind = kind, .lsn = lsn});
    log_record_seal(record, segment, commit);
    out->size += LOG_RECORD_HEAD;
    return true;
}
