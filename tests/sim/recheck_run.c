/* A run's worth of rechecks: each frame once, NEW-VIEWs with the VIEW-CHANGEs seen before. */
#include "tests/sim/recheck.h"

#include "pbft/wire.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 32u

struct seen {
    uint8_t key[KEY_BYTES]; /* hash of the frame; of a VIEW-CHANGE its digest */
    uint8_t *frame;         /* VIEW-CHANGEs only */
    size_t size;
    bool used;
};

struct table {
    struct seen *slots;
    size_t capacity, count;
};

struct recheck {
    const struct pbft_cluster *cluster;
    const struct pbft_signer *signer;
    struct table frames, view_changes;
    struct recheck_stats stats;
};

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

static struct seen *slot_of(const struct table *t, const uint8_t *key)
{
    uint64_t h;
    memcpy(&h, key, sizeof h);
    size_t at = (size_t)h & (t->capacity - 1);
    while (t->slots[at].used && memcmp(t->slots[at].key, key, KEY_BYTES) != 0)
        at = (at + 1) & (t->capacity - 1);
    return &t->slots[at];
}

/* The slot of this key; used already or not. */
static struct seen *find(struct table *t, const uint8_t *key)
{
    if (2 * (t->count + 1) >= t->capacity) {
        struct table larger = {.capacity = t->capacity == 0 ? 256 : 2 * t->capacity,
                               .count = t->count};
        larger.slots = allocate(larger.capacity, sizeof *larger.slots);
        for (size_t i = 0; i < t->capacity; i++)
            if (t->slots[i].used) *slot_of(&larger, t->slots[i].key) = t->slots[i];
        free(t->slots);
        *t = larger;
    }
    return slot_of(t, key);
}

static struct seen *add(struct table *t, struct seen *slot, const uint8_t *key)
{
    slot->used = true;
    memcpy(slot->key, key, KEY_BYTES);
    t->count++;
    return slot;
}

/* H("view-change", body): what a NEW-VIEW names it by. */
static void view_change_key(struct pbft_span frame, uint8_t key[KEY_BYTES])
{
    static const uint8_t domain[16] = "view-change";
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, KEY_BYTES);
    (void)crypto_generichash_update(&h, domain, sizeof domain);
    (void)crypto_generichash_update(&h, frame.data + 8, frame.size - 8 - 64);
    (void)crypto_generichash_final(&h, key, KEY_BYTES);
}

static void remember(struct recheck *r, struct pbft_span frame)
{
    uint8_t key[KEY_BYTES];
    view_change_key(frame, key);
    struct seen *slot = find(&r->view_changes, key);
    if (slot->used) return;
    add(&r->view_changes, slot, key);
    slot->frame = allocate(1, frame.size);
    slot->size = frame.size;
    memcpy(slot->frame, frame.data, frame.size);
}

struct recheck *recheck_new(const struct pbft_cluster *cluster, const struct pbft_signer *signer)
{
    struct recheck *r = allocate(1, sizeof *r);
    r->cluster = cluster;
    r->signer = signer;
    return r;
}

void recheck_free(struct recheck *r)
{
    if (r == NULL) return;
    for (size_t i = 0; i < r->view_changes.capacity; i++)
        free(r->view_changes.slots[i].frame);
    free(r->view_changes.slots);
    free(r->frames.slots);
    free(r);
}

/* Layout: docs/wire.md, NEW-VIEW; the frame itself was found right before. */
static bool with_view_changes(struct recheck *r, struct pbft_span frame, char *why)
{
    uint32_t n = r->cluster->params.n, q = (n + (n - 1) / 3 + 2) / 2;
    struct pbft_span vcs[PBFT_REPLICAS_MAX];
    for (uint32_t i = 0; i < q; i++) {
        const struct seen *slot = find(&r->view_changes, frame.data + 28 + (size_t)i * KEY_BYTES);
        if (!slot->used) {
            r->stats.new_views_partly++;
            return true;
        }
        vcs[i] = (struct pbft_span){slot->frame, slot->size};
    }
    r->stats.new_views++;
    return recheck_new_view(r->cluster, r->signer, frame, vcs, q, why);
}

bool recheck_sent(struct recheck *r, struct pbft_span frame, char why[RECHECK_WHY_BYTES])
{
    uint8_t key[KEY_BYTES];
    why[0] = '\0';
    (void)crypto_generichash(key, sizeof key, frame.data, frame.size, NULL, 0);
    struct seen *slot = find(&r->frames, key);
    if (slot->used) {
        r->stats.repeated++;
        return true;
    }
    r->stats.frames++;
    if (!recheck_frame(r->cluster, r->signer, frame, why)) return false;
    if (frame.data[0] == PBFT_VIEW_CHANGE) remember(r, frame);
    if (frame.data[0] == PBFT_NEW_VIEW && !with_view_changes(r, frame, why)) return false;
    add(&r->frames, slot, key);
    return true;
}

void recheck_received(struct recheck *r, struct pbft_span frame)
{
    char why[RECHECK_WHY_BYTES];
    uint8_t key[KEY_BYTES];
    if (frame.size < 8 + 64 || frame.data[0] != PBFT_VIEW_CHANGE) return;
    view_change_key(frame, key);
    if (find(&r->view_changes, key)->used) return;
    if (recheck_frame(r->cluster, r->signer, frame, why)) remember(r, frame);
}

const struct recheck_stats *recheck_stats(const struct recheck *r)
{
    return &r->stats;
}
