/* tests/fuzz/core/craft.c - the adversary: messages of every type, out of a few bytes each, aimed
 * at and just beside what the target is at. */
#include "tests/fuzz/core/world.h"

/* Operands shared by most commands. */
struct aim {
    struct node *target;
    pbft_id traitor; /* one of the adversary's, who sends */
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
    pbft_signers signers;
    uint8_t extra;
};

struct node *some_real(uint8_t choice)
{
    for (unsigned i = 0;; i++) {
        struct node *node = &w.nodes[(choice + i) % N];
        if (node->real) return node;
    }
}

static struct pbft_digest some_digest(const struct node *target, pbft_seq seq, uint8_t choice)
{
    struct pbft_digest digest = w.null_digest;
    pbft_view view;
    if (choice < BATCHES - 1) return w.batches[choice].digest;
    if (choice == 7 && pbft_core_phase(target->core, seq, &view, &digest) != PBFT_PHASE_NONE)
        return digest;
    if (choice < 14) return w.digests[choice % DIGESTS];
    if (choice == 15) memset(&digest, 0x99, sizeof digest);
    return digest;
}

static struct aim take_aim(struct fuzz *f)
{
    uint8_t a = fuzz_u8(f), b = fuzz_u8(f), c = fuzz_u8(f);
    struct aim aim = {.target = some_real(a & 3u), .extra = (uint8_t)(c >> 4)};
    const struct pbft_core_info *info = &aim.target->info;
    static const int8_t near[8] = {0, 0, 0, 1, 2, -1, 5, 0};
    aim.view = info->view + (pbft_view)(int64_t)near[a >> 2 & 7u];
    if (info->view == 0 && near[a >> 2 & 7u] < 0) aim.view = 0;
    aim.seq = info->stable + (b & 15u);
    aim.signers = c & 15u;
    aim.traitor = (pbft_id)__builtin_ctzll(w.traitors);
    /* Any number at all in the name of one: the others could not be f. */
    if ((a & 0xe0u) == 0xe0u) {
        aim.signers &= pbft_signers_of(aim.traitor);
        if (a & 4u) aim.view = fuzz_number(f, 8);
        if (a & 8u) aim.seq = fuzz_number(f, 8);
    } else {
        for (unsigned skip = a >> 5; skip > 0; skip--) { /* who of them sends */
            pbft_signers rest = w.traitors & ~(pbft_signers_of(aim.traitor + 1) - 1);
            aim.traitor = (pbft_id)__builtin_ctzll(rest != 0 ? rest : w.traitors);
        }
    }
    aim.digest = some_digest(aim.target, aim.seq, b >> 4);
    return aim;
}

static void cast_votes(const struct aim *aim, uint8_t type)
{
    for (pbft_id id = 0; id < N; id++) {
        if (!pbft_signers_has(aim->signers, id)) continue;
        uint8_t signature[PBFT_SIGNATURE_BYTES];
        struct pbft_msg m = {.type = type};
        if (type == PBFT_CHECKPOINT) {
            sign_statement(type, id, 0, aim->seq, &aim->digest, signature);
            m.checkpoint = (struct pbft_checkpoint){aim->seq, aim->digest, id, signature};
        } else {
            sign_statement(type, id, aim->view, aim->seq, &aim->digest, signature);
            m.vote = (struct pbft_vote){aim->view, aim->seq, aim->digest, id, signature};
        }
        craft(aim->traitor, aim->target->id, frame_of(&m));
    }
}

static const struct batch *batch_of(const struct pbft_digest *digest)
{
    for (size_t i = 0; i < BATCHES; i++)
        if (pbft_digest_equal(&w.batches[i].digest, digest)) return &w.batches[i];
    return &w.batches[0];
}

