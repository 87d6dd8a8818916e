/* `pbftd --check-data`: a data directory made by the real writers passes, and every kind of damage,
 * foreign data and lie in it is noticed and named (PROTOCOL 25-30; FAULTS 2.38-2.47). */
#define _GNU_SOURCE /* fallocate, to punch holes */
#include "replica/check_data.h"

#include "crypto/hash.h"
#include "pbft/core.h"
#include "pbft/quorum.h"
#include "replica/apply.h"
#include "replica/config.h"
#include "replica/data.h"
#include "replica/node.h"
#include "replica/pbft_replica.h"
#include "replica/pool.h"
#include "service/kv.h"
#include "tests/sim/samples.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF       2u
#define CHECKPOINT 8u /* the samples' interval */
#define KEYS       400u
#define SEGMENT    "log-0000000000000001"

struct world {
    char dir[64], path[400];
    struct samples *s;
    struct pbft_pool *pool;
    struct pbft_apply *apply;
    struct pbft_superblock *superblock;
    struct pbft_data data;
    char text[16384]; /* of the last check */
    char sentence[320];
};

/* ---- a replica's life, without the replica ---- */

static const char *path_of(struct world *w, const char *name)
{
    (void)snprintf(w->path, sizeof w->path, "%s/%s", w->dir, name);
    return w->path;
}

