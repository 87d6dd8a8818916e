/* replica/config: what init writes is read back, and everything else is refused with its line. */
#include "replica/config.h"

#include "crypto/keys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char file[128];

static void setup(void)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    (void)strcpy(folder, "/tmp/pbft-config-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(file, sizeof file, "%s/file.conf", folder);
}

static void teardown(void)
{
    (void)unlink(file);
    (void)rmdir(folder);
}

static void write_bytes(const char *text, size_t size)
{
    FILE *f = fopen(file, "w");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(text, 1, size, f), size);
    cr_assert_eq(fclose(f), 0);
}

static void fill(struct pbft_cluster_config *config, struct pbft_public_key *clients)
{
    struct pbft_keypair pair;
    uint8_t seed[32] = {0};
    memset(config, 0, sizeof *config);
    config->cluster.params = pbft_params_default(4);
    (void)strcpy(config->cluster.service, "kv");
    config->addresses = calloc(4, sizeof *config->addresses);
    for (uint32_t i = 0; i < 6; i++) {
        seed[0] = (uint8_t)(i + 1);
        pbft_keypair_from_seed(&pair, seed);
        if (i < 4)
            config->cluster.replicas[i] = pair.public;
        else
            clients[i - 4] = pair.public;
    }
    config->cluster.clients = clients;
    config->cluster.client_count = 2;
    memset(config->cluster.nonce, 0xab, 32);
    for (unsigned i = 0; i < 4; i++) {
        struct pbft_config_addresses *a = &config->addresses[i];
        (void)snprintf(a->peer, sizeof a->peer, "tcp://127.0.0.1:%u", 7000 + 3 * i);
        (void)snprintf(a->client, sizeof a->client, "tcp://[::1]:%u", 7001 + 3 * i);
        if (i == 0) (void)snprintf(a->admin, sizeof a->admin, "http://127.0.0.1:7002");
    }
    char error[256];
    cr_assert_eq(pbft_cluster_seal(&config->cluster, error), PBFT_STATUS_OK, "%s", error);
}

/* The text of a valid cluster.conf, to be spoiled. */
static char *valid_text(void)
{
    struct pbft_cluster_config config;
    struct pbft_public_key clients[2];
    char error[256];
    fill(&config, clients);
    cr_assert_eq(pbft_cluster_config_save(&config, file, error), PBFT_STATUS_OK, "%s", error);
    pbft_cluster_unseal(&config.cluster);
    free(config.addresses);
    FILE *f = fopen(file, "r");
    char *text = calloc(1, 16384);
    cr_assert_gt(fread(text, 1, 16383, f), 0u);
    (void)fclose(f);
    return text;
}

