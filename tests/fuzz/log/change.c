/* What happens to a log's files: rot, lost and misdirected writes, and those who know how to make
 * checksums. */
#include "tests/fuzz/log/log.h"

/* ---- changes ---- */

static const char *a_name(const struct life *l, struct fuzz *f)
{
    const struct vdisk_folder *folder = &l->disk->now;
    return folder->count == 0 ? NULL : folder->names[fuzz_u8(f) % folder->count].name;
}

void put_file(struct life *l, const char *name, const uint8_t *bytes, size_t size)
{
    const struct pbft_disk_ops *ops = l->disk->base.ops;
    struct pbft_disk_file *file;
    vdisk_remove(l->disk, name);
    REQUIRE(ops->create(&l->disk->base, name, size, &file) == PBFT_STATUS_OK);
    REQUIRE(ops->write(file, 0, bytes, size) == PBFT_STATUS_OK);
    REQUIRE(ops->sync(file) == PBFT_STATUS_OK);
    ops->close(file);
    REQUIRE(ops->sync_folder(&l->disk->base) == PBFT_STATUS_OK);
}

/* Another length; zeros at the end of a longer one. */
static void resize(struct life *l, const char *name, size_t size)
{
    const struct vdisk_inode *inode = vdisk_file(l->disk, name);
    char same[VDISK_NAME_BYTES];
    uint8_t *bytes = calloc(1, size + 1);
    REQUIRE(bytes != NULL);
    (void)snprintf(same, sizeof same, "%s", name);
    memcpy(bytes, inode->data, size < inode->size ? size : inode->size);
    put_file(l, same, bytes, size);
    free(bytes);
}

static void swap_or_copy(struct life *l, const char *a, const char *b, bool swap)
{
    char names[2][VDISK_NAME_BYTES];
    (void)snprintf(names[0], sizeof names[0], "%s", a);
    (void)snprintf(names[1], sizeof names[1], "%s", b);
    const struct vdisk_inode *from = vdisk_file(l->disk, a), *to = vdisk_file(l->disk, b);
    size_t sizes[2] = {from->size, to->size};
    uint8_t *first = fuzz_copy((struct pbft_span){from->data, sizes[0]});
    uint8_t *second = fuzz_copy((struct pbft_span){to->data, sizes[1]});
    put_file(l, names[1], first, sizes[0]);
    if (swap) put_file(l, names[0], second, sizes[1]);
    free(first);
    free(second);
}

void change(struct life *l, struct fuzz *f)
{
    const char *name = a_name(l, f);
    if (name == NULL) return;
    struct vdisk_inode *inode = vdisk_file(l->disk, name);
    uint8_t how = fuzz_u8(f);
    size_t at = (size_t)fuzz_number(f, 2) % (inode->size + 1);
    size_t sector = at / VDISK_SECTOR * VDISK_SECTOR;
    bool whole = sector + VDISK_SECTOR <= inode->size;
    char other[LOG_NAME_BYTES];
    switch (how % 8) {
    case 0:
        if (at < inode->size) inode->data[at] ^= (uint8_t)(fuzz_u8(f) | 1);
        break;
    case 1:
        if (whole) memset(inode->data + sector, 0, VDISK_SECTOR);
        break;
    case 2: { /* a misdirected write, or a lost one */
        const struct vdisk_inode *from = vdisk_file(l->disk, a_name(l, f));
        size_t source = fuzz_u8(f) * (size_t)VDISK_SECTOR;
        if (whole && source + VDISK_SECTOR <= from->size)
            memmove(inode->data + sector, from->data + source, VDISK_SECTOR);
        break;
    }
    case 3: /* torn */
        if (whole && at < inode->size)
            memset(inode->data + at, fuzz_u8(f), sector + VDISK_SECTOR - at);
        break;
    case 4: resize(l, name, at); break;
    case 5: vdisk_remove(l->disk, name); break;
    case 6: swap_or_copy(l, name, a_name(l, f), (how & 8) != 0); break;
    default:
        log_segment_name(other, fuzz_u8(f));
        if (vdisk_file(l->disk, other) == NULL) put_file(l, other, inode->data, inode->size);
        break;
    }
}

/* ---- whoever knows how to make checksums ---- */

/* Fields get numbers from around what is there, and from the ends of their range. */
static uint64_t number_near(struct fuzz *f, uint64_t value)
{
    uint8_t how = fuzz_u8(f);
    switch (how % 5) {
    case 0: return value + (uint64_t)(int64_t)(int8_t)fuzz_u8(f);
    case 1: return UINT64_MAX - fuzz_u8(f);
    case 2: return fuzz_u8(f);
    case 3: return (uint64_t)1 << (how / 5);
    default: return fuzz_number(f, 8);
    }
}

static bool segment_of(const struct life *l, const struct vdisk_inode *inode,
                       struct segment *segment)
{
    struct pbft_log_file_config config = life_config((struct life *)l);
    return inode->size >= LOG_DATA &&
           log_header_decode(inode->data, &config.owner, segment) == PBFT_LOG_INTACT;
}

