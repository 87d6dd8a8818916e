/*
 * A fault injector for system calls, to be preloaded (LD_PRELOAD) into a real program: chosen calls
 * on chosen files fail, are cut short or take long.
 *
 *     PBFT_INJECT      rules, separated by ';'; each is words: CALLS PATH FAULT [OPTION]...
 *                      CALLS   joined by '+': sync (fsync, fdatasync, msync), write (write, pwrite,
 *                              writev, pwritev), read (read, pread), truncate (ftruncate), allocate
 *                              (fallocate, posix_fallocate), link (of the new name)
 *                      PATH    part of the file's path, or * for any
 *                      FAULT   EIO, ENOSPC, EPERM, short (half is written), delay=MS
 *                      OPTION  after=N (so many calls pass first), times=N (then no more),
 *                              when=FILE (only while FILE exists)
 *     PBFT_INJECT_LOG  takes a line for each call that a rule is about, while it is in force:
 *                      "fault CALL PATH" or "passed CALL PATH"
 *
 * The first rule that is about a call decides. What cannot be understood ends the program at once.
 */
#define _GNU_SOURCE /* RTLD_NEXT, pwritev, fallocate */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX  8u
#define PATH_BYTES 512u

enum {
    CALL_SYNC = 1,
    CALL_WRITE = 2,
    CALL_TRUNCATE = 4,
    CALL_ALLOCATE = 8,
    CALL_LINK = 16,
    CALL_READ = 32
};
enum fault { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_DELAY };

struct rule {
    unsigned calls;
    char path[PATH_BYTES];
    enum fault fault;
    int error;
    unsigned long delay_ms, after, times; /* times 0: without end */
    char when[PATH_BYTES];
    unsigned long seen, done;
};

static struct rule rules[RULES_MAX];
static unsigned rule_count, calls_of_rules;
static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_msync)(void *, size_t, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_posix_fallocate)(int, off_t, off_t);
static int (*real_link)(const char *, const char *);

/* ---- rules ---- */

__attribute__((noreturn)) static void refuse(const char *what)
{
    fprintf(stderr, "inject: cannot understand '%s' in PBFT_INJECT\n", what);
    _exit(125);
}

static unsigned parse_calls(char *text)
{
    unsigned calls = 0;
    char *rest = NULL;
    for (char *t = strtok_r(text, "+", &rest); t != NULL; t = strtok_r(NULL, "+", &rest)) {
        if (strcmp(t, "sync") == 0)
            calls |= CALL_SYNC;
        else if (strcmp(t, "write") == 0)
            calls |= CALL_WRITE;
        else if (strcmp(t, "read") == 0)
            calls |= CALL_READ;
        else if (strcmp(t, "truncate") == 0)
            calls |= CALL_TRUNCATE;
        else if (strcmp(t, "allocate") == 0)
            calls |= CALL_ALLOCATE;
        else if (strcmp(t, "link") == 0)
            calls |= CALL_LINK;
        else
            refuse(t);
    }
    return calls;
}

static void parse_word(struct rule *r, const char *word, unsigned index)
{
    if (index == 1)
        snprintf(r->path, sizeof r->path, "%s", strcmp(word, "*") == 0 ? "" : word);
    else if (strcmp(word, "EIO") == 0 || strcmp(word, "ENOSPC") == 0 ||
             strcmp(word, "EPERM") == 0) {
        r->fault = FAULT_ERROR;
        r->error = word[1] == 'I' ? EIO : word[1] == 'N' ? ENOSPC : EPERM;
    } else if (strcmp(word, "short") == 0)
        r->fault = FAULT_SHORT;
    else if (strncmp(word, "delay=", 6) == 0) {
        r->fault = FAULT_DELAY;
        r->delay_ms = strtoul(word + 6, NULL, 10);
    } else if (strncmp(word, "after=", 6) == 0)
        r->after = strtoul(word + 6, NULL, 10);
    else if (strncmp(word, "times=", 6) == 0)
        r->times = strtoul(word + 6, NULL, 10);
    else if (strncmp(word, "when=", 5) == 0)
        snprintf(r->when, sizeof r->when, "%s", word + 5);
    else
        refuse(word);
}

static void parse_rule(char *text)
{
    if (rule_count == RULES_MAX) refuse(text);
    struct rule *r = &rules[rule_count];
    char *rest = NULL;
    unsigned index = 0;
    for (char *w = strtok_r(text, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest), index++) {
        if (index == 0)
            r->calls = parse_calls(w);
        else
            parse_word(r, w, index);
    }
    if (index == 0) return;
    if (r->fault == FAULT_NONE) refuse("a rule without a fault");
    calls_of_rules |= r->calls;
    rule_count++;
}

/* ISO C has no cast from an object's address to a function's. */
static void find(void *place, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) abort();
    memcpy(place, &symbol, sizeof symbol);
}

