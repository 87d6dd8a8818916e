/* pbft/pending.h: round robin between clients, quotas, the oldest request, and what ends one. */
#include "pbft/pending.h"
#include "pbft/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define NONE     PBFT_PENDING_NONE
#define CLIENTS  3u
#define QUOTA    4u
#define REPLICAS 4u
#define ROOM     2u /* of each forwarder; its window is 1 */

struct counting_pool {
    struct pbft_frame_pool base; /* first */
    int live;
};

static struct pbft_frame *pool_alloc(struct pbft_frame_pool *base, uint32_t capacity)
{
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    cr_assert_not_null(frame);
    frame->pool = base;
    atomic_init(&frame->refs, 1);
    frame->size = frame->capacity = capacity;
    ((struct counting_pool *)(void *)base)->live++;
    return frame;
}

static void pool_free(struct pbft_frame_pool *base, struct pbft_frame *frame)
{
    ((struct counting_pool *)(void *)base)->live--;
    free(frame);
}

struct table {
    struct pbft_pending p;
    struct counting_pool pool;
    struct pbft_pending_request *requests;
    uint32_t *buckets;
    struct pbft_pending_client clients[CLIENTS];
    uint16_t rooms[CLIENTS * REPLICAS];
};

static struct table *open_table(uint32_t quota)
{
    struct table *t = calloc(1, sizeof *t);
    cr_assert_not_null(t);
    struct pbft_params params = pbft_params_default(REPLICAS);
    params.client_quota = quota;
    uint32_t capacity = pbft_pending_capacity(&params, CLIENTS);
    t->requests = malloc(capacity * sizeof *t->requests);
    t->buckets = malloc(pbft_pending_buckets(capacity) * sizeof *t->buckets);
    cr_assert(t->requests != NULL && t->buckets != NULL);
    t->pool.base = (struct pbft_frame_pool){pool_alloc, pool_free};
    pbft_pending_init(&t->p, &params, CLIENTS, t->requests, t->buckets, t->clients, t->rooms);
    return t;
}

static void close_table(struct table *t)
{
    pbft_pending_release(&t->p);
    cr_assert_eq(t->pool.live, 0, "frames leak");
    free(t->requests);
    free(t->buckets);
    free(t);
}

/* The first bytes of a REQUEST frame, which is all that the table looks at. */
static struct pbft_frame *request(struct table *t, uint32_t client, uint64_t session,
                                  uint64_t number, uint32_t size)
{
    struct pbft_frame *frame = pbft_frame_new(&t->pool.base, size);
    memset(frame->bytes, 0, size);
    memset(frame->bytes + PBFT_WIRE_HEADER_BYTES, (int)client + 1, PBFT_PUBLIC_KEY_BYTES);
    pbft_put_u64(frame->bytes + PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES, session);
    pbft_put_u64(frame->bytes + PBFT_WIRE_HEADER_BYTES + PBFT_PUBLIC_KEY_BYTES + 8, number);
    return frame;
}

static enum pbft_verdict add_by(struct table *t, uint32_t by, uint32_t client, uint64_t session,
                                uint64_t number, uint8_t content, uint32_t size)
{
    struct pbft_digest digest = {{content}};
    struct pbft_frame *frame = request(t, client, session, number, size);
    enum pbft_verdict verdict =
        pbft_pending_add(&t->p, by, client, session, number, &digest, frame);
    pbft_frame_release(frame);
    return verdict;
}

static enum pbft_verdict add_sized(struct table *t, uint32_t client, uint64_t session,
                                   uint64_t number, uint8_t content, uint32_t size)
{
    return add_by(t, PBFT_PENDING_DIRECT, client, session, number, content, size);
}

static enum pbft_verdict add(struct table *t, uint32_t client, uint64_t session, uint64_t number)
{
    return add_sized(t, client, session, number, 0, 128);
}

/* Client * 100 + t of what is taken next; 0: nothing. */
static uint64_t take(struct table *t)
{
    uint32_t i = pbft_pending_take(&t->p, 1000);
    return i == NONE ? 0 : (uint64_t)t->requests[i].client * 100u + t->requests[i].t;
}

