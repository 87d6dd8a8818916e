/* replica/config.c - reading INI files: lines are checked first, then handed to inih one by one, so
 * that every complaint has its line number. */
#include "replica/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool config_problem(struct config_parse *p, const char *format, ...)
{
    if (p->bad_line != 0) return false; /* the first one counts */
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(p->problem, sizeof p->problem, format, arguments);
    va_end(arguments);
    p->bad_line = p->line > 0 ? p->line : 1;
    return false;
}

/* ---- values ---- */

bool config_number(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0') return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool number_with_unit(const char *text, const struct unit *units, uint64_t *out)
{
    char digits[24];
    size_t count = strspn(text, "0123456789");
    if (count == 0 || count >= sizeof digits) return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    text += count;
    text += strspn(text, " ");
    uint64_t value;
    if (!config_number(digits, &value)) return false;
    for (; units->name != NULL; units++) {
        if (strcmp(units->name, text) != 0) continue;
        if (value > UINT64_MAX / units->factor) return false;
        *out = value * units->factor;
        return true;
    }
    return false;
}

bool pbft_config_duration(const char *text, uint64_t *out_ns)
{
    static const struct unit units[] = {
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", 1000000000},
        {"m", UINT64_C(60000000000)},
        {"h", UINT64_C(3600000000000)},
        {"d", UINT64_C(86400000000000)},
        {NULL, 0},
    };
    return number_with_unit(text, units, out_ns);
}

static bool bytes_value(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {NULL, 0},
    };
    return number_with_unit(text, units, out);
}

/* scheme://host:port; IPv6 hosts stand in brackets. */
static bool url_valid(const char *url, const char *scheme)
{
    size_t prefix = strlen(scheme);
    size_t size = strlen(url);
    if (size >= PBFT_CONFIG_URL_MAX || strncmp(url, scheme, prefix) != 0) return false;
    const char *host = url + prefix;
    const char *colon = strrchr(host, ':');
    uint64_t port;
    if (colon == NULL || colon == host || !config_number(colon + 1, &port) || port > 65535)
        return false;
    size_t host_size = (size_t)(colon - host);
    if (host[0] == '[') return host_size > 2 && colon[-1] == ']';
    return strcspn(host, " \t/@[]:") == host_size;
}

static bool store_text(struct config_parse *p, const struct config_field *field, char *to,
                       size_t capacity, const char *value)
{
    size_t size = strlen(value);
    if (size == 0) return config_problem(p, "%s is empty", field->name);
    if (size >= capacity)
        return config_problem(p, "%s is longer than %zu bytes", field->name, capacity - 1);
    memcpy(to, value, size + 1);
    return true;
}

static bool store_path(struct config_parse *p, const struct config_field *field, char *to,
                       const char *value)
{
    if (value[0] == '/') return store_text(p, field, to, PBFT_CONFIG_PATH_MAX, value);
    if (value[0] == '\0') return config_problem(p, "%s is empty", field->name);
    const char *slash = strrchr(p->path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - p->path + 1);
    int size = snprintf(to, PBFT_CONFIG_PATH_MAX, "%.*s%s", folder, p->path, value);
    if (size < 0 || (size_t)size >= PBFT_CONFIG_PATH_MAX)
        return config_problem(p, "the path in %s is too long", field->name);
    return true;
}

static bool store_url(struct config_parse *p, const struct config_field *field, char *to,
                      const char *value)
{
    const char *scheme = field->kind == CONFIG_TCP ? "tcp://" : "http://";
    if (field->kind == CONFIG_HTTP && strcmp(value, "none") == 0) {
        to[0] = '\0';
        return true;
    }
    if (!url_valid(value, scheme))
        return config_problem(p, "%s must be %shost:port", field->name, scheme);
    return store_text(p, field, to, PBFT_CONFIG_URL_MAX, value);
}

