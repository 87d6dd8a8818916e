/* The session table in the state tree (PROTOCOL 6-8). Everything is a function of the ordered
 * batches and of agreed time. */
#include "replica/apply_internal.h"

#include <string.h>

#define CLIENT_KEY  0x20u
#define SESSION_KEY 0x30u
#define AGE_KEY     0x40u
#define META_KEY    0x50u

#define SESSION_KEY_BYTES 13u
#define RECORD_KEY_BYTES  17u
#define PART_KEY_BYTES    18u
#define AGE_KEY_BYTES     21u
#define META_BYTES        20u
#define SESSION_BYTES     16u
#define CLIENT_BYTES      12u

_Static_assert(APPLY_PART_BYTES + APPLY_RECORD_BYTES <= PBFT_TREE_VALUE_MAX, "a part is a value");

static void put_be32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static void put(struct pbft_apply *a, const uint8_t *key, size_t key_size, const uint8_t *value,
                size_t size)
{
    enum pbft_status status = pbft_tree_put(a->tree, (struct pbft_span){key, key_size},
                                            (struct pbft_span){value, size}, a->seq);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
}

static bool get(const struct pbft_apply *a, const uint8_t *key, size_t key_size,
                struct pbft_span *value)
{
    return pbft_tree_get(a->tree, (struct pbft_span){key, key_size}, value, NULL);
}

static bool drop(struct pbft_apply *a, const uint8_t *key, size_t key_size)
{
    return pbft_tree_delete(a->tree, (struct pbft_span){key, key_size}, a->seq);
}

/* ---- meta --------------------------------------------------------------------------------- */

void pbft_apply_meta_store(struct pbft_apply *a)
{
    static const uint8_t key[1] = {META_KEY};
    uint8_t value[META_BYTES];
    pbft_put_u64(value, a->seq);
    pbft_put_u64(value + 8, a->effective_ns);
    pbft_put_u32(value + 16, a->sessions);
    put(a, key, sizeof key, value, sizeof value);
}

bool pbft_apply_meta_load(struct pbft_apply *a)
{
    static const uint8_t key[1] = {META_KEY};
    struct pbft_span value;
    if (!get(a, key, sizeof key, &value) || value.size != META_BYTES) return false;
    a->seq = pbft_get_u64(value.data);
    a->effective_ns = pbft_get_u64(value.data + 8);
    a->sessions = pbft_get_u32(value.data + 16);
    return true;
}

/* ---- clients and sessions ----------------------------------------------------------------- */

struct apply_client pbft_apply_client_find(const struct pbft_apply *a, uint32_t client)
{
    uint8_t key[5] = {CLIENT_KEY};
    struct pbft_span value;
    put_be32(key + 1, client);
    if (!get(a, key, sizeof key, &value)) return (struct apply_client){0, 0};
    PBFT_ASSERT(value.size == CLIENT_BYTES);
    return (struct apply_client){pbft_get_u64(value.data), pbft_get_u32(value.data + 8)};
}

static void client_store(struct pbft_apply *a, uint32_t client, const struct apply_client *c)
{
    uint8_t key[5] = {CLIENT_KEY};
    uint8_t value[CLIENT_BYTES];
    put_be32(key + 1, client);
    pbft_put_u64(value, c->highest);
    pbft_put_u32(value + 8, c->open);
    put(a, key, sizeof key, value, sizeof value);
}

static void session_key(uint8_t *out, uint32_t client, uint64_t number)
{
    out[0] = SESSION_KEY;
    put_be32(out + 1, client);
    put_be64(out + 5, number);
}

static void age_key(uint8_t out[AGE_KEY_BYTES], const struct apply_session *s)
{
    out[0] = AGE_KEY;
    put_be64(out + 1, s->last_active);
    put_be32(out + 9, s->client);
    put_be64(out + 13, s->number);
}

