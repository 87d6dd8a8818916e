#include "bench/chain/demo_real.h"

#include "bench/chain/client.h"
#include "bench/chain/file.h"
#include "bench/chain/station.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINERS     4u
#define LONER      3u /* who is cut off */
#define HASHES     20000u
#define SPACING_MS 500u
#define START_BITS 0x1f01ffff /* 32 768 hashes: what the four find in 410 ms */
#define OPERATE_MS 50u
#define PATIENCE   60000u /* ms: a machine that is this busy shows nothing */

struct demo {
    struct chain_station stations[MINERS];
    unsigned open;
    bool quiet;
    struct chain_client clients[2]; /* one at the majority, one at the loner */
    uint64_t operated_ms;
    bool spend_twice;
    uint64_t twice; /* requests signed for both sides */
    uint64_t undone_blocks, undone_requests;
    bool healing;
};

static void say(const struct demo *d, const char *text)
{
    if (!d->quiet) puts(text);
}

static void on_undone(void *context, const struct chain_block *block)
{
    struct demo *d = context;
    if (!d->healing) return;
    d->undone_blocks++;
    d->undone_requests += block->op_count;
}

/* Each dials those before it, so that a cut has one owner. */
static enum pbft_status open_all(struct demo *d, char error[256])
{
    static char urls[MINERS][64];
    const char *peers[MINERS];
    struct chain_params p = chain_params_default();
    p.spacing_ms = SPACING_MS;
    p.retarget_blocks = 16;
    p.start_bits = START_BITS;
    randombytes_buf(&p.name, sizeof p.name);
    for (unsigned i = 0; i < MINERS; i++) {
        struct chain_station_config c = {.params = p,
                                         .miner = i + 1,
                                         .hashes_per_s = HASHES,
                                         .listen = "tcp://127.0.0.1:0",
                                         .peers = peers,
                                         .peer_count = i,
                                         .context = d,
                                         .disconnected = i == LONER ? on_undone : NULL};
        enum pbft_status status = chain_station_open(&d->stations[i], &c, error);
        if (status != PBFT_STATUS_OK) return status;
        d->open = i + 1;
        (void)snprintf(urls[i], sizeof urls[i], "tcp://127.0.0.1:%u",
                       (unsigned)chain_gossip_port(d->stations[i].gossip));
        peers[i] = urls[i];
    }
    return PBFT_STATUS_OK;
}

static void operate(struct demo *d)
{
    uint8_t frame[CHAIN_REQUEST_BYTES];
    uint64_t now = chain_clock_ms();
    if (now < d->operated_ms + OPERATE_MS) return;
    d->operated_ms = now;
    struct chain_node *sides[2] = {&d->stations[0].node, &d->stations[LONER].node};
    for (unsigned i = 0; i < 2; i++) {
        size_t size = chain_client_next(&d->clients[i], &sides[i]->tree.id, frame);
        (void)chain_node_submit(sides[i], (struct pbft_span){frame, size});
    }
    if (!d->spend_twice) return;
    size_t size = chain_client_again(&d->clients[1], &sides[0]->tree.id, frame);
    (void)chain_node_submit(sides[0], (struct pbft_span){frame, size});
    d->twice++;
}

static void turn(struct demo *d)
{
    operate(d);
    for (unsigned i = 0; i < MINERS; i++)
        chain_station_poll(&d->stations[i], i == 0 ? 2 : 0);
}

static const struct chain_block *tip(const struct demo *d, unsigned i)
{
    return d->stations[i].node.tree.tip;
}

static bool agree(const struct demo *d)
{
    for (unsigned i = 1; i < MINERS; i++)
        if (!pbft_digest_equal(&tip(d, i)->link.key, &tip(d, 0)->link.key)) return false;
    return true;
}

/* Until it holds; false: not within the patience. */
static bool until(struct demo *d, bool (*holds)(const struct demo *d, uint64_t value),
                  uint64_t value)
{
    uint64_t end = chain_clock_ms() + PATIENCE;
    while (!holds(d, value)) {
        if (chain_clock_ms() > end) return false;
        turn(d);
    }
    return true;
}

static bool all_reached(const struct demo *d, uint64_t height)
{
    for (unsigned i = 0; i < MINERS; i++)
        if (tip(d, i)->height < height) return false;
    return agree(d);
}

static bool passed(const struct demo *d, uint64_t ms)
{
    (void)d;
    return chain_clock_ms() >= ms;
}

/* The loner has blocks to lose, and loses them. */
static bool loner_behind(const struct demo *d, uint64_t fork)
{
    const struct chain_block *own = tip(d, LONER), *best = tip(d, 0);
    return own->height >= fork + 2 && chain_u256_compare(&best->parent->work, &own->work) > 0 &&
           best->height > own->height;
}

static bool agreed(const struct demo *d, uint64_t unused)
{
    (void)unused;
    return agree(d);
}

