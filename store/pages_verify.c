/*
 * The structure of an LMDB 0.9 file, read without LMDB (its mdb.c describes it; 64-bit words in the
 * order of the host, as LMDB writes them).
 *
 *     page    u64 number, u16 pad, u16 flags, u16 lower, u16 upper (overflow: u32 pages for these)
 *             branch and leaf: (lower - 16) / 2 * u16 place of a node, nodes from upper on
 *     node    u16 low, u16 high, u16 flags, u16 key size, key, then in a leaf the value or, with
 *             the flag 1, the u64 number of its first overflow page; low, high: the value's size;
 *             in a branch these and the flags are the child's number
 *     meta    pages 0 and 1: u32 magic, u32 version, u64 address, u64 map size, two databases
 *             (free pages, main), u64 last page, u64 transaction
 *     db      u32 pad, u16 flags, u16 depth, 4 * u64 counts, u64 root
 *     free    u64 transaction: u64 count, count * u64 page, descending
 */
#define _GNU_SOURCE /* SEEK_DATA */
#include "store/pages_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES    (256u << 10)
#define HEADER_BYTES  16u
#define NODE_BYTES    8u
#define FLAG_BRANCH   1u
#define FLAG_LEAF     2u
#define FLAG_OVERFLOW 4u
#define FLAG_META     8u
#define NODE_BIG      1u
#define DB_BYTES      48u
#define FREE_FLAGS    0x4008u /* integer keys; the file is no folder */
#define DEPTH_MAX     20u
#define KEY_BYTES_MAX 511u

#define META_MAGIC     0xbeefc0deu
#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 65536u
#define MAP_BYTES_MAX  (UINT64_C(1) << 44) /* of address space */
#define PAGES_MAX      (UINT64_C(1) << 32)

struct verify {
    int fd;
    uint32_t page_bytes;
    uint64_t last;   /* page */
    uint64_t here;   /* pages that the file has */
    uint8_t *seen;   /* a bit for each page */
    bool free_pages; /* in the database of free pages */
    const _Atomic bool *cancel;
    size_t count_key_bytes;
    uint64_t counted;
};

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static enum pbft_status read_at(const struct verify *verify, uint64_t page, uint8_t *out,
                                size_t size)
{
    if (verify->cancel != NULL && atomic_load(verify->cancel)) return PBFT_STATUS_REFUSED;
    ssize_t got = pread(verify->fd, out, size, (off_t)(page * verify->page_bytes));
    if (got < 0) return PBFT_STATUS_IO;
    return (size_t)got == size ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
}

/* Each page has one place, or is free, or neither; never two of these. */
static bool claim(struct verify *verify, uint64_t page, uint64_t count)
{
    if (page < 2 || page > verify->last || count == 0 || count > verify->last - page + 1)
        return false;
    for (uint64_t i = page; i < page + count; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));
        if ((verify->seen[i / 8] & bit) != 0) return false;
        verify->seen[i / 8] |= bit;
    }
    return true;
}

static bool free_list_sound(struct verify *verify, const uint8_t *value, uint64_t size)
{
    if (size < 8 || size % 8 != 0 || get64(value) > size / 8 - 1) return false;
    uint64_t count = get64(value), before = UINT64_MAX;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = get64(value + 8 * i);
        if (page >= before || !claim(verify, page, 1)) return false;
        before = page;
    }
    return true;
}

/* What is in use has to be in the file; what is free may never have been written. */
static bool claim_used(struct verify *verify, uint64_t page, uint64_t count)
{
    return claim(verify, page, count) && page + count <= verify->here;
}

