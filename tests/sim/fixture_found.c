/* What a replica that starts now would read on its disk, by the real store's own reader: no crash
 * is damage, what was reported durable is there, and so is everything that was ever sent
 * (FAULTS 2.40, 2.43, 3.6). */
#include "tests/sim/fixture_internal.h"

/* What a replica would find when it starts again. */
struct found {
    struct sim *sim;
    const struct node *node;
    struct map statements; /* (type, view, seq, content) */
    struct map committing; /* seq: the highest view of a COMMIT of its own */
    pbft_seq stable;       /* highest certified */
    pbft_view left;        /* highest view of a VIEW-CHANGE of its own */
    pbft_view new_view;    /* highest NEW-VIEW */
};

static void note_frame(struct found *out, uint32_t kind, struct pbft_span frame)
{
    struct pbft_claim claim;
    if (pbft_wire_peek(frame, &claim) != PBFT_OK) return;
    if (kind == PBFT_RECORD_STABLE && claim.seq > out->stable) out->stable = claim.seq;
    if (kind == PBFT_RECORD_NEW_VIEW && claim.view > out->new_view) out->new_view = claim.view;
    if (!own_statement(out->sim, out->node->id, frame, &claim)) return;
    if (kind == PBFT_RECORD_VIEW_CHANGE && claim.view > out->left) out->left = claim.view;
    struct pbft_digest content, key;
    statement_content(&claim, frame, &content);
    statement_key(&claim, &content, &key);
    bool fresh;
    map_put(&out->statements, &key, &fresh);
    if (claim.type != PBFT_COMMIT) return;
    key_numbers(&key, PBFT_COMMIT, claim.seq, 0, 0);
    struct map_entry *last = map_put(&out->committing, &key, &fresh);
    if (claim.view > last->number) last->number = claim.view;
}

static bool note_record(void *context, const struct pbft_log_record *record)
{
    struct pbft_span frame;
    size_t at = 0;
    while (pbft_wire_next_item(record->payload, &at, &frame))
        note_frame(context, record->kind, frame);
    return true;
}

static bool prepared_later(const struct found *found, pbft_view view, pbft_seq seq)
{
    struct pbft_digest key;
    key_numbers(&key, PBFT_COMMIT, seq, 0, 0);
    const struct map_entry *last = map_find(&found->committing, &key);
    return last != NULL && last->number > view;
}

/* What may be missing because nothing depends on it any more: numbers below the stable one, and
 * promises of views that were left for good. A COMMIT stays: the certificate beside it is a P entry
 * for as long as no later view has prepared there. */
static bool is_over(const struct found *found, uint8_t type, pbft_view view, pbft_seq seq)
{
    switch (type) {
    case PBFT_VIEW_CHANGE: return view < found->left || view <= found->new_view;
    case PBFT_NEW_VIEW: return view < found->new_view;
    case PBFT_PREPARE: return seq <= found->stable || view < found->new_view;
    case PBFT_COMMIT: return seq <= found->stable || prepared_later(found, view, seq);
    default: return seq <= found->stable;
    }
}

static bool is_there(const struct found *found, const struct map_entry *said)
{
    struct pbft_claim claim = {.type = (uint8_t)pbft_get_u64(said->key.bytes),
                               .view = pbft_get_u64(said->key.bytes + 8),
                               .seq = pbft_get_u64(said->key.bytes + 16)};
    if (is_over(found, claim.type, claim.view, claim.seq)) return true;
    struct pbft_digest key;
    statement_key(&claim, &said->value, &key);
    if (map_find(&found->statements, &key) != NULL) return true;
    if (claim.type != PBFT_PRE_PREPARE) return false;
    if (claim.view < found->new_view) return true; /* of a NEW-VIEW that another one replaced */
    struct pbft_digest new_view;                   /* an O entry: its NEW-VIEW holds it */
    key_numbers(&new_view, PBFT_NEW_VIEW, claim.view, 0, 0);
    const struct map_entry *whole = map_find(&found->node->said, &new_view);
    if (whole == NULL) return false;
    struct pbft_claim of_view = {.type = PBFT_NEW_VIEW, .view = claim.view};
    statement_key(&of_view, &whole->value, &key);
    return map_find(&found->statements, &key) != NULL;
}

static void check_all_there(const struct found *found)
{
    for (size_t i = 0; i < found->node->said.capacity && !found->sim->failed; i++) {
        const struct map_entry *said = &found->node->said.entries[i];
        if (!said->used || is_there(found, said)) continue;
        sim_fail(found->sim,
                 "FAULTS 3.6: replica %u sent %s v %llu n %llu, which its disk does not hold",
                 found->node->id, pbft_type_text((uint8_t)pbft_get_u64(said->key.bytes)),
                 (unsigned long long)pbft_get_u64(said->key.bytes + 8),
                 (unsigned long long)pbft_get_u64(said->key.bytes + 16));
    }
}

pbft_lsn found_check(struct sim *sim, const struct node *node, struct vdisk *disk, pbft_lsn durable)
{
    struct found found = {.sim = sim, .node = node};
    struct pbft_log_file_config config = disk_config(node, disk);
    struct pbft_log_file_report report = {.text = ""};
    enum pbft_status status = pbft_log_file_read(&config, &report, note_record, &found);
    if (status != PBFT_STATUS_OK || !pbft_log_found_usable(report.found))
        sim_fail(sim, "FAULTS 2.43: replica %u takes what a crash left for damage: %s", node->id,
                 status != PBFT_STATUS_OK ? pbft_status_text(status) : report.text);
    else if (report.last < durable)
        sim_fail(sim, "FAULTS 2.40: record %llu of replica %u was reported durable and is gone",
                 (unsigned long long)durable, node->id);
    else if (!node->forgetful)
        check_all_there(&found);
    map_free(&found.statements);
    map_free(&found.committing);
    return report.last;
}
