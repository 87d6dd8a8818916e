/* store/pages_lmdb: room, rot, owners and kill -9, on real files. */
#include "crypto/hash.h"
#include "pages_fixture.h"
#include "store/pages_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

Test(pages_lmdb, full_disk)
{
    struct fixture f = fixture_new(true);
    f.bytes_max = MIB;
    reopen(&f);
    const struct pbft_pages_tuning tuning = {64 << 10, 64, 16, MIB};
    pbft_pages_tune(f.pages, &tuning);
    struct pbft_tree *fits = bulk(1, 2000), *too_much = bulk(2, 6000), *also = bulk(3, 2000);
    flush_ok(f.pages, fits, 1);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(flush(f.pages, too_much, 2), PBFT_STATUS_FULL);
        holds(f.pages, fits, NULL, 1);
    }
    closed(f.pages);
    reopen(&f);
    cr_assert_eq(flush(f.pages, too_much, 2), PBFT_STATUS_FULL);
    /* Its pages that were written before there was no room have to go, or this has none. */
    flush_ok(f.pages, also, 3);
    holds(f.pages, also, NULL, 3);
    f.bytes_max = 8 * MIB;
    reopen(&f);
    flush_ok(f.pages, too_much, 4);
    holds(f.pages, too_much, NULL, 4);
    pbft_tree_destroy(fits);
    pbft_tree_destroy(too_much);
    pbft_tree_destroy(also);
    fixture_free(&f);
}

/* ---- rot (FAULTS 2.43) ---- */

/* All bytes of a file. */
static uint8_t *file_read(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY);
    struct stat now;
    cr_assert(fd >= 0 && fstat(fd, &now) == 0);
    *size = (size_t)now.st_size;
    uint8_t *data = malloc(*size + 1);
    cr_assert(data != NULL && read(fd, data, *size) == (ssize_t)*size);
    close(fd);
    return data;
}

static void file_write(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static uint8_t *find_bytes(uint8_t *data, size_t size, const void *what, size_t what_size)
{
    for (size_t i = 0; i + what_size <= size; i++)
        if (memcmp(data + i, what, what_size) == 0) return data + i;
    return NULL;
}

Test(pages_lmdb, rot_in_the_file)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = bulk(4, 500), *other = state(8);
    flush_ok(f.pages, tree, 1);
    struct pbft_digest root = tree_root(tree), before = tree_root(other);
    struct page_list list = page_list_of(tree, &default_pages);
    char path[300];
    path_in(&f, "pages.mdb", path);
    pbft_pages_close(f.pages);
    size_t size;
    uint8_t *data = file_read(path, &size);
    for (size_t i = 0; i < list.count; i += 5) {
        const struct page_copy *copy = &list.pages[i];
        uint8_t *at = find_bytes(data, size, copy->data, copy->size);
        REQUIRE(i, at != NULL);
        at[copy->size / 2] ^= 0x10;
        file_write(path, data, size);
        open_store(&f);
        REQUIRE(i, pbft_pages_load(f.pages, other, &root) == PBFT_STATUS_CORRUPT);
        struct pbft_digest after = tree_root(other);
        REQUIRE(i, digest_same(&before, &after));
        pbft_pages_close(f.pages);
        at[copy->size / 2] ^= 0x10;
    }
    file_write(path, data, size);
    open_store(&f);
    holds(f.pages, tree, NULL, 1);
    free(data);
    page_list_free(&list);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(other);
    fixture_free(&f);
}

/* ---- what is just too long for a page of LMDB's ---- */

/* One record a leaf, which is longer than the value by 29 bytes. */
static void put_sized(struct pbft_tree *tree, uint32_t from, uint32_t to, uint8_t fill, size_t size)
{
    for (uint32_t i = from; i < to; i++) {
        uint8_t key[3] = {0, (uint8_t)(i >> 8), (uint8_t)i};
        uint8_t value[4100];
        for (size_t at = 0; at < size; at++)
            value[at] = (uint8_t)(fill + i * 7 + at * at);
        tree_put(tree, (struct pbft_span){key, 3}, (struct pbft_span){value, size}, 1);
    }
}

