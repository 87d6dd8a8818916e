/* Execution: what a batch does to the state, and what each of its requests gets for an answer. */
#include "replica/apply_internal.h"

#include "crypto/replace.h"

#include <stdlib.h>
#include <string.h>

/* The body of an answer without results. */
static const uint8_t no_results[4] = {0, 0, 0, 0};

/* ---- life --------------------------------------------------------------------------------- */

static bool begin(struct pbft_apply *a)
{
    const struct pbft_params *p = apply_params(a);
    PBFT_ASSERT(p->session_window > 0 && p->batch_max_requests > 0 && p->reply_max_bytes >= 64);
    if (pbft_tree_create(&a->tree, NULL) != PBFT_STATUS_OK) return false;
    if (!pbft_txn_init(&a->txn, a->tree, p)) return false;
    a->applied = calloc(p->batch_max_requests, sizeof *a->applied);
    a->scratch = malloc(APPLY_RECORD_BYTES + (size_t)p->reply_max_bytes +
                        APPLY_MARK_BYTES * (size_t)p->bundle_max_ops);
    return a->applied != NULL && a->scratch != NULL;
}

struct pbft_apply *pbft_apply_new(const struct pbft_apply_config *config)
{
    struct pbft_apply *a = calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->cluster = config->cluster;
    a->service = config->service;
    a->pool = config->pool;
    if (!begin(a)) {
        pbft_apply_free(a);
        return NULL;
    }
    if (a->service->genesis != NULL) a->service->genesis(a->service->context, &a->txn);
    pbft_apply_meta_store(a);
    return a;
}

void pbft_apply_free(struct pbft_apply *apply)
{
    if (apply == NULL) return;
    pbft_txn_release(&apply->txn);
    if (apply->tree != NULL) pbft_tree_destroy(apply->tree);
    free(apply->applied);
    free(apply->scratch);
    free(apply);
}

void pbft_apply_brief(struct pbft_apply *apply, pbft_id id)
{
    apply->brief = true;
    apply->id = id;
}

pbft_seq pbft_apply_seq(const struct pbft_apply *apply)
{
    return apply->seq;
}

uint64_t pbft_apply_effective_ns(const struct pbft_apply *apply)
{
    return apply->effective_ns;
}

struct pbft_snapshot *pbft_apply_snapshot(struct pbft_apply *apply)
{
    return pbft_tree_snapshot(apply->tree);
}

struct pbft_tree *pbft_apply_tree(struct pbft_apply *apply)
{
    return apply->tree;
}

uint64_t pbft_apply_bytes(const struct pbft_apply *apply)
{
    return pbft_tree_bytes(apply->tree);
}

static pbft_seq last_of(const struct pbft_apply *a)
{
    struct pbft_epoch_change change;
    return pbft_apply_change(a, &change) ? change.seq : 0;
}

/* An epoch that ends goes on to its last number without a pause (PROTOCOL 12). */
static uint64_t next_due(const struct pbft_apply *a)
{
    uint64_t due = pbft_apply_next_due(a);
    if (a->last == 0 || a->seq >= a->last || (due != 0 && due < a->effective_ns)) return due;
    return a->effective_ns != 0 ? a->effective_ns : 1;
}

enum pbft_status pbft_apply_reload(struct pbft_apply *apply, pbft_seq *seq, uint64_t *effective_ns,
                                   uint64_t *next_due_ns)
{
    if (!pbft_apply_meta_load(apply)) return PBFT_STATUS_CORRUPT;
    apply->last = last_of(apply);
    *seq = apply->seq;
    *effective_ns = apply->effective_ns;
    *next_due_ns = next_due(apply);
    return PBFT_STATUS_OK;
}

void pbft_apply_cluster(struct pbft_apply *apply, const struct pbft_cluster *cluster)
{
    apply->cluster = cluster;
    apply->last = 0;
}

pbft_seq pbft_apply_last(const struct pbft_apply *apply)
{
    return apply->last;
}

/* ---- judging a request -------------------------------------------------------------------- */

enum judgement {
    JUDGED_ANSWERED, /* answer is filled in; nothing changes */
    JUDGED_RECORDED, /* executed before: answer is its record */
    JUDGED_LIMIT,    /* the session cannot be opened now */
    JUDGED_EXECUTE,
};

