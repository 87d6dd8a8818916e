/* Rows of what lies at a replica's ends: the channel that a frame is sealed for, and the vote log
 * on a disk in memory. */
#include "bench/regression/regression.h"

#include "crypto/channel.h"
#include "replica/config.h"
#include "store/log_file.h"
#include "tests/sim/vdisk.h"

#include <string.h>

#define N            4u
#define FRAMES       1000u
#define FRAME_BYTES  1024u
#define GROUPS       200u
#define GROUP        32u /* records of one commit */
#define RECORD_BYTES 200u

static void shake_hands(struct pbft_channel *a, struct pbft_channel *b)
{
    uint8_t bytes[2][PBFT_HANDSHAKE_MAX_BYTES];
    size_t size = pbft_channel_hello(a, bytes[0]), answer;
    enum pbft_channel_step step;
    struct pbft_channel *to = b;
    unsigned in = 0;
    do {
        step = pbft_channel_step(to, (struct pbft_span){bytes[in], size}, bytes[1 - in], &answer);
        must(step != PBFT_CHANNEL_FAIL, "a handshake between two replicas fails");
        to = to == b ? a : b;
        in = 1 - in;
        size = answer;
    } while (size > 0);
}

static void channel(void)
{
    static uint8_t plain[FRAME_BYTES], opened[FRAME_BYTES];
    static uint8_t sealed[FRAMES][FRAME_BYTES + PBFT_CHANNEL_OVERHEAD];
    struct pbft_cluster cluster;
    struct pbft_keypair keys[N + 1];
    cluster_make(&cluster, N, 1, keys);
    struct pbft_channel *a = pbft_channel_new(&cluster, &keys[0], true, &keys[1].public, 0);
    struct pbft_channel *b = pbft_channel_new(&cluster, &keys[1], false, NULL, PBFT_PEER_REPLICA);
    must(a != NULL && b != NULL, "out of memory");
    shake_hands(a, b);
    count_begin();
    for (size_t i = 0; i < FRAMES; i++)
        pbft_channel_seal(a, (struct pbft_span){plain, sizeof plain}, sealed[i]);
    count_end("channel-seal", FRAMES);
    count_begin();
    for (size_t i = 0; i < FRAMES; i++)
        must(pbft_channel_open_record(b, (struct pbft_span){sealed[i], sizeof sealed[i]}, opened),
             "a sealed record does not open");
    count_end("channel-open", FRAMES);
    pbft_channel_free(a);
    pbft_channel_free(b);
    cluster_free(&cluster);
}

static void reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    must(status == PBFT_STATUS_OK, "a commit of the vote log fails");
    *(pbft_lsn *)context = durable;
}

static void vote_log(void)
{
    pbft_lsn durable = 0, lsn = 0;
    struct vdisk *disk = vdisk_new();
    must(disk != NULL, "out of memory");
    struct pbft_log_file_config config = {.disk = &disk->base,
                                          .sync = true,
                                          .segment_bytes = 1u << 20,
                                          .bytes_max = 16u << 20,
                                          .durable = reported,
                                          .context = &durable};
    struct pbft_log *log;
    struct pbft_log_file_report report;
    must(pbft_log_file_create(&config) == PBFT_STATUS_OK &&
             pbft_log_file_open(&log, &config, &report) == PBFT_STATUS_OK,
         "the vote log can not be made");
    uint8_t record[RECORD_BYTES];
    memset(record, 'r', sizeof record);
    struct pbft_span parts[] = {{record, 8}, {record + 8, sizeof record - 8}};
    count_begin();
    for (unsigned group = 0; group < GROUPS; group++) {
        for (unsigned i = 0; i < GROUP; i++)
            must(pbft_log_append(log, 1, ++lsn, parts, 2) == PBFT_STATUS_OK,
                 "the vote log takes no record");
        must(pbft_log_sync(log) == PBFT_STATUS_OK, "the vote log takes no sync");
        pbft_log_commit(log);
        while (pbft_log_poll(log))
            ;
    }
    count_end("log-append", (uint64_t)GROUPS * GROUP);
    must(durable == lsn, "the vote log is not durable after its commits");
    pbft_log_close(log);
    pbft_disk_free(&disk->base);
}

void rows_connection(void)
{
    channel();
    vote_log();
}