/* Sizes of values whose pages LMDB would waste half of its own on, into how many records they are
 * cut instead, and at most how much they take of their bytes in per cent. */
static const struct {
    size_t size;
    unsigned records, percent;
} awkward[] = {{2045, 4, 120}, {2100, 4, 120}, {2300, 4, 125}, {4100, 2, 115}};
#define AWKWARD (sizeof awkward / sizeof *awkward)

/* What is just too long is stored in pieces: anew, and beside what is there. Pages are counted all
 * the same, also by whoever opens the file, and nothing of one stays behind. */
Test(pages_lmdb, pages_of_awkward_sizes_share_those_of_lmdb)
{
    for (size_t i = 0; i < AWKWARD; i++) {
        struct fixture f = fixture_new(true);
        struct pbft_pages_tuning tuning = {64 << 10, 64, 0, 0};
        pbft_pages_tune(f.pages, &tuning);
        struct pbft_tree *tree = tree_new(NULL);
        struct pbft_pages_stats stats;
        put_sized(tree, 0, 300, 1, awkward[i].size);
        flush_ok(f.pages, tree, 1);
        struct page_list list = page_list_of(tree, &default_pages);
        pbft_pages_stats(f.pages, &stats);
        cr_assert_gt(list.count, 300u);
        cr_assert_eq(stats.pages, list.count);
        cr_assert_eq(stats.renewed, 1u);
        REQUIRE(i, stats.bytes < page_list_bytes(&list) / 100 * awkward[i].percent + 32768);
        tuning.renew_slack = 32 * MIB;
        pbft_pages_tune(f.pages, &tuning);
        for (uint32_t k = 2; k <= 12; k++) {
            put_sized(tree, 60 * (k % 4), 60 * (k % 4) + 90, (uint8_t)k, awkward[i].size);
            flush_ok(f.pages, tree, k);
            if (k % 3 == 0) reopen(&f);
            holds(f.pages, tree, NULL, k);
            pbft_pages_stats(f.pages, &stats);
            REQUIRE(k, closed(f.pages) == stats.pages);
            REQUIRE(k, stats.pages <= list.count * 9 / 8 + 8);
        }
        page_list_free(&list);
        pbft_tree_destroy(tree);
        fixture_free(&f);
    }
}

/* In order they are appended; out of it, and twice, they are all there and counted once as well. */
Test(pages_lmdb, pages_put_aside_in_no_order_are_all_there)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = tree_new(NULL);
    struct pbft_pages_space space;
    struct pbft_span page;
    put_sized(tree, 0, 60, 1, awkward[0].size);
    struct page_list list = page_list_of(tree, &default_pages);
    cr_assert_eq(f.pages->ops->aside(f.pages), PBFT_STATUS_OK);
    cr_assert_eq(f.pages->ops->begin(f.pages, true), PBFT_STATUS_OK);
    for (size_t i = 0; i < 2 * list.count; i++) {
        const struct page_copy *copy = &list.pages[i % list.count];
        const struct pbft_span bytes = {copy->data, copy->size};
        REQUIRE(i, f.pages->ops->put(f.pages, &copy->digest, bytes) == PBFT_STATUS_OK);
    }
    cr_assert_eq(f.pages->ops->commit(f.pages), PBFT_STATUS_OK);
    cr_assert_eq(f.pages->ops->adopt(f.pages), PBFT_STATUS_OK);
    for (unsigned opened = 0; opened < 2; opened++) {
        f.pages->ops->space(f.pages, &space);
        REQUIRE(opened, space.pages == list.count);
        cr_assert_eq(f.pages->ops->begin(f.pages, false), PBFT_STATUS_OK);
        for (size_t i = 0; i < list.count; i++) {
            const struct page_copy *copy = &list.pages[i];
            REQUIRE(i, f.pages->ops->get(f.pages, &copy->digest, &page) == PBFT_STATUS_OK);
            REQUIRE(i, page.size == copy->size && memcmp(page.data, copy->data, page.size) == 0);
        }
        f.pages->ops->abort(f.pages);
        reopen(&f);
    }
    page_list_free(&list);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

