/*
 * tests/fuzz/seeds.c - the first inputs of every target's corpus, out of tests/sim/samples.c and
 * the product's own writers: `make fuzz-seeds`. What runs add is kept with `make fuzz-corpus`.
 */
#include "crypto/door.h"
#include "crypto/epoch_file.h"
#include "crypto/replace.h"
#include "replica/backup.h"
#include "replica/config.h"
#include "replica/evidence.h"
#include "service/kv.h"
#include "service/txn.h"
#include "store/tree.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/samples.h"
#include "tests/unit/epoch_fixture.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static struct samples *cluster;

/* ROOT/TARGET/seed-NAME */
static void save(const char *target, const char *name, struct pbft_span head, struct pbft_span body)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", root, target);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof path, "%s/%s/seed-%s", root, target, name);
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(head.data, 1, head.size, file) == head.size);
    REQUIRE(fwrite(body.data, 1, body.size, file) == body.size);
    REQUIRE(fclose(file) == 0);
}

static void save_with(const char *target, const char *name, const uint8_t *head, size_t size,
                      struct pbft_span body)
{
    save(target, name, (struct pbft_span){head, size}, body);
}

/* ---- frames ---- */

static void frame_seeds(const char *name, uint8_t type, struct pbft_span frame)
{
    char target[64] = "wire-";
    for (size_t i = 0; pbft_type_text(type)[i] != '\0'; i++) {
        target[5 + i] = (char)tolower((unsigned char)pbft_type_text(type)[i]);
        target[6 + i] = '\0';
    }
    save_with(target, name, NULL, 0, frame);
    uint8_t *wide = fuzz_copy(frame);
    wide[4] = 1;
    char other[80];
    (void)snprintf(other, sizeof other, "%s-wide", name);
    save_with(target, other, NULL, 0, (struct pbft_span){wide, frame.size});
    free(wide);

    bool to_client =
        type >= PBFT_REPLY && type != PBFT_QUERY && type != PBFT_RESULT_FETCH && type != PBFT_ADMIN;
    bool by_client = type == PBFT_QUERY || type == PBFT_RESULT_FETCH || type == PBFT_ADMIN;
    uint8_t head[3] = {to_client ? 2 : by_client ? 1 : 0, 0, 0};
    save_with("door", name, head, sizeof head, frame);
    if (to_client || by_client) return;
    head[2] = 15;
    (void)snprintf(other, sizeof other, "%s-repaired", name);
    save_with("door", other, head, sizeof head, frame);
}

static void all_frames(void)
{
    for (unsigned type = 0; type < 256; type++) {
        if (pbft_type_text((uint8_t)type)[0] == '?') continue;
        samples_reset(cluster);
        frame_seeds("plain", (uint8_t)type, samples_frame(cluster, (uint8_t)type));
    }
    samples_reset(cluster);
    struct pbft_msg m = samples_certificate(cluster, PBFT_CERT_CHECKPOINT, 8);
    frame_seeds("checkpoint", PBFT_CERTIFICATE, samples_encode(cluster, &m, NULL));
    m = samples_view_change(cluster, 1, 2, 0, 0);
    frame_seeds("boot", PBFT_VIEW_CHANGE, samples_encode(cluster, &m, &cluster->replicas[2]));
    m = (struct pbft_msg){.type = PBFT_BATCH};
    m.batch = samples_proposal(cluster, SAMPLE_TIME_NS, 0);
    frame_seeds("empty", PBFT_BATCH, samples_encode(cluster, &m, NULL));
    m = samples_reply(cluster, false);
    frame_seeds("digest", PBFT_REPLY, samples_encode(cluster, &m, NULL));
    uint8_t client[3] = {1, 0, 0};
    save_with("door", "client-request", client, sizeof client,
              samples_request(cluster, &cluster->clients[0], 7, 5, 2));
}

/* ---- evidence ---- */