static void open_data(struct world *w)
{
    char error[256];
    struct pbft_superblock_owner owner;
    pbft_config_owner(&w->s->cluster, SELF, &owner);
    cr_assert_eq(pbft_superblock_open(&w->superblock, w->dir, &owner, NULL), PBFT_STATUS_OK);
    struct pbft_data_config config = {.dir = w->dir,
                                      .owner = owner,
                                      .durability = PBFT_DURABILITY_SYNC,
                                      .superblock = w->superblock,
                                      .frames_max_bytes = 16u << 20};
    cr_assert_eq(pbft_data_open(&w->data, &config, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_not(w->data.mute);
    cr_assert_eq(pbft_superblock_mark_start(w->superblock, false), PBFT_STATUS_OK);
}

static void close_data(struct world *w)
{
    pbft_data_close(&w->data);
    pbft_superblock_close(w->superblock);
    w->superblock = NULL;
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    cr_assert_not_null(w);
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(w->dir, sizeof w->dir, "%.30s/pbft-check-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(w->dir));
    w->s = samples_new(&pbft_signer_ed25519);
    w->pool = pbft_pool_new(64u << 20);
    struct pbft_apply_config config = {&w->s->cluster, &pbft_kv_service, pbft_pool_frames(w->pool)};
    w->apply = pbft_apply_new(&config);
    cr_assert_not_null(w->apply);
    struct pbft_superblock_owner owner;
    pbft_config_owner(&w->s->cluster, SELF, &owner);
    cr_assert_eq(pbft_data_create(w->dir, &owner), PBFT_STATUS_OK);
    open_data(w);
    return w;
}

static void world_free(struct world *w)
{
    DIR *folder = opendir(w->dir);
    for (const struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;)
        (void)unlink(path_of(w, e->d_name));
    if (folder != NULL) (void)closedir(folder);
    cr_assert_eq(rmdir(w->dir), 0);
    pbft_apply_free(w->apply);
    pbft_pool_free(w->pool);
    samples_free(w->s);
    free(w);
}

static void append(struct world *w, enum pbft_record_kind kind, struct pbft_span a,
                   struct pbft_span b)
{
    uint8_t lengths[2][4];
    struct pbft_log_stats stats;
    pbft_log_stats(w->data.log, &stats);
    pbft_put_u32(lengths[0], (uint32_t)a.size);
    pbft_put_u32(lengths[1], (uint32_t)b.size);
    struct pbft_span parts[4] = {{lengths[0], 4}, a, {lengths[1], 4}, b};
    cr_assert_eq(pbft_log_append(w->data.log, kind, stats.last + 1, parts, b.size > 0 ? 4 : 2),
                 PBFT_STATUS_OK);
}

static void commit(struct world *w)
{
    cr_assert_eq(pbft_log_sync(w->data.log), PBFT_STATUS_OK);
    pbft_log_commit(w->data.log);
    cr_assert(pbft_log_poll(w->data.log));
}

static const struct pbft_span nothing = {NULL, 0};
static const pbft_signers quorum = 7; /* replicas 0, 1, 2 */

static struct pbft_digest proposal(struct world *w, pbft_seq seq)
{
    struct pbft_proposal p = samples_proposal(w->s, SAMPLE_TIME_NS + seq, 1);
    struct pbft_span vote = samples_vote(w->s, PBFT_PREPARE, 0, seq, &p.digest, SELF);
    append(w, PBFT_RECORD_PROPOSAL, samples_pre_prepare(w->s, 0, seq, &p), vote);
    return p.digest;
}

static struct pbft_span entry_of(struct world *w, pbft_seq seq, const struct pbft_digest *digest)
{
    struct pbft_prepared entry = samples_prepared(w->s, 0, seq, digest);
    struct pbft_msg m = {.type = PBFT_VIEW_CHANGE, .epoch = w->s->cluster.epoch};
    m.view_change.sender = SELF;
    m.view_change.prepared_count = 1;
    m.view_change.prepared = &entry;
    return samples_encode(w->s, &m, NULL);
}

static void prepared(struct world *w, pbft_seq seq, const struct pbft_digest *digest)
{
    append(w, PBFT_RECORD_PREPARED, entry_of(w, seq, digest),
           samples_vote(w->s, PBFT_COMMIT, 0, seq, digest, SELF));
}

static struct pbft_span certificate(struct world *w, uint8_t kind, pbft_seq seq,
                                    const struct pbft_digest *digest, pbft_signers signers)
{
    struct pbft_msg m = {.type = PBFT_CERTIFICATE, .epoch = w->s->cluster.epoch};
    m.certificate.kind = kind;
    m.certificate.seq = seq;
    m.certificate.digest = *digest;
    m.certificate.signatures = kind == PBFT_CERT_COMMIT
                                   ? samples_votes(w->s, PBFT_COMMIT, 0, seq, digest, signers)
                                   : samples_checkpoints(w->s, seq, digest, signers);
    return samples_encode(w->s, &m, NULL);
}

static void decided(struct world *w, pbft_seq seq)
{
    struct pbft_digest digest = proposal(w, seq);
    prepared(w, seq, &digest);
    append(w, PBFT_RECORD_COMMITTED, certificate(w, PBFT_CERT_COMMIT, seq, &digest, quorum),
           nothing);
    commit(w);
    samples_reset(w->s);
}

/* The state after the checkpoint, of more pages than one. */
static struct pbft_digest make_state(struct world *w)
{
    struct pbft_apply_done done;
    struct pbft_tree *tree = pbft_apply_tree(w->apply);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t key[4] = {0xff, (uint8_t)(i >> 8), (uint8_t)i, 1}, value[100];
        memset(value, (int)i, sizeof value);
        cr_assert_eq(pbft_tree_put(tree, (struct pbft_span){key, sizeof key},
                                   (struct pbft_span){value, sizeof value}, 1),
                     PBFT_STATUS_OK);
    }
    while (pbft_apply_seq(w->apply) < CHECKPOINT)
        pbft_apply_execute(w->apply, pbft_apply_seq(w->apply) + 1, NULL, &done);
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(w->apply);
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    return root;
}

static void flush_at(struct world *w, pbft_seq seq, const struct pbft_digest *certified,
                     pbft_signers signers)
{
    static struct pbft_pages_checkpoint cp;
    struct pbft_span frame = certificate(w, PBFT_CERT_CHECKPOINT, seq, certified, signers);
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(w->apply);
    cp.seq = seq;
    pbft_snapshot_root(snapshot, &cp.root);
    cp.certificate_size = (uint32_t)frame.size;
    memcpy(cp.certificate, frame.data, frame.size);
    cr_assert_eq(pbft_pages_flush(w->data.pages, snapshot, &cp), PBFT_STATUS_OK);
    pbft_snapshot_release(snapshot);
}

static void flush(struct world *w, const struct pbft_digest *certified, pbft_signers signers)
{
    flush_at(w, CHECKPOINT, certified, signers);
}

/* Eight numbers, their checkpoint, on disk too, and a bit more; open for more. */
static struct world *lived(void)
{
    struct world *w = world_new();
    struct pbft_digest root = make_state(w);
    for (pbft_seq seq = 1; seq <= CHECKPOINT; seq++)
        decided(w, seq);
    append(w, PBFT_RECORD_CHECKPOINT, samples_checkpoint(w->s, CHECKPOINT, &root, SELF), nothing);
    append(w, PBFT_RECORD_STABLE, certificate(w, PBFT_CERT_CHECKPOINT, CHECKPOINT, &root, quorum),
           nothing);
    commit(w);
    flush(w, &root, quorum);
    decided(w, CHECKPOINT + 1);
    return w;
}

/* ---- looking ---- */

static int check_as(struct world *w, const struct pbft_cluster *cluster, pbft_id id)
{
    FILE *out = tmpfile();
    cr_assert_not_null(out);
    struct pbft_check_config config = {.dir = w->dir,
                                       .cluster = cluster,
                                       .id = id,
                                       .service = &pbft_kv_service,
                                       .pool = pbft_pool_frames(w->pool),
                                       .out = out};
    int code = pbft_check_data(&config, w->sentence);
    rewind(out);
    size_t size = fread(w->text, 1, sizeof w->text - 1, out);
    w->text[size] = '\0';
    (void)fclose(out);
    return code;
}

static int check(struct world *w)
{
    return check_as(w, &w->s->cluster, SELF);
}

#define expect_code(w, code, said)                                                                 \
    do {                                                                                           \
        int got_ = check(w);                                                                       \
        cr_expect_eq(got_, code, "%d: %s\n%s", got_, (w)->sentence, (w)->text);                    \
        cr_expect_not_null(strstr((w)->text, said), "not said: %s\n%s", said, (w)->text);          \
    } while (0)

static uint8_t flip(struct world *w, const char *name, off_t at, uint8_t mask)
{
    uint8_t byte;
    int fd = open(path_of(w, name), O_RDWR);
    cr_assert(fd >= 0, "%s", name);
    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= mask;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
    return byte;
}

static off_t size_of(struct world *w, const char *name)
{
    struct stat info;
    return stat(path_of(w, name), &info) == 0 ? info.st_size : 0;
}

/* All names and bytes. */
static struct pbft_digest contents(struct world *w)
{
    struct pbft_digest sum = {{0}};
    DIR *folder = opendir(w->dir);
    cr_assert_not_null(folder);
    for (const struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        size_t size = (size_t)size_of(w, e->d_name);
        uint8_t *bytes = malloc(size + 1);
        cr_assert_not_null(bytes);
        int fd = open(path_of(w, e->d_name), O_RDONLY);
        cr_assert_eq(read(fd, bytes, size), (ssize_t)size);
        (void)close(fd);
        struct pbft_span parts[2] = {{(const uint8_t *)e->d_name, strlen(e->d_name)},
                                     {bytes, size}};
        struct pbft_digest one;
        pbft_hash(&one, "test", parts, 2);
        for (size_t i = 0; i < PBFT_DIGEST_BYTES; i++)
            sum.bytes[i] ^= one.bytes[i];
        free(bytes);
    }
    (void)closedir(folder);
    return sum;
}

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 27;
}

/* ---- what is well ---- */

Test(check_data, what_was_written_is_well_and_stays_as_it_is)
{
    struct world *w = lived();
    close_data(w);
    (void)unlink(path_of(w, "lock"));
    struct pbft_digest before = contents(w);
    expect_code(w, PBFT_EXIT_CLEAN, "intact: ");
    static const char *const figures[] = {
        "format 2, cluster ",
        "replica 2, key ",
        "1 starts, 0 of them forgot",
        "owner ok, checkpoint 8, root ",
        "signed by 3 replicas",
        "out of reach 0, missing 0",
        "1 segments, 29 records: 9 PROPOSAL, 9 PREPARED, 1 CHECKPOINT, 1 STABLE, 9 COMMITTED",
        "lsn 1 .. 29",
        "19 statements of this replica",
        "a restart would follow all of it"};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        cr_expect_not_null(strstr(w->text, figures[i]), "%s\n%s", figures[i], w->text);
    struct pbft_digest after = contents(w);
    cr_expect(pbft_digest_equal(&before, &after), "the check has changed something");
    cr_expect_neq(access(path_of(w, "lock"), F_OK), 0);
    open_data(w); /* and a replica agrees */
    cr_expect(w->data.resumed);
    close_data(w);
    world_free(w);
}

Test(check_data, never_started)
{
    struct world *w = world_new();
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "fresh: ");
    cr_expect_not_null(strstr(w->text, "no checkpoint was flushed yet"), "%s", w->text);
    cr_assert_eq(unlink(path_of(w, "pages.mdb")), 0);
    expect_code(w, PBFT_EXIT_CLEAN, "there is no pages.mdb");
    world_free(w);
}

