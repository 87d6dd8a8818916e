/* pbft-bench: load on a running cluster, and what it cost (DESIGN 6). */
#include "bench/durability.h"
#include "bench/load.h"
#include "bench/processes.h"
#include "crypto/hash.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_MAX   128u
#define SESSIONS_MAX 256u /* of one connection */
#define SHARED_MAX   256u /* requests outstanding that one connection carries by default */

static const char help[] =
    "Usage: pbft-bench --cluster DIR [options]\n"
    "A closed loop of clients against a running cluster: signed puts, and fast reads if asked "
    "for.\n"
    "\n"
    "  --cluster DIR      the cluster's folder [$PBFT_CLUSTER]\n"
    "  --clients C        clients, each a closed loop with a session of its own [8]\n"
    "  --conns N          connections to each replica that they share, each with a key of its own\n"
    "                     as far as there are keys [one for every 256 requests outstanding]\n"
    "  --inflight W       operations that each keeps outstanding [one bundle]\n"
    "  --bundle K         operations of one signed request, or of one fast read [1]\n"
    "  --value-bytes B    size of a value [100]\n"
    "  --keys N           uniformly drawn keys [100000]\n"
    "  --first F          number of the first of them [0]\n"
    "  --sequential       each key in its turn, not drawn\n"
    "  --rate R           operations a second of all clients together, at most [no limit]\n"
    "  --open             with --rate an open loop: latency counts from when an operation was "
    "due,\n"
    "                     and what is due while all clients wait is sent as soon as one does not\n"
    "  --verify           in the end read every key: it holds what was last acknowledged, or is\n"
    "                     counted as lost\n"
    "  --reads PCT        percent of requests that are fast linearizable reads instead [0]\n"
    "  --seconds S        counted time; 0: until --ops [10]\n"
    "  --warmup S         time before it [1]\n"
    "  --ops N            stop after N counted operations\n"
    "  --timeout S        of one request [10]\n"
    "  --timeline FILE    a line for each interval: the time in ms since 1970, operations in it\n"
    "  --interval MS      its length [100]\n"
    "  --json FILE        write the result to FILE (-: standard output)\n"
    "  --hash-rate        print how many bytes of pages one core hashes a second, and end\n"
    "  --version, --help\n"
    "\n"
    "Example: pbft-bench --cluster d --clients 16 --bundle 64 --seconds 10 --json result.json\n"
    "Exit codes: 0, or 1 if an operation failed, read wrong or was lost, 2 usage, 3 no quorum,\n"
    "4 refused, 5 the service refused.\n";

struct use {
    const char *dir;
    struct process_use before[PROCESSES_MAX], after[PROCESSES_MAX];
    size_t count;
};

static void use_start(void *context)
{
    struct use *use = context;
    use->count = processes_read(use->dir, use->before, PROCESSES_MAX);
}

static void use_stop(void *context)
{
    struct use *use = context;
    processes_read(use->dir, use->after, PROCESSES_MAX);
}

/* CPU of the replicas that ran from start to end. */
static double replicas_cpu_s(const struct use *use)
{
    double sum = 0;
    for (size_t i = 0; i < use->count; i++)
        if (use->before[i].pid != 0 && use->before[i].pid == use->after[i].pid)
            sum += use->after[i].cpu_s - use->before[i].cpu_s;
    return sum;
}

static int usage(const char *text)
{
    fprintf(stderr, "pbft-bench: %s; see pbft-bench --help\n", text);
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
    CLUSTER = 1000,
    CLIENTS,
    CONNS,
    INFLIGHT,
    BUNDLE,
    VALUE_BYTES,
    KEYS,
    FIRST,
    SEQUENTIAL,
    RATE,
    OPEN,
    CHECK,
    READS,
    SECONDS,
    WARMUP,
    OPS,
    TIMEOUT,
    TIMELINE,
    INTERVAL,
    JSON,
    HASH_RATE,
    HELP,
    VERSION,
};

