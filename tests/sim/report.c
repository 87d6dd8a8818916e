/* Totals of a campaign: adding up, judging, printing. */
#include "tests/sim/campaign.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* ---- adding up ---- */

/* splitmix64's last steps */
static uint64_t scramble(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void count(uint64_t *buckets, size_t size, uint64_t value)
{
    buckets[value < size ? value : size - 1]++;
}

/* Kept plus one, so that zero is "none yet". */
static void least(uint64_t *kept, uint64_t value)
{
    if (*kept == 0 || value + 1 < *kept) *kept = value + 1;
}

static uint64_t sorts_met(const struct sim_world_result *r)
{
    uint64_t sorts = 0;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        sorts += r->faults[i] > 0;
    return sorts;
}

void sim_totals_add(struct sim_totals *t, uint64_t seed, const struct sim_world_result *r)
{
    t->seeds++;
    t->failed += r == NULL || !r->ok;
    if (r == NULL) return;
    t->real_signatures += r->real_signatures;
    t->virtual_ns += r->virtual_ns;
    t->delivered += r->delivered;
    t->executed += r->executed;
    t->view_changes += r->view_changes;
    t->injected += r->injected;
    t->skipped += r->skipped;
    if (r->pair > 0) t->pairs[r->pair - 1]++;
    t->hash += scramble(scramble(seed) ^ r->trace_hash);
    t->by_n[r->n < 16 ? r->n : 0]++;
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        t->configured[i] += r->configured >> i & 1u;
        t->met[i] += (r->configured >> i & 1u) != 0 && r->faults[i] > 0;
        t->waived[i] += r->waived >> i & 1u;
        t->acts[i] += r->faults[i];
    }
    for (size_t i = 0; i < SIM_REACH_COUNT; i++) {
        t->reached_in[i] += r->reached[i] > 0;
        t->reached[i] += r->reached[i];
    }
    if (!r->ok) return; /* it ended early: not a seed to measure */
    least(&t->least_delivered, r->delivered);
    least(&t->least_executed, r->executed);
    least(&t->least_sorts, sorts_met(r));
    count(t->messages, SIM_MESSAGES_BUCKETS, r->delivered / SIM_MESSAGES_WIDTH);
    count(t->operations, SIM_OPERATIONS_BUCKETS, r->executed);
    count(t->sorts, SIM_FAULT_COUNT + 1, sorts_met(r));
}

uint64_t sim_median(const uint64_t *buckets, size_t size, uint64_t width)
{
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < size; i++)
        all += buckets[i];
    for (size_t i = 0; i < size; i++) {
        seen += buckets[i];
        if (2 * seen > all) return i * width;
    }
    return 0;
}

void sim_report_failed(struct sim_report *r, uint64_t seed, const char *text)
{
    size_t at = r->failed_count;
    while (at > 0 && r->failed[at - 1].seed > seed)
        at--;
    if (at > 0 && r->failed[at - 1].seed == seed) return;
    if (at == SIM_FAILURES_KEPT) return;
    if (r->failed_count < SIM_FAILURES_KEPT) r->failed_count++;
    memmove(&r->failed[at + 1], &r->failed[at], (r->failed_count - 1 - at) * sizeof *r->failed);
    r->failed[at].seed = seed;
    snprintf(r->failed[at].text, sizeof r->failed[at].text, "%s", text);
}

/* ---- judging ---- */

struct medians {
    uint64_t messages, operations, sorts;
};

static struct medians medians_of(const struct sim_totals *t)
{
    return (struct medians){sim_median(t->messages, SIM_MESSAGES_BUCKETS, SIM_MESSAGES_WIDTH),
                            sim_median(t->operations, SIM_OPERATIONS_BUCKETS, 1),
                            sim_median(t->sorts, SIM_FAULT_COUNT + 1, 1)};
}