static enum judgement refuse(struct apply_answer *answer, enum pbft_outcome outcome)
{
    answer->outcome = (uint8_t)outcome;
    return JUDGED_ANSWERED;
}

/* What becomes of (session, t, digest) in the present state; changes nothing. Session first, then
 * t: an unknown session's number decides before any t of it means something (PROTOCOL 6, 7). */
static enum judgement judge(struct pbft_apply *a, const struct apply_session *s, uint64_t t,
                            const struct pbft_digest *request, struct apply_answer *answer)
{
    const struct pbft_params *p = apply_params(a);
    *answer = (struct apply_answer){.seq = a->seq,
                                    .request = *request,
                                    .body = {no_results, sizeof no_results}};
    struct apply_client client = {0, 0};
    if (!s->open) {
        client = pbft_apply_client_find(a, s->client);
        if (s->number <= client.highest) return refuse(answer, PBFT_OUTCOME_EXPIRED);
    }
    enum pbft_session_place place = pbft_session_place(s->max_t, p->session_window, t);
    if (place == PBFT_SESSION_STALE) return refuse(answer, PBFT_OUTCOME_STALE);
    if (!s->open && (client.open >= p->sessions_per_client || a->sessions >= p->sessions_total)) {
        answer->outcome = PBFT_OUTCOME_LIMIT;
        return JUDGED_LIMIT;
    }
    struct apply_answer record;
    if (place != PBFT_SESSION_WINDOW || !pbft_apply_record_find(a, s, t, &record))
        return JUDGED_EXECUTE;
    if (!pbft_digest_equal(&record.request, request)) return refuse(answer, PBFT_OUTCOME_CONFLICT);
    *answer = record;
    return JUDGED_RECORDED;
}

/* Up to which t the session has nothing more to give. */
static uint64_t low_of(const struct pbft_apply *a, const struct apply_session *s, uint8_t outcome)
{
    if (outcome == PBFT_OUTCOME_EXPIRED) return UINT64_MAX;
    return s->open ? pbft_session_low(s->max_t, apply_params(a)->session_window) : 0;
}

/* ---- operations that are still to come ---------------------------------------------------- */

/* The operations of a proposal in their order, some ahead of the one that runs. */
struct coming {
    const struct pbft_proposal *proposal;
    uint32_t request;
    size_t cursor;
};

static void prefetch_next(struct pbft_apply *a, struct coming *c)
{
    struct pbft_span op;
    for (; c->request < c->proposal->request_count; c->request++, c->cursor = 0) {
        if (!pbft_wire_next_item(c->proposal->requests[c->request].ops, &c->cursor, &op)) continue;
        apply_prefetch(a, op);
        return;
    }
    apply_prefetch_none(a);
}

static struct coming prefetch_from(struct pbft_apply *a, const struct pbft_proposal *proposal,
                                   uint32_t request)
{
    struct coming c = {a->service->prefetch != NULL ? proposal : NULL, request, 0};
    for (uint32_t i = 0; c.proposal != NULL && i < PBFT_TREE_AHEAD; i++)
        prefetch_next(a, &c);
    return c;
}

/* ---- executing a bundle ------------------------------------------------------------------- */

static bool bounds_kept(const struct pbft_apply *a, const struct pbft_request *request)
{
    return request->op_count >= 1 && request->op_count <= apply_params(a)->bundle_max_ops;
}

/* Operations in order, results as items. The first result that does not fit ends the bundle: its
 * outcome is INVALID, its body holds the results before that one, and the operations behind it are
 * not executed (PROTOCOL 9). */
