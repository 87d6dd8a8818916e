/* The vote log's interface: checks common to all implementations, then theirs. */
#include "store/log.h"

enum pbft_status pbft_log_append(struct pbft_log *log, uint32_t kind, pbft_lsn lsn,
                                 const struct pbft_span *parts, size_t count)
{
    size_t room = PBFT_LOG_RECORD_MAX;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > room) return PBFT_STATUS_ARGUMENT;
        room -= parts[i].size;
    }
    return log->ops->append(log, kind, lsn, parts, count);
}

enum pbft_status pbft_log_sync(struct pbft_log *log)
{
    return log->ops->sync(log);
}

void pbft_log_commit(struct pbft_log *log)
{
    if (log->ops->commit != NULL) log->ops->commit(log);
}

bool pbft_log_poll(struct pbft_log *log)
{
    return log->ops->poll(log);
}

bool pbft_log_iterate(const struct pbft_log *log, pbft_log_visit_fn *visit, void *context)
{
    return log->ops->iterate(log, visit, context);
}

enum pbft_status pbft_log_cut(struct pbft_log *log, pbft_lsn first, pbft_lsn last)
{
    if (first > last) return PBFT_STATUS_ARGUMENT;
    return log->ops->cut(log, first, last);
}

void pbft_log_roll(struct pbft_log *log)
{
    if (log->ops->roll != NULL) log->ops->roll(log);
}

void pbft_log_stats(const struct pbft_log *log, struct pbft_log_stats *out)
{
    log->ops->stats(log, out);
}

bool pbft_log_blocks(const struct pbft_log *log)
{
    return log->ops->commit != NULL;
}

const char *pbft_log_name(const struct pbft_log *log)
{
    return log->ops->name;
}

void pbft_log_close(struct pbft_log *log)
{
    if (log != NULL) log->ops->close(log);
}