static const struct option long_options[] = {
    {"cluster", required_argument, NULL, CLUSTER},
    {"clients", required_argument, NULL, CLIENTS},
    {"conns", required_argument, NULL, CONNS},
    {"inflight", required_argument, NULL, INFLIGHT},
    {"bundle", required_argument, NULL, BUNDLE},
    {"value-bytes", required_argument, NULL, VALUE_BYTES},
    {"keys", required_argument, NULL, KEYS},
    {"first", required_argument, NULL, FIRST},
    {"sequential", no_argument, NULL, SEQUENTIAL},
    {"rate", required_argument, NULL, RATE},
    {"open", no_argument, NULL, OPEN},
    {"verify", no_argument, NULL, CHECK},
    {"reads", required_argument, NULL, READS},
    {"seconds", required_argument, NULL, SECONDS},
    {"warmup", required_argument, NULL, WARMUP},
    {"ops", required_argument, NULL, OPS},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"timeline", required_argument, NULL, TIMELINE},
    {"interval", required_argument, NULL, INTERVAL},
    {"json", required_argument, NULL, JSON},
    {"hash-rate", no_argument, NULL, HASH_RATE},
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

/* As pbftctl's: 2 usage and files, 3 no quorum, 4 refused, 5 the service refused. */
static int exit_code(enum pbft_status status)
{
    switch ((int)status) {
    case PBFT_STATUS_TIMEOUT: return 3;
    case PBFT_STATUS_PERMISSION:
    case PBFT_STATUS_CORRUPT:
    case PBFT_STATUS_CRYPTO: return 4;
    case PBFT_STATUS_NOT_FOUND:
    case PBFT_STATUS_CONFIG:
    case PBFT_STATUS_ARGUMENT: return 2;
    case PBFT_STATUS_REFUSED: return 5;
    default: return 1;
    }
}