/* By another process: our own locks we would not see, and lose by looking. */
Test(check_data, held_by_a_replica)
{
    struct world *w = lived();
    close_data(w);
    int ready[2], done[2];
    char byte = 0;
    cr_assert_eq(pipe(ready), 0);
    cr_assert_eq(pipe(done), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct pbft_superblock_owner owner;
        pbft_config_owner(&w->s->cluster, SELF, &owner);
        if (pbft_superblock_open(&w->superblock, w->dir, &owner, NULL) != PBFT_STATUS_OK) _exit(1);
        if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1) _exit(2);
        _exit(0);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    struct pbft_digest before = contents(w);
    int code = check(w), status = -1;
    struct pbft_digest after = contents(w);
    cr_expect_eq(code, PBFT_EXIT_FAILURE);
    cr_expect_not_null(strstr(w->sentence, "in use by a replica: stop"), "%s", w->sentence);
    cr_expect_str_eq(w->text, "", "it was looked at");
    cr_expect(pbft_digest_equal(&before, &after));
    cr_assert_eq(write(done[1], &byte, 1), 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "the replica lost its lock");
    expect_code(w, PBFT_EXIT_CLEAN, "intact: ");
    world_free(w);
}

/* ---- whose ---- */

Test(check_data, of_another)
{
    struct world *w = lived();
    close_data(w);
    cr_expect_eq(check_as(w, &w->s->cluster, SELF + 1), PBFT_EXIT_DATA);
    static const char *const named[] = {"superblock is of replica 2, not of 3",
                                        "superblock is of the key ",
                                        "belongs to another cluster, replica or key",
                                        "vote log foreign: "};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        cr_expect_not_null(strstr(w->text, named[i]), "%s\n%s", named[i], w->text);
    struct pbft_cluster other = w->s->cluster;
    other.replicas[SELF] = w->s->stranger.public;
    cr_expect_eq(check_as(w, &other, SELF), PBFT_EXIT_DATA);
    cr_expect_not_null(strstr(w->text, "superblock is of the key "), "%s", w->text);
    cr_expect_null(strstr(w->text, "superblock is of replica"), "%s", w->text);
    /* The same data, and other keys of the others: no certificate holds. */
    other = w->s->cluster;
    other.replicas[0] = w->s->stranger.public;
    cr_expect_eq(check_as(w, &other, SELF), PBFT_EXIT_DATA);
    cr_expect_not_null(strstr(w->text, "certificate of checkpoint 8 is none"), "%s", w->text);
    cr_expect_not_null(strstr(w->text, "is not right: signature"), "%s", w->text);
    world_free(w);
}

Test(check_data, superblock)
{
    struct world *w = lived();
    close_data(w);
    for (off_t at = 0; at < 128; at++) {
        (void)flip(w, "superblock", at, 0x04);
        int code = check(w);
        cr_assert_eq(code, PBFT_EXIT_DATA, "byte %d: %d", (int)at, code);
        cr_assert_not_null(strstr(w->text, "the superblock is damaged"), "byte %d\n%s", (int)at,
                           w->text);
        (void)flip(w, "superblock", at, 0x04);
    }
    uint8_t block[128];
    struct pbft_span body = {block, sizeof block - PBFT_DIGEST_BYTES};
    struct pbft_digest sum;
    int fd = open(path_of(w, "superblock"), O_RDWR);
    cr_assert_eq(pread(fd, block, sizeof block, 0), (ssize_t)sizeof block);
    block[8]++;
    pbft_hash(&sum, "pbft-superblock", &body, 1);
    memcpy(block + body.size, sum.bytes, PBFT_DIGEST_BYTES);
    cr_assert_eq(pwrite(fd, block, sizeof block, 0), (ssize_t)sizeof block);
    (void)close(fd);
    expect_code(w, PBFT_EXIT_DATA, "a newer version of pbft wrote it");
    cr_assert_eq(unlink(path_of(w, "superblock")), 0);
    expect_code(w, PBFT_EXIT_DATA, "there is no superblock");
    world_free(w);
}

/* As wiped as an empty one. */
Test(check_data, no_directory)
{
    struct world *w = lived();
    close_data(w);
    struct pbft_check_config config = {.dir = path_of(w, "none"),
                                       .cluster = &w->s->cluster,
                                       .id = SELF,
                                       .service = &pbft_kv_service,
                                       .pool = pbft_pool_frames(w->pool),
                                       .out = stderr};
    cr_expect_eq(pbft_check_data(&config, w->sentence), PBFT_EXIT_DATA, "%s", w->sentence);
    cr_expect_not_null(strstr(w->sentence, "check `data`, or, if it was lost"), "%s", w->sentence);
    world_free(w);
}

/* ---- the log ---- */

