/* The check of the vote log: what the store says of it, then each record as a restart reads it, and
 * each signature in it. */
#include "replica/check_internal.h"

#include "crypto/hash.h"
#include "pbft/certificate.h"
#include "pbft/core.h"
#include "pbft/quorum.h"
#include "replica/pool.h"
#include "replica/replay.h"
#include "store/log_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES (8u << 20) /* each segment says its own; this is for the reader's bounds */
#define KINDS         8u

/* Something that this replica has signed: one digest for each type, view and number. */
struct statement {
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
    uint8_t type; /* 0: free */
};

struct reading {
    struct check *check;
    const struct pbft_cluster *cluster;
    struct pbft_arena arena;
    struct statement *statements; /* open addressing; capacity is a power of two */
    size_t count, capacity;
    uint64_t records, kinds[KINDS]; /* [0]: unknown ones */
    uint64_t absent;                /* lsns */
    pbft_lsn lsn;                   /* of the record at hand */
    /* The core as a restart would have it. */
    struct pbft_core *core;
    void *core_memory;
    bool followed; /* every record so far was taken */
    bool no_memory;
    pbft_seq own_checkpoint; /* highest */
    pbft_seq first_stable;   /* of the first record; 0: it is none */
};

/* ---- what this replica said ---- */

static size_t place_of(const struct reading *r, uint8_t type, pbft_view view, pbft_seq seq)
{
    uint64_t z = view * UINT64_C(0x9e3779b97f4a7c15) + seq * UINT64_C(0xbf58476d1ce4e5b9) + type;
    z = (z ^ z >> 31) * UINT64_C(0x94d049bb133111eb);
    size_t at = (size_t)(z ^ z >> 29) & (r->capacity - 1);
    while (r->statements[at].type != 0 &&
           (r->statements[at].type != type || r->statements[at].view != view ||
            r->statements[at].seq != seq))
        at = (at + 1) & (r->capacity - 1);
    return at;
}

static bool grow(struct reading *r)
{
    if (r->capacity > 0 && r->count < r->capacity / 2) return true;
    struct statement *old = r->statements;
    size_t old_capacity = r->capacity, capacity = old_capacity == 0 ? 1024 : old_capacity * 2;
    struct statement *statements = calloc(capacity, sizeof *statements);
    if (statements == NULL) return false;
    r->statements = statements;
    r->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].type != 0)
            r->statements[place_of(r, old[i].type, old[i].view, old[i].seq)] = old[i];
    free(old);
    return true;
}

/* Verified, and signed by this replica. */
static void said(struct reading *r, uint8_t type, pbft_view view, pbft_seq seq,
                 const struct pbft_digest *digest)
{
    if (r->no_memory || !grow(r)) {
        r->no_memory = true;
        return;
    }
    struct statement *s = &r->statements[place_of(r, type, view, seq)];
    if (s->type == 0) {
        *s = (struct statement){view, seq, *digest, type};
        r->count++;
    } else if (!pbft_digest_equal(&s->digest, digest)) {
        check_found(r->check,
                    "equivocation: record %" PRIu64
                    " holds a second %s of this replica for view %" PRIu64 ", number %" PRIu64,
                    r->lsn, pbft_type_text(type), view, seq);
    }
}

static bool by_us(const struct reading *r, pbft_id sender)
{
    return sender == r->check->config->id;
}

static bool led_by_us(const struct reading *r, pbft_view view)
{
    return by_us(r, pbft_primary(r->cluster->params.n, view));
}

static void said_prepared(struct reading *r, const struct pbft_prepared *e)
{
    if (pbft_signers_has(e->prepares.signers, r->check->config->id))
        said(r, PBFT_PREPARE, e->view, e->seq, &e->digest);
    if (led_by_us(r, e->view)) said(r, PBFT_PRE_PREPARE, e->view, e->seq, &e->digest);
}

