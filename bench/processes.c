#include "bench/processes.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool process_read(int pid, struct process_use *out)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    const char *at = strrchr(text, ')'); /* the name may hold anything */
    unsigned long user = 0, system = 0;
    long pages = 0;
    if (at == NULL || sscanf(at + 1,
                             " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d "
                             "%*d %*d %*u %*u %ld",
                             &user, &system, &pages) != 3)
        return false;
    out->pid = pid;
    out->cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    out->rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

size_t processes_read(const char *dir, struct process_use *out, size_t max)
{
    size_t count = 0;
    for (; count < max; count++) {
        char path[512];
        struct stat info;
        snprintf(path, sizeof path, "%s/node-%zu", dir, count);
        if (stat(path, &info) != 0) break;
        memset(&out[count], 0, sizeof out[count]);
        snprintf(path, sizeof path, "%s/node-%zu/pbftd.pid", dir, count);
        FILE *file = fopen(path, "r");
        int pid = 0;
        if (file != NULL && fscanf(file, "%d", &pid) == 1) process_read(pid, &out[count]);
        if (file != NULL) fclose(file);
    }
    return count;
}
