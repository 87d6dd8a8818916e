/* Lines of the operator's log: logfmt or JSON, limited by rate, one write() each. */
#include "replica/logline.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BURST      20u /* lines of one event at once */
#define PER_SECOND 5u
#define PAIRS_MAX  512u
#define HOUR_MS    UINT64_C(3600000)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

const char *pbft_log_level_text(enum pbft_log_level level)
{
    return level_names[level];
}

bool pbft_log_level_parse(const char *text, enum pbft_log_level *out)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(level_names[i], text) != 0) continue;
        *out = (enum pbft_log_level)i;
        return true;
    }
    return false;
}

/* ---- one line ---- */

struct line {
    char *out;
    size_t size;
    size_t limit; /* leaves room for what closes the line */
    bool full;
};

static void put(struct line *l, const char *bytes, size_t size)
{
    if (l->full || size > l->limit - l->size) {
        l->full = true;
        return;
    }
    memcpy(l->out + l->size, bytes, size);
    l->size += size;
}

static void put_text(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* Length of the UTF-8 sequence at `s`, 0 if it is none (overlong forms and surrogates are none). */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* A quoted string whose escapes both JSON and logfmt readers know. */
static void put_quoted(struct line *l, const char *text, size_t size)
{
    put(l, "\"", 1);
    for (size_t i = 0; i < size;) {
        const unsigned char *s = (const unsigned char *)text + i;
        size_t n = utf8_length(s, size - i);
        if (n == 0) {
            put_text(l, "\xef\xbf\xbd"); /* replacement character */
            n = 1;
        } else if (*s == '"' || *s == '\\') {
            put(l, "\\", 1);
            put(l, text + i, 1);
        } else if (*s < 0x20 || *s == 0x7f) {
            char escape[8];
            (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*s);
            put_text(l, escape);
        } else {
            put(l, text + i, n);
        }
        i += n;
    }
    put(l, "\"", 1);
}

static bool is_number(const char *text, size_t size)
{
    size_t digits = size > 0 && text[0] == '-' ? 1 : 0;
    if (digits == size || size - digits > 15) return false; /* JSON readers keep 53 bits */
    if (text[digits] == '0' && size - digits > 1) return false;
    for (size_t i = digits; i < size; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}

static bool is_plain(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] > '~' || text[i] == '"' ||
            text[i] == '\\' || text[i] == '=')
            return false;
    return size > 0;
}

static void put_pair(struct line *l, enum pbft_log_format format, const char *key, size_t key_size,
                     const char *value, size_t value_size)
{
    size_t before = l->size;
    bool word = (value_size == 4 && memcmp(value, "true", 4) == 0) ||
                (value_size == 5 && memcmp(value, "false", 5) == 0);
    if (format == PBFT_LOG_JSON) {
        put_text(l, ",");
        put_quoted(l, key, key_size);
        put_text(l, ":");
        if (word || is_number(value, value_size))
            put(l, value, value_size);
        else
            put_quoted(l, value, value_size);
    } else {
        put_text(l, " ");
        put(l, key, key_size);
        put_text(l, "=");
        if (is_plain(value, value_size))
            put(l, value, value_size);
        else
            put_quoted(l, value, value_size);
    }
    if (l->full) l->size = before; /* whole pairs only */
}

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

/* The value that begins at `p`: up to a blank, or to the closing quote with escapes undone. */
static const char *take_value(const char *p, char *value, size_t *size)
{
    *size = 0;
    bool quoted = *p == '"';
    if (quoted) p++;
    while (*p != '\0' && (quoted ? *p != '"' : *p != ' ')) {
        if (quoted && *p == '\\' && p[1] != '\0') p++;
        value[(*size)++] = *p++;
    }
    return quoted && *p == '"' ? p + 1 : p;
}

static void put_pairs(struct line *l, enum pbft_log_format format, const char *pairs)
{
    char value[PAIRS_MAX];
    size_t left = strlen(pairs);
    char copy[PAIRS_MAX];
    if (left >= sizeof copy) left = sizeof copy - 1;
    memcpy(copy, pairs, left);
    copy[left] = '\0';
    for (const char *p = copy; *p != '\0';) {
        if (*p == ' ') {
            p++;
            continue;
        }
        const char *key = p;
        while (key_char(*p))
            p++;
        size_t key_size = (size_t)(p - key), value_size;
        if (key_size > 0 && *p == '=') {
            p = take_value(p + 1, value, &value_size);
            put_pair(l, format, key, key_size, value, value_size);
        } else {
            size_t word = strcspn(key, " ");
            put_pair(l, format, "msg", 3, key, word);
            p = key + word;
        }
    }
}

static void format_time(char out[40], uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL) memset(&tm, 0, sizeof tm);
    size_t size = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + size, 40 - size, ".%06uZ", (unsigned)(wall_ns % 1000000000u / 1000u));
}

size_t pbft_logline_format(char *out, enum pbft_log_format format, uint64_t wall_ns,
                           enum pbft_log_level level, const char *event, const char *common,
                           const char *pairs)
{
    char stamp[40];
    format_time(stamp, wall_ns);
    struct line l = {.out = out, .limit = PBFT_LOGLINE_BYTES - 3};
    if (format == PBFT_LOG_JSON) {
        put_text(&l, "{\"ts\":");
        put_quoted(&l, stamp, strlen(stamp));
    } else {
        put_text(&l, "ts=");
        put_text(&l, stamp);
    }
    put_pair(&l, format, "level", 5, level_names[level], strlen(level_names[level]));
    put_pair(&l, format, "event", 5, event, strlen(event));
    put_pairs(&l, format, common);
    put_pairs(&l, format, pairs);
    if (format == PBFT_LOG_JSON) l.out[l.size++] = '}';
    l.out[l.size++] = '\n';
    l.out[l.size] = '\0';
    return l.size;
}