static void cast_pre_prepare(const struct aim *aim, uint8_t type)
{
    const struct batch *batch = batch_of(&aim->digest);
    struct pbft_digest digest = aim->extra == 1 ? aim->digest : batch->digest;
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    sign_statement(PBFT_PRE_PREPARE, pbft_primary(N, aim->view), aim->view, aim->seq, &digest,
                   signature);
    struct pbft_msg m = {.type = type};
    m.pre_prepare.view = aim->view;
    m.pre_prepare.seq = aim->seq;
    m.pre_prepare.digest = digest;
    m.pre_prepare.signature = signature;
    m.pre_prepare.proposal.bytes = (struct pbft_span){batch->bytes, batch->size};
    craft(aim->traitor, aim->target->id, frame_of(&m));
}

/* A root that is known at seq (the target's own, or the agreed one), or a lie. */
static struct pbft_digest some_root(const struct aim *aim, uint8_t choice)
{
    struct pbft_digest lie;
    memset(&lie, 0x40 + choice % 4, sizeof lie);
    if (aim->seq == 0) return w.cluster.genesis_root;
    if (choice % 4 == 0 && w.trio && aim->seq < ORDERED_MAX && w.roots_known[aim->seq])
        return w.roots[aim->seq];
    if (choice % 4 == 0 && aim->seq == aim->target->info.stable)
        return aim->target->info.stable_root;
    for (size_t i = 0; choice % 4 <= 1 && i < aim->target->ready_count; i++)
        if (aim->target->ready[i].seq == aim->seq) return aim->target->ready[i].root;
    if (choice % 4 <= 1 && aim->target->state.seq == aim->seq) return aim->target->state.root;
    return lie;
}

static void to_checkpoint(struct aim *aim)
{
    if (aim->extra & 8u) return; /* at no multiple of K */
    if (aim->seq > UINT64_MAX / 2) aim->seq = UINT64_MAX / 2;
    aim->seq =
        aim->target->info.stable + INTERVAL * (1 + (aim->seq - aim->target->info.stable) % 4);
    aim->digest = some_root(aim, aim->extra);
}

static void cast_certificate(const struct aim *aim, uint8_t kind)
{
    uint8_t signatures[N * PBFT_SIGNATURE_BYTES];
    bool commit = kind == PBFT_CERT_COMMIT;
    const struct batch *batch = batch_of(&aim->digest);
    bool null = pbft_digest_equal(&aim->digest, &w.null_digest);
    struct pbft_digest digest = !commit || null ? aim->digest : batch->digest;
    sign_set(commit ? PBFT_COMMIT : PBFT_CHECKPOINT, commit ? aim->view : 0, aim->seq, &digest,
             aim->signers, signatures);
    struct pbft_msg m = {.type = PBFT_CERTIFICATE};
    m.certificate.kind = kind;
    m.certificate.view = commit ? aim->view : 0;
    m.certificate.seq = aim->seq;
    m.certificate.digest = digest;
    m.certificate.signatures = (struct pbft_signatures){aim->signers, signatures};
    m.certificate.has_proposal = commit && !null;
    if (m.certificate.has_proposal)
        m.certificate.proposal.bytes = (struct pbft_span){batch->bytes, batch->size};
    craft(aim->traitor, aim->target->id, frame_of(&m));
}

