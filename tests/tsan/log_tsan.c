/*
 * The vote log on a real folder: its owner appends, syncs, polls and cuts, while another thread
 * commits: for ThreadSanitizer. Ends with 0 when all records are durable, and there after a
 * restart. An argument: the folder to work in.
 */
#include "store/log_file.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORDS   20000u
#define CUT_EVERY 2000u
#define AHEAD     64u

struct world {
    struct pbft_log *log;
    pbft_lsn durable;
    atomic_bool end;
};

static void report(void *context, enum pbft_status status, pbft_lsn durable)
{
    struct world *w = context;
    PBFT_ASSERT(status == PBFT_STATUS_OK && durable >= w->durable);
    w->durable = durable;
}

static void *committer(void *argument)
{
    struct world *w = argument;
    while (!atomic_load(&w->end)) {
        pbft_log_commit(w->log);
        (void)sched_yield();
    }
    return NULL;
}

static void append(struct world *w, pbft_lsn lsn)
{
    uint8_t payload[256];
    memset(payload, (int)(lsn % 251), sizeof payload);
    struct pbft_span part = {payload, sizeof payload};
    PBFT_ASSERT(pbft_log_append(w->log, 1, lsn, &part, 1) == PBFT_STATUS_OK);
}

static void pour(struct world *w)
{
    pbft_lsn lsn = 0, carry = 0;
    while (w->durable < RECORDS) {
        if (lsn < RECORDS && lsn - w->durable < AHEAD) {
            if ((lsn + 1) % CUT_EVERY == 0) {
                pbft_log_roll(w->log);
                carry = lsn + 1;
            }
            append(w, ++lsn);
        }
        PBFT_ASSERT(pbft_log_sync(w->log) == PBFT_STATUS_OK);
        if (!pbft_log_poll(w->log) || carry == 0 || w->durable < carry) continue;
        PBFT_ASSERT(pbft_log_cut(w->log, carry, carry) == PBFT_STATUS_OK);
        carry = 0;
    }
}

static bool remove_name(void *context, const char *name)
{
    struct pbft_disk *disk = context;
    if (name[0] != '.') (void)disk->ops->unlink(disk, name);
    return true;
}

int main(int argc, char **argv)
{
    char name[] = "/tmp/pbft-log-tsan-XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(name);
    struct pbft_disk *disk;
    PBFT_ASSERT(dir != NULL && pbft_disk_posix_open(&disk, dir) == PBFT_STATUS_OK);
    struct world w = {0};
    struct pbft_log_file_config config = {.disk = disk,
                                          .sync = true,
                                          .segment_bytes = 256u << 10,
                                          .bytes_max = 16u << 20,
                                          .durable = report,
                                          .context = &w};
    struct pbft_log_file_report found;
    PBFT_ASSERT(pbft_log_file_create(&config) == PBFT_STATUS_OK);
    PBFT_ASSERT(pbft_log_file_open(&w.log, &config, &found) == PBFT_STATUS_OK);
    pthread_t thread;
    PBFT_ASSERT(pthread_create(&thread, NULL, committer, &w) == 0);
    pour(&w);
    atomic_store(&w.end, true);
    PBFT_ASSERT(pthread_join(thread, NULL) == 0);
    struct pbft_log_stats stats;
    pbft_log_stats(w.log, &stats);
    pbft_log_close(w.log);
    PBFT_ASSERT(pbft_log_file_check(&config, &found) == PBFT_STATUS_OK);
    PBFT_ASSERT(found.found == PBFT_LOG_INTACT && found.last == RECORDS);
    PBFT_ASSERT(disk->ops->list(disk, remove_name, disk) == PBFT_STATUS_OK);
    pbft_disk_free(disk);
    if (argc <= 1) (void)rmdir(dir);
    (void)printf("log: %u records durable in %llu commits\n", RECORDS,
                 (unsigned long long)stats.commits);
    return 0;
}
