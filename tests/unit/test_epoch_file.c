/* PROTOCOL 29: the proofs of all epochs as a file. It is believed as far as its signatures go. */
#include "crypto/epoch_file.h"

#include "crypto/hash.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES 4096u
#define HEAD_BYTES 16u

static char dir[] = "/tmp/pbft-test-epoch-file-XXXXXX";
static char path[128], aside[128];
static struct epoch_chain *chain;

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/f", dir);
    (void)snprintf(aside, sizeof aside, "%s/f.tmp", dir);
    chain = chain_new(4, 7);
}

static void teardown(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
    chain_free(chain);
}

TestSuite(epoch_file, .init = setup, .fini = teardown, .timeout = 60);

static size_t slurp(uint8_t *bytes)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file);
    size_t size = fread(bytes, 1, FILE_BYTES, file);
    (void)fclose(file);
    return size;
}

static void put(const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    (void)fclose(file);
}

/* As whoever may write the file can do it. */
static void put_sealed(uint8_t *bytes, size_t size)
{
    struct pbft_digest digest;
    struct pbft_span span = {bytes, size - PBFT_DIGEST_BYTES};
    pbft_hash(&digest, "pbft-epochs", &span, 1);
    memcpy(bytes + span.size, digest.bytes, PBFT_DIGEST_BYTES);
    put(bytes, size);
}

/* What cannot be used changes nothing. */
static void expect(enum pbft_status wanted)
{
    struct pbft_cluster cluster = chain->at[0];
    enum pbft_status status = pbft_epoch_file_load(path, &cluster);
    cr_assert_eq(status, wanted, "%s", pbft_status_text(status));
    if (status == PBFT_STATUS_OK) pbft_epoch_free(&cluster);
    if (status != PBFT_STATUS_OK) cr_assert_eq(memcmp(&cluster, &chain->at[0], sizeof cluster), 0);
}

Test(epoch_file, what_is_written_is_read)
{
    pbft_epoch epoch = 77;
    expect(PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(pbft_epoch_file_look(path, NULL, &epoch), PBFT_STATUS_NOT_FOUND);
    for (pbft_epoch e = 1; e < CHAIN_EPOCHS; e++) {
        struct pbft_cluster cluster = chain->at[0];
        struct stat info;
        cr_assert_eq(pbft_epoch_file_save(path, &chain->at[e]), PBFT_STATUS_OK);
        cr_assert_eq(pbft_epoch_file_look(path, NULL, &epoch), PBFT_STATUS_OK);
        cr_assert_eq(epoch, e);
        cr_assert_eq(pbft_epoch_file_load(path, &cluster), PBFT_STATUS_OK);
        cr_assert_eq(cluster.epoch, e);
        cr_assert_eq(cluster.genesis_seq, chain->at[e].genesis_seq);
        cr_assert_eq(memcmp(cluster.replicas, chain->at[e].replicas, sizeof cluster.replicas), 0);
        cr_assert_eq(memcmp(cluster.history, chain->at[e].history,
                            e * pbft_epoch_proof_size(&cluster)),
                     0);
        pbft_epoch_free(&cluster);
        cr_assert_eq(stat(path, &info), 0);
        cr_assert_eq(info.st_mode & 0777u, 0600u);
        cr_assert_eq(access(aside, F_OK), -1);
    }
}

Test(epoch_file, damage_is_noticed)
{
    uint8_t bytes[FILE_BYTES], other[FILE_BYTES];
    cr_assert_eq(pbft_epoch_file_save(path, &chain->at[2]), PBFT_STATUS_OK);
    size_t size = slurp(bytes);
    cr_assert_lt(size, FILE_BYTES);
    for (size_t i = 0; i < size; i++) {
        put(bytes, i);
        expect(PBFT_STATUS_CORRUPT);
        memcpy(other, bytes, size);
        other[i] ^= (uint8_t)(1u << i % 8);
        put(other, size);
        expect(PBFT_STATUS_CORRUPT);
    }
    put(bytes, size);
    expect(PBFT_STATUS_OK);
}

/* The digest at its end is no secret: what counts is who signed. */
Test(epoch_file, whoever_may_write_it_leads_nobody_astray)
{
    uint8_t bytes[FILE_BYTES], other[FILE_BYTES];
    size_t each = pbft_epoch_proof_size(&chain->at[0]);
    cr_assert_eq(pbft_epoch_file_save(path, &chain->at[2]), PBFT_STATUS_OK);
    size_t size = slurp(bytes);
    put_sealed(bytes, size);
    expect(PBFT_STATUS_OK);
    for (size_t i = HEAD_BYTES; i < size - PBFT_DIGEST_BYTES; i += 7) {
        memcpy(other, bytes, size);
        other[i] ^= (uint8_t)(1u << i % 8);
        put_sealed(other, size);
        expect(PBFT_STATUS_CORRUPT);
    }
    /* The second one first; one of them twice; one left out. */
    memcpy(other, bytes, size);
    memcpy(other + HEAD_BYTES, bytes + HEAD_BYTES + each, each);
    put_sealed(other, size);
    expect(PBFT_STATUS_CORRUPT);
    memcpy(other + HEAD_BYTES + each, bytes + HEAD_BYTES, each);
    put_sealed(other, size);
    expect(PBFT_STATUS_CORRUPT);
    pbft_put_u32(other + 12, 1);
    put_sealed(other, size - each);
    expect(PBFT_STATUS_CORRUPT);
    /* Numbers that do not fit what is there. */
    static const uint32_t counts[] = {0, 1, 3, 4, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        memcpy(other, bytes, size);
        pbft_put_u32(other + 12, counts[i]);
        put_sealed(other, size);
        expect(PBFT_STATUS_CORRUPT);
    }
    pbft_put_u32(other + 12, 5);
    put_sealed(other, HEAD_BYTES + PBFT_DIGEST_BYTES);
    expect(PBFT_STATUS_CORRUPT);
}

Test(epoch_file, another_clusters_is_not_followed)
{
    struct epoch_chain *others = chain_new(4, 8);
    cr_assert_eq(pbft_epoch_file_save(path, &others->at[3]), PBFT_STATUS_OK);
    expect(PBFT_STATUS_CORRUPT);
    chain_free(others);
}

Test(epoch_file, what_is_no_file_is_refused_at_once)
{
    cr_assert_eq(mkfifo(path, 0600), 0);
    expect(PBFT_STATUS_CORRUPT);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    expect(PBFT_STATUS_CORRUPT);
    cr_assert_neq(pbft_epoch_file_save(path, &chain->at[1]), PBFT_STATUS_OK);
    cr_assert_eq(access(aside, F_OK), -1, "nothing is left behind");
    cr_assert_eq(rmdir(path), 0);
    (void)snprintf(path, sizeof path, "%s/none/f", dir);
    cr_assert_eq(pbft_epoch_file_save(path, &chain->at[1]), PBFT_STATUS_NOT_FOUND);
}

/* Somebody else is at it; what a crash left is used. */
Test(epoch_file, one_process_writes_at_a_time)
{
    int fd = open(aside, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "half", 4), 4);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    cr_assert_eq(pbft_epoch_file_save(path, &chain->at[1]), PBFT_STATUS_EXISTS);
    expect(PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(access(aside, F_OK), 0, "it is the other's");
    close(fd);
    cr_assert_eq(pbft_epoch_file_save(path, &chain->at[1]), PBFT_STATUS_OK);
    expect(PBFT_STATUS_OK);
}
