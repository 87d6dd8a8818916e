/* crypto/epoch_file.c - proofs on a disk. */
#include "crypto/epoch_file.h"

#include "crypto/files.h"
#include "crypto/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_VERSION   1u
#define FILE_MAX_BYTES (64 << 20)
#define HEAD_BYTES     16u
#define DOMAIN_EPOCHS  "pbft-epochs"

static const uint8_t magic[8] = {'P', 'B', 'F', 'T', 'E', 'P', 'O', 'C'};

static void seal(const uint8_t *bytes, size_t size, struct pbft_digest *out)
{
    pbft_hash(out, DOMAIN_EPOCHS, &(struct pbft_span){bytes, size}, 1);
}

/* ---- reading ---- */

static enum pbft_status read_whole(int fd, uint8_t **bytes, size_t *size)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return pbft_file_status(errno);
    if (!S_ISREG(info.st_mode) || info.st_size <= 0 || info.st_size > FILE_MAX_BYTES)
        return PBFT_STATUS_CORRUPT;
    *size = (size_t)info.st_size;
    *bytes = malloc(*size);
    if (*bytes == NULL) return PBFT_STATUS_MEMORY;
    for (size_t at = 0; at < *size;) {
        ssize_t n = read(fd, *bytes + at, *size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n == 0 ? PBFT_STATUS_CORRUPT : pbft_file_status(errno);
        at += (size_t)n;
    }
    return PBFT_STATUS_OK;
}

/* The proofs of a file that is whole; their common length, 0 if there is something wrong. */
static size_t proofs_of(const uint8_t *bytes, size_t size, uint32_t *count)
{
    struct pbft_digest digest;
    if (size < HEAD_BYTES + PBFT_DIGEST_BYTES || memcmp(bytes, magic, sizeof magic) != 0 ||
        pbft_get_u32(bytes + 8) != FILE_VERSION)
        return 0;
    size_t body = size - HEAD_BYTES - PBFT_DIGEST_BYTES;
    *count = pbft_get_u32(bytes + 12);
    seal(bytes, size - PBFT_DIGEST_BYTES, &digest);
    if (memcmp(bytes + size - PBFT_DIGEST_BYTES, digest.bytes, PBFT_DIGEST_BYTES) != 0 ||
        *count == 0 || body % *count != 0)
        return 0;
    return body / *count;
}

/* A file that is whole; the caller frees *bytes, whatever is returned. */
static enum pbft_status open_whole(const char *path, uint8_t **bytes, size_t *each, uint32_t *count)
{
    size_t size = 0;
    *bytes = NULL;
    *each = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for a writer */
    if (fd < 0) return pbft_file_status(errno);
    enum pbft_status status = read_whole(fd, bytes, &size);
    close(fd);
    if (status != PBFT_STATUS_OK) return status;
    *each = proofs_of(*bytes, size, count);
    return *each > 0 ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
}

static enum pbft_verdict step(struct pbft_cluster *cluster, struct pbft_span proof)
{
    struct pbft_cluster next;
    enum pbft_verdict verdict = pbft_epoch_next(cluster, &pbft_signer_ed25519, proof, &next);
    if (verdict != PBFT_OK) return verdict;
    pbft_epoch_free(cluster);
    *cluster = next;
    return PBFT_OK;
}

enum pbft_status pbft_epoch_file_load(const char *path, struct pbft_cluster *cluster)
{
    uint8_t *bytes;
    size_t each;
    uint32_t count = 0;
    PBFT_ASSERT(cluster->epoch == 0);
    struct pbft_cluster now = *cluster;
    enum pbft_status status = open_whole(path, &bytes, &each, &count);
    for (uint32_t i = 0; status == PBFT_STATUS_OK && i < count; i++) {
        struct pbft_span proof = {bytes + HEAD_BYTES + (size_t)i * each, each};
        enum pbft_verdict verdict = step(&now, proof);
        if (verdict != PBFT_OK)
            status = verdict == PBFT_DROP_BUSY ? PBFT_STATUS_MEMORY : PBFT_STATUS_CORRUPT;
    }
    free(bytes);
    if (status == PBFT_STATUS_OK)
        *cluster = now;
    else if (now.epoch > 0)
        pbft_epoch_free(&now);
    return status;
}

