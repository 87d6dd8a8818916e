/**
 * bench/durability.h - which durability the replicas of a cluster run with, by their own word.
 */
#ifndef PBFT_BENCH_DURABILITY_H
#define PBFT_BENCH_DURABILITY_H

#include <stddef.h>

/* Asks every replica of the cluster in DIR: "sync", "async" or "memory" when all that answer say
 * so, "mixed" when they differ, "unknown" when none answers. */
void durability_ask(const char *dir, char *out, size_t capacity);

#endif
