#include "pbft/pending.h"

#include "pbft/wire.h"

#include <string.h>

#define NONE        PBFT_PENDING_NONE
#define PENDING_MAX 65536u

/* A REQUEST frame that passed the door: header, client key, session, t (docs/wire.md). */
#define KEY_OFFSET     PBFT_WIRE_HEADER_BYTES
#define SESSION_OFFSET (KEY_OFFSET + PBFT_PUBLIC_KEY_BYTES)
#define T_OFFSET       (SESSION_OFFSET + 8u)

uint32_t pbft_pending_quota(const struct pbft_params *p, uint32_t client_count)
{
    uint32_t share = client_count == 0 ? PENDING_MAX : PENDING_MAX / client_count;
    if (share == 0) share = 1;
    return p->client_quota < share ? p->client_quota : share;
}

uint32_t pbft_pending_capacity(const struct pbft_params *p, uint32_t client_count)
{
    uint32_t clients = client_count == 0 ? 1 : client_count;
    return pbft_pending_quota(p, client_count) * clients;
}

uint32_t pbft_pending_buckets(uint32_t capacity)
{
    uint32_t buckets = 16;
    while (buckets < capacity)
        buckets *= 2;
    return buckets;
}

void pbft_pending_init(struct pbft_pending *t, const struct pbft_params *p, uint32_t client_count,
                       struct pbft_pending_request *requests, uint32_t *buckets,
                       struct pbft_pending_client *clients)
{
    memset(t, 0, sizeof *t);
    t->requests = requests;
    t->buckets = buckets;
    t->clients = clients;
    t->client_count = client_count;
    t->quota = pbft_pending_quota(p, client_count);
    t->capacity = pbft_pending_capacity(p, client_count);
    t->bucket_mask = pbft_pending_buckets(t->capacity) - 1;
    t->ring_tail = t->oldest = t->newest = NONE;
    for (uint32_t i = 0; i <= t->bucket_mask; i++)
        buckets[i] = NONE;
    for (uint32_t i = 0; i < client_count; i++) {
        memset(&clients[i], 0, sizeof clients[i]);
        clients[i].head = clients[i].tail = NONE;
    }
    t->free_head = NONE;
    for (uint32_t i = t->capacity; i-- > 0;) {
        memset(&requests[i], 0, sizeof requests[i]);
        requests[i].hash_next = t->free_head;
        t->free_head = i;
    }
}

void pbft_pending_release(struct pbft_pending *t)
{
    for (uint32_t i = t->oldest; i != NONE; i = t->requests[i].age_next)
        pbft_frame_release(t->requests[i].frame);
    t->oldest = t->newest = NONE;
    t->count = t->waiting = 0;
}

static uint32_t *bucket_of(const struct pbft_pending *t, const uint8_t *key, uint64_t session,
                           uint64_t txn)
{
    uint64_t x = pbft_get_u64(key) ^ (session * 0x9E3779B97F4A7C15u) ^ (txn * 0xC2B2AE3D27D4EB4Fu);
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return &t->buckets[(uint32_t)x & t->bucket_mask];
}

static const uint8_t *key_of(const struct pbft_pending_request *r)
{
    return r->frame->bytes + KEY_OFFSET;
}

static uint32_t find(const struct pbft_pending *t, const uint8_t *key, uint64_t session,
                     uint64_t txn)
{
    for (uint32_t i = *bucket_of(t, key, session, txn); i != NONE; i = t->requests[i].hash_next) {
        const struct pbft_pending_request *r = &t->requests[i];
        if (r->session == session && r->t == txn &&
            memcmp(key_of(r), key, PBFT_PUBLIC_KEY_BYTES) == 0)
            return i;
    }
    return NONE;
}

/* The ring of clients with waiting requests: ring_tail's successor is whose turn it is. */
static void ring_add(struct pbft_pending *t, uint32_t client)
{
    struct pbft_pending_client *c = &t->clients[client];
    if (c->in_ring) return;
    c->in_ring = true;
    if (t->ring_tail == NONE) {
        c->ring_next = client;
    } else {
        c->ring_next = t->clients[t->ring_tail].ring_next;
        t->clients[t->ring_tail].ring_next = client;
    }
    t->ring_tail = client;
}

/* Remove the client after ring_tail (whose turn it is). */
static void ring_remove_turn(struct pbft_pending *t)
{
    uint32_t turn = t->clients[t->ring_tail].ring_next;
    t->clients[turn].in_ring = false;
    if (turn == t->ring_tail)
        t->ring_tail = NONE;
    else
        t->clients[t->ring_tail].ring_next = t->clients[turn].ring_next;
}

enum pbft_verdict pbft_pending_add(struct pbft_pending *t, uint32_t client, uint64_t session,
                                   uint64_t txn, const struct pbft_digest *digest,
                                   struct pbft_frame *frame)
{
    if (client >= t->client_count) return PBFT_DROP_CLIENT;
    if (frame->size < T_OFFSET + 8u) return PBFT_DROP_MALFORMED;
    uint32_t at = find(t, frame->bytes + KEY_OFFSET, session, txn);
    if (at != NONE)
        return pbft_digest_equal(&t->requests[at].digest, digest) ? PBFT_DROP_DUPLICATE
                                                                  : PBFT_DROP_CONFLICT;
    struct pbft_pending_client *c = &t->clients[client];
    if (c->count >= t->quota || t->free_head == NONE) return PBFT_DROP_QUOTA;

