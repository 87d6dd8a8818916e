/* Opening a data directory: every way in which votes may have been forgotten makes a replica mute.
 */
#include "replica/data.h"

#include "store/log_file.h"
#include "store/pages_verify.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES      (PBFT_CONFIG_PATH_MAX + 32u)
#define SEGMENT_BYTES   (8u << 20)
#define SEGMENTS        512u
#define LOG_SLACK_BYTES (UINT64_C(64) << 20)
#define PAGES_BYTES_MAX (UINT64_C(1) << 40) /* of address space; the file grows as it is filled */
/* What every reason ends with; takes the replica's id. */
#define RETURN_HINT                                                                                \
    "It follows and serves pages, does not vote, and counts against f until `pbftctl replica "     \
    "replace %u` gives it a new key."
/* Nothing is lost: there is a program that can read it. */
#define LATER_HINT                                                                                 \
    "run that version. Until then it follows and serves pages, does not vote, and counts against " \
    "f; nothing on the disk is changed."

static void log_reported(void *context, enum pbft_status status, pbft_lsn durable)
{
    (void)context, (void)status, (void)durable; /* the node reads the log's stats */
}

/* What a log in memory may take: all live records are frames of the pool, and a cut writes them
 * anew before the old ones go (store/log.h). */
static uint64_t memory_bytes(const struct pbft_data_config *config)
{
    return 4 * config->frames_max_bytes + LOG_SLACK_BYTES;
}

/* One on disk grows until a checkpoint is flushed, and a record wants room twice. What a cut
 * carries over must find it when three quarters are taken (node_log_stuck()): it is less than 5/8
 * of the pool, so 16 times the pool are enough. */
static uint32_t segment_bytes(const struct pbft_data_config *config)
{
    uint64_t bytes = config->frames_max_bytes / (SEGMENTS / 16);
    if (bytes < SEGMENT_BYTES) return SEGMENT_BYTES;
    return bytes < PBFT_LOG_SEGMENT_MAX ? (uint32_t)bytes / 4096 * 4096 : PBFT_LOG_SEGMENT_MAX;
}

static struct pbft_log_file_config log_config(struct pbft_disk *disk,
                                              const struct pbft_superblock_owner *owner, bool sync,
                                              uint32_t segment, uint32_t segments)
{
    struct pbft_log_file_config config = {
        .disk = disk,
        .owner = *owner,
        .sync = sync,
        .segment_bytes = segment,
        .bytes_max = (uint64_t)segment * segments,
        .durable = log_reported,
    };
    randombytes_buf(config.entropy, sizeof config.entropy);
    return config;
}

enum pbft_status pbft_data_create(const char *dir, const struct pbft_superblock_owner *owner)
{
    struct pbft_disk *disk;
    enum pbft_status status = pbft_disk_posix_open(&disk, dir);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_log_file_config config =
        log_config(disk, owner, true, SEGMENT_BYTES, PBFT_LOG_SEGMENTS_MIN);
    status = pbft_log_file_create(&config);
    pbft_disk_free(disk);
    return status == PBFT_STATUS_OK ? pbft_superblock_create(dir, owner) : status;
}

/* ---- the state of a restored cluster ---- */

static enum pbft_status open_lmdb(struct pbft_pages **out, const char *dir,
                                  const struct pbft_superblock_owner *owner, bool read_only,
                                  const _Atomic bool *cancel, char *error)
{
    struct pbft_pages_lmdb_config config = {.dir = dir,
                                            .owner = *owner,
                                            .bytes_max = PAGES_BYTES_MAX,
                                            .read_only = read_only,
                                            .cancel = cancel};
    return pbft_pages_lmdb_open(out, &config, error);
}

