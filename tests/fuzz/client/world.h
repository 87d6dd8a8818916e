/* tests/fuzz/client/world.h - the small world of tests/fuzz/client.c: the truth that correct
 * replicas tell, what the client was told, and everything that is checked. */
#ifndef PBFT_TESTS_FUZZ_CLIENT_WORLD_H
#define PBFT_TESTS_FUZZ_CLIENT_WORLD_H

#include "client/match.h"
#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "tests/fuzz/fuzz.h"

#define MS             UINT64_C(1000000)
#define SIZES          4u /* n = 4 .. 7 */
#define N_MAX          7u
#define SESSION        UINT64_C(77)
#define SESSION_WINDOW 6u
#define WINDOW_MAX     4u
#define KEYS           2u
#define CALLS_MAX      48u
#define T_MAX          (CALLS_MAX + 1) /* every call takes at most one t, from 1 */
#define LOG_MAX        160u
#define QUEUE_MAX      512u
#define BYTES_MAX      96u
#define COMMANDS_MAX   300u
#define ROUNDS_MAX     120u

/* What a replica says about a request, or about a query (then with a mark). */
struct said {
    bool given;
    uint8_t outcome;
    uint64_t mark;
    struct pbft_digest result;
};

/* What was said about one of them, counted without the client's help: the newest of each. */
struct tally {
    struct said newest[N_MAX];
    bool decided; /* q once said the same */
    struct said answer;
    pbft_signers agreed; /* who has said it */
};

/* Operations are (kind, key, value): 'w' sets the key, anything else reads it. */
struct call { /* of the application; its number is the token */
    bool read, ordered, done;
    uint64_t t; /* 0: a fast read that has not fallen back */
    uint64_t deadline_ns;
    pbft_seq low; /* a read: whatever was answered when it began had been executed by here */
    uint8_t ops[BYTES_MAX];
    size_t size;
    uint32_t count;
};

struct request { /* by t; size 0: never sent */
    uint8_t frame[512];
    size_t size;
    struct pbft_digest digest;
    struct tally tally;
    bool fallback;     /* of some fast read */
    bool claimed;      /* a completion was for it */
    pbft_signers busy; /* who said so, since it was heeded last */
};

struct query {
    bool sent;
    uint64_t id;
    pbft_seq floor;
    struct tally tally;
};

/* One execution. A t stands twice only when it was refused by LIMIT before. */
struct execution {
    uint64_t t;
    uint8_t outcome;
    uint8_t body[BYTES_MAX];
    size_t size;
    bool set[KEYS];
    uint8_t value[KEYS]; /* after it */
};

struct parcel {
    struct pbft_frame *frame;
    pbft_id from;
};

struct world {
    struct pbft_cluster clusters[SIZES];
    struct pbft_door *doors[SIZES];
    struct pbft_keypair key;
    struct pbft_public_key public;
    struct pbft_cluster *cluster;
    struct pbft_door *door;
    uint32_t n, f, q, window, ring;
    pbft_signers liars, connected;
    bool bounded; /* at most f lie: else nothing is promised but to stay whole */
    bool healing;
    uint8_t style; /* of the lies while healing */

    struct pbft_frame_pool pool;
    int64_t live;
    bool refuse;
    void *memory;
    struct pbft_match *m;
    uint64_t now_ns;

    struct execution log[LOG_MAX]; /* from 1 */
    pbft_seq executed;             /* the longest log of a correct replica */
    pbft_seq at[N_MAX];            /* how far each is */
    pbft_view view[N_MAX], hints[N_MAX];
    struct call calls[CALLS_MAX];
    uint32_t call_count;
    struct request requests[T_MAX];
    uint64_t newest_t;
    struct query queries[CALLS_MAX]; /* by token */
    pbft_seq answered;               /* what the application knows to be executed */
    pbft_seq floor;
    struct parcel queue[QUEUE_MAX];
    size_t queue_count;
    struct pbft_frame *heard[16]; /* delivered lately, for replays */
    uint32_t heard_count;
    uint32_t answers, timeouts;
    uint64_t heeded; /* BUSY */
};
extern struct world w;

/* ---- world.c ---- */

void world_create(void); /* once */
void world_begin(uint8_t how, uint8_t who);
void world_end(void);
struct pbft_frame *frame_of(const struct pbft_msg *msg); /* outside the budget; NULL: no message */
bool correct(pbft_id id);
/* The newest execution of t among the first `at`, or 0. */
pbft_seq execution_of(uint64_t t, pbft_seq at);
/* The next entry of the log. */
void execute(uint64_t t, uint8_t outcome);
/* What the key is at that place of the log: its last change, 0 if there was none. */
pbft_seq mark_of(uint8_t key, pbft_seq at);
/* The highest of what a call of reads asks for. */
pbft_seq mark_of_call(const struct call *call, pbft_seq at);
/* What a correct replica that is so far answers. False: nothing yet. */
bool true_reply(uint64_t t, pbft_seq at, bool whole, struct pbft_msg *msg);
void true_query_reply(uint32_t token, pbft_seq at, bool whole, struct pbft_msg *msg);
/* Takes over the reference. */
void enqueue(pbft_id from, struct pbft_frame *frame);
struct parcel queue_take(size_t at);
/* To the client, now, if it is connected and its door lets it in. */
void deliver(pbft_id from, struct pbft_frame *frame);

/* ---- check.c ---- */

/* The client's part of the world after each call of it: what it sent, what it completed, and what
 * may not be otherwise. `token` is of the call, or CALLS_MAX. */
void take(const struct pbft_match_out *out, uint32_t token);
/* The message is about to be shown to the client. */
void note(pbft_id from, const struct pbft_msg *msg);

/* ---- lies.c ---- */

void lie_command(struct fuzz *f);
/* A liar's part in a round of healing: about every request and every query. */
void lie_while_healing(unsigned round);

#endif