/* `signers`: the target's bits that let each frame be signed by whom it names. */
static void evidence_pair(const char *name, enum pbft_evidence_kind kind, pbft_id culprit,
                          struct pbft_span first, struct pbft_span second, uint8_t signers,
                          enum pbft_verdict expected)
{
    uint8_t *file, plain = 0, sizes[2], how = (uint8_t)(culprit << 1 | (kind == 1) | signers);
    size_t size;
    REQUIRE(pbft_evidence_encode(&cluster->cluster, kind, culprit, first, second, &file, &size) ==
            PBFT_STATUS_OK);
    REQUIRE(pbft_evidence_verify(&cluster->cluster, &pbft_signer_fast,
                                 (struct pbft_span){file, size}, NULL, NULL) == expected);
    save_with("evidence", name, &plain, 1, (struct pbft_span){file, size});
    free(file);
    if (how == 0) return;
    uint8_t input[8192];
    size_t at = 0;
    input[at++] = how;
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_span frame = i == 0 ? first : second;
        REQUIRE(at + 2 + frame.size <= sizeof input);
        pbft_put_u16(sizes, (uint16_t)frame.size);
        memcpy(input + at, sizes, 2);
        memcpy(input + at + 2, frame.data, frame.size);
        at += 2 + frame.size;
    }
    char other[64];
    (void)snprintf(other, sizeof other, "%s-frames", name);
    save_with("evidence", other, input, at, (struct pbft_span){input, 0});
}

static void all_evidence(void)
{
    samples_reset(cluster);
    struct pbft_digest one, two;
    memset(&one, 1, sizeof one);
    memset(&two, 2, sizeof two);
    evidence_pair("commits", PBFT_EVIDENCE_CONFLICT, 1,
                  samples_vote(cluster, PBFT_COMMIT, 2, 9, &one, 1),
                  samples_vote(cluster, PBFT_COMMIT, 2, 9, &two, 1), 0, PBFT_OK);
    struct pbft_proposal a = samples_proposal(cluster, SAMPLE_TIME_NS, 1);
    struct pbft_proposal b = samples_proposal(cluster, SAMPLE_TIME_NS + 1, 0);
    evidence_pair("proposals", PBFT_EVIDENCE_CONFLICT, 2, samples_pre_prepare(cluster, 2, 9, &a),
                  samples_pre_prepare(cluster, 2, 9, &b), 0, PBFT_OK);
    struct pbft_msg m = samples_view_change(cluster, 3, 1, 8, 1);
    struct pbft_span first = samples_encode(cluster, &m, &cluster->replicas[1]);
    m = samples_view_change(cluster, 3, 1, 0, 0);
    evidence_pair("view-changes", PBFT_EVIDENCE_CONFLICT, 1, first,
                  samples_encode(cluster, &m, &cluster->replicas[1]), 0, PBFT_OK);
    m = samples_certificate(cluster, PBFT_CERT_CHECKPOINT, 8);
    evidence_pair("checkpoint", PBFT_EVIDENCE_CHECKPOINT, 3,
                  samples_checkpoint(cluster, 8, &one, 3), samples_encode(cluster, &m, NULL), 0,
                  PBFT_OK);
    /* Two replicas that differ are no evidence against either (PROTOCOL 36); the second frame is
     * the other one's, well signed. */
    evidence_pair("another-commit", PBFT_EVIDENCE_CONFLICT, 1,
                  samples_vote(cluster, PBFT_COMMIT, 2, 9, &one, 1),
                  samples_vote(cluster, PBFT_COMMIT, 2, 9, &two, 3), 16, PBFT_DROP_SENDER);
    evidence_pair("another-checkpoint", PBFT_EVIDENCE_CONFLICT, 2,
                  samples_checkpoint(cluster, 8, &one, 2), samples_checkpoint(cluster, 8, &two, 3),
                  16, PBFT_DROP_SENDER);
}

/* ---- pages ---- */

static void page_seeds(uint8_t which, uint32_t target)
{
    struct pbft_tree_config config = {target, target};
    struct pbft_tree *tree;
    REQUIRE(pbft_tree_create(&tree, &config) == PBFT_STATUS_OK);
    for (uint32_t i = 0; i < 40; i++) {
        uint8_t key[3] = {'k', (uint8_t)('a' + i % 20), (uint8_t)i};
        REQUIRE(pbft_tree_put(tree, (struct pbft_span){key, 3}, (struct pbft_span){key, i % 4},
                              i) == PBFT_STATUS_OK);
    }
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    struct pbft_digest digest;
    REQUIRE(snapshot != NULL);
    pbft_snapshot_root(snapshot, &digest);
    /* From the root down its first children. */
    for (unsigned level = 0; level < 6; level++) {
        uint8_t page[8192];
        size_t size;
        char name[32];
        REQUIRE(pbft_tree_page(tree, &digest, page, sizeof page, &size) == PBFT_STATUS_OK);
        (void)snprintf(name, sizeof name, "%u-%u", which, level);
        save_with("page", name, &which, 1, (struct pbft_span){page, size});
        if (page[0] == 1) break;
        memcpy(digest.bytes, page + 28 + 20, sizeof digest.bytes);
    }
    pbft_snapshot_release(snapshot);
    pbft_tree_destroy(tree);
}

