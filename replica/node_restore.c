/* A start with an old log: the core learns its promises, the node what a cut must carry over
 * (PROTOCOL 25-28). */
#include "replica/node_internal.h"
#include "replica/pool.h"

#include <stdatomic.h>
#include <stdlib.h>

bool node_cancelled(const struct pbft_node *node)
{
    return node->config.cancel != NULL && atomic_load(node->config.cancel);
}

struct reading {
    struct pbft_node *node;
    struct pbft_arena arenas[2];
    enum pbft_status status;
    enum pbft_verdict verdict; /* why it is CORRUPT */
    uint64_t records;
    pbft_seq stable; /* the newest STABLE among them */
};

/* A record's payload is one or two frames, each behind its length. */
static bool open_record(struct reading *r, struct pbft_span payload, struct pbft_record *out,
                        struct pbft_msg msgs[2])
{
    size_t at = 0;
    for (unsigned k = 0; k < 2; k++) {
        struct pbft_span bytes;
        if (!pbft_wire_next_item(payload, &at, &bytes)) break;
        out->frames[k] = pbft_frame_copy(r->node->config.pool, bytes);
        if (out->frames[k] == NULL) {
            r->status = PBFT_STATUS_MEMORY;
            return false;
        }
        r->arenas[k].used = 0;
        r->verdict =
            pbft_wire_decode(pbft_frame_span(out->frames[k]), r->node->p, &r->arenas[k], &msgs[k]);
        if (r->verdict != PBFT_OK) return false;
        out->msgs[k] = &msgs[k];
    }
    if (at == payload.size && out->msgs[0] != NULL) return true;
    r->verdict = PBFT_DROP_MALFORMED;
    return false;
}

/* What we may have answered a read about, or will, as soon as it is executed (PROTOCOL 28). */
static void raise_floor(struct pbft_node *node, const struct pbft_record *record)
{
    pbft_seq seq = 0;
    if (record->kind == PBFT_RECORD_PREPARED && record->msgs[1] != NULL)
        seq = record->msgs[1]->vote.seq;
    if (record->kind == PBFT_RECORD_COMMITTED || record->kind == PBFT_RECORD_STABLE)
        seq = record->msgs[0]->certificate.seq;
    if (seq > node->read_floor) node->read_floor = seq;
}

static bool visit(void *context, const struct pbft_log_record *in)
{
    struct reading *r = context;
    if (node_cancelled(r->node)) {
        r->status = PBFT_STATUS_REFUSED;
        return false;
    }
    struct pbft_msg msgs[2];
    struct pbft_record record = {.kind = (enum pbft_record_kind)in->kind};
    bool good = open_record(r, in->payload, &record, msgs);
    if (good) {
        r->verdict = pbft_core_restore(r->node->core, &record);
        good = r->verdict == PBFT_OK;
    }
    if (good) {
        node_log_restored(r->node, record.kind, record.frames);
        raise_floor(r->node, &record);
        if (record.kind == PBFT_RECORD_STABLE && msgs[0].certificate.seq > r->stable)
            r->stable = msgs[0].certificate.seq;
        r->records++;
    } else if (r->status == PBFT_STATUS_OK) {
        r->status = PBFT_STATUS_CORRUPT;
    }
    pbft_frame_release(record.frames[0]);
    pbft_frame_release(record.frames[1]);
    return good;
}

/* ---- the state ---- */

static struct pbft_pages *pages_of(const struct pbft_node *node)
{
    return node->config.pages != NULL ? node->config.pages : node->config.genesis;
}

/* Nothing of it can be used: what a first start has, and a transfer brings the rest. */
static enum pbft_status start_without(struct pbft_node *node, const char *event, const char *why)
{
    struct pbft_apply_config config = {node->cluster, node->config.service, node->config.pool};
    struct pbft_apply *apply = pbft_apply_new(&config);
    if (apply == NULL) return PBFT_STATUS_MEMORY;
    pbft_apply_brief(apply, node->id);
    pbft_apply_free(node->side.apply);
    node->side.apply = apply;
    node->applied = 0;
    node->change = (struct pbft_epoch_change){.epoch = 0};
    node_log_line(node, event, "why=\"%s\" hint=\"it is fetched from the others\"", why);
    return PBFT_STATUS_OK;
}

static enum pbft_status start_empty(struct pbft_node *node, const char *why)
{
    return start_without(node, "state_refused", why);
}

/* Whether q replicas have signed for a state at this number; which one, its caller compares. */
static bool checkpoint_certified(struct reading *r, const struct pbft_pages_checkpoint *cp,
                                 struct pbft_frame *frame, struct pbft_msg *msg)
{
    struct pbft_node *node = r->node;
    struct pbft_peer self = {.kind = PBFT_PEER_REPLICA, .index = node->id};
    r->arenas[0].used = 0;
    if (pbft_wire_decode(pbft_frame_span(frame), node->p, &r->arenas[0], msg) != PBFT_OK ||
        msg->type != PBFT_CERTIFICATE || msg->certificate.kind != PBFT_CERT_CHECKPOINT ||
        msg->certificate.seq != cp->seq)
        return false;
    struct pbft_msg opened;
    return pbft_door_open(node->side.door, &self, pbft_frame_span(frame), &opened) == PBFT_OK;
}

