/* The outbox: what leaves the node, in order, and what waits until its lsn is durable. */
#include "replica/node_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- outputs: a ring that the caller drains after each call ---- */

static struct output *output_add(struct pbft_node *node, enum pbft_output_kind kind)
{
    if (node->output_count == node->output_capacity) {
        size_t larger = node->output_capacity == 0 ? 64 : node->output_capacity * 2;
        struct output *ring = node_alloc(larger * sizeof *ring);
        for (size_t i = 0; i < node->output_count; i++)
            ring[i] = node->outputs[(node->output_first + i) & (node->output_capacity - 1)];
        free(node->outputs);
        node->outputs = ring;
        node->output_first = 0;
        node->output_capacity = larger;
    }
    size_t at = (node->output_first + node->output_count++) & (node->output_capacity - 1);
    memset(&node->outputs[at], 0, sizeof node->outputs[at]);
    node->outputs[at].kind = kind;
    return &node->outputs[at];
}

bool pbft_node_next(struct pbft_node *node, struct pbft_output *out)
{
    if (node->output_count == 0) return false;
    struct output *o = &node->outputs[node->output_first];
    node->output_first = (node->output_first + 1) & (node->output_capacity - 1);
    node->output_count--;
    out->kind = o->kind;
    out->to = o->to;
    out->frame = o->frame;
    out->job = o->job;
    out->job_kind = o->job == NULL ? PBFT_JOB_APPLY : o->job->kind;
    out->event = o->event;
    out->text[0] = '\0';
    if (o->text != NULL) {
        snprintf(out->text, sizeof out->text, "%s", o->text);
        free(o->text);
    }
    return true;
}

void node_output_job(struct pbft_node *node, struct pbft_job *job)
{
    output_add(node, PBFT_OUTPUT_JOB)->job = job;
}

void node_output_epoch(struct pbft_node *node, struct pbft_frame *proof)
{
    output_add(node, PBFT_OUTPUT_EPOCH)->frame = proof;
}

void node_log_line(struct pbft_node *node, const char *event, const char *format, ...)
{
    char text[sizeof((struct pbft_output *)NULL)->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t size = strlen(text) + 1;
    struct output *o = output_add(node, PBFT_OUTPUT_LOG);
    o->event = event;
    o->text = memcpy(node_alloc(size), text, size);
}

void pbft_node_emit(struct pbft_node *node, const struct pbft_peer *to, struct pbft_frame *frame)
{
    struct output *o = output_add(node, PBFT_OUTPUT_SEND);
    o->to = *to;
    o->frame = pbft_frame_retain(frame);
}

static void leave(struct pbft_node *node, const struct pbft_peer *to, struct pbft_frame *frame)
{
    if (node->storage_failed) return; /* FAULTS 2.41 */
    const struct pbft_node_hooks *hooks = node->config.hooks;
    if (hooks != NULL && hooks->outbound != NULL &&
        !hooks->outbound(hooks->context, node, to, frame))
        return;
    pbft_node_emit(node, to, frame);
}

static void leave_all(struct pbft_node *node, pbft_signers to, struct pbft_frame *frame)
{
    for (pbft_id id = 0; id < node->n; id++) {
        if (!pbft_signers_has(to, id) || id == node->id) continue;
        struct pbft_peer peer = {.kind = PBFT_PEER_REPLICA, .index = id, .connection = 0};
        leave(node, &peer, frame);
    }
}

/* ---- waiting for the log ---- */

/* What does not fit is what STATUS retransmits or a client asks for again. */
static void hold_back(struct pbft_node *node, const struct waiting *w)
{
    if (w->frame->size > node->config.outbox_max_bytes ||
        node->outbox_bytes > node->config.outbox_max_bytes - w->frame->size) {
        node->outbox_dropped++;
        return;
    }
    node->waiting = node_grow(node->waiting, &node->waiting_capacity, node->waiting_count,
                              sizeof *node->waiting);
    node->waiting[node->waiting_count] = *w;
    pbft_frame_retain(w->frame);
    node->waiting_count++;
    node->outbox_bytes += w->frame->size;
}

void node_send(struct pbft_node *node, pbft_signers to, pbft_lsn needs_lsn,
               struct pbft_frame *frame)
{
    if (needs_lsn <= node->core_durable) {
        leave_all(node, to, frame);
        return;
    }
    struct waiting w = {.to = to, .needs_lsn = needs_lsn, .frame = frame};
    hold_back(node, &w);
}

void node_send_client(struct pbft_node *node, uint32_t client, uint64_t connection,
                      pbft_lsn needs_lsn, struct pbft_frame *frame)
{
    struct pbft_peer peer = {.kind = PBFT_PEER_CLIENT, .index = client, .connection = connection};
    if (needs_lsn <= node->core_durable) {
        leave(node, &peer, frame);
        return;
    }
    struct waiting w = {.client = peer, .needs_lsn = needs_lsn, .frame = frame};
    hold_back(node, &w);
}

/* In order of arrival, so that frames with equal needs keep theirs for every peer. */
void node_outbox_release(struct pbft_node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->waiting_count; i++) {
        struct waiting w = node->waiting[i];
        if (w.needs_lsn > node->core_durable) {
            node->waiting[kept++] = w;
            continue;
        }
        node->outbox_bytes -= w.frame->size;
        if (w.to != 0)
            leave_all(node, w.to, w.frame);
        else
            leave(node, &w.client, w.frame);
        pbft_frame_release(w.frame);
    }
    node->waiting_count = kept;
}

/* What waits relies on a log that is not to be trusted: the votes, replies and reads in it count
 * for nothing (PROTOCOL 29), the rest is asked for again. */
void node_outbox_clear(struct pbft_node *node)
{
    for (size_t i = 0; i < node->waiting_count; i++)
        pbft_frame_release(node->waiting[i].frame);
    node->waiting_count = 0;
    node->outbox_bytes = 0;
}

struct pbft_frame *node_encode(struct pbft_node *node, struct pbft_msg *msg)
{
    msg->epoch = node->cluster->epoch;
    size_t size = pbft_wire_size(msg);
    if (size == 0 || size > PBFT_FRAME_MAX_BYTES) return NULL;
    struct pbft_frame *frame = pbft_frame_new(node->config.pool, (uint32_t)size);
    if (frame == NULL) return NULL;
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, frame->capacity);
    PBFT_ASSERT(frame->size == size);
    return frame;
}

void node_outbox_free(struct pbft_node *node)
{
    struct pbft_output o;
    while (pbft_node_next(node, &o)) {
        PBFT_ASSERT(o.kind != PBFT_OUTPUT_JOB);
        pbft_frame_release(o.frame); /* NULL but for SEND and EPOCH */
    }
    node_outbox_clear(node);
    free(node->waiting);
    free(node->outputs);
}
