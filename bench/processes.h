/**
 * bench/processes.h - CPU time and memory of the local replicas and of ourselves, from /proc.
 */
#ifndef PBFT_BENCH_PROCESSES_H
#define PBFT_BENCH_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESSES_MAX 64u

struct process_use {
    int pid;      /* 0: there is none */
    double cpu_s; /* user + system since its start */
    uint64_t rss_bytes;
};

/* Replicas of DIR by their pid files; returns how many entries were filled (replica i at [i]). */
size_t processes_read(const char *dir, struct process_use *out, size_t max);
bool process_read(int pid, struct process_use *out);

#endif