struct apply_session pbft_apply_session_find(const struct pbft_apply *a, uint32_t client,
                                             uint64_t number)
{
    uint8_t key[SESSION_KEY_BYTES];
    struct apply_session s = {.client = client, .number = number};
    struct pbft_span value;
    session_key(key, client, number);
    if (!get(a, key, sizeof key, &value)) return s;
    PBFT_ASSERT(value.size == SESSION_BYTES);
    s.max_t = pbft_get_u64(value.data);
    s.last_active = pbft_get_u64(value.data + 8);
    s.open = true;
    return s;
}

static void session_store(struct pbft_apply *a, const struct apply_session *s)
{
    uint8_t key[SESSION_KEY_BYTES];
    uint8_t value[SESSION_BYTES];
    session_key(key, s->client, s->number);
    pbft_put_u64(value, s->max_t);
    pbft_put_u64(value + 8, s->last_active);
    put(a, key, sizeof key, value, sizeof value);
}

static void age_store(struct pbft_apply *a, const struct apply_session *s)
{
    uint8_t key[AGE_KEY_BYTES];
    age_key(key, s);
    put(a, key, sizeof key, NULL, 0);
}

static void age_drop(struct pbft_apply *a, const struct apply_session *s)
{
    uint8_t key[AGE_KEY_BYTES];
    age_key(key, s);
    bool was_there = drop(a, key, sizeof key);
    PBFT_ASSERT(was_there);
}

void pbft_apply_session_open(struct pbft_apply *a, struct apply_session *s)
{
    struct apply_client client = pbft_apply_client_find(a, s->client);
    PBFT_ASSERT(!s->open && s->number > client.highest);
    client.highest = s->number;
    client.open++;
    client_store(a, s->client, &client);
    a->sessions++;

    s->open = true;
    s->max_t = 0;
    s->last_active = a->effective_ns;
    age_store(a, s);
    session_store(a, s);
}

/* Agreed time after which a session counts as idle: last_active lags by up to a sixteenth. */
static uint64_t idle_ns(const struct pbft_apply *a)
{
    uint64_t idle = apply_params(a)->session_idle_ns;
    return idle > UINT64_MAX - idle / 16 ? UINT64_MAX : idle + idle / 16;
}

static void record_drop(struct pbft_apply *a, const struct apply_session *s, uint32_t slot);

void pbft_apply_session_advance(struct pbft_apply *a, struct apply_session *s, uint64_t t)
{
    PBFT_ASSERT(s->open);
    uint32_t window = apply_params(a)->session_window;
    bool changed = false;
    if (t > s->max_t) {
        /* t' in (low, last] leave the window; a jump clears at most all slots (FAULTS 2.32). */
        uint64_t low = pbft_session_low(s->max_t, window);
        uint64_t last = pbft_session_low(t, window);
        if (last > s->max_t) last = s->max_t;
        for (uint64_t gone = low; gone < last; gone++) {
            uint32_t slot = (uint32_t)((gone + 1) % window);
            if (slot != (uint32_t)(t % window)) record_drop(a, s, slot); /* t's is overwritten */
        }
        s->max_t = t;
        changed = true;
    }
    if (a->effective_ns - s->last_active > apply_params(a)->session_idle_ns / 16) {
        age_drop(a, s);
        s->last_active = a->effective_ns;
        age_store(a, s);
        changed = true;
    }
    if (changed) session_store(a, s);
}

/* ---- records ------------------------------------------------------------------------------ */

static void record_key(uint8_t *out, const struct apply_session *s, uint32_t slot)
{
    session_key(out, s->client, s->number);
    put_be32(out + SESSION_KEY_BYTES, slot);
}

/* How many parts a body of `size` bytes has besides the record's first. */
static uint32_t parts_of(uint32_t size)
{
    return size <= APPLY_PART_BYTES ? 0 : (size - 1) / APPLY_PART_BYTES;
}

