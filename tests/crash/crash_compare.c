/* All signed statements of all incarnations, compared (PROTOCOL 24-27). */
#include "replica/faults/witness.h"
#include "tests/crash/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_BYTES (WITNESS_BYTES - WITNESS_HASH)

struct statement {
    uint64_t view, seq;
    uint32_t epoch;
    uint8_t hash[HASH_BYTES];
    uint8_t type; /* 0: an empty place */
    uint8_t sender;
    bool sent; /* the sender's own file has it */
};

struct crash_compare {
    struct statement *places; /* open addressing */
    uint64_t capacity, count, records;
    uint64_t left[CRASH_REPLICAS];   /* the highest view that it asked for: it has left all below */
    uint32_t epochs[CRASH_REPLICAS]; /* in this epoch; it has left all before */
    uint64_t sent[PBFT_NEW_VIEW + 1];
};

struct crash_compare *crash_compare_new(void)
{
    struct crash_compare *c = calloc(1, sizeof *c);
    if (c != NULL) {
        c->capacity = 1u << 16;
        c->places = calloc(c->capacity, sizeof *c->places);
    }
    if (c == NULL || c->places == NULL) abort();
    return c;
}

static struct statement *place_of(struct statement *places, uint64_t capacity,
                                  const struct statement *s)
{
    uint64_t h = (s->view * 0x9e3779b97f4a7c15u) ^ (s->seq * 0xc2b2ae3d27d4eb4fu) ^
                 ((uint64_t)(s->epoch * 256u + s->type * 8u + s->sender) * 0x165667b19e3779f9u);
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    for (uint64_t i = h >> 20;; i++) {
        struct statement *p = &places[i & (capacity - 1)];
        if (p->type == 0 || (p->type == s->type && p->sender == s->sender && p->epoch == s->epoch &&
                             p->view == s->view && p->seq == s->seq))
            return p;
    }
}

static void grow(struct crash_compare *c)
{
    struct statement *places = calloc(c->capacity * 2, sizeof *places);
    if (places == NULL) abort();
    for (uint64_t i = 0; i < c->capacity; i++)
        if (c->places[i].type != 0)
            *place_of(places, c->capacity * 2, &c->places[i]) = c->places[i];
    free(c->places);
    c->places = places;
    c->capacity *= 2;
}

/* A vote of its own, first sent now: never in a view or epoch that it has left. Sent again it may
 * be. */
static void check_order(struct crash_compare *c, unsigned id, const struct statement *s)
{
    if (s->epoch < c->epochs[id])
        crash_found("replica %u sent a first %s of epoch %u after it had entered epoch %u", id,
                    pbft_type_text(s->type), (unsigned)s->epoch, (unsigned)c->epochs[id]);
    if (s->epoch > c->epochs[id]) {
        c->epochs[id] = s->epoch;
        c->left[id] = 0;
    }
    if (s->type == PBFT_VIEW_CHANGE) {
        if (s->view > c->left[id]) c->left[id] = s->view;
        return;
    }
    bool vote = s->type == PBFT_PRE_PREPARE || s->type == PBFT_PREPARE || s->type == PBFT_COMMIT;
    if (vote && s->view < c->left[id])
        crash_found("replica %u sent a first %s for seq %llu in view %llu, after its VIEW-CHANGE "
                    "for %llu",
                    id, pbft_type_text(s->type), (unsigned long long)s->seq,
                    (unsigned long long)s->view, (unsigned long long)c->left[id]);
}

static void add(struct crash_compare *c, unsigned id, const uint8_t *record)
{
    struct statement s = {.epoch = pbft_get_u32(record + WITNESS_EPOCH),
                          .view = pbft_get_u64(record + WITNESS_VIEW),
                          .seq = pbft_get_u64(record + WITNESS_SEQ),
                          .type = record[1],
                          .sender = record[2]};
    memcpy(s.hash, record + WITNESS_HASH, HASH_BYTES);
    c->records++;
    if (s.type < PBFT_PRE_PREPARE || s.type > PBFT_NEW_VIEW || s.sender >= CRASH_REPLICAS ||
        (record[0] == 's' && s.sender != id)) {
        crash_found("a witness of replica %u wrote what is no record", id);
        return;
    }
    struct statement *p = place_of(c->places, c->capacity, &s);
    if (p->type == 0) {
        *p = s;
        c->count++;
    } else if (memcmp(p->hash, s.hash, HASH_BYTES) != 0) {
        crash_found("replica %u contradicts itself: two %s in epoch %u, view %llu for seq %llu "
                    "(one in the file of replica %u, direction %c)",
                    (unsigned)s.sender, pbft_type_text(s.type), (unsigned)s.epoch,
                    (unsigned long long)s.view, (unsigned long long)s.seq, id, record[0]);
    }
    if (record[0] == 's' && !p->sent) {
        p->sent = true;
        c->sent[s.type]++;
        check_order(c, id, &s);
    }
    if (c->count > c->capacity / 4 * 3) grow(c);
}

void crash_compare_file(struct crash_compare *c, unsigned id, const char *path)
{
    static uint8_t buffer[WITNESS_BYTES * 4096];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return; /* it was killed before it opened it */
    size_t got;
    while ((got = fread(buffer, WITNESS_BYTES, 4096, file)) > 0)
        for (size_t i = 0; i < got; i++)
            add(c, id, buffer + i * WITNESS_BYTES);
    (void)fclose(file);
    if (crash_findings() == 0) (void)unlink(path);
}

uint64_t crash_compare_count(const struct crash_compare *c)
{
    return c->count;
}

uint64_t crash_compare_records(const struct crash_compare *c)
{
    return c->records;
}

uint64_t crash_compare_sent(const struct crash_compare *c, uint8_t type)
{
    return c->sent[type];
}

uint32_t crash_compare_epoch(const struct crash_compare *c)
{
    uint32_t last = 0;
    for (unsigned id = 0; id < CRASH_REPLICAS; id++)
        if (c->epochs[id] > last) last = c->epochs[id];
    return last;
}

void crash_compare_free(struct crash_compare *c)
{
    free(c->places);
    free(c);
}