Test(pending, round_robin_between_clients)
{
    struct table *t = open_table(QUOTA);
    for (uint64_t n = 1; n <= 3; n++)
        cr_assert_eq(add(t, 0, 1, n), PBFT_OK);
    add(t, 1, 1, 1);
    add(t, 2, 1, 1);
    add(t, 2, 1, 2);
    static const uint64_t expected[] = {1, 101, 201, 2, 202, 3, 0};
    for (unsigned i = 0; i < 7; i++)
        cr_assert_eq(take(t), expected[i], "turn %u", i);
    cr_assert_eq(t->p.waiting, 0u);
    cr_assert_eq(t->p.count, 6u, "taken is not gone");
    close_table(t);
}

Test(pending, quota_of_each_client)
{
    struct table *t = open_table(QUOTA);
    for (uint64_t n = 1; n <= QUOTA; n++)
        cr_assert_eq(add(t, 0, 1, n), PBFT_OK);
    cr_assert_eq(add(t, 0, 2, 1), PBFT_DROP_QUOTA);
    take(t); /* proposed still counts */
    cr_assert_eq(add(t, 0, 2, 1), PBFT_DROP_QUOTA);
    for (uint64_t n = 1; n <= QUOTA; n++) /* and takes nobody else's room */
        cr_assert(add(t, 1, 1, n) == PBFT_OK && add(t, 2, 1, n) == PBFT_OK);
    cr_assert(pbft_pending_done(&t->p, 0, 1, 1, 0));
    cr_assert_eq(add(t, 0, 2, 1), PBFT_OK);
    cr_assert_eq(add(t, CLIENTS, 1, 1), PBFT_DROP_CLIENT);
    close_table(t);
}

Test(pending, first_of_a_conflict_stays)
{
    struct table *t = open_table(QUOTA);
    cr_assert_eq(add_sized(t, 0, 1, 1, 'A', 128), PBFT_OK);
    cr_assert_eq(add_sized(t, 0, 1, 1, 'A', 128), PBFT_DROP_DUPLICATE);
    cr_assert_eq(add_sized(t, 0, 1, 1, 'B', 128), PBFT_DROP_CONFLICT);
    cr_assert_eq(add_sized(t, 0, 2, 1, 'B', 128), PBFT_OK, "another session");
    cr_assert_eq(add_sized(t, 1, 1, 1, 'B', 128), PBFT_OK, "another client");
    uint32_t i = pbft_pending_take(&t->p, 1000);
    cr_assert_eq(t->requests[i].digest.bytes[0], 'A');
    close_table(t);
}

Test(pending, done_takes_the_stale_with_it)
{
    struct table *t = open_table(8);
    for (uint64_t n = 1; n <= 6; n++)
        add(t, 0, 1, n);
    add(t, 0, 2, 2);
    cr_assert(!pbft_pending_done(&t->p, 0, 1, 5, 0), "the oldest is still there");
    cr_assert_eq(t->p.count, 6u);
    cr_assert(!pbft_pending_done(&t->p, 1, 1, 1, 9), "another client's");
    cr_assert(!pbft_pending_done(&t->p, 0, 3, 1, 9), "another session's");
    cr_assert(pbft_pending_done(&t->p, 0, 1, 6, 2), "1 and 2 are STALE: the oldest was among them");
    cr_assert_eq(t->p.count, 3u);
    cr_assert_eq(t->requests[t->p.oldest].t, 3u);
    cr_assert_eq(take(t), 3u);
    close_table(t);
}

/* A request that does not fit ends the batch; it is not passed over for ever. */
Test(pending, take_heeds_the_room)
{
    struct table *t = open_table(QUOTA);
    add_sized(t, 0, 1, 1, 0, 500);
    add_sized(t, 1, 1, 1, 0, 100);
    cr_assert_eq(pbft_pending_take(&t->p, 499), NONE);
    uint32_t i = pbft_pending_take(&t->p, 500);
    cr_assert(i != NONE && t->requests[i].client == 0);
    i = pbft_pending_take(&t->p, 100);
    cr_assert(i != NONE && t->requests[i].client == 1);
    close_table(t);
}

static size_t proposal_of(struct table *t, const uint64_t *which, unsigned count, uint8_t *out)
{
    size_t at = 12;
    memset(out, 0, at);
    for (unsigned i = 0; i < count; i++) {
        struct pbft_frame *f = request(t, (uint32_t)(which[i] / 100), 1, which[i] % 100, 128);
        pbft_put_u32(out + at, f->size);
        memcpy(out + at + 4, f->bytes, f->size);
        at += 4 + (size_t)f->size;
        pbft_frame_release(f);
    }
    return at;
}