static bool never(const struct sim_totals *t, char *why, size_t size)
{
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (t->acts[i] > 0) continue;
        snprintf(why, size, "no seed met the fault '%s'", sim_fault_text((enum sim_fault)i));
        return true;
    }
    for (size_t i = 0; i < SIM_REACH_COUNT; i++) {
        if (t->reached[i] > 0) continue;
        snprintf(why, size, "no seed reached '%s'", sim_reach_text((enum sim_reach)i));
        return true;
    }
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (t->waived[i] * 1000u <= t->seeds * SIM_WAIVED_PER_1000) continue;
        snprintf(why, size,
                 "'%s' was drawn and could not act in %" PRIu64 " seeds, more than %u of 1,000",
                 sim_fault_text((enum sim_fault)i), t->waived[i], SIM_WAIVED_PER_1000);
        return true;
    }
    /* One in a hundred is drawn for Ed25519; half of that is far from chance once they are many. */
    bool few = t->seeds >= SIM_SHARES_FROM && t->real_signatures < t->seeds / 200;
    if (t->real_signatures == 0 || few || t->twice < t->seeds / SIM_TWICE_EVERY) {
        snprintf(why, size, "only %" PRIu64 " seeds signed with Ed25519, %" PRIu64 " run twice",
                 t->real_signatures, t->twice);
        return true;
    }
    return false;
}

static uint64_t pairs_tried(const struct sim_totals *t, uint64_t *distinct)
{
    uint64_t tried = 0;
    *distinct = 0;
    for (size_t i = 0; i < SIM_ROWS_MAX * SIM_ROWS_MAX; i++) {
        tried += t->pairs[i];
        *distinct += t->pairs[i] > 0;
    }
    return tried;
}

/* 100 draws of the thousand pairs that there are make 95 different ones, 1,000 make 640. */
static bool pairs_repeat(const struct sim_totals *t, char *why, size_t size)
{
    uint64_t distinct, tried = pairs_tried(t, &distinct);
    bool drawn = distinct > 1; /* or given */
    if (!drawn || tried < SIM_MEDIANS_FROM || distinct >= (tried < 1000 ? tried / 2 : 500))
        return false;
    snprintf(why, size, "only %" PRIu64 " different pairs of rows among %" PRIu64, distinct, tried);
    return true;
}

bool sim_report_passed(const struct sim_campaign *c, const struct sim_report *r, char why[512])
{
    const struct sim_totals *t = &r->totals;
    struct medians m = medians_of(t);
    why[0] = '\0';
    if (t->failed > 0) {
        snprintf(why, 512, "%" PRIu64 " of %" PRIu64 " seeds failed", t->failed, t->seeds);
        return false;
    }
    if (!r->complete || t->seeds == 0) {
        snprintf(why, 512, "only %" PRIu64 " of %" PRIu64 " seeds were run", t->seeds, c->count);
        return false;
    }
    if (c->scenario != NULL) return !pairs_repeat(t, why, 512);
    if (c->world.traitors > 0) return true;
    if (t->seeds >= SIM_MEDIANS_FROM &&
        (m.messages < SIM_MEDIAN_MESSAGES || m.operations < SIM_MEDIAN_OPERATIONS ||
         m.sorts < SIM_MEDIAN_SORTS)) {
        snprintf(why, 512,
                 "seeds are too small: median %" PRIu64 " messages (%u), %" PRIu64
                 " operations (%u), %" PRIu64 " sorts of fault (%u)",
                 m.messages, SIM_MEDIAN_MESSAGES, m.operations, SIM_MEDIAN_OPERATIONS, m.sorts,
                 SIM_MEDIAN_SORTS);
        return false;
    }
    bool drawn = c->world.n == 0 && !c->world.real_signatures && !c->world.fast_signatures;
    return t->seeds < SIM_REACHES_FROM || !drawn || !never(t, why, 512);
}

/* ---- printing ---- */

/* 1234567 as "1,234,567". */
static const char *grouped(uint64_t number, char text[32])
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number), out = 0;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0) text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

void sim_failed_write(const char *build, const char *again, uint64_t seed, const char *text,
                      FILE *file)
{
    fprintf(file, "FAILED: %s\n    build %s\n    again: %s --seed %" PRIu64 " --explain\n", text,
            build, again, seed);
}

static void write_faults(const struct sim_totals *t, FILE *file)
{
    char a[32], b[32];
    fprintf(file, "  faults, how often they acted, in how many seeds of those that drew them, and\n"
                  "  in how many they could not act\n");
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++)
        fprintf(file, "    %-30s %15s %10s of %" PRIu64 ", waived in %" PRIu64 "\n",
                sim_fault_text((enum sim_fault)i), grouped(t->acts[i], a), grouped(t->met[i], b),
                t->configured[i], t->waived[i]);
    fprintf(file, "  places, how often they were reached, and in how many seeds\n");
    for (size_t i = 0; i < SIM_REACH_COUNT; i++)
        fprintf(file, "    %-42s %15s %10s\n", sim_reach_text((enum sim_reach)i),
                grouped(t->reached[i], a), grouped(t->reached_in[i], b));
}