/* Of leaves as they are with values of a hundred bytes. */
static double hash_rate(void)
{
    static uint8_t page[2048];
    struct pbft_span span = {page, sizeof page};
    struct pbft_digest digest;
    struct timespec begun, now;
    double bytes = 0, seconds;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begun);
    do {
        for (unsigned i = 0; i < 1000; i++) {
            page[i % sizeof page]++;
            pbft_hash(&digest, "pbft-bench", &span, 1);
            bytes += sizeof page;
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        seconds = (double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9;
    } while (seconds < 0.5);
    return bytes / seconds;
}

/* -1: go on; else the exit code. */
static int verifiable(const struct load_options *o)
{
    if (!o->verify) return -1;
    uint32_t requests = o->clients * (o->inflight < o->bundle ? 1 : o->inflight / o->bundle);
    if (o->sequential) return usage("--verify draws keys: it does not go with --sequential");
    if (o->keys < requests) return usage("--verify needs as many --keys as requests outstanding");
    if (o->value_bytes < LOAD_VERIFY_BYTES)
        return usage("--verify needs --value-bytes of at least 48");
    return -1;
}

/* The same. */
static int share_connections(struct load_options *o)
{
    uint32_t requests = o->inflight < o->bundle ? 1 : o->inflight / o->bundle;
    if (o->conns == 0) o->conns = (o->clients * requests + SHARED_MAX - 1) / SHARED_MAX;
    if (o->conns > o->clients) return usage("there are more --conns than --clients");
    if ((o->clients + o->conns - 1) / o->conns > SESSIONS_MAX)
        return usage("one connection carries at most 256 clients: raise --conns");
    return -1;
}

/* The same. */
static int parse(int argc, char **argv, struct load_options *o, const char **json,
                 const char **timeline)
{
    int option;
    opterr = 0; /* what is wrong is said here, once */
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        uint64_t n = 0;
        bool ok = true;
        switch (option) {
        case CLUSTER: o->cluster = optarg; break;
        case CLIENTS: ok = number(optarg, 1, 4096, &n), o->clients = (uint32_t)n; break;
        case CONNS: ok = number(optarg, 1, 4096, &n), o->conns = (uint32_t)n; break;
        case INFLIGHT: ok = number(optarg, 1, 1u << 20, &n), o->inflight = (uint32_t)n; break;
        case BUNDLE: ok = number(optarg, 1, 4096, &n), o->bundle = (uint32_t)n; break;
        case VALUE_BYTES: ok = number(optarg, 1, 1u << 20, &n), o->value_bytes = (uint32_t)n; break;
        case KEYS: ok = number(optarg, 1, 1000000000, &n), o->keys = (uint32_t)n; break;
        case FIRST: ok = number(optarg, 0, 1000000000, &n), o->first = (uint32_t)n; break;
        case SEQUENTIAL: o->sequential = true; break;
        case RATE: ok = number(optarg, 1, 1u << 30, &o->rate); break;
        case OPEN: o->open = true; break;
        case CHECK: o->verify = true; break;
        case TIMELINE: *timeline = optarg; break;
        case INTERVAL: ok = number(optarg, 10, 60000, &o->interval_ms); break;
        case READS: ok = number(optarg, 0, 100, &n), o->reads = (uint32_t)n; break;
        case SECONDS: ok = number(optarg, 0, 1u << 20, &o->seconds); break;
        case WARMUP: ok = number(optarg, 0, 1u << 20, &o->warmup); break;
        case OPS: ok = number(optarg, 1, UINT64_MAX / 2, &o->ops); break;
        case TIMEOUT: ok = number(optarg, 1, 3600, &n), o->timeout_ns = n * 1000000000u; break;
        case JSON: *json = optarg; break;
        case HASH_RATE: printf("%.0f\n", hash_rate()); return 0;
        case HELP: fputs(help, stdout); return 0;
        case VERSION: puts("pbft-bench " PBFT_VERSION); return 0;
        default: return usage("there is no such option, or its value is missing");
        }
        if (!ok) {
            fprintf(stderr, "pbft-bench: '%s' is not a number that fits --%s; see --help\n", optarg,
                    name_of(option));
            return 2;
        }
    }
    if (optind < argc) return usage("it takes options only");
    if (o->cluster == NULL) o->cluster = getenv("PBFT_CLUSTER");
    if (o->cluster == NULL) return usage("--cluster DIR or PBFT_CLUSTER says which cluster");
    if (o->seconds == 0 && o->ops == 0) return usage("--seconds 0 needs --ops N");
    if (o->inflight == 0) o->inflight = o->bundle;
    if (o->inflight / o->bundle > WINDOW_MAX)
        return usage("a client can have 128 requests outstanding: raise --bundle or --clients");
    if (o->open && o->rate == 0) return usage("--open needs --rate");
    int code = verifiable(o);
    return code >= 0 ? code : share_connections(o);
}

