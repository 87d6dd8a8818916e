/* Frames of a real node, spoilt: any field to something else, signed again. */
#include "tests/sim/mutator_internal.h"

#include "crypto/hash.h"
#include "crypto/signed_body.h"
#include "pbft/quorum.h"

#include <string.h>

#define REQUESTS_MAX 16u

void mutator_resign(struct mutator *m, pbft_id as, struct pbft_frame *frame)
{
    if (pbft_wire_signed_body(pbft_frame_span(frame)).data == NULL) return;
    if (frame->bytes[0] == PBFT_REQUEST) return; /* no client's key is ours */
    pbft_frame_sign(m->cluster, sim_signer(m->sim), &sim_replica_key(m->sim, as)->secret,
                    frame->bytes, frame->size);
}

struct pbft_frame *mutator_copy(struct mutator *m, const struct pbft_frame *frame)
{
    struct pbft_frame *copy = pbft_frame_new(sim_pool(m->sim), frame->size + 64);
    PBFT_ASSERT(copy != NULL);
    memcpy(copy->bytes, frame->bytes, frame->size);
    copy->size = frame->size;
    return copy;
}

/* Somewhere in the bytes: a number, a digest, a byte, the length. Signed again. */
static struct pbft_frame *altered_bytes(struct mutator *m, pbft_id as, const struct pbft_frame *f)
{
    static const size_t places[] = {8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 88, 96, 104};
    struct pbft_frame *frame = mutator_copy(m, f);
    size_t at = mutator_chance(m, 700) ? places[mutator_roll(m, sizeof places / sizeof places[0])]
                                       : mutator_roll(m, frame->size);
    switch (mutator_roll(m, 5)) {
    case 0:
        if (at < frame->size) frame->bytes[at] ^= (uint8_t)(1u << mutator_roll(m, 8));
        break;
    case 1:
        if (at + PBFT_DIGEST_BYTES <= frame->size) {
            struct pbft_digest d = mutator_digest(m);
            memcpy(frame->bytes + at, d.bytes, sizeof d.bytes);
        }
        break;
    case 2:
        if (mutator_chance(m, 500) && frame->size > 9)
            frame->size -= (uint32_t)mutator_roll(m, frame->size - 8);
        else
            frame->bytes[frame->size++] = (uint8_t)mutator_roll(m, 256);
        break;
    default:
        if (at + 8 <= frame->size)
            pbft_put_u64(frame->bytes + at, mutator_number(m, pbft_get_u64(frame->bytes + at)));
        break;
    }
    struct pbft_msg msg;
    m->arena.used = 0;
    if (pbft_wire_decode(pbft_frame_span(frame), mutator_params(m), &m->arena, &msg) == PBFT_OK)
        mutator_resign(m, as, frame);
    return frame;
}

/* Another batch, or another time, for the same (v, n). */
static struct pbft_frame *altered_proposal(struct mutator *m, pbft_id as,
                                           const struct pbft_pre_prepare *p)
{
    struct pbft_frame *requests[REQUESTS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->proposal.request_count && count < REQUESTS_MAX; i++) {
        if (mutator_chance(m, 300)) continue; /* censored */
        for (unsigned twice = mutator_chance(m, 200) ? 2 : 1; twice > 0 && count < REQUESTS_MAX;
             twice--) {
            struct pbft_span r = p->proposal.requests[i].frame;
            struct pbft_frame *f = pbft_frame_new(sim_pool(m->sim), (uint32_t)r.size);
            PBFT_ASSERT(f != NULL);
            memcpy(f->bytes, r.data, r.size);
            f->size = (uint32_t)r.size;
            requests[count++] = f;
        }
    }
    for (unsigned i = 0; i < 2 && count < REQUESTS_MAX; i++) { /* an old request again */
        struct pbft_frame *old = m->records[mutator_roll(m, MUTATOR_RECORDS)];
        if (old != NULL && old->bytes[0] == PBFT_REQUEST)
            requests[count++] = pbft_frame_retain(old);
    }
    for (uint32_t i = 1; i < count; i++) {
        uint32_t j = (uint32_t)mutator_roll(m, i + 1);
        struct pbft_frame *swap = requests[i];
        requests[i] = requests[j];
        requests[j] = swap;
    }
    uint64_t time_ns = p->proposal.time_ns;
    if (mutator_chance(m, 300)) time_ns = mutator_number(m, time_ns);
    if (mutator_chance(m, 200))
        time_ns += (uint64_t)mutator_params(m)->clock_skew_ns * mutator_roll(m, 3);
    pbft_seq seq = mutator_chance(m, 100) ? mutator_near_seq(m) : p->seq;
    struct pbft_frame *frame =
        sim_pre_prepare(m->sim, as, p->view, seq, time_ns, requests, count, NULL);
    for (uint32_t i = 0; i < count; i++)
        pbft_frame_release(requests[i]);
    return frame;
}

