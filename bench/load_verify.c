/* Whether what was acknowledged is there. Each slot writes keys of its own and has one request
 * under way, so that a key must hold the last value that was acknowledged to it; or, where a
 * request of that key failed, that one or a later one, for nobody knows whether it was executed. */
#include "bench/load_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNSURE UINT64_MAX /* a request that failed wrote it, or will */

/* By key: 0, or the number of the last acknowledged value and one. */
enum pbft_status load_verify_begin(struct load *load)
{
    if (!load->options->verify) return PBFT_STATUS_OK;
    load->acknowledged = calloc(load->options->keys, sizeof *load->acknowledged);
    return load->acknowledged == NULL ? PBFT_STATUS_MEMORY : PBFT_STATUS_OK;
}

static uint32_t own_keys(const struct slot *s)
{
    const struct load *load = s->client->load;
    return (load->options->keys - s->number + load->slots - 1) / load->slots;
}

static uint32_t own_key(const struct slot *s, uint32_t at)
{
    return s->number + at * s->client->load->slots;
}

uint32_t load_verify_draw(const struct slot *s, uint64_t random)
{
    return s->client->load->options->first + own_key(s, (uint32_t)(random % own_keys(s)));
}

void load_verify_wrote(const struct slot *s, enum pbft_status status)
{
    const struct load *load = s->client->load;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t *last = &load->acknowledged[s->keys[i] - load->options->first];
        if (*last != UNSURE) *last = status == PBFT_STATUS_OK ? s->first_write + i + 1 : UNSURE;
    }
}

/* "key:client:number;" as load_value_head() writes it. */
static bool number_of(const struct slot *s, uint32_t key, struct pbft_span value, uint64_t *number)
{
    char text[64], head[64];
    unsigned long long found;
    unsigned writer;
    size_t size = value.size < sizeof text - 1 ? value.size : sizeof text - 1;
    memcpy(text, value.data, size);
    text[size] = '\0';
    if (sscanf(text, "%*10u:%u:%llu;", &writer, &found) != 2) return false;
    int used = load_value_head(key, s->client->number, found, head);
    *number = found;
    return size >= (size_t)used && memcmp(text, head, (size_t)used) == 0;
}

static bool holds(const struct slot *s, uint32_t key, struct pbft_span bytes)
{
    const struct load *load = s->client->load;
    uint64_t last = load->acknowledged[key - load->options->first], number;
    struct pbft_kv_result result;
    if (!pbft_kv_decode_result(bytes, &result) || result.op != PBFT_KV_GET) return false;
    return result.status == PBFT_KV_OK && number_of(s, key, result.value, &number) &&
           number + 1 == last;
}

static void verify_next(struct slot *s);

static void verify_done(void *context, const struct pbft_answer *answer)
{
    struct slot *s = context;
    struct load *load = s->client->load;
    struct pbft_span item;
    size_t at = 0;
    if (answer->status != PBFT_STATUS_OK) atomic_fetch_add(&load->errors, 1);
    for (uint32_t i = 0; i < s->count && answer->status == PBFT_STATUS_OK; i++) {
        if (!pbft_answer_next(answer, &at, &item)) item = (struct pbft_span){NULL, 0};
        atomic_fetch_add(holds(s, s->keys[i], item) ? &load->verified : &load->lost, 1);
    }
    verify_next(s);
}

/* As many as a bundle takes and one reply holds. */
static void verify_next(struct slot *s)
{
    struct client *c = s->client;
    const struct load_options *o = c->load->options;
    uint32_t most =
        pbft_client_cluster(c->handle)->params.reply_max_bytes / (o->value_bytes + OP_SLACK);
    if (most > o->bundle) most = o->bundle;
    if (most == 0) most = 1;
    s->count = 0;
    for (; s->cursor < own_keys(s) && s->count < most; s->cursor++) {
        uint32_t at = own_key(s, s->cursor);
        uint64_t last = c->load->acknowledged[at];
        if (last == 0 || last == UNSURE) continue;
        char key[KEY_BYTES + 1];
        size_t key_size = load_key(o->first + at, key);
        uint8_t *op = s->bytes + (size_t)(KEY_BYTES + OP_SLACK) * s->count;
        size_t size = pbft_kv_encode_get(op, KEY_BYTES + OP_SLACK,
                                         (struct pbft_span){(const uint8_t *)key, key_size});
        s->ops[s->count] = (struct pbft_span){op, size};
        s->keys[s->count++] = o->first + at;
    }
    if (s->count == 0) {
        load_slot_ended(s);
        return;
    }
    enum pbft_status status = pbft_client_submit_in(c->handle, c->session, s->ops, s->count,
                                                    o->timeout_ns, verify_done, s);
    if (status == PBFT_STATUS_OK) return;
    atomic_fetch_add(&c->load->errors, 1);
    load_slot_ended(s);
}

void load_verify_run(struct load *load, struct client *clients)
{
    atomic_store(&load->phase, VERIFY);
    atomic_fetch_add(&load->outstanding, load->slots);
    for (uint32_t i = 0; i < load->options->clients; i++)
        for (uint32_t k = 0; k < clients[i].slot_count; k++)
            verify_next(&clients[i].slots[k]);
}
