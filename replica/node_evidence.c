/* Evidence that this replica holds, and the read-only questions about itself that clients ask. */
#include "replica/evidence.h"
#include "replica/node_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PROTOCOL 36: one item for each (signer, type). */
static bool held_already(const struct pbft_node *node, pbft_id culprit, uint8_t type)
{
    for (size_t i = 0; i < node->evidence_count; i++)
        if (node->evidence[i].culprit == culprit && node->evidence[i].type == type) return true;
    return false;
}

void node_evidence(struct pbft_node *node, const struct pbft_effect *effect)
{
    struct pbft_frame *first = effect->evidence.frames[0], *second = effect->evidence.frames[1];
    struct pbft_claim claim, against;
    if (first == NULL || second == NULL ||
        pbft_wire_peek(pbft_frame_span(first), &claim) != PBFT_OK ||
        pbft_wire_peek(pbft_frame_span(second), &against) != PBFT_OK)
        return; /* the pool was out of budget; the liar will lie again */
    if (node_silenced(node, against.signers)) return;
    uint8_t type = claim.type == PBFT_HEADER ? (uint8_t)PBFT_PRE_PREPARE : claim.type;
    if (held_already(node, effect->evidence.culprit, type)) return;
    struct evidence_item item = {.culprit = effect->evidence.culprit,
                                 .type = type,
                                 .kind = effect->evidence.kind,
                                 .ours = pbft_signers_has(against.signers, node->id)};
    if (pbft_evidence_encode(node->cluster, item.kind, item.culprit, pbft_frame_span(first),
                             pbft_frame_span(second), &item.file, &item.size) != PBFT_STATUS_OK)
        return;
    /* `accused` means verified evidence (PROTOCOL 38), so it is verified as others will. */
    char text[PBFT_EVIDENCE_TEXT_BYTES];
    enum pbft_verdict verdict =
        pbft_evidence_verify(node->cluster, node->config.signer,
                             (struct pbft_span){item.file, item.size}, NULL, text);
    if (verdict != PBFT_OK) {
        node_log_line(node, "evidence_refused", "culprit=%u type=%s %s", (unsigned)item.culprit,
                      pbft_type_text(type), text);
        free(item.file);
        return;
    }
    node->evidence = node_grow(node->evidence, &node->evidence_capacity, node->evidence_count,
                               sizeof *node->evidence);
    node->evidence[node->evidence_count++] = item;
    node->evidence_against |= pbft_signers_of(item.culprit);
    node_log_line(node, "evidence", "culprit=%u type=%s view=%llu seq=%llu", (unsigned)item.culprit,
                  pbft_type_text(type), (unsigned long long)claim.view,
                  (unsigned long long)claim.seq);
}

void node_evidence_silence(struct pbft_node *node)
{
    size_t kept = 0;
    node->evidence_against = 0;
    for (size_t i = 0; i < node->evidence_count; i++) {
        struct evidence_item item = node->evidence[i];
        if (item.ours) {
            free(item.file);
            continue;
        }
        node->evidence[kept++] = item;
        node->evidence_against |= pbft_signers_of(item.culprit);
    }
    node->evidence_count = kept;
}

/* ---- ADMIN ---- */

void node_answer_admin(struct pbft_node *node, const struct pbft_peer *to, uint64_t id, bool ok,
                       pbft_lsn needs_lsn, struct pbft_span body)
{
    struct pbft_msg msg = {.type = PBFT_ADMIN_REPLY};
    msg.admin_reply.id = id;
    msg.admin_reply.ok = ok ? 1 : 0;
    msg.admin_reply.body = body;
    struct pbft_frame *frame = node_encode(node, &msg);
    if (frame == NULL) return;
    node_send_client(node, to->index, to->connection, needs_lsn, frame);
    pbft_frame_release(frame);
}

void node_answer_text(struct pbft_node *node, const struct pbft_peer *to, uint64_t id, bool ok,
                      const char *text)
{
    node_answer_admin(node, to, id, ok, 0, (struct pbft_span){(const uint8_t *)text, strlen(text)});
}

static void answer_status(struct pbft_node *node, const struct pbft_peer *to, uint64_t id)
{
    size_t size = pbft_node_status_json(node, NULL, 0);
    char *text = node_alloc(size + 1);
    pbft_node_status_json(node, text, size + 1);
    node_answer_text(node, to, id, true, text);
    free(text);
}

static void answer_list(struct pbft_node *node, const struct pbft_peer *to, uint64_t id)
{
    size_t capacity = 8 + 96 * node->evidence_count, used = 0;
    char *text = node_alloc(capacity);
    used += (size_t)snprintf(text, capacity, "[");
    for (size_t i = 0; i < node->evidence_count; i++) {
        const struct evidence_item *e = &node->evidence[i];
        used += (size_t)snprintf(text + used, capacity - used,
                                 "%s{\"item\":%zu,\"culprit\":%u,\"type\":\"%s\",\"bytes\":%zu}",
                                 i == 0 ? "" : ",", i, (unsigned)e->culprit,
                                 pbft_type_text(e->type), e->size);
        PBFT_ASSERT(used < capacity);
    }
    snprintf(text + used, capacity - used, "]");
    node_answer_text(node, to, id, true, text);
    free(text);
}

static void answer_item(struct pbft_node *node, const struct pbft_peer *to,
                        const struct pbft_admin *admin)
{
    uint32_t item = admin->argument.size == 4 ? pbft_get_u32(admin->argument.data) : UINT32_MAX;
    if (item >= node->evidence_count) {
        node_answer_text(node, to, admin->id, false, "there is no such item of evidence");
        return;
    }
    const struct evidence_item *e = &node->evidence[item];
    /* Nobody may see our own signature before it is durable (FAULTS 4.4). */
    node_answer_admin(node, to, admin->id, true, e->ours ? node->core_last : 0,
                      (struct pbft_span){e->file, e->size});
}

enum pbft_verdict node_on_admin(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_admin *admin)
{
    switch ((enum pbft_admin_kind)admin->kind) {
    case PBFT_ADMIN_STATUS: answer_status(node, from, admin->id); return PBFT_OK;
    case PBFT_ADMIN_EVIDENCE_LIST: answer_list(node, from, admin->id); return PBFT_OK;
    case PBFT_ADMIN_EVIDENCE_GET: answer_item(node, from, admin); return PBFT_OK;
    case PBFT_ADMIN_CHECKPOINT:
    case PBFT_ADMIN_PAGES: return node_on_backup(node, from, admin);
    }
    node_answer_text(node, from, admin->id, false, "unknown question");
    return PBFT_DROP_TYPE;
}

void node_evidence_free(struct pbft_node *node)
{
    for (size_t i = 0; i < node->evidence_count; i++)
        free(node->evidence[i].file);
    free(node->evidence);
}