/* The superblock last: without it nobody starts on what was not finished. */
enum pbft_status pbft_data_create_with(const char *dir, const struct pbft_superblock_owner *owner,
                                       const struct pbft_cluster *cluster,
                                       struct pbft_snapshot *snapshot, char *error)
{
    struct pbft_pages *pages = NULL;
    error[0] = '\0';
    enum pbft_status status = open_lmdb(&pages, dir, owner, false, NULL, error);
    if (status != PBFT_STATUS_OK) return status;
    struct pbft_pages_checkpoint *cp = calloc(1, sizeof *cp);
    status = PBFT_STATUS_MEMORY;
    if (cp != NULL) {
        cp->seq = cluster->genesis_seq;
        cp->root = cluster->genesis_root; /* no certificate: the cluster id is one */
        status = pbft_pages_flush(pages, snapshot, cp);
    }
    free(cp);
    pbft_pages_close(pages);
    if (status == PBFT_STATUS_OK) status = pbft_data_create(dir, owner);
    if (status != PBFT_STATUS_OK && error[0] == '\0')
        (void)snprintf(error, PBFT_PAGES_ERROR_BYTES, "%s", pbft_status_text(status));
    return status;
}

enum pbft_status pbft_data_check_genesis(const char *dir, const struct pbft_superblock_owner *owner,
                                         const struct pbft_cluster *cluster, char why[256])
{
    struct pbft_pages *pages = NULL;
    char error[PBFT_PAGES_ERROR_BYTES] = "";
    struct pbft_pages_checkpoint *cp = calloc(1, sizeof *cp);
    enum pbft_status status =
        cp == NULL ? PBFT_STATUS_MEMORY : open_lmdb(&pages, dir, owner, true, NULL, error);
    if (status == PBFT_STATUS_OK) status = pbft_pages_checkpoint(pages, cp);
    pbft_pages_close(pages);
    bool same = status == PBFT_STATUS_OK && cp->seq == cluster->genesis_seq &&
                pbft_digest_equal(&cp->root, &cluster->genesis_root);
    if (status != PBFT_STATUS_OK)
        (void)snprintf(why, 256, "%s", error[0] != '\0' ? error : pbft_status_text(status));
    else if (!same)
        (void)snprintf(why, 256, "checkpoint %llu that is there is another one",
                       (unsigned long long)cp->seq);
    free(cp);
    return status != PBFT_STATUS_OK ? status : same ? PBFT_STATUS_OK : PBFT_STATUS_CORRUPT;
}

/* ---- mute ---- */

static enum pbft_status open_memory(struct pbft_data *data, const struct pbft_data_config *config)
{
    enum pbft_status status =
        pbft_log_memory_create(&data->log, memory_bytes(config), log_reported, NULL);
    if (status == PBFT_STATUS_OK) pbft_log_memory_forget(data->log);
    return status;
}

__attribute__((format(printf, 2, 3))) static void mute(struct pbft_data *data, const char *format,
                                                       ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(data->why, sizeof data->why, format, arguments);
    va_end(arguments);
    data->mute = true;
}

/* ---- the files ---- */

static void mute_by_log(struct pbft_data *data, const struct pbft_data_config *config,
                        const struct pbft_log_file_report *report)
{
    if (report->found == PBFT_LOG_FUTURE)
        mute(data, "the vote log was written by a newer version of pbft (%.150s): " LATER_HINT,
             report->text);
    else
        mute(data, "the vote log is not to be trusted: %.190s. " RETURN_HINT, report->text,
             (unsigned)config->owner.replica);
}

static enum pbft_status open_log(struct pbft_data *data, const struct pbft_data_config *config,
                                 char error[256])
{
    bool sync = config->durability == PBFT_DURABILITY_SYNC;
    enum pbft_status status = pbft_disk_posix_open(&data->disk, config->dir);
    if (status != PBFT_STATUS_OK) {
        (void)snprintf(error, 256, "%.150s: %s", config->dir, pbft_status_text(status));
        return status;
    }
    struct pbft_log_file_config file =
        log_config(data->disk, &config->owner, sync, segment_bytes(config), SEGMENTS);
    file.cancel = config->cancel;
    struct pbft_log_file_report report;
    status = pbft_log_file_open(&data->log, &file, &report);
    if (status == PBFT_STATUS_OK) {
        data->resumed = report.found != PBFT_LOG_FRESH;
        return status;
    }
    data->log = NULL;
    if (status == PBFT_STATUS_NOT_FOUND || status == PBFT_STATUS_CORRUPT) {
        mute_by_log(data, config, &report);
        return PBFT_STATUS_OK;
    }
    if (status == PBFT_STATUS_IO)
        (void)snprintf(error, 256,
                       "%.60s/log-*: %s: mend the disk or copy the folder to another one, and "
                       "start it again; what cannot be read is lost, and then `pbftctl replica "
                       "replace %u` gives it a new key",
                       config->dir, pbft_status_text(status), (unsigned)config->owner.replica);
    else
        (void)snprintf(error, 256, "%.150s/log-*: %s", config->dir, pbft_status_text(status));
    return status;
}

