#define _DEFAULT_SOURCE /* struct __ptrace_syscall_info */
#include "tests/unit/power.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODES     128u
#define CHUNK     65536u
#define MOMENT_FD (-1) /* whoever closes it says something to the tracer */

void power_remove_all(const char *dir)
{
    char path[POWER_PATH_BYTES];
    DIR *folder = opendir(dir);
    for (const struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (unlink(path) != 0) power_remove_all(path);
    }
    if (folder != NULL) (void)closedir(folder);
    (void)rmdir(dir);
}

/* ---- what is on the disk ---- */

/* A file or folder, and what of it outlives a loss of power. */
struct node {
    ino_t ino;
    int fd; /* open: nobody else gets the number */
    bool folder;
    uint8_t *bytes;
    size_t size;
    struct power_entry entries[POWER_ENTRIES];
    unsigned count;
};

struct power_disk {
    struct node nodes[NODES];
    unsigned count;
};

static struct node *node_of(struct power_disk *d, ino_t ino)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->nodes[i].ino == ino) return &d->nodes[i];
    return NULL;
}

static ino_t number_of(const char *path)
{
    struct stat info;
    cr_assert_eq(lstat(path, &info), 0, "%s", path);
    return info.st_ino;
}

unsigned power_list(const char *dir, struct power_entry entries[POWER_ENTRIES])
{
    char path[POWER_PATH_BYTES];
    unsigned count = 0;
    DIR *folder = opendir(dir);
    cr_assert_not_null(folder, "%s", dir);
    for (const struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        cr_assert(count < POWER_ENTRIES && strlen(e->d_name) < POWER_NAME_BYTES, "%s", e->d_name);
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)snprintf(entries[count].name, POWER_NAME_BYTES, "%.47s", e->d_name);
        entries[count++].ino = number_of(path);
    }
    (void)closedir(folder);
    return count;
}

/* What a sync makes safe; path: of a folder. */
static void keep(struct node *node, const char *path)
{
    if (node->folder) {
        node->count = power_list(path, node->entries);
        return;
    }
    struct stat info;
    cr_assert_eq(fstat(node->fd, &info), 0);
    free(node->bytes);
    node->size = (size_t)info.st_size;
    node->bytes = malloc(node->size + 1);
    cr_assert_not_null(node->bytes);
    cr_assert_eq(pread(node->fd, node->bytes, node->size, 0), (ssize_t)node->size);
}

/* What a write to a file that was opened with O_DSYNC makes safe: nothing but itself. */
static void keep_part(struct node *node, size_t at, size_t size)
{
    if (at + size > node->size) {
        node->bytes = realloc(node->bytes, at + size);
        cr_assert_not_null(node->bytes);
        memset(node->bytes + node->size, 0, at + size - node->size);
        node->size = at + size;
    }
    cr_assert_eq(pread(node->fd, node->bytes + at, size, (off_t)at), (ssize_t)size);
}

/* Notice what is new; `safe`: and all of it has been there for long. */
static void look(struct power_disk *d, const char *path, bool safe)
{
    struct stat info;
    struct power_entry entries[POWER_ENTRIES];
    char below[POWER_PATH_BYTES];
    cr_assert_eq(lstat(path, &info), 0, "%s", path);
    struct node *node = node_of(d, info.st_ino);
    if (node == NULL) {
        cr_assert_lt(d->count, NODES);
        node = &d->nodes[d->count++];
        *node = (struct node){.ino = info.st_ino, .folder = S_ISDIR(info.st_mode)};
        node->fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert_geq(node->fd, 0, "%s", path);
    }
    if (safe) keep(node, path);
    if (!S_ISDIR(info.st_mode)) return;
    unsigned count = power_list(path, entries);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(below, sizeof below, "%.400s/%.47s", path, entries[i].name);
        look(d, below, safe);
    }
}

static void disk_free(struct power_disk *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        (void)close(d->nodes[i].fd);
        free(d->nodes[i].bytes);
    }
    free(d);
}

enum loss {
    LOSS_NONE,     /* the process is killed */
    LOSS_ALL,      /* of all that was not synced */
    LOSS_CONTENTS, /* names are as they are, what is in the files was not written yet */
};
static const char *const loss_text[] = {"killed", "all that was not synced is lost",
                                        "contents that were not synced are lost"};

/* Holes instead of zeros. */
static void put(const char *path, const uint8_t *bytes, size_t size)
{
    static const uint8_t zeros[CHUNK];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0, "%s", path);
    for (size_t at = 0; at < size; at += CHUNK) {
        size_t part = size - at < CHUNK ? size - at : CHUNK;
        if (memcmp(bytes + at, zeros, part) == 0) continue;
        cr_assert_eq(pwrite(fd, bytes + at, part, (off_t)at), (ssize_t)part);
    }
    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
    (void)close(fd);
}

/* What a start finds after the loss, at `to`. */
static void copy(struct power_disk *d, ino_t ino, const char *from, enum loss loss, const char *to)
{
    char above[POWER_PATH_BYTES], below[POWER_PATH_BYTES];
    const struct node *node = node_of(d, ino);
    cr_assert_not_null(node, "%s", to);
    if (!node->folder) {
        struct stat info;
        struct node now = *node;
        if (loss == LOSS_NONE) {
            cr_assert_eq(fstat(node->fd, &info), 0);
            now.size = (size_t)info.st_size;
            now.bytes = malloc(now.size + 1);
            cr_assert_not_null(now.bytes);
            cr_assert_eq(pread(node->fd, now.bytes, now.size, 0), (ssize_t)now.size);
        }
        put(to, now.bytes, now.size);
        if (loss == LOSS_NONE) free(now.bytes);
        return;
    }
    struct power_entry entries[POWER_ENTRIES];
    unsigned count = node->count;
    memcpy(entries, node->entries, sizeof entries);
    if (loss != LOSS_ALL) count = power_list(from, entries);
    cr_assert_eq(mkdir(to, 0700), 0, "%s", to);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(above, sizeof above, "%.400s/%.47s", from, entries[i].name);
        (void)snprintf(below, sizeof below, "%.400s/%.47s", to, entries[i].name);
        copy(d, entries[i].ino, above, loss, below);
    }
}