    uint32_t i = t->free_head;
    struct pbft_pending_request *r = &t->requests[i];
    t->free_head = r->hash_next;
    r->state = PBFT_PENDING_WAITING;
    r->client = client;
    r->session = session;
    r->t = txn;
    r->digest = *digest;
    r->frame = pbft_frame_retain(frame);
    uint32_t *bucket = bucket_of(t, key_of(r), session, txn);
    r->hash_next = *bucket;
    *bucket = i;
    r->age_previous = t->newest;
    r->age_next = NONE;
    if (t->newest != NONE)
        t->requests[t->newest].age_next = i;
    else
        t->oldest = i;
    t->newest = i;
    r->client_previous = c->tail;
    r->client_next = NONE;
    if (c->tail != NONE)
        t->requests[c->tail].client_next = i;
    else
        c->head = i;
    c->tail = i;
    c->count++;
    c->waiting++;
    t->count++;
    t->waiting++;
    ring_add(t, client);
    return PBFT_OK;
}

static void forget(struct pbft_pending *t, uint32_t i)
{
    struct pbft_pending_request *r = &t->requests[i];
    struct pbft_pending_client *c = &t->clients[r->client];
    uint32_t *link = bucket_of(t, key_of(r), r->session, r->t);
    while (*link != i)
        link = &t->requests[*link].hash_next;
    *link = r->hash_next;
    if (r->age_previous != NONE)
        t->requests[r->age_previous].age_next = r->age_next;
    else
        t->oldest = r->age_next;
    if (r->age_next != NONE)
        t->requests[r->age_next].age_previous = r->age_previous;
    else
        t->newest = r->age_previous;
    if (r->client_previous != NONE)
        t->requests[r->client_previous].client_next = r->client_next;
    else
        c->head = r->client_next;
    if (r->client_next != NONE)
        t->requests[r->client_next].client_previous = r->client_previous;
    else
        c->tail = r->client_previous;
    if (r->state == PBFT_PENDING_WAITING) {
        c->waiting--;
        t->waiting--;
    }
    c->count--;
    t->count--;
    pbft_frame_release(r->frame);
    r->frame = NULL;
    r->state = PBFT_PENDING_FREE;
    r->hash_next = t->free_head;
    t->free_head = i;
}

bool pbft_pending_done(struct pbft_pending *t, uint32_t client, uint64_t session, uint64_t txn,
                       uint64_t low)
{
    if (client >= t->client_count) return false;
    uint32_t oldest = t->oldest;
    bool was_oldest = false;
    uint32_t next;
    for (uint32_t i = t->clients[client].head; i != NONE; i = next) {
        struct pbft_pending_request *r = &t->requests[i];
        next = r->client_next;
        if (r->session != session || (r->t != txn && r->t > low)) continue;
        if (i == oldest) was_oldest = true;
        forget(t, i);
    }
    return was_oldest;
}

uint32_t pbft_pending_take(struct pbft_pending *t, size_t max_bytes)
{
    while (t->ring_tail != NONE) {
        uint32_t turn = t->clients[t->ring_tail].ring_next;
        struct pbft_pending_client *c = &t->clients[turn];
        if (c->waiting == 0) { /* its requests ended or were marked meanwhile */
            ring_remove_turn(t);
            continue;
        }
        uint32_t i = c->head;
        while (t->requests[i].state != PBFT_PENDING_WAITING)
            i = t->requests[i].client_next;
        struct pbft_pending_request *r = &t->requests[i];
        if (r->frame->size > max_bytes) return NONE;
        r->state = PBFT_PENDING_PROPOSED;
        c->waiting--;
        t->waiting--;
        if (c->waiting == 0)
            ring_remove_turn(t);
        else
            t->ring_tail = turn; /* the next client's turn */
        return i;
    }
    return NONE;
}

void pbft_pending_put_back(struct pbft_pending *t, uint32_t index)
{
    struct pbft_pending_request *r = &t->requests[index];
    PBFT_ASSERT(r->state == PBFT_PENDING_PROPOSED);
    r->state = PBFT_PENDING_WAITING;
    t->clients[r->client].waiting++;
    t->waiting++;
    ring_add(t, r->client);
}

void pbft_pending_mark(struct pbft_pending *t, struct pbft_span proposal)
{
    if (t->waiting == 0) return;
    size_t at = 12; /* time u64, count u32 */
    while (at + 4 <= proposal.size) {
        uint32_t size = pbft_get_u32(proposal.data + at);
        const uint8_t *frame = proposal.data + at + 4;
        PBFT_ASSERT(size >= T_OFFSET + 8u && size <= proposal.size - at - 4);
        uint32_t i = find(t, frame + KEY_OFFSET, pbft_get_u64(frame + SESSION_OFFSET),
                          pbft_get_u64(frame + T_OFFSET));
        if (i != NONE && t->requests[i].state == PBFT_PENDING_WAITING) {
            t->requests[i].state = PBFT_PENDING_PROPOSED;
            t->clients[t->requests[i].client].waiting--;
            t->waiting--;
        }
        at += 4 + (size_t)size;
    }
}

void pbft_pending_rewind(struct pbft_pending *t)
{
    for (uint32_t i = t->oldest; i != NONE; i = t->requests[i].age_next) {
        struct pbft_pending_request *r = &t->requests[i];
        if (r->state == PBFT_PENDING_PROPOSED) pbft_pending_put_back(t, i);
    }
}
