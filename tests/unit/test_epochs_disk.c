/* PROTOCOL 29, FAULTS 2.39 and 2.40: how a data directory goes from one epoch to the next, and what
 * a start finds wherever that was cut short: by a kill, and by a loss of power that left of each
 * file and folder no more than what was synced. */
#include "replica/epochs.h"

#include "crypto/hash.h"
#include "pbft/wire.h"
#include "replica/data.h"
#include "store/log_file.h"
#include "tests/unit/epoch_fixture.h"
#include "tests/unit/power.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64]; /* of all that a test makes */

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(base, sizeof base, "%.30s/pbft-epochs-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(base));
}

static void teardown(void)
{
    power_remove_all(base);
}

TestSuite(epochs_disk, .init = setup, .fini = teardown, .timeout = 240);

/* ---- one replica and its next epoch ---- */

struct change {
    const char *name;
    pbft_epoch from;
    pbft_id id;
    bool wiped; /* `pbftctl replica replace` after a lost disk */
    bool voted; /* in the next one, and then DIR/epochs was lost */
    bool mute;
};

struct life {
    struct epoch_chain *chain;
    struct change change;
    char node[POWER_PATH_BYTES]; /* holds key, key.next and data/ */
    bool over;                   /* it has begun, and everything is durable */
};

static const struct pbft_cluster *next_of(const struct life *l)
{
    return &l->chain->at[l->change.from + 1];
}

static bool key_changes(const struct life *l)
{
    return !pbft_public_key_equal(&l->chain->at[l->change.from].replicas[l->change.id],
                                  &next_of(l)->replicas[l->change.id]);
}

static void in(const char *node, const char *name, char out[POWER_PATH_BYTES])
{
    (void)snprintf(out, POWER_PATH_BYTES, "%.400s/%s", node, name);
}

struct open_data {
    struct pbft_superblock *superblock;
    struct pbft_data data;
};

static void open_data(struct open_data *o, const struct pbft_cluster *cluster, pbft_id id,
                      const char *data, const char *when)
{
    char dir[PBFT_CONFIG_PATH_MAX + 32], error[256] = "";
    struct pbft_data_config config = {.dir = dir,
                                      .durability = PBFT_DURABILITY_SYNC,
                                      .genesis_seq = cluster->genesis_seq,
                                      .frames_max_bytes = 16u << 20};
    pbft_config_owner(cluster, id, &config.owner);
    pbft_epochs_path(data, cluster->epoch, dir);
    cr_assert_eq(pbft_superblock_open(&o->superblock, dir, &config.owner, NULL), PBFT_STATUS_OK,
                 "%s: epoch %u cannot be opened", when, (unsigned)cluster->epoch);
    pbft_epochs_tidy(data, cluster->epoch);
    config.superblock = o->superblock;
    cr_assert_eq(pbft_data_open(&o->data, &config, error), PBFT_STATUS_OK, "%s: %s", when, error);
    cr_assert_eq(pbft_superblock_mark_start(o->superblock, false), PBFT_STATUS_OK);
}

static void close_data(struct open_data *o)
{
    pbft_data_close(&o->data);
    pbft_superblock_close(o->superblock);
}

static void vote(struct pbft_log *log)
{
    struct pbft_log_stats stats;
    pbft_log_stats(log, &stats);
    uint8_t bytes[64] = {1};
    struct pbft_span part = {bytes, sizeof bytes};
    cr_assert_eq(pbft_log_append(log, 1, stats.last + 1, &part, 1), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    pbft_log_commit(log);
    cr_assert(pbft_log_poll(log));
}

static void flush(struct pbft_pages *pages, pbft_seq seq)
{
    struct pbft_tree *tree;
    struct pbft_span k = {(const uint8_t *)"k", 1};
    struct pbft_pages_checkpoint *cp = calloc(1, sizeof *cp);
    cr_assert_not_null(cp);
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_tree_put(tree, k, k, 1), PBFT_STATUS_OK);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    cp->seq = seq;
    pbft_snapshot_root(snapshot, &cp->root);
    cr_assert_eq(pbft_pages_flush(pages, snapshot, cp), PBFT_STATUS_OK);
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
    free(cp);
}

