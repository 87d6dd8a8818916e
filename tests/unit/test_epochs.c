/* PROTOCOL 29: from epoch to epoch on a disk, and what DIR/epochs says. Where that is cut short:
 * test_epochs_disk.c. */
#include "replica/epochs.h"

#include "crypto/hash.h"
#include "store/superblock.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID 3u /* its key is the same in all epochs of the chain */

static char dir[] = "/tmp/pbft-test-epochs-XXXXXX";
static char proofs[64]; /* DIR/epochs */
static struct epoch_chain *chain;

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(proofs, sizeof proofs, "%s/epochs", dir);
    chain = chain_new(4, 7);
}

static void teardown(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
    chain_free(chain);
}

TestSuite(epochs, .init = setup, .fini = teardown, .timeout = 60);

static enum pbft_status begin_as(pbft_epoch epoch, pbft_id id)
{
    char error[256];
    struct pbft_epochs_begin begin = {.dir = dir, .next = &chain->at[epoch], .id = id};
    return pbft_epochs_begin(&begin, NULL, error);
}

/* A replica runs in this epoch, and ends. */
static void start_as(const struct pbft_cluster *cluster, pbft_id id)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    struct pbft_superblock *superblock;
    struct pbft_superblock_owner owner;
    pbft_epochs_path(dir, cluster->epoch, path);
    pbft_config_owner(cluster, id, &owner);
    cr_assert_eq(pbft_superblock_open(&superblock, path, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_mark_start(superblock, false), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
}

static struct pbft_superblock_info look(pbft_epoch epoch)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    struct pbft_superblock_info info;
    pbft_epochs_path(dir, epoch, path);
    cr_assert_eq(pbft_superblock_look(path, &info), PBFT_STATUS_OK);
    return info;
}

static pbft_epoch present(void)
{
    char error[256];
    struct pbft_cluster cluster = chain->at[0];
    cr_assert_eq(pbft_epochs_load(dir, &cluster, error), PBFT_STATUS_OK, "%s", error);
    pbft_epoch epoch = cluster.epoch;
    pbft_epoch_free(&cluster);
    return epoch;
}

struct file {
    uint8_t bytes[8192];
    size_t size;
};

static void file_read(struct file *f)
{
    FILE *file = fopen(proofs, "rb");
    cr_assert_not_null(file);
    f->size = fread(f->bytes, 1, sizeof f->bytes, file);
    (void)fclose(file);
}

static void file_put(const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(proofs, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

Test(epochs, one_after_the_other)
{
    cr_assert_eq(present(), 0u);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(present(), 1u);
    cr_assert_eq(look(1).starts, 0u);
    cr_assert_eq(begin_as(3, ID), PBFT_STATUS_OK, "who was away may miss one");
    cr_assert_eq(present(), 3u);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/epoch-1", dir);
    cr_assert_eq(access(path, F_OK), -1, "what is over goes");
}

Test(epochs, one_that_never_began_is_begun_again)
{
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(unlink(proofs), 0);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(look(1).starts, 0u);
    cr_assert_eq(look(1).forgot, 0u);
}

/* `data` in node.conf names the folder of somebody else. */
Test(epochs, the_data_of_another_are_left_alone)
{
    struct pbft_superblock_owner owner;
    pbft_config_owner(&chain->at[0], 2, &owner);
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_REFUSED);
    cr_assert_eq(look(0).owner.replica, 2u);
    cr_assert_eq(present(), 0u);
}

/* The same in a later epoch, where nothing of it lies in the folder itself. */
Test(epochs, nor_are_those_that_are_in_a_later_epoch)
{
    struct epoch_chain *other = chain_new(4, 8);
    char error[256];
    const struct pbft_cluster *clusters[] = {&chain->at[1], &other->at[1], &other->at[2]};
    static const pbft_id ids[] = {2, ID, ID};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char command[128];
        struct pbft_epochs_begin b = {.dir = dir, .next = clusters[i], .id = ids[i]};
        cr_assert_eq(pbft_epochs_begin(&b, NULL, error), PBFT_STATUS_OK, "%s", error);
        start_as(clusters[i], ids[i]);
        for (unsigned lost = 0; lost < 2; lost++) {
            enum pbft_status status = begin_as(2, ID);
            bool refused =
                status == PBFT_STATUS_REFUSED || (lost == 0 && status == PBFT_STATUS_EXISTS);
            cr_expect(refused, "%zu, lost %u: %d", i, lost, (int)status);
            cr_expect_eq(look(clusters[i]->epoch).starts, 1u);
            cr_expect_eq(look(clusters[i]->epoch).owner.replica, ids[i]);
            if (lost == 0) cr_assert_eq(unlink(proofs), 0);
        }
        (void)snprintf(command, sizeof command, "rm -r %s/*", dir);
        cr_assert_eq(system(command), 0);
    }
    chain_free(other);
}

