/* A campaign's checkpoint: text, replaced as a whole, refused unless it is of this very campaign.
 */
#include "tests/sim/campaign.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024u

static void put_campaign(const struct sim_campaign *c, char *line, size_t size)
{
    snprintf(line, size,
             "seeds %" PRIu64 " from %" PRIu64 ", nodes %" PRIu32 ", scenario %s, traitors %" PRIu32
             ", signatures %s",
             c->count, c->first, c->world.n, c->scenario == NULL ? "none" : c->scenario,
             c->world.traitors,
             c->world.real_signatures   ? "real"
             : c->world.fast_signatures ? "fast"
                                        : "drawn");
}

static bool has(const uint8_t *done, uint64_t i)
{
    return ((unsigned)done[i / 8] >> (i % 8) & 1u) != 0;
}

static void write_state(const struct sim_campaign *c, const struct sim_report *r,
                        const uint8_t *done, FILE *file)
{
    char line[LINE_BYTES];
    put_campaign(c, line, sizeof line);
    fprintf(file, "pbft-sim state 1\nbuild %s\ncampaign %s\nseconds %.3f\n", c->build, line,
            r->seconds);
    uint64_t all = 0;
    while (all < c->count && has(done, all))
        all++;
    fprintf(file, "done %" PRIu64 "\n", all);
    for (uint64_t i = all; i < c->count; i++)
        if (has(done, i)) fprintf(file, "also %" PRIu64 "\n", i);
    uint64_t totals[SIM_TOTALS_COUNT];
    memcpy(totals, &r->totals, sizeof totals);
    for (size_t i = 0; i < SIM_TOTALS_COUNT; i++)
        if (totals[i] != 0) fprintf(file, "total %zu %" PRIu64 "\n", i, totals[i]);
    for (size_t i = 0; i < r->failed_count; i++)
        fprintf(file, "failed %" PRIu64 " %s\n", r->failed[i].seed, r->failed[i].text);
    fputs("end\n", file);
}

enum pbft_status sim_state_save(const struct sim_campaign *c, const struct sim_report *r,
                                const uint8_t *done, char error[SIM_CAMPAIGN_ERROR_BYTES])
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s.tmp", c->state) >= (int)sizeof path) {
        snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "the name of the state file is too long");
        return PBFT_STATUS_IO;
    }
    FILE *file = fopen(path, "w");
    bool ok = file != NULL;
    if (ok) {
        write_state(c, r, done, file);
        ok = fflush(file) == 0 && ferror(file) == 0 && fsync(fileno(file)) == 0;
        ok = fclose(file) == 0 && ok;
    }
    if (ok && rename(path, c->state) == 0) return PBFT_STATUS_OK;
    snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "cannot write the state file %.150s: %s", c->state,
             strerror(errno));
    return PBFT_STATUS_IO;
}

/* ---- and back ---- */

static bool number(const char **text, uint64_t *out)
{
    char *end;
    if (**text < '0' || **text > '9') return false;
    errno = 0;
    *out = strtoull(*text, &end, 10);
    *text = *end == ' ' ? end + 1 : end;
    return errno == 0;
}

static bool after(const char *line, const char *word, const char **rest)
{
    size_t size = strlen(word);
    if (strncmp(line, word, size) != 0 || line[size] != ' ') return false;
    *rest = line + size + 1;
    return true;
}

struct reading {
    const struct sim_campaign *campaign;
    struct sim_report *report;
    uint8_t *done;
    uint64_t totals[SIM_TOTALS_COUNT];
    bool ended;
};

static bool read_line(struct reading *in, const char *line)
{
    const char *rest;
    uint64_t a, b;
    if (after(line, "seconds", &rest)) {
        in->report->seconds = strtod(rest, NULL);
        return true;
    }
    if (after(line, "done", &rest)) {
        if (!number(&rest, &a) || a > in->campaign->count) return false;
        for (uint64_t i = 0; i < a; i++)
            in->done[i / 8] = (uint8_t)(in->done[i / 8] | 1u << (i % 8));
        return true;
    }
    if (after(line, "also", &rest)) {
        if (!number(&rest, &a) || a >= in->campaign->count) return false;
        in->done[a / 8] = (uint8_t)(in->done[a / 8] | 1u << (a % 8));
        return true;
    }
    if (after(line, "total", &rest)) {
        if (!number(&rest, &a) || !number(&rest, &b) || a >= SIM_TOTALS_COUNT) return false;
        in->totals[a] = b;
        return true;
    }
    if (after(line, "failed", &rest)) {
        if (!number(&rest, &a)) return false;
        sim_report_failed(in->report, a, rest);
        return true;
    }
    in->ended = strcmp(line, "end") == 0;
    return in->ended;
}

static enum pbft_status refuse(const struct sim_campaign *c, const char *text, char *error)
{
    snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "the state file %.120s %s; remove it or name another",
             c->state, text);
    return PBFT_STATUS_ARGUMENT;
}

/* Whether line `word` of the head says `expected`. */
static bool head(FILE *file, const char *word, const char *expected)
{
    char line[LINE_BYTES];
    const char *rest;
    if (fgets(line, sizeof line, file) == NULL) return false;
    line[strcspn(line, "\n")] = '\0';
    return after(line, word, &rest) && strcmp(rest, expected) == 0;
}

static enum pbft_status read_state(struct reading *in, FILE *file, char *error)
{
    const struct sim_campaign *c = in->campaign;
    char line[LINE_BYTES];
    if (!head(file, "pbft-sim", "state 1")) return refuse(c, "is not one of pbft-sim", error);
    if (!head(file, "build", c->build)) return refuse(c, "belongs to another build", error);
    put_campaign(c, line, sizeof line);
    if (!head(file, "campaign", line))
        return refuse(c, "belongs to a campaign with other options", error);
    while (!in->ended && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (!read_line(in, line)) break;
    }
    uint64_t seeds = 0;
    memcpy(&in->report->totals, in->totals, sizeof in->totals);
    for (uint64_t i = 0; i < c->count; i++)
        seeds += has(in->done, i);
    if (in->ended && seeds == in->report->totals.seeds) return PBFT_STATUS_OK;
    (void)refuse(c, "is damaged", error);
    return PBFT_STATUS_CORRUPT;
}

enum pbft_status sim_state_load(const struct sim_campaign *c, struct sim_report *r, uint8_t *done,
                                char error[SIM_CAMPAIGN_ERROR_BYTES])
{
    FILE *file = fopen(c->state, "r");
    if (file == NULL && errno == ENOENT) return PBFT_STATUS_OK;
    if (file == NULL) {
        snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "cannot read the state file %.150s: %s", c->state,
                 strerror(errno));
        return PBFT_STATUS_IO;
    }
    struct reading *in = calloc(1, sizeof *in);
    enum pbft_status status = PBFT_STATUS_MEMORY;
    if (in == NULL) {
        snprintf(error, SIM_CAMPAIGN_ERROR_BYTES, "out of memory");
    } else {
        in->campaign = c;
        in->report = r;
        in->done = done;
        status = read_state(in, file, error);
    }
    free(in);
    fclose(file);
    return status;
}
