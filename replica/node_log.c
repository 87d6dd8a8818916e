/* The vote log: PERSIST effects appended, group commit through SYNC jobs, and the carry-over that
 * lets the past be cut off (PROTOCOL 25-27). */
#include "replica/node_internal.h"

#include <stdlib.h>
#include <string.h>

void node_storage_failed(struct pbft_node *node, const char *what, enum pbft_status status)
{
    if (node->storage_failed) return;
    node->storage_failed = true; /* never retried, FAULTS 2.41 */
    node_log_line(node, "storage_failed", "what=%s status=\"%s\"", what, pbft_status_text(status));
}

void node_disk_full(struct pbft_node *node, bool *which, bool full)
{
    if (*which == full) return;
    *which = full;
    node_log_line(node, full ? "disk_full" : "disk_room", "for=%s votes=\"%s\"",
                  which == &node->log_full ? "log" : "checkpoints",
                  node->log_full ? "wait" : "go on");
}

/* A record's payload: each frame behind its length, u32. */
static bool append(struct pbft_node *node, enum pbft_record_kind kind,
                   struct pbft_frame *const frames[2])
{
    if (node->storage_failed) return false;
    struct pbft_span parts[4];
    uint8_t lengths[2][4];
    size_t count = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (frames[i] == NULL) continue;
        pbft_put_u32(lengths[i], frames[i]->size);
        parts[count++] = (struct pbft_span){lengths[i], sizeof lengths[i]};
        parts[count++] = pbft_frame_span(frames[i]);
    }
    enum pbft_status status =
        pbft_log_append(node->config.log, (uint32_t)kind, node->log_last + 1, parts, count);
    if (status != PBFT_STATUS_OK) {
        node_storage_failed(node, "append", status);
        return false;
    }
    node->log_last++;
    for (size_t i = 0; i < count; i++)
        node->unsynced += parts[i].size;
    return true;
}

/* ---- what a cut must carry over ---- */

static void live_release(struct live_record *r)
{
    pbft_frame_release(r->frames[0]);
    pbft_frame_release(r->frames[1]);
    r->frames[0] = r->frames[1] = NULL;
}

/* What a record is about: the claim of its last frame that names a number. */
static void record_claim(struct pbft_frame *const frames[2], struct pbft_claim *claim)
{
    for (unsigned i = 2; i-- > 0;)
        if (frames[i] != NULL && pbft_wire_peek(pbft_frame_span(frames[i]), claim) == PBFT_OK &&
            claim->seq != 0)
            return;
    *claim = (struct pbft_claim){.seq = 0};
}

static void live_set(struct live_record *r, enum pbft_record_kind kind,
                     const struct pbft_claim *about, struct pbft_frame *const frames[2])
{
    live_release(r);
    r->kind = kind;
    r->view = about->view;
    r->seq = about->seq;
    r->digest = about->digest;
    r->frames[0] = pbft_frame_retain(frames[0]);
    r->frames[1] = pbft_frame_retain(frames[1]);
}

static void live_remove(struct pbft_node *node, size_t at)
{
    live_release(&node->live[at]);
    for (size_t k = at + 1; k < node->live_count; k++)
        node->live[k - 1] = node->live[k];
    node->live_count--;
}

/* A PROPOSAL in a later view may be the vote alone: what it is for was logged before. */
static bool with_body(struct pbft_frame *const frames[2])
{
    return frames[0]->bytes[0] != PBFT_PREPARE;
}

static bool is_about(const struct live_record *r, enum pbft_record_kind kind, pbft_seq seq)
{
    return r->kind == kind && r->seq == seq;
}

/* The PREPARED of this number's highest view: its proposal a later view may have to choose. */
static bool prepared_before(const struct pbft_node *node, pbft_seq seq,
                            const struct pbft_digest *digest)
{
    const struct live_record *last = NULL;
    for (size_t i = 0; i < node->live_count; i++) {
        const struct live_record *r = &node->live[i];
        if (is_about(r, PBFT_RECORD_PREPARED, seq) && (last == NULL || r->view >= last->view))
            last = r;
    }
    return last != NULL && pbft_digest_equal(&last->digest, digest);
}

/* Voted for again in a later view: the vote beside the older record is of a view that a logged
 * VIEW-CHANGE has left, and of a proposal one copy is carried over. So there are at most three
 * PROPOSALs of a number: the one prepared before, this one's, and this vote. */