/* What a proposal holds is under way; a new view makes it wait again, in its old order. */
Test(pending, mark_and_rewind)
{
    struct table *t = open_table(QUOTA);
    uint8_t bytes[1024];
    for (uint64_t n = 1; n <= 3; n++) {
        add(t, 0, 1, n);
        add(t, 1, 1, n);
    }
    static const uint64_t proposed[] = {2, 101, 301 /* unknown */};
    size_t size = proposal_of(t, proposed, 3, bytes);
    pbft_pending_mark(&t->p, (struct pbft_span){bytes, size});
    cr_assert_eq(t->p.waiting, 4u);
    pbft_pending_mark(&t->p, (struct pbft_span){bytes, size});
    cr_assert_eq(t->p.waiting, 4u, "twice is once");
    cr_assert_eq(take(t), 1u);
    cr_assert_eq(take(t), 102u, "101 is under way");
    cr_assert_eq(take(t), 3u, "and so is 2");
    pbft_pending_rewind(&t->p);
    cr_assert_eq(t->p.waiting, 6u);
    uint64_t seen[2] = {0, 0};
    for (unsigned i = 0; i < 6; i++) {
        uint64_t got = take(t);
        cr_assert(got % 100 == seen[got / 100] + 1, "each client's in order");
        seen[got / 100]++;
    }
    cr_assert_eq(take(t), 0u);
    close_table(t);
}

Test(pending, put_back)
{
    struct table *t = open_table(QUOTA);
    add(t, 0, 1, 1);
    uint32_t i = pbft_pending_take(&t->p, 1000);
    cr_assert_eq(take(t), 0u);
    pbft_pending_put_back(&t->p, i);
    cr_assert_eq(t->p.waiting, 1u);
    cr_assert_eq(take(t), 1u);
    close_table(t);
}

/* Client * 100 + t of what is forwarded next; 0: nothing. */
static uint64_t forward(struct table *t)
{
    uint32_t i = pbft_pending_forward(&t->p);
    return i == NONE ? 0 : (uint64_t)t->requests[i].client * 100u + t->requests[i].t;
}

/* PROTOCOL 22: what the client sent itself never takes a forwarder's room, nor does another. */
Test(pending, rooms_of_forwarders)
{
    struct table *t = open_table(QUOTA);
    cr_assert_eq(t->p.room, ROOM);
    for (uint64_t n = 1; n <= QUOTA; n++)
        cr_assert_eq(add(t, 0, 1, n), PBFT_OK);
    cr_assert_eq(add(t, 0, 1, 99), PBFT_DROP_QUOTA);
    for (uint32_t by = 1; by < REPLICAS; by++) {
        for (uint64_t n = 1; n <= ROOM; n++)
            cr_assert_eq(add_by(t, by, 0, 10 + by, n, 0, 128), PBFT_OK, "by %u", by);
        cr_assert_eq(add_by(t, by, 0, 10 + by, 99, 0, 128), PBFT_DROP_QUOTA);
        cr_assert_eq(add_by(t, by, 1, 10 + by, 1, 0, 128), PBFT_OK, "another client's");
    }
    cr_assert_eq(add_by(t, REPLICAS, 2, 1, 1, 0, 128), PBFT_DROP_SENDER);
    /* It counts where it came first: nothing else becomes free when it ends. */
    cr_assert_eq(add(t, 0, 11, 1), PBFT_DROP_DUPLICATE);
    cr_assert_eq(add_by(t, 1, 0, 1, 1, 0, 128), PBFT_DROP_DUPLICATE);
    pbft_pending_done(&t->p, 0, 11, 1, 0);
    cr_assert_eq(add(t, 0, 1, 99), PBFT_DROP_QUOTA);
    cr_assert_eq(add_by(t, 2, 0, 12, 99, 0, 128), PBFT_DROP_QUOTA);
    cr_assert_eq(add_by(t, 1, 0, 11, 99, 0, 128), PBFT_OK);
    close_table(t);
}