static void said_certificate(struct reading *r, const struct pbft_certificate *m)
{
    if (!pbft_signers_has(m->signatures.signers, r->check->config->id)) return;
    said(r, m->kind == PBFT_CERT_COMMIT ? PBFT_COMMIT : PBFT_CHECKPOINT, m->view, m->seq,
         &m->digest);
}

static void said_new_view(struct reading *r, const struct pbft_new_view *m)
{
    if (!by_us(r, m->sender)) return;
    said(r, PBFT_NEW_VIEW, m->view, 0, &m->digest);
    for (uint32_t i = 0; i < m->count; i++) {
        struct pbft_digest digest;
        memcpy(digest.bytes, m->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES, PBFT_DIGEST_BYTES);
        said(r, PBFT_PRE_PREPARE, m->view, m->min_s + 1 + i, &digest);
    }
}

/* All of it that the door has let through. */
static void said_in(struct reading *r, const struct pbft_msg *m)
{
    switch ((int)m->type) {
    case PBFT_PRE_PREPARE:
        if (led_by_us(r, m->pre_prepare.view))
            said(r, PBFT_PRE_PREPARE, m->pre_prepare.view, m->pre_prepare.seq,
                 &m->pre_prepare.digest);
        break;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
        if (by_us(r, m->vote.sender)) said(r, m->type, m->vote.view, m->vote.seq, &m->vote.digest);
        break;
    case PBFT_CHECKPOINT:
        if (!by_us(r, m->checkpoint.sender)) break;
        said(r, PBFT_CHECKPOINT, 0, m->checkpoint.seq, &m->checkpoint.root);
        if (m->checkpoint.seq > r->own_checkpoint) r->own_checkpoint = m->checkpoint.seq;
        break;
    case PBFT_VIEW_CHANGE:
        if (by_us(r, m->view_change.sender))
            said(r, PBFT_VIEW_CHANGE, m->view_change.view, 0, &m->view_change.digest);
        if (pbft_signers_has(m->view_change.stable_proof.signers, r->check->config->id))
            said(r, PBFT_CHECKPOINT, 0, m->view_change.stable, &m->view_change.stable_root);
        for (uint32_t i = 0; i < m->view_change.prepared_count; i++)
            said_prepared(r, &m->view_change.prepared[i]);
        break;
    case PBFT_NEW_VIEW: said_new_view(r, &m->new_view); break;
    case PBFT_CERTIFICATE: said_certificate(r, &m->certificate); break;
    default: break;
    }
}

/* ---- signatures ---- */

static bool votes_verify(struct reading *r, uint8_t type, pbft_view view, pbft_seq seq,
                         const struct pbft_digest *digest, const struct pbft_signatures *set)
{
    const uint8_t *signature = set->bytes;
    for (pbft_id i = 0; i < r->cluster->params.n; i++) {
        if (!pbft_signers_has(set->signers, i)) continue;
        uint8_t body[PBFT_BODY_MAX_BYTES];
        size_t size = pbft_wire_vote_body(view, seq, digest, i, body);
        struct pbft_span span = {body, size};
        if (!pbft_door_verify(r->check->door, type, i, span, signature)) return false;
        signature += PBFT_SIGNATURE_BYTES;
    }
    return true;
}

/* A prepared certificate as the log keeps it: the only entry of a VIEW-CHANGE that nobody signed.
 */
static enum pbft_verdict open_prepared(struct reading *r, struct pbft_span frame,
                                       struct pbft_prepared *out)
{
    const struct pbft_params *p = &r->cluster->params;
    struct pbft_msg m;
    r->arena.used = 0;
    enum pbft_verdict verdict = pbft_wire_decode(frame, p, &r->arena, &m);
    if (verdict != PBFT_OK) return verdict;
    if (m.type != PBFT_VIEW_CHANGE || m.view_change.prepared_count != 1) return PBFT_DROP_TYPE;
    *out = m.view_change.prepared[0];
    verdict = pbft_prepared_check(p, out, UINT64_MAX);
    if (verdict != PBFT_OK) return verdict;
    uint8_t body[PBFT_BODY_MAX_BYTES];
    struct pbft_span span = {body,
                             pbft_wire_pre_prepare_body(out->view, out->seq, &out->digest, body)};
    if (!pbft_door_verify(r->check->door, PBFT_PRE_PREPARE, pbft_primary(p->n, out->view), span,
                          out->pre_prepare_signature) ||
        !votes_verify(r, PBFT_PREPARE, out->view, out->seq, &out->digest, &out->prepares))
        return PBFT_DROP_SIGNATURE;
    said_prepared(r, out);
    return PBFT_OK;
}