static enum pbft_status load_state(struct pbft_node *node, struct pbft_pages *pages,
                                   const struct pbft_pages_checkpoint *cp,
                                   const struct pbft_digest *certified)
{
    struct pbft_tree *tree = pbft_apply_tree(node->side.apply);
    pbft_seq seq = 0;
    uint64_t effective_ns, next_due_ns;
    enum pbft_status status = pbft_pages_load(pages, tree, &cp->root);
    if (status == PBFT_STATUS_OK)
        status = pbft_apply_reload(node->side.apply, &seq, &effective_ns, &next_due_ns);
    if (status == PBFT_STATUS_MEMORY || status == PBFT_STATUS_REFUSED) return status;
    if (status != PBFT_STATUS_OK) return start_empty(node, pbft_status_text(status));
    if (seq != cp->seq) return start_empty(node, "the checkpoint on disk is of another number");
    node_epoch_look(node);
    struct pbft_digest root;
    node_signed_root(node, cp->seq, &cp->root, &root);
    if (!pbft_digest_equal(certified, &root))
        return start_empty(node, "it is not what the others have certified");
    node->applied = node->flushed = cp->seq;
    return PBFT_STATUS_OK;
}

/* What the cluster or the epoch begins with is certified by the cluster's id, or by the epoch's
 * proof. */
static bool is_genesis(const struct pbft_node *node, const struct pbft_pages_checkpoint *cp)
{
    return cp->seq == node->cluster->genesis_seq &&
           pbft_digest_equal(&cp->root, &node->cluster->genesis_root);
}

/* Its certificate is the first thing that the core learns. */
static enum pbft_status restore_certificate(struct reading *r,
                                            const struct pbft_pages_checkpoint *cp,
                                            struct pbft_frame **certificate,
                                            struct pbft_digest *certified)
{
    struct pbft_node *node = r->node;
    struct pbft_span bytes = {cp->certificate, cp->certificate_size};
    struct pbft_frame *frame = pbft_frame_copy(node->config.pool, bytes);
    if (frame == NULL) return PBFT_STATUS_MEMORY;
    struct pbft_msg msg;
    struct pbft_record record = {PBFT_RECORD_STABLE, {&msg, NULL}, {frame, NULL}};
    if (!checkpoint_certified(r, cp, frame, &msg) ||
        pbft_core_restore(node->core, &record) != PBFT_OK) {
        pbft_frame_release(frame);
        return PBFT_STATUS_CORRUPT;
    }
    *certified = msg.certificate.digest;
    *certificate = frame;
    return PBFT_STATUS_OK;
}

/* The checkpoint on disk. NULL in *certificate: there is none, and the state is empty; or it is
 * genesis. */
static enum pbft_status load_checkpoint(struct reading *r, struct pbft_frame **certificate,
                                        struct pbft_pages_checkpoint *cp)
{
    struct pbft_node *node = r->node;
    struct pbft_pages *pages = pages_of(node);
    enum pbft_status status = pbft_pages_checkpoint(pages, cp);
    if (status != PBFT_STATUS_OK) return start_empty(node, pbft_status_text(status));
    if (cp->seq == 0) return PBFT_STATUS_OK;
    if (is_genesis(node, cp)) return load_state(node, pages, cp, &cp->root);
    if (node->cluster->epoch > 0 && cp->seq < node->cluster->genesis_seq)
        return start_without(node, "state_outdated", "it is of an epoch that is over");
    struct pbft_digest certified;
    status = restore_certificate(r, cp, certificate, &certified);
    if (status == PBFT_STATUS_OK) return load_state(node, pages, cp, &certified);
    if (status == PBFT_STATUS_MEMORY) return status;
    return start_empty(node, "the certificate of the checkpoint on disk is none");
}

/* A state that comes from the epoch before, in memory. */
static enum pbft_status take_over(struct pbft_node *node)
{
    pbft_seq seq = 0;
    uint64_t effective_ns, next_due_ns;
    enum pbft_status status =
        pbft_apply_reload(node->side.apply, &seq, &effective_ns, &next_due_ns);
    if (status != PBFT_STATUS_OK) return status;
    node->applied = seq;
    node->flushed = node->config.state_flushed;
    /* A new key has no checkpoint on its disk: nor will its log lead to this one (PROTOCOL 25). */
    if (node->flushed < node->applied) node_flush_installed(node, node->applied);
    return PBFT_STATUS_OK;
}

/* From the loaded state to the stable checkpoint. Whether that is what q replicas have signed, the
 * core sees when it is told (PBFT_EVENT_RESTORED). */
