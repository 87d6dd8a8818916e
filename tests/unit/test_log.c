/* store/log: order, group commit, bounds, the cut, power loss and a broken disk. */
#include "store/log.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct reports {
    unsigned count;
    enum pbft_status status;
    pbft_lsn durable;
};

static void report(void *context, enum pbft_status status, pbft_lsn durable)
{
    struct reports *r = context;
    r->count++;
    r->status = status;
    r->durable = durable;
}

static struct pbft_log *log_new(uint64_t bytes_max, struct reports *reports)
{
    struct pbft_log *log = NULL;
    cr_assert_eq(pbft_log_memory_create(&log, bytes_max, report, reports), PBFT_STATUS_OK);
    return log;
}

static enum pbft_status append(struct pbft_log *log, pbft_lsn lsn, const char *text)
{
    struct pbft_span part = {(const uint8_t *)text, strlen(text)};
    return pbft_log_append(log, 7, lsn, &part, 1);
}

static struct pbft_log_stats stats_of(const struct pbft_log *log)
{
    struct pbft_log_stats stats;
    pbft_log_stats(log, &stats);
    return stats;
}

struct seen {
    pbft_lsn lsns[64];
    size_t count, durable, stop_after;
    char text[256];
};

static bool see(void *context, const struct pbft_log_record *record)
{
    struct seen *s = context;
    s->lsns[s->count++] = record->lsn;
    s->durable += record->durable;
    strncat(s->text, (const char *)record->payload.data, record->payload.size);
    return s->count != s->stop_after;
}

Test(store_log, append_and_iterate)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(1 << 20, &r);
    cr_assert_str_eq(pbft_log_name(log), "memory");
    struct pbft_span parts[3] = {{(const uint8_t *)"one", 3},
                                 {NULL, 0},
                                 {(const uint8_t *)"two", 3}};
    cr_assert_eq(pbft_log_append(log, 3, 5, parts, 3), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 5, "same lsn"), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(append(log, 4, "lower lsn"), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(append(log, 9, "three"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_append(log, 3, 10, NULL, 0), PBFT_STATUS_OK);
    parts[1] = (struct pbft_span){(const uint8_t *)"", PBFT_LOG_RECORD_MAX};
    cr_assert_eq(pbft_log_append(log, 3, 11, parts, 3), PBFT_STATUS_ARGUMENT);
    parts[1].size = SIZE_MAX;
    cr_assert_eq(pbft_log_append(log, 3, 11, parts, 3), PBFT_STATUS_ARGUMENT);

    struct seen s = {0};
    cr_assert(pbft_log_iterate(log, see, &s));
    cr_assert(s.count == 3 && s.lsns[0] == 5 && s.lsns[1] == 9 && s.lsns[2] == 10);
    cr_assert_str_eq(s.text, "onetwothree");
    cr_assert_eq(s.durable, 0);
    s = (struct seen){.stop_after = 2};
    cr_assert(!pbft_log_iterate(log, see, &s));
    cr_assert_eq(s.count, 2);
    pbft_log_close(log);
    pbft_log_close(NULL);
    cr_assert_eq(pbft_log_memory_create(&log, 1, NULL, NULL), PBFT_STATUS_ARGUMENT);
}

Test(store_log, durable_comes_later_and_for_many)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(1 << 20, &r);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(!pbft_log_poll(log)); /* nothing to make durable */
    cr_assert_eq(append(log, 1, "a"), PBFT_STATUS_OK);
    cr_assert(!pbft_log_poll(log)); /* nobody asked */
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert_eq(r.count, 0); /* never from within */
    cr_assert(stats_of(log).committing);

    /* What comes while a commit is under way shares the next one. */
    cr_assert_eq(append(log, 2, "b"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 3, "c"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 4, "unasked"), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    cr_assert(r.count == 1 && r.status == PBFT_STATUS_OK && r.durable == 1);
    cr_assert(pbft_log_poll(log));
    cr_assert(r.count == 2 && r.durable == 3);
    cr_assert(!pbft_log_poll(log));
    struct pbft_log_stats stats = stats_of(log);
    cr_assert(stats.commits == 2 && stats.durable == 3 && stats.last == 4 && !stats.committing);
    struct seen s = {0};
    cr_assert(pbft_log_iterate(log, see, &s));
    cr_assert(s.count == 4 && s.durable == 3);
    pbft_log_close(log);
}

Test(store_log, cut_wants_a_durable_carry_over)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(1 << 20, &r);
    for (pbft_lsn lsn = 10; lsn <= 20; lsn++)
        cr_assert_eq(append(log, lsn, "x"), PBFT_STATUS_OK);
    uint64_t bytes = stats_of(log).bytes;
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    cr_assert_eq(append(log, 21, "carry"), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 22, "over"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_cut(log, 21, 22), PBFT_STATUS_REFUSED); /* PROTOCOL 26 */
    cr_assert_eq(pbft_log_cut(log, 20, 22), PBFT_STATUS_REFUSED);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_cut(log, 21, 22), PBFT_STATUS_REFUSED); /* not reported yet */
    cr_assert(pbft_log_poll(log));
    cr_assert_eq(pbft_log_cut(log, 22, 21), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(pbft_log_cut(log, 21, 23), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(pbft_log_cut(log, 9, 22), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(stats_of(log).first, 10);
    cr_assert_eq(pbft_log_cut(log, 21, 22), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 23, "!"), PBFT_STATUS_OK);
    struct seen s = {0};
    cr_assert(pbft_log_iterate(log, see, &s));
    cr_assert(s.count == 3 && s.lsns[0] == 21);
    cr_assert_str_eq(s.text, "carryover!");
    cr_assert_lt(stats_of(log).bytes, bytes);
    cr_assert_eq(append(log, 15, "the past"), PBFT_STATUS_ARGUMENT);
    pbft_log_close(log);
}

Test(store_log, cap)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(4096, &r);
    char text[101];
    memset(text, 'x', 100);
    text[100] = 0;
    pbft_lsn lsn = 0;
    while (append(log, lsn + 1, text) == PBFT_STATUS_OK)
        lsn++;
    cr_assert(lsn > 20 && lsn < 41);
    cr_assert_eq(append(log, lsn + 1, text), PBFT_STATUS_FULL);
    cr_assert_eq(stats_of(log).records, lsn);
    cr_assert_leq(stats_of(log).bytes, 4096);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    cr_assert_eq(pbft_log_cut(log, lsn, lsn), PBFT_STATUS_OK);
    cr_assert_eq(append(log, lsn + 1, text), PBFT_STATUS_OK); /* room again, same lsn */
    pbft_log_close(log);
}

