/* Statements about what others signed, right but for one thing: a signature too few, a name that
 * did not sign, one signature under two names, a VIEW-CHANGE of another view
 * (FAULTS 4.7, 4.8, 4.11, 4.21). What they rest on is real, so that a check that is left out is not
 * saved by the next. */
#include "tests/sim/mutator_internal.h"

#include "crypto/signed_body.h"
#include "pbft/quorum.h"

#include <string.h>

/* Room for the signatures of every replica, by id. */
struct signature_set {
    uint8_t by_id[PBFT_REPLICAS_MAX][PBFT_SIGNATURE_BYTES];
    uint8_t bytes[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES];
};

static pbft_id drawn_of(struct mutator *m, pbft_signers set)
{
    uint64_t skip = mutator_roll(m, pbft_signers_count(set));
    for (pbft_id id = 0;; id++)
        if (pbft_signers_has(set, id) && skip-- == 0) return id;
}

static pbft_signers without(pbft_signers set, pbft_id id)
{
    return set & ~pbft_signers_of(id);
}

static void open_set(const struct mutator *m, const struct pbft_signatures *set,
                     struct signature_set *room)
{
    const uint8_t *at = set->bytes;
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(set->signers, id)) continue;
        memcpy(room->by_id[id], at, PBFT_SIGNATURE_BYTES);
        at += PBFT_SIGNATURE_BYTES;
    }
}

static void close_set(const struct mutator *m, struct pbft_signatures *set,
                      struct signature_set *room)
{
    size_t size = 0;
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(set->signers, id)) continue;
        memcpy(room->bytes + size, room->by_id[id], PBFT_SIGNATURE_BYTES);
        size += PBFT_SIGNATURE_BYTES;
    }
    set->bytes = room->bytes;
}

/* One lie about who signed; `room` outlives `set`. */
static void lie_about_signers(struct mutator *m, struct pbft_signatures *set,
                              struct signature_set *room)
{
    if (set->signers == 0) return;
    open_set(m, set, room);
    pbft_id from = drawn_of(m, set->signers);
    pbft_signers others = pbft_everyone(m->n) & ~set->signers;
    pbft_id to = others == 0 ? from : drawn_of(m, others);
    switch (mutator_roll(m, 5)) {
    case 0: set->signers = without(set->signers, from); break;
    case 1: /* f+1 are left */
        while (pbft_signers_count(set->signers) > pbft_quorum_weak(m->n))
            set->signers = without(set->signers, drawn_of(m, set->signers));
        break;
    case 2: /* another's name */
        memcpy(room->by_id[to], room->by_id[from], PBFT_SIGNATURE_BYTES);
        set->signers = without(set->signers, from) | pbft_signers_of(to);
        break;
    case 3: /* twice the same */
        memcpy(room->by_id[to], room->by_id[from], PBFT_SIGNATURE_BYTES);
        set->signers |= pbft_signers_of(to);
        break;
    default:
        room->by_id[from][mutator_roll(m, PBFT_SIGNATURE_BYTES)] ^=
            (uint8_t)(1u << mutator_roll(m, 8));
        break;
    }
    close_set(m, set, room);
}

static struct pbft_frame *said(struct mutator *m, pbft_id as, struct pbft_msg *msg)
{
    return pbft_wire_size(msg) == 0 ? NULL : sim_message(m->sim, as, msg);
}

/* Its primary among those who prepared it: with a signature, if the primary lies too. */
static void name_its_primary(struct mutator *m, pbft_id as, struct pbft_prepared *e,
                             struct signature_set *room)
{
    pbft_id primary = pbft_primary(m->n, e->view);
    if (e->prepares.signers == 0 || pbft_signers_has(e->prepares.signers, primary)) return;
    open_set(m, &e->prepares, room);
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_vote_body(e->view, e->seq, &e->digest, primary, body);
    pbft_id from = drawn_of(m, e->prepares.signers);
    sim_sign_body(m->sim, as, PBFT_PREPARE, (struct pbft_span){body, size}, room->by_id[primary]);
    e->prepares.signers = without(e->prepares.signers, from) | pbft_signers_of(primary);
    close_set(m, &e->prepares, room);
}

/* An entry that nobody prepared, with real signatures under it but its own primary's. */
static uint32_t claim_entry(struct mutator *m, pbft_id as, const struct pbft_view_change *in,
                            struct pbft_prepared *entries, uint32_t count,
                            uint8_t signature[PBFT_SIGNATURE_BYTES])
{
    if (count == 0 || in->view == 0) return count;
    struct pbft_prepared *e = &entries[mutator_roll(m, count)];
    e->digest = mutator_digest(m);
    if (mutator_chance(m, 500)) e->view = mutator_roll(m, in->view);
    if (mutator_chance(m, 300)) e->prepares.signers = 0; /* the bare claim */
    uint8_t body[PBFT_BODY_MAX_BYTES];
    size_t size = pbft_wire_pre_prepare_body(e->view, e->seq, &e->digest, body);
    sim_sign_body(m->sim, as, PBFT_PRE_PREPARE, (struct pbft_span){body, size}, signature);
    e->pre_prepare_signature = signature;
    return count;
}

