/**
 * replica/runtime_internal.h - what the files of the runtime share. Nobody else includes it.
 *
 * Threads. The core thread owns everything that is not marked otherwise. Workers own the job that
 * they run. The signal thread touches `signals`, HTTP handlers `published`, each under its lock.
 */
#ifndef PBFT_REPLICA_RUNTIME_INTERNAL_H
#define PBFT_REPLICA_RUNTIME_INTERNAL_H

#include "net/http.h"
#include "replica/data.h"
#include "replica/metrics.h"
#include "replica/ready.h"
#include "replica/runtime.h"
#include "replica/strikes.h"

#include <pthread.h>

#define JOBS_OUT_MAX       PBFT_JOB_KINDS /* the node has at most one of each kind out */
#define EVENTS_PER_POLL    64u
#define STATUS_BYTES       16384u
#define MILLISECOND_NS     UINT64_C(1000000)
#define PUBLISH_NS         (200u * MILLISECOND_NS)
#define STOP_LIMIT_SECONDS 2 /* from the first TERM to the end of the process */
#define STOP_AGAIN_NS      (250u * MILLISECOND_NS) /* a TERM this soon after the first is its echo */
#define FLUSH_LIMIT_NS     (200u * MILLISECOND_NS) /* of that, for what is queued for the wire */
#define AMNESIA_RETRY_NS   (1000u * MILLISECOND_NS)

struct pbft_runtime;

/* ---- jobs ---- */

struct job {
    struct pbft_job *job;
    enum pbft_job_kind kind;
    uint64_t ns; /* taken */
};

/* A first-in-first-out that cannot overflow. */
struct job_queue {
    struct job at[JOBS_OUT_MAX];
    size_t count;
};

struct worker {
    struct pbft_runtime *runtime;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct job_queue queue;
    int nice; /* how far it steps back before the others */
    bool stop;
};

struct jobs {
    struct worker workers[PBFT_JOB_KINDS];
    struct worker *worker_of[PBFT_JOB_KINDS]; /* NULL: inline */
    unsigned worker_count;
    struct job_queue waiting; /* inline jobs, for after the sends */
    pthread_mutex_t mutex;    /* guards `completed` */
    struct job_queue completed;
    uint64_t count[PBFT_JOB_KINDS], ns[PBFT_JOB_KINDS];
};

bool jobs_open(struct pbft_runtime *r, uint32_t threads);
void jobs_close(struct pbft_runtime *r); /* waits for running jobs */
void jobs_dispatch(struct pbft_runtime *r, const struct pbft_output *output);
/* Hand what has completed, and what can be run here, to the node. True: some inline job was run. */
bool jobs_collect(struct pbft_runtime *r);
bool jobs_run_inline(struct pbft_runtime *r);

/* ---- signals ---- */

struct signals {
    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* guards the rest */
    struct pbft_net *net;  /* to wake; NULL while there is none */
    bool quit, stop, reload;
    uint64_t stop_ns;    /* when `stop` was first asked for */
    _Atomic bool cancel; /* the same as `stop`, for whoever loads and cannot wait for a lock */
};

bool signals_open(struct pbft_runtime *r);
/* What a signal wakes; NULL: nothing. */
void signals_wake_net(struct pbft_runtime *r, struct pbft_net *net);
void signals_close(struct pbft_runtime *r);
bool signals_stop(struct pbft_runtime *r);
bool signals_take_reload(struct pbft_runtime *r);

/* ---- what HTTP shows ---- */

struct published {
    pthread_mutex_t mutex;
    struct pbft_metrics metrics; /* without net, pools and process: looked up when asked */
    char status[STATUS_BYTES];
    char unready[PBFT_UNREADY_BYTES]; /* why not; "" when ready */
    uint64_t at_ns;
};

void publish(struct pbft_runtime *r, uint64_t now_ns);
bool http_open(struct pbft_runtime *r);
extern const char dashboard_html[];

/* ---- the whole ---- */

struct pbft_runtime {
    struct pbft_runtime_config config;
    const struct pbft_cluster *cluster;
    pbft_id id;
    struct pbft_data data;
    struct pbft_disk *reports; /* of divergences; NULL: durability is memory */
    struct pbft_net *net;
    struct pbft_node *node;
    struct pbft_http *http;
    struct jobs jobs;
    struct signals signals;
    struct published published;
    struct pbft_strikes strikes;
    struct pbft_net_event events[EVENTS_PER_POLL];
    uint64_t started_ns;
    int exit_code;   /* other than that of a failure; 0: none */
    uint64_t starts; /* of this data directory, this one included */
    uint64_t wakeups, frames, misbehaviour_closed;
    bool dirty; /* something happened since the last publish() */
    bool failed, stopping;
    bool cancelled;           /* told to stop before it had loaded its state */
    bool amnesia;             /* noticed, and not yet on the disk */
    uint64_t amnesia_ns;      /* when that is tried again */
    struct pbft_frame *proof; /* the epoch is over; NULL: it is not */
};

uint64_t runtime_now(void);
struct pbft_time runtime_time(void);
void runtime_drain(struct pbft_runtime *r); /* carry out what the node puts out */

#endif
