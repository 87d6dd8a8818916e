/* What is sent, and whether an answer is right: a value names its key, so that a read can be
 * judged. */
#include "bench/load_internal.h"

#include <stdio.h>
#include <string.h>

static uint64_t next_random(struct client *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

size_t load_key(uint32_t key, char out[KEY_BYTES + 1])
{
    return (size_t)snprintf(out, KEY_BYTES + 1, "key-%010u", key);
}

int load_value_head(uint32_t key, uint32_t client, uint64_t number, char out[64])
{
    return snprintf(out, 64, "%010u:%u:%llu;", key, client, (unsigned long long)number);
}

static size_t value_text(struct client *c, uint32_t key, uint8_t *out)
{
    uint32_t size = c->load->options->value_bytes;
    char head[64];
    int used = load_value_head(key, c->number, c->writes++, head);
    for (uint32_t i = 0; i < size; i++)
        out[i] = i < (uint32_t)used ? (uint8_t)head[i] : (uint8_t)('a' + (i + key) % 26);
    return size;
}

static uint32_t draw_key(const struct slot *s)
{
    struct client *c = s->client;
    const struct load_options *o = c->load->options;
    if (o->verify) return load_verify_draw(s, next_random(c));
    uint64_t at = o->sequential ? atomic_fetch_add(&c->load->turn, 1) : next_random(c);
    return o->first + (uint32_t)(at % o->keys);
}

void load_write(struct slot *s)
{
    struct client *c = s->client;
    const struct load_options *o = c->load->options;
    size_t stride = KEY_BYTES + o->value_bytes + OP_SLACK;
    uint8_t *value = s->bytes + stride * o->bundle; /* scratch behind the operations */
    s->read = false;
    s->count = o->bundle;
    s->first_write = c->writes;
    for (uint32_t i = 0; i < o->bundle; i++) {
        char key[KEY_BYTES + 1];
        uint32_t number = draw_key(s);
        s->keys[i] = number;
        size_t key_size = load_key(number, key);
        size_t value_size = value_text(c, number, value);
        uint8_t *op = s->bytes + stride * i;
        size_t size =
            pbft_kv_encode_put(op, stride, (struct pbft_span){(const uint8_t *)key, key_size},
                               (struct pbft_span){value, value_size});
        PBFT_ASSERT(size > 0);
        s->ops[i] = (struct pbft_span){op, size};
    }
}

static void make_read(struct slot *s)
{
    size_t stride = KEY_BYTES + OP_SLACK;
    s->read = true;
    s->count = s->client->load->options->bundle;
    for (uint32_t i = 0; i < s->count; i++) {
        char key[KEY_BYTES + 1];
        uint8_t *op = s->bytes + stride * i;
        s->keys[i] = draw_key(s);
        size_t key_size = load_key(s->keys[i], key);
        size_t size =
            pbft_kv_encode_get(op, stride, (struct pbft_span){(const uint8_t *)key, key_size});
        PBFT_ASSERT(size > 0);
        s->ops[i] = (struct pbft_span){op, size};
    }
}

static bool draw_read(struct client *c)
{
    uint32_t reads = c->load->options->reads;
    return reads > 0 && next_random(c) % 100u < reads;
}

void load_next(struct slot *s)
{
    if (draw_read(s->client))
        make_read(s);
    else
        load_write(s);
}

static bool read_right(struct pbft_span bytes, uint32_t key)
{
    struct pbft_kv_result result;
    if (!pbft_kv_decode_result(bytes, &result) || result.op != PBFT_KV_GET) return false;
    if (result.status != PBFT_KV_OK) return result.status == PBFT_KV_NOT_FOUND;
    char head[11];
    for (size_t i = 10; i > 0; i--, key /= 10)
        head[i - 1] = (char)('0' + key % 10);
    head[10] = ':';
    size_t judged = result.value.size < sizeof head ? result.value.size : sizeof head;
    return judged == 0 || memcmp(result.value.data, head, judged) == 0;
}

void load_judge_reads(const struct slot *s, const struct pbft_answer *answer)
{
    size_t cursor = 0;
    uint32_t right = 0;
    struct pbft_span result;
    while (right < s->count && pbft_answer_next(answer, &cursor, &result) &&
           read_right(result, s->keys[right]))
        right++;
    if (right < s->count) atomic_fetch_add(&s->client->load->wrong, 1);
}