static void begin(void)
{
    find(&real_write, "write");
    find(&real_pwrite, "pwrite");
    find(&real_read, "read");
    find(&real_pread, "pread");
    find(&real_writev, "writev");
    find(&real_pwritev, "pwritev");
    find(&real_fsync, "fsync");
    find(&real_fdatasync, "fdatasync");
    find(&real_msync, "msync");
    find(&real_ftruncate, "ftruncate");
    find(&real_fallocate, "fallocate");
    find(&real_posix_fallocate, "posix_fallocate");
    find(&real_link, "link");
    const char *text = getenv("PBFT_INJECT"), *log = getenv("PBFT_INJECT_LOG");
    static char copy[4096];
    snprintf(copy, sizeof copy, "%s", text != NULL ? text : "");
    char *rest = NULL;
    for (char *t = strtok_r(copy, ";", &rest); t != NULL; t = strtok_r(NULL, ";", &rest))
        parse_rule(t);
    if (log != NULL) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* ---- deciding ---- */

static void note(bool fault, const char *name, const char *path)
{
    char line[PATH_BYTES + 64];
    int size = snprintf(line, sizeof line, "%s %s %s\n", fault ? "fault" : "passed", name, path);
    if (log_fd >= 0 && size > 0) (void)!real_write(log_fd, line, (size_t)size);
}

static bool in_force(const struct rule *r)
{
    return r->when[0] == '\0' || access(r->when, F_OK) == 0;
}

/* The fault that befalls a call on this file; what the caller needs is copied. */
static enum fault decide_path(unsigned call, const char *name, const char *path, int *error)
{
    enum fault fault = FAULT_NONE;
    unsigned long delay_ms = 0;
    for (unsigned i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if ((r->calls & call) == 0 || strstr(path, r->path) == NULL || !in_force(r)) continue;
        (void)pthread_mutex_lock(&mutex);
        bool due = ++r->seen > r->after && (r->times == 0 || r->done < r->times);
        if (due) r->done++;
        (void)pthread_mutex_unlock(&mutex);
        note(due, name, path);
        if (due) {
            fault = r->fault;
            *error = r->error;
            delay_ms = r->delay_ms;
        }
        break;
    }
    if (fault == FAULT_DELAY) {
        struct timespec t = {(time_t)(delay_ms / 1000), (long)(delay_ms % 1000) * 1000000L};
        nanosleep(&t, NULL);
    }
    return fault;
}

/* ... on an open file; fd -1: none is known. */
static enum fault decide(unsigned call, const char *name, int fd, int *error)
{
    int saved = errno;
    (void)pthread_once(&once, begin);
    enum fault fault = FAULT_NONE;
    if ((calls_of_rules & call) != 0 && (fd < 0 || fd != log_fd)) {
        char entry[64], path[PATH_BYTES] = "";
        snprintf(entry, sizeof entry, "/proc/self/fd/%d", fd);
        ssize_t size = fd < 0 ? 0 : readlink(entry, path, sizeof path - 1);
        path[size > 0 ? size : 0] = '\0';
        fault = decide_path(call, name, path, error);
    }
    errno = saved;
    return fault;
}

static bool fails(unsigned call, const char *name, int fd)
{
    int error = 0;
    if (decide(call, name, fd, &error) != FAULT_ERROR) return false;
    errno = error;
    return true;
}

/* Half of it, but something. */
static size_t cut(size_t size)
{
    return size > 1 ? size / 2 : size;
}

/* ---- the calls ---- */

ssize_t write(int fd, const void *data, size_t size)
{
    int error = 0;
    enum fault fault = decide(CALL_WRITE, "write", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    return real_write(fd, data, fault == FAULT_SHORT ? cut(size) : size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    int error = 0;
    enum fault fault = decide(CALL_WRITE, "pwrite", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    return real_pwrite(fd, data, fault == FAULT_SHORT ? cut(size) : size, offset);
}

ssize_t read(int fd, void *data, size_t size)
{
    int error = 0;
    enum fault fault = decide(CALL_READ, "read", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    return real_read(fd, data, fault == FAULT_SHORT ? cut(size) : size);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    int error = 0;
    enum fault fault = decide(CALL_READ, "pread", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    return real_pread(fd, data, fault == FAULT_SHORT ? cut(size) : size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    int error = 0;
    enum fault fault = decide(CALL_WRITE, "writev", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    if (fault == FAULT_SHORT && count > 0)
        return real_write(fd, parts[0].iov_base, cut(parts[0].iov_len));
    return real_writev(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    int error = 0;
    enum fault fault = decide(CALL_WRITE, "pwritev", fd, &error);
    if (fault == FAULT_ERROR) {
        errno = error;
        return -1;
    }
    if (fault == FAULT_SHORT && count > 0)
        return real_pwrite(fd, parts[0].iov_base, cut(parts[0].iov_len), offset);
    return real_pwritev(fd, parts, count, offset);
}

int fsync(int fd)
{
    return fails(CALL_SYNC, "fsync", fd) ? -1 : real_fsync(fd);
}

int fdatasync(int fd)
{
    return fails(CALL_SYNC, "fdatasync", fd) ? -1 : real_fdatasync(fd);
}

int msync(void *address, size_t size, int flags)
{
    return fails(CALL_SYNC, "msync", -1) ? -1 : real_msync(address, size, flags);
}

int ftruncate(int fd, off_t size)
{
    return fails(CALL_TRUNCATE, "ftruncate", fd) ? -1 : real_ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return fails(CALL_ALLOCATE, "fallocate", fd) ? -1 : real_fallocate(fd, mode, offset, size);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    int error = 0;
    if (decide(CALL_ALLOCATE, "posix_fallocate", fd, &error) == FAULT_ERROR) return error;
    return real_posix_fallocate(fd, offset, size);
}

int link(const char *from, const char *to)
{
    int error = 0;
    (void)pthread_once(&once, begin);
    if (decide_path(CALL_LINK, "link", to, &error) != FAULT_ERROR) return real_link(from, to);
    errno = error;
    return -1;
}

/* What programs call that were built for files of any size; on 64 bits the same. */
_Static_assert(sizeof(off_t) == 8, "files of any size");
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite(fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset)
{
    return pread(fd, data, size, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

int ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}

int fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}

int posix_fallocate64(int fd, off_t offset, off_t size)
{
    return posix_fallocate(fd, offset, size);
}
