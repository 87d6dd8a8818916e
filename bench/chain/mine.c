/* bench/chain/mine.c - pbft-chain mine: a real node. */
#include "bench/chain/commands.h"
#include "bench/chain/file.h"
#include "bench/chain/load.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: pbft-chain mine [options]\n"
    "A node of the chain: it mines on one thread, and gossips with its peers. Nodes of one chain\n"
    "have the same --name, --spacing, --retarget, --start-bits and --block-bytes.\n"
    "\n"
    "  --listen ADDR      where peers find it: tcp://HOST:PORT, port 0 takes a free one [nowhere]\n"
    "  --peer ADDR        a node to connect to; as often as there are some\n"
    "  --out FILE         where the chain is written when it ends\n"
    "  --seconds S        end after so long [at TERM or INT]\n"
    "  --blocks N         end at this height\n"
    "  --hashes N         at most so many hashes a second [as many as it can]\n"
    "  --idle             do not mine\n"
    "\n"
    "  --name N           number of the chain [0]\n"
    "  --spacing MS       aim: a block in so much time [5000]\n"
    "  --retarget N       a new target every N blocks [32]\n"
    "  --start-bits HEX   first target, compact as in Bitcoin [1e00ffff]\n"
    "  --block-bytes N    a block at most [65536]\n"
    "\n"
    "  --rate R           submit R requests a second [0]\n"
    "  --bundle K         puts of one signed request [1]\n"
    "  --value-bytes B    size of a value [100]\n"
    "  --confirmations K  that count as final [6]\n"
    "  --load-seconds S   stop submitting after so long [with --seconds]\n"
    "  --after-blocks N   begin submitting at this height, when the target has settled [0]\n"
    "  --json FILE        write what was measured to FILE (-: standard output)\n"
    "  --quiet            no line for each block\n"
    "\n"
    "Example: pbft-chain mine --listen tcp://127.0.0.1:9000 --seconds 60 --out chain.dat\n"
    "Exit codes: 0, 1 it failed, 2 usage, 3 an address cannot be used.\n";

enum {
    LISTEN = 1000,
    PEER,
    OUT,
    SECONDS,
    BLOCKS,
    HASHES,
    IDLE,
    NAME,
    SPACING,
    RETARGET,
    START_BITS,
    BLOCK_BYTES,
    RATE,
    BUNDLE,
    VALUE_BYTES,
    CONFIRMATIONS,
    LOAD_SECONDS,
    AFTER_BLOCKS,
    JSON,
    QUIET,
    HELP,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"peer", required_argument, NULL, PEER},
    {"out", required_argument, NULL, OUT},
    {"seconds", required_argument, NULL, SECONDS},
    {"blocks", required_argument, NULL, BLOCKS},
    {"hashes", required_argument, NULL, HASHES},
    {"idle", no_argument, NULL, IDLE},
    {"name", required_argument, NULL, NAME},
    {"spacing", required_argument, NULL, SPACING},
    {"retarget", required_argument, NULL, RETARGET},
    {"start-bits", required_argument, NULL, START_BITS},
    {"block-bytes", required_argument, NULL, BLOCK_BYTES},
    {"rate", required_argument, NULL, RATE},
    {"bundle", required_argument, NULL, BUNDLE},
    {"value-bytes", required_argument, NULL, VALUE_BYTES},
    {"confirmations", required_argument, NULL, CONFIRMATIONS},
    {"load-seconds", required_argument, NULL, LOAD_SECONDS},
    {"after-blocks", required_argument, NULL, AFTER_BLOCKS},
    {"json", required_argument, NULL, JSON},
    {"quiet", no_argument, NULL, QUIET},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

