/* What /proc says about this process. */
#include "replica/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* /proc/self/stat: 14 utime, 15 stime, 20 threads, 22 starttime, 23 vsize, 24 rss. The second field
 * is in brackets and may contain anything. */
static void read_stat(struct pbft_process_stats *out, unsigned long long *start_ticks)
{
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "r");
    if (file == NULL) return;
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *fields = strrchr(text, ')');
    if (fields == NULL) return;
    unsigned long long user = 0, system = 0, threads = 0, bytes = 0, pages = 0;
    int found = sscanf(fields + 1, /* NOLINT: numbers from our own kernel */
                       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d"
                       " %llu %*d %llu %llu %llu",
                       &user, &system, &threads, start_ticks, &bytes, &pages);
    if (found != 6) return;
    long hertz = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
    if (hertz <= 0 || page <= 0) return;
    out->cpu_seconds = (double)(user + system) / (double)hertz;
    out->threads = threads;
    out->virtual_bytes = bytes;
    out->resident_bytes = pages * (uint64_t)page;
}

static double boot_seconds(void)
{
    char line[256];
    unsigned long long seconds = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "btime %llu", &seconds) == 1) break; /* NOLINT */
    (void)fclose(file);
    return (double)seconds;
}

void pbft_process_stats(struct pbft_process_stats *out)
{
    memset(out, 0, sizeof *out);
    unsigned long long start_ticks = 0;
    read_stat(out, &start_ticks);
    long hertz = sysconf(_SC_CLK_TCK);
    if (hertz > 0) out->start_seconds = boot_seconds() + (double)start_ticks / (double)hertz;
    struct rusage usage; /* finer than the ticks of /proc */
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out->max_fds = limit.rlim_cur;
    DIR *fds = opendir("/proc/self/fd");
    if (fds == NULL) return;
    for (const struct dirent *d = readdir(fds); d != NULL; d = readdir(fds))
        if (d->d_name[0] != '.') out->open_fds++;
    (void)closedir(fds);
    if (out->open_fds > 0) out->open_fds--; /* the directory itself */
}