/* ---- rates ---- */

bool pbft_lograte_allow(struct pbft_lograte *rate, const char *event, uint64_t now_ns,
                        uint32_t burst, uint32_t per_second, uint64_t *suppressed)
{
    size_t at = 0;
    while (at < rate->count &&
           strncmp(rate->events[at].name, event, sizeof rate->events[at].name - 1) != 0)
        at++;
    if (at == PBFT_LOGRATE_EVENTS) at--; /* more names than places: the last one is shared */
    uint64_t full = (uint64_t)burst * 1000u;
    if (at == rate->count) {
        rate->count++;
        (void)snprintf(rate->events[at].name, sizeof rate->events[at].name, "%s", event);
        rate->events[at].milli = full;
        rate->events[at].at_ns = now_ns;
    }
    uint64_t elapsed_ms = 0;
    if (now_ns > rate->events[at].at_ns) elapsed_ms = (now_ns - rate->events[at].at_ns) / 1000000u;
    rate->events[at].at_ns += elapsed_ms * 1000000u;
    if (elapsed_ms > HOUR_MS) elapsed_ms = HOUR_MS; /* keeps the product small */
    uint64_t milli = rate->events[at].milli + elapsed_ms * per_second;
    rate->events[at].milli = milli < full ? milli : full;
    if (rate->events[at].milli < 1000u) {
        rate->events[at].suppressed++;
        rate->suppressed++;
        return false;
    }
    rate->events[at].milli -= 1000u;
    *suppressed = rate->events[at].suppressed;
    rate->events[at].suppressed = 0;
    return true;
}

/* ---- the logger ---- */

struct pbft_logger {
    pthread_mutex_t mutex;
    int fd;
    char *path; /* NULL: standard error */
    enum pbft_log_level level;
    enum pbft_log_format format;
    char common[128];
    struct pbft_lograte rate;
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

struct pbft_logger *pbft_logger_new(const char *path, enum pbft_log_level level,
                                    enum pbft_log_format format, const char *common,
                                    char error[256])
{
    struct pbft_logger *logger = calloc(1, sizeof *logger);
    if (logger == NULL) {
        (void)snprintf(error, 256, "out of memory");
        return NULL;
    }
    logger->fd = STDERR_FILENO;
    if (path != NULL) {
        size_t size = strlen(path) + 1;
        logger->path = malloc(size);
        if (logger->path != NULL) memcpy(logger->path, path, size);
        logger->fd = logger->path == NULL ? -1 : open_file(path);
        if (logger->fd < 0) {
            (void)snprintf(error, 256, "cannot open the log file %.180s", path);
            free(logger->path);
            free(logger);
            return NULL;
        }
    }
    logger->level = level;
    logger->format = format;
    (void)snprintf(logger->common, sizeof logger->common, "%s", common);
    pthread_mutex_init(&logger->mutex, NULL);
    return logger;
}

void pbft_logger_free(struct pbft_logger *logger)
{
    if (logger == NULL) return;
    if (logger->path != NULL) (void)close(logger->fd);
    pthread_mutex_destroy(&logger->mutex);
    free(logger->path);
    free(logger);
}

void pbft_logger_level(struct pbft_logger *logger, enum pbft_log_level level)
{
    pthread_mutex_lock(&logger->mutex);
    logger->level = level;
    pthread_mutex_unlock(&logger->mutex);
}

bool pbft_logger_reopen(struct pbft_logger *logger)
{
    if (logger->path == NULL) return true;
    int fd = open_file(logger->path);
    if (fd < 0) return false;
    pthread_mutex_lock(&logger->mutex);
    int old = logger->fd;
    logger->fd = fd;
    pthread_mutex_unlock(&logger->mutex);
    (void)close(old);
    return true;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void pbft_logger_write(struct pbft_logger *logger, enum pbft_log_level level, const char *event,
                       const char *format, ...)
{
    char pairs[PAIRS_MAX];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(pairs, sizeof pairs, format, arguments);
    va_end(arguments);
    if (written < 0) pairs[0] = '\0';
    pthread_mutex_lock(&logger->mutex);
    uint64_t suppressed = 0;
    bool allowed = level >= logger->level;
    if (allowed && level < PBFT_LOG_ERROR)
        allowed = pbft_lograte_allow(&logger->rate, event, clock_ns(CLOCK_MONOTONIC), BURST,
                                     PER_SECOND, &suppressed);
    if (allowed) {
        char common[sizeof logger->common + 32];
        int used = snprintf(common, sizeof common, "%s", logger->common);
        if (suppressed > 0 && used >= 0)
            (void)snprintf(common + used, sizeof common - (size_t)used, " suppressed=%llu",
                           (unsigned long long)suppressed);
        char line[PBFT_LOGLINE_BYTES];
        size_t size = pbft_logline_format(line, logger->format, clock_ns(CLOCK_REALTIME), level,
                                          event, common, pairs);
        ssize_t sent = write(logger->fd, line, size); /* nobody is left to tell if this fails */
        (void)sent;
    }
    pthread_mutex_unlock(&logger->mutex);
}

uint64_t pbft_logger_suppressed(struct pbft_logger *logger)
{
    pthread_mutex_lock(&logger->mutex);
    uint64_t suppressed = logger->rate.suppressed;
    pthread_mutex_unlock(&logger->mutex);
    return suppressed;
}
