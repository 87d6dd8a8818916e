/* The way from the checkpoint on disk to the stable one: the batches that the log has committed,
 * executed again (PROTOCOL 25). Their result is compared with the certified root by the core. */
#include "replica/node_internal.h"

#include "crypto/hash.h"
#include "replica/pool.h"

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

struct replay {
    struct pbft_node *node;
    struct pbft_arena arena;
    pbft_seq target;
    pbft_seq seen; /* highest committed */
    struct body *bodies;
    struct decision *decisions; /* by seq modulo the window */
};

/* As many as the core keeps slots. */
static size_t decisions_size(const struct pbft_node *node)
{
    return node->p->window + 2u * (size_t)node->p->checkpoint_interval;
}

static void bodies_drop(struct replay *r, pbft_seq up_to)
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

static struct body *body_find(const struct replay *r, pbft_seq seq, const struct pbft_digest *d)
{
    for (struct body *body = r->bodies; body != NULL; body = body->next)
        if (body->seq == seq && pbft_digest_equal(&body->digest, d)) return body;
    return NULL;
}

static void body_add(struct replay *r, pbft_seq seq, const struct pbft_digest *digest,
                     struct pbft_frame *frame, struct pbft_span bytes)
{
    if (seq <= r->node->applied || seq > r->target || body_find(r, seq, digest) != NULL) return;
    struct body *body = node_alloc(sizeof *body);
    *body = (struct body){r->bodies, seq, *digest, pbft_frame_retain(frame), bytes};
    r->bodies = body;
}

/* ---- execution ---- */

static void execute(struct replay *r, const struct body *body)
{
    struct pbft_node *node = r->node;
    struct task *task = task_new(TASK_EXECUTE);
    task->seq = node->applied + 1;
    if (body != NULL) {
        task->frame = pbft_frame_retain(body->frame);
        task->proposal = body->bytes;
    }
    apply_side_run(&node->side, task);
    node->applied = task->seq;
    task_free(task);
}

static void advance(struct replay *r)
{
    struct pbft_node *node = r->node;
    struct pbft_digest null;
    pbft_digest_null(&null);
    while (node->applied < r->target) {
        pbft_seq seq = node->applied + 1;
        const struct decision *d = &r->decisions[seq % decisions_size(node)];
        if (d->seq != seq) return;
        const struct body *body = body_find(r, seq, &d->digest);
        if (body == NULL && !pbft_digest_equal(&d->digest, &null)) return;
        execute(r, body);
        bodies_drop(r, seq);
    }
}

/* ---- records ---- */

static bool frame_at(struct replay *r, struct pbft_span bytes, struct pbft_frame **frame,
                     struct pbft_msg *msg)
{
    *frame = pbft_frame_copy(r->node->config.pool, bytes);
    r->arena.used = 0;
    return *frame != NULL &&
           pbft_wire_decode(pbft_frame_span(*frame), r->node->p, &r->arena, msg) == PBFT_OK;
}

/* The frame that held the proposal; what it is of may stand in the PREPARE behind it. */
static bool see_proposal(struct replay *r, struct pbft_span first, struct pbft_span second)
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

static bool see_committed(struct replay *r, struct pbft_span bytes)
{
    struct pbft_frame *frame = NULL;
    struct pbft_msg msg;
    bool ok = frame_at(r, bytes, &frame, &msg) && msg.type == PBFT_CERTIFICATE;
    if (ok) {
        const struct pbft_certificate *m = &msg.certificate;
        if (m->seq > r->seen) r->seen = m->seq;
        if (m->has_proposal) body_add(r, m->seq, &m->digest, frame, m->proposal.bytes);
        if (m->seq > r->node->applied && m->seq <= r->target)
            r->decisions[m->seq % decisions_size(r->node)] = (struct decision){m->seq, m->digest};
    }
    pbft_frame_release(frame);
    if (ok) advance(r);
    return ok;
}

static bool visit(void *context, const struct pbft_log_record *record)
{
    struct replay *r = context;
    struct pbft_span parts[2] = {{NULL, 0}, {NULL, 0}};
    size_t at = 0;
    for (unsigned k = 0; k < 2; k++)
        if (!pbft_wire_next_item(record->payload, &at, &parts[k])) break;
    bool ok = true;
    if (record->kind == PBFT_RECORD_PROPOSAL) ok = see_proposal(r, parts[0], parts[1]);
    if (record->kind == PBFT_RECORD_COMMITTED) ok = see_committed(r, parts[0]);
    /* Further than the core ever is ahead: what is missing will not come. */
    bool stuck = r->seen > r->node->applied + decisions_size(r->node);
    return ok && !stuck && r->node->applied < r->target;
}

bool node_replay(struct pbft_node *node, pbft_seq seq)
{
    size_t bytes = (pbft_wire_arena_bytes(node->p) + 15) & ~(size_t)15;
    struct replay r = {.node = node, .target = seq};
    r.arena = (struct pbft_arena){aligned_alloc(16, bytes), bytes, 0};
    r.decisions = calloc(decisions_size(node), sizeof *r.decisions);
    if (r.arena.base != NULL && r.decisions != NULL)
        (void)pbft_log_iterate(node->config.log, visit, &r);
    bodies_drop(&r, UINT64_MAX);
    free(r.arena.base);
    free(r.decisions);
    return node->applied == seq;
}
