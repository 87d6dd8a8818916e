/* pbft-hostile: a client whom genesis lists and who breaks the rules, at a given rate. For
 * measurements and tests of what the others notice of it; never installed. */
#include "client/client_files.h"
#include "crypto/door.h"
#include "crypto/keys.h"
#include "net/net.h"
#include "replica/config.h"
#include "replica/pool.h"
#include "service/kv.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POOL_BYTES    (UINT64_C(64) << 20)
#define OP_BYTES      128u
#define GARBAGE_BYTES 256u
#define EVENTS        64u
#define TICK_NS       UINT64_C(1000000)
#define NS            UINT64_C(1000000000)

static const char help[] =
    "Usage: pbft-hostile --cluster DIR --kind KIND [options]\n"
    "A client of the cluster that breaks the rules.\n"
    "\n"
    "  --cluster DIR  the cluster's folder, or the folder or client.conf of one client\n"
    "  --kind KIND    forge     requests whose signature does not verify\n"
    "                 conflict  one request number, another operation for every replica\n"
    "                 replay    one good request, again and again\n"
    "                 garbage   bytes that are no message\n"
    "                 flood     good requests of one operation, without waiting for an answer\n"
    "  --rate R       frames a second to each replica [500]\n"
    "  --seconds S    how long [10]\n"
    "\n"
    "Example: pbft-hostile --cluster d/client-1 --kind forge --seconds 5\n"
    "Prints how many frames were sent and how often replicas closed the connection.\n"
    "Exit codes: 0 it acted, 1 it had no chance to, 2 usage and files, 3 no quorum.\n";

enum kind { FORGE, CONFLICT, REPLAY, GARBAGE, FLOOD, KINDS };
static const char *const kind_names[KINDS] = {"forge", "conflict", "replay", "garbage", "flood"};

struct enemy {
    struct pbft_client_config own;
    struct pbft_cluster_config config;
    struct pbft_keypair keypair;
    struct pbft_pool *pool;
    struct pbft_net *net;
    enum kind kind;
    uint64_t session, t;
    struct pbft_frame *last; /* REPLAY */
    uint64_t up, ups, downs, sent;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* ---- what is sent ---- */

/* NULL: out of memory. `variant` makes operations differ. */
static struct pbft_frame *make_request(struct enemy *e, uint64_t t, unsigned variant)
{
    uint8_t ops[OP_BYTES];
    char key[32];
    int size = snprintf(key, sizeof key, "hostile-%u", variant);
    struct pbft_span text = {(const uint8_t *)key, (size_t)size};
    size_t op = pbft_kv_encode_put(ops + 4, sizeof ops - 4, text, text);
    pbft_put_u32(ops, (uint32_t)op);
    struct pbft_msg msg = {.type = PBFT_REQUEST, .epoch = e->config.cluster.epoch};
    msg.request.client = e->keypair.public;
    msg.request.session = e->session;
    msg.request.t = t;
    msg.request.op_count = 1;
    msg.request.ops = (struct pbft_span){ops, 4 + op};
    size_t bytes = pbft_wire_size(&msg);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(e->pool), (uint32_t)bytes);
    if (frame == NULL) return NULL;
    frame->size = (uint32_t)pbft_wire_encode(&msg, frame->bytes, bytes);
    pbft_frame_sign(&e->config.cluster, &pbft_signer_ed25519, &e->keypair.secret, frame->bytes,
                    frame->size);
    return frame;
}

static struct pbft_frame *make_garbage(struct enemy *e)
{
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(e->pool), GARBAGE_BYTES);
    if (frame == NULL) return NULL;
    frame->size = GARBAGE_BYTES;
    for (uint64_t i = 0; i < GARBAGE_BYTES; i++)
        frame->bytes[i] = (uint8_t)(e->t * 131u + i);
    frame->bytes[0] = PBFT_REQUEST;
    return frame;
}

static struct pbft_frame *make(struct enemy *e, unsigned replica)
{
    struct pbft_frame *frame = NULL;
    switch (e->kind) {
    case FORGE:
        frame = make_request(e, e->t, 0);
        if (frame != NULL) frame->bytes[pbft_wire_signature_offset(pbft_frame_span(frame))] ^= 1u;
        return frame;
    case CONFLICT: return make_request(e, e->t, replica);
    case REPLAY:
        if (e->last == NULL) e->last = make_request(e, 1, 0);
        return e->last == NULL ? NULL : pbft_frame_retain(e->last);
    case GARBAGE: return make_garbage(e);
    case FLOOD: return make_request(e, e->t, 0);
    case KINDS: break;
    }
    return frame;
}

/* One frame to each replica; the same one where that is the point. */
static bool act(struct enemy *e)
{
    struct pbft_frame *frame = NULL;
    e->t++;
    for (pbft_id id = 0; id < e->config.cluster.params.n; id++) {
        if (frame == NULL || e->kind == CONFLICT) {
            if (frame != NULL) pbft_frame_release(frame);
            frame = make(e, id);
            if (frame == NULL) return false;
        }
        struct pbft_peer to = {.kind = PBFT_PEER_REPLICA, .index = id};
        if (pbft_net_send(e->net, &to, frame)) e->sent++;
    }
    pbft_frame_release(frame);
    return true;
}