/* The END of the last commit but one lies before this. */
static off_t log_end(struct world *w, unsigned sectors_back)
{
    uint8_t sector[512];
    int fd = open(path_of(w, SEGMENT), O_RDONLY);
    off_t at = 1024, end = 0;
    for (; pread(fd, sector, sizeof sector, at) == (ssize_t)sizeof sector && at < 1 << 20;
         at += 512)
        for (size_t i = 0; i < sizeof sector; i++)
            if (sector[i] != 0) end = at;
    (void)close(fd);
    return end - (off_t)sectors_back * 512;
}

Test(check_data, every_bit_of_the_log_counts)
{
    struct world *w = lived();
    close_data(w);
    uint64_t state = 20261121;
    off_t end = log_end(w, 1); /* the last BEGIN proves what is before it */
    cr_assert_gt(end, 4096);
    unsigned noticed = 0;
    for (unsigned i = 0; i < 60; i++) {
        off_t at = i < 8 ? (off_t)i * 14 : 1024 + (off_t)(next(&state) % (uint64_t)(end - 1024));
        uint8_t mask = (uint8_t)(1u << (next(&state) % 8));
        uint8_t now = flip(w, SEGMENT, at, mask);
        int code = check(w);
        /* The rest of a commit's last sector is never read. */
        bool padding = now == mask && code == PBFT_EXIT_CLEAN;
        cr_assert(code == PBFT_EXIT_DATA || padding, "byte %ld: %d\n%s", (long)at, code, w->text);
        if (code == PBFT_EXIT_DATA)
            cr_assert_not_null(strstr(w->text, "vote log damaged"), "byte %ld\n%s", (long)at,
                               w->text);
        noticed += code == PBFT_EXIT_DATA;
        (void)flip(w, SEGMENT, at, mask);
    }
    cr_expect_gt(noticed, 45u, "%u", noticed);
    expect_code(w, PBFT_EXIT_CLEAN, "intact: ");
    world_free(w);
}

/* What a crash leaves of a commit whose sync has not come back: some of its sectors. */
Test(check_data, torn_tail_is_ordinary)
{
    struct world *w = lived();
    static uint8_t before[8192], after[8192], torn[8192];
    off_t from = log_end(w, 0);
    int fd = open(path_of(w, SEGMENT), O_RDWR);
    cr_assert_eq(pread(fd, before, sizeof before, from), (ssize_t)sizeof before);
    (void)proposal(w, CHECKPOINT + 2);
    (void)proposal(w, CHECKPOINT + 3);
    commit(w);
    close_data(w);
    cr_assert_eq(pread(fd, after, sizeof after, from), (ssize_t)sizeof after);
    unsigned said_torn = 0;
    for (size_t kept = 512; kept < 2048; kept += 512) {
        memcpy(torn, before, sizeof torn);
        memcpy(torn, after, kept);
        cr_assert_eq(pwrite(fd, torn, sizeof torn, from), (ssize_t)sizeof torn);
        int code = check(w);
        cr_expect_eq(code, PBFT_EXIT_CLEAN, "%zu bytes: %d\n%s", kept, code, w->text);
        said_torn += strstr(w->text, "torn: ") != NULL;
    }
    cr_expect_gt(said_torn, 0u, "%s", w->text);
    (void)close(fd);
    world_free(w);
}

Test(check_data, log_of_the_future_or_none)
{
    struct world *w = lived();
    close_data(w);
    uint8_t head[512];
    int fd = open(path_of(w, SEGMENT), O_RDWR);
    cr_assert_eq(pread(fd, head, sizeof head, 0), (ssize_t)sizeof head);
    pbft_put_u32(head + 8, 9);
    struct pbft_digest hash;
    struct pbft_span body = {head, sizeof head - PBFT_DIGEST_BYTES};
    pbft_hash(&hash, "pbft-log-segment", &body, 1);
    memcpy(head + body.size, hash.bytes, PBFT_DIGEST_BYTES);
    cr_assert_eq(pwrite(fd, head, sizeof head, 0), (ssize_t)sizeof head);
    (void)close(fd);
    expect_code(w, PBFT_EXIT_DATA, "vote log future: ");
    cr_assert_eq(truncate(path_of(w, SEGMENT), 5000), 0);
    expect_code(w, PBFT_EXIT_DATA, "vote log ");
    cr_assert_eq(unlink(path_of(w, SEGMENT)), 0);
    expect_code(w, PBFT_EXIT_DATA, "vote log missing: ");
    world_free(w);
}

Test(check_data, log_that_was_replaced)
{
    struct world *w = world_new();
    struct pbft_digest root = make_state(w);
    flush(w, &root, quorum);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "the log was replaced");
    world_free(w);
}

/* A record, well-formed and with a good sum, in which something else is wrong. */
static void expect_bad_record(void (*add)(struct world *), const char *said)
{
    struct world *w = lived();
    add(w);
    commit(w);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, said);
    world_free(w);
}

static struct pbft_digest filled(uint8_t byte)
{
    struct pbft_digest digest;
    memset(digest.bytes, byte, sizeof digest.bytes);
    return digest;
}

static struct pbft_span forged(struct pbft_span frame)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)frame.data; /* of the samples: writable */
    bytes[frame.size - 1 - PBFT_SIGNATURE_BYTES / 2] ^= 1;
    return frame;
}

static void add_forged_vote(struct world *w)
{
    struct pbft_digest digest = filled(7);
    append(w, PBFT_RECORD_PROPOSAL,
           forged(samples_vote(w->s, PBFT_PREPARE, 0, CHECKPOINT + 2, &digest, SELF)), nothing);
}

static void add_forged_pre_prepare(struct world *w)
{
    struct pbft_proposal p = samples_proposal(w->s, SAMPLE_TIME_NS, 1);
    append(w, PBFT_RECORD_PROPOSAL, forged(samples_pre_prepare(w->s, 0, CHECKPOINT + 2, &p)),
           samples_vote(w->s, PBFT_PREPARE, 0, CHECKPOINT + 2, &p.digest, SELF));
}

