/* Scenarios: as text, drawn, and all partitions. */
#include "tests/sim/twins_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

/* The replica of an instance: twins' second ones come last, in order of their ids. */
static pbft_id replica_of(const struct twins_options *o, uint32_t instance)
{
    if (instance < o->n) return instance;
    uint32_t skip = instance - o->n;
    pbft_id id = 0;
    while (!pbft_signers_has(o->twins, id) || skip-- > 0)
        id++;
    return id;
}

static char letter_of(const struct twins_options *o, uint32_t instance)
{
    return (char)((instance < o->n ? '0' : 'a') + (int)replica_of(o, instance));
}

struct text {
    char *out;
    size_t at;
};

static void put(struct text *t, char c)
{
    if (t->at + 1 < TWINS_LINE_BYTES) t->out[t->at++] = c;
    t->out[t->at] = '\0';
}

static void put_groups(struct text *t, const struct twins_options *o, const uint8_t *group)
{
    uint32_t count = twins_instances(o);
    for (uint32_t g = 0, written = 0; written < count; g++) {
        uint32_t before = written;
        for (uint32_t i = 0; i < count; i++) {
            if (group[i] != g) continue;
            if (written == before && before > 0) put(t, '-');
            put(t, letter_of(o, i));
            written++;
        }
    }
}

char *twins_line(const struct twins_scenario *s, char line[TWINS_LINE_BYTES])
{
    struct text t = {line, 0};
    t.at = (size_t)snprintf(line, TWINS_LINE_BYTES, "%u:", s->o.n);
    for (pbft_id id = 0; id < s->o.n; id++)
        if (pbft_signers_has(s->o.twins, id)) put(&t, (char)('0' + (int)id));
    t.at += (size_t)snprintf(line + t.at, TWINS_LINE_BYTES - t.at,
                             ":%llu:%u:", (unsigned long long)s->o.seed, s->o.loss_ppm);
    for (unsigned r = 0; r < s->rounds; r++) {
        if (r > 0) put(&t, '/');
        put_groups(&t, &s->o, s->group[r]);
    }
    return line;
}

static bool parse_round(const char **at, struct twins_scenario *s)
{
    if (s->rounds == TWINS_ROUNDS_MAX) return false;
    uint8_t *group = s->group[s->rounds++];
    uint32_t count = twins_instances(&s->o), seen = 0;
    uint8_t g = 0;
    bool known[TWINS_INSTANCES_MAX] = {false};
    for (; **at != '\0' && **at != '/'; ++*at) {
        if (**at == '-') {
            g++;
            continue;
        }
        uint32_t i = 0;
        while (i < count && letter_of(&s->o, i) != **at)
            i++;
        if (i == count || known[i]) return false;
        known[i] = true;
        group[i] = g;
        seen++;
    }
    if (seen != count) return false;
    if (**at == '/') ++*at;
    return true;
}

bool twins_parse(const char *line, struct twins_scenario *out)
{
    struct twins_scenario s = {.rounds = 0};
    char *end;
    s.o.n = (uint32_t)strtoul(line, &end, 10);
    if (*end != ':' || s.o.n < PBFT_REPLICAS_MIN || s.o.n > TWINS_REPLICAS_MAX) return false;
    for (end++; *end >= '0' && *end < (char)('0' + (int)s.o.n); end++)
        s.o.twins |= pbft_signers_of((pbft_id)(*end - '0'));
    if (*end != ':' || twins_instances(&s.o) > TWINS_INSTANCES_MAX) return false;
    s.o.seed = strtoull(end + 1, &end, 10);
    if (*end != ':') return false;
    s.o.loss_ppm = (uint32_t)strtoul(end + 1, &end, 10);
    if (*end != ':' || s.o.loss_ppm > 1000000) return false;
    const char *at = end + 1;
    while (*at != '\0')
        if (!parse_round(&at, &s)) return false;
    *out = s;
    return s.rounds > 0;
}

/* ---- drawn ---- */

void twins_draw(uint64_t seed, uint32_t n, struct twins_scenario *out)
{
    static const uint32_t losses[] = {0, 0, 20000, 100000};
    uint64_t random = seed ^ UINT64_C(0x7477696E73);
    *out = (struct twins_scenario){.o = {.n = n, .seed = seed == 0 ? UINT64_MAX : seed}};
    if (n == 0) out->o.n = twins_random(&random, 4) == 0 ? 7 : 4;
    uint32_t f = (out->o.n - 1) / 3;
    while (pbft_signers_count(out->o.twins) < f)
        out->o.twins |= pbft_signers_of((pbft_id)twins_random(&random, out->o.n));
    out->o.loss_ppm = losses[twins_random(&random, sizeof losses / sizeof losses[0])];
    out->rounds = 3 + (unsigned)twins_random(&random, 8); /* 3 .. 10 */
    uint32_t count = twins_instances(&out->o);
    for (unsigned r = 0; r < out->rounds; r++) {
        uint64_t groups = 1 + twins_random(&random, 3);
        uint8_t seen[4] = {0}, next = 1;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t g = twins_random(&random, groups);
            if (seen[g] == 0) seen[g] = next++;
            out->group[r][i] = (uint8_t)(seen[g] - 1); /* numbered as they appear, as in text */
        }
    }
}

/* ---- all ---- */

/* Restricted growth strings: an instance joins a group that is there, or opens the next. */
size_t twins_partitions(uint32_t instances, uint32_t groups_max,
                        uint8_t (*out)[TWINS_INSTANCES_MAX], size_t capacity)
{
    uint8_t group[TWINS_INSTANCES_MAX] = {0};
    size_t count = 0;
    for (;;) {
        if (count < capacity) memcpy(out[count], group, sizeof group);
        count++;
        uint32_t i = instances;
        while (--i > 0) { /* instance 0 is always in group 0 */
            uint8_t most = 0;
            for (uint32_t k = 0; k < i; k++)
                if (group[k] > most) most = group[k];
            if (group[i] <= most && group[i] + 1u < groups_max) break;
            group[i] = 0;
        }
        if (i == 0) return count;
        group[i]++;
    }
}
