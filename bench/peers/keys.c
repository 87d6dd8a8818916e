#include "bench/peers/keys.h"

#include "pbft/types.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool keys_init(struct keys *keys, uint32_t count, uint32_t value_bytes, uint32_t run)
{
    PBFT_ASSERT(count > 0);
    PBFT_ASSERT(value_bytes >= VALUE_BYTES_MIN);
    *keys = (struct keys){.count = count, .run = run, .value_bytes = value_bytes};
    keys->states = calloc(count, sizeof *keys->states);
    keys->scratch = malloc(value_bytes);
    if (keys->states != NULL && keys->scratch != NULL) return true;
    keys_free(keys);
    return false;
}

void keys_free(struct keys *keys)
{
    free(keys->states);
    free(keys->scratch);
    keys->states = NULL;
    keys->scratch = NULL;
}

void key_text(uint32_t number, char out[KEY_BYTES + 1])
{
    (void)snprintf(out, KEY_BYTES + 1, "key-%010" PRIu32, number);
}

static void value_text(const struct keys *keys, uint32_t number, uint32_t run, uint64_t write,
                       uint8_t *out)
{
    char head[VALUE_BYTES_MIN];
    int used =
        snprintf(head, sizeof head, "%010" PRIu32 ":%" PRIu32 ":%" PRIu64 ";", number, run, write);
    for (uint32_t i = 0; i < keys->value_bytes; i++)
        out[i] = i < (uint32_t)used ? (uint8_t)head[i] : (uint8_t)('a' + (i + number) % 26);
}

void keys_write(struct keys *keys, uint32_t number, uint8_t *out)
{
    struct key_state *state = &keys->states[number];
    uint64_t write = ++keys->writes;
    if (state->open == 0) state->since = write;
    state->open++;
    state->last = write;
    value_text(keys, number, keys->run, write, out);
}

void keys_acknowledge(struct keys *keys, uint32_t number)
{
    struct key_state *state = &keys->states[number];
    PBFT_ASSERT(state->open > 0);
    state->open--;
    state->floor = state->since;
}

uint64_t keys_floor(const struct keys *keys, uint32_t number)
{
    return keys->states[number].floor;
}

bool keys_judge(const struct keys *keys, uint32_t number, uint64_t floor, const uint8_t *value,
                size_t size)
{
    if (value == NULL) return floor == 0;
    if (size != keys->value_bytes) return false;

    /* "KEY:RUN:WRITE;": the key and all else are compared below. */
    char head[VALUE_BYTES_MIN];
    memcpy(head, value, sizeof head - 1);
    head[sizeof head - 1] = '\0';
    const char *colon = strchr(head, ':');
    if (colon == NULL) return false;
    char *end;
    uint64_t run = strtoull(colon + 1, &end, 10);
    if (*end != ':' || run > UINT32_MAX) return false;
    uint64_t write = strtoull(end + 1, NULL, 10);
    if (run == keys->run ? write < floor || write > keys->states[number].last : floor != 0)
        return false;

    value_text(keys, number, (uint32_t)run, write, keys->scratch);
    return memcmp(keys->scratch, value, size) == 0;
}