static void add_forged_entry(struct world *w)
{
    struct pbft_digest digest = proposal(w, CHECKPOINT + 2);
    struct pbft_span entry = entry_of(w, CHECKPOINT + 2, &digest);
    uint8_t *bytes = (uint8_t *)(uintptr_t)entry.data;
    bytes[entry.size - PBFT_SIGNATURE_BYTES - 9] ^= 1; /* the last PREPARE's: its own is none */
    append(w, PBFT_RECORD_PREPARED, entry,
           samples_vote(w->s, PBFT_COMMIT, 0, CHECKPOINT + 2, &digest, SELF));
}

static void add_mixed_certificate(struct world *w)
{
    struct pbft_digest digest = proposal(w, CHECKPOINT + 2), other = filled(9);
    prepared(w, CHECKPOINT + 2, &digest);
    struct pbft_msg m = {.type = PBFT_CERTIFICATE, .epoch = w->s->cluster.epoch};
    m.certificate.kind = PBFT_CERT_COMMIT;
    m.certificate.seq = CHECKPOINT + 2;
    m.certificate.digest = digest;
    m.certificate.signatures = samples_votes(w->s, PBFT_COMMIT, 0, CHECKPOINT + 2, &other, quorum);
    append(w, PBFT_RECORD_COMMITTED, samples_encode(w->s, &m, NULL), nothing);
}

static void add_small_certificate(struct world *w)
{
    struct pbft_digest root = filled(9);
    append(w, PBFT_RECORD_STABLE, certificate(w, PBFT_CERT_CHECKPOINT, 2 * CHECKPOINT, &root, 3),
           nothing);
}

static void add_foreign_vote(struct world *w)
{
    struct pbft_digest digest = filled(7);
    append(w, PBFT_RECORD_PROPOSAL, samples_vote(w->s, PBFT_PREPARE, 0, CHECKPOINT + 2, &digest, 1),
           nothing);
}

static void add_other_kind(struct world *w)
{
    struct pbft_digest digest = filled(7);
    append(w, (enum pbft_record_kind)77,
           samples_vote(w->s, PBFT_PREPARE, 0, CHECKPOINT + 2, &digest, SELF), nothing);
}

static void add_no_frame(struct world *w)
{
    static const uint8_t bytes[64] = {1};
    append(w, PBFT_RECORD_CHECKPOINT, (struct pbft_span){bytes, sizeof bytes}, nothing);
}

static void add_second_prepare(struct world *w)
{
    struct pbft_digest digest = filled(7);
    (void)proposal(w, CHECKPOINT + 2);
    append(w, PBFT_RECORD_PROPOSAL,
           samples_vote(w->s, PBFT_PREPARE, 0, CHECKPOINT + 2, &digest, SELF), nothing);
}

static void add_second_checkpoint(struct world *w)
{
    struct pbft_digest root = filled(7);
    append(w, PBFT_RECORD_CHECKPOINT, samples_checkpoint(w->s, CHECKPOINT, &root, SELF), nothing);
}

/* Well signed, and only in somebody's certificate: our COMMIT for another digest. */
static void add_commit_in_certificate(struct world *w)
{
    struct pbft_digest digest = filled(7);
    append(w, PBFT_RECORD_COMMITTED,
           certificate(w, PBFT_CERT_COMMIT, CHECKPOINT + 1, &digest, quorum), nothing);
}

static void add_later_view(struct world *w)
{
    struct pbft_proposal p = samples_proposal(w->s, SAMPLE_TIME_NS, 1);
    append(w, PBFT_RECORD_PROPOSAL, samples_pre_prepare(w->s, 4, CHECKPOINT + 2, &p),
           samples_vote(w->s, PBFT_PREPARE, 4, CHECKPOINT + 2, &p.digest, SELF));
}

Test(check_data, lies_in_the_log)
{
    expect_bad_record(add_forged_vote,
                      "record 30 (kind 1) of the vote log is not right: signature");
    expect_bad_record(add_forged_pre_prepare, "record 30 (kind 1) of the vote log is not right: ");
    expect_bad_record(add_forged_entry,
                      "record 31 (kind 2) of the vote log is not right: signature");
    expect_bad_record(add_mixed_certificate, "record 32 (kind 7) of the vote log is not right: ");
    expect_bad_record(add_small_certificate,
                      "record 30 (kind 6) of the vote log is not right: certificate");
    expect_bad_record(add_foreign_vote, "record 30 (kind 1) of the vote log is not right: type");
    expect_bad_record(add_other_kind, "record 30 (kind 77) of the vote log is not right: type");
    expect_bad_record(add_no_frame, "record 30 (kind 5) of the vote log is not right: ");
}

Test(check_data, equivocation)
{
    expect_bad_record(add_second_prepare, "equivocation: record 31 holds a second PREPARE of this "
                                          "replica for view 0, number 10");
    expect_bad_record(add_second_checkpoint,
                      "equivocation: record 30 holds a second CHECKPOINT of this replica for view "
                      "0, number 8");
    expect_bad_record(add_commit_in_certificate,
                      "equivocation: record 30 holds a second COMMIT of this replica for view 0, "
                      "number 9");
}

/* Each is well signed; together they are not one correct replica's. */
Test(check_data, records_that_a_restart_refuses)
{
    expect_bad_record(add_later_view, "record 30 cannot follow those before it: view");
}

/* ---- pages ---- */

static void drop_page(struct world *w, unsigned nth)
{
    struct pbft_pages *pages = w->data.pages;
    struct pbft_digest at;
    cr_assert_eq(pages->ops->begin(pages, true), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->next(pages, NULL, &at), PBFT_STATUS_OK);
    for (unsigned i = 0; i < nth; i++)
        cr_assert_eq(pages->ops->next(pages, &at, &at), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->remove(pages, &at), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->commit(pages), PBFT_STATUS_OK);
}

static void put_page(struct world *w, const struct pbft_digest *digest, struct pbft_span page)
{
    struct pbft_pages *pages = w->data.pages;
    cr_assert_eq(pages->ops->begin(pages, true), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->put(pages, digest, page), PBFT_STATUS_OK);
    cr_assert_eq(pages->ops->commit(pages), PBFT_STATUS_OK);
}