/* DIR/epochs is lost, or came back from a backup: votes of a later epoch are not what is over. */
Test(epochs, there_is_no_way_back)
{
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    struct file early, late;
    file_read(&early);
    cr_assert_eq(begin_as(3, ID), PBFT_STATUS_OK);
    file_read(&late);
    start_as(&chain->at[3], ID);
    cr_assert_eq(begin_as(2, ID), PBFT_STATUS_EXISTS);
    file_put(early.bytes, early.size);
    cr_assert_eq(begin_as(2, ID), PBFT_STATUS_EXISTS);
    cr_assert_eq(unlink(proofs), 0);
    cr_assert_eq(begin_as(2, ID), PBFT_STATUS_EXISTS);
    file_put(late.bytes, late.size);
    cr_assert_eq(present(), 3u);
    cr_assert_eq(look(3).starts, 1u);
    cr_assert_eq(look(3).forgot, 0u);
}

/* Whether anybody has voted with these data, only the superblock knew. */
Test(epochs, damaged_data_are_not_made_anew)
{
    char path[128];
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    start_as(&chain->at[1], ID);
    cr_assert_eq(unlink(proofs), 0);
    (void)snprintf(path, sizeof path, "%s/epoch-1/superblock", dir);
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 60, SEEK_SET), 0);
    cr_assert_eq(fputc(0x5a, file), 0x5a);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_CORRUPT);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(present(), 0u);
}

/* A copy that somebody has put aside is not the folder of the epoch with that number. */
Test(epochs, what_only_looks_like_an_epoch_is_left_alone)
{
    static const char *const names[] = {"epoch-03", "epoch-3x", "epoch-", "epoch-+3", "epoch- 3"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    cr_assert_eq(begin_as(3, ID), PBFT_STATUS_OK);
    pbft_epochs_tidy(dir, 3);
    cr_assert_eq(look(3).starts, 0u);
    pbft_epochs_tidy(dir, 2);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        cr_expect_eq(access(path, F_OK), 0, "%s", names[i]);
    }
}

/* ---- DIR/epochs ---- */

static enum pbft_status load_from(const struct pbft_cluster *first, pbft_epoch *epoch,
                                  char error[256])
{
    struct pbft_cluster cluster = *first;
    error[0] = '\0';
    enum pbft_status status = pbft_epochs_load(dir, &cluster, error);
    *epoch = cluster.epoch;
    if (status == PBFT_STATUS_OK && *epoch > 0) {
        const struct pbft_cluster *at = &chain->at[*epoch];
        cr_expect_eq(memcmp(cluster.replicas, at->replicas, sizeof at->replicas), 0);
        cr_expect_eq(cluster.genesis_seq, at->genesis_seq);
        cr_expect(pbft_digest_equal(&cluster.genesis_root, &at->genesis_root));
        cr_expect_eq(memcmp(cluster.history, at->history, *epoch * pbft_epoch_proof_size(at)), 0);
    }
    pbft_epoch_free(&cluster);
    return status;
}

static void begin_up_to(pbft_epoch last, struct file *f)
{
    for (pbft_epoch e = 1; e <= last; e++)
        cr_assert_eq(begin_as(e, ID), PBFT_STATUS_OK);
    file_read(f);
}

static void reseal(uint8_t *bytes, size_t size)
{
    struct pbft_digest digest;
    size_t body = size - PBFT_DIGEST_BYTES;
    pbft_hash(&digest, "pbft-epochs", &(struct pbft_span){bytes, body}, 1);
    memcpy(bytes + body, digest.bytes, PBFT_DIGEST_BYTES);
}

static void expect_refused(const uint8_t *bytes, size_t size, const char *what)
{
    char error[256];
    pbft_epoch epoch;
    file_put(bytes, size);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_CORRUPT, "%s", what);
    cr_expect_not_null(strstr(error, "/epochs is damaged"), "%s: %s", what, error);
    cr_expect_eq(error[strlen(error) - 1], '.', "%s: %s", what, error);
}

Test(epochs, proofs_are_followed)
{
    struct file f;
    char error[256];
    pbft_epoch epoch;
    begin_up_to(3, &f);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_OK, "%s", error);
    cr_expect_eq(epoch, 3u);
    cr_assert_eq(unlink(proofs), 0);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_OK, "%s", error);
    cr_expect_eq(epoch, 0u, "without the file it is the first");
}