static void cast_view_change(const struct aim *aim, struct fuzz *f)
{
    uint8_t pre_prepares[4][64], prepares[4][N * 64], proof[N * 64];
    struct pbft_prepared entries[4];
    struct aim h = *aim;
    uint8_t shape = fuzz_u8(f);
    uint32_t count = 0;
    h.seq = shape & 0x40u ? aim->target->info.stable : INTERVAL * (pbft_seq)(shape >> 4 & 3u);
    h.digest = some_root(&h, shape & 0x80u ? 3 : 0);
    pbft_signers signers = h.seq == 0 ? 0 : aim->target->id == 0 ? 0xeu : 0x7u;
    sign_set(PBFT_CHECKPOINT, 0, h.seq, &h.digest, signers, proof);
    pbft_seq seq = h.seq;
    for (uint32_t i = 0; i < (shape & 3u); i++) {
        uint8_t e = fuzz_u8(f);
        seq += 1 + (e & 3u);
        pbft_view view = aim->view == 0 ? 0 : (aim->view - 1) - (e >> 2 & 1u) % aim->view;
        struct pbft_digest digest = some_digest(aim->target, seq, e >> 4);
        pbft_signers backups = pbft_everyone(N) & ~pbft_signers_of(pbft_primary(N, view));
        backups &= backups - 1; /* q-1 of them */
        if (e & 8u) backups = 0xeu & ~pbft_signers_of(pbft_primary(N, view)) & 0xcu;
        sign_statement(PBFT_PRE_PREPARE, pbft_primary(N, view), view, seq, &digest,
                       pre_prepares[i]);
        sign_set(PBFT_PREPARE, view, seq, &digest, backups, prepares[i]);
        entries[count++] =
            (struct pbft_prepared){seq, view, digest, pre_prepares[i], {backups, prepares[i]}};
    }
    for (pbft_id id = 0; id < N; id++) {
        if (!pbft_signers_has(aim->signers & w.traitors, id)) continue;
        struct pbft_msg m = {.type = PBFT_VIEW_CHANGE};
        m.view_change.view = aim->view;
        m.view_change.sender = id;
        m.view_change.stable = h.seq;
        m.view_change.stable_root = h.digest;
        m.view_change.stable_proof = (struct pbft_signatures){signers, proof};
        m.view_change.prepared_count = count;
        m.view_change.prepared = entries;
        struct pbft_frame *frame = frame_of(&m);
        pbft_frame_sign(&w.cluster, &pbft_signer_fast, &w.keys[id].secret, frame->bytes,
                        frame->size);
        note_view_change(id, frame);
        craft(aim->extra & 1u ? aim->traitor : id, aim->target->id, frame);
    }
}

/* The VIEW-CHANGE for `view` that a sender was last heard with; NULL: none. */
static struct pbft_frame *view_change_of(pbft_id sender, pbft_view view)
{
    for (size_t i = 0; i < 4; i++) {
        struct pbft_frame *frame = w.vcs[sender][(w.vc_count[sender] + 3 - i) % 4];
        struct pbft_claim claim;
        if (frame != NULL && pbft_wire_peek(pbft_frame_span(frame), &claim) == PBFT_OK &&
            claim.view == view)
            return frame;
    }
    return NULL;
}

static void bend_new_view(struct pbft_new_view *m, uint8_t *digests, uint8_t *entries, uint8_t how)
{
    switch (how) {
    case 1: m->min_s += INTERVAL; break;
    case 2: m->count -= m->count > 0; break;
    case 3: digests[5] ^= 1; break;
    case 4: entries[3] ^= 1; break;
    case 5: entries[40] ^= 1; break;
    case 6: m->signers = pbft_everyone(N) & ~(pbft_signers)1; break;
    default: break;
    }
}