/* ---- operations ---- */

/* One after the other on one tree: `kv` takes them all in one input, `kv_codec` each, and what it
 * results in. */
static void kv_seeds(void)
{
    static const struct pbft_span key = {(const uint8_t *)"key", 3},
                                  value = {(const uint8_t *)"v", 1};
    static const uint8_t wide = 0xfe, result_of = 1; /* kv_codec's bounds; a result */
    static const struct pbft_public_key client = {{1}};
    static const struct pbft_tree_config config = {128, 128};
    const struct pbft_params params = pbft_params_default(4);
    struct pbft_tree *tree;
    struct pbft_txn txn;
    REQUIRE(pbft_tree_create(&tree, &config) == PBFT_STATUS_OK);
    REQUIRE(pbft_txn_init(&txn, tree, &params));
    uint8_t input[512], op[64], result[256];
    size_t at = 0;
    for (unsigned i = 0; i < 7; i++) {
        size_t size = i == 0   ? pbft_kv_encode_put(op, sizeof op, key, value)
                      : i == 1 ? pbft_kv_encode_get(op, sizeof op, key)
                      : i == 2 ? pbft_kv_encode_cas(op, sizeof op, key, true, value, key)
                      : i == 3 ? pbft_kv_encode_range(op, sizeof op, key, 0)
                      : i == 4 ? pbft_kv_encode_cas(op, sizeof op, key, false, value, key)
                      : i == 5 ? pbft_kv_encode_delete(op, sizeof op, key)
                               : pbft_kv_encode_delete(op, 6, key); /* does not fit: an empty one */
        input[at++] = (uint8_t)(i == 4 ? 0x47 : 3);
        input[at++] = (uint8_t)size;
        memcpy(input + at, op, size);
        at += size;
        struct pbft_call call = {.client = &client, .session = 1, .t = i + 1, .seq = i + 1};
        struct pbft_result r = {.bytes = result, .capacity = sizeof result};
        pbft_kv_service.execute(NULL, &txn, &call, (struct pbft_span){op, size}, &r);
        char name[32];
        (void)snprintf(name, sizeof name, "op-%u", i);
        save_with("kv_codec", name, &wide, 1, (struct pbft_span){op, size});
        (void)snprintf(name, sizeof name, "result-%u", i);
        save_with("kv_codec", name, &result_of, 1, (struct pbft_span){result, r.size});
    }
    save_with("kv", "all", input, at, (struct pbft_span){input, 0});
    pbft_txn_release(&txn);
    pbft_tree_destroy(tree);
}

/* ---- files ---- */

static void file_seed(const char *name, uint8_t kind, const char *path)
{
    uint8_t bytes[8192];
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    REQUIRE(fclose(file) == 0 && unlink(path) == 0);
    save_with("config", name, &kind, 1, (struct pbft_span){bytes, size});
}

