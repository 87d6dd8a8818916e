/* Shared by match.c (requests, the clock, entry points) and match_read.c (fast reads). */
#ifndef PBFT_CLIENT_MATCH_INTERNAL_H
#define PBFT_CLIENT_MATCH_INTERNAL_H

#include "client/match.h"

enum exchange_state {
    EXCHANGE_FREE,
    EXCHANGE_ACTIVE,
    EXCHANGE_ABANDONED, /* request: timed out for the caller, not yet answered */
    EXCHANGE_DONE,      /* request: answered; late replies are still compared with the answer */
    EXCHANGE_FALLBACK,  /* query: waits for a place among the requests */
};

/* The newest statement of one replica about one exchange. */
struct match_vote {
    bool given;
    bool alien; /* names another request digest: matches nothing */
    uint8_t outcome;
    struct pbft_digest result;
    uint64_t mark;            /* queries */
    pbft_seq seq;             /* hint */
    struct pbft_frame *frame; /* holds `body`; NULL: digest only, or an equal vote has it */
    struct pbft_span body;
};

/* One request, or one fast read, and what was said about it. */
struct match_exchange {
    enum exchange_state state;
    uint64_t number; /* t, or query id */
    uint64_t token;
    uint64_t deadline_ns;           /* UINT64_MAX: none */
    uint64_t retry_at_ns;           /* request: next retransmission; query: end of its patience */
    uint64_t interval_ns;           /* request: until the one after */
    struct pbft_frame *frame;       /* REQUEST, or QUERY that wants the body */
    struct pbft_frame *brief_frame; /* query: the one that wants a digest only */
    struct pbft_digest digest;      /* request digest */
    bool fallback;                  /* request: fast reads fell back to it */
    bool agreed;                    /* q said the same; the body may still be missing */
    uint8_t outcome;                /* agreed */
    struct pbft_digest result;
    uint64_t mark;
    uint64_t sent_ns;          /* for the first time */
    pbft_signers sources;      /* who was to bring the body by itself */
    pbft_signers paid;         /* who did */
    pbft_signers asked;        /* who was asked for it after the digests */
    pbft_signers awaited;      /* of both: who has not spoken since, nor is blamed for it */
    uint64_t patient_until_ns; /* agreed: a body is late after it */
    uint64_t fetch_at_ns;      /* agreed without a body: when to ask for it */
    uint64_t fetch_interval;   /* ns */
    pbft_id fetch_from;        /* who was asked last */
    pbft_signers busy;         /* who answered BUSY since the last transmission */
    pbft_signers counted;      /* whose wrong reply is in the statistics */
    struct match_vote *votes;  /* n of them */
};

struct pbft_match {
    struct pbft_match_config config;
    uint32_t n, q, weak;
    uint64_t next_t;
    uint32_t ring;                   /* places for requests: t mod ring */
    uint32_t live;                   /* active requests */
    uint32_t held;                   /* places that are not free for t + ring */
    struct match_exchange *requests; /* ring of them */
    struct match_exchange *queries;  /* window of them */
    uint64_t next_query;
    uint32_t queries_live;
    pbft_seq floor;
    bool opened;
    bool stale; /* frames of the epoch before are left: there was no memory for new ones */
    pbft_view views[PBFT_REPLICAS_MAX]; /* newest hint of each */
    pbft_view view;                     /* the (f+1)-th highest of them */
    pbft_signers connected;
    uint32_t bodies_owed[PBFT_REPLICAS_MAX]; /* until bodies of it are waited for again */
    uint64_t body_bytes;                     /* as large as the bodies of late */
    pbft_signers introduced; /* has seen a request of ours on its present connection */
    struct pbft_match_send *sends;
    size_t send_count, send_max;
    struct pbft_match_completion *completions;
    size_t completion_count, completion_max;
    struct pbft_match_stats stats;
};

void match_send(struct pbft_match *m, pbft_signers to, struct pbft_frame *frame);
struct pbft_frame *match_encode(struct pbft_match *m, const struct pbft_msg *msg);
struct pbft_match_completion *match_complete(struct pbft_match *m, struct match_exchange *e,
                                             enum pbft_match_result result);
/* Who said the same as `vote`, itself included. */
pbft_signers match_same(const struct pbft_match *m, const struct match_exchange *e,
                        const struct match_vote *vote);
/* The newest statement replaces the one before. The vote's frame is retained when it is needed. */
void match_vote_set(struct pbft_match *m, struct match_exchange *e, pbft_id from,
                    const struct match_vote *vote, struct pbft_frame *frame);
/* Who said what was agreed on. */
pbft_signers match_agreeing(const struct pbft_match *m, const struct match_exchange *e);
/* A vote with the agreed body; NULL if nobody has sent it. */
const struct match_vote *match_body(const struct pbft_match *m, const struct match_exchange *e);
/* Sequence numbers that a correct replica among those who agree vouches for. */
void match_raise_floor(struct pbft_match *m, const struct match_exchange *e);
void match_set_agreed(struct pbft_match *m, struct match_exchange *e, const struct match_vote *vote,
                      uint64_t now_ns);
void match_exchange_clear(struct pbft_match *m, struct match_exchange *e);
/* Whether a request may hold these operations: PBFT_OK, PBFT_DROP_SIZE or PBFT_DROP_MALFORMED. */
enum pbft_verdict match_bundle_check(const struct pbft_match *m, struct pbft_span ops,
                                     uint32_t op_count);
bool match_request_start(struct pbft_match *m, uint64_t now_ns, struct pbft_span ops,
                         uint32_t op_count, struct match_exchange **out);

/* The frame as it has to be in this epoch, in place of *frame. False: no memory, it stays. */
bool match_renew(struct pbft_match *m, struct pbft_frame **frame);

/* match_body.c */

/* Who is asked for the body of a fast read: whose turn it is, and another one if that is not to be
 * relied on. */
pbft_signers match_body_sources(const struct pbft_match *m, pbft_id designated);
/* `sources` are to bring the body of what is sent now. */
void match_body_wanted(struct match_exchange *e, pbft_signers sources, uint64_t now_ns);
/* How long a body may take after the digests, at most (ns). */
uint64_t match_patience_max(const struct pbft_match *m);
/* q agree as from now. */
void match_body_agreed(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns);
/* Agreed, and no body: whether somebody is to be asked now. */
bool match_body_due(const struct pbft_match *m, struct match_exchange *e, uint64_t now_ns);
/* A replica has replied, with a body (`whole`) or without, be it after the answer. The body need
 * not be the one that was agreed on: a read is answered out of the state that it finds. */
void match_body_heard(struct pbft_match *m, struct match_exchange *e, pbft_id from, bool whole,
                      uint64_t now_ns);
/* Somebody is asked now: e->fetch_from, one that agreed, in turn. False: nobody agreed. */
bool match_body_ask(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns);
/* The body of an answer: others will be as large. */
void match_body_accepted(struct pbft_match *m, size_t bytes);

/* match_read.c */
enum pbft_verdict match_on_query_reply(struct pbft_match *m, uint64_t now_ns, pbft_id from,
                                       const struct pbft_query_reply *reply,
                                       struct pbft_frame *frame);
void match_queries_tick(struct pbft_match *m, uint64_t now_ns);
uint64_t match_queries_deadline(const struct pbft_match *m);
void match_queries_connected(struct pbft_match *m, pbft_id replica);
bool match_queries_renew(struct pbft_match *m); /* after a change of epoch; false: not all */
void match_queries_pump(struct pbft_match *m, uint64_t now_ns); /* starts waiting fallbacks */

#endif