static void write_pairs(const struct sim_totals *t, FILE *file)
{
    uint64_t distinct, tried = pairs_tried(t, &distinct);
    if (tried == 0) return;
    fprintf(file,
            "  pairs of rows: %" PRIu64 " tried, %" PRIu64 " of them different; %" PRIu64
            " drawn that cannot go together\n",
            tried, distinct, t->skipped);
}

static void write_sizes(const struct sim_campaign *c, const struct sim_totals *t, FILE *file)
{
    char a[32], b[32], d[32];
    struct medians m = medians_of(t);
    fprintf(file, "  simulated %.1f hours: %s messages, %s operations, %s view changes\n",
            (double)t->virtual_ns / 3.6e12, grouped(t->delivered, a), grouped(t->executed, b),
            grouped(t->view_changes, d));
    fprintf(file,
            "  a seed: messages median %s (least %" PRIu64 "), operations median %" PRIu64
            " (least %" PRIu64 "), sorts of fault median %" PRIu64 " (least %" PRIu64 ")\n",
            grouped(m.messages, a), t->least_delivered - (t->least_delivered > 0), m.operations,
            t->least_executed - (t->least_executed > 0), m.sorts,
            t->least_sorts - (t->least_sorts > 0));
    fprintf(file, "  seeds by replicas:");
    for (size_t n = 0; n < 16; n++)
        if (t->by_n[n] > 0) fprintf(file, " n=%zu %s", n, grouped(t->by_n[n], a));
    fprintf(file, "; %s with Ed25519; %s run twice, with equal traces\n",
            grouped(t->real_signatures, a), grouped(t->twice, b));
    if (c->scenario != NULL)
        fprintf(file, "  scenario %s: its fault was %s times\n", c->scenario,
                grouped(t->injected, a));
}

void sim_report_write(const struct sim_campaign *c, const struct sim_report *r, FILE *file)
{
    char a[32], b[32], why[512];
    const struct sim_totals *t = &r->totals;
    fprintf(file, "pbft-sim: %s of %s seeds from %" PRIu64 " in %.0f s (%.1f a second), build %s\n",
            grouped(t->seeds, a), grouped(c->count, b), c->first, r->seconds,
            r->seconds > 0 ? (double)t->seeds / r->seconds : 0, c->build);
    write_sizes(c, t, file);
    write_pairs(t, file);
    if (c->scenario == NULL) write_faults(t, file);
    fprintf(file, "  hash of all traces %016" PRIx64 "\n", t->hash);
    for (size_t i = 0; i < r->failed_count && i < 20; i++)
        sim_failed_write(c->build, c->again, r->failed[i].seed, r->failed[i].text, file);
    if (t->failed > 20) fprintf(file, "... and %" PRIu64 " more\n", t->failed - 20);
    if (sim_report_passed(c, r, why))
        fprintf(file, "== pbft-sim: passed: %s seeds\n", grouped(t->seeds, a));
    else
        fprintf(file, "== pbft-sim: %s: %s\n",
                t->failed > 0 || r->complete ? "FAILED" : "incomplete", why);
}

void sim_result_write(uint64_t seed, const struct sim_world_result *r, FILE *file)
{
    char a[32], b[32];
    fprintf(file,
            "seed %" PRIu64 ": n=%" PRIu32 ", %.3f s of virtual time, %s messages, %s "
            "operations, %" PRIu64 " view changes, %s signatures, trace %016" PRIx64 "\n",
            seed, r->n, (double)r->virtual_ns / 1e9, grouped(r->delivered, a),
            grouped(r->executed, b), r->view_changes, r->real_signatures ? "Ed25519" : "fast",
            r->trace_hash);
    if (r->injected > 0)
        fprintf(file, "  the scenario's fault was %s times\n", grouped(r->injected, a));
    const char *between = "  faults:";
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (r->faults[i] == 0) continue;
        fprintf(file, "%s %s %s", between, sim_fault_text((enum sim_fault)i),
                grouped(r->faults[i], a));
        between = ",";
    }
    if (between[0] == ',') fputc('\n', file);
    between = "  reached:";
    for (size_t i = 0; i < SIM_REACH_COUNT; i++) {
        if (r->reached[i] == 0) continue;
        fprintf(file, "%s %s %s", between, sim_reach_text((enum sim_reach)i),
                grouped(r->reached[i], a));
        between = ",";
    }
    if (between[0] == ',') fputc('\n', file);
}