static void parts_drop(struct pbft_apply *a, const struct apply_session *s, uint32_t slot,
                       uint32_t from, uint32_t to)
{
    uint8_t key[PART_KEY_BYTES];
    record_key(key, s, slot);
    for (uint32_t part = from; part <= to; part++) {
        key[RECORD_KEY_BYTES] = (uint8_t)part;
        bool was_there = drop(a, key, sizeof key);
        PBFT_ASSERT(was_there);
    }
}

/* Parts of the record in a slot; 0 if there is none. */
static uint32_t slot_parts(const struct pbft_apply *a, const uint8_t key[RECORD_KEY_BYTES])
{
    struct pbft_span value;
    if (apply_params(a)->reply_max_bytes <= APPLY_PART_BYTES) return 0;
    if (!get(a, key, RECORD_KEY_BYTES, &value)) return 0;
    return parts_of(pbft_get_u32(value.data + 16));
}

static void record_drop(struct pbft_apply *a, const struct apply_session *s, uint32_t slot)
{
    uint8_t key[RECORD_KEY_BYTES];
    record_key(key, s, slot);
    uint32_t parts = slot_parts(a, key);
    if (parts > 0) parts_drop(a, s, slot, 1, parts);
    drop(a, key, sizeof key);
}

static void body_gather(struct pbft_apply *a, const struct apply_session *s, uint32_t slot,
                        struct pbft_span first, uint32_t size)
{
    uint8_t key[PART_KEY_BYTES];
    uint8_t *body = apply_body(a);
    record_key(key, s, slot);
    memcpy(body, first.data, first.size);
    size_t have = first.size;
    for (uint32_t part = 1; part <= parts_of(size); part++) {
        struct pbft_span value;
        key[RECORD_KEY_BYTES] = (uint8_t)part;
        bool found = get(a, key, sizeof key, &value);
        PBFT_ASSERT(found && value.size <= size - have);
        memcpy(body + have, value.data, value.size);
        have += value.size;
    }
    PBFT_ASSERT(have == size);
}

bool pbft_apply_record_find(struct pbft_apply *a, const struct apply_session *s, uint64_t t,
                            struct apply_answer *out)
{
    uint8_t key[RECORD_KEY_BYTES];
    uint32_t slot = (uint32_t)(t % apply_params(a)->session_window);
    struct pbft_span value;
    record_key(key, s, slot);
    if (!get(a, key, sizeof key, &value)) return false;
    PBFT_ASSERT(value.size >= APPLY_RECORD_BYTES);
    if (pbft_get_u64(value.data) != t) return false;

    uint32_t size = pbft_get_u32(value.data + 16);
    PBFT_ASSERT(size <= apply_params(a)->reply_max_bytes);
    out->seq = pbft_get_u64(value.data + 8);
    out->outcome = value.data[20];
    memcpy(out->request.bytes, value.data + 21, PBFT_DIGEST_BYTES);
    struct pbft_span first = {value.data + APPLY_RECORD_BYTES, value.size - APPLY_RECORD_BYTES};
    if (parts_of(size) == 0) {
        PBFT_ASSERT(first.size == size);
        out->body = first;
    } else {
        body_gather(a, s, slot, first, size);
        out->body = (struct pbft_span){apply_body(a), size};
    }
    return true;
}