/* ---- the run ---- */

static void look(struct enemy *e, uint64_t wait_ns)
{
    struct pbft_net_event events[EVENTS];
    size_t count = pbft_net_poll(e->net, wait_ns, events, EVENTS);
    for (size_t i = 0; i < count; i++) {
        if (events[i].kind == PBFT_NET_UP) e->up++, e->ups++;
        if (events[i].kind == PBFT_NET_DOWN) e->up--, e->downs++;
        if (events[i].frame != NULL) pbft_frame_release(events[i].frame);
    }
}

static int run(struct enemy *e, uint64_t rate, uint64_t seconds)
{
    uint64_t n = e->config.cluster.params.n, begun = now_ns();
    while (e->up < n - (n - 1) / 3 && now_ns() - begun < 10 * NS)
        look(e, 10 * TICK_NS);
    if (e->up < n - (n - 1) / 3) {
        (void)fprintf(stderr, "pbft-hostile: no quorum of replicas answers: is the cluster up?\n");
        return 3;
    }
    uint64_t acts = 0;
    begun = now_ns();
    for (uint64_t now = begun; now - begun < seconds * NS; now = now_ns()) {
        uint64_t due = (now - begun) / 1000u * rate / 1000000u;
        for (; acts < due; acts++)
            if (!act(e)) break;
        look(e, TICK_NS);
    }
    (void)printf("%llu frames sent, %llu connections closed by replicas\n",
                 (unsigned long long)e->sent, (unsigned long long)e->downs);
    return e->sent > 0 ? 0 : 1;
}

static enum pbft_status open_enemy(struct enemy *e, const char *path, char error[256])
{
    struct pbft_client_files files;
    const char *addresses[PBFT_REPLICAS_MAX];
    enum pbft_status status = pbft_client_files(path, &files, error);
    if (status == PBFT_STATUS_OK) status = pbft_client_config_load(&e->own, files.config, error);
    if (status == PBFT_STATUS_OK)
        status = pbft_cluster_config_load(&e->config, e->own.cluster, error);
    if (status == PBFT_STATUS_OK) status = pbft_keypair_load(&e->keypair, e->own.key, error);
    if (status != PBFT_STATUS_OK) return status;
    for (pbft_id id = 0; id < e->config.cluster.params.n; id++)
        addresses[id] = e->config.addresses[id].client;
    e->pool = pbft_pool_new(POOL_BYTES);
    (void)snprintf(error, 256, "out of memory");
    if (e->pool == NULL) return PBFT_STATUS_MEMORY;
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    e->session = (uint64_t)wall.tv_sec * NS + (uint64_t)wall.tv_nsec;
    struct pbft_net_config config = {.cluster = &e->config.cluster,
                                     .self = &e->keypair,
                                     .pool = pbft_pool_frames(e->pool),
                                     .addresses = addresses};
    return pbft_net_open(&e->net, &config, error);
}

static void close_enemy(struct enemy *e)
{
    if (e->net != NULL) pbft_net_close(e->net);
    if (e->last != NULL) pbft_frame_release(e->last);
    if (e->pool != NULL) pbft_pool_free(e->pool);
    pbft_keypair_wipe(&e->keypair);
    pbft_cluster_config_free(&e->config);
}

static int usage(const char *text)
{
    (void)fprintf(stderr, "pbft-hostile: %s; see pbft-hostile --help\n", text);
    return 2;
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && *out >= 1 && *out <= max;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cluster", required_argument, NULL, 'c'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static struct enemy enemy;
    const char *cluster = getenv("PBFT_CLUSTER");
    uint64_t rate = 500, seconds = 10;
    enemy.kind = KINDS;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'c': cluster = optarg; break;
        case 'k':
            for (enemy.kind = FORGE; enemy.kind < KINDS; enemy.kind++)
                if (strcmp(optarg, kind_names[enemy.kind]) == 0) break;
            break;
        case 'r':
            if (!number(optarg, 100000, &rate)) return usage("--rate is 1 to 100000");
            break;
        case 's':
            if (!number(optarg, 86400, &seconds)) return usage("--seconds is 1 to 86400");
            break;
        case 'h': (void)fputs(help, stdout); return 0;
        default: return usage("there is no such option, or its value is missing");
        }
    }
    if (optind < argc) return usage("it takes options only");
    if (cluster == NULL) return usage("--cluster DIR or PBFT_CLUSTER says which cluster");
    if (enemy.kind == KINDS) return usage("--kind is forge, conflict, replay, garbage or flood");
    char error[256] = "the cryptographic self-test failed";
    enum pbft_status status = pbft_crypto_init();
    if (status == PBFT_STATUS_OK) status = open_enemy(&enemy, cluster, error);
    int code = 2;
    if (status == PBFT_STATUS_OK)
        code = run(&enemy, rate, seconds);
    else
        (void)fprintf(stderr, "pbft-hostile: %s\n", error);
    close_enemy(&enemy);
    return code;
}