static void config_seeds(void)
{
    char folder[] = "/tmp/pbft-seeds-XXXXXX", path[64], error[256];
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/superblock", folder);

    struct pbft_config_addresses addresses[SAMPLE_REPLICAS] = {{"", "", ""}};
    for (unsigned i = 0; i < SAMPLE_REPLICAS; i++) {
        (void)snprintf(addresses[i].peer, sizeof addresses[i].peer, "tcp://10.0.0.%u:1", i);
        (void)snprintf(addresses[i].client, sizeof addresses[i].client, "tcp://[::1]:%u", i);
    }
    struct pbft_cluster_config c = {.cluster = cluster->cluster, .addresses = addresses};
    REQUIRE(pbft_cluster_config_save(&c, path, error) == PBFT_STATUS_OK);
    file_seed("cluster", 0, path);

    struct pbft_replica_config node = pbft_replica_config_default();
    (void)strcpy(node.cluster, "cluster.conf");
    (void)strcpy(node.key, "key");
    (void)strcpy(node.data, "data");
    (void)strcpy(node.pid_file, "pbftd.pid");
    (void)strcpy(node.listen_peers, "tcp://0.0.0.0:1");
    (void)strcpy(node.listen_clients, "tcp://0.0.0.0:2");
    (void)strcpy(node.admin_listen, "http://127.0.0.1:3");
    REQUIRE(pbft_replica_config_save(&node, path, error) == PBFT_STATUS_OK);
    file_seed("node", 1, path);
    memset(node.listen_peers + 6, 'h', sizeof node.listen_peers - 9); /* as long as it may be */
    (void)strcpy(node.listen_peers + sizeof node.listen_peers - 3, ":1");
    REQUIRE(pbft_replica_config_save(&node, path, error) == PBFT_STATUS_OK);
    file_seed("node-long", 1, path);

    struct pbft_client_config client = pbft_client_config_default();
    (void)strcpy(client.cluster, "../cluster.conf");
    (void)strcpy(client.key, "key");
    REQUIRE(pbft_client_config_save(&client, path, error) == PBFT_STATUS_OK);
    file_seed("client", 2, path);

    REQUIRE(pbft_keypair_save(&cluster->clients[0], path, error) == PBFT_STATUS_OK);
    file_seed("key", 3, path);

    struct pbft_superblock_owner owner = {.replica = 0}; /* the target's */
    memset(owner.cluster_id.bytes, 0x12, sizeof owner.cluster_id.bytes);
    memset(owner.key_fingerprint.bytes, 0x34, sizeof owner.key_fingerprint.bytes);
    REQUIRE(pbft_superblock_create(folder, &owner) == PBFT_STATUS_OK);
    file_seed("superblock", 4, path);
    REQUIRE(rmdir(folder) == 0);
}

/* ---- connections ---- */

static void connection_seeds(void)
{
    static const uint8_t channel[] = {1 | 2 << 2, 0, 0, 0,   5,   'h', 'e', 'l', 'l', 'o',
                                      0,          0, 3, 'a', 'b', 'c', 1,   2,   3};
    static const uint8_t channel_client[] = {16 | 2 << 2, 0, 1, 9, 1, 0};
    save_with("channel", "replica", channel, sizeof channel, (struct pbft_span){channel, 0});
    save_with("channel", "client", channel_client, sizeof channel_client,
              (struct pbft_span){channel, 0});
    uint8_t stream[64] = {0, 7, 2, 0, 0, 0, 'm', 1, 1, 0, 0, 0, 'd', 17 + 11, 0, 0, 0};
    size_t at = 17 + 1; /* the byte that a real record's tag takes */
    stream[at] = 3;
    memcpy(stream + at + 4, "abc", 3);
    stream[at + 7] = 0;
    save_with("receive", "bad-frame", stream, sizeof stream, (struct pbft_span){stream, 0});
    stream[13] = 17 + 7;
    save_with("receive", "frame", stream, 17 + 17 + 7, (struct pbft_span){stream, 0});
}

/* ---- programs for tests/fuzz/core.c: commands and their operands ---- */

#define SUBMIT(request) 15, 0, 0, (request) << 4
#define WAIT(choice)    16, (choice)
#define SETTLE          17, 5

static void core_seeds(void)
{
    /* Replica 3 is the traitor: three correct ones work on, past two checkpoints. */
    static const uint8_t work[] = {7,      SUBMIT(0), SETTLE, SUBMIT(1), SETTLE, SUBMIT(2),
                                   SETTLE, SUBMIT(3), SETTLE, SUBMIT(4), SETTLE, SUBMIT(5),
                                   SETTLE, SUBMIT(6), SETTLE, SUBMIT(7), SETTLE, SETTLE};
    /* The primary is: they leave its view, and work in the next one. */
    static const uint8_t leave[] = {1,       SUBMIT(0), SETTLE,    WAIT(5), SETTLE,
                                    WAIT(5), SETTLE,    SUBMIT(1), SETTLE,  WAIT(7),
                                    SETTLE,  SUBMIT(2), SETTLE};
    /* The traitor proposes, and sends its vote to everybody. */
    static const uint8_t propose[] = {1, 4, 1,    0x11, 0,      4,       2,     0x11, 0,
                                      4, 3, 0x11, 0,    SETTLE, 0,       1,     0x11, 0x0f,
                                      2, 1, 0x11, 0x0f, SETTLE, WAIT(3), SETTLE};
    /* One core, replica 1, decides what the others say, and leaves with them. */
    static const uint8_t solo[] = {2, 4, 1,    0x11, 0,      0,      1,       0x11,  0x0f,
                                   2, 1, 0x11, 0x0f, SETTLE, 7,      0x0d,    0,     0x0d,
                                   0, 9, 0x0d, 0,    0,      SETTLE, WAIT(6), SETTLE};
    /* ... and follows certificates, far ahead. */
    static const uint8_t certified[] = {2,    11, 1, 0x11,   0x0d, SETTLE, 12, 1,    2,
                                        0x0d, 20, 1, SETTLE, 6,    1,      3,  0x0f, SETTLE};
    static const struct pbft_span none = {work, 0};
    save_with("core", "work", work, sizeof work, none);
    save_with("core", "leave", leave, sizeof leave, none);
    save_with("core", "propose", propose, sizeof propose, none);
    save_with("core", "solo", solo, sizeof solo, none);
    save_with("core", "certified", certified, sizeof certified, none);
}

