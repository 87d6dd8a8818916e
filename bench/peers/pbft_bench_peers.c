/* pbft-bench-peers: the load of pbft-bench on etcd, Redis or ZooKeeper, and what it cost. */
#include "bench/peers/drive.h"
#include "bench/peers/keys.h"
#include "bench/processes.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ENDPOINTS_MAX (sizeof((struct drive_options *)0)->endpoints / sizeof(char *))

static const char help[] =
    "Usage: pbft-bench-peers --system NAME --endpoint HOST:PORT [options]\n"
    "The puts and reads of pbft-bench, in a closed loop, on running servers of another system.\n"
    "\n"
    "  --system NAME      etcd, redis or zookeeper\n"
    "  --endpoint H:P     of a server; connections are dealt out to those given\n"
    "  --conns N          connections [1]\n"
    "  --outstanding W    operations outstanding, over all of them [1]\n"
    "  --value-bytes B    size of a value, 48 at least [100]\n"
    "  --keys N           uniformly drawn keys [100000]\n"
    "  --sequential       each key in its turn, not drawn; ZooKeeper: creates them\n"
    "  --reads PCT        percent of operations that are linearizable reads [0]\n"
    "  --seconds S        counted time; 0: exactly --ops operations, no warm-up [10]\n"
    "  --warmup S         time before it [1]\n"
    "  --ops N            so many operations\n"
    "  --check N          keys that were written and are read back at the end, at most [500]\n"
    "  --wait-replicas R  redis: WAIT for so many replicas after each put; wants --conns as\n"
    "                     many as --outstanding [0]\n"
    "  --pid PID          of a server, whose CPU and memory are counted; may be repeated\n"
    "  --timeout S        without any answer [10]\n"
    "  --json FILE        write the result to FILE (-: standard output)\n"
    "  --version, --help\n"
    "\n"
    "Example: pbft-bench-peers --system redis --endpoint 127.0.0.1:6379 --outstanding 100\n"
    "Exit codes: 0, or 1 if it broke off, an operation failed or a value was wrong, 2 usage.\n";

struct use {
    int pids[PROCESSES_MAX];
    size_t count;
    struct process_use before[PROCESSES_MAX], after[PROCESSES_MAX];
};

static void read_all(const struct use *use, struct process_use *out)
{
    for (size_t i = 0; i < use->count; i++) {
        memset(&out[i], 0, sizeof out[i]);
        (void)process_read(use->pids[i], &out[i]);
    }
}

static void use_start(void *context)
{
    struct use *use = context;
    read_all(use, use->before);
}

static void use_stop(void *context)
{
    struct use *use = context;
    read_all(use, use->after);
}

static double servers_cpu_s(const struct use *use)
{
    double sum = 0;
    for (size_t i = 0; i < use->count; i++)
        sum += use->after[i].cpu_s - use->before[i].cpu_s;
    return sum;
}

static bool all_run(const struct use *use)
{
    for (size_t i = 0; i < use->count; i++)
        if (use->before[i].pid == 0 || use->after[i].pid == 0) return false;
    return true;
}

static int usage(const char *text)
{
    fprintf(stderr, "pbft-bench-peers: %s; see pbft-bench-peers --help\n", text);
    return 2;
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && *out >= min && *out <= max;
}

enum {
    SYSTEM = 1000,
    ENDPOINT,
    CONNS,
    OUTSTANDING,
    VALUE_BYTES,
    KEYS,
    SEQUENTIAL,
    READS,
    SECONDS,
    WARMUP,
    OPS,
    CHECK,
    WAIT_REPLICAS,
    PID,
    TIMEOUT,
    JSON,
    HELP,
    VERSION,
};

static const struct option long_options[] = {
    {"system", required_argument, NULL, SYSTEM},
    {"endpoint", required_argument, NULL, ENDPOINT},
    {"conns", required_argument, NULL, CONNS},
    {"outstanding", required_argument, NULL, OUTSTANDING},
    {"value-bytes", required_argument, NULL, VALUE_BYTES},
    {"keys", required_argument, NULL, KEYS},
    {"sequential", no_argument, NULL, SEQUENTIAL},
    {"reads", required_argument, NULL, READS},
    {"seconds", required_argument, NULL, SECONDS},
    {"warmup", required_argument, NULL, WARMUP},
    {"ops", required_argument, NULL, OPS},
    {"check", required_argument, NULL, CHECK},
    {"wait-replicas", required_argument, NULL, WAIT_REPLICAS},
    {"pid", required_argument, NULL, PID},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"json", required_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static const char *name_of(int option)
{
    for (const struct option *o = long_options; o->name != NULL; o++)
        if (o->val == option) return o->name;
    return "?";
}

static const struct peer *peer_of(const char *name)
{
    static const struct peer *const peers[] = {&peer_etcd, &peer_redis, &peer_zookeeper};
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++)
        if (strcmp(peers[i]->name, name) == 0) return peers[i];
    return NULL;
}