static pbft_seq flushed(struct pbft_pages *pages)
{
    struct pbft_pages_checkpoint *cp = calloc(1, sizeof *cp);
    cr_assert_not_null(cp);
    enum pbft_status status = pbft_pages_checkpoint(pages, cp);
    pbft_seq seq = status == PBFT_STATUS_OK ? cp->seq : 0;
    free(cp);
    return seq;
}

/* The replica has voted in this epoch, and flushed what the next one begins with. */
static void live_to(struct life *l, pbft_epoch last)
{
    char data[POWER_PATH_BYTES], error[256];
    struct pbft_superblock_owner owner;
    struct open_data o;
    const struct pbft_cluster *at = l->chain->at;
    in(l->node, "data", data);
    cr_assert_eq(mkdir(data, 0700), 0);
    pbft_config_owner(&at[0], l->change.id, &owner);
    cr_assert_eq(pbft_data_create(data, &owner), PBFT_STATUS_OK);
    for (pbft_epoch e = 1; e <= last; e++) {
        struct pbft_epochs_begin b = {.dir = data, .next = &at[e], .id = l->change.id};
        cr_assert_eq(pbft_epochs_begin(&b, NULL, error), PBFT_STATUS_OK, "%s", error);
    }
    open_data(&o, &at[last], l->change.id, data, "before");
    vote(o.data.log);
    flush(o.data.pages, at[last + 1].genesis_seq);
    close_data(&o);
}

static void save_key(const struct life *l, pbft_epoch epoch, const char *name)
{
    char path[POWER_PATH_BYTES], error[256];
    in(l->node, name, path);
    cr_assert_eq(pbft_keypair_save(&l->chain->keys[epoch][l->change.id], path, error),
                 PBFT_STATUS_OK, "%s", error);
}

static void life_new(struct life *l, const struct change *change)
{
    char data[POWER_PATH_BYTES];
    *l = (struct life){.chain = chain_new(4, 1), .change = *change};
    in(base, "node", l->node);
    cr_assert_eq(mkdir(l->node, 0700), 0);
    save_key(l, change->from, "key");
    if (key_changes(l)) save_key(l, change->from + 1, "key.next");
    live_to(l, change->from);
    in(l->node, "data", data);
    if (change->wiped) power_remove_all(data);
}

static void life_free(struct life *l)
{
    power_remove_all(l->node);
    chain_free(l->chain);
}

/* As main.c and `pbftctl replica replace` do. */
static enum pbft_status begin_in(const struct life *l, const char *node, char error[256])
{
    char data[POWER_PATH_BYTES], key[POWER_PATH_BYTES], next[POWER_PATH_BYTES];
    struct pbft_superblock *superblock = NULL;
    in(node, "data", data);
    in(node, "key", key);
    struct pbft_epochs_begin b = {.dir = data,
                                  .next = next_of(l),
                                  .id = l->change.id,
                                  .keep_pages = !key_changes(l),
                                  .forgets = l->change.mute};
    enum pbft_status status = pbft_epochs_begin(&b, &superblock, error);
    if (status != PBFT_STATUS_OK) return status;
    in(node, "key.next", next);
    if (key_changes(l)) status = pbft_keypair_adopt(next, key, error);
    pbft_superblock_close(superblock);
    return status;
}

static void transition(void *context)
{
    const struct life *l = context;
    char error[256];
    if (begin_in(l, l->node, error) != PBFT_STATUS_OK) _exit(1);
}

static bool holds_key(const char *path, const struct pbft_public_key *public)
{
    struct pbft_keypair keypair;
    char error[256];
    return pbft_keypair_load(&keypair, path, error) == PBFT_STATUS_OK &&
           pbft_public_key_equal(&keypair.public, public);
}

/* The key of this epoch is there, in one place or the other, and ends in the right one. */
static void find_key(const struct life *l, const char *node, const struct pbft_cluster *cluster,
                     const char *when)
{
    char key[POWER_PATH_BYTES], next[POWER_PATH_BYTES], error[256];
    const struct pbft_public_key *public = &cluster->replicas[l->change.id];
    in(node, "key", key);
    in(node, "key.next", next);
    cr_assert(!l->over || holds_key(key, public), "%s: the key was not renamed durably", when);
    if (!holds_key(key, public) && cluster->epoch > l->change.from) {
        cr_assert(holds_key(next, public), "%s: the key of epoch %u is lost", when,
                  (unsigned)cluster->epoch);
        cr_assert_eq(pbft_keypair_adopt(next, key, error), PBFT_STATUS_OK, "%s", error);
        cr_assert(holds_key(key, public), "%s", when);
    }
    if (!key_changes(l) || cluster->epoch > l->change.from) return;
    cr_assert(holds_key(next, &next_of(l)->replicas[l->change.id]), "%s: key.next is gone", when);
    cr_assert(l->change.wiped || holds_key(key, public), "%s: the key is gone", when);
}