static void proposals_supersede(struct pbft_node *node, const struct pbft_claim *by, bool body)
{
    for (size_t i = node->live_count; i-- > 0;) {
        const struct live_record *r = &node->live[i];
        if (!is_about(r, PBFT_RECORD_PROPOSAL, by->seq) || r->view >= by->view) continue;
        bool same = pbft_digest_equal(&r->digest, &by->digest);
        bool wanted = same ? !body : prepared_before(node, by->seq, &r->digest);
        if (!with_body(r->frames) || !wanted) live_remove(node, i);
    }
}

/* Of each number the P set names the highest view. */
static void prepared_supersedes(struct pbft_node *node, const struct pbft_claim *by)
{
    for (size_t i = node->live_count; i-- > 0;)
        if (is_about(&node->live[i], PBFT_RECORD_PREPARED, by->seq) &&
            node->live[i].view < by->view)
            live_remove(node, i);
}

static void live_add(struct pbft_node *node, enum pbft_record_kind kind,
                     struct pbft_frame *const frames[2])
{
    struct pbft_claim about;
    record_claim(frames, &about);
    if (node->last_new_view.frames[0] != NULL) { /* else there is no earlier view */
        if (kind == PBFT_RECORD_PROPOSAL) proposals_supersede(node, &about, with_body(frames));
        if (kind == PBFT_RECORD_PREPARED) prepared_supersedes(node, &about);
    }
    node->live = node_grow(node->live, &node->live_capacity, node->live_count, sizeof *node->live);
    struct live_record *r = &node->live[node->live_count++];
    *r = (struct live_record){.kind = kind};
    live_set(r, kind, &about, frames);
}

/* A NEW-VIEW makes its proposals' numbers and digests known: where the bytes are in the log, and
 * will be in a carry-over, the vote needs nothing beside it. Else many views without a checkpoint
 * between them would fill the log with the same proposals, and the memory of the next start. */
static bool logged_before(const struct pbft_node *node, struct pbft_frame *const frames[2])
{
    struct pbft_claim first, vote;
    if (frames[1] == NULL || pbft_wire_peek(pbft_frame_span(frames[0]), &first) != PBFT_OK ||
        pbft_wire_peek(pbft_frame_span(frames[1]), &vote) != PBFT_OK ||
        (first.type == PBFT_PRE_PREPARE && first.view == vote.view))
        return false;
    for (size_t i = node->live_count; i-- > 0;) {
        const struct live_record *r = &node->live[i];
        if (is_about(r, PBFT_RECORD_PROPOSAL, vote.seq) && with_body(r->frames) &&
            pbft_digest_equal(&r->digest, &vote.digest))
            return true;
    }
    return false;
}

/* What is not above a stable checkpoint is over. */
static void live_forget(struct pbft_node *node, pbft_seq seq)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->live_count; i++) {
        if (node->live[i].seq > seq)
            node->live[kept++] = node->live[i];
        else
            live_release(&node->live[i]);
    }
    node->live_count = kept;
}

static void remember(struct pbft_node *node, enum pbft_record_kind kind,
                     struct pbft_frame *const frames[2])
{
    const struct pbft_claim none = {.seq = 0};
    switch (kind) {
    case PBFT_RECORD_VIEW_CHANGE: live_set(&node->last_view_change, kind, &none, frames); break;
    case PBFT_RECORD_NEW_VIEW: live_set(&node->last_new_view, kind, &none, frames); break;
    case PBFT_RECORD_STABLE:
        live_set(&node->last_stable, kind, &none, frames);
        node_flush_certified(node, frames[0]);
        break;
    case PBFT_RECORD_PROPOSAL:
    case PBFT_RECORD_PREPARED:
    case PBFT_RECORD_CHECKPOINT:
    case PBFT_RECORD_COMMITTED: live_add(node, kind, frames); break;
    }
}

