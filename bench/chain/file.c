#include "bench/chain/file.h"

#include "crypto/files.h"
#include "pbft/wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC        "PBFTCHN1"
#define HEAD_BYTES   (8u + CHAIN_PARAMS_BYTES + 8u)
#define FILE_MAX     (UINT64_C(4) << 30)
#define LENGTH_BYTES 4u

static enum pbft_status failed(const char *path, char error[256])
{
    int number = errno;
    (void)snprintf(error, 256, "cannot use '%.150s': %.80s", path, strerror(number));
    return pbft_file_status(number);
}

/* ---- writing ---- */

static enum pbft_status write_blocks(int fd, const struct chain_tree *tree)
{
    uint8_t head[HEAD_BYTES];
    uint64_t count = tree->tip->height;
    memcpy(head, MAGIC, 8);
    chain_params_encode(&tree->params, head + 8);
    pbft_put_u64(head + 8 + CHAIN_PARAMS_BYTES, count);
    enum pbft_status status = pbft_file_write(fd, head, sizeof head);
    const struct chain_block **blocks = calloc(count + 1, sizeof(struct chain_block *));
    if (blocks == NULL) return PBFT_STATUS_MEMORY;
    for (const struct chain_block *b = tree->tip; b->parent != NULL; b = b->parent)
        blocks[b->height] = b;
    for (uint64_t i = 1; i <= count && status == PBFT_STATUS_OK; i++) {
        uint8_t length[LENGTH_BYTES];
        PBFT_ASSERT(blocks[i] != NULL);
        pbft_put_u32(length, (uint32_t)blocks[i]->size);
        status = pbft_file_write(fd, length, sizeof length);
        if (status == PBFT_STATUS_OK)
            status = pbft_file_write(fd, blocks[i]->bytes, blocks[i]->size);
    }
    free(blocks);
    return status;
}

enum pbft_status chain_file_write(const char *path, const struct chain_tree *tree, char error[256])
{
    char fresh[4096];
    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh) {
        (void)snprintf(error, 256, "the name of the file is too long");
        return PBFT_STATUS_ARGUMENT;
    }
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return failed(fresh, error);
    enum pbft_status status = write_blocks(fd, tree);
    if (status == PBFT_STATUS_OK && fsync(fd) != 0) status = PBFT_STATUS_IO;
    int number = errno;
    (void)close(fd);
    if (status == PBFT_STATUS_OK && rename(fresh, path) == 0)
        status = pbft_folder_sync_of(path);
    else if (status == PBFT_STATUS_OK)
        return failed(path, error);
    if (status != PBFT_STATUS_OK) {
        (void)unlink(fresh);
        (void)snprintf(error, 256, "cannot write '%.150s': %.60s", path,
                       number != 0 ? strerror(number) : pbft_status_text(status));
    }
    return status;
}

/* ---- verifying ---- */

static const char *sentence(enum chain_verdict verdict)
{
    switch ((int)verdict) {
    case CHAIN_DROP_SIZE: return "it is larger than the chain's parameters allow";
    case CHAIN_DROP_VERSION: return "it is of a version that is not known";
    case CHAIN_DROP_WORK: return "its hash exceeds its target: the work is missing";
    case CHAIN_DROP_BITS: return "its target is not the one that retargeting gives";
    case CHAIN_DROP_TIME:
        return "its time is not after the median of the blocks before it, or far "
               "in the future";
    case CHAIN_DROP_MERKLE: return "its operations are not those of its Merkle root";
    case CHAIN_DROP_OPERATION: return "one of its operations is not a canonical REQUEST";
    case CHAIN_DROP_SIGNATURE: return "the signature of one of its operations does not verify";
    case CHAIN_DROP_REPLAY: return "it executes a request number for the second time";
    case CHAIN_DROP_ORPHAN:
    case CHAIN_DROP_DUPLICATE: return "it does not link to the block before it";
    case CHAIN_DROP_FULL: return "memory ran out";
    default: return "it is malformed";
    }
}

static enum pbft_status judge(enum chain_verdict verdict)
{
    if (verdict == CHAIN_DROP_FULL) return PBFT_STATUS_MEMORY;
    return verdict == CHAIN_DROP_MALFORMED ? PBFT_STATUS_CORRUPT : PBFT_STATUS_REFUSED;
}