/* What nobody needs is gone. */
static void expect_tidy(const char *data, pbft_epoch present, const char *when)
{
    struct power_entry entries[POWER_ENTRIES];
    char own[32];
    unsigned count = power_list(data, entries);
    (void)snprintf(own, sizeof own, "epoch-%u", (unsigned)present);
    for (unsigned i = 0; i < count; i++)
        cr_assert(strcmp(entries[i].name, "epochs") == 0 || strcmp(entries[i].name, own) == 0,
                  "%s: %s is left", when, entries[i].name);
    cr_assert_eq(count, 2u, "%s", when);
}

static void expect_new(const struct life *l, struct open_data *o, const char *data,
                       const char *when)
{
    bool mute = l->change.mute || l->change.voted;
    cr_assert(l->change.voted || !o->data.resumed, "%s: a log of another epoch", when);
    cr_assert_eq(o->data.mute, mute, "%s: %s", when, o->data.why);
    expect_tidy(data, l->change.from + 1, when);
    if (o->data.mute) return;
    pbft_seq seq = flushed(o->data.pages);
    cr_assert_eq(seq, key_changes(l) ? 0 : next_of(l)->genesis_seq, "%s: checkpoint %llu", when,
                 (unsigned long long)seq);
    vote(o->data.log);
}

static void expect_old(struct open_data *o, const char *when)
{
    cr_assert(o->data.resumed, "%s: votes are lost", when);
    cr_assert_not(o->data.mute, "%s: %s", when, o->data.why);
    cr_assert_gt(flushed(o->data.pages), 0u, "%s", when);
}

/* A start: in which epoch, and with what? From the old one the way is still open. */
static void come_back(void *context, const char *node, const char *when)
{
    const struct life *l = context;
    char data[POWER_PATH_BYTES], error[256] = "", path[PBFT_CONFIG_PATH_MAX + 32];
    struct open_data o;
    bool lost = l->change.wiped || l->change.voted;
    for (bool again = true; again;) {
        struct pbft_cluster cluster = l->chain->at[0];
        in(node, "data", data);
        cr_assert_eq(pbft_epochs_load(data, &cluster, error), PBFT_STATUS_OK, "%s: %s", when,
                     error);
        again = cluster.epoch != l->change.from + 1;
        cr_assert(!again || !l->over, "%s: epoch %u", when, (unsigned)cluster.epoch);
        cr_assert(!again || cluster.epoch == (lost ? 0 : l->change.from), "%s: epoch %u", when,
                  (unsigned)cluster.epoch);
        find_key(l, node, &cluster, when);
        if (again && lost) {
            struct pbft_superblock_info info;
            pbft_epochs_path(data, 0, path);
            cr_assert_eq(pbft_superblock_look(path, &info), PBFT_STATUS_NOT_FOUND, "%s", when);
        } else {
            open_data(&o, &cluster, l->change.id, data, when);
            if (again)
                expect_old(&o, when);
            else
                expect_new(l, &o, data, when);
            close_data(&o);
        }
        pbft_epoch_free(&cluster);
        if (again)
            cr_assert_eq(begin_in(l, node, error), PBFT_STATUS_OK, "%s: then %s", when, error);
    }
}

static void start_and_vote(const struct life *l)
{
    char data[POWER_PATH_BYTES];
    struct open_data o;
    in(l->node, "data", data);
    open_data(&o, next_of(l), l->change.id, data, "started");
    cr_assert_not(o.data.mute);
    vote(o.data.log);
    close_data(&o);
}

static void lose_the_proofs(const struct life *l)
{
    char path[POWER_PATH_BYTES], error[256] = "";
    cr_assert_eq(begin_in(l, l->node, error), PBFT_STATUS_OK, "%s", error);
    start_and_vote(l);
    in(l->node, "data/epochs", path);
    cr_assert_eq(unlink(path), 0);
}

