/*
 * tests/fuzz/config.c - cluster.conf, node.conf, client.conf, key files and superblocks, as anybody
 * might have edited them (replica/config.h, crypto/keys.h, store/superblock.h). What is accepted
 * and saved is accepted again and means the same; a refusal says why in one line.
 *
 * Input: u8 kind, then the file.
 */
#define _GNU_SOURCE 1 /* memfd_create */
#include "crypto/keys.h"
#include "replica/config.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int file = -1;
static char path[64];   /* of the file in memory */
static char folder[64]; /* in memory too where there is such a place */
static char saved[96];
static struct pbft_superblock_owner owner;

static void remove_folder(void)
{
    char name[128];
    static const char *const names[] = {"saved", "superblock", "lock"};
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        (void)unlink(name);
    }
    (void)rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    file = memfd_create("fuzz", 0);
    REQUIRE(file >= 0 && fchmod(file, 0600) == 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct stat info;
    bool memory = stat("/dev/shm", &info) == 0 && S_ISDIR(info.st_mode);
    (void)snprintf(folder, sizeof folder, "%s/pbft-fuzz-XXXXXX", memory ? "/dev/shm" : "/tmp");
    REQUIRE(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
    (void)snprintf(saved, sizeof saved, "%s/saved", folder);
    memset(owner.cluster_id.bytes, 0x12, sizeof owner.cluster_id.bytes);
    memset(owner.key_fingerprint.bytes, 0x34, sizeof owner.key_fingerprint.bytes);
    return 0;
}

static void put(struct pbft_span bytes)
{
    REQUIRE(ftruncate(file, 0) == 0);
    REQUIRE(pwrite(file, bytes.data, bytes.size, 0) == (ssize_t)bytes.size);
}

/* `status` is what loading gave, with the sentence that it left. */
static void terminated(const char *text, size_t capacity)
{
    REQUIRE(memchr(text, 0, capacity) != NULL);
}

static bool accepted(enum pbft_status status, const char error[256])
{
    if (status == PBFT_STATUS_OK) return true;
    size_t size = strnlen(error, 256);
    REQUIRE(size > 0 && size < 256);
    return false;
}

static void cluster_file(void)
{
    struct pbft_cluster_config one, two;
    char error[256];
    memset(error, 'x', sizeof error);
    if (!accepted(pbft_cluster_config_load(&one, path, error), error)) return;
    REQUIRE(pbft_params_check(&one.cluster.params) == NULL);
    for (uint32_t i = 0; i < one.cluster.params.n; i++) {
        terminated(one.addresses[i].peer, sizeof one.addresses[i].peer);
        terminated(one.addresses[i].client, sizeof one.addresses[i].client);
        terminated(one.addresses[i].admin, sizeof one.addresses[i].admin);
    }
    REQUIRE(pbft_cluster_config_save(&one, saved, error) == PBFT_STATUS_OK);
    REQUIRE(pbft_cluster_config_load(&two, saved, error) == PBFT_STATUS_OK);
    REQUIRE(pbft_digest_equal(&one.cluster.id, &two.cluster.id));
    REQUIRE(memcmp(one.addresses, two.addresses, one.cluster.params.n * sizeof *one.addresses) ==
            0);
    pbft_cluster_config_free(&one);
    pbft_cluster_config_free(&two);
}

static void node_file(void)
{
    struct pbft_replica_config one, two;
    char error[256];
    memset(error, 'x', sizeof error);
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    if (!accepted(pbft_replica_config_load(&one, path, error), error)) return;
    REQUIRE(one.id < PBFT_REPLICAS_MAX && one.threads <= 64);
    terminated(one.cluster, sizeof one.cluster);
    terminated(one.key, sizeof one.key);
    terminated(one.data, sizeof one.data);
    terminated(one.pid_file, sizeof one.pid_file);
    terminated(one.listen_peers, sizeof one.listen_peers);
    terminated(one.listen_clients, sizeof one.listen_clients);
    terminated(one.admin_listen, sizeof one.admin_listen);
    /* Joined paths may be longer than a line takes: then loading refuses, and says so. */
    REQUIRE(pbft_replica_config_save(&one, saved, error) == PBFT_STATUS_OK);
    if (!accepted(pbft_replica_config_load(&two, saved, error), error)) return;
    REQUIRE(one.id == two.id && one.threads == two.threads && one.durability == two.durability);
    REQUIRE(one.frames_max_bytes == two.frames_max_bytes && one.log_level == two.log_level);
    REQUIRE(one.flush_bytes == two.flush_bytes && one.flush_bytes >= 65536);
    REQUIRE(one.transfer_bytes_per_second == two.transfer_bytes_per_second);
    REQUIRE(strcmp(one.key, two.key) == 0 && strcmp(one.data, two.data) == 0);
    REQUIRE(strcmp(one.listen_peers, two.listen_peers) == 0);
}

static void client_file(void)
{
    struct pbft_client_config one, two;
    char error[256];
    memset(error, 'x', sizeof error);
    if (!accepted(pbft_client_config_load(&one, path, error), error)) return;
    REQUIRE(pbft_client_config_save(&one, saved, error) == PBFT_STATUS_OK);
    if (!accepted(pbft_client_config_load(&two, saved, error), error)) return;
    REQUIRE(one.timeout_ns == two.timeout_ns && strcmp(one.key, two.key) == 0);
}

/* Key files and superblocks are not to be links, and the file in memory is reached through one. */
static void save_as(const char *name, struct pbft_span bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size);
    REQUIRE(close(fd) == 0);
}

static void key_file(struct pbft_span bytes)
{
    struct pbft_keypair keys, again;
    char error[256];
    memset(error, 'x', sizeof error);
    save_as(saved, bytes);
    if (!accepted(pbft_keypair_load(&keys, saved, error), error)) return;
    REQUIRE(unlink(saved) == 0);
    REQUIRE(pbft_keypair_save(&keys, saved, error) == PBFT_STATUS_OK);
    REQUIRE(pbft_keypair_load(&again, saved, error) == PBFT_STATUS_OK);
    REQUIRE(memcmp(&keys, &again, sizeof keys) == 0);
}

/* One file for each number of starts is valid, so what is accepted is what we would have written.
 */
static void superblock_file(struct pbft_span bytes)
{
    char name[128];
    uint64_t starts = 0;
    struct pbft_superblock *superblock = NULL;
    (void)snprintf(name, sizeof name, "%s/superblock", folder);
    save_as(name, bytes);
    enum pbft_status status = pbft_superblock_open(&superblock, folder, &owner, &starts);
    REQUIRE(status == PBFT_STATUS_OK || status == PBFT_STATUS_CORRUPT);
    if (status != PBFT_STATUS_OK) return;
    REQUIRE(bytes.size == 128 && pbft_superblock_starts(superblock) == starts);
    pbft_superblock_close(superblock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct pbft_span bytes = {data + 1, size - 1};
    unsigned kind = data[0] % 5;
    if (kind < 3) put(bytes);
    if (kind == 0) cluster_file();
    if (kind == 1) node_file();
    if (kind == 2) client_file();
    if (kind == 3) key_file(bytes);
    if (kind == 4) superblock_file(bytes);
    (void)unlink(saved);
    return 0;
}