/* Where the proposal was logged before, the COMMITs stand alone, which no peer may send. */
static enum pbft_verdict open_bare_certificate(struct reading *r, struct pbft_span frame,
                                               struct pbft_msg *m)
{
    const struct pbft_params *p = &r->cluster->params;
    r->arena.used = 0;
    enum pbft_verdict verdict = pbft_wire_decode(frame, p, &r->arena, m);
    if (verdict != PBFT_OK) return verdict;
    if (m->type != PBFT_CERTIFICATE) return PBFT_DROP_TYPE;
    const struct pbft_certificate *c = &m->certificate;
    if (c->has_proposal || c->kind != PBFT_CERT_COMMIT) return PBFT_DROP_CERTIFICATE;
    verdict = pbft_certificate_check(p, c);
    if (verdict != PBFT_OK) return verdict;
    if (!votes_verify(r, PBFT_COMMIT, c->view, c->seq, &c->digest, &c->signatures))
        return PBFT_DROP_SIGNATURE;
    said_certificate(r, c);
    return PBFT_OK;
}

static enum pbft_verdict open_frame(struct reading *r, struct pbft_span frame, struct pbft_msg *m)
{
    enum pbft_verdict verdict = pbft_door_open(r->check->door, &r->check->self, frame, m);
    if (verdict == PBFT_OK) said_in(r, m);
    return verdict;
}

/* ---- kinds of records ---- */

/* What a PROPOSAL's first frame is of; false: it is none of those that may stand there. */
static bool proposes(const struct pbft_msg *m, struct pbft_digest *digest)
{
    if (m->type == PBFT_PRE_PREPARE)
        *digest = m->pre_prepare.digest;
    else if (m->type == PBFT_BATCH)
        *digest = m->batch.digest;
    else if (m->type == PBFT_CERTIFICATE && m->certificate.kind == PBFT_CERT_COMMIT)
        *digest = m->certificate.digest;
    else
        return false;
    return true;
}

static enum pbft_verdict see_proposal(struct reading *r, const struct pbft_span parts[2])
{
    struct pbft_msg m;
    struct pbft_digest digest;
    enum pbft_verdict verdict = open_frame(r, parts[0], &m);
    if (verdict != PBFT_OK) return verdict;
    if (parts[1].size == 0) {
        bool alone = (m.type == PBFT_PREPARE && by_us(r, m.vote.sender)) ||
                     (m.type == PBFT_PRE_PREPARE && led_by_us(r, m.pre_prepare.view));
        return alone ? PBFT_OK : PBFT_DROP_TYPE;
    }
    if (!proposes(&m, &digest)) return PBFT_DROP_TYPE;
    verdict = open_frame(r, parts[1], &m);
    if (verdict != PBFT_OK) return verdict;
    if (m.type != PBFT_PREPARE) return PBFT_DROP_TYPE;
    if (!by_us(r, m.vote.sender)) return PBFT_DROP_SENDER;
    return pbft_digest_equal(&digest, &m.vote.digest) ? PBFT_OK : PBFT_DROP_CONFLICT;
}

