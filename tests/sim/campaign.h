/**
 * tests/sim/campaign.h - many seeds by several processes: totals, checkpoints, and what a campaign
 * must have met to count.
 *
 * Each worker is a process of its own, so that a seed that crashes or hangs is a failure of that
 * seed and nothing more. Totals do not depend on the order in which seeds end: equal campaigns have
 * equal totals (struct sim_totals is compared byte by byte), interrupted and resumed or not.
 */
#ifndef PBFT_TESTS_SIM_CAMPAIGN_H
#define PBFT_TESTS_SIM_CAMPAIGN_H

#include "tests/sim/world.h"

#include <signal.h>
#include <stdio.h>

#define SIM_CAMPAIGN_SEEDS_MAX   100000000u
#define SIM_CAMPAIGN_JOBS_MAX    256u
#define SIM_FAILURES_KEPT        256u
#define SIM_TWICE_EVERY          50u   /* seeds that are multiples of it run twice, once observed */
#define SIM_MEDIANS_FROM         100u  /* seeds from which on the medians below are enforced */
#define SIM_REACHES_FROM         1000u /* seeds from which on every place and fault must occur */
#define SIM_WAIVED_PER_1000      5u    /* seeds, for each sort of fault, from then on */
#define SIM_SHARES_FROM          10000u /* seeds from which on the share with Ed25519 is enforced */
#define SIM_MEDIAN_MESSAGES      1500u
#define SIM_MEDIAN_OPERATIONS    50u
#define SIM_MEDIAN_SORTS         2u
#define SIM_MESSAGES_WIDTH       50u /* of a bucket below */
#define SIM_MESSAGES_BUCKETS     4096u
#define SIM_OPERATIONS_BUCKETS   8192u
#define SIM_CAMPAIGN_ERROR_BYTES 256u

typedef void sim_runner(const struct sim_world_options *options, struct sim_world_result *result);

struct sim_campaign {
    sim_runner *run;                /* sim_world_run, or a scenario's */
    struct sim_world_options world; /* of every seed, but for the seed */
    const char *scenario;           /* its name; NULL: drawn worlds */
    uint64_t first, count;          /* seeds first .. first + count - 1 */
    unsigned jobs;                  /* worker processes */
    unsigned patience_s;            /* CPU time for one seed; 0: 60 */
    uint64_t failures_max;          /* stop after so many; 0: never */
    const char *state;              /* checkpoint file; NULL: none */
    unsigned save_every_s;          /* 0: 10 */
    const char *build;              /* commit and hash of the program: a state names it */
    const char *again;              /* command that repeats a seed, up to and without --seed */
    FILE *progress;                 /* NULL: quiet */
    volatile sig_atomic_t *stop;    /* set by a signal's handler; NULL: nobody does */
};

/* Numbers only, all of 64 bits: a state file holds them by index. */
struct sim_totals {
    uint64_t seeds, failed, twice, real_signatures, virtual_ns, delivered, executed, view_changes,
        injected;
    uint64_t hash; /* of all trace hashes, whatever their order */
    uint64_t least_delivered, least_executed, least_sorts; /* of a seed, plus 1; 0: no seed */
    uint64_t by_n[16];
    uint64_t configured[SIM_FAULT_COUNT]; /* seeds that drew it */
    uint64_t met[SIM_FAULT_COUNT];        /* seeds in which it acted */
    uint64_t waived[SIM_FAULT_COUNT];     /* seeds that drew it, where it could not act */
    uint64_t acts[SIM_FAULT_COUNT];
    uint64_t reached_in[SIM_REACH_COUNT]; /* seeds */
    uint64_t reached[SIM_REACH_COUNT];
    uint64_t messages[SIM_MESSAGES_BUCKETS];     /* seeds by messages / width; the last: or more */
    uint64_t operations[SIM_OPERATIONS_BUCKETS]; /* seeds by operations */
    uint64_t sorts[SIM_FAULT_COUNT + 1];         /* seeds by how many sorts of fault acted */
    uint64_t pairs[SIM_ROWS_MAX * SIM_ROWS_MAX]; /* seeds by pair of rows */
    uint64_t skipped;                            /* pairs drawn that cannot go together */
};
#define SIM_TOTALS_COUNT (sizeof(struct sim_totals) / sizeof(uint64_t))

struct sim_failed {
    uint64_t seed;
    char text[512];
};

struct sim_report {
    struct sim_totals totals;
    struct sim_failed failed[SIM_FAILURES_KEPT]; /* the lowest seeds, ascending */
    size_t failed_count;
    double seconds;      /* wall-clock, over all sittings */
    uint64_t resumed_at; /* seeds that an earlier sitting did */
    bool complete;       /* all seeds were run */
};

/**
 * Run a campaign, or the rest of it if `state` holds a part.
 *
 * report  overwritten; large: not for the stack
 * error   one sentence when not OK
 * Returns PBFT_STATUS_OK, also when seeds failed or `stop` was set; _ARGUMENT when the state file
 * belongs to another campaign or build; _CORRUPT when it is damaged; _IO, _MEMORY.
 */
enum pbft_status sim_campaign_run(const struct sim_campaign *campaign, struct sim_report *report,
                                  char error[SIM_CAMPAIGN_ERROR_BYTES]);

/* One seed's part of the totals; for a seed without result (a crash), result is NULL. */
void sim_totals_add(struct sim_totals *totals, uint64_t seed,
                    const struct sim_world_result *result);
/* Median of the seeds counted in these buckets, times width. */
uint64_t sim_median(const uint64_t *buckets, size_t count, uint64_t width);

/* Does the campaign count? False with a sentence: failures, too little met, places not reached.
 * Medians from SIM_MEDIANS_FROM seeds on, places and faults from SIM_REACHES_FROM on, neither for
 * scenarios. */
bool sim_report_passed(const struct sim_campaign *campaign, const struct sim_report *report,
                       char why[512]);
void sim_report_write(const struct sim_campaign *campaign, const struct sim_report *report,
                      FILE *file);
/* As one JSON object to a file, or to standard output for "-". */
bool sim_report_write_json(const struct sim_campaign *campaign, const struct sim_report *report,
                           const char *path);
/* The same for one seed. */
void sim_result_write(uint64_t seed, const struct sim_world_result *result, FILE *file);
bool sim_result_write_json(uint64_t seed, const struct sim_world_result *result, const char *path);
/* "FAILED ..." with the commit and the command that repeats it. */
void sim_failed_write(const char *build, const char *again, uint64_t seed, const char *text,
                      FILE *file);

/* Checkpoints (campaign_state.c). Of the seeds, `done` holds a bit each. */
enum pbft_status sim_state_save(const struct sim_campaign *campaign,
                                const struct sim_report *report, const uint8_t *done,
                                char error[SIM_CAMPAIGN_ERROR_BYTES]);
/* OK also when there is no such file yet. */
enum pbft_status sim_state_load(const struct sim_campaign *campaign, struct sim_report *report,
                                uint8_t *done, char error[SIM_CAMPAIGN_ERROR_BYTES]);
/* Keep a failure: ascending, one a seed, the lowest seeds stay. */
void sim_report_failed(struct sim_report *report, uint64_t seed, const char *text);

#endif
