/* tests/fuzz/core/world.h - the small world of tests/fuzz/core.c: real cores, their queue and jobs,
 * what each has signed, and everything that is checked after a step. */
#ifndef PBFT_TESTS_FUZZ_CORE_WORLD_H
#define PBFT_TESTS_FUZZ_CORE_WORLD_H

#include "crypto/door.h"
#include "crypto/hash.h"
#include "pbft/core.h"
#include "pbft/new_view.h"
#include "pbft/quorum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/strict.h"
#include "tests/sim/recheck.h"

#define N            4u
#define QUORUM       3u
#define CLIENTS      2u
#define WINDOW       8u
#define INTERVAL     4u
#define MS           UINT64_C(1000000)
#define WALL_BASE_NS UINT64_C(1700000000000000000)
#define COMMANDS_MAX 160u
#define STEPS_MAX    1500u
#define BATCHES      8u
#define DIGESTS      16u
#define FRAMES_MAX   400u /* that one core may hold, FAULTS 3.18 */
#define SAID_SLOTS   4096u
#define ORDERED_MAX  256u

struct parcel {
    struct pbft_frame *frame;
    pbft_id from, to;
};

struct job {
    pbft_seq seq;
    struct pbft_frame *frame;
    struct pbft_span proposal;
    struct pbft_digest digest;
    bool checkpoint;
};

struct state {
    pbft_seq seq;
    struct pbft_digest root; /* chain of the digests executed */
};

struct node {
    pbft_id id;
    bool real;
    struct pbft_core *core;
    void *memory;
    struct pbft_door *door;
    pbft_lsn written;
    pbft_seq last_execute;
    uint64_t effective_ns;
    struct state state;
    struct job jobs[4 * WINDOW];
    size_t job_count;
    struct state ready[8]; /* checkpoints that are being hashed */
    size_t ready_count;
    struct state target; /* of a transfer; seq 0: none */
    struct pbft_fetch fetches[64];
    bool fetching[64];
    struct pbft_core_info info;
    pbft_view left_view; /* highest VIEW-CHANGE sent */
    pbft_seq phase_low;
    struct {
        enum pbft_phase phase;
        pbft_view view;
        struct pbft_digest digest;
    } phases[WINDOW];
};

struct batch {
    uint8_t bytes[1024];
    size_t size;
    struct pbft_digest digest;
};

struct statement { /* a slot of the table of what real cores signed; type 0: free */
    uint8_t type;
    pbft_id id;
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
};

struct world {
    struct pbft_cluster cluster;
    struct pbft_keypair keys[N], client_keys[CLIENTS];
    struct pbft_public_key client_public[CLIENTS];
    struct pbft_core_config config;
    struct pbft_digest null_digest;
    struct batch batches[BATCHES];
    struct pbft_frame *requests[8];

    struct pbft_frame_pool pool;
    int64_t live;
    bool refuse;
    struct pbft_effects effects;
    struct node nodes[N];
    uint64_t now_ns, wall_skew_ns;
    unsigned steps;
    bool trio, no_wants;
    pbft_signers traitors;

    struct statement said[SAID_SLOTS];
    uint16_t said_used[SAID_SLOTS];
    size_t said_count;
    struct parcel queue[256];
    size_t queue_count;
    struct pbft_frame *heard[32]; /* what was sent or crafted, for replays */
    size_t heard_count;
    struct pbft_frame *vcs[N][4]; /* VIEW-CHANGEs seen, newest last */
    size_t vc_count[N];
    struct pbft_digest digests[DIGESTS]; /* of proposals seen */
    size_t digest_count;
    struct pbft_digest ordered[ORDERED_MAX], roots[ORDERED_MAX]; /* trio: agreed */
    bool ordered_known[ORDERED_MAX], roots_known[ORDERED_MAX];
};
extern struct world w;

/* ---- world.c ---- */

/* What the cores, their doors and their pool are made with. */
struct pbft_frame *frame_alloc(struct pbft_frame_pool *pool, uint32_t capacity);
void frame_free(struct pbft_frame_pool *pool, struct pbft_frame *frame);
void core_digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves);
void core_sign_frame(void *context, uint8_t *frame, size_t size);
void core_sign_body(void *context, uint8_t type, struct pbft_span body, uint8_t *signature);
bool wants(const void *context, const struct pbft_peer *from, const struct pbft_claim *claim);
/* Outside the cores' budget. One reference. */
struct pbft_frame *frame_of(const struct pbft_msg *msg);
/* For replays; returns `frame`. */
struct pbft_frame *remember(struct pbft_frame *frame);
/* Valid until the next call. */
bool decode(const struct pbft_frame *frame, struct pbft_msg *msg);
/* What the adversary can make of it: a signature that it may make or has seen, or a wrong one. */
void sign_statement(uint8_t type, pbft_id id, pbft_view view, pbft_seq seq,
                    const struct pbft_digest *digest, uint8_t *signature);
void sign_set(uint8_t type, pbft_view view, pbft_seq seq, const struct pbft_digest *digest,
              pbft_signers signers, uint8_t *out);
void note_view_change(pbft_id sender, struct pbft_frame *frame);
/* One event; carries the effects out and checks every invariant. */
enum pbft_verdict step(struct node *node, struct pbft_event *event);
void give_request(struct node *node, const struct pbft_request *r, struct pbft_frame *frame,
                  const struct pbft_peer *from);
/* Through the door of `to`, now. */
void arrive(pbft_id from, pbft_id to, struct pbft_frame *frame);
/* From the adversary: consumed, and kept for replays. */
void craft(pbft_id from, pbft_id to, struct pbft_frame *frame);
struct parcel queue_take(size_t at);
void deliver(size_t at, unsigned times);
void run_job(struct node *node);
void drop_jobs(struct node *node);
void checkpoint_ready(struct node *node);
void state_ready(struct node *node);
void tick(struct node *node);

/* ---- life.c ---- */

void world_create(void); /* once */
void world_begin(uint8_t how);
/* Lets go of everything; no frame but the `live` ones of the beginning may be left. */
void world_end(int64_t live);

/* ---- craft.c ---- */

#define CRAFTS 16u /* commands that begin with an aim */
void craft_command(struct fuzz *f, uint8_t op);
struct node *some_real(uint8_t choice);
/* Answer what the node asks for, from whoever has it. */
void answer_fetches(struct node *node);

#endif