/* As above, at every size about the bounds between one way and the other. */
Test(pages_lmdb, pages_of_any_size_are_read_back)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = tree_new(NULL);
    for (size_t size = 1960; size <= 2600; size++)
        put_sized(tree, (uint32_t)size, (uint32_t)size + 1, 1, size);
    for (size_t size = 480; size <= 660; size++)
        put_sized(tree, (uint32_t)size, (uint32_t)size + 1, 1, size);
    flush_ok(f.pages, tree, 1);
    reopen(&f);
    holds(f.pages, tree, NULL, 1);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

/* LMDB's own head, 16 bytes, counts: what fills a page without it needs a second one with it. */
Test(pages_lmdb, pages_about_as_long_as_one_of_lmdbs_take_one)
{
    for (size_t size = 4080 - 2; size <= 4096 + 2; size++) {
        struct fixture f = fixture_new(true);
        struct pbft_tree *tree = tree_new(NULL);
        struct pbft_pages_stats stats;
        put_sized(tree, 0, 60, 1, size - 29);
        flush_ok(f.pages, tree, 1);
        struct page_list list = page_list_of(tree, &default_pages);
        pbft_pages_stats(f.pages, &stats);
        REQUIRE(size, list.pages[list.count - 1].size == size);
        REQUIRE(size, stats.bytes < page_list_bytes(&list) / 10 * 15);
        reopen(&f);
        holds(f.pages, tree, NULL, 1);
        page_list_free(&list);
        pbft_tree_destroy(tree);
        fixture_free(&f);
    }
}

/* Records of any kind in a file that nobody else has open. */
static size_t records_in(const char *path)
{
    MDB_env *env = NULL;
    MDB_stat stat_of;
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY, 0), 0);
    cr_assert_eq(mdb_env_stat(env, &stat_of), 0);
    mdb_env_close(env);
    return stat_of.ms_entries;
}

/* Pages are counted by their first pieces: one that outlived its page would be seen by nobody, and
 * stay until all is written anew. */
Test(pages_lmdb, all_pieces_of_a_removed_page_go_with_it)
{
    for (size_t i = 0; i < AWKWARD; i++) {
        struct fixture f = fixture_new(true);
        struct pbft_tree *tree = tree_new(NULL);
        struct pbft_digest at;
        char path[300];
        path_in(&f, "pages.mdb", path);
        put_sized(tree, 0, 40, 1, awkward[i].size);
        flush_ok(f.pages, tree, 1);
        struct page_list list = page_list_of(tree, &default_pages);
        pbft_pages_close(f.pages);
        REQUIRE(i, records_in(path) >= list.count + 40 * (awkward[i].records - 1) + 2);
        open_store(&f);
        cr_assert_eq(f.pages->ops->begin(f.pages, true), PBFT_STATUS_OK);
        while (f.pages->ops->next(f.pages, NULL, &at) == PBFT_STATUS_OK)
            cr_assert_eq(f.pages->ops->remove(f.pages, &at), PBFT_STATUS_OK);
        cr_assert_eq(f.pages->ops->commit(f.pages), PBFT_STATUS_OK);
        pbft_pages_close(f.pages);
        cr_assert_eq(records_in(path), 2u, "there is more than the owner and the checkpoint");
        open_store(&f);
        page_list_free(&list);
        pbft_tree_destroy(tree);
        fixture_free(&f);
    }
}