struct options {
    struct chain_station_config station;
    const char *peers[CHAIN_PEERS_MAX];
    const char *out, *json;
    uint64_t seconds, blocks, rate, bundle, value_bytes, confirmations, load_seconds, after_blocks;
    bool quiet;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static bool compact(const char *text, uint32_t *bits)
{
    char *end;
    struct chain_u256 target;
    unsigned long value = strtoul(text, &end, 16);
    *bits = (uint32_t)value;
    return *end == '\0' && end != text && value <= UINT32_MAX && chain_target(*bits, &target);
}

static const char *name_of(int option)
{
    for (const struct option *o = long_options; o->name != NULL; o++)
        if (o->val == option) return o->name;
    return "?";
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    struct chain_params *p = &o->station.params;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        uint64_t n = 0;
        bool ok = true;
        switch (option) {
        case LISTEN: o->station.listen = optarg; break;
        case PEER:
            if (o->station.peer_count == CHAIN_PEERS_MAX - 1)
                return chain_usage("a node dials at most 63 peers");
            o->peers[o->station.peer_count++] = optarg;
            break;
        case OUT: o->out = optarg; break;
        case SECONDS: ok = chain_number(optarg, 1, 1u << 30, &o->seconds); break;
        case BLOCKS: ok = chain_number(optarg, 1, 1000000, &o->blocks); break;
        case HASHES: ok = chain_number(optarg, 1, 1u << 30, &o->station.hashes_per_s); break;
        case IDLE: o->station.idle = true; break;
        case NAME: ok = chain_number(optarg, 0, UINT64_MAX, &p->name); break;
        case SPACING:
            ok = chain_number(optarg, 1, 600000, &n);
            p->spacing_ms = (uint32_t)n;
            break;
        case RETARGET:
            ok = chain_number(optarg, 4, 1024, &n);
            p->retarget_blocks = (uint32_t)n;
            break;
        case START_BITS: ok = compact(optarg, &p->start_bits); break;
        case BLOCK_BYTES:
            ok = chain_number(optarg, CHAIN_BLOCK_MIN_BYTES, CHAIN_BLOCK_MAX_BYTES, &n);
            p->block_max_bytes = (uint32_t)n;
            break;
        case RATE: ok = chain_number(optarg, 0, 1000000, &o->rate); break;
        case BUNDLE: ok = chain_number(optarg, 1, CHAIN_BUNDLE_MAX, &o->bundle); break;
        case VALUE_BYTES: ok = chain_number(optarg, 8, 4096, &o->value_bytes); break;
        case CONFIRMATIONS: ok = chain_number(optarg, 1, 1000, &o->confirmations); break;
        case LOAD_SECONDS: ok = chain_number(optarg, 1, 1u << 30, &o->load_seconds); break;
        case AFTER_BLOCKS: ok = chain_number(optarg, 0, 1000000, &o->after_blocks); break;
        case JSON: o->json = optarg; break;
        case QUIET: o->quiet = true; break;
        case HELP: fputs(help, stdout); return 0;
        default: return chain_usage("mine has no such option, or its value is missing");
        }
        if (!ok) return chain_bad_number(name_of(option), optarg);
    }
    if (optind < argc) return chain_usage("mine takes options only");
    const char *wrong = chain_params_check(p);
    if (wrong != NULL) return chain_usage(wrong);
    if (o->bundle * (o->value_bytes + 64) + 256 > p->block_max_bytes)
        return chain_usage("a request of this --bundle and --value-bytes fits into no block");
    return -1;
}

static void say_block(void *context, const struct chain_block *b)
{
    (void)context;
    char hex[17];
    pbft_hex_encode(b->link.key.bytes + 24, 8, hex);
    printf("block %llu ...%s of miner %llx: %u requests, %zu bytes\n",
           (unsigned long long)b->height, hex, (unsigned long long)b->header.miner, b->op_count,
           b->size);
}

static void say_undone(void *context, const struct chain_block *b)
{
    (void)context;
    printf("block %llu is abandoned: %u requests are undone\n", (unsigned long long)b->height,
           b->op_count);
}

static double percentile_ms(const struct histogram *h, double percent)
{
    return (double)histogram_percentile(h, percent) / 1e6;
}

static json_t *dropped_json(const struct chain_node *n)
{
    json_t *o = json_object();
    for (unsigned v = 1; v < CHAIN_VERDICT_COUNT; v++)
        if (n->stats.dropped[v] > 0)
            json_object_set_new(o, chain_verdict_text((enum chain_verdict)v),
                                json_integer((json_int_t)n->stats.dropped[v]));
    return o;
}