static void cut(struct demo *d, bool allowed)
{
    for (uint32_t i = 0; i < LONER; i++)
        chain_gossip_dialling(d->stations[LONER].gossip, i, allowed);
}

/* The chain is written and verified, and so is a copy with one bit changed. */
static bool check_file(const struct demo *d)
{
    char path[] = "/tmp/pbft-chain-XXXXXX", error[256] = "";
    struct chain_file_report report;
    int fd = mkstemp(path);
    if (fd < 0) return false;
    (void)close(fd);
    const struct chain_tree *tree = &d->stations[0].node.tree;
    bool right = chain_file_write(path, tree, error) == PBFT_STATUS_OK &&
                 chain_file_verify(path, chain_clock_ms(), &report, error) == PBFT_STATUS_OK &&
                 report.blocks == tree->tip->height;
    if (right && !d->quiet)
        printf("  The chain of %llu blocks and %llu requests was written to a file and verified.\n",
               (unsigned long long)report.blocks, (unsigned long long)report.operations);
    FILE *file = fopen(path, "r+b");
    if (file != NULL) {
        uint8_t byte = 0;
        right = right && fseek(file, -1, SEEK_END) == 0 && fread(&byte, 1, 1, file) == 1;
        byte ^= 1u;
        right = right && fseek(file, -1, SEEK_END) == 0 && fwrite(&byte, 1, 1, file) == 1;
        (void)fclose(file);
    }
    right = right && file != NULL &&
            chain_file_verify(path, chain_clock_ms(), &report, error) != PBFT_STATUS_OK;
    if (right && !d->quiet) printf("  With one bit changed: %s.\n", error);
    (void)unlink(path);
    return right;
}

static bool play(struct demo *d, uint64_t cut_seconds, json_t *all)
{
    if (!until(d, all_reached, 4)) return false;
    uint64_t fork = tip(d, 0)->height;
    if (!d->quiet)
        printf("Four miners, connected through loopback, agree on block %llu. Miner %u is cut "
               "off.\n",
               (unsigned long long)fork, LONER + 1);
    cut(d, false);
    d->spend_twice = true;
    if (!until(d, passed, chain_clock_ms() + cut_seconds * 1000) || !until(d, loner_behind, fork))
        return false;
    d->spend_twice = false;
    uint64_t own = tip(d, LONER)->height - fork, others = tip(d, 0)->height - fork;
    if (!d->quiet)
        printf("  Apart, it found %llu blocks and the other three %llu: two histories, and clients "
               "see both.\n",
               (unsigned long long)own, (unsigned long long)others);
    d->healing = true;
    uint64_t healed = chain_clock_ms();
    cut(d, true);
    if (!until(d, agreed, 0)) return false;
    uint64_t agreed_ms = chain_clock_ms() - healed;
    const struct chain_node *loner = &d->stations[LONER].node;
    if (!d->quiet)
        printf("  Healed: after %llu ms all agree. Miner %u abandoned %llu blocks; %llu requests "
               "that it had confirmed were undone, %llu of them went back to its pool.\n",
               (unsigned long long)agreed_ms, LONER + 1, (unsigned long long)d->undone_blocks,
               (unsigned long long)d->undone_requests, (unsigned long long)loner->stats.returned);
    d->healing = false;
    if (!until(d, all_reached, tip(d, 0)->height + 2)) return false;
    struct pbft_digest states[2];
    chain_state_digest(&d->stations[0].node.tree.state, &states[0]);
    chain_state_digest(&loner->tree.state, &states[1]);
    json_object_set_new(all, "real",
                        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "miners", (json_int_t)MINERS,
                                  "spacing_ms", (json_int_t)SPACING_MS, "minority_blocks",
                                  (json_int_t)own, "majority_blocks", (json_int_t)others,
                                  "undone_blocks", (json_int_t)d->undone_blocks, "undone_requests",
                                  (json_int_t)d->undone_requests, "signed_twice",
                                  (json_int_t)d->twice, "agreed_ms", (json_int_t)agreed_ms));
    return d->undone_blocks >= own && pbft_digest_equal(&states[0], &states[1]);
}

int chain_demo_real(uint64_t cut_seconds, bool quiet, json_t *all)
{
    static struct demo d;
    char error[256];
    memset(&d, 0, sizeof d);
    d.quiet = quiet;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t seed;
        randombytes_buf(&seed, sizeof seed);
        d.clients[i] = chain_client_seeded(seed);
    }
    enum pbft_status status = open_all(&d, error);
    bool right = status == PBFT_STATUS_OK && play(&d, cut_seconds, all) && check_file(&d);
    if (right) say(&d, "");
    for (unsigned i = 0; i < d.open; i++)
        chain_station_close(&d.stations[i]);
    if (status != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-chain: %s\n", error);
        return status == PBFT_STATUS_NETWORK ? 3 : 1;
    }
    if (!right)
        fprintf(stderr, "pbft-chain: the four miners did not do what they must within a minute: "
                        "is the machine busy?\n");
    return right ? 0 : 1;
}