/* One number twice, each with a right certificate. */
static uint32_t repeat_entry(struct mutator *m, struct pbft_prepared *entries, uint32_t count)
{
    if (count == 0 || count == MUTATOR_ENTRIES || count == mutator_params(m)->window) return count;
    uint32_t at = (uint32_t)mutator_roll(m, count);
    memmove(&entries[at + 1], &entries[at], (count - at) * sizeof *entries);
    return count + 1;
}

struct pbft_frame *mutator_claim_view_change(struct mutator *m, pbft_id as,
                                             const struct pbft_view_change *in)
{
    struct signature_set room;
    struct pbft_prepared entries[MUTATOR_ENTRIES];
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    struct pbft_msg msg = {.type = PBFT_VIEW_CHANGE};
    msg.view_change = *in;
    uint32_t count = in->prepared_count < MUTATOR_ENTRIES ? in->prepared_count : MUTATOR_ENTRIES;
    memcpy(entries, in->prepared, count * sizeof *entries);
    msg.view_change.prepared = entries;
    struct pbft_prepared *e = count == 0 ? NULL : &entries[mutator_roll(m, count)];
    switch (mutator_roll(m, 5)) {
    case 0: lie_about_signers(m, &msg.view_change.stable_proof, &room); break;
    case 1:
        if (e == NULL) return NULL;
        lie_about_signers(m, &e->prepares, &room);
        break;
    case 2:
        if (e == NULL) return NULL;
        name_its_primary(m, as, e, &room);
        break;
    case 3: count = repeat_entry(m, entries, count); break;
    default: count = claim_entry(m, as, in, entries, count, signature); break;
    }
    msg.view_change.prepared_count = count;
    return said(m, as, &msg);
}

/* Somebody's VIEW-CHANGE that was heard, of another view than this one; NULL: none. */
static const struct heard *other_view_change(struct mutator *m, pbft_view view)
{
    size_t kept = m->heard_count < MUTATOR_HEARD ? m->heard_count : MUTATOR_HEARD;
    for (size_t tries = 0; kept > 0 && tries < 8; tries++) {
        const struct heard *h = &m->heard[mutator_roll(m, kept)];
        if (h->view != view) return h;
    }
    return NULL;
}

struct pbft_frame *mutator_claim_new_view(struct mutator *m, pbft_id as,
                                          const struct pbft_new_view *in)
{
    struct pbft_digest named[PBFT_REPLICAS_MAX];
    uint8_t digests[PBFT_REPLICAS_MAX * PBFT_DIGEST_BYTES];
    struct pbft_msg msg = {.type = PBFT_NEW_VIEW};
    msg.new_view = *in;
    pbft_signers signers = in->signers;
    const uint8_t *at = in->vc_digests;
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(signers, id)) continue;
        memcpy(named[id].bytes, at, PBFT_DIGEST_BYTES);
        at += PBFT_DIGEST_BYTES;
    }
    pbft_id from = drawn_of(m, signers);
    pbft_signers others = pbft_everyone(m->n) & ~signers;
    const struct heard *old = other_view_change(m, in->view);
    switch (mutator_roll(m, 4)) {
    case 0: signers = without(signers, from); break;
    case 1:
        while (pbft_signers_count(signers) > pbft_quorum_weak(m->n))
            signers = without(signers, drawn_of(m, signers));
        break;
    case 2: /* one VIEW-CHANGE under two names */
        if (others != 0) {
            pbft_id to = drawn_of(m, others);
            named[to] = named[from];
            signers = without(signers, from) | pbft_signers_of(to);
        }
        break;
    default:
        if (old == NULL) return NULL;
        if (!pbft_signers_has(signers, old->sender))
            signers = without(signers, from) | pbft_signers_of(old->sender);
        named[old->sender] = old->digest;
        break;
    }
    size_t size = 0;
    for (pbft_id id = 0; id < m->n; id++) {
        if (!pbft_signers_has(signers, id)) continue;
        memcpy(digests + size, named[id].bytes, PBFT_DIGEST_BYTES);
        size += PBFT_DIGEST_BYTES;
    }
    msg.new_view.signers = signers;
    msg.new_view.vc_digests = digests;
    return said(m, as, &msg);
}

struct pbft_frame *mutator_claim_certificate(struct mutator *m, pbft_id as,
                                             const struct pbft_certificate *in)
{
    struct signature_set room;
    struct pbft_msg msg = {.type = PBFT_CERTIFICATE};
    msg.certificate = *in;
    switch (mutator_roll(m, 4)) {
    case 0: msg.certificate.digest = mutator_digest(m); break;
    case 1: msg.certificate.seq = mutator_near_seq(m); break;
    default: lie_about_signers(m, &msg.certificate.signatures, &room); break;
    }
    return said(m, as, &msg);
}