static bool same_bytes(const struct pbft_frame *a, const struct pbft_frame *b)
{
    if (a == NULL || b == NULL) return a == b;
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* A log that a crash left between a carry-over and its cut holds records twice. */
static bool live_has(const struct pbft_node *node, enum pbft_record_kind kind,
                     struct pbft_frame *const frames[2])
{
    struct pbft_claim about;
    record_claim(frames, &about);
    for (size_t i = 0; i < node->live_count; i++) {
        const struct live_record *r = &node->live[i];
        if (is_about(r, kind, about.seq) && same_bytes(r->frames[0], frames[0]) &&
            same_bytes(r->frames[1], frames[1]))
            return true;
    }
    return false;
}

void node_log_restored(struct pbft_node *node, enum pbft_record_kind kind,
                       struct pbft_frame *const frames[2])
{
    if (live_has(node, kind, frames)) return;
    remember(node, kind, frames);
    if (kind != PBFT_RECORD_STABLE) return;
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    live_forget(node, info.stable); /* or they would be many */
}

static void cut_if_filling(struct pbft_node *node);

void node_persist(struct pbft_node *node, const struct pbft_effect *effect)
{
    PBFT_ASSERT(effect->persist.lsn > node->core_last);
    node->core_last = effect->persist.lsn;
    enum pbft_record_kind kind = effect->persist.record;
    struct pbft_frame *frames[2] = {effect->persist.frames[0], effect->persist.frames[1]};
    if (kind == PBFT_RECORD_PROPOSAL && logged_before(node, frames)) {
        frames[0] = frames[1];
        frames[1] = NULL;
    }
    if (!append(node, kind, frames)) return;
    remember(node, kind, frames);
    struct pbft_claim about;
    record_claim(frames, &about);
    if (kind == PBFT_RECORD_PROPOSAL) node_stage_begins(node, about.seq, PBFT_STAGE_PREPARE);
    if (kind == PBFT_RECORD_PREPARED) node_stage_begins(node, about.seq, PBFT_STAGE_COMMIT);
    node->pairs =
        node_grow(node->pairs, &node->pair_capacity, node->pair_count, sizeof *node->pairs);
    node->pairs[node->pair_count++] = (struct lsn_pair){effect->persist.lsn, node->log_last};
    if (effect->persist.sync) node->sync_wanted = true;
    cut_if_filling(node);
}

/* ---- cutting ---- */

static bool carry(struct pbft_node *node, const struct live_record *r)
{
    return r->frames[0] == NULL || append(node, r->kind, r->frames);
}

void node_log_begin_cut(struct pbft_node *node, pbft_seq seq)
{
    if (node->carry_first != 0) return; /* the flush serves the one under way */
    pbft_lsn first = node->log_last + 1;
    pbft_log_roll(node->config.log);
    bool ok = carry(node, &node->last_stable) && carry(node, &node->last_view_change) &&
              carry(node, &node->last_new_view);
    for (size_t i = 0; ok && i < node->live_count; i++)
        ok = carry(node, &node->live[i]);
    if (!ok || node->log_last < first) return;
    node->carry_first = first;
    node->carry_last = node->log_last;
    node->carry_seq = seq;
    node->sync_wanted = true;
}

void node_log_stable(struct pbft_node *node, pbft_seq seq)
{
    live_forget(node, seq);
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    if (node->carry_first != 0) return;
    if (node->config.pages == NULL) {
        if (stats.bytes > stats.bytes_max / CARRY_BYTES_DIVISOR) node_log_begin_cut(node, 0);
    } else if (stats.bytes > node->cut_bytes + node->config.flush_bytes + node->flush_after) {
        node->flush_wanted = true;
    }
}

/* From the checkpoint on disk no record leads on to h any more. */
static void cut_without_flush(struct pbft_node *node)
{
    node->carry_first = 0; /* of one that waits for a flush: it begins anew */
    node_log_begin_cut(node, 0);
    node_flush_installed(node, node->stable_seq);
}

/* The last quarter of the cap is for carry-overs: else a log that filled up while there was no room
 * for checkpoints could never be cut again. */
static bool is_filled(const struct pbft_log_stats *stats)
{
    return stats->bytes > stats->bytes_max / 4 * 3;
}

/* It has no state at h, and with a log that is filled takes nothing in that would bring it one: no
 * flush will let the log be cut. After a restart it would have to fetch that state, too. */
static bool waits_in_vain(const struct pbft_node *node, const struct pbft_log_stats *stats)
{
    if (node->config.pages == NULL || !is_filled(stats)) return false;
    if (node->carry_first != 0 && node->carry_seq <= node->flushed) return false;
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    return info.transferring || info.committed < info.stable;
}

/* Views may follow each other without a checkpoint between them; what they left behind goes. Not
 * again before the log has doubled: what is carried over may be most of it. */
static void cut_if_filling(struct pbft_node *node)
{
    if (node->storage_failed) return;
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    if (waits_in_vain(node, &stats)) cut_without_flush(node);
    if (node->carry_first != 0) return;
    if (stats.bytes <= stats.bytes_max / 2 || stats.bytes / 2 <= node->cut_bytes) return;
    if (node->config.pages == NULL || node->flushed >= node->stable_seq)
        node_log_begin_cut(node, 0);
    else if (node->applied < node->stable_seq)
        cut_without_flush(node);
    else
        node->flush_wanted = true;
}

/* A checkpoint may be flushed and what the log said of it lost with the power. Votes above it are
 * beyond the window that the log alone tells of, and a start that finds the checkpoint lost as well
 * would refuse them (PROTOCOL 25). A cut, done or to be done before the next vote, carries it over.
 */
void node_log_resuming(struct pbft_node *node)
{
    if (!node->stable_unlogged || node->carry_first != 0 || node_log_stuck(node)) return;
    node->stable_unlogged = false;
    (void)append(node, PBFT_RECORD_STABLE, node->last_stable.frames);
}

void node_log_resumed(struct pbft_node *node)
{
    if (node_log_stuck(node)) cut_if_filling(node);
}

void node_log_finish_cut(struct pbft_node *node)
{
    if (node->carry_first == 0 || node->log_durable < node->carry_last) return;
    if (node->carry_seq > node->flushed) return; /* PROTOCOL 25 */
    enum pbft_status status = pbft_log_cut(node->config.log, node->carry_first, node->carry_last);
    if (status != PBFT_STATUS_OK) node_storage_failed(node, "cut", status);
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    node->cut_bytes = stats.bytes;
    node->carry_first = node->carry_last = 0;
}

/* ---- group commit ---- */

struct pbft_job *node_sync_job(struct pbft_node *node)
{
    if (node->storage_failed || node->log_last <= node->log_durable) return NULL;
    if (node->sync_again_ns > node->now_ns) return NULL;
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    if (!node->sync_wanted && node->waiting_count == 0 && !stats.committing) return NULL;
    enum pbft_status status = pbft_log_sync(node->config.log);
    if (status != PBFT_STATUS_OK) {
        node_storage_failed(node, "sync", status);
        return NULL;
    }
    node->sync_wanted = false; /* what queues up from now on shares the next one */
    node->sync_again_ns = 0;
    struct pbft_job *job = node_alloc(sizeof *job);
    job->kind = PBFT_JOB_SYNC;
    job->log = node->config.log;
    return job;
}

void node_sync_done(struct pbft_node *node)
{
    pbft_log_poll(node->config.log);
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    if (stats.result == PBFT_STATUS_FULL) { /* FAULTS 2.42: nothing is lost, nothing is said */
        node->sync_wanted = true;
        node->sync_again_ns = node->now_ns + DISK_RETRY_NS;
        node->flush_wanted = node->config.pages != NULL; /* a cut may make room */
        node_disk_full(node, &node->log_full, true);
        return;
    }
    node_disk_full(node, &node->log_full, false);
    node->unsynced = 0;
    if (stats.durable <= node->log_durable && !stats.committing) {
        node_storage_failed(node, "commit", PBFT_STATUS_IO);
        return;
    }
    node->log_durable = stats.durable;
    size_t done = 0;
    while (done < node->pair_count && node->pairs[done].log <= node->log_durable)
        node->core_durable = node->pairs[done++].core;
    node->pair_count -= done;
    for (size_t i = 0; i < node->pair_count; i++)
        node->pairs[i] = node->pairs[i + done];
    node_outbox_release(node);
    node_log_finish_cut(node);
}

bool node_log_stuck(const struct pbft_node *node)
{
    if (node->config.pages == NULL) return false;
    struct pbft_log_stats stats;
    pbft_log_stats(node->config.log, &stats);
    return is_filled(&stats) || (node->log_full && node->unsynced > UNSYNCED_MAX);
}

uint64_t node_log_deadline(const struct pbft_node *node)
{
    return node->sync_again_ns > node->now_ns ? node->sync_again_ns : NEVER;
}

void node_log_free(struct pbft_node *node)
{
    for (size_t i = 0; i < node->live_count; i++)
        live_release(&node->live[i]);
    live_release(&node->last_view_change);
    live_release(&node->last_new_view);
    live_release(&node->last_stable);
    free(node->live);
    free(node->pairs);
}