Test(check_data, missing_page)
{
    struct world *w = lived();
    drop_page(w, 3);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "is missing: the checkpoint leads to it");
    cr_expect_not_null(strstr(w->text, ", missing 1"), "%s", w->text);
    world_free(w);
}

Test(check_data, pages_that_are_none)
{
    struct world *w = lived();
    static const uint8_t garbage[40] = {1, 1, 0, 0, 40, 0, 0, 0, 9};
    struct pbft_span page = {garbage, sizeof garbage};
    struct pbft_digest digest = filled(0x42), own;
    put_page(w, &digest, page);
    cr_assert(pbft_page_digest(page, &own));
    put_page(w, &own, page);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "page 4242424242424242.. does not have its hash");
    cr_expect_not_null(strstr(w->text, ".. is no page"), "%s", w->text);
    cr_expect_not_null(strstr(w->text, "out of reach 2"), "%s", w->text);
    world_free(w);
}

/* What an earlier checkpoint left is ordinary. */
Test(check_data, pages_out_of_reach)
{
    struct world *w = lived();
    struct pbft_tree *tree;
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    struct pbft_digest root;
    uint8_t bytes[64];
    size_t size;
    pbft_snapshot_root(snapshot, &root);
    cr_assert_eq(pbft_snapshot_page(snapshot, &root, bytes, sizeof bytes, &size), PBFT_STATUS_OK);
    put_page(w, &root, (struct pbft_span){bytes, size});
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "out of reach 1, missing 0");
    world_free(w);
}

Test(check_data, wrong_certificate)
{
    struct world *w = world_new();
    struct pbft_digest root = make_state(w), other = filled(1);
    decided(w, 1);
    flush(w, &other, quorum);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "the certificate of checkpoint 8 is none");
    world_free(w);

    w = world_new();
    root = make_state(w);
    decided(w, 1);
    flush(w, &root, 3);
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "the certificate of checkpoint 8 is none");
    world_free(w);
}

Test(check_data, pages_file_is_gone)
{
    struct world *w = lived();
    close_data(w);
    cr_assert_eq(unlink(path_of(w, "pages.mdb")), 0);
    expect_code(w, PBFT_EXIT_CLEAN, "there is no pages.mdb"); /* the log has it all */
    cr_assert_eq(mkdir(path_of(w, "pages.mdb"), 0700), 0);
    expect_code(w, PBFT_EXIT_DATA, "is no file of pages");
    cr_assert_eq(rmdir(path_of(w, "pages.mdb")), 0);
    world_free(w);
}

/* Each byte of what LMDB begins with, and many of the rest: named, or without meaning; no crash. */
Test(check_data, rot_in_the_pages_file, .timeout = 240)
{
    struct world *w = lived();
    close_data(w);
    uint64_t state = 4711;
    uint64_t size = (uint64_t)size_of(w, "pages.mdb");
    unsigned noticed = 0;
    for (unsigned i = 0; i < 520; i++) {
        off_t at = i < 152   ? (off_t)i
                   : i < 304 ? 4096 + (off_t)(i - 152)
                             : (off_t)(8192 + next(&state) % (size - 8192));
        uint8_t mask = (uint8_t)(1u << (next(&state) % 8));
        (void)flip(w, "pages.mdb", at, mask);
        int code = check(w);
        cr_assert(code == PBFT_EXIT_CLEAN || code == PBFT_EXIT_DATA, "byte %ld, mask %u: %d %s\n%s",
                  (long)at, (unsigned)mask, code, w->sentence, w->text);
        noticed += code == PBFT_EXIT_DATA;
        (void)flip(w, "pages.mdb", at, mask);
    }
    cr_expect_gt(noticed, 150u, "%u of 520", noticed);
    (void)flip(w, "pages.mdb", 41, 0x10); /* a page size of 0, by which LMDB would divide */
    expect_code(w, PBFT_EXIT_DATA, "page store ");
    (void)flip(w, "pages.mdb", 41, 0x10);
    expect_code(w, PBFT_EXIT_CLEAN, "intact: ");
    for (uint64_t cut = 0; cut < size; cut += size / 16) {
        struct world *other = lived();
        close_data(other);
        cr_assert_eq(truncate(path_of(other, "pages.mdb"), (off_t)cut), 0);
        int code = check(other);
        cr_expect_eq(code, PBFT_EXIT_DATA, "cut at %llu: %d", (unsigned long long)cut, code);
        world_free(other);
    }
    world_free(w);
}

/* ---- holes, as copies have them ---- */

/* What a start does with the pages. */
static bool loads(struct world *w, const struct pbft_digest *root)
{
    struct pbft_pages *pages = NULL;
    struct pbft_tree *tree;
    struct pbft_pages_lmdb_config config = {.dir = w->dir,
                                            .bytes_max = UINT64_C(1) << 40,
                                            .read_only = true};
    pbft_config_owner(&w->s->cluster, SELF, &config.owner);
    if (pbft_pages_lmdb_open(&pages, &config, NULL) != PBFT_STATUS_OK) return false;
    cr_assert_eq(pbft_tree_create(&tree, NULL), PBFT_STATUS_OK);
    bool ok = pbft_pages_load(pages, tree, root) == PBFT_STATUS_OK;
    pbft_tree_destroy(tree);
    pbft_pages_close(pages);
    return ok;
}

