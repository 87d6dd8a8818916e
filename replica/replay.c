/* Proposals and decisions of a log, put together (PROTOCOL 25). Nothing is verified here: what the
 * result has to be, q replicas have signed. */
#include "replica/replay.h"

#include "crypto/hash.h"
#include "pbft/core.h"
#include "replica/pool.h"

#include <stdatomic.h>
#include <stdlib.h>

/* A proposal of the log, until it or another one of its number is known to be committed. */
struct body {
    struct body *next;
    pbft_seq seq;
    struct pbft_digest digest;
    struct pbft_frame *frame;
    struct pbft_span bytes; /* inside it */
};

struct decision {
    pbft_seq seq; /* 0: not known */
    struct pbft_digest digest;
};

struct pbft_replay {
    struct pbft_replay_config config;
    struct pbft_arena arena;
    pbft_seq reached;
    pbft_seq seen; /* highest committed */
    bool no_memory;
    struct body *bodies;
    struct decision *decisions; /* by seq modulo the window */
};

/* As many as the core keeps slots. */
static size_t decisions_size(const struct pbft_params *p)
{
    return p->window + 2u * (size_t)p->checkpoint_interval;
}

static void bodies_drop(struct pbft_replay *r, pbft_seq up_to)
{
    for (struct body **at = &r->bodies; *at != NULL;) {
        struct body *body = *at;
        if (body->seq > up_to) {
            at = &body->next;
            continue;
        }
        *at = body->next;
        pbft_frame_release(body->frame);
        free(body);
    }
}

static struct body *body_find(const struct pbft_replay *r, pbft_seq seq,
                              const struct pbft_digest *d)
{
    for (struct body *body = r->bodies; body != NULL; body = body->next)
        if (body->seq == seq && pbft_digest_equal(&body->digest, d)) return body;
    return NULL;
}

static void body_add(struct pbft_replay *r, pbft_seq seq, const struct pbft_digest *digest,
                     struct pbft_frame *frame, struct pbft_span bytes)
{
    if (seq <= r->reached || seq > r->config.to || body_find(r, seq, digest) != NULL) return;
    struct body *body = malloc(sizeof *body);
    if (body == NULL) {
        r->no_memory = true;
        return;
    }
    *body = (struct body){r->bodies, seq, *digest, pbft_frame_retain(frame), bytes};
    r->bodies = body;
}

static void advance(struct pbft_replay *r)
{
    struct pbft_digest null;
    pbft_digest_null(&null);
    while (r->reached < r->config.to) {
        pbft_seq seq = r->reached + 1;
        const struct decision *d = &r->decisions[seq % decisions_size(r->config.params)];
        if (d->seq != seq) return;
        const struct body *body = body_find(r, seq, &d->digest);
        if (body == NULL && !pbft_digest_equal(&d->digest, &null)) return;
        if (body != NULL)
            r->config.execute(r->config.context, seq, body->frame, body->bytes);
        else
            r->config.execute(r->config.context, seq, NULL, (struct pbft_span){NULL, 0});
        r->reached = seq;
        bodies_drop(r, seq);
    }
}

/* ---- records ---- */

static bool frame_at(struct pbft_replay *r, struct pbft_span bytes, struct pbft_frame **frame,
                     struct pbft_msg *msg)
{
    *frame = pbft_frame_copy(r->config.pool, bytes);
    r->arena.used = 0;
    return *frame != NULL &&
           pbft_wire_decode(pbft_frame_span(*frame), r->config.params, &r->arena, msg) == PBFT_OK;
}

/* The frame that held the proposal; what it is of may stand in the PREPARE behind it. */
static bool see_proposal(struct pbft_replay *r, struct pbft_span first, struct pbft_span second)
{
    struct pbft_frame *frame = NULL;
    struct pbft_msg msg;
    struct pbft_claim claim;
    bool ok = frame_at(r, first, &frame, &msg);
    if (ok && msg.type == PBFT_PRE_PREPARE)
        body_add(r, msg.pre_prepare.seq, &msg.pre_prepare.digest, frame,
                 msg.pre_prepare.proposal.bytes);
    if (ok && msg.type == PBFT_CERTIFICATE && msg.certificate.has_proposal)
        body_add(r, msg.certificate.seq, &msg.certificate.digest, frame,
                 msg.certificate.proposal.bytes);
    if (ok && msg.type == PBFT_BATCH && second.size > 0 &&
        pbft_wire_peek(second, &claim) == PBFT_OK)
        body_add(r, claim.seq, &claim.digest, frame, msg.batch.bytes);
    pbft_frame_release(frame);
    return ok;
}

static bool see_committed(struct pbft_replay *r, struct pbft_span bytes)
{
    struct pbft_frame *frame = NULL;
    struct pbft_msg msg;
    bool ok = frame_at(r, bytes, &frame, &msg) && msg.type == PBFT_CERTIFICATE;
    if (ok) {
        const struct pbft_certificate *m = &msg.certificate;
        if (m->seq > r->seen) r->seen = m->seq;
        if (m->has_proposal) body_add(r, m->seq, &m->digest, frame, m->proposal.bytes);
        if (m->seq > r->reached && m->seq <= r->config.to)
            r->decisions[m->seq % decisions_size(r->config.params)] =
                (struct decision){m->seq, m->digest};
    }
    pbft_frame_release(frame);
    if (ok) advance(r);
    return ok;
}

bool pbft_replay_visit(void *context, const struct pbft_log_record *record)
{
    struct pbft_replay *r = context;
    if (r->config.cancel != NULL && atomic_load(r->config.cancel)) return false;
    struct pbft_span parts[2] = {{NULL, 0}, {NULL, 0}};
    size_t at = 0;
    for (unsigned k = 0; k < 2; k++)
        if (!pbft_wire_next_item(record->payload, &at, &parts[k])) break;
    bool ok = true;
    if (record->kind == PBFT_RECORD_PROPOSAL) ok = see_proposal(r, parts[0], parts[1]);
    if (record->kind == PBFT_RECORD_COMMITTED) ok = see_committed(r, parts[0]);
    /* Further than the core ever is ahead: what is missing will not come. */
    bool stuck = r->seen > r->reached + decisions_size(r->config.params);
    return ok && !stuck && !r->no_memory && r->reached < r->config.to;
}

/* ---- life ---- */

struct pbft_replay *pbft_replay_new(const struct pbft_replay_config *config)
{
    PBFT_ASSERT(config->from < config->to);
    struct pbft_replay *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    size_t bytes = (pbft_wire_arena_bytes(config->params) + 15) & ~(size_t)15;
    r->config = *config;
    r->reached = config->from;
    r->arena = (struct pbft_arena){aligned_alloc(16, bytes), bytes, 0};
    r->decisions = calloc(decisions_size(config->params), sizeof *r->decisions);
    if (r->arena.base != NULL && r->decisions != NULL) return r;
    pbft_replay_free(r);
    return NULL;
}

pbft_seq pbft_replay_reached(const struct pbft_replay *r)
{
    return r->reached;
}

void pbft_replay_free(struct pbft_replay *r)
{
    if (r == NULL) return;
    bodies_drop(r, UINT64_MAX);
    free(r->arena.base);
    free(r->decisions);
    free(r);
}