Test(pages_lmdb, rot_in_the_last_piece)
{
    for (size_t i = 0; i < AWKWARD; i++) {
        struct fixture f = fixture_new(true);
        struct pbft_tree *tree = tree_new(NULL), *other = state(8);
        put_sized(tree, 0, 20, 1, awkward[i].size);
        flush_ok(f.pages, tree, 1);
        struct pbft_digest root = tree_root(tree);
        struct page_list list = page_list_of(tree, &default_pages);
        char path[300];
        path_in(&f, "pages.mdb", path);
        pbft_pages_close(f.pages);
        size_t size;
        uint8_t *data = file_read(path, &size);
        const struct page_copy *leaf = &list.pages[list.count - 1];
        cr_assert_gt(leaf->size, awkward[i].size);
        cr_assert_null(find_bytes(data, size, leaf->data, leaf->size), "in one piece");
        uint8_t *at = find_bytes(data, size, leaf->data + leaf->size - 20, 20);
        REQUIRE(0, at != NULL);
        at[19] ^= 0x10;
        file_write(path, data, size);
        open_store(&f);
        cr_assert_eq(pbft_pages_load(f.pages, other, &root), PBFT_STATUS_CORRUPT);
        pbft_pages_close(f.pages);
        at[19] ^= 0x10;
        file_write(path, data, size);
        open_store(&f);
        holds(f.pages, tree, NULL, 1);
        free(data);
        page_list_free(&list);
        pbft_tree_destroy(tree);
        pbft_tree_destroy(other);
        fixture_free(&f);
    }
}

/* ---- the file ---- */

static void refused(const struct fixture *f, enum pbft_status expected, const char *word)
{
    for (int read_only = 0; read_only < 2; read_only++) {
        char error[PBFT_PAGES_ERROR_BYTES];
        struct pbft_pages *pages = NULL;
        enum pbft_status status = lmdb_try(&pages, f->dir, MIB, read_only != 0, error);
        cr_assert_eq(status, expected, "%s", pbft_status_text(status));
        cr_assert(strstr(error, word) != NULL, "'%s' says nothing of '%s'", error, word);
    }
}

Test(pages_lmdb, foreign_future_and_damaged_files_are_refused)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = bulk(1, 300);
    flush_ok(f.pages, tree, 1);
    pbft_pages_close(f.pages);
    struct pbft_pages *pages = NULL;
    for (int field = 0; field < 3; field++) {
        struct pbft_pages_lmdb_config config = {.dir = f.dir,
                                                .owner = owner_of(1),
                                                .bytes_max = MIB};
        if (field == 0) config.owner.cluster_id.bytes[31] ^= 1;
        if (field == 1) config.owner.replica++;
        if (field == 2) config.owner.key_fingerprint.bytes[0] ^= 1;
        char error[PBFT_PAGES_ERROR_BYTES];
        cr_assert_eq(pbft_pages_lmdb_open(&pages, &config, error), PBFT_STATUS_CORRUPT);
        cr_assert(strstr(error, "belongs to another") != NULL, "%s", error);
    }
    char path[300];
    path_in(&f, "pages.mdb", path);
    size_t size;
    uint8_t *data = file_read(path, &size);
    uint8_t *at = find_bytes(data, size, "PBFTPAGE", 8);
    cr_assert(at != NULL);
    struct stat now;
    cr_assert(stat(path, &now) == 0 && (now.st_mode & 07777) == 0600);

    /* LMDB may have the record twice. A version that the hash does not cover is rot. */
    for (int sealed = 0; sealed < 2; sealed++) {
        for (uint8_t *next = at; next != NULL;) {
            next[8] = 2;
            struct pbft_digest sum;
            struct pbft_span body = {next, 80};
            pbft_hash(&sum, "pbft-pages-own", &body, 1);
            if (sealed != 0) memcpy(next + 80, sum.bytes, PBFT_DIGEST_BYTES);
            size_t left = size - (size_t)(next + 8 - data);
            next = find_bytes(next + 8, left, "PBFTPAGE", 8);
        }
        file_write(path, data, size);
        if (sealed == 0)
            refused(&f, PBFT_STATUS_CORRUPT, "is damaged");
        else
            refused(&f, PBFT_STATUS_LATER, "newer version");
    }
    for (uint8_t *next = data;
         (next = find_bytes(next, size - (size_t)(next - data), "PBFTPAGE", 8)) != NULL;
         next += 8) {
        next[8] = 1;
        next[100] ^= 1;
    }
    file_write(path, data, size);
    refused(&f, PBFT_STATUS_CORRUPT, "damaged");
    file_write(path, data, 0);
    refused(&f, PBFT_STATUS_CORRUPT, "damaged");
    memset(data, 'x', size);
    file_write(path, data, size);
    refused(&f, PBFT_STATUS_CORRUPT, "damaged");
    free(data);
    pbft_tree_destroy(tree);
    dir_remove(f.dir);
}