static enum pbft_verdict see_prepared(struct reading *r, const struct pbft_span parts[2])
{
    struct pbft_msg m;
    struct pbft_prepared entry;
    enum pbft_verdict verdict = open_prepared(r, parts[0], &entry);
    if (verdict == PBFT_OK) verdict = open_frame(r, parts[1], &m);
    if (verdict != PBFT_OK) return verdict;
    if (m.type != PBFT_COMMIT) return PBFT_DROP_TYPE;
    if (!by_us(r, m.vote.sender)) return PBFT_DROP_SENDER;
    bool same = m.vote.view == entry.view && m.vote.seq == entry.seq &&
                pbft_digest_equal(&m.vote.digest, &entry.digest);
    return same ? PBFT_OK : PBFT_DROP_CONFLICT;
}

static enum pbft_verdict see_committed(struct reading *r, const struct pbft_span parts[2])
{
    struct pbft_msg m;
    if (open_bare_certificate(r, parts[0], &m) == PBFT_OK) return PBFT_OK;
    enum pbft_verdict verdict = open_frame(r, parts[0], &m);
    if (verdict != PBFT_OK) return verdict;
    return m.type == PBFT_CERTIFICATE && m.certificate.kind == PBFT_CERT_COMMIT ? PBFT_OK
                                                                                : PBFT_DROP_TYPE;
}

static enum pbft_verdict see_single(struct reading *r, enum pbft_record_kind kind,
                                    struct pbft_span frame)
{
    struct pbft_msg m;
    enum pbft_verdict verdict = open_frame(r, frame, &m);
    if (verdict != PBFT_OK) return verdict;
    bool right = false;
    if (kind == PBFT_RECORD_VIEW_CHANGE)
        right = m.type == PBFT_VIEW_CHANGE && by_us(r, m.view_change.sender);
    if (kind == PBFT_RECORD_NEW_VIEW) right = m.type == PBFT_NEW_VIEW;
    if (kind == PBFT_RECORD_CHECKPOINT)
        right = m.type == PBFT_CHECKPOINT && by_us(r, m.checkpoint.sender);
    if (kind == PBFT_RECORD_STABLE)
        right = m.type == PBFT_CERTIFICATE && m.certificate.kind == PBFT_CERT_CHECKPOINT;
    return right ? PBFT_OK : PBFT_DROP_TYPE;
}

static enum pbft_verdict see_record(struct reading *r, uint32_t kind,
                                    const struct pbft_span parts[2], unsigned count)
{
    if (count != 1 && kind != PBFT_RECORD_PROPOSAL && kind != PBFT_RECORD_PREPARED)
        return PBFT_DROP_MALFORMED;
    switch ((int)kind) {
    case PBFT_RECORD_PROPOSAL: return see_proposal(r, parts);
    case PBFT_RECORD_PREPARED: return see_prepared(r, parts);
    case PBFT_RECORD_COMMITTED: return see_committed(r, parts);
    case PBFT_RECORD_VIEW_CHANGE:
    case PBFT_RECORD_NEW_VIEW:
    case PBFT_RECORD_CHECKPOINT:
    case PBFT_RECORD_STABLE: return see_single(r, (enum pbft_record_kind)kind, parts[0]);
    default: return PBFT_DROP_TYPE;
    }
}

/* ---- as a restart reads it ---- */

static void digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns,
                            uint32_t count, struct pbft_span leaves)
{
    (void)context;
    pbft_digest_proposal(out, time_ns, count, leaves);
}

static void no_sign_frame(void *context, uint8_t *frame, size_t size)
{
    (void)context, (void)frame, (void)size;
    PBFT_ASSERT(false); /* a core that is told its past signs nothing */
}

static void no_sign_body(void *context, uint8_t type, struct pbft_span body, uint8_t *signature)
{
    (void)context, (void)type, (void)body, (void)signature;
    PBFT_ASSERT(false);
}