static void pages_path(const struct pbft_data_config *config, const char *end, char out[PATH_BYTES])
{
    (void)snprintf(out, PATH_BYTES, "%s/pages.mdb%s", config->dir, end);
}

/* Votes are not in it, and the others have the state: kept for whoever wants to know why. But under
 * a log that was never written to, it alone could tell whether that is the one that was used: it
 * stays where it is, and every start is mute. */
static bool set_aside(struct pbft_data *data, const struct pbft_data_config *config,
                      const char *why)
{
    if (!data->resumed && pbft_superblock_starts(config->superblock) > 0) {
        mute(data,
             "the vote log is empty, and the pages, which could tell whether it was replaced, are "
             "lost (%.100s). " RETURN_HINT,
             why, (unsigned)config->owner.replica);
        return false;
    }
    char from[PATH_BYTES], to[PATH_BYTES];
    pages_path(config, "", from);
    pages_path(config, ".damaged", to);
    /* One that was made since holds less, if anything: it does not take the place of the other. */
    struct stat now, before;
    bool less = lstat(to, &before) == 0 && (lstat(from, &now) != 0 || now.st_size < before.st_size);
    if ((less ? unlink(from) : rename(from, to)) != 0) return false;
    (void)snprintf(data->aside, sizeof data->aside, "%s", why);
    data->taken_back = false;
    return true;
}

/* A disk may be out of reach for a moment, and those of all replicas together: then nobody has the
 * state but the files that were set aside. As long as nothing was fetched instead, one that can be
 * read again is as good as it was. It is believed no more than any other. */
static bool take_back(struct pbft_data *data, const struct pbft_data_config *config)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    pages_path(config, ".damaged", from);
    pages_path(config, "", to);
    if (!data->resumed || data->aside[0] != '\0') return false;
    if (pbft_pages_read_through(from, config->cancel) != 0 || rename(from, to) != 0) return false;
    pbft_pages_close(data->pages);
    data->pages = NULL;
    data->taken_back = true;
    return true;
}

/* What the disk does not give back is as lost as what is damaged. Only EIO is that: a trouble of
 * another kind may pass, and then what is there is better than what has to be fetched. */
static bool read_error(const struct pbft_data_config *config)
{
    char path[PATH_BYTES];
    pages_path(config, "", path);
    return pbft_pages_read_through(path, config->cancel) == EIO;
}

static enum pbft_status open_own(struct pbft_pages **out, const struct pbft_data_config *config,
                                 bool read_only, char *error)
{
    return open_lmdb(out, config->dir, &config->owner, read_only, config->cancel, error);
}