/* Changes are compared; who signed them may differ. */
static bool leads_the_same_way(const uint8_t *bytes, size_t each, uint32_t count,
                               const struct pbft_cluster *cluster)
{
    PBFT_ASSERT(bytes != NULL);
    if (each != pbft_epoch_proof_size(cluster)) return false;
    size_t last = (count < cluster->epoch ? count : cluster->epoch) - 1u;
    return memcmp(bytes + HEAD_BYTES + last * each, cluster->history + last * each,
                  PBFT_EPOCH_CHANGE_BYTES) == 0;
}

enum pbft_status pbft_epoch_file_look(const char *path, const struct pbft_cluster *cluster,
                                      pbft_epoch *epoch)
{
    uint8_t *bytes;
    size_t each;
    uint32_t count = 0;
    PBFT_ASSERT(cluster == NULL || cluster->epoch > 0);
    enum pbft_status status = open_whole(path, &bytes, &each, &count);
    if (status == PBFT_STATUS_OK && cluster != NULL &&
        !leads_the_same_way(bytes, each, count, cluster))
        status = PBFT_STATUS_CORRUPT;
    free(bytes);
    if (status == PBFT_STATUS_OK) *epoch = count;
    return status;
}

/* ---- writing ---- */

static enum pbft_status write_whole(int fd, const uint8_t *bytes, size_t size)
{
    enum pbft_status status = pbft_file_write(fd, bytes, size);
    if (status == PBFT_STATUS_OK && fsync(fd) != 0) status = pbft_file_status(errno);
    return status;
}

/* Several processes may have the same thing to write. Whoever has the lock on what bears the name
 * writes it; who waited for that would have the lock on what has been renamed since. */
static enum pbft_status open_aside(const char *aside, int *fd)
{
    struct stat held, named;
    *fd = open(aside, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (*fd < 0) return pbft_file_status(errno);
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? PBFT_STATUS_EXISTS : pbft_file_status(errno);
    if (fstat(*fd, &held) != 0) return pbft_file_status(errno);
    if (stat(aside, &named) != 0 || named.st_ino != held.st_ino || named.st_dev != held.st_dev)
        return PBFT_STATUS_EXISTS;
    return ftruncate(*fd, 0) == 0 ? PBFT_STATUS_OK : pbft_file_status(errno);
}

static enum pbft_status replace(const char *aside, const char *path, const uint8_t *bytes,
                                size_t size)
{
    int fd;
    enum pbft_status status = open_aside(aside, &fd);
    bool ours = status == PBFT_STATUS_OK;
    if (status == PBFT_STATUS_OK) status = write_whole(fd, bytes, size);
    if (status == PBFT_STATUS_OK && rename(aside, path) != 0) status = pbft_file_status(errno);
    if (status == PBFT_STATUS_OK)
        status = pbft_folder_sync_of(path);
    else if (ours)
        (void)unlink(aside);
    if (fd >= 0) close(fd);
    return status;
}

enum pbft_status pbft_epoch_file_save(const char *path, const struct pbft_cluster *cluster)
{
    PBFT_ASSERT(cluster->epoch > 0);
    size_t proofs = cluster->epoch * pbft_epoch_proof_size(cluster);
    size_t size = HEAD_BYTES + proofs + PBFT_DIGEST_BYTES, length = strlen(path) + sizeof ".tmp";
    uint8_t *bytes = malloc(size);
    char *aside = malloc(length);
    enum pbft_status status = PBFT_STATUS_MEMORY;
    if (bytes != NULL && aside != NULL) {
        struct pbft_digest digest;
        memcpy(bytes, magic, sizeof magic);
        pbft_put_u32(bytes + 8, FILE_VERSION);
        pbft_put_u32(bytes + 12, cluster->epoch);
        memcpy(bytes + HEAD_BYTES, cluster->history, proofs);
        seal(bytes, size - PBFT_DIGEST_BYTES, &digest);
        memcpy(bytes + size - PBFT_DIGEST_BYTES, digest.bytes, PBFT_DIGEST_BYTES);
        (void)snprintf(aside, length, "%s.tmp", path);
        status = replace(aside, path, bytes, size);
    }
    free(bytes);
    free(aside);
    return status;
}