void pbft_apply_record_store(struct pbft_apply *a, const struct apply_session *s, uint64_t t,
                             const struct apply_answer *answer)
{
    uint8_t key[PART_KEY_BYTES];
    uint32_t slot = (uint32_t)(t % apply_params(a)->session_window);
    uint32_t size = (uint32_t)answer->body.size;
    PBFT_ASSERT(answer->body.data == apply_body(a) && size <= apply_params(a)->reply_max_bytes);
    record_key(key, s, slot);
    uint32_t old_parts = slot_parts(a, key);
    uint32_t parts = parts_of(size);

    uint8_t *head = a->scratch;
    pbft_put_u64(head, t);
    pbft_put_u64(head + 8, answer->seq);
    pbft_put_u32(head + 16, size);
    head[20] = answer->outcome;
    memcpy(head + 21, answer->request.bytes, PBFT_DIGEST_BYTES);
    uint32_t first = size < APPLY_PART_BYTES ? size : APPLY_PART_BYTES;
    put(a, key, RECORD_KEY_BYTES, head, APPLY_RECORD_BYTES + (size_t)first);
    for (uint32_t part = 1; part <= parts; part++) {
        uint32_t from = part * APPLY_PART_BYTES;
        uint32_t left = size - from;
        key[RECORD_KEY_BYTES] = (uint8_t)part;
        put(a, key, sizeof key, apply_body(a) + from,
            left < APPLY_PART_BYTES ? left : APPLY_PART_BYTES);
    }
    if (old_parts > parts) parts_drop(a, s, slot, parts + 1, old_parts);
}

/* ---- retiring ----------------------------------------------------------------------------- */

static bool take_oldest(void *context, struct pbft_span key, struct pbft_span value)
{
    struct apply_session *s = context;
    (void)value;
    PBFT_ASSERT(key.size == AGE_KEY_BYTES);
    s->last_active = get_be64(key.data + 1);
    s->client = get_be32(key.data + 9);
    s->number = get_be64(key.data + 13);
    s->open = true;
    return false;
}

/* The session that has been quiet for longest; not open if there is none. max_t is not read. */
static struct apply_session oldest(const struct pbft_apply *a)
{
    static const uint8_t prefix[1] = {AGE_KEY};
    struct apply_session s = {.open = false};
    if (a->sessions > 0)
        pbft_tree_scan_prefix(a->tree, (struct pbft_span){prefix, 1}, take_oldest, &s, NULL);
    return s;
}

uint64_t pbft_apply_next_due(const struct pbft_apply *a)
{
    struct apply_session s = oldest(a);
    uint64_t idle = idle_ns(a);
    if (!s.open || s.last_active > UINT64_MAX - idle) return 0;
    return s.last_active + idle;
}

/* Keys of a session, some at a time: a scan must not change what it walks. */
struct doomed {
    uint8_t keys[64][PART_KEY_BYTES];
    uint8_t sizes[64];
    uint32_t count;
};

static bool doom(void *context, struct pbft_span key, struct pbft_span value)
{
    struct doomed *d = context;
    (void)value;
    PBFT_ASSERT(key.size <= PART_KEY_BYTES);
    memcpy(d->keys[d->count], key.data, key.size);
    d->sizes[d->count] = (uint8_t)key.size;
    return ++d->count < 64;
}

/* Its header, all records and parts. Returns how many entries that were. */
static uint32_t session_drop(struct pbft_apply *a, const struct apply_session *s)
{
    uint8_t prefix[SESSION_KEY_BYTES];
    struct doomed d;
    uint32_t dropped = 0;
    session_key(prefix, s->client, s->number);
    do {
        d.count = 0;
        pbft_tree_scan_prefix(a->tree, (struct pbft_span){prefix, sizeof prefix}, doom, &d, NULL);
        for (uint32_t i = 0; i < d.count; i++)
            drop(a, d.keys[i], d.sizes[i]);
        dropped += d.count;
    } while (d.count == 64);
    return dropped;
}

void pbft_apply_retire(struct pbft_apply *a)
{
    uint32_t dropped = 0;
    while (dropped < APPLY_RETIRE_ENTRIES_MAX) {
        struct apply_session s = oldest(a);
        uint64_t idle = idle_ns(a);
        if (!s.open || a->effective_ns - s.last_active < idle) return;

        age_drop(a, &s);
        dropped += session_drop(a, &s);
        struct apply_client client = pbft_apply_client_find(a, s.client);
        PBFT_ASSERT(client.open > 0 && a->sessions > 0);
        client.open--; /* `highest` stays for ever: no old request opens it again (PROTOCOL 6) */
        client_store(a, s.client, &client);
        a->sessions--;
    }
}