Test(config, cluster_is_read_back_as_written, .init = setup, .fini = teardown)
{
    struct pbft_cluster_config written;
    struct pbft_cluster_config got;
    struct pbft_public_key clients[2];
    char error[256];
    fill(&written, clients);
    written.cluster.params.view_timeout_ns = 1234567000;
    pbft_cluster_unseal(&written.cluster);
    cr_assert_eq(pbft_cluster_seal(&written.cluster, error), PBFT_STATUS_OK);
    cr_assert_eq(pbft_cluster_config_save(&written, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(pbft_cluster_config_save(&written, file, error), PBFT_STATUS_EXISTS);
    cr_assert_eq(pbft_cluster_config_load(&got, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert(pbft_digest_equal(&written.cluster.id, &got.cluster.id), "the id covers all of it");
    cr_assert_eq(memcmp(&written.cluster.params, &got.cluster.params, sizeof got.cluster.params),
                 0);
    cr_assert_eq(memcmp(written.addresses, got.addresses, 4 * sizeof *got.addresses), 0);
    cr_assert_eq(got.cluster.client_count, 2u);
    pbft_cluster_config_free(&got);
    pbft_cluster_unseal(&written.cluster);
    free(written.addresses);
}

/* A restored cluster: genesis travels with it, and so does its id. */
Test(config, genesis_is_read_back_as_written, .init = setup, .fini = teardown)
{
    struct pbft_cluster_config written, got;
    struct pbft_public_key clients[2];
    char error[256];
    fill(&written, clients);
    struct pbft_digest plain = written.cluster.id;
    pbft_cluster_unseal(&written.cluster);
    written.cluster.genesis_seq = 3u * written.cluster.params.checkpoint_interval;
    memset(written.cluster.genesis_root.bytes, 0xcd, PBFT_DIGEST_BYTES);
    cr_assert_eq(pbft_cluster_seal(&written.cluster, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_not(pbft_digest_equal(&written.cluster.id, &plain));
    cr_assert_eq(pbft_cluster_config_save(&written, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(pbft_cluster_config_load(&got, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert(pbft_digest_equal(&written.cluster.id, &got.cluster.id));
    cr_assert_eq(got.cluster.genesis_seq, written.cluster.genesis_seq);
    cr_assert(pbft_digest_equal(&got.cluster.genesis_root, &written.cluster.genesis_root));
    pbft_cluster_config_free(&got);
    pbft_cluster_unseal(&written.cluster);
    free(written.addresses);
}

struct spoil {
    const char *from, *to; /* first occurrence */
    const char *complaint;
    bool line; /* the complaint names the line of the replacement's end */
};

Test(config, spoiled_clusters_are_refused_with_a_line, .init = setup, .fini = teardown)
{
    static const struct spoil spoils[] = {
        {"service = kv", "service = kv\nservice = kv", "service is given twice", true},
        {"service = kv", "colour = blue", "unknown key colour in section [cluster]", true},
        {"service = kv", "", "service is missing", false},
        {"service = kv", "service", "not a section", true},
        {"service = kv", "service = abcdefghijklmnopqrstuvwxyz0123456", "longer than 31", true},
        {"[parameters]", "[params]", "unknown section [params]", true},
        {"[parameters]", "[empty]\n[parameters]", "unknown section [empty]", false},
        {"[cluster]", "x = 1\n[cluster]", "stands before any section", false},
        {"nonce = ab", "nonce = zz", "nonce must be 64", true},
        {"service = kv", "service = kv\ngenesis_seq = 128", "stand together", true},
        {"service = kv", "service = kv\ngenesis_seq = 0", "genesis_seq is outside", true},
        {"service = kv", "service = kv\ngenesis_root = 00", "stand together", false},
        {"service = kv", "service = kv\ngenesis_root = 00\ngenesis_seq = 128",
         "genesis_root must be 64", false},
        {"service = kv",
         "service = kv\ngenesis_root = "
         "0000000000000000000000000000000000000000000000000000000000000001\ngenesis_seq = 129",
         "multiple of checkpoint_interval", true},
        {"\nwindow = 256", "\nwindow = 7", "window must be a multiple", true},
        {"view_timeout = 500ms", "view_timeout = 1us", "view_timeout must be between", true},
        {"n = 4", "n = 3", "n is outside 4 .. 64", true},
        {"n = 4", "n = 5", "[replica.4] must have", false},
        {"n = 4", "n = four", "n must be a whole number", true},
        {"n = 4", "n = -4", "n must be a whole number", true},
        {"n = 4", "n = 99999999999999999999", "n must be a whole number", true},
        {"window = 256", "window = 255", "multiple of checkpoint_interval", false},
        {"clock_skew = 2s", "clock_skew = 2", "clock_skew must be a time", true},
        {"clock_skew = 2s", "clock_skew = 99999999999999d", "clock_skew must be a time", true},
        {"tcp://127.0.0.1:7000", "127.0.0.1:7000", "peer must be tcp://host:port", true},
        {"tcp://127.0.0.1:7000", "tcp://127.0.0.1:70000", "peer must be tcp://host:port", true},
        {"tcp://127.0.0.1:7000", "tcp://:7000", "peer must be tcp://host:port", true},
        {"[replica.0]", "[replica.00]", "unknown section [replica.00]", true},
        {"[replica.0]", "[replica.64]", "unknown section [replica.64]", true},
        {"[replica.0]", "[replica.9]", "[replica.0] must have", false},
        {"[replica.1]", "[replica.0]", "key is given twice", false},
        {"[clients]\n0 = ", "[clients]\n1 = ", "0 is expected here", true},
        {"[clients]\n0 = ", "[clients]\n0 = f", "64 lower-case hex", true},
        {"[clients]\n0 = ", "[clients]\nfirst = ", "unknown key first", true},
    };
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        char *text = valid_text();
        (void)unlink(file);
        char *at = strstr(text, spoils[i].from);
        cr_assert_not_null(at, "%s", spoils[i].from);
        char spoiled[20000];
        int prefix = (int)(at - text);
        (void)snprintf(spoiled, sizeof spoiled, "%.*s%s%s", prefix, text, spoils[i].to,
                       at + strlen(spoils[i].from));
        write_bytes(spoiled, strlen(spoiled));
        int line = 1;
        for (const char *c = spoiled; c < spoiled + prefix + strlen(spoils[i].to); c++)
            if (*c == '\n') line++;
        struct pbft_cluster_config got;
        char error[256];
        cr_assert_eq(pbft_cluster_config_load(&got, file, error), PBFT_STATUS_CONFIG, "%s -> %s",
                     spoils[i].from, spoils[i].to);
        cr_assert_not_null(strstr(error, spoils[i].complaint), "%s -> %s: %s", spoils[i].from,
                           spoils[i].to, error);
        char place[160];
        (void)snprintf(place, sizeof place, "%s:%d: ", file, line);
        if (spoils[i].line)
            cr_assert_eq(strncmp(error, place, strlen(place)), 0, "%s, not %s", error, place);
        free(text);
        (void)unlink(file);
    }
}

Test(config, long_lines_and_zero_bytes_are_refused_before_parsing, .init = setup, .fini = teardown)
{
    struct pbft_client_config got;
    char error[256];
    char text[600];
    /* 198 bytes are the most: the same line, one byte longer, is refused. */
    int head = snprintf(text, sizeof text, "[client]\ncluster = c\nkey = ");
    memset(text + head, 'k', 192);
    text[head + 192] = '\n';
    write_bytes(text, (size_t)head + 193);
    cr_assert_eq(pbft_client_config_load(&got, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(strlen(got.key), strlen(folder) + 1 + 192);
    text[head + 192] = 'k';
    text[head + 193] = '\n';
    write_bytes(text, (size_t)head + 194);
    cr_assert_eq(pbft_client_config_load(&got, file, error), PBFT_STATUS_CONFIG);
    cr_assert_not_null(strstr(error, ":3: line is longer than 198 bytes"), "%s", error);
    text[head + 5] = '\0';
    text[head + 10] = '\n';
    write_bytes(text, (size_t)head + 11);
    cr_assert_eq(pbft_client_config_load(&got, file, error), PBFT_STATUS_CONFIG);
    cr_assert_not_null(strstr(error, ":3: line has a zero byte"), "%s", error);
}

Test(config, node_and_client_files, .init = setup, .fini = teardown)
{
    struct pbft_replica_config node = pbft_replica_config_default();
    struct pbft_replica_config got;
    char error[256];
    cr_assert_eq(node.durability, PBFT_DURABILITY_SYNC);
    node.id = 3;
    node.threads = 2;
    node.durability = PBFT_DURABILITY_ASYNC;
    cr_assert_eq(node.flush_bytes, 64u << 20);
    node.flush_bytes = 65536;
    cr_assert_eq(node.transfer_bytes_per_second, 8u << 20);
    node.transfer_bytes_per_second = 3u << 20;
    node.log_level = PBFT_CONFIG_LEVEL_DEBUG;
    (void)strcpy(node.cluster, "../cluster.conf");
    (void)strcpy(node.key, "/etc/key");
    (void)strcpy(node.data, "data");
    (void)strcpy(node.listen_peers, "tcp://0.0.0.0:1");
    (void)strcpy(node.listen_clients, "tcp://0.0.0.0:2");
    cr_assert_eq(pbft_replica_config_save(&node, file, error), PBFT_STATUS_OK, "%s", error);
    cr_assert_eq(pbft_replica_config_load(&got, file, error), PBFT_STATUS_OK, "%s", error);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/../cluster.conf", folder);
    cr_assert_str_eq(got.cluster, path);
    cr_assert_str_eq(got.key, "/etc/key");
    (void)snprintf(path, sizeof path, "%s/pbftd.pid", folder);
    cr_assert_str_eq(got.pid_file, path);
    cr_assert_str_eq(got.admin_listen, "");
    cr_assert_eq(got.id, 3u);
    cr_assert_eq(got.threads, 2u);
    cr_assert_eq(got.durability, PBFT_DURABILITY_ASYNC);
    cr_assert_eq(got.flush_bytes, 65536u);
    cr_assert_eq(got.transfer_bytes_per_second, 3u << 20);
    cr_assert_eq(got.log_level, PBFT_CONFIG_LEVEL_DEBUG);

    static const char odd[] = "[client]\ncluster = c\nkey = k\ntimeout = 0s\n";
    struct pbft_client_config client;
    write_bytes(odd, sizeof odd - 1);
    cr_assert_eq(pbft_client_config_load(&client, file, error), PBFT_STATUS_CONFIG);
    cr_assert_not_null(strstr(error, ":4: timeout is outside"), "%s", error);
    cr_assert_eq(pbft_client_config_load(&client, "/nonexistent", error), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(pbft_client_config_load(&client, folder, error), PBFT_STATUS_CONFIG);
}

Test(config, durations)
{
    uint64_t ns;
    cr_assert(pbft_config_duration("5s", &ns) && ns == UINT64_C(5000000000));
    cr_assert(pbft_config_duration("250 ms", &ns) && ns == 250000000);
    cr_assert(pbft_config_duration("2h", &ns) && ns == UINT64_C(7200000000000));
    static const char *const bad[] = {"", "s", "5", "-5s", "5 sec", "1.5s", "5s ", "300000d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(pbft_config_duration(bad[i], &ns), "'%s'", bad[i]);
}
