/**
 * tests/rules/lone.h - one node and a world of a few lines around it. Its peers and clients are the
 * test; its log and the checkpoints on its disk are in memory, and outlive it.
 */
#ifndef PBFT_TESTS_RULES_LONE_H
#define PBFT_TESTS_RULES_LONE_H

#include "replica/node.h"
#include "tests/rules/harness.h"

#define LONE_OUT_MAX 512u

struct lone {
    struct net *t; /* keys, crafting, frames; its replicas never run */
    struct pbft_node *node;
    struct pbft_log *log;
    struct pbft_pages_disk *disk; /* of the checkpoints; NULL: none are kept */
    struct pbft_pages *pages;
    uint64_t flush_bytes, body_max_bytes; /* 0: at each stable checkpoint; no bound */
    const struct pbft_service *service;
    struct pbft_time time;
    bool no_sync, no_flush, no_hash, no_apply; /* these jobs stay out */
    _Atomic bool cancel;                       /* its next start ends while it loads */
    struct pbft_job *sync, *flush, *hash, *apply;
    struct {
        struct pbft_peer to;
        struct pbft_frame *frame;
    } out[LONE_OUT_MAX];
    size_t out_count;
    struct pbft_frame *proof; /* it has said that its epoch is over; NULL: not yet */
    unsigned muted_lines;
    char last_refusal[160];              /* of a state, by a restart; "" */
    unsigned divergences, repairs;       /* lines */
    char divergence[800], repaired[800]; /* the last ones */
    char *report;                        /* the last one */
    pbft_seq report_seq;
    enum pbft_status report_status;    /* what the next one meets */
    void (*after_job)(struct lone *l); /* NULL: nothing */
};

/* Replica 1 of 4, K = 4. */
struct lone *lone_new(bool mute);
/* The same with checkpoints on its disk, flushed at each stable one. */
struct lone *lone_new_on_disk(void);
void lone_free(struct lone *l);
/* Its process ends, and starts again (lone_restart() does both): pbft_node_restore()'s status. */
void lone_stop(struct lone *l);
enum pbft_status lone_restart(struct lone *l);
enum pbft_status lone_restart_slowly(struct lone *l, uint64_t ms); /* to load the state */
/* Told that its epoch is over before it has done anything else. */
enum pbft_status lone_restart_told(struct lone *l, struct pbft_span proof);
/* The next epoch begins: with the state in memory, an empty log and nothing on the disk, as for a
 * key that was replaced. Nothing can be crafted for it. `next` outlives l. */
void lone_begin_empty(struct lone *l, const struct pbft_cluster *next);
struct pbft_node_info lone_info(const struct lone *l);

/* After lone_stop(): an empty log with this cap. */
void lone_new_log(struct lone *l, uint64_t bytes_max);

/* Run all jobs but those that stay out, keep what is sent. */
void lone_drain(struct lone *l);
void lone_finish_sync(struct lone *l);  /* the commit that is under way ends */
void lone_finish_flush(struct lone *l); /* the flush */
void lone_finish_hash(struct lone *l);  /* a checkpoint is hashed, or a slice of a comparison */
void lone_finish_apply(struct lone *l); /* some of what is queued is executed */
/* Time goes by. */
void lone_pass(struct lone *l, uint64_t ms);

/* All of these let go of the frame. */
enum pbft_verdict lone_from_replica(struct lone *l, pbft_id id, struct pbft_frame *frame);
enum pbft_verdict lone_from_client(struct lone *l, uint32_t client, uint64_t connection,
                                   struct pbft_frame *frame);
void lone_client_up(struct lone *l, uint32_t client, uint64_t connection);
void lone_links_up(struct lone *l, pbft_signers others);
/* q others committed `op` of client 0 at seq. */
enum pbft_verdict lone_commit(struct lone *l, pbft_seq seq, uint64_t t, const char *op);
enum pbft_verdict lone_commit_of(struct lone *l, pbft_seq seq, uint64_t t, struct pbft_span op);
enum pbft_verdict lone_commit_null(struct lone *l, pbft_seq seq);
struct pbft_frame *lone_query_of(struct lone *l, uint64_t id, uint64_t floor, const char *op);
struct pbft_frame *lone_query(struct lone *l, uint64_t id, uint64_t floor);
/* The first result that a fast read was answered with. */
struct pbft_span lone_result(const struct pbft_query_reply *reply);

/* The root that its own CHECKPOINT, sent since lone_forget(), names. False: there is none. */
bool lone_own_root(const struct lone *l, pbft_seq seq, struct pbft_digest *root);
/* The others sign this root; or what it signed. */
void lone_certify_root(struct lone *l, pbft_seq seq, const struct pbft_digest *root);
void lone_certify(struct lone *l, pbft_seq seq);
/* The pages that l asks for, `server` gives, until its state transfer is done. */
void lone_serve_pages(struct lone *l, struct lone *server);

/* Frames of this type that it sent since lone_forget(). */
unsigned lone_sent(const struct lone *l, uint8_t type);
void lone_forget(struct lone *l);

#endif