static void cast_new_view(const struct aim *aim)
{
    static struct pbft_prepared_summary summaries[N][WINDOW];
    struct pbft_view_change_summary vcs[N];
    struct pbft_digest chosen[WINDOW];
    uint8_t digests[N * 32] = {0}, entries[(WINDOW + 1) * PBFT_NEW_VIEW_ENTRY_BYTES] = {0};
    struct pbft_msg m = {.type = PBFT_NEW_VIEW}, vc;
    struct pbft_new_view *nv = &m.new_view;
    uint32_t count = 0;
    for (pbft_id id = 0; id < N && count < QUORUM; id++) {
        if (pbft_signers_has(aim->signers, id)) continue; /* whom to leave out */
        struct pbft_frame *frame = view_change_of(id, aim->view);
        if (frame == NULL || !decode(frame, &vc)) continue;
        const struct pbft_view_change *v = &vc.view_change;
        vcs[count] = (struct pbft_view_change_summary){v->stable, v->stable_root, v->prepared_count,
                                                       summaries[count]};
        for (uint32_t i = 0; i < v->prepared_count; i++)
            summaries[count][i] =
                (struct pbft_prepared_summary){v->prepared[i].seq, v->prepared[i].view,
                                               v->prepared[i].digest};
        struct pbft_digest digest;
        pbft_digest_view_change(&digest, v->body);
        memcpy(digests + (size_t)count++ * 32, digest.bytes, 32);
        nv->signers |= pbft_signers_of(id);
    }
    if (count < QUORUM) return;
    pbft_seq low = vcs[0].stable, high = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (vcs[i].stable > low) low = vcs[i].stable;
        for (uint32_t k = 0; k < vcs[i].prepared_count; k++)
            if (vcs[i].prepared[k].seq > high) high = vcs[i].prepared[k].seq;
    }
    if (high > low + WINDOW) return; /* the door refused one of them */
    struct pbft_new_view_selection selection = {.digests = chosen};
    pbft_new_view_select(vcs, count, WINDOW, &w.null_digest, &selection);
    pbft_id primary = pbft_primary(N, aim->view);
    nv->view = aim->view;
    nv->sender = aim->extra == 7 ? aim->traitor : primary;
    nv->min_s = selection.min_s;
    nv->count = selection.count;
    if (aim->extra >= 8 && nv->count > 0) /* another O, in good form */
        chosen[aim->extra % nv->count] = aim->digest;
    if (aim->extra == 9 && nv->count < WINDOW) chosen[nv->count++] = aim->digest;
    if (aim->extra == 10 && nv->count > 0) nv->count--;
    for (uint32_t i = 0; i < nv->count; i++) {
        uint8_t *entry = entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES;
        memcpy(entry, chosen[i].bytes, 32);
        sign_statement(PBFT_PRE_PREPARE, primary, aim->view, nv->min_s + 1 + i, &chosen[i],
                       entry + 32);
    }
    nv->vc_digests = digests;
    nv->entries = entries;
    bend_new_view(nv, digests, entries, aim->extra);
    struct pbft_frame *frame = frame_of(&m);
    if (pbft_signers_has(w.traitors, nv->sender))
        pbft_frame_sign(&w.cluster, &pbft_signer_fast, &w.keys[nv->sender].secret, frame->bytes,
                        frame->size);
    craft(aim->traitor, aim->target->id, frame);
}

static void cast_status(const struct aim *aim, struct fuzz *f)
{
    uint8_t bits[6];
    for (unsigned i = 0; i < 6; i++)
        bits[i] = fuzz_u8(f);
    struct pbft_msg m = {.type = PBFT_STATUS_MSG};
    struct pbft_status_msg *s = &m.status;
    s->view = aim->view;
    s->stable = bits[5] & 1u ? aim->target->info.stable : aim->seq;
    s->executed = aim->seq;
    s->counter = bits[5] & 2u ? UINT64_MAX - bits[4] : w.steps + 1u;
    s->flags = bits[3] & PBFT_STATUS_FLAGS;
    s->view_changes = aim->signers;
    s->count = bits[5] & 4u ? 0 : 8;
    for (unsigned i = 0; i < 3; i++)
        *(i == 0   ? &s->have_proposal
          : i == 1 ? &s->prepared
                   : &s->committed) = (struct pbft_span){bits + i, s->count / 8u};
    craft(aim->traitor, aim->target->id, frame_of(&m));
}

static void cast_fetch(const struct aim *aim, struct fuzz *f)
{
    struct pbft_msg m = {.type = PBFT_FETCH};
    m.fetch.kind = (uint8_t)(1 + aim->extra % 6u);
    bool digest = m.fetch.kind <= PBFT_FETCH_VIEW_CHANGE;
    if (digest) m.fetch.digest = aim->digest;
    if (m.fetch.kind == PBFT_FETCH_HEADER) m.fetch.view = aim->view;
    if (m.fetch.kind == PBFT_FETCH_BATCH || !digest) m.fetch.seq = aim->seq;
    if (m.fetch.kind == PBFT_FETCH_VIEW_CHANGE) {
        struct pbft_frame *vc = view_change_of(fuzz_u8(f) % N, aim->view);
        struct pbft_msg v;
        if (vc != NULL && decode(vc, &v))
            pbft_digest_view_change(&m.fetch.digest, v.view_change.body);
    }
    craft(aim->traitor, aim->target->id, frame_of(&m));
}

