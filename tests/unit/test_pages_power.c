/* FAULTS 2.40: the power goes while the page store is made, flushed to and cleared, with all that
 * was not synced. The vote log is cut once a flush has returned: what it said must be there. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "pages_fixture.h"
#include "power.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define FLUSHES 12u

/* Several transactions for each sweep, and one flush of four writes everything anew. */
static struct pbft_pages_tuning tuning_for(pbft_seq seq)
{
    return (struct pbft_pages_tuning){2 << 10, 16, 4, seq % 4 == 0 ? 0 : 64 * MIB};
}

/* What the process that is watched has said so far. */
struct said {
    bool open;
    pbft_seq durable, begun; /* checkpoints; 0: none */
    struct pbft_pages_stats stats;
};

struct life {
    char dir[POWER_PATH_BYTES], found[POWER_PATH_BYTES];
    struct pbft_tree *trees[FLUSHES + 1];
    struct said *said; /* shared with it */
    bool over;
    unsigned looks;
};

/* A start: whatever was promised is there, and it goes on from there. */
static void come_back(void *context, const char *dir, const char *when)
{
    struct life *l = context;
    char path[POWER_PATH_BYTES], error[PBFT_PAGES_ERROR_BYTES] = "";
    struct pbft_pages *pages = NULL;
    (void)snprintf(path, sizeof path, "%.400s/pages.mdb", dir);
    cr_assert(!l->said->open || access(path, F_OK) == 0, "%s: the store is gone", when);
    enum pbft_status status = lmdb_try(&pages, dir, 64 * MIB, false, error);
    cr_assert_eq(status, PBFT_STATUS_OK, "%s: %s", when, error);
    struct pbft_pages_checkpoint *have = checkpoint_new();
    cr_assert_eq(pbft_pages_checkpoint(pages, have), PBFT_STATUS_OK, "%s", when);
    cr_assert(have->seq == l->said->durable || have->seq == l->said->begun,
              "%s: checkpoint %llu, and %llu was durable", when, (unsigned long long)have->seq,
              (unsigned long long)l->said->durable);
    if (have->seq != 0) {
        struct pbft_tree *tree = tree_new(&small_pages);
        struct pbft_digest root = tree_root(l->trees[have->seq]);
        cr_assert_eq(pbft_pages_load(pages, tree, &root), PBFT_STATUS_OK, "%s: checkpoint %llu",
                     when, (unsigned long long)have->seq);
        pbft_tree_destroy(tree);
    }
    free(have);
    if (l->looks++ % 8 == 0) { /* syncs take time */
        flush_ok(pages, l->trees[0], FLUSHES + 1);
        holds(pages, l->trees[0], &small_pages, FLUSHES + 1);
    }
    pbft_pages_close(pages);
}

static void durable(struct said *said, pbft_seq seq)
{
    said->durable = said->begun = seq;
    power_moment();
}

static struct pbft_pages *start(const struct life *l)
{
    struct pbft_pages *pages = NULL;
    if (lmdb_try(&pages, l->dir, 64 * MIB, false, NULL) != PBFT_STATUS_OK) _exit(1);
    l->said->open = true;
    power_moment();
    return pages;
}

static void live(void *context)
{
    const struct life *l = context;
    struct said *said = l->said;
    struct pbft_pages *pages = start(l);
    for (pbft_seq seq = 1; seq <= FLUSHES; seq++) {
        const struct pbft_pages_tuning tuning = tuning_for(seq);
        pbft_pages_tune(pages, &tuning);
        said->begun = seq;
        if (flush(pages, l->trees[seq], seq) != PBFT_STATUS_OK) _exit(2);
        durable(said, seq);
        if (seq == FLUSHES / 2) { /* from here on the file is one that was opened */
            pbft_pages_close(pages);
            pages = start(l);
        }
        if (seq != FLUSHES - 2) continue;
        said->begun = 0;
        if (pbft_pages_clear(pages) != PBFT_STATUS_OK) _exit(3);
        durable(said, 0);
    }
    pbft_pages_stats(pages, &said->stats);
    pbft_pages_close(pages);
}

static char base[64]; /* of all that the test makes */

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(base, sizeof base, "%.30s/pbft-power-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(base));
}

static void teardown(void)
{
    power_remove_all(base);
}

TestSuite(pages_power, .init = setup, .fini = teardown, .timeout = 240);

Test(pages_power, what_a_flush_has_said_outlives_a_loss_of_power)
{
    struct life l = {.over = false};
    (void)snprintf(l.dir, sizeof l.dir, "%s/data", base);
    (void)snprintf(l.found, sizeof l.found, "%s/found", base);
    cr_assert_eq(mkdir(l.dir, 0700), 0);
    l.said = mmap(NULL, sizeof *l.said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(l.said, MAP_FAILED);
    for (uint32_t i = 0; i <= FLUSHES; i++)
        l.trees[i] = state(i);
    struct power_trace t = {
        .folder = l.dir, .found = l.found, .look = come_back, .context = &l, .over = &l.over};
    power_watch(&t, live);
    const struct pbft_pages_stats *stats = &l.said->stats;
    (void)fprintf(stderr,
                  "%u steps, %u states; %llu flushes, %llu of them anew, %llu pages swept\n",
                  t.steps, t.states, (unsigned long long)stats->flushes,
                  (unsigned long long)stats->renewed, (unsigned long long)stats->swept);
    cr_expect_eq(l.said->durable, FLUSHES);
    cr_expect_eq(stats->flushes, FLUSHES / 2, "since the store was opened again");
    cr_expect_eq(stats->renewed, 2u);
    cr_expect_gt(stats->swept, 0u);
    for (uint32_t i = 0; i <= FLUSHES; i++)
        pbft_tree_destroy(l.trees[i]);
    (void)munmap(l.said, sizeof *l.said);
}
