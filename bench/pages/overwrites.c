/* How much disk the page store takes for what it holds: keys are overwritten at random, and each so
 * often the state is flushed as a replica does it. The bound is twice the pages of the checkpoint.
 *
 * overwrites [OPERATIONS [KEYS [VALUE INTERVAL]]]: a line for each size of value and interval
 * between flushes, or for the one that is named, and whether it was ever beyond the bound. LMDB
 * gives a record of more than 2 KB pages of its own: what would just not fit into one, or into half
 * of one, is stored in pieces, and its sizes are among these. */
#include "store/pages.h"
#include "store/tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLACK_BYTES     (UINT64_C(2) << 20) /* a small file is not worth a renewal */
#define VALUE_BYTES_MAX (1u << 16)

static void check(enum pbft_status status, const char *what)
{
    if (status == PBFT_STATUS_OK) return;
    (void)fprintf(stderr, "%s: %s\n", what, pbft_status_text(status));
    exit(2);
}

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static uint64_t file_bytes(const char *dir)
{
    char path[64];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/pages.mdb", dir);
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512u : 0;
}

static void put(struct pbft_tree *tree, uint64_t key, size_t size, uint64_t *dice, uint64_t mark)
{
    static uint8_t value[VALUE_BYTES_MAX];
    char name[32];
    int length = snprintf(name, sizeof name, "key%016" PRIx64, key * UINT64_C(0x9E3779B97F4A7C15));
    uint64_t fresh = next_random(dice);
    memcpy(value, &fresh, sizeof fresh);
    check(pbft_tree_put(tree, (struct pbft_span){(const uint8_t *)name, (size_t)length},
                        (struct pbft_span){value, size}, mark),
          "put");
}

static enum pbft_status add_size(void *context, const struct pbft_digest *digest,
                                 struct pbft_span page)
{
    (void)digest;
    *(uint64_t *)context += page.size;
    return PBFT_STATUS_OK;
}

struct store {
    const char *dir;
    struct pbft_pages *pages;
    struct pbft_tree *tree;
    uint64_t live, worst; /* bytes of the checkpoint's pages; the most on disk, in thousandths */
};

static void flush(struct store *s, pbft_seq seq)
{
    static struct pbft_pages_checkpoint checkpoint;
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(s->tree);
    if (snapshot == NULL) check(PBFT_STATUS_MEMORY, "snapshot");
    pbft_snapshot_root(snapshot, &checkpoint.root);
    checkpoint.seq = seq;
    check(pbft_pages_flush(s->pages, snapshot, &checkpoint), "flush");
    s->live = 0;
    check(pbft_snapshot_walk(snapshot, NULL, add_size, &s->live), "walk");
    pbft_snapshot_release(snapshot);
    uint64_t bytes = file_bytes(s->dir);
    uint64_t over = bytes > SLACK_BYTES ? (bytes - SLACK_BYTES) * 1000 / s->live : 0;
    if (over > s->worst) s->worst = over;
}

static void run(uint64_t operations, uint64_t keys, size_t value, uint64_t interval)
{
    char dir[] = "/tmp/pbft-overwrites-XXXXXX", path[64], error[PBFT_PAGES_ERROR_BYTES] = "";
    if (mkdtemp(dir) == NULL) check(PBFT_STATUS_IO, "a temporary folder");
    struct store s = {.dir = dir};
    struct pbft_pages_lmdb_config config = {.dir = dir, .bytes_max = UINT64_C(8) << 30};
    check(pbft_pages_lmdb_open(&s.pages, &config, error), error);
    struct pbft_tree_config tree = pbft_tree_config_default();
    check(pbft_tree_create(&s.tree, &tree), "tree");
    uint64_t dice = 1;
    for (uint64_t key = 0; key < keys; key++)
        put(s.tree, key, value, &dice, 1);
    pbft_seq seq = 1;
    flush(&s, seq);
    s.worst = 0;
    struct timespec before, after;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    for (uint64_t i = 1; i <= operations; i++) {
        put(s.tree, next_random(&dice) % keys, value, &dice, i);
        if (i % interval == 0) flush(&s, ++seq);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    struct pbft_pages_stats stats;
    pbft_pages_stats(s.pages, &stats);
    double seconds =
        (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    bool within = s.worst <= 2000;
    (void)printf("| %zu | %" PRIu64 " | %" PRIu64 " | %.1f | %.1f | %.3f | %" PRIu64 " of %" PRIu64
                 " | %.1f | %.0f |%s\n",
                 value, keys, interval, (double)s.live / 1e6, (double)file_bytes(dir) / 1e6,
                 (double)s.worst / 1000, stats.renewed, stats.flushes,
                 (double)stats.written_bytes / 1e9, seconds, within ? "" : " beyond the bound");
    (void)fflush(stdout);
    pbft_tree_destroy(s.tree);
    pbft_pages_close(s.pages);
    (void)snprintf(path, sizeof path, "%s/pages.mdb", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

int main(int argc, char **argv)
{
    uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    size_t value = argc > 4 ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t interval = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    bool one = argc == 5;
    if (argc > 5 || argc == 4 || operations == 0 || keys == 0 ||
        (one && (value < sizeof(uint64_t) || value > VALUE_BYTES_MAX || interval == 0))) {
        (void)fprintf(stderr,
                      "overwrites [OPERATIONS [KEYS [VALUE INTERVAL]]]: numbers above 0, "
                      "VALUE of %zu to %u bytes.\n",
                      sizeof(uint64_t), VALUE_BYTES_MAX);
        return 2;
    }
    static const struct {
        size_t value;
        uint64_t part, interval; /* of the keys and operations: large values take long */
    } cases[] = {{100, 1, 100000}, {100, 1, 10000},  {1500, 10, 10000},
                 {2040, 10, 300},  {4060, 20, 1000}, {6000, 20, 5000}};
    (void)printf(
        "| value, bytes | keys | operations a flush | live pages, MB | file, MB | worst file/live "
        "(beyond 2 MiB) | renewed | written, GB | s |\n|---|---|---|---|---|---|---|---|---|\n");
    if (one) run(operations, keys, value, interval);
    for (size_t i = 0; !one && i < sizeof cases / sizeof *cases; i++)
        run(operations / cases[i].part, keys / cases[i].part, cases[i].value, cases[i].interval);
    return 0;
}