static struct pbft_frame *altered_view_change(struct mutator *m, pbft_id as,
                                              const struct pbft_view_change *in)
{
    struct pbft_prepared kept[MUTATOR_ENTRIES];
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change = *in;
    if (mutator_chance(m, 300)) msg.view_change.view = mutator_number(m, in->view);
    uint32_t count = 0;
    for (uint32_t i = 0; i < in->prepared_count && count < MUTATOR_ENTRIES; i++) {
        if (mutator_chance(m, 300)) continue; /* forgotten */
        kept[count] = in->prepared[i];
        if (mutator_chance(m, 50)) kept[count].digest = mutator_digest(m);
        if (mutator_chance(m, 50)) kept[count].view = mutator_number(m, kept[count].view);
        if (mutator_chance(m, 30))
            kept[count].prepares.signers ^= pbft_signers_of((pbft_id)mutator_roll(m, m->n));
        if (pbft_signers_count(kept[count].prepares.signers) !=
            pbft_signers_count(in->prepared[i].prepares.signers))
            kept[count] = in->prepared[i];
        count++;
    }
    msg.view_change.prepared = kept;
    msg.view_change.prepared_count = count;
    if (mutator_chance(m, 100)) { /* as if it had never had a checkpoint */
        msg.view_change.stable = 0;
        msg.view_change.stable_root = m->cluster->genesis_root;
        msg.view_change.stable_proof.signers = 0;
        while (count > 0 && kept[count - 1].seq > mutator_params(m)->window)
            count--;
        msg.view_change.prepared_count = count;
    }
    return sim_message(m->sim, as, &msg);
}

static struct pbft_frame *altered_new_view(struct mutator *m, pbft_id as,
                                           const struct pbft_new_view *in)
{
    static uint8_t entries[MUTATOR_ENTRIES * PBFT_NEW_VIEW_ENTRY_BYTES];
    uint8_t digests[PBFT_REPLICAS_MAX * PBFT_DIGEST_BYTES];
    struct pbft_msg msg = {.type = PBFT_NEW_VIEW};
    msg.new_view = *in;
    size_t bytes = (size_t)pbft_signers_count(in->signers) * PBFT_DIGEST_BYTES;
    memcpy(digests, in->vc_digests, bytes);
    if (mutator_chance(m, 200) && bytes > 0) {
        struct pbft_digest d = mutator_digest(m);
        memcpy(digests + mutator_roll(m, bytes / PBFT_DIGEST_BYTES) * PBFT_DIGEST_BYTES, d.bytes,
               sizeof d.bytes);
    }
    msg.new_view.vc_digests = digests;
    if (mutator_chance(m, 200)) msg.new_view.min_s = mutator_number(m, in->min_s);
    if (mutator_chance(m, 200)) msg.new_view.view = in->view + m->n * mutator_roll(m, 3);
    uint32_t count = in->count < MUTATOR_ENTRIES ? in->count : MUTATOR_ENTRIES;
    if (mutator_chance(m, 300)) count = (uint32_t)mutator_roll(m, count + 3);
    if (count > mutator_params(m)->window) count = mutator_params(m)->window;
    for (uint32_t i = 0; i < count; i++) {
        struct pbft_digest d;
        if (i < in->count && !mutator_chance(m, 100))
            memcpy(d.bytes, in->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, sizeof d.bytes);
        else
            d = mutator_digest(m);
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size =
            pbft_wire_pre_prepare_body(msg.new_view.view, msg.new_view.min_s + 1 + i, &d, body);
        uint8_t *entry = entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        memcpy(entry, d.bytes, sizeof d.bytes);
        sim_sign_body(m->sim, as, PBFT_PRE_PREPARE, (struct pbft_span){body, size},
                      entry + PBFT_DIGEST_BYTES);
    }
    msg.new_view.entries = entries;
    msg.new_view.count = count;
    return sim_message(m->sim, as, &msg);
}

