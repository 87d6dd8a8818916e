/**
 * pbft/pending.h - requests that wait for execution: who is next to be proposed (round robin
 * between clients, PROTOCOL 13) and which one the timer watches (the oldest, PROTOCOL 21).
 *
 * Fixed capacity: clients times quota, so that no client can take another's room (PROTOCOL 22).
 *
 * What a client sends here itself fills its quota and nothing else. What replicas forward has room
 * of its own, for each client and forwarder: else a client that floods the primary, and shows other
 * requests to a backup, makes that backup's oldest one wait outside until its timer fires (FAULTS
 * 3.22). A forwarder keeps to a window, at most half of that room, and sends its oldest first: what
 * the timer watches is always inside. The other half is for what has ended there and not yet here.
 */
#ifndef PBFT_PENDING_H
#define PBFT_PENDING_H

#include "pbft/frame.h"
#include "pbft/types.h"

#define PBFT_PENDING_NONE   UINT32_MAX
#define PBFT_PENDING_DIRECT UINT32_MAX /* as `by`: its client sent it here itself */

enum pbft_pending_state { PBFT_PENDING_FREE, PBFT_PENDING_WAITING, PBFT_PENDING_PROPOSED };

struct pbft_pending_request {
    enum pbft_pending_state state;
    uint32_t client;
    uint64_t session;
    uint64_t t;
    struct pbft_digest digest;
    struct pbft_frame *frame; /* the REQUEST frame, retained */
    uint32_t by;              /* whose room it takes: a replica's, or PBFT_PENDING_DIRECT */
    bool forwarded;           /* it is in our window at the primary */
    uint64_t forwarded_ns;    /* when it was sent there last */
    uint32_t hash_next;
    uint32_t age_previous, age_next;       /* all, in order of arrival */
    uint32_t client_previous, client_next; /* of this client, in order of arrival */
};

struct pbft_pending_client {
    uint32_t head, tail; /* client_next list, waiting and proposed together */
    uint32_t waiting;    /* how many are waiting */
    uint32_t direct;     /* how many came from the client itself */
    uint32_t ring_next;  /* clients with waiting > 0 form a ring */
    bool in_ring;
    bool in_queue;            /* of those with something to forward */
    uint32_t queue_next;      /* NONE: the last one */
    uint32_t forward_next;    /* the oldest not yet forwarded, of the client's list */
    uint32_t forwarded;       /* how many of its requests are in the window */
    uint64_t forwarded_bytes; /* ... and how large they are */
};

struct pbft_pending {
    struct pbft_pending_request *requests;
    uint32_t capacity, count, waiting, free_head;
    uint32_t *buckets;
    uint32_t bucket_mask;
    struct pbft_pending_client *clients;
    uint16_t *rooms; /* taken, at client * n + forwarder */
    uint32_t client_count, n, quota, room, window;
    uint64_t window_bytes;
    uint32_t ring_tail; /* last client of the ring; its ring_next is whose turn it is */
    uint32_t queue_head, queue_tail;    /* clients with something to forward */
    uint32_t urgent[PBFT_REPLICAS_MAX]; /* what each replica waits for, or NONE */
    uint32_t turn;                      /* whose wish is next; n: the ring's */
    uint32_t oldest, newest;
};

/* Requests that one client may have here: client_quota, or less where very many clients share. */
uint32_t pbft_pending_quota(const struct pbft_params *p, uint32_t client_count);
/* Requests of one client for which each replica that forwards has room here: all rooms together as
 * much as the quota, but at least one each. */
uint32_t pbft_pending_room(const struct pbft_params *p, uint32_t client_count);
/* Requests of one client that a replica keeps forwarded and not ended: half of that room. */
uint32_t pbft_pending_window(const struct pbft_params *p, uint32_t client_count);
/* The bytes of that room. A request that finds the room empty may be larger. The window has half of
 * them, in the same way. */
uint64_t pbft_pending_room_bytes(const struct pbft_params *p);
/* quota + (n-1) * room for each client: in all at most 65,536 and as many again, or n-1 for each
 * client where that is more. */
uint32_t pbft_pending_capacity(const struct pbft_params *p, uint32_t client_count);
uint32_t pbft_pending_buckets(uint32_t capacity); /* a power of two */

/* The arrays have the sizes that the functions above say (clients: client_count, rooms:
 * client_count * n). */
void pbft_pending_init(struct pbft_pending *t, const struct pbft_params *p, uint32_t client_count,
                       struct pbft_pending_request *requests, uint32_t *buckets,
                       struct pbft_pending_client *clients, uint16_t *rooms);
void pbft_pending_release(struct pbft_pending *t);

/* PBFT_OK; PBFT_DROP_DUPLICATE; PBFT_DROP_CONFLICT for another digest under (client, session, t):
 * the first one stays (FAULTS 4.15); PBFT_DROP_QUOTA. `by`: the replica that forwarded it, or
 * PBFT_PENDING_DIRECT. What is here stays in the room that it took first. */
enum pbft_verdict pbft_pending_add(struct pbft_pending *t, uint32_t by, uint32_t client,
                                   uint64_t session, uint64_t txn, const struct pbft_digest *digest,
                                   struct pbft_frame *frame);
/* The one with the frame's client key, or PBFT_PENDING_NONE. `frame` passed the door. */
uint32_t pbft_pending_find(const struct pbft_pending *t, const struct pbft_frame *frame,
                           uint64_t session, uint64_t txn);
/* (session, t) reached its end: forget it and every t <= low of the session. True if the oldest
 * request was among them. */
bool pbft_pending_done(struct pbft_pending *t, uint32_t client, uint64_t session, uint64_t txn,
                       uint64_t low);
/* Replica `by` waits for this request, and for none that it named before: if it is here, it is
 * taken before others, once; but each replica has its turn, and the clients' round robin has one:
 * whoever fills the backups with requests of his is not served before all others. For anything that
 * is not here: nothing. */
void pbft_pending_hurry(struct pbft_pending *t, uint32_t by, uint32_t client, uint64_t session,
                        uint64_t txn);
/* Next waiting request, marked as proposed: what each replica waits for and the clients' round
 * robin, in turn. PBFT_PENDING_NONE if there is none, or if it does not fit into max_bytes: then it
 * is the next call's. */
uint32_t pbft_pending_take(struct pbft_pending *t, size_t max_bytes);
/* Undo pbft_pending_take(). */
void pbft_pending_put_back(struct pbft_pending *t, uint32_t index);
/* All requests of a proposal that was accepted are under way. `proposal` passed the door. */
void pbft_pending_mark(struct pbft_pending *t, struct pbft_span proposal);
/* What is to be forwarded next, now in the window: of each client its oldest ones, a client after
 * the other; what is under way already is passed over. PBFT_PENDING_NONE: all windows are full. */
uint32_t pbft_pending_forward(struct pbft_pending *t);
/* A new view: whatever was under way waits again, and nothing is forwarded. */
void pbft_pending_rewind(struct pbft_pending *t);

#endif