/* ---- the steps of a process, one by one ---- */

enum step { STEP_NONE, STEP_NAMES, STEP_CONTENTS, STEP_SYNC, STEP_MOMENT };

static enum step step_of(const struct __ptrace_syscall_info *entry)
{
    const int creates = O_CREAT | O_TRUNC;
    switch (entry->entry.nr) {
    case SYS_openat: return ((int)entry->entry.args[2] & creates) != 0 ? STEP_NAMES : STEP_NONE;
#ifdef SYS_open
    case SYS_open: return ((int)entry->entry.args[1] & creates) != 0 ? STEP_NAMES : STEP_NONE;
    case SYS_mkdir:
    case SYS_rmdir:
    case SYS_unlink:
    case SYS_link:
    case SYS_rename:
#endif
#ifdef SYS_renameat
    case SYS_renameat:
#endif
    case SYS_renameat2:
    case SYS_mkdirat:
    case SYS_unlinkat:
    case SYS_linkat: return STEP_NAMES;
    case SYS_writev:
    case SYS_ftruncate: return STEP_CONTENTS;
    case SYS_write:
    case SYS_pwrite64: /* not the zeros of a new segment, one by one */
        return entry->entry.args[2] < CHUNK ? STEP_CONTENTS : STEP_NONE;
    case SYS_fsync:
    case SYS_fdatasync: return STEP_SYNC;
    case SYS_close: return (int)entry->entry.args[0] == MOMENT_FD ? STEP_MOMENT : STEP_NONE;
    default: return STEP_NONE;
    }
}

static void cut_short(struct power_trace *t, enum loss loss, long call)
{
    char when[160];
    (void)snprintf(when, sizeof when, "after step %u (system call %ld): %s", t->steps, call,
                   loss_text[loss]);
    copy(t->disk, number_of(t->folder), t->folder, loss, t->found);
    t->look(t->context, t->found, when);
    power_remove_all(t->found);
    t->states++;
}

/* The file of a descriptor of the process, and its path if it has one; NULL: it is not watched. */
static struct node *node_at(struct power_disk *d, pid_t pid, int fd, char path[POWER_PATH_BYTES])
{
    char link[64];
    struct stat info;
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
    ssize_t size = readlink(link, path, POWER_PATH_BYTES - 1);
    path[size > 0 ? size : 0] = '\0';
    return stat(link, &info) == 0 ? node_of(d, info.st_ino) : NULL;
}

static bool writes_through(pid_t pid, int fd)
{
    char name[64], line[64];
    unsigned flags = 0;
    (void)snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", (int)pid, fd);
    FILE *file = fopen(name, "r");
    cr_assert_not_null(file, "%s", name);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "flags:", 6) == 0) flags = (unsigned)strtoul(line + 6, NULL, 8);
    (void)fclose(file);
    return (flags & O_DSYNC) != 0;
}

/* True: more outlives a loss of power than before it. */
static bool saved(struct power_disk *d, pid_t pid, const struct __ptrace_syscall_info *entry,
                  enum step step, int64_t result)
{
    char path[POWER_PATH_BYTES];
    int fd = (int)entry->entry.args[0];
    bool part = entry->entry.nr == SYS_pwrite64 && result > 0;
    if (step != STEP_SYNC && !part) return false;
    struct node *node = node_at(d, pid, fd, path);
    if (node == NULL || (part && !writes_through(pid, fd))) return false;
    if (part)
        keep_part(node, (size_t)entry->entry.args[3], (size_t)result);
    else
        keep(node, path);
    return true;
}

static void after_step(struct power_trace *t, pid_t pid, const struct __ptrace_syscall_info *entry,
                       int64_t result)
{
    enum step step = step_of(entry);
    if (step == STEP_NONE) return;
    long call = (long)entry->entry.nr;
    t->steps++;
    look(t->disk, t->folder, false);
    bool more = saved(t->disk, pid, entry, step, result);
    if (more || step == STEP_MOMENT) cut_short(t, LOSS_ALL, call);
    if (step != STEP_SYNC) cut_short(t, LOSS_NONE, call);
    if (step == STEP_NAMES) cut_short(t, LOSS_CONTENTS, call);
}

void power_moment(void)
{
    (void)close(MOMENT_FD);
}

void power_watch(struct power_trace *t, void (*run)(void *context))
{
    struct __ptrace_syscall_info info, entry = {0};
    t->disk = calloc(1, sizeof *t->disk);
    cr_assert_not_null(t->disk);
    look(t->disk, t->folder, true);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(99);
        (void)raise(SIGSTOP);
        run(t->context);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSTOPPED(status), "nobody may be traced here: status %x", (unsigned)status);
    cr_assert_eq(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
                 0);
    for (int signal = 0;; signal = 0) {
        cr_assert_eq(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal), 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status)) break;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            signal = WSTOPSIG(status);
            continue;
        }
        cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info), 0);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) entry = info;
        if (info.op == PTRACE_SYSCALL_INFO_EXIT) after_step(t, pid, &entry, info.exit.rval);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    *t->over = true;
    cut_short(t, LOSS_ALL, -1);
    disk_free(t->disk);
}