/* What belongs together; -1: go on, else the exit code. */
static int judge(const struct drive_options *o)
{
    if (o->peer == NULL) return usage("--system says which: etcd, redis or zookeeper");
    if (o->endpoint_count == 0) return usage("--endpoint HOST:PORT says where a server listens");
    if (o->conns > o->outstanding) return usage("there are more --conns than --outstanding");
    if (o->seconds == 0 && o->ops == 0) return usage("--seconds 0 needs --ops N");
    if (o->seconds != 0 && o->ops != 0) return usage("--ops N needs --seconds 0");
    if (o->wait_replicas > 0 && o->peer != &peer_redis) return usage("--wait-replicas is Redis's");
    if (o->wait_replicas > 0 && o->conns != o->outstanding)
        return usage("--wait-replicas wants a connection for each operation outstanding: --conns");
    return -1;
}

/* The same. */
static int parse(int argc, char **argv, struct drive_options *o, struct use *use, const char **json)
{
    int option;
    opterr = 0; /* what is wrong is said here, once */
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        uint64_t n = 0;
        bool ok = true;
        switch (option) {
        case SYSTEM:
            o->peer = peer_of(optarg);
            if (o->peer == NULL) return usage("--system is one of etcd, redis, zookeeper");
            break;
        case ENDPOINT:
            if (strchr(optarg, ':') == NULL) return usage("an --endpoint is HOST:PORT");
            if (o->endpoint_count == ENDPOINTS_MAX) return usage("there are too many --endpoint");
            o->endpoints[o->endpoint_count++] = optarg;
            break;
        case CONNS: ok = number(optarg, 1, 4096, &n), o->conns = (uint32_t)n; break;
        case OUTSTANDING: ok = number(optarg, 1, 65536, &n), o->outstanding = (uint32_t)n; break;
        case VALUE_BYTES:
            ok = number(optarg, VALUE_BYTES_MIN, 1u << 20, &n), o->value_bytes = (uint32_t)n;
            break;
        case KEYS: ok = number(optarg, 1, 10000000, &n), o->keys = (uint32_t)n; break;
        case SEQUENTIAL: o->sequential = true; break;
        case READS: ok = number(optarg, 0, 100, &n), o->reads = (uint32_t)n; break;
        case SECONDS: ok = number(optarg, 0, 1u << 20, &o->seconds); break;
        case WARMUP: ok = number(optarg, 0, 1u << 20, &o->warmup); break;
        case OPS: ok = number(optarg, 1, UINT64_MAX / 2, &o->ops); break;
        case CHECK: ok = number(optarg, 0, 10000000, &n), o->check = (uint32_t)n; break;
        case WAIT_REPLICAS: ok = number(optarg, 1, 64, &n), o->wait_replicas = (uint32_t)n; break;
        case PID:
            ok = number(optarg, 1, INT32_MAX, &n);
            if (use->count == PROCESSES_MAX) return usage("there are too many --pid");
            use->pids[use->count++] = (int)n;
            break;
        case TIMEOUT: ok = number(optarg, 1, 3600, &n), o->timeout_ns = n * 1000000000u; break;
        case JSON: *json = optarg; break;
        case HELP: fputs(help, stdout); return 0;
        case VERSION: puts("pbft-bench-peers " PBFT_VERSION); return 0;
        default: return usage("there is no such option, or its value is missing");
        }
        if (!ok) {
            fprintf(stderr, "pbft-bench-peers: '%s' is not a number that fits --%s; see --help\n",
                    optarg, name_of(option));
            return 2;
        }
    }
    if (optind < argc) return usage("it takes options only");
    return judge(o);
}