Test(pending, the_window_slides_oldest_first)
{
    struct table *t = open_table(24); /* a window of 4 */
    cr_assert_eq(t->p.window, 4u);
    for (uint64_t n = 1; n <= 9; n++)
        add(t, 0, 1, n);
    add(t, 1, 1, 1);
    static const uint64_t expected[] = {1, 101, 2, 3, 4, 0};
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(forward(t), expected[i], "turn %u", i);
    pbft_pending_done(&t->p, 0, 1, 3, 0);
    cr_assert(forward(t) == 5 && forward(t) == 0);
    pbft_pending_done(&t->p, 0, 1, 7, 0); /* was not in the window */
    cr_assert_eq(forward(t), 0u);
    uint8_t bytes[512];
    static const uint64_t proposed[] = {6};
    pbft_pending_mark(&t->p, (struct pbft_span){bytes, proposal_of(t, proposed, 1, bytes)});
    pbft_pending_done(&t->p, 0, 1, 2, 2); /* 1 and 2 */
    cr_assert(forward(t) == 8 && forward(t) == 9 && forward(t) == 0, "6 is under way");
    pbft_pending_rewind(&t->p);
    static const uint64_t again[] = {4, 101, 5, 6, 8, 0};
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(forward(t), again[i], "turn %u", i);
    close_table(t);
}

/* Bytes close it as well, but never to the oldest. */
Test(pending, the_window_has_bytes)
{
    struct table *t = open_table(24);
    uint32_t most = (uint32_t)t->p.window_bytes;
    cr_assert_eq(2 * t->p.window_bytes,
                 pbft_pending_room_bytes(
                     &(struct pbft_params){.n = REPLICAS, .batch_max_bytes = 3 * most}));
    add_sized(t, 0, 1, 1, 0, most + 1);
    add(t, 0, 1, 2);
    cr_assert(forward(t) == 1 && forward(t) == 0);
    pbft_pending_done(&t->p, 0, 1, 1, 0);
    add_sized(t, 0, 1, 3, 0, most - 127);
    cr_assert(forward(t) == 2 && forward(t) == 0);
    pbft_pending_done(&t->p, 0, 1, 2, 0);
    add(t, 0, 1, 4);
    cr_assert(forward(t) == 3 && forward(t) == 0);
    pbft_pending_done(&t->p, 0, 1, 3, 0);
    cr_assert(forward(t) == 4 && forward(t) == 0);
    close_table(t);
}

/* Whatever genesis says: bounded, and something for everybody. */
Test(pending, sizes)
{
    static const uint32_t clients[] = {0, 1, 3, 100, 1000, 65536}, quotas[] = {1, 8, 512, 65536};
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++)
        for (unsigned i = 0; i < 24; i++) {
            struct pbft_params p = {.n = n, .client_quota = quotas[i % 4], .batch_max_bytes = 4096};
            uint32_t count = clients[i / 4], room = pbft_pending_room(&p, count);
            uint32_t window = pbft_pending_window(&p, count);
            cr_assert(window >= 1 && room >= window && (room == 1 || room == 2 * window));
            cr_assert_leq(room, UINT16_MAX);
            cr_assert(room <= 2 || (n - 1) * room <= pbft_pending_quota(&p, count));
            uint32_t forwarded = count * (n - 1) > 65536 ? count * (n - 1) : 65536;
            cr_assert_leq(pbft_pending_capacity(&p, count), 65536 + forwarded);
        }
}

/* ---- against a list ---- */

struct item {
    uint32_t client;
    uint64_t session, t;
    bool waiting;
    uint32_t by;
    bool forwarded;
};

struct model {
    struct item items[CLIENTS * (QUOTA + (REPLICAS - 1) * ROOM)]; /* by age */
    uint32_t count;
};

static int model_find(const struct model *m, uint32_t client, uint64_t session, uint64_t number)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->items[i].client == client && m->items[i].session == session &&
            m->items[i].t == number)
            return (int)i;
    return -1;
}

static void model_remove(struct model *m, uint32_t i)
{
    memmove(&m->items[i], &m->items[i + 1], (--m->count - i) * sizeof m->items[0]);
}

static uint32_t model_of(const struct model *m, uint32_t client, bool waiting_only)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->count; i++)
        count += m->items[i].client == client && (m->items[i].waiting || !waiting_only);
    return count;
}