static bool store_choice(struct config_parse *p, const struct config_field *field, void *to,
                         const char *value)
{
    char list[96] = "";
    for (int i = 0; field->choices[i] != NULL; i++) {
        if (strcmp(field->choices[i], value) == 0) {
            memcpy(to, &i, sizeof i);
            return true;
        }
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ",
                       field->choices[i]);
    }
    return config_problem(p, "%s must be one of: %s", field->name, list);
}

static bool store_number(struct config_parse *p, const struct config_field *field, void *to,
                         const char *value)
{
    uint64_t number = 0;
    bool ok = false;
    if (field->kind == CONFIG_DURATION) {
        ok = pbft_config_duration(value, &number);
        if (!ok) return config_problem(p, "%s must be a time like 500ms, 2s or 1h", field->name);
    } else if (field->kind == CONFIG_U32 || field->kind == CONFIG_U64) {
        ok = config_number(value, &number);
        if (!ok && field->word != NULL && strcmp(value, field->word) == 0) {
            memset(to, 0, sizeof(uint32_t));
            return true;
        }
    } else {
        ok = bytes_value(value, &number);
    }
    if (!ok) return config_problem(p, "%s must be a whole number", field->name);
    if (field->kind == CONFIG_DURATION && (number < field->min || number > field->max))
        return config_problem(p, "%s is outside its range", field->name);
    if (number < field->min || number > field->max)
        return config_problem(p, "%s is outside %llu .. %llu", field->name,
                              (unsigned long long)field->min, (unsigned long long)field->max);
    uint32_t narrow = (uint32_t)number;
    if (field->kind == CONFIG_U32 || field->kind == CONFIG_BYTES32)
        memcpy(to, &narrow, sizeof narrow);
    else
        memcpy(to, &number, sizeof number);
    return true;
}

bool config_store(struct config_parse *p, const struct config_field *field, const char *value)
{
    char *to = (char *)p->target + field->offset;
    switch (field->kind) {
    case CONFIG_U32:
    case CONFIG_U64:
    case CONFIG_BYTES:
    case CONFIG_BYTES32:
    case CONFIG_DURATION: return store_number(p, field, to, value);
    case CONFIG_TEXT: return store_text(p, field, to, (size_t)field->max, value);
    case CONFIG_PATH: return store_path(p, field, to, value);
    case CONFIG_TCP:
    case CONFIG_HTTP: return store_url(p, field, to, value);
    case CONFIG_CHOICE: return store_choice(p, field, to, value);
    }
    return false;
}

/* ---- lines ---- */

static bool section_exists(const struct config_parse *p, const char *section)
{
    for (size_t i = 0; i < p->field_count; i++)
        if (strcmp(p->fields[i].section, section) == 0) return true;
    return p->section_known != NULL && p->section_known(section);
}

/* inih says nothing about a section without keys, and cuts a long name. */
static void check_section(struct config_parse *p, const char *line, size_t size)
{
    char name[PBFT_CONFIG_LINE_MAX + 1];
    const char *end = memchr(line, ']', size);
    if (end == NULL) return; /* inih complains */
    size_t length = (size_t)(end - line) - 1;
    memcpy(name, line + 1, length);
    name[length] = '\0';
    if (!section_exists(p, name)) (void)config_problem(p, "unknown section [%.60s]", name);
}

/* fgets for inih: hands out the next line and counts it. */
static char *next_line(char *out, int capacity, void *context)
{
    struct config_parse *p = context;
    if (p->at == p->size || p->bad_line != 0) return NULL;
    const char *start = p->text + p->at;
    const char *end = memchr(start, '\n', p->size - p->at);
    size_t size = end == NULL ? p->size - p->at : (size_t)(end - start);
    p->at += size + (end == NULL ? 0 : 1);
    p->line++;
    PBFT_ASSERT(size <= PBFT_CONFIG_LINE_MAX && (size_t)capacity > size + 1); /* checked before */
    memcpy(out, start, size);
    out[size] = '\n';
    out[size + 1] = '\0';
    size_t blank = strspn(out, " \t");
    if (out[blank] == '[') check_section(p, out + blank, size - blank);
    return p->bad_line != 0 ? NULL : out;
}