static void cast_batch(const struct aim *aim)
{
    const struct batch *batch = batch_of(&aim->digest);
    struct pbft_msg m = {.type = PBFT_BATCH};
    m.batch.bytes = (struct pbft_span){batch->bytes, batch->size};
    craft(aim->traitor, aim->target->id, frame_of(&m));
}

/* Answer what the target asks for, from whoever has it. */
void answer_fetches(struct node *node)
{
    for (size_t i = 0; i < 64; i++) {
        if (!node->fetching[i]) continue;
        struct pbft_fetch what = node->fetches[i];
        struct pbft_frame *answer = NULL;
        pbft_id from = (node->id + 1) % N;
        for (pbft_id id = 0; id < N && answer == NULL; id++) {
            if (id == node->id) continue;
            from = id;
            if (w.nodes[id].real) answer = pbft_core_serve(w.nodes[id].core, &what);
            for (unsigned k = 0; k < 4 && what.kind == PBFT_FETCH_VIEW_CHANGE; k++) {
                struct pbft_msg v;
                struct pbft_digest digest;
                if (answer != NULL || w.vcs[id][k] == NULL || !decode(w.vcs[id][k], &v)) continue;
                pbft_digest_view_change(&digest, v.view_change.body);
                if (pbft_digest_equal(&digest, &what.digest))
                    answer = pbft_frame_retain(w.vcs[id][k]);
            }
        }
        const struct batch *batch = batch_of(&what.digest);
        if (answer == NULL && what.kind == PBFT_FETCH_BATCH &&
            pbft_digest_equal(&batch->digest, &what.digest)) {
            struct pbft_msg m = {.type = PBFT_BATCH};
            m.batch.bytes = (struct pbft_span){batch->bytes, batch->size};
            answer = frame_of(&m);
        }
        if (answer == NULL) continue;
        arrive(from, node->id, answer);
        pbft_frame_release(answer);
    }
}

static void submit(const struct aim *aim, uint8_t choice)
{
    struct pbft_frame *frame = w.requests[choice & 7u];
    if (aim->signers == 15u) { /* the traitor forwards it: into its own room, no other */
        for (pbft_id id = 0; id < N; id++)
            if ((choice & 8u) == 0 || &w.nodes[id] == aim->target) arrive(aim->traitor, id, frame);
        return;
    }
    for (pbft_id id = 0; id < N; id++) {
        struct node *node = &w.nodes[id];
        if (!node->real || (choice & 8u && node != aim->target)) continue;
        struct pbft_peer peer = {PBFT_PEER_CLIENT, (choice & 7u) % CLIENTS, 1};
        struct pbft_msg m;
        if (pbft_door_open(node->door, &peer, pbft_frame_span(frame), &m) == PBFT_OK)
            give_request(node, &m.request, frame, &peer);
    }
}

void craft_command(struct fuzz *f, uint8_t op)
{
    struct aim aim = take_aim(f);
    switch (op) {
    case 0:
    case 1: cast_votes(&aim, PBFT_PREPARE); break;
    case 2:
    case 3: cast_votes(&aim, PBFT_COMMIT); break;
    case 4: cast_pre_prepare(&aim, PBFT_PRE_PREPARE); break;
    case 5: cast_pre_prepare(&aim, PBFT_HEADER); break;
    case 6:
        to_checkpoint(&aim);
        cast_votes(&aim, PBFT_CHECKPOINT);
        break;
    case 7:
    case 8: cast_view_change(&aim, f); break;
    case 9:
    case 10: cast_new_view(&aim); break;
    case 11: cast_certificate(&aim, PBFT_CERT_COMMIT); break;
    case 12:
        to_checkpoint(&aim);
        cast_certificate(&aim, PBFT_CERT_CHECKPOINT);
        break;
    case 13: cast_status(&aim, f); break;
    case 14:
        if (aim.extra & 8u)
            cast_batch(&aim);
        else
            cast_fetch(&aim, f);
        break;
    default: submit(&aim, aim.extra); break;
    }
}