/* ---- programs for tests/fuzz/client.c ---- */

#define WRITE(choice)   0, (choice)
#define READ(choice)    1, (choice)
#define EXECUTE(choice) 2, (choice)
#define PROGRESS        4, 8
#define REPLIES         5, 8, 0
#define ANSWERS(which)  6, 8, (which)
#define ARRIVE          8, 0
#define PASS(choice)    12, (choice)

static void client_seeds(void)
{
    /* The usual: four outstanding, executed and answered, then read fast. */
    static const uint8_t work[] = {
        0x0c,    0x00,   WRITE(0x30), EXECUTE(0), PROGRESS, REPLIES,    ARRIVE,     READ(0),
        6,       8,      0x10,        ARRIVE,     WRITE(0), EXECUTE(0), PROGRESS,   5,
        8,       8,      ARRIVE,      PASS(8),    5,        1,          16,         ARRIVE,
        READ(8), ARRIVE, PASS(8),     READ(0x10), PROGRESS, READ(0),    ANSWERS(1), ANSWERS(0x20),
        ARRIVE};
    /* Replica 0 gives another result first, alone; then what the others say. n = 4. */
    static const uint8_t lie[] = {0x04, 0x08, WRITE(0x31), EXECUTE(0), PROGRESS, 13, 0, 0,     1, 5,
                                  5,    1,    0,           ARRIVE,     13,       0,  0, 0,     0, 5,
                                  2,    0,    ARRIVE,      PASS(8),    5,        3,  0, ARRIVE};
    /* Two of seven lie together, before anything is executed. */
    static const uint8_t together[] = {0x07, 0x41,   WRITE(0x20), 13,       0x40,   0,
                                       1,    9,      EXECUTE(0),  PROGRESS, 5,      2,
                                       0,    5,      3,           0,        5,      4,
                                       0,    ARRIVE, 5,           5,        0,      ARRIVE,
                                       5,    6,      0,           ARRIVE,   PASS(8)};
    /* Old values under new marks, and nobody agrees: the read is ordered. */
    static const uint8_t marks[] = {0x08,     0x10,    WRITE(0x32), EXECUTE(0), PROGRESS,
                                    REPLIES,  ARRIVE,  WRITE(0x30), EXECUTE(0), READ(0x10),
                                    13,       2,       8,           4,          0,
                                    2,        6,       2,           0x18,       4,
                                    0x0a,     6,       3,           8,          6,
                                    9,        8,       ARRIVE,      PASS(4),    EXECUTE(0),
                                    PROGRESS, REPLIES, ARRIVE};
    /* Replica 0 says what is right, with another mark. */
    static const uint8_t mark[] = {0x08,    0x00,   WRITE(0x30), EXECUTE(0), PROGRESS,
                                   REPLIES, ARRIVE, READ(0),     13,         2,
                                   0,       128,    0,           2,          ANSWERS(0x10),
                                   ARRIVE};
    /* Deadlines pass, the primary's connection ends, the pool is dry, LIMIT and BUSY. */
    static const uint8_t trouble[] = {
        0x0a,     0x22,    WRITE(0xf1), READ(0xc1), 10,       0,
        11,       0x81,    WRITE(0x30), 11,         0x80,     PASS(5),
        11,       1,       11,          3,          ARRIVE,   EXECUTE(0x30),
        PROGRESS, REPLIES, EXECUTE(0),  ARRIVE,     PROGRESS, REPLIES,
        ARRIVE,   10,      0x80,        PASS(6),    PASS(7)};
    /* More than f: they agree on nonsense. */
    static const uint8_t adversary[] = {0x70,    0,       WRITE(0x30), 13,   0x40, 0, 1,
                                        1,       READ(0), 13,          0x42, 0,    1, 9,
                                        PASS(8), 13,      0x40,        0,    0x14, 1, 0};
    static const struct pbft_span none = {work, 0};
    save_with("client", "work", work, sizeof work, none);
    save_with("client", "lie", lie, sizeof lie, none);
    save_with("client", "together", together, sizeof together, none);
    save_with("client", "marks", marks, sizeof marks, none);
    save_with("client", "mark", mark, sizeof mark, none);
    save_with("client", "trouble", trouble, sizeof trouble, none);
    save_with("client", "adversary", adversary, sizeof adversary, none);
}