/* FAULTS 2.43: a hole in a page that is in use is rot; in one that is free, it is nothing. */
Test(check_data, holes_in_the_pages_file, .timeout = 120)
{
    enum { PAGE = 4096 };
    static const uint8_t zeros[PAGE];
    uint8_t kept[PAGE];
    struct world *w = lived();
    static struct pbft_pages_checkpoint cp;
    static const uint8_t large[10 * PAGE] = {1};
    struct pbft_digest extra = filled(0x11);
    cr_assert_eq(pbft_pages_checkpoint(w->data.pages, &cp), PBFT_STATUS_OK);
    put_page(w, &extra, (struct pbft_span){large, sizeof large}); /* comes, and goes: free pages */
    cr_assert_eq(w->data.pages->ops->begin(w->data.pages, true), PBFT_STATUS_OK);
    cr_assert_eq(w->data.pages->ops->remove(w->data.pages, &extra), PBFT_STATUS_OK);
    cr_assert_eq(w->data.pages->ops->commit(w->data.pages), PBFT_STATUS_OK);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "missing 0");
    cr_assert(loads(w, &cp.root));
    unsigned rot = 0, nothing_lost = 0;
    int fd = open(path_of(w, "pages.mdb"), O_RDWR);
    for (off_t at = 0; at < size_of(w, "pages.mdb"); at += PAGE) {
        cr_assert_eq(pread(fd, kept, PAGE, at), PAGE);
        if (memcmp(kept, zeros, PAGE) == 0) continue;
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE) != 0)
            cr_assert_eq(pwrite(fd, zeros, PAGE, at), PAGE); /* it reads the same */
        bool well = loads(w, &cp.root);
        int code = check(w);
        cr_expect_eq(code, well ? PBFT_EXIT_CLEAN : PBFT_EXIT_DATA, "page %ld: %d %s\n%s",
                     (long)(at / PAGE), code, w->sentence, w->text);
        nothing_lost += well;
        rot += !well;
        cr_assert_eq(pwrite(fd, kept, PAGE, at), PAGE);
    }
    cr_expect_gt(nothing_lost, 2u, "%u", nothing_lost);
    cr_expect_gt(rot, 5u, "%u", rot);
    /* Behind the last page, as long as no disk is: nobody waits for that. */
    cr_assert_eq(ftruncate(fd, (off_t)1 << 42), 0);
    expect_code(w, PBFT_EXIT_CLEAN, "missing 0");
    (void)close(fd);
    world_free(w);
}

/* Used pages that are not in the file: named, and nothing follows LMDB there. A large value ends
 * the file, for which LMDB's index has room among pages that have become free. */
Test(check_data, pages_file_that_ends_too_early)
{
    static const uint8_t large[12 << 12] = {1};
    struct world *w = lived();
    for (uint8_t i = 0; i < 6; i++) {
        struct pbft_digest digest = filled((uint8_t)(0x20 + i));
        put_page(w, &digest, (struct pbft_span){large, i < 5 ? 64 : sizeof large});
    }
    close_data(w);
    expect_code(w, PBFT_EXIT_DATA, "page 2525252525252525.. does not have its hash");
    cr_expect_null(strstr(w->text, "page store"));
    off_t size = size_of(w, "pages.mdb");
    for (off_t cut = size - 1; cut > size - (off_t)sizeof large; cut -= 4000) {
        cr_assert_eq(truncate(path_of(w, "pages.mdb"), cut), 0);
        expect_code(w, PBFT_EXIT_DATA, "WRONG: page store ");
        cr_expect_not_null(strstr(w->sentence, "damaged or foreign (1 findings)"), "%s",
                           w->sentence);
    }
    world_free(w);
}

/* ---- pages of an earlier time (FAULTS 2.44) ---- */

struct copy {
    uint8_t *bytes;
    size_t size;
};

static struct copy copy_of(struct world *w, const char *name)
{
    struct copy copy = {.size = (size_t)size_of(w, name)};
    copy.bytes = malloc(copy.size);
    int fd = open(path_of(w, name), O_RDONLY);
    cr_assert(copy.bytes != NULL && fd >= 0);
    cr_assert_eq(read(fd, copy.bytes, copy.size), (ssize_t)copy.size);
    (void)close(fd);
    return copy;
}

static void put_back(struct world *w, const char *name, struct copy copy)
{
    int fd = open(path_of(w, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, copy.bytes, copy.size), (ssize_t)copy.size);
    (void)close(fd);
    free(copy.bytes);
}

/* The next checkpoint: decided from `first` on, signed, certified, not flushed. Its root. */
static struct pbft_digest next_checkpoint(struct world *w, pbft_seq first)
{
    struct pbft_apply_done done;
    pbft_seq to = 2 * (pbft_seq)CHECKPOINT;
    for (pbft_seq seq = first; seq <= to; seq++)
        decided(w, seq);
    while (pbft_apply_seq(w->apply) < to)
        pbft_apply_execute(w->apply, pbft_apply_seq(w->apply) + 1, NULL, &done);
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(w->apply);
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    append(w, PBFT_RECORD_CHECKPOINT, samples_checkpoint(w->s, to, &root, SELF), nothing);
    append(w, PBFT_RECORD_STABLE, certificate(w, PBFT_CERT_CHECKPOINT, to, &root, quorum), nothing);
    commit(w);
    return root;
}

/* As replica/node_log.c does it, for a checkpoint that is on the disk. */
static void cut_at(struct world *w, const struct pbft_digest *root)
{
    struct pbft_log_stats stats;
    pbft_log_roll(w->data.log);
    append(w, PBFT_RECORD_STABLE,
           certificate(w, PBFT_CERT_CHECKPOINT, 2 * (pbft_seq)CHECKPOINT, root, quorum), nothing);
    commit(w);
    pbft_log_stats(w->data.log, &stats);
    cr_assert_eq(pbft_log_cut(w->data.log, stats.last, stats.last), PBFT_STATUS_OK);
}

/* Whether a start comes from what is on the disk to its low mark, by the loader itself. */
static bool a_start_gets_there(struct world *w)
{
    open_data(w);
    struct pbft_node_config config = {.cluster = &w->s->cluster,
                                      .id = SELF,
                                      .keypair = &w->s->replicas[SELF],
                                      .signer = &pbft_signer_ed25519,
                                      .service = &pbft_kv_service,
                                      .pool = pbft_pool_frames(w->pool),
                                      .log = w->data.log,
                                      .pages = w->data.pages,
                                      .flush_bytes = UINT64_C(1) << 30,
                                      .outbox_max_bytes = 1u << 20};
    struct pbft_node *node = pbft_node_new(&config);
    cr_assert_not_null(node);
    struct pbft_node_info info;
    struct pbft_output out;
    cr_assert_eq(pbft_node_load(node), PBFT_STATUS_OK);
    pbft_node_info(node, &info);
    while (pbft_node_next(node, &out))
        cr_assert_eq(out.kind, PBFT_OUTPUT_LOG);
    pbft_node_free(node);
    close_data(w);
    return info.applied >= info.core.stable;
}