#define SEED UINT64_C(31337)
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            cr_assert_fail("seed %llu, step %u: %s", (unsigned long long)SEED, step, #condition);  \
    } while (0)

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void step_add(struct table *t, struct model *m, uint64_t *random, unsigned step)
{
    uint32_t client = (uint32_t)(next(random) % CLIENTS);
    uint64_t session = 1 + next(random) % 2, number = 1 + next(random) % 9;
    uint32_t by = (uint32_t)(next(random) % 6);
    if (by == 0 || by >= REPLICAS) by = PBFT_PENDING_DIRECT;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < m->count; i++)
        taken += m->items[i].client == client && m->items[i].by == by;
    enum pbft_verdict expected = model_find(m, client, session, number) >= 0 ? PBFT_DROP_DUPLICATE
                                 : taken >= (by == PBFT_PENDING_DIRECT ? QUOTA : ROOM)
                                     ? PBFT_DROP_QUOTA
                                     : PBFT_OK;
    HOLDS(add_by(t, by, client, session, number, 0, 128) == expected);
    if (expected == PBFT_OK)
        m->items[m->count++] = (struct item){client, session, number, true, by, false};
}

/* A client's oldest that waits, when nothing of its is in the window; nobody eligible is left. */
static void step_forward(struct table *t, struct model *m, unsigned step)
{
    uint32_t candidates[CLIENTS], eligible = 0;
    for (uint32_t client = 0; client < CLIENTS; client++) {
        candidates[client] = NONE;
        for (uint32_t k = m->count; k-- > 0;)
            if (m->items[k].client == client && m->items[k].waiting) candidates[client] = k;
        for (uint32_t k = 0; k < m->count; k++)
            if (m->items[k].client == client && m->items[k].forwarded) candidates[client] = NONE;
        eligible += candidates[client] != NONE;
    }
    uint32_t i = pbft_pending_forward(&t->p);
    HOLDS((i == NONE) == (eligible == 0));
    if (i == NONE) return;
    const struct pbft_pending_request *r = &t->requests[i];
    uint32_t k = candidates[r->client];
    HOLDS(k != NONE && m->items[k].session == r->session && m->items[k].t == r->t);
    m->items[k].forwarded = true;
}

/* Of the client whose turn it is, the oldest; and nobody is served twice before all others. */
static void step_take(struct table *t, struct model *m, uint32_t *since, unsigned step)
{
    uint32_t i = pbft_pending_take(&t->p, 1000);
    uint32_t waiting = 0;
    for (uint32_t k = 0; k < m->count; k++)
        waiting += m->items[k].waiting;
    HOLDS((i == NONE) == (waiting == 0));
    if (i == NONE) { /* nobody waits */
        memset(since, 0, CLIENTS * sizeof *since);
        return;
    }
    const struct pbft_pending_request *r = &t->requests[i];
    uint32_t k = 0;
    while (k < m->count && !(m->items[k].client == r->client && m->items[k].waiting))
        k++;
    HOLDS(k < m->count && m->items[k].session == r->session && m->items[k].t == r->t);
    m->items[k].waiting = false;
    since[r->client] = 0;
    for (uint32_t c = 0; c < CLIENTS; c++) {
        if (c == r->client) continue;
        since[c] = model_of(m, c, true) > 0 ? since[c] + 1 : 0;
        HOLDS(since[c] < CLIENTS);
    }
}

static void step_done(struct table *t, struct model *m, uint64_t *random, unsigned step)
{
    uint32_t client = (uint32_t)(next(random) % CLIENTS);
    uint64_t session = 1 + next(random) % 2, number = 1 + next(random) % 9;
    uint64_t low = next(random) % 4 == 0 ? next(random) % 9 : 0;
    bool oldest = false;
    for (uint32_t k = 0, age = 0; k < m->count; age++) {
        const struct item *item = &m->items[k];
        if (item->client == client && item->session == session &&
            (item->t == number || item->t <= low)) {
            if (age == 0) oldest = true;
            model_remove(m, k);
        } else {
            k++;
        }
    }
    HOLDS(pbft_pending_done(&t->p, client, session, number, low) == oldest);
}

