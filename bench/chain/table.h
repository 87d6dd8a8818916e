/**
 * bench/chain/table.h - a hash table of what begins with a struct chain_link, by 32-byte keys.
 *
 * Others choose many of the keys, so buckets are drawn by SipHash under a secret of the owner's.
 */
#ifndef PBFT_BENCH_CHAIN_TABLE_H
#define PBFT_BENCH_CHAIN_TABLE_H

#include "pbft/types.h"

struct chain_link {
    struct pbft_digest key;
    struct chain_link *next;
};

struct chain_table {
    struct chain_link **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    uint8_t secret[16];
};

/* False: out of memory. */
bool chain_table_init(struct chain_table *t, uint64_t seed);
/* Frees the buckets; the links are their owners'. */
void chain_table_free(struct chain_table *t);
struct chain_link *chain_table_find(const struct chain_table *t, const struct pbft_digest *key);
/* The key is not in it yet. Grows; where there is no memory for that, it only becomes slower. */
void chain_table_add(struct chain_table *t, struct chain_link *link);
/* It is in it. */
void chain_table_remove(struct chain_table *t, struct chain_link *link);
/* Walk in no order: NULL begins, NULL ends; what was returned may be removed before going on. */
struct chain_walk {
    size_t bucket;
    struct chain_link *next;
};
struct chain_link *chain_table_walk(const struct chain_table *t, struct chain_walk *walk);

#endif