/* ---- JSON ---- */

static json_t *integer(uint64_t number)
{
    return json_integer((json_int_t)(number > INT64_MAX ? INT64_MAX : number));
}

static json_t *hex(uint64_t number)
{
    return json_sprintf("%016llx", (unsigned long long)number);
}

static json_t *faults_json(const uint64_t *acts, const uint64_t *met, const uint64_t *waived)
{
    json_t *all = json_object();
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        json_t *acted = integer(acts[i]);
        if (met != NULL)
            acted = json_pack("{s:o,s:o,s:o}", "acts", acted, "seeds", integer(met[i]), "waived",
                              integer(waived[i]));
        json_object_set_new(all, sim_fault_text((enum sim_fault)i), acted);
    }
    return all;
}

static json_t *reached_json(const uint64_t *reached, const uint64_t *in)
{
    json_t *all = json_object();
    for (size_t i = 0; i < SIM_REACH_COUNT; i++) {
        json_t *times = integer(reached[i]);
        if (in != NULL) times = json_pack("{s:o,s:o}", "times", times, "seeds", integer(in[i]));
        json_object_set_new(all, sim_reach_text((enum sim_reach)i), times);
    }
    return all;
}

/* Takes the reference. */
static bool write_json(json_t *json, const char *path)
{
    bool ok = json != NULL;
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
    if (ok && strcmp(path, "-") == 0) {
        ok = json_dumpf(json, stdout, flags) == 0;
        putchar('\n');
    } else if (ok) {
        ok = json_dump_file(json, path, flags) == 0;
    }
    json_decref(json);
    return ok;
}

bool sim_report_write_json(const struct sim_campaign *c, const struct sim_report *r,
                           const char *path)
{
    const struct sim_totals *t = &r->totals;
    struct medians m = medians_of(t);
    char why[512];
    bool passed = sim_report_passed(c, r, why);
    json_t *failed = json_array();
    for (size_t i = 0; i < r->failed_count; i++)
        json_array_append_new(failed, json_pack("{s:o,s:s}", "seed", integer(r->failed[i].seed),
                                                "text", r->failed[i].text));
    json_t *json = json_pack(
        "{s:b,s:s,s:s,s:s*,s:o,s:o,s:o,s:o,s:f,s:f,s:o,s:o,s:o,s:o,s:o,s:s,s:{s:o,s:o,s:o},s:o}",
        "passed", (int)passed, "why", why, "build", c->build, "scenario", c->scenario, "first",
        integer(c->first), "planned", integer(c->count), "seeds", integer(t->seeds), "failures",
        integer(t->failed), "seconds", r->seconds, "simulated_hours",
        (double)t->virtual_ns / 3.6e12, "messages", integer(t->delivered), "operations",
        integer(t->executed), "view_changes", integer(t->view_changes), "twice", integer(t->twice),
        "ed25519", integer(t->real_signatures), "again", c->again, "median", "messages",
        integer(m.messages), "operations", integer(m.operations), "sorts_of_fault",
        integer(m.sorts), "failed", failed);
    if (json == NULL) return false;
    json_object_set_new(json, "hash", hex(t->hash));
    if (c->scenario == NULL) {
        json_object_set_new(json, "faults", faults_json(t->acts, t->met, t->waived));
        json_object_set_new(json, "reached", reached_json(t->reached, t->reached_in));
    }
    return write_json(json, path);
}

bool sim_result_write_json(uint64_t seed, const struct sim_world_result *r, const char *path)
{
    json_t *json =
        json_pack("{s:b,s:s,s:o,s:o,s:f,s:o,s:o,s:o,s:b,s:o,s:o,s:o}", "passed", (int)r->ok, "why",
                  r->failure, "seed", integer(seed), "n", integer(r->n), "virtual_seconds",
                  (double)r->virtual_ns / 1e9, "messages", integer(r->delivered), "operations",
                  integer(r->executed), "view_changes", integer(r->view_changes), "ed25519",
                  (int)r->real_signatures, "hash", hex(r->trace_hash), "faults",
                  faults_json(r->faults, NULL, NULL), "reached", reached_json(r->reached, NULL));
    return write_json(json, path);
}