static int on_key(void *context, const char *section, const char *name, const char *value)
{
    struct config_parse *p = context;
    if (p->bad_line != 0) return 0;
    if (value == NULL) value = "";
    for (size_t i = 0; i < p->field_count; i++) {
        const struct config_field *field = &p->fields[i];
        if (strcmp(field->section, section) != 0 || strcmp(field->name, name) != 0) continue;
        if ((p->seen >> i & 1) != 0) return config_problem(p, "%s is given twice", name);
        p->seen |= UINT64_C(1) << i;
        p->lines[i] = p->line;
        return config_store(p, field, value);
    }
    if (p->other != NULL && p->section_known(section)) return p->other(p, section, name, value);
    if (section[0] == '\0') return config_problem(p, "key %.60s stands before any section", name);
    return config_problem(p, "unknown key %.60s in section [%.40s]", name, section);
}

/* Before inih sees any of it. Also NUL bytes, which would hide the rest of a line. */
static bool lines_fit(struct config_parse *p)
{
    size_t at = 0;
    for (p->line = 1; at < p->size; p->line++) {
        const char *start = p->text + at;
        const char *end = memchr(start, '\n', p->size - at);
        size_t size = end == NULL ? p->size - at : (size_t)(end - start);
        if (size > PBFT_CONFIG_LINE_MAX)
            return config_problem(p, "line is longer than %u bytes", PBFT_CONFIG_LINE_MAX);
        if (memchr(start, '\0', size) != NULL) return config_problem(p, "line has a zero byte");
        at += size + (end == NULL ? 0 : 1);
    }
    p->line = 0;
    return true;
}

static void parse(struct config_parse *p)
{
    PBFT_ASSERT(p->field_count <= 64);
    if (!lines_fit(p)) return;
    int first = ini_parse_stream(next_line, p, on_key, p);
    if (p->bad_line != 0) return;
    if (first != 0) {
        p->line = first;
        (void)config_problem(p, "not a section, a comment or key = value");
        return;
    }
    for (size_t i = 0; i < p->field_count; i++) {
        if (!p->fields[i].required || (p->seen >> i & 1) != 0) continue;
        (void)config_problem(p, "%s is missing from section [%s]", p->fields[i].name,
                             p->fields[i].section);
        return;
    }
}

/* ---- files ---- */

static enum pbft_status slurp(const char *path, char **text, size_t *size, char error[256])
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        int saved = errno;
        (void)snprintf(error, 256, "cannot open %.150s: %s", path, strerror(saved));
        if (saved == ENOENT) return PBFT_STATUS_NOT_FOUND;
        return saved == EACCES ? PBFT_STATUS_PERMISSION : PBFT_STATUS_IO;
    }
    struct stat info;
    enum pbft_status status = PBFT_STATUS_OK;
    *text = NULL;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0 ||
        (uint64_t)info.st_size > PBFT_CONFIG_FILE_MAX) {
        (void)snprintf(error, 256, "%.150s is not a file of at most 16 MiB", path);
        status = PBFT_STATUS_CONFIG;
    } else if ((*text = malloc((size_t)info.st_size + 1)) == NULL) {
        (void)snprintf(error, 256, "out of memory for %.150s", path);
        status = PBFT_STATUS_MEMORY;
    } else {
        *size = fread(*text, 1, (size_t)info.st_size, file);
        if (ferror(file)) {
            (void)snprintf(error, 256, "cannot read %.150s", path);
            status = PBFT_STATUS_IO;
        }
    }
    (void)fclose(file);
    if (status != PBFT_STATUS_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

enum pbft_status config_read(struct config_parse *p, char error[256])
{
    char *text;
    error[0] = '\0';
    enum pbft_status status = slurp(p->path, &text, &p->size, error);
    if (status != PBFT_STATUS_OK) return status;
    p->text = text;
    parse(p);
    p->text = NULL;
    free(text);
    if (p->bad_line == 0) return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "%.120s:%d: %.120s", p->path, p->bad_line, p->problem);
    return PBFT_STATUS_CONFIG;
}