Test(pages_lmdb, a_record_that_is_damaged_is_no_checkpoint)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = bulk(1, 300);
    flush_ok(f.pages, tree, 1);
    struct pbft_digest root = tree_root(tree);
    char path[300];
    path_in(&f, "pages.mdb", path);
    pbft_pages_close(f.pages);
    size_t size;
    uint8_t *data = file_read(path, &size);
    /* The root stands nowhere else in the value of a record: in the index it follows 8 bytes. */
    uint8_t record[40] = {1};
    memcpy(record + 8, root.bytes, PBFT_DIGEST_BYTES);
    uint8_t *at = find_bytes(data, size, record, sizeof record);
    cr_assert(at != NULL);
    at[0] = 9;
    file_write(path, data, size);
    open_store(&f);
    struct pbft_pages_checkpoint *checkpoint = checkpoint_new();
    cr_assert_eq(pbft_pages_checkpoint(f.pages, checkpoint), PBFT_STATUS_CORRUPT);
    flush_ok(f.pages, tree, 2); /* which writes everything anew */
    cr_assert_eq(pbft_pages_checkpoint(f.pages, checkpoint), PBFT_STATUS_OK);
    cr_assert_eq(checkpoint->seq, 2u);
    free(checkpoint);
    free(data);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}

Test(pages_lmdb, read_only_changes_nothing)
{
    struct fixture f = fixture_new(true);
    char path[300], aside[300], error[PBFT_PAGES_ERROR_BYTES];
    path_in(&f, "pages.mdb", path);
    path_in(&f, "pages.mdb.new", aside);
    struct pbft_tree *tree = bulk(1, 3000);
    flush_ok(f.pages, tree, 1);
    pbft_pages_close(f.pages);
    file_write(aside, (const uint8_t *)"left", 4);
    size_t size, size_after;
    uint8_t *data = file_read(path, &size);
    struct stat before, after;
    cr_assert(stat(path, &before) == 0);

    struct pbft_pages *pages = NULL;
    cr_assert_eq(lmdb_try(&pages, f.dir, 0, true, error), PBFT_STATUS_OK);
    holds(pages, tree, NULL, 1);
    cr_assert_eq(flush(pages, tree, 2), PBFT_STATUS_REFUSED);
    cr_assert_eq(pbft_pages_clear(pages), PBFT_STATUS_REFUSED);
    holds(pages, tree, NULL, 1);
    pbft_pages_close(pages);
    uint8_t *data_after = file_read(path, &size_after);
    cr_assert(size == size_after && memcmp(data, data_after, size) == 0);
    cr_assert(stat(path, &after) == 0 && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
              before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    cr_assert_eq(access(aside, F_OK), 0, "not even what was left is removed");

    open_store(&f); /* as the owner: it is */
    cr_assert_neq(access(aside, F_OK), 0);
    holds(f.pages, tree, NULL, 1);
    pbft_pages_close(f.pages);
    unlink(path);
    cr_assert_eq(lmdb_try(&pages, f.dir, 0, true, error), PBFT_STATUS_NOT_FOUND);
    cr_assert_neq(access(path, F_OK), 0, "nothing is created");
    cr_assert_eq(lmdb_try(&pages, "/nonexistent", MIB, false, error), PBFT_STATUS_NOT_FOUND);
    free(data);
    free(data_after);
    pbft_tree_destroy(tree);
    dir_remove(f.dir);
}

/* A file that lost its end must not end the process that reads it. */
Test(pages_lmdb, truncated_file_is_found)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = bulk(1, 3000), *none = tree_new(NULL);
    flush_ok(f.pages, tree, 1);
    struct pbft_digest root = tree_root(tree);
    char path[300], error[PBFT_PAGES_ERROR_BYTES];
    path_in(&f, "pages.mdb", path);
    pbft_pages_close(f.pages);
    size_t size;
    uint8_t *data = file_read(path, &size);
    uint32_t loaded = 0, refusals = 0;
    for (size_t length = 8192; length < size; length += 5 * 4096) {
        file_write(path, data, length);
        struct pbft_pages *pages = NULL;
        cr_assert_neq(lmdb_try(&pages, f.dir, MIB, true, error), PBFT_STATUS_OK);
        if (lmdb_try(&pages, f.dir, 64 * MIB, false, error) != PBFT_STATUS_OK) {
            refusals++;
            continue;
        }
        enum pbft_status status = pbft_pages_load(pages, none, &root);
        REQUIRE(length, status != PBFT_STATUS_OK);
        pbft_pages_close(pages);
        loaded++;
    }
    cr_assert_gt(loaded + refusals, 20);
    free(data);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(none);
    dir_remove(f.dir);
}