static void goes_over(const struct change *change)
{
    struct life l;
    char found[POWER_PATH_BYTES];
    life_new(&l, change);
    if (change->voted) lose_the_proofs(&l);
    in(base, "found", found);
    struct power_trace t = {
        .folder = l.node, .found = found, .look = come_back, .context = &l, .over = &l.over};
    power_watch(&t, transition);
    come_back(&l, l.node, "in the end");
    (void)fprintf(stderr, "%s: %u steps, %u states\n", change->name, t.steps, t.states);
    cr_expect_gt(t.steps, change->voted ? 8u : 20u, "what was watched?");
    life_free(&l);
}

/* Epoch e replaces the key of replica e - 1 (epoch_fixture.h). */
Test(epochs_disk, the_first_epoch_ends_for_a_replica_that_keeps_its_key)
{
    goes_over(&(struct change){.name = "0 to 1, same key", .from = 0, .id = 3});
}

Test(epochs_disk, a_later_epoch_ends_for_a_replica_that_keeps_its_key)
{
    goes_over(&(struct change){.name = "2 to 3, same key", .from = 2, .id = 3});
}

Test(epochs_disk, the_key_is_replaced)
{
    goes_over(&(struct change){.name = "1 to 2, other key", .from = 1, .id = 1});
}

Test(epochs_disk, the_key_is_replaced_in_the_first_epoch)
{
    goes_over(&(struct change){.name = "0 to 1, other key", .from = 0, .id = 0});
}

Test(epochs_disk, the_key_is_replaced_after_a_lost_disk)
{
    goes_over(&(struct change){.name = "1 to 2, wiped", .from = 1, .id = 1, .wiped = true});
}

Test(epochs_disk, a_mute_replica_stays_mute)
{
    goes_over(&(struct change){.name = "1 to 2, mute", .from = 1, .id = 3, .mute = true});
}

/* Nobody knows which votes that log lacks: DIR/epochs did not come back with it. */
Test(epochs_disk, begun_again_without_its_proofs_it_is_mute)
{
    goes_over(&(struct change){.name = "0 to 1, voted", .from = 0, .id = 3, .voted = true});
}

/* ---- steps that fail ---- */

Test(epochs_disk, a_failure_leaves_the_old_epoch)
{
    static const char *const obstacles[] = {"epochs.tmp/x", "epoch-2/superblock/x",
                                            "epoch-2/log-0000000000000001/x"};
    struct change change = {.from = 1, .id = 1};
    for (size_t i = 0; i < sizeof obstacles / sizeof obstacles[0]; i++) {
        struct life l;
        char path[POWER_PATH_BYTES], error[256] = "";
        life_new(&l, &change);
        in(l.node, "data/", path);
        size_t size = strlen(path);
        (void)snprintf(path + size, sizeof path - size, "%s", obstacles[i]);
        for (char *slash = path + size; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
            *slash = '\0';
            cr_assert_eq(mkdir(path, 0700), 0, "%s", path);
        }
        cr_expect_neq(begin_in(&l, l.node, error), PBFT_STATUS_OK, "%s", obstacles[i]);
        cr_expect_not_null(strstr(error, "cannot begin epoch 2 in "), "%s", error);
        *strrchr(path, '/') = '\0';
        cr_assert_eq(rmdir(path), 0, "%s", path);
        come_back(&l, l.node, obstacles[i]);
        life_free(&l);
    }
}

/* ---- other people's files ---- */

