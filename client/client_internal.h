/* Shared by client.c (the public functions), client_session.c (sessions and their windows),
 * client_epoch.c (from one configuration to the next) and client_loop.c (the library's thread). */
#ifndef PBFT_CLIENT_CLIENT_INTERNAL_H
#define PBFT_CLIENT_CLIENT_INTERNAL_H

#include "client/match.h"
#include "client/pbft.h"
#include "net/net.h"
#include "replica/config.h"
#include "replica/pool.h"

#include <pthread.h>
#include <stdatomic.h>

enum job_kind { JOB_CALL, JOB_READ, JOB_ADMIN, JOB_STATS, JOB_WAIT };

/* One submission, from the caller to its callback. */
struct job {
    struct job *next;
    enum job_kind kind;
    uint32_t op_count;
    bool single;      /* its result, instead of a list of one */
    uint32_t session; /* JOB_CALL, JOB_READ: index, or PBFT_CLIENT_ANY */
    pbft_id replica;  /* JOB_ADMIN */
    uint8_t admin_kind;
    uint64_t id;           /* JOB_ADMIN: of the question */
    uint32_t attempts;     /* sessions that it was sent under */
    uint64_t submitted_ns; /* monotonic */
    uint64_t deadline_ns;
    pbft_client_done done;
    void *context;
    size_t size;
    uint8_t bytes[]; /* items, or the operation, or the argument */
};

struct job_list {
    struct job *head, *tail;
    uint32_t count;
};

/* One session (PROTOCOL 6) with its client core. The thread's. */
struct client_session {
    void *memory; /* of the match */
    struct pbft_match *m;
    uint64_t number;
    uint64_t query_base;     /* ids of its fast reads */
    bool expired;            /* to be replaced as soon as nothing is outstanding */
    uint64_t used_ns;        /* last time that something was sent under it */
    uint64_t due_ns;         /* of the match; 0: to be asked, for something happened to it */
    struct job_list waiting; /* for a place in the window */
};

struct pbft_client {
    struct pbft_cluster_config config;
    struct pbft_client_config own;
    struct pbft_client_options options;
    struct pbft_keypair keypair;
    uint32_t client_index;
    struct pbft_pool *pool;
    struct pbft_door *door;
    const struct pbft_cluster *cluster; /* config.cluster, or what followed it, which is ours */
    struct pbft_net *net;
    /* Where the proofs that led to `cluster` are kept; empty: nowhere. */
    char epochs[PBFT_CONFIG_PATH_MAX + 16];
    bool unkept; /* the thread's: there are some that are not there yet */
    /* The thread alone replaces `cluster` and `net`, under this lock; others use them under it. */
    pthread_mutex_t epoch_lock;
    _Atomic uint32_t epoch; /* of `cluster` */
    pthread_t thread;
    bool started;

    /* Shared with callers, under the lock. */
    pthread_mutex_t lock;
    struct job_list submitted;
    uint32_t queued; /* submitted and not yet done, of each sort */
    uint32_t admin_queued;
    bool sleeping; /* the thread is, or is about to be, in poll */
    bool closing;

    /* The thread's. */
    struct client_session *sessions; /* options.sessions of them */
    uint64_t newest;                 /* highest session number that a request was sent under */
    struct job_list admins;          /* asked */
    struct job_list waiters;         /* for a quorum of connections */
    uint64_t next_admin;
    uint64_t next_generation;                /* of query ids */
    uint64_t connections[PBFT_REPLICAS_MAX]; /* 0: not connected */
    struct pbft_client_stats stats;          /* of sessions that were replaced, and of frames */
};

/* client_epoch.c */
/* What a configuration is used with. Addresses are those of the file. */
enum pbft_status client_connect(const struct pbft_client *c, const struct pbft_cluster *cluster,
                                struct pbft_door **door, struct pbft_net **net, char error[256]);
/* Under the configuration that the proof leads to from ours, if it does and there is memory for it;
 * else everything stays as it is, and whoever has moved on tells us again. */
void client_follow(struct pbft_client *c, struct pbft_span proof);
/* Before anything is connected: what earlier handles were told, if it is on the disk. `warning`
 * takes a sentence if it is there and can not be used. */
void client_recall(struct pbft_client *c, char warning[256]);
/* Write down what we were told, if that is new and can be done: a later handle does not have to
 * believe the first epoch's keys again. */
void client_keep(struct pbft_client *c);
void client_epoch_free(struct pbft_client *c);

uint64_t client_now(void);
void job_push(struct job_list *list, struct job *job);
void job_push_front(struct job_list *list, struct job *job);
struct job *job_pop(struct job_list *list);
/* Tell the caller, forget the job. */
void client_finish(struct pbft_client *c, struct job *job, const struct pbft_answer *answer);
void client_finish_status(struct pbft_client *c, struct job *job, enum pbft_status status);
/* Its first session number, and each one after it when nothing is outstanding. False: out of
 * memory. */
bool client_new_session(struct pbft_client *c, struct client_session *s);
/* Whom a request that names no session goes to: the one with the least to do. */
struct client_session *client_least_busy(const struct pbft_client *c);
void client_session_free(struct client_session *s);
void client_stats_add(struct pbft_client_stats *to, const struct pbft_match *m);
/* The session that a REPLY, BUSY or QUERY-REPLY is for; NULL: none of ours. */
struct client_session *client_session_of(const struct pbft_client *c, const struct pbft_msg *msg);
/* What a call to its match asked for. Each such call ends here. */
void client_carry_out(struct pbft_client *c, struct client_session *s,
                      const struct pbft_match_out *out);
/* Its clocks, and as many waiting operations as its window takes. */
void client_tick_session(struct pbft_client *c, struct client_session *s, uint64_t now);
/* When it must be ticked next. Remembered: a match looks at its whole window for it. */
uint64_t client_session_due(struct client_session *s);
void *client_run(void *client);
void client_snapshot(const struct pbft_client *c, struct pbft_client_stats *out);

#endif