Test(epochs, a_file_that_is_not_whole)
{
    static struct file f;
    static uint8_t bytes[sizeof f.bytes + 1];
    char what[64];
    begin_up_to(2, &f);
    for (size_t size = 0; size < f.size; size += size < 64 ? 1 : 37) {
        (void)snprintf(what, sizeof what, "%zu of its bytes", size);
        expect_refused(f.bytes, size, what);
    }
    for (size_t at = 0; at < f.size; at += at < 200 ? 1 : 13) {
        memcpy(bytes, f.bytes, f.size);
        bytes[at] ^= (uint8_t)(1u << at % 8);
        (void)snprintf(what, sizeof what, "byte %zu has changed", at);
        expect_refused(bytes, f.size, what);
    }
    memcpy(bytes, f.bytes, f.size);
    bytes[f.size] = 0;
    expect_refused(bytes, f.size + 1, "one byte more");
}

Test(epochs, a_file_as_long_as_a_disk)
{
    struct file f;
    char error[256];
    pbft_epoch epoch;
    begin_up_to(1, &f);
    cr_assert_eq(truncate(proofs, (off_t)1 << 36), 0);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_CORRUPT);
    cr_expect_not_null(strstr(error, "is damaged"), "%s", error);
}

Test(epochs, what_cannot_be_read_is_said)
{
    struct file f;
    char error[256];
    pbft_epoch epoch;
    begin_up_to(1, &f);
    cr_assert_eq(unlink(proofs), 0);
    cr_assert_eq(mkdir(proofs, 0700), 0);
    enum pbft_status status = load_from(&chain->at[0], &epoch, error);
    cr_expect(status == PBFT_STATUS_IO || status == PBFT_STATUS_CORRUPT);
    cr_expect_not_null(strstr(error, "/epochs"), "%s", error);
}

/* Whole, sealed, and still not to be believed. */
Test(epochs, proofs_that_prove_nothing)
{
    static struct file f;
    static uint8_t bytes[sizeof f.bytes];
    struct epoch_chain *other = chain_new(4, 2);
    char error[256];
    pbft_epoch epoch;
    begin_up_to(2, &f);
    size_t each = pbft_epoch_proof_size(&chain->at[0]), head = 16;
    cr_expect_eq(load_from(&other->at[0], &epoch, error), PBFT_STATUS_CORRUPT);
    cr_expect_not_null(strstr(error, "of another cluster"), "%s", error);

    memcpy(bytes, f.bytes, f.size);
    bytes[head + each - 1] ^= 1;
    reseal(bytes, f.size);
    expect_refused(bytes, f.size, "a signature of the first is none");

    memcpy(bytes, f.bytes, f.size);
    bytes[head + each + 48] ^= 1;
    reseal(bytes, f.size);
    expect_refused(bytes, f.size, "another key than that which was signed");

    memcpy(bytes, f.bytes, f.size);
    memcpy(bytes + head, f.bytes + head + each, each);
    memcpy(bytes + head + each, f.bytes + head, each);
    reseal(bytes, f.size);
    expect_refused(bytes, f.size, "the second before the first");

    memcpy(bytes, f.bytes, f.size);
    memmove(bytes + head, bytes + head + each, f.size - head - each);
    bytes[12] = 1;
    reseal(bytes, f.size - each);
    expect_refused(bytes, f.size - each, "the second without the first");

    memcpy(bytes, f.bytes, f.size);
    bytes[8] = 2;
    reseal(bytes, f.size);
    expect_refused(bytes, f.size, "a later version");

    static const uint8_t counts[] = {0, 1, 3, 255};
    for (size_t i = 0; i < sizeof counts; i++) {
        memcpy(bytes, f.bytes, f.size);
        bytes[12] = counts[i];
        reseal(bytes, f.size);
        expect_refused(bytes, f.size, "another count");
    }
    file_put(f.bytes, f.size);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_OK, "%s", error);
    chain_free(other);
}

/* What is damaged, or another cluster's, is written anew by the next epoch (`replica replace`). */
Test(epochs, a_damaged_file_is_no_dead_end)
{
    struct epoch_chain *other = chain_new(7, 2);
    struct file f;
    char error[256], command[128];
    pbft_epoch epoch;
    begin_up_to(2, &f);
    f.bytes[f.size / 2] ^= 1;
    file_put(f.bytes, f.size);
    cr_expect_eq(begin_as(2, ID), PBFT_STATUS_OK);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_OK, "%s", error);
    cr_expect_eq(epoch, 2u);

    (void)snprintf(command, sizeof command, "rm -r %s/*", dir);
    cr_assert_eq(system(command), 0);
    struct pbft_epochs_begin b = {.dir = dir, .next = &other->at[3], .id = ID};
    cr_assert_eq(pbft_epochs_begin(&b, NULL, error), PBFT_STATUS_OK, "%s", error);
    (void)snprintf(command, sizeof command, "rm -r %s/epoch-3", dir);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(begin_as(2, ID), PBFT_STATUS_OK);
    cr_expect_eq(load_from(&chain->at[0], &epoch, error), PBFT_STATUS_OK, "%s", error);
    cr_expect_eq(epoch, 2u);
    chain_free(other);
}