static void run(struct pbft_apply *a, const struct pbft_request *request, struct coming *coming,
                struct apply_answer *answer)
{
    uint8_t *body = apply_body(a);
    size_t size = sizeof no_results;
    uint32_t done = 0;
    struct pbft_call call = {
        .client = &a->cluster->clients[request->client_index],
        .client_index = request->client_index,
        .session = request->session,
        .t = request->t,
        .seq = a->seq,
        .time_ns = a->effective_ns,
    };
    size_t cursor = 0;
    struct pbft_span op;
    bool fits = bounds_kept(a, request);
    while (fits && pbft_wire_next_item(request->ops, &cursor, &op)) {
        size_t left = apply_params(a)->reply_max_bytes - size;
        if (left < APPLY_ITEM_BYTES) {
            fits = false;
            break;
        }
        uint32_t later = request->op_count - 1 - done;
        struct pbft_result result = {.bytes = body + size + APPLY_ITEM_BYTES,
                                     .capacity = apply_capacity(left, later)};
        call.op_index = done;
        if (coming->proposal != NULL) prefetch_next(a, coming);
        if (pbft_replace_is(op))
            pbft_apply_replace(a, &call, op, &result);
        else
            a->service->execute(a->service->context, &a->txn, &call, op, &result);
        fits = !result.overflow;
        if (!fits) break;
        PBFT_ASSERT(result.size <= result.capacity && done < request->op_count);
        pbft_put_u32(body + size, (uint32_t)result.size);
        size += APPLY_ITEM_BYTES + result.size;
        done++;
    }
    pbft_put_u32(body, done);
    answer->outcome = (uint8_t)(fits ? PBFT_OUTCOME_EXECUTED : PBFT_OUTCOME_INVALID);
    answer->body = (struct pbft_span){body, size};
}

static void execute_request(struct pbft_apply *a, const struct pbft_request *request,
                            struct coming *coming, struct pbft_applied *out)
{
    PBFT_ASSERT(request->client_index < a->cluster->client_count); /* the door looked it up */
    struct apply_session s = pbft_apply_session_find(a, request->client_index, request->session);
    struct apply_answer answer;
    if (judge(a, &s, request->t, &request->digest, &answer) == JUDGED_EXECUTE) {
        if (!s.open) pbft_apply_session_open(a, &s);
        run(a, request, coming, &answer);
        pbft_apply_session_advance(a, &s, request->t);
        pbft_apply_record_store(a, &s, request->t, &answer);
    }
    *out = (struct pbft_applied){
        .client_index = request->client_index,
        .session = request->session,
        .t = request->t,
        .low = low_of(a, &s, answer.outcome),
        .request = request->digest,
        .reply = pbft_apply_reply(a, request->session, request->t, &answer,
                                  apply_whole(a, request->client_index, request->t)),
    };
}

void pbft_apply_execute(struct pbft_apply *apply, pbft_seq seq,
                        const struct pbft_proposal *proposal, struct pbft_apply_done *done)
{
    struct pbft_apply *a = apply;
    PBFT_ASSERT(seq == a->seq + 1); /* no gaps: FAULTS 3.3 */
    a->seq = seq;
    a->txn.mark = seq;
    uint32_t count = 0;
    if (proposal != NULL) {
        count = proposal->request_count;
        PBFT_ASSERT(count <= apply_params(a)->batch_max_requests); /* the decoder's bound */
        if (proposal->time_ns > a->effective_ns) a->effective_ns = proposal->time_ns;
        pbft_apply_retire(a);
        struct coming coming = prefetch_from(a, proposal, 0);
        for (uint32_t i = 0; i < count; i++) {
            if (coming.request < i) coming = prefetch_from(a, proposal, i); /* some did not run */
            execute_request(a, &proposal->requests[i], &coming, &a->applied[i]);
        }
    }
    pbft_apply_meta_store(a);
    *done = (struct pbft_apply_done){
        .seq = seq,
        .effective_ns = a->effective_ns,
        .next_due_ns = next_due(a),
        .last = a->last,
        .applied = a->applied,
        .applied_count = count,
    };
}

enum pbft_lookup pbft_apply_lookup(struct pbft_apply *apply, uint32_t client_index,
                                   uint64_t session, uint64_t t, const struct pbft_digest *request,
                                   struct pbft_applied *out)
{
    PBFT_ASSERT(client_index < apply->cluster->client_count);
    struct apply_session s = pbft_apply_session_find(apply, client_index, session);
    struct apply_answer answer;
    enum judgement judgement = judge(apply, &s, t, request, &answer);
    /* At its turn a session may have been retired to make room: LIMIT is for execution to say. */
    bool may_execute = judgement == JUDGED_EXECUTE || judgement == JUDGED_LIMIT;
    *out = (struct pbft_applied){
        .client_index = client_index,
        .session = session,
        .t = t,
        .low = low_of(apply, &s, may_execute ? PBFT_OUTCOME_EXECUTED : answer.outcome),
        .request = *request,
    };
    if (may_execute) return PBFT_LOOKUP_NEW;
    out->reply = pbft_apply_reply(apply, session, t, &answer, apply_whole(apply, client_index, t));
    return PBFT_LOOKUP_REPLY;
}