/* The members of pbft-bench's, where both have them: servers are replicas. */
static json_t *to_json(const struct drive_options *o, const struct drive_result *r,
                       const struct use *use)
{
    struct utsname machine;
    (void)uname(&machine);
    double ops = r->ops == 0 ? 1 : (double)r->ops;
    double cpu = r->client_cpu_s + servers_cpu_s(use);
    json_t *rss_before = json_array(), *rss_after = json_array();
    for (size_t i = 0; i < use->count; i++) {
        json_array_append_new(rss_before, json_integer((json_int_t)use->before[i].rss_bytes));
        json_array_append_new(rss_after, json_integer((json_int_t)use->after[i].rss_bytes));
    }
    return json_pack("{s:s,s:I,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:I,s:I,s:f,s:f,s:f,"
                     "s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:o,s:o,s:{s:s,s:s,s:i}}",
                     "system", o->peer->name, "ops", (json_int_t)r->ops, "ops_per_s",
                     (double)r->ops / r->seconds, "p50_ms",
                     (double)histogram_percentile(&r->latency, 50) / 1e6, "p99_ms",
                     (double)histogram_percentile(&r->latency, 99) / 1e6, "p999_ms",
                     (double)histogram_percentile(&r->latency, 99.9) / 1e6, "max_ms",
                     (double)r->latency.max / 1e6, "errors", (json_int_t)r->errors, "wrong",
                     (json_int_t)r->wrong, "missing", (json_int_t)r->missing, "checked",
                     (json_int_t)r->checked, "cpu_ms_per_op", cpu * 1e3 / ops, "cpu_s_client",
                     r->client_cpu_s, "cpu_s_replicas", servers_cpu_s(use), "conns", (int)o->conns,
                     "inflight", (int)o->outstanding, "value_bytes", (int)o->value_bytes, "keys",
                     (int)o->keys, "reads", (int)o->reads, "wait_replicas", (int)o->wait_replicas,
                     "seconds", r->seconds, "replica_rss_bytes_before", rss_before,
                     "replica_rss_bytes", rss_after, "machine", "system", machine.sysname, "kernel",
                     machine.release, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN));
}

static bool write_json(const char *path, json_t *json)
{
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
    if (strcmp(path, "-") != 0) return json_dump_file(json, path, flags) == 0;
    bool ok = json_dumpf(json, stdout, flags) == 0;
    (void)putchar('\n');
    return ok;
}

int main(int argc, char **argv)
{
    struct drive_options options = {.conns = 1,
                                    .outstanding = 1,
                                    .value_bytes = 100,
                                    .keys = 100000,
                                    .seconds = 10,
                                    .warmup = 1,
                                    .check = 500,
                                    .timeout_ns = 10000000000u};
    static struct use use;
    static struct drive_result result;
    const char *path = NULL;
    int code = parse(argc, argv, &options, &use, &path);
    if (code >= 0) return code;

    char error[256];
    if (!drive_run(&options, use_start, use_stop, &use, &result, error)) {
        fprintf(stderr, "pbft-bench-peers: %s\n", error);
        return 1;
    }
    if (!all_run(&use)) {
        fprintf(stderr, "pbft-bench-peers: a process given with --pid does not run\n");
        return 1;
    }
    json_t *json = to_json(&options, &result, &use);
    if (json == NULL) {
        fprintf(stderr, "pbft-bench-peers: out of memory\n");
        return 1;
    }
    if (path == NULL || strcmp(path, "-") != 0)
        printf(
            "%llu operations in %.1f s: %.0f/s; latency p50 %.2f ms, p99 %.2f ms; %.3f ms CPU an "
            "operation; %llu errors, %llu wrong, %llu read back\n",
            (unsigned long long)result.ops, result.seconds, (double)result.ops / result.seconds,
            (double)histogram_percentile(&result.latency, 50) / 1e6,
            (double)histogram_percentile(&result.latency, 99) / 1e6,
            json_real_value(json_object_get(json, "cpu_ms_per_op")),
            (unsigned long long)result.errors, (unsigned long long)result.wrong,
            (unsigned long long)result.checked);
    bool written = path == NULL || write_json(path, json);
    json_decref(json);
    if (!written) {
        fprintf(stderr, "pbft-bench-peers: cannot write '%s'\n", path);
        return 1;
    }
    return result.errors == 0 && result.wrong == 0 ? 0 : 1;
}
