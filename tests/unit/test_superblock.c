/* store/superblock: whose directory it is, starts, damage, and the lock between processes. */
#include "store/superblock.h"

#include "crypto/hash.h"
#include "pbft/wire.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256];
static struct pbft_superblock_owner owner;

static void path_of(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", dir, name);
}

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/pbft-superblock-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(dir));
    memset(&owner, 0, sizeof owner);
    memset(owner.cluster_id.bytes, 0xc1, PBFT_DIGEST_BYTES);
    memset(owner.key_fingerprint.bytes, 0xf1, PBFT_DIGEST_BYTES);
    owner.replica = 2;
}

static void teardown(void)
{
    static const char *const names[] = {"superblock", "superblock.tmp", "superblock.new", "lock"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(path, sizeof path, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

TestSuite(store_superblock, .init = setup, .fini = teardown);

static enum pbft_status open_it(const struct pbft_superblock_owner *as, uint64_t *starts)
{
    struct pbft_superblock *superblock = NULL;
    enum pbft_status status = pbft_superblock_open(&superblock, dir, as, starts);
    pbft_superblock_close(superblock);
    return status;
}

static bool file_exists(const char *name)
{
    char path[300];
    struct stat info;
    path_of(path, sizeof path, name);
    return stat(path, &info) == 0;
}

Test(store_superblock, counts_starts)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    cr_assert(!file_exists("superblock.new"));
    for (uint64_t i = 0; i < 5; i++) {
        struct pbft_superblock *superblock = NULL;
        uint64_t starts = 99;
        cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, &starts), PBFT_STATUS_OK);
        cr_assert_eq(starts, i);
        cr_assert_eq(pbft_superblock_starts(superblock), i);
        cr_assert_eq(pbft_superblock_forgot(superblock), i / 2);
        bool forgets = i % 2 == 1;
        cr_assert_eq(pbft_superblock_mark_start(superblock, forgets), PBFT_STATUS_OK);
        cr_assert_eq(pbft_superblock_starts(superblock), i + 1);
        cr_assert_eq(pbft_superblock_forgot(superblock), (i + 1) / 2);
        cr_assert_eq(pbft_superblock_mark_start(superblock, true), PBFT_STATUS_REFUSED);
        pbft_superblock_close(superblock);
        cr_assert(!file_exists("superblock.tmp"));
    }
    uint64_t starts = 0;
    cr_assert_eq(open_it(&owner, &starts), PBFT_STATUS_OK); /* looking is no start */
    cr_assert_eq(open_it(&owner, &starts), PBFT_STATUS_OK);
    cr_assert_eq(starts, 5);
    struct stat info;
    char path[300];
    path_of(path, sizeof path, "superblock");
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    cr_assert_eq(info.st_nlink, 1);
    pbft_superblock_close(NULL);
}

/* PROTOCOL 29: found out while it runs. */
Test(store_superblock, amnesia_is_remembered)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    struct pbft_superblock *superblock = NULL;
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_mark_start(superblock, false), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_mark_amnesia(superblock), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_starts(superblock), 1);
    cr_assert_eq(pbft_superblock_forgot(superblock), 1);
    /* Of a start that there was no room to count, too. */
    cr_assert_eq(pbft_superblock_mark_amnesia(superblock), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_starts(superblock), 2);
    cr_assert_eq(pbft_superblock_forgot(superblock), 2);
    pbft_superblock_close(superblock);
}

Test(store_superblock, never_overwrites)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    struct pbft_superblock *superblock = NULL;
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_mark_start(superblock, false), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
    struct pbft_superblock_owner other = owner;
    other.replica = 3;
    cr_assert_eq(pbft_superblock_create(dir, &other), PBFT_STATUS_EXISTS);
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_EXISTS);
    cr_assert(!file_exists("superblock.new"));
    uint64_t starts = 0;
    cr_assert_eq(open_it(&owner, &starts), PBFT_STATUS_OK);
    cr_assert_eq(starts, 1);
}

/* PROTOCOL 29: a wiped disk is no first boot. */
Test(store_superblock, is_not_made_by_opening)
{
    uint64_t starts;
    cr_assert_eq(open_it(&owner, &starts), PBFT_STATUS_NOT_FOUND);
    cr_assert(!file_exists("superblock") && !file_exists("lock"));
    cr_assert_eq(pbft_superblock_create("/nonexistent/dir", &owner), PBFT_STATUS_NOT_FOUND);
    struct pbft_superblock *superblock = NULL;
    cr_assert_eq(pbft_superblock_open(&superblock, "/nonexistent/dir", &owner, NULL),
                 PBFT_STATUS_NOT_FOUND);
}