static json_t *to_json(const struct options *o, struct chain_station *s, const struct chain_load *l,
                       double seconds, double cpu_s)
{
    char tip[65];
    const struct chain_tree *t = &s->node.tree;
    pbft_hex_encode(t->tip->link.key.bytes, sizeof t->tip->link.key.bytes, tip);
    double load_s =
        l->last_final_ns > l->started_ns ? (double)(l->last_final_ns - l->started_ns) / 1e9 : 0;
    uint64_t ops = l->final * o->bundle;
    return json_pack(
        "{s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:f,s:f,s:I,s:I,s:o}",
        "height", (json_int_t)t->tip->height, "tip", tip, "mined", (json_int_t)s->node.stats.mined,
        "submitted", (json_int_t)l->submitted, "refused", (json_int_t)l->refused, "confirmed",
        (json_int_t)l->once, "final", (json_int_t)l->final, "reversed", (json_int_t)l->reversed,
        "ops", (json_int_t)ops, "ops_per_s", load_s > 0 ? (double)ops / load_s : 0.0, "p50_ms",
        percentile_ms(&l->first_latency, 50), "p99_ms", percentile_ms(&l->first_latency, 99),
        "final_p50_ms", percentile_ms(&l->final_latency, 50), "final_p99_ms",
        percentile_ms(&l->final_latency, 99), "confirmations", (json_int_t)l->confirmations,
        "hashes", (json_int_t)(s->miner == NULL ? 0 : chain_miner_hashes(s->miner)), "cpu_s", cpu_s,
        "seconds", seconds, "reorganisations", (json_int_t)t->stats.reorganisations, "deepest",
        (json_int_t)t->stats.reorganised_deepest, "dropped", dropped_json(&s->node));
}

/* Until --seconds, --blocks or a signal. */
static void run(const struct options *o, struct chain_station *s, struct chain_load *l)
{
    uint64_t begun = chain_load_clock_ns(), end = begun + o->seconds * 1000000000u;
    bool loaded = false;
    while (!stopping) {
        uint64_t now = chain_load_clock_ns();
        if (o->seconds != 0 && now >= end) return;
        if (o->blocks != 0 && s->node.tree.tip->height >= o->blocks) return;
        if (!loaded && o->rate > 0 && s->node.tree.tip->height >= o->after_blocks) {
            uint64_t rest = o->seconds == 0 ? 1u << 30 : (end - now) / 1000000000u;
            chain_load_start(l, (double)(o->load_seconds == 0 ? rest : o->load_seconds));
            loaded = true;
        }
        if (loaded) chain_load_step(l, s);
        chain_station_poll(s, loaded ? 5 : 50);
    }
}

int chain_mine(int argc, char **argv)
{
    struct options o = {.bundle = 1, .value_bytes = 100, .confirmations = 6};
    o.station.params = chain_params_default();
    o.station.peers = o.peers;
    int code = parse(argc, argv, &o);
    if (code >= 0) return code;
    randombytes_buf(&o.station.miner, sizeof o.station.miner);
    if (!o.quiet) {
        o.station.connected = say_block;
        o.station.disconnected = say_undone;
    }
    static struct chain_station station;
    static struct chain_load load;
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    load.client = chain_client_seeded(seed);
    load.client.bundle = (uint32_t)o.bundle;
    load.client.value_bytes = (uint32_t)o.value_bytes;
    load.requests_per_s = (double)o.rate;
    load.confirmations = (uint32_t)o.confirmations;
    char error[256];
    enum pbft_status status = chain_station_open(&station, &o.station, error);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-chain: %s\n", error);
        return status == PBFT_STATUS_NETWORK ? 3 : 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (o.station.listen != NULL)
        printf("ready on port %u\n", (unsigned)chain_gossip_port(station.gossip));
    double begun = (double)chain_load_clock_ns(), cpu = chain_cpu_s();
    run(&o, &station, &load);
    double seconds = ((double)chain_load_clock_ns() - begun) / 1e9;
    code = 0;
    if (o.json != NULL &&
        !chain_write_json(o.json, to_json(&o, &station, &load, seconds, chain_cpu_s() - cpu)))
        code = 1;
    if (o.out != NULL && chain_file_write(o.out, &station.node.tree, error) != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-chain: %s\n", error);
        code = 1;
    }
    chain_station_close(&station);
    chain_load_free(&load);
    return code;
}