static void write_file(const char *folder, const char *name)
{
    char path[POWER_PATH_BYTES + POWER_NAME_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_gt(fputs("kept by an operator\n", file), 0);
    cr_assert_eq(fclose(file), 0);
}

static bool lies_in(const char *folder, const char *name)
{
    char path[POWER_PATH_BYTES + POWER_NAME_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* Only what a replica makes is removed, by its whole name, wherever an old epoch lay. */
Test(epochs_disk, what_an_operator_put_there_stays)
{
    static const char *const theirs[] = {
        "log-notes.txt",        "log-",           "log-0000000000000001.bak",
        "log-00000000000000A1", "log-spare.gz",   "pages.mdb.bak",
        "pages.mdb-2026",       "superblock.old", "locked"};
    static const char *const ours[] = {
        "log-0000000000000001", "log-00000000000000a1", "log-spare",      "log-new",
        "pages.mdb.new",        "pages.mdb.damaged",    "superblock.tmp", "superblock.new"};
    static const char *const folders[] = {"data", "data/epoch-1", "data/epoch-2", "data/epoch-9"};
    struct life l;
    struct change change = {.from = 1, .id = 1};
    char folder[POWER_PATH_BYTES], error[256] = "";
    life_new(&l, &change);
    for (size_t f = 0; f < sizeof folders / sizeof folders[0]; f++) {
        in(l.node, folders[f], folder);
        (void)mkdir(folder, 0700);
        for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
            write_file(folder, theirs[i]);
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
            if (!lies_in(folder, ours[i])) write_file(folder, ours[i]);
    }
    cr_assert_eq(begin_in(&l, l.node, error), PBFT_STATUS_OK, "%s", error);
    for (size_t f = 0; f < sizeof folders / sizeof folders[0]; f++) {
        bool present = strcmp(folders[f], "data/epoch-2") == 0;
        in(l.node, folders[f], folder);
        for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++)
            cr_expect(lies_in(folder, theirs[i]), "%s/%s is gone", folders[f], theirs[i]);
        for (size_t i = present ? 1 : 0; i < sizeof ours / sizeof ours[0]; i++)
            cr_expect_not(lies_in(folder, ours[i]), "%s/%s is left", folders[f], ours[i]);
    }
    life_free(&l);
}

/* A newer pbft has been here: what it left is not taken for damage, nor removed. */
Test(epochs_disk, what_a_newer_version_left_stays)
{
    static const char *const folders[] = {"data/epoch-1", "data/epoch-2", "data/epoch-9"};
    uint8_t block[128] = "PBFTSUPR";
    struct pbft_span body = {block, sizeof block - PBFT_DIGEST_BYTES};
    struct pbft_digest sum;
    pbft_put_u32(block + 8, 3);
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    memcpy(block + body.size, sum.bytes, PBFT_DIGEST_BYTES);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        struct life l;
        struct change change = {.from = 1, .id = 1};
        char folder[POWER_PATH_BYTES], path[POWER_PATH_BYTES + POWER_NAME_BYTES], error[256] = "";
        life_new(&l, &change);
        in(l.node, folders[i], folder);
        (void)mkdir(folder, 0700);
        (void)snprintf(path, sizeof path, "%s/superblock", folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        cr_assert_eq(fwrite(block, 1, sizeof block, file), sizeof block);
        cr_assert_eq(fclose(file), 0);
        write_file(folder, "log-0000000000000007");
        cr_expect_eq(begin_in(&l, l.node, error), PBFT_STATUS_LATER, "%s", folders[i]);
        cr_expect_not_null(strstr(error, "newer version of pbft"), "%s", error);
        cr_expect(lies_in(folder, "superblock") && lies_in(folder, "log-0000000000000007"));
        life_free(&l);
    }
}

/* ---- an epoch that has begun ---- */

/* `pbftctl replica replace` looked, then pbftd was started, and then it goes on. */
Test(epochs_disk, an_epoch_that_has_begun_is_not_begun_again)
{
    struct life l;
    struct change change = {.from = 1, .id = 1};
    char data[POWER_PATH_BYTES], error[256] = "";
    struct open_data o;
    life_new(&l, &change);
    cr_assert_eq(begin_in(&l, l.node, error), PBFT_STATUS_OK, "%s", error);
    start_and_vote(&l);
    cr_expect_eq(begin_in(&l, l.node, error), PBFT_STATUS_EXISTS, "it votes already");
    in(l.node, "data", data);
    open_data(&o, next_of(&l), 1, data, "again");
    cr_expect(o.data.resumed, "votes are lost");
    cr_expect_not(o.data.mute);
    close_data(&o);
    struct pbft_epochs_begin earlier = {.dir = data, .next = &l.chain->at[1], .id = 1};
    cr_expect_eq(pbft_epochs_begin(&earlier, NULL, error), PBFT_STATUS_EXISTS, "back again");
    cr_expect_not_null(strstr(error, "epoch 1"), "%s", error);
    life_free(&l);
}
