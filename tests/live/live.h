/**
 * tests/live/live.h - real processes on loopback: a cluster started by `pbftctl up`, commands run
 * against it, a background load, and a writer that remembers what was acknowledged.
 *
 * Everything ends with live_stop(): `up` stops its nodes, and nodes die with `up` whatever happens.
 * Ports are picked free; folders are temporary and removed when the test passed.
 */
#ifndef PBFT_TESTS_LIVE_H
#define PBFT_TESTS_LIVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LIVE_NODES_MAX 7u

/* How often what a busy machine may spoil is tried (nothing took long, no time-out struck): it is
 * wrong only if it never holds. What must hold whatever the machine does is asserted each time. */
#define LIVE_TRIES 3u

struct live {
    char dir[128]; /* the cluster's folder */
    char log[160]; /* what `up` and the nodes print */
    unsigned nodes;
    unsigned base_port;
    pid_t up;
    uint32_t faulty;           /* bitmap of the nodes started as liars */
    uint32_t dead;             /* bitmap of the nodes killed */
    pid_t own[LIVE_NODES_MAX]; /* started again by the test itself; 0: not */
};

/* `init` with `nodes` and `clients`, then `up`; waits for its ready line. `faulty`: "2=lie-reply"
 * or NULL. `service` and `pbftd`: NULL for the defaults. Aborts the test with the log when it
 * fails. */
void live_start(struct live *l, unsigned nodes, unsigned clients, const char *faulty,
                const char *service, const char *pbftd);
/* The same with durability sync. live_start() has memory, which is faster where the disk is not the
 * subject. */
void live_start_sync(struct live *l, unsigned nodes, unsigned clients);
void live_start_faulty_sync(struct live *l, unsigned nodes, unsigned clients, const char *faulty);
void live_stop(struct live *l);
void live_dump_log(const struct live *l); /* its end, to standard error: why something failed */

/* Run pbftctl with `--cluster DIR` and the arguments (NULL ends them); standard output into `out`.
 * Returns its exit status, -1 if it was killed or took longer than 120 s. */
int live_ctl(const struct live *l, char *out, size_t capacity, ...);
/* The same for any command line. */
int live_run(char *const argv[], char *out, size_t capacity);
/* A child that dies with us; descriptors for its output and errors, -1: ours. */
pid_t live_spawn(char *const argv[], int out, int err);
/* Its exit status; -1: it was killed, by us if it took longer. */
int live_wait(pid_t pid, double seconds);
const char *live_bin(const char *name); /* full path in PBFT_BIN_DIR */

void live_sleep_ms(unsigned ms);
pid_t live_pid(const struct live *l, unsigned node);
void live_kill9(struct live *l, unsigned node);
void live_kill9_all(struct live *l);                /* `up` ends with them */
void live_terminate(struct live *l, unsigned node); /* TERM, and wait until it is gone */
/* Start a node that was ended again; its log begins anew. durability NULL: what node.conf says. */
pid_t live_restart(struct live *l, unsigned node, const char *durability);
/* Whether the log of a node that was started again has this event (this text), now or soon. */
bool live_logged(const struct live *l, unsigned node, const char *event, unsigned seconds);
bool live_said(const struct live *l, unsigned node, const char *text, unsigned seconds);
void live_dump_node(const struct live *l, unsigned node); /* the end of that log */
unsigned live_primary(const struct live *l); /* as a quorum of the living says; retries */

json_t *live_status(const struct live *l); /* status --json; caller decrefs; NULL on failure */
/* A number or truth value of a replica in there; -1 if it has none or does not answer. */
json_int_t live_number(const struct live *l, unsigned node, const char *name);
/* Put a key, and wait until this replica has executed it: one that has said nothing yet has nothing
 * to restore, and three others may have made all that was answered so far. */
void live_let_vote(const struct live *l, unsigned node);
/* Wait until all correct living replicas have the same stable checkpoint with the same root, which
 * is above `after`; false after 90 s. What is missing for a checkpoint is put. */
bool live_roots_agree(const struct live *l, uint64_t after);
/* A plain metric of a node's /metrics (first line that begins with `name`); -1 if absent. */
double live_metric(const struct live *l, unsigned node, const char *name);
/* That line, with its labels. False if there is none. */
bool live_metric_line(const struct live *l, unsigned node, const char *name, char *out,
                      size_t capacity);

/* Whether /readyz answers 200, and what it says; "" if nobody answers. */
bool live_ready(const struct live *l, unsigned node, char *why, size_t capacity);

/* pbft-bench in the background: its clients, at least two, share two handles with a key each. */
struct live_load {
    pid_t pid;
    char json[192];
};
void live_load_start(struct live_load *load, const struct live *l, const char *clients,
                     const char *bundle, const char *seconds, const char *reads);
json_t *live_load_finish(struct live_load *load); /* its JSON; NULL when it failed */

/* Threads that put keys one after the other and remember which puts were acknowledged. */
struct live_writer;
struct live_writer *live_writer_start(const struct live *l, unsigned threads);
unsigned live_writer_failed(const struct live_writer *w); /* puts not acknowledged, so far */
/* Until that many puts were acknowledged; 90 s at most. */
void live_writer_until(const struct live_writer *w, unsigned least);
/* Stop; every acknowledged key must read back with its value, written once. Returns how many were
 * acknowledged; *lost counts those that did not read back, *longest_ms is the longest wait for one
 * put. */
unsigned live_writer_finish(struct live_writer *w, unsigned *lost, double *longest_ms,
                            unsigned *wrong);

/* ---- live_expect.c; whatever does not hold fails the test ---- */

__attribute__((format(printf, 1, 2))) void live_shell(const char *format, ...);
/* So many operations on 60 keys, with values of so many bytes: some log, or a checkpoint. */
void live_fill(const struct live *l, unsigned operations, unsigned value_bytes);
/* `pbftctl replica replace`, within 90 s. */
void live_replace(const struct live *l, unsigned node);
/* A number of the node's status has this value, within 90 s. */
void live_until(const struct live *l, unsigned node, const char *what, json_int_t value);
/* The victim is killed, and the others lack none then: without the vote of one that came back,
 * nothing would be ordered. */
void live_expect_votes(struct live *l, unsigned victim);
/* live_writer_finish(): more than `least` acknowledged, none of them lost or written twice. */
void live_expect_written(struct live_writer *w, unsigned least);

#endif
