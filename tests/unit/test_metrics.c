/* /metrics: what a Prometheus server and its linter would object to. */
#include "replica/metrics.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY (256u * 1024u)

static struct pbft_metrics *sample(uint32_t n)
{
    struct pbft_metrics *m = calloc(1, sizeof *m);
    cr_assert_not_null(m);
    m->id = 1;
    m->n = n;
    strcpy(m->service, "kv");
    m->durability = "memory";
    m->ready = true;
    m->node.core.view = 7;
    m->node.core.view_timeout_ns = 1500000000;
    m->node.core.executed = UINT64_C(18446744073709551615);
    m->node.door.dropped[PBFT_DROP_SIGNATURE] = 42;
    m->node.evidence_against = pbft_signers_of(2);
    m->net.dropped_full = 5;
    m->net.handshakes_failed[PBFT_CHANNEL_VERDICTS] = 3;
    m->peers[0].connection = 9;
    m->peers[1].connection = 1; /* ourselves: must not appear */
    m->jobs[PBFT_JOB_HASH] = 11;
    m->jobs_ns[PBFT_JOB_HASH] = 1000000001;
    pbft_process_stats(&m->process);
    strcpy(m->extra, "# HELP pbft_extra_total An extension's.\n# TYPE pbft_extra_total counter\n"
                     "pbft_extra_total 4\n");
    return m;
}

static char *rendered(uint32_t n)
{
    struct pbft_metrics *m = sample(n);
    char *text = malloc(CAPACITY);
    cr_assert_not_null(text);
    size_t size = pbft_metrics_render(m, text, CAPACITY);
    cr_assert_lt(size, CAPACITY);
    cr_assert_eq(size, strlen(text));
    cr_assert_eq(text[size - 1], '\n');
    free(m);
    return text;
}

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t a = strlen(name), b = strlen(suffix);
    return a >= b && strcmp(name + a - b, suffix) == 0;
}

/* name, or name{label="value",...}; returns what follows. */
static const char *check_series(const char *line, char name[128])
{
    size_t size = 0;
    while (name_char(line[size], size == 0))
        size++;
    cr_assert(size > 0 && size < 128, "%.60s", line);
    memcpy(name, line, size);
    name[size] = '\0';
    const char *p = line + size;
    if (*p != '{') return p;
    do {
        const char *label = ++p;
        while (name_char(*p, p == label))
            p++;
        cr_assert(p > label && p[0] == '=' && p[1] == '"', "%.60s", line);
        for (p += 2; *p != '"'; p++)
            cr_assert(*p >= ' ' && *p != '\\' && *p != '\n', "%.60s", line);
        p++;
    } while (*p == ',');
    cr_assert_eq(*p, '}', "%.60s", line);
    return p + 1;
}

Test(metrics, text_is_what_prometheus_reads)
{
    char *text = rendered(64), *next = NULL;
    char help[128] = "", type[128] = "", kind[16] = "", seen[400][128];
    size_t families = 0, samples = 0, series_count = 0;
    char **series = calloc(4000, sizeof *series);
    for (char *line = strtok_r(text, "\n", &next); line != NULL;
         line = strtok_r(NULL, "\n", &next)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            cr_assert_eq(sscanf(line + 7, "%127s", help), 1);
            cr_assert_gt(strlen(line), 7 + strlen(help) + 2, "%s has no text", help);
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            cr_assert_eq(sscanf(line + 7, "%127s %15s", type, kind), 2);
            cr_assert_str_eq(type, help, "HELP comes before TYPE");
            cr_assert(strcmp(kind, "counter") == 0 || strcmp(kind, "gauge") == 0);
            cr_assert_eq(ends_in(type, "_total"), strcmp(kind, "counter") == 0, "%s", type);
            for (size_t i = 0; i < families; i++)
                cr_assert_str_neq(seen[i], type);
            strcpy(seen[families++], type);
            continue;
        }
        char name[128], *end = NULL;
        const char *value = check_series(line, name);
        cr_assert_str_eq(name, type, "a sample stands in its family");
        cr_assert_eq(*value, ' ');
        for (size_t i = 0; i < series_count; i++)
            cr_assert(strncmp(series[i], line, (size_t)(value - line + 1)) != 0, "%s twice", line);
        series[series_count++] = line;
        cr_assert_geq(strtod(value + 1, &end), 0);
        cr_assert_eq(*end, '\0', "%s", line);
        samples++;
    }
    cr_assert_geq(families, 60);
    cr_assert_geq(samples, 400);
    free(series);
    free(text);
}

static void expect(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    cr_assert(at != NULL && (at == text || at[-1] == '\n'), "no line %s", line);
}

Test(metrics, values)
{
    char *text = rendered(4);
    expect(text, "pbft_build_info{version=\"" PBFT_VERSION
                 "\",service=\"kv\",durability=\"memory\"} 1\n");
    expect(text, "pbft_view 7\n");
    expect(text, "pbft_view_timeout_seconds 1.500000000\n");
    expect(text, "pbft_executed_seq 18446744073709551615\n");
    expect(text, "pbft_dropped_total{verdict=\"signature\"} 42\n");
    expect(text, "pbft_replica_accused{replica=\"2\"} 1\n");
    expect(text, "pbft_replica_accused{replica=\"1\"} 0\n");
    expect(text, "pbft_net_dropped_frames_total{reason=\"full\"} 5\n");
    expect(text, "pbft_net_handshake_failures_total{reason=\"verdicts\"} 3\n");
    expect(text, "pbft_net_peer_connected{replica=\"0\"} 1\n");
    expect(text, "pbft_job_seconds_total{kind=\"hash\"} 1.000000001\n");
    expect(text, "pbft_extra_total 4\n");
    cr_assert_null(strstr(text, "pbft_net_peer_connected{replica=\"1\"}"), "ourselves");
    free(text);
}

Test(metrics, short_buffers_are_cut_like_snprintf)
{
    struct pbft_metrics *m = sample(4);
    char *whole = rendered(4), small[100];
    size_t size = strlen(whole);
    memset(&m->process, 0, sizeof m->process);
    cr_assert_eq(pbft_metrics_render(m, small, 0), pbft_metrics_render(m, whole, CAPACITY));
    size = strlen(whole);
    cr_assert_eq(pbft_metrics_render(m, small, sizeof small), size);
    cr_assert_eq(strlen(small), sizeof small - 1);
    cr_assert_eq(memcmp(small, whole, sizeof small - 1), 0);
    free(whole);
    free(m);
}

Test(metrics, process)
{
    struct pbft_process_stats p;
    pbft_process_stats(&p);
    cr_assert_gt(p.resident_bytes, 100000);
    cr_assert_geq(p.virtual_bytes, p.resident_bytes);
    cr_assert_gt(p.start_seconds, 1.5e9);
    cr_assert_geq(p.threads, 1);
    cr_assert_geq(p.open_fds, 3);
    cr_assert_geq(p.max_fds, p.open_fds);
}
