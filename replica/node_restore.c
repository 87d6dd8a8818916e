/* A start with an old log: the core learns its promises, the node what a cut must carry over
 * (PROTOCOL 25-28). */
#include "replica/node_internal.h"
#include "replica/pool.h"

#include <stdlib.h>

struct reading {
    struct pbft_node *node;
    struct pbft_arena arenas[2];
    enum pbft_status status;
    enum pbft_verdict verdict; /* why it is CORRUPT */
    uint64_t records;
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
        r->records++;
    } else if (r->status == PBFT_STATUS_OK) {
        r->status = PBFT_STATUS_CORRUPT;
    }
    pbft_frame_release(record.frames[0]);
    pbft_frame_release(record.frames[1]);
    return good;
}

enum pbft_status pbft_node_restore(struct pbft_node *node, struct pbft_time time)
{
    PBFT_ASSERT(node->now_ns == 0 && !node->mute);
    size_t bytes = pbft_wire_arena_bytes(node->p);
    struct reading r = {.node = node, .status = PBFT_STATUS_OK};
    for (unsigned k = 0; k < 2; k++)
        r.arenas[k] = (struct pbft_arena){aligned_alloc(16, (bytes + 15) & ~(size_t)15), bytes, 0};
    if (r.arenas[0].base == NULL || r.arenas[1].base == NULL)
        r.status = PBFT_STATUS_MEMORY;
    else
        (void)pbft_log_iterate(node->config.log, visit, &r);
    free(r.arenas[0].base);
    free(r.arenas[1].base);
    if (r.status != PBFT_STATUS_OK) {
        node_log_line(node, "log_refused", "record=%llu why=\"%s\"",
                      (unsigned long long)r.records + 1,
                      r.status == PBFT_STATUS_CORRUPT ? pbft_verdict_text(r.verdict)
                                                      : pbft_status_text(r.status));
        return r.status;
    }
    node_set_time(node, time);
    struct pbft_event event = {.kind = PBFT_EVENT_RESTORED};
    node_step(node, &event);
    struct pbft_core_info info;
    pbft_core_info(node->core, &info);
    node_log_stable(node, info.stable);
    node_log_line(node, "restored", "records=%llu view=%llu stable=%llu",
                  (unsigned long long)r.records, (unsigned long long)info.view,
                  (unsigned long long)info.stable);
    node_settle(node);
    return PBFT_STATUS_OK;
}