/* A value in pages of its own. */
static enum pbft_status big_value(struct verify *verify, uint64_t page, uint64_t size)
{
    uint64_t count = (HEADER_BYTES - 1 + size) / verify->page_bytes + 1;
    if (!claim_used(verify, page, count)) return PBFT_STATUS_CORRUPT;
    uint8_t head[HEADER_BYTES];
    enum pbft_status status = read_at(verify, page, head, sizeof head);
    if (status != PBFT_STATUS_OK) return status;
    if (get64(head) != page || get16(head + 10) != FLAG_OVERFLOW || get32(head + 12) != count)
        return PBFT_STATUS_CORRUPT;
    if (!verify->free_pages) return PBFT_STATUS_OK;
    uint8_t *data = malloc((size_t)count * verify->page_bytes);
    if (data == NULL) return PBFT_STATUS_MEMORY;
    status = read_at(verify, page, data, (size_t)count * verify->page_bytes);
    if (status == PBFT_STATUS_OK && !free_list_sound(verify, data + HEADER_BYTES, size))
        status = PBFT_STATUS_CORRUPT;
    free(data);
    return status;
}

static enum pbft_status leaf_node(struct verify *verify, const uint8_t *node, size_t room)
{
    uint64_t size = get16(node) | ((uint64_t)get16(node + 2) << 16);
    uint16_t flags = get16(node + 4);
    size_t key_size = get16(node + 6);
    if (flags > NODE_BIG || key_size == 0 || key_size > KEY_BYTES_MAX || key_size > room)
        return PBFT_STATUS_CORRUPT;
    if (verify->free_pages && key_size != 8) return PBFT_STATUS_CORRUPT;
    if (!verify->free_pages && key_size == verify->count_key_bytes) verify->counted++;
    room -= key_size;
    const uint8_t *value = node + NODE_BYTES + key_size;
    if (flags == NODE_BIG)
        return room < 8 ? PBFT_STATUS_CORRUPT : big_value(verify, get64(value), size);
    if (size > room) return PBFT_STATUS_CORRUPT;
    if (verify->free_pages && !free_list_sound(verify, value, size)) return PBFT_STATUS_CORRUPT;
    return PBFT_STATUS_OK;
}