void mutator_alter_status(struct mutator *m, struct pbft_status_msg *s)
{
    if (mutator_chance(m, 300)) s->view = mutator_number(m, s->view);
    if (mutator_chance(m, 300)) s->stable = mutator_number(m, s->stable);
    if (mutator_chance(m, 300)) s->executed = mutator_number(m, s->executed);
    if (mutator_chance(m, 100)) s->flags ^= (uint8_t)(1u << mutator_roll(m, 2));
    if (mutator_chance(m, 300)) s->view_changes = mutator_roll(m, UINT64_MAX) & pbft_everyone(m->n);
    if (mutator_chance(m, 300)) {
        s->waits_client = (uint32_t)mutator_roll(m, 8);
        s->waits_session = mutator_number(m, s->waits_session);
        s->waits_t = mutator_number(m, s->waits_t);
    }
    if (mutator_chance(m, 10)) s->counter = mutator_number(m, s->counter);
}

/* A wrong answer to a client, consistent in itself. */
static struct pbft_frame *altered_reply(struct mutator *m, pbft_id as, struct pbft_reply *r)
{
    uint8_t body[256];
    struct pbft_msg msg = {.type = PBFT_REPLY};
    if (mutator_chance(m, 300)) r->view = mutator_number(m, r->view);
    if (mutator_chance(m, 300)) r->seq = mutator_number(m, r->seq);
    if (mutator_chance(m, 200)) r->outcome = (uint8_t)mutator_roll(m, PBFT_OUTCOME_COUNT);
    if (mutator_chance(m, 100)) r->request = mutator_digest(m);
    if (mutator_chance(m, 100)) r->t = mutator_number(m, r->t);
    if ((r->flags & PBFT_REPLY_HAS_BODY) != 0 && r->body.size > 8 && r->body.size <= sizeof body) {
        memcpy(body, r->body.data, r->body.size);
        uint64_t at = 8 + mutator_roll(m, r->body.size - 8);
        body[at] ^= (uint8_t)(1u << mutator_roll(m, 8));
        r->body.data = body;
        pbft_digest_result(&r->result, r->outcome, r->body);
    } else {
        r->result = mutator_digest(m);
    }
    msg.reply = *r;
    if (pbft_wire_size(&msg) == 0) return NULL;
    return sim_message(m->sim, as, &msg);
}

/* NULL: nothing came of it. */
struct pbft_frame *mutator_altered(struct mutator *m, pbft_id as, const struct pbft_frame *frame)
{
    struct pbft_msg msg;
    m->arena.used = 0;
    if (mutator_chance(m, 400) ||
        pbft_wire_decode(pbft_frame_span(frame), mutator_params(m), &m->arena, &msg) != PBFT_OK)
        return altered_bytes(m, as, frame);
    switch ((enum pbft_type)msg.type) {
    case PBFT_PRE_PREPARE: return altered_proposal(m, as, &msg.pre_prepare);
    case PBFT_VIEW_CHANGE:
        if (mutator_chance(m, 500)) return mutator_claim_view_change(m, as, &msg.view_change);
        return altered_view_change(m, as, &msg.view_change);
    case PBFT_NEW_VIEW:
        if (mutator_chance(m, 500)) return mutator_claim_new_view(m, as, &msg.new_view);
        return altered_new_view(m, as, &msg.new_view);
    case PBFT_CERTIFICATE:
        if (mutator_chance(m, 700)) return mutator_claim_certificate(m, as, &msg.certificate);
        break;
    case PBFT_STATUS_MSG:
        mutator_alter_status(m, &msg.status);
        return sim_message(m->sim, as, &msg);
    case PBFT_REPLY: return altered_reply(m, as, &msg.reply);
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        if (mutator_chance(m, 600)) msg.vote.digest = mutator_digest(m);
        if (mutator_chance(m, 300)) msg.vote.seq = mutator_near_seq(m);
        if (mutator_chance(m, 200)) msg.vote.view = mutator_number(m, msg.vote.view);
        if (mutator_chance(m, 100)) msg.type = (uint8_t)(PBFT_PREPARE + PBFT_COMMIT - msg.type);
        return sim_message(m->sim, as, &msg);
    case PBFT_CHECKPOINT:
        if (mutator_chance(m, 600)) msg.checkpoint.root = mutator_digest(m);
        if (mutator_chance(m, 500))
            msg.checkpoint.seq += mutator_roll(m, 12) * mutator_params(m)->checkpoint_interval;
        return sim_message(m->sim, as, &msg);
    case PBFT_REQUEST:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_HEADER:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return altered_bytes(m, as, frame);
}
