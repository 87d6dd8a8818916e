/* PROTOCOL 29: which data directories a replica may vote on, and what the others say. */
#include "replica/data.h"

#include "crypto/hash.h"
#include "store/log_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/pbft-test-data-XXXXXX";
static struct pbft_superblock_owner owner;

static void path_of(char *path, size_t size, const char *name)
{
    (void)snprintf(path, size, "%s/%s", dir, name);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    memset(&owner, 0x5a, sizeof owner);
    owner.replica = 2;
    cr_assert_eq(pbft_data_create(dir, &owner), PBFT_STATUS_OK);
}

static void teardown(void)
{
    static const char *const names[] = {"superblock",           "lock",      "log-0000000000000001",
                                        "log-0000000000000002", "pages.mdb", "pages.mdb.damaged"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(path, sizeof path, names[i]);
        (void)unlink(path);
    }
    cr_assert_eq(rmdir(dir), 0, "something else is left");
}

TestSuite(replica_data, .init = setup, .fini = teardown);

struct life {
    struct pbft_superblock *superblock;
    struct pbft_data data;
    struct pbft_data_config config;
};

static void start_with(struct life *life, enum pbft_durability durability, uint64_t frames)
{
    char error[256];
    cr_assert_eq(pbft_superblock_open(&life->superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    life->config = (struct pbft_data_config){.dir = dir,
                                             .owner = owner,
                                             .durability = durability,
                                             .superblock = life->superblock,
                                             .frames_max_bytes = frames};
    cr_assert_eq(pbft_data_open(&life->data, &life->config, error), PBFT_STATUS_OK, "%s", error);
    bool forgets = !life->data.mute && durability != PBFT_DURABILITY_SYNC;
    cr_assert_eq(pbft_superblock_mark_start(life->superblock, forgets), PBFT_STATUS_OK);
}

static void start(struct life *life, enum pbft_durability durability)
{
    start_with(life, durability, 16u << 20);
}

static void end(struct life *life)
{
    pbft_data_close(&life->data);
    pbft_superblock_close(life->superblock);
}

/* One record, durable. */
static void vote(struct life *life)
{
    struct pbft_log *log = life->data.log;
    struct pbft_log_stats stats;
    pbft_log_stats(log, &stats);
    uint8_t bytes[64] = {1};
    struct pbft_span part = {bytes, sizeof bytes};
    cr_assert_eq(pbft_log_append(log, 1, stats.last + 1, &part, 1), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    pbft_log_commit(log);
    cr_assert(pbft_log_poll(log));
}

/* What a cut carries over grows with the pool of frames, and is written while three quarters of the
 * cap may be taken (FAULTS 2.42). The setting may change from start to start. */
Test(replica_data, the_cap_of_the_log_grows_with_the_pool)
{
    static const struct {
        uint64_t frames, cap;
    } rows[] = {{UINT64_C(64) << 20, UINT64_C(4) << 30},
                {UINT64_C(256) << 20, UINT64_C(4) << 30},
                {UINT64_C(1) << 30, UINT64_C(16) << 30},
                {UINT64_C(1) << 40, UINT64_C(512) << 30},
                {(UINT64_C(1) << 30) + 12345, UINT64_C(16) << 30},
                {UINT64_C(64) << 20, UINT64_C(4) << 30}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct life life;
        struct pbft_log_stats stats;
        start_with(&life, PBFT_DURABILITY_SYNC, rows[i].frames);
        cr_assert_not(life.data.mute, "%s", life.data.why);
        pbft_log_stats(life.data.log, &stats);
        cr_expect_eq(stats.bytes_max, rows[i].cap, "%zu: %llu", i,
                     (unsigned long long)stats.bytes_max);
        cr_expect_eq(stats.last, (pbft_lsn)i);
        vote(&life);
        end(&life);
    }
}

/* Start, vote, end; returns what the next start is told. */
static bool is_mute_after(enum pbft_durability first, enum pbft_durability second, const char *why)
{
    struct life life;
    start(&life, first);
    cr_assert_not(life.data.mute);
    vote(&life);
    end(&life);
    start(&life, second);
    bool mute = life.data.mute, resumed = life.data.resumed;
    if (mute) {
        cr_assert_not(resumed);
        cr_assert_null(life.data.pages);
        cr_assert_str_eq(pbft_log_name(life.data.log), "memory", "the disk stays as it is");
        cr_assert_not_null(strstr(life.data.why, why), "%s", life.data.why);
    } else {
        cr_assert(resumed);
    }
    end(&life);
    return mute;
}

Test(replica_data, sync_resumes)
{
    cr_assert_not(is_mute_after(PBFT_DURABILITY_SYNC, PBFT_DURABILITY_SYNC, ""));
}

Test(replica_data, memory_forgets)
{
    cr_assert(is_mute_after(PBFT_DURABILITY_MEMORY, PBFT_DURABILITY_MEMORY, "memory keeps no"));
}

Test(replica_data, async_forgets)
{
    cr_assert(is_mute_after(PBFT_DURABILITY_ASYNC, PBFT_DURABILITY_ASYNC, "async keeps no"));
}

Test(replica_data, what_was_forgotten_once_stays_forgotten)
{
    cr_assert(is_mute_after(PBFT_DURABILITY_MEMORY, PBFT_DURABILITY_SYNC, "has forgotten"));
}

/* Who was mute has said nothing: the votes on disk are still all that there are. */
Test(replica_data, a_mute_start_forgets_nothing)
{
    cr_assert(is_mute_after(PBFT_DURABILITY_SYNC, PBFT_DURABILITY_MEMORY, "--durability sync"));
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert_not(life.data.mute);
    cr_assert(life.data.resumed);
    end(&life);
}

static void voted_once(void)
{
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    vote(&life);
    vote(&life);
    end(&life);
}

static void cr_mute(const char *why)
{
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert(life.data.mute);
    cr_assert_not_null(strstr(life.data.why, why), "%s", life.data.why);
    cr_assert_not_null(strstr(life.data.why, "does not vote"), "%s", life.data.why);
    cr_assert_not_null(strstr(life.data.why, "`pbftctl replica replace 2`"), "%s", life.data.why);
    end(&life);
}

static void damage(const char *name, off_t at)
{
    char path[300];
    path_of(path, sizeof path, name);
    int fd = open(path, O_RDWR);
    cr_assert(fd >= 0, "%s", name);
    uint8_t byte;
    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

Test(replica_data, a_rotten_log)
{
    voted_once();
    damage("log-0000000000000001", 1024 + 100); /* within the first commit; another one follows */
    cr_mute("not to be trusted");
}

Test(replica_data, a_missing_log)
{
    voted_once();
    char path[300];
    path_of(path, sizeof path, "log-0000000000000001");
    cr_assert_eq(unlink(path), 0);
    cr_mute("not to be trusted");
}

/* ---- files of a later version ---- */

static uint8_t *read_whole(const char *name, size_t *size)
{
    char path[300];
    struct stat info;
    path_of(path, sizeof path, name);
    cr_assert_eq(stat(path, &info), 0, "%s", path);
    *size = (size_t)info.st_size;
    uint8_t *bytes = malloc(*size);
    int fd = open(path, O_RDONLY);
    cr_assert(bytes != NULL && fd >= 0);
    cr_assert_eq(read(fd, bytes, *size), info.st_size);
    close(fd);
    return bytes;
}

static void write_whole(const char *name, const uint8_t *bytes, size_t size)
{
    char path[300];
    path_of(path, sizeof path, name);
    int fd = open(path, O_WRONLY);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

/* Every record that begins so: the next version, and the hash of that behind `body` bytes. */
static void next_version(const char *name, const char *magic, size_t body, const char *domain)
{
    size_t size, found = 0;
    uint8_t *bytes = read_whole(name, &size);
    for (size_t at = 0; at + body + PBFT_DIGEST_BYTES <= size; at++) {
        struct pbft_span span = {bytes + at, body};
        struct pbft_digest sum;
        if (memcmp(bytes + at, magic, 8) != 0) continue;
        bytes[at + 8]++;
        pbft_hash(&sum, domain, &span, 1);
        memcpy(bytes + at + body, sum.bytes, PBFT_DIGEST_BYTES);
        found++;
    }
    cr_assert_gt(found, 0u);
    write_whole(name, bytes, size);
    free(bytes);
}

/* Whoever ran a newer pbft before has lost nothing: no new key, and no file is moved. */
static void expect_later(const char *name)
{
    struct life life;
    size_t size, size_after;
    uint8_t *before = read_whole(name, &size);
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert(life.data.mute);
    cr_assert_not_null(strstr(life.data.why, "newer version of pbft"), "%s", life.data.why);
    cr_assert_not_null(strstr(life.data.why, "run that version"), "%s", life.data.why);
    cr_assert_not_null(strstr(life.data.why, "does not vote"), "%s", life.data.why);
    cr_assert_null(strstr(life.data.why, "replica replace"), "%s", life.data.why);
    cr_assert_null(life.data.pages);
    end(&life);
    uint8_t *after = read_whole(name, &size_after);
    cr_assert(size == size_after && memcmp(before, after, size) == 0, "%s was changed", name);
    free(before);
    free(after);
}

Test(replica_data, a_log_of_a_later_version)
{
    voted_once();
    next_version("log-0000000000000001", "PBFTVLOG", 480, "pbft-log-segment");
    expect_later("log-0000000000000001");
}

Test(replica_data, pages_of_a_later_version)
{
    voted_once();
    next_version("pages.mdb", "PBFTPAGE", 80, "pbft-pages-own");
    expect_later("pages.mdb");
}

/* ---- pages ---- */

static void flush_one(struct pbft_pages *pages)
{
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    struct pbft_span k = {(const uint8_t *)"k", 1};
    cr_assert_eq(pbft_tree_put(tree, k, k, 1), PBFT_STATUS_OK);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    static struct pbft_pages_checkpoint cp;
    cp.seq = 7;
    pbft_snapshot_root(snapshot, &cp.root);
    cr_assert_eq(pbft_pages_flush(pages, snapshot, &cp), PBFT_STATUS_OK);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

/* A log that was never used, under a state that was: not the one that belongs there. */
Test(replica_data, a_log_that_was_replaced)
{
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    flush_one(life.data.pages);
    end(&life);
    cr_mute("was replaced");
}

/* Votes are not in it: it is set aside, and the state fetched. */
Test(replica_data, rotten_pages)
{
    voted_once();
    damage("pages.mdb", 16); /* the magic numbers of both meta pages */
    damage("pages.mdb", 4096 + 16);
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert_not(life.data.mute, "%s", life.data.why);
    cr_assert(life.data.resumed);
    cr_assert_not_null(life.data.pages);
    cr_assert_gt(strlen(life.data.aside), 0u);
    end(&life);
    char path[300];
    struct stat info;
    path_of(path, sizeof path, "pages.mdb.damaged");
    cr_assert_eq(stat(path, &info), 0);
}

static off_t size_of(const char *name)
{
    char path[300];
    struct stat info;
    path_of(path, sizeof path, name);
    return stat(path, &info) == 0 ? info.st_size : -1;
}

static void rot(const char *name)
{
    damage(name, 16);
    damage(name, 4096 + 16);
}

/* Where the disks of all replicas were out of reach for a moment, nobody else has the state. */
Test(replica_data, pages_that_can_be_read_again)
{
    struct life life;
    char path[300], aside[300];
    struct pbft_pages_checkpoint cp;
    voted_once();
    start(&life, PBFT_DURABILITY_SYNC);
    flush_one(life.data.pages);
    end(&life);
    off_t size = size_of("pages.mdb");
    rot("pages.mdb");
    for (unsigned i = 0; i < 3; i++) { /* what is made anew holds nothing */
        start(&life, PBFT_DURABILITY_SYNC);
        cr_assert(life.data.resumed && life.data.aside[0] != '\0' && !life.data.mute);
        cr_assert_not(life.data.taken_back);
        cr_assert_eq(pbft_pages_checkpoint(life.data.pages, &cp), PBFT_STATUS_OK);
        cr_assert_eq(cp.seq, 0u);
        end(&life);
        cr_assert_eq(size_of("pages.mdb.damaged"), size, "it is still there");
        cr_assert_lt(size_of("pages.mdb"), size);
        if (i == 0) rot("pages.mdb");
    }
    rot("pages.mdb.damaged"); /* twice: it is well */
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert(life.data.taken_back && life.data.aside[0] == '\0' && !life.data.mute);
    cr_assert_eq(pbft_pages_checkpoint(life.data.pages, &cp), PBFT_STATUS_OK);
    cr_assert_gt(cp.seq, 0u);
    end(&life);
    cr_assert_eq(size_of("pages.mdb.damaged"), -1);
    path_of(path, sizeof path, "pages.mdb");
    path_of(aside, sizeof aside, "pages.mdb.damaged");
    cr_assert_eq(link(path, aside), 0);
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert(!life.data.taken_back, "there is a state");
    end(&life);
}

/* Whether the log that was never written to is the one that was used, nobody can tell any more: and
 * they stay where they are, or the next start would find nothing wrong. */
Test(replica_data, rotten_pages_under_an_empty_log)
{
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    flush_one(life.data.pages);
    end(&life);
    damage("pages.mdb", 16);
    damage("pages.mdb", 4096 + 16);
    for (unsigned i = 0; i < 2; i++) {
        cr_mute("the vote log is empty, and the pages");
        char path[300];
        struct stat info;
        path_of(path, sizeof path, "pages.mdb");
        cr_assert_eq(stat(path, &info), 0);
        path_of(path, sizeof path, "pages.mdb.damaged");
        cr_assert_neq(stat(path, &info), 0);
    }
}

/* Nobody has voted here before the first start. */
Test(replica_data, rotten_pages_before_the_first_start)
{
    struct life life;
    int fd;
    char path[300];
    path_of(path, sizeof path, "pages.mdb");
    cr_assert_geq(fd = open(path, O_CREAT | O_WRONLY, 0600), 0);
    close(fd);
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert_not(life.data.mute, "%s", life.data.why);
    cr_assert_not_null(life.data.pages);
    cr_assert_gt(strlen(life.data.aside), 0u);
    end(&life);
}

Test(replica_data, records_that_are_refused)
{
    voted_once();
    struct life life;
    start(&life, PBFT_DURABILITY_SYNC);
    cr_assert(life.data.resumed);
    cr_assert_eq(pbft_data_refuse(&life.data, &life.config), PBFT_STATUS_OK);
    cr_assert(life.data.mute);
    cr_assert_not(life.data.resumed);
    cr_assert_str_eq(pbft_log_name(life.data.log), "memory");
    end(&life);
}

Test(replica_data, is_made_once)
{
    cr_assert_eq(pbft_data_create(dir, &owner), PBFT_STATUS_EXISTS);
    cr_assert_eq(pbft_data_create("/nonexistent/dir", &owner), PBFT_STATUS_NOT_FOUND);
}

/* ---- a cluster that was restored ---- */

static struct pbft_cluster restored;

static void restore_data(void)
{
    char error[PBFT_PAGES_ERROR_BYTES], path[300];
    static const char *const made[] = {"superblock", "log-0000000000000001"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        path_of(path, sizeof path, made[i]);
        cr_assert_eq(unlink(path), 0);
    }
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    struct pbft_span k = {(const uint8_t *)"k", 1};
    cr_assert_eq(pbft_tree_put(tree, k, k, 1), PBFT_STATUS_OK);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    pbft_snapshot_root(snapshot, &restored.genesis_root);
    restored.genesis_seq = 256;
    cr_assert_eq(pbft_data_create_with(dir, &owner, &restored, snapshot, error), PBFT_STATUS_OK,
                 "%s", error);
    cr_assert_eq(pbft_data_create_with(dir, &owner, &restored, snapshot, error), PBFT_STATUS_EXISTS,
                 "it is there already");
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

static void start_restored(struct life *life, enum pbft_durability durability)
{
    char error[256];
    cr_assert_eq(pbft_superblock_open(&life->superblock, dir, &owner, NULL), PBFT_STATUS_OK);
    life->config = (struct pbft_data_config){.dir = dir,
                                             .owner = owner,
                                             .durability = durability,
                                             .superblock = life->superblock,
                                             .genesis_seq = restored.genesis_seq,
                                             .restored = true,
                                             .frames_max_bytes = 16u << 20};
    cr_assert_eq(pbft_data_open(&life->data, &life->config, error), PBFT_STATUS_OK, "%s", error);
}

static bool holds(struct pbft_pages *pages)
{
    static struct pbft_pages_checkpoint cp;
    cr_assert_not_null(pages);
    cr_assert_eq(pbft_pages_checkpoint(pages, &cp), PBFT_STATUS_OK);
    return cp.seq == restored.genesis_seq && cp.certificate_size == 0 &&
           pbft_digest_equal(&cp.root, &restored.genesis_root);
}

/* A state under an empty log is the genesis here, and no reason to be mute; a later one is. */
Test(replica_data, a_restored_state_is_where_votes_begin)
{
    char why[256];
    restore_data();
    cr_assert_eq(pbft_data_check_genesis(dir, &owner, &restored, why), PBFT_STATUS_OK, "%s", why);
    struct life life;
    start_restored(&life, PBFT_DURABILITY_MEMORY);
    cr_assert_not(life.data.mute);
    cr_assert_null(life.data.pages);
    cr_assert(holds(life.data.genesis));
    end(&life);
    start_restored(&life, PBFT_DURABILITY_SYNC);
    cr_assert_not(life.data.mute);
    cr_assert_not(life.data.resumed);
    cr_assert_null(life.data.genesis);
    cr_assert(holds(life.data.pages));
    end(&life);
    restored.genesis_seq = 128; /* as if what is there were a checkpoint of this cluster */
    start_restored(&life, PBFT_DURABILITY_SYNC);
    cr_assert(life.data.mute);
    cr_assert_not_null(strstr(life.data.why, "log was replaced"), "%s", life.data.why);
    end(&life);
}

Test(replica_data, another_state_than_that_of_the_restore)
{
    char why[256];
    restore_data();
    restored.genesis_root.bytes[7] ^= 1;
    cr_assert_eq(pbft_data_check_genesis(dir, &owner, &restored, why), PBFT_STATUS_CORRUPT);
    cr_assert_gt(strlen(why), 0u);
    restored.genesis_root.bytes[7] ^= 1;
    restored.genesis_seq = 128;
    cr_assert_eq(pbft_data_check_genesis(dir, &owner, &restored, why), PBFT_STATUS_CORRUPT);
    struct pbft_superblock_owner other = owner;
    other.cluster_id.bytes[0] ^= 1;
    cr_assert_eq(pbft_data_check_genesis(dir, &other, &restored, why), PBFT_STATUS_CORRUPT);
    char path[300];
    path_of(path, sizeof path, "pages.mdb");
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(pbft_data_check_genesis(dir, &owner, &restored, why), PBFT_STATUS_NOT_FOUND);
    cr_assert_gt(strlen(why), 0u);
}

/* Told to end while it reads: nothing is wrong, and nothing has changed. */
Test(replica_data, opening_ends_when_it_is_cancelled)
{
    struct life life;
    struct pbft_pages *pages = NULL;
    _Atomic bool cancel = true;
    char error[256], path[300];
    start(&life, PBFT_DURABILITY_SYNC);
    vote(&life);
    pbft_data_close(&life.data);
    life.config.cancel = &cancel;
    cr_expect_eq(pbft_data_open(&life.data, &life.config, error), PBFT_STATUS_REFUSED);
    cr_expect_not(life.data.mute);
    struct pbft_pages_lmdb_config config = {.dir = dir,
                                            .owner = owner,
                                            .bytes_max = 64u << 20,
                                            .cancel = &cancel};
    cr_expect_eq(pbft_pages_lmdb_open(&pages, &config, error), PBFT_STATUS_REFUSED);
    path_of(path, sizeof path, "pages.mdb.damaged");
    cr_expect_neq(access(path, F_OK), 0);
    cancel = false;
    cr_expect_eq(pbft_data_open(&life.data, &life.config, error), PBFT_STATUS_OK, "%s", error);
    cr_expect_not(life.data.mute);
    cr_expect(life.data.resumed);
    end(&life);
}