static bool core_begin(struct reading *r)
{
    const struct pbft_cluster *cluster = r->cluster;
    struct pbft_core_config config = {
        .params = cluster->params,
        .epoch = cluster->epoch,
        .id = r->check->config->id,
        .client_count = cluster->client_count,
        .genesis_seq = cluster->genesis_seq,
        .genesis_root = cluster->genesis_root,
        .functions = {NULL, digest_proposal, pbft_digest_null, pbft_digest_view_change,
                      pbft_digest_new_view, no_sign_frame, no_sign_body},
        .pool = r->check->config->pool,
    };
    size_t size = pbft_core_size(&config);
    PBFT_ASSERT(size > 0); /* pbft_cluster_seal() checked the parameters */
    r->core_memory = aligned_alloc(64, (size + 63) & ~(size_t)63);
    if (r->core_memory == NULL) return false;
    r->core = pbft_core_init(r->core_memory, &config);
    r->followed = true;
    return true;
}

/* Tell the core. What is told was verified. */
static void follow(struct reading *r, uint32_t kind, const struct pbft_span parts[2],
                   unsigned count)
{
    struct pbft_record record = {.kind = (enum pbft_record_kind)kind};
    struct pbft_msg msgs[2];
    const struct pbft_params *p = &r->cluster->params;
    size_t half = r->arena.size / 2 & ~(size_t)15;
    enum pbft_verdict verdict = PBFT_OK;
    for (unsigned k = 0; k < count && verdict == PBFT_OK; k++) {
        struct pbft_arena arena = {r->arena.base + k * half, half, 0};
        record.frames[k] = pbft_frame_copy(r->check->config->pool, parts[k]);
        if (record.frames[k] == NULL) {
            r->no_memory = true;
            break;
        }
        verdict = pbft_wire_decode(pbft_frame_span(record.frames[k]), p, &arena, &msgs[k]);
        record.msgs[k] = &msgs[k];
    }
    if (verdict == PBFT_OK && !r->no_memory) verdict = pbft_core_restore(r->core, &record);
    pbft_frame_release(record.frames[0]);
    pbft_frame_release(record.frames[1]);
    if (verdict == PBFT_OK) return;
    r->followed = false;
    check_found(r->check,
                "record %" PRIu64 " cannot follow those before it: %s; a start would be mute",
                r->lsn, pbft_verdict_text(verdict));
}

static void follow_checkpoint(struct reading *r)
{
    const struct pbft_pages_checkpoint *cp = r->check->checkpoint;
    struct pbft_span parts[2] = {{cp->certificate, cp->certificate_size}, {NULL, 0}};
    struct pbft_msg m;
    if (cp->seq == 0 || cp->certificate_size == 0) return;
    (void)open_frame(r, parts[0], &m); /* our signature in it is a statement like any other */
    follow(r, PBFT_RECORD_STABLE, parts, 1);
}

static bool visit(void *context, const struct pbft_log_record *record)
{
    struct reading *r = context;
    bool known = record->kind > 0 && record->kind < KINDS;
    if (r->lsn != 0 && record->lsn != r->lsn + 1) r->absent += record->lsn - r->lsn - 1;
    r->lsn = record->lsn;
    r->records++;
    r->kinds[known ? record->kind : 0]++;
    struct pbft_span parts[2] = {{NULL, 0}, {NULL, 0}};
    size_t at = 0;
    unsigned count = 0;
    while (count < 2 && pbft_wire_next_item(record->payload, &at, &parts[count]))
        count++;
    enum pbft_verdict verdict = PBFT_DROP_MALFORMED;
    if (count > 0 && at == record->payload.size)
        verdict = see_record(r, record->kind, parts, count);
    if (verdict != PBFT_OK) {
        check_found(r->check, "record %" PRIu64 " (kind %u) of the vote log is not right: %s",
                    record->lsn, (unsigned)record->kind, pbft_verdict_text(verdict));
        r->followed = false;
    } else if (r->followed && r->absent == 0) {
        follow(r, record->kind, parts, count);
        struct pbft_core_info info;
        pbft_core_info(r->core, &info);
        if (r->records == 1 && record->kind == PBFT_RECORD_STABLE) r->first_stable = info.stable;
    }
    return !r->no_memory;
}