static json_t *to_json(const struct load_options *o, const struct load_result *r,
                       const struct use *use)
{
    char durability[32];
    durability_ask(o->cluster, durability, sizeof durability);
    struct utsname machine;
    uname(&machine);
    double ops = r->ops == 0 ? 1 : (double)r->ops;
    double cpu = r->client_cpu_s + replicas_cpu_s(use);
    json_t *rss_before = json_array(), *rss_after = json_array();
    for (size_t i = 0; i < use->count; i++) {
        json_array_append_new(rss_before, json_integer((json_int_t)use->before[i].rss_bytes));
        json_array_append_new(rss_after, json_integer((json_int_t)use->after[i].rss_bytes));
    }
    return json_pack(
        "{s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:s,s:i,s:i,s:i,s:i,"
        "s:i,s:i,s:i,s:f,s:b,s:I,s:I,s:I,"
        "s:o,s:o,s:{s:s,s:s,s:i}}",
        "rate", (json_int_t)o->rate, "ops", (json_int_t)r->ops, "ops_per_s",
        (double)r->ops / r->seconds, "mean_ms", histogram_mean(&r->latency) / 1e6, "p50_ms",
        (double)histogram_percentile(&r->latency, 50) / 1e6, "p99_ms",
        (double)histogram_percentile(&r->latency, 99) / 1e6, "p999_ms",
        (double)histogram_percentile(&r->latency, 99.9) / 1e6, "max_ms",
        (double)r->latency.max / 1e6, "errors", (json_int_t)r->errors, "wrong",
        (json_int_t)r->wrong, "wrong_replies", (json_int_t)r->wrong_replies, "fallbacks",
        (json_int_t)r->fallbacks, "retransmissions", (json_int_t)r->retransmissions,
        "cpu_ms_per_op", cpu * 1e3 / ops, "cpu_s_client", r->client_cpu_s, "cpu_s_replicas",
        replicas_cpu_s(use), "durability", durability, "clients", (int)o->clients, "conns",
        (int)o->conns, "inflight", (int)o->inflight, "bundle", (int)o->bundle, "value_bytes",
        (int)o->value_bytes, "keys", (int)o->keys, "reads", (int)o->reads, "seconds", r->seconds,
        "open", (int)o->open, "overdue", (json_int_t)r->overdue, "verified",
        (json_int_t)r->verified, "lost", (json_int_t)r->lost, "replica_rss_bytes_before",
        rss_before, "replica_rss_bytes", rss_after, "machine", "system", machine.sysname, "kernel",
        machine.release, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN));
}

static bool write_json(const char *path, json_t *json)
{
    if (strcmp(path, "-") == 0) {
        bool ok = json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0;
        putchar('\n');
        return ok;
    }
    return json_dump_file(json, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0;
}

int main(int argc, char **argv)
{
    struct load_options options = {.clients = 8,
                                   .bundle = 1,
                                   .value_bytes = 100,
                                   .keys = 100000,
                                   .seconds = 10,
                                   .interval_ms = 100,
                                   .warmup = 1,
                                   .timeout_ns = 10000000000u};
    const char *path = NULL, *timeline = NULL;
    int code = parse(argc, argv, &options, &path, &timeline);
    if (code >= 0) return code;
    if (timeline != NULL && (options.timeline = fopen(timeline, "w")) == NULL) {
        fprintf(stderr, "pbft-bench: cannot write '%s'\n", timeline);
        return 1;
    }

    static struct load_result result;
    static struct use use;
    char error[256];
    use.dir = options.cluster;
    enum pbft_status status =
        load_run(&options, isatty(STDERR_FILENO) != 0, use_start, use_stop, &use, &result, error);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-bench: %s\n", error);
        return exit_code(status);
    }
    if (options.timeline != NULL) (void)fclose(options.timeline);
    json_t *json = to_json(&options, &result, &use);
    if (json == NULL) {
        fprintf(stderr, "pbft-bench: out of memory\n");
        return 1;
    }
    if (path == NULL || strcmp(path, "-") != 0)
        printf("%llu operations in %.1f s: %.0f/s; latency p50 %.2f ms, p99 %.2f ms; "
               "%.3f ms CPU an operation (client and local replicas); %llu errors, %llu wrong, "
               "%llu lost\n",
               (unsigned long long)result.ops, result.seconds, (double)result.ops / result.seconds,
               (double)histogram_percentile(&result.latency, 50) / 1e6,
               (double)histogram_percentile(&result.latency, 99) / 1e6,
               json_real_value(json_object_get(json, "cpu_ms_per_op")),
               (unsigned long long)result.errors, (unsigned long long)result.wrong,
               (unsigned long long)result.lost);
    bool written = path == NULL || write_json(path, json);
    json_decref(json);
    if (!written) {
        fprintf(stderr, "pbft-bench: cannot write '%s'\n", path);
        return 1;
    }
    return result.errors == 0 && result.wrong == 0 && result.lost == 0 ? 0 : 1;
}
