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

uint32_t pbft_pending_room(const struct pbft_params *p, uint32_t client_count)
{
    uint32_t others = p->n - 1, clients = client_count == 0 ? 1 : client_count;
    uint32_t share = PENDING_MAX / others / clients;
    uint32_t room = pbft_pending_quota(p, client_count) / (2 * others) * 2;
    if (room < 2) room = 2;
    if (room > share) room = share;
    return room == 0 ? 1 : room;
}

uint32_t pbft_pending_window(const struct pbft_params *p, uint32_t client_count)
{
    uint32_t window = pbft_pending_room(p, client_count) / 2;
    return window == 0 ? 1 : window;
}

uint64_t pbft_pending_room_bytes(const struct pbft_params *p)
{
    return 2u * (uint64_t)(p->batch_max_bytes / (p->n - 1));
}

uint32_t pbft_pending_capacity(const struct pbft_params *p, uint32_t client_count)
{
    uint32_t clients = client_count == 0 ? 1 : client_count;
    return clients *
           (pbft_pending_quota(p, client_count) + (p->n - 1) * pbft_pending_room(p, client_count));
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
                       struct pbft_pending_client *clients, uint16_t *rooms)
{
    memset(t, 0, sizeof *t);
    t->requests = requests;
    t->buckets = buckets;
    t->clients = clients;
    t->rooms = rooms;
    t->client_count = client_count;
    t->n = p->n;
    t->quota = pbft_pending_quota(p, client_count);
    t->room = pbft_pending_room(p, client_count);
    t->window = pbft_pending_window(p, client_count);
    t->window_bytes = pbft_pending_room_bytes(p) / 2;
    t->capacity = pbft_pending_capacity(p, client_count);
    t->bucket_mask = pbft_pending_buckets(t->capacity) - 1;
    t->ring_tail = t->oldest = t->newest = NONE;
    for (uint32_t by = 0; by < PBFT_REPLICAS_MAX; by++)
        t->urgent[by] = NONE;
    t->queue_head = t->queue_tail = NONE;
    memset(rooms, 0, (size_t)client_count * p->n * sizeof *rooms);
    for (uint32_t i = 0; i <= t->bucket_mask; i++)
        buckets[i] = NONE;
    for (uint32_t i = 0; i < client_count; i++) {
        memset(&clients[i], 0, sizeof clients[i]);
        clients[i].head = clients[i].tail = clients[i].forward_next = NONE;
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

/* ---- the window at the primary ---- */

static bool window_open(const struct pbft_pending *t, const struct pbft_pending_client *c)
{
    if (c->forward_next == NONE || c->forwarded >= t->window) return false;
    uint32_t size = t->requests[c->forward_next].frame->size;
    return c->forwarded == 0 || c->forwarded_bytes + size <= t->window_bytes;
}

static void queue_add(struct pbft_pending *t, uint32_t client)
{
    struct pbft_pending_client *c = &t->clients[client];
    if (c->in_queue || !window_open(t, c)) return;
    c->in_queue = true;
    c->queue_next = NONE;
    if (t->queue_tail == NONE)
        t->queue_head = client;
    else
        t->clients[t->queue_tail].queue_next = client;
    t->queue_tail = client;
}

static uint32_t queue_take(struct pbft_pending *t)
{
    uint32_t client = t->queue_head;
    if (client == NONE) return NONE;
    t->queue_head = t->clients[client].queue_next;
    if (t->queue_head == NONE) t->queue_tail = NONE;
    t->clients[client].in_queue = false;
    return client;
}

uint32_t pbft_pending_forward(struct pbft_pending *t)
{
    for (uint32_t client = queue_take(t); client != NONE; client = queue_take(t)) {
        struct pbft_pending_client *c = &t->clients[client];
        while (c->forward_next != NONE &&
               t->requests[c->forward_next].state != PBFT_PENDING_WAITING)
            c->forward_next = t->requests[c->forward_next].client_next;
        if (!window_open(t, c)) continue; /* whatever ends opens it */
        uint32_t i = c->forward_next;
        struct pbft_pending_request *r = &t->requests[i];
        r->forwarded = true;
        c->forward_next = r->client_next;
        c->forwarded++;
        c->forwarded_bytes += r->frame->size;
        queue_add(t, client);
        return i;
    }
    return NONE;
}

static void window_leave(struct pbft_pending *t, uint32_t i)
{
    struct pbft_pending_request *r = &t->requests[i];
    struct pbft_pending_client *c = &t->clients[r->client];
    if (c->forward_next == i) c->forward_next = r->client_next;
    if (!r->forwarded) return;
    r->forwarded = false;
    c->forwarded--;
    c->forwarded_bytes -= r->frame->size;
}

/* ---- in and out ---- */

/* Where a request's room is counted. `by` was checked. */
static bool room_take(struct pbft_pending *t, uint32_t by, uint32_t client)
{
    if (by == PBFT_PENDING_DIRECT) {
        if (t->clients[client].direct >= t->quota) return false;
        t->clients[client].direct++;
        return true;
    }
    uint16_t *taken = &t->rooms[(size_t)client * t->n + by];
    if (*taken >= t->room) return false;
    ++*taken;
    return true;
}

static void room_leave(struct pbft_pending *t, const struct pbft_pending_request *r)
{
    if (r->by == PBFT_PENDING_DIRECT)
        t->clients[r->client].direct--;
    else
        t->rooms[(size_t)r->client * t->n + r->by]--;
}

uint32_t pbft_pending_find(const struct pbft_pending *t, const struct pbft_frame *frame,
                           uint64_t session, uint64_t txn)
{
    return find(t, frame->bytes + KEY_OFFSET, session, txn);
}

enum pbft_verdict pbft_pending_add(struct pbft_pending *t, uint32_t by, uint32_t client,
                                   uint64_t session, uint64_t txn, const struct pbft_digest *digest,
                                   struct pbft_frame *frame)
{
    if (client >= t->client_count) return PBFT_DROP_CLIENT;
    if (by != PBFT_PENDING_DIRECT && by >= t->n) return PBFT_DROP_SENDER;
    if (frame->size < T_OFFSET + 8u) return PBFT_DROP_MALFORMED;
    uint32_t at = find(t, frame->bytes + KEY_OFFSET, session, txn);
    if (at != NONE)
        return pbft_digest_equal(&t->requests[at].digest, digest) ? PBFT_DROP_DUPLICATE
                                                                  : PBFT_DROP_CONFLICT;
    struct pbft_pending_client *c = &t->clients[client];
    if (t->free_head == NONE || !room_take(t, by, client)) return PBFT_DROP_QUOTA;

    uint32_t i = t->free_head;
    struct pbft_pending_request *r = &t->requests[i];
    t->free_head = r->hash_next;
    r->state = PBFT_PENDING_WAITING;
    r->client = client;
    r->session = session;
    r->t = txn;
    r->digest = *digest;
    r->frame = pbft_frame_retain(frame);
    r->by = by;
    r->forwarded = false;
    r->forwarded_ns = 0;
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
    if (c->forward_next == NONE) c->forward_next = i;
    c->waiting++;
    t->count++;
    t->waiting++;
    ring_add(t, client);
    queue_add(t, client);
    return PBFT_OK;
}

static void forget(struct pbft_pending *t, uint32_t i)
{
    struct pbft_pending_request *r = &t->requests[i];
    struct pbft_pending_client *c = &t->clients[r->client];
    window_leave(t, i);
    room_leave(t, r);
    for (uint32_t by = 0; by < t->n; by++)
        if (t->urgent[by] == i) t->urgent[by] = NONE;
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
    queue_add(t, client);
    return was_oldest;
}

void pbft_pending_hurry(struct pbft_pending *t, uint32_t by, uint32_t client, uint64_t session,
                        uint64_t txn)
{
    PBFT_ASSERT(by < t->n);
    t->urgent[by] = NONE;
    if (client >= t->client_count) return;
    for (uint32_t i = t->clients[client].head; i != NONE; i = t->requests[i].client_next)
        if (t->requests[i].session == session && t->requests[i].t == txn) t->urgent[by] = i;
}

static void set_proposed(struct pbft_pending *t, uint32_t i)
{
    t->requests[i].state = PBFT_PENDING_PROPOSED;
    t->clients[t->requests[i].client].waiting--;
    t->waiting--;
}

/* The first request of the client whose turn it is. */
static uint32_t ring_head(struct pbft_pending *t)
{
    while (t->ring_tail != NONE) {
        uint32_t turn = t->clients[t->ring_tail].ring_next;
        uint32_t i = t->clients[turn].head;
        if (t->clients[turn].waiting == 0) { /* its requests ended or were marked meanwhile */
            ring_remove_turn(t);
            continue;
        }
        while (t->requests[i].state != PBFT_PENDING_WAITING)
            i = t->requests[i].client_next;
        return i;
    }
    return NONE;
}

static void ring_advance(struct pbft_pending *t)
{
    uint32_t turn = t->clients[t->ring_tail].ring_next;
    if (t->clients[turn].waiting == 0)
        ring_remove_turn(t);
    else
        t->ring_tail = turn; /* the next client's turn */
}

/* What each replica waits for, and the clients' ring, in turn. Who does not fit any more is the
 * first of the next batch: no small wishes keep a large request out. */
uint32_t pbft_pending_take(struct pbft_pending *t, size_t max_bytes)
{
    for (uint32_t k = 0; k <= t->n; k++) {
        uint32_t by = (t->turn + k) % (t->n + 1);
        bool ring = by == t->n;
        uint32_t i = ring ? ring_head(t) : t->urgent[by];
        if (i == NONE || t->requests[i].state != PBFT_PENDING_WAITING) continue;
        t->turn = by;
        if (t->requests[i].frame->size > max_bytes) return NONE;
        t->turn = (by + 1) % (t->n + 1);
        set_proposed(t, i);
        if (ring)
            ring_advance(t);
        else
            t->urgent[by] = NONE;
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
        if (i != NONE && t->requests[i].state == PBFT_PENDING_WAITING) set_proposed(t, i);
        at += 4 + (size_t)size;
    }
}

void pbft_pending_rewind(struct pbft_pending *t)
{
    while (queue_take(t) != NONE) {
    }
    for (uint32_t i = t->oldest; i != NONE; i = t->requests[i].age_next) {
        struct pbft_pending_request *r = &t->requests[i];
        if (r->state == PBFT_PENDING_PROPOSED) pbft_pending_put_back(t, i);
        window_leave(t, i);
        t->clients[r->client].forward_next = t->clients[r->client].head;
    }
    for (uint32_t i = t->oldest; i != NONE; i = t->requests[i].age_next)
        queue_add(t, t->requests[i].client);
}