static enum pbft_status bring_up(struct pbft_node *node, const struct pbft_core_info *info)
{
    if (node->applied > info->stable) return PBFT_STATUS_OK;
    if (pages_of(node) == NULL && node->config.state == NULL) return PBFT_STATUS_OK;
    if (node->applied < info->stable && !node_replay(node, info->stable))
        return node_cancelled(node) ? PBFT_STATUS_REFUSED : PBFT_STATUS_OK;
    if (node->applied == 0) return PBFT_STATUS_OK;
    struct pbft_snapshot *snapshot = pbft_apply_snapshot(node->side.apply);
    if (snapshot == NULL) return PBFT_STATUS_MEMORY;
    struct pbft_digest root, known;
    pbft_snapshot_root(snapshot, &root);
    node_epoch_look(node);
    node_signed_root(node, info->stable, &root, &known);
    node_keep_hashed(node, info->stable, snapshot, &root);
    node_root_known(node, info->stable, &known);
    return PBFT_STATUS_OK;
}

/* ---- all together ---- */

static enum pbft_status read_all(struct reading *r)
{
    struct pbft_node *node = r->node;
    struct pbft_pages_checkpoint *cp = node_alloc(sizeof *cp);
    struct pbft_frame *certificate = NULL;
    struct pbft_core_info info;
    if (node->config.state != NULL)
        r->status = take_over(node);
    else if (pages_of(node) != NULL)
        r->status = load_checkpoint(r, &certificate, cp);
    if (r->status == PBFT_STATUS_OK && !node->mute &&
        !pbft_log_iterate(node->config.log, visit, r) && r->status == PBFT_STATUS_OK)
        r->status = PBFT_STATUS_IO;
    pbft_core_info(node->core, &info);
    if (r->status == PBFT_STATUS_OK && certificate != NULL && info.stable == cp->seq) {
        node_log_restored(node, PBFT_RECORD_STABLE, (struct pbft_frame *[2]){certificate, NULL});
        node->stable_unlogged = r->stable < cp->seq;
    }
    if (r->status == PBFT_STATUS_OK) r->status = bring_up(node, &info);
    if (r->status == PBFT_STATUS_OK && info.stable > 0) {
        node_stable(node, info.stable);
        node_log_stable(node, info.stable);
    }
    pbft_frame_release(certificate);
    free(cp);
    return r->status;
}

void pbft_node_resume(struct pbft_node *node, struct pbft_time time)
{
    node_set_time(node, time);
    struct pbft_event event = {.kind = PBFT_EVENT_RESTORED};
    pbft_seq seq;
    struct pbft_snapshot *snapshot = NULL;
    if (node->applied > 0 && pbft_apply_reload(node->side.apply, &seq, &event.restored.effective_ns,
                                               &event.restored.next_due_ns) == PBFT_STATUS_OK)
        snapshot = pbft_apply_snapshot(node->side.apply);
    if (snapshot == NULL && node->applied > 0) pbft_panic(__FILE__, __LINE__, "out of memory");
    event.restored.seq = node->applied;
    event.restored.agreed = node->flushed; /* or it would not have been loaded */
    event.restored.last = pbft_apply_last(node->side.apply);
    if (snapshot != NULL) {
        struct pbft_digest root;
        pbft_snapshot_root(snapshot, &root);
        node_signed_root(node, node->applied, &root, &event.restored.root);
    }
    pbft_snapshot_release(snapshot);
    node_epoch_look(node);
    node_log_resuming(node);
    node->resuming = true;
    node_step(node, &event);
    node->resuming = false;
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    node_log_line(node, "restored", "records=%llu view=%llu stable=%llu flushed=%llu applied=%llu",
                  (unsigned long long)node->restored_records, (unsigned long long)info.view,
                  (unsigned long long)info.stable, (unsigned long long)node->flushed,
                  (unsigned long long)node->applied);
    node_log_resumed(node);
    node_settle(node);
}

enum pbft_status pbft_node_load(struct pbft_node *node)
{
    PBFT_ASSERT(node->now_ns == 0);
    size_t bytes = pbft_wire_arena_bytes(node->p);
    struct reading r = {.node = node, .status = PBFT_STATUS_OK};
    for (unsigned k = 0; k < 2; k++)
        r.arenas[k] = (struct pbft_arena){aligned_alloc(16, (bytes + 15) & ~(size_t)15), bytes, 0};
    if (r.arenas[0].base == NULL || r.arenas[1].base == NULL)
        r.status = PBFT_STATUS_MEMORY;
    else
        r.status = read_all(&r);
    free(r.arenas[0].base);
    free(r.arenas[1].base);
    if (r.status == PBFT_STATUS_REFUSED) return r.status;
    if (r.status != PBFT_STATUS_OK) {
        node_log_line(node, "log_refused", "record=%llu why=\"%s\"",
                      (unsigned long long)r.records + 1,
                      r.status == PBFT_STATUS_CORRUPT ? pbft_verdict_text(r.verdict)
                                                      : pbft_status_text(r.status));
        return r.status;
    }
    node->restored_records = r.records;
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_node_restore(struct pbft_node *node, struct pbft_time time)
{
    enum pbft_status status = pbft_node_load(node);
    if (status == PBFT_STATUS_OK) pbft_node_resume(node, time);
    return status;
}