Test(store_log, power_loss_takes_what_is_not_durable)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(1 << 20, &r);
    cr_assert_eq(append(log, 1, "a"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    uint64_t bytes = stats_of(log).bytes;
    cr_assert_eq(append(log, 2, "b"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert_eq(append(log, 3, "c"), PBFT_STATUS_OK);
    pbft_log_memory_crash(log);
    cr_assert(!pbft_log_poll(log));
    cr_assert_eq(r.count, 1);
    struct seen s = {0};
    cr_assert(pbft_log_iterate(log, see, &s));
    cr_assert_str_eq(s.text, "a");
    cr_assert_eq(stats_of(log).bytes, bytes);
    cr_assert_eq(append(log, 2, "d"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    cr_assert_eq(r.durable, 2);
    pbft_log_close(log);
}

/* Room, commits and cuts go by what was appended, kept or not. */
Test(store_log, log_that_forgets_counts_as_one_that_keeps)
{
    static uint8_t large[65536];
    struct pbft_span part = {large, sizeof large};
    struct reports r = {0};
    struct pbft_log *logs[2];
    for (unsigned i = 0; i < 2; i++) {
        logs[i] = log_new(5 * sizeof large, &r);
        if (i == 1) pbft_log_memory_forget(logs[i]);
        for (pbft_lsn lsn = 1; lsn <= 4; lsn++)
            cr_assert_eq(pbft_log_append(logs[i], 1, lsn, &part, 1), PBFT_STATUS_OK);
        cr_assert_eq(pbft_log_append(logs[i], 1, 5, &part, 1), PBFT_STATUS_FULL);
        cr_assert_eq(pbft_log_sync(logs[i]), PBFT_STATUS_OK);
        cr_assert(pbft_log_poll(logs[i]));
        cr_assert_eq(r.durable, 4);
    }
    cr_assert_eq(stats_of(logs[0]).bytes, stats_of(logs[1]).bytes);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pbft_log_cut(logs[i], 3, 4), PBFT_STATUS_OK);
    cr_assert_eq(stats_of(logs[0]).bytes, stats_of(logs[1]).bytes);
    cr_assert_eq(stats_of(logs[1]).records, 2);
    for (unsigned i = 0; i < 2; i++)
        pbft_log_close(logs[i]);
}

/* FAULTS 2.41: a failed sync is never tried again. */
Test(store_log, failed_commit_is_final)
{
    struct reports r = {0};
    struct pbft_log *log = log_new(1 << 20, &r);
    cr_assert_eq(append(log, 1, "a"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    cr_assert(pbft_log_poll(log));
    cr_assert_eq(append(log, 2, "b"), PBFT_STATUS_OK);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
    pbft_log_memory_break(log);
    cr_assert(pbft_log_poll(log));
    cr_assert(r.count == 2 && r.status == PBFT_STATUS_IO && r.durable == 1);
    cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_IO);
    cr_assert_eq(append(log, 3, "c"), PBFT_STATUS_IO);
    cr_assert_eq(pbft_log_cut(log, 1, 1), PBFT_STATUS_IO);
    cr_assert(!pbft_log_poll(log));
    pbft_log_close(log);
}

/* ---- at random, against a plain array ---- */

#define RECORDS 20000u

struct plain {
    struct {
        pbft_lsn lsn;
        uint32_t kind, size;
        uint8_t fill;
    } records[RECORDS];
    size_t first, count; /* [first, count) are held */
    size_t at;
    pbft_lsn durable;
    bool bad;
};

static bool compare(void *context, const struct pbft_log_record *record)
{
    struct plain *p = context;
    size_t at = p->at++;
    p->bad = at >= p->count || record->lsn != p->records[at].lsn ||
             record->kind != p->records[at].kind || record->payload.size != p->records[at].size ||
             record->durable != (record->lsn <= p->durable);
    for (size_t i = 0; !p->bad && i < record->payload.size; i++)
        p->bad = record->payload.data[i] != p->records[at].fill;
    return !p->bad;
}

Test(store_log, random_operations)
{
    static struct plain p;
    struct reports r = {0};
    struct pbft_log *log = log_new(200u << 10, &r);
    uint64_t x = 0x1f2e3d4c5b6a7988u;
    pbft_lsn lsn = 0;
    uint8_t payload[600];
    unsigned full = 0, cuts = 0;
    while (p.count < RECORDS) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unsigned kind = (unsigned)(x >> 20) % 100;
        uint32_t draw = (uint32_t)(x >> 33);
        if (kind < 80) {
            uint32_t size = draw % sizeof payload;
            pbft_lsn next = lsn + 1 + draw % 3;
            memset(payload, (int)(draw % 251), size);
            struct pbft_span parts[2] = {{payload, size / 3}, {payload, size - size / 3}};
            enum pbft_status status = pbft_log_append(log, kind, next, parts, 2);
            if (status == PBFT_STATUS_OK) {
                lsn = next;
                p.records[p.count].lsn = lsn;
                p.records[p.count].kind = kind;
                p.records[p.count].size = size;
                p.records[p.count++].fill = (uint8_t)(draw % 251);
            } else {
                cr_assert_eq(status, PBFT_STATUS_FULL);
                full++;
            }
        } else if (kind < 90) {
            cr_assert_eq(pbft_log_sync(log), PBFT_STATUS_OK);
        } else if (kind < 98) {
            if (pbft_log_poll(log)) p.durable = r.durable;
        } else if (p.count > p.first && (full > 0 || draw % 20 == 0)) {
            size_t to = p.first + draw % (p.count - p.first);
            pbft_lsn at = p.records[to].lsn;
            enum pbft_status expected = at <= p.durable ? PBFT_STATUS_OK : PBFT_STATUS_REFUSED;
            cr_assert_eq(pbft_log_cut(log, at, at), expected);
            if (expected == PBFT_STATUS_OK) {
                p.first = to;
                cuts++;
            }
            p.at = p.first;
            p.bad = false;
            cr_assert(pbft_log_iterate(log, compare, &p));
            cr_assert(!p.bad && p.at == p.count, "lsn %llu", (unsigned long long)lsn);
        }
    }
    cr_assert(full > 0 && cuts > 10);
    pbft_log_close(log);
}
