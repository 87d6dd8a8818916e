/* FAULTS 2.20, 4.24 in real processes: a bit of one replica's state flips. It notices at the next
 * certified checkpoint, says so in log, metrics and status, fetches the certified state, and leaves
 * a report that names the key and the bit. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAMAGED 2u

/* The labels of pbft_fault_damage_info: which key, in hex, and which byte of its value. */
static bool damage_of(const struct live *l, char key[300], unsigned *byte)
{
    char line[512];
    if (!live_metric_line(l, DAMAGED, "pbft_fault_damage_info{", line, sizeof line)) return false;
    return sscanf(line, "pbft_fault_damage_info{key=\"%299[0-9a-f]\",byte=\"%u\"}", key, byte) == 2;
}

static bool metric_reaches(const struct live *l, const char *name, double value, unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 10; i++) {
        if (live_metric(l, DAMAGED, name) == value) return true;
        live_sleep_ms(100);
    }
    return false;
}

static json_t *report_of(const struct live *l)
{
    static char out[65536];
    char command[400];
    (void)snprintf(command, sizeof command, "cat %s/node-%u/data/divergence-*.json", l->dir,
                   DAMAGED);
    char *const argv[] = {"/bin/sh", "-c", command, NULL};
    for (unsigned i = 0; i < 900; i++) {
        json_t *report = live_run(argv, out, sizeof out) == 0 ? json_loads(out, 0, NULL) : NULL;
        if (report != NULL) return report;
        live_sleep_ms(100);
    }
    return NULL;
}

static const json_t *named(json_t *report, const char *key)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(report, "keys"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "key")), key) == 0) return entry;
    }
    return NULL;
}

static void put_some(const struct live *l, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key%03u", i);
        cr_assert_eq(live_ctl(l, NULL, 0, "put", key, "some value of a key", NULL), 0);
    }
}

Test(live_divergence, is_repaired_and_told)
{
    struct live l;
    static char text[65536];
    char key[300], faulty[32];
    unsigned byte = 0;
    (void)snprintf(faulty, sizeof faulty, "%u=flip-state=30", DAMAGED);
    live_start_faulty_sync(&l, 4, 4, faulty);
    l.faulty = 0; /* it means well: its root counts */
    put_some(&l, 0, 40);
    cr_assert(metric_reaches(&l, "pbft_fault_acts_total", 1, 90));
    cr_assert(damage_of(&l, key, &byte), "what was it?");
    bool noticed = false;
    for (unsigned i = 0; i < 20 && !noticed; i++) { /* at the pace of the machine */
        struct live_load load;
        live_load_start(&load, &l, "2", "2", "3", "0");
        json_decref(live_load_finish(&load));
        noticed = metric_reaches(&l, "pbft_divergences_total", 1, 1);
    }
    if (!noticed) live_dump_log(&l);
    cr_assert(noticed, "at the next certified checkpoint");
    cr_expect(metric_reaches(&l, "pbft_diverged ", 0, 90));
    json_t *report = report_of(&l);
    cr_assert_not_null(report, "no report");
    const json_t *entry = named(report, key);
    char *dump = json_dumps(report, JSON_INDENT(1));
    /* An operation may have written the key again before the checkpoint: not of those that the load
     * has, and ours are done. But for the store's revision, which each of them writes. */
    if (strcmp(key, "1072") != 0) {
        cr_assert_not_null(entry, "%s is not in %s", key, dump);
        cr_expect_eq(json_integer_value(json_object_get(entry, "bits")), 1, "%s", dump);
        cr_expect_eq(json_integer_value(json_object_get(entry, "first_byte")), (json_int_t)byte);
    }
    cr_expect_str_neq(json_string_value(json_object_get(report, "own_root")),
                      json_string_value(json_object_get(report, "certified_root")));
    free(dump);
    json_decref(report);
    cr_expect_eq(live_number(&l, DAMAGED, "divergences"), 1);
    cr_expect_eq(live_number(&l, DAMAGED, "repairing"), 0);
    cr_expect_eq(live_number(&l, DAMAGED, "transferring"), 0);
    cr_expect(live_roots_agree(&l, 0));
    put_some(&l, 40, 45);
    cr_expect(live_roots_agree(&l, 0));
    cr_expect_eq(live_metric(&l, DAMAGED, "pbft_divergences_total"), 1.0, "once");
    for (unsigned node = 0; node < 4; node++)
        if (node != DAMAGED) cr_expect_eq(live_metric(&l, node, "pbft_divergences_total"), 0.0);
    (void)live_ctl(&l, text, sizeof text, "status", NULL);
    cr_expect_null(strstr(text, "DIVERGED"), "%s", text);
    FILE *log = fopen(l.log, "r");
    cr_assert_not_null(log);
    size_t size = fread(text, 1, sizeof text - 1, log);
    text[size] = '\0';
    fclose(log);
    cr_expect_not_null(strstr(text, "\"event\":\"divergence\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"event\":\"divergence_repaired\""), "%s", text);
    live_stop(&l);
}