Test(store_superblock, foreign)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    struct pbft_superblock_owner other = owner;
    other.replica = 3;
    cr_assert_eq(open_it(&other, NULL), PBFT_STATUS_CORRUPT);
    other = owner;
    other.cluster_id.bytes[31] ^= 1;
    cr_assert_eq(open_it(&other, NULL), PBFT_STATUS_CORRUPT);
    other = owner;
    other.key_fingerprint.bytes[0] ^= 1;
    cr_assert_eq(open_it(&other, NULL), PBFT_STATUS_CORRUPT);
    cr_assert_eq(open_it(&owner, NULL), PBFT_STATUS_OK);
}

static void file_write(const uint8_t *data, size_t size)
{
    char path[300];
    path_of(path, sizeof path, "superblock");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
}

Test(store_superblock, damage)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    char path[300];
    path_of(path, sizeof path, "superblock");
    uint8_t data[256];
    int fd = open(path, O_RDONLY);
    cr_assert(fd >= 0);
    ssize_t size = read(fd, data, sizeof data);
    close(fd);
    cr_assert_eq(size, 128);
    for (size_t i = 0; i < 128; i++) {
        data[i] ^= (uint8_t)(1u << (i % 8));
        file_write(data, 128);
        if (open_it(&owner, NULL) != PBFT_STATUS_CORRUPT) cr_assert_fail("byte %zu", i);
        data[i] ^= (uint8_t)(1u << (i % 8));
    }
    for (size_t cut = 0; cut < 128; cut += 9) {
        file_write(data, cut);
        cr_assert_eq(open_it(&owner, NULL), PBFT_STATUS_CORRUPT);
    }
    data[128] = 0;
    file_write(data, 129);
    cr_assert_eq(open_it(&owner, NULL), PBFT_STATUS_CORRUPT);
    file_write(data, 128);
    cr_assert_eq(open_it(&owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    cr_assert_eq(open_it(&owner, NULL), PBFT_STATUS_CORRUPT);
}

/* What another version writes: longer or shorter, with its number and its hash in their places. */
static enum pbft_status open_version(uint32_t version, size_t size)
{
    uint8_t data[4096];
    memset(data, 0x3c, sizeof data);
    memcpy(data, "PBFTSUPR", 8);
    pbft_put_u32(data + 8, version);
    struct pbft_span body = {data, size - PBFT_DIGEST_BYTES};
    struct pbft_digest sum;
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    memcpy(data + body.size, sum.bytes, PBFT_DIGEST_BYTES);
    file_write(data, size);
    struct pbft_superblock_info info;
    enum pbft_status status = open_it(&owner, NULL);
    cr_assert_eq(pbft_superblock_look(dir, &info), status);
    cr_assert_eq(info.version, version);
    return status;
}

/* FAULTS 2.46: nothing is lost, there is a program that can read it. */
Test(store_superblock, of_a_later_version)
{
    cr_assert_eq(open_version(3, 128), PBFT_STATUS_LATER);
    cr_assert_eq(open_version(3, 64), PBFT_STATUS_LATER);
    cr_assert_eq(open_version(4, 200), PBFT_STATUS_LATER);
    cr_assert_eq(open_version(UINT32_MAX, 4096), PBFT_STATUS_LATER);
    cr_assert_eq(open_version(1, 128), PBFT_STATUS_CORRUPT);
    cr_assert_eq(open_version(2, 132), PBFT_STATUS_CORRUPT);
    cr_assert(!file_exists("lock"), "something was changed");
}

/* Half-written files of a crash are in nobody's way. */
Test(store_superblock, leftovers_of_a_crash)
{
    char path[300];
    path_of(path, sizeof path, "superblock.new");
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert(fd >= 0);
    close(fd);
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    path_of(path, sizeof path, "superblock.tmp");
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert(fd >= 0);
    close(fd);
    struct pbft_superblock *superblock = NULL;
    uint64_t starts = 9;
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, &starts), PBFT_STATUS_OK);
    cr_assert_eq(starts, 0);
    cr_assert_eq(pbft_superblock_mark_start(superblock, false), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
}

/* Two processes with one key would equivocate. */
Test(store_superblock, one_process_at_a_time)
{
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    struct pbft_superblock *superblock = NULL;
    cr_assert_eq(pbft_superblock_open(&superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    for (int round = 0; round < 2; round++) {
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            struct pbft_superblock *second = NULL;
            _exit((int)pbft_superblock_open(&second, dir, &owner, NULL));
        }
        int status = -1;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status));
        cr_assert_eq(WEXITSTATUS(status), round == 0 ? PBFT_STATUS_REFUSED : PBFT_STATUS_OK);
        pbft_superblock_close(superblock);
        superblock = NULL;
    }
}