static void change_header(struct life *l, struct vdisk_inode *inode, struct segment *segment,
                          struct fuzz *f)
{
    struct pbft_log_file_config config = life_config(l);
    switch (fuzz_u8(f) % 6) {
    case 0: segment->number = number_near(f, segment->number); break;
    case 1: segment->size = number_near(f, inode->size); break;
    case 2: segment->first = number_near(f, segment->first); break;
    case 3: segment->first_commit = number_near(f, segment->first_commit); break;
    case 4: config.owner.replica ^= fuzz_u8(f); break;
    default: segment->salt[0] ^= fuzz_u8(f); break;
    }
    log_header_encode(inode->data, &config.owner, segment);
}

/* The k-th record that there seems to be, by the lengths alone. */
static size_t record_offset(const struct vdisk_inode *inode, unsigned k)
{
    size_t at = LOG_DATA;
    while (k-- > 0 && at + LOG_RECORD_HEAD <= inode->size) {
        struct record_head head = log_record_head_get(inode->data + at);
        uint64_t next = at + log_record_bytes(head.length);
        if (head.kind == LOG_KIND_END || head.kind == 0) next = log_round_up(next, LOG_SECTOR);
        if (next > inode->size) break;
        at = (size_t)next;
    }
    return at;
}

/* As it is now, with a sum that holds, if it lies in the file. */
static void seal_at(struct vdisk_inode *inode, const struct segment *segment, size_t at)
{
    struct record_head head = log_record_head_get(inode->data + at);
    if (log_record_bytes(head.length) <= inode->size - at)
        log_record_seal(inode->data + at, segment, head.commit);
}

static void change_record(struct vdisk_inode *inode, const struct segment *segment, size_t at,
                          struct fuzz *f)
{
    static const uint32_t kinds[] = {LOG_KIND_BEGIN, LOG_KIND_END, LOG_KIND_NEXT, 3, UINT32_MAX};
    if (at + LOG_RECORD_HEAD > inode->size) return;
    struct record_head head = log_record_head_get(inode->data + at);
    uint8_t which = fuzz_u8(f);
    if ((which & 1) != 0) head.length = (uint32_t)number_near(f, head.length);
    if ((which & 2) != 0) head.kind = kinds[fuzz_u8(f) % 5];
    if ((which & 4) != 0) head.lsn = number_near(f, head.lsn);
    if ((which & 8) != 0) head.commit = number_near(f, head.commit);
    if ((which & 16) != 0) head.length = (uint32_t)(inode->size - at - LOG_RECORD_HEAD);
    log_record_head_put(inode->data + at, &head);
    seal_at(inode, segment, at);
}

/* A run of them that follow each other, as a writer without bounds would make it. */
static void add_records(struct vdisk_inode *inode, const struct segment *segment, size_t at,
                        struct fuzz *f)
{
    if (at + LOG_RECORD_HEAD > inode->size) return;
    struct record_head head = {.kind = LOG_KIND_BEGIN,
                               .lsn = number_near(f, segment->first - 1),
                               .commit = number_near(f, segment->first_commit)};
    for (unsigned i = 0, count = fuzz_u8(f) % 8; i <= count; i++) {
        uint64_t rest = inode->size - at;
        if (rest < LOG_RECORD_HEAD) return;
        log_record_head_put(inode->data + at, &head);
        seal_at(inode, segment, at);
        uint64_t next = at + log_record_bytes(head.length);
        if (head.kind == LOG_KIND_END) {
            next = log_round_up(next, LOG_SECTOR);
            head.commit++;
        }
        if (next > inode->size) return;
        at = (size_t)next;
        uint8_t op = fuzz_u8(f);
        head.length = 0;
        head.kind = op % 4 == 0 ? LOG_KIND_BEGIN : op % 4 == 1 ? LOG_KIND_END : 3;
        if (op % 4 == 2) head.length = fuzz_u8(f) * 8u;
        if (op % 4 == 3 && inode->size - at >= LOG_RECORD_HEAD * (1u + op / 64))
            head.length = (uint32_t)(inode->size - at - LOG_RECORD_HEAD * (1u + op / 64));
        if (head.kind == 3) head.lsn++;
    }
}

void tamper(struct life *l, struct fuzz *f)
{
    struct segment segment;
    const char *name = a_name(l, f);
    if (name == NULL) return;
    uint8_t how = fuzz_u8(f), k = fuzz_u8(f);
    struct vdisk_inode *inode = vdisk_file(l->disk, name);
    if (!segment_of(l, inode, &segment)) return;
    pbft_lsn marks[2];
    switch (how % 6) {
    case 0: change_header(l, inode, &segment, f); break;
    case 1: change_record(inode, &segment, record_offset(inode, k), f); break;
    case 2: add_records(inode, &segment, record_offset(inode, k), f); break;
    case 3:
        marks[0] = number_near(f, segment.first);
        marks[1] = number_near(f, marks[0]);
        log_mark_encode(inode->data + LOG_MARK, &segment, marks[0], marks[1]);
        break;
    case 4: { /* of another length, and the header says so */
        struct pbft_log_file_config config = life_config(l);
        size_t size = LOG_DATA + (size_t)fuzz_number(f, 2) % (2 * SEGMENT);
        char same[VDISK_NAME_BYTES];
        (void)snprintf(same, sizeof same, "%s", name);
        resize(l, name, size);
        segment.size = size;
        log_header_encode(vdisk_file(l->disk, same)->data, &config.owner, &segment);
        break;
    }
    default: change(l, f); break;
    }
}
