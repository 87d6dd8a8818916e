/* Maps of the checkers. */
#include "tests/sim/fixture_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t slot_of(const struct map *map, const struct pbft_digest *key)
{
    uint64_t x = pbft_get_u64(key->bytes) ^ (pbft_get_u64(key->bytes + 8) * 31u) ^
                 (pbft_get_u64(key->bytes + 16) * 131u) ^ (pbft_get_u64(key->bytes + 24) * 1031u);
    x ^= x >> 31;
    x *= UINT64_C(0x9E3779B97F4A7C15);
    size_t at = (size_t)(x >> 20) & (map->capacity - 1);
    while (map->entries[at].used && !pbft_digest_equal(&map->entries[at].key, key))
        at = (at + 1) & (map->capacity - 1);
    return at;
}

struct map_entry *map_find(const struct map *map, const struct pbft_digest *key)
{
    if (map->count == 0) return NULL;
    size_t at = slot_of(map, key);
    return map->entries[at].used ? &map->entries[at] : NULL;
}

static void map_reserve(struct map *map)
{
    if (2 * (map->count + 1) < map->capacity) return;
    struct map larger = {.capacity = map->capacity == 0 ? 64 : map->capacity * 2,
                         .count = map->count};
    larger.entries = sim_alloc(larger.capacity * sizeof *larger.entries);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].used)
            larger.entries[slot_of(&larger, &map->entries[i].key)] = map->entries[i];
    free(map->entries);
    *map = larger;
}

struct map_entry *map_put(struct map *map, const struct pbft_digest *key, bool *fresh)
{
    map_reserve(map);
    struct map_entry *entry = &map->entries[slot_of(map, key)];
    *fresh = !entry->used;
    if (entry->used) return entry;
    entry->used = true;
    entry->key = *key;
    map->count++;
    return entry;
}

void map_free(struct map *map)
{
    free(map->entries);
    memset(map, 0, sizeof *map);
}

void key_numbers(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    pbft_put_u64(key->bytes, a);
    pbft_put_u64(key->bytes + 8, b);
    pbft_put_u64(key->bytes + 16, c);
    pbft_put_u64(key->bytes + 24, d);
}

/* Digests are random; numbers spread over their words leave different ones different. */
void key_with_digest(struct pbft_digest *key, uint64_t a, uint64_t b, uint64_t c,
                     const struct pbft_digest *digest)
{
    const uint64_t numbers[3] = {a, b, c};
    *key = *digest;
    for (size_t i = 0; i < 3; i++) {
        uint8_t *word = key->bytes + 8 * i;
        pbft_put_u64(word, pbft_get_u64(word) ^ (numbers[i] * UINT64_C(0x9E3779B97F4A7C15)));
    }
}