#define OLDER "pages.mdb is older than the vote log: no record leads on from "

Test(check_data, pages_of_before_the_cut)
{
    struct world *w = lived();
    struct copy old = copy_of(w, "pages.mdb");
    struct pbft_digest root = next_checkpoint(w, CHECKPOINT + 2);
    flush_at(w, 2 * (pbft_seq)CHECKPOINT, &root, quorum);
    cut_at(w, &root);
    decided(w, 2 * (pbft_seq)CHECKPOINT + 1);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "a restart would follow all of it");
    cr_expect(a_start_gets_there(w));
    put_back(w, "pages.mdb", old);
    cr_expect_not(a_start_gets_there(w));
    expect_code(w, PBFT_EXIT_DATA, OLDER "8, and the log's low mark is 16");
    cr_expect_not_null(strstr(w->sentence, "older than the vote log"), "%s", w->sentence);
    world_free(w);
}

/* The log was never cut, and holds the way from the earlier checkpoint on. */
Test(check_data, pages_of_before_that_the_log_leads_on_from)
{
    struct world *w = lived();
    struct copy old = copy_of(w, "pages.mdb");
    struct pbft_digest root = next_checkpoint(w, CHECKPOINT + 2);
    flush_at(w, 2 * (pbft_seq)CHECKPOINT, &root, quorum);
    close_data(w);
    put_back(w, "pages.mdb", old);
    expect_code(w, PBFT_EXIT_CLEAN, "checkpoint 8, root ");
    cr_expect(a_start_gets_there(w));
    world_free(w);
}

/* A state that came by a transfer is in no log: what was signed behind it rests on the pages alone
 * (PROTOCOL 25). */
Test(check_data, pages_of_before_a_transfer)
{
    struct world *w = world_new();
    struct copy old = copy_of(w, "pages.mdb");
    struct pbft_digest root = make_state(w);
    append(w, PBFT_RECORD_STABLE, certificate(w, PBFT_CERT_CHECKPOINT, CHECKPOINT, &root, quorum),
           nothing);
    commit(w);
    flush(w, &root, quorum);
    (void)next_checkpoint(w, CHECKPOINT + 1);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "a restart would follow all of it");
    cr_expect(a_start_gets_there(w));
    put_back(w, "pages.mdb", old);
    cr_expect_not(a_start_gets_there(w));
    expect_code(w, PBFT_EXIT_DATA, OLDER "0, and the log's low mark is 16");
    world_free(w);
}

/* Killed while it fetched what the others have: nothing is lost, and nothing is wrong. */
Test(check_data, a_laggard_is_no_damage)
{
    struct world *w = world_new();
    struct pbft_digest root = filled(3);
    decided(w, 1);
    append(w, PBFT_RECORD_STABLE, certificate(w, PBFT_CERT_CHECKPOINT, CHECKPOINT, &root, quorum),
           nothing);
    commit(w);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "no record leads on from 1 to checkpoint 8, which the others");
    cr_expect_not(a_start_gets_there(w));
    world_free(w);
}

/* The same with a log that was cut before, as most are. */
Test(check_data, a_laggard_whose_log_was_cut_is_no_damage)
{
    struct world *w = lived();
    pbft_seq at = 2 * (pbft_seq)CHECKPOINT;
    struct pbft_digest root = next_checkpoint(w, CHECKPOINT + 2), later = filled(3);
    flush_at(w, at, &root, quorum);
    cut_at(w, &root);
    decided(w, at + 1);
    append(w, PBFT_RECORD_STABLE,
           certificate(w, PBFT_CERT_CHECKPOINT, at + CHECKPOINT, &later, quorum), nothing);
    commit(w);
    close_data(w);
    expect_code(w, PBFT_EXIT_CLEAN, "no record leads on from 17 to checkpoint 24, which the");
    cr_expect_not(a_start_gets_there(w));
    world_free(w);
}

/* ---- a later epoch (PROTOCOL 29) ---- */

static int check_in(struct world *w, pbft_epoch epoch, pbft_seq genesis_seq)
{
    struct pbft_cluster cluster = w->s->cluster;
    cluster.epoch = epoch;
    cluster.genesis_seq = genesis_seq;
    return check_as(w, &cluster, SELF);
}

/* Who followed before it had the state that the epoch begins with: the next start fetches that. */
Test(check_data, a_state_of_an_epoch_that_is_over)
{
    struct world *w = world_new();
    struct pbft_digest root = make_state(w);
    flush(w, &root, quorum);
    close_data(w);
    cr_expect_eq(check_in(w, 1, 2 * CHECKPOINT), PBFT_EXIT_CLEAN, "%s", w->text);
    cr_expect_not_null(strstr(w->text, "of an epoch that is over"), "%s", w->text);
    cr_expect_eq(check_in(w, 0, 2 * CHECKPOINT), PBFT_EXIT_CLEAN, "%s", w->text);
    cr_expect_null(strstr(w->text, "of an epoch that is over"), "%s", w->text);
    world_free(w);
}

Test(check_data, an_epoch_begins_without_pages)
{
    struct world *w = world_new();
    close_data(w);
    (void)unlink(path_of(w, "pages.mdb"));
    cr_expect_eq(check_in(w, 1, CHECKPOINT), PBFT_EXIT_CLEAN, "%s", w->text);
    cr_expect_eq(check_in(w, 0, CHECKPOINT), PBFT_EXIT_DATA, "%s", w->text);
    cr_expect_not_null(strstr(w->text, "the cluster was restored"), "%s", w->text);
    world_free(w);
}