/* ---- kill -9 (FAULTS 2.38) ---- */

static struct pbft_tree *kill_state(pbft_seq seq)
{
    struct pbft_tree *tree = bulk(1, 1500);
    struct rng rng = {seq / 4};
    uint32_t count = seq % 4 == 0 ? 1500 : 40;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = rng_below(&rng, 1500);
        uint8_t key[3] = {(uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
        uint8_t value[200];
        memset(value, (int)(seq % 7 + i), sizeof value);
        tree_put(tree, (struct pbft_span){key, 3}, (struct pbft_span){value, sizeof value}, 2);
    }
    return tree;
}

/* Says so, a byte for each, when a checkpoint is durable. */
static _Noreturn void kill_child(const char *dir, pbft_seq seq, int done_fd)
{
    struct pbft_pages *pages = NULL;
    const struct pbft_pages_tuning tuning = {32 << 10, 16, 8, 64 << 10};
    if (lmdb_try(&pages, dir, 64 * MIB, false, NULL) != PBFT_STATUS_OK) _exit(1);
    pbft_pages_tune(pages, &tuning);
    for (;; seq++) {
        struct pbft_tree *tree = kill_state(seq);
        if (flush(pages, tree, seq) != PBFT_STATUS_OK) _exit(2);
        if (write(done_fd, "+", 1) != 1) _exit(3);
        pbft_tree_destroy(tree);
    }
}

Test(pages_lmdb, kill_at_any_time)
{
    struct fixture f = fixture_new(true);
    pbft_pages_close(f.pages);
    struct rng rng = {20};
    pbft_seq last = 0;
    for (uint32_t round = 0; round < 20; round++) {
        int fds[2];
        cr_assert_eq(pipe(fds), 0);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) kill_child(f.dir, last + 1, fds[1]);
        close(fds[1]);
        uint32_t durable = 0, enough = rng_below(&rng, 4);
        for (char byte; durable < enough && read(fds[0], &byte, 1) == 1;)
            durable++;
        struct timespec pause = {0, (long)rng_below(&rng, 20000000)};
        nanosleep(&pause, NULL);
        pbft_seq promised = last + durable;
        int status;
        cr_assert(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
        cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", WEXITSTATUS(status));
        open_store(&f);
        pbft_seq seq;
        struct pbft_tree *loaded = load(f.pages, NULL, &seq);
        REQUIRE(round, seq >= promised);
        if (seq != 0) {
            struct pbft_tree *expected = kill_state(seq);
            holds(f.pages, expected, NULL, seq);
            pbft_tree_destroy(expected);
        }
        last = seq;
        pbft_tree_destroy(loaded);
        close(fds[0]);
        pbft_pages_close(f.pages);
    }
    cr_assert_gt(last, 0);
    open_store(&f);
    fixture_free(&f);
}

/* A bit that is wrong anywhere in the file, LMDB's own pages included, is found or does no harm:
 * the process does not end, and what is loaded and then flushed again is what was there. */
static int rot_child(const char *dir, const struct pbft_digest *root, struct pbft_tree *next)
{
    alarm(60); /* whoever follows what it finds may go round for ever */
    struct pbft_pages *pages = NULL;
    if (lmdb_try(&pages, dir, 64 * MIB, false, NULL) != PBFT_STATUS_OK) return 10;
    const struct pbft_pages_tuning tuning = {32 << 10, 16, 0, 64 * MIB};
    pbft_pages_tune(pages, &tuning);
    struct pbft_tree *tree = tree_new(NULL);
    if (pbft_pages_load(pages, tree, root) != PBFT_STATUS_OK) return 11;
    struct pbft_digest loaded = tree_root(tree);
    if (!digest_same(&loaded, root)) return 1;
    if (flush(pages, next, 9) != PBFT_STATUS_OK) return 12;
    pbft_tree_destroy(tree);
    pbft_seq seq;
    tree = load(pages, NULL, &seq);
    return seq == 9 ? 0 : 2;
}

Test(pages_lmdb, rot_anywhere_in_the_file)
{
    struct fixture f = fixture_new(true);
    const struct pbft_pages_tuning tuning = {32 << 10, 16, 8, 64 * MIB};
    pbft_pages_tune(f.pages, &tuning);
    for (pbft_seq seq = 1; seq <= 6; seq++) { /* with free pages, and those in several records */
        struct pbft_tree *tree = kill_state(seq);
        flush_ok(f.pages, tree, seq);
        pbft_tree_destroy(tree);
    }
    struct pbft_tree *tree = kill_state(6), *next = kill_state(7);
    struct pbft_digest root = tree_root(tree);
    char path[300];
    path_in(&f, "pages.mdb", path);
    pbft_pages_close(f.pages);
    size_t size, data_pages = 0;
    uint8_t *data = file_read(path, &size);
    uint32_t seen[13] = {0};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rng rng = {seed};
        size_t at = 4096 * (size_t)rng_below(&rng, (uint32_t)(size / 4096));
        uint32_t flags = data[at + 10];
        /* Contents are hashed: what matters is the rest, and that there are few. */
        bool overflow = at >= 8192 && flags == 4;
        if (overflow && ++data_pages % 8 != 0) continue;
        at += rng_below(&rng, overflow || seed % 2 == 0 ? 24 : at < 8192 ? 160 : 4096);
        uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));
        data[at] ^= bit;
        file_write(path, data, size);
        data[at] ^= bit;
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) _exit(rot_child(f.dir, &root, next));
        int status;
        cr_assert(waitpid(child, &status, 0) == child);
        REQUIRE(seed, WIFEXITED(status));
        int code = WEXITSTATUS(status);
        REQUIRE(seed, code == 0 || (code >= 10 && code <= 12));
        seen[code]++;
    }
    cr_assert_gt(seen[0], 10);
    cr_assert_gt(seen[10], 10);
    free(data);
    pbft_tree_destroy(tree);
    pbft_tree_destroy(next);
    dir_remove(f.dir);
}

/* FAULTS 2.46: what the disk does not give is told by errno, before LMDB maps it. */
Test(pages_lmdb, what_cannot_be_read)
{
    struct fixture f = fixture_new(true);
    struct pbft_tree *tree = state(1);
    flush_ok(f.pages, tree, 1);
    char path[300];
    path_in(&f, "pages.mdb", path);
    const _Atomic bool yes = true;
    cr_assert_eq(pbft_pages_read_through(path, NULL), 0);
    cr_assert_eq(truncate(path, (off_t)1 << 36), 0); /* a hole takes no time */
    cr_assert_eq(pbft_pages_read_through(path, NULL), 0);
    cr_assert_eq(pbft_pages_read_through(path, &yes), ECANCELED);
    cr_assert_eq(pbft_pages_read_through("/proc/self/mem", NULL), EIO, "nothing is mapped at 0");
    cr_assert_eq(pbft_pages_read_through("/proc", NULL), EINVAL);
    cr_assert_eq(pbft_pages_read_through("/nonexistent", NULL), ENOENT);
    pbft_tree_destroy(tree);
    fixture_free(&f);
}
