/**
 * bench/peers/keys.h - the keys of a load, what was written to each, and which values a later read
 * may return. One thread.
 *
 * Keys and values are those of pbft-bench: a value names its key, its run and its write.
 */
#ifndef PBFT_BENCH_PEERS_KEYS_H
#define PBFT_BENCH_PEERS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_BYTES       14u /* of a key's text, without the terminator */
#define VALUE_BYTES_MIN 48u /* room for what a value names */

struct key_state {
    uint64_t since; /* first write of those that overlap, the last of them ever begun */
    uint64_t floor; /* writes before it are superseded; 0: none was acknowledged */
    uint64_t last;  /* latest write begun; 0: none */
    uint32_t open;  /* begun, and neither acknowledged nor known to have failed */
};

struct keys {
    struct key_state *states;
    uint32_t count;
    uint32_t run; /* tells values of this run from others' */
    uint32_t value_bytes;
    uint64_t writes;
    uint8_t *scratch; /* one value */
};

/* `count` >= 1 keys with values of `value_bytes` >= VALUE_BYTES_MIN. False: out of memory. */
bool keys_init(struct keys *keys, uint32_t count, uint32_t value_bytes, uint32_t run);
void keys_free(struct keys *keys);

/* Text of key `number`, terminated. */
void key_text(uint32_t number, char out[KEY_BYTES + 1]);

/* A write to `number` begins: its value, of value_bytes, to `out`. */
void keys_write(struct keys *keys, uint32_t number, uint8_t *out);
/* A write to `number` was acknowledged. One that failed may still take effect: it stays open. */
void keys_acknowledge(struct keys *keys, uint32_t number);

/* What a read that begins now must not miss: the oldest write that none acknowledged supersedes. */
uint64_t keys_floor(const struct keys *keys, uint32_t number);

/**
 * Whether a linearizable store may return `value` for `number` to a read that began when
 * keys_floor() was `floor`, and that ends now: a value of that key, whole, not older than the last
 * write acknowledged before, and not newer than the last one begun. Writes that overlapped may have
 * taken effect in either order. `value` NULL: there is no such key.
 */
bool keys_judge(const struct keys *keys, uint32_t number, uint64_t floor, const uint8_t *value,
                size_t size);

#endif
