/**
 * replica/logline.h - the operator's log: one line an event.
 *
 *   logfmt  ts=2026-11-20T09:30:01.123456Z level=info event=new_view replica=0 view=3 primary=3
 *   JSON    {"ts":"2026-11-20T09:30:01.123456Z","level":"info","event":"new_view","replica":0,...}
 *
 * Event names are stable: scripts rely on them. Details are given as key=value pairs, values with
 * blanks in double quotes. Lines are limited by rate for each event name, so that no peer can fill
 * a disk; what was left out is counted, and the next line of that name says how many.
 */
#ifndef PBFT_REPLICA_LOGLINE_H
#define PBFT_REPLICA_LOGLINE_H

#include "pbft/types.h"

#define PBFT_LOGLINE_BYTES 1024u /* longest line, with its newline */

enum pbft_log_level { PBFT_LOG_DEBUG, PBFT_LOG_INFO, PBFT_LOG_WARN, PBFT_LOG_ERROR };
enum pbft_log_format { PBFT_LOG_LOGFMT, PBFT_LOG_JSON };

/* "debug", "info", "warn", "error". */
const char *pbft_log_level_text(enum pbft_log_level level);
bool pbft_log_level_parse(const char *text, enum pbft_log_level *out);

/**
 * Write one line with its newline into `out` (PBFT_LOGLINE_BYTES). Pure.
 *
 * wall_ns  since the epoch, UTC
 * common   pairs that every line carries ("replica=0"), may be ""
 * pairs    the event's own; anything at all is allowed: control bytes and what is not UTF-8 are
 *          escaped or replaced, a missing closing quote is supplied, a word without '=' goes under
 *          "msg"
 * Returns the length. What does not fit is cut off between two pairs.
 */
size_t pbft_logline_format(char *out, enum pbft_log_format format, uint64_t wall_ns,
                           enum pbft_log_level level, const char *event, const char *common,
                           const char *pairs);

/* ---- rates ---- */

#define PBFT_LOGRATE_EVENTS 64u /* names told apart; later ones share one place */

/* Tokens for each event name. Zeroed before first use. Pure. */
struct pbft_lograte {
    struct {
        char name[32];
        uint64_t at_ns; /* when `milli` was right */
        uint64_t milli; /* thousandths of a line */
        uint64_t suppressed;
    } events[PBFT_LOGRATE_EVENTS];
    size_t count;
    uint64_t suppressed; /* of all names, ever */
};

/**
 * May a line of this event be written at now_ns? `burst` lines at once, then `per_second`.
 * suppressed  how many were refused since the last one that was allowed
 */
bool pbft_lograte_allow(struct pbft_lograte *rate, const char *event, uint64_t now_ns,
                        uint32_t burst, uint32_t per_second, uint64_t *suppressed);

/* ---- the logger ---- */

struct pbft_logger; /* opaque; any thread may write */

/* path   NULL: standard error; else appended to, created with mode 0640
 * NULL and one sentence in `error` when it cannot be opened. */
struct pbft_logger *pbft_logger_new(const char *path, enum pbft_log_level level,
                                    enum pbft_log_format format, const char *common,
                                    char error[256]);
void pbft_logger_free(struct pbft_logger *logger);
void pbft_logger_level(struct pbft_logger *logger, enum pbft_log_level level);
/* Close and open the file again, after it was moved away. False: the old one stays in use. */
bool pbft_logger_reopen(struct pbft_logger *logger);
/* Errors are not limited by rate. */
__attribute__((format(printf, 4, 5))) void pbft_logger_write(struct pbft_logger *logger,
                                                             enum pbft_log_level level,
                                                             const char *event, const char *format,
                                                             ...);
uint64_t pbft_logger_suppressed(struct pbft_logger *logger);

#endif
