/**
 * pbft/pending.h - requests that wait for execution: who is next to be proposed (round robin
 * between clients, PROTOCOL 13) and which one the timer watches (the oldest, PROTOCOL 21).
 *
 * Fixed capacity: clients times quota, so that no client can take another's room (PROTOCOL 22).
 */
#ifndef PBFT_PENDING_H
#define PBFT_PENDING_H

#include "pbft/frame.h"
#include "pbft/types.h"

#define PBFT_PENDING_NONE UINT32_MAX

enum pbft_pending_state { PBFT_PENDING_FREE, PBFT_PENDING_WAITING, PBFT_PENDING_PROPOSED };

struct pbft_pending_request {
    enum pbft_pending_state state;
    uint32_t client;
    uint64_t session;
    uint64_t t;
    struct pbft_digest digest;
    struct pbft_frame *frame; /* the REQUEST frame, retained */
    uint32_t hash_next;
    uint32_t age_previous, age_next;       /* all, in order of arrival */
    uint32_t client_previous, client_next; /* of this client, in order of arrival */
};

struct pbft_pending_client {
    uint32_t head, tail; /* client_next list, waiting and proposed together */
    uint32_t waiting;    /* how many are waiting */
    uint32_t count;
    uint32_t ring_next; /* clients with waiting > 0 form a ring */
    bool in_ring;
};

struct pbft_pending {
    struct pbft_pending_request *requests;
    uint32_t capacity, count, waiting, free_head;
    uint32_t *buckets;
    uint32_t bucket_mask;
    struct pbft_pending_client *clients;
    uint32_t client_count, quota;
    uint32_t ring_tail; /* last client of the ring; its ring_next is whose turn it is */
    uint32_t oldest, newest;
};

/* Requests that one client may have here: client_quota, or less where very many clients share. */
uint32_t pbft_pending_quota(const struct pbft_params *p, uint32_t client_count);
uint32_t pbft_pending_capacity(const struct pbft_params *p, uint32_t client_count);
uint32_t pbft_pending_buckets(uint32_t capacity); /* a power of two */

/* The arrays have the sizes that the functions above say (clients: client_count). */
void pbft_pending_init(struct pbft_pending *t, const struct pbft_params *p, uint32_t client_count,
                       struct pbft_pending_request *requests, uint32_t *buckets,
                       struct pbft_pending_client *clients);
void pbft_pending_release(struct pbft_pending *t);

/* PBFT_OK; PBFT_DROP_DUPLICATE; PBFT_DROP_CONFLICT for another digest under (client, session, t):
 * the first one stays (FAULTS 4.15); PBFT_DROP_QUOTA. */
enum pbft_verdict pbft_pending_add(struct pbft_pending *t, uint32_t client, uint64_t session,
                                   uint64_t txn, const struct pbft_digest *digest,
                                   struct pbft_frame *frame);
/* (session, t) reached its end: forget it and every t <= low of the session. True if the oldest
 * request was among them. */
bool pbft_pending_done(struct pbft_pending *t, uint32_t client, uint64_t session, uint64_t txn,
                       uint64_t low);
/* Next waiting request, round robin, marked as proposed; PBFT_PENDING_NONE if there is none that
 * fits into max_bytes. */
uint32_t pbft_pending_take(struct pbft_pending *t, size_t max_bytes);
/* Undo pbft_pending_take(). */
void pbft_pending_put_back(struct pbft_pending *t, uint32_t index);
/* All requests of a proposal that was accepted are under way. `proposal` passed the door. */
void pbft_pending_mark(struct pbft_pending *t, struct pbft_span proposal);
/* A new view: whatever was under way waits again. */
void pbft_pending_rewind(struct pbft_pending *t);

#endif