static enum pbft_status verify_block(struct chain_tree *tree, struct pbft_span bytes,
                                     uint64_t now_ms, char error[256])
{
    const struct chain_block *before = tree->tip;
    enum chain_verdict verdict = chain_tree_add(tree, bytes, now_ms);
    /* Taken in, but as a branch: also of a parent that is further back. */
    if (verdict == CHAIN_OK && tree->tip->parent != before) verdict = CHAIN_DROP_ORPHAN;
    if (verdict == CHAIN_OK) return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "block %llu is wrong (%s): %s",
                   (unsigned long long)before->height + 1, chain_verdict_text(verdict),
                   sentence(verdict));
    return judge(verdict);
}

static enum pbft_status verify_blocks(struct chain_tree *tree, const uint8_t *at, uint64_t left,
                                      uint64_t count, uint64_t now_ms,
                                      struct chain_file_report *out, char error[256])
{
    for (uint64_t i = 1; i <= count; i++) {
        if (left < LENGTH_BYTES || pbft_get_u32(at) > left - LENGTH_BYTES) {
            (void)snprintf(error, 256, "the file ends within block %llu of %llu",
                           (unsigned long long)i, (unsigned long long)count);
            return PBFT_STATUS_CORRUPT;
        }
        struct pbft_span bytes = {at + LENGTH_BYTES, pbft_get_u32(at)};
        enum pbft_status status = verify_block(tree, bytes, now_ms, error);
        if (status != PBFT_STATUS_OK) return status;
        out->blocks++;
        out->operations += tree->tip->op_count;
        at += LENGTH_BYTES + bytes.size;
        left -= LENGTH_BYTES + bytes.size;
    }
    if (left == 0) return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "%llu bytes follow the last block", (unsigned long long)left);
    return PBFT_STATUS_CORRUPT;
}

static enum pbft_status verify_bytes(const uint8_t *bytes, uint64_t size, uint64_t now_ms,
                                     struct chain_file_report *out, char error[256])
{
    (void)snprintf(error, 256, "it is not a chain file: it does not begin with " MAGIC);
    if (size < HEAD_BYTES || memcmp(bytes, MAGIC, 8) != 0) return PBFT_STATUS_CORRUPT;
    chain_params_decode(&out->params, bytes + 8);
    const char *wrong = chain_params_check(&out->params);
    if (wrong != NULL) {
        (void)snprintf(error, 256, "its parameters are out of bounds: %s", wrong);
        return PBFT_STATUS_CORRUPT;
    }
    struct chain_tree tree;
    struct chain_limits limits = {.blocks = UINT64_MAX};
    if (!chain_tree_init(&tree, &out->params, &limits, NULL, 0)) {
        (void)snprintf(error, 256, "memory ran out");
        return PBFT_STATUS_MEMORY;
    }
    uint64_t count = pbft_get_u64(bytes + 8 + CHAIN_PARAMS_BYTES);
    enum pbft_status status =
        verify_blocks(&tree, bytes + HEAD_BYTES, size - HEAD_BYTES, count, now_ms, out, error);
    out->work = chain_u256_double(&tree.tip->work);
    out->tip = tree.tip->link.key;
    chain_tree_free(&tree);
    return status;
}

static enum pbft_status read_all(int fd, uint8_t *bytes, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t got = read(fd, bytes + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return PBFT_STATUS_IO;
        done += (uint64_t)got;
    }
    return PBFT_STATUS_OK;
}

enum pbft_status chain_file_verify(const char *path, uint64_t now_ms, struct chain_file_report *out,
                                   char error[256])
{
    memset(out, 0, sizeof *out);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0) return failed(path, error);
    enum pbft_status status = PBFT_STATUS_CORRUPT;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size > FILE_MAX) {
        (void)snprintf(error, 256, "'%.150s' is no file of a size that a chain file has", path);
        (void)close(fd);
        return status;
    }
    uint64_t size = (uint64_t)info.st_size;
    uint8_t *bytes = malloc(size == 0 ? 1 : size);
    status = bytes == NULL ? PBFT_STATUS_MEMORY : read_all(fd, bytes, size);
    (void)close(fd);
    if (status == PBFT_STATUS_OK)
        status = verify_bytes(bytes, size, now_ms, out, error);
    else
        (void)snprintf(error, 256, "cannot read '%.150s': %s", path, pbft_status_text(status));
    free(bytes);
    return status;
}