Test(pending, like_the_model)
{
    struct table *t = open_table(QUOTA);
    struct model m = {.count = 0};
    uint32_t since[CLIENTS] = {0};
    uint64_t random = SEED;
    for (unsigned step = 0; step < 200000; step++) {
        uint64_t kind = next(&random) % 100;
        if (kind < 40)
            step_add(t, &m, &random, step);
        else if (kind < 50)
            step_forward(t, &m, step);
        else if (kind < 75)
            step_take(t, &m, since, step);
        else if (kind < 98)
            step_done(t, &m, &random, step);
        else {
            pbft_pending_rewind(&t->p);
            for (uint32_t k = 0; k < m.count; k++)
                m.items[k].waiting = true, m.items[k].forwarded = false;
            memset(since, 0, sizeof since);
        }
        uint32_t waiting = 0;
        for (uint32_t k = 0; k < m.count; k++)
            waiting += m.items[k].waiting;
        HOLDS(t->p.count == m.count && t->p.waiting == waiting);
        HOLDS((t->p.oldest == NONE) == (m.count == 0));
        HOLDS(m.count == 0 || (t->requests[t->p.oldest].client == m.items[0].client &&
                               t->requests[t->p.oldest].session == m.items[0].session &&
                               t->requests[t->p.oldest].t == m.items[0].t));
        HOLDS(t->pool.live == (int)m.count);
    }
    close_table(t);
}

/* What each replica waits for and the clients' ring have their turns. */
Test(pending, what_replicas_wait_for_has_its_turn)
{
    struct table *t = open_table(8);
    for (uint64_t n = 1; n <= 4; n++)
        cr_assert_eq(add(t, 0, 1, n), PBFT_OK);
    for (uint64_t n = 1; n <= 3; n++)
        cr_assert_eq(add(t, 1, 1, n), PBFT_OK);
    cr_assert_eq(add(t, 2, 1, 1), PBFT_OK);
    pbft_pending_hurry(&t->p, 0, 0, 1, 3);
    pbft_pending_hurry(&t->p, 1, 1, 1, 2);
    pbft_pending_hurry(&t->p, 2, 0, 1, 4);
    pbft_pending_hurry(&t->p, 3, 1, 1, 3);
    pbft_pending_hurry(&t->p, 3, 1, 2, 1); /* unknown: nor the one before */
    static const uint64_t expected[] = {3, 102, 4, 1, 101, 201, 2, 103, 0};
    for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        uint64_t taken = take(t);
        cr_assert_eq(taken, expected[i], "turn %u: %lu", i, taken);
    }
    close_table(t);
}

/* What ended is nobody's wish any more, whatever takes its place. */
Test(pending, what_ended_is_not_waited_for)
{
    struct table *t = open_table(8);
    for (uint64_t n = 1; n <= 3; n++)
        cr_assert_eq(add(t, 0, 1, n), PBFT_OK);
    pbft_pending_hurry(&t->p, 1, 0, 1, 3);
    cr_assert_not(pbft_pending_done(&t->p, 0, 1, 3, 0));
    cr_assert_eq(add(t, 0, 1, 9), PBFT_OK); /* where 3 was */
    cr_assert_eq(take(t), 1u);
    cr_assert_eq(take(t), 2u, "not what came after, in its place");
    close_table(t);
}

/* Three replicas wish for something small again and again, and the fourth, or a client's turn, for
 * what needs a batch of its own. */
Test(pending, small_wishes_keep_nothing_large_out)
{
    for (unsigned wished = 0; wished < 2; wished++) {
        struct table *t = open_table(64);
        cr_assert_eq(add_sized(t, 1, 1, 1, 0, 900), PBFT_OK);
        if (wished) pbft_pending_hurry(&t->p, 1, 1, 1, 1);
        uint64_t number = 0;
        bool taken = false;
        for (unsigned batch = 0; batch < 6 && !taken; batch++) {
            size_t room = 1000;
            for (uint32_t i = 0; i != NONE;) {
                for (uint32_t by = 0; by < 4; by++) {
                    if (by == 1 || t->p.urgent[by] != NONE) continue;
                    cr_assert_eq(add(t, 0, 1, ++number), PBFT_OK);
                    pbft_pending_hurry(&t->p, by, 0, 1, number);
                }
                i = pbft_pending_take(&t->p, room);
                if (i == NONE) break;
                room -= t->requests[i].frame->size;
                taken |= t->requests[i].client == 1;
            }
        }
        cr_assert(taken, "%s starves", wished ? "a wish" : "a client");
        close_table(t);
    }
}