static enum pbft_status open_pages(struct pbft_data *data, const struct pbft_data_config *config,
                                   char error[256])
{
    /* First: LMDB maps it. If it cannot be moved either, opening it says so. */
    if (read_error(config)) (void)set_aside(data, config, "pages.mdb cannot be read");
    if (data->mute) return PBFT_STATUS_OK;
    enum pbft_status status = open_own(&data->pages, config, false, error);
    if (status == PBFT_STATUS_CORRUPT && set_aside(data, config, error))
        status = open_own(&data->pages, config, false, error);
    if (data->mute) return PBFT_STATUS_OK;
    if (status == PBFT_STATUS_LATER) {
        mute(data, "%.190s: " LATER_HINT, error);
        return PBFT_STATUS_OK;
    }
    if (status != PBFT_STATUS_OK) {
        data->pages = NULL;
        return status;
    }
    struct pbft_pages_checkpoint *cp = calloc(1, sizeof *cp);
    if (cp == NULL) return PBFT_STATUS_MEMORY;
    status = pbft_pages_checkpoint(data->pages, cp);
    if (status == PBFT_STATUS_CORRUPT && /* nothing of it is believed */
        set_aside(data, config, "the checkpoint in pages.mdb is damaged")) {
        pbft_pages_close(data->pages);
        data->pages = NULL;
        status = open_own(&data->pages, config, false, error);
        free(cp);
        return status;
    }
    if (status == PBFT_STATUS_OK && cp->seq == 0 && take_back(data, config)) {
        free(cp);
        return open_pages(data, config, error); /* once: it is there no more */
    }
    /* A log that was never written to, under a state that was: it is not the one that was used. */
    if (status == PBFT_STATUS_OK && cp->seq > config->genesis_seq && !data->resumed)
        mute(data,
             "the vote log is empty, but checkpoint %llu is on the disk: the log was "
             "replaced. " RETURN_HINT,
             (unsigned long long)cp->seq, (unsigned)config->owner.replica);
    free(cp);
    return PBFT_STATUS_OK; /* a damaged checkpoint is found again, and fetched, by the restart */
}

static bool forgotten(struct pbft_data *data, const struct pbft_data_config *config)
{
    uint64_t starts = pbft_superblock_starts(config->superblock);
    uint64_t forgot = pbft_superblock_forgot(config->superblock);
    unsigned id = config->owner.replica;
    if (config->durability != PBFT_DURABILITY_SYNC && starts > 0)
        mute(data, "it was started before, and durability %s keeps no votes. " RETURN_HINT "%s",
             pbft_durability_text(config->durability), id,
             forgot > 0 ? "" : " Or start it with --durability sync: the log still has its votes.");
    else if (forgot > 0)
        mute(data,
             "it voted before with durability memory or async, and has forgotten it, or was shown "
             "a vote that its log did not hold. " RETURN_HINT,
             id);
    return data->mute;
}

enum pbft_status pbft_data_open(struct pbft_data *out, const struct pbft_data_config *config,
                                char error[256])
{
    *out = (struct pbft_data){0};
    enum pbft_status status = PBFT_STATUS_OK;
    bool files = config->durability != PBFT_DURABILITY_MEMORY;
    if (!forgotten(out, config) && files) status = open_log(out, config, error);
    if (status == PBFT_STATUS_OK && !out->mute && config->durability == PBFT_DURABILITY_SYNC)
        status = open_pages(out, config, error);
    else if (status == PBFT_STATUS_OK && !out->mute && config->restored)
        status = open_own(&out->genesis, config, true, error);
    if (status == PBFT_STATUS_OK && out->mute) status = pbft_data_refuse(out, config);
    if (status == PBFT_STATUS_OK && out->log == NULL) status = open_memory(out, config);
    if (status == PBFT_STATUS_MEMORY) (void)snprintf(error, 256, "out of memory");
    if (status != PBFT_STATUS_OK) pbft_data_close(out);
    return status;
}

static void close_files(struct pbft_data *data)
{
    pbft_pages_close(data->genesis);
    pbft_pages_close(data->pages);
    pbft_log_close(data->log);
    pbft_disk_free(data->disk);
    data->genesis = NULL;
    data->pages = NULL;
    data->log = NULL;
    data->disk = NULL;
}

enum pbft_status pbft_data_refuse(struct pbft_data *data, const struct pbft_data_config *config)
{
    if (!data->mute)
        mute(data, "the records of the vote log are not those of one correct replica. " RETURN_HINT,
             (unsigned)config->owner.replica);
    close_files(data);
    data->resumed = false;
    return open_memory(data, config);
}

void pbft_data_close(struct pbft_data *data)
{
    close_files(data);
    *data = (struct pbft_data){0};
}