/* ---- the report ---- */

static const char *const found_texts[] = {
    [PBFT_LOG_MISSING] = "missing", [PBFT_LOG_FRESH] = "fresh",     [PBFT_LOG_INTACT] = "intact",
    [PBFT_LOG_TORN] = "torn",       [PBFT_LOG_DAMAGED] = "damaged", [PBFT_LOG_FOREIGN] = "foreign",
    [PBFT_LOG_FUTURE] = "future",
};

static void say_found(struct reading *r, const struct pbft_log_file_report *report)
{
    struct check *c = r->check;
    if (!pbft_log_found_usable(report->found))
        check_found(c, "vote log %s: %.190s", found_texts[report->found], report->text);
    else
        check_say(c, "%s: %.190s%s", found_texts[report->found], report->text,
                  report->found == PBFT_LOG_TORN ? ": ordinary, nothing synced is lost" : "");
    /* As replica/data.c sees it. */
    bool forgot = c->superblock.version != 0 && c->superblock.forgot > 0;
    if (report->found == PBFT_LOG_FRESH && c->checkpoint->seq > c->config->cluster->genesis_seq)
        check_found(c,
                    "the vote log is empty, but there is checkpoint %" PRIu64
                    ": the log was replaced",
                    c->checkpoint->seq);
    if (c->pages_missing && report->first > 1 && !forgot)
        check_found(c, "pages.mdb is missing: the vote log was cut after a checkpoint was flushed");
    else if (c->pages_missing && c->config->cluster->epoch == 0 &&
             c->config->cluster->genesis_seq > 0)
        check_found(c, "pages.mdb is missing: the cluster was restored, and began with a state");
}

static void say_records(struct reading *r, const struct pbft_log_file_report *report)
{
    static const char *const names[KINDS] = {"unknown",  "PROPOSAL",   "PREPARED", "VIEW-CHANGE",
                                             "NEW-VIEW", "CHECKPOINT", "STABLE",   "COMMITTED"};
    struct check *c = r->check;
    char kinds[256] = "";
    size_t used = 0;
    for (unsigned i = 0; i < KINDS; i++) {
        if (r->kinds[i] == 0) continue;
        int size = snprintf(kinds + used, sizeof kinds - used, "%s%" PRIu64 " %s",
                            used > 0 ? ", " : ": ", r->kinds[i], names[i]);
        if (size > 0 && (size_t)size < sizeof kinds - used) used += (size_t)size;
    }
    check_say(c, "%" PRIu64 " segments, %" PRIu64 " records%s", report->segments, r->records,
              kinds);
    if (report->first <= report->last && report->first != 0)
        check_say(c, "lsn %" PRIu64 " .. %" PRIu64, report->first, report->last);
    if (r->absent > 0)
        check_found(c, "%" PRIu64 " records before lsn %" PRIu64 " are missing", r->absent, r->lsn);
    check_say(c, "%" PRIu64 " signatures verified, %zu statements of this replica",
              pbft_door_stats(c->door)->verified, r->count);
    if (r->no_memory) check_failed(c, "out of memory at record %" PRIu64, r->lsn);
    if (r->followed && r->records > 0 && !r->no_memory)
        check_say(c, "a restart would follow all of it");
}

/* ---- from the state on the disk to the low mark ---- */

static void execute_nothing(void *context, pbft_seq seq, struct pbft_frame *frame,
                            struct pbft_span proposal)
{
    (void)context, (void)seq, (void)frame, (void)proposal;
}