/* ---- lives and changes for tests/fuzz/log.c ---- */

/* Steps of a life: how many records there are, and of what size; sync unless it is 192 or more. */
#define LIFE 8, 2, 20, 1, 200, 7, 8, 0, 0xf0, 2, 9, 0, 0xfa, 195, 30, 1, 5

static void log_seeds(void)
{
    static const uint8_t torn[] = {0, 3, 40, 0,    1, 2, 3, 4, LIFE, 3, 0, 0,   9,
                                   8, 7, 6,  LIFE, 4, 6, 0, 5, 5,    5, 5, LIFE};
    static const uint8_t unsynced[] = {0, 0, 0, 9,    0, 0, 0, 0, LIFE, 1, 0, 0,   0,
                                       0, 0, 0, LIFE, 5, 0, 0, 0, 0,    0, 0, LIFE};
    static const uint8_t flipped[] = {1, LIFE, 0, 0, 0, 40, 4, 1};
    static const uint8_t copied[] = {1, LIFE, 1, 1, 2, 0, 6, 1, 3, 0, 6, 8, 1};
    static const uint8_t shorter[] = {1, LIFE, 0, 1, 4, 0, 16};
    static const uint8_t numbered[] = {1, LIFE, 0, 1, 7, 9};
    static const uint8_t header[] = {2, LIFE, 0, 1, 0, 0, 2, 0, 1};
    static const uint8_t record[] = {2, LIFE, 1, 1, 1, 2, 15, 0, 8, 3, 0, 1, 0, 1, 1, 2, 3, 16};
    static const uint8_t more[] = {2, LIFE, 0, 1, 2, 1, 0, 0, 0, 0, 5, 3, 1, 0, 3, 1};
    static const uint8_t mark[] = {2, LIFE, 0, 0, 3, 0, 0, 1, 0, 0};
    static const uint8_t files[] = {3, 1, 1, 0, 12, 0, 0, 1, 2, 3};
    static const struct pbft_span none = {torn, 0};
    save_with("log", "torn", torn, sizeof torn, none);
    save_with("log", "unsynced", unsynced, sizeof unsynced, none);
    save_with("log", "flipped", flipped, sizeof flipped, none);
    save_with("log", "copied", copied, sizeof copied, none);
    save_with("log", "shorter", shorter, sizeof shorter, none);
    save_with("log", "numbered", numbered, sizeof numbered, none);
    save_with("log", "header", header, sizeof header, none);
    save_with("log", "record", record, sizeof record, none);
    save_with("log", "more", more, sizeof more, none);
    save_with("log", "mark", mark, sizeof mark, none);
    save_with("log", "files", files, sizeof files, none);
}

/* ---- epochs ---- */

static void epoch_seeds(void)
{
    static const uint8_t signed_op[] = {1, 0xc0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 1, 60, 1};
    static const uint8_t proof[] = {2, 0, 0, 1, 0xc0, 0x70, 1, 1};
    static const uint8_t wrong[] = {2, 1, 0, 1, 0xc0, 0x72, 1, 0x80, 0, 0};
    static const uint8_t kept[] = {3, 1, 0}, fewer[] = {3, 1, 1, 2, 0, 3},
                         other[] = {3, 1, 1, 0, 0, 5, 2, 0, 1, 0xc0, 0x70};
    static const struct pbft_span none = {proof, 0};
    save_with("epoch", "signed", signed_op, sizeof signed_op, none);
    save_with("epoch", "proof", proof, sizeof proof, none);
    save_with("epoch", "proof-wrong", wrong, sizeof wrong, none);
    save_with("epoch", "file", kept, sizeof kept, none);
    save_with("epoch", "file-fewer", fewer, sizeof fewer, none);
    save_with("epoch", "file-other", other, sizeof other, none);

    uint8_t op[PBFT_REPLACE_OP_BYTES], kind = 0, bytes[4096];
    struct epoch_chain *chain = chain_new(4, 7); /* the target's */
    pbft_replace_encode(&chain->at[0], 1, &chain->stranger, op);
    save_with("epoch", "operation", &kind, 1, (struct pbft_span){op, sizeof op});
    char folder[] = "/tmp/pbft-seeds-XXXXXX", path[64];
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/epochs", folder);
    REQUIRE(pbft_epoch_file_save(path, &chain->at[2]) == PBFT_STATUS_OK);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    REQUIRE(fclose(file) == 0 && unlink(path) == 0 && rmdir(folder) == 0);
    kind = 4;
    save_with("epoch", "file-bytes", &kind, 1, (struct pbft_span){bytes, size});
    chain_free(chain);
}

