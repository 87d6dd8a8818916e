/**
 * tests/crash/crash.h - the crash test (make crash): real replicas with durability sync, killed
 * with -9 one, two or all at a time while clients work, and started again. What must hold then:
 *
 *   - no acknowledged operation is lost, none is done twice (crash_load.c);
 *   - the cluster goes on, nobody is mute, and in the end all have the same state (crash.c);
 *   - no replica ever contradicted itself: all signed statements of all incarnations are compared,
 *     those of each epoch (crash_compare.c; PROTOCOL 24-28);
 *   - now and then a replica gets a new key, sometimes because its disk is lost, while the blows go
 *     on; so does the command that does it, and it goes on where it stopped (PROTOCOL 29);
 *   - what is left on the disks is sound (`pbftd --check-data`).
 */
#ifndef PBFT_TESTS_CRASH_H
#define PBFT_TESTS_CRASH_H

#include "client/pbft.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CRASH_REPLICAS 4u
#define CRASH_CLIENTS  4u
#define CRASH_PATH     320u

/* Everything found is said at once and counted; the run goes on where it can. */
__attribute__((format(printf, 1, 2))) void crash_found(const char *format, ...);
unsigned crash_findings(void);

uint64_t crash_now_ms(void);
void crash_sleep_ms(uint64_t ms);
uint64_t crash_random(uint64_t *state, uint64_t below); /* 0 .. below - 1 */

/* ---- the replicas (crash_cluster.c) ---- */

struct crash_replica {
    pid_t pid; /* 0: not running */
    unsigned incarnations;
    char statements[CRASH_PATH]; /* what this incarnation witnesses */
    char log[CRASH_PATH];        /* of all incarnations */
};

/* One `pbftctl replica replace` at a time. */
struct crash_replace {
    pid_t pid; /* 0: none is under way */
    unsigned id;
    bool wiped;       /* the replica waits until it has its new key */
    uint64_t kill_ms; /* when the command itself is killed; 0: it is not */
    uint64_t ended_ms;
    unsigned begun, wipes, killed;
};

struct crash_cluster {
    char dir[CRASH_PATH - 64]; /* holds c (the cluster's folder) and everything else */
    char folder[CRASH_PATH - 60];
    struct crash_replica replicas[CRASH_REPLICAS];
    struct crash_replace replace;
    unsigned kills;
};

bool crash_cluster_make(struct crash_cluster *c, const char *durability);
bool crash_start(struct crash_cluster *c, unsigned id);
void crash_kill(struct crash_cluster *c, unsigned id); /* -9, and waits */
/* False: one has ended that nobody killed (said). */
bool crash_all_run(struct crash_cluster *c);
/* Its key is replaced from now on; `wiped`: it was killed, and its data are removed first. */
bool crash_replace(struct crash_cluster *c, unsigned id, bool wiped, uint64_t kill_after_ms);
/* Look after it; true while it is under way. A failure is said. */
bool crash_replacing(struct crash_cluster *c);
/* TERM for all; each must end with 0 within 20 s. */
void crash_stop(struct crash_cluster *c);
/* Lines of the logs that no kill -9 explains: mute, a log refused, a failed disk ... */
void crash_check_logs(const struct crash_cluster *c);
/* Every page, record, signature and certificate that is left, by `pbftd --check-data`. After stop.
 */
void crash_check_data(const struct crash_cluster *c);
void crash_remove(const struct crash_cluster *c);

/* ---- the clients (crash_load.c) ---- */

struct crash_load;
struct crash_load *crash_load_start(const struct crash_cluster *c, uint64_t seed,
                                    uint32_t large_bytes);
uint64_t crash_load_acknowledged(const struct crash_load *load); /* so far */
void crash_load_stop(struct crash_load *load);                   /* waits for what is under way */

struct crash_load_stats {
    uint64_t acknowledged, unknown, longest_ms, bytes;
};
/* Both after the stop; the second reads everything back and compares it with the history. */
void crash_load_totals(const struct crash_load *load, struct crash_load_stats *out);
void crash_load_check(struct crash_load *load);
struct pbft_client *crash_load_client(struct crash_load *load); /* to ask with, after the stop */
void crash_load_free(struct crash_load *load);

/* ---- the statements (crash_compare.c) ---- */

struct crash_compare;
struct crash_compare *crash_compare_new(void);
/* What an incarnation of `id` that has ended left behind, in the order of incarnations; the file is
 * removed. */
void crash_compare_file(struct crash_compare *compare, unsigned id, const char *path);
uint64_t crash_compare_count(const struct crash_compare *compare);   /* different statements */
uint64_t crash_compare_records(const struct crash_compare *compare); /* times they were seen */
/* Statements of a type that were sent first by a replica itself: that there is something to see. */
uint64_t crash_compare_sent(const struct crash_compare *compare, uint8_t type);
uint32_t crash_compare_epoch(const struct crash_compare *compare); /* the last one */
void crash_compare_free(struct crash_compare *compare);

#endif