/* How far a restart would get (replica/node_replay.c). False: it was said why this is not known. */
static bool replay(struct reading *r, const struct pbft_log_file_config *log, pbft_seq to,
                   pbft_seq *reached)
{
    struct pbft_log_file_report report;
    struct pbft_replay_config config = {.params = &r->cluster->params,
                                        .pool = r->check->config->pool,
                                        .from = r->check->loaded,
                                        .to = to,
                                        .execute = execute_nothing};
    struct pbft_replay *way = pbft_replay_new(&config);
    enum pbft_status status =
        way == NULL ? PBFT_STATUS_MEMORY : pbft_log_file_read(log, &report, pbft_replay_visit, way);
    if (status == PBFT_STATUS_OK) *reached = pbft_replay_reached(way);
    pbft_replay_free(way);
    if (status != PBFT_STATUS_OK)
        check_failed(r->check, "the vote log: %s", pbft_status_text(status));
    return status == PBFT_STATUS_OK;
}

/* The log is cut where a checkpoint was flushed, and a CHECKPOINT signed where a restart could come
 * to it (PROTOCOL 25): if the pages do not lead there now, they are not those that did. Whoever has
 * only heard that the others are ahead is a laggard, and an ordinary one. */
static void say_way(struct reading *r, const struct pbft_log_file_config *log,
                    const struct pbft_log_file_report *report)
{
    struct check *c = r->check;
    struct pbft_core_info info;
    pbft_core_info(r->core, &info);
    pbft_seq reached = c->loaded;
    bool forgot = c->superblock.version != 0 && c->superblock.forgot > 0; /* it reads neither */
    if (!c->loads || forgot || !r->followed || r->absent > 0 || r->no_memory) return;
    if (c->loaded >= info.stable || !replay(r, log, info.stable, &reached)) return;
    pbft_seq cut_at = report->first > 1 ? r->first_stable : 0; /* PROTOCOL 26 */
    bool lost = cut_at > reached || r->own_checkpoint > reached;
    if (reached == info.stable) return;
    if (c->pages_missing && report->first > 1) return; /* it was said */
    if (lost)
        check_found(c,
                    "pages.mdb is older than the vote log: no record leads on from %" PRIu64
                    ", and the log's low mark is %" PRIu64 "; a start fetches the state",
                    reached, info.stable);
    else
        check_say(c,
                  "no record leads on from %" PRIu64 " to checkpoint %" PRIu64
                  ", which the others have: a start fetches the state",
                  reached, info.stable);
}

static void read_log(struct reading *r)
{
    struct check *c = r->check;
    struct pbft_disk *disk = NULL;
    struct pbft_log_file_report report = {0};
    enum pbft_status status = pbft_disk_posix_open(&disk, c->config->dir);
    struct pbft_log_file_config config = {.disk = disk,
                                          .owner = c->owner,
                                          .sync = true,
                                          .segment_bytes = SEGMENT_BYTES,
                                          .bytes_max =
                                              (uint64_t)SEGMENT_BYTES * PBFT_LOG_SEGMENTS_MIN};
    bool opened = status == PBFT_STATUS_OK;
    if (opened) {
        follow_checkpoint(r);
        status = pbft_log_file_read(&config, &report, visit, r);
    }
    if (status == PBFT_STATUS_IO)
        check_found(c, "the vote log cannot be read: %s", pbft_status_text(status));
    else if (status != PBFT_STATUS_OK)
        check_failed(c, "the vote log: %s", pbft_status_text(status));
    if (status == PBFT_STATUS_OK) {
        say_found(r, &report);
        say_records(r, &report);
        say_way(r, &config, &report);
    }
    if (opened) pbft_disk_free(disk);
}

void check_log(struct check *c)
{
    struct reading r = {.check = c, .cluster = c->config->cluster};
    size_t bytes = (pbft_wire_arena_bytes(&r.cluster->params) + 15) & ~(size_t)15;
    (void)fprintf(c->config->out, "vote log\n");
    r.arena = (struct pbft_arena){aligned_alloc(16, 2 * bytes), 2 * bytes, 0};
    if (r.arena.base == NULL || !core_begin(&r))
        check_failed(c, "the vote log: %s", pbft_status_text(PBFT_STATUS_MEMORY));
    else
        read_log(&r);
    if (r.core != NULL) pbft_core_release(r.core);
    free(r.core_memory);
    free(r.arena.base);
    free(r.statements);
}