/* ---- snapshots ---- */

/* Its pages alone, as (u16 size, bytes). */
static void snapshot_pages(const char *name, struct pbft_span file, size_t at)
{
    static uint8_t pages[65536];
    uint8_t first = 1;
    size_t size = 0;
    while (at < file.size - PBFT_DIGEST_BYTES) {
        size_t length = pbft_get_u32(file.data + at);
        REQUIRE(size + 2 + length <= sizeof pages);
        pbft_put_u16(pages + size, (uint16_t)length);
        memcpy(pages + size + 2, file.data + at + 4, length);
        size += 2 + length;
        at += 4 + length;
    }
    save_with("snapshot", name, &first, 1, (struct pbft_span){pages, size});
}

static void snapshot_seed(const char *name, unsigned entries)
{
    uint8_t first = 0;
    struct pbft_tree *tree;
    REQUIRE(pbft_tree_create(&tree, NULL) == PBFT_STATUS_OK);
    for (unsigned i = 0; i < entries; i++) {
        uint8_t key[8];
        pbft_put_u64(key, i * UINT64_C(0x9e3779b97f4a7c15));
        struct pbft_span k = {key, sizeof key};
        REQUIRE(pbft_tree_put(tree, k, k, i) == PBFT_STATUS_OK);
    }
    struct pbft_snapshot *state = pbft_tree_snapshot(tree);
    static struct pbft_backup backup;
    memset(&backup, 0, sizeof backup);
    backup.cluster_id = cluster->cluster.id;
    backup.epoch = cluster->cluster.epoch;
    backup.checkpoint.seq = 16;
    pbft_snapshot_root(state, &backup.checkpoint.root);
    samples_reset(cluster);
    struct pbft_msg m = samples_certificate(cluster, PBFT_CERT_CHECKPOINT, 16);
    m.certificate.digest = backup.checkpoint.root;
    m.certificate.signatures = samples_checkpoints(cluster, 16, &backup.checkpoint.root, 0x7);
    struct pbft_span frame = samples_encode(cluster, &m, NULL);
    backup.checkpoint.certificate_size = (uint32_t)frame.size;
    memcpy(backup.checkpoint.certificate, frame.data, frame.size);
    char *bytes = NULL, other[64];
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    REQUIRE(out != NULL);
    REQUIRE(pbft_backup_write(out, &backup, state, NULL, NULL) == PBFT_STATUS_OK);
    REQUIRE(fclose(out) == 0);
    save_with("snapshot", name, &first, 1, (struct pbft_span){(uint8_t *)bytes, size});
    (void)snprintf(other, sizeof other, "%s-pages", name);
    snapshot_pages(other, (struct pbft_span){(uint8_t *)bytes, size},
                   PBFT_BACKUP_HEAD_BYTES + frame.size + 12);
    free(bytes);
    pbft_snapshot_release(state);
    pbft_tree_destroy(tree);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: seeds FOLDER\n");
        return 2;
    }
    root = argv[1];
    (void)mkdir(root, 0755);
    cluster = samples_new(&pbft_signer_fast);
    all_frames();
    all_evidence();
    page_seeds(0, 128);
    page_seeds(1, 4096);
    kv_seeds();
    config_seeds();
    connection_seeds();
    core_seeds();
    snapshot_seed("empty", 0);
    snapshot_seed("leaf", 3);
    snapshot_seed("tree", 150);
    client_seeds();
    log_seeds();
    epoch_seeds();
    samples_free(cluster);
    return 0;
}
