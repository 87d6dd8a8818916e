#include "bench/chain/table.h"

#include "pbft/wire.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64u

bool chain_table_init(struct chain_table *t, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    pbft_put_u64(t->secret, seed);
    pbft_put_u64(t->secret + 8, ~seed);
    t->buckets = calloc(BUCKETS_MIN, sizeof(struct chain_link *));
    t->bucket_count = BUCKETS_MIN;
    return t->buckets != NULL;
}

void chain_table_free(struct chain_table *t)
{
    free(t->buckets);
    memset(t, 0, sizeof *t);
}

static struct chain_link **bucket_of(const struct chain_table *t, const struct pbft_digest *key)
{
    uint8_t hash[crypto_shorthash_BYTES];
    crypto_shorthash(hash, key->bytes, sizeof key->bytes, t->secret);
    return &t->buckets[pbft_get_u64(hash) & (t->bucket_count - 1)];
}

struct chain_link *chain_table_find(const struct chain_table *t, const struct pbft_digest *key)
{
    struct chain_link *link = *bucket_of(t, key);
    while (link != NULL && !pbft_digest_equal(&link->key, key))
        link = link->next;
    return link;
}

static void push(struct chain_table *t, struct chain_link *link)
{
    struct chain_link **bucket = bucket_of(t, &link->key);
    link->next = *bucket;
    *bucket = link;
}

static void grow(struct chain_table *t)
{
    struct chain_link **more = calloc(t->bucket_count * 2, sizeof(struct chain_link *));
    struct chain_link **old = t->buckets;
    size_t count = t->bucket_count;
    if (more == NULL) return;
    t->buckets = more;
    t->bucket_count *= 2;
    for (size_t i = 0; i < count; i++) {
        for (struct chain_link *link = old[i], *next; link != NULL; link = next) {
            next = link->next;
            push(t, link);
        }
    }
    free(old);
}

void chain_table_add(struct chain_table *t, struct chain_link *link)
{
    if (t->count >= t->bucket_count) grow(t);
    push(t, link);
    t->count++;
}

void chain_table_remove(struct chain_table *t, struct chain_link *link)
{
    struct chain_link **at = bucket_of(t, &link->key);
    while (*at != link) {
        PBFT_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = link->next;
    t->count--;
}

struct chain_link *chain_table_walk(const struct chain_table *t, struct chain_walk *walk)
{
    while (walk->next == NULL && walk->bucket < t->bucket_count)
        walk->next = t->buckets[walk->bucket++];
    struct chain_link *link = walk->next;
    if (link != NULL) walk->next = link->next;
    return link;
}