/* depth: of the tree below and with this page; a leaf has 1. */
static enum pbft_status tree_page(struct verify *verify, uint64_t number, uint32_t depth)
{
    if (!claim_used(verify, number, 1)) return PBFT_STATUS_CORRUPT;
    uint8_t *page = malloc(verify->page_bytes);
    if (page == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = read_at(verify, number, page, verify->page_bytes);
    size_t lower = get16(page + 12), upper = get16(page + 14);
    if (status == PBFT_STATUS_OK &&
        (get64(page) != number || get16(page + 10) != (depth == 1 ? FLAG_LEAF : FLAG_BRANCH) ||
         lower < HEADER_BYTES + 2 || lower % 2 != 0 || lower > upper || upper > verify->page_bytes))
        status = PBFT_STATUS_CORRUPT;
    for (size_t at = HEADER_BYTES; status == PBFT_STATUS_OK && at < lower; at += 2) {
        size_t place = get16(page + at);
        if (place < upper || place + NODE_BYTES > verify->page_bytes) {
            status = PBFT_STATUS_CORRUPT;
            break;
        }
        const uint8_t *node = page + place;
        size_t room = verify->page_bytes - place - NODE_BYTES;
        if (depth == 1)
            status = leaf_node(verify, node, room);
        else if (get16(node + 6) > room || get16(node + 6) > KEY_BYTES_MAX)
            status = PBFT_STATUS_CORRUPT;
        else
            status = tree_page(verify,
                               get16(node) | ((uint64_t)get16(node + 2) << 16) |
                                   ((uint64_t)get16(node + 4) << 32),
                               depth - 1);
    }
    free(page);
    return status;
}

static enum pbft_status database(struct verify *verify, const uint8_t *db, uint16_t flags)
{
    uint16_t depth = get16(db + 6);
    uint64_t root = get64(db + 40);
    if (get16(db + 4) != flags || depth > DEPTH_MAX) return PBFT_STATUS_CORRUPT;
    if ((depth == 0) != (root == UINT64_MAX)) return PBFT_STATUS_CORRUPT;
    return depth == 0 ? PBFT_STATUS_OK : tree_page(verify, root, depth);
}

static enum pbft_status databases(struct verify *verify, const uint8_t *meta)
{
    verify->free_pages = true;
    enum pbft_status status = database(verify, meta + 24, FREE_FLAGS);
    verify->free_pages = false;
    if (status == PBFT_STATUS_OK && get32(meta + 24 + DB_BYTES) != 0) status = PBFT_STATUS_CORRUPT;
    return status == PBFT_STATUS_OK ? database(verify, meta + 24 + DB_BYTES, 0) : status;
}

enum pbft_status pbft_pages_verify_head(int fd)
{
    uint64_t at = 0;
    uint32_t page_bytes = 0;
    for (unsigned i = 0; i < 2; i++, at = page_bytes) {
        uint8_t head[HEADER_BYTES + 24 + 2 * DB_BYTES + 8];
        ssize_t got = pread(fd, head, sizeof head, (off_t)at);
        if (got < 0) return PBFT_STATUS_IO;
        if ((size_t)got != sizeof head) return PBFT_STATUS_CORRUPT;
        const uint8_t *meta = head + HEADER_BYTES;
        uint32_t bytes = get32(meta + 24);
        if (get16(head + 10) != FLAG_META || get32(meta) != META_MAGIC || get32(meta + 4) != 1 ||
            bytes < PAGE_BYTES_MIN || bytes > PAGE_BYTES_MAX || (bytes & (bytes - 1)) != 0 ||
            (i == 1 && bytes != page_bytes) || get64(meta + 16) > MAP_BYTES_MAX ||
            get64(meta + 24 + 2 * (size_t)DB_BYTES) >= MAP_BYTES_MAX / bytes)
            return PBFT_STATUS_CORRUPT;
        page_bytes = bytes;
    }
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_pages_verify(const struct pbft_pages_verify_config *config, uint64_t *counted)
{
    struct verify verify = {.fd = config->fd,
                            .page_bytes = config->page_bytes,
                            .cancel = config->cancel,
                            .count_key_bytes = config->count_key_bytes};
    off_t size = lseek(config->fd, 0, SEEK_END);
    if (size < 0) return PBFT_STATUS_IO;
    for (uint64_t page = 0; page < 2; page++) {
        uint8_t head[HEADER_BYTES + 24 + 2 * DB_BYTES + 16];
        enum pbft_status status = read_at(&verify, page, head, sizeof head);
        if (status != PBFT_STATUS_OK) return status;
        const uint8_t *meta = head + HEADER_BYTES;
        const uint8_t *tail = meta + 24 + 2 * (size_t)DB_BYTES;
        if (get64(tail + 8) != config->txn) continue;
        verify.last = get64(tail);
        verify.here = (uint64_t)size / config->page_bytes;
        if (get32(meta + 24) != config->page_bytes || verify.last > PAGES_MAX)
            return PBFT_STATUS_CORRUPT;
        verify.seen = calloc(verify.last / 8 + 1, 1);
        if (verify.seen == NULL) return PBFT_STATUS_MEMORY;
        status = databases(&verify, meta);
        free(verify.seen);
        *counted = verify.counted;
        return status;
    }
    return PBFT_STATUS_CORRUPT;
}

static int read_all(int fd, uint8_t *bytes, const _Atomic bool *cancel)
{
    for (off_t at = 0, data;;) {
        if (cancel != NULL && atomic_load(cancel)) return ECANCELED;
        data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return 0; /* there is none behind */
        if (data > at) at = data;                 /* where it cannot be told, all is read */
        ssize_t got = pread(fd, bytes, READ_BYTES, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return 0;
        at += got;
    }
}

int pbft_pages_read_through(const char *path, const _Atomic bool *cancel)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno;
    uint8_t *bytes = malloc(READ_BYTES);
    int error = bytes == NULL ? ENOMEM : 0;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) error = EINVAL;
    if (error == 0) error = read_all(fd, bytes, cancel);
    free(bytes);
    (void)close(fd);
    return error;
}
